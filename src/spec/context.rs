//! What every step of resolving has at hand: the places, the variables, the facts, and the list of mistakes so far.
//! Its methods read one value each: they fill references in, check, and report at the exact place.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use super::error::{Near, Place, SpecError};
use super::file::{DurationText, List, RunRaw, SizeText, Text};
use super::map::{SourceMap, Spot};
use super::nearest::nearest;
use super::outside::Outside;
use super::paths::{self, Links, PathKind};
use super::quantity::UnitMistake;
use super::shell::{self, BadCommand};
use super::vars::{EXPANDED_BYTES_MAX, Reader, Scope, has_references};
use super::when::Facts;
use super::{names, quantity};

pub(super) struct Context<'a> {
    pub(super) map: &'a SourceMap,
    pub(super) facts: &'a Facts,
    pub(super) outside: &'a Outside<'a>,
    pub(super) workspace: &'a Path,
    pub(super) vars: BTreeMap<String, String>,
    pub(super) budget: Cell<usize>,
    links: RefCell<Links>,
    mistakes: RefCell<Vec<SpecError>>,
    /// Names still to be compared with wrong ones, so that a large file full of mistakes stays quick.
    comparisons: Cell<usize>,
}

/// Mistakes kept at most; more are no help to anyone.
const MISTAKES_MAX: usize = 500;

impl<'a> Context<'a> {
    pub(super) fn new(
        map: &'a SourceMap,
        facts: &'a Facts,
        outside: &'a Outside<'a>,
        workspace: &'a Path,
        vars: BTreeMap<String, String>,
    ) -> Self {
        Self {
            map,
            facts,
            outside,
            workspace,
            vars,
            budget: Cell::new(EXPANDED_BYTES_MAX),
            links: RefCell::new(Links::under(workspace)),
            mistakes: RefCell::default(),
            comparisons: Cell::new(4_000_000),
        }
    }

    /// The scope of a task, or of everything outside of tasks.
    pub(super) fn scope<'s>(&'s self, task: Option<&'s str>, matrix: &'s [(Box<str>, Box<str>)]) -> Scope<'s> {
        Scope { vars: &self.vars, matrix, task, budget: &self.budget }
    }

    pub(super) fn report(&self, mistake: SpecError) {
        let mut mistakes = self.mistakes.borrow_mut();
        if mistakes.len() < MISTAKES_MAX {
            mistakes.push(mistake);
        }
    }

    pub(super) fn count(&self) -> usize {
        self.mistakes.borrow().len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.count() >= MISTAKES_MAX
    }

    /// The end of it: all that was wrong.
    pub(super) fn into_mistakes(self) -> Vec<SpecError> {
        self.outside.folders(self.links.into_inner().into_folders());
        self.mistakes.into_inner()
    }

    /// The nearest of some names and where it is declared.
    pub(super) fn near<'n>(
        &self,
        wrong: &str,
        names: impl ExactSizeIterator<Item = &'n str>,
        declared: impl FnOnce(&str) -> Option<Place>,
    ) -> Near {
        let left = self.comparisons.get().checked_sub(names.len())?;
        self.comparisons.set(left);
        let name = nearest(wrong, names)?;
        Some((name.to_owned(), declared(name)))
    }

    /// Bytes inside a text: exact when nothing was filled in, else the whole value.
    pub(super) fn inside(&self, spot: &Spot<'_>, written: &str, within: &Range<usize>) -> Place {
        if has_references(written) { self.map.at(spot) } else { self.map.inside(spot, written, within) }
    }

    /// A text with references filled in; `None` after reporting.
    pub(super) fn text(&self, scope: &Scope<'_>, spot: &Spot<'_>, text: &str) -> Option<Box<str>> {
        self.expanded(scope, spot, text, Reader::Fleet)
    }

    /// As [`Self::text`], for a text that may not be empty.
    pub(super) fn word(&self, scope: &Scope<'_>, spot: &Spot<'_>, field: &'static str, text: &str) -> Option<Box<str>> {
        let text = self.text(scope, spot, text)?;
        if text.trim().is_empty() {
            self.report(SpecError::EmptyText { field, at: self.map.at(spot) });
            return None;
        }
        Some(text)
    }

    pub(super) fn expanded(&self, scope: &Scope<'_>, spot: &Spot<'_>, text: &str, reader: Reader) -> Option<Box<str>> {
        if !has_references(text) {
            return Some(text.into());
        }
        self.filled(scope, spot, text, text, reader)
    }

    /// `text` is `whole`, or a word of it, which shows where a wrong reference stands.
    fn filled(&self, scope: &Scope<'_>, spot: &Spot<'_>, whole: &str, text: &str, reader: Reader) -> Option<Box<str>> {
        match scope.expand(text, reader) {
            Ok(text) => Some(text.into()),
            Err(list) => {
                for bad in list {
                    let reference = &text[bad.at.clone()];
                    let start = if whole.len() == text.len() { Some(bad.at.start) } else { whole.find(reference) };
                    let at = start.map_or_else(
                        || self.map.at(spot),
                        |start| self.map.inside(spot, whole, &(start..start + reference.len())),
                    );
                    self.report(SpecError::Reference { at, name: bad.name, why: bad.why });
                }
                None
            }
        }
    }

    pub(super) fn texts(
        &self,
        scope: &Scope<'_>,
        spot: &Spot<'_>,
        field: &'static str,
        list: &List<Text>,
    ) -> Box<[Box<str>]> {
        let items = list.iter().enumerate();
        items.filter_map(|(n, text)| self.word(scope, &spot.index(n), field, text)).collect()
    }

    /// A path that stays in the workspace, in its one spelling.
    pub(super) fn path(&self, scope: &Scope<'_>, spot: &Spot<'_>, text: &str, kind: PathKind) -> Option<Box<str>> {
        let path = self.text(scope, spot, text)?;
        let checked = paths::checked(&path, kind).and_then(|path| {
            self.links.borrow_mut().check(self.outside, &path)?;
            Ok(path)
        });
        match checked {
            Ok(path) => Some(path),
            Err(bad) => {
                let at = self.inside(spot, text, &bad.at);
                self.report(SpecError::Path { at, path: path.into(), why: bad.why });
                None
            }
        }
    }

    /// Whether a checked path leads nowhere out of the workspace through a link.
    pub(super) fn stays(&self, path: &str) -> bool {
        self.links.borrow_mut().check(self.outside, path).is_ok()
    }

    /// A list of paths; a path listed twice is a mistake, and so is a list that only excludes.
    pub(super) fn paths(
        &self,
        scope: &Scope<'_>,
        spot: &Spot<'_>,
        field: &'static str,
        list: &List<Text>,
        kind: PathKind,
    ) -> Box<[Box<str>]> {
        let mut paths: Vec<Box<str>> = Vec::with_capacity(list.len());
        let mut complete = true;
        for (n, text) in list.iter().enumerate() {
            let spot_n = spot.index(n);
            let Some(path) = self.path(scope, &spot_n, text, kind) else {
                complete = false;
                continue;
            };
            // Lists are short; a long one is not worth a table for a mistake this harmless.
            if complete
                && n < 64
                && let Some(first) = paths.iter().position(|other| *other == path)
            {
                let (first, again) = (self.map.at(&spot.index(first)), self.map.at(&spot_n));
                self.report(SpecError::ItemTwice { field, item: path.to_string(), first, again });
            }
            paths.push(path);
        }
        if complete && !paths.is_empty() && paths.iter().all(|path| path.starts_with('!')) {
            self.report(SpecError::OnlyExclusions { field, at: self.map.at(spot) });
        }
        paths.into()
    }

    pub(super) fn duration(&self, scope: &Scope<'_>, spot: &Spot<'_>, text: &DurationText) -> Option<Duration> {
        self.span_of_time(scope, spot, text, false)
    }

    /// A duration that may be none at all.
    pub(super) fn wait(&self, scope: &Scope<'_>, spot: &Spot<'_>, text: &DurationText) -> Option<Duration> {
        self.span_of_time(scope, spot, text, true)
    }

    fn span_of_time(
        &self,
        scope: &Scope<'_>,
        spot: &Spot<'_>,
        text: &DurationText,
        may_be_zero: bool,
    ) -> Option<Duration> {
        let read = self.text(scope, spot, &text.0)?;
        match quantity::duration(&read) {
            Ok(duration) => Some(duration),
            Err(bad) if may_be_zero && bad.why == UnitMistake::Zero => Some(Duration::ZERO),
            Err(bad) => {
                let at = self.inside(spot, &text.0, &bad.at);
                self.report(SpecError::Duration { at, why: bad.why, instead: bad.instead });
                None
            }
        }
    }

    pub(super) fn size(&self, scope: &Scope<'_>, spot: &Spot<'_>, text: &SizeText) -> Option<u64> {
        let read = self.text(scope, spot, &text.0)?;
        match quantity::size(&read) {
            Ok(size) => Some(size),
            Err(bad) => {
                let at = self.inside(spot, &text.0, &bad.at);
                self.report(SpecError::Size { at, why: bad.why, instead: bad.instead });
                None
            }
        }
    }

    /// The argv of `run`. A line is split first and filled in afterwards, so that no value becomes two arguments.
    pub(super) fn command(
        &self,
        scope: &Scope<'_>,
        spot: &Spot<'_>,
        owner: &dyn Fn() -> String,
        script: bool,
        run: &RunRaw,
    ) -> Option<Box<[Box<str>]>> {
        let argv: Option<Vec<Box<str>>> = match run {
            RunRaw::Line(line) => match shell::split(line) {
                Ok(words) => {
                    let fill = |word: String| {
                        if has_references(&word) {
                            self.filled(scope, spot, line, &word, Reader::Fleet)
                        } else {
                            Some(word.into())
                        }
                    };
                    // All of them, so that every wrong reference of the line is reported.
                    let words: Vec<Option<Box<str>>> = words.into_iter().map(fill).collect();
                    words.into_iter().collect()
                }
                Err(bad) => {
                    self.report(self.bad_command(spot, owner, script, line, bad));
                    None
                }
            },
            RunRaw::Argv(words) => {
                let words: Vec<Option<Box<str>>> =
                    words.iter().enumerate().map(|(n, word)| self.text(scope, &spot.index(n), word)).collect();
                words.into_iter().collect()
            }
        };
        let argv = argv?;
        if argv.first().is_none_or(|program| program.is_empty()) {
            self.report(SpecError::EmptyCommand { at: self.map.at(spot) });
            return None;
        }
        if argv.iter().any(|word| word.contains('\0')) {
            self.report(SpecError::NulByte { at: self.map.at(spot), field: "run" });
            return None;
        }
        Some(argv.into())
    }

    fn bad_command(
        &self,
        spot: &Spot<'_>,
        owner: &dyn Fn() -> String,
        script: bool,
        line: &str,
        bad: BadCommand,
    ) -> SpecError {
        let one = |at: usize| self.map.inside(spot, line, &(at..at + 1));
        match bad {
            BadCommand::Empty => SpecError::EmptyCommand { at: self.map.at(spot) },
            BadCommand::OpenQuote(at) => SpecError::OpenQuote { at: one(at) },
            BadCommand::LoneBackslash(at) => SpecError::LoneBackslash { at: one(at) },
            BadCommand::Shell(found) => SpecError::Shell {
                owner: owner(),
                found: found.into_iter().map(|(at, what)| (self.map.inside(spot, line, &at), what)).collect(),
                text: line.to_owned(),
                script,
            },
        }
    }

    /// Checks the name of an environment variable, or a pattern of names.
    pub(super) fn env_name(&self, at: impl FnOnce() -> Place, name: &str, pattern: bool) -> bool {
        let valid = if pattern { names::is_env_pattern(name) } else { names::is_env_name(name) };
        if !valid {
            self.report(SpecError::EnvName { at: at(), name: name.to_owned(), pattern });
        }
        valid
    }

    /// A name under which a task may be given something: it is valid, and not that of a variable which fleet sets.
    pub(super) fn given_name(&self, at: impl Fn() -> Place, name: &str) -> bool {
        let valid = self.env_name(&at, name, false);
        let free = !names::is_own(name);
        if !free {
            self.report(SpecError::OwnVariable { at: at(), name: name.to_owned() });
        }
        valid && free
    }
}
