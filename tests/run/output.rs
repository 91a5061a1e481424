//! What tasks print, when it is too much, when it is no text, and when nobody takes it.

use std::io::Read as _;
use std::process::{Child, ExitStatus};
use std::time::Instant;

use serde_json::Value;

use super::support::{Fleet, PATIENCE, processes, until};

/// A run whose standard output is a pipe that nobody reads yet.
fn unread<const N: usize>(fleet: &Fleet, words: [&str; N]) -> (Child, std::io::PipeReader) {
    let (reader, writer) = std::io::pipe().expect("there are pipes");
    let child = fleet.command(words).stdout(writer).spawn().expect("the program was built");
    (child, reader)
}

fn all_of(mut child: Child, mut reader: std::io::PipeReader) -> (ExitStatus, String) {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).expect("a pipe can be read");
    (child.wait().expect("it is our child"), String::from_utf8_lossy(&bytes).into_owned())
}

#[test]
fn a_reader_that_stands_still_holds_up_no_task() {
    let fleet = Fleet::of(
        "[tasks.a]\nsh = 'seq 1 3000000; touch printed'\n[tasks.b]\nneeds = ['a']\nsh = 'echo end; touch all'\n",
    );
    let (child, reader) = unread(&fleet, ["run", "-o", "stream"]);
    until("all tasks are over", || fleet.exists("all"));
    assert!(processes::memory_peak_kib(child.id()) < 150 << 10, "{}", processes::memory_peak_kib(child.id()));
    let (status, text) = all_of(child, reader);
    assert!(status.success());
    let marker = text.lines().find(|line| line.contains(" lines not shown; all of it: fleet logs ")).expect("a marker");
    let skipped: usize = marker.split(' ').nth(3).and_then(|count| count.parse().ok()).expect("a count");
    let shown = text.lines().filter(|line| line.starts_with("a | ") && !line.contains("not shown")).count();
    assert_eq!((shown + skipped, skipped > 100_000), (3_000_000, true), "{marker}");
    assert!(text.contains("b | … 1 line not shown") && text.contains("2 passed"), "{}", &text[text.len() - 300..]);
    assert_eq!(fleet.log("a").lines().count(), 3_000_000);
}

#[test]
fn logs_wait_for_the_reader_and_none_is_cut() {
    let fleet = Fleet::of(
        "[tasks.a]\nsh = 'seq 1 300000'\n[tasks.b]\nneeds = ['a']\nsh = 'seq 1 300000; echo end; touch all'\n",
    );
    let (child, reader) = unread(&fleet, ["run"]);
    until("all tasks are over", || fleet.exists("all"));
    until("it is on record", || fleet.receipts().len() == 2);
    let (status, text) = all_of(child, reader);
    assert!(status.success());
    assert_eq!(text.lines().filter(|line| line.parse::<u32>().is_ok()).count(), 600_000);
    assert!(!text.contains("not shown") && text.contains("\nend\n"));
}

#[test]
fn no_event_is_ever_left_out() {
    let tasks = (0..200).map(|n| format!("[tasks.t{n}]\nrun = 'true'\n")).collect::<Vec<_>>().concat();
    let needs: Vec<String> = (0..200).map(|n| format!("'t{n}'")).collect();
    let last = format!("[tasks.last]\nneeds = [{}]\nrun = 'touch all'\n", needs.join(", "));
    let fleet = Fleet::of(&(tasks + &last));
    let (child, reader) = unread(&fleet, ["run", "--json"]);
    until("all tasks are over", || fleet.exists("all"));
    let (status, text) = all_of(child, reader);
    assert!(status.success());
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
    assert_eq!(events.iter().filter(|event| event["state"] == "completed").count(), 201);
    assert!(events.is_sorted_by_key(|event| event["seq"].as_u64()));
}

#[test]
fn a_run_that_waits_for_its_reader_can_be_ended() {
    let fleet = Fleet::of("[tasks.a]\nsh = 'seq 1 300000'\n");
    let (mut child, reader) = unread(&fleet, ["run"]);
    until("it is over", || fleet.exists(".fleet/lock") && fleet.read(".fleet/lock").is_empty());
    let begin = Instant::now();
    while child.try_wait().expect("it is our child").is_none() {
        assert!(begin.elapsed() < PATIENCE, "it does not end");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it lives");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(child.wait().expect("it is our child").code(), Some(130));
    assert_eq!((fleet.result("a"), &fleet.end_record()["exit_code"]), ("pass".to_owned(), &0.into()));
    drop(reader);
}

#[test]
fn a_reader_that_leaves_is_not_waited_for() {
    let fleet = Fleet::of("[tasks.a]\nsh = 'seq 1 300000; touch all'\n");
    let (mut child, reader) = unread(&fleet, ["run"]);
    drop(reader);
    assert_eq!(child.wait().expect("it is our child").code(), Some(74));
    assert_eq!(fleet.result("a"), "pass");
}

#[test]
fn bytes_that_are_no_text_are_kept_as_they_are() {
    let fleet = Fleet::of("[tasks.odd]\nrun = 'cat bytes'\n");
    let all: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let fleet = fleet.file("bytes", &all);
    let output = fleet.command(["run"]).output().expect("the program was built");
    assert!(output.status.success());
    let kept = std::fs::read(fleet.run_dir().join("logs/odd.1.log")).expect("there is a log");
    assert_eq!(kept, all);
    let shown = fleet.command(["logs", "odd"]).output().expect("the program was built").stdout;
    assert_eq!(shown, all, "into a pipe as they are");
}

#[test]
fn very_much_without_a_newline_costs_no_memory_and_keeps_head_and_tail() {
    // The limit is 64 MiB.
    let fleet = Fleet::of(
        "[tasks.big]\nsh = 'touch begun; echo head; head -c 100000000 /dev/zero; printf tail; while [ ! -e go ]; do sleep 0.01; done'\n",
    );
    let mut run = fleet.start(["run", "-o", "on-fail"]);
    run.awaits("begun");
    until("all of it is read", || {
        fleet.run_dir().join("logs/big.1.log").metadata().is_ok_and(|it| it.len() > 65_000_000)
    });
    let peak = processes::memory_peak_kib(run.pid());
    assert!(peak < 100 << 10, "{peak} KiB");
    let fleet = fleet.file("go", "");
    let told = run.ends().passes();
    let log = told.receipt("big")["log"].clone();
    assert_eq!(log["truncated"], true);
    let bytes = std::fs::read(fleet.run_dir().join("logs/big.1.log")).expect("there is a log");
    assert!(bytes.starts_with(b"head\n") && bytes.ends_with(b"tail"));
    assert!(bytes.len() < (64 << 20) + 100 && log["bytes"] == bytes.len());
    let marker = b"[fleet: ";
    let at = bytes.windows(marker.len()).position(|piece| piece == marker).expect("there is a marker");
    let line = String::from_utf8_lossy(&bytes[at..at + 60]);
    assert!(line.contains(" bytes dropped here]"), "{line}");
}
