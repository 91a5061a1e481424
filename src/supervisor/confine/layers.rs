//! The same probes for who only asks: an answer in words for each layer.

use super::super::group::{Controller, Groups};
use super::again::Again;
use super::landlock::{ALL, Level, WRITES};
use super::probe::{self, Found};

/// Tries each layer when it is asked about.
#[derive(Debug)]
pub(in super::super) struct Layers {
    again: Again,
    found: Found,
}

impl Default for Layers {
    fn default() -> Self {
        Self { again: Again::find(), found: Found::default() }
    }
}

impl Layers {
    pub(in super::super) fn bubblewrap(&self) -> Result<String, String> {
        self.found.bubblewrap(&self.again).map(str::to_owned).map_err(str::to_owned)
    }

    pub(in super::super) fn landlock_alone(&self) -> Result<String, String> {
        self.landlock(ALL, "files, signals and abstract sockets")
    }

    pub(in super::super) fn landlock_writes(&self) -> Result<String, String> {
        self.landlock(WRITES, "files")
    }

    pub(in super::super) fn seccomp(&self) -> Result<String, String> {
        self.found.seccomp(&self.again).map(|()| "filters hold".to_owned()).map_err(str::to_owned)
    }

    /// A bound of a task's own.
    pub(in super::super) fn limit(&self, controller: Controller) -> Result<String, String> {
        let group = Groups::default().make("trial", 0, controller.trial(), 0)?;
        probe::try_group(&self.again, &group)?;
        Ok(group.shown())
    }

    fn landlock(&self, needed: Level, holds: &str) -> Result<String, String> {
        match self.found.landlock(&self.again) {
            Ok(level) if level >= needed => Ok(format!("holds {holds}")),
            Ok(_) => Err("this kernel's holds too little".to_owned()),
            Err(why) => Err(why.to_owned()),
        }
    }
}
