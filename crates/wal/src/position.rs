use std::fmt;
use std::ops::RangeInclusive;

/// The sequence number of a record: 1 for the first, larger for every later one, for as long as the WAL directory lives.
///
/// A position is the version of a table's `txn`, which Delta keeps as a signed 64-bit number: hence [`Position::MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl Position {
    /// Before the first record.
    pub const ZERO: Self = Self(0);
    /// The last position there is.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// The position with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position after this one, if there is one.
    pub(super) fn next(self) -> Option<Self> {
        self.after(1)
    }

    /// The position that lies `count` after this one, if there is one.
    pub(super) fn after(self, count: u64) -> Option<Self> {
        self.0.checked_add(count).map(Self).filter(|position| *position <= Self::MAX)
    }

    /// The position before this one; zero has none, and stays.
    pub(super) fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `first..=last`, or nothing if `last` lies before `first`.
pub(super) fn span(first: Position, last: Position) -> Option<RangeInclusive<Position>> {
    (first <= last).then_some(first..=last)
}
