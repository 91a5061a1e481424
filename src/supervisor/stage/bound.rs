//! The bound of attempts' folders: when each is looked at while its process runs, and whether it takes too much. A look
//! is a walk through all of it, which is work for a porter's thread; so that it never counts, one is made at a time, none
//! in the first moments of an attempt, and the next one waits for as many times what the last one took.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::tree;

/// An attempt is not looked at before it has lived for this long, and then not more often.
pub(super) const LOOK_EVERY_MS: u64 = 1000;
/// Of the time between two looks, a look takes one part of so many.
const REST_PARTS: u32 = 50;

#[derive(Debug)]
pub(super) struct Bound {
    /// 0 is none.
    max: u64,
    /// The attempts whose processes run, and when each is to be looked at.
    due: BTreeMap<u32, u64>,
    /// The one that is being looked at, and how that is given up.
    out: Option<(u32, Arc<AtomicBool>)>,
}

/// What a look found.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// More than it may take.
    over: Option<u64>,
    took: Duration,
}

impl Bound {
    pub(super) fn new(max: u64) -> Self {
        Self { max, due: BTreeMap::new(), out: None }
    }

    /// A process of the attempt is about to run.
    pub(super) fn begin(&mut self, attempt: u32, now_ms: u64) {
        if self.max > 0 {
            self.due.insert(attempt, now_ms + LOOK_EVERY_MS);
        }
    }

    /// None runs any more. A look that is being made is given up.
    pub(super) fn end(&mut self, attempt: u32) {
        self.due.remove(&attempt);
        if let Some((_, given_up)) = self.out.as_ref().filter(|(out, _)| *out == attempt) {
            given_up.store(true, Ordering::Relaxed);
        }
    }

    /// When the next look is due.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.due.values().min().copied().filter(|_| self.out.is_none())
    }

    /// The attempt to look at now, and what gives that look up.
    pub(super) fn take_due(&mut self, now_ms: u64) -> Option<(u32, Arc<AtomicBool>)> {
        self.next_ms().filter(|at| *at <= now_ms)?;
        let (&attempt, _) = self.due.iter().min_by_key(|(_, at)| **at)?;
        Some(self.out.insert((attempt, Arc::default())).clone())
    }

    /// A look has ended; what the attempt takes if that is too much and it still runs.
    pub(super) fn looked(&mut self, attempt: u32, look: &Look, now_ms: u64) -> Option<u64> {
        let given_up = self.out.take().is_none_or(|(_, given_up)| given_up.load(Ordering::Relaxed));
        let at = self.due.get_mut(&attempt).filter(|_| !given_up)?;
        let rest = u64::try_from((look.took * REST_PARTS).as_millis()).unwrap_or(u64::MAX);
        *at = now_ms.saturating_add(rest.max(LOOK_EVERY_MS));
        look.over
    }
}

/// Looks at a folder in which a process may be busy. What was moved during the walk may have been counted twice, so too
/// much has to be found twice.
pub(super) fn look(folder: &Path, max: u64, given_up: &AtomicBool) -> Look {
    let begin = Instant::now();
    let over = over(folder, max, given_up).and_then(|first| Some(first.min(over(folder, max, given_up)?)));
    Look { over, took: begin.elapsed() }
}

/// What a folder takes, if that is too much. For one in which nobody is busy.
pub(super) fn over(folder: &Path, max: u64, given_up: &AtomicBool) -> Option<u64> {
    (max > 0).then(|| tree::taken(folder, given_up)).filter(|bytes| *bytes > max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn took(ms: u64) -> Look {
        Look { over: None, took: Duration::from_millis(ms) }
    }

    #[test]
    fn a_look_waits_in_proportion_to_what_the_last_one_took() {
        let mut bound = Bound::new(1 << 20);
        assert_eq!(bound.next_ms(), None);
        bound.begin(1, 100);
        bound.begin(2, 200);
        assert_eq!(bound.next_ms(), Some(1100));
        assert!(bound.take_due(1099).is_none(), "what is short is never looked at");
        assert_eq!(bound.take_due(1300).unwrap().0, 1);
        assert!(bound.next_ms().is_none() && bound.take_due(9999).is_none(), "one at a time");
        bound.looked(1, &took(3), 1400);
        assert_eq!(bound.take_due(1400).unwrap().0, 2);
        bound.looked(2, &took(200), 1600);
        assert_eq!(bound.due, BTreeMap::from([(1, 2400), (2, 11_600)]));
    }

    #[test]
    fn what_is_found_of_an_attempt_that_has_ended_counts_for_nothing() {
        let over = Look { over: Some(9), took: Duration::ZERO };
        let mut bound = Bound::new(8);
        bound.begin(1, 0);
        let (_, given_up) = bound.take_due(1000).unwrap();
        bound.end(1);
        assert!(given_up.load(Ordering::Relaxed), "nobody waits for it");
        // Its number is used again, for a scorer in the same folder.
        bound.begin(1, 1100);
        assert_eq!(bound.looked(1, &over, 1200), None);
        assert_eq!((bound.next_ms(), bound.take_due(2100).unwrap().0), (Some(2100), 1));
        assert_eq!(bound.looked(1, &over, 2200), Some(9));
        let mut none = Bound::new(0);
        none.begin(1, 0);
        assert_eq!(none.next_ms(), None);
    }
}
