//! `all`, `any`, `quorum`, and what the engine is told to prepare.

use std::time::Duration;

use super::*;
use crate::model::scorer::{QuorumWord, Source};

fn combination(word: QuorumWord, least: u32, of: Vec<Scorer>) -> Scorer {
    scorer(ScorerRule::Quorum { word, least, of: of.into() })
}

/// A scorer that answers as told in an empty workspace.
fn that_answers(want: Answer) -> Scorer {
    scorer(match want {
        Answer::Pass => ScorerRule::ExitCode { expect: Box::new([0]) },
        Answer::Task => ScorerRule::FileExists { path: "missing".into(), min_bytes: 0 },
        Answer::Verifier => {
            ScorerRule::RegexMatch { source: Source::Stdout, pattern: "(".into(), max_bytes: SCORED_BYTES_MAX }
        }
    })
}

/// What the whole would answer if every broken part were heard after all, in every way it could have answered.
fn possible(parts: &[Answer], least: u32) -> Answer {
    let passed = u32::try_from(parts.iter().filter(|a| **a == Answer::Pass).count()).unwrap();
    let broken = parts.iter().filter(|a| **a == Answer::Verifier).count();
    let outcomes: Vec<bool> = (0..1_u32 << broken).map(|ways| passed + ways.count_ones() >= least).collect();
    match (outcomes.contains(&true), outcomes.contains(&false)) {
        (true, false) => Answer::Pass,
        (false, true) => Answer::Task,
        _ => Answer::Verifier,
    }
}

#[test]
fn a_combination_is_broken_only_when_the_decision_hangs_on_it() {
    let place = Place::new();
    for count in 1..=4_u32 {
        for code in 0..3_u32.pow(count) {
            let parts: Vec<_> = (0..count)
                .map(|i| [Answer::Pass, Answer::Task, Answer::Verifier][(code / 3_u32.pow(i) % 3) as usize])
                .collect();
            for least in 1..=count {
                let of = parts.iter().map(|want| that_answers(*want)).collect();
                let record = score(&[combination(QuorumWord::Quorum, least, of)], &place.evidence()).remove(0);
                assert_eq!(answer(&record), possible(&parts, least), "{least} of {parts:?}");
                let passed = parts.iter().filter(|a| **a == Answer::Pass).count();
                let share = f64::from(u32::try_from(passed).unwrap()) / f64::from(count);
                assert!((record.value - share).abs() < 1e-12 && (record.max - 1.0).abs() < 1e-12);
            }
        }
    }
}

#[test]
fn combinations_nest_and_say_which_part_failed() {
    let place = Place::new();
    let inner = combination(QuorumWord::Any, 1, vec![that_answers(Answer::Task), that_answers(Answer::Pass)]);
    let outer = combination(QuorumWord::All, 2, vec![inner, that_answers(Answer::Task)]);
    let record = score(&[outer], &place.evidence()).remove(0);
    assert_eq!(&*record.kind, "all");
    assert_eq!(record.evidence, "1 of 2 passed; `file_exists` did not pass: `missing` is missing");
}

#[test]
fn commands_are_listed_and_answered_in_one_order() {
    let command = |name: &str| Scorer {
        name: name.into(),
        ..scorer(ScorerRule::Command {
            argv: Box::new([name.into()]),
            score_from_stdout: false,
            timeout: Duration::from_secs(1),
        })
    };
    let scorers = [
        command("a"),
        combination(
            QuorumWord::All,
            2,
            vec![command("b"), combination(QuorumWord::Any, 1, vec![command("c"), command("d")])],
        ),
        that_answers(Answer::Pass),
        command("e"),
    ];
    let listed: Vec<_> = commands(&scorers).iter().map(|rule| rule.scorer).collect();
    assert_eq!(listed, ["a", "b", "c", "d", "e"]);

    let place = Place::new();
    for failing in 0..5 {
        let ends: Vec<_> = (0..5)
            .map(|i| CommandEnd {
                how: CommandHow::Exited(i32::from(i == failing)),
                stdout: Vec::new(),
                duration_ms: 10,
            })
            .collect();
        let records = score(&scorers, &Evidence { commands: &ends, ..place.evidence() });
        let passed: Vec<_> = records.iter().map(|record| record.passed).collect();
        // `c` or `d` alone may fail, because `any` needs one of them.
        assert_eq!(passed, [failing != 0, failing != 1, true, failing != 4], "command {failing} fails");
        assert!(records[1].duration_ms >= 30, "a combination takes the time of its programs");
    }
}

#[test]
fn streams_are_wanted_as_far_as_they_are_read() {
    let on = |source, max_bytes| scorer(ScorerRule::RegexMatch { source, pattern: "x".into(), max_bytes });
    assert_eq!(wants(default_scorers()), Wants::default());
    assert_eq!(wants(&[on(Source::Path("f".into()), 9)]), Wants::default());
    let nested = combination(QuorumWord::All, 1, vec![on(Source::Stdout, 50), on(Source::Stderr, 7)]);
    assert_eq!(wants(&[on(Source::Stdout, 10), nested]), Wants { stdout: Some(50), stderr: Some(7) });
}

#[test]
fn the_list_of_kinds_has_every_kind() {
    let of = || vec![that_answers(Answer::Pass)];
    let mut rules: Vec<_> = [Answer::Pass, Answer::Task, Answer::Verifier].map(|a| that_answers(a).rule).into();
    rules.push(ScorerRule::JsonPath {
        path: "f".into(),
        query: "$".into(),
        test: crate::model::scorer::JsonTest::default(),
        max_bytes: 1,
    });
    rules.push(ScorerRule::Command {
        argv: Box::new(["x".into()]),
        score_from_stdout: false,
        timeout: Duration::from_secs(1),
    });
    rules.push(ScorerRule::Junit { path: "f".into(), min_tests: 0, max_bytes: 1 });
    rules.extend([QuorumWord::All, QuorumWord::Any, QuorumWord::Quorum].map(|w| combination(w, 1, of()).rule));
    let kinds: Vec<_> = rules.iter().map(ScorerRule::kind).collect();
    assert_eq!(kinds, KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>());
}
