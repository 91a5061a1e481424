//! JSON to the tree: RFC 8259 and nothing beyond it, so no comments, trailing commas or single quotes.

use std::ops::Range;
use std::sync::Arc;

use jsonc_parser::ast::{ObjectPropName, Value};
use jsonc_parser::common::Ranged;
use jsonc_parser::errors::ParseErrorKind;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::source::DEPTH_MAX;
use super::syntax_error::SyntaxError;
use super::tree::{Builder, FileId, Handle, KeyHandle, OUT_OF_RANGE, Tree};

const STRICT: ParseOptions = ParseOptions {
    allow_comments: false,
    allow_loose_object_property_names: false,
    allow_trailing_commas: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// An empty file is an empty table.
pub(super) fn read(file: FileId, text: &Arc<str>) -> Result<Tree, SyntaxError> {
    let mut builder = Builder::new(file, Arc::clone(text));
    let parsed = parse_to_ast(text, &CollectOptions::default(), &STRICT).map_err(|error| {
        let range = error.range();
        let help = match error.kind() {
            ParseErrorKind::CommentsNotAllowed => Some("JSON has no comments; TOML and YAML have"),
            ParseErrorKind::TrailingCommasNotAllowed => Some("remove the comma"),
            ParseErrorKind::SingleQuotedStringsNotAllowed => Some("use double quotes"),
            _ => None,
        };
        let says = lower_first(&error.kind().to_string());
        let span = within(text, range.start..range.end);
        if matches!(error.kind(), ParseErrorKind::NestingDepthExceeded) {
            return SyntaxError::TooDeep { span };
        }
        SyntaxError::Parser { syntax: "JSON", says, span, help }
    })?;
    let root = match parsed.value {
        Some(value) => convert(&mut builder, value, 1)?,
        None => builder.table(0..0, std::iter::empty()).map_err(SyntaxError::Twice)?,
    };
    Ok(builder.finish(root))
}

fn convert(builder: &mut Builder, value: Value<'_>, depth: usize) -> Result<Handle, SyntaxError> {
    let range = value.range();
    let span = range.start..range.end;
    if depth > DEPTH_MAX {
        return Err(SyntaxError::TooDeep { span: span.start..span.start + 1 });
    }
    Ok(match value {
        Value::NullKeyword(_) => builder.null(span),
        Value::BooleanLit(literal) => builder.bool(span, literal.value),
        Value::StringLit(literal) => builder.text(span, literal.value),
        Value::NumberLit(literal) => {
            let digits = literal.value.strip_prefix('-').unwrap_or(literal.value);
            if digits.bytes().all(|b| b.is_ascii_digit()) {
                match literal.value.parse() {
                    Ok(integer) => builder.integer(span, integer),
                    Err(_) => builder.other(span, &OUT_OF_RANGE),
                }
            } else {
                match literal.value.parse::<f64>() {
                    Ok(number) if number.is_finite() => builder.float(span, number),
                    _ => builder.other(span, &OUT_OF_RANGE),
                }
            }
        }
        Value::Array(array) => {
            let mut items = Vec::with_capacity(array.elements.len());
            for element in array.elements {
                items.push(convert(builder, element, depth + 1)?);
            }
            builder.list(span, items)
        }
        Value::Object(object) => {
            let mut entries: Vec<(KeyHandle, Handle)> = Vec::with_capacity(object.properties.len());
            for property in object.properties {
                let key = match property.name {
                    ObjectPropName::String(name) => builder.key(&(name.range.start..name.range.end), name.value),
                    ObjectPropName::Word(word) => builder.key(&(word.range.start..word.range.end), word.value.into()),
                };
                entries.push((key, convert(builder, property.value, depth + 1)?));
            }
            builder.table(span, entries).map_err(SyntaxError::Twice)?
        }
    })
}

/// Parsers point one past the end, or into the middle of a character; a label must do neither.
pub(super) fn within(text: &str, span: Range<usize>) -> Range<usize> {
    let last = text.len();
    let start = (0..=span.start.min(last)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let end = (span.end.clamp(start, last)..=last).find(|at| text.is_char_boundary(*at)).unwrap_or(last);
    start..end
}

pub(super) fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}
