//! Single keys from the terminal that we were started on, while a run goes on. Lines and echo are off meanwhile; Ctrl-C
//! and Ctrl-Z stay what they are. However this process ends, short of a KILL, the terminal is as it was before.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcsetattr};

/// How the terminal was, for whoever has to put it back; set once.
static BEFORE: OnceLock<Termios> = OnceLock::new();
/// It is not as it was.
static CHANGED: AtomicBool = AtomicBool::new(false);
/// What was to be done about signals that end a process at once.
static ACTIONS: OnceLock<Vec<(i32, libc::sigaction)>> = OnceLock::new();

/// Signals that end a process before it could put anything back; the first is Ctrl-\.
const FATAL: [i32; 6] = [libc::SIGQUIT, libc::SIGABRT, libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

/// The terminal gives keys for as long as this lives.
#[derive(Debug)]
pub struct Keys {
    stdin: io::Stdin,
    on: bool,
}

impl Keys {
    /// `None` when standard input is no terminal.
    #[must_use]
    pub fn open() -> Option<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin).ok()?;
        if BEFORE.set(before).is_ok() {
            put_back_at_any_end();
        }
        let mut keys = Self { stdin, on: false };
        keys.resume();
        Some(keys)
    }

    /// To be polled for reading; `None` while the terminal is somebody else's.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.on.then(|| self.stdin.as_fd())
    }

    /// Puts the terminal back, before we are stopped.
    pub fn pause(&mut self) {
        if self.on {
            put_back();
        }
        self.on = false;
    }

    /// Takes the terminal again, if we are in its foreground: in the background it is our caller's.
    pub fn resume(&mut self) {
        self.on = self.is_in_front() && self.single_keys().is_ok();
    }

    /// The keys that were pressed.
    pub fn take(&mut self) -> Vec<u8> {
        // Who reads in the background is stopped by the kernel.
        if !self.on || !self.is_in_front() {
            self.on = false;
            return Vec::new();
        }
        let ready = &mut [rustix::event::PollFd::new(&self.stdin, rustix::event::PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        if !matches!(rustix::event::poll(ready, Some(&now)), Ok(1)) {
            return Vec::new();
        }
        let mut keys = [0; 64];
        match rustix::io::read(&self.stdin, &mut keys) {
            Ok(n) if n > 0 => keys[..n].to_vec(),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => Vec::new(),
            // The terminal is gone.
            _ => {
                self.on = false;
                Vec::new()
            }
        }
    }

    fn is_in_front(&self) -> bool {
        tcgetpgrp(&self.stdin).is_ok_and(|front| front == rustix::process::getpgrp())
    }

    fn single_keys(&self) -> rustix::io::Result<()> {
        let mut modes = tcgetattr(&self.stdin)?;
        modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        modes.special_codes[SpecialCodeIndex::VMIN] = 1;
        modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        CHANGED.store(true, Ordering::SeqCst);
        tcsetattr(&self.stdin, OptionalActions::Now, &modes)
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.pause();
    }
}

/// Only system calls and atomic loads: also a signal handler may do this.
fn put_back() {
    if CHANGED.swap(false, Ordering::SeqCst)
        && let Some(before) = BEFORE.get()
    {
        // A terminal that is gone has nothing to be put back.
        let _ = tcsetattr(super::sys::stdio()[0], OptionalActions::Now, before);
    }
}

fn put_back_at_any_end() {
    let mut actions = Vec::new();
    // SAFETY: the handlers make system calls and load atomics, and no more. The actions are zeroed, which is valid, and
    // live through the calls that fill and read them. They are kept before a handler could need them only by chance,
    // and a handler that finds none falls back to the default.
    unsafe {
        libc::atexit(at_exit);
        for signal in FATAL {
            let mut ours: libc::sigaction = std::mem::zeroed();
            ours.sa_sigaction = on_fatal as extern "C" fn(i32) as usize;
            ours.sa_flags = libc::SA_ONSTACK | libc::SA_NODEFER;
            let mut theirs: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(signal, &raw const ours, &raw mut theirs) == 0 {
                actions.push((signal, theirs));
            }
        }
    }
    let _ = ACTIONS.set(actions);
}

extern "C" fn at_exit() {
    put_back();
}

/// Puts the terminal back, and leaves the rest to whoever would have been asked without us.
extern "C" fn on_fatal(signal: i32) {
    put_back();
    let theirs = ACTIONS.get().and_then(|actions| actions.iter().find(|(one, _)| *one == signal));
    // SAFETY: sigaction, signal and raise may be called in a handler, and the action is one that was in force before.
    unsafe {
        match theirs {
            Some((_, action)) => _ = libc::sigaction(signal, action, std::ptr::null_mut()),
            None => _ = libc::signal(signal, libc::SIG_DFL),
        }
        libc::raise(signal);
    }
}
