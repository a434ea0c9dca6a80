//! Remote write in, committed Parquet tables out.
//!
//! The modules are rooms, in the order in which a sample walks through them (`flush` drives `table`):
//! [`remote_write`] → [`wal`] → [`memtable`] → [`flush`] → [`table`] (with [`schema`] between), with [`receiver`] around all of them.
//! [`inspection`] reads what they leave.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

pub mod environment;
pub mod failpoint;
pub mod flush;
pub mod inspection;
pub mod memtable;
pub mod receiver;
pub mod remote_write;
pub mod schema;
pub mod table;
pub mod wal;
