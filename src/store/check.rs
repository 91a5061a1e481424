//! Whether the store is whole. What is damaged is set aside, so that it counts as not there: whoever needs it runs the
//! task, and the next put writes it anew.

use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rayon::prelude::*;

use super::inventory::Blob;
use super::put::BLOB_MODE;
use super::{GetError, Store, relative};
use crate::digest::Digest;

/// What a check found.
#[derive(Debug, Default)]
pub struct Checked {
    pub blobs: usize,
    pub bytes: u64,
    /// Blobs whose bytes were read.
    pub read: usize,
    /// Sorted by path.
    pub damaged: Vec<Damaged>,
}

#[derive(Debug)]
pub struct Damaged {
    /// Relative to the store.
    pub path: PathBuf,
    /// Whose bytes are lost, where the name says it.
    pub digest: Option<Digest>,
    pub fault: Fault,
    /// Why it is still in its place.
    pub stays: Option<io::Error>,
}

#[derive(Debug)]
pub enum Fault {
    /// Nothing in the store is called so.
    Name,
    /// A link, a folder or something else where a file belongs.
    NotAFile,
    Content {
        found: Digest,
    },
    Unreadable(io::Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("nothing in the store has such a name"),
            Self::NotAFile => f.write_str("it is not a file"),
            Self::Content { found } => write!(f, "it holds {found}"),
            Self::Unreadable(error) => write!(f, "it cannot be read: {error}"),
        }
    }
}

impl Store {
    /// Looks at every name, kind and mode, and with `read_data` at all bytes. Without, it reads those that are suspicious:
    /// what somebody could have written to, and what is empty, as a file is that a crash has torn.
    ///
    /// # Errors
    /// When the store's folders cannot be read.
    pub fn check(&self, read_data: bool) -> io::Result<Checked> {
        let all = self.inventory()?;
        let mut checked = Checked { blobs: all.blobs.len(), bytes: all.bytes(), ..Checked::default() };
        let to_read: Vec<&Blob> =
            all.blobs.iter().filter(|blob| read_data || blob.mode != BLOB_MODE || blob.bytes == 0).collect();
        checked.read = to_read.len();
        let faulty = to_read.into_par_iter().filter_map(|blob| Some((blob.digest, self.fault_of(blob)?)));
        for (digest, fault) in faulty.collect::<Vec<_>>() {
            checked.damaged.push(self.damaged(relative(&digest).into(), Some(digest), fault));
        }
        for stray in all.strays {
            let fault = if stray.digest.is_some() { Fault::NotAFile } else { Fault::Name };
            checked.damaged.push(self.damaged(stray.path, stray.digest, fault));
        }
        checked.damaged.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(checked)
    }

    fn fault_of(&self, blob: &Blob) -> Option<Fault> {
        match self.verify(&blob.digest) {
            Ok(_) => {
                if blob.mode != BLOB_MODE {
                    // Some file systems know no modes.
                    let _ = fs::set_permissions(self.path(&blob.digest), Permissions::from_mode(BLOB_MODE));
                }
                None
            }
            Err(GetError::Missing(_)) => None,
            Err(GetError::Damaged { found, .. }) => Some(Fault::Content { found }),
            Err(GetError::NotAFile(_)) => Some(Fault::NotAFile),
            Err(GetError::Io { error, .. }) => Some(Fault::Unreadable(error)),
        }
    }

    fn damaged(&self, path: PathBuf, digest: Option<Digest>, fault: Fault) -> Damaged {
        let stays = self.put_aside(&self.root.path().join(&path)).err();
        Damaged { path, digest, fault, stays }
    }
}
