//! How a task's program is looked up: the same on the engine's machine and on every other.

use std::path::{Path, PathBuf};

/// Whether it matters from which folder a program is looked up: not for a bare name, unless `PATH` has a relative entry.
#[must_use]
pub(crate) fn depends_on_folder(name: &str, path: &str) -> bool {
    name.contains('/') || path.split(':').any(|folder| !folder.starts_with('/'))
}

/// A program by `PATH` when it is a bare name, else from a folder.
#[must_use]
pub(crate) fn find(name: &str, path: &str, folder: &Path) -> Option<PathBuf> {
    which::which_in(name, Some(path), folder).ok()
}

/// What is said of one that is not found.
#[must_use]
pub(crate) fn missing(name: &str) -> String {
    let place = if name.contains('/') { "does not exist or is not executable" } else { "is not on PATH" };
    format!("the program `{name}` {place}")
}
