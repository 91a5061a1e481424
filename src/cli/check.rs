//! `fleet check`: everything that is wrong with a fleet file, without running any of it.

use std::env;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use clap::{Args, ValueEnum};
use console::Term;

use super::args::{self, Misuse, Source};
use super::mistake::Mistakes;
use super::{Shell, Trouble, load};
use crate::engine;
use crate::model::Fleet;
use crate::policy::ExitCode;
use crate::spec::{self, Problem, SourceMap, render};

/// Look for mistakes in a fleet file and run nothing
#[derive(Args, Debug)]
#[command(after_help = "All mistakes are told at once. Exits 3 when there is one.")]
pub struct CheckArgs {
    /// The fleet file
    #[arg(value_name = "FILE")]
    pub words: Vec<String>,
    #[command(flatten)]
    pub source: Source,
    /// Also look for the files, variables and tools that tasks require; exits 9 when only those are missing
    #[arg(long)]
    pub preflight: bool,
    /// How to tell mistakes
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// With the lines they stand on
    #[default]
    Human,
    /// For programs
    Json,
    /// For code hosts
    Sarif,
}

/// Columns where there is no terminal to ask.
const COLUMNS: usize = 100;

/// The problems are the result, so they go to standard output in every format.
///
/// # Errors
/// When the words are wrong, there is no fleet file, or standard output cannot be written.
pub fn run(args: &CheckArgs, shell: Shell) -> Result<ExitCode, Trouble> {
    let words = args::sort_out(&args.words, args.source.file.as_deref())?;
    if let Some(word) = words.rest.first() {
        return Err(Misuse::TooMany(word.clone()).into());
    }
    let chosen = args::choose(words.file, &std::env::current_dir()?)?;
    let facts = load::facts();
    let request = spec::Request { file: chosen.file.clone(), set: args.source.set.clone(), facts };
    let mut wrong = ExitCode::InvalidFile;
    let (problems, map, right) = match spec::load(&request) {
        Ok(spec::Loaded { fleet, map, .. }) => {
            let mut problems = load::check(&fleet, &map).err().unwrap_or_default();
            if problems.is_empty() {
                problems = load::identities(&fleet, &|| &map);
            }
            if args.preflight && problems.is_empty() {
                problems = Mistakes { fleet: &fleet, map: &map }.of_preflight(&engine::preflight(&fleet)?);
                wrong = ExitCode::Infrastructure;
            }
            if problems.is_empty() {
                for remark in remarks(&fleet, args.preflight) {
                    // A closed standard error is no reason to stop.
                    let _ = writeln!(io::stderr(), "warning: {remark}");
                }
            }
            let tasks = if fleet.tasks.len() == 1 { "task" } else { "tasks" };
            let right = format!("{}: {} {tasks}, no mistakes\n", chosen.file.display(), fleet.tasks.len());
            (problems, map, right)
        }
        Err(failure) => (failure.problems, failure.map, String::new()),
    };
    let text = match args.format {
        Format::Human if problems.is_empty() => right,
        Format::Human => human(&problems, &map, &chosen.file, shell),
        Format::Json => render::json(&problems, &map),
        Format::Sarif => render::sarif(&problems, &map),
    };
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(if problems.is_empty() { ExitCode::Passed } else { wrong })
}

/// What is no mistake and may still surprise. The environment is looked at only when it is asked for.
fn remarks(fleet: &Fleet, preflight: bool) -> Vec<String> {
    let Some(remote) = &fleet.cache.remote else { return Vec::new() };
    let mut remarks = remote.remarks();
    if let Some(name) = remote.token_ref.as_deref().filter(|name| preflight && env::var_os(name).is_none()) {
        remarks.push(format!("the variable {name} is not set, so the shared cache is not used"));
    }
    remarks
}

fn human(problems: &[Problem], map: &SourceMap, file: &Path, shell: Shell) -> String {
    let terminal = io::stdout().is_terminal();
    let width = if terminal { Term::stdout().size().1.into() } else { COLUMNS };
    render::human(problems, map, &render::Style { color: shell.stdout().is_on(), width, prefix: prefix(file) })
}

/// The way from here to the folder of the fleet file, as it is put before the names of files.
fn prefix(file: &Path) -> String {
    match file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => format!("{}/", folder.display()).replace("//", "/"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_as_they_are_reached_from_here() {
        for (file, way) in
            [("fleet.toml", ""), ("../fleet.toml", "../"), ("/w/fleet.toml", "/w/"), ("/fleet.toml", "/")]
        {
            assert_eq!(prefix(Path::new(file)), way);
        }
    }
}
