//! What this machine can do, by trying it, each once and only when somebody asks.

use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::again::Again;
use super::landlock::{self, Level};
use super::launch::{Launch, rest};
use super::orders::{How, Orders, Report, Sockets};
use super::{bubblewrap, exec};

/// The answers so far.
#[derive(Debug, Default)]
pub(super) struct Found {
    bubblewrap: OnceLock<Result<String, String>>,
    landlock: OnceLock<Result<Level, String>>,
    seccomp: OnceLock<Result<(), String>>,
}

impl Found {
    /// The path of a `bwrap` that works.
    pub(super) fn bubblewrap(&self, again: &Again) -> Result<&str, &str> {
        self.bubblewrap.get_or_init(|| try_bubblewrap(again)).as_deref().map_err(String::as_str)
    }

    /// The most that Landlock can hold.
    pub(super) fn landlock(&self, again: &Again) -> Result<Level, &str> {
        self.landlock.get_or_init(|| try_landlock(again)).as_ref().map(|level| *level).map_err(String::as_str)
    }

    pub(super) fn seccomp(&self, again: &Again) -> Result<(), &str> {
        let tried = self.seccomp.get_or_init(|| try_it(again, &["confine", "try", "seccomp"]));
        tried.as_ref().copied().map_err(String::as_str)
    }
}

fn try_it(again: &Again, arguments: &[&str]) -> Result<(), String> {
    let words = again.words(arguments);
    let tried = Command::new(&words[0]).args(&words[1..]).env_clear().stdin(Stdio::null()).output();
    let output = tried.map_err(|error| format!("cannot try it: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

fn try_landlock(again: &Again) -> Result<Level, String> {
    let attempt = |level: Level| try_it(again, &["confine", "try", "landlock", &level.0.to_string()]).map(|()| level);
    attempt(landlock::ALL).or_else(|_| attempt(landlock::WRITES))
}

fn try_bubblewrap(again: &Again) -> Result<String, String> {
    let program = which::which("bwrap").map_err(|_| "bwrap is not on PATH".to_owned())?.display().to_string();
    let null = std::fs::File::open("/dev/null").map_err(|error| format!("cannot open /dev/null: {error}"))?;
    let null = std::os::fd::AsRawFd::as_raw_fd(&null);
    let how = How::Bubblewrap {
        program: program.clone(),
        command: inside(again),
        rules: None,
        sockets: Sockets::NetworkAndUnix,
    };
    let orders = Orders { argv: again.words(&["confine", "nothing"]), cwd: "/".to_owned(), how, ..Orders::default() };
    let options = bubblewrap::trial(again);
    let launch = Launch {
        orders: &orders,
        options: Some(&options),
        again,
        markers: &[],
        fds: [null; 3],
        reset: &super::super::sys::ignored_signals(),
    };
    let launched = launch.start().map_err(|failed| failed.error)?;
    exec::wait_for(launched.pid);
    match rest(&launched.reports)[..] {
        [Report::Ended { code: Some(0), .. }, ..] => Ok(program),
        _ => Err("a trial in it did not end as it should".to_owned()),
    }
}

/// What `bwrap` starts as the first process.
pub(super) fn inside(again: &Again) -> Vec<String> {
    let mut words = again.words(&["confine", "inside"]);
    if again.is_itself() {
        words[0] = format!("/proc/self/fd/{}", super::orders::SELF_FD);
    }
    words
}
