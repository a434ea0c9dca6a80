//! How much of the WAL and of memory each sender has filled since a flush has emptied them.

use std::collections::{HashMap, VecDeque};

use super::Sender;

/// Flushes after which new series are not counted any more. Those of a sender that takes more than its share are forgotten after about as many.
const ROUNDS: usize = 3;

/// What a sender has filled, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holding {
    /// Of the WAL.
    pub(crate) wal: u64,
    /// Of memory, with rows.
    pub(crate) rows: u64,
    /// Of memory, with series that were new.
    pub(crate) series: u64,
}

impl Holding {
    fn add(&mut self, other: Self) {
        self.wal = self.wal.saturating_add(other.wal);
        self.rows = self.rows.saturating_add(other.rows);
        self.series = self.series.saturating_add(other.series);
    }

    /// Of memory: a flush takes about a copy of the rows.
    pub(crate) fn memory(self) -> u64 {
        self.rows.saturating_mul(2).saturating_add(self.series)
    }
}

/// By sender, from flush to flush.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    /// What came since the last flush began, and before it; the newest last.
    rounds: VecDeque<HashMap<Sender, Holding>>,
    /// Whether a flush has begun that has not succeeded.
    flushing: bool,
}

impl Holdings {
    /// A sender has filled something.
    pub(crate) fn add(&mut self, sender: &Sender, holding: Holding) {
        if self.rounds.is_empty() {
            self.rounds.push_back(HashMap::new());
        }
        if let Some(round) = self.rounds.back_mut() {
            round.entry(sender.clone()).or_default().add(holding);
        }
    }

    /// What a sender has filled.
    pub(crate) fn of(&self, sender: &Sender) -> Holding {
        let mut sum = Holding::default();
        self.rounds.iter().filter_map(|round| round.get(sender)).for_each(|holding| sum.add(*holding));
        sum
    }

    /// Whether others have filled anything lately.
    pub(crate) fn has_others(&self, sender: &Sender) -> bool {
        self.rounds.iter().any(|round| round.keys().any(|other| other != sender))
    }

    /// Whether a sender may fill more of something of which so much is filled: by all, and by itself. The last tenth, in which a flush is
    /// under way, is for those who have filled less than half of the whole.
    pub(crate) fn may_fill(&self, sender: &Sender, all: u64, own: impl Fn(Holding) -> u64, limit: u64) -> Refill {
        if all >= limit {
            Refill::Full
        } else if all >= limit / 10 * 9 && own(self.of(sender)) >= limit / 2 && self.has_others(sender) {
            Refill::OwnHalfIsFull
        } else {
            Refill::Allowed
        }
    }

    /// Whether a sender may make more series known. Nobody gets more than half of memory for new ones while there are others, or while
    /// memory is full; and when it is full of rows, a flush comes first.
    pub(crate) fn may_know_more(&self, sender: &Sender, all: u64, limit: u64, rows_wait: bool) -> bool {
        let is_full = all >= limit;
        let has_half = self.of(sender).series >= limit / 2;
        !(has_half && (is_full || self.has_others(sender)) || is_full && rows_wait)
    }

    /// What came up to now is taken by a flush.
    pub(crate) fn flush_begins(&mut self) {
        if !self.flushing {
            self.flushing = true;
            self.rounds.push_back(HashMap::new());
        }
    }

    /// And is in the tables.
    pub(crate) fn flushed(&mut self) {
        self.flushing = false;
        let before = self.rounds.len().saturating_sub(1);
        for holding in self.rounds.iter_mut().take(before).flat_map(HashMap::values_mut) {
            *holding = Holding { series: holding.series, ..Holding::default() };
        }
        while self.rounds.len() > ROUNDS {
            self.rounds.pop_front();
        }
    }
}

/// Whether a sender may fill more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refill {
    Allowed,
    /// Nobody may.
    Full,
    /// Others may.
    OwnHalfIsFull,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(name: &str) -> Sender {
        Sender::Named(name.into())
    }

    fn wal(bytes: u64) -> Holding {
        Holding { wal: bytes, ..Holding::default() }
    }

    #[test]
    fn the_last_tenth_is_for_those_who_hold_less_than_half() {
        let mut holdings = Holdings::default();
        let (flood, honest) = (sender("flood"), sender("honest"));
        let may = |holdings: &Holdings, sender, all| holdings.may_fill(sender, all, |holding| holding.wal, 100);
        holdings.add(&flood, wal(60));
        assert_eq!(may(&holdings, &flood, 60), Refill::Allowed, "it is alone");
        assert_eq!(may(&holdings, &flood, 99), Refill::Allowed, "also then");
        holdings.add(&honest, wal(1));
        assert_eq!(may(&holdings, &flood, 89), Refill::Allowed, "there is enough");
        assert_eq!(may(&holdings, &flood, 90), Refill::OwnHalfIsFull);
        assert_eq!(may(&holdings, &honest, 90), Refill::Allowed);
        assert_eq!(may(&holdings, &honest, 100), Refill::Full);
    }

    #[test]
    fn new_series_of_one_sender_take_half_of_memory() {
        let mut holdings = Holdings::default();
        let (flood, honest) = (sender("flood"), sender("honest"));
        let may = |holdings: &Holdings, sender, all, rows| holdings.may_know_more(sender, all, 100, rows);
        holdings.add(&flood, Holding { series: 50, ..Holding::default() });
        assert!(may(&holdings, &flood, 99, true), "it is alone");
        assert!(!may(&holdings, &flood, 100, false), "but not for ever");
        holdings.add(&honest, wal(1));
        assert!(!may(&holdings, &flood, 51, true));
        assert!(may(&holdings, &honest, 99, true));
        assert!(!may(&holdings, &honest, 100, true), "a flush comes first");
        assert!(may(&holdings, &honest, 100, false), "only its rows move the horizon on");
    }

    #[test]
    fn a_flush_gives_back_what_came_before_it() {
        let mut holdings = Holdings::default();
        let a = sender("a");
        holdings.add(&a, Holding { wal: 10, rows: 20, series: 5 });
        holdings.flush_begins();
        holdings.add(&a, Holding { wal: 1, rows: 2, series: 0 });
        // It has failed, and is tried again.
        holdings.flush_begins();
        assert_eq!(holdings.of(&a), Holding { wal: 11, rows: 22, series: 5 });
        holdings.flushed();
        assert_eq!(holdings.of(&a), Holding { wal: 1, rows: 2, series: 5 });
        assert_eq!(holdings.of(&a).memory(), 9);
        for _ in 0..ROUNDS {
            holdings.flush_begins();
            holdings.flushed();
        }
        assert_eq!(holdings.of(&a), Holding::default());
        assert!(!holdings.has_others(&sender("b")), "it has gone");
    }
}
