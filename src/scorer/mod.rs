//! What judges an attempt, once its process has come to its own end: one file per kind, one row per kind in [`KINDS`].
//! `files` reads workspace files the way every kind must (links inside the workspace only, regular files only, bounded).
//! Each kind separates reading its evidence from judging bytes, so the judging is pure.
//!
//! A scorer answers one of three things: passed, not passed (the task's fault), or broken (its own fault).
//! It starts no process: the engine runs what [`commands`] lists and brings the ends along in the [`Evidence`].

mod command;
mod exit_code;
mod file_exists;
mod files;
mod json_path;
mod junit;
mod quorum;
mod regex_match;

use std::slice;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::model::scorer::Source;
use crate::model::{Scorer, ScorerRule, Task};
use crate::policy::verdict::SCORE_SLACK;
use crate::protocol::receipt::ScorerRecord;
use crate::store::Root;
use crate::time::millis;

/// What the scorers of one attempt may look at.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    pub workspace: &'a Root,
    /// There always is one: an attempt without an exit code is transport's failure and is not scored.
    pub exit_code: i32,
    /// As much as [`wants`] asked for; anything when it asked for nothing.
    pub stdout: Captured<'a>,
    pub stderr: Captured<'a>,
    /// How each of [`commands`] ended, in that order. One that is missing counts as broken.
    pub commands: &'a [CommandEnd],
}

/// A stream of the attempt, kept up to a bound.
#[derive(Clone, Copy, Debug, Default)]
pub struct Captured<'a> {
    /// The first bytes.
    pub bytes: &'a [u8],
    /// Bytes there were; more than `bytes` holds when the bound cut it, and [`LOST`] when nobody has them any more.
    pub total: u64,
}

/// The length of a stream that went down with the runner, before anybody had judged it.
pub const LOST: u64 = u64::MAX;

/// How many bytes of each stream the scorers need; `None` when no scorer looks at it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    pub stdout: Option<u64>,
    pub stderr: Option<u64>,
}

/// A program that the engine has to run before scoring, in the task's environment and working directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandRule<'a> {
    pub scorer: &'a str,
    pub argv: &'a [Box<str>],
    pub timeout: Duration,
    /// Whether its standard output is wanted in [`CommandEnd::stdout`].
    pub score_from_stdout: bool,
}

/// How such a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandEnd {
    pub how: CommandHow,
    /// At least the first [`SCORE_BYTES_MAX`] + 1 bytes of it, so that too much can be told from enough.
    pub stdout: Vec<u8>,
    pub duration_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandHow {
    Exited(i32),
    Signaled(i32),
    TimedOut,
    /// What it wrote made the attempt's directory larger than that may be.
    Outgrown,
    NotStarted(String),
}

/// Most bytes of a score on standard output.
pub const SCORE_BYTES_MAX: usize = 64 << 10;

/// Judges an attempt by every scorer; one record each, in their order.
/// `scorers` are the task's own, or [`default_scorers`] when it has none.
#[must_use]
pub fn score(scorers: &[Scorer], evidence: &Evidence<'_>) -> Vec<ScorerRecord> {
    let mut ends = evidence.commands.iter();
    scorers.iter().map(|scorer| score_one(scorer, evidence, &mut ends)).collect()
}

/// What judges a task that declares no scorers: `exit_code` with its defaults.
#[must_use]
pub fn default_scorers() -> &'static [Scorer] {
    static DEFAULT: LazyLock<[Scorer; 1]> = LazyLock::new(|| {
        [Scorer {
            name: "exit_code".into(),
            weight: 1.0,
            at_least: 1.0,
            required: true,
            rule: ScorerRule::ExitCode { expect: Box::new([0]) },
        }]
    });
    DEFAULT.as_slice()
}

/// The scorers that judge a task: its own, or the default.
#[must_use]
pub fn scorers_of(task: &Task) -> &[Scorer] {
    if task.scorers.is_empty() { default_scorers() } else { &task.scorers }
}

/// The programs these scorers need run, in the order in which [`score`] expects their ends: as they stand in the
/// file, those inside combinations in the place of the combination.
#[must_use]
pub fn commands(scorers: &[Scorer]) -> Vec<CommandRule<'_>> {
    let mut found = Vec::new();
    walk(scorers, &mut |scorer| {
        if let ScorerRule::Command { argv, score_from_stdout, timeout } = &scorer.rule {
            found.push(CommandRule {
                scorer: &scorer.name,
                argv,
                timeout: *timeout,
                score_from_stdout: *score_from_stdout,
            });
        }
    });
    found
}

/// What these scorers need kept of the attempt's streams. One that is wanted must not be merged with the other.
#[must_use]
pub fn wants(scorers: &[Scorer]) -> Wants {
    let mut wants = Wants::default();
    walk(scorers, &mut |scorer| {
        if let ScorerRule::RegexMatch { source, max_bytes, .. } = &scorer.rule {
            match source {
                Source::Stdout => wants.stdout = wants.stdout.max(Some(*max_bytes)),
                Source::Stderr => wants.stderr = wants.stderr.max(Some(*max_bytes)),
                Source::Path(_) => {}
            }
        }
    });
    wants
}

/// Every scorer, then those inside it. The depth is that of the fleet file, which has a limit.
fn walk<'a>(scorers: &'a [Scorer], visit: &mut dyn FnMut(&'a Scorer)) {
    for scorer in scorers {
        visit(scorer);
        if let ScorerRule::Quorum { of, .. } = &scorer.rule {
            walk(of, visit);
        }
    }
}

type Ends<'a> = slice::Iter<'a, CommandEnd>;

fn score_one(scorer: &Scorer, evidence: &Evidence<'_>, ends: &mut Ends<'_>) -> ScorerRecord {
    let began = Instant::now();
    // A program of the user's ran before, and parts measure themselves; only the rest is measured here.
    let (finding, elsewhere_ms): (Finding, Option<u64>) = match &scorer.rule {
        ScorerRule::ExitCode { expect } => (exit_code::judge(expect, evidence.exit_code), None),
        ScorerRule::FileExists { path, min_bytes } => (file_exists::score(evidence.workspace, path, *min_bytes), None),
        ScorerRule::RegexMatch { source, pattern, max_bytes } => {
            (regex_match::score(evidence, source, pattern, *max_bytes), None)
        }
        ScorerRule::JsonPath { path, query, test, max_bytes } => {
            (json_path::score(evidence.workspace, path, query, test, *max_bytes), None)
        }
        ScorerRule::Command { score_from_stdout, .. } => {
            let end = ends.next();
            (command::judge(end, *score_from_stdout), end.map(|end| end.duration_ms))
        }
        ScorerRule::Junit { path, min_tests, max_bytes } => {
            (junit::score(evidence.workspace, path, *min_tests, *max_bytes), None)
        }
        ScorerRule::Quorum { word, least, of } => {
            let records: Vec<_> = of.iter().map(|inner| score_one(inner, evidence, ends)).collect();
            (quorum::judge(*word, *least, &records), Some(records.iter().map(|record| record.duration_ms).sum()))
        }
    };
    let passed = finding.passes(scorer.at_least);
    ScorerRecord {
        name: scorer.name.clone(),
        kind: scorer.rule.kind().into(),
        value: finding.value,
        max: finding.max,
        passed,
        evidence: shown(&finding.evidence, EVIDENCE_BYTES_MAX),
        broken: finding.grade == Grade::Broken,
        duration_ms: elsewhere_ms.unwrap_or_else(|| millis(began.elapsed())),
    }
}

/// What a kind found out.
#[derive(Clone, Debug, PartialEq)]
struct Finding {
    grade: Grade,
    value: f64,
    max: f64,
    evidence: String,
}

/// What makes a finding pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grade {
    /// Its share of the maximum, against the scorer's `at_least`.
    Share,
    /// Decided by the kind's own rule; the share is only for the mean.
    Decided(bool),
    /// The scorer broke.
    Broken,
}

impl Finding {
    fn yes(evidence: impl Into<String>) -> Self {
        Self { grade: Grade::Share, value: 1.0, max: 1.0, evidence: evidence.into() }
    }

    fn no(evidence: impl Into<String>) -> Self {
        Self { grade: Grade::Share, value: 0.0, max: 1.0, evidence: evidence.into() }
    }

    fn broken(evidence: impl Into<String>) -> Self {
        Self { grade: Grade::Broken, value: 0.0, max: 1.0, evidence: evidence.into() }
    }

    fn passes(&self, at_least: f64) -> bool {
        match self.grade {
            Grade::Share => self.value / self.max + SCORE_SLACK >= at_least,
            Grade::Decided(passed) => passed,
            Grade::Broken => false,
        }
    }
}

/// Longest evidence of one scorer.
pub const EVIDENCE_BYTES_MAX: usize = 1024;

/// Text of a task or a file, made safe to print: one line, no control characters, cut at a bound.
fn shown(text: &str, bytes_max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(bytes_max));
    for c in text.chars() {
        if out.len() + c.len_utf8() > bytes_max {
            out.push('…');
            break;
        }
        out.push(if c.is_control() { ' ' } else { c });
    }
    out
}

/// A kind of scorer, for the help, the book and the tests that walk all kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The word in the fleet file.
    pub name: &'static str,
    /// When it passes, in one line.
    pub passes: &'static str,
}

/// Every kind, in the order of the fleet file's reference.
pub const KINDS: &[Kind] = &[
    Kind { name: "exit_code", passes: "the exit code is one of `expect`" },
    Kind { name: "file_exists", passes: "`path` is a regular file of at least `min_bytes`" },
    Kind { name: "regex_match", passes: "`pattern` matches somewhere in `path`, or in the stream" },
    Kind { name: "json_path", passes: "`query` on `path` yields a value that satisfies every test given" },
    Kind { name: "command", passes: "the program exits 0, and the score it prints, if asked, is enough" },
    Kind { name: "junit", passes: "the test report has at least `min_tests` run tests and no failures" },
    Kind { name: "all", passes: "every scorer in `of` passes" },
    Kind { name: "any", passes: "one scorer in `of` passes" },
    Kind { name: "quorum", passes: "at least `least` scorers in `of` pass" },
];

#[cfg(test)]
mod tests;
