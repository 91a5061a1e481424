//! TOML to the tree. The parser's own tables cost seven times the tree (and its tokens as much again), so a large file
//! is read in pieces that start at `[tasks.x]` headers, and each piece's table is eaten as it is walked. Pieces that do
//! not plainly add up are read again as a whole, which also says what is wrong.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::json::within;
use super::source::DEPTH_MAX;
use super::syntax_error::SyntaxError;
use super::tree::{Builder, FileId, Handle, KeyHandle, OUT_OF_RANGE, Tree, Twice};

/// Most duplicate keys reported for one file.
const DUPLICATES_MAX: usize = 20;

/// Size of a piece of a large file, in bytes.
const PIECE_BYTES: usize = 64 << 10;

pub(super) fn read(file: FileId, text: &Arc<str>) -> Result<Tree, Vec<SyntaxError>> {
    if text.len() > 2 * PIECE_BYTES
        && let Some(tree) = pieces(file, text, PIECE_BYTES)
    {
        return Ok(tree);
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(explain(text, &table, &errors));
    }
    let mut builder = Builder::new(file, Arc::clone(text));
    let root =
        convert(&mut builder, 0, table.span(), DeValue::Table(table.into_inner()), 1).map_err(|error| vec![error])?;
    Ok(builder.finish(root))
}

/// The tree of a file that consists of pieces which share no table but `tasks`; `None` for any other, valid or not.
/// A header inside a string or a list would leave the piece before it open, which is an error there, so a piece that
/// parses is one.
fn pieces(file: FileId, text: &Arc<str>, bytes: usize) -> Option<Tree> {
    let mut builder = Builder::new(file, Arc::clone(text));
    let mut root: Vec<(KeyHandle, Handle)> = Vec::new();
    let mut tasks: Vec<(KeyHandle, Handle)> = Vec::new();
    let mut tasks_at: Option<(KeyHandle, Range<usize>)> = None;
    let mut base = 0;
    while base < text.len() {
        let end = next_header(text, base + bytes);
        let piece = &text[base..end];
        for (name, value) in DeTable::parse(piece).ok()?.into_inner() {
            let key = builder.key(&shifted(name.span(), base), name.get_ref().as_ref().into());
            let span = value.span();
            match value.into_inner() {
                DeValue::Table(table) if name.get_ref() == "tasks" => {
                    // Written out (`{…}`, `[tasks]`) it may be only in the first piece, and only if open for more.
                    let written = &piece[span.clone()];
                    if written.starts_with('{') || (base > 0 && written.starts_with('[')) {
                        return None;
                    }
                    tasks_at.get_or_insert((key, shifted(span, base)));
                    for (name, value) in table {
                        let key = builder.key(&shifted(name.span(), base), name.into_inner());
                        let span = value.span();
                        tasks.push((key, convert(&mut builder, base, span, value.into_inner(), 3).ok()?));
                    }
                }
                value => root.push((key, convert(&mut builder, base, span, value, 2).ok()?)),
            }
        }
        base = end;
    }
    if let Some((key, span)) = tasks_at {
        root.push((key, builder.table(span, tasks).ok()?));
    }
    let root = builder.table(0..text.len(), root).ok()?;
    Some(builder.finish(root))
}

/// Where the first line at or after `from` starts that looks like `[tasks.x]`.
fn next_header(text: &str, from: usize) -> usize {
    const START: &str = "\n[tasks.";
    let mut from = (from.min(text.len())..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    while let Some(at) = text[from..].find(START) {
        let line = from + at + 1;
        from += at + START.len();
        let name = text[from..].bytes().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')).count();
        // `[tasks.x.env]` belongs to what stands before it.
        if text[from + name..].starts_with(']') {
            return line;
        }
    }
    text.len()
}

fn shifted(span: Range<usize>, by: usize) -> Range<usize> {
    span.start + by..span.end + by
}

fn convert(
    builder: &mut Builder,
    base: usize,
    span: Range<usize>,
    value: DeValue<'_>,
    depth: usize,
) -> Result<Handle, SyntaxError> {
    let span = shifted(span, base);
    if depth > DEPTH_MAX {
        return Err(SyntaxError::TooDeep { span });
    }
    Ok(match value {
        DeValue::Boolean(value) => builder.bool(span, value),
        DeValue::String(text) => {
            let text = unix_lines(builder.source(&span), text);
            builder.text(span, text)
        }
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(value) => builder.integer(span, value),
            Err(_) => builder.other(span, &OUT_OF_RANGE),
        },
        DeValue::Float(float) => match float.as_str().parse::<f64>() {
            Ok(value) => builder.float(span, value),
            Err(_) => builder.other(span, &OUT_OF_RANGE),
        },
        DeValue::Datetime(_) => builder.other(span, &"a date or time"),
        DeValue::Array(array) => {
            let mut items = Vec::with_capacity(array.len());
            for item in array {
                items.push(convert(builder, base, item.span(), item.into_inner(), depth + 1)?);
            }
            builder.list(span, items)
        }
        DeValue::Table(table) => {
            let mut entries: Vec<(KeyHandle, Handle)> = Vec::with_capacity(table.len());
            for (name, value) in table {
                let key = builder.key(&shifted(name.span(), base), name.into_inner());
                entries.push((key, convert(builder, base, value.span(), value.into_inner(), depth + 1)?));
            }
            builder.table(span, entries).map_err(SyntaxError::Twice)?
        }
    })
}

/// The parser keeps the line ends of the file in a string of several lines, and a shell takes the carriage returns of a
/// file with Windows line ends for part of its words. YAML reads such lines without them; so do we. A carriage return
/// that was written as an escape is meant, and then all of them are kept.
fn unix_lines<'t>(source: &str, text: Cow<'t, str>) -> Cow<'t, str> {
    let literal = source.starts_with("'''");
    let escapes = ["\\r", "\\u000", "\\U0000", "\\x0"];
    let meant = !literal && escapes.iter().any(|escape| source.contains(escape));
    if text.contains("\r\n") && !meant { text.replace("\r\n", "\n").into() } else { text }
}

/// What the parser found wrong. After a mistake of grammar it guesses, so only the first of those is told; duplicate
/// keys are told all.
fn explain(text: &str, table: &Spanned<DeTable<'_>>, errors: &[toml::de::Error]) -> Vec<SyntaxError> {
    let is_duplicate = |error: &&toml::de::Error| error.message().starts_with("duplicate key");
    let duplicates: Vec<_> = errors.iter().take_while(is_duplicate).take(DUPLICATES_MAX).collect();
    if duplicates.is_empty() {
        return errors.first().map(|error| grammar(text, error)).into_iter().collect();
    }
    let explain = |error: &toml::de::Error| {
        let again = within(text, error.span().unwrap_or_default());
        let name = key_name(&text[again.clone()]);
        match first_place(text, table.get_ref(), &again, &name) {
            Some(first) => SyntaxError::Twice(Twice { name, first, again }),
            None => SyntaxError::Again { name, span: again },
        }
    };
    duplicates.into_iter().map(explain).collect()
}

fn grammar(text: &str, error: &toml::de::Error) -> SyntaxError {
    let span = within(text, error.span().unwrap_or(text.len()..text.len()));
    if error.message().contains("recursion limit") || error.message().contains("recursion depth") {
        return SyntaxError::TooDeep { span };
    }
    SyntaxError::Parser { syntax: "TOML", says: error.message().to_owned(), span, help: None }
}

/// A key without quotes and escapes.
fn key_name(written: &str) -> String {
    match DeTable::parse(&format!("{written} = 0")) {
        Ok(table) => {
            table.into_inner().keys().next().map_or_else(|| written.to_owned(), |key| key.get_ref().to_string())
        }
        Err(_) => written.to_owned(),
    }
}

/// Where a duplicate key stands first. The parser knows but does not tell, so this looks in what it recovered: for a
/// `[header]`, in the text before it; for a key, in the table around it.
fn first_place(text: &str, table: &DeTable<'_>, again: &Range<usize>, name: &str) -> Option<Range<usize>> {
    let line = text[..again.start].rfind('\n').map_or(0, |newline| newline + 1);
    if text[line..].trim_start().starts_with('[') {
        let header = text[line..].lines().next()?;
        let (before, _) = DeTable::parse_recoverable(&text[..line]);
        let (path, _) = DeTable::parse_recoverable(header);
        return follow(before.get_ref(), path.get_ref(), name);
    }
    let around = innermost(text, table, again.start).unwrap_or(table);
    nearest_before(around, name, again.start)
}

/// The key named `name` on the way of the only path in `path`.
fn follow(table: &DeTable<'_>, path: &DeTable<'_>, name: &str) -> Option<Range<usize>> {
    let (step, rest) = path.iter().next()?;
    let (key, value) = table.get_key_value(step.get_ref().as_ref())?;
    let deeper = match (inner_table(value.get_ref()), inner_table(rest.get_ref())) {
        (Some(table), Some(rest)) => follow(table, rest, name),
        _ => None,
    };
    deeper.or_else(|| (key.get_ref().as_ref() == name).then(|| key.span()))
}

fn inner_table<'v, 'i>(value: &'v DeValue<'i>) -> Option<&'v DeTable<'i>> {
    match value {
        DeValue::Table(table) => Some(table),
        DeValue::Array(array) => array.iter().last().and_then(|item| inner_table(item.get_ref())),
        _ => None,
    }
}

/// The table a key at `at` belongs to: the inline table around it, else the last one whose header stands before it.
fn innermost<'v, 'i>(text: &str, table: &'v DeTable<'i>, at: usize) -> Option<&'v DeTable<'i>> {
    type Best<'v, 'i> = Option<(usize, &'v DeTable<'i>)>;
    fn walk<'v, 'i>(text: &str, value: &'v Spanned<DeValue<'i>>, at: usize, best: &mut Best<'v, 'i>) {
        let span = value.span();
        match value.get_ref() {
            DeValue::Table(table) => {
                let around = match text.as_bytes().get(span.start) {
                    Some(b'{') => span.contains(&at),
                    Some(b'[') => span.end <= at,
                    _ => false,
                };
                if around && best.is_none_or(|(start, _)| start <= span.start) {
                    *best = Some((span.start, table));
                }
                table.values().for_each(|inner| walk(text, inner, at, best));
            }
            DeValue::Array(array) => array.iter().for_each(|inner| walk(text, inner, at, best)),
            _ => {}
        }
    }
    let mut best = None;
    table.values().for_each(|value| walk(text, value, at, &mut best));
    best.map(|(_, table)| table)
}

/// The last key of that name before `at`, here or (through dotted keys) below.
fn nearest_before(table: &DeTable<'_>, name: &str, at: usize) -> Option<Range<usize>> {
    let here = table.get_key_value(name).map(|(key, _)| key.span()).filter(|span| span.start < at);
    here.or_else(|| {
        let below = table.values().filter_map(|value| inner_table(value.get_ref()));
        below.filter_map(|table| nearest_before(table, name, at)).max_by_key(|span| span.start)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> String {
        let table = DeTable::parse(text).unwrap();
        let mut builder = Builder::new(FileId(0), text.into());
        let root = convert(&mut builder, 0, table.span(), DeValue::Table(table.into_inner()), 1).unwrap();
        spans(&builder.finish(root))
    }

    /// Every key and value with its place; the order of the root's keys, which means nothing, left out.
    fn spans(tree: &Tree) -> String {
        fn walk(node: crate::spec::tree::Node<'_>, out: &mut Vec<String>) {
            out.push(format!("{:?} {:?}", node.value(), node.source()));
            node.items().for_each(|item| walk(item, out));
            for entry in node.entries() {
                out.push(format!("{} {:?}", entry.name(), entry.key_span()));
                walk(entry.value(), out);
            }
        }
        let mut parts: Vec<_> = tree
            .root()
            .entries()
            .map(|entry| {
                let mut out = vec![format!("{} {:?}", entry.name(), entry.key_span())];
                walk(entry.value(), &mut out);
                out.join("\n")
            })
            .collect();
        parts.sort();
        parts.join("\n")
    }

    #[test]
    fn pieces_add_up_to_the_whole_or_are_refused() {
        let tasks = |from: usize, to: usize| {
            (from..to).fold(String::new(), |text, i| text + &format!("[tasks.t{i}]\nrun = \"ä{i}\"\nneeds = [\"t\"]\n"))
        };
        let adds_up = [
            tasks(0, 50),
            format!("name = \"x\"\n[tasks]\n{}[policies]\nfail_fast = true\n{}", tasks(0, 20), tasks(20, 40)),
            format!("{}[tasks.t9.env]\nA = \"1\"\n{}", tasks(0, 10), tasks(10, 40)),
        ];
        for text in adds_up {
            let tree = pieces(FileId(0), &text.as_str().into(), 150).expect("it adds up");
            assert_eq!(spans(&tree), whole(&text));
        }
        let many = tasks(0, 40);
        let does_not = [
            format!("tasks = {{}}\n{many}"),
            format!("{many}[tasks]\n"),
            format!("{many}{}", tasks(0, 1)),
            format!("{many}[tasks.t0.env]\nA = \"1\"\n"),
            format!("[tasks.s]\nsh = \"\"\"\n{many}\"\"\"\n"),
            format!("[policies]\n{many}[policies.limits]\n"),
            format!("{many}[[tasks]]\n"),
        ];
        for text in does_not {
            assert!(pieces(FileId(0), &text.as_str().into(), 150).is_none(), "{text}");
        }
    }
}
