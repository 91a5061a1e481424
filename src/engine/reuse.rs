//! Whether an earlier result still holds. Asked of all tasks at once before anything runs, where nothing but files can
//! have changed; asked again of a task when its turn comes, when what it needs has run; and told of every new result.
//! What could be wrong with what is reused is looked at here: contents by the stat cache, outputs before they count.

mod foresee;

use std::collections::{BTreeSet, HashMap, HashSet};
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
use crate::host::container::{self, Here, Image};
use crate::id::{IdMap, TaskId, WorkerId};
use crate::model::{Fleet, Host, Task, Worker};
use crate::place;
use crate::plan::explain::{self, Last, Reason};
use crate::plan::fingerprint::{self, Facts, Kind};
use crate::policy::mask::Masks;
use crate::protocol::Receipt;
use crate::protocol::receipt::{ArtifactRef, OutputRef, ReusedFrom, TaskResult};
use crate::store::outputs::{self, RestoreError};
use crate::store::remote::{Remote, RemoteEntry, Token};
use crate::store::results::{Entry, Results};
use crate::store::{Ahead, Files, Root, Scan, ScanError, StateDir, Store, scan};
use crate::time::Stamp;

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

/// The workspace and the earlier results; shared by all jobs.
#[derive(Debug)]
pub(super) struct Ground {
    pub files: Files,
    results: RwLock<Results>,
    /// The cache shared with others, where the file names one.
    pub remote: Option<Remote>,
    state: PathBuf,
    /// What the containers of workers are made of, as receipts have it; nothing for the others.
    pub images: IdMap<WorkerId, Option<Image>>,
    /// Opened for the first result that has artifacts.
    store: OnceLock<Option<Store>>,
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

/// What the containers of the workers are made of. An image that nobody has costs its tasks their reuse, and is told when
/// one of them is placed there. So is an engine that does not answer, which is not asked twice.
fn images(fleet: &Fleet) -> IdMap<WorkerId, Option<Image>> {
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

/// Operating system and architecture: `linux-x86_64`. No two share a word, because a cache may be shared between them.
static PLATFORM: LazyLock<String> = LazyLock::new(|| format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH));

impl Ground {
    /// The images of all containers that a task may run in, each once.
    fn images_of(&self, fleet: &Fleet, id: TaskId) -> Arc<[Box<str>]> {
        if self.images.values().all(Option::is_none) {
            return Arc::default();
        }
        let fitting = place::candidates(fleet, id).unwrap_or_default();
        let images = fitting.into_iter().filter_map(|worker| self.images[worker].as_ref());
        let images: BTreeSet<Box<str>> = images.map(|image| image.digest.as_str().into()).collect();
        images.into_iter().collect()
    }

    fn results<T>(&self, what: impl FnOnce(&Results) -> T) -> T {
        what(&self.results.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Looks at everything a task depends on. Also returns the inputs, by position, that match nothing.
    ///
    /// # Errors
    /// When something cannot be read.
    pub(super) fn look(&self, task: &Task, given: Given) -> Result<(Looked, Vec<usize>), ScanError> {
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

    pub(super) fn inputs(&self, task: &Task) -> Result<(Vec<OutputRef>, Vec<usize>), ScanError> {
        let Some(patterns) = task.inputs.as_deref().filter(|patterns| !patterns.is_empty()) else {
            return Ok(Default::default());
        };
        self.files.find_and_digest(&Scan::new(patterns)?)
    }

    /// The earlier result that holds with every output in its place.
    fn holds(&self, task: &Task, given: Given) -> Option<Held> {
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
    fn is_there(&self, outputs: &[OutputRef]) -> bool {
        let changed = outputs::changed(&self.files, outputs);
        if changed.is_empty() {
            return true;
        }
        let store = self.store.get_or_init(|| Store::open(&self.state).ok()).as_ref();
        store.is_some_and(|store| outputs::restore(&self.files, store, outputs, &changed).is_ok())
    }

    /// An artifact that the store does not have any more. A receipt that names it would promise what nobody can get.
    fn lost_artifact(&self, entry: &Entry) -> Option<Reason> {
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
    fn leftover(&self, task: &Task, entry: &Entry, is_whole: impl FnOnce() -> bool) -> Option<Reason> {
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
    pub(super) fn answer(&self, task: &Task, looked: &Looked, store: &Store) -> Answer {
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
    fn obstacle(&self, task: &Task, entry: &Entry) -> Option<Reason> {
        // What others have made is fetched when it is put back.
        let lost = if entry.remote { None } else { self.lost_artifact(entry) };
        lost.or_else(|| self.leftover(task, entry, || outputs::changed(&self.files, &entry.outputs).is_empty()))
    }

    /// Puts missing outputs in their places; what the store lacks, the shared cache may have.
    fn put_back(&self, entry: &Entry, missing: &[usize], store: &Store) -> Result<(), RestoreError> {
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
    fn fetched(&self, task: &Task, looked: &Looked) -> Option<Entry> {
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

    fn reasons(&self, task: &Task, looked: &Looked) -> Vec<Reason> {
        self.results(|results| {
            let last = results.last(&task.name);
            let parts = results.last_parts(&task.name);
            let last =
                last.as_ref().map(|last| Last { result: last.result, why_not: last.why_not.as_deref(), parts: &parts });
            explain::reasons(last, &looked.parts(task))
        })
    }

    /// Why what a task has just made cannot be reused: something it depends on changed while it ran.
    pub(super) fn moved_meanwhile(&self, task: &Task, before: &Looked) -> Option<String> {
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
