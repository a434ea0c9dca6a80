//! What a commit says, read without the Delta kernel, whoever wrote it.

use std::collections::BTreeMap;

use object_store::path::Path;
use promarchive_model::WriterId;
use serde_json::Value;

use crate::file::{ORIGIN_TAG, Origin, date_of};
use crate::log::actions::{DELETE, ENGINE, REWRITE, UPGRADE, parse_checksum, parse_stats};
use crate::log::{CHECKSUM_TAG, DataFile};

/// A file that a commit adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// Relative to the table's root.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Milliseconds since the epoch.
    pub modification_time: i64,
    /// The statistics, as text.
    pub stats: Option<String>,
    tags: BTreeMap<String, String>,
}

impl Added {
    /// The file as a snapshot would list it; none if it stands in no partition.
    pub fn data_file(&self) -> Option<DataFile> {
        let tag = |name: &str| self.tags.get(name).map(String::as_str);
        Some(DataFile {
            path: self.path.clone(),
            size: self.size,
            modification_time: self.modification_time,
            date: date_of(&self.path)?,
            stats: self.stats.as_deref().and_then(parse_stats),
            origin: Origin::of(tag(ORIGIN_TAG), &self.path),
            checksum: tag(CHECKSUM_TAG).and_then(parse_checksum),
        })
    }

    /// Whether its statistics have a bound of this column.
    pub fn has_bounds_of(&self, column: &str) -> bool {
        let stats: Option<Value> = self.stats.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let has = |side: &str| stats.as_ref().and_then(|stats| stats.get(side)?.get(column)).is_some();
        has("minValues") || has("maxValues")
    }
}

/// What one commit says.
#[derive(Debug, Default)]
pub struct RawCommit {
    /// When, milliseconds since the epoch.
    pub time: Option<i64>,
    /// What the program that made it calls itself.
    pub engine: Option<String>,
    /// What that program calls what it did.
    operation: Option<String>,
    /// Names and numbers.
    pub transactions: Vec<(String, i64)>,
    /// The table's protocol, if it sets it.
    pub protocol: Option<Value>,
    /// The table's metadata, if it sets them.
    pub metadata: Option<Value>,
    /// Files added.
    pub added: Vec<Added>,
    /// Paths of files removed.
    pub removed: Vec<String>,
    /// Names of actions that this program never writes.
    pub foreign: Vec<String>,
}

/// A commit that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub struct BadCommit {
    /// Where in the file, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub problem: String,
}

/// Reads one commit.
pub fn parse_commit(bytes: &[u8]) -> Result<RawCommit, BadCommit> {
    let mut commit = RawCommit::default();
    let mut offset = 0;
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        let bad = |problem: String| BadCommit { offset, problem };
        if !line.trim_ascii().is_empty() {
            let action: Value = serde_json::from_slice(line).map_err(|e| bad(e.to_string()))?;
            let action = action.as_object().ok_or_else(|| bad("the line is not a JSON object".into()))?;
            for (name, body) in action {
                commit
                    .action(name, body)
                    .ok_or_else(|| bad(format!("action {name} has a missing field or a field of the wrong type")))?;
            }
        }
        offset += line.len() as u64;
    }
    if bytes.trim_ascii().is_empty() {
        return Err(BadCommit { offset: 0, problem: "the file is empty".into() });
    }
    Ok(commit)
}

impl RawCommit {
    /// Whether this program made it: it carries a receiver's transaction, or is of a kind that carries none.
    pub fn is_ours(&self) -> bool {
        let is_receiver = |(writer, _): &(String, i64)| writer.len() == 32 && writer.parse::<WriterId>().is_ok();
        let by_us = self.engine.as_ref().is_some_and(|engine| engine.starts_with(ENGINE));
        let carries_none = matches!(self.operation.as_deref(), Some(REWRITE | DELETE | UPGRADE));
        self.transactions.iter().any(is_receiver) || by_us && carries_none
    }

    fn action(&mut self, name: &str, body: &Value) -> Option<()> {
        match name {
            "commitInfo" => {
                let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
                self.time = body.get("timestamp").and_then(Value::as_i64);
                // Older versions of delta-rs say it under the other name.
                self.engine = text("engineInfo").or_else(|| text("clientVersion"));
                self.operation = text("operation");
            }
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

#[cfg(test)]
mod tests {
    use super::*;

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
