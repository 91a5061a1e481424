//! Ending what nobody asked to stay. Three askers: the supervisor's loop for an attempt that ended ([`Orphans`]), a
//! process for everything below it ([`descendants`]), and the next command for a run whose engine and supervisor
//! are both gone ([`state`]). All of them look, kill, and look again until a look finds nothing, because a process
//! table cannot be read in one piece and a process may fork while we read.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::attempt::Attempt;
use super::exits;
use super::process::{Process, Snapshot};
use super::sys::{self, Waited, Whose};

/// Marks every process of an attempt: `<run>/<task>.<attempt>/<number on the connection>`.
pub(crate) const ATTEMPT_VARIABLE: &str = "FLEET_ATTEMPT_ID";
/// Marks every process of every run in a state directory.
pub(crate) const STATE_VARIABLE: &str = "FLEET_STATE_DIR";
/// How long a sweep goes on looking.
const SWEEP_MAX: Duration = Duration::from_millis(1900);
/// How often a tree is looked at that goes on growing.
const TREE_LOOKS: u32 = 20;
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// The kernel counts start times in ticks of 10 ms, and a spawn takes its time between our look at the clock and the
/// fork.
const START_EARLY_MS: u64 = 20;
const START_LATE_MS: u64 = 2000;

/// What a sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// The processes that were ended: `pid name`.
    pub ended: Vec<String>,
    /// Nothing was left at the end of it.
    pub clean: bool,
}

fn me() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// Whose the processes are that lost their parent and became ours.
#[derive(Debug)]
pub(super) struct Orphans<'a> {
    snapshot: Snapshot,
    attempts: &'a BTreeMap<u32, Attempt>,
    /// `<run>/`, with which every marker of ours begins.
    prefix: String,
    mains: HashSet<i32>,
}

impl<'a> Orphans<'a> {
    pub(super) fn look(attempts: &'a BTreeMap<u32, Attempt>, run: &str) -> Self {
        let mains = attempts.values().map(|attempt| attempt.pid).filter(|&pid| pid > 0).collect();
        Self { snapshot: Snapshot::take(), attempts, prefix: format!("{run}/"), mains }
    }

    /// What ended attempts left behind, with the number of the one it is charged to.
    pub(super) fn left_behind(&self) -> Vec<(u32, Process)> {
        let ended = |number: &u32| self.attempts.get(number).is_none_or(|attempt| attempt.ended.is_some());
        let blamed = self.attempts.values().find(|attempt| attempt.ended.is_some()).map_or(0, |attempt| attempt.number);
        let mut left = Vec::new();
        for orphan in self.orphans() {
            let owner = match self.owner(orphan) {
                Some(number) if !ended(&number) => continue,
                Some(number) if self.attempts.contains_key(&number) => number,
                // It hides whose it is. It can only descend from an attempt that began before it.
                None if self.may_be_of_a_live_one(orphan) => continue,
                Some(_) | None => blamed,
            };
            left.extend(self.snapshot.trees([orphan.pid]).into_iter().map(|process| (owner, process.clone())));
        }
        left
    }

    /// All that belongs to one attempt, the main process included.
    pub(super) fn of(&self, attempt: &Attempt) -> Vec<&Process> {
        let orphans = self.orphans().filter(|orphan| self.owner(orphan) == Some(attempt.number)).map(|p| p.pid);
        self.snapshot.trees(orphans.chain([attempt.pid]).filter(|&pid| pid > 0))
    }

    fn orphans(&self) -> impl Iterator<Item = &Process> {
        self.snapshot.children(me()).filter(|child| !child.zombie && !self.is_main(child.pid))
    }

    fn is_main(&self, pid: i32) -> bool {
        self.mains.contains(&pid) && self.attempts.values().any(|attempt| attempt.pid == pid && attempt.running())
    }

    /// A session's number is its first process's, which is free for reuse only when the session is empty.
    fn owner(&self, orphan: &Process) -> Option<u32> {
        if self.mains.contains(&orphan.session) {
            return self.attempts.values().find(|attempt| attempt.pid == orphan.session).map(|a| a.number);
        }
        let marker = orphan.variable(ATTEMPT_VARIABLE)?;
        marker.strip_prefix(&self.prefix)?.rsplit_once('/')?.1.parse().ok()
    }

    fn may_be_of_a_live_one(&self, orphan: &Process) -> bool {
        let mut live = self.attempts.values().filter(|attempt| attempt.ended.is_none());
        live.any(|attempt| attempt.pid == 0 || attempt.boot_ms <= orphan.start_ms + START_EARLY_MS)
    }
}

/// Looks, kills and reaps until a look finds no victim twice in a row, or the time is up.
fn until_none(limit: Option<Duration>, mut victims: impl FnMut(&Snapshot) -> Vec<Process>) -> Swept {
    let begin = Instant::now();
    let mut ended: BTreeMap<i32, String> = BTreeMap::new();
    let mut clean_looks = 0;
    loop {
        let snapshot = Snapshot::take();
        let found = victims(&snapshot);
        for process in found.iter().filter(|process| !process.zombie) {
            process.signal(Signal::KILL);
            ended.insert(process.pid, process.shown());
        }
        // Zombies are reaped when they are ours; the rest is its parent's business, and init's when that dies.
        for process in &found {
            let _ = sys::wait(Whose::Pid(process.pid));
        }
        clean_looks = if found.iter().any(|process| !process.zombie) { 0 } else { clean_looks + 1 };
        let clean = clean_looks >= 2;
        if clean || limit.is_some_and(|limit| begin.elapsed() >= limit) {
            return Swept { ended: ended.into_values().collect(), clean };
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Ends every descendant of this process that lives in another session, except the trees under `spare`. Whatever was
/// started by a supervisor is in another session; what this process started for itself is in its own.
pub(crate) fn descendants(spare: &[u32]) -> Swept {
    let spare: HashSet<i32> = spare.iter().filter_map(|&pid| i32::try_from(pid).ok()).collect();
    let (session, _) = sys::session_and_group();
    until_none(Some(SWEEP_MAX), |snapshot| {
        let strange = |child: &&Process| child.session != session && !spare.contains(&child.pid);
        let children: Vec<&Process> = snapshot.children(me()).filter(strange).collect();
        let living = snapshot.trees(children.iter().map(|child| child.pid));
        living.into_iter().chain(children.into_iter().filter(|child| child.zombie)).cloned().collect()
    })
}

/// Ends a process that is our child and everything below it, without reaping it.
pub(crate) fn tree(pid: u32) {
    let Ok(pid) = i32::try_from(pid) else { return };
    // One that forks while it is looked at has what it forked below it at the next look.
    for _ in 0..TREE_LOOKS {
        let snapshot = Snapshot::take();
        let living = snapshot.trees([pid]);
        if living.is_empty() {
            return;
        }
        // From below: what loses its parent is not found any more.
        for process in living.iter().rev() {
            process.signal(Signal::KILL);
        }
    }
}

/// Ends every descendant of this process and reaps them all, however long it takes.
pub(super) fn everything() {
    // Whoever is below us has a child of ours above it: without one there is nothing to look for.
    while has_children() {
        let snapshot = Snapshot::take();
        for process in snapshot.trees(snapshot.children(me()).map(|child| child.pid)) {
            process.signal(Signal::KILL);
        }
        if !has_children() {
            return;
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Reaps what has ended and says whether anything lives.
fn has_children() -> bool {
    loop {
        match sys::wait(Whose::Process) {
            Waited::Reaped(_) => {}
            Waited::Living => return true,
            Waited::None => return false,
        }
    }
}

/// Ends what runs in this state directory left, whoever is its parent by now. Spares this process and those above it.
pub(crate) fn state(state_dir: &Path, exit_logs: &[PathBuf]) -> Swept {
    let boot = exits::boot_id();
    let logged: Vec<(u32, u64)> =
        exit_logs.iter().filter_map(|path| exits::read(path).ok()).flat_map(|exits| exits.open_ended(&boot)).collect();
    // Environments are read once per process, not at every look.
    let mut strangers: HashSet<(i32, u64)> = HashSet::new();
    until_none(Some(SWEEP_MAX), |snapshot| {
        let line = snapshot.line_of(me());
        let mut roots = Vec::new();
        for process in snapshot.iter().filter(|p| !p.zombie && !line.contains(&p.pid)) {
            let key = (process.pid, process.start_ms);
            if strangers.contains(&key) {
                continue;
            }
            let marked = process.variable(STATE_VARIABLE).is_some_and(|dir| Path::new(&dir).starts_with(state_dir));
            if marked || is_logged(process, &logged) {
                roots.push(process.pid);
            } else {
                strangers.insert(key);
            }
        }
        let sessions: HashSet<i32> =
            snapshot.iter().filter(|p| roots.contains(&p.pid) && p.session == p.pid).map(|p| p.pid).collect();
        roots.extend(snapshot.iter().filter(|p| sessions.contains(&p.session)).map(|p| p.pid));
        snapshot.trees(roots).into_iter().filter(|p| !line.contains(&p.pid)).cloned().collect()
    })
}

/// Pid, start time and being the leader of its session: a number that was given out again fails one of them.
fn is_logged(process: &Process, logged: &[(u32, u64)]) -> bool {
    logged.iter().any(|&(pid, boot_ms)| {
        process.pid.unsigned_abs() == pid
            && process.session == process.pid
            && (boot_ms.saturating_sub(START_EARLY_MS)..=boot_ms + START_LATE_MS).contains(&process.start_ms)
    })
}
