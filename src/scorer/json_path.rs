//! `json_path`: an RFC 9535 query on a JSON file yields a value that satisfies every test given.
//! When the query yields several values, one of them must satisfy all tests together, so that `at_least` and `at_most`
//! are the two ends of one range. Without a test the value must be neither null nor false.
//! A missing file and invalid JSON are what the task made, so they are its failure.

use regex::RegexBuilder;
use serde_json::{Number, Value};
use serde_json_path::JsonPath;

use super::files::{self, Content, Look};
use super::{Finding, shown};
use crate::model::scorer::{JsonTest, PATTERN_PROGRAM_BYTES_MAX};
use crate::store::Root;

/// Longest piece of a value in evidence.
const VALUE_BYTES_MAX: usize = 120;

pub(super) fn score(workspace: &Root, path: &str, query: &str, test: &JsonTest, max_bytes: u64) -> Finding {
    match files::open(workspace, path) {
        Look::Found(file) => match file.read(max_bytes) {
            Ok(Content::Whole(bytes)) => judge(path, &bytes, query, test),
            Ok(Content::OverBound) => {
                Finding::broken(format!("`{path}` has more than the {max_bytes} bytes that are read"))
            }
            Err(error) => Finding::broken(format!("`{path}` cannot be read: {error}")),
        },
        Look::NoFile(why) => Finding::no(format!("`{path}` {why}")),
        Look::Unreadable(error) => Finding::broken(format!("`{path}` cannot be read: {error}")),
    }
}

/// Whether these bytes satisfy the test; `path` says in messages whose they are.
fn judge(path: &str, bytes: &[u8], query: &str, test: &JsonTest) -> Finding {
    let query_path = match JsonPath::parse(query) {
        Ok(parsed) => parsed,
        Err(error) => return Finding::broken(format!("its query `{query}` cannot be used: {error}")),
    };
    let matches =
        match test.matches.as_deref().map(|p| RegexBuilder::new(p).size_limit(PATTERN_PROGRAM_BYTES_MAX).build()) {
            Some(Err(error)) => return Finding::broken(format!("its pattern cannot be used: {error}")),
            Some(Ok(regex)) => Some(regex),
            None => None,
        };
    // The reader refuses nesting deeper than 128, so nothing below can recurse further than that.
    let document: Value = match serde_json::from_slice(bytes) {
        Ok(document) => document,
        Err(error) => return Finding::no(format!("`{path}` is not valid JSON: {error}")),
    };
    let nodes = query_path.query(&document);
    let untested = test.equals.is_none() && test.at_least.is_none() && test.at_most.is_none() && matches.is_none();
    let satisfies = |value: &Value| {
        if untested {
            return !matches!(value, Value::Null | Value::Bool(false));
        }
        test.equals.as_ref().is_none_or(|wanted| same(value, wanted))
            && test.at_least.is_none_or(|least| value.as_f64().is_some_and(|number| number >= least))
            && test.at_most.is_none_or(|most| value.as_f64().is_some_and(|number| number <= most))
            && matches.as_ref().is_none_or(|regex| value.as_str().is_some_and(|text| regex.is_match(text)))
    };
    match (nodes.iter().find(|value| satisfies(value)), nodes.first()) {
        (Some(value), _) => Finding::yes(format!("{query} is {}", brief(value))),
        (None, None) => Finding::no(format!("{query} finds nothing in `{path}`")),
        (None, Some(first)) if nodes.len() == 1 => Finding::no(format!("{query} is {}{}", brief(first), wanted(test))),
        (None, Some(first)) => Finding::no(format!(
            "none of the {} values of {query} will do{}; the first is {}",
            nodes.len(),
            wanted(test),
            brief(first)
        )),
    }
}

/// Equality as JSON means it: numbers by value, so that `1` is `1.0`; objects without regard to order.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => same_number(a, b),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

/// Integers are compared as integers, because above 2^53 different ones share a float.
fn same_number(a: &Number, b: &Number) -> bool {
    let whole = |n: &Number| n.as_i64().map(i128::from).or_else(|| n.as_u64().map(i128::from));
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => a == b,
        _ => a.as_f64() == b.as_f64(),
    }
}

fn brief(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("an array of {}", items.len()),
        Value::Object(fields) => format!("an object of {}", fields.len()),
        scalar => shown(&scalar.to_string(), VALUE_BYTES_MAX),
    }
}

/// The tests in words, for a value that fails them; empty when there is none.
fn wanted(test: &JsonTest) -> String {
    let mut tests = Vec::new();
    if let Some(value) = &test.equals {
        tests.push(format!("equals {}", shown(&value.to_string(), VALUE_BYTES_MAX)));
    }
    if let Some(least) = test.at_least {
        tests.push(format!("at_least {least}"));
    }
    if let Some(most) = test.at_most {
        tests.push(format!("at_most {most}"));
    }
    if let Some(pattern) = &test.matches {
        tests.push(format!("matches `{pattern}`"));
    }
    if tests.is_empty() { String::new() } else { format!(", wanted {}", tests.join(" and ")) }
}
