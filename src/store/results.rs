//! Earlier results by fingerprint: what may be reused, and what the last result of a task depended on.
//! One file, `cache/results`, that only grows until it is made anew: a header, then records, each with its length and
//! checksum. It is read whole, and a record is taken apart only when it is asked for. It can be lost at any time: a
//! result that is not in it is made again. A torn or damaged end is cut.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Digest;
use crate::plan::fingerprint::{Kind, Part};
use crate::protocol::receipt::{ArtifactRef, EntryKind, Mode, OutputRef, Score, TaskResult};
use crate::time::Stamp;

/// The file in the cache folder.
pub(super) const FILE: &str = "results";
/// The first bytes; the number is the version of the records.
const HEADER: &[u8; 16] = b"fleet results 2\n";
/// Length and checksum before each record.
const FRAME_BYTES: usize = 8;
/// Longest record; what claims to be longer is damage.
const RECORD_BYTES_MAX: usize = 256 << 20;
/// Results of one task that are kept when the file is made anew.
const KEPT_PER_TASK: usize = 4;
/// The file is made anew when it holds this many times what would be kept, and more than [`SMALL_RECORDS`].
const GROWTH_MAX: usize = 2;
const SMALL_RECORDS: usize = 1000;

/// A result and all it stands on.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub task: Box<str>,
    pub fingerprint: Digest,
    pub result: TaskResult,
    /// Why it cannot be reused, although it passed.
    pub why_not: Option<Box<str>>,
    pub at: Stamp,
    /// Where its receipt is.
    pub run: Box<str>,
    pub seq: u64,
    pub attempt: u32,
    /// Somebody else's run, by way of the shared cache.
    pub remote: bool,
    /// Of its outputs, for tasks that need it.
    pub made: Digest,
    pub inputs_digest: Option<Digest>,
    pub outputs: Vec<OutputRef>,
    pub artifacts: Vec<ArtifactRef>,
    pub score: Option<Score>,
}

impl Entry {
    #[must_use]
    pub fn is_reusable(&self) -> bool {
        self.result == TaskResult::Pass && self.why_not.is_none()
    }
}

/// All earlier results of a state directory. The holder of its lock may add to them.
#[derive(Debug)]
pub struct Results {
    path: PathBuf,
    /// The file as it was read, and behind it what was added since.
    bytes: Vec<u8>,
    /// How many of them are in the file.
    written: usize,
    records: Vec<Range<usize>>,
    /// The latest reusable record of a fingerprint, unless a later one says that it does not pass.
    by_fingerprint: HashMap<Digest, u32, BuildHasherDefault<DigestHasher>>,
    /// The latest record of a task.
    by_task: HashMap<Box<str>, u32>,
    /// The file is not to be continued but replaced.
    anew: bool,
}

/// A digest as it lies in the file, in one piece; an array would be read byte by byte.
#[derive(Clone, Copy)]
struct Bytes(Digest);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0.as_bytes())
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <&[u8]>::deserialize(deserializer)?.try_into();
        bytes.map(|bytes| Self(Digest::from_bytes(bytes))).map_err(D::Error::custom)
    }
}

/// Digests are as good as random, so any part of one is its hash.
#[derive(Clone, Copy, Debug, Default)]
struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    /// The length, which is that of all.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Serialize, Deserialize)]
struct Head<'a> {
    task: &'a str,
    fingerprint: Bytes,
    made: Bytes,
    result: TaskResult,
    why_not: Option<&'a str>,
    at: i64,
    run: &'a str,
    seq: u64,
    attempt: u32,
    remote: bool,
    inputs_digest: Option<Bytes>,
}

#[derive(Serialize, Deserialize)]
struct Made<'a> {
    #[serde(borrow)]
    outputs: Vec<OutputRow<'a>>,
    #[serde(borrow)]
    artifacts: Vec<ArtifactRow<'a>>,
    score: Option<(f64, Option<f64>, Option<&'a str>)>,
}

#[derive(Serialize, Deserialize)]
struct OutputRow<'a> {
    path: &'a str,
    digest: Bytes,
    size_bytes: u64,
    mode: Option<u32>,
    kind: EntryKind,
}

#[derive(Serialize, Deserialize)]
struct ArtifactRow<'a> {
    kind: &'a str,
    path: &'a str,
    checksum: Option<Bytes>,
    mime_type: Option<&'a str>,
    size_bytes: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct PartRow<'a> {
    kind: u8,
    name: &'a str,
    digest: Bytes,
    shown: &'a str,
}

impl Results {
    /// Reads what there is; a file that is missing, damaged or of another version is empty from there on.
    #[must_use]
    pub fn open(cache_dir: &Path) -> Self {
        let path = cache_dir.join(FILE);
        let bytes = fs::read(&path).unwrap_or_default();
        let good = bytes.starts_with(HEADER);
        let mut results = Self {
            path,
            bytes: if good { bytes } else { HEADER.to_vec() },
            written: 0,
            records: Vec::new(),
            by_fingerprint: HashMap::default(),
            by_task: HashMap::new(),
            anew: !good,
        };
        results.index();
        results
    }

    /// Finds the records; cuts what is damaged.
    fn index(&mut self) {
        let mut at = HEADER.len();
        let next = |body: &Range<usize>| record_at(&self.bytes, body.end);
        let bodies: Vec<Range<usize>> = std::iter::successors(record_at(&self.bytes, at), next).collect();
        self.records.reserve(bodies.len());
        self.by_fingerprint.reserve(bodies.len());
        self.by_task.reserve(bodies.len());
        for body in bodies {
            at = body.end;
            if !self.note(body) {
                at = self.bytes.len() + 1;
                break;
            }
        }
        if at < self.bytes.len() {
            // What follows would be read behind the damage, so the next write replaces the file.
            self.bytes.truncate(at);
            self.anew = true;
        }
        self.anew |= at > self.bytes.len();
        self.written = self.bytes.len();
    }

    fn note(&mut self, body: Range<usize>) -> bool {
        let Ok((head, _)) = postcard::take_from_bytes::<Head<'_>>(&self.bytes[body.clone()]) else { return false };
        let index = u32::try_from(self.records.len()).unwrap_or(u32::MAX);
        let fingerprint = head.fingerprint.0;
        match (head.result, head.why_not) {
            (TaskResult::Pass, None) => drop(self.by_fingerprint.insert(fingerprint, index)),
            // It passed again, and only these bytes are not to be relied on; or nobody knows how it would have ended.
            (TaskResult::Pass, Some(_)) | (TaskResult::Skip, _) => {}
            // Whoever forced it to run wanted to know, and must not be answered with what was believed before.
            _ => drop(self.by_fingerprint.remove(&fingerprint)),
        }
        match self.by_task.get_mut(head.task) {
            Some(last) => *last = index,
            None => drop(self.by_task.insert(head.task.into(), index)),
        }
        self.records.push(body);
        true
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// A reusable result of that fingerprint.
    #[must_use]
    pub fn find(&self, fingerprint: &Digest) -> Option<Entry> {
        self.entry(*self.by_fingerprint.get(fingerprint)?)
    }

    /// All results there are, the earliest first.
    pub fn all(&self) -> impl Iterator<Item = Entry> + '_ {
        (0..self.records.len()).filter_map(|at| self.entry(u32::try_from(at).ok()?))
    }

    /// The last result of a task, whatever it was.
    #[must_use]
    pub fn last(&self, task: &str) -> Option<Entry> {
        self.entry(*self.by_task.get(task)?)
    }

    /// The fingerprint of the last result of a task, and the digest of what it made; cheaper than [`Results::last`].
    #[must_use]
    pub fn last_made(&self, task: &str) -> Option<(Digest, Digest)> {
        let body = &self.bytes[self.records[*self.by_task.get(task)? as usize].clone()];
        let (head, _) = postcard::take_from_bytes::<Head<'_>>(body).ok()?;
        Some((head.fingerprint.0, head.made.0))
    }

    /// What the last result of a task depended on, sorted.
    #[must_use]
    pub fn last_parts(&self, task: &str) -> Vec<Part> {
        self.by_task.get(task).and_then(|index| self.parts(*index)).unwrap_or_default()
    }

    fn parts(&self, index: u32) -> Option<Vec<Part>> {
        let body = &self.bytes[self.records[index as usize].clone()];
        let (_, rest) = postcard::take_from_bytes::<Head<'_>>(body).ok()?;
        let (_, rest) = postcard::take_from_bytes::<Made<'_>>(rest).ok()?;
        let rows = postcard::from_bytes::<Vec<PartRow<'_>>>(rest).ok()?;
        let part = |row: PartRow<'_>| {
            Some(Part {
                kind: Kind::of(row.kind)?,
                name: row.name.into(),
                digest: row.digest.0,
                shown: row.shown.into(),
            })
        };
        rows.into_iter().map(part).collect()
    }

    fn entry(&self, index: u32) -> Option<Entry> {
        let body = &self.bytes[self.records[index as usize].clone()];
        let (head, rest) = postcard::take_from_bytes::<Head<'_>>(body).ok()?;
        let (made, _) = postcard::take_from_bytes::<Made<'_>>(rest).ok()?;
        Some(Entry {
            task: head.task.into(),
            fingerprint: head.fingerprint.0,
            result: head.result,
            why_not: head.why_not.map(Box::from),
            at: Stamp(head.at),
            run: head.run.into(),
            seq: head.seq,
            attempt: head.attempt,
            remote: head.remote,
            made: head.made.0,
            inputs_digest: head.inputs_digest.map(|digest| digest.0),
            outputs: made.outputs.into_iter().map(|row| output(&row)).collect(),
            artifacts: made.artifacts.into_iter().map(|row| artifact(&row)).collect(),
            score: made.score.map(|(value, max, notes)| Score { value, max, notes: notes.map(str::to_owned) }),
        })
    }

    /// Adds a result; it is found from now on, and on disk after [`Results::write`].
    ///
    /// # Errors
    /// When it is larger than a record may be.
    pub fn add(&mut self, entry: &Entry, parts: &[Part]) -> io::Result<()> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; FRAME_BYTES]);
        encode(&mut self.bytes, entry, parts);
        let body = start + FRAME_BYTES..self.bytes.len();
        if body.len() > RECORD_BYTES_MAX {
            self.bytes.truncate(start);
            return Err(io::Error::other("a result is too large to be kept"));
        }
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let sum = crc32fast::hash(&self.bytes[body.clone()]);
        self.bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
        self.bytes[start + 4..start + FRAME_BYTES].copy_from_slice(&sum.to_le_bytes());
        self.note(body);
        Ok(())
    }

    /// Writes what was added; makes the file anew when most of it is of no use any more.
    ///
    /// # Errors
    /// When it cannot be written; what was added stays in memory.
    pub fn write(&mut self) -> io::Result<()> {
        if self.written == self.bytes.len() {
            return Ok(());
        }
        if !self.anew {
            let mut file = OpenOptions::new().append(true).open(&self.path)?;
            file.write_all(&self.bytes[self.written..])?;
            self.written = self.bytes.len();
            return Ok(());
        }
        self.replace(&self.bytes)?;
        (self.written, self.anew) = (self.bytes.len(), false);
        Ok(())
    }

    /// Makes the file anew with the latest results of each task, when it has grown too much.
    ///
    /// # Errors
    /// When it cannot be written; the old one is still there then.
    pub fn compact(&mut self) -> io::Result<()> {
        // The last of each task is kept at least.
        if self.records.len() <= SMALL_RECORDS || self.records.len() < self.by_task.len() * GROWTH_MAX {
            return Ok(());
        }
        let mut kept: Vec<u32> = Vec::new();
        let mut of_task: HashMap<&str, usize> = HashMap::with_capacity(self.by_task.len());
        for (index, body) in self.records.iter().enumerate().rev() {
            let Ok((head, _)) = postcard::take_from_bytes::<Head<'_>>(&self.bytes[body.clone()]) else { continue };
            let count = of_task.entry(head.task).or_default();
            *count += 1;
            if *count <= KEPT_PER_TASK {
                kept.push(u32::try_from(index).unwrap_or(u32::MAX));
            }
        }
        if self.records.len() < kept.len() * GROWTH_MAX {
            return Ok(());
        }
        let mut bytes = HEADER.to_vec();
        for index in kept.iter().rev() {
            let body = self.records[*index as usize].clone();
            bytes.extend_from_slice(&self.bytes[body.start - FRAME_BYTES..body.end]);
        }
        self.replace(&bytes)?;
        *self = Self::open(self.path.parent().unwrap_or(Path::new("")));
        Ok(())
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        fs::create_dir_all(folder)?;
        let mut temp = tempfile::Builder::new().prefix(".results-").tempfile_in(folder)?;
        temp.write_all(bytes)?;
        let file: File = temp.persist(&self.path).map_err(|error| error.error)?;
        drop(file);
        Ok(())
    }

    /// Every digest that a result which may be reused needs from the store.
    pub fn contents(&self) -> impl Iterator<Item = Digest> + '_ {
        let entries = self.by_fingerprint.values().filter_map(|index| self.entry(*index));
        entries.flat_map(|entry| {
            let outputs = entry.outputs.into_iter().filter(|output| output.kind.is_file()).map(|output| output.digest);
            outputs.chain(entry.artifacts.into_iter().filter_map(|artifact| artifact.checksum)).collect::<Vec<_>>()
        })
    }
}

/// The body of the record that starts at `at`, if it is whole.
fn record_at(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (length, sum) = (number(at)? as usize, number(at + 4)?);
    let body = at + FRAME_BYTES..at + FRAME_BYTES + length;
    let found = (length <= RECORD_BYTES_MAX).then(|| bytes.get(body.clone()))??;
    (crc32fast::hash(found) == sum).then_some(body)
}

fn encode(out: &mut Vec<u8>, entry: &Entry, parts: &[Part]) {
    let head = Head {
        task: &entry.task,
        fingerprint: Bytes(entry.fingerprint),
        made: Bytes(entry.made),
        result: entry.result,
        why_not: entry.why_not.as_deref(),
        at: entry.at.0,
        run: &entry.run,
        seq: entry.seq,
        attempt: entry.attempt,
        remote: entry.remote,
        inputs_digest: entry.inputs_digest.map(Bytes),
    };
    let made = Made {
        outputs: entry.outputs.iter().map(output_row).collect(),
        artifacts: entry.artifacts.iter().map(artifact_row).collect(),
        score: entry.score.as_ref().map(|score| (score.value, score.max, score.notes.as_deref())),
    };
    let rows: Vec<PartRow<'_>> = parts
        .iter()
        .map(|part| PartRow { kind: part.kind as u8, name: &part.name, digest: Bytes(part.digest), shown: &part.shown })
        .collect();
    for bytes in [postcard::to_allocvec(&head), postcard::to_allocvec(&made), postcard::to_allocvec(&rows)] {
        out.extend_from_slice(&bytes.expect("plain data goes into memory"));
    }
}

fn output_row(output: &OutputRef) -> OutputRow<'_> {
    OutputRow {
        path: &output.path,
        digest: Bytes(output.digest),
        size_bytes: output.size_bytes,
        mode: output.mode.map(Mode::bits),
        kind: output.kind,
    }
}

fn output(row: &OutputRow<'_>) -> OutputRef {
    OutputRef {
        path: row.path.into(),
        digest: row.digest.0,
        size_bytes: row.size_bytes,
        mode: row.mode.map(Mode::of),
        kind: row.kind,
    }
}

fn artifact_row(artifact: &ArtifactRef) -> ArtifactRow<'_> {
    ArtifactRow {
        kind: &artifact.kind,
        path: &artifact.path,
        checksum: artifact.checksum.map(Bytes),
        mime_type: artifact.mime_type.as_deref(),
        size_bytes: artifact.size_bytes,
    }
}

fn artifact(row: &ArtifactRow<'_>) -> ArtifactRef {
    ArtifactRef {
        kind: row.kind.into(),
        path: row.path.into(),
        checksum: row.checksum.map(|digest| digest.0),
        mime_type: row.mime_type.map(Box::from),
        size_bytes: row.size_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(task: &str, content: &str) -> (Entry, Vec<Part>) {
        let digest = Digest::of(content.as_bytes());
        let entry = Entry {
            task: task.into(),
            fingerprint: digest,
            result: TaskResult::Pass,
            why_not: None,
            at: Stamp(1),
            run: "r".into(),
            seq: 3,
            attempt: 1,
            remote: false,
            made: digest,
            inputs_digest: Some(digest),
            outputs: vec![OutputRef {
                path: "ö/a".into(),
                digest,
                size_bytes: 7,
                mode: Some(Mode::of(0o755)),
                kind: EntryKind::File,
            }],
            artifacts: vec![ArtifactRef {
                kind: "log".into(),
                path: "l".into(),
                checksum: Some(digest),
                mime_type: None,
                size_bytes: None,
            }],
            score: Some(Score { value: 1.0, max: Some(1.0), notes: None }),
        };
        let part = Part { kind: Kind::Input, name: "in".into(), digest, shown: "".into() };
        (entry, vec![part])
    }

    fn filled(dir: &Path) -> (Entry, Entry) {
        let mut results = Results::open(dir);
        let ((a, a_parts), (b, b_parts)) = (entry("a", "1"), entry("b", "2"));
        results.add(&a, &a_parts).unwrap();
        results.write().unwrap();
        results.add(&b, &b_parts).unwrap();
        results.write().unwrap();
        (a, b)
    }

    #[test]
    fn results_are_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = filled(dir.path());
        let results = Results::open(dir.path());
        assert_eq!(results.find(&a.fingerprint), Some(a.clone()));
        assert_eq!(results.last("b"), Some(b.clone()));
        assert_eq!(results.last_made("b"), Some((b.fingerprint, b.made)));
        assert_eq!(results.last_parts("a"), entry("a", "1").1);
        assert_eq!(results.find(&Digest::of(b"3")), None);
        assert_eq!(results.last("c"), None);
        assert_eq!(results.contents().count(), 4);
    }

    #[test]
    fn only_a_pass_is_found_and_the_last_result_is_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let mut results = Results::open(dir.path());
        let (mut one, parts) = entry("a", "1");
        let mut seq = 0;
        for (result, found) in [
            (TaskResult::Pass, true),
            (TaskResult::Skip, true),
            (TaskResult::Fail, false),
            (TaskResult::Pass, true),
            (TaskResult::Timeout, false),
            (TaskResult::Skip, false),
            (TaskResult::Pass, true),
            (TaskResult::Partial, false),
        ] {
            seq += 1;
            (one.result, one.seq) = (result, seq);
            results.add(&one, &parts).unwrap();
            results.write().unwrap();
            for results in [&results, &Results::open(dir.path())] {
                assert_eq!(results.find(&one.fingerprint).is_some(), found, "{result:?}");
                assert_eq!(results.last("a").map(|found| found.seq), Some(seq));
            }
        }
        let (mut other, parts) = entry("a", "2");
        other.why_not = Some("it wrote its own input".into());
        results.add(&other, &parts).unwrap();
        assert_eq!(results.find(&other.fingerprint), None);
    }

    #[test]
    fn any_damage_costs_what_follows_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = filled(dir.path());
        let path = dir.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        let second = record_at(&whole, HEADER.len()).unwrap().end;
        for at in 0..whole.len() {
            for cut in [false, true] {
                let mut bytes = whole.clone();
                if cut {
                    bytes.truncate(at);
                } else {
                    bytes[at] ^= 1 << (at % 8);
                }
                fs::write(&path, &bytes).unwrap();
                let mut results = Results::open(dir.path());
                assert_eq!(results.find(&a.fingerprint).is_some(), at >= second, "{at} {cut}");
                assert_eq!(results.find(&b.fingerprint), None, "{at} {cut}");
                let (c, parts) = entry("c", "3");
                results.add(&c, &parts).unwrap();
                results.write().unwrap();
                assert_eq!(Results::open(dir.path()).last("c"), Some(c), "{at} {cut}");
            }
        }
    }

    #[test]
    fn a_file_that_has_grown_too_much_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let mut results = Results::open(dir.path());
        for n in 0..=SMALL_RECORDS {
            let (one, parts) = entry("a", &n.to_string());
            results.add(&one, &parts).unwrap();
        }
        results.write().unwrap();
        let last = results.last("a");
        results.compact().unwrap();
        assert_eq!(results.records.len(), KEPT_PER_TASK);
        assert_eq!(Results::open(dir.path()).last("a"), last);
    }
}
