//! What is legal on the wire and no encoder here writes, and what is not legal.

use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};

use super::super::proto::{v1, v2};
use super::*;

/// A message, field by field.
#[derive(Clone, Default)]
struct Wire(Vec<u8>);

impl Wire {
    fn varint(mut self, field: u32, value: u64) -> Self {
        encode_key(field, WireType::Varint, &mut self.0);
        encode_varint(value, &mut self.0);
        self
    }

    fn fixed64(mut self, field: u32, value: u64) -> Self {
        encode_key(field, WireType::SixtyFourBit, &mut self.0);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn bytes(mut self, field: u32, value: impl AsRef<[u8]>) -> Self {
        encode_key(field, WireType::LengthDelimited, &mut self.0);
        encode_varint(value.as_ref().len() as u64, &mut self.0);
        self.0.extend(value.as_ref());
        self
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }
}

impl AsRef<[u8]> for Wire {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn wire() -> Wire {
    Wire::default()
}

fn label(name: &str, value: &str) -> Wire {
    wire().bytes(1, name).bytes(2, value)
}

fn sample(value: u64, timestamp: u64) -> Wire {
    wire().fixed64(1, value).varint(2, timestamp)
}

fn one(protocol: Protocol, body: Wire) -> Read {
    let mut all = read_all(protocol, &body.0).unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn up_job() -> Result<(String, Pairs), Reason> {
    Ok(("up".to_owned(), owned(&[("job", "x")])))
}

fn fault(protocol: Protocol, body: Wire) -> (Fault, usize, &'static str) {
    match read_all(protocol, &body.0) {
        Err(DecodeError::Malformed(malformed)) => (malformed.fault, malformed.offset, malformed.what),
        other => panic!("{other:?}"),
    }
}

#[test]
fn contiguous_labels_are_one_piece_and_not_copied() {
    let series = wire().bytes(1, label("__name__", "up")).bytes(1, label("job", "x")).bytes(2, sample(1, 2));
    let body = wire().bytes(1, &series);
    let mut decoder = Decoder::new(Protocol::V1, &body.0).unwrap();
    let RawLabels::Text(text) = decoder.next_series().unwrap().unwrap().labels else { panic!("not in one piece") };
    assert!(body.0.as_ptr_range().contains(&text.as_ptr()));
    assert_eq!(text, wire().bytes(1, label("__name__", "up")).bytes(1, label("job", "x")).0);
}

#[test]
fn scattered_labels() {
    let series = wire()
        .bytes(2, sample(7, 1))
        .bytes(1, label("job", "x"))
        .bytes(2, sample(8, 2))
        .bytes(1, label("__name__", "up"))
        .bytes(3, wire().fixed64(2, 1).bytes(1, label("b", "2")).varint(3, 9).bytes(1, label("a", "1")));
    let read = one(Protocol::V1, wire().bytes(1, series));
    assert_eq!(read.labels, up_job());
    assert_eq!(read.description, r#"up{job="x"}"#);
    assert_eq!(read.samples.iter().map(|sample| sample.value).collect::<Vec<_>>(), [7, 8]);
    assert_eq!(read.exemplars, [Ok((owned(&[("a", "1"), ("b", "2")]), 1, 9))]);
}

fn symbols() -> Wire {
    ["", "__name__", "up", "job", "x"].iter().fold(wire(), |wire, symbol| wire.bytes(4, symbol))
}

#[test]
fn references_packed_unpacked_and_in_parts() {
    let packed = wire().bytes(1, [3, 4, 1, 2]);
    let unpacked = wire().varint(1, 3).varint(1, 4).varint(1, 1).varint(1, 2);
    let parts = wire().bytes(1, [3]).bytes(2, sample(1, 1)).varint(1, 4).bytes(1, [1, 2]).bytes(1, []);
    for series in [packed, unpacked, parts] {
        // Before the series, and behind it.
        assert_eq!(one(Protocol::V2, symbols().bytes(5, &series)).labels, up_job());
        assert_eq!(one(Protocol::V2, wire().bytes(5, &series).raw(&symbols().0)).labels, up_job());
        let exemplar = wire().bytes(5, wire().bytes(4, wire().varint(1, 3).bytes(1, [4]))).raw(&symbols().0);
        assert_eq!(one(Protocol::V2, exemplar).exemplars, [Ok((owned(&[("job", "x")]), 0, 0))]);
    }
}

#[test]
fn unknown_fields_are_skipped_everywhere() {
    let unknown = wire().varint(99, 1).fixed64(100, 1).bytes(101, "x").raw(&[0xb5, 0x06, 1, 2, 3, 4]);
    let series = unknown
        .clone()
        .bytes(1, label("__name__", "up").raw(&unknown.0))
        .bytes(1, label("job", "x"))
        .raw(&unknown.0)
        .bytes(2, sample(5, 6).raw(&unknown.0));
    let read = one(Protocol::V1, unknown.clone().bytes(1, series).bytes(2, "reserved").raw(&unknown.0));
    assert_eq!(read.labels, up_job());
    assert_eq!(read.samples, [Sample { timestamp: 6, value: 5, start_timestamp: 0 }]);
}

#[test]
fn the_last_of_a_scalar_wins() {
    let doubled = wire().bytes(1, "a").bytes(2, "b").bytes(1, "__name__").bytes(2, "up");
    let series = wire().bytes(1, doubled).bytes(1, label("job", "x")).bytes(2, sample(1, 2).raw(&sample(3, 4).0));
    let read = one(Protocol::V1, wire().bytes(1, series));
    assert_eq!(read.labels, up_job());
    assert_eq!(read.samples, [Sample { timestamp: 4, value: 3, start_timestamp: 0 }]);
    let histogram = wire().varint(1, 5).fixed64(2, 1.0_f64.to_bits()).varint(1, 0);
    let parsed = RawHistogram(&histogram.0).parse(0).unwrap();
    assert!(matches!(parsed.counts, Counts::Integer { count: 0, .. }));
}

#[test]
fn values_keep_their_bits() {
    let values = [(-0.0_f64).to_bits(), STALE_NAN, 0x7ff8_0000_0000_0001, 0xfff0_0000_0000_0001, 1, u64::MAX];
    let series = values.iter().fold(wire(), |series, value| series.bytes(2, sample(*value, u64::MAX)));
    let read = one(Protocol::V1, wire().bytes(1, series));
    assert_eq!(read.samples.iter().map(|sample| sample.value).collect::<Vec<_>>(), values);
    assert!(read.samples.iter().all(|sample| sample.timestamp == -1));
}

#[test]
fn nothing_of_one_series_is_left_in_the_next() {
    let rich = wire()
        .bytes(1, [1, 2])
        .bytes(2, sample(1, 1))
        .bytes(3, [])
        .bytes(4, [])
        .bytes(5, wire().varint(1, 1))
        .varint(6, 77);
    let all = read_all(Protocol::V2, &symbols().bytes(5, rich).bytes(5, []).0).unwrap();
    assert_eq!(all[0].samples[0].start_timestamp, 77);
    assert_eq!(all[0].histograms[0].as_ref().unwrap().start_timestamp, 77);
    let empty = Read {
        labels: Err(Reason::MissingMetricName),
        description: "{}".to_owned(),
        samples: vec![],
        histograms: vec![],
        exemplars: vec![],
        metadata: None,
    };
    assert_eq!(all[1], empty);
}

#[test]
fn broken_framing_says_where() {
    let v1 = |series: Wire| wire().bytes(1, series);
    assert_eq!(fault(Protocol::V1, wire().raw(&[0x0a, 5, 0])), (Fault::Truncated, 1, "request"));
    assert_eq!(fault(Protocol::V1, v1(wire().raw(&[0x12, 3, 0x10]))), (Fault::Truncated, 3, "time series"));
    assert_eq!(fault(Protocol::V1, v1(wire().bytes(2, [0x10, 0x80]))), (Fault::Truncated, 5, "sample"));
    assert_eq!(fault(Protocol::V1, v1(wire().bytes(2, [0x09, 1, 2]))), (Fault::Truncated, 5, "sample"));
    assert_eq!(fault(Protocol::V1, v1(wire().raw(&[0x0a, 0, 0x0a, 9]))), (Fault::Truncated, 5, "time series"));
    assert_eq!(fault(Protocol::V1, wire().raw(&[0x00])), (Fault::FieldNumber, 0, "request"));
    assert_eq!(fault(Protocol::V1, wire().raw(&[0x33, 0x34])), (Fault::WireType, 1, "request"), "a group");
    assert_eq!(fault(Protocol::V1, v1(wire().varint(2, 1))), (Fault::WireType, 3, "time series"), "not a message");
    assert_eq!(fault(Protocol::V1, v1(wire().bytes(2, wire().varint(1, 1)))), (Fault::WireType, 5, "sample"));
    assert_eq!(fault(Protocol::V1, wire().varint(1, 1)), (Fault::WireType, 1, "request"));
    assert_eq!(fault(Protocol::V1, wire().bytes(3, []).raw(&[0x1a, 1])), (Fault::Truncated, 3, "request"));
    let eleven = [0x10, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00];
    assert_eq!(fault(Protocol::V1, v1(wire().bytes(2, eleven))), (Fault::IntegerTooLong, 5, "sample"));
    let v2 = |series: Wire| symbols().bytes(5, series);
    let at = symbols().0.len();
    assert_eq!(fault(Protocol::V2, v2(wire().fixed64(1, 1))), (Fault::WireType, at + 3, "time series"));
    let long = wire().bytes(5, wire().varint(3, 1 << 32));
    assert_eq!(fault(Protocol::V2, v2(long)), (Fault::IntegerTooLong, at + 5, "series metadata"));
    assert_eq!(fault(Protocol::V2, wire().raw(&[0x22, 1])), (Fault::Truncated, 1, "request"));
}

#[test]
fn short_fields_without_end_are_not_collected() {
    let free = 1 << 17;
    let samples = |count: usize| v1_series(&[0x12, 0].repeat(count));
    assert_eq!(one(Protocol::V1, samples(free)).samples.len(), free);
    assert_eq!(fault(Protocol::V1, samples(free * 2)).0, Fault::TooManyFields);
    let refs = |count: usize| symbols().bytes(5, [0x08, 0].repeat(count));
    assert_eq!(fault(Protocol::V2, refs(free + 1)).0, Fault::TooManyFields);
    let symbols = |count: usize| wire().raw(&[0x22, 0].repeat(count));
    assert_eq!(read_all(Protocol::V2, &symbols(free).0), Ok(vec![]));
    assert_eq!(fault(Protocol::V2, symbols(free + 1)), (Fault::TooManyFields, 2 * free + 1, "request"));
    // As many different ones are.
    let numbers = (0..free as u64 * 2).fold(wire(), |series, at| series.bytes(2, wire().varint(2, at)));
    assert_eq!(one(Protocol::V1, v1_series(&numbers.0)).samples.len(), free * 2);
}

fn v1_series(fields: &[u8]) -> Wire {
    wire().bytes(1, fields)
}

#[test]
fn symbols_start_with_the_empty_string() {
    let first = |body: Wire| Decoder::new(Protocol::V2, &body.0).err();
    assert_eq!(first(wire().bytes(4, "x")), Some(DecodeError::FirstSymbol));
    assert_eq!(first(wire().bytes(5, [])), Some(DecodeError::FirstSymbol));
    assert_eq!(first(wire()), None);
    assert_eq!(first(wire().bytes(4, "")), None);
    assert_eq!(
        &*Decoder::new(Protocol::V2, &symbols().0).unwrap().symbols(),
        [&b""[..], b"__name__", b"up", b"job", b"x"]
    );
    assert!(Decoder::new(Protocol::V1, &symbols().0).unwrap().symbols().is_empty());
}

#[test]
fn the_other_protocol_is_not_skipped() {
    let sent_v1 = v1::WriteRequest { timeseries: vec![Default::default()], metadata: vec![] }.encode_to_vec();
    let error = read_all(Protocol::V2, &sent_v1).unwrap_err();
    assert_eq!(error, DecodeError::WrongProtocol { field: 1, expected: "2.0" });
    assert!(!error.to_string().contains('\n'));
    let sent_v2 = v2::Request { symbols: vec![String::new()], timeseries: vec![] }.encode_to_vec();
    let error = read_all(Protocol::V1, &sent_v2).unwrap_err();
    assert_eq!(error, DecodeError::WrongProtocol { field: 4, expected: "1.0" });
    let metadata = v1::WriteRequest { timeseries: vec![], metadata: vec![Default::default()] }.encode_to_vec();
    assert!(matches!(read_all(Protocol::V2, &metadata), Err(DecodeError::WrongProtocol { field: 3, .. })));
}

#[test]
fn metadata_of_v1_in_order_and_apart_from_series() {
    let entry = |name: &str, kind| v1::MetricMetadata {
        r#type: kind,
        metric_family_name: name.to_owned(),
        help: format!("help of {name}"),
        unit: "s".to_owned(),
    };
    let metadata: Vec<_> = (0..8).map(|kind| entry(&format!("m{kind}"), kind)).collect();
    let body = v1::WriteRequest { timeseries: vec![Default::default(); 2], metadata }.encode_to_vec();
    let mut decoder = Decoder::new(Protocol::V1, &body).unwrap();
    decoder.next_series().unwrap();
    let read: Vec<_> = decoder.metadata().map(|raw| Metadata::parse(raw.unwrap()).unwrap()).collect();
    let names: Vec<_> = read.iter().map(|metadata| (metadata.metric, metadata.kind.as_str())).collect();
    let kinds = ["unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset"];
    assert_eq!(names, ["m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7"].into_iter().zip(kinds).collect::<Vec<_>>());
    assert_eq!((read[3].help, read[3].unit), ("help of m3", "s"));
    assert!(decoder.next_series().unwrap().is_some());

    let broken = wire().bytes(3, []).raw(&[0x1a, 5, 0x1a, 0]);
    let entries: Vec<_> = Decoder::new(Protocol::V1, &broken.0).unwrap().metadata().collect();
    assert!(matches!(entries[..], [Ok(_), Err(DecodeError::Malformed(_))]));
}

#[test]
fn metadata_of_v2_is_resolved_merged_or_none() {
    let series = wire().bytes(1, [1, 2]).bytes(5, wire().varint(1, 2).varint(3, 3)).bytes(5, wire().varint(4, 4));
    let metadata = one(Protocol::V2, symbols().bytes(5, series)).metadata.unwrap();
    assert_eq!(metadata, SeriesMetadata { kind: 2, help_ref: 3, unit_ref: 4 });
    let symbols: [&[u8]; 5] = [b"", b"__name__", b"up", b"job", b"x"];
    let resolved = Metadata::of_series("up", metadata, &symbols).unwrap();
    assert_eq!(resolved, Metadata { metric: "up", kind: MetricKind::Gauge, help: "job", unit: "x" });
    let nothing = wire().bytes(5, wire().bytes(1, [1, 2]).bytes(5, wire().varint(1, 0)));
    assert_eq!(one(Protocol::V2, super::framing::symbols().raw(&nothing.0)).metadata, None);
}

#[test]
fn histograms_unpacked() {
    let span = |offset, length| wire().varint(1, offset).varint(2, length);
    let packed = wire().varint(1, 3).bytes(11, span(3, 2)).bytes(12, [2, 2]);
    let unpacked = wire().varint(1, 3).varint(12, 2).bytes(11, span(3, 2)).varint(12, 2);
    let parts = wire().varint(1, 3).bytes(12, [2]).bytes(11, span(3, 2)).varint(12, 2).bytes(12, []);
    for message in [packed, unpacked, parts] {
        let histogram = RawHistogram(&message.0).parse(5).unwrap();
        assert_eq!(histogram.positive_spans, [Span { offset: -2, length: 2 }]);
        let Counts::Integer { positive, .. } = histogram.counts else { panic!("floats") };
        assert_eq!(positive, [1, 2]);
        assert_eq!(histogram.start_timestamp, 5);
    }
    let half = 0.5_f64.to_bits();
    let floats = wire().fixed64(2, half).bytes(8, span(0, 2)).fixed64(10, half).bytes(10, half.to_le_bytes());
    let histogram = RawHistogram(&floats.varint(17, 6).0).parse(5).unwrap();
    assert_eq!(histogram.start_timestamp, 6);
    assert_eq!(histogram.counts, Counts::Float { count: half, zero: 0, positive: vec![], negative: vec![half, half] });
}
