//! `fleet gc`: removes what of past runs is too old or too much.

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::args::Source;
use super::cache::{files, state_of};
use super::load;
use super::{Shell, Trouble};
use crate::policy::ExitCode;
use crate::report::text::Bytes;
use crate::spec;
use crate::store::LockError;
use crate::store::gc::{self, Collected, GcError, Limits, MAX_AGE_DEFAULT};

/// Remove old runs, and what no record cites any more
#[derive(Args, Debug)]
pub struct GcArgs {
    /// The fleet file whose runs are meant
    #[arg(value_name = "FILE")]
    pub words: Vec<String>,
    #[command(flatten)]
    pub source: Source,
    /// Remove runs older than this, such as 14d; `[cache]` of the fleet file says it otherwise, or else it is 30d
    #[arg(long, value_name = "AGE", value_parser = spec::typed_duration)]
    pub older_than: Option<Duration>,
    /// Then remove the oldest until the store holds no more than this, such as 10GiB
    #[arg(long, value_name = "SIZE", value_parser = spec::typed_size)]
    pub max_size: Option<u64>,
    /// Remove nothing, and list what would go
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Print what went as JSON
    #[arg(long)]
    pub json: bool,
}

/// # Errors
/// When a run holds the state directory, the fleet file is not right, records cannot be read, or something cannot be
/// removed.
pub fn run(args: &GcArgs, shell: Shell) -> Result<ExitCode, Trouble> {
    let state = state_of(&args.words, args.source.file.as_ref())?;
    let limits = limits(args, shell)?;
    let collected = gc::collect(&state, limits, args.dry_run).map_err(|error| trouble(&error))?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    if args.json {
        writeln!(out, "{:#}", as_json(&collected, args.dry_run))?;
    } else {
        human(&collected, args.dry_run, &mut out)?;
    }
    out.flush()?;
    Ok(ExitCode::Passed)
}

/// What was said here, else what the fleet file says, else the default age. Who says one of the two here leaves the
/// other to the file.
fn limits(args: &GcArgs, shell: Shell) -> Result<Limits, Trouble> {
    let mut limits = Limits { max_age: args.older_than, max_size: args.max_size };
    if limits.max_age.is_none() || limits.max_size.is_none() {
        let said = load::open(&args.source, &args.words, &[], shell)?.fleet.cache;
        limits = Limits { max_age: limits.max_age.or(said.max_age), max_size: limits.max_size.or(said.max_size) };
    }
    if limits == Limits::default() {
        limits.max_age = Some(MAX_AGE_DEFAULT);
    }
    Ok(limits)
}

fn trouble(error: &GcError) -> Trouble {
    let exit = match error {
        GcError::Lock(LockError::Locked { .. }) => ExitCode::StateBusy,
        GcError::Journal { .. } => ExitCode::NotVerified,
        GcError::Lock(LockError::Io { .. }) | GcError::Io { .. } => ExitCode::NotWritten,
    };
    Trouble::Other(exit, error.to_string())
}

/// A dry run lists what would go; otherwise the sums are enough.
fn human(collected: &Collected, dry_run: bool, out: &mut dyn Write) -> io::Result<()> {
    if dry_run {
        for gone in &collected.runs {
            writeln!(out, "run   {:>10}  {}", Bytes(gone.bytes).to_string(), gone.run)?;
        }
        for blob in &collected.blobs {
            writeln!(out, "file  {:>10}  {}", Bytes(blob.bytes).to_string(), blob.digest)?;
        }
        for file in &collected.leftovers {
            writeln!(out, "left  {:>10}  {}", Bytes(file.bytes).to_string(), file.path.display())?;
        }
    }
    let runs = |count: usize| format!("{count} run{}", if count == 1 { "" } else { "s" });
    let gone = collected.runs.len();
    let count = collected.blobs.len() + collected.leftovers.len();
    let bytes = Bytes(bytes_gone(collected));
    let verb = if dry_run { "would remove" } else { "removed" };
    writeln!(out, "{verb} {} and {} of the store, {bytes}", runs(gone), files(count))?;
    let kept = files(collected.kept_blobs);
    writeln!(out, "{} and {kept} stay, {}", runs(collected.kept_runs), Bytes(collected.kept_bytes))
}

fn bytes_gone(collected: &Collected) -> u64 {
    let runs = collected.runs.iter().map(|gone| gone.bytes);
    let blobs = collected.blobs.iter().map(|blob| blob.bytes);
    runs.chain(blobs).chain(collected.leftovers.iter().map(|file| file.bytes)).sum()
}

fn as_json(collected: &Collected, dry_run: bool) -> Value {
    let runs = collected.runs.iter().map(|gone| json!({ "run": gone.run.as_str(), "bytes": gone.bytes }));
    let blobs = collected.blobs.iter().map(|blob| json!({ "digest": blob.digest.to_string(), "bytes": blob.bytes }));
    let leftovers =
        collected.leftovers.iter().map(|file| json!({ "path": file.path.to_string_lossy(), "bytes": file.bytes }));
    json!({
        "version": 1,
        "dry_run": dry_run,
        "bytes": bytes_gone(collected),
        "runs": runs.collect::<Value>(),
        "files": blobs.collect::<Value>(),
        "leftovers": leftovers.collect::<Value>(),
        "kept": {
            "runs": collected.kept_runs,
            "files": collected.kept_blobs,
            "bytes": collected.kept_bytes,
        },
    })
}
