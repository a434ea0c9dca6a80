//! One Parquet file: its name, its rows encoded and decoded.

pub mod decode;
pub(crate) mod encode;
pub mod footprint;
mod page_header;
pub(crate) mod path;
#[cfg(test)]
mod tests;

pub use encode::{ColumnOrdersError, EncodeError, EncodedFile, FileEncoder};
pub use path::DataFilePath;
