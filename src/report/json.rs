//! The sink for programs: each journaled event as one line of JSON, the protocol's worker event with the receipt in
//! `extra.receipt` of the last one of a task. Nothing else is ever written there, but with `--explain` an object for
//! each task that runs, with the key `explain` and no other, which no event has.

use std::fmt;
use std::io::{self, Write};

use serde_json::json;

use super::{RunView, Sink, reasons};
use crate::engine::outcome::Outcome;
use crate::journal::{Encoder, Event, Happened, ReceiptAt};
use crate::time::Millis;

/// Text that may be held before it is written, in bytes.
const HELD_MAX: usize = 64 << 10;

pub struct Json {
    to: Box<dyn Write>,
    held: Vec<u8>,
    /// Made when the run has its id.
    encoder: Option<Encoder>,
    explains: bool,
}

impl Json {
    #[must_use]
    pub fn new(to: Box<dyn Write>) -> Self {
        Self { to, held: Vec::new(), encoder: None, explains: false }
    }

    /// Also why each task runs.
    #[must_use]
    pub fn explaining(self, explains: bool) -> Self {
        Self { explains, ..self }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let written = self.to.write_all(&self.held).and_then(|()| self.to.flush());
        self.held.clear();
        written
    }
}

impl Sink for Json {
    fn begin(&mut self, view: &RunView<'_>) -> io::Result<()> {
        self.encoder = Some(Encoder::new(view.run));
        Ok(())
    }

    fn event(&mut self, view: &RunView<'_>, happened: &Happened<'_>) -> io::Result<()> {
        let Happened { seq, stamp, event, .. } = happened;
        if let Event::Explained { task, reasons } = event
            && self.explains
        {
            let why: Vec<_> = reasons.iter().map(reasons::json).collect();
            let told = json!({ "explain": { "task": view.fleet.tasks[*task].name, "reasons": why } });
            serde_json::to_writer(&mut self.held, &told)?;
        } else if event.is_journaled() {
            let encoder = self.encoder.get_or_insert_with(|| Encoder::new(view.run));
            encoder.event(&mut self.held, *seq, *stamp, event, view.fleet, ReceiptAt::Extra);
        } else {
            return Ok(());
        }
        self.held.push(b'\n');
        if self.held.len() < HELD_MAX { Ok(()) } else { self.flush() }
    }

    fn tick(&mut self, _: &RunView<'_>, _: Millis) -> io::Result<()> {
        self.flush()
    }

    fn end(&mut self, _: &RunView<'_>, _: &Outcome) -> io::Result<()> {
        self.flush()
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes held)", self.held.len())
    }
}
