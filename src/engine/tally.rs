//! Counts and times as results come in, and the outcome they add up to.

use std::time::Duration;

use super::Job;
use super::outcome::{Counts, Failure, Outcome, SLOWEST_MAX, Took};
use crate::id::{IdMap, RunId, TaskId};
use crate::model::Fleet;
use crate::policy::ExitCode;
use crate::protocol::{Receipt, TaskResult};
use crate::schedule::Scheduler;

#[derive(Debug)]
pub(super) struct Tally {
    counts: Counts,
    reused: u64,
    flaky: Vec<TaskId>,
    failures: Vec<Failure>,
    /// Time of the deciding attempt; 0 for what did not run.
    took_ms: IdMap<TaskId, u32>,
}

/// What the end of a run knows beside its receipts.
pub(super) struct Closing<'a> {
    pub job: &'a Job<'a>,
    pub run: &'a RunId,
    pub exit: ExitCode,
    pub wall: Duration,
    pub interrupted: Option<i32>,
    pub scheduler: &'a Scheduler,
}

impl Tally {
    pub(super) fn new(fleet: &Fleet) -> Self {
        Self {
            counts: Counts::default(),
            reused: 0,
            flaky: Vec::new(),
            failures: Vec::new(),
            took_ms: IdMap::filled(&fleet.tasks, 0),
        }
    }

    /// Takes a result in; says what it asks the run to exit with.
    pub(super) fn add(&mut self, task: TaskId, receipt: &Receipt, allowed: bool) -> ExitCode {
        self.counts[receipt.result] += 1;
        self.reused += u64::from(receipt.reused.is_some());
        self.flaky.extend(receipt.flaky.then_some(task));
        self.took_ms[task] = u32::try_from(receipt.duration_ms).unwrap_or(u32::MAX);
        self.failures.extend(Failure::of(task, receipt, allowed));
        ExitCode::of_task(receipt.result, receipt.failure_kind, allowed)
    }

    pub(super) fn close(self, closing: &Closing<'_>) -> Outcome {
        let job = closing.job;
        let took = |task: TaskId| Took { task, ms: self.took_ms[task].into() };
        let path = job.graph.critical_path(|task| u64::from(self.took_ms[task]), job.selection);
        let scheduler = closing.scheduler;
        let undone = |task: &TaskId| {
            scheduler.result(*task) == Some(TaskResult::Skip) && job.fleet.tasks[*task].unwanted.is_none()
        };
        let outstanding =
            if scheduler.is_cut_short() { job.selection.tasks().filter(undone).collect() } else { Vec::new() };
        Outcome {
            run: closing.run.clone(),
            exit: closing.exit,
            wall: closing.wall,
            counts: self.counts,
            reused: self.reused,
            flaky: self.flaky,
            critical_path: path.into_iter().map(took).filter(|took| took.ms > 0).collect(),
            slowest: slowest(&self.took_ms),
            failures: self.failures,
            outstanding,
            interrupted: closing.interrupted,
        }
    }
}

/// The longest first; one pass, because a run may have a hundred thousand tasks.
fn slowest(took_ms: &IdMap<TaskId, u32>) -> Vec<Took> {
    let mut found: Vec<Took> = Vec::with_capacity(SLOWEST_MAX + 1);
    for (task, &ms) in took_ms.iter().filter(|(_, ms)| **ms > 0) {
        let ms = u64::from(ms);
        let at = found.partition_point(|other| other.ms >= ms);
        if at < SLOWEST_MAX {
            found.insert(at, Took { task, ms });
            found.truncate(SLOWEST_MAX);
        }
    }
    found
}
