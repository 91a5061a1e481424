//! The supervisor's loop: one poll over the engine, the tasks' pipes, child signals and the spawners. Each turn handles
//! all frames that came, all children that ended and all pipes that have something, and then writes once.
//! `ending` is how attempts end; `attempt` holds what one attempt knows, `sweep` finds what it left behind.

mod ending;
mod staged;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use rustix::process::Signal;

use super::attempt::Attempt;
use super::clock::RunClock;
use super::exits::{self, Entry, ExitLog};
use super::frame::{
    self, Collect, Credit, EndedBy, Env, FrameError, Grace, Hello, Kind, NotStarted, NotStartedCause, Spawn,
};
use super::guard::{self, Guard};
use super::secrets::SecretFiles;
use super::spawn::{BaseEnv, Done, Job, Spawner, What};
use super::stage::Stages;
use super::sys::{self, Waited, Watch, Whose};
use super::wire::{Inbox, Outbox};
use super::{say, sweep};

/// A start is news that may wait this long for company: most short tasks have ended by then, and the engine is woken
/// once instead of twice.
const HOLD_MS: u64 = 3;
/// While limits run we look at the clock at least this often, to notice that we were stopped.
const TICK_MS_MAX: u64 = 500;
/// A turn that took this much longer than it asked for was a stop of ours and not the tasks' time.
const GAP_MS: u64 = 1000;

/// Longer texts lose their middle: even escaped, one must fit a frame beside the rest of it.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// Runs the supervisor on stdin and stdout until the engine says goodbye or goes away. Call it first thing in `main`,
/// on the main thread, before any other thread exists.
#[must_use]
pub fn serve() -> ExitCode {
    let hidden = guard::hide_if_guarded();
    let result = hidden.and_then(|()| Server::new()).and_then(|mut server| {
        let result = server.run();
        server.end_now();
        if let Some(stages) = &server.stages {
            stages.leave();
        }
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A broken pipe is how a dying engine looks from here; there is nobody to tell.
            if error.kind() == io::ErrorKind::BrokenPipe {
                return ExitCode::SUCCESS;
            }
            say(format_args!("fleet supervisor: {error}"));
            ExitCode::from(70)
        }
    }
}

#[derive(Debug)]
struct Server {
    attempts: BTreeMap<u32, Attempt>,
    bases: BTreeMap<u32, Arc<BaseEnv>>,
    hello: Option<Hello>,
    log: Result<ExitLog, String>,
    secrets: SecretFiles,
    inbox: Inbox,
    outbox: Outbox,
    /// Since when only news that may wait is in the outbox.
    held_since_ms: Option<u64>,
    spawner: Spawner,
    /// Attempts that are over and of which something is being removed.
    releasing: usize,
    children: OwnedFd,
    clock: RunClock,
    /// A child may have ended since we last looked.
    reap: bool,
    /// Somebody lost its parent and became our child.
    orphans: bool,
    next_look_ms: u64,
    leaving: bool,
    /// Copies of attempts, on a host whose files are not the run's.
    stages: Option<Stages>,
    /// What is to be looked for when an attempt's process has ended.
    collects: BTreeMap<u32, Collect>,
    /// Programs that were found on this host, by name and PATH.
    programs: HashMap<(String, String), String>,
    /// Silence of the engine that ends everything.
    lease_ms: Option<u64>,
    /// When the engine was last heard, on the clock that goes on while the machine sleeps.
    heard_ms: u64,
    guard: Guard,
    /// Attempts to be told in this turn that they end.
    to_term: BTreeSet<u32>,
}

fn engine_in() -> BorrowedFd<'static> {
    sys::stdio()[0]
}

fn engine_out() -> BorrowedFd<'static> {
    sys::stdio()[1]
}

impl Server {
    fn new() -> io::Result<Self> {
        let guard = Guard::find();
        sys::outlive_signals();
        sys::keep_inherited_files()?;
        // Fails when we lead a group already, and then a terminal's Ctrl-C is ignored anyway.
        let _ = rustix::process::setsid();
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        for fd in [engine_in(), engine_out()] {
            let flags = rustix::fs::fcntl_getfl(fd)?;
            rustix::fs::fcntl_setfl(fd, flags | rustix::fs::OFlags::NONBLOCK)?;
        }
        let children = sys::child_signals()?;
        Ok(Self {
            attempts: BTreeMap::new(),
            bases: BTreeMap::new(),
            hello: None,
            log: Err("the exit log was never named".to_owned()),
            secrets: SecretFiles::default(),
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            held_since_ms: None,
            spawner: Spawner::start(sys::event()?)?,
            releasing: 0,
            children,
            clock: RunClock::default(),
            reap: false,
            orphans: false,
            next_look_ms: 0,
            leaving: false,
            stages: None,
            collects: BTreeMap::new(),
            programs: HashMap::new(),
            lease_ms: None,
            heard_ms: sys::boot_ms(),
            guard,
            to_term: BTreeSet::new(),
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut watches = Vec::new();
        let mut whose = Vec::new();
        let mut done = Vec::new();
        let mut turn_began_ms = sys::monotonic_ms();
        loop {
            self.watch(&mut watches, &mut whose);
            let limit_ms = self.next_wake_ms(sys::monotonic_ms());
            sys::poll(&mut watches, limit_ms);
            let now_ms = sys::monotonic_ms();
            // The whole turn counts, not the poll alone: we may be stopped anywhere in it.
            let asked_ms = limit_ms.unwrap_or(u64::MAX);
            if now_ms - turn_began_ms > asked_ms.saturating_add(GAP_MS) {
                self.clock.lose(now_ms - turn_began_ms - asked_ms);
            }
            turn_began_ms = now_ms;

            if watches[0].ready() && !self.hear()? {
                return Ok(());
            }
            if watches[1].broken() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            if watches[2].ready() {
                self.reap = true;
                // Any read empties it as far as the poll is concerned; signals of one kind are merged.
                let _ = rustix::io::read(&self.children, &mut [0; 128]);
            }
            if watches[3].ready() {
                let _ = rustix::io::read(self.spawner.wake_fd(), &mut [0; 8]);
            }
            self.take_started(&mut done);
            self.carry();
            self.reap();
            for (watch, (number, index)) in watches[4..].iter().zip(&whose) {
                if watch.ready() {
                    self.pump(*number, *index)?;
                }
            }
            self.finish()?;
            self.enforce_limits();
            self.carry();
            self.say()?;
            if self.lease_is_over() {
                return Err(staged::silence());
            }
            self.guard.bear_until(self.silence_ends_ms());
            let staged = self.stages.as_ref().is_none_or(Stages::is_idle);
            if self.leaving && self.attempts.is_empty() && self.outbox.is_empty() && staged {
                return Ok(());
            }
        }
    }

    fn watch(&self, watches: &mut Vec<Watch>, whose: &mut Vec<(u32, usize)>) {
        watches.clear();
        whose.clear();
        let want_write = (!self.outbox.is_empty() && self.held_since_ms.is_none())
            || self.stages.as_ref().is_some_and(Stages::is_sending);
        watches.push(Watch::new(engine_in(), true, false));
        watches.push(Watch::new(engine_out(), false, want_write));
        watches.push(Watch::new(self.children.as_fd(), true, false));
        watches.push(Watch::new(self.spawner.wake_fd().as_fd(), true, false));
        for attempt in self.attempts.values() {
            for (index, watch) in attempt.watches(&self.outbox) {
                watches.push(watch);
                whose.push((attempt.number, index));
            }
        }
    }

    /// How long the poll may sleep; `None` without an end.
    fn next_wake_ms(&self, now_ms: u64) -> Option<u64> {
        let run_ms = self.clock.now_ms();
        let mut next: Option<u64> = None;
        let mut sooner = |wait: u64| next = Some(next.map_or(wait, |n| n.min(wait)));
        if let Some(look_ms) = self.lease_look_ms() {
            sooner(look_ms);
        }
        if let Some(at) = self.stages.as_ref().and_then(Stages::next_look_ms).filter(|_| !self.clock.suspended()) {
            sooner(at.saturating_sub(now_ms));
        }
        if let Some(since) = self.held_since_ms {
            sooner((since + HOLD_MS).saturating_sub(now_ms));
        }
        if self.spawner.pending() > 0 {
            sooner(HOLD_MS);
        }
        for attempt in self.attempts.values() {
            if let Some((at, _)) = attempt.limit()
                && !self.clock.suspended()
            {
                sooner(at.saturating_sub(run_ms).min(TICK_MS_MAX));
            }
            if let Some(ending) = attempt.ending.filter(|ending| !ending.killed && attempt.running()) {
                sooner(ending.kill_at_ms.saturating_sub(now_ms));
            }
            if attempt.ended.as_ref().is_some_and(|ended| !ended.swept) {
                sooner(self.next_look_ms.saturating_sub(now_ms));
            }
        }
        next
    }

    /// Reads and obeys; `false` when the engine is gone.
    fn hear(&mut self) -> io::Result<bool> {
        // We were kept from looking, and what is there to read may be as old as that.
        if self.lease_is_over() {
            return Err(staged::silence());
        }
        // What a dead engine had still ordered is not begun any more.
        if !self.inbox.fill(engine_in())? {
            return Ok(false);
        }
        self.heard_ms = sys::boot_ms();
        let mut inbox = std::mem::take(&mut self.inbox);
        let mut result = Ok(());
        while result.is_ok() {
            match inbox.next() {
                Ok(Some((head, body))) => result = self.obey(head.kind, head.attempt, body),
                Ok(None) => break,
                Err(error) => result = Err(error),
            }
        }
        self.inbox = inbox;
        result.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(true)
    }

    fn obey(&mut self, kind: Option<Kind>, number: u32, body: &[u8]) -> Result<(), FrameError> {
        let Some(kind) = kind else { return Ok(()) };
        if self.hello.is_none() && kind != Kind::Hello {
            return Err(FrameError::NoHello);
        }
        match kind {
            Kind::Hello => self.greet(frame::body(kind, body)?)?,
            Kind::Env => {
                let env: Env = frame::body(kind, body)?;
                self.bases.insert(env.id, Arc::new(BaseEnv::new(Self::with_host_variables(env))));
            }
            Kind::Spawn => self.request(number, frame::body(kind, body)?),
            Kind::Credit => {
                let credit: Credit = frame::body(kind, body)?;
                let now_ms = self.clock.now_ms();
                if let Some(attempt) = self.attempts.get_mut(&number) {
                    attempt.grant(credit.bytes, now_ms);
                }
            }
            Kind::Stop => {
                let grace: Grace = frame::body(kind, body)?;
                self.stop(number, EndedBy::Stop, grace.grace_ms);
            }
            Kind::Kill => self.stop(number, EndedBy::Kill, 0),
            Kind::Suspend => {
                self.clock.suspend();
                self.signal_all(Signal::STOP);
            }
            Kind::Resume => {
                self.clock.resume();
                self.signal_all(Signal::CONT);
            }
            Kind::Bye => {
                let grace: Grace = frame::body(kind, body)?;
                self.clock.resume();
                self.signal_all(Signal::CONT);
                self.leaving = true;
                let now_ms = self.clock.now_ms();
                for number in self.attempts.keys().copied().collect::<Vec<_>>() {
                    // The engine reads on until we close, so nothing has to wait for its word.
                    self.attempts.entry(number).and_modify(|attempt| attempt.grant(u64::MAX, now_ms));
                    self.stop(number, EndedBy::Shutdown, grace.grace_ms);
                }
            }
            Kind::Beat => {
                self.held_since_ms = None;
                frame::put_bare(self.outbox.frames(), Kind::Beating, number);
            }
            Kind::Stage | Kind::Content | Kind::Fetch | Kind::Release => self.obey_staged(kind, number, body)?,
            // What only a supervisor says.
            Kind::Started
            | Kind::Output
            | Kind::Exited
            | Kind::NotStarted
            | Kind::Beating
            | Kind::Lacks
            | Kind::Collected
            | Kind::Gives
            | Kind::Removed => {}
        }
        Ok(())
    }

    fn greet(&mut self, mut hello: Hello) -> Result<(), FrameError> {
        let mut welcome = frame::Welcome { version: frame::VERSION, pid: std::process::id(), facts: None, error: None };
        if hello.version == frame::VERSION {
            match self.settle(&mut hello) {
                Ok(facts) => welcome.facts = facts,
                Err(error) => welcome.error = Some(shortened(error)),
            }
        }
        self.put(Kind::Hello, 0, &welcome);
        if hello.version != frame::VERSION {
            // The answer lets the engine say what is wrong; then there is no common language left.
            let _ = self.outbox.flush(engine_out());
            return Err(FrameError::Version(hello.version));
        }
        self.open_log(&hello);
        if let Ok(log) = &mut self.log {
            log.add(&Entry::Opened {
                v: exits::VERSION,
                run: hello.run.clone(),
                supervisor: welcome.pid,
                boot: exits::boot_id(),
            });
        }
        self.secrets = SecretFiles::new(&hello.run, Path::new(&hello.state_dir));
        self.hello = Some(hello);
        Ok(())
    }

    /// Queues a control frame that should leave soon.
    fn put<T: serde::Serialize>(&mut self, kind: Kind, number: u32, body: &T) {
        self.held_since_ms = None;
        if let Err(error) = frame::put(self.outbox.frames(), kind, number, body) {
            // The engine must hear of every end, so everything of any length in a body of ours has a bound.
            debug_assert!(false, "{kind:?}: {error}");
        }
    }

    fn refuse(&mut self, number: u32, cause: NotStartedCause, error: String) {
        self.secrets.remove(number);
        // It may quote a path of the request, which with the words around it is longer than the request was.
        self.put(Kind::NotStarted, number, &NotStarted { cause, error: shortened(error) });
    }

    fn spawn(&mut self, number: u32, mut spawn: Spawn) {
        if self.attempts.contains_key(&number) {
            // Saying NotStarted would end the one that runs under this number.
            return;
        }
        if self.leaving {
            return self.refuse(number, NotStartedCause::Request, "the supervisor was told to leave".to_owned());
        }
        if let Err(error) = &self.log {
            let error = error.clone();
            return self.refuse(number, NotStartedCause::Host, error);
        }
        let (attempt, (stdout, stderr)) = match Attempt::new(number, &spawn) {
            Ok(made) => made,
            Err(error) => return self.refuse(number, NotStartedCause::Host, format!("cannot make a pipe: {error}")),
        };
        if let Some(hello) = &self.hello {
            let marker = format!("{}/{}/{number}", hello.run, spawn.label);
            spawn.set.push((sweep::ATTEMPT_VARIABLE.to_owned(), marker));
            spawn.set.push((sweep::STATE_VARIABLE.to_owned(), hello.state_dir.clone()));
        }
        let secrets = match self.give_secrets(number, &mut spawn) {
            Ok(secrets) => secrets,
            Err(error) => {
                let error = format!("cannot write a secret's file: {error}");
                return self.refuse(number, NotStartedCause::Host, error);
            }
        };
        let base = self.bases.get(&spawn.env).cloned().unwrap_or_default();
        match self.spawner.put(Job { attempt: number, spawn, base, stdout, stderr, secrets }) {
            Ok(()) => _ = self.attempts.insert(number, attempt),
            Err(error) => self.refuse(number, NotStartedCause::Host, format!("cannot start a thread: {error}")),
        }
    }

    /// Writes the attempt's secrets and says in its variables where they are.
    fn give_secrets(&mut self, number: u32, spawn: &mut Spawn) -> io::Result<Option<PathBuf>> {
        let files = std::mem::take(&mut spawn.secret_files);
        if files.is_empty() {
            return Ok(None);
        }
        let folder = self.secrets.put(number, &files)?;
        spawn.set.extend(files.into_iter().map(|(name, _)| {
            let path = folder.join(&name).display().to_string();
            (name, path)
        }));
        Ok(Some(folder))
    }

    /// Takes in what the spawner threads did.
    fn take_started(&mut self, done: &mut Vec<Done>) {
        if self.spawner.pending() == 0 {
            return;
        }
        // A child whose end we were told of may be one that a spawner has not told us of yet.
        self.spawner.take(done, self.reap || self.leaving || self.releasing > 0);
        for Done { attempt: number, what, boot_ms } in done.drain(..) {
            let Some(attempt) = self.attempts.get_mut(&number) else { continue };
            let running = match what {
                What::Started(running) => running,
                What::NotStarted(NotStarted { cause, error }) => {
                    self.attempts.remove(&number);
                    self.refuse(number, cause, error);
                    continue;
                }
                What::Released { oom_killed } => {
                    self.releasing -= 1;
                    self.see_off(number, oom_killed);
                    continue;
                }
            };
            // Its end may have been signalled before we knew it.
            self.reap = true;
            let started = attempt.started(running, boot_ms, self.clock.now_ms());
            let label = attempt.label.clone();
            if let Ok(log) = &mut self.log {
                log.add(&Entry::Spawned { attempt: number, label, pid: started.pid, boot_ms });
            }
            let nothing_waits = self.outbox.is_empty();
            let held = self.held_since_ms;
            self.put(Kind::Started, number, &started);
            self.held_since_ms = held.or_else(|| nothing_waits.then(sys::monotonic_ms));
            self.catch_up(number);
        }
    }

    /// What was ordered while it was being started.
    fn catch_up(&mut self, number: u32) {
        let Some(attempt) = self.attempts.get(&number) else { return };
        if attempt.ending.is_some() {
            self.to_term.insert(number);
        } else if self.clock.suspended() {
            self.signal(&BTreeSet::from([number]), Signal::STOP);
        }
    }

    fn reap(&mut self) {
        if !std::mem::take(&mut self.reap) {
            return;
        }
        let (now_ms, at_ms) = (self.clock.now_ms(), sys::monotonic_ms());
        for attempt in self.attempts.values_mut().filter(|attempt| attempt.running()) {
            if let Waited::Reaped(reaped) = sys::wait(Whose::Pid(attempt.pid)) {
                attempt.end(reaped, now_ms, at_ms);
            }
        }
        self.orphans = loop {
            match sys::wait(Whose::ThisThread) {
                Waited::Reaped(_) => {}
                Waited::Living => break true,
                Waited::None => break false,
            }
        };
    }

    fn pump(&mut self, number: u32, index: usize) -> io::Result<()> {
        let now_ms = self.clock.now_ms();
        let Some(attempt) = self.attempts.get_mut(&number) else { return Ok(()) };
        let before = self.outbox.backlog();
        attempt.pump(index, now_ms, &mut self.outbox, engine_out())?;
        if self.outbox.backlog() != before {
            self.held_since_ms = None;
        }
        Ok(())
    }

    /// Hands over what this turn brought: first the log, then the frames.
    fn say(&mut self) -> io::Result<()> {
        if let Ok(log) = &mut self.log {
            // Told with the exit it belongs to, which tries again.
            let _ = log.write();
        }
        if let Some(since) = self.held_since_ms {
            if sys::monotonic_ms() < since + HOLD_MS {
                return Ok(());
            }
            self.held_since_ms = None;
        }
        self.outbox.flush(engine_out()).map(|_| ())
    }
}

/// At most [`TEXT_BYTES_MAX`] of a text, its beginning and its end.
fn shortened(text: String) -> String {
    const MARK: &str = " […] ";
    if text.len() <= TEXT_BYTES_MAX {
        return text;
    }
    let half = (TEXT_BYTES_MAX - MARK.len()) / 2;
    let head = text.floor_char_boundary(half);
    let tail = text.ceil_char_boundary(text.len() - half);
    format!("{}{MARK}{}", &text[..head], &text[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_keeps_both_ends_and_fits_a_frame() {
        let long = format!("begin{}end", "\u{1}ü".repeat(TEXT_BYTES_MAX));
        let short = shortened(long);
        assert!(short.len() <= TEXT_BYTES_MAX && short.starts_with("begin") && short.ends_with("end"));
        assert!(serde_json::to_string(&short).unwrap().len() < frame::BODY_BYTES_MAX / 2);
        assert_eq!(shortened("as it is".to_owned()), "as it is");
    }
}
