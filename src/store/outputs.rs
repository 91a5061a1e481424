//! What a task made: noticed, kept in the store, held against what is there now, and put back.
//! `walk` patterns to files, links and empty folders · `restore` bytes of the store to their places.
//! Outputs are regular files with their mode, symbolic links with their text (which may lead anywhere: it is only text),
//! and empty folders. Nothing is followed but links on the way to an output that stay in the workspace.

mod restore;
#[cfg(test)]
mod tests;
mod walk;

use std::fs::File;
use std::io;
use std::path::Path;

use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType, Stat};

use super::{Files, Root, Scan, ScanError, Store};
use crate::digest::Digest;
use crate::protocol::receipt::{EntryKind, Mode, OutputRef};

pub use restore::{RestoreError, restore};

/// What the name of a file that is being put back begins with until it is whole. Such a file is no output and no input.
pub const UNFINISHED: &str = ".fleet-restore-";

/// From how many outputs on the work is shared among threads.
const PARALLEL_FROM: usize = 32;

/// What a task's patterns took.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// Sorted by path, each once.
    pub outputs: Vec<OutputRef>,
    /// Positions of the patterns (not the excluding ones) that took nothing.
    pub unmatched: Vec<usize>,
}

/// Why an output is not in the store.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// Something wrote to it after the task had ended.
    #[error("`{path}` changed after it was made")]
    Changed { path: String },
    #[error("`{path}` cannot be read: {error}")]
    Read { path: String, error: io::Error },
    #[error("`{path}` cannot be kept: {error}")]
    Store { path: String, error: io::Error },
}

/// The outputs there are now. A pattern that means everything in a folder (the folder itself, `dir/**`) takes the empty
/// folders beneath it too.
///
/// # Errors
/// See [`ScanError`]. What disappears while it is looked at is no error.
pub fn capture(files: &Files, patterns: &Scan) -> Result<Captured, ScanError> {
    let walk::Entries { files: paths, mut outputs, unmatched } = walk::entries(files.root(), patterns)?;
    match files.digest(&paths) {
        // A file may be gone again since it was found, when something else works in that folder.
        Err(error) if has_vanished(&error) => {
            for path in &paths {
                outputs.extend(files.look(path)?);
            }
        }
        digested => outputs.extend(digested?),
    }
    outputs.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(Captured { outputs, unmatched })
}

fn has_vanished(error: &ScanError) -> bool {
    matches!(error, ScanError::Io { error, .. } if error.kind() == io::ErrorKind::NotFound)
}

/// Puts the outputs' bytes into the store; what it has is not written again. They are safe from a loss of power only
/// after [`Store::sync_all`].
///
/// # Errors
/// See [`KeepError`]: the first in the order of `outputs`.
pub fn keep(files: &Files, store: &Store, outputs: &[OutputRef]) -> Result<(), KeepError> {
    let keep = |output: &OutputRef| keep_one(files.root(), store, output);
    if outputs.len() < PARALLEL_FROM {
        return outputs.iter().try_for_each(keep);
    }
    outputs.par_iter().map(keep).find_first(Result::is_err).unwrap_or(Ok(()))
}

fn keep_one(root: &Root, store: &Store, output: &OutputRef) -> Result<(), KeepError> {
    let path = || output.path.to_string();
    let read = |error| KeepError::Read { path: path(), error };
    let kept = |error| KeepError::Store { path: path(), error };
    if output.kind == EntryKind::Directory || store.has(&output.digest, output.size_bytes) {
        return Ok(());
    }
    let digest = if output.kind == EntryKind::Symlink {
        let text = Place::of(root, &output.path).and_then(|place| place.link_text()).map_err(read)?;
        store.put_bytes_unsynced(&text).map_err(kept)?.digest
    } else {
        let mut file = root.read(Path::new(&*output.path)).map_err(read)?;
        if !file.metadata().map_err(read)?.is_file() {
            return Err(KeepError::Changed { path: path() });
        }
        store.put_file_unsynced(&mut file).map_err(kept)?.digest
    };
    if digest == output.digest { Ok(()) } else { Err(KeepError::Changed { path: path() }) }
}

/// The positions of outputs that are missing, or differ in content, kind or mode. A folder that was empty and holds
/// something now has not changed: what is in it is the output of whoever put it there.
#[must_use]
pub fn changed(files: &Files, outputs: &[OutputRef]) -> Vec<usize> {
    let is_changed = |at: &usize| !is_there(files, &outputs[*at]);
    if outputs.len() < PARALLEL_FROM {
        return (0..outputs.len()).filter(is_changed).collect();
    }
    (0..outputs.len()).into_par_iter().filter(is_changed).collect()
}

fn is_there(files: &Files, output: &OutputRef) -> bool {
    let root = files.root();
    let has_mode = |bits| output.mode.is_none_or(|mode| mode == Mode::of(bits));
    match output.kind {
        EntryKind::File => files.still_is(output),
        EntryKind::Symlink => {
            let text = Place::of(root, &output.path).and_then(|place| place.link_text());
            text.is_ok_and(|text| Digest::of(&text) == output.digest)
        }
        EntryKind::Directory => Place::of(root, &output.path)
            .and_then(|place| place.stat())
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir() && has_mode(stat.st_mode)),
    }
}

/// An entry of a folder, looked at without following it. Links on the way are followed while they stay inside.
#[derive(Debug)]
struct Place<'a> {
    folder: File,
    name: &'a str,
}

impl<'a> Place<'a> {
    fn of(root: &Root, path: &'a str) -> io::Result<Self> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok(Self { folder: root.read(Path::new(folder))?, name })
    }

    fn stat(&self) -> io::Result<Stat> {
        Ok(rustix::fs::statat(&self.folder, self.name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn link_text(&self) -> io::Result<Vec<u8>> {
        Ok(rustix::fs::readlinkat(&self.folder, self.name, Vec::new())?.into_bytes())
    }
}
