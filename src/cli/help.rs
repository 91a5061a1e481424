//! `fleet help`: the first page, the page of a command, and the exit codes.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use clap::Args;

use super::args::Misuse;
use super::{Shell, Trouble};
use crate::policy::ExitCode;
use crate::policy::exit::TABLE;
use crate::report::color::Color;

/// The first page. clap does not group commands, so they are a text made of its own; see [`commands`].
pub(super) const TEMPLATE: &str =
    "{about}\n\n{usage-heading} fleet <COMMAND> [OPTIONS]\n\n{before-help}Options:\n{options}{after-help}";

/// What people come for, and the commands for it. A test holds it to the commands there are.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Run", &["run", "resume", "rerun"]),
    ("Look before you run", &["check", "plan", "explain", "list", "graph", "workers"]),
    ("Look at what happened", &["status", "logs", "receipts"]),
    ("What is kept", &["journal", "cache", "gc"]),
    ("More", &["doctor", "schema", "help"]),
];

/// The commands by group, each with the first line of its help.
pub(super) fn commands(command: &clap::Command) -> String {
    let mut text = String::new();
    for (title, names) in GROUPS {
        let mut there = names.iter().filter_map(|name| command.find_subcommand(name)).peekable();
        if there.peek().is_none() {
            continue;
        }
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{title}:");
        for command in there {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(text, "  {:<10}{about}", command.get_name());
        }
        text.push('\n');
    }
    // clap leaves an empty line behind it.
    text.truncate(text.trim_end().len());
    text
}

pub(super) const EXAMPLES: &str = "\
Examples:
  fleet run                      everything in the nearest fleet file
  fleet run test 'lint*' tag:ci  some tasks, and what they need
  fleet run ci/fleet.yaml build  a task of a file with another name
  fleet help exit-codes          what an exit code means";

/// Show the first page, the page of a command, or the exit codes
#[derive(Args, Debug)]
pub struct HelpArgs {
    /// A command, or `exit-codes`
    #[arg(value_name = "TOPIC")]
    topic: Vec<String>,
}

/// # Errors
/// When there is no such topic, or standard output cannot be written.
pub fn run(args: &HelpArgs, shell: Shell) -> Result<ExitCode, Trouble> {
    let mut stdout = io::stdout().lock();
    if args.topic == ["exit-codes"] {
        writeln!(stdout, "The exit codes of fleet:")?;
        for row in TABLE {
            let code = shell.stdout().color(Color::Bold, format!("{:>4}", row.code.code()));
            writeln!(stdout, "{code}  {}", row.meaning)?;
        }
        return Ok(ExitCode::Passed);
    }
    let mut command = super::command();
    command.build();
    for word in &args.topic {
        command = command.find_subcommand(word).cloned().ok_or_else(|| unknown(word, &command))?;
    }
    let page = command.render_help();
    if shell.stdout().is_on() {
        write!(stdout, "{}", page.ansi())?;
    } else {
        write!(stdout, "{page}")?;
    }
    Ok(ExitCode::Passed)
}

fn unknown(word: &str, command: &clap::Command) -> Misuse {
    let names = command.get_subcommands().map(clap::Command::get_name).chain(["exit-codes"]);
    let near = |name: &&str| strsim::damerau_levenshtein(name, word) <= 2;
    Misuse::Unknown {
        what: "help page",
        name: word.to_owned(),
        nearest: names.into_iter().find(near).map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command;

    #[test]
    fn every_command_is_in_one_group() {
        for there in command().get_subcommands().filter(|there| !there.is_hide_set()) {
            let groups = GROUPS.iter().filter(|(_, names)| names.contains(&there.get_name()));
            assert_eq!(groups.count(), 1, "{}", there.get_name());
        }
    }

    #[test]
    fn the_first_page_looks_like_this() {
        insta::assert_snapshot!(command().render_help(), @"
    Run a project's pipeline from one file and prove what happened

    Usage: fleet <COMMAND> [OPTIONS]

    Run:
      run       Run tasks and what they need, judge them, and write receipts
      resume    Go on with a run that was killed, cancelled or otherwise cut short
      rerun     Run again what an earlier run was asked for, all of it or what did not pass

    Look before you run:
      check     Look for mistakes in a fleet file and run nothing
      plan      Show what would run: in which order, where, and why
      explain   Say why tasks would run, or which results would be reused
      list      List the tasks of a fleet file
      graph     Show who waits for whom
      workers   Look at the workers of a fleet file

    Look at what happened:
      status    Show the tasks of a run, past or present
      logs      Print what a task printed
      receipts  Look at receipts

    What is kept:
      journal   Check a run's journal, or repair a damaged one
      cache     Look at what is kept of past runs
      gc        Remove old runs, and what no record cites any more

    More:
      doctor    Try what this machine can do: sandbox, limits, other programs
      schema    Print the JSON Schema of a fleet file
      help      Show the first page, the page of a command, or the exit codes

    Options:
          --color <WHEN>  When to use colour [default: auto]
      -h, --help          Print help
      -V, --version       Print version

    Examples:
      fleet run                      everything in the nearest fleet file
      fleet run test 'lint*' tag:ci  some tasks, and what they need
      fleet run ci/fleet.yaml build  a task of a file with another name
      fleet help exit-codes          what an exit code means
    ");
    }
}
