//! Where tasks may run, and what a task asks of the place.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::Metadata;

/// How long a worker may be silent before it counts as lost, unless it says.
pub const LEASE: Duration = Duration::from_secs(30);
/// How long a worker that is lost is tried again, unless it says.
pub const RECONNECT: Duration = Duration::from_mins(1);
/// What a worker's cache of inputs may hold, unless it says.
pub const CACHE_BYTES: u64 = 10 << 30;
/// What the directory of an attempt there may take, unless it says.
pub const ATTEMPT_BYTES: u64 = 20 << 30;

#[derive(Clone, Debug)]
pub struct Worker {
    pub name: String,
    pub host: Host,
    /// How many attempts it carries at once; at least 1.
    pub slots: u32,
    pub labels: BTreeMap<String, String>,
    pub capabilities: Vec<String>,
    /// What it is for, in the words of the file.
    pub roles: Vec<String>,
    /// Programs that it is said to have.
    pub tools: Vec<String>,
    /// What it has in this run: the lower of its own and the policy's `max_trust`.
    pub trust: Trust,
    /// What the file says, or else the policy or its host.
    pub own_trust: Trust,
    /// How long it may be silent before it is lost. Means nothing for a local one.
    pub lease: Duration,
    /// For how long it is tried again when it is lost; zero for not at all. Means nothing for a local one.
    pub reconnect: Duration,
    /// Bytes that inputs may take there between runs. Means nothing where nothing is staged.
    pub cache_bytes: u64,
    /// Bytes that the directory of an attempt may take there: its copy, scratch and private folder. Means nothing where
    /// nothing is staged.
    pub attempt_bytes: u64,
    pub metadata: Metadata,
}

impl Worker {
    /// Whether an attempt there works on a copy of what it declared, and what it made is brought back: everywhere but in
    /// the workspace itself.
    #[must_use]
    pub fn stages(&self) -> bool {
        self.trust == Trust::Sandbox || self.host != Host::Local
    }

    /// A local worker as nobody declared it.
    #[must_use]
    pub fn local(name: &str, slots: u32) -> Self {
        Self {
            name: name.to_owned(),
            host: Host::Local,
            slots,
            labels: BTreeMap::new(),
            capabilities: Vec::new(),
            roles: Vec::new(),
            tools: Vec::new(),
            trust: Trust::Local,
            own_trust: Trust::Local,
            lease: LEASE,
            reconnect: RECONNECT,
            cache_bytes: CACHE_BYTES,
            attempt_bytes: ATTEMPT_BYTES,
            metadata: Metadata::new(),
        }
    }
}

/// The kind of place, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// This machine.
    Local,
    /// A machine that the user's own `ssh` reaches.
    Ssh(Box<Ssh>),
    /// A container of an engine that is driven by its command line.
    Container(Box<Container>),
}

impl Host {
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Ssh(_) => "ssh",
            Self::Container(container) => container.engine.name(),
        }
    }

    /// The trust of what lives there, unless the file says. The key of a machine behind ssh is always verified.
    #[must_use]
    pub fn default_trust(&self) -> Trust {
        match self {
            Self::Local => Trust::Local,
            Self::Ssh(_) => Trust::RemoteVerified,
            Self::Container(_) => Trust::Sandbox,
        }
    }
}

/// What `ssh` is told beside the user's own configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ssh {
    /// A name of the configuration or of the network; never begins with `-`.
    pub host: String,
    /// Never begins with `-`.
    pub user: Option<String>,
    pub port: Option<u16>,
    /// A file with a private key, absolute.
    pub identity: Option<PathBuf>,
    /// The only file of host keys that counts, absolute.
    pub known_hosts: Option<PathBuf>,
    /// `SHA256:` and 43 characters of base64: the only host key that counts.
    pub host_key_fingerprint: Option<String>,
    /// Absolute path on the host under which everything of ours is kept; `~/.cache/fleet` there unless said.
    pub working_directory: Option<String>,
}

/// A container to run in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    pub engine: ContainerEngine,
    /// `name@sha256:…`, the `sha256:…` id of a local image, or a tag, which is only for the trust `sandbox`.
    pub image: String,
    /// More words for `create`, which were held against what the worker's trust allows.
    pub args: Vec<String>,
}

impl Container {
    /// Whether the image can be no other tomorrow.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        let digest = self.image.rsplit_once('@').map_or(&*self.image, |(_, digest)| digest);
        digest
            .strip_prefix("sha256:")
            .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerEngine {
    Docker,
    Podman,
}

impl ContainerEngine {
    /// The kind in the file, and the program.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }
}

/// How far a worker is trusted, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trust {
    Sandbox,
    Local,
    RemoteVerified,
    Operator,
}

impl Trust {
    pub const ALL: [Self; 4] = [Self::Sandbox, Self::Local, Self::RemoteVerified, Self::Operator];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Local => "local",
            Self::RemoteVerified => "remote_verified",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a task asks of a worker; every part must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerRequest {
    /// That worker and no other.
    pub id: Option<Box<str>>,
    pub labels: BTreeMap<String, String>,
    pub capabilities: Vec<String>,
    /// At least this much trust.
    pub trust: Option<Trust>,
    pub role: Option<Box<str>>,
    /// Programs it must be said to have.
    pub tools: Vec<String>,
}
