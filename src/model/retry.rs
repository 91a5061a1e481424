//! How often a task is attempted: again after a failure, several times for a verdict, and what is done when nobody knows
//! whether it ran.

use std::time::Duration;

/// When a failed attempt is followed by another.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// All attempts together, at least 1; within each repetition where the task is repeated.
    pub max_attempts: u32,
    /// Before the second attempt; none when it is zero.
    pub initial_backoff: Duration,
    /// No wait is longer.
    pub max_backoff: Duration,
    /// What each wait is longer by than the one before; at least 1, and finite.
    pub multiplier: f64,
    pub on: RetryOn,
}

/// The ends that are followed by another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryOn {
    pub transport: bool,
    pub task: bool,
    /// The task's own time was up. No kind of failure, and retried only where it is asked for.
    pub timeout: bool,
}

/// A verdict of verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// Most repetitions, at least 1.
    pub runs: u32,
    /// How many of them have to pass, from 1 to `runs`.
    pub quorum: u32,
}

/// What is done with an attempt of which nobody knows whether it ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUnknown {
    /// It is made again.
    #[default]
    Retry,
    /// The task waits for a person.
    Hold,
}

impl Retry {
    pub const MAX_ATTEMPTS: u32 = 3;
    pub const INITIAL_BACKOFF: Duration = Duration::from_secs(5);
    pub const MAX_BACKOFF: Duration = Duration::from_mins(5);
    pub const MULTIPLIER: f64 = 2.0;
}

impl Default for Retry {
    /// What an empty table means. The numbers are the protocol's.
    fn default() -> Self {
        Self {
            max_attempts: Self::MAX_ATTEMPTS,
            initial_backoff: Self::INITIAL_BACKOFF,
            max_backoff: Self::MAX_BACKOFF,
            multiplier: Self::MULTIPLIER,
            on: RetryOn::default(),
        }
    }
}

impl Default for RetryOn {
    fn default() -> Self {
        Self { transport: true, task: true, timeout: false }
    }
}

impl RetryOn {
    /// The words of the fleet file.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        let all = [("transport", self.transport), ("task", self.task), ("timeout", self.timeout)];
        all.into_iter().filter(|(_, on)| *on).map(|(word, _)| word)
    }
}

impl OnUnknown {
    /// The word of the fleet file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Hold => "hold",
        }
    }
}
