//! What the threads of a program are doing, and how many bytes each step holds: said when the limit is reached.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};

use crate::limit;

/// Steps that are told apart at a time; further ones count for the step around them.
const MOST_STEPS: usize = 64;
/// Bytes kept of a step's text.
const TEXT_BYTES: usize = 512;

/// The first is the phase, of threads without a step of their own.
static SLOTS: [Slot; MOST_STEPS] = [const { Slot::new() }; MOST_STEPS];

thread_local! {
    /// Where this thread's step stands in [`SLOTS`].
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

struct Slot {
    is_taken: AtomicBool,
    held: AtomicIsize,
    text: Mutex<StepText>,
}

struct StepText {
    bytes: [u8; TEXT_BYTES],
    length: usize,
}

impl Slot {
    const fn new() -> Self {
        let text = StepText { bytes: [0; TEXT_BYTES], length: 0 };
        Self { is_taken: AtomicBool::new(false), held: AtomicIsize::new(0), text: Mutex::new(text) }
    }

    /// Copies a text, cut to what fits. Allocates nothing.
    fn name(&self, text: &str) {
        let Ok(mut kept) = self.text.lock() else { return };
        kept.length = text.floor_char_boundary(TEXT_BYTES);
        for (to, byte) in kept.bytes.iter_mut().zip(text.as_bytes()) {
            *to = *byte;
        }
    }
}

/// What the program does from now on, where no thread has a step of its own. The text may have no control characters.
pub fn phase(text: &str) {
    if let Some(phase) = SLOTS.first().filter(|_| limit::is_set()) {
        phase.name(text);
        phase.held.store(0, Ordering::Relaxed);
    }
}

/// A step of one thread, until it is dropped. Its bytes that are left then belong to the step around it.
#[derive(Debug)]
pub struct Step {
    /// Its slot, and that of the step around it; none if no slot was free, or there is no limit.
    slots: Option<(usize, usize)>,
    of_this_thread: PhantomData<*const ()>,
}

/// What this thread does until the step is dropped. The text may have no control characters.
#[must_use]
pub fn step(text: &str) -> Step {
    let free = |slot: &Slot| !slot.is_taken.swap(true, Ordering::Relaxed);
    let slot = if limit::is_set() { SLOTS.iter().skip(1).position(free) } else { None };
    let slots = slot.map(|before| {
        let slot = before + 1;
        if let Some(slot) = SLOTS.get(slot) {
            slot.name(text);
        }
        (slot, CURRENT.replace(slot))
    });
    Step { slots, of_this_thread: PhantomData }
}

impl Drop for Step {
    fn drop(&mut self) {
        let Some((slot, around)) = self.slots else { return };
        CURRENT.set(around);
        if let (Some(slot), Some(around)) = (SLOTS.get(slot), SLOTS.get(around)) {
            around.held.fetch_add(slot.held.swap(0, Ordering::Relaxed), Ordering::Relaxed);
            slot.is_taken.store(false, Ordering::Relaxed);
        }
    }
}

/// Counts bytes of this thread's step. Must not allocate.
pub(crate) fn count(bytes: isize) {
    if let Some(slot) = SLOTS.get(CURRENT.get()) {
        slot.held.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Tells the step that holds the most, and then that of this thread if it is another one. Must not allocate.
pub(crate) fn describe(mut tell: impl FnMut(&[u8])) {
    let current = CURRENT.get();
    let mut most = current;
    let held = |slot: usize| SLOTS.get(slot).map_or(0, |slot| slot.held.load(Ordering::Relaxed));
    for slot in 0..MOST_STEPS {
        if held(slot) > held(most) {
            most = slot;
        }
    }
    let mut say = |slot: usize, before: &str| {
        // One whose text is just being set is left out.
        let Some(text) = SLOTS.get(slot).and_then(|slot| slot.text.try_lock().ok()) else { return };
        if text.length > 0 {
            tell(before.as_bytes());
            tell(text.bytes.get(..text.length).unwrap_or_default());
        }
    };
    say(most, "");
    if most != current {
        say(current, ", at ");
    }
}
