//! A host of some kind: how workers on it are declared, and what a caller of `fleet` needs to reach it.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use super::behaviour::{self, Kind, Sandbox};
use super::hosts::Missing;
use super::hosts::containers::{Containers, Engine};
use super::hosts::net::Machine;
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
        if let Some(layer) = layer(kind) {
            works(layer)?;
        }
        let host = match kind.host {
            behaviour::Host::Local => Host::Local,
            behaviour::Host::Ssh => Host::Ssh(Sshd::shared()?),
            behaviour::Host::Docker => Host::Container(Engine::Docker.shared()?),
            behaviour::Host::Podman => Host::Container(Engine::Podman.shared()?),
        };
        // No mark is the beginning of another's.
        let mark = format!("alike-{}-{}-", std::process::id(), kind.name().replace(' ', "_"));
        Ok(Self { kind, mark, host })
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
            let _ = write!(text, "[workers.{name}]\nhost = {host}\nslots = {slots}\n{}", self.trust());
        }
        text
    }

    /// A worker behind ssh whose files are on the small disk of a machine.
    pub(crate) fn small(&self) -> Result<(String, &'static Machine), Missing> {
        static SMALL: OnceLock<Result<Machine, Missing>> = OnceLock::new();
        let machine = SMALL.get_or_init(Machine::start).as_ref().map_err(Clone::clone)?;
        let host = machine.host_in(machine.fact("small_directory"));
        Ok((format!("[workers.small]\nhost = {host}\n{}", self.trust()), machine))
    }

    /// A worker on a host of this kind that is not there.
    pub(crate) fn nobody(&self) -> String {
        let host = match self.host {
            Host::Local => unreachable!("this machine is there"),
            // Nothing listens on the port of the discard service.
            Host::Ssh(sshd) => sshd.host("nobody").replace(&format!("port = {}", sshd.port()), "port = 9"),
            Host::Container(containers) => {
                containers.host().replace(containers.image(), &format!("sha256:{}", "0".repeat(64)))
            }
        };
        format!("[workers.nobody]\nhost = {host}\n{}", self.trust())
    }

    /// A worker whose key is not the one that its host has, the key that is expected, and the one that is offered.
    pub(crate) fn wrong_key(&self) -> Option<(String, String, String)> {
        let Host::Ssh(sshd) = self.host else { return None };
        let (own, other) = (sshd.fact("host_fingerprint"), sshd.fact("other_fingerprint"));
        let host = sshd.host("wrong").replace(own, other);
        Some((format!("[workers.wrong]\nhost = {host}\n{}", self.trust()), other.to_owned(), own.to_owned()))
    }

    /// What a host must be told whose tasks are to be held otherwise than by what it stands for.
    fn trust(&self) -> &'static str {
        match (self.kind.sandbox, self.host) {
            (None, Host::Local | Host::Ssh(_)) | (Some(_), Host::Container(_)) => "",
            (None, Host::Container(_)) => "trust = \"local\"\n",
            (Some(_), Host::Local | Host::Ssh(_)) => "trust = \"sandbox\"\n",
        }
    }

    /// What `[policies.security]` has to say so that tasks are held by this and by nothing else.
    pub(crate) fn security(&self) -> Option<String> {
        layer(self.kind).map(|layer| format!("sandbox = [\"{layer}\"]\n"))
    }

    /// Where the host keeps what was sent to it, as far as that can be looked into from here.
    pub(crate) fn kept(&self) -> Option<PathBuf> {
        match self.host {
            Host::Ssh(sshd) => Some(sshd.fact("working_directory").into()),
            // Theirs went with the containers.
            Host::Local | Host::Container(_) => None,
        }
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

/// Of the layers of the fleet file, the one that holds tasks here.
fn layer(kind: Kind) -> Option<&'static str> {
    match kind.sandbox? {
        Sandbox::Bubblewrap => Some("bubblewrap"),
        Sandbox::Landlock => Some("landlock"),
        Sandbox::Container => None,
    }
}

/// Whether a layer works on this machine, as `fleet doctor` finds it; a host that the tests make has the same kernel.
fn works(layer: &str) -> Result<(), Missing> {
    static TRIALS: OnceLock<serde_json::Value> = OnceLock::new();
    let doctor = TRIALS.get_or_init(|| {
        let doctor = Command::new(env!("CARGO_BIN_EXE_fleet")).args(["doctor", "--json"]).output();
        serde_json::from_slice(&doctor.expect("the program was built").stdout).expect("its answer is JSON")
    });
    for name in [layer, "seccomp"] {
        let trial = doctor["trials"].as_array().into_iter().flatten().find(|trial| trial["name"] == name);
        let trial = trial.ok_or_else(|| format!("`fleet doctor` does not try {name}"))?;
        if trial["works"] != true {
            let text = |key: &str| trial[key].as_str().unwrap_or_default();
            return Err(format!("{name} does not work ({}): {}", text("missing"), text("get")));
        }
    }
    Ok(())
}
