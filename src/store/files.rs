//! What the workspace holds now: the files that patterns take, and their digests. Shared by all jobs of a run, so that
//! the globs of all tasks are served by one walk, and no file is hashed whose digest still holds.

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::Root;
use super::hash;
use super::scan::{Found, Scan, ScanError};
use super::stats::{self, Entry, Stat, Stats};
use super::walk::{Tree, Walk, is_absent};
use crate::digest::Digest;
use crate::protocol::receipt::{EntryKind, Mode, OutputRef};

/// Looks at more paths than this are shared between the cores.
const PARALLEL_LOOKS: usize = 128;

/// Most bytes that are read again when a run ends, to have digests of files that were hashed too soon after they were
/// written.
const YOUNG_BYTES_MAX: u64 = 64 << 20;

/// The files of a workspace.
#[derive(Debug)]
pub struct Files {
    root: Arc<Root>,
    stats: Stats,
    path: Option<PathBuf>,
    /// What all walks share, until somebody may have written.
    tree: Tree,
    moved: AtomicBool,
    /// The time as tests want it.
    clock: Option<i64>,
}

/// What is at a path.
#[derive(Debug)]
enum Seen {
    Absent,
    Folder,
    /// Nothing that counts as a file.
    Other,
    /// A file whose digest holds.
    Known(OutputRef),
    /// A file of that size, to be hashed.
    Unknown(u64),
}

impl Files {
    /// `cache_dir` is `.fleet/cache`; a stat cache that is missing there or damaged is an empty one. Without `believe`
    /// it is too, and is written anew.
    #[must_use]
    pub fn open(root: Arc<Root>, cache_dir: Option<&Path>, believe: bool) -> Self {
        Self::open_at(root, cache_dir, believe, None)
    }

    fn open_at(root: Arc<Root>, cache_dir: Option<&Path>, believe: bool, clock: Option<i64>) -> Self {
        let path = cache_dir.map(|folder| folder.join(stats::NAME));
        let stats = Stats::open(path.as_deref().filter(|_| believe), clock.unwrap_or_else(stats::now));
        Self { root, stats, path, tree: Tree::new(true), moved: AtomicBool::default(), clock }
    }

    /// With a stat cache that was read from there already.
    pub(super) fn over(root: Arc<Root>, cache_dir: &Path, stats: Stats) -> Self {
        let (path, clock) = (Some(cache_dir.join(stats::NAME)), None);
        Self { root, stats, path, tree: Tree::new(true), moved: AtomicBool::default(), clock }
    }

    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Regular files (a link to a file counts as the file) that the patterns take, sorted, each once, and the patterns
    /// that took none. What git ignores and the state directories are passed over unless a pattern names them: it is
    /// their path, or its part before the first glob character lies in or at theirs.
    ///
    /// # Errors
    /// See [`ScanError`]. A folder that disappears while it is walked is no error.
    pub fn find(&self, scan: &Scan) -> Result<Found, ScanError> {
        Walk::new(scan, &self.root, self.tree(&Tree::new(true))).all()
    }

    /// [`Self::find`] and [`Self::digest`] in one, sorted by path: a file that is named literally and did not change
    /// costs one `stat` in all.
    ///
    /// # Errors
    /// As both; also for a literal link that leads out of the workspace, to whatever. A file that disappears in between
    /// is no error.
    pub fn find_and_digest(&self, scan: &Scan) -> Result<(Vec<OutputRef>, Vec<usize>), ScanError> {
        let fresh = Tree::new(true);
        let tree = self.tree(&fresh);
        let mut files = Vec::with_capacity(scan.literals.len());
        let (mut unknown, mut unmatched, mut folders) = (Vec::new(), Vec::new(), Vec::new());
        let literals: Vec<&(usize, Box<str>)> = scan.literals.iter().collect();
        for ((pattern, path), seen) in literals.iter().zip(self.see_all(tree, &literals, |literal| &literal.1)?) {
            match seen {
                Seen::Folder => folders.push((*pattern, &**path)),
                Seen::Known(_) | Seen::Unknown(_) if scan.excludes(Path::new(&**path)) => unmatched.push(*pattern),
                Seen::Known(file) => files.push(file),
                Seen::Unknown(size) => unknown.push((path.clone(), size)),
                Seen::Absent | Seen::Other => unmatched.push(*pattern),
            }
        }
        if !folders.is_empty() || !scan.globs.is_empty() {
            self.walk(scan, tree, &folders, &mut files, &mut unknown, &mut unmatched)?;
        }
        let sizes: Vec<u64> = unknown.iter().map(|(_, size)| *size).collect();
        for hashed in hash::each(&sizes, |at, piece| self.hash(&unknown[at].0, piece)) {
            files.extend(hashed?);
        }
        if !files.is_sorted_by(|a, b| a.path < b.path) {
            files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
            files.dedup_by(|a, b| a.path == b.path);
        }
        unmatched.sort_unstable();
        Ok((files, unmatched))
    }

    /// What folders and globs add to the literal files.
    fn walk(
        &self,
        scan: &Scan,
        tree: &Tree,
        folders: &[(usize, &str)],
        files: &mut Vec<OutputRef>,
        unknown: &mut Vec<(Box<str>, u64)>,
        unmatched: &mut Vec<usize>,
    ) -> Result<(), ScanError> {
        let walk = Walk::new(scan, &self.root, tree);
        for (pattern, path) in folders {
            walk.folder(*pattern, path)?;
        }
        walk.globs()?;
        let mut found = walk.finish()?;
        let mut literal: Vec<&str> = files.iter().map(|file| &*file.path).collect();
        literal.extend(unknown.iter().map(|(path, _)| &**path));
        literal.sort_unstable();
        found.files.retain(|path| literal.binary_search(&&**path).is_err());
        let walked = |pattern: &usize| {
            folders.iter().any(|(folder, _)| folder == pattern)
                || scan.globs.iter().any(|glob| glob.pattern == *pattern)
        };
        unmatched.extend(found.unmatched.into_iter().filter(walked));
        for (path, seen) in found.files.iter().zip(self.see_all(tree, &found.files, |path| path)?) {
            match seen {
                Seen::Known(file) => files.push(file),
                Seen::Unknown(size) => unknown.push((path.clone(), size)),
                Seen::Absent | Seen::Folder | Seen::Other => {}
            }
        }
        Ok(())
    }

    /// Digest, size and mode of regular files, in the order given; links are followed inside the workspace. By the
    /// stat cache where it can be believed, else hashed.
    ///
    /// # Errors
    /// When one is gone, is no regular file, leads out of the workspace or cannot be read.
    pub fn digest<S: AsRef<str> + Sync>(&self, paths: &[S]) -> Result<Vec<OutputRef>, ScanError> {
        let fresh = Tree::new(true);
        let tree = self.tree(&fresh);
        let (mut unknown, mut sizes) = (Vec::new(), Vec::new());
        let mut files = Vec::with_capacity(paths.len());
        for (at, seen) in self.see_all(tree, paths, AsRef::as_ref)?.into_iter().enumerate() {
            let path = paths[at].as_ref();
            files.push(match seen {
                Seen::Known(file) => Some(file),
                Seen::Unknown(size) => {
                    unknown.push(at);
                    sizes.push(size);
                    None
                }
                Seen::Absent => return Err(failed(path, io::ErrorKind::NotFound.into())),
                Seen::Folder | Seen::Other => return Err(failed(path, io::Error::other("not a regular file"))),
            });
        }
        let hashed = hash::each(&sizes, |at, piece| self.hash(paths[unknown[at]].as_ref(), piece));
        for (at, hashed) in unknown.into_iter().zip(hashed) {
            files[at] = hashed?;
        }
        let gone = |at: usize| failed(paths[at].as_ref(), io::ErrorKind::NotFound.into());
        files.into_iter().enumerate().map(|(at, file)| file.ok_or_else(|| gone(at))).collect()
    }

    /// As [`Self::digest`] for one path: `None` for what is not there.
    ///
    /// # Errors
    /// When it is no regular file, leads out of the workspace or cannot be read.
    pub fn look(&self, path: &str) -> Result<Option<OutputRef>, ScanError> {
        match self.see(self.tree(&Tree::new(true)), path)? {
            Seen::Known(file) => Ok(Some(file)),
            Seen::Unknown(_) => self.hash(path, &mut Vec::new()),
            Seen::Absent => Ok(None),
            Seen::Folder | Seen::Other => Err(failed(path, io::Error::other("not a regular file"))),
        }
    }

    /// Whether a regular file, and no link to one, is there as it was described: one `stat` where the stat cache can be
    /// believed.
    #[must_use]
    pub fn still_is(&self, file: &OutputRef) -> bool {
        let Ok(stat) = Stat::at(self.root.as_fd(), &file.path) else { return false };
        let alike =
            stat.is_file() && stat.size == file.size_bytes && file.mode.is_none_or(|m| m == Mode::of(stat.mode));
        if !alike {
            return false;
        }
        match self.stats.get(&file.path, &stat) {
            Some(digest) if self.tree(&Tree::new(true)).is_inside(&self.root, folder_of(&file.path)) => {
                digest == file.digest
            }
            _ => {
                let hashed = self.hash(&file.path, &mut Vec::new());
                hashed.is_ok_and(|found| found.is_some_and(|found| found.digest == file.digest))
            }
        }
    }

    /// The digest of a program anywhere on the machine, links followed. Its absolute path has its own entry in the stat
    /// cache, which no path of the workspace can be taken for. `None` when it cannot be read, as a program need not be.
    pub fn program(&self, path: &Path) -> Option<Digest> {
        let name = path.to_str()?;
        let mut file = File::open(path).ok()?;
        let stat = Stat::of_open(&file).ok().filter(Stat::is_file)?;
        if let Some(digest) = self.stats.get(name, &stat) {
            return Some(digest);
        }
        let hashed_at = self.clock.unwrap_or_else(stats::now);
        let (digest, bytes) = hash::read(&mut file, stat.size, &mut Vec::new()).ok()?;
        if bytes == stat.size && Stat::of_open(&file).is_ok_and(|after| after == stat) {
            self.stats.put(name, Entry { stat, digest, hashed_at });
        }
        Some(digest)
    }

    /// Somebody has written or may have: walks are made anew from now on, each for itself. Digests still go by the
    /// stat cache, which compares at every look.
    pub fn moved(&self) {
        self.moved.store(true, Ordering::Release);
    }

    /// Writes the stat cache where it changed. Files that were hashed too soon after they were written to be believed
    /// later are hashed again first, as far as that is cheap.
    ///
    /// # Errors
    /// When it cannot be written; what was there before stays.
    pub fn save(&self) -> io::Result<()> {
        self.save_without(|_| false)
    }

    /// As [`Self::save`], without files whose paths are not to be written down.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub fn save_without(&self, unwanted: impl Fn(&str) -> bool) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let (mut young, mut bytes) = (self.stats.young(), 0_u64);
        young.sort_unstable_by_key(|(_, size)| *size);
        young.retain(|(_, size)| {
            bytes = bytes.saturating_add(*size);
            bytes <= YOUNG_BYTES_MAX
        });
        let sizes: Vec<u64> = young.iter().map(|(_, size)| *size).collect();
        // What cannot be read now is not kept; whoever needs it will say so.
        hash::each(&sizes, |at, piece| self.hash(&young[at].0, piece).is_ok());
        let is_gone = |path: &str| Stat::at(self.root.as_fd(), path).is_err_and(|error| is_absent(&error));
        self.stats.save(path, is_gone, unwanted)
    }

    /// The shared tree, or one for this call alone.
    fn tree<'a>(&'a self, fresh: &'a Tree) -> &'a Tree {
        if self.moved.load(Ordering::Acquire) { fresh } else { &self.tree }
    }

    fn see_all<T: Sync>(
        &self,
        tree: &Tree,
        paths: &[T],
        path: impl Fn(&T) -> &str + Sync + Send,
    ) -> Result<Vec<Seen>, ScanError> {
        if paths.len() > PARALLEL_LOOKS {
            return paths.par_iter().with_min_len(PARALLEL_LOOKS / 2).map(|at| self.see(tree, path(at))).collect();
        }
        paths.iter().map(|at| self.see(tree, path(at))).collect()
    }

    fn see(&self, tree: &Tree, path: &str) -> Result<Seen, ScanError> {
        let stat = match Stat::at(self.root.as_fd(), path) {
            Err(error) if is_absent(&error) => return Ok(Seen::Absent),
            result => result.map_err(|error| failed(path, error))?,
        };
        if stat.is_link() {
            return self.see_through(path);
        }
        if !stat.is_file() {
            return Ok(if stat.is_folder() { Seen::Folder } else { Seen::Other });
        }
        match self.stats.get(path, &stat) {
            // A folder on the way may have become a link that leads out.
            Some(digest) if tree.is_inside(&self.root, folder_of(path)) => Ok(Seen::Known(file(path, digest, &stat))),
            _ => Ok(Seen::Unknown(stat.size)),
        }
    }

    /// What a link leads to. It is opened, because a link says nothing of its target's bytes, and to see that it stays
    /// inside.
    fn see_through(&self, path: &str) -> Result<Seen, ScanError> {
        let opened = match self.root.read(Path::new(path)) {
            Err(error) if is_absent(&error) => return Ok(Seen::Other),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENXIO)) => return Ok(Seen::Other),
            result => result.map_err(|error| failed(path, error))?,
        };
        let stat = Stat::of_open(&opened).map_err(|error| failed(path, error))?;
        if !stat.is_file() {
            return Ok(Seen::Other);
        }
        let known = self.stats.get(path, &stat);
        Ok(known.map_or(Seen::Unknown(stat.size), |digest| Seen::Known(file(path, digest, &stat))))
    }

    /// Hashes a file and remembers what came of it; `None` when it is gone.
    fn hash(&self, path: &str, piece: &mut Vec<u8>) -> Result<Option<OutputRef>, ScanError> {
        let hashed_at = self.clock.unwrap_or_else(stats::now);
        let hashed = match hash::path(&self.root, path, piece) {
            Err(ScanError::Io { error, .. }) if is_absent(&error) => return Ok(None),
            result => result?,
        };
        let (stat, digest) = (hashed.stat, hashed.digest);
        if hashed.steady {
            self.stats.put(path, Entry { stat, digest, hashed_at });
        }
        Ok(Some(OutputRef { size_bytes: hashed.bytes, ..file(path, digest, &stat) }))
    }
}

fn file(path: &str, digest: Digest, stat: &Stat) -> OutputRef {
    let mode = Some(Mode::of(stat.mode));
    OutputRef { path: path.into(), digest, size_bytes: stat.size, mode, kind: EntryKind::File }
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn failed(path: &str, error: io::Error) -> ScanError {
    match error.kind() {
        io::ErrorKind::CrossesDevices => ScanError::Leaves { path: path.to_owned() },
        _ => ScanError::Io { path: path.to_owned(), error },
    }
}
