//! Columns of a footer, by name.

use parquet::file::metadata::ColumnChunkMetaData;

/// Where the column of this name is in a row group's list; only plain columns have names of their own.
pub(super) fn column_named<'a>(columns: &'a [ColumnChunkMetaData], name: &str) -> Option<&'a ColumnChunkMetaData> {
    columns.iter().find(|column| column.column_path().parts() == [name])
}
