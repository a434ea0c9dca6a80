//! Times that are most likely wrong: those of a clock that was never set, and timestamps of 1970.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use promarchive_model::{DAY_MS, Date};

use super::fair::Sender;

/// 2025-01-01: no version of this program is older, so a clock before it is not set.
const EARLIEST_NOW_MS: i64 = 1_735_689_600_000;
/// 1971-01-01. Seconds that were sent as milliseconds stand before it until the year 2969.
const END_OF_1970_MS: i64 = 31_536_000_000;
/// A clock may be so far behind what is known to have come before somebody has to look at it.
const CLOCK_SLACK_MS: i64 = 60_000;
/// Time between two warnings of one sender.
const QUIET_MS: i64 = 3_600_000;
/// Senders that are named within that time: without tokens, every address is a sender.
const MOST_SENDERS: usize = 256;

/// Why nothing can be received with a clock that says this; none if it may be right.
pub(super) fn clock_fault(now: i64) -> Option<String> {
    (now < EARLIEST_NOW_MS).then(|| {
        format!(
            "the clock of this machine shows {}, which is before the release of this program: set the clock; the \
             receiver then continues by itself",
            utc(now)
        )
    })
}

/// A time for people, such as `1970-01-01 00:00:12 UTC`.
fn utc(time: i64) -> String {
    let second = time.rem_euclid(DAY_MS) / 1000;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{} {hour:02}:{minute:02}:{second:02} UTC", Date::of(time))
}

/// Why samples that look as if they came from the future cannot be refused; none if they can. `latest` is the latest time that is
/// known to have come.
pub(super) fn doubt(now: i64, latest: i64) -> Option<String> {
    let behind = latest.saturating_sub(now);
    (behind > CLOCK_SLACK_MS).then(|| {
        format!(
            "the samples have timestamps in the future, and the clock of this machine is {} s behind earlier samples \
             or commits: set the clock",
            behind / 1000
        )
    })
}

/// Whether a timestamp is one of 1970: 0, or most likely seconds instead of milliseconds.
fn is_of_1970(timestamp: i64) -> bool {
    (0..END_OF_1970_MS).contains(&timestamp)
}

/// Warns of timestamps of 1970: of each sender, but not too often.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    named: Mutex<Named>,
}

impl Warnings {
    /// How many of these are of 1970. The log names their sender. `now` is on the monotonic clock.
    pub(super) fn count(&self, timestamps: impl Iterator<Item = i64>, sender: &Sender, now: i64) -> u64 {
        let count = timestamps.filter(|&timestamp| is_of_1970(timestamp)).count() as u64;
        if count > 0 && self.named.lock().unwrap_or_else(PoisonError::into_inner).is_due(sender, now) {
            let sender = match sender {
                Sender::Named(name) => name.to_string(),
                Sender::Address(address) => address.to_string(),
            };
            tracing::warn!(
                sender,
                "received and stored samples with timestamps in 1970: the sender sends 0, or seconds instead of \
                 milliseconds; the metric promarchive_suspicious_timestamps_total counts them; the next warning about \
                 this sender follows after an hour at the earliest"
            );
        }
        count
    }
}

/// When each sender was last named, on the monotonic clock; for an hour.
#[derive(Debug, Default)]
struct Named(HashMap<Sender, i64>);

impl Named {
    /// Whether the sender is to be named now, which is then noted. So many are named in an hour and no more, as an address costs nothing.
    fn is_due(&mut self, sender: &Sender, now: i64) -> bool {
        let is_quiet = |named: i64| now.saturating_sub(named) < QUIET_MS;
        if self.0.get(sender).is_some_and(|&named| is_quiet(named)) {
            return false;
        }
        self.0.retain(|_, named| is_quiet(*named));
        let due = self.0.len() < MOST_SENDERS;
        if due {
            self.0.insert(sender.clone(), now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_not_set_is_told_from_one_that_is() {
        assert!(clock_fault(12_345).unwrap().contains("shows 1970-01-01 00:00:12 UTC"));
        assert!(clock_fault(1_696_017_414_000).unwrap().contains("shows 2023-09-29 19:56:54 UTC"));
        assert_eq!(utc(-1), "1969-12-31 23:59:59 UTC");
        assert!(clock_fault(EARLIEST_NOW_MS - 1).is_some());
        assert_eq!(clock_fault(EARLIEST_NOW_MS), None);
    }

    #[test]
    fn a_clock_behind_what_it_has_seen_is_in_doubt() {
        assert!(doubt(1_000_000, 1_000_000 + 3 * 86_400_000).unwrap().contains("259200 s behind"));
        assert_eq!((doubt(5, 5), doubt(5, 60_005), doubt(5, i64::MIN)), (None, None, None));
    }

    #[test]
    fn seconds_as_milliseconds_are_of_1970() {
        let times = [0, 1_700_000_000, 31_535_999_999, 31_536_000_000, 1_700_000_000_000, -1];
        assert_eq!(times.map(is_of_1970), [true, true, true, false, false, false]);
    }

    #[test]
    fn each_sender_is_named_once_an_hour_and_not_more_than_so_many() {
        let named = |name: &str| Sender::Named(name.into());
        let mut senders = Named::default();
        assert!(senders.is_due(&named("a"), 0) && !senders.is_due(&named("a"), QUIET_MS - 1));
        assert!(senders.is_due(&named("b"), 1), "the second sender is named, too");
        assert!(senders.is_due(&named("a"), QUIET_MS) && !senders.is_due(&named("b"), QUIET_MS));
        for at in 0..2 * MOST_SENDERS {
            let _ = senders.is_due(&named(&at.to_string()), QUIET_MS);
        }
        assert_eq!(senders.0.len(), MOST_SENDERS);
        assert!(!senders.is_due(&named("c"), QUIET_MS), "no flood of lines");
        assert!(senders.is_due(&named("c"), 2 * QUIET_MS));
        assert_eq!(senders.0.len(), 1, "what is old goes");
    }
}
