//! Whether the index may grow: what new series take of memory, held against their sender while a request is resolved.
//!
//! A request of a few megabytes can name millions of series. So growth counts as it happens, and ends a request in the middle.

use std::cell::Cell;

use promarchive_wire::DecodeError;

use super::fair::{Holding, Sender, Taken};
use crate::core::{Core, Growth};
use crate::memtable::{SenderRef, Unusable};

/// Bytes of new series after which room is looked for again.
const STEP_BYTES: u64 = 256 << 10;

/// The growth of one request.
pub(super) struct Accounted<'a> {
    core: &'a Core,
    taken: &'a Taken,
    sender: &'a Sender,
    /// All that series, rows and the horizon may take.
    limit: u64,
    /// Bytes of this request's new series.
    all: Cell<u64>,
    /// Of these, since room was looked for.
    unchecked: Cell<u64>,
}

impl<'a> Accounted<'a> {
    pub(super) fn new(core: &'a Core, taken: &'a Taken, sender: &'a Sender, limit: u64) -> Self {
        Self { core, taken, sender, limit, all: Cell::default(), unchecked: Cell::default() }
    }
}

impl Growth for Accounted<'_> {
    fn sender(&self) -> SenderRef {
        self.taken.number_of(self.sender)
    }

    fn grown(&self, bytes: usize) -> Result<(), Unusable> {
        let bytes = bytes as u64;
        if bytes == 0 {
            return Ok(());
        }
        self.taken.holdings().add(self.sender, Holding { series: bytes, ..Holding::default() });
        self.all.update(|all| all + bytes);
        self.unchecked.update(|unchecked| unchecked + bytes);
        let limit = self.limit / 2;
        if self.all.get() > limit {
            return Err(DecodeError::TooManyNewSeries { limit }.into());
        }
        if self.unchecked.get() < STEP_BYTES {
            return Ok(());
        }
        self.unchecked.set(0);
        let usage = self.core.usage();
        let rows_wait = usage.memtable_bytes > 0;
        let may = self.taken.holdings().may_know_more(self.sender, usage.memory_bytes() as u64, self.limit, rows_wait);
        if may { Ok(()) } else { Err(Unusable::NoRoom) }
    }
}
