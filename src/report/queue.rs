//! Between a run and a stream that may be slow, or stand still: a thread of its own does the writing, so that no task
//! and no decision ever waits for whoever reads. What waits to be written is text, and logs by name, which cost nothing
//! while they wait; the live display has one place, and a new picture takes the place of the old one.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::pen::{Pen, Piece};

/// The way in. Nothing here blocks.
#[derive(Clone)]
pub struct Queue(Arc<Shared>);

/// Waits for the end of what was put in.
#[must_use = "what nobody waits for may never be written"]
#[derive(Debug)]
pub struct Drain(Queue);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Something was put in, or nothing more will be.
    news: Condvar,
    /// The thread has ended.
    over: Condvar,
}

#[derive(Default)]
struct State {
    pieces: VecDeque<Piece>,
    /// Of text that waits or is being written.
    bytes: usize,
    screen: Option<String>,
    closing: bool,
    ended: bool,
    /// What writing failed with, for whoever comes next.
    error: Option<io::Error>,
}

impl Queue {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(to: Box<dyn Write + Send>) -> io::Result<(Self, Drain)> {
        Self::with(Pen::plain(to))
    }

    pub(super) fn with(pen: Pen<dyn Write + Send>) -> io::Result<(Self, Drain)> {
        let queue = Self(Arc::default());
        let theirs = queue.clone();
        std::thread::Builder::new().name("report".to_owned()).spawn(move || theirs.work(pen))?;
        Ok((queue.clone(), Drain(queue)))
    }

    /// Puts something in.
    ///
    /// # Errors
    /// What writing failed with before; then nothing is taken any more.
    pub(super) fn put(&self, piece: Piece) -> io::Result<()> {
        let mut state = self.state();
        if state.ended {
            return Err(state.error.take().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into()));
        }
        state.bytes += piece.bytes();
        state.pieces.push_back(piece);
        drop(state);
        self.0.news.notify_one();
        Ok(())
    }

    /// What the live display shows once everything before it is written.
    pub(super) fn show(&self, screen: String) {
        self.state().screen = Some(screen);
        self.0.news.notify_one();
    }

    /// How much text waits.
    pub(super) fn waiting(&self) -> usize {
        self.state().bytes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, mut pen: Pen<dyn Write + Send>) {
        let mut state = self.state();
        loop {
            if let Some(piece) = state.pieces.pop_front() {
                drop(state);
                let bytes = piece.bytes();
                let written = pen.put(piece);
                state = self.state();
                state.bytes -= bytes;
                if let Err(error) = written {
                    state.error = Some(error);
                    break;
                }
            } else if let Some(screen) = state.screen.take() {
                drop(state);
                pen.show(screen);
                state = self.state();
            } else if state.closing {
                break;
            } else {
                state = self.0.news.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        state.ended = true;
        state.pieces = VecDeque::new();
        self.0.over.notify_all();
    }
}

/// For who only has bytes, and whose every byte counts: they wait in memory until the reader takes them.
impl Write for Queue {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(Piece::Text(bytes.to_owned()))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drain {
    /// Waits until everything is written, however long the reader takes.
    ///
    /// # Errors
    /// What writing failed with, unless somebody was told before.
    pub fn wait(self) -> io::Result<()> {
        let queue = self.0;
        let mut state = queue.state();
        state.closing = true;
        queue.0.news.notify_one();
        while !state.ended {
            state = queue.0.over.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.error.take().map_or(Ok(()), Err)
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Queue({} bytes waiting)", self.waiting())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn who_puts_in_never_waits_and_nothing_is_lost() {
        let (mut reader, writer) = io::pipe().unwrap();
        let (mut queue, drain) = Queue::start(Box::new(writer)).unwrap();
        // More than a pipe takes, with nobody reading.
        for n in 0..2000_u32 {
            queue.write_all(format!("{n:>999}\n").as_bytes()).unwrap();
        }
        assert!(queue.waiting() > 1_000_000);
        let read = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        drain.wait().unwrap();
        let text = read.join().unwrap();
        assert_eq!(text.lines().map(|line| line.trim().parse::<u32>().unwrap()).sum::<u32>(), 1999 * 1000);
    }

    #[test]
    fn an_error_is_told_once_and_ends_it() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let (mut queue, drain) = Queue::start(Box::new(full)).unwrap();
        queue.write_all(b"x").unwrap();
        assert_eq!(drain.wait().unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(queue.write_all(b"x").is_err());
    }
}
