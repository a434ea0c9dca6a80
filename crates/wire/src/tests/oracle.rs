//! Requests encoded by prost, read by the decoder, compared; and bytes that no encoder makes, which must not panic.

use std::collections::BTreeMap;
use std::slice;

use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

use super::super::proto::v1::{self, BucketSpan, histogram};
use super::super::proto::v2;
use super::*;

/// A sender's view of a series, of which both protocols are encoded.
#[derive(Clone, Debug)]
struct Sent {
    labels: Pairs,
    samples: Vec<Sample>,
    histograms: Vec<v1::Histogram>,
    exemplars: Vec<(Pairs, f64, i64)>,
    metadata: Option<(i32, String, String)>,
    created: i64,
}

fn double() -> impl Strategy<Value = f64> {
    // prost leaves out -0, as if it were 0.
    let any = any::<u64>().prop_map(f64::from_bits).prop_filter("-0", |value| value.to_bits() != (-0.0_f64).to_bits());
    prop_oneof![any, Just(f64::from_bits(STALE_NAN)), Just(f64::INFINITY), Just(0.0), Just(1.5)]
}

fn pairs() -> impl Strategy<Value = Pairs> {
    let name = prop_oneof![Just("__name__".to_owned()), "[a-d]{1,2}", "\\PC{0,3}"];
    vec((name, prop_oneof!["[a-z]{0,3}", "\\PC{0,4}", "x{100,200}"]), 0..8)
}

fn spans() -> impl Strategy<Value = Vec<BucketSpan>> {
    (-20_i32..20, vec((0_i32..5, 0_u32..4), 0..4)).prop_map(|(first, rest)| {
        let span = |(index, (gap, length))| BucketSpan { offset: if index == 0 { first } else { gap }, length };
        rest.into_iter().enumerate().map(span).collect()
    })
}

fn buckets(spans: &[BucketSpan]) -> usize {
    spans.iter().map(|span| span.length as usize).sum()
}

fn deltas(counts: &[i64]) -> Vec<i64> {
    std::iter::once(&0).chain(counts).zip(counts).map(|(last, count)| count - last).collect()
}

fn times() -> impl Strategy<Value = (i64, i64)> {
    (any::<i64>(), prop_oneof![Just(0), any::<i64>()])
}

prop_compose! {
    fn integer_histogram()(positive in spans(), negative in spans())(
        positive_counts in vec(0_i64..1 << 40, buckets(&positive)),
        negative_counts in vec(0_i64..1 << 40, buckets(&negative)),
        positive in Just(positive), negative in Just(negative),
        zero in 0_u64..1000, sum in double(), schema in -4..=52, zero_threshold in double(),
        reset_hint in 0..4, times in times(),
    ) -> v1::Histogram {
        let count = positive_counts.iter().chain(&negative_counts).sum::<i64>() as u64 + zero;
        v1::Histogram {
            count: Some(histogram::Count::CountInt(count)),
            zero_count: Some(histogram::ZeroCount::ZeroCountInt(zero)),
            sum, schema, zero_threshold, reset_hint,
            positive_deltas: deltas(&positive_counts), positive_spans: positive,
            negative_deltas: deltas(&negative_counts), negative_spans: negative,
            timestamp: times.0, start_timestamp: times.1,
            ..Default::default()
        }
    }
}

prop_compose! {
    fn float_histogram()(positive in spans(), negative in spans())(
        positive_counts in vec(double().prop_map(f64::abs), buckets(&positive)),
        negative_counts in vec(double().prop_map(f64::abs), buckets(&negative)),
        positive in Just(positive), negative in Just(negative),
        zero in 0.0..9.0, count in double().prop_map(f64::abs), sum in double(), reset_hint in 0..4, times in times(),
    ) -> v1::Histogram {
        v1::Histogram {
            count: Some(histogram::Count::CountFloat(count)),
            zero_count: Some(histogram::ZeroCount::ZeroCountFloat(zero)),
            sum, reset_hint, positive_counts, negative_counts,
            positive_spans: positive, negative_spans: negative,
            timestamp: times.0, start_timestamp: times.1,
            ..Default::default()
        }
    }
}

prop_compose! {
    fn custom_histogram()(lengths in vec((0_i32..3, 0_u32..4), 0..4))(
        counts in vec(0_i64..1 << 40, lengths.iter().map(|(_, length)| *length as usize).sum::<usize>()),
        lengths in Just(lengths), first_bound in -10.0..10.0, timestamp in any::<i64>(),
    ) -> v1::Histogram {
        let covered: u32 = lengths.iter().map(|(offset, length)| *offset as u32 + length).sum();
        v1::Histogram {
            count: Some(histogram::Count::CountInt(counts.iter().sum::<i64>() as u64)),
            schema: -53,
            custom_values: (1..covered).map(|index| first_bound + f64::from(index)).collect(),
            positive_spans: lengths.into_iter().map(|(offset, length)| BucketSpan { offset, length }).collect(),
            positive_deltas: deltas(&counts),
            timestamp,
            ..Default::default()
        }
    }
}

prop_compose! {
    fn sent()(
        labels in pairs(),
        samples in vec((any::<i64>(), double(), prop_oneof![Just(0), any::<i64>()]), 0..4),
        histograms in vec(prop_oneof![integer_histogram(), float_histogram(), custom_histogram()], 0..3),
        exemplars in vec((pairs(), double(), any::<i64>()), 0..3),
        metadata in prop::option::of((0..8, "[a-z]{0,2}", "[a-z]{0,2}")),
        created in prop_oneof![Just(0), any::<i64>()],
    ) -> Sent {
        let samples = samples.into_iter().map(|(timestamp, value, start_timestamp)| {
            Sample { timestamp, value: value.to_bits(), start_timestamp }
        });
        Sent { labels, samples: samples.collect(), histograms, exemplars, metadata, created }
    }
}

fn encode_v1(all: &[Sent]) -> Vec<u8> {
    let labels = |pairs: &Pairs| -> Vec<v1::Label> {
        pairs.iter().map(|(name, value)| v1::Label { name: name.clone(), value: value.clone() }).collect()
    };
    let timeseries = all.iter().map(|sent| v1::TimeSeries {
        labels: labels(&sent.labels),
        samples: sent
            .samples
            .iter()
            .map(|s| v1::Sample { value: f64::from_bits(s.value), timestamp: s.timestamp })
            .collect(),
        exemplars: sent
            .exemplars
            .iter()
            .map(|(pairs, value, timestamp)| v1::Exemplar {
                labels: labels(pairs),
                value: *value,
                timestamp: *timestamp,
            })
            .collect(),
        histograms: sent.histograms.clone(),
    });
    v1::WriteRequest { timeseries: timeseries.collect(), metadata: Vec::new() }.encode_to_vec()
}

/// The symbols, in the order of first use.
struct Symbols(Vec<String>);

impl Symbols {
    fn reference(&mut self, text: &str) -> u32 {
        let at = self.0.iter().position(|symbol| symbol == text).unwrap_or_else(|| {
            self.0.push(text.to_owned());
            self.0.len() - 1
        });
        at as u32
    }

    fn references(&mut self, pairs: &Pairs) -> Vec<u32> {
        pairs.iter().flat_map(|(name, value)| [self.reference(name), self.reference(value)]).collect()
    }
}

/// With the symbols behind the series.
fn encode_v2(all: &[Sent]) -> Vec<u8> {
    let mut symbols = Symbols(vec![String::new()]);
    let timeseries = all.iter().map(|sent| v2::TimeSeries {
        labels_refs: symbols.references(&sent.labels),
        samples: sent
            .samples
            .iter()
            .map(|s| v2::Sample {
                value: f64::from_bits(s.value),
                timestamp: s.timestamp,
                start_timestamp: s.start_timestamp,
            })
            .collect(),
        exemplars: sent
            .exemplars
            .iter()
            .map(|(pairs, value, timestamp)| v2::Exemplar {
                labels_refs: symbols.references(pairs),
                value: *value,
                timestamp: *timestamp,
            })
            .collect(),
        histograms: sent.histograms.clone(),
        metadata: sent.metadata.as_ref().map(|(kind, help, unit)| v2::Metadata {
            r#type: *kind,
            help_ref: symbols.reference(help),
            unit_ref: symbols.reference(unit),
        }),
        created_timestamp: sent.created,
    });
    let mut body = v2::Request { symbols: Vec::new(), timeseries: timeseries.collect() }.encode_to_vec();
    v2::Request { symbols: symbols.0, timeseries: Vec::new() }.encode(&mut body).unwrap();
    body
}

fn expected_pairs(pairs: &Pairs) -> Result<BTreeMap<String, String>, Reason> {
    if pairs.iter().any(|(name, _)| name.is_empty()) {
        return Err(Reason::EmptyLabelName);
    }
    let mut set = BTreeMap::new();
    for (name, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        if set.insert(name.clone(), value.clone()).is_some() {
            return Err(Reason::DuplicateLabel);
        }
    }
    Ok(set)
}

fn expected_labels(pairs: &Pairs) -> Result<(String, Pairs), Reason> {
    let mut set = expected_pairs(pairs)?;
    let metric = set.remove(METRIC_NAME).ok_or(Reason::MissingMetricName)?;
    Ok((metric, set.into_iter().collect()))
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn absolute(deltas: &[i64]) -> Vec<i64> {
    deltas
        .iter()
        .scan(0, |last, delta| {
            *last += delta;
            Some(*last)
        })
        .collect()
}

fn expected_histogram(sent: &v1::Histogram, created: i64) -> Histogram {
    let spans = |spans: &[BucketSpan]| spans.iter().map(|s| Span { offset: s.offset, length: s.length }).collect();
    let counts = match (sent.count.unwrap(), sent.zero_count) {
        (histogram::Count::CountInt(count), zero) => Counts::Integer {
            count,
            zero: if let Some(histogram::ZeroCount::ZeroCountInt(zero)) = zero { zero } else { 0 },
            positive: absolute(&sent.positive_deltas),
            negative: absolute(&sent.negative_deltas),
        },
        (histogram::Count::CountFloat(count), zero) => Counts::Float {
            count: count.to_bits(),
            zero: if let Some(histogram::ZeroCount::ZeroCountFloat(zero)) = zero { zero.to_bits() } else { 0 },
            positive: bits(&sent.positive_counts),
            negative: bits(&sent.negative_counts),
        },
    };
    Histogram {
        timestamp: sent.timestamp,
        start_timestamp: if sent.start_timestamp == 0 { created } else { sent.start_timestamp },
        schema: sent.schema,
        zero_threshold: sent.zero_threshold.to_bits(),
        sum: sent.sum.to_bits(),
        reset_hint: [ResetHint::Unknown, ResetHint::Yes, ResetHint::No, ResetHint::Gauge][sent.reset_hint as usize],
        counts,
        positive_spans: spans(&sent.positive_spans),
        negative_spans: spans(&sent.negative_spans),
        custom_values: bits(&sent.custom_values),
    }
}

fn check(protocol: Protocol, sent: &Sent, read: &Read) {
    let created = if protocol == Protocol::V2 { sent.created } else { 0 };
    assert_eq!(read.labels, expected_labels(&sent.labels));
    let mut samples = sent.samples.clone();
    for sample in &mut samples {
        match protocol {
            Protocol::V1 => sample.start_timestamp = 0,
            Protocol::V2 if sample.start_timestamp == 0 => sample.start_timestamp = created,
            Protocol::V2 => {}
        }
    }
    assert_eq!(read.samples, samples);
    let histograms: Vec<_> = sent.histograms.iter().map(|sent| Ok(expected_histogram(sent, created))).collect();
    assert_eq!(read.histograms, histograms);
    let exemplars = sent.exemplars.iter().map(|(labels, value, timestamp)| match expected_pairs(labels) {
        Ok(set) => Ok((set.into_iter().collect(), value.to_bits(), *timestamp)),
        Err(_) => Err(Reason::InvalidExemplar),
    });
    assert_eq!(read.exemplars, exemplars.collect::<Vec<_>>());
    let metadata = sent.metadata.as_ref().filter(|_| protocol == Protocol::V2);
    let says_something = metadata.filter(|(kind, help, unit)| *kind != 0 || !help.is_empty() || !unit.is_empty());
    assert_eq!(read.metadata.map(|metadata| metadata.kind), says_something.map(|(kind, ..)| *kind));
}

proptest! {
    #[test]
    fn v1_is_read_as_sent(all in vec(sent(), 0..5)) {
        let read = read_all(Protocol::V1, &encode_v1(&all)).unwrap();
        prop_assert_eq!(read.len(), all.len());
        all.iter().zip(&read).for_each(|(sent, read)| check(Protocol::V1, sent, read));
    }

    #[test]
    fn v2_is_read_as_sent(all in vec(sent(), 0..5)) {
        let read = read_all(Protocol::V2, &encode_v2(&all)).unwrap();
        prop_assert_eq!(read.len(), all.len());
        all.iter().zip(&read).for_each(|(sent, read)| check(Protocol::V2, sent, read));
    }

    #[test]
    fn descriptions_are_one_short_line(sent in sent()) {
        let sent = slice::from_ref(&sent);
        for (protocol, body) in [(Protocol::V1, encode_v1(sent)), (Protocol::V2, encode_v2(sent))] {
            let description = &read_all(protocol, &body).unwrap()[0].description;
            prop_assert!(description.len() <= 160 && !description.chars().any(char::is_control), "{}", description);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        read_anything(&bytes);
    }

    /// Fields of the right numbers, nested, with wrong contents: further in than any bytes get.
    #[test]
    fn any_fields_are_read_or_refused(bytes in fields(3)) {
        read_anything(&bytes);
    }

    #[test]
    fn damaged_requests_are_read_or_refused(
        all in vec(sent(), 1..3), damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        for mut body in [encode_v1(&all), encode_v2(&all)] {
            for (at, byte) in &damage {
                let at = at.index(body.len());
                body[at] = *byte;
            }
            read_anything(&body);
        }
    }

    #[test]
    fn truncated_requests_are_read_or_refused(all in vec(sent(), 1..3)) {
        for body in [encode_v1(&all), encode_v2(&all)] {
            for end in 0..body.len() {
                read_anything(&body[..end]);
            }
        }
    }

    #[test]
    fn any_snappy_is_read_or_refused(bytes in vec(any::<u8>(), 0..100)) {
        let mut out = Vec::new();
        let _ = decompress(&bytes, 1 << 16, &mut out);
        let mut body = snap::raw::Encoder::new().compress_vec(&bytes).unwrap();
        decompress(&body, 1 << 16, &mut out).unwrap();
        prop_assert_eq!(&out, &bytes);
        body.pop();
        prop_assert!(decompress(&body, 1 << 16, &mut out).is_err());
    }

    #[test]
    fn any_headers_are_spoken_or_not(
        content_type in "\\PC{0,30}", parameter in "[ ;=a-z\"]{0,10}", encoding in "\\PC{0,10}",
    ) {
        let _ = negotiate(Some(&content_type), Some(&encoding));
        let _ = negotiate(Some(&format!("application/x-protobuf{parameter}proto={parameter}")), None);
    }
}

/// Every entry point with these bytes.
fn read_anything(bytes: &[u8]) {
    for protocol in [Protocol::V1, Protocol::V2] {
        let read = read_all(protocol, bytes);
        // What prost reads whole, with fields of this protocol only, has as many series here, or is refused.
        if let (Ok(read), Protocol::V1, Ok(oracle)) = (read, protocol, v1::WriteRequest::decode(bytes)) {
            assert_eq!(read.len(), oracle.timeseries.len());
        }
        let symbols: [&[u8]; 2] = [b"", bytes];
        let _ = Exemplar::parse(&RawExemplar::new(protocol, bytes), &symbols);
        for raw in [RawLabels::Text(bytes), RawLabels::Refs(bytes)] {
            let _ = LabelSet::parse(&raw, &symbols);
            raw.describe(&symbols);
        }
    }
    let _ = RawHistogram(bytes).parse(0);
    let _ = Metadata::parse(RawMetadata(bytes));
}

fn fields(depth: u32) -> BoxedStrategy<Vec<u8>> {
    let value = if depth == 0 { vec(any::<u8>(), 0..12).boxed() } else { fields(depth - 1) };
    let field = prop_oneof![
        4 => (1_u32..18, value).prop_map(|(field, value)| {
            let mut bytes = Vec::new();
            prost::encoding::bytes::encode(field, &value, &mut bytes);
            bytes
        }),
        1 => (1_u32..18, any::<u64>()).prop_map(|(field, value)| {
            let mut bytes = Vec::new();
            prost::encoding::uint64::encode(field, &value, &mut bytes);
            bytes
        }),
        1 => (1_u32..18, any::<u64>()).prop_map(|(field, value)| {
            let mut bytes = Vec::new();
            prost::encoding::fixed64::encode(field, &value, &mut bytes);
            bytes
        }),
    ];
    vec(field, 0..6).prop_map(|fields| fields.concat()).boxed()
}
