//! `fleet run --audit-inputs TASK`: finding a tracer that works here, and telling what came of it as a fix to paste.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};

use super::Trouble;
use super::args::{Misuse, is_fleet_file};
use super::load::Ready;
use crate::engine::audit::{self, Audit, Reads, Report, Tracer, Undeclared};
use crate::graph::Graph;
use crate::host::strace;
use crate::id::{Attempt, TaskId};
use crate::model::Fleet;
use crate::policy::ExitCode;
use crate::report::Paint;
use crate::report::color::Color;
use crate::spec::Syntax;
use crate::store::{Files, Root, Scan};

/// The word of the command line as one that selects, so that the task is part of the run.
///
/// # Errors
/// When it is a fleet file.
pub(super) fn selecting(task: &str, words: &[String]) -> Result<Vec<String>, Misuse> {
    if is_fleet_file(task) {
        return Err(Misuse::Unknown { what: "task", name: task.to_owned(), nearest: None });
    }
    Ok(words.iter().cloned().chain([task.to_owned()]).collect())
}

/// What the engine is told.
///
/// # Errors
/// When the word names more than one task, or nothing here can trace; then nothing is run.
pub(super) fn prepare(word: &str, ready: &Ready) -> Result<Audit, Trouble> {
    let tasks = &ready.fleet.tasks;
    let named = |task: TaskId| *tasks[task].name == *word || *tasks[task].base == *word;
    let found: Vec<TaskId> = tasks.ids().filter(|task| named(*task)).collect();
    let refused = |text: String| Trouble::Other(ExitCode::Usage, text);
    match found[..] {
        [task] => Ok(Audit { task, tracer: tracer().map_err(refused)? }),
        [first, ..] => Err(refused(format!(
            "--audit-inputs takes one task, and `{word}` has {} instances: name one, as in `{}`",
            found.len(),
            tasks[first].name
        ))),
        [] => Err(refused(format!("--audit-inputs takes one task by its name, and `{word}` is a pattern"))),
    }
}

/// A `strace` that can trace a process of ours, which containers and hardened systems may forbid.
fn tracer() -> Result<Tracer, String> {
    let missing = |_| {
        "--audit-inputs needs the program `strace`, which is not on PATH; nothing was run. \
         Install it, on Debian and Ubuntu with `apt-get install strace`; there is one for Linux only"
            .to_owned()
    };
    let found = which::which("strace").map_err(missing)?;
    let program = found.to_str().ok_or("the path of `strace` is not UTF-8; nothing was run")?.to_owned();
    // Whatever it says would stand in what the task prints.
    let works = |said: &io::Result<String>| said.as_ref().is_ok_and(String::is_empty);
    for fast in [true, false] {
        if works(&tried(&program, fast)) {
            return Ok(Tracer { program, fast });
        }
    }
    let why = tried(&program, false).unwrap_or_else(|error| error.to_string());
    Err(format!(
        "`{program}` cannot trace here, so nothing was run: {}. \
         In a container allow it with --cap-add=SYS_PTRACE; elsewhere look at kernel.yama.ptrace_scope",
        why.lines().next().unwrap_or("it gave no reason").trim_end_matches('.')
    ))
}

/// What a tracer complains of when it traces a command that does nothing.
fn tried(program: &str, fast: bool) -> io::Result<String> {
    let words = strace::command(program, "/dev/null", fast);
    let ours = std::env::current_exe()?;
    let mut command = Command::new(program);
    command.args(&words[1..]).arg(ours).arg("--version").stdin(Stdio::null()).stdout(Stdio::null());
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(if output.status.success() || !said.is_empty() { said } else { format!("it ended with {}", output.status) })
}

/// What is known after the run.
pub(super) struct Told {
    task: TaskId,
    /// None where the task was not started.
    report: Option<io::Result<Report>>,
}

impl Told {
    pub(super) fn of(task: TaskId, fleet: &Fleet, graph: &Graph, run_dir: &Path) -> Self {
        let declared = &fleet.tasks[task];
        let path = audit::trace_path(run_dir, declared, Attempt::FIRST);
        let is_file = |path: &str| !fs::metadata(fleet.workspace.join(path)).is_ok_and(|found| found.is_dir());
        // Where that cannot be told, the globs are believed.
        let taken = taken(fleet, task).ok();
        let passed_over = |path: &str| {
            let there = || fleet.workspace.join(path).is_file();
            taken.as_ref().is_some_and(|taken| !taken.contains(path)) && there()
        };
        let disk = audit::Disk { is_file: &is_file, passed_over: &passed_over };
        let report = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            opened => Some(
                opened
                    .and_then(|trace| Reads::of(BufReader::new(trace), fleet, declared))
                    .map(|reads| audit::report(fleet, graph, task, &reads, &disk)),
            ),
        };
        Self { task, report }
    }

    /// # Errors
    /// When `out` cannot be written.
    pub(super) fn human(&self, fleet: &Fleet, syntax: Syntax, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
        let task = &fleet.tasks[self.task];
        let inputs = task.inputs.as_deref().unwrap_or_default();
        write!(out, "\n{}  {}", paint.color(Color::Bold, "audit"), task.name)?;
        let report = match &self.report {
            None => return writeln!(out, "  it was not started, so nothing is known of what it reads"),
            Some(Err(error)) => return writeln!(out, "  its trace cannot be read: {error}"),
            Some(Ok(report)) => report,
        };
        if report.is_clean() {
            return writeln!(out, "  it read what it declares");
        }
        writeln!(out)?;
        list(out, "read, but not declared", report.undeclared.iter().map(|one| undeclared(fleet, one)))?;
        list(out, "declared, but never looked at", report.unread.iter().map(|at| inputs[*at].to_string()))?;
        list(out, "read, and then written by the task itself", report.rewritten.iter().cloned())?;
        if report.in_git > 0 {
            let files = if report.in_git == 1 { "file" } else { "files" };
            writeln!(out, "  it also read {} {files} of version control, below .git", report.in_git)?;
        }
        if let Some(fix) = &report.inputs {
            let instance = !task.matrix.is_empty();
            let note = if instance { " (of this instance; put ${matrix…} back where it was)" } else { "" };
            writeln!(out, "\nto paste{note}:\n{}", pasted(&task.base, fix, syntax))?;
        }
        Ok(())
    }

    /// # Errors
    /// When `out` cannot be written.
    pub(super) fn json(&self, fleet: &Fleet, out: &mut dyn Write) -> io::Result<()> {
        let task = &fleet.tasks[self.task];
        let told = match &self.report {
            None => json!({ "task": task.name, "started": false }),
            Some(Err(error)) => json!({ "task": task.name, "started": true, "error": error.to_string() }),
            Some(Ok(report)) => {
                let inputs = task.inputs.as_deref().unwrap_or_default();
                let undeclared = report.undeclared.iter().map(|one| {
                    let made_by = one.made_by.map(|task| &*fleet.tasks[task].name);
                    json!({ "path": one.path, "made_by": made_by, "left_out_by": one.left_out_by, "passed_over": one.passed_over })
                });
                json!({
                    "task": task.name, "started": true,
                    "undeclared": undeclared.collect::<Value>(),
                    "unread": report.unread.iter().map(|at| json!(inputs[*at])).collect::<Value>(),
                    "rewritten": report.rewritten,
                    "in_git": report.in_git,
                    "inputs": report.inputs,
                })
            }
        };
        writeln!(out, "{}", json!({ "audit": told }))
    }
}

/// The files that the task's `inputs` really take.
fn taken(fleet: &Fleet, task: TaskId) -> Result<BTreeSet<Box<str>>, Box<dyn Error>> {
    let scan = Scan::new(fleet.tasks[task].inputs.as_deref().unwrap_or_default())?;
    let root = Root::open(&fleet.workspace)?;
    // As a run finds them, which passes over what git ignores.
    Ok(Files::open(Arc::new(root), None, true).find(&scan)?.files.into_iter().collect())
}

/// Most lines of one list; programs get them all.
const LINES_MAX: usize = 50;

fn list(out: &mut dyn Write, title: &str, lines: impl ExactSizeIterator<Item = String>) -> io::Result<()> {
    let count = lines.len();
    if count == 0 {
        return Ok(());
    }
    writeln!(out, "  {title}:")?;
    for line in lines.take(LINES_MAX) {
        writeln!(out, "    {}", line.replace(char::is_control, "?"))?;
    }
    if count > LINES_MAX {
        writeln!(out, "    … and {} more", count - LINES_MAX)?;
    }
    Ok(())
}

fn undeclared(fleet: &Fleet, one: &Undeclared) -> String {
    match (&one.left_out_by, one.made_by) {
        (Some(entry), _) => format!("{}  (left out by {entry})", one.path),
        (None, _) if one.passed_over => format!("{}  (git ignores it, so no glob takes it)", one.path),
        (None, Some(maker)) => format!("{}  (made by {}, which it does not need)", one.path, fleet.tasks[maker].name),
        (None, None) => one.path.clone(),
    }
}

/// Longest line of a proposal that is not broken.
const COLUMNS: usize = 100;

/// The entries as they stand in a fleet file of that syntax.
fn pasted(base: &str, inputs: &[String], syntax: Syntax) -> String {
    // A JSON string is a string of TOML and of YAML as well.
    let quoted: Vec<String> = inputs.iter().map(|text| json!(text).to_string()).collect();
    let (head, key) = match syntax {
        Syntax::Toml => (format!("[tasks.{base}]\n"), "inputs = "),
        Syntax::Yaml => (String::new(), "inputs: "),
        Syntax::Json => (String::new(), "\"inputs\": "),
    };
    let line = format!("{key}[{}]", quoted.join(", "));
    if line.chars().count() <= COLUMNS {
        return format!("{head}{line}");
    }
    format!("{head}{key}[\n    {}\n]", quoted.join(",\n    "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proposal_is_written_as_the_file_is() {
        let inputs = ["src/**".to_owned(), "a \"b\"".to_owned()];
        for (syntax, expected) in [
            (Syntax::Toml, "[tasks.t]\ninputs = [\"src/**\", \"a \\\"b\\\"\"]"),
            (Syntax::Yaml, "inputs: [\"src/**\", \"a \\\"b\\\"\"]"),
            (Syntax::Json, "\"inputs\": [\"src/**\", \"a \\\"b\\\"\"]"),
        ] {
            assert_eq!(pasted("t", &inputs, syntax), expected);
        }
        let long: Vec<String> = (0..12).map(|n| format!("some/folder/{n}")).collect();
        let text = pasted("t", &long, Syntax::Toml);
        assert!(text.starts_with("[tasks.t]\ninputs = [\n    \"some/folder/0\",\n"), "{text}");
        assert!(toml::from_str::<toml::Table>(&text).is_ok(), "{text}");
    }
}
