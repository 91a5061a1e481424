//! What a run leaves for later: the journal, receipts, the store, logs; and the commands that show them.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::Value;

use super::support::journal::{self, State, WorkerEvent, hex};
use super::support::{Fleet, processes, until};

#[test]
fn a_kept_file_is_in_the_store_under_its_digest() {
    let fleet = Fleet::of(
        r#"
        [tasks.make]
        outputs = ["app"]
        artifacts = [{ path = "app", kind = "binary", mime_type = "application/x" }, { path = "logs/*.txt", kind = "log" }]
        sh = "echo the app > app; mkdir logs; echo one > logs/1.txt; echo two > logs/2.txt; echo no > logs/3.bin"
        [tasks.later]
        needs = ["make"]
        sh = "echo changed > app; rm logs/1.txt"
        "#,
    )
    .run(["run"])
    .passes()
    .then();
    let receipt = fleet.receipt("make");
    let artifacts = receipt["artifacts"].as_array().expect("a list");
    let paths: Vec<&Value> = artifacts.iter().map(|artifact| &artifact["path"]).collect();
    assert_eq!(paths, ["app", "logs/1.txt", "logs/2.txt"]);
    for (artifact, text) in artifacts.iter().zip(["the app\n", "one\n", "two\n"]) {
        let digest = artifact["checksum"].as_str().and_then(|sum| sum.strip_prefix("sha256:")).expect("a digest");
        let kept = format!(".fleet/store/sha256/{}/{}/{digest}", &digest[..2], &digest[2..4]);
        assert_eq!(fleet.read(&kept), text);
        assert_eq!(artifact["size_bytes"], text.len());
        let sum = Command::new("sha256sum").arg(fleet.path(&kept)).output().expect("it is there").stdout;
        assert_eq!(String::from_utf8_lossy(&sum).split(' ').next(), Some(digest));
    }
    assert_eq!((&artifacts[0]["kind"], &artifacts[0]["mime_type"]), (&"binary".into(), &"application/x".into()));
    assert_eq!(receipt["outputs"][0]["digest"], artifacts[0]["checksum"]);
    assert_eq!(receipt["outputs"][0]["size_bytes"], 8);
}

#[test]
fn a_receipt_has_every_field_that_is_promised() {
    let told = Fleet::of(
        r#"
        [labels]
        team = "core"
        [tasks.all]
        inputs = ["in.txt"]
        metadata = { ticket = 7 }
        worker = { trust = "local" }
        sh = "echo said; (sleep 1000 &) ; exit 3"
        scorers = [{ kind = "exit_code", name = "code" }]
        "#,
    )
    .file("in.txt", "in")
    .run(["run"])
    .fails_with(1);
    let receipt = told.receipt("all");
    let keys: Vec<&String> = receipt.as_object().expect("an object").keys().collect();
    let want = [
        "run_id",
        "task_id",
        "worker_id",
        "completed_at",
        "result",
        "failure_kind",
        "artifacts",
        "score",
        "attempt",
        "started_at",
        "duration_ms",
        "exit_code",
        "cause",
        "attempts",
        "argv",
        "argv_digest",
        "inputs_digest",
        "fingerprint",
        "host",
        "trust",
        "scorers",
        "usage",
        "log",
        "leaked",
        "labels",
        "metadata",
        "fleet_version",
        "journal_seq",
    ];
    assert_eq!(keys, want);
    let fleet = told.then();
    let argv: Vec<&str> = receipt["argv"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert!(argv[0].starts_with('/') && argv[0].ends_with("/sh"), "{argv:?}");
    assert_eq!(argv[1..], ["-eu", "-c", "echo said; (sleep 1000 &) ; exit 3"]);
    let canonical = serde_json::to_string(&receipt["argv"]).expect("it is JSON");
    assert_eq!(receipt["argv_digest"], format!("sha256:{}", hex(canonical.as_bytes())));
    let log = fs::read(fleet.run_dir().join(receipt["log"]["path"].as_str().expect("a path"))).expect("there is a log");
    assert_eq!((log.as_slice(), &receipt["log"]["bytes"]), (&b"said\n"[..], &5.into()));
    assert_eq!(receipt["log"]["digest"], format!("sha256:{}", hex(&log)));
    assert_eq!((&receipt["log"]["truncated"], &receipt["usage"]["output_bytes"]), (&false.into(), &5.into()));
    assert!(receipt["usage"]["max_rss_bytes"].as_u64() > Some(100_000), "{receipt}");
    let leaked = receipt["leaked"][0].as_str().expect("one process was left");
    assert!(leaked.ends_with(" sleep"), "{leaked}");
    assert_eq!((&receipt["labels"]["team"], &receipt["metadata"]["ticket"]), (&"core".into(), &7.into()));
    assert_eq!((&receipt["host"], &receipt["trust"]["asked"]), (&"local".into(), &"local".into()));
    assert_eq!((&receipt["attempts"][0]["result"], &receipt["scorers"][0]["name"]), (&"fail".into(), &"code".into()));
    let records = journal::read(&fleet.run_dir());
    let record = records.iter().find(|record| record["seq"] == receipt["journal_seq"]).expect("it is there");
    assert_eq!(record["receipt"], receipt);
}

#[test]
fn the_journal_is_a_chain_that_tells_the_whole_run() {
    let fleet = Fleet::of(
        "[tasks.a]\nrun = 'true'\n[tasks.b]\nneeds = ['a']\nrun = 'false'\n[tasks.c]\nneeds = ['b']\nrun = 'true'\n\
         [tasks.unselected]\nrun = 'true'\n",
    )
    .run(["run", "c"])
    .fails_with(1)
    .then();
    // Reading it checks the chain, the sums and that there are no gaps.
    let records = journal::read(&fleet.run_dir());
    let states: Vec<String> = records[1..records.len() - 1]
        .iter()
        .map(|record| {
            let word = |key: &str| record["event"][key].as_str().expect("a word").to_owned();
            assert_eq!(record["seq"], record["event"]["seq"]);
            format!("{} {}", word("task_id"), word("state"))
        })
        .collect();
    let want = "a queued,a starting,a running,a completed,b queued,b starting,b running,b failed,c cancelled";
    assert_eq!(states.join(","), want);
    let (first, last) = (&records[0]["run"], &records[records.len() - 1]["run"]);
    let specs: Vec<&Value> = first["task_specs"].as_array().expect("a list").iter().map(|spec| &spec["id"]).collect();
    assert_eq!(
        (specs, &first["status"], &first["seed"]),
        (vec![&"a".into(), &"b".into(), &"c".into()], &"running".into(), &1.into())
    );
    assert_eq!((&last["status"], &last["exit_code"]), (&"failed".into(), &1.into()));
    assert_eq!(first["id"], last["id"]);
}

#[test]
fn a_start_is_on_record_before_the_process_and_a_result_before_what_waits_for_it() {
    // The task reads its own journal: whatever it finds there was written before it could look.
    let fleet = Fleet::of(
        r#"
        [tasks.a]
        sh = 'cat .fleet/runs/*/journal.jsonl'
        [tasks.b]
        needs = ["a"]
        sh = 'cat .fleet/runs/*/journal.jsonl'
        "#,
    )
    .run(["run", "-o", "quiet"])
    .passes()
    .then();
    assert!(
        fleet.log("a").contains(r#""task_id":"a","timestamp""#) && fleet.log("a").contains(r#""state":"starting""#)
    );
    assert!(fleet.log("b").contains(r#""task_id":"a","worker_id":"local""#), "the receipt of a");
}

#[test]
fn json_is_events_and_nothing_else() {
    let fleet = Fleet::of(
        r#"
        [tasks.a]
        sh = "echo noise; echo noise >&2"
        [tasks.b]
        needs = ["a"]
        run = "false"
        [tasks.c]
        needs = ["b"]
        run = "true"
        [tasks.d]
        run = "true"
        scorers = [{ kind = "exit_code" }, { kind = "file_exists", path = "no", required = false }]
        "#,
    );
    for words in [["run", "--json", "--color=always"], ["run", "--json", "--output=stream"], ["run", "--json", "--ci"]]
    {
        let told = fleet.run(words).fails_with(1).warns("noise").warns("to rerun");
        let mut seq = 0;
        let mut states = BTreeSet::new();
        for line in told.stdout().lines() {
            let event: WorkerEvent = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert!(event.seq > seq, "in order");
            seq = event.seq;
            assert!(event.run_id.len() > 8 && event.timestamp.ends_with('Z'), "{event:?}");
            let raw: Value = serde_json::from_str(line).expect("it was read before");
            let terminal = !matches!(event.state, State::Queued | State::Starting | State::Running);
            assert_eq!(raw["extra"].get("receipt").is_some(), terminal, "{line}");
            assert_eq!(
                event.worker_id.is_empty(),
                matches!(event.state, State::Queued | State::Cancelled { .. }),
                "{line}"
            );
            match event.state {
                State::Completed { exit_code, summary } => {
                    assert_eq!((exit_code, summary.is_some()), (Some(0), event.task_id == "d"));
                }
                State::Failed { reason, recoverable } => assert_eq!((&*reason, recoverable), ("exit code 1", false)),
                State::Cancelled { cancelled_by } => assert!(cancelled_by.is_some()),
                _ => {}
            }
            states.insert(raw["state"].as_str().expect("a state").to_owned());
        }
        assert_eq!(
            states.into_iter().collect::<Vec<_>>(),
            ["cancelled", "completed", "failed", "queued", "running", "starting"]
        );
    }
}

#[test]
fn the_latest_run_is_the_latest_also_within_a_second() {
    let mut fleet = Fleet::of("[vars]\nn = '0'\n[tasks.a]\nrun = 'echo ${vars.n}'\n");
    for n in 1..=8 {
        fleet = fleet.run(["run", "--set", &format!("n={n}")]).passes().then();
        fleet.run(["logs", "a"]).passes().says(&format!("{n}\n"));
    }
}

#[test]
fn status_tells_what_became_of_a_run() {
    let fleet = Fleet::of(
        "[tasks.a]\nrun = 'true'\n[tasks.b]\nneeds = ['a']\nrun = 'false'\n[tasks.c]\nneeds = ['b']\nrun = 'true'\n",
    );
    fleet.run(["status"]).fails_with(2);
    let fleet = fleet.run(["run"]).fails_with(1).then();
    let told =
        fleet.run(["status"]).passes().quietly().says("story  RUN: failed, exit 1").says("1 pass, 1 fail, 1 skip");
    let screen = told.screen();
    for (task, word) in [("a", "pass"), ("b", "fail"), ("c", "skip")] {
        assert!(screen.lines().any(|line| line.starts_with(task) && line.contains(word)), "{screen}");
    }
    let run = fleet.run_dir().file_name().expect("it has a name").to_string_lossy().into_owned();
    fleet.run(["status", &run]).passes().says("failed");
    fleet.run(["status", &run[..18]]).passes().says("failed");
    fleet.run(["status", "1999"]).fails_with(2).warns("no run is called `1999`");
    let told = fleet.run(["status", "latest", "--json"]).passes();
    let json: Value = serde_json::from_str(told.stdout()).expect("it is JSON");
    assert_eq!((&json["status"], &json["live"], &json["exit_code"]), (&"failed".into(), &false.into(), &1.into()));
    assert_eq!(json["task_specs"].as_array().map(Vec::len), Some(3));
    assert_eq!(json["tasks"][1]["receipt"], fleet.receipt("b"));
}

#[test]
fn a_run_can_be_watched_while_it_runs() {
    let fleet = Fleet::of(
        "[tasks.talks]\nsh = 'echo one; touch begun; while [ ! -e go ]; do sleep 0.01; done; echo two'\n\
         [tasks.waits]\nneeds = ['talks']\nrun = 'true'\n",
    );
    let mut run = fleet.start(["run"]);
    run.awaits("begun");
    // The record that it runs may come a moment after it does.
    let seen = |line: &str| line.starts_with("talks") && line.contains("running");
    until("it is seen to run", || fleet.run(["status"]).passes().screen().lines().any(seen));
    let told = fleet.run(["status"]).passes().says("RUN: running");
    let screen = told.screen();
    assert!(screen.lines().any(|line| line.starts_with("waits") && line.contains("waiting")), "{screen}");
    let json = fleet.run(["status", "--json"]).passes();
    let json: Value = serde_json::from_str(json.stdout()).expect("it is JSON");
    assert_eq!((&json["live"], &json["status"]), (&true.into(), &"running".into()));
    assert!(json["tasks"][0]["pid"].as_u64().is_some_and(|pid| fleet.owns(pid.try_into().expect("a pid"))), "{json}");
    // One follower that is there from now on, into a file of its own.
    let into = fs::File::create(fleet.path("followed")).expect("the folder is ours");
    let mut command = fleet.command(["logs", "talks", "--follow"]);
    let mut follower = command.stdout(into).spawn().expect("the program was built");
    until("the first line is followed", || fleet.read("followed") == "one\n");
    assert!(follower.try_wait().expect("it is our child").is_none(), "it goes on as long as the task does");
    fleet.run(["receipts", "show", "latest", "talks"]).fails_with(2).warns("has no receipt yet");
    let fleet = fleet.file("go", "");
    run.ends().passes();
    assert!(follower.wait().expect("it is our child").success());
    assert_eq!(fleet.read("followed"), "one\ntwo\n");
}

#[test]
fn logs_are_printed_whole_or_their_end() {
    let fleet = Fleet::of(
        "[tasks.a]\nsh = 'for i in 1 2 3 4 5; do echo line $i; done'\n[tasks.mute]\nrun = 'true'\n[tasks.no]\nneeds = ['bad']\nrun = 'true'\n[tasks.bad]\nrun = 'false'\n",
    );
    let fleet = fleet.run(["run"]).fails_with(1).then();
    let all = "line 1\nline 2\nline 3\nline 4\nline 5\n";
    let says = |told: super::support::Told, text: &str| assert_eq!(told.stdout(), text);
    says(fleet.run(["logs", "a"]).passes().quietly(), all);
    says(fleet.run(["logs", "latest", "a"]).passes(), all);
    says(fleet.run(["logs", "latest", "a", "--tail", "2"]).passes(), "line 4\nline 5\n");
    says(fleet.run(["logs", "a", "--tail=0"]).passes(), "");
    says(fleet.run(["logs", "a", "--tail=99"]).passes(), all);
    says(fleet.run(["logs", "a", "--attempt", "1", "--follow"]).passes(), all);
    says(fleet.run(["logs", "mute"]).passes(), "");
    fleet.run(["logs", "a", "--attempt", "2"]).fails_with(2).warns("no attempt 2");
    fleet.run(["logs", "no"]).fails_with(2).warns("was not started");
    fleet.run(["logs", "latest", "bat"]).fails_with(2).warns("did you mean `bad`?");
    fleet.run(["logs"]).fails_with(2);
}

#[test]
fn receipts_are_shown_as_they_are_in_the_journal() {
    let fleet = Fleet::of("[tasks.a]\nrun = 'true'\n[tasks.b]\nrun = 'true'\n").run(["run", "-j1"]).passes().then();
    let one = fleet.run(["receipts", "show", "latest", "b"]).passes();
    assert_eq!(serde_json::from_str::<Value>(one.stdout()).expect("it is JSON"), fleet.receipt("b"));
    let all = fleet.run(["receipts", "show", "latest"]).passes();
    let all: Vec<Value> = serde_json::from_str(all.stdout()).expect("it is a list");
    assert_eq!(all, [fleet.receipt("a"), fleet.receipt("b")]);
    fleet.run(["receipts", "show", "latest", "d"]).fails_with(2).warns("no task `d`");
}

#[test]
fn a_journal_that_was_changed_is_not_believed() {
    let fleet = Fleet::of("[tasks.a]\nrun = 'false'\n").run(["run"]).fails_with(1).then();
    let path = fleet.run_dir().join("journal.jsonl");
    let text = fs::read_to_string(&path).expect("it is there");
    fs::write(&path, text.replacen("\"result\":\"fail\"", "\"result\":\"pass\"", 1)).expect("it is ours");
    fleet.run(["status"]).fails_with(10);
    fleet.run(["receipts", "show", "latest"]).fails_with(10);
    // A last line that a kill cut off is no lie.
    fs::write(&path, &text[..text.len() - 20]).expect("it is ours");
    fleet.run(["status"]).passes().says("broken off").says("warning: ");
}

#[test]
fn much_output_costs_little_memory_and_its_log_is_cut_in_the_middle() {
    const MIB: u64 = 1 << 20;
    let fleet = Fleet::of(
        "[tasks.much]\nsh = 'echo the head; head -c 209715200 /dev/zero | tr \"\\\\0\" x; echo the tail; touch said; \
         while [ ! -e go ]; do sleep 0.01; done'\n",
    );
    let mut run = fleet.start(["run", "-o", "quiet"]);
    run.awaits("said");
    let (engine, supervisor) = (run.pid(), processes::supervisor(run.pid()));
    for (who, pid) in [("engine", engine), ("supervisor", supervisor)] {
        let peak = processes::memory_peak_kib(pid);
        assert!(peak < 40 << 10, "the {who} took {peak} KiB");
    }
    let fleet = fleet.file("go", "");
    let told = run.ends().passes();
    let log = &told.receipt("much")["log"];
    assert_eq!(
        (&log["truncated"], &told.receipt("much")["usage"]["output_bytes"]),
        (&true.into(), &(200 * MIB + 18).into())
    );
    let bytes = fs::read(fleet.run_dir().join("logs/much.1.log")).expect("there is a log");
    assert!((64 * MIB..64 * MIB + 100).contains(&(bytes.len() as u64)), "{}", bytes.len());
    assert_eq!(log["bytes"], bytes.len());
    assert!(
        bytes.starts_with(b"the head\nxxx") && bytes.ends_with(b"xxx\nthe tail\n") || bytes.ends_with(b"xthe tail\n")
    );
    let dropped = 136 * MIB + 18;
    let marker = format!("\n[fleet: {dropped} bytes dropped here]\n");
    assert!(bytes.windows(marker.len()).any(|window| window == marker.as_bytes()));
}
