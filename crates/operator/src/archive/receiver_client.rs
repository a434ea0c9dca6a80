//! What the operator asks a receiver.
//!
//! It goes to the Service's own address and asks for the name that the certificate holds, so it needs no DNS.
//!
//! Whoever works in the archive's namespace can have anything answer there. So an answer is a claim of the archive's owner: it is
//! bounded, its text is never shown as it came, and it decides about the samples of this archive alone.

mod answer;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::body::Bytes;
use promarchive_api::Deliveries;
use reqwest::{Client, Method, Response};
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::Handle;

use crate::names::{ArchiveName, RECEIVER_PORT};
use crate::process::room::{Held, Room};

const TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A flush writes files; it may take its time.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);
/// Answers with more marks are long; no fewer are asked for.
pub(crate) const MARKS_OF_A_SHORT_ANSWER: usize = 512;
/// So many long answers are in memory at a time, one of each namespace: one has up to 17 MiB, and may come slowly.
const LONG_ANSWERS: u32 = 2;

/// How a receiver is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint {
    /// Whose receiver.
    pub archive: ArchiveName,
    /// Address of its Service.
    pub address: std::net::IpAddr,
    /// Certificates of authorities that may vouch for it, PEM; none without TLS.
    pub ca: Option<String>,
    /// What the operator shows.
    pub token: String,
}

/// A receiver did not answer as it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiverError {
    /// No answer.
    #[error("{host}: {reason}")]
    Unreachable {
        host: String,
        /// Why, with causes.
        reason: String,
    },
    /// Another answer.
    #[error("{host} answers {path} with status {status}; see the receiver's log for the reason")]
    Refused {
        host: String,
        /// What was asked.
        path: &'static str,
        /// HTTP status.
        status: u16,
    },
}

/// What a receiver answered. A long one keeps its permit for as long as it is in memory.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Who has delivered what.
    pub deliveries: Deliveries,
    _permit: Option<Held>,
}

#[derive(Debug)]
pub(crate) struct ReceiverClient {
    long_answers: Room<String>,
}

impl Default for ReceiverClient {
    fn default() -> Self {
        Self { long_answers: Room::new(LONG_ANSWERS, 1) }
    }
}

impl ReceiverClient {
    /// Who has delivered what to the receiver, with `most` marks at most. Waits until a long answer may be in memory.
    pub(crate) async fn deliveries(&self, endpoint: &Endpoint, most: usize) -> Result<Answer, ReceiverError> {
        let path = "/api/v1/deliveries";
        let is_long = most > MARKS_OF_A_SHORT_ANSWER;
        let permit = if is_long { self.long_answers.take(endpoint.archive.namespace.clone(), 1).await } else { None };
        let response = ask(endpoint, Method::GET, path, &format!("?limit={most}"), TIMEOUT).await?;
        let body = Body { response, chunk: Bytes::new(), runtime: Handle::current() };
        // Read while it comes, in a thread that may wait for it. The permit goes along: who has asked may not wait for the end.
        let read = tokio::task::spawn_blocking(move || (answer::read(body, most), permit)).await;
        let (deliveries, permit) = read.unwrap_or_else(|panic| (Err(panic.to_string()), None));
        let deliveries = deliveries.map_err(|fault| unreachable(endpoint, &format!("{path}: {fault}")))?;
        Ok(Answer { deliveries, _permit: permit })
    }

    /// Commits everything that the receiver has acknowledged.
    pub(crate) async fn flush(&self, endpoint: &Endpoint) -> Result<(), ReceiverError> {
        ask(endpoint, Method::POST, "/-/flush", "", FLUSH_TIMEOUT).await.map(drop)
    }
}

async fn ask(
    endpoint: &Endpoint,
    method: Method,
    path: &'static str,
    query: &str,
    limit: Duration,
) -> Result<Response, ReceiverError> {
    let scheme = if endpoint.ca.is_some() { "https" } else { "http" };
    let host = endpoint.archive.host();
    // Of its own: a connection that waits keeps what it was read with, half a megabyte if the receiver likes.
    let client = connect(endpoint).map_err(|e| unreachable(endpoint, &crate::process::chain(e.as_ref())))?;
    let request = client.request(method, format!("{scheme}://{host}:{RECEIVER_PORT}{path}{query}"));
    let response = request.bearer_auth(&endpoint.token).timeout(limit).send().await;
    let response = response.map_err(|e| unreachable(endpoint, &crate::process::chain(&e.without_url())))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    Err(ReceiverError::Refused { host, path, status: status.as_u16() })
}

/// For one question.
fn connect(endpoint: &Endpoint) -> Result<Client, Box<dyn std::error::Error>> {
    let address = SocketAddr::new(endpoint.address, RECEIVER_PORT);
    let mut builder = Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .resolve(&endpoint.archive.host(), address);
    if let Some(ca) = &endpoint.ca {
        builder = builder.tls_backend_preconfigured(trust(ca)?);
    }
    Ok(builder.build()?)
}

/// TLS with those who show a certificate of one of these authorities (PEM); nobody else can vouch for a receiver.
fn trust(authorities: &str) -> Result<ClientConfig, Box<dyn std::error::Error>> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
        roots.add(authority?)?;
    }
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    // What is kept to resume a session is as long as the server likes: a megabyte for each receiver.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// An answer that is waited for. To be read in a thread that may.
struct Body {
    response: Response,
    chunk: Bytes,
    runtime: Handle,
}

impl io::Read for Body {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.runtime.block_on(self.response.chunk()) {
                Ok(Some(chunk)) => self.chunk = chunk,
                Ok(None) => return Ok(0),
                Err(error) => return Err(io::Error::other(crate::process::chain(&error.without_url()))),
            }
        }
        let length = self.chunk.as_ref().read(into)?;
        self.chunk = self.chunk.slice(length..);
        Ok(length)
    }
}

fn unreachable(endpoint: &Endpoint, reason: &str) -> ReceiverError {
    ReceiverError::Unreachable { host: endpoint.archive.host(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A receiver without marks, at an address of its own on the receivers' port; counts the questions.
    async fn receiver(address: &str) -> Arc<AtomicUsize> {
        let questions = Arc::new(AtomicUsize::new(0));
        let listener = TcpListener::bind((address, RECEIVER_PORT)).await.unwrap();
        let asked = Arc::clone(&questions);
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(connection.read_u8().await.unwrap());
                }
                asked.fetch_add(1, Ordering::SeqCst);
                let body = r#"{"started":1,"now":2,"ready":true,"senders":[],"deliveries":[]}"#;
                let length = body.len();
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
                connection.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        questions
    }

    fn endpoint(namespace: &str, address: &str) -> Endpoint {
        let archive = ArchiveName { namespace: namespace.to_owned(), name: "lab".to_owned() };
        Endpoint { archive, address: address.parse().unwrap(), ca: None, token: "t".to_owned() }
    }

    /// A receiver with TLS, once for each of two connections; tells whether the second one resumed the session of the first.
    fn two_handshakes(address: &str, host: &str) -> (String, std::thread::JoinHandle<Vec<rustls::HandshakeKind>>) {
        let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
        let authority = made.cert.pem();
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let config = rustls::ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        let config = Arc::new(config);
        let listener = std::net::TcpListener::bind((address, RECEIVER_PORT)).unwrap();
        let serving = std::thread::spawn(move || {
            let serve = |_| {
                let (mut connection, _) = listener.accept().unwrap();
                let mut tls = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = rustls::Stream::new(&mut tls, &mut connection);
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    head.push(byte[0]);
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
                tls.send_close_notify();
                tls.complete_io(&mut connection).unwrap();
                tls.handshake_kind().unwrap()
            };
            (0..2).map(serve).collect()
        });
        (authority, serving)
    }

    #[tokio::test]
    async fn nothing_of_a_session_is_kept() {
        let (address, archive) = ("127.83.0.2", ArchiveName::new("team", "lab"));
        let (authority, serving) = two_handshakes(address, &archive.host());
        let endpoint = Endpoint { ca: Some(authority), ..endpoint("team", address) };
        let client = ReceiverClient::default();
        for _ in 0..2 {
            client.flush(&endpoint).await.unwrap();
        }
        assert_eq!(serving.join().unwrap(), [rustls::HandshakeKind::Full; 2]);
    }

    #[tokio::test]
    async fn no_connection_is_kept() {
        let address = "127.83.0.3";
        let listener = TcpListener::bind((address, RECEIVER_PORT)).await.unwrap();
        let serving = tokio::spawn(async move {
            for _ in 0..2 {
                let (mut connection, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(connection.read_u8().await.unwrap());
                }
                connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                // The client ends it, though it might go on.
                assert!(connection.read_u8().await.is_err());
            }
        });
        let client = ReceiverClient::default();
        for _ in 0..2 {
            client.flush(&endpoint("team", address)).await.unwrap();
        }
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn a_long_answer_keeps_its_permit_until_it_is_dropped() {
        let address = "127.83.0.1";
        let questions = receiver(address).await;
        let client = ReceiverClient::default();
        let long = MARKS_OF_A_SHORT_ANSWER + 1;
        let (noisy, quiet) = (endpoint("noisy", address), endpoint("quiet", address));
        let kept = client.deliveries(&noisy, long).await.unwrap();
        let short = client.deliveries(&noisy, MARKS_OF_A_SHORT_ANSWER).await.unwrap();
        let others = client.deliveries(&quiet, long).await.unwrap();
        let mut next = std::pin::pin!(client.deliveries(&noisy, long));
        let wait = Duration::from_millis(200);
        assert!(tokio::time::timeout(wait, &mut next).await.is_err(), "the namespace has one already");
        assert_eq!(questions.load(Ordering::SeqCst), 3, "nothing was asked that may not be kept");
        drop((short, others));
        assert!(tokio::time::timeout(wait, &mut next).await.is_err(), "it still has it");
        drop(kept);
        next.await.unwrap();
        assert_eq!(questions.load(Ordering::SeqCst), 4);
    }
}
