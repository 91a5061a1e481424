//! What a person sees: the whole screen where it is short, and the rules of colour and output.

use std::process::Command;

use super::support::{Fleet, Told};

const FILE: &str = r#"
    [tasks.good]
    sh = "echo fine; echo also fine >&2"
    [tasks.bad]
    needs = ["good"]
    sh = "echo first; printf last; exit 3"
    [tasks.after]
    needs = ["bad"]
    run = "true"
"#;

/// Without the two lines on where the time went, which name whatever took longest.
fn screen(told: &Told) -> String {
    let screen = told.screen();
    let kept = screen.lines().filter(|line| !line.starts_with("slowest  ") && !line.starts_with("critical path  "));
    kept.collect::<Vec<_>>().join("\n")
}

#[test]
fn grouped_output_comes_when_a_task_ends() {
    let told = Fleet::of(FILE).run(["run"]).fails_with(1).quietly();
    insta::assert_snapshot!(screen(&told), @"
    run      RUN  3 tasks of fleet.toml
    start    good
    --- good
    fine
    also fine
    pass     good  TIME
    start    bad
    --- bad
    first
    last
    fail     bad  TIME  task: exit code 3
    skip     after  it needs `bad`, which did not pass

    fail     bad  TIME  task: exit code 3

    to rerun       fleet run bad
    1 passed, 1 failed, 1 skipped in TIME  RUN
    ");
    let slow = Fleet::of("[tasks.a]\nrun = 'sleep 0.05'\n[tasks.b]\nneeds = ['a']\nrun = 'sleep 0.05'\n")
        .run(["run"])
        .passes();
    assert!(slow.screen().contains("\nslowest        ") && slow.screen().contains("\ncritical path  "));
}

#[test]
fn streamed_output_has_the_name_of_its_task() {
    let told = Fleet::of(FILE).run(["run", "--output=stream"]).fails_with(1);
    insta::assert_snapshot!(screen(&told), @"
    run      RUN  3 tasks of fleet.toml
    start    good
    good | fine
    good | also fine
    pass     good  TIME
    start    bad
    bad | first
    bad | last
    fail     bad  TIME  task: exit code 3
    skip     after  it needs `bad`, which did not pass

    fail     bad  TIME  task: exit code 3
        first
        last

    to rerun       fleet run bad
    1 passed, 1 failed, 1 skipped in TIME  RUN
    ");
}

#[test]
fn output_on_failure_is_that_of_what_did_not_pass() {
    let told = Fleet::of(FILE).run(["run", "-o", "on-fail"]).fails_with(1);
    insta::assert_snapshot!(screen(&told), @"
    run      RUN  3 tasks of fleet.toml
    start    good
    pass     good  TIME
    start    bad
    --- bad
    first
    last
    fail     bad  TIME  task: exit code 3
    skip     after  it needs `bad`, which did not pass

    fail     bad  TIME  task: exit code 3

    to rerun       fleet run bad
    1 passed, 1 failed, 1 skipped in TIME  RUN
    ");
}

#[test]
fn quiet_is_what_went_wrong_and_the_counts() {
    let told = Fleet::of(FILE).run(["run", "-o", "quiet"]).fails_with(1);
    insta::assert_snapshot!(told.screen(), @"
    fail     bad  TIME  task: exit code 3
        first
        last

    to rerun       fleet run bad
    1 passed, 1 failed, 1 skipped in TIME  RUN
    ");
    let told = Fleet::of(FILE).run(["run", "good", "-o", "quiet"]).passes();
    insta::assert_snapshot!(told.screen(), @"
    1 passed in TIME  RUN
    ");
}

#[test]
fn output_that_is_streamed_comes_while_the_task_runs() {
    let fleet = Fleet::of("[tasks.a]\nsh = 'echo now; while [ ! -e go ]; do sleep 0.01; done'\n");
    let run = fleet.start(["run", "-o", "stream"]);
    super::support::until("the line is shown", || fleet.read("stdout").contains("a | now\n"));
    let fleet = fleet.file("go", "");
    run.ends().passes();
    drop(fleet);
}

#[test]
fn colour_is_for_terminals_unless_it_is_asked_for() {
    let coloured = |fleet: Fleet, words| fleet.run(words).fails_with(1).stdout().contains("\x1b[");
    let of = || Fleet::of(FILE).var("TERM", "xterm-256color");
    assert!(!coloured(of(), ["run", "--ci"]));
    assert!(coloured(of().var("CLICOLOR_FORCE", "1"), ["run", "-k"]));
    assert!(!coloured(of().var("CLICOLOR_FORCE", "0"), ["run", "-k"]));
    assert!(!coloured(of().var("NO_COLOR", "1"), ["run", "-k"]));
    assert!(coloured(of(), ["run", "--color=always"]));
    assert!(coloured(of().var("NO_COLOR", "1"), ["run", "--color=always"]));
    assert!(!coloured(of().var("CLICOLOR_FORCE", "1"), ["run", "--color=never"]));
}

/// `fleet` on a terminal of its own.
fn on_terminal(fleet: &Fleet, line: &str) -> Told {
    let ours = fleet.command([]);
    let mut command = Command::new("script");
    command.args(["-qec", &line.replace("fleet", &ours.get_program().to_string_lossy()), "/dev/null"]);
    command.env_clear().envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(fleet.path("")).env("TERM", "xterm-256color").env("SHELL", "/bin/sh");
    fleet.end(&mut command).passes()
}

#[test]
fn a_terminal_has_colour_unless_the_environment_says_no() {
    let fleet = Fleet::of("[tasks.a]\nrun = 'echo said'\n");
    assert!(on_terminal(&fleet, "fleet run --no-progress").stdout().contains("\x1b[32m"));
    let fleet = fleet.var("NO_COLOR", "1");
    assert!(!on_terminal(&fleet, "fleet run --no-progress").stdout().contains('\x1b'));
}

#[test]
fn a_terminal_sees_no_control_of_a_task_but_colour() {
    let fleet = Fleet::of("[tasks.a]\nsh = 'printf \"\\\\033[2J\\\\033]0;title\\\\007\\\\033[31mred\\\\n\"'\n");
    let told = on_terminal(&fleet, "fleet run --no-progress");
    assert!(told.stdout().contains("\x1b[31mred"), "{:?}", told.stdout());
    assert!(!told.stdout().contains("\x1b[2J") && !told.stdout().contains("\x1b]0"), "{:?}", told.stdout());
    assert_eq!(fleet.log("a"), "\x1b[2J\x1b]0;title\x07\x1b[31mred\n", "the log has what was printed");
    assert!(!on_terminal(&fleet, "fleet logs a").stdout().contains("\x1b[2J"));
    assert!(on_terminal(&fleet, "fleet logs a --raw").stdout().contains("\x1b[2J\x1b]0;title\x07"));
}

#[test]
fn a_live_display_leaves_the_result_and_nothing_of_itself() {
    let fleet = Fleet::of("[tasks.a]\nrun = 'sleep 0.3'\n[tasks.b]\nrun = 'echo said'\n");
    let told = on_terminal(&fleet, "fleet run -o on-fail");
    assert!(told.stdout().contains("2 passed"), "{:?}", told.stdout());
    assert!(!told.stdout().contains("said"), "{:?}", told.stdout());
    assert!(told.stdout().contains("\x1b[2K") || told.stdout().contains("\x1b[J"), "it draws over itself");
}

#[test]
fn the_command_that_reruns_what_failed_does() {
    let fleet = Fleet::new()
        .file(
            "odd.toml.example",
            "version = 1\nname = 'x'\n[vars]\nwhat = 'nothing'\n[tasks.good]\nsh = 'echo . >> good'\n\
             [tasks.bad]\nmatrix = { n = ['a', 'b'] }\nsh = 'echo . >> ${matrix.n}; echo ${vars.what} >> said; test -e fixed'\n\
             [tasks.after]\nneeds = ['bad']\nrun = 'true'\n",
        )
        .file("b.ok", "");
    let told = fleet.run(["run", "odd.toml.example", "--set", "what=two words", "-j1"]).fails_with(1);
    let line =
        told.stdout().lines().find_map(|line| line.strip_prefix("to rerun       ")).expect("it is there").to_owned();
    let fleet = told.then().file("fixed", "");
    let words = shell_words::split(&line).expect("a shell reads it");
    assert_eq!(words[0], "fleet");
    let mut command = fleet.command([]);
    let told = fleet.end(command.args(&words[1..])).passes();
    // What failed ran twice, the rest once.
    let told = told.file_says("good", ".\n").file_says("a", ".\n.\n").file_says("b", ".\n.\n");
    drop(told.file_says("said", "two words\ntwo words\ntwo words\ntwo words\n"));
}

#[test]
fn the_last_lines_of_a_long_log_are_in_the_summary() {
    let fleet = Fleet::of("[tasks.bad]\nsh = 'i=0; while [ $i -lt 50 ]; do i=$((i+1)); echo line $i; done; exit 1'\n");
    fleet
        .run(["run", "-o", "quiet"])
        .fails_with(1)
        .says("    … the last 20 lines; all of it: fleet logs RUN bad\n    line 31\n")
        .says("    line 50\n")
        .never_says("line 30\n");
}

#[test]
fn ci_says_it_in_the_words_of_the_ci() {
    let fleet = Fleet::of(FILE).var("GITHUB_ACTIONS", "true");
    fleet.run(["run", "--ci"]).fails_with(1).says("::group::bad\n").says("::endgroup::\n").says("::error");
    fleet.run(["run"]).fails_with(1).never_says("::group::");
}

#[test]
fn a_command_that_never_ends_its_line_is_shown_whole() {
    let long = "x".repeat(200_000);
    let fleet = Fleet::of("[tasks.a]\nrun = 'cat long'\n").file("long", &long);
    for mode in ["grouped", "stream"] {
        let told = fleet.run(["run", "-o", mode]).passes();
        assert_eq!(told.stdout().matches('x').count(), 200_000, "{mode}");
    }
}
