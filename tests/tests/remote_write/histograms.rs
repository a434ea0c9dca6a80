//! Native histograms of every kind.

use promarchive_model::Protocol::{V1, V2};
use promarchive_model::{Counts, Histogram, ResetHint, Span};
use promarchive_tests::program::Receiver;
use promarchive_tests::request::{
    NO_FLOATS, NO_INTEGERS, Request, Series, custom_histogram as custom, float_histogram as floats,
    integer_histogram as integers, stale_histogram as stale,
};

use crate::{PROTOCOLS, T, accept, assert_kept, committed};

fn assert_histograms_kept(histograms: impl IntoIterator<Item = Histogram> + Clone) {
    for protocol in PROTOCOLS {
        let apart = histograms.clone().into_iter().enumerate().map(|(index, histogram)| {
            Series::new(&[("__name__", "apart"), ("index", &index.to_string())]).histogram(histogram)
        });
        let numbered = (T..).zip(histograms.clone());
        let in_one = numbered.fold(Series::metric("in_one"), |series, (timestamp, histogram)| {
            series.histogram(Histogram { timestamp, ..histogram })
        });
        assert_kept(protocol, &[Request::of(apart), Request::of([in_one])]);
    }
}

#[test]
fn integers_floats_custom_buckets_and_stale_markers() {
    let float_custom = Histogram {
        counts: Counts::Float { count: 1.5_f64.to_bits(), zero: 0, positive: vec![0, 0, 1], negative: Vec::new() },
        ..custom(T)
    };
    let no_bounds = Histogram {
        counts: Counts::Integer { count: 6, zero: 0, positive: vec![6], negative: Vec::new() },
        positive_spans: vec![Span { offset: 0, length: 1 }],
        custom_values: Vec::new(),
        ..custom(T)
    };
    let kinds =
        [integers(T), floats(T), custom(T), float_custom, no_bounds, stale(T, NO_INTEGERS), stale(T, NO_FLOATS)];
    let hints = [ResetHint::Unknown, ResetHint::Yes, ResetHint::No, ResetHint::Gauge];
    assert_histograms_kept(
        kinds
            .iter()
            .flat_map(|kind| hints.map(|reset_hint| Histogram { reset_hint, ..kind.clone() }))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn every_schema_as_sent() {
    // Prometheus reduces 9 to 52 to 8; here they are kept.
    assert_histograms_kept((-4..=52).map(|schema| Histogram { schema, ..integers(T) }));
}

#[test]
fn sums_thresholds_and_counts_at_the_edges() {
    let bits =
        [0, 1 << 63, 1, 0x7ff8_0000_0000_0001, 0x7ff0_0000_0000_0001, 0xfff0_0000_0000_0000, 0x7fef_ffff_ffff_ffff];
    let sums = bits.map(|sum| Histogram { sum, ..integers(T) });
    let thresholds = bits.map(|zero_threshold| Histogram { zero_threshold, ..floats(T) });
    let float_counts =
        [0, 1 << 63, 1, 0x7ff0_0000_0000_0000, 0x7ff8_0000_0000_0001, 0x7ff0_0000_0000_0001].map(|count| {
            let counts = Counts::Float { count, zero: count, positive: vec![count], negative: vec![count] };
            let spans = vec![Span { offset: 0, length: 1 }];
            Histogram { counts, positive_spans: spans.clone(), negative_spans: spans, ..floats(T) }
        });
    // Observations of NaN are counted, and are in no bucket.
    let counts = Counts::Integer { count: 30, zero: 2, positive: vec![1, 7, 0, 4], negative: vec![3, 4] };
    let nan = Histogram { sum: f64::NAN.to_bits(), counts, ..integers(T) };
    assert_histograms_kept([&sums[..], &thresholds, &float_counts, &[nan]].concat());
}

#[test]
fn integers_stay_integers() {
    let one = |bucket: i64| Histogram {
        counts: Counts::Integer {
            count: bucket.cast_unsigned(),
            zero: 0,
            positive: vec![bucket],
            negative: Vec::new(),
        },
        positive_spans: vec![Span { offset: 0, length: 1 }],
        negative_spans: Vec::new(),
        ..integers(T)
    };
    // No double holds 2^53 + 1.
    let large = [i64::MAX, i64::MAX - 1, (1 << 53) + 1].map(one);
    let in_zero = Histogram {
        counts: Counts::Integer {
            count: i64::MAX as u64,
            zero: i64::MAX as u64,
            positive: Vec::new(),
            negative: Vec::new(),
        },
        positive_spans: Vec::new(),
        negative_spans: Vec::new(),
        ..integers(T)
    };
    assert_histograms_kept([&large[..], &[in_zero]].concat());
}

#[test]
fn spans_as_sent() {
    let with = |positive: Vec<i64>, positive_spans: Vec<Span>| Histogram {
        counts: Counts::Integer {
            count: positive.iter().sum::<i64>().cast_unsigned(),
            zero: 0,
            positive,
            negative: Vec::new(),
        },
        positive_spans,
        negative_spans: Vec::new(),
        ..integers(T)
    };
    let span = |offset: i32, length: u32| Span { offset, length };
    assert_histograms_kept([
        with(Vec::new(), Vec::new()),
        // Empty spans, and spans that could be one, say nothing; they are kept.
        with(Vec::new(), vec![span(0, 0)]),
        with(vec![1, 2], vec![span(3, 1), span(0, 1)]),
        with(vec![1, 2], vec![span(-7, 0), span(2, 1), span(4, 0), span(0, 1)]),
        with(vec![1], vec![span(i32::MIN + 1, 1)]),
        with(vec![1], vec![span(i32::MAX, 1)]),
        with((0..300).collect(), vec![span(-150, 300)]),
    ]);
}

#[test]
fn beside_samples_and_exemplars() {
    for protocol in PROTOCOLS {
        // One place can hold a float and a histogram: they stand in tables of their own.
        let series = Series::metric("latency")
            .sample(T, 1.0)
            .histogram(integers(T))
            .sample(T + 1, 2.0)
            .histogram(floats(T - 1))
            .exemplar(T, 0.5, &[("trace_id", "x")]);
        let again = Series::metric("latency").histogram(custom(T + 1)).histogram(integers(T - 7_776_000_000));
        assert_kept(protocol, &[Request::of([series, again])]);
    }
}

#[test]
fn start_timestamps_are_of_2_0() {
    let with = |timestamp, start_timestamp| Histogram { start_timestamp, ..integers(timestamp) };
    let mut older = Series::metric("older").histogram(with(T, 0)).histogram(with(T + 1, T - 5));
    older.created_timestamp = T - 9;
    let request = Request::of([older, Series::metric("newer").histogram(with(T, T - 1)).histogram(with(T + 1, 0))]);
    assert_kept(V2, std::slice::from_ref(&request));
    assert_kept(V1, std::slice::from_ref(&request));
}

#[test]
fn one_of_two_stays_whatever_the_order() {
    // Which one is not said, but that a stale marker does not.
    let pairs = [
        (integers(T), floats(T)),
        (integers(T), Histogram { sum: 0, ..integers(T) }),
        (custom(T), stale(T, NO_INTEGERS)),
    ];
    let mut kept = Vec::new();
    for flushed in [false, true] {
        for reversed in [false, true] {
            let receiver = Receiver::start(&[]);
            for (index, (one, other)) in pairs.iter().enumerate() {
                let (first, second) = if reversed { (other, one) } else { (one, other) };
                let series = || Series::new(&[("__name__", format!("pair_{index}"))]);
                accept(&receiver, V2, &Request::of([series().histogram(first.clone())]));
                if flushed {
                    receiver.flush();
                }
                accept(&receiver, V2, &Request::of([series().histogram(second.clone())]));
            }
            kept.push(committed(&receiver));
        }
    }
    for other in &kept[1..] {
        kept[0].assert_equals(other);
    }
    let kept: Vec<&Histogram> = kept[0].histograms.values().collect();
    assert_eq!(kept.len(), pairs.len());
    assert!(kept.iter().zip(&pairs).all(|(kept, (one, other))| *kept == one || *kept == other), "{kept:?}");
    assert_eq!(kept[2], &custom(T));
}
