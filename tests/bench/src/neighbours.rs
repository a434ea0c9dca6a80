//! Other work on the same machine: a receiver seldom has processors and their caches to itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// Bytes that each thread goes through: more than the caches of a processor hold.
const BYTES: usize = 64 << 20;
/// Numbers that are changed between two looks at whether to stop.
const STEPS: usize = 1 << 12;

/// Threads that work until this is dropped.
#[derive(Debug)]
pub struct Neighbours {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Neighbours {
    /// Starts so many.
    pub fn start(count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let work = |_| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || work(&stop))
        };
        let threads = (0..count).map(work).collect();
        Self { stop, threads }
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Changes numbers all over its memory, each index told by the number in the last one.
fn work(stop: &AtomicBool) {
    let mut numbers = vec![1_u64; BYTES / size_of::<u64>()];
    let mut at = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..STEPS {
            let index = at as usize % numbers.len();
            if let Some(number) = numbers.get_mut(index) {
                *number = number.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                at = at.wrapping_add(*number >> 20);
            }
        }
    }
}
