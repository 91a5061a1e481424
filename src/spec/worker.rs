//! Workers, and what a task asks of one.

use std::collections::BTreeMap;
use std::time::Duration;

use super::context::Context;
use super::error::{Place, SpecError};
use super::file::{
    DurationText, HostRaw, HostTable, LimitsRaw, List, SizeText, Table, Text, TrustRaw, WorkerRaw, WorkerRequestRaw,
};
use super::host;
use super::map::Spot;
use super::vars::Scope;
use crate::id::{IdMap, WorkerId};
use crate::model::{Host, Limits, PIDS_MAX, Policies, Security, Trust, Worker, WorkerRequest};
use crate::time::written;

/// A beat each second, and one that is late is not yet a loss.
const LEASE_MIN: Duration = Duration::from_secs(3);
/// Below this, what starts the program is killed.
const MEMORY_MIN: u64 = 1 << 20;
/// Below this, a few small files are too much.
const ATTEMPT_BYTES_MIN: u64 = 1 << 20;
/// Nobody waits longer to hear that a machine is gone.
const LEASE_MAX: Duration = Duration::from_hours(1);

/// The declared workers, or one local worker with a slot for each core, and more when the caller or else the file's
/// `max_parallel` speaks of more at once.
pub(super) fn workers(
    cx: &Context<'_>,
    written: Vec<(Text, WorkerRaw)>,
    policies: &Policies,
) -> IdMap<WorkerId, Worker> {
    let section = Spot::top("workers");
    let mut workers = IdMap::new();
    for (name, raw) in written {
        workers.push(worker(cx, &section.key(&name), &name, &raw, policies.security.as_deref()));
    }
    if workers.is_empty() {
        let slots = cx.facts.jobs.or(policies.max_parallel).unwrap_or(0).max(cx.facts.cores);
        let trust = trusts(cx, None, Some(&Host::Local), "local", policies.security.as_deref());
        workers.push(Worker { trust: trust.given, own_trust: trust.own, ..Worker::local("local", slots) });
    }
    workers
}

fn worker(cx: &Context<'_>, spot: &Spot<'_>, name: &str, raw: &WorkerRaw, security: Option<&Security>) -> Worker {
    let scope = cx.scope(None, &[]);
    let host = host::host(cx, &spot.key("host"), &raw.host);
    let is_local = matches!(&raw.host, HostRaw::Word(_))
        || matches!(&raw.host, HostRaw::Table(table) if matches!(**table, HostTable::Local(_)));
    let said = raw.trust.map(|said| (trust(said), spot.key("trust")));
    let trusts = trusts(cx, said.as_ref(), host.as_ref(), name, security);
    if let Some(Host::Container(container)) = &host {
        let trust_at = trusts.at.clone();
        host::hold(cx, &spot.key("host"), name, container, trusts.given, trust_at.as_ref());
    }
    let words = |field| {
        let list = match field {
            "capabilities" => raw.capabilities.as_ref(),
            "roles" => raw.roles.as_ref(),
            _ => raw.tools.as_ref(),
        };
        words(cx, &scope, &spot.key(field), field, list)
    };
    if is_local {
        // A sandbox on this machine works on a copy as any other host does.
        let stages = trusts.given == Trust::Sandbox;
        let sizes = [("cache_size", raw.cache_size.is_some()), ("attempt_size", raw.attempt_size.is_some())];
        let fields = [("lease", raw.lease.is_some()), ("reconnect", raw.reconnect.is_some())]
            .into_iter()
            .chain(sizes.into_iter().filter(|_| !stages));
        for (field, _) in fields.filter(|(_, said)| *said) {
            let (at, host_at) = (cx.map.key_at(&spot.key(field)), cx.map.at(&spot.key("host")));
            cx.report(SpecError::FieldOfRemote { field, at, host_at });
        }
    }
    let plain = Worker::local(name, if is_local { cx.facts.cores } else { 1 });
    Worker {
        slots: slots(cx, spot, raw).unwrap_or(plain.slots),
        labels: labels(cx, &scope, &spot.key("labels"), raw.labels.as_ref()),
        capabilities: words("capabilities"),
        roles: words("roles"),
        tools: words("tools"),
        trust: trusts.given,
        own_trust: trusts.own,
        lease: raw.lease.as_ref().and_then(|text| lease(cx, &spot.key("lease"), text)).unwrap_or(plain.lease),
        reconnect: raw
            .reconnect
            .as_ref()
            .and_then(|text| cx.wait(&scope, &spot.key("reconnect"), text))
            .unwrap_or(plain.reconnect),
        cache_bytes: raw
            .cache_size
            .as_ref()
            .and_then(|text| cx.size(&scope, &spot.key("cache_size"), text))
            .unwrap_or(plain.cache_bytes),
        attempt_bytes: raw
            .attempt_size
            .as_ref()
            .and_then(|text| attempt_bytes(cx, &scope, &spot.key("attempt_size"), text))
            .unwrap_or(plain.attempt_bytes),
        metadata: raw.metadata.as_ref().map(|free| super::task::metadata(&free.0)).unwrap_or_default(),
        host: host.unwrap_or(Host::Local),
        ..plain
    }
}

fn slots(cx: &Context<'_>, spot: &Spot<'_>, raw: &WorkerRaw) -> Option<u32> {
    if raw.slots.is_some() && raw.max_concurrent_tasks.is_some() {
        let (at, other) = (cx.map.key_at(&spot.key("max_concurrent_tasks")), cx.map.key_at(&spot.key("slots")));
        cx.report(SpecError::TwoSlots { at, other });
    }
    raw.slots.or(raw.max_concurrent_tasks).map(u32::from)
}

fn lease(cx: &Context<'_>, spot: &Spot<'_>, text: &DurationText) -> Option<Duration> {
    let lease = cx.duration(&cx.scope(None, &[]), spot, text)?;
    if !(LEASE_MIN..=LEASE_MAX).contains(&lease) {
        cx.report(SpecError::Lease { at: cx.map.at(spot), least: written(LEASE_MIN), most: written(LEASE_MAX) });
    }
    Some(lease)
}

fn attempt_bytes(cx: &Context<'_>, scope: &Scope<'_>, spot: &Spot<'_>, text: &SizeText) -> Option<u64> {
    let bytes = cx.size(scope, spot, text)?;
    if bytes < ATTEMPT_BYTES_MIN {
        cx.report(SpecError::AttemptSize { at: cx.map.at(spot) });
    }
    Some(bytes)
}

/// The trust a worker has by itself, what is left of it, and where that is written.
struct Trusts {
    own: Trust,
    given: Trust,
    at: Option<Place>,
}

/// Its own word, else the policy's, else that of its host; and no more than the policy gives to anyone. Without a host
/// there was a mistake in it.
fn trusts(
    cx: &Context<'_>,
    said: Option<&(Trust, Spot<'_>)>,
    host: Option<&Host>,
    worker: &str,
    security: Option<&Security>,
) -> Trusts {
    let (policies, default) = (Spot::top("policies"), security.and_then(|security| security.default_trust));
    let table = policies.key("security");
    let common = default.map(|default| (default, table.key("default_trust")));
    let said = said.or(common.as_ref());
    let own = said.map(|(trust, _)| *trust).or(host.map(Host::default_trust)).unwrap_or(Trust::Local);
    if let (Trust::RemoteVerified, Some((_, spot)), Some(host @ (Host::Local | Host::Container(_)))) = (own, said, host)
    {
        let worker = worker.to_owned();
        cx.report(SpecError::TrustOfHost { worker, host: host.name(), at: cx.map.at(spot) });
    }
    let given = security.map_or(own, |security| own.min(security.max_trust));
    let most = table.key("max_trust");
    let decides = if given < own { Some(&most) } else { said.map(|(_, spot)| spot) };
    Trusts { own, given, at: decides.map(|spot| cx.map.at(spot)) }
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
        capabilities: words(cx, scope, &spot.key("capabilities"), "capabilities", raw.capabilities.as_ref()),
        trust: raw.trust.map(trust),
        role: raw.role.as_ref().and_then(|role| cx.word(scope, &spot.key("role"), "role", role)),
        tools: words(cx, scope, &spot.key("tools"), "tools", raw.tools.as_ref()),
    }
}

/// What an attempt may take of the machine.
pub(super) fn limits(cx: &Context<'_>, scope: &Scope<'_>, spot: &Spot<'_>, raw: &LimitsRaw) -> Limits {
    let memory_at = spot.key("memory");
    let memory_bytes = raw.memory.as_ref().and_then(|text| cx.size(scope, &memory_at, text));
    if memory_bytes.is_some_and(|bytes| bytes < MEMORY_MIN) {
        cx.report(SpecError::MemoryLimit { at: cx.map.at(&memory_at) });
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the file has 0.01 to 1024 cores")]
    let cpu_milli = raw.cpu.as_ref().map(|cores| (cores.0 * 1000.0).round() as u32);
    let pids = raw.pids.map(u32::from);
    if pids.is_some_and(|pids| pids > PIDS_MAX) {
        cx.report(SpecError::PidsLimit { max: PIDS_MAX, at: cx.map.at(&spot.key("pids")) });
    }
    Limits { cpu_milli, memory_bytes, pids }
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

fn words(
    cx: &Context<'_>,
    scope: &Scope<'_>,
    spot: &Spot<'_>,
    field: &'static str,
    list: Option<&List<Text>>,
) -> Vec<String> {
    list.map_or_else(Vec::new, |list| cx.texts(scope, spot, field, list).into_iter().map(String::from).collect())
}

pub(super) fn trust(raw: TrustRaw) -> Trust {
    match raw {
        TrustRaw::Sandbox => Trust::Sandbox,
        TrustRaw::Local => Trust::Local,
        TrustRaw::RemoteVerified => Trust::RemoteVerified,
        TrustRaw::Operator => Trust::Operator,
    }
}
