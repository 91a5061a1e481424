//! How a person ends a run, or only puts it aside.

use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::row::{Row, Scale};
use super::world::World;

const KINDS: [&str; 4] = ["survivors", "slow ends", "false timeouts", "wrong exits"];

/// One task that hears a TERM and leaves, and one that has never heard of it, both with children.
const TWO: &str = r#"
version = 1
name = "signals"
[workers.here]
host = "local"
slots = 4
[tasks.polite]
run = ["bash", "-c", "trap 'touch asked.1; exit 0' TERM; sleep 600 & touch begun.1; while :; do sleep 0.02; done", "@marker@"]
"#;

const DEAF: &str = r#"
[tasks.deaf]
run = ["bash", "-c", "trap 'touch asked.2' TERM; (trap '' TERM; while :; do sleep 1; done) & touch begun.2; while :; do sleep 0.02; done", "@marker@"]
"#;

const TIMED: &str = r#"
version = 1
name = "signals"
[tasks.timed]
run = ["sh", "-c", "touch begun.1; sleep 1", "@marker@"]
timeout = "3s"
idle_timeout = "2500ms"
"#;

/// The second one has under a second, of which a busy machine takes its part.
const AT_ONCE: Duration = Duration::from_secs(1);

/// The longest that anything here is waited for; nothing that is right comes to it.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) fn every_kind(scale: Scale) -> Row {
    let mut row = Row::new("Ctrl-C once, twice; TERM; HUP; terminal closed; SIGTSTP and SIGCONT", &KINDS);
    let rounds = scale.of(1, 10);
    for _ in 0..rounds {
        for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 143)] {
            asked_once(signal, code, &mut row);
            asked_twice(signal, code, &mut row);
        }
        terminal_closed(&mut row);
        put_aside(&mut row);
    }
    if scale == Scale::Full {
        after_the_grace(&mut row);
    }
    row.tried = format!("{} runs", rounds * 8 + scale.of(0, 1));
    row
}

/// Who hears it leaves long before the grace is over.
fn asked_once(signal: Signal, code: i32, row: &mut Row) {
    let (world, mut run) = begun(TWO, &["begun.1"]);
    send(run.id(), signal);
    let what = format!("one {signal:?}");
    let took = ends(&mut run, Some(code), row, &what);
    if took >= fleet::engine::GRACE || !world.path("asked.1").exists() {
        row.wrong("slow ends", format!("{took:?} after {what}"));
    }
    gone(&world, row, &what);
}

fn asked_twice(signal: Signal, code: i32, row: &mut Row) {
    let (world, mut run) = begun(&format!("{TWO}{DEAF}"), &["begun.1", "begun.2"]);
    send(run.id(), signal);
    until(|| world.path("asked.2").exists());
    send(run.id(), signal);
    let what = format!("two {signal:?}");
    let took = ends(&mut run, Some(code), row, &what);
    if took >= AT_ONCE {
        row.wrong("slow ends", format!("{took:?} after {what}"));
    }
    gone(&world, row, &what);
}

/// Who does not hear it has ten seconds, and not more than the second of a kill.
fn after_the_grace(row: &mut Row) {
    let (world, mut run) = begun(&format!("{TWO}{DEAF}"), &["begun.1", "begun.2"]);
    send(run.id(), Signal::TERM);
    let took = ends(&mut run, Some(143), row, "the grace");
    if took < fleet::engine::GRACE || took > fleet::engine::GRACE + AT_ONCE {
        row.wrong("slow ends", format!("{took:?} is not the grace"));
    }
    gone(&world, row, "the grace");
}

/// `script` is the terminal; when it is killed, the terminal is closed.
fn terminal_closed(row: &mut Row) {
    let world = World::of(TWO);
    let mut terminal = world.start(
        &["env", "--default-signal=INT,TERM,HUP,TSTP", "sh", "-c", "exec script -qec \"exec $0 run\" /dev/null"],
        &[],
    );
    until(|| world.path("begun.1").exists());
    let lock = std::fs::read_to_string(world.path(".fleet/lock")).unwrap_or_default();
    send(terminal.id(), Signal::KILL);
    terminal.wait().expect("it is our child");
    // The run empties its lock as the last thing it does.
    until(|| std::fs::read_to_string(world.path(".fleet/lock")).unwrap_or_default() != lock);
    // What it still had to say may have found nobody, which is 74 and stronger.
    let said = |end: &serde_json::Value| end["run"]["exit_code"] == 143 || end["run"]["exit_code"] == 74;
    if !world.path("asked.1").exists() || !world.records().last().is_some_and(said) {
        row.wrong("wrong exits", "after the terminal was closed");
    }
    gone(&world, row, "the terminal was closed");
}

/// Stopped for longer than the task may take.
fn put_aside(row: &mut Row) {
    let (world, mut run) = begun(TIMED, &["begun.1"]);
    send(run.id(), Signal::TSTP);
    std::thread::sleep(Duration::from_secs(4));
    send(run.id(), Signal::CONT);
    ends(&mut run, None, row, "SIGTSTP and SIGCONT");
    let receipt = world.receipts().pop().unwrap_or_default();
    if receipt["result"] != "pass" {
        row.wrong("false timeouts", format!("{}", receipt["cause"]));
    }
    gone(&world, row, "SIGTSTP and SIGCONT");
}

fn begun(text: &str, files: &[&str]) -> (World, Child) {
    let world = World::of(text);
    // What the caller had ignored stays ignored, and a shell ignores Ctrl-C for what it puts in the background.
    let run = world.start(&["env", "--default-signal=INT,TERM,HUP,TSTP"], &["run"]);
    until(|| files.iter().all(|file| world.path(file).exists()));
    (world, run)
}

/// How long it took to its end.
fn ends(run: &mut Child, code: Option<i32>, row: &mut Row, what: &str) -> Duration {
    let begin = Instant::now();
    let status = run.wait().expect("it is our child");
    if code.is_some() && status.code() != code {
        row.wrong("wrong exits", format!("{status} after {what}"));
    }
    begin.elapsed()
}

/// Nothing lives once the run is over.
fn gone(world: &World, row: &mut Row, what: &str) {
    for pid in world.survivors() {
        row.wrong("survivors", format!("{pid} after {what}"));
    }
}

#[track_caller]
fn until(mut so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < PATIENCE, "waited too long");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn send(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a pid is not 0");
    kill_process(pid, signal).expect("it lives");
}
