//! What goes out of the loop: records to the journal, results for the next run, events to whoever watches; and what is
//! done when one of them cannot be written.

use std::io;

use super::{Engine, FRAME};
use crate::journal::{Event, Happened};
use crate::model::OnUnknown;
use crate::policy::ExitCode;
use crate::schedule::Input;
use crate::time::{Millis, Stamp, millis};

impl Engine<'_> {
    /// Records what happened, then shows it. Returns its place in the journal.
    pub(super) fn emit(&mut self, event: Event<'_>) -> u64 {
        match self.masks.clone() {
            None => self.tell_of(event),
            Some(masks) => self.emit_masked(&masks, event),
        }
    }

    pub(super) fn tell_of(&mut self, event: Event<'_>) -> u64 {
        let stamp = self.stamp();
        let seq = self.journal.as_mut().map_or(0, |journal| journal.record(stamp, &event, self.view.fleet));
        self.show(seq, stamp, event);
        seq
    }

    pub(super) fn show(&mut self, seq: u64, stamp: Stamp, event: Event<'_>) {
        let happened = Happened { at: self.now, stamp, seq, event };
        if self.sink.event(&self.view, &happened).is_err() {
            self.output_lost();
        }
        if self.sink_due.is_none() {
            self.sink_due = Some(self.now.after(FRAME));
        }
    }

    /// The wall's time, which goes on while we are stopped.
    pub(super) fn stamp(&self) -> Stamp {
        self.clock.stamp_at(Millis(self.now.0 + millis(self.stopped)))
    }

    pub(super) fn warn(&mut self, text: &str) {
        self.emit(Event::Warning { text });
    }

    /// Whether everything that happened is on record.
    pub(super) fn write_journal(&mut self) -> bool {
        let Some(journal) = &mut self.journal else { return false };
        let Err(error) = journal.write() else {
            self.write_results();
            return true;
        };
        // No record, no belief: nothing new is started, what runs is drained.
        self.journal = None;
        self.disk_lost(&format!("the journal cannot be written: {error}"));
        false
    }

    /// A task that may be held is on disk before it is told to run: after a power cut nobody may believe that it never did.
    pub(super) fn sync_what_must_not_happen_twice(&mut self) -> bool {
        let tasks = self.to_send.iter().filter_map(|(n, _)| self.flights.get(n)).map(|flight| flight.task);
        if !tasks.into_iter().any(|id| self.job.fleet.tasks[id].on_unknown == OnUnknown::Hold) {
            return true;
        }
        let Some(journal) = &mut self.journal else { return false };
        let Err(error) = journal.sync_now() else { return true };
        self.journal = None;
        self.disk_lost(&format!("the journal cannot be written: {error}"));
        false
    }

    /// Results for the next run.
    pub(super) fn write_results(&mut self) {
        if let Err(error) = self.reuse.write() {
            self.cache_lost("results cannot be kept for reuse", &error);
        }
    }

    /// What only saves time may be lost, so it is told once and left. But a disk that is full or broken is not passed
    /// over, whatever it was that it did not take.
    pub(super) fn cache_lost(&mut self, what: &str, error: &io::Error) {
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        if full || error.raw_os_error() == Some(libc::EIO) {
            self.exit = self.exit.or_worse(ExitCode::NotWritten);
        }
        if !std::mem::replace(&mut self.results_lost, true) {
            self.warn(&format!("{what}: {error}"));
        }
    }

    /// Something that must last could not be written.
    pub(super) fn disk_lost(&mut self, why: &str) {
        self.exit = self.exit.or_worse(ExitCode::NotWritten);
        if !std::mem::replace(&mut self.draining, true) {
            self.tell(Input::Drain);
            self.warn(why);
        }
    }

    /// Our own output is gone; the run goes on without it, and says so by its exit code.
    pub(super) fn output_lost(&mut self) {
        self.exit = self.exit.or_worse(ExitCode::NotWritten);
    }
}
