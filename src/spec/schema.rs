//! The JSON Schema (draft-07) of a fleet file, made from the types that read it. Two things are taken away from what
//! the types say to serde: `null`, since a key is left out and never null, and defaults, since `resolve` has them.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::file::FileRaw;

/// The schema as text, with a newline at its end: what `schemas/fleet.schema.json` holds.
///
/// # Panics
/// Never: a schema is plain JSON.
#[must_use]
pub fn json() -> String {
    let mut text = serde_json::to_string_pretty(&value()).expect("a schema is plain JSON");
    text.push('\n');
    text
}

/// The schema.
#[must_use]
pub fn value() -> Value {
    let mut schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<FileRaw>().to_value();
    without_null(&mut schema);
    bound(&mut schema);
    let Value::Object(object) = &mut schema else { return schema };
    // The words by which tools and people know a schema stand first.
    let first = ["$schema", "title", "description"];
    let head = first.map(|key| (key.to_owned(), object.shift_remove(key).unwrap_or_default()));
    head.into_iter().chain(std::mem::take(object)).collect()
}

/// Says the ranges of whole numbers in words every validator knows; `format` is for people only.
fn bound(schema: &mut Value) {
    match schema {
        Value::Array(schemas) => schemas.iter_mut().for_each(bound),
        Value::Object(object) => {
            let (least, most) = match object.get("format").and_then(Value::as_str) {
                Some("int32") => (i64::from(i32::MIN), i64::from(i32::MAX)),
                Some("uint16") => (0, i64::from(u16::MAX)),
                Some("uint32") => (0, i64::from(u32::MAX)),
                Some("int64") => (i64::MIN, i64::MAX),
                Some("uint64") => (0, i64::MAX),
                _ => return object.values_mut().for_each(bound),
            };
            object.shift_remove("format");
            object.entry("minimum").or_insert(least.into());
            object.entry("maximum").or_insert(most.into());
        }
        _ => {}
    }
}

fn without_null(schema: &mut Value) {
    let Value::Object(object) = schema else {
        if let Value::Array(schemas) = schema {
            schemas.iter_mut().for_each(without_null);
        }
        return;
    };
    if object.get("default").is_some_and(Value::is_null) {
        object.shift_remove("default");
    }
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = &types[..] {
            let only = only.clone();
            object["type"] = only;
        }
    }
    if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
        if choices.len() == 1 {
            let choices = choices.clone();
            object.shift_remove("anyOf");
            object.insert("allOf".into(), Value::Array(choices));
        }
    }
    for (key, inner) in object.iter_mut() {
        match (key.as_str(), inner) {
            // These hold schemas under names of ours, which must not be taken for words of the schema.
            ("properties" | "definitions", Value::Object(named)) => named.values_mut().for_each(without_null),
            ("default" | "const" | "enum" | "examples", _) => {}
            (_, inner) => without_null(inner),
        }
    }
}
