//! The tables as a reader finds them, each file held against what it promises about itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use promarchive_archive::file::decode::{
    Text, for_each_exemplar, for_each_histogram, for_each_metadata, for_each_sample, open_file,
};
use promarchive_archive::file::{DataFilePath, Origin};
use promarchive_archive::log::DataFile;
use promarchive_archive::schema::{LabelColumns, Raw, Table};
use promarchive_model::{Date, FlushId, parse_labels_text};
use xxhash_rust::xxh3::xxh3_64;

use super::ensure;
use super::rows::{Content, Key, Series};

/// The archive's label columns.
pub(super) const LABEL_COLUMNS: [&str; 2] = ["job", "namespace"];

pub(super) fn label_columns() -> LabelColumns {
    LabelColumns::new(LABEL_COLUMNS.map(str::to_owned).to_vec()).unwrap()
}

pub(super) type Rows = Vec<(Key, Content)>;

/// All rows that the tables hold.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) rows: BTreeMap<Key, Vec<(FlushId, Content)>>,
    /// The flushes that wrote rows of series, and when the first of them were committed.
    pub(super) flushes: BTreeMap<FlushId, i64>,
}

/// What is known of a file whose rows come from several flushes, or that another program has put instead of ours.
pub(super) struct Parts {
    pub(super) rows: BTreeMap<Key, FlushId>,
    /// All its flushes, and when the first rows of each were committed.
    pub(super) flushes: BTreeMap<FlushId, i64>,
}

/// What the file says of itself, by which those are known. A file that is written again for superseded rows says the same.
fn key_of(table: Table, file: &DataFile) -> (Table, String) {
    match file.origin {
        Origin::Foreign => (table, file.path.clone()),
        _ => (table, format!("{} {}", file.date, file.origin)),
    }
}

/// Files that were read already; none ever changes.
#[derive(Default)]
pub(super) struct Reader {
    known: HashMap<(Table, String), Arc<Rows>>,
    parts: HashMap<(Table, String), Parts>,
}

impl Reader {
    /// Takes note of where the rows of a file come from.
    pub(super) fn note_parts(&mut self, table: Table, file: &DataFile, parts: Parts) {
        self.parts.insert(key_of(table, file), parts);
    }

    /// Adds one file to the contents.
    pub(super) fn add(
        &mut self,
        contents: &mut Contents,
        table: Table,
        file: &DataFile,
        bytes: Bytes,
    ) -> Result<(), String> {
        let rows = self.rows(table, file, bytes)?;
        for (key, flush, content) in self.attributed(table, file, &rows)? {
            contents.rows.entry(key.clone()).or_default().push((flush, content.clone()));
        }
        if table.has_series() {
            for (flush, time) in self.flushes(table, file) {
                let committed = contents.flushes.entry(flush).or_insert(time);
                *committed = (*committed).min(time);
            }
        }
        Ok(())
    }

    pub(super) fn rows(&mut self, table: Table, file: &DataFile, bytes: Bytes) -> Result<Arc<Rows>, String> {
        let key = (table, file.path.clone());
        if let Some(rows) = self.known.get(&key) {
            return Ok(rows.clone());
        }
        let rows = read(table, file, bytes).map_err(|wrong| format!("{} {}: {wrong}", table.name(), file.path))?;
        let rows = Arc::new(rows);
        self.known.insert(key, rows.clone());
        Ok(rows)
    }

    /// The rows of a file, with the flush that wrote each of them.
    pub(super) fn attributed<'a>(
        &self,
        table: Table,
        file: &DataFile,
        rows: &'a Rows,
    ) -> Result<Vec<(&'a Key, FlushId, &'a Content)>, String> {
        let newest = file.origin.flushes().first().copied();
        if let Origin::Flush { writer, position } = file.origin {
            let named = DataFilePath::parse(&file.path).map(|path| (path.writer, path.position));
            ensure!(named == Some((writer, position)), "{}: its origin is {}", file.path, file.origin);
        }
        let parts = self.parts.get(&key_of(table, file));
        let attribute = |(key, content): &'a (Key, Content)| {
            let known = parts.and_then(|parts| parts.rows.get(key)).copied();
            let flush = known.or(newest).ok_or_else(|| format!("{}: no flush is its origin", file.path))?;
            Ok((key, flush, content))
        };
        rows.iter().map(attribute).collect()
    }

    /// The flushes that have rows in a file, and when the first of each were committed.
    pub(super) fn flushes(&self, table: Table, file: &DataFile) -> BTreeMap<FlushId, i64> {
        match self.parts.get(&key_of(table, file)) {
            Some(parts) => parts.flushes.clone(),
            None => file.origin.flushes().into_iter().map(|flush| (flush, file.modification_time)).collect(),
        }
    }
}

/// Reads a file and checks it.
fn read(table: Table, file: &DataFile, bytes: Bytes) -> Result<Rows, String> {
    ensure!(bytes.len() as u64 == file.size, "{} bytes, not {}", bytes.len(), file.size);
    let mut rows = Vec::new();
    for batch in open_file(table, &label_columns(), bytes, None).map_err(|e| e.to_string())? {
        let batch = batch.map_err(|e| e.to_string())?;
        if table.has_series() {
            check_keys(&batch)?;
        }
        read_batch(table, &batch, &mut rows).map_err(|e| e.to_string())?;
    }
    check_order(&rows)?;
    check_stats(file, &rows)?;
    Ok(rows)
}

fn read_batch(
    table: Table,
    batch: &RecordBatch,
    rows: &mut Rows,
) -> Result<(), promarchive_archive::file::decode::DecodeFileError> {
    let series = |metric: &str, labels: &str| (metric.to_owned(), labels.to_owned());
    match table.raw().unwrap() {
        Raw::Samples => for_each_sample(batch, |metric, labels, sample| {
            rows.push((Key::Sample(series(metric, labels), sample.timestamp), Content::Sample(sample)));
        }),
        Raw::Histograms => for_each_histogram(batch, |metric, labels, histogram| {
            rows.push((Key::Histogram(series(metric, labels), histogram.timestamp), Content::Histogram(histogram)));
        }),
        Raw::Exemplars => for_each_exemplar(batch, |metric, labels, timestamp, value, own| {
            rows.push((Key::Exemplar(series(metric, labels), timestamp, value, own.to_owned()), Content::Exemplar));
        }),
        Raw::Metadata => for_each_metadata(batch, |metric, kind, unit, help, received_at| {
            let [metric, kind, unit, help] = [metric, kind, unit, help].map(str::to_owned);
            let day = i64::from(Date::of(received_at).0);
            rows.push((Key::Metadata(day, metric, kind, unit, help), Content::Metadata(received_at)));
        }),
    }
}

/// Label columns and `series_id` follow from metric and labels.
fn check_keys(batch: &RecordBatch) -> Result<(), String> {
    let text = |name: &'static str| Text::of(batch, name).map_err(|e| e.to_string());
    let (metrics, labels) = (text("metric")?, text("labels")?);
    let ids =
        batch.column_by_name("series_id").and_then(|ids| ids.as_primitive_opt::<Int64Type>()).ok_or("no series_id")?;
    for row in 0..batch.num_rows() {
        let (metric, labels) = (metrics.get(row).ok_or("no metric")?, labels.get(row).ok_or("no labels")?);
        let hashed = xxh3_64(format!("{metric}\0{labels}").as_bytes()) as i64;
        ensure!(ids.value(row) == hashed, "series_id {} of {metric}{labels}", ids.value(row));
        let parsed = parse_labels_text(labels).map_err(|e| e.to_string())?;
        for column in LABEL_COLUMNS {
            let (have, want) = (text(column)?.get(row), parsed.get(column).map(String::as_str));
            ensure!(have == want, "{column} is {have:?} in {labels}");
        }
    }
    Ok(())
}

fn series_and_time(row: &(Key, Content)) -> Option<(&Series, i64)> {
    match &row.0 {
        Key::Sample(series, timestamp) | Key::Histogram(series, timestamp) | Key::Exemplar(series, timestamp, ..) => {
            Some((series, *timestamp))
        }
        Key::Metadata(..) => None,
    }
}

fn timestamp(row: &(Key, Content)) -> i64 {
    match &row.1 {
        Content::Metadata(received_at) => *received_at,
        _ => series_and_time(row).map_or(0, |(_, timestamp)| timestamp),
    }
}

fn metric(row: &(Key, Content)) -> &str {
    match &row.0 {
        Key::Metadata(_, metric, ..) => metric,
        Key::Sample((metric, _), _) | Key::Histogram((metric, _), _) | Key::Exemplar((metric, _), ..) => metric,
    }
}

/// Rows sort by the bytes of metric and labels, then by time; a key stands once in a file.
fn check_order(rows: &Rows) -> Result<(), String> {
    for pair in rows.windows(2) {
        let sorted = match (series_and_time(&pair[0]), series_and_time(&pair[1])) {
            (Some(a), Some(b)) => a <= b,
            _ => metric(&pair[0]) <= metric(&pair[1]),
        };
        ensure!(sorted && pair[0].0 != pair[1].0, "{:?} before {:?}", pair[0], pair[1]);
    }
    Ok(())
}

fn check_stats(file: &DataFile, rows: &Rows) -> Result<(), String> {
    let stats = file.stats.as_ref().ok_or("no statistics")?;
    ensure!(!rows.is_empty() && stats.rows == rows.len() as u64, "{} rows, not {}", rows.len(), stats.rows);
    for row in rows {
        let (metric, timestamp) = (metric(row), timestamp(row));
        ensure!(Date::of(timestamp) == file.date, "a row of {timestamp} in {}", file.date);
        let metrics = stats.metric.as_ref().is_some_and(|(min, max)| min.as_str() <= metric && metric <= max.as_str());
        let times = stats.timestamp.is_some_and(|(min, max)| (min..=max).contains(&timestamp));
        ensure!(metrics && times, "{metric} at {timestamp} is outside of {stats:?}");
    }
    Ok(())
}
