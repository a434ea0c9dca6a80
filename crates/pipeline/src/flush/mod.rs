//! Files → commits: when to flush, and the flush itself.
//!
//! [`Policy`] decides when, and is pure. [`Job`] encodes the files of a [`Plan`](crate::settle::Plan), puts and commits them, table by table.

mod job;
mod policy;
mod report;
mod supersede;

pub(crate) use job::{FlushError, Job, Unfinished};
pub(crate) use policy::{Load, MOST_DAYS, Policy};
pub(crate) use report::TableReport;
