//! What a run would do: every step in the order in which it could start, where it may run, and why. Pure data that
//! explains itself; whoever prints it decides nothing. Reads the same graph, selection and places that a run does.

pub mod explain;
pub mod fingerprint;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::graph::Graph;
use crate::graph::select::{Part, Selection};
use crate::id::{Id as _, IdMap, TaskId, WorkerId};
use crate::model::Fleet;
use crate::place::{self, Impossible};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which one slot would start them: what is ready first, among that higher priority, longer rest
    /// of the run, and the seed. Handlers stand at the end, because they may never start.
    pub steps: Vec<Step>,
    /// The longest chain of steps, first to last, every task counted as one.
    pub critical_path: Vec<TaskId>,
    /// Named by a pattern, but left out because of the second task, which `--except` leaves out.
    pub left_out: Vec<(TaskId, TaskId)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub task: TaskId,
    pub what: What,
    pub place: Places,
    /// How many steps stand between this one and the start, at least: 0 can start at once.
    pub level: u32,
    /// The longest chain from this step to the end of the run, itself included.
    pub rank: u64,
    pub critical: bool,
}

/// What would happen, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Run(Why),
    /// The task's own `when` says no, in these words; what needs it may run.
    Skip {
        because: Box<str>,
    },
    /// Runs only if that task finally fails.
    AfterFailureOf(TaskId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A pattern names it, or there was no pattern.
    Requested,
    NeededBy(TaskId),
    /// Requested, and it runs whatever the result of its needs.
    Always,
}

/// Where a step may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Places {
    /// It asks for nothing.
    Any,
    Only(Box<[WorkerId]>),
}

/// # Errors
/// Each selected task that no worker can take.
pub fn plan(fleet: &Fleet, graph: &Graph, selection: &Selection) -> Result<Plan, Vec<(TaskId, Impossible)>> {
    let cost = |_| 1;
    let rank = graph.rank(|task| u64::from(selection.contains(task)));
    let critical_path = graph.critical_path(cost, selection);
    let mut critical = IdMap::filled(&fleet.tasks, false);
    for &task in &critical_path {
        critical[task] = true;
    }

    let mut steps = Vec::new();
    let mut impossible = Vec::new();
    let mut level: IdMap<TaskId, u32> = IdMap::filled(&fleet.tasks, 0);
    for task in order(fleet, graph, selection, &rank) {
        let before = graph.needs(task).iter().map(|edge| level[edge.from] + 1).max();
        let owner = match selection.part(task) {
            Part::HandlerOf(owner) => Some(level[owner] + 1),
            _ => None,
        };
        level[task] = before.max(owner).unwrap_or(0);
        let place = match places(fleet, task) {
            Ok(place) => place,
            Err(no) => {
                impossible.push((task, no));
                continue;
            }
        };
        steps.push(Step {
            task,
            what: what(fleet, selection, task),
            place,
            level: level[task],
            rank: rank[task],
            critical: critical[task],
        });
    }
    if !impossible.is_empty() {
        return Err(impossible);
    }
    Ok(Plan { steps, critical_path, left_out: selection.left_out.clone() })
}

/// A number drawn from the seed, the same for a task in every run of it. Lower starts first among equals.
#[must_use]
pub fn tie(seed: u64, task: TaskId) -> u32 {
    let mut z = seed.wrapping_add((task.index() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    // The upper half, which always fits.
    u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or_default()
}

/// # Errors
/// When no worker can take the task.
pub fn places(fleet: &Fleet, task: TaskId) -> Result<Places, Impossible> {
    if fleet.tasks[task].worker.is_none() && fleet.tasks[task].secrets.is_empty() {
        return Ok(Places::Any);
    }
    place::candidates(fleet, task).map(|workers| Places::Only(workers.into()))
}

fn what(fleet: &Fleet, selection: &Selection, task: TaskId) -> What {
    let declared = &fleet.tasks[task];
    if let Some(because) = &declared.unwanted {
        return What::Skip { because: because.clone() };
    }
    match selection.part(task) {
        Part::HandlerOf(owner) => What::AfterFailureOf(owner),
        Part::NeededBy(by) => What::Run(Why::NeededBy(by)),
        Part::Target | Part::Out if declared.always => What::Run(Why::Always),
        Part::Target | Part::Out => What::Run(Why::Requested),
    }
}

/// What is ready, best first, until nothing is left; then the handlers, each behind its needs.
fn order(fleet: &Fleet, graph: &Graph, selection: &Selection, rank: &IdMap<TaskId, u64>) -> Vec<TaskId> {
    let key = |task: TaskId| {
        let ahead = (fleet.tasks[task].priority, rank[task]);
        (ahead, Reverse(tie(fleet.seed, task)), Reverse(task))
    };
    let mut open: IdMap<TaskId, u32> = IdMap::filled(&fleet.tasks, 0);
    let mut ready = BinaryHeap::new();
    for task in selection.tasks() {
        // All needs of a selected task are selected.
        open[task] = u32::try_from(graph.needs(task).len()).expect("edges are counted in 32 bits");
        if open[task] == 0 {
            ready.push(key(task));
        }
    }
    let mut order = Vec::new();
    while let Some((.., Reverse(task))) = ready.pop() {
        order.push(task);
        for to in graph.dependents(task).map(|edge| edge.to).filter(|to| selection.contains(*to)) {
            open[to] -= 1;
            if open[to] == 0 {
                ready.push(key(to));
            }
        }
    }
    order.extend(graph.order().iter().filter(|task| matches!(selection.part(**task), Part::HandlerOf(_))));
    order
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::graph::select::{Request, select};
    use crate::graph::testing::{Random, fleet, id, numbered};
    use crate::model::WorkerRequest;

    fn planned(fleet: &Fleet, patterns: &[&str]) -> Result<Plan, Vec<(TaskId, Impossible)>> {
        let graph = Graph::of(fleet).unwrap();
        let patterns = patterns.iter().map(ToString::to_string).collect();
        plan(fleet, &graph, &select(fleet, &graph, &Request { patterns, except: vec![] }).unwrap())
    }

    #[test]
    fn a_step_says_why() {
        let fleet = fleet(&["build", "test", "clean", "old", "notify"])
            .needs(1, &[0])
            .needs(2, &[1])
            .with(2, |task| task.always = true)
            .with(3, |task| task.unwanted = Some("os is linux, not macos".into()))
            .on_failure(1, &[4]);
        let plan = planned(&fleet, &["clean", "old"]).unwrap();
        let mut steps: Vec<_> = plan.steps.iter().map(|s| (s.task.index(), s.what.clone(), s.level)).collect();
        steps.sort_by_key(|step| step.0);
        let expected = [
            (0, What::Run(Why::NeededBy(id(1))), 0),
            (1, What::Run(Why::NeededBy(id(2))), 1),
            (2, What::Run(Why::Always), 2),
            (3, What::Skip { because: "os is linux, not macos".into() }, 0),
            (4, What::AfterFailureOf(id(1)), 2),
        ];
        assert_eq!(steps, expected);
        assert_eq!(plan.critical_path, [id(0), id(1), id(2)]);
    }

    #[test]
    fn priority_goes_before_rank_and_rank_before_the_seed() {
        let fleet = numbered(4).needs(1, &[0]).with(3, |task| task.priority = 1);
        let order = |fleet: &Fleet| {
            let plan = planned(fleet, &[]).unwrap();
            plan.steps.iter().map(|step| step.task.index()).collect::<Vec<_>>()
        };
        let starts = order(&fleet);
        assert_eq!(starts[..2], [3, 0]);
        let orders: BTreeSet<_> = (1..50).map(|seed| order(&Fleet { seed, ..fleet.clone() })).collect();
        assert_eq!(orders.len(), 2, "the seed decides between t1 and t2 and nothing else: {orders:?}");
    }

    #[test]
    fn every_selected_task_is_one_step_behind_its_needs() {
        for seed in 0..300 {
            let mut random = Random(seed);
            let mut fleet = numbered(9);
            for task in 1..9 {
                let needs: BTreeSet<usize> = (0..random.below(3)).map(|_| random.below(task)).collect();
                let priority = i32::try_from(random.below(3)).unwrap();
                fleet = fleet.needs(task, &needs.into_iter().collect::<Vec<_>>()).with(task, |t| t.priority = priority);
            }
            let plan = planned(&fleet, &[&format!("t{}", random.below(9))]).unwrap();
            let at = |task: TaskId| plan.steps.iter().position(|step| step.task == task);
            for (position, step) in plan.steps.iter().enumerate() {
                let needs = &fleet.tasks[step.task].needs;
                assert!(needs.iter().all(|need| at(need.task).is_some_and(|n| n < position)), "seed {seed}");
            }
            let tasks: BTreeSet<_> = plan.steps.iter().map(|step| step.task).collect();
            assert_eq!(tasks.len(), plan.steps.len(), "seed {seed}");
        }
    }

    #[test]
    fn only_a_selected_task_must_find_a_worker() {
        let request = WorkerRequest { capabilities: vec!["gpu".into()], ..WorkerRequest::default() };
        let fleet = numbered(2).with(1, |task| task.worker = Some(Box::new(request)));
        assert_eq!(planned(&fleet, &["t0"]).unwrap().steps[0].place, Places::Any);
        assert_eq!(planned(&fleet, &["t1"]).unwrap_err()[0].0, id(1));
    }
}
