//! A story: given these files, when this is typed, then that. `Fleet` is a folder and an environment, `Ran` what a
//! command did, `Living` a command that still runs. A `Ran` whose exit code nobody looked at is a warning.
//! `edits` is what people do between two runs; `journal` reads a run back without fleet's own code; `processes` looks
//! at `/proc`.

mod edits;
pub(super) mod journal;
pub(super) mod processes;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use regex::Regex;
use rustix::process::{Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;

/// The end of a test that would hang. No test that passes waits for it.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// A folder with a fleet file, and the environment that commands see there.
#[derive(Clone)]
#[must_use = "a folder in which nothing is run shows nothing"]
pub(super) struct Fleet {
    folder: Rc<TempDir>,
    /// Below the folder: where commands are typed.
    place: PathBuf,
    env: Vec<(String, String)>,
}

/// What a command did.
#[must_use = "nobody looked at the exit code"]
pub(super) struct Ran {
    fleet: Fleet,
    status: ExitStatus,
    stdout: String,
    stderr: String,
}

/// What a command did, after its exit code was what the story says.
pub(super) struct Told(Ran);

/// A command that still runs. Dropping it kills it.
#[must_use = "a run that nobody waits for shows nothing"]
pub(super) struct Living {
    fleet: Fleet,
    child: Option<Child>,
}

/// Waits until something is so; `what` is for the message of a test that gave up.
pub(super) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < PATIENCE, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Fleet {
    pub(super) fn new() -> Self {
        let folder = Rc::new(TempDir::new().expect("there is room for a folder"));
        let path = std::env::var("PATH").expect("tests have a PATH");
        let home = folder.path().display().to_string();
        let env =
            vec![("PATH".to_owned(), path), ("HOME".to_owned(), home), ("LC_ALL".to_owned(), "C.UTF-8".to_owned())];
        Self { folder, place: PathBuf::new(), env }
    }

    /// With a `fleet.toml` that has these tasks.
    pub(super) fn of(tasks: &str) -> Self {
        Self::new().file("fleet.toml", format!("version = 1\nname = \"story\"\nseed = 1\n{tasks}"))
    }

    pub(super) fn file(self, name: &str, text: impl AsRef<[u8]>) -> Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("it has a folder")).expect("the folder is ours");
        fs::write(path, text).expect("the folder is ours");
        self
    }

    pub(super) fn executable(self, name: &str) -> Self {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).expect("the file is ours");
        self
    }

    /// A variable of the caller.
    pub(super) fn var(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// From now on commands are typed in that folder.
    pub(super) fn inside(mut self, place: &str) -> Self {
        fs::create_dir_all(self.path(place)).expect("the folder is ours");
        self.place = place.into();
        self
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(super) fn exists(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// `fleet` with these words, ready to start; a story that needs another standard stream changes it.
    pub(super) fn command<const N: usize>(&self, words: [&str; N]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fleet"));
        command.args(words).env_clear().envs(self.env.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.path("").join(&self.place)).stdin(Stdio::null());
        command
    }

    /// Types a command and waits for its end.
    pub(super) fn run<const N: usize>(&self, words: [&str; N]) -> Ran {
        self.end(&mut self.command(words))
    }

    pub(super) fn end(&self, command: &mut Command) -> Ran {
        let output = command.output().expect("the program was built");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("what fleet prints here is text");
        Ran { fleet: self.clone(), status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Types a command and goes on. What it prints goes to the files `stdout` and `stderr`.
    pub(super) fn start<const N: usize>(&self, words: [&str; N]) -> Living {
        self.live(&mut self.command(words))
    }

    pub(super) fn live(&self, command: &mut Command) -> Living {
        let file = |name: &str| fs::File::create(self.path(name)).expect("the folder is ours");
        let child = command.stdout(file("stdout")).stderr(file("stderr")).spawn().expect("the program was built");
        Living { fleet: self.clone(), child: Some(child) }
    }

    /// The folder of the latest run.
    pub(super) fn run_dir(&self) -> PathBuf {
        let runs = fs::read_dir(self.path(".fleet/runs")).expect("there was a run");
        runs.map(|run| run.expect("it can be listed").path()).max().expect("there was a run")
    }

    /// The last record of the latest run: how it ended.
    pub(super) fn end_record(&self) -> Value {
        journal::read(&self.run_dir()).pop().expect("it has records")["run"].take()
    }

    /// Whether a process was started in this folder.
    pub(super) fn owns(&self, pid: u32) -> bool {
        let here = self.path("").canonicalize().expect("it is there");
        fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(&here))
    }

    /// The receipts of the latest run, straight from its journal.
    pub(super) fn receipts(&self) -> Vec<Value> {
        journal::receipts(&journal::read(&self.run_dir()))
    }

    /// The one receipt of a task in the latest run.
    pub(super) fn receipt(&self, task: &str) -> Value {
        let mut all = self.receipts().into_iter().filter(|receipt| receipt["task_id"] == task);
        let one = all.next().unwrap_or_else(|| panic!("{task} has no receipt"));
        assert!(all.next().is_none(), "{task} has two receipts");
        one
    }

    /// `pass`, `fail: exit code 3`, …: the result of a task in the latest run, with its cause.
    pub(super) fn result(&self, task: &str) -> String {
        let receipt = self.receipt(task);
        let word = |key: &str| receipt[key].as_str().unwrap_or_default().to_owned();
        match (word("failure_kind"), word("cause")) {
            (_, cause) if cause.is_empty() => word("result"),
            (kind, cause) if kind.is_empty() => format!("{}: {cause}", word("result")),
            (kind, cause) => format!("{}/{kind}: {cause}", word("result")),
        }
    }

    /// What the first attempt of a task printed in the latest run.
    pub(super) fn log(&self, task: &str) -> String {
        fs::read_to_string(self.run_dir().join(format!("logs/{task}.1.log"))).unwrap_or_default()
    }

    /// Tasks of the latest run in the order in which they were started.
    pub(super) fn started(&self) -> Vec<String> {
        let lines = journal::read(&self.run_dir());
        let starts = lines.iter().map(|line| &line["event"]).filter(|event| event["state"] == "starting");
        starts.map(|event| event["task_id"].as_str().expect("a name").to_owned()).collect()
    }
}

impl Ran {
    /// The exit code, for a story that goes on either way.
    pub(super) fn status(self) -> Option<i32> {
        self.status.code()
    }

    #[track_caller]
    pub(super) fn passes(self) -> Told {
        self.exits(0)
    }

    #[track_caller]
    pub(super) fn fails_with(self, code: i32) -> Told {
        assert_ne!(code, 0);
        self.exits(code)
    }

    #[track_caller]
    fn exits(self, code: i32) -> Told {
        let end = self.status.code().ok_or(self.status.signal());
        assert_eq!(end, Ok(code), "\n── stdout\n{}\n── stderr\n{}", self.stdout, self.stderr);
        Told(self)
    }
}

impl Told {
    /// On standard output, once ids, times, durations and paths are normal.
    #[track_caller]
    pub(super) fn says(self, text: &str) -> Self {
        let said = self.0.fleet.normal(&self.0.stdout);
        assert!(said.contains(text), "`{text}` is not in\n{said}\n── stderr\n{}", self.0.stderr);
        self
    }

    #[track_caller]
    pub(super) fn never_says(self, text: &str) -> Self {
        assert!(!self.0.stdout.contains(text), "`{text}` is in\n{}", self.0.stdout);
        self
    }

    /// On standard error.
    #[track_caller]
    pub(super) fn warns(self, text: &str) -> Self {
        let said = self.0.fleet.normal(&self.0.stderr);
        assert!(said.contains(text), "`{text}` is not in\n{said}\n── stdout\n{}", self.0.stdout);
        self
    }

    /// Nothing on standard error.
    #[track_caller]
    pub(super) fn quietly(self) -> Self {
        assert_eq!(self.0.stderr, "");
        self
    }

    #[track_caller]
    pub(super) fn has_file(self, name: &str) -> Self {
        assert!(self.0.fleet.exists(name), "{name} is missing\n{}", self.0.stdout);
        self
    }

    #[track_caller]
    pub(super) fn has_no_file(self, name: &str) -> Self {
        assert!(!self.0.fleet.exists(name), "{name} is there\n{}", self.0.stdout);
        self
    }

    #[track_caller]
    pub(super) fn file_says(self, name: &str, text: &str) -> Self {
        assert_eq!(self.0.fleet.read(name), text, "{name}");
        self
    }

    /// A result with its cause, as [`Fleet::result`] gives it.
    #[track_caller]
    pub(super) fn result(self, task: &str, result: &str) -> Self {
        assert_eq!(self.0.fleet.result(task), result, "{task}");
        self
    }

    /// Somewhere in what the first attempt of a task printed.
    #[track_caller]
    pub(super) fn prints(self, task: &str, text: &str) -> Self {
        let log = self.0.fleet.log(task);
        assert!(log.contains(text), "`{text}` is not in the log of {task}:\n{log}");
        self
    }

    /// What the first attempt of a task printed.
    #[track_caller]
    pub(super) fn log(self, task: &str, text: &str) -> Self {
        assert_eq!(self.0.fleet.log(task), text, "{task}");
        self
    }

    pub(super) fn receipt(&self, task: &str) -> Value {
        self.0.fleet.receipt(task)
    }

    pub(super) fn stdout(&self) -> &str {
        &self.0.stdout
    }

    /// Standard output with what differs from run to run made the same.
    pub(super) fn screen(&self) -> String {
        self.0.fleet.normal(&self.0.stdout)
    }

    /// The story goes on in the same folder.
    pub(super) fn then(self) -> Fleet {
        self.0.fleet
    }
}

impl Living {
    pub(super) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it lives until it is waited for").id()
    }

    pub(super) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(self.child.as_ref().expect("it lives until it is waited for"));
        rustix::process::kill_process(pid, signal).expect("it is our child");
    }

    /// Waits until a task of the run has made a file.
    #[track_caller]
    pub(super) fn awaits(&mut self, name: &str) {
        until(name, || {
            let there = self.fleet.exists(name);
            assert!(there || !self.is_over(), "no {name}, and the run is over:\n{}", self.fleet.read("stdout"));
            there
        });
    }

    pub(super) fn is_over(&mut self) -> bool {
        self.child.as_mut().expect("it lives until it is waited for").try_wait().expect("it is our child").is_some()
    }

    /// Waits for its end.
    pub(super) fn ends(mut self) -> Ran {
        until("the run is over", || self.is_over());
        let status = self.child.take().expect("nobody took it").wait().expect("it is our child");
        let (stdout, stderr) = (self.fleet.read("stdout"), self.fleet.read("stderr"));
        Ran { fleet: self.fleet.clone(), status, stdout, stderr }
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Fleet {
    /// Text without what differs from run to run.
    fn normal(&self, text: &str) -> String {
        let rules = [
            (r"\d{8}T\d{6}Z-[0-9a-f]{8}", "RUN"),
            (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", "AT"),
            (r"sha256:[0-9a-f]{64}", "DIGEST"),
            (r"\b(\d+ms|\d+\.\ds|\d+m\d\ds|\d+h\d\dm)\b", "TIME"),
        ];
        let here = Path::new(self.folder.path());
        let canonical = here.canonicalize().expect("it is there").display().to_string();
        let mut text = text.replace(&canonical, "DIR").replace(&here.display().to_string(), "DIR");
        for (pattern, with) in rules {
            text = Regex::new(pattern).expect("a pattern of ours").replace_all(&text, with).into_owned();
        }
        text
    }
}
