//! The threads that carry files: the loop must not wait for a disk. As many as there is use for, at most [`THREADS_MAX`].

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::bound::Look;
use super::lay::{Found, LayError};
use super::spare::{Spare, Traces};
use crate::supervisor::frame::Removed;

/// More of them wait for the same disk.
const THREADS_MAX: usize = 4;

/// What a job came to.
#[derive(Debug)]
pub(super) enum Carried {
    Laid(Result<Option<Traces>, LayError>),
    Collected(Box<Found>),
    /// The folder of an attempt is gone; so many bytes of it are kept.
    Removed(u64),
    /// Whether the folder of an attempt is as it was laid out.
    Checked(Box<Spare>, bool),
    Trimmed,
    /// Nothing is kept.
    Cleaned(Removed),
    /// At a folder in which a process runs.
    Looked(Look),
}

type Work = Box<dyn FnOnce() -> Carried + Send>;

#[derive(Debug)]
pub(super) struct Porter {
    shared: Arc<Shared>,
    threads: usize,
    /// Jobs put and not yet taken back.
    pending: usize,
}

#[derive(Debug)]
struct Shared {
    queues: Mutex<Queues>,
    work: Condvar,
    /// Becomes readable when there is a result.
    wake: OwnedFd,
}

#[derive(Default)]
struct Queues {
    jobs: VecDeque<(u32, Work)>,
    done: Vec<(u32, Carried)>,
    asleep: usize,
}

impl fmt::Debug for Queues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Queues({} jobs, {} done)", self.jobs.len(), self.done.len())
    }
}

impl Shared {
    fn queues(&self) -> MutexGuard<'_, Queues> {
        // No code that holds the lock can panic half way through a change.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        loop {
            let mut queues = self.queues();
            let (attempt, job) = loop {
                if let Some(job) = queues.jobs.pop_front() {
                    break job;
                }
                queues.asleep += 1;
                queues = self.work.wait(queues).unwrap_or_else(PoisonError::into_inner);
                queues.asleep -= 1;
            };
            drop(queues);
            let carried = job();
            self.queues().done.push((attempt, carried));
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        }
    }
}

impl Porter {
    pub(super) fn new(wake: OwnedFd) -> Self {
        let shared = Arc::new(Shared { queues: Mutex::default(), work: Condvar::new(), wake });
        Self { shared, threads: 0, pending: 0 }
    }

    /// Queues a job of an attempt.
    ///
    /// # Errors
    /// When there is no thread to do it and none can be started.
    pub(super) fn put(&mut self, attempt: u32, job: impl FnOnce() -> Carried + Send + 'static) -> io::Result<()> {
        let mut queues = self.shared.queues();
        if queues.jobs.len() + 1 > queues.asleep && self.threads < THREADS_MAX {
            let shared = Arc::clone(&self.shared);
            match thread::Builder::new().spawn(move || shared.serve()) {
                Ok(_) => self.threads += 1,
                Err(error) if self.threads == 0 => return Err(error),
                // Those there are will come to it.
                Err(_) => {}
            }
        }
        queues.jobs.push_back((attempt, Box::new(job)));
        drop(queues);
        self.pending += 1;
        self.shared.work.notify_one();
        Ok(())
    }

    pub(super) fn take(&mut self) -> Vec<(u32, Carried)> {
        if self.pending == 0 {
            return Vec::new();
        }
        let done = std::mem::take(&mut self.shared.queues().done);
        self.pending -= done.len();
        done
    }

    pub(super) fn is_idle(&self) -> bool {
        self.pending == 0
    }
}
