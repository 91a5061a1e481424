//! The cache that is shared with others: results and bytes on a server that speaks the plain HTTP protocol of Bazel's
//! clients. `http` a request · `action` a result on the wire · `protobuf` its encoding · `checked` bytes held against
//! their digest.
//!
//! It is never needed. Whatever goes wrong is a miss and a warning; what keeps going wrong turns it off for the rest of
//! the run. What comes from it is verified before it has a name in the store.

mod action;
mod checked;
mod http;
mod protobuf;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ureq::http::HeaderValue;

pub use action::{ACTION_BYTES_MAX, BLOB_BYTES_MAX, Extra, PATH_BYTES_MAX, RemoteEntry};
use checked::Checked;
pub use http::{BYTES_PER_SECOND_MIN, CONNECT_TIMEOUT, REQUEST_TIMEOUT, STALL_TIMEOUT, TRANSFERS_MAX};
use http::{Client, Failure, Kind, Times};

use super::{Store, relative};
use crate::digest::Digest;
use crate::model::CacheRemote;
use crate::protocol::receipt::{ArtifactRef, EntryKind, OutputRef};

/// Failures in a row after which the cache is left alone for the rest of the run.
pub const FAILURES_MAX: u32 = 3;

/// Most warnings of a run; each after it says nothing new.
const WARNINGS_MAX: usize = 16;

/// Up to this size, bytes are uploaded without asking whether they are there: the question costs as much.
const ASK_BYTES: u64 = 16 << 10;

/// What a server knows us by. Shown nowhere.
#[derive(Clone)]
pub struct Token(Box<str>);

impl Token {
    /// Of a variable's value; white space around it (a file's last newline) is not part of it.
    #[must_use]
    pub fn new(value: &str) -> Self {
        Self(value.trim().into())
    }

    /// `None` when it cannot be sent.
    fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0)).ok().filter(|_| !self.0.is_empty())?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The shared cache of a run. Any number of threads may use it.
#[derive(Debug)]
pub struct Remote {
    client: Client,
    reads: bool,
    /// What to look at when the server refuses us.
    token_ref: Option<Box<str>>,
    writes: AtomicBool,
    off: AtomicBool,
    stop: Arc<AtomicBool>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures_in_a_row: u32,
    warnings: Vec<String>,
    told: usize,
    /// Bytes that the server has, as far as we have seen.
    there: HashSet<Digest>,
}

impl Remote {
    /// `token` is the value of the variable that the fleet file names, if there is one; `stop` is set when the run is
    /// cancelled and nobody wants to wait any more. Connects to nothing.
    #[must_use]
    pub fn new(remote: &CacheRemote, token: Option<&Token>, stop: Arc<AtomicBool>) -> Self {
        Self::with_times(remote, token, stop, Times::default())
    }

    fn with_times(remote: &CacheRemote, token: Option<&Token>, stop: Arc<AtomicBool>, times: Times) -> Self {
        let new = Self {
            client: Client::new(remote, token, times, stop.clone()),
            reads: remote.reads(),
            token_ref: remote.token_ref.clone(),
            writes: AtomicBool::new(remote.writes()),
            off: AtomicBool::new(!remote.reads() && !remote.writes()),
            stop,
            state: Mutex::new(State { warnings: remote.remarks(), ..State::default() }),
        };
        match (&remote.token_ref, token) {
            (Some(name), None) => new.turn_off(&format!("is not used: the variable {name} is not set")),
            (Some(name), Some(token)) if token.header().is_none() => {
                new.turn_off(&format!("is not used: the value of the variable {name} cannot be a token"));
            }
            _ => {}
        }
        new
    }

    /// Whether results are taken from it; `false` also once it is off.
    #[must_use]
    pub fn reads(&self) -> bool {
        self.reads && self.is_on()
    }

    /// Whether results are uploaded to it; `false` also once it is off.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.writes.load(Ordering::Relaxed) && self.is_on()
    }

    fn is_on(&self) -> bool {
        !self.off.load(Ordering::Relaxed) && !self.stop.load(Ordering::Relaxed)
    }

    /// What others have for a fingerprint. The bytes it names are not here yet.
    #[must_use]
    pub fn fetch(&self, fingerprint: &Digest) -> Option<RemoteEntry> {
        if !self.reads() {
            return None;
        }
        let bytes = self.client.get(Kind::Action, fingerprint, None, |body| {
            let mut bytes = Vec::new();
            let limit = ACTION_BYTES_MAX as u64 + 1;
            body.take(limit).read_to_end(&mut bytes).map_err(|error| http::io_failure(&error))?;
            if bytes.len() as u64 == limit {
                return Err(Failure::Failed(format!("sends an action result of more than {ACTION_BYTES_MAX} bytes")));
            }
            Ok(bytes)
        });
        let entry = bytes.and_then(|bytes| match bytes.map(|bytes| action::decode(&bytes, fingerprint)) {
            None => Ok(None),
            Some(Ok(entry)) => Ok(Some(entry)),
            Some(Err(bad)) => Err(Failure::Failed(format!("has an entry that {bad}"))),
        });
        self.settled(entry).flatten()
    }

    /// Brings the bytes of outputs into the store, where they are not there yet; whether all of them are there now.
    #[must_use]
    pub fn fetch_blobs(&self, store: &Store, outputs: &[OutputRef]) -> bool {
        self.bring(store, blobs(outputs))
    }

    /// As [`Self::fetch_blobs`], for the artifacts that have a checksum.
    #[must_use]
    pub fn fetch_artifacts(&self, store: &Store, artifacts: &[ArtifactRef]) -> bool {
        self.bring(store, artifact_blobs(artifacts))
    }

    fn bring(&self, store: &Store, blobs: BTreeMap<Digest, u64>) -> bool {
        let missing: Vec<(Digest, u64)> =
            blobs.into_iter().filter(|(digest, size)| !store.has(digest, *size)).collect();
        missing.is_empty() || (self.reads() && each(&missing, |(digest, size)| self.bring_one(store, digest, *size)))
    }

    fn bring_one(&self, store: &Store, digest: &Digest, size: u64) -> bool {
        if size == 0 {
            return store.put_bytes(b"").is_ok_and(|put| put.digest == *digest);
        }
        if !self.reads() {
            return false;
        }
        let put = self.client.get(Kind::Content, digest, Some(size), |body| {
            let mut checked = Checked::new(body, *digest, size, &self.stop);
            match store.put_file(&mut checked) {
                Ok(_) => Ok(Ok(())),
                // The reader's failure is the server's, any other is ours.
                Err(error) => checked.into_failure().map_or(Ok(Err(error)), Err),
            }
        });
        match self.settled(put).flatten() {
            Some(Ok(())) => {
                self.state().there.insert(*digest);
                true
            }
            Some(Err(error)) => {
                self.warn(format!("what the shared cache sent could not be stored: {error}"));
                false
            }
            None => false,
        }
    }

    /// Uploads a pass: the bytes first, the entry last, so that nobody finds one whose bytes are not there. Whether
    /// others can find it now.
    pub fn publish(&self, store: &Store, fingerprint: &Digest, entry: &RemoteEntry) -> bool {
        if !self.writes() {
            return false;
        }
        let Some(action) = action::encode(entry, fingerprint, |link| text(store, link)) else {
            self.warn(format!("the result of {} is not uploaded: the store does not have its links", entry.extra.task));
            return false;
        };
        let blobs: Vec<(Digest, u64)> =
            blobs(&entry.outputs).into_iter().chain(artifact_blobs(&entry.artifacts)).collect();
        if action.len() > ACTION_BYTES_MAX || blobs.iter().any(|(_, size)| *size > BLOB_BYTES_MAX) {
            self.warn(format!("the result of {} is not uploaded: it is too large", entry.extra.task));
            return false;
        }
        each(&blobs, |(digest, size)| self.upload(store, digest, *size))
            && self.uploaded(self.client.put(Kind::Action, fingerprint, action.len() as u64, &action[..]))
    }

    fn upload(&self, store: &Store, digest: &Digest, size: u64) -> bool {
        // The bytes of an empty file are known to everyone.
        if size == 0 || self.state().there.contains(digest) {
            return true;
        }
        if !self.writes() {
            return false;
        }
        if size > ASK_BYTES {
            match self.settled(self.client.has(digest, size)) {
                Some(true) => {
                    self.state().there.insert(*digest);
                    return true;
                }
                Some(false) => {}
                None => return false,
            }
        }
        let file = match store.root.read_no_links(Path::new(&relative(digest))) {
            Ok(file) => file,
            Err(error) => {
                self.warn(format!("a result is not uploaded: {digest} cannot be read from the store: {error}"));
                return false;
            }
        };
        let mut checked = Checked::new(file, *digest, size, &self.stop);
        let put = self.client.put(Kind::Content, digest, size, &mut checked);
        if let Some(failure) = checked.into_failure() {
            if failure != Failure::Stopped {
                self.warn(format!("a result is not uploaded: the store is damaged at {digest}"));
            }
            return false;
        }
        let done = self.uploaded(put);
        if done {
            self.state().there.insert(*digest);
        }
        done
    }

    /// What an upload came to.
    fn uploaded(&self, put: Result<(), Failure>) -> bool {
        match put {
            // Of this one only: too large, or no room.
            Err(failure @ Failure::NotTaken(413 | 507)) => {
                self.warn(format!("a result is not uploaded: the shared cache {failure}"));
                false
            }
            // Who may read may not write.
            Err(failure @ (Failure::NotTaken(_) | Failure::Refused(_))) => {
                if self.writes.swap(false, Ordering::Relaxed) {
                    self.warn(format!(
                        "nothing is uploaded for the rest of this run: the shared cache {failure}; if that is meant, \
                         set `mode = \"read-only\"`"
                    ));
                }
                false
            }
            put => self.settled(put).is_some(),
        }
    }

    /// What was said since the last time this was asked, for the run's warnings; at first [`CacheRemote::remarks`].
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.state().warnings)
    }

    /// Counts what a request came to, and turns the cache off when there is nothing more to hope for.
    fn settled<T>(&self, result: Result<T, Failure>) -> Option<T> {
        match result {
            Ok(value) => {
                self.state().failures_in_a_row = 0;
                return Some(value);
            }
            Err(Failure::Stopped) => {}
            Err(failure @ Failure::Unreachable(_)) => self.turn_off(&format!("{failure}; this run goes on without it")),
            Err(failure @ Failure::Refused(_)) => {
                let look = match &self.token_ref {
                    Some(name) => format!("look at the token in {name}"),
                    None => "it may want a token, see `token_ref`".to_owned(),
                };
                self.turn_off(&format!("{failure}; {look}; this run goes on without it"));
            }
            Err(failure) => {
                let failures = {
                    let mut state = self.state();
                    state.failures_in_a_row += 1;
                    state.failures_in_a_row
                };
                if failures >= FAILURES_MAX {
                    self.turn_off(&format!("{failure}, {failures} failures in a row; this run goes on without it"));
                } else {
                    self.warn(format!("the shared cache {failure}"));
                }
            }
        }
        None
    }

    /// Says so once.
    fn turn_off(&self, why: &str) {
        if !self.off.swap(true, Ordering::Relaxed) {
            self.state().warnings.push(format!("the shared cache {why}"));
        }
    }

    fn warn(&self, text: String) {
        let mut state = self.state();
        if state.told < WARNINGS_MAX && !self.off.load(Ordering::Relaxed) {
            state.told += 1;
            state.warnings.push(text);
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does something with each, several at once, until one fails; whether none did.
fn each<T: Sync>(items: &[T], work: impl Fn(&T) -> bool + Sync) -> bool {
    if let [item] = items {
        return work(item);
    }
    let (next, well) = (AtomicUsize::new(0), AtomicBool::new(true));
    let go = || {
        while well.load(Ordering::Relaxed) {
            let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
            if !work(item) {
                well.store(false, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..items.len().min(TRANSFERS_MAX) {
            // Where there is no thread to be had, the others do its share.
            let _ = std::thread::Builder::new().name("remote".to_owned()).spawn_scoped(scope, go);
        }
        go();
    });
    well.into_inner()
}

/// The bytes of outputs, each once. An empty folder has none.
fn blobs(outputs: &[OutputRef]) -> BTreeMap<Digest, u64> {
    let with_bytes = outputs.iter().filter(|output| output.kind != EntryKind::Directory);
    with_bytes.map(|output| (output.digest, output.size_bytes)).collect()
}

fn artifact_blobs(artifacts: &[ArtifactRef]) -> BTreeMap<Digest, u64> {
    artifacts.iter().filter_map(|artifact| Some((artifact.checksum?, artifact.size_bytes?))).collect()
}

/// The text of a link, from the store.
fn text(store: &Store, digest: &Digest) -> Option<String> {
    let file = store.root.read_no_links(Path::new(&relative(digest))).ok()?;
    let mut text = String::new();
    file.take(PATH_BYTES_MAX as u64 + 1).read_to_string(&mut text).ok()?;
    (text.len() <= PATH_BYTES_MAX && Digest::of(text.as_bytes()) == *digest).then_some(text)
}
