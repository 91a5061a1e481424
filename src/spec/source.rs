//! From bytes to a tree: size, encoding, byte order mark, then the reader of the syntax.

use std::path::Path;
use std::sync::Arc;

use super::error::Problem;
use super::syntax_error::SyntaxError;
use super::tree::{FileId, Tree};
use super::{json, toml, yaml};

/// Largest fleet file, in bytes.
pub const FILE_BYTES_MAX: usize = 16 << 20;
/// Deepest nesting of lists and tables.
pub const DEPTH_MAX: usize = 64;

/// The three ways to write the same thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    Toml,
    Yaml,
    Json,
}

impl Syntax {
    /// By the ending of the file's name, with or without `.example` behind it; `None` for any other ending.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let example = path.extension().is_some_and(|end| end == "example");
        let path = if example { Path::new(path.file_stem()?) } else { path };
        match path.extension()?.to_str()? {
            "toml" => Some(Self::Toml),
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// The tree of a file. A byte order mark is skipped, and offsets count from behind it.
///
/// # Errors
/// Every mistake of syntax that the parser can go on after; usually one.
pub fn parse(file: FileId, syntax: Syntax, bytes: &[u8]) -> Result<Tree, Vec<Problem>> {
    let text = decode(bytes).map_err(|error| vec![error.problem(file)])?;
    let tree = match syntax {
        Syntax::Toml => toml::read(file, &text),
        Syntax::Yaml => yaml::read(file, &text).map_err(|error| vec![error]),
        Syntax::Json => json::read(file, &text).map_err(|error| vec![error]),
    };
    tree.map_err(|errors| errors.into_iter().map(|error| error.problem(file)).collect())
}

fn decode(bytes: &[u8]) -> Result<Arc<str>, SyntaxError> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(SyntaxError::TooLarge { bytes: bytes.len() });
    }
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return Err(SyntaxError::Utf16);
    }
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.into()),
        Err(error) => {
            let at = error.valid_up_to();
            Err(SyntaxError::NotUtf8 { at, line: bytes[..at].split(|b| *b == b'\n').count() })
        }
    }
}

#[cfg(test)]
mod tests;
