//! The file of the stat cache: whole or not believed.

use std::sync::Barrier;

use super::*;

const NOW: i64 = 2_000_000_000_123_456_789;

fn entry(number: u64) -> Entry {
    let stamp = 1_000_000_000_000_000_001 + i64::try_from(number).unwrap();
    let stat = Stat { size: number, mtime: stamp, ctime: stamp, inode: number, device: 7, mode: 0o100_644 };
    Entry { stat, digest: Digest::of(&number.to_le_bytes()), hashed_at: NOW - 1 }
}

fn path_of(number: u64) -> String {
    format!("packages/p{}/src/module_{number}.rs", number % 50)
}

fn filled(file: Option<&Path>, numbers: std::ops::Range<u64>) -> Stats {
    let stats = Stats::open(file, NOW);
    numbers.for_each(|number| stats.put(&path_of(number), entry(number)));
    stats
}

fn known(stats: &Stats, numbers: std::ops::Range<u64>) -> usize {
    let found = |number: &u64| match stats.get(&path_of(*number), &entry(*number).stat) {
        Some(digest) => digest == entry(*number).digest || panic!("a wrong digest for {number}"),
        None => false,
    };
    numbers.filter(found).count()
}

fn keep(_: &str) -> bool {
    false
}

#[test]
fn entries_come_back_and_only_for_the_same_path_and_state() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cache/files");
    for count in [0, 1, 2, 3, 1_000] {
        filled(None, 0..count).save(&file, keep, |_| false).unwrap();
        let stats = Stats::open(Some(&file), NOW);
        assert_eq!(known(&stats, 0..2_000), usize::try_from(count).unwrap());
        std::fs::remove_file(&file).ok();
    }
    filled(None, 0..10).save(&file, keep, |_| false).unwrap();
    let stats = Stats::open(Some(&file), NOW);
    let same = entry(3).stat;
    let others = [
        Stat { size: 4, ..same },
        Stat { mtime: same.mtime + 1, ..same },
        Stat { ctime: same.ctime - 1, ..same },
        Stat { inode: 4, ..same },
        Stat { device: 8, ..same },
        Stat { mode: 0o100_755, ..same },
    ];
    assert!(others.iter().all(|other| stats.get(&path_of(3), other).is_none()));
    assert!(stats.get("packages", &same).is_none() && stats.get("", &same).is_none());
    assert_eq!(stats.get(&path_of(3), &same), Some(entry(3).digest));
}

#[test]
fn new_entries_join_those_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("files");
    filled(None, 0..100).save(&file, keep, |_| false).unwrap();
    let stats = filled(Some(&file), 100..150);
    let newer = Entry { digest: Digest::of(b"newer"), ..entry(5) };
    stats.put(&path_of(5), newer);
    // One that does not hold hides the one that did, and is not kept.
    stats.put(&path_of(6), Entry { hashed_at: entry(6).stat.ctime, ..entry(6) });
    assert_eq!(stats.get(&path_of(5), &newer.stat), Some(newer.digest));
    assert_eq!(stats.get(&path_of(6), &entry(6).stat), None);
    stats.save(&file, keep, |_| false).unwrap();
    let stats = Stats::open(Some(&file), NOW);
    assert_eq!(stats.get(&path_of(5), &newer.stat), Some(newer.digest));
    assert_eq!(stats.get(&path_of(6), &entry(6).stat), None);
    assert_eq!(known(&stats, 7..200), 143);
}

#[test]
fn nothing_new_is_nothing_to_write() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("files");
    let stats = Stats::open(None, NOW);
    stats.save(&file, keep, |_| false).unwrap();
    stats.put("young", Entry { hashed_at: entry(1).stat.ctime, ..entry(1) });
    stats.save(&file, keep, |_| false).unwrap();
    assert!(!file.exists(), "what will not be believed is no reason to write");
    stats.put("a", entry(1));
    std::fs::create_dir(&file).unwrap();
    assert!(stats.save(&file, keep, |_| false).is_err());
    std::fs::remove_dir(&file).unwrap();
    stats.save(&file, keep, |_| false).unwrap();
    assert!(file.exists(), "what could not be written is written later");
    std::fs::remove_file(&file).unwrap();
    stats.save(&file, keep, |_| false).unwrap();
    assert!(!file.exists(), "and only once");
}

#[test]
fn entries_of_files_that_are_gone_leave_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("files");
    filled(None, 0..100).save(&file, keep, |_| false).unwrap();
    let stats = Stats::open(Some(&file), NOW);
    assert_eq!(known(&stats, 0..50), 50);
    stats.put("new", entry(0));
    stats.save(&file, |path| path != path_of(70), |_| false).unwrap();
    let stats = Stats::open(Some(&file), NOW);
    assert_eq!(known(&stats, 0..100), 51, "those asked for, and the one that is there");
}

#[test]
fn a_damaged_file_is_an_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("files");
    filled(None, 0..20).save(&file, keep, |_| false).unwrap();
    let whole = std::fs::read(&file).unwrap();
    assert!(Flat::new(whole.clone()).is_some());
    for length in 0..whole.len() {
        assert!(Flat::new(whole[..length].to_vec()).is_none(), "cut to {length}");
    }
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        assert!(Flat::new(flipped).is_none(), "flipped at {at}");
    }
    assert!(Flat::new([&whole[..], b"more"].concat()).is_none());
    // Well summed, and still not to be used.
    for (at, byte) in [(16, 0xff), (HEADER + 8, 0xff), (HEADER + 12, 0xff), (whole.len() - 1, 0xff)] {
        let mut forged = whole.clone();
        forged[at] = byte;
        forged[at + usize::from(at + 1 < whole.len())] = byte;
        let sum = mix(&forged[16..]).to_le_bytes();
        forged[8..16].copy_from_slice(&sum);
        assert!(Flat::new(forged).is_none(), "forged at {at}");
    }
    for bytes in [&b""[..], b"flstat01", &[0; 4096], &whole[..whole.len() - 1]] {
        std::fs::write(&file, bytes).unwrap();
        let stats = Stats::open(Some(&file), NOW);
        assert_eq!(known(&stats, 0..20), 0);
        stats.put(&path_of(1), entry(1));
        stats.save(&file, keep, |_| false).unwrap();
        assert_eq!(known(&Stats::open(Some(&file), NOW), 0..20), 1);
    }
    // No file at all.
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert_eq!(known(&Stats::open(Some(&file), NOW), 0..20), 0);
}

#[test]
fn whoever_saves_last_wins_and_nobody_reads_a_torn_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("files");
    filled(None, 0..300).save(&file, keep, |_| false).unwrap();
    let start = Barrier::new(3);
    std::thread::scope(|scope| {
        for count in [300, 600] {
            let (file, start) = (&file, &start);
            scope.spawn(move || {
                start.wait();
                for _ in 0..20 {
                    filled(None, 0..count).save(file, keep, |_| false).unwrap();
                }
            });
        }
        start.wait();
        for _ in 0..40 {
            let found = known(&Stats::open(Some(&file), NOW), 0..700);
            assert!(found == 300 || found == 600, "{found}");
        }
    });
    let left = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, 1, "no temporary file is left");
}

#[test]
fn many_entries_take_little_room() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("files");
    filled(None, 0..20_000).save(&file, keep, |_| false).unwrap();
    let stats = Stats::open(Some(&file), NOW);
    assert_eq!(known(&stats, 0..20_000), 20_000);
    let flat = &stats.file;
    let bytes = flat.bytes.capacity() + flat.starts.capacity() * 4 + stats.asked.capacity();
    assert!(bytes < 5 << 20, "{bytes}");
}
