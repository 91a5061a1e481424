//! Removing a group with those that were made below it: by a run within the run, or by the task itself.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use walkdir::WalkDir;

/// How long the kernel may take to let go of a group whose processes have ended.
const REMOVE_MAX: Duration = Duration::from_secs(2);

/// Ends what is in a group and removes it.
pub(super) fn end(folder: &Path) {
    let begin = Instant::now();
    while let Err(error) = empty(folder) {
        if error.raw_os_error() != Some(libc::EBUSY) || begin.elapsed() > REMOVE_MAX {
            break;
        }
        kill_all(folder);
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Removes a group in which there are no processes, or as much of it.
pub(super) fn empty(folder: &Path) -> io::Result<()> {
    match fs::remove_dir(folder) {
        // There are groups in it. What is wrong with one of them is wrong with this one afterwards.
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
            for group in all(folder).filter(|group| group != folder) {
                let _ = fs::remove_dir(group);
            }
            fs::remove_dir(folder)
        }
        result => result,
    }
}

/// It and all below it, the lowest first. A group's files cannot be removed and go with it.
fn all(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = WalkDir::new(folder).contents_first(true).into_iter().flatten();
    entries.filter(|entry| entry.file_type().is_dir()).map(walkdir::DirEntry::into_path)
}

/// Only descendants of the attempt's first process can be in its group.
fn kill_all(folder: &Path) {
    // From Linux 5.14 on, with all below it at once.
    if fs::write(folder.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    for group in all(folder) {
        let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        for pid in members.lines().filter_map(|line| rustix::process::Pid::from_raw(line.parse().ok()?)) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}
