//! Which answer each request gets: the negotiation table, status codes, headers.

use super::client::{V1, V2, exchange, head, post};
use super::*;

#[tokio::test]
async fn the_negotiation_table() {
    let target = Script::default();
    let server = start(settings(), target.clone()).await;
    let v1 = "application/x-protobuf;proto=prometheus.WriteRequest";
    let v2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    for (kind, encoding, wants) in [
        (None, None, Ok(Protocol::V1)),
        (Some(""), None, Ok(Protocol::V1)),
        (Some("application/x-protobuf"), Some("snappy"), Ok(Protocol::V1)),
        (Some(v1), Some("snappy"), Ok(Protocol::V1)),
        (Some(v2), Some("snappy"), Ok(Protocol::V2)),
        (Some(v2), None, Ok(Protocol::V2)),
        (Some("application/x-protobuf; proto=io.prometheus.write.v2.Request"), None, Ok(Protocol::V2)),
        (Some("application/x-protobuf;proto=other"), None, Err(415)),
        (Some("application/x-protobuf;proto"), None, Err(415)),
        (Some("application/json"), None, Err(415)),
        (Some(v1), Some("gzip"), Err(415)),
        (Some(v1), Some("zstd"), Err(415)),
        (Some(v2), Some("deflate"), Err(415)),
    ] {
        let header =
            |name: &str, value: Option<&str>| value.map_or(String::new(), |value| format!("{name}: {value}\r\n"));
        // Never decides.
        let mut headers = String::from("X-Prometheus-Remote-Write-Version: 2.0.0\r\n");
        headers += &header("Content-Type", kind);
        headers += &header("Content-Encoding", encoding);
        let before = target.seen().len();
        let answer = exchange(server.address, post("/api/v1/write", &headers, b"body")).await;
        match wants {
            Ok(protocol) => {
                assert_eq!(answer.status, 204, "{headers}");
                assert_eq!(target.seen().last(), Some(&(protocol, Bytes::from("body"))), "{headers}");
                assert_eq!(answer.written().is_some(), protocol == Protocol::V2, "{headers}");
                assert_eq!(answer.body, "");
            }
            Err(status) => {
                assert_eq!((answer.status, answer.written()), (status, None), "{headers}");
                assert!(answer.is_one_line(), "{answer:?}");
                assert_eq!(target.seen().len(), before, "nothing reached the target");
            }
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn two_encodings_are_not_snappy() {
    let server = start(settings(), Script::default()).await;
    let headers = "Content-Encoding: snappy\r\nContent-Encoding: snappy\r\n";
    assert_eq!(exchange(server.address, post("/receive", headers, b"x")).await.status, 415);
    let mut request =
        b"POST /receive HTTP/1.1\r\nHost: localhost\r\nContent-Type: \xff\r\nContent-Length: 1\r\n\r\n".to_vec();
    request.push(b'x');
    assert_eq!(exchange(server.address, request).await.status, 415);
}

#[tokio::test]
async fn what_the_target_says_is_what_the_sender_gets() {
    let partial = Written {
        samples: 3,
        histograms: 2,
        exemplars: 1,
        refused: Some("no __name__: {a=\"b\"}\nx".to_owned()),
        delivered: None,
    };
    let whole = Written { samples: 5, ..Written::default() };
    let later = |retry_after_s| WriteError::Unavailable { reason: "disk full".to_owned(), retry_after_s };
    for (answer, status, body, counts, retry) in [
        (Ok(whole), 204, "", [5, 0, 0], None),
        (Ok(partial), 400, "no __name__: {a=\"b\"} x\n", [3, 2, 1], None),
        (Err(WriteError::Undecodable("bad snappy".to_owned())), 400, "bad snappy\n", [0; 3], None),
        (Err(WriteError::TooLarge("too much".to_owned())), 400, "too much\n", [0; 3], None),
        (Err(later(3)), 503, "disk full\n", [0; 3], Some("3")),
        (Err(later(0)), 503, "disk full\n", [0; 3], Some("1")),
    ] {
        let server = start(settings(), Script::default().then(answer.clone()).then(answer)).await;
        for (headers, counts) in [(V1, None), (V2, Some(counts))] {
            let answer = exchange(server.address, post("/receive", headers, b"x")).await;
            assert_eq!((answer.status, answer.body.as_str()), (status, body));
            assert_eq!(answer.written(), counts);
            assert_eq!(answer.header("retry-after"), retry);
            assert!(status == 204 || answer.is_one_line(), "{answer:?}");
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn a_message_is_one_line_of_bounded_length() {
    let long = format!("{}\r\n{}", "é".repeat(5000), "x");
    let server = start(settings(), Script::default().then(Err(WriteError::Undecodable(long)))).await;
    let answer = exchange(server.address, post("/receive", V1, b"x")).await;
    assert!(answer.is_one_line() && answer.body.len() < 2100 && answer.body.ends_with("é…\n"));
}

#[tokio::test]
async fn other_methods_and_paths() {
    let server = start(settings(), Script::default()).await;
    for (method, path, status, allow) in [
        ("GET", "/api/v1/write", 200, None),
        ("PUT", "/receive", 405, Some("POST,GET,HEAD")),
        ("DELETE", "/api/v1/write", 405, Some("POST,GET,HEAD")),
        ("HEAD", "/receive", 200, None),
        ("GET", "/-/flush", 405, Some("POST")),
        ("POST", "/metrics", 405, Some("GET,HEAD")),
        ("POST", "/-/ready", 405, Some("GET,HEAD")),
        ("GET", "/", 404, None),
        ("POST", "/api/v1/write/", 404, None),
    ] {
        let answer = exchange(server.address, head(method, path, "Content-Length: 0\r\n")).await;
        assert_eq!((answer.status, answer.header("allow")), (status, allow), "{method} {path}");
        assert_eq!(answer.written(), None);
        if method != "HEAD" {
            assert!(answer.is_one_line(), "{answer:?}");
        }
        if status == 404 {
            assert!(answer.body.contains("/api/v1/write") && answer.body.contains("/metrics"), "{}", answer.body);
        }
    }
}

#[tokio::test]
async fn readiness_and_flush() {
    let target = Script::default();
    let server = start(settings(), target.clone()).await;
    let get = |path: &'static str| exchange(server.address, head("GET", path, ""));
    assert_eq!(get("/-/healthy").await.status, 200);
    assert_eq!(get("/-/ready").await.status, 200);
    let flushed = exchange(server.address, post("/-/flush", "", b"")).await;
    assert_eq!((flushed.status, flushed.body.as_str()), (200, "{\"committed\":1}\n"));
    assert_eq!(flushed.header("content-type"), Some("application/json"));

    *target.not_ready.lock().unwrap() = Some("replaying the WAL, 3 of 7 segments".to_owned());
    assert_eq!(get("/-/healthy").await.status, 200);
    for answer in [get("/-/ready").await, exchange(server.address, post("/-/flush", "", b"")).await] {
        assert_eq!(answer.status, 503);
        assert!(answer.body.contains("3 of 7 segments") && answer.is_one_line());
        assert!(answer.header("retry-after").is_some());
    }
}

#[tokio::test]
async fn metrics_in_the_format_that_is_asked_for() {
    let server = start(settings(), Script::default()).await;
    exchange(server.address, post("/api/v1/write", V1, b"12345")).await;
    exchange(server.address, head("GET", "/no/such/path", "")).await;
    let plain = exchange(server.address, head("GET", "/metrics", "")).await;
    assert_eq!(plain.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    for line in [
        "promarchive_http_requests_total{path=\"/api/v1/write\",method=\"POST\",code=\"204\"} 1",
        "promarchive_http_requests_total{path=\"other\",method=\"GET\",code=\"404\"} 1",
        "promarchive_received_bytes_total 5",
        "promarchive_http_in_flight_bytes 0",
    ] {
        assert!(plain.body.lines().any(|l| l == line), "{line} is not in\n{}", plain.body);
    }
    let accept =
        "Accept: application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n";
    let open = exchange(server.address, head("GET", "/metrics", accept)).await;
    assert_eq!(open.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(open.body.ends_with("# EOF\n"));
}
