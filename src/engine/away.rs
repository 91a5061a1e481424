//! Workers that are lost and may come back. They are tried again for as long as they say, and meanwhile what may run
//! nowhere else waits. What ran there is over; whether it is made again is for the `retry` of its task.
//!
//! A worker that was never reached is waited for only when a task that it failed is to be tried again: a name that is
//! mistyped should not cost a minute.

use std::time::Duration;

use super::Engine;
use super::lane::LaneId;
use crate::id::WorkerId;
use crate::schedule::Input;
use crate::supervisor::frame::Spawn;
use crate::time::{Millis, written};

/// Between two tries: at first, then twice as long each time, and at most.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// A worker that is away, or was until a moment ago.
#[derive(Debug)]
pub(super) struct Away {
    /// Why it was lost, and in the end why it was not reached again.
    why: String,
    last: Option<String>,
    since: Millis,
    tries: u32,
    step: Step,
    /// What was to be started there, once it is back.
    waiting: Vec<(u32, Spawn)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Until the next try.
    Pause(Millis),
    Trying,
    /// It answers, since then. It is not new yet: one that is lost again before it has done anything goes on from here.
    Back(Millis),
}

impl Away {
    /// Why nothing is placed there.
    pub(super) fn why(&self) -> Option<&str> {
        (!matches!(self.step, Step::Back(_))).then_some(&self.why)
    }

    fn told(&self) -> String {
        self.last.as_ref().map_or_else(|| self.why.clone(), |last| format!("{}; and then: {last}", self.why))
    }

    /// Whether there is no lane to it, not even one that is being made.
    pub(super) fn pauses(&self) -> bool {
        matches!(self.step, Step::Pause(_))
    }

    /// Keeps what is to be started until the next try.
    pub(super) fn keep(&mut self, n: u32, spawn: Spawn) {
        self.waiting.push((n, spawn));
    }

    pub(super) fn holds(&self, n: u32) -> bool {
        self.waiting.iter().any(|(one, _)| *one == n)
    }
}

/// How a worker was lost.
pub(super) struct Loss {
    pub why: String,
    /// It had answered.
    pub was_reached: bool,
    /// Another try would come to the same.
    pub is_final: bool,
}

/// When a worker is tried again that was lost then and may be away so long; the last time when that is over.
fn next_try(now: Millis, (since, limit): (Millis, Duration), tries: u32) -> Option<Millis> {
    let end = since.after(limit);
    let pause = PAUSE_MAX.min(PAUSE_FIRST * 2_u32.saturating_pow(tries));
    (now < end).then(|| now.after(pause).min(end))
}

impl Engine<'_> {
    /// A worker is lost, and with it these attempts.
    pub(super) fn gone(&mut self, worker: WorkerId, loss: &Loss, attempts: &[u32]) {
        let Loss { why, was_reached, is_final } = loss;
        let was_away = self.reach[worker].away.is_some();
        if *is_final || !self.parts_with(worker, Some(why)) {
            self.reach_lost(worker, why);
            return self.lanes_lost(attempts, why);
        }
        let tasks: Vec<_> = attempts.iter().filter_map(|n| Some(self.flights.get(n)?.whose().0)).collect();
        self.lanes_lost(attempts, why);
        let is_wanted = *was_reached || was_away || tasks.iter().any(|task| self.tried.contains_key(task));
        if !is_wanted {
            self.reach_lost(worker, why);
        } else if !was_away {
            let text = format!("{why}; trying again for {}", written(self.view.fleet.workers[worker].reconnect));
            self.warn(&text);
        }
    }

    /// Waits until the next try, because it was lost for this reason, or else because a try has failed. `false` when it is
    /// not to be tried any more.
    fn parts_with(&mut self, worker: WorkerId, why: Option<&str>) -> bool {
        let (now, limit) = (self.now, self.view.fleet.workers[worker].reconnect);
        let reach = &mut self.reach[worker];
        if reach.lost.is_some() {
            return false;
        }
        reach.forget_lane();
        let before = reach.away.take();
        // Whoever was back for that long was not just limping.
        let stood = |away: &Away| matches!(away.step, Step::Back(at) if now.since(at) >= limit);
        let before = before.filter(|away| !stood(away));
        let (since, tries) = before.as_ref().map_or((now, 0), |away| (away.since, away.tries));
        let next = next_try(now, (since, limit), tries);
        let (before, last, waiting) = before.map(|away| (away.why, away.last, away.waiting)).unwrap_or_default();
        let (why, last) = why.map_or((before, last), |why| (why.to_owned(), None));
        let step = Step::Pause(next.unwrap_or(now));
        reach.away = Some(Away { why, last, since, tries: tries + 1, step, waiting });
        if next.is_some() {
            self.tell(Input::WorkerAway(worker));
        }
        next.is_some()
    }

    /// No more attempts go to this worker.
    pub(super) fn reach_lost(&mut self, worker: WorkerId, why: &str) {
        if self.reach[worker].lost.is_some() {
            return;
        }
        let reach = &mut self.reach[worker];
        reach.forget_lane();
        reach.lost = Some(why.to_owned());
        let waiting = reach.away.take().map(|away| away.waiting).unwrap_or_default();
        self.tell(Input::WorkerLost(worker));
        for (n, _) in waiting {
            self.lost(n, why);
        }
    }

    /// Tries those whose time has come.
    pub(super) fn try_again(&mut self) {
        let now = self.now;
        let is_due = |away: &Away| matches!(away.step, Step::Pause(at) if at <= now);
        let due = self.reach.iter().filter(|(_, reach)| reach.away.as_ref().is_some_and(is_due));
        for worker in due.map(|(worker, _)| worker).collect::<Vec<_>>() {
            let Some(away) = &mut self.reach[worker].away else { continue };
            away.step = Step::Trying;
            let waiting = std::mem::take(&mut away.waiting);
            self.reopen_lane(worker, waiting);
        }
    }

    /// When the next try is due.
    pub(super) fn next_try(&self) -> Option<Millis> {
        let steps = self.reach.values().filter_map(|reach| Some(reach.away.as_ref()?.step));
        steps.filter_map(|step| if let Step::Pause(at) = step { Some(at) } else { None }).min()
    }

    /// A try came to nothing; these had waited for it.
    pub(super) fn try_failed(&mut self, worker: WorkerId, loss: &Loss, waiting: Vec<(u32, Spawn)>) {
        let Some(away) = &mut self.reach[worker].away else { return };
        away.waiting = waiting;
        away.last = Some(loss.why.clone());
        let why = away.told();
        if loss.is_final {
            self.reach_lost(worker, &why);
        } else if !self.parts_with(worker, None) {
            let limit = written(self.view.fleet.workers[worker].reconnect);
            self.reach_lost(worker, &format!("{why}; given up after {limit}"));
        }
    }

    /// The supervisor at the end of a lane can serve.
    pub(super) fn welcomed(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.was_reached = true;
        let (worker, now) = (lane.worker, self.now);
        // A container of one attempt is no answer of the one that the others wait for.
        let tried = self.reach[worker].away.as_mut().filter(|away| away.step == Step::Trying && lane.only.is_none());
        let Some(away) = tried else { return };
        away.step = Step::Back(now);
        let text = format!(
            "worker `{}` is back after {}",
            self.view.fleet.workers[worker].name,
            written(Duration::from_secs(now.since(away.since).as_secs().max(1)))
        );
        self.warn(&text);
        self.tell(Input::WorkerBack(worker));
    }

    /// A process there has come to its end, so it does what it should.
    pub(super) fn proves_itself(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get(&id) else { return };
        let away = &mut self.reach[lane.worker].away;
        if away.as_ref().is_some_and(|away| matches!(away.step, Step::Back(_))) {
            *away = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_tried_until_its_time_is_over_and_not_sooner() {
        for (limit_s, tries) in
            [(0, &[][..]), (1, &[1]), (4, &[1, 3, 4]), (15, &[1, 3, 7, 15]), (60, &[1, 3, 7, 15, 30, 45, 60])]
        {
            let (begin, limit) = (Millis(500), Duration::from_secs(limit_s));
            let mut now = begin;
            let mut seen = Vec::new();
            while let Some(at) = next_try(now, (begin, limit), u32::try_from(seen.len()).unwrap()) {
                seen.push(at.since(begin).as_secs());
                // Every try takes a moment.
                now = at.after(Duration::from_millis(3));
            }
            assert_eq!(seen, tries, "{limit_s} s");
        }
    }
}
