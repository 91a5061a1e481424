//! What engine and supervisor say to each other: a 12-byte header and a body, both ways, over two pipes.
//! The header is `kind u8 · stream u8 · zero u16 · attempt u32 · length u32`, little endian. Control bodies are JSON,
//! output bodies are raw bytes. `Hello` comes first both ways and carries the version.
//! Unknown kinds are skipped within a version; a body over [`BODY_BYTES_MAX`] ends the connection.
//! Knows nothing of pipes or processes: bytes in, values out.

mod staged;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use staged::{Collect, Collected, DIGESTS_MAX, Facts, Place, Removed, Stage, Staged, Wanted, chunks};

/// Version of everything in this file; both sides must agree on it.
pub const VERSION: u32 = 2;
/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 12;
/// The longest body either side may send.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Output an attempt may send before the engine gives more with `Credit`.
pub const WINDOW_BYTES: u64 = 256 << 10;

/// The kind of a frame, as its first byte says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Hello = 1,
    Env = 2,
    Spawn = 3,
    Credit = 4,
    Stop = 5,
    Kill = 6,
    Suspend = 7,
    Resume = 8,
    Bye = 9,
    /// The engine lives. Answered with `Beating`.
    Beat = 10,
    Stage = 11,
    Content = 12,
    Fetch = 13,
    Release = 14,
    Started = 16,
    Output = 17,
    Exited = 18,
    NotStarted = 19,
    Beating = 20,
    Lacks = 21,
    Collected = 22,
    Gives = 23,
    /// What went of what was kept here, told to one who wants nothing kept.
    Removed = 24,
}

impl Kind {
    /// Every kind there is; the tests walk it.
    pub const ALL: [Self; 23] = [
        Self::Hello,
        Self::Env,
        Self::Spawn,
        Self::Credit,
        Self::Stop,
        Self::Kill,
        Self::Suspend,
        Self::Resume,
        Self::Bye,
        Self::Beat,
        Self::Stage,
        Self::Content,
        Self::Fetch,
        Self::Release,
        Self::Started,
        Self::Output,
        Self::Exited,
        Self::NotStarted,
        Self::Beating,
        Self::Lacks,
        Self::Collected,
        Self::Gives,
        Self::Removed,
    ];

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Which pipe of a task a piece of output came from. A merged stream is `Stdout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// A decoded header. `kind` is `None` for a kind this version does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub kind: Option<Kind>,
    pub stream: Stream,
    pub attempt: u32,
    pub length: usize,
}

/// The engine's greeting: what the supervisor must know once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub version: u32,
    /// The run's id; part of the marker every task process carries in `FLEET_ATTEMPT_ID`.
    pub run: String,
    /// Absolute path of the state directory; every task process carries it in `FLEET_STATE_DIR`.
    pub state_dir: String,
    /// Absolute path of the exit log to append to.
    pub exit_log: String,
    /// For a host whose files are not the run's: state and exit log are then below the place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// The supervisor's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    pub version: u32,
    pub pid: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<Facts>,
    /// Why it cannot serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A base environment, sent once and named by its id from then on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Env {
    pub id: u32,
    pub vars: Vec<(String, String)>,
    /// Names that are taken from the host's own environment, a `*` at the end for any ending; `vars` come over them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host: Vec<String>,
}

/// How the task's stdout and stderr reach us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Streams {
    /// One pipe for both: exact interleaving at half the cost.
    #[default]
    Merged,
    /// A pipe each.
    Split,
}

/// What to start, and how long it may take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spawn {
    /// `argv[0]` is an absolute path; for a staged attempt it may be a name that is looked for on its PATH, or a path
    /// below its folder.
    pub argv: Vec<String>,
    /// Absolute path.
    pub cwd: String,
    /// Id of the base environment; an id that was never sent means an empty one.
    pub env: u32,
    /// Set on top of the base environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<(String, String)>,
    /// Absolute path of a file to read as stdin; nothing means `/dev/null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    #[serde(default)]
    pub streams: Streams,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Time without a byte of output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout_ms: Option<u64>,
    /// Between TERM and KILL when a timeout ends it.
    pub grace_ms: u64,
    /// `task.attempt`, for the exit log.
    pub label: String,
    /// It works in its copy; nothing means in the workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<Staged>,
    /// What holds it besides the session; nothing means nothing more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confine: Option<Box<Confine>>,
    /// What it may take of the machine, held by a control group of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Secrets as private files, which end with the attempt: the variable that holds the path, and the value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_files: Vec<(String, String)>,
    /// What it leaves behind is written down without its name, which might be the value of a secret.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unnamed: bool,
}

/// What a task may see, write and reach; or it is not started at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confine {
    /// Absolute paths that may be read, with all below them, beside the system's own folders; `None` is everything.
    pub read: Option<Vec<String>>,
    /// Absolute paths that may be written, with all below them.
    pub write: Vec<String>,
    /// Whether it may have sockets and a network.
    pub network: bool,
    /// A folder of the attempt's own that is made before and removed after it, with `home` and `tmp` in it, which may be
    /// written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private: Option<String>,
    /// The mechanisms that will do, the best first. Without any, Landlock alone holds what may be written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<Layer>,
}

/// A mechanism that can hold a task on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    Bubblewrap,
    Landlock,
}

/// Bounds that a control group holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Thousandths of a core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_milli: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
}

/// More output may be sent: bytes on top of what was granted before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credit {
    pub bytes: u64,
}

/// The body of `Stop` (one attempt: TERM, the grace, KILL) and of `Bye` (all of them, then leave).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grace {
    pub grace_ms: u64,
}

/// The process runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    pub pid: u32,
    /// Time since boot at which it was started.
    pub boot_ms: u64,
    /// What holds it, by the names that a receipt has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mechanisms: Vec<String>,
}

/// Why we ended an attempt, when we did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    Timeout,
    IdleTimeout,
    Stop,
    Kill,
    Shutdown,
    /// Its folder takes so much, which is more than it may; also of one that had ended by itself when that was seen.
    Size {
        bytes: u64,
    },
}

/// How an attempt's main process ended. Sent after its last `Output`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exited {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    /// The first reason we had to end it. A task that exits by itself before our signal arrives still carries it.
    pub ended_by: Option<EndedBy>,
    /// From the spawn to the end of the main process, suspended time not counted.
    pub wall_ms: u64,
    /// User and system time of the main process and of the children it waited for.
    pub cpu_ms: u64,
    pub max_rss_bytes: u64,
    pub output_bytes: u64,
    /// Processes it left behind, which we ended: `pid name`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaked: Vec<String>,
    /// The kernel ended a process of it because it took more memory than its limit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub oom_killed: bool,
    /// The exit log could not be written, so this exit is recorded nowhere but here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_log_error: Option<String>,
}

/// Why there is no process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotStarted {
    pub cause: NotStartedCause,
    /// A whole sentence for people, with the path it is about.
    pub error: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotStartedCause {
    /// The program does not exist.
    NotFound,
    /// It exists and may not be executed.
    NotExecutable,
    /// It is neither a binary for this machine nor a script with `#!`.
    BadFormat,
    /// Arguments and environment are longer than the kernel takes.
    TooLong,
    /// The working directory is missing or closed to us.
    Workdir,
    /// The stdin file cannot be opened.
    Stdin,
    /// This host lacks what it takes to hold the task as it was asked to.
    Confine,
    /// The request itself makes no sense (no argv, a NUL byte, an attempt number in use, …).
    Request,
    /// The machine would not: no processes, files or memory left.
    Host,
}

/// A violation of the format. The connection is of no use after one.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("frame of {0} bytes, at most {BODY_BYTES_MAX} are allowed")]
    TooLong(usize),
    #[error("unreadable body of a {kind:?} frame: {error}")]
    Body { kind: Kind, error: serde_json::Error },
    #[error("the other side speaks version {0} of the supervisor protocol, this one {VERSION}")]
    Version(u32),
    #[error("{0}")]
    Piece(String),
    #[error("the first frame is not a greeting")]
    NoHello,
}

/// The header's bytes.
#[must_use]
pub fn header(kind: Kind, stream: Stream, attempt: u32, length: usize) -> [u8; HEADER_BYTES] {
    debug_assert!(length <= BODY_BYTES_MAX, "callers stay under the bound");
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    let mut out = [0; HEADER_BYTES];
    out[0] = kind as u8;
    out[1] = u8::from(stream == Stream::Stderr);
    out[4..8].copy_from_slice(&attempt.to_le_bytes());
    out[8..12].copy_from_slice(&length.to_le_bytes());
    out
}

/// Appends a control frame.
///
/// # Errors
/// A body over [`BODY_BYTES_MAX`] is refused, and nothing is appended.
pub fn put<T: Serialize>(out: &mut Vec<u8>, kind: Kind, attempt: u32, body: &T) -> Result<(), FrameError> {
    let start = out.len();
    out.extend_from_slice(&header(kind, Stream::Stdout, attempt, 0));
    if let Err(error) = serde_json::to_writer(&mut *out, body) {
        out.truncate(start);
        return Err(FrameError::Body { kind, error });
    }
    let length = out.len() - start - HEADER_BYTES;
    if length > BODY_BYTES_MAX {
        out.truncate(start);
        return Err(FrameError::TooLong(length));
    }
    let head = header(kind, Stream::Stdout, attempt, length);
    out[start..start + HEADER_BYTES].copy_from_slice(&head);
    Ok(())
}

/// Appends a frame without a body.
pub fn put_bare(out: &mut Vec<u8>, kind: Kind, attempt: u32) {
    out.extend_from_slice(&header(kind, Stream::Stdout, attempt, 0));
}

/// Appends a piece of output, at most [`BODY_BYTES_MAX`] long.
pub fn put_output(out: &mut Vec<u8>, stream: Stream, attempt: u32, bytes: &[u8]) {
    out.extend_from_slice(&header(Kind::Output, stream, attempt, bytes.len()));
    out.extend_from_slice(bytes);
}

/// The header at the front of `bytes`; `None` when it is not all there yet.
///
/// # Errors
/// When the body it announces is longer than [`BODY_BYTES_MAX`].
pub fn peek(bytes: &[u8]) -> Result<Option<Header>, FrameError> {
    let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let length = word(8) as usize;
    if length > BODY_BYTES_MAX {
        return Err(FrameError::TooLong(length));
    }
    let stream = if head[1] & 1 == 1 { Stream::Stderr } else { Stream::Stdout };
    Ok(Some(Header { kind: Kind::from_byte(head[0]), stream, attempt: word(4), length }))
}

/// The value of a control frame's body.
///
/// # Errors
/// When it is not the JSON that `kind` has.
pub fn body<T: DeserializeOwned>(kind: Kind, bytes: &[u8]) -> Result<T, FrameError> {
    serde_json::from_slice(bytes).map_err(|error| FrameError::Body { kind, error })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::wire::Inbox;
    use super::*;

    #[test]
    fn a_header_is_written_as_documented() {
        let bytes = header(Kind::Output, Stream::Stderr, 0x0403_0201, 0x000a_0b0c);
        assert_eq!(bytes, [17, 1, 0, 0, 1, 2, 3, 4, 0x0c, 0x0b, 0x0a, 0]);
        assert!(Kind::ALL.iter().all(|kind| Kind::from_byte(*kind as u8) == Some(*kind)));
    }

    #[test]
    fn a_body_over_the_bound_is_refused_on_both_sides() {
        let mut out = vec![1, 2, 3];
        let spawn = Spawn { argv: vec!["x".repeat(BODY_BYTES_MAX)], ..Spawn::default() };
        assert!(matches!(put(&mut out, Kind::Spawn, 1, &spawn), Err(FrameError::TooLong(_))));
        assert_eq!(out, [1, 2, 3]);
        let mut head = header(Kind::Output, Stream::Stdout, 1, BODY_BYTES_MAX);
        assert_eq!(peek(&head).unwrap().unwrap().length, BODY_BYTES_MAX);
        head[8] += 1;
        assert!(matches!(peek(&head), Err(FrameError::TooLong(_))));
    }

    #[test]
    fn fields_of_a_later_version_are_passed_over() {
        let exited: Exited = body(
            Kind::Exited,
            br#"{"code":3,"signal":null,"ended_by":"idle_timeout","wall_ms":1,
            "cpu_ms":2,"max_rss_bytes":3,"output_bytes":4,"later":[1]}"#,
        )
        .unwrap();
        assert_eq!((exited.code, exited.ended_by, exited.leaked.len()), (Some(3), Some(EndedBy::IdleTimeout), 0));
    }

    fn spawns() -> impl Strategy<Value = Spawn> {
        let texts = || proptest::collection::vec(any::<String>(), 0..4);
        let pairs = proptest::collection::vec((any::<String>(), any::<String>()), 0..4);
        (texts(), any::<String>(), any::<u32>(), pairs, any::<Option<String>>(), any::<bool>(), any::<Option<u64>>())
            .prop_map(|(argv, cwd, env, set, stdin, split, timeout_ms)| Spawn {
                argv,
                cwd,
                env,
                set,
                stdin,
                streams: if split { Streams::Split } else { Streams::Merged },
                timeout_ms,
                idle_timeout_ms: timeout_ms,
                grace_ms: 1,
                label: "t.1".to_owned(),
                ..Spawn::default()
            })
    }

    proptest! {
        #[test]
        fn what_is_put_is_read_back(spawn in spawns(), attempt: u32, bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut out = Vec::new();
            put(&mut out, Kind::Spawn, attempt, &spawn).unwrap();
            put_output(&mut out, Stream::Stderr, attempt, &bytes);
            put_bare(&mut out, Kind::Kill, attempt);
            let mut inbox = Inbox::of(&out);
            let (head, text) = inbox.next().unwrap().unwrap();
            prop_assert_eq!((head.kind, head.attempt), (Some(Kind::Spawn), attempt));
            prop_assert_eq!(body::<Spawn>(Kind::Spawn, text).unwrap(), spawn);
            let (head, text) = inbox.next().unwrap().unwrap();
            prop_assert_eq!((head.kind, head.stream, text), (Some(Kind::Output), Stream::Stderr, &bytes[..]));
            let (head, text) = inbox.next().unwrap().unwrap();
            prop_assert_eq!((head.kind, text.len()), (Some(Kind::Kill), 0));
            prop_assert!(inbox.next().unwrap().is_none());
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut inbox = Inbox::of(&bytes);
            while let Ok(Some((head, text))) = inbox.next_piece() {
                if let Some(kind) = head.kind {
                    let _ = body::<Spawn>(kind, text);
                    let _ = body::<Exited>(kind, text);
                }
                if text.is_empty() && head.kind == Some(Kind::Output) && inbox.unread() == 0 {
                    break;
                }
            }
        }
    }
}
