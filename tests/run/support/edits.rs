//! What people do to a workspace between two runs, and what those runs made of it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::SystemTime;

use super::{Fleet, Told};

impl Fleet {
    /// Writes into a file, the one that is there if there is one: its inode and its mode stay.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).expect("the file is ours");
    }

    /// Whatever is there: a file, a link, a folder with all in it.
    pub(crate) fn delete(&self, name: &str) {
        let path = self.path(name);
        let is_folder = fs::symlink_metadata(&path).expect("there is something to delete").is_dir();
        let done = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        done.expect("the folder is ours");
    }

    pub(crate) fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).expect("the folder is ours");
    }

    pub(crate) fn chmod(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).expect("the file is ours");
    }

    pub(crate) fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).expect("it is there").permissions().mode() & 0o7777
    }

    pub(crate) fn folder(&self, name: &str) {
        fs::create_dir_all(self.path(name)).expect("the folder is ours");
    }

    /// A link with that text, in the place of an older one.
    pub(crate) fn link(&self, name: &str, to: &str) {
        let path = self.path(name);
        if fs::symlink_metadata(&path).is_ok() {
            fs::remove_file(&path).expect("the link is ours");
        }
        symlink(to, path).expect("the folder is ours");
    }

    pub(crate) fn link_text(&self, name: &str) -> String {
        fs::read_link(self.path(name)).expect("it is a link").display().to_string()
    }

    /// When the file says that it was changed.
    pub(crate) fn stamped(&self, name: &str) -> SystemTime {
        fs::metadata(self.path(name)).expect("it is there").modified().expect("the system keeps it")
    }

    /// Makes a file say that it was changed then.
    pub(crate) fn stamp(&self, name: &str, at: SystemTime) {
        let file = fs::File::open(self.path(name)).expect("it is there");
        file.set_modified(at).expect("the file is ours");
    }

    /// Writes into a file and makes it say that nobody did.
    pub(crate) fn write_unstamped(&self, name: &str, text: &str) {
        let before = self.stamped(name);
        assert_eq!(self.read(name).len(), text.len(), "it is to look the same");
        self.write(name, text);
        self.stamp(name, before);
    }

    pub(crate) fn append(&self, name: &str, text: &str) {
        let mut file = fs::OpenOptions::new().append(true).open(self.path(name)).expect("the file is ours");
        file.write_all(text.as_bytes()).expect("the file is ours");
    }

    /// A new text of the fleet file, with the head that [`Fleet::of`] gives it.
    pub(crate) fn tasks(&self, tasks: &str) {
        self.write("fleet.toml", format!("version = 1\nname = \"story\"\nseed = 1\n{tasks}"));
    }

    /// Changes a word of the fleet file.
    pub(crate) fn reword(&self, from: &str, to: &str) {
        let text = self.read("fleet.toml");
        assert!(text.contains(from), "`{from}` is not in\n{text}");
        self.write("fleet.toml", text.replace(from, to));
    }
}

impl Told {
    /// Exactly these tasks were started, in any order.
    #[track_caller]
    pub(crate) fn ran(self, tasks: &str) -> Self {
        let mut ran = self.0.fleet.started();
        ran.sort();
        let mut want: Vec<&str> = tasks.split_whitespace().collect();
        want.sort_unstable();
        assert_eq!(ran, want, "\n── stdout\n{}\n── stderr\n{}", self.0.stdout, self.0.stderr);
        self
    }

    /// Exactly these tasks stand on an earlier result, each of which is in the journal it is said to be in.
    #[track_caller]
    pub(crate) fn reused(self, tasks: &str) -> Self {
        let receipts = self.0.fleet.receipts();
        let reused = receipts.iter().filter(|receipt| !receipt["reused"].is_null());
        let mut reused: Vec<&str> = reused.map(|receipt| receipt["task_id"].as_str().expect("a name")).collect();
        reused.sort_unstable();
        let mut want: Vec<&str> = tasks.split_whitespace().collect();
        want.sort_unstable();
        assert_eq!(reused, want, "\n── stdout\n{}\n── stderr\n{}", self.0.stdout, self.0.stderr);
        for task in want {
            self.0.fleet.cited(task);
        }
        self
    }
}

impl Fleet {
    /// The receipt that the latest receipt of a task stands on, once it is sure that it may.
    #[track_caller]
    pub(crate) fn cited(&self, task: &str) -> serde_json::Value {
        let receipt = self.receipt(task);
        let reused = &receipt["reused"];
        let run = reused["run_id"].as_str().expect("it names a run");
        let records = super::journal::read(&self.path(".fleet/runs").join(run));
        let mut found = records.into_iter().filter(|record| record["seq"] == reused["journal_seq"]);
        let mut record = found.next().expect("the journal has that record");
        let cited = record["receipt"].take();
        assert_eq!(cited["task_id"], receipt["task_id"]);
        assert_eq!(cited["attempt"], reused["attempt"]);
        assert_eq!((&cited["result"], &cited["reused"]), (&"pass".into(), &serde_json::Value::Null), "{cited}");
        for same in ["fingerprint", "outputs", "artifacts", "inputs_digest", "result"] {
            assert_eq!(cited[same], receipt[same], "{same} of {task}");
        }
        assert!(cited["fingerprint"].as_str().is_some_and(|text| text.starts_with("sha256:")), "{cited}");
        cited
    }
}
