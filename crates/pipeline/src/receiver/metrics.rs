//! The receiver's own metrics. Every label has a bounded set of values: paths, codes, tables, senders of the tokens file.

mod labels;
mod process;
mod text;

use std::sync::atomic::AtomicU64;
use std::time::Duration;

pub(super) use labels::{
    BuildLabel, FileLabel, HttpLabels, OperationLabel, PathLabel, PositionLabel, ProtocolLabel, ReasonLabel,
    ResultLabel, SenderLabel, StoreLabels, TableLabel,
};
use promarchive_api::log_output;
use promarchive_archive::store::traffic::{Observer, Operation, Status};
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};
pub(super) use text::accepts_openmetrics;
use text::to_text_format;

/// Which metrics are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// All.
    Full,
    /// Those that name no sender.
    WithoutSenders,
}

/// Handles of all metrics; each is cheap to clone and to change from any thread.
pub(super) struct Metrics {
    registry: Registry,
    /// What names senders.
    senders: Registry,
    /// What every program has, under names without a prefix.
    process: Registry,
    /// 1 when ready, else 0.
    pub ready: Gauge,
    /// Budget of the WAL on disk.
    pub wal_limit_bytes: Gauge,
    /// The most that `memory_bytes` may be.
    pub memory_limit_bytes: Gauge,
    /// Free bytes of the archive's disk.
    pub disk_free_bytes: Gauge<f64, AtomicU64>,
    /// Bytes of the files in the newest version of each table.
    pub archive_bytes: Family<TableLabel, Gauge>,
    pub archive_files: Family<TableLabel, Gauge>,
    /// Requests to the archive's store.
    pub store_requests: Family<StoreLabels, Counter>,
    /// Bytes of objects, there or back.
    pub store_bytes: Family<OperationLabel, Counter>,
    /// From asking the store to the end of its answer.
    pub store_request_duration_seconds: Family<OperationLabel, Histogram, fn() -> Histogram>,
    /// HTTP requests answered.
    pub http_requests: Family<HttpLabels, Counter>,
    /// From the head of a request to its answer.
    pub http_request_duration_seconds: Family<PathLabel, Histogram, fn() -> Histogram>,
    /// Open connections.
    pub http_connections: Gauge,
    /// Connections closed to make room for others.
    pub http_connections_displaced: Counter,
    /// Bytes given out to requests in flight.
    pub http_in_flight_bytes: Gauge,
    /// Requests answered, by sender; only with a tokens file.
    pub sender_requests: Family<SenderLabel, Counter>,
    /// Requests with a token that is not known, or none.
    pub unknown_token_requests: Counter,
    /// Lines of the log that could not be written.
    pub log_lines_lost: Counter,
    /// Changed files that could not be taken up.
    pub reload_failures: Family<FileLabel, Counter>,
    /// Compressed bytes of write requests read.
    pub received_bytes: Counter,
    /// Float samples received, kept or refused.
    pub samples_received: Family<ProtocolLabel, Counter>,
    pub histograms_received: Family<ProtocolLabel, Counter>,
    pub exemplars_received: Family<ProtocolLabel, Counter>,
    pub metadata_received: Family<ProtocolLabel, Counter>,
    /// What was refused by name.
    pub refused: Family<ReasonLabel, Counter>,
    /// Timestamps of 1970.
    pub suspicious_timestamps: Counter,
    /// Series in memory.
    pub series: Gauge,
    /// Bytes of samples buffered for the next flush.
    pub memtable_bytes: Gauge,
    /// All bytes that count against the memory limit.
    pub memory_bytes: Gauge,
    /// Bytes of the WAL on disk.
    pub wal_bytes: Gauge,
    pub wal_syncs: Counter,
    /// Time to make one group of requests durable.
    pub wal_sync_duration_seconds: HistogramWithExemplars<PositionLabel>,
    pub wal_append_failures: Counter,
    pub flushes: Family<ResultLabel, Counter>,
    pub flush_duration_seconds: Histogram,
    pub flush_rows: Family<TableLabel, Counter>,
    pub flush_file_bytes: Family<TableLabel, Counter>,
    pub commits: Family<TableLabel, Counter>,
    /// Commits that lost a race: another program was ahead.
    pub commit_races: Counter,
    /// Rows received again with the same content.
    pub duplicates: Counter,
    /// Rows received again with another content.
    pub conflicting_samples: Counter,
    /// Rows that beat a committed one whose file is gone.
    pub unmerged_rows: Counter,
    /// When the last commit was made, in seconds since the epoch.
    pub last_commit_timestamp_seconds: Gauge<f64, AtomicU64>,
}

// From a sync on a fast disk to the longest that a sender waits.
const SECONDS: [f64; 15] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
const FLUSH_SECONDS: [f64; 10] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0];

fn request_histogram() -> Histogram {
    Histogram::new(SECONDS)
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// What a gauge can hold of a count.
pub(super) fn gauge(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

/// Registers metrics under names with the prefix `promarchive_`, each with its help.
struct Register(Registry);

impl Register {
    fn add<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register(name, help, metric.clone());
        metric
    }
}

impl Metrics {
    /// A new set, all zero.
    pub(super) fn new() -> Self {
        let mut r = Register(Registry::with_prefix("promarchive"));
        let mut senders = Register(Registry::with_prefix("promarchive"));
        let build = Family::<BuildLabel, Gauge>::default();
        build.get_or_create(&BuildLabel { version: env!("CARGO_PKG_VERSION") }).set(1);
        r.add("build_info", "The version of promarchive", build);
        let mut process = Registry::default();
        process.register_collector(Box::new(process::Process));
        let metrics = Self {
            ready: r.add("ready", "Whether the receiver is ready: 1 if it is, 0 if it is not", Gauge::default()),
            wal_limit_bytes: r.add(
                "wal_limit_bytes",
                "Size of the write-ahead log in bytes at which the receiver rejects writes",
                Gauge::default(),
            ),
            memory_limit_bytes: r.add(
                "memory_limit_bytes",
                "Value of promarchive_memory_bytes at which the receiver rejects writes",
                Gauge::default(),
            ),
            disk_free_bytes: r.add("disk_free_bytes", "Free bytes on the disk of the archive", Gauge::default()),
            archive_bytes: r.add("archive_bytes", "Size of the files of a table in bytes", Family::default()),
            archive_files: r.add("archive_files", "Number of files of a table", Family::default()),
            store_requests: r.add("store_requests", "Number of requests to the store of the archive", Family::default()),
            store_bytes: r.add("store_bytes", "Bytes of objects written to the store, or read from it", Family::default()),
            store_request_duration_seconds: r.add(
                "store_request_duration_seconds",
                "Duration of a request to the store of the archive, in seconds",
                Family::new_with_constructor(request_histogram as fn() -> Histogram),
            ),
            http_requests: r.add("http_requests", "Number of answered HTTP requests", Family::default()),
            http_request_duration_seconds: r.add(
                "http_request_duration_seconds",
                "Time from the head of a request to its response, in seconds",
                Family::new_with_constructor(request_histogram as fn() -> Histogram),
            ),
            http_connections: r.add("http_connections", "Number of open connections", Gauge::default()),
            http_connections_displaced: r.add(
                "http_connections_displaced",
                "Connections closed because other connections needed their place",
                Counter::default(),
            ),
            http_in_flight_bytes: r.add(
                "http_in_flight_bytes",
                "Memory used by requests in flight, in bytes",
                Gauge::default(),
            ),
            sender_requests: senders.add(
                "sender_requests",
                "Number of answered requests by sender in the tokens file",
                Family::default(),
            ),
            unknown_token_requests: r.add(
                "unknown_token_requests",
                "Requests without a token, or with a token that is not in the tokens file",
                Counter::default(),
            ),
            log_lines_lost: r.add("log_lines_lost", "Log lines that could not be written", Counter::default()),
            reload_failures: r.add("reload_failures", "Changed files that could not be reloaded", Family::default()),
            received_bytes: r.add("received_bytes", "Bytes of write requests received, compressed", Counter::default()),
            samples_received: r.add("samples_received", "Float samples received", Family::default()),
            histograms_received: r.add("histograms_received", "Native histograms received", Family::default()),
            exemplars_received: r.add("exemplars_received", "Exemplars received", Family::default()),
            metadata_received: r.add("metadata_received", "Metadata entries received", Family::default()),
            refused: r.add("refused", "Samples, histograms, exemplars and series refused, by reason", Family::default()),
            suspicious_timestamps: r.add(
                "suspicious_timestamps",
                "Rows stored with a timestamp in 1970: the sender sends 0, or seconds instead of milliseconds",
                Counter::default(),
            ),
            series: r.add("series", "Number of series in memory", Gauge::default()),
            memtable_bytes: r.add("memtable_bytes", "Bytes buffered for the next flush", Gauge::default()),
            memory_bytes: r.add("memory_bytes", "Bytes that count against the memory limit", Gauge::default()),
            wal_bytes: r.add("wal_bytes", "Bytes of the write-ahead log on disk", Gauge::default()),
            wal_syncs: r.add("wal_syncs", "Syncs of the write-ahead log", Counter::default()),
            wal_sync_duration_seconds: r.add(
                "wal_sync_duration_seconds",
                "Time to write and sync a group of requests to the write-ahead log, in seconds; exemplars name its last position",
                HistogramWithExemplars::new(SECONDS.into_iter()),
            ),
            wal_append_failures: r.add(
                "wal_append_failures",
                "Failed appends to the write-ahead log, which were answered with 503",
                Counter::default(),
            ),
            flushes: r.add("flushes", "Number of flushes by result", Family::default()),
            flush_duration_seconds: r.add(
                "flush_duration_seconds",
                "Duration of a flush including its commits, in seconds",
                Histogram::new(FLUSH_SECONDS),
            ),
            flush_rows: r.add("flush_rows", "Rows written by flushes", Family::default()),
            flush_file_bytes: r.add("flush_file_bytes", "Bytes of files written by flushes", Family::default()),
            commits: r.add("commits", "Number of commits to a table", Family::default()),
            commit_races: r.add("commit_conflicts", "Commits repeated because another writer committed first", Counter::default()),
            duplicates: r.add(
                "duplicates",
                "Rows received again with the same values and merged",
                Counter::default(),
            ),
            conflicting_samples: r.add(
                "conflicting_samples",
                "Rows received again with other values, of which one was kept",
                Counter::default(),
            ),
            unmerged_rows: r.add(
                "unmerged_rows",
                "Rows added instead of replaced because another program had replaced their file: both versions remain \
                 until they are merged",
                Counter::default(),
            ),
            last_commit_timestamp_seconds: r.add(
                "last_commit_timestamp_seconds",
                "Time of the last commit, in seconds since the epoch; 0 before the first",
                Gauge::default(),
            ),
            registry: r.0,
            senders: senders.0,
            process,
        };
        metrics.start_at_zero();
        metrics
    }

    /// Makes the series that are known beforehand, so that the first increase can be seen.
    fn start_at_zero(&self) {
        for protocol in ["v1", "v2"] {
            for family in
                [&self.samples_received, &self.histograms_received, &self.exemplars_received, &self.metadata_received]
            {
                drop(family.get_or_create(&ProtocolLabel { protocol }));
            }
        }
        for result in ["ok", "failed"] {
            drop(self.flushes.get_or_create(&ResultLabel { result }));
        }
        for file in ["tokens", "tls"] {
            drop(self.reload_failures.get_or_create(&FileLabel { file }));
        }
        for operation in Operation::ALL.map(Operation::name) {
            for status in [Status::Ok, Status::Failed].map(Status::name) {
                drop(self.store_requests.get_or_create(&StoreLabels { operation, status }));
            }
        }
    }

    /// Files have come into a table, or gone out of it.
    pub(super) fn archive_changed(&self, table: &'static str, files: i64, bytes: i64) {
        let label = TableLabel { table };
        self.archive_files.get_or_create(&label).inc_by(files);
        self.archive_bytes.get_or_create(&label).inc_by(bytes);
    }

    /// A changed file could not be taken up: "tokens" or "tls".
    pub(super) fn reload_failed(&self, file: &'static str) {
        self.reload_failures.get_or_create(&FileLabel { file }).inc();
    }

    /// Metrics in OpenMetrics text, version 1.0.0.
    pub(super) fn openmetrics(&self, view: View) -> String {
        self.log_lines_lost.inc_by(log_output::take_lost_lines());
        let mut text = String::new();
        // Writing to a string does not fail; if it did, the text would lack its end, which every parser notices.
        let _ = encode_registry(&mut text, &self.registry)
            .and_then(|()| match view {
                View::Full => encode_registry(&mut text, &self.senders),
                View::WithoutSenders => Ok(()),
            })
            .and_then(|()| encode_registry(&mut text, &self.process))
            .and_then(|()| encode_eof(&mut text));
        text
    }

    /// Metrics in Prometheus text, version 0.0.4.
    pub(super) fn text(&self, view: View) -> String {
        to_text_format(&self.openmetrics(view))
    }
}

/// The archive's store tells of its requests.
impl Observer for Metrics {
    fn request(&self, operation: Operation, status: Status, bytes: u64, took: Duration) {
        let (operation, status) = (operation.name(), status.name());
        self.store_requests.get_or_create(&StoreLabels { operation, status }).inc();
        let label = OperationLabel { operation };
        if bytes > 0 {
            self.store_bytes.get_or_create(&label).inc_by(bytes);
        }
        self.store_request_duration_seconds.get_or_create(&label).observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests;
