//! When to flush. Pure: figures in, a decision out.

use std::time::Duration;

/// Days far from today whose rows a flush takes, about: it writes a file for each, and each takes its time. Nobody is to wait for thousands of
/// them because one sender has samples from many years. They are no reason to flush early: files of few rows would come of it.
pub(crate) const MOST_DAYS: usize = 512;

/// The limits of a flush policy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// Longest time that a row waits.
    pub interval: Duration,
    /// Bytes of memtable at which it is time.
    pub memtable_bytes: u64,
    /// Bytes of WAL at which it is time: well before its budget, so that senders are not turned away meanwhile.
    pub wal_bytes: u64,
}

/// What a decision is made from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// Time since the oldest row that waits was received; none when none waits.
    pub age: Option<Duration>,
    /// Bytes of memtable.
    pub memtable_bytes: u64,
    /// Days that its rows are of.
    pub days: usize,
    /// Bytes of WAL.
    pub wal_bytes: u64,
}

/// Why to flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// The oldest row has waited for the interval.
    Interval,
    /// The memtable is full.
    Memory,
    /// The WAL is on its way to its budget.
    Wal,
}

impl Policy {
    /// Whether to flush now.
    pub(crate) fn decide(&self, load: Load) -> Option<Trigger> {
        let age = load.age?;
        if load.memtable_bytes >= self.memtable_bytes {
            Some(Trigger::Memory)
        } else if load.wal_bytes >= self.wal_bytes {
            Some(Trigger::Wal)
        } else if age >= self.interval {
            Some(Trigger::Interval)
        } else {
            None
        }
    }

    /// How long to wait before asking again, if nothing else happens.
    pub(crate) fn wait(&self, load: Load) -> Duration {
        const LONGEST: Duration = Duration::from_millis(500);
        load.age.map_or(LONGEST, |age| self.interval.saturating_sub(age)).clamp(Duration::from_millis(10), LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions() {
        let policy = Policy { interval: Duration::from_secs(300), memtable_bytes: 100, wal_bytes: 1000 };
        let load = |age: Option<u64>, memtable_bytes, wal_bytes| Load {
            age: age.map(Duration::from_secs),
            memtable_bytes,
            days: 1,
            wal_bytes,
        };
        for (load, want) in [
            (load(None, 0, 5000), None),
            (load(Some(299), 99, 999), None),
            (load(Some(300), 99, 999), Some(Trigger::Interval)),
            (load(Some(1), 100, 0), Some(Trigger::Memory)),
            (load(Some(1), 0, 1000), Some(Trigger::Wal)),
        ] {
            assert_eq!(policy.decide(load), want, "{load:?}");
        }
        let many_days = Load { days: 10 * MOST_DAYS, ..load(Some(1), 99, 999) };
        assert_eq!(policy.decide(many_days), None, "they wait for the interval");
    }
}
