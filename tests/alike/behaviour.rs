//! A row of the table: what is tried, and how what came of it is judged.

use super::column::Column;
use super::seen::{Seen, Task};

/// Whether a behaviour was found, or what was found instead.
pub(crate) type Tried = Result<(), String>;

/// The same, with the task that was looked at last.
pub(crate) type Judged<'a> = Result<Task<'a>, String>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Host {
    Local,
    Docker,
    Podman,
    Ssh,
}

/// What holds a task whose trust is `sandbox`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sandbox {
    Bubblewrap,
    /// Landlock and a filter of system calls, and no namespaces.
    Landlock,
    /// A container that an attempt has to itself.
    Container,
}

/// A host, with its ordinary trust or with a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    pub(crate) host: Host,
    pub(crate) sandbox: Option<Sandbox>,
}

/// Kinds that have something in common.
#[derive(Clone, Copy, Debug)]
pub(crate) enum On {
    Only(Kind),
    /// With a sandbox and without.
    Host(Host),
    Sandbox(Sandbox),
    /// Whatever has none.
    NoSandbox,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// Tasks of the one fleet file that is run for all of these. `@mark@` in them is a word by which processes of the
    /// column are known, `@workspace@` the folder of the fleet file, `@tens@` a
    /// list of the tens in [`Kind::many`].
    Together { tasks: &'static str, judge: for<'a> fn(&'a Seen) -> Judged<'a> },
    /// Runs of its own.
    Alone(fn(&Column) -> Tried),
    /// What is seen when all others are over.
    Last,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Behaviour {
    pub(crate) name: &'static str,
    pub(crate) way: Way,
    /// Kinds that cannot have it, and why.
    against: &'static [(On, &'static str)],
    as_in_docker: bool,
}

/// Why a behaviour is not tried on a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeftOut {
    /// It cannot have it.
    Cannot(&'static str),
    /// The kind of that name shows as much of it.
    AsIn(&'static str),
}

impl Host {
    /// As a receipt has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Ssh => "ssh",
        }
    }
}

impl Kind {
    pub(crate) const LOCAL: Self = Self { host: Host::Local, sandbox: None };
    /// Of the engines, one will do to hold an attempt: what they are told for it is the same.
    pub(crate) const ALL: [Self; 8] = [
        Self::LOCAL,
        Self { host: Host::Local, sandbox: Some(Sandbox::Bubblewrap) },
        Self { host: Host::Local, sandbox: Some(Sandbox::Landlock) },
        Self { host: Host::Docker, sandbox: None },
        Self { host: Host::Docker, sandbox: Some(Sandbox::Container) },
        Self { host: Host::Podman, sandbox: None },
        Self { host: Host::Ssh, sandbox: None },
        Self { host: Host::Ssh, sandbox: Some(Sandbox::Bubblewrap) },
    ];

    /// How many tasks are many: a container of its own for each says no more after ten.
    pub(crate) fn many(self) -> usize {
        if self.sandbox == Some(Sandbox::Container) { 10 } else { 50 }
    }

    /// The head of its column.
    pub(crate) fn name(self) -> String {
        let held = match self.sandbox {
            None => return self.host.name().to_owned(),
            Some(Sandbox::Bubblewrap) => "bwrap",
            Some(Sandbox::Landlock) => "landlock",
            Some(Sandbox::Container) => "sandbox",
        };
        format!("{} {held}", self.host.name())
    }
}

impl On {
    fn takes_in(self, kind: Kind) -> bool {
        match self {
            Self::Only(only) => only == kind,
            Self::Host(host) => kind.host == host,
            Self::Sandbox(sandbox) => kind.sandbox == Some(sandbox),
            Self::NoSandbox => kind.sandbox.is_none(),
        }
    }
}

/// A behaviour that a task or a few show.
pub(crate) const fn task(
    name: &'static str,
    tasks: &'static str,
    judge: for<'a> fn(&'a Seen) -> Judged<'a>,
) -> Behaviour {
    Behaviour { name, way: Way::Together { tasks, judge }, against: &[], as_in_docker: false }
}

/// A behaviour that only runs of its own show.
pub(crate) const fn alone(name: &'static str, try_it: fn(&Column) -> Tried) -> Behaviour {
    Behaviour { name, way: Way::Alone(try_it), against: &[], as_in_docker: false }
}

impl Behaviour {
    pub(crate) const fn last(name: &'static str) -> Self {
        Self { name, way: Way::Last, against: &[], as_in_docker: false }
    }

    pub(crate) const fn not_on(mut self, against: &'static [(On, &'static str)]) -> Self {
        self.against = against;
        self
    }

    /// What makes it so is the supervisor in an image, and a container for each task would show no more of that than the
    /// one for all, at half a second each.
    pub(crate) const fn as_in_docker(mut self) -> Self {
        self.as_in_docker = true;
        self
    }

    pub(crate) fn left_out(&self, kind: Kind) -> Option<LeftOut> {
        let against = self.against.iter().find(|(on, _)| on.takes_in(kind)).map(|(_, reason)| LeftOut::Cannot(reason));
        let again = self.as_in_docker && kind.sandbox == Some(Sandbox::Container);
        against.or(again.then_some(LeftOut::AsIn("docker")))
    }

    pub(crate) fn tasks(&self) -> &'static str {
        match self.way {
            Way::Together { tasks, .. } => tasks,
            Way::Alone(_) | Way::Last => "",
        }
    }
}
