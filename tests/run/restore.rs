//! Outputs of what is reused are in their places as the task made them, whatever became of them and of the state
//! directory in between.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

use super::support::journal::hex;
use super::support::{Fleet, Told};

/// A task that makes files, a program, links and an empty folder from one input.
const MAKES: &str = "\
[tasks.make]
inputs = ['in.txt']
outputs = ['out/**', 'single']
sh = '''
rm -rf out single; mkdir -p out/deep/er out/empty
cp in.txt out/deep/er/file
cp in.txt single; chmod 640 single
printf '#!/bin/sh\\necho tool\\n' > out/tool; chmod 755 out/tool
ln -s deep/er/file out/link
ln -s nowhere/at/all out/dangling
ln -s deep out/folder
'''
";

fn made() -> Fleet {
    let fleet = Fleet::of(MAKES).file("in.txt", "content");
    fleet.run(["run"]).passes().ran("make").then()
}

/// The next run reuses the task, and everything is as the task made it.
#[track_caller]
fn comes_back(fleet: &Fleet) {
    whole(fleet.run(["run"]).passes().ran("").reused("make"));
}

/// The next run makes everything anew; the one after it has nothing to do.
#[track_caller]
fn is_made_again(fleet: &Fleet) {
    whole(fleet.run(["run"]).passes().ran("make").reused(""));
    whole(fleet.run(["run"]).passes().ran("").reused("make"));
}

#[track_caller]
fn whole(told: Told) {
    let fleet = told.file_says("out/deep/er/file", "content").file_says("single", "content").then();
    assert_eq!((fleet.mode("single"), fleet.mode("out/tool")), (0o640, 0o755));
    for (link, text) in [("out/link", "deep/er/file"), ("out/dangling", "nowhere/at/all"), ("out/folder", "deep")] {
        assert_eq!(fleet.link_text(link), text);
    }
    assert_eq!(fs::read_dir(fleet.path("out/empty")).expect("it is a folder").count(), 0);
    let mut names: Vec<String> = fs::read_dir(fleet.path("out"))
        .expect("it is a folder")
        .map(|entry| entry.expect("it can be listed").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["dangling", "deep", "empty", "folder", "link", "tool"], "and nothing else");
}

/// The file of the store that has these bytes.
fn blob(fleet: &Fleet, text: &str) -> PathBuf {
    let digest = hex(text.as_bytes());
    let path = fleet.path(".fleet/store/sha256").join(&digest[..2]).join(&digest[2..4]).join(&digest);
    assert_eq!(fs::read_to_string(&path).expect("the store has it"), text);
    path
}

fn spoil(path: &PathBuf, text: &str) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("it is ours");
    fs::write(path, text).expect("it is ours");
}

#[test]
fn what_was_deleted_comes_back() {
    let fleet = made();
    for gone in ["single", "out/deep/er/file", "out/deep", "out/tool", "out/link", "out/dangling", "out/empty", "out"] {
        fleet.delete(gone);
        comes_back(&fleet);
    }
}

#[test]
fn what_was_changed_by_hand_is_noticed() {
    let fleet = made();
    let edits: [&dyn Fn(&Fleet); 13] = [
        &|fleet| fleet.write("single", "changed"),
        &|fleet| fleet.append("single", "more"),
        &|fleet| fleet.write_unstamped("single", "CONTENT"),
        &|fleet| fleet.write("single", ""),
        &|fleet| fleet.chmod("single", 0o644),
        &|fleet| fleet.chmod("single", 0o400),
        &|fleet| fleet.chmod("out/tool", 0o644),
        &|fleet| fleet.link("out/link", "tool"),
        &|fleet| fleet.link("single", "in.txt"),
        &|fleet| {
            fleet.delete("out/link");
            fleet.write("out/link", "content");
        },
        &|fleet| {
            fleet.delete("single");
            fleet.folder("single");
        },
        &|fleet| {
            fleet.delete("out/empty");
            fleet.write("out/empty", "");
        },
        &|fleet| {
            fleet.delete("out/dangling");
            fleet.folder("out/dangling");
        },
    ];
    for (n, edit) in edits.into_iter().enumerate() {
        eprintln!("edit {n}");
        edit(&fleet);
        comes_back(&fleet);
    }
    assert_eq!(fleet.read("in.txt"), "content", "nothing was written through a link");
}

#[test]
fn what_is_in_the_way_is_not_thrown_away() {
    let fleet = Fleet::of("[tasks.t]\ninputs = []\noutputs = ['o']\nsh = 'echo made > o'\n");
    let fleet = fleet.run(["run"]).passes().then();
    fleet.delete("o");
    let fleet = fleet.file("o/mine", "precious");
    fleet
        .run(["run", "--explain"])
        .fails_with(1)
        .ran("t")
        .says("is a folder with files in it")
        .file_says("o/mine", "precious");
    fleet.delete("o");
    fleet.run(["run"]).passes().file_says("o", "made\n");
}

#[test]
fn a_file_that_was_put_back_is_not_the_stores() {
    let fleet = made();
    for n in 0..3 {
        fleet.delete("single");
        comes_back(&fleet);
        assert_eq!(fs::metadata(fleet.path("single")).expect("it is there").nlink(), 1);
        // In place, as an editor that keeps the inode does.
        fleet.append("single", &format!("scribble {n}"));
        comes_back(&fleet);
        blob(&fleet, "content");
    }
    // Nor is the file that the task made.
    fleet.write("in.txt", "another");
    fleet.run(["run"]).passes().ran("make");
    fleet.append("single", "scribble");
    blob(&fleet, "another");
}

#[test]
fn what_a_folder_held_from_other_results_does_not_stay() {
    let fleet = Fleet::of(
        "[tasks.split]\ninputs = ['in.txt']\noutputs = ['out/**']\n\
         sh = 'rm -rf out; mkdir out; for word in $(cat in.txt); do echo $word > out/$word; done'\n\
         [tasks.list]\nneeds = ['split']\ninputs = ['out/**']\noutputs = ['list']\nsh = 'ls out > list'\n",
    )
    .file("in.txt", "a b");
    let fleet = fleet.run(["run"]).passes().ran("split list").file_says("list", "a\nb\n").then();
    fleet.run(["run"]).passes().reused("split list");
    fleet.write("in.txt", "b c");
    fleet.run(["run"]).passes().ran("split list").file_says("list", "b\nc\n");
    fleet.write("in.txt", "a b");
    fleet.run(["run"]).passes().file_says("list", "a\nb\n").has_file("out/a").has_no_file("out/c");
    fleet.run(["run"]).passes().ran("").reused("split list").file_says("list", "a\nb\n");
    // Nor does what a failure left there.
    fleet.write("in.txt", "d /");
    fleet.run(["run"]).fails_with(1).has_file("out/d");
    fleet.write("in.txt", "a b");
    let told = fleet.run(["run", "--explain"]).passes().says("split  `out/d` lies among its outputs");
    told.file_says("list", "a\nb\n").has_no_file("out/d");
    fleet.run(["run"]).passes().ran("").reused("split list");
}

#[test]
fn a_damaged_store_costs_a_run_and_is_repaired() {
    for damage in ["CONTENT", "", "content and more"] {
        let fleet = made();
        let path = blob(&fleet, "content");
        spoil(&path, damage);
        // As long as nothing has to be put back nobody looks.
        comes_back(&fleet);
        fleet.delete("single");
        is_made_again(&fleet);
        blob(&fleet, "content");
        fleet.delete("single");
        comes_back(&fleet);
    }
}

#[test]
fn a_store_that_lacks_something_costs_a_run() {
    let fleet = made();
    fs::remove_file(blob(&fleet, "content")).expect("it is ours");
    fleet.delete("out/deep");
    let told = fleet.run(["run", "--explain"]).passes();
    whole(told.ran("make").says("why      make"));
    fleet.delete("out/deep");
    comes_back(&fleet);
    // A folder in the place of the file.
    let path = blob(&fleet, "content");
    fs::remove_file(&path).expect("it is ours");
    fs::create_dir(&path).expect("the folder is ours");
    fleet.delete("out/deep");
    is_made_again(&fleet);
    blob(&fleet, "content");
}

#[test]
fn a_state_directory_without_store_or_cache_or_anything_is_one_where_everything_runs() {
    let fleet = made();
    fleet.delete(".fleet/store");
    comes_back(&fleet);
    fleet.delete("single");
    is_made_again(&fleet);
    fleet.delete("single");
    comes_back(&fleet);
    fleet.delete(".fleet/cache");
    is_made_again(&fleet);
    fleet.delete(".fleet/cache/files");
    comes_back(&fleet);
    fleet.delete(".fleet/cache/results");
    is_made_again(&fleet);
    fleet.delete(".fleet");
    is_made_again(&fleet);
    // Where runs are cited that are gone, the results hold all the same.
    fleet.delete(".fleet/runs");
    fleet.delete("single");
    fleet.run(["run"]).passes().ran("").file_says("single", "content");
}

#[test]
fn a_receipt_names_no_artifact_that_nobody_has() {
    let fleet =
        Fleet::of("[tasks.t]\ninputs = []\nsh = 'echo report > r'\nartifacts = [{ path = 'r', kind = 'report' }]\n");
    let fleet = fleet.run(["run"]).passes().ran("t").then();
    let path = blob(&fleet, "report\n");
    fleet.run(["run"]).passes().reused("t");
    assert_eq!(fleet.receipt("t")["artifacts"][0]["path"], "r");
    fs::remove_file(&path).expect("it is ours");
    fleet.run(["run", "--explain"]).passes().ran("t").says("the store does not have the artifact `r`");
    blob(&fleet, "report\n");
    fleet.run(["run"]).passes().reused("t");
}

#[test]
fn damaged_results_cost_a_run() {
    for file in ["results", "files"] {
        let fleet = made();
        let path = fleet.path(".fleet/cache").join(file);
        let good = fs::read(&path).expect("it is there");
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 0x10;
        let damaged: [&[u8]; 5] = [b"", b"garbage", &good[..good.len() / 2], &good[..good.len() - 1], &flipped];
        for bytes in damaged {
            spoil(&path, "");
            fs::write(&path, bytes).expect("it is ours");
            fleet.delete("single");
            let told = fleet.run(["run"]).passes().quietly();
            whole(if file == "results" { told.ran("make") } else { told.ran("") });
            comes_back(&fleet);
        }
        // Behind a whole result rubbish is cut off.
        let good = fs::read(&path).expect("it is there");
        fs::write(&path, [&good[..], &[7; 100]].concat()).expect("it is ours");
        fleet.delete("single");
        comes_back(&fleet);
        fleet.write("in.txt", "another");
        fleet.run(["run"]).passes().ran("make");
        fleet.write("in.txt", "content");
        comes_back(&fleet);
    }
}

#[test]
fn a_cache_that_cannot_be_written_is_a_warning() {
    let fleet = made();
    // Not even the owner of everything writes a file where a folder is.
    for file in ["results", "files"] {
        fleet.delete(&format!(".fleet/cache/{file}"));
        fleet.folder(&format!(".fleet/cache/{file}/in-the-way"));
        let told = fleet.run(["run"]).passes();
        // Without digests every file is read, and nothing is lost.
        whole(if file == "results" { told.ran("make").says("results cannot be kept for reuse") } else { told.ran("") });
        fleet.delete(&format!(".fleet/cache/{file}"));
        whole(fleet.run(["run"]).passes());
        comes_back(&fleet);
    }
}

#[test]
fn what_is_no_file_is_no_output_that_could_be_put_back() {
    let fleet = Fleet::of(
        "[tasks.t]\ninputs = []\noutputs = ['out/**']\nsh = 'mkdir -p out; rm -f out/pipe; mkfifo out/pipe; echo x > out/x'\n",
    );
    let fleet = fleet.run(["run"]).passes().then();
    assert!(fs::symlink_metadata(fleet.path("out/pipe")).expect("it is there").file_type().is_fifo());
    fleet.delete("out");
    fleet.run(["run"]).passes().reused("t").file_says("out/x", "x\n").has_no_file("out/pipe");
}
