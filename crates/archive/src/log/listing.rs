//! A table's `_delta_log` as it stands in the store, read without the Delta kernel: which files there are, and how far the writers are.
//!
//! The kernel reads what a reader of the table needs. This and [`super::raw`] read all the rest: positions that go back, versions that are
//! missing behind a checkpoint, files that were removed, checkpoints that no longer matter.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use futures::TryStreamExt;
use object_store::ObjectMeta;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use promarchive_model::chain;

use crate::log::raw::parse_commit;
use crate::log::{LogError, Version};
use crate::store::{Root, StoredFile};

/// The files of a log.
#[derive(Debug, Default)]
pub struct LogListing {
    /// Commits, by version.
    pub commits: BTreeMap<Version, ObjectMeta>,
    /// Checkpoints, by version.
    pub checkpoints: BTreeMap<Version, ObjectMeta>,
}

/// Where a version's commit stands in its table.
pub fn commit_name(version: Version) -> String {
    format!("_delta_log/{version:020}.json")
}

/// Lists the log of the table at `root`.
pub async fn list(root: &Root) -> Result<LogListing, LogError> {
    let directory = root.log();
    let objects = root.store().objects().list(Some(&directory)).try_collect().await;
    let objects: Vec<ObjectMeta> = objects.map_err(|e| root.store().error(&directory, &e))?;
    let mut listing = LogListing::default();
    for object in objects {
        match LogName::parse(object.location.filename().unwrap_or_default()) {
            Some(LogName::Commit(version)) => drop(listing.commits.insert(version, object)),
            Some(LogName::Checkpoint(version)) => drop(listing.checkpoints.insert(version, object)),
            Some(LogName::Hint) | None => {}
        }
    }
    Ok(listing)
}

/// What a file in `_delta_log` is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogName {
    /// A commit.
    Commit(Version),
    /// A checkpoint.
    Checkpoint(Version),
    /// `_last_checkpoint`.
    Hint,
}

impl LogName {
    /// `None` for a name that no log of ours has.
    pub fn parse(name: &str) -> Option<Self> {
        if name == "_last_checkpoint" {
            return Some(Self::Hint);
        }
        let (digits, kind) = name.split_once('.')?;
        let version =
            digits.parse().ok().filter(|_| digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()))?;
        match kind {
            "json" => Some(Self::Commit(version)),
            "checkpoint.parquet" => Some(Self::Checkpoint(version)),
            _ => None,
        }
    }
}

/// Reads a whole checkpoint, and returns its transactions. Blocks; may panic on a damaged file.
pub fn read_checkpoint(file: StoredFile) -> Result<Vec<(String, i64)>, parquet::errors::ParquetError> {
    for batch in ParquetRecordBatchReaderBuilder::try_new(file.clone())?.build()? {
        batch?;
    }
    checkpoint_transactions(file)
}

/// The transactions in a checkpoint; reads nothing else of it. Blocks; may panic on a damaged file.
pub fn checkpoint_transactions(file: StoredFile) -> Result<Vec<(String, i64)>, parquet::errors::ParquetError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), ["txn.appId", "txn.version"]);
    let mut transactions = Vec::new();
    for batch in builder.with_projection(mask).build()? {
        let batch = batch?;
        let Some(column) = batch.column_by_name("txn").and_then(|column| column.as_struct_opt()) else { continue };
        let ids = column.column_by_name("appId").and_then(|ids| ids.as_string_opt::<i32>());
        let versions = column.column_by_name("version").and_then(|versions| versions.as_primitive_opt::<Int64Type>());
        let (Some(ids), Some(versions)) = (ids, versions) else { continue };
        let rows =
            (0..batch.num_rows()).filter(|&row| column.is_valid(row) && ids.is_valid(row) && versions.is_valid(row));
        transactions.extend(rows.map(|row| (ids.value(row).to_owned(), versions.value(row))));
    }
    Ok(transactions)
}

/// What a table's log says of its writers, from the newest checkpoint and what follows it.
#[derive(Debug, Default)]
pub struct Writers {
    /// Last position and, if the log still says so, the time of its commit, by writer.
    pub positions: BTreeMap<String, (i64, Option<i64>)>,
    /// When the newest version was committed.
    pub last_commit: Option<i64>,
}

/// Reads the log's end, up to `version`.
pub async fn read_writers(root: &Root, version: Version) -> Result<Writers, LogError> {
    let store = root.store();
    let listing = list(root).await?;
    let mut writers = Writers::default();
    let mut from = 0;
    if let Some((&at, checkpoint)) = listing.checkpoints.range(..=version).next_back() {
        let place = store.name_of(&checkpoint.location);
        let file = StoredFile::new(store.clone(), checkpoint.location.clone(), checkpoint.size);
        let transactions = tokio::task::spawn_blocking(move || checkpoint_transactions(file)).await;
        let failed = |cause: String| LogError::Store { place, cause };
        let transactions = match transactions {
            Ok(Ok(transactions)) => transactions,
            Ok(Err(e)) => return Err(failed(chain(&e))),
            Err(panic) => return Err(failed(panic.to_string())),
        };
        writers.positions.extend(transactions.into_iter().map(|(writer, position)| (writer, (position, None))));
        // The checkpoint's own commit tells its time.
        from = at;
    }
    for (_, object) in listing.commits.range(from..=version.max(from)) {
        let bytes = store.read(&object.location).await?;
        let commit = parse_commit(&bytes).map_err(|bad| LogError::Store {
            place: store.name_of(&object.location),
            cause: format!("{} at offset {}", bad.problem, bad.offset),
        })?;
        writers.last_commit = commit.time.or(writers.last_commit);
        for (writer, position) in commit.transactions {
            writers.positions.insert(writer, (position, commit.time));
        }
    }
    Ok(writers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(LogName::parse("00000000000000000007.json"), Some(LogName::Commit(7)));
        assert_eq!(LogName::parse("00000000000000000032.checkpoint.parquet"), Some(LogName::Checkpoint(32)));
        assert_eq!(LogName::parse("_last_checkpoint"), Some(LogName::Hint));
        for other in ["7.json", "00000000000000000007.json#1", "00000000000000000007.crc", "x"] {
            assert_eq!(LogName::parse(other), None, "{other}");
        }
    }
}
