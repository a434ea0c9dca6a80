//! What sends: one thread a connection, each request after the answer to the one before, as a shard of Prometheus does.

use std::net::SocketAddr;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use promarchive_model::Protocol;

use crate::http::Connection;
use crate::load::{Request, Stream};
use crate::process::thread_cpu_seconds;
use crate::receiver::WRITE_PATH;
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
    /// Processor time of the threads that sent.
    pub cpu_seconds: f64,
}

impl Answers {
    /// Both together.
    pub fn and(mut self, mut other: Self) -> Self {
        self.samples += other.samples;
        self.refused += other.refused;
        self.retried += other.retried;
        self.latencies.append(&mut other.latencies);
        self.cpu_seconds += other.cpu_seconds;
        self
    }
}

/// Sends requests, given by connection: as fast as they are taken, or paced at so many samples a second and for so long.
pub fn send(
    streams: Vec<Stream<'_>>,
    protocol: Protocol,
    to: SocketAddr,
    pace: Option<(f64, Duration)>,
) -> Result<Answers> {
    let start = Instant::now();
    let connections = streams.len();
    let each = |(at, requests): (usize, Stream<'_>)| -> Result<Answers> {
        let mut answers = Answers::default();
        let mut connection = connection(protocol, to);
        for (count, request) in requests.enumerate() {
            let request = request?;
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
            post(&mut connection, &request, &mut answers)?;
            answers.latencies.push(due.elapsed());
        }
        answers.cpu_seconds = thread_cpu_seconds()?;
        Ok(answers)
    };
    thread::scope(|scope| {
        let each = &each;
        let threads: Vec<_> = streams.into_iter().enumerate().map(|work| scope.spawn(move || each(work))).collect();
        threads
            .into_iter()
            .try_fold(Answers::default(), |sum, thread| Ok(sum.and(thread.join().map_err(|_| Error::Sender)??)))
    })
}

fn connection(protocol: Protocol, to: SocketAddr) -> Connection {
    let (content_type, version) = match protocol {
        Protocol::V1 => ("application/x-protobuf", "0.1.0"),
        Protocol::V2 => ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0"),
    };
    let headers = [
        ("Content-Encoding", "snappy"),
        ("Content-Type", content_type),
        ("X-Prometheus-Remote-Write-Version", version),
    ];
    Connection::new(to, WRITE_PATH, &headers)
}

fn post(connection: &mut Connection, request: &Request, answers: &mut Answers) -> Result<()> {
    for _ in 0..TRIES {
        let answer = connection.post(&request.body)?;
        if answer.status >= 500 || answer.status == 429 {
            answers.retried += 1;
            sleep(Duration::from_millis(100));
            continue;
        }
        answers.samples += answer.written.unwrap_or(request.samples);
        answers.refused += u64::from(answer.status >= 400);
        return Ok(());
    }
    Err(Error::NeverTaken)
}
