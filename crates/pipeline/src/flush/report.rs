//! What a flush tells of its tables.

use std::collections::BTreeSet;

use promarchive_model::{Date, FlushId};
use serde::Serialize;

/// What one flush put into one table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TableReport {
    /// Rows.
    pub rows: u64,
    /// Rows that superseded committed ones.
    pub superseded: u64,
    /// Rows that beat a committed one whose file is gone: both stand until they are merged. They are among `rows`.
    #[serde(skip_serializing_if = "is_zero")]
    pub unmerged: u64,
    /// Files added.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The table's version with them; absent when nothing was to be committed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Times that another program was faster with a commit.
    #[serde(skip)]
    pub races: u32,
    /// Files that are not in the table any more: others have taken their rows.
    #[serde(skip)]
    pub removed_files: u64,
    /// Their bytes.
    #[serde(skip)]
    pub removed_bytes: u64,
    /// The flushes, and the days of them, whose losers are all gone: the winners are in this flush's files.
    #[serde(skip)]
    pub moved: BTreeSet<(FlushId, Date)>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}
