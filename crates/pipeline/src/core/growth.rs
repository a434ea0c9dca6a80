//! How a request makes the index grow: by whose request, and who is told.

use std::sync::Mutex;

use crate::memtable::{Index, IndexAccess, SenderRef, Unusable};

/// Whose request is resolved, and who is told how the index grows by it.
pub trait Growth {
    /// Its sender.
    fn sender(&self) -> SenderRef;

    /// New series have taken so many more bytes; an error ends the request.
    fn grown(&self, bytes: usize) -> Result<(), Unusable>;
}

/// Of a sender that is not known, without a limit.
impl Growth for () {
    fn sender(&self) -> SenderRef {
        SenderRef::UNKNOWN
    }

    fn grown(&self, _: usize) -> Result<(), Unusable> {
        Ok(())
    }
}

/// An index whose growth is told.
pub(super) struct Growing<'a, G> {
    pub(super) index: &'a Mutex<Index>,
    pub(super) growth: &'a G,
}

impl<G: Growth> IndexAccess for Growing<'_, G> {
    fn sender(&self) -> SenderRef {
        self.growth.sender()
    }

    fn with<T>(&mut self, work: impl FnOnce(&mut Index) -> T) -> T {
        self.index.with(work)
    }

    fn grown(&mut self, bytes: usize) -> Result<(), Unusable> {
        self.growth.grown(bytes)
    }
}
