//! HTTP and life cycle around the rooms of the write path.

pub mod core;
pub mod recovery;
