//! How attempts end: orders and limits that end them, the signals of that, what they leave, and the last word on each.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;

use rustix::process::Signal;

use super::{HOLD_MS, Server, engine_out, shortened};
use crate::supervisor::attempt::{self, Attempt, Ended};
use crate::supervisor::confine::{LEAKED_MAX, LINGER_MS};
use crate::supervisor::exits::{Entry, Exit};
use crate::supervisor::frame::{EndedBy, Kind};
use crate::supervisor::sweep::{self, Orphans};
use crate::supervisor::sys::{self, Watch};

/// What an attempt leaves behind and does not end by itself is killed, and after this it is only named.
const ENDING_MS_MAX: u64 = 2000;
/// Between two looks for leftovers.
const LOOK_EVERY_MS: u64 = 2;
/// A spawn that takes longer than this when we leave is left behind.
const HUNG_MS: u64 = 2000;

impl Server {
    /// Sees ended attempts off: leftovers, last output, exit log, frame.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if self.attempts.values().all(|attempt| attempt.ended.is_none()) {
            return Ok(());
        }
        self.sweep();
        let now_ms = self.clock.now_ms();
        let mut gone = Vec::new();
        for attempt in self.attempts.values_mut().filter(|a| a.ended.as_ref().is_some_and(|ended| ended.swept)) {
            if attempt.releasing {
                continue;
            }
            if attempt.drain(now_ms, &mut self.outbox, engine_out())? {
                gone.push(attempt.number);
            }
        }
        for number in gone {
            let Some(attempt) = self.attempts.get_mut(&number) else { continue };
            // What it left can be a lot of files, and a group is not let go of at once.
            if let Some(held) = attempt.held.take()
                && self.spawner.release(number, held).is_ok()
            {
                attempt.releasing = true;
                self.releasing += 1;
            } else {
                self.see_off(number, false);
            }
        }
        Ok(())
    }

    /// The last of an attempt: nothing of it is left anywhere.
    pub(super) fn see_off(&mut self, number: u32, oom_killed: bool) {
        let Some(mut attempt) = self.attempts.remove(&number) else { return };
        let Some(mut ended) = attempt.ended.take() else { return };
        ended.oom_killed = oom_killed || attempt.is_too_large(&ended);
        self.secrets.remove(number);
        self.record(&attempt, &ended);
    }

    pub(super) fn record(&mut self, attempt: &Attempt, ended: &Ended) {
        let mut exited = attempt.exited(ended);
        let exit = Exit {
            attempt: attempt.number,
            label: attempt.label.clone(),
            pid: attempt.pid.unsigned_abs(),
            boot_ms: attempt.boot_ms,
            code: exited.code,
            signal: exited.signal,
            ended_by: exited.ended_by,
            wall_ms: exited.wall_ms,
            cpu_ms: exited.cpu_ms,
            max_rss_bytes: exited.max_rss_bytes,
            output_bytes: exited.output_bytes,
            leaked: if attempt.unnamed { attempt::without_names(&exited.leaked) } else { exited.leaked.clone() },
            oom_killed: exited.oom_killed,
        };
        match &mut self.log {
            Ok(log) => {
                log.add(&Entry::Exited(exit));
                exited.exit_log_error = log.write().err().map(|error| error.to_string());
            }
            Err(error) => exited.exit_log_error = Some(error.clone()),
        }
        exited.exit_log_error = exited.exit_log_error.map(shortened);
        if self.collects(attempt.number, &exited) {
            return;
        }
        self.put(Kind::Exited, attempt.number, &exited);
    }

    /// One look for what ended attempts left behind.
    pub(super) fn sweep(&mut self) {
        let now_ms = sys::monotonic_ms();
        let left = if self.orphans {
            if now_ms < self.next_look_ms {
                return;
            }
            self.next_look_ms = now_ms + LOOK_EVERY_MS;
            let run = self.hello.as_ref().map_or("", |hello| &hello.run);
            Orphans::look(&self.attempts, run).left_behind()
        } else {
            Vec::new()
        };
        for attempt in self.attempts.values_mut() {
            let kill_at_ms = attempt.ending.map_or(0, |ending| ending.kill_at_ms);
            let Some(ended) = attempt.ended.as_mut().filter(|ended| !ended.swept) else { continue };
            let mut mine =
                left.iter().filter(|(owner, _)| *owner == attempt.number).map(|(_, process)| process).peekable();
            ended.clean_looks = if mine.peek().is_some() { 0 } else { ended.clean_looks + 1 };
            // What got a TERM with its attempt has the same grace.
            let linger_until_ms = kill_at_ms.max(ended.at_ms + LINGER_MS);
            if now_ms >= linger_until_ms {
                for process in mine {
                    process.signal(Signal::KILL);
                    if !ended.leaked.iter().any(|(pid, _)| *pid == process.pid) && ended.leaked.len() < LEAKED_MAX {
                        ended.leaked.push((process.pid, process.shown()));
                    }
                }
            }
            // One look can miss a process that forks while we read the table.
            ended.swept = !self.orphans || ended.clean_looks >= 2 || now_ms >= linger_until_ms + ENDING_MS_MAX;
        }
        self.reap = true;
    }

    pub(super) fn stop(&mut self, number: u32, by: EndedBy, grace_ms: u64) {
        let Some(attempt) = self.attempts.get_mut(&number) else { return self.stop_staged(number) };
        match &attempt.ended {
            None => {
                attempt.plan_end(by, grace_ms);
                if grace_ms > 0 {
                    self.to_term.insert(number);
                }
            }
            // What outlived the main process had its TERM, and may now have less time. Without an earlier order there
            // is no grace to shorten: it is about to be killed anyway.
            Some(ended) if !ended.swept && attempt.ending.is_some() => {
                attempt.plan_end(by, grace_ms);
                self.next_look_ms = 0;
            }
            Some(_) => {}
        }
    }

    /// Sends the TERMs of this turn, with one look at the process table for all of them.
    pub(super) fn terminate(&mut self) {
        let numbers = std::mem::take(&mut self.to_term);
        for number in &numbers {
            let Some(attempt) = self.attempts.get_mut(number) else { continue };
            let gone = attempt.ended.is_some();
            attempt.ending = attempt.ending.filter(|ending| ending.told || !gone);
            if let Some(ending) = &mut attempt.ending {
                // An attempt that ended by itself in this very turn hears of no order, and neither does what it left:
                // that has no grace to wait out.
                ending.told = true;
            }
        }
        if !numbers.is_empty() {
            self.signal(&numbers, Signal::TERM);
            if self.clock.suspended() {
                // A stopped process hears nothing but KILL.
                self.signal(&numbers, Signal::CONT);
            }
        }
    }

    /// Signals all that belongs to attempts, in whatever session it hides.
    pub(super) fn signal(&self, numbers: &BTreeSet<u32>, signal: Signal) {
        let running = || numbers.iter().filter_map(|number| self.attempts.get(number)).filter(|a| a.running());
        for attempt in running() {
            sys::signal_group(attempt.pid, signal.as_raw());
        }
        let run = self.hello.as_ref().map_or("", |hello| &hello.run);
        let orphans = Orphans::look(&self.attempts, run);
        for attempt in running() {
            let others = orphans.of(attempt).into_iter().filter(|process| process.group != attempt.pid);
            if attempt.in_namespaces() {
                // The task is in a session of its own there, whose groups are nobody else's.
                let groups: BTreeSet<i32> = others.map(|process| process.group).collect();
                for group in groups {
                    sys::signal_group(group, signal.as_raw());
                }
            } else {
                others.for_each(|process| process.signal_alone(signal));
            }
        }
    }

    pub(super) fn signal_all(&self, signal: Signal) {
        self.signal(&self.attempts.keys().copied().collect(), signal);
    }

    pub(super) fn enforce_limits(&mut self) {
        let (run_ms, now_ms) = (self.clock.now_ms(), sys::monotonic_ms());
        let over = |attempt: &Attempt| attempt.limit().filter(|(at, _)| *at <= run_ms).map(|(_, by)| by);
        let due: Vec<_> = self.attempts.values().filter_map(|a| Some((a.number, over(a)?, a.grace_ms))).collect();
        for (number, by, grace_ms) in due {
            if by == EndedBy::IdleTimeout && !self.outbox.is_empty() {
                // The engine is behind, and so are we with looking at the task.
                self.attempts.entry(number).and_modify(|attempt| attempt.not_idle(run_ms));
            } else {
                self.stop(number, by, grace_ms);
            }
        }
        self.terminate();
        for attempt in self.attempts.values_mut().filter(|attempt| attempt.running()) {
            let Some(ending) = attempt.ending.as_mut().filter(|e| !e.killed && e.kill_at_ms <= now_ms) else {
                continue;
            };
            ending.killed = true;
            // Its whole group at once; what is outside of it is found as a leftover when it is gone.
            sys::signal_group(attempt.pid, libc::SIGKILL);
        }
    }

    /// Ends everything, spawns in progress included, and waits until none is left. A spawn that the kernel holds (a
    /// file system that does not answer) is not waited for: it ends with us.
    pub(super) fn end_now(&mut self) {
        self.spawner.clear();
        let mut done = Vec::new();
        let deadline_ms = sys::monotonic_ms() + HUNG_MS;
        loop {
            sweep::everything();
            if self.spawner.pending() == 0 || sys::monotonic_ms() >= deadline_ms {
                return;
            }
            self.spawner.take(&mut done, true);
            if self.spawner.pending() > 0 {
                sys::poll(&mut [Watch::new(self.spawner.wake_fd().as_fd(), true, false)], Some(HOLD_MS));
            }
        }
    }
}
