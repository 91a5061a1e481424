//! `fleet graph`: the selected tasks and who waits for whom, for a drawing program or for a program.
//! What lies on the critical path is marked; a handler hangs on the task whose failure starts it by a dashed edge.

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::affected::AffectedArgs;
use super::args::Source;
use super::fields::accept;
use super::load::{self, Ready};
use super::{Shell, Trouble};
use crate::graph::select::Part;
use crate::graph::{Edge, EdgeKind};
use crate::id::{Id as _, IdMap, TaskId};
use crate::policy::ExitCode;

/// Show who waits for whom
#[derive(Args, Debug)]
pub struct GraphArgs {
    /// The fleet file, and the tasks to show with what they need
    #[arg(value_name = "FILE|TASK")]
    pub words: Vec<String>,
    #[command(flatten)]
    pub source: Source,
    /// Leave out tasks, and what needs them, as often as needed
    #[arg(long, value_name = "PATTERN")]
    pub except: Vec<String>,
    #[command(flatten)]
    pub affected: AffectedArgs,
    /// For Graphviz, for Markdown, or for programs
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    #[default]
    Dot,
    Mermaid,
    Json,
}

/// # Errors
/// When the fleet file or the selection is not right, or the output cannot be written.
pub fn run(args: &GraphArgs, shell: Shell) -> Result<ExitCode, Trouble> {
    let mut ready = load::open(&args.source, &args.words, &args.except, shell)?;
    args.affected.narrow(&mut ready)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    write(&ready, args.format, &mut out)?;
    out.flush()?;
    Ok(ready.exit())
}

/// # Errors
/// When `out` cannot be written.
pub fn write(ready: &Ready, format: Format, out: &mut dyn Write) -> io::Result<()> {
    let drawing = Drawing::of(ready);
    match format {
        Format::Dot => drawing.dot(out),
        Format::Mermaid => drawing.mermaid(out),
        Format::Json => drawing.json(out),
    }
}

/// What is drawn, in the order of the file.
struct Drawing<'a> {
    ready: &'a Ready,
    tasks: Vec<TaskId>,
    critical: Vec<TaskId>,
    /// For a task on the critical path, itself or the next one on it.
    after: IdMap<TaskId, Option<TaskId>>,
    edges: Vec<Edge>,
    /// A task and what runs after its failure.
    handlers: Vec<(TaskId, TaskId)>,
}

impl<'a> Drawing<'a> {
    fn of(ready: &'a Ready) -> Self {
        let Ready { fleet, graph, selection, .. } = ready;
        let shown = |task: TaskId| selection.part(task) != Part::Out;
        let tasks: Vec<TaskId> = fleet.tasks.ids().filter(|task| shown(*task)).collect();
        let handlers =
            tasks.iter().flat_map(|task| fleet.tasks[*task].on_failure.iter().map(|handler| (*task, *handler)));
        let critical = graph.critical_path(|_| 1, selection);
        let mut after = IdMap::filled(&fleet.tasks, None);
        for (at, &task) in critical.iter().enumerate() {
            after[task] = Some(critical.get(at + 1).copied().unwrap_or(task));
        }
        Self {
            ready,
            critical,
            after,
            edges: graph.edges().iter().filter(|edge| shown(edge.from) && shown(edge.to)).copied().collect(),
            handlers: handlers.filter(|(_, handler)| shown(*handler)).collect(),
            tasks,
        }
    }

    fn name(&self, task: TaskId) -> &str {
        &self.ready.fleet.tasks[task].name
    }

    fn is_critical(&self, edge: &Edge) -> bool {
        self.after[edge.from] == Some(edge.to)
    }

    fn file(&self, edge: &Edge) -> Option<&str> {
        let EdgeKind::File { output, .. } = edge.kind else { return None };
        self.ready.fleet.tasks[edge.from].outputs.get(output as usize).map(|text| &**text)
    }

    fn dot(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "digraph {} {{", dot_text(&self.ready.fleet.name))?;
        writeln!(out, "  rankdir=LR;\n  node [shape=box];")?;
        for &task in &self.tasks {
            let style = match self.ready.selection.part(task) {
                Part::HandlerOf(_) => " [style=dashed]",
                _ if self.after[task].is_some() => " [color=red, penwidth=2]",
                _ => "",
            };
            writeln!(out, "  {}{style};", dot_text(self.name(task)))?;
        }
        for edge in &self.edges {
            let mut style: Vec<String> =
                self.file(edge).map(|file| format!("label={}", dot_text(file))).into_iter().collect();
            if self.is_critical(edge) {
                style.push("color=red, penwidth=2".into());
            }
            let style = if style.is_empty() { String::new() } else { format!(" [{}]", style.join(", ")) };
            writeln!(out, "  {} -> {}{style};", dot_text(self.name(edge.from)), dot_text(self.name(edge.to)))?;
        }
        for (task, handler) in &self.handlers {
            let (task, handler) = (dot_text(self.name(*task)), dot_text(self.name(*handler)));
            writeln!(out, "  {task} -> {handler} [style=dashed, label=\"on failure\"];")?;
        }
        writeln!(out, "}}")
    }

    fn mermaid(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "flowchart LR")?;
        for &task in &self.tasks {
            let class = match self.ready.selection.part(task) {
                Part::HandlerOf(_) => ":::handler",
                _ if self.after[task].is_some() => ":::critical",
                _ => "",
            };
            writeln!(out, "  t{}[\"{}\"]{class}", task.index(), mermaid_text(self.name(task)))?;
        }
        for edge in &self.edges {
            // A thick arrow is the critical path.
            let arrow = if self.is_critical(edge) { "==>" } else { "-->" };
            let label = self.file(edge).map_or(String::new(), |file| format!("|\"{}\"|", mermaid_text(file)));
            writeln!(out, "  t{} {arrow}{label} t{}", edge.from.index(), edge.to.index())?;
        }
        for (task, handler) in &self.handlers {
            writeln!(out, "  t{} -.->|\"on failure\"| t{}", task.index(), handler.index())?;
        }
        writeln!(out, "  classDef critical stroke:#d00,stroke-width:3px\n  classDef handler stroke-dasharray:4")
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        let tasks: Vec<Value> = self.tasks.iter().map(|task| self.task(*task)).collect();
        let handlers = self.handlers.iter().map(
            |(task, handler)| json!({ "from": self.name(*task), "to": self.name(*handler), "kind": "on_failure" }),
        );
        let edges: Vec<Value> = self.edges.iter().map(|edge| self.edge(edge)).chain(handlers).collect();
        let critical: Vec<&str> = self.critical.iter().map(|task| self.name(*task)).collect();
        let all = json!({
            "version": 1, "fleet": self.ready.fleet.name, "tasks": tasks, "edges": edges, "critical_path": critical,
        });
        writeln!(out, "{all:#}")
    }

    fn task(&self, task: TaskId) -> Value {
        let part = match self.ready.selection.part(task) {
            Part::Target | Part::Out => "target",
            Part::NeededBy(_) => "need",
            Part::HandlerOf(_) => "handler",
        };
        let declared = &self.ready.fleet.tasks[task];
        json!({
            "name": declared.name, "base": declared.base, "part": part, "tags": declared.tags,
            "critical": self.after[task].is_some(),
        })
    }

    fn edge(&self, edge: &Edge) -> Value {
        let (from, to, critical) = (self.name(edge.from), self.name(edge.to), self.is_critical(edge));
        match edge.kind {
            EdgeKind::Declared { accept_partial } => json!({
                "from": from, "to": to, "kind": "need", "critical": critical,
                "accept": accept(accept_partial),
            }),
            EdgeKind::File { input, .. } => {
                let inputs = self.ready.fleet.tasks[edge.to].inputs.as_deref().unwrap_or_default();
                json!({
                    "from": from, "to": to, "kind": "file", "critical": critical,
                    "output": self.file(edge), "input": inputs.get(input as usize),
                })
            }
        }
    }
}

fn dot_text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn mermaid_text(text: &str) -> String {
    text.replace('#', "#35;").replace('"', "#quot;").replace('\n', " ")
}
