//! From a tree to the as-written types: one serde `Deserializer` that knows where everything stands and collects
//! every mistake. Its rules:
//! - A mistake is recorded at the innermost call that saw it, with its place; the error that travels on is only a mark.
//!   `shape::lenient` turns that mark into `None`, so the next field is read too.
//! - A struct's unknown keys are recorded and skipped; keys and kinds of `file::NOT_YET` are "not supported yet".
//! - An enum of [`TAGGED`] reads `{ kind = "x", … }` as its variant `x` and hides the key; an enum whose variants are
//!   all `shape::SHAPES` takes the variant its value looks like; any other is a word.
//! - Nothing stands for a value: `null`, or `key:` in YAML, is refused wherever a field has a type.

mod problem;

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, Unexpected, VariantAccess,
    Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};

use super::error::Problem;
use super::file::FileRaw;
use super::quantity::{self, UnitMistake};
use super::shape::{LENIENT, SHAPES};
use super::tree::{Entry, Node, OUT_OF_RANGE, Tree, Value};

/// Enums that are tables with a `kind`.
const TAGGED: [&str; 2] = ["Scorer", "Host"];
const TAG: &str = "kind";
/// Most mistakes told of one file.
const PROBLEMS_MAX: usize = 100;

/// The file as written.
///
/// # Errors
/// Every mistake in it, at most a hundred, in the order they stand in the file.
pub fn file(tree: &Tree) -> Result<FileRaw, Vec<Problem>> {
    read(tree)
}

/// Any type that keeps to the rules of `shape`.
fn read<'t, T: Deserialize<'t>>(tree: &'t Tree) -> Result<T, Vec<Problem>> {
    let problems = RefCell::new(Vec::new());
    let value = T::deserialize(De { node: tree.root(), key: None, hide_tag: false, problems: &problems });
    let mut problems = problems.into_inner();
    match value {
        Ok(value) if problems.is_empty() => Ok(value),
        _ => {
            problems.sort_by_key(|problem: &Problem| problem.labels.first().map_or(0, |label| label.span.start));
            Err(problems)
        }
    }
}

/// Reads one node.
#[derive(Clone, Copy)]
struct De<'t, 'p> {
    node: Node<'t>,
    /// Where its key stands, which is the better place for "something is missing in here".
    key: Option<(usize, usize)>,
    hide_tag: bool,
    problems: &'p RefCell<Vec<Problem>>,
}

/// What went wrong, until it is recorded.
#[derive(Debug)]
enum Failure {
    Recorded,
    Missing(&'static str),
    Says(String),
}

impl<'t> De<'t, '_> {
    /// Puts a failure on record, unless it is.
    fn settle<T>(self, result: Result<T, Failure>) -> Result<T, Failure> {
        result.map_err(|failure| match failure {
            Failure::Recorded => Failure::Recorded,
            Failure::Missing(field) => self.record(|| problem::missing(self.node, self.place(), field)),
            Failure::Says(message) => self.record(|| problem::bad_value(self.node, &message)),
        })
    }

    fn record(self, problem: impl FnOnce() -> Problem) -> Failure {
        // Finding a path is linear in the file, so what is not kept is not made.
        if self.problems.borrow().len() < PROBLEMS_MAX {
            let problem = problem();
            self.problems.borrow_mut().push(problem);
        }
        Failure::Recorded
    }

    fn wrong_type<T>(self, expected: &str) -> Result<T, Failure> {
        Err(self.record(|| problem::wrong_type(self.node, expected)))
    }

    fn place(self) -> Range<usize> {
        self.key.map_or_else(|| self.node.span(), |(start, end)| start..end)
    }

    fn integer(self) -> Result<i64, Failure> {
        match self.node.value() {
            Value::Integer(i) => Ok(i),
            // JSON has one kind of number, and to its schema 1.0 is an integer.
            #[expect(clippy::cast_possible_truncation, reason = "whole and within the range of exact integers")]
            Value::Float(f) if f.fract() == 0.0 && f.abs() < 9.0e15 => Ok(f as i64),
            _ => self.wrong_type("a whole number"),
        }
    }

    fn whole<T: TryFrom<i64>>(self, least: i64, most: i64) -> Result<T, Failure> {
        let integer = self.integer()?;
        T::try_from(integer).or_else(|_| {
            self.settle(Err(Failure::Says(if integer < least {
                format!("must be at least {least}")
            } else {
                format!("must be at most {most}")
            })))
        })
    }

    fn number(self) -> Result<f64, Failure> {
        match self.node.value() {
            Value::Float(f) if f.is_finite() => Ok(f),
            #[expect(
                clippy::cast_precision_loss,
                reason = "a field of this type is a share, a weight, a factor or a bound"
            )]
            Value::Integer(i) => Ok(i as f64),
            Value::Float(_) => self.settle(Err(Failure::Says("must be finite".into()))),
            _ => self.wrong_type("a number"),
        }
    }

    fn text(self, expected: &str) -> Result<&'t str, Failure> {
        self.node.as_str().map_or_else(|| self.wrong_type(expected), Ok)
    }

    fn child(self, entry: Entry<'t>) -> Self {
        let key = entry.key_span();
        Self { node: entry.value(), key: Some((key.start, key.end)), hide_tag: false, ..self }
    }

    /// Checks a newtype by its name before the visitor sees it.
    fn check(self, newtype: &str) -> Result<(), Failure> {
        match newtype {
            "duration" | "size" => {
                let is_duration = newtype == "duration";
                let Some(text) = self.node.as_str() else {
                    return Err(self.record(|| problem::unit_missing(self.node, is_duration)));
                };
                let read = if is_duration { quantity::duration(text).err() } else { quantity::size(text).err() };
                // What has variables is read once they are filled in. Zero is well written, and refused for its meaning.
                let bad = read.filter(|bad| bad.why != UnitMistake::Zero && !text.contains("${"));
                if let Some(bad) = bad {
                    return Err(self.record(|| problem::bad_unit(self.node, is_duration, &bad)));
                }
            }
            "name" => {
                let text = self.text("text")?;
                if !crate::id::is_name(text) {
                    return Err(self.record(|| problem::bad_name(self.node.tree(), text, self.node.span())));
                }
            }
            "share" if !(0.0..=1.0).contains(&self.number()?) => {
                return self.settle(Err(Failure::Says("must be from 0 to 1".into())));
            }
            "weight" if self.number()? <= 0.0 => {
                return self.settle(Err(Failure::Says("must be greater than 0".into())));
            }
            "cores" if !(0.01..=1024.0).contains(&self.number()?) => {
                return self.settle(Err(Failure::Says("must be from 0.01 to 1024".into())));
            }
            "multiplier" if self.number()? < 1.0 => {
                return self.settle(Err(Failure::Says("must be at least 1".into())));
            }
            _ => {}
        }
        Ok(())
    }

    /// The variant an enum takes, and what reads its content.
    fn variant(self, name: &'static str, variants: &'static [&'static str]) -> Result<(&'static str, Self), Failure> {
        if variants.iter().all(|variant| SHAPES.contains(variant)) {
            let shape = match self.node.value() {
                Value::Text(_) => "text",
                Value::List => "list",
                Value::Table => "table",
                Value::Bool(_) => "boolean",
                Value::Integer(_) => "integer",
                _ => "",
            };
            return match variants.iter().find(|variant| **variant == shape) {
                Some(variant) => Ok((variant, self)),
                None => self.wrong_type(&problem::shapes(variants)),
            };
        }
        if !TAGGED.contains(&name) {
            let word = self.text(&problem::words(variants))?;
            return match variants.iter().find(|variant| **variant == word) {
                Some(variant) => Ok((variant, self)),
                None => Err(self.record(|| problem::unknown_word(self.node, name, variants))),
            };
        }
        if self.node.value() != Value::Table {
            return self.wrong_type(&format!("a table with a `{TAG}`"));
        }
        let Some(tag) = self.node.entry(TAG) else {
            return Err(self.record(|| problem::missing_kind(self.node, self.place(), variants)));
        };
        let kind = self.child(tag).text(&problem::words(variants))?;
        match variants.iter().find(|variant| **variant == kind) {
            Some(variant) => Ok((variant, Self { hide_tag: true, ..self })),
            None => Err(self.record(|| problem::unknown_word(tag.value(), name, variants))),
        }
    }
}

macro_rules! whole_numbers {
    ($($method:ident $visit:ident $type:ty),*) => {$(
        fn $method<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Failure> {
            // Bounds above the largest i64 cannot be written, so they need not be named exactly.
            let most = i64::try_from(<$type>::MAX).unwrap_or(i64::MAX);
            let least = i64::try_from(<$type>::MIN).unwrap_or(i64::MIN);
            let value = self.whole::<$type>(least, most)?;
            self.settle(visitor.$visit(value))
        }
    )*};
}

impl<'t> Deserializer<'t> for De<'t, '_> {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.node.value() {
            Value::Null => self.settle(visitor.visit_unit()),
            Value::Bool(b) => self.settle(visitor.visit_bool(b)),
            Value::Integer(i) => self.settle(visitor.visit_i64(i)),
            Value::Float(f) if f.is_finite() => self.settle(visitor.visit_f64(f)),
            Value::Other(what) if what != OUT_OF_RANGE => self.settle(visitor.visit_borrowed_str(self.node.source())),
            Value::Float(_) | Value::Other(_) => self.wrong_type("a finite number in range"),
            Value::Text(text) => self.settle(visitor.visit_borrowed_str(text)),
            Value::List => self.deserialize_seq(visitor),
            Value::Table => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.node.value() {
            Value::Bool(b) => self.settle(visitor.visit_bool(b)),
            _ => self.wrong_type("`true` or `false`"),
        }
    }

    whole_numbers!(
        deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16, deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64, deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32, deserialize_u64 visit_u64 u64
    );

    fn deserialize_f32<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Failure> {
        let number = self.number()?;
        self.settle(visitor.visit_f64(number))
    }

    fn deserialize_str<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Failure> {
        let text = self.text("text")?;
        self.settle(visitor.visit_borrowed_str(text))
    }

    fn deserialize_string<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.settle(visitor.visit_some(self))
    }

    fn deserialize_newtype_struct<V: Visitor<'t>>(self, name: &'static str, visitor: V) -> Result<V::Value, Failure> {
        if name != LENIENT {
            self.check(name)?;
        }
        self.settle(visitor.visit_newtype_struct(self))
    }

    fn deserialize_seq<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Failure> {
        if self.node.value() != Value::List {
            return self.wrong_type("a list");
        }
        self.settle(visitor.visit_seq(Items { de: self, items: self.node.items() }))
    }

    fn deserialize_map<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Failure> {
        if self.node.value() != Value::Table {
            return self.wrong_type("a table");
        }
        self.settle(visitor.visit_map(Entries { de: self, rest: self.node.entries(), value: None, known: None }))
    }

    fn deserialize_struct<V: Visitor<'t>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        if self.node.value() != Value::Table {
            return self.wrong_type("a table");
        }
        let rest = self.node.entries();
        self.settle(visitor.visit_map(Entries { de: self, rest, value: None, known: Some((name, fields)) }))
    }

    fn deserialize_enum<V: Visitor<'t>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let (variant, content) = self.variant(name, variants)?;
        self.settle(visitor.visit_enum(Variant { variant, content }))
    }

    fn deserialize_ignored_any<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { <W: Visitor<'t>> bytes byte_buf unit unit_struct tuple tuple_struct identifier }
}

struct Items<'t, 'p, I> {
    de: De<'t, 'p>,
    items: I,
}

impl<'t, I: ExactSizeIterator<Item = Node<'t>>> SeqAccess<'t> for Items<'t, '_, I> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'t>>(&mut self, seed: T) -> Result<Option<T::Value>, Failure> {
        let Some(node) = self.items.next() else { return Ok(None) };
        seed.deserialize(De { node, key: None, hide_tag: false, ..self.de }).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

/// The entries of a table. With `known` it is a struct's, and what the struct does not know is recorded and left out.
struct Entries<'t, 'p, I> {
    de: De<'t, 'p>,
    rest: I,
    value: Option<Entry<'t>>,
    known: Option<(&'static str, &'static [&'static str])>,
}

impl<'t, I: ExactSizeIterator<Item = Entry<'t>>> Entries<'t, '_, I> {
    fn next(&mut self) -> Option<Entry<'t>> {
        loop {
            let entry = self.rest.next()?;
            if self.de.hide_tag && entry.name() == TAG {
                continue;
            }
            match self.known {
                Some((name, fields)) if !fields.contains(&entry.name()) => {
                    self.de.record(|| problem::unknown_key(self.de.node, entry, name, fields));
                }
                _ => return Some(entry),
            }
        }
    }
}

impl<'t, I: ExactSizeIterator<Item = Entry<'t>>> MapAccess<'t> for Entries<'t, '_, I> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'t>>(&mut self, seed: K) -> Result<Option<K::Value>, Failure> {
        self.value = self.next();
        let Some(entry) = self.value else { return Ok(None) };
        seed.deserialize(Key { entry, de: self.de }).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'t>>(&mut self, seed: V) -> Result<V::Value, Failure> {
        let entry = self.value.take().expect("serde asks for a key before its value");
        let result = seed.deserialize(self.de.child(entry));
        if result.is_err() {
            // A required field is wrong and the struct gives up, but its other keys are still looked at.
            while self.next().is_some() {}
        }
        result
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

/// Reads a key.
struct Key<'t, 'p> {
    entry: Entry<'t>,
    de: De<'t, 'p>,
}

impl<'t> Deserializer<'t> for Key<'t, '_> {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_borrowed_str(self.entry.name())
    }

    fn deserialize_newtype_struct<V: Visitor<'t>>(self, name: &'static str, visitor: V) -> Result<V::Value, Failure> {
        if name == "name" && !crate::id::is_name(self.entry.name()) {
            let bad = || problem::bad_name(self.de.node.tree(), self.entry.name(), self.entry.key_span());
            return Err(self.de.record(bad));
        }
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        <W: Visitor<'t>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq
        tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// The variant chosen and its content.
struct Variant<'t, 'p> {
    variant: &'static str,
    content: De<'t, 'p>,
}

impl<'t, 'p> EnumAccess<'t> for Variant<'t, 'p> {
    type Error = Failure;
    type Variant = De<'t, 'p>;

    fn variant_seed<V: DeserializeSeed<'t>>(self, seed: V) -> Result<(V::Value, Self::Variant), Failure> {
        let variant: serde::de::value::StrDeserializer<'_, Failure> = self.variant.into_deserializer();
        Ok((seed.deserialize(variant)?, self.content))
    }
}

impl<'t> VariantAccess<'t> for De<'t, '_> {
    type Error = Failure;

    fn unit_variant(self) -> Result<(), Failure> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'t>>(self, seed: T) -> Result<T::Value, Failure> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'t>>(self, _: usize, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'t>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_struct(TAG, fields, visitor)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recorded => f.write_str("a mistake on record"),
            Self::Missing(field) => write!(f, "`{field}` is missing"),
            Self::Says(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Failure {}

impl serde::de::Error for Failure {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Says(message.to_string())
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing(field)
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        match unexpected {
            Unexpected::Unsigned(0) | Unexpected::Signed(0) => <Self as serde::de::Error>::custom("must be at least 1"),
            _ => <Self as serde::de::Error>::custom(format_args!("must be {expected}")),
        }
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        <Self as serde::de::Error>::custom(format_args!("must be {expected}"))
    }
}

#[cfg(test)]
mod tests;
