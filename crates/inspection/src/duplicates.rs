//! Rows that stand in more than one file of a day, found by merging the files' keys.
//!
//! Memory is bounded by the files that are open at once ([`MAX_OPEN`], see [`super::windows`]): of each a batch of keys and the
//! dictionaries of one row group (label sets of some 8 MiB, and never more than a file may take to be decoded), and the keys of one series of one day.

use std::collections::{BTreeMap, HashSet};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, TimestampMillisecondType};
use promarchive_archive::file::Origin;
use promarchive_archive::file::decode::{Batches, DecodeFileError, open_file};
use promarchive_archive::schema::{LabelColumns, Table};
use promarchive_archive::store::StoredFile;
use promarchive_model::WriterId;
use xxhash_rust::xxh3::Xxh3;

use super::finding::{Check, Finding};
use super::reading;
use super::text_column::TextColumn;
use super::windows::{Window, windows};

/// Files open at once, unless more overlap at one moment.
pub(super) const MAX_OPEN: usize = 16;
/// Rows of each file in memory.
const BATCH_ROWS: usize = 8 * 1024;

/// Which flush wrote a file.
pub(super) type Flush = (WriterId, u64);

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
    fn flush(&self) -> Option<Flush> {
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
    /// A finding for each pair of files. `horizon` are the flushes that must not have rows in common.
    pub(super) fn findings(&self, files: &[Candidate], horizon: &HashSet<Flush>) -> Vec<Finding> {
        let finding = |(&(a, b), (count, example)): (&(usize, usize), &(u64, String))| {
            let (a, b) = (files.get(a)?, files.get(b)?);
            let check = match (a.flush(), b.flush()) {
                (Some(a), Some(b)) if a == b => Check::DuplicateInFlush,
                (Some(a), Some(b)) if horizon.contains(&a) && horizon.contains(&b) => Check::DuplicateInHorizon,
                _ => Check::Duplicate,
            };
            let message = format!("{count} rows are in {} as well, such as {example}", b.path);
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
    let mut cursors = Vec::new();
    for &place in &window.files {
        let Some(candidate) = files.get(place) else { continue };
        cursors.push((place, Cursor::open(table, label_columns, candidate)?));
    }
    while let Some(series) = cursors.iter().filter_map(|(_, cursor)| cursor.series()).min().map(Series::from) {
        let mut keys: Vec<(Key, usize)> = Vec::new();
        let holders =
            cursors.iter().filter(|(_, cursor)| cursor.series().is_some_and(|found| series.is(found))).count();
        for (place, cursor) in &mut cursors {
            if cursor.series().is_none_or(|found| !series.is(found)) {
                continue;
            }
            // Alone in its file: passed over.
            cursor.take_series(&series, |key| {
                if holders > 1 && window.contains(key.timestamp) {
                    keys.push((key, *place));
                }
            })?;
        }
        keys.sort_unstable();
        keys.dedup();
        for same in keys.chunk_by(|(a, _), (b, _)| a == b).filter(|same| same.len() > 1) {
            let places: Vec<usize> = same.iter().map(|&(_, place)| place).collect();
            let timestamp = same.first().map_or(0, |(key, _)| key.timestamp);
            duplicates.add(&places, || format!("{}{} at {timestamp} ms", series.metric, series.labels));
        }
    }
    Ok(())
}

/// What makes a row of a series the same as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    timestamp: i64,
    /// Of an exemplar, hash of its value and labels.
    content: u128,
}

struct Series {
    metric: String,
    labels: String,
}

impl From<(&str, &str)> for Series {
    fn from((metric, labels): (&str, &str)) -> Self {
        Self { metric: metric.to_owned(), labels: labels.to_owned() }
    }
}

impl Series {
    fn is(&self, (metric, labels): (&str, &str)) -> bool {
        self.metric == metric && self.labels == labels
    }
}

/// A place in a file.
struct Cursor {
    table: Table,
    path: String,
    reader: Batches<StoredFile>,
    batch: Option<RecordBatch>,
    row: usize,
}

impl Cursor {
    fn open(table: Table, label_columns: &LabelColumns, candidate: &Candidate) -> Result<Self, DecodeFileError> {
        let path = candidate.path.clone();
        let _step = reading(table.name(), &path);
        let names: &[&str] = match table {
            Table::Exemplars => &["metric", "labels", "timestamp", "value", "exemplar_labels"],
            _ => &["metric", "labels", "timestamp"],
        };
        let reader = open_file(table, label_columns, candidate.file.clone(), None)?.of_columns(names, BATCH_ROWS);
        let mut cursor = Self { table, path, reader, batch: None, row: 0 };
        cursor.next_batch()?;
        Ok(cursor)
    }

    fn next_batch(&mut self) -> Result<(), DecodeFileError> {
        self.row = 0;
        let _step = reading(self.table.name(), &self.path);
        loop {
            self.batch = self.reader.next().transpose()?;
            if self.batch.as_ref().is_none_or(|batch| batch.num_rows() > 0) {
                return Ok(());
            }
        }
    }

    /// The series of the current row; none at the end.
    fn series(&self) -> Option<(&str, &str)> {
        let batch = self.batch.as_ref()?;
        let text = |name| TextColumn::of(batch, name).and_then(|column| column.get(self.row)).unwrap_or_default();
        Some((text("metric"), text("labels")))
    }

    /// Hands out the keys of the current series' rows, and goes on to the next series.
    fn take_series(&mut self, series: &Series, mut each: impl FnMut(Key)) -> Result<(), DecodeFileError> {
        while self.series().is_some_and(|found| series.is(found)) {
            let Some(batch) = &self.batch else { return Ok(()) };
            let text = |name| TextColumn::of(batch, name).ok_or(DecodeFileError::Column(name));
            let (metric, labels) = (text("metric")?, text("labels")?);
            let timestamps =
                batch.column_by_name("timestamp").and_then(|c| c.as_primitive_opt::<TimestampMillisecondType>());
            let timestamps = timestamps.ok_or(DecodeFileError::Column("timestamp"))?;
            let entry = |row| (metric.key(row), labels.key(row));
            let first = entry(self.row);
            // One entry of the dictionaries is one series; the loop around sees to a series with several.
            while self.row < batch.num_rows() && entry(self.row) == first {
                let content = if self.table == Table::Exemplars { exemplar_hash(batch, self.row) } else { 0 };
                each(Key { timestamp: timestamps.value(self.row), content });
                self.row += 1;
            }
            if self.row >= batch.num_rows() {
                self.next_batch()?;
            }
        }
        Ok(())
    }
}

/// Which exemplar of its series and timestamp a row is: a hash of value and labels.
pub(super) fn exemplar_hash(batch: &RecordBatch, row: usize) -> u128 {
    let values = batch.column_by_name("value").and_then(|values| values.as_primitive_opt::<Float64Type>());
    let labels = TextColumn::of(batch, "exemplar_labels").and_then(|labels| labels.get(row));
    let mut hash = Xxh3::new();
    hash.update(&values.map_or(0, |values| values.value(row).to_bits()).to_le_bytes());
    hash.update(labels.unwrap_or_default().as_bytes());
    hash.digest128()
}
