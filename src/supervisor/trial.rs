//! What a supervisor on this machine could hold a task by, found by trying it now: for `fleet doctor`, and whoever wants
//! to know before a task does.

use super::confine::{self, Layers};
use super::group::{self, Controller};
use super::secrets;

/// One means, and whether it works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    pub name: &'static str,
    /// What it is needed for.
    pub purpose: &'static str,
    /// What was found, or why it does not work.
    pub found: Result<String, String>,
    /// How to get it.
    pub get: &'static str,
}

/// Tries all there are.
#[must_use]
pub fn trials() -> Vec<Trial> {
    let layers = Layers::default();
    let mut trials = vec![
        Trial {
            name: "bubblewrap",
            purpose: "trust `sandbox`: namespaces of its own for a task",
            found: layers.bubblewrap(),
            get: confine::GET_BUBBLEWRAP,
        },
        Trial {
            name: "landlock",
            purpose: "trust `sandbox` without bubblewrap, and within it",
            found: layers.landlock_alone(),
            get: "it takes Linux 6.12 or newer with `landlock` among its security modules (`lsm=` of the kernel's \
                command line)",
        },
        Trial {
            name: "landlock writes",
            purpose: "trust `local` under a security policy: what a task may write",
            found: layers.landlock_writes(),
            get: "it takes Linux 6.2 or newer with `landlock` among its security modules (`lsm=` of the kernel's \
                command line)",
        },
        Trial {
            name: "seccomp",
            purpose: "trust `sandbox`: no sockets, no other process's memory",
            found: layers.seccomp(),
            get: confine::GET_SECCOMP,
        },
        Trial {
            name: "tmpfs",
            purpose: "secret files that are never on a disk",
            found: secrets::memory(),
            get: "mount a tmpfs at /dev/shm, or set XDG_RUNTIME_DIR to one of your own; without one they are in the \
                state directory while an attempt runs",
        },
    ];
    trials.extend(Controller::ALL.map(|controller| {
        let (name, purpose) = match controller {
            Controller::Cpu => ("cgroup cpu", "`limits.cpu` of a task"),
            Controller::Memory => ("cgroup memory", "`limits.memory` of a task"),
            Controller::Pids => ("cgroup pids", "`limits.pids` of a task"),
        };
        Trial { name, purpose, found: layers.limit(controller), get: group::ADVICE }
    }));
    trials
}
