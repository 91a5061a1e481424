//! How long the rest of the run takes after each task: what the scheduler breaks ties by, and the critical path.

use super::Graph;
use super::select::Selection;
use crate::id::{IdMap, TaskId};

impl Graph {
    /// For each task the cost of the longest path from it to an end, its own cost included. Linear.
    pub fn rank(&self, cost: impl Fn(TaskId) -> u64) -> IdMap<TaskId, u64> {
        self.rank_where(cost, |_| true)
    }

    /// The longest path through the selected tasks, first to last; of equals, the one through the lowest ids. The
    /// handlers of failures are not on it.
    pub fn critical_path(&self, cost: impl Fn(TaskId) -> u64, selection: &Selection) -> Vec<TaskId> {
        let counts = |task: TaskId| selection.contains(task);
        let rank = self.rank_where(cost, counts);
        let longest = |tasks: &mut dyn Iterator<Item = TaskId>| {
            tasks.filter(|task| counts(*task)).max_by_key(|task| (rank[*task], std::cmp::Reverse(*task)))
        };
        let mut path = Vec::new();
        let mut next = longest(&mut rank.ids());
        while let Some(task) = next {
            path.push(task);
            next = longest(&mut self.dependents(task).map(|edge| edge.to));
        }
        path
    }

    fn rank_where(&self, cost: impl Fn(TaskId) -> u64, counts: impl Fn(TaskId) -> bool) -> IdMap<TaskId, u64> {
        let mut rank: IdMap<TaskId, u64> = vec![0; self.order.len()].into();
        for &task in self.order.iter().rev().filter(|task| counts(**task)) {
            let after = self.dependents(task).map(|edge| rank[edge.to]).max().unwrap_or(0);
            rank[task] = after.saturating_add(cost(task));
        }
        rank
    }
}
