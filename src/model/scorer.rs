//! What judges an attempt.

use std::time::Duration;

#[derive(Clone, Debug, PartialEq)]
pub struct Scorer {
    /// The name given, the key under `[scorers]`, or the kind.
    pub name: Box<str>,
    /// Share in the weighted mean; greater than zero.
    pub weight: f64,
    /// Least share of the maximum that passes, 0..=1.
    pub at_least: f64,
    /// Whether not passing fails the task (else it makes it `partial`).
    pub required: bool,
    pub rule: ScorerRule,
}

/// One variant per kind; paths are relative to the workspace.
#[derive(Clone, Debug, PartialEq)]
pub enum ScorerRule {
    ExitCode {
        /// Codes that pass; `[0]` unless said.
        expect: Box<[i32]>,
    },
    FileExists {
        path: Box<str>,
        min_bytes: u64,
    },
    RegexMatch {
        source: Source,
        /// Valid in the linear-time engine: compiled once when the file was read.
        pattern: Box<str>,
        max_bytes: u64,
    },
    JsonPath {
        path: Box<str>,
        /// RFC 9535; the old dotted form was rewritten when the file was read.
        query: Box<str>,
        test: JsonTest,
        max_bytes: u64,
    },
    Command {
        argv: Box<[Box<str>]>,
        /// Read `{"value", "max", "notes"}` from its standard output.
        score_from_stdout: bool,
        timeout: Duration,
    },
    Junit {
        /// A path or glob.
        path: Box<str>,
        min_tests: u64,
        max_bytes: u64,
    },
    /// Passes when at least `least` of `of` pass. `all` and `any` are the two ends of it.
    Quorum {
        word: QuorumWord,
        least: u32,
        of: Box<[Scorer]>,
    },
}

/// Where a pattern looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Path(Box<str>),
    Stdout,
    Stderr,
}

/// Which word of the file made a combination; for messages and receipts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuorumWord {
    All,
    Any,
    Quorum,
}

/// What the value found must satisfy; with none of them it must be neither null nor false.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JsonTest {
    pub equals: Option<serde_json::Value>,
    pub at_least: Option<f64>,
    pub at_most: Option<f64>,
    pub matches: Option<Box<str>>,
}

/// Most bytes a scorer reads of one file unless it says otherwise.
pub const SCORED_BYTES_MAX: u64 = 16 << 20;

/// Most bytes of a compiled pattern, when the file is checked and when a scorer uses it.
pub const PATTERN_PROGRAM_BYTES_MAX: usize = 1 << 20;

impl ScorerRule {
    /// The word for this kind in the fleet file and in receipts.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ExitCode { .. } => "exit_code",
            Self::FileExists { .. } => "file_exists",
            Self::RegexMatch { .. } => "regex_match",
            Self::JsonPath { .. } => "json_path",
            Self::Command { .. } => "command",
            Self::Junit { .. } => "junit",
            Self::Quorum { word, .. } => match word {
                QuorumWord::All => "all",
                QuorumWord::Any => "any",
                QuorumWord::Quorum => "quorum",
            },
        }
    }
}
