//! Spawns that are under way. Until its exec a new process has every descriptor that we have, also one by which a file is
//! just being written, and the kernel refuses to execute a file that anybody may write to. So whoever has written files
//! that are to be executed waits for the spawns that had begun while they were open.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A spawn takes a millisecond. One that hangs, in a folder whose server is gone, is not waited for longer than this.
const WAIT_MAX: Duration = Duration::from_secs(2);

static SPAWNS: Spawns = Spawns { now: Mutex::new(Now { begun: 0, open: BTreeSet::new() }), ended: Condvar::new() };

#[derive(Debug)]
struct Spawns {
    now: Mutex<Now>,
    ended: Condvar,
}

#[derive(Debug)]
struct Now {
    begun: u64,
    open: BTreeSet<u64>,
}

/// A spawn, until it is dropped.
#[derive(Debug)]
pub(super) struct Underway(u64);

fn now() -> MutexGuard<'static, Now> {
    // No code that holds the lock can panic half way through a change.
    SPAWNS.now.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Underway {
    pub(super) fn begin() -> Self {
        let mut now = now();
        now.begun += 1;
        let number = now.begun;
        now.open.insert(number);
        Self(number)
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        now().open.remove(&self.0);
        SPAWNS.ended.notify_all();
    }
}

/// Waits for the end of those that have begun.
pub(super) fn wait_for_begun() {
    let now = now();
    let last = now.begun;
    let open = |now: &mut Now| now.open.first().is_some_and(|first| *first <= last);
    // What still hangs then is not worth holding up an attempt for.
    let _ = SPAWNS.ended.wait_timeout_while(now, WAIT_MAX, open);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    use super::*;

    #[test]
    fn only_what_had_begun_is_waited_for() {
        static IS_OVER: AtomicBool = AtomicBool::new(false);
        let first = Underway::begin();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| {
                wait_for_begun();
                IS_OVER.load(Ordering::SeqCst)
            });
            std::thread::sleep(Duration::from_millis(50));
            let later = Underway::begin();
            IS_OVER.store(true, Ordering::SeqCst);
            drop(first);
            assert!(waits.join().unwrap(), "it did not wait");
            drop(later);
        });
        let hangs = Underway::begin();
        let begin = Instant::now();
        wait_for_begun();
        assert!(begin.elapsed() >= WAIT_MAX, "one that hangs is given its time");
        drop(hangs);
    }
}
