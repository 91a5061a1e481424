//! `fleet workers`: the places of a fleet file. `check` tries them, `clean` removes what is kept with them.

mod check;
mod clean;

use std::fmt::Write as _;
use std::io::{self, Write};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::args::{self, Misuse, Source};
use super::load::{self, Ready};
use super::places::{WORKER_FIELDS, address};
use super::{Shell, Trouble};
use crate::model::{Host, Worker};
use crate::policy::ExitCode;
use crate::report::Paint;
use crate::report::color::Color;
use crate::time::written;

/// Look at the workers of a fleet file
#[derive(Args, Debug)]
pub struct WorkersArgs {
    #[command(subcommand)]
    pub command: WorkersCommand,
}

#[derive(Debug, Subcommand)]
pub enum WorkersCommand {
    List(ListArgs),
    Check(check::CheckArgs),
    Clean(clean::CleanArgs),
}

/// List the workers: where they are, what they offer, and how far they are trusted
#[derive(Args, Debug)]
pub struct ListArgs {
    /// The fleet file
    #[arg(value_name = "FILE")]
    pub words: Vec<String>,
    #[command(flatten)]
    pub source: Source,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// # Errors
/// As each of the commands.
pub fn run(args: &WorkersArgs, shell: Shell) -> Result<ExitCode, Trouble> {
    match &args.command {
        WorkersCommand::List(args) => list(args, shell),
        WorkersCommand::Check(args) => check::run(args, shell),
        WorkersCommand::Clean(args) => clean::run(args, shell),
    }
}

/// # Errors
/// When the fleet file is not right, or the output cannot be written.
fn list(args: &ListArgs, shell: Shell) -> Result<ExitCode, Trouble> {
    let ready = ready(&args.words, &args.source, shell)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    if args.json {
        json(&ready, &mut out)?;
    } else {
        human(&ready, shell.stdout(), &mut out)?;
    }
    out.flush()?;
    Ok(ExitCode::Passed)
}

/// The fleet of a command that takes no tasks.
fn ready(words: &[String], source: &Source, shell: Shell) -> Result<Ready, Trouble> {
    if let Some(word) = args::sort_out(words, source.file.as_deref())?.rest.first() {
        return Err(Misuse::TooMany(word.clone()).into());
    }
    load::open(source, words, &[], shell)
}

/// # Errors
/// When `out` cannot be written.
pub fn human(ready: &Ready, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    let workers: Vec<&Worker> = ready.fleet.workers.values().collect();
    let widest = |text: fn(&Worker) -> &str| {
        workers.iter().map(|worker| text(worker).chars().count()).max().unwrap_or(0).min(40)
    };
    let (names, kinds) = (widest(|worker| &worker.name), widest(|worker| worker.host.name()));
    for worker in &workers {
        // Padded by hand, so that no line ends in blanks.
        let gap = names.saturating_sub(worker.name.chars().count()) + 2;
        let kind = worker.host.name();
        writeln!(out, "{}{:gap$}{kind:kinds$}  {}", paint.color(Color::Bold, &worker.name), "", address(&worker.host))?;
        for line in offers(worker) {
            writeln!(out, "  {}", paint.color(Color::Dim, line))?;
        }
    }
    Ok(())
}

/// What it carries, how far it is trusted, and what tasks may ask it for.
fn offers(worker: &Worker) -> Vec<String> {
    let mut first = format!("{} {}", worker.slots, if worker.slots == 1 { "slot" } else { "slots" });
    // Writing to a string cannot fail.
    let _ = write!(first, ", trust {}", worker.trust);
    if worker.own_trust != worker.trust {
        let _ = write!(first, " (it has {}, and `max_trust` leaves it that)", worker.own_trust);
    }
    if worker.host != Host::Local {
        let _ = write!(first, ", lease {}", written(worker.lease));
    }
    let labels: Vec<String> = worker.labels.iter().map(|(key, value)| format!("{key} = \"{value}\"")).collect();
    let lists = [
        ("labels", &labels),
        ("capabilities", &worker.capabilities),
        ("roles", &worker.roles),
        ("tools", &worker.tools),
    ];
    let lists = lists.into_iter().filter(|(_, list)| !list.is_empty());
    std::iter::once(first).chain(lists.map(|(what, list)| format!("{what}: {}", list.join(", ")))).collect()
}

/// # Errors
/// When `out` cannot be written.
pub fn json(ready: &Ready, out: &mut dyn Write) -> io::Result<()> {
    let workers: Vec<Value> = ready.fleet.workers.values().map(worker).collect();
    writeln!(out, "{:#}", json!({ "version": 1, "fleet": ready.fleet.name, "workers": workers }))
}

fn worker(worker: &Worker) -> Value {
    let mut object = Map::new();
    object.insert("name".into(), worker.name.as_str().into());
    object.extend(WORKER_FIELDS.iter().map(|(key, value)| ((*key).to_owned(), value(worker))));
    object.insert("trust".into(), json!({ "own": worker.own_trust.name(), "given": worker.trust.name() }));
    object.into()
}
