//! Looking before a run, through the real program: what `plan`, `list` and `graph` print where, and how they exit.

use std::path::Path;
use std::process::{Command, Output};

const FLEET: &str = r#"name = "x"
version = 1
[tasks.build]
run = "true"
[tasks.test]
run = "true"
needs = ["build"]
"#;

fn fleet(folder: &Path, line: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fleet")).args(line).current_dir(folder).output().expect("fleet starts")
}

#[track_caller]
fn says(folder: &Path, line: &[&str], code: i32, stdout: &str, stderr: &str) {
    let output = fleet(folder, line);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{line:?}: {out}{err}");
    assert!(out.contains(stdout) && out.is_empty() == stdout.is_empty(), "{line:?} printed: {out}");
    assert!(err.contains(stderr) && err.is_empty() == stderr.is_empty(), "{line:?} said: {err}");
}

#[test]
fn what_is_shown_goes_to_stdout_and_the_code_says_how_it_went() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("fleet.toml"), FLEET).unwrap();
    std::fs::create_dir(folder.path().join("deep")).unwrap();
    let (here, deep) = (folder.path(), folder.path().join("deep"));
    says(here, &["plan"], 0, "after build", "");
    says(here, &["plan", "--json", "build"], 0, "\"origin\":\"file\"", "");
    says(here, &["list", "fleet.toml", "test"], 0, "test\n", "");
    says(here, &["graph", "--format", "mermaid"], 0, "t0 ==> t1", "");
    // A file that was found above is named.
    says(&deep, &["list"], 0, "build\ntest\n", "fleet file: ../fleet.toml");
    says(here, &["plan", "tset"], 2, "", "did you mean `test`?");
    says(here, &["plan", "test", "--except", "test"], 4, "0 steps", "");
    says(here, &["plan", "no.toml"], 3, "", "no.toml");
}

#[test]
fn a_mistake_of_the_graph_is_drawn_on_stderr_with_the_way_to_the_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("ci")).unwrap();
    std::fs::write(
        folder.path().join("ci/fleet.toml"),
        FLEET.replace("[tasks.test]", "needs = [\"test\"]\n[tasks.test]"),
    )
    .unwrap();
    for line in [["plan", "ci/fleet.toml"], ["list", "ci/fleet.toml"], ["graph", "ci/fleet.toml"]] {
        says(folder.path(), &line, 3, "", "ci/fleet.toml:5:10");
    }
}
