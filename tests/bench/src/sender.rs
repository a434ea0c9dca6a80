//! What sends: one thread a connection, each request after the answer to the one before, as a shard of Prometheus does.

use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use promarchive_model::Protocol;
use reqwest::blocking::Client;

use crate::load::Request;
use crate::{Error, Result};

/// Tries of a request that is answered with "later".
const TRIES: u32 = 600;

/// What came back.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// Samples that the receiver says it has, or that it did not complain of.
    pub samples: u64,
    /// Requests answered with 4xx: part of them was refused.
    pub refused: u64,
    /// Requests that had to be sent again.
    pub retried: u64,
    /// From when a request was due to when its answer was read, of each.
    pub latencies: Vec<Duration>,
}

impl Answers {
    /// Both together.
    pub fn and(mut self, mut other: Self) -> Self {
        self.samples += other.samples;
        self.refused += other.refused;
        self.retried += other.retried;
        self.latencies.append(&mut other.latencies);
        self
    }
}

/// Sends requests, given by connection: as fast as they are taken, or paced at so many samples a second and for so long.
pub fn send(requests: &[&[Request]], protocol: Protocol, url: &str, pace: Option<(f64, Duration)>) -> Result<Answers> {
    let start = Instant::now();
    let connections = requests.len();
    let each = |(at, requests): (usize, &[Request])| -> Result<Answers> {
        let mut answers = Answers::default();
        let client = Client::builder().no_proxy().timeout(Duration::from_secs(300)).build()?;
        for (count, request) in requests.iter().enumerate() {
            let due = pace.map(|(rate, _)| {
                let before = (count * connections + at) as f64 * request.samples as f64;
                start + Duration::from_secs_f64(before / rate)
            });
            if pace.is_some_and(|(_, length)| due.is_some_and(|due| due > start + length)) {
                break;
            }
            if let Some(due) = due {
                sleep(due.saturating_duration_since(Instant::now()));
            }
            let due = due.unwrap_or_else(Instant::now);
            post(&client, url, protocol, request, &mut answers)?;
            answers.latencies.push(due.elapsed());
        }
        Ok(answers)
    };
    thread::scope(|scope| {
        let threads: Vec<_> =
            requests.iter().copied().enumerate().map(|work| scope.spawn(move || each(work))).collect();
        threads
            .into_iter()
            .try_fold(Answers::default(), |sum, thread| Ok(sum.and(thread.join().map_err(|_| Error::Sender)??)))
    })
}

fn post(client: &Client, url: &str, protocol: Protocol, request: &Request, answers: &mut Answers) -> Result<()> {
    let (content_type, version) = match protocol {
        Protocol::V1 => ("application/x-protobuf", "0.1.0"),
        Protocol::V2 => ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0"),
    };
    for _ in 0..TRIES {
        let post = client.post(url).header("Content-Encoding", "snappy").header("Content-Type", content_type);
        let answer = post.header("X-Prometheus-Remote-Write-Version", version).body(request.body.clone()).send()?;
        let status = answer.status();
        if status.is_server_error() || status.as_u16() == 429 {
            answers.retried += 1;
            sleep(Duration::from_millis(100));
            continue;
        }
        let count = |name: &str| answer.headers().get(name)?.to_str().ok()?.parse::<u64>().ok();
        let written = count("X-Prometheus-Remote-Write-Samples-Written")
            .map(|samples| samples + count("X-Prometheus-Remote-Write-Histograms-Written").unwrap_or_default());
        answers.samples += written.unwrap_or(request.samples);
        answers.refused += u64::from(status.is_client_error());
        return Ok(());
    }
    Err(Error::NeverTaken)
}
