//! What the directory of an attempt may take, on a worker whose tasks work on copies.

use std::os::unix::fs::PermissionsExt as _;

use rustix::process::Signal;

use super::support::{Fleet, until};

const WORKER: &str = "[workers.w]\nhost = 'local'\nslots = 4\ntrust = 'sandbox'\nattempt_size = '8MiB'\n";

#[test]
fn inputs_that_are_too_large_are_refused_before_they_are_sent() {
    let task = "[tasks.t]\nrun = 'true'\ninputs = ['in/*']\nretry = { initial_backoff = '0s' }\n";
    let fleet = Fleet::of(&format!("{WORKER}{task}")).file("in/a", vec![1; 5 << 20]).file("in/b", vec![2; 5 << 20]);
    let why = "fail/task: what it starts from takes 10 MiB, and `attempt_size` of worker `w` allows 8 MiB: write \
               `attempt_size = \"20MiB\"` there, or let the task declare less";
    fleet.run(["run"]).fails_with(1).result("t", why).says("allows 8 MiB");
    assert_eq!(fleet.receipt("t")["attempts"].as_array().map_or(1, Vec::len), 1, "another attempt would be in vain");
    assert!(!fleet.exists(".fleet/workers"), "nobody was told of it");
    // Where another worker has the room, the next attempt is not.
    let here = "[workers.here]\nhost = 'local'\nslots = 1\n";
    let fleet = fleet.file("fleet.toml", format!("version = 1\nname = 'story'\n{WORKER}{here}{task}"));
    fleet.run(["run"]).passes().result("t", "pass");
    assert_eq!(fleet.receipt("t")["attempts"][1]["worker_id"], "here");
}

#[test]
fn a_task_whose_directory_grows_too_large_has_failed_by_itself() {
    const FILL: &str = "head -c 16777216 /dev/zero > big; echo full";
    let fleet = Fleet::of(&format!(
        r#"{WORKER}
        [tasks.stays]
        outputs = ["out"]
        sh = "echo stays > out; {FILL}; sleep 600"
        [tasks.ends]
        artifacts = [{{ path = "out" }}]
        sh = "echo ends > out; {FILL}"
        [tasks.tidy]
        outputs = ["tidy"]
        sh = "echo tidy > tidy; head -c 4194304 /dev/zero > big"
        [tasks.judged]
        run = "true"
        scorers = [{{ kind = "command", run = ["sh", "-c", "{FILL}; sleep 600"] }}]
        "#
    ));
    let ran = fleet.run(["run", "--keep-going"]);
    if fleet.result("tidy").contains("could not be started") {
        // This machine has no sandbox.
        assert!(std::env::var_os("CI").is_none(), "{}", fleet.result("tidy"));
        let _ = ran.status();
        return;
    }
    ran.fails_with(1).says("its directory on worker `w` grew to").result("tidy", "pass");
    for task in ["stays", "ends"] {
        // How much it had written when it was seen is a matter of time.
        let result = fleet.result(task);
        assert!(result.starts_with("fail/task: its directory on worker `w` grew to "), "{result}");
        assert!(result.ends_with(" MiB; `attempt_size` allows 8 MiB"), "{result}");
    }
    assert!(fleet.exists("tidy") && !fleet.exists("out"), "what came to too much is not brought back");
    let result = fleet.result("judged");
    assert!(result.starts_with("fail/verifier: scorer ") && result.contains("`attempt_size`"), "{result}");
}

#[test]
fn what_crashed_runs_have_left_is_removed_and_told() {
    let fleet = Fleet::of(&format!("{WORKER}[tasks.t]\nrun = 'true'\n"))
        .file(".fleet/workers/w/runs/crashed.w/attempts/1/ws/closed/big", vec![1; 3 << 20])
        .file(".fleet/workers/w/cas/ab/kept", vec![1; 1000]);
    let closed = fleet.path(".fleet/workers/w/runs/crashed.w/attempts/1/ws/closed");
    std::fs::set_permissions(closed, std::fs::Permissions::from_mode(0o000)).unwrap();
    let told = "w: removed 1000 B of files that were kept and 3.0 MiB that crashed runs have left\n";
    fleet.run(["workers", "clean"]).passes().says(told);
    assert!(!fleet.exists(".fleet/workers/w"));
    fleet.run(["workers", "clean"]).passes().says("w: nothing is kept\n");
}

/// No beat tells a worker on this machine what it may remove, and what another task reads first can take long.
#[test]
fn a_directory_goes_while_another_attempt_is_prepared() {
    let tasks = "[tasks.t]\nsh = 'sleep 0.3'\n[tasks.late]\nrun = 'true'\ninputs = ['big']\n";
    let fleet = Fleet::of(&format!("{WORKER}{tasks}").replace("8MiB", "9GiB"));
    std::fs::File::create(fleet.path("big")).unwrap().set_len(8 << 30).unwrap();
    let attempts = || {
        let runs = std::fs::read_dir(fleet.path(".fleet/workers/w/runs")).into_iter().flatten().flatten();
        let all = runs.filter_map(|run| std::fs::read_dir(run.path().join("attempts")).ok());
        all.flatten().count()
    };
    let run = fleet.start(["run"]);
    until("the attempt has a directory", || attempts() == 1);
    until("its directory is gone", || attempts() == 0);
    assert_eq!(fleet.started(), ["t"]);
    run.signal(Signal::KILL);
}
