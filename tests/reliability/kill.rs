//! Whoever is killed, at whatever moment: the run goes on from there, and nothing is lost, made twice, or left behind.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::row::{Row, Scale};
use super::world::{KINDS, World};

/// The engine is killed as it is about to make its n-th write, for all n until it makes fewer.
pub(crate) fn every_write() -> Row {
    let mut row = Row::new("SIGKILL of the engine at every write of a 40-task run, then resume", &KINDS);
    let mut kills = 0;
    for n in 1.. {
        let world = World::new(40, "0.001");
        if !killed_at_write(&world, n, &["run"]) {
            break;
        }
        kills += 1;
        go_on(&world, &mut row, &format!("a kill at write {n}"));
        world.judge(40, &mut row, &format!("a kill at write {n}"));
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
        killed_at_write(&world, 20 + seed * 3, &["run"]);
        for deep in 0..3 {
            let known = world.known();
            killed_at_write(&world, 4 + (seed * 7 + deep * 5) % 40, &["resume"]);
            world.compare(&known, &mut row, &what);
        }
        go_on(&world, &mut row, &what);
        world.judge(40, &mut row, &what);
    }
    row.tried = format!("{worlds} runs, 4 kills each");
    row
}

/// Engine, supervisor or both are killed at some moment.
pub(crate) fn any_moment(scale: Scale) -> Row {
    let mut row = Row::new("SIGKILL of engine, supervisor or both at random moments", &KINDS);
    let (moments, count) = (scale.of(9, 40), 400);
    for moment in 0..moments {
        let world = World::new(count, "0.002");
        let mut run = world.start(&[], &["run"]);
        std::thread::sleep(Duration::from_millis(20 + pseudo_random(moment) % 700));
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

/// Whether the process came to its n-th write, and was killed there.
fn killed_at_write(world: &World, n: u64, words: &[&str]) -> bool {
    let inject = format!("inject=write:signal=KILL:when={n}");
    let strace = ["strace", "-qq", "-o", "/dev/null", "-e", "trace=write", "-e", &inject];
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
fn child_of(pid: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// The same numbers every time, without a pattern.
fn pseudo_random(n: u64) -> u64 {
    let mut x = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
