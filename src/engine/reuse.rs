//! Whether an earlier result still holds. Asked of all tasks at once before anything runs, where nothing but files can
//! have changed; asked again of a task when its turn comes, when what it needs has run; and told of every new result.
//! What could be wrong with what is reused is looked at here: contents by the stat cache, outputs before they count.

mod foresee;
mod ground;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock, OnceLock, RwLock};

use rayon::prelude::*;

use super::environment::Environments;
use super::launch::{cwd, search_path};
use super::preflight::lacking;
use super::resume::Earlier;
use crate::digest::Digest;
use crate::graph::Graph;
use crate::graph::select::{Part, Selection};
use crate::id::{IdMap, TaskId};
use crate::model::{Fleet, Task};
use crate::plan::explain::Reason;
use crate::plan::fingerprint::{self, Facts, Kind};
use crate::policy::mask::Masks;
use crate::protocol::Receipt;
use crate::protocol::receipt::{OutputRef, ReusedFrom};
use crate::store::outputs;
use crate::store::remote::{Remote, Token};
use crate::store::results::{Entry, Results};
use crate::store::{Ahead, Files, Root, StateDir};

pub(super) use ground::Ground;
use ground::images;

pub use foresee::{Counted, Foreseen, LastRun, Outlook, foresee};

/// What the command line says about reuse.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// `--no-cache`: nothing is reused, and nothing is kept for reuse.
    pub off: bool,
    /// `--force`: these run whatever they made before.
    pub forced: Forced,
    /// `--rehash`: no digest is taken from the stat cache.
    pub rehash: bool,
}

#[derive(Clone, Debug, Default)]
pub enum Forced {
    #[default]
    Nothing,
    All,
    /// By name.
    Some(Vec<TaskId>),
}

impl Forced {
    /// One more task.
    #[must_use]
    pub fn with(self, task: TaskId) -> Self {
        match self {
            Self::Nothing => Self::Some(vec![task]),
            Self::All => Self::All,
            Self::Some(tasks) => Self::Some(tasks.into_iter().chain([task]).collect()),
        }
    }

    fn has(&self, task: TaskId) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => true,
            Self::Some(tasks) => tasks.contains(&task),
        }
    }
}

/// What a settled task has made, for those that need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    /// It is not settled.
    Open,
    Outputs(Digest),
    /// It did not pass.
    Nothing,
}

/// All that a run knows about reuse.
#[derive(Debug)]
pub(super) struct Reuse {
    pub ground: Arc<Ground>,
    rules: Rules,
    made: IdMap<TaskId, Made>,
    /// Begun in an earlier sitting of the run.
    begun: HashSet<TaskId>,
    /// Results of another run, which stand in this one.
    stands: HashMap<TaskId, Entry>,
}

/// What decides about a task beside itself and its files; owned, because it crosses to the pool.
#[derive(Clone, Debug, Default)]
pub(super) struct Given {
    needs: Vec<(Box<str>, Digest)>,
    passed: Arc<Vec<(String, String)>>,
    tools: Vec<(Box<str>, String, Digest)>,
    images: Arc<[Box<str>]>,
}

/// A task as it is before it runs.
#[derive(Debug, Default)]
pub(super) struct Looked {
    pub fingerprint: Option<Digest>,
    inputs: Vec<OutputRef>,
    own_files: Vec<(Kind, OutputRef)>,
    given: Given,
}

/// How a task may be answered for at its turn.
#[derive(Debug)]
pub(super) enum Turn {
    /// Look for an earlier result.
    Ask(Given),
    /// Run it, and keep what it makes.
    Run(Given, Reason),
    /// Run it, and keep nothing.
    Always(Reason),
}

impl Turn {
    /// No look for an earlier result. For attempts after the first, of which nobody is told why they run.
    pub(super) fn without_asking(self) -> Self {
        match self {
            Self::Ask(given) => Self::Run(given, Reason::Forced),
            Self::Run(..) | Self::Always(_) => self,
        }
    }
}

/// What looking for an earlier result came to.
#[derive(Debug)]
pub(super) enum Answer {
    Holds(Box<Entry>),
    Run(Vec<Reason>),
}

/// Tasks whose result stands before anything has run.
pub(super) type Standing = Vec<(TaskId, Box<Entry>)>;

/// A result that holds if the needed tasks made what they made last.
#[derive(Clone, Debug)]
struct Held {
    entry: Box<Entry>,
    needs: Vec<(Box<str>, Digest)>,
}

impl Reuse {
    /// `stop` ends what waits for the shared cache.
    pub(super) fn open(
        fleet: &Fleet,
        root: Arc<Root>,
        state: &StateDir,
        rules: Rules,
        (environments, stop): (&Environments, Arc<AtomicBool>),
        ahead: Option<Ahead>,
    ) -> Self {
        let cache = state.cache_dir();
        let remote = fleet.cache.remote.as_ref().filter(|_| !rules.off).map(|remote| {
            let token = remote.token_ref.as_deref().and_then(|name| environments.caller(name)).map(Token::new);
            Remote::new(remote, token.as_ref(), stop)
        });
        let (files, results) = match ahead.filter(|_| !rules.rehash) {
            Some(ahead) => ahead.take(root, &cache),
            None => (Files::open(root, Some(&cache), !rules.rehash), Results::open(&cache)),
        };
        let results = RwLock::new(results);
        let images = images(fleet);
        let ground = Ground { files, results, remote, state: state.path().to_owned(), images, store: OnceLock::new() };
        Self {
            ground: Arc::new(ground),
            rules,
            made: IdMap::filled(&fleet.tasks, Made::Open),
            begun: HashSet::new(),
            stands: HashMap::new(),
        }
    }

    /// What the task is to be asked when its turn comes.
    pub(super) fn turn(&self, fleet: &Fleet, id: TaskId, environments: &mut Environments) -> Turn {
        let task = &fleet.tasks[id];
        if let Some(reason) = self.never(task) {
            return Turn::Always(reason);
        }
        let needs = task.needs.iter().filter(|need| !need.order_only).map(|need| match self.made[need.task] {
            Made::Outputs(digest) => Ok((fleet.tasks[need.task].name.clone(), digest)),
            Made::Open | Made::Nothing => Err(Reason::NeedDidNotPass(fleet.tasks[need.task].name.clone())),
        });
        let needs = match needs.collect::<Result<Vec<_>, _>>() {
            Ok(needs) => needs,
            Err(reason) => return Turn::Always(reason),
        };
        let given = given(fleet, &self.ground, id, needs, environments);
        if self.rules.forced.has(id) { Turn::Run(given, Reason::Forced) } else { Turn::Ask(given) }
    }

    /// Why no result of the task can be reused, whatever it depends on.
    pub(super) fn never(&self, task: &Task) -> Option<Reason> {
        if self.rules.off {
            return Some(Reason::NoCache);
        }
        fingerprint::never_reusable(task).map(Reason::Never)
    }

    /// A task is settled; `None` when it did not pass.
    pub(super) fn settled(&mut self, id: TaskId, made: Option<Digest>) {
        self.made[id] = made.map_or(Made::Nothing, Made::Outputs);
    }

    /// Tasks that an earlier sitting of the run knew are not looked at before their turn: they have their results, or
    /// were begun because nothing held.
    pub(super) fn take_up(&mut self, earlier: &Earlier) {
        for done in &earlier.done {
            let made = done.made.as_deref().filter(|outputs| self.ground.is_there(outputs));
            self.settled(done.task, made.map(fingerprint::digest_of_outputs));
        }
        self.begun = earlier.open.keys().copied().collect();
    }

    /// What passed in another run and is not to be run again in this one. What can be reused by its fingerprint is, and
    /// needs no more.
    pub(super) fn take_over(&mut self, stands: &[(TaskId, Receipt)]) {
        self.stands = stands.iter().map(|(id, receipt)| (*id, entry_of(receipt))).collect();
    }

    /// The result of another run, if what it made is still there.
    fn taken_over(&mut self, task: &Task, id: TaskId) -> Option<Entry> {
        let entry = self.stands.remove(&id).filter(|_| fingerprint::never_reusable(task).is_some())?;
        outputs::changed(&self.ground.files, &entry.outputs).is_empty().then_some(entry)
    }

    /// Keeps a result for the next time.
    pub(super) fn add(&self, entry: &Entry, parts: &[fingerprint::Part]) -> io::Result<()> {
        self.results_mut(|results| results.add(entry, parts))
    }

    /// The result that is reused is the last one from now on.
    pub(super) fn again(&self, entry: &Entry, looked: &Looked, task: &Task) -> io::Result<()> {
        let is_last = |results: &Results| {
            results.last_made(&task.name).is_some_and(|(fingerprint, _)| fingerprint == entry.fingerprint)
        };
        if self.ground.results(is_last) {
            return Ok(());
        }
        self.add(entry, &looked.parts(task))
    }

    /// Hands what was added to the kernel.
    pub(super) fn write(&self) -> io::Result<()> {
        self.results_mut(Results::write)
    }

    /// Leaves everything as the next run wants to find it.
    pub(super) fn close(&self, masks: Option<&Masks>) -> io::Result<()> {
        self.results_mut(|results| {
            results.write()?;
            results.compact()
        })?;
        self.ground.files.save_without(|path| masks.is_some_and(|masks| masks.find(path.as_bytes()).is_some()))
    }

    fn results_mut<T>(&self, what: impl FnOnce(&mut Results) -> T) -> T {
        what(&mut self.ground.results.write().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Every selected task whose earlier result holds as things are, and on which nothing stands that has to run.
    pub(super) fn standing(
        &mut self,
        fleet: &Fleet,
        graph: &Graph,
        selection: &Selection,
        environments: &mut Environments,
    ) -> Standing {
        let nothing =
            self.rules.off || matches!(self.rules.forced, Forced::All) || self.ground.results(Results::is_empty);
        if nothing && self.stands.is_empty() {
            return Standing::new();
        }
        let is_asked = |part: Part| matches!(part, Part::Target | Part::NeededBy(_));
        let asked: Vec<(TaskId, Given)> = selection
            .tasks()
            .filter(|id| !nothing && is_asked(selection.part(*id)))
            .filter(|id| self.made[*id] == Made::Open && !self.begun.contains(id))
            .filter_map(|id| {
                let may = self.may_stand(fleet, id, environments);
                Some((id, may.then(|| self.supposed(fleet, id, environments))??))
            })
            .collect();
        let ground = &self.ground;
        let hold = |(id, given): (TaskId, Given)| (id, ground.holds(&fleet.tasks[id], given));
        let mut found: IdMap<TaskId, Option<Held>> = IdMap::filled(&fleet.tasks, None);
        for (id, held) in asked.into_par_iter().map(hold).collect::<Vec<_>>() {
            found[id] = held;
        }
        let mut standing = Standing::new();
        for &id in graph.order() {
            let task = &fleet.tasks[id];
            if task.unwanted.is_some() && selection.contains(id) {
                self.made[id] = Made::Outputs(unwanted());
            }
            let before = graph.needs(id).iter().all(|edge| self.made[edge.from] != Made::Open);
            let Some(Held { entry, needs }) = found[id].take() else {
                if before
                    && selection.contains(id)
                    && let Some(entry) = self.taken_over(task, id)
                {
                    self.made[id] = Made::Outputs(entry.made);
                    standing.push((id, Box::new(entry)));
                }
                continue;
            };
            // What it needs was supposed to have made what it made last.
            let made = task.needs.iter().filter(|need| !need.order_only).map(|need| self.made[need.task]);
            if before && made.eq(needs.iter().map(|(_, digest)| Made::Outputs(*digest))) {
                self.made[id] = Made::Outputs(entry.made);
                standing.push((id, entry));
            }
        }
        standing
    }

    /// What lacks something that it requires is told so at its turn, changed or not.
    fn may_stand(&self, fleet: &Fleet, id: TaskId, environments: &mut Environments) -> bool {
        let task = &fleet.tasks[id];
        task.unwanted.is_none()
            && fingerprint::never_reusable(task).is_none()
            && !self.rules.forced.has(id)
            && lacking(fleet, task, self.ground.files.root(), environments).is_empty()
    }

    /// What decides about a task if all it needs made what it made last.
    fn supposed(&self, fleet: &Fleet, id: TaskId, environments: &mut Environments) -> Option<Given> {
        let task = &fleet.tasks[id];
        let last = |need: TaskId| {
            let needed = &fleet.tasks[need];
            let made = if needed.unwanted.is_some() {
                unwanted()
            } else {
                self.ground.results(|results| results.last_made(&needed.name))?.1
            };
            Some((needed.name.clone(), made))
        };
        let needs = task.needs.iter().filter(|need| !need.order_only).map(|need| last(need.task));
        Some(given(fleet, &self.ground, id, needs.collect::<Option<Vec<_>>>()?, environments))
    }
}

/// What stands for the outputs of a task that its own `when` leaves out.
pub(super) fn unwanted() -> Digest {
    Digest::of(b"unwanted")
}

fn given(
    fleet: &Fleet,
    ground: &Ground,
    id: TaskId,
    needs: Vec<(Box<str>, Digest)>,
    environments: &mut Environments,
) -> Given {
    let task = &fleet.tasks[id];
    let (passed, images) = (environments.counted(&task.pass_env), ground.images_of(fleet, id));
    let mut given = Given { needs, passed, tools: Vec::new(), images };
    if !task.tools.is_empty() {
        let (_, path) = search_path(environments, task);
        let cwd = cwd(fleet, task);
        for tool in &task.tools {
            let found: Option<PathBuf> = environments.program(tool, &path, &cwd);
            let place = found.as_deref().map_or_else(String::new, |path| path.display().to_string());
            let digest = found.as_deref().map_or_else(|| Digest::of(b""), |path| identity(&ground.files, path));
            given.tools.push((tool.clone(), place, digest));
        }
    }
    given
}

/// Which program a path is: its bytes. Packages that are built reproducibly have one time in all their versions, and
/// often one size.
fn identity(files: &Files, path: &Path) -> Digest {
    use std::os::unix::fs::MetadataExt;
    files.program(path).unwrap_or_else(|| {
        // It may be run and not read: an upgrade at least is another file.
        let text = std::fs::metadata(path)
            .map(|m| format!("{} {} {} {} {}", m.len(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ino()));
        Digest::of(text.unwrap_or_default().as_bytes())
    })
}

impl Looked {
    fn facts(&self) -> Facts<'_> {
        Facts {
            inputs: &self.inputs,
            own_files: &self.own_files,
            needs: &self.given.needs,
            passed: &self.given.passed,
            tools: &self.given.tools,
            platform: &PLATFORM,
            images: &self.given.images,
        }
    }

    pub(super) fn parts(&self, task: &Task) -> Vec<fingerprint::Part> {
        fingerprint::parts(task, &self.facts())
    }

    pub(super) fn inputs(&self) -> &[OutputRef] {
        &self.inputs
    }
}

/// Operating system and architecture: `linux-x86_64`. No two share a word, because a cache may be shared between them.
static PLATFORM: LazyLock<String> = LazyLock::new(|| format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH));

/// The result that a receipt tells of.
fn entry_of(receipt: &Receipt) -> Entry {
    // What stands on another receipt already is cited from there.
    let (run, seq, attempt, remote) = match &receipt.reused {
        Some(from) => (from.run_id.clone(), from.journal_seq, from.attempt, from.remote),
        None => (receipt.run_id.as_ref().into(), receipt.journal_seq, receipt.attempt, false),
    };
    Entry {
        task: receipt.task_id.clone(),
        // Of no use: it is not looked for by this.
        fingerprint: receipt.fingerprint.unwrap_or_else(|| Digest::of(b"")),
        result: receipt.result,
        why_not: None,
        at: receipt.completed_at,
        run,
        seq,
        attempt,
        remote,
        made: fingerprint::digest_of_outputs(&receipt.outputs),
        inputs_digest: receipt.inputs_digest,
        outputs: receipt.outputs.clone(),
        artifacts: receipt.artifacts.clone(),
        score: receipt.score.clone(),
    }
}

/// Where a reused result comes from.
pub(super) fn reused_from(entry: &Entry) -> ReusedFrom {
    ReusedFrom { run_id: entry.run.clone(), journal_seq: entry.seq, attempt: entry.attempt, remote: entry.remote }
}
