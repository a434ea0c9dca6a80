//! Columns → sorted files: when to flush, what a flush writes, how rows become Parquet, and the flush itself.

mod encode;
mod policy;
mod settle;

pub use encode::{EncodeError, EncodedFile, FileEncoder};
pub use policy::{Load, Policy, Trigger};
pub use settle::{Settled, Superseding, exemplar_hash, settle};
