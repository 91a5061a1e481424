//! The state directory, `.fleet/` beside the fleet file: where things are in it, its lock, and its runs.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::id::RunId;
use crate::time::Stamp;

/// The state directory's name.
pub const NAME: &str = ".fleet";

/// What holds the lock and is no run: how its name in the lock begins, and the command.
const UPKEEP: [(&str, &str); 3] =
    [("gc-", "fleet gc"), ("repair-", "fleet journal repair"), ("clean-", "fleet workers clean")];

/// What holds a state directory without being a run, in the order of [`UPKEEP`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upkeep {
    Gc,
    Repair,
    Clean,
}

/// Longest lock file that is read.
const LOCK_BYTES_MAX: u64 = 4096;

/// A state directory, which may not exist yet.
#[derive(Clone, Debug)]
pub struct StateDir {
    path: PathBuf,
}

/// Held while a run uses the directory; let go when dropped, or by the kernel when its holder dies.
#[derive(Debug)]
pub struct Lock {
    file: File,
    previous: Option<Owner>,
    /// What the file says again when the lock is let go.
    after: String,
}

/// Who holds, or last held, the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub pid: u32,
    pub run: RunId,
    /// When the process was started, in the kernel's ticks; tells it from a later one with its pid. 0 where the
    /// system does not say.
    started: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another run holds the directory (exit code 11).
    #[error("{}", match owner {
        Some(Owner { run, pid, .. }) => match upkeep(run) {
            Some(command) => format!("{command} of process {pid} holds {}: wait for it", path.display()),
            None => format!("run {run} of process {pid} holds {}: wait for it, or end it with kill {pid}", path.display()),
        },
        None => format!("another run holds {}: wait for it", path.display()),
    })]
    Locked { path: PathBuf, owner: Option<Owner> },
    #[error("{} cannot be locked: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
}

/// Why a word does not name a run.
#[derive(Debug, thiserror::Error)]
pub enum RunLookup {
    #[error("there is no run in {}", .0.display())]
    NoRuns(PathBuf),
    #[error("no run is called `{text}`{}", newest.as_ref().map_or(String::new(), |run| format!("; the latest is {run}")))]
    Unknown { text: String, newest: Option<RunId> },
    #[error("`{text}` begins {count} runs, among them {first} and {second}")]
    Ambiguous { text: String, count: usize, first: RunId, second: RunId },
    #[error("{} cannot be read: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
}

impl StateDir {
    /// The state directory of a workspace.
    #[must_use]
    pub fn of(workspace: &Path) -> Self {
        Self { path: workspace.join(NAME) }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    #[must_use]
    pub fn runs_dir(&self) -> PathBuf {
        self.path.join("runs")
    }

    #[must_use]
    pub fn run_dir(&self, run: &RunId) -> PathBuf {
        self.path.join("runs").join(run.as_str())
    }

    /// What can be made again, and only saves time.
    #[must_use]
    pub fn cache_dir(&self) -> PathBuf {
        self.path.join("cache")
    }

    /// Makes the directory, hidden from git. Does nothing where it is whole; a loss of power may have left it without what
    /// hides it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(&self) -> io::Result<()> {
        fs::create_dir_all(self.runs_dir())?;
        let hides = self.path.join(".gitignore");
        match File::open(&hides) {
            // Of the first bytes: nobody knows how long it is.
            Ok(file) => {
                let mut begin = Vec::new();
                file.take(2).read_to_end(&mut begin)?;
                if begin.iter().any(|byte| *byte != 0) {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        fs::write(hides, b"*\n")
    }

    /// Makes the folder of a new run.
    ///
    /// # Errors
    /// When it cannot be made, or there is one.
    pub fn create_run(&self, run: &RunId) -> io::Result<PathBuf> {
        let path = self.run_dir(run);
        fs::create_dir(&path)?;
        Ok(path)
    }

    /// Takes the lock for a run, or says who has it. The directory must exist.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn lock(&self, run: &RunId) -> Result<Lock, LockError> {
        self.take_lock(run, false)
    }

    /// Takes the lock for something that is no run. A run that was killed before is still named when it is let go, so
    /// that the next run ends what that one has left behind.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn lock_for_upkeep(&self, kind: Upkeep, now: Stamp) -> Result<Lock, LockError> {
        let name = format!("{}{}", UPKEEP[kind as usize].0, now.compact());
        let run = RunId::parse(&name).ok_or_else(|| LockError::Io {
            path: self.path.join("lock"),
            error: io::Error::other(format!("`{name}` is no name")),
        })?;
        self.take_lock(&run, true)
    }

    fn take_lock(&self, run: &RunId, for_upkeep: bool) -> Result<Lock, LockError> {
        let path = self.path.join("lock");
        let io = |error| LockError::Io { path: path.clone(), error };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Locked { path: self.path.clone(), owner: named_owner(&mut file) });
            }
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        // A run that ends lets go of the lock with an empty file. Whoever is still named in it was killed.
        let last = last_line(&mut file);
        let previous = owner_of(&last);
        let after = if for_upkeep && previous.is_some() { last } else { String::new() };
        let pid = std::process::id();
        let text = format!("{pid} {} {run}\n{after}", started(pid).unwrap_or(0));
        rewrite(&mut file, &text).map_err(io)?;
        Ok(Lock { file, previous, after })
    }

    /// Who holds the lock now. Looks at the process and does not try the lock, because for the moment of trying it
    /// would be taken.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        let mut file = File::open(self.path.join("lock")).ok()?;
        owner_in(&mut file).filter(Owner::is_alive)
    }

    /// All runs, newest first.
    ///
    /// # Errors
    /// When the folder is there and cannot be read.
    pub fn runs(&self) -> io::Result<Vec<RunId>> {
        let entries = match fs::read_dir(self.runs_dir()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            result => result?,
        };
        let mut runs = Vec::new();
        for entry in entries {
            let entry = entry?;
            if let Some(run) = entry.file_name().to_str().and_then(RunId::parse)
                && entry.file_type()?.is_dir()
            {
                runs.push(run);
            }
        }
        runs.sort_unstable_by(|a, b| b.cmp(a));
        Ok(runs)
    }

    /// The run that a person means: `latest`, a whole id, or the beginning of exactly one.
    ///
    /// # Errors
    /// See [`RunLookup`].
    pub fn find(&self, text: &str) -> Result<RunId, RunLookup> {
        let runs = self.runs().map_err(|error| RunLookup::Io { path: self.runs_dir(), error })?;
        let Some(newest) = runs.first() else { return Err(RunLookup::NoRuns(self.path.clone())) };
        if text == "latest" {
            return Ok(newest.clone());
        }
        let begins: Vec<&RunId> = runs.iter().filter(|run| run.as_str().starts_with(text)).collect();
        if let Some(exact) = begins.iter().find(|run| run.as_str() == text) {
            return Ok((*exact).clone());
        }
        match begins[..] {
            [run] => Ok(run.clone()),
            [first, second, ..] => Err(RunLookup::Ambiguous {
                text: text.to_owned(),
                count: begins.len(),
                first: first.clone(),
                second: second.clone(),
            }),
            [] => Err(RunLookup::Unknown { text: text.to_owned(), newest: Some(newest.clone()) }),
        }
    }
}

/// Who holds the lock. Whoever has just taken it needs a moment to write its name.
fn named_owner(file: &mut File) -> Option<Owner> {
    (0..20).find_map(|_| {
        let owner = owner_in(file);
        if owner.is_none() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        owner
    })
}

impl Lock {
    /// The run that held the lock before and did not end it: it was killed, and may have left processes behind.
    #[must_use]
    pub fn killed_run(&self) -> Option<&RunId> {
        self.previous.as_ref().map(|owner| &owner.run)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // An empty file names no owner; if it cannot be emptied, the owner it names is seen to be gone.
        let _ = rewrite(&mut self.file, &self.after);
    }
}

impl Owner {
    /// Whether that very process still lives.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        if self.started != 0 {
            return started(self.pid) == Some(self.started);
        }
        i32::try_from(self.pid)
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
    }
}

/// The command that a name in the lock stands for, when it is no run.
fn upkeep(name: &RunId) -> Option<&'static str> {
    UPKEEP.iter().find(|(begin, _)| name.as_str().starts_with(begin)).map(|(_, command)| *command)
}

fn rewrite(file: &mut File, text: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(text.as_bytes())
}

fn owner_in(file: &mut File) -> Option<Owner> {
    owner_of(text_of(file)?.lines().next()?)
}

/// The last line: that of the owner, or below it that of a killed run which an upkeep found. Without an upkeep's own:
/// when it was killed itself it has left nothing behind.
fn last_line(file: &mut File) -> String {
    let text = text_of(file).unwrap_or_default();
    let line = text.lines().last().unwrap_or_default();
    if owner_of(line).is_some_and(|owner| upkeep(&owner.run).is_some()) {
        return String::new();
    }
    line.to_owned()
}

fn text_of(file: &mut File) -> Option<String> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(LOCK_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

fn owner_of(line: &str) -> Option<Owner> {
    let mut words = line.split_ascii_whitespace();
    let (pid, started, run) = (words.next()?, words.next()?, words.next()?);
    Some(Owner { pid: pid.parse().ok()?, run: RunId::parse(run)?, started: started.parse().ok()? })
}

/// The start time of a process: field 22 of its stat, counted after the name, which may hold anything.
#[cfg(target_os = "linux")]
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    // A dead process that nobody has waited for is still listed.
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(not(target_os = "linux"))]
fn started(_: u32) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (tempfile::TempDir, StateDir) {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::of(dir.path());
        state.create().unwrap();
        (dir, state)
    }

    fn run(text: &str) -> RunId {
        RunId::parse(text).unwrap()
    }

    #[test]
    fn git_never_sees_it_and_making_it_twice_is_fine() {
        let (_dir, state) = state();
        state.create().unwrap();
        assert_eq!(fs::read_to_string(state.path().join(".gitignore")).unwrap(), "*\n");
    }

    #[test]
    fn one_run_at_a_time_and_the_owner_is_named() {
        let (_dir, state) = state();
        assert_eq!(state.owner(), None);
        let lock = state.lock(&run("r1")).unwrap();
        let Err(LockError::Locked { owner: Some(owner), .. }) = state.lock(&run("r2")) else { panic!("not locked") };
        assert_eq!((owner.pid, owner.run.as_str()), (std::process::id(), "r1"));
        assert!(owner.is_alive());
        assert_eq!(state.owner(), Some(owner));
        drop(lock);
        assert_eq!(state.owner(), None);
        state.lock(&run("r2")).unwrap();
    }

    #[test]
    fn an_owner_that_died_holds_nothing() {
        let (_dir, state) = state();
        for text in ["4194303 77 r1\n", "", "garbage", "1 x r1", &format!("{} 1 r1", std::process::id())] {
            fs::write(state.path().join("lock"), text).unwrap();
            assert_eq!(state.owner(), None, "{text}");
        }
        state.lock(&run("r2")).unwrap();
    }

    #[test]
    fn upkeep_leaves_a_killed_run_for_the_next_one_to_find() {
        let (_dir, state) = state();
        let path = state.path().join("lock");
        for text in ["4194303 77 r1\n", "4194302 7 gc-20261120T000000Z\n4194303 77 r1\n"] {
            fs::write(&path, text).unwrap();
            let lock = state.lock_for_upkeep(Upkeep::Gc, Stamp(0)).unwrap();
            assert_eq!(state.owner().unwrap().pid, std::process::id());
            let busy = state.lock(&run("r2")).unwrap_err().to_string();
            assert!(busy.starts_with("fleet gc of process "), "{busy}");
            drop(lock);
            assert_eq!(state.owner(), None);
            assert_eq!(state.lock(&run("r2")).unwrap().killed_run(), Some(&run("r1")));
        }
        fs::write(&path, "4194302 7 gc-20261120T000000Z\n").unwrap();
        assert_eq!(state.lock(&run("r2")).unwrap().killed_run(), None);
    }

    #[test]
    fn runs_are_found_as_people_name_them() {
        let (_dir, state) = state();
        assert!(matches!(state.find("latest"), Err(RunLookup::NoRuns(_))));
        for id in ["20261120T105230Z-1f9c03ab", "20261120T105231Z-00000000", "20261121T000000Z-aaaaaaaa"] {
            state.create_run(&run(id)).unwrap();
        }
        fs::create_dir(state.runs_dir().join(".hidden")).unwrap();
        fs::write(state.runs_dir().join("file"), "").unwrap();
        assert_eq!(state.runs().unwrap().len(), 3);
        assert_eq!(state.find("latest").unwrap().as_str(), "20261121T000000Z-aaaaaaaa");
        assert_eq!(state.find("20261120T105230").unwrap().as_str(), "20261120T105230Z-1f9c03ab");
        assert!(matches!(state.find("20261120"), Err(RunLookup::Ambiguous { count: 2, .. })));
        assert!(matches!(state.find("../x"), Err(RunLookup::Unknown { .. })));
        assert!(state.create_run(&run("20261121T000000Z-aaaaaaaa")).is_err());
    }
}
