//! Hosts that are lost, in every phase of an attempt: while they are reached, while inputs go there, while the task runs,
//! while outputs come back. Two machines behind ssh, each with a network of its own: one is cut off, loses its power, or
//! only its connections. What has to hold is in `world`, which is its judge too.

mod back;
mod world;

#[path = "../hosts/mod.rs"]
mod hosts;
#[path = "../run/support/journal.rs"]
#[allow(dead_code, reason = "only what reads records is wanted here")]
mod journal;

use std::time::{Duration, Instant};

use hosts::net::Machine;
use world::{LEASE, World};

/// Runs until the machine is told to let it go on, or for ever.
const RUNS: &str = r#"
[tasks.a]
sh = """
echo begun
while [ ! -e /tmp/@mark@.go ]; do sleep 0.05; done # @mark@
echo made > made.txt
"""
outputs = ["made.txt"]
[tasks.after]
needs = ["a"]
sh = "cat made.txt"
"#;

/// What a busy machine may take on top: far from the minutes after which a connection is given up by the network itself.
const SLOW: Duration = Duration::from_secs(15);

/// How a machine may be lost while a task runs there.
type Way = (&'static str, fn(&Machine));
const WAYS: [Way; 3] =
    [("cut off", Machine::cut), ("without power", Machine::power_off), ("without its connections", Machine::kill_sshd)];

#[test]
fn a_machine_that_was_never_there() {
    for (way, lose) in WAYS {
        let Some(world) = World::new("[tasks.a]\nsh = 'echo made > made.txt'\noutputs = ['made.txt']\n") else {
            return;
        };
        lose(&world.machines[0]);
        let seen = world.start().ends();
        assert_eq!(seen.code, Some(0), "{way}: {}", seen.said);
        assert_eq!(seen.task("a")["worker_id"], "two", "{way}");
        assert_eq!(world.read("made.txt"), "made\n");
    }
}

#[test]
fn a_machine_that_is_lost_while_it_is_sent_the_supervisor() {
    let Some(world) = World::new("[tasks.a]\nsh = 'echo made > made.txt'\noutputs = ['made.txt']\n") else { return };
    world.machines.iter().for_each(Machine::slow);
    let run = world.start();
    world.until("something arrives", || world.bytes_on(0) > 1 << 20);
    world.machines[0].cut();
    let seen = run.ends();
    assert_eq!(seen.code, Some(0), "{}", seen.said);
    assert_eq!(seen.task("a")["worker_id"], "two");
}

#[test]
fn a_machine_that_is_lost_while_inputs_go_there() {
    let Some(world) =
        World::new("[tasks.a]\nsh = 'wc -c < big > made.txt'\ninputs = ['big']\noutputs = ['made.txt']\n")
    else {
        return;
    };
    world.reach_both();
    world.write("big", &world::noise(48 << 20));
    world.machines.iter().for_each(Machine::slow);
    let before = [world.bytes_on(0), world.bytes_on(1)];
    let run = world.start();
    let mut victim = 0;
    world.until("something arrives", || {
        victim = usize::from(world.bytes_on(1) > before[1] + (1 << 20));
        world.bytes_on(victim) > before[victim] + (1 << 20)
    });
    world.machines[victim].cut();
    let seen = run.ends();
    seen.done_elsewhere_once(victim, "a");
    assert_eq!(world.read("made.txt").trim(), (48 << 20).to_string());
}

#[test]
fn a_machine_that_is_lost_while_a_task_runs() {
    for (way, lose) in WAYS {
        let Some(world) = World::new(RUNS) else { return };
        world.reach_both();
        let run = world.start();
        let victim = world.where_it_runs();
        let begin = Instant::now();
        lose(&world.machines[victim]);
        world.until("it runs elsewhere", || world.runs_on(1 - victim));
        let noticed = begin.elapsed();
        assert!(noticed < LEASE + SLOW, "{way}: noticed after {noticed:?}");
        // Whoever cannot hear us ends it by itself, cut off as it is.
        world.until("nothing of it is left", || !world.runs_on(victim));
        let ended = begin.elapsed();
        assert!(ended < LEASE + SLOW, "{way}: ended after {ended:?}");
        world.go();
        let seen = run.ends();
        seen.done_elsewhere_once(victim, "a");
        assert_eq!(seen.task("after")["result"], "pass");
    }
}

#[test]
fn a_machine_that_is_lost_while_outputs_come_back() {
    let Some(world) = World::new(
        "[tasks.a]\nsh = 'head -c 67108864 /dev/urandom > made.bin; wc -c < made.bin; exit 0 # @mark@'\noutputs = ['made.bin']\n",
    ) else {
        return;
    };
    world.reach_both();
    world.machines.iter().for_each(Machine::slow);
    let mut run = world.start();
    let victim = world.where_it_runs();
    run.hears("67108864");
    world.until("its process is gone", || !world.runs_on(victim));
    world.machines[victim].cut();
    let seen = run.ends();
    seen.done_elsewhere_once(victim, "a");
    let made = std::fs::metadata(world.path("made.bin")).expect("it came from the other");
    assert_eq!(made.len(), 64 << 20);
}

#[test]
fn a_short_silence_loses_nothing() {
    let Some(world) = World::new(RUNS) else { return };
    let run = world.start();
    let there = world.where_it_runs();
    world.machines[there].cut();
    std::thread::sleep(LEASE / 3);
    world.machines[there].heal();
    std::thread::sleep(LEASE);
    assert!(world.runs_on(there) && !world.runs_on(1 - there), "it goes on where it was");
    world.go();
    let seen = run.ends();
    assert_eq!(seen.code, Some(0), "{}", seen.said);
    assert_eq!(seen.task("a")["attempts"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_result_that_comes_late_never_counts() {
    // The first attempt ends while its machine is cut off, before that machine knows; the second waits to be let go.
    let Some(world) = World::new(
        r#"
        [tasks.a]
        sh = """
        echo begun # @mark@
        if [ $FLEET_ATTEMPT = 1 ]; then sleep 0.8; echo late > made.txt; exit 0; fi
        while [ ! -e /tmp/@mark@.go ]; do sleep 0.05; done
        echo in time > made.txt
        """
        outputs = ["made.txt"]
        "#,
    ) else {
        return;
    };
    world.reach_both();
    let run = world.start();
    let victim = world.where_it_runs();
    world.machines[victim].cut();
    world.until("it runs elsewhere", || world.runs_on(1 - victim));
    world.machines[victim].heal();
    // What was under way is sent again, after a pause that is longer the longer the cable was out.
    let late = |record: &serde_json::Value| record["event"]["extra"]["late"] == true;
    world.until("it is on record", || world.records().iter().any(late));
    assert!(!world.path("made.txt").exists(), "a late output was brought back");
    world.go();
    let seen = run.ends();
    seen.done_elsewhere_once(victim, "a");
    assert_eq!(world.read("made.txt"), "in time\n");
    let late: Vec<_> = seen.records.iter().filter(|record| late(record)).collect();
    assert_eq!(late.len(), 1, "{late:?}");
    assert_eq!((&late[0]["event"]["task_id"], &late[0]["event"]["extra"]["attempt"]), (&"a".into(), &1.into()));
}

#[test]
fn all_machines_are_lost() {
    let Some(world) = World::new(RUNS) else { return };
    let run = world.start();
    world.where_it_runs();
    world.machines.iter().for_each(Machine::cut);
    let seen = run.ends();
    assert_eq!(seen.code, Some(9), "{}", seen.said);
    let receipt = seen.task("a");
    assert_eq!((&receipt["result"], &receipt["failure_kind"]), (&"fail".into(), &"transport".into()), "{receipt}");
    assert_eq!(seen.task("after")["result"], "skip");
    world.until("nothing of it is left", || !world.runs_on(0) && !world.runs_on(1));
}

#[test]
fn many_tasks_when_one_of_two_machines_is_lost() {
    let tasks = (0..40).fold(String::new(), |text, n| {
        text + &format!("[tasks.t{n}]\nsh = 'sleep 0.3; echo {n} > made.{n} # @mark@'\noutputs = ['made.{n}']\n")
    });
    let Some(world) = World::new(&tasks) else { return };
    let run = world.start();
    let victim = world.where_it_runs();
    world.until("some are done", || world.path("made.3").exists() || world.path("made.5").exists());
    world.machines[victim].power_off();
    let seen = run.ends();
    assert_eq!(seen.code, Some(0), "{}", seen.said);
    for n in 0..40 {
        assert_eq!(seen.task(&format!("t{n}"))["result"], "pass");
        assert_eq!(world.read(&format!("made.{n}")), format!("{n}\n"));
    }
}
