//! Which machines behind ssh nobody could tell from another: no key is pinned, and no file of known hosts has one. Asks
//! `ssh` what its configuration means and `ssh-keygen` what the files hold, and connects to nothing.

use std::path::PathBuf;
use std::process::Command;

use crate::host::known_hosts::{Meant, run};
use crate::id::WorkerId;
use crate::model::{Fleet, Host, Ssh};

/// Why the key of a machine cannot be verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    /// No file has a key of it under this name.
    NoKey { name: String, files: Vec<PathBuf> },
    /// `ssh` or `ssh-keygen` could not be asked.
    NotAsked(String),
}

/// The workers whose identity nothing verifies, where the policy wants it verified.
pub(super) fn unknown(fleet: &Fleet) -> Vec<(WorkerId, Unknown)> {
    let wanted = fleet.policies.security.as_deref().is_some_and(|security| security.require_identity_verification);
    let unpinned = fleet.workers.iter().filter_map(|(id, worker)| match &worker.host {
        Host::Ssh(ssh) if wanted && ssh.host_key_fingerprint.is_none() => Some((id, ssh)),
        _ => None,
    });
    unpinned.filter_map(|(id, ssh)| Some((id, look(ssh)?))).collect()
}

/// `None`: a file has a key of it.
fn look(ssh: &Ssh) -> Option<Unknown> {
    let Meant { name, files } = match Meant::by(ssh) {
        Ok(meant) => meant,
        Err(why) => return Some(Unknown::NotAsked(why)),
    };
    for file in files.iter().filter(|file| file.is_file()) {
        match run(Command::new("ssh-keygen").arg("-F").arg(&name).arg("-f").arg(file)) {
            Ok(output) if has_key(&String::from_utf8_lossy(&output.stdout)) => return None,
            Ok(_) => {}
            Err(why) => return Some(Unknown::NotAsked(why)),
        }
    }
    Some(Unknown::NoKey { name, files })
}

/// Whether `ssh-keygen -F` found a key that counts; it prints those that are revoked as well.
fn has_key(printed: &str) -> bool {
    printed
        .lines()
        .any(|line| !line.trim().is_empty() && !line.starts_with(['#', ' ']) && !line.starts_with("@revoked"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revoked_key_verifies_nobody() {
        assert!(has_key("# Host build found: line 1\nbuild ssh-ed25519 AAAA\n"));
        assert!(has_key("# Host build found: line 1 CA\n@cert-authority build ssh-ed25519 AAAA\n"));
        assert!(!has_key("# Host build found: line 1 REVOKED\n@revoked build ssh-ed25519 AAAA\n"));
        assert!(!has_key(""));
    }
}
