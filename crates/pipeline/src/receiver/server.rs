//! Listening, connections and the ordered end of both.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures::FutureExt;
use futures::future::BoxFuture;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;
use tracing::{debug, info, warn};

use super::access::Peer;
use super::admission::Admission;
use super::connection::{Guarded, InRequest};
use super::deliveries::Marks;
use super::http::{App, WriteTarget, router};
use super::metrics::Metrics;
use super::settings::{HttpSettings, Timeouts};
use super::supervisor::{Supervisor, Task};
use super::tls::{self, TlsError};
use super::tokens::{Tokens, TokensError};
use crate::environment::Clock;

/// What hyper may buffer of one connection, in bytes: enough for any head, and 64 MiB for 1024 connections.
const CONNECTION_BUFFER_BYTES: usize = 64 << 10;

/// Why the receiver cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; {advice}")]
    Bind {
        /// The address as given.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
        /// What to do.
        advice: &'static str,
    },
    /// The tokens file is wrong.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// Certificate or key are wrong.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A receiver's HTTP side that listens, and does not answer yet.
pub struct Server<T> {
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<App<T>>,
    tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    /// What looks after files; begins and ends with the server.
    watches: Vec<(Task, BoxFuture<'static, ()>)>,
    supervisor: Supervisor,
    stop: watch::Sender<bool>,
}

/// Serves HTTP until `shutdown` resolves, then finishes the requests in flight, for at most `settings.timeouts.drain`.
///
/// Listens at once, also while `target` is not ready: it says so itself, to probes and to senders.
pub async fn serve<T: WriteTarget>(
    settings: HttpSettings,
    target: T,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    Server::bind(settings, target, metrics, clock).await?.run(shutdown).await;
    Ok(())
}

impl<T: WriteTarget> Server<T> {
    /// Reads tokens and certificate and listens. From now on connections wait for [`Server::run`].
    pub async fn bind(
        settings: HttpSettings,
        target: T,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ServeError> {
        let mut watches = Vec::new();
        let tokens = match &settings.tokens {
            None => None,
            Some(file) => {
                let (tokens, watch) = Tokens::load(file, settings.unknown_tokens).await?;
                let watch = watch.run(settings.timeouts.tokens_poll, Arc::clone(&metrics));
                watches.push((Task::TokensWatch, watch.boxed()));
                Some(tokens)
            }
        };
        let tls = match &settings.tls {
            None => None,
            Some(files) => {
                let (current, watch) = tls::load(files.clone()).await?;
                let watch = watch.run(settings.timeouts.tls_poll, Arc::clone(&metrics));
                watches.push((Task::CertificateWatch, watch.boxed()));
                Some(current)
            }
        };
        let refused =
            |source: io::Error| ServeError::Bind { address: settings.listen, advice: advice(&source), source };
        let listener = TcpListener::bind(settings.listen).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let (stop, stopping) = watch::channel(false);
        let admission = Admission::new(&settings, metrics.http_in_flight_bytes.clone());
        let (started, marks) = (clock.now_ms(), Mutex::new(Marks::default()));
        let app = Arc::new(App { target, settings, metrics, admission, tokens, marks, clock, started, stopping });
        Ok(Self { listener, address, app, tls, watches, supervisor: Supervisor::default(), stop })
    }

    /// Whom it tells when one of its tasks ends too early.
    pub(super) fn supervised_by(self, supervisor: Supervisor) -> Self {
        Self { supervisor, ..self }
    }

    /// Where it listens; with port 0 given, the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `shutdown` resolves, then finishes what is in flight.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, address, app, tls, watches, supervisor, stop } = self;
        let watches = start_all(watches, &supervisor);
        let scheme = if tls.is_some() { "https" } else { "http" };
        info!("listening on {scheme}://{address}");
        let timeouts = app.settings.timeouts.clone();
        let server = Arc::new(Connections {
            router: router(Arc::clone(&app)),
            tls,
            timeouts: timeouts.clone(),
            stopping: app.stopping.clone(),
        });
        let mut connections = JoinSet::new();
        {
            let accepting = accept_all(&listener, &app, &server, &mut connections);
            tokio::select! {
                () = accepting => {}
                () = shutdown => {}
            }
        }
        // Closed before anything else, so that new connections are refused and not left waiting.
        drop(listener);
        stop.send_replace(true);
        finish(connections, timeouts.drain).await;
        drop(watches);
    }
}

/// They end when the set is dropped.
#[expect(clippy::disallowed_methods, reason = "the supervisor watches them")]
fn start_all(watches: Vec<(Task, BoxFuture<'static, ()>)>, supervisor: &Supervisor) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for (task, work) in watches {
        tasks.spawn(supervisor.watched(task, work));
    }
    tasks
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program listens there: stop it, or choose another port with --listen",
        io::ErrorKind::PermissionDenied => "ports below 1024 need privileges: choose another with --listen",
        io::ErrorKind::AddrNotAvailable => "this machine has no such address: choose another with --listen",
        _ => "choose another address with --listen",
    }
}

/// Takes connections, never more than so many at a time, for ever.
#[expect(clippy::disallowed_methods, reason = "the end of a connection is its own affair")]
async fn accept_all<T: WriteTarget>(
    listener: &TcpListener,
    app: &App<T>,
    server: &Arc<Connections>,
    connections: &mut JoinSet<()>,
) {
    let slots = Arc::new(Semaphore::new(app.settings.max_connections));
    loop {
        while connections.try_join_next().is_some() {}
        // The semaphore is never closed.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                accept_failed(&error).await;
                continue;
            }
        };
        let open = app.metrics.http_connections.clone();
        let server = Arc::clone(server);
        connections.spawn(async move {
            open.inc();
            server.serve(stream, Peer(peer.ip().to_canonical())).await;
            open.dec();
            drop(slot);
        });
    }
}

async fn accept_failed(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        return;
    }
    // Most likely too many open files, which passes as connections close.
    warn!("cannot accept a connection: {error}; trying again");
    sleep(Duration::from_millis(250)).await;
}

async fn finish(mut connections: JoinSet<()>, drain: Duration) {
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(drain, all).await.is_err() {
        warn!(connections = connections.len(), "requests still in flight after {} s are cut off", drain.as_secs());
    }
}

/// Resolves when the signal to stop has come.
async fn signal(stopping: &mut watch::Receiver<bool>) {
    // An error means that the server is gone, which is a stop as well.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// What every connection is served with.
struct Connections {
    router: Router,
    tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    timeouts: Timeouts,
    stopping: watch::Receiver<bool>,
}

impl Connections {
    async fn serve(&self, stream: TcpStream, peer: Peer) {
        // Answers are small and complete: nothing is gained by waiting for more.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else { return self.serve_http(stream, peer).await };
        let acceptor = TlsAcceptor::from(tls.borrow().clone());
        let mut stopping = self.stopping.clone();
        let handshake = timeout(self.timeouts.tls_handshake, acceptor.accept(stream));
        tokio::select! {
            shaken = handshake => match shaken {
                Ok(Ok(stream)) => self.serve_http(stream, peer).await,
                Ok(Err(error)) => debug!("TLS handshake failed: {error}"),
                Err(_) => debug!("TLS handshake took too long"),
            },
            () = signal(&mut stopping) => {}
        }
    }

    async fn serve_http(&self, stream: impl AsyncRead + AsyncWrite + Unpin, peer: Peer) {
        let in_request = InRequest::default();
        let stream = Guarded::new(stream, in_request.clone(), self.timeouts.head, self.timeouts.stalled_answer);
        let service = service_fn(|request: Request<Incoming>| {
            in_request.set(true);
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer);
            let answer = self.router.clone().oneshot(request);
            let in_request = in_request.clone();
            async move {
                let answer = answer.await;
                in_request.set(false);
                answer
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.timeouts.idle)
            .max_buf_size(CONNECTION_BUFFER_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let mut stopping = self.stopping.clone();
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = signal(&mut stopping) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            debug!("connection ended: {error}");
        }
    }
}
