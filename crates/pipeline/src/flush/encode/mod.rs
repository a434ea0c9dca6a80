//! Rows → one Parquet file.
//!
//! Rows arrive sorted by (metric, labels, timestamp), series by series. They are collected in batches of columns, with dictionaries for text, and handed
//! to the Parquet writer. A row group ends between two series, so that the label set of a series stands in one dictionary page of
//! the file; it ends early when its label sets grow large, so that the dictionary is never given up for plain text.
//!
//! Encodings follow measurements (`docs/explanation/files.md`): timestamps DELTA_BINARY_PACKED, values plain, zstd level 3; statistics and
//! page index on metric and timestamp only, never on values: NaN breaks pruning in readers.

mod dictionary;
mod keys;
mod own_columns;
mod run_column;
mod runs;
mod writer;

pub(super) use writer::writer_properties;
pub use writer::{EncodeError, EncodedFile, FileEncoder};
