//! One Parquet file → rows: what the encoder wrote, read back bit for bit.
//!
//! Used where rows of committed files are needed again: the horizon after a restart, superseding, verification.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

pub use arrow::array::RecordBatch;
use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, StringArray};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, TimestampMillisecondType};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::ChunkReader;
use promarchive_model::{Counts, Histogram, ResetHint, STALE_NAN, Sample, Span};

use super::footprint::{FootprintError, batch_rows, read_footer};
use crate::schema::{LabelColumns, Table, arrow_schema};

/// A committed file cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum DecodeFileError {
    /// Not Parquet, or damaged.
    #[error("not readable as Parquet: {0}")]
    Parquet(#[from] ParquetError),
    /// Damaged further in.
    #[error("not readable as Parquet: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    /// It would take more memory than any file that this program writes.
    #[error(transparent)]
    Footprint(#[from] FootprintError),
    /// A column is missing or of another type.
    #[error("column {0} is missing or has the wrong type")]
    Column(&'static str),
}

/// Opens a file of a table; `row_group` limits it to one. A row group that would take too much memory is refused.
pub fn open_file<R: ChunkReader + Clone + 'static>(
    table: Table,
    label_columns: &LabelColumns,
    file: R,
    row_group: Option<usize>,
) -> Result<Batches<R>, DecodeFileError> {
    let footer = read_footer(&file)?;
    open_groups(table, label_columns, file, footer, row_group)
}

/// The same for a file whose footer has been read; the footer must not hold a page index, whose places would not be checked.
pub fn open_groups<R: ChunkReader + Clone + 'static>(
    table: Table,
    label_columns: &LabelColumns,
    file: R,
    footer: Arc<ParquetMetaData>,
    row_group: Option<usize>,
) -> Result<Batches<R>, DecodeFileError> {
    let options = ArrowReaderOptions::new().with_schema(arrow_schema(table, label_columns));
    let metadata = ArrowReaderMetadata::try_new(footer, options)?;
    let groups = match row_group {
        Some(group) => group..group.saturating_add(1),
        None => 0..metadata.metadata().num_row_groups(),
    };
    Ok(Batches { file, metadata, columns: ProjectionMask::all(), most_rows: usize::MAX, groups, open: None })
}

/// The rows of a file, some at a time, and never of two row groups together: a dictionary belongs to one, and what is read across two is
/// copied out of both.
pub struct Batches<R> {
    file: R,
    metadata: ArrowReaderMetadata,
    columns: ProjectionMask,
    most_rows: usize,
    groups: Range<usize>,
    open: Option<ParquetRecordBatchReader>,
}

impl<R> fmt::Debug for Batches<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batches of row groups {:?}", self.groups)
    }
}

impl<R: ChunkReader + Clone + 'static> Batches<R> {
    /// Only these columns, by name, and at most so many rows at a time.
    pub fn of_columns(mut self, names: &[&str], most_rows: usize) -> Self {
        self.columns = ProjectionMask::columns(self.metadata.parquet_schema(), names.iter().copied());
        self.most_rows = most_rows;
        self
    }

    fn open(&self, group: usize) -> Result<ParquetRecordBatchReader, DecodeFileError> {
        let rows = batch_rows(&self.file, self.metadata.metadata(), group)?.min(self.most_rows);
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.clone(), self.metadata.clone());
        let builder = builder.with_projection(self.columns.clone()).with_row_groups(vec![group]);
        Ok(builder.with_batch_size(rows).build()?)
    }
}

impl<R: ChunkReader + Clone + 'static> Iterator for Batches<R> {
    type Item = Result<RecordBatch, DecodeFileError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(batch) = self.open.as_mut().and_then(Iterator::next) {
                return Some(batch.map_err(DecodeFileError::from));
            }
            let group = self.groups.next()?;
            match self.open(group) {
                Ok(opened) => self.open = Some(opened),
                Err(error) => {
                    self.groups = 0..0;
                    self.open = None;
                    return Some(Err(error));
                }
            }
        }
    }
}

/// A dictionary-encoded text column of a batch, which tells cheaply whether two rows have the same text.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    keys: &'a DictionaryArray<Int32Type>,
    values: &'a StringArray,
}

impl<'a> Text<'a> {
    /// The text column of this name.
    pub fn of(batch: &'a RecordBatch, name: &'static str) -> Result<Self, DecodeFileError> {
        Self::find(batch, name).ok_or(DecodeFileError::Column(name))
    }

    /// The text column of this name; none if there is none.
    pub fn find(batch: &'a RecordBatch, name: &str) -> Option<Self> {
        let keys = batch.column_by_name(name)?.as_dictionary_opt::<Int32Type>()?;
        Some(Self { keys, values: keys.values().as_string_opt::<i32>()? })
    }

    /// The text of a row; none for null, and behind the last row.
    pub fn get(&self, row: usize) -> Option<&'a str> {
        let key = self.key(row)?;
        (key < self.values.len()).then(|| self.values.value(key))
    }

    /// Which entry of the dictionary a row has: equal keys in one batch are equal texts; different keys may be equal, too.
    pub fn key(&self, row: usize) -> Option<usize> {
        if row < self.keys.len() { self.keys.key(row) } else { None }
    }
}

fn column<'a>(batch: &'a RecordBatch, name: &'static str) -> Result<&'a ArrayRef, DecodeFileError> {
    batch.column_by_name(name).ok_or(DecodeFileError::Column(name))
}

macro_rules! primitive {
    ($batch:expr, $name:literal, $type:ty) => {
        column($batch, $name)?.as_primitive_opt::<$type>().ok_or(DecodeFileError::Column($name))?
    };
}

/// Calls `each` with metric, labels and sample of every row.
pub fn for_each_sample(batch: &RecordBatch, mut each: impl FnMut(&str, &str, Sample)) -> Result<(), DecodeFileError> {
    let (metric, labels) = (Text::of(batch, "metric")?, Text::of(batch, "labels")?);
    let timestamps = primitive!(batch, "timestamp", TimestampMillisecondType);
    let starts = primitive!(batch, "start_timestamp", TimestampMillisecondType);
    let values = primitive!(batch, "value", Float64Type);
    for row in 0..batch.num_rows() {
        let sample = Sample {
            timestamp: timestamps.value(row),
            start_timestamp: if starts.is_valid(row) { starts.value(row) } else { 0 },
            value: if values.is_valid(row) { values.value(row).to_bits() } else { STALE_NAN },
        };
        each(metric.get(row).unwrap_or_default(), labels.get(row).unwrap_or_default(), sample);
    }
    Ok(())
}

/// Calls `each` with metric, labels and histogram of every row.
pub fn for_each_histogram(
    batch: &RecordBatch,
    mut each: impl FnMut(&str, &str, Histogram),
) -> Result<(), DecodeFileError> {
    let (metric, labels) = (Text::of(batch, "metric")?, Text::of(batch, "labels")?);
    for row in 0..batch.num_rows() {
        each(metric.get(row).unwrap_or_default(), labels.get(row).unwrap_or_default(), histogram(batch, row)?);
    }
    Ok(())
}

fn histogram(batch: &RecordBatch, row: usize) -> Result<Histogram, DecodeFileError> {
    let starts = primitive!(batch, "start_timestamp", TimestampMillisecondType);
    let sums = primitive!(batch, "sum", Float64Type);
    let counts = primitive!(batch, "count", Int64Type);
    let double = |name: &'static str| -> Result<u64, DecodeFileError> {
        let values = column(batch, name)?.as_primitive_opt::<Float64Type>().ok_or(DecodeFileError::Column(name))?;
        Ok(values.value(row).to_bits())
    };
    let counts = if counts.is_valid(row) {
        Counts::Integer {
            count: counts.value(row).cast_unsigned(),
            zero: primitive!(batch, "zero_count", Int64Type).value(row).cast_unsigned(),
            positive: longs(batch, "positive_counts", row)?,
            negative: longs(batch, "negative_counts", row)?,
        }
    } else {
        Counts::Float {
            count: double("float_count")?,
            zero: double("float_zero_count")?,
            positive: doubles(batch, "float_positive_counts", row)?,
            negative: doubles(batch, "float_negative_counts", row)?,
        }
    };
    let hint = Text::of(batch, "reset_hint")?.get(row).unwrap_or_default();
    let hints = [ResetHint::Unknown, ResetHint::Yes, ResetHint::No, ResetHint::Gauge];
    Ok(Histogram {
        timestamp: primitive!(batch, "timestamp", TimestampMillisecondType).value(row),
        start_timestamp: if starts.is_valid(row) { starts.value(row) } else { 0 },
        schema: primitive!(batch, "schema", Int32Type).value(row),
        zero_threshold: double("zero_threshold")?,
        sum: if sums.is_valid(row) { sums.value(row).to_bits() } else { STALE_NAN },
        reset_hint: hints
            .into_iter()
            .find(|known| known.as_str() == hint)
            .ok_or(DecodeFileError::Column("reset_hint"))?,
        counts,
        positive_spans: spans(batch, "positive_spans", row)?,
        negative_spans: spans(batch, "negative_spans", row)?,
        custom_values: doubles(batch, "custom_values", row)?,
    })
}

/// The items of a list; none for null.
fn items(batch: &RecordBatch, name: &'static str, row: usize) -> Result<Option<ArrayRef>, DecodeFileError> {
    let lists = column(batch, name)?.as_list_opt::<i32>().ok_or(DecodeFileError::Column(name))?;
    Ok(lists.is_valid(row).then(|| lists.value(row)))
}

fn longs(batch: &RecordBatch, name: &'static str, row: usize) -> Result<Vec<i64>, DecodeFileError> {
    let Some(items) = items(batch, name, row)? else { return Ok(Vec::new()) };
    Ok(items.as_primitive_opt::<Int64Type>().ok_or(DecodeFileError::Column(name))?.values().to_vec())
}

fn doubles(batch: &RecordBatch, name: &'static str, row: usize) -> Result<Vec<u64>, DecodeFileError> {
    let Some(items) = items(batch, name, row)? else { return Ok(Vec::new()) };
    let values = items.as_primitive_opt::<Float64Type>().ok_or(DecodeFileError::Column(name))?;
    Ok(values.values().iter().map(|value| value.to_bits()).collect())
}

fn spans(batch: &RecordBatch, name: &'static str, row: usize) -> Result<Vec<Span>, DecodeFileError> {
    let Some(items) = items(batch, name, row)? else { return Ok(Vec::new()) };
    let fields = items.as_struct_opt().ok_or(DecodeFileError::Column(name))?;
    let field = |field: &str| {
        let values = fields.column_by_name(field).and_then(|values| values.as_primitive_opt::<Int32Type>());
        values.map(|values| values.values().to_vec()).ok_or(DecodeFileError::Column(name))
    };
    let (offsets, lengths) = (field("offset")?, field("length")?);
    Ok(offsets
        .into_iter()
        .zip(lengths)
        .map(|(offset, length)| Span { offset, length: length.cast_unsigned() })
        .collect())
}

/// Calls `each` with metric, labels, timestamp, value's bits and own labels of every exemplar.
pub fn for_each_exemplar(
    batch: &RecordBatch,
    mut each: impl FnMut(&str, &str, i64, u64, &str),
) -> Result<(), DecodeFileError> {
    let (metric, labels) = (Text::of(batch, "metric")?, Text::of(batch, "labels")?);
    let own = Text::of(batch, "exemplar_labels")?;
    let timestamps = primitive!(batch, "timestamp", TimestampMillisecondType);
    let values = primitive!(batch, "value", Float64Type);
    for row in 0..batch.num_rows() {
        each(
            metric.get(row).unwrap_or_default(),
            labels.get(row).unwrap_or_default(),
            timestamps.value(row),
            values.value(row).to_bits(),
            own.get(row).unwrap_or_default(),
        );
    }
    Ok(())
}

/// Calls `each` with metric, type, unit, help and timestamp of every row of metadata.
pub fn for_each_metadata(
    batch: &RecordBatch,
    mut each: impl FnMut(&str, &str, &str, &str, i64),
) -> Result<(), DecodeFileError> {
    let [metric, kind] = [Text::of(batch, "metric")?, Text::of(batch, "type")?];
    let [unit, help] = [Text::of(batch, "unit")?, Text::of(batch, "help")?];
    let timestamps = primitive!(batch, "timestamp", TimestampMillisecondType);
    for row in 0..batch.num_rows() {
        each(
            metric.get(row).unwrap_or_default(),
            kind.get(row).unwrap_or_default(),
            unit.get(row).unwrap_or_default(),
            help.get(row).unwrap_or_default(),
            timestamps.value(row),
        );
    }
    Ok(())
}
