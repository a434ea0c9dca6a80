//! Who may write.

use std::fs;
use std::path::Path;

use promarchive_api::tokens_file::{Role, Roles, TokenHash, TokenLine, write};

use super::client::{V1, V2, exchange, head, post};
use super::*;
use crate::receiver::metrics::View;
use crate::receiver::server::ServeError;

/// Every token may write and operate.
pub(super) fn allow(file: &Path, tokens: &[(&str, &str)]) {
    let both = Roles::from(Role::Write).with(Role::Operate);
    let line = |(name, token): &(&str, &str)| TokenLine::new(name, TokenHash::of(token), both).unwrap();
    fs::write(file, write("", &tokens.iter().map(line).collect::<Vec<_>>())).unwrap();
}

fn with_token(token: &str) -> Vec<u8> {
    post("/api/v1/write", &format!("{V2}Authorization: Bearer {token}\r\n"), b"x")
}

#[tokio::test]
async fn every_request_needs_a_token_but_the_three_that_ask_how_things_are() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tokens");
    allow(&file, &[("prometheus", "secret"), ("prometheus", "next"), ("other", "third")]);
    let target = Script::default();
    let server = start(HttpSettings { tokens: Some(file), ..settings() }, target.clone()).await;

    for token in ["secret", "next", "third"] {
        assert_eq!(exchange(server.address, with_token(token)).await.status, 204, "{token}");
    }
    let lower = post("/receive", "authorization: bearer  secret\r\n", b"x");
    assert_eq!(exchange(server.address, lower).await.status, 204);
    for path in ["/-/healthy", "/-/ready", "/metrics"] {
        assert_eq!(exchange(server.address, head("GET", path, "")).await.status, 200, "{path}");
    }

    let seen = target.seen().len();
    for request in [
        post("/api/v1/write", V2, b"x"),
        post("/receive", "Authorization: Bearer wrong\r\n", b"x"),
        post("/receive", "Authorization: Bearer \r\n", b"x"),
        post("/receive", "Authorization: Basic c2VjcmV0\r\n", b"x"),
        post("/receive", "Authorization: secret\r\n", b"x"),
        post("/-/flush", "", b""),
        post("/-/healthy", "", b""),
        head("GET", "/", "").into_bytes(),
        // Refused before anything of the body is there.
        head("POST", "/receive", &format!("{V1}Content-Length: 1000\r\n")).into_bytes(),
    ] {
        let answer = exchange(server.address, &request).await;
        assert_eq!(answer.status, 401, "{}", String::from_utf8_lossy(&request));
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        assert!(answer.is_one_line() && answer.written().is_none());
    }
    assert_eq!(target.seen().len(), seen, "nothing reached the target");
    let text = server.metrics.text(View::Full);
    assert!(text.contains("promarchive_sender_requests_total{sender=\"prometheus\",code=\"204\"} 3"), "{text}");
    assert!(!text.contains("secret"));
}

#[tokio::test]
async fn a_changed_file_is_taken_up_while_requests_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tokens");
    allow(&file, &[("a", "old")]);
    let server = start(HttpSettings { tokens: Some(file.clone()), ..settings() }, Script::default()).await;
    let status = async |token: &str| exchange(server.address, with_token(token)).await.status;
    assert_eq!((status("old").await, status("new").await), (204, 401));

    allow(&file, &[("a", "old"), ("a", "new")]);
    eventually(async || status("new").await == 204).await;
    assert_eq!(status("old").await, 204);

    allow(&file, &[("a", "new")]);
    eventually(async || status("old").await == 401).await;
    fs::write(&file, "a broken\n").unwrap();
    let failures = "promarchive_reload_failures_total{file=\"tokens\"} 1";
    eventually(async || server.metrics.text(View::Full).contains(failures)).await;
    assert_eq!((status("new").await, status("old").await), (204, 401));
}

#[tokio::test]
async fn a_broken_file_at_the_start_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tokens");
    for text in [None, Some("a nonsense\n"), Some("")] {
        if let Some(text) = text {
            fs::write(&file, text).unwrap();
        }
        let settings = HttpSettings { tokens: Some(file.clone()), ..settings() };
        let refused = Server::bind(settings, Script::default(), Arc::new(Metrics::new()), clock()).await.err().unwrap();
        assert!(matches!(refused, ServeError::Tokens(_)), "{refused}");
        assert!(refused.to_string().contains("tokens"), "{refused}");
    }
}
