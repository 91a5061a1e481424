//! An attempt's copy on the disk: laid out before it, looked through after it, removed in the end. All of it is work
//! for a porter's thread. Whatever the attempt has made is only looked at through [`Root`], which no link leads out of.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::cache::Cache;
use super::spare::Traces;
use super::{bound, tree};
use crate::digest::Digest;
use crate::protocol::receipt::{EntryKind, Mode, OutputRef};
use crate::store::copy::{self, CopyError};
use crate::store::outputs;
use crate::store::stats::Stat;
use crate::store::{Files, Root, Scan, ScanError, aged};
use crate::supervisor::frame::{Collect, Collected};
use crate::supervisor::underway;

/// The copy, in the attempt's folder.
pub(super) const COPY: &str = "ws";
/// The private folder of `FLEET_ATTEMPT_DIR`.
pub(super) const SCRATCH: &str = "scratch";
/// The mode of a file whose record has none.
const MODE_DEFAULT: u32 = 0o644;

/// Why an attempt has no copy.
#[derive(Debug)]
pub(super) enum LayError {
    /// A kept file is not what its name says, or is gone.
    Damaged(Digest),
    /// The disk is.
    Full(String),
    Failed(String),
}

impl LayError {
    fn of(path: &str, error: &io::Error) -> Self {
        let why = format!("`{path}` cannot be laid out: {error}");
        if super::is_full(error) { Self::Full(why) } else { Self::Failed(why) }
    }
}

/// Makes the folder of an attempt and puts everything into its copy that it starts from.
pub(super) fn lay(dir: &Path, cas: &Path, entries: &[OutputRef], sound: &Sound) -> Result<Option<Traces>, LayError> {
    let failed = LayError::of;
    let copy = dir.join(COPY);
    private_folder(dir).and_then(|()| fs::create_dir(&copy)).map_err(|error| failed(COPY, &error))?;
    let mut made = Path::new("");
    for entry in entries {
        let path = Path::new(&*entry.path);
        if path.components().any(|part| !matches!(part, Component::Normal(_))) || entry.path.is_empty() {
            return Err(LayError::Failed(format!("`{}` is no path inside of the workspace", entry.path)));
        }
        let parent = path.parent().unwrap_or(Path::new(""));
        if made != parent {
            fs::create_dir_all(copy.join(parent)).map_err(|error| failed(&entry.path, &error))?;
            made = parent;
        }
        put(&copy.join(path), cas, entry, sound)?;
    }
    if entries.iter().any(|entry| entry.mode.is_some_and(Mode::is_executable)) {
        underway::wait_for_begun();
    }
    // Without traces it serves but once.
    Ok(Traces::note(dir, entries).ok())
}

fn put(to: &Path, cas: &Path, entry: &OutputRef, sound: &Sound) -> Result<(), LayError> {
    let failed = |error: io::Error| LayError::of(&entry.path, &error);
    match entry.kind {
        EntryKind::Directory => {
            fs::create_dir_all(to).map_err(failed)?;
            let bits = entry.mode.map_or(0o755, Mode::bits);
            fs::set_permissions(to, Permissions::from_mode(bits)).map_err(failed)
        }
        EntryKind::Symlink => {
            let mut text = Vec::new();
            copy_of(cas, entry, |from, _| copy::pour(from, &mut text), (sound, &failed))?;
            symlink(std::ffi::OsStr::new(&*String::from_utf8_lossy(&text)), to).map_err(failed)
        }
        EntryKind::File => {
            let bits = entry.mode.map_or(MODE_DEFAULT, Mode::bits);
            let made = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(to);
            let mut made = made.map_err(failed)?;
            let copy = |from: &mut File, is_sound: bool| {
                if is_sound { plain_copy(from, &mut made, entry) } else { copy::file(from, &mut made) }
            };
            copy_of(cas, entry, copy, (sound, &failed))?;
            made.set_permissions(Permissions::from_mode(bits)).map_err(failed)
        }
    }
}

/// Kept files whose bytes were seen to be what their names say since this process began, and their stamps then. Whoever
/// writes to a file cannot set back when its inode was changed.
#[derive(Debug, Default)]
pub(super) struct Sound(Mutex<HashMap<Digest, Stat>>);

impl Sound {
    pub(super) fn note(&self, digest: Digest, file: &File) {
        if let Ok(stat) = Stat::of_open(file) {
            self.stats().insert(digest, stat);
        }
    }

    fn has(&self, digest: &Digest, file: &File) -> bool {
        Stat::of_open(file).is_ok_and(|stat| self.stats().get(digest) == Some(&stat))
    }

    fn stats(&self) -> MutexGuard<'_, HashMap<Digest, Stat>> {
        // Whoever panicked while he held it had nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The kernel's own copy, of a file that need not be looked at.
fn plain_copy(from: &mut File, to: &mut File, entry: &OutputRef) -> Result<(Digest, u64), CopyError> {
    io::copy(from, to).map(|bytes| (entry.digest, bytes)).map_err(CopyError::Write)
}

/// Copies a kept file, and believes it only when its bytes are what its name says.
fn copy_of(
    cas: &Path,
    entry: &OutputRef,
    copy: impl FnOnce(&mut File, bool) -> Result<(Digest, u64), CopyError>,
    (sound, failed): (&Sound, &impl Fn(io::Error) -> LayError),
) -> Result<(), LayError> {
    let hex = entry.digest.hex();
    let kept = cas.join(&hex[..2]).join(&hex);
    let mut from = match File::open(&kept) {
        Ok(from) => from,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(LayError::Damaged(entry.digest)),
        Err(error) => return Err(failed(error)),
    };
    aged::note_use(&from);
    let is_sound = sound.has(&entry.digest, &from);
    let (found, _) = copy(&mut from, is_sound).map_err(|error| failed(error.into()))?;
    if found != entry.digest {
        // What cannot be removed is found to be damaged again.
        let _ = fs::remove_file(&kept);
        return Err(LayError::Damaged(entry.digest));
    }
    if !is_sound {
        sound.note(entry.digest, &from);
    }
    Ok(())
}

/// A folder for nobody but us.
pub(super) fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Where the bytes of each digest are, in the copy, and the file's stamps when they were hashed; a link has none, its text
/// counts.
pub(super) type Places = BTreeMap<Digest, (Box<str>, Option<Stat>)>;

/// What an attempt made.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) sets: Vec<Collected>,
    pub(super) places: Places,
    /// What its folder takes, when that is too much; then nothing else was looked for.
    pub(super) over: Option<u64>,
}

/// Looks what an attempt's folder takes now that it is over, and then for what it made.
pub(super) fn look_through(dir: &Path, wanted: Option<&Collect>, max: u64) -> Found {
    match bound::over(dir, max, &AtomicBool::new(false)) {
        None => wanted.map(|wanted| collect(dir, wanted)).unwrap_or_default(),
        over => Found { over, ..Found::default() },
    }
}

/// Looks through an attempt's copy.
pub(super) fn collect(dir: &Path, collect: &Collect) -> Found {
    let mut found = Found::default();
    let files = match Root::open(&dir.join(COPY)) {
        Ok(root) => Files::open(Arc::new(root), None, false),
        Err(error) => {
            let error = Some(format!("its copy cannot be opened: {error}"));
            found.sets.push(Collected { error, ..Collected::default() });
            return found;
        }
    };
    found.add(&files, 0, outputs_of(&files, &collect.outputs));
    for (set, pattern) in (1..).zip(&collect.files) {
        found.add(&files, set, files_of(&files, pattern));
    }
    found
}

type Set = (Vec<OutputRef>, Vec<usize>);

fn outputs_of(files: &Files, patterns: &[String]) -> Result<Set, ScanError> {
    if patterns.is_empty() {
        return Ok(Set::default());
    }
    let captured = outputs::capture(files, &Scan::new(patterns)?)?;
    Ok((captured.outputs, captured.unmatched))
}

fn files_of(files: &Files, pattern: &String) -> Result<Set, ScanError> {
    let found = Scan::new(std::slice::from_ref(pattern))?.expand(files.root())?;
    let mut digested = crate::store::scan::digest_files(files.root(), &found.files)?;
    for file in &mut digested {
        let about = files.root().read(Path::new(&*file.path)).and_then(|file| file.metadata());
        file.mode = about.ok().map(|about| Mode::of(about.mode()));
    }
    Ok((digested, found.unmatched))
}

impl Found {
    fn add(&mut self, files: &Files, set: u32, found: Result<Set, ScanError>) {
        let (entries, unmatched) = match found {
            Ok(found) => found,
            Err(error) => {
                self.sets.push(Collected { set, error: Some(error.to_string()), ..Collected::default() });
                return;
            }
        };
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::File) {
            let stat = files.root().read(Path::new(&*entry.path)).and_then(|file| Stat::of_open(&file));
            // One that is gone by now cannot be had.
            if let Ok(stat) = stat {
                self.places.entry(entry.digest).or_insert((entry.path.clone(), Some(stat)));
            }
        }
        for link in entries.iter().filter(|entry| entry.kind == EntryKind::Symlink) {
            self.places.entry(link.digest).or_insert((link.path.clone(), None));
        }
        self.sets.push(Collected { set, entries, unmatched, error: None });
    }
}

/// Ends an attempt's folder. What it has made is kept where it was not written to since it was hashed: it may be what the
/// next task needs. Says how many bytes were kept.
pub(super) fn remove(dir: &Path, cas: &Path, places: &Places) -> u64 {
    let mut kept = 0;
    if let Ok(root) = Root::open(&dir.join(COPY)) {
        for (digest, (path, stat)) in places {
            // Only a file itself, in folders that are none but folders, has a name that can be given away.
            let Ok(file) = root.read_no_links(Path::new(&**path)) else { continue };
            let has_one_name = file.metadata().is_ok_and(|about| about.is_file() && about.nlink() == 1);
            let (Some(stat), Ok(now)) = (stat, Stat::of_open(&file)) else { continue };
            // Without it, it is sent when it is needed.
            if has_one_name && now == *stat && Cache::adopt(cas, &dir.join(COPY).join(&**path), digest).is_ok() {
                kept += stat.size;
            }
        }
    }
    tree::remove(dir);
    kept
}
