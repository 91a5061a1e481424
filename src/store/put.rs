//! Bytes in, digest out. Written to a temporary file while they are hashed, then given their name; a file that has its
//! name is never written again. Artifacts are synced one by one, because a receipt cites them for good; outputs, of
//! which a run may keep thousands, all together at its end.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use tempfile::NamedTempFile;

use super::copy::{self, CopyError};
use super::{Root, Store, relative};
use crate::digest::Digest;

/// What the name of a file in the making begins with.
pub(super) const UNFINISHED: &str = ".put-";

/// Nobody writes to a file of the store.
pub(super) const BLOB_MODE: u32 = 0o444;

/// What a put found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put {
    pub digest: Digest,
    pub bytes: u64,
    /// The store did not have them yet.
    pub new: bool,
}

/// When bytes must be safe from a loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Durable {
    /// When the put returns.
    Now,
    /// After [`Store::sync_all`]. A blob that is torn before is noticed when it is read, and counts as not there.
    Later,
}

impl Store {
    /// Stores what a file (or any reader) holds, in one pass: digest and content cannot disagree. Open the file
    /// through [`super::Root`], so that no link leads elsewhere. The bytes survive a loss of power.
    ///
    /// # Errors
    /// When reading or writing fails; the store is then as it was.
    pub fn put_file(&self, mut source: impl Read) -> io::Result<Put> {
        self.put(Durable::Now, |temp| copy::pour(&mut source, temp))
    }

    /// As [`Self::put_file`], but safe only after [`Self::sync_all`], which is once for any number of puts.
    ///
    /// # Errors
    /// As [`Self::put_file`].
    pub fn put_file_unsynced(&self, source: &mut File) -> io::Result<Put> {
        self.put(Durable::Later, |temp| copy::file(source, temp))
    }

    /// Stores bytes that are in memory; free when the store has them.
    ///
    /// # Errors
    /// As [`Self::put_file`].
    pub fn put_bytes(&self, bytes: &[u8]) -> io::Result<Put> {
        self.put_slice(Durable::Now, bytes)
    }

    /// As [`Self::put_bytes`], but safe only after [`Self::sync_all`].
    ///
    /// # Errors
    /// As [`Self::put_file`].
    pub fn put_bytes_unsynced(&self, bytes: &[u8]) -> io::Result<Put> {
        self.put_slice(Durable::Later, bytes)
    }

    /// Makes everything that was put so far safe from a loss of power. Free when nothing was put without a sync.
    ///
    /// # Errors
    /// When the file system cannot write.
    pub fn sync_all(&self) -> io::Result<()> {
        if self.unsynced.swap(false, Ordering::AcqRel) {
            return sync_file_system(&self.root).inspect_err(|_| self.unsynced.store(true, Ordering::Release));
        }
        Ok(())
    }

    /// Whether there is a file of that name and size. A damaged one of another size does not count, so that putting
    /// the bytes again repairs it; damage that keeps the size is found when it is read.
    #[must_use]
    pub fn has(&self, digest: &Digest, bytes: u64) -> bool {
        fs::symlink_metadata(self.path(digest)).is_ok_and(|m| m.is_file() && m.len() == bytes)
    }

    fn put_slice(&self, durable: Durable, bytes: &[u8]) -> io::Result<Put> {
        let (digest, size) = (Digest::of(bytes), bytes.len() as u64);
        if self.has_safely(&digest, size, durable)? {
            return Ok(Put { digest, bytes: size, new: false });
        }
        self.put(durable, |temp| temp.write_all(bytes).map(|()| (digest, size)).map_err(CopyError::Write))
    }

    fn put(
        &self,
        durable: Durable,
        fill: impl FnOnce(&mut File) -> Result<(Digest, u64), CopyError>,
    ) -> io::Result<Put> {
        let mut temp = self.temp()?;
        let (digest, bytes) = fill(temp.as_file_mut())?;
        let new = !self.has_safely(&digest, bytes, durable)? && self.name(temp, &digest, bytes, durable)?;
        Ok(Put { digest, bytes, new })
    }

    /// Makes what is in the store already safe from a loss of power; `false` when it is not whole there.
    ///
    /// # Errors
    /// When the file system cannot write.
    pub fn secure(&self, digest: &Digest, bytes: u64) -> io::Result<bool> {
        self.has_safely(digest, bytes, Durable::Now)
    }

    /// Gives a file its name that was hashed while it was written.
    pub(super) fn keep_later(&self, file: NamedTempFile, digest: &Digest, bytes: u64) -> io::Result<()> {
        if !self.has(digest, bytes) {
            self.name(file, digest, bytes, Durable::Later)?;
        }
        Ok(())
    }

    pub(super) fn temp(&self) -> io::Result<NamedTempFile> {
        tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(self.root.path())
    }

    /// Gives the temporary file its name; whether it was this call that did.
    fn name(&self, temp: NamedTempFile, digest: &Digest, bytes: u64, durable: Durable) -> io::Result<bool> {
        temp.as_file().set_permissions(Permissions::from_mode(BLOB_MODE))?;
        match durable {
            Durable::Now => temp.as_file().sync_all()?,
            Durable::Later => self.unsynced.store(true, Ordering::Release),
        }
        let path = self.path(digest);
        self.make_folders(digest)?;
        match temp.persist_noclobber(&path) {
            Ok(_) => {}
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                if self.has_safely(digest, bytes, durable)? {
                    return Ok(false);
                }
                error.file.persist(&path).map_err(|e| e.error)?;
            }
            Err(error) => return Err(error.error),
        }
        if durable == Durable::Now {
            self.sync_names(digest)?;
        }
        Ok(true)
    }

    /// As [`Self::has`]. What must be safe now may have been put without a sync, by this run or by one that was killed,
    /// and a loss of power may have left its length without its bytes: so it is read, and synced.
    fn has_safely(&self, digest: &Digest, bytes: u64, durable: Durable) -> io::Result<bool> {
        if !self.has(digest, bytes) || durable == Durable::Later {
            return Ok(self.has(digest, bytes));
        }
        if self.verify(digest).is_err() {
            return Ok(false);
        }
        File::open(self.path(digest))?.sync_all()?;
        self.sync_names(digest)?;
        Ok(true)
    }

    /// Makes the name of a digest's file safe, and those of the folders above it, each of them once.
    fn sync_names(&self, digest: &Digest) -> io::Result<()> {
        let path = self.path(digest);
        let folders: Vec<&Path> = path.ancestors().skip(1).take(5).collect();
        File::open(folders[0])?.sync_all()?;
        for pair in folders.windows(2) {
            // Whoever panicked while he held it had nothing half done.
            let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
            if !synced.contains(pair[0]) {
                File::open(pair[1])?.sync_all()?;
                synced.insert(pair[0].to_owned());
            }
        }
        Ok(())
    }

    /// The two folders above a digest's file. A link in their place is refused: it would lead the write out.
    fn make_folders(&self, digest: &Digest) -> io::Result<()> {
        let file = relative(digest);
        let folder = Path::new(&file).parent().unwrap_or(Path::new(""));
        let mut path = self.root.path().to_owned();
        for part in folder {
            path.push(part);
            match fs::create_dir(&path) {
                Ok(()) => {}
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

#[cfg(target_os = "linux")]
fn sync_file_system(root: &Root) -> io::Result<()> {
    Ok(rustix::fs::syncfs(root.as_fd())?)
}

#[cfg(not(target_os = "linux"))]
fn sync_file_system(_: &Root) -> io::Result<()> {
    rustix::fs::sync();
    Ok(())
}
