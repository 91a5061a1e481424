//! Whatever happens to a journal: nothing that verifies is lost, nothing is invented, and the result reads again.

use std::io::Cursor;

use super::super::tests::{small_run, standing_run};
use super::*;
use crate::samples::{START, run_id};

fn look_at(bytes: &[u8]) -> Found {
    look_in(Cursor::new(bytes), &run_id(), from(bytes)).unwrap()
}

fn from(bytes: &[u8]) -> impl FnMut(u64, &mut [u8]) -> io::Result<()> {
    |offset, piece| {
        let at = usize::try_from(offset).unwrap();
        piece.copy_from_slice(&bytes[at..at + piece.len()]);
        Ok(())
    }
}

fn repaired(bytes: &[u8]) -> (Found, Vec<u8>) {
    let found = look_at(bytes);
    let mut out = Vec::new();
    found.write(&mut out, START, from(bytes)).unwrap();
    (found, out)
}

/// The lines of a journal that are not repairs.
fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    lines.filter(|line| memchr::memmem::find(line, b",\"repaired\":{").is_none()).collect()
}

/// Reads to the end: whole, without a torn end, and nothing left to repair.
fn assert_reads(bytes: &[u8], what: &str) {
    let folded = fold_reader(&mut Reader::new(Cursor::new(bytes))).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(folded.torn, None, "{what}");
    assert!(look_at(bytes).is_whole(), "{what}");
}

#[test]
fn a_whole_journal_is_left_as_it_is() {
    for ((_dir, bytes), records) in [(small_run(), 11), (standing_run(), 4)] {
        let (found, made) = repaired(&bytes);
        assert!(found.is_whole() && !found.is_torn());
        assert_eq!((found.records(), made), (records, bytes));
    }
}

#[test]
fn cut_at_every_byte_every_complete_record_is_kept() {
    let (_dir, bytes) = small_run();
    let all = lines(&bytes);
    for end in 0..bytes.len() {
        let (found, made) = repaired(&bytes[..end]);
        // A record without its newline is complete all the same.
        let ends = all.iter().scan(0, |at, line| {
            *at += line.len();
            Some(*at)
        });
        let complete = ends.filter(|at| at - 1 <= end).count();
        assert_eq!(lines(&made), all[..complete], "cut at {end}");
        assert_eq!(found.lost, [], "cut at {end}");
        assert_reads(&made, &format!("cut at {end}"));
        let dropped: u64 = found.dropped.iter().map(|piece| piece.bytes).sum();
        let kept: usize = all[..complete].iter().map(|line| line.len()).sum();
        assert_eq!(dropped, end.saturating_sub(kept) as u64, "cut at {end}");
    }
}

#[test]
fn one_flipped_bit_anywhere_costs_one_record_at_most() {
    let (_dir, bytes) = small_run();
    let all = lines(&bytes);
    for at in 0..bytes.len() {
        let what = format!("byte {at}");
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        let (found, made) = repaired(&flipped);
        assert!(!found.is_whole(), "{what}: not noticed");
        let line = bytes[..at].split(|byte| *byte == b'\n').count() - 1;
        let expected: Vec<&[u8]> = if bytes[at] == b'\n' {
            all.clone()
        } else {
            all.iter().enumerate().filter(|(n, _)| *n != line).map(|(_, line)| *line).collect()
        };
        assert_eq!(lines(&made), expected, "{what}");
        let lost = (bytes[at] != b'\n' && line + 1 < all.len()).then(|| line as u64 + 1..=line as u64 + 1);
        assert_eq!(found.lost, Vec::from_iter(lost), "{what}");
        assert!(found.dropped.iter().all(|piece| (piece.offset..piece.offset + piece.bytes).contains(&(at as u64))));
        assert_reads(&made, &what);
    }
}

#[test]
fn a_receipt_that_is_lost_leaves_its_task_open_and_what_follows_stands() {
    let (_dir, bytes) = small_run();
    let mut damaged = bytes.clone();
    let at = bytes.split_inclusive(|byte| *byte == b'\n').take(4).map(<[u8]>::len).sum::<usize>();
    damaged[at + 50] ^= 4;
    let (found, made) = repaired(&damaged);
    assert_eq!((found.lost[0].clone(), found.offset()), (5..=5, at as u64));
    assert_eq!(found.dropped[0].tasks, ["build"]);
    let state = fold_reader(&mut Reader::new(Cursor::new(&made))).unwrap().state.unwrap();
    assert_eq!(state.lost, [5..=5]);
    let settled = |name: &str| state.task(name).unwrap().settled.is_some();
    assert_eq!((settled("build"), settled("test"), settled("ship")), (false, true, true));
    assert_eq!((state.seq, state.exit_code), (11, Some(1)));
}

#[test]
fn what_is_repaired_can_be_damaged_and_repaired_again() {
    let (_dir, bytes) = small_run();
    let mut damaged = bytes;
    for seq in [2_usize, 3, 6, 4, 5, 1, 10] {
        // The line that holds this number now.
        let key = format!("{{\"v\":1,\"seq\":{seq},");
        let at = memchr::memmem::find(&damaged, key.as_bytes()).unwrap_or_else(|| panic!("{seq} is there"));
        damaged[at + 60] ^= 1;
        let (_, made) = repaired(&damaged);
        assert_reads(&made, &format!("without {seq}"));
        damaged = made;
    }
    let state = fold_reader(&mut Reader::new(Cursor::new(&damaged))).unwrap().state.unwrap();
    assert_eq!(state.lost, [1..=6, 10..=10]);
    assert_eq!((&*state.name, state.tasks.len()), ("release \"β\"", 1));
}

#[test]
fn lines_in_another_order_twice_or_of_another_run_are_told_apart() {
    let (_dir, bytes) = small_run();
    let all = lines(&bytes);
    let mut swapped = all.clone();
    swapped.swap(2, 7);
    let mut doubled = all.clone();
    doubled.insert(8, all[3]);
    let other = String::from_utf8(all[4].to_vec()).unwrap().replace(run_id().as_str(), "20261120T105230Z-00000000");
    let other = signed(&other);
    let mut foreign = all.clone();
    foreign.insert(5, &other);
    for (what, lines) in [("swapped", swapped), ("doubled", doubled), ("foreign", foreign)] {
        let (found, made) = repaired(&lines.concat());
        assert!(!found.is_whole(), "{what}");
        assert_eq!((found.lost.len(), made == bytes), (0, true), "{what}");
    }
    // A record that names another predecessor than the one that is there, and what follows from it, prove nothing.
    let mut forged = String::from_utf8(all[9].to_vec()).unwrap();
    let at = forged.find("sha256:").unwrap() + 7;
    let digit = if forged[at..].starts_with('0') { "1" } else { "0" };
    forged.replace_range(at..=at, digit);
    let forged = signed(&forged);
    let mut wrong = all[..9].to_vec();
    wrong.push(&forged);
    assert_eq!(repaired(&wrong.concat()).1, all[..9].concat());
}

/// A line with a checksum that holds, whatever it says.
fn signed(line: &str) -> Vec<u8> {
    let head = line.rsplit_once(",\"sum\"").unwrap().0;
    let sum = crate::digest::Digest::of(head.as_bytes()).hex();
    format!("{head},\"sum\":\"{}\"}}\n", &sum[..8]).into_bytes()
}

#[test]
fn the_damaged_file_is_set_aside_each_time() {
    let (dir, bytes) = small_run();
    let path = dir.path().join(FILE);
    for n in 1..=2 {
        let mut damaged = bytes.clone();
        damaged[300 * n] ^= 1;
        fs::write(&path, &damaged).unwrap();
        let found = look(dir.path(), &run_id()).unwrap();
        let aside = found.repair(dir.path(), START).unwrap();
        assert_eq!(aside, dir.path().join(format!("{FILE}.damaged-{n}")));
        assert_eq!(fs::read(aside).unwrap(), damaged);
        assert_reads(&fs::read(&path).unwrap(), "the journal");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
}

#[test]
fn garbage_is_no_record_and_another_version_is_left_alone() {
    assert_eq!(look_at(b"garbage\n{\"v\":1,\"sum\":\"").records(), 0);
    assert_eq!(look_at(b"").records(), 0);
    let line = signed("{\"v\":9,\"seq\":1,\"sum\"");
    let error = look_in(Cursor::new(&line), &run_id(), from(&line)).unwrap_err();
    assert!(matches!(error, ReadError::Version { version: 9 }));
}
