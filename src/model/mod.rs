//! What a fleet file means, once every name is an id and every default a value.
//! `task` a unit of work · `worker` where it may run · `scorer` what judges it · `retry` how often it is
//! attempted · `policy` what bounds the run · `cache` who shares results.
//! Plain data: knows nothing of syntax, files or processes, and whatever holds one of these need not check it again.

pub mod cache;
pub mod policy;
pub mod retry;
pub mod scorer;
pub mod task;
pub mod worker;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::id::{IdMap, PoolId, TaskId, WorkerId};

pub use cache::{CacheMode, CacheRemote};
pub use policy::{CachePolicy, Capability, Grant, Policies, Pool, SandboxLayer, Security};
pub use retry::{OnUnknown, Repeat, Retry, RetryOn};
pub use scorer::{Scorer, ScorerRule};
pub use task::{Action, Artifact, Delivery, Limits, Need, PIDS_MAX, SecretSource, SecretUse, Shell, Task};
pub use worker::{Container, ContainerEngine, Host, Ssh, Trust, Worker, WorkerRequest};

/// A resolved fleet file.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// The fleet file, absolute.
    pub file: PathBuf,
    /// The folder of the fleet file, absolute; every path of the file is relative to it.
    pub workspace: PathBuf,
    pub name: String,
    pub description: Option<String>,
    /// Decides tie-breaks; greater than zero.
    pub seed: u64,
    pub labels: BTreeMap<String, String>,
    pub metadata: Metadata,
    pub tasks: IdMap<TaskId, Task>,
    /// Never empty: a file without workers gets one local worker named `local`.
    pub workers: IdMap<WorkerId, Worker>,
    pub pools: IdMap<PoolId, Pool>,
    pub policies: Policies,
    pub cache: CachePolicy,
}

/// Free tables of the file, carried through to receipts.
pub type Metadata = BTreeMap<String, serde_json::Value>;

impl Fleet {
    /// Keys of secrets that tasks may ask for.
    #[must_use]
    pub fn allowed_secrets(&self) -> &[Box<str>] {
        self.policies.security.as_deref().map_or(&[], |security| &security.allowed_secrets)
    }

    /// The task of that exact name. Linear: for a handful of look-ups; loops build their own map.
    #[must_use]
    pub fn task_named(&self, name: &str) -> Option<TaskId> {
        self.tasks.iter().find(|(_, task)| &*task.name == name).map(|(id, _)| id)
    }
}
