//! Senders that are told apart in the rows, and samples that are too old: decided once, and at a replay as it was decided.

use promarchive_model::Protocol::V2;
use promarchive_tests::program::{Receiver, now_ms};
use promarchive_tests::readers::Reader;
use promarchive_tests::request::{Request, Series, integer_histogram};
use promarchive_tests::tables::Tables;
use reqwest::Method;

use crate::access::Guarded;
use crate::{PROTOCOLS, T};

const DAY_MS: i64 = 86_400_000;
const SENDERS: [(&str, &str); 2] = [("Prometheus/team-a/k8s", "one"), ("Prometheus/team-b/k8s", "two")];
const LINES: [(&str, &str, &str); 2] =
    [(SENDERS[0].0, SENDERS[0].1, "write,operate"), (SENDERS[1].0, SENDERS[1].1, "write")];

/// The same series from both, with another value; the second one claims to be the first.
fn sent(at: i64, value: f64, forged: bool) -> Request {
    let labels = |metric: &'static str| {
        let mut labels = vec![("__name__", metric), ("job", "a"), ("zone", "z")];
        if forged {
            labels.insert(2, ("sender", SENDERS[0].0));
        }
        Series::new(&labels)
    };
    Request::of([
        labels("requests_total").sample(at, value).exemplar(at, value, &[("trace_id", "1")]),
        labels("latency_seconds").histogram(integer_histogram(at)),
    ])
}

/// What the tables are to have of it.
fn kept(at: i64, value: f64, sender: &str) -> Request {
    let mut request = sent(at, value, false);
    for series in &mut request.series {
        series.labels.push((b"sender".to_vec(), sender.as_bytes().to_vec()));
    }
    request
}

#[test]
fn two_senders_of_one_series_are_two_series_also_after_a_replay() {
    for protocol in PROTOCOLS {
        let guarded = Guarded::start(&LINES, &["--sender-label", "sender"]);
        let mut wanted = Tables::default();
        // Twice: series that are new, and series that are known.
        for at in [T, T + 1000] {
            for (value, (sender, token)) in [1.0, 2.0].into_iter().zip(SENDERS) {
                let answer = guarded.write(protocol, token, None, &sent(at, value, token == "two"));
                assert_eq!(answer.status, 204, "{answer:?}");
                wanted.add(protocol, &kept(at, value, sender));
            }
            if at == T {
                assert_eq!(guarded.ask(Method::POST, "/-/flush", "one").status, 200);
            }
        }
        // Killed: all of it is in the write-ahead log alone. The next one is not told to set any label.
        let receiver = Receiver::start_in(guarded.into_directory(), &[], &[]);
        let unnamed = sent(T + 2000, 3.0, false);
        assert_eq!(receiver.write(protocol, &unnamed).status, 204);
        wanted.add(protocol, &unnamed);
        receiver.flush();
        wanted.assert_equals(&Tables::read(Reader::DuckDb, &receiver.archive()));
        assert_eq!(wanted.samples.len(), 5);
    }
}

#[test]
fn samples_that_are_too_old_are_refused_by_name_and_stay_refused() {
    let receiver = Receiver::start(&["--max-past", "2d"]);
    let now = now_ms();
    let old = Series::metric("old").sample(now - 3 * DAY_MS, 1.0).sample(now - DAY_MS, 2.0);
    let answer = receiver.write(V2, &Request::of([old]));
    assert_eq!((answer.status, answer.written()), (400, Some([1, 0, 0])), "{answer:?}");
    assert!(answer.body.contains("1 of 2 entries refused: timestamp_too_old"), "{answer:?}");
    let metrics = receiver.get("/metrics").body;
    assert!(metrics.contains(r#"promarchive_refused_total{reason="timestamp_too_old"} 1"#), "{metrics}");

    // A receiver without the limit replays what this one has taken, and nothing else.
    let receiver = Receiver::start_in(receiver.into_directory(), &[], &[]);
    let older = Series::metric("older").sample(now - 30 * DAY_MS, 3.0);
    assert_eq!(receiver.write(V2, &Request::of([older.clone()])).status, 204);
    // And one with it replays what that one has taken.
    let receiver = Receiver::start_in(receiver.into_directory(), &["--max-past", "1d"], &[]);
    receiver.flush();
    let mut wanted = Tables::default();
    wanted.add(V2, &Request::of([Series::metric("old").sample(now - DAY_MS, 2.0), older]));
    wanted.assert_equals(&Tables::read(Reader::DuckDb, &receiver.archive()));
}
