//! What reads the time. A `Clock` is a value, so a test can hold it still.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::{Millis, Stamp, millis};

/// The wall's time.
#[must_use]
pub fn now() -> Stamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Stamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Where a run reads the time. Wall stamps are the start plus monotonic time, so a clock that is set back in the
/// middle of a run neither reorders its records nor fires a timeout.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    wall: Stamp,
}

impl Clock {
    #[must_use]
    pub fn start() -> Self {
        Self { started: Instant::now(), wall: now() }
    }

    #[must_use]
    pub fn now(&self) -> Millis {
        Millis(millis(self.started.elapsed()))
    }

    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.stamp_at(self.now())
    }

    #[must_use]
    pub fn stamp_at(&self, at: Millis) -> Stamp {
        Stamp(self.wall.0.saturating_add(i64::try_from(at.0).unwrap_or(i64::MAX)))
    }
}
