//! Rows → one Parquet file.
//!
//! Rows arrive sorted by (metric, labels, timestamp), series by series. What says whose a row is repeats for all rows of a series: it is kept as
//! runs, and written as such. The other columns are collected in batches and handed to the Parquet library. A row group ends between
//! two series, so that the label set of a series stands in one dictionary page of the file; it ends early when its label sets grow large,
//! so that a row group's dictionaries are small.
//!
//! Encodings follow measurements (`docs/explanation/files.md`): timestamps DELTA_BINARY_PACKED, values plain, zstd level 3; statistics and
//! page index on metric and timestamp only, never on values: NaN breaks pruning in readers. Columns of doubles get the order that every
//! reader knows.

mod column_orders;
mod dictionary;
mod keys;
mod own_columns;
mod run_column;
mod runs;
mod writer;

pub use column_orders::ColumnOrdersError;
pub(crate) use column_orders::mark_doubles_for_every_reader;
pub(crate) use writer::writer_properties;
pub use writer::{EncodeError, EncodedFile, FileEncoder};
