//! How an input becomes actions: what is settled tells its dependents, what became ready is queued, what fits starts.
//! Nothing here recurses over the graph, and no input but the rare ones that end a run (fail-fast, cancel, drain)
//! walks over all tasks.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::iter::successors;
use std::time::Duration;

use crate::id::{Attempt, Id, IdMap, TaskId, WorkerId};
use crate::place::Load;
use crate::protocol::receipt::TaskResult;
use crate::time::{Millis, millis};

use super::queue::Queue;
use super::state::{Board, Counts, Entry, State, Stopping};
use super::{Action, Input, Item, Part, SkipCause, StopCause, Work};

/// The scheduling of one run.
#[derive(Debug)]
pub struct Scheduler {
    board: Board,
    queue: Queue,
    dependents: Dependents,
    /// (task, handler) for each `on_failure`, sorted.
    on_failure: Box<[(TaskId, TaskId)]>,
    handlers: BTreeMap<TaskId, Handler>,
    /// (task, `start_within` in ms) where there is one, sorted.
    patience: Box<[(TaskId, u64)]>,
    /// When ready tasks run out of patience. May hold tasks that have started since; they are dropped on sight.
    deadlines: BinaryHeap<Reverse<(Millis, TaskId)>>,
    /// Tasks with attempts behind them, or a time before which they do not start. Few, so not in their entries.
    tried: BTreeMap<TaskId, Tried>,
    /// When held tasks are ready again. May hold tasks that were skipped since; they are dropped on sight.
    held: BinaryHeap<Reverse<(Millis, TaskId)>>,
    began: Millis,
    /// The last [`Action::WakeAt`] still ahead.
    wake: Option<Millis>,
    /// Settled tasks whose dependents do not know it yet. Empty between steps.
    news: VecDeque<TaskId>,
    fail_fast: bool,
    mode: Mode,
    begun: bool,
    done: bool,
}

/// What may still start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Open,
    /// Only `always` tasks and handlers: this one failed.
    FailFast(TaskId),
    /// Nothing, for this cause.
    Closed(SkipCause),
}

#[derive(Clone, Copy, Debug, Default)]
struct Tried {
    /// Attempts that are over.
    attempts: u32,
    /// Not started before that long after the beginning.
    wait: Duration,
}

/// What a handler remembers while nothing has triggered it, and by what it was.
#[derive(Clone, Copy, Debug, Default)]
struct Handler {
    /// A need of its own that was not enough.
    blocked: Option<TaskId>,
    triggered_by: Option<TaskId>,
}

impl Scheduler {
    /// # Panics
    /// When a task uses more of a pool than there is, which the spec refuses.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "the boxed slices of the items are not needed any longer")]
    pub fn new(work: Work) -> Self {
        let (mut queue, class_of) = Queue::new(&work.tasks, &work.workers, &work.pools, work.max_parallel);
        let mut entries: IdMap<TaskId, Entry> = work
            .tasks
            .iter()
            .zip(class_of)
            .map(|((task, item), class)| Entry::new(task, item, class))
            .collect::<Vec<_>>()
            .into();
        for (turn, &task) in (0..).zip(queue.order()) {
            entries[task].turn = turn;
        }
        for (task, item) in work.tasks.iter() {
            if let Some(avoid) = item.avoid {
                entries[task].class = queue.class_without(entries[task].class, avoid);
            }
        }
        let tried = work.tasks.iter().filter(|(_, item)| item.attempts > 0 || !item.wait.is_zero());
        let tried = tried.map(|(task, item)| (task, Tried { attempts: item.attempts, wait: item.wait }));
        let dependents = Dependents::new(&work.tasks, &mut entries);
        let on_failure = work.tasks.iter().flat_map(|(task, item)| item.on_failure.iter().map(move |&h| (task, h)));
        let patience = work.tasks.iter().filter_map(|(task, item)| Some((task, millis(item.start_within?))));
        Self {
            board: Board::new(entries),
            queue,
            dependents,
            on_failure: on_failure.collect(),
            handlers: BTreeMap::new(),
            patience: patience.collect(),
            deadlines: BinaryHeap::new(),
            tried: tried.collect(),
            held: BinaryHeap::new(),
            began: Millis(0),
            wake: None,
            news: VecDeque::new(),
            fail_fast: work.fail_fast,
            mode: Mode::Open,
            begun: false,
            done: false,
        }
    }

    /// Tells what happened at `now`, which never goes back, and appends to `out` what to do about it, in order.
    ///
    /// Patience ends before anything else of the same moment: a slot that becomes free at the deadline is too late.
    pub fn step(&mut self, now: Millis, input: Input, out: &mut Vec<Action>) {
        if self.done {
            return;
        }
        if let Input::There { task, worker, bytes } = input {
            // It decides where a later start goes, and starts nothing.
            if !self.is_settled(task) {
                self.queue.has(task, worker, bytes);
            }
            return;
        }
        self.expire(now, out);
        match input {
            Input::Begin => self.begin(now, out),
            Input::Running(task) => self.advance(task, State::Running),
            Input::Judging(task) => self.advance(task, State::Judging),
            Input::Again { task, wait, avoid } => self.again(task, wait, avoid, now, out),
            Input::Settled { task, result } => self.finish(task, result),
            Input::Tick | Input::There { .. } => {}
            Input::Cancel { force } => {
                self.close(SkipCause::Cancelled, out);
                self.stop_all(StopCause::Cancelled, if force { Stopping::Forced } else { Stopping::Asked }, out);
            }
            Input::RunTimeout => {
                self.close(SkipCause::RunTimeout, out);
                self.stop_all(StopCause::RunTimeout, Stopping::Asked, out);
            }
            Input::Drain => self.close(SkipCause::Drained, out),
            Input::WorkerAway(worker) => self.queue.part_with(worker),
            Input::WorkerBack(worker) => self.queue.welcome(worker),
            Input::WorkerLost(worker) => self.lose(worker, out),
        }
        self.release(now, out);
        self.spread(now, out);
        self.start(out);
        self.wake(now, out);
        if self.begun && self.board.counts().unsettled() == 0 {
            self.done = true;
            out.push(Action::Done);
        }
        if cfg!(debug_assertions) {
            self.assert_sound();
        }
    }

    /// How many tasks are in each state.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.board.counts()
    }

    #[must_use]
    pub fn state(&self, task: TaskId) -> State {
        self.board.state(task)
    }

    #[must_use]
    pub fn is_settled(&self, task: TaskId) -> bool {
        self.state(task) == State::Settled
    }

    /// Whether [`Action::Done`] was given.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Whether something made the run stop starting what it could have started: fail-fast, a cancel, its time, a drain.
    #[must_use]
    pub fn is_cut_short(&self) -> bool {
        self.mode != Mode::Open
    }

    /// `None` until it is settled.
    #[must_use]
    pub fn result(&self, task: TaskId) -> Option<TaskResult> {
        self.board.entries[task].result
    }

    /// The worker a task was placed on; `None` when it never was.
    #[must_use]
    pub fn worker(&self, task: TaskId) -> Option<WorkerId> {
        let entry = &self.board.entries[task];
        entry.was_placed.then_some(entry.worker)
    }

    /// What was known of each worker when the next of the [`Action::Start`]s was decided; nothing where there is only one.
    /// To be asked once for each of them, in their order.
    pub fn take_loads(&mut self) -> Option<Box<[Load]>> {
        self.queue.take_loads()
    }

    /// The chain of needs that made a task be skipped, nearest first; empty when it was not skipped for a need.
    pub fn causes(&self, task: TaskId) -> impl Iterator<Item = TaskId> + '_ {
        let need = |task: TaskId| Some(self.board.entries[task].need).filter(|&need| need != task);
        successors(need(task), move |&task| need(task))
    }

    /// The task whose failure triggered a handler.
    #[must_use]
    pub fn triggered_by(&self, handler: TaskId) -> Option<TaskId> {
        self.handlers.get(&handler)?.triggered_by
    }

    fn begin(&mut self, now: Millis, out: &mut Vec<Action>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        self.began = now;
        for task in self.board.entries.ids() {
            let entry = &self.board.entries[task];
            match entry.part {
                _ if entry.state() != State::Waiting => {}
                Part::Unwanted => self.skip(task, SkipCause::NotWanted, out),
                Part::Held => self.skip(task, SkipCause::Unknown, out),
                Part::Has(result) => {
                    self.board.entries[task].result = Some(result);
                    self.settle(task);
                }
                Part::Selected if entry.open == 0 => self.ready(task, now, out),
                Part::Selected | Part::Handler | Part::Out => {}
            }
        }
    }

    /// What the process of a started task does. News of a task that is further on already is old, not wrong.
    fn advance(&mut self, task: TaskId, to: State) {
        let state = self.state(task);
        if state.is_active() && state < to {
            self.board.transition(task, to);
        }
    }

    /// A started task has its final result.
    fn finish(&mut self, task: TaskId, result: TaskResult) {
        let entry = &mut self.board.entries[task];
        debug_assert!(entry.state().is_active(), "{task:?} is settled by the caller but holds no slot");
        if entry.state().is_active() {
            entry.result = Some(result);
            self.queue.give_back(entry.class, entry.worker);
            self.settle(task);
        }
    }

    /// An attempt is over and another one follows.
    fn again(&mut self, task: TaskId, wait: Duration, avoid: Option<WorkerId>, now: Millis, out: &mut Vec<Action>) {
        let entry = &mut self.board.entries[task];
        debug_assert!(entry.state().is_active(), "{task:?} is to be tried again but holds no slot");
        if !entry.state().is_active() {
            return;
        }
        self.queue.give_back(entry.class, entry.worker);
        if let Some(avoid) = avoid {
            entry.class = self.queue.class_without(entry.class, avoid);
        }
        let (class, spared) = (entry.class, entry.outlives_failure());
        self.tried.entry(task).or_default().attempts += 1;
        self.board.transition(task, State::Held);
        match self.mode {
            Mode::Closed(cause) => self.skip(task, cause, out),
            Mode::FailFast(by) if !spared => self.skip(task, SkipCause::FailFast(by), out),
            _ if self.queue.is_dead(class) => self.skip(task, SkipCause::NoWorker, out),
            _ if wait.is_zero() => self.enqueue(task, now, out),
            _ => self.held.push(Reverse((Millis(now.0.saturating_add(millis(wait))), task))),
        }
    }

    /// Held tasks whose time has come.
    fn release(&mut self, now: Millis, out: &mut Vec<Action>) {
        while let Some(&Reverse((at, task))) = self.held.peek() {
            if at > now {
                break;
            }
            self.held.pop();
            if self.state(task) == State::Held {
                self.enqueue(task, now, out);
            }
        }
    }

    /// A task that was not started is settled for a cause of its own.
    fn skip(&mut self, task: TaskId, cause: SkipCause, out: &mut Vec<Action>) {
        let entry = &mut self.board.entries[task];
        entry.result = Some(cause.result());
        (entry.need, entry.root) = match cause {
            SkipCause::NeedFailed { need } => (need, need),
            SkipCause::NeedSkipped { need, root } => (need, root),
            _ => (task, task),
        };
        out.push(Action::Skip { task, cause });
        self.settle(task);
    }

    fn settle(&mut self, task: TaskId) {
        self.board.transition(task, State::Settled);
        self.queue.forget(task);
        self.news.push_back(task);
    }

    /// Carries the news of settled tasks as far as it goes. A queue and not a recursion, and each edge is walked once
    /// in the whole run, so a chain costs its length. Fail-fast waits until the news is out: what depends on the
    /// failure names it as its need, and only the rest names it as the reason the run stopped.
    fn spread(&mut self, now: Millis, out: &mut Vec<Action>) {
        let mut failure = None;
        loop {
            while let Some(task) = self.news.pop_front() {
                self.tell_dependents(task, now, out);
                let entry = &self.board.entries[task];
                failure = failure.or(entry.fails_run().then_some(task));
                if entry.has_failed() {
                    self.trigger_handlers(task, now, out);
                }
            }
            match failure {
                Some(by) if self.fail_fast && self.mode == Mode::Open => self.fail_fast(by, out),
                _ => return,
            }
        }
    }

    fn tell_dependents(&mut self, task: TaskId, now: Millis, out: &mut Vec<Action>) {
        for at in self.dependents.range(task) {
            let edge = self.dependents.edges[at];
            let enough = self.board.entries[task].satisfies(edge.accept_partial());
            let dependent = &mut self.board.entries[edge.to()];
            let good = enough || dependent.always;
            dependent.open -= 1;
            match dependent.state() {
                State::Waiting if !good => self.skip(edge.to(), self.board.blame(task), out),
                State::Waiting if dependent.open == 0 => self.ready(edge.to(), now, out),
                State::Out if !good => {
                    self.handlers.entry(edge.to()).or_default().blocked.get_or_insert(task);
                }
                _ => {}
            }
        }
    }

    /// Handlers run after a failure or a timeout, allowed or not, and once however many tasks name them. A partial
    /// result triggers none: the task did its work, and what depends on it is skipped with the reason.
    fn trigger_handlers(&mut self, task: TaskId, now: Millis, out: &mut Vec<Action>) {
        if self.is_closed() {
            return;
        }
        let first = self.on_failure.partition_point(|&(of, _)| of < task);
        for at in first..self.on_failure.len() {
            let (of, handler) = self.on_failure[at];
            if of != task {
                break;
            }
            let entry = &self.board.entries[handler];
            if entry.part != Part::Handler || entry.state() != State::Out {
                continue;
            }
            let open = entry.open;
            let note = self.handlers.entry(handler).or_default();
            note.triggered_by = Some(task);
            let blocked = note.blocked;
            self.board.transition(handler, State::Waiting);
            match blocked {
                Some(need) => self.skip(handler, self.board.blame(need), out),
                None if open == 0 => self.ready(handler, now, out),
                None => {}
            }
        }
    }

    /// Its needs are met; it may have to wait for its time.
    fn ready(&mut self, task: TaskId, now: Millis, out: &mut Vec<Action>) {
        let wait = self.tried.get(&task).map_or(Duration::ZERO, |tried| tried.wait);
        let at = Millis(self.began.0.saturating_add(millis(wait)));
        if at > now {
            self.board.transition(task, State::Held);
            self.held.push(Reverse((at, task)));
        } else {
            self.enqueue(task, now, out);
        }
    }

    fn enqueue(&mut self, task: TaskId, now: Millis, out: &mut Vec<Action>) {
        let entry = self.board.entries[task];
        if self.queue.is_dead(entry.class) {
            return self.skip(task, SkipCause::NoWorker, out);
        }
        self.board.transition(task, State::Ready);
        out.push(Action::Queue(task));
        self.queue.push(entry.class, entry.turn);
        if self.attempts(task) > 0 {
            return;
        }
        if let Ok(at) = self.patience.binary_search_by_key(&task, |&(task, _)| task) {
            let deadline = Millis(now.0.saturating_add(self.patience[at].1));
            self.deadlines.push(Reverse((deadline, task)));
        }
    }

    fn start(&mut self, out: &mut Vec<Action>) {
        if self.board.counts().of(State::Ready) == 0 {
            return;
        }
        self.queue.open_round(&self.board);
        while let Some((task, worker)) = self.queue.next(&self.board) {
            self.board.transition(task, State::Placed);
            self.board.entries[task].worker = worker;
            self.board.entries[task].was_placed = true;
            out.push(Action::Start { task, worker, attempt: Attempt(self.attempts(task) + 1) });
        }
    }

    fn expire(&mut self, now: Millis, out: &mut Vec<Action>) {
        while let Some(&Reverse((deadline, task))) = self.deadlines.peek() {
            if deadline > now {
                break;
            }
            self.deadlines.pop();
            if self.is_impatient(task) {
                self.skip(task, SkipCause::StartWithin, out);
            }
        }
    }

    /// Ready for its first start.
    fn is_impatient(&self, task: TaskId) -> bool {
        self.state(task) == State::Ready && self.attempts(task) == 0
    }

    /// Attempts that are over.
    fn attempts(&self, task: TaskId) -> u32 {
        self.tried.get(&task).map_or(0, |tried| tried.attempts)
    }

    /// Asks for the next deadline, unless a wake-up that comes no later is already asked for.
    fn wake(&mut self, now: Millis, out: &mut Vec<Action>) {
        self.wake = self.wake.filter(|&wake| wake > now);
        while self.deadlines.peek().is_some_and(|&Reverse((_, task))| !self.is_impatient(task)) {
            self.deadlines.pop();
        }
        while self.held.peek().is_some_and(|&Reverse((_, task))| self.state(task) != State::Held) {
            self.held.pop();
        }
        let next = [&self.deadlines, &self.held].into_iter().filter_map(|heap| Some(heap.peek()?.0.0)).min();
        if let Some(next) = next.filter(|&next| self.wake.is_none_or(|wake| next < wake)) {
            self.wake = Some(next);
            out.push(Action::WakeAt(next));
        }
    }

    fn fail_fast(&mut self, by: TaskId, out: &mut Vec<Action>) {
        self.mode = Mode::FailFast(by);
        self.skip_unstarted(SkipCause::FailFast(by), out);
        self.stop_all(StopCause::FailFast(by), Stopping::Asked, out);
    }

    /// From here nothing starts. The first to close gives the cause.
    fn close(&mut self, cause: SkipCause, out: &mut Vec<Action>) {
        if !self.is_closed() {
            self.mode = Mode::Closed(cause);
            self.begun = true;
            self.skip_unstarted(cause, out);
        }
    }

    fn is_closed(&self) -> bool {
        matches!(self.mode, Mode::Closed(_))
    }

    fn skip_unstarted(&mut self, cause: SkipCause, out: &mut Vec<Action>) {
        for task in self.board.entries.ids() {
            let entry = &self.board.entries[task];
            let spared = !self.is_closed() && entry.outlives_failure();
            if matches!(entry.state(), State::Waiting | State::Held | State::Ready) && !spared {
                self.skip(task, cause, out);
            }
        }
    }

    fn stop_all(&mut self, cause: StopCause, stopping: Stopping, out: &mut Vec<Action>) {
        let closed = self.is_closed();
        for (task, entry) in self.board.entries.iter_mut() {
            let spared = !closed && entry.outlives_failure();
            if entry.state().is_active() && entry.stopping < stopping && !spared {
                entry.stopping = stopping;
                out.push(Action::Stop { task, cause, force: stopping == Stopping::Forced });
            }
        }
    }

    /// Tasks that are ready and have nowhere to go are skipped now, those that wait when their turn comes: until then
    /// it is open whether they would have run at all.
    fn lose(&mut self, worker: WorkerId, out: &mut Vec<Action>) {
        let mut stranded = Vec::new();
        self.queue.lose(worker, &self.board, &mut stranded);
        for task in stranded {
            self.skip(task, SkipCause::NoWorker, out);
        }
    }

    /// What holds between any two steps, as far as it costs nothing that grows with the tasks.
    fn assert_sound(&self) {
        self.queue.assert_sound(&self.board);
        assert!(self.news.is_empty(), "all news is out");
        let counts = self.board.counts();
        if self.begun {
            assert_eq!(self.done, counts.unsettled() == 0, "the run is done when nothing is left");
            let goes_on = counts.active() + counts.of(State::Held) > 0 || self.queue.awaits();
            assert!(self.done || goes_on, "something runs, or nothing could go on: {counts:?}");
        }
        if self.is_closed() {
            assert_eq!(counts.unsettled(), counts.active(), "after a close only what runs is left");
        }
    }
}

/// Who waits for whom, as one flat list: the edges of a task are those between its start and the next one's.
#[derive(Debug)]
struct Dependents {
    starts: Vec<u32>,
    edges: Vec<Edge>,
}

/// The dependent's id and, in the lowest bit, whether a partial result is enough for it.
#[derive(Clone, Copy, Debug)]
struct Edge(u32);

impl Edge {
    fn new(to: TaskId, accept_partial: bool) -> Self {
        let to = u32::try_from(to.index()).expect("ids are 32 bits wide");
        assert!(to <= u32::MAX >> 1, "named limits keep every count far below 2^31");
        Self(to << 1 | u32::from(accept_partial))
    }

    fn to(self) -> TaskId {
        TaskId::from_index((self.0 >> 1) as usize)
    }

    fn accept_partial(self) -> bool {
        self.0 & 1 == 1
    }
}

impl Dependents {
    /// Also counts each task's open needs.
    fn new(tasks: &IdMap<TaskId, Item>, entries: &mut IdMap<TaskId, Entry>) -> Self {
        // A need on a task that may never be settled would wait for ever.
        let settles = |task: TaskId| !matches!(tasks[task].part, Part::Handler | Part::Out);
        let edges = || {
            let inside = tasks.iter().filter(|(_, item)| item.part != Part::Out);
            inside.flat_map(|(to, item)| item.needs.iter().map(move |need| (need, to)))
        };
        let mut starts = vec![0; tasks.len() + 1];
        for (need, to) in edges().filter(|(need, _)| settles(need.task)) {
            starts[need.task.index()] += 1;
            entries[to].open += 1;
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        // Each start is now one past the end of its task's edges, and filling from behind brings it to the first.
        let mut list = vec![Edge(0); sum as usize];
        for (need, to) in edges().rev().filter(|(need, _)| settles(need.task)) {
            let at = &mut starts[need.task.index()];
            *at -= 1;
            list[*at as usize] = Edge::new(to, need.accept_partial);
        }
        Self { starts, edges: list }
    }

    fn range(&self, task: TaskId) -> std::ops::Range<usize> {
        self.starts[task.index()] as usize..self.starts[task.index() + 1] as usize
    }
}
