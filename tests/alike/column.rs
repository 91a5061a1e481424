//! A host of some kind: how workers on it are declared, and what a caller of `fleet` needs to reach it.

use std::ffi::OsString;
use std::fmt::Write as _;

use super::behaviour::Kind;
use super::hosts::Missing;
use super::hosts::containers::{Containers, Engine};
use super::hosts::ssh::Sshd;

#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) kind: Kind,
    /// What processes of this column have among their arguments.
    pub(crate) mark: String,
    host: Host,
}

#[derive(Clone, Copy, Debug)]
enum Host {
    Local,
    Ssh(&'static Sshd),
    Container(&'static Containers),
}

impl Column {
    pub(crate) fn of(kind: Kind) -> Result<Self, Missing> {
        let host = match kind {
            Kind::Local => Host::Local,
            Kind::Ssh => Host::Ssh(Sshd::shared()?),
            Kind::Docker => Host::Container(Engine::Docker.shared()?),
            Kind::Podman => Host::Container(Engine::Podman.shared()?),
        };
        Ok(Self { kind, mark: format!("alike-{}-{}", std::process::id(), kind.name()), host })
    }

    /// Two workers, `one` and `two`, each with a place of its own on the same host.
    pub(crate) fn workers(&self) -> String {
        let mut text = String::new();
        for (name, slots) in [("one", 4), ("two", 3)] {
            let host = match self.host {
                Host::Local => r#""local""#.to_owned(),
                Host::Ssh(sshd) => sshd.host(name),
                Host::Container(containers) => containers.host(),
            };
            let trust = if matches!(self.host, Host::Container(_)) { "trust = \"local\"\n" } else { "" };
            let _ = write!(text, "[workers.{name}]\nhost = {host}\nslots = {slots}\n{trust}");
        }
        text
    }

    /// Beside what every caller has.
    pub(crate) fn variables(&self) -> Vec<(&'static str, OsString)> {
        let path = std::env::var_os("PATH").expect("tests have a PATH");
        match self.host {
            Host::Local | Host::Ssh(_) => Vec::new(),
            Host::Container(containers) => containers.variables(&path),
        }
    }
}
