//! Bytes out, verified as they are read: whoever gets to the end without an error has what was put.

use std::io::{self, Read, Write};
use std::path::Path;

use super::{Store, relative};
use crate::digest::{Digest, Hasher};

/// Why bytes could not be had.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    #[error("the store does not have {0}")]
    Missing(Digest),
    /// The file is there and its bytes are not what its name says.
    #[error("the store is damaged: the file of {named} holds {found}")]
    Damaged { named: Digest, found: Digest },
    #[error("{digest} cannot be read: {error}")]
    Io { digest: Digest, error: io::Error },
}

impl Store {
    /// Copies the bytes of a digest to `out`, and says how many. On an error `out` may have got some that must not be
    /// used: write to a temporary file.
    ///
    /// # Errors
    /// See [`GetError`]; also when `out` fails.
    pub fn get(&self, digest: &Digest, out: &mut impl Write) -> Result<u64, GetError> {
        let io = |error| GetError::Io { digest: *digest, error };
        let mut file = match self.root.read_no_links(Path::new(&relative(digest))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(GetError::Missing(*digest)),
            result => result.map_err(io)?,
        };
        let mut hasher = Hasher::default();
        let mut piece = vec![0; 128 << 10];
        loop {
            match file.read(&mut piece) {
                Ok(0) => break,
                Ok(n) => {
                    hasher.update(&piece[..n]);
                    out.write_all(&piece[..n]).map_err(io)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io(error)),
            }
        }
        let found = hasher.finish();
        if found == *digest { Ok(hasher.bytes()) } else { Err(GetError::Damaged { named: *digest, found }) }
    }

    /// Whether the bytes are there and whole.
    ///
    /// # Errors
    /// See [`GetError`].
    pub fn verify(&self, digest: &Digest) -> Result<u64, GetError> {
        self.get(digest, &mut io::sink())
    }
}
