//! What a piece of work costs: time, and the most memory it held at once. The allocator counts per thread, so that tests
//! beside each other do not count each other's; reading a fleet file uses one thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

thread_local! {
    // Without a destructor and without lazy initialisation, so that the allocator may use them at any time.
    static NOW: Cell<i64> = const { Cell::new(0) };
    static MOST: Cell<i64> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn count(bytes: i64) {
    let now = NOW.get() + bytes;
    NOW.set(now);
    MOST.set(MOST.get().max(now));
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[expect(unsafe_code, reason = "the only way to count what is allocated")]
// SAFETY: each call is handed on unchanged to the system's allocator, which keeps the contract; counting allocates
// nothing and cannot panic.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()));
        // SAFETY: as for the whole.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-signed(layout.size()));
        // SAFETY: as for the whole.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()));
        // SAFETY: as for the whole.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(signed(size) - signed(layout.size()));
        // SAFETY: as for the whole.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// What work cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub time: Duration,
    /// The most bytes held at once, above what was held before.
    pub peak: u64,
    /// Bytes still held at the end, above what was held before.
    pub kept: u64,
}

/// What this thread has used of a processor, which a busy machine does not change.
fn on_the_processor() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

pub(crate) fn measure<T>(work: impl FnOnce() -> T) -> (T, Cost) {
    let before = NOW.get();
    MOST.set(before);
    let started = on_the_processor();
    let result = work();
    let time = on_the_processor().saturating_sub(started);
    let above = |bytes: i64| u64::try_from(bytes - before).unwrap_or(0);
    (result, Cost { time, peak: above(MOST.get()), kept: above(NOW.get()) })
}

#[test]
fn memory_is_counted() {
    let (kept, cost) = measure(|| {
        drop(std::hint::black_box(vec![1_u8; 3 << 20]));
        std::hint::black_box(vec![1_u8; 1 << 20])
    });
    assert_eq!(kept.len(), 1 << 20);
    assert!((3 << 20..4 << 20).contains(&cost.peak) && (1 << 20..2 << 20).contains(&cost.kept), "{cost:?}");
}
