//! Rows that stand in more than one file of a day, found by merging the files' keys.
//!
//! Memory is bounded by the files that are open at once ([`MAX_OPEN`], see [`super::windows`]): of each a batch of keys and the
//! dictionaries of one row group (label sets of some 8 MiB, and never more than a file may take to be decoded), and the keys of one series of one day.

use std::collections::{BTreeMap, HashSet};

use arrow::array::{AsArray, PrimitiveArray, RecordBatch};
use arrow::datatypes::{Float64Type, TimestampMillisecondType};
use promarchive_archive::file::Origin;
use promarchive_archive::file::decode::{DecodeFileError, Text};
use promarchive_archive::scan::{Part, SeriesMerge};
use promarchive_archive::schema::{LabelColumns, Table};
use promarchive_archive::store::StoredFile;
use promarchive_model::{FlushId, WriterId};
use xxhash_rust::xxh3::Xxh3;

use super::finding::{Check, Finding};
use super::windows::{Window, windows};

/// Files open at once, unless more overlap at one moment.
pub(super) const MAX_OPEN: usize = 16;
/// Rows of each file in memory.
const BATCH_ROWS: usize = 8 * 1024;

/// The flushes that were settled against one another, so that no row stands in two of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Horizons(Vec<HashSet<FlushId>>);

impl Horizons {
    /// Of flushes by their times: the last `count`. Where several receivers write to an archive at the same time, it is the last ones of each,
    /// because none of them knows what the others are about to flush.
    pub(super) fn of(flushes: impl IntoIterator<Item = (FlushId, i64)>, count: usize, has_one_receiver: bool) -> Self {
        let mut groups: BTreeMap<Option<WriterId>, Vec<(i64, u64, FlushId)>> = BTreeMap::new();
        for (flush, time) in flushes {
            let group = (!has_one_receiver).then_some(flush.0);
            groups.entry(group).or_default().push((time, flush.1, flush));
        }
        let last = |mut group: Vec<(i64, u64, FlushId)>| {
            group.sort_unstable();
            group.into_iter().rev().take(count).map(|(.., flush)| flush).collect()
        };
        Self(groups.into_values().map(last).collect())
    }

    fn hold_both(&self, a: FlushId, b: FlushId) -> bool {
        self.0.iter().any(|horizon| horizon.contains(&a) && horizon.contains(&b))
    }
}

/// A sorted, readable file of one day.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) path: String,
    pub(super) origin: Origin,
    pub(super) file: StoredFile,
    /// First and last timestamp.
    pub(super) timestamps: (i64, i64),
}

impl Candidate {
    fn flush(&self) -> Option<FlushId> {
        match self.origin {
            Origin::Flush { writer, position } => Some((writer, position)),
            _ => None,
        }
    }
}

/// What is there more than once.
#[derive(Debug, Default)]
pub(super) struct Duplicates {
    /// Rows beyond the first of their kind.
    pub(super) rows: u64,
    /// How many, and one of them, by the files that have them.
    pairs: BTreeMap<(usize, usize), (u64, String)>,
}

/// Looks for rows of one day that stand in several files. Blocks; may panic on files that cannot be read.
pub(super) fn find(
    table: Table,
    label_columns: &LabelColumns,
    files: &[Candidate],
) -> Result<Duplicates, DecodeFileError> {
    let spans: Vec<(i64, i64)> = files.iter().map(|file| file.timestamps).collect();
    let mut duplicates = Duplicates::default();
    for window in windows(&spans, MAX_OPEN) {
        merge(table, label_columns, files, &window, &mut duplicates)?;
    }
    Ok(duplicates)
}

impl Duplicates {
    /// A finding for each pair of files.
    pub(super) fn findings(&self, files: &[Candidate], horizons: &Horizons) -> Vec<Finding> {
        let finding = |(&(a, b), (count, example)): (&(usize, usize), &(u64, String))| {
            let (a, b) = (files.get(a)?, files.get(b)?);
            let check = match (a.flush(), b.flush()) {
                (Some(a), Some(b)) if a == b => Check::DuplicateInFlush,
                (Some(a), Some(b)) if horizons.hold_both(a, b) => Check::DuplicateInHorizon,
                _ => Check::Duplicate,
            };
            let message = format!("{count} rows are also in {}, for example {example}", b.path);
            Some(Finding::new(check, message).file(&a.path))
        };
        self.pairs.iter().filter_map(finding).collect()
    }

    fn add(&mut self, files: &[usize], example: impl Fn() -> String) {
        self.rows += files.len().saturating_sub(1) as u64;
        for (at, &a) in files.iter().enumerate() {
            for &b in files.iter().skip(at + 1) {
                self.pairs.entry((a.min(b), a.max(b))).or_insert_with(|| (0, example())).0 += 1;
            }
        }
    }
}

fn merge(
    table: Table,
    label_columns: &LabelColumns,
    files: &[Candidate],
    window: &Window,
    duplicates: &mut Duplicates,
) -> Result<(), DecodeFileError> {
    let indices: Vec<usize> = window.files.iter().copied().filter(|&index| index < files.len()).collect();
    let open = indices.iter().filter_map(|&index| files.get(index)).map(|candidate| &candidate.file);
    let key: Vec<&str> = table.key().collect();
    let mut merge = SeriesMerge::open(table, label_columns, open, &key, BATCH_ROWS)?;
    loop {
        let mut keys: Vec<(Key, usize)> = Vec::new();
        let series = merge.next_series(|part| {
            // Alone in its file: passed over.
            if let Some(&index) = indices.get(part.file).filter(|_| part.files > 1) {
                let of_window = keys_of(table, &part).filter(|key| window.contains(key.timestamp));
                keys.extend(of_window.map(|key| (key, index)));
            }
        })?;
        let Some(series) = series else { return Ok(()) };
        keys.sort_unstable();
        keys.dedup();
        for same in keys.chunk_by(|(a, _), (b, _)| a == b).filter(|same| same.len() > 1) {
            let indices: Vec<usize> = same.iter().map(|&(_, index)| index).collect();
            let timestamp = same.first().map_or(0, |(key, _)| key.timestamp);
            duplicates.add(&indices, || format!("{}{} at {timestamp} ms", series.metric, series.labels));
        }
    }
}

/// What makes a row of a series the same as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    timestamp: i64,
    /// Of an exemplar, hash of its value and labels.
    content: u128,
}

/// The keys of some rows of one series.
fn keys_of<'a>(table: Table, part: &'a Part<'_>) -> impl Iterator<Item = Key> + 'a {
    let timestamps = part.batch.column_by_name("timestamp");
    let timestamps = timestamps.and_then(|column| column.as_primitive_opt::<TimestampMillisecondType>());
    let key = move |(timestamps, row): (&PrimitiveArray<TimestampMillisecondType>, usize)| Key {
        timestamp: timestamps.value(row),
        content: if table == Table::EXEMPLARS { exemplar_hash(part.batch, row) } else { 0 },
    };
    timestamps.into_iter().flat_map(move |timestamps| part.rows.clone().map(move |row| key((timestamps, row))))
}

/// Which exemplar of its series and timestamp a row is: a hash of value and labels.
pub(super) fn exemplar_hash(batch: &RecordBatch, row: usize) -> u128 {
    let values = batch.column_by_name("value").and_then(|values| values.as_primitive_opt::<Float64Type>());
    let labels = Text::find(batch, "exemplar_labels").and_then(|labels| labels.get(row));
    let mut hash = Xxh3::new();
    hash.update(&values.map_or(0, |values| values.value(row).to_bits()).to_le_bytes());
    hash.update(labels.unwrap_or_default().as_bytes());
    hash.digest128()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flushes_of_one_receiver_are_settled_against_one_another() {
        let [one, other] = [1, 2].map(WriterId::from_u128);
        let flushes = [((one, 1), 10), ((one, 5), 20), ((other, 3), 25), ((one, 9), 30)];
        // Alone, a receiver knows of the flushes before it, whoever made them.
        let alone = Horizons::of(flushes, 2, true);
        assert!(alone.hold_both((other, 3), (one, 9)));
        assert!(!alone.hold_both((one, 5), (one, 9)));
        let several = Horizons::of(flushes, 2, false);
        assert!(several.hold_both((one, 5), (one, 9)));
        assert!(!several.hold_both((other, 3), (one, 9)) && !several.hold_both((one, 1), (one, 9)));
    }
}
