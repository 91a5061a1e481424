//! [`Link`] is the engine's end of a supervisor, wherever that is. Everything it is told is buffered until
//! [`Link::flush`]; nothing here blocks except [`Link::close`], and nothing has a thread of its own. Files on their way
//! there are read as the connection takes them.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::digest::Digest;
use crate::protocol::receipt::OutputRef;
use crate::store::Root;
use crate::supervisor::frame::{
    self, Collected, Credit, DIGESTS_MAX, Env, Exited, FrameError, Grace, Header, Hello, Kind, NotStarted, Removed,
    Spawn, Stage, Started, Stream, Wanted, Welcome,
};
use crate::supervisor::stage::piece::{PIECE_BYTES, Squeeze};
use crate::supervisor::wire::{Inbox, Outbox, READ_BYTES};
use crate::time::millis;

/// Reads of 64 KiB before the caller gets its turn back.
const READS_MAX: usize = 16;
/// The pipes between the supervisor and us.
const PIPE_BYTES: usize = 256 << 10;
/// How long our program that led there may take to end once its pipes are closed.
const ENDS_MAX: Duration = Duration::from_millis(100);
/// How long a supervisor may take to leave, on top of the grace.
const LEAVE_MAX: Duration = Duration::from_secs(3);
/// Bytes that may wait for the connection before no more of a file is read.
const BACKLOG_BYTES_MAX: usize = 512 << 10;
/// Bytes of files on their way: at first, at least and at most.
const WINDOW_BYTES_FIRST: u64 = 1 << 20;
const WINDOW_BYTES_MIN: u64 = 512 << 10;
const WINDOW_BYTES_MAX: u64 = 32 << 20;
/// Answers that come sooner let more go, and those that come later less.
const PACE_FAST: Duration = Duration::from_millis(500);
const PACE_SLOW: Duration = Duration::from_secs(2);

/// What the supervisor says. `attempt` is the number the engine chose in [`Link::spawn`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromSupervisor<'a> {
    Started {
        attempt: u32,
        started: Started,
    },
    /// A piece of output in order; give the bytes back with [`Link::credit`] once they are dealt with.
    Output {
        attempt: u32,
        stream: Stream,
        bytes: &'a [u8],
    },
    /// The last word about an attempt; its number may be used again.
    Exited {
        attempt: u32,
        exited: Exited,
    },
    /// There was no process; also the last word.
    NotStarted {
        attempt: u32,
        error: NotStarted,
    },
    /// Its answer to our greeting.
    Welcome(Welcome),
    /// It lives.
    Beating,
    /// Files that it has not kept, of what an attempt starts from.
    Lacks {
        attempt: u32,
        digests: Vec<Digest>,
    },
    /// A part of the list of what an attempt made; before its `Exited`.
    Collected {
        attempt: u32,
        part: Collected,
    },
    /// A piece of a file that was asked for with [`Link::fetch`].
    Gives(&'a [u8]),
    /// What went of what was kept there; only for one who wants nothing kept.
    Removed(Removed),
}

/// Whether the supervisor is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alive {
    Alive,
    /// It is gone, and every frame it had sent was handed over. Call [`super::local::sweep()`].
    Closed,
}

/// A process that is, or leads to, a supervisor, and its pipes.
#[derive(Debug)]
pub struct Pipes {
    pub child: Child,
    pub to: ChildStdin,
    pub from: ChildStdout,
}

impl Pipes {
    /// # Errors
    /// When it was started without them.
    pub fn of(mut child: Child) -> io::Result<Self> {
        let to = child.stdin.take().ok_or_else(|| other("the supervisor has no stdin"))?;
        let from = child.stdout.take().ok_or_else(|| other("the supervisor has no stdout"))?;
        Ok(Self { child, to, from })
    }
}

/// Where the bytes of a file are that is to be sent.
#[derive(Debug)]
pub enum Source {
    /// A regular file of the workspace, links followed while they stay inside.
    File(Arc<Root>, Box<str>),
    /// The text of a link.
    Text(Vec<u8>),
}

/// A file on its way.
#[derive(Debug)]
struct Upload {
    digest: Digest,
    source: Source,
    file: Option<File>,
    squeeze: Squeeze,
}

/// The engine's end of a supervisor's pipes. Dropping it ends everything at once.
#[derive(Debug)]
pub struct Link {
    child: Child,
    /// `None` once the supervisor stopped listening.
    to: Option<ChildStdin>,
    from: ChildStdout,
    outbox: Outbox,
    inbox: Inbox,
    greeted: bool,
    uploads: VecDeque<Upload>,
    /// Bytes of files that were sent, before compression.
    uploaded: u64,
    pace: Pace,
}

/// How much of files may be on the way: as much as the other side takes in within a moment, so that what else there is to
/// say never waits for long, and a slow connection is not taken for a dead one. The other side answers each beat, so a
/// beat behind some bytes measures them.
#[derive(Debug)]
struct Pace {
    window: u64,
    /// Up to where the other side has taken files in.
    taken: u64,
    /// Beats on their way: up to where files were sent before each, and when.
    beats: VecDeque<(u64, Instant)>,
}

impl Pace {
    fn beaten(&mut self, sent: u64) {
        self.beats.push_back((sent, Instant::now()));
    }

    fn answered(&mut self) {
        let Some((sent, at)) = self.beats.pop_front() else { return };
        let (bytes, took) = (sent - self.taken, at.elapsed());
        self.taken = sent;
        if took > PACE_SLOW {
            self.window = (self.window / 2).max(WINDOW_BYTES_MIN);
        } else if took < PACE_FAST && bytes > 0 {
            self.window = (self.window * 2).min(WINDOW_BYTES_MAX);
        }
    }

    fn is_open(&self, sent: u64) -> bool {
        sent - self.taken < self.window
    }

    /// Whether so much was sent since the last beat that another one is due.
    fn wants_beat(&self, sent: u64) -> bool {
        sent - self.beats.back().map_or(self.taken, |(at, _)| *at) >= self.window / 4
    }
}

impl Link {
    /// Greets the supervisor, without waiting for its answer.
    ///
    /// # Errors
    /// When the pipes are broken, or a path is longer than a frame.
    pub fn new(pipes: Pipes, hello: &Hello) -> io::Result<Self> {
        let Pipes { child, to, from } = pipes;
        let mut link = Self {
            child,
            to: Some(to),
            from,
            outbox: Outbox::default(),
            inbox: Inbox::default(),
            greeted: false,
            uploads: VecDeque::new(),
            uploaded: 0,
            pace: Pace { window: WINDOW_BYTES_FIRST, taken: 0, beats: VecDeque::new() },
        };
        link.put(Kind::Hello, 0, hello)?;
        for fd in [link.as_fd(), link.write_fd()] {
            rustix::fs::fcntl_setfl(fd, rustix::fs::OFlags::NONBLOCK)?;
        }
        // A refusal costs speed with large output and large files, and nothing else.
        for fd in [link.as_fd(), link.write_fd()] {
            let _ = rustix::pipe::fcntl_setpipe_size(fd, PIPE_BYTES);
        }
        link.flush()?;
        Ok(link)
    }

    /// Readable when frames wait.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.from.as_fd()
    }

    /// Poll this one for writing while [`Link::wants_write`].
    #[must_use]
    pub fn write_fd(&self) -> BorrowedFd<'_> {
        self.to.as_ref().map_or_else(|| self.as_fd(), AsFd::as_fd)
    }

    /// The supervisor's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Makes a base environment known; before the first spawn that names it.
    ///
    /// # Errors
    /// When it does not fit a frame (1 MiB).
    pub fn env(&mut self, env: &Env) -> io::Result<()> {
        self.put(Kind::Env, 0, env)
    }

    /// Starts an attempt under a number that is not in use.
    ///
    /// # Errors
    /// When the request does not fit a frame (1 MiB); nothing was sent then.
    pub fn spawn(&mut self, attempt: u32, spawn: &Spawn) -> io::Result<()> {
        self.put(Kind::Spawn, attempt, spawn)
    }

    /// Allows that much more output.
    pub fn credit(&mut self, attempt: u32, bytes: u64) {
        self.put_small(Kind::Credit, attempt, &Credit { bytes });
    }

    /// TERM, the grace, KILL; `Exited` follows with `ended_by` stop. Nothing happens when the attempt has ended.
    pub fn stop(&mut self, attempt: u32, grace: Duration) {
        self.put_small(Kind::Stop, attempt, &Grace { grace_ms: millis(grace) });
    }

    /// KILL at once.
    pub fn kill(&mut self, attempt: u32) {
        frame::put_bare(self.outbox.frames(), Kind::Kill, attempt);
    }

    /// Freezes every attempt and its timers.
    pub fn suspend(&mut self) {
        frame::put_bare(self.outbox.frames(), Kind::Suspend, 0);
    }

    /// Lets them go on.
    pub fn resume(&mut self) {
        frame::put_bare(self.outbox.frames(), Kind::Resume, 0);
    }

    /// Says that we live; it answers.
    pub fn beat(&mut self) {
        frame::put_bare(self.outbox.frames(), Kind::Beat, 0);
        self.pace.beaten(self.uploaded);
    }

    /// Nothing is to go on there any more: no file is sent on, and the other side is told to end everything and leave. It
    /// is still listened to.
    pub fn fence(&mut self) {
        self.uploads.clear();
        self.put_small(Kind::Bye, 0, &Grace { grace_ms: 0 });
    }

    /// Writes what is buffered, and waits for the connection to take it; no longer than this.
    pub fn push_out(&mut self, limit: Duration) {
        let uploads = std::mem::take(&mut self.uploads);
        let end = Instant::now() + limit;
        while self.flush().is_ok() && !self.outbox.is_empty() {
            let Ok(left) = Timespec::try_from(end.saturating_duration_since(Instant::now())) else { break };
            let mut fds = [PollFd::from_borrowed_fd(self.write_fd(), PollFlags::OUT)];
            if !matches!(rustix::event::poll(&mut fds, Some(&left)), Ok(1..)) {
                break;
            }
        }
        self.uploads = uploads;
    }

    /// Lists what an attempt starts from; what is lacking there is asked for.
    pub fn stage(&mut self, attempt: u32, entries: &[OutputRef]) {
        for part in frame::chunks(entries) {
            self.put_small(Kind::Stage, attempt, &Stage { entries: part.to_vec(), end: false });
        }
        self.put_small(Kind::Stage, attempt, &Stage { entries: Vec::new(), end: true });
    }

    /// Sends a file behind those that are on their way.
    pub fn upload(&mut self, digest: Digest, source: Source) {
        self.uploads.push_back(Upload { digest, source, file: None, squeeze: Squeeze::default() });
    }

    /// Asks for files that an attempt made.
    pub fn fetch(&mut self, attempt: u32, digests: &[Digest]) {
        for some in digests.chunks(DIGESTS_MAX) {
            self.put_small(Kind::Fetch, attempt, &Wanted { digests: some.to_vec() });
        }
    }

    /// Ends an attempt's copy.
    pub fn release(&mut self, attempt: u32) {
        frame::put_bare(self.outbox.frames(), Kind::Release, attempt);
    }

    /// Writes what is buffered, as far as the pipe takes it.
    ///
    /// # Errors
    /// When the pipe is broken in another way than by the supervisor's death, which [`Link::receive`] reports.
    pub fn flush(&mut self) -> io::Result<()> {
        loop {
            self.read_on();
            let Some(to) = &self.to else {
                self.outbox = Outbox::default();
                self.uploads.clear();
                return Ok(());
            };
            match self.outbox.flush(to) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    self.to = None;
                    self.outbox = Outbox::default();
                    self.uploads.clear();
                    return Ok(());
                }
                Err(error) => return Err(error),
                Ok(true) if !self.uploads.is_empty() && self.pace.is_open(self.uploaded) => {}
                Ok(_) => return Ok(()),
            }
        }
    }

    /// Reads on in files that are on their way.
    fn read_on(&mut self) {
        while self.outbox.backlog() < BACKLOG_BYTES_MAX && self.pace.is_open(self.uploaded) {
            let Some(upload) = self.uploads.front_mut() else { return };
            let (sent, last) = upload.next(self.outbox.frames());
            self.uploaded += sent;
            if last {
                self.uploads.pop_front();
            }
            if self.pace.wants_beat(self.uploaded) {
                self.beat();
            }
        }
    }

    /// Whether something is left to write; poll [`Link::write_fd`] for it.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        !self.outbox.is_empty() || (!self.uploads.is_empty() && self.pace.is_open(self.uploaded))
    }

    /// Hands over every frame that is there, without waiting.
    ///
    /// # Errors
    /// When the other side breaks the protocol or speaks another version.
    pub fn receive(&mut self, on_frame: &mut impl FnMut(FromSupervisor<'_>)) -> io::Result<Alive> {
        for _ in 0..READS_MAX {
            let before = self.inbox.unread();
            if !self.inbox.fill(&self.from)? {
                return Ok(Alive::Closed);
            }
            let full = self.inbox.unread() - before == READ_BYTES;
            while let Some((head, body)) = self.inbox.next_piece().map_err(broken)? {
                if let Some(frame) = decode(head, body, &mut self.greeted).map_err(broken)? {
                    if frame == FromSupervisor::Beating {
                        self.pace.answered();
                    }
                    on_frame(frame);
                }
            }
            if !full {
                break;
            }
        }
        Ok(Alive::Alive)
    }

    /// Ends what still runs (TERM, the grace, KILL), hands over the last frames and waits for the supervisor to
    /// leave. One that does not leave is killed and swept.
    ///
    /// # Errors
    /// As [`Link::receive`]; nothing is left behind in that case either.
    pub fn close(mut self, grace: Duration, on_frame: &mut impl FnMut(FromSupervisor<'_>)) -> io::Result<()> {
        self.put_small(Kind::Bye, 0, &Grace { grace_ms: millis(grace) });
        let deadline = Instant::now() + grace + LEAVE_MAX;
        loop {
            self.flush()?;
            if self.receive(on_frame)? == Alive::Closed {
                break;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let mut fds = vec![PollFd::from_borrowed_fd(self.as_fd(), PollFlags::IN)];
            if self.wants_write() {
                fds.push(PollFd::from_borrowed_fd(self.write_fd(), PollFlags::OUT));
            }
            let left = Timespec::try_from(left).map_err(|_| other("the grace is out of range"))?;
            match rustix::event::poll(&mut fds, Some(&left)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The signal that ended our program that leads there, if one did. For when the other side has closed: it ends at
    /// about that time.
    pub fn ended_by(&mut self) -> Option<i32> {
        let end = Instant::now() + ENDS_MAX;
        while Instant::now() < end {
            match self.child.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(1)),
                Ok(Some(status)) => return status.signal(),
                Err(_) => return None,
            }
        }
        None
    }

    /// Ends the connection at once, without a word. What runs there is ended by whoever serves there, who notices.
    pub fn abandon(mut self) {
        self.to = None;
        let _ = self.child.kill();
    }

    fn put<T: serde::Serialize>(&mut self, kind: Kind, attempt: u32, body: &T) -> io::Result<()> {
        frame::put(self.outbox.frames(), kind, attempt, body)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    }

    fn put_small<T: serde::Serialize>(&mut self, kind: Kind, attempt: u32, body: &T) {
        self.put(kind, attempt, body).expect("a body with a bound fits a frame");
    }
}

impl Upload {
    /// Appends the next piece; says how many bytes it has, and whether it is the last. A file that is gone or cannot be
    /// read ends early: its digest tells the other side.
    fn next(&mut self, out: &mut Vec<u8>) -> (u64, bool) {
        let (bytes, last) = match &mut self.source {
            Source::Text(text) => (std::mem::take(text), true),
            Source::File(root, path) => {
                let mut bytes = Vec::with_capacity(PIECE_BYTES);
                if self.file.is_none() {
                    self.file = root.read(Path::new(&**path)).ok();
                }
                let limit = u64::try_from(PIECE_BYTES).unwrap_or(u64::MAX);
                let read = self.file.as_mut().map(|file| file.take(limit).read_to_end(&mut bytes));
                let last = !matches!(read, Some(Ok(PIECE_BYTES)));
                (bytes, last)
            }
        };
        let start = out.len();
        out.extend_from_slice(&frame::header(Kind::Content, Stream::Stdout, 0, 0));
        self.squeeze.put(out, &self.digest, &bytes, last);
        let head = frame::header(Kind::Content, Stream::Stdout, 0, out.len() - start - frame::HEADER_BYTES);
        out[start..start + frame::HEADER_BYTES].copy_from_slice(&head);
        (bytes.len() as u64, last)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The end of its input is what tells the supervisor to end everything.
        self.to = None;
        let deadline = Instant::now() + LEAVE_MAX;
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(1)),
                // Gone by itself, or reaped by somebody else.
                _ => return,
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        Self::as_fd(self)
    }
}

fn other(what: &str) -> io::Error {
    io::Error::other(what)
}

fn broken(error: FrameError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn decode<'a>(head: Header, body: &'a [u8], greeted: &mut bool) -> Result<Option<FromSupervisor<'a>>, FrameError> {
    let Some(kind) = head.kind else { return Ok(None) };
    let attempt = head.attempt;
    if kind == Kind::Hello {
        let welcome: Welcome = frame::body(kind, body)?;
        *greeted = true;
        if welcome.version != frame::VERSION {
            return Err(FrameError::Version(welcome.version));
        }
        return Ok(Some(FromSupervisor::Welcome(welcome)));
    }
    if !*greeted {
        return Err(FrameError::NoHello);
    }
    Ok(Some(match kind {
        Kind::Started => FromSupervisor::Started { attempt, started: frame::body(kind, body)? },
        Kind::Output => FromSupervisor::Output { attempt, stream: head.stream, bytes: body },
        Kind::Exited => FromSupervisor::Exited { attempt, exited: frame::body(kind, body)? },
        Kind::NotStarted => FromSupervisor::NotStarted { attempt, error: frame::body(kind, body)? },
        Kind::Beating => FromSupervisor::Beating,
        Kind::Lacks => {
            let wanted: Wanted = frame::body(kind, body)?;
            FromSupervisor::Lacks { attempt, digests: wanted.digests }
        }
        Kind::Collected => FromSupervisor::Collected { attempt, part: frame::body(kind, body)? },
        Kind::Gives => FromSupervisor::Gives(body),
        Kind::Removed => FromSupervisor::Removed(frame::body(kind, body)?),
        // What only an engine says.
        _ => return Ok(None),
    }))
}
