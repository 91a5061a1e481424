//! What this machine can do, by trying it, each once and only when somebody asks.

use std::io;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::super::group::Group;
use super::again::Again;
use super::bubblewrap::{self, Options};
use super::exec;
use super::landlock::{self, Level};
use super::launch::{Launch, Launched, rest};
use super::orders::{How, Orders, Report, Sockets};

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
    let found = attempt(landlock::ALL).or_else(|_| attempt(landlock::WRITES));
    found.map_err(|why| explain_landlock(super::super::sys::landlock_version(), why))
}

/// Why it was refused, as far as the kernel's own answer tells more than the refusal.
fn explain_landlock(version: io::Result<i64>, why: String) -> String {
    match version.map_err(|error| error.raw_os_error()) {
        Ok(version) if version < i64::from(landlock::WRITES.0) => {
            format!("version {version} of it, which this kernel has, does not hold the length of files")
        }
        Err(Some(libc::ENOSYS)) => "this kernel is built without it".to_owned(),
        Err(Some(libc::EOPNOTSUPP)) => "it is in this kernel and switched off".to_owned(),
        Ok(_) | Err(_) => why,
    }
}

fn try_bubblewrap(again: &Again) -> Result<String, String> {
    let program = which::which("bwrap").map_err(|_| "bwrap is not on PATH".to_owned())?.display().to_string();
    let how = How::Bubblewrap {
        program: program.clone(),
        command: inside(again),
        rules: None,
        sockets: Sockets::NetworkAndUnix,
    };
    let orders = Orders { argv: again.words(&["confine", "nothing"]), cwd: "/".to_owned(), how, ..Orders::default() };
    let options = bubblewrap::trial(again);
    let launched = try_start(again, &orders, Some(&options))?;
    exec::wait_for(launched.pid);
    match rest(&launched.reports)[..] {
        [Report::Ended { code: Some(0), .. }, ..] => Ok(program),
        _ => Err("a trial in it did not end as it should".to_owned()),
    }
}

/// Whether a process can be in a group.
pub(super) fn try_group(again: &Again, group: &Group) -> Result<(), String> {
    let orders = Orders {
        argv: again.words(&["confine", "nothing"]),
        cwd: "/".to_owned(),
        groups: group.files(),
        ..Orders::default()
    };
    let launched = try_start(again, &orders, None)?;
    if exec::wait_for(launched.pid) == Some(0) {
        Ok(())
    } else {
        Err("a trial in it did not end as it should".to_owned())
    }
}

fn try_start(again: &Again, orders: &Orders, options: Option<&Options>) -> Result<Launched, String> {
    let null = std::fs::File::open("/dev/null").map_err(|error| format!("cannot open /dev/null: {error}"))?;
    let fds = [std::os::fd::AsRawFd::as_raw_fd(&null); 3];
    let reset = &super::super::sys::ignored_signals();
    Launch { orders, options, again, markers: &[], fds, reset }.start().map_err(|failed| failed.error)
}

/// What `bwrap` starts as the first process.
pub(super) fn inside(again: &Again) -> Vec<String> {
    let mut words = again.words(&["confine", "inside"]);
    if again.is_itself() {
        words[0] = format!("/proc/self/fd/{}", super::orders::SELF_FD);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_the_kernel_lacks() {
        let of = |version| explain_landlock(version, "the refusal".to_owned());
        let failed = |errno| Err(io::Error::from_raw_os_error(errno));
        assert!(of(Ok(2)).starts_with("version 2"));
        assert_eq!(of(failed(libc::ENOSYS)), "this kernel is built without it");
        assert_eq!(of(failed(libc::EOPNOTSUPP)), "it is in this kernel and switched off");
        assert_eq!(of(Ok(3)), "the refusal");
        assert_eq!(of(failed(libc::EPERM)), "the refusal");
    }
}
