//! Who a machine behind ssh is. `ssh` asks by `KnownHostsCommand`, after the key exchange has proved that the host has the
//! key and before anything else is said: it starts this program as `fleet host-key`, which answers with the key if it is
//! the pinned one, and notes what was offered. So no key is fetched beforehand that could be another one later.
//! Source: `ssh_config(5)`, `KnownHostsCommand` and its tokens.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::known_hosts::Meant;
use crate::model::Ssh;

/// Kinds of keys, as `%t` has them, and the algorithms that ask for one.
const KINDS: [(&str, &str); 3] = [
    ("ssh-ed25519", "ssh-ed25519"),
    ("ecdsa-", "ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521"),
    ("ssh-rsa", "rsa-sha2-512,rsa-sha2-256"),
];

/// What `ssh` says when it was the key that ended it, and when the host has no key of the kind that was asked for.
const REFUSED: &str = "Host key verification failed";
const NO_SUCH_KIND: &str = "no matching host key type found";

/// What a try that failed says of the key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// It was something else.
    Other,
    /// The host may have the right key too, of another kind.
    TryAnother,
    /// In words.
    Refused(String),
}

/// What is believed of one host, and what it has offered.
#[derive(Debug)]
pub(super) struct HostKey<'a> {
    ssh: &'a Ssh,
    exe: PathBuf,
    /// Where our other process notes what was offered.
    noted: PathBuf,
    /// The algorithms to ask for; nothing leaves it to `ssh`.
    algorithms: Option<String>,
    tried: BTreeSet<&'static str>,
    /// A key of it was refused.
    was_refused: bool,
}

impl<'a> HostKey<'a> {
    pub(super) fn new(ssh: &'a Ssh, exe: &Path, private: &Path, algorithms: Option<String>) -> Self {
        let noted = private.join("offered");
        Self { ssh, exe: exe.to_owned(), noted, algorithms, tried: BTreeSet::new(), was_refused: false }
    }

    /// For `ssh -o`.
    pub(super) fn options(&self) -> Vec<String> {
        let pinned = self.ssh.host_key_fingerprint.as_deref();
        let (exe, noted) = (quoted(&self.exe), quoted(&self.noted));
        let mut options = vec![
            "StrictHostKeyChecking=yes".to_owned(),
            "VerifyHostKeyDNS=no".to_owned(),
            // Of the fingerprint that we are told.
            "FingerprintHash=sha256".to_owned(),
            format!("KnownHostsCommand={exe} host-key {noted} {} %I %H %t %K %f", pinned.unwrap_or("-")),
        ];
        let only = match (&self.ssh.known_hosts, pinned) {
            (_, Some(_)) => Some("/dev/null".to_owned()),
            (Some(file), None) => Some(quoted(file)),
            (None, None) => None,
        };
        if let Some(file) = only {
            options.push(format!("UserKnownHostsFile={file}"));
            options.push("GlobalKnownHostsFile=/dev/null".to_owned());
        }
        options.extend(self.algorithms.as_ref().map(|all| format!("HostKeyAlgorithms={all}")));
        options
    }

    /// What the host offered so far, as `kind fingerprint`, and whether the last of it was believed.
    fn offered(&self) -> Vec<(String, String)> {
        let noted = fs::read_to_string(&self.noted).unwrap_or_default();
        let pair = |line: &str| line.split_once(' ').map(|(kind, print)| (kind.to_owned(), print.to_owned()));
        let mut offered: Vec<_> = noted.lines().filter_map(pair).collect();
        offered.dedup();
        offered
    }

    /// Whether it was the key that ended the last try, of which `ssh` said this.
    pub(super) fn judge(&mut self, said: &str) -> Judged {
        let offered = self.offered();
        let is_refused = said.contains(REFUSED)
            && match &self.ssh.host_key_fingerprint {
                Some(pinned) => !offered.is_empty() && offered.iter().all(|(_, print)| print != pinned),
                // A key that is known and refused all the same has a reason that `ssh` knows better.
                None => offered.last().is_some_and(|(_, print)| !self.known().has(print)),
            };
        self.was_refused |= is_refused;
        if !(is_refused || self.was_refused && said.contains(NO_SUCH_KIND)) {
            return Judged::Other;
        }
        if self.ask_for_another_kind() { Judged::TryAnother } else { Judged::Refused(self.why_refused(said)) }
    }

    /// Whether there is a kind of key that was not asked for and may be the pinned one.
    fn ask_for_another_kind(&mut self) -> bool {
        if self.ssh.host_key_fingerprint.is_none() {
            return false;
        }
        let offered = self.offered();
        let fresh = KINDS.iter().find(|(start, algorithms)| {
            !self.tried.contains(algorithms) && !offered.iter().any(|(kind, _)| kind.starts_with(start))
        });
        let Some((_, algorithms)) = fresh else { return false };
        self.tried.insert(algorithms);
        self.algorithms = Some((*algorithms).to_owned());
        true
    }

    /// Both fingerprints, in words.
    fn why_refused(&self, said: &str) -> String {
        let list = |keys: &[(String, String)]| {
            keys.iter().map(|(kind, print)| format!("{print} ({kind})")).collect::<Vec<_>>().join(", ")
        };
        let offered = list(&self.offered());
        if let Some(pinned) = &self.ssh.host_key_fingerprint {
            return format!("the host key is {offered}, and host_key_fingerprint says {pinned}; nothing was run there");
        }
        let known = self.known();
        if known.has_authority {
            return format!("no certificate authority that is known for it vouches for its host key {offered}: {said}");
        }
        if known.keys.is_empty() {
            return format!(
                "its host key {offered} is not known; if that is the right one, pin it: host_key_fingerprint = \"{}\"",
                self.offered().last().map_or("", |(_, print)| print)
            );
        }
        format!("the host key is {offered}, and the known one is {}; nothing was run there", list(&known.keys))
    }

    fn known(&self) -> Known {
        let mut known = Known::default();
        // Where `ssh` cannot be asked, nothing is known.
        if let Ok(Meant { name, files }) = Meant::by(self.ssh) {
            for file in files.iter().filter(|file| file.is_file()) {
                known.read(&listed(&name, file));
            }
        }
        known
    }
}

/// What the user's files have of a host.
#[derive(Debug, Default, PartialEq, Eq)]
struct Known {
    /// `kind fingerprint`
    keys: Vec<(String, String)>,
    /// Those that are known not to be believed.
    revoked: Vec<String>,
    /// Keys that may vouch for others, and are none of a host.
    has_authority: bool,
}

impl Known {
    fn has(&self, print: &str) -> bool {
        self.keys.iter().any(|(_, known)| known == print) || self.revoked.iter().any(|known| known == print)
    }

    /// Of what `ssh-keygen -l -F` prints: before each `name KIND FINGERPRINT`, where it was found and whether it is marked.
    fn read(&mut self, listed: &str) {
        let mut mark = "";
        for line in listed.lines() {
            if line.starts_with('#') {
                mark = line.rsplit(' ').next().unwrap_or_default();
                continue;
            }
            let mut words = line.split_whitespace().skip(1).map(str::to_owned);
            let (Some(kind), Some(print)) = (words.next(), words.next()) else { continue };
            match mark {
                "CA" => self.has_authority = true,
                "REVOKED" => self.revoked.push(print),
                _ => self.keys.push((kind, print)),
            }
        }
    }
}

fn listed(name: &str, file: &Path) -> String {
    let listed = Command::new("ssh-keygen").args(["-l", "-E", "sha256", "-F", name, "-f"]).arg(file).output();
    String::from_utf8_lossy(&listed.map(|output| output.stdout).unwrap_or_default()).into_owned()
}

/// A path as a value of `ssh`'s configuration, where it is split into words and its tokens are replaced.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy().replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
    format!("\"{text}\"")
}

/// `fleet host-key NOTED PINNED REASON NAME KIND KEY FINGERPRINT`, as `ssh` starts it: notes what is offered, and answers
/// with it when it is the pinned one. `-` for no pinned one. Anything that goes wrong is an answer without a key.
pub fn answer(words: &[String]) {
    let [noted, pinned, reason, name, kind, key, print] = words else { return };
    // Before the host is asked, `ssh` wants to know which kinds of keys are known, and has none to show.
    if reason == "ORDER" || print == "NONE" {
        return;
    }
    if let Ok(mut noted) = OpenOptions::new().append(true).create(true).open(noted) {
        let _ = writeln!(noted, "{kind} {print}");
    }
    if print == pinned {
        let _ = writeln!(std::io::stdout(), "{name} {kind} {key}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_no_key_of_a_host() {
        let mut known = Known::default();
        known.read(concat!(
            "# Host build found: line 1 CA\nbuild ED25519 SHA256:authority\n",
            "# Host build found: line 2 \nbuild RSA SHA256:own\n",
            "# Host build found: line 3 REVOKED\nbuild RSA SHA256:lost\n"
        ));
        assert_eq!(known.keys, [("RSA".to_owned(), "SHA256:own".to_owned())]);
        assert!(known.has_authority && known.has("SHA256:own") && known.has("SHA256:lost"));
        assert!(!known.has("SHA256:authority"));
    }

    #[test]
    fn only_what_ssh_refused_was_refused() {
        let dir = tempfile::TempDir::new().unwrap();
        let pinned = format!("SHA256:{}", "a".repeat(43));
        let ssh = Ssh {
            host: "build".into(),
            user: None,
            port: None,
            identity: None,
            known_hosts: None,
            host_key_fingerprint: Some(pinned),
            working_directory: None,
        };
        let mut key = HostKey::new(&ssh, Path::new("/fleet"), dir.path(), None);
        fs::write(dir.path().join("offered"), "ssh-ed25519 SHA256:other\n").unwrap();
        assert_eq!(key.judge("Connection reset by peer"), Judged::Other);
        assert_eq!(key.judge("no matching host key type found"), Judged::Other);
        assert_eq!(key.judge("Host key verification failed."), Judged::TryAnother);
        assert_eq!(key.judge("Unable to negotiate: no matching host key type found"), Judged::TryAnother);
        let Judged::Refused(why) = key.judge("Unable to negotiate: no matching host key type found") else { panic!() };
        assert!(why.contains("the host key is SHA256:other (ssh-ed25519), and host_key_fingerprint says"), "{why}");
    }
}
