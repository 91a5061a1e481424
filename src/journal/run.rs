//! The run's own records: what it was asked to do, at its start, and how it ended. Converts what a fleet file means
//! into what the protocol says; what the protocol has no field for goes into a task's metadata.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::record::{json, string};
use crate::id::RunId;
use crate::model::{
    Action, ContainerEngine, Fleet, Host, OnUnknown, Repeat, Retry, RetryOn, ScorerRule, Task, Trust, Worker,
    scorer::Source,
};
use crate::protocol::policy::RetryPolicy;
use crate::protocol::run::{
    EnvironmentRequirements, HostSpec, Run, RunRequest, RunStatus, ScorerSpec, TaskSpec, TaskWorkerProfile, TrustLevel,
    WorkerSpec, WorkspaceRequirements,
};
use crate::time::{Stamp, written};

/// The version that writes records and receipts.
pub const FLEET_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Appends the run up to the opening bracket of its task specs.
pub(super) fn open(out: &mut Vec<u8>, run: &RunId, fleet: &Fleet) {
    out.extend_from_slice(b",\"run\":{\"id\":");
    string(out, run.as_str());
    out.extend_from_slice(b",\"name\":");
    string(out, &fleet.name);
    out.extend_from_slice(b",\"status\":\"running\",\"task_specs\":[");
}

/// Appends the rest of the run after its last task spec.
pub(super) fn close(out: &mut Vec<u8>, created: Stamp, fleet: &Fleet, request: &RunRequest) {
    out.extend_from_slice(b"],\"worker_specs\":");
    json(out, &fleet.workers.values().map(worker_spec).collect::<Vec<_>>());
    out.extend_from_slice(b",\"labels\":");
    json(out, &fleet.labels);
    out.extend_from_slice(b",\"created_at\":");
    json(out, &created);
    out.extend_from_slice(b",\"seed\":");
    json(out, &fleet.seed);
    out.extend_from_slice(b",\"fleet_version\":");
    string(out, FLEET_VERSION);
    if !fleet.metadata.is_empty() {
        out.extend_from_slice(b",\"metadata\":");
        json(out, &fleet.metadata);
    }
    out.extend_from_slice(b",\"request\":");
    json(out, request);
    out.push(b'}');
}

/// The run as it goes on after it was cut short: without what the first record has.
pub(super) fn resumed(run: &RunId, fleet: &Fleet, created: Stamp, now: Stamp) -> Run {
    Run {
        status: RunStatus::Running,
        completed_at: None,
        exit_code: None,
        ..ended(run, fleet, created, now, RunStatus::Running, 0)
    }
}

/// The run as it ended: without task and worker specs, which the first record has.
pub(super) fn ended(
    run: &RunId,
    fleet: &Fleet,
    created: Stamp,
    completed: Stamp,
    status: RunStatus,
    exit_code: u8,
) -> Run {
    Run {
        id: run.as_str().to_owned(),
        name: fleet.name.clone(),
        status,
        task_specs: Vec::new(),
        worker_specs: Vec::new(),
        labels: fleet.labels.clone(),
        security_policy: None,
        created_at: created,
        updated_at: Some(completed),
        completed_at: Some(completed),
        seed: fleet.seed,
        fleet_version: FLEET_VERSION.to_owned(),
        exit_code: Some(exit_code),
        metadata: BTreeMap::new(),
        request: None,
    }
}

/// What the protocol can say of a task.
#[must_use]
pub fn task_spec(task: &Task, fleet: &Fleet) -> TaskSpec {
    let owned = |list: &[Box<str>]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    TaskSpec {
        id: task.name.to_string(),
        name: task.name.to_string(),
        description: task.description.as_deref().map(str::to_owned),
        objective: None,
        instructions: match &task.action {
            Action::Run(argv) => shell_words::join(argv.iter()),
            Action::Script { text, .. } => text.to_string(),
        },
        worker: task.worker.as_deref().filter(|w| !w.capabilities.is_empty()).map(|request| TaskWorkerProfile {
            capabilities: request.capabilities.clone(),
            ..TaskWorkerProfile::default()
        }),
        workspace: workspace(task),
        input_files: task.inputs.as_deref().map(owned).unwrap_or_default(),
        context: Vec::new(),
        budget: None,
        tags: owned(&task.tags),
        expected_artifacts: task.artifacts.iter().map(|a| a.kind.to_string()).collect(),
        scorer: scorer_spec(task),
        retry_policy: task.retry.as_deref().and_then(retry_policy),
        alert_policy: None,
        // A limit under a second must not read as none at all.
        timeout_seconds: task.timeout.map(|t| t.as_secs().max(1)),
        metadata: metadata(task, fleet),
    }
}

/// In the protocol's words, if they can say all of it: whole seconds, a whole factor, and its own kinds of failure.
fn retry_policy(retry: &Retry) -> Option<RetryPolicy> {
    let seconds = |wait: Duration| (wait.subsec_nanos() == 0).then_some(wait.as_secs());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, and within the range")]
    let factor = |factor: f64| (factor.fract() == 0.0 && factor <= f64::from(u32::MAX)).then_some(factor as u32);
    (retry.on == RetryOn::default()).then_some(())?;
    Some(RetryPolicy {
        max_attempts: retry.max_attempts,
        initial_backoff_seconds: seconds(retry.initial_backoff)?,
        max_backoff_seconds: seconds(retry.max_backoff)?,
        backoff_multiplier: factor(retry.multiplier)?,
    })
}

fn workspace(task: &Task) -> Option<WorkspaceRequirements> {
    let owned = |list: &[Box<str>]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let environment = EnvironmentRequirements { required: owned(&task.required_env), allowlist: owned(&task.pass_env) };
    let workspace = WorkspaceRequirements {
        root: (!task.workdir.is_empty()).then(|| task.workdir.to_string()),
        required_files: owned(&task.required_files),
        writable_paths: task.writable_paths.as_deref().map(owned).unwrap_or_default(),
        environment: (environment != EnvironmentRequirements::default()).then_some(environment),
    };
    (workspace != WorkspaceRequirements::default()).then_some(workspace)
}

/// The one scorer of a task, if the protocol has its kind and can say all of it.
fn scorer_spec(task: &Task) -> Option<ScorerSpec> {
    let [scorer] = &*task.scorers else {
        return task.scorers.is_empty().then_some(ScorerSpec::ExitCode);
    };
    match &scorer.rule {
        ScorerRule::ExitCode { expect } if **expect == [0] => Some(ScorerSpec::ExitCode),
        ScorerRule::FileExists { path, min_bytes: 0 } => Some(ScorerSpec::FileExists { path: path.to_string() }),
        ScorerRule::RegexMatch { source: Source::Path(path), pattern, .. } => {
            Some(ScorerSpec::RegexMatch { path: path.to_string(), pattern: pattern.to_string() })
        }
        ScorerRule::JsonPath { path, query, test, .. } if *test == crate::model::scorer::JsonTest::default() => {
            Some(ScorerSpec::JsonPath { path: path.to_string(), expression: query.to_string() })
        }
        ScorerRule::Command { argv, score_from_stdout: false, .. } => {
            let (command, args) = argv.split_first()?;
            Some(ScorerSpec::Command {
                command: command.to_string(),
                args: args.iter().map(ToString::to_string).collect(),
            })
        }
        _ => None,
    }
}

/// The task's own metadata, and under the key `fleet` what it needs and makes. A task's own `fleet` key wins.
fn metadata(task: &Task, fleet: &Fleet) -> BTreeMap<String, Value> {
    let mut ours = serde_json::Map::new();
    if !task.needs.is_empty() {
        let needs = task.needs.iter().map(|need| Value::from(&*fleet.tasks[need.task].name)).collect();
        ours.insert("needs".to_owned(), Value::Array(needs));
    }
    if let Some(retry) = task.retry.as_deref().filter(|retry| retry_policy(retry).is_none()) {
        ours.insert(
            "retry".to_owned(),
            serde_json::json!({
                "max_attempts": retry.max_attempts, "initial_backoff": written(retry.initial_backoff),
                "max_backoff": written(retry.max_backoff), "multiplier": retry.multiplier,
                "on": retry.on.words().collect::<Vec<_>>(),
            }),
        );
    }
    if let Some(Repeat { runs, quorum }) = task.repeat {
        ours.insert("repeat".to_owned(), serde_json::json!({ "runs": runs, "quorum": quorum }));
    }
    if task.on_unknown == OnUnknown::Hold {
        ours.insert("on_unknown".to_owned(), task.on_unknown.name().into());
    }
    if !task.outputs.is_empty() {
        let outputs = task.outputs.iter().map(|o| Value::from(&**o)).collect();
        ours.insert("outputs".to_owned(), Value::Array(outputs));
    }
    let mut metadata = task.metadata.clone();
    if !ours.is_empty() {
        metadata.entry("fleet".to_owned()).or_insert(Value::Object(ours));
    }
    metadata
}

fn worker_spec(worker: &Worker) -> WorkerSpec {
    WorkerSpec {
        id: worker.name.clone(),
        name: worker.name.clone(),
        host: host_spec(&worker.host),
        trust_level: Some(match worker.trust {
            Trust::Sandbox => TrustLevel::Sandbox,
            Trust::Local => TrustLevel::Local,
            Trust::RemoteVerified => TrustLevel::RemoteVerified,
            Trust::Operator => TrustLevel::Operator,
        }),
        labels: worker.labels.clone(),
        capabilities: worker.capabilities.clone(),
        max_concurrent_tasks: Some(worker.slots as usize),
    }
}

fn host_spec(host: &Host) -> HostSpec {
    let text = |path: &PathBuf| path.to_string_lossy().into_owned();
    match host {
        Host::Local => HostSpec::Local,
        Host::Ssh(ssh) => HostSpec::Ssh {
            host: ssh.host.clone(),
            port: ssh.port,
            user: ssh.user.clone(),
            identity: ssh.identity.as_ref().map(text),
            known_hosts: ssh.known_hosts.as_ref().map(text),
            host_key_fingerprint: ssh.host_key_fingerprint.clone(),
            working_directory: ssh.working_directory.clone(),
            env_allowlist: Vec::new(),
            codewhale_binary: None,
        },
        Host::Container(container) => {
            let (image, args) = (container.image.clone(), container.args.clone());
            match container.engine {
                ContainerEngine::Docker => HostSpec::Docker { image, args },
                ContainerEngine::Podman => HostSpec::Podman { image, args },
            }
        }
    }
}
