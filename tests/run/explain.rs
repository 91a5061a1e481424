//! Why a task would run, and why one would not: `fleet explain`, the plan, and `fleet run --explain`. Each story runs
//! once, changes one thing, and holds what is foreseen against what then happens.

use serde_json::{Value, json};

use super::support::Fleet;

const BUILD: &str = r#"
[tasks.build]
sh = "cat src/*.txt > app"
inputs = ["src/*.txt"]
outputs = ["app"]
env = { LEVEL = "1" }
pass_env = ["MODE"]
"#;

/// One task that was run once.
fn built() -> Fleet {
    let fleet = Fleet::of(BUILD).file("src/a.txt", "a\n").file("src/b.txt", "b\n").var("MODE", "fast");
    fleet.run(["run"]).passes().then()
}

/// The fleet file with one thing in it said differently.
fn edited(fleet: Fleet, from: &str, to: &str) -> Fleet {
    let text = fleet.read("fleet.toml");
    assert!(text.contains(from), "{from}");
    fleet.file("fleet.toml", text.replace(from, to))
}

/// What `fleet explain` says of a task, as JSON.
#[track_caller]
fn explained(fleet: &Fleet, task: &str) -> Value {
    let told = fleet.run(["explain", task, "--json"]).passes();
    let said: Value = serde_json::from_str(told.stdout()).expect("it is JSON");
    let tasks = said["tasks"].as_array().expect("a list");
    assert_eq!((tasks.len(), &tasks[0]["task"]), (1, &json!(task)), "{said}");
    tasks[0].clone()
}

/// The reasons of a task that would run.
#[track_caller]
fn reasons(fleet: &Fleet, task: &str) -> Vec<String> {
    let said = explained(fleet, task);
    assert_eq!(said["decision"], "run", "{said}");
    let reasons = said["reasons"].as_array().expect("a list");
    reasons.iter().map(|reason| reason["text"].as_str().expect("a sentence").to_owned()).collect()
}

/// It would run for these reasons, and does; and would be reused then.
#[track_caller]
fn runs_because(fleet: Fleet, expected: &[&str]) {
    assert_eq!(reasons(&fleet, "build"), expected);
    let why = format!("why      build  {}", expected.join("; "));
    let fleet = fleet.run(["run", "--explain"]).passes().says(&why).then();
    assert_eq!(fleet.started(), ["build"]);
    assert_eq!(explained(&fleet, "build")["decision"], "reuse");
}

#[test]
fn a_task_that_was_never_run_says_so_and_nothing_is_made() {
    let fleet = Fleet::of(BUILD).file("src/a.txt", "a");
    let told = fleet.run(["explain"]).passes().quietly();
    assert_eq!(told.screen(), "build  would run\n  it has no earlier result here\n");
    let told = fleet.run(["plan"]).passes().says("run because it has no earlier result here").has_no_file(".fleet");
    let plan: Value = serde_json::from_str(told.then().run(["run", "-n", "--json"]).passes().stdout()).expect("JSON");
    assert_eq!(plan["steps"][0]["decision"], "run");
    assert_eq!(plan["steps"][0]["reasons"][0]["code"], "first_run");
    fleet.run(["explain", "--json"]).passes().has_no_file(".fleet");
    runs_because(fleet, &["it has no earlier result here"]);
}

#[test]
fn a_changed_input_is_named() {
    runs_because(built().file("src/a.txt", "other"), &["the input `src/a.txt` changed"]);
}

#[test]
fn an_input_that_became_executable_is_named() {
    runs_because(built().executable("src/a.txt"), &["the input `src/a.txt` became executable"]);
}

#[test]
fn a_new_input_of_a_glob_and_one_that_is_gone_are_named() {
    let fleet = built().file("src/c.txt", "c");
    std::fs::remove_file(fleet.path("src/a.txt")).expect("it is ours");
    runs_because(fleet, &["the input `src/a.txt` is gone", "the input `src/c.txt` is new"]);
}

#[test]
fn a_variable_is_named_and_its_value_is_not() {
    let fleet = edited(built(), "LEVEL = \"1\"", "LEVEL = \"top secret\"");
    fleet.run(["explain", "build"]).passes().never_says("top secret");
    fleet.run(["explain", "build", "--json"]).passes().never_says("top secret");
    runs_because(fleet, &["the variable LEVEL has another value"]);
    runs_because(built().var("MODE", "slow"), &["the variable MODE has another value"]);
    runs_because(edited(built(), "pass_env = [\"MODE\"]", ""), &["the variable MODE is no longer set"]);
}

#[test]
fn a_changed_command_is_shown_from_what_to_what() {
    let fleet = edited(built(), "cat src", "cat -n src");
    let told = &explained(&fleet, "build")["reasons"][0];
    let expected = json!({
        "code": "changed", "kind": "command", "name": null, "change": "changed",
        "from": "sh: cat src/*.txt > app", "to": "sh: cat -n src/*.txt > app",
        "text": "the command changed from `sh: cat src/*.txt > app` to `sh: cat -n src/*.txt > app`",
    });
    assert_eq!(told, &expected);
    runs_because(fleet, &[expected["text"].as_str().expect("a sentence")]);
}

#[test]
fn scorers_outputs_and_tools_are_named() {
    let scored = "outputs = [\"app\"]\nscorers = [{ kind = \"file_exists\", path = \"app\" }]";
    runs_because(edited(built(), "outputs = [\"app\"]", scored), &["its scorers changed"]);
    let more = "outputs = [\"app\", \"!app/x\"]";
    let text = "the outputs changed from `app` to `app !app/x`";
    assert_eq!(reasons(&edited(built(), "outputs = [\"app\"]", more), "build"), [text]);
    let tool = "outputs = [\"app\"]\ntools = [\"cat\"]";
    runs_because(edited(built(), "outputs = [\"app\"]", tool), &["the tool `cat` is new"]);
}

#[test]
fn a_tool_that_was_replaced_is_named() {
    let tool = |fleet: Fleet, text: &str| fleet.file("bin/maker", text).executable("bin/maker");
    let fleet = tool(edited(built(), "outputs = [\"app\"]", "outputs = [\"app\"]\ntools = [\"maker\"]"), "#!/bin/sh\n");
    let path = format!("{}:{}", fleet.path("bin").display(), std::env::var("PATH").expect("tests have a PATH"));
    let fleet = fleet.var("PATH", &path).run(["run"]).passes().then();
    assert_eq!(explained(&fleet, "build")["decision"], "reuse");
    runs_because(tool(fleet, "#!/bin/sh\n# another\n"), &["the tool `maker` changed"]);
}

#[test]
fn a_task_that_failed_last_says_so() {
    let fleet = edited(built(), "> app", "> app; exit 3");
    let fleet = fleet.run(["run"]).fails_with(1).then();
    assert_eq!(reasons(&fleet, "build"), ["its last result was fail"]);
    fleet.run(["explain"]).passes().says("last run: RUN, AT, fail");
    // What it was before is reused, although something else came between.
    let fleet = edited(fleet, "> app; exit 3", "> app");
    assert_eq!(explained(&fleet, "build")["decision"], "reuse");
}

#[test]
fn a_result_whose_input_changed_while_it_was_made_was_not_kept() {
    let fleet = Fleet::of("[tasks.build]\nsh = 'cat in > out; echo more >> in'\ninputs = ['in']\noutputs = ['out']\n")
        .file("in", "1\n")
        .run(["run"])
        .passes()
        .then();
    assert_eq!(
        reasons(&fleet, "build"),
        ["its last result was not kept: the input `in` changed while it ran", "the input `in` changed"]
    );
}

#[test]
fn what_is_never_reused_says_why_and_when_it_was_last_run() {
    let fleet = Fleet::of(
        "[tasks.plain]\nrun = 'true'\n[tasks.told]\nrun = 'true'\ninputs = []\ncache = false\n\
         [tasks.gone]\nrun = 'true'\nwhen = { exists = 'no' }\n",
    );
    let fleet = fleet.run(["run"]).passes().then();
    let told = fleet.run(["explain"]).passes();
    assert_eq!(
        told.screen(),
        "plain  would run\n  it always runs: it declares no `inputs`\n  last run: RUN, AT, pass\n\
         told  would run\n  it always runs: it says `cache = false`\n  last run: RUN, AT, pass\n\
         gone  would be left out: `no` does not exist\n"
    );
    fleet
        .run(["run", "--explain"])
        .passes()
        .says("why      plain  it always runs: it declares no `inputs`")
        .says("why      told  it always runs: it says `cache = false`");
    let gone = explained(&fleet, "gone");
    assert_eq!((&gone["decision"], &gone["because"]), (&json!("left_out"), &json!("`no` does not exist")));
}

#[test]
fn what_is_reused_says_what_it_stands_on_and_what_is_put_back() {
    let fleet = built();
    let receipt = fleet.receipt("build");
    std::fs::remove_file(fleet.path("app")).expect("it was made");
    let told = explained(&fleet, "build");
    let expected = json!({
        "task": "build", "decision": "reuse", "reasons": [], "if_same": null,
        "reused": {
            "run_id": receipt["run_id"], "journal_seq": receipt["journal_seq"], "attempt": 1, "remote": false,
        },
        "restored": ["app"], "fingerprint": receipt["fingerprint"], "inputs": 2, "needs": 0,
        "last": { "run_id": receipt["run_id"], "at": receipt["completed_at"], "result": "pass" },
    });
    assert_eq!(told, expected);
    let screen = fleet.run(["explain"]).passes().has_no_file("app").screen();
    let lines: Vec<&str> = screen.lines().collect();
    assert!(lines[0].starts_with("build  would be reused from RUN, record "), "{screen}");
    assert_eq!(
        lines[1..],
        [
            "  unchanged: 2 inputs, 0 needs, and how it is run",
            "  fingerprint DIGEST",
            "  `app` would be put back",
            "  last run: RUN, AT, pass",
        ]
    );
    fleet.run(["plan"]).passes().says("reuse from RUN, record").says("1 output would be put back");
    let fleet = fleet.run(["run"]).passes().file_says("app", "a\nb\n").then();
    assert_eq!(explained(&fleet, "build")["restored"], json!([]));
}

#[test]
fn an_output_that_the_store_has_lost_is_a_reason_to_run() {
    let fleet = built();
    std::fs::remove_file(fleet.path("app")).expect("it was made");
    std::fs::remove_dir_all(fleet.path(".fleet/store")).expect("it is ours");
    let all = reasons(&fleet, "build");
    assert!(all.len() == 1 && all[0].starts_with("what it made cannot be put back: `app`"), "{all:?}");
    let fleet = fleet.run(["run", "--explain"]).passes().says("why      build  what it made cannot be put back").then();
    assert_eq!(fleet.started(), ["build"]);
}

const CHAIN: &str = r#"
[tasks.gen]
sh = "tr a-z A-Z < words > made"
inputs = ["words"]
outputs = ["made"]
[tasks.mid]
sh = "head -n 1 made > mid"
inputs = ["made"]
outputs = ["mid"]
[tasks.app]
needs = ["mid"]
sh = "cat main mid > app"
inputs = ["main"]
outputs = ["app"]
"#;

#[test]
fn a_needed_task_that_would_run_is_named_with_its_reason() {
    let fleet = Fleet::of(CHAIN).file("words", "one\ntwo\n").file("main", "m\n").run(["run"]).passes().then();
    let fleet = fleet.file("words", "one\nthree\n");
    let screen = fleet.run(["explain", "mid", "app"]).passes().screen();
    let told: Vec<&str> = screen.lines().filter(|line| !line.contains("last run")).collect();
    let gen_runs = "would run: the input `words` changed";
    assert_eq!(told[0], "mid  may run");
    assert_eq!(told[1], format!("  it needs `gen`, which {gen_runs}"));
    assert!(told[2].starts_with("  if that makes the same as before, this is reused from RUN, record "), "{screen}");
    assert_eq!(told[4], format!("  it needs `mid`, which waits for `gen`, which {gen_runs}"));
    assert_eq!(explained(&fleet, "app")["if_same"]["run_id"], fleet.receipt("app")["run_id"]);
    fleet
        .run(["plan"])
        .passes()
        .says("run because the input `words` changed")
        .says("may run: it needs `mid`, which runs first");
    // The first line of what is made is the same, so `mid` makes the same and `app` need not run.
    let fleet = fleet.run(["run"]).passes().then();
    assert_eq!(fleet.started(), ["gen", "mid"]);
}

#[test]
fn a_needed_task_that_made_something_else_is_a_reason() {
    let fleet = Fleet::of(CHAIN).file("words", "one\n").file("main", "m\n").run(["run"]).passes().then();
    let fleet = fleet.file("words", "other\n").run(["run", "mid"]).passes().then();
    assert_eq!(reasons(&fleet, "app"), ["`mid`, which it needs, made something else"]);
    fleet.run(["run", "--explain"]).passes().says("why      app  `mid`, which it needs, made something else");
}

#[test]
fn a_dry_run_heeds_what_is_said_about_reuse() {
    let fleet = built();
    fleet.run(["run", "-n"]).passes().says("reuse from RUN");
    fleet.run(["run", "-n", "--force"]).passes().says("run because it is forced to run");
    fleet.run(["run", "-n", "--force=build"]).passes().says("run because it is forced to run");
    fleet.run(["run", "-n", "--no-cache"]).passes().says("run because nothing is reused with --no-cache");
    fleet.run(["run", "-n", "--force=biuld"]).fails_with(2);
}

#[test]
fn programs_are_told_the_reasons_only_when_they_ask() {
    let fleet = built().file("src/a.txt", "x");
    let explains = |line: &str| line.starts_with("{\"explain\":");
    let told = fleet.run(["run", "--json", "--explain"]).passes();
    let lines: Vec<Value> = told
        .stdout()
        .lines()
        .filter(|line| explains(line))
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 1, "{}", told.stdout());
    assert_eq!(lines[0]["explain"]["task"], "build");
    assert_eq!(lines[0]["explain"]["reasons"][0]["name"], "src/a.txt");
    let told = told.then().file("src/a.txt", "y").run(["run", "--json"]).passes();
    assert!(!told.stdout().lines().any(explains), "{}", told.stdout());
}

#[test]
fn a_long_list_is_cut_for_people_and_whole_for_programs() {
    let mut fleet = built();
    for n in 0..50 {
        fleet = fleet.file(&format!("src/new{n}.txt"), "");
    }
    let screen = fleet.run(["explain"]).passes().says("  and 30 more reasons\n").screen();
    assert_eq!(screen.matches(" is new\n").count(), 20, "{screen}");
    assert_eq!(reasons(&fleet, "build").len(), 50);
    fleet.run(["plan"]).passes().says("run because the input `src/new0.txt` is new (and 49 more)");
}
