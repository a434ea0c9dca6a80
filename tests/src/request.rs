//! Remote-write requests in words, to be sent in either protocol.

use promarchive_model::{Counts, Histogram, Protocol, ResetHint, STALE_NAN, Sample, Span};

use crate::protobuf::Message;

/// A request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Its time series.
    pub series: Vec<Series>,
    /// Metadata of metric families by name; sent in 1.0 only.
    pub families: Vec<(String, Metadata)>,
}

/// A time series of a request. Names and values of labels are bytes, because a sender may send any.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// Labels in the order in which they are sent.
    pub labels: Vec<(Vec<u8>, Vec<u8>)>,
    /// Float samples.
    pub samples: Vec<Sample>,
    /// Native histograms.
    pub histograms: Vec<Histogram>,
    /// Exemplars.
    pub exemplars: Vec<Exemplar>,
    /// Metadata; sent in 2.0 only.
    pub metadata: Option<Metadata>,
    /// The field of 2.0 up to rc.3; sent in 2.0 only, when not 0.
    pub created_timestamp: i64,
}

/// An exemplar.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exemplar {
    /// Its labels.
    pub labels: Vec<(String, String)>,
    /// IEEE bits.
    pub value: u64,
    /// Milliseconds since the epoch.
    pub timestamp: i64,
}

/// What a metric is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The number of its type.
    pub kind: i32,
    /// Help.
    pub help: String,
    /// Unit.
    pub unit: String,
}

impl Request {
    /// A request with these series.
    pub fn of(series: impl IntoIterator<Item = Series>) -> Self {
        Self { series: series.into_iter().collect(), families: Vec::new() }
    }

    /// The message.
    pub fn encode(&self, protocol: Protocol) -> Vec<u8> {
        match protocol {
            Protocol::V1 => self.encode_v1(),
            Protocol::V2 => self.encode_v2(),
        }
    }

    fn encode_v1(&self) -> Vec<u8> {
        let request = self.series.iter().fold(Message::new(), |request, series| request.message(1, series.v1()));
        let families = self.families.iter().fold(request, |request, (name, metadata)| {
            let entry = Message::new().signed(1, metadata.kind.into()).bytes(2, name);
            request.message(3, entry.bytes(4, &metadata.help).bytes(5, &metadata.unit))
        });
        families.into_bytes()
    }

    fn encode_v2(&self) -> Vec<u8> {
        let mut symbols = Symbols(vec![Vec::new()]);
        let series: Vec<Message> = self.series.iter().map(|series| series.v2(&mut symbols)).collect();
        let request = symbols.0.iter().fold(Message::new(), |request, symbol| request.bytes(4, symbol));
        series.into_iter().fold(request, |request, series| request.message(5, series)).into_bytes()
    }
}

struct Symbols(Vec<Vec<u8>>);

impl Symbols {
    fn reference(&mut self, text: &[u8]) -> u64 {
        let at = self.0.iter().position(|symbol| symbol == text).unwrap_or_else(|| {
            self.0.push(text.to_vec());
            self.0.len() - 1
        });
        u64::try_from(at).unwrap()
    }
}

impl Series {
    /// A series with these labels and nothing else.
    pub fn new<N: AsRef<[u8]>, V: AsRef<[u8]>>(labels: &[(N, V)]) -> Self {
        let labels = labels.iter().map(|(name, value)| (name.as_ref().to_vec(), value.as_ref().to_vec())).collect();
        Self { labels, ..Self::default() }
    }

    /// A series with nothing but a metric name.
    pub fn metric(name: &str) -> Self {
        Self::new(&[("__name__", name)])
    }

    /// With another sample.
    #[must_use]
    pub fn sample(self, timestamp: i64, value: f64) -> Self {
        self.bits(timestamp, value.to_bits())
    }

    /// With another sample, given by its bits.
    #[must_use]
    pub fn bits(mut self, timestamp: i64, value: u64) -> Self {
        self.samples.push(Sample { timestamp, value, start_timestamp: 0 });
        self
    }

    /// With a sample that has a start timestamp.
    #[must_use]
    pub fn started(mut self, timestamp: i64, value: f64, start_timestamp: i64) -> Self {
        self.samples.push(Sample { timestamp, value: value.to_bits(), start_timestamp });
        self
    }

    /// With a stale marker.
    #[must_use]
    pub fn stale(self, timestamp: i64) -> Self {
        self.bits(timestamp, STALE_NAN)
    }

    /// With another native histogram.
    #[must_use]
    pub fn histogram(mut self, histogram: Histogram) -> Self {
        self.histograms.push(histogram);
        self
    }

    /// With another exemplar.
    #[must_use]
    pub fn exemplar(mut self, timestamp: i64, value: f64, labels: &[(&str, &str)]) -> Self {
        let labels = labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        self.exemplars.push(Exemplar { labels, value: value.to_bits(), timestamp });
        self
    }

    /// With metadata.
    #[must_use]
    pub fn described(mut self, kind: i32, help: &str, unit: &str) -> Self {
        self.metadata = Some(Metadata { kind, help: help.to_owned(), unit: unit.to_owned() });
        self
    }

    fn v1(&self) -> Message {
        let label = |name: &[u8], value: &[u8]| Message::new().bytes(1, name).bytes(2, value);
        let mut message = Message::new();
        for (name, value) in &self.labels {
            message = message.message(1, label(name, value));
        }
        for sample in &self.samples {
            message = message.message(2, Message::new().double(1, sample.value).signed(2, sample.timestamp));
        }
        for exemplar in &self.exemplars {
            let labels = exemplar.labels.iter();
            let inside =
                labels.fold(Message::new(), |m, (name, value)| m.message(1, label(name.as_bytes(), value.as_bytes())));
            message = message.message(3, inside.double(2, exemplar.value).signed(3, exemplar.timestamp));
        }
        for histogram in &self.histograms {
            message = message.message(4, encode_histogram(histogram));
        }
        message
    }

    fn v2(&self, symbols: &mut Symbols) -> Message {
        let mut references = |labels: &mut dyn Iterator<Item = (&[u8], &[u8])>| -> Vec<u64> {
            labels.flat_map(|(name, value)| [name, value]).map(|text| symbols.reference(text)).collect()
        };
        let labels = references(&mut self.labels.iter().map(|(name, value)| (name.as_slice(), value.as_slice())));
        let mut message = Message::new().packed_unsigned(1, &labels);
        for sample in &self.samples {
            let inside = Message::new().double(1, sample.value).signed(2, sample.timestamp);
            message = message.message(2, inside.signed(3, sample.start_timestamp));
        }
        for histogram in &self.histograms {
            let inside = encode_histogram(histogram).signed(17, histogram.start_timestamp);
            message = message.message(3, inside);
        }
        for exemplar in &self.exemplars {
            let labels = exemplar.labels.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            let inside = Message::new().packed_unsigned(1, &references(&mut { labels }));
            message = message.message(4, inside.double(2, exemplar.value).signed(3, exemplar.timestamp));
        }
        if let Some(metadata) = &self.metadata {
            let (help, unit) =
                (symbols.reference(metadata.help.as_bytes()), symbols.reference(metadata.unit.as_bytes()));
            message =
                message.message(5, Message::new().signed(1, metadata.kind.into()).unsigned(3, help).unsigned(4, unit));
        }
        if self.created_timestamp != 0 {
            message = message.signed(6, self.created_timestamp);
        }
        message
    }
}

/// The message of a native histogram, without its start timestamp, which 1.0 does not have.
pub fn encode_histogram(histogram: &Histogram) -> Message {
    let mut message = match &histogram.counts {
        Counts::Integer { count, zero, positive, negative } => Message::new()
            .unsigned(1, *count)
            .unsigned(6, *zero)
            .packed_zigzag(9, &differences(negative))
            .packed_zigzag(12, &differences(positive)),
        Counts::Float { count, zero, positive, negative } => {
            Message::new().double(2, *count).double(7, *zero).packed_doubles(10, negative).packed_doubles(13, positive)
        }
    };
    message = message.double(3, histogram.sum).zigzag(4, histogram.schema.into()).double(5, histogram.zero_threshold);
    for (field, spans) in [(8, &histogram.negative_spans), (11, &histogram.positive_spans)] {
        for &Span { offset, length } in spans {
            message = message.message(field, Message::new().zigzag(1, offset.into()).unsigned(2, length.into()));
        }
    }
    let hint = match histogram.reset_hint {
        ResetHint::Unknown => 0,
        ResetHint::Yes => 1,
        ResetHint::No => 2,
        ResetHint::Gauge => 3,
    };
    message.unsigned(14, hint).signed(15, histogram.timestamp).packed_doubles(16, &histogram.custom_values)
}

fn differences(counts: &[i64]) -> Vec<i64> {
    let before = std::iter::once(0).chain(counts.iter().copied());
    counts.iter().zip(before).map(|(count, before)| count - before).collect()
}

/// Integers on both sides of a zero bucket.
pub fn integer_histogram(timestamp: i64) -> Histogram {
    Histogram {
        timestamp,
        start_timestamp: 0,
        schema: 3,
        zero_threshold: 2.938_735_877_055_719e-39_f64.to_bits(),
        sum: 18.4_f64.to_bits(),
        reset_hint: ResetHint::Unknown,
        counts: Counts::Integer { count: 21, zero: 2, positive: vec![1, 7, 0, 4], negative: vec![3, 4] },
        positive_spans: vec![Span { offset: -3, length: 3 }, Span { offset: 5, length: 1 }],
        negative_spans: vec![Span { offset: 1, length: 2 }],
        custom_values: Vec::new(),
    }
}

/// The same in floats, which need not add up.
pub fn float_histogram(timestamp: i64) -> Histogram {
    let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect();
    let counts = Counts::Float {
        count: 21.25_f64.to_bits(),
        zero: 0.1_f64.to_bits(),
        positive: bits(&[1e-300, 7.5, -0.0, 4.0]),
        negative: bits(&[3.3, 5e-324]),
    };
    Histogram { counts, ..integer_histogram(timestamp) }
}

/// Custom buckets: what Prometheus makes of a classic histogram.
pub fn custom_histogram(timestamp: i64) -> Histogram {
    Histogram {
        schema: -53,
        zero_threshold: 0,
        counts: Counts::Integer { count: 6, zero: 0, positive: vec![1, 2, 3], negative: Vec::new() },
        positive_spans: vec![Span { offset: 0, length: 2 }, Span { offset: 1, length: 1 }],
        negative_spans: Vec::new(),
        custom_values: [-1.5, 0.005, 2.5].map(f64::to_bits).to_vec(),
        ..integer_histogram(timestamp)
    }
}

/// The end of a series, as Prometheus writes it.
pub fn stale_histogram(timestamp: i64, counts: Counts) -> Histogram {
    Histogram {
        schema: 0,
        zero_threshold: 0,
        sum: STALE_NAN,
        counts,
        positive_spans: Vec::new(),
        negative_spans: Vec::new(),
        ..integer_histogram(timestamp)
    }
}

/// What a stale marker counts.
pub const NO_INTEGERS: Counts = Counts::Integer { count: 0, zero: 0, positive: Vec::new(), negative: Vec::new() };
/// The same in floats.
pub const NO_FLOATS: Counts = Counts::Float { count: 0, zero: 0, positive: Vec::new(), negative: Vec::new() };
