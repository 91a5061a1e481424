//! A machine behind ssh: through the user's own `ssh`, so that their configuration, jump hosts, agents and keys keep
//! working. One connection a worker; everything else goes over it as frames. `script` has what the other side's shell is
//! given.
//!
//! Host keys are never asked about. `ssh` asks us instead, by `KnownHostsCommand`, before anything else is said: see
//! [`super::host_key`].

mod script;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::bundle::{Bundle, Mapped};
use super::client::{Bond, Client, Failure};
use super::connect::{CONNECT_MAX, Connected, Said, Site, Unreachable, Until, failed};
use super::host_key::{HostKey, Judged, quoted};
use super::known_hosts::Settings;
use crate::model::Ssh;
use script::{BOOT, BOOT_MARK, KEEP, KEEP_MARK, PUT, marked};

/// An address has 108 bytes, of which `ssh` takes some for a name of its own while it makes the socket.
const SOCKET_FOLDER_BYTES_MAX: usize = 60;
/// How long the sending of the supervisor may take.
const SEND_MAX: Duration = Duration::from_mins(10);
/// Its last words may still be on their way to us for so long.
const WORDS_MAX: Duration = Duration::from_millis(50);

/// What `ssh` says when the host wants none of the user's keys.
const DENIED: &str = "Permission denied (";

/// Reaches the host and leaves a supervisor that waits for its greeting. A host with several keys shows the one that `ssh`
/// likes best first; a pinned key of another kind is asked for by its kind.
///
/// # Errors
/// See [`Unreachable`].
pub fn connect(ssh: &Ssh, site: &Site) -> Result<Connected, Unreachable> {
    if let (Some(file), None) = (&ssh.known_hosts, &ssh.host_key_fingerprint)
        && !file.exists()
    {
        let why = format_args!("ssh to {}: its known_hosts `{}` does not exist", ssh.host, file.display());
        return Err(Unreachable::new(why).for_good());
    }
    let private =
        private_folder().map_err(|error| Unreachable::new(format_args!("no private folder for ssh: {error}")))?;
    let bundle = Bundle::of_this_program()
        .map_err(|error| Unreachable::new(format_args!("this program cannot be sent: {error}")))?;
    let settings = Settings::of(ssh, &site.clients);
    let mut key = HostKey::new(ssh, &site.exe, private.path(), settings.host_key_algorithms);
    loop {
        let way = Way { ssh, site, key: &key, ciphers: settings.ciphers.as_deref(), folder: private.path() };
        let error = match way.reach(&bundle) {
            Ok(connected) => return Ok(connected),
            Err(error) => error,
        };
        match key.judge(&error.why) {
            Judged::Other => return Err(error),
            Judged::TryAnother => {}
            Judged::Refused(why) => {
                return Err(Unreachable::new(format_args!("ssh to {}: {why}", ssh.host)).for_good());
            }
        }
    }
}

/// A folder for the socket of the connection, whose path must fit an address: a `TMPDIR` may be too long for that.
fn private_folder() -> io::Result<TempDir> {
    let temp = std::env::temp_dir();
    let temp = if temp.as_os_str().len() > SOCKET_FOLDER_BYTES_MAX { PathBuf::from("/tmp") } else { temp };
    tempfile::Builder::new().prefix("fleet-ssh-").tempdir_in(temp)
}

/// What the script said.
#[derive(Debug, PartialEq, Eq)]
struct Boot {
    is: String,
    os: String,
    arch: String,
    root: String,
}

impl Boot {
    fn of(said: &str) -> Option<Self> {
        let mut words = said.splitn(4, ' ').map(str::to_owned);
        Some(Self { is: words.next()?, os: words.next()?, arch: words.next()?, root: words.next()? })
    }
}

/// How to get to the host, any number of times over one connection.
struct Way<'a> {
    ssh: &'a Ssh,
    site: &'a Site,
    key: &'a HostKey<'a>,
    /// For `-o`, where the user has no wish of their own.
    ciphers: Option<&'a str>,
    /// Holds the socket of the shared connection; nobody else's.
    folder: &'a Path,
}

/// A script that runs there, and what its login said before it did.
struct Channel {
    client: Client,
    heard: Said,
}

impl Way<'_> {
    fn reach(&self, bundle: &Bundle) -> Result<Connected, Unreachable> {
        let mut first = self.start(BOOT, true)?;
        let folder = self.ssh.working_directory.as_deref().unwrap_or("");
        let room = if self.site.makes_room { "room" } else { "" };
        let told = first.tell(&format!("{folder}\n{}\n{room}\n", bundle.name));
        let boot = told.and_then(|()| first.marked(BOOT_MARK)).map_err(|error| self.why(&first, &error))?;
        let boot = Boot::of(&boot).ok_or_else(|| self.unusable(format_args!("its shell does not do as it is told")))?;
        let sent = self.settle(&boot, bundle)?;
        if sent.is_some() {
            first.tell("go\n").map_err(|error| self.unusable(format_args!("it went away: {error}")))?;
        }
        let (pipes, said) = first.client.into_pipes().map_err(Unreachable::new)?;
        Ok(Connected { pipes, said, root: boot.root, container: None, sent })
    }

    /// A connection, or a channel of the one there is.
    fn command(&self, script: &str, first: bool) -> Command {
        let mut command = Command::new("ssh");
        let socket = self.folder.join("s");
        for option in [
            "BatchMode=yes",
            "ConnectTimeout=15",
            "ServerAliveInterval=5",
            "ServerAliveCountMax=6",
            "EscapeChar=none",
            "RequestTTY=no",
            "RemoteCommand=none",
            "SessionType=default",
            "ClearAllForwardings=yes",
            "ForwardAgent=no",
            "ForwardX11=no",
            "PermitLocalCommand=no",
            "StdinNull=no",
            "ForkAfterAuthentication=no",
            "UpdateHostKeys=no",
            "ControlPersist=no",
            if first { "ControlMaster=yes" } else { "ControlMaster=no" },
        ] {
            command.args(["-o", option]);
        }
        command.arg("-o").arg(format!("ControlPath={}", quoted(&socket)));
        for option in self.key.options().into_iter().chain(self.ciphers.map(str::to_owned)) {
            command.arg("-o").arg(option);
        }
        if let Some(port) = self.ssh.port {
            command.args(["-p", &port.to_string()]);
        }
        if let Some(user) = &self.ssh.user {
            command.args(["-l", user]);
        }
        if let Some(identity) = &self.ssh.identity {
            command.arg("-i").arg(identity).args(["-o", "IdentitiesOnly=yes"]);
        }
        command.args(["--", &self.ssh.host, script]);
        command
    }

    fn start(&self, script: &str, first: bool) -> Result<Channel, Unreachable> {
        let client = Client::start(&self.site.clients, Bond::Session, self.command(script, first));
        let client = client.map_err(|failure| failed("ssh", "openssh-client", &failure))?;
        Ok(Channel { client, heard: Said::default() })
    }

    /// Sends the supervisor if it is not there.
    fn settle(&self, boot: &Boot, bundle: &Bundle) -> Result<Option<u64>, Unreachable> {
        let (is, os, arch) = (&*boot.is, &*boot.os, &*boot.arch);
        if is == "error" {
            return Err(self.unusable(format_args!("`{}` cannot be made there", boot.root)).for_good());
        }
        if os != "Linux" || arch != std::env::consts::ARCH {
            let ours = std::env::consts::ARCH;
            return Err(self.unusable(format_args!(
                "it is {os} on {arch}, and this fleet can only send itself to Linux on {ours}; run fleet on a machine of \
                 that kind"
            ))
            .for_good());
        }
        if is == "have" {
            return Ok(None);
        }
        let bin = format!("{}/bin", boot.root);
        // Several of us may send at once, also from several machines.
        let number = getrandom::u64().map_err(|error| self.unusable(format_args!("no random number: {error}")))?;
        let temp = format!("{bin}/.in-{}-{number:016x}", bundle.name);
        for (name, file) in &bundle.files {
            let put = self.put(&format!("{temp}/{name}"), file);
            put.map_err(|error| Unreachable { was_sending: true, ..error })?;
        }
        self.keep(&temp, &format!("{bin}/{}", bundle.name), bundle)?;
        Ok(Some(bundle.bytes()))
    }

    fn put(&self, to: &str, file: &Mapped) -> Result<(), Unreachable> {
        let mut channel = self.start(PUT, false)?;
        let sent = channel.tell(&format!("{to}\n{}\n", file.bytes())).and_then(|()| {
            let to = channel.client.to.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
            io::copy(&mut file.read()?, to)
        });
        match (channel.ended(SEND_MAX), sent) {
            (Ok(true), Ok(_)) => Ok(()),
            (Err(error), _) | (_, Err(error)) => Err(self.why(&channel, &error)),
            (Ok(false), Ok(_)) => {
                Err(self.why(&channel, &io::Error::other("not all that was sent could be written there")))
            }
        }
    }

    /// What arrived has to be what was sent before it gets its name.
    fn keep(&self, temp: &str, name: &str, bundle: &Bundle) -> Result<(), Unreachable> {
        let mut channel = self.start(KEEP, false)?;
        let told = channel.tell(&format!("{temp}\n{name}\n"));
        let digest = told.and_then(|()| channel.marked(KEEP_MARK)).map_err(|error| self.why(&channel, &error))?;
        let is_good = digest == bundle.digest.to_string();
        let ended = channel.tell(if is_good { "ok\n" } else { "no\n" }).and_then(|()| channel.ended(CONNECT_MAX));
        match ended {
            _ if digest.is_empty() => Err(self
                .unusable(format_args!(
                    "the supervisor does not start there: {}; is its working directory on a file system that allows \
                     programs?",
                    channel.client.said.text()
                ))
                .for_good()),
            _ if !is_good => Err(self.unusable(format_args!("the supervisor arrived damaged there"))),
            Ok(true) => Ok(()),
            Ok(false) => Err(self.why(&channel, &io::Error::other("what was sent could not be given its name"))),
            Err(error) => Err(self.why(&channel, &error)),
        }
    }

    fn unusable(&self, what: std::fmt::Arguments<'_>) -> Unreachable {
        Unreachable::new(format_args!("ssh to {}: {what}", self.ssh.host))
    }

    /// What went wrong: what `ssh` says, or else what we saw, and what the login there has to say to it.
    fn why(&self, channel: &Channel, error: &io::Error) -> Unreachable {
        channel.client.said.wait_for_all(WORDS_MAX);
        let (said, heard) = (channel.client.said.text(), channel.heard.text());
        let heard = if heard.is_empty() { heard } else { format!("; its login says: {heard}") };
        match (said.is_empty(), error.kind()) {
            // Each try would count against us there.
            (false, _) if said.contains(DENIED) => self.unusable(format_args!("{said}{heard}")).for_good(),
            (false, _) => self.unusable(format_args!("{said}{heard}")),
            (true, io::ErrorKind::TimedOut) => {
                self.unusable(format_args!("no answer within {} s{heard}", CONNECT_MAX.as_secs()))
            }
            (true, io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe) => {
                self.unusable(format_args!("the connection ended before the supervisor started{heard}"))
            }
            (true, _) => self.unusable(format_args!("{error}{heard}")),
        }
    }
}

impl Channel {
    fn tell(&mut self, words: &str) -> io::Result<()> {
        self.client.to.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.write_all(words.as_bytes())
    }

    /// What the script says.
    fn marked(&mut self, mark: &str) -> io::Result<String> {
        let from = self.client.from.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        marked(&mut Until::new(from, CONNECT_MAX), mark, &self.heard)
    }

    /// Nothing follows: waits for its end, and says whether it was a good one.
    fn ended(&mut self, limit: Duration) -> io::Result<bool> {
        self.client.to = None;
        if let Some(from) = &mut self.client.from {
            io::copy(&mut Until::new(from, limit), &mut io::sink())?;
        }
        match self.client.wait(limit) {
            Ok(status) => Ok(status.success()),
            Err(Failure::Start(error)) => Err(error),
            Err(Failure::Silent(_)) => Err(io::ErrorKind::TimedOut.into()),
            Err(failure @ Failure::Unwanted) => Err(io::Error::other(failure.to_string())),
        }
    }
}
