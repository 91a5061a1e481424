//! The exit codes of `fleet`: one table that the program returns, `fleet help exit-codes` prints and the book shows.
//! A run collects the codes of all that went wrong in it and leaves with the first of them in [`PRECEDENCE`].

use std::fmt;

use crate::protocol::receipt::{FailureKind, TaskResult};

/// What `fleet` tells its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExitCode {
    Passed = 0,
    Failed = 1,
    Usage = 2,
    InvalidFile = 3,
    NothingSelected = 4,
    Outstanding = 5,
    WaitingForPerson = 6,
    OverBudget = 7,
    OutOfTime = 8,
    Infrastructure = 9,
    NotVerified = 10,
    StateBusy = 11,
    Internal = 70,
    NotWritten = 74,
    Interrupted = 130,
    Terminated = 143,
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub code: ExitCode,
    /// One word or two with a hyphen, for scripts and messages.
    pub name: &'static str,
    /// One line.
    pub meaning: &'static str,
}

/// Every code, in numeric order.
pub const TABLE: &[Row] = &[
    row(ExitCode::Passed, "passed", "all required work passed"),
    row(ExitCode::Failed, "failed", "a task or a scorer failed"),
    row(ExitCode::Usage, "usage", "wrong usage of the command line"),
    row(ExitCode::InvalidFile, "invalid-file", "the fleet file is invalid"),
    row(ExitCode::NothingSelected, "nothing-selected", "nothing was selected"),
    row(ExitCode::Outstanding, "outstanding", "the selected part passed, other required work is outstanding"),
    row(ExitCode::WaitingForPerson, "waiting", "waiting for a person"),
    row(ExitCode::OverBudget, "over-budget", "a budget was exceeded"),
    row(ExitCode::OutOfTime, "out-of-time", "the run's time is up"),
    row(ExitCode::Infrastructure, "infrastructure", "infrastructure or transport failed"),
    row(ExitCode::NotVerified, "not-verified", "receipts, audit, gate or store do not verify"),
    row(ExitCode::StateBusy, "state-busy", "another run holds the state directory"),
    row(ExitCode::Internal, "internal", "internal error"),
    row(ExitCode::NotWritten, "not-written", "output or disk could not be written"),
    row(ExitCode::Interrupted, "interrupted", "interrupted (SIGINT)"),
    row(ExitCode::Terminated, "terminated", "terminated (SIGTERM)"),
];

/// Which code wins when several hold; the first is the strongest.
///
/// An interruption stands behind 70 and 74, because those say that what was recorded of it cannot be relied on, and
/// before the rest, because what an interrupted run has not done says nothing. Codes 2, 3, 4 and 11 end `fleet` before
/// a run begins, so they meet no other; they stand here for completeness.
pub const PRECEDENCE: &[ExitCode] = &[
    ExitCode::Internal,
    ExitCode::NotWritten,
    ExitCode::Terminated,
    ExitCode::Interrupted,
    ExitCode::Usage,
    ExitCode::InvalidFile,
    ExitCode::StateBusy,
    ExitCode::NothingSelected,
    ExitCode::NotVerified,
    ExitCode::Infrastructure,
    ExitCode::OutOfTime,
    ExitCode::OverBudget,
    ExitCode::Failed,
    ExitCode::WaitingForPerson,
    ExitCode::Outstanding,
    ExitCode::Passed,
];

const fn row(code: ExitCode, name: &'static str, meaning: &'static str) -> Row {
    Row { code, name, meaning }
}

impl ExitCode {
    /// The number the process exits with.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The code of that number; `None` for a number that has no meaning.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Self> {
        TABLE.iter().map(|row| row.code).find(|code| code.code() == number)
    }

    /// Its row of the table.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "a test holds the table to having every code")]
    pub fn row(self) -> &'static Row {
        TABLE.iter().find(|row| row.code == self).expect("the table has every code")
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    #[must_use]
    pub fn meaning(self) -> &'static str {
        self.row().meaning
    }

    /// What a result asks for when the task counts. A skip asks for nothing itself: what caused it does.
    /// A partial result is one that a scorer did not pass, so it is not a success.
    #[must_use]
    pub fn of(result: TaskResult, failure: Option<FailureKind>) -> Self {
        match (result, failure) {
            (TaskResult::Pass | TaskResult::Skip, _) => Self::Passed,
            (TaskResult::Fail, Some(FailureKind::Transport)) => Self::Infrastructure,
            (TaskResult::Fail | TaskResult::Partial | TaskResult::Timeout, _) => Self::Failed,
        }
    }

    /// What a result of a task asks the run to exit with; `allowed` is the task's `allow_failure`.
    #[must_use]
    pub fn of_task(result: TaskResult, failure: Option<FailureKind>, allowed: bool) -> Self {
        if allowed { Self::Passed } else { Self::of(result, failure) }
    }

    /// Whether the run fails with it. The same word decides the exit code and what sets off fail-fast.
    #[must_use]
    pub fn fails_run(result: TaskResult, allowed: bool) -> bool {
        Self::of_task(result, None, allowed) != Self::Passed
    }

    /// Whether a run that ended with it may have left work that going on with it would do.
    #[must_use]
    pub fn is_cut_short(self) -> bool {
        match self {
            Self::Interrupted
            | Self::Terminated
            | Self::OutOfTime
            | Self::NotWritten
            | Self::Internal
            | Self::Infrastructure
            | Self::WaitingForPerson => true,
            Self::Passed
            | Self::Failed
            | Self::Usage
            | Self::InvalidFile
            | Self::NothingSelected
            | Self::Outstanding
            | Self::OverBudget
            | Self::NotVerified
            | Self::StateBusy => false,
        }
    }

    /// The one of the two that the caller must hear of.
    #[must_use]
    pub fn or_worse(self, other: Self) -> Self {
        if other.rank() < self.rank() { other } else { self }
    }

    /// The strongest of many; `Passed` when there is none.
    pub fn strongest(codes: impl IntoIterator<Item = Self>) -> Self {
        codes.into_iter().fold(Self::Passed, Self::or_worse)
    }

    fn rank(self) -> usize {
        PRECEDENCE.iter().position(|code| *code == self).expect("every code has a rank; a test holds the list to that")
    }
}

impl fmt::Display for ExitCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.code().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_code_once_in_order() {
        let codes: Vec<u8> = TABLE.iter().map(|row| row.code.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 70, 74, 130, 143]);
        let mut names: Vec<&str> = TABLE.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TABLE.len());
        for row in TABLE {
            assert_eq!(row.code.row(), row);
            assert!(!row.meaning.contains('\n'));
            assert_eq!(PRECEDENCE.iter().filter(|code| **code == row.code).count(), 1, "{}", row.name);
        }
        assert_eq!(PRECEDENCE.len(), TABLE.len());
    }

    #[test]
    fn the_strongest_code_wins() {
        let chain = [70, 74, 10, 9, 8, 7, 1, 6, 5, 0];
        let of = |code: u8| TABLE.iter().map(|row| row.code).find(|c| c.code() == code).unwrap();
        for (i, strong) in chain.iter().enumerate() {
            for weak in &chain[i..] {
                assert_eq!(of(*strong).or_worse(of(*weak)).code(), *strong);
                assert_eq!(of(*weak).or_worse(of(*strong)).code(), *strong);
            }
        }
        assert_eq!(ExitCode::strongest([of(5), of(1), of(9), of(0)]), ExitCode::Infrastructure);
        assert_eq!(ExitCode::strongest([]), ExitCode::Passed);
        assert_eq!(ExitCode::strongest([of(1), of(130), of(9)]), ExitCode::Interrupted);
    }

    #[test]
    fn only_pass_and_skip_leave_zero() {
        for result in TaskResult::ALL {
            for failure in [None, Some(FailureKind::Task), Some(FailureKind::Verifier), Some(FailureKind::Transport)] {
                let zero = ExitCode::of(result, failure) == ExitCode::Passed;
                assert_eq!(zero, matches!(result, TaskResult::Pass | TaskResult::Skip), "{result:?} {failure:?}");
            }
        }
        assert_eq!(ExitCode::of(TaskResult::Fail, Some(FailureKind::Transport)), ExitCode::Infrastructure);
        assert_eq!(ExitCode::of(TaskResult::Fail, Some(FailureKind::Verifier)), ExitCode::Failed);
    }
}
