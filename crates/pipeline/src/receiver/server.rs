//! Listening, connections and the ordered end of both.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
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
use promarchive_api::receiver_settings::{HttpSettings, Timeouts};
use promarchive_api::tokens_file::TokensError;
use promarchive_model::environment::Clock;
use rustix::process::{Resource, getrlimit};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;
use tracing::{debug, info, warn};

use super::access::Peer;
use super::admission::Admission;
use super::connection::{Guarded, Patience, Progress};
use super::deliveries::Marks;
use super::held_slot::{self, HeldSlot, SlotTable};
use super::http::{App, WriteTarget, router};
use super::metrics::Metrics;
use super::slots::{Purpose, Stage};
use super::supervisor::{Supervisor, Task};
use super::tls::{self, TlsError};
use super::tokens::Tokens;

/// The longest head of a request, in bytes, its last empty line included.
const HEAD_BYTES: usize = 64 << 10;
/// What hyper may buffer of one connection, in bytes: any head, and 64 MiB for 1024 connections.
const CONNECTION_BUFFER_BYTES: usize = HEAD_BYTES;

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
pub(super) struct Server<T> {
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<App<T>>,
    tls: Option<watch::Receiver<Arc<ServerConfig>>>,
    slots: Arc<SlotTable>,
    /// What looks after files; begins and ends with the server.
    watches: Vec<(Task, BoxFuture<'static, ()>)>,
    supervisor: Supervisor,
    stop: watch::Sender<bool>,
}

impl<T: WriteTarget> Server<T> {
    /// Reads tokens and certificate and listens. From now on connections wait for [`Server::run`].
    pub(super) async fn bind(
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
        let slots = SlotTable::new(slot_limits(&settings), metrics.http_connections_displaced.clone());
        let app = App { target, settings, address, metrics, admission, tokens, marks, clock, started, stopping };
        Ok(Self { listener, address, app: Arc::new(app), tls, slots, watches, supervisor: Supervisor::default(), stop })
    }

    /// Whom it tells when one of its tasks ends too early.
    pub(super) fn supervised_by(self, supervisor: Supervisor) -> Self {
        Self { supervisor, ..self }
    }

    /// Where it listens; with port 0 given, the port that was taken.
    #[cfg(test)]
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `shutdown` resolves, then finishes what is in flight.
    pub(super) async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, address, app, tls, slots, watches, supervisor, stop } = self;
        let watches = start_all(watches, &supervisor);
        let scheme = if tls.is_some() { "https" } else { "http" };
        info!("listening on {scheme}://{address}");
        let timeouts = app.settings.timeouts.clone();
        let server = Arc::new(Connections {
            router: router(Arc::clone(&app)),
            tls,
            slots,
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
        io::ErrorKind::AddrInUse => "another program uses this address: stop it, or choose another port with --listen",
        io::ErrorKind::PermissionDenied => "ports below 1024 need privileges: choose another port with --listen",
        io::ErrorKind::AddrNotAvailable => {
            "this machine does not have this address: choose another address with --listen"
        }
        _ => "choose another address with --listen",
    }
}

/// How many connections there may be, as settings and system say.
fn slot_limits(settings: &HttpSettings) -> super::slots::Limits {
    let open_files = getrlimit(Resource::Nofile).current;
    let limits = held_slot::limits(settings, open_files);
    if limits.all < settings.max_connections {
        let files = open_files.unwrap_or_default();
        warn!(
            "at most {} connections are possible, because this process can open only {files} files: increase the \
             limit (ulimit -n)",
            limits.all
        );
    }
    limits
}

/// Connections that have lost their slot and are still open, at most: a burst of new ones must not use up the open files.
const MOST_CLOSING: usize = 16;

/// Takes connections for ever. Each gets a slot at once, for which another connection may have to close.
#[expect(clippy::disallowed_methods, reason = "the end of a connection is its own affair")]
async fn accept_all<T: WriteTarget>(
    listener: &TcpListener,
    app: &App<T>,
    server: &Arc<Connections>,
    connections: &mut JoinSet<()>,
) {
    let first = if server.tls.is_some() { Stage::Handshake } else { Stage::Idle };
    loop {
        while connections.try_join_next().is_some() {}
        while connections.len() > server.slots.size().saturating_add(MOST_CLOSING) {
            connections.join_next().await;
        }
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                accept_failed(&error).await;
                continue;
            }
        };
        let address = peer.ip().to_canonical();
        let slot = server.slots.take(address, first);
        let open = app.metrics.http_connections.clone();
        let server = Arc::clone(server);
        connections.spawn(async move {
            open.inc();
            server.serve(stream, slot, address).await;
            open.dec();
        });
    }
}

async fn accept_failed(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        return;
    }
    // Most likely too many open files, which passes as connections close.
    warn!("cannot accept a connection: {error}; retrying");
    sleep(Duration::from_millis(250)).await;
}

async fn finish(mut connections: JoinSet<()>, drain: Duration) {
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(drain, all).await.is_err() {
        warn!(
            connections = connections.len(),
            "closing connections with requests still in flight after {} s",
            drain.as_secs()
        );
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
    slots: Arc<SlotTable>,
    timeouts: Timeouts,
    stopping: watch::Receiver<bool>,
}

impl Connections {
    /// Serves a connection until its end. One that has to make room is cut off; a request that has just begun then is like one whose
    /// sender went away: it is finished or not, and the sender comes again.
    async fn serve(&self, stream: TcpStream, slot: HeldSlot, address: IpAddr) {
        // Answers are small and complete: nothing is gained by waiting for more.
        let _ = stream.set_nodelay(true);
        let too_late = async {
            match slot.purpose() {
                Purpose::Any => std::future::pending().await,
                Purpose::Probe => sleep(self.timeouts.probe).await,
            }
        };
        tokio::select! {
            () = self.serve_stream(stream, &slot, address) => {}
            () = slot.closing() => debug!("closing a connection from {address} because another connection needs its place"),
            () = too_late => debug!("closing a connection from {address} because its probe took too long"),
        }
    }

    async fn serve_stream(&self, stream: TcpStream, slot: &HeldSlot, address: IpAddr) {
        let Some(tls) = &self.tls else { return self.serve_http(stream, slot, address).await };
        let acceptor = TlsAcceptor::from(tls.borrow().clone());
        let mut stopping = self.stopping.clone();
        let handshake = timeout(self.timeouts.tls_handshake, acceptor.accept(stream));
        tokio::select! {
            shaken = handshake => match shaken {
                Ok(Ok(stream)) => {
                    slot.enter(Stage::Idle);
                    self.serve_http(stream, slot, address).await;
                }
                Ok(Err(error)) => debug!("TLS handshake failed: {error}"),
                Err(_) => debug!("TLS handshake took too long"),
            },
            () = signal(&mut stopping) => {}
        }
    }

    async fn serve_http(&self, stream: impl AsyncRead + AsyncWrite + Unpin, slot: &HeldSlot, address: IpAddr) {
        let progress = Progress::default();
        let patience = Patience {
            head: self.timeouts.head,
            idle_stranger: self.timeouts.idle_stranger,
            write: self.timeouts.stalled_answer,
        };
        let stream = Guarded::new(stream, progress.clone(), patience);
        let peer = Peer { address, purpose: slot.purpose(), progress: progress.clone() };
        let service = service_fn(|request: Request<Incoming>| {
            progress.begin_request();
            slot.enter(Stage::Busy);
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer.clone());
            let answer = self.router.clone().oneshot(request);
            let progress = progress.clone();
            async move {
                let answer = answer.await;
                if progress.is_known() {
                    slot.known();
                }
                slot.enter(Stage::Idle);
                progress.end_request();
                answer
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.timeouts.idle)
            .max_buf_size(CONNECTION_BUFFER_BYTES)
            .max_header_size(HEAD_BYTES)
            .keep_alive(slot.purpose() == Purpose::Any)
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
