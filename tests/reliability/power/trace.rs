//! What a run did to the files of its state directory, as `strace -f -y -xx` tells it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The folder that is looked at.
const STATE: &str = ".fleet";

/// What `strace` is to note. Of what can change a file, `mmap` is missing, which fleet does not write through; the disk
/// that is made of the trace is held against the real one.
pub(crate) const CALLS: &str = "trace=openat,creat,write,writev,pwrite64,pwritev,pwritev2,copy_file_range,sendfile,\
    fsync,fdatasync,syncfs,sync,rename,renameat,renameat2,link,linkat,symlink,symlinkat,truncate,ftruncate,fallocate,\
    unlink,unlinkat,rmdir,mkdir,mkdirat";

/// One thing that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Mkdir(PathBuf),
    /// A file that was not there.
    Create(PathBuf),
    /// One that was there is empty now, one that was not is there.
    Empty(PathBuf),
    /// All that fleet writes goes to the end of the file.
    Append(PathBuf, Vec<u8>),
    Truncate(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
    Remove(PathBuf),
    Sync(PathBuf),
    SyncAll,
}

/// In the order in which calls returned.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub op: Op,
    /// How many events there were when the call began: a sync vouches for no other.
    pub began: usize,
}

/// All that happened in the state directory of the workspace `root`; paths are relative to it.
pub(crate) fn parse(trace: &str, root: &Path) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    let mut open: HashMap<&str, (String, usize)> = HashMap::new();
    for line in trace.lines() {
        let Some((pid, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        let (call, since) = if let Some(first) = call.strip_suffix("<unfinished ...>") {
            open.insert(pid, (first.to_owned(), events.len()));
            continue;
        } else if let Some((_, rest)) = call.strip_prefix("<... ").and_then(|call| call.split_once(" resumed>")) {
            let Some((first, since)) = open.remove(pid) else { continue };
            (first + rest, since)
        } else {
            (call.to_owned(), events.len())
        };
        events.extend(op(&call, root).map(|op| Event { op, began: since }));
    }
    events
}

/// `None` for what failed, changed nothing, or is none of ours.
fn op(call: &str, root: &Path) -> Option<Op> {
    let (name, rest) = call.split_once('(')?;
    let (args, result) = rest.rsplit_once(" = ")?;
    let done: usize = result.split([' ', '<']).next()?.parse().ok()?;
    let args: Vec<&str> = args.trim_end().strip_suffix(')')?.split(", ").collect();
    let arg = |at: usize| args.get(at).copied().unwrap_or_default();
    let ours = |path: PathBuf| {
        let path = path.strip_prefix(root).ok()?.to_path_buf();
        (path.starts_with(STATE) || path == Path::new("")).then_some(path)
    };
    let of = |at: usize| ours(descriptor(arg(at))?);
    let here = |at: usize| ours(root.join(quoted_path(arg(at))?));
    let at = |folder: usize| ours(descriptor(arg(folder)).unwrap_or_default().join(quoted_path(arg(folder + 1))?));
    Some(match name {
        "mkdir" => Op::Mkdir(here(0)?),
        "mkdirat" => Op::Mkdir(at(0)?),
        "openat" => {
            let path = at(0)?;
            if arg(2).contains("O_TRUNC") {
                return Some(Op::Empty(path));
            }
            return arg(2).contains("O_CREAT").then_some(Op::Create(path));
        }
        "write" => Op::Append(of(0)?, quoted(arg(1))?[..done].to_vec()),
        "ftruncate" => Op::Truncate(of(0)?, arg(1).parse().ok()?),
        "fsync" | "fdatasync" => Op::Sync(of(0)?),
        "syncfs" | "sync" => Op::SyncAll,
        "rename" => Op::Rename(here(0)?, here(1)?),
        "renameat" | "renameat2" => Op::Rename(at(0)?, at(2)?),
        "link" => Op::Link(here(0)?, here(1)?),
        "linkat" => Op::Link(at(0)?, at(2)?),
        "unlink" | "rmdir" => Op::Remove(here(0)?),
        "unlinkat" => Op::Remove(at(0)?),
        _ => {
            let touches = (0..args.len()).any(|n| of(n).is_some() || here(n).is_some());
            assert!(!touches, "the model of the disk knows no {name}: {call}");
            return None;
        }
    })
}

/// `3<\x2f\x74>`: the path behind a descriptor.
fn descriptor(arg: &str) -> Option<PathBuf> {
    let hex = arg.split_once('<')?.1.split_once('>')?.0;
    Some(String::from_utf8(unescape(hex)?).ok()?.into())
}

fn quoted(arg: &str) -> Option<Vec<u8>> {
    unescape(arg.strip_prefix('"')?.strip_suffix('"')?)
}

fn quoted_path(arg: &str) -> Option<PathBuf> {
    Some(String::from_utf8(quoted(arg)?).ok()?.into())
}

/// `\x41\x42`
fn unescape(hex: &str) -> Option<Vec<u8>> {
    hex.as_bytes()
        .chunks(4)
        .map(|byte| u8::from_str_radix(std::str::from_utf8(byte.get(2..)?).ok()?, 16).ok())
        .collect()
}
