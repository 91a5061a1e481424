//! The end of a run: what failed and the last it said, where the time went, how to run again what failed, and, last
//! because that is where a person looks, the counts.

use std::collections::HashSet;
use std::fmt::Write as _;

use super::RunView;
use super::color::{Color, Paint};
use super::human::OnScreen;
use super::lines;
use super::out::Out;
use super::output;
use super::text::Span;
use crate::engine::outcome::{Failure, Outcome, Took};
use crate::id::{RunId, TaskId};
use crate::protocol::TaskResult;

/// Failures shown with the last lines of their log.
const FAILURES_SHOWN: usize = 10;
/// Failures named at all; a run of ten thousand that all fail says so in a screen or two.
const FAILURES_NAMED: usize = 50;
/// Tasks named that passed after a failure.
const FLAKY_NAMED: usize = 20;
/// Last lines of a failure's log.
const LOG_LINES: usize = 20;
/// Tasks named in the command that reruns what failed; above it, the whole run is what failed.
const RERUN_NAMED: usize = 100;
/// Links of the critical path that are named: these many from its start, and two from its end.
const PATH_START: usize = 6;
const PATH_END: usize = 2;

/// The command line of the run, for the one that reruns a part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rerun {
    /// `fleet run` and what decides the meaning of the file: `-f FILE`, `--set K=V`.
    pub command: Vec<String>,
    /// What was selected: the names and `--except`.
    pub selection: Vec<String>,
}

impl Rerun {
    /// What to type so that the run goes on.
    fn resume(&self, run: &RunId) -> String {
        let file = self.command.windows(2).find(|two| two[0] == "-f");
        let file = file.map_or_else(String::new, |two| format!(" -f {}", quoted(&two[1])));
        format!("fleet resume{file} {run}")
    }

    /// What to type so that `names` run again; names what was selected when `whole` says so or there are none.
    fn line<'a>(&'a self, mut names: Vec<&'a str>, whole: bool) -> String {
        if whole || names.is_empty() || names.len() > RERUN_NAMED {
            names = self.selection.iter().map(String::as_str).collect();
        }
        let words = self.command.iter().map(String::as_str).chain(names);
        let mut line = String::new();
        for word in words {
            let gap = if line.is_empty() { "" } else { " " };
            let _ = write!(line, "{gap}{}", quoted(word));
        }
        line
    }
}

/// As a shell reads it back. Names of tasks need no quotes: `:` and `=` mean nothing to a shell inside of a word.
fn quoted(word: &str) -> std::borrow::Cow<'_, str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b':' | b'/' | b'=' | b'+' | b',');
    if !word.is_empty() && word.bytes().all(plain) { word.into() } else { shell_words::quote(word) }
}

fn put(out: &mut Out, line: std::fmt::Arguments<'_>) {
    // Writing to a vector cannot fail.
    let _ = std::io::Write::write_fmt(&mut out.text, format_args!("{line}\n"));
}

#[derive(Debug)]
pub(super) struct Summary<'a> {
    pub(super) view: RunView<'a>,
    pub(super) outcome: &'a Outcome,
    pub(super) rerun: &'a Rerun,
    /// Columns of the terminal, or a fixed width elsewhere.
    pub(super) width: usize,
    /// Only what went wrong and the counts.
    pub(super) brief: bool,
    /// What need not be said again.
    pub(super) on_screen: Option<OnScreen>,
}

impl Summary<'_> {
    pub(super) fn write(&self, out: &mut Out) -> std::io::Result<()> {
        let mut failures: Vec<_> = self.outcome.failures.iter().collect();
        // Those that fail the run first; the sort keeps their order otherwise.
        failures.sort_by_key(|failure| failure.allowed);
        // The line of the first one may be the last that was printed.
        let named = failures.first().is_some_and(|first| {
            let last = self.on_screen.filter(|shown| shown.since == 0);
            last.is_some_and(|shown| shown.task == first.task) && !first.allowed
        });
        if !failures.is_empty() && !named && !out.text.ends_with(b"\n\n") {
            out.text.push(b'\n');
        }
        for (at, failure) in failures.iter().take(FAILURES_SHOWN).enumerate() {
            if at > 0 || !named {
                self.failure(failure, out);
            }
            if !self.on_screen.is_some_and(|shown| shown.log && shown.task == failure.task) {
                self.last_lines(failure, out);
            }
            if at == 0 && named && failures.len() > 1 {
                out.text.push(b'\n');
            }
            out.room()?;
        }
        for failure in failures.iter().skip(FAILURES_SHOWN).take(FAILURES_NAMED - FAILURES_SHOWN) {
            self.failure(failure, out);
        }
        if failures.len() > FAILURES_NAMED {
            let more = failures.len() - FAILURES_NAMED;
            put(out, format_args!("and {more} more; all of them: fleet status {}", self.view.run));
        }
        let paint = out.paint;
        let flaky = self.flaky(paint);
        if !self.brief {
            out.text.push(b'\n');
            for line in self.times(paint) {
                put(out, format_args!("{line}"));
            }
        } else if !failures.is_empty() || !flaky.is_empty() {
            out.text.push(b'\n');
        }
        for line in flaky {
            put(out, format_args!("{line}"));
        }
        if self.outcome.exit.is_cut_short() && !self.outcome.outstanding.is_empty() {
            put(
                out,
                format_args!("{} {}", paint.color(Color::Bold, "to go on      "), self.rerun.resume(self.view.run)),
            );
        } else if let Some(command) = self.rerun_line(&failures) {
            put(out, format_args!("{} {command}", paint.color(Color::Bold, "to rerun      ")));
        }
        let counts = self.counts(paint);
        put(out, format_args!("{counts}"));
        if let Some(line) = self.exit_line() {
            put(out, format_args!("{line}"));
        }
        Ok(())
    }

    fn name(&self, task: TaskId) -> &str {
        &self.view.fleet.tasks[task].name
    }

    /// `fail     test  1.2s  task: exit code 1, expected 0`
    fn failure(&self, failure: &Failure, out: &mut Out) {
        let paint = out.paint;
        let word = paint.color(lines::color(failure.result), format!("{:<8}", failure.result.name()));
        let name = paint.color(Color::Bold, self.name(failure.task));
        let took = if failure.attempt == 0 { String::new() } else { format!("  {}", Span::ms(failure.ms)) };
        let cause = failure.cause.as_deref().unwrap_or("");
        let why = match failure.kind {
            Some(kind) if cause.is_empty() => format!("  {}", kind.name()),
            Some(kind) => format!("  {}: {cause}", kind.name()),
            None if cause.is_empty() => String::new(),
            None => format!("  {cause}"),
        };
        let allowed = if failure.allowed { "  (allowed)" } else { "" };
        put(out, format_args!("{word} {name}{took}{why}{allowed}"));
    }

    fn last_lines(&self, failure: &Failure, out: &mut Out) {
        let Some(log) = failure.log.as_deref() else { return };
        let paint = out.paint;
        let (last, more) = match output::tail(&self.view.run_dir.join(log), LOG_LINES) {
            Ok(tail) => tail,
            Err(error) => {
                put(out, format_args!("    (the log could not be read: {error})"));
                return;
            }
        };
        if more {
            let (run, name) = (self.view.run, self.name(failure.task));
            let hint = format!("    … the last {} lines; all of it: fleet logs {run} {name}", last.len());
            put(out, format_args!("{}", paint.color(Color::Dim, hint)));
        }
        for line in last {
            out.text.extend_from_slice(b"    ");
            out.task_line(&line);
        }
    }

    /// The tasks that passed after a failure.
    fn flaky(&self, paint: Paint) -> Vec<String> {
        let flaky = &self.outcome.flaky;
        let mut names: Vec<String> = flaky.iter().take(FLAKY_NAMED).map(|task| self.name(*task).to_owned()).collect();
        if flaky.len() > FLAKY_NAMED {
            names.push(format!("{} more", flaky.len() - FLAKY_NAMED));
        }
        let mut lines = Vec::new();
        if !names.is_empty() {
            self.wrap(paint, "flaky         ", names, ", ", "", &mut lines);
        }
        lines
    }

    /// The slowest tasks and the critical path, when there is more than one task to compare.
    fn times(&self, paint: Paint) -> Vec<String> {
        let Outcome { slowest, critical_path: path, wall, .. } = self.outcome;
        let mut lines = Vec::new();
        if slowest.len() < 2 {
            return lines;
        }
        let slow = slowest.iter().map(|took| self.took(*took)).collect();
        self.wrap(paint, "slowest       ", slow, ", ", "", &mut lines);
        if !path.is_empty() {
            let total: u64 = path.iter().map(|took| took.ms).sum();
            let mut steps: Vec<String> = Vec::new();
            let skipped = path.len().saturating_sub(PATH_START + PATH_END);
            for (at, took) in path.iter().enumerate() {
                // A gap of one would be longer than what it hides.
                if skipped > 1 && at == PATH_START {
                    steps.push(format!("({skipped} more)"));
                }
                if skipped <= 1 || at < PATH_START || at >= PATH_START + skipped {
                    steps.push(self.took(*took));
                }
            }
            let end = format!(" = {} of {} wall", Span::ms(total), Span(*wall));
            self.wrap(paint, "critical path ", steps, " → ", &end, &mut lines);
        }
        lines
    }

    fn took(&self, took: Took) -> String {
        format!("{} {}", self.name(took.task), Span::ms(took.ms))
    }

    /// `title item, item, item` in as many lines as the width asks for.
    fn wrap(&self, paint: Paint, title: &str, items: Vec<String>, gap: &str, end: &str, lines: &mut Vec<String>) {
        let indent = title.len() + 1;
        let mut line = format!("{} ", paint.color(Color::Bold, title));
        let mut width = indent;
        let last = items.len() - 1;
        for (at, item) in items.into_iter().enumerate() {
            let behind = if at == last { end } else { gap };
            let needs = item.chars().count() + behind.chars().count();
            if width > indent && width + needs > self.width {
                lines.push(line.trim_end().to_owned());
                line = " ".repeat(indent);
                width = indent;
            }
            line.push_str(&item);
            line.push_str(behind);
            width += needs;
        }
        lines.push(line);
    }

    /// What failed, and what a run that was cut short has not done. Handlers are left out: they run when what they handle fails again. So are failures that are allowed.
    fn rerun_line(&self, failures: &[&Failure]) -> Option<String> {
        let mut failed: Vec<TaskId> = failures.iter().filter(|f| !f.allowed).map(|f| f.task).collect();
        if failed.is_empty() && self.outcome.outstanding.is_empty() {
            return None;
        }
        let handlers: HashSet<TaskId> =
            self.view.fleet.tasks.values().flat_map(|task| task.on_failure.iter().copied()).collect();
        failed.retain(|task| !handlers.contains(task));
        failed.extend(&self.outcome.outstanding);
        // After a run that was cut short a good part of it may be left, and fewer words may say the same.
        let (left, typed) = (failed.len(), self.rerun.selection.len());
        let shorter = if typed == 0 { left >= self.view.selected } else { typed < left };
        let whole = shorter && !self.outcome.outstanding.is_empty();
        Some(self.rerun.line(failed.into_iter().map(|task| self.name(task)).collect(), whole))
    }

    /// `3 passed, 1 failed, 2 skipped in 12.3s  20261120T105230Z-1f9c03ab`
    fn counts(&self, paint: Paint) -> String {
        let counts = &self.outcome.counts;
        let mut line = String::new();
        for (result, word, color) in [
            (TaskResult::Pass, "passed", Color::Green),
            (TaskResult::Partial, "partial", Color::Yellow),
            (TaskResult::Fail, "failed", Color::Red),
            (TaskResult::Timeout, "timed out", Color::Red),
            (TaskResult::Skip, "skipped", Color::Dim),
        ] {
            if counts[result] > 0 {
                let gap = if line.is_empty() { "" } else { ", " };
                let _ = write!(line, "{gap}{}", paint.color(color, format_args!("{} {word}", counts[result])));
                let flaky = self.outcome.flaky.len() as u64;
                let told =
                    [(self.outcome.reused, "reused"), (flaky, "flaky")].map(|(n, word)| (n, format!("{n} {word}")));
                let told: Vec<&str> = told.iter().filter(|(n, _)| *n > 0).map(|(_, told)| &**told).collect();
                if result == TaskResult::Pass && !told.is_empty() {
                    let _ = write!(line, " ({})", told.join(", "));
                }
            }
        }
        if line.is_empty() {
            line.push_str("nothing ran");
        }
        let run = paint.color(Color::Dim, self.view.run);
        let _ = write!(line, " in {}  {run}", Span(self.outcome.wall));
        line
    }

    /// What the exit code means, where the counts do not say it already.
    fn exit_line(&self) -> Option<String> {
        let exit = self.outcome.exit;
        (exit.code() > 1).then(|| format!("exit {exit}: {}", exit.meaning()))
    }
}
