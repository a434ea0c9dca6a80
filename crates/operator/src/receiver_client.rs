//! What the operator asks a receiver.
//!
//! It goes to the Service's own address and asks for the name that the certificate holds, so it needs no DNS.
//!
//! Whoever works in the archive's namespace can have anything answer there. So an answer is a claim of the archive's owner: it is
//! bounded, its text is never shown as it came, and it decides about the samples of this archive alone.

mod answer;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use promarchive_api::{Deliveries, LONGEST_DELIVERY_BYTES};
use reqwest::{Certificate, Client, Method, Response};

use crate::entry::{ArchiveName, RECEIVER_PORT};
use crate::room::{Held, Room};

const TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A flush writes files; it may take its time.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest answer without its marks.
const LONGEST_REST_BYTES: usize = 256 << 10;
/// Answers with more marks are long; no fewer are asked for.
pub const MARKS_OF_A_SHORT_ANSWER: usize = 512;
/// So many long answers are in memory at a time, one of each namespace: one has up to 24 MiB, and may come slowly.
const LONG_ANSWERS: u32 = 2;
/// Connections that are kept.
const MOST_CLIENTS: usize = 256;

/// How a receiver is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
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
pub enum ReceiverError {
    /// No answer.
    #[error("{host}: {reason}")]
    Unreachable {
        /// Its name.
        host: String,
        /// Why, with causes.
        reason: String,
    },
    /// Another answer.
    #[error("{host} answers {status} to {path}; the receiver's log says why")]
    Refused {
        /// Its name.
        host: String,
        /// What was asked.
        path: &'static str,
        /// HTTP status.
        status: u16,
    },
}

/// What a receiver answered. A long one keeps its place among the long answers for as long as it is in memory.
#[derive(Debug)]
pub struct Answer {
    /// Who has delivered what.
    pub deliveries: Deliveries,
    _room: Option<Held>,
}

/// Asks receivers; keeps a connection to each.
#[derive(Debug)]
pub struct ReceiverClient {
    clients: Mutex<HashMap<ArchiveName, (Endpoint, Client)>>,
    long_answers: Room,
}

impl Default for ReceiverClient {
    fn default() -> Self {
        Self { clients: Mutex::default(), long_answers: Room::new(LONG_ANSWERS, 1) }
    }
}

impl ReceiverClient {
    /// Who has delivered what to the receiver, with `most` marks at most. Waits until a long answer may be in memory.
    pub async fn deliveries(&self, endpoint: &Endpoint, most: usize) -> Result<Answer, ReceiverError> {
        let path = "/api/v1/deliveries";
        let is_long = most > MARKS_OF_A_SHORT_ANSWER;
        let room = if is_long { self.long_answers.take(&endpoint.archive.namespace, 1).await } else { None };
        let response = self.ask(endpoint, Method::GET, path, &format!("?limit={most}"), TIMEOUT).await?;
        let body = body(endpoint, response, LONGEST_REST_BYTES + most * LONGEST_DELIVERY_BYTES).await?;
        let deliveries = answer::read(&body, most);
        let deliveries = deliveries.map_err(|fault| unreachable(endpoint, &format!("{path}: {fault}")))?;
        Ok(Answer { deliveries, _room: room })
    }

    /// Commits everything that the receiver has acknowledged.
    pub async fn flush(&self, endpoint: &Endpoint) -> Result<(), ReceiverError> {
        self.ask(endpoint, Method::POST, "/-/flush", "", FLUSH_TIMEOUT).await.map(drop)
    }

    async fn ask(
        &self,
        endpoint: &Endpoint,
        method: Method,
        path: &'static str,
        query: &str,
        limit: Duration,
    ) -> Result<Response, ReceiverError> {
        let scheme = if endpoint.ca.is_some() { "https" } else { "http" };
        let host = endpoint.archive.host();
        let request = self.client(endpoint)?.request(method, format!("{scheme}://{host}:{RECEIVER_PORT}{path}{query}"));
        let response = request.bearer_auth(&endpoint.token).timeout(limit).send().await;
        let response = response.map_err(|e| unreachable(endpoint, &crate::cache::chain(&e.without_url())))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        Err(ReceiverError::Refused { host, path, status: status.as_u16() })
    }

    fn client(&self, endpoint: &Endpoint) -> Result<Client, ReceiverError> {
        let mut clients = self.clients.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((of, client)) = clients.get(&endpoint.archive)
            && of == endpoint
        {
            return Ok(client.clone());
        }
        let client = connect(endpoint).map_err(|e| unreachable(endpoint, &crate::cache::chain(&e)))?;
        if clients.len() >= MOST_CLIENTS
            && let Some(other) = clients.keys().next().cloned()
        {
            clients.remove(&other);
        }
        clients.insert(endpoint.archive.clone(), (endpoint.clone(), client.clone()));
        Ok(client)
    }

    /// Forgets the connection to an archive that is gone.
    pub fn forget(&self, archive: &ArchiveName) {
        self.clients.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(archive);
    }
}

fn connect(endpoint: &Endpoint) -> reqwest::Result<Client> {
    let address = SocketAddr::new(endpoint.address, RECEIVER_PORT);
    let mut builder = Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(1)
        .connect_timeout(CONNECT_TIMEOUT)
        .resolve(&endpoint.archive.host(), address);
    if let Some(ca) = &endpoint.ca {
        // Nobody else can vouch for a receiver.
        builder = builder.tls_certs_only(Certificate::from_pem_bundle(ca.as_bytes())?);
    }
    builder.build()
}

/// The answer, if it is not longer than `longest` bytes.
async fn body(endpoint: &Endpoint, mut response: Response, longest: usize) -> Result<Vec<u8>, ReceiverError> {
    let mut body = Vec::new();
    while let Some(chunk) =
        response.chunk().await.map_err(|e| unreachable(endpoint, &crate::cache::chain(&e.without_url())))?
    {
        if body.len() + chunk.len() > longest {
            return Err(unreachable(endpoint, &format!("answers with more than {longest} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn unreachable(endpoint: &Endpoint, reason: &str) -> ReceiverError {
    ReceiverError::Unreachable { host: endpoint.archive.host(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
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

    #[tokio::test]
    async fn a_long_answer_keeps_its_place_until_it_is_dropped() {
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
