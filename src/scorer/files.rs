//! How scorers read the workspace: a path or glob in, the bytes of a regular file out, or why not.
//! [`Root`] keeps every look inside the workspace; here is what its answers mean to a scorer. Nothing here can hang or
//! grow without a bound: a FIFO is never waited for, and a file over the bound is never read whole.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::model::task::is_glob;
use crate::store::{Root, Scan, ScanError};

/// What is at a path.
#[derive(Debug)]
pub(super) enum Look<T> {
    Found(T),
    /// Nothing that counts as a file: the task did not make it. Says what there is instead, after the path's name.
    NoFile(&'static str),
    /// It cannot be told: the scorer's trouble.
    Unreadable(io::Error),
}

/// An open regular file.
#[derive(Debug)]
pub(super) struct Opened {
    file: File,
    pub(super) bytes: u64,
}

/// What reading up to a bound came to.
#[derive(Debug)]
pub(super) enum Content {
    Whole(Vec<u8>),
    OverBound,
}

/// Opens the regular file at a path relative to the workspace; links are followed inside it.
pub(super) fn open(workspace: &Root, path: &str) -> Look<Opened> {
    let opened = workspace.read(Path::new(path)).and_then(|file| Ok((file.metadata()?, file)));
    match opened {
        Ok((found, file)) if found.is_file() => Look::Found(Opened { file, bytes: found.len() }),
        Ok((found, _)) if found.is_dir() => Look::NoFile("is a folder"),
        Ok(_) => Look::NoFile("is not a regular file"),
        Err(error) => absent_or_unreadable(error),
    }
}

/// The paths that a glob matches, sorted; a pattern without glob characters is its own only match, there or not.
///
/// # Errors
/// As [`Scan`], but for a glob that leads out of the workspace: nothing in there is a file of the task.
pub(super) fn expand(workspace: &Root, pattern: &str) -> Result<Vec<Box<str>>, ScanError> {
    if !is_glob(pattern) {
        return Ok(vec![pattern.into()]);
    }
    match Scan::new(&[pattern])?.expand(workspace) {
        Ok(found) => Ok(found.files),
        Err(ScanError::Leaves { .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

impl Opened {
    /// Reads it whole unless it has more than `bytes_max` bytes, also when it grows meanwhile.
    ///
    /// # Errors
    /// What reading fails with.
    pub(super) fn read(self, bytes_max: u64) -> io::Result<Content> {
        if self.bytes > bytes_max {
            return Ok(Content::OverBound);
        }
        let mut bytes = Vec::with_capacity(usize::try_from(self.bytes).unwrap_or(0));
        self.file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
        Ok(if bytes.len() as u64 > bytes_max { Content::OverBound } else { Content::Whole(bytes) })
    }
}

/// Sorts what a failed look-up means: nothing there, or something that we may not see.
fn absent_or_unreadable<T>(error: io::Error) -> Look<T> {
    match error.kind() {
        io::ErrorKind::CrossesDevices => Look::NoFile("is outside the workspace"),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Look::NoFile("is missing"),
        _ if error.raw_os_error() == Some(libc::ELOOP) => Look::NoFile("is a link that cannot be followed"),
        // A socket, or a device without a driver: there, but nothing to read.
        _ if error.raw_os_error() == Some(libc::ENXIO) => Look::NoFile("is not a regular file"),
        _ => Look::Unreadable(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_grows_while_it_is_read_is_over_the_bound() {
        let dir = tempfile::TempDir::new().unwrap();
        std::fs::write(dir.path().join("f"), "1234").unwrap();
        let workspace = Root::open(dir.path()).unwrap();
        let Look::Found(file) = open(&workspace, "f") else { panic!("it is there") };
        std::fs::write(dir.path().join("f"), "12345").unwrap();
        assert!(matches!(file.read(4).unwrap(), Content::OverBound));
    }

    #[test]
    fn failed_look_ups_are_sorted_by_whose_fault_they_are() {
        let sort = |code| match absent_or_unreadable::<()>(io::Error::from_raw_os_error(code)) {
            Look::NoFile(_) => "task",
            Look::Unreadable(_) => "scorer",
            Look::Found(()) => "found",
        };
        for code in [libc::ENOENT, libc::ENOTDIR, libc::ELOOP, libc::ENXIO] {
            assert_eq!(sort(code), "task", "{code}");
        }
        for code in [libc::EACCES, libc::EPERM, libc::EIO, libc::EMFILE, libc::ENAMETOOLONG] {
            assert_eq!(sort(code), "scorer", "{code}");
        }
    }
}
