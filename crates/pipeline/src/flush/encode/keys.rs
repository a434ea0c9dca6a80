//! The columns that say whose a row is: metric, labels, label columns, series id.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::error::ArrowError;

use super::dictionary::DictionaryColumn;
use crate::memtable::Labels;
use crate::schema::{LabelColumns, labels_text, series_id};

/// Key columns of a batch.
#[derive(Debug)]
pub(super) struct KeyColumns {
    metric: DictionaryColumn,
    labels: DictionaryColumn,
    label_columns: Vec<(String, DictionaryColumn)>,
    series_ids: Vec<i64>,
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
    pub(super) fn new(label_columns: &LabelColumns) -> Self {
        Self {
            metric: DictionaryColumn::default(),
            labels: DictionaryColumn::default(),
            label_columns: label_columns
                .names()
                .iter()
                .map(|name| (name.clone(), DictionaryColumn::default()))
                .collect(),
            series_ids: Vec::new(),
            current: Key { metric: "".into(), labels: "{}".into(), label_columns: Vec::new(), series_id: 0 },
        }
    }

    /// The rows that follow belong to this series. Returns the bytes that its label set takes in dictionaries.
    pub(super) fn start(&mut self, labels: Labels<'_>) -> usize {
        let text = labels_text(labels.pairs());
        let value = |column: &str| labels.pairs().find(|(name, _)| *name == column).map(|(_, value)| Arc::from(value));
        let before = &self.current.label_columns;
        // The same value as in the series before is the same text in memory.
        let share = |at: usize, new: Option<Arc<str>>| match before.get(at) {
            Some(old) if *old == new => old.clone(),
            _ => new,
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
        self.series_ids.extend(std::iter::repeat_n(self.current.series_id, rows));
    }

    /// The columns so far, in the order of the schema; starts anew.
    pub(super) fn finish(&mut self) -> Result<Vec<ArrayRef>, ArrowError> {
        let mut columns = vec![self.metric.finish()?, self.labels.finish()?];
        for (_, column) in &mut self.label_columns {
            columns.push(column.finish()?);
        }
        columns.push(Arc::new(Int64Array::from(std::mem::take(&mut self.series_ids))));
        Ok(columns)
    }
}
