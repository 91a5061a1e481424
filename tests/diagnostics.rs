//! What the user sees of every mistake: the whole rendered text, next to the file that has it.
//! One helper touches the API, so that a hundred cases survive a refactor. A case is a name and its files, the first of
//! which is loaded; its snapshot is `tests/snapshots/diagnostics__<name>.snap`.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use fleet::spec::{self, Facts, Request, render};

#[path = "diagnostics/cases.rs"]
mod cases;

use cases::CASES;

/// Bytes of a file, most of them text.
pub(crate) type Files = &'static [(&'static str, &'static [u8])];

struct Diagnosis {
    text: String,
    codes: Vec<&'static str>,
    without_help: Vec<&'static str>,
    json: String,
    sarif: String,
}

fn diagnose(files: Files) -> Option<Diagnosis> {
    diagnose_with(files, &[])
}

fn diagnose_with(files: Files, set: &[(&str, &str)]) -> Option<Diagnosis> {
    let folder = tempfile::tempdir().expect("a folder for the files");
    let root = folder.path().canonicalize().expect("the folder is there");
    for (name, bytes) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().expect("inside the folder")).expect("a folder");
        match name.strip_suffix("@") {
            // A link: `name@` with its target as content.
            Some(link) => {
                let target = Path::new(std::str::from_utf8(bytes).expect("a path"));
                std::os::unix::fs::symlink(target, root.join(link)).expect("a link");
            }
            None => fs::write(path, bytes).expect("a file"),
        }
    }
    let mut facts = Facts::new(4, HashMap::from([("CI".to_owned(), "true".to_owned())]), |_| Some("main".to_owned()));
    "linux".clone_into(&mut facts.os);
    "x86_64".clone_into(&mut facts.arch);
    let set = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let failure = spec::load(&Request { file: root.join(files[0].0), set, facts }).err()?;
    let hide = |text: String| text.replace(&*root.to_string_lossy(), "[workspace]");
    let style = render::Style { color: false, width: 100, prefix: String::new() };
    Some(Diagnosis {
        text: hide(render::human(&failure.problems, &failure.map, &style)),
        codes: failure.problems.iter().map(|problem| problem.code).collect(),
        without_help: failure.problems.iter().filter(|p| p.help.is_none()).map(|p| p.code).collect(),
        json: hide(render::json(&failure.problems, &failure.map)),
        sarif: hide(render::sarif(&failure.problems, &failure.map)),
    })
}

fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_snapshot_path("snapshots");
    settings.set_omit_expression(true);
    settings
}

#[test]
fn every_mistake_is_explained_where_it_was_made() {
    let mut failed = Vec::new();
    for (case, files) in CASES {
        let Some(diagnosis) = diagnose(files) else {
            failed.push((*case).to_owned());
            continue;
        };
        let shown: Vec<String> = files
            .iter()
            .map(|(name, bytes)| {
                let text = String::from_utf8_lossy(bytes).trim_end().escape_debug_lines();
                // A snapshot that holds what looks like a credential would be taken for a leak.
                let text = if case.starts_with("literal_") { "(holds credentials)".to_owned() } else { text };
                format!("── {name}\n{text}")
            })
            .collect();
        let text = format!("{}\n\n{}", shown.join("\n"), diagnosis.text);
        settings().bind(|| insta::assert_snapshot!(format!("diagnostics__{case}"), text));
    }
    assert!(failed.is_empty(), "loaded without a word: {failed:?}");
}

#[test]
fn no_format_shows_a_credential() {
    let cases: Vec<_> = CASES.iter().filter(|(case, _)| case.starts_with("literal_")).collect();
    assert!(cases.len() >= 4);
    for (case, files) in cases {
        let diagnosis = diagnose(files).expect("a mistake");
        for text in [&diagnosis.text, &diagnosis.json, &diagnosis.sarif] {
            for part in ["b3De6Gh9", "BCDEFGH1", "unter2", "IIEvQIBA", "C7VJTUt9"] {
                assert!(!text.contains(part), "{case}: {text}");
            }
        }
    }
}

/// Shows what cannot be seen: tabs, carriage returns, byte order marks.
trait EscapeLines {
    fn escape_debug_lines(&self) -> String;
}

impl EscapeLines for str {
    fn escape_debug_lines(&self) -> String {
        let text: String = self
            .replace('\t', "→   ")
            .replace('\r', "␍")
            .replace('\u{feff}', "<BOM>")
            .chars()
            .map(|c| if c.is_control() && c != '\n' { '␀' } else { c })
            .collect();
        // A snapshot of a megabyte helps nobody.
        if text.len() > 2_000 { format!("{}…", text.chars().take(200).collect::<String>()) } else { text }
    }
}

#[test]
fn a_variable_nobody_declares_cannot_be_set() {
    let files: Files = &[("fleet.toml", b"name = \"x\"\n[vars]\nprofile = \"dev\"\n[tasks.a]\nrun = \"true\"\n")];
    let diagnosis = diagnose_with(files, &[("profil", "release")]).expect("a mistake");
    settings().bind(|| insta::assert_snapshot!("diagnostics__set_unknown", diagnosis.text));
}

#[test]
fn machines_get_the_same_places() {
    let (_, files) = CASES.iter().find(|(name, _)| *name == "need_unknown").expect("the case is there");
    let diagnosis = diagnose(files).expect("a mistake");
    let pretty = |json: &str| {
        let value: serde_json::Value = serde_json::from_str(json).expect("JSON");
        serde_json::to_string_pretty(&value).expect("JSON")
    };
    settings().bind(|| {
        insta::assert_snapshot!("diagnostics__format_json", pretty(&diagnosis.json));
        insta::assert_snapshot!("diagnostics__format_sarif", pretty(&diagnosis.sarif));
    });
}

/// All `fleet::…` codes in the sources of `spec`, so that a new mistake cannot come without a case.
fn codes_in_source() -> Vec<String> {
    let mut codes = Vec::new();
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/spec")];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).expect("a folder").flatten().map(|entry| entry.path()));
            continue;
        }
        for part in fs::read_to_string(&path).expect("a source").split("\"fleet::").skip(1) {
            let code = part.split('"').next().unwrap_or_default();
            if !code.is_empty() && code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
                codes.push(format!("fleet::{code}"));
            }
        }
    }
    codes.sort();
    codes.dedup();
    codes
}

/// Mistakes whose file would be too large to keep as a fixture.
const TOO_LARGE_TO_SHOW: &[&str] =
    &["fleet::file_too_large", "fleet::too_many_files", "fleet::too_many_needs", "fleet::yaml_aliases"];

#[test]
fn every_code_has_a_case_and_every_case_says_what_to_type() {
    let mut seen = std::collections::BTreeSet::from(["fleet::unknown_set".to_owned()]);
    let mut without_help = std::collections::BTreeSet::new();
    for (_, files) in CASES {
        let diagnosis = diagnose(files).expect("a mistake");
        seen.extend(diagnosis.codes.iter().map(|code| (*code).to_owned()));
        without_help.extend(diagnosis.without_help);
    }
    let missing: Vec<String> = codes_in_source()
        .into_iter()
        .filter(|code| !seen.contains(code) && !TOO_LARGE_TO_SHOW.contains(&code.as_str()))
        .collect();
    assert!(missing.is_empty(), "no case shows {missing:?}");
    assert!(without_help.is_empty(), "no help with {without_help:?}");
    assert!(CASES.len() >= 60, "only {} cases", CASES.len());
}

#[test]
fn all_mistakes_of_a_pass_come_at_once_and_in_order() {
    let files: Files = &[(
        "fleet.toml",
        b"name = \"x\"\n[tasks.a]\nrun = \"a | b\"\nneeds = [\"c\"]\n[tasks.b]\n[tasks.c2]\nrun = \"x\"\ntimeout = \"${vars.t}\"\n",
    )];
    let diagnosis = diagnose(files).expect("mistakes");
    assert_eq!(
        diagnosis.codes,
        ["fleet::shell_syntax", "fleet::unknown_need", "fleet::no_action", "fleet::unknown_reference"]
    );
}

/// What is wrong with a file may be anything: no mutation of a file that has a case may end in a panic, in a problem
/// without a place in its text, or in a long wait.
#[test]
fn mutated_files_are_loaded_or_explained() {
    let folder = tempfile::tempdir().expect("a folder for the files");
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % below.max(1) as u64).expect("below a usize")
    };
    let pieces: &[&[u8]] = &[
        b"\"",
        b"'",
        b"[",
        b"]",
        b"{",
        b"}",
        b"${",
        b"$${vars.x}",
        b"\n",
        b"\t",
        b"\xff",
        b"\xc3\xa9",
        b"*",
        b"!",
        b"..",
        b"|",
        b"0",
        b"-1",
        b":",
        b",",
    ];
    for turn in 0..3_000 {
        let (name, bytes) = CASES[random(CASES.len())].1[0];
        let mut bytes = bytes.to_vec();
        if bytes.len() > 5_000 {
            continue;
        }
        for _ in 0..=random(3) {
            let at = random(bytes.len() + 1);
            let end = (at + random(8)).min(bytes.len());
            let piece = pieces[random(pieces.len())];
            bytes.splice(at..if turn % 2 == 0 { at } else { end }, piece.iter().copied());
        }
        let file = folder.path().join(name);
        fs::write(&file, &bytes).expect("a file");
        let facts = Facts::new(4, HashMap::new(), |_| None);
        let started = std::time::Instant::now();
        if let Err(failure) = spec::load(&Request { file: file.clone(), set: Vec::new(), facts }) {
            let shown = || String::from_utf8_lossy(&bytes).into_owned();
            assert!(!failure.problems.is_empty(), "{}", shown());
            for label in failure.problems.iter().flat_map(|problem| &problem.labels) {
                let source = failure.map.source(label.file).expect("a source for every label");
                let at = source.clamped(&label.span);
                assert!(source.text.get(at).is_some(), "{}", shown());
            }
            let text = render::human(&failure.problems, &failure.map, &render::Style::default());
            assert!(!text.contains("Failed to read contents"), "{text}\n{}", shown());
            drop(render::json(&failure.problems, &failure.map));
            drop(render::sarif(&failure.problems, &failure.map));
        }
        fs::remove_file(&file).expect("the file is there");
        assert!(started.elapsed().as_secs() < 5, "turn {turn} took {:?}", started.elapsed());
    }
}
