//! Who writes to a stream for people: text as it is, whole logs, and the live display below them.
//! A live display steps aside while text is written, or the text would tear it.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write};
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;

use super::text;

/// Text of a log that is held before it is written, and its longest line, in bytes.
const HELD_MAX: usize = 64 << 10;

/// What is written next.
#[derive(Debug)]
pub(super) enum Piece {
    Text(Vec<u8>),
    /// A whole log, line by line, as this stream may show it.
    Log(PathBuf),
    /// What a person asked for while the run goes on: to standard error, whatever this stream is.
    Aside(Vec<u8>),
    /// The live display is over and leaves nothing behind.
    Clear,
}

impl Piece {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Text(text) | Self::Aside(text) => text.len(),
            Self::Log(_) | Self::Clear => 0,
        }
    }
}

pub(super) struct Pen<W: Write + ?Sized> {
    live: Option<ProgressBar>,
    /// Whether a person looks at it through a terminal, so that what tasks print must be made safe.
    terminal: bool,
    colors: bool,
    to: Box<W>,
}

impl<W: Write + ?Sized> Pen<W> {
    pub(super) fn new(to: Box<W>, terminal: bool, colors: bool, live: Option<ProgressBar>) -> Self {
        Self { live, terminal, colors, to }
    }

    /// For programs.
    pub(super) fn plain(to: Box<W>) -> Self {
        Self::new(to, false, false, None)
    }

    pub(super) fn put(&mut self, piece: Piece) -> io::Result<()> {
        match piece {
            Piece::Text(text) => self.write(&text),
            Piece::Log(path) => self.log(&path),
            Piece::Aside(text) => {
                let write = || {
                    // Where standard error is closed nobody wants to know.
                    let _ = io::stderr().lock().write_all(&text);
                };
                match &self.live {
                    Some(live) => live.suspend(write),
                    None => write(),
                }
                Ok(())
            }
            Piece::Clear => {
                if let Some(live) = &self.live {
                    live.finish_and_clear();
                }
                Ok(())
            }
        }
    }

    pub(super) fn show(&mut self, screen: String) {
        if let Some(live) = &self.live {
            live.set_message(screen);
        }
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        let Self { to, live, .. } = self;
        let mut write = || to.write_all(text).and_then(|()| to.flush());
        match live {
            Some(live) => live.suspend(write),
            None => write(),
        }
    }

    /// A log that cannot be read is said and no error: the run's own result stands. It is read in pieces, so its size
    /// costs no memory.
    fn log(&mut self, path: &Path) -> io::Result<()> {
        let mut held = Vec::new();
        let mut file = match File::open(path) {
            Ok(file) => BufReader::with_capacity(HELD_MAX, file),
            Err(error) => return self.unreadable(&error),
        };
        let mut line = Vec::new();
        loop {
            line.clear();
            match file.by_ref().take(HELD_MAX as u64).read_until(b'\n', &mut line) {
                Ok(0) => return self.write(&held),
                Ok(_) => task_line(line.strip_suffix(b"\n").unwrap_or(&line), self.terminal, self.colors, &mut held),
                Err(error) => {
                    self.write(&held)?;
                    return self.unreadable(&error);
                }
            }
            if held.len() >= HELD_MAX {
                self.write(&held)?;
                held.clear();
            }
        }
    }

    fn unreadable(&mut self, error: &io::Error) -> io::Result<()> {
        self.write(format!("(the log could not be read: {error})\n").as_bytes())
    }
}

/// Appends a line of a task, newline excluded, as such a stream may show it.
pub(super) fn task_line(line: &[u8], terminal: bool, colors: bool, out: &mut Vec<u8>) {
    if !terminal {
        out.extend_from_slice(line);
    } else if text::clean(line, colors, out) {
        out.extend_from_slice(b"\x1b[0m");
    }
    out.push(b'\n');
}

impl<W: Write + ?Sized> fmt::Debug for Pen<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pen(terminal: {}, live: {})", self.terminal, self.live.is_some())
    }
}
