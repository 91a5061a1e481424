//! Where tasks may run, and what a task asks of the place.

use std::collections::BTreeMap;
use std::fmt;

use super::Metadata;

#[derive(Clone, Debug)]
pub struct Worker {
    pub name: String,
    pub host: Host,
    /// How many attempts it carries at once; at least 1.
    pub slots: u32,
    pub labels: BTreeMap<String, String>,
    pub capabilities: Vec<String>,
    pub trust: Trust,
    pub metadata: Metadata,
}

/// The kind of place. More kinds arrive with the code that reaches them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    Local,
}

impl Host {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
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
}
