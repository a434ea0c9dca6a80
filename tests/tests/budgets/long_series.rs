//! What a flush and a start take does not depend on how many samples a series has, or on how many series came lately.

use std::process::Command;
use std::sync::PoisonError;

use promarchive_model::Protocol::V1;
use promarchive_tests::program::{Receiver, promarchive};
use promarchive_tests::request::{Request, Series};

use crate::{BEYOND_LIMIT, MEMORY_LIMIT, ONE_AT_A_TIME};

const T: i64 = 1_764_500_000_000;
const MIB: u64 = 1 << 20;

fn start(directory: Option<tempfile::TempDir>) -> Receiver {
    let directory = directory.unwrap_or_else(|| tempfile::tempdir().unwrap());
    Receiver::start_in(directory, &["--memory-limit", &MEMORY_LIMIT.to_string()], &[])
}

fn assert_within_limit(receiver: &Receiver, what: &str) {
    let (peak, most) = (receiver.peak_memory(), MEMORY_LIMIT + BEYOND_LIMIT);
    eprintln!("{what}: {} MiB resident at most", peak / MIB);
    assert!(peak <= most, "{what}: {} MiB resident, more than {} MiB\n{}", peak / MIB, most / MIB, receiver.log());
}

/// Waits for the next flush where there is no room.
fn write(receiver: &Receiver, request: &Request) {
    loop {
        let answer = receiver.write(V1, request);
        if answer.status == 204 {
            return;
        }
        assert_eq!(answer.status, 503, "{answer:?}");
        receiver.flush();
    }
}

/// Eight million samples take 200 MB unpacked. Some of them come again, and then all of them with a greater value.
#[test]
fn a_series_of_millions_of_samples() {
    const REQUESTS: i64 = 80;
    const SAMPLES: i64 = 100_000;
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut receiver = start(None);
    let all_with = |receiver: &Receiver, value: f64| {
        for request in 0..REQUESTS {
            let times = (0..SAMPLES).map(|sample| T + request * SAMPLES + sample);
            write(
                receiver,
                &Request::of([times.fold(Series::metric("long"), |series, time| series.sample(time, value))]),
            );
        }
        receiver.flush();
    };
    all_with(&receiver, 1.0);
    assert_within_limit(&receiver, "millions of samples");

    let again = Series::metric("long").sample(T + 5, 1.0).sample(T + (REQUESTS - 1) * SAMPLES, 1.0).sample(T + 7, 1.0);
    write(&receiver, &Request::of([again]));
    assert_eq!(receiver.flush()["duplicates"], 3);
    assert_within_limit(&receiver, "some of them again");

    all_with(&receiver, 2.0);
    assert_within_limit(&receiver, "all of them with a greater value");
    assert!(receiver.terminate().success());

    let asked = |arguments: &[&str]| {
        let output = Command::new(promarchive()).args(arguments).arg(receiver.archive()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let verified = asked(&["verify"]);
    assert!(verified.contains("sound: 0 errors"), "{verified}");
    let inspected: serde_json::Value = serde_json::from_str(&asked(&["inspect", "--output", "json"])).unwrap();
    assert_eq!(inspected["tables"][0]["rows"], REQUESTS * SAMPLES, "{inspected}");

    let receiver = start(Some(receiver.into_directory()));
    assert_within_limit(&receiver, "a start");
}

/// New series come and go, and each flush lets those before it be forgotten. The labels of all of them do not fit into memory.
#[test]
fn a_start_after_many_series_that_are_gone() {
    const ROUNDS: usize = 8;
    const SERIES: usize = 12_000;
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut receiver = start(None);
    for round in 0..ROUNDS {
        for part in 0..SERIES / 1_000 {
            let series = (0..1_000).map(|at| {
                let value = format!("{round}-{part}-{at}-{}", "x".repeat(2_000));
                Series::new(&[("__name__", "churn"), ("value", &value)]).sample(T + round as i64, 1.0)
            });
            write(&receiver, &Request::of(series));
        }
        receiver.flush();
    }
    assert_within_limit(&receiver, "series that come and go");
    assert!(receiver.terminate().success());
    let receiver = start(Some(receiver.into_directory()));
    assert_within_limit(&receiver, "a start after them");
    assert!(receiver.log().contains("do not fit into memory"), "{}", receiver.log());
}
