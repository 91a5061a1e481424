//! Scorers over what real processes leave behind.

use super::support::{Fleet, Told};

/// One task whose scorers are these, and what becomes of it.
#[track_caller]
fn judged(script: &str, scorers: &str, result: &str) -> Told {
    let fleet = Fleet::of(&format!("[tasks.t]\nsh = '''{script}'''\nscorers = [{scorers}]\n"));
    let ran = fleet.run(["run"]);
    let told = match result.split([':', '/']).next() {
        Some("pass") => ran.passes(),
        _ => ran.fails_with(1),
    };
    told.result("t", result)
}

#[test]
fn an_exit_code_may_be_expected() {
    let expect = "{ kind = 'exit_code', expect = [0, 3] }";
    judged("exit 3", expect, "pass");
    judged("exit 4", expect, "fail/task: exit code 4");
    judged("exit 3", "{ kind = 'exit_code', expect = [4] }", "fail/task: exit code 3");
    judged(
        "true",
        "{ kind = 'exit_code', expect = [4] }",
        "fail/task: scorer `exit_code` did not pass: exit code 0, expected 4",
    );
    // A non-zero code that nobody expects fails, whatever the others say.
    judged("touch x; exit 3", "{ kind = 'file_exists', path = 'x' }", "fail/task: exit code 3");
}

#[test]
fn scorers_run_also_after_a_failure_because_their_evidence_is_wanted() {
    let told = judged(
        "touch x; exit 3",
        "{ kind = 'file_exists', path = 'x' }, { kind = 'command', run = 'touch asked' }",
        "fail/task: exit code 3",
    );
    let scorers = told.receipt("t")["scorers"].clone();
    assert_eq!((&scorers[0]["passed"], &scorers[1]["passed"]), (&true.into(), &true.into()), "{scorers}");
    told.has_file("asked");
}

#[test]
fn a_death_by_a_signal_is_not_judged() {
    let told = Fleet::of("[tasks.t]\nsh = 'kill -SEGV $$'\nscorers = [{ kind = 'command', run = 'touch asked' }]\n")
        .run(["run"])
        .fails_with(9)
        .has_no_file("asked");
    let receipt = told.receipt("t");
    assert_eq!((&receipt["failure_kind"], &receipt["signal"]), (&"transport".into(), &11.into()), "{receipt}");
    assert!(receipt["score"].is_null() && receipt.get("exit_code").is_none(), "{receipt}");
}

#[test]
fn files_are_looked_for() {
    let scorer = "{ kind = 'file_exists', path = 'x', min_bytes = 6 }";
    judged("echo 12345 > x", scorer, "pass");
    judged("echo 12345 > y; ln -s y x", scorer, "pass");
    for script in ["echo 1234 > x", "true", "mkdir x", "ln -s /etc/passwd x"] {
        Fleet::of(&format!("[tasks.t]\nsh = '{script}'\nscorers = [{scorer}]\n"))
            .run(["run"])
            .fails_with(1)
            .says("fail     t  TIME  task: scorer `file_exists` did not pass: ");
    }
}

#[test]
fn text_is_looked_for_in_files_and_in_each_stream() {
    let script = "echo to out; echo to err >&2; printf 'a\\nb 42\\n' > x";
    let on = |place: &str, pattern: &str| format!("{{ kind = 'regex_match', {place}, pattern = '{pattern}' }}");
    judged(script, &on("stream = 'stdout'", r"^to out\n$"), "pass");
    judged(script, &on("stream = 'stderr'", r"(?m)^to err$"), "pass");
    judged(script, &on("path = 'x'", r"(?m)^b \d+$"), "pass");
    for (place, pattern) in
        [("stream = 'stdout'", "err"), ("stream = 'stderr'", "out"), ("path = 'x'", "^b"), ("path = 'y'", "a")]
    {
        let fleet = Fleet::of(&format!("[tasks.t]\nsh = '''{script}'''\nscorers = [{}]\n", on(place, pattern)));
        fleet.run(["run"]).fails_with(1).says("task: scorer `regex_match` did not pass: ");
    }
    let fleet =
        Fleet::of(&format!("[tasks.t]\nsh = \"printf '\\\\377' > x\"\nscorers = [{}]\n", on("path = 'x'", "a")));
    fleet.run(["run"]).fails_with(1).says("fail     t  TIME  verifier: scorer `regex_match` broke: ");
}

#[test]
fn streams_that_are_looked_at_are_still_logged() {
    let fleet = judged(
        "echo to out; echo to err >&2",
        "{ kind = 'regex_match', stream = 'stdout', pattern = 'to out' }, { kind = 'exit_code' }",
        "pass",
    );
    let log = fleet.then().log("t");
    assert!(log.contains("to out\n") && log.contains("to err\n") && log.len() == 14, "{log}");
}

#[test]
fn values_are_looked_for_in_json() {
    let script = r#"echo '{"total": {"lines": 81.5, "tool": "cov 2.1", "ok": false}, "list": [1, 5]}' > x.json"#;
    let ask = |rest: &str| format!("{{ kind = 'json_path', path = 'x.json', {rest} }}");
    for rest in [
        "query = '$.total.lines', at_least = 80, at_most = 82",
        "query = '.total.tool', matches = '^cov'",
        "query = '$.list[*]', equals = 5",
        "query = '$.total'",
        "query = '$.total.ok', equals = false",
    ] {
        judged(script, &ask(rest), "pass");
    }
    for rest in ["query = '$.total.lines', at_least = 82", "query = '$.nothing'", "query = '$.total.ok'"] {
        let fleet = Fleet::of(&format!("[tasks.t]\nsh = '''{script}'''\nscorers = [{}]\n", ask(rest)));
        fleet.run(["run"]).fails_with(1).says("fail     t  TIME  task: scorer `json_path` did not pass: ");
    }
    let fleet = Fleet::of(&format!("[tasks.t]\nsh = 'echo no json > x.json'\nscorers = [{}]\n", ask("query = '$.a'")));
    fleet.run(["run"]).fails_with(1).says("task: scorer `json_path` did not pass: ");
}

#[test]
fn a_program_may_judge_in_the_tasks_own_place() {
    let scorer = |rest: &str| {
        format!(
            "[tasks.t]\nworkdir = 'sub'\nenv = {{ MINE = 'yes' }}\nrun = 'true'\nscorers = [{{ kind = 'command', {rest} }}]\n"
        )
    };
    let at = |rest: &str| {
        Fleet::of(&scorer(rest)).file("sub/here", "").file("sub/slow", "#!/bin/sh\nsleep 600\n").executable("sub/slow")
    };
    at(r#"run = ["sh", "-c", "test -e here && test $MINE = yes && test $FLEET_TASK = t"]"#).run(["run"]).passes();
    at("run = 'false'").run(["run"]).fails_with(1).result("t", "fail/task: scorer `command` did not pass: exit code 1");
    at(r#"run = ["sh", "-c", "exit 125"]"#).run(["run"]).fails_with(1).says("task: scorer");
    for broken in [
        r#"run = ["sh", "-c", "exit 126"]"#,
        r#"run = ["sh", "-c", "exit 127"]"#,
        r#"run = ["sh", "-c", "kill -KILL $$"]"#,
        "run = 'no-such-judge'",
        "run = './slow', timeout = '100ms'",
        "run = 'echo no score', score = 'stdout-json'",
        r#"run = ["echo", '{"value": 11, "max": 10}'], score = "stdout-json""#,
    ] {
        at(broken).run(["run"]).fails_with(1).says("fail     t  TIME  verifier: scorer `command` broke: ");
    }
}

#[test]
fn a_printed_score_must_reach_its_share() {
    let score = |at_least: &str| {
        Fleet::of(&format!(
            "[tasks.t]\nrun = 'true'\nscorers = [{{ kind = 'command', name = 'reader', at_least = {at_least}, \
             run = ['echo', '{{\"value\": 7, \"max\": 10, \"notes\": \"short\"}}'], score = 'stdout-json' }}]\n"
        ))
    };
    let told = score("0.7").run(["run"]).passes();
    assert_eq!(told.receipt("t")["score"]["value"], 0.7);
    score("0.75").run(["run"]).fails_with(1).result("t", "fail/task: scorer `reader` did not pass: 7 of 10: short");
}

#[test]
fn what_a_scorer_prints_stands_behind_what_it_judged() {
    let scorer = "{ kind = 'command', name = 'look', run = 'echo not mine' }";
    judged("echo mine", scorer, "pass").log("t", "mine\n[fleet: scorer look]\nnot mine\n");
}

#[test]
fn files_that_cannot_be_read_are_the_tasks_fault_and_stop_nothing_else() {
    Fleet::of(
        "[tasks.t]\nsh = 'ln -s /etc/passwd out.txt'\nartifacts = [{ path = 'out.txt', kind = 'report' }]\n\
         [tasks.next]\nrun = 'true'\npriority = -1\n",
    )
    .run(["run", "-j1"])
    .fails_with(1)
    .says("out.txt")
    .result("next", "pass");
}

#[test]
fn an_output_that_is_a_link_is_taken_as_one_and_not_followed() {
    let told = Fleet::of("[tasks.t]\nsh = 'ln -s /etc/passwd out.txt'\noutputs = ['out.txt']\n").run(["run"]).passes();
    let output = told.receipt("t")["outputs"][0].clone();
    assert_eq!((&output["kind"], &output["size_bytes"]), (&"symlink".into(), &"/etc/passwd".len().into()));
}

#[test]
fn no_scorer_is_started_once_the_run_is_being_stopped() {
    // The stop arrives while `t` waits for its scorer, or while the scorer runs: neither may take its ten minutes.
    Fleet::of(
        "[tasks.t]\nrun = 'true'\nscorers = [{ kind = 'command', run = 'sleep 600', timeout = '20m' }]\n\
         [tasks.bad]\nrun = 'false'\n[policies]\nfail_fast = true\n[workers.here]\nhost = 'local'\nslots = 2\n",
    )
    .run(["run"])
    .fails_with(1)
    .result("t", "skip: cancelled by fail_fast, because `bad` failed");
}

#[test]
fn a_test_report_is_counted() {
    let report = |body: &str, tests: &str| {
        Fleet::of(&format!("[tasks.t]\nrun = 'true'\nscorers = [{{ kind = 'junit', path = 'out/*.xml', {tests} }}]\n"))
            .file("out/a.xml", format!("<testsuite name='s'>{body}</testsuite>"))
    };
    let good = "<testcase name='a'/><testcase name='b'><skipped/></testcase><testcase name='c'/>";
    report(good, "min_tests = 2").run(["run"]).passes();
    report(good, "min_tests = 3")
        .run(["run"])
        .fails_with(1)
        .says("fail     t  TIME  task: scorer `junit` did not pass");
    let bad = "<testcase name='a'/><testcase name='adds'><failure message='by zero'/></testcase>";
    report(bad, "min_tests = 1").run(["run"]).fails_with(1).says("adds");
    report(bad, "at_least = 0.5").run(["run"]).passes();
    report("<testcase", "min_tests = 1").run(["run"]).fails_with(1).says("verifier: scorer `junit` broke");
    let none = Fleet::of("[tasks.t]\nrun = 'true'\nscorers = [{ kind = 'junit', path = 'out.xml' }]\n");
    none.run(["run"]).fails_with(1).says("task: scorer `junit` did not pass");
}

#[test]
fn scorers_by_name_combine() {
    let file = |least: u32, letter: &str| {
        Fleet::of(&format!(
            r#"
            [scorers.long]
            kind = "regex_match"
            stream = "stdout"
            pattern = ".{{10}}"
            [scorers.polite]
            kind = "regex_match"
            stream = "stdout"
            pattern = "please"
            [scorers.signed]
            kind = "command"
            run = "test -e signature"
            [scorers.panel]
            kind = "quorum"
            least = {least}
            of = ["long", "polite", "signed"]
            [tasks.letter]
            run = "echo '{letter}'"
            scorers = ["panel"]
            [tasks.every]
            run = "echo '{letter}'"
            scorers = [{{ kind = "all", of = ["long", "polite"] }}]
            [tasks.some]
            run = "echo '{letter}'"
            scorers = [{{ kind = "any", of = ["polite", "signed"] }}]
            "#
        ))
    };
    let told = file(2, "please write soon").run(["run"]).passes();
    assert_eq!(told.receipt("letter")["scorers"][0]["kind"], "quorum");
    file(3, "please write soon").run(["run", "letter"]).fails_with(1).says("task: scorer `panel` did not pass");
    let told = file(1, "a letter of some length").run(["run"]).fails_with(1).result("letter", "pass");
    for task in ["every", "some"] {
        assert_eq!(told.receipt(task)["result"], "fail", "{task}");
    }
}

#[test]
fn weights_make_the_score_and_the_score_may_be_too_low() {
    let scorers = |pass: &str| {
        format!(
            "[tasks.t]\nrun = 'true'\npass_score = {pass}\nscorers = [{{ kind = 'exit_code', weight = 3 }}, \
             {{ kind = 'command', weight = 1, at_least = 0.2, score = 'stdout-json', run = ['echo', '{{\"value\": 0.2}}'] }}]\n"
        )
    };
    let told = Fleet::of(&scorers("0.8")).run(["run"]).passes();
    assert_eq!(told.receipt("t")["score"]["value"], 0.8);
    Fleet::of(&scorers("0.81"))
        .run(["run"])
        .fails_with(1)
        .result("t", "partial: score 0.8 is under the pass_score of 0.81");
}

#[test]
fn an_optional_scorer_that_says_no_or_breaks_makes_it_partial() {
    for script in ["exit 1", "exit 127"] {
        let fleet = Fleet::of(&format!(
            "[tasks.t]\nrun = 'true'\nscorers = [{{ kind = 'exit_code' }}, {{ kind = 'command', required = false, run = ['sh', '-c', '{script}'] }}]\n"
        ));
        let told = fleet.run(["run"]).fails_with(1);
        let receipt = told.receipt("t");
        assert_eq!(receipt["result"], "partial", "{receipt}");
        assert!(receipt.get("failure_kind").is_none(), "{receipt}");
    }
}

#[test]
fn a_broken_required_scorer_is_the_verifiers_failure() {
    judged(
        "echo abc > x",
        "{ kind = 'regex_match', path = 'x', pattern = 'a', max_bytes = '2B' }, { kind = 'file_exists', path = 'no' }",
        "fail/verifier: scorer `regex_match` broke: `x` has more than the 2 bytes that are read; scorer `file_exists` did not pass: `no` is missing",
    );
}
