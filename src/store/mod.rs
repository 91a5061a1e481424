//! What lies in the state directory besides journals: bytes by digest, and the directory itself.
//! `state` the layout, its lock and its runs · `put` bytes in, digest out, nothing overwritten · `get` verified as it is
//! read, `incoming` in pieces from another host · `copy` the one way bytes get from file to file · `beneath` opening files without leaving a folder · `scan` a
//! task's globs · `walk` globs to files, `ignored` what git ignores · `files` what the workspace holds now, with `stats`
//! the digests that still hold and `hash` the rest · `outputs` what a task made, kept and put back · `results` earlier
//! results by fingerprint · `remote` the cache shared with others · `aged` files that can be had again ·
//! `inventory` what the store holds · `check` whether it
//! is whole · `reach` what records cite of it · `gc` what may go. Knows nothing of tasks or runs beyond their names.

pub mod aged;
mod ahead;
pub mod beneath;
pub mod check;
pub(crate) mod copy;
pub mod files;
pub mod gc;
mod get;
mod hash;
mod ignored;
mod incoming;
pub mod inventory;
pub mod outputs;
mod put;
pub mod reach;
pub mod remote;
pub mod results;
pub mod scan;
pub mod state;
pub(crate) mod stats;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use crate::digest::Digest;

pub use ahead::Ahead;
pub use beneath::Root;
pub use files::Files;
pub use get::GetError;
pub use incoming::Incoming;
pub use put::Put;
pub use scan::{Found, Scan, ScanError};
pub use state::{Lock, LockError, Owner, RunLookup, StateDir};

/// The content store: `store/sha256/<aa>/<bb>/<digest>`. Any number of threads and processes may use one at a time.
#[derive(Debug)]
pub struct Store {
    root: Root,
    /// Something was put that is not synced yet.
    unsynced: AtomicBool,
    /// Folders of the store whose own names survive a loss of power.
    synced: Mutex<HashSet<PathBuf>>,
    /// The folders of the workspace that were looked through for what an interrupted restore left.
    tidied: Mutex<HashSet<Box<str>>>,
}

impl Store {
    /// Opens the store of a state directory, and makes it where there is none.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        let path = state_dir.join("store");
        std::fs::create_dir_all(path.join("sha256"))?;
        Ok(Self {
            root: Root::open(&path)?,
            unsynced: AtomicBool::new(false),
            synced: Mutex::default(),
            tidied: Mutex::default(),
        })
    }

    /// The store of a state directory, where there is one.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn find(state_dir: &Path) -> io::Result<Option<Self>> {
        match std::fs::symlink_metadata(state_dir.join("store/sha256")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            _ => Self::open(state_dir).map(Some),
        }
    }

    /// Whether a restore is the first of this process in a folder of the workspace.
    fn is_first_in(&self, folder: &str) -> bool {
        // Whoever panicked while he held it had nothing half done.
        self.tidied.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.into())
    }

    /// Whether something has the name of a digest, whole or not.
    fn names(&self, digest: &Digest) -> bool {
        std::fs::symlink_metadata(self.path(digest)).is_ok()
    }

    /// Where the bytes of a digest are, if they are.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.root.path().join(relative(digest))
    }
}

fn relative(digest: &Digest) -> String {
    let hex = digest.hex();
    format!("sha256/{}/{}/{hex}", &hex[..2], &hex[2..4])
}
