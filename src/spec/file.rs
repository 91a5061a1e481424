//! A fleet file as written: field names, shapes and nothing more. These types make the parser (serde, through `de`)
//! and the published schema (schemars), so the two cannot drift; the doc comments are the schema's descriptions.
//!
//! No places (they are on the tree), no defaults, no variables filled in: `resolve` does that. A field is `Option`
//! when it may be left out; rare ones are boxed, since a file may hold two hundred thousand tasks. A key that the
//! format has and this version does not honour stands in [`NOT_YET`] and nowhere else.

use std::num::{NonZeroU32, NonZeroU64};

use schemars::JsonSchema;
use serde::Deserialize;

pub use super::shape::{
    Cores, DurationText, Free, List, MatrixRaw, Multiplier, Name, Named, OneOrMany, RunRaw, Scalar, Share, SizeText,
    Table, Text, Weight,
};
use super::shape::{lenient, shapes};
pub use super::words::{
    Accept, CommandScore, HostWord, OnUnknownRaw, RemoteMode, RetryWord, SandboxWord, SecretSourceRaw, ShellRaw,
    StreamRaw, TrustRaw,
};

/// Keys of the format that this version refuses as not supported yet, by the table they belong to (the serde name of
/// its struct). Source: "What the fleet file supports" in the format's reference.
pub const NOT_YET: &[(&str, &[&str])] = &[
    ("Fleet", &["agents", "gates"]),
    (
        "Defaults",
        &[
            "tags",
            "budget",
            "secrets",
            "alerts",
            "worker",
            "scorers",
            "scratch",
            "required_files",
            "writable_paths",
            "uses",
            "allow_failure",
            "pass_score",
            "metadata",
            "inputs",
            "outputs",
            "artifacts",
            "needs",
            "stdin",
            "when",
            "matrix",
            "always",
            "on_failure",
        ],
    ),
    ("Task", &["agent", "instructions", "budget", "alerts"]),
    ("When", &["changed"]),
    ("Policies", &["budget", "alerts"]),
];

/// Kinds of the format that this version refuses as not supported yet, by the enum they belong to.
pub const KINDS_NOT_YET: &[(&str, &[&str])] = &[("Scorer", &["verifier_prompt", "manual", "diff_confined", "metric"])];

/// Kinds of hosts that need more than their word.
pub const HOST_KINDS: &[&str] = &["ssh", "docker", "podman", "container"];

/// The kind of failure that a task of any version may not retry, with the enum it would belong to.
pub const NEVER_RETRIED: (&str, &str) = ("RetryOn", "verifier");

/// A struct of the file: required fields are of their type, optional ones `Option`, read leniently (a mistake in one
/// is on record and does not hide the mistakes in the next).
macro_rules! written {
    ($(
        $(#[$meta:meta])*
        $name:ident = $word:literal {
            $(required { $($(#[$rmeta:meta])* $r:ident: $rt:ty,)* })?
            optional { $($(#[$fmeta:meta])* $f:ident: $t:ty,)* }
        }
    )*) => {$(
        #[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
        #[serde(rename = $word, deny_unknown_fields)]
        $(#[$meta])*
        pub struct $name {
            $($($(#[$rmeta])* pub $r: $rt,)*)?
            $($(#[$fmeta])* #[serde(default, deserialize_with = "lenient")] pub $f: Option<$t>,)*
        }
    )*};
}

/// A scorer's struct: its own fields and those every scorer has.
macro_rules! scorers {
    ($(
        $(#[$meta:meta])*
        $name:ident = $word:literal {
            $(required { $($(#[$rmeta:meta])* $r:ident: $rt:ty,)* })?
            optional { $($(#[$fmeta:meta])* $f:ident: $t:ty,)* }
        }
    )*) => {
        written! {$(
            $(#[$meta])*
            $name = $word {
                $(required { $($(#[$rmeta])* $r: $rt,)* })?
                optional {
                    $($(#[$fmeta])* $f: $t,)*
                    /// Name in reports and receipts; the key under `[scorers]` or the kind unless said.
                    name: Text,
                    /// Share in the weighted mean; 1 unless said.
                    weight: Weight,
                    /// Least share of the maximum that passes; 1 unless said.
                    at_least: Share,
                    /// Whether not passing fails the task (the default) or makes it partial.
                    required: bool,
                }
            }
        )*}
        $(impl $name {
            fn common(&self) -> ScorerCommon<'_> {
                ScorerCommon {
                    name: self.name.as_deref(),
                    weight: self.weight.as_ref().map(|w| w.0),
                    at_least: self.at_least.as_ref().map(|s| s.0),
                    required: self.required,
                }
            }
        })*
    };
}

mod places;
mod secrets;

pub use places::{
    ContainerRaw, GrantRaw, HostRaw, HostTable, LimitsRaw, LocalRaw, PoliciesRaw, SecurityRaw, SshRaw, WorkerRaw,
    WorkerRequestRaw,
};
pub use secrets::{SecretRaw, SecretTable};

written! {
    /// A fleet file: tasks, the workers that may run them, the scorers that judge them, the policies that bound them.
    FileRaw = "Fleet" {
        optional {
            /// The schema this file follows, for editors. Not read.
            #[serde(rename = "$schema")]
            schema: Text,
            /// Version of the format: 1.
            #[schemars(range(min = 1, max = 1))]
            version: u32,
            /// Name of the fleet, in reports and receipts. Required in the main file.
            name: Name,
            /// What this fleet is for.
            description: Text,
            /// Decides tie-breaks and jitter; greater than zero. Derived from the file unless said, and always recorded.
            seed: NonZeroU64,
            /// Globs of fleet files that are merged into this one. A name defined twice is an error.
            include: List<Text>,
            /// Free text, shown in reports and put in receipts.
            labels: Table<Text>,
            /// `${vars.NAME}` in any text becomes the value; `--set NAME=VALUE` overrides it.
            vars: Named<Scalar>,
            /// For every task that does not say otherwise.
            defaults: Box<DefaultsRaw>,
            /// Free; carried through to receipts.
            metadata: Free,
            /// Units of work, by name.
            tasks: Named<TaskRaw>,
            /// Places to run, by name. Without any there is one local worker, with a slot per core.
            workers: Named<WorkerRaw>,
            /// Rules that judge a task's result, by name.
            scorers: Named<ScorerRaw>,
            /// What bounds a run.
            policies: Box<PoliciesRaw>,
            /// What bounds what is kept of past runs, and who shares it.
            cache: Box<CacheRaw>,
        }
    }

    /// For every task that does not say otherwise.
    DefaultsRaw = "Defaults" {
        optional {
            /// Wall time of an attempt.
            timeout: DurationText,
            /// Time without output.
            idle_timeout: DurationText,
            /// Time a ready task may wait for its start.
            start_within: DurationText,
            /// When a failed attempt is followed by another.
            retry: Box<RetryRaw>,
            /// How many repetitions judge a task.
            repeat: RepeatRaw,
            /// What is done after a crash that left it unknown whether a task ran.
            on_unknown: OnUnknownRaw,
            /// Variables of the environment; a task's own are laid over them.
            env: Table<Scalar>,
            /// Names, or globs of names, let through from the caller's environment.
            pass_env: List<Text>,
            /// Variables the caller's environment must have.
            required_env: List<Text>,
            /// The shell of `sh` scripts.
            shell: ShellRaw,
            /// Folder the tasks start in.
            workdir: Text,
            /// Higher starts first.
            priority: i32,
            /// Programs that must be found on PATH.
            tools: List<Text>,
            /// Whether results may be reused.
            cache: bool,
            /// What an attempt may take of the machine; a task's own table is taken whole.
            limits: LimitsRaw,
        }
    }

    /// A unit of work: exactly one of `run` and `sh`, and what it needs, reads, makes and is bounded by.
    #[schemars(extend("oneOf" = [{ "required": ["run"] }, { "required": ["sh"] }]))]
    TaskRaw = "Task" {
        optional {
            /// What the task does, in a line.
            description: Box<Text>,
            /// A command without a shell: text that is split into words, or the words.
            run: Box<RunRaw>,
            /// A script for a shell: `sh -eu`, or `bash -eu -o pipefail` with `shell = "bash"`.
            sh: Box<Text>,
            /// Tasks that must pass before: names, `tag:<tag>`, or tables.
            needs: Box<List<NeedRaw>>,
            /// Globs of files the task reads; `!` excludes. A task with `inputs`, even `[]`, is reusable.
            inputs: Box<List<Text>>,
            /// Whether a result may be reused while everything it depends on is as it was; `true` unless said.
            cache: bool,
            /// Globs of files the task makes.
            outputs: Box<List<Text>>,
            /// Files to keep in the store and the receipt.
            artifacts: Box<List<ArtifactRaw>>,
            /// Variables of the environment, which is clean otherwise.
            env: Box<Table<Scalar>>,
            /// Names, or globs of names, let through from the caller's environment.
            pass_env: Box<List<Text>>,
            /// Folder the task starts in; the workspace unless said.
            workdir: Box<Text>,
            /// The shell of `sh`.
            shell: ShellRaw,
            /// A file of the workspace that becomes standard input; empty unless said.
            stdin: Box<Text>,
            /// Whether an attempt gets an empty private directory in `FLEET_ATTEMPT_DIR`.
            scratch: bool,
            /// Files that must be there before an attempt.
            required_files: Box<List<Text>>,
            /// Variables the caller's environment must have.
            required_env: Box<List<Text>>,
            /// Programs that must be found on PATH before an attempt.
            tools: Box<List<Text>>,
            /// Globs of where the task may write. Two unordered tasks that may write the same place are an error.
            writable_paths: Box<List<Text>>,
            /// Wall time of an attempt.
            timeout: Box<DurationText>,
            /// Time without output.
            idle_timeout: Box<DurationText>,
            /// Time the ready task may wait for its start.
            start_within: Box<DurationText>,
            /// When a failed attempt is followed by another; never unless said.
            retry: Box<RetryRaw>,
            /// How many repetitions judge the task, and how many of them have to pass.
            repeat: Box<RepeatRaw>,
            /// What is done after a crash that left it unknown whether the task ran; `"retry"` unless said.
            on_unknown: OnUnknownRaw,
            /// Higher starts first; 0 unless said.
            priority: i32,
            /// What it takes from the pools of `policies.limits` while it runs.
            uses: Box<Named<NonZeroU32>>,
            /// Words to select and need tasks by.
            tags: Box<List<Text>>,
            /// When the task is wanted; all that is said must hold. An unwanted task counts as satisfied.
            when: Box<WhenRaw>,
            /// One instance of the task for each combination of the axes' values.
            matrix: Box<MatrixRaw>,
            /// A failure does not fail the run.
            allow_failure: bool,
            /// Runs whatever happened before it.
            always: bool,
            /// Tasks that run once after this one's final failure.
            on_failure: Box<List<Text>>,
            /// What an attempt may know, by reference: keys, or tables.
            secrets: Box<List<SecretRaw>>,
            /// What it asks of a worker.
            worker: Box<WorkerRequestRaw>,
            /// What an attempt may take of the machine; as much as there is unless said.
            limits: Box<LimitsRaw>,
            /// What judges the result: names of `[scorers]`, or scorers. `exit_code` unless said.
            scorers: Box<List<ScorerRef>>,
            /// Least weighted mean of the scores for a pass.
            pass_score: Box<Share>,
            /// Free; carried through to receipts.
            metadata: Box<Free>,
        }
    }

    /// A need with conditions.
    NeedTable = "Need" {
        required {
            /// A task, or `tag:<tag>`.
            task: Text,
        }
        optional {
            /// What result is good enough besides a pass.
            accept: Accept,
            /// It only has to come first: what it makes does not decide whether this task has to run again.
            order_only: bool,
        }
    }

    /// Files to keep.
    ArtifactRaw = "Artifact" {
        required {
            /// A path or glob.
            path: Text,
        }
        optional {
            /// `log`, `patch`, `test_result`, `report`, `checkpoint`, `receipt` or any other word.
            kind: Text,
            /// The media type.
            mime_type: Text,
            /// Whether it is a task failure when it is missing, which it is unless said.
            required: bool,
        }
    }

    /// When a failed attempt is followed by another. The n-th wait is `initial_backoff` times `multiplier` to the power of
    /// n - 1, at most `max_backoff`, times a jitter from 0.5 to 1.
    RetryRaw = "Retry" {
        optional {
            /// All attempts together; 3 unless said.
            #[schemars(range(min = 1, max = 1000))]
            max_attempts: NonZeroU32,
            /// The wait before the second attempt; 5s unless said.
            initial_backoff: DurationText,
            /// The longest wait; 5m unless said.
            max_backoff: DurationText,
            /// What each wait is longer by than the one before; 2 unless said.
            multiplier: Multiplier,
            /// What is retried; `["transport", "task"]` unless said.
            #[schemars(length(min = 1))]
            on: List<RetryWord>,
        }
    }

    /// A verdict of verdicts: the task is repeated until it is decided whether enough repetitions pass.
    RepeatRaw = "Repeat" {
        required {
            /// Most repetitions.
            #[schemars(range(min = 1, max = 1000))]
            runs: NonZeroU32,
        }
        optional {
            /// How many have to pass; all unless said.
            quorum: NonZeroU32,
        }
    }

    /// When a task is wanted; all that is said must hold.
    WhenRaw = "When" {
        optional {
            /// Operating systems: `linux`, `macos`.
            os: OneOrMany,
            /// Processor architectures: `x86_64`, `aarch64`.
            arch: OneOrMany,
            /// Variables of the caller's environment: a name that must be set, or a table of names to values.
            env: WhenEnv,
            /// Branches of the workspace's repository; globs.
            branch: OneOrMany,
            /// Paths of which one must exist; globs.
            exists: OneOrMany,
        }
    }

    /// What bounds what is kept of past runs, and who shares it.
    CacheRaw = "Cache" {
        optional {
            /// What the content store may hold; `fleet gc` goes by it.
            max_size: SizeText,
            /// How long a run and what it made is kept; 30d unless said. `fleet gc` goes by it.
            max_age: DurationText,
            /// A cache that is shared over HTTP: its URL, or a table.
            remote: RemoteRaw,
            /// Whether results of the shared cache are used, and not only uploaded; `false` unless said, because nothing
            /// proves yet who made them.
            trust_remote: bool,
        }
    }

    /// A cache that is shared over HTTP.
    RemoteTable = "Remote" {
        required {
            /// Where it is: `https://…`, above its folders `ac` and `cas`.
            url: Text,
        }
        optional {
            /// Whether results are uploaded too; `"read-write"` unless said.
            mode: RemoteMode,
            /// The variable of the caller's environment that holds the bearer token.
            token_ref: Text,
        }
    }
}

impl Default for TaskRaw {
    fn default() -> Self {
        serde::Deserialize::deserialize(serde::de::value::MapDeserializer::<_, serde::de::value::Error>::new(
            std::iter::empty::<(&str, &str)>(),
        ))
        .expect("every field of a task is optional")
    }
}

scorers! {
    /// Passes when the exit code is expected.
    ExitCodeRaw = "ExitCode" {
        optional {
            /// Codes that pass; `[0]` unless said.
            expect: List<i32>,
        }
    }
    /// Passes when a path is a regular file.
    FileExistsRaw = "FileExists" {
        required {
            /// The path.
            path: Text,
        }
        optional {
            /// Least size in bytes.
            min_bytes: u64,
        }
    }
    /// Passes when a pattern matches, unanchored: in exactly one of `path` and `stream`.
    #[schemars(extend("oneOf" = [{ "required": ["path"] }, { "required": ["stream"] }]))]
    RegexMatchRaw = "RegexMatch" {
        required {
            /// The pattern, in the syntax of Rust's `regex`.
            pattern: Text,
        }
        optional {
            /// A file to look in.
            path: Text,
            /// An output of the task to look in.
            stream: StreamRaw,
            /// Most bytes to look at; 16 MiB unless said.
            max_bytes: SizeText,
        }
    }
    /// Passes when the program exits 0.
    CommandRaw = "Command" {
        required {
            /// A command without a shell: text that is split into words, or the words.
            run: RunRaw,
        }
        optional {
            /// Where the score comes from when the exit code is not all.
            score: CommandScore,
            /// Time it may take.
            timeout: DurationText,
        }
    }
    /// Passes when a `JUnit` report has enough tests and no failure.
    JunitRaw = "Junit" {
        required {
            /// A path or glob.
            path: Text,
        }
        optional {
            /// Least number of tests; 1 unless said.
            min_tests: u64,
            /// Most bytes to read; 16 MiB unless said.
            max_bytes: SizeText,
        }
    }
    /// Passes when all of its scorers pass.
    AllRaw = "All" {
        required {
            /// Names of `[scorers]`, or scorers.
            of: List<ScorerRef>,
        }
        optional {}
    }
    /// Passes when any of its scorers passes.
    AnyRaw = "Any" {
        required {
            /// Names of `[scorers]`, or scorers.
            of: List<ScorerRef>,
        }
        optional {}
    }
    /// Passes when enough of its scorers pass.
    QuorumRaw = "Quorum" {
        required {
            /// Names of `[scorers]`, or scorers.
            of: List<ScorerRef>,
            /// How many must pass.
            least: NonZeroU32,
        }
        optional {}
    }
}

written! {
    /// Passes when a query finds a value that satisfies what is said, or, with nothing said, is neither null nor false.
    JsonPathRaw = "JsonPath" {
        required {
            /// A JSON file.
            path: Text,
            /// An RFC 9535 query, or the old dotted form `.a.b`.
            query: Text,
        }
        optional {
            /// The value must be this.
            equals: serde_json::Value,
            /// The value must be a number, at least this.
            at_least: f64,
            /// The value must be a number, at most this.
            at_most: f64,
            /// The value must be text that this pattern matches.
            matches: Text,
            /// Most bytes to read; 16 MiB unless said.
            max_bytes: SizeText,
            /// Name in reports and receipts; the key under `[scorers]` or the kind unless said.
            name: Text,
            /// Share in the weighted mean; 1 unless said.
            weight: Weight,
            /// Whether not passing fails the task (the default) or makes it partial.
            required: bool,
        }
    }
}

/// A rule that judges an attempt.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename = "Scorer", rename_all = "snake_case")]
#[schemars(tag = "kind")]
pub enum ScorerRaw {
    ExitCode(Box<ExitCodeRaw>),
    FileExists(Box<FileExistsRaw>),
    RegexMatch(Box<RegexMatchRaw>),
    JsonPath(Box<JsonPathRaw>),
    Command(Box<CommandRaw>),
    Junit(Box<JunitRaw>),
    All(Box<AllRaw>),
    Any(Box<AnyRaw>),
    Quorum(Box<QuorumRaw>),
}

/// What every scorer may say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScorerCommon<'s> {
    pub name: Option<&'s str>,
    pub weight: Option<f64>,
    /// Always `None` for `json_path`, where the key bounds the value.
    pub at_least: Option<f64>,
    pub required: Option<bool>,
}

impl ScorerRaw {
    #[must_use]
    pub fn common(&self) -> ScorerCommon<'_> {
        match self {
            Self::ExitCode(scorer) => scorer.common(),
            Self::FileExists(scorer) => scorer.common(),
            Self::RegexMatch(scorer) => scorer.common(),
            Self::Command(scorer) => scorer.common(),
            Self::Junit(scorer) => scorer.common(),
            Self::All(scorer) => scorer.common(),
            Self::Any(scorer) => scorer.common(),
            Self::Quorum(scorer) => scorer.common(),
            Self::JsonPath(scorer) => ScorerCommon {
                name: scorer.name.as_deref(),
                weight: scorer.weight.as_ref().map(|w| w.0),
                at_least: None,
                required: scorer.required,
            },
        }
    }
}

shapes! {
    /// A task that must pass before.
    NeedRaw = "need" {
        /// A task, or `tag:<tag>`.
        Name(Text) = "text",
        Table(Box<NeedTable>) = "table",
    }
    /// A scorer by name or in place.
    ScorerRef = "scorer" {
        Name(Text) = "text",
        Inline(Box<ScorerRaw>) = "table",
    }
    /// A shared cache: where it is, and how to use it.
    RemoteRaw = "shared cache" {
        /// Where it is: `https://…`.
        Url(Text) = "text",
        Table(Box<RemoteTable>) = "table",
    }
    /// A variable that must be set, or what several must be.
    WhenEnv = "environment" {
        Set(Text) = "text",
        Table(Table<WhenValue>) = "table",
    }
    /// The value a variable must have, or whether it must be set.
    WhenValue = "environment value" {
        Is(Text) = "text",
        Set(bool) = "boolean",
    }
}
