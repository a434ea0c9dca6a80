//! Batch → columns per series: which series a row belongs to, and the rows that wait for the next flush.
//!
//! [`resolve`] finds the series of a request's rows in the [`Index`] and refuses what cannot be kept, before the WAL. [`Memtable::apply`]
//! buffers the rows once the WAL holds them. The [`Horizon`] remembers what the last flushes wrote.

mod batch;
mod buffer;
mod horizon;
mod lookup;
mod metadata;
mod naming;
mod order;
mod request;
mod resolve;
mod run;
mod series;
mod slice;
mod symbols;
#[cfg(test)]
mod tests;
mod view;

pub use batch::{Batch, ExemplarRow};
pub use buffer::Memtable;
pub use horizon::{Cost, Generation, Horizon, Surplus};
pub use metadata::MetadataIndex;
pub use naming::SenderRef;
pub use order::file_order;
pub use request::{IndexAccess, Request, RequestKind, Unusable};
pub use resolve::resolve;
pub use run::{SampleRun, Samples, SortedRun};
pub use series::{EpochGuard, SeriesIndex, SeriesRef};
pub use view::{Labels, SeriesView};

/// All that is known of series and metrics.
#[derive(Debug)]
pub struct Index {
    /// Label sets.
    pub series: SeriesIndex,
    /// Types, units and help texts.
    pub metadata: MetadataIndex,
}

impl Index {
    /// An empty index; `seed` must be unknown to senders.
    pub fn new(seed: u64) -> Self {
        Self { series: SeriesIndex::new(seed), metadata: MetadataIndex::default() }
    }

    /// Bytes held, estimated.
    pub fn heap_bytes(&self) -> usize {
        self.series.heap_bytes() + self.metadata.heap_bytes()
    }
}
