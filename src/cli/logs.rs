//! `fleet logs`: what an attempt of a task printed, also while it prints.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::args::{self, Misuse};
use super::records::{Opened, Trouble};
use crate::id::Attempt;
use crate::journal::{Reader, State, fold, log};
use crate::report::text::clean;

/// How often `--follow` looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Bytes read at a time; also the longest line that is held back until its end is there.
const PIECE_BYTES: usize = 64 << 10;

/// Print what a task printed
#[derive(Args, Debug)]
pub struct LogsArgs {
    /// The run (its id, the beginning of it, or `latest`), then the task; a task alone means that of the latest run
    #[arg(value_name = "FILE|RUN|TASK", required = true)]
    pub words: Vec<String>,
    /// The fleet file whose runs are meant
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Which attempt, from 1; the last one without
    #[arg(long, value_name = "N")]
    pub attempt: Option<u32>,
    /// Only the last lines
    #[arg(long, value_name = "LINES")]
    pub tail: Option<usize>,
    /// The bytes as the task printed them, also on a terminal, which may do anything with them
    #[arg(long)]
    pub raw: bool,
    /// Go on printing until the task has its result
    #[arg(long)]
    pub follow: bool,
}

/// # Errors
/// See [`Trouble`].
pub fn run(args: &LogsArgs, out: &mut dyn Write) -> Result<u8, Trouble> {
    show(args, io::stdout().is_terminal() && !args.raw, out)
}

fn show(args: &LogsArgs, terminal: bool, out: &mut dyn Write) -> Result<u8, Trouble> {
    let words = args::sort_out(&args.words, args.file.as_deref())?;
    let (run, name) = match &words.rest[..] {
        [] => return Err(Trouble::NotThere("whose log? name a run and a task".to_owned())),
        [task] => ("latest", task),
        [run, task] => (run.as_str(), task),
        [_, _, word, ..] => return Err(Misuse::TooMany(word.clone()).into()),
    };
    let opened = Opened::find(words.file, run)?;
    let mut reader = Reader::open(&opened.dir).map_err(|error| opened.journal(error.into()))?;
    let mut state = None;
    fold::advance(&mut reader, &mut state).map_err(|error| opened.journal(error))?;
    let mut state = Some(opened.state(state)?);
    let mut shown = Shown { terminal, at: None, held: Vec::new() };
    // The attempt whose log is begun is the one that is followed, whatever comes after it.
    let mut wanted = args.attempt;
    loop {
        // Asked in this order, nothing that was printed before the end can be missed.
        let over = !args.follow || is_over(state.as_ref(), name, wanted) || !opened.is_live();
        let attempt = attempt(&opened, state.as_ref(), name, wanted, over)?;
        wanted = wanted.or(attempt.map(|attempt| attempt.0));
        let path = attempt.map(|attempt| opened.dir.join(log::relative_path(name, attempt)));
        let grown = match path.map(File::open) {
            Some(Ok(file)) => shown.copy(&file, args.tail, out)?,
            // An attempt that has printed nothing has no log.
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => false,
            Some(Err(error)) => return Err(error.into()),
            None => false,
        };
        if over {
            shown.finish(out)?;
            return Ok(0);
        }
        if !grown {
            std::thread::sleep(LOOK_EVERY);
        }
        fold::advance(&mut reader, &mut state).map_err(|error| opened.journal(error))?;
    }
}

/// Whether nothing more can come: the task has its result, or a later attempt than the one asked for has begun.
fn is_over(state: Option<&State>, name: &str, attempt: Option<u32>) -> bool {
    let Some(task) = state.and_then(|state| state.task(name)) else { return true };
    task.settled.is_some() || attempt.is_some_and(|attempt| attempt < task.attempt)
}

/// The attempt to show; `None` while it may still begin.
fn attempt(
    opened: &Opened,
    state: Option<&State>,
    name: &str,
    wanted: Option<u32>,
    over: bool,
) -> Result<Option<Attempt>, Trouble> {
    let Some(state) = state else { return Ok(None) };
    let task = state.task(name).ok_or_else(|| opened.no_task(state, name))?;
    let made = task.attempt;
    match wanted.unwrap_or(made) {
        attempt if (1..=made).contains(&attempt) => Ok(Some(Attempt(attempt))),
        _ if !over => Ok(None),
        0 if made == 0 => Err(Trouble::NotThere(format!("task `{name}` was not started in run {}", opened.run))),
        attempt => {
            let run = &opened.run;
            Err(Trouble::NotThere(format!("task `{name}` has no attempt {attempt} in run {run}; it made {made}")))
        }
    }
}

/// Copies a log that may grow, from where it left off.
struct Shown {
    /// Escapes are neutralised.
    terminal: bool,
    /// How far it has copied.
    at: Option<u64>,
    /// The beginning of a line whose end is not there yet; only for a terminal.
    held: Vec<u8>,
}

impl Shown {
    /// Whether there was anything new.
    fn copy(&mut self, mut file: &File, tail: Option<usize>, out: &mut dyn Write) -> io::Result<bool> {
        let at = match self.at {
            Some(at) => at,
            None => tail.map_or(Ok(0), |lines| tail_start(file, lines))?,
        };
        file.seek(SeekFrom::Start(at))?;
        let mut copied = 0;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let n = match file.read(&mut piece) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            copied += n as u64;
            if self.terminal { self.neutral(&piece[..n], out)? } else { out.write_all(&piece[..n])? }
        }
        self.at = Some(at + copied);
        if copied > 0 {
            out.flush()?;
        }
        Ok(copied > 0)
    }

    /// Prints whole lines, cleaned; holds the rest back.
    fn neutral(&mut self, bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
        self.held.extend_from_slice(bytes);
        let mut clear = Vec::with_capacity(self.held.len() + 1);
        let whole = self.held.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let (lines, rest) = self.held.split_at(whole);
        for line in lines.split_inclusive(|b| *b == b'\n') {
            line_of(line.strip_suffix(b"\n").unwrap_or(line), &mut clear);
            clear.push(b'\n');
        }
        let rest = if rest.len() > PIECE_BYTES {
            line_of(rest, &mut clear);
            &[]
        } else {
            rest
        };
        self.held = rest.to_vec();
        out.write_all(&clear)
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let mut clear = Vec::new();
        if !self.held.is_empty() {
            line_of(&self.held, &mut clear);
        }
        self.held.clear();
        out.write_all(&clear)?;
        out.flush()
    }
}

fn line_of(line: &[u8], out: &mut Vec<u8>) {
    if clean(line, true, out) {
        out.extend_from_slice(b"\x1b[0m");
    }
}

/// Where the last `lines` lines begin, found from the end.
fn tail_start(file: &File, lines: usize) -> io::Result<u64> {
    let end = file.metadata()?.len();
    if lines == 0 {
        return Ok(end);
    }
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = end;
    let mut left = lines;
    while at > 0 {
        let n = usize::try_from(at).map_or(PIECE_BYTES, |at| at.min(PIECE_BYTES));
        at -= n as u64;
        file.read_exact_at(&mut piece[..n], at)?;
        for (index, _) in piece[..n].iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = at + index as u64 + 1;
            // The newline that ends the last line begins none.
            if after == end {
                continue;
            }
            left -= 1;
            if left == 0 {
                return Ok(after);
            }
        }
    }
    Ok(0)
}
