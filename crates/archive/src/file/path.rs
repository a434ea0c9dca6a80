//! Names inside a table, built and parsed in one place.
//!
//! A data file is `date=2026-11-22/part-<position>-<writer>-<nonce>.parquet`: the position (20 digits) up to which the
//! flush that wrote it had taken the writer's WAL, the writer's id (32 hex digits), and a nonce (16 hex digits) that makes two
//! attempts at one flush two files. Names of files that other programs wrote parse as foreign.

use std::fmt;

use promarchive_model::{Date, WriterId};

/// Where a data file that a flush wrote stands, relative to its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DataFilePath {
    /// Partition.
    pub date: Date,
    /// Last WAL position in the flush.
    pub position: u64,
    /// Whose WAL.
    pub writer: WriterId,
    /// Distinguishes attempts.
    pub nonce: u64,
}

impl fmt::Display for DataFilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { date, position, writer, nonce } = self;
        write!(f, "date={date}/part-{position:020}-{writer}-{nonce:016x}.parquet")
    }
}

impl DataFilePath {
    /// The parts of a path that a flush made; `None` for any other.
    pub fn parse(path: &str) -> Option<Self> {
        let (_, name) = path.split_once('/')?;
        let mut parts = name.strip_prefix("part-")?.strip_suffix(".parquet")?.split('-');
        let parsed = Self {
            date: date_of(path)?,
            position: parts.next()?.parse().ok()?,
            writer: parts.next()?.parse().ok()?,
            nonce: u64::from_str_radix(parts.next()?, 16).ok()?,
        };
        (parts.next().is_none() && parsed.to_string() == path).then_some(parsed)
    }
}

/// The partition that a path is in, whoever named the file.
pub fn date_of(path: &str) -> Option<Date> {
    let text = path.split_once('/')?.0.strip_prefix("date=")?;
    let day = time::Date::parse(text, time::macros::format_description!("[year]-[month]-[day]")).ok()?;
    let date = Date::of(day.midnight().assume_utc().unix_timestamp().checked_mul(1000)?);
    (date.to_string() == text).then_some(date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_file_paths_round_trip() {
        for date in [Date(0), Date(-1), Date(20_779), Date(-25_567), Date(2_932_896)] {
            let path = DataFilePath { date, position: 42, writer: WriterId::from_u128(0xabc), nonce: 7 };
            assert_eq!(DataFilePath::parse(&path.to_string()), Some(path), "{path}");
        }
        assert_eq!(DataFilePath::parse("date=2026-11-22/part-0-0-0.parquet"), None);
        assert_eq!(DataFilePath::parse("part-00000.snappy.parquet"), None);
        assert_eq!(date_of("date=2026-11-22/whatever.parquet"), Some(Date(20_779)));
        for path in ["part-0.parquet", "date=2026-11-2/x", "date=__HIVE_DEFAULT_PARTITION__/x", "day=2026-11-22/x"] {
            assert_eq!(date_of(path), None, "{path}");
        }
    }
}
