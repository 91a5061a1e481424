//! Two machines, a workspace with two workers on them, and what has to hold when one is lost: the run comes to its end, and
//! each task is done once in the results.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use walkdir::WalkDir;

use super::hosts::net::Machine;
use super::hosts::or_left_out;
use super::journal;

/// How long a worker of these tests may be silent.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

/// The end of a test that would hang.
const PATIENCE: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(crate) struct World {
    folder: TempDir,
    pub(crate) machines: [Machine; 2],
    /// What its tasks have among their words.
    mark: String,
}

/// A run that goes on. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Living<'a> {
    world: &'a World,
    child: Child,
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Seen {
    /// None when it hung and was killed.
    pub(crate) code: Option<i32>,
    pub(crate) said: String,
    pub(crate) records: Vec<Value>,
    receipts: Vec<Value>,
}

impl World {
    /// Two machines, and these tasks for workers `one` and `two` on them; `@mark@` is a word by which they are known. None
    /// where there can be no such machines.
    pub(crate) fn new(tasks: &str) -> Option<Self> {
        Self::that_waits("2s", tasks)
    }

    /// The same, where a machine that is lost is tried again for so long.
    pub(crate) fn that_waits(reconnect: &str, tasks: &str) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let machines = or_left_out(Machine::start().and_then(|one| Ok([one, Machine::start()?])))?;
        let mark = format!("lost-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = TempDir::new().expect("there is room for a folder");
        let world = Self { folder, machines, mark };
        let lease = LEASE.as_secs();
        let worker = |name: &str, machine: &Machine| {
            format!(
                "[workers.{name}]\nhost = {}\nslots = 3\nlease = \"{lease}s\"\nreconnect = \"{reconnect}\"\n",
                machine.host()
            )
        };
        let [one, two] = &world.machines;
        let retry = "[defaults]\nretry = { max_attempts = 4, initial_backoff = '0s', on = ['transport'] }\n";
        let head = format!("version = 1\nname = 'lost'\nseed = 1\n{retry}{}{}", worker("one", one), worker("two", two));
        world.write("fleet.toml", (head + tasks).replace("@mark@", &world.mark).as_bytes());
        Some(world)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).expect("the folder is ours");
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn until(&self, what: &str, mut so: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !so() {
            assert!(begin.elapsed() < PATIENCE, "waited too long until {what}:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn has_said(&self, text: &str) -> bool {
        self.said().contains(text)
    }

    fn said(&self) -> String {
        [".stdout", ".stderr"].map(|name| fs::read_to_string(self.path(name)).unwrap_or_default()).concat()
    }

    pub(crate) fn start(&self) -> Living<'_> {
        self.start_in(self.folder.path(), &["run", "--keep-going"])
    }

    fn start_in(&self, folder: &Path, words: &[&str]) -> Living<'_> {
        let file = |name: &str| fs::File::create(self.path(name)).expect("the folder is ours");
        let mut command = Command::new(env!("CARGO_BIN_EXE_fleet"));
        command.args(words).current_dir(folder).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").expect("tests have a PATH")).env("HOME", self.folder.path());
        command.stdout(file(".stdout")).stderr(file(".stderr"));
        Living { world: self, child: command.spawn().expect("the program was built") }
    }

    /// Has a task on each machine, so that all that is sent once is there.
    pub(crate) fn reach_both(&self) {
        let folder = self.path("reach");
        fs::create_dir(&folder).expect("the folder is ours");
        let head = self.read("fleet.toml");
        let head = head.split("[tasks.").next().unwrap_or_default();
        let tasks =
            "[tasks.a]\nworker = { id = 'one' }\nrun = 'true'\n[tasks.b]\nworker = { id = 'two' }\nrun = 'true'\n";
        fs::write(folder.join("fleet.toml"), format!("{head}{tasks}")).expect("the folder is ours");
        let status = self.start_in(&folder, &["run"]).status();
        assert_eq!(status, Some(0), "{}", self.said());
    }

    /// What is on record of the latest run so far.
    pub(crate) fn records(&self) -> Vec<Value> {
        let runs = fs::read_dir(self.path(".fleet/runs")).into_iter().flatten();
        let run = runs.filter_map(|run| Some(run.ok()?.path())).max();
        run.map(|run| journal::read(&run)).unwrap_or_default()
    }

    /// What a machine holds of ours.
    pub(crate) fn bytes_on(&self, machine: usize) -> u64 {
        let machine = &self.machines[machine];
        let files = WalkDir::new(machine.path(machine.fact("working_directory"))).into_iter().flatten();
        files.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
    }

    /// Whether a process of our tasks lives there.
    pub(crate) fn runs_on(&self, machine: usize) -> bool {
        self.machines[machine].processes().iter().any(|process| process.mentions(&self.mark))
    }

    /// Whether a worker has said of a task that it runs. A machine that is lost before it has said anything was never reached.
    pub(crate) fn is_told(&self) -> bool {
        self.records().iter().any(|record| record["event"]["state"] == "running")
    }

    /// Which machine has the task, once one has.
    pub(crate) fn where_it_runs(&self) -> usize {
        let mut there = 0;
        self.until("it runs", || {
            there = usize::from(self.runs_on(1));
            self.runs_on(there)
        });
        there
    }

    /// Lets the tasks of our machines go on. They share this folder with us.
    pub(crate) fn go(&self) {
        fs::write(self.go_file(), "").expect("it is ours");
    }

    fn go_file(&self) -> PathBuf {
        Path::new("/tmp").join(format!("{}.go", self.mark))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Not every test makes it.
        let _ = fs::remove_file(self.go_file());
    }
}

impl Living<'_> {
    /// Waits until some task has printed this.
    pub(crate) fn hears(&mut self, text: &str) {
        let runs = self.world.path(".fleet/runs");
        let said = || {
            let logs = WalkDir::new(&runs).into_iter().flatten();
            let logs = logs.filter(|entry| entry.path().extension().is_some_and(|end| end == "log"));
            logs.filter_map(|entry| fs::read_to_string(entry.path()).ok()).any(|log| log.contains(text))
        };
        self.world.until(text, said);
    }

    pub(crate) fn interrupt(&self) {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .expect("a process has a number");
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it lives");
    }

    fn status(mut self) -> Option<i32> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status.code();
            }
            if begin.elapsed() > PATIENCE {
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for its end. A run that hangs has no exit code.
    pub(crate) fn ends(self) -> Seen {
        let world = self.world;
        let code = self.status();
        let records = world.records();
        let receipts = journal::receipts(&records);
        Seen { code, said: world.said(), records, receipts }
    }
}

impl Drop for Living<'_> {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Seen {
    /// Lost on that machine, done on the other, and in the results once.
    #[track_caller]
    pub(crate) fn done_elsewhere_once(&self, lost_on: usize, task: &str) {
        let (lost, other) = if lost_on == 0 { ("one", "two") } else { ("two", "one") };
        assert_eq!(self.code, Some(0), "{}", self.said);
        let receipt = self.task(task);
        assert_eq!((&receipt["result"], &receipt["worker_id"]), (&"pass".into(), &other.into()), "{receipt}");
        let attempts = receipt["attempts"].as_array().expect("a list");
        let shown = |n: usize| (attempts[n]["worker_id"].clone(), attempts[n]["failure_kind"].clone());
        assert_eq!(attempts.len(), 2, "{receipt}");
        assert_eq!(shown(0), (lost.into(), "transport".into()), "{receipt}");
        assert_eq!(shown(1), (other.into(), Value::Null), "{receipt}");
    }

    /// The one receipt of a task.
    #[track_caller]
    pub(crate) fn task(&self, name: &str) -> &Value {
        let mut found = self.receipts.iter().filter(|receipt| receipt["task_id"] == name);
        let one = found.next().unwrap_or_else(|| panic!("{name} has no receipt:\n{}", self.said));
        assert!(found.next().is_none(), "{name} has two receipts");
        one
    }
}

/// Bytes that no compression makes fewer.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut x = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x.to_le_bytes()
    });
    words.take(len.div_ceil(8)).flatten().take(len).collect()
}
