//! A result as the protocol's servers know it: `ActionResult` of Bazel's remote execution API (v2), of which we write
//! and read the fields below. What it has no word for is JSON in `execution_metadata.auxiliary_metadata`, the place the
//! API keeps for the kind of worker used; so one request brings all of it.
//!
//! What is read comes from a stranger: sizes are bounded, paths stay in the workspace, and an entry that is not whole,
//! not a pass or not of the fingerprint asked for is no entry.

use serde::{Deserialize, Serialize};

use super::protobuf::{Fields, Malformed, Message, Value};
use crate::digest::Digest;
use crate::protocol::receipt::{ArtifactRef, EntryKind, Mode, OutputRef, Score, TaskResult};

/// Most bytes of an action result; one that would be larger is not uploaded.
pub const ACTION_BYTES_MAX: usize = 4 << 20;

/// Most bytes of one blob.
pub const BLOB_BYTES_MAX: u64 = 16 << 30;

/// Most bytes of a path, and of what a link leads to.
pub const PATH_BYTES_MAX: usize = 4096;

/// The name of our JSON among auxiliary metadata.
const EXTRA_TYPE: &str = "fleet/fleet.v1.Result";

/// Version of that JSON; another one is no entry.
const EXTRA_VERSION: u32 = 1;

/// A pass that others can stand on.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteEntry {
    /// Sorted by path, each path once. The text of a link is a blob like a file's bytes.
    pub outputs: Vec<OutputRef>,
    /// Those with a checksum are blobs too.
    pub artifacts: Vec<ArtifactRef>,
    pub extra: Extra,
}

/// What receipts need and the protocol has no word for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extra {
    pub task: Box<str>,
    /// The receipt it stands on: run, journal record, attempt.
    pub run_id: Box<str>,
    pub journal_seq: u64,
    pub attempt: u32,
    pub exit_code: Option<i32>,
    pub score: Option<Score>,
    pub fleet_version: Box<str>,
}

/// [`Extra`] and the rest, as it is written.
#[derive(Serialize, Deserialize)]
struct ExtraJson {
    v: u32,
    /// What it is the result of. The key says so too, but a server may answer with another key's entry.
    fingerprint: Digest,
    result: TaskResult,
    task: Box<str>,
    run_id: Box<str>,
    seq: u64,
    attempt: u32,
    fleet_version: Box<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    score: Option<Score>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    artifacts: Vec<ArtifactRef>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    folders: Vec<Folder>,
}

/// An empty folder.
#[derive(Serialize, Deserialize)]
struct Folder {
    path: Box<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
}

/// Why bytes are no entry, as the end of a sentence about them.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadAction {
    #[error("is no action result: {0}")]
    Malformed(#[from] Malformed),
    #[error("was not written by fleet")]
    Foreign,
    #[error("was written by another version of fleet, or is damaged: {0}")]
    Extra(String),
    #[error("is the result of something else")]
    OtherFingerprint,
    #[error("is not a pass")]
    NotAPass,
    #[error("has a digest that is none")]
    Digest,
    #[error("has a file of an impossible size")]
    Size,
    #[error("has a path that is not one of a workspace")]
    Path,
    #[error("has a path twice, or a file where another has a folder")]
    PathTwice,
    #[error("has folders as trees, which fleet does not write")]
    Tree,
}

/// The numbers of the fields, from `remote_execution.proto`.
mod number {
    pub(super) const OUTPUT_FILES: u32 = 2;
    pub(super) const OUTPUT_DIRECTORIES: u32 = 3;
    pub(super) const EXIT_CODE: u32 = 4;
    pub(super) const EXECUTION_METADATA: u32 = 9;
    pub(super) const OUTPUT_SYMLINKS: u32 = 12;

    /// Of `OutputFile` and `OutputSymlink`.
    pub(super) const PATH: u32 = 1;

    pub(super) const FILE_DIGEST: u32 = 2;
    pub(super) const FILE_IS_EXECUTABLE: u32 = 4;
    pub(super) const FILE_PROPERTIES: u32 = 7;

    pub(super) const LINK_TARGET: u32 = 2;

    pub(super) const DIGEST_HASH: u32 = 1;
    pub(super) const DIGEST_SIZE: u32 = 2;

    /// Of `NodeProperties`, a `UInt32Value`.
    pub(super) const PROPERTIES_MODE: u32 = 3;
    pub(super) const WRAPPED: u32 = 1;

    /// Of `ExecutedActionMetadata`, any number of `Any`.
    pub(super) const AUXILIARY: u32 = 11;
    pub(super) const ANY_TYPE: u32 = 1;
    pub(super) const ANY_VALUE: u32 = 2;
}

/// The entry as bytes. `target` gives the text of a link.
pub(super) fn encode(
    entry: &RemoteEntry,
    fingerprint: &Digest,
    target: impl Fn(&Digest) -> Option<String>,
) -> Option<Vec<u8>> {
    let mut action = Message::default();
    for output in entry.outputs.iter().filter(|output| output.kind == EntryKind::File) {
        action.message(number::OUTPUT_FILES, &file(output));
    }
    let extra = &entry.extra;
    // As int32 on the wire: a negative one is sign-extended.
    action.number(number::EXIT_CODE, i64::from(extra.exit_code.unwrap_or_default()).cast_unsigned());
    let folders = entry.outputs.iter().filter(|output| output.kind == EntryKind::Directory);
    let json = ExtraJson {
        v: EXTRA_VERSION,
        fingerprint: *fingerprint,
        result: TaskResult::Pass,
        task: extra.task.clone(),
        run_id: extra.run_id.clone(),
        seq: extra.journal_seq,
        attempt: extra.attempt,
        fleet_version: extra.fleet_version.clone(),
        exit_code: extra.exit_code,
        score: extra.score.clone(),
        artifacts: entry.artifacts.clone(),
        folders: folders.map(|folder| Folder { path: folder.path.clone(), mode: folder.mode }).collect(),
    };
    let (mut any, mut metadata) = (Message::default(), Message::default());
    any.text(number::ANY_TYPE, EXTRA_TYPE);
    any.bytes(number::ANY_VALUE, &serde_json::to_vec(&json).ok()?);
    metadata.message(number::AUXILIARY, &any);
    action.message(number::EXECUTION_METADATA, &metadata);
    for output in entry.outputs.iter().filter(|output| output.kind == EntryKind::Symlink) {
        let mut link = Message::default();
        link.text(number::PATH, &output.path);
        link.text(number::LINK_TARGET, &target(&output.digest)?);
        action.message(number::OUTPUT_SYMLINKS, &link);
    }
    Some(action.0)
}

fn file(output: &OutputRef) -> Message {
    let (mut digest, mut file) = (Message::default(), Message::default());
    digest.text(number::DIGEST_HASH, &output.digest.hex());
    digest.number(number::DIGEST_SIZE, output.size_bytes);
    file.text(number::PATH, &output.path);
    file.message(number::FILE_DIGEST, &digest);
    if let Some(mode) = output.mode {
        file.number(number::FILE_IS_EXECUTABLE, mode.is_executable().into());
        let (mut properties, mut value) = (Message::default(), Message::default());
        value.number(number::WRAPPED, mode.bits().into());
        properties.message(number::PROPERTIES_MODE, &value);
        file.message(number::FILE_PROPERTIES, &properties);
    }
    file
}

/// The entry that bytes hold, if they hold one of this fingerprint.
pub(super) fn decode(bytes: &[u8], fingerprint: &Digest) -> Result<RemoteEntry, BadAction> {
    let mut outputs = Vec::new();
    let mut extra = None;
    for field in Fields(bytes) {
        match field? {
            (number::OUTPUT_FILES, value) => outputs.push(read_file(value)?),
            (number::OUTPUT_SYMLINKS, value) => outputs.push(read_link(value)?),
            (number::OUTPUT_DIRECTORIES, _) => return Err(BadAction::Tree),
            (number::EXECUTION_METADATA, value) => extra = read_extra(value)?.or(extra),
            _ => {}
        }
    }
    let extra: ExtraJson = serde_json::from_slice(extra.ok_or(BadAction::Foreign)?)
        .map_err(|error| BadAction::Extra(error.to_string()))?;
    if extra.v != EXTRA_VERSION {
        return Err(BadAction::Extra(format!("version {}", extra.v)));
    }
    if extra.fingerprint != *fingerprint {
        return Err(BadAction::OtherFingerprint);
    }
    if extra.result != TaskResult::Pass {
        return Err(BadAction::NotAPass);
    }
    for Folder { path, mode } in extra.folders {
        let (digest, kind) = (Digest::of(b""), EntryKind::Directory);
        outputs.push(OutputRef { path: workspace_path(&path)?.into(), digest, size_bytes: 0, mode, kind });
    }
    for artifact in &extra.artifacts {
        workspace_path(&artifact.path)?;
        // Without its size, the bytes could not be bounded.
        if artifact.checksum.is_some() {
            blob_size(artifact.size_bytes.ok_or(BadAction::Size)?)?;
        }
    }
    outputs.sort_by(|a, b| a.path.cmp(&b.path));
    each_in_its_own_place(&outputs)?;
    let ExtraJson { task, run_id, seq, attempt, fleet_version, exit_code, score, artifacts, .. } = extra;
    let extra = Extra { task, run_id, journal_seq: seq, attempt, exit_code, score, fleet_version };
    Ok(RemoteEntry { outputs, artifacts, extra })
}

fn read_file(value: Value<'_>) -> Result<OutputRef, BadAction> {
    let (mut path, mut digest, mut size_bytes, mut mode) = ("", None, 0, None);
    let mut executable = false;
    for field in Fields(value.bytes()?) {
        match field? {
            (number::PATH, value) => path = value.text()?,
            (number::FILE_DIGEST, value) => (digest, size_bytes) = read_digest(value)?,
            (number::FILE_IS_EXECUTABLE, value) => executable = value.number()? != 0,
            (number::FILE_PROPERTIES, value) => mode = read_mode(value)?,
            _ => {}
        }
    }
    let path = workspace_path(path)?.into();
    let digest = digest.ok_or(BadAction::Digest)?;
    // A file that someone may execute is never put back as one that nobody may.
    let mode = mode.or(executable.then(|| Mode::of(0o755)));
    Ok(OutputRef { path, digest, size_bytes: blob_size(size_bytes)?, mode, kind: EntryKind::File })
}

fn read_digest(value: Value<'_>) -> Result<(Option<Digest>, u64), BadAction> {
    let (mut digest, mut size) = (None, 0);
    for field in Fields(value.bytes()?) {
        match field? {
            (number::DIGEST_HASH, value) => {
                digest = Some(format!("sha256:{}", value.text()?).parse().map_err(|_| BadAction::Digest)?);
            }
            (number::DIGEST_SIZE, value) => size = value.number()?,
            _ => {}
        }
    }
    Ok((digest, size))
}

fn read_mode(value: Value<'_>) -> Result<Option<Mode>, BadAction> {
    let mut mode = None;
    for field in Fields(value.bytes()?) {
        let (number::PROPERTIES_MODE, value) = field? else { continue };
        // A wrapper without a value is zero.
        let mut bits = 0;
        for field in Fields(value.bytes()?) {
            if let (number::WRAPPED, value) = field? {
                bits = value.number()?;
            }
        }
        // Another writer may put the file type above the permission bits; it is dropped.
        mode = Some(Mode::of(u32::try_from(bits & 0o7777).unwrap_or_default()));
    }
    Ok(mode)
}

fn read_link(value: Value<'_>) -> Result<OutputRef, BadAction> {
    let (mut path, mut target) = ("", "");
    for field in Fields(value.bytes()?) {
        match field? {
            (number::PATH, value) => path = value.text()?,
            (number::LINK_TARGET, value) => target = value.text()?,
            _ => {}
        }
    }
    if target.is_empty() || target.len() > PATH_BYTES_MAX || target.contains('\0') {
        return Err(BadAction::Path);
    }
    let (digest, size_bytes) = (Digest::of(target.as_bytes()), target.len() as u64);
    Ok(OutputRef { path: workspace_path(path)?.into(), digest, size_bytes, mode: None, kind: EntryKind::Symlink })
}

/// Our JSON, where these metadata have it.
fn read_extra(value: Value<'_>) -> Result<Option<&[u8]>, BadAction> {
    let mut extra = None;
    for field in Fields(value.bytes()?) {
        let (number::AUXILIARY, value) = field? else { continue };
        let (mut kind, mut value_bytes) = ("", &[][..]);
        for field in Fields(value.bytes()?) {
            match field? {
                (number::ANY_TYPE, value) => kind = value.text()?,
                (number::ANY_VALUE, value) => value_bytes = value.bytes()?,
                _ => {}
            }
        }
        if kind == EXTRA_TYPE {
            extra = Some(value_bytes);
        }
    }
    Ok(extra)
}

fn blob_size(size: u64) -> Result<u64, BadAction> {
    if size <= BLOB_BYTES_MAX { Ok(size) } else { Err(BadAction::Size) }
}

/// The path, if it is the one spelling of a place below the workspace.
fn workspace_path(path: &str) -> Result<&str, BadAction> {
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    let fine = path.len() <= PATH_BYTES_MAX && !path.contains('\0') && path.split('/').all(plain);
    if fine { Ok(path) } else { Err(BadAction::Path) }
}

/// No path is said twice, and none lies below one that is not a folder (an empty folder has nothing below it either).
fn each_in_its_own_place(outputs: &[OutputRef]) -> Result<(), BadAction> {
    // With the slash before every other byte, what lies below a path comes right behind it.
    let slash_first = |path: &str| path.bytes().map(|byte| if byte == b'/' { 0 } else { byte }).collect::<Vec<u8>>();
    let mut paths: Vec<Vec<u8>> = outputs.iter().map(|output| slash_first(&output.path)).collect();
    paths.sort_unstable();
    let clash =
        |pair: &[Vec<u8>]| pair[1].strip_prefix(&*pair[0]).is_some_and(|rest| rest.first().is_none_or(|b| *b == 0));
    if paths.windows(2).any(clash) { Err(BadAction::PathTwice) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
