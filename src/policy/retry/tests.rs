use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::time::Stamp;

const SEED: u64 = 7;

fn record(repetition: u32, result: TaskResult, failure_kind: Option<FailureKind>) -> AttemptRecord {
    AttemptRecord {
        attempt: 1,
        worker_id: Arc::from("local"),
        started_at: Stamp(0),
        duration_ms: 0,
        result,
        failure_kind,
        cause: None,
        repetition,
        exit_code: None,
        signal: None,
        log: None,
        leaked: Vec::new(),
    }
}

fn failed(kind: FailureKind) -> AttemptRecord {
    record(0, TaskResult::Fail, Some(kind))
}

fn task(retry: Option<Retry>, repeat: Option<(u32, u32)>) -> Task {
    let repeat = repeat.map(|(runs, quorum)| Repeat { runs, quorum });
    Task { retry: retry.map(Box::new), repeat, ..crate::samples::task("test") }
}

/// The whole schedule of a task under a clock that only the waits move. The numbers are also those of
/// `printf '7\ntest\n1' | sha256sum` and pencil and paper: of 5, 10, 20, 40, 80, 160, 300 and 300 seconds.
#[test]
fn the_schedule_is_exact() {
    let retry = Retry { max_attempts: 9, ..Retry::default() };
    let task = task(Some(retry), None);
    let (mut clock, mut tried, mut starts) = (Duration::ZERO, Vec::new(), Vec::new());
    loop {
        starts.push(clock.as_millis());
        tried.push(failed(FailureKind::Task));
        match next(&task, SEED, &tried) {
            Next::Retry { attempt, of, wait } => {
                assert_eq!((attempt as usize, of), (tried.len() + 1, 9));
                clock += wait;
            }
            Next::Final => break,
            Next::Repetition { .. } => panic!("it is not repeated"),
        }
    }
    let waits: Vec<u128> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(waits, [3_282, 6_401, 11_158, 33_495, 61_270, 98_503, 152_227, 193_240]);
}

#[test]
fn the_jitter_can_be_made_again_by_hand() {
    // printf '7\ntest\n1' | sha256sum | cut -c1-16
    assert_eq!(&Digest::of(b"7\ntest\n1").to_string()[7..23], "4ffda6fda358fdbd");
    assert_eq!(format!("{:.9}", jitter(7, "test", 1)), "0.656232089");
}

#[test]
fn what_is_retried_is_what_on_names() {
    use FailureKind::{Task as T, Transport, Verifier};
    let only = |words: &str| RetryOn {
        transport: words.contains("transport"),
        task: words.contains("task"),
        timeout: words.contains("timeout"),
    };
    let ends = [
        failed(Transport),
        failed(T),
        failed(Verifier),
        record(0, TaskResult::Timeout, None),
        record(0, TaskResult::Pass, None),
        record(0, TaskResult::Partial, None),
        record(0, TaskResult::Skip, None),
    ];
    for (on, retried) in [
        (RetryOn::default(), [true, true, false, false, false, false, false]),
        (only("transport"), [true, false, false, false, false, false, false]),
        (only("task"), [false, true, false, false, false, false, false]),
        (only("timeout"), [false, false, false, true, false, false, false]),
        (only("transport task timeout"), [true, true, false, true, false, false, false]),
    ] {
        let task = task(Some(Retry { on, ..Retry::default() }), None);
        for (end, retried) in ends.iter().zip(retried) {
            let next = next(&task, SEED, std::slice::from_ref(end));
            assert_eq!(matches!(next, Next::Retry { .. }), retried, "{on:?}: {end:?}");
        }
    }
    assert_eq!(next(&task(None, None), SEED, &[failed(T)]), Next::Final, "one attempt when no table is given");
}

#[test]
fn cancelled_attempts_do_not_count() {
    let task = task(Some(Retry { max_attempts: 2, ..Retry::default() }), None);
    let tried = [record(0, TaskResult::Skip, None), failed(FailureKind::Task)];
    assert!(matches!(next(&task, SEED, &tried), Next::Retry { attempt: 2, of: 2, .. }));
    let tried = [failed(FailureKind::Task), record(0, TaskResult::Skip, None)];
    assert_eq!(next(&task, SEED, &tried), Next::Final);
}

/// All sequences of verdicts of all small repeats, against counting them in the plainest way.
#[test]
fn repetitions_stop_when_the_verdict_is_known() {
    for runs in 1..=5_u32 {
        for quorum in 1..=runs {
            for verdicts in 0..1_u32 << runs {
                let task = task(None, Some((runs, quorum)));
                let mut tried: Vec<AttemptRecord> = Vec::new();
                loop {
                    let number = repetition(&task, SEED, &tried);
                    assert_eq!(number as usize, tried.len() + 1);
                    let pass = verdicts >> (number - 1) & 1 == 1;
                    let result = if pass { TaskResult::Pass } else { TaskResult::Fail };
                    tried.push(record(number, result, (!pass).then_some(FailureKind::Task)));
                    if next(&task, SEED, &tried) == Next::Final {
                        break;
                    }
                    assert_eq!(next(&task, SEED, &tried), Next::Repetition { number: number + 1, of: runs });
                }
                let told = tally(&task, &tried).unwrap();
                let passes = verdicts.count_ones();
                assert_eq!(failure_of(&told, &tried).is_none(), passes >= quorum, "all would have said the same");
                let (open, missing) = (runs - told.done, quorum.saturating_sub(told.passed));
                assert!(missing == 0 || missing > open, "it is decided");
                let before = (told.done - 1, told.passed - u32::from(tried.last().unwrap().result == TaskResult::Pass));
                assert!(!is_decided(task.repeat.unwrap(), before), "and was not before");
            }
        }
    }
}

#[test]
fn retries_happen_within_a_repetition() {
    let task = task(Some(Retry { max_attempts: 2, ..Retry::default() }), Some((3, 2)));
    let mut tried = vec![record(1, TaskResult::Fail, Some(FailureKind::Task))];
    let first = wait(task.retry.as_deref().unwrap(), SEED, "test", 1);
    assert_eq!(next(&task, SEED, &tried), Next::Retry { attempt: 2, of: 2, wait: first });
    assert_eq!(repetition(&task, SEED, &tried), 1);
    tried.push(record(1, TaskResult::Pass, None));
    assert_eq!(next(&task, SEED, &tried), Next::Repetition { number: 2, of: 3 });
    tried.push(record(2, TaskResult::Fail, Some(FailureKind::Verifier)));
    assert_eq!(next(&task, SEED, &tried), Next::Repetition { number: 3, of: 3 }, "counts as not passed");
    tried.push(record(3, TaskResult::Fail, Some(FailureKind::Task)));
    assert_eq!(next(&task, SEED, &tried), Next::Retry { attempt: 2, of: 2, wait: first }, "counted anew");
    tried.push(record(3, TaskResult::Timeout, None));
    assert_eq!(next(&task, SEED, &tried), Next::Final);
    let told = tally(&task, &tried).unwrap();
    assert_eq!((told.done, told.passed), (3, 1));
    assert_eq!(failure_of(&told, &tried), Some(FailureKind::Task), "they have no kind in common");
    let all_transport = [1, 2].map(|n| record(n, TaskResult::Fail, Some(FailureKind::Transport)));
    let told = tally(&task, &all_transport).unwrap();
    assert_eq!(failure_of(&told, &all_transport), Some(FailureKind::Transport));
}

/// `pass@k = 1 − C(n−c,k)/C(n,k)` and `pass^k = C(c,k)/C(n,k)`, with whole numbers.
#[test]
fn the_shares_are_those_of_the_formulas() {
    fn choose(n: u32, k: u32) -> f64 {
        if k > n { 0.0 } else { (0..k).fold(1.0, |product, i| product * f64::from(n - i) / f64::from(i + 1)) }
    }
    for n in 1..=12_u32 {
        for c in 0..=n {
            let verdict = |i| if i <= c { TaskResult::Pass } else { TaskResult::Fail };
            let tried: Vec<_> = (1..=n).map(|i| record(i, verdict(i), None)).collect();
            let told = tally(&task(None, Some((n, n))), &tried).unwrap();
            for k in 1..=n {
                let (at, hat) = (told.pass_at_k[k as usize - 1], told.pass_hat_k[k as usize - 1]);
                assert!((at - (1.0 - choose(n - c, k) / choose(n, k))).abs() < 1e-9, "pass@{k} of {c}/{n}");
                assert!((hat - choose(c, k) / choose(n, k)).abs() < 1e-9, "pass^{k} of {c}/{n}");
            }
        }
    }
}

fn a_retry() -> impl Strategy<Value = Retry> {
    let ms = || prop_oneof![Just(0_u64), 1..100_u64, 1..86_400_000_u64].prop_map(Duration::from_millis);
    (ms(), ms(), prop_oneof![Just(1.0), 1.0..4.0, 1.0..1e300, Just(f64::MAX)]).prop_map(|(one, other, multiplier)| {
        Retry { initial_backoff: one.min(other), max_backoff: one.max(other), multiplier, ..Retry::default() }
    })
}

proptest! {
    #[test]
    fn waits_stay_within_their_bounds(retry in a_retry(), seed: u64, name in "[a-z]{1,9}", n in 1..1_200_u32) {
        let wait = wait(&retry, seed, &name, n);
        prop_assert_eq!(wait, super::wait(&retry, seed, &name, n), "the same again");
        prop_assert!(wait <= retry.max_backoff + Duration::from_millis(1));
        prop_assert!(wait + Duration::from_millis(1) >= retry.initial_backoff / 2);
        prop_assert!((0.5..=1.0).contains(&jitter(seed, &name, n)));
    }

    #[test]
    fn without_the_jitter_no_wait_is_shorter_than_the_one_before(retry in a_retry(), n in 1..1_000_u32) {
        let base = |n| wait(&retry, 1, "t", n).as_secs_f64() / jitter(1, "t", n);
        prop_assert!(base(n + 1) >= base(n) - 0.003);
    }

    #[test]
    fn another_seed_task_or_number_is_another_jitter(seed: u64, n in 1..1_000_u32) {
        let one = jitter(seed, "one", n);
        for other in [jitter(seed ^ 1, "one", n), jitter(seed, "other", n), jitter(seed, "one", n + 1)] {
            prop_assert!((one - other).abs() > 0.0);
        }
    }
}
