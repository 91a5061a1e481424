//! Starting `fleet confine` and hearing what became of it.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::{MemfdFlags, Mode, OFlags};

use super::super::frame::{NotStarted, NotStartedCause};
use super::super::{guard, spawn, sys};
use super::again::{Again, ITSELF};
use super::bubblewrap::Options;
use super::exec;
use super::orders::{How, Orders, Report};

/// Above every number that `fleet confine` expects something at.
const FREE_FD: i32 = 16;
/// What is read of a complaint.
const COMPLAINT_BYTES_MAX: usize = 4 << 10;

/// What a process that holds a task, or became it, is started with.
pub(super) struct Launch<'a> {
    pub(super) orders: &'a Orders,
    pub(super) options: Option<&'a Options>,
    pub(super) again: &'a Again,
    /// What marks processes of this run; all the environment there is until the task has its own.
    pub(super) markers: &'a [CString],
    /// stdin, stdout and stderr of the task.
    pub(super) fds: [i32; 3],
    /// Signals to be set back.
    pub(super) reset: &'a [i32],
}

/// A process that was started, and its reports.
#[derive(Debug)]
pub(super) struct Launched {
    pub(super) pid: i32,
    pub(super) reports: File,
}

impl Launch<'_> {
    /// Starts it and waits until the task runs.
    pub(super) fn start(&self) -> Result<Launched, NotStarted> {
        let Launched { pid, mut reports } = self.spawn().map_err(|error| NotStarted {
            cause: NotStartedCause::Host,
            error: format!("cannot start `fleet confine`: {error}"),
        })?;
        match self.first(&mut reports) {
            Ok(()) => Ok(Launched { pid, reports }),
            Err(failed) => {
                sys::signal_group(pid, libc::SIGKILL);
                exec::wait_for(pid);
                Err(failed)
            }
        }
    }

    fn spawn(&self) -> io::Result<Launched> {
        let orders = memory_file(&serde_json::to_vec(self.orders)?)?;
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let mut extra = vec![high(&orders)?, high(&write)?];
        if let Some(options) = self.options {
            extra.push(high(memory_file(options.bytes())?)?);
            // Ours, as it was when it was started.
            let itself = rustix::fs::open(ITSELF, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            extra.push(high(itself)?);
        }
        let fds: Vec<i32> = self.fds.into_iter().chain(extra.iter().map(AsRawFd::as_raw_fd)).collect();
        let argv = exec::c_strings(&self.again.words(&["confine"]))?;
        let markers: Vec<&CStr> = exec::as_refs(self.markers);
        let pid = spawn::posix_spawn(&argv, &markers, c"/", &fds, self.reset)?;
        guard::end_before_us(pid);
        Ok(Launched { pid, reports: File::from(read) })
    }

    /// Waits for the first report, or the end of them that an exec makes.
    fn first(&self, reports: &mut File) -> Result<(), NotStarted> {
        let mut heard = Vec::new();
        let mut byte = [0];
        while heard.len() < COMPLAINT_BYTES_MAX {
            // A line at a time, so that what comes after it stays in the pipe.
            match reports.read(&mut byte) {
                Ok(1) if byte[0] == b'\n' => match Report::parse(last_line(&String::from_utf8_lossy(&heard))) {
                    Some(Report::Failed(why)) => return Err(self.with_complaint(why)),
                    Some(_) => return Ok(()),
                    None => heard.push(b'\n'),
                },
                Ok(1) => heard.push(byte[0]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => break,
            }
        }
        if heard.is_empty() && !matches!(self.orders.how, How::Bubblewrap { .. }) {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&heard).trim().replace('\n', "; ");
        let error = if said.is_empty() { "the sandbox ended before the task began".to_owned() } else { said };
        Err(NotStarted { cause: NotStartedCause::Confine, error })
    }

    /// What is said from inside is about the inside.
    fn with_complaint(&self, mut why: NotStarted) -> NotStarted {
        let Orders { argv, cwd, how, .. } = self.orders;
        let is_hidden = match why.cause {
            NotStartedCause::NotFound => true,
            // What is nowhere is none of the sandbox's doing.
            NotStartedCause::Workdir => Path::new(cwd).exists(),
            // Landlock does not hide names, so what it does not show may not be executed.
            NotStartedCause::NotExecutable => matches!(how, How::Itself { .. }) && is_executable(&argv[0]),
            _ => false,
        };
        if is_hidden && matches!(how, How::Itself { .. } | How::Bubblewrap { .. }) {
            why.error.push_str(" in the sandbox, which shows the system's folders and what the task was given");
        }
        why
    }
}

fn is_executable(program: &str) -> bool {
    fs::metadata(program).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn last_line(text: &str) -> &str {
    text.rsplit('\n').next().unwrap_or_default()
}

/// A copy with a number that is out of the way.
fn high(fd: impl AsFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, FREE_FD)?)
}

fn memory_file(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(rustix::fs::memfd_create("fleet", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    io::Seek::rewind(&mut file)?;
    Ok(file.into())
}

/// Reports that came since, without waiting. For after the process is gone.
pub(super) fn rest(reports: &File) -> Vec<Report> {
    let mut text = Vec::new();
    if rustix::fs::fcntl_setfl(reports, OFlags::NONBLOCK).is_ok() {
        // What is there is read also when no end follows it.
        let _ = (&mut { reports }).read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).lines().filter_map(Report::parse).collect()
}
