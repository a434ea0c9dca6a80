//! Durations, as Prometheus people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::yaml;

/// A duration in whole milliseconds, written as in Prometheus: `5m`, `1h30m`, `90s`, `250ms`, `2d`, `1w`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timespan {
    milliseconds: u64,
}

/// Why a text is no [`Timespan`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid duration \"{given}\"; expected whole numbers with units (w d h m s ms), largest unit first, for example \
     5m, 1h30m, 90s or 250ms"
)]
pub struct TimespanError {
    given: String,
}

// Largest first: the order in which they may follow each other.
const UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Timespan {
    /// So many milliseconds.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self { milliseconds }
    }

    /// So many seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self { milliseconds: seconds.saturating_mul(1_000) }
    }

    /// The same span, as the standard library has it.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.milliseconds)
    }
}

impl From<Timespan> for Duration {
    fn from(span: Timespan) -> Self {
        span.duration()
    }
}

fn parse(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut total = 0_u64;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count());
        let (unit, tail) = tail.split_at(tail.bytes().take_while(u8::is_ascii_alphabetic).count());
        // The iterator goes on from the unit before, so that units can only get smaller.
        let (_, size) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*size)?)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

impl FromStr for Timespan {
    type Err = TimespanError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map(Self::from_millis).ok_or_else(|| TimespanError { given: text.to_owned() })
    }
}

impl fmt::Display for Timespan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.milliseconds == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.milliseconds;
        for (unit, size) in UNITS.iter().filter(|(unit, _)| *unit != "w") {
            if rest >= *size {
                write!(f, "{}{unit}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}

impl Serialize for Timespan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timespan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        yaml::from_text(deserializer, "a duration with a unit, for example 5m, 1h30m, 90s or 250ms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, milliseconds) in [
            ("0", 0),
            ("0s", 0),
            ("250ms", 250),
            ("90s", 90_000),
            ("5m", 300_000),
            ("5m0s", 300_000),
            ("1h30m", 5_400_000),
            ("1d", 86_400_000),
            ("1w2d", 777_600_000),
            ("1s1ms", 1_001),
        ] {
            assert_eq!(text.parse(), Ok(Timespan::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn refuses_by_name_what_is_no_duration() {
        for text in ["", "5", "m", "1.5h", "-5m", "30m1h", "5m5m", "5 m", "5M", "99999999999999999w", "1y"] {
            let error = text.parse::<Timespan>().unwrap_err().to_string();
            assert!(error.contains(&format!("\"{text}\"")) && error.contains("1h30m"), "{error}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for milliseconds in [0, 1, 250, 60_000, 5_400_000, 86_400_000, 1_234_567_890, u64::MAX] {
            let span = Timespan::from_millis(milliseconds);
            assert_eq!(span.to_string().parse(), Ok(span), "{span}");
        }
        assert_eq!(Timespan::from_secs(5_400).to_string(), "1h30m");
    }
}
