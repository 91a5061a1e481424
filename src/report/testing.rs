//! A run that never was: a small fleet, events as an engine would tell them, and a place to read what sinks wrote.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::human::Options;
use super::{Paint, Rerun, RunView, Sink};
use crate::digest::Digest;
use crate::engine::outcome::{Counts, Failure, Outcome, SLOWEST_MAX, Took};
use crate::id::{Attempt, Id as _, IdMap, RunId, TaskId, WorkerId};
use crate::journal::{Event, Happened, Stream};
use crate::model::{Action, CachePolicy, Fleet, Policies, Task, Worker};
use crate::policy::ExitCode;
use crate::protocol::receipt::{LogRef, Usage};
use crate::protocol::{FailureKind, Receipt, TaskResult};
use crate::report::OutputMode;
use crate::report::ci::Ci;
use crate::time::{Millis, Stamp};

/// What a sink wrote.
#[derive(Clone, Debug, Default)]
pub(super) struct Written(Rc<RefCell<Vec<u8>>>);

impl Written {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.borrow().clone()).expect("tests write text")
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.borrow().len()
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A pipe nobody reads any more.
#[derive(Debug)]
pub(super) struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn options(to: impl Write + 'static, output: OutputMode) -> Options {
    Options {
        to: Box::new(to),
        terminal: false,
        paint: Paint::OFF,
        size: || (24, 80),
        output,
        live: None,
        ci: Ci::None,
        rerun: Rerun { command: vec!["fleet".into(), "run".into()], selection: Vec::new() },
        explain: false,
    }
}

pub(super) struct World {
    pub(super) fleet: Fleet,
    run: RunId,
    folder: tempfile::TempDir,
    now: Millis,
    outcome: Outcome,
    /// When each task started.
    since: IdMap<TaskId, Millis>,
}

impl World {
    pub(super) fn new(tasks: &[&str]) -> Self {
        let run = RunId::parse("20261120T105230Z-1f9c03ab").expect("it is a name");
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        std::fs::create_dir(folder.path().join("logs")).expect("the folder is ours");
        let outcome = Outcome {
            reused: 0,
            flaky: Vec::new(),
            run: run.clone(),
            exit: ExitCode::Passed,
            wall: Duration::ZERO,
            counts: Counts::default(),
            critical_path: Vec::new(),
            slowest: Vec::new(),
            failures: Vec::new(),
            outstanding: Vec::new(),
            interrupted: None,
        };
        let fleet = fleet(tasks);
        let since = IdMap::filled(&fleet.tasks, Millis(0));
        Self { fleet, run, folder, now: Millis(0), outcome, since }
    }

    pub(super) fn view(&self) -> RunView<'_> {
        RunView {
            fleet: &self.fleet,
            run: &self.run,
            run_dir: self.folder.path(),
            selected: self.fleet.tasks.len(),
            settled: 0,
            resumed: false,
            parent: None,
        }
    }

    pub(super) fn task(&self, name: &str) -> TaskId {
        self.fleet.task_named(name).expect("the test names its tasks")
    }

    pub(super) fn wait(&mut self, ms: u64) {
        self.now.0 += ms;
    }

    pub(super) fn begin(&self, sink: &mut dyn Sink) {
        sink.begin(&self.view()).expect("nothing is closed");
    }

    pub(super) fn tell(&self, sink: &mut dyn Sink, event: Event<'_>) -> io::Result<()> {
        let stamp = Stamp(1_795_171_950_000 + i64::try_from(self.now.0).expect("it is small"));
        sink.event(&self.view(), &Happened { at: self.now, stamp, seq: 1, event })
    }

    pub(super) fn start(&mut self, sink: &mut dyn Sink, name: &str) {
        let task = self.task(name);
        self.since[task] = self.now;
        let (attempt, worker) = (Attempt::FIRST, WorkerId::from_index(0));
        for event in [
            Event::Queued { task },
            Event::Starting { task, attempt, worker, placement: None },
            Event::Running { task, attempt, pid: 7 },
        ] {
            self.tell(sink, event).expect("nothing is closed");
        }
    }

    pub(super) fn print(&self, sink: &mut dyn Sink, name: &str, bytes: &[u8]) {
        self.print_to(sink, name, Stream::Stdout, bytes);
    }

    pub(super) fn print_to(&self, sink: &mut dyn Sink, name: &str, stream: Stream, bytes: &[u8]) {
        use std::fs::File;
        let task = self.task(name);
        let path = self.folder.path().join(log_path(name));
        let mut log = File::options().create(true).append(true).open(path).expect("the folder is ours");
        log.write_all(bytes).expect("the folder is ours");
        self.tell(sink, Event::Output { task, attempt: Attempt::FIRST, stream, bytes }).expect("nothing is closed");
    }

    pub(super) fn pass(&mut self, sink: &mut dyn Sink, name: &str) {
        self.settle(sink, name, TaskResult::Pass, None, None);
    }

    pub(super) fn fail(&mut self, sink: &mut dyn Sink, name: &str, kind: FailureKind, cause: &str) {
        self.settle(sink, name, TaskResult::Fail, Some(kind), Some(cause));
    }

    pub(super) fn skip(&mut self, sink: &mut dyn Sink, name: &str, cause: &str) {
        self.settle(sink, name, TaskResult::Skip, None, Some(cause));
    }

    pub(super) fn settle(
        &mut self,
        sink: &mut dyn Sink,
        name: &str,
        result: TaskResult,
        failure_kind: Option<FailureKind>,
        cause: Option<&str>,
    ) {
        let task = self.task(name);
        let log = std::fs::metadata(self.folder.path().join(log_path(name))).ok().map(|log| log.len());
        let mut receipt = receipt(&self.run, name, result);
        receipt.failure_kind = failure_kind;
        receipt.cause = cause.map(str::to_owned);
        receipt.duration_ms = if result == TaskResult::Skip { 0 } else { self.now.0 - self.since[task].0 };
        receipt.log =
            log.map(|bytes| LogRef { path: log_path(name).into(), digest: Digest::of(b""), bytes, truncated: false });
        self.tell(sink, Event::Settled { task, receipt: &receipt }).expect("nothing is closed");
        let allowed = self.fleet.tasks[task].allow_failure;
        self.outcome.counts[result] += 1;
        self.outcome.failures.extend(Failure::of(task, &receipt, allowed));
        if receipt.attempt > 0 {
            self.outcome.slowest.push(Took { task, ms: receipt.duration_ms });
        }
    }

    /// Ends the run; the critical path is `path`.
    pub(super) fn end(&mut self, sink: &mut dyn Sink, exit: ExitCode, path: &[&str]) {
        let took = |name: &&str| {
            let task = self.task(name);
            *self.outcome.slowest.iter().find(|took| took.task == task).expect("it ran")
        };
        self.outcome.critical_path = path.iter().map(took).collect();
        self.outcome.slowest.sort_by_key(|took| std::cmp::Reverse(took.ms));
        self.outcome.slowest.truncate(SLOWEST_MAX);
        self.outcome.exit = exit;
        self.outcome.wall = Duration::from_millis(self.now.0);
        sink.end(&self.view(), &self.outcome).expect("nothing is closed");
    }

    pub(super) fn tick(&self, sink: &mut dyn Sink) {
        sink.tick(&self.view(), self.now).expect("nothing is closed");
    }
}

fn log_path(name: &str) -> String {
    format!("logs/{name}.1.log")
}

pub(super) fn receipt(run: &RunId, name: &str, result: TaskResult) -> Receipt {
    Receipt {
        run_id: run.as_str().into(),
        task_id: name.into(),
        worker_id: "local".into(),
        completed_at: Stamp(1_795_171_950_000),
        result,
        failure_kind: None,
        artifacts: Vec::new(),
        score: None,
        attempt: u32::from(result != TaskResult::Skip),
        started_at: None,
        duration_ms: 1,
        exit_code: None,
        signal: None,
        cause: None,
        flaky: false,
        attempts: Vec::new(),
        repeat: None,
        argv: Box::default(),
        argv_digest: None,
        inputs_digest: None,
        fingerprint: None,
        reused: None,
        outputs: Vec::new(),
        host: None,
        image: None,
        trust: None,
        scorers: Vec::new(),
        usage: Some(Usage::default()),
        log: None,
        leaked: Vec::new(),
        labels: Arc::default(),
        metadata: BTreeMap::new(),
        fleet_version: "0.1.0".into(),
        journal_seq: 1,
    }
}

fn fleet(tasks: &[&str]) -> Fleet {
    let worker = Worker::local("local", 2);
    Fleet {
        file: PathBuf::from("/w/fleet.toml"),
        workspace: Path::new("/w").to_owned(),
        name: "test".into(),
        description: None,
        seed: 1,
        labels: BTreeMap::new(),
        metadata: BTreeMap::new(),
        tasks: tasks.iter().map(|name| task(name)).collect::<Vec<_>>().into(),
        workers: vec![worker].into(),
        pools: IdMap::new(),
        policies: Policies::default(),
        cache: CachePolicy::default(),
    }
}

fn task(name: &str) -> Task {
    Task { action: Action::Run(Box::new(["true".into()])), ..crate::samples::task(name) }
}
