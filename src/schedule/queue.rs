//! What is ready, and what workers and pools have left.
//!
//! Ready tasks that ask for the same (candidates and uses) form a class with a heap of its own. Within a class either
//! the first fits or none does, so picking looks at one task a class and never walks past tasks that do not fit: a
//! blocked task blocks nobody else, and a step costs O(classes + starts · log ready). A task that asks for much of a
//! pool may wait while smaller ones pass it; as the graph is finite, its turn comes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};

use crate::id::{Id, IdMap, PoolId, TaskId, WorkerId};
use crate::place::{Load, preference};

use super::state::{Board, State};
use super::{Candidates, Item};

#[derive(Debug)]
pub(super) struct Queue {
    classes: Vec<Class>,
    known: HashMap<Demand, u32>,
    /// The tasks in the order of starts; a task's index here is its turn.
    order: Vec<TaskId>,
    workers: IdMap<WorkerId, Slots>,
    pools: IdMap<PoolId, Level>,
    /// Slots free over all workers that are there.
    free: u32,
    limit: u32,
    taken: u32,
    /// The first task of each class that may fit, during a round of starts; kept for its memory.
    contenders: BinaryHeap<Reverse<(u32, u32)>>,
    /// Bytes of a task's inputs that a worker has, as far as the caller has said. Few, and gone with the task.
    there: BTreeMap<(TaskId, WorkerId), u64>,
    /// What was known of each worker at the starts that nobody has asked about. Empty where there is one worker.
    loads: VecDeque<Box<[Load]>>,
}

/// What a class of tasks asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Demand {
    candidates: Candidates,
    uses: Box<[(PoolId, u32)]>,
    /// For tasks that keep off some of their workers: the class that has all of them.
    whole: Option<u32>,
}

#[derive(Debug)]
struct Class {
    demand: Demand,
    /// Turns of ready tasks, the lowest first. May hold tasks that were skipped since; they are dropped on sight.
    ready: BinaryHeap<Reverse<u32>>,
    /// Candidates that are not lost.
    live: u32,
}

#[derive(Clone, Copy, Debug)]
struct Slots {
    size: u32,
    used: u32,
    /// For now.
    away: bool,
    lost: bool,
}

impl Slots {
    fn is_there(self) -> bool {
        !self.lost && !self.away
    }

    fn free(self) -> u32 {
        if self.is_there() { self.size - self.used } else { 0 }
    }
}

#[derive(Clone, Copy, Debug)]
struct Level {
    size: u32,
    used: u32,
}

impl Queue {
    /// Also returns the class of each task.
    pub(super) fn new(
        tasks: &IdMap<TaskId, Item>,
        workers: &IdMap<WorkerId, u32>,
        pools: &IdMap<PoolId, u32>,
        max_parallel: Option<u32>,
    ) -> (Self, Vec<u32>) {
        let workers: IdMap<WorkerId, Slots> = workers
            .values()
            .map(|&size| Slots { size, used: 0, away: false, lost: size == 0 })
            .collect::<Vec<_>>()
            .into();
        let pools: IdMap<PoolId, Level> =
            pools.values().map(|&size| Level { size, used: 0 }).collect::<Vec<_>>().into();
        let mut queue = Self {
            classes: Vec::new(),
            known: HashMap::new(),
            order: order_of_starts(tasks),
            free: workers.values().fold(0, |sum, slots| sum.saturating_add(slots.size)),
            workers,
            pools,
            limit: max_parallel.unwrap_or(u32::MAX).max(1),
            taken: 0,
            contenders: BinaryHeap::new(),
            there: BTreeMap::new(),
            loads: VecDeque::new(),
        };
        let class_of = tasks.values().map(|item| queue.class_for(Demand::of(item))).collect();
        (queue, class_of)
    }

    fn class_for(&mut self, demand: Demand) -> u32 {
        if let Some(&class) = self.known.get(&demand) {
            return class;
        }
        for &(pool, n) in &demand.uses {
            assert!(n <= self.pools[pool].size, "the spec refuses a use larger than its pool");
        }
        let live = demand.candidates.of(&self.workers).filter(|(_, slots)| !slots.lost).count();
        let class = u32::try_from(self.classes.len()).expect("there are no more classes than tasks");
        let live = u32::try_from(live).expect("named limits keep every count far below 2^32");
        self.classes.push(Class { demand: demand.clone(), ready: BinaryHeap::new(), live });
        self.known.insert(demand, class);
        class
    }

    /// The class for a task of `class` that from here on keeps off `avoid` too. When it has nowhere else to go, it
    /// keeps off that one only, and when there is no other at all, off none.
    pub(super) fn class_without(&mut self, class: u32, avoid: WorkerId) -> u32 {
        let whole = self.classes[class as usize].demand.whole.unwrap_or(class);
        for from in [class, whole] {
            let demand = &self.classes[from as usize].demand;
            let others = || demand.candidates.of(&self.workers).filter(|&(worker, _)| worker != avoid);
            if others().any(|(_, slots)| !slots.lost) {
                let candidates = Candidates::Only(others().map(|(worker, _)| worker).collect());
                let uses = demand.uses.clone();
                return self.class_for(Demand { candidates, uses, whole: Some(whole) });
            }
        }
        whole
    }

    /// The tasks in the order of starts.
    pub(super) fn order(&self) -> &[TaskId] {
        &self.order
    }

    /// Whether every worker the class may run on is lost, those it keeps off included.
    pub(super) fn is_dead(&self, class: u32) -> bool {
        self.classes[self.living(class)].live == 0
    }

    pub(super) fn push(&mut self, class: u32, turn: u32) {
        let class = self.living(class);
        self.classes[class].ready.push(Reverse(turn));
    }

    /// The class itself, or the whole one when only workers are left that it keeps off.
    fn living(&self, class: u32) -> usize {
        let of = &self.classes[class as usize];
        of.demand.whole.filter(|_| of.live == 0).unwrap_or(class) as usize
    }

    /// Begins a round of starts: everything that is ready competes again.
    pub(super) fn open_round(&mut self, board: &Board) {
        self.contenders.clear();
        if self.is_full() {
            return;
        }
        for class in 0..self.classes.len() {
            self.contend(class, board);
        }
    }

    /// The next task to start and where, its slot and pools already taken; `None` when nothing more fits.
    /// Room only shrinks during a round, so a class that does not fit is not asked again.
    pub(super) fn next(&mut self, board: &Board) -> Option<(TaskId, WorkerId)> {
        while !self.is_full() {
            let Reverse((turn, class)) = self.contenders.pop()?;
            let (class, task) = (class as usize, self.order[turn as usize]);
            let Some(worker) = self.place(class, task) else { continue };
            self.classes[class].ready.pop();
            if self.workers.len() > 1 {
                let loads = self.workers.ids().map(|worker| self.load(class, task, worker));
                self.loads.push_back(loads.collect());
            }
            self.take(class, worker);
            self.contend(class, board);
            return Some((task, worker));
        }
        None
    }

    /// Enters the first ready task of a class into the round, if there is one and it may fit.
    fn contend(&mut self, class: usize, board: &Board) {
        let ready = &mut self.classes[class].ready;
        while let Some(&Reverse(turn)) = ready.peek() {
            if board.state(self.order[turn as usize]) == State::Ready {
                if self.fits(&self.classes[class].demand) {
                    let class = u32::try_from(class).expect("there are no more classes than tasks");
                    self.contenders.push(Reverse((turn, class)));
                }
                return;
            }
            ready.pop();
        }
    }

    fn is_full(&self) -> bool {
        self.taken >= self.limit || self.free == 0
    }

    fn fits(&self, demand: &Demand) -> bool {
        demand.uses.iter().all(|&(pool, n)| self.pools[pool].size - self.pools[pool].used >= n)
            && demand.candidates.of(&self.workers).any(|(_, slots)| slots.free() > 0)
    }

    /// The best candidate for the task; `None` when it does not fit now.
    fn place(&self, class: usize, task: TaskId) -> Option<WorkerId> {
        let demand = &self.classes[class].demand;
        if !self.fits(demand) {
            return None;
        }
        let free = demand.candidates.of(&self.workers).filter(|(_, slots)| slots.free() > 0);
        let best = free.max_by_key(|&(worker, _)| preference(worker, self.load(class, task, worker)));
        best.map(|(worker, _)| worker)
    }

    /// What a worker is to a task of the class at the moment.
    fn load(&self, class: usize, task: TaskId, worker: WorkerId) -> Load {
        let (demand, slots) = (&self.classes[class].demand, self.workers[worker]);
        let whole = demand.whole.map(|whole| &self.classes[whole as usize].demand.candidates);
        // Mostly nothing is known, and then nothing is looked for.
        let bytes = if self.there.is_empty() { None } else { self.there.get(&(task, worker)) };
        Load {
            slots: slots.size,
            free: slots.free(),
            bytes: bytes.copied().unwrap_or(0),
            avoided: !demand.candidates.includes(worker) && whole.is_some_and(|whole| whole.includes(worker)),
        }
    }

    /// That many more bytes of a task's inputs are on a worker.
    pub(super) fn has(&mut self, task: TaskId, worker: WorkerId, bytes: u64) {
        let there = self.there.entry((task, worker)).or_insert(0);
        *there = there.saturating_add(bytes);
    }

    /// The task is not placed again.
    pub(super) fn forget(&mut self, task: TaskId) {
        if self.there.is_empty() {
            return;
        }
        let all = (task, WorkerId::from_index(0))..;
        while let Some((&key, _)) = self.there.range(all.clone()).next().filter(|((of, _), _)| *of == task) {
            self.there.remove(&key);
        }
    }

    pub(super) fn take_loads(&mut self) -> Option<Box<[Load]>> {
        self.loads.pop_front()
    }

    fn take(&mut self, class: usize, worker: WorkerId) {
        for &(pool, n) in &self.classes[class].demand.uses {
            self.pools[pool].used += n;
        }
        self.workers[worker].used += 1;
        self.free -= 1;
        self.taken += 1;
    }

    /// Gives back what a started task held.
    pub(super) fn give_back(&mut self, class: u32, worker: WorkerId) {
        for &(pool, n) in &self.classes[class as usize].demand.uses {
            self.pools[pool].used -= n;
        }
        let slots = &mut self.workers[worker];
        slots.used -= 1;
        self.free += u32::from(slots.is_there());
        self.taken -= 1;
    }

    /// Places nothing on this worker until it is back.
    pub(super) fn part_with(&mut self, worker: WorkerId) {
        let slots = &mut self.workers[worker];
        self.free -= slots.free();
        slots.away = true;
    }

    pub(super) fn welcome(&mut self, worker: WorkerId) {
        let slots = &mut self.workers[worker];
        if std::mem::take(&mut slots.away) {
            self.free += slots.free();
        }
    }

    /// Whether a worker may come back.
    pub(super) fn awaits(&self) -> bool {
        self.workers.values().any(|slots| slots.away && !slots.lost)
    }

    /// Places nothing on this worker any more. Appends the ready tasks that have no worker left, in their order.
    pub(super) fn lose(&mut self, worker: WorkerId, board: &Board, stranded: &mut Vec<TaskId>) {
        let slots = &mut self.workers[worker];
        if slots.lost {
            return;
        }
        self.free -= slots.free();
        slots.lost = true;
        let mut turns = Vec::new();
        for index in 0..self.classes.len() {
            let class = &mut self.classes[index];
            if !class.demand.candidates.includes(worker) {
                continue;
            }
            class.live -= 1;
            if class.live > 0 {
                continue;
            }
            let ready = std::mem::take(&mut class.ready);
            // The whole class was made first, so it has heard of the loss already.
            match class.demand.whole.filter(|&whole| self.classes[whole as usize].live > 0) {
                Some(whole) => self.classes[whole as usize].ready.extend(ready),
                None => turns.extend(ready.into_iter().map(|Reverse(turn)| turn)),
            }
        }
        turns.sort_unstable();
        let tasks = turns.into_iter().map(|turn| self.order[turn as usize]);
        stranded.extend(tasks.filter(|&task| board.state(task) == State::Ready));
    }

    /// What holds between any two steps.
    pub(super) fn assert_sound(&self, board: &Board) {
        let used: u32 = self.workers.values().map(|slots| slots.used).sum();
        assert_eq!(used, self.taken, "every start holds one slot");
        assert_eq!(used, board.counts().active(), "only started tasks hold slots");
        assert!(self.taken <= self.limit, "max_parallel holds");
        assert!(self.workers.values().all(|slots| slots.used <= slots.size), "slots hold");
        assert!(self.pools.values().all(|pool| pool.used <= pool.size), "pools hold");
        let free = self.workers.values().fold(0u32, |sum, slots| sum.saturating_add(slots.free()));
        assert_eq!(free, self.free, "the sum of free slots is kept");
    }
}

impl Demand {
    /// Sorted and without repeats, so that equal demands are one class.
    fn of(item: &Item) -> Self {
        let mut candidates = item.candidates.clone();
        if let Candidates::Only(workers) = &mut candidates {
            let mut sorted = std::mem::take(workers).into_vec();
            sorted.sort_unstable();
            sorted.dedup();
            *workers = sorted.into();
        }
        let mut uses: Vec<_> = item.uses.iter().copied().filter(|&(_, n)| n > 0).collect();
        uses.sort_unstable();
        uses.dedup_by(|next, first| {
            let same = next.0 == first.0;
            first.1 = if same { first.1.saturating_add(next.1) } else { first.1 };
            same
        });
        Self { candidates, uses: uses.into(), whole: None }
    }
}

impl Candidates {
    fn of<'a>(&'a self, workers: &'a IdMap<WorkerId, Slots>) -> impl Iterator<Item = (WorkerId, Slots)> + 'a {
        let (any, only) = match self {
            Self::Any => (workers.len(), &[][..]),
            Self::Only(list) => (0, &list[..]),
        };
        (0..any).map(WorkerId::from_index).chain(only.iter().copied()).map(|worker| (worker, workers[worker]))
    }

    fn includes(&self, worker: WorkerId) -> bool {
        match self {
            Self::Any => true,
            Self::Only(list) => list.binary_search(&worker).is_ok(),
        }
    }
}

/// Sorted once, so that afterwards every comparison is one of two small numbers.
fn order_of_starts(tasks: &IdMap<TaskId, Item>) -> Vec<TaskId> {
    let mut order: Vec<TaskId> = tasks.ids().collect();
    order.sort_unstable_by_key(|&task| {
        let item = &tasks[task];
        (Reverse(item.priority), Reverse(item.rank), item.tie, task)
    });
    order
}
