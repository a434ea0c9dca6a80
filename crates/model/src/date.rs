//! UTC days.

use std::fmt;

/// A UTC day, as days since 1970-01-01: the partition of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Date(pub i32);

/// Milliseconds in a day.
pub const DAY_MS: i64 = 86_400_000;

impl Date {
    /// The day of a timestamp in milliseconds since the epoch.
    pub fn of(timestamp_ms: i64) -> Self {
        let day = timestamp_ms.div_euclid(DAY_MS);
        Self(i32::try_from(day).unwrap_or(if day < 0 { i32::MIN } else { i32::MAX }))
    }

    /// First millisecond of the day.
    pub fn start_ms(self) -> i64 {
        i64::from(self.0) * DAY_MS
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNIX_EPOCH_JULIAN_DAY: i32 = 2_440_588;
        match time::Date::from_julian_day(self.0.saturating_add(UNIX_EPOCH_JULIAN_DAY)) {
            Ok(date) => write!(f, "{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day()),
            Err(_) => write!(f, "day{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_written_as_iso_8601_and_begins_at_midnight_before_1970_too() {
        assert_eq!(Date(20_779).to_string(), "2026-11-22");
        assert_eq!(Date::of(-1), Date(-1));
    }
}
