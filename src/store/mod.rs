//! What lies in the state directory besides journals: bytes by digest, and the directory itself.
//! `state` the layout, its lock and its runs · `put` bytes in, digest out, nothing overwritten · `get` verified as it is
//! read · `beneath` opening files without leaving a folder · `scan` a task's globs to files and digests · `remote` the
//! cache shared with others.
//! Knows nothing of tasks or runs beyond their names.

pub mod beneath;
mod get;
mod put;
pub mod remote;
pub mod scan;
pub mod state;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;

pub use beneath::Root;
pub use get::GetError;
pub use put::Put;
pub use scan::{Found, Scan, ScanError};
pub use state::{Lock, LockError, Owner, RunLookup, StateDir};

/// The content store: `store/sha256/<aa>/<bb>/<digest>`. Any number of threads and processes may use one at a time.
#[derive(Debug)]
pub struct Store {
    root: Root,
}

impl Store {
    /// Opens the store of a state directory, and makes it where there is none.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        let path = state_dir.join("store");
        std::fs::create_dir_all(path.join("sha256"))?;
        Ok(Self { root: Root::open(&path)? })
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
