//! What the commands that look at past and present runs have in common: which run is meant, and what can go wrong.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::args::{self, Misuse};
use crate::id::RunId;
use crate::journal::{self, Folded, ReadError, State};
use crate::store::{RunLookup, StateDir};

/// A run that was found.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) run: RunId,
    pub(super) dir: PathBuf,
    state_dir: StateDir,
}

/// Why nothing can be shown.
#[derive(Debug)]
pub enum Trouble {
    Misuse(Misuse),
    NoSuchRun(RunLookup),
    /// The run has no such task, or no such attempt; in words.
    NotThere(String),
    Journal(RunId, ReadError),
    Io(io::Error),
}

impl Trouble {
    /// The code to exit with.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Misuse(_) | Self::NoSuchRun(_) | Self::NotThere(_) => 2,
            Self::Journal(_, ReadError::Damaged { .. } | ReadError::Version { .. }) => 10,
            Self::Journal(_, ReadError::Io(_)) | Self::Io(_) => 74,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misuse(misuse) => misuse.fmt(f),
            Self::NoSuchRun(lookup) => lookup.fmt(f),
            Self::NotThere(text) => f.write_str(text),
            Self::Journal(run, error @ ReadError::Damaged { .. }) => {
                write!(f, "run {run}: {error}; to keep what verifies: fleet journal repair {run}")
            }
            Self::Journal(run, error) => write!(f, "run {run}: {error}"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Trouble {}

impl From<Misuse> for Trouble {
    fn from(misuse: Misuse) -> Self {
        Self::Misuse(misuse)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The state directory beside the fleet file, which is the nearest one unless it is named.
pub(super) fn state_dir(file: Option<PathBuf>) -> Result<StateDir, Trouble> {
    let file = args::choose(file, &std::env::current_dir()?)?.file;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(StateDir::of(folder))
}

impl Opened {
    /// The run of that name in the state directory beside the fleet file.
    pub(super) fn find(file: Option<PathBuf>, run: &str) -> Result<Self, Trouble> {
        let state_dir = state_dir(file)?;
        let run = state_dir.find(run).map_err(Trouble::NoSuchRun)?;
        Ok(Self { dir: state_dir.run_dir(&run), run, state_dir })
    }

    /// The folder of its fleet file.
    pub(super) fn workspace(&self) -> &Path {
        self.state_dir.path().parent().unwrap_or(Path::new(""))
    }

    pub(super) fn state_dir(&self) -> &StateDir {
        &self.state_dir
    }

    /// Whether a process is writing it now.
    pub(super) fn is_live(&self) -> bool {
        self.state_dir.owner().is_some_and(|owner| owner.run == self.run)
    }

    pub(super) fn fold(&self) -> Result<Folded, Trouble> {
        journal::fold(&self.dir).map_err(|error| self.journal(error))
    }

    /// The state, or that there is none yet.
    pub(super) fn state(&self, folded: Option<State>) -> Result<State, Trouble> {
        folded.ok_or_else(|| self.no_record())
    }

    /// That the run was ended before it could record anything.
    pub(super) fn no_record(&self) -> Trouble {
        Trouble::NotThere(format!("run {} has no record: it ended before it began", self.run))
    }

    pub(super) fn journal(&self, error: ReadError) -> Trouble {
        if let ReadError::Io(error) = &error
            && error.kind() == io::ErrorKind::NotFound
        {
            return self.no_record();
        }
        Trouble::Journal(self.run.clone(), error)
    }

    /// That the run has no task of this name, with the nearest it has.
    pub(super) fn no_task(&self, state: &State, name: &str) -> Trouble {
        let distance = |task: &str| strsim::damerau_levenshtein(task, name);
        let nearest = state.tasks.iter().map(|task| &*task.name).min_by_key(|task| distance(task));
        match nearest.filter(|task| distance(task) <= 1 + name.len() / 3) {
            Some(near) => Trouble::NotThere(format!("run {} has no task `{name}`; did you mean `{near}`?", self.run)),
            None => Trouble::NotThere(format!("run {} has no task `{name}`", self.run)),
        }
    }
}

/// `record 5`, `records 5 to 9`.
pub(super) fn range(numbers: &RangeInclusive<u64>) -> String {
    let (first, end) = (numbers.start(), numbers.end());
    if first == end { format!("record {first}") } else { format!("records {first} to {end}") }
}

#[cfg(test)]
mod tests;
