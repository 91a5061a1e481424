//! `fleet list`: the tasks of a fleet file, for people who look for a name and programs that complete one.

use std::io::{self, Write};

use clap::Args;
use serde_json::{Value, json};

use super::affected::AffectedArgs;
use super::args::Source;
use super::load::{self, Ready};
use super::{Shell, Trouble};
use crate::graph::select::Part;
use crate::id::TaskId;
use crate::policy::ExitCode;
use crate::report::Paint;
use crate::report::color::Color;

/// List the tasks of a fleet file
#[derive(Args, Debug)]
pub struct ListArgs {
    /// The fleet file, and which tasks to list
    #[arg(value_name = "FILE|TASK")]
    pub words: Vec<String>,
    #[command(flatten)]
    pub source: Source,
    #[command(flatten)]
    pub affected: AffectedArgs,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// # Errors
/// When the fleet file or a pattern is not right, or the output cannot be written.
pub fn run(args: &ListArgs, shell: Shell) -> Result<ExitCode, Trouble> {
    let mut ready = load::open(&args.source, &args.words, &[], shell)?;
    args.affected.narrow(&mut ready)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    if args.json {
        json(&ready, &mut out)?;
    } else {
        human(&ready, shell.stdout(), &mut out)?;
    }
    out.flush()?;
    Ok(ready.exit())
}

/// What the patterns named and, when nothing was named, the handlers as well: they are in the file, too.
fn listed(ready: &Ready) -> Vec<TaskId> {
    let Ready { fleet, graph, selection, .. } = ready;
    let all = ready.affected.is_none()
        && fleet.tasks.ids().filter(|task| !graph.is_handler(*task)).count() == selection.targets.len();
    let listed = |task: &TaskId| selection.part(*task) == Part::Target || all && graph.is_handler(*task);
    fleet.tasks.ids().filter(listed).collect()
}

/// # Errors
/// When `out` cannot be written.
pub fn human(ready: &Ready, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    let Ready { fleet, graph, .. } = ready;
    let tasks = listed(ready);
    let width = tasks.iter().map(|task| fleet.tasks[*task].name.chars().count()).max().unwrap_or(0).min(40);
    for task in tasks {
        let declared = &fleet.tasks[task];
        let mut text =
            declared.description.as_deref().unwrap_or_default().lines().next().unwrap_or_default().to_owned();
        let mut add = |word: String| {
            if !text.is_empty() {
                text.push_str("  ");
            }
            text.push_str(&word);
        };
        if !declared.tags.is_empty() {
            add(declared.tags.iter().map(|tag| format!("#{tag}")).collect::<Vec<_>>().join(" "));
        }
        let owners: Vec<&str> = graph.owners(task).iter().map(|owner| &*fleet.tasks[*owner].name).collect();
        if !owners.is_empty() {
            add(format!("(after a failure of {})", owners.join(", ")));
        }
        if let Some(because) = &declared.unwanted {
            add(format!("(not here: {because})"));
        }
        // Padded by hand, so that no line ends in blanks.
        let name = paint.color(Color::Bold, &declared.name);
        if text.is_empty() {
            writeln!(out, "{name}")?;
        } else {
            let gap = width.saturating_sub(declared.name.chars().count()) + 2;
            writeln!(out, "{name}{:gap$}{text}", "")?;
        }
    }
    Ok(())
}

/// # Errors
/// When `out` cannot be written.
pub fn json(ready: &Ready, out: &mut dyn Write) -> io::Result<()> {
    let Ready { fleet, graph, .. } = ready;
    let tasks = listed(ready).into_iter().map(|task| {
        let declared = &fleet.tasks[task];
        let names =
            |ids: &mut dyn Iterator<Item = TaskId>| ids.map(|id| json!(fleet.tasks[id].name)).collect::<Value>();
        json!({
            "name": declared.name,
            "base": declared.base,
            "description": declared.description,
            "tags": declared.tags,
            "matrix": super::fields::pairs(&declared.matrix),
            "needs": names(&mut graph.needs(task).iter().map(|edge| edge.from)),
            "handler_of": names(&mut graph.owners(task).iter().copied()),
            "not_here": declared.unwanted,
        })
    });
    writeln!(out, "{:#}", json!({ "version": 1, "fleet": fleet.name, "tasks": tasks.collect::<Value>() }))
}
