//! What a task may see, write and reach by the trust of the worker it runs on and the grants of the policy, as its host is
//! told to hold it. Source: "Trust levels" in the format's reference.

use std::path::Path;

use crate::host::cell::{Cell, Opened};
use crate::id::{Attempt, WorkerId};
use crate::journal::log;
use crate::model::{Capability, Fleet, Grant, Host, SandboxLayer, Task, Trust, Worker};
use crate::policy::grants;
use crate::supervisor::frame::{self, Confine, Layer};

/// Where every program may write, and whose content is nobody's.
const COMMON: &str = "/tmp";

/// What holds the container that an attempt has to itself: in a sandbox, and where it has bounds, which are the container's
/// then. Others share that of their worker.
pub(super) fn cell(fleet: &Fleet, task: &Task, worker: WorkerId) -> Option<Cell> {
    let worker = &fleet.workers[worker];
    let is_sandbox = worker.trust == Trust::Sandbox;
    let is_alone = matches!(worker.host, Host::Container(_)) && (is_sandbox || task.limits.is_some());
    is_alone.then(|| Cell { sandbox: is_sandbox.then(|| opened(fleet, task)), limits: task.limits.as_deref().copied() })
}

/// What the grants of a task open to it.
fn opened(fleet: &Fleet, task: &Task) -> Opened {
    let granted: Vec<&Grant> = grants::of(fleet, task);
    let writes = granted.iter().filter_map(|grant| match &grant.capability {
        Capability::Write(glob) => Some(grants::written_folder(&fleet.workspace, glob)),
        _ => None,
    });
    let network = granted.iter().any(|grant| matches!(grant.capability, Capability::Network | Capability::Release));
    Opened { network, writes: writes.collect() }
}

/// `None`: nothing beyond what holds every task.
pub(super) fn confine(
    fleet: &Fleet,
    task: &Task,
    worker: WorkerId,
    run_dir: &Path,
    attempt: Attempt,
) -> Option<Confine> {
    let worker = &fleet.workers[worker];
    let security = fleet.policies.security.as_deref();
    let Opened { network, writes } = opened(fleet, task);
    match worker.trust {
        // Its container holds it.
        Trust::Sandbox if matches!(worker.host, Host::Container(_)) => None,
        Trust::Sandbox => {
            let layers = security.map_or(&SandboxLayer::ALL[..], |security| &security.sandbox);
            Some(Confine {
                read: Some(Vec::new()),
                write: own_folders(task).chain(writes).collect(),
                network,
                private: Some("private".to_owned()),
                layers: layers.iter().map(|layer| self::layer(*layer)).collect(),
            })
        }
        // Without a policy nobody has asked for more than what holds every task.
        Trust::Local | Trust::RemoteVerified if security.is_some() && !matches!(worker.host, Host::Container(_)) => {
            let (own, private): (Vec<String>, String) = if worker.stages() {
                (own_folders(task).collect(), "private".to_owned())
            } else {
                let private = run_dir.join("attempts").join(format!("{}.private", log::stem(&task.name, attempt)));
                let scratch = run_dir.join("attempts").join(log::stem(&task.name, attempt));
                let scratch = task.scratch.then(|| shown(&scratch));
                (std::iter::once(shown(&fleet.workspace)).chain(scratch).collect(), shown(&private))
            };
            Some(Confine {
                read: None,
                write: own.into_iter().chain([COMMON.to_owned()]).chain(writes).collect(),
                network: true,
                private: Some(private),
                layers: Vec::new(),
            })
        }
        Trust::Local | Trust::RemoteVerified | Trust::Operator => None,
    }
}

/// What an attempt that works on a copy may write, in its own folder.
fn own_folders(task: &Task) -> impl Iterator<Item = String> {
    std::iter::once("ws").chain(task.scratch.then_some("scratch")).map(str::to_owned)
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn layer(layer: SandboxLayer) -> Layer {
    match layer {
        SandboxLayer::Bubblewrap => Layer::Bubblewrap,
        SandboxLayer::Landlock => Layer::Landlock,
    }
}

pub(super) fn limits(limits: &crate::model::Limits) -> frame::Limits {
    let crate::model::Limits { cpu_milli, memory_bytes, pids } = *limits;
    frame::Limits { cpu_milli, memory_bytes, pids }
}

/// What a container holds an attempt by, for the receipt; what one of its own does is [`Cell::mechanisms`].
pub(super) fn of_container(worker: &Worker) -> &'static [&'static str] {
    if matches!(worker.host, Host::Container(_)) { &["container"] } else { &[] }
}

/// What a connection has proved of a host, for the receipt.
pub(super) fn of_connection(worker: &Worker) -> &'static [&'static str] {
    match &worker.host {
        Host::Ssh(ssh) if ssh.host_key_fingerprint.is_some() => &["host_key_pinned"],
        Host::Ssh(_) => &["host_key_known"],
        _ => &[],
    }
}

/// What a task may beyond its trust, for the receipt.
pub(super) fn granted(fleet: &Fleet, task: &Task) -> Vec<Box<str>> {
    let shown = |grant: &Grant| {
        let capability = match &grant.capability {
            Capability::Network => "network".to_owned(),
            Capability::Write(glob) => format!("write:{glob}"),
            Capability::Secrets => "secrets".to_owned(),
            Capability::Release => "release".to_owned(),
        };
        format!("{capability}: {}", grant.reason).into()
    };
    grants::of(fleet, task).into_iter().map(shown).collect()
}
