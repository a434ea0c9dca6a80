//! Senders as Prometheus is one: several connections, the same bytes again until they are acknowledged, and again what may have
//! been acknowledged already.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::book::Book;
use super::http::Connection;
use super::random::Random;
use super::rows::{Body, Row, encode};

/// Requests that a sender remembers to send again.
const REMEMBERED: usize = 48;
/// What an answer may take before a sender tries again.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What a sender does besides sending new rows, in percent of its requests.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    /// How many send at the same time.
    pub connections: u32,
    /// The same bytes again after they were acknowledged, as a restarted Prometheus does.
    pub resend: u64,
    /// Rows of several earlier requests in a new one.
    pub rebatch: u64,
    /// Gives up waiting for an answer after a millisecond.
    pub impatient: u64,
    /// Gives up a request that failed, as a Prometheus that dies; 100: never sends anything twice.
    pub abandon: u64,
    /// Longest pause between requests.
    pub pause_ms: u64,
}

impl Default for Manners {
    fn default() -> Self {
        Self { connections: 3, resend: 8, rebatch: 8, impatient: 3, abandon: 4, pause_ms: 10 }
    }
}

impl Manners {
    /// Sends nothing twice, whatever happens.
    pub fn once() -> Self {
        Self { resend: 0, rebatch: 0, impatient: 0, abandon: 100, ..Self::default() }
    }
}

/// What senders have met.
#[derive(Debug, Default)]
pub struct Tally {
    /// Requests answered with 204.
    pub acknowledged: AtomicU64,
    /// Of those, requests sent again on purpose.
    pub resent: AtomicU64,
    /// Requests answered with 503.
    pub unavailable: AtomicU64,
    /// Requests without an answer.
    pub unanswered: AtomicU64,
    /// The last 503's reason.
    reason: Mutex<String>,
    /// Answers that must not be.
    forbidden: Mutex<Vec<String>>,
}

impl Tally {
    /// What stood in the last 503.
    pub fn reason(&self) -> String {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[derive(Debug, Default)]
struct Shared {
    book: Book,
    address: Mutex<Option<SocketAddr>>,
    stop: AtomicBool,
    tally: Tally,
}

/// Threads that send until they are dropped.
#[derive(Debug)]
pub struct Senders {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Senders {
    /// Starts sending, once there is an address.
    pub fn start(manners: Manners, random: &mut Random) -> Self {
        let shared = Arc::new(Shared::default());
        let sender = |random: Random| {
            let shared = shared.clone();
            std::thread::spawn(move || {
                Sender { shared, manners, random, recent: VecDeque::new(), connection: None }.run()
            })
        };
        let threads = (0..manners.connections).map(|_| sender(random.fork())).collect();
        Self { shared, threads }
    }

    /// Where the receiver listens now; with none, senders wait.
    pub fn aim(&self, address: Option<SocketAddr>) {
        *self.shared.address.lock().unwrap_or_else(PoisonError::into_inner) = address;
    }

    /// The ledger.
    pub fn book(&self) -> &Book {
        &self.shared.book
    }

    /// What they have met.
    pub fn tally(&self) -> &Tally {
        &self.shared.tally
    }

    /// Panics if a receiver ever blamed a sender, or answered what no receiver may.
    pub fn check_answers(&self) {
        let forbidden = self.shared.tally.forbidden.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(forbidden.is_empty(), "answers that drop a sender's data, or are none: {forbidden:#?}");
    }

    /// Waits until so many more requests are acknowledged, or `until` has come.
    pub fn wait_acknowledged(&self, more: u64, patience: Duration) -> bool {
        let acknowledged = || self.shared.tally.acknowledged.load(Ordering::SeqCst);
        let (want, until) = (acknowledged() + more, Instant::now() + patience);
        while acknowledged() < want && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
        acknowledged() >= want
    }

    /// Lets the requests in flight end, and sends no more.
    pub fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            assert!(thread.join().is_ok() || std::thread::panicking(), "a sender panicked");
        }
    }
}

impl Drop for Senders {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Clone)]
struct Request {
    rows: Vec<Row>,
    body: Body,
}

struct Sender {
    shared: Arc<Shared>,
    manners: Manners,
    random: Random,
    recent: VecDeque<Request>,
    connection: Option<(SocketAddr, Connection)>,
}

impl Sender {
    fn run(mut self) {
        while !self.stopped() {
            let (request, again) = self.choose();
            if self.deliver(&request) {
                self.shared.book.acknowledge(&request.rows);
                self.shared.tally.acknowledged.fetch_add(1, Ordering::SeqCst);
                self.shared.tally.resent.fetch_add(u64::from(again), Ordering::SeqCst);
                self.recent.push_back(request);
                if self.recent.len() > REMEMBERED {
                    self.recent.pop_front();
                }
            }
            let pause = self.random.up_to_ms(self.manners.pause_ms);
            std::thread::sleep(pause);
        }
    }

    fn stopped(&self) -> bool {
        self.shared.stop.load(Ordering::SeqCst)
    }

    /// The next request, and whether all of it was sent before.
    fn choose(&mut self) -> (Request, bool) {
        let (chance, any) = (self.random.below(100), self.random.below(self.recent.len() as u64) as usize);
        if let Some(request) = self.recent.get(any) {
            if chance < self.manners.resend {
                return (request.clone(), true);
            }
            if chance < self.manners.resend + self.manners.rebatch {
                return (self.rebatched(any), true);
            }
        }
        let rows = self.shared.book.new_block();
        (Request { body: encode(&rows, false), rows }, false)
    }

    /// Some rows of two or three requests, in another order than they were sent.
    fn rebatched(&mut self, first: usize) -> Request {
        let mut rows = Vec::new();
        for request in self.recent.iter().skip(first).take(3) {
            rows.extend(request.rows.iter().filter(|_| self.random.percent(60)));
        }
        rows.sort_unstable_by_key(|row: &Row| std::cmp::Reverse(row.id));
        rows.dedup();
        if rows.is_empty() {
            rows = self.recent.get(first).map(|request| request.rows.clone()).unwrap_or_default();
        }
        Request { body: encode(&rows, self.random.percent(50)), rows }
    }

    /// Sends until it is acknowledged; false if it was given up.
    fn deliver(&mut self, request: &Request) -> bool {
        loop {
            let Some(address) = *self.shared.address.lock().unwrap_or_else(PoisonError::into_inner) else {
                if self.stopped() {
                    return false;
                }
                std::thread::sleep(Duration::from_millis(1));
                continue;
            };
            match self.attempt(address, request) {
                Ok(response) if response.status == 204 => return true,
                Ok(response) if response.status == 503 => {
                    self.shared.tally.unavailable.fetch_add(1, Ordering::SeqCst);
                    *self.shared.tally.reason.lock().unwrap_or_else(PoisonError::into_inner) = response.body;
                }
                Ok(response) => {
                    let mut forbidden = self.shared.tally.forbidden.lock().unwrap_or_else(PoisonError::into_inner);
                    forbidden.push(format!("{} {}", response.status, response.body));
                    return false;
                }
                Err(_) => {
                    self.connection = None;
                    self.shared.tally.unanswered.fetch_add(1, Ordering::SeqCst);
                }
            }
            if self.stopped() || self.random.percent(self.manners.abandon) {
                return false;
            }
            let backoff = self.random.up_to_ms(20);
            std::thread::sleep(backoff);
        }
    }

    fn attempt(&mut self, address: SocketAddr, request: &Request) -> std::io::Result<super::http::Response> {
        let timeout = if self.random.percent(self.manners.impatient) { Duration::from_millis(1) } else { TIMEOUT };
        if self.connection.as_ref().is_none_or(|(to, _)| *to != address) {
            self.connection = Some((address, Connection::open(address, timeout)?));
        }
        let Some((_, connection)) = &mut self.connection else { return Err(std::io::ErrorKind::NotConnected.into()) };
        connection.set_timeout(timeout)?;
        connection.write(&request.body)
    }
}
