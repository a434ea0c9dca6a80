//! Health and metrics over plain HTTP: `/-/healthy`, `/-/ready`, `/metrics`. They tell nothing secret and change nothing.
//!
//! Everybody who reaches the port may ask, so nobody may hold it: connections are few, in all and from one address; a request's head
//! has to be short and to come soon; a connection that waits for too long is closed; and no body is read. When all slots are taken, the
//! connection that has waited longest without a request makes room for a new one.

mod slots;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::process::supervisor::{Supervisor, Task};
use crate::process::{Health, metrics};
use slots::{Slot, Slots};

/// From connecting, or from the answer before, to the end of a request's head.
const HEAD: Duration = Duration::from_secs(5);
/// From the head to the end of the answer: whoever does not take it is not waited for.
const ANSWER: Duration = Duration::from_secs(10);
/// Longest head of a request.
const HEAD_BYTES: usize = 16 << 10;
/// A listener that cannot accept, most likely for want of files, tries again.
const AFTER_FAILURE: Duration = Duration::from_millis(250);

/// The address is taken.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct ListenError {
    address: SocketAddr,
    source: io::Error,
}

/// Serves in the background.
pub(crate) async fn start(
    address: SocketAddr,
    health: Arc<Health>,
    supervisor: &Supervisor,
) -> Result<(), ListenError> {
    let listeners = bind(address).await.map_err(|source| ListenError { address, source })?;
    info!(%address, "health and metrics");
    let slots = Slots::default();
    for listener in listeners {
        supervisor.task(Task::Server, accept(listener, slots.clone(), health.clone()));
    }
    Ok(())
}

/// One listener, or for `[::]` one for each family. On most machines one for IPv6 takes connections of both families, so that the second
/// finds the port in use; some have no IPv6, and some keep the families apart.
async fn bind(address: SocketAddr) -> io::Result<Vec<TcpListener>> {
    let first = TcpListener::bind(address).await;
    if address.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        return first.map(|listener| vec![listener]);
    }
    let port =
        first.as_ref().ok().and_then(|listener| listener.local_addr().ok()).map_or(address.port(), |at| at.port());
    let second = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await;
    match (first, second) {
        (Ok(first), Ok(second)) => Ok(vec![first, second]),
        (Ok(one), Err(_)) => Ok(vec![one]),
        // Somebody else has the port.
        (Err(error), _) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
        (Err(_), Ok(one)) => Ok(vec![one]),
        (Err(error), Err(_)) => Err(error),
    }
}

#[cfg_attr(not(test), expect(clippy::disallowed_methods, reason = "the end of a connection is its own affair"))]
async fn accept(listener: TcpListener, slots: Slots, health: Arc<Health>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Without a slot the connection is closed at once.
                if let Some(slot) = slots.take(peer.ip().to_canonical()) {
                    tokio::spawn(serve(stream, slot, health.clone()));
                }
            }
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                warn!(%error, "cannot accept a connection; retrying");
                sleep(AFTER_FAILURE).await;
            }
        }
    }
}

fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Answers one request, for as long as nobody else needs the slot, then closes. Who comes rarely does not need a connection that stays.
async fn serve(stream: TcpStream, slot: Slot, health: Arc<Health>) {
    let service = service_fn(|request: Request<Incoming>| {
        slot.set_busy();
        let answer = answer(&request, &health);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        served = timeout(HEAD + ANSWER, connection) => match served {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%error, "a connection ended"),
            Err(_) => debug!("a connection took too long"),
        },
        () = slot.given_up() => {}
    }
}

fn answer(request: &Request<Incoming>, health: &Health) -> Response<String> {
    let text = "text/plain; charset=utf-8";
    let (status, content, body) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/-/healthy") => (StatusCode::OK, text, "healthy\n".to_owned()),
        (&Method::GET | &Method::HEAD, "/-/ready") => match health.not_ready() {
            None => (StatusCode::OK, text, "ready\n".to_owned()),
            Some(why) => (StatusCode::SERVICE_UNAVAILABLE, text, format!("{why}\n")),
        },
        (&Method::GET | &Method::HEAD, "/metrics") => {
            let metrics = metrics::text(health.is_working());
            (StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", metrics)
        }
        (_, "/-/healthy" | "/-/ready" | "/metrics") => {
            (StatusCode::METHOD_NOT_ALLOWED, text, "method not allowed; use GET\n".to_owned())
        }
        _ => (
            StatusCode::NOT_FOUND,
            text,
            "path not found; valid paths are /-/healthy, /-/ready and /metrics\n".to_owned(),
        ),
    };
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content));
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn both_families_are_answered() {
        let listeners = bind("[::]:0".parse().unwrap()).await.unwrap();
        let port = listeners[0].local_addr().unwrap().port();
        let slots = Slots::default();
        for listener in listeners {
            tokio::spawn(accept(listener, slots.clone(), Arc::default()));
        }
        let mut addresses: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into()];
        // Not every machine has it.
        if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.is_ok() {
            addresses.push(Ipv6Addr::LOCALHOST.into());
        }
        for address in addresses {
            let mut stream = TcpStream::connect((address, port)).await.unwrap();
            stream.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{address}: {answer}");
        }
    }

    #[tokio::test]
    async fn a_port_that_somebody_has_is_an_error_and_one_address_is_one_listener() {
        let one = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        assert_eq!(one.len(), 1);
        assert!(bind(one[0].local_addr().unwrap()).await.is_err());
    }
}
