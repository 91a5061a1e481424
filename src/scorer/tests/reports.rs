//! `junit` on reports shaped as the common tools write them, and on what only looks like one.

use super::*;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/junit");

fn junit(path: &str, min_tests: u64) -> ScorerRule {
    ScorerRule::Junit { path: path.into(), min_tests, max_bytes: SCORED_BYTES_MAX }
}

/// One report, judged with `min_tests` and `at_least`.
fn judged(report: impl AsRef<[u8]>, min_tests: u64, at_least: f64) -> ScorerRecord {
    let place = Place::new().file("r.xml", report);
    score(&[Scorer { at_least, ..scorer(junit("r.xml", min_tests)) }], &place.evidence()).remove(0)
}

#[test]
fn reports_of_the_common_tools_are_counted() {
    let mut lines = Vec::new();
    let mut names: Vec<_> =
        std::fs::read_dir(FIXTURES).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    for name in names {
        let record = judged(std::fs::read(format!("{FIXTURES}/{name}")).unwrap(), 1, 1.0);
        lines.push(format!("{name}: {:?} {}/{}\n  {}", answer(&record), record.value, record.max, record.evidence));
    }
    insta::assert_snapshot!(lines.join("\n"), @r#"
    gtest-disabled.xml: Pass 1/1
      1 passed, 0 failed, 1 skipped
    nextest-fail.xml: Task 1/3
      1 passed, 2 failed, 0 skipped: `demo math::divides`, `demo math::overflows`
    nextest-flaky.xml: Pass 1/1
      1 passed, 0 failed, 0 skipped
    nextest-pass.xml: Pass 3/3
      3 passed, 0 failed, 0 skipped
    nextest-rerun-fail.xml: Task 0/1
      0 passed, 1 failed, 0 skipped: `demo net::connects`
    pytest-mixed.xml: Task 2/4
      2 passed, 2 failed, 2 skipped: `tests.test_app test_bad`, `tests.test_broken`
    surefire-fail.xml: Task 1/3
      1 passed, 2 failed, 1 skipped: `org.example.AppTest adds`, `org.example.AppTest connects`
    surefire-pass.xml: Pass 2/2
      2 passed, 0 failed, 0 skipped
    truncated.xml: Verifier 0/1
      `r.xml` is not a test report: syntax error: attribute value not closed: `"` not found before end of input at byte 288
    "#);
}

#[test]
fn min_tests_counts_tests_that_ran() {
    let report =
        "<testsuite><testcase name='a'/><testcase name='b'/><testcase name='c'><skipped/></testcase></testsuite>";
    for (min_tests, want) in [(0, Answer::Pass), (2, Answer::Pass), (3, Answer::Task)] {
        assert_eq!(answer(&judged(report, min_tests, 1.0)), want, "{min_tests}");
    }
    assert_eq!(answer(&judged(report, 3, 0.5)), Answer::Task, "too few tests are too few at any at_least");
    let record = judged(report, 3, 1.0);
    assert_eq!((record.value, record.max), (2.0, 3.0));
    assert_eq!(record.evidence, "2 passed, 0 failed, 1 skipped; at least 3 must run");
    for empty in ["<testsuites/>", "<testsuites></testsuites>", "<testsuite tests='0' failures='0'/>"] {
        assert_eq!(answer(&judged(empty, 0, 1.0)), Answer::Pass);
        assert_eq!(answer(&judged(empty, 1, 1.0)), Answer::Task);
    }
}

#[test]
fn at_least_allows_a_share_of_failures() {
    let report = format!(
        "<testsuite>{}<testcase name='bad'><failure/></testcase></testsuite>",
        "<testcase name='good'/>".repeat(19)
    );
    assert_eq!(answer(&judged(&report, 1, 0.95)), Answer::Pass);
    assert_eq!(answer(&judged(&report, 1, 0.96)), Answer::Task);
    let record = judged(&report, 1, 1.0);
    assert_eq!((record.value, record.max), (19.0, 20.0));
    assert_eq!(record.evidence, "19 passed, 1 failed, 0 skipped: `bad`");
}

#[test]
fn a_failure_is_one_wherever_it_stands() {
    for failing in [
        "<testsuite><testcase name='a'><error/></testcase></testsuite>",
        "<testsuite><testcase name='a'><skipped/><failure/></testcase></testsuite>",
        "<testsuite><testcase name='a'><failure/><error/></testcase></testsuite>",
        "<testsuite><error/><testcase name='a'/></testsuite>",
        "<testsuite failures='1'><testcase name='a'/></testsuite>",
        "<testsuite errors='1'><testcase name='a'/></testsuite>",
        "<testsuites failures='1'><testsuite><testcase name='a'/></testsuite></testsuites>",
        "<testsuites><testsuite><testsuite><testcase name='a'><failure/></testcase></testsuite></testsuite></testsuites>",
        "<testsuites><testcase name='a'><failure/></testcase></testsuites>",
        "<j:testsuite xmlns:j='u'><j:testcase name='a'><j:failure/></j:testcase></j:testsuite>",
    ] {
        let record = judged(failing, 0, 1.0);
        assert_eq!(answer(&record), Answer::Task, "{failing}");
        assert!(record.evidence.contains(" 1 failed"), "{failing}: {}", record.evidence);
    }
    // What a suite declares is not counted again on top of what it shows.
    let declared = "<testsuites failures='2' errors='0'><testsuite failures='1'><testcase name='a'><failure/></testcase></testsuite>\
                    <testsuite failures='1'><testcase name='b'><failure/></testcase></testsuite></testsuites>";
    assert!(judged(declared, 0, 1.0).evidence.starts_with("0 passed, 2 failed"));
    let most = format!("<testsuite failures='{0}' errors='{0}'><testcase name='a'/></testsuite>", u64::MAX);
    assert_eq!(answer(&judged(most, 0, 1.0)), Answer::Task);
    // Words inside the output of a test are not results.
    let quiet = "<testsuite><testcase name='a'><system-out>x<failure/></system-out></testcase><properties><error/></properties></testsuite>";
    assert_eq!(answer(&judged(quiet, 1, 1.0)), Answer::Pass);
}

#[test]
fn what_is_no_report_is_the_scorers_trouble() {
    for bad in [
        "",
        "  \n",
        "not xml",
        "{}",
        "<html><body/></html>",
        "<testcase name='a'/>",
        "<testsuite>",
        "<testsuite><testcase name='a'></testsuite>",
        "<testsuite></testsuites>",
        "<testsuite/><testsuite/>",
        "<testsuite/>trailing",
        "leading<testsuite/>",
        "</testsuite>",
        "<testsuite failures='many'/>",
        "<testsuite failures='-1'/>",
        "<testsuite name=unquoted/>",
        "<testsuite><!-- never closed </testsuite>",
        "<testsuite><![CDATA[ never closed </testsuite>",
    ] {
        let record = judged(bad, 0, 0.0);
        assert_eq!(answer(&record), Answer::Verifier, "{bad}: {}", record.evidence);
    }
    let deep = format!("<testsuite>{}{}</testsuite>", "<a>".repeat(100_000), "</a>".repeat(100_000));
    assert_eq!(answer(&judged(deep, 0, 0.0)), Answer::Verifier);
    // Comparing each with each would take minutes.
    let attributes = (0..500_000).map(|i| format!(" a{i}=''")).collect::<Vec<_>>().concat();
    assert_eq!(answer(&judged(format!("<testsuite{attributes}/>"), 0, 0.0)), Answer::Verifier);
    assert_eq!(answer(&judged("<testsuite name='a' name='b'/>", 0, 0.0)), Answer::Verifier);
    assert_eq!(answer(&judged(b"<testsuite name='\xff'/>", 0, 0.0)), Answer::Verifier);
    let place = Place::new().file("r.xml", "<testsuite/>");
    place.answers(ScorerRule::Junit { path: "r.xml".into(), min_tests: 0, max_bytes: 11 }, Answer::Verifier);
    place.answers(ScorerRule::Junit { path: "r.xml".into(), min_tests: 0, max_bytes: 12 }, Answer::Pass);
    place.answers(junit("[", 0), Answer::Verifier);
}

#[test]
fn entities_are_never_expanded() {
    let bomb = (1..30)
        .map(|i| format!("<!ENTITY e{i} '{}'>", format!("&e{};", i - 1).repeat(10)))
        .collect::<Vec<_>>()
        .concat();
    let bomb = format!(
        "<?xml version='1.0'?><!DOCTYPE t [<!ENTITY e0 'ha'>{bomb}<!ENTITY file SYSTEM 'file:///etc/passwd'>]>\
         <testsuite name='&e29;'><testcase name='&e29;&file;'><failure>&e29;</failure></testcase></testsuite>"
    );
    let record = judged(bomb, 1, 1.0);
    assert_eq!(answer(&record), Answer::Task);
    assert_eq!(record.evidence, "0 passed, 1 failed, 0 skipped: `&e29;&file;`");
}

#[test]
fn a_report_that_was_not_written_is_the_tasks_failure() {
    let place = Place::new().file("out/keep", "").link("away.xml", "../outside/file");
    for path in ["r.xml", "out/r.xml", "out/*.xml", "**/*.xml", "out", "away.xml", "none/*.xml"] {
        place.answers(junit(path, 0), Answer::Task);
    }
}

#[test]
fn several_reports_are_summed() {
    let one = "<testsuite><testcase name='a'/><testcase name='b'><skipped/></testcase></testsuite>";
    let two = "<testsuite><testcase name='c'/><testcase name='d'/></testsuite>";
    let place = Place::new().file("r/one.xml", one).file("r/deep/two.xml", two).file("r/notes.txt", "no");
    let record = place.answers(junit("r/**/*.xml", 3), Answer::Pass);
    assert_eq!(record.evidence, "3 passed, 0 failed, 1 skipped in 2 files");
    place.answers(junit("r/*.xml", 3), Answer::Task);
    let place = place.file("r/three.xml", "<testsuite>");
    place.answers(junit("r/**/*.xml", 3), Answer::Verifier);
}

#[test]
fn names_of_failures_are_bounded_and_safe_to_print() {
    let long = "é".repeat(500);
    let cases = (0..40)
        .map(|i| format!("<testcase classname='c' name='t{i}&#27;[31m{long}'><failure/></testcase>"))
        .collect::<Vec<_>>()
        .concat();
    let report = format!("<testsuite>{cases}</testsuite>");
    let record = judged(report, 1, 1.0);
    assert_eq!(answer(&record), Answer::Task);
    assert!(record.evidence.contains("`c t0 [31m"), "{}", record.evidence);
    assert!(record.evidence.ends_with("and 35 more") || record.evidence.ends_with('…'), "{}", record.evidence);
}
