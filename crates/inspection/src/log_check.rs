//! Whether a table's log holds together: versions without a gap, readable commits, the documented schema, positions that never go back.

use std::collections::{BTreeMap, HashMap, HashSet};

use promarchive_archive::log::definition::check_metadata;
use promarchive_archive::log::listing::{LogListing, list, read_checkpoint};
use promarchive_archive::log::raw::{Added, RawCommit, parse_commit};
use promarchive_archive::log::{LogError, TableProtocol, Version};
use promarchive_archive::schema::{LabelColumns, Table};
use promarchive_archive::store::{Root, StoredFile};
use promarchive_model::{FlushId, chain};

use super::finding::{Check, Finding};

/// What the commits of a table add up to.
#[derive(Debug, Default)]
pub(super) struct LogState {
    /// Files that are listed now, by path.
    pub(super) active: BTreeMap<String, Added>,
    /// Files that were listed once.
    pub(super) removed: HashSet<String>,
    /// When each flush was committed, milliseconds since the epoch.
    pub(super) flushes: HashMap<FlushId, i64>,
    /// Last position of each writer.
    pub(super) positions: BTreeMap<String, i64>,
    /// The table's protocol, if it is one that is known.
    pub(super) protocol: Option<TableProtocol>,
    /// The table's label columns, if its metadata can be read.
    pub(super) label_columns: Option<LabelColumns>,
    /// The last version read.
    pub(super) version: Option<Version>,
    /// Whether every version from 0 on was read.
    pub(super) complete: bool,
    /// What is wrong; without the table's name.
    pub(super) findings: Vec<Finding>,
}

/// Reads and checks the log of the table at `root`, up to `limit`.
pub(super) async fn check_log(root: &Root, table: Table, limit: Option<Version>) -> Result<LogState, LogError> {
    let mut listing = list(root).await?;
    listing.commits.retain(|&version, _| limit.is_none_or(|limit| version <= limit));
    let mut state = LogState { complete: true, ..LogState::default() };
    state.gaps(&listing);
    for (&version, object) in &listing.commits {
        let file = format!("_delta_log/{}", object.location.filename().unwrap_or_default());
        match parse_commit(&root.store().read(&object.location).await?) {
            Ok(commit) => state.apply(table, version, &file, commit),
            Err(bad) => {
                state.complete = false;
                let message = format!("version {version} cannot be read: {}", bad.problem);
                state.findings.push(Finding::new(Check::LogUnreadable, message).file(file).offset(bad.offset));
            }
        }
        state.version = Some(version);
    }
    for (version, object) in &listing.checkpoints {
        let file = StoredFile::new(root.store().clone(), object.location.clone(), object.size);
        let problem = match tokio::task::spawn_blocking(move || read_checkpoint(file)).await {
            Ok(Ok(_)) => continue,
            Ok(Err(e)) => chain(&e),
            Err(panic) => panic.to_string(),
        };
        let message = format!("the checkpoint of version {version} cannot be read: {problem}");
        let file = format!("_delta_log/{}", object.location.filename().unwrap_or_default());
        state.findings.push(Finding::new(Check::CheckpointUnreadable, message).file(file));
    }
    Ok(state)
}

impl LogState {
    fn gaps(&mut self, listing: &LogListing) {
        let mut expected = 0;
        for &version in listing.commits.keys() {
            if version > expected {
                self.complete = false;
                let missing = match version - expected {
                    1 => format!("version {expected} is missing"),
                    _ => format!("versions {expected} to {} are missing", version - 1),
                };
                let file = format!("_delta_log/{expected:020}.json");
                self.findings
                    .push(Finding::new(Check::LogGap, format!("{missing}, but version {version} exists")).file(file));
            }
            expected = version.saturating_add(1);
        }
    }

    fn apply(&mut self, table: Table, version: Version, file: &str, commit: RawCommit) {
        let mut report = |check, message: String| self.findings.push(Finding::new(check, message).file(file));
        if version == 0 && (commit.protocol.is_none() || commit.metadata.is_none()) {
            report(Check::LogSchema, "version 0 does not contain the table's protocol or schema".into());
        }
        match commit.protocol.as_ref().map(TableProtocol::parse) {
            Some(Ok(protocol)) => self.protocol = Some(protocol),
            Some(Err(problem)) => report(Check::LogProtocol, problem),
            None => {}
        }
        if let Some(metadata) = &commit.metadata {
            match check_metadata(table, metadata) {
                Ok(columns) => self.label_columns = Some(columns),
                Err((columns, problem)) => {
                    self.label_columns = columns.or(self.label_columns.take());
                    report(Check::LogSchema, problem);
                }
            }
        }
        if version > 0 && !commit.is_ours() {
            report(Check::LogForeign, format!("version {version} has no transaction of a receiver"));
        }
        if let Some(action) = commit.foreign.first() {
            report(
                Check::LogForeign,
                format!("version {version} has an action that promarchive never writes: {action}"),
            );
        }
        self.transactions(version, file, &commit);
        self.files(version, file, commit);
    }

    fn transactions(&mut self, version: Version, file: &str, commit: &RawCommit) {
        for (writer, position) in &commit.transactions {
            let before = self.positions.insert(writer.clone(), *position);
            if let Some(before) = before.filter(|before| before >= position) {
                let message =
                    format!("version {version} has position {position} of writer {writer} after position {before}");
                self.findings.push(Finding::new(Check::LogTransaction, message).file(file));
            }
            if let (Ok(writer), Ok(position)) = (writer.parse(), u64::try_from(*position)) {
                let time = commit.time.unwrap_or_default();
                self.flushes.entry((writer, position)).or_insert(time);
            }
        }
    }

    fn files(&mut self, version: Version, file: &str, commit: RawCommit) {
        for path in commit.removed {
            // After a version that could not be read nobody knows what is listed.
            if self.active.remove(&path).is_none() && self.complete {
                let message = format!("version {version} removes {path}, but this file is not listed");
                self.findings.push(Finding::new(Check::LogConflict, message).file(file));
            }
            self.removed.insert(path);
        }
        for added in commit.added {
            self.removed.remove(&added.path);
            let path = added.path.clone();
            if self.active.insert(path.clone(), added).is_some() && self.complete {
                let message = format!("version {version} adds {path}, but this file is already listed");
                self.findings.push(Finding::new(Check::LogConflict, message).file(file));
            }
        }
    }
}
