//! `fleet cache`: what the store of the state directory holds, and whether it is whole.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::args::{self, Misuse};
use super::records;
use super::{Shell, Trouble};
use crate::digest::Digest;
use crate::id::RunId;
use crate::policy::ExitCode;
use crate::report::color::Color;
use crate::report::text::Bytes;
use crate::store::check::{Checked, Damaged};
use crate::store::inventory::{Blob, Inventory, Leftover};
use crate::store::{StateDir, Store, reach};

/// Look at what is kept of past runs
#[derive(Args, Debug)]
pub struct CacheArgs {
    #[command(subcommand)]
    pub command: CacheCommand,
}

#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    Check(CheckArgs),
    Stats(StatsArgs),
}

/// Look for damage in the store, and set aside what is damaged
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// The fleet file whose store is meant
    #[arg(value_name = "FILE")]
    pub words: Vec<String>,
    /// The fleet file whose store is meant
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Also read everything it holds
    #[arg(long)]
    pub read_data: bool,
    /// Print what was found as JSON
    #[arg(long)]
    pub json: bool,
}

/// Count what the store holds, and what records cite of it
#[derive(Args, Debug)]
pub struct StatsArgs {
    /// The fleet file whose store is meant
    #[arg(value_name = "FILE")]
    pub words: Vec<String>,
    /// The fleet file whose store is meant
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Print the figures as JSON
    #[arg(long)]
    pub json: bool,
}

/// # Errors
/// When the store or the records cannot be read, or the output cannot be written.
pub fn run(args: &CacheArgs, shell: Shell) -> Result<ExitCode, Trouble> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let exit = match &args.command {
        CacheCommand::Check(args) => check(args, shell, &mut out)?,
        CacheCommand::Stats(args) => stats(args, &mut out)?,
    };
    out.flush()?;
    Ok(exit)
}

/// The state directory beside the fleet file that the words name.
pub(super) fn state_of(words: &[String], file: Option<&PathBuf>) -> Result<StateDir, Trouble> {
    let words = args::sort_out(words, file.map(PathBuf::as_path))?;
    if let Some(word) = words.rest.first() {
        return Err(Misuse::TooMany(word.clone()).into());
    }
    Ok(records::state_dir(words.file)?)
}

fn check(args: &CheckArgs, shell: Shell, out: &mut dyn Write) -> Result<ExitCode, Trouble> {
    let state = state_of(&args.words, args.file.as_ref())?;
    let store = Store::find(state.path()).map_err(|error| unreadable(&error))?;
    let checked = store
        .map_or(Ok(Checked::default()), |store| store.check(args.read_data))
        .map_err(|error| unreadable(&error))?;
    let lost: BTreeSet<Digest> = checked.damaged.iter().filter_map(|damaged| damaged.digest).collect();
    let makers = reach::makers(&state, &lost).map_err(|error| unreadable(&error))?;
    if args.json {
        writeln!(out, "{:#}", check_json(&checked, &makers))?;
    } else {
        let mark = shell.stdout().color(Color::Red, "damaged").to_string();
        for damaged in &checked.damaged {
            writeln!(out, "{mark}  {}: {}", damaged.path.display(), damaged.fault)?;
            writeln!(out, "         {}", became_of(damaged, &makers))?;
        }
        writeln!(out, "{}", check_line(&checked, args.read_data))?;
    }
    Ok(if checked.damaged.is_empty() { ExitCode::Passed } else { ExitCode::NotVerified })
}

type Makers = HashMap<Digest, BTreeMap<String, RunId>>;

fn makers_of<'a>(damaged: &Damaged, makers: &'a Makers) -> impl Iterator<Item = (&'a String, &'a RunId)> {
    damaged.digest.and_then(|digest| makers.get(&digest)).into_iter().flatten()
}

/// Whose it was, and where it is now.
fn became_of(damaged: &Damaged, makers: &Makers) -> String {
    let aside = match &damaged.stays {
        None => "set aside, to be made anew when it is needed".to_owned(),
        Some(error) => format!("it cannot be set aside: {error}"),
    };
    let names: Vec<String> =
        makers_of(damaged, makers).take(NAMES_MAX).map(|(task, run)| format!("`{task}` in run {run}")).collect();
    if names.is_empty() { aside } else { format!("made by {}; {aside}", names.join(", ")) }
}

/// Most tasks that are named for a damaged file.
const NAMES_MAX: usize = 4;

fn check_line(checked: &Checked, read_data: bool) -> String {
    let all = format!("{}, {}", files(checked.blobs), Bytes(checked.bytes));
    match checked.damaged.len() {
        0 if read_data => format!("{all}: no damage"),
        0 => format!("{all}: no damage to be seen from outside; --read-data also reads them"),
        damaged => format!("{all}: {damaged} damaged"),
    }
}

fn check_json(checked: &Checked, makers: &Makers) -> Value {
    let damaged = checked.damaged.iter().map(|damaged| {
        let tasks: Value =
            makers_of(damaged, makers).map(|(task, run)| json!({ "task": task, "run": run.as_str() })).collect();
        json!({
            "path": damaged.path.to_string_lossy(),
            "digest": damaged.digest.as_ref().map(ToString::to_string),
            "what": damaged.fault.to_string(),
            "set_aside": damaged.stays.is_none(),
            "made_by": tasks,
        })
    });
    json!({
        "version": 1,
        "files": checked.blobs,
        "bytes": checked.bytes,
        "files_read": checked.read,
        "damaged": damaged.collect::<Value>(),
    })
}

fn stats(args: &StatsArgs, out: &mut dyn Write) -> Result<ExitCode, Trouble> {
    let state = state_of(&args.words, args.file.as_ref())?;
    let store = Store::find(state.path()).map_err(|error| unreadable(&error))?;
    let all = store.map_or(Ok(Inventory::default()), |store| store.inventory()).map_err(|error| unreadable(&error))?;
    let runs = state.runs().map_err(|error| unreadable(&error))?;
    let mut cited = reach::reachable_from_results(&state, None);
    for run in &runs {
        reach::each_cited(&state, run, |_, digest| {
            cited.insert(digest);
        })
        .map_err(|error| Trouble::from(records::Trouble::Journal(run.clone(), error)))?;
    }
    let count = |blobs: &mut dyn Iterator<Item = &Blob>| blobs.fold((0, 0), |(n, sum), blob| (n + 1, sum + blob.bytes));
    let left = |files: &[Leftover]| (files.len(), files.iter().map(|file| file.bytes).sum::<u64>());
    let rows: [(&str, &str, (usize, u64)); 4] = [
        ("store", "all", (all.blobs.len(), all.bytes())),
        ("cited by records", "cited", count(&mut all.blobs.iter().filter(|blob| cited.contains(&blob.digest)))),
        ("set aside", "set_aside", left(&all.aside)),
        ("unfinished", "unfinished", left(&all.unfinished)),
    ];
    if args.json {
        let mut figures = json!({ "version": 1, "runs": runs.len() });
        for (_, key, (files, bytes)) in rows {
            figures[key] = json!({ "files": files, "bytes": bytes });
        }
        writeln!(out, "{figures:#}")?;
    } else {
        for (name, _, (count, bytes)) in rows {
            writeln!(out, "{name:<16}  {:>12}  {:>10}", files(count), Bytes(bytes).to_string())?;
        }
        writeln!(out, "{:<16}  {:>12}", "runs", runs.len())?;
    }
    Ok(ExitCode::Passed)
}

pub(super) fn files(count: usize) -> String {
    format!("{count} file{}", if count == 1 { "" } else { "s" })
}

fn unreadable(error: &io::Error) -> Trouble {
    Trouble::Other(ExitCode::NotWritten, format!("the state directory cannot be read: {error}"))
}
