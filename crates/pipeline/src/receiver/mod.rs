//! HTTP and life cycle around the rooms of the write path.

pub mod core;
#[cfg(test)]
mod histories;
pub mod recovery;
