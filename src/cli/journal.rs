//! `fleet journal`: whether a run's journal is whole, and what can be made of one that is not.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::args::{self, Misuse};
use super::records::{self, Opened};
use super::{Shell, Trouble};
use crate::journal::repair::{self, Found};
use crate::policy::ExitCode;
use crate::report::color::Color;
use crate::store::state::{LockError, Upkeep};
use crate::time::clock;

/// Names of tasks, and pieces of the file, that are listed; the rest are a number.
const LISTED_MAX: usize = 20;

/// Check a run's journal, or repair a damaged one
#[derive(Args, Debug)]
pub struct JournalArgs {
    #[command(subcommand)]
    pub command: JournalCommand,
}

#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// Verify every record of a run's journal, and say what is damaged
    Check(WhichArgs),
    /// Write a damaged journal anew from the records that verify, and set the damaged one aside
    Repair(WhichArgs),
}

#[derive(Args, Debug)]
pub struct WhichArgs {
    /// The run: its id, the beginning of it, or `latest`, which is the default; a fleet file says whose
    #[arg(value_name = "FILE|RUN")]
    pub words: Vec<String>,
    /// The fleet file whose runs are meant
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// # Errors
/// When there is no such run, a run holds the state directory, or something cannot be read or written.
pub fn run(args: &JournalArgs, shell: Shell) -> Result<ExitCode, Trouble> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let code = match &args.command {
        JournalCommand::Check(which) => check(&open(which)?, &mut out)?,
        JournalCommand::Repair(which) => mend(&open(which)?, shell, &mut out)?,
    };
    out.flush()?;
    Ok(code)
}

fn open(which: &WhichArgs) -> Result<Opened, Trouble> {
    let words = args::sort_out(&which.words, which.file.as_deref())?;
    if let Some(word) = words.rest.get(1) {
        return Err(Misuse::TooMany(word.clone()).into());
    }
    Ok(Opened::find(words.file, words.rest.first().map_or("latest", String::as_str))?)
}

fn look(opened: &Opened) -> Result<Found, Trouble> {
    let found = repair::look(&opened.dir, &opened.run).map_err(|error| opened.journal(error))?;
    if found.is_whole() && found.records() == 0 {
        return Err(opened.no_record().into());
    }
    Ok(found)
}

fn check(opened: &Opened, out: &mut dyn Write) -> Result<ExitCode, Trouble> {
    // Asked first: the end of a journal that is being written may be half of a record.
    let live = opened.is_live();
    let found = look(opened)?;
    let run = &opened.run;
    let count = counted(found.records());
    if found.is_whole() || (live && found.is_torn()) {
        writeln!(out, "run {run}: {count}, all whole")?;
        return Ok(ExitCode::Passed);
    }
    if found.is_torn() {
        writeln!(out, "run {run}: {count}, all whole; what follows them is no record and is cut by whoever reads it")?;
        damage(&found, out)?;
        return Ok(ExitCode::Passed);
    }
    writeln!(out, "run {run}: damaged at byte {}; {count} can be kept", found.offset())?;
    damage(&found, out)?;
    if found.records() > 0 {
        writeln!(out, "to keep what verifies: fleet journal repair {run}")?;
    }
    Ok(ExitCode::NotVerified)
}

fn mend(opened: &Opened, shell: Shell, out: &mut dyn Write) -> Result<ExitCode, Trouble> {
    let run = &opened.run;
    let _lock = opened.state_dir().lock_for_upkeep(Upkeep::Repair, clock::now()).map_err(|error| {
        let code = match &error {
            LockError::Locked { .. } => ExitCode::StateBusy,
            LockError::Io { .. } => ExitCode::NotWritten,
        };
        Trouble::Other(code, error.to_string())
    })?;
    let found = look(opened)?;
    if found.is_whole() {
        writeln!(out, "run {run}: {}, all whole; nothing to repair", counted(found.records()))?;
        return Ok(ExitCode::Passed);
    }
    if found.records() == 0 {
        let text =
            format!("run {run}: no record of its journal verifies, so there is nothing to keep; it stays as it is");
        return Err(Trouble::Other(ExitCode::NotVerified, text));
    }
    let aside = found.repair(&opened.dir, clock::now()).map_err(|error| opened.journal(error))?;
    let paint = shell.stdout();
    writeln!(out, "run {run}: {} kept, each as it was", counted(found.records()))?;
    damage(&found, out)?;
    let state = opened.state(opened.fold()?.state)?;
    let open: Vec<&str> = state.tasks.iter().filter(|task| task.settled.is_none()).map(|task| &*task.name).collect();
    if !open.is_empty() {
        writeln!(out, "open     {}: no result of these is on record", listed(&open))?;
    }
    if found.lost.first().is_some_and(|lost| *lost.start() == 1) {
        let text = "the first record is lost: only tasks that later records name are known";
        writeln!(out, "{} {text}", paint.color(Color::Yellow, "warning:"))?;
    }
    writeln!(out, "the damaged journal is {}", aside.display())?;
    Ok(ExitCode::Passed)
}

/// What is not kept, and which numbers are missing.
fn damage(found: &Found, out: &mut dyn Write) -> io::Result<()> {
    for piece in found.dropped.iter().take(LISTED_MAX) {
        let names: Vec<&str> = piece.tasks.iter().map(String::as_str).collect();
        let of = if names.is_empty() { String::new() } else { format!(", where one reads of {}", listed(&names)) };
        let unit = if piece.bytes == 1 { "byte" } else { "bytes" };
        writeln!(out, "dropped  {} {unit} at {}{of}", piece.bytes, piece.offset)?;
    }
    if found.dropped.len() > LISTED_MAX {
        writeln!(out, "dropped  {} more pieces", found.dropped.len() - LISTED_MAX)?;
    }
    for lost in found.lost.iter().take(LISTED_MAX) {
        writeln!(out, "lost     {}", records::range(lost))?;
    }
    if found.lost.len() > LISTED_MAX {
        writeln!(out, "lost     records of {} more gaps", found.lost.len() - LISTED_MAX)?;
    }
    Ok(())
}

fn listed(names: &[&str]) -> String {
    let shown = names[..names.len().min(LISTED_MAX)].join(", ");
    let shown: String = shown.chars().filter(|c| !c.is_control()).collect();
    match names.len().checked_sub(LISTED_MAX).filter(|more| *more > 0) {
        Some(more) => format!("{shown} and {more} more"),
        None => shown,
    }
}

fn counted(count: usize) -> String {
    format!("{count} record{}", if count == 1 { "" } else { "s" })
}
