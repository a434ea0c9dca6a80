//! The write path below HTTP as one object without threads or timers of its own: the receiver drives it from threads, a simulation
//! from a seed.
//!
//! ```text
//! resolve ──► commit_group ──► flush
//! series      WAL, synced;     freeze, settle, files, commits; then horizon, series, WAL are trimmed
//!             then memtable
//! ```
//!
//! The rules that make it exactly once (`docs/explanation/commit-protocol.md`): the memtable holds only records that the WAL holds,
//! synced; a flush takes all of it, and so exactly the records up to its position; flushes run one after the other.
//! Locks are taken in the order flushing, index, buffer, WAL.

mod delivered;
mod distant;
mod flush;
mod growth;
mod recent_rows;
pub mod recovery;
mod unpurged;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
pub use delivered::Delivered;
use delivered::REPLICA_LABEL;
pub use distant::distant_days;
use distant::is_distant;
pub use flush::FlushReport;
use flush::Pending;
use growth::Growing;
pub use growth::Growth;
use promarchive_archive::Archive;
use promarchive_archive::schema::Table;
use promarchive_model::environment::{Clock, Entropy};
use promarchive_model::{Date, Protocol, SetLabel, TimestampBounds, WriterId};
use promarchive_wal::{Position, Record, Wal, WalError};
use unpurged::Unpurged;

use crate::flush::{Load, MOST_DAYS};
use crate::memtable::{Batch, Horizon, Index, Memtable, Request, RequestKind, Unusable, resolve};

/// Time and randomness.
#[derive(Clone)]
pub struct Environment {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// What a request is held to, and what is done to it. A replay of its record does the same.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The earliest timestamp that is accepted, milliseconds since the epoch; [`i64::MIN`] for no limit.
    pub accept_from: i64,
    /// The latest one.
    pub accept_until: i64,
    /// Name and value of a label that is set on all of its series.
    pub label: Option<(Arc<str>, Arc<str>)>,
}

impl Terms {
    /// Only the latest timestamp is limited.
    pub fn until(accept_until: i64) -> Self {
        Self { accept_from: i64::MIN, accept_until, label: None }
    }

    fn bounds(&self) -> TimestampBounds {
        TimestampBounds { earliest: self.accept_from, latest: self.accept_until }
    }

    fn label(&self) -> Option<SetLabel<'_>> {
        let (name, value) = self.label.as_ref()?;
        SetLabel::new(name, value)
    }
}

/// A request that is resolved and not durable yet.
#[derive(Debug)]
pub struct Resolved {
    /// In which protocol.
    pub protocol: Protocol,
    /// When it arrived, milliseconds since the epoch.
    pub received_at: i64,
    /// What it was held to.
    pub terms: Terms,
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
    frozen: Option<Arc<Mutex<Memtable>>>,
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
    /// What of the WAL is still to be purged, because that failed.
    unpurged: Unpurged,
    /// The latest time at which anything was received or committed, milliseconds since the epoch.
    latest: AtomicI64,
    flushing: tokio::sync::Mutex<Option<Pending>>,
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
            unpurged: Unpurged::default(),
            latest: AtomicI64::new(latest),
            flushing: tokio::sync::Mutex::new(None),
        }
    }

    /// The tables.
    pub fn archive(&self) -> &Archive {
        &self.archive
    }

    /// The time of the clock, milliseconds since the epoch.
    pub fn now_ms(&self) -> i64 {
        self.environment.clock.now_ms()
    }

    /// The latest time that is known to have come, milliseconds since the epoch: that of the clock, or of what was received or committed
    /// before, if the clock is behind it.
    pub fn latest_time(&self) -> i64 {
        self.environment.clock.now_ms().max(self.latest.load(Ordering::Relaxed))
    }

    /// Resolves a request. `decoded` is the body decompressed; `growth` is told how the index grows.
    pub fn resolve(
        &self,
        protocol: Protocol,
        body: Bytes,
        decoded: &[u8],
        terms: Terms,
        growth: &impl Growth,
    ) -> Result<Resolved, Unusable> {
        let received_at = self.environment.clock.now_ms();
        self.latest.fetch_max(received_at, Ordering::Relaxed);
        let (bounds, label, kind) = (terms.bounds(), terms.label(), RequestKind::Arriving);
        let index = Growing { index: &self.index, growth };
        let batch = resolve(index, Request { protocol, body: decoded, bounds, received_at, label, kind })?;
        let delivered = batch.timestamps().map(|(first, newest)| {
            let index = locked(&self.index);
            let replica = batch.label_in_common(&index.series, REPLICA_LABEL).unwrap_or_default().into();
            Delivered { first, newest, replica }
        });
        Ok(Resolved { protocol, received_at, terms, body, batch, delivered })
    }

    /// Whether rows of these days, which are far from today, had better wait for the next flush, which has enough of such. `now` is the time to
    /// which they are far. Rows of days that it has anyway need not.
    pub fn has_too_many_days_for(&self, distant: &BTreeSet<Date>, now: i64) -> bool {
        let buffer = locked(&self.buffer);
        let days = buffer.live.days();
        !distant.is_subset(days) && days.iter().filter(|day| is_distant(**day, now)).count() >= MOST_DAYS
    }

    /// Makes a group durable, then buffers its rows. Called by one thread at a time. After an error nothing of the group may be acknowledged.
    pub fn commit_group(&self, group: &mut [Resolved]) -> Result<RangeInclusive<Position>, CommitGroupError> {
        let records: Vec<Record<'_>> = group
            .iter()
            .map(|resolved| Record {
                protocol: resolved.protocol,
                received_at: resolved.received_at,
                accept_from: resolved.terms.accept_from,
                accept_until: resolved.terms.accept_until,
                label: resolved.terms.label(),
                body: &resolved.body,
            })
            .collect();
        let positions = self.with_wal(|wal| wal.append_group(&records)).ok_or(CommitGroupError::Replaying)??;
        drop(records);
        let now = self.monotonic_ms();
        for (position, resolved) in (positions.start().get()..).zip(group) {
            self.apply(position, now, &mut resolved.batch);
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
        if !batch.metadata.is_empty() && !committed(Table::METADATA) {
            let mut index = locked(&self.index);
            batch.metadata.retain(|row| index.metadata.insert(row));
        }
        locked(&self.buffer).live.apply(position, since, batch, committed);
    }

    /// Buffers a record of the WAL again, but for the tables that hold it already. `decoded` is its body decompressed.
    pub fn replay(&self, position: Position, record: &Record<'_>, decoded: &[u8]) -> Result<(), Unusable> {
        let Record { protocol, received_at, accept_from, accept_until, label, .. } = *record;
        let (bounds, kind) = (TimestampBounds { earliest: accept_from, latest: accept_until }, RequestKind::Replayed);
        let request = Request { protocol, body: decoded, bounds, received_at, label, kind };
        let mut batch = resolve(&self.index, request)?;
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
    pub fn monotonic_ms(&self) -> i64 {
        i64::try_from(self.environment.clock.monotonic_ms()).unwrap_or(i64::MAX)
    }

    /// Bytes of WAL on disk.
    pub fn wal_bytes(&self) -> u64 {
        self.wal_bytes.load(Ordering::Relaxed)
    }

    /// What a flush policy decides from.
    pub fn load(&self) -> Load {
        let buffer = locked(&self.buffer);
        let since = buffer.pending_since.or(buffer.live.waiting_since());
        let age = since.map(|since| self.monotonic_ms().saturating_sub(since));
        Load {
            age: age.map(|age| Duration::from_millis(u64::try_from(age).unwrap_or(0))),
            memtable_bytes: buffer.live.heap_bytes() as u64,
            days: buffer.live.days().len(),
            wal_bytes: self.wal_bytes(),
        }
    }

    /// Bytes held.
    pub fn usage(&self) -> Usage {
        let (series, index_bytes) = {
            let index = locked(&self.index);
            (index.series.len(), index.heap_bytes())
        };
        let buffer = locked(&self.buffer);
        Usage {
            series,
            index_bytes,
            memtable_bytes: buffer.live.heap_bytes() + buffer.frozen_bytes,
            flush_bytes: buffer.live.flush_bytes() + buffer.pending_bytes,
            horizon_bytes: buffer.horizon_bytes,
            wal_bytes: self.wal_bytes(),
        }
    }
}
