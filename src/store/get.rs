//! Bytes out, verified as they are read: whoever gets to the end without an error has what was put.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Store, copy, relative};
use crate::digest::Digest;

/// Where damaged files are put aside, beside `sha256`.
pub(super) const DAMAGED: &str = "damaged";

/// Most things of one name that are put aside.
const ASIDE_MAX: usize = 1000;

/// Why bytes could not be had.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    #[error("the store does not have {0}")]
    Missing(Digest),
    /// The file is there and its bytes are not what its name says.
    #[error("the store is damaged: the file of {named} holds {found}")]
    Damaged { named: Digest, found: Digest },
    /// A link, a folder or something else is in the file's place.
    #[error("the store is damaged: {0} is not a file")]
    NotAFile(Digest),
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
        let mut file = self.blob(digest)?;
        let (found, bytes) = copy::pour(&mut file, out).map_err(|error| io(error.into()))?;
        if found == *digest { Ok(bytes) } else { Err(GetError::Damaged { named: *digest, found }) }
    }

    /// Whether the bytes are there and whole.
    ///
    /// # Errors
    /// See [`GetError`].
    pub fn verify(&self, digest: &Digest) -> Result<u64, GetError> {
        self.get(digest, &mut io::sink())
    }

    /// Opens the file of a digest, whose bytes are not verified yet.
    pub(super) fn blob(&self, digest: &Digest) -> Result<File, GetError> {
        let io = |error| GetError::Io { digest: *digest, error };
        let file = match self.root.read_no_links(Path::new(&relative(digest))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(GetError::Missing(*digest)),
            Err(_) if self.is_no_file(digest) => return Err(GetError::NotAFile(*digest)),
            result => result.map_err(io)?,
        };
        if file.metadata().map_err(io)?.is_file() { Ok(file) } else { Err(GetError::NotAFile(*digest)) }
    }

    fn is_no_file(&self, digest: &Digest) -> bool {
        fs::symlink_metadata(self.path(digest)).is_ok_and(|found| !found.is_file())
    }

    /// Takes a damaged file out of the way, so that the next put writes it anew; it stays in `damaged/` until the next
    /// `fleet gc`, for whoever wants to know what happened to it. `seen` is the file that was found to be damaged: what
    /// has been put in its place since is let be.
    ///
    /// # Errors
    /// When it cannot be renamed. That it is gone is no error.
    pub(super) fn set_aside(&self, digest: &Digest, seen: Option<&File>) -> io::Result<()> {
        let path = self.path(digest);
        if let Some(seen) = seen.map(File::metadata).transpose()?
            && !fs::symlink_metadata(&path).is_ok_and(|now| (now.dev(), now.ino()) == (seen.dev(), seen.ino()))
        {
            return Ok(());
        }
        self.put_aside(&path)
    }

    /// Moves something of the store to `damaged/`.
    pub(super) fn put_aside(&self, path: &Path) -> io::Result<()> {
        let aside = self.root.path().join(DAMAGED);
        fs::create_dir_all(&aside)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let names = (1..).map(|n| format!("{name}.{n}"));
        let free = std::iter::once(name.to_string()).chain(names).map(|name| aside.join(name));
        let Some(free) = free.take(ASIDE_MAX).find(|path| fs::symlink_metadata(path).is_err()) else {
            return Err(io::Error::other("too many of that name are set aside; `fleet gc` removes them"));
        };
        match fs::rename(path, free) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }
}
