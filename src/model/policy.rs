//! What bounds a run.

use std::path::PathBuf;
use std::time::Duration;

use globset::Glob;

use super::task::is_glob;
use super::{CacheRemote, Trust};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// After a failure, cancel what runs and start nothing more.
    pub fail_fast: bool,
    /// Attempts at once over all workers; `None` leaves it to the slots.
    pub max_parallel: Option<u32>,
    /// Time for the whole run.
    pub timeout: Option<Duration>,
    /// `None`: the file has no such table.
    pub security: Option<Box<Security>>,
}

/// What bounds trust. See `security` for what a level may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Security {
    /// Of workers that do not say.
    pub default_trust: Option<Trust>,
    /// No worker has more in this run.
    pub max_trust: Trust,
    /// A machine behind ssh must be known before anything runs.
    pub require_identity_verification: bool,
    /// Keys that tasks may ask for.
    pub allowed_secrets: Vec<Box<str>>,
    pub grants: Vec<Grant>,
    /// What may hold a sandboxed task, the best first.
    pub sandbox: Vec<SandboxLayer>,
    /// Where the source `file` looks; absolute.
    pub secrets_directory: Option<PathBuf>,
    /// The program of the source `command`; the key is added as its last word.
    pub secrets_command: Option<Box<[Box<str>]>>,
}

/// One thing more than a task's trust allows, for a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub capability: Capability,
    /// The tasks it is for, by name or by glob of names.
    pub scope: Box<str>,
    pub reason: Box<str>,
}

impl Security {
    /// What holds where the file has the table and nothing in it.
    #[must_use]
    pub fn plain() -> Self {
        Self {
            default_trust: None,
            max_trust: Trust::Operator,
            require_identity_verification: false,
            allowed_secrets: Vec::new(),
            grants: Vec::new(),
            sandbox: SandboxLayer::ALL.to_vec(),
            secrets_directory: None,
            secrets_command: None,
        }
    }
}

impl Grant {
    /// Whether it is for a task, by the task's name and its base: the scope is the name of one, the name of a matrix for
    /// all its instances, or a glob of names.
    pub fn covers(&self) -> impl Fn(&str, &str) -> bool + use<'_> {
        let glob = is_glob(&self.scope).then(|| Glob::new(&self.scope).ok()).flatten();
        let glob = glob.map(|glob| glob.compile_matcher());
        move |name, base| {
            *name == *self.scope
                || *base == *self.scope
                || glob.as_ref().is_some_and(|glob| glob.is_match(name) || glob.is_match(base))
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Sockets of all kinds.
    Network,
    /// Writes to what the glob names; absolute, or relative to the workspace.
    Write(Box<str>),
    /// The secrets it declares, also below the trust that may have them.
    Secrets,
    /// What a release needs: network and secrets.
    Release,
}

impl std::fmt::Display for Capability {
    /// As the fleet file has it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Network => f.write_str("network"),
            Self::Write(glob) => write!(f, "write:{glob}"),
            Self::Secrets => f.write_str("secrets"),
            Self::Release => f.write_str("release"),
        }
    }
}

/// A mechanism that can hold a sandboxed task on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SandboxLayer {
    /// Namespaces by `bwrap`, with Landlock and seccomp inside where they work.
    Bubblewrap,
    /// Landlock for files, seccomp for sockets.
    Landlock,
}

impl SandboxLayer {
    pub const ALL: [Self; 2] = [Self::Bubblewrap, Self::Landlock];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bubblewrap => "bubblewrap",
            Self::Landlock => "landlock",
        }
    }
}

/// What is kept of past runs, and who shares it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CachePolicy {
    /// Bytes that the content store may hold.
    pub max_size: Option<u64>,
    /// How long a run and what it made is kept.
    pub max_age: Option<Duration>,
    /// The cache that is shared with others over HTTP.
    pub remote: Option<CacheRemote>,
}

/// A named pool that tasks take from while they run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    pub name: Box<str>,
    pub size: u32,
}
