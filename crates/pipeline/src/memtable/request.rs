//! What is resolved, against what, and why it could not be.

use std::sync::{Mutex, PoisonError};

use promarchive_model::{Protocol, SetLabel, TimestampBounds};
use promarchive_wire::DecodeError;

use super::Index;
use super::naming::SenderRef;

/// Whether a request may still be refused as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// A sender waits for the answer.
    Arriving,
    /// The WAL: it was accepted once.
    Replayed,
}

/// A decompressed request, and what decides about it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// In which protocol.
    pub protocol: Protocol,
    /// The request, decompressed.
    pub body: &'a [u8],
    /// Timestamps that are kept.
    pub bounds: TimestampBounds,
    /// When it was received, milliseconds since the epoch.
    pub received_at: i64,
    /// A label that is set on all of its series.
    pub label: Option<SetLabel<'a>>,
    /// Where it comes from.
    pub kind: RequestKind,
}

/// Why nothing of a request can be used. Series that it has made known stay until unused ones are forgotten.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It is wrong, and will be.
    #[error(transparent)]
    Wrong(#[from] DecodeError),
    /// There is no room for its new series now.
    #[error("there is not enough memory for new series")]
    NoRoom,
}

/// An index that is used for moments, for one request.
pub trait IndexAccess {
    /// Whose request it is.
    fn sender(&self) -> SenderRef {
        SenderRef::UNKNOWN
    }

    /// Does some work with it; others wait.
    fn with<T>(&mut self, work: impl FnOnce(&mut Index) -> T) -> T;

    /// Is told how many bytes new series have taken since the last time, some of them at a time; an error ends the request.
    fn grown(&mut self, bytes: usize) -> Result<(), Unusable> {
        let _ = bytes;
        Ok(())
    }
}

impl IndexAccess for &mut Index {
    fn with<T>(&mut self, work: impl FnOnce(&mut Index) -> T) -> T {
        work(self)
    }
}

impl IndexAccess for &Mutex<Index> {
    fn with<T>(&mut self, work: impl FnOnce(&mut Index) -> T) -> T {
        // Poisoned means a panic elsewhere; the index is changed in single steps.
        work(&mut self.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
