//! What becomes of a run when its tasks pass, fail, are skipped or are not wanted.

use super::support::Fleet;

#[test]
fn without_fail_fast_everything_that_does_not_need_the_failure_runs() {
    Fleet::of(
        r#"
        [tasks.bad]
        run = "false"
        [tasks.child]
        needs = ["bad"]
        run = "touch child"
        [tasks.grandchild]
        needs = ["child"]
        run = "touch grandchild"
        [tasks.other]
        needs = [{ task = "start" }]
        run = "touch other"
        [tasks.start]
        run = "true"
        "#,
    )
    .run(["run", "--keep-going", "-j1"])
    .fails_with(1)
    .result("child", "skip: it needs `bad`, which did not pass")
    .result("grandchild", "skip: it needs `child`, which was skipped because of `bad`")
    .has_no_file("child")
    .has_no_file("grandchild")
    .has_file("other");
}

/// `bad` fails once `runs` is there; `runs` would go on for ever; `later` waits for a slot.
const FAIL_FAST: &str = r#"
    [workers.w]
    host = "local"
    slots = 2
    [tasks.bad]
    priority = 2
    sh = "while [ ! -e begun ]; do sleep 0.01; done; exit 7"
    on_failure = ["handler"]
    [tasks.runs]
    priority = 1
    sh = "trap 'echo asked; exit 0' TERM; touch begun; while :; do sleep 0.02; done"
    on_failure = ["never"]
    [tasks.later]
    run = "touch later"
    [tasks.handler]
    run = "touch handled"
    [tasks.never]
    run = "touch never"
"#;

#[test]
fn fail_fast_cancels_the_rest_and_cancelled_is_not_failed() {
    for (file, word) in [("", "--fail-fast"), ("[policies]\nfail_fast = true\n", "--no-progress")] {
        let told = Fleet::of(&format!("{file}{FAIL_FAST}"))
            .run(["run", word])
            .fails_with(1)
            .result("bad", "fail/task: exit code 7")
            .result("runs", "skip: cancelled by fail_fast, because `bad` failed")
            .result("later", "skip: cancelled by fail_fast, because `bad` failed")
            .prints("runs", "asked\n")
            .has_no_file("later")
            .has_file("handled")
            .has_no_file("never");
        assert_eq!(told.receipt("runs")["attempt"], 1);
        assert_eq!(told.receipt("later")["attempt"], 0);
    }
}

#[test]
fn a_partial_result_fails_the_run_and_so_ends_it_with_fail_fast() {
    let fleet = Fleet::of(
        r#"
        [tasks.half]
        priority = 1
        scorers = [{ kind = "file_exists", path = "never", required = false }]
        run = "true"
        [tasks.good]
        priority = 2
        run = "true"
        [tasks.later]
        run = "touch later"
        "#,
    );
    fleet
        .run(["run", "-j1", "--fail-fast"])
        .fails_with(1)
        .result("later", "skip: cancelled by fail_fast, because `half` failed")
        .says("to rerun       fleet run half later\n");
    fleet.run(["run", "-j1"]).fails_with(1).has_file("later").says("to rerun       fleet run half\n");
}

#[test]
fn the_command_line_decides_over_the_file_whether_to_go_on() {
    let fleet = Fleet::of(
        "[policies]\nfail_fast = true\n[tasks.bad]\npriority = 1\nrun = 'false'\n[tasks.later]\nrun = 'touch later'\n",
    );
    fleet.run(["run", "-j1"]).fails_with(1).has_no_file("later");
    fleet.run(["run", "-j1", "-k"]).fails_with(1).has_file("later");
    fleet.run(["run", "-k", "--fail-fast"]).fails_with(2);
}

#[test]
fn an_allowed_failure_holds_nothing_back_and_fails_nothing() {
    Fleet::of(
        r#"
        [policies]
        fail_fast = true
        [tasks.shaky]
        allow_failure = true
        run = "false"
        on_failure = ["handler"]
        [tasks.after]
        needs = ["shaky"]
        run = "touch after"
        [tasks.handler]
        run = "touch handled"
        "#,
    )
    .run(["run", "-j1"])
    .passes()
    .result("shaky", "fail/task: exit code 1")
    .says("(allowed)")
    .has_file("after")
    .has_file("handled");
}

#[test]
fn a_failure_that_is_not_the_tasks_own_can_be_allowed_too() {
    Fleet::of("[tasks.a]\nallow_failure = true\nrun = 'no-such-program'\n[tasks.b]\nneeds = ['a']\nrun = 'touch b'\n")
        .run(["run"])
        .passes()
        .has_file("b");
}

#[test]
fn always_runs_whatever_happened_before_it() {
    Fleet::of(
        r#"
        [tasks.bad]
        run = "false"
        [tasks.skipped]
        needs = ["bad"]
        run = "true"
        [tasks.slow]
        sh = "sleep 0.1; touch slow"
        [tasks.cleanup]
        needs = ["skipped", "slow"]
        always = true
        sh = "test -e slow && touch cleaned"
        [tasks.after]
        needs = ["cleanup"]
        run = "touch after"
        "#,
    )
    .run(["run"])
    .fails_with(1)
    .result("skipped", "skip: it needs `bad`, which did not pass")
    .result("cleanup", "pass")
    .has_file("cleaned")
    .has_file("after");
}

#[test]
fn a_handler_runs_once_and_only_after_a_failure() {
    let fleet = Fleet::of(
        r#"
        [tasks.one]
        sh = "test -e fine"
        on_failure = ["report", "also"]
        [tasks.two]
        sh = "test -e fine"
        on_failure = ["report"]
        [tasks.late]
        timeout = "100ms"
        sh = "test -e fine || sleep 600"
        on_failure = ["timed"]
        [tasks.report]
        sh = "echo once >> reports"
        [tasks.also]
        run = "touch also"
        [tasks.timed]
        run = "touch timed"
        "#,
    );
    let fleet =
        fleet.run(["run"]).fails_with(1).file_says("reports", "once\n").has_file("also").has_file("timed").then();
    for name in ["reports", "also", "timed"] {
        std::fs::remove_file(fleet.path(name)).expect("it is there");
    }
    let told = fleet.file("fine", "").run(["run"]).passes();
    for name in ["reports", "also", "timed"] {
        assert!(!told.screen().contains(&format!("start    {name}")));
    }
    told.has_no_file("reports").has_no_file("also").has_no_file("timed");
}

#[test]
fn a_handler_that_fails_does_not_hide_the_failure_it_was_for() {
    Fleet::of("[tasks.bad]\nrun = 'false'\non_failure = ['worse']\n[tasks.worse]\nrun = 'no-such-program'\n")
        .run(["run"])
        .fails_with(9)
        .result("bad", "fail/task: exit code 1");
}

#[test]
fn a_partial_result_is_enough_only_where_it_is_accepted() {
    Fleet::of(
        r#"
        [tasks.half]
        run = "true"
        scorers = [{ kind = "exit_code" }, { kind = "file_exists", path = "nothing", required = false }]
        [tasks.strict]
        needs = ["half"]
        run = "touch strict"
        [tasks.lenient]
        needs = [{ task = "half", accept = "partial" }]
        run = "touch lenient"
        "#,
    )
    .run(["run"])
    .fails_with(1)
    .says("partial  half")
    .result("strict", "skip: it needs `half`, which did not pass")
    .has_no_file("strict")
    .has_file("lenient");
}

#[test]
fn a_task_that_nobody_wants_here_counts_as_satisfied() {
    Fleet::of(
        r#"
        [tasks.elsewhere]
        when = { os = ["windows", "freebsd"] }
        run = "touch elsewhere"
        [tasks.variable]
        when = { env = { WANTED = "yes", UNSET = false } }
        run = "touch variable"
        [tasks.unset]
        when = { env = "UNSET" }
        run = "touch unset"
        [tasks.file]
        when = { exists = ["no/*", "fleet.*"] }
        run = "touch file"
        [tasks.both]
        when = { exists = "fleet.toml", arch = ["riscv64", "s390x"] }
        run = "touch both"
        [tasks.after]
        needs = ["elsewhere", "unset", "both"]
        run = "touch after"
        "#,
    )
    .var("WANTED", "yes")
    .run(["run"])
    .passes()
    .has_no_file("elsewhere")
    .has_file("variable")
    .has_no_file("unset")
    .has_file("file")
    .has_no_file("both")
    .has_file("after");
}

#[test]
fn a_branch_is_that_of_the_workspace() {
    let fleet = Fleet::of("[tasks.a]\nwhen = { branch = ['main', 'release/*'] }\nrun = 'touch ran'\n");
    fleet.run(["run"]).passes().has_no_file("ran");
    let fleet =
        fleet.file(".git/HEAD", "ref: refs/heads/release/1.4\n").file(".git/objects/x", "").file(".git/refs/x", "");
    fleet.run(["run"]).passes().has_file("ran");
}

#[test]
fn needs_by_tag_by_matrix_and_by_file_are_needs() {
    let told = Fleet::of(
        r#"
        [tasks.last]
        needs = ["tag:quick", "grid", "made"]
        run = "true"
        [tasks.reads]
        inputs = ["made.txt"]
        run = "cat made.txt"
        [tasks.made]
        outputs = ["made.txt"]
        sh = "echo made > made.txt"
        [tasks.tagged]
        tags = ["quick"]
        run = "true"
        [tasks.grid]
        matrix = { x = ["a", "b"], n = [1, 2], exclude = [{ x = "b", n = 2 }] }
        sh = "echo ${matrix.x}${matrix.n} ${task.name} $FLEET_TASK"
        "#,
    )
    .run(["run", "-j1"])
    .passes()
    .log("reads", "made\n")
    .log("grid:b:1", "b1 grid:b:1 grid:b:1\n");
    let started = told.then().started();
    let place =
        |name: &str| started.iter().position(|task| task == name).unwrap_or_else(|| panic!("{name}: {started:?}"));
    for before in ["tagged", "grid:a:1", "grid:a:2", "grid:b:1", "made"] {
        assert!(place(before) < place("last"), "{before}: {started:?}");
    }
    assert!(place("made") < place("reads"), "{started:?}");
    assert!(!started.iter().any(|task| task == "grid:b:2"), "{started:?}");
}

#[test]
fn outputs_and_artifacts_that_are_missing_fail_the_task() {
    Fleet::of(
        r#"
        [tasks.output]
        outputs = ["made.txt", "never/*.bin"]
        run = "touch made.txt"
        [tasks.artifact]
        artifacts = [{ path = "no.log", kind = "log" }, { path = "maybe.log", required = false }]
        run = "true"
        [tasks.optional]
        artifacts = [{ path = "maybe.log", required = false }]
        run = "true"
        [tasks.failed]
        outputs = ["late.txt"]
        sh = "exit 4"
        "#,
    )
    .run(["run"])
    .fails_with(1)
    .result("output", "fail/task: required output `never/*.bin` is missing")
    .result("artifact", "fail/task: required artifact `no.log` is missing")
    .result("optional", "pass")
    .result("failed", "fail/task: exit code 4");
}
