//! The stat cache: digests by what `stat` says of a file, in `.fleet/cache/files`. An entry is believed only where a
//! change could not have gone unnoticed (see [`Entry::holds`]), and the file may be thrown away at any time.
//!
//! The file is one flat buffer that is used as it lies: a header, records of one size in the order of their paths'
//! hashes, the paths. New entries lie beside it until it is written again.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::AtFlags;

use super::walk::lock;
use crate::digest::Digest;

/// Name of the file in the cache folder.
pub(super) const NAME: &str = "files";

/// Most entries that are kept; the oldest go first.
pub(super) const ENTRIES_MAX: usize = 500_000;

/// Largest file that is read.
const BYTES_MAX: u64 = 512 << 20;

/// How coarse the clock is that stamps files: a few milliseconds on any kernel, with room.
pub(super) const GRANULARITY_NS: i64 = 20_000_000;

/// The same as a time to wait.
pub(crate) const GRANULARITY: Duration = Duration::from_nanos(GRANULARITY_NS.unsigned_abs());

/// The same where stamps are whole seconds; FAT counts by two.
pub(super) const GRANULARITY_COARSE_NS: i64 = 2_000_000_000;

/// Entries nobody asked for whose files are looked up when the cache is written, so that those of files that are gone
/// leave it in time.
const PRUNED_MAX: usize = 1_000;

/// Locks that new entries are spread over.
const SHARDS: usize = 16;

/// The bits of a mode that say what kind of thing it is of; they have these numbers on every system.
const KIND: u32 = 0o170_000;

/// Changes with the layout.
const MAGIC: [u8; 8] = *b"flstat01";
const HEADER: usize = 8 + 8 + 4 + 4;
const RECORD: usize = 8 + 4 + 4 + 6 * 8 + 4 + 4 + 32;

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub size: u64,
    /// Nanoseconds since 1970; so is `ctime`.
    pub mtime: i64,
    pub ctime: i64,
    pub inode: u64,
    pub device: u64,
    /// The file type too.
    pub mode: u32,
}

/// A file that was hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub stat: Stat,
    pub digest: Digest,
    /// When hashing began, by the same clock.
    pub hashed_at: i64,
}

impl Stat {
    /// Of a path below a folder; a link is not followed.
    pub(crate) fn at(folder: impl std::os::fd::AsFd, path: &str) -> io::Result<Self> {
        let path = if path.is_empty() { "." } else { path };
        Ok(Self::of(&rustix::fs::statat(folder, path, AtFlags::SYMLINK_NOFOLLOW)?))
    }

    pub(crate) fn of_open(file: &File) -> io::Result<Self> {
        Ok(Self::of(&rustix::fs::fstat(file)?))
    }

    fn of(stat: &rustix::fs::Stat) -> Self {
        let number = |value: i128| u64::try_from(value).unwrap_or(u64::MAX);
        Self {
            size: number(i128::from(stat.st_size)),
            mtime: stamp(i128::from(stat.st_mtime), i128::from(stat.st_mtime_nsec)),
            ctime: stamp(i128::from(stat.st_ctime), i128::from(stat.st_ctime_nsec)),
            inode: number(i128::from(stat.st_ino)),
            device: number(i128::from(stat.st_dev) & i128::from(u64::MAX)),
            mode: u32::try_from(i128::from(stat.st_mode)).unwrap_or_default(),
        }
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn of_extended(about: &rustix::fs::Statx) -> Self {
        let time = |time: rustix::fs::StatxTimestamp| stamp(time.tv_sec.into(), time.tv_nsec.into());
        Self {
            size: about.stx_size,
            mtime: time(about.stx_mtime),
            ctime: time(about.stx_ctime),
            inode: about.stx_ino,
            device: rustix::fs::makedev(about.stx_dev_major, about.stx_dev_minor),
            mode: about.stx_mode.into(),
        }
    }

    pub(crate) fn is_file(&self) -> bool {
        self.mode & KIND == 0o100_000
    }

    pub(super) fn is_folder(&self) -> bool {
        self.mode & KIND == 0o040_000
    }

    pub(super) fn is_link(&self) -> bool {
        self.mode & KIND == 0o120_000
    }

    /// Whether any change from then on shows in what `stat` says. It may not when the last stamp is within the clock's
    /// granularity before that, or later: then the clock went back since, and may come by the same stamp again.
    pub(crate) fn shows_changes_from(&self, at: i64) -> bool {
        self.mtime.max(self.ctime).saturating_add(self.granularity()) < at
    }

    fn granularity(&self) -> i64 {
        let whole = |stamp: i64| stamp % 1_000_000_000 == 0;
        if whole(self.mtime) || whole(self.ctime) { GRANULARITY_COARSE_NS } else { GRANULARITY_NS }
    }
}

/// A time that does not fit is one far away, which is never believed.
fn stamp(seconds: i128, nanos: i128) -> i64 {
    i64::try_from(seconds * 1_000_000_000 + nanos).unwrap_or(i64::MAX)
}

impl Entry {
    /// Whether any change after it was hashed shows in what `stat` says.
    pub(super) fn holds(&self) -> bool {
        self.stat.shows_changes_from(self.hashed_at)
    }
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Entries by path: those of the file, and the new ones.
#[derive(Debug)]
pub(super) struct Stats {
    file: Flat,
    /// By record of the file: somebody asked for it.
    asked: Vec<AtomicU8>,
    new: [Mutex<HashMap<Box<str>, Box<Entry>>>; SHARDS],
    /// There are new ones.
    any_new: AtomicBool,
    /// They are not all in the file.
    unsaved: AtomicBool,
}

impl Stats {
    /// The cache of a file, which is empty when there is none or it is damaged. Entries from later than `now` are not
    /// believed.
    pub(super) fn open(path: Option<&Path>, now: i64) -> Self {
        let file = path.and_then(|path| Flat::read(path).ok().flatten()).filter(|file| file.newest() <= now);
        let file = file.unwrap_or_default();
        let asked = std::iter::repeat_with(AtomicU8::default).take(file.count).collect();
        Self { file, asked, new: Default::default(), any_new: AtomicBool::default(), unsaved: AtomicBool::default() }
    }

    /// The digest of a file in this state, if there is one that holds.
    pub(super) fn get(&self, path: &str, stat: &Stat) -> Option<Digest> {
        let hash = mix(path.as_bytes());
        let fits = |entry: &Entry| entry.stat == *stat && entry.holds();
        if self.any_new.load(Ordering::Acquire)
            && let Some(entry) = lock(self.shard(hash)).get(path)
        {
            return fits(entry).then_some(entry.digest);
        }
        let at = self.file.find(hash, path)?;
        self.asked[at].store(1, Ordering::Relaxed);
        let entry = self.file.entry(at);
        fits(&entry).then_some(entry.digest)
    }

    pub(super) fn put(&self, path: &str, entry: Entry) {
        lock(self.shard(mix(path.as_bytes()))).insert(path.into(), Box::new(entry));
        self.any_new.store(true, Ordering::Release);
        self.unsaved.store(true, Ordering::Release);
    }

    /// Paths whose entries are too young to be believed, and their sizes.
    pub(super) fn young(&self) -> Vec<(Box<str>, u64)> {
        let mut young = Vec::new();
        for shard in &self.new {
            let shard = lock(shard);
            let unsure = shard.iter().filter(|(_, entry)| !entry.holds());
            young.extend(unsure.map(|(path, entry)| (path.clone(), entry.stat.size)));
        }
        young
    }

    fn shard(&self, hash: u64) -> &Mutex<HashMap<Box<str>, Box<Entry>>> {
        &self.new[usize::try_from(hash % SHARDS as u64).unwrap_or_default()]
    }

    /// Writes what holds, when there is something new. `is_gone` is asked for a few paths that nobody asked for.
    /// What is `unwanted` is not written.
    pub(super) fn save(
        &self,
        path: &Path,
        mut is_gone: impl FnMut(&str) -> bool,
        unwanted: impl Fn(&str) -> bool,
    ) -> io::Result<()> {
        if !self.unsaved.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let mut all: Vec<(u64, Box<str>, Entry)> = Vec::new();
        for shard in &self.new {
            let shard = lock(shard);
            let sure = shard.iter().filter(|(_, entry)| entry.holds());
            all.extend(sure.map(|(path, entry)| (mix(path.as_bytes()), path.clone(), **entry)));
        }
        if all.is_empty() {
            return Ok(());
        }
        // Another part of what nobody asked for is looked at every time.
        let skip = usize::try_from(now().unsigned_abs() / 1_000 % self.file.count.max(1) as u64).unwrap_or_default();
        let mut pruned = 0;
        for at in (skip..self.file.count).chain(0..skip) {
            let path = self.file.path(at);
            let hash = mix(path.as_bytes());
            if lock(self.shard(hash)).contains_key(path) {
                continue;
            }
            if pruned < PRUNED_MAX && self.asked[at].load(Ordering::Relaxed) == 0 {
                pruned += 1;
                if is_gone(path) {
                    continue;
                }
            }
            all.push((hash, path.into(), self.file.entry(at)));
        }
        all.retain(|(_, path, _)| !unwanted(path));
        if all.len() > ENTRIES_MAX {
            all.sort_unstable_by_key(|(_, _, entry)| std::cmp::Reverse(entry.hashed_at));
            all.truncate(ENTRIES_MAX);
        }
        write(path, all).inspect_err(|_| self.unsaved.store(true, Ordering::Release))
    }
}

fn write(path: &Path, mut all: Vec<(u64, Box<str>, Entry)>) -> io::Result<()> {
    let too_much = |_| io::Error::other("the stat cache is too large");
    all.sort_unstable_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    let mut bytes = Vec::with_capacity(HEADER + all.len() * (RECORD + 32));
    bytes.extend(MAGIC);
    bytes.extend([0; 8]);
    bytes.extend(u32::try_from(all.len()).map_err(too_much)?.to_le_bytes());
    bytes.extend([0; 4]);
    let mut at = 0_u32;
    for (hash, path, entry) in &all {
        let (stat, length) = (&entry.stat, u32::try_from(path.len()).map_err(too_much)?);
        bytes.extend(hash.to_le_bytes());
        bytes.extend(at.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        for number in [stat.size, stat.inode, stat.device] {
            bytes.extend(number.to_le_bytes());
        }
        for stamp in [stat.mtime, stat.ctime, entry.hashed_at] {
            bytes.extend(stamp.to_le_bytes());
        }
        bytes.extend(stat.mode.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(entry.digest.as_bytes());
        at = at.checked_add(length).ok_or_else(|| io::Error::other("the stat cache is too large"))?;
    }
    for (_, path, _) in &all {
        bytes.extend(path.as_bytes());
    }
    let sum = mix(&bytes[16..]);
    bytes[8..16].copy_from_slice(&sum.to_le_bytes());
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    // Not synced: what a power failure leaves of it is damaged or older, and either is only slower.
    let mut temp = tempfile::Builder::new().prefix(".files-").tempfile_in(folder)?;
    temp.write_all(&bytes)?;
    temp.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// The file as it lies on disk, checked.
#[derive(Debug, Default)]
struct Flat {
    bytes: Vec<u8>,
    count: usize,
    /// By the upper bits of a hash: the first record that has them or more.
    starts: Vec<u32>,
    /// How far a hash is shifted to give a place in `starts`.
    shift: u32,
}

impl Flat {
    /// `None` for what is damaged or of another version.
    fn read(path: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
        let size = file.metadata()?.len();
        let mut bytes = Vec::with_capacity(usize::try_from(size.min(BYTES_MAX)).unwrap_or_default());
        file.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
        Ok(Self::new(bytes))
    }

    fn new(bytes: Vec<u8>) -> Option<Self> {
        if bytes.len() < HEADER || bytes[..8] != MAGIC || bytes[8..16] != mix(&bytes[16..]).to_le_bytes() {
            return None;
        }
        let count = u32::from_le_bytes(array(&bytes, 16)) as usize;
        let paths = bytes.len().checked_sub(HEADER.checked_add(count.checked_mul(RECORD)?)?)?;
        let bits = usize::BITS - count.leading_zeros();
        let mut flat = Self { bytes, count, starts: Vec::with_capacity((1 << bits) + 1), shift: 64 - bits.max(1) };
        let mut last = 0;
        for at in 0..count {
            let (hash, from, length) = flat.key(at);
            if hash < last || from.checked_add(length)? > paths {
                return None;
            }
            last = hash;
            let first = usize::try_from(hash >> flat.shift).ok()?;
            while flat.starts.len() <= first {
                flat.starts.push(u32::try_from(at).ok()?);
            }
        }
        // One path text, checked here once.
        std::str::from_utf8(&flat.bytes[HEADER + count * RECORD..]).ok()?;
        Some(flat)
    }

    /// Hash, and where the path is.
    fn key(&self, at: usize) -> (u64, usize, usize) {
        let record = &self.bytes[HEADER + at * RECORD..];
        let number = |from| u32::from_le_bytes(array(record, from)) as usize;
        (u64::from_le_bytes(array(record, 0)), number(8), number(12))
    }

    fn path_bytes(&self, at: usize) -> &[u8] {
        let (_, from, length) = self.key(at);
        let from = HEADER + self.count * RECORD + from;
        &self.bytes[from..from + length]
    }

    fn path(&self, at: usize) -> &str {
        std::str::from_utf8(self.path_bytes(at)).unwrap_or_default()
    }

    fn find(&self, hash: u64, path: &str) -> Option<usize> {
        let first = *self.starts.get(usize::try_from(hash >> self.shift).ok()?)?;
        let candidates = (first as usize..self.count).take_while(|at| self.key(*at).0 <= hash);
        candidates.into_iter().find(|at| self.key(*at).0 == hash && self.path_bytes(*at) == path.as_bytes())
    }

    fn entry(&self, at: usize) -> Entry {
        let record = &self.bytes[HEADER + at * RECORD..];
        let number = |from| u64::from_le_bytes(array(record, from));
        let stamp = |from| i64::from_le_bytes(array(record, from));
        let stat = Stat {
            size: number(16),
            inode: number(24),
            device: number(32),
            mtime: stamp(40),
            ctime: stamp(48),
            mode: u32::from_le_bytes(array(record, 64)),
        };
        Entry { stat, hashed_at: stamp(56), digest: Digest::from_bytes(array(record, 72)) }
    }

    fn newest(&self) -> i64 {
        (0..self.count).map(|at| self.entry(at).hashed_at).max().unwrap_or(i64::MIN)
    }
}

/// So many bytes from a place that is known to have them.
fn array<const N: usize>(bytes: &[u8], from: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[from..from + N]);
    out
}

/// A number for bytes: the place of a path, and the sum that shows damage. Every step can be undone, so bytes that
/// differ in one word never get the same.
fn mix(bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let step = |state: u64, word: u64| (state ^ word).wrapping_mul(FACTOR).rotate_left(29);
    let mut lanes = [bytes.len() as u64, 1, 2, 3];
    let mut pieces = bytes.chunks_exact(32);
    for piece in &mut pieces {
        for (at, lane) in lanes.iter_mut().enumerate() {
            *lane = step(*lane, u64::from_le_bytes(array(piece, at * 8)));
        }
    }
    let mut sum = lanes.into_iter().fold(FACTOR, step);
    for word in pieces.remainder().chunks(8) {
        let mut padded = [0; 8];
        padded[..word.len()].copy_from_slice(word);
        sum = step(sum, u64::from_le_bytes(padded));
    }
    sum = step(sum, sum >> 32);
    sum ^ sum >> 29
}
