//! HTTP over real sockets, with a target that answers as its test wants.

mod answers;
mod auth;
mod client;
mod life_cycle;
mod limits;
mod secure;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use promarchive_api::receiver_settings::HttpSettings;
use promarchive_model::Protocol;
use promarchive_model::environment::{Clock, SystemClock};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::admission::Charge;
use super::fair::Sender;
use super::http::WriteTarget;
use super::ingest::{WriteError, Written};
use super::metrics::Metrics;
use super::server::Server;

/// Answers what it was told to, in order; then that one sample was written.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<Result<Written, WriteError>>>>,
    not_ready: Arc<Mutex<Option<String>>>,
    seen: Arc<Mutex<Vec<(Protocol, Bytes)>>>,
    delay: Duration,
    finished: Arc<AtomicUsize>,
}

impl Script {
    fn then(self, answer: Result<Written, WriteError>) -> Self {
        self.answers.lock().unwrap().push_back(answer);
        self
    }

    fn slow(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }

    fn seen(&self) -> Vec<(Protocol, Bytes)> {
        self.seen.lock().unwrap().clone()
    }
}

impl WriteTarget for Script {
    async fn room(&self, _: &Sender) -> Result<(), WriteError> {
        Ok(())
    }

    async fn write(&self, _: Sender, protocol: Protocol, body: Bytes, _: Charge) -> Result<Written, WriteError> {
        self.seen.lock().unwrap().push((protocol, body));
        tokio::time::sleep(self.delay).await;
        self.finished.fetch_add(1, Ordering::SeqCst);
        let one = Written { samples: 1, ..Written::default() };
        self.answers.lock().unwrap().pop_front().unwrap_or(Ok(one))
    }

    async fn flush(&self) -> Result<String, String> {
        match &*self.not_ready.lock().unwrap() {
            None => Ok("{\"committed\":1}".to_owned()),
            Some(reason) => Err(reason.clone()),
        }
    }

    fn not_ready(&self) -> Option<String> {
        self.not_ready.lock().unwrap().clone()
    }

    fn writable_for(&self) -> Option<Duration> {
        self.not_ready().is_none().then_some(Duration::from_secs(7))
    }
}

/// A server that runs, and can be told to stop.
struct Running {
    address: std::net::SocketAddr,
    metrics: Arc<Metrics>,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl Running {
    async fn stop(self) {
        let _ = self.stop.send(());
        self.ended.await.unwrap();
    }
}

/// Any free port, small limits, file polls of a test's patience.
fn settings() -> HttpSettings {
    let mut settings = HttpSettings {
        listen: "127.0.0.1:0".parse().unwrap(),
        max_request_bytes: 64 << 10,
        max_decoded_bytes: 64 << 10,
        in_flight_bytes: 256 << 10,
        ..HttpSettings::default()
    };
    settings.timeouts.tokens_poll = Duration::from_millis(20);
    settings.timeouts.tls_poll = Duration::from_millis(20);
    settings
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::default())
}

async fn start(settings: HttpSettings, target: Script) -> Running {
    let metrics = Arc::new(Metrics::new());
    let server = Server::bind(settings, target, Arc::clone(&metrics), clock()).await.unwrap();
    let address = server.address();
    let (stop, stopped) = oneshot::channel();
    let ended = tokio::spawn(server.run(async move {
        let _ = stopped.await;
    }));
    Running { address, metrics, stop, ended }
}

/// Waits until `happens`, for at most 5 s.
async fn eventually<F: Future<Output = bool>>(mut happens: impl FnMut() -> F) {
    for _ in 0..250 {
        if happens().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("did not happen within 5 s");
}
