//! `fleet confine`: a process between the supervisor and the task, for what only the process itself can do. It joins
//! its control groups, gives up what it must, and becomes the task; or it becomes bubblewrap, which starts it again
//! where only the task's own things are ([`super::inside`]).

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::process::ExitCode;

use super::super::frame::{NotStarted, NotStartedCause};
use super::super::group::ADVICE;
use super::super::{say, spawn, sys};
use super::orders::{ARGS_FD, How, ORDERS_FD, Orders, REPORT_FD, Report, SELF_FD, STDERR_FD};
use super::{exec, inside, landlock, seccomp};

/// The exit code of a `fleet confine` that did not become what it should; the report says why.
const FAILED: u8 = 70;

/// Does what the words and the orders say.
#[must_use]
pub fn confine() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(2).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => as_told(become_task),
        ["inside"] => as_told(inside::hold),
        ["nothing"] => ExitCode::SUCCESS,
        ["try", "seccomp"] => tried(seccomp::attempt()),
        ["try", "landlock", level] => tried(landlock::attempt(landlock::Level(level.parse().unwrap_or(0)))),
        _ => tried(Err("this is a part of fleet's supervisor and no command".to_owned())),
    }
}

fn tried(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say(format_args!("{why}"));
            ExitCode::from(FAILED)
        }
    }
}

/// Where reports go.
pub(super) struct Reports(File);

impl Reports {
    pub(super) fn say(&mut self, report: &Report) {
        // Nobody hears it when the supervisor is gone, and then we end with it.
        let _ = self.0.write_all(&report.line());
    }
}

fn as_told(act: fn(&Orders, &mut Reports) -> Result<ExitCode, NotStarted>) -> ExitCode {
    let (Some(orders), Some(report)) = (sys::inherited(ORDERS_FD), sys::inherited(REPORT_FD)) else {
        return tried(Err("this is a part of fleet's supervisor and no command".to_owned()));
    };
    let mut reports = Reports(File::from(report));
    let kept = sys::keep_inherited_files();
    let kept = kept.map_err(|error| host(&format!("cannot keep open files from the task: {error}")));
    let acted = kept.and_then(|()| read(orders)).and_then(|orders| act(&orders, &mut reports));
    acted.unwrap_or_else(|failed| {
        reports.say(&Report::Failed(failed));
        ExitCode::from(FAILED)
    })
}

/// Leaves the file open for whoever comes after an exec.
fn read(orders: OwnedFd) -> Result<Orders, NotStarted> {
    let mut file = File::from(orders);
    let mut text = Vec::new();
    let read = file.rewind().and_then(|()| file.read_to_end(&mut text)).and_then(|_| file.rewind());
    let orders = read.and_then(|()| serde_json::from_slice(&text).map_err(Into::into));
    std::mem::forget(file);
    orders.map_err(|error| host(&format!("cannot read the supervisor's orders: {error}")))
}

pub(super) fn host(error: &str) -> NotStarted {
    NotStarted { cause: NotStartedCause::Host, error: error.to_owned() }
}

pub(super) fn cannot(error: impl Into<String>) -> NotStarted {
    NotStarted { cause: NotStartedCause::Confine, error: error.into() }
}

fn become_task(orders: &Orders, _: &mut Reports) -> Result<ExitCode, NotStarted> {
    for group in &orders.groups {
        fs::write(group, "0")
            .map_err(|error| cannot(format!("cannot join the control group {group}: {error}: {ADVICE}")))?;
    }
    match &orders.how {
        How::Free => {}
        How::WritesHeld { rules } => landlock::restrict(rules).map_err(cannot)?,
        How::Itself { rules, sockets } => {
            exec::no_core().map_err(|error| cannot(format!("cannot limit core files: {error}")))?;
            exec::drop_capabilities().map_err(|error| cannot(format!("cannot drop capabilities: {error}")))?;
            landlock::restrict(rules).map_err(cannot)?;
            seccomp::restrict(*sockets, true).map_err(cannot)?;
        }
        How::Bubblewrap { program, command, .. } => return become_bubblewrap(program, command),
    }
    exec::reset_signals();
    let failed = |error: &std::io::Error| spawn::explain(error, &orders.argv[0], &orders.cwd);
    let enter = rustix::process::chdir(orders.cwd.as_str());
    enter.map_err(|error| failed(&error.into()))?;
    let argv = exec::c_strings(&orders.argv).map_err(|error| host(&error.to_string()))?;
    let env = exec::c_strings(&orders.env).map_err(|error| host(&error.to_string()))?;
    Err(failed(&exec::exec(&argv, &env)))
}

fn become_bubblewrap(program: &str, command: &[String]) -> Result<ExitCode, NotStarted> {
    exec::no_core().map_err(|error| cannot(format!("cannot limit core files: {error}")))?;
    let prepared = exec::duplicate(2, STDERR_FD)
        .and_then(|()| exec::duplicate(REPORT_FD, 2))
        .and_then(|()| [ORDERS_FD, REPORT_FD, ARGS_FD, SELF_FD].into_iter().try_for_each(exec::keep));
    prepared.map_err(|error| host(&format!("cannot pass descriptors on: {error}")))?;
    exec::ignore_what_is_for_the_task();
    let words = [program, "--args", &ARGS_FD.to_string(), "--"].map(str::to_owned);
    let argv = exec::c_strings(&[words.to_vec(), command.to_vec()].concat());
    // What the task has in its variables must not reach the dynamic linker of a program outside; these are the
    // supervisor's own markers.
    let env: Vec<String> = std::env::vars().map(|(name, value)| format!("{name}={value}")).collect();
    match (argv, exec::c_strings(&env)) {
        (Ok(argv), Ok(env)) => Err(cannot(format!("cannot start {program}: {}", exec::exec(&argv, &env)))),
        (Err(error), _) | (_, Err(error)) => Err(host(&error.to_string())),
    }
}

/// The task's own standard error, which the report had the place of.
pub(super) fn take_stderr_back() -> std::io::Result<()> {
    match sys::inherited(STDERR_FD) {
        Some(stderr) => exec::duplicate(stderr.as_raw_fd(), 2),
        None => Err(std::io::ErrorKind::NotFound.into()),
    }
}
