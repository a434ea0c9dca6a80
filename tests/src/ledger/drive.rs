//! Flushes, one after the other, until a test has seen enough.

use std::time::{Duration, Instant};

use super::receiver::Receiver;
use super::senders::Senders;

/// Pause between two requests for a flush.
pub const FLUSH_EVERY: Duration = Duration::from_millis(60);
/// Until requests in flight are answered.
const LULL: Duration = Duration::from_millis(30);

/// Asks for flushes until `done` says that it is enough. Now and then nothing is sent during a flush: only then is all of the WAL's newest
/// segment in the tables, so that the flush ends it.
pub fn drive(senders: &Senders, receiver: &mut Receiver, mut done: impl FnMut(&mut Receiver) -> bool) {
    let (mut flushes, mut flushed) = (0, Instant::now());
    while !done(receiver) {
        if flushed.elapsed() >= FLUSH_EVERY {
            (flushes, flushed) = (flushes + 1, Instant::now());
            if flushes % 4 == 0 {
                senders.aim(None);
                std::thread::sleep(LULL);
                // It may die of this, or fail: that is what it is for.
                let _ = receiver.flush();
                senders.aim(receiver.address());
            } else {
                drop(receiver.start_flush());
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
