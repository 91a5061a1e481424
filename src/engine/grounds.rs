//! What a run stands on when it begins: nobody else writes in its workspace, and it knows what has not changed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::environment::Environments;
use super::resume::Earlier;
use super::reuse::{Reuse, Standing};
use super::{EXITS, Job};
use crate::host::client::Clients;
use crate::host::{container, local};
use crate::id::RunId;
use crate::model::{ContainerEngine, Host};
use crate::store::{Ahead, Root};

/// Engine and supervisor of a run can be killed together; what they ran is ended by the next run, which is us. Returns
/// what a person should know of it.
pub(super) fn end_what_is_left_of(job: &Job<'_>, run: &RunId) -> Vec<String> {
    let exits = job.state.run_dir(run).join(EXITS);
    let logs = std::fs::read_dir(exits).into_iter().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    let swept = local::sweep_state(job.state.path(), &logs);
    let mut told = Vec::new();
    if !swept.ended.is_empty() {
        told.push(format!("run {run} was killed; ended what it left running: {}", swept.ended.join(", ")));
    }
    told.extend(remove_containers(job));
    if !swept.clean {
        told.push(format!("run {run} was killed, and some of its processes could not be ended"));
    }
    told
}

/// A container ends with the run that started it. One that did not, because its machine lost power, is removed here.
fn remove_containers(job: &Job<'_>) -> Option<String> {
    let mut engines: Vec<ContainerEngine> = Vec::new();
    for worker in job.fleet.workers.values() {
        if let Host::Container(container) = &worker.host
            && !engines.contains(&container.engine)
        {
            engines.push(container.engine);
        }
    }
    // An engine that does not answer is told when something is to run there.
    let clients = Clients::default();
    let left = engines.into_iter().filter_map(|engine| container::remove_left(engine, job.state.path(), &clients).ok());
    let left: Vec<String> = left.flatten().collect();
    (!left.is_empty()).then(|| format!("removed containers that were left: {}", left.join(", ")))
}

/// What a run stands on when it begins.
pub(super) struct Grounds {
    pub environments: Environments,
    /// Variables that are no text.
    pub unreadable: Vec<String>,
    pub root: Arc<Root>,
    pub reuse: Reuse,
    pub stop: Arc<AtomicBool>,
    pub standing: Standing,
}

impl Grounds {
    pub(super) fn look(
        job: &Job<'_>,
        run: &RunId,
        (earlier, ahead): (Option<&Earlier>, Option<Ahead>),
    ) -> io::Result<Self> {
        let fleet = &*job.fleet;
        let own = vec![
            ("FLEET_RUN_ID".to_owned(), run.to_string()),
            ("FLEET_WORKSPACE".to_owned(), fleet.workspace.to_string_lossy().into_owned()),
        ];
        let (mut environments, unreadable) = Environments::capture(std::env::vars_os(), own, fleet.allowed_secrets());
        let root = Arc::new(Root::open(&fleet.workspace)?);
        let stop = Arc::new(AtomicBool::new(false));
        let rules = job.options.reuse.clone();
        let given = (&environments, Arc::clone(&stop));
        let mut reuse = Reuse::open(fleet, Arc::clone(&root), job.state, rules, given, ahead);
        if let Some(earlier) = earlier {
            reuse.take_up(earlier);
        }
        reuse.take_over(&job.stands);
        let standing = reuse.standing(fleet, job.graph, job.selection, &mut environments);
        Ok(Self { environments, unreadable, root, reuse, stop, standing })
    }
}
