//! Folders of files that can be had again, by when they were last used: what was not used for longest goes first.

use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::time::{Duration, SystemTime};

use walkdir::WalkDir;

/// A use is noted once in this time.
const NOTED_EVERY: Duration = Duration::from_hours(1);
/// What the name of a file in the making begins with. Nobody makes one file for as long as a use goes unnoted.
pub const UNFINISHED: &str = ".in-";

/// Notes that a file was used.
pub fn note_use(file: &File) {
    let age = file.metadata().ok().and_then(|about| about.modified().ok()?.elapsed().ok());
    if age.is_some_and(|age| age > NOTED_EVERY) {
        // Without it the file is only forgotten sooner.
        let _ = file.set_times(FileTimes::new().set_modified(SystemTime::now()));
    }
}

/// Makes what is below a folder fit its bound; says how many bytes went and how many are left.
#[must_use]
pub fn trim(folder: &Path, max: u64) -> (u64, u64) {
    let mut files = Vec::new();
    for entry in WalkDir::new(folder).into_iter().flatten().filter(|entry| entry.file_type().is_file()) {
        let Ok(about) = entry.metadata() else { continue };
        let used = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let in_the_making = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
        if !in_the_making || used.elapsed().is_ok_and(|age| age > NOTED_EVERY) {
            files.push((used, about.len(), entry.into_path()));
        }
    }
    let mut left: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
    files.sort_unstable();
    let before = left;
    for (_, bytes, path) in files {
        if left <= max {
            break;
        }
        if fs::remove_file(path).is_ok() {
            left -= bytes;
        }
    }
    (before - left, left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let dir = tempfile::TempDir::new().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (name, hours) in [("a", 3), ("b", 2), ("c", 1), (".in-d", 0)] {
            let file = File::create(at(name)).unwrap();
            fs::write(at(name), "1234").unwrap();
            let then = SystemTime::now() - Duration::from_hours(hours);
            file.set_times(FileTimes::new().set_modified(then)).unwrap();
        }
        note_use(&File::open(at("a")).unwrap());
        assert_eq!(trim(dir.path(), 9), (4, 8));
        assert!(at("a").exists() && !at("b").exists() && at("c").exists() && at(".in-d").exists());
        assert_eq!(trim(dir.path(), 100), (0, 8));
    }
}
