//! What this host has kept of files it was sent or has made: `cas/<aa>/<digest>` below the working directory. A name is
//! only a claim: what is laid out for an attempt is hashed on its way, and what is damaged is forgotten and asked for
//! again. Bounded by size; what was not used for longest goes first.

use std::fs::{self, File, FileTimes, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::NamedTempFile;
use walkdir::WalkDir;

use super::piece::Piece;
use crate::digest::{Digest, Hasher};

/// A use is noted once in this time.
const NOTED_EVERY: Duration = Duration::from_hours(1);
/// What begins so is a file in the making.
const UNFINISHED: &str = ".in-";

#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    /// The file that is being received.
    incoming: Option<Incoming>,
}

#[derive(Debug)]
struct Incoming {
    digest: Digest,
    hasher: Hasher,
    /// An error keeps the rest of the file from being looked at.
    file: io::Result<NamedTempFile>,
}

/// What became of a file when its last piece came.
#[derive(Debug)]
pub(super) enum Received {
    /// More of it follows.
    Some,
    Whole(Digest),
    Failed(Digest, String),
}

impl Cache {
    pub(super) fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self { folder, incoming: None })
    }

    pub(super) fn path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.folder.join(&hex[..2]).join(hex)
    }

    /// Whether there is a file of that name and size.
    pub(super) fn has(&self, digest: &Digest, bytes: u64) -> bool {
        fs::symlink_metadata(self.path(digest)).is_ok_and(|about| about.is_file() && about.len() == bytes)
    }

    pub(super) fn receive(&mut self, piece: &Piece<'_>) -> Received {
        let mut incoming =
            self.incoming.take().filter(|incoming| incoming.digest == piece.digest).unwrap_or_else(|| {
                let file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.folder);
                Incoming { digest: piece.digest, hasher: Hasher::default(), file }
            });
        incoming.hasher.update(&piece.bytes);
        if let Ok(file) = &mut incoming.file
            && let Err(error) = file.write_all(&piece.bytes)
        {
            incoming.file = Err(error);
        }
        if !piece.last {
            self.incoming = Some(incoming);
            return Received::Some;
        }
        let Incoming { digest, hasher, file } = incoming;
        match file.and_then(|file| if hasher.finish() == digest { self.keep(file, &digest) } else { Err(changed()) }) {
            Ok(()) => Received::Whole(digest),
            Err(error) => Received::Failed(digest, error.to_string()),
        }
    }

    fn keep(&self, file: NamedTempFile, digest: &Digest) -> io::Result<()> {
        let path = self.path(digest);
        fs::create_dir_all(path.parent().unwrap_or(&self.folder))?;
        file.as_file().set_permissions(Permissions::from_mode(0o400))?;
        file.persist(path)?;
        Ok(())
    }

    /// Takes a file in that an attempt has made and nobody can write to any more, by its name alone.
    pub(super) fn adopt(folder: &Path, from: &Path, digest: &Digest) -> io::Result<()> {
        let hex = digest.hex();
        let folder = folder.join(&hex[..2]);
        fs::create_dir_all(&folder)?;
        fs::set_permissions(from, Permissions::from_mode(0o400))?;
        fs::rename(from, folder.join(hex))
    }

    /// Notes that a file was used.
    pub(super) fn used(file: &File) {
        let old = |about: fs::Metadata| about.modified()?.elapsed().map_err(io::Error::other);
        if file.metadata().and_then(old).is_ok_and(|age| age > NOTED_EVERY) {
            // Without it the file is only forgotten sooner.
            let _ = file.set_times(FileTimes::new().set_modified(SystemTime::now()));
        }
    }
}

fn changed() -> io::Error {
    io::Error::other("it was changed while it was sent")
}

/// Makes the cache fit its bound; says how many bytes went and how many are left.
pub(super) fn trim(folder: &Path, max: u64) -> (u64, u64) {
    let mut files = Vec::new();
    for entry in WalkDir::new(folder).into_iter().flatten().filter(|entry| entry.file_type().is_file()) {
        let Ok(about) = entry.metadata() else { continue };
        let used = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let torn = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
        // Nobody receives one file for that long.
        if !torn || used.elapsed().is_ok_and(|age| age > NOTED_EVERY) {
            files.push((used, about.len(), entry.into_path()));
        }
    }
    let mut left: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
    files.sort_unstable();
    let before = left;
    for (_, bytes, path) in files {
        if left <= max {
            break;
        }
        if fs::remove_file(path).is_ok() {
            left -= bytes;
        }
    }
    (before - left, left)
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
        assert!(matches!(cache.receive(&piece(digest, b"lo", true)), Received::Whole(_)));
        assert!(cache.has(&digest, 5) && !cache.has(&digest, 4));
        let other = Digest::of(b"other");
        assert!(matches!(cache.receive(&piece(other, b"wrong", true)), Received::Failed(..)));
        assert!(!cache.has(&other, 5));
        // A file that was begun and given up leaves nothing to the next one.
        assert!(matches!(cache.receive(&piece(other, b"oth", false)), Received::Some));
        assert!(matches!(cache.receive(&piece(Digest::of(b""), b"", true)), Received::Whole(_)));
        assert!(matches!(cache.receive(&piece(other, b"er", true)), Received::Failed(..)));
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let dir = tempfile::TempDir::new().unwrap();
        let mut cache = Cache::open(dir.path().join("cas")).unwrap();
        for (bytes, age) in [(b"aaaa", 3), (b"bbbb", 2), (b"cccc", 1)] {
            let digest = Digest::of(bytes);
            cache.receive(&piece(digest, bytes, true));
            let file = File::options().read(true).open(cache.path(&digest)).unwrap();
            let then = SystemTime::now() - Duration::from_hours(age);
            file.set_times(FileTimes::new().set_modified(then)).unwrap();
        }
        Cache::used(&File::open(cache.path(&Digest::of(b"aaaa"))).unwrap());
        assert_eq!(trim(&cache.folder, 9), (4, 8));
        assert!(cache.has(&Digest::of(b"aaaa"), 4) && !cache.has(&Digest::of(b"bbbb"), 4));
        assert_eq!(trim(&cache.folder, 100), (0, 8));
    }
}
