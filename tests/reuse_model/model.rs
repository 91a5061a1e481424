//! What tasks make, computed from the sources alone, and whether a task has been seen with all it depends on. Knows
//! nothing of digests, files or stores.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

/// A file: one line of text, and whether it is executable.
pub(crate) type Text = (String, bool);
/// By path.
pub(crate) type Files = BTreeMap<String, Text>;

/// What a task wants of an earlier one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Need {
    /// It reads what that one made.
    Made,
    /// The same, by naming the file in `inputs`.
    Input,
    /// It only comes after it.
    Order,
}

#[expect(clippy::struct_excessive_bools, reason = "each is one thing a task may do or not")]
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) name: String,
    /// Paths of single sources.
    pub(crate) reads: BTreeSet<String>,
    /// Reads all of [`GLOB`] as well.
    pub(crate) reads_all: bool,
    /// By number of the task.
    pub(crate) needs: BTreeMap<usize, Need>,
    /// A word in the script.
    pub(crate) word: u64,
    /// The value of its own variable.
    pub(crate) value: u64,
    /// It gets the caller's variable.
    pub(crate) passes: bool,
    /// It makes a folder with a file whose name depends on what it reads, not one file.
    pub(crate) folder: bool,
    /// It takes only the first letter of each line, so that different inputs make the same.
    pub(crate) coarse: bool,
    pub(crate) executable: bool,
}

/// The folder that globs read.
pub(crate) const GLOB: &str = "src/all";

impl Task {
    pub(crate) fn output(&self) -> String {
        format!("out/{}", self.name)
    }

    /// The sources it reads, in its order.
    fn sources<'a>(&self, sources: &'a Files) -> Vec<(&'a String, &'a Text)> {
        let single = self.reads.iter().filter_map(|path| sources.get_key_value(path));
        let all = sources.iter().filter(|(path, _)| self.reads_all && path.starts_with(GLOB));
        single.chain(all).collect()
    }

    /// What it makes; `None` when it fails, which it does where a source says `bad`.
    fn makes(&self, sources: &Files, made: &[Option<Files>], passed: u64) -> Option<Files> {
        let mut line = format!("{}|{}|", self.word, self.value);
        if self.passes {
            let _ = write!(line, "{passed}");
        }
        let mut name = 'e';
        let mut take = |path: &str, text: &Text, of_source: bool| {
            if of_source && text.0.starts_with("bad") {
                return None;
            }
            if let (true, Some(first)) = (name == 'e', text.0.chars().next()) {
                name = first;
            }
            let piece = if self.coarse { text.0.get(..1).unwrap_or_default() } else { &text.0 };
            let _ = write!(line, ";{path}{}={piece}", if text.1 { "x" } else { "" });
            Some(())
        };
        for (path, text) in self.sources(sources) {
            take(path, text, true)?;
        }
        for (need, kind) in &self.needs {
            if *kind != Need::Order {
                for (path, text) in made[*need].as_ref()? {
                    take(path, text, false)?;
                }
            }
        }
        let path = if self.folder { format!("{}/{name}", self.output()) } else { self.output() };
        Some(Files::from([(path, (line, self.executable))]))
    }

    /// All that its result may depend on.
    fn key(&self, sources: &Files, made: &[Option<Files>], passed: u64) -> String {
        let passed = self.passes.then_some(passed);
        let needs: Vec<(usize, Need, Option<&Files>)> = self
            .needs
            .iter()
            .filter(|(_, kind)| **kind != Need::Order)
            .map(|(need, kind)| (*need, *kind, made[*need].as_ref()))
            .collect();
        let outputs: Vec<(&String, &Text)> = self.sources(sources);
        let own = (&self.name, self.word, self.value, self.folder, self.coarse, self.executable);
        // The script names its sources, whether they are there or not.
        let declared = (&self.reads, self.reads_all, self.passes);
        format!("{own:?} {declared:?} {passed:?} {outputs:?} {needs:?}")
    }
}

/// Which results a run may find.
#[derive(Default)]
pub(crate) struct Seen {
    passed: HashMap<String, Files>,
    /// By task: what it was when it was last recorded.
    last: HashMap<String, String>,
}

/// What a run is told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) no_cache: bool,
    pub(crate) force_all: bool,
    pub(crate) force: Option<usize>,
}

/// What becomes of the tasks of a run.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Expected {
    pub(crate) ran: BTreeSet<String>,
    pub(crate) reused: BTreeSet<String>,
    pub(crate) failed: bool,
    /// What the tasks that pass have made.
    pub(crate) files: Files,
}

impl Seen {
    /// Carries out a run in thought. `disk` is what the output folders hold before it, and `selected` says of each task
    /// whether it takes part.
    pub(crate) fn run(
        &mut self,
        tasks: &[Task],
        selected: &[bool],
        rules: &Rules,
        sources: &Files,
        disk: &Files,
        passed: u64,
    ) -> Expected {
        let mut expected = Expected::default();
        let mut made: Vec<Option<Files>> = vec![None; tasks.len()];
        for (n, task) in tasks.iter().enumerate().filter(|(n, _)| selected[*n]) {
            if task.needs.keys().any(|need| made[*need].is_none()) {
                expected.failed = true;
                continue;
            }
            let makes = task.makes(sources, &made, passed);
            let key = task.key(sources, &made, passed);
            if !rules.no_cache && !rules.force_all && rules.force != Some(n) && self.holds(task, &key, disk) {
                expected.reused.insert(task.name.clone());
                assert_eq!(self.passed.get(&key), makes.as_ref(), "the key of {} says too little", task.name);
            } else {
                expected.ran.insert(task.name.clone());
            }
            if !rules.no_cache {
                match &makes {
                    Some(files) => drop(self.passed.insert(key.clone(), files.clone())),
                    None => drop(self.passed.remove(&key)),
                }
                self.last.insert(task.name.clone(), key);
            }
            expected.failed |= makes.is_none();
            expected.files.extend(makes.clone().unwrap_or_default());
            made[n] = makes;
        }
        expected
    }

    /// Whether an earlier result can be used. What another result left in the task's folder only the task can clear.
    fn holds(&self, task: &Task, key: &String, disk: &Files) -> bool {
        let Some(files) = self.passed.get(key) else { return false };
        let is_there = files.iter().all(|(path, text)| disk.get(path) == Some(text));
        if is_there && self.last.get(&task.name) == Some(key) {
            return true;
        }
        let folder = format!("{}/", task.output());
        !disk.keys().any(|path| path.starts_with(&folder) && !files.contains_key(path))
    }

    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }
}
