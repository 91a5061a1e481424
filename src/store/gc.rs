//! What of past runs may go: runs beyond an age, what no receipt cites any more, and, where the store is to be smaller,
//! what is oldest. `plan` decides from what it is given; `collect` looks, asks it and removes.
//! Holds the state directory's lock, as runs do, so nothing is put while it looks and removes.

use std::collections::{HashMap, HashSet};
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use walkdir::WalkDir;

use super::inventory::{Blob, Leftover};
use super::state::Upkeep;
use super::{LockError, StateDir, Store, reach};
use crate::digest::Digest;
use crate::id::RunId;
use crate::journal::ReadError;
use crate::time::{Stamp, clock};

/// How long a run is kept where nobody has said anything.
pub const MAX_AGE_DEFAULT: Duration = Duration::from_hours(30 * 24);

/// So many of the latest runs stay, however old they are and whatever they cite.
pub const RUNS_KEPT: usize = 1;

/// A file whose put has not been finished for so long is nobody's.
pub const UNFINISHED_AGE: Duration = Duration::from_hours(1);

/// What the name of a run's folder begins with while it is removed.
const GOING: &str = ".going-";

/// What the store and the runs may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub max_age: Option<Duration>,
    pub max_size: Option<u64>,
}

/// What went, or with a dry run would go.
#[derive(Debug, Default)]
pub struct Collected {
    /// Oldest first.
    pub runs: Vec<GoneRun>,
    /// In the order of their digests.
    pub blobs: Vec<Blob>,
    /// Unfinished puts, and what was damaged.
    pub leftovers: Vec<Leftover>,
    pub kept_runs: usize,
    pub kept_blobs: usize,
    pub kept_bytes: u64,
}

#[derive(Debug)]
pub struct GoneRun {
    pub run: RunId,
    pub bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum GcError {
    #[error(transparent)]
    Lock(#[from] LockError),
    /// What it cites cannot be known, so nothing may go.
    #[error("run {run}: {error}; nothing was removed. Keep what verifies of it with \
             fleet journal repair {run}, or remove {} if nobody needs that run", dir.display())]
    Journal { run: RunId, dir: PathBuf, error: ReadError },
    #[error("{} cannot be {what}: {error}", path.display())]
    Io { path: PathBuf, what: &'static str, error: io::Error },
}

/// A run, as far as the decision goes.
#[derive(Debug)]
struct Run {
    id: RunId,
    age: Duration,
}

/// Removes what the limits let go.
///
/// # Errors
/// See [`GcError`]. What was removed before stays removed; runs go before what they cite, so no record cites what is gone.
pub fn collect(state: &StateDir, limits: Limits, dry_run: bool) -> Result<Collected, GcError> {
    if !state.path().is_dir() {
        return Ok(Collected::default());
    }
    let _lock = state.lock_for_upkeep(Upkeep::Gc, clock::now())?;
    let store = Store::open(state.path()).map_err(|error| failed(&state.path().join("store"), "opened", error))?;
    let now = SystemTime::now();
    let all = store.inventory().map_err(|error| failed(store.root.path(), "listed", error))?;
    let runs = runs(state, now)?;
    let newest_citer = citers(state, &runs, limits)?;
    let plan = plan(&runs, &all.blobs, &newest_citer, limits);
    let is_old = |file: &Leftover| age(file.written, now) > UNFINISHED_AGE;
    let leftovers: Vec<Leftover> = all.unfinished.into_iter().filter(is_old).chain(all.aside).collect();
    let gone: Vec<GoneRun> = runs[plan.runs_kept..]
        .iter()
        .rev()
        .map(|run| GoneRun { run: run.id.clone(), bytes: bytes_below(&state.run_dir(&run.id)) })
        .collect();
    if !dry_run {
        remove_runs(state, &gone)?;
        remove_blobs(&store, &plan.blobs)?;
        for file in &leftovers {
            remove(&store.root.path().join(&file.path))?;
        }
    }
    let gone_bytes: u64 = plan.blobs.iter().map(|blob| blob.bytes).sum();
    Ok(Collected {
        runs: gone,
        leftovers,
        kept_runs: plan.runs_kept,
        kept_blobs: all.blobs.len() - plan.blobs.len(),
        kept_bytes: all.blobs.iter().map(|blob| blob.bytes).sum::<u64>() - gone_bytes,
        blobs: plan.blobs,
    })
}

/// All runs, newest first.
fn runs(state: &StateDir, now: SystemTime) -> Result<Vec<Run>, GcError> {
    let ids = state.runs().map_err(|error| failed(&state.runs_dir(), "listed", error))?;
    let mut runs: Vec<Run> = ids.into_iter().map(|id| Run { age: age_of(state, &id, now), id }).collect();
    // By their names, as `latest` means it; the age of one that was written to later does not matter.
    runs.sort_by(|a, b| b.id.cmp(&a.id));
    Ok(runs)
}

/// The time since something was written to a run.
fn age_of(state: &StateDir, run: &RunId, now: SystemTime) -> Duration {
    let dir = state.run_dir(run);
    let written = |path: &Path| fs::metadata(path).and_then(|found| found.modified());
    written(&dir.join(crate::journal::FILE)).or_else(|_| written(&dir)).map_or(Duration::ZERO, |at| age(at, now))
}

/// A time in the future is no age.
fn age(at: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(at).unwrap_or_default()
}

/// For each digest that records cite, the newest run that does, by its place. What only a result cites that a run may
/// reuse goes with the oldest run. Runs and results that go by their age are not looked at.
fn citers(state: &StateDir, runs: &[Run], limits: Limits) -> Result<HashMap<Digest, usize>, GcError> {
    let mut newest = HashMap::new();
    let young = &runs[..young(runs, limits)];
    for (at, run) in young.iter().enumerate() {
        let cite = |_: &str, digest| {
            newest.entry(digest).or_insert(at);
        };
        reach::each_cited(state, &run.id, cite).map_err(|error| GcError::Journal {
            run: run.id.clone(),
            dir: state.run_dir(&run.id),
            error,
        })?;
    }
    let ms = |age: Duration| i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    let since = limits.max_age.map(|age| Stamp(clock::now().0.saturating_sub(ms(age))));
    let oldest = young.len().saturating_sub(1);
    for digest in reach::reachable_from_results(state, since) {
        newest.entry(digest).or_insert(oldest);
    }
    Ok(newest)
}

/// How many of the newest runs are within the age.
fn young(runs: &[Run], limits: Limits) -> usize {
    let Some(max_age) = limits.max_age else { return runs.len() };
    // A run stays as long as an older one does, so that the history has no holes.
    let last = runs.iter().rposition(|run| run.age <= max_age).map_or(0, |at| at + 1);
    last.max(RUNS_KEPT.min(runs.len()))
}

/// What is to go.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    /// The newest so many stay.
    runs_kept: usize,
    blobs: Vec<Blob>,
}

/// Runs beyond the age go, and with an age all that nothing cites. Where the rest is still too large, what nothing cites
/// goes, the oldest first, and then the oldest runs with what only they cite, but none in vain: not when that makes the
/// store no smaller.
fn plan(runs: &[Run], blobs: &[Blob], newest_citer: &HashMap<Digest, usize>, limits: Limits) -> Plan {
    let mut runs_kept = young(runs, limits);
    let (mut loose, mut cited) = (Vec::new(), Vec::new());
    for blob in blobs {
        match newest_citer.get(&blob.digest) {
            Some(run) => cited.push((*run, *blob)),
            None => loose.push(*blob),
        }
    }
    let mut gone = Vec::new();
    if limits.max_age.is_some() {
        gone.append(&mut loose);
    }
    if let Some(max_size) = limits.max_size {
        let mut size: u64 = loose.iter().chain(cited.iter().map(|(_, blob)| blob)).map(|blob| blob.bytes).sum();
        loose.sort_by_key(|blob| (blob.written, blob.digest));
        for blob in loose {
            if size <= max_size {
                break;
            }
            size -= blob.bytes;
            gone.push(blob);
        }
        // The last of these are the first to go.
        cited.sort_by_key(|(run, blob)| (*run, blob.digest));
        while size > max_size {
            let Some((run, _)) = cited.last().copied().filter(|(run, _)| *run >= RUNS_KEPT) else { break };
            runs_kept = run;
            while let Some((_, blob)) = cited.pop_if(|(last, _)| *last == run) {
                size -= blob.bytes;
                gone.push(blob);
            }
        }
    }
    gone.sort_unstable_by_key(|blob| blob.digest);
    Plan { runs_kept, blobs: gone }
}

/// Each under another name first: a run that is half removed is no run.
fn remove_runs(state: &StateDir, runs: &[GoneRun]) -> Result<(), GcError> {
    for gone in runs {
        let path = state.run_dir(&gone.run);
        let going = state.runs_dir().join(format!("{GOING}{}", gone.run));
        fs::rename(&path, &going).map_err(|error| failed(&path, "removed", error))?;
    }
    let entries = fs::read_dir(state.runs_dir()).map_err(|error| failed(&state.runs_dir(), "listed", error))?;
    for entry in entries.flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(GOING.as_bytes()) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn remove_blobs(store: &Store, blobs: &[Blob]) -> Result<(), GcError> {
    let mut folders = HashSet::new();
    for blob in blobs {
        let path = store.path(&blob.digest);
        remove(&path)?;
        folders.extend(path.parent().map(Path::to_owned));
    }
    for folder in folders {
        // Only what is empty.
        let _ = fs::remove_dir(&folder);
        let _ = folder.parent().map(fs::remove_dir);
    }
    Ok(())
}

/// Whatever it is; links are not followed. That it is gone is no error.
fn remove(path: &Path) -> Result<(), GcError> {
    let is_folder = fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    match if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) } {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path, "removed", error)),
        _ => Ok(()),
    }
}

fn bytes_below(folder: &Path) -> u64 {
    let files = WalkDir::new(folder).into_iter().flatten().filter_map(|entry| entry.metadata().ok());
    files.filter(Metadata::is_file).map(|file| file.len()).sum()
}

fn failed(path: &Path, what: &'static str, error: io::Error) -> GcError {
    GcError::Io { path: path.to_owned(), what, error }
}

#[cfg(test)]
mod tests;
