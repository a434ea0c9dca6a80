//! Delta's actions as JSON lines (PROTOCOL.md, "Actions"), for the protocols that are written here: see [`super::protocol`].

use serde_json::{Map, Value, json};

use crate::file::ORIGIN_TAG;
use crate::log::protocol::TableProtocol;
use crate::log::{CHECKSUM_TAG, Commit, CommitKind, DataFile, FileStats};
use crate::schema::DATE;

/// Longest text kept whole in statistics, in bytes.
const MAX_STATS_TEXT: usize = 128;

/// A later version. The same commit gives the same bytes.
pub(super) fn commit(commit: &Commit) -> String {
    let data_change = commit.kind.changes_data();
    let mut actions = vec![info(commit)];
    if let Some((writer, position)) = commit.transaction() {
        let transaction = json!({"appId": writer.to_string(), "version": position, "lastUpdated": commit.time});
        actions.push(json!({"txn": transaction}));
    }
    if commit.kind == CommitKind::Upgrade {
        actions.push(json!({"protocol": TableProtocol::NEW.action()}));
    }
    actions.extend(commit.remove.iter().map(|file| remove(file, data_change, commit.time)));
    actions.extend(commit.add.iter().map(|file| add(file, data_change)));
    lines(&actions)
}

/// What the commits are called that carry no transaction.
pub(super) const REWRITE: &str = "OPTIMIZE";
pub(super) const DELETE: &str = "DELETE";
pub(super) const UPGRADE: &str = "UPGRADE PROTOCOL";
/// What this program calls itself, before its version.
pub(super) const ENGINE: &str = "promarchive/";

fn info(commit: &Commit) -> Value {
    let (operation, parameters) = match commit.kind {
        CommitKind::Append { .. } if commit.remove.is_empty() => ("WRITE", json!({"mode": "Append"})),
        CommitKind::Append { .. } => ("WRITE", json!({"mode": "Overwrite"})),
        CommitKind::Rewrite => (REWRITE, json!({})),
        CommitKind::Delete => (DELETE, json!({})),
        CommitKind::Upgrade => (UPGRADE, json!({"newProtocol": TableProtocol::NEW.action().to_string()})),
    };
    commit_info(commit.time, operation, parameters)
}

pub(super) fn lines(actions: &[Value]) -> String {
    actions.iter().map(|action| format!("{action}\n")).collect()
}

pub(super) fn commit_info(time: i64, operation: &str, parameters: Value) -> Value {
    json!({"commitInfo": {
        "timestamp": time,
        "operation": operation,
        "operationParameters": parameters,
        "engineInfo": format!("{ENGINE}{}", env!("CARGO_PKG_VERSION")),
    }})
}

fn add(file: &DataFile, data_change: bool) -> Value {
    json!({"add": {
        "path": file.path,
        "partitionValues": {DATE: file.date.to_string()},
        "size": file.size,
        "modificationTime": file.modification_time,
        "dataChange": data_change,
        "stats": file.stats.as_ref().map(|stats| stats_json(stats).to_string()),
        "tags": tags(file),
    }})
}

/// What only this program knows of a file.
fn tags(file: &DataFile) -> Value {
    let mut tags = Map::from_iter([(ORIGIN_TAG.to_owned(), json!(file.origin.to_string()))]);
    if let Some(checksum) = file.checksum {
        tags.insert(CHECKSUM_TAG.to_owned(), json!(format!("{checksum:032x}")));
    }
    Value::Object(tags)
}

/// The checksum out of its tag; none if it is not written as this program writes it.
pub(super) fn parse_checksum(tag: &str) -> Option<u128> {
    u128::from_str_radix(tag, 16).ok().filter(|checksum| format!("{checksum:032x}") == tag)
}

fn remove(file: &DataFile, data_change: bool, time: i64) -> Value {
    json!({"remove": {
        "path": file.path,
        "deletionTimestamp": time,
        "dataChange": data_change,
        "extendedFileMetadata": true,
        "partitionValues": {DATE: file.date.to_string()},
        "size": file.size,
    }})
}

/// Statistics as Delta wants them. A long text is cut so that it stays a bound. A column always has both bounds: deltalake, and so pandas,
/// takes a bound that is not there for null, and then finds no row of the file by a filter.
fn stats_json(stats: &FileStats) -> Value {
    let metric = stats.metric.as_ref().map(|(min, max)| ("metric", json!(lower_bound(min)), json!(upper_bound(max))));
    let timestamp =
        stats.timestamp.map(|(min, max)| ("timestamp", json!(iso_timestamp(min)), json!(iso_timestamp(max))));
    let [mut mins, mut maxs, mut nulls] = [(); 3].map(|()| Map::new());
    for (column, min, max) in metric.into_iter().chain(timestamp) {
        mins.insert(column.to_owned(), min);
        maxs.insert(column.to_owned(), max);
        nulls.insert(column.to_owned(), json!(0));
    }
    json!({"numRecords": stats.rows, "minValues": mins, "maxValues": maxs, "nullCount": nulls})
}

/// Statistics out of Delta's text; `None` when there are none to read.
pub(super) fn parse_stats(text: &str) -> Option<FileStats> {
    let stats: Value = serde_json::from_str(text).ok()?;
    let bound = |side: &str, column: &str| stats.get(side)?.get(column)?.as_str().map(str::to_owned);
    let metric = bound("minValues", "metric").zip(bound("maxValues", "metric"));
    let timestamp = bound("minValues", "timestamp").zip(bound("maxValues", "timestamp"));
    Some(FileStats {
        rows: stats.get("numRecords")?.as_u64()?,
        metric,
        timestamp: timestamp.and_then(|(min, max)| Some((parse_iso(&min)?, parse_iso(&max)?))),
    })
}

fn cut(text: &str) -> &str {
    let mut end = MAX_STATS_TEXT.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

fn lower_bound(text: &str) -> &str {
    cut(text)
}

/// A text that is not smaller, and as short as [`MAX_STATS_TEXT`] allows. It is longer only if the text begins with so many U+10FFFF that
/// no text of that length is larger: then it ends where a character can be raised, and is the whole text if none can.
fn upper_bound(text: &str) -> String {
    let prefix = cut(text);
    if prefix.len() == text.len() {
        return text.to_owned();
    }
    let raised = |at: usize, character: char| {
        let mut bound = text.get(..at).unwrap_or_default().to_owned();
        bound.push(successor(character)?);
        Some(bound)
    };
    // The last character of the prefix that has a successor is raised; what follows it is dropped.
    let inside = prefix.char_indices().rev().find_map(|(at, character)| raised(at, character));
    let bound = inside.or_else(|| text.char_indices().find_map(|(at, character)| raised(at, character)));
    bound.unwrap_or_else(|| text.to_owned())
}

/// The next character; surrogates are none.
fn successor(character: char) -> Option<char> {
    (character..=char::MAX).nth(1)
}

fn iso_timestamp(ms: i64) -> String {
    let time = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000)
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    let (date, hour, minute, second) = (time.date(), time.hour(), time.minute(), time.second());
    let (year, month, day, millisecond) = (date.year(), u8::from(date.month()), date.day(), time.millisecond());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z")
}

fn parse_iso(text: &str) -> Option<i64> {
    let time = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stats_round_trip() {
        let stats =
            FileStats { rows: 3, metric: Some(("a".into(), "b".into())), timestamp: Some((-1, 1_763_000_000_123)) };
        assert_eq!(parse_stats(&stats_json(&stats).to_string()), Some(stats));
    }

    /// Names of characters at the edges of UTF-8 and of the cut, long and short.
    fn names() -> impl Strategy<Value = String> {
        let character =
            prop::sample::select(vec!['a', 'é', '\u{D7FF}', '\u{E000}', '\u{FFFF}', '\u{10000}', char::MAX]);
        let runs = prop::collection::vec((character, 1..80_usize), 1..4);
        runs.prop_map(|runs| {
            runs.into_iter().flat_map(|(character, times)| std::iter::repeat_n(character, times)).collect()
        })
    }

    proptest! {
        #[test]
        fn a_column_has_both_bounds(one in names(), other in names(), time in any::<i32>()) {
            let (min, max) = if one <= other { (one, other) } else { (other, one) };
            let stats = FileStats {
                rows: 3,
                metric: Some((min.clone(), max.clone())),
                timestamp: Some((time.into(), i64::from(time) + 1)),
            };
            let json = stats_json(&stats);
            for side in ["minValues", "maxValues", "nullCount"] {
                prop_assert_eq!(json[side].as_object().unwrap().keys().collect::<Vec<_>>(), ["metric", "timestamp"]);
            }
            let read = parse_stats(&json.to_string()).unwrap();
            prop_assert_eq!(read.timestamp, stats.timestamp);
            let (lower, upper) = read.metric.unwrap();
            prop_assert!(lower <= min && max <= upper, "{lower:?} {upper:?}");
            prop_assert!(lower.len() <= MAX_STATS_TEXT);
            let short = upper.len() < MAX_STATS_TEXT + 8;
            prop_assert!(short || cut(&max).chars().all(|character| character == char::MAX), "{max:?}");
            prop_assert!(upper.len() <= max.len() + 4, "{upper:?}");
        }
    }
}
