//! `--affected`: what a git change touches, in real repositories.

use std::process::Command;

use super::support::{Fleet, Told};

/// A repository with a commit of everything that is there.
fn repository(fleet: Fleet) -> Fleet {
    git(&fleet, &["init", "--quiet", "--initial-branch", "main"]);
    commit(&fleet);
    fleet
}

fn commit(fleet: &Fleet) {
    git(fleet, &["add", "--all"]);
    git(fleet, &["commit", "--quiet", "--allow-empty", "--message", "story"]);
}

fn git(fleet: &Fleet, words: &[&str]) {
    git_in(fleet, "", words);
}

fn git_in(fleet: &Fleet, place: &str, words: &[&str]) {
    let mut git = Command::new("git");
    git.args(["-c", "user.name=story", "-c", "user.email=story@example.com", "-c", "protocol.file.allow=always"]);
    git.args(words).current_dir(fleet.path(place));
    // Neither the machine's settings nor those of a hook that runs the tests.
    git.env_clear().env("PATH", std::env::var("PATH").expect("tests have a PATH")).env("HOME", fleet.path(""));
    git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    let output = git.output().expect("there is git");
    assert!(output.status.success(), "git {words:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// `app` needs `lib` by a file, `docs` stands alone, `late` comes only after `lib`, `tool` is a program of the workspace.
fn chain() -> Fleet {
    Fleet::of(
        "[tasks.lib]\nsh = 'mkdir -p out; cat lib/a > out/lib'\ninputs = ['lib/**', '!lib/*.md']\noutputs = ['out/lib']\n\
         [tasks.app]\nrun = 'cat out/lib app/main'\ninputs = ['out/lib', 'app']\n\
         [tasks.docs]\nrun = 'true'\ninputs = ['docs/*.md']\n\
         [tasks.late]\nrun = 'true'\ninputs = []\nneeds = [{ task = 'lib', order_only = true }]\n\
         [tasks.tool]\nrun = './tools/check.sh'\ninputs = []\n",
    )
    .file(".gitignore", "out/\n*.log\n")
    .file("lib/a", "a\n")
    .file("lib/notes.md", "")
    .file("app/main", "")
    .file("docs/a.md", "")
    .file("tools/check.sh", "#!/bin/sh\n")
    .executable("tools/check.sh")
}

/// The names of the affected tasks, and that a list, a plan and a run agree on them.
#[track_caller]
fn touched<const N: usize>(fleet: &Fleet, words: [&str; N]) -> Vec<String> {
    let mut command = fleet.command(["list"]);
    let told = fleet.end(command.args(words)).passes();
    told.stdout().lines().map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect()
}

#[track_caller]
fn plan<const N: usize>(fleet: &Fleet, words: [&str; N]) -> Told {
    let mut command = fleet.command(["plan"]);
    fleet.end(command.args(words)).passes()
}

#[test]
fn a_change_of_a_file_touches_who_reads_it_and_who_needs_them() {
    let fleet = repository(chain());
    assert!(touched(&fleet, ["--affected"]).is_empty());
    let fleet = fleet.file("lib/a", "b\n");
    assert_eq!(touched(&fleet, ["--affected"]), ["lib", "app"]);
    plan(&fleet, ["--affected"])
        .says("affected: lib/a changed, an input by lib/**")
        .says("affected: it needs lib; after lib")
        .warns("affected: 2 of 5 tasks; 1 path changed since main\n");
    fleet.run(["run", "--affected"]).passes().says("2 passed").log("app", "b\n");
    fleet.run(["run", "--affected", "--dry-run"]).passes().says("2 steps");
    fleet.run(["graph", "--affected"]).passes().says("\"lib\" -> \"app\"").never_says("docs");
}

#[test]
fn nothing_affected_is_a_success_that_runs_nothing() {
    let fleet = repository(chain());
    let ran = fleet.run(["run", "--affected"]).passes().warns("affected: nothing; no path changed since main\n");
    let fleet = ran.has_no_file(".fleet").then().file("other.log", "").file("lib/notes.md", "excluded");
    fleet.run(["run", "--affected"]).passes().warns("affected: nothing; 1 path changed since main\n");
    fleet.run(["plan", "--affected"]).passes().says("0 steps");
    fleet.run(["list", "--affected"]).passes();
    // What selects nothing still says so.
    fleet.run(["run", "--affected", "--except", "*"]).fails_with(4).warns("nothing is selected");
    fleet.run(["run", "nope*", "--affected"]).fails_with(4);
}

#[test]
fn index_working_tree_commits_and_new_files_all_count() {
    let fleet = repository(chain());
    git(&fleet, &["checkout", "--quiet", "-b", "work"]);
    let fleet = fleet.file("lib/a", "committed");
    commit(&fleet);
    let fleet = fleet.file("docs/a.md", "staged");
    git(&fleet, &["add", "docs/a.md"]);
    // Staged and then put back in the working tree: the next commit has it.
    let fleet = fleet.file("docs/a.md", "").file("app/new", "untracked");
    assert_eq!(touched(&fleet, ["--affected"]), ["lib", "app", "docs"]);
    assert_eq!(touched(&fleet, ["--affected", "HEAD"]), ["app", "docs"]);
    assert_eq!(touched(&fleet, ["--affected=main"]), ["lib", "app", "docs"]);
    plan(&fleet, ["--affected", "HEAD"]).says("affected: app/new changed, an input by app;");
    assert_eq!(touched(&fleet, ["app", "--affected"]), ["app"]);
    plan(&fleet, ["app", "--affected"]).says("needed by app");
    assert_eq!(touched(&fleet, ["docs", "late", "--affected"]), ["docs"]);
    fleet.run(["plan", "--affected", "--except", "lib"]).passes().says("docs").never_says("app  ");
}

#[test]
fn the_other_branch_goes_on_and_touches_nothing_here() {
    let fleet = repository(chain());
    git(&fleet, &["checkout", "--quiet", "-b", "work"]);
    let fleet = fleet.file("docs/a.md", "mine");
    commit(&fleet);
    git(&fleet, &["checkout", "--quiet", "main"]);
    let fleet = fleet.file("lib/a", "theirs");
    commit(&fleet);
    git(&fleet, &["checkout", "--quiet", "work"]);
    assert_eq!(touched(&fleet, ["--affected", "main"]), ["docs"]);
    assert_eq!(touched(&fleet, ["--affected"]), ["docs"]);
}

#[test]
fn a_rename_touches_both_names_and_a_file_that_is_gone_the_one() {
    let fleet = repository(chain());
    git(&fleet, &["config", "diff.renames", "copies"]);
    git(&fleet, &["mv", "lib/a", "docs/b.md"]);
    assert_eq!(touched(&fleet, ["--affected"]), ["lib", "app", "docs"]);
    commit(&fleet);
    assert!(touched(&fleet, ["--affected"]).is_empty());
    std::fs::remove_file(fleet.path("docs/a.md")).expect("the file is ours");
    assert_eq!(touched(&fleet, ["--affected"]), ["docs"]);
    assert_eq!(touched(&fleet, ["--affected", "HEAD^"]), ["lib", "app", "docs"]);
}

#[test]
fn programs_stdin_scorers_and_the_fleet_file_count() {
    let fleet = Fleet::of(
        "include = ['more.toml']\n[tasks.tool]\nrun = './check.sh'\nworkdir = 'tools'\ninputs = []\n\
         [tasks.fed]\nrun = 'cat'\nstdin = 'data/in'\ninputs = []\n\
         [tasks.judged]\nrun = 'true'\ninputs = []\n\
         scorers = [{ kind = 'all', of = [{ kind = 'command', name = 'judge', run = 'tools/judge.sh' }] }]\n",
    )
    .file("more.toml", "version = 1\n[tasks.open]\nrun = 'true'\n")
    .file("tools/check.sh", "#!/bin/sh\n")
    .file("tools/judge.sh", "#!/bin/sh\n")
    .file("data/in", "")
    .executable("tools/check.sh")
    .executable("tools/judge.sh");
    let fleet = repository(fleet);
    // A task without `inputs` is always affected.
    assert_eq!(touched(&fleet, ["--affected"]), ["open"]);
    plan(&fleet, ["--affected"]).says("affected: it declares no inputs");
    let fleet = fleet.file("tools/check.sh", "#!/bin/sh\n# new\n").file("data/in", "new");
    assert_eq!(touched(&fleet, ["--affected"]), ["tool", "fed", "open"]);
    plan(&fleet, ["--affected"]).says("tools/check.sh changed, its program").says("data/in changed, its stdin");
    commit(&fleet);
    let fleet = fleet.file("tools/judge.sh", "#!/bin/sh\n# new\n");
    plan(&fleet, ["judged", "--affected"]).says("tools/judge.sh changed, which its scorer all uses");
    commit(&fleet);
    let fleet = fleet.file("more.toml", "version = 1\n[tasks.open]\nrun = 'false'\n");
    assert_eq!(touched(&fleet, ["--affected"]), ["tool", "fed", "judged", "open"]);
    plan(&fleet, ["tool", "--affected"]).says("affected: more.toml changed, which defines the fleet");
}

#[test]
fn links_submodules_and_odd_names_are_seen() {
    let fleet = Fleet::of(
        "[tasks.linked]\nrun = 'true'\ninputs = ['link']\n[tasks.through]\nrun = 'true'\ninputs = ['dir/x']\n\
         [tasks.vendored]\nrun = 'true'\ninputs = ['vendor/lib/src/*.c']\n\
         [tasks.odd]\nrun = 'true'\ninputs = ['odd/ä \"\n*']\n"
            .replace("\"\n*", "*")
            .as_str(),
    )
    .file("real", "")
    .file("folder/x", "")
    .file("odd/ä \"\n", "")
    .file("elsewhere/src/a.c", "");
    git_in(&fleet, "elsewhere", &["init", "--quiet"]);
    git_in(&fleet, "elsewhere", &["add", "--all"]);
    git_in(&fleet, "elsewhere", &["commit", "--quiet", "--message", "story"]);
    std::os::unix::fs::symlink("real", fleet.path("link")).expect("the folder is ours");
    std::os::unix::fs::symlink("folder", fleet.path("dir")).expect("the folder is ours");
    git(&fleet, &["init", "--quiet", "--initial-branch", "main"]);
    let url = fleet.path("elsewhere").display().to_string();
    git(&fleet, &["submodule", "--quiet", "add", &url, "vendor/lib"]);
    let fleet = fleet.file(".gitignore", "elsewhere/\n");
    commit(&fleet);
    assert!(touched(&fleet, ["--affected"]).is_empty());
    let fleet = fleet.file("vendor/lib/src/a.c", "new");
    assert_eq!(touched(&fleet, ["--affected"]), ["vendored"]);
    git_in(&fleet, "vendor/lib", &["checkout", "--quiet", "."]);
    let fleet = fleet.file("real", "new").file("folder/x", "new");
    assert_eq!(touched(&fleet, ["--affected"]), ["linked", "through"]);
    commit(&fleet);
    let fleet = fleet.file("odd/ä \"\n", "new");
    assert_eq!(touched(&fleet, ["--affected"]), ["odd"]);
}

#[test]
fn a_workspace_may_be_a_folder_of_the_repository() {
    let fleet = Fleet::new()
        .file("a b/fleet.toml", "version = 1\nname = 'x'\n[tasks.all]\nrun = 'true'\ninputs = ['.', '!fleet.toml']\n")
        .file("a b/x", "")
        .file("outside", "");
    let fleet = repository(fleet).file("outside", "new").inside("a b");
    git(&fleet, &["config", "diff.relative", "true"]);
    assert!(touched(&fleet, ["--affected"]).is_empty());
    let fleet = fleet.file("a b/y", "new");
    assert_eq!(touched(&fleet, ["--affected"]), ["all"]);
    plan(&fleet, ["--affected"]).says("affected: y changed, an input by .");
}

#[test]
fn where_it_begins_is_the_default_branch_of_the_remote() {
    let origin = repository(chain());
    git(&origin, &["branch", "--quiet", "--move", "trunk"]);
    let clone = Fleet::new();
    let url = origin.path("").display().to_string();
    git(&clone, &["clone", "--quiet", &format!("file://{url}"), "."]);
    let clone = clone.file("lib/a", "mine");
    commit(&clone);
    plan(&clone, ["--affected"]).says("lib").warns("since origin/trunk\n");
    // Without any branch to come back to it is what is not committed yet.
    git(&origin, &["checkout", "--quiet", "-b", "other"]);
    git(&origin, &["branch", "--quiet", "--delete", "--force", "trunk"]);
    let origin = origin.file("docs/a.md", "new");
    plan(&origin, ["--affected"]).says("docs").warns("since HEAD\n");
    let unborn = chain();
    git(&unborn, &["init", "--quiet"]);
    assert_eq!(touched(&unborn, ["--affected"]).len(), 5);
}

#[test]
fn what_git_cannot_answer_is_said_with_what_to_type() {
    let fleet = chain();
    // The folder of the story is in no repository, wherever temporary folders are.
    let alone = fleet.clone().var("GIT_CEILING_DIRECTORIES", "/");
    let above = fleet.path("").parent().expect("it has one").display().to_string();
    let alone = alone.var("GIT_CEILING_DIRECTORIES", &above);
    alone.run(["run", "--affected"]).fails_with(2).warns("is in no git repository").has_no_file(".fleet");
    let fleet = repository(fleet);
    fleet.run(["run", "--affected", "nope"]).fails_with(2).warns("git knows no commit `nope` here");
    fleet.run(["run", "--affected", "docs"]).fails_with(2).warns("put it before, as in `docs --affected`");
    fleet.run(["run", "--affected", "fleet.toml"]).fails_with(2).warns("`fleet.toml --affected`");
    fleet.run(["run", "--affected=--all"]).fails_with(2).warns("no revision begins with `-`");
    fleet.run(["run", "--affected="]).fails_with(2).warns("expected a branch");
    git(&fleet, &["branch", "docs"]);
    fleet.run(["run", "--affected", "docs"]).fails_with(2).warns("is a task and a revision");
    fleet.run(["run", "--affected", "refs/heads/docs"]).passes();
    git(&fleet, &["checkout", "--quiet", "--orphan", "apart"]);
    let fleet = fleet.file("docs/a.md", "apart");
    commit(&fleet);
    fleet.run(["run", "--affected", "main"]).fails_with(2).warns("`main` and HEAD have no commit in common");
    let nothing = fleet.clone().var("PATH", "/nowhere");
    nothing.run(["run", "--affected"]).fails_with(2).warns("no `git` is on PATH: install it");
}

#[test]
fn a_shallow_clone_says_that_it_is_one() {
    let origin = repository(chain());
    git(&origin, &["checkout", "--quiet", "-b", "work"]);
    for text in ["1", "2"] {
        let origin = origin.clone().file("lib/a", text);
        commit(&origin);
    }
    git(&origin, &["checkout", "--quiet", "main"]);
    let origin = origin.file("docs/a.md", "on");
    commit(&origin);
    let clone = Fleet::new();
    let url = format!("file://{}", origin.path("").display());
    git(&clone, &["clone", "--quiet", "--depth=1", "--no-single-branch", "--branch", "work", &url, "."]);
    clone.run(["run", "--affected"]).fails_with(2).warns("this clone is shallow").warns("fetch-depth: 0");
    git(&clone, &["remote", "remove", "origin"]);
    clone.run(["run", "--affected"]).fails_with(2).warns("shallow").warns("--affected HEAD^");
    clone.run(["run", "--affected", "HEAD"]).passes().warns("affected: nothing");
}

#[test]
fn programs_get_the_reasons_too() {
    let fleet = repository(chain()).file("lib/a", "b\n");
    let told = plan(&fleet, ["--affected", "--json"]);
    let plan: serde_json::Value = serde_json::from_str(told.stdout()).expect("it is JSON");
    assert_eq!(plan["affected"]["since"], "main");
    assert_eq!(plan["affected"]["changed"], serde_json::json!([{ "path": "lib/a", "kind": "file" }]));
    let reason = |name: &str| {
        let steps = plan["steps"].as_array().expect("a list");
        steps.iter().find(|step| step["task"] == name).expect("it is planned")["affected"].clone()
    };
    let lib = serde_json::json!({ "because": "path", "path": "lib/a", "by": "inputs", "pattern": "lib/**" });
    assert_eq!(reason("lib"), lib);
    assert_eq!(reason("app"), serde_json::json!({ "because": "needs", "task": "lib" }));
}

#[test]
fn a_file_that_was_only_touched_has_not_changed() {
    let fleet = repository(chain());
    let file = std::fs::File::options().append(true).open(fleet.path("lib/a")).expect("the file is ours");
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("the file is ours");
    assert!(touched(&fleet, ["--affected"]).is_empty());
}
