//! One Parquet file: its name, its rows encoded and decoded.

mod compact;
pub mod decode;
pub(crate) mod encode;
mod footer;
pub mod footprint;
mod origin;
mod page_header;
pub(crate) mod path;
#[cfg(test)]
mod tests;

pub use encode::{ColumnOrdersError, EncodeError, EncodedFile, FileEncoder};
pub use origin::{ORIGIN_TAG, Origin, UnknownOrigin};
pub use path::{DataFilePath, date_of};

/// The checksum of a file: XXH3-128 of its bytes.
pub fn checksum(bytes: &[u8]) -> u128 {
    xxhash_rust::xxh3::xxh3_128(bytes)
}
