//! The one way bytes get from a file to another: shared by the file system where it can, else copied, and hashed
//! either way from what the other file then holds.

use std::fs::File;
use std::io::{self, Read, Seek, Write};

use crate::digest::{Digest, Hasher};

/// Bytes copied at a time.
const PIECE_BYTES: usize = 128 << 10;

/// Why a copy failed, by the side it failed on.
#[derive(Debug)]
pub(crate) enum CopyError {
    Read(io::Error),
    Write(io::Error),
}

impl From<CopyError> for io::Error {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Read(error) | CopyError::Write(error) => error,
        }
    }
}

/// Fills an empty file with the bytes of another. Both then share their blocks where the file system can do that, and
/// neither is changed by a write to the other.
pub(crate) fn file(from: &mut File, to: &mut File) -> Result<(Digest, u64), CopyError> {
    if clone(from, to) {
        to.rewind().map_err(CopyError::Write)?;
        return pour(to, &mut io::sink());
    }
    pour(from, to)
}

/// Copies whatever can be read, hashing it on its way.
pub(crate) fn pour(from: &mut impl Read, to: &mut impl Write) -> Result<(Digest, u64), CopyError> {
    let mut hasher = Hasher::default();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok((hasher.finish(), hasher.bytes())),
            Ok(n) => {
                hasher.update(&piece[..n]);
                to.write_all(&piece[..n]).map_err(CopyError::Write)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(CopyError::Read(error)),
        }
    }
}

#[cfg(target_os = "linux")]
fn clone(from: &File, to: &File) -> bool {
    rustix::fs::ioctl_ficlone(to, from).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn clone(_: &File, _: &File) -> bool {
    false
}
