//! Scorers: named ones and those written in place, and combinations of both.
//! Patterns and queries are compiled once here, so that a bad one is a mistake in the file and never one of a run.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::context::Context;
use super::error::{Place, SpecError};
use super::file::{
    CommandScore, JsonPathRaw, List, QuorumRaw, RegexMatchRaw, ScorerRaw, ScorerRef, SizeText, StreamRaw, Text,
};
use super::map::{SourceMap, Spot, boundary};
use super::paths::PathKind;
use super::tree::Seg;
use super::vars::{Reader, Scope, references};
use crate::model::scorer::{JsonTest, QuorumWord, SCORED_BYTES_MAX, Scorer, ScorerRule, Source};

/// Most scorers one combination may be made of, names followed.
pub(super) const PARTS_MAX: usize = 1_000;
/// Deepest nesting of combinations, names followed.
pub(super) const DEPTH_MAX: usize = 64;
/// Time a `command` scorer may take unless it says otherwise.
pub(super) const COMMAND_TIMEOUT: Duration = Duration::from_mins(5);
/// Largest compiled pattern, in bytes.
pub(super) const REGEX_BYTES_MAX: usize = 1 << 20;

/// The scorers of `[scorers]` by name.
pub(super) struct Named {
    written: HashMap<Text, ScorerRaw>,
    /// Those that refer to the task they judge.
    local: HashSet<Text>,
    /// Those that do not depend on the task, resolved.
    ready: HashMap<Text, Ready>,
    /// Patterns and queries known to be good: a matrix repeats them.
    good: RefCell<HashSet<String>>,
}

/// A named scorer once resolved, with how many others it is made of and how deep they are nested.
struct Ready {
    scorer: Option<Scorer>,
    parts: usize,
    depth: usize,
}

/// What one scorer is being resolved for.
struct Walk<'a> {
    cx: &'a Context<'a>,
    scope: &'a Scope<'a>,
    named: &'a Named,
    /// Names being followed, for circles, with the places where they are used.
    path: Vec<(String, Vec<Seg>)>,
    parts: usize,
    depth: usize,
    deepest: usize,
    /// Whether a part was left out because it needs a task to have a meaning.
    needs_task: bool,
    /// Who uses the scorer, for messages.
    owner: &'a str,
}

impl Named {
    /// Checks every named scorer, also one that no task uses.
    pub(super) fn new(cx: &Context<'_>, written: Vec<(Text, ScorerRaw)>, local: HashSet<Text>) -> Self {
        let order: Vec<Text> = written.iter().map(|(name, _)| name.clone()).collect();
        let written = written.into_iter().collect();
        let mut named = Self { written, local, ready: HashMap::new(), good: RefCell::default() };
        for name in order {
            if named.local.contains(&name) {
                continue;
            }
            let (scope, owner) = (cx.scope(None, &[]), format!("scorer `{name}`"));
            let mut walk = Walk::new(cx, &scope, &named, &owner);
            let scorer = walk.name(&name, &Spot::top("scorers").key(&name));
            let (parts, depth) = (walk.parts, walk.deepest);
            if !walk.needs_task {
                named.ready.insert(name, Ready { scorer, parts, depth });
            }
        }
        named
    }
}

/// The names of scorers that refer to the task they judge, so that they have a meaning only with one.
pub(super) fn local_names(map: &SourceMap, written: &[(Text, ScorerRaw)]) -> HashSet<Text> {
    let section = Spot::top("scorers");
    let names = written.iter().map(|(name, _)| name);
    names.filter(|name| depends_on_task(map, &section.key(name))).cloned().collect()
}

/// Whether a scorer refers to the task or its matrix.
fn depends_on_task(map: &SourceMap, spot: &Spot<'_>) -> bool {
    let path = spot.path();
    let Some((file, _)) = map.place(&path) else { return false };
    let Some(node) = map.tree(file).and_then(|tree| tree.at(&path)) else { return false };
    let local = |name: &str| name.starts_with("task.") || name.starts_with("matrix.");
    let mut open = vec![node];
    while let Some(node) = open.pop() {
        open.extend(node.items());
        open.extend(node.entries().map(super::tree::Entry::value));
        if node.as_str().is_some_and(|text| references(text, Reader::Fleet).any(local)) {
            return true;
        }
    }
    false
}

/// The scorers of a task.
pub(super) fn of_task(
    cx: &Context<'_>,
    scope: &Scope<'_>,
    spot: &Spot<'_>,
    task: &str,
    named: &Named,
    list: &List<ScorerRef>,
) -> Box<[Scorer]> {
    let owner = format!("task `{task}`");
    let mut scorers: Vec<Scorer> = Vec::with_capacity(list.len());
    for (n, reference) in list.iter().enumerate() {
        let item = spot.index(n);
        let mut walk = Walk::new(cx, scope, named, &owner);
        let Some(scorer) = walk.reference(&item, reference) else { continue };
        // Scorers without a name share their kind's, which is no mistake; names given are told apart in receipts.
        let given = match reference {
            ScorerRef::Name(_) => true,
            ScorerRef::Inline(raw) => raw.common().name.is_some(),
        };
        if given && let Some(first) = scorers.iter().position(|other| other.name == scorer.name) {
            let (first, again) = (cx.map.at(&spot.index(first)), cx.map.at(&item));
            let name = scorer.name.to_string();
            cx.report(SpecError::ScorerTwice { owner: owner.clone(), name, first, again });
        }
        scorers.push(scorer);
    }
    scorers.into()
}

impl<'a> Walk<'a> {
    fn new(cx: &'a Context<'a>, scope: &'a Scope<'a>, named: &'a Named, owner: &'a str) -> Self {
        Self { cx, scope, named, path: Vec::new(), parts: 0, depth: 0, deepest: 0, needs_task: false, owner }
    }

    fn reference(&mut self, spot: &Spot<'_>, reference: &ScorerRef) -> Option<Scorer> {
        if !self.count(spot, 1, 1) {
            return None;
        }
        self.depth += 1;
        let scorer = match reference {
            ScorerRef::Inline(raw) => self.scorer(spot, None, raw),
            ScorerRef::Name(name) => {
                let name = self.cx.text(self.scope, spot, name);
                name.and_then(|name| self.name(&name, spot))
            }
        };
        self.depth -= 1;
        scorer
    }

    /// Counts parts against the limits; a combination over one of them is reported once.
    fn count(&mut self, spot: &Spot<'_>, parts: usize, depth: usize) -> bool {
        let within = self.parts <= PARTS_MAX && self.deepest <= DEPTH_MAX;
        self.parts += parts;
        self.deepest = self.deepest.max(self.depth + depth);
        let still = self.parts <= PARTS_MAX && self.deepest <= DEPTH_MAX;
        if within && !still {
            let deep = self.deepest > DEPTH_MAX;
            let limit = if deep { DEPTH_MAX } else { PARTS_MAX };
            self.cx.report(SpecError::TooManyScorers { at: self.cx.map.at(spot), limit, deep });
        }
        still
    }

    /// The scorer of that name; `used` is where the name stands.
    fn name(&mut self, name: &str, used: &Spot<'_>) -> Option<Scorer> {
        let named = self.named;
        if let Some(ready) = named.ready.get(name) {
            return if self.count(used, ready.parts, ready.depth) { ready.scorer.clone() } else { None };
        }
        if self.scope.task.is_none() && named.local.contains(name) {
            self.needs_task = true;
            return None;
        }
        let section = Spot::top("scorers");
        let Some(raw) = self.named.written.get(name) else {
            let near = self.cx.near(name, self.named.written.keys().map(|name| &**name), |near| {
                Some(self.cx.map.key_at(&section.key(near)))
            });
            self.cx.report(SpecError::UnknownScorer { name: name.to_owned(), at: self.cx.map.at(used), near });
            return None;
        };
        if let Some(start) = self.path.iter().position(|(other, _)| other == name) {
            self.circle(start, &self.cx.map.at(used));
            return None;
        }
        self.path.push((name.to_owned(), used.path()));
        let scorer = self.scorer(&section.key(name), Some(name), raw);
        self.path.pop();
        scorer
    }

    /// Reports a circle that began at `start` of the path and is closed at `closing`; it is told from the least name on,
    /// so that it is one problem from whichever end it was met.
    fn circle(&self, start: usize, closing: &Place) {
        let names: Vec<&String> = self.path[start..].iter().map(|(name, _)| name).collect();
        // Where a name is used stands with the name itself, one step further along the path.
        let used = self.path[start + 1..].iter().map(|(_, path)| self.cx.map.at_path(path.clone()));
        let places: Vec<Place> = used.chain([closing.clone()]).collect();
        let least = (0..names.len()).min_by_key(|n| names[*n]).unwrap_or(0);
        let turned = || (0..names.len()).map(|n| (n + least) % names.len());
        let along = turned().map(|n| places[n].clone()).collect();
        let names = turned().map(|n| names[n].clone()).collect();
        self.cx.report(SpecError::ScorerCycle { names, along });
    }

    fn scorer(&mut self, spot: &Spot<'_>, key: Option<&str>, raw: &ScorerRaw) -> Option<Scorer> {
        let rule = self.rule(spot, raw);
        let common = raw.common();
        let name = match common.name {
            Some(name) => self.cx.word(self.scope, &spot.key("name"), "name", name),
            None => None,
        };
        let rule = rule?;
        Some(Scorer {
            name: name.unwrap_or_else(|| key.unwrap_or(rule.kind()).into()),
            weight: common.weight.unwrap_or(1.0),
            at_least: common.at_least.unwrap_or(1.0),
            required: common.required.unwrap_or(true),
            rule,
        })
    }

    fn rule(&mut self, spot: &Spot<'_>, raw: &ScorerRaw) -> Option<ScorerRule> {
        let (cx, scope) = (self.cx, self.scope);
        let path = |text: &str, kind| cx.path(scope, &spot.key("path"), text, kind);
        match raw {
            ScorerRaw::ExitCode(raw) => Some(self.exit_code(spot, raw.expect.as_ref())),
            ScorerRaw::FileExists(raw) => Some(ScorerRule::FileExists {
                path: path(&raw.path, PathKind::One)?,
                min_bytes: raw.min_bytes.unwrap_or(0),
            }),
            ScorerRaw::RegexMatch(raw) => self.regex_match(spot, raw),
            ScorerRaw::JsonPath(raw) => self.json_path(spot, raw),
            ScorerRaw::Command(raw) => {
                let owner = || {
                    if self.owner.starts_with("task") {
                        format!("a scorer of {}", self.owner)
                    } else {
                        self.owner.to_owned()
                    }
                };
                let argv = cx.command(scope, &spot.key("run"), &owner, false, &raw.run);
                let timeout = raw.timeout.as_ref().map(|text| cx.duration(scope, &spot.key("timeout"), text));
                Some(ScorerRule::Command {
                    argv: argv?,
                    score_from_stdout: raw.score == Some(CommandScore::StdoutJson),
                    timeout: timeout.unwrap_or(Some(COMMAND_TIMEOUT))?,
                })
            }
            ScorerRaw::Junit(raw) => {
                let file = path(&raw.path, PathKind::Glob);
                let max_bytes = self.bound(spot, raw.max_bytes.as_ref());
                Some(ScorerRule::Junit { path: file?, min_tests: raw.min_tests.unwrap_or(1), max_bytes: max_bytes? })
            }
            ScorerRaw::All(raw) => self.combined(spot, QuorumWord::All, None, &raw.of),
            ScorerRaw::Any(raw) => self.combined(spot, QuorumWord::Any, None, &raw.of),
            ScorerRaw::Quorum(raw) => self.quorum(spot, raw),
        }
    }

    fn bound(&self, spot: &Spot<'_>, size: Option<&SizeText>) -> Option<u64> {
        match size {
            Some(size) => self.cx.size(self.scope, &spot.key("max_bytes"), size),
            None => Some(SCORED_BYTES_MAX),
        }
    }

    fn exit_code(&self, spot: &Spot<'_>, expect: Option<&List<i32>>) -> ScorerRule {
        let Some(expect) = expect else { return ScorerRule::ExitCode { expect: [0].into() } };
        let list = spot.key("expect");
        if expect.is_empty() {
            self.cx.report(SpecError::EmptyList { field: "expect".to_owned(), at: self.cx.map.at(&list) });
        }
        for (n, code) in expect.iter().enumerate().filter(|(_, code)| !(0..=255).contains(*code)) {
            self.cx.report(SpecError::BadExitCode { code: *code, at: self.cx.map.at(&list.index(n)) });
        }
        ScorerRule::ExitCode { expect: expect.0.as_slice().into() }
    }

    fn regex_match(&self, spot: &Spot<'_>, raw: &RegexMatchRaw) -> Option<ScorerRule> {
        let cx = self.cx;
        let pattern = self.pattern(&spot.key("pattern"), &raw.pattern);
        let max_bytes = self.bound(spot, raw.max_bytes.as_ref());
        let source = match (&raw.path, raw.stream) {
            (Some(path), None) => cx.path(self.scope, &spot.key("path"), path, PathKind::One).map(Source::Path),
            (None, Some(StreamRaw::Stdout)) => Some(Source::Stdout),
            (None, Some(StreamRaw::Stderr)) => Some(Source::Stderr),
            (path, _) => {
                let both = path.is_some().then(|| (cx.map.at(&spot.key("path")), cx.map.at(&spot.key("stream"))));
                cx.report(SpecError::RegexSource { at: cx.map.key_at(spot), both });
                None
            }
        };
        Some(ScorerRule::RegexMatch { source: source?, pattern: pattern?, max_bytes: max_bytes? })
    }

    fn json_path(&self, spot: &Spot<'_>, raw: &JsonPathRaw) -> Option<ScorerRule> {
        let cx = self.cx;
        let path = cx.path(self.scope, &spot.key("path"), &raw.path, PathKind::One);
        let query = self.query(&spot.key("query"), &raw.query);
        let matches = raw.matches.as_ref().map(|pattern| self.pattern(&spot.key("matches"), pattern));
        let max_bytes = self.bound(spot, raw.max_bytes.as_ref());
        if let (Some(least), Some(most)) = (raw.at_least, raw.at_most)
            && least > most
        {
            let (at, other) = (cx.map.at(&spot.key("at_most")), cx.map.at(&spot.key("at_least")));
            cx.report(SpecError::BoundsCrossed { least, most, at, other });
        }
        let test = JsonTest {
            equals: raw.equals.clone(),
            at_least: raw.at_least,
            at_most: raw.at_most,
            matches: match matches {
                Some(pattern) => Some(pattern?),
                None => None,
            },
        };
        Some(ScorerRule::JsonPath { path: path?, query: query?, test, max_bytes: max_bytes? })
    }

    /// A pattern that compiles. Parsed first for the offset of a mistake, which the compiler does not tell.
    fn pattern(&self, spot: &Spot<'_>, written: &str) -> Option<Box<str>> {
        let cx = self.cx;
        let pattern = cx.text(self.scope, spot, written)?;
        if self.named.good.borrow().contains(&*pattern) {
            return Some(pattern);
        }
        let (span, why) = match regex_syntax::ast::parse::Parser::new().parse(&pattern) {
            Err(error) => (error.span().start.offset..error.span().end.offset, error.kind().to_string()),
            Ok(ast) => match regex_syntax::hir::translate::Translator::new().translate(&pattern, &ast) {
                Err(error) => (error.span().start.offset..error.span().end.offset, error.kind().to_string()),
                Ok(_) => match regex::RegexBuilder::new(&pattern).size_limit(REGEX_BYTES_MAX).build() {
                    Ok(_) => {
                        self.named.good.borrow_mut().insert(pattern.clone().into());
                        return Some(pattern);
                    }
                    Err(_) => (0..pattern.len(), format!("compiles to more than {REGEX_BYTES_MAX} bytes")),
                },
            },
        };
        cx.report(SpecError::BadRegex { at: cx.inside(spot, written, &span), why });
        None
    }

    /// An RFC 9535 query; the old dotted form is rewritten.
    fn query(&self, spot: &Spot<'_>, written: &str) -> Option<Box<str>> {
        let cx = self.cx;
        let query = cx.text(self.scope, spot, written)?;
        let dotted = query.starts_with('.') && !query.starts_with("..");
        let full = if dotted { format!("${query}").into() } else { query };
        match serde_json_path::JsonPath::parse(&full) {
            Ok(_) => Some(full),
            Err(error) => {
                // The position counts from 1, and from before the `$` that was put in front.
                let at = error.position().saturating_sub(1 + usize::from(dotted)).min(written.len());
                let end = written[boundary(written, at)..].chars().next().map_or(at, |c| at + c.len_utf8());
                let at = cx.inside(spot, written, &(at..end));
                cx.report(SpecError::BadJsonPath { at, why: error.message().to_owned() });
                None
            }
        }
    }

    fn quorum(&mut self, spot: &Spot<'_>, raw: &QuorumRaw) -> Option<ScorerRule> {
        let (least, of) = (raw.least.get(), raw.of.len());
        if of > 0 && least as usize > of {
            let (at, of_at) = (self.cx.map.at(&spot.key("least")), self.cx.map.at(&spot.key("of")));
            self.cx.report(SpecError::QuorumTooLarge { least, of, at, of_at });
        }
        self.combined(spot, QuorumWord::Quorum, Some(least), &raw.of)
    }

    fn combined(
        &mut self,
        spot: &Spot<'_>,
        word: QuorumWord,
        least: Option<u32>,
        of: &List<ScorerRef>,
    ) -> Option<ScorerRule> {
        let list = spot.key("of");
        if of.is_empty() {
            self.cx.report(SpecError::EmptyList { field: "of".to_owned(), at: self.cx.map.at(&list) });
        }
        let parts: Vec<Option<Scorer>> =
            of.iter().enumerate().map(|(n, part)| self.reference(&list.index(n), part)).collect();
        let parts: Box<[Scorer]> = parts.into_iter().collect::<Option<_>>()?;
        let all = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        let least = match word {
            QuorumWord::All => all,
            QuorumWord::Any => 1,
            QuorumWord::Quorum => least.unwrap_or(all),
        };
        Some(ScorerRule::Quorum { word, least, of: parts })
    }
}
