//! The signals of a run, as bytes in a pipe that the inbox polls.
//! First INT, TERM or HUP: cancel. Second: kill. TSTP: stop the tasks, then ourselves; CONT: go on.
//! USR1: say what runs.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use signal_hook::SigId;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP, SIGUSR1};
use signal_hook::low_level::{emulate_default_handler, pipe, unregister};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// TERM, and HUP, which is the terminal closing.
    Terminate,
    /// Ctrl-Z.
    Stop,
    Continue,
    /// Somebody wants to know what runs.
    Tell,
}

/// Each signal has its own pipe, so that which one came needs no shared state.
pub(crate) struct Signals {
    pipes: Vec<(Signal, UnixStream)>,
    handlers: Vec<SigId>,
}

const WATCHED: [(i32, Signal); 6] = [
    (SIGINT, Signal::Interrupt),
    (SIGTERM, Signal::Terminate),
    (SIGHUP, Signal::Terminate),
    (SIGTSTP, Signal::Stop),
    (SIGCONT, Signal::Continue),
    (SIGUSR1, Signal::Tell),
];

impl Signals {
    pub(crate) fn watch() -> io::Result<Self> {
        let mut this = Self { pipes: Vec::new(), handlers: Vec::new() };
        for (number, signal) in WATCHED {
            // A shell that started us with a signal ignored (nohup, `&` in sh) meant it.
            if crate::supervisor::is_ignored(number) {
                continue;
            }
            let (ours, theirs) = UnixStream::pair()?;
            ours.set_nonblocking(true)?;
            this.handlers.push(pipe::register(number, theirs)?);
            this.pipes.push((signal, ours));
        }
        Ok(this)
    }

    pub(crate) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.pipes.iter().map(|(_, pipe)| pipe.as_fd())
    }

    /// Signals that came, oldest kind first; two of one kind are two entries.
    pub(crate) fn take(&mut self) -> Vec<Signal> {
        let mut came = Vec::new();
        let mut buffer = [0; 16];
        for (signal, pipe) in &mut self.pipes {
            if let Ok(n) = pipe.read(&mut buffer) {
                came.extend(std::iter::repeat_n(*signal, n));
            }
        }
        came
    }

    /// Stops this process as the terminal asked; returns when it goes on.
    pub(crate) fn stop_here() -> io::Result<()> {
        emulate_default_handler(SIGTSTP)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for handler in self.handlers.drain(..) {
            unregister(handler);
        }
    }
}
