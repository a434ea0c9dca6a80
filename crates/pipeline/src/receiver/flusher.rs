//! When to flush, what to do when a flush fails, and what is looked after meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use promarchive_archive::store::Reserve;
use promarchive_model::environment::Clock;
use tokio::sync::{Notify, mpsc, oneshot};

use super::fair::Taken;
use super::health::{Health, Part};
use super::horizon_record::HorizonRecord;
use super::metrics::{Metrics, ResultLabel, TableLabel, gauge};
use super::supervisor::Supervisor;
use super::tryout::Tryout;
use crate::core::{Core, FlushReport};
use crate::flush::Policy;

/// After the first failure; doubled after each further one.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
/// Longest time between two tries.
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);

/// Somebody who waits for everything acknowledged so far to be committed.
pub(super) type FlushRequest = oneshot::Sender<Result<FlushReport, String>>;

/// Flushes when the policy says so or somebody asks.
pub(super) struct Flusher {
    pub core: Arc<Core>,
    pub policy: Policy,
    /// Memory at which everything that can be given back is, in bytes.
    pub memory_limit: u64,
    pub health: Arc<Health>,
    pub metrics: Arc<Metrics>,
    /// Space for a flush on a full disk.
    pub reserve: Arc<Reserve>,
    /// Who waits for room is told after each flush.
    pub flushed: Arc<Notify>,
    /// What senders have taken that a flush gives back.
    pub taken: Arc<Taken>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Tries the WAL's disk while the WAL is at fault.
    pub tryout: Arc<Tryout>,
    /// Told why only a new process can go on.
    pub supervisor: Supervisor,
}

impl Flusher {
    /// Runs until nobody can ask any more; what is then buffered stays in the WAL.
    pub(super) async fn run(self, mut requests: mpsc::Receiver<FlushRequest>) {
        let mut horizon = HorizonRecord::new(self.core.archive().store(), self.core.writer());
        let mut failures = 0_u32;
        let mut not_before = Instant::now();
        loop {
            self.look_after().await;
            horizon.keep(self.core.may_write_again(), self.clock.now_ms()).await;
            let short_of_memory = self.is_short_of_memory();
            // First those who asked: flushes that take longer than the interval follow one another without a pause.
            if let Ok(request) = requests.try_recv() {
                self.answer(request, &mut failures, &mut not_before).await;
                self.relieve_if(short_of_memory).await;
                continue;
            }
            let load = self.core.load();
            let pressed = load.age.is_some() && (short_of_memory || self.is_short_of_space(load.wal_bytes));
            if (pressed || self.policy.decide(load).is_some()) && Instant::now() >= not_before {
                self.count(&mut failures, &mut not_before, self.flush().await.is_ok());
                if short_of_memory {
                    // If it is not the rows that take it, the next flush does not help either.
                    not_before = not_before.max(Instant::now() + FIRST_BACKOFF);
                }
                self.relieve_if(short_of_memory).await;
                continue;
            }
            self.relieve_if(short_of_memory).await;
            // While flushes fail there is nothing to be done before the next try.
            let wait = self.policy.wait(load).max(not_before.saturating_duration_since(Instant::now()));
            match tokio::time::timeout(wait, requests.recv()).await {
                Err(_) => {}
                Ok(None) => return,
                Ok(Some(request)) => self.answer(request, &mut failures, &mut not_before).await,
            }
        }
    }

    /// After a flush: that may have been enough for the requests that wait, and if not, what is given back is.
    async fn relieve_if(&self, was_short_of_memory: bool) {
        if was_short_of_memory {
            self.core.relieve(usize::try_from(self.memory_limit).unwrap_or(usize::MAX)).await;
            self.flushed.notify_waiters();
        }
    }

    async fn answer(&self, request: FlushRequest, failures: &mut u32, not_before: &mut Instant) {
        let result = self.flush().await;
        self.count(failures, not_before, result.is_ok());
        let _ = request.send(result);
    }

    /// Whether the disk is close to being full: a flush begins at half of the WAL that could still be flushed, so that senders are not
    /// turned away meanwhile. And a WAL that fails may have no space left.
    fn is_short_of_space(&self, wal_bytes: u64) -> bool {
        self.health.of(Part::Wal).is_some() || !self.reserve.fits_flush_of(wal_bytes.saturating_mul(2))
    }

    fn is_short_of_memory(&self) -> bool {
        self.core.usage().memory_bytes() as u64 >= self.memory_limit / 10 * 9
    }

    fn count(&self, failures: &mut u32, not_before: &mut Instant, succeeded: bool) {
        *failures = if succeeded { 0 } else { failures.saturating_add(1) };
        let backoff = match *failures {
            0 => Duration::ZERO,
            n => FIRST_BACKOFF.saturating_mul(1 << (n - 1).min(8)).min(LONGEST_BACKOFF),
        };
        *not_before = Instant::now() + backoff;
    }

    async fn flush(&self) -> Result<FlushReport, String> {
        let started = Instant::now();
        self.taken.flush_begins(self.core.monotonic_ms());
        let mut result = self.core.flush().await;
        if result.is_err() {
            self.reserve.give_up_if_needed(self.core.wal_bytes());
            if !self.reserve.is_held() {
                result = self.core.flush().await;
            }
        }
        if result.is_ok() {
            self.taken.flushed();
        }
        self.flushed.notify_waiters();
        self.metrics.flush_duration_seconds.observe(started.elapsed().as_secs_f64());
        let label = if result.is_ok() { "ok" } else { "failed" };
        self.metrics.flushes.get_or_create(&ResultLabel { result: label }).inc();
        match result {
            Ok(report) => {
                self.report(&report, started.elapsed());
                self.health.works(Part::Archive);
                Ok(report)
            }
            Err(error) => {
                let cause = self.reserve.cause_of_failure().map_or(String::new(), |cause| format!(" ({cause})"));
                let reason =
                    format!("cannot write to the archive{cause}; acknowledged samples stay in the WAL: {error}");
                self.health.fault(Part::Archive, reason.clone());
                if error.needs_restart() {
                    self.supervisor.end(reason.clone());
                }
                Err(reason)
            }
        }
    }

    fn report(&self, report: &FlushReport, took: Duration) {
        let metrics = &self.metrics;
        metrics.duplicates.inc_by(report.duplicates);
        metrics.conflicting_samples.inc_by(report.conflicts);
        for (&table, sum) in &report.tables {
            let label = TableLabel { table };
            metrics.flush_rows.get_or_create(&label).inc_by(sum.rows);
            metrics.flush_file_bytes.get_or_create(&label).inc_by(sum.bytes);
            metrics.commit_races.inc_by(u64::from(sum.races));
            metrics.unmerged_rows.inc_by(sum.unmerged);
            let change = |come: u64, gone: u64| i64::try_from(i128::from(come) - i128::from(gone)).unwrap_or(0);
            let (files, bytes) = (change(sum.files, sum.removed_files), change(sum.bytes, sum.removed_bytes));
            metrics.archive_changed(table, files, bytes);
            if sum.version.is_some() {
                metrics.commits.get_or_create(&label).inc();
                metrics.last_commit_timestamp_seconds.set(self.clock.now_ms() as f64 / 1000.0);
            }
        }
        let rows: u64 = report.tables.values().map(|table| table.rows).sum();
        let bytes: u64 = report.tables.values().map(|table| table.bytes).sum();
        if rows > 0 {
            let millis = took.as_millis();
            tracing::info!(rows, bytes, position = report.position, duration_ms = millis, "flushed");
        }
    }

    /// Gauges, space held back, a WAL that may work again.
    async fn look_after(&self) {
        let usage = self.core.usage();
        self.metrics.series.set(gauge(usage.series));
        self.metrics.memtable_bytes.set(gauge(usage.memtable_bytes));
        self.metrics.memory_bytes.set(gauge(usage.memory_bytes()));
        // A bucket has no disk that could fill up.
        self.metrics.disk_free_bytes.set(self.reserve.free_bytes().map_or(f64::INFINITY, |free| free as f64));
        self.metrics.wal_bytes.set(gauge(usage.wal_bytes));
        if !self.reserve.is_held() {
            match self.reserve.take() {
                Ok(()) => self.health.works(Part::Reserve),
                Err(error) => {
                    let reason = format!("cannot reserve space on the archive's disk for a flush: {error}");
                    self.health.fault(Part::Reserve, reason);
                }
            }
        }
        self.core.purge_again();
        let flushed = self.core.load().age.is_none();
        if flushed && self.health.of(Part::Wal).is_some() && self.tryout.run().is_ok() {
            self.health.works(Part::Wal);
        }
    }
}
