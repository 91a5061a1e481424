//! `secrets` of a task: references to what it may know, held against what the policy allows.

use super::context::Context;
use super::error::{Place, SpecError};
use super::file::{List, SecretRaw, SecretSourceRaw};
use super::map::Spot;
use super::names;
use super::nearest::nearest;
use super::vars::Scope;
use crate::model::{Delivery, SecretSource, SecretUse, Security};

/// What a key's variable ends in when it holds a path.
const FILE: &str = "_FILE";

/// Where a list of secrets stands, and what it is held against.
pub(super) struct Secrets<'a> {
    pub(super) cx: &'a Context<'a>,
    pub(super) scope: &'a Scope<'a>,
    pub(super) spot: &'a Spot<'a>,
    pub(super) task: &'a str,
    /// Variables that the task sets itself, and where it does.
    pub(super) env_spot: &'a Spot<'a>,
    pub(super) env: &'a [(Box<str>, Box<str>)],
    pub(super) security: Option<&'a Security>,
}

impl Secrets<'_> {
    /// In the order of the file.
    pub(super) fn uses(&self, list: &List<SecretRaw>) -> Box<[SecretUse]> {
        let mut uses: Vec<(usize, SecretUse)> = Vec::with_capacity(list.len());
        for (n, raw) in list.iter().enumerate() {
            let Some(one) = self.one(&self.spot.index(n), raw) else { continue };
            let twice = uses.iter().find(|(_, other)| variable(other) == variable(&one)).map(|(first, _)| *first);
            if let Some(first) = twice {
                let first = self.cx.map.at(&self.spot.index(first));
                self.twice(&one, n, first);
            }
            if self.env.iter().any(|(name, _)| **name == *variable(&one)) {
                let place = |env: &Spot<'_>| self.cx.map.key(&env.key(variable(&one)).path());
                let first = place(self.env_spot).or_else(|| place(&Spot::top("defaults").key("env")));
                let first = first.map(|(file, span)| Place { file, span });
                self.twice(&one, n, first.unwrap_or_else(|| self.cx.map.at(&self.spot.index(n))));
            }
            uses.push((n, one));
        }
        uses.into_iter().map(|(_, one)| one).collect()
    }

    fn twice(&self, one: &SecretUse, n: usize, first: Place) {
        let again = self.cx.map.at(&self.spot.index(n));
        let variable = variable(one).to_owned();
        self.cx.report(SpecError::SecretVariable { task: self.task.to_owned(), variable, first, again });
    }

    fn one(&self, spot: &Spot<'_>, raw: &SecretRaw) -> Option<SecretUse> {
        let (cx, scope) = (self.cx, self.scope);
        let (key, key_spot, source, delivery) = match raw {
            SecretRaw::Key(key) => (key, *spot, None, None),
            SecretRaw::Table(table) => (&table.key, spot.key("key"), table.source, table.delivery.as_ref()),
        };
        let key = cx.text(scope, &key_spot, key)?;
        if !names::is_env_name(&key) || key.len() > crate::id::NAME_BYTES_MAX {
            cx.report(SpecError::SecretKey { at: cx.map.at(&key_spot) });
            return None;
        }
        self.check_allowed(&key, &key_spot);
        let source = match source {
            None | Some(SecretSourceRaw::Env) => SecretSource::Env,
            Some(SecretSourceRaw::File) => SecretSource::File,
            Some(SecretSourceRaw::Command) => SecretSource::Command,
        };
        if source == SecretSource::Command && self.security.is_some_and(|security| security.secrets_command.is_none()) {
            cx.report(SpecError::SecretCommand { at: cx.map.at(&spot.key("source")) });
        }
        let (named_at, delivery) = match delivery {
            None => (key_spot, Delivery::File(format!("{key}{FILE}").into())),
            Some(text) => (spot.key("as"), self.delivery(&spot.key("as"), &key, text)?),
        };
        if !cx.given_name(|| cx.map.at(&named_at), delivery.variable()) {
            return None;
        }
        Some(SecretUse { key, source, delivery })
    }

    /// `file`, `file:NAME`, `env`, `env:NAME`.
    fn delivery(&self, spot: &Spot<'_>, key: &str, text: &str) -> Option<Delivery> {
        let read = self.cx.text(self.scope, spot, text)?;
        let (word, name) = match read.split_once(':') {
            Some((word, name)) => (word, Some(name)),
            None => (&*read, None),
        };
        if !matches!(word, "file" | "env") {
            let near = nearest(word, ["file", "env"]).map(str::to_owned);
            self.cx.report(SpecError::SecretDelivery { at: self.cx.map.at(spot), word: word.to_owned(), near });
            return None;
        }
        Some(match (word, name) {
            ("env", name) => Delivery::Env(name.unwrap_or(key).into()),
            (_, Some(name)) => Delivery::File(name.into()),
            (_, None) => Delivery::File(format!("{key}{FILE}").into()),
        })
    }

    fn check_allowed(&self, key: &str, spot: &Spot<'_>) {
        let allowed = self.security.map_or(&[][..], |security| &security.allowed_secrets);
        if allowed.iter().any(|one| **one == *key) {
            return;
        }
        let policy = Spot::top("policies");
        let security = policy.key("security");
        let list = security.key("allowed_secrets");
        let cx = self.cx;
        let near = nearest(key, allowed.iter().map(|key| &**key)).map(str::to_owned);
        let place = cx.map.key(&list.path()).or_else(|| cx.map.key(&security.path()));
        cx.report(SpecError::SecretNotAllowed {
            task: self.task.to_owned(),
            key: key.to_owned(),
            at: cx.map.at(spot),
            list_at: place.map(|(file, span)| Place { file, span }),
            near,
        });
    }
}

/// The variable that an attempt is given.
fn variable(one: &SecretUse) -> &str {
    one.delivery.variable()
}
