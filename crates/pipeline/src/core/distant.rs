//! Which days are far from today. A flush writes a file for each day that its rows are of.

use std::collections::BTreeSet;
use std::ops::Range;

use promarchive_model::Date;

use crate::memtable::Batch;

/// Days before today that everybody sends late samples of.
const DAYS_BEFORE: i32 = 2;
/// Days after today that a clock may be ahead.
const DAYS_AFTER: i32 = 1;

/// Days that are not far from today.
fn near(now: i64) -> Range<i32> {
    let Date(today) = Date::of(now);
    today.saturating_sub(DAYS_BEFORE)..today.saturating_add(DAYS_AFTER + 1)
}

/// Whether a day is far from that of a time.
pub(super) fn is_distant(day: Date, now: i64) -> bool {
    !near(now).contains(&day.0)
}

/// The days of a batch that are far from the day of a time.
pub fn distant_days(batch: &Batch, now: i64) -> BTreeSet<Date> {
    let near = near(now);
    let near = Date(near.start).start_ms()..Date(near.end).start_ms();
    batch.all_timestamps().filter(|timestamp| !near.contains(timestamp)).map(Date::of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_samples_and_fast_clocks_are_not_far_off() {
        let now = Date(20_000).start_ms() + 1;
        let far = |day| is_distant(Date(day), now);
        assert_eq!(
            [far(19_997), far(19_998), far(20_000), far(20_001), far(20_002)],
            [true, false, false, false, true]
        );
    }
}
