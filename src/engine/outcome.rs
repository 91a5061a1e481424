//! What a run came to, as plain data: what the summary prints and the exit code says.
//! The engine fills it when the last task is settled; nothing in it needs a look at the disk.

use std::ops::{Index, IndexMut};
use std::time::Duration;

use crate::id::{RunId, TaskId};
use crate::policy::ExitCode;
use crate::protocol::receipt::{FailureKind, Receipt, TaskResult};

/// How many of the slowest tasks an [`Outcome`] keeps.
pub const SLOWEST_MAX: usize = 5;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub run: RunId,
    /// What `fleet run` exits with.
    pub exit: ExitCode,
    pub wall: Duration,
    /// Tasks by result; their sum is every task that was settled.
    pub counts: Counts,
    /// Those of the passed that were not run, because an earlier result holds.
    pub reused: u64,
    /// Those that passed after a failure, by their end.
    pub flaky: Vec<TaskId>,
    /// The chain of needs whose tasks took longest together, first task first. Empty when nothing ran.
    pub critical_path: Vec<Took>,
    /// The tasks that took longest, longest first, at most [`SLOWEST_MAX`].
    pub slowest: Vec<Took>,
    /// Everything that is not `pass` or `skip`, in the order it was settled.
    pub failures: Vec<Failure>,
    /// Selected tasks that were skipped in a run that was cut short (by a person, fail-fast, its time, or a journal that
    /// cannot be written), by id. Without those that their `when` leaves out.
    pub outstanding: Vec<TaskId>,
    /// The signal that interrupted the run, and nothing else that ended it early.
    pub interrupted: Option<i32>,
}

/// A task and the time of its deciding attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Took {
    pub task: TaskId,
    pub ms: u64,
}

/// The essentials of the receipt of a task that did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub task: TaskId,
    /// `Fail`, `Timeout` or `Partial`.
    pub result: TaskResult,
    pub kind: Option<FailureKind>,
    /// In one sentence.
    pub cause: Option<Box<str>>,
    pub attempt: u32,
    pub ms: u64,
    /// Relative to the run's folder; `None` when there was no output.
    pub log: Option<Box<str>>,
    /// The task said `allow_failure`, so the run does not fail with it.
    pub allowed: bool,
}

impl Failure {
    /// `None` for a receipt that is a pass or a skip.
    #[must_use]
    pub fn of(task: TaskId, receipt: &Receipt, allowed: bool) -> Option<Self> {
        let failed = matches!(receipt.result, TaskResult::Fail | TaskResult::Timeout | TaskResult::Partial);
        failed.then(|| Self {
            task,
            result: receipt.result,
            kind: receipt.failure_kind,
            cause: receipt.cause.as_deref().map(Box::from),
            attempt: receipt.attempt,
            ms: receipt.duration_ms,
            log: receipt.log.as_ref().map(|log| log.path.clone()),
            allowed,
        })
    }
}

/// A count for each [`TaskResult`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; TaskResult::ALL.len()]);

impl Counts {
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl Index<TaskResult> for Counts {
    type Output = u64;
    fn index(&self, result: TaskResult) -> &u64 {
        &self.0[result as usize]
    }
}

impl IndexMut<TaskResult> for Counts {
    fn index_mut(&mut self, result: TaskResult) -> &mut u64 {
        &mut self.0[result as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_result_has_a_count_of_its_own() {
        let mut counts = Counts::default();
        for (n, result) in (1..).zip(TaskResult::ALL) {
            counts[result] += n;
        }
        assert_eq!(TaskResult::ALL.map(|result| counts[result]), [1, 2, 3, 4, 5]);
        assert_eq!(counts.total(), 15);
    }
}
