//! A row of the table: what is tried, and how what came of it is judged.

use super::column::Column;
use super::seen::{Seen, Task};

/// Whether a behaviour was found, or what was found instead.
pub(crate) type Tried = Result<(), String>;

/// The same, with the task that was looked at last.
pub(crate) type Judged<'a> = Result<Task<'a>, String>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Local,
    Docker,
    Podman,
    Ssh,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// Tasks of the one fleet file that is run for all of these. `@mark@` in them is a word by which processes of the
    /// column are known, `@kind@` its kind.
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
    against: &'static [(Kind, &'static str)],
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Local, Self::Docker, Self::Podman, Self::Ssh];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Ssh => "ssh",
        }
    }
}

/// A behaviour that a task or a few show.
pub(crate) const fn task(
    name: &'static str,
    tasks: &'static str,
    judge: for<'a> fn(&'a Seen) -> Judged<'a>,
) -> Behaviour {
    Behaviour { name, way: Way::Together { tasks, judge }, against: &[] }
}

/// A behaviour that only runs of its own show.
pub(crate) const fn alone(name: &'static str, try_it: fn(&Column) -> Tried) -> Behaviour {
    Behaviour { name, way: Way::Alone(try_it), against: &[] }
}

impl Behaviour {
    pub(crate) const fn last(name: &'static str) -> Self {
        Self { name, way: Way::Last, against: &[] }
    }

    pub(crate) const fn not_on(mut self, against: &'static [(Kind, &'static str)]) -> Self {
        self.against = against;
        self
    }

    pub(crate) fn reason_against(&self, kind: Kind) -> Option<&'static str> {
        self.against.iter().find(|(other, _)| *other == kind).map(|(_, reason)| *reason)
    }

    pub(crate) fn tasks(&self) -> &'static str {
        match self.way {
            Way::Together { tasks, .. } => tasks,
            Way::Alone(_) | Way::Last => "",
        }
    }
}
