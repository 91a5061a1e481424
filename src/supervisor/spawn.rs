//! From a `Spawn` to a process: `posix_spawn` with a session of its own, a clean signal state and only the three
//! standard descriptors. [`Spawner`] does it on up to a thread per core, because a spawn suspends its caller until the exec.
//! That tasks are children of these threads and never of the main one is also what makes orphans cheap to notice:
//! see [`super::sys::Whose::ThisThread`].
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::fs::{FileType, Mode, OFlags};

use super::confine::{Confiner, Held, Task};
use super::frame::{NotStarted, NotStartedCause, Spawn};
use super::guard;
use super::sys;
use super::underway::Underway;

/// Two threads fill two cores; beyond a few, spawns wait for the kernel's locks and not for a thread.
const THREADS_MAX: usize = 8;
/// A spawner thread needs little more than the arrays of pointers, and those are on the heap.
const STACK_BYTES: usize = 128 << 10;

/// A base environment, ready to be pointed at.
#[derive(Debug, Default)]
pub(super) struct BaseEnv(Vec<(usize, CString)>);

impl BaseEnv {
    /// Variables with a NUL byte or an impossible name cannot be in any environment and are left out.
    pub(super) fn new(vars: Vec<(String, String)>) -> Self {
        Self(vars.into_iter().filter_map(|(name, value)| variable(&name, &value)).collect())
    }
}

impl BaseEnv {
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let (length, text) = self.0.iter().find(|(length, text)| text.as_bytes()[..*length] == *name.as_bytes())?;
        std::str::from_utf8(&text.as_bytes()[length + 1..]).ok()
    }
}

/// `NAME=value` and the length of its name.
fn variable(name: &str, value: &str) -> Option<(usize, CString)> {
    if name.is_empty() || name.contains('=') {
        return None;
    }
    Some((name.len(), CString::new(format!("{name}={value}")).ok()?))
}

/// One process to start.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) attempt: u32,
    pub(super) spawn: Spawn,
    pub(super) base: Arc<BaseEnv>,
    pub(super) stdout: OwnedFd,
    /// `None`: the same pipe as stdout.
    pub(super) stderr: Option<OwnedFd>,
    /// The folder with its secret files.
    pub(super) secrets: Option<PathBuf>,
}

/// What a thread is given to do.
#[derive(Debug)]
enum Work {
    Start(Box<Job>),
    /// Removing what an attempt that is over was held by.
    Release(u32, Box<Held>),
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) attempt: u32,
    pub(super) what: What,
    /// Read just before the spawn, so the process is never older than it.
    pub(super) boot_ms: u64,
}

#[derive(Debug)]
pub(super) enum What {
    Started(Running),
    NotStarted(NotStarted),
    Released { oom_killed: bool },
}

/// A process, and what holds it.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) pid: i32,
    pub(super) held: Option<Box<Held>>,
}

/// The threads that spawn, and the two queues between them and the loop.
#[derive(Debug)]
pub(super) struct Spawner {
    shared: Arc<Shared>,
    pending: usize,
    /// Started so far, and the most there may be.
    threads: usize,
    threads_max: usize,
}

#[derive(Debug)]
struct Shared {
    queues: Mutex<Queues>,
    work: Condvar,
    wake: OwnedFd,
    null: File,
    reset: Vec<i32>,
    confiner: Confiner,
}

#[derive(Debug, Default)]
struct Queues {
    jobs: VecDeque<Work>,
    done: Vec<Done>,
    /// Threads that sleep on `work`; without one there is nobody to wake.
    asleep: usize,
    /// The loop cannot go on without a result. Otherwise it finds them when it wakes for another reason, which saves a
    /// context switch per task.
    wanted: bool,
}

impl Shared {
    fn queues(&self) -> MutexGuard<'_, Queues> {
        // No code that holds the lock can panic half way through a change.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a job.
    fn next(&self) -> Work {
        let mut queues = self.queues();
        loop {
            if let Some(job) = queues.jobs.pop_front() {
                return job;
            }
            queues.asleep += 1;
            queues = self.work.wait(queues).unwrap_or_else(PoisonError::into_inner);
            queues.asleep -= 1;
        }
    }

    fn serve(&self) {
        loop {
            let work = self.next();
            let boot_ms = sys::boot_ms();
            let (attempt, what) = match work {
                Work::Start(job) => (job.attempt, start(&job, self).map_or_else(What::NotStarted, What::Started)),
                Work::Release(attempt, held) => (attempt, What::Released { oom_killed: held.oom_killed() }),
            };
            // The job's write ends are closed before anyone hears of the result, because the loop reads to the end of
            // the pipe; and what held an attempt is gone.
            let mut queues = self.queues();
            queues.done.push(Done { attempt, what, boot_ms });
            if std::mem::take(&mut queues.wanted) {
                drop(queues);
                let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
            }
        }
    }
}

impl Spawner {
    /// Starts no thread yet: each comes with the first job that none is free for. `wake` becomes readable when [`Spawner::take`] wants one and there is a result.
    pub(super) fn start(wake: OwnedFd) -> io::Result<Self> {
        let null = File::open("/dev/null")?;
        let shared = Arc::new(Shared {
            queues: Mutex::default(),
            work: Condvar::new(),
            wake,
            null,
            reset: sys::ignored_signals(),
            confiner: Confiner::new(),
        });
        let threads_max = sys::cores().clamp(1, THREADS_MAX);
        Ok(Self { shared, pending: 0, threads: 0, threads_max })
    }

    pub(super) fn wake_fd(&self) -> &OwnedFd {
        &self.shared.wake
    }

    /// Queues a job.
    ///
    /// # Errors
    /// When there is no thread to do it and none can be started.
    pub(super) fn put(&mut self, job: Job) -> io::Result<()> {
        self.queue(Work::Start(Box::new(job)))
    }

    /// Queues the release of what held an attempt.
    ///
    /// # Errors
    /// As [`Spawner::put`]; it is released then.
    pub(super) fn release(&mut self, attempt: u32, held: Box<Held>) -> io::Result<()> {
        self.queue(Work::Release(attempt, held))
    }

    fn queue(&mut self, work: Work) -> io::Result<()> {
        let mut queues = self.shared.queues();
        let waiting = queues.jobs.len() + 1;
        if waiting > queues.asleep && self.threads < self.threads_max {
            let shared = Arc::clone(&self.shared);
            match thread::Builder::new().stack_size(STACK_BYTES).spawn(move || shared.serve()) {
                Ok(_) => self.threads += 1,
                Err(error) if self.threads == 0 => return Err(error),
                // Those there are will come to it.
                Err(_) => {}
            }
        }
        queues.jobs.push_back(work);
        let wake = queues.asleep > 0;
        drop(queues);
        self.pending += 1;
        if wake {
            self.shared.work.notify_one();
        }
        Ok(())
    }

    /// Jobs put and not yet taken back.
    pub(super) fn pending(&self) -> usize {
        self.pending
    }

    /// Moves the results so far to `out`; when some are still missing and `want` is set, the next one wakes the loop.
    pub(super) fn take(&mut self, out: &mut Vec<Done>, want: bool) {
        let mut queues = self.shared.queues();
        self.pending -= queues.done.len();
        out.append(&mut queues.done);
        queues.wanted = (queues.wanted || want) && self.pending > 0;
    }

    /// Forgets what no thread has begun.
    pub(super) fn clear(&mut self) {
        let mut queues = self.shared.queues();
        self.pending -= queues.jobs.len();
        queues.jobs.clear();
    }
}

fn start(job: &Job, shared: &Shared) -> Result<Running, NotStarted> {
    let spawn = &job.spawn;
    let request = |error: &str| NotStarted { cause: NotStartedCause::Request, error: error.to_owned() };
    let nul = |_| request("an argument, a path or a variable holds a NUL byte");
    if !spawn.argv.first().is_some_and(|program| program.starts_with('/')) {
        return Err(request("the program is not an absolute path"));
    }
    let argv = spawn.argv.iter().map(|arg| CString::new(arg.as_str())).collect::<Result<Vec<_>, _>>().map_err(nul)?;
    let cwd = CString::new(spawn.cwd.as_str()).map_err(nul)?;
    let mut set = Vec::with_capacity(spawn.set.len());
    for (name, value) in &spawn.set {
        set.push(variable(name, value).ok_or_else(|| request(&format!("`{name}` cannot be a variable")))?);
    }
    let file = match &spawn.stdin {
        None => None,
        Some(path) => Some(open_stdin(path).map_err(|error| NotStarted {
            cause: NotStartedCause::Stdin,
            error: format!("cannot open {path} as stdin: {error}"),
        })?),
    };
    let null = file.as_ref().map_or(shared.null.as_fd(), AsFd::as_fd).as_raw_fd();
    let stdout = job.stdout.as_raw_fd();
    let stderr = job.stderr.as_ref().map_or(stdout, AsRawFd::as_raw_fd);
    let fds = [null, stdout, stderr];
    let env = environment(&job.base, &set);
    if spawn.confine.is_some() || spawn.limits.is_some() {
        let (attempt, secrets, reset) = (job.attempt, job.secrets.as_deref(), &*shared.reset);
        let (pid, held) = shared.confiner.start(&Task { attempt, spawn, env: &env, secrets, fds, reset })?;
        return Ok(Running { pid, held: Some(Box::new(held)) });
    }
    let started = posix_spawn(&argv, &env, &cwd, &fds, &shared.reset);
    let started = started.inspect(|pid| guard::end_before_us(*pid));
    started.map(|pid| Running { pid, held: None }).map_err(|error| explain(&error, &spawn.argv[0], &spawn.cwd))
}

/// Opens a regular file or `/dev/null`. To open anything else can wait for ever (a named pipe) or do something (a
/// device), so the file is looked at before it is opened, by a descriptor that stays the same file.
fn open_stdin(path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
    let found = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let stat = rustix::fs::fstat(&found)?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            let itself = format!("/proc/self/fd/{}", found.as_raw_fd());
            return Ok(rustix::fs::open(itself, flags, Mode::empty())?);
        }
        FileType::CharacterDevice if stat.st_rdev == rustix::fs::makedev(1, 3) => {
            return Ok(rustix::fs::open("/dev/null", flags, Mode::empty())?);
        }
        FileType::Directory => "a directory",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        _ => "a device",
    };
    Err(io::Error::other(format!("it is {kind}; only a regular file can be one")))
}

/// The base without what `set` names, then `set`. The last of two settings of one name wins.
fn environment<'a>(base: &'a BaseEnv, set: &'a [(usize, CString)]) -> Vec<&'a CStr> {
    let name = |(length, text): &'a (usize, CString)| &text.as_bytes()[..*length];
    let kept = base.0.iter().filter(|var| !set.iter().any(|other| name(other) == name(var)));
    let set = set.iter().enumerate().filter(|(i, var)| !set[i + 1..].iter().any(|later| name(later) == name(var)));
    kept.chain(set.map(|(_, var)| var)).map(|(_, text)| text.as_c_str()).collect()
}

/// A process in a new session with exactly these descriptors as 0, 1, 2 and so on, none of which may be a number below
/// that of its place that a later one still needs; everything else we hold is close-on-exec.
pub(super) fn posix_spawn(argv: &[CString], env: &[&CStr], cwd: &CStr, fds: &[i32], reset: &[i32]) -> io::Result<i32> {
    let argv_pointers: Vec<*mut libc::c_char> =
        argv.iter().map(|arg| arg.as_ptr().cast_mut()).chain([ptr::null_mut()]).collect();
    let env_pointers: Vec<*mut libc::c_char> =
        env.iter().map(|var| var.as_ptr().cast_mut()).chain([ptr::null_mut()]).collect();
    let mut attributes = Attributes::new(reset)?;
    let mut actions = Actions::new(cwd, fds)?;
    let mut pid = 0;
    let _underway = Underway::begin();
    // SAFETY: both arrays end with a null pointer and point at C strings that outlive the call; posix_spawn does not
    // write through them, the `mut` is the C signature's. The attribute and action objects are initialised.
    let error = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            argv[0].as_ptr(),
            actions.0.as_mut_ptr(),
            attributes.0.as_mut_ptr(),
            argv_pointers.as_ptr(),
            env_pointers.as_ptr(),
        )
    };
    check(error).map(|()| pid)
}

fn check(error: i32) -> io::Result<()> {
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

/// An initialised `posix_spawnattr_t`.
struct Attributes(MaybeUninit<libc::posix_spawnattr_t>);

impl Attributes {
    fn new(reset: &[i32]) -> io::Result<Self> {
        let mut attributes = MaybeUninit::zeroed();
        // SAFETY: init comes first and initialises the object; the sets are initialised by sigemptyset before they
        // are added to or passed; all pointers are to live locals.
        unsafe {
            check(libc::posix_spawnattr_init(attributes.as_mut_ptr()))?;
            let mut this = Self(attributes);
            let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
            libc::sigemptyset(set.as_mut_ptr());
            check(libc::posix_spawnattr_setsigmask(this.0.as_mut_ptr(), set.as_ptr()))?;
            for &signal in reset {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            check(libc::posix_spawnattr_setsigdefault(this.0.as_mut_ptr(), set.as_ptr()))?;
            let flags =
                i32::from(libc::POSIX_SPAWN_SETSID) | libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
            let flags = libc::c_short::try_from(flags).expect("the three flags are below 256");
            check(libc::posix_spawnattr_setflags(this.0.as_mut_ptr(), flags))?;
            Ok(this)
        }
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: `new` initialised it and nothing destroyed it before.
        unsafe { libc::posix_spawnattr_destroy(self.0.as_mut_ptr()) };
    }
}

/// Initialised file actions.
struct Actions(MaybeUninit<libc::posix_spawn_file_actions_t>);

impl Actions {
    fn new(cwd: &CStr, fds: &[i32]) -> io::Result<Self> {
        let mut actions = MaybeUninit::zeroed();
        // SAFETY: init comes first and initialises the object; `cwd` is a C string, which the call copies.
        unsafe {
            check(libc::posix_spawn_file_actions_init(actions.as_mut_ptr()))?;
            let mut this = Self(actions);
            for (&fd, target) in fds.iter().zip(0..) {
                check(libc::posix_spawn_file_actions_adddup2(this.0.as_mut_ptr(), fd, target))?;
            }
            check(libc::posix_spawn_file_actions_addchdir_np(this.0.as_mut_ptr(), cwd.as_ptr()))?;
            Ok(this)
        }
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: `new` initialised it and nothing destroyed it before.
        unsafe { libc::posix_spawn_file_actions_destroy(self.0.as_mut_ptr()) };
    }
}

/// The kernel answers one number for a chdir and an exec; look at both to say which it was.
pub(super) fn explain(error: &io::Error, program: &str, cwd: &str) -> NotStarted {
    let (cause, error) = match fs::metadata(cwd) {
        Err(why) => (NotStartedCause::Workdir, format!("cannot enter the working directory {cwd}: {why}")),
        Ok(meta) if !meta.is_dir() => {
            (NotStartedCause::Workdir, format!("the working directory {cwd} is not a directory"))
        }
        Ok(_) => match error.raw_os_error() {
            Some(libc::ENOENT) if Path::new(program).exists() => (
                NotStartedCause::BadFormat,
                format!("{program} exists, but the interpreter it names (its first line, or its ELF loader) does not"),
            ),
            Some(libc::ENOENT | libc::ENOTDIR) => (NotStartedCause::NotFound, format!("{program} does not exist")),
            Some(libc::EACCES | libc::EPERM) => (NotStartedCause::NotExecutable, not_executable(program)),
            Some(libc::ENOEXEC) => (
                NotStartedCause::BadFormat,
                format!("{program} is neither a program for this machine nor a script that begins with `#!`"),
            ),
            Some(libc::E2BIG) => (
                NotStartedCause::TooLong,
                format!("the arguments and the environment of {program} are longer than the kernel takes"),
            ),
            _ => (NotStartedCause::Host, format!("cannot start {program}: {error}")),
        },
    };
    NotStarted { cause, error }
}

fn not_executable(program: &str) -> String {
    match fs::metadata(program) {
        Ok(meta) if meta.is_dir() => format!("{program} is a directory"),
        Ok(meta) if meta.permissions().mode() & 0o111 == 0 => {
            format!("{program} is not executable; `chmod +x` would make it so")
        }
        _ => format!("{program} may not be executed by this user"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_replace_the_base_and_the_last_one_wins() {
        let pairs = |list: &[(&str, &str)]| list.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let base = BaseEnv::new(pairs(&[("A", "1"), ("AB", "2"), ("C", ""), ("", "x"), ("D=", "y"), ("E", "a\0b")]));
        let set: Vec<_> = [("A", "3"), ("Z", "1"), ("Z", "2")].iter().filter_map(|(n, v)| variable(n, v)).collect();
        let texts: Vec<_> = environment(&base, &set).into_iter().map(|var| var.to_str().unwrap()).collect();
        assert_eq!(texts, ["AB=2", "C=", "A=3", "Z=2"]);
    }
}
