//! A problem in the making, and how a key and its value look in each syntax.

use super::super::map::SourceMap;
use super::super::source::Syntax;
use super::{Label, Near, Place, Problem};

/// `a → b → a`
pub(super) fn circle(names: &[&str]) -> String {
    let mut all = names.to_vec();
    all.extend(names.first());
    all.join(" → ")
}

/// A key and a text as the file of `at` would have it, in backticks.
pub(super) fn assign(map: &SourceMap, at: &Place, key: &str, text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    match map.syntax(at.file) {
        Syntax::Toml if !text.contains('\'') && quoted.contains('\\') => format!("`{key} = '{text}'`"),
        Syntax::Toml => format!("`{key} = {quoted}`"),
        Syntax::Yaml if !text.contains('\'') => format!("`{key}: '{text}'`"),
        Syntax::Yaml => format!("`{key}: {quoted}`"),
        Syntax::Json => format!("`\"{key}\": {quoted}`"),
    }
}

pub(super) fn list(map: &SourceMap, at: &Place, key: &str, item: &str) -> String {
    match map.syntax(at.file) {
        Syntax::Toml => format!("`{key} = [\"{item}\"]`"),
        Syntax::Yaml => format!("`{key}: [\"{item}\"]`"),
        Syntax::Json => format!("`\"{key}\": [\"{item}\"]`"),
    }
}

pub(super) fn number(map: &SourceMap, at: &Place, key: &str, n: u32) -> String {
    match map.syntax(at.file) {
        Syntax::Toml => format!("`{key} = {n}`"),
        Syntax::Yaml => format!("`{key}: {n}`"),
        Syntax::Json => format!("`\"{key}\": {n}`"),
    }
}

/// A problem in the making.
pub(super) struct Draft(pub(super) Problem);

pub(super) fn draft(code: &'static str, message: impl Into<String>) -> Draft {
    Draft(Problem { code, message: message.into(), labels: Vec::new(), help: None })
}

impl Draft {
    pub(super) fn at(mut self, place: &Place, text: impl Into<String>) -> Self {
        self.0.labels.push(Label { file: place.file, span: place.span.clone(), text: text.into() });
        self
    }

    pub(super) fn near(self, near: &Near, text: &str) -> Self {
        match near {
            Some((name, Some(place))) => self.at(place, format!("`{name}` is {text}")),
            _ => self,
        }
    }

    pub(super) fn help(mut self, text: impl Into<String>) -> Self {
        self.0.help = Some(text.into());
        self
    }

    pub(super) fn help_near(self, near: &Near, otherwise: &str) -> Self {
        self.help_name(near.as_ref().map(|(name, _)| name.as_str()), otherwise)
    }

    pub(super) fn help_name(self, near: Option<&str>, otherwise: &str) -> Self {
        match near {
            Some(name) => self.help(format!("did you mean `{name}`?")),
            None => self.help(otherwise),
        }
    }
}
