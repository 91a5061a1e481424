//! What the loop does on a host whose files are not the run's: the place, the copies of attempts, and the lease, by which
//! an engine that is silent for too long counts as gone.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use super::{ExitLog, Server};
use crate::supervisor::frame::{
    self, EndedBy, Env, Exited, Facts, FrameError, Hello, Kind, NotStarted, NotStartedCause, Spawn, Wanted,
};
use crate::supervisor::stage::place::Place;
use crate::supervisor::stage::{Next, Stages};
use crate::supervisor::{guard, lookup, sweep, sys};

/// The engine's silence is looked at this often.
const LEASE_LOOKS: u64 = 4;

/// Told when everything was ended, because whoever would read it may be stopped.
pub(super) fn silence() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the engine was silent for longer than its lease")
}

impl Server {
    /// Takes its place on this host; what is wrong with it is told instead of anything else.
    pub(super) fn settle(&mut self, hello: &mut Hello) -> Result<Option<Facts>, String> {
        let Some(wanted) = hello.place.clone() else { return Ok(None) };
        let place = Place::open(&wanted, &hello.run).map_err(|error| error.to_string())?;
        hello.state_dir = place.state().to_string_lossy().into_owned();
        hello.exit_log = place.exit_log().to_string_lossy().into_owned();
        let facts = Facts {
            root: place.root().to_string_lossy().into_owned(),
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            cores: sys::cores(),
        };
        let wake = self.spawner.wake_fd().as_fd().try_clone_to_owned();
        self.stages = Some(wake.and_then(|wake| Stages::open(place, wake)).map_err(|error| error.to_string())?);
        self.lease_ms = (wanted.lease_ms > 0).then_some(wanted.lease_ms);
        // The one before us may have kept us waiting, in which we heard nobody.
        self.heard_ms = sys::boot_ms();
        Ok(Some(facts))
    }

    /// When the loop must look at the engine's silence again, from now.
    pub(super) fn lease_look_ms(&self) -> Option<u64> {
        self.lease_ms.map(|lease| (lease / LEASE_LOOKS).max(1))
    }

    /// Whether the engine was silent for too long. A suspended run has an engine that is stopped with it.
    pub(super) fn lease_is_over(&self) -> bool {
        let silent_ms = sys::boot_ms().saturating_sub(self.heard_ms);
        !self.clock.suspended() && self.lease_ms.is_some_and(|lease| silent_ms > lease)
    }

    /// When the guard ends what we should have ended: later than we would, and sooner than the engine counts on it,
    /// whose lease is twice ours.
    pub(super) fn silence_ends_ms(&self) -> Option<u64> {
        let lease = self.lease_ms.filter(|_| !self.clock.suspended())?;
        Some(self.heard_ms.saturating_add(lease).saturating_add(lease / 2))
    }

    /// Obeys what is said of copies.
    pub(super) fn obey_staged(&mut self, kind: Kind, number: u32, body: &[u8]) -> Result<(), FrameError> {
        let Some(stages) = &mut self.stages else { return Ok(()) };
        let next = match kind {
            Kind::Stage => stages.stage(number, frame::body(kind, body)?, &mut self.outbox).into_iter().collect(),
            Kind::Content => stages.content(body, &mut self.outbox).map_err(FrameError::Piece)?,
            Kind::Fetch => {
                let wanted: Wanted = frame::body(kind, body)?;
                stages.fetch(number, &wanted);
                Vec::new()
            }
            Kind::Release => {
                stages.release(number);
                Vec::new()
            }
            _ => Vec::new(),
        };
        self.held_since_ms = None;
        for one in next {
            self.next(one);
        }
        Ok(())
    }

    /// A process is to be started: now, or when its copy is laid out.
    pub(super) fn request(&mut self, number: u32, spawn: Spawn) {
        if spawn.staged.is_none() {
            return self.spawn(number, spawn);
        }
        match &mut self.stages {
            Some(stages) => {
                if let Some(next) = stages.spawn(number, spawn) {
                    self.next(next);
                }
            }
            None => self.refuse(number, NotStartedCause::Request, "this host stages nothing".to_owned()),
        }
    }

    /// Ends an attempt that has not begun; `false` when there is none.
    pub(super) fn stop_staged(&mut self, number: u32) {
        if let Some(next) = self.stages.as_mut().and_then(|stages| stages.stop(number)) {
            self.next(next);
        }
    }

    fn next(&mut self, next: Next) {
        match next {
            Next::Spawn(number, spawn) => match self.with_program(spawn) {
                Ok(mut spawn) => {
                    if let Some(collect) = spawn.staged.as_mut().and_then(|staged| staged.collect.take()) {
                        self.collects.insert(number, collect);
                    }
                    self.spawn(number, spawn);
                }
                Err(NotStarted { cause, error }) => self.refuse(number, cause, error),
            },
            Next::Refuse(number, NotStarted { cause, error }) => self.refuse(number, cause, error),
            // At once: whoever has filled a disk has no use for a grace but to fill more of it.
            Next::Outgrown(number, bytes) => self.stop(number, EndedBy::Size { bytes }, 0),
            Next::Exited(number, exited) => self.put(Kind::Exited, number, &exited),
        }
    }

    /// Looks for the program as the task would find it here; once for each name and PATH, as on the engine's own machine.
    fn with_program(&mut self, mut spawn: Spawn) -> Result<Spawn, NotStarted> {
        let name = spawn.argv.first().cloned().unwrap_or_default();
        if name.starts_with('/') {
            return Ok(spawn);
        }
        let set = spawn.set.iter().rev().find(|(variable, _)| variable == "PATH").map(|(_, value)| value.as_str());
        let base = self.bases.get(&spawn.env).and_then(|base| base.value("PATH"));
        let path = set.or(base).unwrap_or_default();
        let depends_on_folder = lookup::depends_on_folder(&name, path);
        let key = (name, path.to_owned());
        if let Some(program) = self.programs.get(&key).filter(|_| !depends_on_folder) {
            spawn.argv[0].clone_from(program);
            return Ok(spawn);
        }
        spawn.argv[0] = find(&key.0, path, Path::new(&spawn.cwd))?;
        if !depends_on_folder {
            self.programs.insert(key, spawn.argv[0].clone());
        }
        Ok(spawn)
    }

    /// Whether an exit is told later, when it is known what the attempt made and what its folder takes.
    pub(super) fn collects(&mut self, number: u32, exited: &Exited) -> bool {
        let (collect, strays) = (self.collects.remove(&number), self.orphans);
        self.stages.as_mut().is_some_and(|stages| stages.ended(number, collect.as_ref(), exited, strays))
    }

    /// Takes in what was carried, and sends on what is on its way.
    pub(super) fn carry(&mut self) {
        let Some(stages) = &mut self.stages else { return };
        let before = self.outbox.backlog();
        let next = stages.carried(&mut self.outbox);
        if !self.clock.suspended() {
            stages.look();
        }
        stages.pump(&mut self.outbox);
        if self.outbox.backlog() != before {
            self.held_since_ms = None;
        }
        for one in next {
            self.next(one);
        }
    }

    /// What the engine's variables are laid over.
    pub(super) fn with_host_variables(env: Env) -> Vec<(String, String)> {
        let allowed = |name: &str| {
            env.host.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => name == pattern,
            })
        };
        let ours = [sweep::ATTEMPT_VARIABLE, sweep::STATE_VARIABLE, guard::VARIABLE];
        let mut vars: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| allowed(name) && !ours.contains(&&**name))
            .filter(|(name, _)| !env.vars.iter().any(|(theirs, _)| theirs == name))
            .collect();
        vars.extend(env.vars);
        vars
    }

    /// The exit log of the place, or of a host whose files are the run's.
    pub(super) fn open_log(&mut self, hello: &Hello) {
        let path = Path::new(&hello.exit_log);
        self.log = ExitLog::open(path).map_err(|e| format!("cannot open the exit log {}: {e}", path.display()));
    }
}

fn find(name: &str, path: &str, folder: &Path) -> Result<String, NotStarted> {
    let found = lookup::find(name, path, folder).and_then(|program| program.to_str().map(str::to_owned));
    found.ok_or_else(|| NotStarted { cause: NotStartedCause::NotFound, error: lookup::missing(name) })
}
