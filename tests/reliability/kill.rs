//! Whoever is killed, at whatever moment: the run goes on from there, and nothing is lost, made twice, or left behind.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::row::{Row, Scale, pseudo_random};
use super::world::{KINDS, World};

/// The engine is killed as it is about to make its n-th write, for all n until it makes fewer.
pub(crate) fn every_write() -> Row {
    every("write", 1, Row::new("SIGKILL of the engine at every write of a 40-task run, then resume", &KINDS))
}

/// The engine is killed between two writes, as it begins to wait for what happens next.
pub(crate) fn every_wait(scale: Scale) -> Row {
    let row = Row::new("SIGKILL of the engine at every wait between writes of a 40-task run, then resume", &KINDS);
    every("poll,ppoll", scale.of(3, 1), row)
}

fn every(call: &str, step: usize, mut row: Row) -> Row {
    let mut kills = 0;
    for n in (1..).step_by(step) {
        let world = World::new(40, "0.001");
        if !killed_at(call, &world, n, &["run"]) {
            break;
        }
        kills += 1;
        let what = format!("a kill at {call} {n}");
        go_on(&world, &mut row, &what);
        world.judge(40, &mut row, &what);
    }
    row.tried = format!("{kills} kills");
    row
}

/// Three kills, each in the run that goes on after the one before.
pub(crate) fn three_deep(scale: Scale) -> Row {
    let mut row = Row::new("crash during resume, three deep", &KINDS);
    let worlds = scale.of(5, 40);
    for seed in 0..worlds {
        let world = World::new(40, "0.001");
        let what = format!("three kills of seed {seed}");
        killed_at("write", &world, 20 + seed * 3, &["run"]);
        for deep in 0..3 {
            let known = world.known();
            killed_at("write", &world, 4 + (seed * 7 + deep * 5) % 40, &["resume"]);
            world.compare(&known, &mut row, &what);
        }
        go_on(&world, &mut row, &what);
        world.judge(40, &mut row, &what);
    }
    row.tried = format!("{worlds} runs, 4 kills each");
    row
}

/// Engine, supervisor or both are killed at some moment of a run of so many tasks.
pub(crate) fn any_moment(name: &'static str, moments: u64, count: usize) -> Row {
    let mut row = Row::new(name, &KINDS);
    // A task takes a few milliseconds, so the moments are of all parts of the run.
    let span = count as u64 * 2;
    for moment in 0..moments {
        let world = World::new(count, "0.002");
        let mut run = world.start(&[], &["run"]);
        std::thread::sleep(Duration::from_millis(20 + pseudo_random(moment) % span));
        let supervisor = child_of(run.id());
        let what = format!("kill {moment}");
        let whom = moment % 3;
        if whom != 0 {
            supervisor.into_iter().for_each(kill);
        }
        if whom != 1 {
            kill(run.id());
        }
        run.wait().expect("it is our child");
        go_on(&world, &mut row, &what);
        world.judge(count, &mut row, &what);
    }
    row.tried = format!("{moments} kills in runs of {count} tasks");
    row
}

/// Resumes until the run is done; at most a few times, because nothing kills it any more.
fn go_on(world: &World, row: &mut Row, what: &str) {
    for _ in 0..3 {
        let known = world.known();
        let code = world.run(&["resume"]);
        if world.run_dir().is_none() || world.records().is_empty() {
            // It was killed before it had begun, and there is nothing to go on with.
            world.run(&["run"]);
        }
        world.compare(&known, row, what);
        if code == Some(0) {
            return;
        }
    }
}

/// Whether the process came to its n-th call of that name, and was killed there.
fn killed_at(call: &str, world: &World, n: u64, words: &[&str]) -> bool {
    let (trace, inject) = (format!("trace={call}"), format!("inject={call}:signal=KILL:when={n}"));
    let strace = ["strace", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
    let status = world.start(&strace, words).wait().expect("strace is installed");
    // What the supervisor still does is its own business; the next command waits for nothing.
    status.code() != Some(0)
}

fn kill(pid: u32) {
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        // It may have ended by itself just before.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// The supervisor is the one child of the engine.
pub(super) fn child_of(pid: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}
