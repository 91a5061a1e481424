//! A run is done again: a new one, which names the first and stands on what passed in it.

use super::support::{Fleet, journal};

const FOUR: &str = "
[tasks.first]
sh = 'echo first >> starts'
[tasks.flawed]
needs = ['first']
sh = 'echo flawed >> starts; test -e mended'
[tasks.last]
needs = ['flawed']
sh = 'echo last >> starts'
[tasks.aside]
outputs = ['made']
sh = 'echo aside >> starts; touch made'
";

fn starts(fleet: &Fleet) -> String {
    let mut starts: Vec<String> = fleet.read("starts").lines().map(str::to_owned).collect();
    std::fs::remove_file(fleet.path("starts")).expect("it was just read");
    starts.sort_unstable();
    starts.join(" ")
}

fn failed() -> Fleet {
    let fleet = Fleet::of(FOUR);
    fleet.run(["run"]).fails_with(1).result("flawed", "fail/task: exit code 1");
    assert_eq!(starts(&fleet), "aside first flawed");
    fleet
}

#[test]
fn only_what_did_not_pass() {
    let fleet = failed().file("mended", "");
    let parent = fleet.run_dir().file_name().unwrap().to_string_lossy().into_owned();
    fleet
        .run(["rerun", "latest", "--failed"])
        .passes()
        .says("run      RUN  4 tasks of fleet.toml, again after RUN")
        .says("reuse    first  from RUN")
        .says("4 passed (2 reused)");
    assert_eq!(starts(&fleet), "flawed last");
    assert_eq!(journal::read(&fleet.run_dir())[0]["run"]["request"]["parent"], *parent);
    assert_eq!(fleet.receipt("first")["reused"]["run_id"], *parent);
}

#[test]
fn what_a_receipt_promised_and_is_gone_is_made_again() {
    let fleet = failed().file("mended", "");
    std::fs::remove_file(fleet.path("made")).unwrap();
    fleet.run(["rerun", "--failed"]).passes().says("4 passed (1 reused)").has_file("made");
    assert_eq!(starts(&fleet), "aside flawed last");
}

#[test]
fn from_a_task_on() {
    let fleet = failed().file("mended", "");
    fleet.run(["rerun", "--failed"]).passes();
    starts(&fleet);
    fleet.run(["rerun", "--from", "flawed"]).passes().says("4 passed (2 reused)");
    assert_eq!(starts(&fleet), "flawed last");
    fleet.run(["rerun", "--from", "first"]).passes().says("4 passed (1 reused)");
    assert_eq!(starts(&fleet), "first flawed last");
    fleet.run(["rerun", "--from", "frist"]).fails_with(2).warns("no task is named `frist`");
    fleet.run(["rerun", "--from", "first", "--failed"]).fails_with(2);
}

#[test]
fn all_of_it_with_the_same_words() {
    let fleet = Fleet::of(FOUR).file("mended", "");
    fleet.run(["run", "flawed"]).passes();
    assert_eq!(starts(&fleet), "first flawed");
    fleet.run(["rerun"]).passes().says("2 tasks of fleet.toml, again after RUN");
    assert_eq!(starts(&fleet), "first flawed");
}

#[test]
fn the_file_is_read_as_it_is_now() {
    let fleet = failed();
    let text = fleet.read("fleet.toml").replace("test -e mended", "true");
    fleet.clone().file("fleet.toml", text).run(["rerun", "--failed"]).passes();
    assert_eq!(starts(&fleet), "flawed last");
}

#[test]
fn what_means_something_else_now_has_not_passed() {
    let fleet = failed().file("mended", "");
    let text = fleet.read("fleet.toml").replace("echo first >> starts", "echo first >> starts; exit 7");
    fleet
        .clone()
        .file("fleet.toml", text)
        .run(["rerun", "--failed"])
        .fails_with(1)
        .result("first", "fail/task: exit code 7");
}

#[test]
fn a_task_that_had_no_part_is_not_run_from() {
    let fleet = Fleet::of(FOUR).file("mended", "");
    fleet.run(["run", "first"]).passes();
    fleet.run(["rerun", "--from", "aside"]).fails_with(2).warns("`aside` has no part in run RUN");
}
