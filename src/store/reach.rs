//! What records cite of the store: the artifacts and outputs in the receipts of a run.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;

use serde::Deserialize;

use super::StateDir;
use super::results::Results;
use crate::digest::Digest;
use crate::id::RunId;
use crate::journal::{ReadError, Reader};
use crate::protocol::receipt::{ArtifactRef, EntryKind, OutputRef};
use crate::time::Stamp;

/// What a journal line says of the store.
#[derive(Deserialize)]
struct Cites {
    #[serde(default)]
    receipt: Option<Cited>,
    #[serde(default)]
    standing: Standing,
}

#[derive(Default, Deserialize)]
struct Standing {
    receipts: Vec<Cited>,
}

#[derive(Deserialize)]
struct Cited {
    task_id: Box<str>,
    #[serde(default)]
    artifacts: Vec<ArtifactRef>,
    #[serde(default)]
    outputs: Vec<OutputRef>,
}

/// Tells `cite` of each digest that the receipts of a run cite, with the task. A run without a journal cites nothing.
///
/// # Errors
/// See [`ReadError`].
pub fn each_cited(state: &StateDir, run: &RunId, mut cite: impl FnMut(&str, Digest)) -> Result<(), ReadError> {
    let mut reader = match Reader::open(&state.run_dir(run)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => result?,
    };
    while let Some(line) = reader.next()? {
        let offset = line.offset;
        let cites: Cites = serde_json::from_slice(line.bytes)
            .map_err(|error| ReadError::Damaged { offset, what: format!("not a receipt: {error}") })?;
        for receipt in cites.receipt.into_iter().chain(cites.standing.receipts) {
            for digest in cited(&receipt.outputs, &receipt.artifacts) {
                cite(&receipt.task_id, digest);
            }
        }
    }
    Ok(())
}

/// What the results cite that a run may reuse, those of `since` and later.
#[must_use]
pub fn reachable_from_results(state: &StateDir, since: Option<Stamp>) -> HashSet<Digest> {
    let results = Results::open(&state.cache_dir());
    let wanted = results.all().filter(|entry| entry.is_reusable() && since.is_none_or(|since| entry.at >= since));
    wanted.flat_map(|entry| cited(&entry.outputs, &entry.artifacts).collect::<Vec<_>>()).collect()
}

/// An empty folder has no bytes.
fn cited<'a>(outputs: &'a [OutputRef], artifacts: &'a [ArtifactRef]) -> impl Iterator<Item = Digest> + 'a {
    let outputs = outputs.iter().filter(|output| output.kind != EntryKind::Directory);
    outputs.map(|output| output.digest).chain(artifacts.iter().filter_map(|artifact| artifact.checksum))
}

/// The tasks that made some digests, each with the latest run whose receipt cites it. Runs that cannot be read are passed
/// over.
///
/// # Errors
/// When the runs cannot be listed.
pub fn makers(state: &StateDir, of: &BTreeSet<Digest>) -> io::Result<HashMap<Digest, BTreeMap<String, RunId>>> {
    let mut makers: HashMap<Digest, BTreeMap<String, RunId>> = HashMap::new();
    if of.is_empty() {
        return Ok(makers);
    }
    for run in state.runs()? {
        let note = |task: &str, digest| {
            if of.contains(&digest) {
                makers.entry(digest).or_default().entry(task.to_owned()).or_insert_with(|| run.clone());
            }
        };
        let _ = each_cited(state, &run, note);
    }
    Ok(makers)
}
