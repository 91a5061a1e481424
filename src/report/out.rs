//! One stream to people, as the sink sees it: text is held and handed on in large pieces, here and now or to a thread
//! that does not make the run wait. Lines that tasks print as they run are left out while the reader is far behind,
//! with a line that says how many: they are in the log. Everything else waits, because there is little of it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use super::color::Paint;
use super::pen::{self, Pen, Piece};
use super::queue::Queue;

/// Text that may be held before it is handed on, in bytes.
const HELD_MAX: usize = 64 << 10;

/// A reader is behind when this much waits for it, until no more than a quarter of it does.
const BEHIND_BYTES: usize = 8 << 20;

#[derive(Debug)]
pub(super) struct Out {
    end: End,
    /// What is not handed on yet. Anything may be appended; [`Out::room`] or [`Out::flush`] hands it on.
    pub(super) text: Vec<u8>,
    pub(super) paint: Paint,
    terminal: bool,
    behind: bool,
    /// Lines that were left out, by task.
    skipped: BTreeMap<Box<str>, u64>,
}

#[derive(Debug)]
pub(super) enum End {
    Here(Pen<dyn Write>),
    Beside(Queue),
}

impl Out {
    pub(super) fn new(end: End, paint: Paint, terminal: bool) -> Self {
        Self { end, text: Vec::new(), paint, terminal, behind: false, skipped: BTreeMap::new() }
    }

    /// Appends a line of a task, newline excluded, as this stream may show it.
    pub(super) fn task_line(&mut self, line: &[u8]) {
        pen::task_line(line, self.terminal, self.paint.is_on(), &mut self.text);
    }

    /// Whether a line that came from this task while it runs is to be left out.
    pub(super) fn skips(&mut self, task: &str) -> bool {
        if self.behind
            && let Some(count) = self.skipped.get_mut(task)
        {
            *count += 1;
        } else if self.behind {
            self.skipped.insert(task.into(), 1);
        }
        self.behind
    }

    /// Takes what is to be said of lines that were left out: of one task, or of all once the reader has caught up.
    pub(super) fn take_skipped(&mut self, task: Option<&str>) -> Vec<(Box<str>, u64)> {
        match task {
            Some(task) => self.skipped.remove_entry(task).into_iter().collect(),
            None if self.behind => Vec::new(),
            None => std::mem::take(&mut self.skipped).into_iter().collect(),
        }
    }

    pub(super) fn has_skipped(&self) -> bool {
        !self.skipped.is_empty()
    }

    /// Shows a whole log behind the text.
    pub(super) fn log(&mut self, path: PathBuf) -> io::Result<()> {
        self.flush()?;
        self.put(Piece::Log(path))
    }

    /// Shows text on standard error, whatever this stream is.
    pub(super) fn aside(&mut self, text: Vec<u8>) -> io::Result<()> {
        self.flush()?;
        self.put(Piece::Aside(text))
    }

    /// Draws the live display anew.
    pub(super) fn show(&mut self, screen: String) {
        match &mut self.end {
            End::Here(pen) => pen.show(screen),
            End::Beside(queue) => queue.show(screen),
        }
    }

    /// The live display is over.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.put(Piece::Clear)
    }

    /// Hands on when much is held.
    pub(super) fn room(&mut self) -> io::Result<()> {
        if self.text.len() < HELD_MAX { Ok(()) } else { self.flush() }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        if let End::Beside(queue) = &self.end {
            let limit = if self.behind { BEHIND_BYTES / 4 } else { BEHIND_BYTES };
            self.behind = queue.waiting() >= limit;
        }
        if self.text.is_empty() {
            return Ok(());
        }
        let text = std::mem::take(&mut self.text);
        self.put(Piece::Text(text))
    }

    fn put(&mut self, piece: Piece) -> io::Result<()> {
        match &mut self.end {
            End::Here(pen) => pen.put(piece),
            End::Beside(queue) => queue.put(piece),
        }
    }
}
