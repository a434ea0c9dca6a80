//! The allocator of the programs: mimalloc, told to give memory back early, and with a limit for commands that read what may be hostile.
//!
//! By default mimalloc keeps what is freed for a second, and lets the kernel back it with huge pages. A receiver takes and frees many megabytes
//! within that second, on several threads: at 200,000 series its peak was a third higher, for real traffic twice as high
//! (`docs/explanation/performance.md`). Huge pages are switched off where the allocator is built (feature `no_thp`).
//!
//! A program makes it its own with `#[global_allocator] static ALLOCATOR: Allocator = Allocator;`. See [`limit`] for the limit. Where none is
//! set, it costs one comparison for each request.

pub mod limit;
mod steps;

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::c_long;

use libmimalloc_sys::{mi_option_set_default, mi_option_t};
use mimalloc::MiMalloc;

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

/// mimalloc behind the limit.
#[derive(Debug)]
pub struct Allocator;

// SAFETY: every call goes to mimalloc as it came. What is added counts bytes: it neither allocates nor unwinds.
#[expect(unsafe_code, reason = "an allocator is unsafe to write")]
unsafe impl GlobalAlloc for Allocator {
    #[inline(always)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as for this call.
        let alloc = || unsafe { MiMalloc.alloc(layout) };
        if limit::is_set() { limit::counted(layout.size(), 0, alloc) } else { alloc() }
    }

    #[inline(always)]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as for this call.
        let alloc = || unsafe { MiMalloc.alloc_zeroed(layout) };
        if limit::is_set() { limit::counted(layout.size(), 0, alloc) } else { alloc() }
    }

    #[inline(always)]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as for this call.
        unsafe { MiMalloc.dealloc(pointer, layout) };
        if limit::is_set() {
            limit::give(layout.size());
        }
    }

    #[inline(always)]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as for this call.
        let realloc = || unsafe { MiMalloc.realloc(pointer, layout, new_size) };
        if limit::is_set() { limit::counted(new_size, layout.size(), realloc) } else { realloc() }
    }
}
