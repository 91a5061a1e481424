//! Which tasks a change touches, and why each: the pure half of `--affected`. Where the changed paths come from is the
//! caller's business.
//!
//! A task is affected when a changed path is one that its result rests on: a file of `inputs`, `stdin`, its program, or
//! what its scorers run and read. So is every task when a file that defines the fleet changed, because any definition
//! in it may have; every task without `inputs`, because nobody can tell what it reads; and every task that needs an
//! affected one, by `needs` or through files. A need that only orders carries nothing, unless files do.
//!
//! It errs towards "affected". A task that its own `when` leaves out does nothing, so no change touches it.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::path::Path;

use super::files::positive;
use super::pattern::{Pattern, folders};
use super::{Edge, EdgeKind, Graph};
use crate::id::{IdMap, TaskId};
use crate::model::scorer::Source;
use crate::model::task::is_glob;
use crate::model::{Action, Fleet, Scorer, ScorerRule, Task};

/// A path that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Relative to the workspace.
    pub path: Box<str>,
    pub kind: ChangeKind,
}

/// How far a change reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// That path.
    File,
    /// A symbolic link: also what is named through it.
    Link,
    /// A folder of which only the whole is known, as a submodule: also all below it.
    Folder,
}

/// Why a task is affected; the first of these that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A changed path, by its position, is one that the task's result rests on.
    Path { change: u32, by: By },
    /// A changed path, by its position, defines the fleet.
    Definition { change: u32 },
    /// It declares no `inputs`.
    NoInputs,
    /// It needs this task, which is affected.
    Needs(TaskId),
}

/// What names a changed path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// A position in `inputs`.
    Input(u32),
    Stdin,
    /// The program that the task runs.
    Program,
    /// A position in the task's scorers.
    Scorer(u32),
}

/// The affected tasks, each with its reason. `definitions` are the files of the fleet, relative to the workspace.
#[must_use]
pub fn affected(
    fleet: &Fleet,
    graph: &Graph,
    changes: &[Change],
    definitions: &[&str],
) -> IdMap<TaskId, Option<Reason>> {
    let index = Index::of(fleet);
    let mut reasons: IdMap<TaskId, Option<Reason>> = IdMap::filled(&fleet.tasks, None);
    for (change, number) in changes.iter().zip(0u32..) {
        index.touched(fleet, change, number, &mut reasons);
    }
    let defines = |change: &Change| definitions.iter().any(|file| reaches(change, file));
    let definition = changes.iter().zip(0u32..).find(|(change, _)| defines(change)).map(|(_, number)| number);
    for &id in graph.order() {
        let task = &fleet.tasks[id];
        if task.unwanted.is_some() {
            reasons[id] = None;
        } else if reasons[id].is_none() {
            reasons[id] = match definition {
                Some(change) => Some(Reason::Definition { change }),
                None if task.inputs.is_none() => Some(Reason::NoInputs),
                None => {
                    let carries = |edge: &&Edge| reasons[edge.from].is_some() && carries(fleet, edge);
                    graph.needs(id).iter().find(carries).map(|edge| Reason::Needs(edge.from))
                }
            };
        }
    }
    reasons
}

/// Whether a change of the first task changes what the second one works with.
pub(crate) fn carries(fleet: &Fleet, edge: &Edge) -> bool {
    let (from, to) = (&fleet.tasks[edge.from], &fleet.tasks[edge.to]);
    let only_orders = || to.needs.iter().any(|need| need.task == edge.from && need.order_only);
    // A declared need hides the edge that files imply.
    matches!(edge.kind, EdgeKind::File { .. }) || !only_orders() || reads_from(from, to)
}

/// Whether some file could be an output of the one and an input of the other. Does not look at `!`, so it errs towards
/// yes.
fn reads_from(from: &Task, to: &Task) -> bool {
    let patterns = |list: &[Box<str>]| -> Vec<Pattern> {
        positive(list)
            .flat_map(|(text, _)| if is_glob(text) { vec![Pattern::glob(text)] } else { path(text) })
            .collect()
    };
    let outputs = patterns(&from.outputs);
    patterns(to.inputs.as_deref().unwrap_or_default()).iter().any(|input| outputs.iter().any(|o| o.meets(input)))
}

/// A path, and all below it if it is a folder.
fn path(text: &str) -> Vec<Pattern> {
    if text == "." { vec![Pattern::below("")] } else { vec![Pattern::literal(text), Pattern::below(text)] }
}

/// Whether a change is one of that file.
/// Whether a list of paths, globs and exclusions takes a path, or may take one of a glob's.
pub(crate) fn takes<'a>(list: impl Iterator<Item = &'a str> + Clone, wanted: &str) -> bool {
    let wanted = path(wanted);
    let meets = |text: &str| path(text).iter().any(|own| wanted.iter().any(|other| own.meets(other)));
    let excluded = list.clone().filter_map(|text| text.strip_prefix('!')).any(meets);
    !excluded && list.filter(|text| !text.starts_with('!')).any(meets)
}

fn reaches(change: &Change, file: &str) -> bool {
    *change.path == *file || change.kind != ChangeKind::File && below(&change.path, file)
}

fn below(folder: &str, path: &str) -> bool {
    folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

type User = (TaskId, By);

/// Everything that names files, found by path.
#[derive(Default)]
struct Index<'a> {
    /// A path that is a folder stands for all below it.
    literals: BTreeMap<Cow<'a, str>, Vec<User>>,
    globs: Vec<Glob>,
    by_text: HashMap<&'a str, usize>,
    /// Globs by the folder that all their matches are in.
    by_folder: BTreeMap<Box<str>, Vec<usize>>,
}

struct Glob {
    pattern: Pattern,
    users: Vec<User>,
}

impl<'a> Index<'a> {
    fn of(fleet: &'a Fleet) -> Self {
        let mut index = Self::default();
        for (id, task) in fleet.tasks.iter().filter(|(_, task)| task.unwanted.is_none()) {
            for (text, position) in positive(task.inputs.as_deref().unwrap_or_default()) {
                index.add(text, (id, By::Input(position)));
            }
            if let Some(path) = &task.stdin {
                index.literal(Cow::Borrowed(path), (id, By::Stdin));
            }
            if let Action::Run(argv) = &task.action {
                index.program(fleet, task, argv, (id, By::Program));
            }
            for (scorer, position) in task.scorers.iter().zip(0..) {
                index.scorer(fleet, task, scorer, (id, By::Scorer(position)));
            }
        }
        index
    }

    fn add(&mut self, text: &'a str, user: User) {
        if !is_glob(text) {
            return self.literal(Cow::Borrowed(text), user);
        }
        let at = *self.by_text.entry(text).or_insert_with(|| {
            let pattern = Pattern::glob(text);
            self.by_folder.entry(pattern.folder().into()).or_default().push(self.globs.len());
            self.globs.push(Glob { pattern, users: Vec::new() });
            self.globs.len() - 1
        });
        self.globs[at].users.push(user);
    }

    fn literal(&mut self, path: Cow<'a, str>, user: User) {
        let path = if path == "." { Cow::Borrowed("") } else { path };
        self.literals.entry(path).or_default().push(user);
    }

    fn program(&mut self, fleet: &Fleet, task: &Task, argv: &'a [Box<str>], user: User) {
        if let Some(path) = argv.first().and_then(|name| program(&fleet.workspace, &task.workdir, name)) {
            self.literal(path.into(), user);
        }
    }

    fn scorer(&mut self, fleet: &'a Fleet, task: &'a Task, scorer: &'a Scorer, user: User) {
        let mut open = vec![scorer];
        while let Some(scorer) = open.pop() {
            match &scorer.rule {
                ScorerRule::Command { argv, .. } => self.program(fleet, task, argv, user),
                ScorerRule::FileExists { path, .. }
                | ScorerRule::RegexMatch { source: Source::Path(path), .. }
                | ScorerRule::JsonPath { path, .. } => self.literal(Cow::Borrowed(path), user),
                ScorerRule::Junit { path, .. } => self.add(path, user),
                ScorerRule::Quorum { of, .. } => open.extend(of),
                ScorerRule::ExitCode { .. } | ScorerRule::RegexMatch { .. } => {}
            }
        }
    }

    /// Notes a change with all tasks that name it and have no reason yet.
    fn touched(&self, fleet: &Fleet, change: &Change, number: u32, reasons: &mut IdMap<TaskId, Option<Reason>>) {
        let path = &*change.path;
        let exact = Pattern::literal(path);
        let whole = Pattern::below(path);
        // The path itself, and the folders it is in.
        for named in std::iter::once(path).chain(folders(path)) {
            note(fleet, self.literals.get(named), change, number, reasons);
        }
        for glob in folders(path).filter_map(|folder| self.by_folder.get(folder)).flatten().map(|at| &self.globs[*at]) {
            let hit = |glob: &Glob| {
                glob.pattern.meets(&exact) || change.kind == ChangeKind::Folder && glob.pattern.meets(&whole)
            };
            // What is not matched by anyone who still asks need not be matched.
            if glob.users.iter().any(|(task, _)| reasons[*task].is_none()) && hit(glob) {
                note(fleet, Some(&glob.users), change, number, reasons);
            }
        }
        if change.kind == ChangeKind::File {
            return;
        }
        // What is named by a way that leads through the link or into the folder.
        for users in within(&self.literals, path) {
            note(fleet, Some(users), change, number, reasons);
        }
        let at = self.by_folder.get(path).into_iter();
        for glob in at.chain(within(&self.by_folder, path)).flatten().map(|at| &self.globs[*at]) {
            note(fleet, Some(&glob.users), change, number, reasons);
        }
    }
}

/// The values of all keys below a folder.
fn within<'m, K: Ord + std::borrow::Borrow<str>, V>(
    map: &'m BTreeMap<K, V>,
    folder: &str,
) -> impl Iterator<Item = &'m V> {
    let start = format!("{folder}/");
    let bounds = (Bound::Included(&*start), Bound::Unbounded);
    let found: Vec<&V> = map
        .range::<str, _>(bounds)
        .take_while(|(key, _)| (*key).borrow().starts_with(&start))
        .map(|(_, value)| value)
        .collect();
    found.into_iter()
}

fn note(
    fleet: &Fleet,
    users: Option<&Vec<User>>,
    change: &Change,
    number: u32,
    reasons: &mut IdMap<TaskId, Option<Reason>>,
) {
    for &(task, by) in users.into_iter().flatten() {
        let taken_out = || matches!(by, By::Input(_)) && excluded(&fleet.tasks[task], change);
        if reasons[task].is_none() && !taken_out() {
            reasons[task] = Some(Reason::Path { change: number, by });
        }
    }
}

/// Whether `!` takes the path out of the task's inputs, or all of the folder.
fn excluded(task: &Task, change: &Change) -> bool {
    let excludes = task.inputs.iter().flatten().filter_map(|text| text.strip_prefix('!'));
    let (exact, whole) = (Pattern::literal(&change.path), Pattern::below(&change.path));
    excludes.map(|text| (Pattern::glob(text), text)).any(|(pattern, text)| match change.kind {
        // What excludes a folder excludes what is in it.
        ChangeKind::File | ChangeKind::Link => {
            pattern.meets(&exact) || folders(&change.path).any(|folder| pattern.meets(&Pattern::literal(folder)))
        }
        ChangeKind::Folder => {
            pattern.covers(&whole) || !is_glob(text) && (text == &*change.path || below(text, &change.path))
        }
    })
}

/// The path of a program that is a file of the workspace, as it is found from a task's folder.
pub(crate) fn program(workspace: &Path, workdir: &str, name: &str) -> Option<String> {
    if !name.contains('/') {
        return None;
    }
    let workspace = workspace.to_str()?;
    let relative = match name.strip_prefix(workspace) {
        Some(rest) => rest.strip_prefix('/')?.to_owned(),
        None if name.starts_with('/') => return None,
        None => format!("{workdir}/{name}"),
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

impl Reason {
    /// In words, as `fleet plan` says it.
    #[must_use]
    pub fn text(self, fleet: &Fleet, task: TaskId, changes: &[Change]) -> String {
        let path = |change: u32| changes.get(change as usize).map_or("", |change| &*change.path);
        match self {
            Self::Path { change, by } => format!("{} {}", path(change), by.text(&fleet.tasks[task], path(change))),
            Self::Definition { change } => format!("{} changed, which defines the fleet", path(change)),
            Self::NoInputs => "it declares no inputs".to_owned(),
            Self::Needs(upstream) => format!("it needs {}", fleet.tasks[upstream].name),
        }
    }
}

impl By {
    fn text(self, task: &Task, path: &str) -> String {
        match self {
            Self::Input(_) => match self.pattern(task) {
                Some(pattern) if pattern != path => format!("changed, an input by {pattern}"),
                _ => "changed, an input".to_owned(),
            },
            Self::Stdin => "changed, its stdin".to_owned(),
            Self::Program => "changed, its program".to_owned(),
            Self::Scorer(position) => {
                let name = task.scorers.get(position as usize).map_or("", |scorer| &*scorer.name);
                format!("changed, which its scorer {name} uses")
            }
        }
    }

    /// The entry of `inputs` that took the path.
    #[must_use]
    pub fn pattern(self, task: &Task) -> Option<&str> {
        let Self::Input(position) = self else { return None };
        task.inputs.as_ref()?.get(position as usize).map(|text| &**text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::testing::{Random, fleet, id, list, numbered};

    fn change(path: &str, kind: ChangeKind) -> Change {
        Change { path: path.into(), kind }
    }

    /// The tasks that changes of these files touch, with the reasons.
    fn reasons(fleet: &Fleet, changes: &[Change]) -> Vec<(usize, String)> {
        let graph = Graph::of(fleet).expect("the fleet is right");
        let all = affected(fleet, &graph, changes, &["fleet.toml", "ci/more.toml"]);
        let found = all.iter().filter_map(|(task, reason)| Some((task, (*reason)?)));
        found.map(|(task, reason)| (crate::id::Id::index(task), reason.text(fleet, task, changes))).collect()
    }

    fn tasks(fleet: &Fleet, path: &str) -> Vec<usize> {
        reasons(fleet, &[change(path, ChangeKind::File)]).into_iter().map(|(task, _)| task).collect()
    }

    #[test]
    fn a_path_touches_who_names_it() {
        let fleet = numbered(7)
            .files(0, &["src/**/*.rs", "!src/gen"], &[])
            .files(1, &["src"], &[])
            .files(2, &["Cargo.toml"], &[])
            .files(3, &["."], &[])
            .files(4, &["{src,lib}/a.rs"], &[])
            .files(5, &["src/a.rs", "!**/*.rs"], &[])
            .files(6, &[], &[]);
        for (path, expected) in [
            ("src/a.rs", &[0, 1, 3, 4][..]),
            ("src/gen/a.rs", &[1, 3]),
            ("src/gen", &[1, 3]),
            ("src", &[1, 3]),
            ("srcs/a.rs", &[3]),
            ("Cargo.toml", &[2, 3]),
            ("Cargo.toml/x", &[2, 3]),
            ("lib/a.rs", &[3, 4]),
            ("ci/more.toml", &[0, 1, 2, 3, 4, 5, 6]),
        ] {
            assert_eq!(tasks(&fleet, path), expected, "{path}");
        }
        assert_eq!(reasons(&fleet, &[]), []);
    }

    #[test]
    fn links_and_folders_reach_further_than_files() {
        let fleet = numbered(4)
            .files(0, &["lib/src/*.c"], &[])
            .files(1, &["lib/src/a.h"], &[])
            .files(2, &["**/*.c", "!lib/**"], &[])
            .files(3, &["**/*.c"], &[]);
        let touched = |path, kind| -> Vec<usize> {
            reasons(&fleet, &[change(path, kind)]).into_iter().map(|(task, _)| task).collect()
        };
        for (path, kind, expected) in [
            ("lib", ChangeKind::File, &[][..]),
            ("lib", ChangeKind::Link, &[0, 1]),
            ("lib/src", ChangeKind::Link, &[0, 1]),
            ("lib/src/a.h", ChangeKind::Link, &[1]),
            ("lib", ChangeKind::Folder, &[0, 1, 3]),
            ("lib/src", ChangeKind::Folder, &[0, 1, 3]),
            ("other", ChangeKind::Folder, &[2, 3]),
            ("other", ChangeKind::Link, &[]),
        ] {
            assert_eq!(touched(path, kind), expected, "{path} {kind:?}");
        }
    }

    #[test]
    fn what_needs_an_affected_task_is_affected_unless_the_need_only_orders() {
        let orders = |task: &mut Task| task.needs.iter_mut().for_each(|need| need.order_only = true);
        let fleet = numbered(7)
            .files(0, &["a"], &["out/**"])
            .files(1, &[], &[])
            .needs(1, &[0])
            .files(2, &[], &[])
            .needs(2, &[0])
            .with(2, orders)
            .files(3, &["out/x"], &[])
            .needs(3, &[0])
            .with(3, orders)
            .files(4, &["out/y"], &[])
            .files(5, &[], &[])
            .needs(5, &[1, 2])
            .files(6, &[], &[])
            .needs(6, &[2]);
        let found = reasons(&fleet, &[change("a", ChangeKind::File)]);
        let expected = [
            (0, "a changed, an input"),
            (1, "it needs t0"),
            (3, "it needs t0"),
            (4, "it needs t0"),
            (5, "it needs t1"),
        ];
        assert_eq!(found, expected.map(|(task, why)| (task, why.to_owned())));
    }

    #[test]
    fn a_task_without_inputs_is_affected_and_one_that_is_left_out_is_not() {
        let fleet = fleet(&["open", "behind", "elsewhere", "after"])
            .files(1, &[], &[])
            .needs(1, &[0])
            .with(2, |task| task.unwanted = Some("os is linux".into()))
            .files(3, &[], &[])
            .needs(3, &[2]);
        let found = reasons(&fleet, &[]);
        assert_eq!(found, [(0, "it declares no inputs".to_owned()), (1, "it needs open".to_owned())]);
        assert_eq!(tasks(&fleet, "fleet.toml"), [0, 1, 3]);
    }

    #[test]
    fn a_program_is_found_from_the_folder_of_its_task() {
        let root = Path::new("/w");
        for (workdir, name, expected) in [
            ("", "cargo", None),
            ("", "./run.sh", Some("run.sh")),
            ("a/b", "../c//run.sh", Some("a/c/run.sh")),
            ("a", "../../run.sh", None),
            ("a", "/w/x/run.sh", Some("x/run.sh")),
            ("a", "/usr/bin/env", None),
            ("", "/within/x", None),
        ] {
            assert_eq!(program(root, workdir, name).as_deref(), expected, "{workdir} {name}");
        }
    }

    /// The look-up by folder finds what asking every pattern finds.
    #[test]
    fn the_index_finds_what_a_search_finds() {
        let words = ["a", "b", "ab", "*", "a*", "**", "{a,b}", "?"];
        let names = ["a", "b", "ab", "ba"];
        for seed in 0..400 {
            let mut random = Random(seed);
            let mut text = |from: &[&str]| {
                let parts: Vec<&str> = (0..=random.below(3)).map(|_| from[random.below(from.len())]).collect();
                parts.join("/")
            };
            let patterns: Vec<String> = (0..6).map(|_| text(&words)).collect();
            let path = text(&names);
            let mut fleet = numbered(6);
            for (task, pattern) in patterns.iter().enumerate() {
                fleet.tasks[id(task)].inputs = Some(list(&[pattern]));
            }
            let matches = |pattern: &str| {
                let glob = globset::GlobBuilder::new(pattern).literal_separator(true).build().expect("a glob");
                let folder = !is_glob(pattern) && below(pattern, &path);
                folder || glob.compile_matcher().is_match(&path)
            };
            let expected: Vec<usize> = (0..6).filter(|task| matches(&patterns[*task])).collect();
            assert_eq!(tasks(&fleet, &path), expected, "seed {seed}: {path} {patterns:?}");
        }
    }
}
