//! A world for the scheduler to live in, drawn from a seed: tasks that pass, fail, hang on and ignore being stopped,
//! workers that get lost, cancels at bad moments. A failing test prints the seed, and the seed is the bug report.
//!
//! The world keeps its own books of slots, pools, needs and results and holds every action against them (`rules`).
//! `model` computes results a second way, with no thought for speed; `cases` holds all small worlds, and huge ones.

mod cases;
mod model;
mod rules;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::graph::testing;
use crate::id::{Attempt, Id, IdMap, PoolId, TaskId, WorkerId};
use crate::model::{Fleet, WorkerRequest};
use crate::protocol::receipt::TaskResult;
use crate::time::Millis;

use super::{Action, Candidates, Input, Item, Need, Part, Scheduler, SkipCause, Work};

const WORLDS: u64 = 5_000;

struct World {
    work: Work,
    scheduler: Scheduler,
    /// What each task does once started.
    plans: IdMap<TaskId, Plan>,
    random: Random,
    now: Millis,
    /// What is going to happen; the number keeps events of one moment in order.
    ahead: BTreeMap<(Millis, u64), Input>,
    events: u64,
    wake: Option<Millis>,
    /// Whether anything but tasks themselves decides results: then there is nothing to compare with the model.
    disturbed: bool,
    seen: IdMap<TaskId, Seen>,
    used: IdMap<WorkerId, u32>,
    lost: IdMap<WorkerId, bool>,
    away: IdMap<WorkerId, bool>,
    drawn: IdMap<PoolId, u32>,
    there: BTreeMap<(TaskId, WorkerId), u64>,
    /// The same work as a fleet file would have it: workers that tasks ask for.
    fleet: Fleet,
    closed: Option<SkipCause>,
    failed_fast: bool,
    done: bool,
}

#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a habit of its own")]
struct Plan {
    lasts: u64,
    /// Attempts that fail before the one that counts.
    retries: u32,
    /// Between two attempts.
    wait: u64,
    /// Another worker is to have the next attempt.
    avoids: bool,
    result: TaskResult,
    /// Reports that it runs, and that it is being judged, as it should.
    talks: bool,
    /// Does not end when asked to.
    stubborn: bool,
    /// Ended by itself just before it was stopped.
    races: bool,
}

impl Plan {
    fn simple(result: TaskResult) -> Self {
        Self { lasts: 1, retries: 0, wait: 0, avoids: false, result, talks: false, stubborn: false, races: false }
    }
}

/// What the world has seen of a task.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a thing that was seen")]
struct Seen {
    queued: Option<Millis>,
    /// Where it was started last.
    worker: Option<WorkerId>,
    active: bool,
    /// Attempts that are over, those before the run included.
    attempts: u32,
    /// When it may start again, or for the first time.
    again: Option<Millis>,
    /// Workers of attempts that are over, as far as it keeps off them.
    avoided: Vec<WorkerId>,
    /// Its coming end, while it runs.
    ends: Option<(Millis, u64)>,
    stops: u32,
    forced: bool,
    /// It was placed where most of its inputs are, and not where else it could have been.
    attracted: bool,
    cause: Option<SkipCause>,
    result: Option<TaskResult>,
    /// It is a handler whose time has come.
    called: bool,
}

impl Seen {
    fn of(item: &Item) -> Self {
        let again = Some(Millis(0).after(item.wait));
        Self { attempts: item.attempts, again, avoided: item.avoid.into_iter().collect(), ..Self::default() }
    }

    fn is_ready(&self) -> bool {
        self.queued.is_some() && !self.active && self.result.is_none()
    }

    fn is_active(&self) -> bool {
        self.active && self.result.is_none()
    }
}

impl World {
    fn new(work: Work, plans: IdMap<TaskId, Plan>, seed: u64) -> Self {
        Self {
            scheduler: Scheduler::new(work.clone()),
            plans,
            random: Random(seed),
            now: Millis(0),
            ahead: BTreeMap::new(),
            events: 0,
            wake: None,
            disturbed: false,
            seen: work.tasks.values().map(Seen::of).collect::<Vec<_>>().into(),
            used: IdMap::filled(&work.workers, 0),
            lost: work.workers.values().map(|&slots| slots == 0).collect::<Vec<_>>().into(),
            away: IdMap::filled(&work.workers, false),
            drawn: IdMap::filled(&work.pools, 0),
            there: BTreeMap::new(),
            fleet: fleet_of(&work),
            closed: None,
            failed_fast: false,
            done: false,
            work,
        }
    }

    fn from_seed(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let work = random.work();
        let plans = random.plans(&work);
        let mut world = Self::new(work, plans, random.next());
        if world.random.chance(50) {
            world.spread_inputs();
        }
        if world.random.chance(40) {
            world.disturb();
        }
        world
    }

    /// Inputs are on some workers from the beginning, or come to be there.
    fn spread_inputs(&mut self) {
        for task in self.work.tasks.ids().collect::<Vec<_>>() {
            for worker in self.work.workers.ids().collect::<Vec<_>>() {
                if self.random.chance(30) {
                    let (at, bytes) = (self.random.below(20), 1 + self.random.below(3));
                    self.happens(at, Input::There { task, worker, bytes });
                }
            }
        }
    }

    /// What comes from outside: cancels, lost workers, time, a full disk, and impatient tasks.
    fn disturb(&mut self) {
        self.disturbed = true;
        if self.random.chance(50) {
            let (at, again) = (self.random.below(60), self.random.below(30));
            let force = self.random.chance(10);
            self.happens(at, Input::Cancel { force });
            if self.random.chance(50) {
                let force = self.random.chance(80);
                self.happens(at + again, Input::Cancel { force });
            }
        }
        for (percent, input) in [(20, Input::RunTimeout), (20, Input::Drain), (30, Input::Tick)] {
            if self.random.chance(percent) {
                let at = self.random.below(80);
                self.happens(at, input);
            }
        }
        for worker in self.work.workers.ids() {
            if self.random.chance(25) {
                let at = self.random.below(50);
                self.happens(at, Input::WorkerLost(worker));
            }
            // Each time it is away it comes back, or is lost in the end.
            for _ in 0..self.random.below(3) {
                let (at, long) = (self.random.below(50), self.random.below(30));
                let ends = if self.random.chance(70) { Input::WorkerBack(worker) } else { Input::WorkerLost(worker) };
                self.happens(at, Input::WorkerAway(worker));
                self.happens(at + long, ends);
            }
        }
        if self.random.chance(40) {
            for task in self.work.tasks.ids() {
                let within = self.random.chance(50).then(|| Duration::from_millis(self.random.below(25)));
                self.work.tasks[task].start_within = within;
            }
            self.scheduler = Scheduler::new(self.work.clone());
        }
    }

    /// One task at a time, and none of them waits for anything but its turn.
    fn has_one_order(&self) -> bool {
        let waits = self.work.tasks.values().any(|item| !item.wait.is_zero())
            || self.plans.values().any(|plan| plan.retries > 0 && plan.wait > 0);
        self.work.max_parallel.is_some_and(|n| n <= 1) && !waits
    }

    fn happens(&mut self, at: u64, input: Input) -> (Millis, u64) {
        self.events += 1;
        let key = (Millis(at), self.events);
        self.ahead.insert(key, input);
        key
    }

    /// From the beginning to the end, each step held against the rules.
    fn live(&mut self) {
        self.step(Input::Begin);
        let mut steps = 0;
        while !self.done {
            let input = self.next();
            self.step(input);
            steps += 1;
            assert!(steps < 1_000, "the run goes round in circles");
        }
        self.assert_ended();
    }

    /// The next event, or the wake-up the scheduler asked for, if that is earlier.
    fn next(&mut self) -> Input {
        let event = self.ahead.first_key_value().map(|(&key, _)| key);
        match (event, self.wake) {
            (Some((at, _)), Some(wake)) if wake < at => self.wake_up(wake),
            (None, Some(wake)) => self.wake_up(wake),
            (Some(key), _) => {
                self.now = self.now.max(key.0);
                self.ahead.remove(&key).expect("the key was just seen")
            }
            (None, None) => panic!("nothing is going to happen and the run is not done"),
        }
    }

    fn wake_up(&mut self, at: Millis) -> Input {
        self.now = self.now.max(at);
        self.wake = None;
        Input::Tick
    }

    fn step(&mut self, input: Input) {
        self.note(input);
        let mut actions = Vec::new();
        self.scheduler.step(self.now, input, &mut actions);
        for action in actions {
            assert!(!self.done, "{action:?} after the end");
            self.assert_allowed(action);
            self.perform(action);
        }
        if !matches!(input, Input::There { .. }) {
            self.assert_nothing_forgotten();
        }
    }

    /// Enters an input into the world's own books.
    fn note(&mut self, input: Input) {
        match input {
            Input::Settled { task, result } => self.settled(task, result),
            Input::Cancel { .. } => self.close(SkipCause::Cancelled),
            Input::RunTimeout => self.close(SkipCause::RunTimeout),
            Input::Drain => self.close(SkipCause::Drained),
            Input::WorkerBack(worker) => self.away[worker] = false,
            Input::WorkerAway(worker) | Input::WorkerLost(worker) => {
                let gone = if matches!(input, Input::WorkerLost(_)) { &mut self.lost } else { &mut self.away };
                gone[worker] = true;
                for task in self.work.tasks.ids() {
                    if self.seen[task].is_active() && self.seen[task].worker == Some(worker) {
                        self.ends(task, self.now.0, TaskResult::Fail);
                    }
                }
            }
            Input::Begin => {
                let has = |item: &Item| if let Part::Has(result) = item.part { Some(result) } else { None };
                let settled = self.work.tasks.iter().filter_map(|(task, item)| Some((task, has(item)?)));
                for (task, result) in settled.collect::<Vec<_>>() {
                    self.settled(task, result);
                }
            }
            Input::Again { task, wait, avoid } => self.tried(task, wait, avoid),
            Input::There { task, worker, bytes } => *self.there.entry((task, worker)).or_insert(0) += bytes,
            Input::Tick | Input::Running(_) | Input::Judging(_) => {}
        }
    }

    fn close(&mut self, cause: SkipCause) {
        self.closed.get_or_insert(cause);
    }

    fn gives_back(&mut self, task: TaskId) {
        let worker = self.seen[task].worker.expect("an active task has a worker");
        self.used[worker] -= 1;
        for &(pool, n) in &self.work.tasks[task].uses {
            self.drawn[pool] -= n;
        }
    }

    /// An attempt is over, another one follows.
    fn tried(&mut self, task: TaskId, wait: Duration, avoid: Option<WorkerId>) {
        self.gives_back(task);
        let seen = &mut self.seen[task];
        (seen.queued, seen.active, seen.ends) = (None, false, None);
        seen.attempts += 1;
        seen.again = Some(self.now.after(wait));
        seen.avoided.extend(avoid);
        if avoid.is_some() && !self.has_fresh(task) {
            // Each had its turn, so a new round begins, which the last one does not open.
            self.seen[task].avoided = avoid.into_iter().collect();
        }
    }

    fn settled(&mut self, task: TaskId, result: TaskResult) {
        if self.seen[task].is_active() {
            self.gives_back(task);
        }
        let item = &self.work.tasks[task];
        let seen = &mut self.seen[task];
        assert_eq!(seen.result, None, "{task:?} is settled once");
        seen.result = Some(result);
        (seen.active, seen.ends) = (false, None);
        if self.closed.is_none() && model::ends_run(item, result) {
            self.failed_fast |= self.work.fail_fast;
        }
        if matches!(result, TaskResult::Fail | TaskResult::Timeout) && self.closed.is_none() {
            for &handler in &item.on_failure {
                self.seen[handler].called |= self.work.tasks[handler].part == Part::Handler;
            }
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Queue(task) => self.seen[task].queued = Some(self.now),
            Action::Start { task, worker, attempt } => self.started(task, worker, attempt),
            Action::Stop { task, force, .. } => self.stopped(task, force),
            Action::Skip { task, cause } => {
                self.seen[task].cause = Some(cause);
                self.settled(task, cause.result());
            }
            Action::WakeAt(at) => self.wake = Some(at),
            Action::Done => self.done = true,
        }
    }

    fn started(&mut self, task: TaskId, worker: WorkerId, attempt: Attempt) {
        let seen = &mut self.seen[task];
        assert_eq!(attempt.0, seen.attempts + 1, "attempts are counted on");
        (seen.worker, seen.active) = (Some(worker), true);
        self.used[worker] += 1;
        for &(pool, n) in &self.work.tasks[task].uses {
            self.drawn[pool] += n;
        }
        let plan = self.plans[task];
        if attempt.0 - self.work.tasks[task].attempts <= plan.retries {
            let wait = Duration::from_millis(plan.wait);
            let again = Input::Again { task, wait, avoid: plan.avoids.then_some(worker) };
            self.seen[task].ends = Some(self.happens(self.now.0 + plan.lasts, again));
        } else {
            self.ends(task, self.now.0 + plan.lasts, plan.result);
        }
        if plan.talks {
            self.happens(self.now.0 + plan.lasts / 4, Input::Running(task));
            self.happens(self.now.0 + plan.lasts / 2, Input::Judging(task));
        }
    }

    fn stopped(&mut self, task: TaskId, force: bool) {
        self.seen[task].stops += 1;
        self.seen[task].forced |= force;
        let plan = self.plans[task];
        if force || !plan.stubborn {
            let wait = if force { 0 } else { self.random.below(15) };
            self.ends(task, self.now.0 + wait, if plan.races { plan.result } else { TaskResult::Skip });
        }
    }

    /// Sets the end of a running task, in place of the one that was coming.
    fn ends(&mut self, task: TaskId, at: u64, result: TaskResult) {
        if let Some(old) = self.seen[task].ends.take() {
            self.ahead.remove(&old);
        }
        self.seen[task].ends = Some(self.happens(at, Input::Settled { task, result }));
    }
}

/// Each worker has a capability for each task that may run there.
fn fleet_of(work: &Work) -> Fleet {
    let tasks: Vec<String> = work.tasks.ids().map(|task| task.index().to_string()).collect();
    let names: Vec<&str> = tasks.iter().map(String::as_str).collect();
    let mut fleet = testing::fleet(&names);
    for (task, _) in work.tasks.iter().filter(|(_, item)| item.candidates != Candidates::Any) {
        let wanted = vec![task.index().to_string()];
        fleet.tasks[task].worker = Some(Box::new(WorkerRequest { capabilities: wanted, ..WorkerRequest::default() }));
    }
    let worker = |(id, &slots): (WorkerId, &u32)| {
        let mut worker = testing::worker(&format!("w{}", id.index()), slots);
        let able = work.tasks.iter().filter(|(_, item)| rules::may_run_on(item, id));
        worker.capabilities = able.map(|(task, _)| task.index().to_string()).collect();
        worker
    };
    fleet.workers = work.workers.iter().map(worker).collect::<Vec<_>>().into();
    fleet
}

/// `SplitMix64`: small, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn small(&mut self, bound: u64) -> u32 {
        u32::try_from(self.below(bound)).expect("bounds of the world are small")
    }

    fn index(&mut self, bound: usize) -> usize {
        self.small(bound as u64) as usize
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn work(&mut self) -> Work {
        let workers: Vec<u32> =
            (0..=self.below(3)).map(|_| if self.chance(5) { 0 } else { 1 + self.small(3) }).collect();
        let pools: Vec<u32> = (0..self.below(3)).map(|_| 1 + self.small(4)).collect();
        let tasks = 1 + self.index(20);
        // Ids say nothing about the order of the graph: position `i` may need positions before it only.
        let mut ids: Vec<TaskId> = (0..tasks).map(TaskId::from_index).collect();
        for i in (1..tasks).rev() {
            ids.swap(i, self.index(i + 1));
        }
        let (density, odd_parts) = (self.below(35), self.below(40));
        let mut items: Vec<Option<Item>> = vec![None; tasks];
        for i in 0..tasks {
            let needs = ids[..i].iter().filter(|_| self.chance(density)).copied().collect::<Vec<_>>();
            let mut needs: Vec<_> =
                needs.into_iter().map(|task| Need { task, accept_partial: self.chance(30) }).collect();
            // A declared need and one that a file implies may be the same.
            needs.extend(needs.last().copied().filter(|_| self.chance(10)));
            items[ids[i].index()] = Some(self.item(needs.into(), odd_parts, &workers, &pools, &ids));
        }
        Work {
            tasks: items.into_iter().map(|item| item.expect("every id has a position")).collect::<Vec<_>>().into(),
            workers: workers.into(),
            pools: pools.into(),
            max_parallel: self.chance(50).then(|| self.small(5)),
            fail_fast: self.chance(35),
        }
    }

    fn item(&mut self, needs: Box<[Need]>, odd: u64, workers: &[u32], pools: &[u32], ids: &[TaskId]) -> Item {
        let part = match self.below(100) {
            x if x < odd => {
                [Part::Unwanted, Part::Has(self.result()), Part::Held, Part::Handler, Part::Handler, Part::Out]
                    [self.index(6)]
            }
            _ => Part::Selected,
        };
        let mut list: Vec<_> = (0..workers.len()).filter(|_| self.chance(70)).map(WorkerId::from_index).collect();
        // Lists come in any order and may repeat themselves.
        if self.chance(30) {
            list.reverse();
            list.extend(list.first().copied());
        }
        let candidates = if self.chance(75) { Candidates::Any } else { Candidates::Only(list.into()) };
        let mut uses = Vec::new();
        for (pool, &size) in pools.iter().enumerate() {
            let n = if self.chance(40) { self.small(u64::from(size) + 1) } else { 0 };
            let split = if self.chance(20) { n / 2 } else { 0 };
            uses.extend([(PoolId::from_index(pool), split), (PoolId::from_index(pool), n - split)]);
        }
        Item {
            part,
            needs,
            candidates,
            uses: uses.into(),
            priority: if self.chance(70) { 0 } else { i32::try_from(self.below(5)).expect("small") - 2 },
            rank: self.below(4),
            tie: self.small(3),
            always: self.chance(15),
            allow_failure: self.chance(15),
            on_failure: if self.chance(50) {
                ids.iter().filter(|_| self.chance(40)).copied().collect()
            } else {
                [].into()
            },
            start_within: None,
            attempts: if self.chance(10) { self.small(3) } else { 0 },
            wait: Duration::from_millis(if self.chance(10) { self.below(20) } else { 0 }),
            avoid: self.chance(10).then(|| WorkerId::from_index(self.index(workers.len()))),
        }
    }

    fn result(&mut self) -> TaskResult {
        if self.chance(50) { TaskResult::Pass } else { TaskResult::ALL[self.index(TaskResult::ALL.len())] }
    }

    fn plans(&mut self, work: &Work) -> IdMap<TaskId, Plan> {
        let trouble = self.below(50);
        let plans = work.tasks.ids().map(|_| Plan {
            lasts: self.below(20),
            retries: if self.chance(30) { 1 + self.small(4) } else { 0 },
            wait: if self.chance(40) { 0 } else { self.below(20) },
            avoids: self.chance(70),
            result: match self.below(100) {
                x if x < trouble => {
                    [TaskResult::Fail, TaskResult::Timeout, TaskResult::Partial][usize::try_from(x % 3).expect("small")]
                }
                _ => TaskResult::Pass,
            },
            talks: self.chance(70),
            stubborn: self.chance(20),
            races: self.chance(10),
        });
        plans.collect::<Vec<_>>().into()
    }
}

/// Names the seed when the test dies.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay with World::from_seed({})", self.0);
        }
    }
}

#[test]
fn every_world_ends_and_keeps_the_rules() {
    let mut causes: BTreeMap<String, u32> = BTreeMap::new();
    for seed in 0..WORLDS {
        let _replay = Replay(seed);
        let mut world = World::from_seed(seed);
        world.live();
        if !world.disturbed && (!world.work.fail_fast || world.has_one_order()) {
            world.assert_like_the_model();
            *causes.entry("compared with the model".to_owned()).or_insert(0) += 1;
        }
        for seen in world.seen.values() {
            let name = match seen.cause {
                Some(cause) => format!("{cause:?}").split([' ', '(']).next().unwrap_or_default().to_owned(),
                None => format!("{:?}, stops {}, called {}", seen.result, seen.stops, seen.called),
            };
            *causes.entry(name).or_insert(0) += 1;
            let elsewhere = |w: &WorkerId| !seen.avoided.contains(w);
            for (name, shown) in [
                ("placed by its inputs", seen.attracted),
                ("skipped while held", seen.cause.is_some() && seen.attempts > 0 && seen.queued.is_none()),
                ("tried again elsewhere", seen.avoided.len() > 1 && seen.worker.as_ref().is_some_and(elsewhere)),
                (
                    "tried again by the one it keeps off",
                    seen.avoided.len() > 1 && !seen.worker.as_ref().is_some_and(elsewhere),
                ),
            ] {
                *causes.entry(name.to_owned()).or_insert(0) += u32::from(shown);
            }
        }
    }
    // A rule is only tested by worlds in which it matters.
    for name in [
        "NeedFailed",
        "NeedSkipped",
        "FailFast",
        "Cancelled",
        "RunTimeout",
        "Drained",
        "NotWanted",
        "StartWithin",
        "NoWorker",
        "Unknown",
        "placed by its inputs",
        "skipped while held",
        "tried again elsewhere",
        "tried again by the one it keeps off",
        "compared with the model",
        "Some(Skip), stops 2, called false",
        "Some(Skip), stops 1, called true",
    ] {
        assert!(causes.get(name).is_some_and(|&n| n >= 10), "too few worlds show {name}: {causes:#?}");
    }
}
