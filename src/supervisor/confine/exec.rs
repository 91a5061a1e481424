//! What a process does to itself on its way to become the task: signals, limits, capabilities, descriptors, exec.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io;
use std::ptr;

use rustix::process::{Resource, Rlimit};

/// Signals that may reach a whole session and of which the one who only waits for the task must not die.
const FOR_THE_TASK: [i32; 7] =
    [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2, libc::SIGALRM];

/// Makes `to` what `from` is, to be kept across an exec.
pub(super) fn duplicate(from: i32, to: i32) -> io::Result<()> {
    // SAFETY: no owner of ours has `to`, or it is one of the standard three, which stay open as something.
    check(unsafe { libc::dup2(from, to) })
}

/// Lets a descriptor through the next exec.
pub(super) fn keep(fd: i32) -> io::Result<()> {
    // SAFETY: changes a flag.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) })
}

pub(super) fn ignore_what_is_for_the_task() {
    for signal in FOR_THE_TASK {
        // SAFETY: SIG_IGN is a valid disposition, and no handler of ours is replaced.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Gives back what this process ignores; the language's runtime ignores one by itself.
pub(super) fn reset_signals() {
    for signal in super::super::sys::ignored_signals() {
        // SAFETY: SIG_DFL is a valid disposition.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// No memory image of it is written anywhere.
pub(super) fn no_core() -> io::Result<()> {
    Ok(rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?)
}

/// Root without any of its powers, also after the exec, which would give them back from the bounding set.
pub(super) fn drop_capabilities() -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    for capability in 0..64 {
        // SAFETY: changes this process's own bounding set.
        let dropped = check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) });
        match dropped.map_err(|error| error.raw_os_error()) {
            Ok(()) => {}
            // There are no more.
            Err(Some(libc::EINVAL)) => break,
            // Only root gets any by an exec.
            Err(_) if !rustix::process::geteuid().is_root() => break,
            Err(_) => return Err(io::Error::last_os_error()),
        }
    }
    let header = Header { version: 0x2008_0522, pid: 0 };
    let none = [0_u32; 6];
    // SAFETY: version 3 has this header and two triples of words, which live through the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Becomes another program; returns only if that fails.
pub(super) fn exec(argv: &[CString], env: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| list.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect::<Vec<_>>();
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both arrays end with a null pointer and point at C strings that outlive the call.
    unsafe { libc::execve(argv[0], argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// C strings of texts that come from JSON and were looked through for NUL before they were sent.
pub(super) fn c_strings(texts: &[String]) -> io::Result<Vec<CString>> {
    texts.iter().map(|text| CString::new(text.as_str()).map_err(io::Error::from)).collect()
}

/// Calls `handler` on a TERM.
pub(super) fn on_term(handler: extern "C" fn(i32)) {
    // SAFETY: the action is zeroed, which is valid, and lives through the call; the handler is the caller's to keep
    // to what a handler may do.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        libc::sigaction(libc::SIGTERM, &raw const action, ptr::null_mut());
    }
}

/// What ended: a process and how.
pub(super) struct Ended {
    pub(super) pid: i32,
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
}

/// Reaps a child, waiting for one if told to. `Ok(None)`: none has ended, or a signal came.
///
/// # Errors
/// When there is no child.
pub(super) fn reap(wait: bool) -> io::Result<Option<Ended>> {
    let mut status = 0;
    // SAFETY: the pointer is to a live local.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, if wait { 0 } else { libc::WNOHANG }) };
    match pid {
        0 => Ok(None),
        1.. => Ok(Some(Ended {
            pid,
            code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
            signal: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)),
        })),
        _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => Ok(None),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Waits for one child that no other part of the process waits for.
pub(super) fn wait_for(pid: i32) -> Option<i32> {
    let mut status = 0;
    loop {
        // SAFETY: the pointer is to a live local.
        let got = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        if got == pid {
            return libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return None;
        }
    }
}

pub(super) fn as_refs(texts: &[CString]) -> Vec<&CStr> {
    texts.iter().map(CString::as_c_str).collect()
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
