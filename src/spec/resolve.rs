//! `load`: from the path of a fleet file to a resolved [`Fleet`], or to every mistake of the first pass that has any.
//! The passes: read files, merge them, fill variables in, name the tasks, resolve the rest.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use super::cache;
use super::context::Context;
use super::error::{Near, Place, Problem, SpecError, in_order};
use super::file::{self, CacheRaw, FileRaw, PoliciesRaw, Scalar, Text};
use super::include::{self, Reader};
use super::literal;
use super::looks::Looks;
use super::map::{SourceMap, Spot};
use super::nearest::nearest;
use super::needs::{self, NEEDS_MAX, Names, Plan};
use super::outside::Outside;
use super::scorer::{self, Named};
use super::security;
use super::source::Syntax;
use super::task::{self, Tables};
use super::tree::FileId;
use super::vars::{self, BadVar, references};
use super::when::Facts;
use super::worker;
use crate::id::{Id, IdMap, PoolId, TaskId};
use crate::model::{CachePolicy, Fleet, Policies, Pool, Task};

/// What to load, and what the outside looks like.
#[derive(Debug)]
pub struct Request {
    /// The fleet file.
    pub file: PathBuf,
    /// Values of variables that go before those in the file; of a name given twice, the last.
    pub set: Vec<(String, String)>,
    pub facts: Facts,
}

/// A fleet without mistakes of syntax, names or values, and where its parts stand.
#[derive(Debug)]
pub struct Loaded {
    pub fleet: Fleet,
    pub map: SourceMap,
    /// All that it was made from besides the request.
    pub looks: Looks,
}

/// Every mistake of a pass, in the order of the files, and the sources to show them with.
#[derive(Debug)]
pub struct Failure {
    /// Never empty.
    pub problems: Vec<Problem>,
    pub map: SourceMap,
}

/// Reads a fleet file with all it includes.
///
/// # Errors
/// All mistakes of the first pass that finds any.
pub fn load(request: &Request) -> Result<Loaded, Box<Failure>> {
    let mut map = SourceMap::default();
    match fleet(request, &mut map) {
        Ok((fleet, looks)) => {
            map.forget_trees();
            Ok(Loaded { fleet, map, looks })
        }
        Err(mut problems) => {
            in_order(&mut problems);
            Err(Box::new(Failure { problems, map }))
        }
    }
}

fn fleet(request: &Request, map: &mut SourceMap) -> Result<(Fleet, Looks), Vec<Problem>> {
    let outside = Outside::new(&request.facts);
    let (file, syntax, bytes) = open(&request.file, &outside).map_err(|mistake| vec![mistake.problem(map)])?;
    let workspace = file.parent().unwrap_or(Path::new("/")).to_owned();
    let (files, problems) = Reader::new(map, &workspace, &outside).read(file.clone(), syntax, &bytes);
    drop(bytes);
    refuse(problems)?;
    refuse(words(&literal::check(map), map))?;
    let (mut whole, mistakes) = include::merge(map, files);
    refuse(words(&mistakes, map))?;
    let vars = whole.vars.take().unwrap_or_default();
    let set = set_variables(&vars, &request.set);
    map.set_variables(set);
    let local = whole.scorers.as_ref().map(|scorers| scorer::local_names(map, scorers)).unwrap_or_default();
    // A file without mistakes needs no places from here on, and its tree is as large as its tasks. After a mistake it
    // is read again.
    map.forget_trees();
    let map = &*map;
    let (vars, mistakes) = variables(map, &vars, &request.set);
    refuse(words(&mistakes, map))?;
    let cx = Context::new(map, &request.facts, &outside, &workspace, vars);
    let seed = whole.seed.map_or_else(|| derived_seed(map), u64::from);
    let fleet = Resolver { cx: &cx, file: &file, local }.fleet(whole, seed);
    let mistakes = cx.into_mistakes();
    refuse(words(&mistakes, map))?;
    Ok((fleet, outside.into_looks()))
}

fn refuse(problems: Vec<Problem>) -> Result<(), Vec<Problem>> {
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn words(mistakes: &[SpecError], map: &SourceMap) -> Vec<Problem> {
    mistakes.iter().map(|mistake| mistake.problem(map)).collect()
}

/// The fleet file itself, free of links, and how it is written. By its own name or that of the link to it.
///
/// # Errors
/// When there is none, in words.
pub fn find(path: &Path) -> Result<(PathBuf, Syntax), String> {
    let real = path.canonicalize().map_err(|error| include::plain(&error))?;
    let syntax = Syntax::of(path).or_else(|| Syntax::of(&real));
    Ok((real, syntax.ok_or("its name ends in none of .toml, .yaml, .yml and .json")?))
}

fn open(path: &Path, outside: &Outside<'_>) -> Result<(PathBuf, Syntax, Vec<u8>), Box<SpecError>> {
    let bad = |why: String| Box::new(SpecError::Unreadable { path: path.display().to_string(), why });
    let (real, syntax) = find(path).map_err(bad)?;
    let bytes = outside.file(&real).map_err(|error| bad(include::plain(&error)))?;
    Ok((real, syntax, bytes))
}

/// The seed of a file that does not say one: from its text, so that the same file decides ties the same way.
fn derived_seed(map: &SourceMap) -> u64 {
    let mut hasher = crate::digest::Hasher::default();
    for source in map.sources() {
        hasher.update(source.text.as_bytes());
    }
    let hex = hasher.finish().hex();
    // 53 bits, so that every JSON reader sees the same number.
    u64::from_str_radix(&hex[..13], 16).unwrap_or(1).max(1)
}

/// The variables that `--set` decides, also through others.
fn set_variables(vars: &file::Named<Scalar>, set: &[(String, String)]) -> BTreeSet<String> {
    let mut known: BTreeSet<String> = set.iter().map(|(name, _)| name.clone()).collect();
    if known.is_empty() {
        return known;
    }
    loop {
        let before = known.len();
        for (name, value) in vars.iter() {
            let Scalar::Text(text) = value else { continue };
            let through = |reference: &str| reference.strip_prefix("vars.").is_some_and(|var| known.contains(var));
            if !known.contains(&**name) && references(text, vars::Reader::Fleet).any(through) {
                known.insert(name.to_string());
            }
        }
        if known.len() == before {
            return known;
        }
    }
}

fn variables(
    map: &SourceMap,
    written: &file::Named<Scalar>,
    set: &[(String, String)],
) -> (std::collections::BTreeMap<String, String>, Vec<SpecError>) {
    let section = Spot::top("vars");
    let mut mistakes = Vec::new();
    let mut values: std::collections::BTreeMap<String, String> =
        written.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    for (name, value) in set {
        if let Some(known) = values.get_mut(name) {
            known.clone_from(value);
        } else {
            let near: Near = nearest(name, values.keys().map(String::as_str))
                .map(|near| (near.to_owned(), Some(map.key_at(&section.key(near)))));
            mistakes.push(SpecError::UnknownSet { name: name.clone(), near });
        }
    }
    let fixed: Vec<&str> = set.iter().map(|(name, _)| name.as_str()).collect();
    let texts = values;
    let (values, bad) = vars::resolve(&texts, &fixed);
    for bad in bad {
        mistakes.push(match bad {
            BadVar::Cycle(names) => {
                let along = names.iter().map(|name| map.at(&section.key(name))).collect();
                SpecError::VarsCycle { names, along }
            }
            BadVar::Reference { var, bad } => {
                let at = map.inside(&section.key(&var), texts.get(&var).map_or("", String::as_str), &bad.at);
                SpecError::Reference { at, name: bad.name, why: bad.why }
            }
        });
    }
    (values, mistakes)
}

struct Resolver<'a> {
    cx: &'a Context<'a>,
    file: &'a Path,
    /// Scorers that refer to their task.
    local: HashSet<Text>,
}

impl Resolver<'_> {
    fn fleet(&self, whole: FileRaw, seed: u64) -> Fleet {
        let cx = self.cx;
        let scope = cx.scope(None, &[]);
        let top = Place { file: FileId(0), span: 0..0 };
        if whole.name.is_none() {
            cx.report(SpecError::MissingName { at: top.clone() });
        }
        let written = whole.tasks.map(|tasks| tasks.0).unwrap_or_default();
        if written.is_empty() {
            cx.report(SpecError::NoTasks { at: top });
        }
        let (policies, pools) = self.policies(whole.policies.as_deref());
        let workers = whole.workers.map(|workers| workers.0).unwrap_or_default();
        let workers = worker::workers(cx, workers, &policies);
        let scorers = Named::new(cx, whole.scorers.map(|scorers| scorers.0).unwrap_or_default(), self.local.clone());
        let plans = needs::plan(cx, &written);
        let names = Names::of(cx, &written, &plans);
        if let Some(security) = &policies.security {
            security::check_scopes(cx, &security.grants, || needs::names(&written, &plans));
        }
        let defaults = whole.defaults.unwrap_or_else(|| Box::new(include::empty()));
        let tables = Tables {
            cx,
            names: &names,
            defaults: &defaults,
            workers: &workers,
            pools: &pools,
            scorers: &scorers,
            security: policies.security.as_deref(),
        };
        let tasks = tasks(&tables, written, plans);
        Fleet {
            file: self.file.to_owned(),
            workspace: cx.workspace.to_owned(),
            name: whole.name.map(|name| name.0.into()).unwrap_or_default(),
            description: whole
                .description
                .and_then(|text| cx.text(&scope, &Spot::top("description"), &text))
                .map(Into::into),
            seed,
            labels: worker::labels(cx, &scope, &Spot::top("labels"), whole.labels.as_ref()),
            metadata: whole.metadata.map(|free| task::metadata(&free.0)).unwrap_or_default(),
            tasks,
            workers,
            pools,
            policies,
            cache: self.cache(whole.cache.as_deref()),
        }
    }

    fn cache(&self, raw: Option<&CacheRaw>) -> CachePolicy {
        let Some(raw) = raw else { return CachePolicy::default() };
        let (cx, spot, scope) = (self.cx, Spot::top("cache"), self.cx.scope(None, &[]));
        CachePolicy {
            max_size: raw.max_size.as_ref().and_then(|text| cx.size(&scope, &spot.key("max_size"), text)),
            max_age: raw.max_age.as_ref().and_then(|text| cx.duration(&scope, &spot.key("max_age"), text)),
            remote: cache::remote(cx, raw),
        }
    }

    fn policies(&self, raw: Option<&PoliciesRaw>) -> (Policies, IdMap<PoolId, Pool>) {
        let Some(raw) = raw else { return (Policies::default(), IdMap::new()) };
        let (cx, spot) = (self.cx, Spot::top("policies"));
        let timeout =
            raw.timeout.as_ref().and_then(|text| cx.duration(&cx.scope(None, &[]), &spot.key("timeout"), text));
        let policies = Policies {
            fail_fast: raw.fail_fast.unwrap_or(false),
            max_parallel: raw.max_parallel.map(u32::from),
            timeout,
            security: raw.security.as_ref().map(|raw| Box::new(security::security(cx, raw))),
        };
        let pools = raw.limits.iter().flat_map(|limits| limits.iter());
        let pools: Vec<Pool> = pools.map(|(name, size)| Pool { name: name.clone(), size: size.get() }).collect();
        (policies, pools.into())
    }
}

/// Every instance of every task; what was written is dropped as it goes.
fn tasks(tables: &Tables<'_>, written: Vec<(file::Text, file::TaskRaw)>, plans: Vec<Plan>) -> IdMap<TaskId, Task> {
    let cx = tables.cx;
    let count = plans.last().map_or(0, |last| last.first + last.instances.len());
    let mut tasks = Vec::with_capacity(count);
    let mut needs = 0;
    for ((base, raw), Plan { instances, first }) in written.into_iter().zip(plans) {
        for (n, values) in instances.into_iter().enumerate() {
            let before = cx.count();
            let task = task::resolve(tables, TaskId::from_index(first + n), &base, &raw, values);
            needs += task.needs.len();
            tasks.push(task);
            if needs > NEEDS_MAX {
                let at = cx.map.at(&Spot::top("tasks").key(&base).key("needs"));
                cx.report(SpecError::TooManyNeeds { at, limit: NEEDS_MAX });
                return tasks.into();
            }
            // What is wrong with one instance is, nearly always, wrong with all.
            if cx.count() > before {
                break;
            }
        }
        if cx.is_full() {
            break;
        }
    }
    tasks.into()
}
