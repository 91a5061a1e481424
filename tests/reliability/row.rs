//! A row of the scoreboard: what was tried, how often, and what went wrong.

use std::collections::BTreeMap;

/// How much is tried: a part of it by the tests, all of it by the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    Suite,
    #[allow(dead_code, reason = "the bench asks for it")]
    Full,
}

impl Scale {
    pub(crate) fn of<T>(self, suite: T, full: T) -> T {
        if self == Self::Suite { suite } else { full }
    }
}

/// What was counted. Everything that is counted as wrong has the number 0 to begin with, so that it is shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    pub name: &'static str,
    /// What was done, and how often.
    pub tried: String,
    pub wrong: BTreeMap<&'static str, usize>,
    /// The first few, in words.
    pub examples: Vec<String>,
}

impl Row {
    pub(crate) fn new(name: &'static str, kinds: &[&'static str]) -> Self {
        let wrong = kinds.iter().map(|kind| (*kind, 0)).collect();
        Self { name, tried: String::new(), wrong, examples: Vec::new() }
    }

    /// Something is wrong.
    pub(crate) fn wrong(&mut self, kind: &'static str, example: impl Into<String>) {
        *self.wrong.entry(kind).or_default() += 1;
        if self.examples.len() < 12 {
            self.examples.push(format!("{kind}: {}", example.into()));
        }
    }

    /// `0 lost, 0 started again`.
    pub(crate) fn result(&self) -> String {
        self.wrong.iter().map(|(kind, count)| format!("{count} {kind}")).collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn all_well(&self) -> bool {
        self.wrong.values().all(|count| *count == 0)
    }

    #[track_caller]
    #[allow(dead_code, reason = "the tests ask for it")]
    pub(crate) fn holds(&self) {
        assert!(self.all_well(), "{}: {} in {}\n{}", self.name, self.result(), self.tried, self.examples.join("\n"));
    }
}

/// The same numbers every time, without a pattern.
pub(crate) fn pseudo_random(n: u64) -> u64 {
    let mut x = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
