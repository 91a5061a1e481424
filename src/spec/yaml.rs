//! YAML 1.2 to the tree, from the parser's events, without recursion. Plain scalars stay as they are until a typed
//! field asks (core schema: `yes` is text). Anchors and aliases are read, an alias being a second way to its anchor's
//! node; what they repeat in all is bounded. Tags, merge keys and further documents are refused.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::json::{lower_first, within};
use super::source::DEPTH_MAX;
use super::syntax_error::SyntaxError;
use super::tree::{Builder, FileId, Handle, KeyHandle, Tree};

/// Most values that aliases may repeat in one file.
pub(super) const ALIAS_NODES_MAX: usize = 200_000;

/// A finished value, and what an alias to it would repeat.
#[derive(Clone, Copy)]
struct Done {
    handle: Handle,
    nodes: usize,
    height: usize,
    end: usize,
}

/// A list or table that is open.
struct Open {
    start: usize,
    /// Where its last child ended: a block ends there and not at the next token.
    end: usize,
    anchor: usize,
    inside: Inside,
    nodes: usize,
    height: usize,
}

enum Inside {
    List(Vec<Handle>),
    Table { entries: Vec<(KeyHandle, Handle)>, key: Option<KeyHandle> },
}

struct Reader {
    builder: Builder,
    open: Vec<Open>,
    anchors: HashMap<usize, Done>,
    repeated: usize,
    root: Option<Handle>,
    documents: usize,
}

/// An empty file is an empty table.
pub(super) fn read(file: FileId, text: &Arc<str>) -> Result<Tree, SyntaxError> {
    let mut reader = Reader {
        builder: Builder::new(file, Arc::clone(text)),
        open: Vec::new(),
        anchors: HashMap::new(),
        repeated: 0,
        root: None,
        documents: 0,
    };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| grammar(text, &error))?;
        reader.event(event, bytes(text, &span))?;
    }
    let Reader { mut builder, root, .. } = reader;
    let root = match root {
        Some(root) => root,
        None => builder.table(0..0, std::iter::empty()).map_err(SyntaxError::Twice)?,
    };
    Ok(builder.finish(root))
}

impl Reader {
    fn event(&mut self, event: Event<'_>, span: Range<usize>) -> Result<(), SyntaxError> {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(SyntaxError::YamlDocuments { span });
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let text_asked = is_text_tag(tag.as_deref(), &span)?;
                return self.scalar(text, style, text_asked, anchor, span);
            }
            Event::SequenceStart(_, anchor, tag) => {
                is_text_tag(tag.as_deref(), &span)?;
                self.open(span, anchor, Inside::List(Vec::new()))?;
            }
            Event::MappingStart(_, anchor, tag) => {
                is_text_tag(tag.as_deref(), &span)?;
                self.open(span, anchor, Inside::Table { entries: Vec::new(), key: None })?;
            }
            Event::SequenceEnd | Event::MappingEnd => return self.close(&span),
            Event::Alias(id) => return self.alias(id, span),
            Event::UnresolvedAlias(_) => return Err(SyntaxError::YamlAlias { span }),
            _ => {}
        }
        Ok(())
    }

    fn scalar(
        &mut self,
        text: Cow<'_, str>,
        style: ScalarStyle,
        text_asked: bool,
        anchor: usize,
        span: Range<usize>,
    ) -> Result<(), SyntaxError> {
        let plain = style == ScalarStyle::Plain;
        if let Some(Open { inside: Inside::Table { key: key @ None, .. }, .. }) = self.open.last_mut() {
            if plain && text == "<<" {
                return Err(SyntaxError::YamlMerge { span });
            }
            *key = Some(self.builder.key(&span, text));
            return Ok(());
        }
        let end = span.end;
        let handle = if plain && !text_asked {
            // The empty value of `key:` stands nowhere; the parser points behind the colon.
            self.builder.plain(span, text)
        } else {
            self.builder.text(span, text)
        };
        self.put(Done { handle, nodes: 1, height: 0, end }, anchor);
        Ok(())
    }

    fn open(&mut self, span: Range<usize>, anchor: usize, inside: Inside) -> Result<(), SyntaxError> {
        if self.open.len() >= DEPTH_MAX {
            return Err(SyntaxError::TooDeep { span });
        }
        if let Some(Open { inside: Inside::Table { key: None, .. }, .. }) = self.open.last() {
            return Err(SyntaxError::YamlKey { span });
        }
        self.open.push(Open { start: span.start, end: span.end, anchor, inside, nodes: 1, height: 0 });
        Ok(())
    }

    fn close(&mut self, span: &Range<usize>) -> Result<(), SyntaxError> {
        let open = self.open.pop().expect("the parser closes only what it opened");
        // The end of a flow collection is its bracket; the end event of a block is empty and stands where the next
        // token starts.
        let end = if span.is_empty() { open.end } else { span.end };
        let span = open.start..end.max(open.start);
        let handle = match open.inside {
            Inside::List(items) => self.builder.list(span, items),
            Inside::Table { entries, .. } => self.builder.table(span, entries).map_err(SyntaxError::Twice)?,
        };
        self.put(Done { handle, nodes: open.nodes, height: open.height + 1, end }, open.anchor);
        Ok(())
    }

    fn alias(&mut self, id: usize, span: Range<usize>) -> Result<(), SyntaxError> {
        if let Some(Open { inside: Inside::Table { key: None, .. }, .. }) = self.open.last() {
            return Err(SyntaxError::YamlKey { span });
        }
        let Some(&done) = self.anchors.get(&id) else { return Err(SyntaxError::YamlAlias { span }) };
        self.repeated += done.nodes;
        if self.repeated > ALIAS_NODES_MAX {
            return Err(SyntaxError::YamlAliases { span });
        }
        if self.open.len() + done.height > DEPTH_MAX {
            return Err(SyntaxError::TooDeep { span });
        }
        self.put(Done { end: span.end, ..done }, 0);
        Ok(())
    }

    /// Puts a finished value where it belongs.
    fn put(&mut self, done: Done, anchor: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, done);
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(done.handle);
            return;
        };
        open.nodes += done.nodes;
        open.height = open.height.max(done.height);
        open.end = open.end.max(done.end);
        match &mut open.inside {
            Inside::List(items) => items.push(done.handle),
            Inside::Table { entries, key } => entries.extend(key.take().map(|key| (key, done.handle))),
        }
    }
}

/// Whether a tag asks for text. `!!str`, `!!map` and `!!seq` say what a value is anyway; nothing else is read.
fn is_text_tag(tag: Option<&Tag>, span: &Range<usize>) -> Result<bool, SyntaxError> {
    match tag {
        None => Ok(false),
        Some(tag) if tag.is_yaml_core_schema_tag("str") => Ok(true),
        Some(tag) if tag.is_yaml_core_schema_tag("map") || tag.is_yaml_core_schema_tag("seq") => Ok(false),
        Some(tag) => Err(SyntaxError::YamlTag { tag: tag.original(), span: span.clone() }),
    }
}

fn bytes(text: &str, span: &Span) -> Range<usize> {
    let start = span.start.byte_offset().unwrap_or(0);
    within(text, start..span.end.byte_offset().unwrap_or(start))
}

/// What the parser found wrong, with the two mistakes that everyone makes told apart.
fn grammar(text: &str, error: &ScanError) -> SyntaxError {
    let at = error.marker().byte_offset().unwrap_or(text.len());
    let span = within(text, at..(at + 1).min(text.len()).max(at));
    let line = text[..span.start].rfind('\n').map_or(0, |newline| newline + 1);
    let indent = text[line..].len() - text[line..].trim_start_matches([' ', '\t']).len();
    if let Some(tab) = text[line..line + indent].find('\t') {
        return SyntaxError::YamlTab { span: line + tab..line + tab + 1 };
    }
    let says = lower_first(&error.info());
    if says.contains("recursion limit") {
        return SyntaxError::TooDeep { span };
    }
    if says.contains("unknown anchor") {
        return SyntaxError::YamlAlias { span };
    }
    SyntaxError::Parser { syntax: "YAML", says, span, help: None }
}
