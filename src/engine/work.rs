//! A fleet and a selection, as the scheduler wants to hear of them.

use std::time::Duration;

use crate::graph::select::{self, Selection};
use crate::graph::{EdgeKind, Graph};
use crate::id::{IdMap, TaskId};
use crate::model::Fleet;
use crate::plan::{self, Places};
use crate::protocol::receipt::TaskResult;
use crate::schedule::{Candidates, Item, Need, Part, Work};

use super::resume::Earlier;
use super::reuse::Standing;
use super::{Job, Options};

/// Every task of the fleet with its part in this run.
pub(super) fn work(job: &Job<'_>, standing: &Standing, earlier: Option<&Earlier>) -> Work {
    let Job { fleet, graph, selection, options, .. } = job;
    let mut work = plain(fleet, graph, selection, options);
    for (id, _) in standing {
        work.tasks[*id].part = Part::Has(TaskResult::Pass);
    }
    if let Some(earlier) = earlier {
        earlier.adjust(&mut work);
    }
    work
}

fn plain(fleet: &Fleet, graph: &Graph, selection: &Selection, options: &Options) -> Work {
    let ranks = graph.rank(|_| 1);
    let tasks: Vec<Item> = fleet
        .tasks
        .iter()
        .map(|(id, task)| Item {
            part: part(fleet, selection, id),
            needs: graph
                .needs(id)
                .iter()
                .map(|edge| Need { task: edge.from, accept_partial: accepts_partial(edge.kind) })
                .collect(),
            candidates: candidates(fleet, id),
            uses: task.uses.clone(),
            priority: task.priority,
            rank: ranks[id],
            tie: plan::tie(fleet.seed, id),
            always: task.always,
            allow_failure: task.allow_failure,
            on_failure: task.on_failure.clone(),
            start_within: task.start_within,
            attempts: 0,
            wait: Duration::ZERO,
            avoid: None,
        })
        .collect();
    Work {
        tasks: IdMap::from(tasks),
        workers: IdMap::from(fleet.workers.values().map(|worker| worker.slots).collect::<Vec<_>>()),
        pools: IdMap::from(fleet.pools.values().map(|pool| pool.size).collect::<Vec<_>>()),
        max_parallel: options.jobs.or(fleet.policies.max_parallel),
        fail_fast: options.fail_fast.unwrap_or(fleet.policies.fail_fast),
    }
}

/// Whatever asks for the impossible was refused when the file was read.
fn candidates(fleet: &Fleet, id: TaskId) -> Candidates {
    match plan::places(fleet, id) {
        Ok(Places::Any) => Candidates::Any,
        Ok(Places::Only(workers)) => Candidates::Only(workers),
        Err(_) => Candidates::Only(Box::default()),
    }
}

fn accepts_partial(kind: EdgeKind) -> bool {
    matches!(kind, EdgeKind::Declared { accept_partial: true, .. })
}

fn part(fleet: &Fleet, selection: &Selection, id: TaskId) -> Part {
    match selection.part(id) {
        select::Part::Out => Part::Out,
        select::Part::HandlerOf(_) => Part::Handler,
        select::Part::Target | select::Part::NeededBy(_) if fleet.tasks[id].unwanted.is_some() => Part::Unwanted,
        select::Part::Target | select::Part::NeededBy(_) => Part::Selected,
    }
}
