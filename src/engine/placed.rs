//! Why a task goes to the worker it goes to, and what makes a worker a better place for those that follow.

use std::collections::HashMap;

use super::Engine;
use crate::id::{TaskId, WorkerId};
use crate::model::{Fleet, Host};
use crate::place::{self, Known, Placement};
use crate::protocol::Receipt;
use crate::protocol::receipt::TaskResult;
use crate::schedule::Input;

impl Engine<'_> {
    /// The reasons of the next start, asked once for each of them; nothing where there is one worker.
    pub(super) fn placement(&mut self, task: TaskId) -> Option<Box<Placement>> {
        let loads = self.scheduler.take_loads()?;
        let known = loads.iter().zip(self.reach.values()).map(|(&load, reach)| Known { load, health: reach.health() });
        let known: Vec<Known<'_>> = known.collect();
        Some(Box::new(place::decide(self.view.fleet, task, &known.into())))
    }

    /// What a task made lies where it ran, and in the workspace: those that need it find it there.
    pub(super) fn lies_there(&mut self, id: TaskId, receipt: &Receipt) {
        let fleet = self.view.fleet;
        if !matches!(receipt.result, TaskResult::Pass | TaskResult::Partial)
            || receipt.outputs.is_empty()
            // Where all are here, one is as good as the other.
            || fleet.workers.values().all(|worker| worker.host == Host::Local)
        {
            return;
        }
        let bytes = receipt.outputs.iter().fold(0_u64, |sum, output| sum.saturating_add(output.size_bytes));
        let has_it = |worker: &crate::model::Worker| worker.host == Host::Local || *worker.name == *receipt.worker_id;
        let workers: Vec<WorkerId> =
            fleet.workers.iter().filter(|(_, worker)| has_it(worker)).map(|(worker, _)| worker).collect();
        let graph = self.job.graph;
        for task in graph.dependents(id).map(|edge| edge.to) {
            for &worker in &workers {
                self.tell(Input::There { task, worker, bytes });
            }
        }
    }

    /// What a task starts from lies where it was sent: others that declare the same inputs find it there.
    pub(super) fn inputs_lie_there(&mut self, id: TaskId, worker: WorkerId, bytes: u64) {
        let fleet = self.view.fleet;
        let Some(inputs) = fleet.tasks[id].inputs.as_deref().filter(|inputs| !inputs.is_empty()) else { return };
        if bytes == 0 || fleet.workers.len() < 2 || fleet.workers[worker].host == Host::Local {
            return;
        }
        let shared = self.shared_inputs.get_or_insert_with(|| shared_inputs(fleet));
        let Some((tasks, told)) = shared.get_mut(inputs) else { return };
        // Each worker is told of once for each list, so this is no walk for each task.
        if told.contains(&worker) {
            return;
        }
        told.push(worker);
        for task in tasks.clone() {
            self.tell(Input::There { task, worker, bytes });
        }
    }

    /// The workers that a task may run on, each with why it is lost.
    pub(super) fn all_lost(&self, id: TaskId) -> String {
        /// More are no help.
        const NAMED: usize = 4;
        let fleet = self.view.fleet;
        let workers = place::candidates(fleet, id).unwrap_or_default();
        let told = workers.iter().take(NAMED).map(|worker| {
            let name = &fleet.workers[*worker].name;
            let why = self.reach[*worker].lost.as_deref().unwrap_or("it has no slots");
            let prefix = format!("worker `{name}` was lost: ");
            format!("`{name}` ({})", why.strip_prefix(&prefix).unwrap_or(why))
        });
        let text = told.collect::<Vec<_>>().join(", ");
        match workers.len().saturating_sub(NAMED) {
            0 => text,
            more => format!("{text} and {more} more"),
        }
    }
}

/// Tasks that declare the same inputs, by those, and the workers that have them.
pub(super) type SharedInputs<'a> = HashMap<&'a [Box<str>], (Vec<TaskId>, Vec<WorkerId>)>;

fn shared_inputs(fleet: &Fleet) -> SharedInputs<'_> {
    let mut shared: SharedInputs<'_> = HashMap::new();
    for (id, task) in fleet.tasks.iter() {
        if let Some(inputs) = task.inputs.as_deref().filter(|inputs| !inputs.is_empty()) {
            shared.entry(inputs).or_default().0.push(id);
        }
    }
    shared.retain(|_, (tasks, _)| tasks.len() > 1);
    shared
}
