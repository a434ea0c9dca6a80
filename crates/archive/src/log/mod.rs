//! The log of one table, as the commit protocol sees it: snapshots, and put-if-absent of the next version.
//!
//! The protocol (`docs/explanation/commit-protocol.md`) is written above this trait, in [`crate::commit::commit`]. The real log
//! is [`DeltaLog`]; [`ModelLog`] is a model in memory. A conformance suite holds both to the same behaviour.

mod actions;
mod additions;
pub(crate) mod bounds;
mod checkpoint;
mod checksums;
#[cfg(test)]
mod conformance;
pub mod definition;
mod delta;
pub(crate) mod forward;
pub mod listing;
#[cfg(any(test, feature = "simulation"))]
mod model;
mod protocol;
pub mod raw;
mod scan;
mod seen;
#[cfg(test)]
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
pub use checksums::{ForeignChecksums, checksum_names, foreign_checksums, is_checksum};
pub use delta::DeltaLog;
#[cfg(any(test, feature = "simulation"))]
pub use model::{ModelLog, PutFault};
use promarchive_model::{Date, WriterId};
pub use protocol::{OTHER_PROTOCOL, TableProtocol, WRITER_FEATURE};

use crate::file::Origin;
use crate::schema::{LabelColumns, Table};

/// The key of a file's checksum in the tags of its `add` action: XXH3-128 of its bytes in 32 hexadecimal digits.
pub const CHECKSUM_TAG: &str = "promarchive.xxh3";

/// Version of a table: 0 creates it, each commit adds one.
pub type Version = u64;

/// What is known of a data file without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFile {
    /// Relative to the table's root.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// When it was committed, milliseconds since the epoch.
    pub modification_time: i64,
    /// Its partition.
    pub date: Date,
    /// Statistics, where the writer gave any that can be read.
    pub stats: Option<FileStats>,
    /// Where its rows come from.
    pub origin: Origin,
    /// XXH3-128 of its bytes, if its writer said it.
    pub checksum: Option<u128>,
}

/// Statistics of a data file; bounds are inclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStats {
    /// Rows.
    pub rows: u64,
    /// Smallest and largest metric, possibly cut: a lower and an upper bound.
    pub metric: Option<(String, String)>,
    /// Smallest and largest timestamp in milliseconds.
    pub timestamp: Option<(i64, i64)>,
}

/// What creates a table.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Which table.
    pub table: Table,
    /// Its label columns.
    pub label_columns: LabelColumns,
    /// Identity of the table, random.
    pub id: u128,
    /// When, milliseconds since the epoch.
    pub created: i64,
}

/// What a commit does to the rows of its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitKind {
    /// Rows come: those of a writer's WAL from behind its last position up to this one. A file that is removed for them comes back with some of
    /// its rows replaced.
    Append {
        /// Whose WAL.
        writer: WriterId,
        /// Its position in the table once this is committed.
        position: u64,
    },
    /// The same rows in other files; of a row that stood several times, one may stay. Readers of changes pass over it.
    Rewrite,
    /// Rows go: files are removed, and those rows of them that stay are added again.
    Delete,
    /// The table gets the protocol of new tables, and no row changes.
    Upgrade,
}

impl CommitKind {
    /// Whether readers of changes must see it.
    pub fn changes_data(self) -> bool {
        match self {
            Self::Append { .. } | Self::Delete => true,
            Self::Rewrite | Self::Upgrade => false,
        }
    }
}

/// One atomic change of a table.
#[derive(Clone, Debug)]
pub struct Commit {
    /// What it does.
    pub kind: CommitKind,
    /// Files to add.
    pub add: Vec<DataFile>,
    /// Files to remove, which must be active in the version that this commits on top of.
    pub remove: Vec<DataFile>,
    /// When, milliseconds since the epoch.
    pub time: i64,
}

impl Commit {
    /// Whose WAL is in the table up to which position, once this is committed.
    pub fn transaction(&self) -> Option<(WriterId, u64)> {
        match self.kind {
            CommitKind::Append { writer, position } => Some((writer, position)),
            CommitKind::Rewrite | CommitKind::Delete | CommitKind::Upgrade => None,
        }
    }
}

/// How a put-if-absent ended, when it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The version is this commit.
    Done,
    /// The version belongs to another commit.
    Taken,
}

/// Why the log could not do its work.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// The store failed, or cannot be reached: worth another try. A put may have landed all the same.
    #[error("{place}: {cause}")]
    Store {
        /// Table or object.
        place: String,
        /// What the store said.
        cause: String,
    },
    /// The table is not as this program writes it; trying again does not help.
    #[error("{place}: {problem}; {advice}")]
    Refused {
        /// Table or object.
        place: String,
        /// What is wrong with it.
        problem: String,
        /// What a person can do.
        advice: &'static str,
    },
}

impl LogError {
    /// Whether another try may succeed by itself.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store { .. } => true,
            Self::Refused { .. } => false,
        }
    }
}

/// A commit that has added files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addition {
    /// Which version it is.
    pub version: Version,
    /// What the program that made it calls itself.
    pub by: Option<String>,
    /// The files, of those that were asked for.
    pub files: Vec<String>,
}

/// One version of a table.
#[async_trait]
pub trait Snapshot: Send + Sync + fmt::Debug {
    /// Which version.
    fn version(&self) -> Version;
    /// What the table asks of programs that write to it.
    fn protocol(&self) -> TableProtocol;
    /// The table's properties.
    fn properties(&self) -> &BTreeMap<String, String>;
    /// The last position of `writer` in the table, if it ever committed.
    async fn transaction(&self, writer: WriterId) -> Result<Option<u64>, LogError>;
    /// The active files, in no order.
    async fn files(&self) -> Result<Vec<DataFile>, LogError>;
    /// The commits that have added these files, the newest first. A file whose commit the log does not tell any more, or has told long ago, is in
    /// none.
    async fn additions(&self, files: &BTreeSet<String>) -> Result<Vec<Addition>, LogError>;
}

/// The log of one table.
#[async_trait]
pub trait TableLog: Send + Sync + fmt::Debug {
    /// The newest version; `None` when the table does not exist.
    async fn load(&self) -> Result<Option<Arc<dyn Snapshot>>, LogError>;
    /// Puts version 0 if it is absent.
    async fn create(&self, definition: &Definition) -> Result<Put, LogError>;
    /// Puts `version` if it is absent; it is durable when this returns. A [`LogError::Store`] leaves open whether it landed, and
    /// what landed is not durable before a [`Self::sync`].
    async fn put(&self, version: Version, commit: &Commit) -> Result<Put, LogError>;
    /// Makes durable every version that a load has shown: a put may have failed after it landed, or its process been killed.
    async fn sync(&self) -> Result<(), LogError>;
    /// Writes a checkpoint of the newest version, which only makes later loads cheaper.
    async fn checkpoint(&self) -> Result<(), LogError>;
}
