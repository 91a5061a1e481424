//! `--audit-inputs`: what a task read, held against what it declares. All but the refusals need `strace`; a machine
//! without it says so, and fails where `CI` is `true`.

use super::support::Fleet;

/// Whether there is a tracer; what is missing is said where nobody would otherwise notice.
pub(super) fn can_trace() -> bool {
    let probe = std::process::Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).output();
    let can = probe.is_ok_and(|probe| probe.status.success());
    if !can {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "install strace, or allow ptrace, to test what traces");
        eprintln!("NOT TESTED: there is no strace that can trace here");
    }
    can
}

/// Reads a declared file, two that are not, its own output, and never looks at `docs`.
fn careless() -> Fleet {
    Fleet::of(
        "[tasks.gen]\nsh = 'echo made > made'\ninputs = []\noutputs = ['made']\n\
         [tasks.other]\nsh = 'echo other > other'\ninputs = []\noutputs = ['other']\n\
         [tasks.build]\nneeds = ['gen', { task = 'other', order_only = true }]\n\
         sh = 'cat src/a conf/one ./link made other > out; cat out; test -f looked; test -f missing || true'\n\
         inputs = ['src/**', 'docs/*.md', 'looked', 'missing', '!src/skip']\noutputs = ['out']\n",
    )
    .file("src/a", "a\n")
    .file("conf/one", "1\n")
    .file("real", "real\n")
    .file("docs/x.md", "")
    .file("looked", "")
}

fn linked(fleet: Fleet) -> Fleet {
    std::os::unix::fs::symlink("real", fleet.path("link")).expect("the folder is ours");
    fleet
}

#[test]
fn undeclared_and_unread_files_are_told_with_a_fix_to_paste() {
    if !can_trace() {
        return;
    }
    let told = linked(careless()).run(["run", "--audit-inputs", "build"]).passes();
    let (_, audit) = told.stdout().split_once("\naudit  ").expect("it is told behind the run");
    assert_eq!(
        audit,
        "build\n  read, but not declared:\n    conf/one\n    other  (made by other, which it does not need)\n    real\n\
         \x20 declared, but never looked at:\n    docs/*.md\n\nto paste:\n[tasks.build]\n\
         inputs = [\"src/**\", \"looked\", \"missing\", \"!src/skip\", \"conf/one\", \"other\", \"real\"]\n"
    );
    // Traced or not, the receipt has the task's own words, and the log what it printed.
    let receipt = told.receipt("build");
    assert!(receipt["argv"][0].as_str().is_some_and(|program| program.ends_with("/sh")), "{receipt}");
    let fleet = told.log("build", "a\n1\nreal\nmade\nother\n").then();
    assert!(fleet.run_dir().join("audit/build.1.trace").is_file());
    // What was proposed makes it right.
    let text = fleet.read("fleet.toml").replace(
        "inputs = ['src/**', 'docs/*.md', 'looked', 'missing', '!src/skip']",
        "inputs = ['src/**', 'looked', 'missing', '!src/skip', 'conf/one', 'other', 'real']",
    );
    let fleet = fleet.file("fleet.toml", text);
    fleet.run(["run", "--audit-inputs", "build"]).passes().says("audit  build  it read what it declares\n");
}

#[test]
fn what_git_ignores_is_declared_only_by_its_name() {
    if !can_trace() {
        return;
    }
    let file = |inputs: &str| format!("[tasks.a]\nsh = 'cat src/a src/b.gen'\ninputs = [{inputs}]\n");
    let fleet = Fleet::of(&file("'src/**'")).file(".gitignore", "*.gen\n").file("src/a", "").file("src/b.gen", "");
    let told = fleet.run(["run", "--audit-inputs", "a"]).passes();
    told.says("    src/b.gen  (git ignores it, so no glob takes it)\n").says("inputs = [\"src/**\", \"src/b.gen\"]\n");
    let named = Fleet::of(&file("'src/**', 'src/b.gen'")).file(".gitignore", "*.gen\n");
    let named = named.file("src/a", "").file("src/b.gen", "");
    named.run(["run", "--audit-inputs", "a"]).passes().says("audit  a  it read what it declares\n");
}

#[test]
fn a_task_that_is_up_to_date_runs_to_be_audited() {
    if !can_trace() {
        return;
    }
    let fleet = Fleet::of("[tasks.a]\nrun = 'cat x'\ninputs = ['x']\n").file("x", "");
    let fleet = fleet.run(["run"]).passes().then();
    fleet.run(["run", "--audit-inputs", "a"]).passes().says("audit  a  it read what it declares\n");
}

#[test]
fn a_declared_link_stands_for_its_file() {
    if !can_trace() {
        return;
    }
    let fleet = Fleet::of("[tasks.a]\nrun = 'cat link'\ninputs = ['link']\n").file("real", "");
    linked(fleet).run(["run", "--audit-inputs", "a"]).passes().says("audit  a  it read what it declares\n");
}

#[test]
fn what_a_task_makes_for_itself_is_no_input() {
    if !can_trace() {
        return;
    }
    let fleet = Fleet::of(
        "[tasks.a]\nsh = '''\necho x > tmp\ncat tmp\nmv tmp moved\ncat moved\nrm moved\necho y > log.new\n\
         cat log.new >> kept\ncat kept ./tool.sh <in\n'''\nstdin = 'in'\ninputs = ['tool.sh']\nwritable_paths = ['*']\n\
         [tasks.format]\nsh = 'sort src > src.new; cat src; mv src.new src'\ninputs = []\n\
         [tasks.prog]\nrun = './tool.sh'\ninputs = []\n",
    )
    .file("in", "")
    .file("src", "b\na\n")
    .file("tool.sh", "#!/bin/sh\ncat conf\n")
    .file("conf", "")
    .executable("tool.sh");
    let fleet = fleet.run(["run", "--audit-inputs", "a"]).passes().says("audit  a  it read what it declares\n").then();
    let told = fleet.run(["run", "--audit-inputs", "format"]).passes();
    let told = told.says("read, and then written by the task itself:\n    src\n").never_says("to paste");
    let told = told.then().run(["run", "--audit-inputs", "prog"]).passes();
    told.says("read, but not declared:\n    conf\n").says("inputs = [\"conf\"]\n").never_says("tool.sh\n");
}

#[test]
fn a_folder_of_many_files_is_one_entry_and_programs_get_them_all() {
    if !can_trace() {
        return;
    }
    let mut fleet =
        Fleet::of("[tasks.a]\nworkdir = 'sub'\nsh = 'cat ../data/*/* ../odd*'\n").file("odd[1]", "").file("sub/x", "");
    for n in 0..30 {
        fleet = fleet.file(&format!("data/{}/{n}", n % 3), "");
    }
    let told = fleet.run(["run", "--json", "--audit-inputs", "a"]).passes();
    let last = told.stdout().lines().last().expect("there are lines");
    let audit: serde_json::Value = serde_json::from_str(last).expect("each line is JSON");
    let audit = &audit["audit"];
    assert_eq!(audit["task"], "a");
    assert_eq!(audit["undeclared"].as_array().map(Vec::len), Some(31), "{audit}");
    assert_eq!(audit["undeclared"][0]["path"], "data/0/0");
    assert_eq!(audit["inputs"], serde_json::json!(["data/**", "odd[[]1[]]"]));
    told.warns("inputs = [\"data/**\", \"odd[[]1[]]\"]\n");
}

#[test]
fn the_run_ends_as_it_would_without_a_tracer() {
    if !can_trace() {
        return;
    }
    let fleet = Fleet::of(
        "[tasks.bad]\nsh = 'cat x; exit 3'\ninputs = []\n[tasks.killed]\nsh = 'kill -9 $$'\ninputs = []\n\
         [tasks.slow]\nrun = 'sleep 60'\ntimeout = '200ms'\ninputs = []\n\
         [tasks.behind]\nneeds = ['bad']\nrun = 'true'\ninputs = []\n",
    )
    .file("x", "");
    let told = fleet.run(["run", "--audit-inputs", "bad"]).fails_with(1).result("bad", "fail/task: exit code 3");
    told.says("read, but not declared:\n    x\n");
    fleet.run(["run", "--audit-inputs", "killed"]).fails_with(9);
    let told = fleet.run(["run", "--audit-inputs", "slow"]).fails_with(1);
    assert_eq!(told.receipt("slow")["result"], "timeout");
    let told = fleet.run(["run", "--audit-inputs", "behind"]).fails_with(1);
    told.says("audit  behind  it was not started, so nothing is known of what it reads\n");
}

#[test]
fn without_a_tracer_nothing_is_run() {
    let fleet =
        Fleet::of("[tasks.a]\nsh = 'touch ran'\ninputs = []\n[tasks.b]\nmatrix = { n = ['1', '2'] }\nrun = 'true'\n");
    let none = fleet.clone().var("PATH", "/nowhere");
    let told = none.run(["run", "--audit-inputs", "a"]).fails_with(2).warns("apt-get install strace");
    told.warns("nothing was run").has_no_file("ran").has_no_file(".fleet");
    let fleet = fleet.file("bin/strace", "#!/bin/sh\necho 'strace: ptrace: Operation not permitted' >&2\nexit 1\n");
    let fleet = fleet.executable("bin/strace");
    let path = format!("{}:/usr/bin:/bin", fleet.path("bin").display());
    let refused = fleet.clone().var("PATH", &path);
    let told = refused.run(["run", "--audit-inputs", "a"]).fails_with(2).warns("Operation not permitted");
    told.warns("nothing was run").has_no_file("ran").has_no_file(".fleet");
    fleet.run(["run", "--audit-inputs", "b"]).fails_with(2).warns("`b` has 2 instances: name one, as in `b:1`");
    fleet.run(["run", "--audit-inputs", "nope"]).fails_with(2).warns("no task is named `nope`");
    fleet.run(["run", "--audit-inputs", "a*"]).fails_with(2).warns("is a pattern");
    fleet.run(["run", "--audit-inputs", "fleet.toml"]).fails_with(2);
    fleet.run(["run", "--audit-inputs", "a", "--dry-run"]).fails_with(2);
}
