//! The bare loops that the runners are held against, each as a process of its own: this program started again with
//! `--limit`. They start `/bin/true`, or look at files, and do nothing else.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{WaitOptions, wait};

/// The program of every task.
pub(crate) const TASK: &str = "/bin/true";

/// `--limit spawn|threads COUNT JOBS`: COUNT processes, JOBS at a time, by `posix_spawn`, which is what the standard
/// library uses for an absolute path and nothing set in between.
/// `--limit stat COUNT JOBS`: one look at each input and output of COUNT copies in the working folder, by JOBS threads.
pub(crate) fn limit(how: &str, count: usize, jobs: usize) -> io::Result<ExitCode> {
    match how {
        "spawn" => one_thread(count, jobs)?,
        "threads" => threads(count, jobs)?,
        "stat" => stat(count, jobs)?,
        _ => return Err(io::Error::other(format!("--limit {how}: spawn, threads or stat"))),
    }
    Ok(ExitCode::SUCCESS)
}

fn command() -> Command {
    let mut command = Command::new(TASK);
    command.stdin(Stdio::inherit());
    command
}

/// One thread starts and reaps, as most runners do.
fn one_thread(count: usize, jobs: usize) -> io::Result<()> {
    let mut command = command();
    let (mut started, mut ended) = (0, 0);
    while ended < count {
        while started < count && started - ended < jobs {
            // A child that is dropped is left running, and reaped below by whoever ends first.
            drop(command.spawn()?);
            started += 1;
        }
        wait(WaitOptions::empty())?;
        ended += 1;
    }
    Ok(())
}

/// As many threads as tasks at a time, each waiting for its own.
fn threads(count: usize, jobs: usize) -> io::Result<()> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut command = command();
        while next.fetch_add(1, Ordering::Relaxed) < count {
            command.status()?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("the loop above does not panic"))
    })
}

/// Each thread takes a stretch of its own, so that they share nothing.
fn stat(count: usize, jobs: usize) -> io::Result<()> {
    let look = |tasks: std::ops::Range<usize>| {
        let mut path = String::new();
        for task in tasks {
            for folder in ["in", "out"] {
                path.clear();
                write!(path, "{folder}/{task}").expect("a string takes everything");
                fs::metadata(&path)?;
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let stretch = |thread: usize| count * thread / jobs..count * (thread + 1) / jobs;
        let threads: Vec<_> = (0..jobs).map(|thread| scope.spawn(move || look(stretch(thread)))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("the loop above does not panic"))
    })
}
