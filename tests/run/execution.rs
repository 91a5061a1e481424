//! What a process of a task is: its words, its environment, its folder, its standard input, and what must be there
//! before it may start.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::support::Fleet;

#[test]
fn what_is_no_file_is_no_stdin_and_hangs_nobody() {
    Fleet::of("[tasks.pipe]\nrun = 'mkfifo f'\n[tasks.t]\nneeds = ['pipe']\nrun = 'cat'\nstdin = 'f'\n")
        .run(["run"])
        .fails_with(9)
        .says("its stdin `f` is not a regular file");
}

#[test]
fn a_link_made_by_an_earlier_task_leads_nowhere() {
    Fleet::of(
        "[tasks.mk]\nrun = 'ln -sfn /etc late'\n[tasks.in]\nneeds = ['mk']\nrun = 'cat'\nstdin = 'late/hostname'\n\
         [tasks.at]\nneeds = ['mk']\nrun = 'pwd'\nworkdir = 'late'\n",
    )
    .run(["run"])
    .fails_with(9)
    .says("its workdir `late` leads out of the workspace")
    .says("its stdin `late/hostname` cannot be read");
}

#[test]
fn inputs_that_match_nothing_are_named() {
    Fleet::of("[tasks.t]\nrun = 'true'\ninputs = ['nowhere/*.rs']\n")
        .run(["run"])
        .passes()
        .says("`nowhere/*.rs` among the inputs of `t` matches no file");
}

#[test]
fn words_reach_the_program_as_they_are() {
    Fleet::of(
        r#"
        [tasks.list]
        run = ["printf", "<%s>", "two words", "$HOME", "*", "a|b", ""]
        [tasks.text]
        run = "printf '<%s>' 'two words' \"it's\" plain"
        "#,
    )
    .run(["run"])
    .passes()
    .log("list", "<two words><$HOME><*><a|b><>")
    .log("text", "<two words><it's><plain>");
}

#[test]
fn a_script_stops_at_its_first_failure_and_at_a_variable_that_is_not_set() {
    let told = Fleet::of(
        r#"
        [tasks.failure]
        sh = "echo one; false; echo two"
        [tasks.unset]
        sh = "echo one; echo $NO_SUCH_VARIABLE; echo two"
        [tasks.lenient]
        sh = "false | true; echo ${NO_SUCH_VARIABLE:-default}"
        "#,
    )
    .run(["run"])
    .fails_with(1)
    .log("failure", "one\n")
    .log("lenient", "default\n");
    assert_eq!(told.receipt("failure")["exit_code"], 1);
    let unset = told.then().log("unset");
    assert!(unset.starts_with("one\n") && unset.contains("NO_SUCH_VARIABLE") && !unset.contains("two"), "{unset}");
}

#[test]
fn a_script_for_bash_is_read_by_bash_and_minds_its_pipes() {
    Fleet::of(
        r#"
        [defaults]
        shell = "bash"
        [tasks.array]
        sh = 'words=(a b c); echo ${#words[@]}'
        [tasks.pipe]
        sh = "false | true; touch after"
        [tasks.plain]
        shell = "sh"
        sh = 'echo "${BASH_VERSION:-no bash}" | cat'
        "#,
    )
    .run(["run"])
    .fails_with(1)
    .log("array", "3\n")
    .result("pipe", "fail/task: exit code 1")
    .has_no_file("after")
    .log("plain", "no bash\n");
}

/// The names in a part of the page that documents the environment.
fn documented(heading: &str) -> Vec<String> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("book/src/reference/environment.md"));
    let page = page.expect("the page is there");
    let (_, part) = page.split_once(&format!("## {heading}\n")).expect("it has this part");
    let part = part.split("\n## ").next().unwrap_or(part);
    let quoted = part.split('`').skip(1).step_by(2);
    let is_name = |name: &str| name.len() > 1 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_*".contains(&b));
    quoted.filter(|name| is_name(name)).map(str::to_owned).collect()
}

fn dump(log: &str) -> BTreeMap<String, String> {
    let pairs = log.split_terminator('\0').map(|pair| pair.split_once('=').expect("NAME=value"));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn a_task_sees_exactly_the_documented_variables() {
    let base = documented("The base list");
    assert!(base.len() > 30 && base.iter().any(|name| name == "LC_*"), "{base:?}");
    let mut fleet = Fleet::of("[tasks.dump]\nrun = 'env -0'\n[tasks.own]\nrun = 'env -0'\nscratch = true\n");
    let mut want: Vec<String> = vec!["LC_ALL".into(), "LC_ODD".into()];
    fleet = fleet.var("LC_ODD", "odd");
    for name in base.iter().filter(|name| !name.contains('*')) {
        want.push(name.clone());
        if !["PATH", "HOME", "TMPDIR"].contains(&name.as_str()) {
            fleet = fleet.var(name, &format!("the {name}"));
        }
    }
    let here = fleet.path("").canonicalize().expect("it is there");
    fleet = fleet.var("TMPDIR", &here.display().to_string());
    for noise in ["SECRET", "AWS_TOKEN", "LCX", "XPATH", "PATHX", "path", "FLEET_MINE", "EDITOR", "PWD", "CARGO_HOMES"]
    {
        fleet = fleet.var(noise, "noise");
    }
    let told = fleet.run(["run"]).passes();
    let own = documented("Variables of fleet");
    assert!(own.len() >= 7, "{own:?}");
    want.extend(own.into_iter().filter(|name| name.starts_with("FLEET_") && name != "FLEET_ATTEMPT_DIR"));
    want.sort();
    let fleet = told.then();
    let seen = dump(&fleet.log("dump"));
    assert_eq!(seen.keys().cloned().collect::<Vec<_>>(), want);
    assert_eq!(seen["https_proxy"], "the https_proxy");
    assert_eq!(seen["LC_ODD"], "odd");
    assert_eq!(seen["FLEET_TASK"], "dump");
    assert_eq!(seen["FLEET_ATTEMPT"], "1");
    assert_eq!(Path::new(&seen["FLEET_WORKSPACE"]).canonicalize().ok(), Some(here.clone()));
    assert_eq!(Path::new(&seen["FLEET_STATE_DIR"]).canonicalize().ok(), Some(here.join(".fleet")));
    assert_eq!(fleet.run_dir().file_name().and_then(|name| name.to_str()), Some(seen["FLEET_RUN_ID"].as_str()));
    let scratch = dump(&fleet.log("own"));
    let more: Vec<&String> = scratch.keys().filter(|name| !seen.contains_key(*name)).collect();
    assert_eq!(more, ["FLEET_ATTEMPT_DIR"]);
}

#[test]
fn nobody_else_sets_a_variable_of_fleet() {
    for name in documented("Variables of fleet").iter().filter(|name| name.starts_with("FLEET_")) {
        let env = format!("[tasks.a]\nenv = {{ {name} = 'mine' }}\nrun = 'true'\n");
        let secret = format!(
            "[policies.security]\nallowed_secrets = ['KEY']\n\
             [tasks.a]\nsecrets = [{{ key = 'KEY', as = 'env:{name}' }}]\nrun = 'true'\n"
        );
        for text in [env, secret] {
            let told = Fleet::of(&text).run(["check"]).fails_with(3);
            told.says(&format!("`{name}` is a variable that fleet sets itself"));
        }
    }
}

#[test]
fn variables_are_let_through_and_set_in_the_documented_order() {
    Fleet::of(
        r#"
        [defaults]
        env = { LEVEL = "default", DEFAULT = 1 }
        pass_env = ["MY_*"]
        [tasks.own]
        env = { LEVEL = "task", MY_B = "set", FLAG = true }
        sh = 'echo $LEVEL $DEFAULT $MY_A $MY_B $FLAG ${EXACT:-none}'
        [tasks.other]
        pass_env = ["EXACT"]
        sh = 'echo $LEVEL ${MY_A:-none} $EXACT'
        "#,
    )
    .var("MY_A", "a")
    .var("MY_B", "b")
    .var("EXACT", "x")
    .var("LEVEL", "caller")
    .run(["run"])
    .passes()
    .log("own", "task 1 a set true none\n")
    .log("other", "default none x\n");
}

#[test]
fn a_value_that_is_no_text_reaches_no_task_and_is_told() {
    let fleet = Fleet::of("[tasks.a]\npass_env = ['MY_*']\nsh = 'echo ${MY_BYTES:-none}'\n");
    let mut command = fleet.command(["run"]);
    fleet
        .end(command.env("MY_BYTES", std::ffi::OsStr::from_bytes(b"\xff\xfe")))
        .passes()
        .says("MY_BYTES")
        .log("a", "none\n");
}

#[test]
fn a_task_starts_in_its_folder_with_its_standard_input() {
    Fleet::of(
        r#"
        [tasks.here]
        sh = "test \"$PWD\" -ef \"$FLEET_WORKSPACE\" && cat"
        [tasks.there]
        workdir = "a/b"
        stdin = "in.txt"
        sh = "pwd -P | sed 's:.*/a/b$:there:' && cat && cat nearby"
        [tasks.program]
        workdir = "a/b"
        run = "./tool.sh"
        "#,
    )
    .file("a/b/nearby", "nearby\n")
    .file("in.txt", "from a file\n")
    .file("a/b/tool.sh", "#!/bin/sh\necho a tool\n")
    .run(["run", "here", "there"])
    .passes()
    .log("here", "")
    .log("there", "there\nfrom a file\nnearby\n")
    .then()
    .run(["run", "program"])
    .fails_with(9)
    .says("the program `./tool.sh` does not exist or is not executable")
    .then()
    .executable("a/b/tool.sh")
    .run(["run", "program"])
    .passes()
    .log("program", "a tool\n");
}

#[test]
fn a_missing_folder_or_input_is_a_start_that_failed() {
    Fleet::of(
        r#"
        [tasks.folder]
        workdir = "nowhere"
        run = "touch started"
        [tasks.input]
        stdin = "nothing.txt"
        run = "touch started"
        "#,
    )
    .run(["run"])
    .fails_with(9)
    .says("fail     folder  TIME  transport: could not be started: ")
    .says("fail     input  TIME  transport: could not be started: ")
    .has_no_file("started");
}

#[test]
fn scratch_is_an_empty_folder_of_the_attempts_own() {
    let told = Fleet::of(
        r#"
        [defaults]
        env = { FILL = 'test -z "$(ls -A "$FLEET_ATTEMPT_DIR")" && touch "$FLEET_ATTEMPT_DIR/mine" && echo "$FLEET_ATTEMPT_DIR"' }
        [tasks.one]
        scratch = true
        sh = 'eval "$FILL"'
        [tasks.two]
        scratch = true
        sh = 'eval "$FILL"'
        [tasks.none]
        sh = 'echo "${FLEET_ATTEMPT_DIR-unset}"'
        "#,
    )
    .run(["run"])
    .passes()
    .log("none", "unset\n")
    .then()
    .run(["run"])
    .passes();
    let fleet = told.then();
    let (one, two) = (fleet.log("one"), fleet.log("two"));
    assert_ne!(one, two);
    assert!([one, two].iter().all(|path| path.contains("/.fleet/runs/") && path.contains("/attempts/")));
}

#[test]
fn everything_that_is_missing_is_named_before_anything_runs() {
    let told = Fleet::of(
        r#"
        [tasks.build]
        required_files = ["there.txt", "missing.txt", "also/missing.txt"]
        required_env = ["HOME", "MISSING_VARIABLE", "HIDDEN"]
        tools = ["sh", "no-such-tool", "another-missing-tool"]
        run = "touch started"
        [tasks.complete]
        required_files = ["there.txt"]
        required_env = ["HOME", "LET_THROUGH", "SET"]
        pass_env = ["LET_THROUGH"]
        env = { SET = "1", PATH = "tools:/usr/bin:/bin" }
        tools = ["sh", "own-tool"]
        run = "own-tool"
        "#,
    )
    .file("there.txt", "")
    .file("tools/own-tool", "#!/bin/sh\necho own tool\n")
    .executable("tools/own-tool")
    .var("HIDDEN", "1")
    .var("LET_THROUGH", "1")
    .run(["run"])
    .fails_with(9)
    .has_no_file("started")
    .log("complete", "own tool\n");
    let receipt = told.receipt("build");
    assert_eq!((&receipt["result"], &receipt["failure_kind"]), (&"fail".into(), &"transport".into()));
    let cause = receipt["cause"].as_str().expect("there is a cause");
    for missing in [
        "`missing.txt` does not exist",
        "`also/missing.txt` does not exist",
        "`MISSING_VARIABLE` is not set",
        "`HIDDEN` is set but not let through",
        "`no-such-tool` is not on PATH",
        "`another-missing-tool` is not on PATH",
    ] {
        assert!(cause.contains(missing), "{missing}: {cause}");
    }
    for there in ["there.txt", "HOME", "`sh`"] {
        assert!(!cause.contains(&format!("`{there}`")), "{there}: {cause}");
    }
}

#[test]
fn what_cannot_be_started_is_nobodys_exit_code() {
    Fleet::of(
        r#"
        [tasks.unknown]
        run = "no-such-program --flag"
        [tasks.folder]
        run = "./folder"
        [tasks.nonsense]
        run = "./nonsense"
        "#,
    )
    .file("folder/x", "")
    .file("nonsense", [0u8, 1, 2, 3])
    .executable("nonsense")
    .run(["run"])
    .fails_with(9)
    .result("unknown", "fail/transport: could not be started: the program `no-such-program` is not on PATH")
    .result(
        "folder",
        "fail/transport: could not be started: the program `./folder` does not exist or is not executable",
    )
    .says("fail     nonsense  TIME  transport: could not be started: ");
}

#[test]
fn a_script_that_is_too_long_for_the_system_is_told() {
    let script = format!("echo start\n: {}\n", "x".repeat(200 << 10));
    Fleet::of(&format!("[tasks.long]\nsh = '''\n{script}'''\n[tasks.short]\nrun = 'true'\n"))
        .run(["run"])
        .fails_with(9)
        .says("fail     long  TIME  transport: could not be started: ")
        .result("short", "pass");
}

#[test]
fn both_streams_are_one_log_in_the_order_of_their_writes() {
    Fleet::of("[tasks.a]\nsh = 'for i in 1 2 3; do echo out $i; echo err $i >&2; done'\n")
        .run(["run"])
        .passes()
        .log("a", "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n");
}

#[test]
fn a_task_that_writes_elsewhere_than_it_said_fails() {
    let told = Fleet::of(
        r#"
        [tasks.build]
        writable_paths = ["out/**", "cache"]
        outputs = ["made.txt"]
        sh = "mkdir -p out/deep cache; touch out/deep/a cache/b made.txt; echo changed > source.txt; rm old.txt; touch stray"
        [tasks.good]
        needs = ["build"]
        always = true
        writable_paths = ["out"]
        sh = "touch out/other"
        "#,
    )
    .file("source.txt", "source")
    .file("old.txt", "old")
    .run(["run"])
    .fails_with(1)
    .result(
        "build",
        "fail/task: `old.txt` was written, which is outside its writable_paths; `source.txt` was written, which is \
         outside its writable_paths; `stray` was written, which is outside its writable_paths",
    )
    .result("good", "pass");
    let mechanisms = told.receipt("good")["trust"]["mechanisms"].to_string();
    assert!(mechanisms.contains("writes_checked"), "{mechanisms}");
}

#[test]
fn what_a_neighbour_may_have_written_is_not_held_against_a_task() {
    // Each waits for the other's file, so that both run at the same time whatever the machine does.
    let told = Fleet::of(
        r#"
        [workers.w]
        host = "local"
        slots = 2
        [tasks.careful]
        writable_paths = ["careful/**"]
        sh = "mkdir careful; touch careful/here; while [ ! -e free/here ]; do sleep 0.01; done"
        [tasks.free]
        sh = "while [ ! -e careful/here ]; do sleep 0.01; done; mkdir free; touch free/here"
        "#,
    )
    .run(["run"])
    .passes();
    let mechanisms = told.receipt("careful")["trust"]["mechanisms"].to_string();
    assert!(!mechanisms.contains("writes_checked"), "it could not be checked: {mechanisms}");
}

#[test]
fn the_digest_of_the_inputs_is_that_of_their_names_and_bytes() {
    let digest = |fleet: &Fleet| {
        let told = fleet.run(["run"]).passes();
        told.receipt("a")["inputs_digest"].as_str().expect("it has inputs").to_owned()
    };
    let fleet = Fleet::of("[tasks.a]\nrun = 'true'\ninputs = ['src/**', '!src/skip']\n").file("src/x", "1");
    let first = digest(&fleet);
    assert!(first.starts_with("sha256:"), "{first}");
    let fleet = fleet.file("src/skip", "left out").file("beside", "not asked for");
    assert_eq!(digest(&fleet), first);
    let fleet = fleet.file("src/x", "2");
    let changed = digest(&fleet);
    assert_ne!(changed, first);
    let fleet = fleet.file("src/y", "2");
    assert_ne!(digest(&fleet), changed);
}
