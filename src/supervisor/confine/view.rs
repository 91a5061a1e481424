//! What a confined task can see: the system's own folders without what they keep secret, and what it was given. One
//! answer for both mechanisms, so that a task does not notice by which it is held.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::super::frame::Confine;
use super::orders::Rules;

/// Programs and libraries, where there are any.
pub(super) const PROGRAMS: [&str; 9] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store"];
/// Settings, among which are secrets.
pub(super) const SETTINGS: &str = "/etc";
/// Devices that are no device.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
/// What of `/proc` is about the machine and nobody in particular.
const MACHINE: [&str; 8] = [
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/loadavg",
    "/proc/uptime",
    "/proc/version",
    "/proc/filesystems",
    "/proc/sys",
];
/// Folders of settings are looked into this deep; what is below a deeper one is not shown.
const DEPTH_MAX: usize = 12;

/// The part of it that is the same for every attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// What not everybody may read, the topmost of each.
    pub(super) secret: Vec<PathBuf>,
    /// All the rest, in as few paths as it takes.
    pub(super) shown: Vec<PathBuf>,
}

impl Settings {
    pub(super) fn look(root: &Path) -> Self {
        let mut settings = Self::default();
        if !settings.divide(root, DEPTH_MAX) {
            settings.shown.push(root.to_owned());
        }
        settings.secret.sort();
        settings.shown.sort();
        settings
    }

    /// Whether there is a secret at or below it; then what is none was added to `shown`.
    fn divide(&mut self, path: &Path, depth: usize) -> bool {
        let Ok(meta) = path.symlink_metadata() else { return true };
        // Where a link leads decides what it shows.
        if meta.is_symlink() {
            return false;
        }
        let needed = if meta.is_dir() { 0o005 } else { 0o004 };
        if depth == 0 || meta.permissions().mode() & needed != needed {
            self.secret.push(path.to_owned());
            return true;
        }
        if !meta.is_dir() {
            return false;
        }
        let mut clean = Vec::new();
        let mut found = false;
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            if self.divide(&entry.path(), depth - 1) {
                found = true;
            } else {
                clean.push(entry.path());
            }
        }
        if found {
            self.shown.extend(clean);
        }
        found
    }
}

/// What one attempt sees beside the system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    /// Everything may be read.
    pub(super) everything: bool,
    pub(super) read: BTreeSet<PathBuf>,
    pub(super) write: BTreeSet<PathBuf>,
    pub(super) private: Option<PathBuf>,
}

impl View {
    /// `secrets` is the folder with the attempt's secret files.
    pub(super) fn of(confine: &Confine, secrets: Option<&Path>) -> Self {
        let paths = |list: &[String]| list.iter().map(PathBuf::from).collect::<BTreeSet<_>>();
        let mut read = confine.read.as_deref().map(paths).unwrap_or_default();
        read.extend(secrets.map(Path::to_owned));
        if confine.network && confine.read.is_some() {
            // Often a link into a folder of the name service, which is not seen otherwise.
            read.extend(fs::canonicalize("/etc/resolv.conf"));
        }
        let private = confine.private.as_ref().map(PathBuf::from);
        let mut write = paths(&confine.write);
        write.extend(private.clone());
        Self { everything: confine.read.is_none(), read, write, private }
    }

    /// The same for Landlock. `own`: `/proc`, `/dev` and `/tmp` are the task's own.
    pub(super) fn rules(&self, settings: &Settings, own: bool, scoped: bool) -> Rules {
        let text = |path: &Path| path.display().to_string();
        let mut read: Vec<String> = PROGRAMS.map(str::to_owned).to_vec();
        read.extend(settings.shown.iter().map(|path| text(path)));
        read.extend(self.read.iter().map(|path| text(path)));
        let mut write: Vec<String> = self.write.iter().map(|path| text(path)).collect();
        if self.everything {
            read.push("/".to_owned());
        }
        if own {
            write.extend(["/proc", "/dev", "/tmp"].map(str::to_owned));
        } else {
            // `self` is this very process, and the task when it has become that. Its children's is not shown, because
            // a rule would have to show everybody's.
            read.extend(MACHINE.into_iter().chain(["/proc/self"]).map(str::to_owned));
        }
        // Where only what was mounted is there, its names are no secret.
        let list = vec![if own { "/" } else { SETTINGS }.to_owned()];
        Rules { reads: true, scoped, read, list, write, devices: DEVICES.map(str::to_owned).to_vec() }
    }

    /// For Landlock that holds writing alone.
    pub(super) fn write_rules(&self) -> Rules {
        let mut write: Vec<String> = self.write.iter().map(|path| path.display().to_string()).collect();
        // Semaphores and shared memory are files there, and terminals are here.
        write.extend(["/dev/shm", "/dev/pts", "/dev/ptmx", "/dev/tty"].map(str::to_owned));
        Rules { write, devices: DEVICES.map(str::to_owned).to_vec(), ..Rules::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    #[test]
    fn what_not_everybody_may_read_is_secret() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("etc");
        let mode = |path: &str, mode: u32| fs::set_permissions(root.join(path), Permissions::from_mode(mode)).unwrap();
        for folder in ["ssl/certs", "ssl/private", "ssh"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        for (file, bits) in [("passwd", 0o644), ("shadow", 0o640), ("ssh/config", 0o644), ("ssl/private/key", 0o644)] {
            fs::write(root.join(file), "").unwrap();
            mode(file, bits);
        }
        for folder in ["", "ssl", "ssl/certs", "ssh"] {
            mode(folder, 0o755);
        }
        mode("ssl/private", 0o710);
        std::os::unix::fs::symlink("/root/x", root.join("link")).unwrap();
        let settings = Settings::look(&root);
        let names = |paths: &[&str]| paths.iter().map(|path| root.join(path)).collect::<Vec<_>>();
        assert_eq!(settings.secret, names(&["shadow", "ssl/private"]));
        assert_eq!(settings.shown, names(&["link", "passwd", "ssh", "ssl/certs"]));

        mode("shadow", 0o644);
        mode("ssl/private", 0o755);
        assert_eq!(Settings::look(&root), Settings { secret: vec![], shown: vec![root.clone()] });
    }
}
