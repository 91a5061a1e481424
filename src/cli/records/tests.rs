//! `status`, `logs` and `receipts` over the small run of the journal's tests.

use std::fs;
use std::io::Write as _;

use clap::{Args, Command, FromArgMatches};

use super::Trouble;
use crate::cli::{logs, receipts, status};
use crate::id::{Attempt, RunId};
use crate::journal::tests::write_small_run;
use crate::journal::{FILE, LogWriter};
use crate::protocol::{Receipt, Run, TaskResult};
use crate::samples;
use crate::store::{Lock, StateDir};

struct World {
    dir: tempfile::TempDir,
    state: StateDir,
    run: RunId,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("fleet.toml"), "").unwrap();
    let state = StateDir::of(dir.path());
    state.create().unwrap();
    let run = samples::run_id();
    write_small_run(&state.create_run(&run).unwrap());
    World { dir, state, run }
}

fn parse<A: Args + FromArgMatches>(dir: &std::path::Path, words: &[&str]) -> A {
    let file = dir.join("fleet.toml");
    let words = ["x", "-f", file.to_str().unwrap()].into_iter().chain(words.iter().copied());
    A::from_arg_matches(&A::augment_args(Command::new("x")).get_matches_from(words)).unwrap()
}

impl World {
    fn status(&self, words: &[&str]) -> Result<String, Trouble> {
        let mut out = Vec::new();
        assert_eq!(status::run(&parse(self.dir.path(), words), &mut out)?, 0);
        Ok(String::from_utf8(out).unwrap())
    }

    fn logs(&self, words: &[&str]) -> Result<String, Trouble> {
        let mut out = Vec::new();
        logs::run(&parse(self.dir.path(), words), &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn receipts(&self, words: &[&str]) -> Result<String, Trouble> {
        let mut out = Vec::new();
        let command = receipts::ReceiptsCommand::Show(parse(self.dir.path(), words));
        receipts::run(&receipts::ReceiptsArgs { command }, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn journal(&self) -> std::path::PathBuf {
        self.state.run_dir(&self.run).join(FILE)
    }

    /// Cuts the journal behind record `seq`, as if the run were at that point.
    fn rewind(&self, seq: usize) {
        let text = fs::read_to_string(self.journal()).unwrap();
        fs::write(self.journal(), text.split_inclusive('\n').take(seq).collect::<String>()).unwrap();
    }

    fn live(&self) -> Lock {
        self.state.lock(&self.run).unwrap()
    }
}

#[test]
fn status_tells_what_became_of_each_task() {
    let world = world();
    insta::assert_snapshot!(world.status(&[]).unwrap(), @r#"
    release "β"  20261120T105230Z-1f9c03ab: failed, exit 1
    started 2026-11-20T10:52:30.999Z, 100ms: 1 pass, 1 fail, 1 skip

    TASK   STATE        ATTEMPT      TIME
    build  pass               1      40ms
    test   fail               1      40ms  it ended with "1"
    ship   skip                            it ended with "1"
    "#);
    assert_eq!(world.status(&["latest"]).unwrap(), world.status(&["20261120"]).unwrap());
}

#[test]
fn status_of_a_run_that_goes_on_and_of_one_that_broke_off() {
    let world = world();
    world.rewind(7);
    let live = world.live();
    let told = world.status(&[]).unwrap();
    assert!(
        told.contains(": running\n") && told.contains("test   starting") && told.contains("ship   waiting"),
        "{told}"
    );
    drop(live);
    fs::OpenOptions::new().append(true).open(world.journal()).unwrap().write_all(b"{\"v\":1").unwrap();
    let told = world.status(&[]).unwrap();
    assert!(told.contains("broken off: its process is gone") && told.contains("test   interrupted"), "{told}");
    assert!(told.contains("ship   not run") && told.contains("warning: 6 bytes at the end"), "{told}");
}

#[test]
fn status_json_is_the_protocols_run_and_more() {
    let world = world();
    let text = world.status(&["--json"]).unwrap();
    let run: Run = serde_json::from_str(&text).unwrap();
    assert_eq!((run.task_specs.len(), run.worker_specs.len(), run.exit_code), (3, 1, Some(1)));
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["live"], false);
    assert_eq!(json["tasks"][1]["state"], "failed");
    assert_eq!(json["tasks"][1]["receipt"]["result"], "fail");
    assert_eq!(json["tasks"][2]["id"], "ship");
}

#[test]
fn receipts_are_shown_as_they_were_written() {
    let world = world();
    let all: Vec<Receipt> = serde_json::from_str(&world.receipts(&["latest"]).unwrap()).unwrap();
    assert_eq!(
        all.iter().map(|r| r.result).collect::<Vec<_>>(),
        [TaskResult::Pass, TaskResult::Fail, TaskResult::Skip]
    );
    let one = world.receipts(&["2026", "test"]).unwrap();
    assert_eq!(serde_json::from_str::<Receipt>(&one).unwrap(), all[1]);
    assert!(fs::read_to_string(world.journal()).unwrap().contains(one.trim_end()));
    world.rewind(6);
    assert_eq!(world.receipts(&["latest", "test"]).unwrap_err().code(), 2);
}

#[test]
fn logs_of_an_attempt_and_its_last_lines() {
    let world = world();
    let mut log = LogWriter::new(&world.state.run_dir(&world.run), "test", Attempt::FIRST);
    log.push(b"one\ntwo\n\nlast").unwrap();
    log.close().unwrap();
    assert_eq!(world.logs(&["latest", "test"]).unwrap(), "one\ntwo\n\nlast");
    assert_eq!(world.logs(&["test"]).unwrap(), "one\ntwo\n\nlast");
    for (lines, text) in [("0", ""), ("1", "last"), ("2", "\nlast"), ("3", "two\n\nlast"), ("9", "one\ntwo\n\nlast")] {
        assert_eq!(world.logs(&["test", "--tail", lines]).unwrap(), text, "--tail {lines}");
    }
    assert_eq!(world.logs(&["build"]).unwrap(), "");
    for (words, text) in [
        (&["tset"][..], "run 20261120T105230Z-1f9c03ab has no task `tset`; did you mean `test`?"),
        (&["ship"], "task `ship` was not started in run 20261120T105230Z-1f9c03ab"),
        (&["test", "--attempt", "2"], "task `test` has no attempt 2 in run 20261120T105230Z-1f9c03ab; it made 1"),
        (&["2025", "test"], "no run is called `2025`; the latest is 20261120T105230Z-1f9c03ab"),
    ] {
        let trouble = world.logs(words).unwrap_err();
        assert_eq!((trouble.to_string().as_str(), trouble.code()), (text, 2));
    }
}

#[test]
fn a_log_is_followed_to_the_end_of_its_task() {
    let world = world();
    let whole = fs::read_to_string(world.journal()).unwrap();
    world.rewind(8);
    let live = world.live();
    let run_dir = world.state.run_dir(&world.run);
    let told = std::thread::scope(|scope| {
        let reading = scope.spawn(|| world.logs(&["test", "--follow"]).unwrap());
        let mut log = LogWriter::new(&run_dir, "test", Attempt::FIRST);
        for piece in ["one\n", "two\n", "three"] {
            std::thread::sleep(std::time::Duration::from_millis(60));
            log.push(piece.as_bytes()).unwrap();
        }
        log.close().unwrap();
        fs::write(world.journal(), &whole).unwrap();
        reading.join().unwrap()
    });
    drop(live);
    assert_eq!(told, "one\ntwo\nthree");
}

#[test]
fn a_damaged_journal_is_not_believed() {
    let world = world();
    let mut bytes = fs::read(world.journal()).unwrap();
    bytes[200] ^= 1;
    fs::write(world.journal(), bytes).unwrap();
    for trouble in
        [world.status(&[]).unwrap_err(), world.logs(&["test"]).unwrap_err(), world.receipts(&["latest"]).unwrap_err()]
    {
        assert_eq!(trouble.code(), 10);
        assert!(trouble.to_string().contains("the journal is damaged at byte 0"), "{trouble}");
    }
}
