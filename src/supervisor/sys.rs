//! The system calls that have no safe wrapper of the shape we need, each behind one. Linux.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// A process that ended and was taken off the process table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reaped {
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
    pub(super) cpu_ms: u64,
    pub(super) max_rss_bytes: u64,
}

/// Which of our children `wait` looks at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whose {
    /// This one.
    Pid(i32),
    /// Those of the calling thread. Orphans of a subreaper become children of its main thread and tasks are children
    /// of the spawner threads, so on the main thread this means orphans only.
    ThisThread,
    /// All there are.
    Process,
}

/// What `wait` found.
#[derive(Clone, Copy, Debug)]
pub(super) enum Waited {
    Reaped(Reaped),
    /// There is a child, and it lives.
    Living,
    /// There is no such child.
    None,
}

/// Reaps one ended child, without waiting.
pub(super) fn wait(whose: Whose) -> Waited {
    let (pid, flags) = match whose {
        Whose::Pid(pid) => (pid, libc::WNOHANG),
        Whose::ThisThread => (-1, libc::WNOHANG | libc::__WNOTHREAD | libc::__WALL),
        Whose::Process => (-1, libc::WNOHANG | libc::__WALL),
    };
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are to live locals of the right type.
    let got = unsafe { libc::wait4(pid, &raw mut status, flags, usage.as_mut_ptr()) };
    match got {
        0 => Waited::Living,
        // The only errors left are ECHILD and, never with WNOHANG, EINTR.
        ..0 => Waited::None,
        1.. => {
            // SAFETY: zeroed above, which is a valid rusage, and filled in by the successful wait4.
            let usage = unsafe { usage.assume_init() };
            Waited::Reaped(reaped(status, &usage))
        }
    }
}

fn reaped(status: i32, usage: &libc::rusage) -> Reaped {
    let micros = |t: libc::timeval| t.tv_sec * 1_000_000 + t.tv_usec;
    Reaped {
        code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
        signal: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)),
        cpu_ms: u64::try_from((micros(usage.ru_utime) + micros(usage.ru_stime)) / 1000).unwrap_or(0),
        max_rss_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
    }
}

/// Our session and our process group. Each is 0 when its leader is outside our pid namespace, as in a container that
/// was entered, which is why a type that knows no 0 will not do.
pub(super) fn session_and_group() -> (i32, i32) {
    // SAFETY: both only ask.
    unsafe { (libc::getsid(0), libc::getpgrp()) }
}

/// Signals every member of a process group, atomically against their forks.
pub(super) fn signal_group(group: i32, signal: i32) {
    // 0 and -1 would mean our own group and everybody.
    if group > 1 {
        // SAFETY: kill touches no memory of ours.
        unsafe { libc::kill(-group, signal) };
    }
}

/// Blocks SIGCHLD for this thread and those it will start, and returns a descriptor that reads as those signals.
pub(super) fn child_signals() -> io::Result<OwnedFd> {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: `set` is initialised by sigemptyset before any other use, the old mask is not asked for, and the
    // returned descriptor is owned by nobody else.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD);
        let error = libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut());
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        let fd = libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

/// Ignores the signals by which a terminal or a service manager would end or stop us: our end is decided by the engine.
/// SIGCHLD goes back to its default, because a parent that ignores it would make the kernel reap for us.
pub(super) fn outlive_signals() {
    let end_or_stop =
        [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGPIPE, libc::SIGTSTP, libc::SIGXFSZ];
    for signal in end_or_stop {
        // SAFETY: SIG_IGN is a valid disposition, and no handler of ours is replaced.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    // SAFETY: as above, SIG_DFL.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// The signals this process ignores. An exec keeps exactly those dispositions, so these are what a task needs reset.
pub(super) fn ignored_signals() -> Vec<i32> {
    (1..=libc::SIGRTMAX())
        .filter(|&signal| {
            let mut action = MaybeUninit::<libc::sigaction>::zeroed();
            // SAFETY: asks only; a number that is not a signal is an error and leaves the zeroed struct, which is valid.
            let action = unsafe {
                libc::sigaction(signal, ptr::null(), action.as_mut_ptr());
                action.assume_init()
            };
            action.sa_sigaction == libc::SIG_IGN
        })
        .collect()
}

/// A descriptor to wait for, and after [`poll`] what it is ready for.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(super) struct Watch(libc::pollfd);

impl Watch {
    pub(super) fn new(fd: BorrowedFd<'_>, read: bool, write: bool) -> Self {
        let events = if read { libc::POLLIN } else { 0 } | if write { libc::POLLOUT } else { 0 };
        Self(libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 })
    }

    pub(super) fn ready(self) -> bool {
        self.0.revents != 0
    }

    /// The other side closed it.
    pub(super) fn broken(self) -> bool {
        self.0.revents & (libc::POLLERR | libc::POLLNVAL) != 0
    }
}

/// Waits until one is ready or the time is up; forever without a limit. An interruption counts as ready.
pub(super) fn poll(watches: &mut [Watch], limit_ms: Option<u64>) {
    let limit = limit_ms.map_or(-1, |ms| i32::try_from(ms).unwrap_or(i32::MAX));
    let count = watches.len() as libc::nfds_t;
    // SAFETY: Watch is a transparent pollfd and the length is that of the slice. A descriptor that was closed since
    // is reported as POLLNVAL, not touched.
    unsafe { libc::poll(watches.as_mut_ptr().cast::<libc::pollfd>(), count, limit) };
}

/// The cores this process may run on; what a control group allows is of no interest here.
pub(super) fn cores() -> usize {
    rustix::thread::sched_getaffinity(None).map_or(1, |set| set.count() as usize)
}

/// A wake-up call between threads.
pub(super) fn event() -> io::Result<OwnedFd> {
    // SAFETY: the returned descriptor is owned by nobody else.
    unsafe {
        let fd: RawFd = libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

/// Milliseconds of the monotonic clock, which stands still while the machine sleeps.
pub(super) fn monotonic_ms() -> u64 {
    clock_ms(rustix::time::ClockId::Monotonic)
}

/// Milliseconds since boot, sleep included: the clock of process start times.
pub(super) fn boot_ms() -> u64 {
    clock_ms(rustix::time::ClockId::Boottime)
}

fn clock_ms(clock: rustix::time::ClockId) -> u64 {
    let now = rustix::time::clock_gettime(clock);
    u64::try_from(now.tv_sec * 1000 + now.tv_nsec / 1_000_000).unwrap_or(0)
}

/// Reads at most `limit` bytes onto the end of `buffer`, without clearing the room for them first.
pub(super) fn read_onto(fd: BorrowedFd<'_>, buffer: &mut Vec<u8>, limit: usize) -> rustix::io::Result<usize> {
    buffer.reserve(limit);
    let length = buffer.len();
    loop {
        match rustix::io::read(fd, &mut buffer.spare_capacity_mut()[..limit]) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
            Ok((filled, _)) => {
                let got = filled.len();
                // SAFETY: the read initialised `got` bytes behind the old length, within the reserved capacity.
                unsafe { buffer.set_len(length + got) };
                return Ok(got);
            }
        }
    }
}

/// Other processes of this user may not look into this one: not at its memory, and not at its descriptors by way of
/// `/proc`. What it looks at of itself there stays open to it, and what it executes may be looked into again.
pub(super) fn hide() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?)
}

/// The unit of times in `/proc`. The C library knows it from the start; rustix reads a file for it, and panics before Linux
/// 6.4 where the process is hidden and may not read that.
pub(super) fn clock_ticks_per_second() -> u64 {
    // SAFETY: only asks.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).unwrap_or(0).max(1)
}

/// A descriptor this process was started with, beside the standard three.
pub(super) fn inherited(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: fcntl only asks; whoever starts us passes these numbers for us to own, and each is taken once, before
    // anything else is opened that could get it.
    unsafe { (fd > 2 && libc::fcntl(fd, libc::F_GETFD) >= 0).then(|| OwnedFd::from_raw_fd(fd)) }
}

/// The engine's two pipes, as this process was given them.
pub(super) fn stdio() -> [BorrowedFd<'static>; 2] {
    // SAFETY: the standard library opens 0 and 1 at start-up if they are closed, and nothing of ours closes them.
    unsafe { [BorrowedFd::borrow_raw(0), BorrowedFd::borrow_raw(1)] }
}

/// Keeps what our parent happened to leave open (a make jobserver, a shell's redirection) from the tasks.
///
/// # Errors
/// When some of it may still be open to them.
pub(super) fn keep_inherited_files() -> io::Result<()> {
    // SAFETY: close_range with this flag marks descriptors close-on-exec and closes none.
    let marked = unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC.cast_signed()) };
    if marked == 0 { Ok(()) } else { keep_each() }
}

/// The same before Linux 5.11, which brought that flag.
fn keep_each() -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let Some(fd) = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()) else { continue };
        // SAFETY: changes a flag; what is closed by now, as the descriptor of the list will be, needs none.
        if fd > 2 && unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(libc::EBADF) {
                return Err(error);
            }
        }
    }
    Ok(())
}

/// The version of Landlock that the kernel says it has.
pub(super) fn landlock_version() -> io::Result<i64> {
    const ASK_VERSION: libc::c_uint = 1;
    // SAFETY: with this flag the kernel takes no pointer and makes nothing.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, ptr::null::<libc::c_void>(), 0_usize, ASK_VERSION) };
    if version < 0 { Err(io::Error::last_os_error()) } else { Ok(version) }
}

#[cfg(test)]
mod tests {
    use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

    use super::*;

    #[test]
    fn each_descriptor_is_kept_where_the_kernel_cannot_keep_all() {
        let file = std::fs::File::open("/dev/null").unwrap();
        for keep in [keep_each, keep_inherited_files] {
            fcntl_setfd(&file, FdFlags::empty()).unwrap();
            keep().unwrap();
            assert_eq!(fcntl_getfd(&file).unwrap(), FdFlags::CLOEXEC);
        }
    }
}
