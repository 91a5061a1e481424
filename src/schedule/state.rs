//! The states of a task, and the board that holds one small entry a task. [`Board::transition`] makes every
//! transition there is, so the counts cannot drift from the states and no state is skipped by accident.

use crate::id::{Id, IdMap, TaskId, WorkerId};
use crate::policy::ExitCode;
use crate::protocol::receipt::TaskResult;

use super::{Item, Part, SkipCause};

/// Where a task is on its way, in the order it goes; from `Placed` on it may fall back to `Held`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Not part of the run, or a handler that nothing has triggered.
    Out,
    /// Needs are open.
    Waiting,
    /// Needs are met; its time to be tried again has not come.
    Held,
    /// Needs are met; no slot yet.
    Ready,
    /// A slot is held and the start is under way.
    Placed,
    /// Its process runs.
    Running,
    /// Its process is over; the result is being found.
    Judging,
    /// It has its result.
    Settled,
}

impl State {
    const COUNT: usize = Self::Settled as usize + 1;

    /// Whether a task in this state holds a slot.
    #[must_use]
    pub fn is_active(self) -> bool {
        matches!(self, Self::Placed | Self::Running | Self::Judging)
    }

    /// Forward only, but for the attempt that is followed by another. A task leaves `Waiting`, `Held` and `Ready` for
    /// `Settled` by a skip, and may be settled from any state in which it is active, because the caller owes no
    /// `Running` or `Judging` for a process that never started.
    fn may_become(self, next: Self) -> bool {
        match self {
            Self::Out => next == Self::Waiting,
            Self::Waiting => matches!(next, Self::Held | Self::Ready | Self::Settled),
            Self::Held => matches!(next, Self::Ready | Self::Settled),
            Self::Ready => matches!(next, Self::Placed | Self::Settled),
            Self::Placed | Self::Running | Self::Judging => next > self || next == Self::Held,
            Self::Settled => false,
        }
    }
}

/// How many tasks are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u32; State::COUNT]);

impl Counts {
    #[must_use]
    pub fn of(&self, state: State) -> u32 {
        self.0[state as usize]
    }

    /// Tasks that hold a slot.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.of(State::Placed) + self.of(State::Running) + self.of(State::Judging)
    }

    /// Tasks of the run that have no result yet.
    #[must_use]
    pub fn unsettled(&self) -> u32 {
        self.of(State::Waiting) + self.of(State::Held) + self.of(State::Ready) + self.active()
    }
}

/// How far a started task has been told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stopping {
    No,
    Asked,
    Forced,
}

/// One task. 32 bytes, because there may be 200,000.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Needs not settled yet.
    pub(super) open: u32,
    /// What it asks for, as an index of the queue's classes.
    pub(super) class: u32,
    /// Its place in the order of starts.
    pub(super) turn: u32,
    /// Where it was placed; means nothing while it was not.
    pub(super) worker: WorkerId,
    /// The need that made it be skipped, or itself.
    pub(super) need: TaskId,
    /// Where the chain of needs that ends in that skip began, or itself.
    pub(super) root: TaskId,
    state: State,
    pub(super) result: Option<TaskResult>,
    pub(super) part: Part,
    pub(super) was_placed: bool,
    pub(super) always: bool,
    pub(super) allow_failure: bool,
    pub(super) stopping: Stopping,
}

impl Entry {
    pub(super) fn new(task: TaskId, item: &Item, class: u32) -> Self {
        let state = match item.part {
            Part::Selected | Part::Unwanted | Part::Has(_) | Part::Held => State::Waiting,
            Part::Handler | Part::Out => State::Out,
        };
        Self {
            open: 0,
            class,
            turn: 0,
            worker: WorkerId::from_index(0),
            need: task,
            root: task,
            state,
            result: None,
            part: item.part,
            was_placed: false,
            always: item.always,
            allow_failure: item.allow_failure,
            stopping: Stopping::No,
        }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    /// Whether handlers are for it.
    pub(super) fn has_failed(&self) -> bool {
        matches!(self.result, Some(TaskResult::Fail | TaskResult::Timeout))
    }

    /// Whether it sets off fail-fast, which looks at failures of this sitting.
    pub(super) fn fails_run(&self) -> bool {
        !matches!(self.part, Part::Has(_))
            && self.result.is_some_and(|result| ExitCode::fails_run(result, self.allow_failure))
    }

    /// Whether fail-fast leaves it alone: it is there for what comes after a failure.
    pub(super) fn outlives_failure(&self) -> bool {
        self.always || self.part == Part::Handler
    }

    /// Whether this settled task is enough for a dependent.
    pub(super) fn satisfies(&self, accept_partial: bool) -> bool {
        match self.result {
            Some(TaskResult::Pass) => true,
            Some(TaskResult::Partial) => accept_partial || self.allow_failure,
            Some(TaskResult::Fail | TaskResult::Timeout) => self.allow_failure,
            Some(TaskResult::Skip) => self.part == Part::Unwanted,
            None => false,
        }
    }
}

#[derive(Debug)]
pub(super) struct Board {
    pub(super) entries: IdMap<TaskId, Entry>,
    counts: Counts,
}

impl Board {
    pub(super) fn new(entries: IdMap<TaskId, Entry>) -> Self {
        let mut counts = Counts::default();
        for entry in entries.values() {
            counts.0[entry.state as usize] += 1;
        }
        Self { entries, counts }
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn state(&self, task: TaskId) -> State {
        self.entries[task].state
    }

    /// Makes every transition there is.
    pub(super) fn transition(&mut self, task: TaskId, next: State) {
        let entry = &mut self.entries[task];
        assert!(entry.state.may_become(next), "{task:?} cannot go from {:?} to {next:?}", entry.state);
        self.counts.0[entry.state as usize] -= 1;
        self.counts.0[next as usize] += 1;
        entry.state = next;
    }

    /// Why a dependent cannot run after `need`, which is settled and not enough for it.
    pub(super) fn blame(&self, need: TaskId) -> SkipCause {
        let entry = &self.entries[need];
        if entry.result == Some(TaskResult::Skip) {
            SkipCause::NeedSkipped { need, root: entry.root }
        } else {
            SkipCause::NeedFailed { need }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_stays_small() {
        assert_eq!(size_of::<Entry>(), 32);
    }
}
