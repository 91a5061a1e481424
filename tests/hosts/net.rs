//! Machines with a network, processes and a disk of their own, so that they can be lost.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::keeper::Keeper;
use super::processes::{self, Process};
use super::{Missing, programs, root_for, ssh};

/// One machine behind a cable, with an sshd.
#[derive(Debug)]
pub(crate) struct Machine(Keeper);

impl Machine {
    pub(crate) fn start() -> Result<Self, Missing> {
        programs(&[("sshd", "openssh-server"), ("ssh", "openssh-client"), ("ip", "iproute2")])?;
        root_for("machines with a network of their own")?;
        Keeper::start("net.sh", &[]).map(Self)
    }

    /// The network takes everything that is sent, and nothing arrives; nobody is told.
    pub(crate) fn cut(&self) {
        self.0.order("cut");
    }

    pub(crate) fn heal(&self) {
        self.0.order("heal");
    }

    /// 25 MB a second go each way, so that what takes a moment takes longer.
    pub(crate) fn slow(&self) {
        self.0.order("slow");
    }

    pub(crate) fn fast(&self) {
        self.0.order("fast");
    }

    /// 4 MiB are free on its small disk from now on.
    pub(crate) fn tight(&self) {
        self.0.order("tight");
    }

    /// No power: it falls silent, and all its processes are gone.
    pub(crate) fn power_off(&self) {
        self.0.order("off");
    }

    /// With the disk as it was.
    pub(crate) fn power_on(&self) {
        self.0.order("on");
    }

    /// Ends every sshd of it, those of connections too, and nothing else.
    pub(crate) fn kill_sshd(&self) {
        for process in self.processes().iter().filter(|process| process.name.starts_with("sshd")) {
            process.kill();
        }
    }

    /// Everything that lives there.
    pub(crate) fn processes(&self) -> Vec<Process> {
        processes::in_network_of(self.holder())
    }

    /// What lives there with this among its arguments.
    pub(crate) fn with_argument(&self, marker: &str) -> Vec<Process> {
        self.processes().into_iter().filter(|process| process.has_argument(marker)).collect()
    }

    /// A path of its disk as we see it.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        Path::new("/proc").join(self.holder().to_string()).join("root").join(path.trim_start_matches('/'))
    }

    /// Who keeps its namespaces, and is none of its processes.
    fn holder(&self) -> u32 {
        self.fact("holder").parse().expect("a number")
    }

    /// `address`, `user`, `identity`, `known_hosts`, `host_fingerprint`, `working_directory`, `small_directory` (see [`Machine::tight`]),
    /// `log`.
    pub(crate) fn fact(&self, name: &str) -> &str {
        self.0.fact(name)
    }

    /// As a worker's `host`, its key pinned.
    pub(crate) fn host(&self) -> String {
        self.host_in(self.fact("working_directory"))
    }

    /// The same, with its files somewhere else.
    pub(crate) fn host_in(&self, folder: &str) -> String {
        let (address, user, identity) = (self.fact("address"), self.fact("user"), self.fact("identity"));
        let fingerprint = self.fact("host_fingerprint");
        format!(
            r#"{{ kind = "ssh", host = "{address}", user = "{user}", identity = "{identity}", host_key_fingerprint = "{fingerprint}", working_directory = "{folder}" }}"#
        )
    }

    /// Plain `ssh` to it.
    pub(crate) fn ssh(&self, command: &str) -> Command {
        ssh::plain_ssh(self.fact("address"), 22, &self.0, command)
    }
}
