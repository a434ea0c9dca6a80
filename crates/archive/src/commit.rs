//! The commit protocol: a change lands at most once, on top of a version in which it still makes sense.
//!
//! Every try starts from a fresh snapshot. If the writer's position there is the commit's or a later one, the commit landed
//! before: by an earlier try that was reported failed, or before a restart. Such a try may have failed behind the put, at the sync, so
//! the log is synced before it is believed. If the position there is neither that nor the one that the writer had last seen, a commit of an
//! earlier process landed late, and some of these rows may be in it: nothing is committed. Else the next version is put if absent; when
//! another commit took it, everything starts again. Files to remove must be active in the version that is built upon, or the change is
//! stale and must be planned anew. A rewrite or a deletion carries no position: it has landed if the files that it adds are there. An upgrade
//! has landed if the table has its protocol.
//! `docs/explanation/commit-protocol.md` gives the reasons.

use std::collections::HashSet;

use promarchive_model::WriterId;
use promarchive_model::failpoint::{self, FailPoint};

use crate::log::{Commit, CommitKind, DataFile, LogError, Put, Snapshot, TableLog, TableProtocol, Version};

/// Flushes within the horizon, however long ago they were.
pub const MIN_GENERATIONS: usize = 2;

/// Lost races in a row after which a commit gives up for now; its caller tries again.
const MAX_RACES: u32 = 100;

/// How a commit got into the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// As this version, after so many lost races.
    Now {
        /// The new version.
        version: Version,
        /// Times that another writer was faster.
        races: u32,
    },
    /// By an earlier try.
    Earlier,
}

/// Why a commit is not in the table, or may not be.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// The log failed; a later try of the same commit finds out whether this one landed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A file to remove is gone: plan anew.
    #[error("the file {0} is no longer in the table; the change must be planned again")]
    Stale(String),
    /// The table has more of the writer's records than the writer knew when it chose the rows.
    #[error(
        "a commit of an earlier process has landed late: the table has WAL records up to {found}, not only up to {}; \
         a replay of the WAL finds out which records are still missing", .last.unwrap_or(0)
    )]
    Overtaken {
        /// The position there.
        found: u64,
        /// The last position that the writer knew to be there.
        last: Option<u64>,
    },
    /// The table does not exist.
    #[error("the table does not exist")]
    NoTable,
    /// Too many other writers.
    #[error("other writers committed first {MAX_RACES} times in a row; check which other program writes to the table")]
    Contended,
}

/// Commits at most once; safe to call again with the same commit after any error, and with the same transaction after a crash. `last` is
/// the position that an append's writer had in the table when the rows were chosen.
pub async fn commit(log: &dyn TableLog, commit: &Commit, last: Option<u64>) -> Result<Committed, CommitError> {
    for races in 0..MAX_RACES {
        let snapshot = log.load().await?.ok_or(CommitError::NoTable)?;
        if has_landed(log, snapshot.as_ref(), commit, last).await? {
            return Ok(Committed::Earlier);
        }
        let version = snapshot.version() + 1;
        step(FailPoint::CommitPut)?;
        let put = log.put(version, commit).await?;
        step(FailPoint::CommitPutDone)?;
        match put {
            Put::Done => return Ok(Committed::Now { version, races }),
            Put::Taken => tracing::debug!(version, "another writer took the version"),
        }
    }
    Err(CommitError::Contended)
}

/// Whether an earlier try of a commit is in this version; durable, if it is. An error if the commit makes no sense on top of it.
async fn has_landed(
    log: &dyn TableLog,
    snapshot: &dyn Snapshot,
    commit: &Commit,
    last: Option<u64>,
) -> Result<bool, CommitError> {
    if let Some(transaction) = commit.transaction() {
        let there = position_there(log, snapshot, transaction).await?;
        if there >= Some(transaction.1) {
            return Ok(true);
        }
        if let Some(found) = there.filter(|_| there > last) {
            return Err(CommitError::Overtaken { found, last });
        }
    }
    if commit.kind == CommitKind::Upgrade {
        let landed = snapshot.protocol() == TableProtocol::NEW;
        if landed {
            log.sync().await?;
        }
        return Ok(landed);
    }
    if commit.remove.is_empty() {
        return Ok(false);
    }
    let files = snapshot.files().await?;
    let active: HashSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let is_active = |file: &DataFile| active.contains(file.path.as_str());
    let Some(gone) = commit.remove.iter().find(|file| !is_active(file)) else { return Ok(false) };
    // Names of files are never used twice: who finds those that it adds has added them. If others have replaced them since, the commit is
    // planned anew, which does no harm.
    let landed = commit.transaction().is_none() && !commit.add.is_empty() && commit.add.iter().all(is_active);
    if !landed {
        return Err(CommitError::Stale(gone.path.clone()));
    }
    log.sync().await?;
    Ok(true)
}

/// The writer's position in the table, durable if it is at least this one.
pub async fn position_there(
    log: &dyn TableLog,
    snapshot: &dyn Snapshot,
    (writer, position): (WriterId, u64),
) -> Result<Option<u64>, LogError> {
    let there = snapshot.transaction(writer).await?;
    if there >= Some(position) {
        log.sync().await?;
    }
    Ok(there)
}

fn step(point: FailPoint) -> Result<(), LogError> {
    failpoint::reach(point).map_err(|e| LogError::Store { place: "commit".into(), cause: e.to_string() })
}
