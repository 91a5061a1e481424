//! Bytes in, digest out. Written to a temporary file while they are hashed, synced, then given their name; a file that
//! has its name is never written again.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::NamedTempFile;

use super::{Store, relative};
use crate::digest::{Digest, Hasher};

/// Bytes copied at a time.
const PIECE_BYTES: usize = 128 << 10;

/// What a put found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put {
    pub digest: Digest,
    pub bytes: u64,
    /// The store did not have them yet.
    pub new: bool,
}

impl Store {
    /// Stores what a file (or any reader) holds, in one pass: digest and content cannot disagree. Open the file
    /// through [`super::Root`], so that no link leads elsewhere.
    ///
    /// # Errors
    /// When reading or writing fails; the store is then as it was.
    pub fn put_file(&self, mut source: impl Read) -> io::Result<Put> {
        let mut temp = self.temp()?;
        let mut hasher = Hasher::default();
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match source.read(&mut piece) {
                Ok(0) => break,
                Ok(n) => {
                    hasher.update(&piece[..n]);
                    temp.write_all(&piece[..n])?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let (digest, bytes) = (hasher.finish(), hasher.bytes());
        let new = !self.has(&digest, bytes) && self.name(temp, &digest, bytes)?;
        Ok(Put { digest, bytes, new })
    }

    /// Stores bytes that are in memory; free when the store has them.
    ///
    /// # Errors
    /// As [`Self::put_file`].
    pub fn put_bytes(&self, bytes: &[u8]) -> io::Result<Put> {
        let (digest, size) = (Digest::of(bytes), bytes.len() as u64);
        if self.has(&digest, size) {
            return Ok(Put { digest, bytes: size, new: false });
        }
        let mut temp = self.temp()?;
        temp.write_all(bytes)?;
        let new = self.name(temp, &digest, size)?;
        Ok(Put { digest, bytes: size, new })
    }

    fn temp(&self) -> io::Result<NamedTempFile> {
        tempfile::Builder::new().prefix(".put-").tempfile_in(self.root.path())
    }

    /// Whether there is a file of that name and size. A damaged one of another size does not count, so that putting
    /// the bytes again repairs it; damage that keeps the size is found when it is read.
    #[must_use]
    pub fn has(&self, digest: &Digest, bytes: u64) -> bool {
        fs::symlink_metadata(self.path(digest)).is_ok_and(|m| m.is_file() && m.len() == bytes)
    }

    /// Syncs the temporary file and gives it its name; whether it was this call that did.
    fn name(&self, temp: NamedTempFile, digest: &Digest, bytes: u64) -> io::Result<bool> {
        temp.as_file().set_permissions(Permissions::from_mode(0o444))?;
        temp.as_file().sync_all()?;
        let path = self.path(digest);
        let folder = path.parent().unwrap_or(&path);
        self.make_folders(digest)?;
        match temp.persist_noclobber(&path) {
            Ok(_) => {}
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                if self.has(digest, bytes) {
                    return Ok(false);
                }
                error.file.persist(&path).map_err(|e| e.error)?;
            }
            Err(error) => return Err(error.error),
        }
        File::open(folder)?.sync_all()?;
        Ok(true)
    }

    /// The two folders above a digest's file. A link in their place is refused: it would lead the write out.
    fn make_folders(&self, digest: &Digest) -> io::Result<()> {
        let file = relative(digest);
        let folder = Path::new(&file).parent().unwrap_or(Path::new(""));
        let mut path = self.root.path().to_owned();
        for part in folder {
            path.push(part);
            match fs::create_dir(&path) {
                Ok(()) => File::open(path.parent().unwrap_or(&path))?.sync_all()?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if !fs::symlink_metadata(&path)?.is_dir() {
                        let text = format!("`{}` is not a folder", path.display());
                        return Err(io::Error::new(io::ErrorKind::NotADirectory, text));
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
