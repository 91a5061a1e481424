//! How an attempt becomes a verdict: the one rule, as one pure function over what is known of the attempt's end.
//! `Ended` is what went in, `Verdict` what came out, `Reason` why. The order of the checks is the order of the text:
//! it never got to its own end · its time was up · it was cancelled · its exit code · its scorers · its files.
//! Knows neither how the process was run nor how a scorer reads its evidence.

use std::fmt;
use std::time::Duration;

use super::signal::signal_name;
use super::size::{self, Limit, More};
use crate::model::{Scorer, ScorerRule};
use crate::protocol::receipt::{FailureKind, Score, ScorerRecord, TaskResult};
use crate::time::written;

/// All that is known once an attempt has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    pub how: How<'a>,
    /// The task's scorers. None at all means that the exit code alone judges, as the default `exit_code` scorer would.
    pub scorers: &'a [Scorer],
    /// What each of them said, in the same order. One that is missing was not heard, and counts as broken.
    pub records: &'a [ScorerRecord],
    /// Patterns of required artifacts and outputs that no file matches.
    pub faults: &'a [FileFault<'a>],
    /// Least weighted mean for a pass, 0..=1.
    pub pass_score: f64,
}

/// How the process ended. What we did to it wins over how it then left: a process that was told to stop because its
/// time was up is `TimedOut`, whatever code it exits with in its grace time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How<'a> {
    /// The process was never there: no such program, a missing required file, no memory.
    NotStarted {
        error: &'a str,
    },
    /// It was started, and nobody can say how it ended: the connection or the supervisor is gone.
    Lost {
        why: &'a str,
    },
    /// We ended it for a reason that is not its own and that nobody asked for.
    Killed {
        why: &'a str,
    },
    /// A signal that was not ours ended it, so there is no exit code.
    Signaled {
        signal: i32,
    },
    /// The kernel ended it because it took more memory than its `limits` allow.
    OutOfMemory {
        limit_bytes: u64,
    },
    /// It was not begun: what it starts from takes more than its directory may.
    NoRoom(Room<'a>),
    /// Its directory took more than it may.
    Outgrown(Room<'a>),
    TimedOut {
        which: TimeLimit,
        limit: Duration,
    },
    Cancelled {
        by: CancelledBy<'a>,
    },
    Exited {
        code: i32,
    },
}

/// What a directory takes, and what its worker allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room<'a> {
    pub worker: &'a str,
    pub bytes: u64,
    pub limit_bytes: u64,
}

/// Which of the task's own times was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeLimit {
    /// `timeout`: wall time of the attempt.
    Wall,
    /// `idle_timeout`: time without output.
    Idle,
}

/// Who or what wanted the attempt to end, recorded before the signal was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelledBy<'a> {
    /// By Ctrl-C, TERM or a closed terminal.
    Person,
    /// `fail_fast`, after that task failed.
    FailFast { failed: &'a str },
    /// The time for the whole run was up: not the task's own time, so not its `timeout`.
    RunTimeout { limit: Duration },
}

/// What is wrong with the files of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFault<'a> {
    pub kind: FaultKind,
    /// The pattern that no file matches, or the file that was written.
    pub path: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    MissingArtifact,
    MissingOutput,
    /// A declared file is there and cannot be read; `path` says which and why.
    Unreadable,
    /// Written outside the task's `writable_paths`.
    StrayWrite,
    /// A file that is kept holds the value of a secret; `path` says which and whose.
    Secret,
}

/// What an attempt comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub result: TaskResult,
    /// Whose fault it is; there exactly when `result` is `fail`.
    pub failure: Option<FailureKind>,
    /// Why, the deciding reason first; empty exactly for a pass.
    pub reasons: Vec<Reason>,
    /// The weighted mean over the scorers, of 1; absent when nothing was judged.
    pub score: Option<Score>,
}

/// Why a verdict is not a pass.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    NotStarted { error: Box<str> },
    Lost { why: Box<str> },
    Killed { why: Box<str> },
    Signaled { signal: i32 },
    OutOfMemory { limit_bytes: u64 },
    NoRoom { worker: Box<str>, bytes: u64, limit_bytes: u64 },
    Outgrown { worker: Box<str>, bytes: u64, limit_bytes: u64 },
    TimedOut { which: TimeLimit, limit: Duration },
    Interrupted,
    FailFast { failed: Box<str> },
    RunTimeout { limit: Duration },
    ExitCode { code: i32 },
    Broken { scorer: Box<str>, evidence: Box<str> },
    NotPassed { scorer: Box<str>, evidence: Box<str>, required: bool },
    File { kind: FaultKind, path: Box<str> },
    LowScore { mean: f64, pass_score: f64 },
}

/// Slack in comparisons of scores, so that a mean of 0.8 made of tenths is not under 0.8 by its last bit.
pub const SCORE_SLACK: f64 = 1e-9;

/// Reasons that a cause names before it only counts the rest.
const REASONS_NAMED_MAX: usize = 4;

/// The rule.
#[must_use]
pub fn verdict(ended: &Ended<'_>) -> Verdict {
    let unjudged = |result, failure, reason| Verdict { result, failure, reasons: vec![reason], score: None };
    let transport = |reason| unjudged(TaskResult::Fail, Some(FailureKind::Transport), reason);
    match ended.how {
        How::NotStarted { error } => transport(Reason::NotStarted { error: error.into() }),
        How::Lost { why } => transport(Reason::Lost { why: why.into() }),
        How::Killed { why } => transport(Reason::Killed { why: why.into() }),
        How::Signaled { signal } => transport(Reason::Signaled { signal }),
        // Its own bound, so its own fault, as a budget would be.
        How::OutOfMemory { limit_bytes } => {
            unjudged(TaskResult::Fail, Some(FailureKind::Task), Reason::OutOfMemory { limit_bytes })
        }
        How::NoRoom(Room { worker, bytes, limit_bytes }) => {
            let reason = Reason::NoRoom { worker: worker.into(), bytes, limit_bytes };
            unjudged(TaskResult::Fail, Some(FailureKind::Task), reason)
        }
        How::Outgrown(Room { worker, bytes, limit_bytes }) => {
            let reason = Reason::Outgrown { worker: worker.into(), bytes, limit_bytes };
            unjudged(TaskResult::Fail, Some(FailureKind::Task), reason)
        }
        How::TimedOut { which, limit } => unjudged(TaskResult::Timeout, None, Reason::TimedOut { which, limit }),
        How::Cancelled { by } => unjudged(TaskResult::Skip, None, by.into()),
        How::Exited { code } => judge(ended, code),
    }
}

/// The rule for a process that came to its own end.
fn judge(ended: &Ended<'_>, code: i32) -> Verdict {
    let mean = mean(ended, code);
    let score = Some(Score { value: mean, max: Some(1.0), notes: None });
    let fail = |kind, reasons| Verdict { result: TaskResult::Fail, failure: Some(kind), reasons, score: score.clone() };

    if code != 0 && !expects(ended.scorers, code) {
        return fail(FailureKind::Task, vec![Reason::ExitCode { code }]);
    }

    // Collected in the order of the rule, so that the first one decides and the others are told as well.
    let mut broken = Vec::new();
    let mut failed = Vec::new();
    let mut lacking = Vec::new();
    for (index, scorer) in ended.scorers.iter().enumerate() {
        match (heard(ended.records.get(index)), scorer.required) {
            (Heard::Passed, _) => {}
            (Heard::Broken(evidence), true) => broken.push(Reason::Broken { scorer: scorer.name.clone(), evidence }),
            (Heard::NotPassed(evidence), true) => {
                failed.push(Reason::NotPassed { scorer: scorer.name.clone(), evidence, required: true });
            }
            // An optional scorer that broke leaves the same doubt as one that said no.
            (Heard::Broken(evidence), false) => lacking.push(Reason::Broken { scorer: scorer.name.clone(), evidence }),
            (Heard::NotPassed(evidence), false) => {
                lacking.push(Reason::NotPassed { scorer: scorer.name.clone(), evidence, required: false });
            }
        }
    }
    let kind = if broken.is_empty() { FailureKind::Task } else { FailureKind::Verifier };
    let mut reasons = broken;
    reasons.append(&mut failed);
    reasons.extend(ended.faults.iter().map(|fault| Reason::File { kind: fault.kind, path: fault.path.into() }));
    if !reasons.is_empty() {
        return fail(kind, reasons);
    }

    if mean + SCORE_SLACK < ended.pass_score {
        lacking.push(Reason::LowScore { mean, pass_score: ended.pass_score });
    }
    let result = if lacking.is_empty() { TaskResult::Pass } else { TaskResult::Partial };
    Verdict { result, failure: None, reasons: lacking, score }
}

enum Heard {
    Passed,
    NotPassed(Box<str>),
    Broken(Box<str>),
}

fn heard(record: Option<&ScorerRecord>) -> Heard {
    match record {
        None => Heard::Broken("it gave no answer".into()),
        Some(record) if record.broken => Heard::Broken(record.evidence.as_str().into()),
        Some(record) if record.passed => Heard::Passed,
        Some(record) => Heard::NotPassed(record.evidence.as_str().into()),
    }
}

/// Whether an `exit_code` scorer, also one inside a combination, has this code among those that pass.
#[must_use]
pub fn expects(scorers: &[Scorer], code: i32) -> bool {
    scorers.iter().any(|scorer| match &scorer.rule {
        ScorerRule::ExitCode { expect } => expect.contains(&code),
        ScorerRule::Quorum { of, .. } => expects(of, code),
        ScorerRule::FileExists { .. }
        | ScorerRule::RegexMatch { .. }
        | ScorerRule::JsonPath { .. }
        | ScorerRule::Command { .. }
        | ScorerRule::Junit { .. } => false,
    })
}

/// The weighted mean of the scorers' shares, 0..=1. A broken scorer gives nothing to it: nobody vouched for its share.
fn mean(ended: &Ended<'_>, code: i32) -> f64 {
    if ended.scorers.is_empty() {
        return if code == 0 { 1.0 } else { 0.0 };
    }
    // Weights are taken relative to the largest, so that the sum of very large ones stays a number.
    let largest = ended.scorers.iter().map(|scorer| scorer.weight).fold(f64::MIN_POSITIVE, f64::max);
    let (mut sum, mut of) = (0.0, 0.0);
    for (index, scorer) in ended.scorers.iter().enumerate() {
        let weight = scorer.weight / largest;
        of += weight;
        sum += weight * ended.records.get(index).filter(|record| !record.broken).map_or(0.0, share);
    }
    if of > 0.0 { (sum / of).clamp(0.0, 1.0) } else { 0.0 }
}

/// A record's value as a share of its maximum, 0..=1; 0 when that is not a number.
#[must_use]
pub fn share(record: &ScorerRecord) -> f64 {
    let share = record.value / record.max;
    if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
}

impl Verdict {
    /// The reasons in one sentence; `None` for a pass.
    #[must_use]
    pub fn cause(&self) -> Option<String> {
        let named = self.reasons.iter().take(REASONS_NAMED_MAX).map(ToString::to_string).collect::<Vec<_>>();
        let rest = self.reasons.len() - named.len();
        match (named.is_empty(), rest) {
            (true, _) => None,
            (false, 0) => Some(named.join("; ")),
            (false, rest) => Some(format!("{}; and {rest} more", named.join("; "))),
        }
    }
}

impl From<CancelledBy<'_>> for Reason {
    fn from(by: CancelledBy<'_>) -> Self {
        match by {
            CancelledBy::Person => Self::Interrupted,
            CancelledBy::FailFast { failed } => Self::FailFast { failed: failed.into() },
            CancelledBy::RunTimeout { limit } => Self::RunTimeout { limit },
        }
    }
}

impl TimeLimit {
    /// The field of the task that set it.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Self::Wall => "timeout",
            Self::Idle => "idle_timeout",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted { error } => write!(f, "could not be started: {error}"),
            Self::Lost { why } => write!(f, "lost: {why}"),
            Self::Killed { why } => write!(f, "killed: {why}"),
            Self::OutOfMemory { limit_bytes } => {
                write!(f, "took more memory than its limit of {} MiB", limit_bytes.div_ceil(1 << 20))
            }
            Self::NoRoom { worker, bytes, limit_bytes } => {
                let (bytes, limit, more) = (More(*bytes), Limit(*limit_bytes), size::roomy(*bytes));
                write!(
                    f,
                    "what it starts from takes {bytes}, and `attempt_size` of worker `{worker}` allows {limit}: "
                )?;
                write!(f, "write `attempt_size = \"{more}\"` there, or let the task declare less")
            }
            Self::Outgrown { worker, bytes, limit_bytes } => {
                let (bytes, limit) = (More(*bytes), Limit(*limit_bytes));
                write!(f, "its directory on worker `{worker}` grew to {bytes}; `attempt_size` allows {limit}")
            }
            Self::Signaled { signal } => write!(f, "ended by {} without an exit code", signal_name(*signal)),
            Self::TimedOut { which: TimeLimit::Wall, limit } => {
                write!(f, "ran longer than its timeout of {}", written(*limit))
            }
            Self::TimedOut { which: TimeLimit::Idle, limit } => {
                write!(f, "printed nothing for its idle_timeout of {}", written(*limit))
            }
            Self::Interrupted => f.write_str("interrupted"),
            Self::FailFast { failed } => write!(f, "cancelled by fail_fast, because `{failed}` failed"),
            Self::RunTimeout { limit } => {
                write!(f, "cancelled, because the run's timeout of {} was over", written(*limit))
            }
            Self::ExitCode { code } => write!(f, "exit code {code}"),
            Self::Broken { scorer, evidence } => write!(f, "scorer `{scorer}` broke: {evidence}"),
            Self::NotPassed { scorer, evidence, required: true } => {
                write!(f, "scorer `{scorer}` did not pass: {evidence}")
            }
            Self::NotPassed { scorer, evidence, required: false } => {
                write!(f, "optional scorer `{scorer}` did not pass: {evidence}")
            }
            Self::File { kind: FaultKind::MissingArtifact, path } => {
                write!(f, "required artifact `{path}` is missing")
            }
            Self::File { kind: FaultKind::Unreadable | FaultKind::Secret, path } => f.write_str(path),
            Self::File { kind: FaultKind::MissingOutput, path } => write!(f, "required output `{path}` is missing"),
            Self::File { kind: FaultKind::StrayWrite, path } => {
                write!(f, "`{path}` was written, which is outside its writable_paths")
            }
            // Rounded down, so that a mean just under the bound is not printed as equal to it.
            Self::LowScore { mean, pass_score } => {
                write!(
                    f,
                    "score {} is under the pass_score of {pass_score}",
                    (mean * 10_000.0 + 1e-7).floor() / 10_000.0
                )
            }
        }
    }
}

#[cfg(test)]
mod tests;
