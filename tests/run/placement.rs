//! Where tasks go, and that the reasons are told: before a run, in its journal, and afterwards.

use serde_json::{Value, json};

use super::support::{Fleet, journal};

const WORKERS: &str = r#"
[workers.one]
host = "local"
slots = 1
roles = ["builder"]
[workers.two]
host = "local"
slots = 1
roles = ["builder"]
tools = ["cc"]
[workers.other]
host = "local"
slots = 4
"#;

/// What the journal says of why the attempts of a task were where they were.
fn placements(fleet: &Fleet, task: &str) -> Vec<(String, Value)> {
    let records = journal::read(&fleet.run_dir());
    let events = records.iter().map(|record| &record["event"]).filter(|event| event["state"] == "starting");
    let of_task = events.filter(|event| event["task_id"] == task);
    of_task
        .map(|event| (event["worker_id"].as_str().unwrap_or("").to_owned(), event["extra"]["placement"].clone()))
        .collect()
}

#[test]
fn a_role_and_tools_are_asked_for_and_what_is_lacking_is_said() {
    let fleet = Fleet::of(&format!(
        "{WORKERS}[tasks.build]\nrun = 'true'\nworker = {{ role = 'builder', tools = ['cc'] }}\n[tasks.any]\nrun = 'true'\n"
    ));
    let told = fleet.run(["explain", "--placement"]).passes();
    insta::assert_snapshot!(told.screen(), @r#"
    build  would go to two while all is idle: nothing else fits and is free
      one    lacks the tool "cc"
      two    fits
      other  lacks the role "builder" and the tool "cc"
    any  would go to one while all is idle: it is declared before others that are as good
      one    fits
      two    fits
      other  fits
    "#);
    let told = told.then().run(["run"]).passes().then().run(["explain", "build", "--placement"]).passes();
    insta::assert_snapshot!(told.screen(), @r#"
    build  would go to two while all is idle: nothing else fits and is free
      one    lacks the tool "cc"
      two    fits
      other  lacks the role "builder" and the tool "cc"
      last run: RUN, attempt 1 on two: nothing else fits and is free
        one: lacks the tool "cc"
        other: lacks the role "builder" and the tool "cc"
    "#);
    let json = told.then().run(["explain", "build", "--placement", "--json"]).passes();
    let said: Value = serde_json::from_str(json.stdout()).expect("it is JSON");
    let build = &said["tasks"][0];
    assert_eq!(build["idle"], json!({ "worker": "two", "why": "nothing else fits and is free" }));
    let other = json!({ "worker": "other", "fits": false, "lacks": ["the role \"builder\"", "the tool \"cc\""] });
    assert_eq!(build["workers"][2], other);
    assert_eq!(build["last"]["attempts"][0]["worker"], "two");
    assert_eq!(build["last"]["attempts"][0]["others"]["one"], "lacks the tool \"cc\"");
}

#[test]
fn the_journal_keeps_why_an_attempt_is_where_it_is() {
    let fleet = Fleet::of(&format!(
        "{WORKERS}[tasks.t]\nworker = {{ role = 'builder' }}\nretry = {{ max_attempts = 2, initial_backoff = '1ms' }}\n\
         run = 'false'\n"
    ));
    let fleet = fleet.run(["run"]).fails_with(1).then();
    let lacks = "lacks the role \"builder\"";
    let first = json!({
        "why": "it is declared before others that are as good",
        "others": { "two": "free, and declared later", "other": lacks },
    });
    let second = json!({
        "why": "nothing else fits and is free",
        "others": { "one": "fits, but an attempt failed there", "other": lacks },
    });
    assert_eq!(placements(&fleet, "t"), [("one".to_owned(), first), ("two".to_owned(), second)]);
}

#[test]
fn where_there_is_one_worker_nothing_is_said_of_it() {
    let fleet = Fleet::of("[tasks.t]\nrun = 'true'\n").run(["run"]).passes().then();
    assert_eq!(placements(&fleet, "t"), [("local".to_owned(), Value::Null)]);
    let told = fleet.run(["explain", "t", "--placement"]).passes();
    insta::assert_snapshot!(told.screen(), @"
    t  would go to local while all is idle: nothing else fits and is free
      local  fits
      last run: RUN, attempt 1 on local: the only worker
    ");
}

#[test]
fn a_busy_worker_is_waited_for_and_a_lost_one_is_not() {
    let fleet = Fleet::of(&format!(
        "{WORKERS}[tasks.first]\nworker = {{ id = 'one' }}\nsh = 'kill -9 $PPID; exec sleep 600'\n\
         [tasks.last]\nneeds = [{{ task = 'first' }}]\nalways = true\nworker = {{ role = 'builder' }}\nrun = 'true'\n\
         [tasks.stranded]\nneeds = [{{ task = 'first' }}]\nalways = true\nworker = {{ id = 'one' }}\nrun = 'true'\n"
    ));
    let cause = "fail/transport: every worker that it may run on is lost: `one` (its supervisor died)";
    let fleet = fleet.run(["run"]).fails_with(9).result("last", "pass").result("stranded", cause).then();
    let (worker, why) = placements(&fleet, "last").remove(0);
    assert_eq!((worker.as_str(), &why["why"]), ("two", &json!("nothing else fits and is free")));
    assert_eq!(why["others"]["one"], "fits, but is lost: its supervisor died");
}
