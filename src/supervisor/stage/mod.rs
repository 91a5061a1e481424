//! Attempts that work on a copy, on a host whose files are not the run's: what each starts from is kept here by digest,
//! laid out in a folder of its own, and what it makes is sent back.
//! `place` where all of it is · `cache` the kept files · `copies` how copies come and go, `lay` a copy's folder, `spare` one
//! that serves again · `bound` what an attempt's folder may take, `tree` what it takes · `porter` the threads that carry ·
//! `outgoing` what is sent back, `piece` bytes on the connection. An attempt goes listing → lacking → laying → laid, its
//! process runs, then collecting → collected, until it is released.

mod bound;
mod cache;
mod copies;
mod lay;
mod outgoing;
pub(crate) mod piece;
pub(super) mod place;
mod porter;
mod spare;
#[cfg(test)]
mod tests;
pub(super) mod tree;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frame::{
    self, Collect, DIGESTS_MAX, EndedBy, Exited, Kind, NotStarted, NotStartedCause, Spawn, Stage, Wanted,
};
use super::sys;
use super::wire::Outbox;
use crate::digest::Digest;
use crate::protocol::receipt::{EntryKind, OutputRef};
use crate::store::{Root, aged, stats};
use bound::{Bound, LOOK_EVERY_MS};
use cache::{Cache, Received};
use lay::{COPY, Found, Places, SCRATCH};
use outgoing::{Outgoing, Source};
use piece::Piece;
use place::Place;
pub(crate) use place::clean;
use porter::{Carried, Porter};
use spare::{Check, Spare, Spares, Traces};

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
    /// The number of the last folder that was made for one.
    last_folder: u32,
    spares: Spares,
    checks: Vec<Check>,
    /// Folders that were to be removed so far, or looked at for that, and with how many of them that is over.
    going: u64,
    gone: u64,
    /// Attempts whose copies found the disk full, and which try again when so many are gone.
    cramped: Vec<(u32, u64)>,
    /// Files that found the disk full, and are asked for again then.
    unasked: Vec<(Digest, u64)>,
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
    /// The number of its folder.
    folder: u32,
    entries: Vec<OutputRef>,
    phase: Phase,
    /// Waits for the copy.
    spawn: Option<Spawn>,
    again: u32,
    /// What it made is not for the cache.
    discard: bool,
    places: Places,
    /// What was laid out, as far as that could be noted.
    traces: Option<Traces>,
    /// When its first process was about to begin.
    began: Option<i64>,
    /// Its copy is for nobody else.
    is_last: bool,
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
            last_folder: 0,
            spares: Spares::default(),
            checks: Vec::new(),
            going: 0,
            gone: 0,
            cramped: Vec::new(),
            unasked: Vec::new(),
            wanted: HashMap::new(),
            outgoing: VecDeque::new(),
            porter,
            fresh: 0,
            trimming: true,
        })
    }

    fn dir(&self, number: u32) -> PathBuf {
        self.place.attempt(self.attempts.get(&number).map_or(0, |staged| staged.folder))
    }

    // ── What the engine says ─────────────────────────────────────────────

    /// A part of the list of what an attempt starts from; with the last one, what is lacking is asked for.
    pub(super) fn stage(&mut self, number: u32, stage: Stage, out: &mut Outbox) -> Option<Next> {
        let staged = self.attempts.entry(number).or_insert_with(|| {
            self.last_folder += 1;
            Staged::new(self.last_folder)
        });
        staged.entries.extend(stage.entries);
        if !stage.end {
            return None;
        }
        // A release and the next attempt arrive together, and to make a large copy takes longer than to look at one.
        let is_same = |check: &&mut Check| check.waits.is_none() && check.entries == staged.entries;
        if !self.spares.have(&staged.entries)
            && let Some(check) = self.checks.iter_mut().find(is_same)
        {
            check.waits = Some(number);
            return None;
        }
        self.listed(number, out)
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
        let received = self.cache.receive(&piece);
        Ok(self.received(received, out))
    }

    fn received(&mut self, received: Received, out: &mut Outbox) -> Vec<Next> {
        let (digest, error, may_ask_again) = match received {
            Received::Some => return Vec::new(),
            Received::Whole(digest, bytes) => {
                self.fresh += bytes;
                (digest, None, false)
            }
            // What another attempt may have damaged is no fault of those that wait for it.
            Received::Broken(digest) => (digest, Some("it was changed while it was sent".to_owned()), true),
            Received::Full(digest, error) => {
                let has_room = self.make_room();
                if !has_room && self.going > self.gone {
                    self.unasked.push((digest, self.going));
                    return Vec::new();
                }
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
        next
    }

    /// There is room for what there was none for, as far as there will be.
    fn try_again(&mut self, out: &mut Outbox) -> Vec<Next> {
        let gone = self.gone;
        for (digest, _) in self.unasked.extract_if(.., |(_, at)| *at <= gone) {
            let mut waiting = self.wanted.remove(&digest).unwrap_or_default();
            waiting.retain(|number| self.attempts.contains_key(number));
            if let Some(first) = waiting.first() {
                put(out, Kind::Lacks, *first, &Wanted { digests: vec![digest] });
                self.wanted.insert(digest, waiting);
            }
        }
        let cramped: Vec<_> = self.cramped.extract_if(.., |(_, at)| *at <= gone).collect();
        cramped.into_iter().filter_map(|(number, _)| self.lay(number, out)).collect()
    }

    /// A process is to be started in an attempt's copy: at once, or when the copy is there.
    pub(super) fn spawn(&mut self, number: u32, spawn: Spawn) -> Option<Next> {
        let refused = |error: String| Some(Next::Refuse(number, NotStarted { cause: NotStartedCause::Host, error }));
        let dir = self.dir(number);
        let Some(staged) = self.attempts.get_mut(&number) else {
            return refused("nothing was staged for it".to_owned());
        };
        staged.discard |= spawn.staged.as_ref().is_some_and(|staged| staged.discard);
        // Whoever is not trusted leaves nothing to the next one, be it ever so unchanged.
        staged.is_last |= spawn.confine.is_some();
        match &staged.phase {
            Phase::Laid => match self::placed(&dir, spawn) {
                Ok(spawn) => {
                    staged.began.get_or_insert_with(stats::now);
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
        let root = Root::open(&self.dir(number).join(COPY)).ok().map(Arc::new);
        self.outgoing.extend(wanted.digests.iter().map(|digest| {
            let source = root.as_ref().zip(staged.places.get(digest)).map(|(root, (path, stat))| Source {
                root: Arc::clone(root),
                path: path.clone(),
                is_link: stat.is_none(),
            });
            Outgoing::new(*digest, source)
        }));
    }

    // ── What happens here ────────────────────────────────────────────────

    /// Whether the exit of an attempt's process has to wait until its folder was looked at: for what it takes, and for
    /// what was made there. `strays` says that processes live which lost their parent, of whatever attempt.
    pub(super) fn ended(&mut self, number: u32, collect: Option<&Collect>, exited: &Exited, strays: bool) -> bool {
        let (dir, max) = (self.dir(number), self.place.attempt_bytes);
        self.bound.end(number);
        let Some(staged) = self.attempts.get_mut(&number) else { return false };
        // What would not end by itself may not have ended yet, and a stray may hide that it is of this one.
        staged.is_last |= !exited.leaked.is_empty() || strays;
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
                Carried::Removed(kept) => {
                    self.fresh += kept;
                    self.gone += 1;
                }
                Carried::Checked(spare, holds) => next.extend(self.checked(*spare, holds, out)),
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
        next.extend(self.try_again(out));
        self.trim();
        next
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

impl Staged {
    fn new(folder: u32) -> Self {
        Self {
            folder,
            entries: Vec::new(),
            phase: Phase::Listing,
            spawn: None,
            again: 0,
            discard: false,
            places: Places::default(),
            traces: None,
            began: None,
            is_last: false,
        }
    }

    fn is_small(&self) -> bool {
        let bytes: u64 = self.entries.iter().map(|entry| entry.size_bytes).sum();
        self.entries.len() <= FILES_AT_ONCE && bytes <= BYTES_AT_ONCE
    }

    /// Its copy, if that may serve again should nothing in it have changed.
    fn take_spare(&mut self) -> Option<Spare> {
        let may_serve = !self.is_last && self.places.is_empty() && matches!(self.phase, Phase::Laid);
        let traces = self.traces.take().filter(|_| may_serve)?;
        Some(Spare { folder: self.folder, entries: std::mem::take(&mut self.entries), traces })
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
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
