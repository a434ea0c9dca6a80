//! One sender floods, another one is honest: what runs out is shared.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use promarchive_model::Protocol::{self, V1, V2};
use promarchive_tests::program::{Answer, headers, now_ms};
use promarchive_tests::protobuf::Message;
use promarchive_tests::request::{Request, Series};
use reqwest::Method;

use crate::access::Guarded;

pub(crate) const DAY_MS: i64 = 86_400_000;
pub(crate) const LINES: [(&str, &str, &str); 3] =
    [("flood", "flood", "write"), ("honest", "honest", "write"), ("operator", "operator", "operate")];
pub(crate) const MOST_DECODED: usize = 32 << 20;

pub(crate) fn compressed(body: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(body).unwrap()
}

pub(crate) fn send(guarded: &Guarded, protocol: Protocol, token: &str, body: Vec<u8>) -> Answer {
    let authorization = format!("Bearer {token}");
    let headers = [headers(protocol), &[("Authorization", authorization.as_str())]].concat();
    guarded.receiver.send(Method::POST, "/api/v1/write", &headers, body)
}

/// Bodies that take the most for what they are: more empty series than are looked at; as many as are, and filling; series that are all new.
fn hostile() -> Vec<(Protocol, Vec<u8>)> {
    let empty = [0x0a, 0x00].repeat(MOST_DECODED / 2);
    let mut filled = [0x0a, 0x00].repeat(MOST_DECODED / 8 - 1);
    let filling = MOST_DECODED - filled.len() - 8;
    filled.extend(Message::new().bytes(15, vec![0; filling]).into_bytes());
    let new = |body: usize| {
        let series =
            |at: usize| Series::new(&[("__name__", "flood"), ("at", &format!("{body}-{at}"))]).sample(now_ms(), 1.0);
        compressed(&Request::of((0..100_000).map(series)).encode(V2))
    };
    let mut bodies = vec![(V1, compressed(&empty)), (V1, compressed(&filled))];
    bodies.extend((0..4).map(|body| (V2, new(body))));
    bodies
}

#[test]
fn a_flood_of_the_worst_requests_leaves_room_for_another_sender() {
    const REQUESTS: u64 = 12;
    // What an honest request takes when nobody else is there is a few milliseconds. A machine may be busy with other things.
    const WITHIN: Duration = Duration::from_secs(10);
    let guarded = Guarded::start(&LINES, &[]);
    let bodies = hostile();
    assert!(bodies[0].1.len() < 2 << 20, "{} bytes", bodies[0].1.len());
    let answer = send(&guarded, V1, "flood", bodies[0].1.clone());
    assert!(
        answer.status == 400 && answer.body.contains("more than 4194304 series, samples and other entries"),
        "{answer:?}"
    );

    let (stop, floods) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|threads| {
        for thread in 0..8 {
            let (guarded, bodies, stop, floods) = (&guarded, &bodies, &stop, &floods);
            threads.spawn(move || {
                for (protocol, body) in bodies.iter().cycle().skip(thread) {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    send(guarded, *protocol, "flood", body.clone());
                    floods.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let mut longest = Duration::ZERO;
        for number in 0..REQUESTS {
            // Not before the flood is there.
            while floods.load(Ordering::SeqCst) < number / 2 {
                std::thread::yield_now();
            }
            let series = |at: u64| Series::new(&[("__name__", "honest"), ("at", &at.to_string())]);
            let now = now_ms();
            let request = Request::of((0..2000).map(|at| series(at).sample(now, number as f64)));
            let begun = Instant::now();
            let answer = guarded.write(V1, "honest", None, &request);
            longest = longest.max(begun.elapsed());
            if answer.status != 204 || longest > WITHIN {
                stop.store(true, Ordering::SeqCst);
                panic!("request {number} after {longest:?}: {answer:?}");
            }
        }
        eprintln!("{REQUESTS} requests beside {} of a flood, the longest {longest:?}", floods.load(Ordering::SeqCst));
        stop.store(true, Ordering::SeqCst);
    });
}

/// Requests of one series that has a sample on each of some days.
fn on_days(days: std::ops::Range<i64>) -> Request {
    let today = now_ms() / DAY_MS * DAY_MS;
    Request::of([days.fold(Series::metric("old"), |series, day| series.sample(today - day * DAY_MS, 1.0))])
}

fn files(guarded: &Guarded) -> usize {
    let names = |directory: PathBuf| fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let days = names(guarded.receiver.archive().join("samples")).filter(|path| !path.ends_with("_delta_log"));
    days.flat_map(names).count()
}

#[test]
fn a_sender_of_many_old_days_waits_and_others_do_not() {
    let guarded = Guarded::start(&LINES, &[]);
    // Of one day more than there may be in a request.
    let answer = guarded.write(V2, "flood", None, &on_days(10..523));
    assert!(
        answer.status == 400 && answer.body.contains("too_many_days: the request has samples for 513 days"),
        "{answer:?}"
    );
    let flood = |first: i64| guarded.write(V2, "flood", None, &on_days(first..first + 240));
    assert_eq!(flood(10).status, 204);
    assert_eq!(flood(10).status, 204, "these days have files in the next flush anyway");
    std::thread::scope(|threads| {
        for number in 1..20 {
            let flood = &flood;
            threads.spawn(move || {
                let answer = flood(10 + number * 240);
                let after = answer.header("retry-after").map(|after| after.parse::<u64>().unwrap());
                assert!(answer.status == 503 && after.is_some_and(|after| (1..=30).contains(&after)), "{answer:?}");
            });
        }
        for days in [0..2, 1000..1030] {
            let answer = guarded.write(V2, "honest", None, &on_days(days));
            assert_eq!(answer.status, 204, "{answer:?}");
        }
        assert_eq!(guarded.write(V2, "flood", None, &on_days(0..3)).status, 204, "days that all late samples are of");
    });
    let metrics = guarded.receiver.get("/metrics").body;
    assert!(!metrics.contains("promarchive_flushes_total{result=\"ok\"} 1"), "they wait for the interval: {metrics}");
    assert_eq!(guarded.ask(Method::POST, "/-/flush", "operator").status, 200);
    assert_eq!(files(&guarded), 240 + 30 + 3);
}

/// A backfill is slowed, and ends.
#[test]
fn a_backfill_goes_on() {
    let guarded = Guarded::start(&LINES, &["--flush-interval", "500ms"]);
    for first in (10..410).step_by(40) {
        let begun = Instant::now();
        while guarded.write(V2, "honest", None, &on_days(first..first + 40)).status != 204 {
            assert!(begun.elapsed() < Duration::from_secs(60), "put off for good at day {first}");
        }
    }
    assert_eq!(guarded.ask(Method::POST, "/-/flush", "operator").status, 200);
    assert_eq!(files(&guarded), 400);
}
