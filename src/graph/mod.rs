//! The graph of tasks: who waits for whom, and why. Acyclic once it exists.
//!
//! `files` adds the edges that files imply · `writes` refuses two tasks that may write one place at the same time ·
//! `cycle` finds the whole shortest cycle · `rank` measures the longest path to the end · `select` says which tasks a
//! run takes · `affected` which of them a change touches · `pattern` answers whether two globs can meet.
//!
//! Edges are two flat arrays indexed by task, because a run walks both directions of a hundred thousand tasks and an
//! edge should cost a few bytes. petgraph gives nothing for that; it is used where it does, on the way to explain a
//! cycle, and no type of it leaves this module. Nothing here recurses over the depth of the graph.

pub mod affected;
mod cycle;
mod files;
mod pattern;
mod rank;
pub mod select;
#[cfg(test)]
pub(crate) mod testing;
mod writes;

use crate::id::{Id, IdMap, TaskId};
use crate::model::Fleet;

/// A fleet's tasks in an order in which they could run, and the edges between them.
#[derive(Clone, Debug)]
pub struct Graph {
    /// Grouped by `to`, in the order of its `from`.
    edges: Box<[Edge]>,
    /// `edges[needs_at[t]..needs_at[t + 1]]` are the needs of `t`.
    needs_at: Box<[u32]>,
    /// Indexes into `edges`, grouped by `from`.
    dependents: Box<[u32]>,
    dependents_at: Box<[u32]>,
    order: Box<[TaskId]>,
    /// The tasks that an `on_failure` names, each with the tasks that name it.
    handlers: Handlers,
}

/// `to` waits for `from`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    pub from: TaskId,
    pub to: TaskId,
    pub kind: EdgeKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EdgeKind {
    /// `to` lists `from` in its `needs`. A declared need hides a file edge between the same two.
    Declared { accept_partial: bool },
    /// `from.outputs[output]` may be read through `to.inputs[input]`.
    File { output: u32, input: u32 },
}

/// A mistake that only the graph shows. Tasks and indexes; the caller knows where they stand in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GraphError {
    /// A shortest cycle: each edge's `to` is the next one's `from`, and the last leads back to the first.
    Cycle { edges: Vec<Edge> },
    /// Two tasks list the same text in `outputs`.
    SameOutput { first: WritePlace, second: WritePlace },
    /// Two tasks may write the same place, and nothing makes one wait for the other.
    SharedPlace { first: WritePlace, second: WritePlace },
    /// Wide globs implied more edges than [`EDGES_MAX`].
    TooManyEdges { limit: usize },
    /// The globs of the fleet would have to be compared more often than is bearable, or meet in too many places.
    GlobsTooWide,
}

/// One entry of a task's `outputs` or `writable_paths`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WritePlace {
    pub task: TaskId,
    pub field: WriteField,
    /// Position in the list.
    pub index: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WriteField {
    Outputs,
    WritablePaths,
}

impl WriteField {
    /// The key in the fleet file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Outputs => "outputs",
            Self::WritablePaths => "writable_paths",
        }
    }
}

impl WritePlace {
    /// The text that stands there; `None` if this is of another fleet.
    #[must_use]
    pub fn text(self, fleet: &Fleet) -> Option<&str> {
        let task = &fleet.tasks[self.task];
        let list = match self.field {
            WriteField::Outputs => Some(&task.outputs),
            WriteField::WritablePaths => task.writable_paths.as_ref(),
        };
        list?.get(self.index as usize).map(|text| &**text)
    }
}

/// Most edges of one graph, declared and implied: 200,000 tasks with 25 needs each.
pub const EDGES_MAX: usize = 5_000_000;

impl Graph {
    /// # Errors
    /// Every mistake found: all pairs of equal outputs, one cycle for each knot of tasks, and, once there is an order
    /// to ask, all places that two unordered tasks may write.
    pub fn of(fleet: &Fleet) -> Result<Self, Vec<GraphError>> {
        let handlers = Handlers::of(fleet);
        let mut errors = Vec::new();
        let mut edges = declared(fleet);
        if let Err(error) = files::imply(fleet, &handlers, &mut edges, &mut errors) {
            return Err(vec![error]);
        }
        // A declared kind sorts before a file kind, so of two edges between the same tasks the written one stays, and of
        // several file edges the first in the order of the lists.
        edges.sort_unstable_by_key(|edge| (edge.to, edge.from, edge.kind));
        edges.dedup_by_key(|edge| (edge.to, edge.from));

        let tasks = fleet.tasks.len();
        let mut graph = Self::unordered(tasks, edges.into(), handlers);
        match graph.sorted(tasks) {
            Ok(order) => {
                graph.order = order.into();
                errors.extend(writes::unordered(fleet, &graph));
            }
            Err(stuck) => errors.extend(cycle::shortest(&graph, &stuck)),
        }
        if errors.is_empty() { Ok(graph) } else { Err(errors) }
    }

    /// The graph that had these [`edges`](Self::edges), which were checked when it was made; `None` where they cannot
    /// be of a graph of this fleet.
    #[must_use]
    pub fn again(fleet: &Fleet, edges: Vec<Edge>) -> Option<Self> {
        let tasks = fleet.tasks.len();
        let sorted = edges.is_sorted_by(|a, b| (a.to, a.from) < (b.to, b.from));
        let known = |edge: &Edge| edge.from.index() < tasks && edge.to.index() < tasks;
        if !sorted || !edges.iter().all(known) {
            return None;
        }
        let mut graph = Self::unordered(tasks, edges.into(), Handlers::of(fleet));
        graph.order = graph.sorted(tasks).ok()?.into();
        Some(graph)
    }

    /// From sorted edges.
    fn unordered(tasks: usize, edges: Box<[Edge]>, handlers: Handlers) -> Self {
        let needs_at = starts(tasks, edges.iter().map(|edge| edge.to));
        let dependents_at = starts(tasks, edges.iter().map(|edge| edge.from));
        let mut next = dependents_at.clone();
        let mut dependents: Box<[u32]> = vec![0; edges.len()].into();
        for (index, edge) in (0..).zip(&edges) {
            let place = &mut next[edge.from.index()];
            dependents[*place as usize] = index;
            *place += 1;
        }
        Self { edges, needs_at, dependents, dependents_at, order: Box::default(), handlers }
    }

    /// What `task` waits for, by id.
    #[must_use]
    pub fn needs(&self, task: TaskId) -> &[Edge] {
        let at = task.index();
        &self.edges[self.needs_at[at] as usize..self.needs_at[at + 1] as usize]
    }

    /// What waits for `task`, by id.
    #[must_use]
    pub fn dependents(&self, task: TaskId) -> impl ExactSizeIterator<Item = &Edge> {
        let at = task.index();
        let range = self.dependents_at[at] as usize..self.dependents_at[at + 1] as usize;
        self.dependents[range].iter().map(|&index| &self.edges[index as usize])
    }

    /// Every task, each after all it needs. Depends on the file alone.
    #[must_use]
    pub fn order(&self) -> &[TaskId] {
        &self.order
    }

    /// All edges, grouped by the task that waits.
    #[must_use]
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// The tasks whose `on_failure` names `task`; none for an ordinary task.
    #[must_use]
    pub fn owners(&self, task: TaskId) -> &[TaskId] {
        self.handlers.owners(task)
    }

    /// Whether `task` runs only after the failure of another.
    #[must_use]
    pub fn is_handler(&self, task: TaskId) -> bool {
        !self.owners(task).is_empty()
    }

    /// Kahn's algorithm; on failure the tasks that are in a cycle or behind one.
    fn sorted(&self, tasks: usize) -> Result<Vec<TaskId>, Vec<TaskId>> {
        let mut open: IdMap<TaskId, u32> =
            self.needs_at.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>().into();
        let mut order: Vec<TaskId> = Vec::with_capacity(tasks);
        order.extend(open.iter().filter(|(_, count)| **count == 0).map(|(task, _)| task));
        let mut next = 0;
        while let Some(&task) = order.get(next) {
            next += 1;
            for edge in self.dependents(task) {
                open[edge.to] -= 1;
                if open[edge.to] == 0 {
                    order.push(edge.to);
                }
            }
        }
        if order.len() == tasks {
            return Ok(order);
        }
        Err(open.iter().filter(|(_, count)| **count > 0).map(|(task, _)| task).collect())
    }
}

/// The edges that `needs` declares.
fn declared(fleet: &Fleet) -> Vec<Edge> {
    let mut edges = Vec::with_capacity(fleet.tasks.values().map(|task| task.needs.len()).sum());
    for (to, task) in fleet.tasks.iter() {
        edges.extend(task.needs.iter().map(|need| Edge {
            from: need.task,
            to,
            kind: EdgeKind::Declared { accept_partial: need.accept_partial },
        }));
    }
    edges
}

/// Where each task's group begins in an array grouped by task, plus the end.
fn starts(tasks: usize, of: impl Iterator<Item = TaskId>) -> Box<[u32]> {
    let mut starts = vec![0u32; tasks + 1];
    for task in of {
        starts[task.index() + 1] += 1;
    }
    let mut sum = 0;
    for start in &mut starts {
        sum += *start;
        *start = sum;
    }
    starts.into()
}

/// Which tasks an `on_failure` names. Few, so pairs sorted by handler.
#[derive(Clone, Debug)]
struct Handlers {
    handlers: Box<[TaskId]>,
    owners: Box<[TaskId]>,
}

impl Handlers {
    fn of(fleet: &Fleet) -> Self {
        let mut pairs: Vec<(TaskId, TaskId)> = Vec::new();
        for (owner, task) in fleet.tasks.iter() {
            pairs.extend(task.on_failure.iter().map(|&handler| (handler, owner)));
        }
        pairs.sort_unstable();
        pairs.dedup();
        let (handlers, owners): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        Self { handlers: handlers.into(), owners: owners.into() }
    }

    fn owners(&self, task: TaskId) -> &[TaskId] {
        let start = self.handlers.partition_point(|&handler| handler < task);
        let end = start + self.handlers[start..].partition_point(|&handler| handler == task);
        &self.owners[start..end]
    }
}

#[cfg(test)]
mod tests;
