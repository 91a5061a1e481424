//! One attempt, from the slot it holds to the receipt it leaves.
//! Its phases: `Preparing` (a job reads its inputs) → `Running` → `Commanding` (programs of `command` scorers, one at a
//! time in the same slot) → `Judging` (a job scores and collects) → settled. A task with nothing to read or to judge
//! but its exit code passes from one to the other without a job.

use std::sync::Arc;

use super::judge::{self, Judged};
use super::lane::LaneId;
use super::launch::{self, Prepared, Refused};
use super::preflight;
use super::resume::Recorded;
use super::reuse::{Answer, Looked};
use super::secrets::Maskers;
use super::sink::Running;
use super::staged::{self, Staging};
use super::writes::Snapshot;
use super::{Engine, GRACE};
use crate::digest::Digest;
use crate::host::connect::{Connected, Unreachable};
use crate::host::container::Image;
use crate::id::{Attempt, TaskId, WorkerId};
use crate::journal::{Event, LogWriter};
use crate::model::{Host, Task};
use crate::place::Placement;
use crate::policy::verdict::How;
use crate::schedule::{Input, StopCause};
use crate::scorer::{self, CommandEnd, CommandHow, LOST, SCORE_BYTES_MAX, Wants};
use crate::supervisor::frame::{self, EndedBy, Exited, Started};
use crate::time::{Millis, Stamp};

/// As much of the end of a log as a person is told who asks what runs.
const TOLD_BYTES: usize = 8 << 10;

/// An attempt that holds a slot.
pub(super) struct Flight {
    pub task: TaskId,
    pub attempt: Attempt,
    pub worker: WorkerId,
    /// Where it runs, once it was sent.
    pub lane: Option<LaneId>,
    /// Its copy, when it works on one.
    pub staging: Option<Staging>,
    /// What holds it, as its host says.
    pub mechanisms: Vec<String>,
    pub started: Millis,
    pub started_at: Stamp,
    pub log: Option<LogWriter>,
    /// The first bytes of each stream, as many as the scorers look at.
    pub stdout: Capture,
    pub stderr: Capture,
    /// What was run, the program as it was found.
    pub argv: Box<[Box<str>]>,
    pub inputs_digest: Option<Digest>,
    /// What it depends on, when its result may be reused later.
    pub looked: Option<Arc<Looked>>,
    /// The workspace before it ran, when its writes are checked.
    pub before: Option<Snapshot>,
    /// Tasks that ran at any time while it did; kept only when its writes are checked.
    pub beside: Vec<TaskId>,
    /// Goes into the log before the next output.
    pub heading: Option<String>,
    /// What may be the beginning of a secret's value and waits for what follows; only in a run with secrets.
    pub maskers: Option<Box<Maskers>>,
    /// Why it is on this worker, until it is told.
    placement: Option<Box<Placement>>,
    stop: Option<StopCause>,
    phase: Phase,
}

enum Phase {
    Preparing,
    Running,
    /// Its process is over, and what it made is on its way back.
    Returning,
    Commanding {
        exited: Box<Exited>,
        ends: Vec<CommandEnd>,
    },
    Judging {
        exited: Box<Exited>,
    },
    /// Between two of them, never at the end of a step.
    Moving,
}

/// The start of a stream.
#[derive(Debug, Default)]
pub(super) struct Capture {
    pub bytes: Vec<u8>,
    pub total: u64,
    max: u64,
}

impl Capture {
    fn up_to(max: Option<u64>) -> Self {
        Self { max: max.unwrap_or(0), ..Self::default() }
    }

    /// Of a process whose output nobody has any more.
    fn lost() -> Self {
        Self { total: LOST, ..Self::default() }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let room = usize::try_from(self.max.saturating_sub(self.bytes.len() as u64)).unwrap_or(usize::MAX);
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

impl Flight {
    fn new(task: TaskId, attempt: Attempt, worker: WorkerId, (started, started_at): (Millis, Stamp)) -> Self {
        Self {
            task,
            attempt,
            worker,
            lane: None,
            staging: None,
            mechanisms: Vec::new(),
            started,
            started_at,
            log: None,
            stdout: Capture::default(),
            stderr: Capture::default(),
            argv: Box::default(),
            inputs_digest: None,
            looked: None,
            before: None,
            beside: Vec::new(),
            heading: None,
            maskers: None,
            placement: None,
            stop: None,
            phase: Phase::Preparing,
        }
    }

    /// An attempt whose process has ended without us.
    pub(super) fn recorded(task: TaskId, recorded: &Recorded, now: Millis) -> Self {
        let Recorded { attempt, worker, started_at, .. } = *recorded;
        let mut flight = Self::new(task, attempt, worker, (now, started_at));
        flight.phase = Phase::Running;
        (flight.stdout, flight.stderr) = (Capture::lost(), Capture::lost());
        flight
    }

    /// The phase, to be replaced by the next one in the same step.
    fn take_phase(&mut self) -> Phase {
        std::mem::replace(&mut self.phase, Phase::Moving)
    }

    pub(super) fn is_preparing(&self) -> bool {
        matches!(self.phase, Phase::Preparing)
    }

    /// Whether its own process runs, as far as we were told.
    pub(super) fn runs(&self) -> bool {
        matches!(self.phase, Phase::Running)
    }

    /// What scorers look at of what its process prints, or of what the program of a scorer does.
    pub(super) fn capture(&mut self, from: frame::Stream, bytes: &[u8]) {
        if let Phase::Commanding { ends, .. } = &mut self.phase {
            if let (Some(end), frame::Stream::Stdout) = (ends.last_mut(), from) {
                let room = (SCORE_BYTES_MAX + 1).saturating_sub(end.stdout.len());
                end.stdout.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            return;
        }
        match from {
            frame::Stream::Stdout => self.stdout.push(bytes),
            frame::Stream::Stderr => self.stderr.push(bytes),
        }
    }

    /// As a person sees it who asks what runs.
    pub(super) fn told(&self) -> Running {
        let tail = self.log.as_ref().and_then(|log| log.last(TOLD_BYTES).ok()).unwrap_or_default();
        Running { task: self.task, attempt: self.attempt, since: self.started, tail }
    }

    /// Why it was told to stop.
    pub(super) fn stopped(&self) -> Option<StopCause> {
        self.stop
    }

    /// What its copy holds, in bytes, and where.
    pub(super) fn starts_from(&self) -> Option<(TaskId, WorkerId, u64)> {
        Some((self.task, self.worker, self.staging.as_ref()?.bytes()))
    }

    pub(super) fn whose(&self) -> (TaskId, Attempt) {
        (self.task, self.attempt)
    }
}

/// What a job brought back.
pub(super) enum Finished {
    Prepared { n: u32, prepared: Prepared },
    Judged { n: u32, judged: Judged },
    Connected { lane: LaneId, result: Box<Result<Connected, Unreachable>>, image: Option<Image> },
}

impl Engine<'_> {
    pub(super) fn task(&self, id: TaskId) -> &Task {
        &self.view.fleet.tasks[id]
    }

    // ── Preparing ────────────────────────────────────────────────────────

    /// A slot is held: check what the task needs, read its inputs, start it.
    pub(super) fn start(&mut self, id: TaskId, worker: WorkerId, attempt: Attempt, placement: Option<Box<Placement>>) {
        if let Some(recorded) = self.recorded.remove(&id) {
            return self.judge_recorded(id, &recorded);
        }
        let n = self.number();
        let fleet = &self.job.fleet;
        let task = &fleet.tasks[id];
        let Wants { stdout, stderr } = scorer::wants(&task.scorers);
        let checks_writes = task.writable_paths.is_some();
        let beside = if checks_writes { self.flights.values().map(|f| f.task).collect() } else { Vec::new() };
        for other in self.flights.values_mut().filter(|f| f.before.is_some()) {
            other.beside.push(id);
        }
        let mut flight = Flight::new(id, attempt, worker, (self.now, self.stamp()));
        (flight.stdout, flight.stderr) = (Capture::up_to(stdout), Capture::up_to(stderr));
        flight.before = checks_writes.then(Snapshot::default);
        flight.beside = beside;
        flight.placement = placement;
        self.flights.insert(n, flight);
        self.in_flight.insert(id, n);
        let lacking = preflight::lacking(fleet, task, &self.root, &mut self.environments);
        if !lacking.is_empty() {
            let why = lacking.into_iter().map(|one| one.why).collect::<Vec<_>>().join("; ");
            return self.finish(n, How::NotStarted { error: &why }, None, Judged::default());
        }
        let stages = fleet.workers[worker].stages();
        if launch::needs_reading(task) || stages {
            let turn = self.reuse.turn(fleet, id, &mut self.environments);
            // Whether an earlier result holds was asked before the first attempt.
            let turn = if attempt > Attempt::FIRST { turn.without_asking() } else { turn };
            let Some(store) = self.store_for(n) else { return };
            let (fleet, ground) = (Arc::clone(&self.job.fleet), Arc::clone(&self.reuse.ground));
            let read = move || launch::read(&fleet, id, &ground, &store, (turn, stages));
            self.inbox.spawn(move || Finished::Prepared { n, prepared: read() });
        } else {
            if attempt == Attempt::FIRST
                && let Some(reason) = self.reuse.never(task)
            {
                self.emit(Event::Explained { task: id, reasons: &[reason] });
            }
            self.launch(n);
        }
    }

    pub(super) fn number(&mut self) -> u32 {
        loop {
            self.next_number = self.next_number.wrapping_add(1);
            if !self.flights.contains_key(&self.next_number) {
                return self.next_number;
            }
        }
    }

    pub(super) fn finished(&mut self, finished: Finished) {
        match finished {
            Finished::Prepared { n, prepared } => self.prepared(n, prepared),
            Finished::Connected { lane, result, image } => self.connected(lane, *result, image),
            Finished::Judged { n, judged } => {
                let Some(flight) = self.flights.get_mut(&n) else { return };
                let Phase::Judging { exited } = flight.take_phase() else { return };
                self.finish_judged(n, &exited, judged);
            }
        }
    }

    fn prepared(&mut self, n: u32, prepared: Prepared) {
        let Some(flight) = self.flights.get_mut(&n) else { return };
        flight.inputs_digest = prepared.inputs_digest;
        flight.looked = prepared.looked;
        flight.before = prepared.before;
        flight.staging = prepared.entries.map(|entries| Staging { entries, ..Staging::default() });
        let (id, is_first) = (flight.task, flight.attempt == Attempt::FIRST);
        self.tell_of_remote();
        for index in prepared.unmatched.into_iter().filter(|_| is_first) {
            let task = self.task(id);
            let pattern = task.inputs.as_ref().map_or("", |inputs| &*inputs[index]);
            let text = format!("`{pattern}` among the inputs of `{}` matches no file", task.name);
            self.warn(&text);
        }
        let Some(flight) = self.flights.get_mut(&n) else { return };
        if let Some(cause) = flight.stop {
            return self.finish_stopped(n, cause, None);
        }
        match (prepared.error, prepared.answer) {
            (Some(error), _) => self.finish(n, How::NotStarted { error: &error }, None, Judged::default()),
            (None, Some(Answer::Holds(entry))) => self.finish_reused(n, &entry),
            (None, answer) => {
                if let Some(Answer::Run(reasons)) = answer.filter(|_| is_first) {
                    self.emit(Event::Explained { task: id, reasons: &reasons });
                }
                let fleet = self.view.fleet;
                let staged = self.flights.get(&n).and_then(|flight| Some((flight.worker, flight.staging.as_ref()?)));
                match staged.and_then(|(worker, staging)| staged::no_room(fleet, worker, staging)) {
                    Some(room) => self.finish(n, How::NoRoom(room), None, Judged::default()),
                    None => self.launch(n),
                }
            }
        }
    }

    /// Tells the worker's supervisor to start the process; the record of it goes out first, at the end of the turn.
    fn launch(&mut self, n: u32) {
        let Some(flight) = self.flights.get_mut(&n) else { return };
        let (id, attempt, worker) = (flight.task, flight.attempt, flight.worker);
        flight.phase = Phase::Running;
        // The task's own words, before a tracer is put around them.
        let (spawn, argv) = match launch::spawn(self, id, (attempt, worker))
            .and_then(|spawn| launch::traced(self, id, attempt, spawn))
        {
            Ok(both) => both,
            Err(Refused(why)) => return self.finish(n, How::NotStarted { error: &why }, None, Judged::default()),
        };
        let (now, stamp) = (self.now, self.stamp());
        let flight = flight_mut(self, n);
        (flight.started, flight.started_at) = (now, stamp);
        flight.argv = argv;
        let placement = flight.placement.take();
        self.reuse.ground.files.moved();
        self.emit(Event::Starting { task: id, attempt, worker, placement: placement.as_deref() });
        self.to_send.push((n, spawn));
    }

    /// Hands what is to be started to the supervisors, if the record of it could be written.
    pub(super) fn send_all(&mut self, recorded: bool) {
        for (n, spawn) in std::mem::take(&mut self.to_send) {
            let Some(flight) = self.flights.get(&n) else { continue };
            let worker = flight.worker;
            if let (Some(cause), Phase::Running) = (flight.stop, &flight.phase) {
                self.finish_stopped(n, cause, None);
                continue;
            }
            let sent = if recorded { self.send(worker, n, spawn) } else { Err("it could not be recorded".to_owned()) };
            if let Err(why) = sent {
                self.not_started(n, &why);
            }
        }
    }

    // ── Running ──────────────────────────────────────────────────────────

    pub(super) fn running(&mut self, n: u32, started: Started) {
        // Of what did not start, nothing can be said to have held it.
        let cell = self.cell_of(n).map(|cell| cell.mechanisms()).unwrap_or_default();
        let Some(flight) = self.flights.get_mut(&n) else { return };
        if !matches!(flight.phase, Phase::Running) {
            return;
        }
        let pid = started.pid;
        flight.mechanisms = cell.into_iter().map(str::to_owned).chain(started.mechanisms).collect();
        let (task, attempt) = (flight.task, flight.attempt);
        self.emit(Event::Running { task, attempt, pid });
        self.tell(Input::Running(task));
    }

    pub(super) fn not_started(&mut self, n: u32, error: &str) {
        self.printed_all(n);
        let Some(flight) = self.flights.get_mut(&n) else { return };
        match &mut flight.phase {
            Phase::Commanding { ends, .. } => {
                if let Some(end) = ends.last_mut() {
                    end.how = CommandHow::NotStarted(error.to_owned());
                }
                self.next_command(n);
            }
            // It has had its end, and the answer of the job is on its way.
            Phase::Judging { .. } => {}
            _ => match flight.stop {
                Some(cause) => self.finish_stopped(n, cause, None),
                None => self.finish(n, How::NotStarted { error }, None, Judged::default()),
            },
        }
    }

    /// An exit is on no record of the supervisor's.
    fn exit_unlogged(&mut self, n: u32, error: &str) {
        let Some(flight) = self.flights.get(&n) else { return };
        let worker = &self.view.fleet.workers[flight.worker];
        if worker.host == Host::Local {
            // Nothing new may rely on there being one.
            return self.disk_lost(&format!("the exit log cannot be written: {error}"));
        }
        // That of another host is not read by whoever goes on with the run.
        let text = format!("worker `{}` cannot write its exit log: {error}", worker.name);
        if let Some(lane) = flight.lane.and_then(|lane| self.lanes.get_mut(&lane))
            && !std::mem::replace(&mut lane.is_unlogged, true)
        {
            self.warn(&text);
        }
    }

    pub(super) fn exited(&mut self, n: u32, exited: Exited) {
        self.printed_all(n);
        if let Some(error) = &exited.exit_log_error {
            self.exit_unlogged(n, error);
        }
        let Some(flight) = self.flights.get_mut(&n) else { return };
        if let Phase::Commanding { ends, .. } = &mut flight.phase {
            if let Some(end) = ends.last_mut() {
                end.how = command_end(&exited);
                end.duration_ms = exited.wall_ms;
            }
            return self.next_command(n);
        }
        match (flight.stop, exited.ended_by) {
            (None, None) if exited.code.is_some() => {
                flight.phase = Phase::Returning;
                if flight.staging.is_none() || self.bring_back(n, &exited) {
                    self.is_back(n, exited);
                }
            }
            // Whoever was told to stop is not judged, also when it left by itself just before it heard of it.
            (Some(cause), None | Some(EndedBy::Stop | EndedBy::Kill)) => self.finish_stopped(n, cause, Some(&exited)),
            _ => self.finish_unjudged(n, &exited),
        }
    }

    /// What the attempt made is here, or it has made nothing.
    pub(super) fn is_back(&mut self, n: u32, exited: Exited) {
        let Some(flight) = self.flights.get_mut(&n) else { return };
        if let Some(cause) = flight.stop {
            return self.finish_stopped(n, cause, Some(&exited));
        }
        let id = flight.task;
        flight.phase = Phase::Commanding { exited: Box::new(exited), ends: Vec::new() };
        self.tell(Input::Judging(id));
        self.next_command(n);
    }

    /// What the attempt made cannot be had.
    pub(super) fn not_brought_back(&mut self, n: u32, why: &str) {
        self.finish(n, How::Lost { why }, None, Judged::default());
    }

    /// The connection to the attempt is gone.
    pub(super) fn lost(&mut self, n: u32, why: &str) {
        let Some(flight) = self.flights.get(&n) else { return };
        if matches!(flight.phase, Phase::Judging { .. } | Phase::Preparing) {
            // Its process is over, or never was; the job still answers.
            return;
        }
        if let Some(cause) = flight.stop {
            return self.finish_stopped(n, cause, None);
        }
        if matches!(flight.phase, Phase::Commanding { .. }) {
            // The task itself has ended, and is judged by what can still be found out.
            return self.not_started(n, why);
        }
        self.finish(n, How::Lost { why }, None, Judged::default());
    }

    pub(super) fn stop(&mut self, task: TaskId, cause: StopCause, force: bool) {
        let Some(&n) = self.in_flight.get(&task) else { return };
        let Some(flight) = self.flights.get_mut(&n) else { return };
        flight.stop.get_or_insert(cause);
        let idle = matches!(flight.phase, Phase::Preparing | Phase::Judging { .. } | Phase::Returning);
        let runs = matches!(flight.phase, Phase::Running);
        let Some(lane) = flight.lane.and_then(|lane| self.lanes.get_mut(&lane)) else {
            let waits = self.reach[flight.worker].away.as_ref().is_some_and(|away| away.holds(n));
            if force && idle || waits {
                // No process runs; the job's answer will find nobody.
                self.finish_stopped(n, cause, None);
            }
            return;
        };
        match lane.up() {
            Some(_) if force && idle => self.finish_stopped(n, cause, None),
            Some(link) => {
                if force {
                    link.kill(n);
                } else {
                    link.stop(n, GRACE);
                }
            }
            // It still waits to be sent.
            None if runs => self.finish_stopped(n, cause, None),
            None => {}
        }
    }

    // ── Judging ──────────────────────────────────────────────────────────

    /// Starts the next program of a `command` scorer; after the last one, judges.
    fn next_command(&mut self, n: u32) {
        let Some(flight) = self.flights.get_mut(&n) else { return };
        let Phase::Commanding { ends, .. } = &mut flight.phase else { return };
        let id = flight.task;
        let done = ends.len();
        let fleet = Arc::clone(&self.job.fleet);
        let commands = scorer::commands(&fleet.tasks[id].scorers);
        if done == commands.len() || flight.stop.is_some() {
            return self.judge(n);
        }
        ends.push(CommandEnd {
            how: CommandHow::NotStarted("it was never told to run".to_owned()),
            stdout: Vec::new(),
            duration_ms: 0,
        });
        // We may be inside this worker's `receive`; the turn sends it.
        self.commands_due.push(n);
    }

    /// Tells the supervisor of the program that `next_command` has made a place for.
    pub(super) fn send_command(&mut self, n: u32) {
        let Some(flight) = self.flights.get_mut(&n) else { return };
        let Phase::Commanding { ends, .. } = &flight.phase else { return };
        if flight.stop.is_some() {
            return self.judge(n);
        }
        let (id, attempt, worker) = (flight.task, flight.attempt, flight.worker);
        let fleet = Arc::clone(&self.job.fleet);
        let commands = scorer::commands(&fleet.tasks[id].scorers);
        let command = &commands[ends.len() - 1];
        flight.heading = Some(format!("[fleet: scorer {}]\n", command.scorer));
        match launch::scorer_spawn(self, id, (attempt, worker), command) {
            Ok(spawn) => self.to_send.push((n, spawn)),
            Err(Refused(why)) => self.not_started(n, &why),
        }
    }

    fn judge(&mut self, n: u32) {
        let Some(flight) = self.flights.get_mut(&n) else { return };
        let phase = flight.take_phase();
        let Phase::Commanding { exited, ends } = phase else { return };
        let id = flight.task;
        if let Some(cause) = flight.stop {
            return self.finish_stopped(n, cause, Some(&exited));
        }
        let code = exited.code.unwrap_or_default();
        let request = judge::Request {
            task: id,
            exit_code: code,
            stdout: std::mem::take(&mut flight.stdout),
            stderr: std::mem::take(&mut flight.stderr),
            ends,
            before: flight.before.take(),
            looked: flight.looked.clone(),
            beside: std::mem::take(&mut flight.beside),
            masks: self.masks.clone(),
            refused: flight.staging.as_mut().map(|staging| std::mem::take(&mut staging.refused)).unwrap_or_default(),
            sets: flight.staging.as_mut().map(|staging| std::mem::take(&mut staging.sets)),
            scored_folder: staged::scored_folder(self.view.run_dir, &self.view.fleet.tasks[id], flight.attempt),
        };
        if request.looked.is_none() && judge::is_trivial(&self.view.fleet.tasks[id]) {
            let judged = judge::trivial(&self.root, &request);
            return self.finish_judged(n, &exited, judged);
        }
        flight_mut(self, n).phase = Phase::Judging { exited };
        let Some(store) = self.store_for(n) else { return };
        let (fleet, ground) = (Arc::clone(&self.job.fleet), Arc::clone(&self.reuse.ground));
        self.inbox.spawn(move || {
            let judged = judge::judge(&fleet, &judge::Places { ground: &ground, store: &store }, &request);
            Finished::Judged { n, judged }
        });
    }
}

fn flight_mut<'e>(engine: &'e mut Engine<'_>, n: u32) -> &'e mut Flight {
    engine.flights.get_mut(&n).expect("the caller has just looked at this flight")
}

fn command_end(exited: &Exited) -> CommandHow {
    match (exited.ended_by, exited.code, exited.signal) {
        (Some(EndedBy::Timeout | EndedBy::IdleTimeout), ..) => CommandHow::TimedOut,
        (Some(EndedBy::Size { .. }), ..) => CommandHow::Outgrown,
        (_, Some(code), _) => CommandHow::Exited(code),
        (_, None, Some(signal)) => CommandHow::Signaled(signal),
        (_, None, None) => CommandHow::NotStarted("its end is unknown".to_owned()),
    }
}
