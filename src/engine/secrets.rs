//! The secrets of a run: their values are asked for once, before anything is written or started, and looked for in
//! everything that the run prints, keeps or tells.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::Engine;
use super::launch::Refused;
use crate::host::secret::{self, Value};
use crate::id::{TaskId, WorkerId};
use crate::journal::Event;
use crate::model::{Delivery, Fleet, SecretSource, SecretUse};
use crate::plan::explain::Reason;
use crate::plan::fingerprint::Change;
use crate::policy::grants::{SECRETS_FROM, may_have_secrets};
use crate::policy::mask::{Masker, Masks};
use crate::protocol::Receipt;
use crate::protocol::receipt::{FailureKind, TaskResult};
use crate::receipt::argv_digest;
use crate::supervisor::frame::Spawn;

/// The values of a run's secrets, and how to keep them out of everything.
#[derive(Debug)]
pub struct Secrets {
    values: HashMap<(Box<str>, &'static str), Value>,
    masks: Arc<Masks>,
}

/// A secret without a value that can be used.
#[derive(Debug, thiserror::Error)]
#[error("the secret `{key}` of task `{task}` (source `{}`) cannot be had: {why}", source_word.name())]
pub struct NoSecret {
    pub key: Box<str>,
    pub source_word: SecretSource,
    /// The first task that asks for it.
    pub task: Box<str>,
    pub why: String,
}

impl Secrets {
    /// The values of all that these tasks ask for; `None` when they ask for nothing.
    ///
    /// # Errors
    /// The first that cannot be had.
    pub fn of(fleet: &Fleet, tasks: impl Iterator<Item = TaskId>) -> Result<Option<Self>, NoSecret> {
        let mut values: HashMap<(Box<str>, &'static str), Value> = HashMap::new();
        for task in tasks.map(|id| &fleet.tasks[id]).filter(|task| task.unwanted.is_none()) {
            for one in &task.secrets {
                let name = (one.key.clone(), one.source.name());
                if values.contains_key(&name) {
                    continue;
                }
                let known: Vec<&str> = values.values().map(|value| value.as_str()).collect();
                let value = value_of(fleet, one, &known);
                let value = value.map_err(|why| NoSecret {
                    key: one.key.clone(),
                    source_word: one.source,
                    task: task.name.clone(),
                    why,
                })?;
                values.insert(name, value);
            }
        }
        if values.is_empty() {
            return Ok(None);
        }
        let mut all: Vec<(&str, &str)> = values.iter().map(|((key, _), value)| (&**key, value.as_str())).collect();
        all.sort_unstable();
        let masks = Arc::new(Masks::new(all));
        Ok(Some(Self { values, masks }))
    }

    #[must_use]
    pub fn masks(&self) -> &Arc<Masks> {
        &self.masks
    }
}

/// The value of one; `known` are those that no message may repeat.
pub(super) fn value_of(fleet: &Fleet, one: &SecretUse, known: &[&str]) -> Result<Value, String> {
    let variable = |name: &str| std::env::var_os(name);
    let security = fleet.policies.security.as_deref();
    match one.source {
        SecretSource::Env => secret::from_env(&one.key, variable),
        SecretSource::File => {
            let folder: Option<PathBuf> = security.and_then(|security| security.secrets_directory.clone());
            secret::from_file(&one.key, folder.or_else(|| secret::default_folder(variable)).as_deref())
        }
        SecretSource::Command => {
            let argv = security.and_then(|security| security.secrets_command.as_deref());
            secret::from_command(&one.key, argv.unwrap_or_default(), &fleet.workspace, known)
        }
    }
}

/// The two streams of an attempt on their way out.
#[derive(Debug, Default)]
pub(super) struct Maskers {
    pub stdout: Masker,
    pub stderr: Masker,
}

impl Engine<'_> {
    /// Gives a process the secrets of its task, where its worker may have them.
    pub(super) fn give_secrets(&self, id: TaskId, worker: WorkerId, spawn: &mut Spawn) -> Result<(), Refused> {
        let fleet = self.view.fleet;
        let task = &fleet.tasks[id];
        spawn.unnamed = self.masks.is_some();
        if task.secrets.is_empty() {
            return Ok(());
        }
        let trust = fleet.workers[worker].trust;
        if !may_have_secrets(fleet, task, trust) {
            return Err(Refused(format!(
                "it has secrets, which the trust `{trust}` may not have: that takes `{SECRETS_FROM}`, or a grant"
            )));
        }
        for one in &task.secrets {
            let value = self.job.secrets.as_ref().and_then(|all| all.values.get(&(one.key.clone(), one.source.name())));
            let Some(value) = value else { return Err(Refused(format!("its secret `{}` has no value", one.key))) };
            match &one.delivery {
                Delivery::Env(name) => spawn.set.push((name.to_string(), value.to_string())),
                Delivery::File(name) => spawn.secret_files.push((name.to_string(), value.to_string())),
            }
        }
        Ok(())
    }

    /// Words that are written down.
    pub(super) fn masked(&self, mut text: String) -> String {
        if let Some(masks) = &self.masks {
            masks.replace(&mut text);
        }
        text
    }

    /// What happened, with no value in its words. A receipt was masked when it was made, output as it came.
    pub(super) fn emit_masked(&mut self, masks: &Masks, event: Event<'_>) -> u64 {
        match event {
            Event::Warning { text } => self.tell_of(Event::Warning { text: &masks.text(text) }),
            Event::Explained { task, reasons } => {
                let reasons: Vec<Reason> = reasons.iter().map(|reason| without_values(masks, reason)).collect();
                self.tell_of(Event::Explained { task, reasons: &reasons })
            }
            other => self.tell_of(other),
        }
    }

    /// A receipt with no value in it. One that would still hold one is that of a failure, and names nothing that holds it.
    pub(super) fn without_secrets(&self, mut receipt: Receipt) -> Receipt {
        let Some(masks) = &self.masks else { return receipt };
        let cut = |name: &mut String| *name = masks.cut_text(name);
        receipt.leaked.iter_mut().for_each(cut);
        let holds = |receipt: &Receipt| {
            let text = serde_json::to_vec(receipt).unwrap_or_default();
            masks.find(&text).map(str::to_owned)
        };
        if holds(&receipt).is_none() {
            return receipt;
        }
        let replace = |text: &mut String| masks.replace(text);
        receipt.cause.iter_mut().for_each(replace);
        for attempt in &mut receipt.attempts {
            attempt.cause.iter_mut().chain(&mut attempt.leaked).for_each(replace);
        }
        receipt.scorers.iter_mut().for_each(|record| replace(&mut record.evidence));
        receipt.score.iter_mut().filter_map(|score| score.notes.as_mut()).for_each(replace);
        if receipt.argv.iter().any(|word| masks.find(word.as_bytes()).is_some()) {
            receipt.argv = receipt.argv.iter().map(|word| masks.text(word).into()).collect();
            receipt.argv_digest = Some(argv_digest(&receipt.argv));
        }
        if let Some(key) = holds(&receipt) {
            let cause = format!("its receipt would hold the secret `{key}`");
            (receipt.result, receipt.failure_kind) = (TaskResult::Fail, Some(FailureKind::Task));
            for attempt in receipt.attempts.iter_mut().filter(|attempt| attempt.attempt == receipt.attempt) {
                (attempt.result, attempt.failure_kind) = (TaskResult::Fail, Some(FailureKind::Task));
                attempt.cause = Some(cause.clone());
            }
            receipt.cause = Some(cause);
            (receipt.outputs, receipt.artifacts, receipt.scorers) = (Vec::new(), Vec::new(), Vec::new());
            (receipt.argv, receipt.argv_digest, receipt.fingerprint) = (Box::default(), None, None);
            receipt.metadata.clear();
            receipt.labels = Arc::default();
        }
        receipt
    }
}

/// Values of an earlier fleet file may be told as what has changed.
fn without_values(masks: &Masks, reason: &Reason) -> Reason {
    let mut reason = reason.clone();
    let text = |text: &mut Box<str>| *text = masks.text(text).into();
    match &mut reason {
        Reason::NotKept(why) | Reason::Lost(why) | Reason::Leftover(why) | Reason::Unreadable(why) => text(why),
        Reason::Different(difference) => {
            text(&mut difference.name);
            if let Change::Changed { from, to } = &mut difference.change {
                text(from);
                text(to);
            }
        }
        Reason::Never(_)
        | Reason::Forced
        | Reason::NoCache
        | Reason::First
        | Reason::LastResult(_)
        | Reason::NeedDidNotPass(_)
        | Reason::NeedRuns(_) => {}
    }
    reason
}
