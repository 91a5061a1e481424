//! `fleet rerun`: another run of what an earlier one was asked for, which names that one as its parent.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::Args;

use super::load::Ready;
use super::records::Opened;
use super::resume::{load_as, request_of, rerun, task_named};
use super::run::{Asked, carry_out, rules};
use super::show::ShowArgs;
use super::{Shell, Trouble};
use crate::engine::Options;
use crate::engine::reuse::Forced;
use crate::id::{IdMap, TaskId};
use crate::journal::fold::Receipts;
use crate::journal::{self, Reader};
use crate::policy::ExitCode;
use crate::protocol::{Receipt, TaskResult, TaskSpec};

/// Run again what an earlier run was asked for, all of it or what did not pass
#[derive(Args, Debug)]
#[command(after_help = "\
A new run with the same words, of the fleet file as it is now. What is not run again stands on the receipts of the
earlier run, as long as its outputs are still there. `fleet resume` goes on with the same run instead.")]
pub struct RerunArgs {
    /// The run: its id, the beginning of it, or `latest`
    #[arg(value_name = "RUN", default_value = "latest")]
    pub run: String,
    /// The fleet file beside whose state directory the run is; without it, the nearest
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Only what did not pass, and what comes after it
    #[arg(long, conflicts_with = "from")]
    pub failed: bool,
    /// Only this task, whatever it came to, what comes after it, and what did not pass
    #[arg(long, value_name = "TASK")]
    pub from: Option<String>,
    #[command(flatten)]
    pub show: ShowArgs,
}

/// Carries out the run.
///
/// # Errors
/// When the earlier run cannot be read, or the new one could not begin.
pub fn run(args: &RerunArgs, shell: Shell) -> Result<ExitCode, Trouble> {
    let opened = Opened::find(args.file.clone(), &args.run)?;
    let mut request = request_of(&opened)?;
    let ready = load_as(&opened, &request, shell)?;
    if ready.selection.is_empty() {
        return Err(Trouble::Other(ExitCode::NothingSelected, "nothing is selected".to_owned()));
    }
    let mut reuse = rules(&ready.fleet, &ready.graph, &request.force, request.no_cache)?;
    let anew = args.from.as_ref().map(|name| task_named(&ready, name)).transpose()?;
    if let Some(task) = anew.filter(|task| !ready.selection.contains(*task)) {
        let name = &ready.fleet.tasks[task].name;
        let text = format!("`{name}` has no part in run {}: it was not selected there", opened.run);
        return Err(Trouble::Other(ExitCode::Usage, text));
    }
    let anew = anew.map(|task| behind(&ready, task));
    let mut stands = Vec::new();
    if args.failed || anew.is_some() {
        let again = |id: TaskId| anew.as_ref().is_some_and(|anew| anew[id]);
        stands = passed(&opened, &ready)?;
        stands.retain(|(id, _)| !again(*id));
        // What was forced then was forced for its own sake; what is forced now is, when this run goes on after a kill.
        let forced: Vec<TaskId> = ready.selection.tasks().filter(|id| again(*id)).collect();
        request.force = forced.iter().map(|id| ready.fleet.tasks[*id].name.to_string()).collect();
        reuse.forced = Forced::Some(forced);
    }
    request.plan = Some(ready.digest());
    request.parent = Some(opened.run.to_string());
    let (exe, keys) = (std::env::current_exe()?, args.show.wants_keys());
    let options = Options {
        jobs: request.jobs,
        fail_fast: request.fail_fast.or(args.show.ci.then_some(false)),
        audit: None,
        exe,
        reuse,
        keys,
    };
    let shown = args.show.sinks(rerun(args.file.as_ref(), &request), shell)?;
    carry_out(ready, Asked { options, request, resumes: None, stands, ahead: None }, shown, |_, _| Ok(()))
}

/// What passed then and means the same in the file as it is now.
fn passed(opened: &Opened, ready: &Ready) -> Result<Vec<(TaskId, Receipt)>, Trouble> {
    let state = opened.state(opened.fold()?.state)?;
    let mut receipts = Receipts::open(&opened.dir)?;
    let mut reader = Reader::open(&opened.dir)?;
    let first = reader.next().map_err(|error| opened.journal(error))?;
    let run = first.and_then(|line| line.run().ok().flatten());
    let specs = run.map(|run| run.task_specs).unwrap_or_default();
    let specs: HashMap<&str, &TaskSpec> = specs.iter().map(|spec| (&*spec.id, spec)).collect();
    let ids: HashMap<&str, TaskId> = ready.fleet.tasks.iter().map(|(id, task)| (&*task.name, id)).collect();
    let passed = state.tasks.iter().filter_map(|task| {
        let settled = task.settled.filter(|settled| settled.result == TaskResult::Pass)?;
        let id = *ids.get(&*task.name)?;
        // What means something else now has not passed as that.
        let then = specs.get(&*task.name)?;
        (**then == journal::task_spec(&ready.fleet.tasks[id], &ready.fleet)).then_some((id, settled))
    });
    passed.map(|(id, settled)| Ok((id, receipts.get(&settled).map_err(|error| opened.journal(error))?))).collect()
}

/// The task and everything that needs it, however far away.
fn behind(ready: &Ready, task: TaskId) -> IdMap<TaskId, bool> {
    let mut behind = IdMap::filled(&ready.fleet.tasks, false);
    behind[task] = true;
    for &id in ready.graph.order() {
        behind[id] |= ready.graph.needs(id).iter().any(|edge| behind[edge.from]);
    }
    behind
}
