//! What the receiver's pods run: decoded requests in, committed tables out.
//!
//! The modules are in the order in which a sample walks through them: [`memtable`] → [`settle`] → [`flush`]. [`mod@core`] joins
//! them with the crates `wire` and `wal` before and `archive` behind them; [`receiver`] is HTTP, threads and budgets around that.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

pub mod core;
mod flush;
pub mod memtable;
pub mod receiver;
pub mod settle;
