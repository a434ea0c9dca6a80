//! So that no sender starves the others: whatever runs out is shared by sender.
//!
//! | what | rule | where |
//! |---|---|---|
//! | memory of requests in flight, permits to decode large ones | half of it, or one request | [`Budget`] |
//! | the queue to the WAL | senders take turns | [`queue`] |
//! | WAL and memory until the next flush | the last tenth is for those who hold less than half | [`Holdings`] |
//! | what the last flushes wrote | who takes more than its share of half of memory gives back | [`crate::memtable::Horizon::surplus`] |
//! | files of far-off days | so many in a flush interval | [`DistantDays`] |
//!
//! A sender is a name in the tokens file; without tokens, an address.

mod budget;
mod days;
mod holdings;
mod queue;

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub(super) use budget::{Budget, Share};
pub(super) use days::DistantDays;
pub(super) use holdings::{Holding, Holdings, Refill};
pub(super) use queue::{Entrance, Exit, NotTaken, queue};

use crate::memtable::SenderRef;

/// Whose requests count together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Sender {
    /// Its name in the tokens file.
    Named(Arc<str>),
    /// Where there are no tokens: where it sends from.
    Address(IpAddr),
}

impl Sender {
    /// Its name, if it has one.
    pub(super) fn name(&self) -> Option<&Arc<str>> {
        match self {
            Self::Named(name) => Some(name),
            Self::Address(_) => None,
        }
    }
}

/// What senders have taken that only a flush gives back.
#[derive(Debug)]
pub(super) struct Taken {
    holdings: Mutex<Holdings>,
    days: Mutex<DistantDays>,
    /// For the numbers of senders.
    hasher: RandomState,
}

impl Taken {
    pub(super) fn new(flush_interval: Duration) -> Self {
        Self {
            holdings: Mutex::default(),
            days: Mutex::new(DistantDays::new(flush_interval)),
            hasher: RandomState::new(),
        }
    }

    /// By what the rows of a sender are told apart from those of others.
    pub(super) fn number_of(&self, sender: &Sender) -> SenderRef {
        SenderRef::of_hash(self.hasher.hash_one(sender))
    }

    /// What senders hold of WAL and memory.
    pub(super) fn holdings(&self) -> std::sync::MutexGuard<'_, Holdings> {
        self.holdings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Far-off days that senders have rows of.
    pub(super) fn days(&self) -> std::sync::MutexGuard<'_, DistantDays> {
        self.days.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A flush takes what is there.
    pub(super) fn flush_begins(&self, now: i64) {
        self.holdings().flush_begins();
        self.days().flush_begins(now);
    }

    /// It has succeeded.
    pub(super) fn flushed(&self) {
        self.holdings().flushed();
    }
}
