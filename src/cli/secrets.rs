//! The secrets of a run, asked for before it begins; and what would put one of them on the disk as it is.

use super::load::Ready;
use super::problem::Trouble;
use crate::engine::secrets::Secrets;
use crate::policy::ExitCode;
use crate::policy::mask::Masks;
use crate::protocol::run::RunRequest;

/// The values of all that the selected tasks ask for; `None` when they ask for nothing.
///
/// # Errors
/// When one cannot be had, or stands in plain text in what the run is asked for and would be recorded.
pub(super) fn of(ready: &Ready, request: &RunRequest) -> Result<Option<Secrets>, Trouble> {
    let fleet = &ready.fleet;
    let secrets = Secrets::of(fleet, ready.selection.tasks());
    let secrets = secrets.map_err(|error| Trouble::Other(ExitCode::Usage, error.to_string()))?;
    let Some(secrets) = secrets else { return Ok(None) };
    let masks = secrets.masks();
    if let Some((name, key)) = in_set(masks, request) {
        let text = format!(
            "`--set {name}=…` holds the value of the secret `{key}`, and a command line is seen by everyone on this \
             machine: refer to the secret by its key, in `secrets`"
        );
        return Err(Trouble::Other(ExitCode::Usage, text));
    }
    if let Some(key) = masks.find(&ready.bytes()) {
        let task = fleet.tasks.values().find(|task| masks.find(format!("{task:?}").as_bytes()).is_some());
        let place = task.map_or_else(String::new, |task| format!(", in task `{}`", masks.text(&task.name)));
        let text = format!(
            "the value of the secret `{key}` stands in the fleet file as it is{place}: refer to it by its key, in `secrets`"
        );
        return Err(Trouble::Other(ExitCode::InvalidFile, text));
    }
    Ok(Some(secrets))
}

/// A variable of the command line, by its name, and the key of the secret in it.
fn in_set<'a>(masks: &'a Masks, request: &'a RunRequest) -> Option<(&'a str, &'a str)> {
    request.set.iter().find_map(|(name, value)| Some((name.as_str(), masks.find(value.as_bytes())?)))
}
