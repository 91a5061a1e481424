//! Reading a fleet file ends, soon, with bounded memory and without a panic, whatever the file says: damaged files by
//! the thousand, files made to be expensive, and large ones that are right. All through the whole pass: syntax, shape,
//! includes, names, values, graph and places, and the words for what is wrong.

mod hostile;
mod large;
mod meter;
mod mutated;

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use fleet::cli::load::check;
use fleet::graph::Graph;
use fleet::model::Fleet;
use fleet::spec::{self, Facts, Failure, Loaded, Problem, Request, SourceMap, Syntax, render};

use meter::{Cost, measure};

/// Far above what a file of a few kilobytes takes, even unoptimised on a busy machine.
const LONGEST: Duration = Duration::from_secs(1);
const MEMORY_MAX: u64 = 256 << 20;

/// A workspace whose fleet files follow one another.
struct Desk {
    folder: tempfile::TempDir,
}

/// What a file came to.
type Checked = Result<(Fleet, Graph, SourceMap), (Vec<Problem>, SourceMap)>;

impl Desk {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    fn file(&self, syntax: Syntax, bytes: &[u8]) -> PathBuf {
        let end = match syntax {
            Syntax::Toml => "toml",
            Syntax::Yaml => "yaml",
            Syntax::Json => "json",
        };
        let path = self.folder.path().join(format!("fleet.{end}"));
        fs::write(&path, bytes).expect("a file in a temporary folder");
        path
    }

    /// The whole pass, as `fleet check` makes it, and what it cost.
    fn check(&self, syntax: Syntax, bytes: &[u8]) -> (Checked, Cost) {
        let file = self.file(syntax, bytes);
        let facts = Facts::new(2, HashMap::from([("CI".into(), "1".into())]), |_| Some("main".into()));
        measure(|| {
            let Loaded { fleet, map, .. } = match spec::load(&Request { file, set: Vec::new(), facts }) {
                Ok(loaded) => loaded,
                Err(failure) => {
                    let Failure { problems, map } = *failure;
                    return Err((problems, map));
                }
            };
            match check(&fleet, &map) {
                Ok(graph) => Ok((fleet, graph, map)),
                Err(problems) => Err((problems, map)),
            }
        })
    }
}

/// Every problem says something, inside the text, in every form it is shown in.
fn hold(problems: &[Problem], map: &SourceMap, what: &str) {
    assert!(!problems.is_empty(), "{what}: refused without a reason");
    for problem in problems {
        assert!(problem.code.starts_with("fleet::") && !problem.message.is_empty(), "{what}: {problem:?}");
        for label in &problem.labels {
            let text = map.source(label.file).map_or("", |source| &source.text);
            assert!(text.get(label.span.clone()).is_some(), "{what}: a label outside the text: {problem:?}");
        }
    }
    let style = render::Style::default();
    for shown in [render::human(problems, map, &style), render::json(problems, map), render::sarif(problems, map)] {
        assert!(!shown.is_empty(), "{what}");
    }
}
