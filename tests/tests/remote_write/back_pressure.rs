//! Not now: 503 and when to come again. Senders drop what is answered 429, and all other 4xx.

use std::time::Duration;

use promarchive_model::Protocol::V2;
use promarchive_tests::program::{Answer, Receiver, now_ms, wait_for};
use promarchive_tests::request::{Request, Series};
use promarchive_tests::tables::Tables;

use crate::{PROTOCOLS, T, committed};

/// About a third of a MiB that does not compress.
fn noise(number: u64) -> Request {
    let mut state = number + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state ^ state >> 29
    };
    let timestamp = T + i64::try_from(number).unwrap() * 100_000;
    let series = Series::new(&[("__name__", "noise"), ("number", &number.to_string())]);
    // Below 2^62: no NaN, of which one could be a stale marker.
    Request::of([(0..30_000).fold(series, |series, n| series.bits(timestamp + n, next() >> 2))])
}

fn assert_later(answer: &Answer, version_2: bool) {
    assert_eq!(answer.status, 503, "{answer:?}");
    let after: u64 = answer.header("retry-after").expect("Retry-After").parse().unwrap();
    assert!((1..=30).contains(&after), "{answer:?}");
    assert!(answer.is_one_line(), "{answer:?}");
    assert_eq!(answer.written(), version_2.then_some([0, 0, 0]), "{answer:?}");
}

#[test]
fn a_full_wal_puts_writers_off_and_loses_nothing() {
    let receiver = Receiver::start(&["--wal-max-bytes", "1Mi"]);
    let mut wanted = Tables::default();
    for (number, protocol) in (0..10).zip(PROTOCOLS.into_iter().cycle()) {
        let request = noise(number);
        // It goes on by itself: a flush starts, and the WAL shrinks.
        let accepted = wait_for(Duration::from_secs(30), || {
            let answer = receiver.write(protocol, &request);
            if answer.status != 204 {
                assert_later(&answer, protocol == V2);
            }
            (answer.status == 204).then_some(())
        });
        assert!(accepted.is_some(), "put off for good:\n{}", receiver.log());
        wanted.add(protocol, &request);
    }
    let metrics = receiver.get("/metrics").body;
    let (_, flushes) = metrics.split_once("promarchive_flushes_total{result=\"ok\"} ").unwrap();
    assert_ne!(flushes.lines().next(), Some("0"), "3 MiB went through a WAL of 1 MiB without a flush");
    assert_eq!(receiver.get("/-/ready").status, 200, "a full WAL is no fault");
    wanted.assert_equals(&committed(&receiver));
}

/// Memory that is short asks for flushes all the time; those that fail are tried again with growing pauses all the same.
#[test]
fn failing_flushes_keep_their_pauses_when_memory_is_short() {
    let limits = ["--max-request-bytes", "64Ki", "--max-decoded-bytes", "64Ki", "--memory-limit", "1Mi"];
    let receiver = Receiver::start_with(&limits, &[("PROMARCHIVE_FAILPOINT", "flush-start=errors")]);
    let full = wait_for(Duration::from_secs(30), || {
        let timestamp = now_ms();
        let series =
            |n: i64| Series::new(&[("__name__", "wide"), ("number", &format!("{timestamp} {n}"))]).sample(T, 1.0);
        let answer = receiver.write(V2, &Request::of((0..500).map(series)));
        (answer.status == 503 && answer.body.contains("memory is at")).then_some(())
    });
    assert!(full.is_some(), "{}", receiver.log());
    let failed = || {
        let metrics = receiver.get("/metrics").body;
        let (_, count) = metrics.split_once("promarchive_flushes_total{result=\"failed\"} ").unwrap();
        count.lines().next().unwrap().parse::<u32>().unwrap()
    };
    let before = failed();
    std::thread::sleep(Duration::from_secs(4));
    // 0.5, 1, 2 and 4 s of pause.
    let failed = failed() - before;
    assert!((1..=4).contains(&failed), "{failed} flushes in 4 s");
    assert!(receiver.get("/-/ready").body.contains("fail point flush-start"));
}
