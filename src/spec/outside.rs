//! The only way from a fleet file to anything outside of it: other files, links, the environment, the branch. Every
//! question and its answer is written down, so that a kept plan can be held against them (`looks`).
//!
//! What only explains a mistake need not be written down: nothing with a mistake is kept.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};

use super::looks::{self, FileLook, FolderLook, GlobLook, Looks};
use super::source::Syntax;
use super::when::Facts;
use crate::digest::Digest;

#[derive(Debug)]
pub(super) struct Outside<'a> {
    facts: &'a Facts,
    looks: RefCell<Looks>,
}

impl<'a> Outside<'a> {
    pub(super) fn new(facts: &'a Facts) -> Self {
        Self { facts, looks: RefCell::default() }
    }

    pub(super) fn into_looks(self) -> Looks {
        self.looks.into_inner()
    }

    /// Where a path leads once links are followed.
    pub(super) fn real(&self, path: &Path) -> Option<PathBuf> {
        let real = looks::real(path);
        self.looks.borrow_mut().ways.insert(path.to_owned(), real.clone());
        real
    }

    /// What a fleet file holds, by a path without links.
    pub(super) fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
        let (bytes, stamp) = looks::file(path)?;
        let look = FileLook { path: path.to_owned(), stamp, digest: Digest::of(&bytes) };
        self.looks.borrow_mut().files.push(look);
        Ok(bytes)
    }

    /// The links of folders, once they are all known.
    pub(super) fn folders(&self, folders: impl IntoIterator<Item = FolderLook>) {
        self.looks.borrow_mut().folders.extend(folders);
    }

    /// Files below a folder that a glob takes, sorted.
    pub(super) fn matching(&self, folder: &Path, pattern: &str) -> Vec<PathBuf> {
        let found = looks::matching(folder, pattern);
        let look = GlobLook { folder: folder.to_owned(), pattern: pattern.to_owned(), found: found.clone() };
        self.looks.borrow_mut().globs.push(look);
        found
    }

    /// Whether a path, or anything that matches a glob, exists.
    pub(super) fn exists(&self, workspace: &Path, path: &str) -> bool {
        *self.looks.borrow_mut().exists.entry(path.to_owned()).or_insert_with(|| looks::exists(workspace, path))
    }

    /// Whether a variable is set or, with a value, whether it has that one.
    pub(super) fn variable(&self, name: &str, wanted: Option<&str>) -> bool {
        let holds = looks::variable(self.facts, name, wanted);
        self.looks.borrow_mut().env.insert((name.to_owned(), wanted.map(str::to_owned)), holds);
        holds
    }

    /// The caller's home folder; none where `HOME` is not an absolute path.
    pub(super) fn home(&self) -> Option<&'a str> {
        let home = self.facts.variable("HOME").filter(|home| home.starts_with('/'))?;
        self.variable("HOME", Some(home));
        Some(home)
    }

    pub(super) fn branch(&self, workspace: &Path) -> Option<&'a str> {
        let branch = self.facts.branch(workspace);
        self.looks.borrow_mut().branch = Some(branch.map(str::to_owned));
        branch
    }
}

/// Fleet files in the folder of one that is not there. Only told in a mistake, so nobody needs to ask again.
pub(super) fn beside(path: &Path) -> Vec<String> {
    let entries = path.parent().and_then(|folder| std::fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    let files = entries.filter(|entry| Syntax::of(&entry.path()).is_some());
    files.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
