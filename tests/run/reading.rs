//! Which file and which tasks the words of a command line mean.

use super::support::Fleet;

const FILE: &str = "version = 1\nname = \"x\"\n[tasks.build]\nrun = \"touch built\"\n[tasks.test]\nneeds = [\"build\"]\n\
    run = \"touch tested\"\ntags = [\"ci\"]\n[tasks.test-slow]\nrun = \"touch slow\"\n";

#[test]
fn the_three_syntaxes_run_alike() {
    let yaml = "version: 1\nname: x\ntasks:\n  a:\n    run: echo yaml\n    scorers:\n      - kind: exit_code\n";
    let json = r#"{"version": 1, "name": "x", "tasks": {"a": {"run": "echo json"}}}"#;
    for (name, text, said) in [
        ("fleet.yaml", yaml, "yaml\n"),
        ("fleet.yml", yaml, "yaml\n"),
        ("fleet.json", json, "json\n"),
        ("odd.yaml.example", yaml, "yaml\n"),
        ("fleet.json.example", json, "json\n"),
    ] {
        Fleet::new().file(name, text).run(["run", name]).passes().log("a", said);
    }
}

#[test]
fn a_mark_at_the_start_and_windows_line_ends_change_nothing() {
    let windows = format!("\u{feff}{FILE}").replace('\n', "\r\n");
    Fleet::new().file("fleet.toml", &windows).run(["run"]).passes().has_file("tested");
    let yaml = "\u{feff}version: 1\r\nname: x\r\ntasks:\r\n  a:\r\n    sh: |\r\n      touch one\r\n      touch two\r\n";
    Fleet::new().file("fleet.yaml", yaml).run(["run"]).passes().has_file("one").has_file("two").has_no_file("one\r");
    let json = "\u{feff}{\"version\": 1,\r\n \"name\": \"x\",\r\n \"tasks\": {\"a\": {\"run\": \"touch one\"}}}\r\n";
    Fleet::new().file("fleet.json", json).run(["run"]).passes().has_file("one");
    let script = "version = 1\r\nname = 'x'\r\n[tasks.a]\r\nsh = '''\r\ntouch one\r\ntouch two\r\n'''\r\n";
    Fleet::new().file("fleet.toml", script).run(["run"]).passes().has_file("one").has_no_file("one\r");
}

#[test]
fn a_word_is_a_file_by_its_ending_and_a_task_otherwise() {
    let fleet = Fleet::new().file("fleet.toml", FILE).file("other.toml.example", FILE.replace("built", "other"));
    fleet.run(["run", "build"]).passes().has_file("built").has_no_file("tested");
    fleet.run(["run", "other.toml.example"]).passes().has_file("other").has_file("tested");
    let both = Fleet::new().file("a.toml", FILE).file("fleet.toml", "not read");
    both.run(["run", "build", "a.toml"]).passes().has_file("built").has_no_file("tested");
    both.run(["run", "-f", "a.toml", "build"]).passes();
    both.run(["run", "a.toml", "fleet.toml"]).fails_with(2).warns("name one");
    fleet.run(["run", "nothing.toml"]).fails_with(3);
    fleet.run(["run", "biuld"]).fails_with(2).warns("build");
}

#[test]
fn the_nearest_file_upwards_is_taken_and_named() {
    let fleet = Fleet::new().file("fleet.toml", FILE).file("a/b/x", "").file("a/fleet.yaml/x", "");
    fleet
        .inside("a/b")
        .run(["run", "build"])
        .passes()
        .warns("fleet file: ../../fleet.toml\n")
        .has_file("built")
        .has_no_file("a/b/.fleet");
    let near = Fleet::new().file("fleet.toml", FILE).file("a/fleet.toml", FILE.replace("built", "near"));
    near.inside("a").run(["run", "build"]).passes().quietly().has_file("a/near").has_no_file("built");
    Fleet::new().inside("empty").run(["run"]).fails_with(2).warns("no fleet file in");
}

#[test]
fn tasks_are_selected_with_what_they_need() {
    let fleet = || Fleet::new().file("fleet.toml", FILE);
    let ran = |told: super::support::Told| {
        let fleet = told.then();
        ["built", "tested", "slow"].map(|name| fleet.exists(name))
    };
    assert_eq!(ran(fleet().run(["run", "test"]).passes()), [true, true, false]);
    assert_eq!(ran(fleet().run(["run", "test*"]).passes()), [true, true, true]);
    assert_eq!(ran(fleet().run(["run", "tag:ci"]).passes()), [true, true, false]);
    assert_eq!(ran(fleet().run(["run", "test-slow", "build"]).passes()), [true, false, true]);
    assert_eq!(ran(fleet().run(["run", "--except", "build"]).passes()), [false, false, true]);
    assert_eq!(ran(fleet().run(["run", "--except", "test*"]).passes()), [true, false, false]);
    assert_eq!(ran(fleet().run(["run", "test*", "--except=test-slow"]).passes()), [true, true, false]);
}

#[test]
fn instances_of_a_matrix_are_selected_one_by_one_or_all() {
    let fleet = Fleet::of("[tasks.lint]\nmatrix = { t = ['a', 'b'] }\nrun = 'touch ${matrix.t}'\n");
    let fleet = fleet.run(["run", "lint:b"]).passes().has_file("b").has_no_file("a").then();
    fleet.run(["run", "lint"]).passes().has_file("a");
}

#[test]
fn variables_are_set_from_the_command_line() {
    let fleet = Fleet::of("[vars]\nwho = 'file'\ngreet = 'hello ${vars.who}'\n[tasks.a]\nrun = 'echo ${vars.greet}'\n");
    fleet.run(["run"]).passes().log("a", "hello file\n");
    fleet.run(["run", "--set", "who=you"]).passes().log("a", "hello you\n");
    fleet.run(["run", "--set", "greet=a b"]).passes().log("a", "a b\n");
    fleet.run(["run", "--set", "whom=you"]).fails_with(3);
    fleet.run(["run", "--set", "who"]).fails_with(2);
}

#[test]
fn a_dry_run_runs_nothing_and_writes_nothing() {
    Fleet::new()
        .file("fleet.toml", FILE)
        .run(["run", "test", "--dry-run"])
        .passes()
        .says("build")
        .never_says("test-slow")
        .has_no_file("built")
        .has_no_file(".fleet");
}
