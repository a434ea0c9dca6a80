//! What is measured: throughput with memory and size, the time of an answer, the time of a restart.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use promarchive_model::Protocol;
use reqwest::blocking::Client;
use serde::Serialize;

use crate::Result;
use crate::load::generated::on_the_fly;
use crate::load::{Load, Name};
use crate::neighbours::Neighbours;
use crate::process::{Process, busy_seconds, free_port};
use crate::receiver::{FLUSH_PATH, Receiver};
use crate::sender::{Answers, send};

/// Longer than any load: all of it is flushed at the stop, into one file.
const ONE_FLUSH: &str = "1d";

/// A load taken, flushed and the receiver stopped.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throughput {
    /// Who.
    pub receiver: String,
    /// What was sent.
    pub load: Name,
    /// `v1` or `v2`.
    pub protocol: &'static str,
    /// Over how many connections it was sent.
    pub connections: usize,
    /// Into how many files the samples went, if each flush makes one.
    pub flushes: usize,
    /// Samples that it has.
    pub samples: u64,
    /// Requests answered with 4xx.
    pub refused_requests: u64,
    /// Processor time, flush, commit and stop included.
    pub cpu_seconds: f64,
    /// From the first request to the last answer.
    pub seconds: f64,
    /// Processor time of the receiver in these seconds.
    pub busy_seconds: f64,
    /// Processor time of what sent.
    pub client_seconds: f64,
    /// Processor time of everybody else on the machine in these seconds.
    pub others_seconds: f64,
    /// Processors of the machine.
    pub processors: usize,
    /// Samples a second of processor time.
    pub samples_per_cpu_second: f64,
    /// Most memory resident.
    pub peak_bytes: u64,
    /// The same by series of the load.
    pub peak_bytes_per_series: f64,
    /// On disk by sample, write-ahead logs left out.
    pub kept_bytes_per_sample: f64,
}

/// What files of five minutes cost beside what nobody can go below.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Files {
    /// As measured with a flush every five minutes of the load.
    pub taken: Throughput,
    /// Bytes a sample of [`crate::floor`].
    pub floor_bytes_per_sample: f64,
}

/// How long a request waits for its answer at a steady rate.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    /// Who.
    pub receiver: String,
    /// `v1` or `v2`.
    pub protocol: &'static str,
    /// Samples a second.
    pub rate: f64,
    /// promarchive's flush interval.
    pub flush_interval: &'static str,
    /// Requests.
    pub requests: usize,
    /// Median, milliseconds.
    pub p50_ms: f64,
    /// 99th percentile, milliseconds.
    pub p99_ms: f64,
    /// Longest, milliseconds.
    pub max_ms: f64,
}

/// From the start to ready, after a kill with everything in the WAL.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Restart {
    /// Who.
    pub receiver: String,
    /// `v1` or `v2`.
    pub protocol: &'static str,
    /// Samples in the WAL.
    pub samples: u64,
    /// Seconds until ready.
    pub seconds: f64,
    /// Samples a second.
    pub samples_per_second: f64,
}

/// Millions of series: taken, killed, started again, flushed, stopped, and started once more.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Large {
    /// Who.
    pub receiver: String,
    /// `v1` or `v2`.
    pub protocol: &'static str,
    /// Different series.
    pub series: usize,
    /// Samples.
    pub samples: u64,
    /// Samples a second of the receiver's processor time until all is taken.
    pub samples_per_cpu_second: f64,
    /// Most memory resident until then.
    pub taken_peak_bytes: u64,
    /// From the start to ready, with all of it in the WAL.
    pub replay_seconds: f64,
    /// Of the flush of all of it.
    pub flush_seconds: f64,
    /// Most memory resident in replay and flush.
    pub flushed_peak_bytes: u64,
    /// From the start to ready, with all of it in the tables.
    pub restart_seconds: f64,
    /// On disk by sample, write-ahead logs left out.
    pub kept_bytes_per_sample: f64,
}

/// A receiver that runs, in a directory that is removed with it.
struct Running {
    process: Process,
    client: Client,
    url: String,
    address: SocketAddr,
    ready_in: Duration,
}

fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::V1 => "v1",
        Protocol::V2 => "v2",
    }
}

/// Where receivers have their data, one directory after the other.
#[derive(Debug)]
pub struct Workplace {
    /// The directory; a real file system, or syncs cost nothing.
    pub root: PathBuf,
    /// Threads of other work beside a receiver that takes a load.
    pub neighbours: usize,
}

impl Workplace {
    fn directory(&self) -> Result<tempfile::TempDir> {
        fs::create_dir_all(&self.root)?;
        Ok(tempfile::tempdir_in(&self.root)?)
    }

    fn start(receiver: &Receiver, directory: &Path, flush: &str) -> Result<Running> {
        let port = free_port()?;
        let client = Client::builder().no_proxy().timeout(Duration::from_secs(300)).build()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let url = format!("http://{address}");
        let command = receiver.command(directory, port, flush)?;
        let mut process = Process::start(command, &directory.join("log"))?;
        let ready_in = process.wait_until_ready(&client, &format!("{url}{}", receiver.ready_path()))?;
        Ok(Running { process, client, url, address, ready_in })
    }

    /// Sends all of a load, with so many flushes, the last at the stop of the receiver; then weighs what it has kept.
    pub fn throughput(&self, receiver: &Receiver, load: &Load, flushes: usize) -> Result<Throughput> {
        let directory = self.directory()?;
        let Running { process, client, url, address, .. } = Self::start(receiver, directory.path(), ONE_FLUSH)?;
        let _neighbours = Neighbours::start(self.neighbours);
        let (cpu_before, (all_before, processors)) = (process.cpu_seconds()?, busy_seconds()?);
        let start = Instant::now();
        let mut answers = Answers::default();
        for part in 0..flushes {
            if part > 0 {
                client.post(format!("{url}{FLUSH_PATH}")).send()?.error_for_status()?;
            }
            answers = answers.and(send(load.part(part, flushes), load.protocol, address, None)?);
        }
        let seconds = start.elapsed().as_secs_f64();
        let (busy, all) = (process.cpu_seconds()? - cpu_before, busy_seconds()?.0 - all_before);
        let (before_block, peak) = (process.cpu_seconds()?, process.peak_bytes());
        receiver.write_block(&client, &url)?;
        let block = process.cpu_seconds()? - before_block;
        let cost = process.terminate()?;
        let peak_bytes = if receiver.writes_block() { peak } else { cost.peak_bytes };
        let cpu_seconds = cost.cpu_seconds - block;
        let samples = answers.samples;
        Ok(Throughput {
            receiver: receiver.name(),
            load: load.name,
            protocol: protocol_name(load.protocol),
            connections: load.connections.len(),
            flushes,
            samples,
            refused_requests: answers.refused,
            cpu_seconds,
            seconds,
            busy_seconds: busy,
            client_seconds: answers.cpu_seconds,
            others_seconds: (all - busy - answers.cpu_seconds).max(0.0),
            processors,
            samples_per_cpu_second: samples as f64 / cpu_seconds,
            peak_bytes,
            peak_bytes_per_series: peak_bytes as f64 / load.series as f64,
            kept_bytes_per_sample: receiver.kept_bytes(directory.path())? as f64 / samples as f64,
        })
    }

    /// Sends at a steady rate; requests are due at fixed times, whatever the answers before them took.
    pub fn latency(
        &self,
        receiver: &Receiver,
        load: &Load,
        rate: f64,
        length: Duration,
        flush: &'static str,
    ) -> Result<Latency> {
        let directory = self.directory()?;
        let Running { process, address, .. } = Self::start(receiver, directory.path(), flush)?;
        let mut answers = send(load.part(0, 1), load.protocol, address, Some((rate, length)))?;
        drop(process);
        answers.latencies.sort_unstable();
        let quantile = |q: f64| {
            let at = (answers.latencies.len() as f64 * q).ceil() as usize;
            answers.latencies.get(at.saturating_sub(1)).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
        };
        Ok(Latency {
            receiver: receiver.name(),
            protocol: protocol_name(load.protocol),
            rate,
            flush_interval: flush,
            requests: answers.latencies.len(),
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            max_ms: quantile(1.0),
        })
    }

    /// Kills the receiver with all of a load in its WAL, and starts it again.
    pub fn restart(&self, receiver: &Receiver, load: &Load) -> Result<Restart> {
        let directory = self.directory()?;
        let Running { process, address, .. } = Self::start(receiver, directory.path(), ONE_FLUSH)?;
        let samples = send(load.part(0, 1), load.protocol, address, None)?.samples;
        process.kill();
        let Running { ready_in, .. } = Self::start(receiver, directory.path(), ONE_FLUSH)?;
        let seconds = ready_in.as_secs_f64();
        Ok(Restart {
            receiver: receiver.name(),
            protocol: protocol_name(load.protocol),
            samples,
            seconds,
            samples_per_second: samples as f64 / seconds,
        })
    }

    /// Takes many series, made while they are sent; then what a restart and a flush of them cost.
    pub fn large(&self, receiver: &Receiver, protocol: Protocol, series: usize, scrapes: usize) -> Result<Large> {
        let directory = self.directory()?;
        let Running { process, address, .. } = Self::start(receiver, directory.path(), ONE_FLUSH)?;
        let samples = send(on_the_fly(protocol, series, scrapes), protocol, address, None)?.samples;
        let (cpu_seconds, taken_peak_bytes) = (process.cpu_seconds()?, process.peak_bytes());
        process.kill();
        let Running { process, client, url, ready_in: replayed_in, .. } =
            Self::start(receiver, directory.path(), ONE_FLUSH)?;
        let start = Instant::now();
        client.post(format!("{url}{FLUSH_PATH}")).send()?.error_for_status()?;
        let flush_seconds = start.elapsed().as_secs_f64();
        let flushed_peak_bytes = process.terminate()?.peak_bytes;
        let Running { process, ready_in: restarted_in, .. } = Self::start(receiver, directory.path(), ONE_FLUSH)?;
        process.terminate()?;
        Ok(Large {
            receiver: receiver.name(),
            protocol: protocol_name(protocol),
            series,
            samples,
            samples_per_cpu_second: samples as f64 / cpu_seconds,
            taken_peak_bytes,
            replay_seconds: replayed_in.as_secs_f64(),
            flush_seconds,
            flushed_peak_bytes,
            restart_seconds: restarted_in.as_secs_f64(),
            kept_bytes_per_sample: receiver.kept_bytes(directory.path())? as f64 / samples as f64,
        })
    }
}
