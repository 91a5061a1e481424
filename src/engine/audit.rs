//! `--audit-inputs`: what a task read, held against what it declares.
//!
//! A file counts as read when it was opened for that, run, or renamed; a file that the task had made before does not.
//! A read is declared when `inputs`, `stdin`, the program, a scorer, the task's own `outputs`, `artifacts` and
//! `writable_paths`, or the outputs of a task it needs for more than the order name the file, or name the link that led
//! to it. An entry of `inputs` is unread when nothing it takes was even looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::{fs, io};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::launch;
use crate::graph::Graph;
use crate::graph::affected::{carries, program};
use crate::host::strace::{self, Access, Did, below};
use crate::id::{Attempt, TaskId};
use crate::journal::log;
use crate::model::scorer::Source;
use crate::model::task::is_glob;
use crate::model::{Action, Fleet, Scorer, ScorerRule, Task};
use crate::supervisor::frame::Spawn;

/// A task to run traced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    pub task: TaskId,
    pub tracer: Tracer,
}

/// A `strace` that works here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracer {
    /// Absolute.
    pub program: String,
    /// Whether it can stop a process only where it has something to write down.
    pub fast: bool,
}

/// The trace of an attempt, in the folder of its run.
#[must_use]
pub fn trace_path(run_dir: &Path, task: &Task, attempt: Attempt) -> PathBuf {
    run_dir.join("audit").join(format!("{}.trace", log::stem(&task.name, attempt)))
}

impl Report {
    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

impl Audit {
    /// Puts the tracer around what is to be started.
    pub(super) fn wrap(&self, run_dir: &Path, task: &Task, attempt: Attempt, spawn: &mut Spawn) -> io::Result<()> {
        let path = trace_path(run_dir, task, attempt);
        fs::create_dir_all(path.parent().unwrap_or(run_dir))?;
        let path = path.to_str().ok_or_else(|| io::Error::other("the run's folder is not UTF-8"))?;
        let own = std::mem::take(&mut spawn.argv);
        spawn.argv = strace::command(&self.tracer.program, path, self.tracer.fast);
        spawn.argv.extend(own);
        Ok(())
    }
}

/// What became of one file of the workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Before the task had made it.
    read: bool,
    written: bool,
    /// Made by the task: what is in it is its own.
    made: bool,
    /// The names under which it was used, where they differ from what it is.
    names: BTreeSet<String>,
}

/// What a task did with the files of the workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    files: BTreeMap<String, Seen>,
    /// All paths that were found by any name.
    looked: BTreeSet<String>,
    /// All that were looked for in vain, so that who makes them later has not found them.
    missed: BTreeSet<String>,
}

impl Reads {
    /// Reads the trace of a task that was started in its folder.
    ///
    /// # Errors
    /// When the trace cannot be read.
    pub fn of(trace: impl BufRead, fleet: &Fleet, task: &Task) -> io::Result<Self> {
        let cwd = launch::cwd(fleet, task);
        let mut reads = Self::default();
        strace::follow(trace, &cwd.to_string_lossy(), &mut |access| reads.note(&fleet.workspace, &access))?;
        Ok(reads)
    }

    fn note(&mut self, workspace: &Path, access: &Access) {
        let named = below(&access.named, workspace);
        if access.did == Did::Missed {
            self.missed.extend(named.map(str::to_owned));
            return;
        }
        self.looked.extend(named.map(str::to_owned));
        // What leads out of the workspace is no file of it.
        let Some(path) = below(access.real.as_ref().unwrap_or(&access.named), workspace) else { return };
        self.looked.insert(path.to_owned());
        if access.did == Did::Looked {
            return;
        }
        let seen = self.files.entry(path.to_owned()).or_default();
        seen.names.extend(named.filter(|named| *named != path).map(str::to_owned));
        match access.did {
            Did::Read => seen.read |= !seen.made,
            Did::Made => (seen.made, seen.written) = (true, true),
            Did::Wrote { also_read } => {
                seen.written = true;
                if self.missed.contains(path) {
                    seen.made = true;
                }
                seen.read |= also_read && !seen.made;
            }
            Did::Looked | Did::Missed => {}
        }
    }
}

/// What is to be said of a task's `inputs`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Files that were read and are not declared, by path.
    pub undeclared: Vec<Undeclared>,
    /// Files that were read and then written by the task itself: no input can stand for them.
    pub rewritten: Vec<String>,
    /// Files of version control that were read.
    pub in_git: usize,
    /// Positions in `inputs` of what was never looked at.
    pub unread: Vec<usize>,
    /// `inputs` as they should be; nothing where they are right.
    pub inputs: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Undeclared {
    pub path: String,
    /// The task that makes it, and that this one does not need.
    pub made_by: Option<TaskId>,
    /// The entry of `inputs` that leaves it out on purpose.
    pub left_out_by: Option<Box<str>>,
    /// A glob of `inputs` matches it, and passes over it because git ignores it.
    pub passed_over: bool,
}

/// Most files of one folder that are proposed one by one.
pub const FILES_MAX: usize = 20;

/// What the disk has to be asked for, after the run.
#[expect(missing_debug_implementations, reason = "two questions have no form")]
pub struct Disk<'a> {
    /// Tells files, also those that are gone, from folders.
    pub is_file: &'a dyn Fn(&str) -> bool,
    /// Whether a file is there that a glob of `inputs` matches and does not take, because git ignores it.
    pub passed_over: &'a dyn Fn(&str) -> bool,
}

/// Holds what a task read against what it declares.
#[must_use]
pub fn report(fleet: &Fleet, graph: &Graph, id: TaskId, reads: &Reads, disk: &Disk<'_>) -> Report {
    let task = &fleet.tasks[id];
    let inputs = task.inputs.as_deref().unwrap_or_default();
    let declared = Declared::of(fleet, graph, id);
    let mut report = Report::default();
    for (path, seen) in reads.files.iter().filter(|(_, seen)| seen.read) {
        let names = || std::iter::once(path).chain(&seen.names);
        let matched = names().any(|name| declared.inputs.has(name));
        let taken = || names().any(|name| declared.inputs.has(name) && !(disk.passed_over)(name));
        let known = names().any(|name| declared.has(name)) || matched && taken();
        if known || starts_with(path, ".fleet") || !(disk.is_file)(path) {
            continue;
        }
        if starts_with(path, ".git") {
            report.in_git += 1;
        } else if seen.written {
            report.rewritten.push(path.clone());
        } else {
            let left_out_by = inputs.iter().find(|text| excludes(text, path)).cloned();
            let made_by = maker(fleet, id, path);
            report.undeclared.push(Undeclared { path: path.clone(), made_by, left_out_by, passed_over: matched });
        }
    }
    report.unread = unread(inputs, reads);
    report.inputs = proposal(task, &report);
    report
}

/// The positive entries of `inputs` that take nothing the task looked at.
fn unread(inputs: &[Box<str>], reads: &Reads) -> Vec<usize> {
    let taken = |text: &str| {
        let set = Patterns::of([text]);
        text == "." || reads.looked.iter().chain(&reads.missed).any(|path| set.has(path))
    };
    let positive = inputs.iter().enumerate().filter(|(_, text)| !text.starts_with('!'));
    positive.filter(|(_, text)| !taken(text)).map(|(position, _)| position).collect()
}

/// The entries that were read, and what was read besides.
fn proposal(task: &Task, report: &Report) -> Option<Vec<String>> {
    let wanted = report.undeclared.iter().filter(|one| one.left_out_by.is_none());
    // What git ignores has to be named in full.
    let (named, add): (Vec<_>, Vec<_>) = wanted.map(|one| (one.passed_over, &*one.path)).partition(|(named, _)| *named);
    let add: Vec<&str> = add.into_iter().map(|(_, path)| path).collect();
    if named.is_empty() && add.is_empty() && report.unread.is_empty() {
        return None;
    }
    let own: Vec<&str> = task.outputs.iter().map(|text| &**text).collect();
    let kept = task.inputs.iter().flatten().enumerate().filter(|(position, _)| !report.unread.contains(position));
    let mut inputs: Vec<String> = kept.map(|(_, text)| text.to_string()).collect();
    // What is left out has nothing to be left out of when it stands alone.
    if inputs.iter().all(|text| text.starts_with('!')) && add.is_empty() && named.is_empty() {
        inputs.clear();
    }
    inputs.extend(gathered(&add, &own));
    inputs.extend(named.into_iter().map(|(_, path)| literal(path)));
    Some(inputs)
}

/// Paths, or a glob for a folder in which there would be too many; never one that takes what the task itself makes.
fn gathered(paths: &[&str], own: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![("", paths.to_vec())];
    while let Some((folder, paths)) = open.pop() {
        let mut below: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let start = if folder.is_empty() { 0 } else { folder.len() + 1 };
        for path in paths {
            let end = path[start..].find('/').map_or(path.len(), |at| start + at);
            below.entry(&path[..end]).or_default().push(path);
        }
        let (large, small): (Vec<_>, Vec<_>) = below.into_iter().partition(|(_, paths)| paths.len() > FILES_MAX);
        let few: usize = small.iter().map(|(_, paths)| paths.len()).sum();
        if !folder.is_empty() && few + large.len() > FILES_MAX && !own.iter().any(|text| may_be_in(text, folder)) {
            found.push(format!("{}/**", literal(folder)));
            continue;
        }
        found.extend(small.into_iter().flat_map(|(_, paths)| paths).map(literal));
        open.extend(large);
    }
    found.sort_unstable();
    found
}

/// Whether a path or glob could take something of a folder.
fn may_be_in(text: &str, folder: &str) -> bool {
    let end = text.find(['*', '?', '[', '{', '\\']).unwrap_or(text.len());
    let head = text[..end].trim_end_matches('/');
    if text.starts_with('!') {
        return false;
    }
    // A folder above, the folder itself, or what is below; or a name that is cut off by the first star.
    head.starts_with(folder) || folder.starts_with(head)
}

/// A path as an entry of `inputs`, where some characters mean more than themselves.
fn literal(path: &str) -> String {
    if is_glob(path) {
        let text = globset::escape(path);
        return text.strip_prefix('!').map_or(text.clone(), |rest| format!("\\!{rest}"));
    }
    path.to_owned()
}

/// The task that lists a path in its outputs.
fn maker(fleet: &Fleet, reader: TaskId, path: &str) -> Option<TaskId> {
    let makes =
        |task: &Task| !task.outputs.is_empty() && Patterns::of(task.outputs.iter().map(|text| &**text)).has(path);
    fleet.tasks.iter().find(|(id, task)| *id != reader && makes(task)).map(|(id, _)| id)
}

fn excludes(text: &str, path: &str) -> bool {
    text.strip_prefix('!').is_some_and(|text| Patterns::of([text]).has(path))
}

fn starts_with(path: &str, folder: &str) -> bool {
    path.split('/').next() == Some(folder)
}

/// Everything that declares files for a task; `inputs` apart, because they pass over what git ignores.
struct Declared {
    inputs: Patterns,
    lists: Vec<Patterns>,
    paths: BTreeSet<String>,
}

impl Declared {
    fn of(fleet: &Fleet, graph: &Graph, id: TaskId) -> Self {
        let task = &fleet.tasks[id];
        let inputs = Patterns::of(task.inputs.iter().flatten().map(|text| &**text));
        let mut this = Self { inputs, lists: Vec::new(), paths: BTreeSet::new() };
        this.lists.push(Patterns::of(task.outputs.iter().map(|text| &**text)));
        // Where it may write by a glob, it may write below.
        let writable = task.writable_paths.as_deref().unwrap_or_default();
        let below: Vec<String> = writable.iter().map(|text| format!("{text}/**")).collect();
        this.lists.push(Patterns::of(writable.iter().map(|text| &**text).chain(below.iter().map(String::as_str))));
        this.lists.push(Patterns::of(task.artifacts.iter().map(|artifact| &*artifact.path)));
        for edge in graph.needs(id).iter().filter(|edge| carries(fleet, edge)) {
            this.lists.push(Patterns::of(fleet.tasks[edge.from].outputs.iter().map(|text| &**text)));
        }
        this.paths.extend(task.stdin.as_deref().map(str::to_owned));
        if let Action::Run(argv) = &task.action {
            this.program(fleet, task, argv);
        }
        let mut open: Vec<&Scorer> = task.scorers.iter().collect();
        while let Some(scorer) = open.pop() {
            match &scorer.rule {
                ScorerRule::Command { argv, .. } => this.program(fleet, task, argv),
                ScorerRule::FileExists { path, .. }
                | ScorerRule::RegexMatch { source: Source::Path(path), .. }
                | ScorerRule::JsonPath { path, .. } => drop(this.paths.insert(path.to_string())),
                ScorerRule::Junit { path, .. } => this.lists.push(Patterns::of([&**path])),
                ScorerRule::Quorum { of, .. } => open.extend(of),
                ScorerRule::ExitCode { .. } | ScorerRule::RegexMatch { .. } => {}
            }
        }
        this
    }

    fn program(&mut self, fleet: &Fleet, task: &Task, argv: &[Box<str>]) {
        let path = argv.first().and_then(|name| program(&fleet.workspace, &task.workdir, name));
        self.paths.extend(path);
    }

    /// Otherwise than by `inputs`.
    fn has(&self, path: &str) -> bool {
        self.paths.contains(path) || self.lists.iter().any(|list| list.has(path))
    }
}

/// A list of paths, each standing also for what is below it, of globs, and of what `!` takes out.
struct Patterns {
    set: GlobSet,
    except: GlobSet,
}

impl Patterns {
    fn of<'a>(list: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut set, mut except) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for text in list {
            let excluding = text.starts_with('!');
            let (into, text) = match text.strip_prefix('!') {
                Some(text) => (&mut except, text),
                None => (&mut set, text),
            };
            let below = if text == "." { "**".to_owned() } else { format!("{text}/**") };
            // What excludes a folder excludes what is in it; what takes one by a glob takes no file.
            let whole = excluding || !is_glob(text);
            for text in [Some(text), Some(&*below).filter(|_| whole)].into_iter().flatten() {
                let glob = GlobBuilder::new(text).literal_separator(true).backslash_escape(true).build();
                // Patterns were checked when the file was read; one that does not compile matches nothing.
                if let Ok(glob) = glob {
                    into.add(glob);
                }
            }
        }
        Self { set: set.build().unwrap_or_default(), except: except.build().unwrap_or_default() }
    }

    fn has(&self, path: &str) -> bool {
        self.set.is_match(path) && !self.except.is_match(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::testing::{fleet, id};

    fn reads(trace: &str) -> Reads {
        let fleet = fleet(&["t"]);
        Reads::of(trace.as_bytes(), &fleet, &fleet.tasks[id(0)]).expect("a text can be read")
    }

    fn undeclared(fleet: &Fleet, trace: &str) -> Report {
        let graph = Graph::of(fleet).expect("the fleet is right");
        let disk = Disk { is_file: &|path| !path.ends_with("folder"), passed_over: &|path| path == "src/ignored" };
        report(fleet, &graph, id(0), &reads(trace), &disk)
    }

    const TRACE: &str = "1 openat(AT_FDCWD</w>, \"src/a\", O_RDONLY) = 3</w/src/a>\n\
        1 openat(AT_FDCWD</w>, \"src/deep/b\", O_RDONLY) = 3</w/src/deep/b>\n\
        1 openat(AT_FDCWD</w>, \"/etc/passwd\", O_RDONLY) = 3</etc/passwd>\n\
        1 openat(AT_FDCWD</w>, \"folder\", O_RDONLY) = 3</w/folder>\n\
        1 openat(AT_FDCWD</w>, \"leak\", O_RDONLY) = 3</etc/shadow>\n\
        1 openat(AT_FDCWD</w>, \".git/HEAD\", O_RDONLY) = 3</w/.git/HEAD>\n\
        1 openat(AT_FDCWD</w>, \".fleet/lock\", O_RDONLY) = 3</w/.fleet/lock>\n\
        1 newfstatat(AT_FDCWD</w>, \"seen\", {}, 0) = 0\n";

    #[test]
    fn a_read_is_declared_or_told() {
        for (inputs, paths, unread, proposed) in [
            (&["src"][..], &[][..], &[][..], None),
            (&["src/*"], &["src/deep/b"], &[], Some(&["src/*", "src/deep/b"][..])),
            (&["src/**", "seen", "gone"], &[], &[2], Some(&["src/**", "seen"])),
            (&["src/**", "!src/deep"], &["src/deep/b"], &[], None),
            (&[], &["src/a", "src/deep/b"], &[], Some(&["src/a", "src/deep/b"])),
            (&["."], &[], &[], None),
        ] {
            let fleet = fleet(&["t"]).files(0, inputs, &[]);
            let report = undeclared(&fleet, TRACE);
            let found: Vec<&str> = report.undeclared.iter().map(|one| &*one.path).collect();
            assert_eq!((&found[..], &report.unread[..]), (paths, unread), "{inputs:?}");
            assert_eq!(report.inputs, proposed.map(|all| all.iter().map(ToString::to_string).collect()), "{inputs:?}");
            // `.` does not stand for version control, but naming it is no use either.
            assert_eq!(report.in_git, usize::from(inputs != ["."]), "{inputs:?}");
        }
    }

    #[test]
    fn a_glob_does_not_declare_what_git_ignores() {
        let trace = "1 open(\"src/ignored\", O_RDONLY) = 3</w/src/ignored>\n";
        let report = undeclared(&fleet(&["t"]).files(0, &["src/**"], &[]), trace);
        assert!(report.undeclared[0].passed_over, "{report:?}");
        assert_eq!(report.inputs, Some(vec!["src/**".to_owned(), "src/ignored".to_owned()]));
    }

    #[test]
    fn what_a_task_made_is_its_own() {
        for (trace, read, rewritten) in [
            ("1 creat(\"a\", 0666) = 3</w/a>\n1 open(\"a\", O_RDONLY) = 3</w/a>\n", &[][..], &[][..]),
            ("1 open(\"a\", O_RDONLY) = 3</w/a>\n", &["a"], &[]),
            ("1 open(\"a\", O_RDONLY) = 3</w/a>\n1 creat(\"a\", 0666) = 3</w/a>\n", &[], &["a"]),
            ("1 open(\"a\", O_RDWR|O_CREAT, 0666) = 3</w/a>\n", &[], &["a"]),
            ("1 open(\"a\", O_WRONLY|O_CREAT, 0666) = 3</w/a>\n", &[], &[]),
            (
                "1 access(\"a\", R_OK) = -1 ENOENT (No such file or directory)\n\
                 1 open(\"a\", O_RDWR|O_CREAT, 0666) = 3</w/a>\n",
                &[],
                &[],
            ),
            (
                "1 creat(\"b\", 0666) = 3</w/b>\n1 rename(\"b\", \"a\") = 0\n1 open(\"a\", O_RDONLY) = 3</w/a>\n",
                &[],
                &[],
            ),
        ] {
            let report = undeclared(&fleet(&["t"]).files(0, &[], &[]), trace);
            let found: Vec<&str> = report.undeclared.iter().map(|one| &*one.path).collect();
            let told: Vec<&str> = report.rewritten.iter().map(String::as_str).collect();
            assert_eq!((&found[..], &told[..]), (read, rewritten), "{trace}");
        }
    }

    #[test]
    fn many_files_of_a_folder_become_one_entry() {
        let many = |folder: &str, count: usize| (0..count).map(|n| format!("{folder}/{n:02}")).collect::<Vec<_>>();
        let gathered = |all: &[Vec<String>], own: &[&str]| -> Vec<String> {
            gathered(&all.iter().flatten().map(String::as_str).collect::<Vec<_>>(), own)
        };
        assert_eq!(gathered(&[many("a", 20)], &[]).len(), 20);
        assert_eq!(gathered(&[many("a", 21)], &[]), ["a/**"]);
        assert_eq!(gathered(&[many("a/b/c", 21), many("a/x", 2)], &[]), ["a/b/c/**", "a/x/00", "a/x/01"]);
        assert_eq!(gathered(&[many("a/b", 21), many("c/d", 30)], &[]), ["a/b/**", "c/d/**"]);
        let scattered: Vec<Vec<String>> = (0..30).map(|n| many(&format!("modules/{n}"), 3)).collect();
        assert_eq!(gathered(&scattered, &[]), ["modules/**"]);
        // A task cannot read what it makes.
        for own in ["a/out", "a/*.o", "a", "**/*.o"] {
            assert_eq!(gathered(&[many("a", 21)], &[own]).len(), 21, "{own}");
        }
        assert_eq!(gathered(&[many("a", 21)], &["b/out", "!a/x"]), ["a/**"]);
        assert_eq!(super::gathered(&["!x", "a{b}", "plain"], &[]), ["\\!x", "a[{]b[}]", "plain"]);
    }
}
