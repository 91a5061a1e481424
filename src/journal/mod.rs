//! A run's append-only event log, `runs/<run>/journal.jsonl`, and what is kept beside it.
//! `event` what happens in a run · `record` one line of the log · `standing` many receipts in one · `writer` written
//! before believed, synced behind ·
//! `reader` verifies as it reads · `fold` records to state · `run` the run's own record · `repair` what is left of a
//! damaged one · `log` what attempts print.
//! Knows nothing of scheduling or processes: it is told what happened.

pub mod event;
pub mod fold;
pub mod log;
pub mod reader;
pub mod record;
pub mod repair;
mod run;
pub mod standing;
pub mod writer;

#[cfg(test)]
pub(crate) mod tests;

pub use event::{Event, Happened, Stream};
pub use fold::{Folded, Receipts, State, TaskState, fold};
pub use log::LogWriter;
pub use reader::{End, ReadError, Reader};
pub use record::{Encoder, ReceiptAt};
pub use run::{FLEET_VERSION, task_spec};
pub use writer::Journal;

/// The journal's file name in a run's folder.
pub const FILE: &str = "journal.jsonl";
