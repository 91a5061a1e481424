//! Time as a task's limits see it.

use super::sys;

/// The clock that limits run on: it stands still while we are suspended or stopped.
#[derive(Debug, Default)]
pub(super) struct RunClock {
    lost_ms: u64,
    suspended_at_ms: Option<u64>,
}

impl RunClock {
    pub(super) fn now_ms(&self) -> u64 {
        self.suspended_at_ms.unwrap_or_else(sys::monotonic_ms).saturating_sub(self.lost_ms)
    }

    pub(super) fn suspended(&self) -> bool {
        self.suspended_at_ms.is_some()
    }

    pub(super) fn suspend(&mut self) {
        self.suspended_at_ms.get_or_insert_with(sys::monotonic_ms);
    }

    pub(super) fn resume(&mut self) {
        if let Some(at) = self.suspended_at_ms.take() {
            self.lost_ms += sys::monotonic_ms().saturating_sub(at);
        }
    }

    /// We were stopped for that long and could not watch.
    pub(super) fn lose(&mut self, ms: u64) {
        if self.suspended_at_ms.is_none() {
            self.lost_ms += ms;
        }
    }
}
