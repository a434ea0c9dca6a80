//! Requests of a sender, out of small pools: few series, few timestamps, so that rows meet again and disagree.

use promarchive_model::{Counts, DAY_MS, Histogram, Protocol, ResetHint, Sample, Span, labels_text, parse_labels_text};
use promarchive_testkit::hand_made::{SentExemplar, SentMetadata, SentSeries, body};
use proptest::prelude::*;
use proptest::sample::select;

use super::rows::{Content, Key, STALE};
use crate::core::Terms;

/// When histories begin: noon of a day in 2025.
pub(super) const START: i64 = 20_400 * DAY_MS + DAY_MS / 2;

/// A label set on the wire, and as a table has it: metric and canonical labels; none for one that must be refused.
struct Labels {
    wire: &'static [(&'static str, &'static [u8])],
    canonical: Option<(&'static str, &'static str)>,
}

const LABELS: [Labels; 9] = [
    Labels { wire: &[("__name__", b"up"), ("job", b"a")], canonical: Some(("up", r#"{"job":"a"}"#)) },
    Labels { wire: &[("__name__", b"up")], canonical: Some(("up", "{}")) },
    // Unsorted; before the first in Prometheus's order, and in bytes.
    Labels {
        wire: &[("zone", b"z"), ("__name__", b"up"), ("job", b"a!")],
        canonical: Some(("up", r#"{"job":"a!","zone":"z"}"#)),
    },
    // An empty value is no label; escapes.
    Labels {
        wire: &[("__name__", "été.total".as_bytes()), ("gone", b""), ("instance", b"x\"\\\n\x01"), ("pod", b"p")],
        canonical: Some(("été.total", r#"{"instance":"x\"\\\n\u0001","pod":"p"}"#)),
    },
    Labels {
        wire: &[("__name__", b"up"), ("a.b", "é".as_bytes()), ("namespace", b"n")],
        canonical: Some(("up", r#"{"a.b":"é","namespace":"n"}"#)),
    },
    Labels { wire: &[("job", b"a")], canonical: None },
    Labels { wire: &[("__name__", b"up"), ("job", b"a"), ("job", b"b")], canonical: None },
    Labels { wire: &[("__name__", b"up"), ("job", b"\xff")], canonical: None },
    Labels { wire: &[("__name__", b"up"), ("", b"a")], canonical: None },
];

/// The first of them are valid.
const VALID: usize = 5;

const TIMESTAMPS: [i64; 6] = [START, START + 1, START + 15_000, START + DAY_MS / 2, START - 3 * DAY_MS, -1];
/// Never kept: too early for any table, and too late for any clock here.
const BAD_TIMESTAMPS: [i64; 3] = [i64::MIN, -2_208_988_800_001, 253_402_300_799_999];

const VALUES: [u64; 10] = [
    0,
    1 << 63,
    0x3ff8_0000_0000_0000,
    0xbff8_0000_0000_0000,
    // An ordinary NaN, one with a payload, one of negative sign.
    0x7ff8_0000_0000_0001,
    0x7ff0_0000_0000_0003,
    0xfff8_0000_0000_0001,
    0x7ff0_0000_0000_0000,
    // The smallest subnormal.
    1,
    STALE,
];

/// One series of a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Part {
    labels: usize,
    samples: Vec<Sample>,
    histograms: Vec<Histogram>,
    exemplars: Vec<SentExemplar>,
    metadata: Option<SentMetadata>,
}

/// A request that a sender may send more than once.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) protocol: Protocol,
    pub(super) parts: Vec<Part>,
    /// Who sends it: the value of a label that the receiver sets, if it does.
    sender: Option<&'static str>,
    /// Whether only rows of the last days are taken.
    recent: bool,
}

/// The label that says who sends.
const SENDER: &str = "sender";
/// From when on rows are taken that must be recent.
const RECENT: i64 = START - DAY_MS;

fn timestamp() -> impl Strategy<Value = i64> {
    prop_oneof![20 => select(&TIMESTAMPS[..]), 1 => select(&BAD_TIMESTAMPS[..])]
}

fn sample() -> impl Strategy<Value = Sample> {
    (timestamp(), select(&VALUES[..]), select(&[0, 0, 0, -5, 7][..]))
        .prop_map(|(timestamp, value, start_timestamp)| Sample { timestamp, value, start_timestamp })
}

/// Histograms of every kind; the last is invalid.
fn histogram_of_kind(kind: usize, timestamp: i64) -> Histogram {
    let spans = |offset| vec![Span { offset, length: 2 }];
    let plain = Histogram {
        timestamp,
        start_timestamp: 0,
        schema: 3,
        zero_threshold: 1,
        sum: 0x4000_0000_0000_0000,
        reset_hint: ResetHint::Unknown,
        counts: Counts::Integer { count: 7, zero: 1, positive: vec![2, 1], negative: vec![3, 0] },
        positive_spans: spans(-2),
        negative_spans: spans(0),
        custom_values: Vec::new(),
    };
    let floats =
        Counts::Float { count: 7, zero: 1 << 62, positive: vec![0x7ff8_0000_0000_0005, 1 << 63], negative: vec![] };
    match kind {
        0 => plain,
        1 => Histogram { start_timestamp: 9, schema: 52, reset_hint: ResetHint::No, ..plain },
        2 => Histogram { reset_hint: ResetHint::Gauge, counts: floats, negative_spans: vec![], ..plain },
        3 => Histogram {
            schema: -53,
            zero_threshold: 0,
            counts: Counts::Integer { count: 3, zero: 0, positive: vec![1, 2], negative: vec![] },
            positive_spans: spans(0),
            negative_spans: vec![],
            custom_values: vec![1, 0x3ff0_0000_0000_0000],
            ..plain
        },
        4 => Histogram {
            sum: STALE,
            counts: Counts::Integer { count: 0, zero: 0, positive: vec![], negative: vec![] },
            positive_spans: vec![],
            negative_spans: vec![],
            ..plain
        },
        _ => Histogram { positive_spans: vec![], ..plain },
    }
}

const INVALID_HISTOGRAM: usize = 5;

fn is_valid(histogram: &Histogram) -> bool {
    *histogram != histogram_of_kind(INVALID_HISTOGRAM, histogram.timestamp)
}

fn histogram() -> impl Strategy<Value = Histogram> {
    (prop_oneof![8 => 0..INVALID_HISTOGRAM, 1 => Just(INVALID_HISTOGRAM)], timestamp())
        .prop_map(|(kind, timestamp)| histogram_of_kind(kind, timestamp))
}

fn exemplar() -> impl Strategy<Value = SentExemplar> {
    (any::<bool>(), timestamp(), select(&VALUES[..4])).prop_map(|(traced, timestamp, value)| {
        let labels = if traced { vec![("trace_id", "1")] } else { vec![] };
        SentExemplar { labels, timestamp, value }
    })
}

fn metadata() -> impl Strategy<Value = SentMetadata> {
    (1_u64..3, select(&["", "Help."][..])).prop_map(|(kind, help)| SentMetadata { kind, help, unit: "s" })
}

fn part() -> impl Strategy<Value = Part> {
    use prop::collection::vec;
    (
        prop_oneof![12 => 0..VALID, 1 => VALID..LABELS.len()],
        vec(sample(), 0..5),
        prop_oneof![3 => Just(Vec::new()), 2 => vec(histogram(), 1..3)],
        prop_oneof![3 => Just(Vec::new()), 2 => vec(exemplar(), 1..3)],
        prop::option::weighted(0.2, metadata()),
    )
        .prop_map(|(labels, samples, histograms, exemplars, metadata)| Part {
            labels,
            samples,
            histograms,
            exemplars,
            metadata: metadata.filter(|_| labels < VALID),
        })
}

pub(super) fn request() -> impl Strategy<Value = Request> {
    let sender = select(&[None, None, Some("one"), Some("two")][..]);
    (select(&[Protocol::V1, Protocol::V2][..]), prop::collection::vec(part(), 1..4), sender, prop::bool::weighted(0.3))
        .prop_map(|(protocol, parts, sender, recent)| Request { protocol, parts, sender, recent })
}

impl Part {
    fn sent(&self) -> SentSeries {
        let labels = LABELS[self.labels].wire.iter();
        SentSeries {
            labels: labels.map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect(),
            odd_reference: false,
            samples: self.samples.clone(),
            histograms: self.histograms.clone(),
            exemplars: self.exemplars.clone(),
            metadata: self.metadata,
        }
    }
}

impl Request {
    fn of(part: Part) -> Self {
        Self { protocol: Protocol::V2, parts: vec![part], sender: None, recent: false }
    }

    /// A request with float samples of one series only.
    pub(super) fn of_samples(samples: &[(i64, f64)]) -> Self {
        let sample =
            |&(timestamp, value): &(i64, f64)| Sample { timestamp, value: value.to_bits(), start_timestamp: 0 };
        Self::of(Part { samples: samples.iter().map(sample).collect(), ..Part::default() })
    }

    /// A request with one exemplar only.
    pub(super) fn of_exemplar(timestamp: i64) -> Self {
        let exemplar = SentExemplar { labels: vec![], timestamp, value: 0 };
        Self::of(Part { exemplars: vec![exemplar], ..Part::default() })
    }

    /// A request with metadata only.
    pub(super) fn of_metadata(help: &'static str) -> Self {
        let metadata = SentMetadata { kind: 1, help, unit: "s" };
        Self::of(Part { metadata: Some(metadata), ..Part::default() })
    }

    /// The same about series that no other of two receivers is sent: exactly once holds for each WAL. Metadata has no series, so only the
    /// first receiver gets any.
    pub(super) fn kept_apart(mut self, receiver: usize) -> Self {
        for part in self.parts.iter_mut().filter(|part| part.labels < VALID) {
            part.labels = if receiver == 0 { part.labels % 2 } else { 2 + part.labels % 3 };
        }
        if receiver > 0 {
            self.parts.iter_mut().for_each(|part| part.metadata = None);
        }
        self
    }

    /// What it is held to, and the label that is set on its series.
    pub(super) fn terms(&self, accept_until: i64) -> Terms {
        let accept_from = if self.recent { RECENT } else { i64::MIN };
        Terms { accept_from, accept_until, label: self.sender.map(|sender| (SENDER.into(), sender.into())) }
    }

    /// Labels as a table has them.
    fn with_sender(&self, labels: &str) -> String {
        let Some(sender) = self.sender else { return labels.to_owned() };
        let mut pairs = parse_labels_text(labels).unwrap();
        pairs.insert(SENDER.into(), sender.into());
        labels_text(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }

    /// Decompressed.
    pub(super) fn body(&self) -> Vec<u8> {
        body(self.protocol, &self.parts.iter().map(Part::sent).collect::<Vec<_>>())
    }

    /// The rows that must be kept when it is received at this time, and how many must be refused.
    pub(super) fn rows(&self, received_at: i64) -> (Vec<(Key, Content)>, u64) {
        let mut rows = Vec::new();
        let mut refused = 0;
        let start = |start: i64| if self.protocol == Protocol::V2 { start } else { 0 };
        for part in &self.parts {
            let Some((metric, labels)) = LABELS[part.labels].canonical else {
                refused += (part.samples.len() + part.histograms.len() + part.exemplars.len()).max(1) as u64;
                continue;
            };
            let series = || (metric.to_owned(), self.with_sender(labels));
            let mut keep = |timestamp: i64, valid: bool, row: (Key, Content)| {
                if valid && !BAD_TIMESTAMPS.contains(&timestamp) && (!self.recent || timestamp >= RECENT) {
                    rows.push(row)
                } else {
                    refused += 1
                }
            };
            for &sample in &part.samples {
                let sample = Sample { start_timestamp: start(sample.start_timestamp), ..sample };
                keep(sample.timestamp, true, (Key::Sample(series(), sample.timestamp), Content::Sample(sample)));
            }
            for histogram in &part.histograms {
                let key = Key::Histogram(series(), histogram.timestamp);
                let kept = Histogram { start_timestamp: start(histogram.start_timestamp), ..histogram.clone() };
                keep(histogram.timestamp, is_valid(histogram), (key, Content::Histogram(kept)));
            }
            for SentExemplar { labels: own, timestamp, value } in &part.exemplars {
                let own = if own.is_empty() { "{}" } else { r#"{"trace_id":"1"}"# };
                let key = Key::Exemplar(series(), *timestamp, *value, own.to_owned());
                keep(*timestamp, true, (key, Content::Exemplar));
            }
            if let Some(SentMetadata { kind, help, unit }) = part.metadata {
                let kind = if kind == 1 { "counter" } else { "gauge" };
                let day = received_at.div_euclid(DAY_MS);
                let [metric, kind, unit, help] = [metric, kind, unit, help].map(str::to_owned);
                rows.push((Key::Metadata(day, metric, kind, unit, help), Content::Metadata(received_at)));
            }
        }
        (rows, refused)
    }
}
