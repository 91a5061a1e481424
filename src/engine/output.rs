//! What processes print, on its way to the log, to scorers and to whoever watches; masked before any of them has it.

use super::{Engine, stream};
use crate::journal::{Event, LogWriter, Stream};
use crate::supervisor::frame;

impl Engine<'_> {
    pub(super) fn output(&mut self, n: u32, from: frame::Stream, bytes: &[u8]) {
        let Some(masks) = self.masks.clone() else { return self.printed(n, from, bytes) };
        let Some(flight) = self.flights.get_mut(&n) else { return };
        let mut maskers = flight.maskers.take().unwrap_or_default();
        let masked = match from {
            frame::Stream::Stdout => maskers.stdout.push(&masks, bytes),
            frame::Stream::Stderr => maskers.stderr.push(&masks, bytes),
        };
        if !masked.is_empty() {
            self.printed(n, from, masked);
        }
        if let Some(flight) = self.flights.get_mut(&n) {
            flight.maskers = Some(maskers);
        }
    }

    /// A process has ended, so nothing follows what was held back.
    pub(super) fn printed_all(&mut self, n: u32) {
        let Some(masks) = self.masks.clone() else { return };
        let Some(mut maskers) = self.flights.get_mut(&n).and_then(|flight| flight.maskers.take()) else { return };
        for (from, masker) in
            [(frame::Stream::Stdout, &mut maskers.stdout), (frame::Stream::Stderr, &mut maskers.stderr)]
        {
            let rest = masker.finish(&masks);
            if !rest.is_empty() {
                self.printed(n, from, rest);
            }
        }
    }

    /// Output as it may be kept and shown.
    fn printed(&mut self, n: u32, from: frame::Stream, bytes: &[u8]) {
        let run_dir = self.run_dir();
        let Some(flight) = self.flights.get_mut(&n) else { return };
        let (task, attempt) = (flight.task, flight.attempt);
        flight.capture(from, bytes);
        let name = &self.view.fleet.tasks[task].name;
        let log = flight.log.get_or_insert_with(|| LogWriter::new(run_dir, name, attempt));
        // What a scorer's program prints is the reason for its judgement, and stands behind what it judged.
        let heading = flight.heading.take();
        let written = heading.map_or(Ok(()), |heading| log.push(heading.as_bytes())).and_then(|()| log.push(bytes));
        if let Err(error) = written {
            self.disk_lost(&format!("a log cannot be written: {error}"));
        }
        let stream: Stream = stream(from);
        self.emit(Event::Output { task, attempt, stream, bytes });
    }
}
