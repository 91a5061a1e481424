//! The rule against a second reading of the text, over every combination of what it looks at.

use super::*;
use crate::model::{Scorer, ScorerRule};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Passed,
    Not,
    Broken,
    /// No record at all.
    Silent,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    said: Said,
    required: bool,
    weight: u8,
    /// An `exit_code` scorer, which expects 0 and 3; else a `file_exists`.
    exit_code: bool,
}

impl Part {
    fn scorer(self) -> Scorer {
        let rule = if self.exit_code {
            ScorerRule::ExitCode { expect: Box::new([0, 3]) }
        } else {
            ScorerRule::FileExists { path: "out".into(), min_bytes: 0 }
        };
        let name = format!("s{}{}", self.weight, if self.required { "r" } else { "o" });
        Scorer { name: name.into(), weight: f64::from(self.weight), at_least: 1.0, required: self.required, rule }
    }

    fn record(self) -> Option<ScorerRecord> {
        let value = if self.said == Said::Passed { 1.0 } else { 0.0 };
        (self.said != Said::Silent).then(|| ScorerRecord {
            name: "s".into(),
            kind: "k".into(),
            value,
            max: 1.0,
            passed: self.said == Said::Passed,
            evidence: "seen".into(),
            broken: self.said == Said::Broken,
            duration_ms: 0,
        })
    }
}

const LIMIT: Duration = Duration::from_secs(90);
const ROOM: Room<'_> = Room { worker: "builder", bytes: 21 << 30, limit_bytes: 20 << 30 };

fn ends() -> Vec<How<'static>> {
    vec![
        How::NotStarted { error: "no such program" },
        How::Lost { why: "the supervisor is gone" },
        How::Killed { why: "the journal cannot be written" },
        How::Signaled { signal: libc::SIGSEGV },
        How::OutOfMemory { limit_bytes: 64 << 20 },
        How::NoRoom(ROOM),
        How::Outgrown(ROOM),
        How::TimedOut { which: TimeLimit::Wall, limit: LIMIT },
        How::TimedOut { which: TimeLimit::Idle, limit: LIMIT },
        How::Cancelled { by: CancelledBy::Person },
        How::Cancelled { by: CancelledBy::FailFast { failed: "build" } },
        How::Cancelled { by: CancelledBy::RunTimeout { limit: LIMIT } },
        How::Exited { code: 0 },
        How::Exited { code: 1 },
        How::Exited { code: 3 },
        How::Exited { code: 255 },
    ]
}

/// The text again, as a list of its sentences: the first whose condition holds gives the verdict.
/// Means are taken in whole quarters, so that no rounding can hide a wrong boundary.
fn as_the_text_says(how: How<'_>, parts: &[Part], missing: usize, quarters: u32) -> (TaskResult, Option<FailureKind>) {
    use FailureKind::{Task, Transport, Verifier};
    use TaskResult::{Fail, Partial, Pass, Skip, Timeout};
    let code = if let How::Exited { code } = how { Some(code) } else { None };
    let cancelled = matches!(how, How::Cancelled { .. });
    let timed_out = matches!(how, How::TimedOut { .. });
    let took_too_much = matches!(how, How::OutOfMemory { .. } | How::NoRoom(_) | How::Outgrown(_));
    let expected = parts.iter().any(|p| p.exit_code) && [0, 3].contains(&code.unwrap_or(-1));
    let broke = |p: &Part| matches!(p.said, Said::Broken | Said::Silent);
    let total: u32 = parts.iter().map(|p| u32::from(p.weight)).sum();
    let gained: u32 = parts.iter().filter(|p| p.said == Said::Passed).map(|p| u32::from(p.weight)).sum();
    let sentences = [
        ("more of its machine than it may take", took_too_much, (Fail, Some(Task))),
        (
            "no exit code, and neither its time nor a person",
            code.is_none() && !timed_out && !cancelled,
            (Fail, Some(Transport)),
        ),
        ("over its time", timed_out, (Timeout, None)),
        ("cancelled", cancelled, (Skip, None)),
        ("a non-zero exit that no exit_code scorer expects", code != Some(0) && !expected, (Fail, Some(Task))),
        ("any required scorer broke", parts.iter().any(|p| p.required && broke(p)), (Fail, Some(Verifier))),
        (
            "any required scorer not passed",
            parts.iter().any(|p| p.required && p.said != Said::Passed),
            (Fail, Some(Task)),
        ),
        ("a required artifact or output missing", missing > 0, (Fail, Some(Task))),
        ("only optional ones not passed", parts.iter().any(|p| p.said != Said::Passed), (Partial, None)),
        ("the weighted mean under pass_score", 4 * gained < quarters * total, (Partial, None)),
        ("otherwise", true, (Pass, None)),
    ];
    sentences.into_iter().find(|(_, holds, _)| *holds).expect("the last one always holds").2
}

/// Every list of up to three scorers; silence only at the end, because records are a prefix.
fn lists() -> Vec<Vec<Part>> {
    let mut all = vec![vec![]];
    let mut last: Vec<Vec<Part>> = all.clone();
    for weight in [1, 2, 1] {
        let mut longer = Vec::new();
        for list in &last {
            for said in [Said::Passed, Said::Not, Said::Broken, Said::Silent] {
                if list.last().is_some_and(|p| p.said == Said::Silent) && said != Said::Silent {
                    continue;
                }
                for required in [true, false] {
                    for exit_code in [true, false] {
                        longer.push([&list[..], &[Part { said, required, weight, exit_code }]].concat());
                    }
                }
            }
        }
        all.extend(longer.iter().cloned());
        last = longer;
    }
    all
}

#[test]
fn the_rule_is_what_the_text_says_for_every_combination() {
    let missing = [
        FileFault { kind: FaultKind::MissingArtifact, path: "report/*.xml" },
        FileFault { kind: FaultKind::MissingOutput, path: "target/app" },
    ];
    let mut seen = std::collections::HashSet::new();
    for parts in lists() {
        let scorers: Vec<_> = parts.iter().map(|p| p.scorer()).collect();
        let records: Vec<_> = parts.iter().filter_map(|p| p.record()).collect();
        for how in ends() {
            for missing in [&missing[..0], &missing[..1], &missing[1..], &missing[..]] {
                for quarters in 0..=4 {
                    let pass_score = f64::from(quarters) / 4.0;
                    let ended = Ended { how, scorers: &scorers, records: &records, faults: missing, pass_score };
                    let got = verdict(&ended);
                    let want = as_the_text_says(how, &parts, missing.len(), quarters);
                    assert_eq!((got.result, got.failure), want, "{ended:#?}");
                    holds_together(&ended, &got);
                    seen.insert(want);
                }
            }
        }
    }
    assert_eq!(seen.len(), 7, "every kind of verdict was met: {seen:?}");
}

/// What is true of every verdict.
fn holds_together(ended: &Ended<'_>, got: &Verdict) {
    assert_eq!(got.failure.is_some(), got.result == TaskResult::Fail);
    assert_eq!(got.reasons.is_empty(), got.result == TaskResult::Pass);
    assert_eq!(got.cause().is_none(), got.result == TaskResult::Pass);
    assert_eq!(
        got.score.is_some(),
        matches!(ended.how, How::Exited { .. }),
        "only a process that came to its end is scored"
    );
    if let Some(score) = &got.score {
        assert!((0.0..=1.0).contains(&score.value) && score.max == Some(1.0));
    }
    let judged = got.score.is_some() && !matches!(got.reasons.first(), Some(Reason::ExitCode { .. }));
    for fault in ended.faults.iter().filter(|_| judged) {
        let named = |r: &Reason| matches!(r, Reason::File { path, .. } if **path == *fault.path);
        assert!(got.reasons.iter().any(named), "a missing pattern is named, whatever else failed");
    }
}

fn exited<'a>(code: i32, scorers: &'a [Scorer], records: &'a [ScorerRecord], pass_score: f64) -> Ended<'a> {
    Ended { how: How::Exited { code }, scorers, records, faults: &[], pass_score }
}

#[test]
fn a_mean_at_the_bound_passes_and_one_under_it_does_not() {
    let optional = |weight| Part { said: Said::Passed, required: true, weight, exit_code: false };
    let scorers: Vec<_> = [1, 2, 7].map(|w| optional(w).scorer()).into();
    let mut records: Vec<_> = [1, 2, 7].iter().filter_map(|w| optional(*w).record()).collect();
    // Ten tenths, added up in the clumsiest way.
    records[0].value = 0.1;
    records[1].value = 0.7;
    let mean = (0.1 + 2.0 * 0.7 + 7.0) / 10.0;
    assert_eq!(verdict(&exited(0, &scorers, &records, 0.85)).result, TaskResult::Pass);
    assert_eq!(verdict(&exited(0, &scorers, &records, 0.850_001)).result, TaskResult::Partial);
    let score = verdict(&exited(0, &scorers, &records, 0.0)).score.unwrap();
    assert!((score.value - mean).abs() < 1e-12);
}

#[test]
fn odd_numbers_never_make_a_mean_that_is_none() {
    let part = Part { said: Said::Passed, required: false, weight: 1, exit_code: false };
    for weight in [f64::MIN_POSITIVE, 1e-300, 1.0, 1e300, f64::MAX] {
        for (value, max) in
            [(f64::NAN, 1.0), (1.0, 0.0), (-1.0, 1.0), (2.0, 1.0), (f64::INFINITY, 1.0), (1.0, f64::NAN)]
        {
            let scorers = [Scorer { weight, ..part.scorer() }, Scorer { weight: f64::MAX, ..part.scorer() }];
            let records = [ScorerRecord { value, max, ..part.record().unwrap() }, part.record().unwrap()];
            let score = verdict(&exited(0, &scorers, &records, 0.5)).score.unwrap();
            assert!((0.0..=1.0).contains(&score.value), "{weight} {value} {max}");
        }
    }
}

#[test]
fn an_exit_code_scorer_inside_a_combination_expects_too() {
    let code = Part { said: Said::Passed, required: true, weight: 1, exit_code: true };
    let any = Scorer {
        rule: ScorerRule::Quorum {
            word: crate::model::scorer::QuorumWord::Any,
            least: 1,
            of: Box::new([code.scorer()]),
        },
        ..code.scorer()
    };
    let records = [code.record().unwrap()];
    assert_eq!(verdict(&exited(3, std::slice::from_ref(&any), &records, 0.0)).result, TaskResult::Pass);
    assert_eq!(verdict(&exited(4, std::slice::from_ref(&any), &records, 0.0)).result, TaskResult::Fail);
}

#[test]
fn causes_say_it_in_one_sentence() {
    let cause =
        |how| verdict(&Ended { how, scorers: &[], records: &[], faults: &[], pass_score: 0.0 }).cause().unwrap();
    let all: Vec<_> = ends().into_iter().filter(|how| *how != How::Exited { code: 0 }).map(cause).collect();
    insta::assert_snapshot!(all.join("\n"), @r#"
    could not be started: no such program
    lost: the supervisor is gone
    killed: the journal cannot be written
    ended by SIGSEGV without an exit code
    took more memory than its limit of 64 MiB
    what it starts from takes 21 GiB, and `attempt_size` of worker `builder` allows 20 GiB: write `attempt_size = "42GiB"` there, or let the task declare less
    its directory on worker `builder` grew to 21 GiB; `attempt_size` allows 20 GiB
    ran longer than its timeout of 1m30s
    printed nothing for its idle_timeout of 1m30s
    interrupted
    cancelled by fail_fast, because `build` failed
    cancelled, because the run's timeout of 1m30s was over
    exit code 1
    exit code 3
    exit code 255
    "#);

    let part = |said, required| Part { said, required, weight: 1, exit_code: false };
    let parts = [part(Said::Not, true), part(Said::Broken, true), part(Said::Not, false)];
    let scorers: Vec<_> = parts.iter().map(|p| p.scorer()).collect();
    let records: Vec<_> = parts.iter().filter_map(|p| p.record()).collect();
    let missing = ["a", "b", "c"].map(|path| FileFault { kind: FaultKind::MissingOutput, path });
    let mut ended = Ended { faults: &missing, ..exited(0, &scorers, &records, 0.5) };
    insta::assert_snapshot!(verdict(&ended).cause().unwrap(), @"scorer `s1r` broke: seen; scorer `s1r` did not pass: seen; required output `a` is missing; required output `b` is missing; and 1 more");
    (ended.scorers, ended.records, ended.faults) = (&scorers[2..], &records[2..], &[]);
    insta::assert_snapshot!(verdict(&ended).cause().unwrap(), @"optional scorer `s1o` did not pass: seen; score 0 is under the pass_score of 0.5");
}
