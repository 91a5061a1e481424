//! Machines that are lost and come back: what ran there is made again, what had not begun waits, and a machine that does not
//! come back is given up.

use super::world::World;
use super::{RUNS, WAYS};

/// All of a file's tasks for the one machine.
fn on_one(tasks: &str) -> String {
    tasks.replace("[tasks.a]\n", "[tasks.a]\nworker = { id = 'one' }\n")
}

#[test]
fn a_machine_that_comes_back_is_used_again() {
    for (way, lose) in WAYS {
        let Some(world) = World::that_waits("2m", &on_one(RUNS)) else { return };
        let run = world.start();
        world.until("it runs", || world.runs_on(0) && world.is_told());
        lose(&world.machines[0]);
        world.until("it is seen", || world.has_said("trying again for 2m"));
        world.until("nothing of it is left", || !world.runs_on(0));
        world.machines[0].heal();
        world.machines[0].power_on();
        world.until("it runs again", || world.runs_on(0));
        world.go();
        let seen = run.ends();
        assert_eq!(seen.code, Some(0), "{way}: {}", seen.said);
        assert!(world.has_said("worker `one` is back after "), "{way}: {}", seen.said);
        let receipt = seen.task("a");
        let attempts = receipt["attempts"].as_array().expect("a list");
        let shown: Vec<_> =
            attempts.iter().map(|one| (one["worker_id"].clone(), one["failure_kind"].clone())).collect();
        assert_eq!(
            shown,
            [("one".into(), "transport".into()), ("one".into(), serde_json::Value::Null)],
            "{way}: {receipt}"
        );
        assert_eq!(world.read("made.txt"), "made\n");
    }
}

#[test]
fn what_had_not_begun_waits_and_needs_no_retry() {
    let tasks = (0..12).fold(String::new(), |text, n| {
        text + &format!(
            "[tasks.t{n}]\nworker = {{ id = 'one' }}\nretry = {{ max_attempts = 1 }}\n\
             sh = 'echo begun @mark@; while [ ! -e /tmp/@mark@.go ]; do sleep 0.05; done'\n"
        )
    });
    let Some(world) = World::that_waits("2m", &tasks) else { return };
    let run = world.start();
    world.until("it runs", || world.runs_on(0) && world.is_told());
    world.machines[0].kill_sshd();
    world.until("it is seen", || world.has_said("trying again for 2m"));
    world.until("nothing of it is left", || !world.runs_on(0));
    world.go();
    world.machines[0].power_on();
    let seen = run.ends();
    assert_eq!(seen.code, Some(9), "{}", seen.said);
    let results: Vec<_> = (0..12).map(|n| seen.task(&format!("t{n}"))["result"].clone()).collect();
    let failed = results.iter().filter(|result| *result == "fail").count();
    assert!((1..=3).contains(&failed), "what held one of three slots failed: {results:?}");
    assert_eq!(results.iter().filter(|result| *result == "pass").count(), 12 - failed, "{results:?}");
}

#[test]
fn a_machine_that_does_not_come_back_is_given_up() {
    let Some(world) = World::that_waits("4s", &on_one(RUNS)) else { return };
    let run = world.start();
    world.until("it runs", || world.runs_on(0) && world.is_told());
    world.machines[0].power_off();
    let seen = run.ends();
    assert_eq!(seen.code, Some(9), "{}", seen.said);
    let receipt = seen.task("a");
    let cause = receipt["cause"].as_str().expect("a text");
    assert!(cause.contains("worker `one` was lost: ") || cause.contains("`one` (no word from it"), "{cause}");
    assert!(cause.contains("; and then: ") && cause.ends_with("given up after 4s)"), "{cause}");
    assert_eq!(seen.task("after")["result"], "skip");
}

#[test]
fn a_machine_that_was_never_there_is_waited_for_when_somebody_tries_again() {
    let Some(world) = World::that_waits("2m", &on_one(RUNS)) else { return };
    world.go();
    world.machines[0].kill_sshd();
    let run = world.start();
    world.until("it is seen", || world.has_said("trying again for 2m"));
    world.machines[0].power_on();
    let seen = run.ends();
    assert_eq!(seen.code, Some(0), "{}", seen.said);
    assert_eq!(seen.task("a")["attempts"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_machine_that_was_never_there_costs_no_time_when_nobody_tries_again() {
    let tasks = "[tasks.a]\nworker = { id = 'one' }\nretry = { max_attempts = 1 }\nrun = 'true'\n";
    let Some(world) = World::that_waits("24h", tasks) else { return };
    world.machines[0].kill_sshd();
    let seen = world.start().ends();
    assert_eq!(seen.code, Some(9), "{}", seen.said);
}

#[test]
fn a_run_that_waits_for_a_machine_can_be_cancelled() {
    let Some(world) = World::that_waits("24h", &on_one(RUNS)) else { return };
    let run = world.start();
    world.until("it runs", || world.runs_on(0) && world.is_told());
    world.machines[0].power_off();
    world.until("it is seen", || world.has_said("trying again for 1d"));
    run.interrupt();
    let seen = run.ends();
    assert_eq!(seen.code, Some(130), "{}", seen.said);
    assert_eq!(seen.task("a")["result"], "skip");
}
