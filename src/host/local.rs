//! The local host: [`start`] makes a supervisor that is our own child, [`sweep()`] ends what a dead supervisor left,
//! [`sweep_state`] what a dead run left. Nothing here blocks except the two sweeps.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub use crate::supervisor::sweep::Swept;

use super::link::{Link, Pipes};
use crate::supervisor::frame::{self, Hello, Place, Removed};
use crate::supervisor::{secrets, stage, sweep};

/// How to start a supervisor.
#[derive(Clone, Debug)]
pub struct LinkOptions {
    /// The `fleet` binary; it is started as `fleet supervise`.
    pub exe: PathBuf,
    /// Absolute path of the exit log (`exits/<worker>.log`); its folder exists.
    pub exit_log: PathBuf,
    /// The run's id.
    pub run: String,
    /// Absolute path of the state directory.
    pub state_dir: PathBuf,
    /// For attempts that work on a copy.
    pub place: Option<Place>,
}

/// Starts a supervisor and greets it, without waiting for its answer. Makes this process a subreaper, so that what a killed
/// supervisor leaves becomes our child.
///
/// # Errors
/// When the process cannot be started.
pub fn start(options: &LinkOptions) -> io::Result<Link> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let child = Command::new(&options.exe)
        .arg("supervise")
        .env(sweep::STATE_VARIABLE, &options.state_dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let text = |path: &Path| path.to_str().map(str::to_owned).ok_or_else(|| io::Error::other("a path is not UTF-8"));
    let hello = Hello {
        version: frame::VERSION,
        run: options.run.clone(),
        state_dir: text(&options.state_dir)?,
        exit_log: text(&options.exit_log)?,
        place: options.place.clone(),
    };
    Link::new(Pipes::of(child)?, &hello)
}

/// Ends every descendant of this process that lives in another session (what this process runs for itself is in its
/// own), except the trees under `spare` (other live supervisors). For after [`super::link::Alive::Closed`]; returns within two
/// seconds.
#[must_use]
pub fn sweep(spare: &[u32]) -> Swept {
    sweep::descendants(spare)
}

/// Ends a process that this one has started, and what that has started.
pub(super) fn end_tree(pid: u32) {
    sweep::tree(pid);
}

/// Removes the secrets that a dead supervisor has left as files; `state_dir` is that of its run.
pub fn remove_secrets(state_dir: &Path) {
    secrets::remove_left(&[state_dir]);
}

/// Ends what an earlier run in this state directory left when engine and supervisor died at once: processes that carry
/// its path in `FLEET_STATE_DIR`, and attempts that `exit_logs` say were started and not ended (by pid and start
/// time). Never ends this process or one it descends from. For the holder of the directory's lock only.
#[must_use]
pub fn sweep_state(state_dir: &Path, exit_logs: &[PathBuf]) -> Swept {
    sweep::state(state_dir, exit_logs)
}

/// Removes what copies of a local worker's attempts have left in its folder, and what is kept for them. For the holder of
/// the directory's lock only.
///
/// # Errors
/// When something of it stays.
pub fn clean(folder: &Path) -> io::Result<Removed> {
    stage::clean(folder)
}
