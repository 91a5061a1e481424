//! Mistakes of syntax: one variant for each that a person can make in TOML, YAML or JSON, before any field is known.

use std::ops::Range;

use super::error::{Label, Problem};
use super::source::{DEPTH_MAX, FILE_BYTES_MAX};
use super::tree::{FileId, Twice};
use super::yaml::ALIAS_NODES_MAX;

/// What is wrong with a file's syntax, and where.
#[derive(Debug)]
pub(super) enum SyntaxError {
    TooLarge {
        bytes: usize,
    },
    NotUtf8 {
        at: usize,
        line: usize,
    },
    Utf16,
    /// What the parser of the syntax says.
    Parser {
        syntax: &'static str,
        says: String,
        span: Range<usize>,
        help: Option<&'static str>,
    },
    TooDeep {
        span: Range<usize>,
    },
    Twice(Twice),
    /// As [`SyntaxError::Twice`], where the parser forgot the first place.
    Again {
        name: String,
        span: Range<usize>,
    },
    YamlTab {
        span: Range<usize>,
    },
    YamlDocuments {
        span: Range<usize>,
    },
    YamlMerge {
        span: Range<usize>,
    },
    YamlTag {
        tag: String,
        span: Range<usize>,
    },
    YamlKey {
        span: Range<usize>,
    },
    YamlAliases {
        span: Range<usize>,
    },
    YamlAlias {
        span: Range<usize>,
    },
}

impl SyntaxError {
    pub(super) fn problem(self, file: FileId) -> Problem {
        let at = |code, message: String, span: Range<usize>, label: &str, help: Option<&str>| Problem {
            code,
            message,
            labels: vec![Label { file, span, text: label.to_owned() }],
            help: help.map(str::to_owned),
        };
        match self {
            Self::TooLarge { bytes } => at(
                "fleet::file_too_large",
                format!("the file has {bytes} bytes, more than the {} MiB a fleet file may have", FILE_BYTES_MAX >> 20),
                0..0,
                "this file",
                Some("split it with `include`, or generate fewer tasks with `matrix`"),
            ),
            Self::NotUtf8 { at: offset, line } => at(
                "fleet::not_utf8",
                format!("the file is not UTF-8: byte {offset} (line {line}) does not start or continue a character"),
                offset..offset,
                "from here on",
                Some("save the file as UTF-8"),
            ),
            Self::Utf16 => at(
                "fleet::not_utf8",
                "the file is UTF-16, and a fleet file is UTF-8".into(),
                0..0,
                "starts with the mark of UTF-16",
                Some("save the file as UTF-8"),
            ),
            Self::Parser { syntax, says, span, help } => {
                at("fleet::syntax", format!("this is not {syntax}: {says}"), span, "here", help)
            }
            Self::TooDeep { span } => at(
                "fleet::too_deep",
                format!("lists and tables are nested more than {DEPTH_MAX} deep"),
                span,
                "one too many",
                None,
            ),
            Self::Twice(Twice { name, first, again }) => Problem {
                code: "fleet::duplicate_key",
                message: format!("`{name}` is there twice"),
                labels: vec![
                    Label { file, span: again, text: "here again".into() },
                    Label { file, span: first, text: "first here".into() },
                ],
                help: Some("keep one of the two, or give one another name".into()),
            },
            Self::Again { name, span } => at(
                "fleet::duplicate_key",
                format!("`{name}` is there twice"),
                span,
                "here again",
                Some("keep one of the two, or give one another name"),
            ),
            Self::YamlTab { span } => at(
                "fleet::yaml_tab",
                "YAML takes no tabs before the first character of a line".into(),
                span,
                "a tab",
                Some("indent with spaces"),
            ),
            Self::YamlDocuments { span } => at(
                "fleet::yaml_documents",
                "a fleet file is one YAML document".into(),
                span,
                "a second one starts here",
                Some("remove the `---`, or move what follows to another file and `include` it"),
            ),
            Self::YamlMerge { span } => at(
                "fleet::yaml_merge_key",
                "merge keys are not part of YAML 1.2 and not read".into(),
                span,
                "`<<` would be a merge",
                Some("use `defaults`, or an alias for each value: `env: *env`"),
            ),
            Self::YamlTag { tag, span } => at(
                "fleet::yaml_tag",
                format!("the tag `{tag}` is not read"),
                span,
                "tagged",
                Some("remove the tag; put quotes around a value that is to be text"),
            ),
            Self::YamlKey { span } => {
                at("fleet::yaml_key", "a key is plain or quoted text".into(), span, "not a name", None)
            }
            Self::YamlAliases { span } => at(
                "fleet::yaml_aliases",
                format!("aliases repeat more than {ALIAS_NODES_MAX} values"),
                span,
                "this one is too much",
                Some("use `defaults` or `matrix` instead of aliases of aliases"),
            ),
            Self::YamlAlias { span } => at(
                "fleet::yaml_alias",
                "this alias has no anchor before it".into(),
                span,
                "nothing has this name yet",
                Some("an anchor `&name` stands before its first alias `*name`, and not around it"),
            ),
        }
    }
}
