//! The results of a run computed a second way: one task at a time, everything looked at again after each.
//! It knows nothing of time, so it speaks only for worlds that nothing from outside disturbs, and of those with
//! fail-fast only for the ones that run one task at a time without waiting in between, where the order decides.
//! Attempts before the one that counts are nothing to it.

use std::cmp::Reverse;

use crate::id::{IdMap, TaskId};
use crate::protocol::receipt::TaskResult;
use crate::schedule::{Candidates, Item, Part, Work};

use super::World;

type Results = IdMap<TaskId, Option<TaskResult>>;

impl World {
    pub(super) fn assert_like_the_model(&self) {
        let plan = |task: TaskId| self.plans[task].result;
        let seen = self.seen.values().map(|seen| seen.result).collect::<Vec<_>>();
        assert_eq!(IdMap::from(seen), results(&self.work, plan), "{:#?}", self.work);
    }
}

/// Whether the result of `item` is enough for a dependent.
pub(super) fn enough(item: &Item, result: TaskResult, accept_partial: bool) -> bool {
    match result {
        TaskResult::Pass => true,
        TaskResult::Partial => accept_partial || item.allow_failure,
        TaskResult::Fail | TaskResult::Timeout => item.allow_failure,
        TaskResult::Skip => item.part == Part::Unwanted,
    }
}

/// What the order of starts compares.
pub(super) fn turn(task: TaskId, item: &Item) -> (Reverse<i32>, Reverse<u64>, u32, TaskId) {
    (Reverse(item.priority), Reverse(item.rank), item.tie, task)
}

fn results(work: &Work, plan: impl Fn(TaskId) -> TaskResult) -> Results {
    let mut results = IdMap::filled(&work.tasks, None);
    loop {
        settle_what_cannot_run(work, &mut results);
        let ends = |(task, item): (TaskId, &Item)| results[task].is_some_and(|result| ends_run(item, result));
        if work.fail_fast && work.tasks.iter().any(ends) {
            for (task, item) in work.tasks.iter() {
                if item.part == Part::Selected && !item.always && results[task].is_none() {
                    results[task] = Some(TaskResult::Skip);
                }
            }
            settle_what_cannot_run(work, &mut results);
        }
        let ready = work.tasks.ids().filter(|&task| is_ready(work, &results, task));
        let Some(next) = ready.min_by_key(|&task| turn(task, &work.tasks[task])) else { return results };
        results[next] = Some(plan(next));
    }
}

fn settle_what_cannot_run(work: &Work, results: &mut Results) {
    loop {
        let before = results.clone();
        for (task, item) in work.tasks.iter().filter(|&(task, _)| before[task].is_none()) {
            let blocked = !item.always && needs(work, item, &before).any(|met| met == Some(false));
            if let Part::Has(result) = item.part {
                results[task] = Some(result);
            } else if matches!(item.part, Part::Unwanted | Part::Held) || blocked && has_part(work, &before, task) {
                results[task] = Some(TaskResult::Skip);
            } else if is_ready(work, &before, task) && !has_worker(work, item) {
                results[task] = Some(TaskResult::Fail);
            }
        }
        if *results == before {
            return;
        }
    }
}

fn is_ready(work: &Work, results: &Results, task: TaskId) -> bool {
    let item = &work.tasks[task];
    let met = |met: Option<bool>| if item.always { met.is_some() } else { met == Some(true) };
    results[task].is_none() && has_part(work, results, task) && needs(work, item, results).all(met)
}

/// For each need that is part of the run: whether it is enough, once it is settled.
fn needs<'a>(work: &'a Work, item: &'a Item, results: &'a Results) -> impl Iterator<Item = Option<bool>> + 'a {
    let inside = item.needs.iter().filter(|n| !matches!(work.tasks[n.task].part, Part::Handler | Part::Out));
    inside.map(|need| results[need.task].map(|result| enough(&work.tasks[need.task], result, need.accept_partial)))
}

fn has_part(work: &Work, results: &Results, task: TaskId) -> bool {
    match work.tasks[task].part {
        Part::Selected | Part::Unwanted | Part::Has(_) | Part::Held => true,
        Part::Handler => work.tasks.iter().any(|(of, item)| failed(results[of]) && item.on_failure.contains(&task)),
        Part::Out => false,
    }
}

fn has_worker(work: &Work, item: &Item) -> bool {
    work.workers.iter().any(|(worker, &slots)| match &item.candidates {
        Candidates::Any => slots > 0,
        Candidates::Only(list) => slots > 0 && list.contains(&worker),
    })
}

/// Whether fail-fast stops at this result.
pub(super) fn ends_run(item: &Item, result: TaskResult) -> bool {
    // What an earlier sitting has seen to is not seen to again.
    !matches!(item.part, Part::Has(_))
        && matches!(result, TaskResult::Fail | TaskResult::Timeout | TaskResult::Partial)
        && !item.allow_failure
}

fn failed(result: Option<TaskResult>) -> bool {
    matches!(result, Some(TaskResult::Fail | TaskResult::Timeout))
}
