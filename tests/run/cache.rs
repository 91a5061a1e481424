//! What is kept of past runs: its figures, its damage, and what may go.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::support::Fleet;
use super::support::journal::hex;

const MADE: &str = r#"
[tasks.make]
artifacts = [{ path = "app", kind = "binary" }, { path = "notes", kind = "report" }]
sh = "echo ${vars.what} > app; echo notes > notes"
[vars]
what = "one"
"#;

fn blob(fleet: &Fleet, bytes: &str) -> PathBuf {
    let digest = hex(bytes.as_bytes());
    fleet.path(&format!(".fleet/store/sha256/{}/{}/{digest}", &digest[..2], &digest[2..4]))
}

fn spoil(fleet: &Fleet, bytes: &str, other: &str) {
    let path = blob(fleet, bytes);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("it is ours");
    fs::write(&path, other).expect("it is ours");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).expect("it is ours");
}

/// As if the latest run had been made so many days ago.
fn age(fleet: &Fleet, days: u32) {
    let journal = File::options().append(true).open(fleet.run_dir().join("journal.jsonl")).expect("there was a run");
    journal.set_modified(SystemTime::now() - Duration::from_hours(24) * days).expect("it is ours");
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn runs(fleet: &Fleet) -> usize {
    fs::read_dir(fleet.path(".fleet/runs")).expect("there was a run").count()
}

#[test]
fn damage_is_named_with_who_made_it_and_made_anew() {
    let fleet = Fleet::of(MADE).run(["run"]).passes().then();
    fleet.run(["cache", "check"]).passes().says("2 files, 10 B: no damage to be seen");
    spoil(&fleet, "one\n", "0ne\n");
    fleet.run(["cache", "check"]).passes();
    let told = fleet.run(["cache", "check", "--read-data"]).fails_with(10);
    let told = told.says("it holds DIGEST").says("made by `make` in run RUN; set aside");
    assert!(told.stdout().contains(&hex(b"0ne\n")) && told.stdout().contains(&hex(b"one\n")));
    told.says("2 files, 10 B: 1 damaged");
    assert!(!blob(&fleet, "one\n").exists());
    fleet.run(["cache", "check", "--read-data"]).passes().says("1 file, 6 B: no damage");

    fleet.run(["run"]).passes();
    assert_eq!(fs::read_to_string(blob(&fleet, "one\n")).expect("it is back"), "one\n");
    spoil(&fleet, "one\n", "");
    let found = json(fleet.run(["cache", "check", "--json", "fleet.toml"]).fails_with(10).stdout());
    assert_eq!((&found["files"], &found["files_read"]), (&2.into(), &1.into()));
    let damaged = &found["damaged"][0];
    assert_eq!(damaged["digest"], format!("sha256:{}", hex(b"one\n")));
    assert_eq!((&damaged["set_aside"], &damaged["made_by"][0]["task"]), (&true.into(), &"make".into()));
}

#[test]
fn the_figures_say_what_is_cited() {
    let fleet = Fleet::of(MADE);
    fleet.run(["cache", "stats"]).passes().says("0 files");
    assert!(!fleet.exists(".fleet"), "looking makes nothing");
    let fleet = fleet.run(["run"]).passes().then();
    fs::remove_dir_all(fleet.run_dir()).expect("it is ours");
    fleet.run(["run", "--set", "what=three"]).passes();
    let found = json(fleet.run(["cache", "stats", "--json"]).passes().stdout());
    assert_eq!((&found["all"]["files"], &found["all"]["bytes"]), (&3.into(), &16.into()));
    assert_eq!((&found["cited"]["files"], &found["cited"]["bytes"]), (&2.into(), &12.into()));
    assert_eq!(found["runs"], 1);
    fleet.run(["cache", "stats", "a", "b"]).fails_with(2);
}

#[test]
fn old_runs_go_with_what_only_they_cite() {
    let fleet = Fleet::of(MADE).run(["run"]).passes().then();
    age(&fleet, 31);
    let fleet = fleet.run(["run", "--set", "what=two"]).passes().then();
    fleet.run(["gc", "--older-than", "40d"]).passes().says("removed 0 runs and 0 files");
    let told = fleet.run(["gc", "--dry-run"]).passes().says("4 B  DIGEST");
    assert!(told.stdout().contains(&hex(b"one\n")));
    told.says("would remove 1 run and 1 file of the store").says("1 run and 2 files stay, 10 B");
    assert_eq!(runs(&fleet), 2);
    let found = json(fleet.run(["gc", "--json"]).passes().stdout());
    assert_eq!((found["runs"].as_array().map(Vec::len), &found["kept"]["files"]), (Some(1), &2.into()));
    assert_eq!(found["files"][0]["digest"], format!("sha256:{}", hex(b"one\n")));
    assert_eq!(runs(&fleet), 1);
    assert!(!blob(&fleet, "one\n").exists() && blob(&fleet, "two\n").exists() && blob(&fleet, "notes\n").exists());
    age(&fleet, 400);
    fleet.run(["gc"]).passes().says("removed 0 runs and 0 files");
    fleet.run(["receipts", "show", "latest", "make"]).passes();
}

#[test]
fn the_fleet_file_says_what_may_stay() {
    let limited = |cache: &str| format!("{MADE}\n[cache]\n{cache}\n");
    let fleet = Fleet::of(&limited("max_age = \"9d\"")).run(["run"]).passes().then();
    age(&fleet, 10);
    let fleet = fleet.run(["run", "--set", "what=two"]).passes().then();
    fleet.run(["gc", "-n", "--older-than", "11d"]).passes().says("would remove 0 runs");
    fleet.run(["gc"]).passes().says("removed 1 run and 1 file");

    let fleet = Fleet::of(&limited("max_size = \"12B\"")).run(["run"]).passes().then();
    let fleet = fleet.run(["run", "--set", "what=two"]).passes().then();
    fleet.run(["gc", "-n", "--max-size", "14B"]).passes().says("would remove 0 runs");
    fleet.run(["gc"]).passes().says("removed 1 run and 1 file");
    assert!(!blob(&fleet, "one\n").exists());
    fleet.run(["gc", "--max-size", "12"]).fails_with(2).warns("has no unit");
    let fleet = fleet.file("fleet.toml", "version = 1");
    fleet.run(["gc"]).fails_with(3);
    fleet.run(["gc", "--max-size", "12B", "--older-than", "1d"]).passes();
}

#[test]
fn nothing_goes_while_a_run_is_going_on() {
    let fleet = Fleet::of("[tasks.wait]\nsh = \"touch begun; while [ ! -e go ]; do sleep 0.01; done\"\n");
    let mut living = fleet.start(["run"]);
    living.awaits("begun");
    fleet.run(["gc", "--older-than", "1s"]).fails_with(11).warns("wait for it");
    fleet.run(["cache", "check"]).passes();
    let fleet = fleet.file("go", "");
    living.ends().passes();
    fleet.run(["gc", "--older-than", "1s"]).passes();
}
