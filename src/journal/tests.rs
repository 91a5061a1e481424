//! What must hold of writer, reader and fold together.

use std::fs;
use std::io::{Cursor, Write as _};
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::fold::{StateName, fold_reader};
use super::{Encoder, Event, FILE, Journal, ReadError, Reader, ReceiptAt, Receipts, TaskState, fold};
use crate::id::{Attempt, Id, TaskId, WorkerId};
use crate::policy::retry::Next;
use crate::protocol::receipt::AttemptRecord;
use crate::protocol::receipt::{ReusedFrom, Score};
use crate::protocol::run::RunRequest;
use crate::protocol::{Receipt, RunStatus, TaskResult, WorkerEvent};
use crate::samples::{self, START, full_receipt, run_id};
use crate::time::Stamp;

/// A small run with every journaled event: three tasks, one of them skipped, ended with exit code 1.
pub(crate) fn write_small_run(run_dir: &Path) {
    let fleet = samples::fleet(&["build", "test", "ship"]);
    let ids: Vec<TaskId> = fleet.tasks.ids().collect();
    let worker: WorkerId = fleet.workers.ids().next().unwrap();
    let mut journal = Journal::create(run_dir, &run_id()).unwrap();
    journal.begin(START, &fleet, ids.iter().copied(), &RunRequest::default()).unwrap();
    let mut now = START.0;
    let mut say = |event: Event<'_>| {
        now += 1;
        journal.record(Stamp(now), &event, &fleet)
    };
    for (task, result) in [(ids[0], TaskResult::Pass), (ids[1], TaskResult::Fail)] {
        let receipt = samples::receipt(&fleet.tasks[task].name, result);
        say(Event::Queued { task });
        say(Event::Starting { task, attempt: Attempt::FIRST, worker, placement: None });
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

/// The same with results that stand: three tasks, two of them in one record.
fn write_standing_run(run_dir: &Path) -> Vec<Receipt> {
    let fleet = samples::fleet(&["build", "test", "ship"]);
    let mut journal = Journal::create(run_dir, &run_id()).unwrap();
    journal.begin(START, &fleet, fleet.tasks.ids(), &RunRequest::default()).unwrap();
    let mut receipts: Vec<Receipt> = (0..3).map(|n| reused_receipt(["build", "test", "ship"][n], [n; 8])).collect();
    for (at, count, seq) in [(0, 2, 2), (2, 1, 3)] {
        assert_eq!(journal.stand(Stamp(START.0 + 42), &receipts[at..at + count]), (seq, count));
        receipts[at..at + count].iter_mut().for_each(|receipt| receipt.journal_seq = seq);
    }
    journal.write().unwrap();
    journal.end(Stamp(START.0 + 100), &fleet, RunStatus::Completed, 0).unwrap();
    receipts
}

/// A receipt of a result that stands; each number chooses what is in one of its fields.
fn reused_receipt(task: &str, choice: [usize; 8]) -> Receipt {
    let full = full_receipt();
    let from = ReusedFrom {
        run_id: ["20261120T000000Z-00000000", "another"][choice[0] % 2].into(),
        journal_seq: 7 + choice[1] as u64,
        attempt: 1 + u32::try_from(choice[2] % 2).unwrap(),
        remote: choice[3] % 2 == 1,
    };
    let other = Score { value: 0.1, max: None, notes: Some("\"ü\"".to_owned()) };
    let metadata = [("a", json!(null)), ("b", json!({"c": null, "d": [1]})), ("reused", json!({"run_id": 3}))];
    Receipt {
        completed_at: Stamp(START.0 + 42),
        worker_id: "".into(),
        result: TaskResult::Pass,
        artifacts: if choice[4] % 2 == 1 { full.artifacts.clone() } else { Vec::new() },
        score: [full.score.clone(), None, Some(other)][choice[5] % 3].clone(),
        inputs_digest: (choice[6] % 2 < 1).then(|| crate::digest::Digest::of(task.as_bytes())),
        fingerprint: Some(crate::digest::Digest::of(&[b'f', u8::try_from(choice[6] % 256).unwrap()])),
        reused: Some(from),
        outputs: std::iter::repeat_n(full.outputs[0].clone(), choice[6] % 3).collect(),
        metadata: metadata.into_iter().take(choice[7] % 4).map(|(key, value)| (key.to_owned(), value)).collect(),
        ..blank(task)
    }
}

/// Without anything that an attempt leaves.
fn blank(task: &str) -> Receipt {
    Receipt {
        attempt: 0,
        started_at: None,
        duration_ms: 0,
        exit_code: None,
        cause: None,
        argv: [].into(),
        argv_digest: None,
        host: None,
        usage: None,
        ..samples::receipt(task, TaskResult::Pass)
    }
}

pub(super) fn standing_run() -> (tempfile::TempDir, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    write_standing_run(dir.path());
    let bytes = fs::read(dir.path().join(FILE)).unwrap();
    (dir, bytes)
}

pub(super) fn small_run() -> (tempfile::TempDir, Vec<u8>) {
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
fn results_that_stand_are_folded_as_single_ones_are() {
    let dir = tempfile::tempdir().unwrap();
    let written = write_standing_run(dir.path());
    let state = fold(dir.path()).unwrap().state.unwrap();
    assert_eq!((state.status, state.exit_code, state.seq), (RunStatus::Completed, Some(0), 4));
    // The same, each in a record of its own.
    let single = tempfile::tempdir().unwrap();
    let fleet = samples::fleet(&["build", "test", "ship"]);
    let mut journal = Journal::create(single.path(), &run_id()).unwrap();
    journal.begin(START, &fleet, fleet.tasks.ids(), &RunRequest::default()).unwrap();
    for (task, receipt) in fleet.tasks.ids().zip(&written) {
        journal.record(Stamp(START.0 + 42), &Event::Settled { task, receipt }, &fleet);
    }
    journal.write().unwrap();
    let single_state = fold(single.path()).unwrap().state.unwrap();
    let (mut receipts, mut singles) = (Receipts::open(dir.path()).unwrap(), Receipts::open(single.path()).unwrap());
    // Back and forth between the records.
    for at in [0, 2, 1, 0] {
        let (task, single) = (&state.tasks[at], &single_state.tasks[at]);
        let gist = |task: &TaskState| {
            let settled = task.settled.unwrap();
            let result = (settled.result, settled.failure_kind, settled.duration_ms);
            (task.name.clone(), task.worker.clone(), task.state, task.attempt, task.since, task.started, result)
        };
        assert_eq!(gist(task), gist(single));
        let receipt = receipts.get(&task.settled.unwrap()).unwrap();
        assert_eq!(receipt, written[at]);
        let single = singles.get(&single.settled.unwrap()).unwrap();
        assert_eq!(receipt, Receipt { journal_seq: receipt.journal_seq, ..single });
    }
}

#[test]
fn a_record_of_results_that_stand_has_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..50).map(|n| format!("task-{n}")).collect();
    let fleet = samples::fleet(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut journal = Journal::create(dir.path(), &run_id()).unwrap();
    journal.begin(START, &fleet, fleet.tasks.ids(), &RunRequest::default()).unwrap();
    let outputs = vec![full_receipt().outputs[0].clone(); 2000];
    let receipts: Vec<Receipt> =
        names.iter().map(|name| Receipt { outputs: outputs.clone(), ..reused_receipt(name, [0; 8]) }).collect();
    let (mut at, mut records) = (0, 0);
    while at < receipts.len() {
        at += journal.stand(Stamp(START.0 + 42), &receipts[at..]).1;
        records += 1;
    }
    journal.write().unwrap();
    assert!((10..=25).contains(&records), "{records}");
    let mut reader = Reader::open(dir.path()).unwrap();
    while let Some(line) = reader.next().unwrap() {
        assert!(line.bytes.len() < 2 << 20, "{}", line.bytes.len());
    }
    let state = fold(dir.path()).unwrap().state.unwrap();
    let mut read = Receipts::open(dir.path()).unwrap();
    for (task, receipt) in state.tasks.iter().zip(receipts) {
        let found = read.get(&task.settled.unwrap()).unwrap();
        assert_eq!(found, Receipt { journal_seq: found.journal_seq, ..receipt });
    }
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
    for (_dir, bytes) in [small_run(), standing_run()] {
        each_cut_is_recovered(&bytes);
    }
}

fn each_cut_is_recovered(bytes: &[u8]) {
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
    for (_dir, bytes) in [small_run(), standing_run()] {
        each_flipped_bit_is_noticed(&bytes);
    }
}

fn each_flipped_bit_is_noticed(bytes: &[u8]) {
    let last_line = bytes[..bytes.len() - 1].iter().rposition(|b| *b == b'\n').unwrap() + 1;
    for at in 0..bytes.len() {
        let mut flipped = bytes.to_vec();
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
    journal.begin(START, &fleet, fleet.tasks.ids(), &RunRequest::default()).unwrap();
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
    journal.begin(START, &fleet, fleet.tasks.ids(), &RunRequest::default()).unwrap();
    journal.record(
        START,
        &Event::Starting {
            task: TaskId::from_index(1999),
            attempt: Attempt(3),
            worker: fleet.workers.ids().next().unwrap(),
            placement: None,
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
    journal.begin(START, &fleet, fleet.tasks.ids(), &RunRequest::default()).unwrap();
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
    fn receipts_that_share_a_record_are_read_as_they_were_written(
        choices in proptest::collection::vec(any::<[u8; 8]>(), 1..6)
    ) {
        let names: Vec<String> = (0..choices.len()).map(|n| format!("t\"{n}")).collect();
        let receipts: Vec<Receipt> =
            names.iter().zip(&choices).map(|(name, choice)| reused_receipt(name, choice.map(usize::from))).collect();
        let dir = tempfile::tempdir().unwrap();
        let fleet = samples::fleet(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let mut journal = Journal::create(dir.path(), &run_id()).unwrap();
        journal.begin(START, &fleet, fleet.tasks.ids(), &RunRequest::default()).unwrap();
        prop_assert_eq!(journal.stand(START, &receipts), (2, receipts.len()));
        journal.write().unwrap();
        let state = fold(dir.path()).unwrap().state.unwrap();
        let mut read = Receipts::open(dir.path()).unwrap();
        for (task, receipt) in state.tasks.iter().zip(receipts) {
            let found = read.get(&task.settled.unwrap()).unwrap();
            prop_assert_eq!(found, Receipt { journal_seq: 2, ..receipt });
        }
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let (seq, end) = read_all(&bytes);
        prop_assert_eq!(seq, 0);
        prop_assert!(bytes.is_empty() || !matches!(end, Ok(None)));
    }

    #[test]
    fn pieces_of_a_journal_never_panic(standing in any::<bool>(), cuts in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..5)) {
        thread_local! { static RUNS: [Vec<u8>; 2] = [small_run().1, standing_run().1]; }
        let mut bytes = RUNS.with(|runs| runs[usize::from(standing)].clone());
        for (from, to, byte) in cuts {
            if bytes.is_empty() { break; }
            let (a, b) = (from.index(bytes.len()), to.index(bytes.len()));
            bytes.splice(a.min(b)..a.max(b).min(a.min(b) + 40), [byte]);
        }
        let _ = fold_reader(&mut Reader::new(Cursor::new(&bytes)));
    }
}

#[test]
fn attempts_that_others_followed_are_remembered() {
    let fleet = samples::fleet(&["build"]);
    let dir = tempfile::tempdir().unwrap();
    let task: TaskId = fleet.tasks.ids().next().unwrap();
    let worker: WorkerId = fleet.workers.ids().next().unwrap();
    let mut journal = Journal::create(dir.path(), &run_id()).unwrap();
    journal.begin(START, &fleet, [task], &RunRequest::default()).unwrap();
    let record = AttemptRecord { result: TaskResult::Fail, ..full_receipt().attempts.pop().unwrap() };
    let wait = std::time::Duration::from_millis(1234);
    let events = [
        Event::Queued { task },
        Event::Starting { task, attempt: Attempt::FIRST, worker, placement: None },
        Event::Running { task, attempt: Attempt::FIRST, pid: 4711 },
        Event::Restarted { task, record: &record, next: Next::Retry { attempt: 2, of: 3, wait } },
    ];
    for event in &events {
        journal.record(START, event, &fleet);
    }
    journal.write().unwrap();
    let state = fold(dir.path()).unwrap().state.unwrap();
    let build = state.task("build").unwrap();
    assert_eq!((build.state, build.attempt, build.pid), (Some(StateName::Restarted), 1, None), "nothing runs");
    assert_eq!(&*build.worker, &*fleet.workers[worker].name);
    assert_eq!(build.tried, [record]);

    let bytes = fs::read(dir.path().join(FILE)).unwrap();
    let mut reader = Reader::new(Cursor::new(&bytes));
    let mut last = None;
    while let Some(line) = reader.next().unwrap() {
        let event = line.event().unwrap();
        last = event.map(|event| (serde_json::to_value(&event).unwrap(), serde_json::to_string(&event).unwrap()));
    }
    let (event, again) = last.unwrap();
    assert!(std::str::from_utf8(&bytes).unwrap().contains(&again), "as the protocol's types write it");
    assert_eq!((&event["restart_count"], &event["extra"]["wait_ms"]), (&1.into(), &1234.into()));

    journal.record(START, &Event::Queued { task }, &fleet);
    journal.record(START, &Event::Starting { task, attempt: Attempt(2), worker, placement: None }, &fleet);
    journal.write().unwrap();
    let state = fold(dir.path()).unwrap().state.unwrap();
    let build = state.task("build").unwrap();
    assert_eq!((build.state, build.attempt, build.tried.len()), (Some(StateName::Starting), 2, 1));
}
