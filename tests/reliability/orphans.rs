//! What a task leaves behind in every way that there is, and who of us dies meanwhile.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::kill::child_of;
use super::row::{Row, Scale};
use super::world::{MARKER, World};

/// What the contract gives all of them to be gone.
const WITHIN: Duration = Duration::from_secs(2);

/// The longest that a task is waited for; nothing that is right comes to it.
const PATIENCE: Duration = Duration::from_mins(1);

/// Processes that nothing but their own words end. Each notes itself in `ready` once it is what it is; `@marker@` is the
/// word by which it is known.
const KINDS: [(&str, &str); 6] = [
    ("a session of its own", "setsid sh -c 'echo >> ready; while :; do sleep 1 || :; done' @marker@ &"),
    ("a double fork", "(sh -c 'echo >> ready; while :; do sleep 1; done' @marker@ &) &"),
    ("closed streams", "(setsid sh -c 'echo >> ready; exec <&- >&- 2>&-; while :; do sleep 1; done' @marker@ &) &"),
    (
        "a deaf one",
        "(setsid sh -c 'trap \"\" TERM HUP INT; echo >> ready; while :; do sleep 1 || :; done' @marker@ &) &",
    ),
    (
        "forks during the sweep",
        "(setsid sh -c 'trap \"\" TERM; echo >> ready; while :; do (sleep 1; : @marker@) & sleep 0.05; done' @marker@ &) &",
    ),
    (
        "a group of its own",
        "bash -c 'set -m; sh -c \"echo >> ready; while :; do sleep 1; done\" @marker@ & wait' @marker@ &",
    ),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dies {
    Engine,
    Supervisor,
    /// Then the next command ends what is left.
    Both,
    /// Nobody but the task, whose end it is.
    Task,
}

pub(crate) fn every_kind(scale: Scale) -> Row {
    let mut row =
        Row::new("orphans: setsid, double fork, closed stdio, TERM ignored, fork during sweep", &["alive after 2 s"]);
    let rounds = scale.of(1, 10);
    for _ in 0..rounds {
        for dies in [Dies::Engine, Dies::Supervisor, Dies::Both, Dies::Task] {
            left_by(dies, &mut row);
        }
    }
    row.tried = format!("{} processes of {} kinds", rounds * KINDS.len() * 4, KINDS.len());
    row
}

fn left_by(dies: Dies, row: &mut Row) {
    let script: String = KINDS.map(|(_, script)| script).join("\n");
    let then = if dies == Dies::Task { "while [ ! -e go ]; do sleep 0.01; done" } else { "while :; do sleep 1; done" };
    let ready =
        format!("while [ ! -e ready ] || [ $(wc -l < ready) -lt {} ]; do sleep 0.01; done; touch all", KINDS.len());
    let world = World::of("");
    let text = format!("{script}\n{ready}\n{then}\n").replace(MARKER, world.marker());
    let fleet = "version = 1\nname = 'orphans'\n[tasks.leaves]\nshell = 'bash'\nsh = '. ./leaves'\n";
    std::fs::write(world.path("leaves"), text).expect("the folder is ours");
    std::fs::write(world.path("fleet.toml"), fleet).expect("the folder is ours");
    let mut run = world.start(&[], &["run"]);
    let begin = Instant::now();
    while !world.path("all").exists() {
        assert!(begin.elapsed() < PATIENCE, "the task never began");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(world.survivors().len() >= KINDS.len(), "all of them live: {:?}", world.survivors());
    let supervisor = child_of(run.id()).expect("a run has a supervisor");
    match dies {
        Dies::Engine => send(run.id(), Signal::KILL),
        Dies::Supervisor => send(supervisor, Signal::KILL),
        Dies::Both => {
            // Both are stopped first, so that neither sees the other die.
            send(run.id(), Signal::STOP);
            send(supervisor, Signal::STOP);
            send(supervisor, Signal::KILL);
            send(run.id(), Signal::KILL);
            run.wait().expect("it is our child");
            std::fs::write(world.path("fleet.toml"), "version = 1\nname = 'next'\n[tasks.a]\nrun = 'true'\n")
                .expect("the folder is ours");
            world.run(&["run"]);
        }
        Dies::Task => std::fs::write(world.path("go"), "").expect("the folder is ours"),
    }
    let since = Instant::now();
    // The end of a task that left something is the end of that.
    let limit = if dies == Dies::Task { PATIENCE } else { WITHIN };
    while !world.survivors().is_empty() && since.elapsed() < limit {
        let over = run.try_wait().expect("it is our child").is_some();
        if over && dies == Dies::Task {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    for pid in world.survivors() {
        row.wrong("alive after 2 s", format!("{pid} when this died: {dies:?}"));
        send(pid, Signal::KILL);
    }
    run.wait().expect("it is our child");
}

fn send(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        // It may have ended by itself just before.
        let _ = kill_process(pid, signal);
    }
}
