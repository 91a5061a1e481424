//! The program itself, from its words to its exit code.

use assert_cmd::Command;

fn fleet(words: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleet"));
    let output = command.env_clear().args(words).output().expect("the program was built");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("fleet prints text");
    (output.status.code().expect("it exits"), text(output.stdout), text(output.stderr))
}

#[test]
fn help_prints_the_exit_codes() {
    let (code, stdout, stderr) = fleet(&["help", "exit-codes"]);
    assert_eq!((code, &*stderr), (0, ""));
    insta::assert_snapshot!(stdout, @"
    The exit codes of fleet:
       0  all required work passed
       1  a task or a scorer failed
       2  wrong usage of the command line
       3  the fleet file is invalid
       4  nothing was selected
       5  the selected part passed, other required work is outstanding
       6  waiting for a person
       7  a budget was exceeded
       8  the run's time is up
       9  infrastructure or transport failed
      10  receipts, audit, gate or store do not verify
      11  another run holds the state directory
      70  internal error
      74  output or disk could not be written
     130  interrupted (SIGINT)
     143  terminated (SIGTERM)
    ");
}

#[test]
fn the_schema_is_json_with_a_newline_behind() {
    let (code, stdout, _) = fleet(&["schema"]);
    let schema: serde_json::Value = serde_json::from_str(&stdout).expect("it is JSON");
    assert_eq!((code, stdout.ends_with("}\n")), (0, true));
    assert!(schema["properties"]["tasks"].is_object());
}

/// In a folder with these files and nothing else.
fn check(files: &[(&str, &str)], folder: &str, words: &[&str]) -> (i32, String, String) {
    let root = tempfile::tempdir().expect("a temporary folder can be made");
    for (name, text) in files {
        let path = root.path().join(name);
        std::fs::create_dir_all(path.parent().expect("it has a name")).expect("the folder is ours");
        std::fs::write(path, text).expect("the folder is ours");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleet"));
    let output = command
        .env_clear()
        .current_dir(root.path().join(folder))
        .arg("check")
        .args(words)
        .output()
        .expect("the program was built");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("fleet prints text");
    (output.status.code().expect("it exits"), text(output.stdout), text(output.stderr))
}

const RIGHT: &str = "version = 1\nname = \"x\"\n[tasks.a]\nrun = \"true\"\n";
/// Two mistakes that only the graph and the places of workers show.
const WRONG: &str = "version = 1\nname = \"x\"\n[tasks.a]\nneeds = [\"b\"]\nrun = \"true\"\n\
    [tasks.b]\nneeds = [\"a\"]\nrun = \"true\"\nworker = { capabilities = [\"gpu\"] }\n";

#[test]
fn check_tells_all_mistakes_and_exits_three() {
    let (code, stdout, stderr) = check(&[("fleet.toml", WRONG)], "", &[]);
    assert_eq!((code, &*stderr), (3, ""));
    assert!(stdout.contains("fleet::cycle") && stdout.contains("fleet::impossible_worker"), "{stdout}");
    assert!(stdout.contains("[fleet.toml:") && !stdout.contains('\x1b'), "{stdout}");
    for format in ["json", "sarif"] {
        let (code, stdout, _) = check(&[("fleet.toml", WRONG)], "", &["--format", format]);
        let told: serde_json::Value = serde_json::from_str(&stdout).expect("it is JSON");
        let list = if format == "json" { &told["problems"] } else { &told["runs"][0]["results"] };
        assert_eq!((code, list.as_array().map(Vec::len)), (3, Some(2)), "{stdout}");
    }
}

#[test]
fn check_finds_the_file_that_a_person_means() {
    let right = |line: &str| (0, format!("{line}: 1 task, no mistakes\n"), String::new());
    assert_eq!(check(&[("fleet.toml", RIGHT)], "", &[]), right("fleet.toml"));
    assert_eq!(check(&[("fleet.toml", RIGHT), ("a/b/x", "")], "a/b", &[]), right("../../fleet.toml"));
    let example = [("fleet.toml", WRONG), ("fleet.toml.example", RIGHT)];
    assert_eq!(check(&example, "", &["fleet.toml.example"]), right("fleet.toml.example"));
    assert_eq!(check(&example, "", &["-f", "fleet.toml.example"]), right("fleet.toml.example"));
    let (code, stdout, _) = check(&[("fleet.toml", WRONG), ("a/x", "")], "a", &[]);
    assert!(code == 3 && stdout.contains("[../fleet.toml:"), "{stdout}");
    let (code, _, stderr) = check(&[("fleet.toml", RIGHT)], "", &["build"]);
    assert_eq!((code, &*stderr), (2, "error: `build` is one word too many\n"));
    assert_eq!(check(&example, "", &["fleet.toml", "-f", "fleet.toml.example"]).0, 2);
}

#[test]
fn wrong_usage_is_two_and_help_is_zero() {
    for (words, code) in [
        (&[][..], 2),
        (&["no-such-command"], 2),
        (&["help", "no-such-page"], 2),
        (&["--no-such-option"], 2),
        (&["--help"], 0),
        (&["help"], 0),
        (&["help", "help"], 0),
        (&["help", "--help"], 0),
        (&["--version"], 0),
    ] {
        let (exit, stdout, stderr) = fleet(words);
        assert_eq!(exit, code, "{words:?}: {stderr}");
        let (said, silent) = if code == 0 { (stdout, stderr) } else { (stderr, stdout) };
        assert!(!said.is_empty() && silent.is_empty(), "{words:?}");
    }
}

#[test]
fn a_page_that_is_not_there_names_the_nearest() {
    let (_, _, stderr) = fleet(&["help", "exit-code"]);
    assert_eq!(stderr, "error: no help page is named `exit-code`; did you mean `exit-codes`?\n");
}

#[test]
fn colour_is_only_where_it_is_asked_for() {
    let (_, plain, _) = fleet(&["help", "exit-codes"]);
    let (_, colored, _) = fleet(&["help", "exit-codes", "--color", "always"]);
    let (_, _, error) = fleet(&["no-such-command", "--color=always"]);
    assert!(error.contains('\x1b'), "{error:?}");
    assert!(!plain.contains('\x1b') && colored.contains("\x1b[1m   0\x1b[0m  all required work passed"));
}

#[test]
fn a_preflight_tells_what_this_machine_lacks_and_nothing_else() {
    let text = "version = 1\nname = \"x\"\n[defaults]\ntools = [\"no-such-tool\"]\n[tasks.a]\nrun = \"/bin/true\"\n\
                required_files = [\"here\", \"gone\", \"*.none\"]\nrequired_env = [\"NOT_SET\"]\n\
                [tasks.b]\nrun = \"/bin/true\"\ntools = []\n";
    let files = [("fleet.toml", text), ("here", "")];
    assert_eq!(check(&files, "", &[]).0, 0);
    let (code, stdout, _) = check(&files, "", &["--preflight", "--format", "json"]);
    let told: serde_json::Value = serde_json::from_str(&stdout).expect("it is JSON");
    let problems = told.as_array().or_else(|| told["problems"].as_array()).expect("a list of problems");
    let messages: Vec<&str> = problems.iter().filter_map(|problem| problem["message"].as_str()).collect();
    assert_eq!(
        (code, &messages[..]),
        (
            9,
            &[
                "task `a` cannot start here: the required file `gone` does not exist",
                "task `a` cannot start here: no file matches the required `*.none`",
                "task `a` cannot start here: the required variable `NOT_SET` is not set",
                "task `a` cannot start here: the tool `no-such-tool` is not on PATH",
            ][..]
        )
    );
    // What is wrong with the file itself comes first.
    let broken = text.replace("[tasks.b]", "[tasks.b]\nneeds = [\"c\"]");
    assert_eq!(check(&[("fleet.toml", &broken)], "", &["--preflight"]).0, 3);
}
