//! The display on a terminal: what runs and for how long, how far the run is. It stays below the text and leaves
//! nothing behind. Events only change numbers here; drawing happens on a tick and costs the same for any number of
//! tasks.

use std::fmt::Write as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::RunView;
use super::color::{Color, Paint};
use super::text::Span;
use crate::engine::outcome::Counts;
use crate::id::TaskId;
use crate::protocol::TaskResult;
use crate::time::Millis;

/// Draws in a second, at most.
pub const DRAWS_PER_SECOND: u8 = 10;

/// Running tasks shown by name, at most; the rest are a number.
const SHOWN_MAX: usize = 8;

/// Columns of the bar, at most; a small window has a third of it for the bar.
const BAR_MAX: usize = 24;

#[derive(Debug)]
pub(super) struct Live {
    paint: Paint,
    progress: Progress,
}

/// What the display shows.
#[derive(Debug, Default)]
struct Progress {
    /// Started and not settled, in the order they started.
    running: Vec<(TaskId, Millis)>,
    /// Between two attempts.
    waiting: Vec<TaskId>,
    done: Counts,
}

/// Where a display is drawn; whoever writes to the same terminal has it.
pub(super) fn bar(target: ProgressDrawTarget) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, target);
    bar.set_style(ProgressStyle::with_template("{msg}").expect("the template is a constant"));
    bar
}

impl Live {
    pub(super) fn new(paint: Paint) -> Self {
        Self { paint, progress: Progress::default() }
    }

    pub(super) fn starting(&mut self, task: TaskId, now: Millis) {
        self.progress.waiting.retain(|waiting| *waiting != task);
        self.progress.running.push((task, now));
    }

    pub(super) fn restarted(&mut self, task: TaskId) {
        self.progress.running.retain(|(running, _)| *running != task);
        self.progress.waiting.push(task);
    }

    pub(super) fn settled(&mut self, task: TaskId, result: TaskResult) {
        self.progress.waiting.retain(|waiting| *waiting != task);
        if let Some(at) = self.progress.running.iter().position(|(running, _)| *running == task) {
            self.progress.running.remove(at);
        }
        self.progress.done[result] += 1;
    }

    /// What the display shows now.
    pub(super) fn screen(&self, view: &RunView<'_>, now: Millis, (rows, columns): (u16, u16)) -> String {
        self.progress.screen(view, now, (rows.into(), columns.into()), self.paint)
    }
}

impl Progress {
    fn screen(&self, view: &RunView<'_>, now: Millis, (rows, columns): (usize, usize), paint: Paint) -> String {
        let mut screen = String::new();
        let fits = (rows / 3).clamp(1, SHOWN_MAX);
        // One more than fits is shown in the line that would have said so.
        let shown = if self.running.len() == fits + 1 { fits + 1 } else { fits };
        for (task, since) in self.running.iter().take(shown) {
            let took = Span(now.since(*since)).to_string();
            let name = clip(&view.fleet.tasks[*task].name, columns.saturating_sub(12));
            let _ = writeln!(screen, " {} {name}", paint.color(Color::Dim, format_args!("{took:>8}")));
        }
        if self.running.len() > shown {
            let _ = writeln!(screen, "          and {} more", self.running.len() - shown);
        }
        screen.push_str(&self.bar(view, now, columns, paint));
        screen
    }

    /// ` [=====>       ] 12/40  1 failed, 2 running  3.4s`, with what fits into the width.
    fn bar(&self, view: &RunView<'_>, now: Millis, columns: usize, paint: Paint) -> String {
        let done = usize::try_from(self.done.total()).unwrap_or(usize::MAX).saturating_add(view.settled);
        // Handlers are settled on top of what was selected.
        let total = view.selected.max(done).max(1);
        let length = (columns / 3).clamp(1, BAR_MAX);
        let filled = length * done / total;
        let line = format!("{}{}", "=".repeat(filled), if filled < length { ">" } else { "" });
        let mut plain = format!(" [{line:<length$}] {done}/{total}");
        let mut shown = format!(" [{}] {done}/{total}", paint.color(Color::Green, format!("{line:<length$}")));
        let failed = self.done[TaskResult::Fail] + self.done[TaskResult::Timeout];
        let running = self.running.len() as u64;
        let parts = [
            (failed, "failed", Some(Color::Red)),
            (self.done[TaskResult::Partial], "partial", Some(Color::Yellow)),
            (running, "running", None),
            (self.waiting.len() as u64, "to retry", Some(Color::Yellow)),
            (self.done[TaskResult::Skip], "skipped", Some(Color::Dim)),
        ];
        let took = Span(now.since(Millis(0))).to_string();
        let mut separator = "  ";
        for (count, word, color) in parts.into_iter().filter(|(count, ..)| *count > 0) {
            let part = format!("{count} {word}");
            if plain.len() + separator.len() + part.len() + 2 + took.len() >= columns {
                break;
            }
            let _ = write!(plain, "{separator}{part}");
            let _ = match color {
                Some(color) => write!(shown, "{separator}{}", paint.color(color, &part)),
                None => write!(shown, "{separator}{part}"),
            };
            separator = ", ";
        }
        if plain.len() + 2 + took.len() < columns {
            let _ = write!(shown, "  {took}");
        }
        if plain.len() >= columns { clip(&plain, columns.saturating_sub(1)).to_owned() } else { shown }
    }
}

/// Names are ASCII, so bytes are columns; values of a matrix may not be, so a cut keeps whole characters.
fn clip(text: &str, width: usize) -> &str {
    let mut end = width.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
