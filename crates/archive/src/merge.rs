//! Files with some rows replaced: what superseding does to a file that an earlier flush wrote.

use std::collections::HashMap;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::{concat_batches, interleave_record_batch};
use arrow::datatypes::TimestampMillisecondType;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::file::metadata::ParquetMetaDataReader;

use crate::file::Origin;
use crate::file::decode::{DecodeFileError, Text, open_file};
use crate::file::encode::{EncodeError, mark_doubles_for_every_reader, writer_properties};
use crate::schema::{LabelColumns, Table, arrow_schema};

/// Why a file could not be written again.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// The file, or the replacement, cannot be read.
    #[error(transparent)]
    Decode(#[from] DecodeFileError),
    /// The new file cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl From<arrow::error::ArrowError> for RewriteError {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::Decode(error.into())
    }
}

impl From<parquet::errors::ParquetError> for RewriteError {
    fn from(error: parquet::errors::ParquetError) -> Self {
        Self::Decode(error.into())
    }
}

/// Rows by (metric, labels, timestamp).
type Places = HashMap<(String, String), HashMap<i64, usize>>;

/// The file with each row that `replacement` (a file too) has the same place for replaced; order and row groups stay, and so does its origin. None if
/// there is no such row.
pub fn rewrite(
    table: Table,
    label_columns: &LabelColumns,
    origin: &Origin,
    file: Bytes,
    replacement: Bytes,
) -> Result<Option<Vec<u8>>, RewriteError> {
    let schema = arrow_schema(table, label_columns);
    let batches = open_file(table, label_columns, replacement, None)?.collect::<Result<Vec<_>, _>>()?;
    let replacement = concat_batches(&schema, &batches)?;
    let places = places(&replacement)?;
    let groups = ParquetMetaDataReader::new().parse_and_finish(&file)?.num_row_groups();
    let options = ArrowWriterOptions::new().with_skip_arrow_metadata(true).with_properties(writer_properties(
        table,
        label_columns,
        origin,
    )?);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), schema, options)?;
    let mut replaced = 0;
    for group in 0..groups {
        for batch in open_file(table, label_columns, file.clone(), Some(group))? {
            let (batch, rows) = patch(&batch?, &replacement, &places)?;
            writer.write(&batch)?;
            replaced += rows;
        }
        writer.flush()?;
    }
    let mut rewritten = writer.into_inner()?;
    mark_doubles_for_every_reader(&mut rewritten).map_err(EncodeError::from)?;
    Ok((replaced > 0).then_some(rewritten))
}

fn places(batch: &RecordBatch) -> Result<Places, DecodeFileError> {
    let mut places = Places::new();
    for_each_place(batch, |row, metric, labels, timestamp| {
        places.entry((metric.to_owned(), labels.to_owned())).or_default().insert(timestamp, row);
    })?;
    Ok(places)
}

/// The batch with its rows replaced, and how many are.
fn patch(
    batch: &RecordBatch,
    replacement: &RecordBatch,
    places: &Places,
) -> Result<(RecordBatch, usize), RewriteError> {
    let mut rows = Vec::with_capacity(batch.num_rows());
    for_each_place(batch, |row, metric, labels, timestamp| {
        let replaced = places.get(&(metric.to_owned(), labels.to_owned())).and_then(|rows| rows.get(&timestamp));
        rows.push(replaced.map_or((0, row), |&new| (1, new)));
    })?;
    let replaced = rows.iter().filter(|&&(from, _)| from == 1).count();
    Ok((interleave_record_batch(&[batch, replacement], &rows)?, replaced))
}

fn for_each_place(batch: &RecordBatch, mut each: impl FnMut(usize, &str, &str, i64)) -> Result<(), DecodeFileError> {
    let (metric, labels) = (Text::of(batch, "metric")?, Text::of(batch, "labels")?);
    let timestamps = batch.column_by_name("timestamp").and_then(|c| c.as_primitive_opt::<TimestampMillisecondType>());
    let timestamps = timestamps.ok_or(DecodeFileError::Column("timestamp"))?;
    for row in 0..batch.num_rows() {
        each(row, metric.get(row).unwrap_or_default(), labels.get(row).unwrap_or_default(), timestamps.value(row));
    }
    Ok(())
}
