//! `--affected [REV]`: of the tasks that the words select, those that a change touches.

use std::io::{self, Write as _};

use clap::Args;
use serde_json::{Map, Value, json};

use super::Trouble;
use super::args::is_fleet_file;
use super::git::{self, Changes, GitError, Since};
use super::load::Ready;
use crate::graph::affected::{self, By, ChangeKind, Reason};
use crate::id::{IdMap, TaskId};
use crate::model::Fleet;
use crate::policy::ExitCode;

/// What stands for a REV that was not given. No word of a command line has such a character.
const NOT_GIVEN: &str = "\0";

/// Only what a change touches.
#[derive(Args, Clone, Debug, Default)]
pub struct AffectedArgs {
    /// Only tasks touched by what changed in git since REV, or since the default branch was left
    #[arg(long, value_name = "REV", num_args = 0..=1, default_missing_value = NOT_GIVEN, value_parser = since)]
    pub affected: Option<Since>,
}

fn since(text: &str) -> Result<Since, String> {
    match text {
        NOT_GIVEN => Ok(Since::DefaultBranch),
        "" => Err("expected a branch, a tag or a commit".to_owned()),
        text if text.starts_with('-') => Err("no revision begins with `-`".to_owned()),
        text => Ok(Since::Revision(text.to_owned())),
    }
}

/// What a change touches, and why.
#[derive(Debug)]
pub struct Affected {
    pub changes: Changes,
    pub reasons: IdMap<TaskId, Option<Reason>>,
}

impl AffectedArgs {
    /// Narrows the selection if that was asked for, and says so on standard error.
    ///
    /// # Errors
    /// When nobody knows what changed.
    pub fn narrow(&self, ready: &mut Ready) -> Result<(), Trouble> {
        let Some(since) = &self.affected else { return Ok(()) };
        let misuse = |text: String| Trouble::Other(ExitCode::Usage, text);
        let changes = match (git::changes(&ready.fleet.workspace, since), since) {
            (Ok(_), Since::Revision(word)) if is_task(&ready.fleet, word) => return Err(misuse(ambiguous(word))),
            (Err(GitError::Unknown(word)), _) if is_task(&ready.fleet, &word) || is_fleet_file(&word) => {
                return Err(misuse(format!(
                    "--affected takes the word behind it for a revision, and git knows no `{word}`: \
                     put it before, as in `{word} --affected`"
                )));
            }
            (changes, _) => changes.map_err(|error| misuse(error.to_string()))?,
        };
        // Where nothing changed, no file has to be read for its name.
        let sources = if changes.paths.is_empty() { &[] } else { ready.origins.map().sources() };
        let definitions: Vec<&str> = sources.iter().map(|source| &*source.name).collect();
        let reasons = affected::affected(&ready.fleet, &ready.graph, &changes.paths, &definitions);
        let asked = ready.selection.targets.len();
        if !ready.selection.is_empty() {
            ready.selection = ready.selection.only(&ready.fleet, &ready.graph, |task| reasons[task].is_some());
            // A closed standard error is no reason to stop.
            let _ = writeln!(io::stderr(), "{}", summary(&changes, ready.selection.targets.len(), asked));
            ready.affected = Some(Affected { changes, reasons });
        }
        Ok(())
    }

    /// The same words again.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        match &self.affected {
            None => Vec::new(),
            Some(Since::DefaultBranch) => vec!["--affected".to_owned()],
            Some(Since::Revision(revision)) => vec!["--affected".to_owned(), revision.clone()],
        }
    }
}

fn is_task(fleet: &Fleet, word: &str) -> bool {
    fleet.tasks.values().any(|task| *task.name == *word || *task.base == *word)
}

fn ambiguous(word: &str) -> String {
    format!(
        "`{word}` is a task and a revision: write `{word} --affected` for the task, \
         and the whole name, as in `--affected refs/heads/{word}`, for the revision"
    )
}

fn summary(changes: &Changes, touched: usize, of: usize) -> String {
    let since = &changes.since;
    let paths = match changes.paths.len() {
        0 => format!("no path changed since {since}"),
        1 => format!("1 path changed since {since}"),
        many => format!("{many} paths changed since {since}"),
    };
    match touched {
        0 => format!("affected: nothing; {paths}"),
        _ => format!("affected: {touched} of {of} {}; {paths}", if of == 1 { "task" } else { "tasks" }),
    }
}

impl Affected {
    /// Why a task is affected, in words.
    #[must_use]
    pub fn why(&self, fleet: &Fleet, task: TaskId) -> Option<String> {
        self.reasons[task].map(|reason| reason.text(fleet, task, &self.changes.paths))
    }

    /// What was compared, for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let kind = |kind: ChangeKind| match kind {
            ChangeKind::File => "file",
            ChangeKind::Link => "link",
            ChangeKind::Folder => "folder",
        };
        let changed = self.changes.paths.iter().map(|change| json!({ "path": change.path, "kind": kind(change.kind) }));
        json!({ "since": self.changes.since, "base": self.changes.base, "changed": changed.collect::<Value>() })
    }

    /// Why a task is affected, for programs; null for a task that is not.
    #[must_use]
    pub fn reason(&self, fleet: &Fleet, task: TaskId) -> Value {
        let Some(reason) = self.reasons[task] else { return Value::Null };
        let path = |change: u32| self.changes.paths.get(change as usize).map(|change| &*change.path);
        let mut map = Map::new();
        let mut put = |key: &str, value: Value| drop(map.insert(key.to_owned(), value));
        match reason {
            Reason::Path { change, by } => {
                put("because", "path".into());
                put("path", path(change).into());
                let declared = &fleet.tasks[task];
                match by {
                    By::Input(_) => {
                        put("by", "inputs".into());
                        put("pattern", by.pattern(declared).into());
                    }
                    By::Stdin => put("by", "stdin".into()),
                    By::Program => put("by", "program".into()),
                    By::Scorer(position) => {
                        put("by", "scorer".into());
                        put("scorer", declared.scorers.get(position as usize).map(|scorer| &*scorer.name).into());
                    }
                }
            }
            Reason::Definition { change } => {
                put("because", "definition".into());
                put("path", path(change).into());
            }
            Reason::NoInputs => put("because", "no_inputs".into()),
            Reason::Needs(upstream) => {
                put("because", "needs".into());
                put("task", fleet.tasks[upstream].name.to_string().into());
            }
        }
        map.into()
    }
}
