//! What a task may know, as written: references only.

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::shape::{lenient, shapes};
use super::super::words::SecretSourceRaw;
use super::Text;

written! {
    /// A secret by reference, and how an attempt gets it.
    SecretTable = "Secret" {
        required {
            /// Its name: letters, digits and `_`, no digit first. It must be in `allowed_secrets` of the policy.
            key: Text,
        }
        optional {
            /// Who knows the value; `"env"` unless said.
            source: SecretSourceRaw,
            /// `"file"`, `"file:VARIABLE"`, `"env"` or `"env:VARIABLE"`; `"file"` unless said: a private file, whose path
            /// is in the variable `<KEY>_FILE`.
            #[serde(rename = "as")]
            #[schemars(rename = "as", extend("pattern" = "^(file|env)(:[A-Za-z_][A-Za-z0-9_]*)?$|\\$\\{"))]
            delivery: Text,
        }
    }
}

shapes! {
    /// A secret by reference.
    SecretRaw = "secret" {
        /// Its key: from the caller's environment, as a private file.
        Key(Text) = "text",
        Table(Box<SecretTable>) = "table",
    }
}
