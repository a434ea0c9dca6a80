//! Footers of data files.

use std::sync::Arc;

use parquet::file::metadata::{ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::ChunkReader;

/// Reads a footer, with the page index on request.
pub(super) fn read_footer<R: ChunkReader>(
    file: &R,
    index: PageIndexPolicy,
) -> parquet::errors::Result<Arc<ParquetMetaData>> {
    Ok(Arc::new(ParquetMetaDataReader::new().with_page_index_policy(index).parse_and_finish(file)?))
}

/// Where the column of this name is in a row group's list; only plain columns have names of their own.
pub(super) fn column_named<'a>(columns: &'a [ColumnChunkMetaData], name: &str) -> Option<&'a ColumnChunkMetaData> {
    columns.iter().find(|column| column.column_path().parts() == [name])
}
