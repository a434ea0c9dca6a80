//! The handle that HTTP writes through: budgets before the work, the WAL before the answer.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use promarchive_api::receiver_settings::Settings;
use promarchive_api::{STARTING, STOPPING};
use promarchive_archive::store::Reserve;
use promarchive_model::{Date, Protocol, Reason};
use promarchive_wire::{DecodeError, decompress};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::admission::Charge;
use super::committer::Waiting;
use super::fair::{Budget, Entrance, Holding, NotTaken, Refill, Sender, Taken};
use super::flusher::FlushRequest;
use super::growth::Accounted;
use super::health::{Health, Part};
use super::metrics::{Metrics, ProtocolLabel, ReasonLabel};
use super::odd_times::{self, Warnings};
use crate::core::Delivered;
pub(super) use crate::core::FlushReport;
use crate::core::distant_days;
use crate::core::{Core, Resolved, Terms};
use crate::flush::MOST_DAYS;
use crate::memtable::{Batch, Unusable};

/// Bodies of so many bytes and more are worked on beside the threads that answer requests.
const LARGE_BODY: usize = 256 * 1024;
/// The same of what they decompress to. Requests of Prometheus have less than one MiB.
const LARGE_DECODED: usize = 2 << 20;
/// How long a request waits for room before it is put off. A sender that comes again at once would else take the processor from the
/// flush that makes room, and get in before those that do as they are told.
const PATIENCE: Duration = Duration::from_secs(5);
/// When a sender is told to come again whose new series have no room.
const NO_ROOM_RETRY_S: u64 = 10;
/// The longest time after which a sender is told to come again.
const LONGEST_RETRY_S: u64 = 30;

/// What one request left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
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
pub(super) enum WriteError {
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
pub(super) struct FlushError(String);

/// Where requests go once the core is open.
#[derive(Debug)]
pub(super) struct Channels {
    pub(super) waiting: Entrance<Waiting>,
    pub(super) flushes: mpsc::Sender<FlushRequest>,
}

/// The limits that writes are held to.
#[derive(Clone, Debug)]
struct Limits {
    wal_bytes: u64,
    memory_bytes: u64,
    decoded_bytes: usize,
    max_future_ms: i64,
    max_past_ms: Option<i64>,
    sender_label: Option<Arc<str>>,
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
    /// Permits to work on requests.
    workers: Budget,
    /// What senders have taken until the next flush.
    taken: Arc<Taken>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    warnings: Warnings,
}

/// Cloneable handle to the write path.
#[derive(Clone)]
pub(super) struct Ingest {
    shared: Arc<Shared>,
}

impl Ingest {
    /// A handle that says "not yet" until [`Self::open`].
    pub(super) fn new(settings: &Settings, health: Arc<Health>, metrics: Arc<Metrics>) -> Self {
        let milliseconds = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        let limits = Limits {
            wal_bytes: settings.wal_max_bytes,
            memory_bytes: settings.held_bytes(),
            decoded_bytes: usize::try_from(settings.http.max_decoded_bytes).unwrap_or(usize::MAX),
            max_future_ms: milliseconds(settings.max_future),
            max_past_ms: settings.max_past.map(milliseconds),
            sender_label: settings.sender_label.as_ref().map(|label| label.name().into()),
        };
        // One sender can use all processors, and others come in beside it.
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        let workers = Budget::new(processors.saturating_mul(2));
        let taken = Arc::new(Taken::new(settings.flush_interval));
        Self {
            shared: Arc::new(Shared {
                open: OnceLock::new(),
                limits,
                workers,
                taken,
                health,
                metrics,
                warnings: Warnings::default(),
            }),
        }
    }

    /// What senders have taken: who flushes gives it back.
    pub(super) fn taken(&self) -> Arc<Taken> {
        self.shared.taken.clone()
    }

    /// From now on requests go to the core.
    pub(super) fn open(&self, open: Open) {
        let _ = self.shared.open.set(open);
    }

    /// No request is taken any more; those that wait are finished.
    pub(super) fn close(&self) {
        self.shared.health.fault(Part::Stop, STOPPING);
        if let Some(open) = self.shared.open.get() {
            open.channels.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        }
    }

    fn unavailable(reason: impl Into<String>) -> WriteError {
        WriteError::Unavailable { reason: reason.into(), retry_after_s: 1 }
    }

    fn channels(&self) -> Result<(&Open, Arc<Channels>), String> {
        let not_ready = || self.shared.health.one_line().unwrap_or_else(|| STARTING.to_owned());
        let open = self.shared.open.get().ok_or_else(not_ready)?;
        let channels = open.channels.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        Ok((open, channels.ok_or_else(not_ready)?))
    }

    /// Waits until a sender may fill more of the WAL and of memory.
    pub(super) async fn room(&self, sender: &Sender) -> Result<(), WriteError> {
        let (open, _) = self.channels().map_err(Self::unavailable)?;
        wait_for_room(open, || self.check_budgets(open, sender)).await
    }

    /// Decompresses, decodes, refuses by name, appends to the WAL, waits for the sync. `charge` is for what the body is decoded to.
    pub(super) async fn write(
        &self,
        sender: Sender,
        protocol: Protocol,
        body: Bytes,
        mut charge: Charge,
    ) -> Result<Written, WriteError> {
        let (open, channels) = self.channels().map_err(Self::unavailable)?;
        let resolved = self.decode(open, &sender, protocol, body).await?;
        // What it was decoded from is dropped: who waits from here on must not keep others from being decoded.
        charge.shrink_to(resolved.batch.heap_bytes());
        let distant = distant_days(&resolved.batch, resolved.received_at);
        if distant.len() > MOST_DAYS {
            let days = distant.len();
            return Err(WriteError::Undecodable(format!(
                "too_many_days: the request has samples for {days} days that are far from today, but at most \
                 {MOST_DAYS} are allowed: send fewer days per request"
            )));
        }
        self.check_times(open, &sender, &resolved.batch)?;
        let written = self.written(protocol, &resolved);
        if resolved.batch.is_empty() {
            return Ok(written);
        }
        wait_for_room(open, || self.check_days(open, &sender, &distant, resolved.received_at)).await?;
        let (wal, rows) = (resolved.body.len() as u64, resolved.batch.heap_bytes() as u64);
        self.shared.taken.holdings().add(&sender, Holding { wal, rows, series: 0 });
        let (reply, done) = oneshot::channel();
        let stopping = || Self::unavailable(STOPPING);
        channels.waiting.put(&sender, Waiting { resolved, reply }).map_err(|not_taken| match not_taken {
            NotTaken::Full => Self::unavailable("too many requests of this sender are waiting for the WAL"),
            NotTaken::Closed => stopping(),
        })?;
        drop(channels);
        done.await.map_err(|_| stopping())?.map_err(Self::unavailable)?;
        Ok(written)
    }

    fn check_budgets(&self, open: &Open, sender: &Sender) -> Result<(), WriteError> {
        let usage = open.core.usage();
        let limits = &self.shared.limits;
        let full = |what: &str, refill: Refill, used: u64, limit: u64| {
            let (used, limit) = (used >> 20, limit >> 20);
            let whose = if refill == Refill::OwnHalfIsFull { ", more than half of it by this sender" } else { "" };
            let reason = format!("{what} {used} MiB of {limit} MiB{whose}; it shrinks with the next flush");
            if refill == Refill::Allowed { Ok(()) } else { Err(Self::unavailable(reason)) }
        };
        let holdings = self.shared.taken.holdings();
        let refill = holdings.may_fill(sender, usage.wal_bytes, |own| own.wal, limits.wal_bytes);
        full("the WAL has", refill, usage.wal_bytes, limits.wal_bytes)?;
        // With nothing left to flush, only new rows move the horizon on, and with it the memory that it takes.
        if usage.memtable_bytes > 0 {
            let used = usage.memory_bytes() as u64;
            let refill = holdings.may_fill(sender, used, Holding::memory, limits.memory_bytes);
            full("memory is at", refill, used, limits.memory_bytes)?;
        }
        drop(holdings);
        if !open.reserve.is_held() {
            return Err(Self::unavailable("the archive's disk is full"));
        }
        Ok(())
    }

    /// Refuses nothing as of the future while the clock is in doubt, and counts what is of 1970.
    fn check_times(&self, open: &Open, sender: &Sender, batch: &Batch) -> Result<(), WriteError> {
        let of_the_future = batch.refusals.counts().any(|(reason, _)| reason == Reason::TimestampTooFarInFuture);
        let doubt = of_the_future.then(|| odd_times::doubt(open.core.now_ms(), open.core.latest_time())).flatten();
        if let Some(doubt) = doubt {
            return Err(Self::unavailable(doubt));
        }
        let of_1970 = self.shared.warnings.count(batch.all_timestamps(), sender, open.core.monotonic_ms());
        self.shared.metrics.suspicious_timestamps.inc_by(of_1970);
        Ok(())
    }

    fn check_days(&self, open: &Open, sender: &Sender, distant: &BTreeSet<Date>, now: i64) -> Result<(), WriteError> {
        if distant.is_empty() {
            return Ok(());
        }
        if open.core.has_too_many_days_for(distant, now) {
            return Err(Self::unavailable(format!(
                "samples for {MOST_DAYS} days that are far from today are already waiting for the next flush; send \
                 samples for other days after it"
            )));
        }
        let admitted = self.shared.taken.days().admit(sender, distant, open.core.monotonic_ms());
        admitted.map_err(|wait| WriteError::Unavailable {
            reason:
                "this sender has sent samples for many days that are far from today, and each day needs a file; send \
                 samples for other days later"
                    .to_owned(),
            retry_after_s: wait.as_secs().clamp(1, LONGEST_RETRY_S),
        })
    }

    /// Decodes a request, once its sender has a permit for it: those that wait do not stand before the requests of others.
    async fn decode(
        &self,
        open: &Open,
        sender: &Sender,
        protocol: Protocol,
        body: Bytes,
    ) -> Result<Resolved, WriteError> {
        let decoded = snap::raw::decompress_len(&body).unwrap_or(0);
        let permit = self.shared.workers.take(sender, 1, PATIENCE).await;
        let permit = permit.ok_or_else(|| Self::unavailable("too many requests of this sender are in progress"))?;
        if body.len() < LARGE_BODY && decoded < LARGE_DECODED {
            return self.decode_now(&open.core, sender, protocol, body);
        }
        let (handle, core, sender) = (self.clone(), open.core.clone(), sender.clone());
        let work = tokio::task::spawn_blocking(move || {
            let resolved = handle.decode_now(&core, &sender, protocol, body);
            drop(permit);
            resolved
        });
        work.await.map_err(|e| Self::unavailable(e.to_string()))?
    }

    fn decode_now(
        &self,
        core: &Core,
        sender: &Sender,
        protocol: Protocol,
        body: Bytes,
    ) -> Result<Resolved, WriteError> {
        let refuse = |error: DecodeError| match error {
            DecodeError::TooLarge { .. } => WriteError::TooLarge(error.to_string()),
            _ => WriteError::Undecodable(error.to_string()),
        };
        let mut decoded = Vec::new();
        decompress(&body, self.shared.limits.decoded_bytes, &mut decoded).map_err(refuse)?;
        let growth = Accounted::new(core, &self.shared.taken, sender, self.shared.limits.memory_bytes);
        core.resolve(protocol, body, &decoded, self.terms(core, sender), &growth).map_err(|unusable| match unusable {
            Unusable::Wrong(error) => refuse(error),
            Unusable::NoRoom => WriteError::Unavailable {
                reason:
                    "there is not enough memory for more new series of this sender; the next flushes free the memory \
                     of series without samples"
                        .to_owned(),
                retry_after_s: NO_ROOM_RETRY_S,
            },
        })
    }

    /// What a request of this sender is held to if it comes now.
    fn terms(&self, core: &Core, sender: &Sender) -> Terms {
        let limits = &self.shared.limits;
        let label = limits.sender_label.as_ref().zip(sender.name());
        Terms {
            // A clock that has gone ahead, and back again, must not refuse what it would have taken before.
            accept_from: limits.max_past_ms.map_or(i64::MIN, |past| core.now_ms().saturating_sub(past)),
            // Nor one that has gone back.
            accept_until: core.latest_time().saturating_add(limits.max_future_ms),
            label: label.map(|(name, value)| (name.clone(), value.clone())),
        }
    }

    /// What will have been written once it is durable; counted.
    fn written(&self, protocol: Protocol, resolved: &Resolved) -> Written {
        let (metrics, batch) = (&self.shared.metrics, &resolved.batch);
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
        Written { samples, histograms, exemplars, refused, delivered: resolved.delivered.clone() }
    }

    /// Everything acknowledged so far is committed when it answers.
    pub(super) async fn flush(&self) -> Result<FlushReport, FlushError> {
        let (_, channels) = self.channels().map_err(FlushError)?;
        let (reply, done) = oneshot::channel();
        let stopping = || FlushError(STOPPING.to_owned());
        channels.flushes.send(reply).await.map_err(|_| stopping())?;
        done.await.map_err(|_| stopping())?.map_err(FlushError)
    }

    /// None when ready; else why not, in one line.
    pub(super) fn not_ready(&self) -> Option<String> {
        self.shared.health.one_line()
    }

    /// For how long writes could be taken; none while they cannot.
    pub(super) fn writable_for(&self) -> Option<Duration> {
        self.shared.health.writable_for()
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
