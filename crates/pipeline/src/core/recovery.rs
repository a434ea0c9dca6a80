//! Opening what an earlier process left: what the tables hold, what was flushed lately, what only the WAL has.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use promarchive_archive::Archive;
use promarchive_archive::commit::MIN_GENERATIONS;
use promarchive_archive::file::Origin;
use promarchive_archive::file::decode::DecodeFileError;
use promarchive_archive::log::LogError;
use promarchive_archive::schema::Table;
use promarchive_archive::store::StoredFile;
use promarchive_model::failpoint::{self, FailPoint, Sabotage};
use promarchive_model::{Date, FlushId, MalformedLabels, WriterId};
use promarchive_wal::{Disk, Options, Position, Record, Recovery, Wal, WalError};
use promarchive_wire::decompress;

use super::recent_rows::{read_horizon, read_metadata};
use super::{Core, Environment};
use crate::flush::{FlushError, MOST_DAYS};
use crate::memtable::{Horizon, Index, MetadataIndex, Unusable};

/// A WAL record's body was accepted once, under limits that may have changed: this bounds what is believed of its length.
const MAX_DECODED_BYTES: usize = 1 << 30;

/// Why what an earlier process left cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The WAL.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// A table's log or store.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A file of the last flushes cannot be read: without it, what is sent again could not be told from what is new.
    #[error("{path}: {cause}; restore the file from a backup, or create a new archive")]
    File {
        /// Which.
        path: String,
        /// Why.
        cause: DecodeFileError,
    },
    /// Its labels are not canonical.
    #[error("{path}: invalid labels: {cause}; restore the file from a backup, or create a new archive")]
    Labels {
        /// Which file.
        path: String,
        /// Why.
        cause: MalformedLabels,
    },
    /// A record that was accepted once cannot be decoded: this program is older than the one that wrote it, or at fault.
    #[error(
        "WAL record {position} cannot be decoded ({cause}): start the version of promarchive that wrote it, let it \
         flush, and report this as a bug"
    )]
    Record {
        /// Which.
        position: Position,
        /// Why.
        cause: Unusable,
    },
    /// The rows of the last flushes do not fit into memory.
    #[error(
        "the rows of the last flushes, which are needed to recognise repeated samples, need more memory than the \
         limit of {} MiB: increase --memory-limit, or check the archive with `promarchive verify`",
        .limit >> 20
    )]
    Memory {
        /// Of the receiver, in bytes.
        limit: u64,
    },
    /// Memory had to be freed while the WAL was replayed, and could not.
    #[error(transparent)]
    Flush(#[from] FlushError),
}

impl RecoveryError {
    /// Whether another try may succeed by itself.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Wal(e) => e.is_retryable(),
            Self::Log(e) => e.is_retryable(),
            Self::Flush(_) => true,
            Self::File { .. } | Self::Labels { .. } | Self::Record { .. } | Self::Memory { .. } => false,
        }
    }
}

/// How to open.
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions {
    /// How long the horizon reaches back, at least.
    pub keep: Duration,
    /// Bytes of memtable after which replay flushes before it goes on.
    pub flush_bytes: u64,
    /// The most that the last flushes may take, in bytes.
    pub memory_bytes: u64,
    /// Of the WAL.
    pub wal: Options,
}

/// Opens the write path on an archive and a WAL directory that nobody else uses. `locks` say so to others: they are held until nothing of
/// the work goes on any more, also if nobody waits for its end.
pub async fn open(
    archive: Archive,
    disk: Arc<dyn Disk>,
    environment: Environment,
    options: OpenOptions,
    locks: Arc<dyn Any + Send + Sync>,
) -> Result<(Arc<Core>, Recovery), RecoveryError> {
    let writer = promarchive_wal::load_or_create_writer(disk.as_ref(), environment.entropy.as_ref())?;
    let committed = committed(&archive, writer).await?;
    let index = Index::new(environment.entropy.next_u64());
    let first = Wal::first_position(disk.as_ref())?;
    let recent = recent_files(&archive, (writer, first.get()), options.keep).await?;
    let metadata = metadata_files(&archive).await?;
    let reading = archive.clone();
    let read = tokio::task::spawn_blocking(move || -> Result<(Index, Horizon), RecoveryError> {
        let mut index = index;
        let horizon = read_horizon(&reading, &mut index, recent, options.memory_bytes)?;
        read_metadata(&reading, &mut index.metadata, metadata)?;
        Ok((index, horizon))
    });
    let (index, horizon) = read.await.map_err(|e| RecoveryError::Flush(FlushError::Cut(e.to_string())))??;
    let floor =
        committed.values().copied().max().filter(|_| !failpoint::sabotaged(Sabotage::RestartPositions)).unwrap_or(0);
    let core = Arc::new(Core::new(archive, environment.clone(), writer, committed, index, horizon, options.keep));
    let (replaying, runtime) = (core.clone(), tokio::runtime::Handle::current());
    let replay = tokio::task::spawn_blocking(move || {
        let _locks = locks;
        let mut decoded = Vec::new();
        let visit = |position: Position, record: Record<'_>| -> Result<(), RecoveryError> {
            let failed = |cause: Unusable| RecoveryError::Record { position, cause };
            failpoint::reach(FailPoint::ReplayRecord)
                .map_err(|e| RecoveryError::Flush(FlushError::Cut(e.to_string())))?;
            decompress(record.body, MAX_DECODED_BYTES, &mut decoded).map_err(|cause| failed(cause.into()))?;
            replaying.replay(position, &record, &decoded).map_err(failed)?;
            let load = replaying.load();
            if load.memtable_bytes >= options.flush_bytes || load.days >= MOST_DAYS {
                runtime.block_on(replaying.flush())?;
            }
            Ok(())
        };
        let Environment { entropy, .. } = environment;
        Wal::recover(disk, entropy, writer, Position::new(floor), options.wal, visit)
    });
    let (wal, recovery) = replay.await.map_err(|e| RecoveryError::Flush(FlushError::Cut(e.to_string())))??;
    core.attach(wal);
    failpoint::reach(FailPoint::ReplayDone).map_err(|e| RecoveryError::Flush(FlushError::Cut(e.to_string())))?;
    Ok((core, recovery))
}

/// The last position of the writer in each table. The process before may have been killed between a commit and its sync: the WAL must not
/// be purged for what is in memory only.
async fn committed(archive: &Archive, writer: WriterId) -> Result<BTreeMap<Table, u64>, LogError> {
    let mut committed = BTreeMap::new();
    for (table, _, log) in archive.tables() {
        let Some(snapshot) = log.load().await? else { continue };
        log.sync().await?;
        if let Some(position) = snapshot.transaction(writer).await? {
            committed.insert(table, position);
        }
    }
    Ok(committed)
}

/// The files of one flush, and when the last of them was committed, milliseconds since the epoch.
#[derive(Debug, Default)]
pub(super) struct FlushFiles {
    pub(super) committed_at: i64,
    pub(super) files: Vec<(Table, StoredFile)>,
}

/// The files of the last flushes, whoever the writer was: a new WAL directory does not make old rows new.
///
/// Replay settles rows as they would have been settled when they were received, so the horizon is the one of the oldest record in the
/// WAL, `first`: all flushes that may hold it or a later one, and of those before them what the horizon held then.
async fn recent_files(
    archive: &Archive,
    first: FlushId,
    keep: Duration,
) -> Result<Vec<(FlushId, FlushFiles)>, RecoveryError> {
    let mut flushes: BTreeMap<FlushId, FlushFiles> = BTreeMap::new();
    for (table, root, log) in archive.tables().filter(|(table, ..)| table.has_series()) {
        let Some(snapshot) = log.load().await? else { continue };
        for file in snapshot.files().await? {
            let Some(id) = generation_of(&file.origin, first.0) else { continue };
            let flush = flushes.entry(id).or_default();
            flush.committed_at = file.modification_time.max(flush.committed_at);
            flush.files.push((table, root.file(&file)));
        }
    }
    // Flushes of one WAL came in the order of their positions, whatever the clock said then.
    let mut latest: Option<(WriterId, i64)> = None;
    for (&(writer, _), flush) in &mut flushes {
        let before = latest.filter(|&(other, _)| other == writer).map_or(i64::MIN, |(_, time)| time);
        flush.committed_at = flush.committed_at.max(before);
        latest = Some((writer, flush.committed_at));
    }
    let mut by_time: Vec<(FlushId, FlushFiles)> = flushes.into_iter().collect();
    by_time.sort_by_key(|(id, flush)| (flush.committed_at, *id));
    // The oldest record came after the last flush of its own WAL that does not hold it, whatever other WALs flushed since.
    let of_the_wal = |&((writer, _), _): &(FlushId, FlushFiles)| writer == first.0;
    let holds_it = |&((_, position), _): &(FlushId, FlushFiles)| position >= first.1;
    let preceding = by_time.iter().rposition(|flush| of_the_wal(flush) && !holds_it(flush)).map(|at| at + 1);
    let came = preceding.or_else(|| by_time.iter().position(of_the_wal)).unwrap_or(by_time.len());
    let before = by_time.get(..came).unwrap_or_default();
    let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
    let last_but_one = before.iter().rev().nth(1);
    let oldest = last_but_one.map_or(0, |(_, flush)| flush.committed_at.saturating_sub(keep));
    let kept = before.iter().rev().enumerate();
    let kept = kept.take_while(|&(age, (_, flush))| age < MIN_GENERATIONS || flush.committed_at >= oldest).count();
    let dropped = before.len() - kept;
    Ok(by_time.split_off(dropped))
}

/// As which flush the horizon remembers a file. The rows of a merged file cannot be told apart: they count as its newest flush of this
/// receiver's `own` WAL, or else of another one. A file that holds no flush says nothing of what was sent here, so it is not looked at.
fn generation_of(origin: &Origin, own: WriterId) -> Option<FlushId> {
    let flushes = origin.flushes();
    flushes.iter().find(|(writer, _)| *writer == own).or(flushes.first()).copied()
}

/// The files of metadata of the last days that its table has: records that were received then may be replayed now, however late it is.
async fn metadata_files(archive: &Archive) -> Result<Vec<StoredFile>, RecoveryError> {
    let Some((root, log)) = archive.table(Table::METADATA) else { return Ok(Vec::new()) };
    let Some(snapshot) = log.load().await? else { return Ok(Vec::new()) };
    let mut files = snapshot.files().await?;
    // Such a file may have any columns, and its rows did not come through here.
    files.retain(|file| file.origin != Origin::Foreign);
    let days: BTreeSet<Date> = files.iter().map(|file| file.date).collect();
    let last: BTreeSet<Date> = days.into_iter().rev().take(MetadataIndex::DAYS).collect();
    Ok(files.iter().filter(|file| last.contains(&file.date)).map(|file| root.file(file)).collect())
}
