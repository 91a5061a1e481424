//! What follows an attempt: another one, or the task's result, which is made of all of them.

use super::Engine;
use crate::id::{TaskId, WorkerId};
use crate::journal::Event;
use crate::place;
use crate::policy::retry::{self, Next};
use crate::protocol::Receipt;
use crate::protocol::receipt::{AttemptRecord, FailureKind, TaskResult};
use crate::schedule::Input;

impl Engine<'_> {
    /// Takes in how an attempt ended. Its receipt comes back as that of the task, unless another attempt follows.
    pub(super) fn attempted(&mut self, id: TaskId, worker: WorkerId, receipt: Receipt) -> Option<Receipt> {
        let task = self.task(id);
        if task.retry.is_none() && task.repeat.is_none() && !self.tried.contains_key(&id) {
            return Some(receipt);
        }
        let seed = self.view.fleet.seed;
        let tried = self.tried.entry(id).or_default();
        let mut receipt = receipt;
        let repetition = retry::repetition(&self.view.fleet.tasks[id], seed, tried);
        tried.extend(receipt.attempts.pop().map(|record| AttemptRecord { repetition, ..record }));
        let next = retry::next(&self.view.fleet.tasks[id], seed, tried);
        // An attempt that cannot be recorded is not made, and then this one was the last.
        if next == Next::Final || self.draining || self.is_vain(id, worker, &receipt) {
            self.summed_up(id, &mut receipt);
            return Some(receipt);
        }
        self.again(id, worker, next, receipt);
        None
    }

    /// Whether another attempt would come to the same. What never ran, by its own fault, had more to start from than the
    /// directory of an attempt may take, and only a worker that allows more makes a difference.
    fn is_vain(&self, id: TaskId, worker: WorkerId, ended: &Receipt) -> bool {
        if ended.failure_kind != Some(FailureKind::Task) || ended.exit_code.is_some() || ended.signal.is_some() {
            return false;
        }
        let workers = &self.view.fleet.workers;
        let has_more = |other: WorkerId| {
            let there = &workers[other];
            self.reach[other].lost.is_none() && (!there.stages() || there.attempt_bytes > workers[worker].attempt_bytes)
        };
        !place::candidates(self.view.fleet, id).unwrap_or_default().into_iter().any(has_more)
    }

    /// Another attempt follows.
    fn again(&mut self, id: TaskId, worker: WorkerId, next: Next, ended: Receipt) {
        let Some(mut tried) = self.tried.remove(&id) else { return };
        if let Some(record) = tried.last_mut() {
            let Receipt { exit_code, signal, log, leaked, .. } = ended;
            (record.exit_code, record.signal, record.log, record.leaked) = (exit_code, signal, log, leaked);
            self.emit(Event::Restarted { task: id, record, next });
        }
        self.tried.insert(id, tried);
        // A repetition is no answer to a failure, so it may go anywhere.
        let avoid = matches!(next, Next::Retry { .. }).then_some(worker);
        self.tell(Input::Again { task: id, wait: next.wait(), avoid });
    }

    /// Puts all attempts of a task into its receipt, and the verdict of its repetitions in the place of that of the last.
    pub(super) fn summed_up(&mut self, id: TaskId, receipt: &mut Receipt) {
        let Some(tried) = self.tried.remove(&id) else { return };
        let ran = receipt.result != TaskResult::Skip;
        if let Some(repeat) = retry::tally(self.task(id), &tried) {
            if ran && let Some(kind) = retry::failure_of(&repeat, &tried) {
                let last = receipt.cause.take().map_or(String::new(), |cause| format!("; the last: {cause}"));
                let (passed, done, quorum) = (repeat.passed, repeat.done, repeat.quorum);
                receipt.cause = Some(format!("{passed} of {done} repetitions passed, {quorum} have to{last}"));
                (receipt.result, receipt.failure_kind) = (TaskResult::Fail, Some(kind));
            }
            receipt.repeat = Some(repeat);
        }
        receipt.flaky = retry::is_flaky(receipt.result, &tried);
        receipt.attempts = tried;
    }
}
