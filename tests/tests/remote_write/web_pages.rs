//! A receiver without tokens, and web pages in a browser on its machine.

use promarchive_model::Protocol::{V1, V2};
use promarchive_tests::program::{Receiver, headers};
use promarchive_tests::request::{Request, Series};
use reqwest::Method;

use crate::{T, committed};

fn body() -> Vec<u8> {
    let body = Request::of([Series::metric("up").sample(T, 1.0)]).encode(V1);
    snap::raw::Encoder::new().compress_vec(&body).unwrap()
}

/// Everything that a receiver does.
const REQUESTS: [(Method, &str); 5] = [
    (Method::POST, "/api/v1/write"),
    (Method::POST, "/receive"),
    (Method::POST, "/-/flush"),
    (Method::GET, "/api/v1/deliveries"),
    (Method::GET, "/metrics"),
];

#[test]
fn a_web_page_can_neither_write_nor_read() {
    let receiver = Receiver::start(&[]);
    let port = receiver.address().port();
    let rebound = format!("evil.example:{port}");
    let own = format!("http://{}", receiver.address());
    for (headers, wants) in [
        // A page sends with fetch and mode no-cors, or a form; a page of this receiver's own origin; a file.
        (&[("Origin", "https://evil.example"), ("Content-Type", "text/plain")][..], "Origin"),
        (&[("Origin", own.as_str())], "Origin"),
        (&[("Origin", "null")], "Origin"),
        // A page loads an image or a script from it.
        (&[("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors")], "Sec-Fetch-Site"),
        (&[("Sec-Fetch-Site", "same-origin")], "Sec-Fetch-Site"),
        // The page's own name leads to this machine by now, so the browser takes it for the page's own server.
        (&[("Host", rebound.as_str())], "evil.example"),
    ] {
        for (method, path) in REQUESTS {
            let answer = receiver.send(method, path, headers, body());
            assert_eq!(answer.status, 403, "{path} {headers:?} {answer:?}");
            assert!(
                answer.is_one_line() && answer.body.contains(wants) && answer.body.contains("--tokens"),
                "{answer:?}"
            );
        }
        // What a browser asks before it sends something that a form cannot send.
        assert_eq!(receiver.send(Method::OPTIONS, "/api/v1/write", headers, Vec::new()).status, 403);
        for probe in ["/-/healthy", "/-/ready"] {
            assert_eq!(receiver.send(Method::GET, probe, headers, Vec::new()).status, 200);
        }
    }
    assert_eq!(committed(&receiver).samples.len(), 0);
}

#[test]
fn clients_that_are_no_browsers_write_and_read() {
    let receiver = Receiver::start(&[]);
    let port = receiver.address().port();
    for host in
        [format!("127.0.0.1:{port}"), format!("localhost:{port}"), "localhost".to_owned(), format!("[::1]:{port}")]
    {
        for (protocol, agent) in [
            (V1, "Prometheus/3.16.0"),
            (V2, "Prometheus/3.16.0"),
            (V1, "vmagent"),
            (V1, "OpenTelemetry Collector Contrib/0.163.0 (linux/amd64)"),
            (V1, "k6-prometheus-rw-output/0.4.0"),
            (V1, "curl/8.14.1"),
        ] {
            let fields = [headers(protocol), &[("User-Agent", agent), ("Host", &host), ("Accept", "*/*")]].concat();
            let body = Request::of([Series::metric("up").sample(T, 1.0)]).encode(protocol);
            let body = snap::raw::Encoder::new().compress_vec(&body).unwrap();
            let answer = receiver.send(Method::POST, "/api/v1/write", &fields, body);
            assert_eq!(answer.status, 204, "{host} {agent} {answer:?}");
        }
        // A person types the address into a browser.
        let typed = [("Host", host.as_str()), ("Sec-Fetch-Site", "none"), ("Sec-Fetch-Mode", "navigate")];
        assert_eq!(receiver.send(Method::GET, "/metrics", &typed, Vec::new()).status, 200, "{host}");
    }
    assert_eq!(committed(&receiver).samples.len(), 1);
}

#[test]
fn with_tokens_a_page_would_have_to_know_one() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tokens");
    std::fs::write(&file, crate::tokens::line("sender", "secret")).unwrap();
    let receiver = Receiver::start(&["--tokens", file.to_str().unwrap()]);
    let page = [("Origin", "https://evil.example"), ("Host", "evil.example")];
    for (method, path) in REQUESTS.into_iter().filter(|(_, path)| *path != "/metrics") {
        assert_eq!(receiver.send(method, path, &page, body()).status, 401, "{path}");
    }
    let known = [&page[..], headers(V1), &[("Authorization", "Bearer secret")]].concat();
    assert_eq!(receiver.send(Method::POST, "/api/v1/write", &known, body()).status, 204);
}
