//! A receipt's pure parts: what is known of a task before and apart from running it. Everything that is the same for
//! many tasks is made once and shared, because a run holds a receipt for each of a hundred thousand.
//! `canonical` is the JSON that digests are taken of.

pub mod canonical;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::digest::Digest;
use crate::id::{IdMap, RunId, WorkerId};
use crate::model::{Action, Fleet, Metadata, Task, Trust, Worker};
use crate::protocol::receipt::{Receipt, TaskResult, TrustRecord};
use crate::time::Stamp;

/// What the receipts of one run share.
#[derive(Debug)]
pub struct Receipts {
    run_id: Arc<str>,
    nobody: Arc<str>,
    workers: IdMap<WorkerId, Place>,
    labels: Arc<BTreeMap<String, String>>,
    metadata: Metadata,
    fleet_version: Arc<str>,
}

#[derive(Debug)]
struct Place {
    name: Arc<str>,
    host: Arc<str>,
    /// By what was asked: nothing, then each level in order.
    trust: Box<[Arc<TrustRecord>]>,
    metadata: Metadata,
}

impl Receipts {
    /// `mechanisms` names what holds the trust of every task of a worker up: `clean_env`, `session`, ….
    #[must_use]
    pub fn of(
        run: &RunId,
        fleet: &Fleet,
        fleet_version: &str,
        mechanisms: impl Fn(&Worker) -> Vec<&'static str>,
    ) -> Self {
        let place = |worker: &Worker| Place {
            name: Arc::from(&*worker.name),
            host: Arc::from(worker.host.name()),
            trust: std::iter::once(None)
                .chain(Trust::ALL.map(Some))
                .map(|asked| {
                    Arc::new(TrustRecord {
                        asked: asked.map(|trust| trust.name().into()),
                        enforced: worker.trust.name().into(),
                        mechanisms: mechanisms(worker).into_iter().map(Box::from).collect(),
                        grants: Vec::new(),
                    })
                })
                .collect(),
            metadata: worker.metadata.clone(),
        };
        Self {
            run_id: Arc::from(run.as_str()),
            nobody: Arc::from(""),
            workers: IdMap::from(fleet.workers.values().map(place).collect::<Vec<_>>()),
            labels: Arc::new(fleet.labels.clone()),
            metadata: fleet.metadata.clone(),
            fleet_version: Arc::from(fleet_version),
        }
    }

    /// A receipt of a task that was never placed: all that is known before an attempt, the rest empty.
    #[must_use]
    pub fn blank(&self, task: &Task, completed_at: Stamp, result: TaskResult) -> Receipt {
        let mut metadata = self.metadata.clone();
        metadata.extend(task.metadata.clone());
        Receipt {
            run_id: Arc::clone(&self.run_id),
            task_id: task.name.clone(),
            worker_id: Arc::clone(&self.nobody),
            completed_at,
            result,
            failure_kind: None,
            artifacts: Vec::new(),
            score: None,
            attempt: 0,
            started_at: None,
            duration_ms: 0,
            exit_code: None,
            signal: None,
            cause: None,
            flaky: false,
            attempts: Vec::new(),
            repeat: None,
            argv: Box::default(),
            argv_digest: None,
            inputs_digest: None,
            fingerprint: None,
            reused: None,
            outputs: Vec::new(),
            host: None,
            image: None,
            trust: None,
            scorers: Vec::new(),
            usage: None,
            log: None,
            leaked: Vec::new(),
            labels: Arc::clone(&self.labels),
            metadata,
            fleet_version: Arc::clone(&self.fleet_version),
            journal_seq: 0,
        }
    }

    /// Says where the task ran and under what trust. Of metadata with one name the task's holds, then the worker's,
    /// then the file's.
    pub fn placed(&self, receipt: &mut Receipt, task: &Task, worker: WorkerId) {
        let place = &self.workers[worker];
        let asked = task.worker.as_deref().and_then(|request| request.trust);
        receipt.worker_id = Arc::clone(&place.name);
        let own = place.metadata.iter().filter(|(name, _)| !task.metadata.contains_key(*name));
        receipt.metadata.extend(own.map(|(name, value)| (name.clone(), value.clone())));
        receipt.host = Some(Arc::clone(&place.host));
        receipt.trust = Some(Arc::clone(&place.trust[asked.map_or(0, |trust| 1 + trust as usize)]));
    }
}

/// The argv of an action: the program as it was found, then its arguments. A script is the last argument of its shell.
#[must_use]
pub fn argv(action: &Action, program: &Path) -> Box<[Box<str>]> {
    let program = Box::from(program.to_string_lossy());
    match action {
        Action::Run(argv) => std::iter::once(program).chain(argv.iter().skip(1).cloned()).collect(),
        Action::Script { shell, text } => {
            let flags = shell.flags().iter().map(|flag| Box::from(*flag));
            std::iter::once(program).chain(flags).chain(std::iter::once(text.clone())).collect()
        }
    }
}

/// The digest of an argv: of its canonical JSON.
#[must_use]
pub fn argv_digest<S: AsRef<str>>(argv: &[S]) -> Digest {
    let mut json = Vec::with_capacity(64);
    canonical::strings(&mut json, argv);
    Digest::of(&json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Shell, WorkerRequest};
    use crate::samples;

    #[test]
    fn argv_is_what_is_run() {
        let run = Action::Run(["cc".into(), "-c".into(), "a b.c".into()].into());
        let sh = Action::Script { shell: Shell::Bash, text: "exit 3\n".into() };
        let cc = argv(&run, Path::new("/usr/bin/cc"));
        assert_eq!(cc.iter().map(|a| &**a).collect::<Vec<_>>(), ["/usr/bin/cc", "-c", "a b.c"]);
        let bash = argv(&sh, Path::new("/bin/bash"));
        assert_eq!(
            bash.iter().map(|a| &**a).collect::<Vec<_>>(),
            ["/bin/bash", "-eu", "-o", "pipefail", "-c", "exit 3\n"]
        );
        assert_eq!(argv_digest(&cc), Digest::of(br#"["/usr/bin/cc","-c","a b.c"]"#));
    }

    #[test]
    fn a_receipt_says_where_and_under_what_trust() {
        let mut fleet = samples::fleet(&["a"]);
        let id = fleet.tasks.ids().next().unwrap();
        let worker = fleet.workers.ids().next().unwrap();
        let receipts = Receipts::of(&samples::run_id(), &fleet, "0.1.0", |_| vec!["clean_env"]);
        let blank = receipts.blank(&fleet.tasks[id], samples::START, TaskResult::Skip);
        assert_eq!((&*blank.worker_id, &blank.trust, &blank.host), ("", &None, &None));
        for (asked, name) in
            [(None, None), (Some(Trust::Sandbox), Some("sandbox")), (Some(Trust::Local), Some("local"))]
        {
            fleet.tasks[id].worker = Some(Box::new(WorkerRequest { trust: asked, ..WorkerRequest::default() }));
            let mut receipt = blank.clone();
            receipts.placed(&mut receipt, &fleet.tasks[id], worker);
            let trust = receipt.trust.unwrap();
            assert_eq!((trust.asked.as_deref(), &*trust.enforced, &*receipt.worker_id), (name, "local", "local"));
        }
    }
}
