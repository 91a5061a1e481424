//! The clocks of a task and of a run. Only a limit that is meant to run out is short, and nothing depends on how much
//! longer it took.

use std::time::Instant;

use rustix::process::Signal;

use super::support::{Fleet, processes, until};

#[test]
fn a_task_over_its_timeout_is_ended_and_says_so() {
    let begin = Instant::now();
    let told = Fleet::of(
        r#"
        [tasks.slow]
        timeout = "150ms"
        sh = "echo begun; sleep 600; echo never"
        [tasks.after]
        needs = ["slow"]
        run = "true"
        [tasks.quick]
        timeout = "10m"
        run = "true"
        "#,
    )
    .run(["run"])
    .fails_with(1)
    .result("slow", "timeout: ran longer than its timeout of 150ms")
    .result("after", "skip: it needs `slow`, which did not pass")
    .result("quick", "pass");
    assert!(begin.elapsed().as_secs() < 60);
    let receipt = told.receipt("slow");
    assert!(receipt["duration_ms"].as_u64() >= Some(150), "{receipt}");
    assert!(receipt.get("failure_kind").is_none() && receipt["score"].is_null(), "{receipt}");
}

#[test]
fn a_timeout_asks_first_and_whatever_the_task_then_says_it_was_a_timeout() {
    Fleet::of(
        r#"
        [tasks.polite]
        timeout = "2s"
        sh = "trap 'echo asked; exit 0' TERM; echo begun; while :; do sleep 0.02; done"
        "#,
    )
    .run(["run"])
    .fails_with(1)
    .prints("polite", "begun\n")
    .prints("polite", "asked\n")
    .result("polite", "timeout: ran longer than its timeout of 2s");
}

#[test]
fn only_silence_runs_into_an_idle_timeout() {
    // The one that talks takes longer than its limit; the limit is long enough for a machine under load.
    Fleet::of(
        r#"
        [workers.w]
        host = "local"
        slots = 2
        [tasks.silent]
        idle_timeout = "100ms"
        sh = "echo begun; sleep 600"
        [tasks.talks]
        idle_timeout = "2s"
        sh = "for i in 1 2 3 4 5 6 7 8 9; do echo $i >&2; sleep 0.3; done"
        "#,
    )
    .run(["run"])
    .fails_with(1)
    .result("silent", "timeout: printed nothing for its idle_timeout of 100ms")
    .result("talks", "pass");
}

#[test]
fn a_ready_task_that_nobody_starts_in_time_is_given_up() {
    // `holder` has the only slot until the other has been given up, which its receipt in the journal shows.
    let told = Fleet::of(
        r#"
        [workers.w]
        host = "local"
        slots = 1
        [tasks.holder]
        priority = 1
        sh = 'while ! grep -q "\"task_id\":\"late\".*\"result\":\"timeout\"" .fleet/runs/*/journal.jsonl; do sleep 0.02; done'
        [tasks.late]
        start_within = "100ms"
        run = "touch started"
        [tasks.patient]
        start_within = "1h"
        run = "true"
        [tasks.after]
        needs = ["late"]
        run = "true"
        "#,
    )
    .run(["run"])
    .fails_with(1)
    .result("holder", "pass")
    .result("late", "timeout: nothing was free for it within its start_within of 100ms")
    .result("patient", "pass")
    .result("after", "skip: it needs `late`, which did not pass")
    .has_no_file("started");
    assert_eq!(told.receipt("late")["attempt"], 0);
}

#[test]
fn start_within_counts_from_the_last_need() {
    Fleet::of(
        r#"
        [tasks.first]
        run = "sleep 2.5"
        [tasks.second]
        needs = ["first"]
        start_within = "2s"
        run = "true"
        "#,
    )
    .run(["run"])
    .passes();
}

#[test]
fn the_time_of_a_run_ends_all_of_it() {
    let told = Fleet::of(
        r#"
        [policies]
        timeout = "2s"
        [tasks.slow]
        sh = "trap 'echo asked; exit 3' TERM; while :; do sleep 0.02; done"
        [tasks.after]
        needs = ["slow"]
        run = "touch started"
        [tasks.finally]
        needs = ["slow"]
        always = true
        run = "touch started"
        "#,
    )
    .run(["run"])
    .fails_with(8)
    .result("slow", "skip: cancelled, because the run's timeout of 2s was over")
    .prints("slow", "asked\n")
    .has_no_file("started");
    assert_eq!(told.receipt("after")["result"], "skip");
    let fleet = told.then();
    assert_eq!(fleet.end_record()["exit_code"], 8);
}

/// STOP cannot be caught: the clock alone shows what happened.
#[test]
fn being_stopped_outright_is_no_time_of_a_task() {
    let limit = "[policies]\ntimeout = '3s'\n";
    for (engine, limit) in [(true, limit), (false, "")] {
        let fleet = Fleet::of(&format!(
            "{limit}[tasks.paused]\ntimeout = '3s'\nidle_timeout = '2900ms'\n\
             sh = 'touch begun; while [ ! -e go ]; do sleep 0.01; done'\n"
        ));
        let mut run = fleet.start(["run"]);
        run.awaits("begun");
        let mut stopped = vec![processes::supervisor(run.pid())];
        stopped.extend(engine.then_some(run.pid()));
        let send = |signal| {
            for pid in &stopped {
                let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a pid is not 0");
                rustix::process::kill_process(pid, signal).expect("it lives");
            }
        };
        send(Signal::STOP);
        until("they stand still", || stopped.iter().all(|pid| processes::is_stopped(*pid)));
        std::thread::sleep(std::time::Duration::from_millis(4200));
        let _ = fleet.clone().file("go", "");
        send(Signal::CONT);
        run.ends().passes().result("paused", "pass");
    }
}

#[test]
fn a_run_that_is_stopped_stops_its_tasks_and_their_clocks() {
    // The limit is three seconds, the pause longer than that. The task goes on only when the test says so, after the pause.
    let fleet = Fleet::of(
        r#"
        [tasks.paused]
        timeout = "3s"
        idle_timeout = "2900ms"
        sh = "sh -c 'touch begun; while [ ! -e go ]; do sleep 0.01; done' stopped-marker"
        "#,
    );
    let mut run = fleet.start(["run"]);
    run.awaits("begun");
    let pid = run.pid();
    run.signal(Signal::TSTP);
    until("fleet is stopped", || processes::is_stopped(pid));
    // Looked for each time anew: what the shell has just forked and not yet replaced has its arguments as well.
    let task =
        || processes::with_argument("stopped-marker").into_iter().filter(|pid| fleet.owns(*pid)).collect::<Vec<_>>();
    until("the task is stopped", || !task().is_empty() && task().iter().all(|pid| processes::stands_still(*pid)));
    assert!(!run.is_over());
    std::thread::sleep(std::time::Duration::from_millis(3300));
    run.signal(Signal::CONT);
    until("the task goes on", || task().iter().any(|pid| !processes::is_stopped(*pid)));
    let _ = fleet.clone().file("go", "");
    run.ends().passes().result("paused", "pass");
}
