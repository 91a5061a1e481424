//! Programs of this machine that lead to hosts: `ssh`, and the command lines of container engines. Whoever starts one
//! waits no longer than it says, and whoever leaves ends all that are under way, so that none outlives us and what they
//! have begun is not left lying.
//!
//! Where that needs something that only a process can do for itself, one is started through this program (`fleet lead`),
//! which does it and becomes the other.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::connect::{Said, Until};
use super::link::Pipes;
use crate::supervisor::{program, say};

/// Between TERM and KILL.
const GRACE: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// What a program that has ended has said may still be on its way to us for so long.
const WORDS_MAX: Duration = Duration::from_millis(500);
const NOT_EXECUTED: u8 = 127;
/// The words that name a [`Bond`].
const SESSION: &str = "session";
const TIED: &str = "tied";

/// All clients of a run. Clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct Clients(Arc<Mutex<All>>);

#[derive(Debug, Default)]
struct All {
    /// Nobody wants any of them any more.
    are_unwanted: bool,
    /// Those that somebody waits for. None of them was reaped, so these numbers are theirs.
    under_way: BTreeSet<u32>,
    /// Those that have reached a host, until whoever took them over says so.
    handed_on: BTreeSet<u32>,
}

impl Clients {
    /// Asks all that are under way to end, and starts no more.
    pub fn end(&self) {
        self.all().are_unwanted = true;
        self.signal(Signal::TERM);
    }

    /// Ends those that did not.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    #[must_use]
    pub fn are_unwanted(&self) -> bool {
        self.all().are_unwanted
    }

    /// The process ids of those that nobody else knows.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        let all = self.all();
        all.under_way.iter().chain(&all.handed_on).copied().collect()
    }

    /// Somebody else knows this one now.
    pub fn taken_over(&self, pid: u32) {
        self.all().handed_on.remove(&pid);
    }

    fn signal(&self, signal: Signal) {
        for pid in &self.all().under_way {
            send(*pid, signal);
        }
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// To all of its group. It leads none as long as it is `fleet lead`.
fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid
        && rustix::process::kill_process_group(pid, signal).is_err()
    {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// How a client stands to us. None is of the terminal's group: Ctrl-C is for us to hear, and to answer in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bond {
    /// It has a session of its own, so that nothing it starts finds a terminal to ask.
    Session,
    /// It ends when the thread ends that started it, however that comes.
    Tied,
    Free,
}

/// Why nothing came of a client.
#[derive(Debug)]
pub(super) enum Failure {
    Start(io::Error),
    /// It has not ended within this time, and was ended.
    Silent(Duration),
    /// We leave.
    Unwanted,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => error.fmt(f),
            Self::Silent(limit) => write!(f, "no answer within {} s", limit.as_secs()),
            Self::Unwanted => f.write_str("it is not wanted any more"),
        }
    }
}

/// A client that somebody waits for; dropping it ends it.
#[derive(Debug)]
pub(super) struct Client {
    clients: Clients,
    /// `None` once it was handed on.
    child: Option<Child>,
    pub(super) to: Option<ChildStdin>,
    pub(super) from: Option<ChildStdout>,
    pub(super) said: Said,
}

impl Client {
    /// Starts it with pipes for all that it hears and says. Of the command, the words and the folder count.
    pub(super) fn start(clients: &Clients, bond: Bond, command: Command) -> Result<Self, Failure> {
        let mut all = clients.all();
        if all.are_unwanted {
            return Err(Failure::Unwanted);
        }
        let mut child = spawn(bond, command).map_err(Failure::Start)?;
        all.under_way.insert(child.id());
        drop(all);
        let (to, from) = (child.stdin.take(), child.stdout.take());
        let said = Said::listen(child.stderr.take());
        Ok(Self { clients: clients.clone(), child: Some(child), to, from, said })
    }

    /// Waits for it to end by itself.
    pub(super) fn wait(&mut self, limit: Duration) -> Result<ExitStatus, Failure> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.reap().map_err(Failure::Start)? {
                return if self.clients.are_unwanted() { Err(Failure::Unwanted) } else { Ok(status) };
            }
            if begin.elapsed() > limit {
                return Err(Failure::Silent(limit));
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Whether it has ended by itself; one that cannot be asked has not.
    pub(super) fn has_ended(&mut self) -> bool {
        matches!(self.reap(), Ok(Some(_)))
    }

    /// It leads to a host, and is somebody else's to end.
    pub(super) fn into_pipes(mut self) -> io::Result<(Pipes, Said)> {
        let pipes = match (self.child.take(), self.to.take(), self.from.take()) {
            (Some(child), Some(to), Some(from)) => Pipes { child, to, from },
            (child, ..) => {
                self.child = child;
                return Err(io::Error::other("it was started without pipes"));
            }
        };
        let mut all = self.clients.all();
        all.under_way.remove(&pipes.child.id());
        all.handed_on.insert(pipes.child.id());
        drop(all);
        Ok((pipes, self.said.clone()))
    }

    /// Under the lock, so that nobody sends a signal to a number that is free.
    fn reap(&mut self) -> io::Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else { return Ok(None) };
        let mut all = self.clients.all();
        let status = child.try_wait()?;
        if status.is_some() {
            all.under_way.remove(&child.id());
        }
        Ok(status)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let Some(pid) = self.child.as_ref().map(Child::id) else { return };
        // Most have nothing more to say when nobody listens.
        (self.to, self.from) = (None, None);
        for signal in [Signal::TERM, Signal::KILL] {
            if !matches!(self.reap(), Ok(None)) {
                break;
            }
            send(pid, signal);
            let _ = self.wait(GRACE);
        }
        self.clients.all().under_way.remove(&pid);
    }
}

fn spawn(bond: Bond, mut command: Command) -> io::Result<Child> {
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Some(mut led) = led(bond, &command)? else { return command.spawn() };
    led.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    match led.spawn() {
        // Our own file was replaced. What it would do first is good to have, and nothing without it is wrong.
        Err(error) if error.kind() == io::ErrorKind::NotFound => command.spawn(),
        spawned => spawned,
    }
}

/// The words that have `fleet lead` become the command; `None` where there is nothing to do first.
fn led(bond: Bond, command: &Command) -> io::Result<Option<Command>> {
    // Looked for here, because this is where somebody can be told that there is none.
    let program = which::which(command.get_program()).map_err(|_| io::Error::from(io::ErrorKind::NotFound))?;
    let words = program::again()?;
    let mut led = Command::new(&words[0]);
    led.args(&words[1..]).arg("lead");
    match bond {
        Bond::Free => return Ok(None),
        // The leader of a group cannot make a session.
        Bond::Session => led.arg(SESSION),
        Bond::Tied => led.process_group(0).args([TIED, &std::process::id().to_string()]),
    };
    led.arg(program).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        led.current_dir(folder);
    }
    Ok(Some(led))
}

/// `fleet lead session PROGRAM…` or `fleet lead tied PARENT PROGRAM…`: becomes the program.
#[must_use]
pub fn lead(mut words: impl Iterator<Item = OsString>) -> ExitCode {
    let is_bound = match words.next().as_deref().and_then(OsStr::to_str) {
        Some(SESSION) => rustix::process::setsid().is_ok(),
        Some(TIED) => {
            let parent = words.next().and_then(|word| word.to_str()?.parse().ok()).and_then(Pid::from_raw);
            // Whoever has ended before this would never end us.
            rustix::process::set_parent_process_death_signal(Some(Signal::TERM)).is_ok()
                && rustix::process::getppid() == parent
        }
        _ => false,
    };
    if let Some(program) = words.next().filter(|_| is_bound) {
        let error = Command::new(&program).args(words).exec();
        say(format_args!("{}: {error}", program.to_string_lossy()));
    }
    ExitCode::from(NOT_EXECUTED)
}

/// All that a client prints, which hears nothing.
pub(super) fn output(clients: &Clients, bond: Bond, command: Command, limit: Duration) -> Result<Printed, Failure> {
    let begin = Instant::now();
    let mut client = Client::start(clients, bond, command)?;
    client.to = None;
    let mut stdout = Vec::new();
    let read = match &mut client.from {
        Some(from) => Until::new(from, limit).read_to_end(&mut stdout),
        None => Ok(0),
    };
    match read {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(Failure::Silent(limit)),
        _ if clients.are_unwanted() => return Err(Failure::Unwanted),
        Err(error) => return Err(Failure::Start(error)),
        Ok(_) => {}
    }
    let status = client.wait(limit.saturating_sub(begin.elapsed()).max(GRACE))?;
    client.said.wait_for_all(WORDS_MAX);
    Ok(Printed { status, stdout: String::from_utf8_lossy(&stdout).trim().to_owned(), said: client.said.text() })
}

#[derive(Debug)]
pub(super) struct Printed {
    pub status: ExitStatus,
    /// Without the space around it.
    pub stdout: String,
    /// The end of what it said on its standard error.
    pub said: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeping() -> Command {
        let mut command = Command::new("sleep");
        command.arg("600");
        command
    }

    fn lives(pid: u32) -> bool {
        std::path::Path::new("/proc").join(pid.to_string()).exists()
    }

    #[test]
    fn who_does_not_answer_is_ended() {
        let clients = Clients::default();
        let ended = output(&clients, Bond::Free, sleeping(), Duration::from_millis(50));
        assert!(matches!(ended, Err(Failure::Silent(_))), "{ended:?}");
        assert!(clients.pids().is_empty());
    }

    #[test]
    fn whoever_leaves_ends_all_and_starts_no_more() {
        let clients = Clients::default();
        let mut client = Client::start(&clients, Bond::Free, sleeping()).unwrap();
        let pids = clients.pids();
        assert!(matches!(*pids, [pid] if lives(pid)), "{pids:?}");
        clients.end();
        assert!(matches!(client.wait(Duration::from_mins(1)), Err(Failure::Unwanted)));
        assert!(!lives(pids[0]));
        assert!(matches!(Client::start(&clients, Bond::Free, sleeping()), Err(Failure::Unwanted)));
    }

    #[test]
    fn one_that_leads_to_a_host_is_known_until_it_is_taken_over() {
        let clients = Clients::default();
        let client = Client::start(&clients, Bond::Free, sleeping()).unwrap();
        let (mut pipes, _) = client.into_pipes().unwrap();
        let pid = pipes.child.id();
        assert_eq!(clients.pids(), [pid]);
        clients.end();
        assert!(lives(pid), "it is not ours to end any more");
        clients.taken_over(pid);
        assert!(clients.pids().is_empty());
        pipes.child.kill().unwrap();
        pipes.child.wait().unwrap();
    }
}
