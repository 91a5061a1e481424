//! A file that comes in pieces, from another host. It gets its name only when its bytes are what they were said to be.

use std::io::{self, Write};

use tempfile::NamedTempFile;

use super::Store;
use crate::digest::{Digest, Hasher};

/// A file in the making.
#[derive(Debug)]
pub struct Incoming {
    file: NamedTempFile,
    hasher: Hasher,
}

impl Store {
    /// Begins a file.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn incoming(&self) -> io::Result<Incoming> {
        Ok(Incoming { file: self.temp()?, hasher: Hasher::default() })
    }
}

impl Incoming {
    /// Appends a piece.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.file.write_all(bytes)
    }

    /// Keeps it, if it is what `digest` says; safe from a loss of power after [`Store::sync_all`].
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn finish(self, store: &Store, digest: &Digest) -> io::Result<bool> {
        if self.hasher.finish() != *digest {
            return Ok(false);
        }
        store.keep_later(self.file, digest, self.hasher.bytes()).map(|()| true)
    }
}
