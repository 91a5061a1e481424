//! The two directions of a connection, never blocking. [`Outbox`] gathers frames and writes them together; large output
//! goes from a task's pipe to the engine's by splice(2), pages moved and not copied. [`Inbox`] gathers bytes until a
//! frame is whole.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::pipe::SpliceFlags;

use super::frame::{self, FrameError, HEADER_BYTES, Header, Kind, Stream};
use super::sys;

/// Buffers that grew beyond this for one large frame are given back afterwards.
const KEEP_BYTES: usize = 128 << 10;
/// Read from the engine at a time.
pub(crate) const READ_BYTES: usize = 64 << 10;

/// Frames on their way out.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    buffer: Vec<u8>,
    sent: usize,
    /// An output frame whose header is sent and whose body still is in the task's pipe. Goes before `buffer`.
    splicing: Option<Splicing>,
}

#[derive(Debug)]
struct Splicing {
    from: Arc<OwnedFd>,
    left: usize,
}

impl Outbox {
    /// Where frames are appended.
    pub(crate) fn frames(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Bytes that wait here.
    pub(crate) fn backlog(&self) -> usize {
        self.buffer.len() - self.sent
    }

    /// The bytes of a sent header still are in the task's pipe, so that pipe must not be read in another way.
    pub(crate) fn splicing(&self) -> bool {
        self.splicing.is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.backlog() == 0 && self.splicing.is_none()
    }

    /// Writes until all is out (`true`) or the pipe is full.
    pub(crate) fn flush(&mut self, to: impl AsFd) -> io::Result<bool> {
        if !self.splice(&to)? {
            return Ok(false);
        }
        while self.backlog() > 0 {
            match rustix::io::write(&to, &self.buffer[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(rustix::io::Errno::AGAIN) => {
                    // What was sent is dropped now and then, so that a backlog that never empties does not grow.
                    if self.sent > KEEP_BYTES {
                        self.buffer.drain(..self.sent);
                        self.sent = 0;
                    }
                    return Ok(false);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.buffer.clear();
        self.sent = 0;
        self.buffer.shrink_to(KEEP_BYTES);
        Ok(true)
    }

    /// Sends `length` bytes, which are in the pipe `from` already, as one output frame without copying them. Only when
    /// nothing else waits; `false` means that nothing was sent.
    pub(crate) fn pass_on(
        &mut self,
        to: impl AsFd,
        from: &Arc<OwnedFd>,
        stream: Stream,
        attempt: u32,
        length: usize,
    ) -> io::Result<bool> {
        debug_assert!(self.is_empty(), "frames keep their order");
        let head = frame::header(Kind::Output, stream, attempt, length);
        match rustix::io::write(&to, &head) {
            // Shorter than PIPE_BUF, so all or nothing on a pipe.
            Ok(n) if n == HEADER_BYTES => {}
            Ok(n) => {
                // Not a pipe after all: fall back to copying the rest of the header; the body follows it.
                self.buffer.extend_from_slice(&head[n..]);
                while self.backlog() > 0 {
                    match rustix::io::write(&to, &self.buffer[self.sent..]) {
                        Ok(n) => self.sent += n,
                        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => std::thread::yield_now(),
                        Err(error) => return Err(error.into()),
                    }
                }
                self.buffer.clear();
                self.sent = 0;
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        self.splicing = Some(Splicing { from: Arc::clone(from), left: length });
        self.splice(&to).map(|_| true)
    }

    fn splice(&mut self, to: impl AsFd) -> io::Result<bool> {
        let Some(splicing) = &mut self.splicing else { return Ok(true) };
        while splicing.left > 0 {
            let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
            match rustix::pipe::splice(&*splicing.from, None, &to, None, splicing.left, flags) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => splicing.left -= n,
                Err(rustix::io::Errno::AGAIN) => return Ok(false),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.splicing = None;
        Ok(true)
    }
}

/// Bytes on their way in.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    buffer: Vec<u8>,
    start: usize,
    /// An output frame of which this much is still to come; see [`Inbox::next_piece`].
    rest: Option<Header>,
}

impl Inbox {
    /// Reads what is there; `false` at the end of the connection.
    pub(crate) fn fill(&mut self, from: impl AsFd) -> io::Result<bool> {
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.buffer.is_empty() {
            self.buffer.shrink_to(KEEP_BYTES);
        }
        match sys::read_onto(from.as_fd(), &mut self.buffer, READ_BYTES) {
            Ok(got) => Ok(got > 0),
            Err(rustix::io::Errno::AGAIN) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Bytes that were read and not handed out.
    pub(crate) fn unread(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// The next whole frame.
    pub(crate) fn next(&mut self) -> Result<Option<(Header, &[u8])>, FrameError> {
        let Some(head) = frame::peek(&self.buffer[self.start..])? else { return Ok(None) };
        let body = self.start + HEADER_BYTES;
        if self.buffer.len() < body + head.length {
            return Ok(None);
        }
        self.start = body + head.length;
        Ok(Some((head, &self.buffer[body..body + head.length])))
    }

    /// As [`Inbox::next`], but hands over output as it comes, so that no output frame has to fit the buffer. The
    /// header's length is then that of the piece.
    pub(crate) fn next_piece(&mut self) -> Result<Option<(Header, &[u8])>, FrameError> {
        if self.rest.is_none() {
            let Some(head) = frame::peek(&self.buffer[self.start..])? else { return Ok(None) };
            if head.kind != Some(Kind::Output) {
                return self.next();
            }
            self.start += HEADER_BYTES;
            self.rest = Some(head);
        }
        let there = self.buffer.len() - self.start;
        let Some(mut head) = self.rest.filter(|rest| there > 0 || rest.length == 0) else { return Ok(None) };
        let left = head.length;
        head.length = left.min(there);
        self.rest = (head.length < left).then_some(Header { length: left - head.length, ..head });
        let piece = self.start..self.start + head.length;
        self.start = piece.end;
        Ok(Some((head, &self.buffer[piece])))
    }

    #[cfg(test)]
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { buffer: bytes.to_vec(), start: 0, rest: None }
    }
}
