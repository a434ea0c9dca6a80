//! Custom resources to receivers, and entries in `remoteWrite`.
//!
//! Folders, each of which knows only those before it: `names`, `process`, `kubernetes`, `senders`, `archive`. The files beside them are the
//! commands of the program. The test `layout` holds them to that.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

pub mod archive;
pub mod kubernetes;
pub mod names;
pub mod process;
pub mod senders;

pub mod check;
pub mod concern;
pub mod crd;
pub mod run;
pub mod uninstall;
