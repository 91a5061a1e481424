//! What must hold of outputs that are kept and put back.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::store::Root;

/// A workspace with a store beside it.
struct World {
    _dir: tempfile::TempDir,
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
        Self { _dir: dir, top, files, store }
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
    use EntryKind::{File, Symlink};
    assert_eq!(kinds, [File, Symlink, File, File, Symlink, File, Symlink, Symlink]);
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
