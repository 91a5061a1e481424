//! The parent of a supervisor on a host where the engine is not: should the supervisor be killed, what it ran becomes a
//! child of this process, which ends it and leaves. In a container it is the first process, whose end is the container's.

use std::io;
use std::process::{Command, ExitCode, Stdio};

use super::{PROGRAM_VARIABLE, program, sweep, sys};

/// Set for a supervisor that has a guard.
pub(super) const VARIABLE: &str = "FLEET_GUARD";

/// Hides a supervisor that has a guard from its tasks, which may have its user and its process table: who opens
/// `/proc/PID/fd/1` of either would speak to the engine in its name. Where the engine is, tasks without a sandbox could
/// look into the engine as well, and a supervisor of a run within a run has to be known by its variables.
pub(super) fn hide_if_guarded() -> io::Result<()> {
    if std::env::var_os(VARIABLE).is_some() { sys::hide() } else { Ok(()) }
}

/// Runs `fleet supervise` on our own standard input and output until it ends.
#[must_use]
pub fn guard() -> ExitCode {
    let hidden = sys::hide();
    sys::outlive_signals();
    let started = hidden.and_then(|()| program::again()).and_then(|words| {
        // Without it, what a killed supervisor leaves is init's; in a container that is us.
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg("supervise").env(VARIABLE, "").stdin(Stdio::inherit());
        if let [_, _, ..] = &*words {
            // What the supervisor starts of us has no way of its own to know of the loader.
            let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
            command.env(PROGRAM_VARIABLE, serde_json::to_string(&words)?);
        }
        command.spawn()
    });
    let ended = started.and_then(|mut supervisor| supervisor.wait());
    sweep::everything();
    match ended {
        Ok(status) => ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(70)),
        Err(error) => {
            eprintln!("fleet guard: the supervisor cannot be started: {error}");
            ExitCode::from(70)
        }
    }
}
