//! Prometheus objects: who consents, their entries, their pods, and what came from them. Knows an archive by its name only.

pub mod consent;
pub mod delivery;
pub mod entry;
pub mod patch;
pub mod pods;
pub mod prometheus;
pub mod records;
