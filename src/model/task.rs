//! A task: what to run, what it waits for, what it reads and makes, and how it is bounded.
//! Boxed slices and boxed rare parts, because a fleet may hold two hundred thousand of these.

use std::time::Duration;

use super::{Metadata, OnUnknown, Repeat, Retry, Scorer, WorkerRequest};
use crate::id::{PoolId, TaskId};

#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the file, and they mean nothing together")]
pub struct Task {
    /// Unique; a matrix instance is `base:value:value`.
    pub name: Box<str>,
    /// The key under `[tasks]` that declared it.
    pub base: Box<str>,
    pub description: Option<Box<str>>,
    pub action: Action,
    /// Resolved needs without those that files imply; sorted by task, no duplicates.
    pub needs: Box<[Need]>,
    /// `None`: the task declared no `inputs` and always runs. `Some` may be empty.
    pub inputs: Option<Box<[Box<str>]>>,
    /// `cache = false` says no: the task runs every time, whatever its inputs are.
    pub cache: bool,
    /// Globs; every positive one must match a file after the attempt.
    pub outputs: Box<[Box<str>]>,
    pub artifacts: Box<[Artifact]>,
    /// Variables set for the task, sorted by name.
    pub env: Box<[(Box<str>, Box<str>)]>,
    /// Names, or globs of names, let through from the caller's environment.
    pub pass_env: Box<[Box<str>]>,
    /// Relative to the workspace; empty for the workspace itself.
    pub workdir: Box<str>,
    /// A workspace file that becomes standard input; `None` is an empty input.
    pub stdin: Option<Box<str>>,
    /// Whether the attempt gets an empty private directory in `FLEET_ATTEMPT_DIR`.
    pub scratch: bool,
    pub required_files: Box<[Box<str>]>,
    pub required_env: Box<[Box<str>]>,
    /// Programs that must be found on PATH before an attempt starts.
    pub tools: Box<[Box<str>]>,
    /// Globs of where the task may write; `None` when it did not say.
    pub writable_paths: Option<Box<[Box<str>]>>,
    /// Wall time of an attempt.
    pub timeout: Option<Duration>,
    /// Time without output.
    pub idle_timeout: Option<Duration>,
    /// Time a ready task may wait for its first start.
    pub start_within: Option<Duration>,
    /// `None`: one attempt.
    pub retry: Option<Box<Retry>>,
    /// `None`: one verdict is enough.
    pub repeat: Option<Repeat>,
    /// What is done after a crash that left it unknown whether it ran.
    pub on_unknown: OnUnknown,
    /// Higher starts first; 0 unless said.
    pub priority: i32,
    /// What it takes from the named pools while it runs.
    pub uses: Box<[(PoolId, u32)]>,
    pub tags: Box<[Box<str>]>,
    /// `Some` when the task's own `when` says no: why, in words. Such a task is skipped and counts as satisfied.
    pub unwanted: Option<Box<str>>,
    /// The values of this matrix instance, in the order of the axes.
    pub matrix: Box<[(Box<str>, Box<str>)]>,
    /// A failure does not fail the run, and dependents treat it as satisfied.
    pub allow_failure: bool,
    /// Runs whatever happened before it.
    pub always: bool,
    /// Tasks that run once after this one's final failure. They run at no other time.
    pub on_failure: Box<[TaskId]>,
    /// What it asks of a worker; `None` asks nothing.
    pub worker: Option<Box<WorkerRequest>>,
    /// What it may know, by reference.
    pub secrets: Box<[SecretUse]>,
    /// What it may take of the machine; `None` is as much as there is.
    pub limits: Option<Box<Limits>>,
    /// Empty means: `exit_code` with its defaults.
    pub scorers: Box<[Scorer]>,
    /// Least weighted mean for `pass`, 0..=1; 0 unless said, which leaves the decision to the scorers.
    pub pass_score: f64,
    pub metadata: Metadata,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A program and its arguments; no shell. Never empty.
    Run(Box<[Box<str>]>),
    /// A script for a shell.
    Script { shell: Shell, text: Box<str> },
}

/// Which shell reads a script, and how it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// `sh -eu -c TEXT`
    Sh,
    /// `bash -eu -o pipefail -c TEXT`
    Bash,
}

impl Shell {
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Sh => "sh",
            Self::Bash => "bash",
        }
    }

    /// What stands between the program and the script.
    #[must_use]
    pub fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Sh => &["-eu", "-c"],
            Self::Bash => &["-eu", "-o", "pipefail", "-c"],
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    pub task: TaskId,
    /// A `partial` result is good enough.
    pub accept_partial: bool,
    /// It only has to come first: what it made is no part of the result of the task that needs it.
    pub order_only: bool,
}

/// A secret that an attempt is given. Only ever a reference: no value is in a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretUse {
    pub key: Box<str>,
    pub source: SecretSource,
    pub delivery: Delivery,
}

/// Who knows the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A variable of the caller's environment.
    Env,
    /// A file of the policy's `secrets_directory`.
    File,
    /// The policy's `secrets_command`.
    Command,
}

impl SecretSource {
    pub const ALL: [Self; 3] = [Self::Env, Self::File, Self::Command];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Env => "env",
            Self::File => "file",
            Self::Command => "command",
        }
    }
}

/// How the attempt gets it; the name is that of a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// A private file, whose path the variable holds.
    File(Box<str>),
    /// The variable holds the value itself.
    Env(Box<str>),
}

impl Delivery {
    /// The variable that the attempt is given.
    #[must_use]
    pub fn variable(&self) -> &str {
        match self {
            Self::File(name) | Self::Env(name) => name,
        }
    }
}

/// As many processes as the kernel counts, and the largest bound on them that it takes.
pub const PIDS_MAX: u32 = 1 << 22;

/// Bounds of one attempt, held by the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Thousandths of a core.
    pub cpu_milli: Option<u32>,
    pub memory_bytes: Option<u64>,
    /// Processes and threads at once.
    pub pids: Option<u32>,
}

/// Files to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// A path or glob.
    pub path: Box<str>,
    /// `log`, `patch`, `test_result`, `report`, `checkpoint`, `receipt` or any other word.
    pub kind: Box<str>,
    pub mime_type: Option<Box<str>>,
    /// Missing is a task failure.
    pub required: bool,
}

/// Whether a path of the file has glob characters, so that it must be matched and not just looked up.
#[must_use]
pub fn is_glob(path: &str) -> bool {
    path.bytes().any(|b| matches!(b, b'*' | b'?' | b'[' | b'{' | b'\\')) || path.starts_with('!')
}
