//! Any bytes, in each of the three syntaxes, through the whole pass of `fleet check`: they are read or refused, every
//! label is inside its text, and what is wrong can be shown.
//! `cargo +nightly fuzz run read fuzz/corpus/read testdata/fleets/valid`

#![no_main]

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::OnceLock;

use fleet::cli::load::check;
use fleet::spec::{self, Facts, Loaded, Problem, Request, SourceMap, render};
use libfuzzer_sys::fuzz_target;

/// One workspace for all rounds of this process.
fn workspace() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("fleet-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        folder
    })
}

fn hold(problems: &[Problem], map: &SourceMap) {
    assert!(!problems.is_empty(), "refused without a reason");
    for label in problems.iter().flat_map(|problem| &problem.labels) {
        let text = map.source(label.file).map_or("", |source| &source.text);
        assert!(text.get(label.span.clone()).is_some(), "{label:?}");
    }
    let _ = render::human(problems, map, &render::Style::default());
}

fuzz_target!(|bytes: &[u8]| {
    for end in ["toml", "yaml", "json"] {
        let file = workspace().join(format!("fleet.{end}"));
        std::fs::write(&file, bytes).expect("a file in a temporary folder");
        let facts = Facts::new(2, HashMap::new(), |_| None);
        match spec::load(&Request { file: file.clone(), set: Vec::new(), facts }) {
            Ok(Loaded { fleet, map, .. }) => {
                if let Err(problems) = check(&fleet, &map) {
                    hold(&problems, &map);
                }
            }
            Err(failure) => hold(&failure.problems, &failure.map),
        }
        // Else the next syntax could include it.
        let _ = std::fs::remove_file(file);
    }
});
