//! What earlier runs left in `.fleet/cache`, read on another thread while the fleet file is. Only a head start: whoever
//! holds the lock takes what is as it was before it was read, and reads the rest again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::fs::CWD;

use super::results::{self, Results};
use super::stats::{self, Stat, Stats};
use super::{Files, Root, StateDir};

/// Being read, or read.
#[derive(Debug)]
pub struct Ahead {
    cache_dir: PathBuf,
    reading: JoinHandle<Read>,
}

/// What was there to be read.
type Read = (Option<Early<Stats>>, Option<Early<Results>>);

/// What a file held that was like this before.
#[derive(Debug)]
struct Early<T> {
    before: Stat,
    held: T,
}

impl Ahead {
    /// # Errors
    /// When there is no thread for it.
    pub fn read(state: &StateDir) -> io::Result<Self> {
        let cache_dir = state.cache_dir();
        let (files, results) = (cache_dir.join(stats::NAME), cache_dir.join(results::FILE));
        let folder = cache_dir.clone();
        let reading = std::thread::Builder::new().name("read-ahead".to_owned()).spawn(move || {
            let now = stats::now();
            // The results take longer.
            let results = Early::of(&results, || Results::open(&folder));
            (Early::of(&files, || Stats::open(Some(&files), now)), results)
        })?;
        Ok(Self { cache_dir, reading })
    }

    /// Files and results of a workspace, as they are now that nobody else may change them.
    #[must_use]
    pub fn take(self, root: Arc<Root>, cache_dir: &Path) -> (Files, Results) {
        let early = (self.cache_dir == cache_dir).then(|| self.reading.join().ok()).flatten();
        let (stats, results) = early.map_or((None, None), |(stats, results)| {
            let still = |early: Early<Stats>| early.still(&cache_dir.join(stats::NAME));
            (stats.and_then(still), results.and_then(|early| early.still(&cache_dir.join(results::FILE))))
        });
        let files = match stats {
            Some(stats) => Files::over(root, cache_dir, stats),
            None => Files::open(root, Some(cache_dir), true),
        };
        (files, results.unwrap_or_else(|| Results::open(cache_dir)))
    }
}

impl<T> Early<T> {
    fn of(path: &Path, open: impl FnOnce() -> T) -> Option<Self> {
        let before = Stat::at(CWD, path.to_str()?).ok()?;
        Some(Self { before, held: open() })
    }

    /// A file of a cache is only added to or replaced, and either shows.
    fn still(self, path: &Path) -> Option<T> {
        let now = Stat::at(CWD, path.to_str()?).ok()?;
        (now == self.before).then_some(self.held)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_changed_since_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::of(dir.path());
        let cache = state.cache_dir();
        fs::create_dir_all(&cache).unwrap();
        let files = cache.join(stats::NAME);
        let held = || {
            let before = Early::of(&files, || 1).unwrap();
            move |path: &Path| before.still(path).is_some()
        };
        assert!(Early::of(&files, || 1).is_none(), "there is none");
        fs::write(&files, "one").unwrap();
        assert!(held()(&files));
        let early = held();
        File::options().append(true).open(&files).unwrap().write_all(b"!").unwrap();
        assert!(!early(&files), "added to");
        let early = held();
        fs::write(cache.join("new"), "one!").unwrap();
        fs::rename(cache.join("new"), &files).unwrap();
        assert!(!early(&files), "replaced by one of the same size");
        let early = held();
        fs::remove_file(&files).unwrap();
        assert!(!early(&files), "gone");
    }
}
