//! Starts `fleet`: the supervisor or a part of it when asked for that, else the command line. Holds what is left when all else fails.

use std::process::ExitCode;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(internal_error));
    // The supervisor of a run's processes is this same program. It wants to be small and has to come before any thread,
    // so it does not pass through the command line.
    match std::env::args_os().nth(1) {
        Some(verb) if verb == "supervise" => return fleet::supervisor::serve(),
        Some(verb) if verb == "confine" => return fleet::supervisor::confine(),
        _ => {}
    }
    ExitCode::from(fleet::cli::main(std::env::args_os()).code())
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
