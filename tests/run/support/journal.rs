//! A journal as a stranger reads it: JSON lines, a chain of digests, a sum for each line. Uses nothing of fleet's.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The protocol's event as a reader that has never heard of us would declare it.
#[derive(Debug, Deserialize)]
pub(crate) struct WorkerEvent {
    pub(crate) seq: u64,
    pub(crate) run_id: String,
    pub(crate) worker_id: String,
    pub(crate) task_id: String,
    pub(crate) timestamp: String,
    #[serde(flatten)]
    pub(crate) state: State,
}

/// The closed set of states; one that is not here is refused.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum State {
    Queued,
    Leased { lease_expires_at: Option<String> },
    Starting,
    Running,
    ModelWait { model: Option<String> },
    RunningTool { tool: String, call_id: Option<String> },
    Heartbeat { cpu_percent: Option<f32>, memory_mb: Option<u64> },
    Artifact { kind: String, path: String },
    Completed { exit_code: Option<i32>, summary: Option<String> },
    Failed { reason: String, recoverable: bool },
    Cancelled { cancelled_by: Option<String> },
    Interrupted { signal: Option<String> },
    Stale { last_heartbeat_at: Option<String> },
    Restarted { restart_count: u32 },
    Escalated { channel: String, alert_id: Option<String> },
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|n| char::from_digit(n.into(), 16))
        .collect()
}

/// The records of a run, after its chain was checked. A last line without an end, as a kill leaves it, is left out.
pub(crate) fn read(run_dir: &Path) -> Vec<Value> {
    let bytes = fs::read(run_dir.join("journal.jsonl")).expect("a run has a journal");
    let mut prev = Value::Null;
    let mut records = Vec::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some(line) = line.strip_suffix(b"\n") else { break };
        let record: Value = serde_json::from_slice(line).expect("a record is JSON");
        let text = std::str::from_utf8(line).expect("JSON is text");
        let (said, _) = text.rsplit_once(",\"sum\"").expect("a record has its sum");
        assert_eq!(record["v"], 1);
        assert_eq!(record["seq"], records.len() as u64 + 1, "no gaps");
        assert_eq!(record["prev"], prev, "the chain holds at {text}");
        assert_eq!(record["sum"], hex(said.as_bytes())[..8], "the sum holds at {text}");
        prev = format!("sha256:{}", hex(line)).into();
        records.push(record);
    }
    records
}

/// Every receipt in records, those that share one put together again.
pub(crate) fn receipts(records: &[Value]) -> Vec<Value> {
    let mut receipts = Vec::new();
    for record in records {
        receipts.extend(record.get("receipt").cloned());
        let Some(standing) = record.get("standing") else { continue };
        for own in standing["receipts"].as_array().expect("a list") {
            let mut receipt = standing["common"].clone();
            for (key, value) in own.as_object().expect("a receipt") {
                match value.as_object().filter(|_| key == "reused") {
                    Some(keys) => keys.iter().for_each(|(key, value)| receipt["reused"][key] = value.clone()),
                    None => receipt[key] = value.clone(),
                }
            }
            receipt["journal_seq"] = record["seq"].clone();
            receipts.push(receipt);
        }
    }
    receipts
}
