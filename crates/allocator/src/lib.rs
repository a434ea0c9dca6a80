//! The allocator of a program that links this crate: mimalloc, told to give memory back early.
//!
//! By default it keeps what is freed for a second, and lets the kernel back it with huge pages. A receiver takes and frees many megabytes
//! within that second, on several threads: at 200,000 series its peak was a third higher, for real traffic twice as high
//! (`docs/explanation/performance.md`). Huge pages are switched off where the allocator is built (feature `no_thp`).

use std::ffi::c_long;

use libmimalloc_sys::{mi_option_set_default, mi_option_t};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc 3.
const PURGE_DELAY: mi_option_t = 15;
/// For how long freed pages are kept, in milliseconds. Without any delay, each large request paid for its pages anew.
const SHORT_DELAY: c_long = 10;

/// Shortens the time for which freed pages are kept, unless the variable `MIMALLOC_PURGE_DELAY` is set. To be called first of all in a
/// program, while there is one thread.
#[expect(unsafe_code, reason = "a function of C, which writes a number into the allocator's table of options")]
pub fn give_back_early() {
    // SAFETY: the option is one of its options, and there is no other thread.
    unsafe { mi_option_set_default(PURGE_DELAY, SHORT_DELAY) };
}
