//! Faults below the real program: file calls that fail, what a power cut leaves of what was not synced, and a clock that is wrong.
//!
//! `file_calls.c` is loaded before the C library of the program under test. It makes chosen calls fail ([`Fault`]), notes all calls, so
//! that a run without faults tells which there are ([`calls_of`]), and keeps a [`Journal`] of everything that changes files. From
//! the journal [`Journal::left_at`] makes what a disk may hold if power fails at any moment.

mod clock;
mod disk;
mod file_calls;
mod preload;

pub use clock::SettableClock;
pub use disk::{Journal, Leftover, Survival, SyncKind};
pub use file_calls::{Action, Call, Fault, FaultyCalls, calls_of};
