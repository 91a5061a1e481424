//! Processes as `/proc` shows them.

use std::fs;
use std::time::{Duration, Instant};

/// What the contract gives a killed run to be gone with all it started.
pub(crate) const NOTHING_LEFT_WITHIN: Duration = Duration::from_secs(2);

fn pids() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc").expect("there is a /proc").filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Living processes with this among their arguments. A zombie has no arguments.
pub(crate) fn with_argument(marker: &str) -> Vec<u32> {
    let has = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|argument| argument == marker.as_bytes())
    };
    pids().filter(has).collect()
}

/// Living children of a process.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let is_child = |pid: &u32| {
        let fields = stat(*pid);
        fields.first().is_some_and(|state| state != "Z") && fields.get(1) == Some(&parent.to_string())
    };
    pids().filter(is_child).collect()
}

/// The supervisor of a run: the child of it that was told to supervise.
pub(crate) fn supervisor(engine: u32) -> u32 {
    let supervises = |pid: &u32| with_argument("supervise").contains(pid);
    let found: Vec<u32> = children(engine).into_iter().filter(supervises).collect();
    assert_eq!(found.len(), 1, "one supervisor");
    found[0]
}

/// The state letter, the parent and what follows them in `/proc/<pid>/stat`; empty when there is no such process.
pub(crate) fn stat(pid: u32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    text.rsplit_once(") ").map_or(Vec::new(), |(_, rest)| rest.split(' ').map(str::to_owned).collect())
}

pub(crate) fn is_stopped(pid: u32) -> bool {
    stat(pid).first().is_some_and(|state| state == "T")
}

/// Whether a process is stopped, or waits for a child that was stopped between its vfork and its exec.
pub(crate) fn stands_still(pid: u32) -> bool {
    stat(pid).first().is_some_and(|state| state == "T" || state == "D")
}

/// Most memory a process ever had, in KiB.
pub(crate) fn memory_peak_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel says so");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[track_caller]
pub(crate) fn assert_gone(marker: &str, since: Instant) {
    loop {
        let left = with_argument(marker);
        if left.is_empty() {
            return;
        }
        assert!(since.elapsed() < NOTHING_LEFT_WITHIN, "still there: {left:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
