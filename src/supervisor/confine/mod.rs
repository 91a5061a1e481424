//! What holds a task on a host: namespaces by bubblewrap, Landlock, a filter of system calls, control groups, a folder
//! of its own. A task is held as it was asked to or not started, never by less.
//! `view` what it can see · `bubblewrap` that as options · `landlock` and `seccomp` the kernel's own means · `probe` what
//! works on this machine, `layers` that in words · `orders` and `launch` between us and the process in between · `helper` that process ·
//! `inside` the first process of the namespaces · `exec` what these do to themselves · `private` the folder ·
//! `again` how this program is started again.
//! A task that nothing holds never comes here.

mod again;
mod bubblewrap;
mod exec;
mod helper;
mod inside;
mod landlock;
mod launch;
mod layers;
mod orders;
mod private;
mod probe;
mod seccomp;
mod view;

use std::ffi::{CStr, CString};
use std::fs::File;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use super::frame::{Confine, Layer, NotStarted, NotStartedCause, Spawn};
use super::group::{ADVICE, Group, Groups};
use super::sweep::{ATTEMPT_VARIABLE, STATE_VARIABLE};
use again::Again;
use bubblewrap::Options;
use launch::{Launch, Launched};
use orders::{How, Orders, Report, Sockets};
use private::Private;
use probe::Found;
use view::{SETTINGS, Settings, View};

pub use again::VARIABLE as PROGRAM_VARIABLE;
pub use helper::confine;
pub(super) use layers::Layers;

/// What a task leaves may end by itself for this long: the writer of a process substitution, say.
pub(super) const LINGER: Duration = Duration::from_millis(LINGER_MS);
pub(super) const LINGER_MS: u64 = 20;
/// Names of leftovers that are kept for an attempt.
pub(super) const LEAKED_MAX: usize = 64;
/// What of `bwrap` and `fleet` runs in the group of a task that is in namespaces.
const OWN_PIDS: u32 = 2;

/// How to get bubblewrap where it does not work.
pub(super) const GET_BUBBLEWRAP: &str = "install it (`apt-get install bubblewrap`) and let this user make namespaces \
    (`sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000`, on Ubuntu \
    `sysctl kernel.apparmor_restrict_unprivileged_userns=0`; a container has to be allowed to)";
/// How to get Landlock.
pub(super) const GET_LANDLOCK: &str =
    "it takes a Linux with `landlock` among its security modules (`lsm=` of the kernel's command line)";
/// How to get filters of system calls.
pub(super) const GET_SECCOMP: &str = "it takes a Linux with CONFIG_SECCOMP_FILTER on x86-64, arm64 or riscv64";

/// Holds tasks, and remembers what works here.
#[derive(Debug)]
pub(super) struct Confiner {
    again: Again,
    found: Found,
    settings: OnceLock<Settings>,
    groups: Groups,
}

/// One attempt to be started.
pub(super) struct Task<'a> {
    pub(super) attempt: u32,
    pub(super) spawn: &'a Spawn,
    pub(super) env: &'a [&'a CStr],
    /// The folder with its secret files.
    pub(super) secrets: Option<&'a Path>,
    pub(super) fds: [i32; 3],
    pub(super) reset: &'a [i32],
}

/// What a running attempt is held by. Folder and control group go when this is dropped, so not before all its processes
/// are gone.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) mechanisms: Vec<String>,
    /// It is in namespaces, and its end is told here.
    reports: Option<File>,
    _private: Option<Private>,
    group: Option<Group>,
}

/// How the main process of an attempt in namespaces ended, if that was told, and what it left.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) end: Option<(Option<i32>, Option<i32>)>,
    pub(super) leaked: Vec<String>,
}

/// A task that may read everything keeps its home, and has only its temporary files to itself.
fn private_name(confine: Option<&Confine>) -> &'static str {
    if confine.is_some_and(|confine| confine.read.is_some()) { "private_home" } else { "private_tmp" }
}

/// How to hold it, and the names of that.
struct Plan {
    how: How,
    options: Option<Options>,
    mechanisms: Vec<&'static str>,
}

impl Confiner {
    pub(super) fn new() -> Self {
        Self { again: Again::find(), found: Found::default(), settings: OnceLock::default(), groups: Groups::default() }
    }

    /// Starts what asks to be held, as it asks, or says why not.
    pub(super) fn start(&self, task: &Task<'_>) -> Result<(i32, Held), NotStarted> {
        let Spawn { confine, limits, .. } = task.spawn;
        let mut plan = match confine {
            Some(confine) => self.plan(confine, task.secrets)?,
            None => Plan { how: How::Free, options: None, mechanisms: Vec::new() },
        };
        let private = match confine.as_ref().and_then(|confine| confine.private.as_deref()) {
            Some(path) => Some(Private::make(Path::new(path)).map_err(|error| NotStarted {
                cause: NotStartedCause::Host,
                error: format!("cannot make the attempt's folder {path}: {error}"),
            })?),
            None => None,
        };
        plan.mechanisms.extend(private.as_ref().map(|_| private_name(confine.as_deref())));
        let in_namespaces = plan.options.is_some();
        let group = match limits {
            Some(limits) => {
                let extra = if in_namespaces { OWN_PIDS } else { 0 };
                let run = marker(task.env).unwrap_or_default();
                Some(
                    self.groups
                        .make(&run, task.attempt, *limits, extra)
                        .map_err(|why| cannot(format!("{why}: {ADVICE}")))?,
                )
            }
            None => None,
        };
        let Launched { pid, reports } = self.launch(task, plan.how, plan.options.as_ref(), group.as_ref())?;
        let groups = group.iter().flat_map(Group::mechanisms);
        let mechanisms = plan.mechanisms.into_iter().chain(groups).map(str::to_owned).collect();
        let reports = in_namespaces.then_some(reports);
        Ok((pid, Held { mechanisms, reports, _private: private, group }))
    }

    fn launch(
        &self,
        task: &Task<'_>,
        how: How,
        options: Option<&Options>,
        group: Option<&Group>,
    ) -> Result<Launched, NotStarted> {
        let text = |var: &&CStr| var.to_string_lossy().into_owned();
        let is_marker = |var: &&&CStr| {
            [ATTEMPT_VARIABLE, STATE_VARIABLE].iter().any(|name| var.to_bytes().starts_with(name.as_bytes()))
        };
        let markers: Vec<CString> = task.env.iter().filter(is_marker).map(|var| CString::from(*var)).collect();
        let orders = Orders {
            argv: task.spawn.argv.clone(),
            env: task.env.iter().map(text).collect(),
            cwd: task.spawn.cwd.clone(),
            groups: group.map(Group::files).unwrap_or_default(),
            how,
        };
        let (again, fds, reset) = (&self.again, task.fds, task.reset);
        Launch { orders: &orders, options, again, markers: &markers, fds, reset }.start()
    }

    /// The first of the layers that works.
    fn plan(&self, confine: &Confine, secrets: Option<&Path>) -> Result<Plan, NotStarted> {
        let view = View::of(confine, secrets);
        if let Some(missing) = view.write.iter().find(|path| Some(*path) != view.private.as_ref() && !path.exists()) {
            let error = format!("{}, which the task may write, does not exist", missing.display());
            return Err(NotStarted { cause: NotStartedCause::Request, error });
        }
        if confine.layers.is_empty() {
            if confine.read.is_some() || !confine.network {
                let error = "without a layer to hold it, only what a task writes can be held".to_owned();
                return Err(NotStarted { cause: NotStartedCause::Request, error });
            }
            return self.hold_writes(&view).map_err(cannot);
        }
        let mut missing = Vec::new();
        for layer in &confine.layers {
            let plan = match layer {
                Layer::Bubblewrap => self.hold_by_bubblewrap(&view, confine.network),
                Layer::Landlock => self.hold_by_landlock(&view, confine.network),
            };
            match plan {
                Ok(plan) => return Ok(plan),
                Err(why) => missing.push(why),
            }
        }
        Err(cannot(format!("nothing here can hold the task as its trust wants it: {}", missing.join("; "))))
    }

    fn hold_writes(&self, view: &View) -> Result<Plan, String> {
        self.landlock(landlock::WRITES)?;
        let how = How::WritesHeld { rules: view.write_rules() };
        Ok(Plan { how, options: None, mechanisms: vec!["landlock", "no_new_privs"] })
    }

    fn hold_by_bubblewrap(&self, view: &View, network: bool) -> Result<Plan, String> {
        let program = self.found.bubblewrap(&self.again);
        let program = program.map_err(|why| format!("bubblewrap does not work ({why}): {GET_BUBBLEWRAP}"))?.to_owned();
        self.seccomp()?;
        let level = self.found.landlock(&self.again).ok();
        let scoped = level.is_some_and(|level| level >= landlock::ALL);
        let rules = level.map(|_| view.rules(self.settings(), true, scoped));
        // Abstract sockets belong to a network namespace, and without one of its own to everybody.
        let sockets = match (network, scoped) {
            (false, _) => Sockets::None,
            (true, false) => Sockets::Network,
            (true, true) => Sockets::NetworkAndUnix,
        };
        let mut mechanisms = vec!["bubblewrap"];
        mechanisms.extend(bubblewrap::NAMESPACES);
        mechanisms.extend((!network).then_some("network_namespace"));
        mechanisms.extend(rules.as_ref().map(|_| "landlock"));
        mechanisms.extend(["seccomp", "no_capabilities", "no_new_privs", "rlimits"]);
        let options = bubblewrap::options(view, self.settings(), network, &self.again);
        let how = How::Bubblewrap { program, command: probe::inside(&self.again), rules, sockets };
        Ok(Plan { how, options: Some(options), mechanisms })
    }

    fn hold_by_landlock(&self, view: &View, network: bool) -> Result<Plan, String> {
        self.landlock(landlock::ALL)?;
        self.seccomp()?;
        // A socket with a name in the file system is opened by no rule of Landlock, so none of these may be made.
        let sockets = if network { Sockets::Network } else { Sockets::None };
        let how = How::Itself { rules: view.rules(self.settings(), false, true), sockets };
        Ok(Plan {
            how,
            options: None,
            mechanisms: vec!["landlock", "seccomp", "no_capabilities", "no_new_privs", "rlimits"],
        })
    }

    fn landlock(&self, needed: landlock::Level) -> Result<(), String> {
        let linux = needed.linux();
        match self.found.landlock(&self.again) {
            Ok(level) if level >= needed => Ok(()),
            Ok(_) => Err(format!("Landlock of this kernel holds too little: it takes Linux {linux}")),
            Err(why) => Err(format!("Landlock does not work ({why}): {GET_LANDLOCK}, here {linux} or newer")),
        }
    }

    fn seccomp(&self) -> Result<(), String> {
        let found = self.found.seccomp(&self.again);
        found.map_err(|why| format!("filters of system calls do not work ({why}): {GET_SECCOMP}"))
    }

    fn settings(&self) -> &Settings {
        self.settings.get_or_init(|| Settings::look(Path::new(SETTINGS)))
    }
}

impl Held {
    /// It has a process table of its own.
    pub(super) fn in_namespaces(&self) -> bool {
        self.reports.is_some()
    }

    /// What was told of its end. For after its first process is gone.
    pub(super) fn told(&self) -> Told {
        let mut told = Told::default();
        for report in self.reports.as_ref().map(launch::rest).unwrap_or_default() {
            match report {
                Report::Ended { code, signal } => told.end = Some((code, signal)),
                Report::Leaked(names) => told.leaked = names,
                Report::Started | Report::Failed(_) => {}
            }
        }
        told
    }

    /// The kernel ended something of it because it took more memory than it may.
    pub(super) fn oom_killed(&self) -> bool {
        self.group.as_ref().is_some_and(Group::oom_killed)
    }
}

fn cannot(error: String) -> NotStarted {
    NotStarted { cause: NotStartedCause::Confine, error }
}

/// The run, as the attempt's marker says it.
fn marker(env: &[&CStr]) -> Option<String> {
    let value =
        env.iter().find_map(|var| var.to_bytes().strip_prefix(ATTEMPT_VARIABLE.as_bytes())?.strip_prefix(b"="))?;
    String::from_utf8_lossy(value).split('/').next().map(str::to_owned)
}
