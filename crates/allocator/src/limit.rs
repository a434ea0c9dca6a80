//! One limit for all that a program holds, for commands that read files which may have been made to take memory.
//!
//! Bounds on single things cannot be complete: libraries take memory for what a file claims, and what is small by itself adds up. So the
//! allocator counts, and a request that would pass the limit ends the program before it is served. The program then writes one line to
//! standard error that says what it was reading, and exits with a code of its own. Nothing is unwound, and nothing is allocated on the way.
//! So a program must not have begun to print its answer: see [`lift`].
//!
//! Bytes are counted as they are asked for. The resident memory is larger: by what the allocator keeps for itself, by libraries of C
//! (zstd's windows), by stacks and the program itself.

use std::ffi::c_int;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering};
use std::time::Duration;

use crate::steps;
pub use crate::steps::{Step, phase, step};

/// What stands for no limit.
const NONE: usize = usize::MAX;

static LIMIT: AtomicUsize = AtomicUsize::new(NONE);
/// Bytes asked for since the limit was set, less those given back. Some were taken before.
static HELD: AtomicIsize = AtomicIsize::new(0);
static END: OnceLock<End> = OnceLock::new();

/// How the program ends when the limit is reached.
#[derive(Debug)]
pub struct End {
    /// Its exit code.
    pub code: u8,
    /// What the line on standard error begins with; what was being done follows.
    pub before: String,
    /// What the line ends with.
    pub after: String,
}

/// Ends the program before it holds more than `bytes`.
pub fn set(bytes: usize, end: End) {
    // A second end would have the same words.
    let _ = END.set(end);
    HELD.store(0, Ordering::Relaxed);
    LIMIT.store(bytes.min(NONE - 1), Ordering::Relaxed);
}

/// Lifts the limit: what remains to be done is to print the answer, which must not end in the middle.
pub fn lift() {
    LIMIT.store(NONE, Ordering::Relaxed);
}

/// Whether there is a limit.
#[inline(always)]
pub(crate) fn is_set() -> bool {
    LIMIT.load(Ordering::Relaxed) != NONE
}

/// Asks for bytes if the limit allows it, in place of `before` bytes that are held until then. Also ends the program if the system has no
/// more memory.
#[cold]
pub(crate) fn counted(bytes: usize, before: usize, ask: impl FnOnce() -> *mut u8) -> *mut u8 {
    let held = count(bytes.cast_signed());
    if held > LIMIT.load(Ordering::Relaxed).min(isize::MAX as usize).cast_signed() {
        end();
    }
    let pointer = ask();
    if pointer.is_null() {
        end();
    }
    count(-before.cast_signed());
    pointer
}

/// Counts bytes that were given back.
#[cold]
pub(crate) fn give(bytes: usize) {
    count(-bytes.cast_signed());
}

/// Adds to what is held, in all and by the step of this thread.
fn count(bytes: isize) -> isize {
    steps::count(bytes);
    HELD.fetch_add(bytes, Ordering::Relaxed).wrapping_add(bytes)
}

/// Says what was being done, and ends the program at once. Must not allocate.
#[cold]
fn end() -> ! {
    static ENDING: AtomicBool = AtomicBool::new(false);
    if ENDING.swap(true, Ordering::Relaxed) {
        // Another thread is about to end the program.
        loop {
            std::thread::sleep(Duration::from_secs(1));
        }
    }
    let mut line = Line { bytes: [0; 4096], length: 0 };
    let end = END.get();
    line.add(end.map_or("memory limit reached: ", |end| &end.before).as_bytes());
    steps::describe(|text| line.add(text));
    line.add(end.map_or("", |end| &end.after).as_bytes());
    line.add(b"\n");
    leave(line.bytes.get(..line.length).unwrap_or_default(), end.map_or(1, |end| end.code))
}

/// The end of [`end`]: the exit hooks of libraries and of the standard library could wait for threads that stand still.
#[expect(unsafe_code, reason = "two functions of C")]
fn leave(line: &[u8], code: u8) -> ! {
    // SAFETY: the line is there, and is as long as is said. Both functions may be called on any thread at any time.
    unsafe {
        // Nothing can be done when nobody reads it.
        let _ = libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len());
        libc::_exit(c_int::from(code))
    }
}

/// A line that needs no allocation. What does not fit is cut.
struct Line {
    bytes: [u8; 4096],
    length: usize,
}

impl Line {
    fn add(&mut self, text: &[u8]) {
        let room = self.bytes.get_mut(self.length..).unwrap_or_default();
        for (to, byte) in room.iter_mut().zip(text) {
            *to = *byte;
            self.length += 1;
        }
    }
}
