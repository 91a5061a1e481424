//! What a control group holds.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fleet::host::link::Alive;
use fleet::host::local;
use fleet::supervisor::frame::{Confine, Limits, NotStartedCause, Spawn};
use rustix::process::{Pid, Signal};

use super::confine::{held, layers};
use super::in_a_process_of_its_own;
use super::world::{Engine, PATIENCE, program, sh};

const MIB: u64 = 1 << 20;

/// Whether this machine can; where there is CI, it has to.
fn can(limits: Limits) -> bool {
    let mut engine = Engine::start();
    let trial = engine.run(9, &Spawn { limits: Some(limits), ..sh("exit 0") });
    let Some(why) = &trial.not_started else { return true };
    assert_eq!(why.cause, NotStartedCause::Confine);
    assert!(std::env::var("CI").as_deref() != Ok("true"), "control groups have to work here: {}", why.error);
    println!("not tested, for want of control groups: {}", why.error);
    false
}

/// Unheld, and by every layer there is.
fn ways(engine: &Engine, spawn: &Spawn) -> Vec<(String, Spawn)> {
    let ways = layers().into_iter().map(|layer| (format!("{layer:?}"), held(engine, layer, spawn.clone())));
    ways.chain([("unheld".to_owned(), spawn.clone())]).collect()
}

/// The folders of the groups that a process is in.
fn groups(pid: u32) -> Vec<PathBuf> {
    let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let paths = own.lines().filter_map(|line| line.rsplit_once(':')).map(|(_, path)| path.trim_start_matches('/'));
    let paths: Vec<_> = paths.filter(|path| path.contains("fleet.run.")).map(str::to_owned).collect();
    let mounts = ["", "cpu", "cpu,cpuacct", "memory", "pids", "unified"];
    let all =
        mounts.iter().flat_map(|mount| paths.iter().map(move |p| PathBuf::from("/sys/fs/cgroup").join(mount).join(p)));
    all.filter(|folder| folder.is_dir()).collect()
}

fn perl(code: &str) -> Spawn {
    program(&["/usr/bin/perl", "-e", code])
}

#[test]
fn memory_over_the_limit_ends_it_and_is_said() {
    let limits = Limits { memory_bytes: Some(64 * MIB), ..Limits::default() };
    if !can(limits) {
        return;
    }
    let mut engine = Engine::start();
    for (way, spawn) in ways(&engine, &perl("my $x = 'x' x (8 << 20); my $y = 'y' x (256 << 20); exit 3")) {
        let heard = engine.run(1, &Spawn { limits: Some(limits), ..spawn.clone() });
        assert_eq!((heard.exited().signal, heard.exited().oom_killed), (Some(9), true), "{way} {heard:?}");
        assert!(heard.mechanisms.iter().any(|name| name == "cgroup_memory"), "{:?}", heard.mechanisms);
        let roomy = Limits { memory_bytes: Some(2048 * MIB), ..limits };
        let exited = engine.run(2, &Spawn { limits: Some(roomy), ..spawn }).exited().clone();
        assert_eq!((exited.code, exited.oom_killed), (Some(3), false), "{way}");
    }
}

#[test]
fn processes_over_the_limit_are_not_made() {
    let limits = Limits { pids: Some(8), ..Limits::default() };
    if !can(limits) {
        return;
    }
    let mut engine = Engine::start();
    let code = "$SIG{TERM} = 'IGNORE'; my $n = 1; for (1..40) { my $p = fork; last unless defined $p; \
        if (!$p) { sleep 1000 } push @all, $p; $n++ } kill 'KILL', @all; 1 while wait > 0; print $n";
    for (way, spawn) in ways(&engine, &perl(code)) {
        let heard = engine.run(1, &Spawn { limits: Some(limits), ..spawn.clone() });
        assert_eq!((heard.text(), heard.exited().code), ("8", Some(0)), "{way}: the task and seven more");
        assert_eq!(engine.run(2, &spawn).text(), "41", "{way}: without a limit");
    }
}

#[test]
fn a_share_of_a_core_is_no_more_than_that() {
    let limits = Limits { cpu_milli: Some(100), ..Limits::default() };
    if !can(limits) {
        return;
    }
    let mut engine = Engine::start();
    for (way, spawn) in ways(&engine, &sh("echo on; while :; do :; done")) {
        engine.heard.remove(&1);
        engine.link.spawn(1, &Spawn { limits: Some(limits), ..spawn }).unwrap();
        engine.until("its start", |heard| heard.get(&1).is_some_and(|heard| heard.pid.is_some()));
        let folder = groups(engine.heard[&1].pid.unwrap());
        assert_eq!(folder.len(), 1, "{way}");
        // How often it was held back, not how long anything took.
        let begin = Instant::now();
        loop {
            let stat = fs::read_to_string(folder[0].join("cpu.stat")).unwrap();
            let times = stat.lines().find_map(|line| line.strip_prefix("nr_throttled ")).unwrap();
            if times.parse::<u64>().unwrap() >= 3 {
                break;
            }
            assert!(begin.elapsed() < PATIENCE, "{way} {stat}");
            engine.turn(Duration::from_millis(20));
        }
        engine.link.kill(1);
        engine.until("its end", |heard| heard[&1].over());
        assert!(!folder[0].exists(), "{way}: the group ends with its attempt");
    }
}

#[test]
fn all_of_a_task_is_in_the_group_from_its_first_moment() {
    let limits = Limits { cpu_milli: Some(2000), memory_bytes: Some(512 * MIB), pids: Some(100) };
    if !can(limits) {
        return;
    }
    let mut engine = Engine::start();
    let script = "grep -c fleet.run /proc/self/cgroup; setsid sh -c 'sleep 1000' & echo on";
    let spawn = Spawn { limits: Some(limits), ..sh(script) };
    engine.link.spawn(1, &spawn).unwrap();
    engine.said(1, "on");
    let text = engine.heard[&1].text().to_owned();
    assert_ne!(text.lines().next(), Some("0"), "{text}");
    engine.until("its end", |heard| heard[&1].over());
    let heard = &engine.heard[&1];
    assert_eq!(heard.mechanisms, ["cgroup_cpu", "cgroup_memory", "cgroup_pids"]);
    // By what name depends on how far it is.
    assert!(!heard.exited().leaked.is_empty(), "leftovers are told of as ever");
    // Reading is not held, so that it can look.
    let all = Confine { write: vec!["/tmp".into()], network: true, ..Confine::default() };
    if layers().contains(&fleet::supervisor::frame::Layer::Landlock) {
        let spawn = Spawn { limits: Some(limits), confine: Some(Box::new(all)), ..sh(script) };
        assert_ne!(engine.run(2, &spawn).text().lines().next(), Some("0"));
    }
}

#[test]
fn what_a_killed_supervisor_left_is_removed_by_the_next() {
    let limits = Limits { pids: Some(50), ..Limits::default() };
    if !can(limits) || !in_a_process_of_its_own("limits::what_a_killed_supervisor_left_is_removed_by_the_next") {
        return;
    }
    let mut engine = Engine::start();
    let spawn = Spawn { limits: Some(limits), ..sh("echo on; sleep 1000") };
    engine.link.spawn(1, &spawn).unwrap();
    engine.said(1, "on");
    engine.until("its start", |heard| heard[&1].pid.is_some());
    let folder = groups(engine.heard[&1].pid.unwrap());
    let supervisor = Pid::from_raw(engine.link.pid().cast_signed()).unwrap();
    rustix::process::kill_process(supervisor, Signal::KILL).unwrap();
    while engine.turn(Duration::from_secs(1)) == Alive::Alive {}
    assert!(local::sweep(&[]).clean);
    drop(engine);
    let mut next = Engine::start();
    assert_eq!(next.run(1, &Spawn { limits: Some(limits), ..sh("exit 5") }).exited().code, Some(5));
    assert!(!folder[0].exists());
}

#[test]
fn groups_that_were_made_in_it_go_with_it() {
    let limits = Limits { pids: Some(50), ..Limits::default() };
    if !can(limits) {
        return;
    }
    let mut engine = Engine::start();
    engine
        .link
        .spawn(1, &Spawn { limits: Some(limits), ..sh("setsid sleep 1000 & echo on; read word </dev/zero") })
        .unwrap();
    engine.said(1, "on");
    engine.until("its start", |heard| heard[&1].pid.is_some());
    let pid = engine.heard[&1].pid.unwrap();
    let folder = groups(pid);
    let deep = folder[0].join("deep/deeper");
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("cgroup.procs"), pid.to_string()).unwrap();
    engine.link.kill(1);
    engine.until("its end", |heard| heard[&1].over());
    assert!(!folder[0].exists(), "with all that is in it");
}

#[test]
fn what_cannot_be_bound_is_refused() {
    let mut engine = Engine::start();
    // More than any kernel takes for a number of processes.
    let limits = Limits { pids: Some(u32::MAX), ..Limits::default() };
    let (cause, error) = engine.not_started(&Spawn { limits: Some(limits), ..sh("echo ran") });
    assert!(cause == NotStartedCause::Confine && error.contains("control group"), "{error}");
}
