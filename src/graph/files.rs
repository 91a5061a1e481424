//! The edges that files imply: a file that one task lists in `outputs` and another in `inputs` makes the second wait.
//!
//! - path to path: one look-up in a hash map of outputs. A path may be a folder, and then stands for all below it, so
//!   the folders above a path are looked up as well, both ways.
//! - path to glob, either way: globs stand in a map by the folder all their matches are in, so a path is held only
//!   against the globs of the folders above it.
//! - glob to glob: the same map, both ways, then the question whether some path could match both. That is
//!   conservative: an edge may turn out needless, but a file is never read before it is written.
//! - `!` patterns take out the paths they match, and a glob only when they surely cover all of it.
//!
//! A handler of failures neither waits for files nor is waited for: it starts when its task has failed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::pattern::{Pattern, STEPS_MAX, Steps, folders};
use super::{EDGES_MAX, Edge, EdgeKind, GraphError, Handlers, WriteField, WritePlace};
use crate::id::TaskId;
use crate::model::Fleet;
use crate::model::task::is_glob;

/// One entry of a list of a task.
type User = (TaskId, u32);

/// One text of `outputs` or `inputs`; without a pattern it is a path.
#[derive(Clone, Copy)]
struct Files<'a> {
    text: &'a str,
    pattern: Option<&'a Pattern>,
}

/// Adds the implied edges to `edges` and equal outputs to `errors`.
pub(super) fn imply(
    fleet: &Fleet,
    handlers: &Handlers,
    edges: &mut Vec<Edge>,
    errors: &mut Vec<GraphError>,
) -> Result<(), GraphError> {
    let outputs = Outputs::of(fleet);
    outputs.equal(fleet, errors);
    if outputs.paths.is_empty() && outputs.globs.all.is_empty() {
        return Ok(());
    }
    let mut inputs = Inputs::default();
    let steps = Steps::new(STEPS_MAX);
    let mut join = Join { fleet, handlers, edges, excludes: HashMap::new(), steps: &steps };
    for (to, task) in fleet.tasks.iter() {
        for (text, index) in positive(task.inputs.as_deref().unwrap_or_default()) {
            if is_glob(text) {
                inputs.globs.add(text, (to, index));
            } else {
                inputs.paths.entry(text).or_default().push((to, index));
            }
        }
    }
    path_to_path(&outputs, &inputs, &mut join)?;
    for (&path, readers) in &inputs.paths {
        let input = Files { text: path, pattern: None };
        for glob in outputs.globs.holding(path, &steps) {
            join.all(glob.users.iter().copied(), glob.files(), readers, input)?;
        }
        bearable(&steps)?;
    }
    for &path in outputs.paths.keys() {
        for glob in inputs.globs.holding(path, &steps) {
            join.all(outputs.makers(path), Files { text: path, pattern: None }, &glob.users, glob.files())?;
        }
        bearable(&steps)?;
    }
    // A glob whose folder is a path of the other side, or below one.
    for glob in &outputs.globs.all {
        for (path, readers) in at_or_above(glob.pattern.folder()).filter_map(|path| inputs.paths.get_key_value(path)) {
            join.all(glob.users.iter().copied(), glob.files(), readers, Files { text: path, pattern: None })?;
        }
    }
    for glob in &inputs.globs.all {
        for path in at_or_above(glob.pattern.folder()) {
            join.all(outputs.makers(path), Files { text: path, pattern: None }, &glob.users, glob.files())?;
        }
    }
    let inputs = inputs.globs;
    // Two globs can meet only if the folder of one is the other's or above it: each side looks up once.
    for output in &outputs.globs.all {
        let folder = output.pattern.folder();
        for input in inputs.above(folder).chain(inputs.in_folder(folder)) {
            join.globs(output, input)?;
        }
    }
    for input in &inputs.all {
        for output in outputs.globs.above(input.pattern.folder()) {
            join.globs(output, input)?;
        }
    }
    Ok(())
}

/// Equal paths, and paths of which one is a folder above the other.
fn path_to_path<'a>(outputs: &Outputs<'a>, inputs: &Inputs<'a>, join: &mut Join<'a>) -> Result<(), GraphError> {
    let file = |text| Files { text, pattern: None };
    for (&path, readers) in &inputs.paths {
        for made in at_or_above(path) {
            join.all(outputs.makers(made), file(made), readers, file(path))?;
        }
    }
    for &path in outputs.paths.keys() {
        for (read, readers) in folders(path).filter_map(|folder| inputs.paths.get_key_value(folder)) {
            join.all(outputs.makers(path), file(path), readers, file(read))?;
        }
    }
    Ok(())
}

/// A path and the folders it is in, without the workspace itself.
fn at_or_above(path: &str) -> impl Iterator<Item = &str> {
    std::iter::once(path).chain(folders(path)).filter(|path| !path.is_empty())
}

/// The entries of a list that do not take something out, with their positions.
pub(super) fn positive(list: &[Box<str>]) -> impl Iterator<Item = (&str, u32)> {
    list.iter().zip(0u32..).map(|(text, index)| (&**text, index)).filter(|(text, _)| !text.starts_with('!'))
}

/// Who makes what.
struct Outputs<'a> {
    paths: HashMap<&'a str, User>,
    /// Further makers of a path, which is right only when the `when` of all but one says no.
    more: HashMap<&'a str, Vec<User>>,
    globs: Globs<'a>,
}

impl<'a> Outputs<'a> {
    fn of(fleet: &'a Fleet) -> Self {
        let count = fleet.tasks.values().map(|task| task.outputs.len()).sum();
        let mut this = Self { paths: HashMap::with_capacity(count), more: HashMap::new(), globs: Globs::default() };
        for (task, declared) in fleet.tasks.iter() {
            for (text, index) in positive(&declared.outputs) {
                if is_glob(text) {
                    this.globs.add(text, (task, index));
                    continue;
                }
                match this.paths.entry(text) {
                    Entry::Occupied(_) => this.more.entry(text).or_default().push((task, index)),
                    Entry::Vacant(entry) => drop(entry.insert((task, index))),
                }
            }
        }
        this
    }

    fn makers(&self, path: &str) -> impl Iterator<Item = User> {
        let more = if self.more.is_empty() { None } else { self.more.get(path) };
        self.paths.get(path).copied().into_iter().chain(more.into_iter().flatten().copied())
    }

    /// Outputs of the same text by tasks that this machine would run both.
    fn equal(&self, fleet: &Fleet, errors: &mut Vec<GraphError>) {
        let paths = self.more.keys().map(|text| self.makers(text).collect());
        let globs = self.globs.all.iter().map(|glob| glob.users.clone());
        let mut found = Vec::new();
        for users in paths.chain(globs.filter(|users| users.len() > 1)) {
            let users: Vec<User> = users;
            let mut wanted = users.into_iter().filter(|(task, _)| fleet.tasks[*task].unwanted.is_none());
            let Some(first) = wanted.next() else { continue };
            found.extend(wanted.filter(|second| second.0 != first.0).map(|second| (first, second)));
        }
        found.sort_unstable();
        let place = |(task, index)| WritePlace { task, field: WriteField::Outputs, index };
        errors.extend(found.into_iter().map(|(a, b)| GraphError::SameOutput { first: place(a), second: place(b) }));
    }
}

/// Who reads what.
#[derive(Default)]
struct Inputs<'a> {
    paths: HashMap<&'a str, Vec<User>>,
    globs: Globs<'a>,
}

/// Distinct globs, found by the folder all their matches are in.
#[derive(Default)]
struct Globs<'a> {
    all: Vec<Glob<'a>>,
    by_text: HashMap<&'a str, u32>,
    by_folder: HashMap<Box<str>, Vec<u32>>,
}

struct Glob<'a> {
    text: &'a str,
    pattern: Pattern,
    users: Vec<User>,
}

impl Glob<'_> {
    fn files(&self) -> Files<'_> {
        Files { text: self.text, pattern: Some(&self.pattern) }
    }
}

impl<'a> Globs<'a> {
    fn add(&mut self, text: &'a str, user: User) {
        let next = u32::try_from(self.all.len()).expect("the size of a fleet file bounds its globs");
        match self.by_text.entry(text) {
            Entry::Occupied(entry) => self.all[*entry.get() as usize].users.push(user),
            Entry::Vacant(entry) => {
                entry.insert(next);
                let pattern = Pattern::glob(text);
                self.by_folder.entry(pattern.folder().into()).or_default().push(next);
                self.all.push(Glob { text, pattern, users: vec![user] });
            }
        }
    }

    fn in_folder(&self, folder: &str) -> impl Iterator<Item = &Glob<'a>> {
        self.by_folder.get(folder).into_iter().flatten().map(|&index| &self.all[index as usize])
    }

    /// The globs of the folders above a path.
    fn above(&self, path: &str) -> impl Iterator<Item = &Glob<'a>> {
        folders(path).flat_map(|folder| self.in_folder(folder))
    }
}

impl<'a> Globs<'a> {
    /// The globs of the folders above a path that match it. Not those that would match only something below it: a
    /// path is a file more often than a folder, and `**/*.rs` would then wait for every output there is.
    fn holding(&self, path: &str, steps: &Steps) -> impl Iterator<Item = &Glob<'a>> {
        let mut pattern = None;
        self.above(path)
            .filter(move |glob| glob.pattern.meets_within(pattern.get_or_insert_with(|| Pattern::literal(path)), steps))
    }
}

struct Join<'a> {
    fleet: &'a Fleet,
    handlers: &'a Handlers,
    edges: &'a mut Vec<Edge>,
    /// What `!` texts take out, read once each.
    excludes: HashMap<&'a str, Pattern>,
    steps: &'a Steps,
}

fn bearable(steps: &Steps) -> Result<(), GraphError> {
    if steps.are_over() { Err(GraphError::GlobsTooWide) } else { Ok(()) }
}

impl<'a> Join<'a> {
    fn globs(&mut self, output: &Glob<'_>, input: &Glob<'_>) -> Result<(), GraphError> {
        if !output.pattern.meets_within(&input.pattern, self.steps) {
            return bearable(self.steps);
        }
        self.all(output.users.iter().copied(), output.files(), &input.users, input.files())
    }

    /// Every one of `makers` makes `output`, and every one of `readers` reads `input`, which is among it.
    fn all(
        &mut self,
        makers: impl Iterator<Item = User>,
        output: Files<'_>,
        readers: &[User],
        input: Files<'_>,
    ) -> Result<(), GraphError> {
        let fleet = self.fleet;
        for (from, made) in makers {
            if !self.handlers.owners(from).is_empty() || self.taken_out(&fleet.tasks[from].outputs, input) {
                continue;
            }
            for &(to, read) in readers {
                let list = fleet.tasks[to].inputs.as_deref().unwrap_or_default();
                if !self.handlers.owners(to).is_empty() || self.taken_out(list, output) {
                    continue;
                }
                if self.edges.len() >= EDGES_MAX {
                    return Err(GraphError::TooManyEdges { limit: EDGES_MAX });
                }
                self.edges.push(Edge { from, to, kind: EdgeKind::File { output: made, input: read } });
            }
        }
        Ok(())
    }

    /// Whether the `!` entries of a list take out all of `files`.
    fn taken_out(&mut self, list: &'a [Box<str>], files: Files<'_>) -> bool {
        list.iter().filter_map(|text| text.strip_prefix('!')).any(|text| {
            let exclude = self.excludes.entry(text).or_insert_with(|| Pattern::glob(text));
            takes_out(exclude, files)
        })
    }
}

fn takes_out(exclude: &Pattern, files: Files<'_>) -> bool {
    match files.pattern {
        Some(pattern) => exclude.covers(pattern),
        None => exclude.meets(&Pattern::literal(files.text)),
    }
}
