//! Several attempts of one task: how many, where, what is left of each, and what they come to. Waits are a millisecond,
//! or an hour where the story is about what happens meanwhile; none of them decides a test.

use rustix::process::Signal;
use serde_json::{Value, json};

use super::audit::can_trace;
use super::support::{Fleet, journal, until};

/// One field of each attempt of a task.
fn attempts(fleet: &Fleet, task: &str, field: &str) -> Vec<Value> {
    let receipt = fleet.receipt(task);
    let attempts = receipt["attempts"].as_array().cloned().unwrap_or_default();
    attempts.into_iter().map(|mut one| one[field].take()).collect()
}

/// What an attempt printed in the latest run.
fn log(fleet: &Fleet, task: &str, attempt: u32) -> String {
    std::fs::read_to_string(fleet.run_dir().join(format!("logs/{task}.{attempt}.log"))).unwrap_or_default()
}

/// The events of a task in the latest run.
fn events(fleet: &Fleet, task: &str) -> Vec<Value> {
    let lines = journal::read(&fleet.run_dir()).into_iter();
    lines.map(|mut line| line["event"].take()).filter(|event| event["task_id"] == task).collect()
}

fn is_held(fleet: &Fleet, task: &str) -> bool {
    let runs = std::fs::read_dir(fleet.path(".fleet/runs")).ok().and_then(|mut runs| runs.next());
    runs.is_some_and(|run| run.expect("it can be listed").path().join("journal.jsonl").exists())
        && events(fleet, task).last().is_some_and(|event| event["state"] == "restarted")
}

#[test]
fn a_pass_after_failures_is_flaky_and_each_attempt_is_on_record() {
    let fleet = Fleet::of(
        r#"
        [tasks.shaky]
        retry = { initial_backoff = "1ms" }
        scratch = true
        sh = 'echo "this is $FLEET_ATTEMPT in $FLEET_ATTEMPT_DIR"; [ "$FLEET_ATTEMPT" = 3 ]'
        [tasks.after]
        needs = ["shaky"]
        run = "true"
        "#,
    );
    let told = fleet
        .run(["run"])
        .passes()
        .says("retry    shaky  2/3 in TIME  task: exit code 1\n")
        .says("retry    shaky  3/3 in TIME  task: exit code 1\n")
        .says("start    shaky  attempt 3\n")
        .says("pass     shaky  TIME  flaky\n")
        .says("flaky          shaky\n")
        .says("2 passed (1 flaky) in ")
        .result("shaky", "pass")
        .result("after", "pass");
    let receipt = told.receipt("shaky");
    assert_eq!((&receipt["attempt"], &receipt["flaky"]), (&3.into(), &true.into()));
    assert_eq!(receipt["log"]["path"], "logs/shaky.3.log");
    assert_eq!(attempts(&fleet, "shaky", "result"), ["fail", "fail", "pass"]);
    assert_eq!(attempts(&fleet, "shaky", "attempt"), [1, 2, 3]);
    assert_eq!(attempts(&fleet, "shaky", "failure_kind"), [json!("task"), json!("task"), Value::Null]);
    assert_eq!(
        attempts(&fleet, "shaky", "exit_code"),
        [json!(1), json!(1), Value::Null],
        "the last one's is the receipt's"
    );
    assert_eq!(receipt["exit_code"], 0);
    for n in 1..=3 {
        let text = log(&fleet, "shaky", n);
        assert!(text.starts_with(&format!("this is {n} in ")) && text.ends_with(&format!("/shaky.{n}\n")), "{text}");
    }
    let logs = attempts(&fleet, "shaky", "log");
    assert_eq!((&logs[0]["path"], &logs[1]["path"]), (&"logs/shaky.1.log".into(), &"logs/shaky.2.log".into()));
    fleet.run(["logs", "shaky", "--attempt", "2"]).passes().says("this is 2 in ");
    fleet.run(["logs", "shaky"]).passes().says("this is 3 in ");
    fleet.run(["status"]).passes().says("shaky  pass               3 ").says("TIME  flaky\n");
    let status: Value = serde_json::from_str(fleet.run(["status", "--json"]).passes().stdout()).expect("JSON");
    assert_eq!(status["tasks"][0]["receipt"]["flaky"], true);
}

#[test]
fn the_waits_on_record_are_those_of_the_seed() {
    let retry = fleet::model::Retry {
        max_attempts: 4,
        initial_backoff: std::time::Duration::from_millis(20),
        max_backoff: std::time::Duration::from_millis(50),
        ..fleet::model::Retry::default()
    };
    let fleet = Fleet::of(
        r#"
        [tasks.bad]
        retry = { max_attempts = 4, initial_backoff = "20ms", max_backoff = "50ms" }
        sh = 'exit "$FLEET_ATTEMPT"'
        "#,
    );
    fleet.run(["run"]).fails_with(1).result("bad", "fail/task: exit code 4");
    let restarts: Vec<Value> = events(&fleet, "bad").into_iter().filter(|e| e["state"] == "restarted").collect();
    let waits: Vec<u64> = restarts.iter().map(|e| e["extra"]["wait_ms"].as_u64().expect("a wait")).collect();
    let expected: Vec<u64> = (1..=3)
        .map(|n| u64::try_from(fleet::policy::retry::wait(&retry, 1, "bad", n).as_millis()).expect("short"))
        .collect();
    assert_eq!(waits, expected);
    // No attempt begins before its wait is over, by the run's own clock.
    let at = |event: &Value| event["timestamp"].as_str().expect("a time").parse::<jiff::Timestamp>().expect("RFC 3339");
    let all = events(&fleet, "bad");
    for (restart, wait) in restarts.iter().zip(waits) {
        let after = all.iter().position(|event| event["seq"] == restart["seq"]).expect("it is one of them");
        let start = all[after..].iter().find(|event| event["state"] == "starting").expect("another attempt");
        let waited = at(start).as_millisecond() - at(restart).as_millisecond();
        assert!(waited >= i64::try_from(wait).expect("short"), "{waited} < {wait}");
    }
}

#[test]
fn the_last_attempt_is_the_result_and_handlers_wait_for_it() {
    let fleet = Fleet::of(
        r#"
        [tasks.bad]
        retry = { initial_backoff = "1ms" }
        sh = 'exit "$FLEET_ATTEMPT"'
        on_failure = ["handler"]
        [tasks.handler]
        sh = "echo x >> handled"
        [tasks.after]
        needs = ["bad"]
        run = "true"
        "#,
    );
    let told = fleet
        .run(["run"])
        .fails_with(1)
        .result("bad", "fail/task: exit code 3")
        .result("after", "skip: it needs `bad`, which did not pass")
        .file_says("handled", "x\n");
    assert!(told.receipt("bad").get("flaky").is_none());
    assert_eq!(fleet.started(), ["bad", "bad", "bad", "handler"]);
    let states: Vec<String> =
        events(&fleet, "bad").iter().map(|event| event["state"].as_str().expect("a state").to_owned()).collect();
    let attempt = ["queued", "starting", "running"];
    let expected: Vec<&str> = [&attempt[..], &["restarted"], &attempt, &["restarted"], &attempt, &["failed"]].concat();
    assert_eq!(states, expected);
}

#[test]
fn only_the_kinds_that_are_named_are_retried() {
    let fleet = Fleet::of(
        r#"
        [defaults]
        retry = { max_attempts = 2, initial_backoff = "1ms" }
        [tasks.not-task]
        retry = { initial_backoff = "1ms", on = ["transport"] }
        run = "false"
        [tasks.lost]
        sh = "kill -9 $$"
        [tasks.not-lost]
        retry = { initial_backoff = "1ms", on = ["task"] }
        sh = "kill -9 $$"
        [tasks.verifier]
        run = "true"
        scorers = [{ kind = "command", run = ["sh", "-c", "exit 126"] }]
        [tasks.slow]
        timeout = "50ms"
        run = "sleep 600"
        [tasks.slow-again]
        retry = { max_attempts = 2, initial_backoff = "0s", on = ["timeout"] }
        timeout = "50ms"
        run = "sleep 600"
        [tasks.partial]
        run = "true"
        scorers = [{ kind = "file_exists", path = "no", required = false }]
        [tasks.common]
        run = "false"
        [tasks.once]
        retry = { max_attempts = 1 }
        run = "false"
        "#,
    );
    // A process that was killed is nobody's failure but the machine's, so infrastructure is the worse exit code.
    let told = fleet.run(["run"]).fails_with(9);
    for (task, results) in [
        ("not-task", &["fail"][..]),
        ("lost", &["fail", "fail"]),
        ("not-lost", &["fail"]),
        ("verifier", &["fail"]),
        ("slow", &["timeout"]),
        ("slow-again", &["timeout", "timeout"]),
        ("partial", &["partial"]),
        ("common", &["fail", "fail"]),
        ("once", &["fail"]),
    ] {
        assert_eq!(attempts(&fleet, task, "result"), results, "{task}");
    }
    drop(told.result("verifier", "fail/verifier: scorer `command` broke: exit code 126: the program could not be run"));
}

#[test]
fn a_later_attempt_goes_to_another_worker() {
    let fleet = Fleet::of(
        r#"
        [workers.a]
        host = "local"
        slots = 2
        [workers.b]
        host = "local"
        slots = 1
        [tasks.bad]
        retry = { max_attempts = 4, initial_backoff = "1ms" }
        run = "false"
        [tasks.only]
        worker = { id = "a" }
        retry = { max_attempts = 2, initial_backoff = "1ms" }
        run = "false"
        "#,
    );
    fleet
        .run(["run"])
        .fails_with(1)
        .says("retry    bad  2/4 in TIME  task: exit code 1  (worker a)\n")
        .says("start    bad  on b  attempt 2\n");
    assert_eq!(attempts(&fleet, "bad", "worker_id"), ["a", "b", "a", "b"]);
    assert_eq!(attempts(&fleet, "only", "worker_id"), ["a", "a"], "no other is left");
}

#[test]
fn a_task_whose_worker_is_lost_is_tried_on_another_or_not_at_all() {
    let task = r#"
        [tasks.t]
        retry = { initial_backoff = "1ms" }
        sh = 'if [ "$FLEET_ATTEMPT" = 1 ]; then kill -9 "$PPID"; exec sleep 600; fi'
        "#;
    let two = "[workers.a]\nhost = 'local'\nslots = 1\n[workers.b]\nhost = 'local'\nslots = 1\n";
    let fleet = Fleet::of(&format!("{two}{task}"));
    drop(fleet.run(["run"]).passes().result("t", "pass"));
    assert_eq!(attempts(&fleet, "t", "worker_id"), ["a", "b"]);
    let fleet = Fleet::of(task);
    fleet
        .run(["run"])
        .fails_with(9)
        .result("t", "fail/transport: every worker that it may run on is lost: `local` (its supervisor died)");
    assert_eq!(attempts(&fleet, "t", "cause"), ["lost: its supervisor died"]);
}

#[test]
fn a_task_that_is_cancelled_between_attempts_is_skipped_and_they_are_kept() {
    let fleet = Fleet::of(
        r#"
        [tasks.bad]
        retry = { initial_backoff = "1h", max_backoff = "1h" }
        sh = "echo tried; exit 3"
        on_failure = ["handler"]
        [tasks.handler]
        run = "touch handled"
        "#,
    );
    let run = fleet.start(["run"]);
    until("it waits to be tried again", || is_held(&fleet, "bad"));
    fleet.run(["status"]).passes().says("bad   restarted          1 ");
    run.signal(Signal::INT);
    let told = run.ends().fails_with(130).result("bad", "skip: interrupted").has_no_file("handled");
    let receipt = told.receipt("bad");
    assert_eq!((&receipt["attempt"], &receipt["worker_id"]), (&0.into(), &"".into()), "none of them decided");
    assert_eq!(attempts(&fleet, "bad", "exit_code"), [3]);
    assert_eq!(fleet.started(), ["bad"]);
}

#[test]
fn fail_fast_does_not_wait_for_a_later_attempt() {
    let fleet = Fleet::of(
        r#"
        [workers.w]
        host = "local"
        slots = 2
        [policies]
        fail_fast = true
        [tasks.bad]
        retry = { initial_backoff = "1h", max_backoff = "1h" }
        run = "false"
        [tasks.other]
        sh = "while [ ! -e go ]; do sleep 0.01; done; exit 1"
        "#,
    );
    let run = fleet.start(["run"]);
    until("it waits to be tried again", || is_held(&fleet, "bad"));
    let fleet = fleet.file("go", "");
    run.ends().fails_with(1).result("bad", "skip: cancelled by fail_fast, because `other` failed");
    assert_eq!(attempts(&fleet, "bad", "result"), ["fail"]);
}

#[test]
fn a_failure_that_is_retried_does_not_set_off_fail_fast() {
    let fleet = Fleet::of(
        r#"
        [policies]
        fail_fast = true
        [tasks.shaky]
        retry = { initial_backoff = "1ms" }
        sh = '[ "$FLEET_ATTEMPT" = 2 ]'
        [tasks.after]
        needs = ["shaky"]
        run = "true"
        "#,
    );
    fleet.run(["run"]).passes().result("after", "pass");
}

#[test]
fn an_attempt_that_is_cancelled_is_not_tried_again() {
    let fleet = Fleet::of("[tasks.long]\nretry = {}\nsh = 'touch begun; sleep 600'\n");
    let mut run = fleet.start(["run"]);
    run.awaits("begun");
    run.signal(Signal::INT);
    run.ends().fails_with(130).result("long", "skip: interrupted");
    assert_eq!(attempts(&fleet, "long", "result"), ["skip"]);
}

#[test]
fn what_a_failed_attempt_made_is_not_what_the_task_made() {
    let fleet = Fleet::of(
        r#"
        [tasks.shaky]
        retry = { initial_backoff = "1ms" }
        artifacts = [{ path = "made/*", required = false }]
        outputs = ["made/*", "!made/old"]
        sh = 'rm -rf made; mkdir made; echo x > "made/$FLEET_ATTEMPT"; [ "$FLEET_ATTEMPT" = 2 ]'
        "#,
    );
    let told = fleet.run(["run"]).passes();
    let receipt = told.receipt("shaky");
    for key in ["artifacts", "outputs"] {
        let paths: Vec<_> = receipt[key].as_array().expect("a list").iter().map(|one| &one["path"]).collect();
        assert_eq!(paths, ["made/2"], "{key}");
    }
}

#[test]
fn programs_are_told_of_each_attempt() {
    let fleet = Fleet::of(
        r#"
        [tasks.shaky]
        retry = { initial_backoff = "1ms" }
        sh = '[ "$FLEET_ATTEMPT" = 2 ]'
        "#,
    );
    let told = fleet.run(["run", "--json"]).passes();
    let events: Vec<Value> =
        told.stdout().lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    let restarted = events.iter().find(|event| event["state"] == "restarted").expect("it was");
    let typed: journal::WorkerEvent = serde_json::from_value(restarted.clone()).expect("the protocol knows it");
    assert_eq!(typed.state, journal::State::Restarted { restart_count: 1 });
    assert_eq!(restarted["worker_id"], "local");
    assert_eq!((&restarted["extra"]["attempt"], &restarted["extra"]["wait_ms"]), (&1.into(), &1.into()));
    assert_eq!(restarted["extra"]["record"]["cause"], "exit code 1");
    let queued: Vec<_> = events.iter().filter(|event| event["state"] == "queued").collect();
    assert!(queued.len() == 2 && queued.iter().all(|event| event["worker_id"] == ""), "{queued:?}");
    let last = events.last().expect("it ended");
    assert_eq!((&last["state"], &last["extra"]["receipt"]["flaky"]), (&"completed".into(), &true.into()));
}

#[test]
fn repetitions_stop_when_the_verdict_is_known() {
    let fleet = Fleet::of(
        r#"
        [tasks.good]
        repeat = { runs = 5, quorum = 2 }
        run = "true"
        [tasks.bad]
        repeat = { runs = 5, quorum = 4 }
        run = "false"
        [tasks.mixed]
        repeat = { runs = 3, quorum = 2 }
        sh = '[ "$FLEET_ATTEMPT" != 2 ]'
        [tasks.all]
        repeat = { runs = 3 }
        sh = '[ "$FLEET_ATTEMPT" != 2 ]'
        [tasks.loss]
        repeat = { runs = 2, quorum = 2 }
        sh = "kill -9 $$"
        allow_failure = true
        "#,
    );
    fleet
        .run(["run"])
        .fails_with(1)
        .says("repeat   good  2/5  pass\n")
        .says("repeat   bad  2/5  fail: exit code 1\n")
        .result("good", "pass")
        .result("bad", "fail/task: 0 of 2 repetitions passed, 4 have to; the last: exit code 1")
        .result("mixed", "pass")
        .result("all", "fail/task: 1 of 2 repetitions passed, 3 have to; the last: exit code 1")
        .result(
            "loss",
            "fail/transport: 0 of 1 repetitions passed, 2 have to; the last: ended by SIGKILL without an exit code",
        );
    assert_eq!(attempts(&fleet, "good", "repetition"), [1, 2]);
    assert_eq!(attempts(&fleet, "mixed", "result"), ["pass", "fail", "pass"]);
    assert_eq!(fleet.receipt("mixed")["flaky"], true);
    assert!(fleet.receipt("good").get("flaky").is_none());
    let third = 1.0 / 3.0;
    let close = |told: &Value, expected: &[f64]| {
        let told: Vec<f64> = told.as_array().expect("a list").iter().map(|n| n.as_f64().expect("a number")).collect();
        told.len() == expected.len() && told.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12)
    };
    for (task, counts, at, hat) in [
        ("good", [5, 2, 2, 2], &[1.0, 1.0][..], &[1.0, 1.0][..]),
        ("bad", [5, 4, 2, 0], &[0.0, 0.0], &[0.0, 0.0]),
        ("mixed", [3, 2, 3, 2], &[2.0 * third, 1.0, 1.0], &[2.0 * third, third, 0.0]),
    ] {
        let repeat = &fleet.receipt(task)["repeat"];
        let told = ["runs", "quorum", "done", "passed"].map(|key| repeat[key].as_u64().expect("a number"));
        assert_eq!(told, counts, "{task}");
        assert!(close(&repeat["pass_at_k"], at) && close(&repeat["pass_hat_k"], hat), "{repeat}");
    }
}

#[test]
fn a_repetition_may_be_retried() {
    let fleet = Fleet::of(
        r#"
        [tasks.t]
        repeat = { runs = 3, quorum = 2 }
        retry = { max_attempts = 2, initial_backoff = "1ms" }
        sh = '[ "$FLEET_ATTEMPT" != 1 ]'
        "#,
    );
    fleet.run(["run"]).passes().says("retry    t  2/2 in TIME").says("repeat   t  2/3  pass\n");
    assert_eq!(attempts(&fleet, "t", "repetition"), [1, 1, 2]);
    let repeat = &fleet.receipt("t")["repeat"];
    assert_eq!((&repeat["done"], &repeat["passed"]), (&2.into(), &2.into()));
}

#[test]
fn a_verdict_of_repetitions_is_reused_only_for_the_same_question() {
    let tasks = |more: &str| format!("[tasks.t]\ninputs = []\nsh = 'echo x >> ran'\n{more}\n");
    let fleet = Fleet::of(&tasks("repeat = { runs = 3, quorum = 2 }"));
    let ran = |fleet: Fleet, lines: usize| {
        let fleet = fleet.run(["run"]).passes().then();
        assert_eq!(fleet.read("ran").lines().count(), lines);
        fleet
    };
    let again = |fleet: Fleet, more: &str| {
        fleet.file("fleet.toml", format!("version = 1\nname = \"story\"\nseed = 1\n{}", tasks(more)))
    };
    let fleet = ran(ran(fleet, 2), 2);
    let fleet = ran(again(fleet, "repeat = { runs = 3, quorum = 2 }\nretry = {}"), 2);
    let fleet = ran(again(fleet, "repeat = { runs = 3, quorum = 3 }"), 5);
    fleet.run(["run"]).passes();
    drop(ran(again(fleet, ""), 6));
}

#[test]
fn the_plan_says_what_holds_and_where_it_was_said() {
    let fleet = Fleet::new()
        .file(
            "fleet.toml",
            "version = 1\nname = 'x'\ninclude = ['more.toml']\n[tasks.own]\nrun = 'true'\nretry = { max_attempts = 1 }\n\
             repeat = { runs = 3 }\n[tasks.common]\nrun = 'true'\n",
        )
        .file(
            "more.toml",
            "[defaults]\nretry = { initial_backoff = '1s', max_backoff = '30s', on = ['timeout'] }\non_unknown = 'hold'\n",
        );
    let plan: Value = serde_json::from_str(fleet.run(["plan", "--json"]).passes().stdout()).expect("JSON");
    let field = |task: &str, key: &str| {
        let step = plan["steps"].as_array().expect("steps").iter().find(|step| step["task"] == task).expect("a step");
        let field = &step["fields"][key];
        (field["value"].clone(), format!("{} {}", field["origin"].as_str().expect("a word"), field["line"]))
    };
    let retry = |attempts: u32, initial: &str, max: &str, on: &[&str]| {
        json!({
            "max_attempts": attempts, "initial_backoff": initial, "max_backoff": max, "multiplier": 2.0, "on": on,
        })
    };
    assert_eq!(field("own", "retry"), (retry(1, "5s", "5m", &["transport", "task"]), "file 6".to_owned()));
    assert_eq!(field("common", "retry"), (retry(3, "1s", "30s", &["timeout"]), "defaults 2".to_owned()));
    assert_eq!(field("own", "repeat"), (json!({ "runs": 3, "quorum": 3 }), "file 7".to_owned()));
    assert_eq!(field("common", "repeat"), (Value::Null, "default null".to_owned()));
    assert_eq!(field("common", "on_unknown"), (json!("hold"), "defaults 3".to_owned()));
}

#[test]
fn the_first_record_has_the_policy_in_the_protocols_words_where_it_has_them() {
    let fleet = Fleet::of(
        r#"
        [tasks.plain]
        retry = { max_attempts = 4 }
        run = "true"
        [tasks.fine]
        retry = { initial_backoff = "1ms", multiplier = 1.5 }
        repeat = { runs = 2, quorum = 1 }
        on_unknown = "hold"
        run = "true"
        "#,
    );
    fleet.run(["run"]).passes();
    let specs = journal::read(&fleet.run_dir()).remove(0)["run"]["task_specs"].take();
    let of = |task: &str| specs.as_array().expect("a list").iter().find(|spec| spec["id"] == task).expect("a spec");
    let policy = json!({
        "max_attempts": 4, "initial_backoff_seconds": 5, "max_backoff_seconds": 300, "backoff_multiplier": 2,
    });
    assert_eq!(of("plain")["retry_policy"], policy);
    assert!(of("fine").get("retry_policy").is_none(), "the protocol counts in seconds");
    let ours = &of("fine")["metadata"]["fleet"];
    assert_eq!(ours["retry"]["initial_backoff"], "1ms");
    assert_eq!((&ours["repeat"]["quorum"], &ours["on_unknown"]), (&1.into(), &"hold".into()));
}

/// Where the journal was synced between being told of a start and the start itself, as the kernel saw it.
fn synced_before_it_ran(on_unknown: &str) -> bool {
    let tasks = format!("[tasks.t]\non_unknown = '{on_unknown}'\nrun = 'cat only-this-task-reads-me'\n");
    let fleet = Fleet::of(&tasks).file("only-this-task-reads-me", "");
    let ours = fleet.command(["run"]);
    let mut traced = std::process::Command::new("strace");
    traced.args(["-f", "-qq", "-s", "4096", "-o", "trace", "-e", "trace=write,fdatasync,execve"]);
    traced.arg(ours.get_program()).arg("run").env_clear().current_dir(fleet.path(""));
    traced.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
    fleet.end(&mut traced).passes();
    let trace = fleet.read("trace");
    let lines: Vec<&str> = trace.lines().collect();
    let start = lines.iter().position(|line| line.contains("write(") && line.contains("starting")).expect("a record");
    let runs =
        lines.iter().position(|line| line.contains("execve(") && line.contains("only-this-task")).expect("it ran");
    assert!(start < runs, "recorded before it is told to run");
    let writer = lines[start].split_whitespace().next();
    lines[start..runs].iter().any(|line| line.contains("fdatasync(") && line.split_whitespace().next() == writer)
}

#[test]
fn what_may_not_run_twice_is_on_disk_before_it_runs() {
    if !can_trace() {
        return;
    }
    assert!(synced_before_it_ran("hold"));
    assert!(!synced_before_it_ran("retry"), "others are synced behind, by a thread of its own");
}

#[test]
fn a_task_that_may_be_held_is_retried_as_ever() {
    let fleet = Fleet::of("[tasks.t]\non_unknown = 'hold'\nretry = { initial_backoff = '1ms' }\nrun = 'false'\n");
    fleet.run(["run"]).fails_with(1).result("t", "fail/task: exit code 1");
    assert_eq!(fleet.started(), ["t", "t", "t"], "a failure is known");
}
