//! The account of an attempt, or of a task that had none.

use super::attempt::Flight;
use super::judge::Judged;
use super::reuse::reused_from;
use super::{Engine, trust};
use crate::id::TaskId;
use crate::model::{Fleet, Task, Worker};
use crate::plan::fingerprint::never_reusable;
use crate::policy::Verdict;
use crate::protocol::Receipt;
use crate::protocol::receipt::{AttemptRecord, FailureKind, LogRef, TaskResult, TrustRecord, Usage};
use crate::receipt::argv_digest;
use crate::schedule::SkipCause;
use crate::store::results::Entry;
use crate::supervisor::frame::Exited;
use crate::time::{millis, written};

/// What holds every task, by name; the book explains each.
const MECHANISMS: [&str; 3] = ["clean_env", "session", "subreaper"];

/// What holds every task of a worker.
pub(super) fn mechanisms(worker: &Worker) -> Vec<&'static str> {
    let more = trust::of_connection(worker).iter().chain(trust::of_container(worker));
    MECHANISMS.iter().chain(more).copied().collect()
}
/// Joins them when a task's writes were checked after the fact.
const WRITES_CHECKED: &str = "writes_checked";

/// Everything there is to tell of an attempt.
pub(super) struct Told<'a> {
    pub exited: Option<&'a Exited>,
    pub verdict: Verdict,
    pub judged: Judged,
    pub log: Option<LogRef>,
}

impl Engine<'_> {
    pub(super) fn receipt_of(&self, flight: Flight, told: Told<'_>) -> Receipt {
        let Told { exited, verdict, judged, log } = told;
        let task = &self.view.fleet.tasks[flight.task];
        // The process's own time; what judging took stands with each scorer.
        let duration_ms = exited.map_or_else(|| millis(self.now.since(flight.started)), |exited| exited.wall_ms);
        let started_at = flight.started_at;
        let cause = verdict.cause();
        let mut receipt = self.receipts.blank(task, self.stamp(), verdict.result);
        self.receipts.placed(&mut receipt, task, flight.worker);
        receipt.failure_kind = verdict.failure;
        receipt.score = verdict.score;
        receipt.attempt = flight.attempt.0;
        receipt.started_at = Some(started_at);
        receipt.duration_ms = duration_ms;
        receipt.attempts = vec![AttemptRecord {
            attempt: flight.attempt.0,
            worker_id: receipt.worker_id.clone(),
            started_at,
            duration_ms: receipt.duration_ms,
            result: verdict.result,
            failure_kind: verdict.failure,
            cause: cause.clone(),
            repetition: 0,
            exit_code: None,
            signal: None,
            log: None,
            leaked: Vec::new(),
        }];
        receipt.cause = cause;
        receipt.argv_digest = (!flight.argv.is_empty()).then(|| argv_digest(&flight.argv));
        receipt.argv = flight.argv;
        receipt.inputs_digest = flight.inputs_digest;
        receipt.fingerprint = flight.looked.as_ref().and_then(|looked| looked.fingerprint);
        receipt.outputs = judged.outputs;
        receipt.artifacts = judged.artifacts;
        receipt.scorers = judged.records;
        receipt.log = log;
        let checked = judged.writes_checked.then(|| WRITES_CHECKED.into());
        let more: Vec<Box<str>> = flight.mechanisms.into_iter().map(Into::into).chain(checked).collect();
        let grants = trust::granted(self.view.fleet, task);
        if (!more.is_empty() || !grants.is_empty())
            && let Some(trust) = &receipt.trust
        {
            let mut trust = TrustRecord::clone(trust);
            trust.mechanisms.extend(more);
            trust.grants = grants;
            receipt.trust = Some(trust.into());
        }
        let image = self.reach[flight.worker].image.as_ref();
        receipt.image = image.map(|image| image.digest.as_str().into());
        if let Some(exited) = exited {
            receipt.exit_code = exited.code;
            receipt.signal = exited.signal;
            receipt.leaked.clone_from(&exited.leaked);
            receipt.usage = Some(Usage {
                cpu_ms: exited.cpu_ms,
                max_rss_bytes: exited.max_rss_bytes,
                output_bytes: exited.output_bytes,
            });
        }
        self.without_secrets(receipt)
    }

    /// A task whose earlier result holds.
    pub(super) fn receipt_of_reuse(&self, id: TaskId, entry: Entry) -> Receipt {
        let task = &self.view.fleet.tasks[id];
        let mut receipt = self.receipts.blank(task, self.stamp(), entry.result);
        receipt.reused = Some(reused_from(&entry));
        receipt.artifacts = entry.artifacts;
        receipt.score = entry.score;
        receipt.inputs_digest = entry.inputs_digest;
        receipt.fingerprint = never_reusable(task).is_none().then_some(entry.fingerprint);
        receipt.outputs = entry.outputs;
        self.without_secrets(receipt)
    }

    /// A task that was settled without an attempt.
    pub(super) fn receipt_of_skip(&self, id: TaskId, cause: SkipCause) -> Receipt {
        let fleet = self.view.fleet;
        let task = &fleet.tasks[id];
        let mut receipt = self.receipts.blank(task, self.stamp(), cause.result());
        receipt.failure_kind = (receipt.result == TaskResult::Fail).then_some(FailureKind::Transport);
        receipt.cause = Some(match cause {
            SkipCause::NoWorker => format!("{}: {}", why_skipped(fleet, task, cause), self.all_lost(id)),
            _ => why_skipped(fleet, task, cause),
        });
        self.without_secrets(receipt)
    }
}

fn why_skipped(fleet: &Fleet, task: &Task, cause: SkipCause) -> String {
    let name = |id: TaskId| &*fleet.tasks[id].name;
    match cause {
        SkipCause::NeedFailed { need } => format!("it needs `{}`, which did not pass", name(need)),
        SkipCause::NeedSkipped { need, root } if need == root => {
            format!("it needs `{}`, which was skipped", name(need))
        }
        SkipCause::NeedSkipped { need, root } => {
            format!("it needs `{}`, which was skipped because of `{}`", name(need), name(root))
        }
        SkipCause::FailFast(failed) => format!("cancelled by fail_fast, because `{}` failed", name(failed)),
        SkipCause::Cancelled => "interrupted".to_owned(),
        SkipCause::RunTimeout => "the run's timeout was over".to_owned(),
        SkipCause::Drained => "the run could not be recorded any more".to_owned(),
        SkipCause::NotWanted => task.unwanted.as_deref().unwrap_or("its `when` says no").to_owned(),
        SkipCause::StartWithin => match task.start_within {
            Some(limit) => format!("nothing was free for it within its start_within of {}", written(limit)),
            None => "nothing was free for it in time".to_owned(),
        },
        SkipCause::NoWorker => "every worker that it may run on is lost".to_owned(),
        SkipCause::Unknown => format!(
            "nobody knows whether it ran, and its on_unknown is `hold`; to make it again: fleet resume --again {}",
            task.name
        ),
    }
}

/// What is said of processes that a task left behind, by their names as the receipt has them.
pub(super) fn left_behind(receipt: &Receipt) -> Option<String> {
    /// More are in the receipt.
    const NAMED: usize = 3;
    let (named, more) = receipt.leaked.split_at(receipt.leaked.len().min(NAMED));
    // A process may call itself anything.
    let list: String = named.join(", ").chars().filter(|c| !c.is_control()).collect();
    let what = match (named.len(), more.len()) {
        (0, _) => return None,
        (1, _) => format!("a process behind, which was ended: {list}"),
        (_, 0) => format!("processes behind, which were ended: {list}"),
        (_, more) => format!("processes behind, which were ended: {list} and {more} more"),
    };
    Some(format!("`{}` left {what}", receipt.task_id))
}
