//! What this host has kept of files it was sent or has made: `cas/<aa>/<digest>` below the working directory. A name is
//! only a claim: what is laid out for an attempt is hashed on its way, and what is damaged is forgotten and asked for
//! again. Bounded by size; what was not used for longest goes first.

use std::collections::HashSet;
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::NamedTempFile;
use walkdir::{DirEntry, WalkDir};

use super::lay::Sound;
use super::piece::Piece;
use crate::digest::{Digest, Hasher};
use crate::store::aged::UNFINISHED;

#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    sound: Arc<Sound>,
    /// The file that is being received.
    incoming: Option<Incoming>,
}

#[derive(Debug)]
struct Incoming {
    digest: Digest,
    hasher: Hasher,
    bytes: u64,
    /// An error keeps the rest of the file from being looked at.
    file: io::Result<NamedTempFile>,
}

/// What became of a file when its last piece came.
#[derive(Debug)]
pub(super) enum Received {
    /// More of it follows.
    Some,
    Whole(Digest, u64),
    /// What came is not what its digest says.
    Broken(Digest),
    /// The disk has no room for it.
    Full(Digest, String),
    Failed(Digest, String),
}

impl Cache {
    pub(super) fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self { folder, sound: Arc::default(), incoming: None })
    }

    /// Which of the files need not be looked at again.
    pub(super) fn sound(&self) -> Arc<Sound> {
        Arc::clone(&self.sound)
    }

    pub(super) fn path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.folder.join(&hex[..2]).join(hex)
    }

    /// Whether there is a file of that name and size.
    pub(super) fn has(&self, digest: &Digest, bytes: u64) -> bool {
        fs::symlink_metadata(self.path(digest)).is_ok_and(|about| about.is_file() && about.len() == bytes)
    }

    /// Removes all that is kept but for this; `false` when that is nothing.
    pub(super) fn keep_only(&self, needed: &HashSet<Digest>) -> bool {
        let needed: HashSet<String> = needed.iter().map(Digest::hex).collect();
        let files = WalkDir::new(&self.folder).into_iter().flatten().filter(|entry| entry.file_type().is_file());
        let goes = |entry: &DirEntry| {
            let name = entry.file_name().to_string_lossy();
            !name.starts_with(UNFINISHED) && !needed.contains(&*name)
        };
        files.filter(goes).filter(|entry| fs::remove_file(entry.path()).is_ok()).count() > 0
    }

    pub(super) fn receive(&mut self, piece: &Piece<'_>) -> Received {
        let mut incoming =
            self.incoming.take().filter(|incoming| incoming.digest == piece.digest).unwrap_or_else(|| {
                let file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.folder).map_err(plain);
                Incoming { digest: piece.digest, hasher: Hasher::default(), bytes: 0, file }
            });
        incoming.hasher.update(&piece.bytes);
        incoming.bytes += piece.bytes.len() as u64;
        if let Ok(file) = &mut incoming.file
            && let Err(error) = file.write_all(&piece.bytes)
        {
            incoming.file = Err(error);
        }
        if !piece.last {
            self.incoming = Some(incoming);
            return Received::Some;
        }
        let Incoming { digest, hasher, bytes, file } = incoming;
        if file.is_ok() && hasher.finish() != digest {
            return Received::Broken(digest);
        }
        match file.and_then(|file| self.keep(file, &digest)) {
            Ok(()) => Received::Whole(digest, bytes),
            Err(error) if super::is_full(&error) => Received::Full(digest, error.to_string()),
            Err(error) => Received::Failed(digest, error.to_string()),
        }
    }

    fn keep(&self, file: NamedTempFile, digest: &Digest) -> io::Result<()> {
        let path = self.path(digest);
        fs::create_dir_all(path.parent().unwrap_or(&self.folder))?;
        file.as_file().set_permissions(Permissions::from_mode(0o400))?;
        let file = file.persist(path)?;
        self.sound.note(*digest, &file);
        Ok(())
    }

    /// Takes a file in that an attempt has made and nobody can write to any more, by its name alone.
    pub(super) fn adopt(folder: &Path, from: &Path, digest: &Digest) -> io::Result<()> {
        let hex = digest.hex();
        let folder = folder.join(&hex[..2]);
        let to = folder.join(&hex);
        if to.exists() {
            return Ok(());
        }
        fs::create_dir_all(&folder)?;
        fs::set_permissions(from, Permissions::from_mode(0o400))?;
        fs::rename(from, to)
    }
}

/// What the system said, without the name of a temporary file that tells nobody anything.
fn plain(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.source()).and_then(|inner| inner.downcast_ref::<io::Error>());
    inner.and_then(io::Error::raw_os_error).map_or(error, io::Error::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(digest: Digest, bytes: &[u8], last: bool) -> Piece<'_> {
        Piece { digest, bytes: bytes.into(), last }
    }

    #[test]
    fn a_file_is_kept_only_when_it_is_whole() {
        let dir = tempfile::TempDir::new().unwrap();
        let mut cache = Cache::open(dir.path().join("cas")).unwrap();
        let digest = Digest::of(b"hello");
        assert!(matches!(cache.receive(&piece(digest, b"hel", false)), Received::Some));
        assert!(!cache.has(&digest, 5));
        assert!(matches!(cache.receive(&piece(digest, b"lo", true)), Received::Whole(_, 5)));
        assert!(cache.has(&digest, 5) && !cache.has(&digest, 4));
        let other = Digest::of(b"other");
        assert!(matches!(cache.receive(&piece(other, b"wrong", true)), Received::Broken(_)));
        assert!(!cache.has(&other, 5));
        assert!(!cache.keep_only(&HashSet::from([digest])) && cache.has(&digest, 5));
        assert!(cache.keep_only(&HashSet::from([other])) && !cache.has(&digest, 5));
        // A file that was begun and given up leaves nothing to the next one.
        assert!(matches!(cache.receive(&piece(other, b"oth", false)), Received::Some));
        assert!(matches!(cache.receive(&piece(Digest::of(b""), b"", true)), Received::Whole(_, 0)));
        assert!(matches!(cache.receive(&piece(other, b"er", true)), Received::Broken(_)));
    }
}
