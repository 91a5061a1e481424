//! `fleet workers clean`: what fleet keeps with the workers goes: kept files, programs of other builds, what dead
//! supervisors have left, containers that nobody uses any more.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use clap::Args;

use super::super::args::Source;
use super::super::{Shell, Trouble};
use super::ready;
use crate::host::connect::{Connected, Site};
use crate::host::link::{Alive, FromSupervisor, Link};
use crate::host::{container, ssh};
use crate::model::{Container, Host, Ssh, Worker};
use crate::policy::ExitCode;
use crate::report::text::Bytes;
use crate::store::state::Upkeep;
use crate::store::{Lock, LockError, StateDir};
use crate::supervisor::frame::{self, Hello, Place, Removed};
use crate::time::clock;

/// How long a worker may take to answer.
const ANSWER_MAX: Duration = Duration::from_mins(1);
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
    let mut out = io::stdout().lock();
    let mut failed = false;
    for worker in ready.fleet.workers.values() {
        let done = match &worker.host {
            Host::Local => local(&state, worker),
            Host::Ssh(ssh) => behind_ssh(ssh, worker, &state),
            Host::Container(container) => containers(container, &state),
        };
        failed |= done.is_err();
        let text = done.unwrap_or_else(|error| format!("not cleaned: {error}"));
        writeln!(out, "{}: {text}", worker.name)?;
    }
    Ok(if failed { ExitCode::Infrastructure } else { ExitCode::Passed })
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

fn behind_ssh(ssh: &Ssh, worker: &Worker, state: &StateDir) -> Result<String, String> {
    let site = Site {
        exe: std::env::current_exe().map_err(|error| error.to_string())?,
        run: "clean".to_owned(),
        worker: worker.name.clone(),
        state_dir: state.path().to_owned(),
        workspace: state.path().to_owned(),
    };
    let connected = ssh::connect(ssh, &site).map_err(|error| error.to_string())?;
    let root = connected.root.clone();
    let removed = greet_and_leave(connected, worker)?;
    Ok(format!("{} in {root}", told(&removed)))
}

/// A supervisor that may keep nothing removes what there is.
fn greet_and_leave(connected: Connected, worker: &Worker) -> Result<Removed, String> {
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
        if begin.elapsed() >= if answered { REMOVAL_MAX } else { ANSWER_MAX } {
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

fn containers(container: &Container, state: &StateDir) -> Result<String, String> {
    let engine = container.engine;
    let bytes = container::bytes_left(engine, state.path()).map_err(|error| error.to_string())?;
    let left = container::remove_left(engine, state.path()).map_err(|error| error.to_string())?;
    let programs = container::remove_programs(engine).map_err(|error| error.to_string())?;
    let held = if left.is_empty() { String::new() } else { format!(" with {} in them", Bytes(bytes)) };
    Ok(format!("removed {} containers{held} and {programs} volumes of ours", left.len()))
}
