//! A run's place on the disk, for one sitting: its folder, the lock, the journal, and what was there before.

use std::io;
use std::path::PathBuf;

use super::grounds::end_what_is_left_of;
use super::resume::{Earlier, Unfit};
use super::{Job, Resumes, RunError};
use crate::id::RunId;
use crate::journal::Journal;
use crate::store::state::Lock;
use crate::time::clock::Clock;

/// What a run holds from its first moment to its last.
pub(super) struct Sitting {
    pub run: RunId,
    pub run_dir: PathBuf,
    pub lock: Lock,
    /// What a person should know of what was left behind.
    pub left: Vec<String>,
    pub journal: Journal,
    /// What an earlier sitting has left.
    pub earlier: Option<Earlier>,
}

impl Sitting {
    pub(super) fn open(job: &Job<'_>, clock: Clock) -> Result<Self, RunError> {
        job.state.create()?;
        match &job.resumes {
            None => Self::first(job, clock),
            Some(resumes) => Self::again(job, resumes, clock),
        }
    }

    fn first(job: &Job<'_>, clock: Clock) -> Result<Self, RunError> {
        let run = RunId::new(clock.stamp(), random()?);
        let lock = job.state.lock(&run)?;
        let run_dir = job.state.create_run(&run)?;
        // What a killed run left may still write, so it is ended before anything is looked at.
        let left = lock.killed_run().map(|killed| end_what_is_left_of(job, killed)).unwrap_or_default();
        let journal = Journal::create(&run_dir, &run)?;
        Ok(Self { run, run_dir, lock, left, journal, earlier: None })
    }

    fn again(job: &Job<'_>, Resumes { run, again }: &Resumes, clock: Clock) -> Result<Self, RunError> {
        let lock = job.state.lock(run)?;
        let killed = lock.killed_run().filter(|killed| *killed != run);
        let mut left = killed.map(|killed| end_what_is_left_of(job, killed)).unwrap_or_default();
        // Its journal and exit logs are read when nobody can write in them any more.
        left.extend(end_what_is_left_of(job, run));
        let run_dir = job.state.run_dir(run);
        let earlier = Earlier::of(&job.fleet, &run_dir, again, clock.stamp()).map_err(|unfit| match unfit {
            Unfit::Ended(exit) => RunError::Ended { run: run.clone(), exit },
            Unfit::Empty => RunError::Empty(run.clone()),
            Unfit::NotHeld(task) => RunError::NotHeld(run.clone(), job.fleet.tasks[task].name.to_string()),
            Unfit::Journal(error) => RunError::Journal(run.clone(), error),
        })?;
        let journal = Journal::reopen(&run_dir, run, earlier.end.clone(), earlier.created)?;
        Ok(Self { run: run.clone(), run_dir, lock, left, journal, earlier: Some(earlier) })
    }
}

fn random() -> io::Result<u32> {
    getrandom::u32().map_err(io::Error::other)
}
