//! Starts `fleet`: the supervisor or a part of it when asked for that, else the command line. Holds what is left when all else fails.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(internal_error));
    // The supervisor of a run's processes is this same program. It wants to be small and has to come before any thread,
    // so it does not pass through the command line.
    let mut words = std::env::args_os().skip(1);
    match words.next().as_deref().and_then(OsStr::to_str) {
        Some("supervise") => return fleet::supervisor::serve(),
        Some("confine") => return fleet::supervisor::confine(),
        Some("guard") => return guard(words),
        Some("lead") => return fleet::host::client::lead(words),
        Some("host-key") => {
            fleet::host::host_key::answer(&words.filter_map(|word| word.into_string().ok()).collect::<Vec<_>>());
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    ExitCode::from(fleet::cli::main(std::env::args_os()).code())
}

/// On a host where the engine is not: the parent of its supervisor, or, with `--digest FOLDER`, only says what was sent.
fn guard(mut words: impl Iterator<Item = OsString>) -> ExitCode {
    match (words.next(), words.next()) {
        (Some(option), Some(folder)) if option == "--digest" => {
            match fleet::host::bundle::digest_of_folder(Path::new(&folder)) {
                Ok(digest) => {
                    println!("{digest}");
                    ExitCode::SUCCESS
                }
                Err(error) => {
                    eprintln!("fleet guard: {error}");
                    ExitCode::FAILURE
                }
            }
        }
        _ => fleet::supervisor::guard(),
    }
}

/// A bug of ours: says so, once, with what a report of it needs, and leaves with the code for it. Whatever thread it
/// happens on, no run goes on without it.
fn internal_error(info: &std::panic::PanicHookInfo<'_>) {
    let place = info.location().map(|at| format!(" at {}:{}", at.file(), at.line())).unwrap_or_default();
    let message = match (info.payload().downcast_ref::<&str>(), info.payload().downcast_ref::<String>()) {
        (Some(text), _) => *text,
        (None, Some(text)) => text,
        (None, None) => "no message",
    };
    // Not `eprintln!`, which panics where standard error is closed.
    let _ = std::io::Write::write_fmt(
        &mut std::io::stderr(),
        format_args!(
            "fleet: internal error{place}: {message}\n\
             This is a bug in fleet {}. What was recorded so far is safe in the state directory.\n",
            env!("CARGO_PKG_VERSION")
        ),
    );
    std::process::exit(fleet::policy::ExitCode::Internal.code().into());
}
