//! Workers, and what a task asks of one.

use std::collections::BTreeMap;

use super::context::Context;
use super::error::SpecError;
use super::file::{List, Table, Text, TrustRaw, WorkerRaw, WorkerRequestRaw};
use super::map::Spot;
use super::vars::Scope;
use crate::id::{IdMap, WorkerId};
use crate::model::{Trust, Worker, WorkerRequest};

/// The declared workers, or one local worker with a slot for each core, and more when the caller or else the file's
/// `max_parallel` speaks of more at once.
pub(super) fn workers(
    cx: &Context<'_>,
    written: Vec<(Text, WorkerRaw)>,
    max_parallel: Option<u32>,
) -> IdMap<WorkerId, Worker> {
    let section = Spot::top("workers");
    let scope = cx.scope(None, &[]);
    let mut workers = IdMap::new();
    for (name, raw) in written {
        let spot = section.key(&name);
        let trust = raw.trust.map_or(Trust::Local, trust);
        if matches!(trust, Trust::Sandbox | Trust::RemoteVerified) {
            let at = cx.map.at(&spot.key("trust"));
            cx.report(SpecError::TrustNotYet { worker: name.to_string(), trust: trust.name(), at });
        }
        workers.push(Worker {
            labels: labels(cx, &scope, &spot.key("labels"), raw.labels.as_ref()),
            capabilities: words(cx, &scope, &spot.key("capabilities"), raw.capabilities.as_ref()),
            trust,
            metadata: raw.metadata.as_ref().map(|free| super::task::metadata(&free.0)).unwrap_or_default(),
            ..Worker::local(&name, raw.slots.map_or(cx.facts.cores, u32::from))
        });
    }
    if workers.is_empty() {
        let slots = cx.facts.jobs.or(max_parallel).unwrap_or(0).max(cx.facts.cores);
        workers.push(Worker::local("local", slots));
    }
    workers
}

/// What a task asks; whether a worker can give it is found when tasks are placed.
pub(super) fn request(
    cx: &Context<'_>,
    scope: &Scope<'_>,
    spot: &Spot<'_>,
    task: &str,
    known: &IdMap<WorkerId, Worker>,
    raw: &WorkerRequestRaw,
) -> WorkerRequest {
    let id = raw.id.as_ref().and_then(|id| {
        let at = spot.key("id");
        let id = cx.text(scope, &at, id)?;
        if known.values().any(|worker| worker.name == *id) {
            return Some(id);
        }
        let section = Spot::top("workers");
        let near = cx.near(&id, known.values().map(|worker| worker.name.as_str()), |near| {
            let (file, span) = cx.map.key(&section.key(near).path())?;
            Some(super::error::Place { file, span })
        });
        let (task, worker) = (task.to_owned(), id.to_string());
        cx.report(SpecError::UnknownWorker { task, worker, at: cx.map.at(&at), near });
        None
    });
    WorkerRequest {
        id,
        labels: labels(cx, scope, &spot.key("labels"), raw.labels.as_ref()),
        capabilities: words(cx, scope, &spot.key("capabilities"), raw.capabilities.as_ref()),
        trust: raw.trust.map(trust),
        role: None,
        tools: Vec::new(),
    }
}

pub(super) fn labels(
    cx: &Context<'_>,
    scope: &Scope<'_>,
    spot: &Spot<'_>,
    table: Option<&Table<Text>>,
) -> BTreeMap<String, String> {
    let entries = table.map_or(&[][..], |table| &table.0);
    let text = |(name, value): &(Text, Text)| Some((name.to_string(), cx.text(scope, &spot.key(name), value)?.into()));
    entries.iter().filter_map(text).collect()
}

fn words(cx: &Context<'_>, scope: &Scope<'_>, spot: &Spot<'_>, list: Option<&List<Text>>) -> Vec<String> {
    list.map_or_else(Vec::new, |list| {
        cx.texts(scope, spot, "capabilities", list).into_iter().map(String::from).collect()
    })
}

fn trust(raw: TrustRaw) -> Trust {
    match raw {
        TrustRaw::Sandbox => Trust::Sandbox,
        TrustRaw::Local => Trust::Local,
        TrustRaw::RemoteVerified => Trust::RemoteVerified,
        TrustRaw::Operator => Trust::Operator,
    }
}
