//! Outputs put back: the store's bytes into a temporary file beside the target, verified on their way, then renamed. So
//! an output is the old one or the whole new one at any time, and its time of change is that of the restore, which
//! tools that go by times take for what it is. Never a hard link: a task that writes its output in place would write
//! to the store.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;
use rustix::fs::{AtFlags, Dir, FileType, Mode as Bits, OFlags};
use rustix::io::Errno;

use super::{PARALLEL_FROM, UNFINISHED};
use crate::digest::Digest;
use crate::protocol::receipt::{EntryKind, Mode, OutputRef};
use crate::store::beneath::Obstacle;
use crate::store::copy::{self, CopyError};
use crate::store::{Files, GetError, Root, Store};

/// Outputs that one thread puts back in a row; neighbours share their folder.
const CHUNK: usize = 16;

/// Longest text of a link that is believed.
const LINK_BYTES_MAX: u64 = 64 << 10;

/// The mode of a file whose record has none.
const MODE_DEFAULT: u32 = 0o644;

/// Why an output is not back. Whatever the reason, running the task makes it.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("`{path}` cannot be put back: the store does not have {digest}")]
    Missing { path: String, digest: Digest },
    /// The damaged file was taken out of the store, so that the next run can keep it anew.
    #[error("`{path}` cannot be put back: {digest} is damaged in the store")]
    Damaged { path: String, digest: Digest },
    #[error("`{path}` cannot be put back: the store cannot be read: {error}")]
    Store { path: String, error: io::Error },
    /// It is not for us to remove what nobody said is an output.
    #[error("`{path}` cannot be put back: `{place}` is {what}")]
    InTheWay { path: String, place: String, what: &'static str },
    #[error("`{path}` cannot be put back: it is no path inside of the workspace")]
    Leaves { path: String },
    #[error("`{path}` cannot be written: {error}")]
    Write { path: String, error: io::Error },
    #[error("the shared cache does not have all of it")]
    NotFetched,
}

/// Puts outputs back, `which` by their positions. Each is there as a whole afterwards, or was not touched.
///
/// # Errors
/// See [`RestoreError`]: the first in the order of paths. Others may have been put back then. When the store lacks one of
/// them, nothing is touched.
pub fn restore(files: &Files, store: &Store, outputs: &[OutputRef], which: &[usize]) -> Result<(), RestoreError> {
    let mut wanted: Vec<&OutputRef> = which.iter().filter_map(|at| outputs.get(*at)).collect();
    wanted.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    wanted.dedup_by(|a, b| a.path == b.path);
    let missing = |output: &&&OutputRef| output.kind != EntryKind::Directory && !store.names(&output.digest);
    if let Some(output) = wanted.iter().find(missing) {
        return Err(RestoreError::Missing { path: output.path.to_string(), digest: output.digest });
    }
    let put_back = |some: &[&OutputRef]| Restorer { root: files.root(), store, folder: None }.all(some);
    let done = if wanted.len() < PARALLEL_FROM {
        put_back(&wanted)
    } else {
        wanted.par_chunks(CHUNK).map(put_back).find_first(Result::is_err).unwrap_or(Ok(()))
    };
    files.moved();
    done
}

struct Restorer<'a> {
    root: &'a Root,
    store: &'a Store,
    /// The folder of the last output.
    folder: Option<(&'a str, OwnedFd)>,
}

impl<'a> Restorer<'a> {
    fn all(mut self, outputs: &[&'a OutputRef]) -> Result<(), RestoreError> {
        outputs.iter().try_for_each(|output| self.one(output))
    }

    fn one(&mut self, output: &'a OutputRef) -> Result<(), RestoreError> {
        let (parent, name) = output.path.rsplit_once('/').unwrap_or(("", &output.path));
        if matches!(name, "" | "." | "..") {
            return Err(RestoreError::Leaves { path: output.path.to_string() });
        }
        let store = self.store;
        let folder = self.enter(parent, output)?;
        match output.kind {
            EntryKind::File => file(store, folder, name, output),
            EntryKind::Symlink => link(store, folder, name, output),
            EntryKind::Directory => empty_folder(folder, name, output),
        }
    }

    fn enter(&mut self, parent: &'a str, output: &OutputRef) -> Result<&OwnedFd, RestoreError> {
        if self.folder.as_ref().is_none_or(|(path, _)| *path != parent) {
            let folder = self.root.make_folder(Path::new(parent)).map_err(|obstacle| blocked(output, obstacle))?;
            if self.store.is_first_in(parent) {
                tidy(&folder);
            }
            self.folder = Some((parent, folder));
        }
        match &self.folder {
            Some((_, folder)) => Ok(folder),
            None => Err(RestoreError::Leaves { path: output.path.to_string() }),
        }
    }
}

fn blocked(output: &OutputRef, obstacle: Obstacle) -> RestoreError {
    let path = output.path.to_string();
    let in_the_way = |place: &Path, what| RestoreError::InTheWay {
        path: output.path.to_string(),
        place: place.display().to_string(),
        what,
    };
    match obstacle {
        Obstacle::Leaves => RestoreError::Leaves { path },
        Obstacle::Link(place) => in_the_way(&place, "a symbolic link"),
        Obstacle::NotAFolder(place) => in_the_way(&place, "not a folder"),
        Obstacle::Io(error) => RestoreError::Write { path, error },
    }
}

fn written<T, E: Into<io::Error>>(output: &OutputRef, result: Result<T, E>) -> Result<T, RestoreError> {
    result.map_err(|error| RestoreError::Write { path: output.path.to_string(), error: error.into() })
}

fn unread(output: &OutputRef, store: &Store, error: GetError) -> RestoreError {
    let (path, digest) = (output.path.to_string(), output.digest);
    match error {
        GetError::Missing(_) => RestoreError::Missing { path, digest },
        GetError::Damaged { .. } | GetError::NotAFile(_) => {
            // What cannot be set aside is damaged still when it is read the next time.
            let _ = store.set_aside(&digest, None);
            RestoreError::Damaged { path, digest }
        }
        GetError::Io { error, .. } => RestoreError::Store { path, error },
    }
}

fn file(store: &Store, folder: &OwnedFd, name: &str, output: &OutputRef) -> Result<(), RestoreError> {
    let mut blob = store.blob(&output.digest).map_err(|error| unread(output, store, error))?;
    let (temp, mut to) = written(output, Temp::file(folder))?;
    let digest = match copy::file(&mut blob, &mut to) {
        Ok((digest, _)) => digest,
        Err(CopyError::Read(error)) => return Err(RestoreError::Store { path: output.path.to_string(), error }),
        Err(CopyError::Write(error)) => return written(output, Err(error)),
    };
    if digest != output.digest {
        let _ = store.set_aside(&output.digest, Some(&blob));
        return Err(RestoreError::Damaged { path: output.path.to_string(), digest: output.digest });
    }
    let mode = output.mode.map_or(MODE_DEFAULT, Mode::bits);
    written(output, rustix::fs::fchmod(&to, Bits::from_raw_mode(bits(mode))))?;
    temp.persist(name, output)
}

fn link(store: &Store, folder: &OwnedFd, name: &str, output: &OutputRef) -> Result<(), RestoreError> {
    let mut text = Vec::new();
    if output.size_bytes > LINK_BYTES_MAX {
        let error = io::Error::other(format!("a link of {} bytes", output.size_bytes));
        return written(output, Err(error));
    }
    store.get(&output.digest, &mut text).map_err(|error| unread(output, store, error))?;
    written(output, Temp::link(folder, &text))?.persist(name, output)
}

fn empty_folder(folder: &OwnedFd, name: &str, output: &OutputRef) -> Result<(), RestoreError> {
    let make = || rustix::fs::mkdirat(folder, name, Bits::from_raw_mode(0o777));
    match make() {
        Err(Errno::EXIST) => {
            let stat = written(output, rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW))?;
            if !FileType::from_raw_mode(stat.st_mode).is_dir() {
                written(output, rustix::fs::unlinkat(folder, name, AtFlags::empty()).and_then(|()| make()))?;
            }
        }
        result => written(output, result)?,
    }
    let Some(mode) = output.mode else { return Ok(()) };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = written(output, rustix::fs::openat(folder, name, flags, Bits::empty()))?;
    written(output, rustix::fs::fchmod(opened, Bits::from_raw_mode(bits(mode.bits()))))
}

#[allow(clippy::useless_conversion, clippy::allow_attributes, reason = "the type of a mode is the system's")]
fn bits(mode: u32) -> rustix::fs::RawMode {
    rustix::fs::RawMode::try_from(mode).unwrap_or_default()
}

/// A file or link in the making; removed when dropped before it has its name.
struct Temp<'a> {
    folder: &'a OwnedFd,
    name: Option<String>,
}

impl<'a> Temp<'a> {
    fn file(folder: &'a OwnedFd) -> rustix::io::Result<(Self, File)> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (temp, fd) =
            Self::named(folder, |name| rustix::fs::openat(folder, name, flags, Bits::from_raw_mode(0o600)))?;
        Ok((temp, File::from(fd)))
    }

    fn link(folder: &'a OwnedFd, text: &[u8]) -> rustix::io::Result<Self> {
        Self::named(folder, |name| rustix::fs::symlinkat(text, folder, name)).map(|(temp, ())| temp)
    }

    /// Under the next name that is free.
    fn named<T>(folder: &'a OwnedFd, make: impl Fn(&str) -> rustix::io::Result<T>) -> rustix::io::Result<(Self, T)> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let name = format!("{UNFINISHED}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            match make(&name) {
                Err(Errno::EXIST) => {}
                result => return result.map(|new| (Self { folder, name: Some(name) }, new)),
            }
        }
    }

    /// Gives it its name, in the place of a file, a link or an empty folder.
    fn persist(mut self, name: &str, output: &OutputRef) -> Result<(), RestoreError> {
        let Some(temp) = &self.name else { return Ok(()) };
        let rename = || rustix::fs::renameat(self.folder, temp, self.folder, name);
        let mut done = rename();
        if done == Err(Errno::ISDIR) {
            done = match rustix::fs::unlinkat(self.folder, name, AtFlags::REMOVEDIR) {
                Err(Errno::NOTEMPTY | Errno::EXIST) => {
                    let path = output.path.to_string();
                    return Err(RestoreError::InTheWay {
                        place: path.clone(),
                        path,
                        what: "a folder with files in it",
                    });
                }
                Err(errno) => Err(errno),
                Ok(()) => rename(),
            };
        }
        written(output, done)?;
        self.name = None;
        Ok(())
    }
}

impl Drop for Temp<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            let _ = rustix::fs::unlinkat(self.folder, name, AtFlags::empty());
        }
    }
}

/// Removes what a restore that was killed has left in a folder. That of a living process is let be.
fn tidy(folder: &OwnedFd) {
    let Ok(entries) = Dir::read_from(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().ok().and_then(|name| name.strip_prefix(UNFINISHED)?.split_once('-')?.0.parse().ok());
        let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) else { continue };
        if rustix::process::test_kill_process(pid) == Err(Errno::SRCH) {
            let _ = rustix::fs::unlinkat(folder, name, AtFlags::empty());
        }
    }
}
