//! Where a run waits: one `poll` over the supervisors, the finished jobs and the signals.
//! Jobs run on the rayon pool and hand their result to a channel and one byte to a pipe, so waiting costs no thread.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The receiving end, with the jobs' way in.
pub(crate) struct Inbox<T> {
    results: Receiver<T>,
    sender: Sender<T>,
    woken: UnixStream,
    wake: Arc<UnixStream>,
}

/// What may be read now.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    /// By index into the fds that were given.
    pub fds: Vec<bool>,
    pub jobs: bool,
}

impl Ready {
    fn nothing(&mut self, count: usize) {
        self.fds.clear();
        self.fds.resize(count, false);
        self.jobs = false;
    }
}

impl<T: Send + 'static> Inbox<T> {
    pub(crate) fn new() -> io::Result<Self> {
        let (woken, wake) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        wake.set_nonblocking(true)?;
        let (sender, results) = channel();
        Ok(Self { results, sender, woken, wake: Arc::new(wake) })
    }

    /// Runs `job` on the pool; what it returns comes out of [`Inbox::jobs`].
    pub(crate) fn spawn(&self, job: impl FnOnce() -> T + Send + 'static) {
        let (sender, wake) = (self.sender.clone(), Arc::clone(&self.wake));
        rayon::spawn(move || {
            let result = job();
            // The run is over when nobody listens any more; a full pipe has woken it already.
            if sender.send(result).is_ok() {
                let _ = (&*wake).write(&[1]);
            }
        });
    }

    /// As [`Self::spawn`], on a thread of its own: for a job that waits for somebody else.
    pub(crate) fn wait_for(&self, job: impl FnOnce() -> T + Send + 'static) -> JoinHandle<()> {
        let (sender, wake) = (self.sender.clone(), Arc::clone(&self.wake));
        std::thread::spawn(move || {
            if sender.send(job()).is_ok() {
                let _ = (&*wake).write(&[1]);
            }
        })
    }

    /// Results that have arrived.
    pub(crate) fn jobs(&mut self) -> impl Iterator<Item = T> {
        let mut sink = [0; 256];
        while matches!(self.woken.read(&mut sink), Ok(n) if n == sink.len()) {}
        self.results.try_iter()
    }

    /// Waits until something can be read (or, where asked, written), or the time is up.
    pub(crate) fn wait(
        &self,
        fds: &[(BorrowedFd<'_>, bool)],
        timeout: Option<Duration>,
        ready: &mut Ready,
    ) -> io::Result<()> {
        let mut polled: Vec<PollFd<'_>> = Vec::with_capacity(fds.len() + 1);
        for (fd, writes) in fds {
            polled.push(PollFd::new(fd, if *writes { PollFlags::OUT } else { PollFlags::IN }));
        }
        let woken = self.woken.as_fd();
        polled.push(PollFd::new(&woken, PollFlags::IN));
        let timeout = timeout.map(|t| Timespec {
            tv_sec: i64::try_from(t.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: t.subsec_nanos().into(),
        });
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) => {}
            // A signal: its handler has written to the signal pipe, which the next wait reports.
            Err(rustix::io::Errno::INTR) => {
                ready.nothing(fds.len());
                return Ok(());
            }
            Err(e) => return Err(e.into()),
        }
        ready.fds.clear();
        ready.fds.extend(polled[..fds.len()].iter().map(|p| !p.revents().is_empty()));
        ready.jobs = !polled[fds.len()].revents().is_empty();
        Ok(())
    }
}
