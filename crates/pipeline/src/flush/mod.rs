//! Columns → sorted files: when to flush, what a flush writes, how rows become Parquet, and the flush itself.
//!
//! [`Policy`] decides when. [`settle`] makes each place stand once; [`Plan`] lays the rows out by file; both are pure. [`Job`] puts the files
//! and commits them, table by table. [`decode`] reads a committed file's rows back.

pub mod decode;
mod encode;
mod job;
mod plan;
mod policy;
mod settle;
mod supersede;
#[cfg(test)]
mod tests;

pub use encode::{ColumnOrdersError, EncodeError, EncodedFile, FileEncoder};
pub use job::{FlushError, Job, TableReport, Unfinished, place, read};
pub use plan::{FilePlan, Plan, SupersedingFiles};
pub use policy::{Load, MOST_DAYS, Policy, Trigger};
pub use settle::{Settled, Superseding, exemplar_hash, settle};
pub use supersede::{RewriteError, rewrite};
