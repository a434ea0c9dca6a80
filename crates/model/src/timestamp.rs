//! Which timestamps can be kept. All are milliseconds since 1970 UTC.
//!
//! An archive takes old and out-of-order samples. It refuses what no tool reads back alike: Spark reads dates before
//! 1900 on another calendar, and years over 9999 have no text form. And it refuses, as Prometheus does, what is far in
//! the future: a wrong clock.

use crate::{Invalid, Reason};

/// 1900-01-01T00:00:00Z.
pub const EARLIEST_TIMESTAMP: i64 = -2_208_988_800_000;
/// 9999-12-31T23:59:59.999Z.
pub const LATEST_TIMESTAMP: i64 = 253_402_300_799_999;

/// The timestamps that are kept, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampBounds {
    /// The first.
    pub earliest: i64,
    /// The last.
    pub latest: i64,
}

impl TimestampBounds {
    /// Whether a sample, histogram or exemplar of this timestamp is kept.
    ///
    /// # Errors
    ///
    /// [`Reason::TimestampOutOfRange`], [`Reason::TimestampTooOld`], or [`Reason::TimestampTooFarInFuture`].
    #[inline]
    pub fn check(&self, timestamp: i64) -> Result<(), Reason> {
        if !(EARLIEST_TIMESTAMP..=LATEST_TIMESTAMP).contains(&timestamp) {
            Err(Reason::TimestampOutOfRange)
        } else if timestamp < self.earliest {
            Err(Reason::TimestampTooOld)
        } else if timestamp > self.latest {
            Err(Reason::TimestampTooFarInFuture)
        } else {
            Ok(())
        }
    }

    /// Whether a start timestamp can be stored; 0, none, can.
    ///
    /// # Errors
    ///
    /// [`Reason::StartTimestampOutOfRange`]. How it relates to the sample's own timestamp is the sender's affair.
    #[inline]
    pub fn check_start(&self, start_timestamp: i64) -> Result<(), Reason> {
        if (EARLIEST_TIMESTAMP..=LATEST_TIMESTAMP).contains(&start_timestamp) {
            Ok(())
        } else {
            Err(Reason::StartTimestampOutOfRange)
        }
    }
}

impl Reason {
    /// A refusal for this reason, with the timestamp at fault.
    pub fn at(self, timestamp: i64) -> Invalid {
        Invalid::new(self, format!("timestamp {timestamp}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constants_are_the_dates() {
        use time::OffsetDateTime;
        use time::macros::datetime;
        let ms = |date: OffsetDateTime| i64::try_from(date.unix_timestamp_nanos() / 1_000_000).unwrap();
        assert_eq!(EARLIEST_TIMESTAMP, ms(datetime!(1900-01-01 0:00 UTC)));
        assert_eq!(LATEST_TIMESTAMP, ms(datetime!(9999-12-31 23:59:59.999 UTC)));
    }

    #[test]
    fn bounds() {
        let now = 1_700_000_000_000;
        let bounds = TimestampBounds { earliest: EARLIEST_TIMESTAMP, latest: now + 600_000 };
        let rows = [
            (i64::MIN, Err(Reason::TimestampOutOfRange)),
            (EARLIEST_TIMESTAMP - 1, Err(Reason::TimestampOutOfRange)),
            (EARLIEST_TIMESTAMP, Ok(())),
            (0, Ok(())),
            (now + 600_000, Ok(())),
            (now + 600_001, Err(Reason::TimestampTooFarInFuture)),
            (LATEST_TIMESTAMP, Err(Reason::TimestampTooFarInFuture)),
            (LATEST_TIMESTAMP + 1, Err(Reason::TimestampOutOfRange)),
            (i64::MAX, Err(Reason::TimestampOutOfRange)),
        ];
        for (timestamp, expected) in rows {
            assert_eq!(bounds.check(timestamp), expected, "{timestamp}");
        }
        assert_eq!(TimestampBounds { latest: i64::MAX, ..bounds }.check(LATEST_TIMESTAMP), Ok(()));
        let recent = TimestampBounds { earliest: now, ..bounds };
        assert_eq!(recent.check(now), Ok(()));
        assert_eq!(recent.check(now - 1), Err(Reason::TimestampTooOld));
        assert_eq!(recent.check(EARLIEST_TIMESTAMP - 1), Err(Reason::TimestampOutOfRange));
        assert_eq!(bounds.check_start(0), Ok(()));
        assert_eq!(bounds.check_start(LATEST_TIMESTAMP), Ok(()));
        assert_eq!(bounds.check_start(LATEST_TIMESTAMP + 1), Err(Reason::StartTimestampOutOfRange));
        assert_eq!(bounds.check_start(EARLIEST_TIMESTAMP - 1), Err(Reason::StartTimestampOutOfRange));
        assert_eq!(Reason::TimestampOutOfRange.at(-7).to_string(), "timestamp_out_of_range: timestamp -7");
    }
}
