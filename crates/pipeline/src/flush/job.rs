//! The flush itself: files put, then one commit a table, each at most once.
//!
//! Safe to run again after any failure, in this process or after a restart: a table whose transaction has the position is done.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use promarchive_archive::Archive;
use promarchive_archive::commit::{CommitError, Committed, commit, position_there};
use promarchive_archive::file::{DataFilePath, EncodeError, EncodedFile, Origin, checksum};
use promarchive_archive::log::{Commit, CommitKind, DataFile, LogError, Snapshot, TableLog};
use promarchive_archive::schema::Table;
use promarchive_archive::store::Root;
use promarchive_model::environment::{Clock, Entropy};
use promarchive_model::failpoint::{self, FailPoint, Sabotage};
use promarchive_model::{Date, WriterId};

use super::report::TableReport;
use super::supersede;
use crate::settle::{FilePlan, Plan, Winners};

/// Commits between two checkpoints of a table's log, at least and at most. A reader reads each commit since the last one.
const CHECKPOINT_INTERVAL: u64 = 32;
const LONGEST_CHECKPOINT_INTERVAL: u64 = 256;
/// A checkpoint lists all files, so the more commits there were, the fewer there are: one in this part of all commits.
const CHECKPOINT_SHARE: u64 = 32;

/// How often a flush makes the change of a table before it fails, because others replace what it would replace.
const MOST_PLANS: u32 = 3;

/// Whether the log gets a checkpoint at this version. What checkpoints take of a flush, on average, hardly grows with the number of files.
fn is_checkpoint_due(version: u64) -> bool {
    let share = version.checked_ilog2().map_or(0, |log| (1 << log) / CHECKPOINT_SHARE);
    version.is_multiple_of(share.clamp(CHECKPOINT_INTERVAL, LONGEST_CHECKPOINT_INTERVAL))
}

/// Why a flush did not finish.
#[derive(Debug, thiserror::Error)]
pub enum FlushError {
    /// A file could not be encoded.
    #[error("{table}: {cause}")]
    Encode {
        /// Which table.
        table: &'static str,
        /// Why.
        cause: EncodeError,
    },
    /// A file could not be put.
    #[error(transparent)]
    Put(LogError),
    /// A file with superseded rows could not be written again.
    #[error("{path}: {cause}")]
    Rewrite {
        /// Which.
        path: String,
        /// Why.
        cause: String,
    },
    /// A commit failed.
    #[error("{table}: {cause}")]
    Commit {
        /// Which table.
        table: &'static str,
        /// Why.
        cause: CommitError,
    },
    /// The work was cut off: the program is ending.
    #[error("interrupted: {0}")]
    Cut(String),
}

impl FlushError {
    /// Whether only a new process can go on, which reads from the tables what is in them; else the same flush is tried again.
    pub fn needs_restart(&self) -> bool {
        matches!(self, Self::Commit { cause: CommitError::Overtaken { .. }, .. })
    }
}

/// Commits whose files are put, and that an earlier try could not finish. Each try makes the same commit of the same files: on a full disk
/// every file more that no log names would make it worse.
pub(crate) type Unfinished = Mutex<BTreeMap<Table, (Commit, TableReport)>>;

/// Whose flush it is, and where to.
pub(crate) struct Job<'a> {
    /// The tables.
    pub archive: &'a Archive,
    /// Whose WAL.
    pub writer: WriterId,
    /// Last WAL position in it.
    pub position: u64,
    /// The writer's last position in each table when the rows were chosen.
    pub last: BTreeMap<Table, u64>,
    pub clock: &'a dyn Clock,
    /// For names.
    pub entropy: &'a dyn Entropy,
    /// What earlier tries of this flush have put.
    pub unfinished: &'a Unfinished,
}

impl Job<'_> {
    /// Writes and commits all tables of the plan.
    pub(crate) async fn run(&self, plan: &Arc<Plan>) -> Result<BTreeMap<&'static str, TableReport>, FlushError> {
        point(FailPoint::FlushStart)?;
        let mut reports = BTreeMap::new();
        for (table, root, log) in self.archive.tables() {
            reports.insert(table.name(), self.table(plan, table, root, log.as_ref()).await?);
            point(FailPoint::TableCommitted)?;
        }
        Ok(reports)
    }

    /// A file that is to be written again may be replaced meanwhile: then the table's change is made anew, out of what is there now.
    async fn table(
        &self,
        plan: &Arc<Plan>,
        table: Table,
        root: &Root,
        log: &dyn TableLog,
    ) -> Result<TableReport, FlushError> {
        for _ in 1..MOST_PLANS {
            match self.try_table(plan, table, root, log).await {
                Err(FlushError::Commit { cause: CommitError::Stale(path), .. }) => {
                    tracing::debug!(
                        table = table.name(),
                        path,
                        "the file was replaced in the meantime; planning the change again"
                    );
                }
                done => return done,
            }
        }
        self.try_table(plan, table, root, log).await
    }

    async fn try_table(
        &self,
        plan: &Arc<Plan>,
        table: Table,
        root: &Root,
        log: &dyn TableLog,
    ) -> Result<TableReport, FlushError> {
        let failed = |cause: CommitError| FlushError::Commit { table: table.name(), cause };
        let files = plan.files(table);
        let superseding = Winners::of(plan, table, self.archive.label_columns());
        if files.is_empty() && superseding.is_empty() {
            return Ok(TableReport::default());
        }
        let snapshot = log.load().await.map_err(|e| failed(e.into()))?.ok_or_else(|| failed(CommitError::NoTable))?;
        let transaction = (self.writer, self.position);
        let there = position_there(log, snapshot.as_ref(), transaction).await.map_err(|e| failed(e.into()))?;
        if there >= Some(self.position) {
            // A try that was reported failed has landed, or that of an earlier process.
            let landed = locked(self.unfinished).remove(&table).map(|(_, report)| report).unwrap_or_default();
            return Ok(TableReport { version: Some(snapshot.version()), ..landed });
        }
        // Who forgets that an earlier try landed must forget its files, too: a file that is added twice is there once.
        let remembers = |_: &_| !failpoint::sabotaged(Sabotage::ForgetTransaction);
        let put = locked(self.unfinished).remove(&table).filter(remembers);
        let (mut change, mut report) = match put {
            Some(put) => put,
            None => self.put_all(plan, table, root, snapshot.as_ref(), files, superseding).await?,
        };
        self.stamp(&mut change);
        match commit(log, &change, self.last.get(&table).copied()).await {
            Ok(Committed::Now { version, races }) => {
                (report.version, report.races) = (Some(version), races);
                if is_checkpoint_due(version) {
                    checkpoint(table, log).await;
                }
            }
            Ok(Committed::Earlier) => report.version = Some(snapshot.version()),
            Err(vain @ (CommitError::Stale(_) | CommitError::Overtaken { .. })) => {
                self.discard(root, &change).await;
                return Err(failed(vain));
            }
            Err(cause) => {
                locked(self.unfinished).insert(table, (change, report));
                return Err(failed(cause));
            }
        }
        Ok(report)
    }

    /// Puts all files of a table. Either all are there, or none is left.
    async fn put_all(
        &self,
        plan: &Arc<Plan>,
        table: Table,
        root: &Root,
        snapshot: &dyn Snapshot,
        files: BTreeMap<Date, FilePlan>,
        superseding: Vec<Winners>,
    ) -> Result<(Commit, TableReport), FlushError> {
        let mut report = TableReport::default();
        let kind = CommitKind::Append { writer: self.writer, position: self.position };
        let mut change = Commit { kind, add: Vec::new(), remove: Vec::new(), time: 0 };
        let put = async {
            for (date, file) in files {
                let mut rest = Some(file);
                while let Some(file) = rest {
                    let (file, more) = self.encode(plan, table, date, file).await?;
                    report.rows += file.stats.rows;
                    change.add.push(self.put(root, self.path(date), self.origin(), file).await?);
                    rest = more;
                }
            }
            if !superseding.is_empty() {
                let failed = |e: LogError| FlushError::Commit { table: table.name(), cause: e.into() };
                let committed = snapshot.files().await.map_err(failed)?;
                let committed = supersede::Committed { table, root, files: &committed };
                self.supersede(committed, superseding, &mut change, &mut report).await?;
            }
            Ok(())
        };
        if let Err(error) = put.await {
            self.discard(root, &change).await;
            return Err(error);
        }
        report.files = change.add.len() as u64;
        report.bytes = change.add.iter().map(|file| file.size).sum();
        report.removed_files = change.remove.len() as u64;
        report.removed_bytes = change.remove.iter().map(|file| file.size).sum();
        Ok((change, report))
    }

    /// The time of the commit, also for its files: to recovery it says when the flush was. Files of earlier flushes keep theirs.
    fn stamp(&self, change: &mut Commit) {
        change.time = self.clock.now_ms();
        let own = self.origin();
        let files = change.add.iter_mut().filter(|file| file.origin == own);
        files.for_each(|file| file.modification_time = change.time);
    }

    /// Removes files that no log names and none will. One that stays only takes space.
    async fn discard(&self, root: &Root, change: &Commit) {
        for file in &change.add {
            let _ = root.delete(&file.path).await;
        }
    }

    /// Encoding takes the processor for a while: not on the threads that answer requests.
    async fn encode(
        &self,
        plan: &Arc<Plan>,
        table: Table,
        date: Date,
        file: FilePlan,
    ) -> Result<(EncodedFile, Option<FilePlan>), FlushError> {
        let (plan, label_columns, origin) = (plan.clone(), self.archive.label_columns().clone(), self.origin());
        let encoded =
            tokio::task::spawn_blocking(move || plan.encode(table, date, &file, &label_columns, &origin)).await;
        let encoded = encoded.map_err(|e| FlushError::Cut(e.to_string()))?;
        encoded.map_err(|cause| FlushError::Encode { table: table.name(), cause })
    }

    pub(super) fn origin(&self) -> Origin {
        Origin::Flush { writer: self.writer, position: self.position }
    }

    /// A name says the flush whose rows are in the file, for people and for earlier versions of this program.
    pub(super) fn path(&self, date: Date) -> DataFilePath {
        DataFilePath { date, position: self.position, writer: self.writer, nonce: self.entropy.next_u64() }
    }

    /// A name for the same rows.
    pub(super) fn path_like(&self, old: &DataFile) -> DataFilePath {
        let (writer, position) = old.origin.flushes().first().copied().unwrap_or((self.writer, self.position));
        DataFilePath { writer, position, ..self.path(old.date) }
    }

    pub(super) async fn put(
        &self,
        root: &Root,
        path: DataFilePath,
        origin: Origin,
        file: EncodedFile,
    ) -> Result<DataFile, FlushError> {
        point(FailPoint::FilePut)?;
        let (size, name, checksum) = (file.bytes.len() as u64, path.to_string(), checksum(&file.bytes));
        let put = root.put(&name, file.bytes.into()).await.map_err(FlushError::Put);
        if let Err(error) = put.and_then(|_| point(FailPoint::FilePutDone)) {
            // It may have landed, and the next try takes another name.
            let _ = root.delete(&name).await;
            return Err(error);
        }
        Ok(DataFile {
            path: name,
            size,
            modification_time: 0,
            date: path.date,
            stats: Some(file.stats),
            origin,
            checksum: Some(checksum),
        })
    }
}

/// A checkpoint only makes later loads cheaper: a failed one is reported and forgotten.
async fn checkpoint(table: Table, log: &dyn TableLog) {
    let reached = failpoint::reach(FailPoint::Checkpoint).map_err(|e| e.to_string());
    let written = match reached {
        Ok(()) => log.checkpoint().await.map_err(|e| e.to_string()),
        failed => failed,
    };
    if let Err(error) = written {
        tracing::warn!(table = table.name(), error, "cannot write a checkpoint; a later flush tries again");
    }
}

fn locked(unfinished: &Unfinished) -> MutexGuard<'_, BTreeMap<Table, (Commit, TableReport)>> {
    unfinished.lock().unwrap_or_else(PoisonError::into_inner)
}

fn point(point: FailPoint) -> Result<(), FlushError> {
    failpoint::reach(point)
        .map_err(|e| FlushError::Put(LogError::Store { place: format!("{point:?}"), cause: e.to_string() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_become_rarer_as_tables_grow() {
        let due = |versions: std::ops::Range<u64>| versions.filter(|&version| is_checkpoint_due(version)).count();
        assert!(is_checkpoint_due(32) && is_checkpoint_due(64) && !is_checkpoint_due(63));
        assert_eq!((due(1..2048), due(2048..4096), due(4096..8192), due(8192..16_384)), (63, 32, 32, 32));
        assert_eq!(due(1 << 20..2 << 20), (1 << 20) / 256, "readers have few commits to read");
    }
}
