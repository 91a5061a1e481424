//! Everything that happens in a run, in one order. The engine makes these; the journal is the first to see them and
//! the reports are the others.

use crate::id::{Attempt, TaskId, WorkerId};
use crate::place::Placement;
use crate::plan::explain::Reason;
use crate::policy::retry::Next;
use crate::protocol::Receipt;
use crate::protocol::receipt::AttemptRecord;
use crate::time::{Millis, Stamp};

/// Where output came from. A task with merged streams has all of it on `Stdout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// One thing that happened. Borrowed throughout, so that passing one on costs nothing.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The needs of the task are met.
    Queued { task: TaskId },
    /// Journaled before the process is told to run. Where there is a choice of workers, with why it was this one.
    Starting { task: TaskId, attempt: Attempt, worker: WorkerId, placement: Option<&'a Placement> },
    /// The process exists.
    Running { task: TaskId, attempt: Attempt, pid: u32 },
    /// Bytes the task printed. Not journaled: the attempt's log has them.
    Output { task: TaskId, attempt: Attempt, stream: Stream, bytes: &'a [u8] },
    /// Nobody knows how the attempt ended: the run was cut short, and goes on without it.
    Interrupted { task: TaskId, record: &'a AttemptRecord },
    /// The end of an attempt on a worker that counts as lost came after all, and counts for nothing.
    Late { task: TaskId, attempt: Attempt, code: Option<i32>, signal: Option<i32> },
    /// An attempt is over, and another one follows.
    Restarted { task: TaskId, record: &'a AttemptRecord, next: Next },
    /// The task has its result. Event and receipt are one record.
    Settled { task: TaskId, receipt: &'a Receipt },
    /// Why it runs and no earlier result is reused. Not journaled: the receipts tell.
    Explained { task: TaskId, reasons: &'a [Reason] },
    /// Something a person should read. Not journaled.
    Warning { text: &'a str },
}

impl Event<'_> {
    /// Whether the journal keeps it.
    #[must_use]
    pub fn is_journaled(&self) -> bool {
        !matches!(self, Self::Output { .. } | Self::Explained { .. } | Self::Warning { .. })
    }

    /// The task it speaks of.
    #[must_use]
    pub fn task(&self) -> Option<TaskId> {
        match *self {
            Self::Queued { task }
            | Self::Starting { task, .. }
            | Self::Running { task, .. }
            | Self::Output { task, .. }
            | Self::Explained { task, .. }
            | Self::Interrupted { task, .. }
            | Self::Late { task, .. }
            | Self::Restarted { task, .. }
            | Self::Settled { task, .. } => Some(task),
            Self::Warning { .. } => None,
        }
    }
}

/// An event with its place in time and in the run's order.
#[derive(Clone, Copy, Debug)]
pub struct Happened<'a> {
    pub at: Millis,
    pub stamp: Stamp,
    /// Position in the journal; 0 when it is not journaled.
    pub seq: u64,
    pub event: Event<'a>,
}
