//! The power fails: a real run is traced, and of every moment of it the state directory is made as a loss of power may
//! leave it, read, and gone on with.
//! `trace` what the run did to its files · `disk` what of it is on disk then

mod disk;
mod trace;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::row::{Row, Scale};
use super::world::{World, lines_of};
use disk::{Disk, Loss, Tree, losses};

const KINDS: [&str; 6] = ["lost", "panics", "unreadable", "started again", "not finished", "wrong bytes"];

/// Tasks with inputs, outputs, artifacts and scorers; `same` puts bytes into the store that are there already as an
/// output of another, and `more` an artifact into a folder that was made for one.
const FLEET: &str = r#"
version = 1
name = "power"
seed = 1
[workers.here]
host = "local"
slots = 2
[tasks.first]
sh = "echo first >> starts; cat in > made.first; echo a word of first"
inputs = ["in"]
outputs = ["made.first"]
[tasks.same]
needs = ["first"]
sh = "echo same >> starts; sleep 0.06; cat made.first > made.same"
inputs = ["made.first"]
outputs = ["made.same"]
artifacts = [{ path = "made.same", kind = "report" }]
[tasks.many]
needs = ["first"]
sh = "echo many >> starts; mkdir -p made; for n in 1 2 3; do cat made.first > made/$n; echo $n >> made/$n; done"
inputs = ["made.first"]
outputs = ["made/*"]
[tasks.large]
sh = "echo large >> starts; seq 9000 > made.large"
outputs = ["made.large"]
artifacts = [{ path = "made.large", kind = "list" }]
[tasks.judged]
needs = ["many", "same"]
sh = "echo judged >> starts; sleep 0.06; cat made/1 made/2 > made.judged; echo one; echo two >&2"
inputs = ["made/1", "made/2"]
outputs = ["made.judged"]
scorers = [{ kind = "file_exists", path = "made.judged" }, { kind = "command", run = "grep -q word made.judged" }]
[tasks.last]
needs = ["judged", "large"]
sh = "echo last >> starts; wc -l < made.large > made.last"
inputs = ["made.large", "made.judged"]
outputs = ["made.last"]
artifacts = [{ path = "made.last", kind = "count" }]
"#;

const TASKS: [&str; 6] = ["first", "same", "many", "large", "judged", "last"];

/// What a task leaves in the workspace.
const MADE: [(&str, &str); 8] = [
    ("first", "made.first"),
    ("same", "made.same"),
    ("many", "made/1"),
    ("many", "made/2"),
    ("many", "made/3"),
    ("large", "made.large"),
    ("judged", "made.judged"),
    ("last", "made.last"),
];

/// Unsynced writes are dropped, torn or reordered, and unsynced names lost, at every event of a recorded run.
pub(crate) fn every_prefix(scale: Scale) -> Row {
    let mut row =
        Row::new("unsynced writes, creates and renames dropped, torn or reordered at every prefix of a run", &KINDS);
    let recorded = Recorded::new();
    let (mut seen, mut gone_on) = (HashSet::new(), 0);
    for moment in 0..recorded.events {
        for loss in losses(moment as u64) {
            let state = State { tree: recorded.disk.after(moment, loss), moment, loss };
            let safe = recorded.safe(moment);
            let mut hasher = DefaultHasher::new();
            (&state.tree, &safe.lines).hash(&mut hasher);
            if !seen.insert(hasher.finish()) {
                continue;
            }
            recorded.read(&state, &safe, &mut row);
            // A whole run for each is for the bench; the tests take some.
            if scale == Scale::Full || seen.len().is_multiple_of(40) {
                gone_on += 1;
                recorded.go_on(&state, &safe, &mut row);
            }
        }
    }
    row.tried = format!("{} events, {} states of the disk, {gone_on} gone on with", recorded.events, seen.len());
    row
}

/// A run whose every call is known.
struct Recorded {
    /// Where it was, and where each state of it is made: a run goes on in its own folder.
    world: World,
    disk: Disk,
    events: usize,
    journal: PathBuf,
    /// What a run without trouble makes.
    made: BTreeMap<&'static str, Vec<u8>>,
}

/// One form of one moment.
struct State {
    tree: Tree,
    moment: usize,
    loss: Loss,
}

/// What no loss of power may take.
struct Safe {
    lines: Vec<u8>,
    passed: BTreeSet<String>,
    artifacts: BTreeSet<String>,
}

/// A tracer sees calls of several threads one after the other, and not always in the order in which they happened. A
/// trace that contradicts itself or the real folder is made again; a model that is wrong is wrong every time.
const TRACES_MAX: usize = 5;

impl Recorded {
    fn new() -> Self {
        let mut why = String::new();
        for _ in 0..TRACES_MAX {
            match Self::once() {
                Ok(recorded) => return recorded,
                Err(contradiction) => why = contradiction,
            }
        }
        panic!("the disk of the trace is not the real one: {why}");
    }

    fn once() -> Result<Self, String> {
        let world = World::of(FLEET);
        lay_out(&world);
        let trace = world.path("trace");
        let file = trace.to_str().expect("a path of ours is text");
        let words = ["strace", "-f", "-qq", "-y", "-xx", "-s", "100000000", "-e", "signal=none", "-e", trace::CALLS];
        let before: Vec<&str> = words.into_iter().chain(["-o", file]).collect();
        let status = world.start(&before, &["run"]).wait().expect("strace is installed");
        assert!(status.success(), "the run that is traced passes");
        let root = world.path("").canonicalize().expect("it is there");
        let events = trace::parse(&fs::read_to_string(&trace).expect("strace has written it"), &root);
        let disk = Disk::of(&events)?;
        let kept = Loss { names: disk::Names::Kept, bytes: disk::Bytes::Kept };
        let real = tree_of(&root);
        let ours = disk.after(events.len() - 1, kept);
        if ours != real {
            return Err(format!("{:?}, {:?}", ours.keys(), real.keys()));
        }
        let journal = world.run_dir().expect("there was a run").join("journal.jsonl");
        Ok(Self {
            disk,
            events: events.len(),
            journal: journal.strip_prefix(world.path("")).expect("it is below").to_owned(),
            made: made_in(&world),
            world,
        })
    }

    /// What was promised before the event after `moment`: all records whose bytes a sync had covered.
    fn safe(&self, moment: usize) -> Safe {
        let mut lines = self.disk.safe_bytes(moment, &self.journal);
        lines.truncate(lines.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
        let receipts = receipts(&lines_of(&lines));
        let passed = receipts.iter().map(|receipt| text(&receipt["task_id"])).collect();
        let artifacts = receipts.iter().filter_map(|receipt| receipt["artifacts"].as_array()).flatten();
        let artifacts = artifacts.map(|artifact| text(&artifact["checksum"]).replace("sha256:", "")).collect();
        Safe { lines, passed, artifacts }
    }

    /// What can be said of a state without a command.
    fn read(&self, state: &State, safe: &Safe, row: &mut Row) {
        let journal = state.file(&self.journal);
        if !journal.unwrap_or_default().starts_with(&safe.lines) {
            row.wrong("lost", format!("synced records after {state}"));
            return;
        }
        for digest in &safe.artifacts {
            let path = PathBuf::from(format!(".fleet/store/sha256/{}/{}/{digest}", &digest[..2], &digest[2..4]));
            if state.file(&path).is_none_or(|bytes| hex(bytes) != *digest) {
                row.wrong("lost", format!("artifact {digest} of a synced receipt after {state}"));
            }
        }
        let Some(journal) = journal else { return };
        let folded = std::panic::catch_unwind(|| {
            fleet::journal::fold::fold_reader(&mut fleet::journal::Reader::new(journal)).map(|folded| {
                let tasks = folded.state.map_or(Vec::new(), |state| state.tasks);
                let settled = tasks.iter().filter(|task| task.settled.is_some());
                settled.map(|task| task.name.to_string()).collect::<BTreeSet<_>>()
            })
        });
        match folded {
            Err(_) => row.wrong("panics", format!("reading the journal after {state}")),
            Ok(Ok(settled)) if !safe.passed.is_subset(&settled) => {
                row.wrong("lost", format!("{:?} after {state}", safe.passed.difference(&settled)));
            }
            Ok(Ok(_)) => {}
            // With a hole in it, and with nothing else, it is refused.
            Ok(Err(_)) if holds_zeros(journal) => {}
            Ok(Err(error)) => row.wrong("unreadable", format!("{error} after {state}")),
        }
    }

    /// Goes on with a state by fleet itself, up to the end that a run without trouble comes to, and once more.
    fn go_on(&self, state: &State, safe: &Safe, row: &mut Row) {
        let world = &self.world;
        lay_out(world);
        state.make(world);
        let says = |words: &[&str], codes: &[i32], row: &mut Row| {
            let output = told(world, words);
            let code = output.status.code();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            if code.is_none_or(|code| code == 101 || code == 70) || said.contains("panicked") {
                row.wrong("panics", format!("fleet {words:?} after {state}: {said}"));
            } else if !code.is_some_and(|code| codes.contains(&code)) {
                row.wrong("unreadable", format!("fleet {words:?} exits {code:?} after {state}: {said}"));
            }
            code
        };
        // A run of which nothing is on record is no run: 2.
        let codes: &[i32] = if safe.lines.is_empty() { &[0, 2, 10] } else { &[0, 10] };
        let status = says(&["status"], codes, row);
        says(&["receipts", "show", "latest"], codes, row);
        says(&["cache", "check", "--read-data"], &[0, 10], row);
        if status == Some(10) {
            says(&["journal", "repair"], codes, row);
        }
        let receipts = receipts(&world.records());
        let passed: BTreeSet<String> = receipts.iter().map(|receipt| text(&receipt["task_id"])).collect();
        // Fleet syncs nothing of the workspace: here it is as the tasks whose results stand have left it.
        for (task, name) in MADE.iter().filter(|(task, _)| passed.contains(*task)) {
            let path = world.path(name);
            fs::create_dir_all(path.parent().expect("it has a folder")).expect("the folder is ours");
            fs::write(path, &self.made[name]).unwrap_or_else(|error| panic!("{task} made it: {error}"));
        }
        let resumed = told(world, &["resume"]).status.code();
        if resumed != Some(0) && safe.lines.is_empty() {
            says(&["run"], &[0], row);
        } else if resumed != Some(0) {
            says(&["resume"], &[0], row);
        }
        self.judge(world, state, safe, row);
        // And from what it knows, with all that was made gone.
        for (_, name) in MADE {
            // What could not be made is told above.
            let _ = fs::remove_file(world.path(name));
        }
        says(&["run"], &[0], row);
        if made_in(world) != self.made {
            row.wrong("wrong bytes", format!("in what is put back after {state}"));
        }
        if !fs::read(world.path(".fleet/.gitignore")).unwrap_or_default().starts_with(b"*") {
            row.wrong("wrong bytes", format!("git sees the state directory after {state}"));
        }
    }

    fn judge(&self, world: &World, state: &State, safe: &Safe, row: &mut Row) {
        let receipts = receipts(&world.records());
        let passed: BTreeSet<String> = receipts.iter().map(|receipt| text(&receipt["task_id"])).collect();
        if TASKS.iter().any(|task| !passed.contains(*task)) {
            let records = world.records();
            let failed = records.iter().map(|record| &record["receipt"]).filter(|receipt| !receipt["cause"].is_null());
            let causes: Vec<&Value> = failed.map(|receipt| &receipt["cause"]).collect();
            row.wrong("not finished", format!("{passed:?} passed after {state}: {causes:?}"));
        }
        let starts = fs::read_to_string(world.path("starts")).unwrap_or_default();
        for task in starts.lines().filter(|task| safe.passed.contains(*task)) {
            row.wrong("started again", format!("{task} after {state}"));
        }
        if made_in(world) != self.made {
            row.wrong("wrong bytes", format!("in what is made after {state}"));
        }
    }
}

impl State {
    fn file(&self, path: &Path) -> Option<&[u8]> {
        self.tree.get(path)?.as_deref()
    }

    fn make(&self, world: &World) {
        for (path, content) in &self.tree {
            let path = world.path(path.to_str().expect("a path of ours is text"));
            match content {
                None => fs::create_dir(&path).expect("the folder is ours"),
                // Whoever reads it was booted after that.
                Some(bytes) if path.components().any(|part| part.as_os_str() == "exits") => {
                    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("Linux has one");
                    let text = String::from_utf8_lossy(bytes).replace(boot.trim(), "another-boot");
                    fs::write(&path, text).expect("the folder is ours");
                }
                Some(bytes) => fs::write(&path, bytes).expect("the folder is ours"),
            }
            if content.is_some() && path.components().any(|part| part.as_os_str() == "sha256") {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).expect("the file is ours");
            }
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "event {} with names {:?}, bytes {:?}", self.moment, self.loss.names, self.loss.bytes)
    }
}

/// The workspace before its first run.
fn lay_out(world: &World) {
    for entry in fs::read_dir(world.path("")).expect("the folder is ours") {
        let path = entry.expect("it can be listed").path();
        let done = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        done.expect("the folder is ours");
    }
    fs::write(world.path("fleet.toml"), FLEET).expect("the folder is ours");
    fs::write(world.path("in"), "a word\n").expect("the folder is ours");
}

fn told(world: &World, words: &[&str]) -> Output {
    let mut command = world.command(&[], words);
    command.stderr(Stdio::piped()).output().expect("the program was built")
}

fn made_in(world: &World) -> BTreeMap<&'static str, Vec<u8>> {
    MADE.iter().filter_map(|(_, name)| Some((*name, fs::read(world.path(name)).ok()?))).collect()
}

/// The receipts of tasks that passed.
fn receipts(records: &[Value]) -> Vec<Value> {
    let receipts = records.iter().map(|record| record["receipt"].clone());
    receipts.filter(|receipt| receipt["result"] == "pass").collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn hex(bytes: &[u8]) -> String {
    let digits = Sha256::digest(bytes).iter().flat_map(|byte| [byte >> 4, byte & 15]).collect::<Vec<_>>();
    digits.into_iter().filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

fn holds_zeros(journal: &[u8]) -> bool {
    journal.contains(&0)
}

/// The state directory as it is.
fn tree_of(root: &Path) -> Tree {
    let entries = walkdir::WalkDir::new(root.join(".fleet")).into_iter().map(|entry| entry.expect("it can be listed"));
    let file = |entry: &walkdir::DirEntry| {
        (!entry.file_type().is_dir()).then(|| fs::read(entry.path()).expect("the file is ours"))
    };
    entries.map(|entry| (entry.path().strip_prefix(root).expect("it is below").to_owned(), file(&entry))).collect()
}
