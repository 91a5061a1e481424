//! A small fleet and its receipts, for tests of every layer.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::digest::Digest;
use crate::id::{IdMap, RunId};
use crate::model::{Action, CachePolicy, Fleet, OnUnknown, Policies, Task, Worker};
use crate::protocol::receipt::{
    ArtifactRef, AttemptRecord, EntryKind, FailureKind, LogRef, Mode, OutputRef, Receipt, RepeatRecord, Score,
    ScorerRecord, TaskResult, TrustRecord, Usage,
};
use crate::time::Stamp;

pub(crate) const START: Stamp = Stamp(1_795_171_950_999);

pub(crate) fn run_id() -> RunId {
    RunId::parse("20261120T105230Z-1f9c03ab").unwrap()
}

pub(crate) fn task(name: &str) -> Task {
    Task {
        name: name.into(),
        base: name.into(),
        description: None,
        action: Action::Run(["true".into()].into()),
        needs: [].into(),
        inputs: None,
        cache: true,
        outputs: [].into(),
        artifacts: [].into(),
        env: [].into(),
        pass_env: [].into(),
        workdir: "".into(),
        stdin: None,
        scratch: false,
        required_files: [].into(),
        required_env: [].into(),
        tools: [].into(),
        writable_paths: None,
        timeout: None,
        idle_timeout: None,
        start_within: None,
        retry: None,
        repeat: None,
        on_unknown: OnUnknown::Retry,
        priority: 0,
        uses: [].into(),
        tags: [].into(),
        unwanted: None,
        matrix: [].into(),
        allow_failure: false,
        always: false,
        on_failure: [].into(),
        worker: None,
        secrets: [].into(),
        limits: None,
        scorers: [].into(),
        pass_score: 0.0,
        metadata: BTreeMap::new(),
    }
}

pub(crate) fn fleet(names: &[&str]) -> Fleet {
    let worker = Worker { capabilities: vec!["cargo".to_owned()], ..Worker::local("local", 2) };
    Fleet {
        file: PathBuf::from("/w/fleet.toml"),
        workspace: PathBuf::from("/w"),
        name: "release \"β\"".to_owned(),
        description: None,
        seed: 7,
        labels: BTreeMap::from([("team".to_owned(), "core".to_owned())]),
        metadata: BTreeMap::new(),
        tasks: IdMap::from(names.iter().map(|name| task(name)).collect::<Vec<_>>()),
        workers: IdMap::from(vec![worker]),
        pools: IdMap::new(),
        policies: Policies::default(),
        cache: CachePolicy::default(),
    }
}

pub(crate) fn receipt(task: &str, result: TaskResult) -> Receipt {
    Receipt {
        run_id: Arc::from(run_id().as_str()),
        task_id: task.into(),
        worker_id: Arc::from("local"),
        completed_at: Stamp(START.0 + 42),
        result,
        failure_kind: matches!(result, TaskResult::Fail).then_some(FailureKind::Task),
        artifacts: Vec::new(),
        score: Some(Score { value: 1.0, max: Some(1.0), notes: None }),
        attempt: 1,
        started_at: Some(Stamp(START.0 + 2)),
        duration_ms: 40,
        exit_code: Some(i32::from(result == TaskResult::Fail)),
        signal: None,
        cause: (result != TaskResult::Pass).then(|| "it ended with \"1\"\n".to_owned()),
        flaky: false,
        attempts: Vec::new(),
        repeat: None,
        argv: ["/bin/true".into()].into(),
        argv_digest: Some(Digest::of(b"[\"/bin/true\"]")),
        inputs_digest: None,
        fingerprint: None,
        reused: None,
        outputs: Vec::new(),
        host: Some(Arc::from("local")),
        image: None,
        trust: None,
        scorers: Vec::new(),
        usage: Some(Usage { cpu_ms: 1, max_rss_bytes: 1 << 20, output_bytes: 0 }),
        log: None,
        leaked: Vec::new(),
        labels: Arc::new(BTreeMap::from([("team".to_owned(), "core".to_owned())])),
        metadata: BTreeMap::new(),
        fleet_version: Arc::from("0.1.0"),
        journal_seq: 0,
    }
}

/// A receipt with something in every field.
pub(crate) fn full_receipt() -> Receipt {
    let digest = Digest::of(b"abc");
    Receipt {
        failure_kind: Some(FailureKind::Verifier),
        artifacts: vec![ArtifactRef {
            kind: "test_result".into(),
            path: "out/junit.xml".into(),
            checksum: Some(digest),
            mime_type: Some("application/xml".into()),
            size_bytes: Some(3),
        }],
        score: Some(Score { value: 0.5, max: Some(1.0), notes: Some("half of the cases".to_owned()) }),
        attempt: 2,
        signal: Some(15),
        flaky: true,
        attempts: vec![AttemptRecord {
            attempt: 1,
            worker_id: Arc::from("local"),
            started_at: START,
            duration_ms: 7,
            result: TaskResult::Timeout,
            failure_kind: Some(FailureKind::Task),
            cause: Some("over its 5 s".to_owned()),
            repetition: 1,
            exit_code: Some(3),
            signal: Some(9),
            log: Some(LogRef { path: "logs/test.1.log".into(), digest, bytes: 4, truncated: false }),
            leaked: vec!["4710 daemon".to_owned()],
        }],
        repeat: Some(RepeatRecord {
            runs: 3,
            quorum: 2,
            done: 2,
            passed: 1,
            pass_at_k: vec![0.5, 1.0],
            pass_hat_k: vec![0.5, 0.0],
        }),
        inputs_digest: Some(digest),
        fingerprint: Some(digest),
        reused: None,
        outputs: vec![OutputRef {
            path: "out/a".into(),
            digest,
            size_bytes: 3,
            mode: Some(Mode::of(0o644)),
            kind: EntryKind::File,
        }],
        trust: Some(Arc::new(TrustRecord {
            asked: Some("local".into()),
            enforced: "local".into(),
            mechanisms: vec!["clean_env".into(), "subreaper".into()],
            grants: vec!["network: publish".into()],
        })),
        scorers: vec![ScorerRecord {
            name: "suite".into(),
            kind: "junit".into(),
            value: 1.0,
            max: 2.0,
            passed: false,
            evidence: "1 of 2 failed".to_owned(),
            broken: true,
            duration_ms: 3,
        }],
        log: Some(LogRef { path: "logs/test.2.log".into(), digest, bytes: 3, truncated: true }),
        leaked: vec!["4711 daemon".to_owned()],
        metadata: BTreeMap::from([("owner".to_owned(), serde_json::json!({"name": "core", "on_call": [1, null]}))]),
        journal_seq: 123,
        ..receipt("test", TaskResult::Partial)
    }
}
