//! A dictionary-encoded text column of a batch, which tells cheaply whether two rows have the same text.

use arrow::array::{Array, AsArray, DictionaryArray, RecordBatch, StringArray};
use arrow::datatypes::Int32Type;

/// A text column.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextColumn<'a> {
    keys: &'a DictionaryArray<Int32Type>,
    values: &'a StringArray,
}

impl<'a> TextColumn<'a> {
    /// The text column of this name; `None` if there is none.
    pub(super) fn of(batch: &'a RecordBatch, name: &str) -> Option<Self> {
        let keys = batch.column_by_name(name)?.as_dictionary_opt::<Int32Type>()?;
        Some(Self { keys, values: keys.values().as_string_opt::<i32>()? })
    }

    /// The text of a row; none for null.
    pub(super) fn get(&self, row: usize) -> Option<&'a str> {
        let key = self.key(row)?;
        (key < self.values.len()).then(|| self.values.value(key))
    }

    /// Which entry of the dictionary a row has: equal keys in one batch are equal texts; different keys may be equal, too.
    pub(super) fn key(&self, row: usize) -> Option<usize> {
        if row < self.keys.len() { self.keys.key(row) } else { None }
    }
}
