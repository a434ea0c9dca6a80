//! Metadata: a row for each (metric, type, unit, help) and day on which it was received.
//!
//! Senders repeat metadata with every request or every minute. What is known for the day is not kept again.

use std::collections::{BTreeMap, HashSet};

use promarchive_model::{Date, MetadataRow};
use promarchive_wire::{Metadata, MetricKind};
use xxhash_rust::xxh3::Xxh3;

/// The row for metadata received at a time, milliseconds since the epoch.
pub(super) fn row(metadata: &Metadata<'_>, received_at: i64) -> MetadataRow {
    MetadataRow {
        metric: metadata.metric.to_owned(),
        kind: metadata.kind.as_str(),
        unit: metadata.unit.to_owned(),
        help: metadata.help.to_owned(),
        received_at,
    }
}

/// What is known for the last days.
#[derive(Debug, Default)]
pub struct MetadataIndex {
    days: BTreeMap<Date, HashSet<u128>>,
}

impl MetadataIndex {
    /// Days remembered: senders retry past midnight.
    pub const DAYS: usize = 2;
    /// Rows remembered of a day. When more have come, all of them are forgotten, and may be kept once more: no sender has so many, and nothing
    /// counts these rows.
    pub const MOST_OF_A_DAY: usize = if cfg!(test) { 2_000 } else { 1 << 18 };

    /// Whether a row is known for its day.
    pub fn contains(&self, metadata: &Metadata<'_>, received_at: i64) -> bool {
        let hash = hash(metadata.metric, metadata.kind, metadata.unit, metadata.help);
        self.days.get(&Date::of(received_at)).is_some_and(|known| known.contains(&hash))
    }

    /// Makes a row known; false if it was.
    pub fn insert(&mut self, row: &MetadataRow) -> bool {
        let kind = MetricKind::ALL.into_iter().find(|kind| kind.as_str() == row.kind).unwrap_or(MetricKind::Unknown);
        let hash = hash(&row.metric, kind, &row.unit, &row.help);
        let known = self.days.entry(Date::of(row.received_at)).or_default();
        let new = !known.contains(&hash);
        if new && known.len() >= Self::MOST_OF_A_DAY {
            known.clear();
        }
        known.insert(hash);
        while self.days.len() > Self::DAYS {
            self.days.pop_first();
        }
        new
    }

    /// Bytes held, estimated.
    pub fn heap_bytes(&self) -> usize {
        self.days.values().map(|known| known.capacity() * (size_of::<u128>() + 1)).sum()
    }
}

/// 128 bits, so that equality of hashes can stand for equality of texts.
fn hash(metric: &str, kind: MetricKind, unit: &str, help: &str) -> u128 {
    let mut hash = Xxh3::new();
    for text in [metric, kind.as_str(), unit, help] {
        hash.update(&(text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    hash.digest128()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_metadata_takes_a_bounded_part_of_memory() {
        let mut index = MetadataIndex::default();
        let row = |at: usize| MetadataRow {
            metric: format!("metric_{at}"),
            kind: "gauge",
            unit: String::new(),
            help: String::new(),
            received_at: 1,
        };
        assert!(index.insert(&row(0)) && !index.insert(&row(0)));
        let most = MetadataIndex::MOST_OF_A_DAY;
        (1..10 * most).for_each(|at| assert!(index.insert(&row(at)), "{at}"));
        assert!(!index.insert(&row(10 * most - 1)), "the last ones are known");
        assert!(index.heap_bytes() <= 2 * most * 17 * 2, "{} bytes", index.heap_bytes());
    }
}
