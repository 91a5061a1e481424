//! What the configuration of `ssh` means for a machine, in its own words: where it looks for the keys of the machine, and
//! what it leaves to us.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use super::client::{self, Bond, Clients};
use crate::model::Ssh;

/// How long `ssh` may think about its configuration, which can have it start programs.
const THINK_MAX: Duration = Duration::from_secs(10);
/// The ciphers that are fastest where the processor knows AES, best first.
const FAST: [&str; 2] = ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com"];
/// In the name of an algorithm for keys that an authority has signed.
const CERTIFICATE: &str = "-cert-v0";

/// `ssh -G` prints what its configuration means for a machine. What comes from the file stands behind `--` or is the value
/// of an option.
fn config(ssh: &Ssh, options: &[&str]) -> Command {
    let mut command = Command::new("ssh");
    command.arg("-G").args(options);
    if let Some(port) = ssh.port {
        command.arg("-p").arg(port.to_string());
    }
    if let Some(user) = &ssh.user {
        command.arg("-l").arg(user);
    }
    command.arg("--").arg(&ssh.host);
    command
}

/// What came out of a program that could be started. `ssh-keygen` fails when it finds nothing, which is an answer.
///
/// # Errors
/// When it could not be started, or is `ssh` and failed: what it said last.
pub fn run(command: &mut Command) -> Result<Output, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{program}: {error}"))?;
    if program == "ssh" && !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it failed");
        return Err(format!("{program}: {last}"));
    }
    Ok(output)
}

/// Under which name, and in which files, `ssh` looks for the keys of a machine.
#[derive(Debug, PartialEq, Eq)]
pub struct Meant {
    pub name: String,
    pub files: Vec<PathBuf>,
}

impl Meant {
    /// Asks `ssh`.
    ///
    /// # Errors
    /// When it could not be asked.
    pub fn by(ssh: &Ssh) -> Result<Self, String> {
        let asked = run(&mut config(ssh, &[]))?;
        let home = std::env::var("HOME").ok();
        Ok(Self::of(&String::from_utf8_lossy(&asked.stdout), ssh, home.as_deref()))
    }

    /// From what `ssh -G` printed. The worker's own `known_hosts` is the only file that counts.
    fn of(printed: &str, ssh: &Ssh, home: Option<&str>) -> Self {
        let set = |key: &str| value(printed, key).filter(|value| !value.is_empty() && *value != "none");
        let machine = set("hostname").unwrap_or(&ssh.host);
        let name = match (set("hostkeyalias"), set("port")) {
            (Some(alias), _) => alias.to_owned(),
            (None, None | Some("22")) => machine.to_owned(),
            (None, Some(port)) => format!("[{machine}]:{port}"),
        };
        let listed = ["userknownhostsfile", "globalknownhostsfile"].into_iter().filter_map(set);
        let files = match &ssh.known_hosts {
            Some(own) => vec![own.clone()],
            None => listed.flat_map(str::split_whitespace).map(|file| below_home(file, home)).collect(),
        };
        Self { name, files }
    }
}

/// The value of a key in what `ssh -G` printed.
fn value<'p>(printed: &'p str, key: &str) -> Option<&'p str> {
    let mut lines = printed.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value.trim())
}

/// What a connection is given beside the user's configuration, and on its behalf.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// `Ciphers=…`, where that makes it faster and nobody has a wish.
    pub ciphers: Option<String>,
    /// For a pinned key: what the user has, without certificates, of which no fingerprint is pinned.
    pub host_key_algorithms: Option<String>,
}

impl Settings {
    /// Asks `ssh`, as far as anything depends on it.
    pub(super) fn of(ssh: &Ssh, clients: &Clients) -> Self {
        let is_pinned = ssh.host_key_fingerprint.is_some();
        if !is_pinned && !has_aes() {
            return Self::default();
        }
        let ask = |options: &[&str]| {
            let printed = client::output(clients, Bond::Tied, config(ssh, options), THINK_MAX).ok()?;
            printed.status.success().then_some(printed.stdout)
        };
        let meant = ask(&[]);
        Self {
            ciphers: meant.as_deref().filter(|_| has_aes()).and_then(|meant| ciphers(meant, ask)),
            host_key_algorithms: is_pinned
                .then(|| meant.and_then(|meant| plain(&meant)).unwrap_or_else(no_certificates)),
        }
    }
}

/// Whether this processor has instructions for AES, without which it is slower than what `ssh` prefers.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    false
}

/// Puts the fast ones first when the configuration says what `ssh` says without one, and this `ssh` knows them and how
/// they are put first. The others stay behind them, so that every host still finds one.
fn ciphers(meant: &str, ask: impl Fn(&[&str]) -> Option<String>) -> Option<String> {
    let plain = ask(&["-F", "none"])?;
    let plain = value(&plain, "ciphers")?;
    let wish = format!("Ciphers=^{}", FAST.join(","));
    if value(meant, "ciphers") != Some(plain) {
        return None;
    }
    let others = plain.split(',').filter(|cipher| !FAST.contains(cipher));
    let expected: Vec<&str> = FAST.into_iter().chain(others).collect();
    let ordered = ask(&["-F", "none", "-o", &wish])?;
    (value(&ordered, "ciphers")? == expected.join(",")).then_some(wish)
}

/// The algorithms for keys of hosts, in the user's order, without certificates.
fn plain(meant: &str) -> Option<String> {
    let all = value(meant, "hostkeyalgorithms")?;
    let plain: Vec<&str> = all.split(',').filter(|algorithm| !algorithm.contains(CERTIFICATE)).collect();
    (!plain.is_empty()).then(|| plain.join(","))
}

/// The same, when the user's are not known.
fn no_certificates() -> String {
    "-*-cert-v01@openssh.com".to_owned()
}

fn below_home(file: &str, home: Option<&str>) -> PathBuf {
    match (file.strip_prefix("~/"), home) {
        (Some(below), Some(home)) => Path::new(home).join(below),
        _ => PathBuf::from(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ssh(known_hosts: Option<&str>) -> Ssh {
        Ssh {
            host: "build".into(),
            user: None,
            port: None,
            identity: None,
            known_hosts: known_hosts.map(PathBuf::from),
            host_key_fingerprint: None,
            working_directory: None,
        }
    }

    #[test]
    fn a_machine_is_looked_for_as_ssh_does() {
        let printed =
            "user ci\nhostname build.example\nport 22\nuserknownhostsfile ~/.ssh/a /b\nglobalknownhostsfile /c /d\n";
        let meant = Meant::of(printed, &ssh(None), Some("/home/ci"));
        assert_eq!(meant.name, "build.example");
        assert_eq!(meant.files, ["/home/ci/.ssh/a", "/b", "/c", "/d"].map(PathBuf::from));
        let port = printed.replace("port 22", "port 2222");
        assert_eq!(Meant::of(&port, &ssh(None), None).name, "[build.example]:2222");
        let alias = format!("{port}hostkeyalias other\n");
        let meant = Meant::of(&alias, &ssh(Some("/own")), None);
        assert_eq!((meant.name.as_str(), meant.files), ("other", vec![PathBuf::from("/own")]));
        let none = printed.replace("~/.ssh/a /b", "none");
        assert_eq!(Meant::of(&none, &ssh(None), None).files, ["/c", "/d"].map(PathBuf::from));
    }

    /// An `ssh` whose default is this, and which knows what it is asked for if that is in it.
    fn asked(default: &str) -> impl Fn(&[&str]) -> Option<String> + '_ {
        move |options| {
            let wish = options.iter().find_map(|option| option.strip_prefix("Ciphers=^"));
            let ciphers = match wish {
                Some(wish) if wish.split(',').all(|one| default.contains(one)) => {
                    let others = default.split(',').filter(|one| !wish.contains(one));
                    std::iter::once(wish).chain(others).collect::<Vec<_>>().join(",")
                }
                Some(_) => return None,
                None => default.to_owned(),
            };
            Some(format!("user ci\nciphers {ciphers}\n"))
        }
    }

    #[test]
    fn fast_ciphers_come_first_where_nobody_has_a_wish() {
        let default = "chacha20-poly1305@openssh.com,aes128-ctr,aes128-gcm@openssh.com,aes256-gcm@openssh.com";
        let meant = format!("ciphers {default}\n");
        let wish = Some("Ciphers=^aes128-gcm@openssh.com,aes256-gcm@openssh.com".to_owned());
        assert_eq!(ciphers(&meant, asked(default)), wish);
        assert_eq!(ciphers("ciphers aes128-ctr\n", asked(default)), None, "that is a wish");
        let without = "chacha20-poly1305@openssh.com,aes128-ctr";
        assert_eq!(ciphers(&format!("ciphers {without}\n"), asked(without)), None, "it does not know them");
        assert_eq!(ciphers(&meant, |_| None), None);
    }

    #[test]
    fn a_pinned_key_is_no_certificate() {
        let meant = "hostkeyalgorithms ssh-ed25519-cert-v01@openssh.com,ssh-ed25519,rsa-sha2-512,ssh-rsa\n";
        assert_eq!(plain(meant).as_deref(), Some("ssh-ed25519,rsa-sha2-512,ssh-rsa"));
        assert_eq!(plain("hostkeyalgorithms ssh-ed25519-cert-v01@openssh.com\n"), None);
    }
}
