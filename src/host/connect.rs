//! Reaching a host that is not this one: a conversation of several steps that waits, and so is had on a thread of its
//! own. It ends with the pipes of a supervisor that has not been greeted yet.

use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::link::Pipes;

/// How long a host may take until its supervisor can be greeted, the sending of the supervisor not counted.
pub const CONNECT_MAX: Duration = Duration::from_secs(30);
/// As much of what a program says on its standard error is kept, from the end.
const SAID_BYTES_MAX: usize = 8 << 10;

/// What a connection needs to know of the run.
#[derive(Clone, Debug)]
pub struct Site {
    /// The `fleet` binary.
    pub exe: PathBuf,
    pub run: String,
    pub worker: String,
    /// Absolute path of the state directory, which what we leave behind is marked with.
    pub state_dir: PathBuf,
    /// What relative paths are relative to.
    pub workspace: PathBuf,
}

/// A host that was reached.
#[derive(Debug)]
pub struct Connected {
    pub pipes: Pipes,
    /// What the program that leads there says on its standard error.
    pub said: Said,
    /// Where it keeps everything of ours; empty where it is to choose.
    pub root: String,
    /// The container's name, for whoever has to remove it.
    pub container: Option<String>,
    /// The supervisor had to be sent: its bytes.
    pub sent: Option<u64>,
}

/// Why a host was not reached, in words for people: what was tried, what came of it, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Unreachable {
    pub why: String,
    /// Another try would come to the same: it is for a person to mend.
    pub is_final: bool,
}

impl Unreachable {
    #[must_use]
    pub fn new(what: impl fmt::Display) -> Self {
        Self { why: what.to_string(), is_final: false }
    }

    pub(super) fn for_good(self) -> Self {
        Self { is_final: true, ..self }
    }
}

/// The end of what a program says on its standard error, as it comes.
#[derive(Clone, Debug, Default)]
pub struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    /// Listens on a thread that ends with the program.
    pub(super) fn listen(from: Option<ChildStderr>) -> Self {
        let said = Self::default();
        if let Some(mut from) = from {
            let to = said.clone();
            // Without a thread nothing is known of what went wrong, and nothing else is lost.
            let _ = thread::Builder::new().spawn(move || {
                let mut piece = [0; 1024];
                while let Ok(n @ 1..) = from.read(&mut piece) {
                    to.add(&piece[..n]);
                }
            });
        }
        said
    }

    fn add(&self, bytes: &[u8]) {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.extend_from_slice(bytes);
        let over = said.len().saturating_sub(SAID_BYTES_MAX);
        said.drain(..over);
    }

    /// In one line, without what a terminal would obey.
    #[must_use]
    pub fn text(&self) -> String {
        let said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&said);
        let lines = text.lines().map(|line| line.trim_matches(|c: char| c.is_control() || c == ' '));
        let lines: Vec<String> = lines
            .filter(|line| !line.is_empty() && !line.chars().all(|c| c == '@'))
            .map(|line| line.chars().filter(|c| !c.is_control()).collect())
            .collect();
        lines.join("; ")
    }
}

/// Reads of a pipe that give up at a time.
#[derive(Debug)]
pub(super) struct Until<'a> {
    from: &'a mut ChildStdout,
    end: Instant,
}

impl<'a> Until<'a> {
    pub(super) fn new(from: &'a mut ChildStdout, limit: Duration) -> Self {
        Self { from, end: Instant::now() + limit }
    }
}

impl Read for Until<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.end.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut fds = [PollFd::new(&*self.from, PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&left)) {
            Ok(0) => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => self.from.read(buffer),
            Err(error) => Err(error.into()),
        }
    }
}

/// Ends a program that leads nowhere.
pub(super) fn give_up(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// What is wrong with a program that could not even be started.
pub(super) fn not_started(program: &str, package: &str, error: &io::Error) -> Unreachable {
    if error.kind() == io::ErrorKind::NotFound {
        return Unreachable::new(format_args!(
            "`{program}` is not on PATH; install it first (on Debian: apt-get install {package})"
        ))
        .for_good();
    }
    Unreachable::new(format_args!("`{program}` cannot be started: {error}"))
}
