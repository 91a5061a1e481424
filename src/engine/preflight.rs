//! What has to be there before a task can start: `required_files`, `required_env`, `tools`. Asked before each attempt,
//! and of all tasks at once by `fleet check --preflight`, which looks for their secrets too.

use std::io;
use std::path::Path;

use super::environment::{Environments, Variables};
use super::launch::{cwd, search_path};
use super::secrets::value_of;
use crate::id::TaskId;
use crate::model::task::is_glob;
use crate::model::{Fleet, Host, SecretSource, SecretUse, Task, Worker};
use crate::store::Root;
use crate::store::scan::{Scan, ScanError};

/// Something that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// The key of the task that asks for it.
    pub field: &'static str,
    /// Which entry of its list.
    pub index: usize,
    /// In words: `the tool `x` is not on PATH`.
    pub why: String,
}

/// Everything that tasks ask for and this machine lacks, by task.
///
/// # Errors
/// When the workspace cannot be opened.
pub fn preflight(fleet: &Fleet) -> io::Result<Vec<(TaskId, Lacking)>> {
    let root = Root::open(&fleet.workspace)?;
    let (mut environments, _) = Environments::capture(std::env::vars_os(), Variables::new(), fleet.allowed_secrets());
    let mut found = Vec::new();
    for (id, task) in fleet.tasks.iter().filter(|(_, task)| task.unwanted.is_none()) {
        let lacking = lacking(fleet, task, &root, &mut environments);
        found.extend(lacking.into_iter().chain(secrets(fleet, task)).map(|lacking| (id, lacking)));
    }
    Ok(found)
}

/// Secrets that cannot be had. A program is not asked: it may want to talk to a person.
fn secrets(fleet: &Fleet, task: &Task) -> Vec<Lacking> {
    let asked = task.secrets.iter().enumerate().filter(|(_, one)| one.source != SecretSource::Command);
    let lacking = |(index, one): (usize, &SecretUse)| {
        let why = value_of(fleet, one, &[]).err()?;
        Some(Lacking { field: "secrets", index, why: format!("its secret `{}` cannot be had: {why}", one.key) })
    };
    asked.filter_map(lacking).collect()
}

/// All that one task lacks, not only the first.
pub(super) fn lacking(fleet: &Fleet, task: &Task, root: &Root, environments: &mut Environments) -> Vec<Lacking> {
    let mut found = Vec::new();
    for (index, path) in task.required_files.iter().enumerate() {
        let why = match is_there(&fleet.workspace, root, path) {
            Ok(true) => continue,
            Ok(false) if is_glob(path) => format!("no file matches the required `{path}`"),
            Ok(false) => format!("the required file `{path}` does not exist"),
            Err(error) => format!("the required file `{path}` cannot be looked for: {error}"),
        };
        found.push(Lacking { field: "required_files", index, why });
    }
    if task.required_env.is_empty() && task.tools.is_empty() {
        return found;
    }
    let (shared, path) = search_path(environments, task);
    for (index, name) in task.required_env.iter().enumerate() {
        let is_secret = task.secrets.iter().any(|one| one.delivery.variable() == &**name);
        if !is_secret && environments.value(shared, &task.env, name).is_none() {
            let why = match environments.caller(name) {
                Some(_) if environments.is_withheld(name) => {
                    "is that of a secret, which this task does not ask for: add it to `secrets`"
                }
                Some(_) => "is set but not let through: add it to `pass_env`",
                None => "is not set",
            };
            found.push(Lacking { field: "required_env", index, why: format!("the required variable `{name}` {why}") });
        }
    }
    // Elsewhere the host is asked, when it is reached.
    let here = |worker: &Worker| worker.host == Host::Local;
    if !fleet.workers.values().any(here) {
        return found;
    }
    let cwd = cwd(fleet, task);
    for (index, tool) in task.tools.iter().enumerate() {
        if environments.program(tool, &path, &cwd).is_none() {
            found.push(Lacking { field: "tools", index, why: format!("the tool `{tool}` is not on PATH") });
        }
    }
    found
}

/// Whether there is anything at a path, or a file that matches a glob.
fn is_there(workspace: &Path, root: &Root, path: &str) -> Result<bool, ScanError> {
    if is_glob(path) {
        return Ok(!Scan::new(&[path])?.expand(root)?.files.is_empty());
    }
    Ok(workspace.join(path).exists())
}
