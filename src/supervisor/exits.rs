//! The exit log: a JSON line when the log is opened, when a process was started and when one ended. A line is handed
//! to the kernel before anybody is told, so whoever reads the log after a crash of ours knows at least as much as
//! anybody was told. [`read`] takes it back in; a torn last line is cut.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::frame::EndedBy;

/// The version of the lines.
pub const VERSION: u32 = 1;

/// Logs of before versions were written down have none.
fn first_version() -> u32 {
    1
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// A supervisor began to write. Its pids and times mean something until the next boot.
    Opened {
        /// The version of the lines that follow.
        #[serde(default = "first_version")]
        v: u32,
        run: String,
        supervisor: u32,
        boot: String,
    },
    Spawned {
        attempt: u32,
        label: String,
        pid: u32,
        boot_ms: u64,
    },
    Exited(Exit),
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    pub attempt: u32,
    pub label: String,
    pub pid: u32,
    pub boot_ms: u64,
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub ended_by: Option<EndedBy>,
    pub wall_ms: u64,
    pub cpu_ms: u64,
    pub max_rss_bytes: u64,
    pub output_bytes: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaked: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub oom_killed: bool,
}

/// The writing end. Lines are gathered and handed over by [`ExitLog::write`].
#[derive(Debug)]
pub(super) struct ExitLog {
    file: File,
    lines: Vec<u8>,
    /// Bytes of `lines` that an interrupted write took already.
    taken: usize,
}

impl ExitLog {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().append(true).create(true).read(true).open(path)?;
        // A supervisor that died half way through a line must not spoil the first of ours.
        let length = file.metadata()?.len();
        let mut last = [b'\n'];
        if length > 0 {
            file.read_exact_at(&mut last, length - 1)?;
        }
        if last != [b'\n'] {
            file.write_all(b"\n")?;
        }
        Ok(Self { file, lines: Vec::new(), taken: 0 })
    }

    pub(super) fn add(&mut self, entry: &Entry) {
        serde_json::to_writer(&mut self.lines, entry).expect("plain structs always serialize into memory");
        self.lines.push(b'\n');
    }

    /// Hands the lines to the kernel. After an error the next call goes on where this one stopped.
    pub(super) fn write(&mut self) -> io::Result<()> {
        while self.taken < self.lines.len() {
            self.taken += match self.file.write(&self.lines[self.taken..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) => return Err(error),
            };
        }
        self.lines.clear();
        self.taken = 0;
        Ok(())
    }
}

/// The id of this boot; empty where the system has none.
#[must_use]
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// What a log holds. Lines that cannot be read (torn by a crash, or of a later version) are counted and passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exits {
    pub entries: Vec<Entry>,
    pub unreadable: usize,
}

impl Exits {
    /// Attempts started under this boot of which no end is recorded: pid and start time since boot in ms.
    #[must_use]
    pub(super) fn open_ended(&self, boot: &str) -> Vec<(u32, u64)> {
        let mut open = Vec::new();
        let mut ours = false;
        for entry in &self.entries {
            match entry {
                Entry::Opened { boot: theirs, .. } => ours = theirs == boot && !boot.is_empty(),
                Entry::Spawned { pid, boot_ms, .. } if ours => open.push((*pid, *boot_ms)),
                Entry::Exited(exit) => open.retain(|known| *known != (exit.pid, exit.boot_ms)),
                Entry::Spawned { .. } => {}
            }
        }
        open
    }
}

/// Reads an exit log. One that does not exist is empty.
///
/// # Errors
/// When it exists and cannot be read, or a later version wrote it.
pub fn read(path: &Path) -> io::Result<Exits> {
    match fs::read(path) {
        Ok(bytes) => known(path, parse(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Exits::default()),
        Err(error) => Err(error),
    }
}

fn known(path: &Path, exits: Exits) -> io::Result<Exits> {
    let later = exits.entries.iter().find_map(|entry| match entry {
        Entry::Opened { v, .. } => (*v > VERSION).then_some(*v),
        _ => None,
    });
    match later {
        None => Ok(exits),
        Some(v) => {
            let text = format!("{} has format version {v}; this fleet reads version {VERSION}", path.display());
            Err(io::Error::new(io::ErrorKind::InvalidData, text))
        }
    }
}

fn parse(bytes: &[u8]) -> Exits {
    let mut exits = Exits::default();
    for line in bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice(line) {
            Ok(entry) => exits.entries.push(entry),
            Err(_) => exits.unreadable += 1,
        }
    }
    exits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spawned(attempt: u32, pid: u32) -> Entry {
        Entry::Spawned { attempt, label: format!("t.{attempt}"), pid, boot_ms: 5 }
    }

    fn exited(attempt: u32, pid: u32) -> Entry {
        Entry::Exited(Exit {
            attempt,
            label: format!("t.{attempt}"),
            pid,
            boot_ms: 5,
            code: Some(0),
            signal: None,
            ended_by: None,
            wall_ms: 1,
            cpu_ms: 1,
            max_rss_bytes: 1,
            output_bytes: 0,
            leaked: Vec::new(),
            oom_killed: false,
        })
    }

    #[test]
    fn a_log_cut_anywhere_loses_only_its_last_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("here.log");
        assert_eq!(read(&path).unwrap(), Exits::default());
        let entries = [spawned(1, 10), spawned(2, 11), exited(1, 10)];
        let mut log = ExitLog::open(&path).unwrap();
        for entry in &entries {
            log.add(entry);
        }
        log.write().unwrap();
        let whole = fs::read(&path).unwrap();
        for cut in 0..=whole.len() {
            let lines = whole[..cut].split(|&b| b == b'\n').count() - 1;
            let got = parse(&whole[..cut]);
            let rest = got.entries.len() + got.unreadable - lines;
            assert!(rest <= 1 && got.entries[..] == entries[..got.entries.len()], "cut at {cut}");

            fs::write(&path, &whole[..cut]).unwrap();
            let mut log = ExitLog::open(&path).unwrap();
            log.add(&exited(2, 11));
            log.write().unwrap();
            assert_eq!(read(&path).unwrap().entries.last(), Some(&exited(2, 11)), "appended after a cut at {cut}");
        }
    }

    #[test]
    fn old_logs_are_read_and_later_ones_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("here.log");
        fs::write(&path, "{\"opened\":{\"run\":\"r\",\"supervisor\":1,\"boot\":\"b\"}}\n").unwrap();
        let opened = Entry::Opened { v: 1, run: "r".into(), supervisor: 1, boot: "b".into() };
        assert_eq!(read(&path).unwrap().entries, [opened]);
        fs::write(&path, "{\"opened\":{\"v\":2,\"run\":\"r\",\"supervisor\":1,\"boot\":\"b\"}}\n").unwrap();
        assert!(read(&path).unwrap_err().to_string().ends_with("has format version 2; this fleet reads version 1"));
    }

    #[test]
    fn what_was_started_and_not_ended_in_this_boot_is_open() {
        let opened = |boot: &str| Entry::Opened { v: VERSION, run: "r".into(), supervisor: 1, boot: boot.into() };
        let entries = vec![opened("old"), spawned(1, 10), opened("now"), spawned(2, 11), spawned(3, 12), exited(2, 11)];
        let exits = Exits { entries, unreadable: 0 };
        assert_eq!(exits.open_ended("now"), [(12, 5)]);
        assert_eq!(exits.open_ended(""), []);
    }
}
