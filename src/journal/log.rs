//! What an attempt prints: one file, `logs/<task>.<attempt>.log`, made at its first byte. At most [`LOG_BYTES_MAX`]
//! are kept: the head goes straight to the file, the tail waits in a ring of [`TAIL_BYTES`], and what lies between is
//! dropped, with a line in the file that says how much. Costs the ring in memory however much is printed.
//! Logs are not synced: they are evidence for people, and a receipt's digest shows whether one is whole.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::digest::{Digest, Hasher};
use crate::id::Attempt;
use crate::protocol::receipt::LogRef;

/// Most bytes of output kept of one attempt; the marker line comes on top.
pub const LOG_BYTES_MAX: u64 = 64 << 20;
/// How much of that is kept from the end, when there is more.
pub const TAIL_BYTES: usize = 1 << 20;

/// Longest file name made of a task's name; a longer one is cut and told apart by its digest.
const STEM_BYTES_MAX: usize = 200;

/// The folder of logs in a run's folder.
pub const FOLDER: &str = "logs";

/// Writes the log of one attempt.
#[derive(Debug)]
pub struct LogWriter {
    path: PathBuf,
    name: Box<str>,
    file: Option<File>,
    hasher: Hasher,
    /// Room left for the head.
    head_left: u64,
    tail: Ring,
}

impl LogWriter {
    /// Touches nothing yet: an attempt that prints nothing has no log.
    #[must_use]
    pub fn new(run_dir: &Path, task: &str, attempt: Attempt) -> Self {
        Self::bounded(run_dir, task, attempt, LOG_BYTES_MAX, TAIL_BYTES)
    }

    /// Goes on with the log of an attempt whose runner went away, where there is one.
    ///
    /// # Errors
    /// When it is there and cannot be read or written.
    pub fn again(run_dir: &Path, task: &str, attempt: Attempt) -> io::Result<Option<Self>> {
        let mut log = Self::new(run_dir, task, attempt);
        let mut file = match OpenOptions::new().read(true).append(true).open(&log.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut piece = vec![0; 64 << 10];
        loop {
            match file.read(&mut piece) {
                Ok(0) => break,
                Ok(n) => log.hasher.update(&piece[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        log.head_left = log.head_left.saturating_sub(log.hasher.bytes());
        log.file = Some(file);
        Ok(Some(log))
    }

    fn bounded(run_dir: &Path, task: &str, attempt: Attempt, bytes_max: u64, tail: usize) -> Self {
        let name = relative_path(task, attempt).into_boxed_str();
        Self {
            path: run_dir.join(&*name),
            name,
            file: None,
            hasher: Hasher::default(),
            head_left: bytes_max - tail as u64,
            tail: Ring { bytes: Vec::new(), size: tail, start: 0, dropped: 0 },
        }
    }

    /// Where the log is, or will be.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds output in the order it arrives.
    ///
    /// # Errors
    /// When the file cannot be made or written.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        let head = usize::try_from(self.head_left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let (head, rest) = bytes.split_at(head);
        self.keep(head)?;
        self.head_left -= head.len() as u64;
        self.tail.push(rest);
        Ok(())
    }

    /// The end of what was printed so far, at most so many bytes.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn last(&self, bytes_max: usize) -> io::Result<Vec<u8>> {
        if self.file.is_none() {
            return Ok(Vec::new());
        }
        let (new, old) = self.tail.bytes.split_at(self.tail.start);
        let mut last = Vec::with_capacity(bytes_max);
        let wanted = bytes_max.saturating_sub(self.tail.bytes.len());
        if wanted > 0 && self.tail.dropped == 0 {
            let file = File::open(&self.path)?;
            let length = file.metadata()?.len();
            let from = length.saturating_sub(wanted as u64);
            last.resize(usize::try_from(length - from).unwrap_or(0), 0);
            file.read_exact_at(&mut last, from)?;
        }
        last.extend_from_slice(old);
        last.extend_from_slice(new);
        last.drain(..last.len().saturating_sub(bytes_max));
        Ok(last)
    }

    /// Appends the tail and says what the log is; `None` when nothing was printed.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn close(mut self) -> io::Result<Option<LogRef>> {
        let dropped = self.tail.dropped;
        if dropped > 0 {
            self.keep(format!("\n[fleet: {dropped} bytes dropped here]\n").as_bytes())?;
        }
        let tail = std::mem::take(&mut self.tail.bytes);
        let (new, old) = tail.split_at(self.tail.start);
        self.keep(old)?;
        self.keep(new)?;
        Ok(self.file.is_some().then(|| LogRef {
            path: self.name,
            digest: self.hasher.finish(),
            bytes: self.hasher.bytes(),
            truncated: dropped > 0,
        }))
    }

    fn keep(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.file.is_none() {
            self.file = Some(create(&self.path)?);
        }
        if let Some(file) = &mut self.file {
            file.write_all(bytes)?;
        }
        self.hasher.update(bytes);
        Ok(())
    }
}

/// The log's path in the run's folder. Names with other characters than `A-Z a-z 0-9 . _ : -` (matrix values may
/// have them) are escaped as `%XX`, so that no name leaves the folder.
#[must_use]
pub fn relative_path(task: &str, attempt: Attempt) -> String {
    format!("{FOLDER}/{}.log", stem(task, attempt))
}

/// A file name for an attempt, `task.n`, with what no file name should have escaped.
#[must_use]
pub fn stem(task: &str, attempt: Attempt) -> String {
    let mut stem = String::with_capacity(task.len());
    for byte in task.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'-') || (byte == b'.' && !stem.is_empty()) {
            stem.push(char::from(byte));
        } else {
            // Formatting into a String cannot fail.
            let _ = write!(stem, "%{byte:02X}");
        }
    }
    if stem.len() > STEM_BYTES_MAX {
        stem.truncate(STEM_BYTES_MAX - 17);
        stem.push('~');
        stem.push_str(&Digest::of(task.as_bytes()).hex()[..16]);
    }
    format!("{stem}.{attempt}")
}

/// Makes the file, and the folder when it is the first; never writes through something that is there already.
fn create(path: &Path) -> io::Result<File> {
    let open = || OpenOptions::new().append(true).create_new(true).open(path);
    match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            open()
        }
        result => result,
    }
}

/// The last `size` bytes pushed. Takes no memory before the first byte.
#[derive(Debug)]
struct Ring {
    bytes: Vec<u8>,
    size: usize,
    /// Once full: where the oldest byte is.
    start: usize,
    dropped: u64,
}

impl Ring {
    fn push(&mut self, mut bytes: &[u8]) {
        if let Some(excess) = bytes.len().checked_sub(self.size) {
            // Only the end of a piece this long can stay.
            self.dropped += (self.bytes.len() + excess) as u64;
            self.bytes.clear();
            self.bytes.extend_from_slice(&bytes[excess..]);
            self.start = 0;
            return;
        }
        let room = (self.size - self.bytes.len()).min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..room]);
        bytes = &bytes[room..];
        self.dropped += bytes.len() as u64;
        while !bytes.is_empty() {
            let n = (self.size - self.start).min(bytes.len());
            self.bytes[self.start..self.start + n].copy_from_slice(&bytes[..n]);
            self.start = (self.start + n) % self.size;
            bytes = &bytes[n..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(pieces: &[&[u8]], bytes_max: u64, tail: usize) -> (tempfile::TempDir, Option<LogRef>) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogWriter::bounded(dir.path(), "a:b", Attempt(2), bytes_max, tail);
        for piece in pieces {
            log.push(piece).unwrap();
        }
        let made = log.close().unwrap();
        (dir, made)
    }

    #[test]
    fn an_attempt_that_prints_nothing_has_no_log() {
        let (dir, made) = log(&[b""], 10, 4);
        assert_eq!(made, None);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_fits_is_kept_as_it_is() {
        let (dir, made) = log(&[b"hello ", b"wo", b"", b"rl"], 10, 4);
        let made = made.unwrap();
        assert_eq!(&*made.path, "logs/a:b.2.log");
        assert_eq!(fs::read(dir.path().join(&*made.path)).unwrap(), b"hello worl");
        assert_eq!((made.bytes, made.truncated, made.digest), (10, false, Digest::of(b"hello worl")));
    }

    #[test]
    fn the_middle_is_dropped_and_counted_however_the_pieces_fall() {
        let text: Vec<u8> = (0..200u8).collect();
        for size in 1..=text.len() {
            let pieces: Vec<&[u8]> = text.chunks(size).collect();
            let (dir, made) = log(&pieces, 50, 20);
            let made = made.unwrap();
            let mut expected = text[..30].to_vec();
            expected.extend_from_slice(b"\n[fleet: 150 bytes dropped here]\n");
            expected.extend_from_slice(&text[180..]);
            assert_eq!(fs::read(dir.path().join(&*made.path)).unwrap(), expected, "pieces of {size}");
            assert!(made.truncated);
            assert_eq!((made.bytes, made.digest), (expected.len() as u64, Digest::of(&expected)));
        }
    }

    #[test]
    fn the_end_is_known_at_any_time() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogWriter::bounded(dir.path(), "a", Attempt::FIRST, 50, 20);
        let text: Vec<u8> = (0..200u8).collect();
        assert_eq!(log.last(8).unwrap(), b"");
        for (n, piece) in text.chunks(7).enumerate() {
            log.push(piece).unwrap();
            let so_far = &text[..(n * 7 + 7).min(text.len())];
            assert_eq!(log.last(8).unwrap(), so_far[so_far.len().saturating_sub(8)..], "after {}", so_far.len());
        }
    }

    #[test]
    fn no_task_name_leaves_the_folder() {
        for (name, file) in [
            ("build", "logs/build.1.log"),
            ("t:linux/amd64", "logs/t:linux%2Famd64.1.log"),
            ("..", "logs/%2E..1.log"),
            ("a%", "logs/a%25.1.log"),
        ] {
            assert_eq!(relative_path(name, Attempt::FIRST), file);
        }
        let (long, other) = ("x".repeat(500), "x".repeat(501));
        assert!(relative_path(&long, Attempt(4_000_000_000)).len() < 255);
        assert_ne!(relative_path(&long, Attempt::FIRST), relative_path(&other, Attempt::FIRST));
    }
}
