//! What the engine says and what came of it, without a supervisor around them.

use super::lay::LayError;
use super::*;

fn stages(dir: &Path, cache_bytes: u64) -> Stages {
    let wanted = frame::Place {
        root: dir.to_string_lossy().into_owned(),
        worker: "w".to_owned(),
        lease_ms: 0,
        cache_bytes,
        attempt_bytes: 1 << 20,
    };
    Stages::open(Place::open(&wanted, "run").unwrap(), crate::supervisor::sys::event().unwrap()).unwrap()
}

/// The frames of an outbox.
fn frames(out: &mut Outbox) -> Vec<(Kind, Vec<u8>)> {
    let mut bytes = &*std::mem::take(out.frames());
    let mut frames = Vec::new();
    while let Some(head) = frame::peek(bytes).unwrap() {
        let (frame, rest) = bytes.split_at(frame::HEADER_BYTES + head.length);
        frames.push((head.kind.unwrap(), frame[frame::HEADER_BYTES..].to_vec()));
        bytes = rest;
    }
    frames
}

fn listed(name: &str, bytes: &[u8]) -> OutputRef {
    OutputRef {
        path: name.into(),
        digest: Digest::of(bytes),
        size_bytes: bytes.len() as u64,
        mode: None,
        kind: EntryKind::File,
    }
}

#[test]
fn no_file_is_open_before_it_is_its_turn() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut stages = stages(dir.path(), 1 << 20);
    let mut out = Outbox::default();
    stages.stage(1, Stage { entries: Vec::new(), end: true }, &mut out);
    let copy = stages.dir(1).join(COPY);
    let names: Vec<String> = (0..2000).map(|i| format!("f{i}")).collect();
    for name in &names {
        std::fs::write(copy.join(name), name).unwrap();
    }
    let patterns = Collect { outputs: vec!["f*".to_owned()], files: Vec::new() };
    let Found { places, .. } = lay::collect(&stages.dir(1), &patterns);
    stages.attempts.get_mut(&1).unwrap().places = places;
    let digests: Vec<Digest> = names.iter().map(|name| Digest::of(name.as_bytes())).collect();
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    stages.fetch(1, &Wanted { digests: digests.clone() });
    // Other tests open and close theirs meanwhile.
    assert!(open() < before + 500);
    while stages.is_sending() {
        stages.pump(&mut out);
        for (kind, body) in frames(&mut out) {
            let piece = Piece::take(&body).unwrap();
            assert!(kind == Kind::Gives && piece.last && Digest::of(&piece.bytes) == piece.digest);
        }
    }
}

fn wait_for(stages: &mut Stages, out: &mut Outbox) {
    while !stages.porter.is_idle() {
        assert!(stages.carried(out).is_empty());
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

fn kept(stages: &Stages) -> u64 {
    let files = walkdir::WalkDir::new(stages.place.cas()).into_iter().flatten();
    files.filter(|entry| entry.file_type().is_file()).map(|entry| entry.metadata().unwrap().len()).sum()
}

fn content(stages: &mut Stages, digest: &Digest, bytes: &[u8], out: &mut Outbox) -> Vec<Next> {
    let mut body = Vec::new();
    piece::Squeeze::default().put(&mut body, digest, bytes, true);
    stages.content(&body, out).unwrap()
}

#[test]
fn kept_files_fit_their_bound_while_the_supervisor_lives() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut stages = stages(dir.path(), 4000);
    let mut out = Outbox::default();
    wait_for(&mut stages, &mut out);
    let files: Vec<Vec<u8>> = (0..20_u8).map(|i| vec![i; 1000]).collect();
    let entries: Vec<OutputRef> = files.iter().enumerate().map(|(i, bytes)| listed(&format!("f{i}"), bytes)).collect();
    stages.stage(1, Stage { entries: entries.clone(), end: true }, &mut out);
    for (bytes, entry) in files.iter().zip(&entries) {
        assert!(content(&mut stages, &entry.digest, bytes, &mut out).is_empty());
        wait_for(&mut stages, &mut out);
    }
    assert!(matches!(stages.attempts[&1].phase, Phase::Laid), "what an attempt waits for is not taken from it");
    stages.release(1);
    wait_for(&mut stages, &mut out);
    content(&mut stages, &Digest::of(&[99; 2000]), &[99; 2000], &mut out);
    stages.carried(&mut out);
    wait_for(&mut stages, &mut out);
    assert!(kept(&stages) <= 4000, "{}", kept(&stages));
    content(&mut stages, &Digest::of(&[98; 900]), &[98; 900], &mut out);
    content(&mut stages, &Digest::of(&[97; 3900]), &[97; 3900], &mut out);
    stages.leave();
    assert!(kept(&stages) <= 4000 && kept(&stages) > 0, "{}", kept(&stages));
}

#[test]
fn what_comes_broken_is_asked_for_again_by_all_that_wait_for_it() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut stages = stages(dir.path(), 1 << 20);
    let mut out = Outbox::default();
    wait_for(&mut stages, &mut out);
    let entry = listed("f", b"whole");
    for number in [1, 2] {
        stages.stage(number, Stage { entries: vec![entry.clone()], end: true }, &mut out);
    }
    let asked = |out: &mut Outbox| frames(out).iter().filter(|(kind, _)| *kind == Kind::Lacks).count();
    assert_eq!(asked(&mut out), 1);
    assert!(content(&mut stages, &entry.digest, b"broken", &mut out).is_empty());
    assert_eq!(asked(&mut out), 1);
    content(&mut stages, &entry.digest, b"whole", &mut out);
    assert!([1, 2].iter().all(|number| matches!(stages.attempts[number].phase, Phase::Laid)));
    // One that changes each time ends those that wait, with why.
    let changing = listed("g", b"never this");
    stages.stage(3, Stage { entries: vec![changing.clone()], end: true }, &mut out);
    for _ in 0..=AGAIN_MAX {
        assert_eq!(asked(&mut out), 1);
        content(&mut stages, &changing.digest, b"that", &mut out);
    }
    assert_eq!(asked(&mut out), 0);
    let Phase::Failed(failed) = &stages.attempts[&3].phase else { panic!("{:?}", stages.attempts[&3].phase) };
    assert_eq!(failed.error, "`g` could not be staged: it was changed while it was sent");
}

#[test]
fn what_an_attempt_made_before_a_scorer_ran_is_not_forgotten() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut stages = stages(dir.path(), 1 << 20);
    let mut out = Outbox::default();
    wait_for(&mut stages, &mut out);
    stages.stage(1, Stage { entries: Vec::new(), end: true }, &mut out);
    std::fs::write(stages.dir(1).join(COPY).join("made"), "made").unwrap();
    let collect = Collect { outputs: vec!["made".to_owned()], files: Vec::new() };
    let long = Exited { wall_ms: LOOK_EVERY_MS, ..Exited::default() };
    let mut ends = |collect: Option<&Collect>| {
        assert!(stages.ended(1, collect, &long, false));
        while !stages.porter.is_idle() {
            std::thread::sleep(std::time::Duration::from_millis(1));
            for next in stages.carried(&mut out) {
                assert!(matches!(next, Next::Exited(1, Exited { ended_by: None, .. })), "{next:?}");
            }
        }
        stages.attempts[&1].places.len()
    };
    assert_eq!((ends(Some(&collect)), ends(None)), (1, 1));
    let short = Exited { wall_ms: LOOK_EVERY_MS - 1, ..Exited::default() };
    assert!(!stages.ended(1, None, &short, false), "nobody waits for a look that finds nothing");
}

/// One attempt from its list to its release; the folder that it worked in.
fn lives(stages: &mut Stages, number: u32, entry: &OutputRef, spawn: Spawn, exited: &Exited) -> PathBuf {
    let mut out = Outbox::default();
    stages.stage(number, Stage { entries: vec![entry.clone()], end: true }, &mut out);
    let dir = stages.dir(number);
    assert!(matches!(stages.spawn(number, spawn), Some(Next::Spawn(..))));
    assert!(!stages.ended(number, None, exited, false));
    stages.release(number);
    wait_for(stages, &mut out);
    dir
}

#[test]
fn a_copy_that_nobody_changed_serves_again() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut stages = stages(dir.path(), 1 << 20);
    let mut out = Outbox::default();
    let (same, other) = (listed("f", b"same"), listed("f", b"other"));
    for (entry, bytes) in [(&same, &b"same"[..]), (&other, b"other")] {
        content(&mut stages, &entry.digest, bytes, &mut out);
    }
    let (plain, ended) = (Spawn::default, Exited::default());
    let first = lives(&mut stages, 1, &same, plain(), &ended);
    assert!(first.exists());
    assert_eq!(lives(&mut stages, 2, &same, plain(), &ended), first);
    let second = lives(&mut stages, 3, &other, plain(), &ended);
    assert!(second != first && !first.exists(), "it makes room for one that starts from something else");
    // What outlived its attempt may do so still.
    let left = Exited { leaked: vec!["left".to_owned()], ..Exited::default() };
    assert_eq!(lives(&mut stages, 4, &other, plain(), &left), second);
    assert!(!second.exists());
    let confined = Spawn { confine: Some(Box::default()), ..Spawn::default() };
    let third = lives(&mut stages, 5, &other, confined, &ended);
    assert!(third != second && !third.exists(), "of a sandbox nothing stays");
}

#[test]
fn a_copy_with_outputs_serves_no_other() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut stages = stages(dir.path(), 1 << 20);
    let mut out = Outbox::default();
    let entry = listed("f", b"same");
    content(&mut stages, &entry.digest, b"same", &mut out);
    stages.stage(1, Stage { entries: vec![entry], end: true }, &mut out);
    assert!(matches!(stages.spawn(1, Spawn::default()), Some(Next::Spawn(..))));
    let collect = Collect { outputs: vec!["f".to_owned()], files: Vec::new() };
    let passed = Exited { code: Some(0), ..Exited::default() };
    assert!(stages.ended(1, Some(&collect), &passed, false));
    while !matches!(stages.carried(&mut out)[..], [Next::Exited(..)]) {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let dir = stages.dir(1);
    stages.release(1);
    wait_for(&mut stages, &mut out);
    assert!(!dir.exists());
}

/// What takes a thread to look at is looked at while the next attempt waits for it: both are told at once.
#[test]
fn a_large_copy_serves_the_attempt_that_comes_with_its_release() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut stages = stages(dir.path(), 1 << 20);
    let mut out = Outbox::default();
    content(&mut stages, &Digest::of(b"same"), b"same", &mut out);
    let all = || Stage { entries: (0..=FILES_AT_ONCE).map(|n| listed(&format!("f{n}"), b"same")).collect(), end: true };
    stages.stage(1, all(), &mut out);
    wait_for(&mut stages, &mut out);
    let first = stages.dir(1);
    for (number, is_changed, is_given_up) in [(1, false, false), (2, true, false), (3, false, true)] {
        let dir = stages.dir(number);
        assert!(matches!(stages.spawn(number, Spawn::default()), Some(Next::Spawn(..))));
        if is_changed {
            std::fs::write(dir.join(COPY).join("f0"), "else").unwrap();
        }
        assert!(!stages.ended(number, None, &Exited::default(), false));
        stages.release(number);
        stages.stage(number + 1, all(), &mut out);
        assert!(matches!(stages.attempts[&(number + 1)].phase, Phase::Listing));
        if is_given_up {
            stages.release(number + 1);
        }
        wait_for(&mut stages, &mut out);
        assert_eq!(dir.exists(), !is_changed, "{number}");
        if !is_given_up {
            assert!(matches!(stages.attempts[&(number + 1)].phase, Phase::Laid));
            assert_eq!(stages.dir(number + 1) == dir, !is_changed, "{number}");
        }
    }
    assert!(!first.exists() && stages.checks.is_empty() && stages.going == stages.gone);
}

#[test]
fn a_copy_with_no_room_waits_for_what_is_being_removed() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut stages = stages(dir.path(), 1 << 20);
    let mut out = Outbox::default();
    wait_for(&mut stages, &mut out);
    let entry = listed("f", b"text");
    content(&mut stages, &entry.digest, b"text", &mut out);
    stages.stage(1, Stage { entries: vec![entry.clone()], end: true }, &mut out);
    let full = || Err(LayError::Full("the disk is full".to_owned()));
    // One folder is on its way out, which the loop has not heard of yet.
    let (go, gone) = std::sync::mpsc::channel();
    stages.remove(move || {
        let _ = gone.recv();
        Carried::Removed(0)
    });
    stages.attempts.get_mut(&1).unwrap().phase = Phase::Laying;
    assert!(stages.laid(1, full(), &mut out).is_none());
    assert!(matches!(stages.attempts[&1].phase, Phase::Laying) && stages.carried(&mut out).is_empty());
    // So is a file that comes, however often it would have been asked for again meanwhile.
    let other = listed("g", b"other");
    stages.stage(2, Stage { entries: vec![other.clone()], end: true }, &mut out);
    let asked = |out: &mut Outbox| frames(out).iter().filter(|(kind, _)| *kind == Kind::Lacks).count();
    assert_eq!(asked(&mut out), 1);
    let full_again = || Received::Full(other.digest, "the disk is full".to_owned());
    assert!(stages.received(full_again(), &mut out).is_empty());
    assert_eq!(asked(&mut out), 0);
    // What is removed from then on is not waited for: there may be no end of it.
    let (go_on, later) = std::sync::mpsc::channel::<()>();
    stages.remove(move || {
        let _ = later.recv();
        Carried::Removed(0)
    });
    go.send(()).unwrap();
    while !matches!(stages.attempts[&1].phase, Phase::Laid) {
        assert!(stages.carried(&mut out).is_empty());
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    go_on.send(()).unwrap();
    wait_for(&mut stages, &mut out);
    assert_eq!((asked(&mut out), stages.attempts[&2].again), (1, 0));
    assert!(matches!(stages.attempts[&1].phase, Phase::Laid), "{:?}", stages.attempts[&1].phase);
    // With nothing to wait for, it is told.
    stages.attempts.get_mut(&1).unwrap().phase = Phase::Laying;
    for _ in 0..2 {
        stages.laid(1, full(), &mut out);
    }
    assert!(matches!(stages.attempts[&1].phase, Phase::Failed(_)), "{:?}", stages.attempts[&1].phase);
}
