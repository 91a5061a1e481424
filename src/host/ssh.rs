//! A machine behind ssh: through the user's own `ssh`, so that their configuration, jump hosts, agents and keys keep
//! working. One connection a worker; everything else goes over it as frames. What the other side's shell is given is one
//! constant script: names, paths and sizes follow as lines of its input.
//!
//! Host keys are never asked about. `ssh` asks us instead, by `KnownHostsCommand`, before anything else is said: see
//! [`super::host_key`].

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::bundle::{Bundle, Mapped};
use super::connect::{CONNECT_MAX, Connected, Said, Site, Unreachable, Until, give_up, not_started};
use super::host_key::{HostKey, quoted};
use super::link::Pipes;
use crate::model::Ssh;

/// Begins the line that our script says; what a login says before it is passed over.
const MARK: &str = "fleet-boot 1 ";
/// Most bytes that a login may say before it.
const NOISE_BYTES_MAX: u64 = 64 << 10;
/// An address has 108 bytes, of which `ssh` takes some for a name of its own while it makes the socket.
const SOCKET_FOLDER_BYTES_MAX: usize = 60;
/// How long the sending of the supervisor may take.
const SEND_MAX: Duration = Duration::from_mins(10);

/// What `ssh` says when the host wants none of the user's keys.
const DENIED: &str = "Permission denied (";

/// Finds the supervisor, or says that it is wanted and waits for it; then becomes it. In one line and without single
/// quotes, for any login shell. What is made here is private; what tasks make is what the login has it be. Input: the working directory (may be empty), the bundle's name, and `go` when it was sent.
const BOOT: &str = concat!(
    "exec /bin/sh -c '",
    "mask=$(umask); umask 077; IFS= read -r dir; IFS= read -r name; ",
    "[ -n \"$dir\" ] || dir=${XDG_CACHE_HOME:-$HOME/.cache}/fleet; ",
    "if ! mkdir -p \"$dir/bin\"; then echo \"fleet-boot 1 error - - $dir\"; exit 1; fi; ",
    "b=$dir/bin/$name; is=have; [ -x \"$b/fleet\" ] || is=want; ",
    "echo \"fleet-boot 1 $is $(uname -s) $(uname -m) $dir\"; ",
    "if [ $is = want ]; then IFS= read -r go; [ \"$go\" = go ] || exit 0; fi; umask $mask; ",
    "if [ -e \"$b/ld.so\" ]; then exec \"$b/ld.so\" --library-path \"$b\" \"$b/fleet\" guard; fi; ",
    "exec \"$b/fleet\" guard'"
);

/// Writes the rest of its input to a file. Input: the path, then the bytes.
const PUT: &str = concat!(
    "exec /bin/sh -c '",
    "umask 077; IFS= read -r to; mkdir -p \"${to%/*}\" && cat > \"$to\" && chmod 700 \"$to\"'"
);

/// Has what was sent say its own digest, and gives it its name when that was right. Input: the two folders, and `ok`.
const KEEP: &str = concat!(
    "exec /bin/sh -c '",
    "IFS= read -r from; IFS= read -r to; ",
    "if [ -e \"$from/ld.so\" ]; then \"$from/ld.so\" --library-path \"$from\" \"$from/fleet\" guard --digest \"$from\"; ",
    "else \"$from/fleet\" guard --digest \"$from\"; fi; ",
    "IFS= read -r ok; if [ \"$ok\" = ok ] && [ ! -e \"$to\" ]; then mv \"$from\" \"$to\"; else rm -rf \"$from\"; fi'"
);

/// Reaches the host and leaves a supervisor that waits for its greeting. A host with several keys shows the one that `ssh`
/// likes best first; a pinned key of another kind is asked for by its kind.
///
/// # Errors
/// See [`Unreachable`].
pub fn connect(ssh: &Ssh, site: &Site) -> Result<Connected, Unreachable> {
    let private =
        private_folder().map_err(|error| Unreachable::new(format_args!("no private folder for ssh: {error}")))?;
    let bundle = Bundle::of_this_program()
        .map_err(|error| Unreachable::new(format_args!("this program cannot be sent: {error}")))?;
    let mut key = HostKey::new(ssh, &site.exe, private.path());
    loop {
        let way = Way { ssh, key: &key, folder: private.path() };
        match way.reach(&bundle) {
            Err(_) if key.has_refused() && key.ask_for_another_kind() => {}
            Err(_) if key.has_refused() => {
                let why = format_args!("ssh to {}: {}", ssh.host, key.why_refused());
                return Err(Unreachable::new(why).for_good());
            }
            reached => return reached,
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
    fn of(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix(MARK)?.splitn(4, ' ').map(str::to_owned);
        Some(Self { is: words.next()?, os: words.next()?, arch: words.next()?, root: words.next()? })
    }
}

/// How to get to the host, any number of times over one connection.
struct Way<'a> {
    ssh: &'a Ssh,
    key: &'a HostKey<'a>,
    /// Holds the socket of the shared connection; nobody else's.
    folder: &'a Path,
}

impl Way<'_> {
    fn reach(&self, bundle: &Bundle) -> Result<Connected, Unreachable> {
        let (mut pipes, said) = self.start(BOOT, true)?;
        let asked = writeln!(pipes.to, "{}\n{}", self.ssh.working_directory.as_deref().unwrap_or(""), bundle.name);
        let boot = asked.and_then(|()| Self::boot_line(&mut pipes.from)).map_err(|error| self.why(&said, &error));
        match boot.and_then(|boot| Ok((self.settle(&boot, bundle, &mut pipes.to)?, boot.root))) {
            Ok((sent, root)) => Ok(Connected { pipes, said, root, container: None, sent }),
            Err(error) => {
                give_up(pipes.child);
                Err(error)
            }
        }
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
        for option in self.key.options() {
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
        // Not of the terminal's group: Ctrl-C is for us to hear, and to answer in order.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn start(&self, script: &str, first: bool) -> Result<(Pipes, Said), Unreachable> {
        let child = self.command(script, first).spawn();
        let mut child = child.map_err(|error| not_started("ssh", "openssh-client", &error))?;
        let said = Said::listen(child.stderr.take());
        let pipes = Pipes::of(child).map_err(Unreachable::new)?;
        Ok((pipes, said))
    }

    /// The line that our script says, and not a byte more: what follows are frames.
    fn boot_line(from: &mut ChildStdout) -> io::Result<Boot> {
        let mut from = Until::new(from, CONNECT_MAX);
        let mut line = Vec::new();
        let mut byte = [0];
        for _ in 0..NOISE_BYTES_MAX {
            if from.read(&mut byte)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if byte[0] != b'\n' {
                line.push(byte[0]);
            } else if let Some(boot) = Boot::of(&String::from_utf8_lossy(&line)) {
                return Ok(boot);
            } else {
                line.clear();
            }
        }
        Err(io::Error::other("its login says more than can be passed over"))
    }

    /// Sends the supervisor if it is not there.
    fn settle(&self, boot: &Boot, bundle: &Bundle, to: &mut ChildStdin) -> Result<Option<u64>, Unreachable> {
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
        let temp = format!("{bin}/.in-{}-{}", bundle.name, std::process::id());
        for (name, file) in &bundle.files {
            self.put(&format!("{temp}/{name}"), file)?;
        }
        self.keep(&temp, &format!("{bin}/{}", bundle.name), bundle)?;
        writeln!(to, "go").map_err(|error| self.unusable(format_args!("it went away: {error}")))?;
        Ok(Some(bundle.bytes()))
    }

    fn put(&self, to: &str, file: &Mapped) -> Result<(), Unreachable> {
        let (mut pipes, said) = self.start(PUT, false)?;
        let sent = writeln!(pipes.to, "{to}")
            .and_then(|()| file.read())
            .and_then(|mut file| io::copy(&mut file, &mut pipes.to));
        drop(pipes.to);
        let status = io::copy(&mut Until::new(&mut pipes.from, SEND_MAX), &mut io::sink());
        let ended = status.and_then(|_| pipes.child.wait());
        match (sent, ended) {
            (Ok(_), Ok(status)) if status.success() => Ok(()),
            (Err(error), _) | (_, Err(error)) => Err(self.why(&said, &error)),
            (_, Ok(status)) => Err(self.why(&said, &io::Error::other(format!("`cat` ended with {status}")))),
        }
    }

    /// What arrived has to be what was sent before it gets its name.
    fn keep(&self, temp: &str, name: &str, bundle: &Bundle) -> Result<(), Unreachable> {
        let (mut pipes, said) = self.start(KEEP, false)?;
        let mut line = String::new();
        let read = writeln!(pipes.to, "{temp}\n{name}")
            .and_then(|()| BufReader::new(Until::new(&mut pipes.from, CONNECT_MAX)).read_line(&mut line));
        let good = line.trim() == bundle.digest.to_string();
        let answer = writeln!(pipes.to, "{}", if good { "ok" } else { "no" });
        drop(pipes.to);
        let ended = pipes.child.wait();
        match read.and(answer).and(ended) {
            Ok(_) if good => Ok(()),
            Ok(_) if line.trim().is_empty() => Err(self.unusable(format_args!(
                "the supervisor does not start there: {}; is its working directory on a file system that allows programs?",
                said.text()
            ))
            .for_good()),
            Ok(_) => Err(self.unusable(format_args!("the supervisor arrived damaged there"))),
            Err(error) => Err(self.why(&said, &error)),
        }
    }

    fn unusable(&self, what: std::fmt::Arguments<'_>) -> Unreachable {
        Unreachable::new(format_args!("ssh to {}: {what}", self.ssh.host))
    }

    /// What went wrong: what `ssh` says, or else what we saw.
    fn why(&self, said: &Said, error: &io::Error) -> Unreachable {
        // Its last words may still be on their way.
        thread::sleep(Duration::from_millis(50));
        let said = said.text();
        match (said.is_empty(), error.kind()) {
            // Each try would count against us there.
            (false, _) if said.contains(DENIED) => self.unusable(format_args!("{said}")).for_good(),
            (false, _) => self.unusable(format_args!("{said}")),
            (true, io::ErrorKind::TimedOut) => {
                self.unusable(format_args!("no answer within {} s", CONNECT_MAX.as_secs()))
            }
            (true, _) => self.unusable(format_args!("the connection ended before the supervisor started: {error}")),
        }
    }
}
