//! Globs as small automata, to ask what a glob engine cannot: whether two globs can match one path.
//!
//! The language is that of globset with `literal_separator`: `*` and `?` stay inside a component, `**` as a whole
//! component crosses them, `[a-z]`, `[!a]`, `{a,b}` and `\` escapes. A literal path is a glob that matches one path, so
//! one function answers literal-to-glob and glob-to-glob, without compiling a regex for each of ten thousand globs (a
//! test holds it against globset). Excluding with `!` is the caller's.
//!
//! The answer for two globs is exact except for two negated or mixed classes at the same place and for globs with more
//! than [`ALTERNATIVES_MAX`] alternatives; there it errs towards "they meet".

use std::cell::Cell;
use std::collections::HashSet;

/// A glob, ready to be compared.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    /// One for each way through the braces; any of them may match.
    alternatives: Box<[Box<[Token]>]>,
    /// Folder all matches are in, without the last `/`; empty for the workspace.
    folder: Box<str>,
    /// Text all matches end with.
    suffix: Box<str>,
    /// Text the last component of all matches begins with.
    name: Box<str>,
}

/// What comparing the globs of a fleet may cost. Few globs of one fleet can meet, but a file may be written so that all
/// have to be held against all.
pub(super) struct Steps(Cell<u64>);

/// A second or two.
pub(super) const STEPS_MAX: u64 = 200_000_000;

impl Steps {
    pub(super) fn new(limit: u64) -> Self {
        Self(Cell::new(limit))
    }

    fn take(&self, steps: usize) -> bool {
        let left = self.0.get().checked_sub(steps as u64);
        self.0.set(left.unwrap_or(0));
        left.is_some()
    }

    /// Whether there were not enough of them: answers since then mean nothing.
    pub(super) fn are_over(&self) -> bool {
        self.0.get() == 0
    }
}

/// Most ways through the braces of one glob.
pub(super) const ALTERNATIVES_MAX: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Char(char),
    /// `?`
    One,
    Class {
        negated: bool,
        ranges: Box<[(char, char)]>,
    },
    /// `*`: any run inside a component.
    Star,
    /// `**` at the end: any run.
    Rest,
    /// First half of `**/`: either skips the second half or enters it.
    MaybeFolders,
    /// Second half of `**/`: any run that ends in `/`.
    Folders,
}

impl Pattern {
    /// Any text is a glob: brackets and braces that never close stand for themselves (the reader of the fleet file has
    /// refused them long before).
    pub(super) fn glob(text: &str) -> Self {
        let special = |c: char| matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | ',' | '\\');
        let head = text.find(special).map_or(text, |at| &text[..at]);
        let tail = text.rfind(special).map_or(text, |at| &text[at + 1..]);
        Self {
            alternatives: match alternatives(text) {
                Some(all) => all.iter().map(|text| tokens(text)).collect(),
                None => Box::new([Box::new([Token::Rest])]),
            },
            folder: head.rfind('/').map_or("", |at| &head[..at]).into(),
            // `**/x` also matches `x`.
            suffix: tail.strip_prefix('/').unwrap_or(tail).into(),
            name: name(text).into(),
        }
    }

    /// A path and nothing else.
    pub(super) fn literal(path: &str) -> Self {
        Self {
            alternatives: Box::new([path.chars().map(Token::Char).collect()]),
            folder: path.rfind('/').map_or("", |at| &path[..at]).into(),
            suffix: path.into(),
            name: path.rsplit('/').next().unwrap_or_default().into(),
        }
    }

    /// All that is below a folder.
    pub(super) fn below(folder: &str) -> Self {
        let mut all: Vec<Token> = folder.chars().map(Token::Char).collect();
        if !folder.is_empty() {
            all.push(Token::Char('/'));
        }
        all.push(Token::Rest);
        Self { alternatives: Box::new([all.into()]), folder: folder.into(), suffix: "".into(), name: "".into() }
    }

    /// A glob over names, in which `*` and `?` match `/` too: matrix values are free text.
    pub(super) fn name(text: &str) -> Self {
        let mut pattern = Self::glob(text);
        for alternative in &mut pattern.alternatives {
            for token in alternative.iter_mut().filter(|token| matches!(token, Token::Star)) {
                *token = Token::Rest;
            }
        }
        Self { folder: "".into(), name: "".into(), ..pattern }
    }

    pub(super) fn folder(&self) -> &str {
        &self.folder
    }

    /// Whether some path matches both.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.meets_within(other, &Steps::new(u64::MAX))
    }

    /// As [`Self::meets`], as long as there are steps; no after that.
    pub(super) fn meets_within(&self, other: &Self, steps: &Steps) -> bool {
        let one_begins = self.name.starts_with(&*other.name) || other.name.starts_with(&*self.name);
        steps.take(1)
            && one_begins
            && (self.suffix.ends_with(&*other.suffix) || other.suffix.ends_with(&*self.suffix))
            && self.alternatives.iter().any(|mine| {
                let meets = |theirs: &[Token]| steps.take((mine.len() + 1) * (theirs.len() + 1)) && meet(mine, theirs);
                other.alternatives.iter().any(|theirs| meets(theirs))
            })
    }

    /// Whether every path that `other` matches is surely matched by `self`. Only the simple shapes are seen: the
    /// same text, or all of a folder that `other` stays in.
    pub(super) fn covers(&self, other: &Self) -> bool {
        if self.alternatives == other.alternatives {
            return true;
        }
        let [mine] = &*self.alternatives else { return false };
        let Some((Token::Rest, folder)) = mine.split_last() else { return false };
        let mut theirs = other.folder.chars().chain(['/']).filter(|_| !other.folder.is_empty());
        folder.iter().all(|token| matches!(token, Token::Char(c) if theirs.next() == Some(*c)))
    }
}

/// The text before the first glob character of the last component; nothing where more than that one may be the last, or
/// where braces or brackets may hold the slash.
fn name(glob: &str) -> &str {
    let name = glob.rsplit('/').next().unwrap_or_default();
    let plain = !glob.contains(['{', '[', '\\']) && name != "**";
    let end = name.find(['*', '?']).unwrap_or(name.len());
    if plain { &name[..end] } else { "" }
}

/// The folders a path is in, nearest first, the workspace (`""`) last.
pub(super) fn folders(path: &str) -> impl Iterator<Item = &str> {
    path.rmatch_indices('/').map(|(at, _)| &path[..at]).chain((!path.is_empty()).then_some(""))
}

/// Whether two token strings have a common word: a search over pairs of places, each seen once.
fn meet(a: &[Token], b: &[Token]) -> bool {
    let width = b.len() + 1;
    let mut seen = vec![false; (a.len() + 1) * width];
    let mut open = vec![(0, 0)];
    while let Some((i, j)) = open.pop() {
        if std::mem::replace(&mut seen[i * width + j], true) {
            continue;
        }
        if i == a.len() && j == b.len() {
            return true;
        }
        open.extend(free(a, i).map(|i| (i, j)));
        open.extend(free(b, j).map(|j| (i, j)));
        for (mine, i) in moves(a, i) {
            for (theirs, j) in moves(b, j) {
                if common(mine, theirs) {
                    open.push((i, j));
                }
            }
        }
    }
    false
}

/// Places reached without a character.
fn free(tokens: &[Token], at: usize) -> impl Iterator<Item = usize> + use<> {
    let steps: &[usize] = match tokens.get(at) {
        Some(Token::Star | Token::Rest) => &[1],
        Some(Token::MaybeFolders) => &[1, 2],
        _ => &[],
    };
    steps.iter().map(move |step| at + step)
}

#[derive(Clone, Copy)]
enum Chars<'a> {
    Just(char),
    NotSlash,
    Class(bool, &'a [(char, char)]),
    All,
}

/// Places reached with a character out of a set.
fn moves(tokens: &[Token], at: usize) -> impl Iterator<Item = (Chars<'_>, usize)> + Clone {
    let (first, second) = match tokens.get(at) {
        Some(Token::Char(c)) => (Some((Chars::Just(*c), at + 1)), None),
        Some(Token::One) => (Some((Chars::NotSlash, at + 1)), None),
        Some(Token::Class { negated, ranges }) => (Some((Chars::Class(*negated, ranges), at + 1)), None),
        Some(Token::Star) => (Some((Chars::NotSlash, at)), None),
        Some(Token::Rest) => (Some((Chars::All, at)), None),
        Some(Token::Folders) => (Some((Chars::All, at)), Some((Chars::Just('/'), at + 1))),
        Some(Token::MaybeFolders) | None => (None, None),
    };
    first.into_iter().chain(second)
}

fn common(a: Chars<'_>, b: Chars<'_>) -> bool {
    let has = |set: Chars<'_>, c: char| match set {
        Chars::Just(only) => only == c,
        Chars::NotSlash => c != '/',
        Chars::Class(negated, ranges) => negated != ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)),
        Chars::All => true,
    };
    match (a, b) {
        (Chars::Just(c), set) | (set, Chars::Just(c)) => has(set, c),
        (Chars::Class(false, a), Chars::Class(false, b)) => {
            a.iter().any(|(from, to)| b.iter().any(|(least, most)| from <= most && least <= to))
        }
        (Chars::Class(false, ranges), Chars::NotSlash) | (Chars::NotSlash, Chars::Class(false, ranges)) => {
            ranges.iter().any(|range| *range != ('/', '/'))
        }
        _ => true,
    }
}

/// Every way through the braces; `None` when there are too many.
fn alternatives(text: &str) -> Option<Vec<String>> {
    let mut done = Vec::new();
    let mut open = vec![text.to_owned()];
    let mut seen = HashSet::new();
    while let Some(text) = open.pop() {
        if done.len() + open.len() >= ALTERNATIVES_MAX {
            return None;
        }
        match brace(&text) {
            None => done.push(text),
            Some((before, parts, after)) => {
                open.extend(
                    parts.iter().map(|part| format!("{before}{part}{after}")).filter(|t| seen.insert(t.clone())),
                );
            }
        }
    }
    Some(done)
}

/// The first outermost `{a,b}` of a glob: what stands before, the parts, what stands after.
fn brace(text: &str) -> Option<(&str, Vec<&str>, &str)> {
    let mut parts = Vec::new();
    let (mut depth, mut open, mut part) = (0, 0, 0);
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '[' => {
                if let Some((_, rest)) = class(&text[at + 1..]) {
                    chars = text.char_indices();
                    chars.by_ref().take_while(|(i, _)| *i + 1 < text.len() - rest.len()).for_each(drop);
                }
            }
            '{' => {
                if depth == 0 {
                    (open, part) = (at, at + 1);
                }
                depth += 1;
            }
            ',' if depth == 1 => {
                parts.push(&text[part..at]);
                part = at + 1;
            }
            '}' if depth == 1 => {
                parts.push(&text[part..at]);
                return Some((&text[..open], parts, &text[at + 1..]));
            }
            '}' if depth > 0 => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Reads a class after its `[`; `None` when it never closes.
fn class(text: &str) -> Option<(Token, &str)> {
    let (negated, body) = match text.strip_prefix(['!', '^']) {
        Some(body) => (true, body),
        None => (false, text),
    };
    // A `]` that comes first stands for itself.
    let first = body.chars().next()?;
    let end = first.len_utf8() + body[first.len_utf8()..].find(']')?;
    let chars: Vec<char> = body[..end].chars().collect();
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        if at + 2 < chars.len() && chars[at + 1] == '-' {
            ranges.push((chars[at], chars[at + 2]));
            at += 3;
        } else {
            ranges.push((chars[at], chars[at]));
            at += 1;
        }
    }
    Some((Token::Class { negated, ranges: ranges.into() }, &body[end + 1..]))
}

/// One way through the braces as tokens.
fn tokens(text: &str) -> Box<[Token]> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut component_starts = true;
    while let Some(c) = rest.chars().next() {
        if component_starts && rest.starts_with("**/") {
            // `**/**/` is `**/`.
            if tokens.last() != Some(&Token::Folders) {
                tokens.extend([Token::MaybeFolders, Token::Folders]);
            }
            rest = &rest[3..];
            continue;
        }
        if component_starts && rest == "**" {
            tokens.push(Token::Rest);
            break;
        }
        rest = &rest[c.len_utf8()..];
        component_starts = c == '/';
        match c {
            '*' => {
                if tokens.last() != Some(&Token::Star) {
                    tokens.push(Token::Star);
                }
            }
            '?' => tokens.push(Token::One),
            '\\' => {
                let escaped = rest.chars().next().unwrap_or('\\');
                rest = rest.strip_prefix(escaped).unwrap_or(rest);
                tokens.push(Token::Char(escaped));
            }
            '[' => match class(rest) {
                Some((token, after)) => {
                    tokens.push(token);
                    rest = after;
                }
                None => tokens.push(Token::Char('[')),
            },
            c => tokens.push(Token::Char(c)),
        }
    }
    tokens.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn globs() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            Just("a"),
            Just("b"),
            Just("ab"),
            Just("*"),
            Just("a*"),
            Just("*b"),
            Just("?"),
            Just("[ab]"),
            Just("[!a]"),
            Just("{a,b*}"),
            Just("**"),
            Just("**"),
            Just("{a,b}?"),
        ];
        prop::collection::vec(part, 1..4).prop_map(|parts| parts.join("/"))
    }

    /// All paths over two letters, up to three components of up to two letters.
    fn paths() -> Vec<String> {
        let words = ["a", "b", "aa", "ab", "ba", "bb"];
        let mut all: Vec<String> = words.iter().map(ToString::to_string).collect();
        for _ in 0..2 {
            let longer: Vec<String> = all.iter().flat_map(|p| words.iter().map(move |w| format!("{p}/{w}"))).collect();
            all.extend(longer);
            all.sort();
            all.dedup();
        }
        all
    }

    fn reference(glob: &str) -> globset::GlobMatcher {
        globset::GlobBuilder::new(glob).literal_separator(true).build().unwrap().compile_matcher()
    }

    proptest! {
        #[test]
        fn a_glob_matches_what_globset_says(glob in globs()) {
            let (mine, theirs) = (Pattern::glob(&glob), reference(&glob));
            for path in paths() {
                prop_assert_eq!(mine.meets(&Pattern::literal(&path)), theirs.is_match(&path), "{} on {}", glob, path);
            }
        }

        /// Two globs meet when a path matches both; the other direction only where a class leaves the answer open or
        /// the common path is longer than those tried.
        #[test]
        fn globs_that_share_a_path_meet(a in globs(), b in globs()) {
            let (x, y) = (reference(&a), reference(&b));
            let shared = paths().into_iter().find(|path| x.is_match(path) && y.is_match(path));
            let (p, q) = (Pattern::glob(&a), Pattern::glob(&b));
            prop_assert_eq!(p.meets(&q), q.meets(&p));
            if let Some(path) = shared {
                prop_assert!(p.meets(&q), "{} and {} on {}", a, b, path);
            }
        }

        #[test]
        fn what_covers_matches_all_the_other_does(a in globs(), b in globs()) {
            if Pattern::glob(&a).covers(&Pattern::glob(&b)) {
                let (x, y) = (reference(&a), reference(&b));
                for path in paths() {
                    prop_assert!(!y.is_match(&path) || x.is_match(&path), "{} covers {} on {}", a, b, path);
                }
            }
        }

        #[test]
        fn no_text_panics(text in "[\\[\\]{},*?!\\\\/a\u{e9}-]{0,12}") {
            let pattern = Pattern::glob(&text);
            pattern.meets(&Pattern::literal("a/b"));
            Pattern::name(&text).meets(&Pattern::literal("a"));
        }
    }

    #[test]
    fn two_globs_meet_or_do_not() {
        for (a, b, expected) in [
            ("src/**/*.rs", "src/**/*.o", false),
            ("src/**/*.rs", "src/gen/*.rs", true),
            ("src/*", "src/*/x", false),
            ("**/x", "x", true),
            ("a/**", "b/**", false),
            ("[a-c]x", "[b-d]x", true),
            ("[a-b]x", "[c-d]x", false),
            ("{a,b}/x", "{b,c}/x", true),
            ("{a,b}/x", "{c,d}/x", false),
            ("out/*.{js,css}", "out/app.*", true),
            ("*.js", "out/*.js", false),
            ("a/**/b", "a/b", true),
        ] {
            assert_eq!(Pattern::glob(a).meets(&Pattern::glob(b)), expected, "{a} and {b}");
        }
    }

    #[test]
    fn folders_are_walked_up_to_the_workspace() {
        assert_eq!(folders("a/b/c").collect::<Vec<_>>(), ["a/b", "a", ""]);
        assert_eq!(folders("a").collect::<Vec<_>>(), [""]);
        assert_eq!(folders("").count(), 0);
    }
}
