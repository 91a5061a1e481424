//! `fleet explain`: what a run would do with tasks now, and why: which file, which variable, which needed task; or which
//! earlier result holds, and what it stands on. Runs nothing and decides nothing: the engine foresees, this prints.

use std::collections::HashMap;
use std::io::{self, Write};

use clap::Args;
use serde_json::{Map, Value, json};

use super::args::Source;
use super::load::{self, Ready};
use super::{Shell, Trouble, placement};
use crate::engine::reuse::{Counted, Foreseen, LastRun, Outlook, Rules, foresee};
use crate::graph::select::Part;
use crate::id::{IdMap, TaskId};
use crate::journal;
use crate::plan::explain::{Decision, Reason};
use crate::policy::ExitCode;
use crate::protocol::receipt::ReusedFrom;
use crate::report::Paint;
use crate::report::color::Color;
use crate::report::reasons;
use crate::store::StateDir;

/// Reasons, and outputs to be put back, that a person is shown of one task.
const LINES_MAX: usize = 20;
/// Runs, newest first, in which a task that leaves nothing to compare with is looked for.
const RUNS_SEARCHED: usize = 10;

/// Say why tasks would run, or which results would be reused
#[derive(Args, Debug)]
#[command(after_help = "\
Tasks are named as for `fleet run`; what they need is looked at as well, and told where it is the reason.
Nothing is run, and nothing is written but what is known of files (in .fleet/cache, if there is a .fleet).")]
pub struct ExplainArgs {
    /// The fleet file, and the tasks to explain
    #[arg(value_name = "FILE|TASK")]
    pub words: Vec<String>,
    #[command(flatten)]
    pub source: Source,
    /// As JSON, with every reason
    #[arg(long)]
    pub json: bool,
    /// Say on which worker a task goes, and why on none of the others
    #[arg(long)]
    pub placement: bool,
}

/// # Errors
/// When the fleet file or the selection is not right, or the output cannot be written.
pub fn run(args: &ExplainArgs, shell: Shell) -> Result<ExitCode, Trouble> {
    let ready = load::open(&args.source, &args.words, &[], shell)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    if args.placement {
        placement::show(&ready, args.json, shell.stdout(), &mut out)?;
        out.flush()?;
        return Ok(ready.exit());
    }
    let page = Page::of(&ready)?;
    if args.json {
        page.json(&mut out)?;
    } else {
        page.human(shell.stdout(), &mut out)?;
    }
    out.flush()?;
    Ok(ready.exit())
}

struct Page<'a> {
    ready: &'a Ready,
    outlooks: IdMap<TaskId, Option<Outlook>>,
    asks_remote: bool,
    /// For a task that would run only because another one does: where that begins.
    roots: IdMap<TaskId, TaskId>,
    named: Vec<TaskId>,
    last: HashMap<TaskId, LastRun>,
}

impl<'a> Page<'a> {
    fn of(ready: &'a Ready) -> io::Result<Self> {
        let Ready { fleet, graph, selection, .. } = ready;
        let state = StateDir::of(&fleet.workspace);
        let Foreseen { outlooks, asks_remote } = foresee(fleet, graph, selection, &state, Rules::default(), true)?;
        let named: Vec<TaskId> = fleet.tasks.ids().filter(|task| selection.part(*task) == Part::Target).collect();
        let mut page =
            Self { ready, last: HashMap::new(), roots: roots(ready, &outlooks), outlooks, asks_remote, named };
        page.look_for_last(&state);
        Ok(page)
    }

    /// When each was last run: by the earlier results, else by the latest runs.
    fn look_for_last(&mut self, state: &StateDir) {
        let mut open = Vec::new();
        for &task in &self.named {
            match self.outlooks[task].as_ref().map(|outlook| outlook.last.clone()) {
                Some(Some(last)) => drop(self.last.insert(task, last)),
                Some(None) => open.push(task),
                None => {}
            }
        }
        // What cannot be read is not known.
        for run in state.runs().unwrap_or_default().into_iter().take(RUNS_SEARCHED) {
            if open.is_empty() {
                return;
            }
            let Some(folded) = journal::fold(&state.run_dir(&run)).ok().and_then(|folded| folded.state) else {
                continue;
            };
            open.retain(|&task| {
                let found = folded.task(self.name(task)).filter(|found| found.attempt > 0);
                let Some((settled, at)) = found.and_then(|found| Some((found.settled?, found.since))) else {
                    return true;
                };
                self.last.insert(task, LastRun { run: run.as_str().into(), at, result: settled.result });
                false
            });
        }
    }

    fn name(&self, task: TaskId) -> &'a str {
        &self.ready.fleet.tasks[task].name
    }

    fn human(&self, paint: Paint, out: &mut dyn Write) -> io::Result<()> {
        for &task in &self.named {
            let name = paint.color(Color::Bold, self.name(task));
            match (&self.outlooks[task], &self.ready.fleet.tasks[task].unwanted) {
                (Some(outlook), _) => {
                    let (verdict, lines) = self.told(task, outlook);
                    writeln!(out, "{name}  {verdict}")?;
                    for text in lines {
                        writeln!(out, "  {}", reasons::line(&text))?;
                    }
                    if let Some(LastRun { run, at, result }) = self.last.get(&task) {
                        let last = format!("last run: {run}, {at}, {}", result.name());
                        writeln!(out, "  {}", paint.color(Color::Dim, last))?;
                    }
                }
                (None, Some(because)) => writeln!(out, "{name}  would be left out: {}", reasons::line(because))?,
                (None, None) => writeln!(out, "{name}  would run only after a failure")?,
            }
        }
        Ok(())
    }

    /// The verdict, and the lines below it.
    fn told(&self, task: TaskId, outlook: &Outlook) -> (String, Vec<String>) {
        match &outlook.decision {
            Decision::Run(reasons) => {
                let mut lines: Vec<String> =
                    reasons.iter().take(LINES_MAX).map(|reason| self.sentence(task, outlook, reason)).collect();
                if reasons.len() > LINES_MAX {
                    lines.push(format!("and {} more reasons", reasons.len() - LINES_MAX));
                }
                if let Some(from) = &outlook.if_same {
                    let again = if outlook.runs_first.len() == 1 { "that makes" } else { "those make" };
                    lines.push(format!("if {again} the same as before, this is reused from {}", record(from)));
                    return ("may run".to_owned(), lines);
                }
                if self.asks_remote && outlook.fingerprint.is_some() {
                    lines.push("a run would also ask the shared cache for it".to_owned());
                }
                ("would run".to_owned(), lines)
            }
            Decision::Reuse { from, restored } => {
                let count = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
                let counted = outlook.counted.map(|Counted { inputs, needs }| {
                    format!("unchanged: {}, {}, and how it is run", count(inputs, "input"), count(needs, "need"))
                });
                let mut lines: Vec<String> = counted.into_iter().collect();
                lines.extend(outlook.fingerprint.map(|digest| format!("fingerprint {digest}")));
                lines.extend(restored.iter().take(LINES_MAX).map(|path| format!("`{path}` would be put back")));
                if restored.len() > LINES_MAX {
                    lines.push(format!("and {} more outputs", restored.len() - LINES_MAX));
                }
                (format!("would be reused from {}", record(from)), lines)
            }
        }
    }

    /// A reason; of a task that runs first, also why that runs.
    fn sentence(&self, task: TaskId, outlook: &Outlook, reason: &Reason) -> String {
        let Reason::NeedRuns(name) = reason else { return reason.to_string() };
        let need = outlook.runs_first.iter().copied().find(|need| self.name(*need) == &**name);
        let Some(need) = need.filter(|need| *need != task) else { return reason.to_string() };
        let root = self.roots[need];
        let why = match self.outlooks[root].as_ref().map(|outlook| &outlook.decision) {
            Some(Decision::Run(reasons)) => reasons.first().map(ToString::to_string).unwrap_or_default(),
            _ => String::new(),
        };
        if root == need {
            return format!("it needs `{name}`, which would run: {why}");
        }
        format!("it needs `{name}`, which waits for `{}`, which would run: {why}", self.name(root))
    }

    /// Task by task, so that long lists of one are not held together with those of all others.
    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{{\"version\":1,\"asks_shared_cache\":{},\"tasks\":[", self.asks_remote)?;
        for (&task, number) in self.named.iter().zip(0..) {
            let mut object = Map::new();
            object.insert("task".into(), self.name(task).into());
            object.extend(decided(self.outlooks[task].as_ref()));
            if let Some(because) = &self.ready.fleet.tasks[task].unwanted {
                object.insert("decision".into(), "left_out".into());
                object.insert("because".into(), (&**because).into());
            }
            let last = self.last.get(&task);
            let last = last.map(|last| json!({ "run_id": last.run, "at": last.at, "result": last.result.name() }));
            object.insert("last".into(), last.into());
            write!(out, "{}\n{}", if number == 0 { "" } else { "," }, Value::Object(object))?;
        }
        writeln!(out, "\n]}}")
    }
}

/// Where the running of each task begins: itself, or what it only waits for.
fn roots(ready: &Ready, outlooks: &IdMap<TaskId, Option<Outlook>>) -> IdMap<TaskId, TaskId> {
    let mut roots = IdMap::from(ready.fleet.tasks.ids().collect::<Vec<_>>());
    for &task in ready.graph.order() {
        let Some(Outlook { decision: Decision::Run(reasons), runs_first, .. }) = &outlooks[task] else { continue };
        if let (Some(Reason::NeedRuns(_)), Some(first)) = (reasons.first(), runs_first.first()) {
            roots[task] = roots[*first];
        }
    }
    roots
}

fn record(from: &ReusedFrom) -> String {
    let elsewhere = if from.remote { " (by way of the shared cache)" } else { "" };
    format!("{}, record {}{elsewhere}", from.run_id, from.journal_seq)
}

/// What would become of a task as JSON, here and in a plan. All is null for a task that is not for a run to decide about.
pub(super) fn decided(outlook: Option<&Outlook>) -> Map<String, Value> {
    let from = |from: &ReusedFrom| {
        json!({
            "run_id": from.run_id, "journal_seq": from.journal_seq, "attempt": from.attempt, "remote": from.remote,
        })
    };
    let (mut decision, mut why, mut reused, mut restored) = (None, Vec::new(), None, Value::Array(Vec::new()));
    match outlook.map(|outlook| &outlook.decision) {
        Some(Decision::Run(reasons)) => {
            decision = Some("run");
            why = reasons.iter().map(reasons::json).collect();
        }
        Some(Decision::Reuse { from: holds, restored: paths }) => {
            decision = Some("reuse");
            reused = Some(from(holds));
            restored = json!(paths);
        }
        None => {}
    }
    let fingerprint = outlook.and_then(|outlook| outlook.fingerprint).map(|digest| digest.to_string());
    let counted = outlook.and_then(|outlook| outlook.counted);
    let mut object = Map::new();
    object.insert("decision".into(), decision.into());
    object.insert("reasons".into(), why.into());
    object.insert("if_same".into(), outlook.and_then(|outlook| outlook.if_same.as_ref()).map(from).into());
    object.insert("reused".into(), reused.into());
    object.insert("restored".into(), restored);
    object.insert("fingerprint".into(), fingerprint.into());
    object.insert("inputs".into(), counted.map(|counted| counted.inputs).into());
    object.insert("needs".into(), counted.map(|counted| counted.needs).into());
    object
}

/// `run because …`, `may run: …` or `reuse from …`, in one line of a plan.
pub(super) fn brief(outlook: &Outlook) -> String {
    match (&outlook.decision, &outlook.if_same) {
        (Decision::Reuse { from, restored }, _) => {
            let put_back = match restored.len() {
                0 => String::new(),
                1 => "; 1 output would be put back".to_owned(),
                n => format!("; {n} outputs would be put back"),
            };
            format!("reuse from {}{put_back}", record(from))
        }
        (Decision::Run(reasons), if_same) => {
            let more = match reasons.len() {
                0 | 1 => String::new(),
                n => format!(" (and {} more)", n - 1),
            };
            let text = match reasons.first() {
                // "It always runs" is also what `always` says.
                Some(Reason::Never(why)) => format!("run because {why}"),
                Some(reason) if if_same.is_some() => format!("may run: {reason}"),
                Some(reason) => format!("run because {reason}"),
                None => "run".to_owned(),
            };
            reasons::line(&format!("{text}{more}"))
        }
    }
}
