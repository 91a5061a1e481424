//! The options of bubblewrap: which namespaces, and a file system made of what the task may see.

use std::fs;
use std::path::{Path, PathBuf};

use super::again::Again;
use super::view::{PROGRAMS, SETTINGS, Settings, View};

/// The namespaces that are always made, by the names that a receipt has.
pub(super) const NAMESPACES: [&str; 4] = ["user_namespace", "pid_namespace", "ipc_namespace", "uts_namespace"];

/// Options, as `bwrap --args` reads them.
#[derive(Debug, Default)]
pub(super) struct Options(Vec<u8>);

impl Options {
    fn add(&mut self, words: &[&str]) {
        for word in words {
            self.0.extend_from_slice(word.as_bytes());
            self.0.push(0);
        }
    }

    fn mount(&mut self, option: &str, from: &Path, to: &Path) {
        self.add(&[option, &from.display().to_string(), &to.display().to_string()]);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

pub(super) fn options(view: &View, settings: &Settings, network: bool, again: &Again) -> Options {
    let mut options = Options::default();
    // The task is no child of the first process, and signals reach it as they would outside: see `inside`.
    options.add(&["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]);
    options.add(&["--die-with-parent", "--as-pid-1", "--cap-drop", "ALL"]);
    if !network {
        options.add(&["--unshare-net"]);
    }
    if view.everything {
        options.add(&["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]);
    } else {
        show_system(&mut options, settings);
        options.add(&["--proc", "/proc", "--dev", "/dev"]);
        match &view.private {
            // So that a program that insists on /tmp takes no memory for it.
            Some(private) => options.mount("--bind", &private.join("tmp"), Path::new("/tmp")),
            None => options.add(&["--tmpfs", "/tmp"]),
        }
    }
    for (path, option) in given(view) {
        // A path may lead through a link that is not there in the new tree.
        let real = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        options.mount(option, &real, &path);
        if real != path {
            options.mount(option, &real, &real);
        }
    }
    for file in again.files() {
        options.add(&["--ro-bind", file, file]);
    }
    if !view.everything {
        options.add(&["--remount-ro", "/"]);
    }
    options
}

/// What probing wants to see: that a namespace of every kind can be made, and a file system in it.
pub(super) fn trial(again: &Again) -> Options {
    options(&View::default(), &Settings { secret: Vec::new(), shown: Vec::new() }, false, again)
}

fn show_system(options: &mut Options, settings: &Settings) {
    for folder in PROGRAMS {
        match fs::read_link(folder) {
            Ok(to) => options.add(&["--symlink", &to.display().to_string(), folder]),
            Err(_) => options.add(&["--ro-bind-try", folder, folder]),
        }
    }
    options.add(&["--ro-bind-try", SETTINGS, SETTINGS]);
    for secret in &settings.secret {
        if secret.is_dir() {
            let empty = secret.display().to_string();
            options.add(&["--tmpfs", &empty, "--remount-ro", &empty]);
        } else {
            options.mount("--ro-bind-try", Path::new("/dev/null"), secret);
        }
    }
}

/// What was given, parents before what is in them; what may be written and read may be written.
fn given(view: &View) -> Vec<(PathBuf, &'static str)> {
    let read = view.read.iter().filter(|path| !view.write.iter().any(|write| path.starts_with(write)));
    let read = read.filter(|path| !view.everything || path.starts_with("/dev")).map(|path| (path, "--ro-bind-try"));
    let write = view.write.iter().map(|path| (path, "--bind"));
    let mut given: Vec<_> = read.chain(write).map(|(path, option)| (path.clone(), option)).collect();
    given.sort();
    given
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_mounted_before_what_is_in_them() {
        let set = |paths: &[&str]| paths.iter().map(PathBuf::from).collect();
        let view =
            View { read: set(&["/a/b", "/c", "/w/in"]), write: set(&["/a/b/c", "/w", "/a-"]), ..View::default() };
        let order: Vec<_> =
            given(&view).into_iter().map(|(path, option)| format!("{option} {}", path.display())).collect();
        assert_eq!(order, ["--ro-bind-try /a/b", "--bind /a/b/c", "--bind /a-", "--ro-bind-try /c", "--bind /w"]);
    }
}
