//! Days far from today: a flush writes a file for each day that its rows are of, however few they are. So a sender gets so many such days in
//! a flush interval, and waits when it wants more.
//!
//! A request may have more days than that, because some tools send a series from its first day to its last. The sender then waits the longer
//! for its next one.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use promarchive_model::Date;

use super::Sender;

/// Far-off days of a sender in a flush interval.
const PER_INTERVAL: i64 = 64;
/// What senders have had of them.
#[derive(Debug)]
pub(crate) struct DistantDays {
    /// How long a day costs, in milliseconds.
    cost: i64,
    senders: HashMap<Sender, Account>,
}

#[derive(Debug, Default)]
struct Account {
    /// Days of rows that wait for the next flush, which writes their files anyway.
    waiting: BTreeSet<Date>,
    /// When everything that it has had is paid for, milliseconds on a clock that never goes back.
    paid: i64,
}

impl DistantDays {
    pub(crate) fn new(flush_interval: Duration) -> Self {
        let interval = i64::try_from(flush_interval.as_millis()).unwrap_or(i64::MAX / PER_INTERVAL);
        Self { cost: (interval / PER_INTERVAL).max(1), senders: HashMap::new() }
    }

    /// Lets rows of these days in, or says how long to wait. `now` is milliseconds on a clock that never goes back.
    pub(crate) fn admit(&mut self, sender: &Sender, days: &BTreeSet<Date>, now: i64) -> Result<(), Duration> {
        if days.is_empty() {
            return Ok(());
        }
        let account = self.senders.entry(sender.clone()).or_default();
        let new = i64::try_from(days.difference(&account.waiting).count()).unwrap_or(i64::MAX);
        let ahead = account.paid.saturating_sub(now);
        let most = self.cost.saturating_mul(PER_INTERVAL);
        if new > 0 && ahead >= most {
            return Err(Duration::from_millis(u64::try_from(ahead - most + 1).unwrap_or(0)));
        }
        account.paid = account.paid.max(now).saturating_add(self.cost.saturating_mul(new));
        account.waiting.extend(days.iter().copied());
        Ok(())
    }

    /// What waits is taken: rows that come now need files of their own.
    pub(crate) fn flush_begins(&mut self, now: i64) {
        self.senders.retain(|_, account| account.paid > now);
        self.senders.values_mut().for_each(|account| account.waiting.clear());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(64);

    fn days(days: std::ops::Range<i32>) -> BTreeSet<Date> {
        days.map(Date).collect()
    }

    #[test]
    fn a_sender_gets_so_many_days_in_an_interval() {
        let mut distant = DistantDays::new(INTERVAL);
        let (a, b) = (Sender::Named("a".into()), Sender::Named("b".into()));
        assert_eq!(distant.admit(&a, &days(0..63), 0), Ok(()));
        assert_eq!(distant.admit(&a, &days(63..64), 0), Ok(()));
        assert_eq!(distant.admit(&a, &days(64..65), 0), Err(Duration::from_millis(1)));
        assert_eq!(distant.admit(&a, &days(10..50), 0), Ok(()), "these have files in the next flush anyway");
        assert_eq!(distant.admit(&b, &days(64..65), 0), Ok(()), "another sender");
        assert_eq!(distant.admit(&a, &days(64..65), 1), Ok(()), "each second one more");
        distant.flush_begins(1);
        assert!(distant.admit(&a, &days(10..11), 1).is_err(), "this would be another file");
        assert_eq!(distant.admit(&a, &BTreeSet::new(), 1), Ok(()), "nothing but rows of today");
    }

    #[test]
    fn a_request_of_many_days_gets_in_and_is_paid_for_later() {
        let mut distant = DistantDays::new(INTERVAL);
        let a = Sender::Named("a".into());
        assert_eq!(distant.admit(&a, &days(0..240), 0), Ok(()));
        assert_eq!(distant.admit(&a, &days(240..480), 0), Err(Duration::from_millis(240_000 - 64_000 + 1)));
        assert_eq!(distant.admit(&a, &days(240..480), 240_000 - 64_000 + 1), Ok(()));
        distant.flush_begins(i64::MAX);
        assert!(distant.senders.is_empty());
    }
}
