//! The sink for people: puts event lines, task output, the live display and the summary into one stream, in one order.
//! Above a live display a line is printed only for what is worth scrolling for: what did not pass, and
//! output. Without it, every start and every end has its line.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use indicatif::ProgressDrawTarget;

use super::ci::Ci;
use super::color::Paint;
pub use super::live::DRAWS_PER_SECOND;
use super::live::{self, Live};
use super::out::{End, Out};
use super::output::{self, OutputMode, Partial};
use super::pen::Pen;
use super::queue::{Drain, Queue};
use super::summary::{Rerun, Summary};
use super::{RunView, Sink, lines};
use crate::engine::outcome::Outcome;
use crate::engine::sink::Running;
use crate::id::TaskId;
use crate::journal::{Event, Happened};
use crate::policy::retry::Next;
use crate::protocol::receipt::{AttemptRecord, LogRef, ReusedFrom};
use crate::protocol::{Receipt, TaskResult};
use crate::time::{Millis, Stamp};

/// Rows and columns of a terminal, asked for at each use because people resize windows.
pub type Size = fn() -> (u16, u16);

/// How to report to people.
pub struct Options<W: Write + ?Sized = dyn Write> {
    /// Where to.
    pub to: Box<W>,
    /// Whether `to` is a terminal: then what tasks print is made safe first.
    pub terminal: bool,
    pub paint: Paint,
    pub size: Size,
    pub output: OutputMode,
    /// Where to draw the live display, and its colours; `None` for none.
    pub live: Option<(ProgressDrawTarget, Paint)>,
    pub ci: Ci,
    pub rerun: Rerun,
    /// `--explain`: say of each task why it runs.
    pub explain: bool,
}

#[derive(Debug)]
pub struct Human {
    out: Out,
    live: Option<Live>,
    output: OutputMode,
    partial: Partial,
    ci: Ci,
    size: Size,
    terminal: bool,
    rerun: Rerun,
    on_screen: Option<OnScreen>,
    explain: bool,
    /// Reused results that had a line so far.
    reused: usize,
    /// Lines of reused results that wait for the summary, because a display has no lines.
    summed: Vec<u8>,
}

/// The last result whose line was printed, and what came of it since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OnScreen {
    pub(super) task: TaskId,
    /// Its whole log stands above its line, in the open.
    pub(super) log: bool,
    /// Lines printed since.
    pub(super) since: usize,
}

/// A log is still before the reader's eyes under so many lines.
const LINES_SINCE_MAX: usize = 5;

/// Reused results that have a line of their own.
const REUSED_SHOWN: usize = 20;

/// Reused results that the summary names below a display.
const REUSED_SUMMED: usize = 5;

/// Columns where there is no terminal to ask.
const COLUMNS: usize = 100;

impl Human {
    #[must_use]
    pub fn new(options: Options) -> Self {
        let (pen, make) = Self::parts(options);
        make(End::Here(pen))
    }

    /// One that never waits for whoever reads; what it wrote is all there after the wait of the other.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn beside(options: Options<dyn Write + Send>) -> io::Result<(Self, Drain)> {
        let (pen, make) = Self::parts(options);
        let (queue, drain) = Queue::with(pen)?;
        Ok((make(End::Beside(queue)), drain))
    }

    fn parts<W: Write + ?Sized>(options: Options<W>) -> (Pen<W>, impl FnOnce(End) -> Self) {
        let Options { to, terminal, paint, size, output, live, ci, rerun, explain } = options;
        let (target, live) = live.map(|(target, paint)| (target, Live::new(paint))).unzip();
        let pen = Pen::new(to, terminal, paint.is_on(), target.map(live::bar));
        let make = move |end| {
            let out = Out::new(end, paint, terminal);
            let (partial, on_screen) = (Partial::default(), None);
            Self {
                out,
                live,
                output,
                partial,
                ci,
                size,
                terminal,
                rerun,
                on_screen,
                explain,
                reused: 0,
                summed: Vec::new(),
            }
        };
        (pen, make)
    }

    /// Lines were printed that are not the result of a task, or not of one worth remembering.
    fn pushed(&mut self, lines: usize) {
        if let Some(shown) = &mut self.on_screen {
            shown.since = shown.since.saturating_add(lines);
        }
    }

    /// Whether each start and each end has its line. A display on the terminal does not help who reads the file that
    /// standard output goes to.
    fn every_line(&self) -> bool {
        (self.live.is_none() || !self.terminal) && self.output != OutputMode::Quiet
    }

    /// Whether the summary names what was reused, because no line has.
    fn sums_up(&self) -> bool {
        !self.every_line() && self.output != OutputMode::Quiet
    }

    /// Of many reused results the first have a line, and the summary has their count.
    fn reused(&mut self, view: &RunView<'_>, task: TaskId, from: &ReusedFrom) {
        if self.every_line() && self.reused < REUSED_SHOWN {
            lines::reused(view, self.out.paint, task, from, &mut self.out.text);
            self.pushed(1);
        } else if self.sums_up() && self.reused < REUSED_SUMMED {
            lines::reused(view, self.out.paint, task, from, &mut self.summed);
        }
        self.reused += 1;
        if let Some(live) = &mut self.live {
            live.settled(task, TaskResult::Pass);
        }
    }

    /// What a failed attempt printed is shown like that of a failed task; a repetition has its line where each end has one.
    fn restarted(
        &mut self,
        view: &RunView<'_>,
        stamp: Stamp,
        (task, record, next): (TaskId, &AttemptRecord, Next),
    ) -> io::Result<()> {
        let name = &*view.fleet.tasks[task].name;
        self.partial.end((task, name), &mut self.out);
        output::tell_skipped(view.run, Some(name), &mut self.out);
        let shows = |log: &&LogRef| log.bytes > 0 && self.output.shows_log(record.result);
        let log = record.log.as_ref().filter(shows);
        if let Some(log) = log {
            self.ci.open(name, stamp, &mut self.out.text);
            self.out.log(view.run_dir.join(&*log.path))?;
            self.ci.close(name, stamp, &mut self.out.text);
            self.on_screen = None;
        }
        let failed = matches!(next, Next::Retry { .. }) && self.output != OutputMode::Quiet;
        if self.every_line() || log.is_some() || failed {
            lines::restarted(view, self.out.paint, (task, record, next), &mut self.out.text);
            self.pushed(1);
        }
        if let Some(live) = &mut self.live {
            live.restarted(task);
        }
        Ok(())
    }

    fn settled(&mut self, view: &RunView<'_>, stamp: Stamp, task: TaskId, receipt: &Receipt) -> io::Result<()> {
        let name = &*view.fleet.tasks[task].name;
        let bad = !matches!(receipt.result, TaskResult::Pass | TaskResult::Skip);
        if let Some(from) = &receipt.reused {
            self.reused(view, task, from);
            return Ok(());
        }
        self.partial.end((task, name), &mut self.out);
        output::tell_skipped(view.run, Some(name), &mut self.out);
        let mut shown = false;
        if let Some(log) = receipt.log.as_ref().filter(|log| log.bytes > 0 && self.output.shows_log(receipt.result)) {
            shown = true;
            self.ci.open(name, stamp, &mut self.out.text);
            self.out.log(view.run_dir.join(&*log.path))?;
            self.ci.close(name, stamp, &mut self.out.text);
        }
        if self.every_line() || shown || (bad && self.output != OutputMode::Quiet) {
            lines::settled(view, self.out.paint, task, receipt, &mut self.out.text);
            if bad || shown {
                // A CI folds logs away, and its marks come behind the line.
                let open = self.ci == Ci::None;
                self.on_screen = Some(OnScreen { task, log: shown && open, since: usize::from(!open) });
            } else {
                self.pushed(1);
            }
        }
        if bad && !view.fleet.tasks[task].allow_failure {
            let cause = receipt.cause.as_deref().unwrap_or(receipt.result.name());
            self.ci.error(name, cause, &mut self.out.text);
        }
        if let Some(live) = &mut self.live {
            live.settled(task, receipt.result);
        }
        Ok(())
    }
}

impl Sink for Human {
    fn begin(&mut self, view: &RunView<'_>) -> io::Result<()> {
        if self.output != OutputMode::Quiet {
            lines::begun(view, self.out.paint, &mut self.out.text);
        }
        self.tick(view, Millis(0))
    }

    fn event(&mut self, view: &RunView<'_>, happened: &Happened<'_>) -> io::Result<()> {
        match happened.event {
            // A late end is told as a warning.
            Event::Queued { .. } | Event::Running { .. } | Event::Late { .. } => return Ok(()),
            Event::Starting { task, attempt, worker, .. } => {
                if let Some(live) = &mut self.live {
                    live.starting(task, happened.at);
                }
                if self.every_line() {
                    lines::starting(view, self.out.paint, (task, attempt, worker), &mut self.out.text);
                    self.pushed(1);
                }
            }
            Event::Output { task, stream, bytes, .. } => {
                if self.output == OutputMode::Stream {
                    let name = &*view.fleet.tasks[task].name;
                    if self.out.has_skipped() {
                        output::tell_skipped(view.run, None, &mut self.out);
                    }
                    self.partial.add((task, name), stream, bytes, &mut self.out)?;
                    self.on_screen = None;
                }
            }
            Event::Restarted { task, record, next } => self.restarted(view, happened.stamp, (task, record, next))?,
            Event::Settled { task, receipt } => self.settled(view, happened.stamp, task, receipt)?,
            Event::Interrupted { task, record } => {
                lines::interrupted(view, self.out.paint, task, record, &mut self.out.text);
                self.pushed(1);
            }
            Event::Explained { task, reasons } => {
                if self.explain {
                    lines::explained(view, self.out.paint, task, reasons, &mut self.out.text);
                    self.pushed(1);
                }
            }
            Event::Warning { text } => {
                lines::warning(self.out.paint, text, &mut self.out.text);
                self.pushed(1);
            }
        }
        self.out.room()
    }

    fn tick(&mut self, view: &RunView<'_>, now: Millis) -> io::Result<()> {
        self.out.flush()?;
        if self.out.has_skipped() {
            output::tell_skipped(view.run, None, &mut self.out);
        }
        if let Some(live) = &self.live {
            let screen = live.screen(view, now, (self.size)());
            self.out.show(screen);
        }
        Ok(())
    }

    fn tick_every(&self) -> Option<Duration> {
        self.live.is_some().then(|| Duration::from_secs(1) / u32::from(DRAWS_PER_SECOND))
    }

    fn running(&mut self, view: &RunView<'_>, now: Millis, running: &[Running]) -> io::Result<()> {
        self.out.aside(output::running(view, now, running))
    }

    fn end(&mut self, view: &RunView<'_>, outcome: &Outcome) -> io::Result<()> {
        if self.live.is_some() {
            self.out.clear()?;
        }
        self.out.text.append(&mut self.summed);
        if self.sums_up() && self.reused > REUSED_SUMMED {
            lines::reused_more(view, self.out.paint, self.reused - REUSED_SUMMED, &mut self.out.text);
        }
        let width = if self.terminal { (self.size)().1.into() } else { COLUMNS };
        let brief = self.output == OutputMode::Quiet;
        let on_screen = self.on_screen.filter(|shown| shown.since <= LINES_SINCE_MAX);
        Summary { view: *view, outcome, rerun: &self.rerun, width, brief, on_screen }.write(&mut self.out)?;
        self.out.flush()
    }
}

impl<W: Write + ?Sized> fmt::Debug for Options<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Options({:?}, terminal: {}, {:?})", self.output, self.terminal, self.ci)
    }
}
