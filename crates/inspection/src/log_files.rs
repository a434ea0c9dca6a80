//! A table's `_delta_log` as it stands in the store, read without the Delta kernel: which files there are, what each commit says.
//!
//! The kernel reads what a reader of the table needs. This reads all the rest: positions that go back, versions that are missing behind
//! a checkpoint, files that were removed, checkpoints that no longer matter.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use promarchive_archive::log::{LogError, Version};
use promarchive_archive::store::absolute;
use promarchive_model::chain;
use serde_json::Value;

/// The files of a log.
#[derive(Debug, Default)]
pub(super) struct LogListing {
    /// Commits, by version.
    pub(super) commits: BTreeMap<Version, ObjectMeta>,
    /// Checkpoints, by version.
    pub(super) checkpoints: BTreeMap<Version, ObjectMeta>,
}

/// Lists the log of the table at `root`.
pub(super) async fn list(store: &dyn ObjectStore, root: &Path) -> Result<LogListing, LogError> {
    let directory = root.clone().join("_delta_log");
    let failed = |e: object_store::Error| LogError::Store { place: absolute(&directory), cause: chain(&e) };
    let objects: Vec<ObjectMeta> = store.list(Some(&directory)).try_collect().await.map_err(failed)?;
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
pub(super) enum LogName {
    Commit(Version),
    Checkpoint(Version),
    /// `_last_checkpoint`.
    Hint,
}

impl LogName {
    /// `None` for a name that no log of ours has.
    pub(super) fn parse(name: &str) -> Option<Self> {
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

/// A file that a commit adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Added {
    pub(super) path: String,
    pub(super) size: u64,
    pub(super) modification_time: i64,
    /// The statistics, as text.
    pub(super) stats: Option<String>,
    tags: BTreeMap<String, String>,
}

impl Added {
    /// A tag of the file, if it has it.
    pub(super) fn tag(&self, name: &str) -> Option<&str> {
        self.tags.get(name).map(String::as_str)
    }
}

/// What one commit says.
#[derive(Debug, Default)]
pub(super) struct RawCommit {
    /// When, milliseconds since the epoch.
    pub(super) time: Option<i64>,
    pub(super) transactions: Vec<(String, i64)>,
    pub(super) protocol: Option<Value>,
    pub(super) metadata: Option<Value>,
    pub(super) added: Vec<Added>,
    pub(super) removed: Vec<String>,
    /// Names of actions that this program never writes.
    pub(super) foreign: Vec<String>,
}

/// A commit that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadCommit {
    /// Where in the file, in bytes.
    pub(super) offset: u64,
    pub(super) problem: String,
}

/// Reads one commit.
pub(super) fn parse_commit(bytes: &[u8]) -> Result<RawCommit, BadCommit> {
    let mut commit = RawCommit::default();
    let mut offset = 0;
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        let bad = |problem: String| BadCommit { offset, problem };
        if !line.trim_ascii().is_empty() {
            let action: Value = serde_json::from_slice(line).map_err(|e| bad(e.to_string()))?;
            let action = action.as_object().ok_or_else(|| bad("not an object".into()))?;
            for (name, body) in action {
                commit
                    .action(name, body)
                    .ok_or_else(|| bad(format!("action {name} lacks a field, or has one of another type")))?;
            }
        }
        offset += line.len() as u64;
    }
    if bytes.trim_ascii().is_empty() {
        return Err(BadCommit { offset: 0, problem: "there is nothing in it".into() });
    }
    Ok(commit)
}

impl RawCommit {
    fn action(&mut self, name: &str, body: &Value) -> Option<()> {
        match name {
            "commitInfo" => self.time = body.get("timestamp").and_then(Value::as_i64),
            "txn" => self.transactions.push((body.get("appId")?.as_str()?.to_owned(), body.get("version")?.as_i64()?)),
            "protocol" => self.protocol = Some(body.clone()),
            "metaData" => self.metadata = Some(body.clone()),
            "add" => self.added.push(Added {
                path: decoded_path(body)?,
                size: body.get("size")?.as_u64()?,
                modification_time: body.get("modificationTime")?.as_i64()?,
                stats: body.get("stats").and_then(Value::as_str).map(str::to_owned),
                tags: tags(body),
            }),
            "remove" => self.removed.push(decoded_path(body)?),
            other => self.foreign.push(other.to_owned()),
        }
        Some(())
    }
}

/// A tag may be null.
fn tags(body: &Value) -> BTreeMap<String, String> {
    let tags = body.get("tags").and_then(Value::as_object).into_iter().flatten();
    tags.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

/// Delta's paths are URL-encoded.
fn decoded_path(body: &Value) -> Option<String> {
    let path = body.get("path")?.as_str()?;
    Some(Path::from_url_path(path).map_or_else(|_| path.to_owned(), String::from))
}

/// A whole object of the log.
pub(super) async fn read(store: &dyn ObjectStore, object: &ObjectMeta) -> Result<Bytes, LogError> {
    let failed = |e: object_store::Error| LogError::Store { place: absolute(&object.location), cause: chain(&e) };
    store.get(&object.location).await.map_err(failed)?.bytes().await.map_err(failed)
}

/// Reads a whole checkpoint, and returns its transactions. Blocks; may panic on a damaged file.
pub(super) fn read_checkpoint(file: Bytes) -> Result<Vec<(String, i64)>, parquet::errors::ParquetError> {
    for batch in ParquetRecordBatchReaderBuilder::try_new(file.clone())?.build()? {
        batch?;
    }
    checkpoint_transactions(file)
}

/// The transactions in a checkpoint; reads nothing else of it. Blocks; may panic on a damaged file.
pub(super) fn checkpoint_transactions(file: Bytes) -> Result<Vec<(String, i64)>, parquet::errors::ParquetError> {
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
pub(super) struct Writers {
    /// Last position and, if the log still says so, the time of its commit, by writer.
    pub(super) positions: BTreeMap<String, (i64, Option<i64>)>,
    /// When the newest version was committed.
    pub(super) last_commit: Option<i64>,
}

/// Reads the log's end, up to `version`.
pub(super) async fn read_writers(
    store: &Arc<dyn ObjectStore>,
    root: &Path,
    version: Version,
) -> Result<Writers, LogError> {
    let listing = list(store.as_ref(), root).await?;
    let mut writers = Writers::default();
    let mut from = 0;
    if let Some((&at, checkpoint)) = listing.checkpoints.range(..=version).next_back() {
        let place = absolute(&checkpoint.location);
        let bytes = read(store.as_ref(), checkpoint).await?;
        let transactions = tokio::task::spawn_blocking(move || checkpoint_transactions(bytes)).await;
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
        let bytes = read(store.as_ref(), object).await?;
        let commit = parse_commit(&bytes).map_err(|bad| LogError::Store {
            place: absolute(&object.location),
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

    #[test]
    fn a_damaged_line_is_found_by_its_offset() {
        let good = "{\"txn\":{\"appId\":\"w\",\"version\":3}}\n";
        assert_eq!(parse_commit(good.as_bytes()).unwrap().transactions, [("w".to_owned(), 3)]);
        let bad = parse_commit(format!("{good}{{\"txn\":{{}}}}\n").as_bytes()).unwrap_err();
        assert_eq!(bad.offset, good.len() as u64);
        assert!(parse_commit(b"").is_err());
        assert!(parse_commit(format!("{good}{{").as_bytes()).is_err());
    }
}
