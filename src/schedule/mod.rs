//! Which task starts next, and where: a pure state machine that is told what happened and answers what to do.
//! It owns no clock, process, file or channel. All it knows came in as [`Work`], `now` and [`Input`]; the caller does
//! what each [`Action`] says and reports back.
//!
//! - this file: the words spoken with the caller
//! - `machine`: [`Scheduler`], how an input becomes actions
//! - `state`: the states of a task, and the one function that makes a transition
//! - `queue`: what is ready, grouped by what it asks for, and what workers and pools have left
//! - `sim`: a seeded world, an independent model and all small cases (tests only)

mod machine;
mod queue;
#[cfg(test)]
mod sim;
mod state;

use std::time::Duration;

use crate::id::{Attempt, IdMap, PoolId, TaskId, WorkerId};
use crate::protocol::receipt::TaskResult;
use crate::time::Millis;

pub use machine::Scheduler;
pub use state::{Counts, State};

/// Everything there is to schedule. Consumed by [`Scheduler::new`], which keeps a few dozen bytes a task.
#[derive(Clone, Debug)]
pub struct Work {
    /// Every task of the fleet, those outside the selection too, so that ids need no translation.
    pub tasks: IdMap<TaskId, Item>,
    /// Slots of each worker. A worker without slots never runs anything, as if it were lost from the start.
    pub workers: IdMap<WorkerId, u32>,
    /// Size of each pool of `[policies.limits]`.
    pub pools: IdMap<PoolId, u32>,
    /// Bound over all workers together; `None` is no bound, and 0 counts as 1.
    pub max_parallel: Option<u32>,
    /// Stop at the first result that fails the run, a partial one too. Otherwise whatever does not depend on a failure still runs.
    pub fail_fast: bool,
}

/// What the scheduler needs to know of one task.
#[derive(Clone, Debug)]
pub struct Item {
    pub part: Part,
    /// Declared and file-implied needs. A need on a [`Part::Handler`] or [`Part::Out`] task is not waited for.
    pub needs: Box<[Need]>,
    pub candidates: Candidates,
    /// How much it takes from each pool while it holds a slot; at most the size of the pool.
    pub uses: Box<[(PoolId, u32)]>,
    /// Higher starts first.
    pub priority: i32,
    /// Among equal priorities: longest path to the end of the graph, own cost included; higher starts first.
    pub rank: u64,
    /// Among equal ranks: drawn from the run's seed; lower starts first. Then the lower id.
    pub tie: u32,
    /// Starts when all its needs are settled, whatever they were, also after fail-fast. Not after a cancel.
    pub always: bool,
    /// Its failure satisfies its dependents and does not set off fail-fast.
    pub allow_failure: bool,
    /// [`Part::Handler`] tasks to start after its failure or timeout; others named here are left to their own part.
    pub on_failure: Box<[TaskId]>,
    /// Longest time from becoming ready to its first start.
    pub start_within: Option<Duration>,
    /// Attempts made before; [`Action::Start`] counts on from here.
    pub attempts: u32,
    /// Not started before that long after [`Input::Begin`].
    pub wait: Duration,
    /// The worker of its last attempt, when another one should have the next.
    pub avoid: Option<WorkerId>,
}

/// The part a task plays in this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It runs, unless something skips it.
    Selected,
    /// Its `when` said no: skipped at [`Input::Begin`], which satisfies its dependents.
    Unwanted,
    /// It has a result already: settled at [`Input::Begin`] without an action. A failed one blocks its dependents and
    /// starts its handlers as if it had just ended (one that has run has a result of its own), but not fail-fast.
    Has(TaskResult),
    /// Nobody knows whether it ran, and it must not run twice: skipped at [`Input::Begin`] with [`SkipCause::Unknown`].
    Held,
    /// It runs once, when the first task that names it in `on_failure` has failed or timed out, also after fail-fast
    /// but not after a cancel; otherwise it stays out. Its own needs hold. One whose `when` said no is [`Part::Out`].
    Handler,
    /// It has no part in this run.
    Out,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    pub task: TaskId,
    /// A partial result is enough.
    pub accept_partial: bool,
}

/// Where a task may run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Candidates {
    Any,
    Only(Box<[WorkerId]>),
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The run begins. Once, first.
    Begin,
    /// The process of a started task runs.
    Running(TaskId),
    /// The process of a started task is over and its result is being found. Optional; the slot stays taken.
    Judging(TaskId),
    /// The attempt of a started task is over and another one follows: its slot and pools are free, and the task is ready
    /// again after `wait`. From here on it keeps off the worker `avoid` too, unless no other it may run on is left: when each had its
    /// turn, it keeps off the last only.
    /// When nothing new may start, the answer is [`Action::Skip`].
    Again { task: TaskId, wait: Duration, avoid: Option<WorkerId> },
    /// A started task is over, with its final result; from here its slot and pools are free.
    /// A task that ended because of [`Action::Stop`] reports [`TaskResult::Skip`].
    Settled { task: TaskId, result: TaskResult },
    /// Time passed; see [`Action::WakeAt`]. Harmless at any time.
    Tick,
    /// Start nothing more, not even `always` tasks and handlers, and stop what runs; with `force`, stop it now.
    Cancel { force: bool },
    /// As an unforced cancel, for the time of the whole run being up.
    RunTimeout,
    /// Start nothing more, and let what runs end by itself: the journal cannot be written.
    Drain,
    /// Nothing is placed on this worker until it is back, and what may run nowhere else waits; the caller owes the one or
    /// the other of the next two. What ran there is still settled by the caller.
    WorkerAway(WorkerId),
    /// Of one that is away.
    WorkerBack(WorkerId),
    /// Nothing is placed on this worker any more. What ran there is still settled by the caller.
    WorkerLost(WorkerId),
    /// That many more bytes of a task's inputs are on the worker. Of the workers that are free when the task starts, the
    /// one that has most of them gets it. Answered by nothing, also not by what is due: that is left to the next input.
    There { task: TaskId, worker: WorkerId, bytes: u64 },
}

/// What to do about it, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Its needs are met, or its time has come to be tried again; it waits for a slot.
    Queue(TaskId),
    /// Start it; answer with [`Input::Settled`] or [`Input::Again`], now or later, in every case.
    Start { task: TaskId, worker: WorkerId, attempt: Attempt },
    /// End a started task. Sent at most twice: once to ask, and once with `force`.
    Stop { task: TaskId, cause: StopCause, force: bool },
    /// It is settled without having been started, or without being started again. [`SkipCause::result`] is what to write down.
    Skip { task: TaskId, cause: SkipCause },
    /// Give [`Input::Tick`] at that time. Replaces an earlier wish.
    WakeAt(Millis),
    /// Nothing is left. Exactly once, last.
    Done,
}

/// Why a started task is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// This task failed first.
    FailFast(TaskId),
    Cancelled,
    RunTimeout,
}

/// Why a task was settled without having been started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipCause {
    /// `need` ran and its result is not enough: fail, timeout, or a partial that is not accepted.
    NeedFailed {
        need: TaskId,
    },
    /// `need` was itself skipped; `root` is where the chain of skips began: the failed task, or the first one skipped.
    NeedSkipped {
        need: TaskId,
        root: TaskId,
    },
    /// This task failed first.
    FailFast(TaskId),
    Cancelled,
    RunTimeout,
    /// The run was drained before its turn.
    Drained,
    /// Its `when` said no.
    NotWanted,
    /// Nothing was free for it within its `start_within`.
    StartWithin,
    /// Every worker it may run on is lost.
    NoWorker,
    /// Nobody knows whether it ran already, and it says `on_unknown = "hold"`.
    Unknown,
}

impl SkipCause {
    /// The result of a task that was not started for this cause. Not always a skip: missing the time to start is a
    /// timeout, and having no worker left is a failure (kind transport), so both fail the run like any other.
    #[must_use]
    pub fn result(self) -> TaskResult {
        match self {
            Self::StartWithin => TaskResult::Timeout,
            Self::NoWorker => TaskResult::Fail,
            Self::NeedFailed { .. }
            | Self::NeedSkipped { .. }
            | Self::FailFast(_)
            | Self::Cancelled
            | Self::RunTimeout
            | Self::Drained
            | Self::NotWanted
            | Self::Unknown => TaskResult::Skip,
        }
    }
}
