use promarchive_api::metrics_archive::PrometheusKind;
use serde_json::{Value, json};

use super::*;

fn verdict(queue: &Value, version: &str, is_foreign: bool) -> Result<(), String> {
    let prometheus = Capabilities::of(PrometheusKind::Prometheus, &json!({"version": version}), None);
    let queue: Queue = serde_json::from_value(queue.clone()).unwrap();
    check(&queue, &prometheus, is_foreign).map_err(|refused| refused.to_string())
}

#[track_caller]
fn expect(queue: &Value, version: &str, is_foreign: bool, problem: &str) {
    match verdict(queue, version, is_foreign) {
        Ok(()) => assert_eq!(problem, "", "{queue} {version} {is_foreign}"),
        Err(found) => {
            assert!(!problem.is_empty() && found.contains(problem), "{queue} {version} {is_foreign}: {found}")
        }
    }
}

/// A queue, and what is said of it in the archive's own namespace and in another one.
#[test]
fn each_field_and_their_products_are_bounded() {
    for (queue, own, foreign) in [
        (json!({}), "", ""),
        (json!({"batchSendDeadline": "5s"}), "", ""),
        (json!({"capacity": 10_000, "maxShards": 50, "maxSamplesPerSend": 2_000, "minShards": 10}), "", ""),
        (json!({"capacity": 20_000, "maxShards": 8, "maxSamplesPerSend": 5_000}), "", ""),
        (json!({"capacity": 30_000, "maxShards": 18}), "", ""),
        // Each by itself.
        (json!({"capacity": 30_001, "maxShards": 1}), "", "queue.capacity: 30001 is greater than 30000"),
        (json!({"capacity": 100_001, "maxShards": 1}), "queue.capacity: 100001 is greater than 100000", "30000"),
        (json!({"maxShards": 51, "capacity": 1}), "", "queue.maxShards: 51 is greater than 50"),
        (json!({"maxShards": 201, "capacity": 1}), "queue.maxShards: 201 is greater than 200", "50"),
        (json!({"minShards": 11}), "", "queue.minShards: 11 is greater than 10"),
        (json!({"maxSamplesPerSend": 5_001, "maxShards": 1}), "", "queue.maxSamplesPerSend: 5001 is greater than 5000"),
        (json!({"maxSamplesPerSend": 20_001, "maxShards": 1}), "queue.maxSamplesPerSend: 20001", "5000"),
        (json!({"capacity": 0}), "queue.capacity: 0 is less than 1", "less than 1"),
        (json!({"minShards": -5}), "queue.minShards: -5 is less than 1", "less than 1"),
        // All of it, with the defaults of what is not said.
        (
            json!({"capacity": 20_000}),
            "",
            "queue.capacity: 20000 samples and 2000 samples in a request of each of 50 shards are 1100000 samples",
        ),
        (json!({"capacity": 30_000, "maxShards": 19}), "", "at most 600000: decrease capacity or maxShards"),
        (json!({"capacity": 100_000, "maxShards": 58}), "", "30000"),
        (
            json!({"capacity": 100_000, "maxShards": 59}),
            "are 6018000 samples. A Prometheus may have at most 6000000",
            "30000",
        ),
        (
            json!({"maxSamplesPerSend": 2_001}),
            "",
            "queue.maxSamplesPerSend: 2001 samples in a request of each of 50 shards are 100050",
        ),
        (json!({"maxSamplesPerSend": 20_000}), "", "5000"),
        (
            json!({"maxSamplesPerSend": 20_000, "maxShards": 51}),
            "are 1020000 samples. A Prometheus may have at most 1000000",
            "maxShards: 51",
        ),
        // As they were found: 10 M capacity, 1,000 shards, 1 M a request.
        (json!({"capacity": 10_000_000}), "queue.capacity", "queue.capacity"),
        (json!({"maxShards": 1_000}), "queue.maxShards", "queue.maxShards"),
        (json!({"maxSamplesPerSend": 1_000_000}), "queue.maxSamplesPerSend", "queue.maxSamplesPerSend"),
        (json!({"capacity": i32::MAX, "maxShards": i32::MAX, "maxSamplesPerSend": i32::MAX}), "capacity", "capacity"),
        (json!({"minShards": 3, "maxShards": 2}), "queue.minShards: 3 is greater than maxShards", "minShards"),
        (json!({"minShards": 60}), "60 is greater than maxShards; increase maxShards too (default: 50)", "10"),
    ] {
        expect(&queue, "3.16", false, own);
        expect(&queue, "3.16", true, foreign);
    }
}

#[test]
fn what_is_not_said_is_what_the_release_does() {
    // 200 shards of 2,500 and 500 in a request.
    expect(&json!({"maxSamplesPerSend": 500}), "2.44", true, "");
    expect(&json!({"maxSamplesPerSend": 501}), "2.44", true, "each of 200 shards");
    expect(&json!({"capacity": 5_000}), "2.44", true, "each of 200 shards are 1100000 samples");
    expect(&json!({"capacity": 5_000}), "2.45", true, "");
    expect(&json!({"capacity": 5_000}), "", true, "");
    expect(&json!({"minShards": 60}), "2.44", false, "default: 50");
}

#[test]
fn a_deadline_is_a_time_that_prometheus_reads_and_a_drain_can_wait_for() {
    let no_time = "invalid duration";
    for (text, own, foreign) in [
        ("5s", "", ""),
        ("1s", "", ""),
        ("10s", "", ""),
        ("1s500ms", "", ""),
        ("0m5s", "", ""),
        ("5000ms", "", ""),
        ("100ms", "", "from 1000ms to 10000ms"),
        ("999ms", "", "from 1000ms"),
        ("99ms", "must be from 100ms to 10000ms for a Prometheus", "from 1000ms"),
        ("0s", "from 100ms", "from 1000ms"),
        ("10s1ms", "to 10000ms", "to 10000ms"),
        ("1m", "to 10000ms", "to 10000ms"),
        ("999999999h", "to 10000ms", "to 10000ms"),
        ("", no_time, no_time),
        ("5", no_time, no_time),
        ("s", no_time, no_time),
        ("5s5s", no_time, no_time),
        ("1s1m", no_time, no_time),
        ("1ms1s", no_time, no_time),
        ("1.5s", no_time, no_time),
        ("1d", no_time, no_time),
        ("-5s", no_time, no_time),
        ("99999999999999999999h", no_time, no_time),
    ] {
        let queue = json!({"batchSendDeadline": text});
        expect(&queue, "3.16", false, own);
        expect(&queue, "3.16", true, foreign);
    }
}
