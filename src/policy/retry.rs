//! Whether an attempt is followed by another, when, and what several of them come to.
//! [`next`] decides, [`wait`] says how long, [`tally`] counts repetitions. Pure: what the run knows of a task's attempts
//! goes in, and the same again always gives the same.

use std::time::Duration;

use crate::digest::Digest;
use crate::model::{Repeat, Retry, RetryOn, Task};
use crate::protocol::receipt::{AttemptRecord, FailureKind, RepeatRecord, TaskResult};

/// What comes after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: the task has its result.
    Final,
    /// The attempt failed, and is made again.
    Retry {
        /// Counts the attempts of this repetition, from 2.
        attempt: u32,
        of: u32,
        wait: Duration,
    },
    /// It has its verdict, and another verdict is wanted.
    Repetition {
        /// From 2.
        number: u32,
        of: u32,
    },
}

impl Next {
    /// How long it is until then.
    #[must_use]
    pub fn wait(self) -> Duration {
        match self {
            Self::Retry { wait, .. } => wait,
            Self::Final | Self::Repetition { .. } => Duration::ZERO,
        }
    }
}

/// What comes after the last of `tried`, the attempts of a task in order. Attempts that were cancelled are no failures
/// and do not count; after one of them nothing follows.
#[must_use]
pub fn next(task: &Task, seed: u64, tried: &[AttemptRecord]) -> Next {
    let Some(last) = tried.last().filter(|last| last.result != TaskResult::Skip) else { return Next::Final };
    let made = tried.iter().filter(|one| one.repetition == last.repetition && one.result != TaskResult::Skip).count();
    let made = u32::try_from(made).unwrap_or(u32::MAX);
    if let Some(retry) = task.retry.as_deref()
        && made < retry.max_attempts
        && is_retried(retry.on, last)
    {
        let wait = wait(retry, seed, &task.name, made);
        return Next::Retry { attempt: made + 1, of: retry.max_attempts, wait };
    }
    match task.repeat {
        Some(repeat) if !is_decided(repeat, count(tried)) => {
            Next::Repetition { number: last.repetition + 1, of: repeat.runs }
        }
        _ => Next::Final,
    }
}

/// The repetition that the attempt after `tried` belongs to; 0 for a task that is not repeated.
#[must_use]
pub fn repetition(task: &Task, seed: u64, tried: &[AttemptRecord]) -> u32 {
    match (task.repeat, tried.last()) {
        (None, _) => 0,
        (Some(_), None) => 1,
        (Some(_), Some(last)) => match next(task, seed, tried) {
            Next::Repetition { number, .. } => number,
            Next::Retry { .. } | Next::Final => last.repetition,
        },
    }
}

fn is_retried(on: RetryOn, ended: &AttemptRecord) -> bool {
    match (ended.result, ended.failure_kind) {
        (TaskResult::Fail, Some(FailureKind::Transport)) => on.transport,
        (TaskResult::Fail, Some(FailureKind::Task)) => on.task,
        (TaskResult::Timeout, _) => on.timeout,
        // A verifier that did not answer says nothing about the task, and asking the task again does not help it.
        (TaskResult::Fail, Some(FailureKind::Verifier) | None)
        | (TaskResult::Pass | TaskResult::Partial | TaskResult::Skip, _) => false,
    }
}

/// How long the n-th wait is, from 1: `min(initial_backoff · multiplier^(n-1), max_backoff)` times a jitter, rounded up
/// to whole milliseconds. The power is made by multiplying, one step at a time, so that it is the same everywhere.
#[must_use]
pub fn wait(retry: &Retry, seed: u64, task: &str, n: u32) -> Duration {
    let most = retry.max_backoff.as_secs_f64();
    let mut wait = retry.initial_backoff.as_secs_f64().min(most);
    for _ in 1..n {
        let longer = (wait * retry.multiplier).min(most);
        if longer <= wait {
            break;
        }
        wait = longer;
    }
    // Slack under a microsecond, so that what is whole in the file stays whole.
    let ms = (wait * 1_000.0 * jitter(seed, task, n) - 1e-4).ceil().max(0.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at least 0, at most a day")]
    Duration::from_millis(ms as u64)
}

/// From 0.5 to 1, both included: the SHA-256 of the text `SEED⏎TASK⏎N` (numbers in decimal, no newline at its end),
/// of it the first 53 bits as a number, over the largest such number, halved, and 0.5 added.
#[must_use]
pub fn jitter(seed: u64, task: &str, n: u32) -> f64 {
    const BITS: u32 = f64::MANTISSA_DIGITS;
    let digest = Digest::of(format!("{seed}\n{task}\n{n}").as_bytes());
    let first = digest.as_bytes()[..8].iter().fold(0_u64, |first, byte| first << 8 | u64::from(*byte));
    let first = first >> (u64::BITS - BITS);
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let share = first as f64 / ((1_u64 << BITS) - 1) as f64;
    0.5 + share / 2.0
}

/// The last attempt of each repetition, which is its verdict.
fn verdicts(tried: &[AttemptRecord]) -> Vec<&AttemptRecord> {
    let judged: Vec<_> = tried.iter().filter(|one| one.result != TaskResult::Skip).collect();
    judged.chunk_by(|one, other| one.repetition == other.repetition).filter_map(|of| of.last().copied()).collect()
}

/// Repetitions that have their verdict, and those of them that passed.
fn count(tried: &[AttemptRecord]) -> (u32, u32) {
    verdicts(tried)
        .iter()
        .fold((0, 0), |(done, passed), one| (done + 1, passed + u32::from(one.result == TaskResult::Pass)))
}

/// Whether the repetitions to come cannot change the verdict.
fn is_decided(repeat: Repeat, (done, passed): (u32, u32)) -> bool {
    let open = repeat.runs.saturating_sub(done);
    passed >= repeat.quorum || passed.saturating_add(open) < repeat.quorum
}

/// What the repetitions so far come to. `None` for a task that is not repeated or has no verdict yet.
#[must_use]
pub fn tally(task: &Task, tried: &[AttemptRecord]) -> Option<RepeatRecord> {
    let Repeat { runs, quorum } = task.repeat?;
    let (done, passed) = count(tried);
    (done > 0).then(|| RepeatRecord {
        runs,
        quorum,
        done,
        passed,
        pass_at_k: (1..=done).map(|k| 1.0 - none_of(done - passed, done, k)).collect(),
        pass_hat_k: (1..=done).map(|k| none_of(passed, done, k)).collect(),
    })
}

/// `C(c, k) / C(n, k)`: how likely k of n, drawn without putting back, are all among c of them.
fn none_of(c: u32, n: u32, k: u32) -> f64 {
    (0..k).map(|i| f64::from(c.saturating_sub(i)) / f64::from(n - i)).product()
}

/// What a decided task comes to: the kind of failure that all repetitions without a pass have in common, else `task`.
/// `None` when enough of them passed.
#[must_use]
pub fn failure_of(repeat: &RepeatRecord, tried: &[AttemptRecord]) -> Option<FailureKind> {
    if repeat.passed >= repeat.quorum {
        return None;
    }
    let verdicts = verdicts(tried);
    let mut kinds = verdicts.iter().filter(|one| one.result != TaskResult::Pass).map(|one| one.failure_kind);
    let first = kinds.next().flatten();
    Some(first.filter(|kind| kinds.all(|other| other == Some(*kind))).unwrap_or(FailureKind::Task))
}

/// Whether a pass comes after a failure.
#[must_use]
pub fn is_flaky(result: TaskResult, tried: &[AttemptRecord]) -> bool {
    result == TaskResult::Pass && tried.iter().any(|one| !matches!(one.result, TaskResult::Pass | TaskResult::Skip))
}

#[cfg(test)]
mod tests;
