//! A task's output patterns to what they take: files, links and empty folders. Unlike the walk for inputs it follows no
//! link at the end of a path, and knows of no ignored files, because outputs are what is ignored.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use rustix::fs::FileType;
use walkdir::{DirEntry, WalkDir};

use super::Place;
use crate::digest::Digest;
use crate::protocol::receipt::{EntryKind, Mode, OutputRef};
use crate::store::scan::{found, is_hidden, is_unfinished};
use crate::store::{Root, Scan, ScanError};

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// Paths of regular files, sorted, each once.
    pub(super) files: Vec<Box<str>>,
    /// Links and empty folders, each once.
    pub(super) outputs: Vec<OutputRef>,
    pub(super) unmatched: Vec<usize>,
}

pub(super) fn entries(root: &Root, scan: &Scan) -> Result<Entries, ScanError> {
    let mut walk = Walk { root, scan, looked_at: 0, taken: BTreeSet::new(), matched: BTreeSet::new() };
    for (pattern, path) in scan.literals() {
        walk.literal(pattern, path)?;
    }
    for base in scan.bases() {
        walk.folder(base, None)?;
    }
    let mut entries = Entries { unmatched: scan.unmatched(&walk.matched), ..Entries::default() };
    for (path, kind) in walk.taken {
        if kind == Kind::File {
            entries.files.push(path);
        } else if let Some(output) = found(described(root, &path, kind), &path)? {
            entries.outputs.push(output);
        }
    }
    Ok(entries)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    File,
    Link,
    EmptyFolder,
}

/// A link or an empty folder as an output.
fn described(root: &Root, path: &str, kind: Kind) -> io::Result<OutputRef> {
    let place = Place::of(root, path)?;
    Ok(if kind == Kind::Link {
        let text = place.link_text()?;
        let (digest, size_bytes) = (Digest::of(&text), text.len() as u64);
        OutputRef { path: path.into(), digest, size_bytes, mode: None, kind: EntryKind::Symlink }
    } else {
        let mode = Some(Mode::of(place.stat()?.st_mode));
        OutputRef { path: path.into(), digest: Digest::of(b""), size_bytes: 0, mode, kind: EntryKind::Directory }
    })
}

struct Walk<'a> {
    root: &'a Root,
    scan: &'a Scan,
    looked_at: usize,
    taken: BTreeSet<(Box<str>, Kind)>,
    matched: BTreeSet<usize>,
}

impl Walk<'_> {
    fn literal(&mut self, pattern: usize, path: &str) -> Result<(), ScanError> {
        self.look()?;
        if path.is_empty() {
            return self.folder(Path::new(path), Some(pattern));
        }
        let stat = Place::of(self.root, path).and_then(|place| place.stat()).map_err(|error| match error.kind() {
            io::ErrorKind::CrossesDevices => ScanError::Leaves { path: path.to_owned() },
            _ => ScanError::Io { path: path.to_owned(), error },
        });
        let stat = match stat {
            Err(ScanError::Io { error, .. }) => found(Err(error), path)?,
            result => Some(result?),
        };
        let kind = match stat.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Some(FileType::Directory) => return self.folder(Path::new(path), Some(pattern)),
            Some(FileType::RegularFile) => Kind::File,
            Some(FileType::Symlink) => Kind::Link,
            _ => return Ok(()),
        };
        if self.takes(Path::new(path), kind, Some(pattern)) {
            self.taken.insert((path.into(), kind));
        }
        Ok(())
    }

    /// Walks a folder: for the globs, or, with `all_for`, for that literal pattern, which takes everything.
    fn folder(&mut self, base: &Path, all_for: Option<usize>) -> Result<(), ScanError> {
        let top = self.root.path().join(base);
        let shown = || base.display().to_string();
        let Some(real) = found(top.canonicalize(), &shown())? else { return Ok(()) };
        if !real.starts_with(self.root.path()) {
            return Err(ScanError::Leaves { path: shown() });
        }
        let names_hidden = all_for.is_none() && self.scan.names_hidden();
        let walk = WalkDir::new(&top).follow_root_links(true).into_iter();
        for entry in walk.filter_entry(|entry| names_hidden || entry.depth() == 0 || !is_hidden(entry.file_name())) {
            self.look()?;
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) if error.io_error().is_some_and(|e| e.kind() == io::ErrorKind::NotFound) => continue,
                Err(error) => return Err(ScanError::Io { path: shown(), error: error.into() }),
            };
            let Some(kind) = kind(&entry) else { continue };
            let path = entry.path().strip_prefix(self.root.path()).unwrap_or(entry.path());
            if !path.as_os_str().is_empty() && self.takes(path, kind, all_for) {
                let text = path.to_str().ok_or_else(|| ScanError::NotUtf8 { path: path.display().to_string() });
                self.taken.insert((text?.into(), kind));
            }
        }
        Ok(())
    }

    /// Whether a pattern takes this path; notes which do.
    fn takes(&mut self, path: &Path, kind: Kind, all_for: Option<usize>) -> bool {
        if self.scan.is_excluded(path) || path.file_name().is_some_and(is_unfinished) {
            return false;
        }
        if let Some(pattern) = all_for {
            self.matched.insert(pattern);
            return true;
        }
        let mut globs = self.scan.globs_of(path, kind == Kind::EmptyFolder).peekable();
        let taken = globs.peek().is_some();
        self.matched.extend(globs);
        taken
    }

    fn look(&mut self) -> Result<(), ScanError> {
        self.looked_at += 1;
        if self.looked_at > self.scan.paths_max() {
            return Err(ScanError::TooMany { limit: self.scan.paths_max() });
        }
        Ok(())
    }
}

fn kind(entry: &DirEntry) -> Option<Kind> {
    let kind = entry.file_type();
    if kind.is_file() {
        Some(Kind::File)
    } else if kind.is_symlink() {
        // The folder the walk began in was reached through links on purpose.
        (entry.depth() > 0).then_some(Kind::Link)
    } else {
        let is_empty = || std::fs::read_dir(entry.path()).is_ok_and(|mut all| all.next().is_none());
        (kind.is_dir() && is_empty()).then_some(Kind::EmptyFolder)
    }
}
