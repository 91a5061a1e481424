//! The words for what `de` finds: one function for each mistake.

use std::fmt::Write as _;
use std::ops::Range;

use crate::spec::error::{Label, Problem};
use crate::spec::file::{HOST_KINDS, KINDS_NOT_YET, NEVER_RETRIED, NOT_YET};
use crate::spec::nearest::{did_you_mean, nearest};
use crate::spec::quantity::BadUnit;
use crate::spec::tree::{Entry, Node, Seg, Tree, Value};

fn problem(tree: &Tree, code: &'static str, message: String, span: Range<usize>, label: &str) -> Problem {
    let label = Label { file: tree.file(), span, text: label.to_owned() };
    Problem { code, message, labels: vec![label], help: None }
}

/// The path of a node for people: `tasks.build.needs[1]`.
pub(super) fn path(node: Node<'_>) -> String {
    let mut text = String::new();
    for seg in node.path() {
        match seg {
            Seg::Key(name) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(&shown(&name));
            }
            Seg::Index(index) => {
                let _ = write!(text, "[{index}]");
            }
        }
    }
    text
}

/// A text of the file on one line and of bearable length.
fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().nth(60).is_some() {
        short.push('…');
    }
    short
}

fn subject(node: Node<'_>) -> String {
    let path = path(node);
    if path.is_empty() { "the file".into() } else { format!("`{path}`") }
}

pub(super) fn wrong_type(node: Node<'_>, expected: &str) -> Problem {
    let found = node.what();
    let label = if node.value() == Value::Null { "no value".into() } else { format!("this is {found}") };
    let mut problem = problem(
        node.tree(),
        "fleet::wrong_type",
        format!("{} must be {expected}, not {found}", subject(node)),
        node.span(),
        &label,
    );
    let wants_bool = expected.contains("`true`");
    let wants_text = expected.starts_with("text");
    problem.help = match (node.plain(), node.value()) {
        (Some(plain), _) if wants_bool => {
            old_boolean(plain).map(|b| format!("YAML 1.2 has no `{}` for booleans: write `{b}`", shown(plain)))
        }
        (_, Value::Text(text)) if wants_bool && matches!(text, "true" | "false") => {
            Some("remove the quotes".to_owned())
        }
        (Some(plain), Value::Bool(_) | Value::Integer(_) | Value::Float(_)) if wants_text => {
            Some(format!("put quotes around it: `\"{}\"`", shown(plain)))
        }
        (None, Value::Bool(_) | Value::Integer(_) | Value::Float(_)) if wants_text => {
            Some(format!("put quotes around it: `\"{}\"`", shown(node.source())))
        }
        (_, Value::Text(text)) if expected == "a list" => {
            Some(format!("put brackets around it: `[\"{}\"]`", shown(text)))
        }
        (_, Value::Text(text)) if expected.contains("number") && text.parse::<f64>().is_ok() => {
            Some("remove the quotes".to_owned())
        }
        (_, Value::Null) => Some("write a value, or remove the key".to_owned()),
        _ => None,
    };
    problem
}

/// What a YAML 1.1 boolean would have meant.
fn old_boolean(plain: &str) -> Option<bool> {
    match plain.to_ascii_lowercase().as_str() {
        "yes" | "on" | "y" => Some(true),
        "no" | "off" | "n" => Some(false),
        _ => None,
    }
}

pub(super) fn bad_value(node: Node<'_>, message: &str) -> Problem {
    problem(node.tree(), "fleet::bad_value", format!("{} {message}", subject(node)), node.span(), message)
}

pub(super) fn missing(node: Node<'_>, place: Range<usize>, field: &str) -> Problem {
    problem(
        node.tree(),
        "fleet::missing_field",
        format!("{} has no `{field}`", subject(node)),
        place,
        &format!("`{field}` is missing here"),
    )
}

pub(super) fn missing_kind(node: Node<'_>, place: Range<usize>, kinds: &[&str]) -> Problem {
    let mut problem = missing(node, place, "kind");
    problem.help = Some(format!("kinds are {}", list(kinds)));
    problem
}

pub(super) fn unknown_key(table: Node<'_>, entry: Entry<'_>, name: &str, fields: &[&str]) -> Problem {
    let key = entry.name();
    let within = path(table);
    let owner = if within.is_empty() { "a fleet file".into() } else { format!("`{within}`") };
    if NOT_YET.iter().any(|(table, keys)| *table == name && keys.contains(&key)) {
        return not_yet(table.tree(), &format!("`{key}` in {owner}"), entry.key_span());
    }
    let mut problem = problem(
        table.tree(),
        "fleet::unknown_key",
        format!("{owner} has no key `{}`", shown(key)),
        entry.key_span(),
        "unknown key",
    );
    problem.help = did_you_mean(key, fields.iter().copied()).or_else(|| {
        let all = format!("keys here are {}", list(fields));
        (!fields.is_empty() && fields.len() <= 12).then_some(all)
    });
    problem
}

fn not_yet(tree: &Tree, what: &str, span: Range<usize>) -> Problem {
    let mut problem = problem(
        tree,
        "fleet::not_supported_yet",
        format!("{what} is not supported yet"),
        span,
        "this version does not honour it, so it does not accept it",
    );
    problem.help = Some("remove it; nothing in a fleet file is read and ignored".into());
    problem
}

/// A word that is none of an enum's: a kind, a trust level, a shell.
pub(super) fn unknown_word(node: Node<'_>, name: &str, words: &[&str]) -> Problem {
    let word = node.as_str().unwrap_or_default();
    if KINDS_NOT_YET.iter().any(|(table, kinds)| *table == name && kinds.contains(&word)) {
        return not_yet(node.tree(), &format!("`{word}` for {}", subject(node)), node.span());
    }
    if name == "HostWord" && HOST_KINDS.contains(&word) {
        let mut problem = problem(
            node.tree(),
            "fleet::host_word",
            format!("{} needs more than the word `{word}`", subject(node)),
            node.span(),
            "a table belongs here",
        );
        problem.help = Some(match word {
            "ssh" => "write `host = { kind = \"ssh\", host = \"build.example\" }`".to_owned(),
            engine => format!("write `host = {{ kind = \"{engine}\", image = \"…\" }}`"),
        });
        return problem;
    }
    if (name, word) == NEVER_RETRIED {
        let mut problem = problem(
            node.tree(),
            "fleet::retry_verifier",
            "a failure of a verifier is never retried".to_owned(),
            node.span(),
            "says nothing about the task",
        );
        problem.help = Some(format!("remove it: `on` takes {}", list(words)));
        return problem;
    }
    let mut problem = problem(
        node.tree(),
        "fleet::unknown_value",
        format!("{} cannot be `{}`", subject(node), shown(word)),
        node.span(),
        "not one of the words for this",
    );
    let all = list(words);
    problem.help = Some(match nearest(word, words.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? It is one of {all}"),
        None => format!("it is one of {all}"),
    });
    problem
}

pub(super) fn unit_missing(node: Node<'_>, is_duration: bool) -> Problem {
    let (what, unit, example) = if is_duration { ("duration", "s", "90s") } else { ("size", "B", "16MiB") };
    let mut problem = wrong_type(node, &format!("a {what} as text"));
    problem.help = Some(match node.value() {
        Value::Integer(n) if n >= 0 => format!("give it a unit: `\"{n}{unit}\"`"),
        Value::Float(n) if n >= 0.0 => format!("give it a unit: `\"{n}{unit}\"`"),
        _ => format!("a {what} looks like `\"{example}\"`"),
    });
    problem.code = if is_duration { "fleet::bad_duration" } else { "fleet::bad_size" };
    problem
}

pub(super) fn bad_unit(node: Node<'_>, is_duration: bool, bad: &BadUnit) -> Problem {
    let (code, what) = if is_duration { ("fleet::bad_duration", "duration") } else { ("fleet::bad_size", "size") };
    let (why, text) = (bad.why.text(), node.as_str().unwrap_or_default());
    let message = format!("{}: the {what} `{}` {why}", subject(node), shown(text));
    let span = node.inside(text, &bad.at).unwrap_or_else(|| node.span());
    let mut problem = problem(node.tree(), code, message, span, why);
    problem.help = Some(bad.help(what));
    problem
}

pub(super) fn bad_name(tree: &Tree, name: &str, span: Range<usize>) -> Problem {
    let mut problem = problem(tree, "fleet::bad_name", format!("`{}` is not a name", shown(name)), span, "not a name");
    let fixed: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' })
        .take(crate::id::NAME_BYTES_MAX)
        .collect();
    let fixed = fixed.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    let rule =
        "a name starts with a letter or digit, goes on with letters, digits, `.`, `_` or `-`, and has at most 128";
    problem.help =
        Some(if crate::id::is_name(fixed) { format!("{rule}: `{}`", shown(fixed)) } else { rule.to_owned() });
    problem
}

/// The shapes a value may have, in words.
pub(super) fn shapes(variants: &[&str]) -> String {
    let words: Vec<&str> = variants
        .iter()
        .map(|variant| match *variant {
            "list" => "a list",
            "table" => "a table",
            "boolean" => "`true` or `false`",
            "integer" => "a whole number",
            other => other,
        })
        .collect();
    either(&words)
}

pub(super) fn words(variants: &[&str]) -> String {
    let quoted: Vec<String> = variants.iter().map(|word| format!("`\"{word}\"`")).collect();
    either(&quoted.iter().map(String::as_str).collect::<Vec<_>>())
}

fn either(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

fn list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
