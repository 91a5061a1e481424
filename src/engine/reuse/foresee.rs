//! What a run would do with each selected task, without doing it: for `fleet explain`, `fleet plan` and dry runs.
//! Asks what a run asks, in the order of the graph. Nothing is written but the stat cache, and that only where there is
//! a state directory.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::{Environments, Made, Reason, Reuse, Rules, Turn, reused_from, unwanted};
use crate::digest::Digest;
use crate::graph::Graph;
use crate::graph::select::{Part, Selection};
use crate::id::{IdMap, TaskId};
use crate::model::Fleet;
use crate::plan::explain::Decision;
use crate::protocol::receipt::{EntryKind, OutputRef, ReusedFrom, TaskResult};
use crate::store::outputs::{self, RestoreError};
use crate::store::remote::Remote;
use crate::store::results::Entry;
use crate::store::{Root, StateDir, Store};
use crate::time::Stamp;

/// What a run would do with each selected task.
#[derive(Debug)]
pub struct Foreseen {
    /// `None` for tasks that are not selected, not wanted, or only run after a failure.
    pub outlooks: IdMap<TaskId, Option<Outlook>>,
    /// A run would ask the shared cache as well, which is not done here.
    pub asks_remote: bool,
}

/// What a run would do with one task.
#[derive(Clone, Debug)]
pub struct Outlook {
    pub decision: Decision,
    /// Of everything the result would depend on, where that was looked at.
    pub fingerprint: Option<Digest>,
    /// Files and needs that enter it, where they were counted.
    pub counted: Option<Counted>,
    /// Tasks that would run before it.
    pub runs_first: Vec<TaskId>,
    /// The result that holds if those make the same as before.
    pub if_same: Option<ReusedFrom>,
    /// The last time it was run and not reused.
    pub last: Option<LastRun>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    pub inputs: usize,
    pub needs: usize,
}

/// When a task was last run, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastRun {
    pub run: Box<str>,
    pub at: Stamp,
    pub result: TaskResult,
}

impl Outlook {
    fn run(reasons: Vec<Reason>) -> Self {
        let decision = Decision::Run(reasons);
        Self { decision, fingerprint: None, counted: None, runs_first: Vec::new(), if_same: None, last: None }
    }

    #[must_use]
    pub fn runs(&self) -> bool {
        matches!(self.decision, Decision::Run(_))
    }
}

/// Looks at all selected tasks as a run would. `closely` those that were asked for get their fingerprint and the rest
/// whatever the decision, which may cost the hashing of all their inputs.
///
/// # Errors
/// When the workspace cannot be opened.
pub fn foresee(
    fleet: &Fleet,
    graph: &Graph,
    selection: &Selection,
    state: &StateDir,
    rules: Rules,
    closely: bool,
) -> io::Result<Foreseen> {
    let root = Arc::new(Root::open(&fleet.workspace)?);
    let (mut environments, _) = Environments::capture(std::env::vars_os(), Vec::new(), fleet.allowed_secrets());
    let mut reuse = Reuse::open(fleet, root, state, rules, (&environments, Arc::new(AtomicBool::new(false))), None);
    let asks_remote = reuse.ground.remote.as_ref().is_some_and(Remote::reads);
    // All at once where nothing has to run, as a run does it.
    let mut standing: IdMap<TaskId, Option<Box<Entry>>> = IdMap::filled(&fleet.tasks, None);
    for (id, entry) in reuse.standing(fleet, graph, selection, &mut environments) {
        standing[id] = Some(entry);
    }
    let outlooks = IdMap::filled(&fleet.tasks, None);
    let mut look = Look { fleet, graph, state, reuse, environments, outlooks };
    for &id in graph.order() {
        if !selection.contains(id) {
            continue;
        }
        if fleet.tasks[id].unwanted.is_some() {
            look.reuse.settled(id, Some(unwanted()));
            continue;
        }
        let mut outlook = match &standing[id] {
            Some(entry) => look.reused(id, entry),
            None => look.at(id, closely && selection.part(id) == Part::Target),
        };
        if closely && selection.part(id) == Part::Target {
            look.closer(id, &mut outlook);
        }
        look.outlooks[id] = Some(outlook);
    }
    if state.path().is_dir() {
        // A damaged or read-only cache costs time and nothing else.
        let _ = look.reuse.ground.files.save();
    }
    Ok(Foreseen { outlooks: look.outlooks, asks_remote })
}

struct Look<'a> {
    fleet: &'a Fleet,
    graph: &'a Graph,
    state: &'a StateDir,
    reuse: Reuse,
    environments: Environments,
    outlooks: IdMap<TaskId, Option<Outlook>>,
}

impl Look<'_> {
    fn at(&mut self, id: TaskId, closely: bool) -> Outlook {
        let task = &self.fleet.tasks[id];
        let runs_first = self.runs_first(id);
        let given = match self.reuse.turn(self.fleet, id, &mut self.environments) {
            Turn::Ask(given) => Some(given),
            Turn::Always(Reason::NeedDidNotPass(_)) if !runs_first.is_empty() => None,
            Turn::Run(_, reason) | Turn::Always(reason) => return Outlook::run(vec![reason]),
        };
        let is_first = self.reuse.ground.results(|results| results.last_made(&task.name).is_none());
        if is_first && !closely {
            // There is nothing to compare with, so nothing need be read.
            return Outlook::run(vec![Reason::First]);
        }
        let name = |id: &TaskId| self.fleet.tasks[*id].name.clone();
        let waits: Vec<Reason> = runs_first.iter().map(|need| Reason::NeedRuns(name(need))).collect();
        // What runs first may make anything; suppose that it makes what it made last, and say so.
        let given = given.or_else(|| self.reuse.supposed(self.fleet, id, &mut self.environments));
        let mut outlook = Outlook { runs_first, ..Outlook::run(if is_first { vec![Reason::First] } else { waits }) };
        let Some(given) = given else { return outlook };
        let Decision::Run(reasons) = &mut outlook.decision else { return outlook };
        let looked = match self.reuse.ground.look(task, given) {
            Ok((looked, _)) => looked,
            Err(error) => {
                reasons.insert(0, Reason::Unreadable(error.to_string().into()));
                return outlook;
            }
        };
        outlook.fingerprint = looked.fingerprint;
        outlook.counted = Some(Counted { inputs: looked.inputs.len(), needs: looked.given.needs.len() });
        let found = looked.fingerprint.and_then(|print| self.reuse.ground.results(|results| results.find(&print)));
        match found {
            Some(entry) if outlook.runs_first.is_empty() => return self.reused(id, &entry),
            Some(entry) => outlook.if_same = Some(reused_from(&entry)),
            None if is_first => {}
            None => {
                // What is certain goes before what may turn out the same.
                let mut certain = self.reuse.ground.reasons(task, &looked);
                certain.append(reasons);
                *reasons = certain;
            }
        }
        outlook
    }

    /// Declared needs, and those that files imply, that would run.
    fn runs_first(&self, id: TaskId) -> Vec<TaskId> {
        let runs = |need: &TaskId| self.outlooks[*need].as_ref().is_some_and(Outlook::runs);
        let mut all: Vec<TaskId> = self.graph.needs(id).iter().map(|edge| edge.from).filter(runs).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// A result that holds, if its outputs can be put back.
    fn reused(&mut self, id: TaskId, entry: &Entry) -> Outlook {
        if let Some(reason) = self.reuse.ground.obstacle(&self.fleet.tasks[id], entry) {
            self.reuse.made[id] = Made::Open;
            return Outlook { fingerprint: Some(entry.fingerprint), ..Outlook::run(vec![reason]) };
        }
        let changed = outputs::changed(&self.reuse.ground.files, &entry.outputs);
        let restored: Vec<&OutputRef> = changed.into_iter().map(|at| &entry.outputs[at]).collect();
        if let Some(error) = self.not_in_store(&restored) {
            self.reuse.made[id] = Made::Open;
            return Outlook {
                fingerprint: Some(entry.fingerprint),
                ..Outlook::run(vec![Reason::Lost(error.to_string().into())])
            };
        }
        self.reuse.made[id] = Made::Outputs(entry.made);
        let restored = restored.into_iter().map(|output| output.path.clone()).collect();
        let decision = Decision::Reuse { from: reused_from(entry), restored };
        Outlook { decision, fingerprint: Some(entry.fingerprint), ..Outlook::run(Vec::new()) }
    }

    /// The first of these outputs whose bytes are not to be had. Only a look: damage shows when they are read.
    fn not_in_store(&self, outputs: &[&OutputRef]) -> Option<RestoreError> {
        let mut needed = outputs.iter().filter(|output| output.kind != EntryKind::Directory).peekable();
        needed.peek()?;
        // Opening a store makes one, which is not for us to do.
        let there = self.state.path().join("store").is_dir();
        let store = there.then(|| Store::open(self.state.path()).ok()).flatten();
        let has = |output: &OutputRef| store.as_ref().is_some_and(|store| store.has(&output.digest, output.size_bytes));
        let missing = needed.find(|output| !has(output))?;
        Some(RestoreError::Missing { path: missing.path.to_string(), digest: missing.digest })
    }

    /// What is only told of a task that was asked for.
    fn closer(&mut self, id: TaskId, outlook: &mut Outlook) {
        let task = &self.fleet.tasks[id];
        let last = self.reuse.ground.results(|results| results.last(&task.name));
        outlook.last = last.map(|entry| LastRun { run: entry.run, at: entry.at, result: entry.result });
        if outlook.counted.is_none()
            && let Turn::Ask(given) = self.reuse.turn(self.fleet, id, &mut self.environments)
        {
            let needs = given.needs.len();
            let inputs = self.reuse.ground.inputs(task).map(|(inputs, _)| inputs.len());
            outlook.counted = inputs.ok().map(|inputs| Counted { inputs, needs });
        }
    }
}
