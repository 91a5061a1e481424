//! What is kept of an attempt holds no secret: files are looked through on their way into the store, and those that hold a
//! value do not get there.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use super::staged::Set;
use crate::digest::Digest;
use crate::model::Task;
use crate::policy::mask::{Masks, Seeker};
use crate::policy::verdict::FaultKind;
use crate::protocol::receipt::{EntryKind, OutputRef};
use crate::store::{Root, Store};

/// What is wrong with a file.
type Fault = (FaultKind, String);

/// In words for the receipt.
pub(super) fn holds(what: &str, path: &str, key: &str) -> String {
    format!("its {what} `{path}` holds the secret `{key}`")
}

/// A file that remembers its own error, to tell it from the store's.
pub(super) struct Source<'m> {
    file: File,
    pub error: Option<io::Error>,
    /// What it may not hold.
    masks: Option<&'m Masks>,
    seeker: Seeker,
    /// The key of what it holds all the same.
    pub secret: Option<&'m str>,
}

impl<'m> Source<'m> {
    pub(super) fn new(file: File, masks: Option<&'m Masks>) -> Self {
        Self { file, error: None, masks, seeker: Seeker::default(), secret: None }
    }
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                self.error = Some(io::Error::new(error.kind(), error.to_string()));
            }
        })?;
        if let Some(masks) = self.masks {
            self.secret = self.secret.or(self.seeker.push(masks, &buffer[..read]));
            if self.secret.is_some() {
                // The store lets go of what it has of the file.
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(read)
    }
}

/// Outputs are kept for other runs, and may be shared with other people.
pub(super) fn outputs(root: &Root, masks: &Masks, outputs: &[OutputRef]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for output in outputs {
        let path = &*output.path;
        let found = match masks.find(path.as_bytes()) {
            Some(key) => Ok(Some(key)),
            None => match output.kind {
                EntryKind::File => held_by(root, masks, path),
                EntryKind::Symlink => std::fs::read_link(root.path().join(path))
                    .map(|text| masks.find(text.as_os_str().as_encoded_bytes())),
                EntryKind::Directory => Ok(None),
            },
        };
        match found {
            Ok(None) => {}
            Ok(Some(key)) => faults.push((FaultKind::Secret, holds("output", path, key))),
            Err(error) => {
                faults.push((FaultKind::Unreadable, format!("its output `{path}` cannot be read: {error}")));
            }
        }
    }
    faults
}

fn held_by<'m>(root: &Root, masks: &'m Masks, path: &str) -> io::Result<Option<&'m str>> {
    let mut source = Source::new(root.read(Path::new(path))?, Some(masks));
    match io::copy(&mut source, &mut io::sink()) {
        Err(error) if source.secret.is_none() => Err(error),
        _ => Ok(source.secret),
    }
}

/// What came back of a copy, without what holds a value. `refused` was not even received; the rest is looked through
/// again, since the store may have had it from a run without secrets.
pub(super) fn sets(
    task: &Task,
    sets: &[Set],
    store: &Store,
    (masks, refused): (&Masks, &HashMap<Digest, Box<str>>),
) -> (Vec<Set>, Vec<Fault>) {
    let mut faults = Vec::new();
    let mut clean = sets.to_vec();
    for (n, set) in clean.iter_mut().enumerate() {
        let what = match n {
            0 => "output",
            n if n <= task.artifacts.len() => "artifact",
            _ => "file for scorers",
        };
        set.entries.retain(|entry| {
            let named = masks.find(entry.path.as_bytes()).or_else(|| refused.get(&entry.digest).map(|key| &**key));
            let key = named.or_else(|| held_in(store, masks, entry));
            if let Some(key) = key {
                faults.push((FaultKind::Secret, holds(what, &entry.path, key)));
                set.refused = true;
            }
            key.is_none()
        });
    }
    (clean, faults)
}

/// What the store does not have is told of by whoever needs it.
fn held_in<'m>(store: &Store, masks: &'m Masks, entry: &OutputRef) -> Option<&'m str> {
    let mut sought = Sought { masks, seeker: Seeker::default(), found: None };
    if entry.kind != EntryKind::Directory {
        let _ = store.get(&entry.digest, &mut sought);
    }
    sought.found
}

struct Sought<'m> {
    masks: &'m Masks,
    seeker: Seeker,
    found: Option<&'m str>,
}

impl Write for Sought<'_> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.found = self.found.or(self.seeker.push(self.masks, piece));
        if self.found.is_some() { Err(io::ErrorKind::InvalidData.into()) } else { Ok(piece.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
