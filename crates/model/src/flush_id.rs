//! Which flush.

use crate::WriterId;

/// Which flush: whose WAL, and up to which position. The names of the files that it wrote say the same.
pub type FlushId = (WriterId, u64);
