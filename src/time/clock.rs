//! What reads the time. A `Clock` is a value, so a test can hold it still.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{Millis, Stamp, millis};

/// The wall's time.
#[must_use]
pub fn now() -> Stamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Stamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Where a run reads the time. What decides counts monotonic time, which stands still while the machine sleeps. Wall
/// stamps are the start plus the time since, sleep included, so a clock that is set in the middle of a run neither
/// reorders its records nor fires a timeout.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    wall: Stamp,
    /// How long the machine had slept before, since it was switched on.
    slept: Duration,
}

impl Clock {
    #[must_use]
    pub fn start() -> Self {
        Self { started: Instant::now(), wall: now(), slept: slept() }
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
        self.stamp_with(at, slept())
    }

    fn stamp_with(&self, at: Millis, slept: Duration) -> Stamp {
        // In whole seconds: between the readings of two clocks a moment passes, which is never the same.
        let slept = slept.saturating_sub(self.slept) + Duration::from_millis(500);
        let since = at.0.saturating_add(slept.as_secs().saturating_mul(1000));
        Stamp(self.wall.0.saturating_add(i64::try_from(since).unwrap_or(i64::MAX)))
    }
}

/// How long the machine has slept since it was switched on: what one of its clocks counts and the other does not.
#[cfg(target_os = "linux")]
fn slept() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    // The one that is ahead is read last, so that the difference never shrinks to less than nothing.
    let read = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
    let awake = read(ClockId::Monotonic);
    read(ClockId::Boottime).saturating_sub(awake)
}

#[cfg(not(target_os = "linux"))]
fn slept() -> Duration {
    Duration::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(wall: i64, slept: u64) -> Clock {
        Clock { started: Instant::now(), wall: Stamp(wall), slept: Duration::from_secs(slept) }
    }

    #[test]
    fn stamps_count_sleep_and_the_runs_own_time_does_not() {
        let clock = clock(5000, 60);
        assert_eq!(clock.stamp_with(Millis(10), Duration::from_mins(1)), Stamp(5010));
        assert_eq!(clock.stamp_with(Millis(20), Duration::from_mins(61)), Stamp(5020 + 3_600_000));
        assert_eq!(clock.stamp_with(Millis(30), Duration::from_micros(60_000_400)), Stamp(5030));
        assert_eq!(clock.stamp_with(Millis(40), Duration::from_micros(59_999_600)), Stamp(5040));
        assert!(clock.now() < Millis(3_600_000));
    }

    #[test]
    fn a_wall_clock_that_was_wrong_at_the_start_moves_nothing_but_stamps() {
        // A day ahead, a day behind, and before 1970: the run's own time is the same, and stamps keep their order.
        for wall in [86_400_000 * 3, 86_400_000, -86_400_000] {
            let clock = clock(wall, 0);
            let stamps = [0, 1, 500, 90_000].map(|ms| clock.stamp_with(Millis(ms), Duration::ZERO).0 - wall);
            assert_eq!(stamps, [0, 1, 500, 90_000]);
            assert!(clock.now() < Millis(60_000));
        }
    }
}
