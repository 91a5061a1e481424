//! `fleet` runs a project's pipeline from one file and proves what happened.
//!
//! Modules stand in reading order; each may use the rows above its own and nothing below (`tests/layers.rs`):
//!
//! | layer | modules | must not know |
//! | --- | --- | --- |
//! | words | id, digest, time | everything else |
//! | wire | protocol | model, files, processes |
//! | meaning | model, then spec | graph, stores, processes |
//! | core | graph, policy, plan, place, schedule | clock, file system, threads, syntax |
//! | stores | store, journal, receipt | scheduler |
//! | hands | supervisor, host, scorer | scheduler, journal |
//! | engine | engine | syntax, report formats |
//! | faces | report, cli | – |

pub mod digest;
pub mod id;
pub mod time;

pub mod protocol;

pub mod model;
pub mod spec;

pub mod graph;
pub mod place;
pub mod plan;
pub mod policy;
pub mod schedule;

pub mod journal;
pub mod receipt;
pub mod store;

pub mod host;
pub mod scorer;
pub mod supervisor;

pub mod engine;

pub mod cli;
pub mod report;

#[cfg(test)]
mod samples;
