//! One task as written to one task of the model: its own words, else those of `[defaults]`, else the format's.

use std::time::Duration;

use super::context::Context;
use super::error::SpecError;
use super::file::{ArtifactRaw, DefaultsRaw, DurationText, List, OnUnknownRaw, Scalar, ShellRaw, Table, TaskRaw, Text};
use super::map::Spot;
use super::matrix::{Values, instance_name};
use super::needs::{self, Names};
use super::paths::PathKind;
use super::scorer::{self, Named};
use super::vars::{Reader, Scope};
use super::{retry, secret, when, worker};
use crate::id::{IdMap, PoolId, TaskId, WorkerId};
use crate::model::{
    Action, Artifact, Limits, Metadata, OnUnknown, Pool, Repeat, Retry, SecretUse, Security, Shell, Task, Worker,
};
use crate::time::written;

/// All that a task is resolved against.
pub(super) struct Tables<'a> {
    pub(super) cx: &'a Context<'a>,
    pub(super) names: &'a Names,
    pub(super) defaults: &'a DefaultsRaw,
    pub(super) workers: &'a IdMap<WorkerId, Worker>,
    pub(super) pools: &'a IdMap<PoolId, Pool>,
    pub(super) scorers: &'a Named,
    pub(super) security: Option<&'a Security>,
}

/// One instance on its way into the model.
struct One<'a> {
    cx: &'a Context<'a>,
    scope: &'a Scope<'a>,
    spot: &'a Spot<'a>,
    raw: &'a TaskRaw,
    tables: &'a Tables<'a>,
    name: &'a str,
}

/// Resolves one instance. After a mistake the result is unfit for use, and so is the whole.
pub(super) fn resolve(tables: &Tables<'_>, id: TaskId, base: &str, raw: &TaskRaw, values: Values) -> Task {
    let cx = tables.cx;
    let name = instance_name(base, &values);
    let section = Spot::top("tasks");
    let spot = section.key(base);
    let scope = cx.scope(Some(&name), &values);
    let one = One { cx, scope: &scope, spot: &spot, raw, tables, name: &name };
    let defaults = tables.defaults;
    one.check_handler(id);

    let timeout = one.time("timeout", raw.timeout.as_deref(), defaults.timeout.as_ref());
    let idle_timeout = one.time("idle_timeout", raw.idle_timeout.as_deref(), defaults.idle_timeout.as_ref());
    one.check_idle(idle_timeout, timeout);
    let task = Task {
        description: raw.description.as_ref().and_then(|text| cx.text(&scope, &spot.key("description"), text)),
        action: one.action(),
        needs: raw
            .needs
            .as_ref()
            .map(|list| tables.names.needs(cx, &scope, &spot.key("needs"), id, list))
            .unwrap_or_default(),
        inputs: raw.inputs.as_ref().map(|list| one.paths("inputs", list, PathKind::Exclusions)),
        cache: raw.cache.or(defaults.cache).unwrap_or(true),
        outputs: raw.outputs.as_ref().map(|list| one.paths("outputs", list, PathKind::Exclusions)).unwrap_or_default(),
        artifacts: raw.artifacts.as_ref().map(|list| one.artifacts(list)).unwrap_or_default(),
        env: one.env(),
        pass_env: one.variables("pass_env", raw.pass_env.as_deref(), defaults.pass_env.as_ref(), true),
        workdir: one.workdir(),
        stdin: raw.stdin.as_ref().and_then(|path| cx.path(&scope, &spot.key("stdin"), path, PathKind::One)),
        scratch: raw.scratch.unwrap_or(false),
        required_files: raw
            .required_files
            .as_ref()
            .map(|list| one.paths("required_files", list, PathKind::Glob))
            .unwrap_or_default(),
        required_env: one.variables("required_env", raw.required_env.as_deref(), defaults.required_env.as_ref(), false),
        tools: one.either("tools", raw.tools.as_deref(), defaults.tools.as_ref()),
        writable_paths: raw.writable_paths.as_ref().map(|list| one.paths("writable_paths", list, PathKind::Exclusions)),
        timeout,
        idle_timeout,
        start_within: one.time("start_within", raw.start_within.as_deref(), defaults.start_within.as_ref()),
        retry: one.retry(),
        repeat: one.repeat(),
        on_unknown: match raw.on_unknown.or(defaults.on_unknown) {
            Some(OnUnknownRaw::Hold) => OnUnknown::Hold,
            Some(OnUnknownRaw::Retry) | None => OnUnknown::Retry,
        },
        priority: raw.priority.or(defaults.priority).unwrap_or(0),
        uses: one.uses(),
        tags: raw.tags.as_ref().map(|list| needs::tags(cx, base, &values, list).into()).unwrap_or_default(),
        unwanted: raw.when.as_ref().and_then(|when| when::unwanted(cx, &scope, &spot.key("when"), when)),
        allow_failure: raw.allow_failure.unwrap_or(false),
        always: raw.always.unwrap_or(false),
        on_failure: raw
            .on_failure
            .as_ref()
            .map(|list| tables.names.on_failure(cx, base, id, &values, list))
            .unwrap_or_default(),
        worker: raw
            .worker
            .as_ref()
            .map(|request| Box::new(worker::request(cx, &scope, &spot.key("worker"), &name, tables.workers, request))),
        scorers: raw
            .scorers
            .as_ref()
            .map(|list| scorer::of_task(cx, &scope, &spot.key("scorers"), &name, tables.scorers, list))
            .unwrap_or_default(),
        secrets: one.secrets(),
        limits: one.limits(),
        pass_score: raw.pass_score.as_ref().map_or(0.0, |share| share.0),
        metadata: raw.metadata.as_ref().map(|free| metadata(&free.0)).unwrap_or_default(),
        base: base.into(),
        matrix: Box::default(),
        name: Box::default(),
    };
    Task { matrix: values, name, ..task }
}

pub(super) fn metadata(table: &serde_json::Map<String, serde_json::Value>) -> Metadata {
    table.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

impl One<'_> {
    /// A field of the task, or the same of `[defaults]`, with where it stands.
    fn own_or_default<'v, T>(
        &self,
        field: &'static str,
        own: Option<&'v T>,
        common: Option<&'v T>,
        read: impl FnOnce(&Spot<'_>, &'v T),
    ) {
        match (own, common) {
            (Some(value), _) => read(&self.spot.key(field), value),
            (None, Some(value)) => read(&Spot::top("defaults").key(field), value),
            (None, None) => {}
        }
    }

    fn time(&self, field: &'static str, own: Option<&DurationText>, common: Option<&DurationText>) -> Option<Duration> {
        let mut time = None;
        self.own_or_default(field, own, common, |spot, text| time = self.cx.duration(self.scope, spot, text));
        time
    }

    /// A task's own table stands in place of the common one, and none of it is mixed in.
    fn retry(&self) -> Option<Box<Retry>> {
        let mut read = None;
        self.own_or_default("retry", self.raw.retry.as_deref(), self.tables.defaults.retry.as_deref(), |spot, raw| {
            read = Some(Box::new(retry::retry(self.cx, self.scope, spot, raw)));
        });
        read
    }

    /// As [`Self::retry`].
    fn repeat(&self) -> Option<Repeat> {
        let mut read = None;
        self.own_or_default("repeat", self.raw.repeat.as_deref(), self.tables.defaults.repeat.as_ref(), |spot, raw| {
            read = Some(retry::repeat(self.cx, spot, raw));
        });
        read
    }

    /// As [`Self::retry`]. A table in which nothing is said bounds nothing.
    fn limits(&self) -> Option<Box<Limits>> {
        let (own, common) = (self.raw.limits.as_deref(), self.tables.defaults.limits.as_ref());
        let mut read = None;
        self.own_or_default("limits", own, common, |spot, raw| {
            read = Some(worker::limits(self.cx, self.scope, spot, raw));
        });
        read.filter(|limits| *limits != Limits { cpu_milli: None, memory_bytes: None, pids: None }).map(Box::new)
    }

    fn either(&self, field: &'static str, own: Option<&List<Text>>, common: Option<&List<Text>>) -> Box<[Box<str>]> {
        let mut words = Box::default();
        self.own_or_default(field, own, common, |spot, list| words = self.cx.texts(self.scope, spot, field, list));
        words
    }

    fn paths(&self, field: &'static str, list: &List<Text>, kind: PathKind) -> Box<[Box<str>]> {
        self.cx.paths(self.scope, &self.spot.key(field), field, list, kind)
    }

    fn action(&self) -> Action {
        let (cx, raw, spot) = (self.cx, self.raw, self.spot);
        let task = || self.name.to_owned();
        let mut common = Shell::Sh;
        if self.tables.defaults.shell == Some(ShellRaw::Bash) {
            common = Shell::Bash;
        }
        match (&raw.run, &raw.sh) {
            (Some(run), None) => {
                let at = spot.key("run");
                if raw.shell.is_some() {
                    let (run, at) = (cx.map.key_at(&at), cx.map.at(&spot.key("shell")));
                    cx.report(SpecError::ShellWithoutScript { task: task(), at, run });
                }
                let argv = cx.command(self.scope, &at, &|| format!("task `{}`", self.name), true, run);
                Action::Run(argv.unwrap_or_default())
            }
            (None, Some(sh)) => {
                let at = spot.key("sh");
                let text = cx.expanded(self.scope, &at, sh, Reader::Shell).unwrap_or_default();
                if sh.trim().is_empty() {
                    cx.report(SpecError::EmptyText { field: "sh", at: cx.map.at(&at) });
                } else if text.contains('\0') {
                    cx.report(SpecError::NulByte { at: cx.map.at(&at), field: "sh" });
                }
                let shell = match raw.shell {
                    Some(ShellRaw::Sh) => Shell::Sh,
                    Some(ShellRaw::Bash) => Shell::Bash,
                    None => common,
                };
                Action::Script { shell, text }
            }
            (Some(_), Some(_)) => {
                let (run, sh) = (cx.map.key_at(&spot.key("run")), cx.map.key_at(&spot.key("sh")));
                cx.report(SpecError::TwoActions { task: task(), run, sh });
                Action::Run(Box::default())
            }
            (None, None) => {
                cx.report(SpecError::NoAction { task: task(), at: cx.map.key_at(spot) });
                Action::Run(Box::default())
            }
        }
    }

    fn artifacts(&self, list: &List<ArtifactRaw>) -> Box<[Artifact]> {
        let (cx, scope, spot) = (self.cx, self.scope, self.spot.key("artifacts"));
        let artifact = |(n, raw): (usize, &ArtifactRaw)| {
            let spot = spot.index(n);
            let path = cx.path(scope, &spot.key("path"), &raw.path, PathKind::Glob);
            let kind = match &raw.kind {
                Some(kind) => cx.word(scope, &spot.key("kind"), "kind", kind),
                None => Some("report".into()),
            };
            let mime_type =
                raw.mime_type.as_ref().and_then(|text| cx.word(scope, &spot.key("mime_type"), "mime_type", text));
            Some(Artifact { path: path?, kind: kind?, mime_type, required: raw.required.unwrap_or(true) })
        };
        list.iter().enumerate().filter_map(artifact).collect()
    }

    /// The task's variables laid over the common ones, sorted by name.
    fn env(&self) -> Box<[(Box<str>, Box<str>)]> {
        let own = self.raw.env.as_deref().map_or(&[][..], |table| &table.0);
        let common = self.tables.defaults.env.as_ref().map_or(&[][..], |table: &Table<Scalar>| &table.0);
        if own.is_empty() && common.is_empty() {
            return Box::default();
        }
        let (cx, defaults) = (self.cx, Spot::top("defaults"));
        let (own_spot, common_spot) = (self.spot.key("env"), defaults.key("env"));
        let covered = |name: &str| own.iter().any(|(other, _)| **other == *name);
        let common = common.iter().filter(|(name, _)| !covered(name)).map(|entry| (&common_spot, entry));
        let mut env: Vec<(Box<str>, Box<str>)> = Vec::new();
        for (spot, (name, value)) in common.chain(own.iter().map(|entry| (&own_spot, entry))) {
            let at = spot.key(name);
            let value = cx.text(self.scope, &at, &value.to_string());
            if !cx.given_name(|| cx.map.key_at(&at), name) {
                continue;
            }
            let Some(value) = value else { continue };
            if value.contains('\0') {
                cx.report(SpecError::NulByte { at: cx.map.at(&at), field: "env" });
            }
            env.push((name.clone(), value));
        }
        env.sort_unstable();
        env.into()
    }

    fn secrets(&self) -> Box<[SecretUse]> {
        let Some(list) = &self.raw.secrets else { return Box::default() };
        let (spot, env_spot) = (&self.spot.key("secrets"), &self.spot.key("env"));
        let (env, security) = (&self.env(), self.tables.security);
        secret::Secrets { cx: self.cx, scope: self.scope, spot, task: self.name, env_spot, env, security }.uses(list)
    }

    fn variables(
        &self,
        field: &'static str,
        own: Option<&List<Text>>,
        common: Option<&List<Text>>,
        pattern: bool,
    ) -> Box<[Box<str>]> {
        let mut names: Vec<Box<str>> = Vec::new();
        self.own_or_default(field, own, common, |spot, list| {
            for (n, text) in list.iter().enumerate() {
                let at = spot.index(n);
                let Some(name) = self.cx.text(self.scope, &at, text) else { continue };
                if !self.cx.env_name(|| self.cx.map.at(&at), &name, pattern) {
                    continue;
                }
                if pattern && self.tables.security.is_some_and(|security| security.allowed_secrets.contains(&name)) {
                    let at = self.cx.map.at(&at);
                    self.cx.report(SpecError::SecretPassed { key: name.to_string(), at });
                }
                names.push(name);
            }
        });
        names.into()
    }

    /// Relative to the workspace; empty for the workspace itself.
    fn workdir(&self) -> Box<str> {
        let mut workdir = Box::default();
        let common = self.tables.defaults.workdir.as_ref();
        self.own_or_default("workdir", self.raw.workdir.as_deref(), common, |spot, text| {
            let path = self.cx.path(self.scope, spot, text, PathKind::One);
            workdir = path.filter(|path| &**path != ".").unwrap_or_default();
        });
        workdir
    }

    fn uses(&self) -> Box<[(PoolId, u32)]> {
        let (cx, spot) = (self.cx, self.spot.key("uses"));
        let Some(uses) = &self.raw.uses else { return Box::default() };
        let (policies, pools) = (Spot::top("policies"), self.tables.pools);
        let limits = policies.key("limits");
        let mut taken = Vec::with_capacity(uses.len());
        for (name, asks) in uses.iter() {
            let asks = asks.get();
            let Some((id, pool)) = pools.iter().find(|(_, pool)| pool.name == *name) else {
                let near = cx
                    .near(name, pools.values().map(|pool| &*pool.name), |near| Some(cx.map.key_at(&limits.key(near))));
                let (task, pool) = (self.name.to_owned(), name.to_string());
                cx.report(SpecError::UnknownPool { task, pool, at: cx.map.key_at(&spot.key(name)), near });
                continue;
            };
            if asks > pool.size {
                cx.report(SpecError::UsesTooMuch {
                    task: self.name.to_owned(),
                    pool: name.to_string(),
                    asks,
                    size: pool.size,
                    at: cx.map.at(&spot.key(name)),
                    size_at: cx.map.at(&limits.key(name)),
                });
            }
            taken.push((id, asks));
        }
        taken.sort_unstable();
        taken.into()
    }

    /// A handler starts when another task failed and at no other time: what would start it otherwise has no effect.
    fn check_handler(&self, id: TaskId) {
        let raw = self.raw;
        let fields = [
            ("needs", raw.needs.as_ref().is_some_and(|list| !list.is_empty())),
            ("always", raw.always == Some(true)),
            ("on_failure", raw.on_failure.as_ref().is_some_and(|list| !list.is_empty())),
        ];
        for (field, _) in fields.into_iter().filter(|(_, said)| *said) {
            let Some(by) = self.tables.names.handler(self.cx, id) else { return };
            let at = self.cx.map.key_at(&self.spot.key(field));
            self.cx.report(SpecError::HandlerField { task: self.name.to_owned(), field, at, by });
        }
    }

    fn check_idle(&self, idle: Option<Duration>, timeout: Option<Duration>) {
        let (Some(idle), Some(timeout)) = (idle, timeout) else { return };
        if idle < timeout || (self.raw.idle_timeout.is_none() && self.raw.timeout.is_none() && idle == timeout) {
            return;
        }
        let defaults = Spot::top("defaults");
        let place = |field: &'static str, own: bool| {
            if own { self.cx.map.at(&self.spot.key(field)) } else { self.cx.map.at(&defaults.key(field)) }
        };
        // A task that only shortens its own timeout below the common idle time asks for nothing contradictory.
        if self.raw.idle_timeout.is_none() && self.raw.timeout.is_some() {
            return;
        }
        self.cx.report(SpecError::IdleTooLong {
            task: self.name.to_owned(),
            idle: written(idle),
            timeout: written(timeout),
            at: place("idle_timeout", self.raw.idle_timeout.is_some()),
            timeout_at: place("timeout", self.raw.timeout.is_some()),
        });
    }
}
