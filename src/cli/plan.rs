//! `fleet plan`: what a run would do, in which order, where, and why; with `--json` also every resolved value of every
//! field and where it came from. Prints a `Plan` and decides nothing.

use std::io::{self, Write};

use clap::Args;
use serde_json::{Map, Value, json};

use super::affected::AffectedArgs;
use super::args::Source;
use super::fields::{self, FIELDS};
use super::load::{self, Ready};
use super::places::{Field, SECURITY_FIELDS, WORKER_FIELDS, grant};
use super::{Shell, Trouble, explain};
use crate::engine::reuse::{Foreseen, Rules, foresee};
use crate::graph::EdgeKind;
use crate::id::TaskId;
use crate::model::{Action, Grant, Security, Worker};
use crate::plan::{self, Places, Plan, Step, What, Why};
use crate::policy::ExitCode;
use crate::report::Paint;
use crate::report::color::Color;
use crate::report::reasons;
use crate::spec::{Origin, Seg};
use crate::store::StateDir;

/// Show what would run: in which order, where, and why
#[derive(Args, Debug)]
pub struct PlanArgs {
    /// The fleet file, and the tasks to plan for
    #[arg(value_name = "FILE|TASK")]
    pub words: Vec<String>,
    #[command(flatten)]
    pub source: Source,
    /// Leave out tasks, and what needs them, as often as needed
    #[arg(long, value_name = "PATTERN")]
    pub except: Vec<String>,
    #[command(flatten)]
    pub affected: AffectedArgs,
    /// As JSON, with every resolved value and where it came from
    #[arg(long)]
    pub json: bool,
}

/// # Errors
/// When the fleet file or the selection is not right, or the output cannot be written.
pub fn run(args: &PlanArgs, shell: Shell) -> Result<ExitCode, Trouble> {
    let mut ready = load::open(&args.source, &args.words, &args.except, shell)?;
    args.affected.narrow(&mut ready)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    show(&ready, Rules::default(), args.json, shell.stdout(), &mut out)?;
    out.flush()?;
    Ok(ready.exit())
}

/// Also what `fleet run --dry-run` prints.
///
/// # Errors
/// When `out` cannot be written.
pub fn show(ready: &Ready, rules: Rules, as_json: bool, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    // Loading has found a worker for every task, so this fails for no fleet that is ready.
    let plan = plan::plan(&ready.fleet, &ready.graph, &ready.selection)
        .map_err(|_| io::Error::other("a task of the plan has no worker"))?;
    let state = StateDir::of(&ready.fleet.workspace);
    let foreseen = foresee(&ready.fleet, &ready.graph, &ready.selection, &state, rules, false)?;
    let grants = ready.fleet.policies.security.as_deref().map_or(&[][..], |security| &security.grants);
    let grants = grants.iter().map(|grant| (grant, Box::new(grant.covers()) as Covers<'_>)).collect();
    let page = Page { ready, plan: &plan, foreseen: &foreseen, grants };
    if as_json { page.json(out) } else { page.human(paint, out) }
}

struct Page<'a> {
    ready: &'a Ready,
    plan: &'a Plan,
    foreseen: &'a Foreseen,
    grants: Vec<(&'a Grant, Covers<'a>)>,
}

/// Whether a grant is for a task, by its name and its base.
type Covers<'a> = Box<dyn Fn(&str, &str) -> bool + 'a>;

/// Widest column of names; a longer name pushes its own line only.
const NAME_WIDTH_MAX: usize = 32;
/// Most names in a line of "after".
const NAMES_MAX: usize = 4;

impl Page<'_> {
    fn human(&self, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
        let steps = &self.plan.steps;
        let count = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
        writeln!(
            out,
            "{}: {} on {}",
            paint.color(Color::Bold, &self.ready.fleet.name),
            count(steps.len(), "step"),
            count(self.ready.fleet.workers.len(), "worker"),
        )?;
        let widest = |text: &dyn Fn(&Step) -> String| {
            steps.iter().map(|step| text(step).chars().count()).max().unwrap_or(0).min(NAME_WIDTH_MAX)
        };
        let (names, places) = (widest(&|step| self.name(step.task).to_owned()), widest(&|step| self.place(step)));
        let digits = steps.len().to_string().len();
        for (step, number) in steps.iter().zip(1..) {
            let mark = if step.critical { "*" } else { " " };
            let (name, place) = (self.name(step.task), self.place(step));
            let name_gap = names.saturating_sub(name.chars().count());
            let place_gap = places.saturating_sub(place.chars().count());
            writeln!(
                out,
                "{number:>digits$}{mark} {}{:name_gap$}  {place}{:place_gap$}  {}",
                paint.color(Color::Bold, name),
                "",
                "",
                self.why(step),
            )?;
            let indent = digits + 2;
            writeln!(out, "{:indent$}{}", "", paint.color(Color::Dim, self.command(step.task)))?;
            if let Some(outlook) = &self.foreseen.outlooks[step.task] {
                writeln!(out, "{:indent$}{}", "", explain::brief(outlook))?;
            }
            for Grant { capability, reason, .. } in self.granted(step.task) {
                let text = format!("granted {capability}: {reason}");
                writeln!(out, "{:indent$}{}", "", reasons::line(&text))?;
            }
        }
        if self.plan.critical_path.len() > 1 {
            let path: Vec<&str> = self.plan.critical_path.iter().map(|task| self.name(*task)).collect();
            writeln!(out, "critical path (*): {}", shortened(&path, " → ", 12))?;
        }
        for (task, because) in &self.plan.left_out {
            writeln!(out, "left out: {}, because it needs {}", self.name(*task), self.name(*because))?;
        }
        Ok(())
    }

    fn name(&self, task: TaskId) -> &str {
        &self.ready.fleet.tasks[task].name
    }

    /// What the task may do beyond the trust of its worker.
    fn granted(&self, task: TaskId) -> impl Iterator<Item = &Grant> {
        let task = &self.ready.fleet.tasks[task];
        let covering = self.grants.iter().filter(|(_, covers)| covers(&task.name, &task.base));
        covering.map(|(grant, _)| *grant)
    }

    fn place(&self, step: &Step) -> String {
        let workers = &self.ready.fleet.workers;
        match &step.place {
            Places::Any if workers.len() > 1 => "any worker".into(),
            Places::Any => workers.values().next().map_or_else(String::new, |worker| worker.name.clone()),
            Places::Only(some) => {
                let names: Vec<&str> = some.iter().map(|worker| &*workers[*worker].name).collect();
                shortened(&names, " or ", NAMES_MAX)
            }
        }
    }

    fn why(&self, step: &Step) -> String {
        let because = match &step.what {
            What::Run(Why::Requested) => self.requested(step.task),
            What::Run(Why::Always) => format!("{}, always runs", self.requested(step.task)),
            What::Run(Why::NeededBy(by)) => format!("needed by {}", self.name(*by)),
            What::Skip { because } => return format!("skipped: {because}"),
            What::AfterFailureOf(owner) => return format!("only after a failure of {}", self.name(*owner)),
        };
        let needs: Vec<&str> = self.ready.graph.needs(step.task).iter().map(|edge| self.name(edge.from)).collect();
        if needs.is_empty() {
            return because;
        }
        format!("{because}; after {}", shortened(&needs, ", ", NAMES_MAX))
    }

    fn requested(&self, task: TaskId) -> String {
        let affected = self.ready.affected.as_ref().and_then(|affected| affected.why(&self.ready.fleet, task));
        affected.map_or_else(|| "requested".to_owned(), |why| format!("affected: {why}"))
    }

    /// What is run, on one line that a terminal can show.
    fn command(&self, task: TaskId) -> String {
        let text = match &self.ready.fleet.tasks[task].action {
            Action::Run(argv) => shell_words::join(argv.iter().map(|word| &**word)),
            Action::Script { shell, text } => {
                let mut lines = text.lines().filter(|line| !line.trim().is_empty());
                let first = lines.next().unwrap_or_default().trim();
                format!("{}: {first}{}", shell.program(), if lines.next().is_some() { " …" } else { "" })
            }
        };
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    }

    /// Written step by step: the values of a hundred thousand tasks are never in memory at once.
    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        let fleet = &self.ready.fleet;
        let names = |tasks: &[TaskId]| tasks.iter().map(|task| json!(self.name(*task))).collect::<Value>();
        writeln!(out, "{{\n\"version\": 1,")?;
        writeln!(out, "\"file\": {},", json!(fleet.file.to_string_lossy()))?;
        writeln!(out, "\"fleet\": {},", self.settings())?;
        writeln!(out, "\"policies\": {},", self.policies())?;
        writeln!(out, "\"cache\": {},", self.cache())?;
        let workers: Map<String, Value> = fleet.workers.values().map(|worker| self.worker(worker)).collect();
        writeln!(out, "\"workers\": {},", Value::Object(workers))?;
        if let Some(affected) = &self.ready.affected {
            writeln!(out, "\"affected\": {},", affected.json())?;
        }
        writeln!(out, "\"targets\": {},", names(&self.ready.selection.targets))?;
        let left_out =
            self.plan.left_out.iter().map(|(task, by)| json!({ "task": self.name(*task), "needs": self.name(*by) }));
        writeln!(out, "\"left_out\": {},", left_out.collect::<Value>())?;
        writeln!(out, "\"critical_path\": {},", names(&self.plan.critical_path))?;
        write!(out, "\"steps\": [")?;
        for (step, number) in self.plan.steps.iter().zip(0..) {
            write!(out, "{}\n{}", if number == 0 { "" } else { "," }, self.step(step))?;
        }
        writeln!(out, "\n]\n}}")
    }

    fn settings(&self) -> Value {
        let Ready { fleet, origins, .. } = self.ready;
        let map = origins.map();
        let top = |key: &str, value: Value| field(value, &map.origin_at(&[Seg::key(key)]));
        json!({
            "name": top("name", json!(fleet.name)),
            "description": top("description", json!(fleet.description)),
            "seed": top("seed", json!(fleet.seed)),
            "labels": top("labels", json!(fleet.labels)),
            "metadata": top("metadata", json!(fleet.metadata)),
        })
    }

    fn policies(&self) -> Value {
        let Ready { fleet, origins, .. } = self.ready;
        let map = origins.map();
        let policy = |key: &str, value: Value| field(value, &map.origin_at(&[Seg::key("policies"), Seg::key(key)]));
        let limits: Map<String, Value> =
            fleet.pools.values().map(|pool| (pool.name.to_string(), json!(pool.size))).collect();
        json!({
            "fail_fast": policy("fail_fast", json!(fleet.policies.fail_fast)),
            "max_parallel": policy("max_parallel", json!(fleet.policies.max_parallel)),
            "timeout": policy("timeout", fields::duration(fleet.policies.timeout)),
            "limits": policy("limits", limits.into()),
            "security": self.security(),
        })
    }

    /// Null where the file has no such table: what it bounds is not bounded then.
    fn security(&self) -> Value {
        let Some(security) = &self.ready.fleet.policies.security else { return Value::Null };
        let from = |(key, value): &Field<Security>| {
            let path = ["policies", "security", key].map(Seg::key);
            ((*key).to_owned(), field(value(security), &self.ready.origins.map().origin_at(&path)))
        };
        SECURITY_FIELDS.iter().map(from).collect::<Map<_, _>>().into()
    }

    fn cache(&self) -> Value {
        let Ready { fleet, origins, .. } = self.ready;
        let map = origins.map();
        let from = |key: &str, value: Value| field(value, &map.origin_at(&[Seg::key("cache"), Seg::key(key)]));
        let remote = fleet.cache.remote.as_ref();
        let table = remote
            .map(|remote| json!({ "url": remote.url, "mode": remote.mode.name(), "token_ref": remote.token_ref }));
        json!({
            "max_size": from("max_size", json!(fleet.cache.max_size)),
            "max_age": from("max_age", fields::duration(fleet.cache.max_age)),
            "remote": from("remote", json!(table)),
            "trust_remote": from("trust_remote", json!(remote.is_some_and(|remote| remote.trusted))),
        })
    }

    fn worker(&self, worker: &Worker) -> (String, Value) {
        let map = self.ready.origins.map();
        let from = |key: &str| match map.origin_at(&["workers", &*worker.name, key].map(Seg::key)) {
            // Both have another name, or another place that may say.
            Origin::Default if key == "slots" => {
                map.origin_at(&["workers", &*worker.name, "max_concurrent_tasks"].map(Seg::key))
            }
            Origin::Default if key == "trust" => {
                map.origin_at(&["policies", "security", "default_trust"].map(Seg::key))
            }
            origin => origin,
        };
        let values = WORKER_FIELDS.iter().map(|(key, value)| ((*key).to_owned(), field(value(worker), &from(key))));
        let mut all: Map<String, Value> = values.collect();
        all["trust"]["own"] = json!(worker.own_trust.name());
        (worker.name.clone(), all.into())
    }

    fn step(&self, step: &Step) -> Value {
        let Ready { fleet, graph, origins, .. } = self.ready;
        let map = origins.map();
        let (id, task) = (step.task, &fleet.tasks[step.task]);
        let (what, why) = match &step.what {
            What::Run(Why::Requested) => ("run", json!({ "because": "requested" })),
            What::Run(Why::Always) => ("run", json!({ "because": "always" })),
            What::Run(Why::NeededBy(by)) => ("run", json!({ "because": "needed", "by": self.name(*by) })),
            What::Skip { because } => ("skip", json!({ "because": "when", "text": because })),
            What::AfterFailureOf(owner) => ("on_failure", json!({ "because": "failure", "of": self.name(*owner) })),
        };
        let after = graph.needs(step.task).iter().map(|edge| match edge.kind {
            EdgeKind::Declared { .. } => json!({ "task": self.name(edge.from), "kind": "need" }),
            EdgeKind::File { output, .. } => json!({
                "task": self.name(edge.from), "kind": "file",
                "output": fleet.tasks[edge.from].outputs.get(output as usize),
            }),
        });
        let workers: Vec<&str> = match &step.place {
            Places::Any => fleet.workers.values().map(|worker| &*worker.name).collect(),
            Places::Only(some) => some.iter().map(|worker| &*fleet.workers[*worker].name).collect(),
        };
        let values = FIELDS
            .iter()
            .map(|(key, value)| ((*key).to_owned(), field(value(fleet, task), &map.origin(&task.base, key))));
        let mut step = json!({
            "task": task.name, "base": task.base, "what": what, "why": why,
            "after": after.collect::<Value>(), "workers": workers,
            "level": step.level, "rank": step.rank, "critical": step.critical,
            "grants": self.granted(id).map(grant).collect::<Value>(),
            "fields": values.collect::<Map<_, _>>(),
        });
        if let Some(affected) = &self.ready.affected {
            step["affected"] = affected.reason(fleet, id);
        }
        if let Some(step) = step.as_object_mut() {
            step.extend(explain::decided(self.foreseen.outlooks[id].as_ref()));
        }
        step
    }
}

/// A value and where it came from.
fn field(value: Value, origin: &Origin) -> Value {
    let (word, place) = match origin {
        Origin::Default => ("default", None),
        Origin::File { path, line, column } => ("file", Some((path, line, column))),
        Origin::Defaults { path, line, column } => ("defaults", Some((path, line, column))),
        Origin::Set => ("set", None),
    };
    let mut field = Map::new();
    field.insert("value".into(), value);
    field.insert("origin".into(), word.into());
    if let Some((path, line, column)) = place {
        field.insert("file".into(), json!(path));
        field.insert("line".into(), json!(line));
        field.insert("column".into(), json!(column));
    }
    field.into()
}

/// The first names, and how many more there are.
fn shortened(names: &[&str], separator: &str, most: usize) -> String {
    if names.len() <= most {
        return names.join(separator);
    }
    format!("{}{separator}{} more", names[..most - 1].join(separator), names.len() - most + 1)
}
