//! Reading a journal, each line verified against itself and the chain.
//! A torn end is cut and reported: bytes that are no record, with no record after them. A bad line with a good one
//! after it refuses the journal and names the offset, because nothing can be believed of what came between.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde::Deserialize;

use super::FILE;
use super::fold::StateName;
use super::record::{self, Chain, Link, VERSION};
use super::repair::Repaired;
use super::standing::{self, Standing};
use crate::protocol::receipt::AttemptRecord;
use crate::protocol::{FailureKind, Receipt, Run, RunStatus, TaskResult, WorkerEvent};
use crate::time::Stamp;

/// Longest line that is read; the first record of 200,000 tasks is about a fifth of it.
pub const LINE_BYTES_MAX: u64 = 512 << 20;

/// A line buffer that grew beyond this for the first record is given back after it.
const LINE_BYTES_KEPT: usize = 1 << 20;

/// Reads the records of one journal in order.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    line: Vec<u8>,
    chain: Chain,
    seq: u64,
    offset: u64,
    /// The line holds the beginning of one.
    partial: bool,
    cut: Option<Torn>,
}

/// The end that was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Where the last good line ends.
    pub offset: u64,
    pub bytes: u64,
}

/// Where the last good line ends, and what the next one follows from.
#[derive(Clone, Debug)]
pub struct End {
    pub(super) offset: u64,
    pub(super) seq: u64,
    pub(super) chain: Chain,
}

/// A verified line.
#[derive(Debug)]
pub struct Line<'a> {
    pub seq: u64,
    pub at: Stamp,
    /// Where it begins in the file.
    pub offset: u64,
    /// Without the newline.
    pub bytes: &'a [u8],
    pub body: Body<'a>,
}

/// What every reader of a line wants; the rest is parsed when asked for.
#[derive(Debug)]
pub enum Body<'a> {
    Run(Box<RunPart<'a>>),
    Event(EventPart<'a>, Option<ReceiptPart>),
    Standing(Standing<'a>),
    /// Records are gone, and `fleet journal repair` has put this in their place.
    Repaired(Repaired<'a>),
}

/// The parts of a run record that state is made of.
#[derive(Debug, Deserialize)]
pub struct RunPart<'a> {
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    pub status: RunStatus,
    #[serde(borrow, default)]
    pub task_specs: Vec<SpecPart<'a>>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    pub created_at: Stamp,
    #[serde(default)]
    pub completed_at: Option<Stamp>,
    #[serde(default)]
    pub exit_code: Option<u8>,
}

#[derive(Debug, Deserialize)]
pub struct SpecPart<'a> {
    #[serde(borrow)]
    pub id: Cow<'a, str>,
}

/// The parts of a worker event that state is made of.
#[derive(Debug, Deserialize)]
pub struct EventPart<'a> {
    #[serde(borrow)]
    pub worker_id: Cow<'a, str>,
    #[serde(borrow)]
    pub task_id: Cow<'a, str>,
    pub state: StateName,
    #[serde(default)]
    pub extra: ExtraPart,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct ExtraPart {
    #[serde(default)]
    pub attempt: u32,
    #[serde(default)]
    pub pid: Option<u32>,
    /// Of an attempt that another one follows.
    #[serde(default)]
    pub record: Option<Box<AttemptRecord>>,
    #[serde(default)]
    pub wait_ms: u64,
}

/// The parts of a receipt that state is made of.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct ReceiptPart {
    pub result: TaskResult,
    #[serde(default)]
    pub failure_kind: Option<FailureKind>,
    #[serde(default)]
    pub attempt: u32,
    #[serde(default)]
    pub started_at: Option<Stamp>,
    #[serde(default)]
    pub duration_ms: u64,
}

/// Why a journal is not believed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the journal cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("the journal is damaged at byte {offset}: {what}")]
    Damaged { offset: u64, what: String },
    #[error("the journal has format version {version}; this fleet reads version {VERSION}")]
    Version { version: u32 },
}

#[derive(Deserialize)]
struct Wire<'a> {
    v: u32,
    seq: u64,
    #[serde(borrow)]
    prev: Option<Cow<'a, str>>,
    at: Stamp,
    #[serde(borrow, default)]
    run: Option<Box<RunPart<'a>>>,
    #[serde(borrow, default)]
    event: Option<EventPart<'a>>,
    #[serde(default)]
    receipt: Option<ReceiptPart>,
    #[serde(borrow, default)]
    standing: Option<standing::Wire<'a>>,
    #[serde(borrow, default)]
    repaired: Option<Repaired<'a>>,
}

impl Reader<BufReader<File>> {
    /// Opens the journal of a run's folder. A run that is being written may be read.
    ///
    /// # Errors
    /// When there is none or it cannot be opened.
    pub fn open(run_dir: &Path) -> io::Result<Self> {
        Ok(Self::new(BufReader::with_capacity(128 << 10, File::open(run_dir.join(FILE))?)))
    }
}

impl<R: BufRead> Reader<R> {
    pub fn new(source: R) -> Self {
        Self { source, line: Vec::new(), chain: Chain::default(), seq: 0, offset: 0, partial: false, cut: None }
    }

    /// What was cut, once [`Self::next`] has returned `None`. Of a run that is being written, the end may be the
    /// beginning of a record that is on its way.
    #[must_use]
    pub fn torn(&self) -> Option<Torn> {
        self.cut.or(self.partial.then_some(Torn { offset: self.offset, bytes: self.line.len() as u64 }))
    }

    /// Where the records that were read end.
    #[must_use]
    pub fn end(&self) -> End {
        End { offset: self.cut.map_or(self.offset, |torn| torn.offset), seq: self.seq, chain: self.chain.clone() }
    }

    /// The next record; `None` at the end. May be called again after that: a run that is being written grows, and
    /// the beginning of a record is completed when its rest is there.
    ///
    /// # Errors
    /// See [`ReadError`].
    #[expect(clippy::should_implement_trait, reason = "the line borrows from the reader, which an iterator cannot say")]
    pub fn next(&mut self) -> Result<Option<Line<'_>>, ReadError> {
        if self.cut.is_some() || !self.fill()? {
            return Ok(None);
        }
        let (offset, bytes) = (self.offset, self.line.len() as u64);
        self.line.pop();
        let Some(digest) = record::checked(&self.line) else {
            return self.cut(offset, bytes).map(|()| None);
        };
        self.offset += bytes;
        let damaged = |what: String| ReadError::Damaged { offset, what };
        let wire: Wire<'_> = serde_json::from_slice(&self.line).map_err(|error| match version(&self.line) {
            Some(version) if version != VERSION => ReadError::Version { version },
            _ => damaged(format!("not a record: {error}")),
        })?;
        if wire.v != VERSION {
            return Err(ReadError::Version { version: wire.v });
        }
        if wire.seq != self.seq + 1 {
            return Err(damaged(format!("record {} follows record {}", wire.seq, self.seq)));
        }
        if !self.chain.fits(wire.prev.as_deref()) {
            return Err(damaged(format!("record {} does not follow from the one before it", wire.seq)));
        }
        self.seq += 1;
        self.chain.follow(digest);
        let body = match (wire.run, wire.event, wire.standing, wire.repaired) {
            (Some(run), None, None, None) => Body::Run(run),
            (None, Some(event), None, None) => Body::Event(event, wire.receipt),
            (None, None, Some(standing), None) => {
                let standing = standing.standing(&self.line);
                Body::Standing(standing.map_err(|error| damaged(format!("not results that stand: {error}")))?)
            }
            (None, None, None, Some(gap)) => {
                let behind = Link::parse(gap.prev).filter(|_| gap.last >= wire.seq);
                let behind = behind.ok_or_else(|| damaged("a repair that names no record to go on with".to_owned()))?;
                self.seq = gap.last;
                self.chain = Chain::after(Some(behind));
                Body::Repaired(gap)
            }
            _ => return Err(damaged("neither a run, an event, results that stand, nor a repair".to_owned())),
        };
        Ok(Some(Line { seq: wire.seq, at: wire.at, offset, bytes: &self.line, body }))
    }

    /// Reads a line, newline included; whether there was a whole one. What there was instead stays for the next time.
    fn fill(&mut self) -> Result<bool, ReadError> {
        if !self.partial {
            self.line.clear();
            if self.line.capacity() > LINE_BYTES_KEPT {
                self.line.shrink_to(LINE_BYTES_KEPT);
            }
        }
        let room = LINE_BYTES_MAX - self.line.len() as u64;
        (&mut self.source).take(room).read_until(b'\n', &mut self.line)?;
        let whole = self.line.ends_with(b"\n");
        if !whole && self.line.len() as u64 == LINE_BYTES_MAX {
            let what = format!("a line is longer than {LINE_BYTES_MAX} bytes");
            return Err(ReadError::Damaged { offset: self.offset, what });
        }
        self.partial = !whole && !self.line.is_empty();
        Ok(whole)
    }

    /// Decides what a bad line is: the torn end, or damage with good records after it. `bytes` is the line's length
    /// with its newline.
    fn cut(&mut self, offset: u64, mut bytes: u64) -> Result<(), ReadError> {
        while self.fill()? {
            bytes += self.line.len() as u64;
            self.line.pop();
            if record::checked(&self.line).is_some() {
                let what = "this line is not what was written, and records follow it".to_owned();
                return Err(ReadError::Damaged { offset, what });
            }
        }
        bytes += self.line.len() as u64;
        self.cut = Some(Torn { offset, bytes });
        Ok(())
    }
}

/// The version of a line that this version cannot read.
pub(super) fn version(line: &[u8]) -> Option<u32> {
    #[derive(Deserialize)]
    struct Only {
        v: u32,
    }
    serde_json::from_slice::<Only>(line).ok().map(|only| only.v)
}

impl Line<'_> {
    /// The whole receipt, where the record has one.
    ///
    /// # Errors
    /// When it is not a receipt.
    pub fn receipt(&self) -> serde_json::Result<Option<Receipt>> {
        receipt_of(self.bytes)
    }

    /// The whole worker event, where the record has one.
    ///
    /// # Errors
    /// When it is not a worker event.
    pub fn event(&self) -> serde_json::Result<Option<WorkerEvent<'static>>> {
        #[derive(Deserialize)]
        struct Only {
            #[serde(default)]
            event: Option<WorkerEvent<'static>>,
        }
        serde_json::from_slice::<Only>(self.bytes).map(|only| only.event)
    }

    /// The whole run, where the record has one.
    ///
    /// # Errors
    /// When it is not a run.
    pub fn run(&self) -> serde_json::Result<Option<Run>> {
        #[derive(Deserialize)]
        struct Only {
            #[serde(default)]
            run: Option<Run>,
        }
        serde_json::from_slice::<Only>(self.bytes).map(|only| only.run)
    }
}

pub(super) fn receipt_of(line: &[u8]) -> serde_json::Result<Option<Receipt>> {
    #[derive(Deserialize)]
    struct Only {
        #[serde(default)]
        receipt: Option<Receipt>,
    }
    serde_json::from_slice::<Only>(line).map(|only| only.receipt)
}
