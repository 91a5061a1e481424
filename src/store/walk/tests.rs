//! What `.gitignore` files keep from patterns, and how often folders are read.

use std::os::unix::fs::symlink;

use super::*;

fn workspace(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    for (file, text) in files {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let root = Root::open(dir.path()).unwrap();
    (dir, root)
}

fn find_in(tree: &Tree, root: &Root, patterns: &[&str]) -> Vec<String> {
    let scan = Scan::new(patterns).unwrap();
    let found = Walk::new(&scan, root, tree).all().unwrap();
    found.files.iter().map(ToString::to_string).collect()
}

fn find(root: &Root, patterns: &[&str]) -> Vec<String> {
    find_in(&Tree::new(true), root, patterns)
}

#[test]
fn ignored_files_are_passed_over_unless_a_pattern_names_them() {
    let (_dir, root) = workspace(&[
        (".gitignore", "target/\n*.log\n/only-here\n!keep.log\n# a comment\n\n[bad\n"),
        ("a.rs", ""),
        ("a.log", ""),
        ("keep.log", ""),
        ("only-here", ""),
        ("src/only-here", ""),
        ("src/a.rs", ""),
        ("src/target/a.rs", ""),
        ("target/a.rs", ""),
        ("target/debug/deep/b.rs", ""),
        ("target/debug/.gitignore", "*.rs"),
        ("target/b.log", ""),
        (".fleet/.gitignore", "*"),
        (".fleet/x", ""),
        (".git/info/exclude", "a.rs"),
    ]);
    let table: &[(&[&str], &[&str])] = &[
        (&["**/*.rs"], &["a.rs", "src/a.rs"]),
        (&["."], &[".gitignore", "a.rs", "keep.log", "src/a.rs", "src/only-here"]),
        (&["*.log"], &["keep.log"]),
        (&["a.log", "target/b.log"], &["a.log", "target/b.log"]),
        (&["**/only-here"], &["src/only-here"]),
        (&["target/**/*.rs"], &["target/a.rs", "target/debug/deep/b.rs"]),
        (&["target/debug/*/*.rs", "*.rs"], &["a.rs", "target/debug/deep/b.rs"]),
        (&["target"], &["target/a.rs", "target/b.log", "target/debug/.gitignore", "target/debug/deep/b.rs"]),
        (&["target/debug/deep"], &["target/debug/deep/b.rs"]),
        (&["target/**", "!target/debug"], &["target/a.rs", "target/b.log"]),
        (&["src/**"], &["src/a.rs", "src/only-here"]),
        (&["src", "src/target/*"], &["src/a.rs", "src/only-here", "src/target/a.rs"]),
        (&["{src,target}/a.rs"], &["src/a.rs"]),
        (&[".fleet/*"], &[".fleet/.gitignore", ".fleet/x"]),
        (&["**/.fleet/x", ".git/**"], &[".fleet/x", ".git/info/exclude"]),
        (&[".fleet"], &[".fleet/.gitignore", ".fleet/x"]),
    ];
    // One tree for all, and one for each: what was asked before changes nothing.
    let shared = Tree::new(true);
    for (patterns, expected) in table {
        assert_eq!(find_in(&shared, &root, patterns), *expected, "{patterns:?}");
        assert_eq!(find(&root, patterns), *expected, "{patterns:?}");
    }
    let plain = find_in(&Tree::new(false), &root, &["**/*.rs"]);
    assert_eq!(plain.len(), 5, "without rules: {plain:?}");
}

#[test]
fn nested_files_add_and_take_back() {
    let (dir, root) = workspace(&[
        (".gitignore", "*.gen\n/vendor/*\n!/vendor/ours/\n/build"),
        ("a.gen", ""),
        ("lib/.gitignore", "!*.gen\nsecret/\n"),
        ("lib/a.gen", ""),
        ("lib/deep/b.gen", ""),
        ("lib/deep/.gitignore", "\u{feff}b.gen\r\n"),
        ("lib/secret/.gitignore", "!*\n"),
        ("lib/secret/c", ""),
        ("vendor/theirs/a", ""),
        ("vendor/ours/a", ""),
        ("build/.gitignore", "!*"),
        ("build/x", ""),
        ("linked/a", ""),
        ("odd/.gitignore/x", ""),
        ("rules", "*"),
    ]);
    symlink("../rules", dir.path().join("linked/.gitignore")).unwrap();
    let all = find(&root, &["**", "!**/.gitignore"]);
    assert_eq!(all, ["lib/a.gen", "linked/a", "rules", "vendor/ours/a"]);
    assert_eq!(
        find(&root, &["lib/deep/*.gen", "lib/secret/c", "vendor/theirs/**", "build/x"]),
        ["build/x", "lib/secret/c", "vendor/theirs/a"]
    );
    assert_eq!(find(&root, &["odd/**"]), ["odd/.gitignore/x"]);
}

#[test]
fn a_folder_that_ignores_all_it_has_is_named_by_its_own_name() {
    let (_dir, root) = workspace(&[
        (".venv/.gitignore", "# made by a tool\n*\n"),
        (".venv/lib/a.py", ""),
        ("out/.gitignore", "*\n!.gitignore\n"),
        ("out/x", ""),
        ("listed/.gitignore", "*\n!*.rs\n"),
        ("listed/a.rs", ""),
        ("listed/b", ""),
    ]);
    assert_eq!(find(&root, &["**"]), ["listed/a.rs", "out/.gitignore"]);
    assert_eq!(find(&root, &[".venv/**"]), [".venv/.gitignore", ".venv/lib/a.py"]);
    assert_eq!(find(&root, &[".venv/lib/*", "out"]), [".venv/lib/a.py", "out/.gitignore", "out/x"]);
    assert_eq!(find(&root, &["listed/**"]), ["listed/a.rs"]);
}

#[test]
fn each_folder_is_read_once_and_only_if_a_glob_leads_there() {
    let (_dir, root) = workspace(&[
        (".gitignore", "big"),
        ("a.rs", ""),
        ("src/a.rs", ""),
        ("src/x/b.rs", ""),
        ("src/x/y/c.rs", ""),
        ("doc/d.md", ""),
        ("big/e.rs", ""),
    ]);
    let tree = Tree::new(true);
    let reads = || tree.reads.load(Ordering::Relaxed);
    let steps: &[(&[&str], usize, usize)] = &[
        (&["a.rs", "src/a.rs"], 2, 0),
        (&["*.rs"], 1, 1),
        (&["src/*.rs", "src/?/*.rs"], 2, 3),
        (&["src/{x/y/c.rs,a.rs}"], 2, 4),
        (&["**/*.rs", "src/**"], 4, 5),
        (&["**/*.md", "**"], 6, 5),
        (&["big/*"], 1, 6),
        (&["none/**"], 0, 7),
        (&["src/x/**", "big/**", "none/**"], 3, 7),
    ];
    for (patterns, files, expected) in steps {
        assert_eq!((find_in(&tree, &root, patterns).len(), reads()), (*files, *expected), "{patterns:?}");
    }
}

#[test]
fn a_wide_walk_finds_all_from_any_thread() {
    let names: Vec<String> = (0..600).map(|n| format!("a{}/b{}/c{}/f{n}", n % 12, n % 5, n % 3)).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (&**name, "")).collect();
    let (_dir, root) = workspace(&files);
    let mut expected = names.clone();
    expected.sort_unstable();
    let tree = Tree::new(true);
    let lists: Vec<Vec<String>> = std::thread::scope(|scope| {
        let find = || scope.spawn(|| find_in(&tree, &root, &["**/f*"]));
        let all = [find(), find(), find()];
        all.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(lists.iter().all(|list| *list == expected));
    assert_eq!(tree.reads.load(Ordering::Relaxed), 1 + 12 + 60 + 60, "three walks at once read each folder once");
    let mut scan = Scan::new(&["**"]).unwrap();
    scan.paths_max = 600 + 60;
    assert!(matches!(Walk::new(&scan, &root, &tree).all(), Err(ScanError::TooMany { limit: 660 })));
}

#[test]
fn a_folder_behind_a_link_is_walked_when_its_name_is_the_base() {
    let (dir, root) = workspace(&[("real/a", ""), ("b", "")]);
    symlink("real", dir.path().join("link")).unwrap();
    assert_eq!(find(&root, &["link/*"]), ["link/a"]);
    assert_eq!(find(&root, &["link/*", "*"]), ["b", "link/a"]);
    assert_eq!(find(&root, &["**"]), ["b", "real/a"]);
}

#[test]
fn rules_outside_are_not_read() {
    let (outside, _) = workspace(&[("in/.gitignore", "*"), ("in/x", ""), (".gitignore", "*")]);
    let root = Root::open(&outside.path().join("in")).unwrap();
    fs::remove_file(outside.path().join("in/.gitignore")).unwrap();
    assert_eq!(find(&root, &["**"]), ["x"]);
    symlink(outside.path(), outside.path().join("in/out")).unwrap();
    let scan = Scan::new(&["out/in/*"]).unwrap();
    assert!(matches!(Walk::new(&scan, &root, &Tree::new(true)).all(), Err(ScanError::Leaves { .. })));
}

#[test]
fn rules_too_long_to_read_are_an_error() {
    let text = "#".repeat((1 << 20) + 1);
    let (_dir, root) = workspace(&[(".gitignore", &text), ("a", "")]);
    let scan = Scan::new(&["*"]).unwrap();
    let error = Walk::new(&scan, &root, &Tree::new(true)).all().unwrap_err().to_string();
    assert!(error.contains(".gitignore") && error.contains("1048576"), "{error}");
    assert_eq!(find(&root, &["a"]), ["a"], "a literal path needs none");
}
