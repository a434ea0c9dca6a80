//! Which request is taken for which protocol.

use promarchive_model::Protocol::{self, V1, V2};
use promarchive_tests::program::{Receiver, headers};
use promarchive_tests::request::{Request, Series};
use promarchive_tests::tables::Tables;
use reqwest::Method;

use crate::{PROTOCOLS, T, committed};

fn request(metric: &str) -> Request {
    Request::of([Series::metric(metric).sample(T, 1.0)])
}

fn body(protocol: Protocol, request: &Request) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(&request.encode(protocol)).unwrap()
}

#[test]
fn content_type_and_encoding_decide() {
    const V1_TYPE: &str = "application/x-protobuf;proto=prometheus.WriteRequest";
    const V2_TYPE: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    // Content-Type, Content-Encoding, what it is taken for: none is 415.
    let rows: &[(Option<&str>, Option<&str>, Option<Protocol>)] = &[
        (None, Some("snappy"), Some(V1)),
        (Some(""), Some("snappy"), Some(V1)),
        (Some("application/x-protobuf"), Some("snappy"), Some(V1)),
        (Some(V1_TYPE), Some("snappy"), Some(V1)),
        (Some(V2_TYPE), Some("snappy"), Some(V2)),
        (None, None, Some(V1)),
        (Some(V1_TYPE), None, Some(V1)),
        (Some(V2_TYPE), None, Some(V2)),
        (Some("application/x-protobuf; proto=io.prometheus.write.v2.Request"), Some("snappy"), Some(V2)),
        (Some("application/x-protobuf ;\tproto=prometheus.WriteRequest "), Some("snappy"), Some(V1)),
        (Some("application/json"), Some("snappy"), None),
        (Some("text/plain"), Some("snappy"), None),
        (Some("application/x-protobuf;proto=prometheus.ReadRequest"), Some("snappy"), None),
        (Some("application/x-protobuf;proto=io.prometheus.write.v3.Request"), Some("snappy"), None),
        (Some("application/x-protobuf;proto="), Some("snappy"), None),
        (Some("application/x-protobuf;proto"), Some("snappy"), None),
        (Some("application/x-protobuf;charset"), Some("snappy"), None),
        (Some(V1_TYPE), Some("gzip"), None),
        (Some(V1_TYPE), Some("zstd"), None),
        (Some(V2_TYPE), Some("zstd"), None),
        (Some(V2_TYPE), Some("deflate"), None),
        (Some(V2_TYPE), Some("snappy, snappy"), None),
    ];
    let receiver = Receiver::start(&[]);
    let mut wanted = Tables::default();
    for (index, (content_type, encoding, taken)) in rows.iter().enumerate() {
        let request = request(&format!("row_{index}"));
        let kind = content_type.map(|kind| ("Content-Type", kind));
        let encoding = encoding.map(|encoding| ("Content-Encoding", encoding));
        let headers: Vec<_> = kind.into_iter().chain(encoding).collect();
        let path = if index % 2 == 0 { "/api/v1/write" } else { "/receive" };
        let answer = receiver.send(Method::POST, path, &headers, body(taken.unwrap_or(V2), &request));
        match taken {
            Some(protocol) => {
                assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{headers:?} {answer:?}");
                assert_eq!(answer.written(), (*protocol == V2).then_some([1, 0, 0]), "{headers:?}");
                wanted.add(*protocol, &request);
            }
            None => {
                assert_eq!(answer.status, 415, "{headers:?} {answer:?}");
                assert!(answer.is_one_line() && answer.body.contains("expected "), "{headers:?} {answer:?}");
                assert_eq!(answer.written(), None, "what is not negotiated has no version: {headers:?}");
            }
        }
    }
    wanted.assert_equals(&committed(&receiver));
}

#[test]
fn the_version_header_decides_nothing() {
    let receiver = Receiver::start(&[]);
    for (protocol, claimed) in [(V1, "2.0.0"), (V2, "0.1.0"), (V2, "nonsense")] {
        let mut headers = headers(protocol).to_vec();
        headers.retain(|(name, _)| *name != "X-Prometheus-Remote-Write-Version");
        headers.push(("X-Prometheus-Remote-Write-Version", claimed));
        let answer = receiver.send(Method::POST, "/api/v1/write", &headers, body(protocol, &request("up")));
        assert_eq!(answer.status, 204, "{protocol:?} {claimed} {answer:?}");
        assert_eq!(answer.written().is_some(), protocol == V2, "{claimed}");
    }
}

#[test]
fn other_methods_and_paths() {
    let receiver = Receiver::start(&[]);
    for (path, allow) in [("/api/v1/write", "POST,GET,HEAD"), ("/receive", "POST,GET,HEAD"), ("/-/flush", "POST")] {
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
            let answer = receiver.send(method.clone(), path, headers(V2), body(V2, &request("up")));
            // Vector asks by GET whether the receiver is well, and takes nothing but 200.
            let wants = if allow.contains(method.as_str()) { (200, None) } else { (405, Some(allow)) };
            assert_eq!((answer.status, answer.header("allow")), wants, "{method} {path} {answer:?}");
        }
    }
    for path in ["/-/healthy", "/-/ready", "/metrics"] {
        let answer = receiver.send(Method::POST, path, headers(V2), body(V2, &request("up")));
        assert_eq!(answer.status, 405, "{path} {answer:?}");
    }
    for path in ["/", "/api/v1/writes", "/api/v1/write/", "/api/v1/push", "/receive/x"] {
        let answer = receiver.send(Method::POST, path, headers(V2), body(V2, &request("up")));
        assert_eq!(answer.status, 404, "{path} {answer:?}");
        assert!(answer.is_one_line() && answer.body.contains("/api/v1/write"), "{answer:?}");
    }
    assert_eq!(committed(&receiver), Tables::default());
}

#[test]
fn zstd_that_is_announced_as_snappy_is_refused_so_that_vmagent_sends_snappy() {
    let receiver = Receiver::start(&[]);
    for protocol in PROTOCOLS {
        let answer = receiver.send(Method::POST, "/api/v1/write", headers(protocol), b"\x28\xb5\x2f\xfdrest".to_vec());
        assert_eq!(answer.status, 415, "{answer:?}");
        assert!(answer.is_one_line() && answer.body.contains("zstd; expected snappy"), "{answer:?}");
    }
    assert_eq!(committed(&receiver), Tables::default());
}
