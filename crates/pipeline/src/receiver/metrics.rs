//! The receiver's own metrics. Every label has a bounded set of values: paths, codes, tables, senders of the tokens file.

use std::sync::atomic::AtomicU64;

use promarchive_api::log_output;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

/// Of HTTP requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HttpLabels {
    /// A known path, or "other".
    pub path: &'static str,
    /// GET, HEAD, POST, or "other".
    pub method: &'static str,
    /// Status code of the answer.
    pub code: u16,
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident, $field:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub struct $name {
            /// One of a fixed set of words.
            pub $field: &'static str,
        }
    };
}

label!(/// A known path, or "other".
    PathLabel, path);
label!(/// Why something was refused: the name of the refusal.
    ReasonLabel, reason);
label!(/// A table of the archive.
    TableLabel, table);
label!(/// How it ended: "ok" or "failed".
    ResultLabel, result);
label!(/// Remote-write version: "v1" or "v2".
    ProtocolLabel, protocol);
label!(/// The version of the program.
    BuildLabel, version);
label!(/// Which kind of file: "tokens" or "tls".
    FileLabel, file);

/// Which group a time was of: the exemplar's label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PositionLabel {
    /// Last position of the group in the WAL.
    pub position: u64,
}

/// A sender, as the tokens file names it, and how it was answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SenderLabel {
    /// Name out of the tokens file.
    pub sender: String,
    /// Status code of the answer.
    pub code: u16,
}

/// Which metrics are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// All.
    Full,
    /// Those that name no sender.
    WithoutSenders,
}

/// Handles of all metrics; each is cheap to clone and to change from any thread.
pub struct Metrics {
    registry: Registry,
    /// What names senders.
    senders: Registry,
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
    /// Native histograms received.
    pub histograms_received: Family<ProtocolLabel, Counter>,
    /// Exemplars received.
    pub exemplars_received: Family<ProtocolLabel, Counter>,
    /// Metadata entries received.
    pub metadata_received: Family<ProtocolLabel, Counter>,
    /// What was refused by name.
    pub refused: Family<ReasonLabel, Counter>,
    /// Series in memory.
    pub series: Gauge,
    /// Bytes of samples buffered for the next flush.
    pub memtable_bytes: Gauge,
    /// All bytes that count against the memory limit.
    pub memory_bytes: Gauge,
    /// Bytes of the WAL on disk.
    pub wal_bytes: Gauge,
    /// Syncs of the WAL.
    pub wal_syncs: Counter,
    /// Time to make one group of requests durable.
    pub wal_sync_duration_seconds: HistogramWithExemplars<PositionLabel>,
    /// Appends to the WAL that failed.
    pub wal_append_failures: Counter,
    /// Flushes.
    pub flushes: Family<ResultLabel, Counter>,
    /// Time of one flush.
    pub flush_duration_seconds: Histogram,
    /// Rows flushed.
    pub flush_rows: Family<TableLabel, Counter>,
    /// Bytes of the files flushed.
    pub flush_file_bytes: Family<TableLabel, Counter>,
    /// Commits.
    pub commits: Family<TableLabel, Counter>,
    /// Commits that another writer was ahead of.
    pub commit_conflicts: Counter,
    /// Rows received again with the same content.
    pub duplicates: Counter,
    /// Rows received again with another content.
    pub conflicting_samples: Counter,
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
    pub fn new() -> Self {
        let mut r = Register(Registry::with_prefix("promarchive"));
        let mut senders = Register(Registry::with_prefix("promarchive"));
        let build = Family::<BuildLabel, Gauge>::default();
        build.get_or_create(&BuildLabel { version: env!("CARGO_PKG_VERSION") }).set(1);
        r.add("build_info", "The version that runs", build);
        let metrics = Self {
            http_requests: r.add("http_requests", "HTTP requests answered", Family::default()),
            http_request_duration_seconds: r.add(
                "http_request_duration_seconds",
                "Time from the head of a request to its answer, in seconds",
                Family::new_with_constructor(request_histogram as fn() -> Histogram),
            ),
            http_connections: r.add("http_connections", "Open connections", Gauge::default()),
            http_connections_displaced: r.add(
                "http_connections_displaced",
                "Connections closed to make room for others",
                Counter::default(),
            ),
            http_in_flight_bytes: r.add(
                "http_in_flight_bytes",
                "Memory given out to requests in flight",
                Gauge::default(),
            ),
            sender_requests: senders.add(
                "sender_requests",
                "Requests answered, by sender of the tokens file",
                Family::default(),
            ),
            unknown_token_requests: r.add(
                "unknown_token_requests",
                "Requests with a token that is not in the tokens file, or none",
                Counter::default(),
            ),
            log_lines_lost: r.add("log_lines_lost", "Lines of the log that could not be written", Counter::default()),
            reload_failures: r.add("reload_failures", "Changed files that could not be taken up", Family::default()),
            received_bytes: r.add("received_bytes", "Compressed bytes of write requests read", Counter::default()),
            samples_received: r.add("samples_received", "Float samples received", Family::default()),
            histograms_received: r.add("histograms_received", "Native histograms received", Family::default()),
            exemplars_received: r.add("exemplars_received", "Exemplars received", Family::default()),
            metadata_received: r.add("metadata_received", "Metadata entries received", Family::default()),
            refused: r.add("refused", "Samples, histograms, exemplars and series refused by name", Family::default()),
            series: r.add("series", "Series in memory", Gauge::default()),
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
                "Appends to the write-ahead log that failed, and were answered with 503",
                Counter::default(),
            ),
            flushes: r.add("flushes", "Flushes by their result", Family::default()),
            flush_duration_seconds: r.add(
                "flush_duration_seconds",
                "Time of one flush, commits included, in seconds",
                Histogram::new(FLUSH_SECONDS),
            ),
            flush_rows: r.add("flush_rows", "Rows written by flushes", Family::default()),
            flush_file_bytes: r.add("flush_file_bytes", "Bytes of the files written by flushes", Family::default()),
            commits: r.add("commits", "Commits to a table", Family::default()),
            commit_conflicts: r.add("commit_conflicts", "Commits that another writer was ahead of", Counter::default()),
            duplicates: r.add(
                "duplicates",
                "Rows received again with the same content, and merged",
                Counter::default(),
            ),
            conflicting_samples: r.add(
                "conflicting_samples",
                "Rows received again with another content, of which one was kept",
                Counter::default(),
            ),
            last_commit_timestamp_seconds: r.add(
                "last_commit_timestamp_seconds",
                "Time of the last commit, in seconds since the epoch; 0 before the first",
                Gauge::default(),
            ),
            registry: r.0,
            senders: senders.0,
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
    }

    /// A changed file could not be taken up: "tokens" or "tls".
    pub(super) fn reload_failed(&self, file: &'static str) {
        self.reload_failures.get_or_create(&FileLabel { file }).inc();
    }

    /// Metrics in OpenMetrics text, version 1.0.0.
    pub fn openmetrics(&self, view: View) -> String {
        self.log_lines_lost.inc_by(log_output::take_lost_lines());
        let mut text = String::new();
        // Writing to a string does not fail; if it did, the text would lack its end, which every parser notices.
        let _ = encode_registry(&mut text, &self.registry)
            .and_then(|()| match view {
                View::Full => encode_registry(&mut text, &self.senders),
                View::WithoutSenders => Ok(()),
            })
            .and_then(|()| encode_eof(&mut text));
        text
    }

    /// Metrics in Prometheus text, version 0.0.4.
    pub fn text(&self, view: View) -> String {
        to_text_format(&self.openmetrics(view))
    }

    /// All metrics in OpenMetrics text, version 1.0.0.
    pub fn encode_openmetrics(&self) -> String {
        self.openmetrics(View::Full)
    }

    /// All metrics in Prometheus text, version 0.0.4.
    pub fn encode_text(&self) -> String {
        self.text(View::Full)
    }
}

/// Whether a value of `Accept` takes OpenMetrics; with `q=0` it says that it does not.
pub(super) fn accepts_openmetrics(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let weight = |part: &str| {
            let (name, weight) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then(|| weight.trim().parse().unwrap_or(1.0))
        };
        let is_openmetrics = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/openmetrics-text"));
        is_openmetrics && parts.find_map(weight).unwrap_or(1.0_f64) > 0.0
    })
}

/// OpenMetrics text as the older format has it: counters are described under their full name, no units, no end mark.
fn to_text_format(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let mut help = None;
    for line in openmetrics.lines() {
        // HELP comes before TYPE, and its name depends on the type.
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ');
        } else if let Some(typed) = line.strip_prefix("# TYPE ") {
            let Some((name, kind)) = typed.split_once(' ') else { continue };
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, help)) = help.take() {
                text.push_str(&format!("# HELP {name}{suffix} {help}\n"));
            }
            text.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            text.push_str(without_exemplar(line));
            text.push('\n');
        }
    }
    text
}

/// The older format knows no exemplars, which buckets may carry.
fn without_exemplar(line: &str) -> &str {
    match line.split_once("} ") {
        Some((name, _)) if name.contains("_bucket{") => line.split_once(" # {").map_or(line, |(sample, _)| sample),
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn touched() -> Metrics {
        let metrics = Metrics::new();
        metrics.http_requests.get_or_create(&HttpLabels { path: "other", method: "GET", code: 404 }).inc();
        metrics.http_request_duration_seconds.get_or_create(&PathLabel { path: "/metrics" }).observe(0.2);
        metrics.sender_requests.get_or_create(&SenderLabel { sender: "a\"\\".to_owned(), code: 204 }).inc();
        metrics.refused.get_or_create(&ReasonLabel { reason: "no-name" }).inc_by(3);
        for family in [&metrics.flush_rows, &metrics.flush_file_bytes, &metrics.commits] {
            family.get_or_create(&TableLabel { table: "samples" }).inc();
        }
        metrics.last_commit_timestamp_seconds.set(1.5e9);
        metrics
    }

    /// Name and type of every metric family, checked line by line.
    fn families(text: &str) -> BTreeMap<String, String> {
        let mut types = BTreeMap::new();
        let mut described = Vec::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(help.len() > 5, "{line}");
                described.push(name.to_owned());
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(described.last().unwrap(), name, "help and type stand together");
                assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{line} twice");
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                value.parse::<f64>().unwrap();
                let name = series.split('{').next().unwrap();
                let family = described.last().unwrap();
                assert!(name.starts_with(family.as_str()), "{name} stands under {family}");
                assert_eq!(series.contains('{'), series.ends_with('}'), "{line}");
            }
        }
        types
    }

    #[test]
    fn the_text_parses_and_names_follow_the_rules() {
        let text = touched().encode_text();
        let families = families(&text);
        assert!(families.len() >= 30, "{}", families.len());
        for (name, kind) in &families {
            assert!(name.starts_with("promarchive_"), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
            match kind.as_str() {
                "counter" => assert!(name.ends_with("_total"), "{name}"),
                "histogram" => assert!(name.ends_with("_seconds"), "{name}"),
                "gauge" => assert!(!name.ends_with("_total") && !name.contains("duration"), "{name}"),
                other => panic!("{name} is a {other}"),
            }
        }
        for line in [
            "promarchive_http_requests_total{path=\"other\",method=\"GET\",code=\"404\"} 1",
            "promarchive_refused_total{reason=\"no-name\"} 3",
            "promarchive_http_request_duration_seconds_bucket{le=\"+Inf\",path=\"/metrics\"} 1",
            "promarchive_sender_requests_total{sender=\"a\\\"\\\\\",code=\"204\"} 1",
            concat!("promarchive_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            "promarchive_flushes_total{result=\"failed\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\nis not in\n{text}");
        }
    }

    #[test]
    fn who_may_not_see_senders_sees_everything_else() {
        let metrics = touched();
        let (all, some) = (families(&metrics.text(View::Full)), families(&metrics.text(View::WithoutSenders)));
        let missing: Vec<&String> = all.keys().filter(|name| !some.contains_key(*name)).collect();
        assert_eq!(missing, ["promarchive_sender_requests_total"]);
        for text in [metrics.text(View::WithoutSenders), metrics.openmetrics(View::WithoutSenders)] {
            assert!(!text.contains("sender=") && !text.contains("a\\\"\\\\"), "{text}");
        }
        assert!(metrics.openmetrics(View::WithoutSenders).ends_with("# EOF\n"));
    }

    #[test]
    fn exemplars_are_in_openmetrics_only() {
        let metrics = Metrics::new();
        metrics.wal_sync_duration_seconds.observe(0.002, Some(PositionLabel { position: 7 }), None);
        assert!(metrics.encode_openmetrics().contains("# {position=\"7\"} 0.002"));
        let text = metrics.encode_text();
        assert!(!text.contains("# {"), "{text}");
        assert!(text.contains("promarchive_wal_sync_duration_seconds_bucket{le=\"0.0025\"} 1\n"), "{text}");
    }

    #[test]
    fn openmetrics_for_those_who_take_it() {
        for (accept, wants) in [
            ("application/openmetrics-text", true),
            ("application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", true),
            ("text/plain, Application/OpenMetrics-Text; version=1.0.0", true),
            ("application/openmetrics-text;q=0", false),
            ("application/openmetrics-text; version=1.0.0; Q = 0.000, text/plain", false),
            ("text/plain;q=1", false),
            ("*/*", false),
            ("", false),
        ] {
            assert_eq!(accepts_openmetrics(accept), wants, "{accept}");
        }
    }

    #[test]
    fn openmetrics_ends_as_it_must() {
        let text = touched().encode_openmetrics();
        assert!(text.ends_with("# EOF\n"));
        assert!(text.contains("# TYPE promarchive_http_requests counter\n"));
        assert!(!text.contains("_total_total"));
    }
}
