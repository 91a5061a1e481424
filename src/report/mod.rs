//! What people and programs see of a run while it runs. The engine tells one [`Sink`]; [`Sinks`] passes it on.
//! `json` events for programs · `human` for people, made of `lines` a line per event, `output` what tasks print,
//! `live` the display on a terminal, `summary` the end, `ci` the marks of the CI around it, all through `out`, which
//! writes with a `pen`, by way of a `queue` where the reader may be slow ·
//! `reasons` why a task runs · `color` when, and which · `text` what must not reach a terminal.
//! Decides nothing about the run: a sink only tells whether its own output could be written.

pub mod ci;
pub mod color;
pub mod human;
pub mod json;
mod lines;
mod live;
mod out;
pub mod output;
mod pen;
pub mod queue;
pub mod reasons;
pub mod summary;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod text;

use std::fmt;
use std::io;
use std::time::Duration;

use crate::engine::outcome::Outcome;
use crate::journal::Happened;
use crate::time::Millis;

pub use color::{ColorChoice, Paint};
pub use human::Human;
pub use json::Json;
pub use output::OutputMode;
pub use queue::{Drain, Queue};
pub use summary::Rerun;

pub use crate::engine::sink::{RunView, Running, Sink};

/// Passes everything on to each of its sinks. One that fails is told nothing more, and its error is returned once.
#[derive(Default)]
pub struct Sinks {
    sinks: Vec<Box<dyn Sink>>,
}

impl Sinks {
    #[must_use]
    pub fn with(mut self, sink: impl Sink + 'static) -> Self {
        self.sinks.push(Box::new(sink));
        self
    }

    fn each(&mut self, mut tell: impl FnMut(&mut dyn Sink) -> io::Result<()>) -> io::Result<()> {
        let mut first = Ok(());
        self.sinks.retain_mut(|sink| {
            let told = tell(sink.as_mut());
            let kept = told.is_ok();
            if first.is_ok() {
                first = told;
            }
            kept
        });
        first
    }
}

impl Sink for Sinks {
    fn begin(&mut self, view: &RunView<'_>) -> io::Result<()> {
        self.each(|sink| sink.begin(view))
    }

    fn event(&mut self, view: &RunView<'_>, happened: &Happened<'_>) -> io::Result<()> {
        self.each(|sink| sink.event(view, happened))
    }

    fn tick(&mut self, view: &RunView<'_>, now: Millis) -> io::Result<()> {
        self.each(|sink| sink.tick(view, now))
    }

    fn tick_every(&self) -> Option<Duration> {
        self.sinks.iter().filter_map(|sink| sink.tick_every()).min()
    }

    fn running(&mut self, view: &RunView<'_>, now: Millis, running: &[Running]) -> io::Result<()> {
        self.each(|sink| sink.running(view, now, running))
    }

    fn end(&mut self, view: &RunView<'_>, outcome: &Outcome) -> io::Result<()> {
        self.each(|sink| sink.end(view, outcome))
    }
}

impl fmt::Debug for Sinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sinks({})", self.sinks.len())
    }
}
