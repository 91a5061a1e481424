//! Problems as JSON for programs, and as SARIF 2.1.0 for code hosts and editors.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::super::error::{Label, Problem};
use super::super::map::SourceMap;
use super::without_credentials;

/// `{"version": 1, "problems": [{"code", "message", "help", "labels": [{"file", "line", "column", …, "text"}]}]}`,
/// labels with the place itself first; one line, with a newline behind.
#[must_use]
pub fn json(problems: &[Problem], sources: &SourceMap) -> String {
    let list: Vec<Value> = problems
        .iter()
        .map(without_credentials)
        .map(|problem| {
            let labels: Vec<Value> = problem.labels.iter().map(|label| place(label, sources)).collect();
            json!({ "code": problem.code, "message": problem.message, "help": problem.help, "labels": labels })
        })
        .collect();
    format!("{}\n", json!({ "version": 1, "problems": list }))
}

fn place(label: &Label, sources: &SourceMap) -> Value {
    let Some(source) = sources.source(label.file) else { return json!({ "text": label.text }) };
    let at = source.clamped(&label.span);
    let ((line, column), (end_line, end_column)) = (source.line_column(at.start), source.line_column(at.end));
    json!({
        "file": source.name, "line": line, "column": column, "end_line": end_line, "end_column": end_column,
        "start": at.start, "end": at.end, "text": label.text,
    })
}

/// A SARIF log with one run; places after the first become related locations.
#[must_use]
pub fn sarif(problems: &[Problem], sources: &SourceMap) -> String {
    let mut codes: Vec<&str> = problems.iter().map(|problem| problem.code).collect();
    codes.sort_unstable();
    codes.dedup();
    let rules: Vec<Value> = codes.iter().map(|code| json!({ "id": code })).collect();
    let results: Vec<Value> = problems
        .iter()
        .map(without_credentials)
        .map(|problem| {
            let text = match &problem.help {
                Some(help) => format!("{}\n{help}", problem.message),
                None => problem.message.clone(),
            };
            let mut result = json!({
                "ruleId": problem.code,
                "ruleIndex": codes.binary_search(&problem.code).unwrap_or(0),
                "level": "error",
                "message": { "text": text },
            });
            let mut places = problem.labels.iter().filter_map(|label| location(label, sources));
            if let Some(first) = places.next() {
                result["locations"] = json!([first]);
            }
            let related: Vec<Value> = places
                .enumerate()
                .map(|(id, mut place)| {
                    place["id"] = json!(id);
                    place
                })
                .collect();
            if !related.is_empty() {
                result["relatedLocations"] = Value::Array(related);
            }
            result
        })
        .collect();
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "fleet", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    format!("{log}\n")
}

fn location(label: &Label, sources: &SourceMap) -> Option<Value> {
    let source = sources.source(label.file)?;
    let at = source.clamped(&label.span);
    let ((line, column), (end_line, end_column)) = (source.line_column(at.start), source.line_column(at.end));
    let mut location = json!({
        "physicalLocation": {
            "artifactLocation": { "uri": uri(&source.name) },
            "region": { "startLine": line, "startColumn": column, "endLine": end_line, "endColumn": end_column },
        },
    });
    if !label.text.is_empty() {
        location["message"] = json!({ "text": label.text });
    }
    Some(location)
}

/// A relative path as a URI reference: everything but unreserved characters and `/` percent-encoded.
fn uri(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'-' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
