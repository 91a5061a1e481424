//! `fleet workers clean`: what fleet keeps with the workers goes: kept files, programs of other builds, what dead
//! supervisors have left, containers that nobody uses any more.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::super::args::Source;
use super::super::{Shell, Trouble};
use super::ready;
use crate::engine::signal::{Signal, Signals};
use crate::host::client::Clients;
use crate::host::connect::{Connected, Site};
use crate::host::link::{Alive, FromSupervisor, Link};
use crate::host::{container, ssh};
use crate::model::{Container, Fleet, Host, Ssh, Worker};
use crate::policy::ExitCode;
use crate::report::text::Bytes;
use crate::store::state::Upkeep;
use crate::store::{Lock, LockError, StateDir};
use crate::supervisor::frame::{self, Hello, Place, Removed};
use crate::time::clock;

/// How long a worker may take to answer.
const ANSWER_MAX: Duration = Duration::from_mins(1);
/// How long what is being reached may take to end when we leave.
const ABANDON_SECS: i64 = 1;
/// How long it may take to remove what there is; a cold disk needs minutes for millions of files.
const REMOVAL_MAX: Duration = Duration::from_mins(30);

/// Remove what is kept with the workers: files, programs, what crashed runs have left
#[derive(Args, Debug)]
pub struct CleanArgs {
    /// The fleet file
    #[arg(value_name = "FILE")]
    pub words: Vec<String>,
    #[command(flatten)]
    pub source: Source,
}

/// # Errors
/// When the fleet file is not right, a run holds the state directory, or the output cannot be written.
pub(super) fn run(args: &CleanArgs, shell: Shell) -> Result<ExitCode, Trouble> {
    let ready = ready(&args.words, &args.source, shell)?;
    let state = StateDir::of(&ready.fleet.workspace);
    // A run that goes on wants what would be removed.
    let _lock = if state.path().is_dir() { Some(held(&state)?) } else { None };
    let mut interrupted = None;
    let failed = until_told(&mut interrupted, |clients| clean(&ready.fleet, &state, clients))??;
    Ok(interrupted.unwrap_or(if failed { ExitCode::Infrastructure } else { ExitCode::Passed }))
}

/// Whether any of them could not be cleaned.
fn clean(fleet: &Fleet, state: &StateDir, clients: &Clients) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    let mut failed = false;
    for worker in fleet.workers.values() {
        let done = match &worker.host {
            Host::Local => local(state, worker),
            Host::Ssh(ssh) => behind_ssh(ssh, worker, state, clients),
            Host::Container(container) => containers(container, state, clients),
        };
        if clients.are_unwanted() {
            return Ok(true);
        }
        failed |= done.is_err();
        let text = done.unwrap_or_else(|error| format!("not cleaned: {error}"));
        writeln!(out, "{}: {text}", worker.name)?;
    }
    Ok(failed)
}

/// Does the work, and ends what is being reached for it when a signal comes.
fn until_told<T>(interrupted: &mut Option<ExitCode>, work: impl FnOnce(&Clients) -> T) -> io::Result<T> {
    let mut signals = Signals::watch()?;
    let clients = Clients::default();
    let (done, is_done) = UnixStream::pair()?;
    Ok(thread::scope(|scope| {
        scope.spawn(|| {
            let mut goes_on = true;
            while goes_on && interrupted.is_none() {
                // One that came last counts as well.
                goes_on = wait(&signals, &is_done);
                *interrupted = signals.take().into_iter().find_map(|signal| match signal {
                    Signal::Interrupt => Some(ExitCode::Interrupted),
                    Signal::Terminate => Some(ExitCode::Terminated),
                    Signal::Stop | Signal::Continue | Signal::Tell => None,
                });
            }
            if interrupted.is_some() {
                clients.end();
                if !ends(&is_done) {
                    clients.kill();
                }
            }
        });
        let result = work(&clients);
        drop(done);
        result
    }))
}

/// Waits for a signal; `false` when the work is done.
fn wait(signals: &Signals, is_done: &UnixStream) -> bool {
    let mut fds: Vec<PollFd<'_>> = signals.fds().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    fds.push(PollFd::new(is_done, PollFlags::IN));
    let polled = rustix::event::poll(&mut fds, None);
    let is_done = fds.last().is_some_and(|fd| !fd.revents().is_empty());
    matches!(polled, Ok(_) | Err(rustix::io::Errno::INTR)) && !is_done
}

/// Whether the work ends by itself, now that nobody wants it.
fn ends(is_done: &UnixStream) -> bool {
    let limit = Timespec { tv_sec: ABANDON_SECS, tv_nsec: 0 };
    matches!(rustix::event::poll(&mut [PollFd::new(is_done, PollFlags::IN)], Some(&limit)), Ok(1..))
}

fn held(state: &StateDir) -> Result<Lock, Trouble> {
    state.lock_for_upkeep(Upkeep::Clean, clock::now()).map_err(|error| {
        let code = match error {
            LockError::Locked { .. } => ExitCode::StateBusy,
            LockError::Io { .. } => ExitCode::NotWritten,
        };
        Trouble::Other(code, error.to_string())
    })
}

fn local(state: &StateDir, worker: &Worker) -> Result<String, String> {
    let removed = crate::host::local::clean(&state.path().join("workers").join(&worker.name));
    removed.map(|removed| told(&removed)).map_err(|error| error.to_string())
}

/// What was removed, in words.
fn told(removed: &Removed) -> String {
    let Removed { kept_files, dead_runs, programs } = *removed;
    let parts = [
        (kept_files, "of files that were kept"),
        (dead_runs, "that crashed runs have left"),
        (programs, "of programs of other builds"),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(bytes, _)| *bytes > 0)
        .map(|(bytes, what)| format!("{} {what}", Bytes(bytes)))
        .collect();
    match parts.split_last() {
        None => "nothing is kept".to_owned(),
        Some((last, [])) => format!("removed {last}"),
        Some((last, rest)) => format!("removed {} and {last}", rest.join(", ")),
    }
}

fn behind_ssh(ssh: &Ssh, worker: &Worker, state: &StateDir, clients: &Clients) -> Result<String, String> {
    let site = Site {
        exe: std::env::current_exe().map_err(|error| error.to_string())?,
        run: "clean".to_owned(),
        worker: worker.name.clone(),
        state_dir: state.path().to_owned(),
        workspace: state.path().to_owned(),
        clients: clients.clone(),
        makes_room: false,
    };
    let mut before = "";
    let connected = match ssh::connect(ssh, &site) {
        // A supervisor that does not fit cannot be sent to remove anything.
        Err(error) if error.was_sending => {
            before = "made room for the supervisor; ";
            ssh::connect(ssh, &Site { makes_room: true, ..site })
        }
        connected => connected,
    };
    let connected = connected.map_err(|error| error.to_string())?;
    let root = connected.root.clone();
    let removed = greet_and_leave(connected, worker, clients)?;
    Ok(format!("{before}{} in {root}", told(&removed)))
}

/// A supervisor that may keep nothing removes what there is.
fn greet_and_leave(connected: Connected, worker: &Worker, clients: &Clients) -> Result<Removed, String> {
    let said = connected.said.clone();
    let hello = Hello {
        version: frame::VERSION,
        run: "clean".to_owned(),
        state_dir: String::new(),
        exit_log: String::new(),
        place: Some(Place {
            root: connected.root,
            worker: worker.name.clone(),
            lease_ms: 0,
            cache_bytes: 0,
            attempt_bytes: 0,
        }),
    };
    let mut link = Link::new(connected.pipes, &hello).map_err(|error| error.to_string())?;
    let begin = Instant::now();
    let (mut answered, mut refused, mut removed) = (false, None, None);
    while removed.is_none() && refused.is_none() {
        if begin.elapsed() >= if answered { REMOVAL_MAX } else { ANSWER_MAX } || clients.are_unwanted() {
            return Err(if answered { "it takes too long to remove it all" } else { "no answer" }.to_owned());
        }
        let alive = link.receive(&mut |frame| match frame {
            FromSupervisor::Welcome(welcome) => (answered, refused) = (true, welcome.error),
            FromSupervisor::Removed(what) => removed = Some(what),
            _ => {}
        });
        if !matches!(alive, Ok(Alive::Alive)) && removed.is_none() && refused.is_none() {
            return Err(format!("its connection ended: {}", said.text()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = link.close(Duration::ZERO, &mut |_| {});
    removed.ok_or_else(|| refused.unwrap_or_default())
}

fn containers(container: &Container, state: &StateDir, clients: &Clients) -> Result<String, String> {
    let engine = container.engine;
    let bytes = container::bytes_left(engine, state.path(), clients).map_err(|error| error.to_string())?;
    let left = container::remove_left(engine, state.path(), clients).map_err(|error| error.to_string())?;
    let programs = container::remove_programs(engine, clients).map_err(|error| error.to_string())?;
    let held = if left.is_empty() { String::new() } else { format!(" with {} in them", Bytes(bytes)) };
    Ok(format!("removed {} containers{held} and the programs of {programs} other builds", left.len()))
}
