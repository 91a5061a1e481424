//! A folder with a fleet of small tasks that tell of themselves, and a judge who reads what they told and what is on
//! record, without fleet's own code.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::row::Row;

/// The faults of one world.
pub(crate) const KINDS: [&str; 5] = ["lost", "started again", "overlaps", "not finished", "survivors"];

/// Each start takes a lock that lives as long as any process of the attempt, and says so when somebody holds it.
const TASK: &str = r#"#!/bin/sh
exec 9>"live/$1"
flock -n 9 || echo "$1" >> overlaps
echo "$1" >> starts
[ -z "$2" ] || sleep "$2"
"#;

/// In a fleet file: the word by which the processes of a world are known.
pub(crate) const MARKER: &str = "@marker@";

pub(crate) struct World {
    folder: TempDir,
    marker: String,
}

/// What is on record before a command.
#[derive(Debug, Default)]
pub(crate) struct Known {
    passed: BTreeSet<String>,
    exited: BTreeSet<String>,
    starts: BTreeMap<String, usize>,
}

impl World {
    /// `count` tasks in layers of eight, each needing two of the layer before it; each takes `sleep` seconds.
    pub(crate) fn new(count: usize, sleep: &str) -> Self {
        let mut text = "version = 1\nname = 'world'\nseed = 1\n[workers.here]\nhost = 'local'\nslots = 4\n".to_owned();
        for n in 0..count {
            let needs = match n.checked_sub(8) {
                Some(before) => format!("needs = ['t{}', 't{}']\n", before, before / 8 * 8 + (before + 3) % 8),
                None => String::new(),
            };
            let _ = write!(text, "[tasks.t{n}]\n{needs}run = './task t{n} {sleep} {MARKER}'\n");
        }
        Self::of(&text)
    }

    /// A fleet file, in which [`MARKER`] stands for what the tasks of this world have among their arguments.
    pub(crate) fn of(text: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("world-").tempdir().expect("there is room for a folder");
        let marker = folder.path().file_name().expect("it has a name").to_string_lossy().into_owned();
        let world = Self { folder, marker };
        fs::write(world.path("fleet.toml"), text.replace(MARKER, &world.marker)).expect("the folder is ours");
        fs::write(world.path("task"), TASK).expect("the folder is ours");
        fs::create_dir(world.path("live")).expect("the folder is ours");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(world.path("task"), mode).expect("the file is ours");
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command in the folder, in silence, by way of another program where there are words for one.
    pub(crate) fn command(&self, before: &[&str], words: &[&str]) -> Command {
        let fleet = env!("CARGO_BIN_EXE_fleet");
        let mut all = before.iter().copied().chain([fleet]).chain(words.iter().copied());
        let mut command = Command::new(all.next().expect("at least fleet"));
        command.args(all).current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    pub(crate) fn start(&self, before: &[&str], words: &[&str]) -> Child {
        self.command(before, words).spawn().expect("the program is there")
    }

    /// The exit code; `None` when a signal ended it.
    pub(crate) fn run(&self, words: &[&str]) -> Option<i32> {
        self.command(&[], words).status().expect("the program was built").code()
    }

    pub(crate) fn run_dir(&self) -> Option<PathBuf> {
        fs::read_dir(self.path(".fleet/runs")).ok()?.filter_map(|run| Some(run.ok()?.path())).max()
    }

    /// The records of the latest run; a torn end is left out.
    pub(crate) fn records(&self) -> Vec<Value> {
        let Some(dir) = self.run_dir() else { return Vec::new() };
        lines(&dir.join("journal.jsonl"))
    }

    /// The receipts in records of their own.
    pub(crate) fn receipts(&self) -> Vec<Value> {
        let receipts = self.records().into_iter().map(|mut record| record["receipt"].take());
        receipts.filter(Value::is_object).collect()
    }

    /// The word by which the processes of this world are known.
    pub(crate) fn marker(&self) -> &str {
        &self.marker
    }

    pub(crate) fn known(&self) -> Known {
        let mut known = Known { starts: self.starts(), ..Known::default() };
        for record in self.records() {
            if record["receipt"]["result"] == "pass" {
                known.passed.insert(record["receipt"]["task_id"].as_str().unwrap_or_default().to_owned());
            }
        }
        let Some(dir) = self.run_dir() else { return known };
        for log in fs::read_dir(dir.join("exits")).into_iter().flatten().flatten() {
            for entry in lines(&log.path()) {
                let exit = &entry["exited"];
                if exit["code"] == 0 && exit["ended_by"].is_null() {
                    let label = exit["label"].as_str().unwrap_or_default();
                    known.exited.insert(label.rsplit_once('.').map_or(label, |(task, _)| task).to_owned());
                }
            }
        }
        known
    }

    fn starts(&self) -> BTreeMap<String, usize> {
        let mut starts = BTreeMap::new();
        for task in fs::read_to_string(self.path("starts")).unwrap_or_default().lines() {
            *starts.entry(task.to_owned()).or_default() += 1;
        }
        starts
    }

    /// Holds what is now against what was known before the last command.
    pub(crate) fn compare(&self, before: &Known, row: &mut Row, what: &str) {
        let now = self.known();
        for task in before.passed.difference(&now.passed) {
            row.wrong("lost", format!("{task} after {what}"));
        }
        for task in before.exited.union(&before.passed) {
            if now.starts.get(task) != before.starts.get(task) {
                row.wrong("started again", format!("{task} after {what}"));
            }
        }
    }

    /// Holds the end against what a run without trouble comes to.
    pub(crate) fn judge(&self, count: usize, row: &mut Row, what: &str) {
        let passed = self.known().passed.len();
        if passed != count {
            row.wrong("not finished", format!("{passed} of {count} passed after {what}"));
        }
        for task in fs::read_to_string(self.path("overlaps")).unwrap_or_default().lines() {
            row.wrong("overlaps", format!("{task} after {what}"));
        }
        for pid in self.survivors() {
            row.wrong("survivors", format!("{pid} after {what}"));
        }
    }

    /// Processes of tasks that live.
    pub(crate) fn survivors(&self) -> Vec<u32> {
        let processes = fs::read_dir("/proc").expect("there is a /proc").flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let ours = |pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|word| word == self.marker.as_bytes())
        };
        pids.filter(ours).collect()
    }
}

fn lines(path: &Path) -> Vec<Value> {
    lines_of(&fs::read(path).unwrap_or_default())
}

/// Lines of JSON; what is none is left out.
pub(crate) fn lines_of(bytes: &[u8]) -> Vec<Value> {
    bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}
