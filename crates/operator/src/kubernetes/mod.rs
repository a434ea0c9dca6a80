//! What the operator knows of the API server: local copies, kinds, and whether the admission policies are in force. Knows archives and
//! Prometheus objects by their names only.

pub mod access;
pub(crate) mod cache;
pub(crate) mod drift;
pub(crate) mod events;
pub mod guard;
pub(crate) mod kind;
pub(crate) mod namespaces;
pub mod quantity;
pub mod scope;

mod apply_error;

pub use apply_error::ApplyError;
