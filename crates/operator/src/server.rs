//! Health and metrics over plain HTTP: `/-/healthy`, `/-/ready`, `/metrics`. They tell nothing secret and change nothing.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tracing::{error, info};

use crate::metrics;
use crate::run::RunError;

/// How far the process is.
#[derive(Debug, Default)]
pub struct Health {
    started: AtomicBool,
    working: AtomicBool,
    unguarded: Mutex<Option<String>>,
}

impl Health {
    /// It has a way to the API server, and waits for the Lease or works.
    pub fn set_started(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    /// It has the Lease and has seen everything once.
    pub fn set_working(&self) {
        self.working.store(true, Ordering::Relaxed);
    }

    /// What is wrong with the admission policies, if something is.
    pub fn set_unguarded(&self, fault: Option<String>) {
        *self.unguarded.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }
}

/// Serves in the background.
pub async fn start(address: SocketAddr, health: Arc<Health>) -> Result<(), RunError> {
    let listener = TcpListener::bind(address).await.map_err(|source| RunError::Listen { address, source })?;
    info!(%address, "health and metrics");
    let router = Router::new()
        .route("/-/healthy", get(|| async { "healthy\n" }))
        .route("/-/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            error!(%error, "health and metrics are not served any more");
        }
    });
    Ok(())
}

/// One that waits for the Lease is ready, too: it would take over.
async fn ready(State(health): State<Arc<Health>>) -> impl IntoResponse {
    if !health.started.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "no way to the API server yet\n".to_owned());
    }
    match &*health.unguarded.lock().unwrap_or_else(PoisonError::into_inner) {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(fault) => (StatusCode::SERVICE_UNAVAILABLE, format!("{fault}\n")),
    }
}

async fn metrics(State(health): State<Arc<Health>>) -> impl IntoResponse {
    let text = metrics::text(health.working.load(Ordering::Relaxed));
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
}
