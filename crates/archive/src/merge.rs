//! Files with some rows replaced: what superseding does to a file that an earlier flush wrote.
//!
//! Both sides are in the order of files, and are read along each other once. In memory are some rows of the file, and those of the winners that fall
//! among them, however many there are of either.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::interleave;
use arrow::datatypes::{SchemaRef, TimestampMillisecondType};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::ChunkReader;

use crate::file::Origin;
use crate::file::decode::{Batches, DecodeFileError, Text, open_file, open_groups};
use crate::file::encode::{EncodeError, mark_doubles_for_every_reader, writer_properties};
use crate::file::footprint::read_footer;
use crate::schema::{LabelColumns, Role, Table, arrow_schema};

/// Why a file could not be written again.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// The file, or the winners, cannot be read.
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

/// Writes a file again. Row groups and the order of rows stay.
pub struct Rewriter<R> {
    old: OldRows<R>,
    /// Rows of the file that are not written yet.
    open: Option<OpenBatch>,
    writer: ArrowWriter<Vec<u8>>,
    replaced: u64,
    at_end: bool,
}

impl<R> fmt::Debug for Rewriter<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rewriter of {:?}", self.old)
    }
}

impl<R: ChunkReader + Clone + 'static> Rewriter<R> {
    /// Of a file of this origin, which stays.
    pub fn new(table: Table, label_columns: &LabelColumns, origin: &Origin, file: R) -> Result<Self, RewriteError> {
        let properties = writer_properties(table, label_columns, origin)?;
        let options = ArrowWriterOptions::new().with_skip_arrow_metadata(true).with_properties(properties);
        let writer = ArrowWriter::try_new_with_options(Vec::new(), arrow_schema(table, label_columns), options)?;
        Ok(Self { old: OldRows::new(table, label_columns, file)?, open: None, writer, replaced: 0, at_end: false })
    }

    /// Whether all rows of the file have been passed: no winner finds a place any more.
    pub fn is_at_end(&self) -> bool {
        self.at_end
    }

    /// Puts rows in the place of those that have the same key. They come as a file, and files come in the order of their rows. `used` is told
    /// which of the rows, by number, have found their place.
    pub fn winners(&mut self, rows: Bytes, mut used: impl FnMut(usize)) -> Result<(), RewriteError> {
        let mut first = 0;
        for batch in open_file(self.old.table, &self.old.label_columns, rows, None)? {
            let batch = batch?;
            self.batch(&batch, |row| used(first + row))?;
            first += batch.num_rows();
        }
        Ok(())
    }

    fn batch(&mut self, winners: &RecordBatch, mut used: impl FnMut(usize)) -> Result<(), RewriteError> {
        let mut row = 0;
        while row < winners.num_rows() {
            let mut open = match self.open.take() {
                Some(open) => open,
                None => match self.old.next(&mut self.writer)? {
                    Some(batch) => OpenBatch::new(batch),
                    None => {
                        self.at_end = true;
                        return Ok(());
                    }
                },
            };
            row = open.advance(winners, row, |winner| {
                used(winner);
                self.replaced += 1;
            })?;
            if open.is_done() {
                self.writer.write(&open.patched(&self.old.is_value)?)?;
            } else {
                self.open = Some(open);
            }
        }
        Ok(())
    }

    /// The new file; none if there was no row to replace.
    pub fn finish(mut self) -> Result<Option<Vec<u8>>, RewriteError> {
        if self.replaced == 0 {
            return Ok(None);
        }
        if let Some(mut open) = self.open.take() {
            open.keep_rest();
            self.writer.write(&open.patched(&self.old.is_value)?)?;
        }
        while let Some(batch) = self.old.next(&mut self.writer)? {
            self.writer.write(&batch)?;
        }
        let mut file = self.writer.into_inner()?;
        mark_doubles_for_every_reader(&mut file).map_err(EncodeError::from)?;
        Ok(Some(file))
    }
}

/// The rows of a file, a batch at a time.
struct OldRows<R> {
    table: Table,
    label_columns: LabelColumns,
    file: R,
    footer: Arc<ParquetMetaData>,
    group: usize,
    batches: Option<Batches<R>>,
    /// By column, whether winners bring another value. The others say which row it is.
    is_value: Vec<bool>,
}

impl<R> fmt::Debug for OldRows<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at row group {}", self.table.name(), self.group)
    }
}

impl<R: ChunkReader + Clone + 'static> OldRows<R> {
    fn new(table: Table, label_columns: &LabelColumns, file: R) -> Result<Self, RewriteError> {
        let footer = read_footer(&file).map_err(DecodeFileError::from)?;
        let schema: SchemaRef = arrow_schema(table, label_columns);
        let is_value = |name: &str| {
            table.descriptor().columns.iter().any(|column| column.name == name && column.role == Role::Value)
        };
        let is_value = schema.fields().iter().map(|field| is_value(field.name())).collect();
        let label_columns = label_columns.clone();
        Ok(Self { table, label_columns, file, footer, group: 0, batches: None, is_value })
    }

    /// The next rows. A row group of `writer` ends where one of the file does.
    fn next(&mut self, writer: &mut ArrowWriter<Vec<u8>>) -> Result<Option<RecordBatch>, RewriteError> {
        loop {
            if let Some(batch) = self.batches.as_mut().and_then(Iterator::next) {
                return Ok(Some(batch?));
            }
            if self.batches.take().is_some() {
                writer.flush()?;
            }
            if self.group >= self.footer.num_row_groups() {
                return Ok(None);
            }
            let (file, footer) = (self.file.clone(), self.footer.clone());
            self.batches = Some(open_groups(self.table, &self.label_columns, file, footer, Some(self.group))?);
            self.group += 1;
        }
    }
}

/// Rows of the file, and which rows come in their place.
struct OpenBatch {
    old: RecordBatch,
    /// The winners that have a row in this batch.
    winners: Vec<RecordBatch>,
    /// What each row becomes, so far: 0 and its number if it stays, or the place of its winners, from 1, and the row there.
    rows: Vec<(usize, usize)>,
}

impl OpenBatch {
    fn new(old: RecordBatch) -> Self {
        Self { rows: Vec::with_capacity(old.num_rows()), old, winners: Vec::new() }
    }

    fn is_done(&self) -> bool {
        self.rows.len() >= self.old.num_rows()
    }

    fn keep_rest(&mut self) {
        self.rows.extend((self.rows.len()..self.old.num_rows()).map(|row| (0, row)));
    }

    /// Goes on with winners from `row` until one of both sides ends; the first winner that is still to come.
    fn advance(
        &mut self,
        winners: &RecordBatch,
        mut row: usize,
        mut used: impl FnMut(usize),
    ) -> Result<usize, DecodeFileError> {
        let mut order = KeyOrder::new(&self.old, winners)?;
        let mut has_winner = false;
        while self.rows.len() < self.old.num_rows() && row < winners.num_rows() {
            let old = self.rows.len();
            match order.compare(old, row) {
                Ordering::Less => self.rows.push((0, old)),
                Ordering::Greater => row += 1,
                Ordering::Equal => {
                    used(row);
                    has_winner = true;
                    self.rows.push((self.winners.len() + 1, row));
                    row += 1;
                }
            }
        }
        if has_winner {
            self.winners.push(winners.clone());
        }
        Ok(row)
    }

    fn patched(self, is_value: &[bool]) -> Result<RecordBatch, RewriteError> {
        if self.winners.is_empty() {
            return Ok(self.old);
        }
        let column = |(at, is_value): (usize, &bool)| -> Result<ArrayRef, arrow::error::ArrowError> {
            let old = self.old.column(at);
            if !is_value {
                return Ok(old.clone());
            }
            let winners = self.winners.iter().map(|winners| winners.column(at).as_ref());
            let sources: Vec<&dyn Array> = std::iter::once(old.as_ref()).chain(winners).collect();
            interleave(&sources, &self.rows)
        };
        let columns = is_value.iter().enumerate().map(column).collect::<Result<Vec<_>, _>>()?;
        Ok(RecordBatch::try_new(self.old.schema(), columns)?)
    }
}

/// The order of files between rows of two batches. That of their series is remembered: many rows of one follow each other.
struct KeyOrder<'a> {
    old: Keys<'a>,
    winners: Keys<'a>,
    series: Option<([Option<usize>; 4], Ordering)>,
}

struct Keys<'a> {
    metric: Text<'a>,
    labels: Text<'a>,
    timestamps: &'a arrow::array::PrimitiveArray<TimestampMillisecondType>,
}

impl<'a> Keys<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self, DecodeFileError> {
        let timestamps = batch.column_by_name("timestamp").and_then(|column| column.as_primitive_opt());
        Ok(Self {
            metric: Text::of(batch, "metric")?,
            labels: Text::of(batch, "labels")?,
            timestamps: timestamps.ok_or(DecodeFileError::Column("timestamp"))?,
        })
    }
}

impl<'a> KeyOrder<'a> {
    fn new(old: &'a RecordBatch, winners: &'a RecordBatch) -> Result<Self, DecodeFileError> {
        Ok(Self { old: Keys::of(old)?, winners: Keys::of(winners)?, series: None })
    }

    /// Compares a row of the file with a winner. Both are there.
    fn compare(&mut self, old: usize, winner: usize) -> Ordering {
        let (left, right) = (&self.old, &self.winners);
        let keys = [left.metric.key(old), left.labels.key(old), right.metric.key(winner), right.labels.key(winner)];
        let series = match self.series {
            Some((known, order)) if known == keys => order,
            _ => {
                let metrics = left.metric.get(old).cmp(&right.metric.get(winner));
                metrics.then_with(|| left.labels.get(old).cmp(&right.labels.get(winner)))
            }
        };
        self.series = Some((keys, series));
        series.then_with(|| left.timestamps.value(old).cmp(&right.timestamps.value(winner)))
    }
}
