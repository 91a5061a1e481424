//! A supervisor that has a guard, as on a host where the engine is not.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fleet::supervisor::frame::{Layer, Spawn, Streams};

use fleet::host::link::Alive;
use rustix::process::{Pid, Signal};

use crate::confine::holding;
use crate::world::{Engine, PATIENCE, marked, program, sh};

/// Begins a guard, as nobody where we are root: root sees everything.
fn guard() -> String {
    let fleet = env!("CARGO_BIN_EXE_fleet");
    let nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    format!("if [ $(id -u) = 0 ]; then exec {nobody} {fleet} guard; fi; exec {fleet} guard")
}

/// Whether nobody may execute our program; a checkout in a private folder cannot be tried as root.
fn can_be_tried() -> bool {
    let words = ["--reuid=65534", "--regid=65534", "--clear-groups", env!("CARGO_BIN_EXE_fleet"), "--version"];
    let is_root = rustix::process::geteuid().is_root();
    !is_root || std::process::Command::new("setpriv").args(words).output().is_ok_and(|ended| ended.status.success())
}

#[test]
fn a_task_cannot_speak_in_its_supervisors_name() {
    if !can_be_tried() {
        return;
    }
    let mut engine = Engine::start_guarded(&guard(), 0);
    fs::write(engine.dir.path().join("input"), "what it reads").unwrap();
    let look = "cat; ls -l /proc/$PPID/fd/1 && echo supervisor; \
        guard=$(awk '/^PPid/ { print $2 }' /proc/$PPID/status); ls -l /proc/$guard/fd/1 && echo guard; \
        (: > /proc/$PPID/fd/1) && echo written; ls -l /proc/$$/fd/1 > /dev/null && echo itself";
    let mut spawn = sh(look);
    // What the supervisor opens by way of its own descriptors stays open to it.
    spawn.stdin = Some(engine.dir.path().join("input").display().to_string());
    spawn.streams = Streams::Split;
    let heard = engine.run(1, &spawn);
    assert_eq!(heard.text(), "what it readsitself\n", "{heard:?}");
}

/// Long enough for a machine that has much to do, and short enough to be waited for.
const LEASE: Duration = Duration::from_secs(1);

fn leased(engine: &mut Engine) {
    engine.link.spawn(1, &program(&["/bin/sleep", "1000"])).unwrap();
    engine.until("its start", |heard| heard.get(&1).is_some_and(|heard| heard.pid.is_some()));
    assert_eq!(left(engine).len(), 1);
}

fn left(engine: &Engine) -> Vec<String> {
    marked(&engine.dir.path().join("place/runs/run.w"))
}

#[test]
fn to_wait_for_the_one_before_is_no_silence_of_the_engine() {
    let fleet = env!("CARGO_BIN_EXE_fleet");
    let held = "run=${0%/*}/place/runs/run.w; mkdir -p $run; flock $run/lock sleep 2.5 & sleep 0.3";
    let mut engine = Engine::start_guarded(&format!("{held}; exec {fleet} \"$@\""), 1000);
    assert_eq!(engine.run(1, &sh("echo it serves")).text(), "it serves\n");
}

fn signal(engine: &Engine, signal: Signal) {
    let task = i32::try_from(engine.heard[&1].pid.unwrap()).unwrap();
    let stat = fs::read_to_string(format!("/proc/{task}/stat")).unwrap();
    let supervisor = stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap();
    rustix::process::kill_process(Pid::from_raw(supervisor).unwrap(), signal).unwrap();
}

/// Beats for so long, as an engine does.
fn beat_for(engine: &mut Engine, time: Duration) -> Alive {
    let begin = Instant::now();
    let mut alive = Alive::Alive;
    while begin.elapsed() < time && alive == Alive::Alive {
        engine.link.beat();
        alive = engine.turn(LEASE / 10);
        std::thread::sleep(LEASE / 10);
    }
    alive
}

fn start(lease: Duration) -> Engine {
    let script = format!("exec {} guard", env!("CARGO_BIN_EXE_fleet"));
    Engine::start_guarded(&script, u64::try_from(lease.as_millis()).unwrap())
}

#[test]
fn the_lease_also_holds_for_a_supervisor_that_is_stopped() {
    let mut engine = start(LEASE);
    leased(&mut engine);
    assert_eq!(beat_for(&mut engine, LEASE * 2), Alive::Alive, "an engine that is heard is waited for");
    let begin = Instant::now();
    signal(&engine, Signal::STOP);
    assert_eq!(beat_for(&mut engine, PATIENCE), Alive::Closed, "the guard left");
    assert!(begin.elapsed() > LEASE && left(&engine).is_empty(), "{:?}", left(&engine));
}

/// Whoever kept its standard error is gone with the connection.
#[test]
fn a_guard_that_nobody_hears_ends_everything_all_the_same() {
    let script = format!("exec /bin/bash -c 'exec 2> >(true); exec {} guard'", env!("CARGO_BIN_EXE_fleet"));
    let mut engine = Engine::start_guarded(&script, u64::try_from(LEASE.as_millis()).unwrap());
    leased(&mut engine);
    signal(&engine, Signal::STOP);
    assert_eq!(beat_for(&mut engine, PATIENCE), Alive::Closed, "the guard left");
    assert!(left(&engine).is_empty(), "{:?}", left(&engine));
}

#[test]
fn secrets_of_a_supervisor_that_was_killed_go_with_it() {
    let mut engine = start(LEASE);
    let mut spawn = sh("echo $A; sleep 1000");
    spawn.secret_files = vec![("A".to_owned(), "as read".to_owned())];
    engine.link.spawn(1, &spawn).unwrap();
    engine.until("it says where", |heard| heard.get(&1).is_some_and(|heard| heard.text().ends_with('\n')));
    let file = PathBuf::from(engine.heard[&1].text().trim());
    assert_eq!(fs::read_to_string(&file).unwrap(), "as read");
    signal(&engine, Signal::KILL);
    assert_eq!(beat_for(&mut engine, PATIENCE), Alive::Closed, "the guard left");
    assert!(!file.exists(), "{}", file.display());
}

#[test]
fn beats_that_waited_do_not_renew_a_lease_that_was_over() {
    let mut engine = start(LEASE);
    leased(&mut engine);
    signal(&engine, Signal::STOP);
    engine.link.beat();
    engine.link.flush().unwrap();
    std::thread::sleep(LEASE + LEASE / 5);
    signal(&engine, Signal::CONT);
    assert_eq!(beat_for(&mut engine, PATIENCE), Alive::Closed, "old beats were taken for new ones");
    assert!(left(&engine).is_empty(), "{:?}", left(&engine));
}

#[test]
fn a_suspended_run_may_be_silent() {
    let mut engine = start(LEASE);
    leased(&mut engine);
    engine.link.suspend();
    assert_eq!(engine.turn(Duration::from_millis(1)), Alive::Alive);
    std::thread::sleep(LEASE * 3);
    engine.link.resume();
    assert_eq!(beat_for(&mut engine, LEASE * 2), Alive::Alive);
    assert_eq!(left(&engine).len(), 1);
}

/// A control group with a bound on memory, as a container engine makes one; its processes are gone before it is.
struct Bounded(PathBuf);

impl Bounded {
    /// The group, and what a process sees of it at `/sys/fs/cgroup` in a container. `None` where none can be made.
    fn make() -> Option<(Self, &'static str)> {
        let bound = (96 << 20).to_string();
        let versions = [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max", "memory.swap.max"),
        ];
        versions.into_iter().find_map(|(place, file, swap)| {
            let group = Self(Path::new(place).join(format!("fleet-test-{}", std::process::id())));
            fs::create_dir(&group.0).ok()?;
            fs::write(group.0.join(file), &bound).ok()?;
            let _ = fs::write(group.0.join(swap), if place.ends_with("memory") { &bound } else { "0" });
            Some((group, place))
        })
    }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        let begin = Instant::now();
        while fs::remove_dir(&self.0).is_err() && begin.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_task_that_is_too_large_for_its_container_is_told_as_such() {
    let Some((group, place)) = Bounded::make() else { return };
    let (fleet, shown) = (env!("CARGO_BIN_EXE_fleet"), group.0.display());
    let inside = format!("mount --bind {shown} {place} && exec {fleet} guard");
    let script = format!("echo $$ > {shown}/cgroup.procs && exec unshare --mount sh -c '{inside}'");
    let mut engine = Engine::start_guarded(&script, 0);
    let mut ended = |script: &str| {
        let exited = engine.run(1, &sh(script)).exited().clone();
        (exited.code, exited.signal, exited.oom_killed)
    };
    assert_eq!(ended("kill -9 $$"), (None, Some(9), false));
    assert_eq!(ended("exec tail < /dev/zero"), (None, Some(9), true));
    // The kernel picks the one or the other.
    let ended_inside = ended("tail < /dev/zero; exit $?");
    assert!([(Some(137), None, true), (None, Some(9), true)].contains(&ended_inside), "{ended_inside:?}");
    assert_eq!(ended("kill -9 $$"), (None, Some(9), false), "what happened before it is not its own");
    // It is marked as soon as it is there, which it may be a moment before.
    assert_eq!(ended("until grep -qx 1000 /proc/$$/oom_score_adj; do sleep 0.01; done"), (Some(0), None, false));
    drop(engine);
}

#[test]
fn a_hidden_supervisor_holds_tasks_and_finds_what_they_leave_as_any_other() {
    if !can_be_tried() {
        return;
    }
    let mut engine = Engine::start_guarded(&guard(), 0);
    engine.link.spawn(1, &program(&["/bin/sleep", "1000"])).unwrap();
    engine.until("its start", |heard| heard.get(&1).is_some_and(|heard| heard.pid.is_some()));
    // Whose it is, while another attempt lives, only its variables say.
    let leaves = "setsid sh -c 'setsid sleep 1000 & exec sleep 0.01' > /dev/null 2>&1 < /dev/null & wait";
    let exited = engine.run(2, &sh(leaves)).exited().clone();
    assert_eq!((exited.code, exited.leaked.len()), (Some(0), 1), "{exited:?}");
    for layer in [Layer::Bubblewrap, Layer::Landlock] {
        let heard = engine.run(3, &Spawn { confine: Some(Box::new(holding(layer))), ..sh("echo held") });
        match &heard.not_started {
            None => assert_eq!(heard.text(), "held\n", "{layer:?} {heard:?}"),
            Some(why) => println!("not tested, for want of {layer:?}: {}", why.error),
        }
    }
}
