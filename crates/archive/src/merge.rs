//! Files with some rows replaced: what superseding does to a file that an earlier flush wrote.

use std::collections::{HashMap, HashSet};

use arrow::array::{AsArray, RecordBatch, UInt64Array};
use arrow::compute::{concat_batches, interleave_record_batch, take_record_batch};
use arrow::datatypes::TimestampMillisecondType;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::file::reader::ChunkReader;
use promarchive_model::WriterId;

use crate::file::decode::{DecodeFileError, Text, open_file, open_groups};
use crate::file::encode::{EncodeError, mark_doubles_for_every_reader, writer_properties};
use crate::file::footprint::read_footer;
use crate::file::{EncodedFile, Origin};
use crate::log::FileStats;
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

/// Whose WAL, and the last position of it in a flush.
type Flush = (WriterId, u64);

/// Rows that take the place of others, which some flushes have written, in whatever files those are by now.
#[derive(Debug)]
pub struct Replacement {
    table: Table,
    label_columns: LabelColumns,
    rows: RecordBatch,
    /// The flush of the row that each of them replaces, as a place in `flushes`.
    replaces: Vec<usize>,
    flushes: Vec<Flush>,
    places: Places,
    /// Which of the rows have found their place.
    used: Vec<bool>,
}

impl Replacement {
    /// The rows of files, each for what one flush has written. No place is in two of them.
    pub fn read(
        table: Table,
        label_columns: &LabelColumns,
        files: impl IntoIterator<Item = (Flush, Bytes)>,
    ) -> Result<Self, RewriteError> {
        let (mut batches, mut replaces, mut flushes) = (Vec::new(), Vec::new(), Vec::new());
        for (flush, file) in files {
            for batch in open_file(table, label_columns, file, None)? {
                let batch = batch?;
                replaces.extend(std::iter::repeat_n(flushes.len(), batch.num_rows()));
                batches.push(batch);
            }
            flushes.push(flush);
        }
        let rows = concat_batches(&arrow_schema(table, label_columns), &batches)?;
        let (places, used) = (places(&rows)?, vec![false; rows.num_rows()]);
        Ok(Self { table, label_columns: label_columns.clone(), rows, replaces, flushes, places, used })
    }

    /// Whether a file of this origin may have rows to replace.
    pub fn concerns(&self, origin: &Origin) -> bool {
        self.flushes.iter().any(|&(writer, position)| origin.has(writer, position))
    }

    /// A file of this origin with each row replaced that has the same place as one of those for its flushes; order and row groups stay, and so does
    /// its origin. None if there is no such row.
    pub fn rewrite<R: ChunkReader + Clone + 'static>(
        &mut self,
        origin: &Origin,
        file: R,
    ) -> Result<Option<Vec<u8>>, RewriteError> {
        let concerned: Vec<bool> =
            self.flushes.iter().map(|&(writer, position)| origin.has(writer, position)).collect();
        let footer = read_footer(&file).map_err(DecodeFileError::from)?;
        let mut writer = self.writer(origin)?;
        let mut replaced = 0;
        for group in 0..footer.num_row_groups() {
            for batch in open_groups(self.table, &self.label_columns, file.clone(), footer.clone(), Some(group))? {
                let (batch, rows) = self.patch(&batch?, &concerned)?;
                writer.write(&batch)?;
                replaced += rows;
            }
            writer.flush()?;
        }
        let rewritten = finish(writer)?;
        Ok((replaced > 0).then_some(rewritten))
    }

    /// How many rows have found their place.
    pub fn used(&self) -> u64 {
        self.used.iter().filter(|&&used| used).count() as u64
    }

    /// The flushes of which no row was there to be replaced.
    pub fn gone(&self) -> Vec<Flush> {
        let found: HashSet<usize> =
            self.used.iter().zip(&self.replaces).filter(|(used, _)| **used).map(|(_, &flush)| flush).collect();
        self.flushes.iter().enumerate().filter(|(at, _)| !found.contains(at)).map(|(_, &flush)| flush).collect()
    }

    /// The rows that have found no place, as a file of this origin; none if all have.
    pub fn rest(&self, origin: &Origin) -> Result<Option<EncodedFile>, RewriteError> {
        let mut unused = Vec::new();
        let mut stats = FileStats { rows: 0, metric: None, timestamp: None };
        for_each_place(&self.rows, |row, metric, labels, timestamp| {
            if self.used.get(row) == Some(&false) {
                stats.widen(metric, timestamp);
                unused.push((metric.to_owned(), labels.to_owned(), timestamp, row as u64));
            }
        })?;
        if unused.is_empty() {
            return Ok(None);
        }
        unused.sort_unstable();
        let rows = UInt64Array::from_iter_values(unused.into_iter().map(|(.., row)| row));
        let mut writer = self.writer(origin)?;
        writer.write(&take_record_batch(&self.rows, &rows)?)?;
        Ok(Some(EncodedFile { bytes: finish(writer)?, stats }))
    }

    fn writer(&self, origin: &Origin) -> Result<ArrowWriter<Vec<u8>>, RewriteError> {
        let properties = writer_properties(self.table, &self.label_columns, origin)?;
        let options = ArrowWriterOptions::new().with_skip_arrow_metadata(true).with_properties(properties);
        Ok(ArrowWriter::try_new_with_options(Vec::new(), arrow_schema(self.table, &self.label_columns), options)?)
    }

    /// The batch with its rows replaced, and how many are, by the rows for `concerned` flushes.
    fn patch(&mut self, batch: &RecordBatch, concerned: &[bool]) -> Result<(RecordBatch, usize), RewriteError> {
        let mut rows = Vec::with_capacity(batch.num_rows());
        let Self { places, used, replaces, .. } = self;
        let is_concerned = |row: usize| replaces.get(row).and_then(|&flush| concerned.get(flush)) == Some(&true);
        for_each_place(batch, |row, metric, labels, timestamp| {
            let replaced = places.get(&(metric.to_owned(), labels.to_owned())).and_then(|rows| rows.get(&timestamp));
            let replaced = replaced.copied().filter(|&new| is_concerned(new));
            if let Some(used) = replaced.and_then(|new| used.get_mut(new)) {
                *used = true;
            }
            rows.push(replaced.map_or((0, row), |new| (1, new)));
        })?;
        let replaced = rows.iter().filter(|&&(from, _)| from == 1).count();
        Ok((interleave_record_batch(&[batch, &self.rows], &rows)?, replaced))
    }
}

fn finish(writer: ArrowWriter<Vec<u8>>) -> Result<Vec<u8>, RewriteError> {
    let mut file = writer.into_inner()?;
    mark_doubles_for_every_reader(&mut file).map_err(EncodeError::from)?;
    Ok(file)
}

fn places(batch: &RecordBatch) -> Result<Places, DecodeFileError> {
    let mut places = Places::new();
    for_each_place(batch, |row, metric, labels, timestamp| {
        places.entry((metric.to_owned(), labels.to_owned())).or_default().insert(timestamp, row);
    })?;
    Ok(places)
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
