//! The process on the host: starts task processes, streams what they print, ends them when told or when their time is
//! up, and leaves none behind.
//! `frame` what it says to the engine · `serve` the loop · `attempt` one attempt's state and pipes · `spawn` the threads
//! that start processes · `process` the process table · `sweep` ending what is left · `exits` the exit log ·
//! `confine` what holds a task, `trial` what could on this machine · `group` control groups · `secrets` values as
//! private files · `owner` what a dead supervisor left outside of the state directory · `stage` attempts that work on a
//! copy · `guard` the supervisor's parent where the engine is not · `program` this program, to be started again ·
//! `lookup` the programs of tasks ·
//! `underway` spawns that have begun · `clock` the time that limits count ·
//! `terminal` single keys while a run goes on · `disposition` which signals we were told to ignore · `wire` buffers and
//! splicing · `sys` system calls.
//! Knows nothing of tasks, retries or verdicts: an attempt is a number that the engine chose.

// Both panic where nobody listens any more, and whoever panics here does not end what it ran.
#![deny(clippy::print_stderr, clippy::print_stdout)]

mod attempt;
mod clock;
mod confine;
mod disposition;
pub mod exits;
pub mod frame;
mod group;
mod guard;
pub(crate) mod lookup;
mod owner;
mod process;
pub mod program;
pub(crate) mod secrets;
mod serve;
mod spawn;
pub(crate) mod stage;
pub(crate) mod sweep;
mod sys;
mod terminal;
pub mod trial;
mod underway;
pub(crate) mod wire;

pub use confine::{PROGRAM_VARIABLE, confine};
pub use disposition::{is_ignored, outlive_file_size_limit};
pub use guard::guard;
pub use serve::serve;
pub use terminal::Keys;

/// Says something where a person may look for it, if there is such a place.
pub(crate) fn say(what: std::fmt::Arguments<'_>) {
    let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{what}\n"));
}
