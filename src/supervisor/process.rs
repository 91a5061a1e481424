//! What `/proc` says about the processes of this machine. A snapshot is not atomic: who must be sure that nobody is
//! left takes another one until nothing is found.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal};

use super::sys;

/// One line of the process table.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    pub(super) zombie: bool,
    /// Time since boot at which it was started, in ms (the kernel's grain is 10).
    pub(super) start_ms: u64,
    pub(super) name: String,
}

impl Process {
    /// Reads one process; `None` when it is gone.
    pub(super) fn read(pid: i32) -> Option<Self> {
        let mut text = [0; 1024];
        let length = File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut text).ok()?;
        Self::parse(&String::from_utf8_lossy(&text[..length]))
    }

    /// `pid (name) state ppid pgrp session …`, where the name may hold anything, so its end is the last `)`.
    fn parse(text: &str) -> Option<Self> {
        let (pid, rest) = text.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        let session = fields.next()?.parse().ok()?;
        // Field 22 of proc(5); the four above were 3 to 6.
        let ticks: u64 = fields.nth(15)?.parse().ok()?;
        let zombie = matches!(state, "Z" | "X" | "x");
        let start_ms = ticks.saturating_mul(1000) / sys::clock_ticks_per_second();
        Some(Self { pid: pid.parse().ok()?, parent, group, session, zombie, start_ms, name: name.to_owned() })
    }

    /// `pid name`, as receipts show it.
    pub(super) fn shown(&self) -> String {
        format!("{} {}", self.pid, self.name)
    }

    /// The value of a variable in the environment it was started with.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        let environ = fs::read(format!("/proc/{}/environ", self.pid)).ok()?;
        let value = environ.split(|&b| b == 0).find_map(|var| var.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    /// Signals it, and nobody who got its number since.
    pub(super) fn signal_alone(&self, signal: Signal) {
        if let Some((fd, _)) = self.hold() {
            let _ = rustix::process::pidfd_send_signal(fd, signal);
        }
    }

    /// A descriptor that stays this process, and what it is now.
    fn hold(&self) -> Option<(OwnedFd, Self)> {
        let fd = rustix::process::pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        let now = Self::read(self.pid)?;
        (now.start_ms == self.start_ms).then_some((fd, now))
    }

    /// Signals it, its group with it when that is not ours, and nobody who got its number since.
    pub(super) fn signal(&self, signal: Signal) {
        let Some((fd, now)) = self.hold() else { return };
        let (_, ours) = sys::session_and_group();
        if now.group != ours && !now.zombie {
            // A group is signalled as one, which no member can escape by forking; one by one they could.
            sys::signal_group(now.group, signal.as_raw());
        }
        let _ = rustix::process::pidfd_send_signal(fd, signal);
    }
}

/// All processes, by pid.
#[derive(Debug, Default)]
pub(super) struct Snapshot(Vec<Process>);

impl Snapshot {
    pub(super) fn take() -> Self {
        let Ok(entries) = fs::read_dir("/proc") else { return Self::default() };
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        Self(pids.filter_map(Process::read).collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Process> {
        self.0.iter()
    }

    pub(super) fn get(&self, pid: i32) -> Option<&Process> {
        self.0.iter().find(|process| process.pid == pid)
    }

    pub(super) fn children(&self, pid: i32) -> impl Iterator<Item = &Process> {
        self.0.iter().filter(move |process| process.parent == pid)
    }

    /// Everything at or below one of the roots, zombies left out.
    pub(super) fn trees(&self, roots: impl IntoIterator<Item = i32>) -> Vec<&Process> {
        let mut inside: HashSet<i32> = roots.into_iter().collect();
        // The table is in pid order and children mostly come after their parents, so this settles in a round or two.
        loop {
            let before = inside.len();
            inside.extend(self.0.iter().filter(|p| inside.contains(&p.parent)).map(|p| p.pid).collect::<Vec<_>>());
            if inside.len() == before {
                return self.0.iter().filter(|p| !p.zombie && inside.contains(&p.pid)).collect();
            }
        }
    }

    /// Itself and everything above it.
    pub(super) fn line_of(&self, pid: i32) -> HashSet<i32> {
        let mut line = HashSet::new();
        let mut next = pid;
        while next > 0 && line.insert(next) {
            next = self.get(next).map_or(0, |process| process.parent);
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_is_read() {
        let text = "12 (a) b (c) S 3 4 5 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 777 9 9\n";
        let process = Process::parse(text).unwrap();
        assert_eq!((process.pid, process.parent, process.group, process.session), (12, 3, 4, 5));
        assert_eq!(process.name, "a) b (c");
        assert_eq!(process.start_ms, 777 * 1000 / sys::clock_ticks_per_second());
        for cut in 0..text.len() - 6 {
            let _ = Process::parse(&text[..cut]);
        }
    }

    #[test]
    fn the_snapshot_holds_us_and_those_above_us() {
        let me = rustix::process::getpid().as_raw_nonzero().get();
        let snapshot = Snapshot::take();
        let line = snapshot.line_of(me);
        assert!(line.contains(&me) && line.contains(&1));
        assert!(snapshot.trees([me]).iter().any(|p| p.pid == me));
    }
}
