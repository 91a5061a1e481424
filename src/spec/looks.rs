//! What reading a fleet file asked of the outside, with the answers, so that a plan made from them can be kept and, later,
//! be known to be what reading the file again would make: when every question still has the same answer.
//!
//! Each question is a function here, asked by `outside` while a file is read and by [`Looks::recheck`] afterwards, so the
//! two cannot come to differ. Contents of files and entries of folders are believed by their [`Stamp`] and asked for
//! again where it moved or is too young; everything else is asked again each time.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use globset::GlobBuilder;
use rayon::prelude::*;

use super::source::FILE_BYTES_MAX;
use super::when::Facts;
use crate::digest::Digest;
use crate::model::task::is_glob;

/// All questions of one reading and their answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looks {
    pub files: Vec<FileLook>,
    pub folders: Vec<FolderLook>,
    /// Where paths lead once links are followed; `None`: nowhere.
    pub ways: BTreeMap<PathBuf, Option<PathBuf>>,
    pub globs: Vec<GlobLook>,
    /// Whether there is a path of the workspace, or anything that a glob takes.
    pub exists: BTreeMap<String, bool>,
    /// Whether a variable is set at all or, with a value, whether it has that one. Not the value it has, which may be a
    /// secret.
    pub env: BTreeMap<(String, Option<String>), bool>,
    /// The branch, where a task wanted to know.
    pub branch: Option<Option<String>>,
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileLook {
    /// Free of links.
    pub path: PathBuf,
    pub stamp: Stamp,
    pub digest: Digest,
}

/// Which entries of a folder are links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderLook {
    /// Free of links.
    pub path: PathBuf,
    /// `None`: it is not there, or cannot be read, which is the same as a folder without links.
    pub stamp: Option<Stamp>,
    /// Sorted.
    pub links: Vec<OsString>,
}

/// The files that an `include` takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobLook {
    pub folder: PathBuf,
    pub pattern: String,
    pub found: Vec<PathBuf>,
}

/// By what a file or folder is known not to have changed. A clock that is set back, `touch -r` and `mv` are seen by the
/// change time and the inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub dev: u64,
    pub ino: u64,
    pub size: u64,
    /// Seconds and nanoseconds.
    pub modified: (i64, i64),
    pub changed: (i64, i64),
    /// Whether its times were old enough when it was looked at that any later change must have moved them.
    pub settled: bool,
}

/// How much younger than its last change a look must at least be: more than a tick of the kernel's coarse clock.
const TICK: Duration = Duration::from_millis(20);
/// The same where times are whole seconds, or every other one.
const COARSE_TICK: Duration = Duration::from_secs(2);

/// With this many folders it pays to ask for them on all cores.
const FOLDERS_ALONE_MAX: usize = 256;

impl Stamp {
    /// `now` is from before what it vouches for was read.
    fn of(about: &Metadata, now: Duration) -> Self {
        let (modified, changed) = ((about.mtime(), about.mtime_nsec()), (about.ctime(), about.ctime_nsec()));
        let tick = if modified.1 == 0 && changed.1 == 0 { COARSE_TICK } else { TICK };
        // Times before 1970 are old, and times to come settle nothing.
        let since = |(seconds, nanos): (i64, i64)| {
            let seconds = u64::try_from(seconds).unwrap_or(0);
            Duration::new(seconds, u32::try_from(nanos).unwrap_or(0))
        };
        let last = since(modified).max(since(changed));
        let settled = now.checked_sub(last).is_some_and(|age| age > tick);
        Self { dev: about.dev(), ino: about.ino(), size: about.size(), modified, changed, settled }
    }

    fn at(path: &Path) -> io::Result<Self> {
        let now = now();
        Ok(Self::of(&fs::metadata(path)?, now))
    }

    /// Whether what it vouches for is as it was, without looking at that itself.
    fn vouches(&self, now: &Self) -> bool {
        self.settled && *self == Self { settled: true, ..*now }
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A file's bytes, and by what they are known. At most one byte more than a fleet file may have, so that a huge file is
/// refused without being read.
pub(super) fn file(path: &Path) -> io::Result<(Vec<u8>, Stamp)> {
    let now = now();
    let file = fs::File::open(path)?;
    let stamp = Stamp::of(&file.metadata()?, now);
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes, stamp))
}

/// Where a path leads once links are followed.
pub(super) fn real(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}

pub(super) fn folder(path: PathBuf) -> FolderLook {
    let mut look = FolderLook::missing(path);
    let (Ok(stamp), Ok(entries)) = (Stamp::at(&look.path), fs::read_dir(&look.path)) else { return look };
    look.stamp = Some(stamp);
    let links = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
    look.links = links.map(|entry| entry.file_name()).collect();
    look.links.sort_unstable();
    look
}

/// Files below a folder that a glob takes, sorted.
pub(super) fn matching(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    let Ok(glob) = GlobBuilder::new(pattern).literal_separator(true).build() else { return Vec::new() };
    let glob = glob.compile_matcher();
    let walk = walk(folder, pattern).sort_by_file_name().into_iter().filter_entry(is_of_the_workspace);
    walk.flatten()
        .filter(|entry| entry.path().strip_prefix(folder).is_ok_and(|path| glob.is_match(path)))
        .map(walkdir::DirEntry::into_path)
        .filter(|path| path.is_file())
        .collect()
}

/// Whether a path, or anything that matches a glob, exists. A glob is looked for below its folder without patterns.
pub(super) fn exists(workspace: &Path, path: &str) -> bool {
    if !is_glob(path) {
        return workspace.join(path).exists();
    }
    let Ok(glob) = GlobBuilder::new(path).literal_separator(true).build() else { return false };
    let glob = glob.compile_matcher();
    let walk = walk(workspace, path).into_iter().filter_entry(is_of_the_workspace);
    walk.flatten().any(|entry| entry.path().strip_prefix(workspace).is_ok_and(|path| glob.is_match(path)))
}

/// All that a glob could take.
fn walk(folder: &Path, glob: &str) -> walkdir::WalkDir {
    let fixed: Vec<&str> = glob.split('/').take_while(|part| !is_glob(part)).collect();
    let depth = if glob.contains("**") { usize::MAX } else { glob.split('/').count() - fixed.len() };
    walkdir::WalkDir::new(folder.join(fixed.join("/"))).max_depth(depth)
}

/// Neither our own state nor the repository's is part of the workspace.
fn is_of_the_workspace(entry: &walkdir::DirEntry) -> bool {
    !matches!(entry.file_name().to_str(), Some(".git" | ".fleet"))
}

pub(super) fn variable(facts: &Facts, name: &str, wanted: Option<&str>) -> bool {
    match wanted {
        None => facts.variable(name).is_some(),
        Some(wanted) => facts.variable(name) == Some(wanted),
    }
}

/// What became of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answers {
    /// Each is what it was.
    Same,
    /// Each is what it was, and some are now known by another stamp.
    Restamped,
    /// At least one is another.
    Changed,
}

impl Looks {
    /// Asks every question again, as a reading of the file would, and takes over the stamps that moved.
    pub fn recheck(&mut self, facts: &Facts, workspace: &Path) -> Answers {
        let same = self.env.iter().all(|((name, wanted), holds)| variable(facts, name, wanted.as_deref()) == *holds)
            && self.ways.iter().all(|(path, leads)| real(path) == *leads);
        if !same {
            return Answers::Changed;
        }
        let files = self.files.iter_mut().map(FileLook::recheck).max();
        let folders = if self.folders.len() > FOLDERS_ALONE_MAX {
            self.folders.par_iter_mut().map(FolderLook::recheck).max()
        } else {
            self.folders.iter_mut().map(FolderLook::recheck).max()
        };
        let answers = files.max(folders).unwrap_or(Answers::Same);
        let same = answers != Answers::Changed
            && self.globs.iter().all(|look| matching(&look.folder, &look.pattern) == look.found)
            && self.exists.iter().all(|(path, found)| exists(workspace, path) == *found)
            && self.branch.as_ref().is_none_or(|branch| facts.branch(workspace) == branch.as_deref());
        if same { answers } else { Answers::Changed }
    }
}

impl FileLook {
    fn recheck(&mut self) -> Answers {
        if Stamp::at(&self.path).is_ok_and(|now| self.stamp.vouches(&now)) {
            return Answers::Same;
        }
        match file(&self.path) {
            Ok((bytes, stamp)) if Digest::of(&bytes) == self.digest => restamped(&mut self.stamp, stamp),
            _ => Answers::Changed,
        }
    }
}

impl FolderLook {
    /// Of a folder that is not there.
    pub(super) fn missing(path: PathBuf) -> Self {
        Self { path, stamp: None, links: Vec::new() }
    }

    fn recheck(&mut self) -> Answers {
        let now = Stamp::at(&self.path).ok();
        let same = match (&self.stamp, &now) {
            (Some(stamp), Some(now)) => stamp.vouches(now),
            (None, None) => true,
            _ => false,
        };
        if same {
            return Answers::Same;
        }
        let now = folder(self.path.clone());
        if now.links == self.links { restamped(&mut self.stamp, now.stamp) } else { Answers::Changed }
    }
}

fn restamped<S: PartialEq>(stamp: &mut S, now: S) -> Answers {
    if *stamp == now {
        return Answers::Same;
    }
    *stamp = now;
    Answers::Restamped
}
