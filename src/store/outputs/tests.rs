//! What must hold of outputs that are kept and put back.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::store::Root;

const FILE: EntryKind = EntryKind::File;
const LINK: EntryKind = EntryKind::Symlink;

/// Damages the store's file of an output.
type Spoil = fn(&World, &OutputRef);

/// A workspace with a store beside it.
struct World {
    dir: tempfile::TempDir,
    top: PathBuf,
    files: Files,
    store: Store,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("work");
        fs::create_dir(&top).unwrap();
        let files = Files::open(Arc::new(Root::open(&top).unwrap()), None, true);
        let store = Store::open(&dir.path().join("state")).unwrap();
        Self { dir, top, files, store }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.top.join(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
    }

    fn chmod(&self, path: &str, mode: u32) {
        fs::set_permissions(self.at(path), Permissions::from_mode(mode)).unwrap();
    }

    fn capture(&self, patterns: &[&str]) -> Captured {
        capture(&self.files, &Scan::new(patterns).unwrap()).unwrap()
    }

    fn kept(&self, patterns: &[&str]) -> Vec<OutputRef> {
        let outputs = self.capture(patterns).outputs;
        keep(&self.files, &self.store, &outputs).unwrap();
        outputs
    }

    fn restore(&self, outputs: &[OutputRef]) -> Result<(), RestoreError> {
        restore(&self.files, &self.store, outputs, &changed(&self.files, outputs))
    }

    fn spoil(&self, output: &OutputRef, bytes: &[u8]) {
        let blob = self.store.path(&output.digest);
        fs::set_permissions(&blob, Permissions::from_mode(0o644)).unwrap();
        fs::write(blob, bytes).unwrap();
    }

    fn left(&self, folder: &str) -> Vec<String> {
        let names =
            fs::read_dir(self.at(folder)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        names
    }
}

fn paths(outputs: &[OutputRef]) -> Vec<&str> {
    outputs.iter().map(|output| &*output.path).collect()
}

/// One of everything.
fn made() -> World {
    let world = World::new();
    for (path, mode) in [("out/a", 0o644), ("out/bin/run", 0o755), ("out/key", 0o600), ("out/fixed", 0o444)] {
        world.write(path, path);
        world.chmod(path, mode);
    }
    world.write("out/ünï/日本.txt", "text");
    world.write("out/empty-file", "");
    fs::create_dir_all(world.at("out/empty/deep")).unwrap();
    world.chmod("out/empty/deep", 0o750);
    symlink("a", world.at("out/link")).unwrap();
    symlink("bin", world.at("out/folder-link")).unwrap();
    symlink("nowhere", world.at("out/dangling")).unwrap();
    symlink("/etc/passwd", world.at("out/outward")).unwrap();
    world
}

#[test]
fn a_folder_takes_files_links_and_empty_folders() {
    let world = made();
    world.write("out/.fleet-restore-1-0", "half");
    let expected = [
        "out/a",
        "out/bin/run",
        "out/dangling",
        "out/empty-file",
        "out/empty/deep",
        "out/fixed",
        "out/folder-link",
        "out/key",
        "out/link",
        "out/outward",
        "out/ünï/日本.txt",
    ];
    for patterns in [&["out"][..], &["out/"], &["out/**"], &["out/**/*"], &["out", "out/**", "out/a"]] {
        let captured = world.capture(patterns);
        assert_eq!((paths(&captured.outputs), captured.unmatched), (expected.to_vec(), vec![]), "{patterns:?}");
    }
    let kinds: Vec<EntryKind> = world.capture(&["out/*"]).outputs.iter().map(|output| output.kind).collect();
    assert_eq!(kinds, [FILE, LINK, FILE, FILE, LINK, FILE, LINK, LINK]);
    let captured = world.capture(&["out/**", "!out/ünï", "!out/empty/**", "!**/*link", "nothing/**", "none"]);
    let expected = ["out/a", "out/bin/run", "out/dangling", "out/empty-file", "out/fixed", "out/key", "out/outward"];
    assert_eq!((paths(&captured.outputs), captured.unmatched), (expected.to_vec(), vec![4, 5]));
    let captured = world.capture(&["out/empty/deep", "out/dangling", "out/outward", "out/folder-link"]);
    assert_eq!((captured.outputs.len(), captured.unmatched), (4, vec![]));
    assert_eq!(world.capture(&["out/*/deep"]).unmatched, [0]);
}

#[test]
fn everything_comes_back_as_it_was() {
    let world = made();
    let outputs = world.kept(&["out"]);
    assert_eq!(changed(&world.files, &outputs), [] as [usize; 0]);
    world.restore(&outputs).unwrap();
    fs::remove_dir_all(world.at("out")).unwrap();
    assert_eq!(changed(&world.files, &outputs).len(), outputs.len());
    world.restore(&outputs).unwrap();
    assert_eq!(world.capture(&["out"]).outputs, outputs);
    assert_eq!(fs::read_link(world.at("out/outward")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(fs::read_to_string(world.at("out/ünï/日本.txt")).unwrap(), "text");
    for (path, mode) in [("out/a", 0o644), ("out/bin/run", 0o755), ("out/key", 0o600), ("out/empty/deep", 0o750)] {
        assert_eq!(fs::metadata(world.at(path)).unwrap().mode() & 0o7777, mode, "{path}");
    }
}

#[test]
fn what_was_touched_is_noticed_and_put_right() {
    type Touch = fn(&World);
    let touches: [(&str, Touch); 9] = [
        ("out/a", |world| fs::remove_file(world.at("out/a")).unwrap()),
        // Of the same size.
        ("out/a", |world| world.write("out/a", "out/b")),
        ("out/key", |world| world.chmod("out/key", 0o640)),
        // With the same bytes.
        ("out/bin/run", |world| {
            fs::rename(world.at("out/bin/run"), world.at("moved")).unwrap();
            symlink("../../moved", world.at("out/bin/run")).unwrap();
        }),
        ("out/a", |world| {
            fs::remove_file(world.at("out/a")).unwrap();
            fs::create_dir(world.at("out/a")).unwrap();
        }),
        ("out/link", |world| {
            fs::remove_file(world.at("out/link")).unwrap();
            symlink("b", world.at("out/link")).unwrap();
        }),
        ("out/folder-link", |world| {
            fs::remove_file(world.at("out/folder-link")).unwrap();
            fs::create_dir(world.at("out/folder-link")).unwrap();
        }),
        ("out/empty/deep", |world| {
            fs::remove_dir(world.at("out/empty/deep")).unwrap();
            world.write("out/empty/deep", "a file");
        }),
        ("out/empty/deep", |world| world.chmod("out/empty/deep", 0o700)),
    ];
    for (path, touch) in touches {
        let world = made();
        let outputs = world.kept(&["out"]);
        touch(&world);
        let different: Vec<&str> = changed(&world.files, &outputs).iter().map(|at| &*outputs[*at].path).collect();
        assert_eq!(different, [path]);
        world.restore(&outputs).unwrap();
        assert_eq!(changed(&world.files, &outputs), [] as [usize; 0], "{path}");
        assert_eq!(world.capture(&["out"]).outputs, outputs, "{path}");
        assert!(!world.at("moved").exists() || fs::read_to_string(world.at("moved")).unwrap() == "out/bin/run");
    }
    let world = made();
    let outputs = world.kept(&["out"]);
    world.write("out/empty/deep/of-another", "task");
    assert_eq!(changed(&world.files, &outputs), [] as [usize; 0], "what is in it now belongs to somebody else");
}

#[test]
fn nothing_is_written_through_a_link_or_over_what_is_not_ours() {
    let outside = tempfile::tempdir().unwrap();
    let world = made();
    let outputs = world.kept(&["out/a", "out/bin/run"]);
    let fails = |place: &str| match world.restore(&outputs) {
        Err(RestoreError::InTheWay { place: found, .. }) => assert_eq!(found, place),
        other => panic!("{place}: {other:?}"),
    };
    fs::rename(world.at("out/bin"), world.at("bin")).unwrap();
    for target in [outside.path(), &world.at("bin")] {
        fs::write(world.at("bin/run"), "somebody's").unwrap();
        symlink(target, world.at("out/bin")).unwrap();
        fails("out/bin");
        fs::remove_file(world.at("out/bin")).unwrap();
        assert_eq!(fs::read_to_string(world.at("bin/run")).unwrap(), "somebody's");
    }
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    world.write("out/bin", "a file");
    fails("out/bin");
    fs::remove_file(world.at("out/bin")).unwrap();
    world.write("out/bin/run/by-hand", "a file");
    fails("out/bin/run");
    assert_eq!((world.left("out/bin"), world.left("out/bin/run")), (vec!["run".into()], vec!["by-hand".into()]));
    for path in ["../a", "/tmp/a", "out/../../a", "out/..", "", "out/"] {
        let output = OutputRef { path: path.into(), ..outputs[0].clone() };
        let done = restore(&world.files, &world.store, &[output], &[0]);
        assert!(matches!(done, Err(RestoreError::Leaves { .. })), "{path}: {done:?}");
    }
}

#[test]
fn a_blob_that_is_missing_or_damaged_changes_nothing_and_is_made_anew() {
    let world = made();
    let outputs = world.kept(&["out/a", "out/key"]);
    world.write("out/a", "edited");
    world.write("out/key", "edited");
    fs::remove_file(world.store.path(&outputs[1].digest)).unwrap();
    let done = world.restore(&outputs);
    assert!(matches!(&done, Err(RestoreError::Missing { path, .. }) if path == "out/key"), "{done:?}");
    assert_eq!(fs::read_to_string(world.at("out/a")).unwrap(), "edited", "nothing was begun");
    let spoils: [Spoil; 4] = [
        |world, output| world.spoil(output, b"out/x"),
        |world, output| world.spoil(output, b"out"),
        |world, output| {
            fs::remove_file(world.store.path(&output.digest)).unwrap();
            symlink(world.at("out/a"), world.store.path(&output.digest)).unwrap();
        },
        |world, output| {
            fs::remove_file(world.store.path(&output.digest)).unwrap();
            fs::create_dir(world.store.path(&output.digest)).unwrap();
        },
    ];
    for spoil in spoils {
        let world = made();
        let outputs = world.kept(&["out/a", "out/link"]);
        for (output, place) in outputs.iter().zip(["out/a", "out/link"]) {
            spoil(&world, output);
            fs::remove_file(world.at(place)).unwrap();
            world.write(place, "edited");
            let done = world.restore(&outputs);
            assert!(matches!(&done, Err(RestoreError::Damaged { path, .. }) if path == place), "{done:?}");
            assert_eq!(fs::read_to_string(world.at(place)).unwrap(), "edited");
            assert!(!world.store.path(&output.digest).exists(), "it is out of the way");
            assert!(!world.left("out").iter().any(|name| name.starts_with(UNFINISHED)));
            fs::remove_file(world.at(place)).unwrap();
            if place == "out/a" {
                world.write(place, "out/a");
            } else {
                symlink("a", world.at(place)).unwrap();
            }
            keep(&world.files, &world.store, &outputs).unwrap();
            fs::remove_file(world.at(place)).unwrap();
            world.restore(&outputs).unwrap();
        }
    }
}

#[test]
fn what_changed_after_it_was_captured_is_not_kept_for_it() {
    let world = made();
    let outputs = world.capture(&["out/a", "out/link"]).outputs;
    world.write("out/a", "other");
    let done = keep(&world.files, &world.store, &outputs);
    assert!(matches!(&done, Err(KeepError::Changed { path }) if path == "out/a"), "{done:?}");
    fs::remove_file(world.at("out/a")).unwrap();
    assert!(matches!(keep(&world.files, &world.store, &outputs), Err(KeepError::Read { .. })));
    assert!(world.store.verify(&outputs[0].digest).is_err());
    fs::remove_file(world.at("out/link")).unwrap();
    symlink("b", world.at("out/link")).unwrap();
    assert!(matches!(keep(&world.files, &world.store, &outputs[1..]), Err(KeepError::Changed { .. })));
}

#[test]
fn the_store_is_written_once_and_shares_no_file_with_the_workspace() {
    let world = made();
    let outputs = world.kept(&["out/a"]);
    let blob = world.store.path(&outputs[0].digest);
    let inode = fs::metadata(&blob).unwrap().ino();
    keep(&world.files, &world.store, &outputs).unwrap();
    assert_eq!(fs::metadata(&blob).unwrap().ino(), inode);
    fs::remove_file(world.at("out/a")).unwrap();
    world.restore(&outputs).unwrap();
    assert_eq!((fs::metadata(&blob).unwrap().nlink(), fs::metadata(world.at("out/a")).unwrap().nlink()), (1, 1));
    // A task that writes its output in place.
    fs::write(world.at("out/a"), "wrong").unwrap();
    assert_eq!(world.store.verify(&outputs[0].digest).unwrap(), 5);
}

#[test]
fn many_outputs_of_the_same_bytes_are_kept_and_put_back_together() {
    let world = World::new();
    for n in 0..300 {
        world.write(&format!("out/{}/{n}", n % 7), ["same", "other"][n % 2]);
    }
    let outputs = world.kept(&["out/**"]);
    assert_eq!(outputs.len(), 300);
    fs::remove_dir_all(world.at("out")).unwrap();
    world.restore(&outputs).unwrap();
    assert_eq!(world.capture(&["out/**"]).outputs, outputs);
    let blobs = world.store.inventory().unwrap();
    assert_eq!((blobs.blobs.len(), blobs.unfinished.len()), (2, 0));
    fs::write(world.at("out/3/3"), "edited").unwrap();
    fs::remove_file(world.at("out/5/5")).unwrap();
    fs::remove_file(world.store.path(&Digest::of(b"other"))).unwrap();
    let done = world.restore(&outputs);
    assert!(matches!(&done, Err(RestoreError::Missing { path, .. }) if path == "out/3/3"), "{done:?}");
}

#[test]
fn what_a_killed_restore_left_is_no_output_and_is_removed_by_the_next() {
    let world = made();
    let outputs = world.kept(&["out"]);
    // No process has the first pid, and the second one lives.
    for name in [".fleet-restore-4194303-7", ".fleet-restore-1-0"] {
        world.write(&format!("out/{name}"), "half");
    }
    assert_eq!(world.capture(&["out", "out/**", "**/.fleet*"]).outputs, outputs);
    assert!(
        Scan::new(&["**"])
            .unwrap()
            .expand(world.files.root())
            .unwrap()
            .files
            .iter()
            .all(|path| !path.contains(UNFINISHED))
    );
    world.write("out/a", "edited");
    world.restore(&outputs).unwrap();
    let left: Vec<String> = world.left("out").into_iter().filter(|name| name.starts_with('.')).collect();
    assert_eq!(left, [".fleet-restore-1-0"]);
}

/// The test runs itself again where no file may grow beyond a block, which is how a full disk looks to a write.
#[test]
fn a_full_disk_leaves_the_old_file_and_nothing_else() {
    const FOLDER: &str = "FLEET_TEST_FULL_DISK";
    if let Some(folder) = std::env::var_os(FOLDER) {
        let folder = Path::new(&folder);
        let files = Files::open(Arc::new(Root::open(&folder.join("work")).unwrap()), None, true);
        let store = Store::open(&folder.join("state")).unwrap();
        let text = fs::read_to_string(folder.join("outputs")).unwrap();
        let outputs: Vec<OutputRef> = serde_json::from_str(&text).unwrap();
        let done = restore(&files, &store, &outputs, &[0]);
        assert!(matches!(&done, Err(RestoreError::Write { path, .. }) if path == "out/big"), "{done:?}");
        return;
    }
    let world = World::new();
    world.write("out/big", &"x".repeat(100_000));
    let outputs = world.kept(&["out/big"]);
    world.write("out/big", "the old one");
    fs::write(world.dir.path().join("outputs"), serde_json::to_string(&outputs).unwrap()).unwrap();
    let child = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "store::outputs::tests::a_full_disk_leaves_the_old_file_and_nothing_else"])
        .env(FOLDER, world.dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
    assert_eq!(fs::read_to_string(world.at("out/big")).unwrap(), "the old one");
    assert_eq!(world.left("out"), ["big"]);
    world.restore(&outputs).unwrap();
    assert_eq!(fs::metadata(world.at("out/big")).unwrap().len(), 100_000);
}
