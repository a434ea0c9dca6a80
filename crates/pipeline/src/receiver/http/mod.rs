//! Paths, and what they answer.

mod answer;
mod deliveries;
mod write;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub(super) use answer::{answer_early, later, line};
use answer::{drains, internal};
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use deliveries::deliveries;
use hyper::header::{self, HeaderValue};
use hyper::{Method, StatusCode};
use promarchive_api::STOPPING;
use promarchive_api::receiver_settings::HttpSettings;
use promarchive_model::Protocol;
use promarchive_model::environment::Clock;
use tokio::sync::watch;
use tokio::time::Instant;
use write::write;

use crate::core::Delivered;
use crate::receiver::access::authorize;
use crate::receiver::admission::{Admission, Charge};
use crate::receiver::deliveries::{Marks, Source};
use crate::receiver::fair::Sender;
use crate::receiver::ingest::{Ingest, WriteError, Written};
use crate::receiver::metrics::{HttpLabels, Metrics, PathLabel, View, accepts_openmetrics};
use crate::receiver::tokens::Tokens;

/// What HTTP needs of the core below it; a test puts its own in place of [`Ingest`].
pub(super) trait WriteTarget: Clone + Send + Sync + 'static {
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
    /// For how long writes could be taken; none while they cannot.
    fn writable_for(&self) -> Option<Duration>;
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

    fn writable_for(&self) -> Option<Duration> {
        Ingest::writable_for(self)
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
/// How much of a refused request is read and thrown away, so that its sender sees the answer.
const DISCARD_BYTES: u64 = 128 << 20;
const DISCARD_PATIENCE: Duration = Duration::from_secs(5);
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
    let message = "path not found; valid paths are POST /api/v1/write, POST /receive, POST /-/flush, GET /api/v1/deliveries, \
         GET /-/healthy, GET /-/ready, GET /metrics";
    answer_early(request, DISCARD_BYTES, line(StatusCode::NOT_FOUND, message))
}

async fn wrong_method(request: Request) -> Response {
    let wants =
        if request.uri().path().starts_with("/-/flush") || is_write(request.uri().path()) { "POST" } else { "GET" };
    let message = format!("method {} is not allowed for this path: use {wants}", request.method());
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
