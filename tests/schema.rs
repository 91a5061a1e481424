//! The published schema and the parser must agree on every fixture, in both directions.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use fleet::cli::load::check;
use fleet::spec::{self, Facts, FileId, Loaded, Problem, Request, Syntax, de, parse, schema};

/// Mistakes of `invalid` that a schema cannot see: it knows nothing of syntax, of other keys of the same name.
const UNSEEN: [&str; 3] = ["syntax_", "duplicate_", "yaml_"];

fn fixtures(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/fleets").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 10, "{} has fixtures", folder.display());
    files
}

fn validator() -> jsonschema::Validator {
    jsonschema::draft7::new(&schema::value()).unwrap()
}

#[test]
fn the_published_schema_is_the_generated_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/fleet.schema.json");
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, schema::json()).unwrap();
    }
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(published == schema::json(), "out of date: run the tests once with UPDATE_SCHEMA=1");
}

/// The whole pass, as `fleet check` makes it: syntax, shape, names and values, graph and places.
fn checked(path: &Path) -> Result<(), Vec<Problem>> {
    let facts = Facts::new(2, HashMap::new(), |_| Some("main".into()));
    let loaded = spec::load(&Request { file: path.to_owned(), set: Vec::new(), facts });
    let Loaded { fleet, map, .. } = loaded.map_err(|failure| failure.problems)?;
    check(&fleet, &map).map(drop)
}

/// The file as the schema sees it, where its syntax is right.
fn as_json(path: &Path) -> Option<serde_json::Value> {
    let bytes = std::fs::read(path).unwrap();
    let tree = parse(FileId(0), Syntax::of(path).unwrap(), &bytes).ok()?;
    Some(tree.root().to_json())
}

#[test]
fn valid_fixtures_pass_parser_and_schema() {
    let schema = validator();
    for path in fixtures("valid") {
        if let Err(problems) = checked(&path) {
            panic!("{path:?}: {problems:#?}");
        }
        let errors: Vec<_> = schema.iter_errors(&as_json(&path).unwrap()).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{path:?}: {errors:#?}");
    }
}

#[test]
fn invalid_fixtures_fail_parser_and_schema() {
    let schema = validator();
    for path in fixtures("invalid") {
        let name = path.file_name().unwrap().to_str().unwrap();
        let problems = checked(&path).expect_err(name);
        assert!(!problems.is_empty(), "{name}");
        match as_json(&path) {
            None => assert!(
                UNSEEN.iter().any(|word| name.starts_with(word)),
                "{name} has a mistake of syntax: {problems:#?}"
            ),
            Some(value) => assert!(!schema.is_valid(&value), "the schema takes {name}"),
        }
    }
}

/// The same model in three syntaxes: what `pipeline` says in one, it says in all.
#[test]
fn the_three_syntaxes_of_a_fixture_are_one_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/fleets/valid");
    for name in ["pipeline", "scorers", "minimal"] {
        let read = |end: &str| {
            let path = folder.join(format!("{name}.{end}"));
            let tree = parse(FileId(0), Syntax::of(&path).unwrap(), &std::fs::read(&path).unwrap()).unwrap();
            let mut file = de::file(&tree).unwrap();
            file.schema = None;
            file
        };
        let toml = read("toml");
        assert_eq!(toml, read("yaml"), "{name}");
        assert_eq!(toml, read("json"), "{name}");
    }
}
