//! Why a task runs, or which earlier result still holds: the reasons as data, and the words for them.

use std::fmt;

use super::fingerprint::{self, Change, Difference, Kind, Part};
use crate::protocol::receipt::{ReusedFrom, TaskResult};

/// What becomes of a task, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// An earlier result holds.
    Reuse {
        from: ReusedFrom,
        /// Outputs that have to be put back first, because they are missing or were changed.
        restored: Vec<Box<str>>,
    },
    Run(Vec<Reason>),
}

/// Why a task runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No result of it is ever reused.
    Never(&'static str),
    /// `--force` says so.
    Forced,
    /// `--no-cache` says so.
    NoCache,
    /// There is no earlier result.
    First,
    /// The last result was no pass.
    LastResult(TaskResult),
    /// The last result passed and was not kept for reuse.
    NotKept(Box<str>),
    Different(Difference),
    /// A needed task did not pass, so what it made is no ground to stand on.
    NeedDidNotPass(Box<str>),
    /// A needed task runs first. Should it make what it made before, this one may still not have to.
    NeedRuns(Box<str>),
    /// An output has to be put back and cannot be, for this reason.
    Lost(Box<str>),
    /// Where its outputs go is something that the earlier result does not have: it would be taken for one of them.
    Leftover(Box<str>),
    /// What it depends on cannot be read.
    Unreadable(Box<str>),
}

/// What is known of the last result of a task.
#[derive(Clone, Copy, Debug)]
pub struct Last<'a> {
    pub result: TaskResult,
    pub why_not: Option<&'a str>,
    pub parts: &'a [Part],
}

/// Why a task whose fingerprint no kept result has must run.
#[must_use]
pub fn reasons(last: Option<Last<'_>>, now: &[Part]) -> Vec<Reason> {
    let Some(last) = last else { return vec![Reason::First] };
    let mut reasons = Vec::new();
    match (last.result, last.why_not) {
        (TaskResult::Pass, None) => {}
        (TaskResult::Pass, Some(why)) => reasons.push(Reason::NotKept(why.into())),
        (other, _) => reasons.push(Reason::LastResult(other)),
    }
    reasons.extend(fingerprint::differences(last.parts, now).into_iter().map(Reason::Different));
    if reasons.is_empty() {
        // All that is compared is equal, so the walk itself has changed.
        reasons.push(Reason::NotKept("it was made by another version of fleet".into()));
    }
    reasons
}

impl Reason {
    /// The word for it in JSON.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Never(_) => "never_reusable",
            Self::Forced => "forced",
            Self::NoCache => "no_cache",
            Self::First => "first_run",
            Self::LastResult(_) => "last_result",
            Self::NotKept(_) => "not_kept",
            Self::Different(_) => "changed",
            Self::NeedDidNotPass(_) => "need_did_not_pass",
            Self::NeedRuns(_) => "need_runs",
            Self::Lost(_) => "output_lost",
            Self::Leftover(_) => "output_left_over",
            Self::Unreadable(_) => "unreadable",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never(why) => write!(f, "it always runs: {why}"),
            Self::Forced => f.write_str("it is forced to run"),
            Self::NoCache => f.write_str("nothing is reused with --no-cache"),
            Self::First => f.write_str("it has no earlier result here"),
            Self::LastResult(result) => write!(f, "its last result was {}", result.name()),
            Self::NotKept(why) => write!(f, "its last result was not kept: {why}"),
            Self::Different(difference) => difference.fmt(f),
            Self::NeedDidNotPass(need) => write!(f, "it needs `{need}`, which did not pass"),
            Self::NeedRuns(need) => write!(f, "it needs `{need}`, which runs first"),
            Self::Lost(path) => write!(f, "what it made cannot be put back: {path}"),
            Self::Leftover(path) => {
                write!(f, "`{path}` lies among its outputs, and the earlier result does not have it")
            }
            Self::Unreadable(what) => write!(f, "what it depends on cannot be read: {what}"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match (&self.kind, &self.change) {
            (Kind::Input, Change::Added) => write!(f, "the input `{name}` is new"),
            (Kind::Input, Change::Removed) => write!(f, "the input `{name}` is gone"),
            (Kind::Input | Kind::Program, Change::Changed { from, to }) if from != to => {
                let what = if self.kind == Kind::Input { "input" } else { "program" };
                write!(
                    f,
                    "the {what} `{name}` {}",
                    if &**to == "executable" { "became executable" } else { "is no longer executable" }
                )
            }
            (Kind::Input, Change::Changed { .. }) => write!(f, "the input `{name}` changed"),
            (Kind::Need, Change::Added) => write!(f, "it needs `{name}` now"),
            (Kind::Need, Change::Removed) => write!(f, "it needs `{name}` no longer"),
            (Kind::Need, Change::Changed { .. }) => write!(f, "`{name}`, which it needs, made something else"),
            (Kind::Variable, Change::Added) => write!(f, "the variable {name} is set now"),
            (Kind::Variable, Change::Removed) => write!(f, "the variable {name} is no longer set"),
            (Kind::Variable, Change::Changed { .. }) => write!(f, "the variable {name} has another value"),
            (Kind::Scorer, _) => f.write_str("its scorers changed"),
            (kind, change) => {
                write!(f, "the {}", kind.name())?;
                if !name.is_empty() {
                    write!(f, " `{name}`")?;
                }
                match change {
                    Change::Added => f.write_str(" is new"),
                    Change::Removed => f.write_str(" is gone"),
                    Change::Changed { from, to } if from == to || from.is_empty() || to.is_empty() => {
                        f.write_str(" changed")
                    }
                    Change::Changed { from, to } => write!(f, " changed from `{from}` to `{to}`"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn part(kind: Kind, name: &str, value: &str) -> Part {
        Part { kind, name: name.into(), digest: Digest::of(value.as_bytes()), shown: "".into() }
    }

    #[test]
    fn reasons_are_sentences() {
        let command = |text: &str| Part { shown: text.into(), ..part(Kind::Command, "", text) };
        let before = [
            command("cc a"),
            part(Kind::Variable, "CC", "1"),
            part(Kind::Input, "a", "1"),
            part(Kind::Input, "b", "1"),
        ];
        let now = [
            command("cc -O a"),
            part(Kind::Input, "a", "2"),
            part(Kind::Input, "c", "1"),
            part(Kind::Need, "gen", "1"),
        ];
        let last = Last { result: TaskResult::Fail, why_not: None, parts: &before };
        let told: Vec<String> = reasons(Some(last), &now).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "its last result was fail",
                "the command changed from `cc a` to `cc -O a`",
                "the variable CC is no longer set",
                "the input `a` changed",
                "the input `b` is gone",
                "the input `c` is new",
                "it needs `gen` now",
            ]
        );
        assert_eq!(reasons(None, &now), [Reason::First]);
    }
}
