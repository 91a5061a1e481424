//! All small worlds instead of random ones, a few too large to look at, and the rules of time and order as stories.

use std::time::{Duration, Instant};

use crate::id::{Attempt, Id, PoolId, TaskId, WorkerId};
use crate::protocol::receipt::TaskResult::{self, Fail, Partial, Pass, Skip, Timeout};
use crate::schedule::{Action, Candidates, Input, Item, Need, Part, Scheduler, SkipCause, State, StopCause, Work};
use crate::time::Millis;

use super::{Plan, World};

fn t(task: usize) -> TaskId {
    TaskId::from_index(task)
}

fn w(worker: usize) -> WorkerId {
    WorkerId::from_index(worker)
}

fn task(needs: &[usize]) -> Item {
    Item {
        part: Part::Selected,
        needs: needs.iter().map(|&need| Need { task: t(need), accept_partial: false }).collect(),
        candidates: Candidates::Any,
        uses: [].into(),
        priority: 0,
        rank: 0,
        tie: 0,
        always: false,
        allow_failure: false,
        on_failure: [].into(),
        start_within: None,
        attempts: 0,
        wait: Duration::ZERO,
        avoid: None,
    }
}

fn handler() -> Item {
    Item { part: Part::Handler, ..task(&[]) }
}

fn work(slots: &[u32], tasks: Vec<Item>) -> Work {
    let (tasks, workers) = (tasks.into(), slots.to_vec().into());
    Work { tasks, workers, pools: Vec::new().into(), max_parallel: None, fail_fast: false }
}

/// A scheduler and what it answered, for a story.
struct Tale(Scheduler);

impl Tale {
    fn of(work: Work) -> Self {
        Self(Scheduler::new(work))
    }

    /// The answer without the queueing, which every start has before it.
    fn at(&mut self, now: u64, input: Input) -> Vec<Action> {
        let mut out = Vec::new();
        self.0.step(Millis(now), input, &mut out);
        out.retain(|action| !matches!(action, Action::Queue(_)));
        out
    }

    fn begin(&mut self) -> Vec<Action> {
        self.at(0, Input::Begin)
    }

    fn ends(&mut self, task: usize, result: TaskResult) -> Vec<Action> {
        self.at(1, Input::Settled { task: t(task), result })
    }
}

fn start(task: usize, worker: usize) -> Action {
    Action::Start { task: t(task), worker: w(worker), attempt: Attempt::FIRST }
}

fn stop(task: usize, cause: StopCause) -> Action {
    Action::Stop { task: t(task), cause, force: false }
}

fn skip(task: usize, cause: SkipCause) -> Action {
    Action::Skip { task: t(task), cause }
}

/// Every graph of three tasks with every kind of edge, every outcome and every flag; with fail-fast one at a time.
/// Smaller graphs are among them, as three tasks without edges between them.
#[test]
fn every_small_world_ends_like_the_model() {
    let outcomes = [Pass, Partial, Fail];
    let flags: [fn(&mut Item); 7] = [
        |_| {},
        |item| item.always = true,
        |item| item.allow_failure = true,
        |item| item.part = Part::Unwanted,
        |item| item.part = Part::Has(Pass),
        |item| item.part = Part::Handler,
        |item| item.part = Part::Has(Fail),
    ];
    for case in 0..27 * 27 * 7 * 7 * 7 * 2 {
        let mut rest = case;
        let mut draw = |of: usize| {
            let drawn = rest % of;
            rest /= of;
            drawn
        };
        let edges = [(0, 1), (0, 2), (1, 2)].map(|(from, to)| (from, to, draw(3)));
        let plans = [(); 3].map(|()| outcomes[draw(3)]);
        let flag = [(); 3].map(|()| draw(flags.len()));
        let fail_fast = draw(2) == 1;
        // Outcomes that never come to be and acceptance of what never comes only repeat other cases.
        if edges.iter().any(|&(from, _, kind)| kind == 2 && plans[from] != Partial)
            || (0..3).any(|i| matches!(flag[i], 3 | 4 | 6) && plans[i] != Pass)
        {
            continue;
        }
        let mut tasks = vec![task(&[]), task(&[]), task(&[])];
        for (from, to, kind) in edges.into_iter().filter(|&(_, _, kind)| kind > 0) {
            let need = Need { task: t(from), accept_partial: kind == 2 };
            tasks[to].needs = tasks[to].needs.iter().copied().chain([need]).collect();
        }
        for (item, flag) in tasks.iter_mut().zip(flag) {
            flags[flag](item);
        }
        // What is no handler ignores being named as one, so the names need no cases of their own.
        tasks[0].on_failure = [t(1), t(2)].into();
        tasks[1].on_failure = [t(2), t(0)].into();
        let plans = plans.map(Plan::simple).to_vec();
        let mut world = World::new(Work { fail_fast, ..work(&[2 - u32::from(fail_fast)], tasks) }, plans.into(), 0);
        world.live();
        world.assert_like_the_model();
    }
}

/// Runs to the end with everything passing but the first. The bound is far above what a busy machine makes of a linear
/// run, and below a quadratic one.
fn live_large(work: Work, first: TaskResult) -> Scheduler {
    let began = Instant::now();
    let (mut scheduler, mut out, mut running) = (Scheduler::new(work), Vec::new(), Vec::new());
    scheduler.step(Millis(0), Input::Begin, &mut out);
    while !scheduler.is_done() {
        running.extend(out.drain(..).filter_map(|action| match action {
            Action::Start { task, .. } => Some(task),
            _ => None,
        }));
        let task = running.pop().expect("something runs until all is done");
        let result = if task == t(0) { first } else { Pass };
        scheduler.step(Millis(0), Input::Settled { task, result }, &mut out);
    }
    assert!(began.elapsed() < Duration::from_mins(1), "took {:?}", began.elapsed());
    scheduler
}

/// On a stack far too small for a recursion over the graph.
fn on_a_small_stack(run: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(128 << 10).spawn(run).expect("a thread starts");
    thread.join().expect("it ends well");
}

const LARGE: usize = 100_000;

#[test]
fn a_chain_of_any_length_costs_its_length() {
    let chain = || (0..LARGE).map(|i| if i == 0 { task(&[]) } else { task(&[i - 1]) }).collect::<Vec<_>>();
    on_a_small_stack(move || {
        let scheduler = live_large(work(&[2], chain()), Pass);
        assert_eq!(scheduler.result(t(LARGE - 1)), Some(Pass));
        let scheduler = live_large(work(&[2], chain()), Fail);
        assert_eq!(scheduler.result(t(LARGE - 1)), Some(Skip));
        assert_eq!(scheduler.causes(t(LARGE - 1)).count(), LARGE - 1);
        let scheduler = live_large(Work { fail_fast: true, ..work(&[2], chain()) }, Fail);
        assert_eq!(scheduler.causes(t(LARGE - 1)).last(), Some(t(0)), "the failure is named and not fail-fast");
    });
}

#[test]
fn a_run_of_any_width_costs_its_width() {
    let wide = || (0..LARGE).map(|i| if i == 0 { task(&[]) } else { task(&[0]) }).collect::<Vec<_>>();
    on_a_small_stack(move || {
        live_large(work(&[2], wide()), Pass);
        live_large(work(&[2000, 3], wide()), Pass);
        live_large(work(&[2], wide()), Fail);
        live_large(Work { fail_fast: true, ..work(&[2], wide()) }, Fail);
        // A bottleneck in a pool must not make the rest be walked past again and again.
        let mut tasks = wide();
        for (i, item) in tasks.iter_mut().enumerate() {
            item.uses = if i % 2 == 0 { [(PoolId::from_index(0), 1)].into() } else { [].into() };
            item.priority = i32::from(i % 2 == 0);
        }
        live_large(Work { pools: vec![1].into(), ..work(&[4], tasks) }, Pass);
    });
}

#[test]
fn starts_go_by_priority_then_rank_then_tie_then_id() {
    let mut tasks: Vec<Item> = (0..6).map(|_| task(&[])).collect();
    tasks[5].priority = 1;
    tasks[4].rank = 2;
    tasks[3].rank = 1;
    (tasks[0].tie, tasks[1].tie, tasks[2].tie) = (1, 1, 0);
    let mut tale = Tale::of(work(&[1], tasks));
    assert_eq!(tale.begin(), [start(5, 0)]);
    for (ended, next) in [(5, 4), (4, 3), (3, 2), (2, 0), (0, 1)] {
        assert_eq!(tale.ends(ended, Pass), [start(next, 0)]);
    }
    assert_eq!(tale.ends(1, Pass), [Action::Done]);
}

#[test]
fn a_task_that_does_not_fit_blocks_nobody() {
    let mut tasks: Vec<Item> = (0..3).map(|_| task(&[])).collect();
    tasks[0].uses = [(PoolId::from_index(0), 2)].into();
    tasks[1].uses = [(PoolId::from_index(0), 1)].into();
    (tasks[0].priority, tasks[1].priority) = (1, 2);
    let mut tale = Tale::of(Work { pools: vec![2].into(), ..work(&[2], tasks) });
    assert_eq!(tale.begin(), [start(1, 0), start(2, 0)]);
    assert_eq!(tale.ends(2, Pass), []);
    assert_eq!(tale.ends(1, Pass), [start(0, 0)]);
}

#[test]
fn work_goes_to_the_worker_with_the_largest_share_of_its_slots_free() {
    let tasks = (0..7).map(|_| task(&[])).collect();
    let mut tale = Tale::of(work(&[2, 4], tasks));
    let starts = [start(0, 0), start(1, 1), start(2, 1), start(3, 0), start(4, 1), start(5, 1)];
    assert_eq!(tale.begin(), starts, "of equals, the first declared");
}

#[test]
fn work_goes_where_most_of_its_inputs_are_if_a_slot_is_free_there() {
    let tasks = vec![task(&[]), task(&[0]), task(&[0]), task(&[0])];
    let mut tale = Tale::of(work(&[1, 2], tasks));
    assert_eq!(tale.begin(), [start(0, 0)]);
    let there = |task, worker, bytes| Input::There { task: t(task), worker: w(worker), bytes };
    for input in [there(1, 0, 5), there(1, 1, 3), there(1, 1, 3), there(2, 1, 1), there(3, 1, 9)] {
        assert_eq!(tale.at(0, input), [], "it starts nothing");
    }
    assert_eq!(tale.ends(0, Pass), [start(1, 1), start(2, 1), start(3, 0)], "the third does not wait for its place");
    assert_eq!(tale.at(9, there(1, 0, 50)), []);
    let again = Input::Again { task: t(1), wait: Duration::ZERO, avoid: Some(w(1)) };
    assert_eq!(tale.at(9, again), [], "what failed there does not go back, whatever is there");
    assert_eq!(tale.at(9, Input::Settled { task: t(3), result: Pass }), [nth(1, 0, 2)]);
}

#[test]
fn fail_fast_stops_all_but_what_is_there_for_failures() {
    let mut tasks = vec![task(&[]), task(&[]), task(&[]), task(&[0]), task(&[1]), task(&[1]), handler(), handler()];
    tasks[0].on_failure = [t(6)].into();
    (tasks[2].always, tasks[5].always) = (true, true);
    let mut tale = Tale::of(Work { fail_fast: true, ..work(&[3], tasks) });
    assert_eq!(tale.begin(), [start(0, 0), start(1, 0), start(2, 0)]);
    let answer = tale.ends(0, Fail);
    let (by, need) = (t(0), t(0));
    assert_eq!(
        answer,
        [
            skip(3, SkipCause::NeedFailed { need }),
            skip(4, SkipCause::FailFast(by)),
            stop(1, StopCause::FailFast(by)),
            start(6, 0)
        ]
    );
    assert_eq!(tale.ends(1, Skip), [start(5, 0)]);
    assert_eq!((tale.ends(6, Pass), tale.ends(2, Pass)), (vec![], vec![]));
    assert_eq!(tale.ends(5, Pass), [Action::Done]);
    assert_eq!((tale.0.triggered_by(t(6)), tale.0.triggered_by(t(7))), (Some(t(0)), None));
    assert_eq!(tale.0.state(t(7)), State::Out);
}

#[test]
fn what_fails_the_run_sets_off_fail_fast() {
    use crate::policy::ExitCode;
    for allowed in [false, true] {
        for result in TaskResult::ALL {
            let mut tasks = vec![task(&[]), task(&[])];
            tasks[0].allow_failure = allowed;
            let mut tale = Tale::of(Work { fail_fast: true, ..work(&[1], tasks) });
            tale.begin();
            let stops = ExitCode::fails_run(result, allowed);
            let next = if stops { vec![skip(1, SkipCause::FailFast(t(0))), Action::Done] } else { vec![start(1, 0)] };
            assert_eq!(tale.ends(0, result), next, "{result:?}, allowed: {allowed}");
            assert_eq!(tale.0.is_cut_short(), stops);
        }
    }
}

#[test]
fn a_handler_runs_once_after_a_failure_or_a_timeout_and_not_after_a_partial() {
    for (result, runs) in [(Fail, true), (Timeout, true), (Partial, false), (Pass, false)] {
        let mut tasks = vec![task(&[]), task(&[]), handler()];
        tasks[0].on_failure = [t(2)].into();
        tasks[1].on_failure = [t(2)].into();
        tasks[0].allow_failure = true;
        let mut tale = Tale::of(work(&[2], tasks));
        tale.begin();
        assert_eq!(tale.ends(0, result), if runs { vec![start(2, 0)] } else { vec![] }, "{result:?}");
        assert_eq!(tale.ends(1, result), if runs { vec![] } else { vec![Action::Done] }, "{result:?}");
    }
}

#[test]
fn a_cancel_asks_and_a_second_one_insists() {
    let mut tasks = vec![task(&[]), task(&[0]), handler()];
    tasks[0].on_failure = [t(2)].into();
    tasks[1].always = true;
    let mut tale = Tale::of(work(&[1], tasks));
    tale.begin();
    let cancelled = [skip(1, SkipCause::Cancelled), stop(0, StopCause::Cancelled)];
    assert_eq!(tale.at(1, Input::Cancel { force: false }), cancelled);
    assert_eq!(tale.at(2, Input::Cancel { force: false }), []);
    assert_eq!(tale.at(2, Input::RunTimeout), []);
    let forced = Action::Stop { task: t(0), cause: StopCause::Cancelled, force: true };
    assert_eq!(tale.at(3, Input::Cancel { force: true }), [forced]);
    assert_eq!(tale.at(4, Input::Cancel { force: true }), []);
    assert_eq!(tale.ends(0, Fail), [Action::Done], "a handler does not start after a cancel");
}

#[test]
fn the_run_timing_out_and_draining_name_themselves() {
    let run = || Tale::of(work(&[1], vec![task(&[]), task(&[])]));
    let mut tale = run();
    tale.begin();
    let timed_out = [skip(1, SkipCause::RunTimeout), stop(0, StopCause::RunTimeout)];
    assert_eq!(tale.at(1, Input::RunTimeout), timed_out);
    let mut tale = run();
    tale.begin();
    assert_eq!(tale.at(1, Input::Drain), [skip(1, SkipCause::Drained)]);
    assert_eq!(tale.at(2, Input::Cancel { force: false }), [stop(0, StopCause::Cancelled)]);
    assert_eq!(tale.ends(0, Skip), [Action::Done]);
}

#[test]
fn patience_ends_at_the_deadline_and_no_time_at_all_is_enough_for_a_free_slot() {
    let mut tasks = vec![task(&[]), task(&[]), task(&[1])];
    tasks[0].start_within = Some(Duration::ZERO);
    tasks[1].start_within = Some(Duration::from_millis(5));
    let mut tale = Tale::of(work(&[1], tasks));
    assert_eq!(tale.begin(), [start(0, 0), Action::WakeAt(Millis(5))]);
    assert_eq!(tale.at(4, Input::Tick), []);
    let answer = tale.at(5, Input::Tick);
    assert_eq!(answer, [skip(1, SkipCause::StartWithin), skip(2, SkipCause::NeedFailed { need: t(1) })]);
    assert_eq!(tale.0.result(t(1)), Some(Timeout));
}

#[test]
fn a_lost_worker_strands_what_only_it_could_run() {
    let mut tasks = vec![task(&[]), task(&[]), task(&[0]), task(&[])];
    for item in &mut tasks[..3] {
        item.candidates = Candidates::Only([w(0)].into());
    }
    let mut tale = Tale::of(work(&[1, 1], tasks));
    assert_eq!(tale.begin(), [start(0, 0), start(3, 1)]);
    assert_eq!(tale.at(1, Input::WorkerLost(w(0))), [skip(1, SkipCause::NoWorker)]);
    assert_eq!(tale.ends(0, Pass), [skip(2, SkipCause::NoWorker)], "it was open until now whether it would run");
    assert_eq!(tale.0.result(t(2)), Some(Fail));
    assert_eq!(tale.ends(3, Pass), [Action::Done]);
}

#[test]
fn nothing_to_do_is_done_at_once() {
    for tasks in [vec![], vec![Item { part: Part::Out, ..task(&[]) }, handler()]] {
        assert_eq!(Tale::of(work(&[1], tasks)).begin(), [Action::Done]);
    }
}

fn again(task: usize, wait: u64, avoid: usize) -> Input {
    Input::Again { task: t(task), wait: Duration::from_millis(wait), avoid: Some(w(avoid)) }
}

fn nth(task: usize, worker: usize, attempt: u32) -> Action {
    Action::Start { task: t(task), worker: w(worker), attempt: Attempt(attempt) }
}

#[test]
fn a_task_that_is_tried_again_waits_without_its_slot() {
    let mut tale = Tale::of(work(&[1], vec![task(&[]), task(&[])]));
    assert_eq!(tale.begin(), [start(0, 0)]);
    assert_eq!(tale.at(1, again(0, 10, 0)), [start(1, 0), Action::WakeAt(Millis(11))]);
    assert_eq!(tale.0.state(t(0)), State::Held);
    assert_eq!(tale.at(5, Input::Settled { task: t(1), result: Pass }), []);
    assert_eq!(tale.at(10, Input::Tick), []);
    assert_eq!(tale.at(11, Input::Tick), [nth(0, 0, 2)]);
    assert_eq!(tale.at(12, again(0, 0, 0)), [nth(0, 0, 3)], "no wait is none");
    assert_eq!(tale.ends(0, Pass), [Action::Done]);
}

#[test]
fn later_attempts_go_round_the_workers() {
    let mut tale = Tale::of(work(&[1, 1, 1], vec![task(&[]), task(&[])]));
    assert_eq!(tale.begin(), [start(0, 0), start(1, 1)]);
    assert_eq!(tale.at(1, again(0, 0, 0)), [nth(0, 2, 2)]);
    assert_eq!(tale.at(1, again(0, 0, 2)), [], "it waits for the one that has not failed it, although two are free");
    assert_eq!(tale.ends(1, Pass), [nth(0, 1, 3)]);
    assert_eq!(tale.at(1, again(0, 0, 1)), [nth(0, 0, 4)]);
    assert_eq!(tale.at(1, again(0, 0, 0)), [nth(0, 2, 5)], "a new round");
    assert_eq!(tale.at(1, Input::WorkerLost(w(2))), []);
    assert_eq!(tale.at(1, Input::WorkerLost(w(1))), []);
    assert_eq!(tale.at(1, again(0, 0, 2)), [nth(0, 0, 6)]);
    assert_eq!(tale.at(1, again(0, 0, 0)), [nth(0, 0, 7)], "no other is left");
    assert_eq!(tale.at(1, Input::WorkerLost(w(0))), []);
    assert_eq!(tale.at(1, again(0, 9, 0)), [skip(0, SkipCause::NoWorker), Action::Done]);
}

#[test]
fn what_may_run_nowhere_else_waits_for_a_worker_that_is_away() {
    let only = |worker| Item { candidates: Candidates::Only([w(worker)].into()), ..task(&[]) };
    let mut tale = Tale::of(work(&[2, 1], vec![only(0), only(0), only(0), only(1)]));
    assert_eq!(tale.begin(), [start(0, 0), start(1, 0), start(3, 1)]);
    assert_eq!(tale.at(1, Input::WorkerAway(w(0))), []);
    assert_eq!(tale.at(1, again(0, 0, 0)), []);
    assert_eq!(tale.ends(1, Fail), []);
    assert_eq!(tale.ends(3, Pass), [], "nothing runs and nothing is over");
    assert_eq!(tale.at(2, Input::Tick), []);
    assert_eq!(tale.at(3, Input::WorkerBack(w(0))), [nth(0, 0, 2), start(2, 0)]);
    assert_eq!(tale.at(4, Input::WorkerAway(w(0))), []);
    assert_eq!(tale.at(4, again(0, 0, 0)), []);
    assert_eq!(tale.ends(2, Pass), []);
    assert_eq!(tale.at(5, Input::WorkerLost(w(0))), [skip(0, SkipCause::NoWorker), Action::Done]);
}

#[test]
fn nothing_is_tried_again_once_the_run_is_cut_short() {
    let held = |fail_fast| {
        let mut tale = Tale::of(Work { fail_fast, ..work(&[2], vec![task(&[]), task(&[])]) });
        tale.begin();
        tale.at(1, again(0, 10, 0));
        tale
    };
    let (mut cancelled, mut failed, mut timed_out, mut drained) = (held(false), held(true), held(false), held(false));
    let answer = cancelled.at(2, Input::Cancel { force: false });
    assert_eq!(answer, [skip(0, SkipCause::Cancelled), stop(1, StopCause::Cancelled)]);
    assert_eq!(failed.ends(1, Fail), [skip(0, SkipCause::FailFast(t(1))), Action::Done]);
    let answer = timed_out.at(2, Input::RunTimeout);
    assert_eq!(answer, [skip(0, SkipCause::RunTimeout), stop(1, StopCause::RunTimeout)]);
    assert_eq!(drained.at(2, Input::Drain), [skip(0, SkipCause::Drained)]);
    let answer = drained.at(3, again(1, 10, 0));
    assert_eq!(answer, [skip(1, SkipCause::Drained), Action::Done], "what still ran is not tried again either");
}

#[test]
fn a_run_goes_on_from_where_another_one_was() {
    let mut tasks = vec![task(&[]), task(&[0]), task(&[]), task(&[2]), handler()];
    tasks[0].part = Part::Has(Fail);
    tasks[0].on_failure = [t(4)].into();
    (tasks[2].attempts, tasks[2].wait, tasks[2].avoid) = (2, Duration::from_millis(5), Some(w(0)));
    tasks[3].part = Part::Held;
    let mut tale = Tale::of(Work { fail_fast: true, ..work(&[1, 1], tasks) });
    let answer = [
        skip(3, SkipCause::Unknown),
        skip(1, SkipCause::NeedFailed { need: t(0) }),
        nth(4, 0, 1),
        Action::WakeAt(Millis(5)),
    ];
    assert_eq!(tale.begin(), answer, "an old failure blocks and calls its handler, and does not end the run");
    assert_eq!(tale.at(5, Input::Tick), [nth(2, 1, 3)]);
    assert_eq!(tale.ends(2, Fail), [], "a handler outlives other failures");
    assert_eq!(tale.ends(4, Pass), [Action::Done]);
}
