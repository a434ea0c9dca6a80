//! What is sent: rows whose whole content follows from a number, and the requests that carry them.
//!
//! Rows come in blocks of [`ROWS_PER_BLOCK`]; a block is what a first request carries. Odd blocks are remote write 2.0 and have start
//! timestamps, even ones 1.0; a resend may mix blocks. Four rows in a row share a series. Of sixteen, one is a native histogram, one
//! carries an exemplar; some are stale markers; some are a day old. Values are random bits, so NaNs with payloads come, too.

use promarchive_wire::proto::{v1, v2};
use prost::Message;

use super::random::mix;

/// Rows in a first request.
pub const ROWS_PER_BLOCK: u64 = 16;
const DAY_MS: i64 = 86_400_000;
const STALE: u64 = 0x7ff0_0000_0000_0002;
const METRICS: u64 = 6;
const GAUGE: i32 = 2;

/// One sample or histogram, perhaps with an exemplar, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Row {
    /// Its number.
    pub id: u64,
    /// Timestamp of row 0, milliseconds since the epoch.
    pub base: i64,
}

/// A native histogram's content.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct HistogramContent {
    pub(super) sum: f64,
    pub(super) zero: u64,
    pub(super) buckets: [u64; 3],
    pub(super) float: bool,
}

impl HistogramContent {
    pub(super) fn count(&self) -> u64 {
        self.zero + self.buckets.iter().sum::<u64>()
    }
}

impl Row {
    /// The row with this timestamp; none if no row has it.
    pub(super) fn at(base: i64, timestamp: i64) -> Option<Self> {
        let offset = if timestamp < base { timestamp - base + DAY_MS } else { timestamp - base };
        let row = Self { id: u64::try_from(offset).ok()?, base };
        (row.timestamp() == timestamp).then_some(row)
    }

    pub(super) fn is_v2(self) -> bool {
        (self.id / ROWS_PER_BLOCK) % 2 == 1
    }

    pub(super) fn is_histogram(self) -> bool {
        self.id % 16 == 9
    }

    pub(super) fn has_exemplar(self) -> bool {
        self.id % 16 == 3
    }

    /// Whether the request tells its metric's metadata.
    pub(super) fn tells_metadata(self) -> bool {
        self.id % 64 < 32
    }

    pub(super) fn timestamp(self) -> i64 {
        let old = if self.id % 64 == 7 { DAY_MS } else { 0 };
        self.base - old + i64::try_from(self.id).unwrap_or(0)
    }

    /// Milliseconds since the epoch; 0 for none.
    pub(super) fn start(self) -> i64 {
        if self.is_v2() && self.id.is_multiple_of(3) { self.timestamp() - 500 } else { 0 }
    }

    pub(super) fn is_stale(self) -> bool {
        !self.is_histogram() && self.id % 50 == 49
    }

    pub(super) fn value_bits(self) -> u64 {
        match mix(self.id) {
            _ if self.is_stale() => STALE,
            // The encoder takes a negative zero for nothing.
            bits if bits << 1 == 0 => 1,
            bits if self.id % 40 == 1 => bits | 0x7ff8_0000_0000_0000,
            bits => bits,
        }
    }

    pub(super) fn histogram(self) -> HistogramContent {
        let id = self.id;
        HistogramContent {
            sum: id as f64 * 0.25,
            zero: id % 3,
            buckets: [1 + id % 5, 2, id % 11],
            float: id % 32 == 25,
        }
    }

    pub(super) fn exemplar_bits(self) -> u64 {
        (self.id as f64 + 0.5).to_bits()
    }

    fn trace_id(self) -> String {
        format!("{:016x}", mix(self.id + 1))
    }

    fn series(self) -> u64 {
        (self.id / 4) % (METRICS * 3)
    }

    pub(super) fn metric(self) -> String {
        let kind = if self.is_histogram() { "histogram" } else { "gauge" };
        format!("ledger_{kind}_{}", self.series() % METRICS)
    }

    fn instance(self) -> String {
        format!("host-{}:9100", self.series() / METRICS)
    }

    /// What the column `labels` says of it.
    pub(super) fn labels_text(self) -> String {
        format!(r#"{{"instance":"{}","job":"ledger","path":"C:\\\"ü\""}}"#, self.instance())
    }

    /// What the column `exemplar_labels` says of it.
    pub(super) fn exemplar_labels_text(self) -> String {
        format!(r#"{{"trace_id":"{}"}}"#, self.trace_id())
    }

    fn labels(self) -> Vec<(String, String)> {
        let pairs = [("__name__", self.metric()), ("instance", self.instance()), ("job", "ledger".into())];
        let mut labels: Vec<_> = pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        labels.push(("path".to_owned(), "C:\\\"ü\"".to_owned()));
        labels
    }
}

/// What the metadata table says of a metric.
pub(super) fn metadata_of(metric: &str) -> (&'static str, String, String) {
    ("gauge", String::new(), format!("What {metric} is \"for\"."))
}

/// A request's body as it goes over the wire.
#[derive(Clone, Debug)]
pub struct Body {
    /// Value of `Content-Type`.
    pub content_type: &'static str,
    /// Snappy over protobuf.
    pub bytes: Vec<u8>,
}

/// A request with these rows: 2.0 if one of them needs it or `v2` asks for it.
pub fn encode(rows: &[Row], v2: bool) -> Body {
    let v2 = v2 || rows.iter().any(|row| row.is_v2());
    let (content_type, message) = if v2 {
        ("application/x-protobuf;proto=io.prometheus.write.v2.Request", encode_v2(rows).encode_to_vec())
    } else {
        ("application/x-protobuf", encode_v1(rows).encode_to_vec())
    };
    let bytes = snap::raw::Encoder::new().compress_vec(&message).unwrap_or_default();
    Body { content_type, bytes }
}

/// Rows that follow one another in one series, and are of one kind.
fn series_of(rows: &[Row]) -> impl Iterator<Item = &[Row]> {
    rows.chunk_by(|a, b| a.series() == b.series() && a.is_histogram() == b.is_histogram())
}

fn histogram_of(row: Row) -> v1::Histogram {
    use v1::histogram::{Count, ZeroCount};
    let content = row.histogram();
    let mut histogram = v1::Histogram {
        sum: content.sum,
        schema: 3,
        zero_threshold: 1e-128,
        positive_spans: vec![v1::BucketSpan { offset: 0, length: 2 }, v1::BucketSpan { offset: 3, length: 1 }],
        timestamp: row.timestamp(),
        start_timestamp: row.start(),
        ..v1::Histogram::default()
    };
    if content.float {
        histogram.count = Some(Count::CountFloat(content.count() as f64));
        histogram.zero_count = Some(ZeroCount::ZeroCountFloat(content.zero as f64));
        histogram.positive_counts = content.buckets.map(|count| count as f64).to_vec();
    } else {
        histogram.count = Some(Count::CountInt(content.count()));
        histogram.zero_count = Some(ZeroCount::ZeroCountInt(content.zero));
        let [a, b, c] = content.buckets.map(|count| i64::try_from(count).unwrap_or(0));
        histogram.positive_deltas = vec![a, b - a, c - b];
    }
    histogram
}

fn encode_v1(rows: &[Row]) -> v1::WriteRequest {
    let mut request = v1::WriteRequest::default();
    for rows in series_of(rows) {
        let Some(first) = rows.first() else { continue };
        let label = |(name, value)| v1::Label { name, value };
        let mut series =
            v1::TimeSeries { labels: first.labels().into_iter().map(label).collect(), ..Default::default() };
        for row in rows {
            if row.is_histogram() {
                series.histograms.push(histogram_of(*row));
            } else {
                series.samples.push(v1::Sample { value: f64::from_bits(row.value_bits()), timestamp: row.timestamp() });
            }
            if row.has_exemplar() {
                let labels = vec![label(("trace_id".to_owned(), row.trace_id()))];
                let value = f64::from_bits(row.exemplar_bits());
                series.exemplars.push(v1::Exemplar { labels, value, timestamp: row.timestamp() });
            }
        }
        request.timeseries.push(series);
        if rows.iter().any(|row| row.tells_metadata()) {
            let metric = first.metric();
            let (_, unit, help) = metadata_of(&metric);
            request.metadata.push(v1::MetricMetadata { r#type: GAUGE, metric_family_name: metric, help, unit });
        }
    }
    request
}

fn encode_v2(rows: &[Row]) -> v2::Request {
    let mut symbols = vec![String::new()];
    let mut symbol = |text: String| {
        let known = symbols.iter().position(|known| *known == text);
        let index = known.unwrap_or_else(|| {
            symbols.push(text);
            symbols.len() - 1
        });
        u32::try_from(index).unwrap_or(0)
    };
    let mut timeseries = Vec::new();
    for rows in series_of(rows) {
        let Some(first) = rows.first() else { continue };
        let labels_refs = first.labels().into_iter().flat_map(|(name, value)| [symbol(name), symbol(value)]).collect();
        let mut series = v2::TimeSeries { labels_refs, ..Default::default() };
        for row in rows {
            let (timestamp, start_timestamp) = (row.timestamp(), row.start());
            if row.is_histogram() {
                series.histograms.push(histogram_of(*row));
            } else {
                let value = f64::from_bits(row.value_bits());
                series.samples.push(v2::Sample { value, timestamp, start_timestamp });
            }
            if row.has_exemplar() {
                let labels_refs = vec![symbol("trace_id".to_owned()), symbol(row.trace_id())];
                series.exemplars.push(v2::Exemplar {
                    labels_refs,
                    value: f64::from_bits(row.exemplar_bits()),
                    timestamp,
                });
            }
        }
        if rows.iter().any(|row| row.tells_metadata()) {
            let (_, unit, help) = metadata_of(&first.metric());
            series.metadata = Some(v2::Metadata { r#type: GAUGE, help_ref: symbol(help), unit_ref: symbol(unit) });
        }
        timeseries.push(series);
    }
    v2::Request { symbols, timeseries }
}
