//! Folders that a task has filled, of any depth, and which it may still be changing: what they take on their disk, and how
//! they are removed. A walk has one way down in its hands, however deep that is: three descriptors and no path. No link is
//! followed, what is mounted there is left alone, and what goes away meanwhile is no error.

use std::ffi::{CStr, CString};
use std::fs::Permissions;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, CWD, Dir, DirEntry, FileType, Mode, OFlags, Stat};
use rustix::path::Arg;

/// What `st_blocks` counts.
const BLOCK_BYTES: u64 = 512;
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What is below a folder, and the folder itself, in bytes of allocated blocks: a hole takes nothing, and of a file with
/// several names each has its share, so that one which is kept elsewhere too does not count as if it were all the task's.
/// Stops as soon as `given_up` says so.
pub(in crate::supervisor) fn taken(folder: &Path, given_up: &AtomicBool) -> u64 {
    let mut bytes = open(CWD, folder).map_or(0, |(_, about)| bytes_of(&about));
    let look = |at: &OwnedFd, above: &Stat| {
        let mut folders = Vec::new();
        for entry in entries(at).take_while(|_| !given_up.load(Ordering::Relaxed)) {
            let Some(about) = about(at, &entry) else { continue };
            if is_folder(&about) && about.st_dev != above.st_dev {
                continue;
            }
            bytes = bytes.saturating_add(bytes_of(&about));
            if is_folder(&about) {
                folders.push(entry.file_name().to_owned());
            }
        }
        folders
    };
    walk(folder, |at, name| open(at, name), look, |_, _| !given_up.load(Ordering::Relaxed));
    bytes
}

/// Removes a folder, whatever modes its task has left in it. What cannot be removed stays.
pub(in crate::supervisor) fn remove(folder: &Path) {
    let empty = |at: &OwnedFd, above: &Stat| {
        if above.st_mode & 0o700 != 0o700 {
            let _ = rustix::fs::fchmod(at, Mode::RWXU);
        }
        let mut folders = Vec::new();
        for entry in entries(at) {
            let may_be_folder = matches!(entry.file_type(), FileType::Directory | FileType::Unknown);
            match may_be_folder.then(|| about(at, &entry)).flatten() {
                Some(about) if is_folder(&about) => {
                    if about.st_dev == above.st_dev {
                        folders.push(entry.file_name().to_owned());
                    }
                }
                _ => _ = rustix::fs::unlinkat(at, entry.file_name(), AtFlags::empty()),
            }
        }
        folders
    };
    if open(CWD, folder).is_none() && std::fs::symlink_metadata(folder).is_ok_and(|about| about.is_dir()) {
        let _ = std::fs::set_permissions(folder, Permissions::from_mode(0o700));
    }
    walk(folder, open_anyway, empty, |at, name| {
        let _ = rustix::fs::unlinkat(at, name, AtFlags::REMOVEDIR);
        true
    });
    let _ = std::fs::remove_dir(folder);
}

/// A folder on the way down to where a walk is.
#[derive(Debug)]
struct Level {
    place: (u64, u64),
    name: CString,
    /// Those in it that were not looked into yet.
    folders: Vec<CString>,
}

/// Goes through a folder. `look` says which of the folders in one are gone into, and `left` is told when all of one is
/// over, with the folder that it is in; it says whether to go on.
fn walk(
    folder: &Path,
    open_in: fn(&OwnedFd, &CStr) -> Option<(OwnedFd, Stat)>,
    mut look: impl FnMut(&OwnedFd, &Stat) -> Vec<CString>,
    mut left: impl FnMut(&OwnedFd, &CStr) -> bool,
) {
    let Some((mut at, about)) = open(CWD, folder) else { return };
    let mut way = vec![Level { place: place(&about), name: CString::default(), folders: look(&at, &about) }];
    while let Some(level) = way.last_mut() {
        if let Some(name) = level.folders.pop() {
            if let Some((below, about)) = open_in(&at, &name) {
                way.push(Level { place: place(&about), name, folders: look(&below, &about) });
                at = below;
            } else if !left(&at, &name) {
                return;
            }
            continue;
        }
        let (Some(done), Some(above)) = (way.pop(), way.last()) else { return };
        let is_above = |(_, about): &(OwnedFd, Stat)| place(about) == above.place;
        // Whoever moves a folder moves what is above it.
        if let Some((up, _)) = open(&at, c"..").filter(is_above) {
            at = up;
            if !left(&at, &done.name) {
                return;
            }
        } else {
            let Some(again) = again(folder, &mut way) else { return };
            at = again;
        }
    }
}

/// The way down to the last level again, as far as it is still there; what was to be done below that is given up.
fn again(folder: &Path, way: &mut Vec<Level>) -> Option<OwnedFd> {
    let (mut at, about) = open(CWD, folder)?;
    if place(&about) != way.first()?.place {
        return None;
    }
    let mut levels = 1;
    for level in way.get(1..)? {
        let Some((below, _)) = open(&at, &level.name).filter(|(_, about)| place(about) == level.place) else { break };
        at = below;
        levels += 1;
    }
    way.truncate(levels);
    Some(at)
}

fn entries(at: &OwnedFd) -> impl Iterator<Item = DirEntry> {
    let all = Dir::read_from(at).into_iter().flat_map(|dir| dir.map_while(Result::ok));
    all.filter(|entry| !matches!(entry.file_name().to_bytes(), b"." | b".."))
}

fn about(at: &OwnedFd, entry: &DirEntry) -> Option<Stat> {
    rustix::fs::statat(at, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW).ok()
}

fn open(at: impl AsFd, name: impl Arg) -> Option<(OwnedFd, Stat)> {
    let folder = rustix::fs::openat(at, name, FOLDER, Mode::empty()).ok()?;
    let about = rustix::fs::fstat(&folder).ok()?;
    Some((folder, about))
}

/// Also when nobody may.
fn open_anyway(at: &OwnedFd, name: &CStr) -> Option<(OwnedFd, Stat)> {
    open(at, name).or_else(|| {
        rustix::fs::chmodat(at, name, Mode::RWXU, AtFlags::empty()).ok()?;
        open(at, name)
    })
}

fn is_folder(about: &Stat) -> bool {
    FileType::from_raw_mode(about.st_mode).is_dir()
}

#[allow(clippy::useless_conversion, reason = "their types differ by processor")]
fn place(about: &Stat) -> (u64, u64) {
    (u64::from(about.st_dev), u64::from(about.st_ino))
}

#[allow(clippy::useless_conversion, reason = "their types differ by processor")]
fn bytes_of(about: &Stat) -> u64 {
    let names = if is_folder(about) { 1 } else { u64::from(about.st_nlink).max(1) };
    u64::try_from(about.st_blocks).unwrap_or(0).saturating_mul(BLOCK_BYTES) / names
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{FileExt as _, symlink};

    use super::*;

    fn taken_now(folder: &Path) -> u64 {
        taken(folder, &AtomicBool::new(false))
    }

    /// A chain of folders that no path reaches, as a task makes it that goes down and down.
    fn deep(top: &Path, levels: usize) -> OwnedFd {
        let mut at = open(CWD, top).unwrap().0;
        for _ in 0..levels {
            rustix::fs::mkdirat(&at, c"down", Mode::RWXU).unwrap();
            at = open(&at, c"down").unwrap().0;
        }
        at
    }

    #[test]
    fn what_is_allocated_counts_and_a_file_of_two_names_once() {
        let dir = tempfile::TempDir::new().unwrap();
        let at = |name: &str| dir.path().join(name);
        let empty = taken_now(dir.path());
        fs::write(at("full"), vec![1; 1 << 20]).unwrap();
        let file = taken_now(dir.path()) - empty;
        assert!((1 << 20..2 << 20).contains(&file), "{file}");
        fs::File::create(at("hole")).unwrap().write_all_at(&[1], 1 << 30).unwrap();
        let hole = taken_now(dir.path()) - empty - file;
        assert!(hole < 1 << 20, "{hole}");
        fs::create_dir(at("in")).unwrap();
        let before = taken_now(dir.path());
        fs::hard_link(at("full"), at("in/again")).unwrap();
        assert_eq!(taken_now(dir.path()), before);
        assert!(taken_now(&at("in")) < file, "the rest of it is elsewhere");
        symlink(dir.path(), at("in/up")).unwrap();
        symlink("/usr", at("in/out")).unwrap();
        assert!(taken_now(dir.path()) < before + (64 << 10), "links are not followed");
        assert_eq!(taken_now(&at("in/up")), 0);
        assert_eq!(taken_now(&at("nowhere")), 0);
        assert!(taken(dir.path(), &AtomicBool::new(true)) < before, "it is given up");
    }

    #[test]
    fn no_depth_hides_anything_or_keeps_it_there() {
        let dir = tempfile::TempDir::new().unwrap();
        let top = dir.path().join("top");
        fs::create_dir(&top).unwrap();
        // More than a path may be long, and than there are descriptors.
        let bottom = deep(&top, 3000);
        let file = rustix::fs::openat(&bottom, c"big", OFlags::WRONLY | OFlags::CREATE, Mode::RWXU).unwrap();
        fs::File::from(file).write_all_at(&vec![1; 1 << 20], 0).unwrap();
        assert!(taken_now(&top) > 1 << 20);
        drop(bottom);
        remove(&top);
        assert!(!top.exists());
    }

    #[test]
    fn what_was_closed_to_everybody_goes_all_the_same() {
        let dir = tempfile::TempDir::new().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("top/a/b/c")).unwrap();
        fs::create_dir(at("other")).unwrap();
        for file in ["top/a/b/c/file", "top/file", "other/file"] {
            fs::write(at(file), "x").unwrap();
        }
        symlink(at("other"), at("top/a/link")).unwrap();
        for folder in ["top/a/b/c", "top/a/b", "top/a", "top"] {
            fs::set_permissions(at(folder), Permissions::from_mode(0o000)).unwrap();
        }
        remove(&at("top"));
        assert!(!at("top").exists() && at("other/file").exists());
        symlink("other", at("top")).unwrap();
        remove(&at("top"));
        assert!(at("other/file").exists(), "a link leads to what is not ours");
    }

    #[test]
    fn what_is_moved_and_removed_meanwhile_is_no_error() {
        let dir = tempfile::TempDir::new().unwrap();
        let at = |name: &str| dir.path().join(name);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    fs::create_dir_all(at("a/b/c/d")).unwrap();
                    fs::write(at("a/b/c/d/file"), "x").unwrap();
                    fs::rename(at("a/b/c"), at("moved")).unwrap();
                    fs::remove_dir_all(at("moved")).unwrap();
                    fs::remove_dir_all(at("a")).unwrap();
                }
            });
            for _ in 0..2000 {
                assert!(taken_now(dir.path()) < 1 << 20);
            }
            is_over.store(true, Ordering::Relaxed);
        });
    }
}
