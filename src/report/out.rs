//! One stream to people: text is held and written in large pieces, and a live display steps aside while it is.

use std::fmt;
use std::io::{self, Write};

use indicatif::ProgressBar;

use super::color::Paint;
use super::text;

/// Text that may be held before it is written, in bytes.
const HELD_MAX: usize = 64 << 10;

pub(super) struct Out {
    to: Box<dyn Write>,
    /// What is not written yet. Anything may be appended; [`Out::room`] or [`Out::flush`] writes it.
    pub(super) text: Vec<u8>,
    pub(super) paint: Paint,
    /// Whether a person looks at it through a terminal, so that what tasks print must be made safe.
    terminal: bool,
    /// Drawn below the text; on the same terminal, or the text would tear it.
    live: Option<ProgressBar>,
}

impl Out {
    pub(super) fn new(to: Box<dyn Write>, paint: Paint, terminal: bool, live: Option<ProgressBar>) -> Self {
        Self { to, text: Vec::new(), paint, terminal, live }
    }

    /// Appends a line of a task, newline excluded, as this stream may show it.
    pub(super) fn task_line(&mut self, line: &[u8]) {
        if !self.terminal {
            self.text.extend_from_slice(line);
        } else if text::clean(line, self.paint.is_on(), &mut self.text) {
            self.text.extend_from_slice(b"\x1b[0m");
        }
        self.text.push(b'\n');
    }

    /// Writes when much is held.
    pub(super) fn room(&mut self) -> io::Result<()> {
        if self.text.len() < HELD_MAX { Ok(()) } else { self.flush() }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.text.is_empty() {
            return Ok(());
        }
        let Self { to, text, live, .. } = self;
        let mut write = || to.write_all(text).and_then(|()| to.flush());
        let written = match live {
            Some(live) => live.suspend(write),
            None => write(),
        };
        self.text.clear();
        written
    }
}

impl fmt::Debug for Out {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Out({} bytes held)", self.text.len())
    }
}
