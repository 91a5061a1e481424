//! A disk that loses what was not synced: the state directory after each event, in each of the forms in which a loss of
//! power may leave it. It is stricter than any file system in use: a file's sync vouches for its bytes and not for its
//! name, a folder's for the names in it, and everything else may be lost, alone and in any order.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::trace::{Event, Op};

/// What becomes of that which was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    pub names: Names,
    pub bytes: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    Lost,
    Kept,
    /// A file that was moved is still where it was.
    Unmoved,
    /// Each by a throw of the dice.
    Either(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bytes {
    Lost,
    Kept,
    /// The file has its length, and holds zeros.
    Zeros,
    /// The last write is there up to some point in it.
    Cut(u64),
    /// The last write is there, and those before it are zeros.
    Hole,
    Either(u64),
}

/// Every form of one moment.
pub(crate) fn losses(moment: u64) -> [Loss; 10] {
    let loss = |names, bytes| Loss { names, bytes };
    [
        loss(Names::Lost, Bytes::Lost),
        loss(Names::Kept, Bytes::Kept),
        loss(Names::Kept, Bytes::Lost),
        loss(Names::Kept, Bytes::Zeros),
        loss(Names::Kept, Bytes::Cut(moment)),
        loss(Names::Kept, Bytes::Hole),
        loss(Names::Unmoved, Bytes::Kept),
        loss(Names::Lost, Bytes::Kept),
        loss(Names::Either(moment), Bytes::Either(moment)),
        loss(Names::Either(moment + 1), Bytes::Either(moment + 1)),
    ]
}

/// What is on disk: files with their bytes, folders with `None`.
pub(crate) type Tree = BTreeMap<PathBuf, Option<Vec<u8>>>;

type Inode = usize;

/// One name that came or went, or one write. `safe` is the event from which on no loss takes it away.
#[derive(Clone, Debug)]
struct Step<T> {
    event: usize,
    safe: Option<usize>,
    what: T,
}

#[derive(Clone, Debug)]
struct Name {
    text: PathBuf,
    inode: Option<Inode>,
    /// By a move, of which this is one half.
    moved: bool,
}

#[derive(Clone, Debug)]
enum Write {
    Append(Vec<u8>),
    Truncate(usize),
}

#[derive(Clone, Debug, Default)]
struct Node {
    folder: bool,
    names: Vec<Step<Name>>,
    writes: Vec<Step<Write>>,
}

/// All that was ever done, and since when it is safe.
#[derive(Debug)]
pub(crate) struct Disk {
    nodes: Vec<Node>,
}

const ROOT: Inode = 0;

/// What an operation needs and is not there.
fn missing<'o>(op: &'o Op, known: &HashMap<PathBuf, Inode>) -> Option<&'o Path> {
    let parent = |path: &'o Path| path.parent().filter(|parent| !known.contains_key(*parent));
    let there = |path: &'o Path| (!known.contains_key(path)).then_some(path);
    match op {
        Op::Mkdir(path) | Op::Create(path) | Op::Empty(path) | Op::Remove(path) => parent(path),
        Op::Append(path, _) | Op::Truncate(path, _) => there(path),
        Op::Rename(from, to) | Op::Link(from, to) => there(from).or_else(|| parent(to)),
        Op::Sync(_) | Op::SyncAll => None,
    }
}

/// Without what was written, which may be a megabyte.
fn brief(op: &Op) -> Op {
    match op {
        Op::Append(path, _) => Op::Append(path.clone(), Vec::new()),
        op => op.clone(),
    }
}

impl Disk {
    /// # Errors
    /// When something happens to what is not there, in words.
    pub(crate) fn of(events: &[Event]) -> Result<Self, String> {
        let mut disk = Self { nodes: vec![Node { folder: true, ..Node::default() }] };
        let mut known: HashMap<PathBuf, Inode> = HashMap::from([(PathBuf::new(), ROOT)]);
        for (at, event) in events.iter().enumerate() {
            if let Some(path) = missing(&event.op, &known) {
                return Err(format!("{} is not there at {:?}", path.display(), brief(&event.op)));
            }
            disk.apply(at, event, &mut known);
        }
        Ok(disk)
    }

    fn apply(&mut self, at: usize, event: &Event, known: &mut HashMap<PathBuf, Inode>) {
        match &event.op {
            Op::Empty(path) if known.contains_key(path) => self.write(at, path, Write::Truncate(0), known),
            Op::Mkdir(path) | Op::Create(path) | Op::Empty(path) => {
                if known.contains_key(path) {
                    return;
                }
                let folder = matches!(event.op, Op::Mkdir(_));
                self.nodes.push(Node { folder, ..Node::default() });
                self.name(at, path, Some(self.nodes.len() - 1), false, known);
            }
            Op::Append(path, bytes) => self.write(at, path, Write::Append(bytes.clone()), known),
            Op::Truncate(path, length) => self.write(at, path, Write::Truncate(*length), known),
            Op::Rename(from, to) => {
                let inode = known[from];
                self.name(at, to, Some(inode), true, known);
                self.name(at, from, None, true, known);
            }
            Op::Link(from, to) => self.name(at, to, Some(known[from]), false, known),
            Op::Remove(path) => self.name(at, path, None, false, known),
            Op::Sync(path) => {
                // A file without a name can be synced; nobody will find it.
                if let Some(inode) = known.get(path) {
                    self.nodes[*inode].sync(event.began, at);
                }
            }
            Op::SyncAll => self.nodes.iter_mut().for_each(|node| node.sync(event.began, at)),
        }
    }

    fn name(&mut self, at: usize, path: &Path, inode: Option<Inode>, moved: bool, known: &mut HashMap<PathBuf, Inode>) {
        let folder = known[path.parent().expect("nothing happens to the root itself")];
        let name = path.file_name().expect("it has a name").into();
        self.nodes[folder].names.push(Step { event: at, safe: None, what: Name { text: name, inode, moved } });
        match inode {
            Some(inode) => drop(known.insert(path.to_owned(), inode)),
            None => drop(known.remove(path)),
        }
    }

    fn write(&mut self, at: usize, path: &Path, what: Write, known: &HashMap<PathBuf, Inode>) {
        self.nodes[known[path]].writes.push(Step { event: at, safe: None, what });
    }

    /// What a loss of power right behind event `at` leaves.
    pub(crate) fn after(&self, at: usize, loss: Loss) -> Tree {
        let mut tree = Tree::new();
        let mut open = vec![(PathBuf::new(), ROOT)];
        while let Some((path, inode)) = open.pop() {
            for (name, inode) in self.nodes[inode].entries(inode, at, loss.names) {
                let path = path.join(name);
                if self.nodes[inode].folder {
                    tree.insert(path.clone(), None);
                    open.push((path, inode));
                } else {
                    tree.insert(path, Some(self.nodes[inode].content(inode, at, loss.bytes)));
                }
            }
        }
        tree
    }

    /// The synced bytes of the file that has this name in the end, whether or not its name is safe.
    pub(crate) fn safe_bytes(&self, at: usize, path: &Path) -> Vec<u8> {
        let mut inode = ROOT;
        for part in path {
            let names = self.nodes[inode].names.iter();
            let last = names.rev().find(|step| step.event <= at && step.what.text == *part);
            let Some(next) = last.and_then(|step| step.what.inode) else { return Vec::new() };
            inode = next;
        }
        self.nodes[inode].content(inode, at, Bytes::Lost)
    }
}

impl Node {
    /// Everything that was done before `began` is safe once event `at` is over.
    fn sync(&mut self, began: usize, at: usize) {
        for step in self.names.iter_mut().filter(|step| step.event < began) {
            step.safe.get_or_insert(at);
        }
        for step in self.writes.iter_mut().filter(|step| step.event < began) {
            step.safe.get_or_insert(at);
        }
    }

    fn entries(&self, own: Inode, at: usize, loss: Names) -> BTreeMap<&Path, Inode> {
        let mut entries = BTreeMap::new();
        for step in self.names.iter().filter(|step| step.event <= at) {
            let kept = match loss {
                Names::Lost => false,
                Names::Kept => true,
                Names::Unmoved => !step.what.moved,
                Names::Either(seed) => dice(seed, own, step.event).is_multiple_of(2),
            };
            if !kept && !step.is_safe(at) {
                continue;
            }
            match step.what.inode {
                Some(inode) => drop(entries.insert(step.what.text.as_path(), inode)),
                None => drop(entries.remove(step.what.text.as_path())),
            }
        }
        entries
    }

    fn content(&self, own: Inode, at: usize, loss: Bytes) -> Vec<u8> {
        let mut content = Vec::new();
        let done: Vec<&Step<Write>> = self.writes.iter().filter(|step| step.event <= at).collect();
        for (n, step) in done.iter().enumerate() {
            let last = n + 1 == done.len();
            let bytes = match &step.what {
                Write::Append(bytes) => bytes,
                Write::Truncate(length) => {
                    if step.is_safe(at) || !matches!(loss, Bytes::Lost) {
                        content.resize(*length, 0);
                    }
                    continue;
                }
            };
            let loss = match loss {
                Bytes::Either(seed) => match dice(seed, own, step.event) % 3 {
                    0 if last => Bytes::Cut(dice(seed, own, n)),
                    0 | 1 => Bytes::Kept,
                    _ if last => Bytes::Lost,
                    _ => Bytes::Zeros,
                },
                Bytes::Hole if last => Bytes::Kept,
                Bytes::Hole => Bytes::Zeros,
                Bytes::Cut(_) if !last => Bytes::Kept,
                loss => loss,
            };
            match loss {
                _ if step.is_safe(at) => content.extend_from_slice(bytes),
                Bytes::Lost => {}
                Bytes::Zeros => content.resize(content.len() + bytes.len(), 0),
                Bytes::Cut(point) => {
                    let point = usize::try_from(dice(point, own, n)).unwrap_or(0) % bytes.len().max(1);
                    content.extend_from_slice(&bytes[..point]);
                }
                Bytes::Kept | Bytes::Hole | Bytes::Either(_) => content.extend_from_slice(bytes),
            }
        }
        content
    }
}

impl<T> Step<T> {
    fn is_safe(&self, at: usize) -> bool {
        self.safe.is_some_and(|safe| safe <= at)
    }
}

/// The same throw every time.
fn dice(seed: u64, inode: usize, event: usize) -> u64 {
    super::super::row::pseudo_random(seed.wrapping_mul(1_000_003) ^ (inode as u64) << 32 ^ event as u64)
}
