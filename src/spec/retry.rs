//! `retry`, `repeat` and `on_unknown`: how often a task is attempted.

use std::time::Duration;

use super::context::Context;
use super::error::SpecError;
use super::file::{RepeatRaw, RetryRaw, RetryWord};
use super::map::Spot;
use super::vars::Scope;
use crate::model::{Repeat, Retry, RetryOn};
use crate::time::written;

/// Most attempts, and most repetitions: each leaves a log and an entry in the receipt.
pub(super) const ATTEMPTS_MAX: u32 = 1_000;
/// The longest wait between two attempts.
pub(super) const BACKOFF_MAX: Duration = Duration::from_hours(24);

/// Never fails: what is wrong is reported, and then the whole is unfit for use.
pub(super) fn retry(cx: &Context<'_>, scope: &Scope<'_>, spot: &Spot<'_>, raw: &RetryRaw) -> Retry {
    let plain = Retry::default();
    let initial = raw.initial_backoff.as_ref().map(|text| cx.wait(scope, &spot.key("initial_backoff"), text));
    let max = raw.max_backoff.as_ref().map(|text| cx.wait(scope, &spot.key("max_backoff"), text));
    for (field, said) in [("initial_backoff", initial), ("max_backoff", max)] {
        if said.flatten().is_some_and(|wait| wait > BACKOFF_MAX) {
            cx.report(SpecError::BackoffTooLong { at: cx.map.at(&spot.key(field)), limit: written(BACKOFF_MAX) });
        }
    }
    let max_backoff = max.flatten().unwrap_or(plain.max_backoff);
    if let Some(Some(initial)) = initial
        && initial > max_backoff
        && max != Some(None)
    {
        cx.report(SpecError::BackoffCrossed {
            initial: written(initial),
            max: written(max_backoff),
            at: cx.map.at(&spot.key("initial_backoff")),
            max_at: max.is_some().then(|| cx.map.at(&spot.key("max_backoff"))),
        });
    }
    Retry {
        max_attempts: raw.max_attempts.map_or(plain.max_attempts, |n| bounded(cx, spot, "max_attempts", n.get())),
        initial_backoff: initial.flatten().unwrap_or(plain.initial_backoff.min(max_backoff)),
        max_backoff,
        multiplier: raw.multiplier.as_ref().map_or(plain.multiplier, |multiplier| multiplier.0),
        on: raw.on.as_deref().map_or(plain.on, |words| on(cx, &spot.key("on"), words)),
    }
}

fn on(cx: &Context<'_>, spot: &Spot<'_>, words: &[RetryWord]) -> RetryOn {
    if words.is_empty() {
        cx.report(SpecError::EmptyList { field: "on".to_owned(), at: cx.map.at(spot) });
    }
    for (n, word) in words.iter().enumerate() {
        let at = || cx.map.at(&spot.index(n));
        if let Some(first) = words[..n].iter().position(|other| other == word) {
            let first = cx.map.at(&spot.index(first));
            cx.report(SpecError::ItemTwice { field: "on", item: word.name().to_owned(), first, again: at() });
        }
    }
    let has = |word| words.contains(&word);
    RetryOn { transport: has(RetryWord::Transport), task: has(RetryWord::Task), timeout: has(RetryWord::Timeout) }
}

/// As [`retry`].
pub(super) fn repeat(cx: &Context<'_>, spot: &Spot<'_>, raw: &RepeatRaw) -> Repeat {
    let runs = bounded(cx, spot, "runs", raw.runs.get());
    let quorum = raw.quorum.map_or(runs, std::num::NonZeroU32::get);
    if quorum > runs {
        let (at, runs_at) = (cx.map.at(&spot.key("quorum")), cx.map.at(&spot.key("runs")));
        cx.report(SpecError::RepeatQuorum { quorum, runs, at, runs_at });
    }
    Repeat { runs, quorum }
}

fn bounded(cx: &Context<'_>, spot: &Spot<'_>, field: &'static str, n: u32) -> u32 {
    if n > ATTEMPTS_MAX {
        cx.report(SpecError::TooManyAttempts { field, at: cx.map.at(&spot.key(field)), limit: ATTEMPTS_MAX });
    }
    n
}
