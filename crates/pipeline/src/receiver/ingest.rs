//! The handle that HTTP writes through: budgets before the work, the WAL before the answer.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::committer::Waiting;
pub use super::core::FlushReport;
use super::core::{Accepted, Core};
use super::deliveries::Delivered;
use super::flusher::FlushRequest;
use super::health::{Health, Part};
use super::metrics::{Metrics, ProtocolLabel, ReasonLabel};
use super::reserve::Reserve;
use super::settings::Settings;
use crate::flush::MOST_DAYS;
use crate::memtable::Batch;
use crate::remote_write::{DecodeError, Protocol, decompress};

/// Bodies of so many bytes and more are worked on beside the threads that answer requests.
const LARGE_BODY: usize = 256 * 1024;
/// How long a request waits for room before it is put off. A sender that comes again at once would else take the processor from the
/// flush that makes room, and get in before those that do as they are told.
const PATIENCE: Duration = Duration::from_secs(5);

/// What one request left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Samples kept.
    pub samples: u64,
    /// Native histograms kept.
    pub histograms: u64,
    /// Exemplars kept.
    pub exemplars: u64,
    /// What was refused, in one line; the request is then answered with 400.
    pub refused: Option<String>,
    /// What the samples and histograms kept span; none if there are none.
    pub delivered: Option<Delivered>,
}

/// Why nothing of a request was kept, or nobody knows whether it was.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// Bad snappy or bad protobuf.
    #[error("{0}")]
    Undecodable(String),
    /// The declared decoded length is over the limit.
    #[error("{0}")]
    TooLarge(String),
    /// Not now.
    #[error("{reason}")]
    Unavailable {
        /// Why, in one line.
        reason: String,
        /// When to try again, in seconds.
        retry_after_s: u64,
    },
}

/// Why a flush did not commit everything.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct FlushError(String);

/// Where requests go once the core is open.
#[derive(Debug)]
pub(super) struct Channels {
    pub(super) waiting: mpsc::Sender<Waiting>,
    pub(super) flushes: mpsc::Sender<FlushRequest>,
}

/// The limits that writes are held to.
#[derive(Clone, Copy, Debug)]
struct Limits {
    wal_bytes: u64,
    memory_bytes: u64,
    decoded_bytes: usize,
    max_future_ms: i64,
}

pub(super) struct Open {
    pub(super) core: Arc<Core>,
    pub(super) reserve: Arc<Reserve>,
    /// Told after each flush: there may be room again.
    pub(super) flushed: Arc<Notify>,
    pub(super) channels: std::sync::Mutex<Option<Arc<Channels>>>,
}

struct Shared {
    open: OnceLock<Open>,
    limits: Limits,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

/// Cloneable handle to the write path.
#[derive(Clone)]
pub struct Ingest {
    shared: Arc<Shared>,
}

impl Ingest {
    /// A handle that says "not yet" until [`Self::open`].
    pub(super) fn new(settings: &Settings, health: Arc<Health>, metrics: Arc<Metrics>) -> Self {
        let limits = Limits {
            wal_bytes: settings.wal_max_bytes,
            memory_bytes: settings.held_bytes(),
            decoded_bytes: usize::try_from(settings.http.max_decoded_bytes).unwrap_or(usize::MAX),
            max_future_ms: i64::try_from(settings.max_future.as_millis()).unwrap_or(i64::MAX),
        };
        Self { shared: Arc::new(Shared { open: OnceLock::new(), limits, health, metrics }) }
    }

    /// From now on requests go to the core.
    pub(super) fn open(&self, open: Open) {
        let _ = self.shared.open.set(open);
    }

    /// No request is taken any more; those that wait are finished.
    pub(super) fn close(&self) {
        self.shared.health.fault(Part::Stop, "the receiver is stopping");
        if let Some(open) = self.shared.open.get() {
            open.channels.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        }
    }

    fn unavailable(reason: impl Into<String>) -> WriteError {
        WriteError::Unavailable { reason: reason.into(), retry_after_s: 1 }
    }

    fn channels(&self) -> Result<(&Open, Arc<Channels>), String> {
        let not_ready = || self.shared.health.one_line().unwrap_or_else(|| "the receiver is starting".to_owned());
        let open = self.shared.open.get().ok_or_else(not_ready)?;
        let channels = open.channels.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        Ok((open, channels.ok_or_else(not_ready)?))
    }

    /// Decompresses, decodes, refuses by name, appends to the WAL, waits for the sync.
    pub async fn write(&self, protocol: Protocol, body: Bytes) -> Result<Written, WriteError> {
        let (open, channels) = self.channels().map_err(Self::unavailable)?;
        wait_for_room(open, || self.check_budgets(open)).await?;
        let accepted = if body.len() >= LARGE_BODY {
            let (handle, core) = (self.clone(), open.core.clone());
            let work = tokio::task::spawn_blocking(move || handle.accept(&core, protocol, body)).await;
            work.map_err(|e| Self::unavailable(e.to_string()))??
        } else {
            self.accept(&open.core, protocol, body)?
        };
        let written = self.written(protocol, &accepted);
        if accepted.batch.is_empty() {
            return Ok(written);
        }
        wait_for_room(open, || check_days(&open.core, &accepted.batch)).await?;
        let (reply, done) = oneshot::channel();
        let stopping = |_| Self::unavailable("the receiver is stopping");
        channels
            .waiting
            .send(Waiting { accepted, reply })
            .await
            .map_err(|_| Self::unavailable("the receiver is stopping"))?;
        drop(channels);
        done.await.map_err(stopping)?.map_err(Self::unavailable)?;
        Ok(written)
    }

    fn check_budgets(&self, open: &Open) -> Result<(), WriteError> {
        let usage = open.core.usage();
        let limits = self.shared.limits;
        if usage.wal_bytes >= limits.wal_bytes {
            let (used, limit) = (usage.wal_bytes >> 20, limits.wal_bytes >> 20);
            return Err(Self::unavailable(format!(
                "the WAL has {used} MiB of {limit} MiB; it shrinks with the next flush"
            )));
        }
        // With nothing left to flush, only new rows move the horizon on, and with it the memory that it takes.
        if usage.memtable_bytes > 0 && usage.memory_bytes() as u64 >= limits.memory_bytes {
            let (used, limit) = (usage.memory_bytes() >> 20, limits.memory_bytes >> 20);
            return Err(Self::unavailable(format!(
                "memory is at {used} MiB of {limit} MiB; it shrinks with the next flush"
            )));
        }
        if !open.reserve.is_held() {
            return Err(Self::unavailable("the archive's disk is full"));
        }
        Ok(())
    }

    fn accept(&self, core: &Core, protocol: Protocol, body: Bytes) -> Result<Accepted, WriteError> {
        let refuse = |error: DecodeError| match error {
            DecodeError::TooLarge { .. } => WriteError::TooLarge(error.to_string()),
            _ => WriteError::Undecodable(error.to_string()),
        };
        let mut decoded = Vec::new();
        decompress(&body, self.shared.limits.decoded_bytes, &mut decoded).map_err(refuse)?;
        // A clock that has gone back must not refuse what it would have taken before.
        let accept_until = core.latest_time().saturating_add(self.shared.limits.max_future_ms);
        core.accept(protocol, body, &decoded, accept_until).map_err(refuse)
    }

    /// What will have been written once it is durable; counted.
    fn written(&self, protocol: Protocol, accepted: &Accepted) -> Written {
        let (metrics, batch) = (&self.shared.metrics, &accepted.batch);
        let label = ProtocolLabel { protocol: if protocol == Protocol::V1 { "v1" } else { "v2" } };
        let [samples, histograms, exemplars, metadata] =
            [batch.samples.len(), batch.histograms.len(), batch.exemplars.len(), batch.metadata.len()]
                .map(|n| n as u64);
        metrics.samples_received.get_or_create(&label).inc_by(samples);
        metrics.histograms_received.get_or_create(&label).inc_by(histograms);
        metrics.exemplars_received.get_or_create(&label).inc_by(exemplars);
        metrics.metadata_received.get_or_create(&label).inc_by(metadata);
        for (reason, count) in batch.refusals.counts() {
            metrics.refused.get_or_create(&ReasonLabel { reason: reason.as_str() }).inc_by(count);
        }
        let refused = (!batch.refusals.is_empty()).then(|| {
            let total = batch.refusals.total() + samples + histograms + exemplars + metadata;
            batch.refusals.one_line(total, "entries")
        });
        Written { samples, histograms, exemplars, refused, delivered: accepted.delivered.clone() }
    }

    /// Everything acknowledged so far is committed when it answers.
    pub async fn flush(&self) -> Result<FlushReport, FlushError> {
        let (_, channels) = self.channels().map_err(FlushError)?;
        let (reply, done) = oneshot::channel();
        let stopping = || FlushError("the receiver is stopping".to_owned());
        channels.flushes.send(reply).await.map_err(|_| stopping())?;
        done.await.map_err(|_| stopping())?.map_err(FlushError)
    }

    /// None when ready; else why not, in one line.
    pub fn not_ready(&self) -> Option<String> {
        self.shared.health.one_line()
    }
}

/// Waits while something is used up that the next flush will relieve.
async fn wait_for_room(open: &Open, check: impl Fn() -> Result<(), WriteError>) -> Result<(), WriteError> {
    let until = Instant::now() + PATIENCE;
    loop {
        let flushed = open.flushed.notified();
        let Err(full) = check() else { return Ok(()) };
        if !open.reserve.is_held() || timeout_at(until, flushed).await.is_err() {
            return Err(full);
        }
    }
}

fn check_days(core: &Core, batch: &Batch) -> Result<(), WriteError> {
    if core.has_too_many_days_for(batch) {
        return Err(Ingest::unavailable(format!(
            "samples of {MOST_DAYS} days wait already; those of further days can come after the next flush"
        )));
    }
    Ok(())
}
