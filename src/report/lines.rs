//! One line per event, the same on every machine: a word, the task, and what there is to say. Made to be read in the
//! log of a CI and to be searched: `grep ^fail`.

use std::io::Write as _;

use super::RunView;
use super::color::{Color, Paint};
use super::reasons;
use super::text::Span;
use crate::id::{Attempt, TaskId, WorkerId};
use crate::plan::explain::Reason;
use crate::policy::retry::Next;
use crate::protocol::receipt::{AttemptRecord, ReusedFrom};
use crate::protocol::{Receipt, TaskResult};

/// The colour of a result's word.
pub(super) fn color(result: TaskResult) -> Color {
    match result {
        TaskResult::Pass => Color::Green,
        TaskResult::Partial => Color::Yellow,
        TaskResult::Fail | TaskResult::Timeout => Color::Red,
        TaskResult::Skip => Color::Dim,
    }
}

/// Reasons of one task that its line names.
const REASONS_SHOWN: usize = 5;

// Writing to a vector cannot fail, so what `writeln!` returns says nothing here.

fn line(paint: Paint, color: Color, word: &str, rest: std::fmt::Arguments<'_>, out: &mut Vec<u8>) {
    if paint.is_on() {
        let _ = writeln!(out, "{} {rest}", paint.color(color, format_args!("{word:<8}")));
    } else {
        let _ = writeln!(out, "{word:<8} {rest}");
    }
}

pub(super) fn begun(view: &RunView<'_>, paint: Paint, out: &mut Vec<u8>) {
    let file = view.fleet.file.file_name().unwrap_or_default().to_string_lossy();
    let tasks = if view.selected == 1 { "task" } else { "tasks" };
    if view.resumed {
        let left = view.selected.saturating_sub(view.settled);
        let left = format_args!("{}  {left} of {} {tasks} of {file} left", view.run, view.selected);
        return line(paint, Color::Bold, "resume", left, out);
    }
    let (again, parent) = view.parent.map_or(("", ""), |parent| (", again after ", parent));
    line(
        paint,
        Color::Bold,
        "run",
        format_args!("{}  {} {tasks} of {file}{again}{parent}", view.run, view.selected),
        out,
    );
}

/// `unknown  build  attempt 1: nobody knows how it ended: the run was cut short`
pub(super) fn interrupted(view: &RunView<'_>, paint: Paint, task: TaskId, record: &AttemptRecord, out: &mut Vec<u8>) {
    let (name, cause) = (&*view.fleet.tasks[task].name, record.cause.as_deref().unwrap_or_default());
    line(paint, Color::Yellow, "unknown", format_args!("{name}  attempt {}: {cause}", record.attempt), out);
}

pub(super) fn starting(
    view: &RunView<'_>,
    paint: Paint,
    (task, attempt, worker): (TaskId, Attempt, WorkerId),
    out: &mut Vec<u8>,
) {
    let name = &*view.fleet.tasks[task].name;
    // With one worker there is nothing to tell.
    let on = if view.fleet.workers.len() > 1 { &*view.fleet.workers[worker].name } else { "" };
    let (on_word, again) = (if on.is_empty() { "" } else { "  on " }, attempt > Attempt::FIRST);
    if again {
        line(paint, Color::Dim, "start", format_args!("{name}{on_word}{on}  attempt {attempt}"), out);
    } else {
        line(paint, Color::Dim, "start", format_args!("{name}{on_word}{on}"), out);
    }
}

/// `retry    test  2/3 in 4.2s  task: exit code 1 (worker a)`, `repeat   test  2/5  pass`
pub(super) fn restarted(
    view: &RunView<'_>,
    paint: Paint,
    (task, record, next): (TaskId, &AttemptRecord, Next),
    out: &mut Vec<u8>,
) {
    let name = &*view.fleet.tasks[task].name;
    let kind = record.failure_kind.map_or("", |kind| kind.name());
    let cause = record.cause.as_deref().unwrap_or("");
    let separator = if kind.is_empty() || cause.is_empty() { "" } else { ": " };
    let (open, on, shut) = match view.fleet.workers.len() {
        0 | 1 => ("", "", ""),
        _ => ("  (worker ", &*record.worker_id, ")"),
    };
    match next {
        Next::Retry { attempt, of, wait } => {
            let wait = Span(wait);
            let rest = format_args!("{name}  {attempt}/{of} in {wait}  {kind}{separator}{cause}{open}{on}{shut}");
            line(paint, Color::Yellow, "retry", rest, out);
        }
        Next::Repetition { number, of } => {
            let result = record.result.name();
            let separator = if cause.is_empty() { "" } else { ": " };
            let rest = format_args!("{name}  {number}/{of}  {result}{separator}{cause}{open}{on}{shut}");
            line(paint, Color::Dim, "repeat", rest, out);
        }
        Next::Final => {}
    }
}

/// `fail     test  1.2s  task: exit code 1, expected 0`
pub(super) fn settled(view: &RunView<'_>, paint: Paint, task: TaskId, receipt: &Receipt, out: &mut Vec<u8>) {
    let name = &*view.fleet.tasks[task].name;
    let kind = receipt.failure_kind.map_or("", |kind| kind.name());
    let cause = receipt.cause.as_deref().unwrap_or("");
    let gap = if kind.is_empty() && cause.is_empty() { "" } else { "  " };
    let separator = if kind.is_empty() || cause.is_empty() { "" } else { ": " };
    let (word, color) = (receipt.result.name(), color(receipt.result));
    if receipt.attempt == 0 {
        line(paint, color, word, format_args!("{name}{gap}{kind}{separator}{cause}"), out);
    } else {
        let (took, flaky) = (Span::ms(receipt.duration_ms), if receipt.flaky { "  flaky" } else { "" });
        line(paint, color, word, format_args!("{name}  {took}{flaky}{gap}{kind}{separator}{cause}"), out);
    }
}

/// `reuse    build  from 20261120T105230Z-1f9c03ab, record 12`
pub(super) fn reused(view: &RunView<'_>, paint: Paint, task: TaskId, from: &ReusedFrom, out: &mut Vec<u8>) {
    let name = &*view.fleet.tasks[task].name;
    let from = format_args!("{name}  from {}, record {}", from.run_id, from.journal_seq);
    line(paint, Color::Dim, "reuse", from, out);
}

/// `reuse    7 more: fleet receipts show 20261120T105230Z-1f9c03ab`
pub(super) fn reused_more(view: &RunView<'_>, paint: Paint, more: usize, out: &mut Vec<u8>) {
    line(paint, Color::Dim, "reuse", format_args!("{more} more: fleet receipts show {}", view.run), out);
}

/// `why      build  the input `src/a.c` changed; the variable CC is set now`
pub(super) fn explained(view: &RunView<'_>, paint: Paint, task: TaskId, why: &[Reason], out: &mut Vec<u8>) {
    let name = &*view.fleet.tasks[task].name;
    let shown: Vec<String> = why.iter().take(REASONS_SHOWN).map(|one| reasons::line(&one.to_string())).collect();
    let more = why.len().saturating_sub(REASONS_SHOWN);
    let more = if more > 0 { format!("; and {more} more, see `fleet explain`") } else { String::new() };
    line(paint, Color::Dim, "why", format_args!("{name}  {}{more}", shown.join("; ")), out);
}

pub(super) fn warning(paint: Paint, text: &str, out: &mut Vec<u8>) {
    line(paint, Color::Yellow, "warning", format_args!("{text}"), out);
}
