//! Which tasks a command line means: `fleet run build 'test*' tag:ci --except x`.
//!
//! A pattern is the name of a task, the name of a matrix (all its instances), a glob over names, or `tag:` and a tag.
//! What it names are the targets; a run takes them, all they need, and the handlers of their failures. Without
//! patterns every task is a target. A handler runs only after a failure, so no glob, tag or default names it, and
//! naming it is an error. `--except` leaves tasks out of the run altogether, so what needs one of them is left out too;
//! asking for such a task by its name is an error, because no run could honour both.

use super::Graph;
use super::pattern::Pattern;
use crate::id::{IdMap, TaskId};
use crate::model::task::is_glob;
use crate::model::{Fleet, Task};

/// What was typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Empty: everything.
    pub patterns: Vec<String>,
    pub except: Vec<String>,
}

/// The tasks of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// What the patterns named, by id, without what was left out.
    pub targets: Vec<TaskId>,
    /// Tasks that the patterns named but that need a task which `--except` leaves out, with that task.
    pub left_out: Vec<(TaskId, TaskId)>,
    part: IdMap<TaskId, Part>,
}

/// What a task is to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Not of this run.
    Out,
    /// Asked for.
    Target,
    /// Not asked for, but needed by this task (of several, the first by id).
    NeededBy(TaskId),
    /// Runs after the final failure of this task (of several, the first by id).
    HandlerOf(TaskId),
}

/// A pattern that names nothing a run can take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelectError {
    /// No task or matrix has this name; or, of what `except` says, no tag either and no name that the glob matches.
    Unknown { pattern: String, nearest: Option<String> },
    /// A glob or tag that is asked for, and that no task meets. It may be right and find nothing today.
    NoMatch { pattern: String, nearest: Option<String> },
    /// The pattern names a handler, which runs only after the failure of its owner.
    Handler { pattern: String, owner: TaskId },
    /// The pattern names `task` itself, which needs `needs`, which `except` leaves out.
    Contradiction { pattern: String, task: TaskId, needs: TaskId },
}

impl Selection {
    /// Whether `task` runs if nothing before it fails.
    #[must_use]
    pub fn contains(&self, task: TaskId) -> bool {
        matches!(self.part[task], Part::Target | Part::NeededBy(_))
    }

    #[must_use]
    pub fn part(&self, task: TaskId) -> Part {
        self.part[task]
    }

    /// The tasks that run if nothing before them fails, by id.
    pub fn tasks(&self) -> impl Iterator<Item = TaskId> {
        self.part.ids().filter(|task| self.contains(*task))
    }

    /// The tasks that run after a failure, by id.
    pub fn handlers(&self) -> impl Iterator<Item = TaskId> {
        self.part.ids().filter(|task| matches!(self.part[*task], Part::HandlerOf(_)))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// The same, with only those targets that are wanted, and what belongs to them.
    #[must_use]
    pub fn only(&self, fleet: &Fleet, graph: &Graph, wanted: impl Fn(TaskId) -> bool) -> Self {
        let targets: Vec<TaskId> = self.targets.iter().copied().filter(|task| wanted(*task)).collect();
        let left_out = self.left_out.iter().copied().filter(|(task, _)| wanted(*task)).collect();
        // A smaller selection takes no handler that the larger one did not.
        let part = closed(fleet, graph, &targets, |task| self.part[task] != Part::Out);
        Self { targets, left_out, part }
    }
}

/// # Errors
/// All patterns that name nothing, name a handler, or contradict `except`. A selection that ends up empty is no error here.
pub fn select(fleet: &Fleet, graph: &Graph, request: &Request) -> Result<Selection, Vec<SelectError>> {
    let mut errors = Vec::new();
    let mut excepted: IdMap<TaskId, bool> = IdMap::filled(&fleet.tasks, false);
    for pattern in &request.except {
        match named(fleet, graph, pattern) {
            Ok(named) => named.tasks.into_iter().for_each(|task| excepted[task] = true),
            // Leaving out a handler is a fair wish.
            Err(SelectError::Handler { .. }) => {
                fleet.tasks.iter().filter(|(_, task)| is(task, pattern)).for_each(|(task, _)| excepted[task] = true);
            }
            Err(error) => errors.push(error),
        }
    }
    let blocked = blocked(graph, &excepted);

    let mut targets: Vec<TaskId> = Vec::new();
    let mut left_out = Vec::new();
    let mut take = |task: TaskId| match blocked[task] {
        _ if excepted[task] => {}
        Some(by) => left_out.push((task, by)),
        None => targets.push(task),
    };
    if request.patterns.is_empty() {
        fleet.tasks.ids().filter(|task| !graph.is_handler(*task)).for_each(&mut take);
    }
    for pattern in &request.patterns {
        match named(fleet, graph, pattern) {
            Ok(named) => {
                let clash = named
                    .exact
                    .then(|| named.tasks.iter().find_map(|t| blocked[*t].filter(|by| by != t).map(|by| (*t, by))));
                if let Some((task, needs)) = clash.flatten() {
                    errors.push(SelectError::Contradiction { pattern: pattern.clone(), task, needs });
                }
                named.tasks.into_iter().for_each(&mut take);
            }
            Err(SelectError::Unknown { pattern, nearest }) if pattern.starts_with("tag:") || is_glob(&pattern) => {
                errors.push(SelectError::NoMatch { pattern, nearest });
            }
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    targets.sort_unstable();
    targets.dedup();
    left_out.sort_unstable();
    left_out.dedup();
    let part = closed(fleet, graph, &targets, |task| blocked[task].is_none());
    Ok(Selection { targets, left_out, part })
}

/// For each task the excepted one that it is or needs, however far away.
fn blocked(graph: &Graph, excepted: &IdMap<TaskId, bool>) -> IdMap<TaskId, Option<TaskId>> {
    let mut blocked: IdMap<TaskId, Option<TaskId>> = IdMap::filled(excepted, None);
    for &task in graph.order() {
        let inherited = graph.needs(task).iter().find_map(|edge| blocked[edge.from]);
        blocked[task] = if excepted[task] { Some(task) } else { inherited };
    }
    blocked
}

/// The targets, what they need, their handlers as far as those may run, and what those need.
fn closed(fleet: &Fleet, graph: &Graph, targets: &[TaskId], may: impl Fn(TaskId) -> bool) -> IdMap<TaskId, Part> {
    let mut part: IdMap<TaskId, Part> = IdMap::filled(&fleet.tasks, Part::Out);
    let mut open = Vec::with_capacity(targets.len());
    for &task in targets {
        part[task] = Part::Target;
        open.push(task);
    }
    open.reverse();
    while let Some(task) = open.pop() {
        for edge in graph.needs(task) {
            if part[edge.from] == Part::Out {
                part[edge.from] = Part::NeededBy(task);
                open.push(edge.from);
            }
        }
        for &handler in fleet.tasks[task].on_failure.iter().filter(|handler| may(**handler)) {
            if part[handler] == Part::Out {
                part[handler] = Part::HandlerOf(task);
                open.push(handler);
            }
        }
    }
    part
}

struct Named {
    tasks: Vec<TaskId>,
    /// Whether a name was typed in full.
    exact: bool,
}

fn is(task: &Task, pattern: &str) -> bool {
    *task.name == *pattern || *task.base == *pattern
}

fn named(fleet: &Fleet, graph: &Graph, pattern: &str) -> Result<Named, SelectError> {
    let tasks = |wanted: &dyn Fn(&Task) -> bool| -> Vec<TaskId> {
        fleet.tasks.iter().filter(|(_, task)| wanted(task)).map(|(id, _)| id).collect()
    };
    let (mut found, exact) = if let Some(tag) = pattern.strip_prefix("tag:") {
        (tasks(&|task| task.tags.iter().any(|have| **have == *tag)), false)
    } else {
        let exact = tasks(&|task| is(task, pattern));
        if exact.is_empty() && is_glob(pattern) {
            let glob = Pattern::name(pattern);
            let matches = |name: &str| glob.meets(&Pattern::literal(name));
            (tasks(&|task| matches(&task.name) || matches(&task.base)), false)
        } else {
            (exact, true)
        }
    };
    let owner = found.iter().find_map(|task| graph.owners(*task).first().copied());
    found.retain(|task| !graph.is_handler(*task));
    match (found.is_empty(), owner) {
        (false, _) => Ok(Named { tasks: found, exact }),
        (true, Some(owner)) => Err(SelectError::Handler { pattern: pattern.into(), owner }),
        (true, None) => Err(SelectError::Unknown { pattern: pattern.into(), nearest: nearest(fleet, graph, pattern) }),
    }
}

/// The name or tag that was probably meant: at most a third of its letters away.
fn nearest(fleet: &Fleet, graph: &Graph, pattern: &str) -> Option<String> {
    let distance = |name: &str, typed: &str| {
        let distance = strsim::damerau_levenshtein(name, typed);
        (distance * 3 <= name.chars().count().max(3)).then_some(distance)
    };
    // A distance costs the product of the lengths, and no name is longer than this.
    if pattern.len() > 4 * crate::id::NAME_BYTES_MAX {
        return None;
    }
    let tasks = fleet.tasks.iter().filter(|(task, _)| !graph.is_handler(*task)).map(|(_, task)| task);
    if let Some(typed) = pattern.strip_prefix("tag:") {
        let tags = tasks.flat_map(|task| task.tags.iter());
        let best = tags.filter_map(|tag| Some((distance(tag, typed)?, tag))).min()?;
        return Some(format!("tag:{}", best.1));
    }
    let as_tag = fleet.tasks.values().any(|task| task.tags.iter().any(|tag| **tag == *pattern));
    let names = tasks.flat_map(|task| [&task.base, &task.name]);
    let best = names.filter_map(|name| Some((distance(name, pattern)?, name))).min().map(|(_, name)| name.to_string());
    if as_tag { Some(format!("tag:{pattern}")) } else { best }
}
