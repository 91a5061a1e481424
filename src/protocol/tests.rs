//! The protocol's golden files, in `testdata/protocol/`: each is read, written again byte for byte, and read by the
//! protocol's own types, written out below from its published source, which must drop what we add and nothing else.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::event::{State, WorkerEvent};
use super::receipt::Receipt;
use super::run::Run;
use crate::samples::full_receipt;
use crate::time::Stamp;

mod seed {
    //! The reader's side of protocol 0.1.0: the type of every field, and no field more.

    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use serde::{Deserialize, Serialize};
    use serde_json::Value;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct RunId(pub(super) String);

    #[derive(Debug, Serialize, Deserialize)]
    pub(super) struct Run {
        pub(super) id: RunId,
        name: String,
        pub(super) status: RunStatus,
        #[serde(default)]
        pub(super) task_specs: Vec<TaskSpec>,
        #[serde(default)]
        pub(super) worker_specs: Vec<WorkerSpec>,
        #[serde(default)]
        labels: BTreeMap<String, String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        security_policy: Option<SecurityPolicy>,
        created_at: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        updated_at: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        completed_at: Option<String>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub(super) enum RunStatus {
        Pending,
        Queued,
        Running,
        Paused,
        Completed,
        Failed,
        Cancelled,
    }

    #[derive(Debug, Serialize, Deserialize)]
    pub(super) struct TaskSpec {
        id: String,
        name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        objective: Option<String>,
        instructions: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        worker: Option<TaskWorkerProfile>,
        #[serde(skip_serializing_if = "Option::is_none")]
        workspace: Option<Workspace>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        input_files: Vec<PathBuf>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        context: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        budget: Option<Budget>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tags: Vec<String>,
        #[serde(default)]
        expected_artifacts: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        scorer: Option<Scorer>,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_policy: Option<Retry>,
        #[serde(skip_serializing_if = "Option::is_none")]
        alert_policy: Option<Alerts>,
        #[serde(default)]
        timeout_seconds: Option<u64>,
        #[serde(default)]
        metadata: BTreeMap<String, Value>,
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct TaskWorkerProfile {
        #[serde(skip_serializing_if = "Option::is_none")]
        role: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        tool_profile: Option<String>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tools: Vec<String>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        capabilities: Vec<String>,
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct Workspace {
        #[serde(skip_serializing_if = "Option::is_none")]
        root: Option<PathBuf>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        required_files: Vec<PathBuf>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        writable_paths: Vec<PathBuf>,
        #[serde(skip_serializing_if = "Option::is_none")]
        environment: Option<Environment>,
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct Environment {
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        required: Vec<String>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        allowlist: Vec<String>,
    }

    #[derive(Debug, Serialize, Deserialize)]
    #[expect(clippy::struct_field_names, reason = "the protocol named them")]
    struct Budget {
        #[serde(skip_serializing_if = "Option::is_none")]
        max_tokens: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        max_tool_calls: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        max_seconds: Option<u64>,
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct Retry {
        max_attempts: u32,
        initial_backoff_seconds: u64,
        max_backoff_seconds: u64,
        backoff_multiplier: u32,
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct Alerts {
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        events: Vec<AlertEvent>,
        #[serde(default)]
        channels: Vec<AlertChannel>,
        #[serde(default)]
        after_attempts: Option<u32>,
        #[serde(default)]
        after_minutes_stale: Option<u64>,
    }

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum AlertEvent {
        Stale,
        RestartExhausted,
        NeedsHuman,
        BudgetExceeded,
        VerifierFailed,
        RunCompleted,
    }

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(tag = "kind", rename_all = "snake_case")]
    enum AlertChannel {
        Slack {
            #[serde(flatten)]
            webhook: Endpoint,
        },
        Webhook {
            #[serde(flatten)]
            endpoint: Endpoint,
        },
        PagerDuty {
            routing_key: String,
            severity: String,
        },
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct Endpoint {
        #[serde(skip_serializing_if = "Option::is_none")]
        url: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        url_ref: Option<SecretRef>,
        #[serde(skip_serializing_if = "Option::is_none")]
        secret_ref: Option<SecretRef>,
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct SecretRef {
        key: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<String>,
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct SecurityPolicy {
        #[serde(default = "sandbox")]
        default_trust_level: Trust,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        allowed_secrets: Vec<SecretRef>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        capability_grants: Vec<Grant>,
        #[serde(default = "operator")]
        max_trust_level: Trust,
        #[serde(default)]
        require_identity_verification: bool,
        #[serde(default)]
        allow_parallel_reads: bool,
    }

    fn sandbox() -> Trust {
        Trust::Sandbox
    }

    fn operator() -> Trust {
        Trust::Operator
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct Grant {
        capability: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        scope: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    }

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Trust {
        Sandbox,
        Local,
        RemoteVerified,
        Operator,
    }

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(tag = "kind", rename_all = "snake_case")]
    enum Scorer {
        ExitCode,
        FileExists {
            path: PathBuf,
        },
        RegexMatch {
            path: PathBuf,
            pattern: String,
        },
        JsonPath {
            path: PathBuf,
            expression: String,
        },
        Command {
            command: String,
            #[serde(default)]
            args: Vec<String>,
        },
        CodeWhaleVerifierPrompt {
            prompt: String,
        },
        Manual,
    }

    #[derive(Debug, Serialize, Deserialize)]
    pub(super) struct WorkerSpec {
        id: String,
        name: String,
        host: Host,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trust_level: Option<Trust>,
        #[serde(default)]
        labels: BTreeMap<String, String>,
        #[serde(default)]
        capabilities: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        max_concurrent_tasks: Option<usize>,
    }

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(tag = "kind", rename_all = "snake_case")]
    enum Host {
        Local,
        Ssh {
            host: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            port: Option<u16>,
            #[serde(skip_serializing_if = "Option::is_none")]
            user: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            identity: Option<PathBuf>,
            #[serde(skip_serializing_if = "Option::is_none")]
            known_hosts: Option<PathBuf>,
            #[serde(skip_serializing_if = "Option::is_none")]
            host_key_fingerprint: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            working_directory: Option<PathBuf>,
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            env_allowlist: Vec<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            codewhale_binary: Option<String>,
        },
        #[serde(alias = "container")]
        Docker {
            image: String,
            #[serde(default)]
            args: Vec<String>,
        },
    }

    #[derive(Debug, Serialize, Deserialize)]
    pub(super) struct WorkerEvent {
        seq: u64,
        run_id: RunId,
        worker_id: String,
        task_id: String,
        timestamp: String,
        #[serde(flatten)]
        pub(super) payload: Payload,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        extra: BTreeMap<String, Value>,
    }

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(tag = "state", rename_all = "snake_case")]
    pub(super) enum Payload {
        Queued,
        Leased {
            #[serde(skip_serializing_if = "Option::is_none")]
            lease_expires_at: Option<String>,
        },
        Starting,
        Running,
        ModelWait {
            #[serde(skip_serializing_if = "Option::is_none")]
            model: Option<String>,
        },
        RunningTool {
            tool: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            call_id: Option<String>,
        },
        Heartbeat {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            cpu_percent: Option<f32>,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            memory_mb: Option<u64>,
        },
        Artifact(ArtifactRef),
        Completed {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            exit_code: Option<i32>,
            #[serde(skip_serializing_if = "Option::is_none")]
            summary: Option<String>,
        },
        Failed {
            reason: String,
            #[serde(default)]
            recoverable: bool,
        },
        Cancelled {
            #[serde(skip_serializing_if = "Option::is_none")]
            cancelled_by: Option<String>,
        },
        Interrupted {
            #[serde(skip_serializing_if = "Option::is_none")]
            signal: Option<String>,
        },
        Stale {
            #[serde(skip_serializing_if = "Option::is_none")]
            last_heartbeat_at: Option<String>,
        },
        Restarted {
            #[serde(default)]
            restart_count: u32,
        },
        Escalated {
            channel: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            alert_id: Option<String>,
        },
    }

    #[derive(Debug, Serialize, Deserialize)]
    pub(super) struct ArtifactRef {
        kind: String,
        path: PathBuf,
        #[serde(skip_serializing_if = "Option::is_none")]
        checksum: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        mime_type: Option<String>,
        #[serde(default)]
        size_bytes: Option<u64>,
    }

    #[derive(Debug, Serialize, Deserialize)]
    pub(super) struct Receipt {
        run_id: RunId,
        task_id: String,
        worker_id: String,
        completed_at: String,
        result: TaskResult,
        #[serde(skip_serializing_if = "Option::is_none")]
        failure_kind: Option<FailureKind>,
        #[serde(default)]
        artifacts: Vec<ArtifactRef>,
        #[serde(default)]
        score: Option<Score>,
    }

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum TaskResult {
        Pass,
        Partial,
        Fail,
        Skip,
        Timeout,
    }

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum FailureKind {
        Transport,
        Task,
        Verifier,
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct Score {
        value: f64,
        #[serde(skip_serializing_if = "Option::is_none")]
        max: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        notes: Option<String>,
    }
}

fn golden(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/protocol").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What a reader of type `T` makes of a text, as JSON.
fn seen_as<T: DeserializeOwned + Serialize>(text: &str) -> Value {
    let read: T = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    times(serde_json::to_value(read).unwrap())
}

/// The same instants in one spelling: ours has milliseconds, the seed's examples have none.
fn times(value: Value) -> Value {
    match value {
        Value::String(text) => Stamp::parse(&text).map_or(Value::String(text), |stamp| json!(stamp)),
        Value::Array(items) => items.into_iter().map(times).collect(),
        Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, times(value))).collect(),
        other => other,
    }
}

/// The top-level keys of `ours` that `seed` does not have.
fn added(ours: &Value, seed: &Value) -> Vec<String> {
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    keys(ours).into_iter().filter(|key| !keys(seed).contains(key)).collect()
}

#[test]
fn our_run_is_the_protocols_run() {
    let text = golden("run.json");
    let run: Run = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&run).unwrap() + "\n", text);
    let (ours, seen) = (serde_json::from_str(&text).unwrap(), seen_as::<seed::Run>(&text));
    assert_eq!(added(&ours, &seen), ["seed", "fleet_version", "exit_code", "metadata"]);
    for key in seen.as_object().unwrap().keys() {
        assert_eq!(ours[key], seen[key], "{key}");
    }
}

#[test]
fn our_receipt_is_the_protocols_receipt() {
    let text = golden("receipt-full.json");
    let receipt: Receipt = serde_json::from_str(&text).unwrap();
    assert_eq!(receipt, full_receipt());
    assert_eq!(serde_json::to_string(&receipt).unwrap() + "\n", text);
    let (ours, seen): (Value, _) = (serde_json::from_str(&text).unwrap(), seen_as::<seed::Receipt>(&text));
    assert_eq!(added(&ours, &seen)[..3], ["attempt", "started_at", "duration_ms"]);
    for key in seen.as_object().unwrap().keys() {
        assert_eq!(ours[key], seen[key], "{key}");
    }
}

#[test]
fn every_state_is_written_as_the_protocol_says() {
    let text = golden("events.jsonl");
    let mut states = Vec::new();
    for line in text.lines() {
        let event: WorkerEvent<'_> = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_string(&event).unwrap(), line);
        // The protocol's events are open only in `extra`, so its readers see the whole event.
        let ours: Value = serde_json::from_str(line).unwrap();
        assert_eq!(ours, seen_as::<seed::WorkerEvent>(line));
        states.push(ours["state"].as_str().unwrap().to_owned());
    }
    states.dedup();
    let all = "queued leased starting running model_wait running_tool heartbeat artifact completed failed cancelled \
               interrupted stale restarted escalated";
    assert_eq!(states, all.split(' ').collect::<Vec<_>>());
}

#[test]
fn what_others_wrote_is_read_and_handed_on_unchanged() {
    for name in ["receipt-minimal.json", "receipt-partial.json"] {
        let text = golden(name);
        let receipt: Receipt = serde_json::from_str(&text).unwrap();
        let again = serde_json::to_string(&receipt).unwrap();
        assert_eq!(seen_as::<seed::Receipt>(&again), seen_as::<seed::Receipt>(&text), "{name}");
    }
    let text = golden("run-of-others.json");
    let run: Run = serde_json::from_str(&text).unwrap();
    let again = serde_json::to_string(&run).unwrap();
    assert_eq!(seen_as::<seed::Run>(&again), seen_as::<seed::Run>(&text));
    assert_eq!(times(serde_json::from_str(&text).unwrap()), seen_as::<seed::Run>(&text), "the golden file is complete");
}

#[test]
fn absent_parts_leave_no_keys() {
    let state = |state: State| serde_json::to_value(state).unwrap();
    assert_eq!(state(State::Heartbeat { cpu_percent: None, memory_mb: None }), json!({"state": "heartbeat"}));
    assert_eq!(state(State::Completed { exit_code: None, summary: None }), json!({"state": "completed"}));
    let event = WorkerEvent {
        seq: 1,
        run_id: "r".into(),
        worker_id: "".into(),
        task_id: "t".into(),
        timestamp: Stamp(0),
        state: State::Queued,
        extra: BTreeMap::new(),
    };
    let text = r#"{"seq":1,"run_id":"r","worker_id":"","task_id":"t","timestamp":"1970-01-01T00:00:00.000Z","state":"queued"}"#;
    assert_eq!(serde_json::to_string(&event).unwrap(), text);
}

#[test]
fn spellings_of_old_writers_are_read() {
    use super::policy::{AlertChannel, SecretRef};
    use super::run::{HostSpec, TrustLevel};
    let read = |text: &str| serde_json::from_str::<AlertChannel>(text).unwrap();
    let AlertChannel::Slack(webhook) = read(r#"{"kind":"slack","webhook_url":"https://h","secret":"KEY"}"#) else {
        panic!("not slack")
    };
    let key = SecretRef { key: "KEY".to_owned(), source: None };
    assert_eq!((webhook.url.as_deref(), webhook.secret_ref), (Some("https://h"), Some(key)));
    assert!(matches!(read(r#"{"kind":"pagerduty","routing_key":"k","severity":"s"}"#), AlertChannel::PagerDuty { .. }));
    assert!(serde_json::from_str::<SecretRef>("\" \"").is_err());
    assert_eq!(serde_json::from_str::<TrustLevel>("\"remote-verified\"").unwrap(), TrustLevel::RemoteVerified);
    let host: HostSpec = serde_json::from_str(r#"{"kind":"container","image":"i"}"#).unwrap();
    assert_eq!(serde_json::to_string(&host).unwrap(), r#"{"kind":"docker","image":"i","args":[]}"#);
    assert!(serde_json::from_str::<HostSpec>(r#"{"kind":"ssh","host":"builder.example.test"}"#).is_ok());
}
