//! Files → commit: Delta tables on an object store, and the protocol that puts each change into them exactly once.

mod actions;
mod archive;
mod checksums;
#[cfg(test)]
mod conformance;
mod delta;
mod forward;
mod local;
mod log;
mod model;
mod path;
mod place;
mod seen;
mod transaction;
#[cfg(test)]
mod work;

pub use archive::{Archive, ArchiveError, Location};
pub(crate) use checksums::{checksum_names, foreign_checksums, is_checksum};
pub use delta::DeltaLog;
pub use local::{DIRECTORY, DurableLocal, create_root_durably};
pub use log::{Commit, DataFile, Definition, FileStats, LogError, Put, Snapshot, TableLog, Version};
pub use model::{ModelLog, PutFault};
pub use path::{DAY_MS, DataFilePath, Date};
pub(crate) use place::{absolute, without_parents};
pub use transaction::{CommitError, Committed, commit, position_there};

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}
