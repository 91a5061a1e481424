//! A machine behind ssh, on loopback.

use std::ffi::OsStr;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::sync::OnceLock;

use super::keeper::Keeper;
use super::{Missing, programs};

/// Another program may take a port between our looking and sshd's listening.
const TRIES: usize = 5;

/// An sshd with keys of its own.
#[derive(Debug)]
pub(crate) struct Sshd {
    keeper: Keeper,
    port: u16,
}

impl Sshd {
    /// The one of this process.
    pub(crate) fn shared() -> Result<&'static Self, Missing> {
        static SHARED: OnceLock<Result<Sshd, Missing>> = OnceLock::new();
        SHARED.get_or_init(|| Self::start("")).as_ref().map_err(Clone::clone)
    }

    /// One more, whose sessions have these variables: `NAME=value`, separated by spaces.
    pub(crate) fn start(variables: &str) -> Result<Self, Missing> {
        programs(&[("sshd", "openssh-server"), ("ssh", "openssh-client"), ("ssh-keyscan", "openssh-client")])?;
        let mut why = String::new();
        for _ in 0..TRIES {
            let port = free_port();
            match Keeper::start("ssh.sh", &[OsStr::new(&port.to_string()), OsStr::new(variables)]) {
                Ok(keeper) => return Ok(Self { keeper, port }),
                Err(error) if error.contains("cannot log in") => return Err(error),
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// `user`, `identity`, `known_hosts`, `known_hosts_wrong`, `known_hosts_authority`, `host_fingerprint`, `other_fingerprint`,
    /// `working_directory`, `log`.
    pub(crate) fn fact(&self, name: &str) -> &str {
        self.keeper.fact(name)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.fact("log")).unwrap_or_default()
    }

    /// As a worker's `host`, its key pinned, its files under a folder of that name.
    pub(crate) fn host(&self, folder: &str) -> String {
        let (user, identity) = (self.fact("user"), self.fact("identity"));
        let (fingerprint, work) = (self.fact("host_fingerprint"), self.fact("working_directory"));
        format!(
            r#"{{ kind = "ssh", host = "127.0.0.1", port = {}, user = "{user}", identity = "{identity}", host_key_fingerprint = "{fingerprint}", working_directory = "{work}/{folder}" }}"#,
            self.port
        )
    }

    /// Plain `ssh` to it, without any configuration of whoever runs the tests.
    pub(crate) fn ssh(&self, command: &str) -> Command {
        plain_ssh("127.0.0.1", self.port, &self.keeper, command)
    }
}

pub(super) fn plain_ssh(address: &str, port: u16, keeper: &Keeper, command: &str) -> Command {
    let mut ssh = Command::new("ssh");
    ssh.args([
        "-F",
        "/dev/null",
        "-o",
        "BatchMode=yes",
        "-o",
        "ConnectTimeout=5",
        "-o",
        "GlobalKnownHostsFile=/dev/null",
    ]);
    ssh.arg("-o").arg(format!("UserKnownHostsFile={}", keeper.fact("known_hosts")));
    ssh.args(["-i", keeper.fact("identity"), "-p", &port.to_string(), "-l", keeper.fact("user"), address, command]);
    ssh
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    listener.local_addr().expect("it is bound").port()
}
