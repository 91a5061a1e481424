//! What is said of attempts that work on a copy: where the host keeps them, what they start from, what they made.
//! `Stage` lists what an attempt starts from, `Lacks` answers what the host has not kept, `Content` and `Gives` carry
//! bytes either way (see `stage::piece`), `Collected` lists what the attempt made before its `Exited`, `Fetch` asks for
//! the bytes of some of it, and `Release` ends the copy.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::protocol::receipt::OutputRef;

/// How the host serves a run whose files are elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Absolute path under which everything of ours is kept; empty: the first of `$XDG_CACHE_HOME/fleet`,
    /// `~/.cache/fleet`, `/var/tmp/fleet-UID` and `/tmp/fleet-UID` that can be written.
    pub root: String,
    /// The worker's name.
    pub worker: String,
    /// Silence of the engine that ends everything; 0 is no end.
    pub lease_ms: u64,
    /// What kept files may take.
    pub cache_bytes: u64,
    /// What the folder of an attempt may take; 0 is no bound.
    #[serde(default)]
    pub attempt_bytes: u64,
}

/// What a host says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Where everything of ours is.
    pub root: String,
    pub os: String,
    pub arch: String,
    /// Cores that may be used.
    pub cores: usize,
}

/// For a `Spawn` in the attempt's copy. Paths of the request that are relative lie below the attempt's own folder: the
/// copy itself is `ws`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// It gets an empty private folder in `FLEET_ATTEMPT_DIR`.
    #[serde(default)]
    pub scratch: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collect: Option<Collect>,
    /// Nothing that it makes is kept on the host when its copy goes: it may hold a secret.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub discard: bool,
}

/// What is looked for when the process has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collect {
    /// Patterns of outputs: files, links and empty folders.
    pub outputs: Vec<String>,
    /// Patterns each of which takes regular files.
    pub files: Vec<String>,
}

/// A part of the list of what an attempt starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    pub entries: Vec<OutputRef>,
    /// The list is complete.
    pub end: bool,
}

/// The body of `Lacks` and of `Fetch`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    pub digests: Vec<Digest>,
}

/// A part of the list of what an attempt made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    /// 0 for `Collect::outputs`, then 1 and more for each of `Collect::files`.
    pub set: u32,
    pub entries: Vec<OutputRef>,
    /// Positions of the set's patterns that took nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmatched: Vec<usize>,
    /// The set could not be looked through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Bytes that were removed on a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    pub kept_files: u64,
    /// What supervisors have left that died.
    pub dead_runs: u64,
    pub programs: u64,
}

/// Most digests of one frame.
pub const DIGESTS_MAX: usize = 8192;

/// What the entries of one frame may come to, with room for the rest of its body.
const ENTRIES_BYTES_MAX: usize = 900 << 10;
/// What an entry takes beside its path.
const ENTRY_BYTES: usize = 300;
/// What a byte of a path can come to in JSON: `\u0001`.
const ESCAPED_BYTES: usize = 6;

/// Parts of a list that each fit a frame, whatever their paths are made of; none of an empty list.
pub fn chunks(entries: &[OutputRef]) -> impl Iterator<Item = &[OutputRef]> {
    let mut rest = entries;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |entry: &&OutputRef| {
            bytes += ESCAPED_BYTES * entry.path.len() + ENTRY_BYTES;
            bytes <= ENTRIES_BYTES_MAX
        };
        // One that is too long by itself goes alone, and whoever sends it is told.
        let count = rest.iter().take_while(fits).count().max(1);
        let part;
        (part, rest) = rest.split_at_checked(count)?;
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::receipt::{EntryKind, Mode};
    use crate::supervisor::frame::{self, BODY_BYTES_MAX, Kind};

    #[test]
    fn parts_of_any_list_fit_a_frame() {
        let entry = |length: usize, of: &str| OutputRef {
            path: of.repeat(length).into(),
            digest: Digest::of(b""),
            size_bytes: u64::MAX,
            mode: Some(Mode::of(0o7777)),
            kind: EntryKind::Directory,
        };
        assert_eq!(chunks(&[]).count(), 0);
        for of in ["a", "\"", "\u{1}"] {
            let list: Vec<OutputRef> = (0..5000).map(|i| entry(1 + i % 4095, of)).collect();
            let mut whole = Vec::new();
            for part in chunks(&list) {
                let mut out = Vec::new();
                let collected = Collected { entries: part.to_vec(), ..Collected::default() };
                frame::put(&mut out, Kind::Collected, 1, &collected).unwrap();
                assert!(!part.is_empty() && out.len() <= BODY_BYTES_MAX);
                whole.extend_from_slice(part);
            }
            assert_eq!(whole, list);
        }
        let many: Vec<OutputRef> = (0..10_000).map(|_| entry(20, "a")).collect();
        assert!(chunks(&many).count() < 10, "short paths fill a frame");
        assert_eq!(chunks(&[entry(1 << 20, "a"), entry(1, "a")]).count(), 2);
    }
}
