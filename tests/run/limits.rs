//! What bounds a task bounds all it starts, also a run of its own with bounds of its own.

use super::support::Fleet;

const BOUNDS: &str = "limits = { cpu = 1, memory = '512MiB', pids = 100 }";

/// Whether this machine can; where there is CI, it has to.
fn can() -> bool {
    let story = || Fleet::of(&format!("[tasks.a]\nrun = 'true'\n{BOUNDS}\n")).run(["run"]);
    if story().status() == Some(0) {
        return true;
    }
    let screen = story().fails_with(9).says("control group").screen();
    assert!(std::env::var("CI").as_deref() != Ok("true"), "control groups have to work here: {screen}");
    println!("not tested, for want of control groups: {screen}");
    false
}

#[test]
fn a_run_within_a_run_is_held_by_the_bounds_of_both() {
    if !can() {
        return;
    }
    let exe = env!("CARGO_BIN_EXE_fleet");
    let inner = format!(
        "version = 1\nname = 'inner'\n[tasks.inner]\nsh = 'cat /proc/self/cgroup > ../inner'\n{}\n",
        "limits = { cpu = 0.5, memory = '1GiB', pids = 10 }"
    );
    let tasks = format!("[tasks.outer]\nsh = 'cat /proc/self/cgroup > outer; cd within; {exe} run'\n{BOUNDS}\n");
    let told = Fleet::of(&tasks).file("within/fleet.toml", inner).run(["run"]).passes();
    let fleet = told.then();
    let (outer, inner) = (fleet.read("outer"), fleet.read("inner"));
    let groups: Vec<&str> = outer.lines().filter(|line| line.contains("/fleet.")).collect();
    assert!(!groups.is_empty(), "{outer}");
    for group in groups {
        let below = inner.lines().any(|line| line.starts_with(&format!("{group}/fleet.")));
        assert!(below, "not in {group}, where its bounds hold: {inner}");
    }
}
