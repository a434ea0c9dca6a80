//! What cannot be kept is refused by name, and the rest of its request is kept.

use std::collections::BTreeSet;

use promarchive_model::Protocol::{self, V1, V2};
use promarchive_model::{Counts, Histogram, Reason, Span};
use promarchive_tests::program::{Receiver, now_ms};
use promarchive_tests::protobuf::Message;
use promarchive_tests::request::{
    Request, Series, custom_histogram as custom, float_histogram as floats, integer_histogram as integers,
};
use promarchive_tests::tables::Tables;

use crate::{PROTOCOLS, T, committed};

/// A series that cannot be kept.
enum Bad {
    /// In words, in both protocols.
    Both(Series),
    /// Field 1 of a request of 1.0.
    V1(Message),
    /// Field 3 of a request of 1.0.
    Family(Message),
    /// Field 5 of a request of 2.0, with references to [`SYMBOLS`].
    V2(Message),
}

const SYMBOLS: [&str; 6] = ["", "__name__", "bad", "good", "job", "j"];

impl Bad {
    fn protocols(&self) -> &'static [Protocol] {
        match self {
            Self::Both(_) => &PROTOCOLS,
            Self::V1(_) | Self::Family(_) => &[V1],
            Self::V2(_) => &[V2],
        }
    }

    /// A request with a good series before and after it.
    fn request(&self, protocol: Protocol) -> Vec<u8> {
        let good = |timestamp| Series::metric("good").sample(timestamp, 1.0);
        match self {
            Self::Both(bad) => Request::of([good(T), bad.clone(), good(T + 1)]).encode(protocol),
            Self::V1(bad) => {
                let [first, last] = [T, T + 1].map(|timestamp| Request::of([good(timestamp)]).encode(V1));
                Message::new().raw(&first).message(1, bad.clone()).raw(&last).into_bytes()
            }
            Self::Family(bad) => {
                let both = Request::of([good(T), good(T + 1)]).encode(V1);
                Message::new().message(3, bad.clone()).raw(&both).into_bytes()
            }
            Self::V2(bad) => {
                let symbols = SYMBOLS.iter().fold(Message::new(), |message, symbol| message.bytes(4, symbol));
                let good = |timestamp| {
                    let sample = Message::new().double(1, 1.0_f64.to_bits()).signed(2, timestamp);
                    Message::new().packed_unsigned(1, &[1, 3]).message(2, sample)
                };
                symbols.message(5, good(T)).message(5, bad.clone()).message(5, good(T + 1)).into_bytes()
            }
        }
    }
}

/// Each with the reason, and what the answer says of it.
fn cases() -> Vec<(Reason, &'static str, Bad)> {
    let bad = || Series::metric("bad");
    let labels = |labels: &[(&str, &str)]| Bad::Both(Series::new(labels).sample(T, 1.0));
    let histogram = |histogram: Histogram| Bad::Both(bad().histogram(histogram));
    let integer_counts = |count, zero, positive: &[i64], negative: &[i64]| Counts::Integer {
        count,
        zero,
        positive: positive.to_vec(),
        negative: negative.to_vec(),
    };
    let spans =
        |spans: &[(i32, u32)]| spans.iter().map(|&(offset, length)| Span { offset, length }).collect::<Vec<_>>();
    // One bucket or two on the positive side only.
    let positive = |count, counts: &[i64], at: &[(i32, u32)]| Histogram {
        counts: integer_counts(count, 0, counts, &[]),
        positive_spans: spans(at),
        negative_spans: Vec::new(),
        ..integers(T)
    };
    let bounds =
        |bounds: &[f64]| Histogram { custom_values: bounds.iter().map(|b| b.to_bits()).collect(), ..custom(T) };
    let sample = || Message::new().double(1, 1.0_f64.to_bits()).signed(2, T);
    let v2 = |references: &[u64]| Bad::V2(Message::new().packed_unsigned(1, references).message(2, sample()));
    let v1_histogram = |histogram: Message| {
        let name = Message::new().bytes(1, "__name__").bytes(2, "bad");
        Bad::V1(Message::new().message(1, name).message(4, Message::new().signed(15, T).raw(&histogram.into_bytes())))
    };
    let v2_histogram =
        |histogram: Message| Bad::V2(Message::new().packed_unsigned(1, &[1, 2]).message(3, histogram.signed(15, T)));
    let mixed = || Message::new().unsigned(1, 1).packed_doubles(13, &[1.0_f64.to_bits()]);
    let many = |one: Message, label: &Message| (0..=65_536).fold(one, |all, _| all.raw(&label.clone().into_bytes()));
    let job = Message::new().message(1, Message::new().bytes(1, "job").bytes(2, "j"));
    let mut no_utf8_name = bad().sample(T, 1.0);
    no_utf8_name.labels.push((b"\xff".to_vec(), b"x".to_vec()));
    let mut no_utf8_value = bad().sample(T, 1.0);
    no_utf8_value.labels.push((b"job".to_vec(), b"\xc3\x28".to_vec()));
    let reference = Message::new().packed_unsigned(1, &[1, 2]);

    use Reason::*;
    vec![
        (MissingMetricName, "{job=\"j\"}", labels(&[("job", "j")])),
        (MissingMetricName, "{job=\"j\"}", labels(&[("job", "j"), ("__name__", "")])),
        (MissingMetricName, "in {}", labels(&[])),
        (DuplicateLabel, "\"job\" twice", labels(&[("__name__", "bad"), ("job", "a"), ("job", "b")])),
        (DuplicateLabel, "\"job\" twice", labels(&[("job", "a"), ("__name__", "bad"), ("job", "a")])),
        (DuplicateLabel, "\"__name__\" twice", labels(&[("__name__", "bad"), ("__name__", "worse")])),
        (EmptyLabelName, "the value \"x\" has no name", labels(&[("__name__", "bad"), ("", "x")])),
        (InvalidUtf8, "label name", Bad::Both(no_utf8_name)),
        (InvalidUtf8, "label value", Bad::Both(no_utf8_value)),
        (InvalidLabelRefs, "odd number", v2(&[1, 2, 4])),
        (InvalidLabelRefs, "reference 6 is out of range: there are 6 symbols", v2(&[1, 2, 4, 6])),
        (InvalidLabelRefs, "reference 4294967295 is out of range: there are 6 symbols", v2(&[1, u32::MAX.into()])),
        (InvalidLabelRefs, "reference 18446744073709551615", v2(&[u64::MAX, 2])),
        (MalformedLabels, "malformed protobuf", Bad::V1(Message::new().message(1, Message::new().unsigned(1, 5)))),
        (MalformedLabels, "malformed protobuf", Bad::V2(Message::new().bytes(1, [0x01, 0x80]).message(2, sample()))),
        (LabelLimit, "65536 labels", Bad::V1(many(Message::new(), &job).message(2, sample()))),
        (LabelLimit, "65536 labels", v2(&[4, 5].repeat(65_537))),
        (TimestampOutOfRange, "-9223372036854775808", Bad::Both(bad().sample(i64::MIN, 1.0))),
        (TimestampOutOfRange, "253402300800000", histogram(integers(253_402_300_800_000))),
        (TimestampOutOfRange, "-2208988800001", Bad::Both(bad().exemplar(-2_208_988_800_001, 1.0, &[]))),
        (TimestampTooFarInFuture, "in bad", Bad::Both(bad().sample(now_ms() + 200_000_000, 1.0))),
        (TimestampTooFarInFuture, "in bad", histogram(floats(now_ms() + 200_000_000))),
        (TimestampTooFarInFuture, "in bad", Bad::Both(bad().exemplar(now_ms() + 200_000_000, 1.0, &[]))),
        (
            StartTimestampOutOfRange,
            "9223372036854775807",
            Bad::V2(reference.clone().message(2, sample().signed(3, i64::MAX))),
        ),
        (StartTimestampOutOfRange, "-2208988800001", v2_histogram(Message::new().signed(17, -2_208_988_800_001))),
        (HistogramMalformed, "truncated", v1_histogram(Message::new().raw(&[0x19, 0x00]))),
        (HistogramMalformed, "malformed", v2_histogram(Message::new().unsigned(3, 1))),
        (HistogramSchema, "schema 53", histogram(Histogram { schema: 53, ..integers(T) })),
        (HistogramSchema, "schema -5", histogram(Histogram { schema: -5, ..floats(T) })),
        (HistogramSchema, "schema -54", histogram(Histogram { schema: -54, ..integers(T) })),
        (HistogramResetHint, "reset hint 4", v1_histogram(Message::new().unsigned(14, 4))),
        (HistogramResetHint, "reset hint -1", v2_histogram(Message::new().signed(14, -1))),
        (HistogramMixedCounts, "integer and float", v1_histogram(mixed())),
        (HistogramMixedCounts, "integer and float", v2_histogram(mixed())),
        (
            HistogramSpanMismatch,
            "positive spans cover 2 buckets, but 1 buckets were sent",
            histogram(positive(1, &[1], &[(0, 2)])),
        ),
        (
            HistogramSpanMismatch,
            "positive spans cover 0 buckets, but 1 buckets were sent",
            histogram(positive(1, &[1], &[])),
        ),
        (
            HistogramSpanMismatch,
            "spans cover 4294967294 buckets",
            histogram(positive(1, &[1], &[(i32::MIN + 1, u32::MAX - 1)])),
        ),
        (HistogramSpanOffset, "offset -1", histogram(positive(3, &[1, 2], &[(0, 1), (-1, 1)]))),
        (HistogramSpanOffset, "bucket index 2147483648", histogram(positive(3, &[1, 2], &[(i32::MAX, 2)]))),
        (HistogramNegativeBucket, "bucket is -2", histogram(positive(1, &[3, -2], &[(0, 2)]))),
        (
            HistogramNegativeBucket,
            "count -0.5",
            histogram(Histogram {
                counts: Counts::Float {
                    count: 0,
                    zero: (-0.5_f64).to_bits(),
                    positive: Vec::new(),
                    negative: Vec::new(),
                },
                positive_spans: Vec::new(),
                negative_spans: Vec::new(),
                ..integers(T)
            }),
        ),
        (
            HistogramCountMismatch,
            "buckets contain 3 observations, but the count is 4",
            histogram(positive(4, &[1, 2], &[(0, 2)])),
        ),
        (
            HistogramCountMismatch,
            "buckets contain 3 observations, but the count is 2",
            histogram(Histogram { sum: f64::NAN.to_bits(), ..positive(2, &[1, 2], &[(0, 2)]) }),
        ),
        (HistogramCountTooLarge, "18446744073709551615", histogram(positive(u64::MAX, &[1], &[(0, 1)]))),
        (HistogramCustomBounds, "follows 2", histogram(bounds(&[1.0, 2.0, 2.0]))),
        (HistogramCustomBounds, "inf", histogram(bounds(&[1.0, 2.0, f64::INFINITY]))),
        (HistogramCustomBounds, "spans cover 4 buckets", histogram(bounds(&[1.0]))),
        (HistogramCustomBounds, "with schema 3", histogram(Histogram { custom_values: vec![1], ..integers(T) })),
        (HistogramCustomSides, "zero bucket", histogram(Histogram { zero_threshold: 1, ..custom(T) })),
        (
            HistogramCustomSides,
            "zero bucket",
            histogram(Histogram { counts: integer_counts(7, 1, &[1, 2, 3], &[]), ..custom(T) }),
        ),
        (InvalidExemplar, "\"a\" twice", Bad::Both(bad().exemplar(T, 1.0, &[("a", "1"), ("a", "2")]))),
        (
            InvalidExemplar,
            "reference 77",
            Bad::V2(reference.clone().message(4, Message::new().packed_unsigned(1, &[1, 77]).signed(3, T))),
        ),
        (InvalidMetadata, "metric type 8", Bad::Family(Message::new().unsigned(1, 8).bytes(2, "bad"))),
        (InvalidMetadata, "metric name is missing", Bad::Family(Message::new().unsigned(1, 1))),
        (InvalidMetadata, "metric type 9", Bad::V2(reference.clone().message(5, Message::new().unsigned(1, 9)))),
        (InvalidMetadata, "reference 6", Bad::V2(reference.message(5, Message::new().unsigned(1, 1).unsigned(3, 6)))),
    ]
}

#[test]
fn every_reason_by_name() {
    let cases = cases();
    // A limit of series is not a setting yet; `senders.rs` tries the one of old samples, and `memory.rs` that of a request.
    let elsewhere = [Reason::SeriesLimit, Reason::TimestampTooOld, Reason::RequestLimit];
    let tried: BTreeSet<Reason> = cases.iter().map(|(reason, ..)| *reason).chain(elsewhere).collect();
    assert_eq!(tried, Reason::ALL.iter().copied().collect());

    let receiver = Receiver::start(&[]);
    for (reason, names, bad) in &cases {
        for &protocol in bad.protocols() {
            let answer = receiver.write_message(protocol, &bad.request(protocol));
            let what = format!("{protocol:?} {reason} {names}: {answer:?}");
            assert_eq!(answer.status, 400, "{what}");
            assert!(answer.is_one_line(), "{what}");
            for part in ["1 of 3 entries refused: ", &format!("{reason}: "), names] {
                assert!(answer.body.contains(part), "{part}: {what}");
            }
            assert_eq!(answer.written(), (protocol == V2).then_some([2, 0, 0]), "{what}");
        }
    }
    let mut wanted = Tables::default();
    wanted.add(V2, &Request::of([Series::metric("good").sample(T, 1.0).sample(T + 1, 1.0)]));
    wanted.assert_equals(&committed(&receiver));

    let metrics = receiver.get("/metrics").body;
    for (reason, ..) in &cases {
        assert!(metrics.contains(&format!("promarchive_refused_total{{reason=\"{reason}\"}}")), "{reason}");
    }
}

#[test]
fn the_line_stays_one_line_of_bounded_length() {
    let receiver = Receiver::start(&[]);
    for protocol in PROTOCOLS {
        let name = |n: u32| format!("line\nbreak\r\u{1b}[31m{n}{}", "é".repeat(500));
        let bad = (0..500).map(|n| Series::new(&[("a", name(n)), ("a", name(n + 1)), ("b", name(n))]).sample(T, 1.0));
        let answer = receiver.write(protocol, &Request::of(bad));
        assert_eq!((answer.status, answer.written()), (400, (protocol == V2).then_some([0, 0, 0])), "{answer:?}");
        assert!(answer.is_one_line() && answer.body.len() <= 1100, "{answer:?}");
        assert!(answer.body.starts_with("500 of 500 entries refused (duplicate_label 500): "), "{answer:?}");
        assert!(answer.body.trim_end().chars().all(|character| !character.is_control()), "{answer:?}");
    }
}
