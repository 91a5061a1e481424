//! The building blocks of the as-written types: lists, tables, names, and the values that may take one of two shapes.
//! Each of them goes on after a mistake inside it, which is how one reading finds all of them: [`lenient`] turns a
//! value that was already reported into `None`. They rely on the deserializer of `de`, which sees and records every
//! error that a visitor returns; so a check belongs into a visitor or into `de`, never behind a finished `deserialize`.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Text of the file as written, `${vars.x}` and all.
pub type Text = Box<str>;

/// Name of the newtype by which [`lenient`] asks `de` for a second chance.
pub(super) const LENIENT: &str = "$lenient";

/// Reads a field; a mistake inside it is on record by then, and leaves `None`.
pub(super) fn lenient<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Ok(Lenient::deserialize(deserializer)?.0)
}

struct Lenient<T>(Option<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Attempt<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Attempt<T> {
            type Value = Lenient<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
                // Every error has passed through `de` on its way here, and was recorded there.
                Ok(Lenient(T::deserialize(deserializer).ok()))
            }
        }
        deserializer.deserialize_newtype_struct(LENIENT, Attempt(PhantomData))
    }
}

/// A list, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T>(pub Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> std::ops::Deref for List<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
            type Value = List<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::with_capacity(seq.size_hint().unwrap_or(0));
                while let Some(item) = seq.next_element::<Lenient<T>>()? {
                    items.extend(item.0);
                }
                Ok(List(items))
            }
        }
        deserializer.deserialize_seq(Items(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for List<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("List_of_{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": generator.subschema_for::<T>() })
    }
}

/// A table with keys of the user's choosing, in the order they were written. Keys are unique.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table<T>(pub Vec<(Text, T)>);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> std::ops::Deref for Table<T> {
    type Target = [(Text, T)];
    fn deref(&self) -> &[(Text, T)] {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries::<Text, T>(PhantomData)).map(Self)
    }
}

impl<T: JsonSchema> JsonSchema for Table<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Table_of_{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": generator.subschema_for::<T>() })
    }
}

/// A table whose keys are names of the format: `[A-Za-z0-9][A-Za-z0-9._-]*`, at most 128 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named<T>(pub Vec<(Text, T)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> std::ops::Deref for Named<T> {
    type Target = [(Text, T)];
    fn deref(&self) -> &[(Text, T)] {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries::<Name, T>(PhantomData)).map(Self)
    }
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Named_{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "propertyNames": generator.subschema_for::<Name>(),
            "additionalProperties": generator.subschema_for::<T>(),
        })
    }
}

/// Reads a table whose keys are `K`; a bad key or value is on record and left out.
struct Entries<K, T>(PhantomData<(K, T)>);

impl<'de, K: Deserialize<'de> + Into<Text>, T: Deserialize<'de>> Visitor<'de> for Entries<K, T> {
    type Value = Vec<(Text, T)>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::with_capacity(map.size_hint().unwrap_or(0));
        while let Some(Lenient(key)) = map.next_key::<Lenient<K>>()? {
            let Lenient(value) = map.next_value::<Lenient<T>>()?;
            entries.extend(key.zip(value).map(|(key, value)| (key.into(), value)));
        }
        Ok(entries)
    }
}

/// Newtypes over text that `de` checks by their name before the visitor sees it, unless the text has a `${` in it.
macro_rules! checked {
    ($($(#[$doc:meta])* $name:ident($inner:ty) = $word:literal { $($schema:tt)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Deserialize)]
        #[serde(rename = $word)]
        pub struct $name(pub $inner);

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                $word.into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ $($schema)* })
            }
        }
    )*};
}

/// What a text with a variable in it looks like to the schema, which cannot know its value.
const VARIABLE: &str = r"\$\{";

fn or_variable(pattern: &str) -> String {
    format!("{pattern}|{VARIABLE}")
}

checked! {
    /// A name of a task, worker, scorer or pool as a key.
    Name(Text) = "name" {
        "type": "string",
        "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$",
        "maxLength": crate::id::NAME_BYTES_MAX
    }
    /// A duration as text: `90s`, `1h30m`. Read it with `quantity::duration` once variables are in.
    DurationText(Text) = "duration" {
        "description": "A duration as text with a unit: `250ms`, `90s`, `10m`, `1h30m`, `2d`.",
        "type": "string",
        "pattern": or_variable(super::quantity::DURATION_PATTERN)
    }
    /// A size as text: `512MiB`. Read it with `quantity::size` once variables are in.
    SizeText(Text) = "size" {
        "description": "A size as text with a unit: `512B`, `20kB`, `16MiB`, `1.5GiB`.",
        "type": "string",
        "pattern": or_variable(super::quantity::SIZE_PATTERN)
    }
    /// A share, 0..=1.
    Share(f64) = "share" {
        "description": "A share from 0 to 1.",
        "type": "number",
        "minimum": 0.0,
        "maximum": 1.0
    }
    /// A weight, greater than zero and finite.
    Weight(f64) = "weight" {
        "description": "A weight, greater than 0.",
        "type": "number",
        "exclusiveMinimum": 0.0
    }
    /// A number of processor cores, as far as the kernel can count them out.
    Cores(f64) = "cores" {
        "description": "A number of processor cores, from 0.01 to 1024.",
        "type": "number",
        "minimum": 0.01,
        "maximum": 1024.0
    }
    /// A factor, at least 1 and finite.
    Multiplier(f64) = "multiplier" {
        "description": "A factor, at least 1.",
        "type": "number",
        "minimum": 1.0
    }
}

impl From<Name> for Text {
    fn from(name: Name) -> Self {
        name.0
    }
}

/// Enums that take a value by its shape: `de` picks the variant named `text`, `list`, `table`, `boolean` or `integer`.
macro_rules! shapes {
    ($($(#[$doc:meta])* $name:ident$(<$t:ident>)? = $word:literal {
        $($(#[$vdoc:meta])* $variant:ident($inner:ty) = $shape:literal,)*
    })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
        #[serde(rename = $word)]
        #[schemars(untagged, inline)]
        pub enum $name$(<$t>)? {
            $($(#[$vdoc])* #[serde(rename = $shape)] $variant($inner),)*
        }
    )*};
}

pub(super) use shapes;

/// The variant names that make an enum a choice by shape.
pub(super) const SHAPES: [&str; 5] = ["text", "list", "table", "boolean", "integer"];

shapes! {
    /// A command: text that is split into words, or the words themselves.
    RunRaw = "command" {
        /// Split into argv with no shell.
        Line(Text) = "text",
        /// The argv as it is.
        Argv(List<Text>) = "list",
    }
    /// One text or several.
    OneOrMany = "texts" {
        One(Text) = "text",
        Many(List<Text>) = "list",
    }
    /// A plain value that becomes text: of a variable, an environment variable, a matrix axis.
    Scalar = "value" {
        Text(Text) = "text",
        Integer(i64) = "integer",
        Boolean(bool) = "boolean",
    }
}

impl OneOrMany {
    #[must_use]
    pub fn as_slice(&self) -> &[Text] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(list) => list,
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(i) => i.fmt(f),
            Self::Boolean(b) => b.fmt(f),
        }
    }
}

/// A table of free content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Free(pub serde_json::Map<String, serde_json::Value>);

impl<'de> Deserialize<'de> for Free {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Anything;
        impl<'de> Visitor<'de> for Anything {
            type Value = Free;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut table = serde_json::Map::new();
                while let Some((key, value)) = map.next_entry()? {
                    table.insert(key, value);
                }
                Ok(Free(table))
            }
        }
        deserializer.deserialize_map(Anything)
    }
}

impl JsonSchema for Free {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "free".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object" })
    }
}

/// `matrix = { axis = [values], exclude = [{ axis = value }] }`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MatrixRaw {
    /// Axes in the order they were written, which is the order of the parts of an instance's name.
    pub axes: Vec<(Text, List<Scalar>)>,
    /// Combinations left out: all axes named must have these values.
    pub exclude: List<Table<Scalar>>,
}

impl<'de> Deserialize<'de> for MatrixRaw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Axes;
        impl<'de> Visitor<'de> for Axes {
            type Value = MatrixRaw;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of axes")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut matrix = MatrixRaw::default();
                while let Some(Lenient(key)) = map.next_key::<Lenient<Name>>()? {
                    match key {
                        Some(Name(key)) if &*key == "exclude" => {
                            matrix.exclude = map.next_value::<Lenient<_>>()?.0.unwrap_or_default();
                        }
                        Some(Name(key)) => {
                            matrix.axes.extend(map.next_value::<Lenient<_>>()?.0.map(|values| (key, values)));
                        }
                        None => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                if matrix.axes.is_empty() {
                    return Err(A::Error::custom("a matrix needs at least one axis: `axis = [\"a\", \"b\"]`"));
                }
                Ok(matrix)
            }
        }
        deserializer.deserialize_map(Axes)
    }
}

impl JsonSchema for MatrixRaw {
    fn schema_name() -> Cow<'static, str> {
        "Matrix".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "propertyNames": generator.subschema_for::<Name>(),
            "minProperties": 1,
            "properties": { "exclude": generator.subschema_for::<List<Table<Scalar>>>() },
            "additionalProperties": generator.subschema_for::<List<Scalar>>(),
        })
    }
}
