//! The receiver's own metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use promarchive_model::Protocol::{V1, V2};
use promarchive_tests::program::{Receiver, go_tool, promarchive};
use promarchive_tests::request::{Request, Series};
use reqwest::Method;

use crate::T;

/// promtool's opinion of a text; nothing when it is content.
fn promtool(text: &str) -> String {
    let mut command = Command::new(go_tool("promtool"));
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    if output.status.success() {
        String::new()
    } else {
        format!("{}: {}", output.status, String::from_utf8_lossy(&said))
    }
}

/// Series of the text by their label values, and the values of each label name.
fn series(text: &str) -> (BTreeMap<String, f64>, BTreeMap<String, BTreeSet<String>>) {
    let (mut series, mut labels) = (BTreeMap::new(), BTreeMap::<String, BTreeSet<String>>::new());
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        series.insert(name.to_owned(), value.parse().unwrap());
        let Some((_, inside)) = name.split_once('{') else { continue };
        for pair in inside.trim_end_matches('}').split(',') {
            let (label, value) = pair.split_once('=').unwrap();
            labels.entry(label.to_owned()).or_default().insert(value.to_owned());
        }
    }
    (series, labels)
}

#[test]
fn promtool_has_nothing_to_say() {
    let receiver = Receiver::start(&[]);
    for protocol in [V1, V2] {
        let bad = Series::new(&[("job", "no name")]).sample(T, 1.0);
        receiver.write(protocol, &Request::of([Series::metric("up").sample(T, 1.0), bad]));
    }
    receiver.flush();
    let answer = receiver.get("/metrics");
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(promtool(&answer.body), "", "{}", answer.body);
    assert_ne!(promtool("bad_metric_without_help 1\n"), "", "promtool finds what is wrong");

    let accept = [("Accept", "application/openmetrics-text; version=1.0.0")];
    let open = receiver.send(Method::GET, "/metrics", &accept, Vec::new());
    assert!(open.header("content-type").unwrap().starts_with("application/openmetrics-text"), "{open:?}");
    assert!(open.body.ends_with("# EOF\n"), "{}", open.body);
}

#[test]
fn requests_samples_and_commits_are_counted() {
    let receiver = Receiver::start(&[]);
    let exemplar = Series::metric("e").exemplar(T, 1.0, &[]);
    receiver.write(V1, &Request::of([Series::metric("a").sample(T, 1.0).sample(T + 1, 1.0), exemplar]));
    receiver.write(
        V2,
        &Request::of([Series::metric("b").sample(T, 1.0).sample(T, 1.0).sample(T + 1, 1.0).sample(T + 1, 2.0)]),
    );
    receiver.flush();
    let (series, _) = series(&receiver.get("/metrics").body);
    for (name, value) in [
        ("promarchive_samples_received_total{protocol=\"v1\"}", 2.0),
        ("promarchive_samples_received_total{protocol=\"v2\"}", 4.0),
        ("promarchive_exemplars_received_total{protocol=\"v1\"}", 1.0),
        ("promarchive_http_requests_total{path=\"/api/v1/write\",method=\"POST\",code=\"204\"}", 2.0),
        ("promarchive_flush_rows_total{table=\"samples\"}", 4.0),
        ("promarchive_flush_rows_total{table=\"exemplars\"}", 1.0),
        ("promarchive_duplicates_total", 1.0),
        ("promarchive_conflicting_samples_total", 1.0),
        ("promarchive_flushes_total{result=\"ok\"}", 1.0),
        ("promarchive_flushes_total{result=\"failed\"}", 0.0),
    ] {
        assert_eq!(series.get(name), Some(&value), "{name}");
    }
}

#[test]
fn no_label_grows_with_what_is_sent() {
    let receiver = Receiver::start(&[]);
    let send = |from: usize| {
        for n in from..from + 20 {
            let good =
                Series::new(&[("__name__", format!("metric_{n}")), ("instance", format!("i{n}"))]).sample(T, 1.0);
            let bad = Series::new(&[("job", format!("job_{n}"))]).sample(T, 1.0);
            receiver.write(V2, &Request::of([good, bad]));
            let method = Method::from_bytes(format!("METHOD{n}").as_bytes()).unwrap();
            receiver.send(
                method,
                &format!("/path/{n}?query={n}"),
                &[("User-Agent", &format!("agent/{n}"))],
                Vec::new(),
            );
        }
        receiver.flush();
        series(&receiver.get("/metrics").body)
    };
    send(0);
    let (before, _) = send(100);
    let (after, labels) = send(200);
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    let names: Vec<&str> = labels.keys().map(String::as_str).collect();
    let known = [
        "code",
        "file",
        "le",
        "method",
        "operation",
        "path",
        "protocol",
        "reason",
        "result",
        "status",
        "table",
        "version",
    ];
    assert!(names.iter().all(|name| known.contains(name)), "{names:?}");
}

#[test]
fn limits_the_size_of_the_archive_and_the_process_are_told() {
    let mut receiver = Receiver::start(&["--wal-max-bytes", "1Gi"]);
    receiver.write(V1, &Request::of([Series::metric("a").sample(T, 1.0).sample(T + 1, 1.0)]));
    receiver.flush();
    // The second row takes the place of the first: the file is written again.
    receiver.write(V1, &Request::of([Series::metric("a").sample(T, 2.0), Series::metric("b").sample(T, 1.0)]));
    receiver.flush();
    for start in ["counted by flushes", "counted at the start"] {
        let (series, _) = series(&receiver.get("/metrics").body);
        for (name, value) in [
            ("promarchive_ready", 1.0),
            ("promarchive_wal_limit_bytes", f64::from(1 << 30)),
            ("promarchive_memory_limit_bytes", f64::from(704 << 20)),
            ("promarchive_archive_files{table=\"samples\"}", 2.0),
            ("promarchive_archive_files{table=\"histograms\"}", 0.0),
        ] {
            assert_eq!(series.get(name), Some(&value), "{name}, {start}");
        }
        for name in [
            "promarchive_archive_bytes{table=\"samples\"}",
            "promarchive_disk_free_bytes",
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_max_fds",
            "process_start_time_seconds",
        ] {
            assert!(series.get(name).is_some_and(|&value| value > 0.0), "{name}, {start}");
        }
        receiver.terminate();
        receiver = Receiver::start_in(receiver.into_directory(), &["--wal-max-bytes", "1Gi"], &[]);
    }
}

#[test]
fn timestamps_of_1970_are_kept_counted_and_told() {
    let receiver = Receiver::start(&[]);
    let odd = Series::metric("a").sample(0, 1.0).sample(T / 1000, 1.0).sample(T, 1.0);
    assert_eq!(receiver.write(V1, &Request::of([odd])).status, 204);
    assert_eq!(receiver.write(V1, &Request::of([Series::metric("a").sample(1, 1.0)])).status, 204);
    let (series, _) = series(&receiver.get("/metrics").body);
    assert_eq!(series["promarchive_suspicious_timestamps_total"], 3.0);
    let log = receiver.log();
    assert_eq!(log.matches("timestamps in 1970").count(), 1, "{log}");
    assert!(log.contains("sender=\"127.0.0.1\"") && !log.contains("count="), "{log}");
    receiver.flush();
    let inspect = |output: &str| {
        let mut command = Command::new(promarchive());
        let inspected = command.args(["inspect", "--output", output]).arg(receiver.archive()).output().unwrap();
        assert!(inspected.status.success(), "{inspected:?}");
        String::from_utf8(inspected.stdout).unwrap()
    };
    let text = inspect("table");
    let note = "Note: samples has 3 rows of 2 days before the year 2000 (1970-01-01 to 1970-01-20)";
    assert!(text.contains(note), "{text}");
    let json: serde_json::Value = serde_json::from_str(&inspect("json")).unwrap();
    let told = serde_json::json!({"rows": 3, "dates": 2, "firstDate": "1970-01-01", "lastDate": "1970-01-20"});
    assert_eq!(json["tables"][0]["before2000"], told, "{json}");
    assert!(json["tables"][1]["before2000"].is_null(), "{json}");
}
