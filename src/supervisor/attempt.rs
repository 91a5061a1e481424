//! One attempt, from its `Spawn` to its `Exited`: starting → running → ended (its main process is gone, what it left is
//! being ended, the pipes are being emptied) → gone. Two clocks: limits count on the run's, which stands still while we
//! are suspended; a grace counts on the machine's.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use super::confine::Held;
use super::frame::{self, EndedBy, Exited, Spawn, Started, Stream, Streams, WINDOW_BYTES};
use super::spawn::Running;
use super::sys::{self, Reaped, Watch};
use super::wire::Outbox;
use super::{group, guard};

/// What a shell exits with when its last command was ended by KILL.
const SHELL_KILLED: i32 = 128 + libc::SIGKILL;
/// Read from a task at a time.
const READ_BYTES: usize = 64 << 10;
/// From here on moving pages is cheaper than copying bytes.
const SPLICE_BYTES_MIN: usize = 16 << 10;
/// No more is read from tasks while this much waits for the engine.
const BACKLOG_BYTES_MAX: usize = 256 << 10;
/// The size of a pipe whose task has shown that it fills it.
const PIPE_BYTES: usize = 256 << 10;

#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) number: u32,
    pub(super) label: String,
    /// What it leaves behind goes into the exit log without its name.
    pub(super) unnamed: bool,
    /// 0 until it runs.
    pub(super) pid: i32,
    pub(super) boot_ms: u64,
    pipes: [Option<Pipe>; 2],
    credit: u64,
    output_bytes: u64,
    timeout_ms: Option<u64>,
    idle_timeout_ms: Option<u64>,
    pub(super) grace_ms: u64,
    started_ms: u64,
    last_output_ms: u64,
    pub(super) ending: Option<Ending>,
    pub(super) ended: Option<Ended>,
    /// What holds it besides its session. Gone when the attempt is over and this is being removed.
    pub(super) held: Option<Box<Held>>,
    pub(super) releasing: bool,
    /// Where it has no bounds of ours: how many processes of the container had taken too much memory before it began.
    oom_kills_before: Option<u64>,
}

/// We decided to end it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    pub(super) by: EndedBy,
    /// On the machine's clock.
    pub(super) kill_at_ms: u64,
    /// It was sent a TERM, so that what it left behind has heard of it too.
    pub(super) told: bool,
    pub(super) killed: bool,
}

/// Its main process is gone.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) reaped: Reaped,
    pub(super) wall_ms: u64,
    /// On the machine's clock.
    pub(super) at_ms: u64,
    /// What it left behind.
    pub(super) leaked: Vec<(i32, String)>,
    /// Looks in a row that found nothing of it.
    pub(super) clean_looks: u32,
    /// Nothing of it lives any more, as far as we can tell.
    pub(super) swept: bool,
    /// It took more memory than it may.
    pub(super) oom_killed: bool,
}

/// Processes by their numbers alone.
pub(super) fn without_names(shown: &[String]) -> Vec<String> {
    shown.iter().map(|shown| format!("{} ***", shown.split(' ').next().unwrap_or_default())).collect()
}

#[derive(Debug)]
struct Pipe {
    fd: Arc<OwnedFd>,
    /// It delivered a full read lately, so there may be enough for a splice.
    bulk: bool,
    grown: bool,
}

/// The write ends, for the task.
pub(super) type Ends = (OwnedFd, Option<OwnedFd>);

impl Attempt {
    pub(super) fn new(number: u32, spawn: &Spawn) -> io::Result<(Self, Ends)> {
        let (stdout, out) = pipe()?;
        let (stderr, err) = match spawn.streams {
            Streams::Merged => (None, None),
            Streams::Split => pipe().map(|(read, write)| (Some(read), Some(write)))?,
        };
        let attempt = Self {
            number,
            label: spawn.label.clone(),
            unnamed: spawn.unnamed,
            pid: 0,
            boot_ms: 0,
            pipes: [Some(stdout), stderr],
            credit: WINDOW_BYTES,
            output_bytes: 0,
            timeout_ms: spawn.timeout_ms,
            idle_timeout_ms: spawn.idle_timeout_ms,
            grace_ms: spawn.grace_ms,
            started_ms: 0,
            last_output_ms: 0,
            ending: None,
            ended: None,
            held: None,
            releasing: false,
            oom_kills_before: (spawn.limits.is_none() && guard::is_guarded()).then(group::oom_kills_here).flatten(),
        };
        Ok((attempt, (out, err)))
    }

    pub(super) fn started(&mut self, running: Running, boot_ms: u64, now_ms: u64) -> Started {
        self.pid = running.pid;
        self.held = running.held;
        self.boot_ms = boot_ms;
        self.started_ms = now_ms;
        self.last_output_ms = now_ms;
        let mechanisms = self.held.as_ref().map(|held| held.mechanisms.clone()).unwrap_or_default();
        Started { pid: self.pid.unsigned_abs(), boot_ms, mechanisms }
    }

    /// Its main process lives.
    pub(super) fn running(&self) -> bool {
        self.pid > 0 && self.ended.is_none()
    }

    pub(super) fn end(&mut self, mut reaped: Reaped, now_ms: u64, at_ms: u64) {
        let wall_ms = now_ms.saturating_sub(self.started_ms);
        let told = self.held.as_ref().map(|held| held.told()).unwrap_or_default();
        match told.end {
            Some((code, signal)) => (reaped.code, reaped.signal) = (code, signal),
            // Who was to tell was killed. With it the kernel ended the task, whatever bubblewrap has exited with since.
            None if self.in_namespaces() => (reaped.code, reaped.signal) = (None, Some(libc::SIGKILL)),
            None => {}
        }
        // Numbers of another process table, which must not be taken for ours.
        let leaked = told.leaked.into_iter().map(|shown| (0, shown)).collect();
        self.ended = Some(Ended { reaped, wall_ms, at_ms, leaked, clean_looks: 0, swept: false, oom_killed: false });
    }

    /// It has a process table of its own, in which it may have groups of its own.
    pub(super) fn in_namespaces(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.in_namespaces())
    }

    pub(super) fn grant(&mut self, bytes: u64, now_ms: u64) {
        if self.credit == 0 {
            self.not_idle(now_ms);
        }
        self.credit = self.credit.saturating_add(bytes);
    }

    /// It was not looked at until now, so its idle time begins now.
    pub(super) fn not_idle(&mut self, now_ms: u64) {
        self.last_output_ms = now_ms;
    }

    /// When a limit of it runs out, on the run's clock, and which.
    pub(super) fn limit(&self) -> Option<(u64, EndedBy)> {
        if !self.running() || self.ending.is_some() {
            return None;
        }
        let timeout = self.timeout_ms.map(|ms| (self.started_ms.saturating_add(ms), EndedBy::Timeout));
        // Without credit we do not look at its output, so we cannot say that it is idle.
        let idle = self.idle_timeout_ms.filter(|_| self.credit > 0);
        let idle = idle.map(|ms| (self.last_output_ms.saturating_add(ms), EndedBy::IdleTimeout));
        timeout.into_iter().chain(idle).min_by_key(|(at, _)| *at)
    }

    /// The pipes to wait for.
    pub(super) fn watches(&self, out: &Outbox) -> impl Iterator<Item = (usize, Watch)> {
        let open = self.credit > 0 && !full(out);
        let pipes = self.pipes.iter().enumerate().filter(move |_| open);
        pipes.filter_map(|(i, pipe)| Some((i, Watch::new(pipe.as_ref()?.fd.as_fd(), true, false))))
    }

    /// Moves what a pipe holds to the outbox, as far as credit and backlog allow. `true` when it ran dry.
    pub(super) fn pump(&mut self, index: usize, now_ms: u64, out: &mut Outbox, engine: impl AsFd) -> io::Result<bool> {
        let stream = if index == 0 { Stream::Stdout } else { Stream::Stderr };
        while !full(out) && self.credit > 0 {
            let credit = usize::try_from(self.credit).unwrap_or(usize::MAX);
            let Some(pipe) = &mut self.pipes[index] else { return Ok(true) };
            let moved = match pipe.splice(stream, self.number, credit, out, &engine)? {
                0 => pipe.copy(stream, self.number, credit, out)?,
                spliced => Moved::Bytes(spliced),
            };
            match moved {
                Moved::Bytes(n) => {
                    self.credit -= n as u64;
                    self.output_bytes += n as u64;
                    self.last_output_ms = now_ms;
                    if n < SPLICE_BYTES_MIN && self.ended.is_none() {
                        return Ok(false);
                    }
                }
                Moved::Nothing => return Ok(true),
                Moved::End => {
                    self.pipes[index] = None;
                    return Ok(true);
                }
            }
            if out.backlog() >= READ_BYTES {
                out.flush(&engine)?;
            }
        }
        Ok(self.pipes[index].is_none())
    }

    /// Empties the pipes of an attempt that left nothing behind. `true` when there is no more to come.
    pub(super) fn drain(&mut self, now_ms: u64, out: &mut Outbox, engine: impl AsFd) -> io::Result<bool> {
        let stdout = self.pump(0, now_ms, out, &engine)?;
        let stderr = self.pump(1, now_ms, out, &engine)?;
        Ok(stdout && stderr)
    }

    pub(super) fn exited(&self, ended: &Ended) -> Exited {
        Exited {
            code: ended.reaped.code,
            signal: ended.reaped.signal,
            ended_by: self.ending.map(|ending| ending.by),
            wall_ms: ended.wall_ms,
            cpu_ms: ended.reaped.cpu_ms,
            max_rss_bytes: ended.reaped.max_rss_bytes,
            output_bytes: self.output_bytes,
            leaked: ended.leaked.iter().map(|(_, shown)| shown.clone()).collect(),
            oom_killed: ended.oom_killed,
            exit_log_error: None,
        }
    }

    /// The kernel ended it, or something of it, because it took more memory than the container that it has to itself.
    pub(super) fn is_too_large(&self, ended: &Ended) -> bool {
        let Reaped { code, signal, .. } = ended.reaped;
        // A shell ends by itself when what it ran was killed, with a code that says so.
        let was_killed = signal == Some(libc::SIGKILL) || code == Some(SHELL_KILLED);
        let by_us = self.ending.is_some_and(|ending| ending.killed);
        let rose = |before: u64| group::oom_kills_here().is_some_and(|now| now > before);
        was_killed && !by_us && self.oom_kills_before.is_some_and(rose)
    }

    /// TERM now and KILL at the end of the grace; a second order can only make it sooner.
    pub(super) fn plan_end(&mut self, by: EndedBy, grace_ms: u64) {
        let kill_at_ms = sys::monotonic_ms().saturating_add(grace_ms);
        match &mut self.ending {
            Some(ending) => ending.kill_at_ms = ending.kill_at_ms.min(kill_at_ms),
            None => self.ending = Some(Ending { by, kill_at_ms, told: false, killed: false }),
        }
    }
}

enum Moved {
    Bytes(usize),
    Nothing,
    End,
}

impl Pipe {
    /// Passes pages on without copying, when there is much and nothing else waits; 0 when not.
    fn splice(
        &mut self,
        stream: Stream,
        attempt: u32,
        credit: usize,
        out: &mut Outbox,
        engine: impl AsFd,
    ) -> io::Result<usize> {
        if !self.bulk || !out.is_empty() {
            return Ok(0);
        }
        let there = usize::try_from(rustix::io::ioctl_fionread(&*self.fd)?).unwrap_or(0);
        let length = there.min(credit).min(frame::BODY_BYTES_MAX);
        if length < SPLICE_BYTES_MIN {
            self.bulk = false;
            return Ok(0);
        }
        if !self.grown {
            self.grown = true;
            // Refused when the user has many pipes of this size; then it stays as it is.
            let _ = rustix::pipe::fcntl_setpipe_size(&*self.fd, PIPE_BYTES);
        }
        let passed = out.pass_on(engine, &self.fd, stream, attempt, length)?;
        Ok(if passed { length } else { 0 })
    }

    fn copy(&mut self, stream: Stream, attempt: u32, credit: usize, out: &mut Outbox) -> io::Result<Moved> {
        let frames = out.frames();
        let start = frames.len();
        frames.extend_from_slice(&[0; frame::HEADER_BYTES]);
        let body = frames.len();
        match sys::read_onto(self.fd.as_fd(), frames, READ_BYTES.min(credit)) {
            Ok(n) if n > 0 => {
                frames[start..body].copy_from_slice(&frame::header(frame::Kind::Output, stream, attempt, n));
                self.bulk = n >= SPLICE_BYTES_MIN;
                Ok(Moved::Bytes(n))
            }
            other => {
                frames.truncate(start);
                match other {
                    Ok(_) => Ok(Moved::End),
                    Err(rustix::io::Errno::AGAIN) => Ok(Moved::Nothing),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }
}

/// Nothing more may be read from tasks until the engine took some.
fn full(out: &Outbox) -> bool {
    out.splicing() || out.backlog() >= BACKLOG_BYTES_MAX
}

/// A pipe whose reading end never blocks; the task's end does, that is how it is slowed.
fn pipe() -> io::Result<(Pipe, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&read, rustix::fs::OFlags::NONBLOCK)?;
    Ok((Pipe { fd: Arc::new(read), bulk: false, grown: false }, write))
}
