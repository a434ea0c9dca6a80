//! The report of a verification.

use serde::Serialize;

use super::finding::Finding;

/// What verification found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// The archive's absolute path.
    pub archive: String,
    /// Whether there is no error.
    pub ok: bool,
    /// Findings by severity.
    pub errors: u64,
    /// See `errors`.
    pub warnings: u64,
    /// See `errors`.
    pub notes: u64,
    /// Tables.
    pub tables: Vec<TableVerification>,
    /// What was found: errors first, then by table.
    pub findings: Vec<Finding>,
}

/// One table.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TableVerification {
    /// Its name.
    pub table: &'static str,
    /// The version that was verified; none if the log cannot be read.
    pub version: Option<u64>,
    /// Listed files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those that were written without a checksum: that their bytes are as they were written cannot be told.
    pub files_without_checksum: u64,
    /// Rows that could be read.
    pub rows: u64,
    /// Rows beyond the first of their kind, in files of one day.
    pub duplicates: u64,
    /// What crashes left, or what is being written.
    pub leftovers: Vec<Leftover>,
}

/// A file that no version lists, under a name that a crash can leave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Leftover {
    /// Relative to the table's directory.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// Seconds since it was last written to.
    pub age_seconds: u64,
}
