//! The parent of a supervisor on a host where the engine is not: should the supervisor be killed, what it ran becomes a
//! child of this process, which ends it and leaves. In a container it is the first process, whose end is the container's.
//! It also holds the engine's lease when the supervisor cannot, being stopped or kept waiting by the kernel: the
//! supervisor says until when the engine's silence is borne, and what is not said again by then is the end of it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Child, Command, ExitCode, Stdio};

use rustix::io::FdFlags;
use rustix::pipe::PipeFlags;

use super::sys::Watch;
use super::{PROGRAM_VARIABLE, program, say, secrets, sweep, sys};

/// Set for a supervisor that has a guard: the number of the descriptor on which it is heard.
pub(super) const VARIABLE: &str = "FLEET_GUARD";
/// Said instead of a time when silence is no end.
const NEVER: u64 = u64::MAX;
/// What is said: a time in ms since boot. Written and read as a whole, being shorter than a pipe's atomic write.
const WORD_BYTES: usize = size_of::<u64>();
/// What is ended first.
const OOM_SCORE_MAX: &str = "1000";
const FAILED: u8 = 70;

/// This process is a supervisor that has a guard: the engine is elsewhere.
pub(super) fn is_guarded() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// Where memory runs out, the kernel ends a task before us: without us it would hear of no end. For a process that was
/// just started, before it has children.
pub(super) fn end_before_us(pid: i32) {
    if is_guarded() {
        // It may be over already.
        let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), OOM_SCORE_MAX);
    }
}

/// Hides a supervisor that has a guard from its tasks, which may have its user and its process table: who opens
/// `/proc/PID/fd/1` of either would speak to the engine in its name. Where the engine is, tasks without a sandbox could
/// look into the engine as well, and a supervisor of a run within a run has to be known by its variables.
pub(super) fn hide_if_guarded() -> io::Result<()> {
    if is_guarded() { sys::hide() } else { Ok(()) }
}

/// The guard, as its supervisor has it.
#[derive(Debug, Default)]
pub(super) struct Guard {
    pipe: Option<OwnedFd>,
    told: Option<u64>,
}

impl Guard {
    /// The one this process was started by, if any.
    pub(super) fn find() -> Self {
        let number = std::env::var(VARIABLE).ok().and_then(|number| number.parse().ok());
        Self { pipe: number.and_then(sys::inherited), told: None }
    }

    /// Says until when the engine's silence is borne, `None` without an end. What cannot be said now is said in the
    /// loop's next turn.
    pub(super) fn bear_until(&mut self, boot_ms: Option<u64>) {
        let until = boot_ms.unwrap_or(NEVER);
        if let Some(pipe) = &self.pipe
            && self.told.unwrap_or(NEVER) != until
            && rustix::io::write(pipe, &until.to_ne_bytes()).is_ok()
        {
            self.told = Some(until);
        }
    }
}

/// Runs `fleet supervise` on our own standard input and output until it ends, or until the engine was silent for too
/// long and the supervisor did not leave for it.
#[must_use]
pub fn guard() -> ExitCode {
    let hidden = sys::hide();
    sys::outlive_signals();
    let ended = hidden.and_then(|()| start()).map(|(mut supervisor, pipe)| {
        if is_silent(&pipe) {
            // It first, so that it starts nothing more; it is reaped with all the rest.
            let _ = supervisor.kill();
            return None;
        }
        supervisor.wait().ok()
    });
    sweep::everything();
    secrets::remove_left(&[]);
    // Only now: whoever would read it may be stopped, or gone.
    match ended {
        Ok(Some(status)) => {
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            return ExitCode::from(code.unwrap_or(FAILED));
        }
        Ok(None) => say(format_args!(
            "fleet guard: the engine was silent for longer than its lease, and the supervisor did not end"
        )),
        Err(error) => say(format_args!("fleet guard: the supervisor cannot be started: {error}")),
    }
    ExitCode::from(FAILED)
}

/// Starts the supervisor, with the writing end of a pipe that is read here and that nobody else has.
fn start() -> io::Result<(Child, OwnedFd)> {
    let words = program::again()?;
    // Without it, what a killed supervisor leaves is init's; in a container that is us.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    // The supervisor must not wait for us.
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    rustix::io::fcntl_setfd(&write, FdFlags::empty())?;
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg("supervise").stdin(Stdio::inherit());
    command.env(VARIABLE, write.as_raw_fd().to_string());
    if let [_, _, ..] = &*words {
        // What the supervisor starts of us has no way of its own to know of the loader.
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        command.env(PROGRAM_VARIABLE, serde_json::to_string(&words)?);
    }
    Ok((command.spawn()?, read))
}

/// Waits until the supervisor has closed its end, or for the end of the time that it said.
fn is_silent(pipe: &OwnedFd) -> bool {
    let mut until = NEVER;
    let mut words = [0; 64 * WORD_BYTES];
    loop {
        // What was said is read first: when all of us were stopped, there may be a later time in the pipe.
        match rustix::io::read(pipe, &mut words) {
            Ok(0) => return false,
            Ok(length) => {
                let last = words[..length].rchunks_exact(WORD_BYTES).next().and_then(|word| word.try_into().ok());
                until = last.map_or(until, u64::from_ne_bytes);
                continue;
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
        let left_ms = until.saturating_sub(sys::boot_ms());
        if left_ms == 0 {
            return true;
        }
        sys::poll(&mut [Watch::new(pipe.as_fd(), true, false)], (until != NEVER).then_some(left_ms));
    }
}
