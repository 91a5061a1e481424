//! The fleet control-plane protocol, version 0.1.0: how a run, its tasks, workers, events and receipts are written
//! for others. `run` the run and what it was asked to do · `policy` what bounds it · `event` what happened, in order ·
//! `receipt` one result.
//!
//! Readers of the protocol drop unknown struct fields, but their tagged enums are closed. So what we add to it goes
//! into extra receipt fields, an event's `extra` map or a task's `metadata`, and never into a new state or kind.
//! Field order here is the order on the wire.

pub mod event;
pub mod policy;
pub mod receipt;
pub mod run;

pub use event::{State, WorkerEvent};
pub use receipt::{ArtifactRef, FailureKind, Receipt, Score, TaskResult};
pub use run::{Run, RunStatus, TaskSpec, WorkerSpec};

/// The protocol's own version, as its seed names it.
pub const PROTOCOL_VERSION: &str = "0.1.0";

#[cfg(test)]
mod tests;
