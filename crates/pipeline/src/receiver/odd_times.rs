//! Times that are most likely wrong: those of a clock that was never set, and timestamps of 1970.

use std::sync::atomic::{AtomicI64, Ordering};

use super::fair::Sender;

/// 2025-01-01: no version of this program is older, so a clock before it is not set.
const EARLIEST_NOW_MS: i64 = 1_735_689_600_000;
/// 1971-01-01. Seconds that were sent as milliseconds stand before it until the year 2969.
const END_OF_1970_MS: i64 = 31_536_000_000;
/// A clock may be so far behind what is known to have come before somebody has to look at it.
const CLOCK_SLACK_MS: i64 = 60_000;
/// Time between two warnings.
const QUIET_MS: i64 = 3_600_000;

/// Why nothing can be received with a clock that says this; none if it may be right.
pub(super) fn clock_fault(now: i64) -> Option<String> {
    (now < EARLIEST_NOW_MS).then(|| {
        format!(
            "the clock of this machine says {} s after 1970, before there was this program: set it, and it goes on by itself",
            now.div_euclid(1000)
        )
    })
}

/// Why samples that look as if they came from the future cannot be refused; none if they can. `latest` is the latest time that is
/// known to have come.
pub(super) fn doubt(now: i64, latest: i64) -> Option<String> {
    let behind = latest.saturating_sub(now);
    (behind > CLOCK_SLACK_MS).then(|| {
        format!(
            "samples seem to be of the future, and the clock of this machine is {} s behind what it has received or committed before: \
             set it",
            behind / 1000
        )
    })
}

/// Whether a timestamp is one of 1970: 0, or most likely seconds instead of milliseconds.
fn is_of_1970(timestamp: i64) -> bool {
    (0..END_OF_1970_MS).contains(&timestamp)
}

/// Warns of timestamps of 1970, not too often.
#[derive(Debug)]
pub(super) struct Warnings {
    /// On the monotonic clock.
    not_before: AtomicI64,
}

impl Default for Warnings {
    fn default() -> Self {
        Self { not_before: AtomicI64::new(i64::MIN) }
    }
}

impl Warnings {
    /// How many of these are of 1970, which the log then says, too. `now` is on the monotonic clock.
    pub(super) fn count(&self, timestamps: impl Iterator<Item = i64>, sender: &Sender, now: i64) -> u64 {
        let count = timestamps.filter(|&timestamp| is_of_1970(timestamp)).count() as u64;
        if count > 0 && self.not_before.fetch_max(now.saturating_add(QUIET_MS), Ordering::Relaxed) <= now {
            tracing::warn!(
                count,
                sender = sender.name().map(|name| &**name),
                "timestamps of 1970 were received and kept: the sender sends 0, or seconds instead of milliseconds"
            );
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_not_set_is_told_from_one_that_is() {
        assert!(clock_fault(12_345).unwrap().contains("says 12 s after 1970"));
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
}
