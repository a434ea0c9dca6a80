//! The write path below HTTP as one object without threads or timers of its own: the receiver drives it from threads, a simulation
//! from a seed.
//!
//! ```text
//! accept ──► commit_group ──► flush
//! resolve    WAL, synced;     freeze, settle, files, commits; then horizon, series, WAL are trimmed
//!            then memtable
//! ```
//!
//! The rules that make it exactly once (`docs/explanation/commit-protocol.md`): the memtable holds only records that the WAL holds,
//! synced; a flush takes all of it, and so exactly the records up to its position; flushes run one after the other.
//! Locks are taken in the order flushing, index, buffer, WAL.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::deliveries::Delivered;
use crate::environment::{Clock, Entropy};
use crate::failpoint::{self, FailPoint};
use crate::flush::{FlushError, Job, Load, MOST_DAYS, Plan, Settled, TableReport, Unfinished, settle};
use crate::memtable::{Batch, Generation, Horizon, Index, Memtable, SeriesRef, SeriesView, resolve};
use crate::remote_write::{DecodeError, EARLIEST_TIMESTAMP, Protocol, TimestampBounds};
use crate::schema::Table;
use crate::table::{Archive, Date, chain};
use crate::wal::{Position, Record, Wal, WalError, WriterId};

/// Series whose labels are looked up under one lock.
const VIEW_PART: usize = 4096;

/// The label that tells the replicas of one Prometheus apart; see [`super::deliveries`].
const REPLICA_LABEL: &str = "prometheus_replica";

/// Time and randomness.
#[derive(Clone)]
pub struct Environment {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// A request that is resolved and not durable yet.
#[derive(Debug)]
pub struct Accepted {
    /// In which protocol.
    pub protocol: Protocol,
    /// When it arrived, milliseconds since the epoch.
    pub received_at: i64,
    /// The latest timestamp that it was allowed.
    pub accept_until: i64,
    /// The body as received.
    pub body: Bytes,
    /// Its rows.
    pub batch: Batch,
    /// What its samples and histograms span; none if it has none.
    pub delivered: Option<Delivered>,
}

/// Why a group is not durable.
#[derive(Debug, thiserror::Error)]
pub enum CommitGroupError {
    /// The WAL is not replayed yet.
    #[error("the write-ahead log is being replayed")]
    Replaying,
    /// The WAL failed.
    #[error(transparent)]
    Wal(#[from] WalError),
}

/// What a flush did.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FlushReport {
    /// Last position of the WAL that is in the tables.
    pub position: u64,
    /// Rows that were there already.
    pub duplicates: u64,
    /// Rows that claimed the place of another with a different content; one of the two is kept.
    pub conflicts: u64,
    /// By table.
    pub tables: BTreeMap<&'static str, TableReport>,
}

/// Rows taken for a flush that has not finished yet.
#[derive(Clone)]
struct Pending {
    position: u64,
    plan: Arc<Plan>,
    unfinished: Arc<Unfinished>,
}

/// How far replay is: its rows came when the horizon reached further back, and need all of what was read.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Replay {
    /// More rows may come.
    #[default]
    Running,
    /// Rows wait for a flush.
    Buffered,
    /// All its rows are settled.
    Done,
}

#[derive(Default)]
struct Buffer {
    live: Memtable,
    /// Taken for a flush, not laid out yet.
    frozen: Option<Arc<Memtable>>,
    horizon: Arc<Horizon>,
    replay: Replay,
    horizon_bytes: usize,
    /// Of the memtable that a flush has taken, until it is laid out.
    frozen_bytes: usize,
    /// What that flush takes, until it is done.
    pending_bytes: usize,
    /// From when the oldest row waits that a flush has taken, on the monotonic clock.
    pending_since: Option<i64>,
}

/// Bytes held, by what for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Known series.
    pub series: usize,
    /// Label sets and metadata.
    pub index_bytes: usize,
    /// Rows that wait for a flush or are being flushed.
    pub memtable_bytes: usize,
    /// What their flush takes or will take beside them, but for encoding, which takes the same for all.
    pub flush_bytes: usize,
    /// What the last flushes wrote.
    pub horizon_bytes: usize,
    /// WAL on disk.
    pub wal_bytes: u64,
}

impl Usage {
    /// All memory.
    pub fn memory_bytes(&self) -> usize {
        self.index_bytes + self.memtable_bytes + self.flush_bytes + self.horizon_bytes
    }
}

/// The write path of one receiver.
pub struct Core {
    archive: Archive,
    environment: Environment,
    writer: WriterId,
    /// Last position of this writer in each table when the core was opened.
    committed: BTreeMap<Table, u64>,
    /// The same by now.
    in_tables: Mutex<BTreeMap<Table, u64>>,
    horizon_ms: i64,
    index: Mutex<Index>,
    buffer: Mutex<Buffer>,
    /// None until it is replayed.
    wal: Mutex<Option<Wal>>,
    /// The WAL's size, apart from it: its lock is held while the disk syncs.
    wal_bytes: AtomicU64,
    /// Last position that a flush of this writer has put into the tables.
    flushed: AtomicU64,
    /// The latest time at which anything was received or committed, milliseconds since the epoch.
    latest: AtomicI64,
    flushing: tokio::sync::Mutex<Option<Pending>>,
}

fn bounds(accept_until: i64) -> TimestampBounds {
    TimestampBounds { earliest: EARLIEST_TIMESTAMP, latest: accept_until }
}

/// A poisoned lock means a panic elsewhere; what it guards is changed in single steps, and durability does not rest on it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    /// A core with what recovery found in the tables; the WAL follows by [`Self::replay`] and [`Self::attach`].
    pub fn new(
        archive: Archive,
        environment: Environment,
        writer: WriterId,
        committed: BTreeMap<Table, u64>,
        index: Index,
        horizon: Horizon,
        keep: Duration,
    ) -> Self {
        let horizon_bytes = horizon.heap_bytes();
        let latest = horizon.generations().map(|generation| generation.committed_at).max().unwrap_or(i64::MIN);
        let flushed = committed.values().copied().max().unwrap_or(0);
        Self {
            archive,
            environment,
            writer,
            in_tables: Mutex::new(committed.clone()),
            committed,
            horizon_ms: i64::try_from(keep.as_millis()).unwrap_or(i64::MAX),
            index: Mutex::new(index),
            buffer: Mutex::new(Buffer { horizon: Arc::new(horizon), horizon_bytes, ..Buffer::default() }),
            wal: Mutex::new(None),
            wal_bytes: AtomicU64::new(0),
            flushed: AtomicU64::new(flushed),
            latest: AtomicI64::new(latest),
            flushing: tokio::sync::Mutex::new(None),
        }
    }

    /// The tables.
    pub fn archive(&self) -> &Archive {
        &self.archive
    }

    /// The latest time that is known to have come, milliseconds since the epoch: that of the clock, or of what was received or committed
    /// before, if the clock is behind it.
    pub fn latest_time(&self) -> i64 {
        self.environment.clock.now_ms().max(self.latest.load(Ordering::Relaxed))
    }

    /// Resolves a request. `decoded` is the body decompressed. Rows after `accept_until` (milliseconds since the epoch) are refused.
    pub fn accept(
        &self,
        protocol: Protocol,
        body: Bytes,
        decoded: &[u8],
        accept_until: i64,
    ) -> Result<Accepted, DecodeError> {
        let received_at = self.environment.clock.now_ms();
        self.latest.fetch_max(received_at, Ordering::Relaxed);
        let mut index = locked(&self.index);
        let batch = resolve(&mut index, protocol, decoded, bounds(accept_until), received_at)?;
        let delivered = batch.timestamps().map(|(first, newest)| {
            let replica = batch.label_in_common(&index.series, REPLICA_LABEL).unwrap_or_default().into();
            Delivered { first, newest, replica }
        });
        drop(index);
        Ok(Accepted { protocol, received_at, accept_until, body, batch, delivered })
    }

    /// Whether rows of further days had better wait for the next flush, which has enough of them. Rows of days that it has anyway need not.
    pub fn has_too_many_days_for(&self, batch: &Batch) -> bool {
        let buffer = locked(&self.buffer);
        let days = buffer.live.days();
        days.len() >= MOST_DAYS && batch.all_timestamps().any(|timestamp| !days.contains(&Date::of(timestamp)))
    }

    /// Makes a group durable, then buffers its rows. Called by one thread at a time. After an error nothing of the group may be acknowledged.
    pub fn commit_group(&self, group: &mut [Accepted]) -> Result<RangeInclusive<Position>, CommitGroupError> {
        let records: Vec<Record<'_>> = group
            .iter()
            .map(|accepted| Record {
                protocol: accepted.protocol,
                received_at: accepted.received_at,
                accept_until: accepted.accept_until,
                body: &accepted.body,
            })
            .collect();
        let positions = self.with_wal(|wal| wal.append_group(&records)).ok_or(CommitGroupError::Replaying)??;
        drop(records);
        let now = self.monotonic_ms();
        for (position, accepted) in (positions.start().get()..).zip(group) {
            self.apply(position, now, &mut accepted.batch);
        }
        Ok(positions)
    }

    fn with_wal<T>(&self, work: impl FnOnce(&mut Wal) -> T) -> Option<T> {
        let mut wal = locked(&self.wal);
        let wal = wal.as_mut()?;
        let result = work(wal);
        self.wal_bytes.store(wal.size_bytes(), Ordering::Relaxed);
        Some(result)
    }

    /// `since` is from when its rows wait, on the monotonic clock.
    fn apply(&self, position: u64, since: i64, batch: &mut Batch) {
        let committed = |table: Table| self.committed.get(&table).is_some_and(|&committed| position <= committed);
        // What the table holds was made known when it was read. A record at or below its position that was refused to its sender is not in it.
        if !batch.metadata.is_empty() && !committed(Table::Metadata) {
            let mut index = locked(&self.index);
            batch.metadata.retain(|row| index.metadata.insert(row));
        }
        locked(&self.buffer).live.apply(position, since, batch, committed);
    }

    /// Buffers a record of the WAL again, but for the tables that hold it already. `decoded` is its body decompressed.
    pub fn replay(&self, position: Position, record: &Record<'_>, decoded: &[u8]) -> Result<(), DecodeError> {
        let Record { protocol, received_at, accept_until, .. } = *record;
        let mut batch = resolve(&mut locked(&self.index), protocol, decoded, bounds(accept_until), received_at)?;
        self.latest.fetch_max(received_at, Ordering::Relaxed);
        // Another process received it, so only the wall clock can say how long it has waited.
        let waited = self.environment.clock.now_ms().saturating_sub(received_at).max(0);
        self.apply(position.get(), self.monotonic_ms().saturating_sub(waited), &mut batch);
        Ok(())
    }

    /// Takes the WAL, once it is replayed.
    pub fn attach(&self, wal: Wal) {
        let mut buffer = locked(&self.buffer);
        let buffered = buffer.live.position() > 0 || buffer.frozen.is_some();
        buffer.replay = if buffered { Replay::Buffered } else { Replay::Done };
        drop(buffer);
        *locked(&self.wal) = Some(wal);
        self.with_wal(|_| ());
    }

    /// How long rows wait is measured with this clock: the other one may be set while they do.
    fn monotonic_ms(&self) -> i64 {
        i64::try_from(self.environment.clock.monotonic_ms()).unwrap_or(i64::MAX)
    }

    /// What a flush policy decides from.
    pub fn load(&self) -> Load {
        let wal_bytes = self.wal_bytes.load(Ordering::Relaxed);
        let buffer = locked(&self.buffer);
        let since = buffer.pending_since.or(buffer.live.waiting_since());
        let age = since.map(|since| self.monotonic_ms().saturating_sub(since));
        Load {
            age: age.map(|age| Duration::from_millis(u64::try_from(age).unwrap_or(0))),
            memtable_bytes: buffer.live.heap_bytes() as u64,
            days: buffer.live.days().len(),
            wal_bytes,
        }
    }

    /// Bytes held.
    pub fn usage(&self) -> Usage {
        let (series, index_bytes) = {
            let index = locked(&self.index);
            (index.series.len(), index.heap_bytes())
        };
        let wal_bytes = self.wal_bytes.load(Ordering::Relaxed);
        let buffer = locked(&self.buffer);
        Usage {
            series,
            index_bytes,
            memtable_bytes: buffer.live.heap_bytes() + buffer.frozen_bytes,
            flush_bytes: buffer.live.flush_bytes() + buffer.pending_bytes,
            horizon_bytes: buffer.horizon_bytes,
            wal_bytes,
        }
    }

    /// Commits everything that was buffered when it was called: first what a failed flush left, then the memtable.
    pub async fn flush(self: &Arc<Self>) -> Result<FlushReport, FlushError> {
        let mut flushing = self.flushing.lock().await;
        let target = locked(&self.buffer).live.position();
        let mut report = FlushReport { position: self.flushed.load(Ordering::Relaxed), ..FlushReport::default() };
        if let Some(pending) = flushing.clone() {
            report.add(self.flush_pending(&pending).await?);
            *flushing = None;
        }
        // Twice if a flush was cut off between taking the memtable and laying it out.
        loop {
            *flushing = self.freeze().await?;
            let Some(pending) = flushing.clone() else { return Ok(report) };
            report.add(self.flush_pending(&pending).await?);
            *flushing = None;
            if report.position >= target {
                return Ok(report);
            }
        }
    }

    /// Takes the memtable and lays its rows out. What is taken stays in the buffer until it is laid out: a later flush must never
    /// commit a position without these rows.
    async fn freeze(self: &Arc<Self>) -> Result<Option<Pending>, FlushError> {
        let core = self.clone();
        let taken =
            tokio::task::spawn_blocking(move || core.take()).await.map_err(|e| FlushError::Cut(e.to_string()))?;
        let Some((memtable, horizon)) = taken else { return Ok(None) };
        let position = memtable.position();
        let settled = {
            let memtable = memtable.clone();
            tokio::task::spawn_blocking(move || settle(&memtable, &horizon)).await
        };
        let settled = settled.map_err(|e| FlushError::Cut(e.to_string()))?;
        let view = self.view(&settled);
        let plan = tokio::task::spawn_blocking(move || Plan::new(settled, view)).await;
        let plan = Arc::new(plan.map_err(|e| FlushError::Cut(e.to_string()))?);
        let mut buffer = locked(&self.buffer);
        (buffer.frozen, buffer.frozen_bytes) = (None, 0);
        drop(buffer);
        Ok(Some(Pending { position, plan, unfinished: Arc::default() }))
    }

    /// The labels of all series of a flush. In parts, because requests wait meanwhile; series are forgotten at the end of a flush only, and
    /// when none is under way.
    fn view(&self, settled: &Settled) -> SeriesView {
        let mut view = SeriesView::default();
        for part in settled.series().chunks(VIEW_PART) {
            locked(&self.index).series.add_to(&mut view, part.iter().copied());
        }
        view
    }

    fn take(&self) -> Option<(Arc<Memtable>, Arc<Horizon>)> {
        // Waits while the disk syncs a group.
        self.with_wal(Wal::end_segment);
        let mut buffer = locked(&self.buffer);
        if buffer.frozen.is_none() && buffer.live.position() > 0 {
            let memtable = std::mem::take(&mut buffer.live);
            (buffer.frozen_bytes, buffer.pending_bytes) = (memtable.heap_bytes(), memtable.flush_bytes());
            buffer.pending_since = memtable.waiting_since();
            buffer.frozen = Some(Arc::new(memtable));
        }
        buffer.frozen.clone().map(|memtable| (memtable, buffer.horizon.clone()))
    }

    async fn flush_pending(self: &Arc<Self>, pending: &Pending) -> Result<FlushReport, FlushError> {
        let Environment { clock, entropy } = &self.environment;
        let (clock, entropy) = (clock.as_ref(), entropy.as_ref());
        let Pending { position, unfinished, .. } = pending;
        let (writer, position, last) = (self.writer, *position, locked(&self.in_tables).clone());
        let job = Job { archive: &self.archive, writer, position, last, clock, entropy, unfinished };
        let tables = job.run(&pending.plan).await?;
        let committed = |table: &Table| tables.get(table.name()).is_some_and(|report| report.version.is_some());
        let now = Table::ALL.into_iter().filter(committed).map(|table| (table, position));
        locked(&self.in_tables).extend(now);
        let (core, done) = (self.clone(), pending.clone());
        // Committed is committed: what is not trimmed now is trimmed after the next flush.
        let trimmed = tokio::task::spawn_blocking(move || core.trim(&done)).await;
        trimmed.map_err(|e| FlushError::Cut(e.to_string()))?;
        let settled = &pending.plan.settled;
        let (duplicates, conflicts) = (settled.duplicates, settled.conflicts);
        Ok(FlushReport { position: pending.position, duplicates, conflicts, tables })
    }

    /// After the commit: the horizon moves on, unused series are forgotten, the WAL is purged.
    fn trim(&self, pending: &Pending) {
        let settled = &pending.plan.settled;
        let flush = (self.writer, pending.position);
        let generation = settled.generation(flush, self.environment.clock.now_ms());
        self.flushed.fetch_max(pending.position, Ordering::Relaxed);
        self.remember(generation, settled.changed_generations(&self.horizon()));
        self.forget_unused();
        let purged = failpoint::reach(FailPoint::PurgeStart).map_err(|e| e.to_string()).and_then(|()| {
            let purged = self.with_wal(|wal| wal.purge(Position::new(pending.position)));
            purged.unwrap_or(Ok(())).map_err(|e| chain(&e))
        });
        if let Err(error) = purged {
            tracing::warn!(error, "the WAL keeps segments that are in the tables already; they go with a later flush");
        }
    }

    fn horizon(&self) -> Arc<Horizon> {
        locked(&self.buffer).horizon.clone()
    }

    fn remember(&self, generation: Generation, changed: Vec<Generation>) {
        let mut buffer = locked(&self.buffer);
        let mut horizon = (*buffer.horizon).clone();
        horizon.replace(changed);
        if buffer.replay == Replay::Running {
            horizon.push(generation, i64::MAX);
        } else {
            horizon.push(generation, self.horizon_ms);
            buffer.replay = Replay::Done;
        }
        buffer.horizon_bytes = horizon.heap_bytes();
        buffer.horizon = Arc::new(horizon);
        buffer.pending_bytes = 0;
        buffer.pending_since = None;
    }

    fn forget_unused(&self) {
        let mut index = locked(&self.index);
        let buffer = locked(&self.buffer);
        let mut used = vec![false; index.series.bound()];
        let mut mark = |series: SeriesRef| {
            if let Some(used) = used.get_mut(series as usize) {
                *used = true;
            }
        };
        buffer.live.for_each_series(&mut mark);
        buffer.horizon.for_each_series(&mut mark);
        drop(buffer);
        let forgotten = index.series.forget_unused(|series| used.get(series as usize).copied().unwrap_or(true));
        tracing::debug!(forgotten, left = index.series.len(), "series");
    }

    /// Gives back what can be given back without a flush: memory is short.
    pub async fn relieve(self: &Arc<Self>) {
        let no_flush = self.flushing.lock().await;
        {
            let mut buffer = locked(&self.buffer);
            if buffer.replay == Replay::Done {
                let mut horizon = (*buffer.horizon).clone();
                horizon.shrink();
                buffer.horizon_bytes = horizon.heap_bytes();
                buffer.horizon = Arc::new(horizon);
            }
        }
        if no_flush.is_none() && locked(&self.buffer).frozen.is_none() {
            self.forget_unused();
        }
    }
}

impl FlushReport {
    fn add(&mut self, other: Self) {
        self.position = self.position.max(other.position);
        self.duplicates += other.duplicates;
        self.conflicts += other.conflicts;
        for (table, report) in other.tables {
            let sum = self.tables.entry(table).or_default();
            sum.rows += report.rows;
            sum.superseded += report.superseded;
            sum.files += report.files;
            sum.bytes += report.bytes;
            sum.races += report.races;
            sum.version = report.version.or(sum.version);
        }
    }
}
