//! Each reason for a refusal, and its near miss.

use prost::Message;

use super::super::proto::v1::{self, BucketSpan, histogram::Count, histogram::ZeroCount};
use super::*;

fn set(pairs: &[(&[u8], &[u8])]) -> Result<(), Invalid> {
    let mut text = Vec::new();
    for (name, value) in pairs {
        let mut label = Vec::new();
        prost::encoding::bytes::encode(1, &name.to_vec(), &mut label);
        prost::encoding::bytes::encode(2, &value.to_vec(), &mut label);
        prost::encoding::bytes::encode(1, &label, &mut text);
    }
    LabelSet::parse(&RawLabels::Text(&text), &[]).map(drop)
}

fn refs(refs: &[u8]) -> Result<(), Invalid> {
    let symbols: [&[u8]; 4] = [b"", b"__name__", b"up", b"\xff"];
    LabelSet::parse(&RawLabels::Refs(refs), &symbols).map(drop)
}

fn histogram(change: impl FnOnce(&mut v1::Histogram)) -> Result<(), Invalid> {
    let mut message = v1::Histogram {
        count: Some(Count::CountInt(6)),
        zero_count: Some(ZeroCount::ZeroCountInt(1)),
        sum: 7.5,
        schema: 3,
        zero_threshold: 0.001,
        positive_spans: vec![BucketSpan { offset: -3, length: 1 }, BucketSpan { offset: 2, length: 1 }],
        positive_deltas: vec![1, 1],
        negative_spans: vec![BucketSpan { offset: 0, length: 1 }],
        negative_deltas: vec![2],
        ..Default::default()
    };
    change(&mut message);
    RawHistogram(&message.encode_to_vec()).parse(0).map(drop)
}

fn floats(change: impl FnOnce(&mut v1::Histogram)) -> Result<(), Invalid> {
    histogram(|h| {
        h.count = Some(Count::CountFloat(6.0));
        h.zero_count = Some(ZeroCount::ZeroCountFloat(1.0));
        (h.positive_deltas, h.negative_deltas) = (vec![], vec![]);
        (h.positive_counts, h.negative_counts) = (vec![1.0, 2.0], vec![2.0]);
        change(h);
    })
}

fn custom(change: impl FnOnce(&mut v1::Histogram)) -> Result<(), Invalid> {
    histogram(|h| {
        *h = v1::Histogram {
            count: Some(Count::CountInt(3)),
            schema: -53,
            custom_values: vec![-1.0, 2.0],
            positive_spans: vec![BucketSpan { offset: 1, length: 2 }],
            positive_deltas: vec![1, 1],
            ..Default::default()
        };
        change(h);
    })
}

fn exemplar(protocol: Protocol, message: &[u8]) -> Result<(), Invalid> {
    Exemplar::parse(&RawExemplar::new(protocol, message), &[b"", b"a"]).map(drop)
}

fn entry(change: impl FnOnce(&mut v1::MetricMetadata)) -> Result<(), Invalid> {
    let mut entry = v1::MetricMetadata { metric_family_name: "up".to_owned(), ..Default::default() };
    change(&mut entry);
    Metadata::parse(RawMetadata(&entry.encode_to_vec())).map(drop)
}

fn of_series(kind: i32, help_ref: u32, unit_ref: u32) -> Result<(), Invalid> {
    Metadata::of_series("up", SeriesMetadata { kind, help_ref, unit_ref }, &[b"", b"\xff"]).map(drop)
}

const BOUNDS: TimestampBounds = TimestampBounds { earliest: EARLIEST_TIMESTAMP, latest: 600_000 };

fn timestamp(timestamp: i64) -> Result<(), Invalid> {
    BOUNDS.check(timestamp).map_err(|reason| reason.at(timestamp))
}

fn start(timestamp: i64) -> Result<(), Invalid> {
    BOUNDS.check_start(timestamp).map_err(|reason| reason.at(timestamp))
}

const UP: (&[u8], &[u8]) = (b"__name__", b"up");
const TOO_LARGE: u64 = 1 << 63;

/// Of a label `a` beside [`UP`], so that all of them have 1 MiB.
const LONGEST_VALUE: usize = (1 << 20) - "__name__upa".len();

#[test]
fn a_mebibyte_of_labels_is_taken() {
    assert_eq!(set(&[UP, (b"a", &vec![b'x'; LONGEST_VALUE])]), Ok(()));
}

fn refused() -> Vec<(Reason, Result<(), Invalid>)> {
    use promarchive_model::Reason::*;
    vec![
        (MissingMetricName, set(&[])),
        (MissingMetricName, set(&[(b"job", b"x")])),
        (MissingMetricName, set(&[(b"__name__", b""), (b"job", b"x")])),
        (MissingMetricName, refs(&[])),
        (DuplicateLabel, set(&[UP, (b"a", b"1"), (b"b", b"1"), (b"a", b"2")])),
        (DuplicateLabel, set(&[UP, (b"a", b"1"), (b"a", b"1")])),
        (DuplicateLabel, set(&[UP, UP])),
        (EmptyLabelName, set(&[UP, (b"", b"x")])),
        (EmptyLabelName, set(&[UP, (b"", b"")])),
        (InvalidUtf8, set(&[(b"__name__", b"\xff")])),
        (InvalidUtf8, set(&[UP, (b"a\xff", b"")])),
        (InvalidUtf8, set(&[UP, (b"a", b"\xed\xa0\x80")])),
        (InvalidUtf8, refs(&[1, 2, 3, 2])),
        (InvalidLabelRefs, refs(&[1])),
        (InvalidLabelRefs, refs(&[1, 2, 2])),
        (InvalidLabelRefs, refs(&[1, 4])),
        (InvalidLabelRefs, refs(&[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01])),
        (LabelLimit, refs(&[1, 2].repeat((1 << 16) + 1))),
        (LabelLimit, set(&[UP, (b"a", &vec![b'x'; LONGEST_VALUE + 1])])),
        (
            LabelLimit,
            LabelSet::parse(&RawLabels::Refs(&[1, 2].repeat(5)), &[b"", b"a", &vec![b'x'; 1 << 18]]).map(drop),
        ),
        (MalformedLabels, refs(&[1, 0x82])),
        (MalformedLabels, LabelSet::parse(&RawLabels::Text(&[0x0a, 2, 0x0a, 1]), &[]).map(drop)),
        (MalformedLabels, LabelSet::parse(&RawLabels::Text(&[0x08, 2]), &[]).map(drop)),
        (TimestampOutOfRange, timestamp(EARLIEST_TIMESTAMP - 1)),
        (TimestampOutOfRange, timestamp(LATEST_TIMESTAMP + 1)),
        (TimestampTooFarInFuture, timestamp(BOUNDS.latest + 1)),
        (StartTimestampOutOfRange, start(EARLIEST_TIMESTAMP - 1)),
        (HistogramMalformed, RawHistogram(&[0x08]).parse(0).map(drop)),
        (HistogramMalformed, RawHistogram(&[0x5a, 2, 0x10, 0x80]).parse(0).map(drop)),
        (HistogramMalformed, RawHistogram(&[0x52, 7, 0, 0, 0, 0, 0, 0, 0]).parse(0).map(drop)),
        (HistogramSchema, histogram(|h| h.schema = -5)),
        (HistogramSchema, histogram(|h| h.schema = 53)),
        (HistogramSchema, custom(|h| h.schema = -54)),
        (HistogramSchema, histogram(|h| h.schema = i32::MIN)),
        (HistogramResetHint, histogram(|h| h.reset_hint = 4)),
        (HistogramResetHint, histogram(|h| h.reset_hint = -1)),
        (HistogramMixedCounts, histogram(|h| h.zero_count = Some(ZeroCount::ZeroCountFloat(1.0)))),
        (HistogramMixedCounts, histogram(|h| h.positive_counts = vec![1.0])),
        (HistogramMixedCounts, floats(|h| h.negative_deltas = vec![1])),
        (HistogramMixedCounts, floats(|h| h.zero_count = Some(ZeroCount::ZeroCountInt(1)))),
        (HistogramMixedCounts, floats(|h| h.count = None)),
        (HistogramSpanMismatch, histogram(|h| h.positive_spans[0].length = 2)),
        (HistogramSpanMismatch, histogram(|h| h.negative_spans.clear())),
        (HistogramSpanMismatch, histogram(|h| h.negative_deltas.clear())),
        (HistogramSpanMismatch, histogram(|h| h.negative_spans[0].length = i32::MAX as u32)),
        (HistogramSpanMismatch, floats(|h| h.positive_counts.push(0.0))),
        (HistogramSpanMismatch, custom(|h| h.positive_spans[0].length = 1)),
        (HistogramSpanOffset, histogram(|h| h.positive_spans[1].offset = -1)),
        (HistogramSpanOffset, histogram(|h| h.positive_spans[0].offset = i32::MIN)),
        (HistogramSpanOffset, histogram(|h| h.positive_spans[0].offset = i32::MAX)),
        (HistogramSpanOffset, histogram(|h| h.negative_spans[0].length = u32::MAX)),
        (HistogramSpanOffset, custom(|h| h.positive_spans[0].offset = -1)),
        (HistogramNegativeBucket, histogram(|h| h.positive_deltas = vec![1, -2])),
        (HistogramNegativeBucket, histogram(|h| h.negative_deltas = vec![i64::MIN])),
        (HistogramNegativeBucket, floats(|h| h.positive_counts[1] = -0.5)),
        (HistogramNegativeBucket, floats(|h| h.negative_counts[0] = f64::NEG_INFINITY)),
        (HistogramNegativeBucket, floats(|h| h.zero_count = Some(ZeroCount::ZeroCountFloat(-1.0)))),
        (HistogramNegativeBucket, floats(|h| h.count = Some(Count::CountFloat(-1.0)))),
        (HistogramCountMismatch, histogram(|h| h.count = Some(Count::CountInt(5)))),
        (HistogramCountMismatch, histogram(|h| h.count = Some(Count::CountInt(7)))),
        (HistogramCountMismatch, histogram(|h| h.count = None)),
        (HistogramCountMismatch, histogram(|h| (h.sum, h.count) = (f64::NAN, Some(Count::CountInt(5))))),
        (HistogramCountMismatch, custom(|h| h.count = Some(Count::CountInt(4)))),
        (HistogramCountTooLarge, histogram(|h| h.count = Some(Count::CountInt(TOO_LARGE)))),
        (HistogramCountTooLarge, histogram(|h| h.zero_count = Some(ZeroCount::ZeroCountInt(u64::MAX)))),
        (HistogramCountTooLarge, histogram(|h| h.positive_deltas = vec![i64::MAX, 1])),
        (HistogramCountMismatch, histogram(|h| h.positive_deltas = vec![i64::MAX, 0])),
        (HistogramCustomBounds, histogram(|h| h.custom_values = vec![1.0])),
        (HistogramCustomBounds, custom(|h| h.custom_values = vec![2.0, 2.0])),
        (HistogramCustomBounds, custom(|h| h.custom_values = vec![2.0, 1.0])),
        (HistogramCustomBounds, custom(|h| h.custom_values = vec![1.0, f64::INFINITY])),
        (HistogramCustomBounds, custom(|h| h.custom_values = vec![f64::NEG_INFINITY, 1.0])),
        (HistogramCustomBounds, custom(|h| h.custom_values = vec![1.0, f64::NAN])),
        (HistogramCustomBounds, custom(|h| h.custom_values = vec![1.0])),
        (HistogramCustomSides, custom(|h| h.zero_count = Some(ZeroCount::ZeroCountInt(1)))),
        (HistogramCustomSides, custom(|h| h.zero_threshold = 0.1)),
        (HistogramCustomSides, custom(|h| h.zero_threshold = f64::NAN)),
        (HistogramCustomSides, custom(|h| h.negative_spans = vec![BucketSpan::default()])),
        (HistogramCustomSides, custom(|h| h.negative_deltas = vec![0])),
        (InvalidExemplar, exemplar(Protocol::V1, &[0x0a])),
        (InvalidExemplar, exemplar(Protocol::V1, &[0x0a, 3, 0x12, 1, b'x'])),
        (InvalidExemplar, exemplar(Protocol::V2, &[0x0a, 1, 1])),
        (InvalidExemplar, exemplar(Protocol::V2, &[0x0a, 2, 1, 2])),
        (InvalidExemplar, exemplar(Protocol::V2, &[0x0a, 4, 1, 1, 1, 1])),
        (InvalidExemplar, exemplar(Protocol::V1, &[0x08, 1])),
        (InvalidMetadata, entry(|m| m.r#type = 8)),
        (InvalidMetadata, entry(|m| m.r#type = -1)),
        (InvalidMetadata, entry(|m| m.metric_family_name.clear())),
        (InvalidMetadata, Metadata::parse(RawMetadata(&[0x12])).map(drop)),
        (InvalidUtf8, Metadata::parse(RawMetadata(&[0x12, 1, 0xff])).map(drop)),
        (InvalidMetadata, of_series(8, 0, 0)),
        (InvalidMetadata, of_series(0, 2, 0)),
        (InvalidMetadata, of_series(0, 0, u32::MAX)),
        (InvalidUtf8, of_series(0, 1, 0)),
    ]
}

#[test]
fn each_fault_has_its_reason() {
    for (index, (reason, result)) in refused().into_iter().enumerate() {
        let invalid = result.expect_err(&format!("{reason} at {index}"));
        assert_eq!(invalid.reason, reason, "{index}: {invalid}");
        let text = invalid.to_string();
        assert!(!text.contains('\n') && text.len() < 200, "{text}");
    }
}

#[test]
fn each_reason_has_a_fault() {
    let mut untested = Reason::ALL.to_vec();
    // Raised by later rooms.
    untested.retain(|reason| !matches!(reason, Reason::SeriesLimit | Reason::RequestLimit | Reason::TimestampTooOld));
    let refused = refused();
    untested.retain(|reason| refused.iter().all(|(tested, _)| tested != reason));
    assert!(untested.is_empty(), "{untested:?}");
}

#[test]
fn near_misses_are_kept() {
    let kept = [
        set(&[UP]),
        set(&[(b"z", b"1"), UP, (b"a", b"1")]),
        set(&[UP, (b"a", b""), (b"a", b"1"), (b"a", b"")]),
        set(&["größe:°C".as_bytes(), b"__name__", b"0 a.b\0\n"].map(|name| (name, &b"x"[..]))),
        refs(&[1, 2]),
        refs(&[1, 2, 2, 0]),
        timestamp(EARLIEST_TIMESTAMP),
        timestamp(BOUNDS.latest),
        start(0),
        histogram(|_| {}),
        histogram(|h| h.schema = -4),
        histogram(|h| h.schema = 52),
        histogram(|h| h.reset_hint = 3),
        histogram(|h| h.positive_spans.push(BucketSpan { offset: 0, length: 0 })),
        histogram(|h| h.negative_spans[0].offset = i32::MAX),
        histogram(|h| h.negative_spans[0].offset = i32::MIN + 1),
        histogram(|h| (h.sum, h.count) = (f64::NAN, Some(Count::CountInt(7)))),
        histogram(|h| {
            h.count = Some(Count::CountInt(i64::MAX as u64));
            h.positive_deltas[1] = i64::MAX - 5;
        }),
        histogram(|h| *h = v1::Histogram { sum: f64::from_bits(STALE_NAN), ..Default::default() }),
        histogram(|h| *h = v1::Histogram::default()),
        floats(|_| {}),
        // Not added up: rounding would refuse good histograms.
        floats(|h| h.count = Some(Count::CountFloat(1.0))),
        floats(|h| h.positive_counts[0] = f64::NAN),
        floats(|h| h.negative_counts[0] = -0.0),
        floats(|h| h.zero_count = Some(ZeroCount::ZeroCountInt(0))),
        custom(|_| {}),
        custom(|h| h.zero_count = Some(ZeroCount::ZeroCountInt(0))),
        custom(|h| h.custom_values.push(3.0)),
        custom(|h| {
            h.custom_values.clear();
            h.positive_spans = vec![BucketSpan { offset: 0, length: 1 }];
            h.positive_deltas = vec![3];
        }),
        exemplar(Protocol::V1, &[]),
        exemplar(Protocol::V2, &[0x0a, 2, 1, 1]),
        entry(|_| {}),
        of_series(7, 0, 0),
    ];
    for (index, result) in kept.into_iter().enumerate() {
        assert_eq!(result, Ok(()), "{index}");
    }
}

#[test]
fn canonical_labels() {
    let request = v1::TimeSeries {
        labels: [("b", "2"), ("empty", ""), ("__name__", "up"), ("a", "1"), ("B", "3")]
            .map(|(name, value)| v1::Label { name: name.to_owned(), value: value.to_owned() })
            .to_vec(),
        ..Default::default()
    };
    let body = v1::WriteRequest { timeseries: vec![request], metadata: vec![] }.encode_to_vec();
    let mut decoder = Decoder::new(Protocol::V1, &body).unwrap();
    let set = LabelSet::parse(&decoder.next_series().unwrap().unwrap().labels, &[]).unwrap();
    assert_eq!(set, LabelSet { metric: "up", labels: vec![("B", "3"), ("a", "1"), ("b", "2")] });
    assert_eq!(set.to_string(), r#"up{B="3",a="1",b="2"}"#);
}

#[test]
fn stale_histograms() {
    let stale = v1::Histogram { sum: f64::from_bits(STALE_NAN), ..Default::default() }.encode_to_vec();
    assert!(RawHistogram(&stale).parse(0).unwrap().is_stale());
    let nan = v1::Histogram { sum: f64::from_bits(0x7ff8_0000_0000_0001), ..Default::default() }.encode_to_vec();
    assert!(!RawHistogram(&nan).parse(0).unwrap().is_stale());
}

#[test]
fn a_refused_series_is_named() {
    let labels = [("__name__", "up"), ("job", "a\n\"b"), ("job", "c"), ("service.name", "s")];
    let labels = labels.map(|(name, value)| v1::Label { name: name.to_owned(), value: value.to_owned() });
    let series = v1::TimeSeries { labels: labels.to_vec(), ..Default::default() };
    let body = v1::WriteRequest { timeseries: vec![series], metadata: vec![] }.encode_to_vec();
    let mut decoder = Decoder::new(Protocol::V1, &body).unwrap();
    let raw = &decoder.next_series().unwrap().unwrap().labels;
    let mut refusals = Refusals::default();
    refusals.record(&LabelSet::parse(raw, &[]).unwrap_err(), 1, || raw.describe(&[]));
    assert_eq!(
        refusals.one_line(2000, "series"),
        "1 of 2000 series refused: duplicate_label: \"job\" twice in \
         up{job=\"a\\n\\\"b\",job=\"c\",\"service.name\"=\"s\"}"
    );
}
