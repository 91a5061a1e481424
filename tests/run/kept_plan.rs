//! A plan that was read before must never be told once reading again would tell another. Each story warms the cache,
//! changes one thing, and holds what `fleet` says then against what it says with no cache at all.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::support::Fleet;

/// More than so many tasks are worth keeping.
const TASKS: usize = 70;
const PLAN: [&str; 2] = ["plan", "--json"];

/// A file of enough tasks, in a folder where plans are kept.
fn world(tasks: &str) -> Fleet {
    Fleet::of(&text(tasks)).file(".fleet/.gitignore", "*\n")
}

fn text(tasks: &str) -> String {
    let padding = (0..TASKS).map(|task| format!("[tasks.pad{task}]\nrun = \"true\"\n"));
    padding.fold(tasks.to_owned(), |text, task| text + &task)
}

/// Everything that a command says.
fn said<const N: usize>(fleet: &Fleet, words: [&str; N]) -> String {
    let output = fleet.command(words).output().expect("the program was built");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr))
}

/// Has the plan kept, with times that are old enough to be believed. That it is served then is told elsewhere; this wait
/// decides nothing, and without it the stories would all be told about contents.
#[track_caller]
fn warm<const N: usize>(fleet: &Fleet, words: [&str; N]) -> String {
    std::thread::sleep(Duration::from_millis(50));
    let first = said(fleet, words);
    assert!(fleet.exists(".fleet/cache"), "no plan was kept:\n{first}");
    assert_eq!(said(fleet, words), first);
    assert_eq!(said(fleet, words), first);
    first
}

/// What is said is what is said without a cache. Returns it.
#[track_caller]
fn honest<const N: usize>(fleet: &Fleet, words: [&str; N]) -> String {
    let now = said(fleet, words);
    let (cache, aside) = (fleet.path(".fleet/cache"), fleet.path(".fleet/aside"));
    fs::rename(&cache, &aside).expect("there is a cache");
    let fresh = said(fleet, words);
    fs::remove_dir_all(&cache).ok();
    fs::rename(&aside, &cache).expect("it is ours");
    assert_eq!(now, fresh);
    now
}

/// Warms, changes, and sees that the change is told.
#[track_caller]
fn change(fleet: &Fleet, change: impl FnOnce(&Fleet)) {
    let before = warm(fleet, PLAN);
    change(fleet);
    let after = honest(fleet, PLAN);
    assert_ne!(before, after, "the change shows");
    assert_eq!(warm(fleet, PLAN), after);
}

/// Replaces a word in a file by one of the same length and gives the file its old times.
fn edit_in_secret(fleet: &Fleet, name: &str, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let (path, text) = (fleet.path(name), fleet.read(name));
    let about = fs::metadata(&path).unwrap();
    assert!(text.contains(from));
    fs::write(&path, text.replace(from, to)).unwrap();
    let times = FileTimes::new().set_modified(about.modified().unwrap()).set_accessed(about.accessed().unwrap());
    File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), about.modified().unwrap());
}

/// Replaces a file by another one of the same size and times.
fn swap_in_secret(fleet: &Fleet, name: &str, from: &str, to: &str) {
    let copy = fleet.path("copy");
    let done = Command::new("cp").arg("-a").arg(fleet.path(name)).arg(&copy).status().unwrap();
    assert!(done.success());
    edit_in_secret(fleet, "copy", from, to);
    fs::rename(copy, fleet.path(name)).unwrap();
}

const HELLO: &str = "[tasks.hello]\nrun = [\"echo\", \"aaaa\"]\n";

#[test]
fn an_edit_that_keeps_size_and_time_is_seen() {
    let fleet = world(HELLO);
    change(&fleet, |fleet| edit_in_secret(fleet, "fleet.toml", "aaaa", "bbbb"));
    change(&fleet, |fleet| swap_in_secret(fleet, "fleet.toml", "bbbb", "cccc"));
}

#[test]
fn an_edit_right_after_a_command_is_seen() {
    let fleet = world(HELLO);
    warm(&fleet, PLAN);
    let mut word = "aaaa".to_owned();
    for turn in 0..30 {
        let next = format!("{turn:04}");
        // Within one tick of the clock, most likely.
        fs::write(fleet.path("fleet.toml"), fleet.read("fleet.toml").replace(&word, &next)).unwrap();
        let plan = said(&fleet, PLAN);
        assert!(plan.contains(&format!("\"{next}\"")), "turn {turn}: {plan}");
        word = next;
    }
}

#[test]
fn a_run_does_what_the_file_says_now() {
    let fleet = Fleet::of(&text("[tasks.hello]\nsh = \"echo aaaa\"\n"));
    fleet.run(["run", "-n"]).passes();
    assert!(!fleet.exists(".fleet"), "a dry run leaves nothing behind");
    fleet.run(["run"]).passes().prints("hello", "aaaa");
    let plans = fs::read_dir(fleet.path(".fleet/cache")).unwrap().count();
    assert!(plans > 0, "the first run keeps its plan");
    fleet.run(["run"]).passes().prints("hello", "aaaa");
    edit_in_secret(&fleet, "fleet.toml", "aaaa", "bbbb");
    fleet.run(["run"]).passes().prints("hello", "bbbb");
}

#[test]
fn a_mistake_is_told_however_well_the_file_was_known() {
    let fleet = world(HELLO);
    change(&fleet, |fleet| {
        let text = fleet.read("fleet.toml");
        fs::write(fleet.path("fleet.toml"), text.replace("[\"echo\", \"aaaa\"]", "[]")).unwrap();
        let told = honest(fleet, PLAN);
        assert!(told.contains("error") || told.contains('×'), "{told}");
        fs::write(fleet.path("fleet.toml"), text.replace("aaaa", "right again")).unwrap();
    });
}

#[test]
fn mistakes_of_a_selection_are_told_the_same() {
    let fleet = world("[tasks.hello]\nrun = \"true\"\non_failure = [\"sorry\"]\n[tasks.sorry]\nrun = \"true\"\n");
    warm(&fleet, PLAN);
    for word in ["helo", "sorry", "zz*", "tag:none"] {
        honest(&fleet, ["plan", word]);
    }
}

fn with_includes(list: &str) -> Fleet {
    let main = format!("include = {list}\n{}", text(HELLO));
    let part = |name: &str| format!("[tasks.{name}]\nrun = [\"echo\", \"aaaa\"]\n");
    Fleet::new()
        .file("fleet.toml", format!("version = 1\nname = \"story\"\nseed = 1\n{main}"))
        .file(".fleet/.gitignore", "*\n")
        .file("ci/one.toml", part("one"))
        .file("ci/two.toml", part("two"))
}

#[test]
fn an_included_file_is_watched_like_the_first() {
    let fleet = with_includes("[\"ci/one.toml\", \"ci/two.toml\"]");
    change(&fleet, |fleet| edit_in_secret(fleet, "ci/two.toml", "aaaa", "bbbb"));
    change(&fleet, |fleet| swap_in_secret(fleet, "ci/one.toml", "aaaa", "bbbb"));
    change(&fleet, |fleet| fs::remove_file(fleet.path("ci/one.toml")).unwrap());
}

/// An include that is not there is a mistake, and nothing with a mistake is kept.
#[test]
fn an_include_that_comes_back_is_read() {
    let fleet = with_includes("[\"ci/one.toml\"]");
    let before = warm(&fleet, PLAN);
    fs::rename(fleet.path("ci/one.toml"), fleet.path("ci/away")).unwrap();
    assert!(honest(&fleet, PLAN).contains("ci/one.toml"));
    fs::rename(fleet.path("ci/away"), fleet.path("ci/one.toml")).unwrap();
    assert_eq!(honest(&fleet, PLAN), before);
}

#[test]
fn an_include_that_becomes_a_link_is_read_again() {
    let fleet = with_includes("[\"ci/one.toml\"]");
    let other = fleet.read("ci/one.toml").replace("aaaa", "bbbb");
    let fleet = fleet.file("other/one.toml", other);
    change(&fleet, |fleet| {
        fs::rename(fleet.path("ci/one.toml"), fleet.path("ci/was.toml")).unwrap();
        symlink("../other/one.toml", fleet.path("ci/one.toml")).unwrap();
    });
    change(&fleet, |fleet| {
        fs::remove_file(fleet.path("ci/one.toml")).unwrap();
        symlink("was.toml", fleet.path("ci/one.toml")).unwrap();
    });
    // The whole folder by another one.
    change(&fleet, |fleet| {
        fs::rename(fleet.path("ci"), fleet.path("gone")).unwrap();
        symlink("other", fleet.path("ci")).unwrap();
    });
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("one.toml"), "").unwrap();
    warm(&fleet, PLAN);
    fs::remove_file(fleet.path("ci")).unwrap();
    symlink(outside.path(), fleet.path("ci")).unwrap();
    assert!(honest(&fleet, PLAN).contains("leaves the workspace"));
}

#[test]
fn a_glob_of_includes_takes_what_is_there_now() {
    let fleet = with_includes("[\"ci/*.toml\"]");
    change(&fleet, |fleet| {
        fs::write(fleet.path("ci/three.toml"), "[tasks.three]\nrun = \"true\"\n").unwrap();
    });
    change(&fleet, |fleet| fs::remove_file(fleet.path("ci/one.toml")).unwrap());
    change(&fleet, |fleet| fs::rename(fleet.path("ci/two.toml"), fleet.path("ci/two.off")).unwrap());
    let fleet = with_includes("[\"ci/**/fleet.toml\", \"ci/one.toml\"]").file("ci/a/fleet.toml", "");
    change(&fleet, |fleet| {
        fs::create_dir_all(fleet.path("ci/b/deep")).unwrap();
        fs::write(fleet.path("ci/b/deep/fleet.toml"), "[tasks.deep]\nrun = \"true\"\n").unwrap();
    });
}

#[test]
fn set_and_jobs_make_plans_of_their_own() {
    let fleet = world("[vars]\nword = \"aaaa\"\n[tasks.hello]\nrun = [\"echo\", \"${vars.word}\"]\n");
    let plain = warm(&fleet, PLAN);
    for word in ["word=bbbb", "word=cccc"] {
        let with = warm(&fleet, ["plan", "--json", "--set", word]);
        assert_ne!(with, plain);
        honest(&fleet, ["plan", "--json", "--set", word]);
    }
    let twice = ["plan", "--json", "--set", "word=bbbb", "--set", "word=cccc"];
    assert!(honest(&fleet, twice).contains("cccc"));
    for jobs in ["50", "60"] {
        let words = ["run", "-n", "--json", "-j", jobs];
        assert!(honest(&fleet, words).contains(&format!("\"value\":{jobs}")));
    }
    assert_eq!(honest(&fleet, PLAN), plain);
}

#[test]
fn the_environment_is_asked_each_time() {
    let asks = "[tasks.set]\nrun = \"true\"\nwhen = { env = \"ASKED\" }\n\
                [tasks.is]\nrun = \"true\"\nwhen = { env = { ASKED = \"yes\" } }\n\
                [tasks.unset]\nrun = \"true\"\nwhen = { env = { ASKED = false } }\n";
    let fleet = world(asks);
    let without = warm(&fleet, PLAN);
    let yes = fleet.clone().var("ASKED", "yes");
    let with = honest(&yes, PLAN);
    assert_eq!(warm(&yes, PLAN), with);
    let no = honest(&fleet.clone().var("ASKED", "no"), PLAN);
    assert!(without != with && with != no && without != no);
    assert_eq!(honest(&fleet, PLAN), without);
    // A value may be a secret, and stands in no file.
    warm(&fleet.clone().var("ASKED", "hunter2"), PLAN);
    for plan in fs::read_dir(fleet.path(".fleet/cache")).unwrap() {
        let bytes = fs::read(plan.unwrap().path()).unwrap();
        assert!(!bytes.windows(7).any(|part| part == b"hunter2"));
    }
}

#[test]
fn the_branch_is_asked_each_time() {
    let git = |fleet: &Fleet, words: &[&str]| {
        let done = Command::new("git").args(words).current_dir(fleet.path("")).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    let fleet = world("[tasks.release]\nrun = \"true\"\nwhen = { branch = \"main\" }\n");
    change(&fleet, |fleet| git(fleet, &["init", "-q", "-b", "main"]));
    change(&fleet, |fleet| git(fleet, &["symbolic-ref", "HEAD", "refs/heads/other"]));
    change(&fleet, |fleet| fs::remove_dir_all(fleet.path(".git")).unwrap());
}

#[test]
fn what_should_exist_is_looked_for_each_time() {
    let fleet = world(
        "[tasks.one]\nrun = \"true\"\nwhen = { exists = \"deep/down/flag\" }\n\
         [tasks.any]\nrun = \"true\"\nwhen = { exists = [\"no\", \"flags/**/*.flag\"] }\n",
    );
    change(&fleet, |fleet| {
        fs::create_dir_all(fleet.path("deep/down")).unwrap();
        fs::write(fleet.path("deep/down/flag"), "").unwrap();
    });
    change(&fleet, |fleet| {
        fs::create_dir_all(fleet.path("flags/a")).unwrap();
        fs::write(fleet.path("flags/a/x.flag"), "").unwrap();
    });
    change(&fleet, |fleet| fs::remove_dir_all(fleet.path("flags")).unwrap());
    change(&fleet, |fleet| fs::remove_file(fleet.path("deep/down/flag")).unwrap());
}

#[test]
fn a_path_that_begins_to_leave_the_workspace_is_refused() {
    let outside = tempfile::tempdir().unwrap();
    let tasks = "[tasks.one]\nrun = \"true\"\ninputs = [\"in/a/b.c\", \"in/*.h\"]\noutputs = [\"out/x/y\"]\n";
    let changes: [fn(&Fleet, &Path); 4] = [
        |fleet, outside| symlink(outside, fleet.path("in")).unwrap(),
        |fleet, outside| {
            fs::create_dir_all(fleet.path("in")).unwrap();
            symlink(outside, fleet.path("in/a")).unwrap();
        },
        |fleet, outside| {
            fs::create_dir_all(fleet.path("in/a")).unwrap();
            symlink(outside, fleet.path("in/a/b.c")).unwrap();
        },
        |fleet, outside| {
            symlink("elsewhere", fleet.path("out")).unwrap();
            symlink(outside, fleet.path("elsewhere/x")).unwrap();
        },
    ];
    for change in changes {
        let fleet = world(tasks).file("elsewhere/file", "");
        warm(&fleet, PLAN);
        change(&fleet, outside.path());
        assert!(honest(&fleet, PLAN).contains("leaves the workspace"));
    }
    // A link that stays inside until its target moves.
    let fleet = world(tasks).file("elsewhere/a/file", "");
    symlink("elsewhere", fleet.path("in")).unwrap();
    warm(&fleet, PLAN);
    fs::rename(fleet.path("elsewhere"), fleet.path("was")).unwrap();
    honest(&fleet, PLAN);
    symlink(outside.path(), fleet.path("elsewhere")).unwrap();
    assert!(honest(&fleet, PLAN).contains("leaves the workspace"));
}

#[test]
fn folders_that_appear_make_no_other_plan() {
    let fleet = world("[tasks.one]\nrun = \"true\"\noutputs = [\"out/x/y\"]\n");
    let before = warm(&fleet, PLAN);
    fs::create_dir_all(fleet.path("out/x")).unwrap();
    assert_eq!(honest(&fleet, PLAN), before);
    fs::write(fleet.path("out/x/y"), "").unwrap();
    assert_eq!(honest(&fleet, PLAN), before);
    fs::remove_dir_all(fleet.path("out")).unwrap();
    assert_eq!(honest(&fleet, PLAN), before);
}

#[test]
fn a_copy_of_the_workspace_is_a_workspace_of_its_own() {
    let fleet = world(HELLO);
    let here = warm(&fleet, PLAN);
    let elsewhere = Fleet::new();
    let copied = Command::new("cp").arg("-a").arg(fleet.path(".")).arg(elsewhere.path(".")).status().unwrap();
    assert!(copied.success());
    let there = honest(&elsewhere, PLAN);
    assert_ne!(there, here, "it says where the file is");
    edit_in_secret(&elsewhere, "fleet.toml", "aaaa", "bbbb");
    assert!(honest(&elsewhere, PLAN).contains("bbbb"));
    // Moved to where another was: same path, same name of the plan.
    fs::rename(fleet.path("fleet.toml"), fleet.path("old.toml")).unwrap();
    fs::copy(elsewhere.path("fleet.toml"), fleet.path("fleet.toml")).unwrap();
    assert!(honest(&fleet, PLAN).contains("bbbb"));
}

#[test]
fn a_damaged_plan_is_not_believed() {
    let fleet = world(HELLO);
    let before = warm(&fleet, PLAN);
    let plans = || fs::read_dir(fleet.path(".fleet/cache")).unwrap().map(|plan| plan.unwrap().path());
    let damages: [fn(&mut Vec<u8>); 3] = [
        Vec::clear,
        |bytes| bytes.truncate(900),
        |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
        },
    ];
    for damage in damages {
        for plan in plans() {
            let mut bytes = fs::read(&plan).unwrap();
            damage(&mut bytes);
            fs::write(&plan, bytes).unwrap();
        }
        assert_eq!(honest(&fleet, PLAN), before);
    }
    for plan in plans() {
        fs::remove_file(&plan).unwrap();
        fs::create_dir(&plan).unwrap();
    }
    assert_eq!(honest(&fleet, PLAN), before);
}
