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

/// What is believed of one host, and what it has offered.
#[derive(Debug)]
pub(super) struct HostKey<'a> {
    ssh: &'a Ssh,
    exe: PathBuf,
    /// Where our other process notes what was offered.
    noted: PathBuf,
    /// The algorithms to ask for; nothing leaves it to `ssh`.
    kind: Option<&'static str>,
    tried: BTreeSet<&'static str>,
}

impl<'a> HostKey<'a> {
    pub(super) fn new(ssh: &'a Ssh, exe: &Path, private: &Path) -> Self {
        let noted = private.join("offered");
        Self { ssh, exe: exe.to_owned(), noted, kind: None, tried: BTreeSet::new() }
    }

    /// For `ssh -o`.
    pub(super) fn options(&self) -> Vec<String> {
        let pinned = self.ssh.host_key_fingerprint.as_deref();
        let (exe, noted) = (quoted(&self.exe), quoted(&self.noted));
        let mut options = vec![
            "StrictHostKeyChecking=yes".to_owned(),
            "VerifyHostKeyDNS=no".to_owned(),
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
        options.extend(self.kind.map(|kind| format!("HostKeyAlgorithms={kind}")));
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

    /// Whether it was the key that ended the last try.
    pub(super) fn has_refused(&self) -> bool {
        let offered = self.offered();
        match &self.ssh.host_key_fingerprint {
            Some(pinned) => !offered.is_empty() && offered.iter().all(|(_, print)| print != pinned),
            None => offered.last().is_some_and(|(_, print)| !self.known().iter().any(|(_, known)| known == print)),
        }
    }

    /// Whether there is a kind of key that was not asked for and may be the pinned one.
    pub(super) fn ask_for_another_kind(&mut self) -> bool {
        if self.ssh.host_key_fingerprint.is_none() {
            return false;
        }
        let offered = self.offered();
        let fresh = KINDS.iter().find(|(start, algorithms)| {
            !self.tried.contains(algorithms) && !offered.iter().any(|(kind, _)| kind.starts_with(start))
        });
        self.kind = fresh.map(|(_, algorithms)| *algorithms);
        self.tried.extend(self.kind);
        self.kind.is_some()
    }

    /// Both fingerprints, in words.
    pub(super) fn why_refused(&self) -> String {
        let list = |keys: &[(String, String)]| {
            keys.iter().map(|(kind, print)| format!("{print} ({kind})")).collect::<Vec<_>>().join(", ")
        };
        let offered = list(&self.offered());
        if let Some(pinned) = &self.ssh.host_key_fingerprint {
            return format!("the host key is {offered}, and host_key_fingerprint says {pinned}; nothing was run there");
        }
        let known = self.known();
        if known.is_empty() {
            return format!(
                "its host key {offered} is not known; if that is the right one, pin it: host_key_fingerprint = \"{}\"",
                self.offered().last().map_or("", |(_, print)| print)
            );
        }
        format!("the host key is {offered}, and the known one is {}; nothing was run there", list(&known))
    }

    fn known(&self) -> Vec<(String, String)> {
        known_keys(self.ssh)
    }
}

/// A path as a value of `ssh`'s configuration, where it is split into words and its tokens are replaced.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy().replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
    format!("\"{text}\"")
}

/// The keys that the user's files have of a host, as `kind fingerprint`; none where `ssh` cannot be asked.
fn known_keys(ssh: &Ssh) -> Vec<(String, String)> {
    let Ok(Meant { name, files }) = Meant::by(ssh) else { return Vec::new() };
    files.iter().filter(|file| file.is_file()).flat_map(|file| keys_in(&name, file)).collect()
}

/// As `ssh-keygen -l -F` lists them: `name KIND FINGERPRINT`.
fn keys_in(name: &str, file: &Path) -> Vec<(String, String)> {
    let listed = Command::new("ssh-keygen").args(["-l", "-F", name, "-f"]).arg(file).output();
    let listed = listed.map(|output| output.stdout).unwrap_or_default();
    let listed = String::from_utf8_lossy(&listed);
    let lines = listed.lines().filter(|line| !line.starts_with('#'));
    let pair = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    };
    lines.filter_map(pair).collect()
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
