//! The rows of each kind that are not about what is at a path.

use std::time::Instant;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::model::scorer::{JsonTest, Source};

#[test]
fn exit_code_passes_for_expected_codes_only() {
    let place = Place::new();
    for (expect, code, want) in [
        (&[0][..], 0, Answer::Pass),
        (&[0], 1, Answer::Task),
        (&[0, 3], 3, Answer::Pass),
        (&[3], 0, Answer::Task),
        (&[0], 255, Answer::Task),
    ] {
        let rule = ScorerRule::ExitCode { expect: expect.into() };
        let record = score(&[scorer(rule)], &Evidence { exit_code: code, ..place.evidence() }).remove(0);
        assert_eq!(answer(&record), want, "{expect:?} {code}");
    }
    let record = score(default_scorers(), &Evidence { exit_code: 2, ..place.evidence() }).remove(0);
    assert_eq!((&*record.name, record.evidence.as_str()), ("exit_code", "exit code 2, expected 0"));
}

fn regex(source: Source, pattern: &str) -> ScorerRule {
    ScorerRule::RegexMatch { source, pattern: pattern.into(), max_bytes: SCORED_BYTES_MAX }
}

#[test]
fn regex_match_finds_a_match_anywhere() {
    let place = Place::new().file("log", "one\ntwo: 22 passed\n").file("latin", b"caf\xe9").file("empty", "");
    let on = |path: &str, pattern: &str| regex(Source::Path(path.into()), pattern);
    let record = place.answers(on("log", r"\d+ passed"), Answer::Pass);
    assert_eq!(record.evidence, "matched in line 2 of `log`");
    place.answers(on("log", "(?m)^two"), Answer::Pass);
    place.answers(on("log", "^two"), Answer::Task);
    place.answers(on("log", "three"), Answer::Task);
    place.answers(on("empty", "^$"), Answer::Pass);
    place.answers(on("empty", "."), Answer::Task);
    place.answers(on("latin", "caf"), Answer::Verifier);
    place.answers(on("log", "("), Answer::Verifier);
    place.answers(on("log", r"(\w{500}){500}"), Answer::Verifier);
}

#[test]
fn regex_match_reads_streams_only_when_it_has_all_of_them() {
    let place = Place::new();
    let record = |rule: ScorerRule, stdout: Captured<'_>, stderr: Captured<'_>| {
        answer(&score(&[scorer(rule)], &Evidence { stdout, stderr, ..place.evidence() })[0])
    };
    let whole = |bytes: &'static [u8]| Captured { bytes, total: bytes.len() as u64 };
    let none = Captured::default();
    assert_eq!(record(regex(Source::Stdout, "ok"), whole(b"all ok"), none), Answer::Pass);
    assert_eq!(record(regex(Source::Stdout, "ok"), none, whole(b"all ok")), Answer::Task);
    assert_eq!(record(regex(Source::Stderr, "ok"), none, whole(b"all ok")), Answer::Pass);
    assert_eq!(record(regex(Source::Stdout, "ok"), Captured { bytes: b"all ok", total: 7 }, none), Answer::Verifier);
    assert_eq!(record(regex(Source::Stdout, "ok"), whole(b"ok \xff"), none), Answer::Verifier);
    let short = ScorerRule::RegexMatch { source: Source::Stdout, pattern: "ok".into(), max_bytes: 5 };
    assert_eq!(record(short, whole(b"all ok"), none), Answer::Verifier);
}

#[test]
fn no_pattern_takes_more_than_linear_time() {
    let place = Place::new().file("text", "a".repeat(1 << 20));
    let began = Instant::now();
    place.answers(regex(Source::Path("text".into()), "^(a+)+b$"), Answer::Task);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn json_path_tests_the_value_it_finds() {
    let document = json!({
        "ok": true, "no": false, "nil": null, "zero": 0, "text": "v1.4.0", "empty": "",
        "n": 0.9, "list": [1, 5, 9], "big": 9_007_199_254_740_993_u64, "map": {"a": 1, "b": [2.0]},
    });
    let place = Place::new().file("r.json", document.to_string());
    let check = |query: &str, test: JsonTest, want: Answer| {
        let rule =
            ScorerRule::JsonPath { path: "r.json".into(), query: query.into(), test, max_bytes: SCORED_BYTES_MAX };
        place.answers(rule, want)
    };
    let none = JsonTest::default;
    for found in ["$.ok", "$.zero", "$.text", "$.empty", "$.list", "$.map", "$.list[?@ > 4]"] {
        check(found, none(), Answer::Pass);
    }
    for not in ["$.no", "$.nil", "$.missing", "$.list[7]", "$.list[?@ > 10]"] {
        check(not, none(), Answer::Task);
    }
    check("$.[", none(), Answer::Verifier);
    check("", none(), Answer::Verifier);

    let equals = |value: Value| JsonTest { equals: Some(value), ..none() };
    check("$.no", equals(json!(false)), Answer::Pass);
    check("$.nil", equals(Value::Null), Answer::Pass);
    check("$.missing", equals(Value::Null), Answer::Task);
    check("$.zero", equals(json!(0.0)), Answer::Pass);
    check("$.text", equals(json!("v1.4.0")), Answer::Pass);
    check("$.text", equals(json!("v1.4.1")), Answer::Task);
    check("$.map", equals(json!({"b": [2], "a": 1.0})), Answer::Pass);
    check("$.map", equals(json!({"a": 1})), Answer::Task);
    check("$.big", equals(json!(9_007_199_254_740_993_u64)), Answer::Pass);
    check("$.big", equals(json!(9_007_199_254_740_992_u64)), Answer::Task);

    let range = |at_least, at_most| JsonTest { at_least, at_most, ..none() };
    check("$.n", range(Some(0.9), None), Answer::Pass);
    check("$.n", range(Some(0.91), None), Answer::Task);
    check("$.n", range(None, Some(0.9)), Answer::Pass);
    check("$.n", range(None, Some(0.89)), Answer::Task);
    check("$.text", range(Some(0.0), None), Answer::Task);
    check("$.list[*]", range(Some(4.0), Some(6.0)), Answer::Pass);
    let record = check("$.list[*]", range(Some(6.0), Some(8.0)), Answer::Task);
    assert_eq!(
        record.evidence,
        "none of the 3 values of $.list[*] will do, wanted at_least 6 and at_most 8; the first is 1"
    );

    let matches = |pattern: &str| JsonTest { matches: Some(pattern.into()), ..none() };
    check("$.text", matches(r"^v\d+\."), Answer::Pass);
    check("$.text", matches("^w"), Answer::Task);
    check("$.n", matches("0"), Answer::Task);
    check("$.text", matches("("), Answer::Verifier);
}

#[test]
fn json_path_calls_bad_json_the_tasks_failure() {
    let deep = "[".repeat(100_000);
    for text in ["", "{", "{\"a\": 1} x", "nope", "{'a': 1}", "[1,]", "NaN", deep.as_str()] {
        let place = Place::new().file("r.json", text);
        let rule = ScorerRule::JsonPath {
            path: "r.json".into(),
            query: "$".into(),
            test: JsonTest::default(),
            max_bytes: SCORED_BYTES_MAX,
        };
        place.answers(rule.clone(), Answer::Task);
        std::fs::write(place.path("r.json"), b"\"\xff\"").unwrap();
        place.answers(rule, Answer::Task);
    }
}

fn command(score_from_stdout: bool) -> ScorerRule {
    ScorerRule::Command { argv: Box::new(["./check".into()]), score_from_stdout, timeout: Duration::from_mins(1) }
}

fn ended(how: CommandHow, stdout: &str) -> CommandEnd {
    CommandEnd { how, stdout: stdout.into(), duration_ms: 1200 }
}

fn judged(rule: ScorerRule, at_least: f64, ends: &[CommandEnd]) -> ScorerRecord {
    let place = Place::new();
    let scorers = [Scorer { at_least, ..scorer(rule) }];
    score(&scorers, &Evidence { commands: ends, ..place.evidence() }).remove(0)
}

#[test]
fn command_answers_by_its_exit() {
    for code in -1..=256 {
        let want = match code {
            0 => Answer::Pass,
            1..=125 => Answer::Task,
            _ => Answer::Verifier,
        };
        let record = judged(command(false), 1.0, &[ended(CommandHow::Exited(code), "whatever it prints")]);
        assert_eq!(answer(&record), want, "exit code {code}");
        assert!(record.duration_ms >= 1200, "the time is that of the program");
    }
    let not_started = CommandHow::NotStarted("no such file".into());
    for how in [CommandHow::Signaled(9), CommandHow::TimedOut, CommandHow::Outgrown, not_started] {
        let printed = r#"{"value": 1}"#;
        assert_eq!(answer(&judged(command(false), 1.0, &[ended(how.clone(), "")])), Answer::Verifier);
        assert_eq!(answer(&judged(command(true), 0.0, &[ended(how, printed)])), Answer::Verifier);
    }
    assert_eq!(answer(&judged(command(false), 1.0, &[])), Answer::Verifier);
}

#[test]
fn command_reads_the_score_it_is_asked_to_read() {
    let check = |stdout: &str, at_least: f64, want: Answer| {
        let record = judged(command(true), at_least, &[ended(CommandHow::Exited(0), stdout)]);
        assert_eq!(answer(&record), want, "{stdout}: {}", record.evidence);
        record
    };
    let record = check(r#"{"value": 8, "max": 10, "notes": "two are\nodd", "more": 1}"#, 0.8, Answer::Pass);
    assert_eq!((record.value, record.max, record.evidence.as_str()), (8.0, 10.0, "8 of 10: two are odd"));
    check("{\"value\": 7.99, \"max\": 10}\n", 0.8, Answer::Task);
    check(r#"{"value": 1}"#, 1.0, Answer::Pass);
    check(r#"{"value": 0, "max": 5}"#, 0.0, Answer::Pass);
    for unreadable in [
        "",
        "8",
        "null",
        "[8, 10]",
        "{}",
        r#"{"max": 10}"#,
        r#"{"value": "8"}"#,
        r#"{"value": null}"#,
        r#"{"value": 11, "max": 10}"#,
        r#"{"value": -1, "max": 10}"#,
        r#"{"value": 0, "max": 0}"#,
        r#"{"value": 2}"#,
        r#"{"value": 1e999}"#,
        r#"{"value": 1, "max": -1}"#,
        r#"{"value": 1} {"value": 1}"#,
    ] {
        check(unreadable, 0.0, Answer::Verifier);
    }
    check(&format!("{{\"value\": 1{}}}", " ".repeat(SCORE_BYTES_MAX)), 1.0, Answer::Verifier);

    let refused = judged(command(true), 0.5, &[ended(CommandHow::Exited(1), r#"{"value": 9, "max": 10}"#)]);
    assert_eq!(answer(&refused), Answer::Task);
    assert_eq!((refused.value, refused.max), (9.0, 10.0), "its score counts in the mean all the same");
    let refused = judged(command(true), 0.0, &[ended(CommandHow::Exited(1), "not a score")]);
    assert_eq!(answer(&refused), Answer::Task);
}

#[test]
fn at_least_zero_lets_a_plain_no_pass_but_nothing_that_broke() {
    let place = Place::new();
    let lenient = |rule| Scorer { at_least: 0.0, ..scorer(rule) };
    let missing = lenient(ScorerRule::FileExists { path: "no".into(), min_bytes: 0 });
    let record = score(&[missing], &place.evidence()).remove(0);
    assert_eq!((answer(&record), record.value), (Answer::Pass, 0.0));
    let bad = score(&[lenient(regex(Source::Stdout, "("))], &place.evidence()).remove(0);
    assert_eq!(answer(&bad), Answer::Verifier);
}

proptest! {
    #[test]
    fn no_bytes_make_a_scorer_panic(bytes in prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..400),
        r#"[<>/?!&;a-c"'= \-\[\]{}:,0-9]{0,120}"#.prop_map(String::into_bytes),
        "(<testsuite|<testcase|<failure|<error|<skipped|</testsuite>|</testcase>|/>|>| name='a'| failures='2'|&x;|<!\\[CDATA\\[|\\]\\]>){0,30}"
            .prop_map(String::into_bytes),
        r#"(\{|\}|\[|\]|"value":|"max":|,|1e9|-2|null|"s"|"a":){0,30}"#.prop_map(String::into_bytes),
    ]) {
        let place = Place::new().file("f", &bytes);
        let captured = Captured { bytes: &bytes, total: bytes.len() as u64 };
        let path: Box<str> = "f".into();
        let rules = [
            regex(Source::Path(path.clone()), "[a-c]+"),
            regex(Source::Stdout, "<"),
            ScorerRule::JsonPath { path: path.clone(), query: "$..*".into(), test: JsonTest::default(), max_bytes: 300 },
            ScorerRule::Junit { path, min_tests: 1, max_bytes: 300 },
            command(true),
        ];
        let ends = [CommandEnd { how: CommandHow::Exited(0), stdout: bytes.clone(), duration_ms: 0 }];
        let evidence = Evidence { stdout: captured, commands: &ends, ..place.evidence() };
        for record in score(&rules.map(scorer), &evidence) {
            answer(&record);
        }
    }

    #[test]
    fn no_pattern_or_query_makes_a_scorer_panic(pattern in r"[\[\](){}*+?.$@|\\a-c0-9,:'^-]{0,40}") {
        let place = Place::new().file("f", r#"{"a": [1, {"b": "c"}]}"#);
        let test = JsonTest { matches: Some(pattern.clone().into()), ..JsonTest::default() };
        let query = |query: &str, test| ScorerRule::JsonPath { path: "f".into(), query: query.into(), test, max_bytes: 300 };
        answer(&place.record(regex(Source::Path("f".into()), &pattern)));
        answer(&place.record(query("$..*", test)));
        answer(&place.record(query(&format!("${pattern}"), JsonTest::default())));
        answer(&place.record(ScorerRule::Junit { path: pattern.into(), min_tests: 0, max_bytes: 300 }));
    }
}
