//! Requests encoded by hand, for tests: every bit as given, valid or not. prost leaves out a −0, and cannot make what is malformed.

use promarchive_model::{Counts, Histogram, METRIC_NAME, Protocol, Sample, Span};

use crate::protobuf::Message;

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
    let request = match protocol {
        Protocol::V1 => {
            let request = Message::new().messages(1, series.iter().map(v1_series));
            request.messages(3, series.iter().filter_map(v1_metadata))
        }
        Protocol::V2 => {
            let mut symbols = SymbolTable(vec![Vec::new()]);
            let series: Vec<Message> = series.iter().map(|series| v2_series(series, &mut symbols)).collect();
            let request = symbols.0.iter().fold(Message::new(), |request, symbol| request.bytes(4, symbol));
            request.messages(5, series)
        }
    };
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
    Message::new().bytes(1, name).bytes(2, value)
}

fn v1_series(sent: &SentSeries) -> Message {
    let labels = sent.labels.iter().map(|(name, value)| v1_label(name, value));
    let samples = sent.samples.iter().map(|&row| sample(Sample { start_timestamp: 0, ..row }));
    let exemplars = sent.exemplars.iter().map(|row| {
        let labels = row.labels.iter().map(|(name, value)| v1_label(name.as_bytes(), value.as_bytes()));
        Message::new().messages(1, labels).double(2, row.value).signed(3, row.timestamp)
    });
    let histograms = sent.histograms.iter().map(|row| histogram(&Histogram { start_timestamp: 0, ..row.clone() }));
    Message::new().messages(1, labels).messages(2, samples).messages(3, exemplars).messages(4, histograms)
}

fn v1_metadata(sent: &SentSeries) -> Option<Message> {
    let SentMetadata { kind, help, unit } = sent.metadata?;
    let (_, name) = sent.labels.iter().find(|(name, _)| name == METRIC_NAME.as_bytes())?;
    Some(Message::new().unsigned(1, kind).bytes(2, name).bytes(4, help).bytes(5, unit))
}

fn v2_series(sent: &SentSeries, symbols: &mut SymbolTable) -> Message {
    let mut references: Vec<u64> = Vec::new();
    for (name, value) in &sent.labels {
        references.extend([symbols.reference(name), symbols.reference(value)]);
    }
    references.extend(sent.odd_reference.then_some(0));
    let series = Message::new()
        .packed_unsigned(1, &references)
        .messages(2, sent.samples.iter().map(|&row| sample(row)))
        .messages(3, sent.histograms.iter().map(histogram));
    let exemplars = sent.exemplars.iter().map(|row| {
        let pairs = row.labels.iter().flat_map(|(name, value)| [name, value]);
        let references: Vec<u64> = pairs.map(|text| symbols.reference(text.as_bytes())).collect();
        Message::new().packed_unsigned(1, &references).double(2, row.value).signed(3, row.timestamp)
    });
    let series = series.messages(4, exemplars);
    let Some(SentMetadata { kind, help, unit }) = sent.metadata else { return series };
    let [help, unit] = [help, unit].map(|text| symbols.reference(text.as_bytes()));
    series.message(5, Message::new().unsigned(1, kind).unsigned(3, help).unsigned(4, unit))
}

fn sample(row: Sample) -> Message {
    started(Message::new().double(1, row.value).signed(2, row.timestamp), 3, row.start_timestamp)
}

/// A start timestamp, which is left out if there is none.
fn started(message: Message, field: u32, timestamp: i64) -> Message {
    if timestamp == 0 { message } else { message.signed(field, timestamp) }
}

/// Absolute counts as the differences that the wire has.
fn differences(counts: &[i64]) -> Vec<i64> {
    std::iter::once(&0).chain(counts).zip(counts).map(|(last, count)| count - last).collect()
}

fn histogram(row: &Histogram) -> Message {
    let counts = match &row.counts {
        Counts::Integer { count, zero, positive, negative } => Message::new()
            .unsigned(1, *count)
            .unsigned(6, *zero)
            .packed_zigzag(9, &differences(negative))
            .packed_zigzag(12, &differences(positive)),
        Counts::Float { count, zero, positive, negative } => {
            Message::new().double(2, *count).double(7, *zero).packed_doubles(10, negative).packed_doubles(13, positive)
        }
    };
    let span = |span: &Span| Message::new().zigzag(1, span.offset.into()).unsigned(2, span.length.into());
    let histogram = counts
        .double(3, row.sum)
        .zigzag(4, row.schema.into())
        .double(5, row.zero_threshold)
        .messages(8, row.negative_spans.iter().map(span))
        .messages(11, row.positive_spans.iter().map(span))
        .unsigned(14, row.reset_hint as u64)
        .signed(15, row.timestamp);
    let custom = row.custom_values.as_slice();
    let histogram = if custom.is_empty() { histogram } else { histogram.packed_doubles(16, custom) };
    started(histogram, 17, row.start_timestamp)
}
