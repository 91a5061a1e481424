//! One run of one command: wall time, CPU time and peak memory of it and of all it waited for, by `wait4`.
//! The measuring is done by this program started again (`--meter`), which holds nothing: Linux charges a new process
//! with the memory of its parent until the exec, so whoever starts it is the floor of the peak (about 2 MiB).

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getppid, kill_process};

/// After this long a command has hung.
const HUNG: Duration = Duration::from_mins(15);
/// How often it is looked whether the bench is still there.
const ALONE: Duration = Duration::from_secs(1);
/// How often the memory of the runner and its supervisor is looked at.
const SAMPLE: Duration = Duration::from_millis(10);
/// The file in the working folder that has what the command said on standard error.
const COMPLAINTS: &str = "stderr.txt";

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) argv: Vec<OsString>,
    pub(crate) folder: PathBuf,
    /// Paths in the folder that are removed first: what an earlier run left.
    pub(crate) state: &'static [&'static str],
    /// Whether to watch the memory of the process and of its children of the same program, each for itself.
    pub(crate) watch: bool,
}

/// What one run took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) wall: f64,
    /// User and system, of the command and everything it waited for, in seconds.
    pub(crate) cpu: f64,
    /// Of the largest process among them, in KiB.
    pub(crate) peak_kib: u64,
    pub(crate) end: End,
    /// `VmHWM` in KiB of the command and of its child of the same program; 0 when not watched or not seen.
    pub(crate) own_kib: u64,
    pub(crate) helper_kib: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum End {
    #[default]
    Passed,
    Code(i32),
    Signal(i32),
    /// Outputs other than those that were due, and how many; see `copies`.
    Wrote(usize),
    /// The output that was due is not that of the new input.
    Stale,
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Code(code) => write!(f, "exit {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Wrote(count) => write!(f, "wrote {count} outputs, not what was due"),
            Self::Stale => f.write_str("wrote an output from an old input"),
        }
    }
}

impl Order {
    /// Runs it once.
    pub(crate) fn measure(&self) -> io::Result<Sample> {
        for name in self.state {
            remove(&self.folder.join(name))?;
        }
        let home = self.folder.parent().unwrap_or(&self.folder);
        let output = Command::new(std::env::current_exe()?)
            .arg("--meter")
            .arg(if self.watch { "watch" } else { "once" })
            .args(&self.argv)
            .current_dir(&self.folder)
            // The same small environment for everyone: cargo's own is forty variables that each spawn would copy.
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home)
            .env("TMPDIR", home)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        parse(&text).ok_or_else(|| io::Error::other(format!("{:?}: the meter said {text:?}", self.argv)))
    }

    /// The end of what the last run said on standard error.
    pub(crate) fn complaints(&self) -> String {
        let text = std::fs::read(self.folder.join(COMPLAINTS)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn parse(line: &str) -> Option<Sample> {
    let mut fields = line.split_whitespace();
    let mut real = || fields.next()?.parse::<f64>().ok();
    let (wall, cpu) = (real()?, real()?);
    let mut whole = || fields.next()?.parse::<i64>().ok();
    let (peak, code, signal, own, helper) = (whole()?, whole()?, whole()?, whole()?, whole()?);
    let end = match (i32::try_from(code).ok()?, i32::try_from(signal).ok()?) {
        (0, 0) => End::Passed,
        (code, 0) => End::Code(code),
        (_, signal) => End::Signal(signal),
    };
    let kib = |value: i64| u64::try_from(value).ok();
    Some(Sample { wall, cpu, peak_kib: kib(peak)?, end, own_kib: kib(own)?, helper_kib: kib(helper)? })
}

/// `--meter once|watch COMMAND…`: runs it with its output thrown away and prints one line of figures.
pub(crate) fn meter(how: &str, argv: &[OsString]) -> io::Result<ExitCode> {
    let (program, arguments) = argv.split_first().ok_or_else(|| io::Error::other("--meter: no command"))?;
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::null()).stderr(std::fs::File::create(COMPLAINTS)?);
    let begun = Instant::now();
    let pid = command.spawn()?.id();
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("no process id"))?;
    let watch = Watch::default();
    let line = std::thread::scope(|scope| {
        scope.spawn(|| watch.look(pid, how == "watch"));
        let ended = wait4(pid);
        let wall = begun.elapsed();
        watch.over.store(true, Ordering::Release);
        watch.thread.wake();
        ended.map(|ended| ended.line(wall, &watch))
    })?;
    println!("{line}");
    Ok(ExitCode::SUCCESS)
}

#[derive(Clone, Copy, Debug)]
struct Ended {
    status: i32,
    cpu: Duration,
    peak_kib: u64,
}

impl Ended {
    fn line(self, wall: Duration, watch: &Watch) -> String {
        let mut line = String::new();
        let code = if libc::WIFEXITED(self.status) { libc::WEXITSTATUS(self.status) } else { 0 };
        let signal = if libc::WIFSIGNALED(self.status) { libc::WTERMSIG(self.status) } else { 0 };
        let (own, helper) = (watch.own_kib.load(Ordering::Relaxed), watch.helper_kib.load(Ordering::Relaxed));
        let (wall, cpu, peak) = (wall.as_secs_f64(), self.cpu.as_secs_f64(), self.peak_kib);
        write!(line, "{wall:.6} {cpu:.6} {peak} {code} {signal} {own} {helper}").expect("a string takes everything");
        line
    }
}

/// Waits for the process, and says what it and its descendants used.
#[allow(unsafe_code, reason = "no safe wrapper of wait4 gives the resource usage")]
fn wait4(pid: Pid) -> io::Result<Ended> {
    let mut status = 0;
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // SAFETY: both pointers are to live locals of the right type.
        if unsafe { libc::wait4(pid.as_raw_nonzero().get(), &raw mut status, 0, usage.as_mut_ptr()) } > 0 {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    // SAFETY: zeroed above, which is a valid rusage, and filled in by the successful wait4.
    let usage = unsafe { usage.assume_init() };
    let time = |t: libc::timeval| {
        let whole = Duration::from_secs(u64::try_from(t.tv_sec).unwrap_or(0));
        whole + Duration::from_micros(u64::try_from(t.tv_usec).unwrap_or(0))
    };
    let peak = u64::try_from(usage.ru_maxrss).unwrap_or(0);
    // macOS counts it in bytes.
    let peak_kib = if cfg!(target_os = "macos") { peak / 1024 } else { peak };
    Ok(Ended { status, cpu: time(usage.ru_utime) + time(usage.ru_stime), peak_kib })
}

/// What is seen of a command from outside while it runs, and the end of one that hangs.
#[derive(Debug, Default)]
struct Watch {
    over: AtomicBool,
    thread: Sleeper,
    own_kib: AtomicU64,
    helper_kib: AtomicU64,
}

/// A thread that sleeps until it is woken or its time is up.
#[derive(Debug, Default)]
struct Sleeper {
    woken: std::sync::Mutex<bool>,
    call: std::sync::Condvar,
}

impl Sleeper {
    fn sleep(&self, limit: Duration) {
        let woken = self.woken.lock().expect("nobody panics with it");
        let _woken = self.call.wait_timeout_while(woken, limit, |woken| !*woken).expect("nobody panics with it");
    }

    fn wake(&self) {
        *self.woken.lock().expect("nobody panics with it") = true;
        self.call.notify_all();
    }
}

impl Watch {
    fn look(&self, pid: Pid, memory: bool) {
        let begun = Instant::now();
        let pid_number = pid.as_raw_nonzero().get();
        let parent = getppid();
        let mut helper = None;
        while !self.over.load(Ordering::Acquire) {
            // Nobody waits for the figures of a bench that was interrupted.
            let alone = getppid() != parent;
            if alone || begun.elapsed() > HUNG {
                let why = if alone { "the bench is gone" } else { "it hangs" };
                eprintln!("{why}: ended after {} s", begun.elapsed().as_secs());
                // It may have ended this moment; then there is nobody to end.
                let _ = kill_process(pid, Signal::KILL);
                return;
            }
            if memory {
                keep_peak(&self.own_kib, pid_number);
                helper = helper.or_else(|| helper_of(pid_number));
                if let Some(helper) = helper {
                    keep_peak(&self.helper_kib, helper);
                }
            }
            self.thread.sleep(if memory { SAMPLE } else { ALONE });
        }
    }
}

fn keep_peak(peak: &AtomicU64, pid: i32) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(0);
    peak.fetch_max(kib, Ordering::Relaxed);
}

/// The child of a process that runs the same program. Just after its start a child still is its parent, so it is the
/// same one only if it has arguments of its own.
fn helper_of(pid: i32) -> Option<i32> {
    let of = |pid: i32, what: &str| std::fs::read(format!("/proc/{pid}/{what}")).ok();
    let program = |pid: i32| std::fs::read_link(format!("/proc/{pid}/exe")).ok();
    let mine = (program(pid)?, of(pid, "cmdline")?);
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let mut children = lists.flat_map(|list| {
        let pids: Vec<i32> = list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
        pids
    });
    children.find(|&child| {
        program(child).is_some_and(|theirs| theirs == mine.0) && of(child, "cmdline").is_some_and(|line| line != mine.1)
    })
}
