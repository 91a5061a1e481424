//! The end of every attempt, and of every task that had none: verdict, receipt, record, and on to the scheduler.

use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::judge::Judged;
use super::receipts::{self, Told};
use super::{reuse, staged};
use crate::id::TaskId;
use crate::journal::{Event, LogWriter};
use crate::plan::fingerprint::digest_of_outputs;
use crate::policy::verdict::{CancelledBy, Ended, How, TimeLimit};
use crate::protocol::Receipt;
use crate::protocol::receipt::TaskResult;
use crate::schedule::{Input, SkipCause, StopCause};
use crate::supervisor::frame::{EndedBy, Exited};

impl Engine<'_> {
    /// The process came to its own end, and was judged.
    pub(super) fn finish_judged(&mut self, n: u32, exited: &Exited, judged: Judged) {
        let how = How::Exited { code: exited.code.unwrap_or_default() };
        self.finish(n, how, Some(exited), judged);
    }

    /// The process did not come to an end of its own that could be judged.
    pub(super) fn finish_unjudged(&mut self, n: u32, exited: &Exited) {
        let Some(flight) = self.flights.get(&n) else { return };
        let fleet = self.view.fleet;
        let task = &fleet.tasks[flight.task];
        let limit = |time: Option<Duration>| time.unwrap_or_default();
        let how = match (exited.ended_by, exited.signal) {
            (Some(EndedBy::Timeout), _) => How::TimedOut { which: TimeLimit::Wall, limit: limit(task.timeout) },
            (Some(EndedBy::IdleTimeout), _) => {
                How::TimedOut { which: TimeLimit::Idle, limit: limit(task.idle_timeout) }
            }
            (Some(EndedBy::Size { bytes }), _) => How::Outgrown(staged::room(fleet, flight.worker, bytes)),
            (Some(EndedBy::Stop | EndedBy::Kill | EndedBy::Shutdown), _) => {
                How::Killed { why: "its supervisor was told to leave" }
            }
            (None, Some(_)) if exited.oom_killed => {
                let limits = task.limits.as_deref();
                How::OutOfMemory { limit_bytes: limits.and_then(|limits| limits.memory_bytes).unwrap_or_default() }
            }
            (None, Some(signal)) => How::Signaled { signal },
            (None, None) => How::Lost { why: "the supervisor reported neither exit code nor signal" },
        };
        self.finish(n, how, Some(exited), Judged::default());
    }

    pub(super) fn finish_stopped(&mut self, n: u32, cause: StopCause, exited: Option<&Exited>) {
        let fleet = Arc::clone(&self.job.fleet);
        let by = match cause {
            StopCause::FailFast(failed) => CancelledBy::FailFast { failed: &fleet.tasks[failed].name },
            StopCause::Cancelled => CancelledBy::Person,
            StopCause::RunTimeout => CancelledBy::RunTimeout { limit: fleet.policies.timeout.unwrap_or_default() },
        };
        self.finish(n, How::Cancelled { by }, exited, Judged::default());
    }

    /// The one end of every attempt: verdict, receipt, record, and on to the scheduler.
    pub(super) fn finish(&mut self, n: u32, how: How<'_>, exited: Option<&Exited>, mut judged: Judged) {
        self.printed_all(n);
        let Some(mut flight) = self.flights.remove(&n) else { return };
        self.in_flight.remove(&flight.task);
        let fleet = Arc::clone(&self.job.fleet);
        let task = &fleet.tasks[flight.task];
        if flight.staging.is_some() {
            self.release(n, flight.lane);
        }
        let how = match &judged.error {
            Some(why) => {
                self.disk_lost(why);
                How::Lost { why }
            }
            None => judged.unbelievable.as_ref().map_or(how, |why| How::Lost { why }),
        };
        let faults = judged.faults();
        let verdict = crate::policy::verdict(&Ended {
            how,
            scorers: &task.scorers,
            records: if task.scorers.is_empty() { &[] } else { &judged.records },
            faults: &faults,
            pass_score: task.pass_score,
        });
        let log = match flight.log.take().map(LogWriter::close).transpose() {
            Ok(log) => log.flatten(),
            Err(error) => {
                self.disk_lost(&format!("a log cannot be written: {error}"));
                None
            }
        };
        let id = flight.task;
        let (looked, kept) = (flight.looked.clone(), judged.kept.take());
        let worker = flight.worker;
        let receipt = self.receipt_of(flight, Told { exited, verdict, judged, log });
        let Some(receipt) = self.attempted(id, worker, receipt) else { return };
        let made = matches!(receipt.result, TaskResult::Pass | TaskResult::Partial);
        self.reuse.settled(id, made.then(|| digest_of_outputs(&receipt.outputs)));
        let seq = self.settle(id, &receipt);
        if let Some(text) = receipts::left_behind(&receipt) {
            self.warn(&text);
        }
        if let Some(looked) = looked {
            self.remember(id, &receipt, seq, &looked, kept.unwrap_or_default());
        }
    }

    /// A task that was never started.
    pub(super) fn skipped(&mut self, id: TaskId, cause: SkipCause) {
        let mut receipt = self.receipt_of_skip(id, cause);
        self.summed_up(id, &mut receipt);
        self.reuse.settled(id, (cause == SkipCause::NotWanted).then(reuse::unwanted));
        self.record(id, &receipt);
    }

    pub(super) fn settle(&mut self, id: TaskId, receipt: &Receipt) -> u64 {
        let seq = self.record(id, receipt);
        self.lies_there(id, receipt);
        let result: TaskResult = receipt.result;
        self.tell(Input::Settled { task: id, result });
        seq
    }

    /// Where in the journal the receipt is.
    pub(super) fn record(&mut self, id: TaskId, receipt: &Receipt) -> u64 {
        let seq = self.emit(Event::Settled { task: id, receipt });
        self.count(id, receipt);
        seq
    }

    /// What the run comes to with this result.
    pub(super) fn count(&mut self, id: TaskId, receipt: &Receipt) {
        let code = self.tally.add(id, receipt, self.task(id).allow_failure);
        self.exit = self.exit.or_worse(code);
    }

    /// The store, for a job of this flight; without it there is no going on.
    pub(super) fn store_for(&mut self, n: u32) -> Option<Arc<crate::store::Store>> {
        match self.store() {
            Ok(store) => Some(store),
            Err(error) => {
                self.disk_lost(&format!("the store cannot be opened: {error}"));
                self.finish(n, How::Lost { why: "the store cannot be opened" }, None, Judged::default());
                None
            }
        }
    }

    pub(super) fn store(&mut self) -> std::io::Result<Arc<crate::store::Store>> {
        if let Some(store) = &self.store {
            return Ok(Arc::clone(store));
        }
        let store = Arc::new(crate::store::Store::open(self.job.state.path())?);
        self.store = Some(Arc::clone(&store));
        Ok(store)
    }
}
