//! Pure decisions about what happened: no clock, no files, no processes.
//! `verdict` turns the end of an attempt into its result · `retry` says what follows an attempt · `exit` turns a run's
//! results into the exit code, and holds the table that help and book print · `grants` what single tasks may more · `mask`
//! keeps the values of secrets out of what is stored · `resume` what becomes of a task when a run
//! goes on · `signal` names signals and `size` sizes for people.

pub mod exit;
pub mod grants;
pub mod mask;
pub mod resume;
pub mod retry;
pub mod signal;
mod size;
pub mod verdict;

pub use exit::ExitCode;
pub use verdict::{CancelledBy, Ended, FaultKind, FileFault, How, Reason, Room, TimeLimit, Verdict, verdict};
