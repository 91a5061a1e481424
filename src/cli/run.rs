//! `fleet run`: from the words of the command line to the exit code of the run.

use std::io::{self, Write};
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

use clap::Args;

use super::affected::AffectedArgs;
use super::args::{Misuse, Source, choose, sort_out};
use super::load::{self, Ready};
use super::show::{self, ShowArgs};
use super::{Shell, Trouble, audit, plan, records, secrets};
use crate::engine::outcome::Outcome;
use crate::engine::reuse::{self, Forced};
use crate::engine::{self, Job, Options, Resumes, RunError};
use crate::graph::Graph;
use crate::graph::select;
use crate::id::TaskId;
use crate::model::Fleet;
use crate::policy::ExitCode;
use crate::protocol::Receipt;
use crate::protocol::run::RunRequest;
use crate::report::{Drain, Rerun, Sinks};
use crate::spec::Syntax;
use crate::store::Ahead;
use crate::store::state::{LockError, StateDir};

/// Run tasks and what they need, judge them, and write receipts
#[derive(Args, Debug)]
#[command(after_help = "\
Tasks are names, patterns ('lint*') or tags (tag:ci); without any, everything in the file is run.
A word that ends in .toml, .yaml, .yml or .json, with or without .example behind it, is the fleet file.
The exit code says how it went: see `fleet help exit-codes`.")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line, and they mean nothing together"
)]
pub struct RunArgs {
    /// The fleet file and the tasks to run
    #[arg(value_name = "FILE|TASK")]
    pub words: Vec<String>,
    #[command(flatten)]
    pub source: Source,
    /// Leave out tasks, and what needs them, as often as needed
    #[arg(long, value_name = "PATTERN")]
    pub except: Vec<String>,
    #[command(flatten)]
    pub affected: AffectedArgs,
    /// How many tasks at once, at most
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<NonZeroU32>,
    /// After a failure, go on with what does not need the failed task
    #[arg(short, long, conflicts_with = "fail_fast")]
    pub keep_going: bool,
    /// After a failure, stop what runs and start nothing more
    #[arg(long)]
    pub fail_fast: bool,
    /// Run a task with its reads traced, and say which inputs it lacks and which it never reads
    #[arg(long, value_name = "TASK", conflicts_with_all = ["affected", "dry_run"])]
    pub audit_inputs: Option<String>,
    /// Say what would run, and run nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Run also what has not changed: all tasks, or those named
    #[arg(long, value_name = "TASK", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub force: Vec<String>,
    /// Reuse nothing, and keep nothing for reuse
    #[arg(long)]
    pub no_cache: bool,
    /// Read every file anew instead of trusting its size and times
    #[arg(long)]
    pub rehash: bool,
    #[command(flatten)]
    pub show: ShowArgs,
}

/// Carries out the run.
///
/// # Errors
/// When there is nothing to run, or it could not begin.
pub fn run(args: &RunArgs, shell: Shell) -> Result<ExitCode, Trouble> {
    let jobs = args.jobs.map(NonZeroU32::get);
    let mut facts = load::facts();
    facts.jobs = jobs;
    let selecting = args.audit_inputs.as_ref().map(|task| audit::selecting(task, &args.words)).transpose()?;
    let words = selecting.as_ref().unwrap_or(&args.words);
    let ahead = (!args.dry_run && !args.no_cache).then(|| args.ahead(words)).flatten();
    let mut ready = load::open_with(&args.source, words, &args.except, facts, shell)?;
    args.affected.narrow(&mut ready)?;
    if ready.is_untouched() && !args.dry_run {
        return Ok(ExitCode::Passed);
    }
    if ready.selection.is_empty() && !ready.is_untouched() {
        return Err(Trouble::Other(ExitCode::NothingSelected, "nothing is selected".to_owned()));
    }
    if let Some(text) = jobs.and_then(|jobs| too_few_slots(jobs, &ready.fleet)) {
        // A closed standard error is no reason not to run.
        let _ = writeln!(io::stderr(), "warning: {text}");
    }
    let mut reuse = args.reuse(&ready.fleet, &ready.graph)?;
    if args.dry_run {
        let mut out = io::BufWriter::new(io::stdout().lock());
        plan::show(&ready, reuse, args.show.json, shell.stdout(), &mut out)?;
        out.flush()?;
        return Ok(ExitCode::Passed);
    }
    let audit = args.audit_inputs.as_ref().map(|task| audit::prepare(task, &ready)).transpose()?;
    if let Some(audit) = &audit {
        reuse.forced = reuse.forced.with(audit.task);
    }
    let words = sort_out(words, args.source.file.as_deref())?;
    let shown = args.show.sinks(args.rerun(words.file.as_deref(), &words.rest), shell)?;
    let (exe, keys) = (std::env::current_exe()?, args.show.wants_keys());
    let options = Options { jobs, fail_fast: args.fail_fast(), audit, exe, reuse, keys };
    let request = args.request(&ready, words.rest);
    let tell = |job: &Job<'_>, outcome: &Outcome| match &job.options.audit {
        Some(audit) => args.tell(audit.task, job, outcome, shell),
        None => Ok(()),
    };
    carry_out(ready, Asked { options, request, resumes: None, stands: Vec::new(), ahead }, shown, tell)
}

/// What is asked of the engine beside the fleet.
pub(super) struct Asked {
    pub options: Options,
    pub request: RunRequest,
    /// The run to go on with, instead of a new one.
    pub resumes: Option<Resumes>,
    /// What passed in the run that this one does again, and is not to be run.
    pub stands: Vec<(TaskId, Receipt)>,
    /// What earlier runs left, as far as it is being read already.
    pub ahead: Option<Ahead>,
}

/// Carries out a run that is ready. `tell` is what is said behind it.
///
/// # Errors
/// When it could not begin.
pub(super) fn carry_out(
    mut ready: Ready,
    asked: Asked,
    (mut sinks, drains): (Sinks, Vec<Drain>),
    tell: impl FnOnce(&Job<'_>, &Outcome) -> io::Result<()>,
) -> Result<ExitCode, Trouble> {
    // Before anything of this run is on the disk.
    let secrets = secrets::of(&ready, &asked.request)?;
    let state = StateDir::of(&ready.fleet.workspace);
    // If it cannot be made, the run says so.
    if state.create().is_ok() {
        ready.keep();
    }
    let Ready { fleet, graph, selection, origins, .. } = ready;
    // The text of the file is as large as the fleet; a run has no more use for it.
    drop(origins);
    let Asked { options, request, resumes, stands, ahead } = asked;
    let state = &state;
    let (fleet, selection) = (Arc::new(fleet), &selection);
    let job = Job { fleet, graph: &graph, selection, options, state, request, resumes, stands, secrets };
    let ended = engine::run(&job, ahead, &mut sinks);
    let written = show::all_written(drains);
    if let Ok(outcome) = &ended {
        tell(&job, outcome)?;
    }
    // The process ends next, and the kernel takes a large fleet back at once where we would do so text by text.
    std::mem::forget(job.fleet);
    std::mem::forget(graph);
    match ended {
        Ok(outcome) => Ok(if written.is_ok() { outcome.exit } else { outcome.exit.or_worse(ExitCode::NotWritten) }),
        Err(RunError::Lock(busy @ LockError::Locked { .. })) => {
            Err(Trouble::Other(ExitCode::StateBusy, busy.to_string()))
        }
        Err(RunError::Ended { run, exit }) => {
            let text = format!("run {run} has ended, and nothing of it is left to go on with");
            if exit == ExitCode::Passed {
                let _ = writeln!(io::stderr(), "{text}: it passed");
                return Ok(exit);
            }
            let hint = format!("`fleet rerun {run} --failed` is a new run of what did not pass");
            Err(Trouble::Other(exit, format!("{text} (exit code {exit}); {hint}")))
        }
        Err(error @ (RunError::NotHeld(..) | RunError::Empty(_))) => {
            Err(Trouble::Other(ExitCode::Usage, error.to_string()))
        }
        Err(RunError::Journal(run, error)) => Err(records::Trouble::Journal(run, error).into()),
        Err(error) => Err(Trouble::Other(ExitCode::NotWritten, format!("the run could not be recorded: {error}"))),
    }
}

/// What is said about reuse. Tasks are forced by the words that select them; an empty word is all of them.
///
/// # Errors
/// When a word names nothing.
pub(super) fn rules(fleet: &Fleet, graph: &Graph, force: &[String], off: bool) -> Result<reuse::Rules, Trouble> {
    let forced = if force.is_empty() {
        Forced::Nothing
    } else if force.iter().any(String::is_empty) {
        Forced::All
    } else {
        let request = select::Request { patterns: force.to_vec(), except: Vec::new() };
        let unknown = |_| Misuse::Unknown { what: "task", name: force.join("`, `"), nearest: None };
        Forced::Some(select::select(fleet, graph, &request).map_err(|errors| Trouble::Misuse(unknown(errors)))?.targets)
    };
    Ok(reuse::Rules { off, forced, rehash: false })
}

/// What to say to someone who asks for more at once than the declared workers can carry.
fn too_few_slots(jobs: u32, fleet: &Fleet) -> Option<String> {
    let slots: u64 = fleet.workers.values().map(|worker| u64::from(worker.slots)).sum();
    let who = if fleet.workers.len() == 1 { "the worker has" } else { "the workers have" };
    let unit = if slots == 1 { "slot" } else { "slots" };
    (u64::from(jobs) > slots).then(|| format!("-j {jobs}, but {who} {slots} {unit}"))
}

impl RunArgs {
    /// Whether a failure ends the run; `None` leaves it to the fleet file. What is said outright beats `--ci`.
    #[must_use]
    pub fn fail_fast(&self) -> Option<bool> {
        match (self.fail_fast, self.keep_going || self.show.ci) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        }
    }

    /// Starts to read what earlier runs left while the fleet file is read. What cannot be found is told by who needs it.
    fn ahead(&self, words: &[String]) -> Option<Ahead> {
        let named = sort_out(words, self.source.file.as_deref()).ok()?.file;
        let file = choose(named, &std::env::current_dir().ok()?).ok()?.file.canonicalize().ok()?;
        Ahead::read(&StateDir::of(file.parent()?)).ok()
    }

    /// What is said about reuse.
    fn reuse(&self, fleet: &Fleet, graph: &Graph) -> Result<reuse::Rules, Trouble> {
        Ok(reuse::Rules { rehash: self.rehash, ..rules(fleet, graph, &self.force, self.no_cache)? })
    }

    /// What is put on record of it, so that it can be continued or done again.
    fn request(&self, ready: &Ready, patterns: Vec<String>) -> RunRequest {
        let name = |id: &TaskId| ready.fleet.tasks[*id].name.to_string();
        RunRequest {
            file: ready.fleet.file.to_string_lossy().into_owned(),
            plan: Some(ready.digest()),
            set: self.source.set.clone(),
            patterns,
            except: self.except.clone(),
            only: ready.affected.as_ref().map(|_| ready.selection.targets.iter().map(name).collect()),
            jobs: self.jobs.map(NonZeroU32::get),
            fail_fast: self.fail_fast(),
            force: self.force.clone(),
            no_cache: self.no_cache,
            parent: None,
        }
    }

    /// The command line that runs a part of this again, from the same folder.
    #[must_use]
    pub fn rerun(&self, named: Option<&Path>, selection: &[String]) -> Rerun {
        let mut command = vec!["fleet".to_owned(), "run".to_owned()];
        if let Some(file) = named {
            command.extend(["-f".to_owned(), file.display().to_string()]);
        }
        command.extend(self.source.set.iter().flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]));
        let except = self.except.iter().flat_map(|pattern| ["--except".to_owned(), pattern.clone()]);
        Rerun { command, selection: selection.iter().cloned().chain(except).chain(self.affected.words()).collect() }
    }

    /// What the traced task read, behind all that is said of the run.
    fn tell(&self, task: TaskId, job: &Job<'_>, outcome: &Outcome, shell: Shell) -> io::Result<()> {
        let syntax = Syntax::of(&job.fleet.file).unwrap_or(Syntax::Toml);
        let told = audit::Told::of(task, &job.fleet, job.graph, &job.state.run_dir(&outcome.run));
        if self.show.json {
            told.human(&job.fleet, syntax, shell.stderr(), &mut io::stderr())?;
            return told.json(&job.fleet, &mut io::stdout());
        }
        told.human(&job.fleet, syntax, shell.stdout(), &mut io::stdout())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::sort_out;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: RunArgs,
    }

    fn parse(line: &str) -> Result<RunArgs, clap::Error> {
        Line::try_parse_from(["run"].into_iter().chain(line.split_whitespace())).map(|line| line.args)
    }

    #[test]
    fn the_help_of_a_run_looks_like_this() {
        use clap::CommandFactory as _;
        insta::assert_snapshot!(Line::command().name("run").render_help(), @"
    Run tasks and what they need, judge them, and write receipts

    Usage: run [OPTIONS] [FILE|TASK]...

    Arguments:
      [FILE|TASK]...  The fleet file and the tasks to run

    Options:
      -f, --file <FILE>          The fleet file; without it, the nearest fleet.toml, .yaml, .yml or
                                 .json in this folder or above
          --set <KEY=VALUE>      Set a variable of the file, as often as needed
          --except <PATTERN>     Leave out tasks, and what needs them, as often as needed
          --affected [<REV>]     Only tasks touched by what changed in git since REV, or since the
                                 default branch was left
      -j, --jobs <N>             How many tasks at once, at most
      -k, --keep-going           After a failure, go on with what does not need the failed task
          --fail-fast            After a failure, stop what runs and start nothing more
          --audit-inputs <TASK>  Run a task with its reads traced, and say which inputs it lacks and
                                 which it never reads
      -n, --dry-run              Say what would run, and run nothing
          --force[=<TASK>]       Run also what has not changed: all tasks, or those named
          --no-cache             Reuse nothing, and keep nothing for reuse
          --rehash               Read every file anew instead of trusting its size and times
          --explain              Say of each task that runs why no earlier result is reused
          --json                 Print each event as a line of JSON on standard output, and everything
                                 for people on standard error
      -o, --output <HOW>         How to show what tasks print [default: grouped] [possible values:
                                 grouped, stream, on-fail, quiet]
          --no-progress          No live display; a line per event instead
          --ci                   As a CI wants it: --no-progress --output grouped --keep-going, and the
                                 marks of GitHub Actions or GitLab
      -h, --help                 Print help (see more with '--help')

    Tasks are names, patterns ('lint*') or tags (tag:ci); without any, everything in the file is run.
    A word that ends in .toml, .yaml, .yml or .json, with or without .example behind it, is the fleet
    file.
    The exit code says how it went: see `fleet help exit-codes`.
    ");
    }

    #[test]
    fn options_may_stand_between_the_words() {
        let args = parse("build fleet.toml.example -j 3 test --set a=b --set c= --except x* -o on-fail").unwrap();
        let words = sort_out(&args.words, args.source.file.as_deref()).unwrap();
        assert_eq!(words.file.as_deref(), Some(Path::new("fleet.toml.example")));
        assert_eq!(words.rest, ["build", "test"]);
        assert_eq!(args.jobs.map(NonZeroU32::get), Some(3));
        assert_eq!(args.source.set, [("a".into(), "b".into()), ("c".into(), String::new())]);
        assert_eq!(args.except, ["x*"]);
        assert_eq!(args.show.output, Some(crate::report::OutputMode::OnFail));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in ["-j 0", "-j many", "--set novalue", "--set =x", "-k --fail-fast", "--output loud", "--no-such"] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn ci_gives_way_to_what_is_said_outright() {
        for (line, fail_fast) in [
            ("", None),
            ("--ci", Some(false)),
            ("--keep-going", Some(false)),
            ("--fail-fast", Some(true)),
            ("--ci --fail-fast", Some(true)),
        ] {
            assert_eq!(parse(line).unwrap().fail_fast(), fail_fast, "{line}");
        }
        assert!(parse("").unwrap().show.wants_live(true, Some("xterm")));
        for line in ["--ci", "--no-progress"] {
            assert!(!parse(line).unwrap().show.wants_live(true, Some("xterm")), "{line}");
        }
        for (terminal, term) in [(false, Some("xterm")), (true, Some("dumb")), (true, None)] {
            assert!(!parse("").unwrap().show.wants_live(terminal, term));
        }
    }

    #[test]
    fn the_same_command_runs_again() {
        let args = parse("x.toml build --set a=b --except lint").unwrap();
        let rerun = args.rerun(Some(Path::new("x.toml")), &["build".to_owned()]);
        assert_eq!(rerun.command, ["fleet", "run", "-f", "x.toml", "--set", "a=b"]);
        assert_eq!(rerun.selection, ["build", "--except", "lint"]);
    }
}
