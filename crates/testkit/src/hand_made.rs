//! Requests encoded by hand, for tests: every bit as given, valid or not. prost leaves out a −0, and cannot make what is malformed.

use promarchive_model::{Counts, Histogram, METRIC_NAME, Protocol, Sample};

/// A protobuf message, field by field.
#[derive(Clone, Debug, Default)]
pub struct Message(Vec<u8>);

impl Message {
    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn key(&mut self, field: u32, wire_type: u64) {
        self.raw_varint(u64::from(field) << 3 | wire_type);
    }

    /// A varint field.
    pub fn varint(&mut self, field: u32, value: u64) {
        self.key(field, 0);
        self.raw_varint(value);
    }

    /// A fixed 64-bit field, by its bits.
    pub fn double(&mut self, field: u32, bits: u64) {
        self.key(field, 1);
        self.0.extend(bits.to_le_bytes());
    }

    /// A field of bytes.
    pub fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.key(field, 2);
        self.raw_varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    /// A field that is a message.
    pub fn message(&mut self, field: u32, message: &Self) {
        self.bytes(field, &message.0);
    }

    fn packed_varints(&mut self, field: u32, values: impl IntoIterator<Item = u64>) {
        let mut packed = Self::default();
        values.into_iter().for_each(|value| packed.raw_varint(value));
        self.message(field, &packed);
    }

    fn packed_doubles(&mut self, field: u32, values: &[u64]) {
        self.bytes(field, &values.iter().flat_map(|bits| bits.to_le_bytes()).collect::<Vec<u8>>());
    }

    /// The encoded message.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// An exemplar as it is sent.
#[derive(Clone, Debug)]
pub struct SentExemplar {
    /// Labels.
    pub labels: Vec<(&'static str, &'static str)>,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// Bits.
    pub value: u64,
}

/// Metadata as it is sent.
#[derive(Clone, Copy, Debug)]
pub struct SentMetadata {
    /// Type, as the protocol numbers it.
    pub kind: u64,
    /// Help text.
    pub help: &'static str,
    /// Unit.
    pub unit: &'static str,
}

/// A series as it is sent, for either protocol.
#[derive(Clone, Debug, Default)]
pub struct SentSeries {
    /// In the order of the wire; whatever bytes.
    pub labels: Vec<(Vec<u8>, Vec<u8>)>,
    /// 2.0: a reference follows that has no partner.
    pub odd_reference: bool,
    /// Float samples.
    pub samples: Vec<Sample>,
    /// Histograms.
    pub histograms: Vec<Histogram>,
    /// Exemplars.
    pub exemplars: Vec<SentExemplar>,
    /// 1.0 has it beside the series, under the metric's name.
    pub metadata: Option<SentMetadata>,
}

/// The decompressed body of a request. Start timestamps go into 2.0 only.
pub fn body(protocol: Protocol, series: &[SentSeries]) -> Vec<u8> {
    let mut request = Message::default();
    match protocol {
        Protocol::V1 => {
            series.iter().for_each(|series| request.message(1, &v1_series(series)));
            series.iter().filter_map(v1_metadata).for_each(|metadata| request.message(3, &metadata));
        }
        Protocol::V2 => {
            let mut symbols = SymbolTable(vec![Vec::new()]);
            let series: Vec<Message> = series.iter().map(|series| v2_series(series, &mut symbols)).collect();
            symbols.0.iter().for_each(|symbol| request.bytes(4, symbol));
            series.iter().for_each(|series| request.message(5, series));
        }
    }
    request.into_bytes()
}

/// A body as it goes over the wire.
pub fn compressed(body: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(body).unwrap()
}

struct SymbolTable(Vec<Vec<u8>>);

impl SymbolTable {
    fn reference(&mut self, symbol: &[u8]) -> u64 {
        let known = self.0.iter().position(|known| known == symbol);
        let at = known.unwrap_or_else(|| {
            self.0.push(symbol.to_vec());
            self.0.len() - 1
        });
        at as u64
    }
}

fn v1_label(name: &[u8], value: &[u8]) -> Message {
    let mut label = Message::default();
    label.bytes(1, name);
    label.bytes(2, value);
    label
}

fn v1_series(sent: &SentSeries) -> Message {
    let mut series = Message::default();
    sent.labels.iter().for_each(|(name, value)| series.message(1, &v1_label(name, value)));
    sent.samples.iter().for_each(|&row| series.message(2, &sample(Sample { start_timestamp: 0, ..row })));
    for row in &sent.exemplars {
        let mut exemplar = Message::default();
        row.labels.iter().for_each(|(name, value)| exemplar.message(1, &v1_label(name.as_bytes(), value.as_bytes())));
        exemplar.double(2, row.value);
        exemplar.varint(3, row.timestamp.cast_unsigned());
        series.message(3, &exemplar);
    }
    for row in &sent.histograms {
        series.message(4, &histogram(&Histogram { start_timestamp: 0, ..row.clone() }));
    }
    series
}

fn v1_metadata(sent: &SentSeries) -> Option<Message> {
    let SentMetadata { kind, help, unit } = sent.metadata?;
    let (_, name) = sent.labels.iter().find(|(name, _)| name == METRIC_NAME.as_bytes())?;
    let mut metadata = Message::default();
    metadata.varint(1, kind);
    metadata.bytes(2, name);
    metadata.bytes(4, help.as_bytes());
    metadata.bytes(5, unit.as_bytes());
    Some(metadata)
}

fn v2_series(sent: &SentSeries, symbols: &mut SymbolTable) -> Message {
    let mut series = Message::default();
    let mut references: Vec<u64> = Vec::new();
    for (name, value) in &sent.labels {
        references.extend([symbols.reference(name), symbols.reference(value)]);
    }
    references.extend(sent.odd_reference.then_some(0));
    series.packed_varints(1, references);
    sent.samples.iter().for_each(|&row| series.message(2, &sample(row)));
    sent.histograms.iter().for_each(|row| series.message(3, &histogram(row)));
    for row in &sent.exemplars {
        let mut exemplar = Message::default();
        let pairs = row.labels.iter().flat_map(|(name, value)| [name, value]);
        let references: Vec<u64> = pairs.map(|text| symbols.reference(text.as_bytes())).collect();
        exemplar.packed_varints(1, references);
        exemplar.double(2, row.value);
        exemplar.varint(3, row.timestamp.cast_unsigned());
        series.message(4, &exemplar);
    }
    if let Some(SentMetadata { kind, help, unit }) = sent.metadata {
        let mut metadata = Message::default();
        metadata.varint(1, kind);
        metadata.varint(3, symbols.reference(help.as_bytes()));
        metadata.varint(4, symbols.reference(unit.as_bytes()));
        series.message(5, &metadata);
    }
    series
}

fn sample(row: Sample) -> Message {
    let mut sample = Message::default();
    sample.double(1, row.value);
    sample.varint(2, row.timestamp.cast_unsigned());
    if row.start_timestamp != 0 {
        sample.varint(3, row.start_timestamp.cast_unsigned());
    }
    sample
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}

/// Absolute counts as the differences that the wire has.
fn differences(counts: &[i64]) -> impl Iterator<Item = u64> {
    std::iter::once(&0).chain(counts).zip(counts).map(|(last, count)| zigzag(count - last))
}

fn histogram(row: &Histogram) -> Message {
    let mut histogram = Message::default();
    match &row.counts {
        Counts::Integer { count, zero, positive, negative } => {
            histogram.varint(1, *count);
            histogram.varint(6, *zero);
            histogram.packed_varints(9, differences(negative));
            histogram.packed_varints(12, differences(positive));
        }
        Counts::Float { count, zero, positive, negative } => {
            histogram.double(2, *count);
            histogram.double(7, *zero);
            histogram.packed_doubles(10, negative);
            histogram.packed_doubles(13, positive);
        }
    }
    histogram.double(3, row.sum);
    histogram.varint(4, zigzag(i64::from(row.schema)));
    histogram.double(5, row.zero_threshold);
    for (field, spans) in [(8, &row.negative_spans), (11, &row.positive_spans)] {
        for span in spans {
            let mut message = Message::default();
            message.varint(1, zigzag(i64::from(span.offset)));
            message.varint(2, u64::from(span.length));
            histogram.message(field, &message);
        }
    }
    histogram.varint(14, row.reset_hint as u64);
    histogram.varint(15, row.timestamp.cast_unsigned());
    if !row.custom_values.is_empty() {
        histogram.packed_doubles(16, &row.custom_values);
    }
    if row.start_timestamp != 0 {
        histogram.varint(17, row.start_timestamp.cast_unsigned());
    }
    histogram
}
