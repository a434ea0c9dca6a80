//! TLS.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use promarchive_api::receiver_settings::TlsFiles;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::client::{Answer, V1, head, post, read_answer};
use super::*;
use crate::receiver::metrics::View;

/// Writes a new certificate and key; gives the certificate back.
fn issue(cert: &Path, key: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(cert, made.cert.pem()).unwrap();
    fs::write(key, made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

async fn write(address: SocketAddr, trusted: &CertificateDer<'static>) -> Option<Answer> {
    exchange(address, trusted, &post("/receive", V1, b"x")).await
}

async fn exchange(address: SocketAddr, trusted: &CertificateDer<'static>, request: &[u8]) -> Option<Answer> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    stream.write_all(request).await.unwrap();
    read_answer(&mut stream).await
}

#[tokio::test]
async fn a_round_trip_and_a_changed_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let files = TlsFiles { cert: directory.path().join("tls.crt"), key: directory.path().join("tls.key") };
    let first = issue(&files.cert, &files.key);
    let server = start(HttpSettings { tls: Some(files.clone()), ..settings() }, Script::default()).await;
    assert_eq!(write(server.address, &first).await.unwrap().status, 204);

    let second = issue(&files.cert, &files.key);
    eventually(async || write(server.address, &second).await.is_some_and(|answer| answer.status == 204)).await;
    assert!(write(server.address, &first).await.is_none(), "the old certificate is gone");
    server.stop().await;
}

#[tokio::test]
async fn probes_need_no_token_and_say_why_it_is_not_ready() {
    let directory = tempfile::tempdir().unwrap();
    let files = TlsFiles { cert: directory.path().join("tls.crt"), key: directory.path().join("tls.key") };
    let trusted = issue(&files.cert, &files.key);
    let tokens = directory.path().join("tokens");
    fs::write(&tokens, "# nobody yet\n").unwrap();
    let target = Script::default();
    *target.not_ready.lock().unwrap() = Some("the WAL is being replayed".to_owned());
    let unknown_tokens = promarchive_api::UnknownTokens::Retry;
    let settings = HttpSettings { tls: Some(files), tokens: Some(tokens), unknown_tokens, ..settings() };
    let server = start(settings, target.clone()).await;
    let get = async |path: &str| {
        let answer = exchange(server.address, &trusted, head("GET", path, "").as_bytes()).await.unwrap();
        (answer.status, answer.body)
    };
    assert_eq!(get("/-/healthy").await.0, 200);
    assert_eq!(get("/-/ready").await, (503, "not ready: the WAL is being replayed\n".to_owned()));
    *target.not_ready.lock().unwrap() = None;
    assert_eq!(get("/-/ready").await.0, 200);
    assert_eq!(get("/api/v1/deliveries").await.0, 401);
}

#[tokio::test]
async fn who_does_not_speak_tls_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let files = TlsFiles { cert: directory.path().join("tls.crt"), key: directory.path().join("tls.key") };
    issue(&files.cert, &files.key);
    let mut settings = HttpSettings { tls: Some(files), ..settings() };
    settings.timeouts.tls_handshake = Duration::from_millis(200);
    let server = start(settings, Script::default()).await;
    for first in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"", b"\x16\x03\x01"] {
        let mut plain = TcpStream::connect(server.address).await.unwrap();
        plain.write_all(first).await.unwrap();
        assert!(read_answer(&mut plain).await.is_none());
    }
    eventually(async || server.metrics.http_connections.get() == 0).await;
}

#[tokio::test]
async fn handshakes_that_do_not_end_make_room_for_each_other_and_for_senders() {
    let directory = tempfile::tempdir().unwrap();
    let files = TlsFiles { cert: directory.path().join("tls.crt"), key: directory.path().join("tls.key") };
    let trusted = issue(&files.cert, &files.key);
    // A quarter of them may be in a handshake.
    let settings =
        HttpSettings { tls: Some(files), max_connections: 16, max_connections_per_address: 16, ..settings() };
    let server = start(settings, Script::default()).await;
    let mut stuck = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"\x16\x03\x01").await.unwrap();
        stuck.push(stream);
    }
    // All were accepted, and only the newest are still there.
    eventually(async || server.metrics.text(View::Full).contains("promarchive_http_connections_displaced_total 36\n"))
        .await;
    eventually(async || server.metrics.http_connections.get() == 4).await;
    assert_eq!(write(server.address, &trusted).await.unwrap().status, 204);
}

#[tokio::test]
async fn tls_older_than_1_2_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let files = TlsFiles { cert: directory.path().join("tls.crt"), key: directory.path().join("tls.key") };
    issue(&files.cert, &files.key);
    let server = start(HttpSettings { tls: Some(files), ..settings() }, Script::default()).await;
    // The first message of a client: record header, then its type, length and version, a random number, no session, one suite that
    // every version knows, no compression, and the signatures that it takes. TLS 1.3 would say so in an extension.
    let hello = |version: [u8; 2]| {
        let body =
            [&version[..], &[7; 32], &[0], &[0, 2, 0xc0, 0x2f], &[1, 0], &[0, 8, 0, 13, 0, 4, 0, 2, 4, 3]].concat();
        [&[0x16, 3, 1, 0, body.len() as u8 + 4, 1, 0, 0, body.len() as u8], &body[..]].concat()
    };
    for version in [[3, 1], [3, 2]] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(&hello(version)).await.unwrap();
        let mut alert = [0; 7];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut alert).await.unwrap();
        // An alert, fatal, of the kind "protocol version".
        assert_eq!((alert[0], alert[5], alert[6]), (0x15, 2, 70), "{version:?}");
    }
}

#[tokio::test]
async fn a_broken_certificate_at_the_start_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let files = TlsFiles { cert: directory.path().join("tls.crt"), key: directory.path().join("tls.key") };
    let settings = HttpSettings { tls: Some(files), ..settings() };
    let refused =
        Server::bind(settings, Script::default(), Arc::new(Metrics::new()), clock()).await.err().unwrap().to_string();
    assert!(refused.contains("tls.crt"), "{refused}");
}
