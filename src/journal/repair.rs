//! Finding what is damaged in a journal, and making one of what verifies.
//! Kept are all lines whose checksum holds, byte for byte and with their numbers, so that receipts and whatever cites
//! them stay what they are. Where records are gone a `repaired` record stands in their place: it follows from the
//! record before the gap and says with which number and digest the chain goes on behind it. So nothing is invented,
//! the chain verifies again, and every reader learns of the gap. The damaged file is set aside, never removed.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::FILE;
use super::fold::fold_reader;
use super::reader::{LINE_BYTES_MAX, ReadError, Reader};
use super::record::{self, Chain, Link, SUM_BYTES, SUM_KEY, VERSION};
use super::run::FLEET_VERSION;
use crate::id::RunId;
use crate::time::Stamp;

/// How a record begins, so that one is found behind a damaged newline.
const BEGIN: &[u8] = b"{\"v\":";
/// Beginnings that are tried for one end: a value of a user's may look like one.
const BEGINS_MAX: usize = 64;
/// Of a damaged piece, as much is looked through for names of tasks.
const LEGIBLE_BYTES: u64 = 64 << 10;

/// What a look at a journal found.
#[derive(Debug)]
pub struct Found {
    run: RunId,
    /// In the order of their numbers.
    kept: Vec<Kept>,
    /// Numbers that no kept record has, though a later one has been kept.
    pub lost: Vec<RangeInclusive<u64>>,
    /// What is not kept, in the order of the file.
    pub dropped: Vec<Dropped>,
    bytes: u64,
    /// The kept lines stand in their order, each with its newline.
    in_order: bool,
}

/// A piece of the file that is in no record that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    pub offset: u64,
    pub bytes: u64,
    /// Names of tasks that can be read in it; nothing vouches for them.
    pub tasks: Vec<String>,
}

/// A line whose checksum holds.
#[derive(Clone, Copy, Debug)]
struct Kept {
    seq: u64,
    offset: u64,
    bytes: u64,
    digest: Link,
    prev: Option<Link>,
    /// What the record behind it must be.
    next: (u64, Link),
}

#[derive(Deserialize)]
struct Head<'a> {
    v: u32,
    seq: u64,
    #[serde(default)]
    prev: Option<&'a str>,
    #[serde(default)]
    run: Option<OfRun>,
    #[serde(default)]
    event: Option<OfEvent>,
    #[serde(default)]
    standing: Option<OfStanding>,
    #[serde(default)]
    repaired: Option<Repaired<'a>>,
}

#[derive(Deserialize)]
struct OfRun {
    id: String,
}

#[derive(Deserialize)]
struct OfEvent {
    run_id: String,
}

#[derive(Deserialize)]
struct OfStanding {
    common: OfEvent,
}

/// The body of a `repaired` record: the records `first` to `last` are gone, and `prev` is the digest of the last of
/// them, as the record behind it has it.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Repaired<'a> {
    pub run_id: &'a str,
    pub first: u64,
    pub last: u64,
    pub prev: &'a str,
}

/// Looks through the journal of a run.
///
/// # Errors
/// When it cannot be read, or another version wrote it.
pub fn look(run_dir: &Path, run: &RunId) -> Result<Found, ReadError> {
    let file = File::open(run_dir.join(FILE))?;
    let source = BufReader::with_capacity(128 << 10, &file);
    look_in(source, run, |offset, bytes| file.read_exact_at(bytes, offset))
}

/// Looks through what `source` has; `read` gives pieces of the same once more.
fn look_in(
    mut source: impl BufRead,
    run: &RunId,
    mut read: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
) -> Result<Found, ReadError> {
    let mut all = Vec::new();
    let mut line = Vec::new();
    let mut offset = 0;
    let mut open_end = false;
    loop {
        line.clear();
        let bytes = (&mut source).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? as u64;
        if bytes == 0 {
            break;
        }
        open_end = line.pop_if(|byte| *byte == b'\n').is_none();
        each_record(&line, |at, record| {
            all.extend(head(record, run)?.map(|kept| Kept { offset: offset + at, ..kept }));
            Ok(())
        })?;
        offset += bytes;
    }
    let (kept, lost) = chained(all);
    let last_is_kept = kept.last().is_some_and(|last| last.offset + last.bytes == offset);
    let in_order = kept.is_sorted_by_key(|kept| kept.offset) && !(open_end && last_is_kept);
    let mut found = Found { run: run.clone(), kept, lost, dropped: Vec::new(), bytes: offset, in_order };
    found.dropped = found.pieces(&mut read)?;
    Ok(found)
}

/// Hands over each stretch of a line whose checksum holds: the line itself, or records that a damaged newline joined
/// with others.
fn each_record(line: &[u8], mut each: impl FnMut(u64, &[u8]) -> Result<(), ReadError>) -> Result<(), ReadError> {
    if record::checked(line).is_some() {
        return each(0, line);
    }
    let mut from = 0;
    for sum in memchr::memmem::find_iter(line, SUM_KEY) {
        let end = sum + SUM_BYTES;
        if end > line.len() || sum < from {
            continue;
        }
        let begins = memchr::memmem::find_iter(&line[from..sum], BEGIN).take(BEGINS_MAX).map(|at| from + at);
        let mut whole = begins.filter(|begin| record::checked(&line[*begin..end]).is_some());
        if let Some(begin) = whole.next() {
            each(begin as u64, &line[begin..end])?;
            from = end;
        }
    }
    Ok(())
}

/// What a line with a good checksum says of its place; `None` when it is no record of this run.
fn head(line: &[u8], run: &RunId) -> Result<Option<Kept>, ReadError> {
    let Ok(head) = serde_json::from_slice::<Head<'_>>(line) else {
        return match super::reader::version(line) {
            Some(version) if version != VERSION => Err(ReadError::Version { version }),
            _ => Ok(None),
        };
    };
    if head.v != VERSION {
        return Err(ReadError::Version { version: head.v });
    }
    let Some(digest) = record::checked(line).map(Link) else { return Ok(None) };
    let (whose, next) = match (&head.run, &head.event, &head.standing, &head.repaired) {
        (Some(of), None, None, None) => (&*of.id, Some((head.seq + 1, digest))),
        (None, Some(of), None, None) | (None, None, Some(OfStanding { common: of }), None) => {
            (&*of.run_id, Some((head.seq + 1, digest)))
        }
        (None, None, None, Some(gap)) => {
            (gap.run_id, Link::parse(gap.prev).filter(|_| gap.last >= head.seq).map(|prev| (gap.last + 1, prev)))
        }
        _ => return Ok(None),
    };
    let prev = match head.prev.map(Link::parse) {
        Some(None) => return Ok(None),
        Some(prev) => prev,
        None => None,
    };
    let fits = whose == run.as_str() && prev.is_some() == (head.seq > 1) && head.seq > 0;
    Ok(next.filter(|_| fits).map(|next| Kept {
        seq: head.seq,
        offset: 0,
        bytes: line.len() as u64,
        digest,
        prev,
        next,
    }))
}

/// Puts records in order and leaves out what contradicts the rest: a second record of a number, one that names another
/// predecessor than the one that is there, and what follows from such a record.
fn chained(mut all: Vec<Kept>) -> (Vec<Kept>, Vec<RangeInclusive<u64>>) {
    all.sort_unstable_by_key(|one| (one.seq, one.offset));
    let named: HashSet<Link> = all.iter().filter_map(|one| one.prev).collect();
    let mut kept: Vec<Kept> = Vec::with_capacity(all.len());
    let mut lost = Vec::new();
    let mut refused = HashSet::new();
    let mut next = (1, None);
    for group in all.chunk_by(|a, b| a.seq == b.seq) {
        let may = |one: &&Kept| match one.seq {
            seq if seq < next.0 => false,
            seq if seq == next.0 => one.prev == next.1,
            _ => one.prev.is_some_and(|prev| !refused.contains(&prev)),
        };
        // Of several that may stand here, the one that the next record follows from.
        let chosen = group.iter().filter(may).max_by_key(|one| (named.contains(&one.digest), u64::MAX - one.offset));
        refused.extend(group.iter().map(|one| one.digest).filter(|one| chosen.is_none_or(|it| it.digest != *one)));
        if let Some(one) = chosen {
            if one.seq > next.0 {
                lost.push(next.0..=one.seq - 1);
            }
            next = (one.next.0, Some(one.next.1));
            kept.push(*one);
        }
    }
    (kept, lost)
}

impl Found {
    /// How many records verify.
    #[must_use]
    pub fn records(&self) -> usize {
        self.kept.len()
    }

    /// Nothing is missing and nothing is too much.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.dropped.is_empty() && self.lost.is_empty() && self.in_order
    }

    /// Only the end is no record: readers cut it, and need no repair.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        let end = self.dropped.last().is_some_and(|piece| piece.offset + piece.bytes == self.bytes);
        self.lost.is_empty() && self.in_order && self.dropped.len() == 1 && end
    }

    /// Where the damage begins.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.dropped.first().map_or(0, |piece| piece.offset)
    }

    /// What lies between the kept lines and their newlines.
    fn pieces(&self, read: &mut impl FnMut(u64, &mut [u8]) -> io::Result<()>) -> io::Result<Vec<Dropped>> {
        let mut places: Vec<(u64, u64)> = self.kept.iter().map(|kept| (kept.offset, kept.bytes)).collect();
        places.sort_unstable();
        let mut pieces = Vec::new();
        let mut at = 0;
        for (offset, bytes) in places.into_iter().chain([(self.bytes, 0)]) {
            if offset > at {
                let mut text = vec![0; usize::try_from((offset - at).min(LEGIBLE_BYTES)).unwrap_or(0)];
                read(at, &mut text)?;
                pieces.push(Dropped { offset: at, bytes: offset - at, tasks: legible(&text) });
            }
            at = offset + bytes;
            if at < self.bytes {
                let mut end = [0];
                read(at, &mut end)?;
                at += u64::from(end == *b"\n");
            }
        }
        Ok(pieces)
    }

    /// Writes the journal anew from what is kept, and sets the damaged one aside under a name of its own, which is
    /// returned. Only for the holder of the state directory's lock.
    ///
    /// # Errors
    /// When something cannot be written; the journal is then as it was.
    pub fn repair(&self, run_dir: &Path, now: Stamp) -> Result<PathBuf, ReadError> {
        let path = run_dir.join(FILE);
        let mut made = tempfile::Builder::new().prefix(".journal-").tempfile_in(run_dir)?;
        let source = File::open(&path)?;
        let mut out = io::BufWriter::with_capacity(128 << 10, made.as_file_mut());
        self.write(&mut out, now, |offset, bytes| source.read_exact_at(bytes, offset))?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?;
        // Nothing takes the place of a journal that cannot be read itself.
        fold_reader(&mut Reader::new(BufReader::new(File::open(made.path())?)))?;
        let permissions = source.metadata()?.permissions();
        made.as_file().set_permissions(permissions)?;
        made.as_file().sync_all()?;
        let aside = set_aside(&path)?;
        File::open(run_dir)?.sync_all()?;
        made.persist(&path).map_err(|error| error.error)?;
        File::open(run_dir)?.sync_all()?;
        Ok(aside)
    }

    fn write(
        &self,
        out: &mut impl io::Write,
        now: Stamp,
        mut read: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut line = Vec::new();
        let mut next = (1, None);
        for one in &self.kept {
            if one.seq > next.0 {
                line.clear();
                gap(&mut line, &self.run, next, one, now);
                out.write_all(&line)?;
            }
            line.resize(usize::try_from(one.bytes).map_err(io::Error::other)?, 0);
            read(one.offset, &mut line)?;
            out.write_all(&line)?;
            out.write_all(b"\n")?;
            next = (one.next.0, Some(one.next.1));
        }
        Ok(())
    }
}

/// The record that stands for those between `next`, which is missing, and `before`.
fn gap(out: &mut Vec<u8>, run: &RunId, next: (u64, Option<Link>), before: &Kept, now: Stamp) {
    let mut chain = Chain::after(next.1);
    chain.open(out, next.0);
    record::json(out, &now);
    out.extend_from_slice(b",\"repaired\":{\"run_id\":");
    record::string(out, run.as_str());
    // Writing to a vector cannot fail.
    let _ = write!(out, ",\"first\":{},\"last\":{},\"prev\":", next.0, before.seq - 1);
    record::json(out, &before.prev.map(|prev| prev.to_string()));
    out.extend_from_slice(b",\"fleet_version\":");
    record::string(out, FLEET_VERSION);
    out.push(b'}');
    chain.close(out, 0, Sha256::new());
}

/// Gives the damaged journal a second name, `journal.jsonl.damaged-N`, before the first one is given away.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    for n in 1_u32.. {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".damaged-{n}"));
        let aside = PathBuf::from(name);
        match fs::hard_link(path, &aside) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Ok(()) => return Ok(aside),
            // A file system without links.
            Err(_) if !aside.exists() => {
                fs::copy(path, &aside)?;
                File::open(&aside)?.sync_all()?;
                return Ok(aside);
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Names of tasks in a damaged piece.
fn legible(text: &[u8]) -> Vec<String> {
    static TASK: LazyLock<regex::bytes::Regex> =
        LazyLock::new(|| regex::bytes::Regex::new(r#""task_id":"([^"\\\x00-\x1f]{1,200})""#).expect("a constant"));
    let mut names: Vec<String> = Vec::new();
    for found in TASK.captures_iter(text) {
        let name = String::from_utf8_lossy(&found[1]).into_owned();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests;
