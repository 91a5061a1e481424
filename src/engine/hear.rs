//! What supervisors say, and what becomes of attempts when one is heard no more.

use std::collections::HashMap;

use super::lane::{Lane, LaneId, Taken};
use super::resume::Exits;
use super::{Engine, Event};
use crate::host::link::{Alive, FromSupervisor};
use crate::id::{Attempt, TaskId};

impl Engine<'_> {
    pub(super) fn receive(&mut self, id: LaneId) {
        let Some(Taken { mut link, late }) = self.lanes.get_mut(&id).and_then(Lane::take) else { return };
        let mut credits: Vec<(u32, u64)> = Vec::new();
        let alive = link.receive(&mut |said| match (&late, said) {
            (Some(late), said) => self.late(late, &said),
            (None, FromSupervisor::Output { attempt, stream, bytes }) => {
                self.output(attempt, stream, bytes);
                match credits.iter_mut().find(|(n, _)| *n == attempt) {
                    Some((_, sum)) => *sum += bytes.len() as u64,
                    None => credits.push((attempt, bytes.len() as u64)),
                }
            }
            (None, said) => self.hear(id, said),
        });
        for (attempt, bytes) in credits {
            if self.flights.contains_key(&attempt) {
                link.credit(attempt, bytes);
            }
        }
        // What was heard may have ended the lane.
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.hear(self.now);
        lane.put_back(Taken { link, late });
        if let Some(why) = lane.doom.take() {
            self.lane_lost(id, &why);
        }
        if !matches!(alive, Ok(Alive::Alive)) {
            self.lane_closed(id, alive.err().as_ref());
        }
        self.close_if_over(id);
    }

    pub(super) fn hear(&mut self, id: LaneId, said: FromSupervisor<'_>) {
        match said {
            FromSupervisor::Started { attempt, started } => self.running(attempt, started),
            FromSupervisor::Exited { attempt, exited } => {
                self.proves_itself(id);
                self.exited(attempt, exited);
            }
            FromSupervisor::NotStarted { attempt, error } => {
                // One that cannot serve refuses all it is asked, and has said why.
                let doom = self.lanes.get(&id).and_then(|lane| lane.doom.clone());
                self.not_started(attempt, doom.as_deref().unwrap_or(&error.error));
            }
            FromSupervisor::Collected { attempt, part } => self.collected(attempt, part),
            FromSupervisor::Gives(body) => self.given(id, body),
            FromSupervisor::Welcome(welcome) => {
                let Some(error) = welcome.error else { return self.welcomed(id) };
                if let Some(lane) = self.lanes.get_mut(&id) {
                    lane.doom = Some(format!("it cannot serve: {error}"));
                }
            }
            FromSupervisor::Lacks { attempt, digests } => self.lacks(id, attempt, &digests),
            FromSupervisor::Beating | FromSupervisor::Removed(_) | FromSupervisor::Output { .. } => {}
        }
    }

    /// What a lost worker still says counts for nothing, and is on record.
    pub(super) fn late(&mut self, whose: &HashMap<u32, (TaskId, Attempt)>, said: &FromSupervisor<'_>) {
        // What was ended because it was lost has no result.
        if let FromSupervisor::Exited { attempt, exited } = said
            && exited.ended_by.is_none()
            && let Some(&(task, attempt)) = whose.get(attempt)
        {
            self.emit(Event::Late { task, attempt, code: exited.code, signal: exited.signal });
            let name = &self.view.fleet.tasks[task].name;
            let text = format!("`{name}` attempt {attempt} ended on a worker that was lost; its result came too late");
            self.warn(&text);
        }
    }

    /// These attempts were on a lane that is lost.
    pub(super) fn lanes_lost(&mut self, lost: &[u32], why: &str) {
        // An exit that it wrote down and did not live to tell is an exit all the same.
        let exits = if lost.is_empty() { None } else { Exits::read(self.run_dir()).ok() };
        for &n in lost {
            let on_copy = self.flights.get(&n).is_some_and(|flight| flight.staging.is_some());
            match exits.as_ref().filter(|_| !on_copy).and_then(|exits| self.recorded_exit(exits, n)) {
                Some(exited) => self.exited(n, exited),
                None => self.lost(n, why),
            }
        }
    }
}
