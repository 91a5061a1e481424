//! A journal that is damaged: what is said of it, and what a repair keeps.

use std::fs;

use super::support::Fleet;

const TWO: &str = "[tasks.a]\nrun = 'echo one'\n[tasks.b]\nneeds = ['a']\nrun = 'echo two'\n";

/// A run of two tasks and its journal.
fn recorded() -> (Fleet, Vec<u8>) {
    let fleet = Fleet::of(TWO).run(["run"]).passes().then();
    let bytes = fs::read(fleet.run_dir().join("journal.jsonl")).expect("a run has a journal");
    (fleet, bytes)
}

fn damage(fleet: &Fleet, bytes: &[u8]) {
    fs::write(fleet.run_dir().join("journal.jsonl"), bytes).expect("it is ours");
}

/// Where the nth line begins, from 0.
fn line(bytes: &[u8], n: usize) -> usize {
    bytes.split_inclusive(|byte| *byte == b'\n').take(n).map(<[u8]>::len).sum()
}

/// The line on which a task has its receipt.
fn receipt_of(bytes: &[u8], task: &str) -> usize {
    let text = String::from_utf8_lossy(bytes);
    let key = format!("\"task_id\":\"{task}\"");
    text.lines().position(|line| line.contains("\"receipt\"") && line.contains(&key)).expect("it has one")
}

#[test]
fn a_damaged_journal_names_the_place_and_the_way_out() {
    let (fleet, mut bytes) = recorded();
    let all = bytes.split(|byte| *byte == b'\n').count() - 1;
    fleet.run(["journal", "check"]).passes().says(&format!("run RUN: {all} records, all whole"));
    fleet.run(["journal", "repair"]).passes().says("nothing to repair");
    let lost = receipt_of(&bytes, "a");
    let at = line(&bytes, lost);
    bytes[at + 20] ^= 1;
    damage(&fleet, &bytes);
    let hint = format!(
        "damaged at byte {at}: this line is not what was written, and records follow it; \
         to keep what verifies: fleet journal repair RUN"
    );
    fleet.run(["status"]).fails_with(10).warns(&hint);
    fleet.run(["receipts", "show", "latest"]).fails_with(10).warns(&hint);
    fleet.run(["logs", "a"]).fails_with(10).warns(&hint);
    let left = all - 1;
    fleet.run(["journal", "check"]).fails_with(10).says(&format!("damaged at byte {at}; {left} records can be kept"));
    // The task whose receipt is lost is open again, the one behind it is not.
    fleet
        .run(["journal", "repair"])
        .passes()
        .says(&format!("{left} records kept, each as it was"))
        .says(&format!(" bytes at {at}, where one reads of a\n"))
        .says(&format!("lost     record {}\n", lost + 1))
        .says("open     a: no result of these is on record\n")
        .says("journal.jsonl.damaged-1\n");
    assert_eq!(fs::read(fleet.run_dir().join("journal.jsonl.damaged-1")).expect("it is kept"), bytes);
    fleet
        .run(["status"])
        .passes()
        .says("b     pass")
        .says(&format!("warning: the journal has lost record {}", lost + 1));
    fleet.run(["status", "--json"]).passes().says("\"id\":\"b\"");
    fleet.run(["receipts", "show", "latest", "b"]).passes().says("\"result\":\"pass\"");
    fleet.run(["receipts", "show", "latest", "a"]).fails_with(2).warns("has no receipt yet");
    fleet.run(["logs", "a"]).passes().says("one");
    fleet.run(["journal", "check"]).passes().says(&format!("{all} records, all whole"));
}

#[test]
fn a_torn_end_needs_no_repair_and_may_have_one() {
    let (fleet, bytes) = recorded();
    damage(&fleet, &bytes[..bytes.len() - 30]);
    fleet.run(["journal", "check"]).passes().says("records, all whole; what follows them is no record");
    fleet.run(["status"]).passes().says("warning: ");
    fleet.run(["journal", "repair"]).passes().says("records kept").never_says("lost");
    fleet.run(["status"]).passes().never_says("warning");
}

#[test]
fn nothing_is_made_of_nothing() {
    let (fleet, _) = recorded();
    damage(&fleet, b"no record at all\n");
    fleet.run(["journal", "repair"]).fails_with(10).warns("nothing to keep; it stays as it is");
    assert_eq!(fs::read(fleet.run_dir().join("journal.jsonl")).expect("it is there"), b"no record at all\n");
}

#[test]
fn a_journal_is_not_repaired_while_a_run_lives() {
    let fleet = Fleet::of("[tasks.a]\nsh = 'touch begun; while [ ! -e go ]; do sleep 0.01; done'\n");
    let mut run = fleet.start(["run"]);
    run.awaits("begun");
    fleet.run(["journal", "check"]).passes().says("all whole");
    fleet.run(["journal", "repair"]).fails_with(11).warns("run RUN of process");
    let fleet = fleet.file("go", "");
    run.ends().passes();
    drop(fleet);
}

/// Every byte is tried beside the code; here a sample of them goes all the way.
#[test]
fn whatever_is_flipped_or_cut_is_noticed_and_what_is_repaired_reads_again() {
    let (fleet, bytes) = recorded();
    let lines = bytes.split(|byte| *byte == b'\n').count() - 1;
    for step in 0..16 {
        let at = bytes.len() * step / 16 + step;
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (step % 8);
        damage(&fleet, &flipped);
        // Damage to the last line cannot be told from a torn end.
        let checked = fleet.run(["journal", "check"]);
        let told = if at + 1 >= line(&bytes, lines - 1) { checked.passes() } else { checked.fails_with(10) };
        drop(told.says("bytes at "));
        fleet.run(["journal", "repair"]).passes().says("kept");
        fleet.run(["journal", "check"]).passes().says("all whole");
        fleet.run(["status", "--json"]).passes().says("\"tasks\":");
        if at > line(&bytes, 1) {
            damage(&fleet, &bytes[..at]);
            fleet.run(["status"]).passes().says("TASK");
            fleet.run(["journal", "repair"]).passes().says("record");
            fleet.run(["status"]).passes().never_says("warning");
        }
    }
}
