//! What has not changed does not run again, and what does not run says on which receipt it stands.

use rustix::process::Signal;

use super::support::Fleet;

/// `up` takes the first letter of a file; `down` doubles it, and declares nothing but that it needs `up`.
const CHAIN: &str = "\
[tasks.up]
inputs = ['in.txt']
outputs = ['mid.txt']
sh = 'cut -c1 in.txt > mid.txt'

[tasks.down]
needs = ['up']
inputs = []
outputs = ['out.txt']
sh = 'cat mid.txt mid.txt > out.txt'
";

fn chain() -> Fleet {
    let fleet = Fleet::of(CHAIN).file("in.txt", "abc\n");
    fleet.run(["run"]).passes().ran("up down").reused("").file_says("out.txt", "a\na\n").then()
}

#[test]
fn what_has_not_changed_is_reused_and_cites_its_receipt() {
    let fleet = chain();
    let first = fleet.receipt("up");
    fleet.run(["run"]).passes().ran("").reused("up down").says("2 passed (2 reused)");
    let receipt = fleet.receipt("up");
    assert_eq!((&receipt["reused"]["run_id"], receipt["reused"].get("remote")), (&first["run_id"], None));
    assert_eq!(
        (&receipt["reused"]["journal_seq"], &receipt["fingerprint"]),
        (&first["journal_seq"], &first["fingerprint"])
    );
    assert_eq!(fleet.cited("up"), first);
    assert_ne!(receipt["run_id"], first["run_id"]);
    // The third run cites the first as well, not the second, in which nothing ran.
    fleet.run(["run"]).passes().reused("up down");
    assert_eq!(fleet.cited("up"), first);
}

#[test]
fn of_many_inputs_the_one_that_changed_makes_one_task_run() {
    let mut fleet = Fleet::of(
        "[tasks.t]\nmatrix = { n = [1, 2, 3, 4, 5, 6] }\ninputs = ['in.${matrix.n}']\noutputs = ['out.${matrix.n}']\n\
         run = 'cp in.${matrix.n} out.${matrix.n}'\n",
    );
    for n in 1..=6 {
        fleet = fleet.file(&format!("in.{n}"), format!("{n}"));
    }
    let fleet = fleet.run(["run"]).passes().ran("t:1 t:2 t:3 t:4 t:5 t:6").then();
    fleet.write("in.4", "four");
    let told = fleet.run(["run"]).passes().ran("t:4").reused("t:1 t:2 t:3 t:5 t:6").says("6 passed (5 reused)");
    told.file_says("out.4", "four").file_says("out.5", "5");
}

#[test]
fn an_upstream_that_makes_the_same_bytes_ends_the_run_there() {
    let fleet = chain();
    fleet.write("in.txt", "another text\n");
    fleet.run(["run"]).passes().ran("up").reused("down");
    fleet.write("in.txt", "bcd\n");
    fleet.run(["run"]).passes().ran("up down").file_says("out.txt", "b\nb\n");
    // What was seen before is known, also when other results came in between.
    fleet.write("in.txt", "abc\n");
    fleet.run(["run"]).passes().ran("").reused("up down").file_says("out.txt", "a\na\n").file_says("mid.txt", "a\n");
}

#[test]
fn only_a_pass_is_reused() {
    let fleet = Fleet::of(
        "[tasks.fails]\ninputs = []\nsh = 'exit 3'\n\
         [tasks.half]\ninputs = []\npass_score = 0.9\nrun = 'true'\nscorers = [{ kind = 'exit_code' }, { kind = 'file_exists', path = 'no', required = false }]\n\
         [tasks.slow]\ninputs = []\ntimeout = '50ms'\nrun = 'sleep 1000'\n\
         [tasks.lacks]\ninputs = []\noutputs = ['never']\nrun = 'true'\n\
         [tasks.good]\ninputs = []\nrun = 'true'\n",
    );
    let fleet = fleet.run(["run"]).fails_with(1).ran("fails half slow lacks good").then();
    let results = |fleet: &Fleet| ["fails", "half", "slow", "lacks"].map(|task| fleet.receipt(task)["result"].clone());
    assert_eq!(results(&fleet), ["fail", "partial", "timeout", "fail"]);
    let fleet = fleet.run(["run"]).fails_with(1).ran("fails half slow lacks").reused("good").then();
    assert_eq!(results(&fleet), ["fail", "partial", "timeout", "fail"]);
}

#[test]
fn what_was_interrupted_runs_again() {
    let fleet = Fleet::of(
        "[tasks.quick]\ninputs = []\nrun = 'true'\n\
         [tasks.slow]\nneeds = ['quick']\ninputs = []\nsh = 'touch begun; while [ ! -e go ]; do sleep 0.01; done'\n",
    );
    let mut run = fleet.start(["run"]);
    run.awaits("begun");
    run.signal(Signal::INT);
    run.ends().fails_with(130);
    let fleet = fleet.file("go", "");
    fleet.run(["run"]).passes().ran("slow").reused("quick");
    fleet.run(["run"]).passes().ran("").reused("quick slow");
}

#[test]
fn a_killed_run_has_kept_what_it_finished() {
    let fleet = Fleet::of(
        "[tasks.quick]\ninputs = []\noutputs = ['q']\nsh = 'echo q > q'\n\
         [tasks.slow]\nneeds = ['quick']\ninputs = []\noutputs = ['s']\n\
         sh = 'echo half > s; touch begun; while [ ! -e go ]; do sleep 0.01; done; echo whole > s'\n",
    );
    let mut run = fleet.start(["run"]);
    run.awaits("begun");
    run.signal(Signal::KILL);
    drop(run);
    let fleet = fleet.file("go", "");
    fleet.delete("q");
    fleet.run(["run"]).passes().ran("slow").reused("quick").file_says("q", "q\n").file_says("s", "whole\n");
    fleet.run(["run"]).passes().ran("").reused("quick slow");
}

#[test]
fn force_runs_what_has_not_changed() {
    let fleet = chain();
    fleet.run(["run", "--force"]).passes().ran("up down").reused("");
    // The forced results are kept like any other.
    let forced = fleet.receipt("up");
    fleet.run(["run"]).passes().ran("").reused("up down");
    assert_eq!(fleet.cited("up"), forced);
    fleet.run(["run", "--force=up"]).passes().ran("up").reused("down");
    fleet.run(["run", "--force=down"]).passes().ran("down").reused("up");
    fleet.run(["run", "--force=up", "--force=down"]).passes().ran("up down");
    fleet.run(["run", "--force=nobody"]).fails_with(2);
}

#[test]
fn a_failure_is_not_answered_with_an_older_pass() {
    let fleet = Fleet::of("[tasks.flaky]\ninputs = []\nsh = 'test ! -e undeclared'\n");
    let fleet = fleet.run(["run"]).passes().ran("flaky").then();
    let fleet = fleet.file("undeclared", "");
    fleet.run(["run"]).passes().reused("flaky");
    fleet.run(["run", "--force"]).fails_with(1).ran("flaky");
    // Nothing that is declared differs, but the last word on it was that it fails.
    fleet.run(["run"]).fails_with(1).ran("flaky").reused("");
    fleet.delete("undeclared");
    fleet.run(["run"]).passes().ran("flaky");
    fleet.run(["run"]).passes().reused("flaky");
}

#[test]
fn no_cache_reuses_nothing_and_keeps_nothing() {
    let fleet = Fleet::of(CHAIN).file("in.txt", "abc\n");
    fleet.run(["run", "--no-cache"]).passes().ran("up down").reused("");
    fleet.run(["run"]).passes().ran("up down").reused("");
    fleet.run(["run", "--no-cache"]).passes().ran("up down").reused("");
    fleet.run(["run"]).passes().ran("").reused("up down");
    fleet.write("in.txt", "xyz\n");
    fleet.run(["run", "--no-cache"]).passes().ran("up down").file_says("out.txt", "x\nx\n");
    fleet.run(["run"]).passes().ran("up down").file_says("out.txt", "x\nx\n");
}

#[test]
fn a_task_says_itself_whether_it_can_be_reused() {
    let fleet = Fleet::of(
        "[tasks.never]\ncache = false\ninputs = []\nrun = 'true'\n\
         [tasks.undeclared]\nrun = 'true'\n\
         [tasks.nothing]\ninputs = []\nrun = 'true'\n",
    );
    let fleet = fleet.run(["run"]).passes().ran("never undeclared nothing").then();
    let told = fleet.run(["run", "--explain"]).passes().ran("never undeclared").reused("nothing");
    told.says("never  it always runs: it says `cache = false`");
    for task in ["never", "undeclared"] {
        assert!(fleet.receipt(task)["fingerprint"].is_null(), "{task}");
    }
    // The default is said once for all.
    fleet.tasks("[defaults]\ncache = false\n[tasks.a]\ninputs = []\nrun = 'true'\n[tasks.b]\ncache = true\ninputs = []\nrun = 'true'\n");
    fleet.run(["run"]).passes().ran("a b");
    fleet.run(["run"]).passes().ran("a").reused("b");
}

#[test]
fn what_runs_always_lets_its_dependents_be_when_it_makes_the_same() {
    let fleet = Fleet::of(
        "[tasks.up]\noutputs = ['mid.txt']\nsh = 'cat in.txt > mid.txt'\n\
         [tasks.down]\nneeds = ['up']\ninputs = []\noutputs = ['out.txt']\nsh = 'cat mid.txt > out.txt'\n",
    )
    .file("in.txt", "one");
    let fleet = fleet.run(["run"]).passes().ran("up down").then();
    fleet.run(["run"]).passes().ran("up").reused("down");
    fleet.write("in.txt", "two");
    fleet.run(["run"]).passes().ran("up down").file_says("out.txt", "two");
}

#[test]
fn an_order_only_need_comes_first_and_carries_nothing() {
    let fleet = Fleet::of(&CHAIN.replace("needs = ['up']", "needs = [{ task = 'up', order_only = true }]"));
    let fleet = fleet.file("in.txt", "abc\n");
    let fleet = fleet.run(["run"]).passes().ran("up down").then();
    assert_eq!(fleet.started(), ["up", "down"]);
    fleet.write("in.txt", "xyz\n");
    fleet.run(["run"]).passes().ran("up").reused("down").file_says("out.txt", "a\na\n");
    fleet.reword("{ task = 'up', order_only = true }", "'up'");
    fleet.run(["run"]).passes().ran("down").reused("up").file_says("out.txt", "x\nx\n");
}

#[test]
fn a_selection_is_reused_like_a_whole() {
    let fleet = chain();
    fleet.run(["run", "down"]).passes().ran("").reused("up down");
    fleet.write("in.txt", "zyx\n");
    fleet.run(["run", "up"]).passes().ran("up");
    fleet.run(["run", "down"]).passes().ran("down").reused("up").file_says("out.txt", "z\nz\n");
}

#[test]
fn a_need_that_failed_and_was_forgiven_is_no_ground_to_stand_on() {
    let fleet = Fleet::of(
        "[tasks.up]\ninputs = ['in.txt']\nallow_failure = true\nsh = 'test ! -s in.txt'\n\
         [tasks.down]\nneeds = ['up']\ninputs = []\nrun = 'true'\n",
    )
    .file("in.txt", "");
    let fleet = fleet.run(["run"]).passes().ran("up down").then();
    fleet.run(["run"]).passes().reused("up down");
    fleet.write("in.txt", "bad");
    fleet.run(["run"]).passes().ran("up down").reused("");
    fleet.run(["run", "--explain"]).passes().ran("up down").says("down  it needs `up`, which did not pass");
    fleet.write("in.txt", "");
    fleet.run(["run"]).passes().reused("up down");
}

#[test]
fn a_pass_does_not_outlive_the_leave_to_write() {
    let task = "[tasks.t]\ninputs = []\nsh = 'echo 1 > a'\nwritable_paths = ['a']\n";
    let fleet = Fleet::of(task).run(["run"]).passes().ran("t").then();
    fleet.run(["run"]).passes().reused("t");
    fleet.reword("writable_paths = ['a']", "writable_paths = ['b']");
    fleet.run(["run"]).fails_with(1).ran("t").says("`a` was written, which is outside its writable_paths");
    fleet.reword("writable_paths = ['b']", "writable_paths = ['a']");
    fleet.run(["run"]).passes().reused("t");
}

#[test]
fn explain_names_the_reasons() {
    let fleet = Fleet::of(
        "[tasks.t]\ninputs = ['*.in']\nenv = { LEVEL = '1' }\nrun = 'true'\n[tasks.u]\nneeds = ['v']\ninputs = []\nrun = 'true'\n\
         [tasks.v]\ninputs = ['v.txt']\noutputs = ['w']\nsh = 'cat v.txt > w'\n",
    );
    let fleet = fleet.file("a.in", "").file("b.in", "").file("v.txt", "1");
    let told = fleet.run(["run", "--explain"]).passes();
    let fleet = told.says("why      t  it has no earlier result here").then();
    fleet.run(["run", "--explain"]).passes().never_says("why ");
    let why = |what: &str| {
        let told = fleet.run(["run", "--explain"]).passes();
        told.says(&format!("why      {what}\n"));
    };
    fleet.write("a.in", "other");
    why("t  the input `a.in` changed");
    fleet.rename("a.in", "c.in");
    why("t  the input `a.in` is gone; the input `c.in` is new");
    fleet.reword("LEVEL = '1'", "LEVEL = '2'");
    why("t  the variable LEVEL has another value");
    fleet.write("v.txt", "2");
    why("u  `v`, which it needs, made something else");
    let told = fleet.run(["run", "--explain", "--force=t"]).passes();
    told.ran("t").says("why      t  it is forced to run");
    fleet.run(["run", "--explain", "--no-cache", "t"]).passes().says("why      t  nothing is reused with --no-cache");
}

#[test]
fn programs_hear_of_what_was_reused() {
    let fleet = chain();
    let told = fleet.run(["run", "--json"]).passes();
    let events: Vec<serde_json::Value> =
        told.stdout().lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect();
    assert_eq!(events.len(), 2, "{}", told.stdout());
    for event in events {
        assert_eq!((&event["state"], &event["worker_id"]), (&"completed".into(), &"".into()), "{event}");
        assert!(event["extra"]["receipt"]["reused"]["journal_seq"].is_u64(), "{event}");
    }
}
