//! How copies come and go: laid out, or taken over from an attempt that changed nothing, and removed in the end; and the room
//! on the disk that they and the kept files need.

use std::collections::HashSet;
use std::time::Instant;

use super::lay::{self, LayError, Places};
use super::porter::Carried;
use super::spare::{Check, Spare, Traces};
use super::{AGAIN_MAX, CLEANS, FRESH_PART, Next, Phase, Stages, tree};
use crate::digest::Digest;
use crate::store::aged;
use crate::supervisor::wire::Outbox;

impl Stages {
    /// Nobody wants anything of an attempt any more.
    pub(in crate::supervisor) fn release(&mut self, number: u32) {
        let (dir, cas) = (self.dir(number), self.place.cas());
        self.bound.end(number);
        let Some(staged) = self.attempts.get_mut(&number) else { return };
        if matches!(staged.phase, Phase::Laying | Phase::Collecting(_) | Phase::Leaving) {
            // A thread works in it; when that has ended, so has the copy.
            staged.phase = Phase::Leaving;
            return;
        }
        let Some(mut staged) = self.attempts.remove(&number) else { return };
        let (is_small, began) = (staged.is_small(), staged.began.unwrap_or(i64::MAX));
        let Some(spare) = staged.take_spare().filter(|spare| spare.traces.may_hold(began)) else {
            let places = if staged.discard { Places::default() } else { staged.places };
            self.remove(move || Carried::Removed(lay::remove(&dir, &cas, &places)));
            return;
        };
        if is_small {
            let holds = spare.traces.hold(&dir, began);
            return self.keep_if(spare, holds);
        }
        let check = Check { folder: spare.folder, entries: spare.entries.clone(), waits: None };
        let is_checked = self.remove(move || {
            let holds = spare.traces.hold(&dir, began);
            Carried::Checked(Box::new(spare), holds)
        });
        if is_checked {
            self.checks.push(check);
        }
    }

    /// It is known whether a copy may serve again, and an attempt may wait for that.
    pub(super) fn checked(&mut self, spare: Spare, holds: bool, out: &mut Outbox) -> Option<Next> {
        self.gone += 1;
        let at = self.checks.iter().position(|check| check.folder == spare.folder);
        let waits = at.and_then(|at| self.checks.swap_remove(at).waits);
        self.keep_if(spare, holds);
        // One that was released meanwhile is not there any more.
        let next = waits.and_then(|number| self.listed(number, out));
        self.remove_spares_beyond();
        next
    }

    fn keep_if(&mut self, spare: Spare, holds: bool) {
        if holds { self.spares.put(spare) } else { self.remove_spare(&spare) }
    }

    /// Has a thread do what ends with a folder less, or may. `false` when there is none to do it.
    pub(super) fn remove(&mut self, job: impl FnOnce() -> Carried + Send + 'static) -> bool {
        // Without a thread for it, it is removed when we leave.
        let is_put = self.porter.put(0, job).is_ok();
        self.going += u64::from(is_put);
        is_put
    }

    fn remove_spare(&mut self, spare: &Spare) {
        let dir = self.place.attempt(spare.folder);
        self.remove(move || {
            tree::remove(&dir);
            Carried::Removed(0)
        });
    }

    fn remove_spares_beyond(&mut self) {
        for spare in self.spares.too_many(self.attempts.len()) {
            self.remove_spare(&spare);
        }
    }

    /// The list of an attempt is complete: it has a copy that is there, or one is made.
    pub(super) fn listed(&mut self, number: u32, out: &mut Outbox) -> Option<Next> {
        let staged = self.attempts.get_mut(&number)?;
        if let Some(Spare { folder, traces, .. }) = self.spares.take(&staged.entries) {
            staged.folder = folder;
            return self.laid(number, Ok(Some(traces)), out);
        }
        self.remove_spares_beyond();
        let lacking = self.missing(number);
        self.lacking(number, lacking, out)
    }

    /// Has the kept files fit their bound again, when enough has come to them. What attempts still wait to be laid out
    /// may be beyond it: what goes all the same is asked for again.
    pub(super) fn trim(&mut self) {
        if self.trimming || self.fresh <= self.place.cache_bytes / FRESH_PART {
            return;
        }
        let waiting = self.attempts.values().filter(|staged| matches!(staged.phase, Phase::Lacking(_) | Phase::Laying));
        let needed: u64 = waiting.flat_map(|staged| &staged.entries).map(|entry| entry.size_bytes).sum();
        let (cas, max) = (self.place.cas(), self.place.cache_bytes.saturating_add(needed));
        // Without a thread for it, it is tried with the next file.
        self.trimming = self
            .porter
            .put(0, move || {
                let _ = aged::trim(&cas, max);
                Carried::Trimmed
            })
            .is_ok();
        if self.trimming {
            self.fresh = 0;
        }
    }

    /// The disk is full: whatever is kept and nobody waits for goes. `false` when that is nothing.
    pub(super) fn make_room(&mut self) -> bool {
        let spares = self.spares.take_all();
        for spare in &spares {
            tree::remove(&self.place.attempt(spare.folder));
        }
        let waiting = self.attempts.values().filter(|staged| matches!(staged.phase, Phase::Lacking(_) | Phase::Laying));
        let needed: HashSet<Digest> = waiting.flat_map(|staged| &staged.entries).map(|entry| entry.digest).collect();
        self.cache.keep_only(&needed) || !spares.is_empty()
    }

    pub(super) fn lay(&mut self, number: u32, out: &mut Outbox) -> Option<Next> {
        let (dir, cas) = (self.dir(number), self.place.cas());
        let staged = self.attempts.get_mut(&number)?;
        if !matches!(staged.phase, Phase::Leaving) {
            staged.phase = Phase::Laying;
        }
        if staged.again > 0 {
            // A damaged file was found half way.
            tree::remove(&dir);
        }
        if staged.is_small() {
            let result = lay::lay(&dir, &cas, &staged.entries, &self.cache.sound());
            return self.laid(number, result, out);
        }
        let entries = staged.entries.clone();
        let sound = self.cache.sound();
        let put = self.porter.put(number, move || {
            let begin = Instant::now();
            let laid = lay::lay(&dir, &cas, &entries, &sound);
            if let Ok(Some(traces)) = &laid {
                traces.settle(begin.elapsed());
            }
            Carried::Laid(laid)
        });
        put.err().and_then(|error| self.fail(number, format!("cannot start a thread: {error}")))
    }

    pub(super) fn laid(
        &mut self,
        number: u32,
        result: Result<Option<Traces>, LayError>,
        out: &mut Outbox,
    ) -> Option<Next> {
        let staged = self.attempts.get_mut(&number)?;
        if matches!(staged.phase, Phase::Leaving) {
            staged.phase = Phase::Laid;
            self.release(number);
            return None;
        }
        match result {
            Ok(traces) => {
                staged.traces = traces;
                staged.phase = Phase::Laid;
                let spawn = staged.spawn.take()?;
                self.spawn(number, spawn)
            }
            Err(LayError::Damaged(digest)) if staged.again < AGAIN_MAX => {
                staged.again += 1;
                // Whoever made room may have taken more than this one.
                let mut lacking = self.missing(number);
                lacking.insert(digest);
                self.lacking(number, lacking, out)
            }
            Err(LayError::Damaged(digest)) => self.fail(number, format!("{digest} is damaged on this host each time")),
            Err(LayError::Full(error)) => {
                // It makes its copy anew.
                staged.again += 1;
                if self.make_room() {
                    self.lay(number, out)
                } else if self.going > self.gone {
                    self.cramped.push((number, self.going));
                    None
                } else {
                    self.fail(number, format!("{error}; {CLEANS}"))
                }
            }
            Err(LayError::Failed(error)) => self.fail(number, error),
        }
    }
}
