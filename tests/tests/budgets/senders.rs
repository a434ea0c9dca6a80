//! Senders that note what was acknowledged, and the comparison of their notes with the tables.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use promarchive_tests::ledger::{Connection, Response};
use promarchive_tests::readers::Reader;

use crate::loads::{Load, Manners};

/// Longest time that one request may take to be acknowledged, all its tries together.
const PATIENCE: Duration = Duration::from_secs(60);
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// What Prometheus waits before it tries again, if it is not told; doubled up to the longest.
const FIRST_BACKOFF: Duration = Duration::from_millis(30);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// What one sender has seen.
#[derive(Debug)]
pub struct Notes {
    metric: String,
    load: Load,
    /// By request: whether it was acknowledged.
    pub acknowledged: Vec<bool>,
    /// From the first try of a request to its acknowledgement.
    pub waits: Vec<Duration>,
    /// Answers with 503, and what the last one said.
    pub put_off: u64,
    reason: String,
    /// Tries without an answer.
    pub unanswered: u64,
}

/// Sends until `stop`, then ends what it has begun.
pub fn send(address: SocketAddr, metric: &str, load: Load, manners: Manners, stop: &AtomicBool) -> Notes {
    let mut notes = Notes {
        metric: metric.to_owned(),
        load,
        acknowledged: Vec::new(),
        waits: Vec::new(),
        put_off: 0,
        reason: String::new(),
        unanswered: 0,
    };
    let mut connection = None;
    while !stop.load(Ordering::SeqCst) {
        let body = load.body(metric, notes.acknowledged.len() as u64 * load.rows);
        let begun = Instant::now();
        let mut backoff = FIRST_BACKOFF;
        let acknowledged = loop {
            let answer = attempt(&mut connection, address, &body);
            let told = match answer {
                Ok(Response { status: 204, .. }) => break true,
                Ok(Response { status: 503, retry_after, body }) => {
                    assert!(retry_after.is_some(), "503 without Retry-After: {body}");
                    notes.put_off += 1;
                    notes.reason = body;
                    retry_after
                }
                Ok(Response { status, body, .. }) => panic!("{metric}: good data was answered with {status}: {body}"),
                Err(_) => {
                    (connection, notes.unanswered) = (None, notes.unanswered + 1);
                    None
                }
            };
            let given_up = !manners.patient && stop.load(Ordering::SeqCst);
            if given_up || begun.elapsed() > PATIENCE {
                break false;
            }
            if manners.patient {
                sleep(told.unwrap_or(backoff));
                backoff = (backoff * 2).min(LONGEST_BACKOFF);
            }
        };
        notes.acknowledged.push(acknowledged);
        notes.waits.extend(acknowledged.then(|| begun.elapsed()));
        sleep(manners.pause);
    }
    notes
}

fn attempt(
    connection: &mut Option<Connection>,
    address: SocketAddr,
    body: &promarchive_tests::ledger::Body,
) -> std::io::Result<Response> {
    if connection.is_none() {
        *connection = Some(Connection::open(address, ANSWER_WITHIN)?);
    }
    connection.as_mut().unwrap().write(body)
}

impl Notes {
    /// Rows that were acknowledged.
    pub fn rows(&self) -> u64 {
        self.acknowledged.iter().filter(|&&acknowledged| acknowledged).count() as u64 * self.load.rows
    }

    /// A wait that so many of a hundred were not longer than.
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut waits = self.waits.clone();
        waits.sort_unstable();
        waits.get((waits.len() * percent / 100).min(waits.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    /// In one line.
    pub fn tell(&self) -> String {
        let (half, most, longest) = (self.percentile(50), self.percentile(99), self.percentile(100));
        format!(
            "{}: {} of {} requests ({} rows) acknowledged, put off {} times ({}), unanswered {}; waits p50 {half:.1?} p99 {most:.1?} \
             longest {longest:.1?}",
            self.metric,
            self.waits.len(),
            self.acknowledged.len(),
            self.rows(),
            self.put_off,
            self.reason,
            self.unanswered,
        )
    }
}

/// What was acknowledged is in the tables exactly once, and nothing else is there twice, or was never sent.
pub fn check(archive: &Path, senders: &[Notes]) {
    let mut seen: HashMap<&str, Vec<u8>> = senders
        .iter()
        .map(|notes| (notes.metric.as_str(), vec![0; notes.acknowledged.len() * notes.load.rows as usize]))
        .collect();
    for batch in Reader::DuckDb.read(archive, "samples", &["metric", "value"]) {
        let (metrics, values) = (batch["metric"].as_string::<i32>(), batch["bits"].as_primitive::<Int64Type>());
        for (metric, &bits) in metrics.iter().zip(values.values()) {
            let rows = seen.get_mut(metric.unwrap()).expect("a metric that was sent");
            rows[f64::from_bits(bits.cast_unsigned()) as usize] += 1;
        }
    }
    for notes in senders {
        let rows = notes.load.rows as usize;
        for (request, times) in seen[notes.metric.as_str()].chunks(rows).enumerate() {
            let least = u8::from(notes.acknowledged[request]);
            let wrong = times.iter().filter(|&&times| times < least || times > 1).count();
            assert_eq!(wrong, 0, "request {request} of {}: {wrong} of {rows} rows are lost or doubled", notes.metric);
        }
    }
}
