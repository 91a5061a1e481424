//! The limits of a task, and how a person ends a run.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::behaviour::{Behaviour, Tried, alone, task};
use crate::column::Column;
use crate::hosts::processes;
use crate::seen::{Seen, holds, same};
use crate::stage::Stage;

/// Heeds no TERM, says when it has begun, and goes on for ever.
const DEAF: &str = "[tasks.a]\nsh = 'trap \"\" TERM INT HUP; echo begun; while :; do sleep 0.02 || :; done # @mark@'\n";

/// What asks it to end is heard, and it takes its time.
const POLITE: &str = r#"
[tasks.a]
sh = "trap 'echo asked; exit 0' TERM; echo begun; while :; do sleep 0.02; done # @mark@"
[tasks.after]
needs = ["a"]
run = "true"
"#;

pub(super) const ROWS: &[Behaviour] = &[
    task("a timeout", "[tasks.slow]\ntimeout = '300ms'\nsh = 'exec sleep 600 # @mark@'\n", |seen| {
        let task = seen.task("slow")?.is("timeout: ran longer than its timeout of 300ms")?;
        let took = task.number("/duration_ms")?;
        holds(&format!("it took {took} ms"), (250..60_000).contains(&took))?;
        task.says("/score", ())
    }),
    task("an idle timeout", "[tasks.silent]\nidle_timeout = '300ms'\nsh = 'echo begun; exec sleep 600'\n", |seen| {
        seen.task("silent")?.is("timeout: printed nothing for its idle_timeout of 300ms")
    }),
    task(
        "output keeps the idle timeout away",
        "[tasks.talks]\nidle_timeout = '3s'\nsh = 'for i in 1 2 3 4 5 6 7 8; do echo $i >&2; sleep 0.5; done'\n",
        |seen| seen.task("talks")?.passes_with("1\n2\n3\n4\n5\n6\n7\n8\n"),
    ),
    task(
        "TERM comes first, and last words are heard",
        r#"
        [tasks.last-words]
        timeout = "3s"
        sh = "trap 'echo asked; exit 0' TERM; echo begun; while :; do sleep 0.02; done"
        "#,
        |seen| seen.task("last-words")?.says_both()?.is("timeout: ran longer than its timeout of 3s"),
    ),
    task(
        "KILL comes after the grace",
        r#"
        [tasks.deaf]
        priority = 9
        timeout = "3s"
        sh = "trap '' TERM; while :; do sleep 0.1 || :; done # @mark@"
        "#,
        |seen| {
            let task = seen.task("deaf")?.is("timeout: ran longer than its timeout of 3s")?;
            let took = task.number("/duration_ms")?;
            holds(&format!("it took {took} ms"), (12_900..60_000).contains(&took)).map(|()| task)
        },
    ),
    alone("Ctrl-C ends a run with 130", |column| interrupted(column, Signal::INT, 130)),
    alone("TERM ends a run with 143", |column| interrupted(column, Signal::TERM, 143)),
    alone("a second Ctrl-C ends it now", |column| {
        let stage = Stage::new(column, DEAF);
        let mut run = stage.start(&["run"]);
        run.hears("a", "begun")?;
        let begin = Instant::now();
        run.signal(Signal::INT);
        std::thread::sleep(Duration::from_millis(300));
        run.signal(Signal::INT);
        let seen = run.ends();
        seen.exits(130)?;
        holds("it took the whole grace", begin.elapsed() < Duration::from_secs(9))?;
        seen.task("a")?.is("skip: interrupted").map(drop)
    }),
    alone("fail_fast cancels what runs", |column| {
        cancelled(column, 1, "skip: cancelled by fail_fast, because `fails` failed", |seconds| {
            format!("[tasks.fails]\nsh = 'sleep {seconds}; exit 1'\n[policies]\nfail_fast = true\n")
        })
    }),
    alone("the time of a whole run", |column| {
        cancelled(column, 8, "skip: cancelled, because the run's timeout of ", |seconds| {
            // A host is reached in this time as well.
            format!("[policies]\ntimeout = '{}s'\n", seconds + 6)
        })
    }),
    alone("a run that is killed leaves nothing", |column| {
        let stage = Stage::new(column, DEAF);
        let mut run = stage.start(&["run"]);
        run.hears("a", "begun")?;
        holds("it does not run", !processes::mentioning(&stage.mark).is_empty())?;
        run.signal(Signal::KILL);
        drop(run);
        let begin = Instant::now();
        while !processes::mentioning(&stage.mark).is_empty() {
            holds("it still runs after 20 seconds", begin.elapsed() < Duration::from_secs(20))?;
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }),
];

/// Cancels the polite one, which has begun before: on a busy machine that may take a second try, or a third.
fn cancelled(column: &Column, code: i32, why: &str, by: fn(u32) -> String) -> Tried {
    for seconds in [2, 15, 60] {
        let stage = Stage::new(column, &format!("{POLITE}{}", by(seconds)));
        let seen = stage.run(&["run"]);
        let task = seen.task("a")?;
        if task.lines()?.is_empty() && seconds < 60 {
            continue;
        }
        seen.exits(code)?;
        return task.ends_like(why, "")?.says_both().map(drop);
    }
    unreachable!("the last try is judged")
}

fn interrupted(column: &Column, signal: Signal, code: i32) -> Tried {
    let stage = Stage::new(column, POLITE);
    let mut run = stage.start(&["run"]);
    run.hears("a", "begun")?;
    run.signal(signal);
    let seen: Seen = run.ends();
    seen.exits(code)?;
    seen.task("a")?.is("skip: interrupted")?.says_both()?;
    same("the other", seen.task("after")?.text("/result")?, "skip")
}
