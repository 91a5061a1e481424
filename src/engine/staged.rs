//! Attempts that work on a copy: what they start from, what comes back, and judging by what came back and by nothing that
//! happens to lie in the workspace.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path};
use std::sync::Arc;

use super::Engine;
use super::attempt::Flight;
use super::judge::{Judged, Kept, Places};
use super::lane::{LaneId, Order};
use crate::digest::Digest;
use crate::host::link::Source;
use crate::id::{TaskId, WorkerId};
use crate::journal::log;
use crate::model::{Fleet, Task, Worker};
use crate::plan::fingerprint::{Kind, own_files, scored_files};
use crate::policy::Room;
use crate::policy::mask::Seeker;
use crate::policy::verdict::FaultKind;
use crate::protocol::receipt::{ArtifactRef, EntryKind, Mode, OutputRef};
use crate::store::{Files, Incoming, Root, Scan, ScanError, Store, outputs};
use crate::supervisor::frame::{Collect, Collected, Exited, Staged};
use crate::supervisor::stage::piece::Piece;

/// A copy, from what it starts from to what came back of it.
#[derive(Debug, Default)]
pub(super) struct Staging {
    pub entries: Vec<OutputRef>,
    /// The other side has the list.
    pub told: bool,
    pub sets: Vec<Set>,
    /// The attempt has ended, and these are on their way.
    pub missing: HashSet<Digest>,
    /// Those that came once and were not what they were said to be.
    pub again: HashSet<Digest>,
    /// What holds a secret and was not received, with its key.
    pub refused: HashMap<Digest, Box<str>>,
    pub exited: Option<Box<Exited>>,
}

/// What one list of patterns took: that of the outputs first, then one for each of [`staged`]'s files.
#[derive(Clone, Debug, Default)]
pub(super) struct Set {
    pub entries: Vec<OutputRef>,
    pub unmatched: Vec<usize>,
    /// Something of it was left out, because it holds a secret.
    pub refused: bool,
    pub error: Option<String>,
}

/// What is looked for when the attempt has ended.
pub(super) fn staged(task: &Task) -> Staged {
    let artifacts = task.artifacts.iter().map(|artifact| artifact.path.to_string());
    let collect = Collect { outputs: strings(&task.outputs), files: artifacts.chain(scored(task)).collect() };
    let collect = (collect != Collect::default()).then_some(collect);
    Staged { scratch: task.scratch, collect, discard: !task.secrets.is_empty() }
}

fn strings(list: &[Box<str>]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// What scorers read.
fn scored(task: &Task) -> Vec<String> {
    scored_files(task)
}

/// Everything in the workspace that an attempt starts from: its inputs, what it needs made, and the files of its own that
/// it names.
///
/// # Errors
/// When something cannot be read.
pub(super) fn entries(fleet: &Fleet, id: TaskId, files: &Files) -> Result<Vec<OutputRef>, ScanError> {
    let task = &fleet.tasks[id];
    let mut all: BTreeMap<Box<str>, OutputRef> = BTreeMap::new();
    for need in task.needs.iter().filter(|need| !need.order_only) {
        let made = &fleet.tasks[need.task].outputs;
        if !made.is_empty() {
            let captured = outputs::capture(files, &Scan::new(made)?)?;
            all.extend(captured.outputs.into_iter().map(|entry| (entry.path.clone(), entry)));
        }
    }
    let own = own_files(task).into_iter().filter(|(kind, _)| *kind != Kind::Scored).map(|(_, path)| path);
    let mut patterns: Vec<String> = task.inputs.as_deref().map(strings).unwrap_or_default();
    // Excludes are of the inputs alone.
    let (listed, _) = files.find_and_digest(&Scan::new(&patterns)?)?;
    patterns.clear();
    patterns.extend(own.chain(task.required_files.iter().map(ToString::to_string)));
    patterns.sort_unstable();
    patterns.dedup();
    let (named, _) = files.find_and_digest(&Scan::new(&patterns)?)?;
    for mut entry in listed.into_iter().chain(named) {
        entry.mode = Some(mode(files.root(), &entry.path));
        all.entry(entry.path.clone()).or_insert(entry);
    }
    for folder in folders(task).filter(|folder| files.root().has_folder(Path::new(folder))) {
        let is_link = |above: &Path| all.get(&*above.to_string_lossy()).is_some_and(|e| e.kind == EntryKind::Symlink);
        if Path::new(folder).ancestors().any(is_link) {
            // It is where the link leads, and what it leads to is there or not.
            continue;
        }
        all.entry(folder.into()).or_insert_with(|| OutputRef {
            path: folder.into(),
            digest: Digest::of(b""),
            size_bytes: 0,
            mode: None,
            kind: EntryKind::Directory,
        });
    }
    Ok(all.into_values().collect())
}

/// The folders that a task takes for granted: where it starts, and where what it makes is to be. A copy has those that the
/// workspace has.
fn folders(task: &Task) -> impl Iterator<Item = &str> {
    let made = task.outputs.iter().map(|path| &**path).chain(task.artifacts.iter().map(|artifact| &*artifact.path));
    let above = made.filter(|path| !path.starts_with('!')).map(|path| {
        let wild = path.find(['*', '?', '[', '{', '\\']).unwrap_or(path.len());
        path[..wild].rsplit_once('/').map_or("", |(folder, _)| folder)
    });
    above.chain([&*task.workdir]).filter(|folder| !folder.is_empty() && *folder != ".")
}

/// The permission bits of an input; nothing else of its owner's makes sense elsewhere.
fn mode(root: &Root, path: &str) -> Mode {
    let about = root.read(Path::new(path)).and_then(|file| file.metadata());
    Mode::of(about.map_or(0o644, |about| about.mode() & 0o777 | 0o400))
}

/// What the directory of an attempt takes, and what its worker allows it.
pub(super) fn room(fleet: &Fleet, worker: WorkerId, bytes: u64) -> Room<'_> {
    let Worker { name, attempt_bytes, .. } = &fleet.workers[worker];
    Room { worker: name, bytes, limit_bytes: *attempt_bytes }
}

/// What an attempt starts from, when that alone is more than its directory may take.
pub(super) fn no_room<'f>(fleet: &'f Fleet, worker: WorkerId, staging: &Staging) -> Option<Room<'f>> {
    Some(room(fleet, worker, staging.bytes())).filter(|room| room.bytes > room.limit_bytes)
}

impl Staging {
    /// What the copy takes before anything is done in it.
    pub(super) fn bytes(&self) -> u64 {
        self.entries.iter().fold(0, |sum, entry| sum.saturating_add(entry.size_bytes))
    }
}

impl Engine<'_> {
    /// Sends what the other side has not kept.
    pub(super) fn lacks(&mut self, lane: LaneId, n: u32, digests: &[Digest]) {
        let Some(staging) = self.flights.get(&n).and_then(|flight| flight.staging.as_ref()) else { return };
        let wanted: HashSet<&Digest> = digests.iter().collect();
        let mut sources: BTreeMap<Digest, Source> = BTreeMap::new();
        for entry in staging.entries.iter().filter(|entry| wanted.contains(&entry.digest)) {
            let source = match entry.kind {
                EntryKind::Symlink => {
                    let text = std::fs::read_link(self.root.path().join(&*entry.path));
                    Source::Text(text.map(|text| text.into_os_string().into_encoded_bytes()).unwrap_or_default())
                }
                _ => Source::File(Arc::clone(&self.root), entry.path.clone()),
            };
            sources.entry(entry.digest).or_insert(source);
        }
        let Some(lane) = self.lanes.get_mut(&lane) else { return };
        for (digest, source) in sources {
            lane.order(Order::Upload(digest, source));
        }
    }

    /// A part of the list of what an attempt made.
    pub(super) fn collected(&mut self, n: u32, part: Collected) {
        let Some(staging) = self.flights.get_mut(&n).and_then(|flight| flight.staging.as_mut()) else { return };
        let at = part.set as usize;
        if at > staging.sets.len() {
            // Sets come in their order.
            return;
        }
        if at == staging.sets.len() {
            staging.sets.push(Set::default());
        }
        let set = &mut staging.sets[at];
        // Who it belongs to and what it runs as are not for another host to say.
        let ours = |entry: OutputRef| OutputRef { mode: entry.mode.map(|mode| Mode::of(mode.bits() & 0o777)), ..entry };
        set.entries.extend(part.entries.into_iter().map(ours));
        set.unmatched.extend(part.unmatched);
        set.error = set.error.take().or(part.error);
    }

    /// Asks for what an attempt made and the store does not have. `true` when there is nothing to wait for.
    pub(super) fn bring_back(&mut self, n: u32, exited: &Exited) -> bool {
        let Some(store) = self.store_for(n) else { return false };
        let Some(flight) = self.flights.get_mut(&n) else { return false };
        let (lane, Some(staging)) = (flight.lane, flight.staging.as_mut()) else { return true };
        let entries = staging.sets.iter().flat_map(|set| &set.entries);
        let missing: HashSet<Digest> = entries
            .filter(|entry| entry.kind != EntryKind::Directory && !store.has(&entry.digest, entry.size_bytes))
            .map(|entry| entry.digest)
            .collect();
        if missing.is_empty() {
            return true;
        }
        let Some(lane) = lane.and_then(|lane| self.lanes.get_mut(&lane)) else { return true };
        let mut digests: Vec<Digest> = missing.iter().copied().collect();
        digests.sort_unstable();
        lane.order(Order::Fetch(n, digests));
        staging.missing = missing;
        staging.exited = Some(Box::new(exited.clone()));
        false
    }

    /// A piece of a file that was asked for.
    pub(super) fn given(&mut self, lane: LaneId, body: &[u8]) {
        let Some(piece) = Piece::take(body) else {
            if let Some(lane) = self.lanes.get_mut(&lane) {
                lane.doom = Some("it sent what makes no sense".to_owned());
            }
            return;
        };
        let digest = piece.digest;
        let misses =
            |f: &Flight| f.lane == Some(lane) && f.staging.as_ref().is_some_and(|s| s.missing.contains(&digest));
        let waiting: Vec<u32> = self.flights.iter().filter(|(_, f)| misses(f)).map(|(n, _)| *n).collect();
        if waiting.is_empty() {
            // Of an attempt that was cancelled meanwhile, or of nobody: what was not asked for is not kept.
            self.incoming.remove(&lane);
            return;
        }
        let (whole, refused) = match self.take_piece(lane, &piece) {
            Ok(Received::Part) => return,
            Ok(Received::Whole(whole)) => (whole, None),
            Ok(Received::Refused(key)) => (true, Some(key)),
            Err(error) => return self.disk_lost(&format!("what comes back cannot be kept: {error}")),
        };
        for n in waiting {
            let Some(staging) = self.flights.get_mut(&n).and_then(|flight| flight.staging.as_mut()) else { continue };
            if !whole && staging.again.insert(digest) {
                // Another attempt may have made the same and not changed it since.
                if let Some(lane) = self.lanes.get_mut(&lane) {
                    lane.order(Order::Fetch(n, vec![digest]));
                }
                continue;
            }
            staging.missing.remove(&digest);
            staging.refused.extend(refused.clone().map(|key| (digest, key)));
            if !whole {
                let mut entries = staging.sets.iter().flat_map(|set| &set.entries);
                let path = entries.find(|entry| entry.digest == digest).map_or("", |entry| &*entry.path);
                let why = format!("`{path}` could not be brought back as it was when its task ended");
                staging.missing.clear();
                staging.exited = None;
                self.not_brought_back(n, &why);
            } else if staging.missing.is_empty()
                && let Some(exited) = staging.exited.take()
            {
                self.is_back(n, *exited);
            }
        }
    }

    fn take_piece(&mut self, lane: LaneId, piece: &Piece<'_>) -> io::Result<Received> {
        let store = self.store()?;
        let mut receiving = match self.incoming.remove(&lane) {
            Some((digest, receiving)) if digest == piece.digest => receiving,
            _ => Receiving::File(store.incoming()?, Seeker::default()),
        };
        if let (Receiving::File(_, seeker), Some(masks)) = (&mut receiving, &self.masks)
            && let Some(key) = seeker.push(masks, &piece.bytes)
        {
            // What is on the disk of it goes with it, and the rest never gets there.
            receiving = Receiving::Refused(key.into());
        }
        if let Receiving::File(incoming, _) = &mut receiving {
            incoming.add(&piece.bytes)?;
        }
        match receiving {
            receiving if !piece.last => {
                self.incoming.insert(lane, (piece.digest, receiving));
                Ok(Received::Part)
            }
            Receiving::File(incoming, _) => incoming.finish(&store, &piece.digest).map(Received::Whole),
            Receiving::Refused(key) => Ok(Received::Refused(key)),
        }
    }
}

/// Files that are being received, one of each lane at a time.
pub(super) type AllReceiving = HashMap<LaneId, (Digest, Receiving)>;

pub(super) enum Receiving {
    File(Incoming, Seeker),
    /// It holds the secret of this key.
    Refused(Box<str>),
}

/// What has come of a file.
enum Received {
    Part,
    /// All of it, and whether it is what it was said to be.
    Whole(bool),
    /// All of it, and nothing was kept.
    Refused(Box<str>),
}

/// The folder with what scorers read of an attempt.
pub(super) fn scored_folder(run_dir: &Path, task: &Task, attempt: crate::id::Attempt) -> std::path::PathBuf {
    run_dir.join("attempts").join(format!("{}.scored", log::stem(&task.name, attempt)))
}

/// Puts what scorers read where they can read it: what the attempt made or started from, and nothing else.
pub(super) fn lay_for_scorers(task: &Task, sets: &[Set], store: &Store, folder: &Path) -> Result<Option<Root>, String> {
    let scored = sets.get(1 + task.artifacts.len()..).unwrap_or_default();
    if scored.is_empty() {
        return Ok(None);
    }
    let laid = || -> Result<Root, Box<dyn std::error::Error>> {
        std::fs::create_dir_all(folder)?;
        let files = Files::open(Arc::new(Root::open(folder)?), None, false);
        for set in scored {
            let all: Vec<usize> = (0..set.entries.len()).collect();
            outputs::restore(&files, store, &set.entries, &all)?;
        }
        Ok(Root::open(folder)?)
    };
    laid().map(Some).map_err(|error| format!("what its scorers read cannot be laid out: {error}"))
}

/// What came back must be all that was asked for and nothing else: the other side is a host where others may run too.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(task: &Task, sets: &[Set]) -> Result<(), String> {
    let Some(Collect { outputs, files }) = staged(task).collect else {
        return if sets.is_empty() { Ok(()) } else { Err("its host sent what was not asked for".to_owned()) };
    };
    if sets.len() != 1 + files.len() {
        return Err("its host did not say what it made".to_owned());
    }
    let lists = std::iter::once(outputs).chain(files.into_iter().map(|pattern| vec![pattern]));
    for (patterns, set) in lists.zip(sets) {
        let scan = Scan::new(&patterns).map_err(|error| error.to_string())?;
        let is_plain = |path: &str| Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        if let Some(entry) = set.entries.iter().find(|entry| !is_plain(&entry.path) || !scan.covers(&entry.path)) {
            return Err(format!("its host says that it made `{}`, which it was not asked for", entry.path));
        }
    }
    Ok(())
}

/// Takes in what came back: outputs and artifacts to their places in the workspace, and into the record.
pub(super) fn take_in(task: &Task, sets: &[Set], places: &Places<'_>, judged: &mut Judged) {
    for set in sets {
        if let Some(error) = &set.error {
            judged.fault(FaultKind::Unreadable, format!("what it made cannot be read: {error}"));
        }
    }
    if let Some(made) = sets.first().filter(|_| !task.outputs.is_empty()) {
        for &index in &made.unmatched {
            judged.fault(FaultKind::MissingOutput, &*task.outputs[index]);
        }
        put_back(&made.entries, places, judged);
        judged.outputs.clone_from(&made.entries);
    }
    for (artifact, set) in task.artifacts.iter().zip(sets.get(1..).unwrap_or_default()) {
        if set.entries.is_empty() && set.error.is_none() && !set.refused && artifact.required {
            judged.fault(FaultKind::MissingArtifact, &*artifact.path);
        }
        put_back(&set.entries, places, judged);
        for entry in &set.entries {
            match places.store.secure(&entry.digest, entry.size_bytes) {
                Ok(true) => judged.artifacts.push(ArtifactRef {
                    kind: artifact.kind.clone(),
                    path: entry.path.clone(),
                    checksum: Some(entry.digest),
                    mime_type: artifact.mime_type.clone(),
                    size_bytes: Some(entry.size_bytes),
                }),
                Ok(false) => judged.error = Some(format!("the artifact `{}` is not whole in the store", entry.path)),
                Err(error) => judged.error = Some(format!("the artifact `{}` cannot be kept: {error}", entry.path)),
            }
        }
    }
}

fn put_back(entries: &[OutputRef], places: &Places<'_>, judged: &mut Judged) {
    let files = &places.ground.files;
    let changed = outputs::changed(files, entries);
    if let Err(error) = outputs::restore(files, places.store, entries, &changed) {
        judged.fault(FaultKind::Unreadable, error.to_string());
    }
}

/// What is noted of a result for the next time: it was made from what was sent, so nothing can have moved meanwhile.
pub(super) fn kept(task: &Task, looked: &super::reuse::Looked) -> Kept {
    Kept { why_not: None, parts: Some(looked.parts(task)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    fn set(paths: &[&str]) -> Set {
        let entry = |path: &&str| OutputRef {
            path: (*path).into(),
            digest: Digest::of(path.as_bytes()),
            size_bytes: 1,
            mode: None,
            kind: EntryKind::File,
        };
        Set { entries: paths.iter().map(entry).collect(), ..Set::default() }
    }

    #[test]
    fn another_host_may_only_name_what_it_was_asked_for() {
        let mut task = samples::fleet(&["t"]).tasks.values().next().unwrap().clone();
        assert_eq!(check(&task, &[]), Ok(()));
        assert!(check(&task, &[set(&[])]).is_err(), "nothing was asked for");
        task.outputs = ["out/**".into(), "!out/no".into(), "one".into()].into();
        assert_eq!(check(&task, &[set(&["out/a", "out/b/c", "one"])]), Ok(()));
        for path in ["other", "out", "out/no", "../out/a", "out/../other", "/out/a", "oneself", ""] {
            assert!(check(&task, &[set(&[path])]).is_err(), "{path}");
        }
        assert!(check(&task, &[]).is_err(), "its list is missing");
        assert!(check(&task, &[set(&[]), set(&[])]).is_err(), "a list too many");
    }
}
