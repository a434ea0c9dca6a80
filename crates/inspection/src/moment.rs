//! A point in time for people and JSON: ISO 8601, UTC, milliseconds.

use std::fmt;

use serde::{Serialize, Serializer};

/// Milliseconds since the epoch; shown and serialised as `2026-11-22T17:52:51.123Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub i64);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(time) = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000) else {
            // Damaged input only: no table holds such a time.
            return write!(f, "{} ms", self.0);
        };
        let (date, hour, minute, second) = (time.date(), time.hour(), time.minute(), time.second());
        let (year, month, day, ms) = (date.year(), u8::from(date.month()), date.day(), time.millisecond());
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_in_utc_with_milliseconds() {
        assert_eq!(Moment(1_763_000_000_123).to_string(), "2025-11-13T02:13:20.123Z");
        assert_eq!(Moment(-1).to_string(), "1969-12-31T23:59:59.999Z");
        assert_eq!(Moment(i64::MAX).to_string(), format!("{} ms", i64::MAX));
    }
}
