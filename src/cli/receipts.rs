//! `fleet receipts`: the durable account of what each task did, as it was written.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::args::{self, Misuse};
use super::records::{Opened, Trouble};
use crate::journal::{Receipts, TaskState};

/// Look at receipts
#[derive(Args, Debug)]
pub struct ReceiptsArgs {
    #[command(subcommand)]
    pub command: ReceiptsCommand,
}

#[derive(Debug, Subcommand)]
pub enum ReceiptsCommand {
    Show(ShowArgs),
}

/// Print the receipts of a run as JSON, or the one of a task
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// The run: its id, the beginning of it, or `latest`; then the task; a fleet file says whose
    #[arg(value_name = "FILE|RUN|TASK", required = true)]
    pub words: Vec<String>,
    /// The fleet file whose runs are meant
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// # Errors
/// See [`Trouble`].
pub fn run(args: &ReceiptsArgs, out: &mut dyn Write) -> Result<u8, Trouble> {
    match &args.command {
        ReceiptsCommand::Show(args) => show(args, std::io::stdout().is_terminal(), out),
    }
}

/// One task: its receipt. No task: a list of all, in the order of the fleet file, one at a time.
fn show(args: &ShowArgs, pretty: bool, out: &mut dyn Write) -> Result<u8, Trouble> {
    let words = args::sort_out(&args.words, args.file.as_deref())?;
    let (run, task) = match &words.rest[..] {
        [] => ("latest", None),
        [run] => (run.as_str(), None),
        [run, task] => (run.as_str(), Some(task)),
        [_, _, word, ..] => return Err(Misuse::TooMany(word.clone()).into()),
    };
    let opened = Opened::find(words.file, run)?;
    let state = opened.state(opened.fold()?.state)?;
    let mut receipts = Receipts::open(&opened.dir)?;
    let mut print = |task: &TaskState, out: &mut dyn Write| -> Result<bool, Trouble> {
        let Some(settled) = &task.settled else { return Ok(false) };
        let receipt = receipts.get(settled).map_err(|error| opened.journal(error))?;
        let written = if pretty {
            serde_json::to_writer_pretty(&mut *out, &receipt)
        } else {
            serde_json::to_writer(&mut *out, &receipt)
        };
        written.map_err(std::io::Error::from)?;
        Ok(true)
    };
    if let Some(name) = task {
        let task = state.task(name).ok_or_else(|| opened.no_task(&state, name))?;
        if !print(task, out)? {
            return Err(Trouble::NotThere(format!("task `{name}` has no receipt yet in run {}", opened.run)));
        }
    } else {
        out.write_all(b"[")?;
        let mut first = true;
        for task in state.tasks.iter().filter(|task| task.settled.is_some()) {
            out.write_all(if first { b"\n" } else { b",\n" })?;
            first = false;
            print(task, out)?;
        }
        out.write_all(if first { b"]" } else { b"\n]" })?;
    }
    out.write_all(b"\n")?;
    out.flush()?;
    Ok(0)
}
