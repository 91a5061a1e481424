//! What a result stands on: looking at all that a task depends on and at what it made, whether an earlier result holds, and
//! putting its outputs back.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, RwLock};

use super::{Answer, Given, Held, Looked};
use crate::host::container::{self, Here, Image};
use crate::id::{IdMap, TaskId, WorkerId};
use crate::model::{Fleet, Host, Task, Worker};
use crate::place;
use crate::plan::explain::{self, Last, Reason};
use crate::plan::fingerprint::{self, Kind};
use crate::protocol::receipt::{ArtifactRef, OutputRef, TaskResult};
use crate::store::outputs::{self, RestoreError};
use crate::store::remote::{Remote, RemoteEntry};
use crate::store::results::{Entry, Results};
use crate::store::{Files, Scan, ScanError, Store, scan};
use crate::time::Stamp;

/// The workspace and the earlier results; shared by all jobs.
#[derive(Debug)]
pub(in crate::engine) struct Ground {
    pub files: Files,
    pub(super) results: RwLock<Results>,
    /// The cache shared with others, where the file names one.
    pub remote: Option<Remote>,
    pub(super) state: PathBuf,
    /// What the containers of workers are made of, as receipts have it; nothing for the others.
    pub images: IdMap<WorkerId, Option<Image>>,
    /// Opened for the first result that has artifacts.
    pub(super) store: OnceLock<Option<Store>>,
}

/// What the containers of the workers are made of. An image that nobody has costs its tasks their reuse, and is told when
/// one of them is placed there. So is an engine that does not answer, which is not asked twice.
pub(super) fn images(fleet: &Fleet) -> IdMap<WorkerId, Option<Image>> {
    let mut silent = Vec::new();
    let mut image = |worker: &Worker| {
        let Host::Container(container) = &worker.host else { return None };
        if silent.contains(&container.engine) {
            return None;
        }
        match container::image_here(container) {
            Here::Image(image) => Some(image),
            Here::Not => None,
            Here::Silent => {
                silent.push(container.engine);
                None
            }
        }
    };
    IdMap::from(fleet.workers.values().map(&mut image).collect::<Vec<_>>())
}

impl Ground {
    /// The images of all containers that a task may run in, each once.
    pub(super) fn images_of(&self, fleet: &Fleet, id: TaskId) -> Arc<[Box<str>]> {
        if self.images.values().all(Option::is_none) {
            return Arc::default();
        }
        let fitting = place::candidates(fleet, id).unwrap_or_default();
        let images = fitting.into_iter().filter_map(|worker| self.images[worker].as_ref());
        let images: BTreeSet<Box<str>> = images.map(|image| image.digest.as_str().into()).collect();
        images.into_iter().collect()
    }

    pub(super) fn results<T>(&self, what: impl FnOnce(&Results) -> T) -> T {
        what(&self.results.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Looks at everything a task depends on. Also returns the inputs, by position, that match nothing.
    ///
    /// # Errors
    /// When something cannot be read.
    pub(in crate::engine) fn look(&self, task: &Task, given: Given) -> Result<(Looked, Vec<usize>), ScanError> {
        let (inputs, unmatched) = self.inputs(task)?;
        let mut looked = Looked { fingerprint: None, inputs, own_files: Vec::new(), given };
        for (kind, path) in fingerprint::own_files(task) {
            let files = match kind {
                // A scorer may name a folder or a glob.
                Kind::Scored => self.files.find_and_digest(&Scan::new(&[path])?)?.0,
                _ => self.files.look(&path)?.into_iter().collect(),
            };
            looked.own_files.extend(files.into_iter().map(|file| (kind, file)));
        }
        looked.fingerprint = Some(fingerprint::fingerprint(task, &looked.facts()));
        Ok((looked, unmatched))
    }

    pub(in crate::engine) fn inputs(&self, task: &Task) -> Result<(Vec<OutputRef>, Vec<usize>), ScanError> {
        let Some(patterns) = task.inputs.as_deref().filter(|patterns| !patterns.is_empty()) else {
            return Ok(Default::default());
        };
        self.files.find_and_digest(&Scan::new(patterns)?)
    }

    /// The earlier result that holds with every output in its place.
    pub(super) fn holds(&self, task: &Task, given: Given) -> Option<Held> {
        let (looked, unmatched) = self.look(task, given).ok()?;
        let entry = Box::new(self.results(|results| results.find(&looked.fingerprint?))?);
        // What matches nothing is worth a warning, which only the slower way gives.
        let holds = unmatched.is_empty()
            && self.lost_artifact(&entry).is_none()
            && outputs::changed(&self.files, &entry.outputs).is_empty()
            && self.leftover(task, &entry, || true).is_none();
        holds.then_some(Held { entry, needs: looked.given.needs })
    }

    /// Whether all outputs of an earlier sitting are as they were, or could be put back. Otherwise what needs them runs,
    /// and nothing is kept of what it makes.
    pub(super) fn is_there(&self, outputs: &[OutputRef]) -> bool {
        let changed = outputs::changed(&self.files, outputs);
        if changed.is_empty() {
            return true;
        }
        let store = self.store.get_or_init(|| Store::open(&self.state).ok()).as_ref();
        store.is_some_and(|store| outputs::restore(&self.files, store, outputs, &changed).is_ok())
    }

    /// An artifact that the store does not have any more. A receipt that names it would promise what nobody can get.
    pub(super) fn lost_artifact(&self, entry: &Entry) -> Option<Reason> {
        let lost = |artifact: &ArtifactRef| {
            Reason::Lost(format!("the store does not have the artifact `{}`", artifact.path).into())
        };
        let first = entry.artifacts.first()?;
        let Some(store) = self.store.get_or_init(|| Store::open(&self.state).ok()) else {
            return Some(lost(first));
        };
        let is_lost = |artifact: &&ArtifactRef| {
            artifact.checksum.zip(artifact.size_bytes).is_some_and(|(digest, bytes)| !store.has(&digest, bytes))
        };
        entry.artifacts.iter().find(is_lost).map(lost)
    }

    /// What lies where the outputs of an earlier result go, and is none of them: a later result may have left it, and
    /// whoever reads the whole folder would read a mixture of both. Only the task itself can clear it away, so it runs.
    /// Where the last result is whole nothing else has been made since, and nobody has to look.
    pub(super) fn leftover(&self, task: &Task, entry: &Entry, is_whole: impl FnOnce() -> bool) -> Option<Reason> {
        let made = |path: &str| entry.outputs.binary_search_by(|output| (*output.path).cmp(path)).is_ok();
        let is_last = |results: &Results| results.last_made(&task.name).is_some_and(|last| last.0 == entry.fingerprint);
        if task.outputs.iter().all(|pattern| made(pattern)) || self.results(is_last) && is_whole() {
            return None;
        }
        // A folder whose files are gone is where they will be put back.
        let is_emptied = |folder: &str| {
            let within = format!("{folder}/");
            let at = entry.outputs.partition_point(|output| *output.path < *within);
            entry.outputs.get(at).is_some_and(|output| output.path.starts_with(&within))
        };
        match Scan::new(&task.outputs).and_then(|patterns| outputs::capture(&self.files, &patterns)) {
            Ok(found) => {
                let mut paths = found.outputs.into_iter().map(|output| output.path);
                paths.find(|path| !made(path) && !is_emptied(path)).map(Reason::Leftover)
            }
            Err(error) => Some(Reason::Unreadable(error.to_string().into())),
        }
    }

    /// Looks for an earlier result of a task as it was looked at, and puts its outputs back.
    pub(in crate::engine) fn answer(&self, task: &Task, looked: &Looked, store: &Store) -> Answer {
        let Some(fingerprint) = looked.fingerprint else { return Answer::Run(self.reasons(task, looked)) };
        let ours = self.results(|results| results.find(&fingerprint));
        let Some(entry) = ours.or_else(|| self.fetched(task, looked)) else {
            return Answer::Run(self.reasons(task, looked));
        };
        let missing = outputs::changed(&self.files, &entry.outputs);
        // What others have made is fetched when it is put back.
        let lost = if entry.remote { None } else { self.lost_artifact(&entry) };
        if let Some(reason) = lost.or_else(|| self.leftover(task, &entry, || missing.is_empty())) {
            return Answer::Run(vec![reason]);
        }
        match self.put_back(&entry, &missing, store) {
            Ok(()) => Answer::Holds(Box::new(entry)),
            Err(error) => Answer::Run(vec![Reason::Lost(error.to_string().into())]),
        }
    }

    /// Why an earlier result cannot be used although nothing that the task depends on differs.
    pub(super) fn obstacle(&self, task: &Task, entry: &Entry) -> Option<Reason> {
        // What others have made is fetched when it is put back.
        let lost = if entry.remote { None } else { self.lost_artifact(entry) };
        lost.or_else(|| self.leftover(task, entry, || outputs::changed(&self.files, &entry.outputs).is_empty()))
    }

    /// Puts missing outputs in their places; what the store lacks, the shared cache may have.
    pub(super) fn put_back(&self, entry: &Entry, missing: &[usize], store: &Store) -> Result<(), RestoreError> {
        let Some(remote) = self.remote.as_ref().filter(|remote| remote.reads()) else {
            return outputs::restore(&self.files, store, &entry.outputs, missing);
        };
        if entry.remote {
            let wanted: Vec<OutputRef> = missing.iter().map(|at| entry.outputs[*at].clone()).collect();
            // An output that does not come is missing from the store, which the restore says; an artifact would be
            // missing from the receipt.
            if !remote.fetch_blobs(store, &wanted) || !remote.fetch_artifacts(store, &entry.artifacts) {
                return Err(RestoreError::NotFetched);
            }
        }
        match outputs::restore(&self.files, store, &entry.outputs, missing) {
            Err(_) if !entry.remote && remote.fetch_blobs(store, &entry.outputs) => {
                outputs::restore(&self.files, store, &entry.outputs, missing)
            }
            result => result,
        }
    }

    /// What others have made of the same.
    pub(super) fn fetched(&self, task: &Task, looked: &Looked) -> Option<Entry> {
        let remote = self.remote.as_ref().filter(|remote| remote.reads())?;
        let fingerprint = looked.fingerprint?;
        let RemoteEntry { outputs, artifacts, extra } = remote.fetch(&fingerprint)?;
        // A server may hold anything under a key, and what is written into the workspace is what the task declares.
        let declared = Scan::new(&task.outputs).ok()?;
        if !outputs.iter().all(|output| declared.covers(&output.path)) {
            return None;
        }
        Some(Entry {
            task: task.name.clone(),
            fingerprint,
            result: TaskResult::Pass,
            why_not: None,
            at: Stamp::default(),
            run: extra.run_id,
            seq: extra.journal_seq,
            attempt: extra.attempt,
            remote: true,
            made: fingerprint::digest_of_outputs(&outputs),
            inputs_digest: Some(scan::digest_of_all(&looked.inputs)),
            outputs,
            artifacts,
            score: extra.score,
        })
    }

    pub(super) fn reasons(&self, task: &Task, looked: &Looked) -> Vec<Reason> {
        self.results(|results| {
            let last = results.last(&task.name);
            let parts = results.last_parts(&task.name);
            let last =
                last.as_ref().map(|last| Last { result: last.result, why_not: last.why_not.as_deref(), parts: &parts });
            explain::reasons(last, &looked.parts(task))
        })
    }

    /// Why what a task has just made cannot be reused: something it depends on changed while it ran.
    pub(in crate::engine) fn moved_meanwhile(&self, task: &Task, before: &Looked) -> Option<String> {
        let now = match self.look(task, before.given.clone()) {
            Ok((now, _)) => now,
            Err(error) => return Some(format!("what it depends on cannot be read: {error}")),
        };
        if now.fingerprint == before.fingerprint {
            return None;
        }
        let differences = fingerprint::differences(&before.parts(task), &now.parts(task));
        let first = differences.first().map_or_else(String::new, ToString::to_string);
        Some(format!("{first} while it ran"))
    }
}
