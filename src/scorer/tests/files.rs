//! What is at a path, for every kind that reads one.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use super::*;
use crate::model::scorer::{JsonTest, Source};

fn exists(path: &str) -> ScorerRule {
    ScorerRule::FileExists { path: path.into(), min_bytes: 0 }
}

/// One rule of every kind that reads `path`, such that the file's text `[1]` would satisfy it.
fn readers(path: &str) -> [ScorerRule; 3] {
    [
        exists(path),
        ScorerRule::RegexMatch { source: Source::Path(path.into()), pattern: "1".into(), max_bytes: SCORED_BYTES_MAX },
        ScorerRule::JsonPath {
            path: path.into(),
            query: "$[0]".into(),
            test: JsonTest::default(),
            max_bytes: SCORED_BYTES_MAX,
        },
    ]
}

#[track_caller]
fn all_answer(place: &Place, path: &str, want: Answer) {
    for rule in readers(path) {
        place.answers(rule, want);
    }
}

#[test]
fn regular_files_and_links_to_them_inside_are_read() {
    let place = Place::new().file("out/a", "[1]").link("near", "out/a").link("far", "near").link("folder", "out");
    let absolute = place.path("out/a");
    let place = place.link("absolute", absolute).link("round", "out/../out/a");
    for path in ["out/a", "near", "far", "folder/a", "absolute", "round", "./out/a", "out/../out/a"] {
        all_answer(&place, path, Answer::Pass);
    }
}

#[test]
fn what_is_no_file_of_the_workspace_is_the_tasks_failure() {
    let place = Place::new()
        .file("out/a", "[1]")
        .link("out-file", "../outside/file")
        .link("out-folder", "../outside")
        .link("dangling", "nowhere")
        .link("loop", "loop")
        .link("device", "/dev/zero");
    let absolute = place.dir.path().join("outside/file");
    let place = place.link("out-absolute", &absolute);
    for path in [
        "missing",
        "out/missing",
        "no/folder",
        "out/a/below",
        "out",
        ".",
        "",
        "out-file",
        "out-folder/file",
        "out-folder",
        "dangling",
        "loop",
        "loop/below",
        "device",
        "out-absolute",
        "../outside/file",
        "/etc/passwd",
    ] {
        all_answer(&place, path, Answer::Task);
    }
    all_answer(&place, absolute.to_str().unwrap(), Answer::Task);
}

#[test]
fn nothing_waits_for_a_fifo_or_a_socket() {
    let place = Place::new();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        place.path("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let _socket = UnixListener::bind(place.path("socket")).unwrap();
    let place = place.link("to-fifo", "fifo");
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for path in ["fifo", "to-fifo", "socket"] {
            all_answer(&place, path, Answer::Task);
        }
        done.send(()).unwrap();
    });
    wait.recv_timeout(Duration::from_secs(20)).expect("a FIFO without a writer does not hold a scorer up");
}

#[test]
fn what_cannot_be_read_is_the_scorers_trouble() {
    let place = Place::new().file("secret/a", "[1]").file("closed", "[1]");
    all_answer(&place, &"x".repeat(300), Answer::Verifier);
    all_answer(&place, "nul\0byte", Answer::Verifier);
    // Root may read everything, so the rest can only be seen by others.
    if !rustix::process::geteuid().is_root() {
        let close = |path: &str| std::fs::set_permissions(place.path(path), PermissionsExt::from_mode(0o000)).unwrap();
        close("secret");
        close("closed");
        all_answer(&place, "secret/a", Answer::Verifier);
        all_answer(&place, "closed", Answer::Verifier);
        // A folder that may be passed through but not listed hides nothing whose name is known.
        std::fs::set_permissions(place.path("secret"), PermissionsExt::from_mode(0o100)).unwrap();
        all_answer(&place, "secret/a", Answer::Pass);
        place.answers(
            ScorerRule::Junit { path: "secret/*.xml".into(), min_tests: 0, max_bytes: SCORED_BYTES_MAX },
            Answer::Verifier,
        );
        std::fs::set_permissions(place.path("secret"), PermissionsExt::from_mode(0o700)).unwrap();
    }
}

#[test]
fn a_files_size_counts_where_it_is_asked_for() {
    let place = Place::new().file("empty", "").file("four", "1234");
    let sized = |path: &str, min_bytes| ScorerRule::FileExists { path: path.into(), min_bytes };
    place.answers(sized("empty", 0), Answer::Pass);
    place.answers(sized("empty", 1), Answer::Task);
    place.answers(sized("four", 4), Answer::Pass);
    place.answers(sized("four", 5), Answer::Task);
}

#[test]
fn the_bound_is_the_last_size_that_is_read() {
    let place = Place::new().file("four", "[11]");
    let bounded = |max_bytes| {
        readers("four").map(|mut rule| {
            match &mut rule {
                ScorerRule::RegexMatch { max_bytes: bound, .. } | ScorerRule::JsonPath { max_bytes: bound, .. } => {
                    *bound = max_bytes;
                }
                _ => {}
            }
            rule
        })
    };
    let [_, regex, json] = bounded(4);
    place.answers(regex, Answer::Pass);
    place.answers(json, Answer::Pass);
    let [_, regex, json] = bounded(3);
    place.answers(regex, Answer::Verifier);
    place.answers(json, Answer::Verifier);

    // A sparse file of a terabyte is refused by its size, not by reading it.
    std::fs::File::create(place.path("huge")).unwrap().set_len(1 << 40).unwrap();
    let [present, regex, json] = readers("huge");
    place.answers(present, Answer::Pass);
    place.answers(regex, Answer::Verifier);
    place.answers(json, Answer::Verifier);
}

#[test]
fn globs_stay_in_the_workspace_and_out_of_fleets_own_state() {
    let place = Place::new()
        .file("a/one.xml", "")
        .file("a/b/two.xml", "")
        .file("a/b/two.txt", "")
        .file(".fleet/runs/r/three.xml", "")
        .link("out", "../outside");
    std::fs::write(place.dir.path().join("outside/four.xml"), "").unwrap();
    let place = place.link("a/link.xml", "b/two.xml").link("a/in", "b");
    let expand = |pattern: &str| {
        let found = super::super::files::expand(&place.workspace, pattern).unwrap();
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(expand("**/*.xml"), ["a/b/two.xml", "a/link.xml", "a/one.xml"]);
    assert_eq!(expand("a/*.xml"), ["a/link.xml", "a/one.xml"]);
    assert_eq!(expand("a/{one,b/two}.xml"), ["a/b/two.xml", "a/one.xml"]);
    assert_eq!(expand("a/in/*.xml"), ["a/in/two.xml"]);
    assert_eq!(expand("a/b/two.xml"), ["a/b/two.xml"]);
    assert_eq!(expand(".fleet/runs/**/*.xml"), [".fleet/runs/r/three.xml"]);
    for nothing in ["*.xml", "out/*.xml", "../outside/*.xml", "missing/*.xml", "a/one.xml/*", "/etc/*"] {
        assert_eq!(expand(nothing), [""; 0], "{nothing}");
    }
    assert!(super::super::files::expand(&place.workspace, "a/[").is_err());
}
