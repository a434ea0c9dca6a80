//! A column of repeated text, built run by run.

use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, StringArray};
use arrow::datatypes::Int32Type;
use arrow::error::ArrowError;

/// Text values and, row by row, which of them.
#[derive(Debug, Default)]
pub(super) struct DictionaryColumn {
    values: Vec<Arc<str>>,
    keys: Vec<Option<i32>>,
}

impl DictionaryColumn {
    /// Appends the same value, or null, `rows` times.
    pub(super) fn append(&mut self, value: Option<&Arc<str>>, rows: usize) {
        let key = value.map(|value| {
            if self.values.last() != Some(value) {
                self.values.push(value.clone());
            }
            i32::try_from(self.values.len() - 1).unwrap_or(i32::MAX)
        });
        self.keys.extend(std::iter::repeat_n(key, rows));
    }

    /// The column so far; starts anew.
    pub(super) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let values = StringArray::from_iter_values(std::mem::take(&mut self.values).iter());
        let keys = Int32Array::from(std::mem::take(&mut self.keys));
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(values))?))
    }
}
