//! What becomes of a task when a run that was cut short goes on: from what the journal and the exit log say of it.
//! What passed stays passed, an exit that is on record is judged and not made again, and an attempt whose end nobody
//! knows is made again, or held where the task says so.

use crate::protocol::receipt::{FailureKind, TaskResult};

/// What is on record of one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    pub settled: Option<Gist>,
    pub last: Last,
    /// How the process of its last attempt ended, where the supervisor wrote that down.
    pub exit: Option<ExitBy>,
    /// It must not be made twice: its `on_unknown` is `hold`.
    pub holds: bool,
    /// A person said that it may be made again.
    pub allowed: bool,
}

/// What is on record of a task's last attempt, apart from a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// There was none, or another record says what it came to.
    Accounted,
    /// It was begun.
    Begun,
    /// Nobody knows how it ended.
    Unknown,
}

/// The gist of a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gist {
    pub result: TaskResult,
    pub failure: Option<FailureKind>,
    /// It has an exit code or a signal.
    pub has_end: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitBy {
    /// By itself, or for being over its time.
    Own,
    /// Because the runner went away, or told it to.
    Us,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its result stands.
    Done,
    /// It has not been attempted, or what was attempted is accounted for.
    Open,
    /// Its last attempt ended and is to be judged.
    Judge,
    /// Nobody knows how its last attempt ended, and it is made again.
    Again,
    /// Nobody knows how its last attempt ended, and a person has to say whether it is made again.
    Held,
}

/// The one rule.
#[must_use]
pub fn fate(known: &Known) -> Fate {
    let unknown = match known.settled {
        // Its worker was lost, or it was never placed: no end of its own.
        Some(Gist { result: TaskResult::Fail, failure: Some(FailureKind::Transport), has_end: false }) => true,
        // Not settled; or cancelled or never begun, which says nothing of an attempt that it does not account for.
        None | Some(Gist { result: TaskResult::Skip, .. }) => known.last != Last::Accounted,
        Some(_) => return Fate::Done,
    };
    match (unknown, known.exit) {
        (false, _) => Fate::Open,
        (true, Some(ExitBy::Own)) if known.last == Last::Begun => Fate::Judge,
        (true, _) if known.last == Last::Accounted => Fate::Open,
        (true, _) if known.holds && !known.allowed => Fate::Held,
        (true, _) => Fate::Again,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same said the other way round: what each word stands for, and not what follows from what.
    fn naive(known: Known) -> Fate {
        let (begun, unknown) = (known.last == Last::Begun, known.last == Last::Unknown);
        let is = |result| known.settled.is_some_and(|gist| gist.result == result);
        let lost = is(TaskResult::Fail)
            && known.settled.is_some_and(|g| g.failure == Some(FailureKind::Transport) && !g.has_end);
        let final_results = [TaskResult::Pass, TaskResult::Partial, TaskResult::Fail, TaskResult::Timeout];
        let skipped = is(TaskResult::Skip);
        let in_the_dark = lost
            || (known.settled.is_none() && begun)
            || (skipped && known.last != Last::Accounted)
            || (unknown && known.settled.is_none());
        let judged = final_results.into_iter().any(is) && !lost;
        let ended = in_the_dark && known.exit == Some(ExitBy::Own) && begun;
        let ran = in_the_dark && (begun || unknown) && !ended;
        let person = known.holds && !known.allowed;
        match (judged, ended, ran, person) {
            (true, ..) => Fate::Done,
            (_, true, ..) => Fate::Judge,
            (_, _, true, true) => Fate::Held,
            (_, _, true, false) => Fate::Again,
            (false, false, false, _) => Fate::Open,
        }
    }

    fn all() -> Vec<Known> {
        let failures = [None, Some(FailureKind::Transport), Some(FailureKind::Task), Some(FailureKind::Verifier)];
        let mut settled = vec![None];
        for result in TaskResult::ALL {
            for failure in failures {
                settled.extend([true, false].map(|has_end| Some(Gist { result, failure, has_end })));
            }
        }
        let mut all = Vec::new();
        for settled in settled {
            for exit in [None, Some(ExitBy::Own), Some(ExitBy::Us)] {
                for last in [Last::Accounted, Last::Begun, Last::Unknown] {
                    for (holds, allowed) in [(false, false), (false, true), (true, false), (true, true)] {
                        all.push(Known { settled, last, exit, holds, allowed });
                    }
                }
            }
        }
        all
    }

    #[test]
    fn the_table_is_what_a_second_reading_of_the_contract_says() {
        let all = all();
        assert_eq!(all.len(), 41 * 3 * 3 * 4);
        for known in all {
            assert_eq!(fate(&known), naive(known), "{known:?}");
        }
    }

    #[test]
    fn no_exit_of_its_own_is_made_again_and_nothing_that_must_not_run_twice_runs_unasked() {
        for known in all() {
            let fate = fate(&known);
            if known.exit == Some(ExitBy::Own) && known.last == Last::Begun {
                let cancelled = known.settled.is_some_and(|gist| gist.result == TaskResult::Skip);
                assert!(cancelled || matches!(fate, Fate::Done | Fate::Judge), "{known:?}");
            }
            if known.holds && !known.allowed {
                assert_ne!(fate, Fate::Again, "{known:?}");
            }
            if known.settled.is_some_and(|gist| gist.result == TaskResult::Pass) {
                assert_eq!(fate, Fate::Done, "{known:?}");
            }
        }
    }
}
