//! `fleet resume`: goes on with a run that was cut short, whatever cut it.

use std::path::PathBuf;

use clap::Args;

use super::args::Source;
use super::load::{self, Ready};
use super::records::Opened;
use super::run::{Asked, carry_out, rules};
use super::show::ShowArgs;
use super::{Shell, Trouble, records};
use crate::engine::{Options, Resumes};
use crate::graph::select;
use crate::id::{RunId, TaskId};
use crate::journal::Reader;
use crate::policy::ExitCode;
use crate::protocol::run::RunRequest;
use crate::report::Rerun;

/// Go on with a run that was killed, cancelled or otherwise cut short
#[derive(Args, Debug)]
#[command(after_help = "\
The same run goes on: what has a result keeps it, an attempt that ended is judged, and an attempt whose end nobody
knows is made again, unless its task says `on_unknown = \"hold\"`. The fleet file must mean what it meant.
`fleet rerun` is another run of the same; `fleet run` is a run of whatever the file says now.")]
pub struct ResumeArgs {
    /// The run: its id, the beginning of it, or `latest`
    #[arg(value_name = "RUN", default_value = "latest")]
    pub run: String,
    /// The fleet file beside whose state directory the run is; without it, the nearest
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Make a held task again, of which nobody knows whether it ran; as often as needed
    #[arg(long, value_name = "TASK")]
    pub again: Vec<String>,
    #[command(flatten)]
    pub show: ShowArgs,
}

/// Carries out what is left of the run.
///
/// # Errors
/// When there is nothing to go on with, or nobody should.
pub fn run(args: &ResumeArgs, shell: Shell) -> Result<ExitCode, Trouble> {
    let opened = Opened::find(args.file.clone(), &args.run)?;
    let request = request_of(&opened)?;
    let ready = load_as(&opened, &request, shell)?;
    if request.plan != Some(ready.digest()) {
        return Err(Trouble::Other(ExitCode::Usage, changed(&opened.run)));
    }
    let again = args.again.iter().map(|name| task_named(&ready, name)).collect::<Result<Vec<_>, _>>()?;
    let reuse = rules(&ready.fleet, &ready.graph, &request.force, request.no_cache)?;
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
    let resumes = Some(Resumes { run: opened.run.clone(), again });
    carry_out(ready, Asked { options, request, resumes, stands: Vec::new(), ahead: None }, shown, |_, _| Ok(()))
}

/// What the run was asked to do.
///
/// # Errors
/// When its journal does not say.
pub(super) fn request_of(opened: &Opened) -> Result<RunRequest, Trouble> {
    let journal = |error| Trouble::from(opened.journal(error));
    let mut reader = Reader::open(&opened.dir).map_err(|error| journal(error.into()))?;
    let first = reader.next().map_err(journal)?;
    let gone = |text: String| Trouble::from(records::Trouble::NotThere(text));
    let first = first.ok_or_else(|| gone(format!("run {} has no record: it ended before it began", opened.run)))?;
    let run = first.run().ok().flatten();
    let run = run.ok_or_else(|| gone(format!("run {} has lost the record of what it was asked for", opened.run)))?;
    run.request.ok_or_else(|| {
        let version = run.fleet_version;
        gone(format!("run {} of fleet {version} does not say what it was asked for: use `fleet run`", opened.run))
    })
}

/// The fleet and the selection of an earlier run, as they are now.
///
/// # Errors
/// As `load::open`.
pub(super) fn load_as(opened: &Opened, request: &RunRequest, shell: Shell) -> Result<Ready, Trouble> {
    // The workspace may have been moved, and its state directory with it.
    let name = PathBuf::from(&request.file);
    let file = opened.workspace().join(name.file_name().unwrap_or(name.as_os_str()));
    let source = Source { file: Some(file), set: request.set.clone() };
    let mut facts = load::facts();
    facts.jobs = request.jobs;
    let mut ready = load::open_with(&source, &request.patterns, &request.except, facts, shell)?;
    if let Some(only) = &request.only {
        let wanted = |id: TaskId| only.iter().any(|name| **name == *ready.fleet.tasks[id].name);
        ready.selection = ready.selection.only(&ready.fleet, &ready.graph, wanted);
    }
    Ok(ready)
}

/// The command line that does a part of it again.
pub(super) fn rerun(file: Option<&PathBuf>, request: &RunRequest) -> Rerun {
    let file = file.map(|file| ["-f".to_owned(), file.display().to_string()]);
    let set = request.set.iter().flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]);
    let command = ["fleet".to_owned(), "run".to_owned()].into_iter().chain(file.into_iter().flatten()).chain(set);
    let except = request.except.iter().flat_map(|pattern| ["--except".to_owned(), pattern.clone()]);
    Rerun { command: command.collect(), selection: request.patterns.iter().cloned().chain(except).collect() }
}

fn changed(run: &RunId) -> String {
    format!(
        "the fleet file does not mean what it meant when run {run} began, and a run goes on only as it began: \
         put the file back, or use `fleet rerun {run} --failed` for a new run of what did not pass"
    )
}

pub(super) fn task_named(ready: &Ready, name: &str) -> Result<TaskId, Trouble> {
    let request = select::Request { patterns: vec![name.to_owned()], except: Vec::new() };
    match select::select(&ready.fleet, &ready.graph, &request).as_ref().map(|found| &*found.targets) {
        Ok([task]) => Ok(*task),
        _ => Err(super::Misuse::Unknown { what: "task", name: name.to_owned(), nearest: None }.into()),
    }
}
