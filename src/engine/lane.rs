//! Lanes: the connections of a run to the supervisors that serve its workers. A worker has one, made at its first
//! placement; a container of the lowest trust has one an attempt. A lane of another host is made on a thread of its own,
//! and whoever wants to run there waits for it.
//!
//! A lane that is silent for longer than the worker's lease is lost. The other side has ended what it ran by then: it is
//! told of our life until we hear nothing for a third of the lease, and holds out for half of it. What it still says is
//! late: it is on record and counts for nothing.
//!
//! `leave` how lanes end.

mod leave;

use std::collections::HashMap;
use std::io;

use super::attempt::Flight;
use super::away::{Away, Loss};
use super::{EXITS, Engine, Finished, trust};
use crate::digest::Digest;
use crate::host::cell::Cell;
use crate::host::connect::{Connected, Said, Site, Unreachable};
use crate::host::container::{self, Image};
use crate::host::link::{Link, Source};
use crate::host::local::{self, LinkOptions};
use crate::host::ssh;
use crate::id::{Attempt, TaskId, WorkerId};
use crate::model::{Host, Worker};
use crate::place::Health;
use crate::supervisor::frame::{self, Hello, Place, Spawn};
use crate::time::{Millis, millis};

/// The other side ends everything after this part of the lease.
const THEIR_PART: u32 = 2;
/// We say that we live this often in a lease.
const BEATS: u32 = 10;
/// Of the lease: after so much silence we do not say so any more, so that they have ended it all when we count it as lost.
const QUIET_PART: u32 = 3;

/// The number of a lane; never used twice in a run.
pub(super) type LaneId = u32;

/// What a lane is for.
#[derive(Debug)]
pub(super) struct Lane {
    pub worker: WorkerId,
    state: State,
    /// It serves this attempt alone.
    pub only: Option<u32>,
    /// Shared environments it knows.
    environments: usize,
    /// Its supervisor has said that it can serve.
    pub was_reached: bool,
    /// When it was last heard.
    heard: Millis,
    beat_at: Option<Millis>,
    /// What the program says that leads there.
    said: Option<Said>,
    container: Option<String>,
    /// What is to be told while the link is being read.
    orders: Vec<Order>,
    /// Attempts whose copies nobody wants any more, to be told with the next word: alone they would wake the other side
    /// for nothing that anybody waits for.
    released: Vec<u32>,
    /// Why it is to be given up when the link was read.
    pub doom: Option<String>,
    /// Its exit log cannot be written, which was told.
    pub is_unlogged: bool,
    /// Its one attempt is over.
    is_over: bool,
}

/// What a supervisor is told of copies.
#[derive(Debug)]
pub(super) enum Order {
    Upload(Digest, Source),
    Fetch(u32, Vec<Digest>),
    Release(u32),
}

#[derive(Debug)]
enum State {
    /// A thread is about it; these wait.
    Connecting(Vec<(u32, Spawn)>),
    Up(Box<Link>),
    /// It counts as lost; what it still says is of these attempts.
    Fenced(Box<Link>, HashMap<u32, (TaskId, Attempt)>),
    Closed,
}

/// What is known of a worker in this run.
#[derive(Debug, Default)]
pub(super) struct Reach {
    shared: Option<LaneId>,
    /// It cannot be reached at the moment.
    pub away: Option<Away>,
    /// Why it takes no more attempts.
    pub lost: Option<String>,
    pub image: Option<Image>,
}

impl Reach {
    pub(super) fn of(image: Option<Image>) -> Self {
        Self { image, ..Self::default() }
    }

    pub(super) fn health(&self) -> Health<'_> {
        let away = || self.away.as_ref().and_then(Away::why).map_or(Health::Up, Health::Away);
        self.lost.as_deref().map_or_else(away, Health::Lost)
    }

    pub(super) fn forget_lane(&mut self) {
        self.shared = None;
    }
}

impl Lane {
    pub(super) fn link(&self) -> Option<&Link> {
        match &self.state {
            State::Up(link) | State::Fenced(link, _) => Some(link),
            State::Connecting(_) | State::Closed => None,
        }
    }

    /// The link of a lane that counts.
    pub(super) fn up(&mut self) -> Option<&mut Link> {
        match &mut self.state {
            State::Up(link) => Some(link),
            _ => None,
        }
    }

    pub(super) fn any_link(&mut self) -> Option<&mut Link> {
        match &mut self.state {
            State::Up(link) | State::Fenced(link, _) => Some(link),
            State::Connecting(_) | State::Closed => None,
        }
    }

    /// Takes the link out while it is read, and whether the lane is lost.
    pub(super) fn take(&mut self) -> Option<Taken> {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Up(link) => Some(Taken { link, late: None }),
            State::Fenced(link, late) => Some(Taken { link, late: Some(late) }),
            other => {
                self.state = other;
                None
            }
        }
    }

    pub(super) fn put_back(&mut self, taken: Taken) {
        self.state = match taken.late {
            None => State::Up(taken.link),
            Some(late) => State::Fenced(taken.link, late),
        };
        for order in std::mem::take(&mut self.orders) {
            self.order(order);
        }
    }

    /// Tells it, now or when its link was read.
    pub(super) fn order(&mut self, order: Order) {
        let State::Up(link) = &mut self.state else {
            if matches!(self.state, State::Closed) {
                self.orders.push(order);
            }
            return;
        };
        match order {
            Order::Upload(digest, source) => link.upload(digest, source),
            Order::Fetch(n, digests) => link.fetch(n, &digests),
            Order::Release(n) => self.released.push(n),
        }
    }

    /// Tells which copies may go, before a word that nobody says without need; also when no such word is to be expected.
    pub(super) fn let_go(&mut self) {
        if let State::Up(link) = &mut self.state {
            self.released.drain(..).for_each(|n| link.release(n));
        }
    }

    pub(super) fn has_released(&self) -> bool {
        !self.released.is_empty()
    }

    pub(super) fn beats(&self) -> bool {
        self.beat_at.is_some()
    }

    pub(super) fn hear(&mut self, now: Millis) {
        self.heard = now;
    }
}

/// A link while it is read.
#[derive(Debug)]
pub(super) struct Taken {
    pub link: Box<Link>,
    /// Of a lane that is lost: whose the attempts were.
    pub late: Option<HashMap<u32, (TaskId, Attempt)>>,
}

impl Engine<'_> {
    /// What holds the attempt's container, if it gets one, and so a lane, of its own.
    pub(super) fn cell_of(&self, n: u32) -> Option<Cell> {
        let flight = self.flights.get(&n)?;
        trust::cell(self.view.fleet, &self.view.fleet.tasks[flight.task], flight.worker)
    }

    /// Tells the worker's supervisor to start a process, now or when it can be reached.
    pub(super) fn send(&mut self, worker: WorkerId, n: u32, spawn: Spawn) -> Result<(), String> {
        if let Some(why) = &self.reach[worker].lost {
            return Err(format!("its worker is lost: {why}"));
        }
        let is_alone = self.cell_of(n).is_some();
        if let Some(away) = self.reach[worker].away.as_mut().filter(|away| away.pauses() && !is_alone) {
            away.keep(n, spawn);
            return Ok(());
        }
        let known = self.flights.get(&n).and_then(|flight| flight.lane).filter(|lane| self.lanes.contains_key(lane));
        let lane = match known.or(self.reach[worker].shared.filter(|_| !is_alone)) {
            Some(lane) => lane,
            None => self.open_lane(worker, Some(n)).map_err(|error| {
                format!("the supervisor of worker `{}` did not start: {error}", self.worker_named(worker))
            })?,
        };
        if let Some(flight) = self.flights.get_mut(&n) {
            flight.lane = Some(lane);
        }
        match self.lanes.get_mut(&lane).map(|lane| &mut lane.state) {
            Some(State::Connecting(waiting)) => {
                waiting.push((n, spawn));
                Ok(())
            }
            Some(State::Up(_)) => self.say(lane, n, &spawn),
            _ => Err("its connection is lost".to_owned()),
        }
    }

    fn worker_named(&self, worker: WorkerId) -> &str {
        &self.view.fleet.workers[worker].name
    }

    /// Puts a spawn into the lane's buffer, with what it needs before it.
    fn say(&mut self, lane: LaneId, n: u32, spawn: &Spawn) -> Result<(), String> {
        let Some(one) = self.lanes.get_mut(&lane) else { return Err("its connection is lost".to_owned()) };
        let is_remote = self.view.fleet.workers[one.worker].host != Host::Local;
        one.let_go();
        let State::Up(link) = &mut one.state else { return Err("its connection is lost".to_owned()) };
        while one.environments <= spawn.env as usize {
            let env = self.environments.frame(one.environments, is_remote);
            link.env(&env).map_err(|e| format!("the environment does not fit: {e}"))?;
            one.environments += 1;
        }
        if let Some(staging) = self.flights.get_mut(&n).and_then(|flight| flight.staging.as_mut())
            && !std::mem::replace(&mut staging.told, true)
        {
            link.stage(n, &staging.entries);
        }
        link.spawn(n, spawn).map_err(|e| format!("the command does not fit: {e}"))?;
        if let Some((task, worker, bytes)) = self.flights.get(&n).and_then(Flight::starts_from) {
            self.inputs_lie_there(task, worker, bytes);
        }
        Ok(())
    }

    /// Makes a lane: at once on this machine, else on a thread.
    fn open_lane(&mut self, worker: WorkerId, n: Option<u32>) -> io::Result<LaneId> {
        self.next_lane += 1;
        let id = self.next_lane;
        let place = &self.view.fleet.workers[worker];
        let cell = n.and_then(|n| self.cell_of(n));
        let only = n.filter(|_| cell.is_some());
        let state = if place.host == Host::Local {
            State::Up(Box::new(self.local_link(worker)?))
        } else {
            self.connect(id, worker, cell);
            State::Connecting(Vec::new())
        };
        let lane = Lane {
            worker,
            state,
            only,
            environments: 0,
            was_reached: false,
            heard: self.now,
            beat_at: None,
            said: None,
            container: None,
            orders: Vec::new(),
            released: Vec::new(),
            doom: None,
            is_unlogged: false,
            is_over: false,
        };
        self.lanes.insert(id, lane);
        if only.is_none() {
            self.reach[worker].shared = Some(id);
        }
        Ok(id)
    }

    /// Tries a worker again that was lost, for these and for whatever is placed there.
    pub(super) fn reopen_lane(&mut self, worker: WorkerId, waiting: Vec<(u32, Spawn)>) {
        // What has a host of its own is reached on a thread, which cannot fail here.
        let Ok(id) = self.open_lane(worker, None) else { return };
        for (n, _) in &waiting {
            if let Some(flight) = self.flights.get_mut(n) {
                flight.lane = Some(id);
            }
        }
        if let Some(State::Connecting(all)) = self.lanes.get_mut(&id).map(|lane| &mut lane.state) {
            *all = waiting;
        }
    }

    fn local_link(&self, worker: WorkerId) -> io::Result<Link> {
        let (job, place) = (self.job, &self.view.fleet.workers[worker]);
        let exits = self.view.run_dir.join(EXITS);
        std::fs::create_dir_all(&exits)?;
        let root = job.state.path().join("workers").join(&place.name);
        local::start(&LinkOptions {
            exe: job.options.exe.clone(),
            exit_log: exits.join(format!("{}.log", place.name)),
            run: self.view.run.to_string(),
            state_dir: job.state.path().to_owned(),
            place: place.stages().then(|| staging_place(place, &root.to_string_lossy(), false)),
        })
    }

    fn connect(&mut self, lane: LaneId, worker: WorkerId, cell: Option<Cell>) {
        let fleet = self.job.fleet.clone();
        let site = Site {
            exe: self.job.options.exe.clone(),
            run: self.view.run.to_string(),
            worker: fleet.workers[worker].name.clone(),
            state_dir: self.job.state.path().to_owned(),
            workspace: fleet.workspace.clone(),
            clients: self.clients.clone(),
            makes_room: false,
        };
        let known = self.reach[worker].image.clone();
        let name = format!("fleet-{}-{}-{lane}", site.run.to_lowercase(), site.worker);
        let connecting = self.inbox.wait_for(move || {
            let (result, image) = reach(&fleet.workers[worker], &site, known, (&name, cell.as_ref()));
            Finished::Connected { lane, result: Box::new(result), image }
        });
        self.close_with_the_run(connecting);
    }

    /// A thread has come to an end with a lane.
    pub(super) fn connected(&mut self, id: LaneId, result: Result<Connected, Unreachable>, image: Option<Image>) {
        let Some(lane) = self.lanes.get_mut(&id) else {
            if let Ok(connected) = result {
                self.drop_unused(connected);
            }
            return;
        };
        let (worker, only) = (lane.worker, lane.only);
        if image.is_some() {
            self.reach[worker].image = image;
        }
        let State::Connecting(waiting) = std::mem::replace(&mut lane.state, State::Closed) else { return };
        let name = self.worker_named(worker).to_owned();
        let linked = result.and_then(|connected| self.greet(id, worker, connected));
        if let Err(Unreachable { why, is_final, is_refusal, .. }) = linked {
            self.lanes.remove(&id);
            if is_refusal {
                // As a supervisor refuses what it cannot hold.
                let why = format!("worker `{name}`: {why}");
                for (n, _) in waiting {
                    self.not_started(n, &why);
                }
                return;
            }
            let why = format!("worker `{name}` cannot be reached: {why}");
            let attempts: Vec<u32> = waiting.iter().map(|(n, _)| *n).collect();
            let loss = Loss { why, was_reached: false, is_final };
            if only.is_some() && !is_final {
                // One attempt's container says nothing of how others would do.
                self.lanes_lost(&attempts, &loss.why);
            } else if self.reach[worker].away.is_some() {
                self.try_failed(worker, &loss, waiting);
            } else {
                self.gone(worker, &loss, &attempts);
            }
            return;
        }
        for (n, spawn) in waiting {
            let Some(flight) = self.flights.get(&n) else { continue };
            if let Some(cause) = flight.stopped() {
                self.finish_stopped(n, cause, None);
            } else if let Err(why) = self.say(id, n, &spawn) {
                self.not_started(n, &why);
            }
        }
    }

    fn greet(&mut self, id: LaneId, worker: WorkerId, connected: Connected) -> Result<(), Unreachable> {
        let Connected { pipes, said, root, container, sent } = connected;
        let place = &self.view.fleet.workers[worker];
        let hello = Hello {
            version: frame::VERSION,
            run: self.view.run.to_string(),
            state_dir: String::new(),
            exit_log: String::new(),
            place: Some(staging_place(place, &root, true)),
        };
        let pid = pipes.child.id();
        let link = Link::new(pipes, &hello).map_err(Unreachable::new);
        self.clients.taken_over(pid);
        let (link, now) = (link?, self.now);
        let Some(lane) = self.lanes.get_mut(&id) else { return Err(Unreachable::new("it is not wanted any more")) };
        lane.state = State::Up(Box::new(link));
        (lane.said, lane.container, lane.heard) = (Some(said), container, now);
        lane.beat_at = Some(now.after(place.lease / BEATS));
        if let Some(bytes) = sent {
            let text = format!("worker `{}` did not have this fleet; sent it, {} MiB", place.name, bytes >> 20);
            self.warn(&text);
        }
        Ok(())
    }

    /// Says that we live, and counts who is silent for too long as lost.
    pub(super) fn beat(&mut self) {
        let now = self.now;
        let mut silent = Vec::new();
        for (id, lane) in &mut self.lanes {
            let lease = self.view.fleet.workers[lane.worker].lease;
            if lane.up().is_none() || lane.beat_at.is_none_or(|at| at > now) {
                continue;
            }
            lane.beat_at = Some(now.after(lease / BEATS));
            let silence = now.since(lane.heard);
            if silence > lease {
                silent.push((*id, lease));
            } else if silence < lease / QUIET_PART {
                lane.let_go();
                lane.up().map(Link::beat);
            }
        }
        for (id, lease) in silent {
            self.lane_lost(id, &format!("no word from it for its lease of {}", crate::time::written(lease)));
        }
    }

    /// When the next beat is due.
    pub(super) fn next_beat(&self) -> Option<Millis> {
        let up = self.lanes.values().filter(|lane| matches!(lane.state, State::Up(_)));
        up.filter_map(|lane| lane.beat_at).min()
    }

    /// The connection is of no use any more: whatever ran there is lost, and nobody can say how it would have ended. Of a
    /// supervisor on this machine, what it ran has become ours and is ended.
    pub(super) fn lane_lost(&mut self, id: LaneId, why: &str) {
        let lost: Vec<u32> = self.flights.iter().filter(|(_, f)| f.lane == Some(id)).map(|(n, _)| *n).collect();
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let (worker, only, was_reached) = (lane.worker, lane.only, lane.was_reached);
        let was_up = matches!(lane.state, State::Up(_));
        let is_local = self.view.fleet.workers[worker].host == Host::Local;
        if is_local {
            self.lanes.remove(&id);
            self.sweep();
            local::remove_secrets(self.job.state.path());
        } else {
            let whose = lost.iter().filter_map(|n| Some((*n, self.flights.get(n)?.whose()))).collect();
            if was_up && let State::Up(mut link) = std::mem::replace(&mut lane.state, State::Closed) {
                link.fence();
                lane.state = State::Fenced(link, whose);
            }
        }
        if !was_up {
            return;
        }
        let name = self.worker_named(worker);
        let why = if is_local { why.to_owned() } else { format!("worker `{name}` was lost: {why}") };
        if only.is_some() {
            return self.lanes_lost(&lost, &why);
        }
        self.gone(worker, &Loss { why, was_reached, is_final: is_local }, &lost);
    }

    /// The other side of a lane has closed it.
    pub(super) fn lane_closed(&mut self, id: LaneId, error: Option<&io::Error>) {
        let why = self.why_closed(id, error);
        self.lane_lost(id, &why);
        self.drop_lane(id);
    }

    /// What leads there and what it says knows better than we what became of the other side.
    fn why_closed(&mut self, id: LaneId, error: Option<&io::Error>) -> String {
        let Some(lane) = self.lanes.get_mut(&id) else { return String::new() };
        let said = lane.said.as_ref().map(Said::text).filter(|said| !said.is_empty());
        let signal = lane.any_link().and_then(Link::ended_by);
        let client = match &self.view.fleet.workers[lane.worker].host {
            Host::Local => None,
            Host::Ssh(_) => Some("ssh"),
            Host::Container(container) => Some(container.engine.name()),
        };
        match (client.zip(signal), said, error) {
            (Some((client, signal)), ..) => format!("`{client}` was ended by signal {signal}"),
            (None, Some(said), _) => format!("its connection ended: {said}"),
            (None, None, Some(error)) => format!("it does not speak as it should: {error}"),
            (None, None, None) => "its supervisor died".to_owned(),
        }
    }

    fn sweep(&mut self) {
        let links = self.lanes.values().filter_map(|lane| lane.link().map(Link::pid));
        let spare: Vec<u32> = links.chain(self.clients.pids()).collect();
        if !local::sweep(&spare).clean {
            self.warn("some processes of a lost supervisor could not be ended");
        }
    }
}

fn staging_place(worker: &Worker, root: &str, has_lease: bool) -> Place {
    Place {
        root: root.to_owned(),
        worker: worker.name.clone(),
        lease_ms: if has_lease { millis(worker.lease / THEIR_PART) } else { 0 },
        cache_bytes: worker.cache_bytes,
        attempt_bytes: worker.attempt_bytes,
    }
}

/// Reaches a worker; on a thread.
fn reach(
    worker: &Worker,
    site: &Site,
    known: Option<Image>,
    (name, cell): (&str, Option<&Cell>),
) -> (Result<Connected, Unreachable>, Option<Image>) {
    match &worker.host {
        Host::Local => (Err(Unreachable::new("it is this machine")), None),
        Host::Ssh(ssh) => (ssh::connect(ssh, site), None),
        Host::Container(container) => {
            let image = match known.map_or_else(|| container::image(container, &site.clients), Ok) {
                Ok(image) => image,
                Err(error) => return (Err(error), None),
            };
            (container::connect(container, cell, site, &image, name), Some(image))
        }
    }
}
