//! Prometheus objects: who consents, their entries, their pods, and what came from them. Knows an archive by its name only.

pub(crate) mod consent;
pub mod delivery;
pub mod entry;
pub(crate) mod patch;
pub(crate) mod pods;
pub(crate) mod prometheus;
pub(crate) mod records;
