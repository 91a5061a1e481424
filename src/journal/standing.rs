//! Receipts of results that stand when a run begins: very many of them, nearly the same, so that they share records.
//!
//! ```text
//! "standing":{"common":{…},"receipts":[{"task_id":"a",…},{"task_id":"b",…}]}
//! ```
//! A receipt has the keys of `common`, over them its own, and the record's `seq` as its `journal_seq`; the keys of
//! `reused` are taken together in the same way. What an attempt leaves is in none of them, because none was made.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::reader::ReceiptPart;
use super::record::{digest, json, number, string};
use crate::protocol::Receipt;
use crate::protocol::receipt::{ReusedFrom, Score, TaskResult};
use crate::time::Stamp;

/// A record that has grown to this size gets no further receipt.
const BYTES_MAX: usize = 1 << 20;

/// As it is read: what state is made of, and where in the line the rest is.
#[derive(Debug)]
pub struct Standing<'a> {
    pub gist: ReceiptPart,
    pub common: Range<usize>,
    pub tasks: Vec<Stood<'a>>,
}

/// One task of them.
#[derive(Debug)]
pub struct Stood<'a> {
    pub task_id: Cow<'a, str>,
    pub receipt: Range<usize>,
}

/// What all share.
#[derive(Serialize)]
struct Common<'a> {
    run_id: &'a str,
    worker_id: &'a str,
    completed_at: Stamp,
    result: TaskResult,
    artifacts: [(); 0],
    score: &'a Option<Score>,
    attempt: u32,
    duration_ms: u64,
    reused: Option<CommonReused<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<String, Value>,
    fleet_version: &'a str,
}

#[derive(Serialize)]
struct CommonReused<'a> {
    run_id: &'a str,
    attempt: u32,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    remote: bool,
}

/// Appends the value of `standing` with as many of the receipts as fit, and at least one; says how many. They are of
/// one run, one moment and one result.
pub(super) fn write(out: &mut Vec<u8>, receipts: &[Receipt]) -> usize {
    let Some(first) = receipts.first() else { return 0 };
    let from = out.len();
    out.extend_from_slice(b"{\"common\":");
    json(out, &common(first));
    out.extend_from_slice(b",\"receipts\":[");
    let mut count = 0;
    for receipt in receipts {
        if count > 0 {
            if out.len() - from > BYTES_MAX {
                break;
            }
            out.push(b',');
        }
        own(out, receipt, first);
        count += 1;
    }
    out.extend_from_slice(b"]}");
    count
}

fn common(first: &Receipt) -> Common<'_> {
    Common {
        run_id: &first.run_id,
        worker_id: &first.worker_id,
        completed_at: first.completed_at,
        result: first.result,
        artifacts: [],
        score: &first.score,
        attempt: 0,
        duration_ms: 0,
        reused: first.reused.as_ref().map(|from| CommonReused {
            run_id: &from.run_id,
            attempt: from.attempt,
            remote: from.remote,
        }),
        labels: &first.labels,
        metadata: &first.metadata,
        fleet_version: &first.fleet_version,
    }
}

/// Appends what a receipt does not share with the first. Names every field, so that a new one has to find its place.
fn own(out: &mut Vec<u8>, receipt: &Receipt, first: &Receipt) {
    #[rustfmt::skip]
    let Receipt {
        task_id, artifacts, score, inputs_digest, fingerprint, reused, outputs, metadata,
        // What all share.
        run_id: _, worker_id, completed_at, result, labels: _, fleet_version: _, journal_seq: _,
        // What only an attempt has.
        failure_kind: _, attempt: _, started_at: _, duration_ms: _, exit_code: _, signal: _, cause: _, flaky: _,
        attempts: _, repeat: _, argv: _, argv_digest: _, host: _, image: _, trust: _, scorers: _, usage: _, log: _, leaked: _,
    } = receipt;
    let shared = (worker_id, completed_at, result, reused.is_some());
    debug_assert_eq!(shared, (&first.worker_id, &first.completed_at, &first.result, first.reused.is_some()));
    out.extend_from_slice(b"{\"task_id\":");
    string(out, task_id);
    if !artifacts.is_empty() {
        out.extend_from_slice(b",\"artifacts\":");
        json(out, artifacts);
    }
    if *score != first.score {
        out.extend_from_slice(b",\"score\":");
        json(out, score);
    }
    if let Some(inputs) = inputs_digest {
        out.extend_from_slice(b",\"inputs_digest\":");
        digest(out, inputs);
    }
    if let Some(fingerprint) = fingerprint {
        out.extend_from_slice(b",\"fingerprint\":");
        digest(out, fingerprint);
    }
    if let Some(from) = reused {
        own_reused(out, from, first.reused.as_ref());
    }
    if !outputs.is_empty() {
        out.extend_from_slice(b",\"outputs\":");
        json(out, outputs);
    }
    if *metadata != first.metadata {
        out.extend_from_slice(b",\"metadata\":");
        json(out, metadata);
    }
    out.push(b'}');
}

fn own_reused(out: &mut Vec<u8>, from: &ReusedFrom, first: Option<&ReusedFrom>) {
    let ReusedFrom { run_id, journal_seq, attempt, remote } = from;
    out.extend_from_slice(b",\"reused\":{\"journal_seq\":");
    number(out, *journal_seq);
    if first.is_none_or(|first| first.run_id != *run_id) {
        out.extend_from_slice(b",\"run_id\":");
        string(out, run_id);
    }
    if first.is_none_or(|first| first.attempt != *attempt) {
        out.extend_from_slice(b",\"attempt\":");
        number(out, u64::from(*attempt));
    }
    if first.is_none_or(|first| first.remote != *remote) {
        out.extend_from_slice(b",\"remote\":");
        json(out, remote);
    }
    out.push(b'}');
}

/// As it stands in a line, taken apart no further than it has to be.
#[derive(Deserialize)]
pub(super) struct Wire<'a> {
    #[serde(borrow)]
    common: &'a RawValue,
    #[serde(borrow)]
    receipts: Vec<&'a RawValue>,
}

impl<'a> Wire<'a> {
    /// `line` is the one it was read from.
    pub(super) fn standing(&self, line: &[u8]) -> serde_json::Result<Standing<'a>> {
        #[derive(Deserialize)]
        struct Only<'a> {
            #[serde(borrow)]
            task_id: Cow<'a, str>,
        }
        let place = |raw: &str| {
            let start = raw.as_ptr() as usize - line.as_ptr() as usize;
            start..start + raw.len()
        };
        let stood = |raw: &&'a RawValue| {
            let Only { task_id } = serde_json::from_str(raw.get())?;
            Ok(Stood { task_id, receipt: place(raw.get()) })
        };
        Ok(Standing {
            gist: serde_json::from_str(self.common.get())?,
            common: place(self.common.get()),
            tasks: self.receipts.iter().map(stood).collect::<serde_json::Result<_>>()?,
        })
    }
}

/// The whole receipt, of what it shares and its own; `seq` is that of the record.
pub(super) fn receipt(common: &Map<String, Value>, own: &[u8], seq: u64) -> serde_json::Result<Receipt> {
    let mut whole = common.clone();
    for (key, value) in serde_json::from_slice::<Map<String, Value>>(own)? {
        match (whole.get_mut(&key), value) {
            (Some(Value::Object(shared)), Value::Object(own)) if key == "reused" => shared.extend(own),
            (_, value) => drop(whole.insert(key, value)),
        }
    }
    whole.insert("journal_seq".to_owned(), seq.into());
    serde_json::from_value(Value::Object(whole))
}
