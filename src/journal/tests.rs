//! What must hold of writer, reader and fold together.

use std::fs;
use std::io::{Cursor, Write as _};
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::fold::{StateName, fold_reader};
use super::{Encoder, Event, FILE, Journal, ReadError, Reader, ReceiptAt, Receipts, fold};
use crate::id::{Attempt, Id, TaskId, WorkerId};
use crate::protocol::{Receipt, RunStatus, TaskResult, WorkerEvent};
use crate::samples::{self, START, full_receipt, run_id};
use crate::time::Stamp;

/// A small run with every journaled event: three tasks, one of them skipped, ended with exit code 1.
pub(crate) fn write_small_run(run_dir: &Path) {
    let fleet = samples::fleet(&["build", "test", "ship"]);
    let ids: Vec<TaskId> = fleet.tasks.ids().collect();
    let worker: WorkerId = fleet.workers.ids().next().unwrap();
    let mut journal = Journal::create(run_dir, &run_id()).unwrap();
    journal.begin(START, &fleet, ids.iter().copied()).unwrap();
    let mut now = START.0;
    let mut say = |event: Event<'_>| {
        now += 1;
        journal.record(Stamp(now), &event, &fleet)
    };
    for (task, result) in [(ids[0], TaskResult::Pass), (ids[1], TaskResult::Fail)] {
        let receipt = samples::receipt(&fleet.tasks[task].name, result);
        say(Event::Queued { task });
        say(Event::Starting { task, attempt: Attempt::FIRST, worker });
        say(Event::Running { task, attempt: Attempt::FIRST, pid: 4711 });
        assert_eq!(say(Event::Warning { text: "not journaled" }), 0);
        say(Event::Settled { task, receipt: &receipt });
    }
    let skipped = Receipt {
        worker_id: Arc::from(""),
        attempt: 0,
        started_at: None,
        exit_code: None,
        argv: [].into(),
        argv_digest: None,
        score: None,
        ..samples::receipt("ship", TaskResult::Skip)
    };
    say(Event::Settled { task: ids[2], receipt: &skipped });
    journal.write().unwrap();
    journal.end(Stamp(START.0 + 100), &fleet, RunStatus::Failed, 1).unwrap();
}

fn small_run() -> (tempfile::TempDir, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    write_small_run(dir.path());
    let bytes = fs::read(dir.path().join(FILE)).unwrap();
    (dir, bytes)
}

/// How many records come before the end or an error, and which.
fn read_all(bytes: &[u8]) -> (u64, Result<Option<super::reader::Torn>, ReadError>) {
    let mut reader = Reader::new(Cursor::new(bytes));
    let mut seq = 0;
    loop {
        match reader.next() {
            Ok(Some(line)) => seq = line.seq,
            Ok(None) => return (seq, Ok(reader.torn())),
            Err(error) => return (seq, Err(error)),
        }
    }
}

#[test]
fn a_run_is_folded_from_its_journal() {
    let (dir, _) = small_run();
    let folded = fold(dir.path()).unwrap();
    assert_eq!(folded.torn, None);
    let state = folded.state.unwrap();
    assert_eq!((&*state.id, &*state.name), (run_id().as_str(), "release \"β\""));
    assert_eq!((state.status, state.exit_code, state.seq), (RunStatus::Failed, Some(1), 11));
    let gist = |name: &str| {
        let task = state.task(name).unwrap();
        (task.state.unwrap(), task.attempt, task.pid, task.settled.unwrap().result)
    };
    assert_eq!(gist("build"), (StateName::Completed, 1, Some(4711), TaskResult::Pass));
    assert_eq!(gist("test"), (StateName::Failed, 1, Some(4711), TaskResult::Fail));
    assert_eq!(gist("ship"), (StateName::Cancelled, 0, None, TaskResult::Skip));
    let mut receipts = Receipts::open(dir.path()).unwrap();
    let receipt = receipts.get(&state.task("test").unwrap().settled.unwrap()).unwrap();
    assert_eq!(receipt, Receipt { journal_seq: 9, ..samples::receipt("test", TaskResult::Fail) });
}

#[test]
fn lines_are_the_protocols_types_byte_for_byte() {
    let (_dir, bytes) = small_run();
    let mut reader = Reader::new(Cursor::new(&bytes));
    let mut last_run = None;
    while let Some(line) = reader.next().unwrap() {
        let text = std::str::from_utf8(line.bytes).unwrap();
        if let Some(event) = line.event().unwrap() {
            assert_eq!((event.seq, event.timestamp), (line.seq, line.at));
            let again = serde_json::to_string(&event).unwrap();
            assert!(text.contains(&format!("\"event\":{again}")), "{text}\n{again}");
        }
        if let Some(receipt) = line.receipt().unwrap() {
            assert_eq!(receipt.journal_seq, line.seq);
            let again = serde_json::to_string(&receipt).unwrap();
            assert!(text.contains(&format!("\"receipt\":{again},\"sum\"")), "{text}\n{again}");
        }
        if let Some(run) = line.run().unwrap() {
            let again = serde_json::to_string(&run).unwrap();
            assert!(text.contains(&format!("\"run\":{again},\"sum\"")), "{text}\n{again}");
            last_run = Some(run);
        }
    }
    let run = last_run.unwrap();
    assert_eq!((run.status, run.exit_code, run.task_specs.len()), (RunStatus::Failed, Some(1), 0));
}

#[test]
fn an_event_alone_can_tell_all() {
    let fleet = samples::fleet(&["test"]);
    let mut out = Vec::new();
    let receipt = full_receipt();
    let event = Event::Settled { task: TaskId::from_index(0), receipt: &receipt };
    Encoder::new(&run_id()).event(&mut out, 77, START, &event, &fleet, ReceiptAt::Extra);
    let event: WorkerEvent<'_> = serde_json::from_slice(&out).unwrap();
    assert_eq!(serde_json::to_vec(&event).unwrap(), out);
    let inside: Receipt = serde_json::from_value(event.extra["receipt"].clone()).unwrap();
    assert_eq!(inside, Receipt { journal_seq: 77, ..receipt });
    assert_eq!(event.extra["result"], "partial");
}

#[test]
fn cut_at_every_byte_every_whole_record_is_recovered() {
    let (_dir, bytes) = small_run();
    for end in 0..=bytes.len() {
        let cut = &bytes[..end];
        let whole = cut.split_inclusive(|b| *b == b'\n').filter(|line| line.ends_with(b"\n")).count() as u64;
        let (seq, end_of_it) = read_all(cut);
        let torn = end_of_it.unwrap_or_else(|error| panic!("cut at {end}: {error}"));
        assert_eq!(seq, whole, "cut at {end}");
        let last = cut.iter().rposition(|b| *b == b'\n').map_or(0, |at| at as u64 + 1);
        let expected = (last < end as u64).then(|| super::reader::Torn { offset: last, bytes: end as u64 - last });
        assert_eq!(torn, expected, "cut at {end}");
    }
}

#[test]
fn a_run_that_is_being_written_can_be_followed() {
    let (_dir, bytes) = small_run();
    let dir = tempfile::tempdir().unwrap();
    let mut file = fs::File::create(dir.path().join(FILE)).unwrap();
    let mut reader = Reader::open(dir.path()).unwrap();
    let mut state = None;
    for piece in bytes.chunks(97) {
        file.write_all(piece).unwrap();
        super::fold::advance(&mut reader, &mut state).unwrap();
    }
    assert_eq!((state.unwrap().exit_code, reader.torn()), (Some(1), None));
}

#[test]
fn a_flipped_bit_is_noticed_wherever_it_is() {
    let (_dir, bytes) = small_run();
    let last_line = bytes[..bytes.len() - 1].iter().rposition(|b| *b == b'\n').unwrap() + 1;
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        let line = bytes[..at].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1) as u64;
        // Without the newline before it, the last line is the end of the one before, and both are cut.
        let is_end = at + 1 >= last_line;
        match read_all(&flipped).1 {
            Err(ReadError::Damaged { offset, .. }) => {
                assert!(!is_end && offset == line, "byte {at}: refused at {offset}");
            }
            Ok(Some(torn)) => {
                assert!(is_end, "byte {at} is cut although good records follow");
                assert_eq!((torn.offset, torn.bytes), (line, bytes.len() as u64 - line), "byte {at}");
            }
            other => panic!("byte {at}: {other:?}"),
        }
    }
}

#[test]
fn a_line_of_another_run_or_order_is_refused() {
    let (_dir, bytes) = small_run();
    let lines: Vec<&[u8]> = bytes.split_inclusive(|b| *b == b'\n').collect();
    let mut swapped = lines.clone();
    swapped.swap(2, 3);
    let mut dropped = lines.clone();
    dropped.remove(4);
    let mut doubled = lines.clone();
    doubled.insert(5, lines[5]);
    for (name, changed) in
        [("swapped", swapped), ("dropped", dropped), ("doubled", doubled), ("headless", lines[1..].into())]
    {
        assert!(matches!(read_all(&changed.concat()).1, Err(ReadError::Damaged { .. })), "{name}");
    }
    // Only the chain can tell: the line is whole and has the right number.
    let other = tempfile::tempdir().unwrap();
    let fleet = samples::fleet(&["other"]);
    let mut journal = Journal::create(other.path(), &run_id()).unwrap();
    journal.begin(START, &fleet, fleet.tasks.ids()).unwrap();
    journal.record(START, &Event::Queued { task: TaskId::from_index(0) }, &fleet);
    journal.write().unwrap();
    let other = fs::read(other.path().join(FILE)).unwrap();
    let foreign = other.split_inclusive(|b| *b == b'\n').nth(1).unwrap();
    let (seq, end) = read_all(&[lines[0], foreign].concat());
    assert!(seq == 1 && matches!(end, Err(ReadError::Damaged { .. })), "{end:?}");
}

#[test]
fn a_version_to_come_is_named() {
    let mut line = br#"{"v":2,"what":"ever"#.to_vec();
    line.push(b'"');
    let sum = crate::digest::Digest::of(&line).hex();
    line.extend_from_slice(format!(",\"sum\":\"{}\"}}\n", &sum[..8]).as_bytes());
    assert!(matches!(read_all(&line).1, Err(ReadError::Version { version: 2 })));
}

#[test]
fn a_big_run_is_written_in_pieces_that_make_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..2000).map(|n| format!("task-{n}")).collect();
    let fleet = samples::fleet(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut journal = Journal::create(dir.path(), &run_id()).unwrap();
    journal.begin(START, &fleet, fleet.tasks.ids()).unwrap();
    journal.record(
        START,
        &Event::Starting {
            task: TaskId::from_index(1999),
            attempt: Attempt(3),
            worker: fleet.workers.ids().next().unwrap(),
        },
        &fleet,
    );
    journal.write().unwrap();
    let mut reader = Reader::open(dir.path()).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().run().unwrap().unwrap().task_specs.len(), 2000);
    let state = fold(dir.path()).unwrap().state.unwrap();
    assert_eq!(state.tasks.len(), 2000);
    assert_eq!(
        (&*state.tasks[1999].name, &*state.tasks[1999].worker, state.tasks[1999].attempt),
        ("task-1999", "local", 3)
    );
    assert_eq!((state.status, state.exit_code), (RunStatus::Running, None));
}

#[test]
fn nothing_is_in_the_file_before_write_and_a_journal_is_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = samples::fleet(&["a"]);
    let mut journal = Journal::create(dir.path(), &run_id()).unwrap();
    assert!(Journal::create(dir.path(), &run_id()).is_err());
    journal.begin(START, &fleet, fleet.tasks.ids()).unwrap();
    let task = TaskId::from_index(0);
    assert_eq!(journal.next_seq(), 2);
    assert_eq!(journal.record(Stamp(START.0 + 1), &Event::Queued { task }, &fleet), 2);
    assert_eq!(fold(dir.path()).unwrap().state.unwrap().seq, 1);
    journal.write().unwrap();
    assert_eq!(fold(dir.path()).unwrap().state.unwrap().seq, 2);
    journal.sync_now().unwrap();
}

#[test]
fn a_journal_that_cannot_be_written_says_so_ever_after() {
    let fleet = samples::fleet(&["a"]);
    let mut journal =
        Journal::over(fs::OpenOptions::new().append(true).open("/dev/full").unwrap(), Vec::new(), &run_id()).unwrap();
    for _ in 0..2 {
        journal.record(START, &Event::Queued { task: TaskId::from_index(0) }, &fleet);
        assert_eq!(journal.write().unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    }
    assert_eq!(journal.end(START, &fleet, RunStatus::Failed, 74).unwrap_err().kind(), std::io::ErrorKind::StorageFull);
}

#[test]
fn a_sync_that_fails_is_reported_at_the_next_write() {
    // A pipe takes what is written and cannot be synced.
    let (reader, writer) = std::io::pipe().unwrap();
    let fleet = samples::fleet(&["a"]);
    let mut journal = Journal::over(std::os::fd::OwnedFd::from(writer).into(), Vec::new(), &run_id()).unwrap();
    journal.record(START, &Event::Queued { task: TaskId::from_index(0) }, &fleet);
    journal.write().unwrap();
    let since = std::time::Instant::now();
    while journal.write().is_ok() {
        assert!(since.elapsed().as_secs() < 20, "the failed sync was never reported");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    drop(reader);
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let (seq, end) = read_all(&bytes);
        prop_assert_eq!(seq, 0);
        prop_assert!(bytes.is_empty() || !matches!(end, Ok(None)));
    }

    #[test]
    fn pieces_of_a_journal_never_panic(cuts in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..5)) {
        thread_local! { static RUN: Vec<u8> = small_run().1; }
        let mut bytes = RUN.with(Clone::clone);
        for (from, to, byte) in cuts {
            if bytes.is_empty() { break; }
            let (a, b) = (from.index(bytes.len()), to.index(bytes.len()));
            bytes.splice(a.min(b)..a.max(b).min(a.min(b) + 40), [byte]);
        }
        let _ = fold_reader(&mut Reader::new(Cursor::new(&bytes)));
    }
}
