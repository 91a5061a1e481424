//! What the engine tells of a run while it runs, and to whom: one [`Sink`], whatever formats stand behind it.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::outcome::Outcome;
use crate::id::{Attempt, RunId, TaskId};
use crate::journal::Happened;
use crate::model::Fleet;
use crate::time::Millis;

/// What stays the same through a run and is at hand in every call, so that no sink copies it.
#[derive(Clone, Copy, Debug)]
pub struct RunView<'a> {
    pub fleet: &'a Fleet,
    pub run: &'a RunId,
    /// `.fleet/runs/<run>`, absolute.
    pub run_dir: &'a Path,
    /// How many tasks were selected, so how many will be settled (handlers come on top).
    pub selected: usize,
    /// How many of them an earlier sitting of the run has settled for good.
    pub settled: usize,
    /// This is not the first sitting of the run.
    pub resumed: bool,
    /// The run that this one does again.
    pub parent: Option<&'a str>,
}

/// An attempt that goes on.
#[derive(Clone, Debug)]
pub struct Running {
    pub task: TaskId,
    pub attempt: Attempt,
    pub since: Millis,
    /// The end of what it has printed so far.
    pub tail: Vec<u8>,
}

/// A listener to a run: `begin`, any number of `event` and `tick`, `end`. After an error a sink is told nothing more;
/// the run goes on without it and ends with the exit code for output that could not be written.
pub trait Sink {
    /// # Errors
    /// What the sink's own output fails with, a closed pipe included.
    fn begin(&mut self, view: &RunView<'_>) -> io::Result<()>;

    /// # Errors
    /// As `begin`.
    fn event(&mut self, view: &RunView<'_>, happened: &Happened<'_>) -> io::Result<()>;

    /// At most ten times a second while things happen, and once when nothing does: write what is held, draw anew.
    ///
    /// # Errors
    /// As `begin`.
    fn tick(&mut self, view: &RunView<'_>, now: Millis) -> io::Result<()>;

    /// How often a tick is wanted even when nothing happens: a display of passing time wants it, others do not.
    fn tick_every(&self) -> Option<Duration> {
        None
    }

    /// A person asked what runs now.
    ///
    /// # Errors
    /// As `begin`.
    fn running(&mut self, view: &RunView<'_>, now: Millis, running: &[Running]) -> io::Result<()> {
        let _ = (view, now, running);
        Ok(())
    }

    /// # Errors
    /// As `begin`.
    fn end(&mut self, view: &RunView<'_>, outcome: &Outcome) -> io::Result<()>;
}
