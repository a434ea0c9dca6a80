//! How much memory a piece of work takes, at most.

use std::sync::{Mutex, PoisonError};

use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// The allocator counts for the whole process.
static MEASURED: Mutex<()> = Mutex::new(());

/// Does `work`, and panics if at any moment it held more than `limit` bytes of new memory. Other threads must be idle, or here.
pub fn within<T>(limit: usize, work: impl FnOnce() -> T) -> T {
    let _alone = MEASURED.lock().unwrap_or_else(PoisonError::into_inner);
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let result = work();
    let peak = ALLOCATOR.peak_usage().saturating_sub(before);
    assert!(peak <= limit, "{peak} bytes of memory at once, more than the limit of {limit}");
    result
}
