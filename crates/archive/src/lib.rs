//! Committed tables: what they look like ([`schema`]), where their files stand ([`store`]), what is in a file ([`file`](mod@file)), the log that
//! says which files there are ([`log`]), and the protocol that puts each change into it exactly once ([`commit`](mod@commit)).
//!
//! The only crate that knows the Delta protocol.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod archive;
pub mod commit;
pub mod control;
pub mod file;
mod location;
pub mod log;
pub mod merge;
mod proof;
pub mod scan;
pub mod schema;
pub mod store;
mod upgrade;

pub use archive::{Archive, ArchiveError};
pub use location::Location;
pub use proof::{Proof, prove_store};
pub use upgrade::{TableUpgrade, Upgraded, upgrade};
