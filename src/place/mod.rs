//! Which workers a task may run on, and why not the others. One function decides and explains, so a message can never
//! disagree with the run. Here is what workers offer; `choose` has which of those that fit gets the task at a moment.

mod choose;

use std::fmt;

pub use choose::{Because, Decision, Health, Known, Load, Placement, Standing, decide, preference};

use crate::id::{TaskId, WorkerId};
use crate::model::{Fleet, Trust, Worker, WorkerRequest};
use crate::policy::grants::{SECRETS_FROM, may_have_secrets};

/// One thing a worker does not have and a task asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Another worker is asked for by name.
    Id {
        wanted: Box<str>,
    },
    Label {
        key: String,
        wanted: String,
        has: Option<String>,
    },
    Capability(String),
    Role(Box<str>),
    Tool(String),
    Trust {
        wanted: Trust,
        has: Trust,
        /// Its own, where the policy's `max_trust` leaves it less.
        own: Option<Trust>,
    },
    /// The task has secrets, and this trust may have none without a grant.
    Secrets {
        has: Trust,
    },
}

/// No worker has all that a task asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Impossible {
    /// The worker that was named, or else the one that lacks least; of equals, the first declared.
    pub nearest: WorkerId,
    pub lacks: Vec<Lack>,
}

/// The workers that a task may run on, in the order of the file. Never empty.
///
/// # Errors
/// When there is none: the nearest, and all it lacks.
pub fn candidates(fleet: &Fleet, task: TaskId) -> Result<Vec<WorkerId>, Impossible> {
    let task = &fleet.tasks[task];
    if task.worker.is_none() && task.secrets.is_empty() {
        return Ok(fleet.workers.ids().collect());
    }
    let mut fitting = Vec::new();
    let mut nearest: Option<Impossible> = None;
    for (id, worker) in fleet.workers.iter() {
        let mut lacks = task.worker.as_deref().map(|request| lacks(worker, request)).unwrap_or_default();
        if !task.secrets.is_empty() && !may_have_secrets(fleet, task, worker.trust) {
            lacks.push(Lack::Secrets { has: worker.trust });
        }
        if lacks.is_empty() {
            fitting.push(id);
            continue;
        }
        let distance = |lacks: &[Lack]| (lacks.iter().any(|lack| matches!(lack, Lack::Id { .. })), lacks.len());
        if nearest.as_ref().is_none_or(|best| distance(&lacks) < distance(&best.lacks)) {
            nearest = Some(Impossible { nearest: id, lacks });
        }
    }
    match nearest {
        Some(impossible) if fitting.is_empty() => Err(impossible),
        _ => Ok(fitting),
    }
}

/// All that a worker lacks for a request; empty when it fits.
#[must_use]
pub fn lacks(worker: &Worker, request: &WorkerRequest) -> Vec<Lack> {
    let mut lacks = Vec::new();
    if let Some(wanted) = request.id.as_ref().filter(|id| ***id != *worker.name) {
        lacks.push(Lack::Id { wanted: wanted.clone() });
    }
    for (key, wanted) in &request.labels {
        let has = worker.labels.get(key);
        if has != Some(wanted) {
            lacks.push(Lack::Label { key: key.clone(), wanted: wanted.clone(), has: has.cloned() });
        }
    }
    for wanted in &request.capabilities {
        if !worker.capabilities.contains(wanted) {
            lacks.push(Lack::Capability(wanted.clone()));
        }
    }
    if let Some(wanted) = request.role.as_ref().filter(|wanted| !worker.roles.iter().any(|role| **role == ***wanted)) {
        lacks.push(Lack::Role(wanted.clone()));
    }
    for wanted in &request.tools {
        if !worker.tools.contains(wanted) {
            lacks.push(Lack::Tool(wanted.clone()));
        }
    }
    if let Some(wanted) = request.trust.filter(|trust| *trust > worker.trust) {
        let own = Some(worker.own_trust).filter(|own| *own > worker.trust);
        lacks.push(Lack::Trust { wanted, has: worker.trust, own });
    }
    lacks
}

/// What is missing, to be read after "lacks".
impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id { wanted } => write!(f, "the name `{wanted}`"),
            Self::Label { key, wanted, has: None } => write!(f, "the label {key} = \"{wanted}\""),
            Self::Label { key, wanted, has: Some(has) } => {
                write!(f, "the label {key} = \"{wanted}\" (it has \"{has}\")")
            }
            Self::Capability(name) => write!(f, "the capability \"{name}\""),
            Self::Role(role) => write!(f, "the role \"{role}\""),
            Self::Tool(tool) => write!(f, "the tool \"{tool}\""),
            Self::Trust { wanted, has, own: None } => write!(f, "the trust {wanted} (it has {has})"),
            Self::Trust { wanted, has, own: Some(own) } => {
                write!(f, "the trust {wanted} (it has {own}, of which `max_trust` leaves {has})")
            }
            Self::Secrets { has } => {
                write!(f, "the trust {SECRETS_FROM} or a grant, to be given secrets (it has {has})")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::testing::{fleet, id, worker};
    use crate::id::Id as _;
    use crate::model::{Delivery, SecretSource, SecretUse};

    fn request(change: impl FnOnce(&mut WorkerRequest)) -> WorkerRequest {
        let mut request = WorkerRequest::default();
        change(&mut request);
        request
    }

    /// `plain`; `linux` with a label and cargo; `boss` with a label, more trust.
    fn asking(change: impl FnOnce(&mut WorkerRequest)) -> Result<Vec<usize>, (usize, Vec<String>)> {
        let mut fleet = fleet(&["t"]).with(0, |task| task.worker = Some(Box::new(request(change))));
        let mut linux = worker("linux", 1);
        linux.labels.insert("os".into(), "linux".into());
        linux.capabilities.push("cargo".into());
        let mut boss = worker("boss", 1);
        boss.labels.insert("os".into(), "macos".into());
        boss.trust = Trust::Operator;
        fleet.workers = vec![worker("plain", 1), linux, boss].into();
        candidates(&fleet, id(0))
            .map(|workers| workers.into_iter().map(WorkerId::index).collect())
            .map_err(|no| (no.nearest.index(), no.lacks.iter().map(ToString::to_string).collect()))
    }

    #[test]
    fn a_worker_fits_when_it_has_all_that_is_asked() {
        assert_eq!(asking(|_| {}), Ok(vec![0, 1, 2]));
        assert_eq!(asking(|r| r.id = Some("boss".into())), Ok(vec![2]));
        assert_eq!(asking(|r| drop(r.labels.insert("os".into(), "linux".into()))), Ok(vec![1]));
        assert_eq!(asking(|r| r.capabilities.push("cargo".into())), Ok(vec![1]));
        assert_eq!(asking(|r| r.trust = Some(Trust::Sandbox)), Ok(vec![0, 1, 2]));
        assert_eq!(asking(|r| r.trust = Some(Trust::RemoteVerified)), Ok(vec![2]));
    }

    #[test]
    fn secrets_go_to_no_sandbox() {
        let secret = SecretUse { key: "K".into(), source: SecretSource::Env, delivery: Delivery::Env("K".into()) };
        let mut fleet = fleet(&["t"]).with(0, |task| task.secrets = Box::new([secret]));
        let mut sandbox = worker("sandbox", 1);
        sandbox.trust = Trust::Sandbox;
        fleet.workers = vec![sandbox.clone(), worker("here", 1)].into();
        assert_eq!(candidates(&fleet, id(0)).map(|workers| workers[0].index()), Ok(1));
        fleet.workers = vec![sandbox].into();
        let no = candidates(&fleet, id(0)).unwrap_err();
        assert_eq!(no.lacks, [Lack::Secrets { has: Trust::Sandbox }]);
    }

    #[test]
    fn the_nearest_worker_says_all_it_lacks() {
        let both = asking(|r| {
            r.trust = Some(Trust::Operator);
            r.capabilities = vec!["cargo".into(), "gpu".into()];
            r.labels.insert("os".into(), "linux".into());
        });
        assert_eq!(both, Err((1, vec!["the capability \"gpu\"".into(), "the trust operator (it has local)".into()])));
        let named = asking(|r| {
            r.id = Some("plain".into());
            r.capabilities = vec!["cargo".into(), "gpu".into()];
        });
        let lacks = vec!["the capability \"cargo\"".into(), "the capability \"gpu\"".into()];
        assert_eq!(named, Err((0, lacks)));
        let label = asking(|r| {
            r.id = Some("boss".into());
            r.labels.insert("os".into(), "linux".into());
        });
        assert_eq!(label, Err((2, vec!["the label os = \"linux\" (it has \"macos\")".into()])));
    }
}
