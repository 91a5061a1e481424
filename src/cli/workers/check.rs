//! `fleet workers check`: each worker tried from end to end by a small run of its own, in a folder of its own: reached,
//! its key compared, its supervisor started, files sent there and brought back, a process started. What it can enforce is
//! found by asking for it.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::args::Source;
use super::super::load;
use super::super::{Shell, Trouble};
use super::ready;
use crate::engine::outcome::Outcome;
use crate::engine::sink::{RunView, Sink};
use crate::engine::{self, Job, Options, reuse};
use crate::graph::Graph;
use crate::graph::select;
use crate::id::IdMap;
use crate::journal::{Event, Happened};
use crate::model::{Fleet, Host, Security, Trust, Worker};
use crate::policy::ExitCode;
use crate::protocol::Receipt;
use crate::protocol::receipt::TaskResult;
use crate::protocol::run::RunRequest;
use crate::report::color::Color;
use crate::spec;
use crate::store::StateDir;
use crate::time::{Millis, written};

/// What is run. The first has files both ways, the second shows what a task costs once the worker is reached, the third
/// asks for bounds.
const TASKS: &str = r#"
version = 1
name = "check"
[defaults]
timeout = "60s"
[tasks.files]
sh = "cat sent > made"
inputs = ["sent"]
outputs = ["made"]
cache = false
[tasks.quick]
needs = [{ task = "files", order_only = true }]
sh = ":"
[tasks.limits]
needs = [{ task = "quick", order_only = true }]
sh = ":"
limits = { cpu = 1, memory = "64MiB", pids = 32 }
allow_failure = true
"#;
/// Bytes that are sent and have to come back.
const SENT_BYTES: usize = 256 << 10;

/// Try each worker from end to end, and say what it can enforce
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// The fleet file
    #[arg(value_name = "FILE")]
    pub words: Vec<String>,
    #[command(flatten)]
    pub source: Source,
    /// Only this worker
    #[arg(long, value_name = "NAME")]
    pub worker: Vec<String>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// What trying a worker came to.
#[derive(Debug)]
struct Tried {
    /// The signal that ended it.
    interrupted: Option<i32>,
    /// Nothing is wrong with it.
    error: Option<String>,
    warnings: Vec<String>,
    /// From the wish to its first process, and a task on the way there and back once it is reached.
    reached: Option<Duration>,
    task: Option<Duration>,
    mechanisms: Vec<String>,
    image: Option<String>,
    limits: Result<Vec<String>, String>,
    sandbox: Option<Result<Vec<String>, String>>,
}

/// # Errors
/// When the fleet file is not right, a name names no worker, or the output cannot be written.
pub(super) fn run(args: &CheckArgs, shell: Shell) -> Result<ExitCode, Trouble> {
    let ready = ready(&args.words, &args.source, shell)?;
    let fleet = &ready.fleet;
    if let Some(name) = args.worker.iter().find(|name| !fleet.workers.values().any(|worker| worker.name == **name)) {
        return Err(Trouble::Other(ExitCode::Usage, format!("no worker is named `{name}`")));
    }
    let wanted = |worker: &&Worker| args.worker.is_empty() || args.worker.contains(&worker.name);
    let security = fleet.policies.security.as_deref();
    let mut all = Vec::new();
    let mut failed = false;
    let mut out = io::stdout().lock();
    for worker in fleet.workers.values().filter(wanted) {
        let tried = Tried::of(worker, security);
        if let Some(signal) = tried.interrupted {
            return Ok(if signal == libc::SIGINT { ExitCode::Interrupted } else { ExitCode::Terminated });
        }
        failed |= tried.error.is_some();
        if args.json {
            all.push(tried.json(worker));
        } else {
            out.write_all(tried.text(worker, shell).as_bytes())?;
            out.flush()?;
        }
    }
    if args.json {
        writeln!(out, "{:#}", json!({ "version": 1, "fleet": fleet.name, "workers": all }))?;
    }
    Ok(if failed { ExitCode::Infrastructure } else { ExitCode::Passed })
}

impl Tried {
    fn of(worker: &Worker, security: Option<&Security>) -> Self {
        let mut tried = Self {
            interrupted: None,
            error: None,
            warnings: Vec::new(),
            reached: None,
            task: None,
            mechanisms: Vec::new(),
            image: None,
            limits: Err("not tried".to_owned()),
            sandbox: None,
        };
        if let Err(error) = tried.as_it_is(worker, security) {
            tried.error = Some(error);
            return tried;
        }
        // What it could hold a task by if it was asked to; a container is held by its engine.
        if !matches!(worker.host, Host::Container(_)) && worker.trust != Trust::Sandbox {
            let cell = Worker { trust: Trust::Sandbox, ..worker.clone() };
            let seen = small_run(cell, security);
            tried.interrupted = seen.as_ref().ok().and_then(|(seen, _)| seen.interrupted);
            tried.sandbox = Some(seen.and_then(|(seen, sent)| {
                let receipt = seen.passed("files", sent.as_deref())?;
                Ok(mechanisms(receipt))
            }));
        }
        tried
    }

    fn as_it_is(&mut self, worker: &Worker, security: Option<&Security>) -> Result<(), String> {
        let (seen, sent) = small_run(worker.clone(), security)?;
        self.interrupted = seen.interrupted;
        self.warnings.clone_from(&seen.warnings);
        let files = seen.passed("files", sent.as_deref())?;
        self.reached = seen.running.first().zip(seen.starting.first()).map(|(ran, begun)| ran.since(*begun));
        self.mechanisms = mechanisms(files);
        self.image = files.image.as_ref().map(ToString::to_string);
        seen.passed("quick", None)?;
        self.task = seen.settled.get(1).zip(seen.starting.get(1)).map(|(end, begun)| end.since(*begun));
        self.limits = seen.passed("limits", None).map(|receipt| {
            let new = |name: &String| !self.mechanisms.contains(name);
            mechanisms(receipt).into_iter().filter(new).collect()
        });
        Ok(())
    }

    fn text(&self, worker: &Worker, shell: Shell) -> String {
        let paint = shell.stdout();
        let mut text = String::new();
        let (mark, color) = if self.error.is_some() { ("fails", Color::Red) } else { ("works", Color::Green) };
        let kind = worker.host.name();
        let _ = writeln!(text, "{}  {} ({kind}, trust {})", paint.color(color, mark), worker.name, worker.trust);
        let mut line = |what: &str, value: &str| {
            let _ = writeln!(text, "       {what:9}{value}");
        };
        if let Some(error) = &self.error {
            line("why", error);
        }
        if let Some(reached) = self.reached {
            line("reached", &format!("first process after {}", written(reached)));
        }
        if let Some(task) = self.task {
            line("task", &format!("{} there and back", written(task)));
        }
        if let Some(image) = &self.image {
            line("image", image);
        }
        if !self.mechanisms.is_empty() {
            line("held by", &self.mechanisms.join(", "));
        }
        match &self.limits {
            Ok(by) if by.is_empty() => line("limits", "held by its container"),
            Ok(by) => line("limits", &by.join(", ")),
            Err(why) if self.error.is_none() => line("limits", &format!("no: {why}")),
            Err(_) => {}
        }
        match &self.sandbox {
            Some(Ok(by)) => line("sandbox", &by.join(", ")),
            Some(Err(why)) => line("sandbox", &format!("no: {why}")),
            None => {}
        }
        for warning in &self.warnings {
            line("note", warning);
        }
        text
    }

    fn json(&self, worker: &Worker) -> Value {
        let can = |result: &Result<Vec<String>, String>| match result {
            Ok(by) => json!({ "enforced": true, "mechanisms": by }),
            Err(why) => json!({ "enforced": false, "why": why }),
        };
        json!({
            "name": worker.name,
            "host": worker.host.name(),
            "trust": worker.trust.name(),
            "works": self.error.is_none(),
            "error": self.error,
            "reached_ms": self.reached.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            "task_ms": self.task.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            "image": self.image,
            "mechanisms": self.mechanisms,
            "limits": can(&self.limits),
            "sandbox": self.sandbox.as_ref().map(can),
            "warnings": self.warnings,
        })
    }
}

fn mechanisms(receipt: &Receipt) -> Vec<String> {
    let trust = receipt.trust.as_ref();
    trust.map(|trust| trust.mechanisms.iter().map(ToString::to_string).collect()).unwrap_or_default()
}

/// What was seen of a small run.
#[derive(Debug, Default)]
struct Seen {
    receipts: Vec<Receipt>,
    warnings: Vec<String>,
    starting: Vec<Millis>,
    running: Vec<Millis>,
    settled: Vec<Millis>,
    /// The signal that ended it.
    interrupted: Option<i32>,
}

impl Seen {
    /// The receipt of a task that passed, with what it made as it was sent.
    fn passed(&self, task: &str, sent: Option<&str>) -> Result<&Receipt, String> {
        let receipt = self.receipts.iter().find(|receipt| &*receipt.task_id == task);
        let receipt = receipt.ok_or("it did not come to it")?;
        if receipt.result != TaskResult::Pass {
            return Err(receipt.cause.clone().unwrap_or_else(|| "it did not pass".to_owned()));
        }
        match sent {
            Some(why) => Err(why.to_owned()),
            None => Ok(receipt),
        }
    }
}

impl Sink for Seen {
    fn begin(&mut self, _: &RunView<'_>) -> io::Result<()> {
        Ok(())
    }

    fn event(&mut self, _: &RunView<'_>, happened: &Happened<'_>) -> io::Result<()> {
        match happened.event {
            Event::Starting { .. } => self.starting.push(happened.at),
            Event::Running { .. } => self.running.push(happened.at),
            Event::Settled { receipt, .. } => {
                self.settled.push(happened.at);
                self.receipts.push(receipt.clone());
            }
            Event::Warning { text } => self.warnings.push(text.to_owned()),
            _ => {}
        }
        Ok(())
    }

    fn tick(&mut self, _: &RunView<'_>, _: Millis) -> io::Result<()> {
        Ok(())
    }

    fn end(&mut self, _: &RunView<'_>, outcome: &Outcome) -> io::Result<()> {
        self.interrupted = outcome.interrupted;
        Ok(())
    }
}

/// Runs [`TASKS`] on one worker. Also returns what is wrong with the file that came back.
fn small_run(worker: Worker, security: Option<&Security>) -> Result<(Seen, Option<String>), String> {
    let failed = |error: io::Error| format!("there is no folder to try it in: {error}");
    let folder = TempDir::with_prefix("fleet-check-").map_err(failed)?;
    let sent: Vec<u8> = (0..SENT_BYTES).map(|at| u8::try_from(at * at % 251).unwrap_or(0)).collect();
    std::fs::write(folder.path().join("sent"), &sent).map_err(failed)?;
    let fleet = fleet_of(&folder, worker, security)?;
    let graph = Graph::of(&fleet).map_err(|_| "its tasks have no order".to_owned())?;
    let selection = select::select(&fleet, &graph, &select::Request::default()).map_err(|_| "nothing is selected")?;
    let state = StateDir::of(&fleet.workspace);
    let options = Options {
        jobs: None,
        fail_fast: Some(false),
        audit: None,
        exe: std::env::current_exe().map_err(failed)?,
        reuse: reuse::Rules { off: true, ..reuse::Rules::default() },
        keys: false,
    };
    let job = Job {
        fleet: Arc::new(fleet),
        graph: &graph,
        selection: &selection,
        options,
        state: &state,
        request: RunRequest::default(),
        resumes: None,
        stands: Vec::new(),
        secrets: None,
    };
    let mut seen = Seen::default();
    engine::run(&job, None, &mut seen).map_err(|error| error.to_string())?;
    let back = std::fs::read(folder.path().join("made")).unwrap_or_default();
    let wrong = (back != sent).then(|| "the file that came back is not the one that was sent".to_owned());
    Ok((seen, wrong))
}

fn fleet_of(folder: &TempDir, worker: Worker, security: Option<&Security>) -> Result<Fleet, String> {
    let file = folder.path().join("fleet.toml");
    std::fs::write(&file, TASKS).map_err(|error| error.to_string())?;
    let request = spec::Request { file, set: Vec::new(), facts: load::facts() };
    let mut fleet = match spec::load(&request) {
        Ok(loaded) => loaded.fleet,
        Err(_) => return Err("the tasks to try it with cannot be read".to_owned()),
    };
    fleet.workers = IdMap::from(vec![worker]);
    fleet.policies.security = security.map(|security| Box::new(Security { grants: Vec::new(), ..security.clone() }));
    Ok(fleet)
}
