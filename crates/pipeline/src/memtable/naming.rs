//! How requests named a series last: by which hash of its labels, in which epoch, which series followed it, and who was the first. The table of
//! it is apart from that of label sets, because each sample reads and writes here.

use super::series::SeriesRef;

/// Keyed hash of a series' labels, as text or as symbols: equal hashes are taken for equal labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LabelsHash {
    /// Says in which slots of a table to look.
    pub(super) slot_hash: u64,
    /// More bits, which tell those apart that have the same slots.
    check: u32,
}

impl LabelsHash {
    pub(super) fn new([slot_hash, check]: [u64; 2]) -> Self {
        Self { slot_hash, check: check as u32 }
    }
}

/// A number of a sender: the same one for all of its requests to this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SenderRef(u32);

impl SenderRef {
    /// Nobody has named the series since it was read back from the tables or the WAL.
    pub const UNKNOWN: Self = Self(0);

    /// By a hash of who it is. That two of a thousand senders share a number has a probability of 10⁻⁴.
    pub fn of_hash(hash: u64) -> Self {
        Self((hash as u32).max(1))
    }
}

/// How requests named a series last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Naming {
    /// By which hash; flat, because [`LabelsHash`] has padding.
    slot_hash: u64,
    check: u32,
    /// The series that was named after it.
    pub(super) next: SeriesRef,
    /// In which epoch. A new one begins with a flush, twice a second at most, so that there are enough for decades.
    pub(super) epoch: u32,
    /// Who was the first to name it.
    pub(super) sender: SenderRef,
}

impl Naming {
    /// Of a series that nothing has named, or that is forgotten: a hash that labels have as seldom as they share one.
    pub(super) const NONE: Self =
        Self { slot_hash: 0, check: 0, next: SeriesRef::MAX, epoch: 0, sender: SenderRef::UNKNOWN };

    /// Whether it was named by this hash.
    pub(super) fn is_by(&self, hash: LabelsHash) -> bool {
        (self.slot_hash, self.check) == (hash.slot_hash, hash.check)
    }

    pub(super) fn set_hash(&mut self, hash: LabelsHash) {
        (self.slot_hash, self.check) = (hash.slot_hash, hash.check);
    }

    /// It is named again, by this sender.
    pub(super) fn renew(&mut self, epoch: u32, sender: SenderRef) {
        self.epoch = epoch;
        if self.sender == SenderRef::UNKNOWN {
            self.sender = sender;
        }
    }
}
