//! What a person sees of the graph: every mistake it finds, whole; `shown` has the plan, list and graph of a small fleet,
//! `places` its workers and what bounds them.

mod places;
mod shown;

use std::collections::HashMap;

use tempfile::TempDir;

use super::*;

/// A machine that is the same everywhere.
fn machine() -> Facts {
    let mut facts = Facts::new(2, HashMap::new(), |_| Some("main".into()));
    facts.os = "linux".into();
    facts.arch = "x86_64".into();
    facts
}

struct Folder {
    dir: TempDir,
    file: String,
}

impl Folder {
    fn with(name: &str, text: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(dir.path().join(name), text).expect("a fleet file");
        let file = dir.path().join(name).display().to_string();
        Self { dir, file }
    }

    fn load(&self, words: &[&str], except: &[&str]) -> Result<Ready, Failed> {
        let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let source = Source { file: Some(self.file.clone().into()), set: Vec::new() };
        load(&source, &texts(words), &texts(except), self.dir.path(), machine())
    }
}

/// What is said of a fleet file that is wrong.
fn wrong(text: &str) -> String {
    wrong_in("fleet.toml", text)
}

fn wrong_in(name: &str, text: &str) -> String {
    match Folder::with(name, text).load(&[], &[]) {
        Err(Failed::Invalid { problems, map, .. }) => spec::render::human(&problems, &map, &Style::default()),
        other => panic!("{other:?}"),
    }
}

/// What is said of a selection that is wrong.
fn unselected(words: &[&str], except: &[&str]) -> String {
    match Folder::with("fleet.toml", FLEET).load(words, except) {
        Err(Failed::Selection { problems, exit }) => format!("{exit}\n{}", lines(&problems)),
        other => panic!("{other:?}"),
    }
}

const FLEET: &str = r#"name = "release"
version = 1
seed = 7

[defaults]
timeout = "10m"

[tasks.build]
description = "Compile everything"
run = ["cargo", "build", "--message-format", "short style"]
inputs = ["src/**"]
outputs = ["target/app"]
on_failure = ["collect"]

[tasks.lint]
sh = """
cargo fmt --check
cargo clippy
"""
matrix = { target = ["x86_64", "aarch64"] }
tags = ["ci"]

[tasks.test]
run = "./target/app --self-test"
inputs = ["target/app"]
worker = { capabilities = ["cargo"] }

[tasks.old]
run = "true"
when = { os = "macos" }

[tasks.publish]
needs = ["test", { task = "lint", accept = "partial" }, "old"]
run = "./publish.sh"

[tasks.collect]
run = "./collect.sh"

[workers.here]
host = "local"
slots = 2
capabilities = ["cargo"]

[workers.there]
host = "local"
slots = 1
"#;

#[test]
fn a_cycle_of_three_is_shown_whole() {
    insta::assert_snapshot!(wrong(r#"name = "x"
version = 1

[tasks.build]
run = "true"
needs = ["publish"]

[tasks.test]
run = "true"
needs = ["build"]

[tasks.publish]
run = "true"
needs = [{ task = "test", accept = "partial" }]
"#), @r#"
    fleet::cycle

      × tasks wait for each other: `build` → `publish` → `test` → `build`
       ╭─[fleet.toml:6:10]
     5 │ run = "true"
     6 │ needs = ["publish"]
       ·          ────┬────
       ·              ╰── `build` needs `publish`
     7 │ 
       ╰────
        ╭─[fleet.toml:10:10]
      9 │ run = "true"
     10 │ needs = ["build"]
        ·          ───┬───
        ·             ╰── `test` needs `build`
     11 │ 
        ╰────
        ╭─[fleet.toml:14:10]
     13 │ run = "true"
     14 │ needs = [{ task = "test", accept = "partial" }]
        ·          ──────────────────┬──────────────────
        ·                            ╰── `publish` needs `test`
        ╰────
      help: remove one of these needs
    "#);
}

#[test]
fn a_cycle_through_files_names_the_files() {
    insta::assert_snapshot!(wrong(r#"name = "x"
version = 1

[tasks.gen]
run = "true"
inputs = ["src/**"]
outputs = ["src/gen.rs"]
"#), @r#"
    fleet::cycle

      × task `gen` waits for itself
       ╭─[fleet.toml:6:11]
     5 │ run = "true"
     6 │ inputs = ["src/**"]
       ·           ────┬───
       ·               ╰── `gen` reads `src/gen.rs`, which it writes
     7 │ outputs = ["src/gen.rs"]
       ╰────
      help: a task cannot read what it writes: take the output out of `inputs` with `!`
    "#);
}

#[test]
fn a_cycle_of_a_need_and_a_file_shows_both() {
    insta::assert_snapshot!(wrong_in("fleet.yaml", r"name: x
version: 1
tasks:
  gen:
    run: 'true'
    needs: [check]
    outputs: [gen.rs]
  check:
    run: 'true'
    inputs: ['*.rs']
"), @r#"
    fleet::cycle

      × tasks wait for each other: `gen` → `check` → `gen`
       ╭─[fleet.yaml:6:13]
     5 │     run: 'true'
     6 │     needs: [check]
       ·             ──┬──
       ·               ╰── `gen` needs `check`
     7 │     outputs: [gen.rs]
       ╰────
        ╭─[fleet.yaml:10:14]
      9 │     run: 'true'
     10 │     inputs: ['*.rs']
        ·              ───┬──
        ·                 ╰── `check` reads `gen.rs`, which `gen` writes
        ╰────
      help: remove one of these needs, or narrow the files of one of these tasks
    "#);
}

#[test]
fn two_tasks_with_one_output_show_both_places() {
    insta::assert_snapshot!(wrong(r#"name = "x"
version = 1

[tasks.debug]
run = "true"
outputs = ["target/app"]

[tasks.release]
run = "true"
needs = ["debug"]
outputs = ["notes.md", "target/app"]
"#), @r#"
    fleet::same_output

      × tasks `debug` and `release` both have the output `target/app`
       ╭─[fleet.toml:6:12]
     5 │ run = "true"
     6 │ outputs = ["target/app"]
       ·            ──────┬─────
       ·                  ╰── first here
     7 │ 
       ╰────
        ╭─[fleet.toml:11:24]
     10 │ needs = ["debug"]
     11 │ outputs = ["notes.md", "target/app"]
        ·                        ──────┬─────
        ·                              ╰── here again
        ╰────
      help: give one of them another path: a file has one maker
    "#);
}

#[test]
fn instances_with_one_output_are_one_mistake() {
    insta::assert_snapshot!(wrong(r#"name = "x"
version = 1

[tasks.build]
run = "true"
matrix = { os = ["linux", "macos", "windows"] }
outputs = ["app"]
"#), @r#"
    fleet::same_output

      × tasks `build:linux` and `build:macos` both have the output `app`
       ╭─[fleet.toml:7:12]
     6 │ matrix = { os = ["linux", "macos", "windows"] }
     7 │ outputs = ["app"]
       ·            ──┬──
       ·              ╰── every instance writes this
       ╰────
      help: put the instance into the path, for example `${matrix.os}`
    "#);
}

#[test]
fn unordered_tasks_that_write_one_place_show_both() {
    insta::assert_snapshot!(wrong(r#"name = "x"
version = 1

[tasks.debug]
run = "true"
writable_paths = ["target"]

[tasks.release]
run = "true"
outputs = ["target/release/app"]
"#), @r#"
    fleet::shared_writes

      × tasks `debug` and `release` may write the same files, `target` and `target/release/app` at the
      │ same time
       ╭─[fleet.toml:6:19]
     5 │ run = "true"
     6 │ writable_paths = ["target"]
       ·                   ────┬───
       ·                       ╰── `debug` may write here
     7 │ 
       ╰────
        ╭─[fleet.toml:10:12]
      9 │ run = "true"
     10 │ outputs = ["target/release/app"]
        ·            ──────────┬─────────
        ·                      ╰── `release` may write here
        ╰────
      help: let one wait for the other, for example `needs = ["debug"]` in `release`, or keep the
            paths apart
    "#);
}

#[test]
fn an_impossible_request_names_the_nearest_worker_and_what_it_lacks() {
    insta::assert_snapshot!(wrong(r#"name = "x"
version = 1

[tasks.notes]
run = "true"
worker = { capabilities = ["gpu", "cargo"], labels = { os = "linux" }, trust = "operator" }

[workers.here]
host = "local"
capabilities = ["cargo"]
labels = { os = "macos" }

[workers.bare]
host = "local"
"#), @r#"
    fleet::impossible_worker

      × no worker can run task `notes`
       ╭─[fleet.toml:6:1]
     5 │ run = "true"
     6 │ worker = { capabilities = ["gpu", "cargo"], labels = { os = "linux" }, trust = "operator" }
       · ───┬──
       ·    ╰── asked for here
     7 │ 
     8 │ [workers.here]
       ·          ──┬─
       ·            ╰── the nearest, lacks the label os = "linux" (it has "macos"), the capability "gpu" and the trust operator (it has local)
     9 │ host = "local"
       ╰────
      help: give worker `here` what it lacks, or ask for less
    "#);
}

#[test]
fn without_workers_there_is_one_that_lacks_everything() {
    insta::assert_snapshot!(wrong(r#"name = "x"
version = 1

[tasks.notes]
run = "true"
worker = { capabilities = ["gpu"] }
"#), @r#"
    fleet::impossible_worker

      × no worker can run task `notes`
       ╭─[fleet.toml:6:1]
     5 │ run = "true"
     6 │ worker = { capabilities = ["gpu"] }
       · ───┬──
       ·    ╰── asked for here
       ╰────
      help: the file declares no workers, so there is only `local`, which lacks the capability "gpu":
            declare one under [workers]
    "#);
}

#[test]
fn all_of_a_kind_and_of_every_kind_are_told_at_once() {
    let text = wrong(
        r#"name = "x"
version = 1

[tasks.a]
run = "true"
needs = ["b"]

[tasks.b]
run = "true"
needs = ["a"]
worker = { capabilities = ["gpu"] }

[tasks.c]
run = "true"
outputs = ["x"]

[tasks.d]
run = "true"
outputs = ["x"]
"#,
    );
    let codes: Vec<&str> = text.lines().filter(|line| line.starts_with("fleet::")).collect();
    assert_eq!(codes, ["fleet::cycle", "fleet::impossible_worker", "fleet::same_output"]);
}

#[test]
fn a_selection_that_names_nothing_says_what_was_meant() {
    insta::assert_snapshot!(unselected(&["biuld", "tag:cl", "zzzzzz"], &[]), @"
    2
    no task is named `biuld`; did you mean `build`?
    no task matches `tag:cl`; did you mean `tag:ci`?
    no task is named `zzzzzz`; `fleet list` shows what there is
    ");
    insta::assert_snapshot!(unselected(&["zz*", "tag:cl", "tag:none"], &[]), @"
    4
    no task matches `zz*`; `fleet list` shows what there is
    no task matches `tag:cl`; did you mean `tag:ci`?
    no task matches `tag:none`; `fleet list` shows what there is
    ");
    insta::assert_snapshot!(unselected(&["build"], &["zz*"]), @"
    2
    no task matches `zz*`; `fleet list` shows what there is
    ");
    insta::assert_snapshot!(unselected(&["collect"], &[]), @"
    2
    `collect` runs only after a failure of `build`; run `build` instead, or take `collect` out of `on_failure`
    ");
    insta::assert_snapshot!(unselected(&["publish"], &["lint:aarch64"]), @"
    2
    `publish` is asked for, but needs `lint:aarch64`, which --except leaves out; leave out `publish` as well, or neither
    ");
}
