//! A run that was cut short goes on: what passed stays passed, what ended is judged, and the rest is made again.

use std::fs;

use rustix::process::Signal;

use super::support::{Fleet, journal, processes, until};

/// Each task notes every start in `starts`.
fn noted(tasks: &str) -> Fleet {
    Fleet::of(tasks).file("note", "#!/bin/sh\necho $1 >> starts\nexec 3>&-\n").executable("note")
}

/// How often a task was started.
fn starts(fleet: &Fleet, task: &str) -> usize {
    fleet.read("starts").lines().filter(|line| *line == task).count()
}

/// The last receipt of a task; each sitting may leave one.
fn last_receipt(fleet: &Fleet, task: &str) -> serde_json::Value {
    fleet.receipts().into_iter().rfind(|receipt| receipt["task_id"] == task).expect("it has one")
}

/// `first`, then `middle`, which stays until there is a file `go`, then `last`.
const THREE: &str = "
[tasks.first]
sh = './note first'
[tasks.middle]
needs = ['first']
sh = './note middle; touch there; while [ ! -e go ]; do sleep 0.01; done'
[tasks.last]
needs = ['middle']
sh = './note last'
";

/// Starts the run and kills it in the middle.
fn killed(fleet: &Fleet) {
    let mut run = fleet.start(["run"]);
    run.awaits("there");
    let supervisor = processes::supervisor(run.pid());
    run.signal(Signal::KILL);
    drop(run);
    until("the supervisor left", || {
        matches!(processes::stat(supervisor).first().map(String::as_str), None | Some("Z"))
    });
    fs::remove_file(fleet.path("there")).expect("the task made it");
}

/// Lets the middle task end while its engine cannot hear of it, then kills the engine: the exit is on record with the
/// supervisor alone.
fn killed_behind_an_exit(fleet: &Fleet) {
    let mut run = fleet.start(["run"]);
    run.awaits("there");
    run.signal(Signal::STOP);
    until("it is stopped", || processes::is_stopped(run.pid()));
    fs::write(fleet.path("go"), "").expect("the folder is ours");
    let log = fleet.run_dir().join("exits/local.log");
    let label = "\"label\":\"middle.1\"";
    let ended = |line: &str| line.contains("\"exited\"") && line.contains(label);
    until("its exit is on record", || fs::read_to_string(&log).is_ok_and(|text| text.lines().any(ended)));
    run.signal(Signal::KILL);
    drop(run);
}

#[test]
fn what_passed_stays_and_what_was_interrupted_is_made_again() {
    let fleet = noted(THREE);
    killed(&fleet);
    let before = journal::read(&fleet.run_dir()).len();
    fleet.clone().file("go", "").run(["resume"]).passes().says("resume   RUN  2 of 3 tasks of fleet.toml left").says(
        "unknown  middle  attempt 1: nobody knows how it ended: the run was cut short\nstart    middle  attempt 2",
    );
    assert_eq!((starts(&fleet, "first"), starts(&fleet, "middle"), starts(&fleet, "last")), (1, 2, 1));
    let receipt = fleet.receipt("middle");
    assert_eq!((&receipt["attempt"], &receipt["result"]), (&2.into(), &"pass".into()));
    let attempts: Vec<_> = receipt["attempts"].as_array().unwrap().iter().map(|one| one["result"].clone()).collect();
    assert_eq!(attempts, ["skip", "pass"]);
    let records = journal::read(&fleet.run_dir());
    assert_eq!(records[before]["run"]["status"], "running", "the same journal goes on");
    assert_eq!(fleet.end_record()["status"], "completed");
    fleet.run(["status"]).passes().says("3 pass");
    fleet.run(["resume"]).passes().warns("has ended, and nothing of it is left to go on with: it passed");
}

#[test]
fn an_exit_that_is_on_record_is_judged_and_not_made_again() {
    let tasks = format!("{THREE}[scorers.made]\nkind = 'file_exists'\npath = 'go'\n");
    let tasks = tasks.replace("needs = ['first']", "needs = ['first']\nscorers = ['made']");
    let fleet = noted(&tasks);
    killed_behind_an_exit(&fleet);
    fleet.run(["resume"]).passes().never_says("start    middle").result("middle", "pass");
    assert_eq!((starts(&fleet, "middle"), starts(&fleet, "last")), (1, 1));
    assert_eq!(fleet.receipt("middle")["scorers"][0]["name"], "made");
    assert_eq!(fleet.receipt("middle")["attempt"], 1);
}

#[test]
fn a_failure_that_is_on_record_is_a_failure() {
    let fleet = noted(&THREE.replace("sleep 0.01; done'", "sleep 0.01; done; echo gone; exit 3'"));
    killed_behind_an_exit(&fleet);
    fleet.run(["resume"]).fails_with(1).result("middle", "fail/task: exit code 3");
    assert_eq!((starts(&fleet, "middle"), fleet.result("last").split(':').next()), (1, Some("skip")));
}

#[test]
fn evidence_that_went_down_with_the_runner_is_no_pass() {
    let scorer = "scorers = [{ name = 'said', kind = 'regex_match', stream = 'stdout', pattern = 'ok' }]";
    let tasks = THREE.replace("needs = ['first']", &format!("needs = ['first']\n{scorer}"));
    let fleet = noted(&tasks.replace("sleep 0.01; done'", "sleep 0.01; done; echo ok'"));
    killed_behind_an_exit(&fleet);
    let told = fleet.run(["resume"]).fails_with(1);
    let receipt = told.receipt("middle");
    assert_eq!((&receipt["result"], &receipt["failure_kind"]), (&"fail".into(), &"verifier".into()));
    assert_eq!(receipt["scorers"][0]["evidence"], "what it printed to stdout went down with the runner");
    assert_eq!(starts(&fleet, "middle"), 1);
}

#[test]
fn after_ctrl_c_the_run_goes_on_where_it_was() {
    let fleet = noted(THREE);
    let mut run = fleet.start(["run"]);
    run.awaits("there");
    run.signal(Signal::INT);
    run.ends().fails_with(130).says("to go on       fleet resume RUN");
    fleet.clone().file("go", "").run(["resume"]).passes().never_says("start    first");
    assert_eq!((starts(&fleet, "first"), starts(&fleet, "middle"), starts(&fleet, "last")), (1, 2, 1));
}

#[test]
fn a_resume_that_is_killed_is_resumed() {
    let fleet = noted(THREE);
    killed(&fleet);
    for _ in 0..2 {
        let mut again = fleet.start(["resume"]);
        again.awaits("there");
        again.signal(Signal::KILL);
        drop(again);
        fs::remove_file(fleet.path("there")).expect("the task made it");
    }
    fleet.clone().file("go", "").run(["resume"]).passes();
    assert_eq!((starts(&fleet, "first"), starts(&fleet, "middle"), starts(&fleet, "last")), (1, 4, 1));
    let receipt = fleet.receipt("middle");
    let numbers: Vec<_> = receipt["attempts"].as_array().unwrap().iter().map(|one| one["attempt"].clone()).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
}

#[test]
fn a_run_goes_on_as_it_began_or_not_at_all() {
    let fleet = noted(THREE);
    killed(&fleet);
    let text = fleet.read("fleet.toml");
    fleet.clone().file("fleet.toml", text.replace("./note last", "./note other")).run(["resume"]).fails_with(2).warns(
        "the fleet file does not mean what it meant when run RUN began, and a run goes on only as it began: put the file \
         back, or use `fleet rerun RUN --failed`",
    );
    assert_eq!(starts(&fleet, "middle"), 1);
    fleet.clone().file("fleet.toml", format!("# A remark.\n{text}")).file("go", "").run(["resume"]).passes();
    assert_eq!(starts(&fleet, "middle"), 2);
}

#[test]
fn the_words_of_the_command_line_still_hold() {
    let tasks = format!("[vars]\nmark = 'plain'\n{THREE}[tasks.never]\nsh = 'touch never'\n");
    let fleet = noted(&tasks.replace("./note last", "./note last; echo ${vars.mark} > mark"));
    let mut run = fleet.start(["run", "--set", "mark=set", "last", "--except", "never", "-j", "1"]);
    run.awaits("there");
    run.signal(Signal::KILL);
    drop(run);
    fleet.clone().file("go", "").run(["resume"]).passes().has_no_file("never").file_says("mark", "set\n");
}

#[test]
fn a_torn_end_is_cut_and_told() {
    let fleet = noted(THREE);
    killed(&fleet);
    let path = fleet.run_dir().join("journal.jsonl");
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(b"{\"v\":1,\"seq\":");
    fs::write(&path, bytes).unwrap();
    let told = fleet.clone().file("go", "").run(["resume"]).passes();
    told.says("warning  the last 13 bytes of the journal were no whole record and are cut off");
    assert_eq!(fleet.end_record()["status"], "completed");
}

#[test]
fn damage_before_the_end_is_refused() {
    let fleet = noted(THREE);
    killed(&fleet);
    let path = fleet.run_dir().join("journal.jsonl");
    let mut bytes = fs::read(&path).unwrap();
    bytes[200] ^= 1;
    fs::write(&path, bytes).unwrap();
    fleet.run(["resume"]).fails_with(10).warns("the journal is damaged at byte 0");
}

#[test]
fn a_run_that_lives_is_left_alone() {
    let fleet = noted(THREE);
    let mut run = fleet.start(["run"]);
    run.awaits("there");
    fleet.run(["resume"]).fails_with(11).warns("wait for it");
    fs::write(fleet.path("go"), "").unwrap();
    run.ends().passes();
}

#[test]
fn a_handler_that_did_not_come_to_its_turn_has_it_now() {
    let fleet = noted(
        "
[workers.one]
host = 'local'
slots = 1
[tasks.bad]
priority = 2
sh = './note bad; exit 1'
on_failure = ['tidy']
[tasks.long]
priority = 1
sh = './note long; touch there; while [ ! -e go ]; do sleep 0.01; done'
[tasks.tidy]
sh = './note tidy'
",
    );
    killed(&fleet);
    let tidied = starts(&fleet, "tidy");
    fleet.clone().file("go", "").run(["resume"]).fails_with(1);
    assert_eq!((starts(&fleet, "bad"), starts(&fleet, "long")), (1, 2));
    assert_eq!(starts(&fleet, "tidy"), 1, "{tidied} before");
}

#[test]
fn results_of_both_sittings_are_reused_by_the_next_run() {
    let fleet = noted(
        "
[tasks.first]
inputs = ['in']
outputs = ['one']
sh = './note first; cp in one'
[tasks.middle]
inputs = ['one']
outputs = ['two']
sh = './note middle; touch there; while [ ! -e go ]; do sleep 0.01; done; cp one two'
[tasks.last]
inputs = ['two']
sh = './note last'
",
    )
    .file("in", "1");
    killed(&fleet);
    fleet.clone().file("go", "").run(["resume"]).passes();
    fleet.run(["run"]).passes().says("3 passed (3 reused)");
    assert_eq!((starts(&fleet, "first"), starts(&fleet, "middle"), starts(&fleet, "last")), (1, 2, 1));
}

#[test]
fn what_must_not_run_twice_waits_for_a_person() {
    let fleet = noted(&THREE.replace("needs = ['first']", "needs = ['first']\non_unknown = 'hold'"));
    killed(&fleet);
    fleet
        .clone()
        .file("go", "")
        .run(["resume"])
        .fails_with(6)
        .says("skip     middle  nobody knows whether it ran, and its on_unknown is `hold`");
    assert_eq!(starts(&fleet, "middle"), 1);
    fleet.run(["resume"]).fails_with(6);
    fleet.run(["resume", "--again", "midle"]).fails_with(2).warns("no task is named `midle`");
    assert_eq!(starts(&fleet, "middle"), 1);
    fleet.run(["resume", "--again", "middle"]).passes();
    assert_eq!((starts(&fleet, "middle"), starts(&fleet, "last")), (2, 1));
}

#[test]
fn retries_are_counted_over_all_sittings() {
    let flawed = "
[tasks.first]
run = 'true'
[tasks.flawed]
needs = ['first']
sh = './note flawed; exit 1'
retry = { max_attempts = 3, initial_backoff = '1ms', max_backoff = '1ms' }
[tasks.middle]
sh = './note middle; touch there; while [ ! -e go ]; do sleep 0.01; done'
";
    let fleet = noted(flawed);
    let mut run = fleet.start(["run"]);
    run.awaits("there");
    until("the flawed task has its result", || {
        journal::read(&fleet.run_dir()).iter().any(|record| record["receipt"]["task_id"] == "flawed")
    });
    run.signal(Signal::KILL);
    drop(run);
    fleet.clone().file("go", "").run(["resume"]).fails_with(1);
    assert_eq!(starts(&fleet, "flawed"), 3);
    assert_eq!(fleet.receipt("flawed")["attempts"].as_array().unwrap().len(), 3);
}

#[test]
fn a_recorded_exit_waits_for_its_turn_over_a_sitting_that_is_cancelled() {
    let fleet = noted(
        "
[workers.two]
host = 'local'
slots = 2
[tasks.quick]
sh = './note quick'
[tasks.middle]
sh = './note middle; while [ ! -e end ]; do sleep 0.01; done'
[tasks.one]
needs = ['quick']
priority = 9
sh = './note one; touch one; while [ ! -e go ]; do sleep 0.01; done'
[tasks.other]
needs = ['quick']
priority = 8
sh = './note other; touch other; while [ ! -e go ]; do sleep 0.01; done'
",
    );
    let mut run = fleet.start(["run"]);
    run.awaits("one");
    until("both run", || starts(&fleet, "middle") == 1);
    run.signal(Signal::STOP);
    until("it is stopped", || processes::is_stopped(run.pid()));
    fs::write(fleet.path("end"), "").unwrap();
    let log = fleet.run_dir().join("exits/two.log");
    let ended = |line: &str| line.contains("\"exited\"") && line.contains("\"label\":\"middle.1\"");
    until("its exit is on record", || fs::read_to_string(&log).is_ok_and(|text| text.lines().any(ended)));
    run.signal(Signal::KILL);
    drop(run);
    // Both slots are taken by what comes first, and then it is over.
    let mut again = fleet.start(["resume"]);
    again.awaits("other");
    again.signal(Signal::TERM);
    let _ = again.ends().fails_with(143);
    fleet.clone().file("go", "").run(["resume"]).passes();
    assert_eq!(starts(&fleet, "middle"), 1);
    let receipt = last_receipt(&fleet, "middle");
    assert_eq!((&receipt["attempt"], &receipt["result"]), (&1.into(), &"pass".into()));
}

#[test]
fn a_verdict_that_is_on_record_is_not_found_again() {
    let fleet = noted(
        "
[tasks.middle]
sh = './note middle'
scorers = [{ kind = 'file_exists', path = 'flag' }]
retry = { max_attempts = 2, initial_backoff = '1500ms', max_backoff = '1500ms' }
[tasks.beside]
sh = 'touch there; while [ ! -e go ]; do sleep 0.01; done'
",
    );
    let mut run = fleet.start(["run", "-j", "2"]);
    run.awaits("there");
    until("its first attempt has failed", || {
        journal::read(&fleet.run_dir()).iter().any(|record| record["event"]["state"] == "restarted")
    });
    let supervisor = rustix::process::Pid::from_raw(processes::supervisor(run.pid()).cast_signed()).unwrap();
    rustix::process::kill_process(supervisor, Signal::KILL).unwrap();
    let _ = run.ends().fails_with(9);
    fleet.clone().file("flag", "").file("go", "").run(["resume"]).passes();
    let receipt = last_receipt(&fleet, "middle");
    assert_eq!((&receipt["attempt"], &receipt["flaky"]), (&2.into(), &true.into()));
    assert_eq!(starts(&fleet, "middle"), 2);
}

#[test]
fn outputs_of_an_earlier_sitting_are_looked_at_before_they_are_built_on() {
    let fleet = noted(
        "
[tasks.first]
inputs = ['in']
outputs = ['one']
sh = './note first; cp in one'
[tasks.middle]
needs = ['first']
sh = './note middle; touch there; while [ ! -e go ]; do sleep 0.01; done'
[tasks.last]
needs = ['middle']
inputs = ['in', 'one']
outputs = ['two']
sh = 'cp one two'
",
    )
    .file("in", "right");
    killed(&fleet);
    fleet.clone().file("one", "edited").file("go", "").run(["resume"]).passes().file_says("two", "right");
    fs::remove_file(fleet.path("two")).unwrap();
    fleet.run(["run"]).passes().file_says("one", "right").file_says("two", "right");
}

#[test]
fn writes_that_nobody_could_check_are_no_pass() {
    let fleet = noted(&THREE.replace("needs = ['first']", "needs = ['first']\nwritable_paths = ['there', 'starts']"));
    killed_behind_an_exit(&fleet);
    let told = fleet.run(["resume"]).fails_with(1);
    assert_eq!((&told.receipt("middle")["result"], starts(&fleet, "middle")), (&"fail".into(), 1));
}

#[test]
fn a_failure_beside_it_does_not_bury_a_held_task() {
    let tasks = THREE.replace("needs = ['first']", "needs = ['first']\non_unknown = 'hold'");
    let fleet = noted(&format!("{tasks}[tasks.bad]\nrun = 'false'\n"));
    killed(&fleet);
    fleet.clone().file("go", "").run(["resume"]).fails_with(1).says("fleet resume --again middle");
    fleet.run(["resume", "--again", "first"]).fails_with(2).warns("does not hold `first`");
    fleet.run(["resume", "--again", "middle"]).fails_with(1);
    assert_eq!((starts(&fleet, "middle"), &last_receipt(&fleet, "last")["result"]), (2, &"pass".into()));
}
