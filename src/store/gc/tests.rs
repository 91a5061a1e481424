//! What may go and what may not: the decision over tables, and the removal over a real state directory.

use std::fs::File;
use std::path::Path;

use super::*;
use crate::journal::tests::write_small_run;
use crate::journal::{Event, Journal};
use crate::protocol::receipt::{EntryKind, OutputRef};
use crate::protocol::{RunStatus, TaskResult};
use crate::samples;

const DAY: Duration = Duration::from_hours(24);

fn run_of(age: u32, at: usize) -> Run {
    Run { id: RunId::parse(&format!("r{at}")).unwrap(), age: DAY * age }
}

fn blob(name: u8, bytes: u64) -> Blob {
    let written = SystemTime::UNIX_EPOCH + DAY * u32::from(name);
    Blob { digest: Digest::of(&[name]), bytes, mode: 0o444, written }
}

/// Runs are told by their ages in days, newest first; a blob by its name, size, and the newest run that cites it. Returns
/// how many runs stay, and the names of the blobs that go.
fn planned(
    ages: &[u32],
    blobs: &[(u8, u64, Option<usize>)],
    days: Option<u32>,
    max_size: Option<u64>,
) -> (usize, Vec<u8>) {
    let runs: Vec<Run> = ages.iter().enumerate().map(|(at, age)| run_of(*age, at)).collect();
    let all: Vec<Blob> = blobs.iter().map(|(name, bytes, _)| blob(*name, *bytes)).collect();
    let limits = Limits { max_age: days.map(|days| DAY * days), max_size };
    let stay = young(&runs, limits);
    let cited =
        blobs.iter().filter_map(|(name, _, run)| Some((Digest::of(&[*name]), (*run).filter(|run| *run < stay)?)));
    let plan = plan(&runs, &all, &cited.collect(), limits);
    let gone = |name: &&u8| plan.blobs.iter().any(|blob| blob.digest == Digest::of(&[**name]));
    let names: Vec<u8> = blobs.iter().map(|(name, _, _)| *name).collect();
    (plan.runs_kept, names.iter().filter(gone).copied().collect())
}

#[test]
fn by_age_old_runs_go_and_then_what_nothing_cites() {
    let blobs = [(1, 10, Some(0)), (2, 10, Some(1)), (3, 10, Some(2)), (4, 10, None)];
    assert_eq!(planned(&[1, 5, 9], &blobs, Some(30), None), (3, vec![4]));
    assert_eq!(planned(&[1, 5, 9], &blobs, Some(5), None), (2, vec![3, 4]));
    assert_eq!(planned(&[1, 5, 9], &blobs, Some(0), None), (1, vec![2, 3, 4]), "the latest stays");
    assert_eq!(planned(&[9, 1, 9], &blobs, Some(5), None), (2, vec![3, 4]), "a run stays as long as an older one does");
    assert_eq!(planned(&[], &[(4, 10, None)], Some(5), None), (0, vec![4]));
}

#[test]
fn by_size_the_oldest_go_first_and_no_run_in_vain() {
    // The later the name, the later it was written.
    let blobs = [(1, 10, Some(0)), (2, 10, Some(1)), (3, 10, Some(2)), (4, 10, None), (5, 10, None)];
    let ages = [1, 5, 9, 11];
    assert_eq!(planned(&ages, &blobs, None, Some(50)), (4, vec![]));
    assert_eq!(planned(&ages, &blobs, None, Some(45)), (4, vec![4]));
    assert_eq!(planned(&ages, &blobs, None, Some(30)), (4, vec![4, 5]));
    assert_eq!(planned(&ages, &blobs, None, Some(29)), (2, vec![3, 4, 5]));
    assert_eq!(planned(&ages, &blobs, None, Some(0)), (1, vec![2, 3, 4, 5]), "what the latest cites stays");
    assert_eq!(planned(&ages, &[(1, 90, Some(0))], None, Some(0)), (4, vec![]), "nothing would be won");
    assert_eq!(planned(&ages, &blobs, Some(9), Some(29)), (2, vec![3, 4, 5]));
    assert_eq!(planned(&ages, &blobs, Some(9), Some(30)), (3, vec![4, 5]));
}

/// A state directory with runs of these ages in days, the oldest first; each has an artifact of its own.
fn world(ages: &[u32]) -> (tempfile::TempDir, StateDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::of(dir.path());
    state.create().unwrap();
    let store = Store::open(state.path()).unwrap();
    for (at, age) in ages.iter().enumerate() {
        let run_dir = state.create_run(&RunId::parse(&format!("r{at}")).unwrap()).unwrap();
        write_small_run(&run_dir);
        make_older(&run_dir.join(crate::journal::FILE), DAY * *age);
    }
    (dir, state, store)
}

fn make_older(path: &Path, age: Duration) {
    File::options().append(true).open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
}

fn limits(days: u32) -> Limits {
    Limits { max_age: Some(DAY * days), max_size: None }
}

#[test]
fn what_is_collected_is_what_a_dry_run_said() {
    let (_dir, state, store) = world(&[50, 40, 1]);
    let loose = store.put_bytes(b"nobody's").unwrap().digest;
    fs::write(store.root.path().join(".put-new"), "going on").unwrap();
    fs::write(store.root.path().join(".put-old"), "left").unwrap();
    make_older(&store.root.path().join(".put-old"), UNFINISHED_AGE * 2);
    fs::create_dir_all(state.runs_dir().join(".going-r9/logs")).unwrap();
    let said = collect(&state, limits(30), true).unwrap();
    assert_eq!(state.runs().unwrap().len(), 3);
    assert_eq!(store.verify(&loose).unwrap(), 8);
    let done = collect(&state, limits(30), false).unwrap();
    for collected in [&said, &done] {
        let runs: Vec<&str> = collected.runs.iter().map(|gone| gone.run.as_str()).collect();
        assert_eq!(runs, ["r0", "r1"]);
        assert!(collected.runs.iter().all(|gone| gone.bytes > 0));
        assert_eq!(collected.blobs.iter().map(|blob| blob.digest).collect::<Vec<_>>(), [loose]);
        assert_eq!(collected.leftovers.len(), 1);
        assert_eq!((collected.kept_runs, collected.kept_blobs), (1, 0));
    }
    assert_eq!(state.runs().unwrap().len(), 1);
    assert_eq!(fs::read_dir(state.runs_dir()).unwrap().count(), 1);
    assert!(store.verify(&loose).is_err());
    assert!(store.root.path().join(".put-new").exists() && !store.root.path().join(".put-old").exists());
    assert_eq!(fs::read_dir(store.root.path().join("sha256")).unwrap().count(), 0, "empty folders go too");
}

/// A run whose one receipt has an artifact, and outputs of each kind; in a record of its own, or among results that stand.
fn write_citing_run(run_dir: &Path, stands: bool, [artifact, file, link]: [Digest; 3]) {
    let fleet = samples::fleet(&["make"]);
    let task = fleet.tasks.ids().next().unwrap();
    let mut receipt = samples::receipt("make", TaskResult::Pass);
    receipt.artifacts = samples::full_receipt().artifacts;
    receipt.artifacts[0].checksum = Some(artifact);
    let output = |path: &str, digest, kind| OutputRef { path: path.into(), digest, size_bytes: 1, mode: None, kind };
    receipt.outputs = vec![
        output("empty", Digest::of(b""), EntryKind::Directory),
        output("file", file, EntryKind::File),
        output("link", link, EntryKind::Symlink),
    ];
    let mut journal = Journal::create(run_dir, &samples::run_id()).unwrap();
    journal.begin(samples::START, &fleet, [task], &crate::protocol::run::RunRequest::default()).unwrap();
    if stands {
        journal.stand(samples::START, &[receipt]);
    } else {
        journal.record(samples::START, &Event::Settled { task, receipt: &receipt }, &fleet);
    }
    journal.end(samples::START, &fleet, RunStatus::Completed, 0).unwrap();
}

#[test]
fn what_a_receipt_cites_stays() {
    for stands in [false, true] {
        cited_stays(stands);
    }
}

fn cited_stays(stands: bool) {
    let (_dir, state, store) = world(&[1]);
    let names: [&[u8]; 5] = [b"artifact", b"file", b"link", b"nobody's", b""];
    let [artifact, file, link, loose, nothing] = names.map(|bytes| store.put_bytes(bytes).unwrap().digest);
    let run = RunId::parse("r1").unwrap();
    write_citing_run(&state.create_run(&run).unwrap(), stands, [artifact, file, link]);
    let made_by = reach::makers(&state, &[file, loose].into()).unwrap();
    assert_eq!(made_by[&file], [("make".to_owned(), run)].into());
    assert!(!made_by.contains_key(&loose));
    collect(&state, limits(30), false).unwrap();
    for (digest, stays) in [(artifact, true), (file, true), (link, true), (loose, false), (nothing, false)] {
        assert_eq!(store.verify(&digest).is_ok(), stays, "{digest}");
    }
}

#[test]
fn nothing_goes_while_a_run_is_going_on_or_a_kept_journal_cannot_be_read() {
    let (_dir, state, store) = world(&[40, 1]);
    let loose = store.put_bytes(b"nobody's").unwrap().digest;
    let lock = state.lock(&RunId::parse("r7").unwrap()).unwrap();
    assert!(matches!(collect(&state, limits(30), false), Err(GcError::Lock(LockError::Locked { .. }))));
    drop(lock);
    let journal = state.run_dir(&RunId::parse("r1").unwrap()).join(crate::journal::FILE);
    let text = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, text.replacen("\"at\"", "\"AT\"", 1)).unwrap();
    assert!(matches!(collect(&state, limits(30), false), Err(GcError::Journal { .. })));
    assert_eq!(state.runs().unwrap().len(), 2);
    store.verify(&loose).unwrap();
    // One that goes by its age is not read.
    fs::write(&journal, text).unwrap();
    let old = state.run_dir(&RunId::parse("r0").unwrap()).join(crate::journal::FILE);
    fs::write(&old, "damaged\n{}\n").unwrap();
    make_older(&old, DAY * 40);
    collect(&state, limits(30), false).unwrap();
    assert_eq!(state.runs().unwrap().len(), 1);
}

#[test]
fn without_a_state_directory_there_is_nothing_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let collected = collect(&StateDir::of(dir.path()), limits(30), false).unwrap();
    assert_eq!((collected.runs.len(), collected.kept_runs), (0, 0));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
