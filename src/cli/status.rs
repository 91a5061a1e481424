//! `fleet status`: what became of a run's tasks, or what they are doing now.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::args;
use super::records::{self, Opened, Trouble};
use crate::id::Attempt;
use crate::journal::fold::StateName;
use crate::journal::reader::Torn;
use crate::journal::{Reader, Receipts, State, TaskState, log};
use crate::protocol::receipt::AttemptRecord;
use crate::protocol::{Receipt, Run, RunStatus, TaskResult};
use crate::report::output;
use crate::report::text::{Span, clean};
use crate::store::RunLookup;
use crate::time::{Millis, Stamp, clock};

/// Show the tasks of a run, past or present
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// The run: its id, the beginning of it, or `latest`, which is the default; then tasks, each to be shown with the
    /// last lines it printed; a fleet file says whose run
    #[arg(value_name = "FILE|RUN|TASK")]
    pub words: Vec<String>,
    /// The fleet file whose runs are meant
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Print the run as JSON, with state and receipt of each task
    #[arg(long)]
    pub json: bool,
    /// How many of the last lines to show of each task that is named or runs [default: 10 of tasks that are named]
    #[arg(long, value_name = "LINES", conflicts_with = "json")]
    pub tail: Option<usize>,
}

/// Lines shown of a task that is named.
const TAIL_DEFAULT: usize = 10;

/// Answers 0 whatever became of the run: the question was answered.
///
/// # Errors
/// See [`Trouble`].
pub fn run(args: &StatusArgs, out: &mut dyn Write) -> Result<u8, Trouble> {
    let words = args::sort_out(&args.words, args.file.as_deref())?;
    let (opened, names) = open(words)?;
    // Asked before the journal is read: a run that ends in between is then told as it ended, never as lost.
    let live = opened.is_live();
    let folded = opened.fold()?;
    let state = opened.state(folded.state)?;
    let torn = folded.torn.filter(|_| !live);
    let receipts = Receipts::open(&opened.dir)?;
    let tasks: Vec<&TaskState> = if names.is_empty() {
        state.tasks.iter().collect()
    } else {
        let find = |name: &String| state.task(name).ok_or_else(|| opened.no_task(&state, name));
        names.iter().map(find).collect::<Result<_, _>>()?
    };
    let tail = Tail { lines: args.tail.unwrap_or(TAIL_DEFAULT), all: !names.is_empty(), wanted: args.tail.is_some() };
    let mut view = View { opened: &opened, state: &state, tasks, tail, live, torn, receipts };
    if args.json {
        view.json(out)?;
    } else {
        view.table(clock::now(), out)?;
    }
    out.flush()?;
    Ok(0)
}

/// The run and the tasks that are meant. A first word that is no run is a task of the latest.
fn open(words: args::Words) -> Result<(Opened, Vec<String>), Trouble> {
    let Some(first) = words.rest.first() else { return Ok((Opened::find(words.file, "latest")?, Vec::new())) };
    match Opened::find(words.file.clone(), first) {
        Ok(opened) => Ok((opened, words.rest[1..].to_vec())),
        Err(trouble @ Trouble::NoSuchRun(RunLookup::Unknown { .. } | RunLookup::Ambiguous { .. })) => {
            let latest = Opened::find(words.file, "latest")?;
            let known = latest.fold()?.state.is_some_and(|state| state.task(first).is_some());
            if known { Ok((latest, words.rest)) } else { Err(trouble) }
        }
        Err(trouble) => Err(trouble),
    }
}

/// What is shown of what tasks printed.
struct Tail {
    lines: usize,
    /// Of every task that is shown; else of those that run.
    all: bool,
    wanted: bool,
}

struct View<'a> {
    opened: &'a Opened,
    state: &'a State,
    tasks: Vec<&'a TaskState>,
    tail: Tail,
    live: bool,
    torn: Option<Torn>,
    receipts: Receipts,
}

/// A task in `--json`.
#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<StateName>,
    worker_id: &'a str,
    attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<Stamp>,
    updated_at: Stamp,
    /// The attempts that others followed; of a settled task its receipt has them.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tried: &'a [AttemptRecord],
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<Receipt>,
}

impl View<'_> {
    /// The protocol's run as it is now, and after its fields `live`, `torn` and `tasks`. Tasks are written one at a
    /// time, because there may be very many.
    fn json(&mut self, out: &mut dyn Write) -> Result<(), Trouble> {
        let mut reader = Reader::open(&self.opened.dir)?;
        let first = reader.next().map_err(|error| self.opened.journal(error))?;
        let run = first.map(|line| line.run()).transpose().map_err(std::io::Error::from)?.flatten();
        // The first record may be lost; then this much is known.
        let mut run = run.unwrap_or_else(|| Run {
            id: self.state.id.clone(),
            name: self.state.name.clone(),
            status: self.state.status,
            task_specs: Vec::new(),
            worker_specs: Vec::new(),
            labels: self.state.labels.clone(),
            security_policy: None,
            created_at: self.state.created_at,
            updated_at: None,
            completed_at: None,
            seed: 0,
            fleet_version: String::new(),
            exit_code: None,
            metadata: BTreeMap::new(),
            request: None,
        });
        run.status = self.state.status;
        run.updated_at = Some(self.state.at);
        run.completed_at = self.state.completed_at;
        run.exit_code = self.state.exit_code;
        let text = serde_json::to_string(&run).map_err(std::io::Error::from)?;
        let fields = text.strip_suffix('}').unwrap_or(&text);
        write!(out, "{fields},\"live\":{}", self.live)?;
        if let Some(torn) = self.torn {
            write!(out, ",\"torn\":{{\"offset\":{},\"bytes\":{}}}", torn.offset, torn.bytes)?;
        }
        out.write_all(b",\"tasks\":[")?;
        for (at, task) in self.tasks.clone().into_iter().enumerate() {
            if at > 0 {
                out.write_all(b",")?;
            }
            let row = Row {
                id: &task.name,
                state: task.state,
                worker_id: &task.worker,
                attempt: task.attempt,
                pid: task.pid.filter(|_| task.settled.is_none()),
                started_at: task.started,
                updated_at: task.since,
                tried: if task.settled.is_some() { &[] } else { &task.tried },
                receipt: self.receipt(task)?,
            };
            serde_json::to_writer(&mut *out, &row).map_err(std::io::Error::from)?;
        }
        out.write_all(b"]}\n")?;
        Ok(())
    }

    fn table(&mut self, now: Stamp, out: &mut dyn Write) -> Result<(), Trouble> {
        let state = self.state;
        let end = state.completed_at.or((!self.live).then_some(state.at)).unwrap_or(now);
        let word = match (state.status, self.live) {
            (RunStatus::Running, true) => "running".to_owned(),
            (RunStatus::Running, false) => "broken off: its process is gone".to_owned(),
            (RunStatus::Completed, _) => "completed".to_owned(),
            (RunStatus::Failed, _) => "failed".to_owned(),
            (RunStatus::Cancelled, _) => "cancelled".to_owned(),
            (other, _) => format!("{other:?}").to_lowercase(),
        };
        let code = state.exit_code.map_or(String::new(), |code| format!(", exit {code}"));
        writeln!(out, "{}  {}: {word}{code}", state.name, self.opened.run)?;
        writeln!(out, "started {}, {}: {}", state.created_at, between(state.created_at, end), self.counts())?;
        let width = self.tasks.iter().map(|task| task.name.chars().count()).max().unwrap_or(0).clamp(4, 60);
        writeln!(out, "\n{:<width$}  {:<11}  {:>7}  {:>8}", "TASK", "STATE", "ATTEMPT", "TIME")?;
        let mut line = Vec::new();
        for task in self.tasks.clone() {
            let attempt = if task.attempt == 0 { String::new() } else { task.attempt.to_string() };
            let time = time(task, end).map_or(String::new(), |span| span.to_string());
            line.clear();
            write!(line, "{:<width$}  {:<11}  {attempt:>7}  {time:>8}", task.name, self.word(task))?;
            let receipt = self.receipt(task)?;
            if receipt.as_ref().is_some_and(|receipt| receipt.flaky) {
                line.extend_from_slice(b"  flaky");
            }
            if let Some(cause) = receipt.and_then(|receipt| receipt.cause) {
                line.extend_from_slice(b"  ");
                clean(cause.replace(['\n', '\r'], " ").trim_end().as_bytes(), false, &mut line);
            }
            while line.pop_if(|byte| *byte == b' ').is_some() {}
            line.push(b'\n');
            self.last_lines(task, &mut line)?;
            out.write_all(&line)?;
        }
        for lost in &self.state.lost {
            writeln!(out, "\nwarning: the journal has lost {}, and was repaired without", records::range(lost))?;
        }
        if let Some(torn) = self.torn {
            writeln!(out, "\nwarning: {} bytes at the end of the journal are no record and were cut", torn.bytes)?;
        }
        Ok(())
    }

    /// The last lines of what a task printed, as a terminal may see them.
    fn last_lines(&self, task: &TaskState, out: &mut Vec<u8>) -> Result<(), Trouble> {
        let runs = self.live && task.settled.is_none();
        if !(self.tail.all || self.tail.wanted && runs) || task.attempt == 0 || self.tail.lines == 0 {
            return Ok(());
        }
        let path = self.opened.dir.join(log::relative_path(&task.name, Attempt(task.attempt)));
        let (lines, more) = match output::tail(&path, self.tail.lines) {
            // An attempt that has printed nothing has no log.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            result => result?,
        };
        if more {
            let (run, name) = (&self.opened.run, &task.name);
            writeln!(out, "    … the last {}; all of it: fleet logs {run} {name}", lines.len())?;
        }
        for line in lines {
            out.extend_from_slice(b"    ");
            clean(&line, false, out);
            out.push(b'\n');
        }
        if runs && path.metadata()?.len() >= log::LOG_BYTES_MAX - log::TAIL_BYTES as u64 {
            writeln!(out, "    … its log is full; the end is added when it is over")?;
        }
        Ok(())
    }

    /// One word for where a task is: its result once it has one.
    fn word(&self, task: &TaskState) -> &'static str {
        match (task.settled, task.state) {
            (Some(settled), _) => settled.result.name(),
            (None, None | Some(StateName::Queued)) if !self.live && task.attempt == 0 => "not run",
            (None, Some(_)) if !self.live => "interrupted",
            (None, Some(state)) => state.name(),
            (None, None) => "waiting",
        }
    }

    fn counts(&self) -> String {
        let mut counts: Vec<(&str, usize)> = TaskResult::ALL.map(|result| (result.name(), 0)).to_vec();
        for task in &self.state.tasks {
            let word = self.word(task);
            match counts.iter_mut().find(|(name, _)| *name == word) {
                Some((_, count)) => *count += 1,
                None => counts.push((word, 1)),
            }
        }
        let told: Vec<String> =
            counts.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{count} {name}")).collect();
        if told.is_empty() { "no tasks".to_owned() } else { told.join(", ") }
    }

    fn receipt(&mut self, task: &TaskState) -> Result<Option<Receipt>, Trouble> {
        let wanted = task.settled.map(|settled| self.receipts.get(&settled));
        wanted.transpose().map_err(|error| self.opened.journal(error))
    }
}

fn time(task: &TaskState, end: Stamp) -> Option<Span> {
    match (task.settled, task.started) {
        (Some(settled), _) => task.started.map(|_| Span::ms(settled.duration_ms)),
        (None, Some(started)) => Some(between(started, end)),
        (None, None) => None,
    }
}

fn between(from: Stamp, to: Stamp) -> Span {
    Span(Millis(u64::try_from(to.0.saturating_sub(from.0)).unwrap_or(0)).since(Millis(0)))
}
