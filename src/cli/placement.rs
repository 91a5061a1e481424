//! `fleet explain --placement`: to which workers a task can go and what the others lack, where it would go now, and where
//! its last run has put it and why. `place` decides and the journal remembers; this prints.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Value, json};

use super::load::Ready;
use crate::graph::select::Part;
use crate::id::{IdMap, TaskId, WorkerId};
use crate::journal::Reader;
use crate::journal::fold::StateName;
use crate::journal::reader::Body;
use crate::place::{self, Decision, Known, Load, Placement, Standing};
use crate::report::Paint;
use crate::report::color::Color;
use crate::report::reasons::line;
use crate::store::StateDir;

/// Runs, newest first, in which a task is looked for.
const RUNS_SEARCHED: usize = 10;

/// Where an attempt was made, as the journal has it.
struct Made {
    attempt: u32,
    worker: String,
    /// `None` where there was one worker, and so no choice.
    why: Option<String>,
    others: BTreeMap<String, String>,
}

struct Told {
    task: TaskId,
    /// With every worker idle and nothing known to be anywhere.
    idle: Placement,
    last: Option<(String, Vec<Made>)>,
}

/// # Errors
/// When `out` cannot be written.
pub(super) fn show(ready: &Ready, as_json: bool, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    let Ready { fleet, selection, .. } = ready;
    let named: Vec<TaskId> = fleet.tasks.ids().filter(|task| selection.part(*task) == Part::Target).collect();
    let mut last = last_runs(ready, &named);
    let known = |worker: &crate::model::Worker| Known {
        load: Load { slots: worker.slots, free: worker.slots, ..Load::default() },
        ..Known::default()
    };
    let known = IdMap::from(fleet.workers.values().map(known).collect::<Vec<_>>());
    let told = named.into_iter().map(|task| Told {
        task,
        idle: place::decide(fleet, task, &known),
        last: last.remove(&*fleet.tasks[task].name),
    });
    if as_json { json(ready, told, out) } else { human(ready, told, paint, out) }
}

fn human(ready: &Ready, all: impl Iterator<Item = Told>, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    let fleet = &ready.fleet;
    let name = |worker: WorkerId| fleet.workers[worker].name.as_str();
    let width = fleet.workers.values().map(|worker| worker.name.chars().count()).max().unwrap_or(0).min(40);
    for Told { task, idle, last } in all {
        let verdict = match idle.decision {
            Decision::Place(worker, because) => format!("would go to {} while all is idle: {because}", name(worker)),
            Decision::Wait => "would wait for a slot".to_owned(),
            Decision::Gone => "has no worker left".to_owned(),
            Decision::Impossible => "can go nowhere".to_owned(),
        };
        writeln!(out, "{}  {verdict}", paint.color(Color::Bold, &fleet.tasks[task].name))?;
        for (worker, standing) in idle.workers.iter() {
            let gap = width.saturating_sub(name(worker).chars().count()) + 2;
            writeln!(out, "  {}{:gap$}{}", name(worker), "", line(&fit(standing)))?;
        }
        for Made { attempt, worker, why, others } in last.iter().flat_map(|(_, made)| made) {
            let run = last.as_ref().map_or("", |(run, _)| run);
            let why = why.as_deref().unwrap_or("the only worker");
            let text = format!("last run: {run}, attempt {attempt} on {worker}: {why}");
            writeln!(out, "  {}", paint.color(Color::Dim, line(&text)))?;
            for (other, standing) in others {
                writeln!(out, "    {}", paint.color(Color::Dim, line(&format!("{other}: {standing}"))))?;
            }
        }
    }
    Ok(())
}

fn json(ready: &Ready, all: impl Iterator<Item = Told>, out: &mut dyn Write) -> io::Result<()> {
    let fleet = &ready.fleet;
    let tasks = all.map(|Told { task, idle, last }| {
        let workers = idle.workers.iter().map(|(worker, standing)| {
            let lacks = match standing {
                Standing::Lacks(lacks) => lacks.iter().map(ToString::to_string).collect(),
                _ => Vec::new(),
            };
            json!({ "worker": fleet.workers[worker].name, "fits": lacks.is_empty(), "lacks": lacks })
        });
        let goes = match idle.decision {
            Decision::Place(worker, because) => {
                json!({ "worker": fleet.workers[worker].name, "why": because.to_string() })
            }
            Decision::Wait | Decision::Gone | Decision::Impossible => Value::Null,
        };
        let last = last.map(|(run, made)| {
            let attempts = made.into_iter().map(|made| {
                json!({ "attempt": made.attempt, "worker": made.worker, "why": made.why, "others": made.others })
            });
            json!({ "run_id": run, "attempts": attempts.collect::<Value>() })
        });
        json!({
            "task": fleet.tasks[task].name, "workers": workers.collect::<Value>(), "idle": goes, "last": last,
        })
    });
    writeln!(out, "{:#}", json!({ "version": 1, "tasks": tasks.collect::<Value>() }))
}

fn fit(standing: &Standing) -> String {
    match standing {
        Standing::Lacks(_) => standing.to_string(),
        Standing::Chosen(_)
        | Standing::Free(_)
        | Standing::Busy
        | Standing::Avoided
        | Standing::Away(_)
        | Standing::Lost(_) => "fits".to_owned(),
    }
}

/// The attempts of each task in the last run that made any. What cannot be read is not known.
fn last_runs(ready: &Ready, named: &[TaskId]) -> BTreeMap<String, (String, Vec<Made>)> {
    let state = StateDir::of(&ready.fleet.workspace);
    let mut found = BTreeMap::new();
    for run in state.runs().unwrap_or_default().into_iter().take(RUNS_SEARCHED) {
        let mut open: BTreeMap<&str, Vec<Made>> = BTreeMap::new();
        for task in named {
            let name = &*ready.fleet.tasks[*task].name;
            if !found.contains_key(name) {
                open.insert(name, Vec::new());
            }
        }
        if open.is_empty() {
            break;
        }
        let Ok(mut reader) = Reader::open(&state.run_dir(&run)) else { continue };
        while let Ok(Some(record)) = reader.next() {
            let Body::Event(event, _) = &record.body else { continue };
            if event.state == StateName::Starting
                && let Some(made) = open.get_mut(&*event.task_id)
            {
                made.push(placed(record.bytes, event.extra.attempt, &event.worker_id));
            }
        }
        let made = open.into_iter().filter(|(_, made)| !made.is_empty());
        found.extend(made.map(|(task, made)| (task.to_owned(), (run.to_string(), made))));
    }
    found
}

/// What a record says of why the attempt is where it is.
fn placed(bytes: &[u8], attempt: u32, worker: &str) -> Made {
    let record: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let placement = &record["event"]["extra"]["placement"];
    let others = placement["others"].as_object().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Made {
        attempt,
        worker: worker.to_owned(),
        why: placement["why"].as_str().map(str::to_owned),
        others: others.map(|(worker, standing)| (worker.clone(), text(standing))).collect(),
    }
}
