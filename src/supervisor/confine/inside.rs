//! `fleet confine inside`: the first process of a pid namespace. It starts the task in a session of its own, as the
//! supervisor would, reaps what loses its parent, and hands on how the task ended: bubblewrap itself can only say an
//! exit code. When it leaves, the kernel ends all that is left in the namespace.

use std::fs;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::super::frame::NotStarted;
use super::super::process::Process;
use super::super::{spawn, sys};
use super::helper::{Reports, cannot, host, take_stderr_back};
use super::orders::{How, Orders, Report};
use super::{LEAKED_MAX, LINGER, exec, landlock, seccomp};

/// Between two looks at who is left.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// The task was told to end, and what it leaves has heard of it and has the supervisor's grace.
static TOLD: AtomicBool = AtomicBool::new(false);

extern "C" fn told(_: i32) {
    TOLD.store(true, Ordering::Relaxed);
}

pub(super) fn hold(orders: &Orders, reports: &mut Reports) -> Result<ExitCode, NotStarted> {
    let How::Bubblewrap { rules, sockets, .. } = &orders.how else { return Err(host("these orders are for outside")) };
    let taken = take_stderr_back().and_then(|()| sys::hide());
    taken.map_err(|error| host(&format!("cannot prepare the sandbox: {error}")))?;
    exec::on_term(told);
    if let Some(rules) = rules {
        landlock::restrict(rules).map_err(cannot)?;
    }
    seccomp::restrict(*sockets, false).map_err(cannot)?;
    let strings = |texts: &[String]| exec::c_strings(texts).map_err(|error| host(&error.to_string()));
    let (argv, env, cwd) = (strings(&orders.argv)?, strings(&orders.env)?, strings(std::slice::from_ref(&orders.cwd))?);
    let task = spawn::posix_spawn(&argv, &exec::as_refs(&env), &cwd[0], &[0, 1, 2], &sys::ignored_signals())
        .map_err(|error| spawn::explain(&error, &orders.argv[0], &orders.cwd))?;
    reports.say(&Report::Started);
    wait(task, reports);
    Ok(ExitCode::SUCCESS)
}

fn wait(task: i32, reports: &mut Reports) {
    loop {
        match exec::reap(true) {
            Ok(Some(ended)) if ended.pid == task => {
                reports.say(&Report::Ended { code: ended.code, signal: ended.signal });
                break;
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
    let until = Instant::now() + LINGER;
    loop {
        // Without an order there is no grace, and what does not end by itself at once is ended.
        match exec::reap(TOLD.load(Ordering::Relaxed)) {
            Ok(Some(_)) => {}
            Ok(None) if Instant::now() >= until && !TOLD.load(Ordering::Relaxed) => break,
            Ok(None) => thread::sleep(LOOK_EVERY),
            Err(_) => return,
        }
    }
    reports.say(&Report::Leaked(left()));
}

/// Everybody here but us.
fn left() -> Vec<String> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()).filter(|&pid| pid > 1);
    pids.filter_map(Process::read).filter(|process| !process.zombie).take(LEAKED_MAX).map(|p| p.shown()).collect()
}
