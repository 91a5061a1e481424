//! Where everything of a fleet stands: the files read, and from a path such as `tasks.build.needs.0` to its bytes.
//!
//! * [`SourceMap::place`] is what later checks label their problems with.
//! * [`SourceMap::origin`] says where a resolved value came from.
//! * [`Spot`] is a path under construction on the stack, which costs nothing until something is wrong there.
//!
//! Trees are dropped once a fleet is resolved, since a run never asks for a place, and read again when one is asked for.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use super::error::Place;
use super::literal;
use super::source::{Syntax, parse};
use super::tree::{FileId, Node, Seg, Tree, Value};

/// One file that was read.
#[derive(Debug)]
pub struct Source {
    /// Absolute.
    pub path: PathBuf,
    /// As seen from the workspace, `/`-separated.
    pub name: String,
    /// Without a byte order mark.
    pub text: Arc<str>,
    pub syntax: Syntax,
    tree: OnceLock<Option<Tree>>,
    /// The text as it may be shown, where that is another.
    shown: OnceLock<Option<String>>,
    /// Where each line begins.
    lines: OnceLock<Vec<usize>>,
}

/// All files of a fleet, by [`FileId`].
#[derive(Debug, Default)]
pub struct SourceMap {
    sources: Vec<Source>,
    /// Variables whose value comes from `--set`, or refers to one that does.
    set: BTreeSet<String>,
}

/// Where a resolved value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The field itself is in a file.
    File { path: String, line: usize, column: usize },
    /// `[defaults]` has the field.
    Defaults { path: String, line: usize, column: usize },
    /// The field refers to a variable given by `--set`.
    Set,
}

impl Source {
    #[must_use]
    pub fn new(path: PathBuf, name: String, text: Arc<str>, syntax: Syntax) -> Self {
        Self { path, name, text, syntax, tree: OnceLock::new(), shown: OnceLock::new(), lines: OnceLock::new() }
    }

    /// The text with no credential in it, byte for byte where it was.
    #[must_use]
    pub fn shown(&self) -> &str {
        let blotted = || match literal::blotted(&self.text) {
            Cow::Borrowed(_) => None,
            Cow::Owned(shown) => Some(shown),
        };
        self.shown.get_or_init(blotted).as_deref().unwrap_or(&self.text)
    }

    /// The line and the column of an offset, both counted from 1, the column in characters.
    #[must_use]
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let lines = self.lines();
        let line = lines.partition_point(|start| *start <= offset).max(1);
        let start = lines[line - 1];
        // A line of many megabytes is nearly always plain ASCII, of which the length is known at once.
        let columns = |before: &str| if before.is_ascii() { before.len() } else { before.chars().count() };
        (line, self.text.get(start..offset).map_or(0, columns) + 1)
    }

    /// Where a line begins, counted from 1; the end of the text for lines behind it.
    #[must_use]
    pub fn line_start(&self, line: usize) -> usize {
        self.lines().get(line.saturating_sub(1)).copied().unwrap_or(self.text.len())
    }

    /// The range moved onto characters of the text, so that any range can be shown.
    #[must_use]
    pub fn clamped(&self, span: &Range<usize>) -> Range<usize> {
        let start = boundary(&self.text, span.start);
        let mut end = span.end.clamp(start, self.text.len());
        while !self.text.is_char_boundary(end) {
            end += 1;
        }
        start..end
    }

    fn lines(&self) -> &[usize] {
        self.lines.get_or_init(|| {
            let breaks = self.text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
            std::iter::once(0).chain(breaks).collect()
        })
    }
}

/// The last boundary of a character at or before an offset.
pub(super) fn boundary(text: &str, offset: usize) -> usize {
    let mut at = offset.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

impl SourceMap {
    pub(super) fn push(&mut self, source: Source) -> FileId {
        let id = FileId(u32::try_from(self.sources.len()).expect("the number of files is limited far below 2^32"));
        self.sources.push(source);
        id
    }

    pub(super) fn keep(&mut self, file: FileId, tree: Tree) {
        if let Some(source) = self.sources.get_mut(file.0 as usize) {
            source.tree = OnceLock::from(Some(tree));
        }
    }

    pub(super) fn forget_trees(&mut self) {
        for source in &mut self.sources {
            source.tree = OnceLock::new();
        }
    }

    pub(super) fn set_variables(&mut self, set: BTreeSet<String>) {
        self.set = set;
    }

    #[must_use]
    pub fn source(&self, file: FileId) -> Option<&Source> {
        self.sources.get(file.0 as usize)
    }

    #[must_use]
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The syntax of a file; TOML for a file that was never read.
    #[must_use]
    pub fn syntax(&self, file: FileId) -> Syntax {
        self.source(file).map_or(Syntax::Toml, |source| source.syntax)
    }

    /// The tree of a file, read again if it was dropped; `None` when the file has no valid syntax.
    #[must_use]
    pub fn tree(&self, file: FileId) -> Option<&Tree> {
        let source = self.source(file)?;
        source.tree.get_or_init(|| parse(file, source.syntax, source.text.as_bytes()).ok()).as_ref()
    }

    fn trees(&self) -> impl Iterator<Item = (FileId, &Tree)> {
        (0..self.sources.len()).filter_map(|n| {
            let file = FileId(u32::try_from(n).ok()?);
            Some((file, self.tree(file)?))
        })
    }

    /// Where to point for a path such as `tasks`, `build`, `needs`, `0`: at the value when it is on one line, else at
    /// its key. `None` when no file has that path.
    #[must_use]
    pub fn place(&self, path: &[Seg]) -> Option<(FileId, Range<usize>)> {
        let (file, tree) = self.trees().find(|(_, tree)| tree.at(path).is_some())?;
        let value = tree.at(path)?;
        let small = match value.value() {
            Value::Table => false,
            _ => !value.source().contains('\n'),
        };
        let span = if small { value.span() } else { tree.key_span(path).unwrap_or_else(|| value.span()) };
        Some((file, span))
    }

    /// Where the key that ends a path stands.
    #[must_use]
    pub fn key(&self, path: &[Seg]) -> Option<(FileId, Range<usize>)> {
        self.trees().find_map(|(file, tree)| Some((file, tree.key_span(path)?)))
    }

    /// Where the value of a task's field came from; `task` is the key under `[tasks]`.
    #[must_use]
    pub fn origin(&self, task: &str, field: &str) -> Origin {
        let own = [Seg::key("tasks"), Seg::key(task), Seg::key(field)];
        let common = [Seg::key("defaults"), Seg::key(field)];
        match self.origin_at(&own) {
            Origin::Default => match self.origin_at(&common) {
                Origin::File { path, line, column } => Origin::Defaults { path, line, column },
                other => other,
            },
            other => other,
        }
    }

    /// Where the value at a path came from, without regard to `[defaults]`.
    #[must_use]
    pub fn origin_at(&self, path: &[Seg]) -> Origin {
        let Some((file, tree)) = self.trees().find(|(_, tree)| tree.at(path).is_some()) else { return Origin::Default };
        let (Some(source), Some(value)) = (self.source(file), tree.at(path)) else { return Origin::Default };
        if !self.set.is_empty() && self.is_set(value) {
            return Origin::Set;
        }
        let at = tree.key_span(path).unwrap_or_else(|| value.span());
        let (line, column) = source.line_column(at.start);
        Origin::File { path: source.name.clone(), line, column }
    }

    fn is_set(&self, value: Node<'_>) -> bool {
        use super::vars::{Reader, references};
        let mut open = vec![value];
        while let Some(node) = open.pop() {
            open.extend(node.items());
            open.extend(node.entries().map(super::tree::Entry::value));
            let names = node.as_str().into_iter().flat_map(|text| references(text, Reader::Shell));
            if names.filter_map(|name| name.strip_prefix("vars.")).any(|name| self.set.contains(name)) {
                return true;
            }
        }
        false
    }
}

/// A step of a [`Spot`].
#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// A path that is being walked, as a list on the stack from the end to the root.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot<'a> {
    up: Option<&'a Spot<'a>>,
    step: Step<'a>,
}

impl<'a> Spot<'a> {
    pub(super) fn top(key: &'a str) -> Self {
        Self { up: None, step: Step::Key(key) }
    }

    pub(super) fn key(&'a self, key: &'a str) -> Self {
        Self { up: Some(self), step: Step::Key(key) }
    }

    pub(super) fn index(&'a self, index: usize) -> Self {
        Self { up: Some(self), step: Step::Index(index) }
    }

    pub(super) fn path(&self) -> Vec<Seg> {
        let mut path = Vec::new();
        let mut spot = Some(self);
        while let Some(Spot { up, step }) = spot {
            path.push(match step {
                Step::Key(key) => Seg::key(key),
                Step::Index(index) => Seg::Index(*index),
            });
            spot = *up;
        }
        path.reverse();
        path
    }
}

impl SourceMap {
    /// Where to point for a spot; what it lies in when it is not written itself.
    pub(super) fn at(&self, spot: &Spot<'_>) -> Place {
        self.at_path(spot.path())
    }

    /// As [`Self::at`], for a path that was kept.
    pub(super) fn at_path(&self, mut path: Vec<Seg>) -> Place {
        while !path.is_empty() {
            if let Some((file, span)) = self.place(&path) {
                return Place { file, span };
            }
            path.pop();
        }
        Place { file: FileId(0), span: 0..0 }
    }

    /// Where the key of a spot stands.
    pub(super) fn key_at(&self, spot: &Spot<'_>) -> Place {
        self.key(&spot.path()).map_or_else(|| self.at(spot), |(file, span)| Place { file, span })
    }

    /// Bytes inside the text of a spot, where its letters stand in the file as they are; the whole value otherwise.
    pub(super) fn inside(&self, spot: &Spot<'_>, text: &str, within: &Range<usize>) -> Place {
        let path = spot.path();
        let value = self.trees().find_map(|(file, tree)| Some((file, tree.at(&path)?)));
        match value.and_then(|(file, value)| Some(Place { file, span: value.inside(text, within)? })) {
            Some(place) => place,
            None => self.at(spot),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_counted_in_characters() {
        let source = Source::new(PathBuf::new(), String::new(), "añb\r\nx\n".into(), Syntax::Toml);
        assert_eq!(source.line_column(0), (1, 1));
        assert_eq!(source.line_column(3), (1, 3));
        assert_eq!(source.line_column(6), (2, 1));
        assert_eq!(source.line_column(8), (3, 1));
        assert_eq!(source.clamped(&(2..900)), 1..8);
        assert_eq!((source.line_start(2), source.line_start(9)), (6, 8));
    }
}
