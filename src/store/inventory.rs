//! What the store holds: blobs, and what does not belong there.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use walkdir::WalkDir;

use super::get::DAMAGED;
use super::{Store, put, relative};
use crate::digest::Digest;

/// Folders above a blob: `sha256/aa/bb`.
const DEPTH: usize = 3;

/// All of it.
#[derive(Debug, Default)]
pub struct Inventory {
    /// In the order of their digests.
    pub blobs: Vec<Blob>,
    /// Where a blob or a folder of them belongs, and is not one.
    pub strays: Vec<Stray>,
    /// Files whose put was not finished, or is going on.
    pub unfinished: Vec<Leftover>,
    /// What was damaged and set aside.
    pub aside: Vec<Leftover>,
}

/// A file with the name of a digest. What it holds is another question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blob {
    pub digest: Digest,
    pub bytes: u64,
    pub mode: u32,
    pub written: SystemTime,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Stray {
    /// Relative to the store.
    pub path: PathBuf,
    /// The digest that the name is.
    pub digest: Option<Digest>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Relative to the store.
    pub path: PathBuf,
    pub bytes: u64,
    pub written: SystemTime,
}

impl Inventory {
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.bytes).sum()
    }
}

impl Store {
    /// Looks at every name in the store, at no content. What disappears meanwhile is left out.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn inventory(&self) -> io::Result<Inventory> {
        let mut all = Inventory::default();
        let top = self.root.path();
        // Not sorted while it is walked: what is wanted sorted is sorted once, below.
        let mut walk = WalkDir::new(top.join("sha256")).min_depth(1).max_depth(DEPTH).into_iter();
        while let Some(entry) = walk.next() {
            let Some(entry) = present(entry)? else { continue };
            let path = entry.path().strip_prefix(top).unwrap_or(entry.path()).to_owned();
            let name = entry.file_name().to_str().unwrap_or_default();
            if entry.depth() < DEPTH {
                if !(entry.file_type().is_dir() && is_fan(name)) {
                    if entry.file_type().is_dir() {
                        walk.skip_current_dir();
                    }
                    all.strays.push(Stray { path, digest: None });
                }
                continue;
            }
            let digest = format!("sha256:{name}").parse().ok().filter(|digest| path == Path::new(&relative(digest)));
            let Some(metadata) = present(entry.metadata())? else { continue };
            match digest {
                Some(digest) if metadata.is_file() => all.blobs.push(blob(digest, &metadata)),
                digest => all.strays.push(Stray { path, digest }),
            }
        }
        all.blobs.sort_unstable_by_key(|blob| blob.digest);
        all.strays.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        all.unfinished = leftovers(top, top, |name| name.starts_with(put::UNFINISHED))?;
        all.aside = leftovers(top, &top.join(DAMAGED), |_| true)?;
        Ok(all)
    }
}

fn blob(digest: Digest, metadata: &Metadata) -> Blob {
    let mode = metadata.permissions().mode() & 0o7777;
    Blob { digest, bytes: metadata.size(), mode, written: written(metadata) }
}

fn written(metadata: &Metadata) -> SystemTime {
    metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Two digits of a digest.
fn is_fan(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn leftovers(top: &Path, folder: &Path, wanted: impl Fn(&str) -> bool) -> io::Result<Vec<Leftover>> {
    let mut found = Vec::new();
    for entry in WalkDir::new(folder).min_depth(1).max_depth(1) {
        let Some(entry) = present(entry)? else { continue };
        if wanted(&entry.file_name().to_string_lossy())
            && let Some(metadata) = present(entry.metadata())?
        {
            let path = entry.path().strip_prefix(top).unwrap_or(entry.path()).to_owned();
            found.push(Leftover { path, bytes: metadata.size(), written: written(&metadata) });
        }
    }
    found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// `None` for what is not there any more.
fn present<T>(result: walkdir::Result<T>) -> io::Result<Option<T>> {
    match result.map_err(io::Error::from) {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
