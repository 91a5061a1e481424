//! Where everything of ours is on a host whose files are not the run's:
//! `bin/` programs of ours · `cas/` kept files · `runs/<run>.<worker>/` one supervisor's attempts, exit log and lock.
//! A folder of `runs` whose lock nobody holds is what a supervisor left that died; the next one removes it, and ends
//! what still runs for it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::lay::{private_folder, remove_all};
use crate::supervisor::{frame, program, sweep};

/// How long a supervisor waits for the one before it in the same run to be gone.
const GONE_MAX: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const RUNS: &str = "runs";
const LOCK: &str = "lock";

#[derive(Debug)]
pub(in crate::supervisor) struct Place {
    root: PathBuf,
    run: PathBuf,
    pub(super) cache_bytes: u64,
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
        private_folder(&run)?;
        let lock = lock(&run.join(LOCK), GONE_MAX)?;
        for left in sweep::state(&run, &[run.join("exits.log")]).ended {
            eprintln!("fleet supervisor: ended what was left of an earlier one: {left}");
        }
        remove_all(&run.join("attempts"));
        private_folder(&run.join("attempts"))?;
        Ok(Self { root, run, cache_bytes: wanted.cache_bytes, _lock: lock })
    }

    /// Removes the programs of ours that are not the one that runs.
    pub(super) fn remove_other_programs(root: &Path) {
        let ours = program::again().ok().and_then(|words| Path::new(words.last()?).parent().map(Path::to_owned));
        for entry in fs::read_dir(root.join("bin")).into_iter().flatten().flatten() {
            if ours.as_deref() != Some(&*entry.path()) {
                remove_all(&entry.path());
            }
        }
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
        self.root.join("cas")
    }

    pub(super) fn attempts(&self) -> PathBuf {
        self.run.join("attempts")
    }

    pub(super) fn attempt(&self, number: u32) -> PathBuf {
        self.attempts().join(number.to_string())
    }
}

fn lock(path: &Path, patience: Duration) -> io::Result<File> {
    let file = File::options().read(true).append(true).create(true).open(path)?;
    let begin = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if begin.elapsed() < patience => std::thread::sleep(LOOK_EVERY),
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::other("another supervisor still serves this worker in this run"));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Ends and removes what supervisors of other runs have left that are dead.
fn sweep_dead(runs: &Path, mine: &Path) {
    for entry in fs::read_dir(runs).into_iter().flatten().flatten() {
        let run = entry.path();
        if run != mine
            && let Ok(_lock) = lock(&run.join(LOCK), Duration::ZERO)
        {
            let _ = sweep::state(&run, &[run.join("exits.log")]);
            remove_all(&run);
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
    use std::os::unix::fs::MetadataExt;
    private_folder(folder)?;
    let about = fs::symlink_metadata(folder)?;
    if !about.is_dir() || about.uid() != rustix::process::getuid().as_raw() {
        return Err(io::Error::other("it is somebody else's"));
    }
    tempfile::tempfile_in(folder)?;
    folder.canonicalize()
}
