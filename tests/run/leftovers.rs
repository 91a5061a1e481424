//! That nothing is left behind, whoever dies. What is looked for are processes with a marker among their arguments,
//! which no environment that was cleared and no group that was left can hide.

use std::process::Command;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::support::{Fleet, processes, until};

/// A task that leaves daemons of every kind and then stays: a double fork into a session of its own with its streams
/// closed, one that ignores TERM, one without an environment, one in the background, one in a group of its own.
/// Each notes itself in `ready` once it is what it is. The task does `first` before it says that all five are there,
/// and `then` after it.
fn daemons(marker: &str, first: &str, then: &str) -> Fleet {
    let script = format!(
        r#"
        exec 3<&0
        (setsid sh -c 'exec </dev/null >/dev/null 2>&1 3<&-; (while :; do sleep 1 || :; done) & echo >> ready; wait' {marker} &) &
        (setsid sh -c 'trap "" TERM HUP INT; echo >> ready; while :; do sleep 1 || :; done' {marker} &) &
        (env -i /usr/bin/setsid /bin/sh -c 'trap "" TERM; echo >> ready; while :; do /bin/sleep 1; done' {marker}{BARE} </dev/null >/dev/null 2>&1 &) &
        sh -c 'echo >> ready; while :; do sleep 1; done' {marker} &
        bash -c 'set -m; sh -c "echo >> ready; while :; do sleep 1; done" {marker} & wait' {marker} &
        while [ ! -e ready ] || [ "$(wc -l < ready)" -lt 5 ]; do sleep 0.01; done
        {first}
        touch all
        {then}
        "#
    );
    Fleet::of(&format!(
        "[tasks.daemons]\nshell = 'bash'\nsh = '''{script}'''\n[tasks.after]\nneeds = ['daemons']\nrun = 'touch after'\n"
    ))
}

/// Behind the marker of the one that cleared its environment.
const BARE: &str = "-bare";

fn living(marker: &str) -> Vec<u32> {
    let bare = processes::with_argument(&format!("{marker}{BARE}"));
    processes::with_argument(marker).into_iter().chain(bare).collect()
}

fn marker(name: &str) -> String {
    format!("leftover-{name}-{}", std::process::id())
}

const STAYS: &str = "while :; do sleep 0.02 || :; done";

fn kill(pid: u32) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a pid is not 0");
    kill_process(pid, Signal::KILL).expect("it lives");
}

#[test]
fn a_killed_run_leaves_nothing() {
    let marker = marker("engine");
    let fleet = daemons(&marker, ":", STAYS);
    let mut run = fleet.start(["run"]);
    run.awaits("all");
    let supervisor = processes::supervisor(run.pid());
    assert!(living(&marker).len() >= 5);
    let killed = Instant::now();
    run.signal(Signal::KILL);
    processes::assert_gone(&marker, killed);
    processes::assert_gone(&format!("{marker}{BARE}"), killed);
    until("the supervisor left", || {
        matches!(processes::stat(supervisor).first().map(String::as_str), None | Some("Z"))
    });
    // What was recorded is there, and the directory is free again.
    drop(run);
    fleet.run(["status"]).passes().says("broken off").says("interrupted");
    assert!(fleet.run(["logs", "daemons"]).passes().stdout().is_empty());
    std::fs::remove_file(fleet.path("ready")).expect("it is there");
    fleet.file("fleet.toml", "version = 1\nname = 'again'\n[tasks.a]\nrun = 'true'\n").run(["run"]).passes();
}

#[test]
fn a_killed_supervisor_leaves_nothing_and_its_tasks_failed_in_transport() {
    let marker = marker("supervisor");
    let fleet = daemons(&marker, ":", STAYS);
    let mut run = fleet.start(["run"]);
    run.awaits("all");
    assert!(living(&marker).len() >= 5);
    let killed = Instant::now();
    kill(processes::supervisor(run.pid()));
    processes::assert_gone(&marker, killed);
    processes::assert_gone(&format!("{marker}{BARE}"), killed);
    let told = run
        .ends()
        .fails_with(9)
        .result("daemons", "fail/transport: lost: its supervisor died")
        .result("after", "skip: it needs `daemons`, which did not pass")
        .has_no_file("after");
    assert_eq!(told.receipt("daemons")["attempt"], 1);
    assert_eq!(fleet.end_record()["exit_code"], 9);
}

#[test]
fn a_killed_supervisor_takes_only_its_own_worker_with_it() {
    let fleet = Fleet::of(
        r#"
        [workers.one]
        host = "local"
        slots = 1
        [workers.two]
        host = "local"
        slots = 1
        [tasks.dies]
        worker = { id = "one" }
        sh = "echo $PPID > pid; touch begun.1; while :; do sleep 0.02; done"
        [tasks.lives]
        worker = { id = "two" }
        sh = "touch begun.2; while [ ! -e go ]; do sleep 0.01; done"
        [tasks.stranded]
        needs = [{ task = "dies" }]
        always = true
        worker = { id = "one" }
        run = "touch stranded"
        "#,
    );
    let mut run = fleet.start(["run"]);
    run.awaits("begun.1");
    run.awaits("begun.2");
    kill(fleet.read("pid").trim().parse().expect("a pid"));
    until("the loss is on record", || fleet.receipts().iter().any(|receipt| receipt["task_id"] == "stranded"));
    let fleet = fleet.file("go", "");
    run.ends()
        .fails_with(9)
        .result("dies", "fail/transport: lost: its supervisor died")
        .result("lives", "pass")
        .result("stranded", "fail/transport: every worker that it may run on is lost: `one` (its supervisor died)")
        .has_no_file("stranded");
    drop(fleet);
}

#[test]
fn a_task_that_ends_takes_its_daemons_with_it_and_names_them() {
    let marker = marker("task");
    let told = daemons(&marker, ":", "exit 0").run(["run"]).passes().has_file("after");
    assert_eq!(living(&marker), Vec::<u32>::new());
    let told = told.says("`daemons` left processes behind, which were ended: ").says(" more\n");
    let leaked = told.receipt("daemons")["leaked"].as_array().expect("it left some").len();
    assert!(leaked >= 5, "{leaked}");
}

#[test]
fn what_goes_on_forking_while_it_is_ended_is_ended() {
    let marker = marker("forks");
    // Each makes the next and goes, in sessions of their own, and in the end there is a last one.
    let script = "trap '' TERM HUP\n[ $1 -lt 2000 ] || exit 0\ntouch forking\nsetsid sh chain.sh $(($1 + 1)) $2 </dev/null >/dev/null 2>&1 &\n";
    let task =
        format!("[tasks.forks]\nsh = 'setsid sh chain.sh 0 {marker} & while [ ! -e forking ]; do sleep 0.01; done'\n");
    let told = Fleet::of(&task).file("chain.sh", script).run(["run"]).passes();
    processes::assert_gone(&marker, Instant::now());
    drop(told.result("forks", "pass"));
}

#[test]
fn a_task_over_its_time_takes_its_daemons_with_it() {
    let marker = marker("timeout");
    let fleet = daemons(&marker, "trap 'exit 0' TERM", STAYS);
    let text = fleet.read("fleet.toml").replace("[tasks.daemons]", "[tasks.daemons]\ntimeout = '5s'");
    fleet.file("fleet.toml", text).run(["run"]).fails_with(1).has_file("all").says("timeout  daemons");
    assert_eq!(living(&marker), Vec::<u32>::new());
}

#[test]
fn an_interrupted_run_takes_all_daemons_with_it() {
    let marker = marker("interrupt");
    let fleet = daemons(&marker, "trap 'touch asked; exit 0' TERM", STAYS);
    let mut run = fleet.start(["run"]);
    run.awaits("all");
    run.signal(Signal::INT);
    run.awaits("asked");
    // What it left has the rest of the grace; a second signal takes that away.
    run.signal(Signal::INT);
    run.ends().fails_with(130).result("daemons", "skip: interrupted").has_no_file("after");
    assert_eq!(living(&marker), Vec::<u32>::new());
}

#[test]
fn two_that_die_at_once_are_cleaned_up_after_by_the_next_command() {
    let marker = marker("both");
    let fleet = daemons(&marker, ":", STAYS);
    let mut run = fleet.start(["run"]);
    run.awaits("all");
    let supervisor = processes::supervisor(run.pid());
    // Both are stopped first, so that neither sees the other die.
    run.signal(Signal::STOP);
    let stop = Pid::from_raw(supervisor.cast_signed()).expect("a pid is not 0");
    kill_process(stop, Signal::STOP).expect("it lives");
    until("both stand still", || processes::is_stopped(run.pid()) && processes::is_stopped(supervisor));
    kill(supervisor);
    run.signal(Signal::KILL);
    drop(run);
    std::fs::remove_file(fleet.path("ready")).expect("it is there");
    let fleet = fleet.file("fleet.toml", "version = 1\nname = 'again'\n[tasks.a]\nrun = 'true'\n");
    fleet.run(["run"]).passes();
    processes::assert_gone(&marker, Instant::now());
    // Who left the session and cleared the environment has nothing by which a later command could know it.
    living(&marker).into_iter().for_each(kill);
}

#[test]
fn a_run_whose_session_began_outside_its_pid_namespace_ends_all_the_same() {
    // As in a container that was entered: our session and our group have the number 0 there.
    let enter = ["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let allowed = Command::new("unshare").args(enter).arg("true").status();
    if !allowed.is_ok_and(|status| status.success()) {
        eprintln!("this machine lets us make no namespace, so there is no such session");
        return;
    }
    let fleet = Fleet::of("[tasks.a]\nsh = 'kill -9 $PPID; sleep 60'\n[tasks.b]\nrun = 'touch b'");
    let mut command = Command::new("unshare");
    let program = fleet.command(["run", "--keep-going"]);
    command.args(enter).arg(program.get_program()).args(program.get_args()).current_dir(fleet.path(""));
    fleet.end(&mut command).fails_with(9).result("a", "fail/transport: lost: its supervisor died");
}
