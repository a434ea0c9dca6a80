//! The columns that say whose a row is: metric, labels, label columns, series id.

use std::sync::Arc;

use parquet::errors::ParquetError;
use parquet::schema::types::SchemaDescriptor;
use promarchive_model::{SeriesLabels, labels_text, series_id};

use super::run_column::{Chunk, RunColumn};
use crate::schema::LabelColumns;

/// Key columns of a row group.
#[derive(Debug)]
pub(super) struct KeyColumns {
    metric: RunColumn<Arc<str>>,
    labels: RunColumn<Arc<str>>,
    label_columns: Vec<(String, RunColumn<Arc<str>>)>,
    series_id: RunColumn<i64>,
    current: Key,
}

/// The key of one series.
#[derive(Debug)]
struct Key {
    metric: Arc<str>,
    labels: Arc<str>,
    label_columns: Vec<Option<Arc<str>>>,
    series_id: i64,
}

impl KeyColumns {
    /// `schema` is the file's: the key columns are its first.
    pub(super) fn new(schema: &SchemaDescriptor, label_columns: &LabelColumns) -> Self {
        let label_columns: Vec<_> = (2..)
            .zip(label_columns.names())
            .map(|(at, name)| (name.clone(), RunColumn::new(schema.column(at))))
            .collect();
        Self {
            metric: RunColumn::new(schema.column(0)),
            labels: RunColumn::new(schema.column(1)),
            series_id: RunColumn::new(schema.column(2 + label_columns.len())),
            label_columns,
            current: Key { metric: "".into(), labels: "{}".into(), label_columns: Vec::new(), series_id: 0 },
        }
    }

    /// How many columns there are.
    pub(super) fn len(&self) -> usize {
        self.label_columns.len() + 3
    }

    /// The rows that follow belong to this series. Returns the bytes that its label set takes in dictionaries.
    pub(super) fn start(&mut self, labels: impl SeriesLabels) -> usize {
        let text = labels_text(labels.pairs());
        let value = |column: &str| labels.pairs().find(|(name, _)| *name == column).map(|(_, value)| value);
        let before = &self.current.label_columns;
        // The same value as in the series before is the same text in memory.
        let share = |at: usize, new: Option<&str>| match before.get(at) {
            Some(old) if old.as_deref() == new => old.clone(),
            _ => new.map(Arc::from),
        };
        let label_columns: Vec<_> =
            self.label_columns.iter().enumerate().map(|(at, (name, _))| share(at, value(name))).collect();
        let metric =
            if *self.current.metric == *labels.metric() { self.current.metric.clone() } else { labels.metric().into() };
        let series_id = series_id(&metric, &text);
        let bytes = text.len() + label_columns.iter().flatten().map(|value: &Arc<str>| value.len()).sum::<usize>();
        self.current = Key { metric, labels: text.into(), label_columns, series_id };
        bytes
    }

    /// Metric of the current series.
    pub(super) fn metric(&self) -> &str {
        &self.current.metric
    }

    /// Appends rows of the current series.
    pub(super) fn append(&mut self, rows: usize) {
        self.metric.append(Some(&self.current.metric), rows);
        self.labels.append(Some(&self.current.labels), rows);
        for ((_, column), value) in self.label_columns.iter_mut().zip(&self.current.label_columns) {
            column.append(value.as_ref(), rows);
        }
        self.series_id.append(Some(&self.current.series_id), rows);
    }

    /// The columns of the row group, in the order of the schema; starts anew.
    pub(super) fn finish(&mut self) -> Result<Vec<Chunk>, ParquetError> {
        let mut chunks = vec![self.metric.finish(true)?, self.labels.finish(false)?];
        for (_, column) in &mut self.label_columns {
            chunks.push(column.finish(false)?);
        }
        chunks.push(self.series_id.finish(false)?);
        Ok(chunks)
    }
}
