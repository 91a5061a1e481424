//! What this process was told to do about a signal before it began.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

/// A file that may not grow (`RLIMIT_FSIZE`) is an error to be told like any other, not the end of us. Tasks get the
/// signal back from the supervisor.
pub fn outlive_file_size_limit() {
    // SAFETY: SIG_IGN is a valid disposition, and no handler of ours is replaced.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Whether the signal was ignored when we started, as `nohup` and a shell's `&` have it.
#[must_use]
pub fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a null new action only asks; the old one is written into memory of the right type, which lives through
    // the call. All-zero bytes are a valid `sigaction`, so reading it is sound even when the call fails.
    let action = unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    action.sa_sigaction == libc::SIG_IGN
}
