//! Values and timestamps of float samples: every bit stays.

use promarchive_model::Protocol::{V1, V2};
use promarchive_model::STALE_NAN;
use promarchive_tests::program::{Receiver, now_ms};
use promarchive_tests::request::{Request, Series};
use promarchive_tests::tables::Tables;

use crate::{PROTOCOLS, T, accept, assert_kept, committed};

const DAY: i64 = 24 * 60 * 60 * 1000;
/// 1900-01-01 and the last millisecond of 9999.
const EARLIEST: i64 = -2_208_988_800_000;
const LATEST: i64 = 253_402_300_799_999;

/// Bits that a careless copy changes.
const BITS: [u64; 25] = [
    0,
    1 << 63,
    1,
    1 << 63 | 1,
    0x000f_ffff_ffff_ffff,
    0x0010_0000_0000_0000,
    0x7fef_ffff_ffff_ffff,
    0xffef_ffff_ffff_ffff,
    0x7ff0_0000_0000_0000,
    0xfff0_0000_0000_0000,
    // The NaN that Prometheus writes, and others: quiet, signalling, negative, with payloads.
    0x7ff8_0000_0000_0001,
    0x7ff8_0000_0000_0000,
    0xfff8_0000_0000_0000,
    0x7ff0_0000_0000_0001,
    0x7ff0_0000_0000_0003,
    0xfff0_0000_0000_0002,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
    0x7ff8_dead_beef_cafe,
    STALE_NAN,
    // Doubles without a short decimal form, and integers around 2^53.
    0x3fb9_9999_9999_999a,
    0x3fd5_5555_5555_5555,
    0x4340_0000_0000_0000,
    0x433f_ffff_ffff_ffff,
    0x4340_0000_0000_0001,
];

#[test]
fn every_bit_of_a_value() {
    for protocol in PROTOCOLS {
        let in_one = (T..).zip(BITS).fold(Series::metric("in_one"), |series, (at, bits)| series.bits(at, bits));
        let apart =
            BITS.map(|bits| Series::new(&[("__name__", "apart"), ("bits", &format!("{bits:x}"))]).bits(T, bits));
        assert_kept(protocol, &[Request::of([in_one]), Request::of(apart)]);
    }
}

#[test]
fn a_stale_marker_is_no_nan() {
    for protocol in PROTOCOLS {
        let series = Series::metric("up").sample(T, 1.0).stale(T + 1).bits(T + 2, 0x7ff8_0000_0000_0001).stale(T + 3);
        assert_kept(protocol, &[Request::of([series])]);
    }
}

#[test]
fn old_and_out_of_order_samples() {
    for protocol in PROTOCOLS {
        let now = now_ms();
        let one =
            Series::metric("up").sample(now, 1.0).sample(now - 400 * DAY, 2.0).sample(now - 1, 3.0).sample(T, 4.0);
        let later = Series::metric("up").sample(now - 2, 5.0).sample(0, 6.0).sample(1, 7.0).sample(-1, 8.0);
        let ends = Series::metric("ends").sample(EARLIEST, 9.0).sample(EARLIEST + 1, 10.0).sample(EARLIEST + DAY, 11.0);
        assert_kept(protocol, &[Request::of([one]), Request::of([later, ends])]);
    }
}

#[test]
fn samples_on_both_sides_of_midnight() {
    for protocol in PROTOCOLS {
        let midnight = T / DAY * DAY;
        let series = [midnight - 1, midnight, midnight + 1, midnight + DAY - 1, midnight + DAY].into_iter();
        assert_kept(protocol, &[Request::of([series.fold(Series::metric("up"), |series, at| series.sample(at, 1.0))])]);
    }
}

#[test]
fn the_future_is_bounded_and_the_bound_can_be_moved() {
    for (flags, bound) in [(&[][..], DAY), (&["--max-future", "2d"], 2 * DAY)] {
        for protocol in PROTOCOLS {
            let receiver = Receiver::start(flags);
            let now = now_ms();
            let within =
                Request::of([Series::metric("within").sample(now + bound - 60_000, 1.0).sample(now + 60_000, 2.0)]);
            accept(&receiver, protocol, &within);
            let beyond =
                Series::metric("beyond").sample(now + bound + 60_000, 1.0).sample(now, 2.0).sample(LATEST, 3.0);
            let answer = receiver.write(protocol, &Request::of([beyond]));
            assert_eq!(answer.status, 400, "{answer:?}");
            assert!(
                answer.body.contains("2 of 3 entries refused") && answer.body.contains("timestamp_too_far_in_future")
            );
            let mut wanted = Tables::default();
            wanted.add(protocol, &within);
            wanted.add(protocol, &Request::of([Series::metric("beyond").sample(now, 2.0)]));
            wanted.assert_equals(&committed(&receiver));
        }
    }
}

#[test]
fn timestamps_that_no_table_can_hold() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start(&[]);
        for timestamp in [EARLIEST - 1, LATEST + 1, i64::MIN, i64::MAX] {
            let answer =
                receiver.write(protocol, &Request::of([Series::metric("up").sample(timestamp, 1.0).sample(T, 1.0)]));
            assert_eq!((answer.status, answer.written()), (400, (protocol == V2).then_some([1, 0, 0])), "{answer:?}");
            let named = format!("timestamp_out_of_range: timestamp {timestamp} in up");
            assert!(answer.is_one_line() && answer.body.contains(&named), "{answer:?}");
        }
        let mut wanted = Tables::default();
        wanted.add(protocol, &Request::of([Series::metric("up").sample(T, 1.0)]));
        wanted.assert_equals(&committed(&receiver));
    }
}

#[test]
fn start_timestamps_of_samples_and_of_older_senders() {
    // The field of the sample wins over the one that the series had up to rc.3.
    let mut older = Series::metric("older").sample(T, 1.0).started(T + 1, 2.0, T - 5);
    older.created_timestamp = T - 9;
    let newer = Series::metric("newer")
        .started(T, 1.0, T - 1)
        .started(T + 1, 1.0, T - 1)
        .started(T + 2, 1.0, T + 2)
        .started(T + 3, 1.0, EARLIEST)
        .started(T + 4, 1.0, LATEST)
        .started(T + 5, 1.0, 1)
        .sample(T + 6, 1.0);
    let request = Request::of([older, newer]);
    assert_kept(V2, std::slice::from_ref(&request));
    let receiver = Receiver::start(&[]);
    accept(&receiver, V1, &request);
    let found = committed(&receiver);
    assert_eq!(found.samples.len(), 9);
    assert!(found.samples.values().all(|sample| sample.start_timestamp == 0), "1.0 has none");
}

#[test]
fn one_of_two_values_stays_whatever_the_order() {
    let nan = f64::NAN.to_bits();
    let pairs = [
        (1.0_f64.to_bits(), 2.0_f64.to_bits()),
        (STALE_NAN, (-1.0_f64).to_bits()),
        (STALE_NAN, nan),
        (1 << 63, 0),
        (f64::INFINITY.to_bits(), nan),
        (1 << 63 | nan, f64::NEG_INFINITY.to_bits()),
        (0x7ff0_0000_0000_0001, STALE_NAN),
    ];
    for protocol in PROTOCOLS {
        // In one series, in one request, in two requests, in two flushes.
        for requests_between in 0..4 {
            let receiver = Receiver::start(&[]);
            let mut wanted = Tables::default();
            let mut send = |series: Vec<Series>| {
                let request = Request::of(series);
                accept(&receiver, protocol, &request);
                wanted.add(protocol, &request);
            };
            for (index, (one, other)) in pairs.into_iter().enumerate() {
                for (order, [first, second]) in [[one, other], [other, one]].into_iter().enumerate() {
                    let series = || Series::new(&[("__name__", format!("pair_{index}_{order}"))]);
                    let (first, second) = (series().bits(T, first), series().bits(T, second));
                    match requests_between {
                        0 => send(vec![first.bits(T, second.samples[0].value)]),
                        1 => send(vec![first, second]),
                        2 => {
                            send(vec![first]);
                            send(vec![second]);
                        }
                        _ => {
                            send(vec![first]);
                            receiver.flush();
                            send(vec![second]);
                        }
                    }
                }
            }
            wanted.assert_equals(&committed(&receiver));
        }
    }
}
