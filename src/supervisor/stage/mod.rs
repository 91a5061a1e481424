//! Attempts that work on a copy, on a host whose files are not the run's: what each starts from is kept here by digest,
//! laid out in a folder of its own, and what it makes is sent back.
//! `place` where all of it is · `cache` the kept files · `lay` a copy's folder · `bound` what an attempt's folder may take,
//! `tree` what it takes · `porter` the threads that carry · `piece` bytes on the connection. An attempt goes listing → lacking → laying → laid, its process runs, then
//! collecting → collected, until it is released.

mod bound;
mod cache;
mod lay;
pub(crate) mod piece;
pub(super) mod place;
mod porter;
#[cfg(test)]
mod tests;
pub(super) mod tree;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frame::{
    self, Collect, DIGESTS_MAX, EndedBy, Exited, Kind, NotStarted, NotStartedCause, Spawn, Stage, Stream, Wanted,
};
use super::sys;
use super::wire::Outbox;
use crate::digest::Digest;
use crate::protocol::receipt::{EntryKind, OutputRef};
use crate::store::{Root, aged};
use bound::{Bound, LOOK_EVERY_MS};
use cache::{Cache, Received};
use lay::{COPY, Found, LayError, Mark, SCRATCH};
use piece::{PIECE_BYTES, Piece, Squeeze};
use place::Place;
pub(crate) use place::clean;
use porter::{Carried, Porter};

/// Bytes that may wait for the engine before no more of a file is read.
const BACKLOG_BYTES_MAX: usize = 512 << 10;
/// So little is laid out in less time than it takes to wake a thread.
const FILES_AT_ONCE: usize = 8;
const BYTES_AT_ONCE: u64 = 64 << 10;
/// Kept files are made to fit their bound when this part of it has come to them.
const FRESH_PART: u64 = 4;
/// Times that a file which is damaged, or came broken, is asked for again before the attempt is given up.
const AGAIN_MAX: u32 = 3;
/// To be read after what a full disk did.
const CLEANS: &str = "the disk there is full, also without what is kept there for later runs";

/// What the loop has to do.
#[derive(Debug)]
pub(super) enum Next {
    Spawn(u32, Spawn),
    Refuse(u32, NotStarted),
    Exited(u32, Exited),
    /// Its folder takes so much, which is too much.
    Outgrown(u32, u64),
}

#[derive(Debug)]
pub(super) struct Stages {
    place: Place,
    cache: Cache,
    attempts: BTreeMap<u32, Staged>,
    /// Digests that the engine was asked for, and the attempts that wait for them.
    wanted: HashMap<Digest, Vec<u32>>,
    outgoing: VecDeque<Outgoing>,
    bound: Bound,
    porter: Porter,
    /// Bytes that came to the kept files since these were last made to fit their bound.
    fresh: u64,
    /// That is under way.
    trimming: bool,
}

#[derive(Debug)]
struct Staged {
    entries: Vec<OutputRef>,
    phase: Phase,
    /// Waits for the copy.
    spawn: Option<Spawn>,
    again: u32,
    /// What it made is not for the cache.
    discard: bool,
    places: BTreeMap<Digest, (Box<str>, Mark)>,
}

#[derive(Debug)]
enum Phase {
    /// Its list is not complete.
    Listing,
    Lacking(HashSet<Digest>),
    Laying,
    Laid,
    Failed(NotStarted),
    Collecting(Box<Exited>),
    /// It is being removed.
    Leaving,
}

/// A file on its way to the engine.
#[derive(Debug)]
struct Outgoing {
    digest: Digest,
    source: Option<Source>,
    /// The file, while it is read: one at a time, of however many are on their way.
    from: Option<File>,
    squeeze: Squeeze,
}

/// Where the bytes of a digest are, before they are looked at.
#[derive(Debug)]
struct Source {
    root: Arc<Root>,
    path: Box<str>,
    /// Of a link, the text counts.
    is_link: bool,
}

impl Stages {
    /// `wake` becomes readable when [`Self::carried`] has something to take in.
    pub(super) fn open(place: Place, wake: OwnedFd) -> io::Result<Self> {
        let cache = Cache::open(place.cas())?;
        let (cas, max, root) = (place.cas(), place.cache_bytes, place.root().to_owned());
        let mut porter = Porter::new(wake);
        porter.put(0, move || {
            // Who wants nothing kept wants no programs kept either.
            if max == 0 {
                return Carried::Cleaned(Place::remove_everything(&root));
            }
            Place::remove_dead(&root);
            let _ = aged::trim(&cas, max);
            Carried::Trimmed
        })?;
        Ok(Self {
            bound: Bound::new(place.attempt_bytes),
            place,
            cache,
            attempts: BTreeMap::new(),
            wanted: HashMap::new(),
            outgoing: VecDeque::new(),
            porter,
            fresh: 0,
            trimming: true,
        })
    }

    fn dir(&self, number: u32) -> PathBuf {
        self.place.attempt(number)
    }

    // ── What the engine says ─────────────────────────────────────────────

    /// A part of the list of what an attempt starts from; with the last one, what is lacking is asked for.
    pub(super) fn stage(&mut self, number: u32, stage: Stage, out: &mut Outbox) -> Option<Next> {
        let staged = self.attempts.entry(number).or_insert_with(|| Staged {
            entries: Vec::new(),
            phase: Phase::Listing,
            spawn: None,
            again: 0,
            discard: false,
            places: BTreeMap::new(),
        });
        staged.entries.extend(stage.entries);
        if !stage.end {
            return None;
        }
        let lacking = self.missing(number);
        self.lacking(number, lacking, out)
    }

    /// What an attempt starts from and is not kept here.
    fn missing(&self, number: u32) -> HashSet<Digest> {
        let is_missing =
            |entry: &&OutputRef| entry.kind != EntryKind::Directory && !self.cache.has(&entry.digest, entry.size_bytes);
        let entries = self.attempts.get(&number).into_iter().flat_map(|staged| &staged.entries);
        entries.filter(is_missing).map(|entry| entry.digest).collect()
    }

    fn lacking(&mut self, number: u32, lacking: HashSet<Digest>, out: &mut Outbox) -> Option<Next> {
        if lacking.is_empty() {
            return self.lay(number, out);
        }
        let mut ask = Vec::new();
        for digest in &lacking {
            let waiting = self.wanted.entry(*digest).or_default();
            if waiting.is_empty() {
                ask.push(*digest);
            }
            waiting.push(number);
        }
        ask.sort_unstable();
        for digests in ask.chunks(DIGESTS_MAX) {
            put(out, Kind::Lacks, number, &Wanted { digests: digests.to_vec() });
        }
        self.attempts.get_mut(&number)?.phase = Phase::Lacking(lacking);
        None
    }

    /// A piece of a file that was asked for.
    pub(super) fn content(&mut self, body: &[u8], out: &mut Outbox) -> Result<Vec<Next>, String> {
        let piece = Piece::take(body).ok_or("a piece of a file that makes no sense")?;
        let (digest, error, may_ask_again) = match self.cache.receive(&piece) {
            Received::Some => return Ok(Vec::new()),
            Received::Whole(digest, bytes) => {
                self.fresh += bytes;
                (digest, None, false)
            }
            // What another attempt may have damaged is no fault of those that wait for it.
            Received::Broken(digest) => (digest, Some("it was changed while it was sent".to_owned()), true),
            Received::Full(digest, error) => {
                let has_room = self.make_room();
                (digest, Some(format!("{error}; {CLEANS}")), has_room)
            }
            Received::Failed(digest, error) => (digest, Some(error), false),
        };
        let (mut next, mut again) = (Vec::new(), Vec::new());
        for number in self.wanted.remove(&digest).unwrap_or_default() {
            let Some(staged) = self.attempts.get_mut(&number) else { continue };
            let Phase::Lacking(lacking) = &mut staged.phase else { continue };
            if may_ask_again && staged.again < AGAIN_MAX {
                staged.again += 1;
                again.push(number);
                continue;
            }
            if let Some(error) = &error {
                let path = staged.entries.iter().find(|entry| entry.digest == digest).map_or("", |entry| &*entry.path);
                let error = format!("`{path}` could not be staged: {error}");
                next.extend(self.fail(number, error));
                continue;
            }
            lacking.remove(&digest);
            if lacking.is_empty() {
                next.extend(self.lay(number, out));
            }
        }
        if let Some(first) = again.first() {
            put(out, Kind::Lacks, *first, &Wanted { digests: vec![digest] });
            self.wanted.insert(digest, again);
        }
        Ok(next)
    }

    /// A process is to be started in an attempt's copy: at once, or when the copy is there.
    pub(super) fn spawn(&mut self, number: u32, spawn: Spawn) -> Option<Next> {
        let refused = |error: String| Some(Next::Refuse(number, NotStarted { cause: NotStartedCause::Host, error }));
        let dir = self.dir(number);
        let Some(staged) = self.attempts.get_mut(&number) else {
            return refused("nothing was staged for it".to_owned());
        };
        staged.discard |= spawn.staged.as_ref().is_some_and(|staged| staged.discard);
        match &staged.phase {
            Phase::Laid => match self::placed(&dir, spawn) {
                Ok(spawn) => {
                    self.bound.begin(number, sys::monotonic_ms());
                    Some(Next::Spawn(number, spawn))
                }
                Err(error) => refused(format!("its scratch directory cannot be made: {error}")),
            },
            Phase::Failed(error) => Some(Next::Refuse(number, error.clone())),
            Phase::Collecting(_) | Phase::Leaving => refused("its copy is gone".to_owned()),
            Phase::Listing | Phase::Lacking(_) | Phase::Laying => {
                staged.spawn = Some(spawn);
                None
            }
        }
    }

    /// An attempt is to end. One that has not begun is refused.
    pub(super) fn stop(&mut self, number: u32) -> Option<Next> {
        let staged = self.attempts.get_mut(&number)?;
        staged.spawn.take()?;
        let (cause, error) = (NotStartedCause::Request, "it was stopped before it began".to_owned());
        Some(Next::Refuse(number, NotStarted { cause, error }))
    }

    /// Files that an attempt made are to be sent.
    pub(super) fn fetch(&mut self, number: u32, wanted: &Wanted) {
        let Some(staged) = self.attempts.get(&number) else { return };
        let root = Root::open(&self.place.attempt(number).join(COPY)).ok().map(Arc::new);
        self.outgoing.extend(wanted.digests.iter().map(|digest| {
            let source = root.as_ref().zip(staged.places.get(digest)).map(|(root, (path, mark))| Source {
                root: Arc::clone(root),
                path: path.clone(),
                is_link: *mark == Mark::default(),
            });
            Outgoing { digest: *digest, source, from: None, squeeze: Squeeze::default() }
        }));
    }

    /// Nobody wants anything of an attempt any more.
    pub(super) fn release(&mut self, number: u32) {
        let (dir, cas) = (self.dir(number), self.place.cas());
        self.bound.end(number);
        let Some(staged) = self.attempts.get_mut(&number) else { return };
        if matches!(staged.phase, Phase::Laying | Phase::Collecting(_) | Phase::Leaving) {
            // A thread works in it; the engine does not ask for this, and what is left is removed when we leave.
            staged.phase = Phase::Leaving;
            return;
        }
        let places = if staged.discard { BTreeMap::new() } else { std::mem::take(&mut staged.places) };
        self.attempts.remove(&number);
        let _ = self.porter.put(number, move || Carried::Removed(lay::remove(&dir, &cas, &places)));
    }

    // ── What happens here ────────────────────────────────────────────────

    /// Whether the exit of an attempt's process has to wait until its folder was looked at: for what it takes, and for
    /// what was made there.
    pub(super) fn ended(&mut self, number: u32, collect: Option<&Collect>, exited: &Exited) -> bool {
        let (dir, max) = (self.dir(number), self.place.attempt_bytes);
        self.bound.end(number);
        let Some(staged) = self.attempts.get_mut(&number) else { return false };
        // What is short and leaves nothing is gone before anybody could look.
        if collect.is_none() && (max == 0 || exited.wall_ms < LOOK_EVERY_MS) {
            return false;
        }
        let collect = collect.cloned();
        let look = move || Carried::Collected(Box::new(lay::look_through(&dir, collect.as_ref(), max)));
        if self.porter.put(number, look).is_err() {
            return false;
        }
        // Of what a failure made, much may be cut short, and nobody will start from it.
        staged.discard |= exited.code != Some(0);
        staged.phase = Phase::Collecting(Box::new(exited.clone()));
        true
    }

    /// When an attempt's folder is to be looked at while it runs.
    pub(super) fn next_look_ms(&self) -> Option<u64> {
        self.bound.next_ms()
    }

    /// Has it looked at, if that is due.
    pub(super) fn look(&mut self) {
        let max = self.place.attempt_bytes;
        let Some((number, given_up)) = self.bound.take_due(sys::monotonic_ms()) else { return };
        let dir = self.dir(number);
        if self.porter.put(number, move || Carried::Looked(bound::look(&dir, max, &given_up))).is_err() {
            // Without a thread for it, it is tried again.
            self.bound.looked(number, &bound::Look::default(), sys::monotonic_ms());
        }
    }

    /// Takes in what the porters did.
    pub(super) fn carried(&mut self, out: &mut Outbox) -> Vec<Next> {
        let mut next = Vec::new();
        for (number, carried) in self.porter.take() {
            match carried {
                Carried::Removed(kept) => self.fresh += kept,
                Carried::Trimmed => self.trimming = false,
                Carried::Cleaned(removed) => {
                    self.trimming = false;
                    put(out, Kind::Removed, 0, &removed);
                }
                Carried::Looked(look) => {
                    let over = self.bound.looked(number, &look, sys::monotonic_ms());
                    next.extend(over.map(|bytes| Next::Outgrown(number, bytes)));
                }
                Carried::Laid(result) => next.extend(self.laid(number, result, out)),
                Carried::Collected(found) => next.extend(self.collected(number, *found, out)),
            }
        }
        self.trim();
        next
    }

    /// Has the kept files fit their bound again, when enough has come to them. What attempts still wait to be laid out
    /// may be beyond it: what goes all the same is asked for again.
    fn trim(&mut self) {
        if self.trimming || self.fresh <= self.place.cache_bytes / FRESH_PART {
            return;
        }
        let waiting = self.attempts.values().filter(|staged| matches!(staged.phase, Phase::Lacking(_) | Phase::Laying));
        let needed: u64 = waiting.flat_map(|staged| &staged.entries).map(|entry| entry.size_bytes).sum();
        let (cas, max) = (self.place.cas(), self.place.cache_bytes.saturating_add(needed));
        // Without a thread for it, it is tried with the next file.
        self.trimming = self
            .porter
            .put(0, move || {
                let _ = aged::trim(&cas, max);
                Carried::Trimmed
            })
            .is_ok();
        if self.trimming {
            self.fresh = 0;
        }
    }

    /// The disk is full: whatever is kept and nobody waits for goes. `false` when that is nothing.
    fn make_room(&self) -> bool {
        let waiting = self.attempts.values().filter(|staged| matches!(staged.phase, Phase::Lacking(_) | Phase::Laying));
        let needed: HashSet<Digest> = waiting.flat_map(|staged| &staged.entries).map(|entry| entry.digest).collect();
        self.cache.keep_only(&needed)
    }

    fn lay(&mut self, number: u32, out: &mut Outbox) -> Option<Next> {
        let (dir, cas) = (self.dir(number), self.place.cas());
        let staged = self.attempts.get_mut(&number)?;
        staged.phase = Phase::Laying;
        if staged.again > 0 {
            // A damaged file was found half way.
            tree::remove(&dir);
        }
        let bytes: u64 = staged.entries.iter().map(|entry| entry.size_bytes).sum();
        if staged.entries.len() <= FILES_AT_ONCE && bytes <= BYTES_AT_ONCE {
            let result = lay::lay(&dir, &cas, &staged.entries, &self.cache.sound());
            return self.laid(number, result, out);
        }
        let entries = staged.entries.clone();
        let sound = self.cache.sound();
        let put = self.porter.put(number, move || Carried::Laid(lay::lay(&dir, &cas, &entries, &sound)));
        put.err().and_then(|error| self.fail(number, format!("cannot start a thread: {error}")))
    }

    fn laid(&mut self, number: u32, result: Result<(), LayError>, out: &mut Outbox) -> Option<Next> {
        let staged = self.attempts.get_mut(&number)?;
        if matches!(staged.phase, Phase::Leaving) {
            staged.phase = Phase::Laid;
            self.release(number);
            return None;
        }
        match result {
            Ok(()) => {
                staged.phase = Phase::Laid;
                let spawn = staged.spawn.take()?;
                self.spawn(number, spawn)
            }
            Err(LayError::Damaged(digest)) if staged.again < AGAIN_MAX => {
                staged.again += 1;
                // Whoever made room may have taken more than this one.
                let mut lacking = self.missing(number);
                lacking.insert(digest);
                self.lacking(number, lacking, out)
            }
            Err(LayError::Damaged(digest)) => self.fail(number, format!("{digest} is damaged on this host each time")),
            Err(LayError::Full(error)) => {
                // It makes its copy anew.
                staged.again += 1;
                if self.make_room() { self.lay(number, out) } else { self.fail(number, format!("{error}; {CLEANS}")) }
            }
            Err(LayError::Failed(error)) => self.fail(number, error),
        }
    }

    fn fail(&mut self, number: u32, error: String) -> Option<Next> {
        let staged = self.attempts.get_mut(&number)?;
        let error = NotStarted { cause: NotStartedCause::Host, error };
        staged.phase = Phase::Failed(error.clone());
        // Without its spawn, it is told when that comes.
        staged.spawn.take().map(|_| Next::Refuse(number, error))
    }

    fn collected(&mut self, number: u32, found: Found, out: &mut Outbox) -> Option<Next> {
        let staged = self.attempts.get_mut(&number)?;
        let Phase::Collecting(mut exited) = std::mem::replace(&mut staged.phase, Phase::Laid) else {
            self.release(number);
            return None;
        };
        if let Some(over) = found.over {
            exited.ended_by = match exited.ended_by {
                None => Some(EndedBy::Size { bytes: over }),
                // It has gone on until it was ended.
                Some(EndedBy::Size { bytes }) => Some(EndedBy::Size { bytes: bytes.max(over) }),
                other => other,
            };
        }
        // A scorer in the same folder collects nothing.
        staged.places.extend(found.places);
        for mut set in found.sets {
            let entries = std::mem::take(&mut set.entries);
            for some in frame::chunks(&entries) {
                let part = frame::Collected { set: set.set, entries: some.to_vec(), ..frame::Collected::default() };
                put_collected(out, number, &part);
            }
            put_collected(out, number, &set);
        }
        Some(Next::Exited(number, *exited))
    }

    /// Reads on in files that are on their way, as far as the outbox takes them.
    pub(super) fn pump(&mut self, out: &mut Outbox) {
        while out.backlog() < BACKLOG_BYTES_MAX {
            let Some(one) = self.outgoing.front_mut() else { return };
            if one.next(out.frames()) {
                self.outgoing.pop_front();
            }
        }
    }

    pub(super) fn is_sending(&self) -> bool {
        !self.outgoing.is_empty()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.porter.is_idle() && self.outgoing.is_empty()
    }

    /// Removes everything of this run; for when no process lives any more.
    pub(super) fn leave(&self) {
        self.place.leave();
        if self.fresh > 0 {
            let _ = aged::trim(&self.place.cas(), self.place.cache_bytes);
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl Outgoing {
    /// Appends the next piece; `true` after the last. A file that cannot be read ends early, and its digest says so.
    fn next(&mut self, out: &mut Vec<u8>) -> bool {
        let mut bytes = Vec::new();
        if let Some(Source { root, path, is_link }) = self.source.take() {
            if is_link {
                let text = std::fs::read_link(root.path().join(&*path)).unwrap_or_default();
                bytes = text.into_os_string().into_encoded_bytes();
            } else {
                self.from = root.read(Path::new(&*path)).ok();
            }
        }
        if let Some(from) = &mut self.from {
            bytes.reserve(PIECE_BYTES);
            let limit = u64::try_from(PIECE_BYTES).unwrap_or(u64::MAX);
            if from.take(limit).read_to_end(&mut bytes).is_err() || bytes.len() < PIECE_BYTES {
                self.from = None;
            }
        }
        let last = self.from.is_none();
        let start = out.len();
        out.extend_from_slice(&frame::header(Kind::Gives, Stream::Stdout, 0, 0));
        self.squeeze.put(out, &self.digest, &bytes, last);
        let head = frame::header(Kind::Gives, Stream::Stdout, 0, out.len() - start - frame::HEADER_BYTES);
        out[start..start + frame::HEADER_BYTES].copy_from_slice(&head);
        last
    }
}

/// A request with the attempt's own folder before its relative paths.
fn placed(dir: &Path, mut spawn: Spawn) -> io::Result<Spawn> {
    let inside = |path: &str| dir.join(path).to_string_lossy().into_owned();
    let copy = dir.join(COPY);
    spawn.set.push(("FLEET_WORKSPACE".to_owned(), copy.to_string_lossy().into_owned()));
    let cwd = copy.join(&spawn.cwd);
    cwd.to_string_lossy().trim_end_matches('/').clone_into(&mut spawn.cwd);
    if let Some(stdin) = &mut spawn.stdin {
        *stdin = copy.join(&*stdin).to_string_lossy().into_owned();
    }
    if let Some(confine) = &mut spawn.confine {
        confine.read.iter_mut().flatten().chain(&mut confine.write).for_each(|path| *path = inside(path));
        if let Some(private) = &mut confine.private {
            *private = inside(private);
            // Who may read everything has the home it has.
            if confine.read.is_some() {
                spawn.set.push(("HOME".to_owned(), format!("{private}/home")));
            }
            spawn.set.push(("TMPDIR".to_owned(), format!("{private}/tmp")));
        }
    }
    if spawn.staged.as_ref().is_some_and(|staged| staged.scratch) {
        let scratch = dir.join(SCRATCH);
        lay::private_folder(&scratch)?;
        spawn.set.push(("FLEET_ATTEMPT_DIR".to_owned(), scratch.to_string_lossy().into_owned()));
    }
    Ok(spawn)
}

/// Queues a part of what an attempt made; what does not fit makes the set one that could not be looked through.
fn put_collected(out: &mut Outbox, number: u32, part: &frame::Collected) {
    if let Err(error) = frame::put(out.frames(), Kind::Collected, number, part) {
        let error = Some(format!("what it made cannot be told: {error}"));
        put(out, Kind::Collected, number, &frame::Collected { set: part.set, error, ..frame::Collected::default() });
    }
}

/// Queues a control frame whose size has a bound.
fn put<T: serde::Serialize>(out: &mut Outbox, kind: Kind, number: u32, body: &T) {
    if let Err(error) = frame::put(out.frames(), kind, number, body) {
        debug_assert!(false, "{kind:?}: {error}");
    }
}
