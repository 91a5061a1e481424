//! The durable account of one task's result.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::Digest;
use crate::time::Stamp;

/// The protocol's `FleetReceipt` (the first eight fields), and after it what we add.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    pub run_id: Arc<str>,
    pub task_id: Box<str>,
    /// Empty when the task was never placed.
    pub worker_id: Arc<str>,
    pub completed_at: Stamp,
    pub result: TaskResult,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_kind: Option<FailureKind>,
    #[serde(default)]
    pub artifacts: Vec<ArtifactRef>,
    #[serde(default)]
    pub score: Option<Score>,

    /// The attempt that decided, from 1; 0 when none was made.
    #[serde(default)]
    pub attempt: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Stamp>,
    #[serde(default)]
    pub duration_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Why it is not a pass, or why it was skipped, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// A pass after a failure.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub flaky: bool,
    /// Every attempt in order, the deciding one included; of those before the run was cut short, all that were made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<AttemptRecord>,
    /// What the repetitions came to; absent when the task is not repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat: Option<RepeatRecord>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub argv: Box<[Box<str>]>,
    /// Of the argv's canonical JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub argv_digest: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs_digest: Option<Digest>,
    /// Of everything the result depends on; absent when the task is not reusable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Digest>,
    /// Set when the task was not run because an earlier result still holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reused: Option<ReusedFrom>,
    /// Declared outputs that exist after the attempt, sorted by path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<OutputRef>,
    /// The kind of host: `local`, `ssh`, `docker`, `podman`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Arc<str>>,
    /// The digest of the image, for a container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<Arc<TrustRecord>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scorers: Vec<ScorerRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogRef>,
    /// Processes the task left behind, which were ended: `pid name`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaked: Vec<String>,
    #[serde(default, skip_serializing_if = "map_is_empty")]
    pub labels: Arc<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, Value>,
    #[serde(default)]
    pub fleet_version: Arc<str>,
    /// The `seq` of the journal record that holds this receipt.
    #[serde(default)]
    pub journal_seq: u64,
}

fn map_is_empty(map: &Arc<BTreeMap<String, String>>) -> bool {
    map.is_empty()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskResult {
    Pass,
    Partial,
    Fail,
    Skip,
    Timeout,
}

impl TaskResult {
    pub const ALL: [Self; 5] = [Self::Pass, Self::Partial, Self::Fail, Self::Skip, Self::Timeout];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Partial => "partial",
            Self::Fail => "fail",
            Self::Skip => "skip",
            Self::Timeout => "timeout",
        }
    }
}

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    Transport,
    Task,
    Verifier,
}

impl FailureKind {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Transport => "transport",
            Self::Task => "task",
            Self::Verifier => "verifier",
        }
    }
}

/// The protocol's `FleetArtifactRef`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactRef {
    /// `log`, `patch`, `test_result`, `report`, `checkpoint`, `receipt` or any other word.
    pub kind: Box<str>,
    /// Relative to the workspace.
    pub path: Box<str>,
    /// The digest, which is also its name in the content store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<Box<str>>,
    #[serde(default)]
    pub size_bytes: Option<u64>,
}

/// The protocol's `FleetScore`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    pub value: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
}

/// How one attempt ended. The fields behind `cause` are those of attempts that others followed: of the last one the
/// receipt itself has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptRecord {
    pub attempt: u32,
    /// From 1; 0, and absent, when the task is not repeated.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repetition: u32,
    pub worker_id: Arc<str>,
    pub started_at: Stamp,
    pub duration_ms: u64,
    pub result: TaskResult,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_kind: Option<FailureKind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogRef>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaked: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// A verdict of verdicts, and what can be said from it: of `done` repetitions, `passed` did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RepeatRecord {
    /// Most repetitions.
    pub runs: u32,
    /// How many had to pass.
    pub quorum: u32,
    pub done: u32,
    pub passed: u32,
    /// For k from 1 to `done`: how likely one of k passes.
    pub pass_at_k: Vec<f64>,
    /// For k from 1 to `done`: how likely all of k pass.
    pub pass_hat_k: Vec<f64>,
}

/// Something a task made or read: a file, a symbolic link, or an empty folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputRef {
    /// Relative to the workspace.
    pub path: Box<str>,
    /// Of the file's bytes; of a link, the text it holds; of an empty folder, nothing.
    pub digest: Digest,
    pub size_bytes: u64,
    /// The permission bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    #[serde(default, skip_serializing_if = "EntryKind::is_file")]
    pub kind: EntryKind,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    #[default]
    File,
    /// The digest is that of the target as it is written in the link.
    Symlink,
    /// A folder with nothing in it.
    Directory,
}

impl EntryKind {
    #[must_use]
    pub fn is_file(&self) -> bool {
        matches!(self, Self::File)
    }
}

/// Permission bits (the lower twelve of POSIX `st_mode`); octal text on the wire, as `chmod` takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Mode(u16);

impl Mode {
    /// Of any `st_mode`; the file type is dropped.
    #[must_use]
    pub fn of(bits: u32) -> Self {
        Self(u16::try_from(bits & 0o7777).unwrap_or_default())
    }

    #[must_use]
    pub fn bits(self) -> u32 {
        self.0.into()
    }

    /// Whether anyone may execute it: the one bit that counts as content.
    #[must_use]
    pub fn is_executable(self) -> bool {
        self.0 & 0o111 != 0
    }
}

impl From<Mode> for String {
    fn from(mode: Mode) -> Self {
        format!("{:04o}", mode.0)
    }
}

impl TryFrom<String> for Mode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match u16::from_str_radix(&text, 8) {
            Ok(bits) if bits <= 0o7777 => Ok(Self(bits)),
            _ => Err(format!("`{text}` is not an octal file mode")),
        }
    }
}

/// The receipt that a reused result stands on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReusedFrom {
    pub run_id: Box<str>,
    /// The journal record of that run that holds it.
    pub journal_seq: u64,
    /// The attempt of that run that made the result.
    pub attempt: u32,
    /// The result came from the shared cache, and the run is somebody else's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remote: bool,
}

/// The trust asked for and what held it up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustRecord {
    /// What the task asked for; absent when it asked nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Box<str>>,
    pub enforced: Box<str>,
    /// By name: `clean_env`, `session`, `subreaper`, …
    pub mechanisms: Vec<Box<str>>,
    /// What the task may beyond its trust, and why: `network: REASON`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Box<str>>,
}

/// What one scorer said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScorerRecord {
    pub name: Box<str>,
    pub kind: Box<str>,
    pub value: f64,
    pub max: f64,
    pub passed: bool,
    /// Why, in one sentence.
    pub evidence: String,
    /// The scorer itself broke; its value means nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub broken: bool,
    pub duration_ms: u64,
}

/// What the attempt used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub cpu_ms: u64,
    pub max_rss_bytes: u64,
    pub output_bytes: u64,
}

/// The log of the attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRef {
    /// Relative to the run's folder.
    pub path: Box<str>,
    /// Of the bytes kept.
    pub digest: Digest,
    /// Bytes kept.
    pub bytes: u64,
    /// The middle was dropped.
    pub truncated: bool,
}
