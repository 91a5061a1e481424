//! Reaching a host that is not this one: a conversation of several steps that waits, and so is had on a thread of its
//! own. It ends with the pipes of a supervisor that has not been greeted yet.

use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{ChildStderr, ChildStdout};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::client::{Clients, Failure};
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
    /// What is started to get there.
    pub clients: Clients,
    /// What is kept there is to go anyway, and may go before the supervisor comes, which wants room.
    pub makes_room: bool,
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
    /// It has no supervisor and did not take the one that was sent, as one without room does not.
    pub was_sending: bool,
    /// It was reached, and cannot hold what this one attempt asks for.
    pub is_refusal: bool,
}

impl Unreachable {
    #[must_use]
    pub fn new(what: impl fmt::Display) -> Self {
        Self { why: what.to_string(), is_final: false, was_sending: false, is_refusal: false }
    }

    pub(super) fn for_good(self) -> Self {
        Self { is_final: true, ..self }
    }

    /// The host does well, and would serve others.
    pub(super) fn of_the_attempt(self) -> Self {
        Self { is_refusal: true, ..self }
    }
}

/// The end of what a program says, as it comes.
#[derive(Clone, Debug, Default)]
pub struct Said(Arc<(Mutex<Words>, Condvar)>);

#[derive(Debug, Default)]
struct Words {
    bytes: Vec<u8>,
    /// Nothing follows.
    are_all: bool,
}

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
                to.words().are_all = true;
                to.0.1.notify_all();
            });
        }
        said
    }

    pub(super) fn add(&self, bytes: &[u8]) {
        let said = &mut self.words().bytes;
        said.extend_from_slice(bytes);
        let over = said.len().saturating_sub(SAID_BYTES_MAX);
        said.drain(..over);
    }

    /// Waits for the last words of a program that has ended, or that will soon.
    pub(super) fn wait_for_all(&self, limit: Duration) {
        let (_, changed) = &*self.0;
        let _ = changed.wait_timeout_while(self.words(), limit, |words| !words.are_all);
    }

    fn words(&self) -> MutexGuard<'_, Words> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In one line, without what a terminal would obey.
    #[must_use]
    pub fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.words().bytes).into_owned();
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
        loop {
            let left = self.end.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            let mut fds = [PollFd::new(&*self.from, PollFlags::IN)];
            let read = match rustix::event::poll(&mut fds, Some(&left)) {
                Ok(0) => Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => self.from.read(buffer),
                Err(error) => Err(error.into()),
            };
            // A signal is for somebody else to hear, on whatever thread it strikes.
            if !matches!(&read, Err(error) if error.kind() == io::ErrorKind::Interrupted) {
                return read;
            }
        }
    }
}

/// Why a program that leads there came to nothing.
pub(super) fn failed(program: &str, package: &str, failure: &Failure) -> Unreachable {
    match failure {
        Failure::Start(error) => not_started(program, package, error),
        Failure::Silent(_) | Failure::Unwanted => Unreachable::new(format_args!("{program}: {failure}")),
    }
}

/// What is wrong with a program that could not even be started.
fn not_started(program: &str, package: &str, error: &io::Error) -> Unreachable {
    if error.kind() == io::ErrorKind::NotFound {
        return Unreachable::new(format_args!(
            "`{program}` is not on PATH; install it first (on Debian: apt-get install {package})"
        ))
        .for_good();
    }
    Unreachable::new(format_args!("`{program}` cannot be started: {error}"))
}
