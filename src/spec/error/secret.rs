//! The words of mistakes about secrets. No message repeats a value that may be one.

use super::super::map::SourceMap;
use super::super::source::Syntax;
use super::draft::{Draft, draft, list};
use super::{Place, SpecError};

impl SpecError {
    pub(super) fn of_secrets(&self, map: &SourceMap) -> Option<Draft> {
        Some(match self {
            Self::SecretKey { at } => {
                // What stands there may be a value that somebody took for the key.
                draft("fleet::bad_secret_key", "this is not the key of a secret")
                    .at(at, "not a key")
                    .help("use letters, digits and `_`, no digit first: a key is a name, never the value")
            }
            Self::SecretDelivery { at, word, near } => {
                draft("fleet::bad_secret_delivery", format!("a secret cannot be delivered as {word:?}"))
                    .at(at, "no such way")
                    .help_name(near.as_deref(), "write \"file\", \"file:VARIABLE\", \"env\" or \"env:VARIABLE\"")
            }
            Self::SecretVariable { task, variable, first, again } => {
                draft("fleet::secret_variable", format!("task `{task}` is given the variable `{variable}` twice"))
                    .at(again, "by this secret")
                    .at(first, "first here")
                    .help("give one of them another variable: \"file:VARIABLE\" or \"env:VARIABLE\" in `as`")
            }
            Self::SecretNotAllowed { task, key, at, list_at, near } => {
                let mut draft = draft(
                    "fleet::secret_not_allowed",
                    format!("task `{task}` asks for the secret `{key}`, which the policy does not allow"),
                )
                .at(at, "not in `allowed_secrets`");
                if let Some(list_at) = list_at {
                    draft = draft.at(list_at, "what is allowed");
                }
                let add = list(map, at, "allowed_secrets", key);
                match near {
                    Some(near) => draft.help(format!("did you mean `{near}`?")),
                    None => draft.help(format!("allow it under `policies.security`: {add}")),
                }
            }
            Self::SecretPassed { key, at } => {
                draft("fleet::secret_passed", format!("`{key}` is a secret of the policy, so its variable is not passed"))
                    .at(at, "would be handed on to whoever asks, and not be masked")
                    .help(format!("remove it here and let the task ask for it: {}", as_variable(map, at, key)))
            }
            Self::SecretCommand { at } => {
                draft("fleet::secret_command", "the policy names no program that knows secrets")
                    .at(at, "nothing to ask")
                    .help(format!("name one under `policies.security`: {}", list(map, at, "secrets_command", "pass")))
            }
            Self::LiteralSecret { what, at } => {
                draft("fleet::literal_secret", format!("{what} stands in the file as it is"))
                    .at(at, "readable by everyone who has this file")
                    .help(
                        "give it to the program that keeps your secrets, make this one invalid, and refer to the secret by its key: `secrets = [\"KEY\"]`",
                    )
            }
            _ => return None,
        })
    }
}

/// A list with one secret that becomes the variable of its key, as it is written in that file.
fn as_variable(map: &SourceMap, at: &Place, key: &str) -> String {
    match map.syntax(at.file) {
        Syntax::Toml => format!("`secrets = [{{ key = \"{key}\", as = \"env\" }}]`"),
        Syntax::Yaml => format!("`secrets: [{{ key: {key}, as: env }}]`"),
        Syntax::Json => format!("`\"secrets\": [{{ \"key\": \"{key}\", \"as\": \"env\" }}]`"),
    }
}
