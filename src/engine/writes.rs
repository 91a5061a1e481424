//! Whether a task kept to its `writable_paths`, checked after the fact: the workspace before and after, compared.
//!
//! A file that changed while several tasks ran can be laid at the door of one only if none of the others may write
//! there. So what a neighbour may write is nobody's fault, and beside a neighbour that declares no `writable_paths`,
//! which may write anywhere, nothing can be told at all; the receipt then does not claim the check.
//! Only tasks that declare `writable_paths` pay for the two walks.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use walkdir::WalkDir;

use crate::model::Task;

/// What tells one state of a file from another without reading it.
type Mark = (u64, u64, i64, i64, i64, i64);

/// Every file below the workspace, but for version control and our own state.
#[derive(Debug, Default)]
pub(crate) struct Snapshot(HashMap<String, Mark>);

impl Snapshot {
    pub(crate) fn take(workspace: &Path) -> io::Result<Self> {
        let mut files = HashMap::new();
        let walk = WalkDir::new(workspace).follow_links(false).into_iter();
        for entry in
            walk.filter_entry(|e| !(e.depth() == 1 && matches!(e.file_name().to_str(), Some(".git" | ".fleet"))))
        {
            // A file may vanish under the walk; that is a change like any other, seen by its absence.
            let Ok(entry) = entry else { continue };
            if entry.file_type().is_dir() {
                continue;
            }
            let Ok(m) = entry.metadata() else { continue };
            let path = entry.path().strip_prefix(workspace).map_err(io::Error::other)?;
            files.insert(
                path.to_string_lossy().into_owned(),
                (m.ino(), m.len(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()),
            );
        }
        Ok(Self(files))
    }

    /// Paths made, changed or removed since, sorted.
    fn changed(&self, after: &Self) -> Vec<String> {
        let mut paths: Vec<String> = after
            .0
            .iter()
            .filter(|(path, mark)| self.0.get(*path) != Some(mark))
            .map(|(path, _)| path)
            .chain(self.0.keys().filter(|path| !after.0.contains_key(*path)))
            .cloned()
            .collect();
        paths.sort();
        paths
    }
}

/// Paths that changed and that neither the task nor a neighbour may write; `None` when that cannot be told.
pub(crate) fn strays(before: &Snapshot, after: &Snapshot, task: &Task, beside: &[&Task]) -> Option<Vec<String>> {
    let mut sets = Vec::with_capacity(beside.len() + 1);
    for one in std::iter::once(&task).chain(beside) {
        sets.push(Allowed::of(one)?);
    }
    Some(before.changed(after).into_iter().filter(|path| !sets.iter().any(|set| set.has(path))).collect())
}

/// Where a task may write.
struct Allowed {
    set: GlobSet,
    /// What `!` takes out again.
    except: GlobSet,
}

impl Allowed {
    /// `None` for a task that does not say, and may write anywhere.
    fn of(task: &Task) -> Option<Self> {
        let (mut set, mut except) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        let artifacts = task.artifacts.iter().map(|artifact| &artifact.path);
        for pattern in task.writable_paths.as_ref()?.iter().chain(&task.outputs).chain(artifacts) {
            let (into, pattern) = match pattern.strip_prefix('!') {
                Some(pattern) => (&mut except, pattern),
                None => (&mut set, &**pattern),
            };
            // A pattern also stands for what lies below it, so that a folder can be named.
            for text in [pattern, &format!("{}/**", pattern.trim_end_matches('/'))] {
                into.add(GlobBuilder::new(text).literal_separator(true).build().ok()?);
            }
        }
        Some(Self { set: set.build().ok()?, except: except.build().ok()? })
    }

    fn has(&self, path: &str) -> bool {
        self.set.is_match(path) && !self.except.is_match(path)
    }
}
