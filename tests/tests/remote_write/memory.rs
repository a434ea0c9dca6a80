//! One sender takes memory with a few small requests: it is bounded, shared, and comes back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use promarchive_model::Protocol::{V1, V2};
use promarchive_tests::program::now_ms;
use promarchive_tests::protobuf::Message;
use promarchive_tests::request::{Request, Series};
use reqwest::Method;

use crate::access::Guarded;
use crate::shares::{DAY_MS, LINES, MOST_DECODED, compressed, send};

/// A 2.0 request of so many series without samples, twelve bytes each: pairs of a few texts.
fn without_samples(series: u64, round: u64) -> Vec<u8> {
    const TEXTS: u64 = 1800;
    let mut body = Message::new();
    for text in ["", "__name__", "flood", "a", "b", "round"] {
        body = body.bytes(4, text.as_bytes());
    }
    body = body.bytes(4, round.to_string().as_bytes());
    for text in 0..TEXTS {
        body = body.bytes(4, format!("text-{text}").as_bytes());
    }
    let mut body = body.into_bytes();
    let varint = |number: u64| {
        let low = (number & 0x7f) as u8;
        if number < 0x80 { vec![low] } else { vec![low | 0x80, (number >> 7) as u8] }
    };
    for at in 0..series {
        let pair = [varint(7 + at / TEXTS), vec![4], varint(7 + at % TEXTS)].concat();
        let refs = [&[1, 2, 3][..], &pair, &[5, 6]].concat();
        body.extend([0x2a, refs.len() as u8 + 2, 0x0a, refs.len() as u8]);
        body.extend(refs);
    }
    assert!(body.len() < MOST_DECODED, "{} bytes", body.len());
    compressed(&body)
}

#[test]
fn a_flood_of_new_series_takes_half_of_memory_and_gives_it_back() {
    const MIB: f64 = 1_048_576.0;
    let guarded = Guarded::start(&LINES, &["--memory-limit", "1Gi"]);
    let honest = |round: u64| {
        let series = |at: u64| Series::new(&[("__name__", "honest"), ("at", &format!("{round}-{at}"))]);
        guarded.write(V1, "honest", None, &Request::of((0..200).map(|at| series(at).sample(now_ms(), 1.0))))
    };
    let flush = || assert_eq!(guarded.ask(Method::POST, "/-/flush", "operator").status, 200);
    assert_eq!(honest(0).status, 204);
    let answer = send(&guarded, V2, "flood", without_samples(2_200_000, 1));
    assert!(
        answer.status == 400 && answer.body.contains("the new series in this request need more than"),
        "{answer:?}"
    );
    let answer = send(&guarded, V2, "flood", without_samples(100_000, 2));
    assert!(
        answer.status == 503 && answer.body.contains("not enough memory for more new series of this sender"),
        "{answer:?}"
    );
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    assert_eq!(honest(1).status, 204, "others make series known all the same");
    // A series that was just named stays for one flush.
    for round in 2..5 {
        flush();
        assert_eq!(honest(round).status, 204);
    }
    // Gauges are set twice a second.
    let until = Instant::now() + Duration::from_secs(20);
    while guarded.receiver.metric("promarchive_series") > 1000.0 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(100));
    }
    let (series, memory) =
        (guarded.receiver.metric("promarchive_series"), guarded.receiver.metric("promarchive_memory_bytes") / MIB);
    eprintln!("{series} series and {memory:.0} MiB are left");
    assert!(series <= 1000.0, "{series} series");
    assert!(memory < 160.0, "{memory} MiB");
    flush();
    assert_eq!(send(&guarded, V2, "flood", without_samples(100_000, 3)).status, 204, "it may again");
}

/// Requests that wait for room of their own sender hold nothing of what others are decoded with.
#[test]
fn who_waits_for_days_of_its_own_does_not_keep_others_from_being_decoded() {
    const REQUESTS: u32 = 8;
    let guarded = Guarded::start(&LINES, &["--memory-limit", "512Mi"]);
    let today = now_ms() / DAY_MS * DAY_MS;
    let flood = |number: i64| {
        let days = 10 + number * 240..10 + (number + 1) * 240;
        let series = days.fold(Series::metric("old"), |series, day| series.sample(today - day * DAY_MS, 1.0));
        let mut body = Request::of([series]).encode(V1);
        let filling = MOST_DECODED - body.len() - 8;
        body.extend(Message::new().bytes(15, vec![0; filling]).into_bytes());
        send(&guarded, V1, "flood", compressed(&body))
    };
    assert_eq!(flood(0).status, 204);
    let (stop, waiting) = (AtomicBool::new(false), AtomicBool::new(false));
    let took = std::thread::scope(|threads| {
        for number in 1..5 {
            let (flood, stop, waiting) = (&flood, &stop, &waiting);
            threads.spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let answer = flood(number);
                    waiting.store(true, Ordering::SeqCst);
                    assert_eq!(answer.status, 503, "{answer:?}");
                }
            });
        }
        while !waiting.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let begun = Instant::now();
        for number in 0..REQUESTS {
            let request = Request::of([Series::metric("honest").sample(now_ms(), f64::from(number))]);
            let answer = guarded.write(V1, "honest", None, &request);
            stop.fetch_or(answer.status != 204, Ordering::SeqCst);
            assert_eq!(answer.status, 204, "{answer:?}");
        }
        stop.store(true, Ordering::SeqCst);
        begun.elapsed()
    });
    eprintln!("{REQUESTS} requests took {took:?}");
    // Each waited for one of the flood's, which wait for five seconds.
    assert!(took < Duration::from_secs(10), "{REQUESTS} requests took {took:?}");
}

/// On the wire a bucket is a byte, and a histogram may be eight: in memory both are far more.
#[test]
fn histograms_that_take_far_more_memory_than_bytes_are_refused_by_name() {
    let guarded = Guarded::start(&LINES, &["--memory-limit", "256Mi"]);
    let series = |histograms: Message| {
        let label = Message::new().bytes(1, b"__name__".as_slice()).bytes(2, b"h".as_slice());
        let series = Message::new().message(1, label).raw(&histograms.into_bytes());
        compressed(&Message::new().message(1, series).into_bytes())
    };
    let buckets = 30_000_000;
    let large = Message::new()
        .message(11, Message::new().unsigned(2, buckets))
        .bytes(12, vec![0; usize::try_from(buckets).unwrap()])
        .signed(15, now_ms());
    let small = Message::new().signed(15, now_ms()).into_bytes();
    let many = (0..1_000_000).fold(Message::new(), |all, _| all.bytes(4, &small));
    for (histograms, wants) in [(Message::new().message(4, large), "request_limit"), (many, "request_limit")] {
        let body = series(histograms);
        assert!(body.len() < 4 << 20, "{} bytes", body.len());
        let answer = send(&guarded, V1, "flood", body);
        assert!(answer.status == 400 && answer.body.contains(wants), "{answer:?}");
    }
    assert_eq!(guarded.ask(Method::POST, "/-/flush", "operator").status, 200);
    let resident = guarded.receiver.metric("process_resident_memory_bytes") / 1_048_576.0;
    eprintln!("{resident:.0} MiB resident");
    assert!(resident < 416.0, "{resident} MiB");
}

/// What is known of metadata stays for two days.
#[test]
fn a_flood_of_metadata_is_bounded_and_does_not_stay() {
    let guarded = Guarded::start(&LINES, &["--memory-limit", "256Mi"]);
    for round in 0..4 {
        let entries = (0..200_000).fold(Message::new(), |all, at| {
            all.message(3, Message::new().unsigned(1, 1).bytes(2, format!("m{round}_{at}").as_bytes()))
        });
        let answer = send(&guarded, V1, "flood", compressed(&entries.into_bytes()));
        assert!(matches!(answer.status, 204 | 400 | 503), "{answer:?}");
        assert_eq!(guarded.ask(Method::POST, "/-/flush", "operator").status, 200);
    }
    std::thread::sleep(Duration::from_secs(2));
    let memory = guarded.receiver.metric("promarchive_memory_bytes") / 1_048_576.0;
    eprintln!("{memory:.0} MiB are left");
    assert!(memory < 32.0, "{memory} MiB");
}
