//! A workspace whose tasks run on the host of a column, and the runs in it. Its name has a space and is not ASCII.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::behaviour::Kind;
use super::column::Column;
use super::seen::Seen;

/// The end of a run that would hang. None that is right comes to it.
const PATIENCE: Duration = Duration::from_mins(5);

#[derive(Debug)]
pub(crate) struct Stage {
    // Only kept so that it is there until the end.
    _folder: TempDir,
    pub(crate) kind: Kind,
    workspace: PathBuf,
    /// A word by which processes of this workspace are known, `@mark@` in its tasks.
    pub(crate) mark: String,
    env: Vec<(String, std::ffi::OsString)>,
}

/// A run that goes on. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Living<'a> {
    stage: &'a Stage,
    child: Child,
}

impl Stage {
    /// With a fleet file of these tasks, and the workers of the column.
    pub(crate) fn new(column: &Column, tasks: &str) -> Self {
        Self::with_workers(column, &column.workers(), tasks)
    }

    pub(crate) fn with_workers(column: &Column, workers: &str, tasks: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let folder = TempDir::new().expect("there is room for a folder");
        let workspace = folder.path().canonicalize().expect("it is there").join("wörk späce");
        fs::create_dir(&workspace).expect("the folder is ours");
        let home = folder.path().join("home");
        fs::create_dir(&home).expect("the folder is ours");
        let mut env: Vec<(String, std::ffi::OsString)> = vec![
            ("PATH".into(), std::env::var_os("PATH").expect("tests have a PATH")),
            ("HOME".into(), home.into()),
            ("LC_ALL".into(), "C.UTF-8".into()),
            ("NOT_LET_THROUGH".into(), "noise".into()),
        ];
        for (name, value) in column.variables() {
            env.retain(|(other, _)| other != name);
            env.push((name.into(), value));
        }
        let mark = format!("{}{}.", column.mark, COUNT.fetch_add(1, Ordering::Relaxed));
        let tens = (0..column.kind.many() / 10).map(|ten| format!("'{ten}'")).collect::<Vec<_>>().join(", ");
        let shown = workspace.to_str().expect("its name is UTF-8");
        let tasks =
            secured(column, tasks.replace("@mark@", &mark).replace("@workspace@", shown).replace("@tens@", &tens));
        let stage = Self { _folder: folder, kind: column.kind, workspace, mark, env };
        stage.file("fleet.toml", format!("version = 1\nname = \"alike\"\nseed = 1\n{workers}{tasks}"))
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.workspace.join(name)
    }

    pub(crate) fn file(self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("it has a folder")).expect("the folder is ours");
        fs::write(path, bytes).expect("the folder is ours");
        self
    }

    pub(crate) fn mode(self, name: &str, mode: u32) -> Self {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).expect("the file is ours");
        self
    }

    pub(crate) fn link(self, name: &str, to: &str) -> Self {
        std::os::unix::fs::symlink(to, self.path(name)).expect("the folder is ours");
        self
    }

    pub(crate) fn var(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fleet"));
        command.args(words).env_clear().envs(self.env.iter().map(|(name, value)| (name, value)));
        let file = |name: &str| fs::File::create(self.path(name)).expect("the folder is ours");
        command.current_dir(&self.workspace).stdin(Stdio::null());
        command.stdout(file(".stdout")).stderr(file(".stderr"));
        command
    }

    /// Types a command and waits for its end.
    pub(crate) fn run(&self, words: &[&str]) -> Seen {
        self.start(words).ends()
    }

    pub(crate) fn start(&self, words: &[&str]) -> Living<'_> {
        Living { stage: self, child: self.command(words).spawn().expect("the program was built") }
    }

    pub(crate) fn printed(&self, stream: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(stream)).unwrap_or_default()).into_owned()
    }

    /// The folder of the latest run, once there is one.
    pub(crate) fn run_dir(&self) -> Option<PathBuf> {
        fs::read_dir(self.path(".fleet/runs")).ok()?.filter_map(|run| Some(run.ok()?.path())).max()
    }
}

/// With what the column has to say to the policy.
fn secured(column: &Column, tasks: String) -> String {
    const HEAD: &str = "[policies.security]\n";
    let Some(security) = column.security() else { return tasks };
    if tasks.contains(HEAD) {
        return tasks.replace(HEAD, &format!("{HEAD}{security}"));
    }
    format!("{tasks}\n{HEAD}{security}")
}

impl Living<'_> {
    /// Waits until the first attempt of a task has printed this, which is known before it has ended.
    pub(crate) fn hears(&mut self, task: &str, text: &str) -> Result<(), String> {
        let begin = Instant::now();
        loop {
            let log = self.stage.run_dir().map(|dir| dir.join(format!("logs/{task}.1.log")));
            let log = log.and_then(|log| fs::read(log).ok()).unwrap_or_default();
            if String::from_utf8_lossy(&log).contains(text) {
                return Ok(());
            }
            let over = self.child.try_wait().expect("it is our child").is_some();
            if over || begin.elapsed() > PATIENCE {
                let why = if over { "the run was over" } else { "it took too long" };
                return Err(format!("`{task}` did not print `{text}`, {why}:\n{}", self.stage.printed(".stdout")));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is our child");
    }

    /// Waits for its end, and reads what it left.
    pub(crate) fn ends(mut self) -> Seen {
        let begin = Instant::now();
        let mut hung = false;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                break status;
            }
            if begin.elapsed() > PATIENCE && !hung {
                hung = true;
                self.signal(Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let code = status.code().filter(|_| !hung);
        let (stdout, stderr) = (self.stage.printed(".stdout"), self.stage.printed(".stderr"));
        Seen::new(self.stage.kind, &self.stage.workspace, self.stage.run_dir(), code, stdout, stderr)
    }
}

impl Drop for Living<'_> {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
