//! What a file says, whatever its syntax: one tree of nodes, every key and value with its place.
//!
//! Nodes live in three flat vectors and point into the text they were read from, so a table of two keys costs about
//! a hundred bytes and no allocation of its own. A reader (`toml`, `yaml`, `json`) feeds a [`Builder`]; everyone else
//! walks [`Node`]s. A YAML alias is a second way to the node of its anchor, so places are those of the anchor.
//! The tree knows nothing of tasks: it answers "what is at this path" and "where does it stand".

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// One file of a fleet: the main one is 0, included ones follow in the order they were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// One step of a path from the root of a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Seg {
    Key(Box<str>),
    Index(usize),
}

impl Seg {
    #[must_use]
    pub fn key(name: &str) -> Self {
        Self::Key(name.into())
    }
}

impl From<&str> for Seg {
    fn from(name: &str) -> Self {
        Self::key(name)
    }
}

impl From<usize> for Seg {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// A file's content. Offsets are bytes of [`Tree::text`], below 2^32.
pub struct Tree {
    file: FileId,
    text: Arc<str>,
    nodes: Vec<Stored>,
    entries: Vec<StoredEntry>,
    items: Vec<NodeIndex>,
    /// Texts that differ from what stands in the file: escapes, folded lines.
    owned: Vec<Box<str>>,
    /// For each table of more than [`SORTED_FROM`] keys, where its order by name starts in `order`.
    sorted: Vec<(u32, u32)>,
    order: Vec<u32>,
    root: NodeIndex,
}

type NodeIndex = u32;

/// Tables with more keys than this are searched by halving.
const SORTED_FROM: usize = 16;

#[derive(Clone, Copy)]
struct Stored {
    start: u32,
    end: u32,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    /// A number that fits neither, a date: kept as it stands, with what it is.
    Other(&'static &'static str),
    Text(Words),
    /// A YAML plain scalar: what it is depends on who asks.
    Plain(Words),
    List {
        first: u32,
        len: u32,
    },
    Table {
        first: u32,
        len: u32,
    },
}

/// A text: a stretch of the file, or an entry of `owned` when `len` is [`OWNED`].
#[derive(Clone, Copy)]
struct Words {
    at: u32,
    len: u32,
}

const OWNED: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct StoredEntry {
    name: Words,
    start: u32,
    end: u32,
    value: NodeIndex,
}

/// What a node is. YAML plain scalars are resolved by the core schema (1.2): `yes` is text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'t> {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    /// Something no field takes: a date, a number out of range. Holds its name for messages.
    Other(&'static str),
    Text(&'t str),
    List,
    Table,
}

/// A node of a tree; as cheap to copy as a reference.
#[derive(Clone, Copy)]
pub struct Node<'t> {
    tree: &'t Tree,
    index: NodeIndex,
}

/// A key and its value.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'t> {
    tree: &'t Tree,
    stored: StoredEntry,
}

impl Tree {
    #[must_use]
    pub fn file(&self) -> FileId {
        self.file
    }

    /// The whole text, without a byte order mark.
    #[must_use]
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    #[must_use]
    pub fn root(&self) -> Node<'_> {
        Node { tree: self, index: self.root }
    }

    /// The node at a path from the root.
    #[must_use]
    pub fn at(&self, path: &[Seg]) -> Option<Node<'_>> {
        self.root().at(path)
    }

    /// Where the value at a path stands.
    #[must_use]
    pub fn value_span(&self, path: &[Seg]) -> Option<Range<usize>> {
        self.at(path).map(Node::span)
    }

    /// Where the key that ends a path stands; for a path that ends in an index, the item itself.
    #[must_use]
    pub fn key_span(&self, path: &[Seg]) -> Option<Range<usize>> {
        match path.split_last()? {
            (Seg::Key(name), up) => self.at(up)?.entry(name).map(Entry::key_span),
            (Seg::Index(_), _) => self.value_span(path),
        }
    }

    /// Bytes this tree holds beside its text; for tests of the memory promise.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Stored>()
            + self.entries.capacity() * size_of::<StoredEntry>()
            + (self.items.capacity() + self.order.capacity()) * 4
            + self.owned.iter().map(|text| text.len() + size_of::<Box<str>>()).sum::<usize>()
    }

    /// The node whose children of one sort hold the position `at`, and where they start.
    fn holder(&self, at: usize, range: impl Fn(Kind) -> Option<(u32, u32)>) -> Option<(NodeIndex, usize)> {
        self.nodes.iter().enumerate().find_map(|(index, node)| {
            let (first, len) = range(node.kind)?;
            let (first, len) = (first as usize, len as usize);
            (first..first + len).contains(&at).then(|| (small(index), first))
        })
    }

    fn words(&self, words: Words) -> &str {
        if words.len == OWNED {
            &self.owned[words.at as usize]
        } else {
            &self.text[words.at as usize..(words.at + words.len) as usize]
        }
    }
}

impl<'t> Node<'t> {
    #[must_use]
    pub fn tree(self) -> &'t Tree {
        self.tree
    }

    #[must_use]
    pub fn span(self) -> Range<usize> {
        let stored = self.stored();
        stored.start as usize..stored.end as usize
    }

    /// The value as it stands in the file, quotes and all.
    #[must_use]
    pub fn source(self) -> &'t str {
        self.tree.text.get(self.span()).unwrap_or_default()
    }

    /// Bytes of a text that is in it, as a place in the file; `None` where its letters do not stand there as they are.
    #[must_use]
    pub fn inside(self, text: &str, within: &Range<usize>) -> Option<Range<usize>> {
        let start = self.span().start + self.source().find(text).filter(|_| !text.is_empty())?;
        Some(start + within.start..start + within.end.min(text.len()))
    }

    #[must_use]
    pub fn value(self) -> Value<'t> {
        match self.stored().kind {
            Kind::Null => Value::Null,
            Kind::Bool(b) => Value::Bool(b),
            Kind::Integer(i) => Value::Integer(i),
            Kind::Float(f) => Value::Float(f),
            Kind::Other(what) => Value::Other(what),
            Kind::Text(words) => Value::Text(self.tree.words(words)),
            Kind::Plain(words) => core_schema(self.tree.words(words)),
            Kind::List { .. } => Value::List,
            Kind::Table { .. } => Value::Table,
        }
    }

    /// The text of a YAML plain scalar, whatever it resolves to.
    #[must_use]
    pub fn plain(self) -> Option<&'t str> {
        match self.stored().kind {
            Kind::Plain(words) => Some(self.tree.words(words)),
            _ => None,
        }
    }

    /// The text, if it is text.
    #[must_use]
    pub fn as_str(self) -> Option<&'t str> {
        match self.value() {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The entries of a table in the order they were written; none for anything else.
    #[must_use]
    pub fn entries(self) -> impl ExactSizeIterator<Item = Entry<'t>> + DoubleEndedIterator + use<'t> {
        let range = match self.stored().kind {
            Kind::Table { first, len } => first as usize..(first + len) as usize,
            _ => 0..0,
        };
        let tree = self.tree;
        tree.entries[range].iter().map(move |&stored| Entry { tree, stored })
    }

    /// The items of a list; none for anything else.
    #[must_use]
    pub fn items(self) -> impl ExactSizeIterator<Item = Node<'t>> + DoubleEndedIterator + use<'t> {
        let range = match self.stored().kind {
            Kind::List { first, len } => first as usize..(first + len) as usize,
            _ => 0..0,
        };
        let tree = self.tree;
        tree.items[range].iter().map(move |&index| Node { tree, index })
    }

    /// The entry of that name, in logarithmic time for large tables.
    #[must_use]
    pub fn entry(self, name: &str) -> Option<Entry<'t>> {
        let Kind::Table { first, len } = self.stored().kind else { return None };
        let (tree, first) = (self.tree, first as usize);
        let entries = &tree.entries[first..first + len as usize];
        let place = if entries.len() <= SORTED_FROM {
            entries.iter().position(|e| tree.words(e.name) == name)?
        } else {
            let known = tree.sorted.binary_search_by_key(&self.index, |(node, _)| *node).ok()?;
            let from = tree.sorted[known].1 as usize;
            let order = &tree.order[from..from + entries.len()];
            order[order.binary_search_by(|&i| tree.words(entries[i as usize].name).cmp(name)).ok()?] as usize
        };
        Some(Entry { tree, stored: entries[place] })
    }

    /// The value of that name.
    #[must_use]
    pub fn get(self, name: &str) -> Option<Self> {
        self.entry(name).map(Entry::value)
    }

    /// The node at a path from here.
    #[must_use]
    pub fn at(self, path: &[Seg]) -> Option<Self> {
        path.iter().try_fold(self, |node, seg| match seg {
            Seg::Key(name) => node.get(name),
            Seg::Index(index) => node.items().nth(*index),
        })
    }

    /// The path of this node from the root; for an anchor's node, one of them. Linear in the file: for messages.
    #[must_use]
    pub fn path(self) -> Vec<Seg> {
        let tree = self.tree;
        let mut path = Vec::new();
        let mut index = self.index;
        while index != tree.root {
            let step = if let Some(at) = tree.entries.iter().position(|entry| entry.value == index) {
                path.push(Seg::key(tree.words(tree.entries[at].name)));
                tree.holder(at, |kind| if let Kind::Table { first, len } = kind { Some((first, len)) } else { None })
            } else if let Some(at) = tree.items.iter().position(|item| *item == index) {
                let list = tree
                    .holder(at, |kind| if let Kind::List { first, len } = kind { Some((first, len)) } else { None });
                path.extend(list.map(|(_, first)| Seg::Index(at - first)));
                list
            } else {
                None
            };
            let Some((holder, _)) = step else { break };
            index = holder;
        }
        path.reverse();
        path
    }

    /// What it is, for messages: `an integer`.
    #[must_use]
    pub fn what(self) -> &'static str {
        match self.value() {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a number",
            Value::Other(what) => what,
            Value::Text(_) => "text",
            Value::List => "a list",
            Value::Table => "a table",
        }
    }

    /// The same as JSON, for free tables and for checks against the schema.
    #[must_use]
    pub fn to_json(self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self.value() {
            Value::Null => Json::Null,
            Value::Bool(b) => Json::Bool(b),
            Value::Integer(i) => Json::from(i),
            Value::Float(f) => serde_json::Number::from_f64(f).map_or(Json::Null, Json::Number),
            Value::Other(_) => Json::from(self.source()),
            Value::Text(text) => Json::from(text),
            Value::List => Json::Array(self.items().map(Self::to_json).collect()),
            Value::Table => Json::Object(self.entries().map(|e| (e.name().to_owned(), e.value().to_json())).collect()),
        }
    }

    fn stored(self) -> Stored {
        self.tree.nodes[self.index as usize]
    }
}

impl<'t> Entry<'t> {
    /// The key without quotes and escapes.
    #[must_use]
    pub fn name(self) -> &'t str {
        self.tree.words(self.stored.name)
    }

    #[must_use]
    pub fn key_span(self) -> Range<usize> {
        self.stored.start as usize..self.stored.end as usize
    }

    #[must_use]
    pub fn value(self) -> Node<'t> {
        Node { tree: self.tree, index: self.stored.value }
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree").field("file", &self.file).field("root", &self.root()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:?}", self.to_json(), self.span())
    }
}

impl fmt::Debug for StoredEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

/// A plain scalar by the core schema of YAML 1.2.
fn core_schema(text: &str) -> Value<'_> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Value::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        _ => {}
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Value::Text(text);
    }
    let in_base = |digits: &str, base| match i64::from_str_radix(digits, base) {
        Ok(i) => Value::Integer(i),
        Err(_) => Value::Other(OUT_OF_RANGE),
    };
    if let Some(hex) = text.strip_prefix("0x").filter(|t| all(t, |b| b.is_ascii_hexdigit())) {
        return in_base(hex, 16);
    }
    if let Some(octal) = text.strip_prefix("0o").filter(|t| all(t, |b| matches!(b, b'0'..=b'7'))) {
        return in_base(octal, 8);
    }
    if all(digits, |b| b.is_ascii_digit()) {
        return in_base(text, 10);
    }
    let number = digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    match text.parse() {
        Ok(f) if number => Value::Float(f),
        _ => Value::Text(text),
    }
}

/// The name of a number no field can hold.
pub const OUT_OF_RANGE: &str = "an integer out of range";

fn all(text: &str, is: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(is)
}

/// How a reader makes a tree. Values arrive children first: [`Builder::list`] and [`Builder::table`] take the handles
/// of what is inside them.
pub(super) struct Builder {
    tree: Tree,
}

/// A finished node, to be put into a list or table, or to become the root.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Handle(NodeIndex);

/// A finished key.
#[derive(Clone, Copy)]
pub(super) struct KeyHandle(StoredEntry);

/// The same key twice in one table: where it stands first, and where again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Twice {
    pub(super) name: String,
    pub(super) first: Range<usize>,
    pub(super) again: Range<usize>,
}

impl Builder {
    /// `text` is below 4 GiB by [`super::source::FILE_BYTES_MAX`].
    pub(super) fn new(file: FileId, text: Arc<str>) -> Self {
        let tree = Tree {
            file,
            text,
            nodes: Vec::new(),
            entries: Vec::new(),
            items: Vec::new(),
            owned: Vec::new(),
            sorted: Vec::new(),
            order: Vec::new(),
            root: 0,
        };
        Self { tree }
    }

    pub(super) fn null(&mut self, span: Range<usize>) -> Handle {
        self.push(&span, Kind::Null)
    }

    pub(super) fn bool(&mut self, span: Range<usize>, value: bool) -> Handle {
        self.push(&span, Kind::Bool(value))
    }

    pub(super) fn integer(&mut self, span: Range<usize>, value: i64) -> Handle {
        self.push(&span, Kind::Integer(value))
    }

    pub(super) fn float(&mut self, span: Range<usize>, value: f64) -> Handle {
        self.push(&span, Kind::Float(value))
    }

    pub(super) fn other(&mut self, span: Range<usize>, what: &'static &'static str) -> Handle {
        self.push(&span, Kind::Other(what))
    }

    /// What stands in the file there.
    pub(super) fn source(&self, span: &Range<usize>) -> &str {
        self.tree.text.get(span.clone()).unwrap_or_default()
    }

    pub(super) fn text(&mut self, span: Range<usize>, text: Cow<'_, str>) -> Handle {
        let words = self.words(&span, text);
        self.push(&span, Kind::Text(words))
    }

    pub(super) fn plain(&mut self, span: Range<usize>, text: Cow<'_, str>) -> Handle {
        let words = self.words(&span, text);
        self.push(&span, Kind::Plain(words))
    }

    pub(super) fn key(&mut self, span: &Range<usize>, name: Cow<'_, str>) -> KeyHandle {
        let name = self.words(span, name);
        KeyHandle(StoredEntry { name, start: small(span.start), end: small(span.end), value: 0 })
    }

    pub(super) fn list(&mut self, span: Range<usize>, items: impl IntoIterator<Item = Handle>) -> Handle {
        let first = self.tree.items.len();
        self.tree.items.extend(items.into_iter().map(|item| item.0));
        let len = self.tree.items.len() - first;
        self.push(&span, Kind::List { first: small(first), len: small(len) })
    }

    /// Refuses a key that is there twice.
    pub(super) fn table(
        &mut self,
        span: Range<usize>,
        entries: impl IntoIterator<Item = (KeyHandle, Handle)>,
    ) -> Result<Handle, Twice> {
        let first = self.tree.entries.len();
        self.tree.entries.extend(entries.into_iter().map(|(key, value)| StoredEntry { value: value.0, ..key.0 }));
        let len = self.tree.entries.len() - first;
        let tree = &self.tree;
        let name = |i: u32| tree.words(tree.entries[first + i as usize].name);
        let twice = if len <= SORTED_FROM {
            (1..small(len)).find_map(|again| Some(((0..again).find(|&i| name(i) == name(again))?, again)))
        } else {
            let mut order: Vec<u32> = (0..small(len)).collect();
            order.sort_by(|&a, &b| name(a).cmp(name(b)).then(a.cmp(&b)));
            let twice = order.windows(2).filter(|w| name(w[0]) == name(w[1])).map(|w| (w[0], w[1])).min_by_key(|t| t.1);
            let from = (small(self.tree.nodes.len()), small(self.tree.order.len()));
            self.tree.sorted.push(from);
            self.tree.order.extend(order);
            twice
        };
        if let Some((one, other)) = twice {
            let entry = |i: u32| Entry { tree: &self.tree, stored: self.tree.entries[first + i as usize] };
            return Err(Twice {
                name: entry(one).name().to_owned(),
                first: entry(one).key_span(),
                again: entry(other).key_span(),
            });
        }
        Ok(self.push(&span, Kind::Table { first: small(first), len: small(len) }))
    }

    pub(super) fn finish(mut self, root: Handle) -> Tree {
        self.tree.root = root.0;
        self.tree
    }

    fn push(&mut self, span: &Range<usize>, kind: Kind) -> Handle {
        let handle = Handle(small(self.tree.nodes.len()));
        self.tree.nodes.push(Stored { start: small(span.start), end: small(span.end), kind });
        handle
    }

    /// Points into the file where the words stand there as they are, bare or between one or three quotes.
    fn words(&mut self, span: &Range<usize>, text: Cow<'_, str>) -> Words {
        let source = self.tree.text.get(span.clone()).unwrap_or_default();
        for quotes in [0, 1, 3] {
            if source.len() == text.len() + 2 * quotes && source.get(quotes..source.len() - quotes) == Some(&text) {
                return Words { at: small(span.start + quotes), len: small(text.len()) };
            }
        }
        let at = small(self.tree.owned.len());
        self.tree.owned.push(text.into());
        Words { at, len: OWNED }
    }
}

fn small(n: usize) -> u32 {
    u32::try_from(n).expect("a fleet file is at most 16 MiB, and so is every count and offset in it")
}
