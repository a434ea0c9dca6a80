//! Random requests: what is valid in them is in the tables, and nothing else.

use std::collections::HashSet;

use promarchive_model::{Counts, Histogram, Protocol, ResetHint, STALE_NAN, Sample, Span};
use promarchive_tests::program::Receiver;
use promarchive_tests::request::{Exemplar, Metadata, Request, Series};
use promarchive_tests::tables::Tables;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::{PROTOCOLS, T, committed};

/// Each case starts a receiver and a Python; PROPTEST_CASES sets more.
const CASES: u32 = 6;

/// Few values, so that the same labels come again.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => prop_oneof![Just("a"), Just("b"), Just("job"), Just("le"), Just("up"), Just("größe"), Just("\"\\\n\u{1}😀")].prop_map(str::to_owned),
        1 => any::<String>().prop_filter("not empty", |text| !text.is_empty()),
    ]
}

fn timestamp() -> impl Strategy<Value = i64> {
    prop_oneof![6 => T..T + 20, 2 => T - 100_000_000..T + 100_000_000, 1 => -2_208_988_800_000..T]
}

fn bits() -> impl Strategy<Value = u64> {
    let special =
        [0, 1 << 63, 1, 0x7ff0_0000_0000_0000, 0xfff0_0000_0000_0000, 0x7ff8_0000_0000_0001, 0x7ff0_0000_0000_0001];
    prop_oneof![
        4 => any::<u64>(),
        3 => proptest::sample::select(special.to_vec()),
        1 => Just(STALE_NAN),
        4 => any::<i16>().prop_map(|value| f64::from(value).to_bits()),
    ]
}

fn start() -> impl Strategy<Value = i64> {
    prop_oneof![2 => Just(0), 1 => T - 50..T]
}

prop_compose! {
    fn sample()(timestamp in timestamp(), value in bits(), start_timestamp in start()) -> Sample {
        Sample { timestamp, value, start_timestamp }
    }
}

prop_compose! {
    fn exemplar()(labels in vec((text(), text()), 0..3), value in bits(), timestamp in timestamp()) -> Exemplar {
        let mut names = HashSet::new();
        let labels = labels.into_iter().filter(|(name, _)| names.insert(name.clone())).collect();
        Exemplar { labels, value, timestamp }
    }
}

/// Buckets in runs: what is to be skipped, and the counts that follow.
fn side() -> impl Strategy<Value = Vec<(i32, Vec<u32>)>> {
    vec((0..10_i32, vec(0..1000_u32, 0..4)), 0..4)
}

fn spans(side: &[(i32, Vec<u32>)], first: i32) -> Vec<Span> {
    let offsets = std::iter::once(first).chain(side.iter().skip(1).map(|(offset, _)| *offset));
    side.iter()
        .zip(offsets)
        .map(|((_, run), offset)| Span { offset, length: u32::try_from(run.len()).unwrap() })
        .collect()
}

prop_compose! {
    fn histogram()(
        (timestamp, start_timestamp) in (timestamp(), start()),
        (float, custom, hint) in (any::<bool>(), any::<bool>(), 0..4_usize),
        (positive, negative, first) in (side(), side(), -20..20_i32),
        (zero, schema, zero_threshold) in (0..1000_u32, -4..=52_i32, 0..1000_u64),
        sum in any::<f64>(),
    ) -> Histogram {
        let counts = |side: &[(i32, Vec<u32>)]| side.iter().flat_map(|(_, run)| run.clone()).collect::<Vec<_>>();
        let (negative, zero) = if custom { (Vec::new(), 0) } else { (negative, zero) };
        let positive_spans = spans(&positive, if custom { first.abs() } else { first });
        let covered = positive_spans.iter().map(|span| span.offset.unsigned_abs() + span.length).sum::<u32>();
        let (above, below) = (counts(&positive), counts(&negative));
        let count = above.iter().chain(&below).map(|&count| u64::from(count)).sum::<u64>() + u64::from(zero);
        let floats = |counts: &[u32]| counts.iter().map(|&count| (f64::from(count) / 3.0).to_bits()).collect();
        let integers = |counts: &[u32]| counts.iter().map(|&count| count.into()).collect();
        Histogram {
            timestamp,
            start_timestamp,
            schema: if custom { -53 } else { schema },
            zero_threshold: if custom { 0 } else { zero_threshold },
            sum: sum.to_bits(),
            reset_hint: [ResetHint::Unknown, ResetHint::Yes, ResetHint::No, ResetHint::Gauge][hint],
            counts: if float {
                let zero = f64::from(zero).to_bits();
                Counts::Float { count: (count as f64).to_bits(), zero, positive: floats(&above), negative: floats(&below) }
            } else {
                Counts::Integer { count, zero: zero.into(), positive: integers(&above), negative: integers(&below) }
            },
            positive_spans,
            negative_spans: spans(&negative, first),
            custom_values: if custom { (0..covered).map(|bound| f64::from(bound).to_bits()).collect() } else { Vec::new() },
        }
    }
}

prop_compose! {
    fn metadata()(kind in 0..8_i32, help in text(), unit in text()) -> Metadata {
        Metadata { kind, help, unit }
    }
}

/// A series, and whether its labels are good.
fn series() -> impl Strategy<Value = (Series, bool)> {
    let labels =
        (vec((text(), prop_oneof![4 => text(), 1 => Just(String::new())]), 0..4), text(), any::<prop::sample::Index>());
    let content =
        (vec(sample(), 0..6), vec(histogram(), 0..2), vec(exemplar(), 0..2), proptest::option::of(metadata()), start());
    (labels, 0..12_u32, content).prop_map(|((labels, metric, at), fault, content)| {
        let mut names = HashSet::from(["__name__".to_owned()]);
        let mut labels: Vec<_> = labels.into_iter().filter(|(name, _)| names.insert(name.clone())).collect();
        if fault != 0 {
            labels.insert(at.index(labels.len() + 1), ("__name__".to_owned(), metric));
        }
        if fault == 1 {
            labels.extend([("twice".to_owned(), "x".to_owned()), ("twice".to_owned(), "y".to_owned())]);
        }
        let (samples, histograms, exemplars, metadata, created_timestamp) = content;
        let series = Series { samples, histograms, exemplars, metadata, created_timestamp, ..Series::new(&labels) };
        (series, fault > 1)
    })
}

type Generated = (Vec<(Series, bool)>, Vec<(String, Metadata)>);

fn requests() -> impl Strategy<Value = Vec<Generated>> {
    vec((vec(series(), 0..30), vec((text(), metadata()), 0..3)), 1..8)
}

/// Which of two histograms with one key stays is tested elsewhere: only the first is sent.
fn drop_contested(requests: &mut [Generated]) {
    let mut keys = HashSet::new();
    for (series, _) in requests.iter_mut().flat_map(|(all, _)| all) {
        let mut labels = series.labels.clone();
        labels.retain(|(_, value)| !value.is_empty());
        labels.sort();
        series.histograms.retain(|histogram| keys.insert((labels.clone(), histogram.timestamp)));
    }
}

fn check(protocol: Protocol, mut requests: Vec<Generated>) {
    drop_contested(&mut requests);
    let receiver = Receiver::start(&[]);
    let mut wanted = Tables::default();
    for (index, (series, families)) in requests.into_iter().enumerate() {
        let all =
            Request { series: series.iter().map(|(series, _)| series.clone()).collect(), families: families.clone() };
        let good: Vec<Series> = series.iter().filter(|(_, good)| *good).map(|(series, _)| series.clone()).collect();
        let any_bad = good.len() < series.len();
        let good = Request { series: good, families };
        let answer = receiver.write(protocol, &all);
        assert_eq!(answer.status, if any_bad { 400 } else { 204 }, "{answer:?}\n{all:?}");
        wanted.add(protocol, &good);
        if index % 3 == 2 {
            receiver.flush();
            // A retry whose answer was lost.
            receiver.write(protocol, &all);
        }
    }
    wanted.assert_equals(&committed(&receiver));
}

#[test]
fn random_requests_are_in_the_tables() {
    for protocol in PROTOCOLS {
        let cases = std::env::var("PROPTEST_CASES").map_or(CASES, |cases| cases.parse().unwrap());
        let config = Config { cases, max_shrink_iters: 60, failure_persistence: None, ..Config::default() };
        // The same cases each time, and those of each protocol different.
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[protocol as u8 + 1; 32]);
        let run = TestRunner::new_with_rng(config, rng).run(&requests(), |requests| {
            check(protocol, requests);
            Ok(())
        });
        run.unwrap_or_else(|error| panic!("{protocol:?}: {error}"));
    }
}
