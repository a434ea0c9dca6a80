//! Roles, tokens that are not known yet, and who has delivered what.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use promarchive_model::Protocol::{V1, V2};
use promarchive_model::{Protocol, STALE_NAN};
use promarchive_tests::program::{Answer, Receiver, headers, now_ms, wait_for};
use promarchive_tests::prometheus::Prometheus;
use promarchive_tests::readers::Reader;
use promarchive_tests::request::{Request, Series};
use promarchive_tests::tables::{Labels, Tables, set_differences};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::T;

const TAKEN_UP_WITHIN: Duration = Duration::from_secs(20);

fn hash(token: &str) -> String {
    Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A receiver with a tokens file.
pub(crate) struct Guarded {
    pub(crate) receiver: Receiver,
    file: PathBuf,
    _directory: tempfile::TempDir,
}

impl Guarded {
    pub(crate) fn start(lines: &[(&str, &str, &str)], flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("tokens");
        allow(&file, lines);
        let receiver = Receiver::start(&[&["--tokens", file.to_str().unwrap()], flags].concat());
        Self { receiver, file, _directory: directory }
    }

    /// Kills it; its directory, for the next one.
    pub(crate) fn into_directory(self) -> tempfile::TempDir {
        self.receiver.into_directory()
    }

    pub(crate) fn ask(&self, method: Method, path: &str, token: &str) -> Answer {
        self.receiver.send(method, path, &[("Authorization", &format!("Bearer {token}"))], Vec::new())
    }

    pub(crate) fn write(&self, protocol: Protocol, token: &str, entry: Option<&str>, request: &Request) -> Answer {
        let authorization = format!("Bearer {token}");
        let mut headers = headers(protocol).to_vec();
        headers.push(("Authorization", &authorization));
        headers.extend(entry.map(|entry| ("X-Promarchive-Entry", entry)));
        let body = snap::raw::Encoder::new().compress_vec(&request.encode(protocol)).unwrap();
        self.receiver.send(Method::POST, "/api/v1/write", &headers, body)
    }

    fn deliveries(&self, token: &str) -> Value {
        let answer = self.ask(Method::GET, "/api/v1/deliveries", token);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{answer:?}");
        serde_json::from_str(&answer.body).unwrap()
    }
}

fn allow(file: &Path, lines: &[(&str, &str, &str)]) {
    let lines = lines.iter().map(|(name, token, role)| format!("{name} {} {role}\n", hash(token)));
    // As Kubernetes does it: all at once.
    let next = file.with_extension("next");
    fs::write(&next, format!("# who may\n{}", lines.collect::<String>())).unwrap();
    fs::rename(next, file).unwrap();
}

const OPERATING: [(Method, &str); 2] = [(Method::POST, "/-/flush"), (Method::GET, "/api/v1/deliveries")];

fn up(timestamp: i64) -> Request {
    Request::of([Series::metric("up").sample(timestamp, 1.0)])
}

#[test]
fn who_writes_cannot_operate_and_the_other_way_round() {
    let guarded = Guarded::start(&[("team", "writes", ""), ("operator", "operates", "operate")], &[]);
    for (method, path) in OPERATING {
        assert_eq!(guarded.ask(method.clone(), path, "operates").status, 200, "{path}");
        let refused = guarded.ask(method.clone(), path, "writes");
        assert!(refused.status == 403 && refused.is_one_line(), "{refused:?}");
        assert!(refused.body.contains("needs a token with the role operate, but the token has write"), "{refused:?}");
        assert!(refused.body.contains("\"NAME SHA256 write,operate\""), "{refused:?}");
        assert_eq!(guarded.ask(method, path, "nobody's").status, 401, "{path}");
    }
    for protocol in [V1, V2] {
        assert_eq!(guarded.write(protocol, "writes", None, &up(T)).status, 204);
        let refused = guarded.write(protocol, "operates", None, &up(T + 1));
        assert!(
            refused.status == 403
                && refused.is_one_line()
                && refused.body.contains("needs a token with the role write"),
            "{refused:?}"
        );
    }
    guarded.ask(Method::POST, "/-/flush", "operates");
    let mut wanted = Tables::default();
    wanted.add(V1, &up(T));
    wanted.assert_equals(&Tables::read(Reader::DuckDb, &guarded.receiver.archive()));
    assert!(!guarded.receiver.log().contains("no roles"), "{}", guarded.receiver.log());
}

#[test]
fn a_file_of_an_earlier_version_lets_nobody_operate_and_the_log_says_what_to_add() {
    let guarded = Guarded::start(&[("team", "writes", ""), ("other", "too", "write")], &[]);
    for token in ["writes", "too"] {
        for (method, path) in OPERATING {
            assert_eq!(guarded.ask(method, path, token).status, 403, "{token} {path}");
        }
        assert_eq!(guarded.write(V2, token, None, &up(T)).status, 204, "{token}");
        let metrics = guarded.ask(Method::GET, "/metrics", token);
        assert!(metrics.status == 200 && !metrics.body.contains("sender="), "{metrics:?}");
    }
    let warning = |log: &str| log.matches("1 of 2 tokens have no roles, so they have only the role write").count();
    let log = guarded.receiver.log();
    assert!(warning(&log) == 1 && log.contains("NAME SHA256 operate"), "{log}");

    // And again when it has changed, until somebody may.
    allow(&guarded.file, &[("team", "writes", ""), ("other", "new", "write")]);
    let warned = || (warning(&guarded.receiver.log()) == 2).then_some(());
    assert!(wait_for(TAKEN_UP_WITHIN, warned).is_some(), "{}", guarded.receiver.log());
    allow(&guarded.file, &[("team", "writes", ""), ("other", "new", "write,operate")]);
    let may = || (guarded.ask(Method::POST, "/-/flush", "new").status == 200).then_some(());
    assert!(wait_for(TAKEN_UP_WITHIN, may).is_some(), "{}", guarded.receiver.log());
    assert_eq!(warning(&guarded.receiver.log()), 2);
}

#[test]
fn every_role_opens_its_own_paths_and_no_other() {
    let lines = [
        ("w", "write", "write"),
        ("p", "push", "push"),
        ("r", "read", "read"),
        ("n", "runs", "runs"),
        ("o", "operate", "operate"),
        ("a", "all", "operate,runs,read,push,write"),
    ];
    let guarded = Guarded::start(&lines, &[]);
    for (at, (_, token, _)) in (T..).zip(lines) {
        let expected = |role: &str| if [role, "all"].contains(&token) { 200 } else { 403 };
        for (method, path) in OPERATING {
            assert_eq!(guarded.ask(method, path, token).status, expected("operate"), "{token} {path}");
        }
        assert_eq!(guarded.ask(Method::GET, "/receive", token).status, expected("write"), "{token}");
        let written = guarded.write(V2, token, None, &up(at));
        let expected = if expected("write") == 200 { 204 } else { 403 };
        assert_eq!(written.status, expected, "{token} {written:?}");
        // There is no such path, which every token may know.
        assert_eq!(guarded.ask(Method::GET, "/no/such/path", token).status, 404, "{token}");
    }
    let known = &guarded.deliveries("all")["senders"];
    assert_eq!(known.as_array().unwrap().iter().map(|sender| &sender["name"]).collect::<Vec<_>>(), ["a", "w"]);
}

#[test]
fn a_token_that_is_not_known_yet_waits_and_one_that_is_gone_is_out() {
    let guarded = Guarded::start(&[], &["--unknown-tokens", "retry"]);
    assert_eq!(guarded.receiver.get("/-/ready").status, 200, "an archive without senders");
    for protocol in [V1, V2] {
        for token in ["early", ""] {
            let answer = guarded.write(protocol, token, None, &up(T));
            assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{answer:?}");
            assert!(answer.is_one_line() && answer.body.contains("token of this request is unknown"), "{answer:?}");
        }
    }
    for (method, path) in [(Method::POST, "/-/flush"), (Method::GET, "/api/v1/deliveries"), (Method::GET, "/receive")] {
        assert_eq!(guarded.ask(method, path, "early").status, 401, "nothing is lost with {path}");
    }
    let metrics = guarded.receiver.get("/metrics").body;
    assert!(metrics.contains("\npromarchive_unknown_token_requests_total 7\n"), "{metrics}");

    allow(&guarded.file, &[("team", "early", ""), ("operator", "operates", "operate")]);
    let known = || (guarded.write(V2, "early", None, &up(T)).status == 204).then_some(());
    assert!(wait_for(TAKEN_UP_WITHIN, known).is_some(), "{}", guarded.receiver.log());
    let known = &guarded.deliveries("operates")["senders"];
    assert_eq!(*known, json!([{"name": "team", "tokens": [hash("early")[..8]]}]));

    allow(&guarded.file, &[]);
    let out = || (guarded.write(V2, "early", None, &up(T + 1)).status == 503).then_some(());
    assert!(wait_for(TAKEN_UP_WITHIN, out).is_some(), "the last sender still has access: {}", guarded.receiver.log());
}

#[test]
fn metrics_name_senders_only_to_who_may_ask_for_them() {
    let guarded = Guarded::start(&[("team-a/prometheus", "writes", ""), ("operator", "operates", "operate")], &[]);
    assert_eq!(guarded.write(V2, "writes", None, &up(T)).status, 204);
    let accept = ("Accept", "application/openmetrics-text; version=1.0.0");
    let metrics = |token: &str, headers: &[(&str, &str)]| {
        let authorization = format!("Bearer {token}");
        let headers = [headers, &[("Authorization", &*authorization)]].concat();
        let answer = guarded.receiver.send(Method::GET, "/metrics", &headers, Vec::new());
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.body.contains("promarchive_http_requests_total{"), "{}", answer.body);
        answer.body
    };
    for headers in [&[][..], &[accept]] {
        for token in ["", "unknown", "writes"] {
            let told = metrics(token, headers);
            assert!(
                !told.contains("team-a") && !told.contains("sender=") && !told.contains("_sender_"),
                "{token}: {told}"
            );
        }
        let told = metrics("operates", headers);
        assert!(
            told.contains("promarchive_sender_requests_total{sender=\"team-a/prometheus\",code=\"204\"} 1"),
            "{told}"
        );
    }
    let scraped = guarded.receiver.get("/metrics").body;
    assert!(!scraped.contains("team-a") && scraped.contains("promarchive_samples_received_total"), "{scraped}");
}

#[test]
fn marks_are_by_entry_and_replica_and_count_what_is_durable() {
    let guarded = Guarded::start(&[("team", "writes", ""), ("operator", "operates", "operate")], &[]);
    let started = guarded.deliveries("operates");
    assert_eq!(
        (&started["ready"], &started["reason"], &started["deliveries"]),
        (&json!(true), &Value::Null, &json!([]))
    );
    let [began, writable_since, now] = ["started", "writableSince", "now"].map(|time| started[time].as_i64().unwrap());
    assert!(began <= writable_since && writable_since <= now, "{started}");
    let of = |replica: &str, timestamp: i64| {
        let labels = [("__name__", "up"), ("prometheus_replica", replica)];
        Series::new(&labels).sample(timestamp, 1.0)
    };
    for (entry, request) in [
        (Some("promarchive/a"), Request::of([of("p-0", T + 5), of("p-0", T + 3)])),
        (Some("promarchive/a"), Request::of([of("p-0", T + 9)])),
        (Some("promarchive/b"), Request::of([of("p-0", T + 7), of("p-1", T + 8)])),
        (Some("no entry"), up(T)),
        // Kept in part: what is refused does not count.
        (None, Request::of([of("p-1", T + 6), of("p-1", i64::MAX)])),
    ] {
        let answer = guarded.write(V2, "writes", entry, &request);
        assert!([204, 400].contains(&answer.status), "{answer:?}");
    }
    let mark = |entry: &str, replica: &str, first: i64, newest: i64| {
        json!({"sender": "team", "token": hash("writes")[..8], "entry": entry, "replica": replica,
               "address": "127.0.0.1", "first": first, "newest": newest})
    };
    let mut told = guarded.deliveries("operates");
    for mark in told["deliveries"].as_array_mut().unwrap() {
        let last = mark.as_object_mut().unwrap().remove("lastDelivered").unwrap().as_i64().unwrap();
        assert!((started["now"].as_i64().unwrap()..=now_ms()).contains(&last), "{last}");
    }
    let wanted = [
        mark("", "", T, T),
        mark("", "p-1", T + 6, T + 6),
        mark("promarchive/a", "p-0", T + 3, T + 9),
        mark("promarchive/b", "", T + 7, T + 8),
    ];
    assert_eq!(told["deliveries"], json!(wanted));
    assert_eq!(told["started"], started["started"]);
}

/// What Prometheus is told: to scrape itself, or nothing any more, and to write through an entry with a name.
fn prometheus_config(receiver: &Receiver, target: &str) -> String {
    format!(
        "global:\n  scrape_interval: 500ms\n  external_labels:\n    prometheus_replica: prometheus-lab-0\n\
         remote_write:\n- url: http://{}/api/v1/write\n  name: promarchive/lab\n  \
         protobuf_message: io.prometheus.write.v2.Request\n  headers:\n    X-Promarchive-Entry: promarchive/lab\n  \
         authorization:\n    credentials: late\n  queue_config:\n    batch_send_deadline: 500ms\n\
         scrape_configs:\n- job_name: self\n  static_configs:\n  - targets: [{target}]\n",
        receiver.address(),
    )
}

/// Where its database has float samples, external labels added.
fn places(prometheus: &Prometheus) -> BTreeSet<(Labels, i64)> {
    let all = prometheus.api("query?query=%7B__name__%3D~%22.%2B%22%7D%5B1h%5D");
    let mut places = BTreeSet::new();
    for series in all["result"].as_array().unwrap() {
        let mut labels: Labels = serde_json::from_value(series["metric"].clone()).unwrap();
        labels.insert("prometheus_replica".to_owned(), "prometheus-lab-0".to_owned());
        for sample in series["values"].as_array().unwrap() {
            places.insert((labels.clone(), (sample[0].as_f64().unwrap() * 1000.0).round() as i64));
        }
    }
    places
}

#[test]
fn a_prometheus_loses_nothing_to_a_late_token_and_its_mark_is_what_it_has() {
    let guarded = Guarded::start(&[("operator", "operates", "operate")], &["--unknown-tokens", "retry"]);
    let receiver = &guarded.receiver;
    let prometheus = Prometheus::start(receiver.directory(), &prometheus_config(receiver, ""), "extra-scrape-metrics");
    prometheus.reload(&prometheus_config(receiver, &format!("\"{}\"", prometheus.address)));
    let retried = || {
        let retried = prometheus.metrics().get("prometheus_remote_storage_samples_retried_total").copied();
        retried.filter(|&retried| retried > 0.0)
    };
    assert!(wait_for(TAKEN_UP_WITHIN, retried).is_some(), "nobody turned it away: {}", prometheus.log());

    allow(&guarded.file, &[("lab", "late", ""), ("operator", "operates", "operate")]);
    let marks = || guarded.deliveries("operates")["deliveries"].as_array().unwrap().clone();
    let caught_up = || marks().iter().any(|mark| mark["newest"].as_i64().unwrap() > now_ms() - 2000).then_some(());
    assert!(wait_for(TAKEN_UP_WITHIN, caught_up).is_some(), "{:?}\n{}", marks(), prometheus.log());
    prometheus.reload(&prometheus_config(receiver, ""));
    let still = || {
        let before = marks();
        std::thread::sleep(Duration::from_secs(3));
        (before == marks()).then_some(before)
    };
    let marks = wait_for(TAKEN_UP_WITHIN, still).unwrap_or_else(|| panic!("it goes on: {}", prometheus.log()));

    assert_eq!(guarded.ask(Method::POST, "/-/flush", "operates").status, 200);
    let samples = Tables::read(Reader::DuckDb, &receiver.archive()).samples;
    let first = samples.keys().map(|(_, timestamp)| *timestamp).min().unwrap();
    let newest = samples.keys().map(|(_, timestamp)| *timestamp).max().unwrap();
    let [mark] = marks.as_slice() else { panic!("one mark is wanted: {marks:?}") };
    let told = ["sender", "token", "entry", "replica", "address"].map(|field| mark[field].as_str().unwrap());
    assert_eq!(told, ["lab", &hash("late")[..8], "promarchive/lab", "prometheus-lab-0", "127.0.0.1"]);
    assert_eq!([&mark["first"], &mark["newest"]], [&json!(first), &json!(newest)]);

    let kept = samples.into_iter().filter(|(_, sample)| sample.value != STALE_NAN).map(|(place, _)| place);
    let (has, kept) = (places(&prometheus), kept.collect::<BTreeSet<_>>());
    assert!(has.len() > 1000, "{}", has.len());
    let differences = set_differences("places", &has, &kept);
    assert!(differences.is_empty(), "{} differences: {:?}", differences.len(), differences.first());
    assert_eq!(prometheus.metrics().get("prometheus_remote_storage_samples_failed_total"), Some(&0.0));
}
