//! From records to state: the one fold behind `status`, receipts and whatever continues a run.
//! Holds little per task, so that a hundred thousand of them are no burden: a receipt stays in the journal, and the
//! state knows where.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::ops::{Range, RangeInclusive};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::FILE;
use super::reader::{self, Body, End, Line, ReadError, Reader, ReceiptPart, RunPart, Torn};
use super::repair::Repaired;
use super::standing::{self, Standing};
use crate::protocol::receipt::AttemptRecord;
use crate::protocol::{FailureKind, Receipt, RunStatus, TaskResult};
use crate::time::Stamp;

/// A run as its journal tells it.
#[derive(Debug)]
pub struct State {
    pub id: String,
    pub name: String,
    pub status: RunStatus,
    pub labels: BTreeMap<String, String>,
    pub created_at: Stamp,
    pub completed_at: Option<Stamp>,
    pub exit_code: Option<u8>,
    /// In the order of the run's task specs.
    pub tasks: Vec<TaskState>,
    /// The last record and its time.
    pub seq: u64,
    pub at: Stamp,
    /// Records that are gone since a repair. What they said of a task that has no result is not known: it may have
    /// been started, and more than once.
    pub lost: Vec<RangeInclusive<u64>>,
    index: HashMap<Arc<str>, u32>,
    workers: Vec<Arc<str>>,
}

/// A task as the journal tells it.
#[derive(Clone, Debug)]
pub struct TaskState {
    pub name: Arc<str>,
    /// Empty before it was placed.
    pub worker: Arc<str>,
    /// `None` before its first event.
    pub state: Option<StateName>,
    /// The last attempt that was started; 0 before the first.
    pub attempt: u32,
    /// The last attempt of which it is on record that a process was about to be started.
    pub begun: u32,
    /// The last attempt of which it is on record that nobody knows how it ended.
    pub unknown: u32,
    /// Attempts that are over and were not the last, in order.
    pub tried: Vec<AttemptRecord>,
    /// How long it is held before its next attempt, from `since` on.
    pub wait_ms: u64,
    /// Of the last attempt's process, once it ran.
    pub pid: Option<u32>,
    /// When it entered its state.
    pub since: Stamp,
    /// When its last attempt was started.
    pub started: Option<Stamp>,
    pub settled: Option<Settled>,
}

/// The gist of a receipt and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    pub result: TaskResult,
    pub failure_kind: Option<FailureKind>,
    pub duration_ms: u64,
    place: Place,
}

/// The line of a receipt; or its own part of a record that many share, and what they have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    at: Span,
    common: Option<(Span, u64)>,
}

/// Where some bytes of the journal are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    offset: u64,
    bytes: u64,
}

/// The states of the protocol by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateName {
    Queued,
    Leased,
    Starting,
    Running,
    ModelWait,
    RunningTool,
    Heartbeat,
    Artifact,
    Completed,
    Failed,
    Cancelled,
    Interrupted,
    Stale,
    Restarted,
    Escalated,
}

impl StateName {
    /// The name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Leased => "leased",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::ModelWait => "model_wait",
            Self::RunningTool => "running_tool",
            Self::Heartbeat => "heartbeat",
            Self::Artifact => "artifact",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
            Self::Stale => "stale",
            Self::Restarted => "restarted",
            Self::Escalated => "escalated",
        }
    }
}

/// A journal, folded.
#[derive(Debug)]
pub struct Folded {
    /// `None` when not even the first record is whole.
    pub state: Option<State>,
    /// The end that was cut, if any.
    pub torn: Option<Torn>,
    /// Where another record would stand.
    pub end: End,
}

/// Folds the journal of a run's folder.
///
/// # Errors
/// See [`ReadError`].
pub fn fold(run_dir: &Path) -> Result<Folded, ReadError> {
    fold_reader(&mut Reader::open(run_dir)?)
}

/// Folds what a reader has.
///
/// # Errors
/// See [`ReadError`].
pub fn fold_reader<R: io::BufRead>(reader: &mut Reader<R>) -> Result<Folded, ReadError> {
    let mut state = None;
    advance(reader, &mut state)?;
    Ok(Folded { state, torn: reader.torn(), end: reader.end() })
}

/// Takes what a reader has now; may be called again when the journal has grown.
///
/// # Errors
/// See [`ReadError`].
pub fn advance<R: io::BufRead>(reader: &mut Reader<R>, state: &mut Option<State>) -> Result<(), ReadError> {
    while let Some(line) = reader.next()? {
        match (&mut *state, &line.body) {
            (Some(state), _) => state.apply(&line),
            (None, Body::Run(run)) => *state = Some(State::begin(run, &line)),
            (None, Body::Repaired(gap)) => *state = Some(State::without_beginning(gap, &line)),
            (None, Body::Event(..) | Body::Standing(_)) => {
                let what = "the first record is not the run's".to_owned();
                return Err(ReadError::Damaged { offset: line.offset, what });
            }
        }
    }
    Ok(())
}

impl TaskState {
    /// How long it is still held at that time. A clock that was set back holds nothing longer than was meant.
    #[must_use]
    pub fn wait_left(&self, now: Stamp) -> Duration {
        let past = u64::try_from(now.0.saturating_sub(self.since.0)).unwrap_or(0);
        Duration::from_millis(self.wait_ms.saturating_sub(past))
    }
}

impl State {
    fn begin(run: &RunPart<'_>, line: &Line<'_>) -> Self {
        let mut state = Self {
            id: run.id.to_string(),
            name: run.name.to_string(),
            status: run.status,
            labels: run.labels.clone(),
            created_at: run.created_at,
            completed_at: run.completed_at,
            exit_code: run.exit_code,
            tasks: Vec::with_capacity(run.task_specs.len()),
            seq: line.seq,
            at: line.at,
            lost: Vec::new(),
            index: HashMap::with_capacity(run.task_specs.len()),
            workers: vec![Arc::from("")],
        };
        for spec in &run.task_specs {
            state.task_mut(&spec.id, line.at);
        }
        state
    }

    /// A run whose first record is gone: its tasks are those that are heard of.
    fn without_beginning(gap: &Repaired<'_>, line: &Line<'_>) -> Self {
        Self {
            id: gap.run_id.to_owned(),
            name: String::new(),
            status: RunStatus::Running,
            labels: BTreeMap::new(),
            created_at: line.at,
            completed_at: None,
            exit_code: None,
            tasks: Vec::new(),
            seq: gap.last,
            at: line.at,
            lost: vec![gap.first..=gap.last],
            index: HashMap::new(),
            workers: vec![Arc::from("")],
        }
    }

    /// Takes the next record.
    pub fn apply(&mut self, line: &Line<'_>) {
        if let Body::Repaired(gap) = &line.body {
            // Its time is that of the repair, which nothing of the run happened at.
            self.seq = gap.last;
            match self.lost.last_mut().filter(|before| before.end() + 1 == gap.first) {
                Some(before) => *before = *before.start()..=gap.last,
                None => self.lost.push(gap.first..=gap.last),
            }
            return;
        }
        self.seq = line.seq;
        self.at = line.at;
        let (event, receipt) = match &line.body {
            Body::Repaired(_) => return,
            Body::Run(run) => {
                if self.name.is_empty() {
                    // The first record is gone; the last one repeats this much of it.
                    self.name = run.name.to_string();
                    self.labels.clone_from(&run.labels);
                    self.created_at = run.created_at;
                }
                self.status = run.status;
                self.completed_at = run.completed_at;
                self.exit_code = run.exit_code;
                return;
            }
            Body::Event(event, receipt) => (event, receipt),
            Body::Standing(standing) => return self.stand(standing, line),
        };
        if event.state == StateName::Stale {
            // The end of an attempt that counts as lost: it changes nothing.
            return;
        }
        let worker = self.worker(&event.worker_id);
        let task = self.task_mut(&event.task_id, line.at);
        task.worker = worker;
        task.state = Some(event.state);
        task.since = line.at;
        if event.extra.attempt > task.attempt {
            task.attempt = event.extra.attempt;
            task.pid = None;
            task.started = Some(line.at);
        }
        match event.state {
            StateName::Starting => task.begun = event.extra.attempt,
            StateName::Interrupted => task.unknown = event.extra.attempt,
            _ => {}
        }
        task.pid = event.extra.pid.or(task.pid);
        task.wait_ms = event.extra.wait_ms;
        // What was settled in an earlier sitting of the run may be open again.
        task.settled = None;
        if let Some(record) = &event.extra.record {
            task.pid = None;
            task.tried.push(AttemptRecord::clone(record));
        }
        if let Some(receipt) = receipt {
            let at = Span { offset: line.offset, bytes: line.bytes.len() as u64 };
            task.settle(receipt, Place { at, common: None });
        }
    }

    /// Results that stand before anything has run.
    fn stand(&mut self, standing: &Standing<'_>, line: &Line<'_>) {
        let span = |range: &Range<usize>| Span { offset: line.offset + range.start as u64, bytes: range.len() as u64 };
        let common = Some((span(&standing.common), line.seq));
        let nobody = Arc::clone(&self.workers[0]);
        for stood in &standing.tasks {
            let task = self.task_mut(&stood.task_id, line.at);
            task.worker = Arc::clone(&nobody);
            task.state = Some(StateName::Completed);
            task.since = line.at;
            task.settle(&standing.gist, Place { at: span(&stood.receipt), common });
        }
    }

    /// The task of that name.
    #[must_use]
    pub fn task(&self, name: &str) -> Option<&TaskState> {
        self.index.get(name).map(|index| &self.tasks[*index as usize])
    }

    fn task_mut(&mut self, name: &str, now: Stamp) -> &mut TaskState {
        let index = if let Some(index) = self.index.get(name) { *index as usize } else { self.push(name, now) };
        &mut self.tasks[index]
    }

    fn push(&mut self, name: &str, now: Stamp) -> usize {
        let index = self.tasks.len();
        let name: Arc<str> = Arc::from(name);
        self.index.insert(Arc::clone(&name), u32::try_from(index).expect("a journal has fewer tasks than 2^32"));
        self.tasks.push(TaskState {
            name,
            worker: Arc::clone(&self.workers[0]),
            state: None,
            attempt: 0,
            begun: 0,
            unknown: 0,
            tried: Vec::new(),
            wait_ms: 0,
            pid: None,
            since: now,
            started: None,
            settled: None,
        });
        index
    }

    /// One copy of each worker's name; runs have few.
    fn worker(&mut self, name: &str) -> Arc<str> {
        if let Some(worker) = self.workers.iter().find(|worker| &***worker == name) {
            return Arc::clone(worker);
        }
        let worker: Arc<str> = Arc::from(name);
        self.workers.push(Arc::clone(&worker));
        worker
    }
}

impl TaskState {
    fn settle(&mut self, receipt: &ReceiptPart, place: Place) {
        let ReceiptPart { result, failure_kind, duration_ms, started_at, .. } = *receipt;
        self.started = started_at;
        self.settled = Some(Settled { result, failure_kind, duration_ms, place });
    }
}

/// Reads receipts back from the places a fold found.
#[derive(Debug)]
pub struct Receipts {
    journal: File,
    bytes: Vec<u8>,
    /// What the receipts of the last record that many share have in common.
    common: Option<(Span, Map<String, Value>)>,
}

impl Receipts {
    /// # Errors
    /// When the run's journal cannot be opened.
    pub fn open(run_dir: &Path) -> io::Result<Self> {
        Ok(Self { journal: File::open(run_dir.join(FILE))?, bytes: Vec::new(), common: None })
    }

    /// The receipt of a settled task; the fold has verified its line.
    ///
    /// # Errors
    /// When the journal has changed since.
    pub fn get(&mut self, settled: &Settled) -> Result<Receipt, ReadError> {
        let Place { at, common } = settled.place;
        let damaged = |what: String| ReadError::Damaged { offset: at.offset, what };
        let not_one = |error: serde_json::Error| damaged(format!("not a receipt: {error}"));
        if let Some((span, _)) = common
            && self.common.as_ref().is_none_or(|(known, _)| *known != span)
        {
            self.read(span)?;
            self.common = Some((span, serde_json::from_slice(&self.bytes).map_err(not_one)?));
        }
        self.read(at)?;
        let receipt = match (common, &self.common) {
            (Some((_, seq)), Some((_, common))) => standing::receipt(common, &self.bytes, seq).map(Some),
            _ => reader::receipt_of(&self.bytes),
        };
        receipt.map_err(not_one)?.ok_or_else(|| damaged("the receipt is gone".to_owned()))
    }

    fn read(&mut self, span: Span) -> Result<(), ReadError> {
        let Span { offset, bytes } = span;
        let damaged = |what: String| ReadError::Damaged { offset, what };
        self.bytes.resize(usize::try_from(bytes).map_err(|e| damaged(e.to_string()))?, 0);
        Ok(self.journal.read_exact_at(&mut self.bytes, offset)?)
    }
}
