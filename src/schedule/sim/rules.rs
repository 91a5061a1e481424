//! What no world may see broken, told in the world's own books and not in the scheduler's.

use std::cmp::Reverse;

use crate::id::{Id as _, PoolId, TaskId, WorkerId};
use crate::place::{Because, Decision, Health, Known, decide};
use crate::protocol::receipt::TaskResult;
use crate::schedule::{Action, Candidates, Item, Part, SkipCause, State, StopCause};

use super::World;

impl World {
    /// Whether the scheduler may ask for this now.
    pub(super) fn assert_allowed(&mut self, action: Action) {
        match action {
            Action::Queue(task) => {
                let seen = &self.seen[task];
                assert!(seen.queued.is_none() && !seen.active && seen.result.is_none(), "{task:?} is queued once");
                assert!(seen.again.is_none_or(|at| at <= self.now), "{task:?} is queued before its time");
                assert!(self.closed.is_none(), "{task:?} is queued after the close");
                assert!(self.is_called_for(task), "{task:?} has no part in this run");
                assert!(self.needs_are_met(task), "{task:?} is queued before its needs");
            }
            Action::Start { task, worker, .. } => {
                self.assert_may_start(task, worker);
                self.assert_best(task, worker);
            }
            Action::Stop { task, cause, force } => self.assert_may_stop(task, cause, force),
            Action::Skip { task, cause } => {
                let seen = &self.seen[task];
                assert!(!seen.active && seen.result.is_none(), "{task:?} is settled or started already");
                assert!(self.is_called_for(task), "{task:?} has no part in this run");
                self.assert_true(task, cause);
            }
            Action::WakeAt(at) => assert!(at >= self.now, "no one wakes up in the past"),
            Action::Done => {
                for task in self.work.tasks.ids() {
                    assert_eq!(self.seen[task].result.is_some(), self.is_called_for(task), "{task:?} at the end");
                }
            }
        }
    }

    fn assert_may_start(&self, task: TaskId, worker: WorkerId) {
        assert!(self.seen[task].is_ready(), "{task:?} starts from the queue, and once");
        assert!(self.closed.is_none(), "{task:?} starts after the close");
        let item = &self.work.tasks[task];
        assert!(!self.failed_fast || spared(item), "{task:?} starts after the failure");
        assert!(self.has_room(task, worker), "{task:?} does not fit on {worker:?}");
        // Whoever comes before it in the order and is ready must have been unable to start.
        for other in self.work.tasks.ids() {
            if self.seen[other].is_ready() && self.turn(other) < self.turn(task) {
                assert!(!self.fits(other), "{task:?} starts before {other:?}");
            }
        }
    }

    /// Of all that fit, the best has it, and the reasons that are given say the same.
    fn assert_best(&mut self, task: TaskId, worker: WorkerId) {
        let bytes = |w: WorkerId| self.there.get(&(task, w)).copied().unwrap_or(0);
        let better = |w: WorkerId| {
            // Shares are compared without a division: one is better when its free slots go further.
            let free = |w: WorkerId| u64::from(self.work.workers[w] - self.used[w]);
            let of = |w: WorkerId| u64::from(self.work.workers[w]);
            let (one, two) = (free(w) * of(worker), free(worker) * of(w));
            (bytes(w), one, Reverse(w)) > (bytes(worker), two, Reverse(worker))
        };
        let better = self.work.workers.ids().find(|&w| w != worker && self.has_room(task, w) && better(w));
        assert_eq!(better, None, "{task:?} is placed on {worker:?}");
        let loads = self.scheduler.take_loads();
        assert_eq!(loads.is_some(), self.work.workers.len() > 1, "reasons are given where there is a choice");
        let Some(loads) = loads else { return };
        let known = |w: WorkerId| Known {
            load: loads[w.index()],
            health: match (self.lost[w], self.away[w]) {
                (true, _) => Health::Lost("it is gone"),
                (false, true) => Health::Away("it does not answer"),
                (false, false) => Health::Up,
            },
        };
        let known: Vec<Known<'_>> = self.work.workers.ids().map(known).collect();
        let told = decide(&self.fleet, task, &known.into());
        assert!(matches!(told.decision, Decision::Place(w, _) if w == worker), "{worker:?} or {told:?}");
        self.seen[task].attracted |= matches!(told.decision, Decision::Place(_, Because::Bytes(_)));
    }

    fn assert_may_stop(&self, task: TaskId, cause: StopCause, force: bool) {
        let seen = &self.seen[task];
        assert!(seen.is_active(), "only what runs is stopped");
        assert!(if force { !seen.forced } else { seen.stops == 0 }, "{task:?} is stopped over and over");
        match cause {
            StopCause::FailFast(by) => {
                assert!(self.closed.is_none() && !force && !spared(&self.work.tasks[task]));
                self.assert_failed_fast(by);
            }
            StopCause::Cancelled => assert!(self.closed.is_some()),
            StopCause::RunTimeout => assert!(self.closed.is_some() && !force),
        }
    }

    /// Whether the cause of a skip is the case.
    fn assert_true(&self, task: TaskId, cause: SkipCause) {
        let item = &self.work.tasks[task];
        let needs = |need: TaskId| {
            assert!(!item.always, "{task:?} is for always");
            item.needs.iter().any(|n| n.task == need && self.enough(need, n.accept_partial) == Some(false))
        };
        match cause {
            SkipCause::NeedFailed { need } => {
                assert!(needs(need) && self.seen[need].result != Some(TaskResult::Skip), "{task:?}: {cause:?}");
            }
            SkipCause::NeedSkipped { need, root } => {
                assert!(needs(need) && self.seen[need].result == Some(TaskResult::Skip), "{task:?}: {cause:?}");
                assert_eq!(self.scheduler.causes(task).next(), Some(need));
                assert_eq!(self.scheduler.causes(task).last(), Some(root), "the chain ends at its root");
            }
            SkipCause::FailFast(by) => {
                assert!(!spared(item), "{task:?} is for after a failure");
                self.assert_failed_fast(by);
            }
            SkipCause::Cancelled | SkipCause::RunTimeout | SkipCause::Drained => assert_eq!(self.closed, Some(cause)),
            SkipCause::Unknown => assert_eq!(item.part, Part::Held),
            SkipCause::NotWanted => assert_eq!(item.part, Part::Unwanted),
            SkipCause::StartWithin => {
                let within = item.start_within.expect("it was in a hurry");
                let queued = self.seen[task].queued.expect("patience begins with the queue");
                assert_eq!(self.seen[task].attempts, 0, "patience ends with the first start");
                assert!(self.now.since(queued) >= within, "{task:?} gave up early");
            }
            SkipCause::NoWorker => assert!(self.is_stranded(item) && self.needs_are_met(task)),
        }
    }

    fn assert_failed_fast(&self, by: TaskId) {
        let ends = self.seen[by].result.is_some_and(|result| super::model::ends_run(&self.work.tasks[by], result));
        assert!(ends && self.failed_fast, "{by:?} does not end the run");
    }

    /// After a step: what could run runs, what must stop was told, and the scheduler sees what the world sees.
    pub(super) fn assert_nothing_forgotten(&self) {
        let mut states = [0; 8];
        for (task, item) in self.work.tasks.iter() {
            let seen = &self.seen[task];
            let state = self.scheduler.state(task);
            states[state as usize] += 1;
            assert_eq!(state == State::Ready, seen.is_ready(), "{task:?}");
            assert_eq!(state.is_active(), seen.is_active(), "{task:?}");
            assert_eq!(state == State::Settled, seen.result.is_some(), "{task:?}");
            assert_eq!(self.scheduler.result(task), seen.result);
            assert_eq!(self.scheduler.worker(task), seen.worker);
            assert!(!seen.is_ready() || !self.fits(task), "{task:?} could run and does not");
            if let (true, Some(within)) = (seen.is_ready() && seen.attempts == 0, item.start_within) {
                let deadline = seen.queued.expect("it is ready").after(within);
                assert!(deadline >= self.now, "{task:?} should have been given up");
                assert!(self.wake.is_some_and(|wake| wake <= deadline), "{task:?} would be noticed too late");
            }
            if !self.is_called_for(task) {
                assert_eq!(state, State::Out, "{task:?}");
            } else if seen.result.is_none() && !seen.active {
                assert!(self.closed.is_none(), "{task:?} is left after the close");
                assert!(!self.failed_fast || spared(item), "{task:?} is left after the failure");
                let held = seen.queued.is_none() && self.needs_are_met(task);
                assert_eq!(state == State::Held, held, "{task:?}");
                if let (true, Some(at)) = (held, seen.again) {
                    assert!(at > self.now, "{task:?} is held too long");
                    assert!(self.wake.is_some_and(|wake| wake <= at), "{task:?} would be released too late");
                }
            } else if seen.is_active() {
                let ended = matches!(self.closed, Some(SkipCause::Cancelled | SkipCause::RunTimeout));
                assert!(seen.stops > 0 || !ended && (!self.failed_fast || spared(item)), "{task:?} goes on");
            }
        }
        let counts = self.scheduler.counts();
        let all = [
            State::Out,
            State::Waiting,
            State::Held,
            State::Ready,
            State::Placed,
            State::Running,
            State::Judging,
            State::Settled,
        ];
        assert_eq!(all.map(|state| counts.of(state)), states, "the counts are those of the states");
    }

    pub(super) fn assert_ended(&mut self) {
        assert_eq!(self.scheduler.take_loads(), None, "reasons are given for starts alone");
        assert!(self.used.values().all(|&n| n == 0) && self.drawn.values().all(|&n| n == 0), "all is given back");
        for input in [super::Input::Tick, super::Input::Cancel { force: true }, super::Input::Drain] {
            let mut actions = Vec::new();
            self.scheduler.step(self.now, input, &mut actions);
            assert_eq!(actions, [], "the end is the end");
        }
        for (handler, item) in self.work.tasks.iter().filter(|(_, item)| item.part == Part::Handler) {
            if let Some(task) = self.scheduler.triggered_by(handler) {
                assert!(self.work.tasks[task].on_failure.contains(&handler));
            }
            assert_eq!(self.scheduler.triggered_by(handler).is_some(), self.seen[handler].called, "{item:?}");
        }
    }

    /// Selected, or a handler that something failed for.
    fn is_called_for(&self, task: TaskId) -> bool {
        match self.work.tasks[task].part {
            Part::Selected | Part::Unwanted | Part::Has(_) | Part::Held => true,
            Part::Handler => self.seen[task].called,
            Part::Out => false,
        }
    }

    fn needs_are_met(&self, task: TaskId) -> bool {
        let item = &self.work.tasks[task];
        item.needs.iter().all(|need| match self.work.tasks[need.task].part {
            Part::Handler | Part::Out => true,
            Part::Selected | Part::Unwanted | Part::Has(_) | Part::Held => {
                match self.enough(need.task, need.accept_partial) {
                    Some(enough) => enough || item.always,
                    None => false,
                }
            }
        })
    }

    /// `None` while the need is not settled.
    fn enough(&self, need: TaskId, accept_partial: bool) -> Option<bool> {
        Some(super::model::enough(&self.work.tasks[need], self.seen[need].result?, accept_partial))
    }

    fn is_stranded(&self, item: &Item) -> bool {
        self.work.workers.ids().all(|worker| self.lost[worker] || !may_run_on(item, worker))
    }

    fn fits(&self, task: TaskId) -> bool {
        self.work.workers.ids().any(|worker| self.has_room(task, worker))
    }

    /// Whether one of its attempts was there, and there is a worker left of which that is not true.
    fn keeps_off(&self, task: TaskId, worker: WorkerId) -> bool {
        self.seen[task].avoided.contains(&worker) && self.has_fresh(task)
    }

    pub(super) fn has_fresh(&self, task: TaskId) -> bool {
        let (item, avoided) = (&self.work.tasks[task], &self.seen[task].avoided);
        self.work.workers.ids().any(|w| !self.lost[w] && may_run_on(item, w) && !avoided.contains(&w))
    }

    fn has_room(&self, task: TaskId, worker: WorkerId) -> bool {
        let item = &self.work.tasks[task];
        let all: u32 = self.used.values().sum();
        self.work.max_parallel.is_none_or(|n| all < n.max(1))
            && may_run_on(item, worker)
            && !self.keeps_off(task, worker)
            && !self.lost[worker]
            && !self.away[worker]
            && self.used[worker] < self.work.workers[worker]
            && self.work.pools.iter().all(|(pool, &size)| self.drawn[pool] + takes(item, pool) <= size)
    }

    fn turn(&self, task: TaskId) -> impl Ord + use<> {
        super::model::turn(task, &self.work.tasks[task])
    }
}

fn spared(item: &Item) -> bool {
    item.always || item.part == Part::Handler
}

fn takes(item: &Item, pool: PoolId) -> u32 {
    item.uses.iter().filter(|&&(p, _)| p == pool).map(|&(_, n)| n).sum()
}

pub(super) fn may_run_on(item: &Item, worker: WorkerId) -> bool {
    match &item.candidates {
        Candidates::Any => true,
        Candidates::Only(list) => list.contains(&worker),
    }
}
