//! Archive → what is in it, and whether it holds: for people and scripts, beside a running receiver or without one. Nothing here writes.
//!
//! Files of an archive may have been made to do harm. Each is bounded by itself in what it takes to be read, and what many take together is
//! bounded by the program's memory limit ([`promarchive_allocator::limit`]): what is being read is said there, so that the program can name it.
//!
//! [`inspect`] reads the tables' logs, the files' footers and, of the samples, the columns `metric` and `series_id` as runs: no
//! values, and nothing that grows with the samples of a series. [`verify`] reads every byte that a reader of the tables would, and reports each
//! promise that does not hold as a [`Finding`].
//!
//! ```text
//! inspect   snapshot ─► footers ─► runs of (metric, series_id) ─► counts
//! verify    log_check ─► data_file ─► rows ─┐
//!           snapshot ──┘        duplicates ─┼─► findings
//!                 unlisted, wal_tail ───────┘
//! ```

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod control_records;
mod data_file;
mod duplicates;
mod finding;
mod footer;
mod inspect;
mod log_check;
mod moment;
mod rows;
mod runs;
mod series_count;
#[cfg(test)]
mod tests;
mod unlisted;
mod verification;
mod verify;
mod wal_tail;
mod windows;

pub use finding::{Check, Finding, Severity};
pub use inspect::{
    DaysBefore2000, Inspection, InspectionError, MetricInspection, SamplesInspection, TableInspection,
    WriterInspection, inspect,
};
pub use moment::Moment;
use promarchive_allocator::limit;
use promarchive_model::quote::visible;
pub use verification::{Leftover, TableVerification, Verification};
pub use verify::{VerifyOptions, verify};

/// Who is told how far a long reading has come. Called from several threads.
pub trait Progress: Send + Sync {
    /// A part of the work begins: what it is, how many files it reads, and their bytes.
    fn begin(&self, what: &str, files: u64, bytes: u64);
    /// So many files more are read, of so many bytes.
    fn advance(&self, files: u64, bytes: u64);
}

/// Nobody is told.
impl Progress for () {
    fn begin(&self, _what: &str, _files: u64, _bytes: u64) {}
    fn advance(&self, _files: u64, _bytes: u64) {}
}

/// What the program does from now on: said if the memory limit is reached.
fn phase(what: &str) {
    limit::phase(&visible(what));
}

/// What this thread reads until the step is dropped: said if the memory limit is reached.
fn reading(table: &str, path: &str) -> limit::Step {
    limit::step(&visible(&format!("{table}/{path}")))
}

/// The sum of what a log or a file says, which may be anything.
fn total(values: impl IntoIterator<Item = u64>) -> u64 {
    values.into_iter().fold(0, u64::saturating_add)
}

/// What a thread that panicked said: decoders that are not ours may panic on damaged input.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "the decoder panicked".to_owned())
}
