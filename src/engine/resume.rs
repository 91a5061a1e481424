//! What an earlier sitting of a run has left: results that stand, attempts that ended and were never judged, and attempts
//! whose end nobody knows. From the journal and the exit logs, once nobody writes in them any more.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::time::Duration;

use super::attempt::Flight;
use super::tally::Tally;
use super::{EXITS, Engine};
use crate::id::{Attempt, TaskId, WorkerId};
use crate::journal::{self, End, Event, LogWriter, ReadError, State, TaskState, fold};
use crate::model::{Fleet, OnUnknown};
use crate::policy::ExitCode;
use crate::policy::resume::{ExitBy, Fate, Gist, Known, Last, fate};
use crate::policy::retry;
use crate::protocol::Receipt;
use crate::protocol::receipt::{AttemptRecord, FailureKind, OutputRef, TaskResult};
use crate::schedule::{Part, Work};
use crate::supervisor::exits::{self, Entry, Exit};
use crate::supervisor::frame::{EndedBy, Exited};
use crate::time::Stamp;

/// What is known of a run that goes on.
pub(super) struct Earlier {
    /// Where its journal ends.
    pub end: End,
    pub created: Stamp,
    /// Bytes at the end of its journal that are no record.
    pub torn: u64,
    /// Results that stand.
    pub done: Vec<Done>,
    /// What they come to.
    pub tally: Tally,
    /// What they ask the run to exit with.
    pub exit: ExitCode,
    /// A task is held, or was.
    holds: bool,
    /// The other tasks that were attempted.
    pub open: BTreeMap<TaskId, Open>,
}

/// A result that stands.
#[derive(Clone, Debug)]
pub(super) struct Done {
    pub task: TaskId,
    pub result: TaskResult,
    /// What it made, for those that need it; `None` when it did not pass.
    pub made: Option<Vec<OutputRef>>,
}

/// A task that was attempted, and has no result that stands.
#[derive(Debug, Default)]
pub(super) struct Open {
    /// Attempts that are over, in order.
    pub tried: Vec<AttemptRecord>,
    /// The attempt whose end nobody knows; the last of `tried`.
    pub interrupted: bool,
    /// The attempt that ended and was not judged.
    pub recorded: Option<Recorded>,
    /// How long it still waits for its next attempt.
    pub wait: Duration,
    /// Only a person can say whether it is made again.
    pub held: bool,
    /// A person has said so.
    allowed: bool,
}

/// An attempt whose process ended by itself.
#[derive(Debug)]
pub(super) struct Recorded {
    pub attempt: Attempt,
    pub worker: WorkerId,
    pub started_at: Stamp,
    pub exit: Exit,
}

/// Why a run does not go on.
#[derive(Debug)]
pub(super) enum Unfit {
    /// It has ended by itself, with this code, and left nothing open.
    Ended(ExitCode),
    /// It ended before its first record was whole.
    Empty,
    /// A person lets this task be made again, and nothing holds it.
    NotHeld(TaskId),
    Journal(ReadError),
}

impl From<ReadError> for Unfit {
    fn from(error: ReadError) -> Self {
        Self::Journal(error)
    }
}

impl From<io::Error> for Unfit {
    fn from(error: io::Error) -> Self {
        Self::Journal(error.into())
    }
}

impl Earlier {
    /// Reads what the run in this folder has left. `again` are held tasks that a person lets be made again.
    ///
    /// # Errors
    /// When there is nothing to go on with, or its records cannot be read.
    pub(super) fn of(fleet: &Fleet, run_dir: &Path, again: &[TaskId], now: Stamp) -> Result<Self, Unfit> {
        let folded = journal::fold(run_dir)?;
        let state = folded.state.ok_or(Unfit::Empty)?;
        let mut receipts = fold::Receipts::open(run_dir)?;
        let exits = Exits::read(run_dir)?;
        let ids: HashMap<&str, TaskId> = fleet.tasks.iter().map(|(id, task)| (&*task.name, id)).collect();
        let torn = folded.torn.map_or(0, |torn| torn.bytes);
        let mut earlier = Self {
            end: folded.end,
            created: state.created_at,
            torn,
            done: Vec::new(),
            tally: Tally::new(fleet),
            exit: ExitCode::Passed,
            holds: false,
            open: BTreeMap::new(),
        };
        for task in &state.tasks {
            // The plan is the same, so every task is there.
            let Some(&id) = ids.get(&*task.name) else { continue };
            let receipt = task.settled.as_ref().map(|settled| receipts.get(settled)).transpose()?;
            earlier.add(fleet, id, (task, receipt), &exits, (again.contains(&id), now));
        }
        if let Some(id) = again.iter().find(|id| !earlier.open.get(*id).is_some_and(|open| open.allowed)) {
            return Err(Unfit::NotHeld(*id));
        }
        match earlier.ended(&state) {
            Some(code) => Err(Unfit::Ended(code)),
            None => Ok(earlier),
        }
    }

    fn add(
        &mut self,
        fleet: &Fleet,
        id: TaskId,
        (task, receipt): (&TaskState, Option<Receipt>),
        exits: &Exits,
        (allowed, now): (bool, Stamp),
    ) {
        let tried = receipt.as_ref().map_or(&task.tried, |receipt| &receipt.attempts).clone();
        // Behind a repair, the journal may know less than the supervisor.
        let attempt = exits.last(&task.name, task.attempt);
        let exit = exits.of(&task.name, attempt);
        let begun = attempt > task.attempt || (attempt > 0 && attempt == task.begun);
        let end_known = |last: &AttemptRecord| {
            last.failure_kind != Some(FailureKind::Transport) || last.exit_code.is_some() || last.signal.is_some()
        };
        let accounted = tried.last().is_some_and(|last| {
            last.attempt >= attempt
                && receipt.as_ref().is_none_or(|receipt| {
                    (receipt.result == TaskResult::Skip || receipt.attempt == 0) && end_known(last)
                })
        });
        let known = Known {
            settled: receipt.as_ref().map(gist),
            last: match (attempt > 0 && attempt == task.unknown, begun && !accounted) {
                (true, _) => Last::Unknown,
                (false, true) => Last::Begun,
                (false, false) => Last::Accounted,
            },
            exit: exit.map(|exit| exit_by(exit.ended_by)),
            holds: fleet.tasks[id].on_unknown == OnUnknown::Hold,
            allowed,
        };
        let fate = fate(&known);
        let mut open = Open { tried, wait: task.wait_left(now), ..Open::default() };
        match (fate, receipt) {
            (Fate::Done, Some(receipt)) => return self.done(fleet, id, receipt),
            (Fate::Judge, _) => {
                open.tried.retain(|record| record.attempt < attempt);
                open.recorded = exit.map(|exit| Recorded {
                    attempt: Attempt(attempt),
                    worker: worker_of(fleet, task),
                    started_at: task.started.unwrap_or(now),
                    exit: exit.clone(),
                });
            }
            (Fate::Again | Fate::Held, receipt) => {
                open.held = fate == Fate::Held;
                open.allowed = allowed && known.holds;
                self.holds |= known.holds;
                // That of a lost worker is accounted for as a failure, which a held task must not be taken for.
                let untold = open.tried.last().is_none_or(|last| last.attempt < attempt);
                if known.last != Last::Unknown && (receipt.is_none() || open.held || untold) {
                    open.interrupted = true;
                    open.tried.retain(|record| record.attempt < attempt);
                    let repetition = retry::repetition(&fleet.tasks[id], fleet.seed, &open.tried);
                    open.tried.push(unknown(task, (attempt, repetition), now));
                }
            }
            (Fate::Open | Fate::Done, _) => {}
        }
        if attempt > 0 {
            self.open.insert(id, open);
        }
    }

    fn done(&mut self, fleet: &Fleet, task: TaskId, receipt: Receipt) {
        let code = self.tally.add(task, &receipt, fleet.tasks[task].allow_failure);
        self.exit = self.exit.or_worse(code);
        let made = matches!(receipt.result, TaskResult::Pass | TaskResult::Partial);
        let made = made.then_some(receipt.outputs);
        self.done.push(Done { task, result: receipt.result, made });
    }

    /// The code that the run ended with, if it came to its own end and left nothing open.
    fn ended(&self, state: &State) -> Option<ExitCode> {
        let code = ExitCode::of_number(state.exit_code?)?;
        let open = state.tasks.iter().any(|task| task.settled.is_none_or(|settled| settled.result == TaskResult::Skip))
            || !self.open.is_empty();
        // A failure hides that one is held.
        let unfinished = code.is_cut_short() || !state.lost.is_empty() || self.holds;
        (!unfinished || !open).then_some(code)
    }

    /// Tells the scheduler what has a result already, and what has had attempts.
    pub(super) fn adjust(&self, work: &mut Work) {
        for done in &self.done {
            work.tasks[done.task].part = Part::Has(done.result);
        }
        for (id, open) in &self.open {
            let item = &mut work.tasks[*id];
            item.wait = open.wait;
            item.attempts = open.tried.last().map_or(0, |last| last.attempt);
            if let Some(recorded) = &open.recorded {
                item.attempts = recorded.attempt.0 - 1;
                item.wait = Duration::ZERO;
            }
            if open.held && matches!(item.part, Part::Selected | Part::Handler) {
                item.part = Part::Held;
            }
        }
    }
}

/// What the supervisors wrote down of processes and their ends, by label; no end where none is on record. An end in an
/// earlier boot is none that can be judged: the power may have failed, and taken with it what the task had made and
/// nobody had synced. So it is one that nobody knows, as long as no receipt says more.
pub(super) struct Exits(HashMap<String, Option<Exit>>);

impl Exits {
    pub(super) fn read(run_dir: &Path) -> io::Result<Self> {
        let boot = exits::boot_id();
        let mut all = HashMap::new();
        let folder = match std::fs::read_dir(run_dir.join(EXITS)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self(all)),
            folder => folder?,
        };
        for log in folder {
            // Without its first line, as a loss of power may leave it, nobody knows when the rest was.
            let mut ours = boot.is_empty();
            for entry in exits::read(&log?.path())?.entries {
                match entry {
                    Entry::Opened { boot: theirs, .. } => ours = theirs == boot || theirs.is_empty() || boot.is_empty(),
                    Entry::Spawned { label, .. } => drop(all.insert(label, None)),
                    Entry::Exited(exit) => drop(all.insert(exit.label.clone(), ours.then_some(exit))),
                }
            }
        }
        Ok(Self(all))
    }

    pub(super) fn of(&self, task: &str, attempt: u32) -> Option<&Exit> {
        self.0.get(&format!("{task}.{attempt}"))?.as_ref()
    }

    /// The last attempt of a task that was started; at least `known`, behind which the journal may have lost some.
    fn last(&self, task: &str, known: u32) -> u32 {
        let mut last = known;
        while let Some(next) = last.checked_add(1).filter(|next| self.0.contains_key(&format!("{task}.{next}"))) {
            last = next;
        }
        last
    }
}

fn gist(receipt: &Receipt) -> Gist {
    let has_end = receipt.exit_code.is_some() || receipt.signal.is_some();
    Gist { result: receipt.result, failure: receipt.failure_kind, has_end }
}

fn exit_by(ended_by: Option<EndedBy>) -> ExitBy {
    match ended_by {
        None | Some(EndedBy::Timeout | EndedBy::IdleTimeout | EndedBy::Size { .. }) => ExitBy::Own,
        Some(EndedBy::Stop | EndedBy::Kill | EndedBy::Shutdown) => ExitBy::Us,
    }
}

fn worker_of(fleet: &Fleet, task: &TaskState) -> WorkerId {
    let named = fleet.workers.iter().find(|(_, worker)| *worker.name == *task.worker);
    named.map(|(id, _)| id).or_else(|| fleet.workers.ids().next()).expect("a fleet has a worker")
}

/// The account of an attempt whose end nobody knows. Its result is a skip, because it is neither a pass nor a failure.
fn unknown(task: &TaskState, (attempt, repetition): (u32, u32), now: Stamp) -> AttemptRecord {
    AttemptRecord {
        attempt,
        repetition,
        worker_id: task.worker.clone(),
        started_at: task.started.unwrap_or(now),
        duration_ms: 0,
        result: TaskResult::Skip,
        failure_kind: None,
        cause: Some("nobody knows how it ended: the run was cut short".to_owned()),
        exit_code: None,
        signal: None,
        log: None,
        leaked: Vec::new(),
    }
}

impl From<&Exit> for Exited {
    fn from(exit: &Exit) -> Self {
        Self {
            code: exit.code,
            signal: exit.signal,
            ended_by: exit.ended_by,
            wall_ms: exit.wall_ms,
            cpu_ms: exit.cpu_ms,
            max_rss_bytes: exit.max_rss_bytes,
            output_bytes: exit.output_bytes,
            leaked: exit.leaked.clone(),
            oom_killed: exit.oom_killed,
            exit_log_error: None,
        }
    }
}

impl Engine<'_> {
    /// Takes up what an earlier sitting has left.
    pub(super) fn take_up(&mut self, earlier: Earlier) {
        if earlier.torn > 0 {
            self.warn(&format!("the last {} bytes of the journal were no whole record and are cut off", earlier.torn));
        }
        self.tally = earlier.tally;
        self.exit = self.exit.or_worse(earlier.exit);
        for (id, open) in earlier.open {
            if let (true, Some(record)) = (open.interrupted, open.tried.last()) {
                self.emit(Event::Interrupted { task: id, record });
            }
            if open.held {
                self.exit = self.exit.or_worse(ExitCode::WaitingForPerson);
            }
            self.recorded.extend(open.recorded.map(|recorded| (id, recorded)));
            self.tried.insert(id, open.tried);
        }
    }

    /// How the process of a flight ended, where its supervisor wrote that down.
    pub(super) fn recorded_exit(&self, exits: &Exits, n: u32) -> Option<Exited> {
        let flight = self.flights.get(&n).filter(|flight| flight.runs())?;
        let exit = exits.of(&self.task(flight.task).name, flight.attempt.0)?;
        (exit_by(exit.ended_by) == ExitBy::Own).then(|| exit.into())
    }

    /// The attempt ended while nobody was there to judge it.
    pub(super) fn judge_recorded(&mut self, id: TaskId, recorded: &Recorded) {
        let n = self.number();
        let mut flight = Flight::recorded(id, recorded, self.now);
        match LogWriter::again(self.run_dir(), &self.task(id).name, recorded.attempt) {
            Ok(log) => flight.log = log,
            Err(error) => self.disk_lost(&format!("a log cannot be written: {error}")),
        }
        self.flights.insert(n, flight);
        self.in_flight.insert(id, n);
        self.exited(n, Exited::from(&recorded.exit));
    }
}
