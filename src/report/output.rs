//! What tasks print, on its way to people: as it comes (`stream`), or from the log when the task ends.
//! A log is read in pieces, so its size costs no memory.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use clap::ValueEnum;

use super::color::Color;
use super::out::Out;
use super::text::{Span, clean};
use super::{RunView, Running};
use crate::id::{Attempt, RunId, TaskId};
use crate::journal::Stream;
use crate::protocol::TaskResult;
use crate::time::Millis;

/// How the report treats what tasks print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputMode {
    /// The whole output of a task when it ends
    #[default]
    Grouped,
    /// Each line as it comes, with the name of its task before it
    Stream,
    /// The whole output of a task that did not pass, and nothing of the others
    OnFail,
    /// No output and no line per event: only warnings and the summary
    Quiet,
}

impl OutputMode {
    /// Whether the log of a task with this result is shown when it ends.
    pub(super) fn shows_log(self, result: TaskResult) -> bool {
        match self {
            Self::Grouped => true,
            Self::OnFail => !matches!(result, TaskResult::Pass | TaskResult::Skip),
            Self::Stream | Self::Quiet => false,
        }
    }
}

/// A line without an end is shown in pieces of this size.
const LINE_BYTES_MAX: usize = 64 << 10;

/// The beginnings of lines whose ends have not come yet.
#[derive(Debug, Default)]
pub(super) struct Partial {
    /// By task and whether it is standard error.
    lines: HashMap<(TaskId, bool), Vec<u8>>,
}

impl Partial {
    /// Shows each line that `bytes` completes, and holds the rest.
    pub(super) fn add(
        &mut self,
        (task, name): (TaskId, &str),
        stream: Stream,
        mut bytes: &[u8],
        out: &mut Out,
    ) -> io::Result<()> {
        let key = (task, stream == Stream::Stderr);
        if let Some(held) = self.lines.get_mut(&key) {
            let end = memchr::memchr(b'\n', bytes);
            held.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
            if end.is_none() && held.len() < LINE_BYTES_MAX {
                return Ok(());
            }
            prefixed(name, held, out);
            self.lines.remove(&key);
            bytes = &bytes[end.map_or(bytes.len(), |at| at + 1)..];
        }
        while let Some(at) = memchr::memchr(b'\n', bytes) {
            prefixed(name, &bytes[..at], out);
            out.room()?;
            bytes = &bytes[at + 1..];
        }
        if !bytes.is_empty() {
            self.lines.insert(key, bytes.to_owned());
        }
        Ok(())
    }

    /// Shows what is held of a task that has ended.
    pub(super) fn end(&mut self, (task, name): (TaskId, &str), out: &mut Out) {
        if self.lines.is_empty() {
            return;
        }
        for stderr in [false, true] {
            if let Some(held) = self.lines.remove(&(task, stderr)) {
                prefixed(name, &held, out);
            }
        }
    }
}

/// One line behind the name of its task, unless the reader is far behind.
fn prefixed(name: &str, line: &[u8], out: &mut Out) {
    if !out.skips(name) {
        heading(name, out);
        out.task_line(line);
    }
}

/// Says which lines were left out: those of a task that has ended, or all once the reader has caught up.
pub(super) fn tell_skipped(run: &RunId, ended: Option<&str>, out: &mut Out) {
    for (name, count) in out.take_skipped(ended) {
        heading(&name, out);
        let lines = if count == 1 { "line" } else { "lines" };
        // Writing to a vector cannot fail.
        let _ = writeln!(out.text, "… {count} {lines} not shown; all of it: fleet logs {run} {name}");
    }
}

fn heading(name: &str, out: &mut Out) {
    if out.paint.is_on() {
        // Writing to a vector cannot fail.
        let _ = io::Write::write_fmt(&mut out.text, format_args!("{} ", out.paint.color(Color::Cyan, name)));
    } else {
        out.text.extend_from_slice(name.as_bytes());
        out.text.push(b' ');
    }
    out.text.extend_from_slice(b"| ");
}

/// Running tasks that are shown with what they print; of others only the number.
const RUNNING_SHOWN: usize = 20;
/// Lines shown of each.
const RUNNING_LINES: usize = 5;

/// What runs now, for who asks.
pub(super) fn running(view: &RunView<'_>, now: Millis, running: &[Running]) -> Vec<u8> {
    let mut text = Vec::new();
    // Writing to a vector cannot fail.
    let count = if running.len() == 1 { "1 task runs".to_owned() } else { format!("{} tasks run", running.len()) };
    let _ = writeln!(text, "running  {count} after {}", Span(now.since(Millis(0))));
    for one in running.iter().take(RUNNING_SHOWN) {
        let again = if one.attempt > Attempt::FIRST { format!("  attempt {}", one.attempt) } else { String::new() };
        let _ = writeln!(text, "running  {}  {}{again}", view.fleet.tasks[one.task].name, Span(now.since(one.since)));
        for line in last_lines(&one.tail, RUNNING_LINES) {
            text.extend_from_slice(b"    ");
            clean(line, false, &mut text);
            text.push(b'\n');
        }
    }
    if running.len() > RUNNING_SHOWN {
        let _ = writeln!(text, "and {} more", running.len() - RUNNING_SHOWN);
    }
    text
}

/// The last lines of the end of a log.
fn last_lines(tail: &[u8], lines_max: usize) -> impl Iterator<Item = &[u8]> {
    let tail = tail.strip_suffix(b"\n").unwrap_or(tail);
    let start = memchr::memrchr_iter(b'\n', tail).nth(lines_max - 1).map_or(0, |at| at + 1);
    tail[start..].split(|byte| *byte == b'\n').filter(|_| !tail.is_empty())
}

/// The last lines of a log, and whether there were more.
///
/// # Errors
/// When it cannot be read.
pub fn tail(path: &Path, lines_max: usize) -> io::Result<(Vec<Vec<u8>>, bool)> {
    /// Enough for ordinary lines; a log that ends in longer ones is shown with fewer.
    const TAIL_BYTES: u64 = 16 << 10;
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let mut lines: Vec<_> = bytes.rsplit(|b| *b == b'\n').take(lines_max + 1).map(<[u8]>::to_vec).collect();
    let more = start > 0 || lines.len() > lines_max;
    if start > 0 && lines.len() <= lines_max && lines.len() > 1 {
        // The first one is the end of a line that began before the piece that was read.
        lines.pop();
    }
    lines.truncate(lines_max);
    lines.reverse();
    Ok((lines, more))
}
