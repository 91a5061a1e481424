//! Names of tasks to ids: instances and bases, tags, needs, and which tasks are handlers of failures.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::context::Context;
use super::error::{Near, Place, SpecError};
use super::file::{Accept, List, NeedRaw, TaskRaw, Text};
use super::map::Spot;
use super::matrix::{self, TASKS_MAX, Values, instance_name};
use super::vars::Scope;
use crate::id::{Id, TaskId};
use crate::model::Need;

/// Most needs of all tasks together.
pub(super) const NEEDS_MAX: usize = 5_000_000;

/// What names stand for, known before any task is resolved.
pub(super) struct Names {
    /// Each key under `[tasks]`, with the instances it makes.
    bases: HashMap<Box<str>, Range<usize>>,
    /// The names of matrix instances only; a task without `matrix` is its own base.
    instances: HashMap<Box<str>, TaskId>,
    tags: BTreeMap<Box<str>, Vec<TaskId>>,
    /// Handlers, with the base that names them first in `on_failure`, and at which index.
    handlers: HashMap<TaskId, (Box<str>, usize)>,
}

/// The ids of one task as written: `first` and on, one for each instance. A task without `matrix` has one instance
/// without values.
pub(super) struct Plan {
    pub(super) instances: Vec<Values>,
    pub(super) first: usize,
}

/// The names of all tasks, each with its base.
pub(super) fn names<'t>(
    written: &'t [(Text, TaskRaw)],
    plans: &'t [Plan],
) -> impl Iterator<Item = (Box<str>, &'t str)> {
    let all = written.iter().zip(plans);
    all.flat_map(|((base, _), plan)| plan.instances.iter().map(|values| (instance_name(base, values), &**base)))
}

/// A task as written, with its plan. The two are kept apart so that two hundred thousand tasks are never copied.
struct Planned<'a> {
    base: &'a Text,
    raw: &'a TaskRaw,
    instances: &'a [Values],
    first: usize,
}

fn planned<'a>(written: &'a [(Text, TaskRaw)], plans: &'a [Plan]) -> impl Iterator<Item = Planned<'a>> {
    written.iter().zip(plans).map(|((base, raw), plan)| Planned {
        base,
        raw,
        instances: &plan.instances,
        first: plan.first,
    })
}

/// Where a base's declaration stands.
fn declared(cx: &Context<'_>, base: &str) -> Place {
    cx.map.key_at(&Spot::top("tasks").key(base))
}

/// Expands matrices. Ids follow the order of the file.
pub(super) fn plan(cx: &Context<'_>, written: &[(Text, TaskRaw)]) -> Vec<Plan> {
    let section = Spot::top("tasks");
    let mut first = 0;
    let mut plans = Vec::with_capacity(written.len());
    for (base, raw) in written {
        let spot = section.key(base);
        let instances = match &raw.matrix {
            Some(matrix) => matrix::instances(cx, &spot.key("matrix"), base, matrix, TASKS_MAX - first.min(TASKS_MAX)),
            None => vec![Values::default()],
        };
        if raw.matrix.is_none() && first >= TASKS_MAX {
            cx.report(SpecError::TooManyTasks { at: cx.map.key_at(&spot), limit: TASKS_MAX });
            break;
        }
        let count = instances.len();
        plans.push(Plan { instances, first });
        first += count;
    }
    plans
}

impl Names {
    pub(super) fn of(cx: &Context<'_>, written: &[(Text, TaskRaw)], plans: &[Plan]) -> Self {
        let mut names = Self {
            bases: HashMap::with_capacity(plans.len()),
            instances: HashMap::new(),
            tags: BTreeMap::new(),
            handlers: HashMap::new(),
        };
        for task in planned(written, plans) {
            names.bases.insert(task.base.clone(), task.first..task.first + task.instances.len());
            for (n, values) in task.instances.iter().enumerate().filter(|(_, values)| !values.is_empty()) {
                names.instances.insert(instance_name(task.base, values), TaskId::from_index(task.first + n));
            }
        }
        names.find_tags(cx, written, plans);
        names.find_handlers(cx, written, plans);
        names
    }

    fn find_tags(&mut self, cx: &Context<'_>, written: &[(Text, TaskRaw)], plans: &[Plan]) {
        for task in planned(written, plans) {
            let Some(tags) = &task.raw.tags else { continue };
            for (n, values) in task.instances.iter().enumerate() {
                for tag in self::tags(cx, task.base, values, tags) {
                    let members = self.tags.entry(tag).or_default();
                    let id = TaskId::from_index(task.first + n);
                    if members.last() != Some(&id) {
                        members.push(id);
                    }
                }
            }
        }
    }

    fn find_handlers(&mut self, cx: &Context<'_>, written: &[(Text, TaskRaw)], plans: &[Plan]) {
        for task in planned(written, plans) {
            let Some(list) = &task.raw.on_failure else { continue };
            for (n, values) in task.instances.iter().enumerate() {
                let before = cx.count();
                for (item, id) in self.handlers_of(cx, task.base, task.first + n, values, list) {
                    self.handlers.entry(id).or_insert_with(|| (task.base.clone(), item));
                }
                if cx.count() > before {
                    break;
                }
            }
        }
    }

    /// The tasks an `on_failure` names, each with its index in the list.
    fn handlers_of(
        &self,
        cx: &Context<'_>,
        base: &str,
        own: usize,
        values: &Values,
        list: &List<Text>,
    ) -> Vec<(usize, TaskId)> {
        let (section, name) = (Spot::top("tasks"), instance_name(base, values));
        let spot = section.key(base);
        let list_spot = spot.key("on_failure");
        let scope = cx.scope(Some(&name), values);
        let mut handlers = Vec::new();
        for (n, text) in list.iter().enumerate() {
            let at = list_spot.index(n);
            let Some(handler) = cx.text(&scope, &at, text) else { continue };
            let Some(range) = self.named(&handler) else {
                let near = self.near(cx, base, &handler);
                cx.report(SpecError::UnknownHandler {
                    task: name.to_string(),
                    name: handler.into(),
                    at: cx.map.at(&at),
                    near,
                });
                continue;
            };
            if range.contains(&own) {
                cx.report(SpecError::SelfHandler { task: name.to_string(), at: cx.map.at(&at) });
                continue;
            }
            handlers.extend(range.map(|id| (n, TaskId::from_index(id))));
        }
        handlers
    }

    /// The handlers of an instance, for the model.
    pub(super) fn on_failure(
        &self,
        cx: &Context<'_>,
        base: &str,
        own: TaskId,
        values: &Values,
        list: &List<Text>,
    ) -> Box<[TaskId]> {
        let mut ids: Vec<TaskId> =
            self.handlers_of(cx, base, own.index(), values, list).into_iter().map(|(_, id)| id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.into()
    }

    /// The place of the `on_failure` entry that makes this task a handler.
    pub(super) fn handler(&self, cx: &Context<'_>, task: TaskId) -> Option<Place> {
        let (base, n) = self.handlers.get(&task)?;
        Some(cx.map.at(&Spot::top("tasks").key(base).key("on_failure").index(*n)))
    }

    /// The instances a name stands for.
    fn named(&self, name: &str) -> Option<Range<usize>> {
        let instance = || self.instances.get(name).map(|id| id.index()..id.index() + 1);
        self.bases.get(name).cloned().or_else(instance)
    }

    fn near(&self, cx: &Context<'_>, own: &str, wrong: &str) -> Near {
        if wrong.contains(':') {
            let near = cx.near(wrong, self.instances.keys().map(|name| &**name), |near| {
                Some(declared(cx, near.split(':').next().unwrap_or(near)))
            });
            if near.is_some() {
                return near;
            }
        }
        let near = cx.near(wrong, self.bases.keys().map(|name| &**name), |near| Some(declared(cx, near)));
        // A task is never what it needs itself.
        near.filter(|(name, _)| name != own)
    }

    fn near_tag(&self, cx: &Context<'_>, wrong: &str, planned_base: impl Fn(TaskId) -> Option<Box<str>>) -> Near {
        cx.near(wrong, self.tags.keys().map(|tag| &**tag), |near| {
            let base = planned_base(*self.tags.get(near)?.first()?)?;
            Some(cx.map.at(&Spot::top("tasks").key(&base).key("tags")))
        })
    }

    fn base_of(&self, id: TaskId) -> Option<Box<str>> {
        self.bases.iter().find(|(_, range)| range.contains(&id.index())).map(|(base, _)| base.clone())
    }

    /// The needs of an instance: sorted by task, each once. Where several entries mean one task, the stricter holds.
    pub(super) fn needs(
        &self,
        cx: &Context<'_>,
        scope: &Scope<'_>,
        spot: &Spot<'_>,
        own: TaskId,
        list: &List<NeedRaw>,
    ) -> Box<[Need]> {
        let task = || scope.task.unwrap_or_default().to_owned();
        let mut needs: Vec<Need> = Vec::with_capacity(list.len());
        let mut texts: HashMap<Box<str>, usize> = HashMap::new();
        for (n, raw) in list.iter().enumerate() {
            let item = spot.index(n);
            let inner = item.key("task");
            let (at, text, accept_partial, order_only) = match raw {
                NeedRaw::Name(text) => (&item, text, false, false),
                NeedRaw::Table(need) => {
                    let accept_partial = need.accept == Some(Accept::Partial);
                    (&inner, &need.task, accept_partial, need.order_only.unwrap_or(false))
                }
            };
            let need = |task| Need { task, accept_partial, order_only };
            let Some(name) = cx.text(scope, at, text) else { continue };
            if let Some(first) = texts.get(&name) {
                let (first, again) = (cx.map.at(&spot.index(*first)), cx.map.at(&item));
                cx.report(SpecError::NeedTwice { task: task(), need: name.into(), first, again });
                continue;
            }
            if let Some(tag) = name.strip_prefix("tag:") {
                self.tagged(cx, at, own, &task, tag, |id| needs.push(need(id)));
            } else if let Some(range) = self.named(&name) {
                for id in range.map(TaskId::from_index) {
                    if id == own {
                        cx.report(SpecError::SelfNeed { task: task(), at: cx.map.at(at), tag: None });
                    } else if let Some(by) = self.handler(cx, id) {
                        let need = name.to_string();
                        cx.report(SpecError::NeedOnHandler { task: task(), need, at: cx.map.at(at), by });
                        break;
                    } else {
                        needs.push(need(id));
                    }
                }
            } else {
                let own = scope.task.and_then(|task| task.split(':').next()).unwrap_or_default();
                let near = self.near(cx, own, &name);
                cx.report(SpecError::UnknownNeed { task: task(), need: name.to_string(), at: cx.map.at(at), near });
            }
            texts.insert(name, n);
        }
        needs.sort_by_key(|need| need.task);
        needs.dedup_by(|other, kept| {
            let same = other.task == kept.task;
            if same {
                kept.accept_partial &= other.accept_partial;
                kept.order_only &= other.order_only;
            }
            same
        });
        needs.into()
    }

    fn tagged(
        &self,
        cx: &Context<'_>,
        at: &Spot<'_>,
        own: TaskId,
        task: &dyn Fn() -> String,
        tag: &str,
        mut need: impl FnMut(TaskId),
    ) {
        let Some(members) = self.tags.get(tag) else {
            let near = self.near_tag(cx, tag, |id| self.base_of(id));
            let near = near.map(|(name, place)| (format!("tag:{name}"), place));
            cx.report(SpecError::UnknownTag { task: task(), tag: tag.to_owned(), at: cx.map.at(at), near });
            return;
        };
        for id in members {
            if *id == own {
                cx.report(SpecError::SelfNeed { task: task(), at: cx.map.at(at), tag: Some(tag.to_owned()) });
            } else if !self.handlers.contains_key(id) {
                // A handler runs at no other time, so a tag does not reach it.
                need(*id);
            }
        }
    }
}

/// The tags of an instance.
pub(super) fn tags(cx: &Context<'_>, base: &str, values: &Values, list: &List<Text>) -> Vec<Box<str>> {
    let (section, name) = (Spot::top("tasks"), instance_name(base, values));
    let spot = section.key(base);
    let list_spot = spot.key("tags");
    let scope = cx.scope(Some(&name), values);
    let mut tags: Vec<Box<str>> = Vec::with_capacity(list.len());
    for (n, text) in list.iter().enumerate() {
        let at = list_spot.index(n);
        let Some(tag) = cx.text(&scope, &at, text) else { continue };
        if !crate::id::is_name(&tag) {
            cx.report(SpecError::BadTag { at: cx.map.at(&at), tag: tag.into() });
        } else if let Some(first) = tags.iter().position(|other| *other == tag) {
            let (first, again) = (cx.map.at(&list_spot.index(first)), cx.map.at(&at));
            cx.report(SpecError::ItemTwice { field: "tags", item: tag.into(), first, again });
        } else {
            tags.push(tag);
        }
    }
    tags
}
