//! Where everything of ours is on a host whose files are not the run's:
//! `bin/` programs of ours · `cas/` kept files · `runs/<run>.<worker>/` one supervisor's attempts, exit log and lock.
//! A folder of `runs` whose lock nobody holds is what a supervisor left that died; the next one removes it, and ends
//! what still runs for it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::lay::private_folder;
use super::tree;
use crate::store::aged;
use crate::supervisor::frame::{self, Removed};
use crate::supervisor::{program, say, sweep};

/// How long a supervisor waits for the one before it in the same run to be gone; less than the usual lease, in which the
/// engine waits for us.
const GONE_MAX: Duration = Duration::from_secs(20);
/// A program that is younger may be one that is being sent; as the script says that receives it.
const SENT_MAX: Duration = Duration::from_mins(5);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const RUNS: &str = "runs";
const CAS: &str = "cas";
const LOCK: &str = "lock";
/// Begins the name of what is no run any more and is being removed.
const DEAD: &str = ".dead-";

#[derive(Debug)]
pub(in crate::supervisor) struct Place {
    root: PathBuf,
    run: PathBuf,
    pub(super) cache_bytes: u64,
    pub(super) attempt_bytes: u64,
    /// Held for as long as this process lives.
    _lock: File,
}

impl Place {
    /// Makes the place ready, and ends what dead supervisors have left in it.
    ///
    /// # Errors
    /// When there is no folder that can be written, or another supervisor serves the same worker in the same run.
    pub(in crate::supervisor) fn open(wanted: &frame::Place, run: &str) -> io::Result<Self> {
        let root = root(&wanted.root)?;
        let runs = root.join(RUNS);
        private_folder(&runs)?;
        // A worker's name may hold no slash, and neither may a run's.
        let run = runs.join(format!("{run}.{}", wanted.worker));
        sweep_dead(&runs, &run);
        let lock = lock(&run, GONE_MAX)?;
        for left in sweep::state(&run, &[run.join("exits.log")]).ended {
            say(format_args!("fleet supervisor: ended what was left of an earlier one: {left}"));
        }
        tree::remove(&run.join("attempts"));
        private_folder(&run.join("attempts"))?;
        let frame::Place { cache_bytes, attempt_bytes, .. } = *wanted;
        Ok(Self { root, run, cache_bytes, attempt_bytes, _lock: lock })
    }

    /// Removes everything of this run; for when no process lives any more.
    pub(super) fn leave(&self) {
        // What cannot be put aside is left to the next one.
        if let Ok(aside) = put_aside(&self.run) {
            tree::remove(&aside);
        }
    }

    /// Removes what dead supervisors have left, which can be a lot of files.
    pub(super) fn remove_dead(root: &Path) {
        for run in dead(root) {
            tree::remove(&run);
        }
    }

    /// The same where nothing is to be kept: no files, and no programs of ours but those that run, or are about to. Says
    /// what went.
    pub(super) fn remove_everything(root: &Path) -> Removed {
        let mut removed = Removed { dead_runs: dead(root).map(sized).sum(), ..Removed::default() };
        Self::remove_dead(root);
        (removed.kept_files, _) = aged::trim(&root.join(CAS), 0);
        let ours = program::again().ok().and_then(|words| Path::new(words.last()?).parent().map(Path::to_owned));
        let is_unused = |program: &PathBuf| ours.as_ref() != Some(program) && !is_fresh(program);
        // A run of another build starts its program again for each task that it confines.
        let others = below(&root.join(RUNS)).filter(|run| !is_dead(run)).count() > 1;
        for program in below(&root.join("bin")).filter(|program| !others && is_unused(program)) {
            removed.programs += sized(program.clone());
            tree::remove(&program);
        }
        removed
    }

    pub(in crate::supervisor) fn root(&self) -> &Path {
        &self.root
    }

    /// What marks the processes of this supervisor.
    pub(in crate::supervisor) fn state(&self) -> &Path {
        &self.run
    }

    pub(in crate::supervisor) fn exit_log(&self) -> PathBuf {
        self.run.join("exits.log")
    }

    pub(super) fn cas(&self) -> PathBuf {
        self.root.join(CAS)
    }

    pub(super) fn attempts(&self) -> PathBuf {
        self.run.join("attempts")
    }

    pub(super) fn attempt(&self, number: u32) -> PathBuf {
        self.attempts().join(number.to_string())
    }
}

/// Removes a place in which no supervisor serves any more. Says what went.
///
/// # Errors
/// When something of it stays.
pub(crate) fn clean(root: &Path) -> io::Result<Removed> {
    let dead_runs = below(&root.join(RUNS)).map(sized).sum();
    let (kept_files, _) = aged::trim(&root.join(CAS), 0);
    tree::remove(root);
    let stays = root.try_exists()?;
    if stays {
        Err(io::Error::other("something in it cannot be removed"))
    } else {
        Ok(Removed { kept_files, dead_runs, programs: 0 })
    }
}

/// Makes a run's folder and locks it. Whoever finds it dead may put it aside at any time before that, with the lock that
/// we have opened, so what counts is the lock that is there when we have it.
fn lock(run: &Path, patience: Duration) -> io::Result<File> {
    let begin = Instant::now();
    loop {
        private_folder(run)?;
        let file = match File::options().read(true).append(true).create(true).open(run.join(LOCK)) {
            Ok(file) => file,
            // It was put aside just now.
            Err(error) if error.kind() == io::ErrorKind::NotFound && begin.elapsed() < patience => continue,
            Err(error) => return Err(error),
        };
        match file.try_lock() {
            Ok(()) if is_there(&file, run) => return Ok(file),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) if begin.elapsed() < patience => std::thread::sleep(LOOK_EVERY),
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::other("another supervisor still serves this worker in this run"));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Whether a lock is the one that a run's folder has now.
fn is_there(lock: &File, run: &Path) -> bool {
    let place = |about: fs::Metadata| (about.dev(), about.ino());
    let there = fs::symlink_metadata(run.join(LOCK)).map(place);
    there.is_ok_and(|there| lock.metadata().is_ok_and(|about| place(about) == there))
}

/// Takes a run's folder away at once, under its lock: whoever begins the run anew must not share one that is being emptied.
fn put_aside(run: &Path) -> io::Result<PathBuf> {
    // No two folders that are there have the same number.
    let aside = run.with_file_name(format!("{DEAD}{}", fs::symlink_metadata(run)?.ino()));
    fs::rename(run, &aside)?;
    Ok(aside)
}

fn below(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// What was put aside.
fn dead(root: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    below(&root.join(RUNS)).filter(|run| is_dead(run))
}

#[expect(clippy::needless_pass_by_value, reason = "for iterators of paths")]
fn sized(path: PathBuf) -> u64 {
    tree::taken(&path, &AtomicBool::new(false))
}

/// Whether it is so young that a run may be sending it, or about to start it.
fn is_fresh(program: &Path) -> bool {
    let is_young = |path: PathBuf| {
        let modified = fs::symlink_metadata(path).and_then(|about| about.modified());
        modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age < SENT_MAX))
    };
    below(program).chain([program.to_owned()]).any(is_young)
}

fn is_dead(run: &Path) -> bool {
    run.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(DEAD.as_bytes()))
}

/// Ends what supervisors of other runs have left that are dead, and puts their folders aside.
fn sweep_dead(runs: &Path, mine: &Path) {
    for run in below(runs) {
        if run == mine || is_dead(&run) {
            continue;
        }
        // One that begins just now makes its lock again if we are first.
        let lock = File::options().read(true).append(true).create(true).open(run.join(LOCK));
        if let Ok(lock) = lock
            && lock.try_lock().is_ok()
            && is_there(&lock, &run)
        {
            let _ = sweep::state(&run, &[run.join("exits.log")]);
            // What stays is found again by the next one.
            let _ = put_aside(&run);
        }
    }
}

/// The folder that was asked for, or the first of the usual ones that can be written; absolute and free of links.
fn root(wanted: &str) -> io::Result<PathBuf> {
    if !wanted.is_empty() {
        let made = private_folder(Path::new(wanted)).and_then(|()| Path::new(wanted).canonicalize());
        return made.map_err(|error| io::Error::new(error.kind(), format!("`{wanted}` cannot be used: {error}")));
    }
    let uid = rustix::process::getuid().as_raw();
    let variable = |name: &str| std::env::var_os(name).filter(|value| value.as_encoded_bytes().starts_with(b"/"));
    let usual = [
        variable("XDG_CACHE_HOME").map(|dir| Path::new(&dir).join("fleet")),
        variable("HOME").map(|dir| Path::new(&dir).join(".cache/fleet")),
        Some(PathBuf::from(format!("/var/tmp/fleet-{uid}"))),
        Some(PathBuf::from(format!("/tmp/fleet-{uid}"))),
    ];
    let mut last = io::Error::other("there is no folder to work in");
    for folder in usual.into_iter().flatten() {
        match usable(&folder) {
            Ok(folder) => return Ok(folder),
            Err(error) => {
                last = io::Error::new(error.kind(), format!("`{}` cannot be used: {error}", folder.display()));
            }
        }
    }
    Err(last)
}

/// A shared folder such as `/tmp` may hold what another user has put there under our name.
fn usable(folder: &Path) -> io::Result<PathBuf> {
    private_folder(folder)?;
    let about = fs::symlink_metadata(folder)?;
    if !about.is_dir() || about.uid() != rustix::process::getuid().as_raw() {
        return Err(io::Error::other("it is somebody else's"));
    }
    tempfile::tempfile_in(folder)?;
    folder.canonicalize()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn wanted(root: &Path) -> frame::Place {
        let (root, worker) = (root.to_string_lossy().into_owned(), "w".to_owned());
        frame::Place { root, worker, lease_ms: 0, cache_bytes: 0, attempt_bytes: 0 }
    }

    #[test]
    fn a_dead_run_is_put_aside_and_a_live_one_is_not() {
        let dir = tempfile::TempDir::new().unwrap();
        let live = Place::open(&wanted(dir.path()), "live").unwrap();
        let dead = Place::open(&wanted(dir.path()), "dead").unwrap();
        fs::write(dead.attempts().join("file"), "").unwrap();
        let gone = dead.state().to_owned();
        drop(dead);
        let next = Place::open(&wanted(dir.path()), "next").unwrap();
        assert!(!gone.exists() && live.attempts().exists() && next.attempts().exists());
        let runs = || fs::read_dir(dir.path().join(RUNS)).unwrap().flatten();
        assert_eq!(runs().filter(|entry| is_dead(&entry.path())).count(), 1);
        Place::remove_dead(next.root());
        assert_eq!(runs().count(), 2);
        let mine = lock(live.state(), Duration::ZERO).unwrap_err();
        assert_eq!(mine.to_string(), "another supervisor still serves this worker in this run");
    }

    #[test]
    fn a_program_that_may_be_in_use_is_left_alone() {
        let dir = tempfile::TempDir::new().unwrap();
        let mine = Place::open(&wanted(dir.path()), "mine").unwrap();
        let sent = |name: &str, minutes: u64| {
            let folder = dir.path().join("bin").join(name);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("fleet"), "").unwrap();
            let then = std::time::SystemTime::now() - Duration::from_mins(minutes);
            for path in [folder.join("fleet"), folder.clone()] {
                File::open(path).unwrap().set_modified(then).unwrap();
            }
            folder
        };
        let (old, new, sending) = (sent("old", 60), sent("new", 1), sent(".in-1", 1));
        Place::remove_everything(mine.root());
        assert!(!old.exists() && new.exists() && sending.exists());
        let old = sent("old", 60);
        let other = Place::open(&wanted(dir.path()), "other").unwrap();
        Place::remove_everything(mine.root());
        assert!(old.exists(), "another run may start its programs again");
        drop(other);
    }

    /// Whoever has opened a place has it, whatever is swept meanwhile.
    #[test]
    fn a_run_that_begins_while_others_sweep_keeps_its_folder() {
        let dir = tempfile::TempDir::new().unwrap();
        let runs = dir.path().join(RUNS);
        fs::create_dir(&runs).unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    sweep_dead(&runs, Path::new(""));
                }
            });
            for number in 0..300 {
                let run = runs.join(number.to_string());
                let held = lock(&run, Duration::from_secs(10)).unwrap();
                std::thread::yield_now();
                assert!(is_there(&held, &run), "it was taken from the one who holds it");
            }
            is_over.store(true, Ordering::Relaxed);
        });
    }
}
