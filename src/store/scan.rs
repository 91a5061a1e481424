//! A task's `inputs`, `outputs` and artifact paths, to files and digests.
//! A literal path is only looked up; globs walk from the deepest folder that all their matches share. `!` excludes.
//! A folder named literally means every file beneath it. `.git` and `.fleet` are passed over unless a pattern names
//! them. Links to files count as the file; links to folders are not walked; nothing outside the workspace is opened.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::walk::{Tree, Walk};
use super::{Root, hash};
use crate::digest::{Digest, Hasher};
use crate::model::task::is_glob;
use crate::protocol::receipt::{EntryKind, OutputRef};

/// Most paths one expansion looks at.
pub const PATHS_MAX: usize = 1_000_000;

/// Folders that only a pattern that names them reaches.
pub(super) const HIDDEN: [&str; 2] = [".git", ".fleet"];

/// Patterns, ready to be expanded any number of times.
#[derive(Debug)]
pub struct Scan {
    pub(super) literals: Vec<(usize, Box<str>)>,
    pub(super) globs: Vec<Glob>,
    set: GlobSet,
    excludes: GlobSet,
    /// How many patterns there are.
    pub(super) patterns: usize,
    pub(super) paths_max: usize,
}

#[derive(Debug)]
pub(super) struct Glob {
    /// Its place among the patterns.
    pub pattern: usize,
    /// The folder it is walked from.
    pub base: PathBuf,
    /// Components of `base`.
    pub depth: usize,
    /// Most components of a match.
    parts_max: Option<usize>,
    /// Whether it names a folder of [`HIDDEN`].
    pub names_hidden: bool,
    /// It means everything in its folder, so also an empty folder: `dir/**`, `dir/**/*`.
    takes_folders: bool,
}

/// What patterns matched.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Relative to the workspace, sorted, each once.
    pub files: Vec<Box<str>>,
    /// Positions of the patterns (not the excluding ones) that matched no file.
    pub unmatched: Vec<usize>,
}

#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    #[error("`{pattern}` is not a glob: {error}")]
    BadGlob { pattern: String, error: String },
    #[error("`{path}` leads out of the workspace")]
    Leaves { path: String },
    #[error("the path `{path}` is not UTF-8, which records cannot hold")]
    NotUtf8 { path: String },
    #[error("the globs look at more than {limit} paths; narrow them")]
    TooMany { limit: usize },
    #[error("`{path}` cannot be read: {error}")]
    Io { path: String, error: io::Error },
}

impl Scan {
    /// Compiles the patterns of one list.
    ///
    /// # Errors
    /// [`ScanError::BadGlob`].
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, ScanError> {
        let (mut set, mut excludes) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        let mut scan = Self {
            literals: Vec::new(),
            globs: Vec::new(),
            set: GlobSet::empty(),
            excludes: GlobSet::empty(),
            patterns: patterns.len(),
            paths_max: PATHS_MAX,
        };
        for (pattern, text) in patterns.iter().map(AsRef::as_ref).enumerate() {
            if let Some(text) = text.strip_prefix('!') {
                let text = text.trim_end_matches('/');
                excludes.add(glob(text)?);
                // What excludes a folder excludes what is in it.
                excludes.add(glob(&format!("{text}/**"))?);
            } else if is_glob(text) {
                set.add(glob(text)?);
                let names_hidden = text.split('/').any(|part| HIDDEN.contains(&part));
                let base = base(text);
                let depth = base.components().count();
                let takes_folders = ["**", "**/*"].iter().any(|end| text == *end || text.ends_with(&format!("/{end}")));
                let parts_max = parts_max(text);
                scan.globs.push(Glob { pattern, base, depth, parts_max, names_hidden, takes_folders });
            } else {
                let text = text.trim_start_matches("./").trim_end_matches('/');
                scan.literals.push((pattern, if text == "." { "" } else { text }.into()));
            }
        }
        let bad = |error: globset::Error| ScanError::BadGlob { pattern: String::new(), error: error.to_string() };
        scan.set = set.build().map_err(bad)?;
        scan.excludes = excludes.build().map_err(bad)?;
        Ok(scan)
    }

    /// The files there are now, whatever `.gitignore` files say.
    ///
    /// # Errors
    /// See [`ScanError`]. A folder that disappears while it is walked is no error.
    pub fn expand(&self, root: &Root) -> Result<Found, ScanError> {
        Walk::new(self, root, &Tree::new(false)).all()
    }

    pub(super) fn excludes(&self, path: &Path) -> bool {
        !self.excludes.is_empty() && self.excludes.is_match(path)
    }

    /// The globs, by their place in the list of globs, that match a path.
    pub(super) fn matches(&self, path: &Path, into: &mut Vec<usize>) {
        self.set.matches_into(path, into);
    }
}

/// What a walk needs to know of the patterns: the one above, and that of outputs, which takes more than files.
impl Scan {
    /// The patterns that are paths, with their places.
    pub(super) fn literals(&self) -> impl Iterator<Item = (usize, &str)> {
        self.literals.iter().map(|(pattern, path)| (*pattern, &**path))
    }

    /// The folders that the globs are walked from, none beneath another.
    pub(super) fn bases(&self) -> Vec<&Path> {
        let mut bases: Vec<&Path> = self.globs.iter().map(|glob| &*glob.base).collect();
        bases.sort_unstable();
        // A base that begins with another is walked with it.
        bases.dedup_by(|later, earlier| later.starts_with(earlier));
        bases
    }

    /// Whether a glob names a folder that walks pass over otherwise.
    pub(super) fn names_hidden(&self) -> bool {
        self.globs.iter().any(|glob| glob.names_hidden)
    }

    /// Whether the patterns take a path, whatever is there.
    #[must_use]
    pub fn covers(&self, path: &str) -> bool {
        let path = Path::new(path);
        let below = |literal: &str| path.starts_with(literal);
        !self.is_excluded(path)
            && (self.literals().any(|(_, literal)| below(literal)) || self.globs_of(path, false).next().is_some())
    }

    pub(super) fn is_excluded(&self, path: &Path) -> bool {
        self.excludes.is_match(path)
    }

    /// The places of the globs that take a path; of a folder, those that mean everything. Exclusions are not asked.
    pub(super) fn globs_of(&self, path: &Path, is_folder: bool) -> impl Iterator<Item = usize> {
        let hidden = path.iter().any(is_hidden);
        let globs = self.set.matches(path).into_iter().map(|at| &self.globs[at]);
        globs
            .filter(move |glob| (glob.names_hidden || !hidden) && (glob.takes_folders || !is_folder))
            .map(|glob| glob.pattern)
    }

    pub(super) fn paths_max(&self) -> usize {
        self.paths_max
    }

    /// The places of the patterns that are not in `matched`.
    pub(super) fn unmatched(&self, matched: &BTreeSet<usize>) -> Vec<usize> {
        let patterns = self.literals.iter().map(|(pattern, _)| *pattern).chain(self.globs.iter().map(|g| g.pattern));
        let mut unmatched: Vec<usize> = patterns.filter(|pattern| !matched.contains(pattern)).collect();
        unmatched.sort_unstable();
        unmatched
    }
}

impl Glob {
    /// Whether a folder with so many components in its path lies on the way to a match.
    pub(super) fn reaches(&self, folder: &Path, depth: usize) -> bool {
        if depth < self.depth {
            return self.base.starts_with(folder);
        }
        self.parts_max.is_none_or(|most| depth < most) && folder.starts_with(&self.base)
    }
}

/// Digests files of the workspace, in the order given.
///
/// # Errors
/// When one is gone, is no regular file, leads out of the workspace or cannot be read.
pub fn digest_files<S: AsRef<str>>(root: &Root, files: &[S]) -> Result<Vec<OutputRef>, ScanError> {
    let mut piece = Vec::new();
    let mut digest = |path: &str| {
        let hashed = hash::path(root, path, &mut piece)?;
        Ok(OutputRef {
            path: path.into(),
            digest: hashed.digest,
            size_bytes: hashed.bytes,
            mode: None,
            kind: EntryKind::File,
        })
    };
    files.iter().map(|path| digest(path.as_ref())).collect()
}

/// One digest for a list of files: of a line `<digest> <size> <path>\0` each, in the order given.
#[must_use]
pub fn digest_of_all(files: &[OutputRef]) -> Digest {
    let mut hasher = Hasher::default();
    for file in files {
        hasher.update(format!("{} {} {}\0", file.digest, file.size_bytes, file.path).as_bytes());
    }
    hasher.finish()
}

fn glob(pattern: &str) -> Result<globset::Glob, ScanError> {
    GlobBuilder::new(pattern.trim_start_matches("./"))
        .literal_separator(true)
        .backslash_escape(true)
        .build()
        .map_err(|error| ScanError::BadGlob { pattern: pattern.to_owned(), error: error.kind().to_string() })
}

/// The part of a glob before the first component that has a glob character.
fn base(pattern: &str) -> PathBuf {
    let pattern = pattern.trim_start_matches("./");
    let folder = pattern.rsplit_once('/').map_or("", |(folder, _)| folder);
    folder.split('/').take_while(|part| !is_glob(part)).collect()
}

/// Most components a match can have; `None` when there is no bound. A brace holds at least as many slashes as any of
/// its branches; a class could match a slash.
fn parts_max(pattern: &str) -> Option<usize> {
    let pattern = pattern.trim_start_matches("./");
    (!pattern.contains("**") && !pattern.contains('[')).then(|| pattern.split('/').count())
}

/// What an interrupted restore left behind is nobody's file.
pub(super) fn is_unfinished(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(super::outputs::UNFINISHED.as_bytes())
}

pub(super) fn is_hidden(name: impl AsRef<OsStr>) -> bool {
    HIDDEN.iter().any(|hidden| name.as_ref() == *hidden)
}

/// `None` for what is not there.
pub(super) fn found<T>(result: io::Result<T>, path: &str) -> Result<Option<T>, ScanError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(ScanError::Io { path: path.to_owned(), error }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn workspace(files: &[&str]) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        let root = Root::open(dir.path()).unwrap();
        (dir, root)
    }

    fn scan(root: &Root, patterns: &[&str]) -> (Vec<String>, Vec<usize>) {
        let found = Scan::new(patterns).unwrap().expand(root).unwrap();
        (found.files.iter().map(ToString::to_string).collect(), found.unmatched)
    }

    #[test]
    fn patterns_take_what_they_say() {
        let files =
            ["Cargo.toml", "src/a.rs", "src/deep/b.rs", "src/gen/c.rs", "src/x.txt", ".git/HEAD", ".fleet/lock"];
        let (_dir, root) = workspace(&files);
        let table: &[(&[&str], &[&str], &[usize])] = &[
            (&["Cargo.toml"], &["Cargo.toml"], &[]),
            (&["./Cargo.toml", "nope"], &["Cargo.toml"], &[1]),
            (&["src/*.rs"], &["src/a.rs"], &[]),
            (&["src/**/*.rs", "!src/gen/**"], &["src/a.rs", "src/deep/b.rs"], &[]),
            (&["!src/gen", "src/**/*.rs"], &["src/a.rs", "src/deep/b.rs"], &[]),
            (&["src/**", "src/*/b.rs", "lib/**"], &["src/a.rs", "src/deep/b.rs", "src/gen/c.rs", "src/x.txt"], &[2]),
            (&["src/deep", "src/deep/"], &["src/deep/b.rs"], &[]),
            (&["src/{a.rs,x.txt}"], &["src/a.rs", "src/x.txt"], &[]),
            (&["*"], &["Cargo.toml"], &[]),
            (&["**/HEAD"], &[], &[0]),
            (&["**/HEAD", ".git/*"], &[".git/HEAD"], &[0]),
            (&[".git/HEAD", ".fleet"], &[".fleet/lock", ".git/HEAD"], &[]),
            (&["src/a.rs", "!src/a.rs"], &[], &[0]),
            (&["src", "!**/*.rs"], &["src/x.txt"], &[]),
            (&["Cargo.toml/x", "src/a.rs/*"], &[], &[0, 1]),
        ];
        for (patterns, expected, unmatched) in table {
            let found = scan(&root, patterns);
            assert_eq!(
                (&found.0[..], &found.1[..]),
                (&expected.iter().map(ToString::to_string).collect::<Vec<_>>()[..], *unmatched),
                "{patterns:?}"
            );
        }
        let all = scan(&root, &["."]).0;
        assert!(all.len() == 5 && !all.iter().any(|path| path.starts_with(".git")), "{all:?}");
    }

    #[test]
    fn links_lead_to_files_inside_and_nowhere_else() {
        let (outside, _) = workspace(&["secret"]);
        let (dir, root) = workspace(&["real/a"]);
        symlink("real/a", dir.path().join("inside")).unwrap();
        symlink(dir.path().join("real/a"), dir.path().join("absolute")).unwrap();
        symlink("real", dir.path().join("folder")).unwrap();
        symlink("loop", dir.path().join("loop")).unwrap();
        symlink(outside.path(), dir.path().join("out")).unwrap();
        symlink(outside.path().join("secret"), dir.path().join("leak")).unwrap();
        assert_eq!(scan(&root, &["**"]).0, ["absolute", "inside", "leak", "real/a"]);
        assert!(digest_files(&root, &["inside", "absolute", "real/a", "folder/a"]).is_ok());
        for path in ["leak", "out/secret", "../x", "folder/../../x"] {
            assert!(digest_files(&root, &[path]).is_err(), "{path}");
        }
        assert!(matches!(digest_files(&root, &["leak"]), Err(ScanError::Leaves { .. })));
        assert!(matches!(Scan::new(&["out/*"]).unwrap().expand(&root), Err(ScanError::Leaves { .. })));
    }

    #[test]
    fn digests_tell_content_and_names_apart() {
        let (dir, root) = workspace(&["a", "b"]);
        let first = digest_files(&root, &["a", "b"]).unwrap();
        assert_eq!((first[0].digest, first[0].size_bytes), (Digest::of(b"a"), 1));
        fs::rename(dir.path().join("b"), dir.path().join("c")).unwrap();
        let renamed = digest_files(&root, &["a", "c"]).unwrap();
        assert_ne!(digest_of_all(&first), digest_of_all(&renamed));
        assert!(digest_files(&root, &["b"]).is_err() && digest_files(&root, &["."]).is_err());
    }

    #[test]
    fn a_walk_without_end_is_stopped() {
        let (_dir, root) = workspace(&["a/1", "a/2", "a/3"]);
        let mut scan = Scan::new(&["**"]).unwrap();
        scan.paths_max = 4;
        assert!(matches!(scan.expand(&root), Err(ScanError::TooMany { limit: 4 })));
        assert!(matches!(Scan::new(&["a[", "b"]), Err(ScanError::BadGlob { .. })));
    }
}
