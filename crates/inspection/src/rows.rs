//! Checks of single rows, and of each against the one before it.

use std::collections::{BTreeMap, HashSet};

use arrow::array::{Array, AsArray, PrimitiveArray, RecordBatch};
use arrow::datatypes::{ArrowPrimitiveType, Float64Type, Int64Type, TimestampMillisecondType};
use promarchive_archive::file::decode::{DecodeFileError, Text, for_each_histogram};
use promarchive_archive::schema::{LabelColumns, Raw, Table};
use promarchive_model::{DAY_MS, Date, METRIC_NAME, STALE_NAN, labels_text, parse_labels_text, series_id};

use super::duplicates::exemplar_hash;
use super::finding::{Check, Finding};

/// Smallest and largest of what was seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Bounds {
    pub(super) metric: Option<(String, String)>,
    pub(super) timestamp: Option<(i64, i64)>,
}

impl Bounds {
    fn add_metric(&mut self, metric: &str) {
        match &mut self.metric {
            None => self.metric = Some((metric.to_owned(), metric.to_owned())),
            Some((min, _)) if metric < min.as_str() => *min = metric.to_owned(),
            Some((_, max)) if metric > max.as_str() => *max = metric.to_owned(),
            Some(_) => {}
        }
    }

    fn add_timestamp(&mut self, timestamp: i64) {
        let (min, max) = self.timestamp.unwrap_or((timestamp, timestamp));
        self.timestamp = Some((min.min(timestamp), max.max(timestamp)));
    }

    pub(super) fn add(&mut self, other: &Self) {
        for metric in other.metric.iter().flat_map(|(min, max)| [min, max]) {
            self.add_metric(metric);
        }
        for timestamp in other.timestamp.into_iter().flat_map(|(min, max)| [min, max]) {
            self.add_timestamp(timestamp);
        }
    }
}

/// Rows on which one check failed.
#[derive(Debug)]
struct Failures {
    count: u64,
    first: u64,
    last: u64,
    detail: String,
}

/// The series that rows belong to, and what its other columns must say.
#[derive(Debug, Default)]
struct Series {
    metric: String,
    labels: String,
    id: i64,
    /// None where `labels` cannot be read.
    columns: Option<Vec<Option<String>>>,
}

/// The checks of one file. Rows come in their order.
pub(super) struct RowChecks<'a> {
    table: Table,
    label_columns: &'a LabelColumns,
    /// First millisecond of the partition's day.
    day: i64,
    row: u64,
    series: Option<Series>,
    last_timestamp: i64,
    /// Whether the label columns of the last row were as they must be.
    label_columns_right: bool,
    /// Hashes of value and labels of the exemplars at the last timestamp.
    exemplars: HashSet<u128>,
    failures: BTreeMap<Check, Failures>,
    group: Bounds,
}

impl<'a> RowChecks<'a> {
    pub(super) fn new(table: Table, label_columns: &'a LabelColumns, date: Date) -> Self {
        Self {
            table,
            label_columns,
            day: date.start_ms(),
            row: 0,
            series: None,
            last_timestamp: 0,
            label_columns_right: false,
            exemplars: HashSet::new(),
            failures: BTreeMap::new(),
            group: Bounds::default(),
        }
    }

    /// Rows so far.
    pub(super) fn rows(&self) -> u64 {
        self.row
    }

    /// Whether rows came in order, so that they can be merged with those of other files.
    pub(super) fn sorted(&self) -> bool {
        !self.failures.contains_key(&Check::RowOrder)
    }

    pub(super) fn end_group(&mut self) -> Bounds {
        std::mem::take(&mut self.group)
    }

    /// One finding for each check that failed, at its first row.
    pub(super) fn findings(self) -> impl Iterator<Item = Finding> {
        self.failures.into_iter().map(|(check, Failures { count, first, detail, .. })| {
            let others = if count > 1 { format!(" ({count} rows in all)") } else { String::new() };
            Finding::new(check, format!("{detail}{others}")).row(first)
        })
    }

    fn fail(&mut self, check: Check, detail: impl FnOnce() -> String) {
        let row = self.row;
        match self.failures.get_mut(&check) {
            Some(failures) if failures.last == row => {}
            Some(failures) => (failures.count, failures.last) = (failures.count + 1, row),
            None => drop(self.failures.insert(check, Failures { count: 1, first: row, last: row, detail: detail() })),
        }
    }

    pub(super) fn batch(&mut self, batch: &RecordBatch) -> Result<(), DecodeFileError> {
        let columns = KeyColumns::of(batch, self.table, self.label_columns)?;
        let first = self.row;
        let mut entries = None;
        for row in 0..batch.num_rows() {
            let these = (columns.metric.key(row), columns.labels.and_then(|labels| labels.key(row)));
            let (metric, labels) = columns.series(row);
            let same = entries == Some(these)
                || self.series.as_ref().is_some_and(|s| s.metric == metric && s.labels == labels);
            entries = Some(these);
            let timestamp = columns.timestamps.value(row);
            if same {
                self.same_series(batch, row, timestamp);
            } else {
                self.next_series(metric, labels);
                self.exemplars.clear();
                self.exemplar(batch, row);
            }
            self.last_timestamp = timestamp;
            self.group.add_timestamp(timestamp);
            if !(self.day..self.day.saturating_add(DAY_MS)).contains(&timestamp) {
                let day = Date::of(timestamp);
                self.fail(Check::Partition, || format!("timestamp {timestamp} ms is in day {day}"));
            }
            self.check_id(&columns, row);
            // Mostly the row before says the same, in the same entries of the dictionaries.
            self.label_columns_right =
                same && self.label_columns_right && columns.repeats(row) || self.check_label_columns(&columns, row);
            self.row += 1;
        }
        self.row = first;
        match self.table.raw() {
            Some(Raw::Samples) => self.samples(batch)?,
            Some(Raw::Histograms) => self.histograms(batch)?,
            Some(Raw::Exemplars | Raw::Metadata) | None => {}
        }
        self.row = first + batch.num_rows() as u64;
        Ok(())
    }

    fn same_series(&mut self, batch: &RecordBatch, row: usize, timestamp: i64) {
        let before = self.last_timestamp;
        match self.table.raw() {
            Some(Raw::Metadata) => return,
            _ if timestamp < before => {
                self.fail(Check::RowOrder, || format!("timestamp {timestamp} ms follows {before} ms"))
            }
            Some(Raw::Samples | Raw::Histograms) if timestamp == before => {
                self.fail(Check::DuplicateInFlush, || format!("the same series has timestamp {timestamp} ms twice"));
            }
            _ => {}
        }
        if timestamp != before {
            self.exemplars.clear();
        }
        self.exemplar(batch, row);
    }

    fn exemplar(&mut self, batch: &RecordBatch, row: usize) {
        if self.table != Table::EXEMPLARS {
            return;
        }
        let identity = exemplar_hash(batch, row);
        if !self.exemplars.insert(identity) {
            self.fail(Check::DuplicateInFlush, || "the same series has the same exemplar twice".into());
        }
    }

    fn next_series(&mut self, metric: &str, labels: &str) {
        self.group.add_metric(metric);
        let out_of_order = self.series.as_ref().is_some_and(|last| (&*last.metric, &*last.labels) > (metric, labels));
        if out_of_order {
            self.fail(Check::RowOrder, || format!("{metric}{labels} follows a series that must come after it"));
        }
        let mut series = Series { metric: metric.to_owned(), labels: labels.to_owned(), id: 0, columns: None };
        if self.table.has_series() {
            series.id = series_id(metric, labels);
            series.columns = self.labels(labels);
        }
        if metric.is_empty() {
            self.fail(Check::Labels, || "the metric name is missing".into());
        }
        self.series = Some(series);
    }

    /// Checks the canonical text, and returns what the label columns must say.
    fn labels(&mut self, text: &str) -> Option<Vec<Option<String>>> {
        let mut labels = match parse_labels_text(text) {
            Ok(labels) => labels,
            Err(e) => {
                self.fail(Check::Labels, || format!("labels {text:?}: {e}"));
                return None;
            }
        };
        let canonical = labels_text(labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        if canonical != text {
            self.fail(Check::Labels, || {
                format!("labels {text:?} are not canonical; the canonical form is {canonical:?}")
            });
        } else if labels.contains_key(METRIC_NAME)
            || labels.iter().any(|(name, value)| name.is_empty() || value.is_empty())
        {
            self.fail(Check::Labels, || format!("labels {text:?} contain the metric name, or an empty name or value"));
        }
        Some(self.label_columns.names().iter().map(|name| labels.remove(name)).collect())
    }

    fn check_id(&mut self, columns: &KeyColumns<'_>, row: usize) {
        let Some((found, expected)) = columns.ids.map(|ids| ids.value(row)).zip(self.series.as_ref().map(|s| s.id))
        else {
            return;
        };
        if found != expected {
            self.fail(Check::SeriesId, || format!("series_id is {found}, but must be {expected}"));
        }
    }

    fn check_label_columns(&mut self, columns: &KeyColumns<'_>, row: usize) -> bool {
        let Some(Series { columns: Some(expected), labels, .. }) = &self.series else { return true };
        let mut label_columns = self.label_columns.names().iter().zip(&columns.label_columns).zip(expected);
        let wrong = label_columns.find(|((_, column), expected)| column.get(row) != expected.as_deref());
        let Some(((name, column), _)) = wrong else { return true };
        let detail = format!("column {name} is {:?}, but labels are {labels}", column.get(row));
        self.fail(Check::LabelColumn, || detail);
        false
    }

    fn samples(&mut self, batch: &RecordBatch) -> Result<(), DecodeFileError> {
        let values = numbers::<Float64Type>(batch, "value")?;
        self.stale(batch, values)?;
        Ok(())
    }

    /// A stale marker is a null, never a value, and says so. Leaves the row where it was.
    fn stale(&mut self, batch: &RecordBatch, values: &PrimitiveArray<Float64Type>) -> Result<(), DecodeFileError> {
        let stale = batch.column_by_name("stale").and_then(|column| column.as_boolean_opt());
        let stale = stale.ok_or(DecodeFileError::Column("stale"))?;
        let first = self.row;
        for row in 0..batch.num_rows() {
            if stale.value(row) != values.is_null(row) {
                let (marked, null) = (stale.value(row), values.is_null(row));
                self.fail(Check::Stale, || {
                    format!("stale is {marked}, but the value is {}null", if null { "" } else { "not " })
                });
            } else if values.is_valid(row) && values.value(row).to_bits() == STALE_NAN {
                self.fail(Check::Stale, || "the value is the NaN of a stale marker, but must be null".into());
            }
            self.row += 1;
        }
        self.row = first;
        Ok(())
    }

    fn histograms(&mut self, batch: &RecordBatch) -> Result<(), DecodeFileError> {
        self.stale(batch, numbers::<Float64Type>(batch, "sum")?)?;
        let column = |name| batch.column_by_name(name).ok_or(DecodeFileError::Column(name));
        let kind = |names: [&'static str; 4]| -> Result<Vec<_>, _> { names.into_iter().map(column).collect() };
        let integers = kind(["count", "zero_count", "positive_counts", "negative_counts"])?;
        let floats = kind(["float_count", "float_zero_count", "float_positive_counts", "float_negative_counts"])?;
        let first = self.row;
        for row in 0..batch.num_rows() {
            let [integers, floats] =
                [&integers, &floats].map(|kind| kind.iter().filter(|column| column.is_valid(row)).count());
            if !matches!((integers, floats), (4, 0) | (0, 4)) {
                self.fail(Check::Histogram, || {
                    "the histogram has both integer and float counts, or counts are missing".into()
                });
            }
            self.row += 1;
        }
        self.row = first;
        let decoded = for_each_histogram(batch, |_, _, histogram| {
            if let Err(invalid) = histogram.validate() {
                self.fail(Check::Histogram, || invalid.to_string());
            }
            self.row += 1;
        });
        if let Err(e) = decoded {
            self.fail(Check::Histogram, || e.to_string());
        }
        Ok(())
    }
}

/// The columns that say whose a row is.
struct KeyColumns<'a> {
    metric: Text<'a>,
    labels: Option<Text<'a>>,
    label_columns: Vec<Text<'a>>,
    ids: Option<&'a PrimitiveArray<Int64Type>>,
    timestamps: &'a PrimitiveArray<TimestampMillisecondType>,
}

impl<'a> KeyColumns<'a> {
    fn of(batch: &'a RecordBatch, table: Table, label_columns: &LabelColumns) -> Result<Self, DecodeFileError> {
        let text = |name: &'static str| Text::of(batch, name);
        let series = table.has_series();
        let names = label_columns.names().iter().filter(|_| series);
        let label_columns = names.map(|name| Text::find(batch, name).ok_or(DecodeFileError::Column("of a label")));
        Ok(Self {
            metric: text("metric")?,
            labels: series.then(|| text("labels")).transpose()?,
            label_columns: label_columns.collect::<Result<_, _>>()?,
            ids: series.then(|| numbers(batch, "series_id")).transpose()?,
            timestamps: numbers(batch, "timestamp")?,
        })
    }

    /// Whether the label columns have the entries of the row before, in the same batch.
    fn repeats(&self, row: usize) -> bool {
        row.checked_sub(1)
            .is_some_and(|before| self.label_columns.iter().all(|column| column.key(row) == column.key(before)))
    }

    fn series(&self, row: usize) -> (&'a str, &'a str) {
        let labels = self.labels.and_then(|labels| labels.get(row));
        (self.metric.get(row).unwrap_or_default(), labels.unwrap_or_default())
    }
}

fn numbers<'a, T: ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    name: &'static str,
) -> Result<&'a PrimitiveArray<T>, DecodeFileError> {
    batch.column_by_name(name).and_then(|column| column.as_primitive_opt::<T>()).ok_or(DecodeFileError::Column(name))
}
