//! A fleet and its edges as bytes. Every field and every variant of the model is here, and one that is added there does
//! not compile until it is.

use super::code::{Code, Reader, choice, put_bytes, put_items, record};
use crate::digest::Digest;
use crate::graph::{Edge, EdgeKind, Graph};
use crate::id::{Id, IdMap, PoolId, TaskId};
use crate::model::scorer::{JsonTest, QuorumWord, Source};
use crate::model::{
    Action, Artifact, CacheMode, CachePolicy, CacheRemote, Capability, Container, ContainerEngine, Delivery, Fleet,
    Grant, Host, Limits, Need, OnUnknown, Policies, Pool, Repeat, Retry, RetryOn, SandboxLayer, Scorer, ScorerRule,
    SecretSource, SecretUse, Security, Shell, Ssh, Task, Trust, Worker, WorkerRequest,
};
use crate::spec::looks::{FileLook, FolderLook, GlobLook, Looks, Stamp};

/// A fleet that was read and found right, with its graph.
pub(super) fn put(fleet: &Fleet, graph: &Graph, to: &mut Vec<u8>) {
    (fleet.tasks.len() as u64).put(to);
    (fleet.pools.len() as u64).put(to);
    fleet.put(to);
    put_items(graph.edges(), to);
}

/// `None` where the bytes are not what [`put`] writes.
pub(super) fn take(bytes: &[u8]) -> Option<(Fleet, Graph)> {
    let mut from = Reader::new(bytes);
    from.tasks = usize::try_from(u64::take(&mut from)?).ok()?;
    from.pools = usize::try_from(u64::take(&mut from)?).ok()?;
    let fleet = Fleet::take(&mut from)?;
    let edges = Vec::take(&mut from)?;
    if fleet.tasks.len() != from.tasks || fleet.pools.len() != from.pools || !from.rest.is_empty() {
        return None;
    }
    let graph = Graph::again(&fleet, edges)?;
    Some((fleet, graph))
}

record!(Fleet { file, workspace, name, description, seed, labels, metadata, tasks, workers, pools, policies, cache });
record!(Task {
    name,
    base,
    description,
    action,
    needs,
    inputs,
    cache,
    outputs,
    artifacts,
    env,
    pass_env,
    workdir,
    stdin,
    scratch,
    required_files,
    required_env,
    tools,
    writable_paths,
    timeout,
    idle_timeout,
    start_within,
    retry,
    repeat,
    on_unknown,
    priority,
    uses,
    tags,
    unwanted,
    matrix,
    allow_failure,
    always,
    on_failure,
    worker,
    secrets,
    limits,
    scorers,
    pass_score,
    metadata,
});
record!(Retry { max_attempts, initial_backoff, max_backoff, multiplier, on });
record!(RetryOn { transport, task, timeout });
record!(Repeat { runs, quorum });
choice!(OnUnknown { 0 => Retry, 1 => Hold });
choice!(Action { 0 => Run(argv), 1 => Script { shell, text } });
choice!(Shell { 0 => Sh, 1 => Bash });
record!(Need { task, accept_partial, order_only });
record!(Artifact { path, kind, mime_type, required });
record!(Worker {
    name,
    host,
    slots,
    labels,
    capabilities,
    roles,
    tools,
    trust,
    own_trust,
    lease,
    reconnect,
    cache_bytes,
    attempt_bytes,
    metadata
});
choice!(Host { 0 => Local, 1 => Ssh(ssh), 2 => Container(container) });
record!(Ssh { host, user, port, identity, known_hosts, host_key_fingerprint, working_directory });
record!(Container { engine, image, args });
choice!(ContainerEngine { 0 => Docker, 1 => Podman });
choice!(Trust { 0 => Sandbox, 1 => Local, 2 => RemoteVerified, 3 => Operator });
record!(WorkerRequest { id, labels, capabilities, trust, role, tools });
record!(SecretUse { key, source, delivery });
choice!(SecretSource { 0 => Env, 1 => File, 2 => Command });
choice!(Delivery { 0 => File(name), 1 => Env(name) });
record!(Limits { cpu_milli, memory_bytes, pids });
record!(Pool { name, size });
record!(Policies { fail_fast, max_parallel, timeout, security });
record!(Security {
    default_trust,
    max_trust,
    require_identity_verification,
    allowed_secrets,
    grants,
    sandbox,
    secrets_directory,
    secrets_command
});
record!(Grant { capability, scope, reason });
choice!(Capability { 0 => Network, 1 => Write(glob), 2 => Secrets, 3 => Release });
choice!(SandboxLayer { 0 => Bubblewrap, 1 => Landlock });
record!(CachePolicy { max_size, max_age, remote });
record!(CacheRemote { url, mode, token_ref, trusted });
choice!(CacheMode { 0 => ReadOnly, 1 => ReadWrite });
record!(Scorer { name, weight, at_least, required, rule });
choice!(ScorerRule {
    0 => ExitCode { expect },
    1 => FileExists { path, min_bytes },
    2 => RegexMatch { source, pattern, max_bytes },
    3 => JsonPath { path, query, test, max_bytes },
    4 => Command { argv, score_from_stdout, timeout },
    5 => Junit { path, min_tests, max_bytes },
    6 => Quorum { word, least, of },
});
choice!(Source { 0 => Path(path), 1 => Stdout, 2 => Stderr });
choice!(QuorumWord { 0 => All, 1 => Any, 2 => Quorum });
record!(JsonTest { equals, at_least, at_most, matches });

record!(Edge { from, to, kind });
choice!(EdgeKind { 0 => Declared { accept_partial }, 1 => File { output, input } });

record!(Looks { files, folders, ways, globs, exists, env, branch });
record!(FileLook { path, stamp, digest });
record!(FolderLook { path, stamp, links });
record!(GlobLook { folder, pattern, found });
record!(Stamp { dev, ino, size, modified, changed, settled });

impl Code for Digest {
    fn put(&self, to: &mut Vec<u8>) {
        put_bytes(self.to_string().as_bytes(), to);
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        String::take(from)?.parse().ok()
    }
}

impl Code for TaskId {
    fn put(&self, to: &mut Vec<u8>) {
        (self.index() as u64).put(to);
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        let index = usize::try_from(u64::take(from)?).ok()?;
        (index < from.tasks).then(|| Self::from_index(index))
    }
}

impl Code for PoolId {
    fn put(&self, to: &mut Vec<u8>) {
        (self.index() as u64).put(to);
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        let index = usize::try_from(u64::take(from)?).ok()?;
        (index < from.pools).then(|| Self::from_index(index))
    }
}

impl<I: Id, T: Code> Code for IdMap<I, T> {
    fn put(&self, to: &mut Vec<u8>) {
        (self.len() as u64).put(to);
        self.values().for_each(|item| item.put(to));
    }

    // On one core, on purpose: a second one spends what it saves on an arena of its own, page by page.
    fn take(from: &mut Reader<'_>) -> Option<Self> {
        Vec::take(from).map(Into::into)
    }
}
