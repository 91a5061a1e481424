//! What bounds a run.

use std::time::Duration;

use super::CacheRemote;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// After a failure, cancel what runs and start nothing more.
    pub fail_fast: bool,
    /// Attempts at once over all workers; `None` leaves it to the slots.
    pub max_parallel: Option<u32>,
    /// Time for the whole run.
    pub timeout: Option<Duration>,
}

/// What is kept of past runs, and who shares it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CachePolicy {
    /// Bytes that the content store may hold.
    pub max_size: Option<u64>,
    /// How long a run and what it made is kept.
    pub max_age: Option<Duration>,
    /// The cache that is shared with others over HTTP.
    pub remote: Option<CacheRemote>,
}

/// A named pool that tasks take from while they run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    pub name: Box<str>,
    pub size: u32,
}
