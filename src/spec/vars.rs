//! References in strings: `${vars.x}`, `${matrix.x}`, `${task.name}`; `$${` is a literal `${`.
//! In a script for a shell only references with a dot are ours, as no shell parameter has one: `${HOME}` stays the shell's.
//! `vars` may refer to each other, but not in a circle; a value given by `--set` is taken by its letters.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;

use super::nearest::nearest;
use super::shell::is_reference;

/// Most bytes one variable may grow to by referring to others.
pub(super) const VALUE_BYTES_MAX: usize = 64 << 10;
/// Most bytes that references may add to a whole fleet file.
pub(super) const EXPANDED_BYTES_MAX: usize = 128 << 20;

/// Who reads the string in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// `fleet`: every `${` is a reference.
    Fleet,
    /// A shell, which has references of its own.
    Shell,
}

/// A reference that cannot be filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadReference {
    /// Bytes inside the string, `${` and `}` included.
    pub at: Range<usize>,
    /// What stands between the braces.
    pub name: String,
    pub why: ReferenceMistake,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReferenceMistake {
    /// No `}` follows.
    Open,
    /// Nothing has this name; the nearest, in full, that exists here.
    Unknown(Option<String>),
    /// `${matrix.…}` in a task without `matrix`, or outside of tasks.
    NoMatrix,
    /// The value would pass one of the two limits.
    TooLarge,
}

/// The values that references stand for in one place.
#[derive(Debug)]
pub(super) struct Scope<'a> {
    pub vars: &'a BTreeMap<String, String>,
    pub matrix: &'a [(Box<str>, Box<str>)],
    pub task: Option<&'a str>,
    /// What is left of [`EXPANDED_BYTES_MAX`].
    pub budget: &'a Cell<usize>,
}

impl Scope<'_> {
    /// The string with every reference filled in, or every reference that cannot be.
    pub(super) fn expand(&self, text: &str, reader: Reader) -> Result<String, Vec<BadReference>> {
        let mut out = String::with_capacity(text.len());
        let mut bad = Vec::new();
        for part in Parts::of(text, reader) {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Open(at) => {
                    let name = text[at.clone()].to_owned();
                    bad.push(BadReference { at, name, why: ReferenceMistake::Open });
                }
                Part::Reference { at, name } => match self.value(name) {
                    Ok(value) if value.len() <= self.budget.get() => {
                        self.budget.set(self.budget.get() - value.len());
                        out.push_str(value);
                    }
                    Ok(_) => bad.push(BadReference { at, name: name.to_owned(), why: ReferenceMistake::TooLarge }),
                    Err(why) => bad.push(BadReference { at, name: name.to_owned(), why }),
                },
            }
        }
        if bad.is_empty() { Ok(out) } else { Err(bad) }
    }

    fn value(&self, name: &str) -> Result<&str, ReferenceMistake> {
        let (family, rest) = name.split_once('.').unwrap_or((name, ""));
        let found = match family {
            "vars" => self.vars.get(rest).map(String::as_str),
            "matrix" if self.matrix.is_empty() && !rest.is_empty() => return Err(ReferenceMistake::NoMatrix),
            "matrix" => self.matrix.iter().find(|(axis, _)| &**axis == rest).map(|(_, value)| &**value),
            "task" if rest == "name" => self.task,
            _ => None,
        };
        found.ok_or_else(|| ReferenceMistake::Unknown(self.nearest(name)))
    }

    fn nearest(&self, name: &str) -> Option<String> {
        // Each wrong reference looks through all names: only where that is quick.
        if self.vars.len() > 2_000 {
            return None;
        }
        let mut known: Vec<String> = self.vars.keys().map(|key| format!("vars.{key}")).collect();
        known.extend(self.matrix.iter().map(|(axis, _)| format!("matrix.{axis}")));
        known.extend(self.task.map(|_| "task.name".to_owned()));
        // `${profile}` for `${vars.profile}` is the commonest slip.
        let bare = known.iter().find(|full| full.split_once('.').is_some_and(|(_, rest)| rest == name));
        bare.cloned().or_else(|| nearest(name, known.iter().map(String::as_str)).map(str::to_owned))
    }
}

/// Whether a string holds anything to fill in or to unescape.
#[must_use]
pub(super) fn has_references(text: &str) -> bool {
    text.contains("${")
}

/// The names of all well-formed references of a string.
pub(super) fn references(text: &str, reader: Reader) -> impl Iterator<Item = &str> {
    Parts::of(text, reader).filter_map(|part| match part {
        Part::Reference { name, .. } => Some(name),
        _ => None,
    })
}

enum Part<'a> {
    Text(&'a str),
    Reference { at: Range<usize>, name: &'a str },
    Open(Range<usize>),
}

struct Parts<'a> {
    text: &'a str,
    at: usize,
    reader: Reader,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str, reader: Reader) -> Self {
        Self { text, at: 0, reader }
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let start = self.at;
        let rest = &self.text[start..];
        if rest.is_empty() {
            return None;
        }
        if rest.starts_with("$${") {
            self.at += 3;
            return Some(Part::Text("${"));
        }
        if let Some(after) = rest.strip_prefix("${")
            && (self.reader == Reader::Fleet || is_reference(after))
        {
            let Some(close) = after.find(['}', '\n']).filter(|n| after.as_bytes()[*n] == b'}') else {
                self.at = self.text.len();
                let line = rest.find('\n').unwrap_or(rest.len());
                return Some(Part::Open(start..start + line));
            };
            self.at = start + 2 + close + 1;
            return Some(Part::Reference { at: start..self.at, name: &after[..close] });
        }
        // Text goes on to the next `${`, or to the `$` of an escape before it.
        let skip = rest.chars().next().map_or(0, char::len_utf8);
        let end = rest[skip..].find("${").map_or(rest.len(), |n| {
            let n = n + skip;
            if n > skip && rest.as_bytes()[n - 1] == b'$' { n - 1 } else { n }
        });
        self.at = start + end;
        Some(Part::Text(&rest[..end]))
    }
}

/// What is wrong with `[vars]` as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BadVar {
    /// The names along the circle, the first one not repeated.
    Cycle(Vec<String>),
    Reference {
        var: String,
        bad: BadReference,
    },
}

/// Fills references between variables in. `fixed` names are taken by their letters (`--set`).
/// A variable with a mistake keeps its written text, so that one mistake is reported once.
pub(super) fn resolve(written: &BTreeMap<String, String>, fixed: &[&str]) -> (BTreeMap<String, String>, Vec<BadVar>) {
    let mut bad = Vec::new();
    let needs = |text: &str| -> Vec<String> {
        references(text, Reader::Fleet).filter_map(|name| name.strip_prefix("vars.")).map(str::to_owned).collect()
    };
    let mut done: BTreeMap<String, String> = BTreeMap::new();
    let plain = |name: &str, text: &str| fixed.contains(&name) || !has_references(text);
    let mut open: Vec<String> = Vec::new();
    for (name, text) in written {
        if plain(name, text) {
            done.insert(name.clone(), text.clone());
        } else {
            open.push(name.clone());
        }
    }
    // Depth first with a stack of our own: a chain of variables may be as long as the file.
    let budget = Cell::new(EXPANDED_BYTES_MAX);
    for root in open {
        let mut path: Vec<(String, Vec<String>)> = Vec::new();
        let mut on_path: std::collections::HashSet<String> = std::collections::HashSet::new();
        if !done.contains_key(&root) {
            on_path.insert(root.clone());
            path.push((root.clone(), needs(&written[&root])));
        }
        while let Some((name, wanted)) = path.last_mut() {
            if let Some(next) = wanted.pop() {
                if done.contains_key(&next) || !written.contains_key(&next) {
                    continue;
                }
                if on_path.contains(&next) {
                    let start = path.iter().position(|(name, _)| *name == next).unwrap_or(0);
                    let circle: Vec<String> = path[start..].iter().map(|(name, _)| name.clone()).collect();
                    for name in &circle {
                        done.insert(name.clone(), written[name].clone());
                    }
                    bad.push(BadVar::Cycle(circle));
                    continue;
                }
                on_path.insert(next.clone());
                path.push((next.clone(), needs(&written[&next])));
                continue;
            }
            let name = std::mem::take(name);
            path.pop();
            on_path.remove(&name);
            if done.contains_key(&name) {
                continue;
            }
            let scope = Scope { vars: &done, matrix: &[], task: None, budget: &budget };
            let value = match scope.expand(&written[&name], Reader::Fleet) {
                Ok(value) if value.len() > VALUE_BYTES_MAX => {
                    let all = 0..written[&name].len();
                    Err(vec![BadReference { at: all, name: name.clone(), why: ReferenceMistake::TooLarge }])
                }
                other => other,
            };
            let value = value.unwrap_or_else(|list| {
                bad.extend(list.into_iter().map(|bad| BadVar::Reference { var: name.clone(), bad }));
                written[&name].clone()
            });
            done.insert(name, value);
        }
    }
    (done, bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(list: &[(&str, &str)]) -> BTreeMap<String, String> {
        list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn expand(text: &str, reader: Reader) -> Result<String, Vec<BadReference>> {
        let vars = vars(&[("profile", "release"), ("n", "1")]);
        let matrix = [("arch".into(), "x86_64".into())];
        let budget = Cell::new(1000);
        Scope { vars: &vars, matrix: &matrix, task: Some("build:x86_64"), budget: &budget }.expand(text, reader)
    }

    #[test]
    fn references_are_filled_in() {
        for (text, reader, want) in [
            ("--profile=${vars.profile}!", Reader::Fleet, "--profile=release!"),
            ("${matrix.arch}/${task.name}", Reader::Fleet, "x86_64/build:x86_64"),
            ("$${vars.profile} $5 $", Reader::Fleet, "${vars.profile} $5 $"),
            ("$$${vars.n}", Reader::Fleet, "$${vars.n}"),
            ("é${vars.n}é", Reader::Fleet, "é1é"),
            ("${HOME:-x} ${vars.n} ${a#*.} $$", Reader::Shell, "${HOME:-x} 1 ${a#*.} $$"),
        ] {
            assert_eq!(expand(text, reader).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn wrong_references_say_where_and_what_is_near() {
        for (text, at, why) in [
            ("a ${vars.profil}", 2..16, ReferenceMistake::Unknown(Some("vars.profile".into()))),
            ("${profile}", 0..10, ReferenceMistake::Unknown(Some("vars.profile".into()))),
            ("${env.HOME}", 0..11, ReferenceMistake::Unknown(None)),
            ("x ${vars.n", 2..10, ReferenceMistake::Open),
        ] {
            let bad = expand(text, Reader::Fleet).unwrap_err();
            assert_eq!((&bad[0].at, &bad[0].why), (&at, &why), "{text}");
        }
    }

    #[test]
    fn variables_refer_to_variables_but_not_in_a_circle() {
        let (done, bad) = resolve(&vars(&[("a", "${vars.b}-${vars.c}"), ("b", "<${vars.c}>"), ("c", "1")]), &[]);
        assert!(bad.is_empty());
        assert_eq!(done["a"], "<1>-1");
        let (_, bad) = resolve(&vars(&[("a", "${vars.b}"), ("b", "${vars.a}"), ("c", "${vars.a}")]), &[]);
        assert_eq!(bad, [BadVar::Cycle(vec!["a".into(), "b".into()])]);
        let (done, bad) = resolve(&vars(&[("a", "${vars.a}")]), &["a"]);
        assert_eq!((done["a"].as_str(), bad.len()), ("${vars.a}", 0));
    }

    #[test]
    fn variables_cannot_explode() {
        let mut all = vars(&[("v0", "xxxxxxxxxxxxxxxx")]);
        for n in 1..40 {
            all.insert(format!("v{n}"), format!("${{vars.v{0}}}${{vars.v{0}}}", n - 1));
        }
        let (done, bad) = resolve(&all, &[]);
        assert!(bad.iter().all(|bad| matches!(bad, BadVar::Reference { .. })) && !bad.is_empty());
        assert!(done.values().all(|value| value.len() <= VALUE_BYTES_MAX));
    }

    #[test]
    fn a_long_chain_of_variables_needs_no_stack() {
        let mut all = vars(&[("v0", "x")]);
        for n in 1..50_000 {
            all.insert(format!("v{n}"), format!("${{vars.v{}}}", n - 1));
        }
        let (done, bad) = resolve(&all, &[]);
        assert!(bad.is_empty());
        assert_eq!(done["v49999"], "x");
    }
}
