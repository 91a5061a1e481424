//! What stands between a slot and a process: inputs, and the words the supervisor is told.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::environment::{Environments, SharedEnv};
use super::reuse::{Answer, Ground, Looked, Turn};
use super::staged;
use super::writes::Snapshot;
use super::{Engine, GRACE, trust};
use crate::digest::Digest;
use crate::host::cell::Cell;
use crate::id::{Attempt, TaskId, WorkerId};
use crate::journal::log;
use crate::model::{Action, Fleet, Host, Task};
use crate::protocol::receipt::OutputRef;
use crate::scorer::{self, CommandRule};
use crate::store::Store;
use crate::store::scan::{self, ScanError};
use crate::supervisor::frame::{Spawn, Staged, Streams};
use crate::supervisor::lookup;
use crate::time::millis;

/// Why an attempt cannot be started, in words for the receipt.
pub(super) struct Refused(pub String);

/// What a job found out before the process.
#[derive(Default)]
pub(super) struct Prepared {
    pub inputs_digest: Option<Digest>,
    /// Inputs, by position, that match no file.
    pub unmatched: Vec<usize>,
    pub before: Option<Snapshot>,
    /// What the task depends on, when its result may be reused later.
    pub looked: Option<Arc<Looked>>,
    pub answer: Option<Answer>,
    /// What a copy starts from, when the task works on one.
    pub entries: Option<Vec<OutputRef>>,
    pub error: Option<String>,
}

/// Whether a job has to look at files before the process starts.
pub(super) fn needs_reading(task: &Task) -> bool {
    task.inputs.is_some() || task.writable_paths.is_some()
}

/// The job: everything the task depends on, an earlier result of it if one holds, and otherwise the workspace as it is
/// before the task writes.
pub(super) fn read(
    fleet: &Fleet,
    id: TaskId,
    ground: &Ground,
    store: &Store,
    (turn, stages): (Turn, bool),
) -> Prepared {
    let task = &fleet.tasks[id];
    let mut prepared = Prepared::default();
    if task.inputs.is_some()
        && let Err(error) = prepared.look(task, ground, store, turn)
    {
        prepared.error = Some(format!("what it depends on cannot be read: {error}"));
    }
    if matches!(prepared.answer, Some(Answer::Holds(_))) {
        return prepared;
    }
    if stages {
        match staged::entries(fleet, id, &ground.files) {
            Ok(entries) => {
                // Written to between two looks: what is made of it is no result of what was looked at first.
                let sent = |input: &OutputRef| {
                    let at = entries.binary_search_by(|entry| entry.path.cmp(&input.path));
                    at.is_ok_and(|at| entries[at].digest == input.digest)
                };
                if prepared.looked.as_ref().is_some_and(|looked| !looked.inputs().iter().all(sent)) {
                    prepared.looked = None;
                }
                prepared.entries = Some(entries);
            }
            Err(error) => prepared.error = Some(format!("what it starts from cannot be read: {error}")),
        }
    } else if task.writable_paths.is_some() {
        match Snapshot::take(&fleet.workspace) {
            Ok(snapshot) => prepared.before = Some(snapshot),
            Err(error) => prepared.error = Some(format!("the workspace cannot be read: {error}")),
        }
    }
    prepared
}

impl Prepared {
    fn look(&mut self, task: &Task, ground: &Ground, store: &Store, turn: Turn) -> Result<(), ScanError> {
        let (given, reason) = match turn {
            Turn::Always(reason) => {
                let (inputs, unmatched) = ground.inputs(task)?;
                (self.inputs_digest, self.unmatched) = (Some(scan::digest_of_all(&inputs)), unmatched);
                self.answer = Some(Answer::Run(vec![reason]));
                return Ok(());
            }
            Turn::Run(given, reason) => (given, Some(reason)),
            Turn::Ask(given) => (given, None),
        };
        let (looked, unmatched) = ground.look(task, given)?;
        (self.inputs_digest, self.unmatched) = (Some(scan::digest_of_all(looked.inputs())), unmatched);
        self.answer = Some(match reason {
            Some(reason) => Answer::Run(vec![reason]),
            None => ground.answer(task, &looked, store),
        });
        self.looked = Some(Arc::new(looked));
        Ok(())
    }
}

/// The process of the task itself.
pub(super) fn spawn(
    engine: &mut Engine<'_>,
    id: TaskId,
    (attempt, worker): (Attempt, WorkerId),
) -> Result<Spawn, Refused> {
    let fleet = engine.view.fleet;
    let task = &fleet.tasks[id];
    let wants = scorer::wants(&task.scorers);
    let argv = match &task.action {
        Action::Run(argv) => argv.iter().map(ToString::to_string).collect(),
        Action::Script { shell, text } => {
            let flags = shell.flags().iter().map(ToString::to_string);
            std::iter::once(shell.program().to_owned()).chain(flags).chain([text.to_string()]).collect()
        }
    };
    let mut spawn = process(engine, task, (attempt, worker), argv)?;
    if let Some(staged) = &mut spawn.staged {
        *staged = staged::staged(task);
        spawn.stdin = task.stdin.as_ref().map(ToString::to_string);
    } else {
        if task.scratch {
            spawn.set.push(("FLEET_ATTEMPT_DIR".to_owned(), scratch(engine.run_dir(), task, attempt)?));
        }
        spawn.stdin = task.stdin.as_ref().map(|path| stdin(engine, path)).transpose()?;
    }
    let has_container = matches!(fleet.workers[worker].host, Host::Container(_));
    spawn.limits = task.limits.as_deref().filter(|_| !has_container).map(trust::limits);
    // What has secrets may print one in pieces, between which the other stream must not come: nothing would find it.
    let split = wants.stdout.is_some() || wants.stderr.is_some() || !task.secrets.is_empty();
    spawn.streams = if split { Streams::Split } else { Streams::Merged };
    spawn.timeout_ms = task.timeout.map(millis);
    spawn.idle_timeout_ms = task.idle_timeout.map(millis);
    engine.give_secrets(id, worker, &mut spawn)?;
    Ok(spawn)
}

/// The words of a process, as a receipt has them.
pub(super) type Argv = Box<[Box<str>]>;

/// With the task's own words, and a tracer around the process if this is the task to trace.
pub(super) fn traced(
    engine: &Engine<'_>,
    id: TaskId,
    attempt: Attempt,
    mut spawn: Spawn,
) -> Result<(Spawn, Argv), Refused> {
    let argv = spawn.argv.iter().map(|word| word.as_str().into()).collect();
    if let Some(audit) = engine.job.options.audit.as_ref().filter(|audit| audit.task == id) {
        if engine.masks.is_some() {
            // The tracer writes down the paths that processes use, and nothing masks those.
            return Err(Refused(
                "it cannot be traced in a run with secrets: a trace might hold their values".to_owned(),
            ));
        }
        let wrapped = audit.wrap(engine.run_dir(), &engine.view.fleet.tasks[id], attempt, &mut spawn);
        wrapped.map_err(|error| Refused(format!("its trace cannot be written: {error}")))?;
    }
    Ok((spawn, argv))
}

/// The process of a `command` scorer: the task's environment and folder, its own time.
pub(super) fn scorer_spawn(
    engine: &mut Engine<'_>,
    id: TaskId,
    (attempt, worker): (Attempt, WorkerId),
    command: &CommandRule<'_>,
) -> Result<Spawn, Refused> {
    let task = &engine.view.fleet.tasks[id];
    let mut spawn = process(engine, task, (attempt, worker), command.argv.iter().map(ToString::to_string).collect())?;
    spawn.streams = if command.score_from_stdout { Streams::Split } else { Streams::Merged };
    spawn.timeout_ms = Some(millis(command.timeout));
    spawn.label = format!("{}/{}", spawn.label, command.scorer);
    spawn.unnamed = engine.masks.is_some();
    Ok(spawn)
}

/// What both have in common; resolves the program, unless that is for the host to do.
fn process(
    engine: &mut Engine<'_>,
    task: &Task,
    (attempt, worker): (Attempt, WorkerId),
    mut argv: Vec<String>,
) -> Result<Spawn, Refused> {
    let fleet = engine.view.fleet;
    let (shared, path) = search_path(&mut engine.environments, task);
    let common = Spawn {
        env: u32::try_from(shared.0).map_err(|_| Refused("too many environments".to_owned()))?,
        set: own_variables(task, attempt),
        grace_ms: millis(GRACE),
        label: format!("{}.{attempt}", task.name),
        confine: trust::confine(fleet, task, worker, engine.run_dir(), attempt).map(Box::new),
        ..Spawn::default()
    };
    let cell = trust::cell(fleet, task, worker);
    if let Some(path) = cell.as_ref().and_then(Cell::unspeakable) {
        let why = "an engine cannot be told a path with a comma, a quote or a line end; grant a folder without";
        return Err(Refused(format!("`{path}` cannot be granted to a container: {why}")));
    }
    if fleet.workers[worker].stages() {
        return Ok(Spawn { argv, cwd: task.workdir.to_string(), staged: Some(Staged::default()), ..common });
    }
    let cwd = cwd(fleet, task);
    if !task.workdir.is_empty() {
        stays_inside(engine, &cwd, &task.workdir)?;
    }
    let private = common.confine.as_ref().and_then(|confine| confine.private.as_deref());
    let temporary = private.map(|private| ("TMPDIR".to_owned(), format!("{private}/tmp")));
    let Some(program) = engine.environments.program(&argv[0], &path, &cwd) else {
        return Err(Refused(lookup::missing(&argv[0])));
    };
    argv[0] = text(&program)?;
    if common.confine.as_ref().is_some_and(|confine| confine.private.is_some()) {
        // The supervisor makes the attempt's own folder in it.
        let made = std::fs::create_dir_all(engine.run_dir().join("attempts"));
        made.map_err(|error| Refused(format!("the folder of attempts cannot be made: {error}")))?;
    }
    let set = common.set.into_iter().chain(temporary).collect();
    Ok(Spawn { argv, cwd: text(&cwd)?, set, ..common })
}

fn own_variables(task: &Task, attempt: Attempt) -> Vec<(String, String)> {
    let mut set = Vec::with_capacity(task.env.len() + 3);
    set.extend(task.env.iter().map(|(name, value)| (name.to_string(), value.to_string())));
    set.push(("FLEET_TASK".to_owned(), task.name.to_string()));
    set.push(("FLEET_ATTEMPT".to_owned(), attempt.to_string()));
    set
}

/// The shared environment of a task, and the PATH it will see.
pub(super) fn search_path(environments: &mut Environments, task: &Task) -> (SharedEnv, String) {
    let (shared, _) = environments.shared_for(&task.pass_env);
    let path = environments.value(shared, &task.env, "PATH").unwrap_or_default().to_owned();
    (shared, path)
}

pub(super) fn cwd(fleet: &Fleet, task: &Task) -> PathBuf {
    if task.workdir.is_empty() { fleet.workspace.clone() } else { fleet.workspace.join(&*task.workdir) }
}

/// A file to read from, which the fleet file could only check before anything ran.
fn stdin(engine: &Engine<'_>, path: &str) -> Result<String, Refused> {
    let refused = |why: String| Refused(format!("its stdin `{path}` {why}"));
    let file = engine.root.read(Path::new(path)).map_err(|error| refused(format!("cannot be read: {error}")))?;
    let found = file.metadata().map_err(|error| refused(format!("cannot be read: {error}")))?;
    if !found.is_file() {
        return Err(refused("is not a regular file".to_owned()));
    }
    text(&engine.view.fleet.workspace.join(path))
}

/// An earlier task may have put a link where the folder was.
fn stays_inside(engine: &Engine<'_>, cwd: &Path, workdir: &str) -> Result<(), Refused> {
    match cwd.canonicalize() {
        Ok(resolved) if resolved.starts_with(engine.root.path()) => Ok(()),
        Ok(_) => Err(Refused(format!("its workdir `{workdir}` leads out of the workspace"))),
        // The supervisor says what is wrong with a folder that is not there.
        Err(_) => Ok(()),
    }
}

/// An empty folder of the attempt's own.
fn scratch(run_dir: &Path, task: &Task, attempt: Attempt) -> Result<String, Refused> {
    let path = run_dir.join("attempts").join(log::stem(&task.name, attempt));
    std::fs::create_dir_all(&path).map_err(|e| Refused(format!("its scratch directory cannot be made: {e}")))?;
    text(&path)
}

fn text(path: &Path) -> Result<String, Refused> {
    path.to_str().map(str::to_owned).ok_or_else(|| Refused(format!("the path `{}` is not UTF-8", path.display())))
}
