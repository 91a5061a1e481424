//! How lanes end: one when its attempt is over or it is lost, all when the run is. What has to be waited for is waited for
//! on threads, and the run's end waits for those, within bounds: an engine that does not answer must not hold it.

use std::thread::JoinHandle;
use std::time::Duration;

use super::{Lane, LaneId, Order, State};
use crate::engine::{Engine, Finished};
use crate::host::connect::Connected;
use crate::host::container;
use crate::host::link::Pipes;
use crate::model::Host;

/// What is being reached has this long to end by itself.
const ABANDON_MAX: Duration = Duration::from_secs(1);
/// How long the end waits for what is being ended: somewhat longer than that takes if nobody answers.
const CLOSE_MAX: Duration = Duration::from_secs(40);
/// The same when a person wants us to end.
const CLOSE_MAX_CANCELLED: Duration = Duration::from_secs(10);
const CLOSE_LOOK: Duration = Duration::from_millis(1);

impl Engine<'_> {
    /// Forgets a lane and everything behind it, without waiting.
    pub(super) fn drop_lane(&mut self, id: LaneId) {
        let Some(mut lane) = self.lanes.remove(&id) else { return };
        if let Some(taken) = lane.take() {
            taken.link.abandon();
        }
        self.remove_container(&lane);
    }

    fn remove_container(&mut self, lane: &Lane) {
        if let (Some(name), Host::Container(container)) =
            (lane.container.clone(), &self.view.fleet.workers[lane.worker].host)
        {
            let engine = container.engine;
            let removing = std::thread::spawn(move || container::remove(engine, &name));
            self.close_with_the_run(removing);
        }
    }

    /// Nobody wants anything of an attempt any more: its copy ends, and so does a lane that was for it alone.
    pub(in crate::engine) fn release(&mut self, n: u32, lane: Option<LaneId>) {
        let Some(id) = lane else { return };
        let Some(one) = self.lanes.get_mut(&id) else { return };
        if one.only == Some(n) {
            one.is_over = true;
            self.close_if_over(id);
        } else {
            one.order(Order::Release(n));
        }
    }

    /// Ends a lane whose one attempt is over, unless its link is being read.
    pub(in crate::engine) fn close_if_over(&mut self, id: LaneId) {
        let is_idle = |lane: &Lane| lane.is_over && !matches!(lane.state, State::Closed);
        if self.lanes.get(&id).is_some_and(is_idle)
            && let Some(lane) = self.lanes.remove(&id)
        {
            self.close_later(lane);
        }
    }

    fn close_later(&mut self, mut lane: Lane) {
        let taken = lane.take();
        let (name, host) = (lane.container.clone(), self.view.fleet.workers[lane.worker].host.clone());
        let closing = std::thread::spawn(move || {
            if let Some(taken) = taken {
                let _ = taken.link.close(Duration::ZERO, &mut |_| {});
            }
            if let (Some(name), Host::Container(container)) = (name, host) {
                container::remove(container.engine, &name);
            }
        });
        self.close_with_the_run(closing);
    }

    /// The end of the run waits for this thread.
    pub(super) fn close_with_the_run(&mut self, thread: JoinHandle<()>) {
        self.closing.retain(|thread| !thread.is_finished());
        self.closing.push(thread);
    }

    /// Ends all lanes at the end of the run. Nothing runs any more, so there is nothing to wait for but that they leave.
    /// What is being reached is wanted no more.
    pub(in crate::engine) fn close_lanes(&mut self) {
        self.clients.end();
        for lane in std::mem::take(&mut self.lanes).into_values() {
            match lane.state {
                State::Fenced(link, _) => link.abandon(),
                // On this machine it takes a millisecond, which a thread would take as well.
                State::Up(link) if lane.container.is_none() && lane.said.is_none() => {
                    let _ = link.close(Duration::ZERO, &mut |_| {});
                }
                state => self.close_later(Lane { state, ..lane }),
            }
        }
        self.wait_for_closing();
        let late: Vec<Finished> = self.inbox.jobs().collect();
        for one in late {
            if let Finished::Connected { result, .. } = one
                && let Ok(connected) = *result
            {
                self.drop_unused(connected);
            }
        }
    }

    fn wait_for_closing(&mut self) {
        let (begin, cancelled) = (self.clock.now(), self.cancelled);
        loop {
            self.closing.retain(|thread| !thread.is_finished());
            if self.closing.is_empty() {
                return;
            }
            let waited = self.clock.now().since(begin);
            if waited > ABANDON_MAX {
                self.clients.kill();
            }
            let limit = if self.interrupted.is_some() { CLOSE_MAX_CANCELLED } else { CLOSE_MAX };
            if waited > limit || self.cancelled > cancelled && waited > ABANDON_MAX {
                return self.warn("a container engine does not answer; the next run removes what is left there");
            }
            self.heard();
            std::thread::sleep(CLOSE_LOOK);
        }
    }

    /// Ends a connection that came too late for anybody to want it.
    pub(super) fn drop_unused(&mut self, connected: Connected) {
        let Pipes { mut child, .. } = connected.pipes;
        let pid = child.id();
        let _ = child.kill();
        let _ = child.wait();
        self.clients.taken_over(pid);
    }
}
