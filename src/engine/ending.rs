//! The end of a run: supervisors leave, uploads arrive, everything that must last is on disk, and the last record says how
//! it went.

use std::time::Duration;

use super::outcome::Outcome;
use super::{Engine, UPLOAD_LOOK, tally};
use crate::policy::ExitCode;
use crate::protocol::RunStatus;
use crate::store::remote::Remote;

impl Engine<'_> {
    pub(super) fn end(mut self) -> Outcome {
        self.close_lanes();
        self.end_uploads();
        self.close_store();
        let status = match (self.interrupted, self.exit) {
            (Some(_), _) => RunStatus::Cancelled,
            (None, ExitCode::Passed) => RunStatus::Completed,
            (None, _) => RunStatus::Failed,
        };
        if let Some(journal) = self.journal.take()
            && let Err(error) = journal.end(self.clock.stamp(), self.view.fleet, status, self.exit.code())
        {
            self.exit = self.exit.or_worse(ExitCode::NotWritten);
            self.warn(&format!("the journal cannot be written: {error}"));
        }
        let mut outcome = self.tally.close(&tally::Closing {
            job: self.job,
            run: self.view.run,
            exit: self.exit,
            wall: Duration::from_millis(self.clock.now().0),
            interrupted: self.interrupted,
            scheduler: &self.scheduler,
        });
        if self.sink.end(&self.view, &outcome).is_err() {
            outcome.exit = self.exit.or_worse(ExitCode::NotWritten);
        }
        // The process ends next, and the kernel takes their memory back at once.
        std::mem::forget((self.reuse, self.scheduler));
        outcome
    }

    /// Waits for the results that are still on their way to the shared cache; a signal ends the wait.
    pub(super) fn end_uploads(&mut self) {
        self.uploads.no_more();
        while !self.uploads.are_done() {
            self.heard();
            std::thread::sleep(UPLOAD_LOOK);
        }
        self.tell_of_remote();
    }

    /// What the shared cache has to say; it says each thing once.
    pub(super) fn tell_of_remote(&mut self) {
        let warnings = self.reuse.ground.remote.as_ref().map(Remote::warnings).unwrap_or_default();
        for warning in warnings {
            self.warn(&warning);
        }
    }

    /// What the next run finds, on disk before the run's end is.
    pub(super) fn close_store(&mut self) {
        if let Some(store) = &self.store
            && let Err(error) = store.sync_all()
        {
            // Receipts cite what is in it.
            self.exit = self.exit.or_worse(ExitCode::NotWritten);
            self.warn(&format!("the store cannot be synced: {error}"));
        }
        if let Err(error) = self.reuse.close(self.masks.as_deref()) {
            self.cache_lost("results cannot be kept for reuse", &error);
        }
    }
}
