//! How far one file has been read.

use std::ops::Range;

use arrow::array::RecordBatch;

use super::SeriesName;
use crate::file::decode::{Batches, DecodeFileError, Text};
use crate::store::StoredFile;

/// A place in a file, between two rows.
pub(super) struct Cursor {
    batches: Batches<StoredFile>,
    batch: Option<RecordBatch>,
    row: usize,
}

impl Cursor {
    /// At the beginning.
    pub(super) fn new(batches: Batches<StoredFile>) -> Result<Self, DecodeFileError> {
        let mut cursor = Self { batches, batch: None, row: 0 };
        cursor.next_batch()?;
        Ok(cursor)
    }

    fn next_batch(&mut self) -> Result<(), DecodeFileError> {
        self.row = 0;
        loop {
            self.batch = self.batches.next().transpose()?;
            if self.batch.as_ref().is_none_or(|batch| batch.num_rows() > 0) {
                return Ok(());
            }
        }
    }

    /// The series of the next row; none at the end.
    pub(super) fn series(&self) -> Option<(&str, &str)> {
        let batch = self.batch.as_ref()?;
        let text = |name| Text::find(batch, name).and_then(|column| column.get(self.row)).unwrap_or_default();
        Some((text("metric"), text("labels")))
    }

    /// Hands out the rows of a series, if they are the next, and goes on behind them.
    pub(super) fn take(
        &mut self,
        series: &SeriesName,
        mut each: impl FnMut(&RecordBatch, Range<usize>),
    ) -> Result<(), DecodeFileError> {
        while self.series().is_some_and(|found| series.is(found)) {
            let Some(batch) = &self.batch else { return Ok(()) };
            let end = self.end(batch)?;
            each(batch, self.row..end);
            self.row = end;
            if self.row >= batch.num_rows() {
                self.next_batch()?;
            }
        }
        Ok(())
    }

    /// Where the rows end that have the same entries of the dictionaries as the next. One entry is one series; a series may have several.
    fn end(&self, batch: &RecordBatch) -> Result<usize, DecodeFileError> {
        let (metric, labels) = (Text::of(batch, "metric")?, Text::find(batch, "labels"));
        let entry = |row| (metric.key(row), labels.and_then(|labels| labels.key(row)));
        let first = entry(self.row);
        let others = self.row + 1..batch.num_rows();
        Ok(others.into_iter().find(|&row| entry(row) != first).unwrap_or(batch.num_rows()))
    }
}
