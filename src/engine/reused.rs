//! Results that pass from one run to the next: those that stand when it begins, those that turn out to hold at a task's
//! turn, and those that are noted, and given to others, for later.

use super::Engine;
use super::judge::Kept;
use super::reuse::{Looked, Standing};
use super::uploads::Upload;
use crate::id::TaskId;
use crate::journal::Event;
use crate::plan::fingerprint::digest_of_outputs;
use crate::protocol::Receipt;
use crate::protocol::receipt::TaskResult;
use crate::store::remote::{Extra, Remote, RemoteEntry};
use crate::store::results::Entry;

/// Receipts of reused results that are in memory together; ten thousand would be megabytes.
const STAND_AT_ONCE: usize = 1024;

impl Engine<'_> {
    /// Tasks whose earlier result holds before anything runs.
    pub(super) fn stand(&mut self, standing: Standing) {
        let mut standing = standing.into_iter();
        loop {
            let (ids, receipts): (Vec<TaskId>, Vec<Receipt>) = standing
                .by_ref()
                .take(STAND_AT_ONCE)
                .map(|(id, entry)| (id, self.receipt_of_reuse(id, *entry)))
                .unzip();
            if ids.is_empty() {
                return;
            }
            self.record_standing(&ids, &receipts);
        }
    }

    /// In records of many; to whoever watches, each is an event of its own.
    fn record_standing(&mut self, ids: &[TaskId], receipts: &[Receipt]) {
        let mut at = 0;
        while at < receipts.len() {
            let (stamp, rest) = (self.stamp(), &receipts[at..]);
            let (seq, count) = self.journal.as_mut().map_or((0, rest.len()), |journal| journal.stand(stamp, rest));
            for (id, receipt) in ids[at..].iter().zip(rest).take(count) {
                self.show(seq, stamp, Event::Settled { task: *id, receipt });
                self.count(*id, receipt);
            }
            at += count;
            self.write_journal();
        }
    }

    /// The attempt turned out not to be needed: an earlier result holds, and its outputs are in their places.
    pub(super) fn finish_reused(&mut self, n: u32, entry: &Entry) {
        let Some(flight) = self.flights.remove(&n) else { return };
        let id = flight.task;
        self.in_flight.remove(&id);
        self.reuse.settled(id, Some(entry.made));
        let receipt = self.receipt_of_reuse(id, entry.clone());
        self.settle(id, &receipt);
        if let Some(looked) = &flight.looked
            && let Err(error) = self.reuse.again(entry, looked, &self.job.fleet.tasks[id])
        {
            self.cache_lost("results cannot be kept for reuse", &error);
        }
    }

    /// Notes a result for the next run: to be reused when it passed, to be compared with in any case.
    pub(super) fn remember(&mut self, id: TaskId, receipt: &Receipt, seq: u64, looked: &Looked, kept: Kept) {
        let Some(fingerprint) = looked.fingerprint else { return };
        if receipt.result == TaskResult::Skip {
            return;
        }
        let passed = receipt.result == TaskResult::Pass;
        let entry = Entry {
            task: receipt.task_id.clone(),
            fingerprint,
            result: receipt.result,
            why_not: kept.why_not.map(|why| self.masked(why).into()),
            at: receipt.completed_at,
            run: receipt.run_id.as_ref().into(),
            seq,
            attempt: receipt.attempt,
            remote: false,
            made: digest_of_outputs(&receipt.outputs),
            inputs_digest: receipt.inputs_digest,
            outputs: if passed { receipt.outputs.clone() } else { Vec::new() },
            artifacts: if passed { receipt.artifacts.clone() } else { Vec::new() },
            score: receipt.score.clone(),
        };
        if entry.is_reusable() {
            self.share(&entry, receipt);
        }
        let mut parts = kept.parts.unwrap_or_else(|| looked.parts(self.task(id)));
        if let Some(masks) = &self.masks {
            // A file may have any name.
            parts.retain(|part| [&part.name, &part.shown].iter().all(|text| masks.find(text.as_bytes()).is_none()));
        }
        if let Err(error) = self.reuse.add(&entry, &parts) {
            self.cache_lost("results cannot be kept for reuse", &error);
        }
    }

    /// Gives a result to those who share the cache.
    fn share(&mut self, entry: &Entry, receipt: &Receipt) {
        if !self.reuse.ground.remote.as_ref().is_some_and(Remote::writes) {
            return;
        }
        let Some(store) = self.store.clone() else { return };
        let extra = Extra {
            task: entry.task.clone(),
            run_id: entry.run.clone(),
            journal_seq: entry.seq,
            attempt: entry.attempt,
            exit_code: receipt.exit_code,
            score: entry.score.clone(),
            fleet_version: receipt.fleet_version.as_ref().into(),
        };
        let remote = RemoteEntry { outputs: entry.outputs.clone(), artifacts: entry.artifacts.clone(), extra };
        self.uploads.push(&self.reuse.ground, Upload { fingerprint: entry.fingerprint, entry: remote, store });
    }
}
