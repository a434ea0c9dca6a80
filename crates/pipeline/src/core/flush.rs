//! A flush, from the memtable to what is trimmed behind it.
//!
//! ```text
//! freeze ──► flush_pending ──► trim
//! take, settle, lay out   files, commits   horizon, series, WAL
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use promarchive_archive::schema::Table;
use promarchive_model::failpoint::{self, FailPoint};
use promarchive_model::{WriterId, chain};
use promarchive_wal::{Position, Wal};
use serde::Serialize;

use super::unpurged::News;
use super::{Core, Environment, Replay, locked};
use crate::flush::{FlushError, Job, TableReport, Unfinished};
use crate::memtable::{Cost, Generation, Horizon, Memtable, SeriesRef, SeriesView};
use crate::settle::{Plan, Settled, settle};

/// Series whose labels are looked up under one lock.
const VIEW_PART: usize = 4096;

/// What a flush did.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FlushReport {
    /// Last position of the WAL that is in the tables.
    pub position: u64,
    /// Rows that were there already.
    pub duplicates: u64,
    /// Rows whose key another row has with a different content; one of the two is kept.
    pub conflicts: u64,
    /// By table.
    pub tables: BTreeMap<&'static str, TableReport>,
}

/// Rows taken for a flush that has not finished yet.
#[derive(Clone)]
pub(super) struct Pending {
    position: u64,
    plan: Arc<Plan>,
    unfinished: Arc<Unfinished>,
}

impl Core {
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
            let Some(pending) = flushing.clone() else {
                self.purge_again();
                return Ok(report);
            };
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
        let settling = tokio::task::spawn_blocking(move || {
            let mut memtable = locked(&memtable);
            (memtable.position(), settle(&mut memtable, &horizon))
        });
        let (position, settled) = settling.await.map_err(|e| FlushError::Cut(e.to_string()))?;
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

    fn take(&self) -> Option<(Arc<Mutex<Memtable>>, Arc<Horizon>)> {
        // Waits while the disk syncs a group.
        self.with_wal(Wal::end_segment);
        let mut buffer = locked(&self.buffer);
        if buffer.frozen.is_none() && buffer.live.position() > 0 {
            let memtable = std::mem::take(&mut buffer.live);
            (buffer.frozen_bytes, buffer.pending_bytes) = (memtable.heap_bytes(), memtable.flush_bytes());
            buffer.pending_since = memtable.waiting_since();
            buffer.frozen = Some(Arc::new(Mutex::new(memtable)));
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
        let trimmed = tokio::task::spawn_blocking(move || {
            core.trim(&done, &tables);
            tables
        });
        let tables = trimmed.await.map_err(|e| FlushError::Cut(e.to_string()))?;
        let settled = &pending.plan.settled;
        let (duplicates, conflicts) = (settled.duplicates, settled.conflicts);
        Ok(FlushReport { position: pending.position, duplicates, conflicts, tables })
    }

    /// After the commit: the horizon moves on, unused series are forgotten, the WAL is purged.
    fn trim(&self, pending: &Pending, tables: &BTreeMap<&'static str, TableReport>) {
        let settled = &pending.plan.settled;
        let flush = (self.writer, pending.position);
        let moved = |table: Table, flush, date| {
            tables.get(table.name()).is_some_and(|report| report.moved.contains(&(flush, date)))
        };
        let generation = settled.generation(flush, self.environment.clock.now_ms(), moved);
        self.flushed.fetch_max(pending.position, Ordering::Relaxed);
        self.remember(generation, settled.changed_generations(&self.horizon(), moved));
        self.forget_unused();
        self.purge(pending.position);
    }

    /// Deletes the segments of the WAL whose records are all in the tables, those up to this position.
    fn purge(&self, through: u64) {
        let purged = failpoint::reach(FailPoint::PurgeStart).map_err(|e| e.to_string()).and_then(|()| {
            let purged = self.with_wal(|wal| wal.purge(Position::new(through)));
            purged.unwrap_or(Ok(())).map_err(|e| chain(&e))
        });
        match (self.unpurged.note(through, purged.is_err()), purged) {
            (Some(News::Begins), Err(error)) => {
                tracing::warn!(error, "cannot delete WAL segments that are already in the tables; retrying")
            }
            (Some(News::Over), Ok(())) => {
                tracing::info!("WAL segments that are already in the tables can be deleted again")
            }
            _ => {}
        }
    }

    /// The same, if it failed the last time, and nothing waits whose flush would do it.
    pub fn purge_again(&self) {
        if let Some(through) = self.unpurged.through()
            && self.load().age.is_none()
        {
            self.purge(through);
        }
    }

    /// Whose WAL it is.
    pub fn writer(&self) -> WriterId {
        self.writer
    }

    /// Of each writer, from which position on its flushes may be written again: those that the horizon remembers, and all to come.
    pub fn may_write_again(&self) -> BTreeMap<WriterId, u64> {
        let to_come = self.flushed.load(Ordering::Relaxed).saturating_add(1);
        let mut from = BTreeMap::from([(self.writer, to_come)]);
        for generation in self.horizon().generations() {
            let (writer, position) = generation.flush;
            let first = from.entry(writer).or_insert(position);
            *first = position.min(*first);
        }
        from
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
        let forgotten = index.series.forget_all_but(|used| {
            buffer.live.for_each_series(&mut *used);
            buffer.horizon.for_each_series(used);
        });
        // Not before: a request that is buffered now has its series marked neither as used nor as in flight.
        drop(buffer);
        tracing::debug!(forgotten, left = index.series.len(), "series");
    }

    /// Gives back what can be given back without a flush: memory is short, of which there are `limit` bytes. Half of it is for rows to come.
    /// The other half is shared by senders, for what the last flushes wrote and for the labels of its series.
    pub async fn relieve(self: &Arc<Self>, limit: usize) {
        let no_flush = self.flushing.lock().await;
        let core = self.clone();
        // It looks at each row. What it has not given back when this is cut off, the next call does.
        let relieved = tokio::task::spawn_blocking(move || core.shrink_horizon(limit / 2)).await;
        if let Err(error) = relieved {
            tracing::warn!(%error, "memory is short, and what the last flushes wrote is still held");
        }
        if no_flush.is_none() && locked(&self.buffer).frozen.is_none() {
            self.forget_unused();
        }
    }

    fn shrink_horizon(&self, capacity: usize) {
        let (horizon, waiting) = {
            let buffer = locked(&self.buffer);
            if buffer.replay != Replay::Done {
                return;
            }
            let mut waiting = Vec::new();
            buffer.live.for_each_series(|series| waiting.push(series));
            (buffer.horizon.clone(), waiting)
        };
        let costs = self.costs();
        let surplus = horizon.surplus(capacity, &costs, &waiting);
        // Or what is to go would be copied first.
        drop(horizon);
        if !surplus.is_empty() {
            let mut buffer = locked(&self.buffer);
            let horizon = Arc::make_mut(&mut buffer.horizon);
            horizon.give_back(&surplus, &costs);
            buffer.horizon_bytes = buffer.horizon.heap_bytes();
        }
    }

    /// Of all series that are known now. In parts, as in [`Self::view`].
    fn costs(&self) -> Vec<Cost> {
        let mut costs = Vec::new();
        loop {
            let index = locked(&self.index);
            let (from, bound) = (costs.len(), index.series.bound());
            if from >= bound {
                return costs;
            }
            let part = (from..bound.min(from + VIEW_PART)).filter_map(|series| SeriesRef::try_from(series).ok());
            costs.extend(part.map(|series| index.series.cost(series)));
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
            sum.unmerged += report.unmerged;
            sum.files += report.files;
            sum.bytes += report.bytes;
            sum.races += report.races;
            sum.removed_files += report.removed_files;
            sum.removed_bytes += report.removed_bytes;
            sum.version = report.version.or(sum.version);
        }
    }
}
