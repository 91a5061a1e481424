//! What every command takes in the same words: the fleet file, `--set`, and the positional words in which both a
//! fleet file and names of tasks may stand.
//! Knows the command line and the names of files, and opens nothing but the folders it looks for a fleet file in.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;

/// The endings that make a positional word a fleet file, each also with `.example` behind it.
const ENDINGS: [&str; 4] = [".toml", ".yaml", ".yml", ".json"];

/// What is looked for, in this order, in each folder upwards.
pub const FILE_NAMES: [&str; 4] = ["fleet.toml", "fleet.yaml", "fleet.yml", "fleet.json"];

/// Which fleet file, and with which variables.
#[derive(Args, Clone, Debug, Default)]
pub struct Source {
    /// The fleet file; without it, the nearest fleet.toml, .yaml, .yml or .json in this folder or above
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Set a variable of the file, as often as needed
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub set: Vec<(String, String)>,
}

/// The positional words of a command line, sorted out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// The fleet file that was named, by `-f` or as a word.
    pub file: Option<PathBuf>,
    /// Everything else, in order.
    pub rest: Vec<String>,
}

/// The command line cannot mean anything: exit 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misuse {
    TwoFiles(PathBuf, PathBuf),
    NoFile {
        folder: PathBuf,
    },
    /// Positional words that the command has no place for.
    TooMany(String),
    /// A name that nothing has, and the nearest that something has.
    Unknown {
        what: &'static str,
        name: String,
        nearest: Option<String>,
    },
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TwoFiles(one, other) => {
                write!(f, "two fleet files are named, `{}` and `{}`: name one", one.display(), other.display())
            }
            Self::NoFile { folder } => {
                write!(f, "no fleet file in `{}` or above it: write a fleet.toml, or name a file", folder.display())
            }
            Self::TooMany(word) => write!(f, "`{word}` is one word too many"),
            Self::Unknown { what, name, nearest: Some(nearest) } => {
                write!(f, "no {what} is named `{name}`; did you mean `{nearest}`?")
            }
            Self::Unknown { what, name, nearest: None } => write!(f, "no {what} is named `{name}`"),
        }
    }
}

impl std::error::Error for Misuse {}

/// Whether a positional word is a fleet file and not a name: `fleet.toml`, `ci/all.yaml`, `fleet.toml.example`.
#[must_use]
pub fn is_fleet_file(word: &str) -> bool {
    let word = word.strip_suffix(".example").unwrap_or(word);
    ENDINGS.iter().any(|ending| word.len() > ending.len() && word.ends_with(ending))
}

/// Takes the fleet file out of the positional words.
///
/// # Errors
/// When more than one file is named.
pub fn sort_out(words: &[String], file: Option<&Path>) -> Result<Words, Misuse> {
    let mut sorted = Words { file: file.map(Path::to_owned), rest: Vec::new() };
    for word in words {
        if !is_fleet_file(word) {
            sorted.rest.push(word.clone());
        } else if let Some(other) = sorted.file.replace(word.into()) {
            return Err(Misuse::TwoFiles(other, word.into()));
        }
    }
    Ok(sorted)
}

/// A fleet file and how it came to be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// As a person would type it from here: as named, or `fleet.toml`, `../fleet.toml`, …
    pub file: PathBuf,
    pub by: ChosenBy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChosenBy {
    Name,
    /// It is in the current folder.
    Here,
    /// It is in a folder above, which a person may not have expected.
    Above,
}

/// The named file, or the nearest fleet file in `folder` or above it.
///
/// # Errors
/// When there is none.
pub fn choose(named: Option<PathBuf>, folder: &Path) -> Result<Chosen, Misuse> {
    if let Some(file) = named {
        return Ok(Chosen { file, by: ChosenBy::Name });
    }
    // A relative folder has no ancestors of its own.
    let folder = &std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let mut way = PathBuf::new();
    for above in folder.ancestors() {
        if let Some(name) = FILE_NAMES.iter().find(|name| above.join(name).is_file()) {
            let by = if way.as_os_str().is_empty() { ChosenBy::Here } else { ChosenBy::Above };
            return Ok(Chosen { file: way.join(name), by });
        }
        way.push("..");
    }
    Err(Misuse::NoFile { folder: folder.to_owned() })
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_fleet_file_is_known_by_its_ending() {
        for file in ["fleet.toml", "a/b.yaml", "x.yml", "../x.json", "fleet.toml.example", "f.json.example"] {
            assert!(is_fleet_file(file), "{file}");
        }
        for name in ["build", "tag:ci", "test*", ".toml", "toml", "a.toml.bak", "example", ".example", "a.example"] {
            assert!(!is_fleet_file(name), "{name}");
        }
    }

    #[test]
    fn the_fleet_file_may_stand_anywhere_among_the_names() {
        for line in ["fleet.toml.example build test", "build fleet.toml.example test", "build test fleet.toml.example"]
        {
            let sorted = sort_out(&words(line), None).unwrap();
            assert_eq!(sorted, Words { file: Some("fleet.toml.example".into()), rest: words("build test") });
        }
        assert_eq!(sort_out(&words("build"), None).unwrap().file, None);
        let by_option = sort_out(&words("build"), Some(Path::new("odd-name"))).unwrap();
        assert_eq!(by_option, Words { file: Some("odd-name".into()), rest: words("build") });
    }

    #[test]
    fn two_fleet_files_are_one_too_many() {
        let twice = sort_out(&words("a.toml b.yaml"), None).unwrap_err();
        assert_eq!(twice.to_string(), "two fleet files are named, `a.toml` and `b.yaml`: name one");
        assert!(sort_out(&words("a.toml"), Some(Path::new("b.toml"))).is_err());
    }

    #[test]
    fn without_a_name_the_nearest_file_upwards_is_taken() {
        let root = tempfile::tempdir().unwrap();
        let (deep, here) = (root.path().join("a/b"), std::env::current_dir().unwrap());
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(root.path().join("fleet.yaml"), "").unwrap();
        std::fs::write(root.path().join("fleet.json"), "").unwrap();
        let chosen = choose(None, &deep).unwrap();
        assert_eq!(chosen, Chosen { file: "../../fleet.yaml".into(), by: ChosenBy::Above });
        std::fs::write(deep.join("fleet.toml"), "").unwrap();
        assert_eq!(choose(None, &deep).unwrap(), Chosen { file: "fleet.toml".into(), by: ChosenBy::Here });
        assert_eq!(choose(None, Path::new(".")).map(|chosen| chosen.by).ok(), choose(None, &here).map(|c| c.by).ok());
        let named = choose(Some("x.toml".into()), &deep).unwrap();
        assert_eq!(named, Chosen { file: "x.toml".into(), by: ChosenBy::Name });
    }
}
