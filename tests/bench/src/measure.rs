//! What is measured: throughput with memory and size, the time of an answer, the time of a restart.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use promarchive_model::Protocol;
use reqwest::blocking::Client;
use serde::Serialize;

use crate::Result;
use crate::load::{Load, Name};
use crate::process::{Process, free_port};
use crate::receiver::{FLUSH_PATH, Receiver, WRITE_PATH};
use crate::sender::{Answers, send};

/// Longer than any load: all of it is flushed at the stop, into one file.
const ONE_FLUSH: &str = "1d";

/// A load taken, flushed and the receiver stopped.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throughput {
    /// Who.
    pub receiver: &'static str,
    /// What was sent.
    pub load: Name,
    /// `v1` or `v2`.
    pub protocol: &'static str,
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
    pub receiver: &'static str,
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
    pub receiver: &'static str,
    /// `v1` or `v2`.
    pub protocol: &'static str,
    /// Samples in the WAL.
    pub samples: u64,
    /// Seconds until ready.
    pub seconds: f64,
    /// Samples a second.
    pub samples_per_second: f64,
}

/// A receiver that runs, in a directory that is removed with it.
struct Running {
    process: Process,
    client: Client,
    url: String,
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
}

impl Workplace {
    fn directory(&self) -> Result<tempfile::TempDir> {
        fs::create_dir_all(&self.root)?;
        Ok(tempfile::tempdir_in(&self.root)?)
    }

    fn start(receiver: &Receiver, directory: &Path, flush: &str) -> Result<Running> {
        let port = free_port()?;
        let client = Client::builder().no_proxy().timeout(Duration::from_secs(300)).build()?;
        let url = format!("http://127.0.0.1:{port}");
        let command = receiver.command(directory, port, flush)?;
        let mut process = Process::start(command, &directory.join("log"))?;
        let ready_in = process.wait_until_ready(&client, &format!("{url}{}", receiver.ready_path()))?;
        Ok(Running { process, client, url, ready_in })
    }

    /// Sends all of a load, with so many flushes, the last at the stop of the receiver; then weighs what it has kept.
    pub fn throughput(&self, receiver: &Receiver, load: &Load, flushes: usize) -> Result<Throughput> {
        let directory = self.directory()?;
        let Running { process, client, url, .. } = Self::start(receiver, directory.path(), ONE_FLUSH)?;
        let start = Instant::now();
        let mut answers = Answers::default();
        for part in 0..flushes {
            if part > 0 {
                client.post(format!("{url}{FLUSH_PATH}")).send()?.error_for_status()?;
            }
            let requests = load.part(part, flushes);
            answers = answers.and(send(&requests, load.protocol, &format!("{url}{WRITE_PATH}"), None)?);
        }
        let seconds = start.elapsed().as_secs_f64();
        let (before_block, peak) = (process.cpu_seconds()?, process.peak_bytes());
        receiver.write_block(&client, &url)?;
        let block = process.cpu_seconds()? - before_block;
        let cost = process.terminate()?;
        let peak_bytes = if receiver.writes_block() { peak } else { cost.peak_bytes };
        let cpu_seconds = cost.cpu_seconds - block;
        let samples = answers.samples;
        Ok(Throughput {
            receiver: receiver.kind.name(),
            load: load.name,
            protocol: protocol_name(load.protocol),
            flushes,
            samples,
            refused_requests: answers.refused,
            cpu_seconds,
            seconds,
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
        let Running { process, url, .. } = Self::start(receiver, directory.path(), flush)?;
        let mut answers = send(&load.part(0, 1), load.protocol, &format!("{url}{WRITE_PATH}"), Some((rate, length)))?;
        drop(process);
        answers.latencies.sort_unstable();
        let quantile = |q: f64| {
            let at = (answers.latencies.len() as f64 * q).ceil() as usize;
            answers.latencies.get(at.saturating_sub(1)).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
        };
        Ok(Latency {
            receiver: receiver.kind.name(),
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
        let Running { process, url, .. } = Self::start(receiver, directory.path(), ONE_FLUSH)?;
        let samples = send(&load.part(0, 1), load.protocol, &format!("{url}{WRITE_PATH}"), None)?.samples;
        drop(process);
        let Running { ready_in, .. } = Self::start(receiver, directory.path(), ONE_FLUSH)?;
        let seconds = ready_in.as_secs_f64();
        Ok(Restart {
            receiver: receiver.kind.name(),
            protocol: protocol_name(load.protocol),
            samples,
            seconds,
            samples_per_second: samples as f64 / seconds,
        })
    }
}
