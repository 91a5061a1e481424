//! Copies that outlive their attempt: one in which nothing was changed is as good as a new one, and the next attempt that
//! starts from the same has it.
//!
//! A change shows in the stamps of what was changed, which no process can set back, or of the folder that it is in. It
//! does not in two cases: within the tick of the clock in which the copy was made, and where a file system in memory has
//! a file mapped, to which a process then writes without the kernel's knowing. So everything is read again, but what is
//! large: to read that would take longer than a new copy, so it waits for the clock, and is believed only on file systems
//! that are known to stamp what is written to a mapping.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, StatxFlags};

use super::lay::COPY;
use crate::digest::Digest;
use crate::protocol::receipt::{EntryKind, OutputRef};
use crate::store::Root;
use crate::store::copy;
use crate::store::stats::{self, Stat};

/// What is larger is not read again.
const READ_AGAIN_BYTES_MAX: u64 = 64 << 10;
/// What took this long to lay out can wait until the clock has gone on.
const LONG: Duration = Duration::from_millis(400);

/// Asks for the number of a mount. What is mounted on itself looks as it did, and may be read only.
const MOUNT: StatxFlags = StatxFlags::from_bits_retain(0x1000);
/// File systems that stamp a file when somebody begins to write to a mapping of it: ext2 to ext4, XFS and Btrfs. Those in
/// memory do not, nor does what is laid over one.
const STAMP_MAPPED: [i128; 3] = [0xef53, 0x5846_5342, 0x9123_683e];

/// Everything that was laid out for an attempt, as it was then.
#[derive(Debug)]
pub(super) struct Traces {
    /// By path below the attempt's folder, which is one of them.
    all: BTreeMap<PathBuf, Trace>,
    /// Every change shows in stamps, also of what is mapped.
    show_all: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Trace {
    stat: Stat,
    names: u32,
    owner: (u32, u32),
    /// Bytes that the names of its extended attributes take.
    attributes: usize,
    /// The number of the mount that it is seen through; 0 where the kernel does not say.
    mount: u64,
    /// Of a file's bytes, or of a link's text.
    digest: Option<Digest>,
}

impl Traces {
    /// Of a folder that was laid out just now.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub(super) fn note(dir: &Path, entries: &[OutputRef]) -> io::Result<Self> {
        let mut digests: BTreeMap<PathBuf, Option<Digest>> = BTreeMap::new();
        for entry in entries {
            let path = Path::new(COPY).join(&*entry.path);
            for folder in path.ancestors().skip(1) {
                if digests.contains_key(folder) {
                    break;
                }
                digests.insert(folder.to_owned(), None);
            }
            digests.insert(path, (entry.kind != EntryKind::Directory).then_some(entry.digest));
        }
        digests.entry(PathBuf::from(COPY)).or_default();
        digests.entry(PathBuf::new()).or_default();
        let root = Root::open(dir)?;
        let all = digests.into_iter().map(|(path, digest)| Trace::at(&root, &path, digest).map(|trace| (path, trace)));
        Ok(Self { all: all.collect::<io::Result<_>>()?, show_all: stamps_mapped(&root) })
    }

    /// Lets the clock go on, if the copy took so long that it does not matter.
    pub(super) fn settle(&self, took: Duration) {
        if took > LONG && self.all.values().any(|trace| !trace.stat.shows_changes_from(stats::now())) {
            std::thread::sleep(stats::GRANULARITY);
        }
    }

    /// Whether all is as it was, where processes may have been busy from `began` on, in nanoseconds since 1970, and none
    /// is any more.
    pub(super) fn hold(&self, dir: &Path, began: i64) -> bool {
        let Ok(root) = Root::open(dir) else { return false };
        let is_same =
            |(path, noted): (&PathBuf, &Trace)| Trace::at(&root, path, noted.digest).is_ok_and(|now| now == *noted);
        let mut small = self.all.iter().filter(|(_, noted)| !noted.is_large());
        self.may_hold(began)
            && self.all.iter().all(is_same)
            && small.all(|(path, noted)| self.reads_same(&root, path, noted))
    }

    /// Whether it can be known at all that nothing was changed from `began` on.
    pub(super) fn may_hold(&self, began: i64) -> bool {
        let mut large = self.all.values().filter(|noted| noted.is_large());
        large.all(|noted| self.show_all && noted.stat.shows_changes_from(began))
    }

    fn reads_same(&self, root: &Root, path: &Path, noted: &Trace) -> bool {
        let Some(digest) = noted.digest else {
            let found = std::fs::read_dir(root.path().join(path)).and_then(Iterator::collect::<io::Result<Vec<_>>>);
            // What is missing is missed by itself.
            return found.is_ok_and(|all| all.iter().all(|one| self.all.contains_key(&path.join(one.file_name()))));
        };
        if noted.stat.is_file() {
            let read = root.read_no_links(path).and_then(|mut file| Ok(copy::pour(&mut file, &mut io::sink())?.0));
            return read.is_ok_and(|read| read == digest);
        }
        let text = std::fs::read_link(root.path().join(path));
        text.is_ok_and(|text| Digest::of(text.as_os_str().as_encoded_bytes()) == digest)
    }
}

/// Whether what is below a folder is stamped when it is written to through a mapping.
#[allow(clippy::useless_conversion, reason = "its type differs by processor")]
fn stamps_mapped(root: &Root) -> bool {
    rustix::fs::fstatfs(root.as_fd()).is_ok_and(|about| STAMP_MAPPED.contains(&i128::from(about.f_type)))
}

impl Trace {
    fn is_large(&self) -> bool {
        self.stat.is_file() && self.stat.size > READ_AGAIN_BYTES_MAX
    }

    /// Of what is at a path, no link followed.
    fn at(root: &Root, path: &Path, digest: Option<Digest>) -> io::Result<Self> {
        let here = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let wanted = StatxFlags::BASIC_STATS | MOUNT;
        let about = rustix::fs::statx(root.as_fd(), here, AtFlags::SYMLINK_NOFOLLOW, wanted)?;
        // A file system without them has none.
        let attributes = rustix::fs::llistxattr(root.path().join(path), &mut [0_u8; 0]).unwrap_or_default();
        Ok(Self {
            stat: Stat::of_extended(&about),
            names: about.stx_nlink,
            owner: (about.stx_uid, about.stx_gid),
            attributes,
            mount: about.stx_mnt_id,
            digest,
        })
    }
}

/// A copy that nobody works in.
#[derive(Debug)]
pub(super) struct Spare {
    /// The number of its folder.
    pub(super) folder: u32,
    /// What it was laid out from.
    pub(super) entries: Vec<OutputRef>,
    pub(super) traces: Traces,
}

/// A copy of which a thread finds out whether it may serve again.
#[derive(Debug)]
pub(super) struct Check {
    /// The number of its folder.
    pub(super) folder: u32,
    pub(super) entries: Vec<OutputRef>,
    /// The attempt that has it if so.
    pub(super) waits: Option<u32>,
}

/// As many copies as attempts have ever had at once, those of attempts among them: what waits to be used again takes the
/// place of an attempt, and each has its bound.
#[derive(Debug, Default)]
pub(super) struct Spares {
    all: VecDeque<Spare>,
    most: usize,
}

impl Spares {
    pub(super) fn put(&mut self, spare: Spare) {
        self.all.push_back(spare);
    }

    pub(super) fn have(&self, entries: &[OutputRef]) -> bool {
        self.all.iter().any(|spare| spare.entries == entries)
    }

    /// One that starts from exactly this.
    pub(super) fn take(&mut self, entries: &[OutputRef]) -> Option<Spare> {
        let at = self.all.iter().position(|spare| spare.entries == entries)?;
        self.all.remove(at)
    }

    /// Those that are too many beside so many attempts, the oldest first.
    pub(super) fn too_many(&mut self, attempts: usize) -> Vec<Spare> {
        self.most = self.most.max(attempts);
        let over = (attempts + self.all.len()).saturating_sub(self.most);
        self.all.drain(..over.min(self.all.len())).collect()
    }

    pub(super) fn take_all(&mut self) -> Vec<Spare> {
        self.all.drain(..).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, Permissions};
    use std::io::Write as _;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    const KEPT: &str = "kept";

    fn entry(path: &str, text: &str, kind: EntryKind) -> OutputRef {
        OutputRef {
            path: path.into(),
            digest: Digest::of(text.as_bytes()),
            size_bytes: text.len() as u64,
            mode: None,
            kind,
        }
    }

    /// A folder as it is laid out for an attempt.
    fn laid() -> (tempfile::TempDir, Traces) {
        let dir = tempfile::TempDir::new().unwrap();
        let at = |name: &str| dir.path().join(COPY).join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::create_dir(at("empty")).unwrap();
        for (name, text) in [("in", "input"), ("a/one", "first"), ("a/b/two", "other")] {
            fs::write(at(name), text).unwrap();
        }
        symlink("in", at("link")).unwrap();
        let files = [("in", "input"), ("a/one", "first"), ("a/b/two", "other")];
        let mut entries: Vec<OutputRef> = files.map(|(path, text)| entry(path, text, EntryKind::File)).into();
        entries.push(entry("link", "in", EntryKind::Symlink));
        entries.push(entry("empty", "", EntryKind::Directory));
        let traces = Traces::note(dir.path(), &entries).unwrap();
        (dir, traces)
    }

    /// Writes over a file what is as long, and gives it the time back that it had.
    fn forge(file: &Path) {
        let modified = fs::metadata(file).unwrap().modified().unwrap();
        let mut open = File::options().write(true).open(file).unwrap();
        open.write_all(b"X").unwrap();
        open.set_modified(modified).unwrap();
    }

    type Change = (&'static str, fn(&Path));

    const CHANGES: &[Change] = &[
        ("written to", |ws| forge(&ws.join("in"))),
        ("written to below", |ws| forge(&ws.join("a/b/two"))),
        ("longer", |ws| fs::write(ws.join("in"), "input and more").unwrap()),
        ("gone", |ws| fs::remove_file(ws.join("a/one")).unwrap()),
        ("a file more", |ws| fs::write(ws.join("more"), "").unwrap()),
        ("a file more below", |ws| fs::write(ws.join("a/b/more"), "").unwrap()),
        ("no longer empty", |ws| fs::write(ws.join("empty/.hidden"), "").unwrap()),
        ("a folder more", |ws| fs::create_dir(ws.join("a/more")).unwrap()),
        ("beside the copy", |ws| fs::create_dir(ws.with_file_name("scratch")).unwrap()),
        ("another mode", |ws| fs::set_permissions(ws.join("in"), Permissions::from_mode(0o600)).unwrap()),
        ("a folder's mode", |ws| fs::set_permissions(ws.join("a"), Permissions::from_mode(0o711)).unwrap()),
        ("its own mode", |ws| fs::set_permissions(ws, Permissions::from_mode(0o711)).unwrap()),
        ("another name", |ws| fs::hard_link(ws.join("in"), ws.with_file_name(KEPT)).unwrap()),
        ("another time", |ws| {
            let then = std::time::SystemTime::UNIX_EPOCH;
            File::open(ws.join("in")).unwrap().set_modified(then).unwrap();
        }),
        ("exchanged", |ws| {
            let (one, two, aside) = (ws.join("a/one"), ws.join("a/b/two"), ws.join("a/aside"));
            fs::rename(&one, &aside).unwrap();
            fs::rename(&two, &one).unwrap();
            fs::rename(&aside, &two).unwrap();
        }),
        ("a link instead", |ws| {
            fs::rename(ws.join("in"), ws.with_file_name(KEPT)).unwrap();
            symlink("../kept", ws.join("in")).unwrap();
        }),
        ("a link to elsewhere", |ws| {
            fs::remove_file(ws.join("link")).unwrap();
            symlink("a/", ws.join("link")).unwrap();
        }),
        ("a folder that is a link", |ws| {
            fs::rename(ws.join("a"), ws.with_file_name(KEPT)).unwrap();
            symlink("../kept", ws.join("a")).unwrap();
        }),
    ];

    #[test]
    fn a_copy_that_nobody_changed_holds_and_a_changed_one_does_not() {
        for is_settled in [false, true] {
            let (dir, traces) = laid();
            if is_settled {
                std::thread::sleep(stats::GRANULARITY * 2);
            }
            let began = stats::now();
            assert!(fs::read(dir.path().join(COPY).join("link")).is_ok(), "whoever reads changes nothing");
            assert!(traces.hold(dir.path(), began));
            assert!(!traces.hold(&dir.path().join("nowhere"), began));
            for (what, change) in CHANGES {
                let (dir, traces) = laid();
                if is_settled {
                    std::thread::sleep(stats::GRANULARITY * 2);
                }
                let began = stats::now();
                change(&dir.path().join(COPY));
                assert!(!traces.hold(dir.path(), began), "{what}, settled: {is_settled}");
            }
        }
    }

    /// Clocks that stamp files go on every few milliseconds on most kernels, and what is done between leaves no trace; nor
    /// does, in memory, what is written to a mapping, however long after.
    #[test]
    fn what_leaves_no_stamp_is_found_by_reading() {
        let changes: [Change; 3] = [
            ("ws/a/b/two", |ws| forge(&ws.join("a/b/two"))),
            ("ws/a", |ws| fs::write(ws.join("a/more"), "").unwrap()),
            ("ws/link", |ws| {
                fs::remove_file(ws.join("link")).unwrap();
                symlink("a/", ws.join("link")).unwrap();
            }),
        ];
        for (path, change) in changes {
            let (dir, mut traces) = laid();
            change(&dir.path().join(COPY));
            let root = Root::open(dir.path()).unwrap();
            // As if all of it had been at once.
            for (path, trace) in &mut traces.all {
                *trace = Trace::at(&root, path, trace.digest).unwrap();
            }
            let at_once = traces.all[Path::new(path)].stat.ctime;
            for began in [at_once, i64::MAX] {
                assert!(!traces.hold(dir.path(), began), "{path}");
            }
        }
    }

    #[test]
    fn an_attribute_is_a_change() {
        let (dir, traces) = laid();
        let (file, flags) = (dir.path().join(COPY).join("in"), rustix::fs::XattrFlags::empty());
        // Not every file system has them.
        if rustix::fs::setxattr(&file, "user.fleet", b"1", flags).is_ok() {
            assert!(!traces.hold(dir.path(), stats::now()));
        }
    }

    #[test]
    fn what_is_large_is_not_read_again_but_may_wait_for_the_clock() {
        let dir = tempfile::TempDir::new().unwrap();
        fs::create_dir(dir.path().join(COPY)).unwrap();
        let text = "x".repeat(usize::try_from(READ_AGAIN_BYTES_MAX).unwrap() + 1);
        fs::write(dir.path().join(COPY).join("big"), &text).unwrap();
        let mut traces = Traces::note(dir.path(), &[entry("big", &text, EntryKind::File)]).unwrap();
        let stamp = traces.all[Path::new("ws/big")].stat.ctime;
        assert!(!traces.hold(dir.path(), stamp), "it may have been written to in the same tick");
        traces.settle(LONG * 2);
        // The tests may have their folders in memory.
        for show_all in [true, false] {
            traces.show_all = show_all;
            assert_eq!(traces.hold(dir.path(), stats::now()), show_all);
        }
    }

    #[test]
    fn there_are_never_more_copies_than_attempts_at_once() {
        let traces = || Traces { all: BTreeMap::new(), show_all: true };
        let spare = |folder, name| Spare { folder, entries: vec![entry(name, "", EntryKind::File)], traces: traces() };
        let mut spares = Spares::default();
        assert!(spares.too_many(2).is_empty());
        spares.put(spare(1, "a"));
        spares.put(spare(2, "b"));
        assert!(spares.too_many(0).is_empty());
        assert!(spares.take(&[]).is_none());
        assert_eq!(spares.take(&[entry("b", "", EntryKind::File)]).unwrap().folder, 2);
        assert!(spares.too_many(1).is_empty());
        assert_eq!(spares.too_many(2).pop().unwrap().folder, 1, "the room is for another one");
        spares.put(spare(3, "a"));
        spares.put(spare(4, "a"));
        assert_eq!(spares.too_many(1).pop().unwrap().folder, 3, "the oldest goes");
        assert_eq!(spares.take_all().len(), 1);
        assert!(spares.too_many(0).is_empty());
    }
}
