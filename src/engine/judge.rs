//! The stage after a process: its scorers, its outputs, its artifacts. A job on the pool, except for the task that has
//! nothing but its exit code.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::attempt::Capture;
use super::clean::{self, Source};
use super::reuse::{Ground, Looked};
use super::staged::{self, Set};
use super::writes::{self, Snapshot};
use crate::digest::Digest;
use crate::id::TaskId;
use crate::model::{Fleet, Task};
use crate::plan::fingerprint::Part;
use crate::policy::mask::Masks;
use crate::policy::verdict::{FaultKind, FileFault};
use crate::protocol::receipt::{ArtifactRef, OutputRef, ScorerRecord};
use crate::scorer::{self, Captured, CommandEnd, Evidence};
use crate::store::{Files, Root, Scan, ScanError, Store, outputs};

/// What the stage is given; owned, because it crosses to the pool.
pub(super) struct Request {
    pub task: TaskId,
    pub exit_code: i32,
    pub stdout: Capture,
    pub stderr: Capture,
    pub ends: Vec<CommandEnd>,
    pub before: Option<Snapshot>,
    pub beside: Vec<TaskId>,
    /// What the task depended on when it began, when its result may be reused.
    pub looked: Option<Arc<Looked>>,
    /// What nothing that is kept may hold.
    pub masks: Option<Arc<Masks>>,
    /// What came of an attempt elsewhere and was not kept, with the key of the secret in it.
    pub refused: HashMap<Digest, Box<str>>,
    /// What came back of an attempt that worked on a copy.
    pub sets: Option<Vec<Set>>,
    /// Where its scorers find what they read of it.
    pub scored_folder: PathBuf,
}

/// What it found.
#[derive(Debug, Default)]
pub(super) struct Judged {
    pub records: Vec<ScorerRecord>,
    pub outputs: Vec<OutputRef>,
    pub artifacts: Vec<ArtifactRef>,
    /// What is wrong with its files: missing, unreadable, or written where it may not write.
    files: Vec<(FaultKind, String)>,
    /// Set when the task's result may be reused later.
    pub kept: Option<Kept>,
    /// The writes were checked and could be laid at one door.
    pub writes_checked: bool,
    /// Something could not be kept that must be; the attempt then proves nothing.
    pub error: Option<String>,
    /// What came back of another host cannot be believed.
    pub unbelievable: Option<String>,
}

/// What is noted with a result for the next time.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Why it cannot be reused although it may have passed.
    pub why_not: Option<String>,
    pub parts: Option<Vec<Part>>,
}

impl Judged {
    pub(super) fn faults(&self) -> Vec<FileFault<'_>> {
        self.files.iter().map(|(kind, path)| FileFault { kind: *kind, path }).collect()
    }

    pub(super) fn fault(&mut self, kind: FaultKind, what: impl Into<String>) {
        self.files.push((kind, what.into()));
    }
}

/// Whether the exit code alone judges and nothing is collected.
pub(super) fn is_trivial(task: &Task) -> bool {
    task.scorers.is_empty() && task.outputs.is_empty() && task.artifacts.is_empty() && task.writable_paths.is_none()
}

pub(super) fn trivial(workspace: &Root, request: &Request) -> Judged {
    Judged { records: scored(scorer::default_scorers(), workspace, request), ..Judged::default() }
}

fn scored(scorers: &[crate::model::Scorer], workspace: &Root, request: &Request) -> Vec<ScorerRecord> {
    scorer::score(
        scorers,
        &Evidence {
            workspace,
            exit_code: request.exit_code,
            stdout: Captured { bytes: &request.stdout.bytes, total: request.stdout.total },
            stderr: Captured { bytes: &request.stderr.bytes, total: request.stderr.total },
            commands: &request.ends,
        },
    )
}

/// Where the job reads, and where it keeps.
#[derive(Clone, Copy)]
pub(super) struct Places<'a> {
    pub ground: &'a Ground,
    pub store: &'a Store,
}

impl Places<'_> {
    fn root(&self) -> &Root {
        self.ground.files.root()
    }
}

/// The job.
pub(super) fn judge(fleet: &Fleet, places: &Places<'_>, request: &Request) -> Judged {
    let task = &fleet.tasks[request.task];
    if let Some(sets) = &request.sets {
        return judge_staged(task, sets, places, request);
    }
    let mut judged = Judged { records: scored(scorer::scorers_of(task), places.root(), request), ..Judged::default() };
    let masks = request.masks.as_deref();
    artifacts(task, places, masks, &mut judged);
    if let Err(error) = outputs(task, &places.ground.files, &mut judged) {
        judged.fault(FaultKind::Unreadable, format!("its outputs cannot be read: {error}"));
    }
    if let Some(masks) = masks {
        judged.files.extend(clean::outputs(places.root(), masks, &judged.outputs));
    }
    if task.writable_paths.is_some() && request.before.is_none() {
        let why = "what it wrote cannot be checked: the run was cut short";
        judged.fault(FaultKind::Unreadable, why);
    }
    if let Some(before) = &request.before
        && let Err(error) = strays(fleet, task, before, &request.beside, &mut judged)
    {
        judged.fault(FaultKind::Unreadable, format!("the workspace cannot be read: {error}"));
    }
    if let Some(looked) = &request.looked {
        judged.kept = Some(keep(task, places, looked, request.exit_code, &judged));
    }
    judged
}

/// The same for an attempt that worked on a copy: by what came back of it, and by nothing that lies in the workspace.
fn judge_staged(task: &Task, sets: &[Set], places: &Places<'_>, request: &Request) -> Judged {
    let mut judged = Judged::default();
    if let Err(error) = staged::check(task, sets) {
        judged.unbelievable = Some(error);
        return judged;
    }
    let clean;
    let sets = match request.masks.as_deref() {
        None => sets,
        Some(masks) => {
            (clean, judged.files) = clean::sets(task, sets, places.store, (masks, &request.refused));
            &clean
        }
    };
    match staged::lay_for_scorers(task, sets, places.store, &request.scored_folder) {
        Ok(root) => {
            let root = root.as_ref().unwrap_or(places.root());
            judged.records = scored(scorer::scorers_of(task), root, request);
        }
        Err(error) => judged.error = Some(error),
    }
    // What is left of it goes with the run.
    let _ = std::fs::remove_dir_all(&request.scored_folder);
    staged::take_in(task, sets, places, &mut judged);
    judged.kept = request.looked.as_ref().map(|looked| staged::kept(task, looked));
    judged
}

/// Puts what the task made into the store, so that it can be put back. What fails here costs the next run its time.
fn keep(task: &Task, places: &Places<'_>, looked: &Looked, exit_code: i32, judged: &Judged) -> Kept {
    let mut kept = Kept { why_not: None, parts: Some(looked.parts(task)) };
    if exit_code == 0 && judged.files.is_empty() {
        kept.why_not = places.ground.moved_meanwhile(task, looked);
        if kept.why_not.is_none() {
            let stored = outputs::keep(&places.ground.files, places.store, &judged.outputs);
            kept.why_not = stored.err().map(|error| error.to_string());
        }
    }
    kept
}

fn outputs(task: &Task, files: &Files, judged: &mut Judged) -> Result<(), ScanError> {
    if task.outputs.is_empty() {
        return Ok(());
    }
    let captured = outputs::capture(files, &Scan::new(&task.outputs)?)?;
    for index in captured.unmatched {
        judged.fault(FaultKind::MissingOutput, &*task.outputs[index]);
    }
    judged.outputs = captured.outputs;
    Ok(())
}

/// Keeps what is declared. What cannot be read is the task's fault; what cannot be kept is ours.
fn artifacts(task: &Task, places: &Places<'_>, masks: Option<&Masks>, judged: &mut Judged) {
    for artifact in &task.artifacts {
        let found = match Scan::new(std::slice::from_ref(&artifact.path)).and_then(|scan| scan.expand(places.root())) {
            Ok(found) => found,
            Err(error) => {
                judged.fault(FaultKind::Unreadable, format!("its artifacts cannot be read: {error}"));
                continue;
            }
        };
        if found.files.is_empty() && artifact.required {
            judged.fault(FaultKind::MissingArtifact, &*artifact.path);
        }
        for path in found.files {
            let mut source = match places.root().read(Path::new(&*path)) {
                Ok(file) => Source::new(file, masks),
                Err(error) => {
                    judged.fault(FaultKind::Unreadable, format!("its artifact `{path}` cannot be read: {error}"));
                    continue;
                }
            };
            let named = masks.and_then(|masks| masks.find(path.as_bytes()));
            let refused = || Err(io::ErrorKind::InvalidData.into());
            let put = if named.is_some() { refused() } else { places.store.put_file(&mut source) };
            match (put, source.error) {
                _ if named.or(source.secret).is_some() => {
                    let key = named.or(source.secret).unwrap_or_default();
                    judged.fault(FaultKind::Secret, clean::holds("artifact", &path, key));
                }
                (Ok(put), _) => judged.artifacts.push(ArtifactRef {
                    kind: artifact.kind.clone(),
                    path,
                    checksum: Some(put.digest),
                    mime_type: artifact.mime_type.clone(),
                    size_bytes: Some(put.bytes),
                }),
                (Err(_), Some(error)) => {
                    judged.fault(FaultKind::Unreadable, format!("its artifact `{path}` cannot be read: {error}"));
                }
                (Err(error), None) => judged.error = Some(format!("the artifact `{path}` cannot be kept: {error}")),
            }
        }
    }
}

fn strays(fleet: &Fleet, task: &Task, before: &Snapshot, beside: &[TaskId], judged: &mut Judged) -> io::Result<()> {
    let after = Snapshot::take(&fleet.workspace)?;
    let beside: Vec<&Task> = beside.iter().map(|&id| &fleet.tasks[id]).collect();
    if let Some(strays) = writes::strays(before, &after, task, &beside) {
        for path in strays {
            judged.fault(FaultKind::StrayWrite, path);
        }
        judged.writes_checked = true;
    }
    Ok(())
}
