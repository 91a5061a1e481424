//! The words that a field of the fleet file may say, where it may say only some. The doc comments are the schema's
//! descriptions.

use schemars::JsonSchema;
use serde::Deserialize;

/// The kind of a worker's host as a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename = "HostWord", rename_all = "snake_case")]
pub enum HostWord {
    /// This machine.
    Local,
}

/// A mechanism that can hold a sandboxed task on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename = "SandboxLayer", rename_all = "snake_case")]
pub enum SandboxWord {
    /// Namespaces by `bwrap`, with Landlock and seccomp inside where they work.
    Bubblewrap,
    /// Landlock for files, seccomp for sockets.
    Landlock,
}

/// How far a worker is trusted, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename = "Trust", rename_all = "snake_case")]
pub enum TrustRaw {
    Sandbox,
    Local,
    RemoteVerified,
    Operator,
}

/// Which shell reads a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename = "Shell", rename_all = "snake_case")]
pub enum ShellRaw {
    /// `sh -eu`
    Sh,
    /// `bash -eu -o pipefail`
    Bash,
}

/// What result of a need is good enough besides a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename = "Accept", rename_all = "snake_case")]
pub enum Accept {
    Partial,
}

/// What is followed by another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename = "RetryOn", rename_all = "snake_case")]
pub enum RetryWord {
    /// It could not be started, or nobody can say how it ended.
    Transport,
    /// It failed.
    Task,
    /// Its own time was up.
    Timeout,
}

impl RetryWord {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Transport => "transport",
            Self::Task => "task",
            Self::Timeout => "timeout",
        }
    }
}

/// What is done after a crash that left it unknown whether a task ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename = "OnUnknown", rename_all = "snake_case")]
pub enum OnUnknownRaw {
    /// It is attempted again.
    Retry,
    /// It waits for a person.
    Hold,
}

/// Who knows the value of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename = "SecretSource", rename_all = "snake_case")]
pub enum SecretSourceRaw {
    /// A variable of the caller's environment, with the key as its name.
    Env,
    /// A file of the policy's `secrets_directory`, with the key as its name.
    File,
    /// The policy's `secrets_command`, with the key as its last word.
    Command,
}

/// What is done with a shared cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename = "RemoteMode", rename_all = "kebab-case")]
pub enum RemoteMode {
    /// Results are taken and uploaded.
    ReadWrite,
    /// Results are taken.
    ReadOnly,
}

/// An output of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename = "Stream", rename_all = "snake_case")]
pub enum StreamRaw {
    Stdout,
    Stderr,
}

/// Where a command's score comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename = "CommandScore", rename_all = "kebab-case")]
pub enum CommandScore {
    /// The program prints `{"value", "max", "notes"}`.
    StdoutJson,
}
