//! Paths, and what they answer.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode, Uri};
use promarchive_api::{Deliveries, LONGEST_DELIVERY_BYTES};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::{debug, error};

use super::access::authorize;
use super::admission::{Admission, Busy, Charge};
use super::body::{self, BodyError};
use super::deliveries::{self, Delivered, Marks, Source};
use super::fair::Sender;
use super::ingest::{Ingest, WriteError, Written};
use super::metrics::{HttpLabels, Metrics, PathLabel, View, accepts_openmetrics};
use super::settings::HttpSettings;
use super::tokens::Tokens;
use crate::environment::Clock;
use crate::remote_write::{Protocol, negotiate};

/// What HTTP needs of the core below it; a test puts its own in place of [`Ingest`].
pub trait WriteTarget: Clone + Send + Sync + 'static {
    /// Waits until a sender may write.
    fn room(&self, sender: &Sender) -> impl Future<Output = Result<(), WriteError>> + Send;
    /// Keeps what one request holds; answers when it is durable. `charge` is for what the body is decoded to.
    fn write(
        &self,
        sender: Sender,
        protocol: Protocol,
        body: Bytes,
        charge: Charge,
    ) -> impl Future<Output = Result<Written, WriteError>> + Send;
    /// Commits everything acknowledged so far; answers with a report in JSON, or why it could not, in one line.
    fn flush(&self) -> impl Future<Output = Result<String, String>> + Send;
    /// None when ready; else why not, in one line.
    fn not_ready(&self) -> Option<String>;
}

impl WriteTarget for Ingest {
    async fn room(&self, sender: &Sender) -> Result<(), WriteError> {
        Ingest::room(self, sender).await
    }

    async fn write(
        &self,
        sender: Sender,
        protocol: Protocol,
        body: Bytes,
        charge: Charge,
    ) -> Result<Written, WriteError> {
        Ingest::write(self, sender, protocol, body, charge).await
    }

    async fn flush(&self) -> Result<String, String> {
        let report = Ingest::flush(self).await.map_err(|error| error.to_string())?;
        serde_json::to_string(&report).map_err(|error| error.to_string())
    }

    fn not_ready(&self) -> Option<String> {
        Ingest::not_ready(self)
    }
}

/// What every request is served from.
pub(super) struct App<T> {
    pub(super) target: T,
    pub(super) settings: HttpSettings,
    /// Where it listens.
    pub(super) address: SocketAddr,
    pub(super) metrics: Arc<Metrics>,
    pub(super) admission: Admission,
    pub(super) tokens: Option<Tokens>,
    pub(super) marks: Mutex<Marks>,
    pub(super) clock: Arc<dyn Clock>,
    /// When the process started, milliseconds since the epoch.
    pub(super) started: i64,
    /// True once the signal to stop has come.
    pub(super) stopping: watch::Receiver<bool>,
}

impl<T: WriteTarget> App<T> {
    fn marks(&self) -> std::sync::MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mark(&self, source: Source, delivered: Delivered) {
        self.marks().record(source, delivered, self.clock.now_ms());
    }

    /// None when ready; else why not, in one line.
    fn not_ready(&self) -> Option<String> {
        if *self.stopping.borrow() { Some(STOPPING.to_owned()) } else { self.target.not_ready() }
    }
}

const PATHS: [&str; 7] =
    ["/api/v1/write", "/receive", "/api/v1/deliveries", "/-/healthy", "/-/ready", "/-/flush", "/metrics"];

/// When a sender is to come again, in seconds, if nothing better is known.
pub(super) const RETRY_AFTER_S: u64 = 5;
/// The same where only other requests are in the way.
const RETRY_SOON_S: u64 = 1;
/// The longest message in an answer, in bytes.
const LONGEST_MESSAGE_BYTES: usize = 2048;
/// How much of a refused request is read and thrown away, so that its sender sees the answer.
const DISCARD_BYTES: u64 = 128 << 20;
const DISCARD_PATIENCE: Duration = Duration::from_secs(5);
/// How a zstd frame begins, and no snappy block: a copy cannot come first.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// All paths of `app`.
pub(super) fn router<T: WriteTarget>(app: Arc<App<T>>) -> Router {
    Router::new()
        .route("/api/v1/write", post(write::<T>).get(ready::<T>))
        .route("/receive", post(write::<T>).get(ready::<T>))
        .route("/api/v1/deliveries", get(deliveries::<T>))
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready::<T>))
        .route("/-/flush", post(flush::<T>))
        .route("/metrics", get(metrics::<T>))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(&app), authorize::<T>))
        .layer(from_fn_with_state(Arc::clone(&app), observe::<T>))
        .with_state(app)
}

/// Counts and times every request.
async fn observe<T: WriteTarget>(State(app): State<Arc<App<T>>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let path = PATHS.into_iter().find(|path| *path == request.uri().path()).unwrap_or("other");
    let method = match *request.method() {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        _ => "other",
    };
    let response = next.run(request).await;
    let code = response.status().as_u16();
    app.metrics.http_requests.get_or_create(&HttpLabels { path, method, code }).inc();
    let seconds = started.elapsed().as_secs_f64();
    app.metrics.http_request_duration_seconds.get_or_create(&PathLabel { path }).observe(seconds);
    response
}

async fn not_found(request: Request) -> Response {
    let message = "no such path; there are POST /api/v1/write, POST /receive, POST /-/flush, GET /api/v1/deliveries, \
                   GET /-/healthy, GET /-/ready, GET /metrics";
    answer_early(request, DISCARD_BYTES, line(StatusCode::NOT_FOUND, message))
}

async fn wrong_method(request: Request) -> Response {
    let wants =
        if request.uri().path().starts_with("/-/flush") || is_write(request.uri().path()) { "POST" } else { "GET" };
    let message = format!("{} is not for this path: use {wants}", request.method());
    // The router adds the Allow header.
    answer_early(request, DISCARD_BYTES, line(StatusCode::METHOD_NOT_ALLOWED, &message))
}

pub(super) fn is_write(path: &str) -> bool {
    matches!(path, "/api/v1/write" | "/receive")
}

async fn healthy() -> Response {
    line(StatusCode::OK, "healthy")
}

async fn ready<T: WriteTarget>(State(app): State<Arc<App<T>>>) -> Response {
    match app.not_ready() {
        None => line(StatusCode::OK, "ready"),
        Some(reason) => later(&format!("not ready: {reason}"), RETRY_AFTER_S),
    }
}

#[expect(clippy::disallowed_methods, reason = "its end is waited for here")]
async fn flush<T: WriteTarget>(State(app): State<Arc<App<T>>>) -> Response {
    // A task of its own: who has asked may go away, the flush goes on.
    let target = app.target.clone();
    let flushed = tokio::spawn(async move { target.flush().await });
    match flushed.await {
        Ok(Ok(report)) => ([(header::CONTENT_TYPE, "application/json")], report + "\n").into_response(),
        Ok(Err(reason)) => later(&reason, RETRY_AFTER_S),
        Err(error) => internal("flush", &error),
    }
}

async fn deliveries<T: WriteTarget>(
    State(app): State<Arc<App<T>>>,
    Extension(source): Extension<Source>,
    uri: Uri,
) -> Response {
    let Ok(limit) = deliveries::limit(uri.query()) else {
        return line(StatusCode::BAD_REQUEST, "limit is not a number: ask as in /api/v1/deliveries?limit=1000");
    };
    // The marks, and the same as text.
    let most = app.marks().len().min(limit).saturating_mul(2 * LONGEST_DELIVERY_BYTES);
    let Ok(mut charge) = app.admission.answer(&source.sender(), most as u64).await else {
        return later(&Busy.to_string(), RETRY_SOON_S);
    };
    let reason = app.not_ready();
    let told = Deliveries {
        started: app.started,
        now: app.clock.now_ms(),
        ready: reason.is_none(),
        reason,
        senders: app.tokens.as_ref().map(|tokens| tokens.current().senders()).unwrap_or_default(),
        deliveries: app.marks().list(limit),
    };
    match serde_json::to_string(&told) {
        Ok(json) => {
            drop(told);
            charge.shrink_to(json.len());
            let body = Bytes::from_owner(Charged { text: json + "\n", _charge: charge });
            ([(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
        Err(error) => later(&error.to_string(), RETRY_AFTER_S),
    }
}

/// An answer that counts for as long as it is in memory: a client may read slowly, or not at all.
struct Charged {
    text: String,
    _charge: Charge,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

async fn metrics<T: WriteTarget>(State(app): State<Arc<App<T>>>, request: Request) -> Response {
    let view = if request.extensions().get::<Source>().is_some() { View::Full } else { View::WithoutSenders };
    app.metrics.ready.set(i64::from(app.not_ready().is_none()));
    let accepts = |value: &HeaderValue| value.to_str().is_ok_and(accepts_openmetrics);
    if request.headers().get_all(header::ACCEPT).iter().any(accepts) {
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        return ([(header::CONTENT_TYPE, kind)], app.metrics.openmetrics(view)).into_response();
    }
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], app.metrics.text(view)).into_response()
}

/// One remote-write request.
async fn write<T: WriteTarget>(
    State(app): State<Arc<App<T>>>,
    Extension(source): Extension<Source>,
    request: Request,
) -> Response {
    let started = Instant::now();
    let headers = request.headers();
    let negotiated = match (joined(headers, header::CONTENT_TYPE), joined(headers, header::CONTENT_ENCODING)) {
        (Ok(kind), Ok(encoding)) => negotiate(kind.as_deref(), encoding.as_deref()).map_err(|error| error.to_string()),
        (Err(unreadable), _) | (_, Err(unreadable)) => Err(unreadable),
    };
    let protocol = match negotiated {
        Ok(protocol) => protocol,
        Err(fault) => {
            return answer_early(request, DISCARD_BYTES, line(StatusCode::UNSUPPORTED_MEDIA_TYPE, &fault));
        }
    };
    let outcome = accept(&app, source, protocol, request, started).await;
    respond(protocol, outcome)
}

/// The values of a header that may be there once, as text; several are joined as RFC 9110 says.
fn joined(headers: &HeaderMap, name: HeaderName) -> Result<Option<String>, String> {
    let values: Result<Vec<&str>, _> = headers.get_all(&name).iter().map(HeaderValue::to_str).collect();
    match values {
        Ok(values) if values.is_empty() => Ok(None),
        Ok(values) => Ok(Some(values.join(", "))),
        Err(_) => Err(format!("the header {name} is not plain text")),
    }
}

/// What becomes of a write request whose protocol is known.
enum Outcome {
    Done(Written),
    TooLong(String),
    Unsupported(String),
    Bad(String),
    Later { reason: String, retry_after_s: u64 },
    Internal(Response),
}

const STOPPING: &str = "the receiver is stopping";

fn busy(busy: &Busy) -> Outcome {
    Outcome::Later { reason: busy.to_string(), retry_after_s: RETRY_SOON_S }
}

#[expect(clippy::disallowed_methods, reason = "its end is waited for here")]
async fn accept<T: WriteTarget>(
    app: &Arc<App<T>>,
    source: Source,
    protocol: Protocol,
    request: Request,
    started: Instant,
) -> Outcome {
    let (drain, sender) = (drains(&request), source.sender());
    let read = read_admitted(app, &sender, request.into_body(), started + app.settings.timeouts.body).await;
    let (body, charge) = match read {
        Ok(read) => read,
        Err((outcome, rest)) => {
            if let Some(rest) = rest.filter(|_| drain) {
                body::discard(rest, DISCARD_BYTES, DISCARD_PATIENCE);
            }
            return outcome;
        }
    };
    app.metrics.received_bytes.inc_by(u64::try_from(body.len()).unwrap_or(u64::MAX));
    if body.starts_with(&ZSTD_MAGIC) {
        return Outcome::Unsupported("the body is compressed with zstd; accepted: snappy (block format)".to_owned());
    }
    let writing = Arc::clone(app);
    // A task of its own: a sender that goes away takes nothing back half done, and the charge lasts as long as the work.
    let work = tokio::spawn(async move {
        let mut written = admit_and_write(&writing, sender, protocol, body).await;
        if let Some(delivered) = written.as_mut().ok().and_then(|written| written.delivered.take()) {
            writing.mark(source, delivered);
        }
        drop(charge);
        written
    });
    match timeout_at(started + app.settings.timeouts.answer, work).await {
        Ok(Ok(Ok(written))) => Outcome::Done(written),
        Ok(Ok(Err(WriteError::Undecodable(fault) | WriteError::TooLarge(fault)))) => Outcome::Bad(fault),
        Ok(Ok(Err(WriteError::Unavailable { reason, retry_after_s }))) => Outcome::Later { reason, retry_after_s },
        Ok(Err(error)) => Outcome::Internal(internal("write", &error)),
        // It may still be kept; the retry is then recognised.
        Err(_) => Outcome::Later { reason: "the write is taking too long".to_owned(), retry_after_s: RETRY_AFTER_S },
    }
}

/// Room first: who waits for it holds nothing of what others are decoded to.
async fn admit_and_write<T: WriteTarget>(
    app: &App<T>,
    sender: Sender,
    protocol: Protocol,
    body: Bytes,
) -> Result<Written, WriteError> {
    app.target.room(&sender).await?;
    // A declared length over the limit is the core's to refuse; it allocates nothing for it.
    let declared = snap::raw::decompress_len(&body).ok().and_then(|length| u64::try_from(length).ok());
    let declared = declared.filter(|length| *length <= app.settings.max_decoded_bytes).unwrap_or(0);
    let busy = |busy: Busy| WriteError::Unavailable { reason: busy.to_string(), retry_after_s: RETRY_SOON_S };
    let decoded = app.admission.decoded(&sender, declared).await.map_err(busy)?;
    app.target.write(sender, protocol, body, decoded).await
}

type Unread = (Outcome, Option<Body>);

/// Reads the body, after its memory has been given out.
async fn read_admitted<T: WriteTarget>(
    app: &App<T>,
    sender: &Sender,
    body: Body,
    deadline: Instant,
) -> Result<(Bytes, Charge), Unread> {
    let limit = app.settings.max_request_bytes;
    let declared = body::declared_length(&body);
    if *app.stopping.borrow() {
        let outcome = Outcome::Later { reason: STOPPING.to_owned(), retry_after_s: RETRY_AFTER_S };
        return Err((outcome, Some(body)));
    }
    if declared.is_some_and(|length| length > limit) {
        return Err((Outcome::TooLong(BodyError::TooLong { limit }.to_string()), Some(body)));
    }
    let mut charge = match app.admission.body(sender, declared.unwrap_or(limit)).await {
        Ok(charge) => charge,
        Err(nothing) => return Err((busy(&nothing), Some(body))),
    };
    let read = tokio::select! {
        read = body::read(body, limit, &app.admission, &mut charge) => Some(read),
        () = sleep_until(deadline) => None,
        () = stopped_for(app.stopping.clone(), app.settings.timeouts.stopping_body) => None,
    };
    let bytes = match read {
        Some(Ok(bytes)) => bytes,
        Some(Err((error, rest))) => return Err((unread(&error), Some(rest))),
        None => {
            // Not a 4xx: the network, or this machine, may be what is slow.
            let reason = "the request body did not come in time".to_owned();
            return Err((Outcome::Later { reason, retry_after_s: RETRY_AFTER_S }, None));
        }
    };
    charge.shrink_to(bytes.len());
    Ok((bytes, charge))
}

/// Resolves so long after the signal to stop.
async fn stopped_for(mut stopping: watch::Receiver<bool>, patience: Duration) {
    // An error means that the server is gone, which is a stop as well.
    let _ = stopping.wait_for(|stopping| *stopping).await;
    sleep(patience).await;
}

fn unread(error: &BodyError) -> Outcome {
    match error {
        BodyError::TooLong { .. } => Outcome::TooLong(error.to_string()),
        BodyError::Busy(_) => Outcome::Later { reason: error.to_string(), retry_after_s: RETRY_SOON_S },
        // Whoever broke it, a retry can mend it.
        BodyError::Broken(_) | BodyError::NoMemory { .. } => {
            Outcome::Later { reason: error.to_string(), retry_after_s: RETRY_AFTER_S }
        }
    }
}

/// The answer to a write request; with version 2 it says how much was written, whatever came of it.
fn respond(protocol: Protocol, outcome: Outcome) -> Response {
    let (written, mut response) = match outcome {
        Outcome::Done(written) => {
            let response = match &written.refused {
                None => StatusCode::NO_CONTENT.into_response(),
                Some(refused) => line(StatusCode::BAD_REQUEST, refused),
            };
            (written, response)
        }
        Outcome::TooLong(fault) => (Written::default(), line(StatusCode::PAYLOAD_TOO_LARGE, &fault)),
        // vmagent takes this for a reason to send the same in snappy.
        Outcome::Unsupported(fault) => (Written::default(), line(StatusCode::UNSUPPORTED_MEDIA_TYPE, &fault)),
        Outcome::Bad(fault) => (Written::default(), line(StatusCode::BAD_REQUEST, &fault)),
        Outcome::Later { reason, retry_after_s } => (Written::default(), later(&reason, retry_after_s)),
        Outcome::Internal(response) => (Written::default(), response),
    };
    // Version 1 must not have them: Prometheus would report partial writes.
    if protocol == Protocol::V2 {
        for (name, count) in [
            ("x-prometheus-remote-write-samples-written", written.samples),
            ("x-prometheus-remote-write-histograms-written", written.histograms),
            ("x-prometheus-remote-write-exemplars-written", written.exemplars),
        ] {
            response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from(count));
        }
    }
    response
}

/// One line of plain text.
pub(super) fn line(status: StatusCode, message: &str) -> Response {
    let mut text = String::with_capacity(message.len().min(LONGEST_MESSAGE_BYTES) + 1);
    for character in message.chars() {
        if text.len() + character.len_utf8() > LONGEST_MESSAGE_BYTES {
            text.push('…');
            break;
        }
        text.push(if character.is_control() { ' ' } else { character });
    }
    if status.is_client_error() || status.is_server_error() {
        debug!(status = status.as_u16(), "{text}");
    }
    text.push('\n');
    let kind = (header::CONTENT_TYPE, "text/plain; charset=utf-8");
    (status, [kind, (header::X_CONTENT_TYPE_OPTIONS, "nosniff")], text).into_response()
}

pub(super) fn later(reason: &str, retry_after_s: u64) -> Response {
    let after = (header::RETRY_AFTER, HeaderValue::from(retry_after_s.max(1)));
    ([after], line(StatusCode::SERVICE_UNAVAILABLE, reason)).into_response()
}

fn internal(what: &str, error: &tokio::task::JoinError) -> Response {
    error!("{what} ended abnormally: {error}; please report this as a bug");
    later("an internal error; the receiver's log says more", RETRY_AFTER_S)
}

/// Whether the rest of the request's body comes in any case, and is worth being thrown away.
fn drains(request: &Request) -> bool {
    // Who expects a 100 has not begun to send.
    !request.headers().contains_key(header::EXPECT)
}

/// Gives an answer that needs nothing of the body.
pub(super) fn answer_early(request: Request, bytes: u64, response: Response) -> Response {
    if drains(&request) {
        body::discard(request.into_body(), bytes, DISCARD_PATIENCE);
    }
    response
}
