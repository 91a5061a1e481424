//! How a record is written: one line of JSON, its keys in this order.
//!
//! ```text
//! {"v":1,"seq":2,"prev":"sha256:…","at":"…","event":{…},"receipt":{…},"sum":"1f9c03ab"}
//! ```
//! `prev` is the digest of the previous line's bytes without its newline (null in the first line). `sum` is the first
//! 32 bits of the SHA-256 of the line's bytes before `,"sum"`: the chain cannot vouch for the last line, and that is
//! the one a crash damages. `run` stands in place of `event` in the first record and the last, `standing` where many
//! tasks have their result before anything has run, and `repaired` where records are gone.
//! Formatting goes straight into a byte buffer: a run writes several records a task, and this is its hot path.

use std::fmt;
use std::io::Write;

use sha2::{Digest as _, Sha256};

use super::event::Event;
use crate::digest::Digest;
use crate::id::{Attempt, Id, RunId, TaskId, WorkerId};
use crate::model::Fleet;
use crate::place::{Decision, Placement};
use crate::protocol::{Receipt, TaskResult};
use crate::time::{Stamp, millis};

/// The version of the line format.
pub const VERSION: u32 = 1;

/// What stands before the checksum at the end of a line.
pub(super) const SUM_KEY: &[u8] = b",\"sum\":\"";
/// `,"sum":"` + 8 hex digits + `"}`.
pub(super) const SUM_BYTES: usize = SUM_KEY.len() + 10;

const JOURNAL_SEQ_KEY: &[u8] = b"\"journal_seq\":";

/// Where the receipt of a settled task goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiptAt {
    /// Nowhere in the event: the caller writes it beside.
    Beside,
    /// In `extra.receipt`, so that the event alone tells all (`fleet run --json`).
    Extra,
}

/// Writes events as the protocol's worker events. Remembers which worker holds a task, because later events of the
/// attempt do not repeat it.
#[derive(Debug)]
pub struct Encoder {
    /// The run's id as a JSON string.
    run: Vec<u8>,
    /// By task; `u32::MAX` is none. Grows to the highest task seen.
    workers: Vec<u32>,
    stamp: (Stamp, [u8; 24]),
}

const NO_WORKER: u32 = u32::MAX;

impl Encoder {
    #[must_use]
    pub fn new(run: &RunId) -> Self {
        let mut quoted = Vec::new();
        string(&mut quoted, run.as_str());
        Self { run: quoted, workers: Vec::new(), stamp: (Stamp(0), stamp_bytes(Stamp(0))) }
    }

    /// Appends the worker event, without a newline. Appends nothing for what is not journaled.
    pub fn event(
        &mut self,
        out: &mut Vec<u8>,
        seq: u64,
        stamp: Stamp,
        event: &Event<'_>,
        fleet: &Fleet,
        place: ReceiptAt,
    ) {
        let Some(task) = event.task().filter(|_| event.is_journaled()) else { return };
        if let Event::Starting { worker, .. } = *event {
            self.hold(task, worker);
        }
        out.extend_from_slice(b"{\"seq\":");
        number(out, seq);
        out.extend_from_slice(b",\"run_id\":");
        out.extend_from_slice(&self.run);
        out.extend_from_slice(b",\"worker_id\":");
        match event {
            Event::Settled { receipt, .. } => string(out, &receipt.worker_id),
            Event::Interrupted { record, .. } => string(out, &record.worker_id),
            // Whatever held it before, nothing does now.
            Event::Queued { .. } => string(out, ""),
            _ => string(out, self.worker(task, fleet)),
        }
        out.extend_from_slice(b",\"task_id\":");
        string(out, &fleet.tasks[task].name);
        out.extend_from_slice(b",\"timestamp\":");
        self.stamp(out, stamp);
        out.extend_from_slice(b",\"state\":");
        state(out, (seq, fleet), event, place);
        out.push(b'}');
    }

    /// Appends the stamp as a JSON string; the same millisecond is formatted once.
    pub(super) fn stamp(&mut self, out: &mut Vec<u8>, stamp: Stamp) {
        if self.stamp.0 != stamp {
            self.stamp = (stamp, stamp_bytes(stamp));
        }
        out.push(b'"');
        out.extend_from_slice(&self.stamp.1);
        out.push(b'"');
    }

    fn hold(&mut self, task: TaskId, worker: WorkerId) {
        if self.workers.len() <= task.index() {
            self.workers.resize(task.index() + 1, NO_WORKER);
        }
        self.workers[task.index()] = u32::try_from(worker.index()).unwrap_or(NO_WORKER);
    }

    fn worker<'f>(&self, task: TaskId, fleet: &'f Fleet) -> &'f str {
        let index = self.workers.get(task.index()).copied().unwrap_or(NO_WORKER);
        fleet.workers.id_at(index as usize).map_or("", |id| &*fleet.workers[id].name)
    }
}

/// The state and what follows it in an event: from the value of `state` to the end of `extra`.
fn state(out: &mut Vec<u8>, (seq, fleet): (u64, &Fleet), event: &Event<'_>, place: ReceiptAt) {
    match *event {
        Event::Queued { .. } => out.extend_from_slice(b"\"queued\""),
        Event::Starting { attempt, placement, .. } => {
            out.extend_from_slice(b"\"starting\"");
            extra_attempt(out, attempt);
            if let Some(placement) = placement {
                extra_placement(out, placement, fleet);
            }
            out.push(b'}');
        }
        Event::Running { attempt, pid, .. } => {
            out.extend_from_slice(b"\"running\"");
            extra_attempt(out, attempt);
            out.extend_from_slice(b",\"pid\":");
            number(out, pid.into());
            out.push(b'}');
        }
        Event::Interrupted { record, .. } => {
            out.extend_from_slice(b"\"interrupted\"");
            extra_attempt(out, Attempt(record.attempt));
            out.extend_from_slice(b",\"record\":");
            json(out, record);
            out.push(b'}');
        }
        Event::Late { attempt, code, signal, .. } => {
            out.extend_from_slice(b"\"stale\"");
            extra_attempt(out, attempt);
            out.extend_from_slice(b",\"late\":true,\"exit_code\":");
            json(out, &code);
            out.extend_from_slice(b",\"signal\":");
            json(out, &signal);
            out.push(b'}');
        }
        Event::Restarted { record, next, .. } => {
            // Every attempt but the last is followed by a restart, so its number is also their count.
            out.extend_from_slice(b"\"restarted\",\"restart_count\":");
            number(out, record.attempt.into());
            extra_attempt(out, Attempt(record.attempt));
            out.extend_from_slice(b",\"record\":");
            json(out, record);
            out.extend_from_slice(b",\"wait_ms\":");
            number(out, millis(next.wait()));
            out.push(b'}');
        }
        Event::Settled { receipt, .. } => {
            outcome(out, receipt);
            extra_attempt(out, Attempt(receipt.attempt));
            if place == ReceiptAt::Extra {
                out.extend_from_slice(b",\"receipt\":");
                self::receipt(out, receipt, seq);
            }
            out.extend_from_slice(b",\"result\":\"");
            out.extend_from_slice(receipt.result.name().as_bytes());
            out.extend_from_slice(b"\"}");
        }
        Event::Output { .. } | Event::Explained { .. } | Event::Warning { .. } => {}
    }
}

/// The terminal state of a result. A skip is `cancelled` whatever its cause, because the protocol has no other state
/// for work that was not done; `extra.result` always has the result itself.
fn outcome(out: &mut Vec<u8>, receipt: &Receipt) {
    match receipt.result {
        TaskResult::Pass | TaskResult::Partial => {
            out.extend_from_slice(b"\"completed\"");
            if let Some(code) = receipt.exit_code {
                // Formatting into a Vec cannot fail.
                let _ = write!(out, ",\"exit_code\":{code}");
            }
            if let (TaskResult::Partial, Some(cause)) = (receipt.result, &receipt.cause) {
                out.extend_from_slice(b",\"summary\":");
                string(out, cause);
            }
        }
        TaskResult::Fail | TaskResult::Timeout => {
            out.extend_from_slice(b"\"failed\",\"reason\":");
            string(out, receipt.cause.as_deref().unwrap_or(receipt.result.name()));
            out.extend_from_slice(b",\"recoverable\":false");
        }
        TaskResult::Skip => {
            out.extend_from_slice(b"\"cancelled\"");
            if let Some(cause) = &receipt.cause {
                out.extend_from_slice(b",\"cancelled_by\":");
                string(out, cause);
            }
        }
    }
}

fn extra_attempt(out: &mut Vec<u8>, attempt: Attempt) {
    out.extend_from_slice(b",\"extra\":{\"attempt\":");
    number(out, attempt.0.into());
}

/// Why a task is where it is, and why it is on none of the others.
fn extra_placement(out: &mut Vec<u8>, placement: &Placement, fleet: &Fleet) {
    out.extend_from_slice(b",\"placement\":{\"why\":");
    let why = match placement.decision {
        Decision::Place(_, because) => because.to_string(),
        Decision::Wait | Decision::Gone | Decision::Impossible => String::new(),
    };
    string(out, &why);
    out.extend_from_slice(b",\"others\":{");
    for ((worker, standing), n) in placement.others().zip(0..) {
        if n > 0 {
            out.push(b',');
        }
        string(out, &fleet.workers[worker].name);
        out.push(b':');
        string(out, &standing.to_string());
    }
    out.extend_from_slice(b"}}");
}

/// Appends the receipt with `journal_seq` set to `seq`, whatever it held.
pub(super) fn receipt(out: &mut Vec<u8>, receipt: &Receipt, seq: u64) {
    if receipt.journal_seq == seq {
        json(out, receipt);
        return;
    }
    json(out, receipt);
    // `journal_seq` is the last key on the wire, so it can be rewritten in place instead of cloning the receipt.
    let mut digits = 0;
    let mut n = receipt.journal_seq;
    while n > 0 || digits == 0 {
        n /= 10;
        digits += 1;
    }
    let end = out.len() - 1 - digits;
    debug_assert!(out[..end].ends_with(JOURNAL_SEQ_KEY), "`journal_seq` is the last key of a receipt");
    out.truncate(end);
    number(out, seq);
    out.push(b'}');
}

/// Appends a value of ours as JSON.
pub(super) fn json(out: &mut Vec<u8>, value: &impl serde::Serialize) {
    serde_json::to_writer(&mut *out, value).expect("our wire types have text keys, and a Vec takes every byte");
}

pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    json(out, &text);
}

/// Appends a digest as a JSON string.
pub(super) fn digest(out: &mut Vec<u8>, digest: &Digest) {
    out.push(b'"');
    out.extend_from_slice(&digest.text());
    out.push(b'"');
}

pub(super) fn number(out: &mut Vec<u8>, mut n: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(n % 10).expect("a digit is under ten");
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn stamp_bytes(stamp: Stamp) -> [u8; 24] {
    let mut bytes = *b"9999-12-31T23:59:59.999Z";
    // A year past 9999 does not fit the format; such a clock is wrong anyway and stays at the last moment.
    let text = stamp.to_string();
    if text.len() == bytes.len() {
        bytes.copy_from_slice(text.as_bytes());
    }
    bytes
}

/// The digest of a line, by which the next one holds on to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Link(pub(super) [u8; 32]);

impl Link {
    /// Reads `sha256:` and 64 lower-case hex digits.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("sha256:")?.as_bytes();
        let mut bytes = [0; 32];
        if digits.len() != 64 {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |d: u8| match d {
                b'0'..=b'9' => Some(d - b'0'),
                b'a'..=b'f' => Some(d - b'a' + 10),
                _ => None,
            };
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The chain from line to line: knows the digest of the last line, and closes the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Chain {
    prev: Option<[u8; 32]>,
}

impl Chain {
    /// The chain behind a line.
    pub(super) fn after(last: Option<Link>) -> Self {
        Self { prev: last.map(|last| last.0) }
    }

    /// Appends `{"v":1,"seq":…,"prev":…,"at":`.
    pub(super) fn open(&self, out: &mut Vec<u8>, seq: u64) {
        out.extend_from_slice(b"{\"v\":1,\"seq\":");
        number(out, seq);
        out.extend_from_slice(b",\"prev\":");
        match &self.prev {
            None => out.extend_from_slice(b"null"),
            Some(digest) => {
                out.extend_from_slice(b"\"sha256:");
                hex(out, digest);
                out.push(b'"');
            }
        }
        out.extend_from_slice(b",\"at\":");
    }

    /// Appends the checksum, the closing brace and the newline. `hasher` has seen the line up to `from`.
    pub(super) fn close(&mut self, out: &mut Vec<u8>, from: usize, mut hasher: Sha256) {
        hasher.update(&out[from..]);
        let sum: [u8; 32] = hasher.clone().finalize().into();
        let from = out.len();
        out.extend_from_slice(SUM_KEY);
        hex(out, &sum[..4]);
        out.extend_from_slice(b"\"}");
        hasher.update(&out[from..]);
        self.prev = Some(hasher.finalize().into());
        out.push(b'\n');
    }

    /// Moves on to the line after the one with this digest.
    pub(super) fn follow(&mut self, digest: [u8; 32]) {
        self.prev = Some(digest);
    }

    /// Whether `prev` of a line is the digest of the line before it.
    pub(super) fn fits(&self, prev: Option<&str>) -> bool {
        match (&self.prev, prev) {
            (None, None) => true,
            (Some(digest), Some(text)) => {
                let mut hexed = Vec::with_capacity(64);
                hex(&mut hexed, digest);
                text.strip_prefix("sha256:").is_some_and(|text| text.as_bytes() == hexed)
            }
            _ => false,
        }
    }
}

/// The digest of a line whose checksum holds.
pub(super) fn checked(line: &[u8]) -> Option<[u8; 32]> {
    let at = line.len().checked_sub(SUM_BYTES)?;
    let (body, sum) = line.split_at(at);
    let mut hasher = Sha256::new();
    hasher.update(body);
    let digest: [u8; 32] = hasher.clone().finalize().into();
    let mut expected = SUM_KEY.to_vec();
    hex(&mut expected, &digest[..4]);
    expected.extend_from_slice(b"\"}");
    if sum != expected {
        return None;
    }
    hasher.update(sum);
    Some(hasher.finalize().into())
}

fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(HEX[usize::from(byte >> 4)]);
        out.push(HEX[usize::from(byte & 15)]);
    }
}
