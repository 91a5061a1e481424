//! What tasks print, on its way to people: as it comes (`stream`), or from the log when the task ends.
//! A log is read in pieces, so its size costs no memory.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use clap::ValueEnum;

use super::color::Color;
use super::out::Out;
use crate::id::TaskId;
use crate::journal::Stream;
use crate::protocol::TaskResult;

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

fn prefixed(name: &str, line: &[u8], out: &mut Out) {
    if out.paint.is_on() {
        // Writing to a vector cannot fail.
        let _ = io::Write::write_fmt(&mut out.text, format_args!("{} ", out.paint.color(Color::Cyan, name)));
    } else {
        out.text.extend_from_slice(name.as_bytes());
        out.text.push(b' ');
    }
    out.text.extend_from_slice(b"| ");
    out.task_line(line);
}

/// Shows a whole log. A log that cannot be read is said and no error: the run's own result stands.
pub(super) fn log(path: &Path, out: &mut Out) -> io::Result<()> {
    let mut reader = match File::open(path) {
        Ok(file) => BufReader::with_capacity(LINE_BYTES_MAX, file),
        Err(error) => {
            unreadable(&error, out);
            return Ok(());
        }
    };
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line) {
            Ok(0) => return Ok(()),
            Ok(_) => out.task_line(line.strip_suffix(b"\n").unwrap_or(&line)),
            Err(error) => {
                unreadable(&error, out);
                return Ok(());
            }
        }
        out.room()?;
    }
}

fn unreadable(error: &io::Error, out: &mut Out) {
    out.task_line(format!("(the log could not be read: {error})").as_bytes());
}

/// The last lines of a log, and whether there were more.
pub(super) fn tail(path: &Path, lines_max: usize) -> io::Result<(Vec<Vec<u8>>, bool)> {
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
