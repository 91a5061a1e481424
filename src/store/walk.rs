//! Walking the workspace for the patterns of a [`Scan`]. Folders are read into a [`Tree`] as they are needed, each
//! once, so that the globs of all tasks share one walk; a walk of many folders uses all cores.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rustix::fs::{AtFlags, Dir, FileType};
use rustix::io::Errno;

use super::Root;
use super::ignored::Context;
use super::scan::{Found, Glob, Scan, ScanError, is_hidden, is_unfinished};

/// A walk with this many folders still to visit is shared between the cores.
const PARALLEL_FOLDERS: usize = 8;

/// What is known of the folders of a workspace. Told from the folder names alone, so whoever writes into the workspace
/// has to throw it away.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// `.gitignore` files count.
    ignoring: bool,
    folders: RwLock<HashMap<PathBuf, Arc<Slot>>>,
    contexts: RwLock<HashMap<PathBuf, Context>>,
    /// Folders that lie inside the workspace, links followed.
    inside: RwLock<HashSet<Box<str>>>,
    #[cfg(test)]
    pub(super) reads: AtomicUsize,
}

/// Holds its lock while the folder is read, so that nobody reads it a second time.
type Slot = Mutex<Option<Arc<[Entry]>>>;

#[derive(Debug)]
struct Entry {
    name: Box<OsStr>,
    kind: Kind,
    /// Components of the ignored path that it is or lies in.
    ignored: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Link,
    Folder,
}

impl Tree {
    pub(super) fn new(ignoring: bool) -> Self {
        Self { ignoring, ..Self::default() }
    }

    /// Whether a folder lies inside the workspace whatever links lead to it. Asked once for each.
    pub(super) fn is_inside(&self, root: &Root, folder: &str) -> bool {
        if folder.is_empty() || unpoisoned(self.inside.read()).contains(folder) {
            return true;
        }
        let inside = root.has_folder(Path::new(folder));
        if inside {
            unpoisoned(self.inside.write()).insert(folder.into());
        }
        inside
    }

    /// The files, links and folders in a folder; none where there is no folder.
    fn read(&self, root: &Root, folder: &Path) -> Result<Arc<[Entry]>, ScanError> {
        let known = unpoisoned(self.folders.read()).get(folder).cloned();
        let slot = match known {
            Some(slot) => slot,
            None => unpoisoned(self.folders.write()).entry(folder.to_owned()).or_default().clone(),
        };
        let mut slot = lock(&slot);
        if let Some(entries) = &*slot {
            return Ok(entries.clone());
        }
        #[cfg(test)]
        self.reads.fetch_add(1, Ordering::Relaxed);
        let entries: Arc<[Entry]> = match open(root, folder)? {
            Some(opened) => {
                let context = if self.ignoring { self.context(root, folder, &opened)? } else { Context::default() };
                entries(folder, &opened, &context).map_err(|error| failed(folder, error))?.into()
            }
            None => Arc::default(),
        };
        *slot = Some(entries.clone());
        Ok(entries)
    }

    /// What holds for the entries of a folder.
    fn context(&self, root: &Root, folder: &Path, opened: &File) -> Result<Context, ScanError> {
        // From the folder upwards to what is known, and down again: no recursion, paths may be deep.
        let (mut missing, mut known) = (Vec::new(), None);
        for ancestor in folder.ancestors() {
            known = unpoisoned(self.contexts.read()).get(ancestor).cloned();
            if known.is_some() {
                break;
            }
            missing.push(ancestor);
        }
        while let Some(next) = missing.pop() {
            let context = if next == folder {
                Context::below(known.as_ref(), next, opened)?
            } else {
                let Some(opened) = open(root, next)? else { break };
                Context::below(known.as_ref(), next, &opened)?
            };
            unpoisoned(self.contexts.write()).insert(next.to_owned(), context.clone());
            known = Some(context);
        }
        Ok(known.unwrap_or_default())
    }
}

/// Opens a folder of the workspace; `None` where there is none.
fn open(root: &Root, folder: &Path) -> Result<Option<File>, ScanError> {
    let file = match root.read(folder) {
        Err(error) if is_absent(&error) => return Ok(None),
        // It is no folder and cannot be opened: a link in a circle, a socket.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENXIO)) => return Ok(None),
        result => result.map_err(|error| failed(folder, error))?,
    };
    let is_folder = file.metadata().map_err(|error| failed(folder, error))?.is_dir();
    Ok(is_folder.then_some(file))
}

fn failed(path: &Path, error: io::Error) -> ScanError {
    let path = if path.as_os_str().is_empty() { ".".to_owned() } else { path.display().to_string() };
    match error.kind() {
        io::ErrorKind::CrossesDevices => ScanError::Leaves { path },
        _ => ScanError::Io { path, error },
    }
}

fn entries(folder: &Path, opened: &File, context: &Context) -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    // Opened once more, because the root's own is shared and remembers how far it was read.
    let mut listing = Dir::read_from(opened)?;
    while let Some(entry) = listing.read() {
        let entry = match entry {
            Err(Errno::NOENT) => break,
            entry => entry?,
        };
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let kind = match entry.file_type() {
            // Some file systems keep the kind elsewhere.
            FileType::Unknown => match rustix::fs::statat(opened, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                stat => FileType::from_raw_mode(stat?.st_mode),
            },
            kind => kind,
        };
        let kind = match kind {
            FileType::RegularFile => Kind::File,
            FileType::Symlink => Kind::Link,
            FileType::Directory => Kind::Folder,
            _ => continue,
        };
        let name = OsStr::from_bytes(name);
        let ignored = if context.is_empty() { None } else { context.judge(&folder.join(name), kind == Kind::Folder) };
        found.push(Entry { name: name.into(), kind, ignored });
    }
    Ok(found)
}

/// One walk for one [`Scan`].
#[derive(Debug)]
pub(super) struct Walk<'a> {
    scan: &'a Scan,
    root: &'a Root,
    tree: &'a Tree,
    looked_at: AtomicUsize,
    files: Mutex<Vec<Box<str>>>,
    error: Mutex<Option<ScanError>>,
    stop: AtomicBool,
    /// By pattern.
    matched: Vec<AtomicBool>,
    /// By glob: its base was come by.
    reached: Vec<AtomicBool>,
}

/// What a walk is for.
#[derive(Clone, Copy, Debug)]
enum Taker {
    Globs,
    /// A folder named literally: takes every file. Its path has `depth` components.
    Folder {
        pattern: usize,
        depth: usize,
    },
}

/// A folder to visit.
#[derive(Debug)]
struct Stop {
    path: PathBuf,
    depth: usize,
    /// It lies in a state directory.
    hidden: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(scan: &'a Scan, root: &'a Root, tree: &'a Tree) -> Self {
        let flags = |count| std::iter::repeat_with(AtomicBool::default).take(count).collect();
        Self {
            scan,
            root,
            tree,
            looked_at: AtomicUsize::new(0),
            files: Mutex::default(),
            error: Mutex::default(),
            stop: AtomicBool::new(false),
            matched: flags(scan.patterns),
            reached: flags(scan.globs.len()),
        }
    }

    /// Everything the scan asks for.
    pub(super) fn all(self) -> Result<Found, ScanError> {
        for (pattern, path) in &self.scan.literals {
            self.literal(*pattern, path)?;
        }
        self.globs()?;
        self.finish()
    }

    fn literal(&self, pattern: usize, path: &str) -> Result<(), ScanError> {
        let full = self.root.path().join(path);
        self.look(1)?;
        let kind = match fs::symlink_metadata(&full) {
            Ok(found) => found.file_type(),
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(ScanError::Io { path: path.to_owned(), error }),
        };
        if kind.is_dir() {
            return self.folder(pattern, path);
        }
        if (kind.is_file() || kind.is_symlink() && is_file_link(&full)) && !self.scan.excludes(Path::new(path)) {
            self.matched[pattern].store(true, Ordering::Relaxed);
            lock(&self.files).push(path.into());
        }
        Ok(())
    }

    /// All files of a folder that a pattern names.
    pub(super) fn folder(&self, pattern: usize, path: &str) -> Result<(), ScanError> {
        let path = PathBuf::from(path);
        let depth = path.components().count();
        self.walk(Stop { path, depth, hidden: false }, Taker::Folder { pattern, depth })
    }

    /// All files that a glob takes.
    pub(super) fn globs(&self) -> Result<(), ScanError> {
        let mut order: Vec<usize> = (0..self.scan.globs.len()).collect();
        // Shorter bases first: they come by the longer ones on their way, unless a link is in between.
        order.sort_unstable_by_key(|at| self.scan.globs[*at].depth);
        for at in order {
            let glob = &self.scan.globs[at];
            if !self.reached[at].load(Ordering::Relaxed) {
                let hidden = glob.base.iter().any(is_hidden);
                self.walk(Stop { path: glob.base.clone(), depth: glob.depth, hidden }, Taker::Globs)?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Found, ScanError> {
        if let Some(error) = lock(&self.error).take() {
            return Err(error);
        }
        let mut files = self.files.into_inner().unwrap_or_else(PoisonError::into_inner);
        files.sort_unstable();
        files.dedup();
        let patterns = self.scan.literals.iter().map(|(pattern, _)| *pattern);
        let patterns = patterns.chain(self.scan.globs.iter().map(|glob| glob.pattern));
        let mut unmatched: Vec<usize> = patterns.filter(|at| !self.matched[*at].load(Ordering::Relaxed)).collect();
        unmatched.sort_unstable();
        Ok(Found { files, unmatched })
    }

    fn walk(&self, base: Stop, by: Taker) -> Result<(), ScanError> {
        self.look(1)?;
        let mut open = vec![base];
        while let Some(next) = open.pop() {
            open.extend(self.visit(&next, by)?);
            if open.len() >= PARALLEL_FOLDERS {
                rayon::scope(|scope| {
                    for next in open.drain(..) {
                        scope.spawn(move |scope| self.visit_in(scope, &next, by));
                    }
                });
            }
        }
        lock(&self.error).take().map_or(Ok(()), Err)
    }

    fn visit_in<'s>(&'s self, scope: &rayon::Scope<'s>, at: &Stop, by: Taker) {
        if self.stop.load(Ordering::Relaxed) {
            return;
        }
        match self.visit(at, by) {
            Ok(below) => {
                for next in below {
                    scope.spawn(move |scope| self.visit_in(scope, &next, by));
                }
            }
            Err(error) => {
                self.stop.store(true, Ordering::Relaxed);
                lock(&self.error).get_or_insert(error);
            }
        }
    }

    /// Takes what a folder has; returns the folders in it that are wanted.
    fn visit(&self, at: &Stop, by: Taker) -> Result<Vec<Stop>, ScanError> {
        self.reach(&at.path, by);
        let entries = self.tree.read(self.root, &at.path)?;
        self.look(entries.len())?;
        let (mut below, mut taken, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for entry in &*entries {
            let path = at.path.join(&*entry.name);
            let hidden = is_hidden(&entry.name);
            if matches!(by, Taker::Folder { .. }) && hidden || is_unfinished(&entry.name) {
                continue;
            }
            let hidden = at.hidden || hidden;
            if entry.kind == Kind::Folder {
                let next = Stop { path, depth: at.depth + 1, hidden };
                if self.wants(&next, entry.ignored, by) {
                    below.push(next);
                }
            } else if self.takes(&path, hidden, entry, by, &mut places) {
                let text = path.into_os_string().into_string();
                taken.push(text.map(String::into_boxed_str).map_err(|path| not_utf8(&path))?);
            }
        }
        if !taken.is_empty() {
            lock(&self.files).append(&mut taken);
        }
        Ok(below)
    }

    fn reach(&self, folder: &Path, by: Taker) {
        if matches!(by, Taker::Globs) {
            for (glob, reached) in self.scan.globs.iter().zip(&self.reached) {
                if *glob.base == *folder {
                    reached.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    /// Whether a folder can hold what is looked for.
    fn wants(&self, folder: &Stop, ignored: Option<usize>, by: Taker) -> bool {
        match by {
            Taker::Folder { depth, .. } => names(depth, ignored),
            Taker::Globs => self.scan.globs.iter().any(|glob| {
                (glob.names_hidden || !folder.hidden)
                    && names(glob.depth, ignored)
                    && glob.reaches(&folder.path, folder.depth)
            }),
        }
    }

    /// Whether a pattern takes this file; notes which do.
    fn takes(&self, path: &Path, hidden: bool, entry: &Entry, by: Taker, places: &mut Vec<usize>) -> bool {
        let is_file = || entry.kind == Kind::File || is_file_link(&self.root.path().join(path));
        let note = |pattern: usize| self.matched[pattern].store(true, Ordering::Relaxed);
        match by {
            Taker::Folder { pattern, depth } => {
                let taken = names(depth, entry.ignored) && !self.scan.excludes(path) && is_file();
                if taken {
                    note(pattern);
                }
                taken
            }
            Taker::Globs => {
                self.scan.matches(path, places);
                let wanted = |glob: &Glob| (glob.names_hidden || !hidden) && names(glob.depth, entry.ignored);
                places.retain(|at| wanted(&self.scan.globs[*at]));
                if places.is_empty() || self.scan.excludes(path) || !is_file() {
                    return false;
                }
                for at in places {
                    note(self.scan.globs[*at].pattern);
                }
                true
            }
        }
    }

    fn look(&self, count: usize) -> Result<(), ScanError> {
        let limit = self.scan.paths_max;
        if self.looked_at.fetch_add(count, Ordering::Relaxed) + count > limit {
            return Err(ScanError::TooMany { limit });
        }
        Ok(())
    }
}

/// Whether a pattern whose literal part has so many components names what is ignored. It lies in the pattern's folder,
/// so that the two paths begin alike.
fn names(depth: usize, ignored: Option<usize>) -> bool {
    ignored.is_none_or(|components| depth >= components)
}

pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn is_file_link(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file())
}

fn not_utf8(path: &OsString) -> ScanError {
    ScanError::NotUtf8 { path: path.display().to_string() }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    unpoisoned(mutex.lock())
}

/// What the locks here guard is whole at any time.
pub(super) fn unpoisoned<T>(result: Result<T, PoisonError<T>>) -> T {
    result.unwrap_or_else(PoisonError::into_inner)
}
