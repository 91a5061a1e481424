//! The local host: [`Link`] is the engine's end of a supervisor that is our own child, [`sweep()`] ends what a dead
//! supervisor left, [`sweep_state`] what a dead run left.
//! Everything a `Link` is told is buffered until [`Link::flush`]; nothing here blocks except [`Link::close`] and the
//! two sweeps, and nothing has a thread of its own.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

pub use crate::supervisor::sweep::Swept;

use crate::supervisor::frame::{
    self, Credit, Env, Exited, FrameError, Grace, Header, Hello, Kind, NotStarted, Spawn, Started, Stream, Welcome,
};
use crate::supervisor::sweep;
use crate::supervisor::wire::{Inbox, Outbox, READ_BYTES};
use crate::time::millis;

/// Reads of 64 KiB before the caller gets its turn back.
const READS_MAX: usize = 16;
/// The supervisor's pipe to us.
const PIPE_BYTES: usize = 256 << 10;
/// How long a supervisor may take to leave, on top of the grace.
const LEAVE_MAX: Duration = Duration::from_secs(3);

/// How to start a supervisor.
#[derive(Clone, Debug)]
pub struct LinkOptions {
    /// The `fleet` binary; it is started as `fleet supervise`.
    pub exe: PathBuf,
    /// Absolute path of the exit log (`exits/<worker>.log`); its folder exists.
    pub exit_log: PathBuf,
    /// The run's id.
    pub run: String,
    /// Absolute path of the state directory.
    pub state_dir: PathBuf,
}

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
}

/// Whether the supervisor is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alive {
    Alive,
    /// It is gone, and every frame it had sent was handed over. Call [`sweep()`].
    Closed,
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
}

impl Link {
    /// Starts a supervisor and greets it, without waiting for its answer. Makes this process a subreaper, so that
    /// what a killed supervisor leaves becomes our child.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn start(options: &LinkOptions) -> io::Result<Self> {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let mut child = Command::new(&options.exe)
            .arg("supervise")
            .env(sweep::STATE_VARIABLE, &options.state_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let to = child.stdin.take();
        let from = child.stdout.take().ok_or_else(|| other("the supervisor has no stdout"))?;
        let mut link = Self { child, to, from, outbox: Outbox::default(), inbox: Inbox::default(), greeted: false };
        let text = |path: &Path| path.to_str().map(str::to_owned).ok_or_else(|| other("a path is not UTF-8"));
        let hello = Hello {
            version: frame::VERSION,
            run: options.run.clone(),
            state_dir: text(&options.state_dir)?,
            exit_log: text(&options.exit_log)?,
            place: None,
        };
        link.put(Kind::Hello, 0, &hello)?;
        for fd in [link.as_fd(), link.write_fd()] {
            rustix::fs::fcntl_setfl(fd, rustix::fs::OFlags::NONBLOCK)?;
        }
        // A refusal costs speed with large output and nothing else.
        let _ = rustix::pipe::fcntl_setpipe_size(link.as_fd(), PIPE_BYTES);
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

    /// Writes what is buffered, as far as the pipe takes it.
    ///
    /// # Errors
    /// When the pipe is broken in another way than by the supervisor's death, which [`Link::receive`] reports.
    pub fn flush(&mut self) -> io::Result<()> {
        let Some(to) = &self.to else {
            self.outbox = Outbox::default();
            return Ok(());
        };
        match self.outbox.flush(to) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.to = None;
                self.outbox = Outbox::default();
                Ok(())
            }
            other => other.map(|_| ()),
        }
    }

    /// Whether something is left to write; poll [`Link::write_fd`] for it.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        !self.outbox.is_empty()
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

    fn put<T: serde::Serialize>(&mut self, kind: Kind, attempt: u32, body: &T) -> io::Result<()> {
        frame::put(self.outbox.frames(), kind, attempt, body)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    }

    fn put_small<T: serde::Serialize>(&mut self, kind: Kind, attempt: u32, body: &T) {
        self.put(kind, attempt, body).expect("a body of two numbers fits a frame");
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
        let _ = sweep(&[]);
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
        return if welcome.version == frame::VERSION { Ok(None) } else { Err(FrameError::Version(welcome.version)) };
    }
    if !*greeted {
        return Err(FrameError::NoHello);
    }
    Ok(Some(match kind {
        Kind::Started => FromSupervisor::Started { attempt, started: frame::body(kind, body)? },
        Kind::Output => FromSupervisor::Output { attempt, stream: head.stream, bytes: body },
        Kind::Exited => FromSupervisor::Exited { attempt, exited: frame::body(kind, body)? },
        Kind::NotStarted => FromSupervisor::NotStarted { attempt, error: frame::body(kind, body)? },
        // What only an engine says.
        _ => return Ok(None),
    }))
}

/// Ends every descendant of this process that lives in another session (what this process runs for itself is in its
/// own), except the trees under `spare` (other live supervisors). For after [`Alive::Closed`]; returns within two
/// seconds.
#[must_use]
pub fn sweep(spare: &[u32]) -> Swept {
    sweep::descendants(spare)
}

/// Ends what an earlier run in this state directory left when engine and supervisor died at once: processes that carry
/// its path in `FLEET_STATE_DIR`, and attempts that `exit_logs` say were started and not ended (by pid and start
/// time). Never ends this process or one it descends from. For the holder of the directory's lock only.
#[must_use]
pub fn sweep_state(state_dir: &Path, exit_logs: &[PathBuf]) -> Swept {
    sweep::state(state_dir, exit_logs)
}
