//! A folder with a fleet whose tasks are shell scripts that do what the model computes, and what happens to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::model::{Files, GLOB, Need, Rules, Seen, Task, Text};
use super::random::Random;

/// Sources that tasks name one by one.
const SINGLE: [&str; 4] = ["src/a", "src/b", "src/c", "src/d"];
/// Names in the folder that globs read.
const NAMES: [&str; 4] = ["w", "x", "y", "z"];
/// What sources hold: few, so that contents come back; most of one length, so that size tells little. Some that begin
/// alike, so that coarse tasks make the same of them.
const LINES: [&str; 8] = ["aa", "ab", "ba", "bb", "bc", "c", "", "bad"];

const DAY: Duration = Duration::from_hours(24);

pub(crate) struct World {
    folder: TempDir,
    tasks: Vec<Task>,
    sources: Files,
    /// The caller's variable.
    passed: u64,
    seen: Seen,
}

impl World {
    pub(crate) fn new(random: &mut Random) -> Self {
        let folder = TempDir::new().expect("there is room for a folder");
        let count = 2 + random.index(6);
        let mut tasks: Vec<Task> = Vec::new();
        for n in 0..count {
            let reads = SINGLE.iter().filter(|_| random.chance(30)).map(|path| (*path).to_owned()).collect();
            let task = Task {
                name: format!("t{n}"),
                reads,
                reads_all: random.chance(35),
                needs: BTreeMap::new(),
                word: random.below(3),
                value: random.below(3),
                passes: random.chance(20),
                folder: random.chance(20),
                coarse: random.chance(50),
                executable: random.chance(15),
            };
            tasks.push(task);
        }
        let mut world = Self { folder, tasks, sources: Files::new(), passed: 0, seen: Seen::default() };
        for n in 1..count {
            for _ in 0..random.below(3) {
                world.need(random, n);
            }
        }
        fs::create_dir_all(world.path(GLOB)).expect("the folder is ours");
        for path in SINGLE.map(str::to_owned).into_iter().chain(NAMES.map(|name| format!("{GLOB}/{name}"))) {
            if random.chance(80) {
                world.write(&path, line(random, 6));
            }
        }
        world.write_fleet();
        world
    }

    fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join("ws").join(path)
    }

    // ── The fleet ────────────────────────────────────────────────────────

    fn need(&mut self, random: &mut Random, n: usize) {
        let on = random.index(n);
        let kind = match random.below(6) {
            0 => Need::Order,
            // A glob of outputs and one of inputs make no edge where they could miss each other.
            1 | 2 if !self.tasks[on].folder => Need::Input,
            _ => Need::Made,
        };
        self.tasks[n].needs.insert(on, kind);
    }

    fn write_fleet(&self) {
        let mut text = "version = 1\nname = \"model\"\n".to_owned();
        for task in &self.tasks {
            let mut inputs: Vec<String> = task.reads.iter().cloned().collect();
            inputs.extend(task.reads_all.then(|| format!("{GLOB}/*")));
            let mut needs = Vec::new();
            for (need, kind) in &task.needs {
                match kind {
                    Need::Made => needs.push(format!("\"t{need}\"")),
                    Need::Order => needs.push(format!("{{ task = \"t{need}\", order_only = true }}")),
                    Need::Input => inputs.push(self.tasks[*need].output()),
                }
            }
            let outputs = if task.folder { format!("{}/**", task.output()) } else { task.output() };
            let _ = writeln!(text, "\n[tasks.{}]\ninputs = {inputs:?}\noutputs = [{outputs:?}]", task.name);
            let _ = writeln!(text, "needs = [{}]\nenv = {{ VALUE = \"{}\" }}", needs.join(", "), task.value);
            if task.passes {
                text.push_str("pass_env = [\"PASSED\"]\n");
            }
            let _ = writeln!(text, "sh = '''\n{}'''", self.script(task));
        }
        fs::write(self.path("fleet.toml"), text).expect("the folder is ours");
    }

    /// The task as a script, in which nearly nothing is a process of its own.
    fn script(&self, task: &Task) -> String {
        let log = self.folder.path().join("ran");
        let piece = if task.coarse { r#"${l%"${l#?}"}"# } else { "$l" };
        let passed = if task.passes { "${PASSED}" } else { "" };
        let mut script = format!("echo {} >> {}\n", task.name, log.display());
        let _ = writeln!(script, "r=\"{}|$VALUE|{passed}\"; n=e", task.word);
        let take = format!(
            "x=; [ ! -x \"$f\" ] || x=x; [ $n != e ] || [ -z \"$l\" ] || n=${{l%\"${{l#?}}\"}}; r=\"$r;$f$x={piece}\""
        );
        let mut sources: Vec<String> = task.reads.iter().cloned().collect();
        sources.extend(task.reads_all.then(|| format!("{GLOB}/*")));
        let of_tasks = task.needs.iter().filter(|(_, kind)| **kind != Need::Order).map(|(need, _)| &self.tasks[*need]);
        let made: Vec<String> =
            of_tasks.map(|task| if task.folder { format!("{}/*", task.output()) } else { task.output() }).collect();
        let _ = writeln!(
            script,
            "for f in {}; do [ -f \"$f\" ] || continue; l=; IFS= read -r l < \"$f\" || :; case \"$l\" in bad*) exit 1;; \
             esac; {take}; done",
            sources.join(" ")
        );
        let _ = writeln!(script, "for f in {}; do IFS= read -r l < \"$f\"; {take}; done", made.join(" "));
        let output = task.output();
        if task.folder {
            let _ = writeln!(script, "rm -rf {output}; mkdir -p {output}; o={output}/$n");
        } else {
            // The file that is there is someone else's: it may be read-only, or a link.
            let _ = writeln!(script, "[ -d out ] || mkdir -p out; rm -f {output}; o={output}");
        }
        script.push_str("echo \"$r\" > $o\n");
        if task.executable {
            script.push_str("chmod 755 $o\n");
        }
        script
    }

    // ── Runs ─────────────────────────────────────────────────────────────

    /// Runs a random part of the fleet in a random way, and holds what happened against the model.
    pub(crate) fn run(&mut self, random: &mut Random) {
        let count = self.tasks.len();
        let mut selected = vec![false; count];
        let mut words = vec!["run".to_owned(), format!("-j{}", 1 + random.below(4))];
        if random.chance(60) {
            selected.fill(true);
        } else {
            for _ in 0..=random.below(2) {
                let target = random.index(count);
                selected[target] = true;
                words.push(format!("t{target}"));
            }
        }
        for n in (0..count).rev().filter(|n| selected[*n]).collect::<Vec<_>>() {
            self.select(n, &mut selected);
        }
        let mut rules = Rules::default();
        match random.below(30) {
            0 => {
                rules.no_cache = true;
                words.push("--no-cache".to_owned());
            }
            1 => {
                rules.force_all = true;
                words.push("--force".to_owned());
            }
            2 | 3 => {
                let target = random.index(count);
                rules.force = Some(target);
                words.push(format!("--force=t{target}"));
            }
            4 | 5 => words.push("--rehash".to_owned()),
            _ => {}
        }
        eprintln!("fleet {}", words.join(" "));
        let disk = self.outputs();
        let expected = self.seen.run(&self.tasks, &selected, &rules, &self.sources, &disk, self.passed);
        let log = self.folder.path().join("ran");
        fs::write(&log, "").expect("the folder is ours");
        let mut command = Command::new(env!("CARGO_BIN_EXE_fleet"));
        command.args(&words).env_clear().env("PATH", std::env::var("PATH").expect("tests have a PATH"));
        command.env("PASSED", self.passed.to_string()).current_dir(self.path(""));
        let output = command.output().expect("the program was built");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let mut ran: Vec<String> =
            fs::read_to_string(&log).expect("the log is ours").lines().map(str::to_owned).collect();
        ran.sort_unstable();
        let want: Vec<String> = expected.ran.iter().cloned().collect();
        assert_eq!(ran, want, "ran\n{said}\n{}", self.told());
        assert_eq!(output.status.code(), Some(i32::from(expected.failed)), "{said}\n{}", self.told());
        let reused = said.lines().filter_map(|line| line.strip_prefix("reuse    ")?.split_whitespace().next());
        let reused: BTreeSet<String> = reused.map(str::to_owned).collect();
        assert_eq!(reused, expected.reused, "reused\n{said}\n{}", self.told());
        self.holds(&expected.files, &said);
    }

    /// Every task that passed has made what a clean build makes, and where it has a folder of its own, nothing else.
    fn holds(&self, want: &Files, said: &str) {
        let disk = self.outputs();
        let of = |path: &str| path.split('/').nth(1).map(str::to_owned);
        let passed: BTreeSet<_> = want.keys().map(|path| of(path)).collect();
        let found: Files = disk.into_iter().filter(|(path, _)| passed.contains(&of(path))).collect();
        assert_eq!(&found, want, "outputs\n{said}\n{}", self.told());
    }

    fn told(&self) -> String {
        format!(
            "{}\n{:?}\npassed {}",
            fs::read_to_string(self.path("fleet.toml")).unwrap_or_default(),
            self.sources,
            self.passed
        )
    }

    fn select(&self, n: usize, selected: &mut [bool]) {
        for need in self.tasks[n].needs.keys() {
            selected[*need] = true;
            self.select(*need, selected);
        }
    }

    /// What is in the output folders.
    fn outputs(&self) -> Files {
        let mut files = Files::new();
        let mut folders = vec!["out".to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(self.path(&folder)).into_iter().flatten().flatten() {
                let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
                if entry.file_type().expect("it can be looked at").is_dir() {
                    folders.push(path);
                } else {
                    let text = read(&entry.path());
                    files.insert(path, text);
                }
            }
        }
        files
    }

    // ── Edits ────────────────────────────────────────────────────────────

    /// Somebody does something.
    pub(crate) fn edit(&mut self, random: &mut Random) {
        let paths: Vec<String> = self.sources.keys().cloned().collect();
        let task = random.index(self.tasks.len());
        match random.below(26) {
            0..=5 => self.write(&any_source(random), line(random, LINES.len())),
            6 if !paths.is_empty() => self.toggle(random.of(&paths)),
            7 | 8 if !paths.is_empty() => self.rename(random.of(&paths), &any_source(random)),
            9 | 10 if !paths.is_empty() => {
                let path = random.of(&paths);
                eprintln!("delete {path}");
                fs::remove_file(self.path(path)).expect("it is ours");
                self.sources.remove(path);
            }
            11 | 12 if !paths.is_empty() => self.touch(random.of(&paths), random.below(3)),
            13..=15 if !paths.is_empty() => self.swap(random.of(&paths), line(random, 5)),
            16..=18 => self.spoil(random),
            19 => self.tasks[task].word = random.below(3),
            20 => self.tasks[task].value = random.below(3),
            21 => self.passed = random.below(3),
            22 if task > 0 => self.need(random, task),
            23 => drop(self.tasks[task].needs.pop_first()),
            24 => self.tasks[task].coarse ^= true,
            25 if random.chance(15) => {
                eprintln!("delete .fleet/cache");
                let _ = fs::remove_dir_all(self.path(".fleet/cache"));
                self.seen.forget();
            }
            _ => {}
        }
        self.write_fleet();
    }

    fn write(&mut self, path: &str, line: &str) {
        eprintln!("write {path} {line}");
        fs::write(self.path(path), line).expect("the folder is ours");
        line.clone_into(&mut self.sources.entry(path.to_owned()).or_default().0);
    }

    fn toggle(&mut self, path: &str) {
        eprintln!("chmod {path}");
        let text = self.sources.get_mut(path).expect("it was listed");
        text.1 ^= true;
        let mode = if text.1 { 0o755 } else { 0o644 };
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(mode)).expect("it is ours");
    }

    fn rename(&mut self, from: &str, to: &str) {
        eprintln!("rename {from} {to}");
        fs::rename(self.path(from), self.path(to)).expect("the folder is ours");
        if let Some(text) = self.sources.remove(from) {
            self.sources.insert(to.to_owned(), text);
        }
    }

    fn touch(&self, path: &str, when: u64) {
        eprintln!("touch {path} {when}");
        let at = match when {
            0 => SystemTime::now(),
            1 => SystemTime::now() - 100 * DAY,
            _ => SystemTime::now() + 100 * DAY,
        };
        stamp(&self.path(path), at);
    }

    /// Other bytes, and the time of the last change put back; where the line had two letters, of the same size too.
    fn swap(&mut self, path: &str, line: &str) {
        let at = fs::metadata(self.path(path)).and_then(|found| found.modified()).expect("it is there");
        self.write(path, line);
        stamp(&self.path(path), at);
    }

    /// Does something to an output.
    fn spoil(&self, random: &mut Random) {
        let paths: Vec<String> = self.outputs().into_keys().collect();
        if paths.is_empty() {
            return;
        }
        let path = random.of(&paths);
        let place = self.path(path);
        let at = fs::metadata(&place).and_then(|found| found.modified()).expect("it is there");
        let what = random.below(5);
        eprintln!("spoil {path} {what}");
        match what {
            0 => fs::remove_file(&place).expect("it is ours"),
            1 => fs::write(&place, "spoilt").expect("it is ours"),
            2 => {
                let text = fs::read_to_string(&place).expect("it is ours");
                fs::write(&place, text.replace('|', "!")).expect("it is ours");
                stamp(&place, at);
            }
            3 => {
                let mode = if read(&place).1 { 0o644 } else { 0o755 };
                fs::set_permissions(&place, fs::Permissions::from_mode(mode)).expect("it is ours");
            }
            _ => fs::remove_dir_all(self.path("out")).expect("it is ours"),
        }
    }
}

/// One of the first so many.
fn line(random: &mut Random, count: usize) -> &'static str {
    LINES[random.index(count)]
}

fn any_source(random: &mut Random) -> String {
    if random.chance(50) {
        SINGLE[random.index(SINGLE.len())].to_owned()
    } else {
        format!("{GLOB}/{}", NAMES[random.index(NAMES.len())])
    }
}

fn read(path: &Path) -> Text {
    let text = fs::read_to_string(path).expect("it is text");
    let mode = fs::metadata(path).expect("it is there").permissions().mode();
    (text.trim_end_matches('\n').to_owned(), mode & 0o100 != 0)
}

fn stamp(path: &Path, at: SystemTime) {
    let file = fs::File::open(path).expect("it is there");
    file.set_modified(at).expect("it is ours");
}
