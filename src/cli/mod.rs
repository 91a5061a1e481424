//! The command line: one file per command, with its arguments, whose comments are the help, and one function.
//! `args` what commands have in common · `affected` and `git` what a change touches · `audit` what a traced task read ·
//! `identity` which machines nothing verifies · `problem` how a mistake is told. A command prints its result to standard
//! output, everything else to standard error, and answers with the exit code.

pub mod affected;
pub mod args;
mod audit;
pub mod cache;
pub mod check;
pub mod doctor;
pub mod explain;
mod fields;
pub mod gc;
pub mod git;
pub mod graph;
pub mod help;
mod identity;
pub mod journal;
pub mod kept;
pub mod list;
pub mod load;
pub mod logs;
mod mistake;
mod placement;
mod places;
pub mod plan;
pub mod problem;
pub mod receipts;
pub mod records;
pub mod rerun;
pub mod resume;
pub mod run;
pub mod schema;
mod secrets;
mod show;
pub mod status;
pub mod workers;

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::policy::ExitCode;
use crate::report::{ColorChoice, Paint};
use crate::supervisor;
pub use args::Misuse;
pub use problem::Trouble;

/// Run a project's pipeline from one file and prove what happened.
#[derive(Debug, Parser)]
#[command(name = "fleet", version, help_template = help::TEMPLATE, after_help = help::EXAMPLES)]
#[command(disable_help_subcommand = true, infer_subcommands = false, max_term_width = 100)]
pub struct Cli {
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN", hide_possible_values = true)]
    pub color: ColorChoice,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Check(check::CheckArgs),
    Run(run::RunArgs),
    Resume(resume::ResumeArgs),
    Rerun(rerun::RerunArgs),
    Plan(plan::PlanArgs),
    Explain(explain::ExplainArgs),
    List(list::ListArgs),
    Graph(graph::GraphArgs),
    Workers(workers::WorkersArgs),
    Status(status::StatusArgs),
    Logs(logs::LogsArgs),
    Receipts(receipts::ReceiptsArgs),
    Journal(journal::JournalArgs),
    Cache(cache::CacheArgs),
    Gc(gc::GcArgs),
    Doctor(doctor::DoctorArgs),
    Schema(schema::SchemaArgs),
    Help(help::HelpArgs),
}

/// What every command is given beside its own arguments.
#[derive(Clone, Copy, Debug)]
pub struct Shell {
    pub color: ColorChoice,
}

impl Shell {
    /// How to colour standard output.
    #[must_use]
    pub fn stdout(self) -> Paint {
        self.color.decide(std::io::stdout().is_terminal(), env)
    }

    /// How to colour standard error.
    #[must_use]
    pub fn stderr(self) -> Paint {
        self.color.decide(std::io::stderr().is_terminal(), env)
    }
}

/// A variable of this process; not there when it is no text.
pub(crate) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The whole command line, for parsing and for help.
#[must_use]
pub fn command() -> clap::Command {
    let command = Cli::command();
    let commands = help::commands(&command);
    command.before_help(commands)
}

/// What `--color` says, before the words are understood: it also holds for the help and for what is said of words
/// that are not understood. `NO_COLOR` and its like are looked after by the library that prints those.
fn early_color(words: &[OsString]) -> clap::ColorChoice {
    let said = |choice: &str| {
        let together = format!("--color={choice}");
        words.iter().any(|word| *word == *together)
            || words.windows(2).any(|two| two[0] == *"--color" && two[1] == *choice)
    };
    match (said("always"), said("never")) {
        (_, true) => clap::ColorChoice::Never,
        (true, false) => clap::ColorChoice::Always,
        (false, false) => clap::ColorChoice::Auto,
    }
}

/// Runs the command line and answers what to exit with.
pub fn main(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    supervisor::outlive_file_size_limit();
    let words: Vec<OsString> = words.into_iter().collect();
    let parsed = command()
        .color(early_color(&words))
        .try_get_matches_from(words)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe behind `fleet --help | head` is nobody's mistake.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::Usage } else { ExitCode::Passed };
        }
    };
    let shell = Shell { color: cli.color };
    let done = match &cli.command {
        Command::Check(args) => check::run(args, shell),
        Command::Run(args) => run::run(args, shell),
        Command::Resume(args) => resume::run(args, shell),
        Command::Rerun(args) => rerun::run(args, shell),
        Command::Plan(args) => plan::run(args, shell),
        Command::Explain(args) => explain::run(args, shell),
        Command::List(args) => list::run(args, shell),
        Command::Graph(args) => graph::run(args, shell),
        Command::Workers(args) => workers::run(args, shell),
        Command::Status(args) => shown(|out| status::run(args, out)),
        Command::Logs(args) => shown(|out| logs::run(args, out)),
        Command::Receipts(args) => shown(|out| receipts::run(args, out)),
        Command::Journal(args) => journal::run(args, shell),
        Command::Cache(args) => cache::run(args, shell),
        Command::Gc(args) => gc::run(args, shell),
        Command::Doctor(args) => doctor::run(args, shell),
        Command::Schema(args) => schema::run(args),
        Command::Help(args) => help::run(args, shell),
    };
    done.unwrap_or_else(|trouble| trouble.tell(shell))
}

/// A command that only shows what is recorded, on standard output.
fn shown(show: impl FnOnce(&mut dyn Write) -> Result<u8, records::Trouble>) -> Result<ExitCode, Trouble> {
    show(&mut std::io::stdout().lock())?;
    Ok(ExitCode::Passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }
}
