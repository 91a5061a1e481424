//! A folder with a small fleet, and what is found in it after a run.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn with(tasks: &str) -> Self {
        let folder = TempDir::new().expect("there is room for a folder");
        fs::write(folder.path().join("fleet.toml"), format!("version = 1\nname = \"hard\"\nseed = 1\n{tasks}"))
            .expect("the folder is ours");
        Self(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("the folder is ours");
    }

    /// `program` in this folder, where only what is named here is set.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(self.0.path());
        command.env("PATH", std::env::var_os("PATH").expect("tests have a PATH")).env("HOME", self.0.path());
        command
    }

    pub(crate) fn fleet<const N: usize>(&self, words: [&str; N]) -> Output {
        self.command(FLEET).args(words).output().expect("the program was built")
    }

    /// The records of the latest run that are whole; none when there is no run.
    pub(crate) fn records(&self) -> Vec<Value> {
        let text =
            self.runs().max().and_then(|run| fs::read_to_string(run.join("journal.jsonl")).ok()).unwrap_or_default();
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| serde_json::from_str(line).expect("a whole line is a record")).collect()
    }

    pub(crate) fn runs(&self) -> impl Iterator<Item = PathBuf> {
        fs::read_dir(self.path(".fleet/runs")).into_iter().flatten().filter_map(|run| Some(run.ok()?.path()))
    }

    /// The folder of the latest run.
    pub(crate) fn run_dir(&self) -> PathBuf {
        self.runs().max().expect("there was a run")
    }

    /// Tasks with this result on record.
    pub(crate) fn with_result(&self, result: &str) -> Vec<String> {
        let records = self.records();
        let receipts = records.iter().map(|record| &record["receipt"]).filter(|receipt| receipt["result"] == result);
        receipts.map(|receipt| receipt["task_id"].as_str().expect("a name").to_owned()).collect()
    }
}

/// Waits until something is so; `what` is for the message of a test that gave up.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < Duration::from_mins(1), "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The one child of a process.
pub(crate) fn child_of(pid: u32) -> u32 {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("it lives");
    text.trim().parse().expect("it has one child")
}

pub(crate) fn is_traced(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() != "0"))
}

pub(crate) const FLEET: &str = env!("CARGO_BIN_EXE_fleet");

pub(crate) fn told(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{:?}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr))
}
