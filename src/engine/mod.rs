//! The engine: performs what the scheduler decides, and tells it what came of it.
//!
//! - this file: what a run is given, the loop, and how it ends
//! - `work` the fleet as the scheduler sees it · `inbox` the one place where a run waits · `signal` what it may hear
//! - `hear` what supervisors say · `attempt` from placed to judged, `settle` its end · `output` what it prints · `preflight` what must be there before · `launch` what a process is told · `environment` the variables it sees
//! - `placed` why a task is on which worker · `lane` the connections to them · `away` those that may come back · `staged` attempts that work on a copy · `trust` what a task may
//! - `judge` the stage after a process: scorers, outputs, artifacts · `clean` what of them may be kept · `writes` what it may have written · `again` what
//!   follows an attempt
//! - `sitting` its folder, lock and journal · `resume` what an earlier sitting left · `grounds` what it stands on
//! - `reuse` whether an earlier result holds · `reused` results from run to run · `uploads` to the shared cache · `audit` what a traced task read
//! - `secrets` what tasks may know, and how it is kept out of everything else
//! - `written` what goes out, and what if it cannot · `ending` how a run ends
//! - `receipts` the account of it · `sink` who is told of it · `outcome` what the run came to
//!
//! The loop turns in one order: take in what happened, let the scheduler decide, perform it, hand the journal to the
//! kernel, and only then send the supervisors what they are told. So nothing runs that is not on record.

mod again;
mod attempt;
pub mod audit;
mod away;
mod clean;
mod ending;
mod environment;
mod grounds;
mod hear;
mod inbox;
mod judge;
mod lane;
mod launch;
pub mod outcome;
mod output;
mod placed;
mod preflight;
mod receipts;
mod resume;
pub mod reuse;
mod reused;
pub mod secrets;
mod settle;
pub(crate) mod signal;
pub mod sink;
mod sitting;
mod staged;
mod tally;
mod trust;
mod uploads;
mod work;
mod writes;
mod written;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::graph::Graph;
use crate::graph::select::Selection;
use crate::host::client::Clients;
use crate::host::link::Link;
use crate::id::{IdMap, RunId, TaskId, WorkerId};
use crate::journal::{Event, FLEET_VERSION, Journal, ReadError, Stream};
use crate::model::Fleet;
use crate::policy::ExitCode;
use crate::policy::mask::Masks;
use crate::protocol::Receipt;
use crate::protocol::receipt::AttemptRecord;
use crate::protocol::run::RunRequest;
use crate::receipt::Receipts;
use crate::schedule::{Action, Input, Scheduler};
use crate::store::state::{LockError, StateDir};
use crate::store::{Ahead, Root, Store};
use crate::supervisor::{Keys, frame};
use crate::time::clock::Clock;
use crate::time::{Millis, millis};

use attempt::{Finished, Flight};
use environment::Environments;
use grounds::Grounds;
use inbox::{Inbox, Ready};
use lane::{Lane, LaneId, Reach};
use outcome::Outcome;
pub use preflight::{Lacking, preflight};
use resume::{Earlier, Recorded};
use reuse::{Reuse, Standing};
use signal::{Signal, Signals};
use sink::{RunView, Running, Sink};
use sitting::Sitting;
use uploads::Uploads;

/// Between TERM and KILL, whoever asked for the end.
pub const GRACE: Duration = Duration::from_secs(10);
/// The longest the loop sleeps while a deadline is set. Waking much later than this means that we were stopped.
const TICK: Duration = Duration::from_secs(1);
/// The folder of exit logs in a run's folder.
const EXITS: &str = "exits";
/// How often the end of a run looks whether its uploads are done.
const UPLOAD_LOOK: Duration = Duration::from_millis(5);
/// The key that asks what runs.
const TELL_KEY: u8 = b't';
/// How long a stop waits until the supervisors are told of it.
const STOP_TOLD: Duration = Duration::from_secs(1);
/// How often the report may redraw.
const FRAME: Duration = Duration::from_millis(100);

/// A run to carry out.
#[derive(Debug)]
pub struct Job<'a> {
    pub fleet: Arc<Fleet>,
    pub graph: &'a Graph,
    pub selection: &'a Selection,
    pub options: Options,
    /// Held by us for the whole run.
    pub state: &'a StateDir,
    /// What is put on record of what was asked for.
    pub request: RunRequest,
    /// The run to go on with, instead of a new one.
    pub resumes: Option<Resumes>,
    /// What passed in the run that this one does again, and is not to be run as long as its outputs are there.
    pub stands: Vec<(TaskId, Receipt)>,
    /// What its tasks may know; `None` when they ask for nothing.
    pub secrets: Option<secrets::Secrets>,
}

/// A run that was cut short.
#[derive(Clone, Debug)]
pub struct Resumes {
    pub run: RunId,
    /// Held tasks that a person lets be made again.
    pub again: Vec<TaskId>,
}

#[derive(Clone, Debug)]
pub struct Options {
    /// `-j`: attempts at once, over the file's own `max_parallel`.
    pub jobs: Option<u32>,
    /// `--fail-fast` or `--keep-going`, over the file's own `fail_fast`.
    pub fail_fast: Option<bool>,
    /// A task to run traced, whatever could be reused of it.
    pub audit: Option<audit::Audit>,
    /// The `fleet` binary, which is also the supervisor.
    pub exe: PathBuf,
    /// What the command line says about reuse.
    pub reuse: reuse::Rules,
    /// Listen to the keys of the terminal.
    pub keys: bool,
}

/// Why a run could not begin.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Another run holds the state directory, or its lock cannot be taken.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Its folder, its journal or its signal handlers could not be made.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The run to go on with has ended, and nothing of it is open.
    #[error("run {run} has ended")]
    Ended { run: RunId, exit: ExitCode },
    /// The run to go on with left no record at all.
    #[error("run {0} ended before its first record was written")]
    Empty(RunId),
    /// A task that a person lets be made again, and that nothing holds.
    #[error("run {0} does not hold `{1}`: --again is for a task of which nobody knows whether it ran")]
    NotHeld(RunId, String),
    /// The journal of the run to go on with cannot be believed.
    #[error("run {0}: {1}")]
    Journal(RunId, ReadError),
}

/// Carries out the run and tells `sink` of it. Whatever happens to a task is in the outcome. `ahead` is what earlier runs
/// left, as far as it is being read already.
///
/// # Errors
/// When the run could not begin, or its own plumbing broke.
pub fn run(job: &Job<'_>, ahead: Option<Ahead>, sink: &mut dyn Sink) -> Result<Outcome, RunError> {
    let clock = Clock::start();
    let Sitting { run, run_dir, lock, left, mut journal, earlier } = Sitting::open(job, clock)?;
    // Both take their time with many tasks, and neither needs the other.
    let (begun, ground) = std::thread::scope(|scope| {
        let begin = scope.spawn(|| match &earlier {
            None => journal.begin(clock.stamp(), &job.fleet, job.selection.tasks(), &job.request),
            Some(_) => journal.resume(clock.stamp(), &job.fleet),
        });
        let ground = Grounds::look(job, &run, (earlier.as_ref(), ahead));
        (begin.join().unwrap_or_else(|_| Err(io::Error::other("the journal's first record was not made"))), ground)
    });
    begun?;
    let settled = earlier.as_ref().map_or(0, |earlier| earlier.done.len());
    let selected = job.selection.tasks().count();
    let parent = job.request.parent.as_deref();
    let resumed = job.resumes.is_some();
    let view = RunView { fleet: &job.fleet, run: &run, run_dir: &run_dir, selected, settled, resumed, parent };
    let (mut engine, standing) = Engine::new(job, view, clock, journal, sink, (ground?, earlier.as_ref()))?;
    for text in left {
        engine.warn(&text);
    }
    if let Some(earlier) = earlier {
        engine.take_up(earlier);
    }
    engine.stand(standing);
    engine.begin();
    engine.looked = engine.clock.now();
    while !engine.done {
        engine.wait()?;
        engine.turn();
    }
    let outcome = engine.end();
    drop(lock);
    Ok(outcome)
}

/// Everything a run holds while it runs.
struct Engine<'a> {
    job: &'a Job<'a>,
    view: RunView<'a>,
    clock: Clock,
    /// The loop's own time: one reading a turn.
    now: Millis,
    /// When the loop last came out of its wait.
    looked: Millis,
    /// How long we have been stopped, which no deadline counts.
    stopped: Duration,
    scheduler: Scheduler,
    actions: VecDeque<Action>,
    /// When the scheduler wants to be woken.
    wake_at: Option<Millis>,
    run_timeout: Option<Millis>,
    journal: Option<Journal>,
    sink: &'a mut dyn Sink,
    sink_due: Option<Millis>,
    lanes: BTreeMap<LaneId, Lane>,
    next_lane: LaneId,
    reach: IdMap<WorkerId, Reach>,
    /// Files on their way back, by lane.
    incoming: staged::AllReceiving,
    /// Tasks that start from the same files, once somebody asked.
    shared_inputs: Option<placed::SharedInputs<'a>>,
    /// What leads to hosts that are being reached.
    clients: Clients,
    /// Lanes that are being made or ended.
    closing: Vec<std::thread::JoinHandle<()>>,
    inbox: Inbox<Finished>,
    ready: Ready,
    signals: Signals,
    keys: Option<Keys>,
    environments: Environments,
    root: Arc<Root>,
    store: Option<Arc<Store>>,
    /// `None` in a run without secrets, which pays nothing for those of others.
    masks: Option<Arc<Masks>>,
    receipts: Receipts,
    reuse: Reuse,
    uploads: Uploads,
    /// Set when nobody wants to wait for the shared cache any more.
    stop_waiting: Arc<AtomicBool>,
    flights: HashMap<u32, Flight>,
    in_flight: HashMap<TaskId, u32>,
    next_number: u32,
    /// Attempts that ended before this sitting, to be judged at their task's turn.
    recorded: HashMap<TaskId, Recorded>,
    /// The attempts so far of tasks that may have several and have no result yet.
    tried: HashMap<TaskId, Vec<AttemptRecord>>,
    /// Flights whose next `command` scorer is to be started at the end of this turn.
    commands_due: Vec<u32>,
    /// What is to be started at the end of this turn, once the record of it is written.
    to_send: Vec<(u32, frame::Spawn)>,
    tally: tally::Tally,
    exit: ExitCode,
    cancelled: u32,
    interrupted: Option<i32>,
    /// Results cannot be kept for the next run, which has been told.
    results_lost: bool,
    /// Nothing new is started, because something that must last could not be written.
    draining: bool,
    done: bool,
}

impl<'a> Engine<'a> {
    fn new(
        job: &'a Job<'a>,
        view: RunView<'a>,
        clock: Clock,
        journal: Journal,
        sink: &'a mut dyn Sink,
        (grounds, earlier): (Grounds, Option<&Earlier>),
    ) -> io::Result<(Self, Standing)> {
        let fleet = &*job.fleet;
        let Grounds { environments, unreadable, root, reuse, stop, standing } = grounds;
        let reach = fleet.workers.ids().map(|id| Reach::of(reuse.ground.images[id].clone())).collect::<Vec<_>>();
        let mut engine = Self {
            job,
            view,
            clock,
            now: clock.now(),
            looked: clock.now(),
            stopped: Duration::ZERO,
            scheduler: Scheduler::new(work::work(job, &standing, earlier)),
            actions: VecDeque::new(),
            wake_at: None,
            run_timeout: fleet.policies.timeout.map(|limit| Millis::default().after(limit)),
            journal: Some(journal),
            sink,
            sink_due: None,
            lanes: BTreeMap::new(),
            next_lane: 0,
            reach: IdMap::from(reach),
            incoming: staged::AllReceiving::new(),
            shared_inputs: None,
            clients: Clients::default(),
            closing: Vec::new(),
            inbox: Inbox::new()?,
            ready: Ready::default(),
            signals: Signals::watch()?,
            keys: job.options.keys.then(Keys::open).flatten(),
            environments,
            root,
            store: None,
            masks: job.secrets.as_ref().map(|secrets| Arc::clone(secrets.masks())),
            receipts: Receipts::of(view.run, fleet, FLEET_VERSION, receipts::mechanisms),
            reuse,
            uploads: Uploads::default(),
            stop_waiting: stop,
            flights: HashMap::new(),
            in_flight: HashMap::new(),
            next_number: 0,
            recorded: HashMap::new(),
            tried: HashMap::new(),
            commands_due: Vec::new(),
            to_send: Vec::new(),
            tally: tally::Tally::new(fleet),
            exit: ExitCode::Passed,
            cancelled: 0,
            interrupted: None,
            results_lost: false,
            draining: false,
            done: false,
        };
        if engine.sink.begin(&engine.view).is_err() {
            engine.output_lost();
        }
        for name in unreadable {
            engine.warn(&format!("the value of the variable {name} is not UTF-8, so no task sees it"));
        }
        Ok((engine, standing))
    }

    fn begin(&mut self) {
        self.tell(Input::Begin);
        self.turn();
    }

    // ── The loop ─────────────────────────────────────────────────────────

    /// Performs what was decided until nothing is left to decide, then lets it out: the journal first.
    fn turn(&mut self) {
        loop {
            if let Some(action) = self.actions.pop_front() {
                self.perform(action);
            } else if let Some(n) = self.commands_due.pop() {
                self.send_command(n);
            } else {
                let recorded = self.write_journal() && self.sync_what_must_not_happen_twice();
                if !self.actions.is_empty() {
                    continue;
                }
                self.send_all(recorded);
                self.flush();
                self.write_journal();
                if self.actions.is_empty() && self.commands_due.is_empty() {
                    return;
                }
            }
        }
    }

    /// Sends what the supervisors are told.
    fn flush(&mut self) {
        let mut lost = Vec::new();
        for (id, lane) in &mut self.lanes {
            let is_preparing = |flight: &Flight| flight.is_preparing() && flight.worker == lane.worker;
            // Where no beat is said, what is prepared may be the next word for long.
            if lane.has_released() && !(lane.beats() && self.flights.values().any(is_preparing)) {
                lane.let_go();
            }
            if let Some(link) = lane.any_link()
                && link.flush().is_err()
            {
                lost.push(*id);
            }
        }
        for id in lost {
            self.lane_closed(id, None);
        }
    }

    /// Waits for something to happen, and takes it in.
    fn wait(&mut self) -> io::Result<()> {
        if self.done {
            return Ok(());
        }
        let timeout = self.time_to_sleep();
        let mut ready = std::mem::take(&mut self.ready);
        let mut whose = Vec::with_capacity(self.lanes.len() * 2);
        {
            let mut fds = Vec::with_capacity(8 + self.lanes.len() * 2);
            for (id, lane) in &self.lanes {
                if let Some(link) = lane.link() {
                    fds.push((link.as_fd(), false));
                    whose.push(*id);
                    if link.wants_write() {
                        fds.push((link.write_fd(), true));
                        whose.push(*id);
                    }
                }
            }
            fds.extend(self.signals.fds().map(|fd| (fd, false)));
            fds.extend(self.keys.as_ref().and_then(Keys::fd).map(|fd| (fd, false)));
            self.inbox.wait(&fds, timeout, &mut ready)?;
        }
        // The turn before counts as well: we may be stopped anywhere in it.
        let looked = std::mem::replace(&mut self.looked, self.clock.now());
        let away = self.looked.since(looked);
        if let Some(timeout) = timeout
            && away > timeout + TICK
        {
            // Nobody is away a second longer than he sleeps but a process that was stopped.
            self.stopped += away.saturating_sub(timeout);
        }
        self.now = self.time();
        for (index, lane) in whose.iter().enumerate() {
            if ready.fds[index] {
                self.receive(*lane);
            }
        }
        if ready.fds[whose.len()..].contains(&true) {
            self.heard();
        }
        if ready.jobs {
            let finished: Vec<Finished> = self.inbox.jobs().collect();
            for one in finished {
                self.finished(one);
            }
        }
        self.ready = ready;
        self.tick();
        Ok(())
    }

    fn time(&self) -> Millis {
        Millis(self.clock.now().0.saturating_sub(millis(self.stopped)))
    }

    fn time_to_sleep(&self) -> Option<Duration> {
        let now = self.time();
        let deadline = [self.wake_at, self.run_timeout, self.next_beat(), self.next_try()].into_iter().flatten().min();
        let deadline = deadline.map(|at| at.since(now).min(TICK));
        let draw = self.sink_due.map(|at| at.since(now));
        deadline.into_iter().chain(draw).min()
    }

    fn tick(&mut self) {
        if self.wake_at.is_some_and(|at| at <= self.now) {
            self.wake_at = None;
            self.tell(Input::Tick);
        }
        if self.run_timeout.is_some_and(|at| at <= self.now) {
            self.run_timeout = None;
            self.exit = self.exit.or_worse(ExitCode::OutOfTime);
            self.tell(Input::RunTimeout);
        }
        self.beat();
        self.try_again();
        if self.sink_due.is_some_and(|at| at <= self.now) {
            self.sink_due = self.sink.tick_every().map(|wait| self.now.after(wait));
            if self.sink.tick(&self.view, self.now).is_err() {
                self.output_lost();
            }
        }
    }

    fn tell(&mut self, input: Input) {
        let mut out = Vec::new();
        self.scheduler.step(self.now, input, &mut out);
        self.actions.extend(out);
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Queue(task) => {
                self.emit(Event::Queued { task });
            }
            Action::Start { task, worker, attempt } => {
                let placement = self.placement(task);
                self.start(task, worker, attempt, placement);
            }
            Action::Stop { task, cause, force } => self.stop(task, cause, force),
            Action::Skip { task, cause } => self.skipped(task, cause),
            Action::WakeAt(at) => self.wake_at = Some(at),
            Action::Done => self.done = true,
        }
    }

    // ── What comes in ────────────────────────────────────────────────────

    fn heard(&mut self) {
        for signal in self.signals.take() {
            match signal {
                Signal::Interrupt => self.cancel(libc::SIGINT, ExitCode::Interrupted),
                Signal::Terminate => self.cancel(libc::SIGTERM, ExitCode::Terminated),
                Signal::Stop => self.stop_all(),
                // Of a stop that we could not catch, `wait` has seen the time by the clock; the terminal may have been
                // somebody else's meanwhile.
                Signal::Continue => self.keys.iter_mut().for_each(Keys::resume),
                Signal::Tell => self.tell_running(),
            }
        }
        if self.keys.as_mut().is_some_and(|keys| keys.take().contains(&TELL_KEY)) {
            self.tell_running();
        }
    }

    /// Says what runs, with the last lines of each; the longest first.
    fn tell_running(&mut self) {
        let mut running: Vec<Running> = self.flights.values().map(Flight::told).collect();
        running.sort_unstable_by_key(|one| (one.since, one.task));
        if self.sink.running(&self.view, self.now, &running).is_err() {
            self.output_lost();
        }
    }

    fn cancel(&mut self, signal: i32, exit: ExitCode) {
        self.interrupted.get_or_insert(signal);
        self.exit = self.exit.or_worse(exit);
        self.cancelled += 1;
        self.stop_waiting.store(true, Ordering::Relaxed);
        self.tell(Input::Cancel { force: self.cancelled > 1 });
    }

    /// Ctrl-Z: the tasks stop with us, and no deadline counts the time.
    fn stop_all(&mut self) {
        let each = |this: &mut Self, say: fn(&mut Link)| {
            for lane in this.lanes.values_mut() {
                if let Some(link) = lane.up() {
                    say(link);
                    // A supervisor that is gone is noticed by the next receive.
                    let _ = link.flush();
                }
            }
        };
        each(self, Link::suspend);
        for lane in self.lanes.values_mut() {
            if let Some(link) = lane.up() {
                // Who is not told goes on, and takes our silence for our end.
                link.push_out(STOP_TOLD);
            }
        }
        self.write_journal();
        self.keys.iter_mut().for_each(Keys::pause);
        let before = self.clock.now();
        if Signals::stop_here().is_err() {
            self.warn("could not stop as the terminal asked");
        }
        self.stopped += self.clock.now().since(before);
        self.looked = self.clock.now();
        self.now = self.time();
        self.keys.iter_mut().for_each(Keys::resume);
        each(self, Link::resume);
    }

    fn run_dir(&self) -> &'a Path {
        self.view.run_dir
    }
}

/// The supervisor's word for a stream, as ours.
fn stream(stream: frame::Stream) -> Stream {
    match stream {
        frame::Stream::Stdout => Stream::Stdout,
        frame::Stream::Stderr => Stream::Stderr,
    }
}
