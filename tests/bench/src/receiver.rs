//! The receivers that are measured: how each is started, asked and read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use reqwest::blocking::Client;
use serde::Serialize;

use crate::{Error, Result};

/// Where all of them take writes.
pub const WRITE_PATH: &str = "/api/v1/write";

/// Where promarchive is told to flush.
pub const FLUSH_PATH: &str = "/-/flush";

/// What kind of program it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// This project's.
    Promarchive,
    /// Prometheus with `--web.enable-remote-write-receiver`.
    Prometheus,
    /// VictoriaMetrics, single node.
    VictoriaMetrics,
}

impl Kind {
    /// By the name of a program.
    pub fn of_program(program: &Path) -> Result<Self> {
        let name = program.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        [
            ("promarchive", Self::Promarchive),
            ("prometheus", Self::Prometheus),
            ("victoria-metrics", Self::VictoriaMetrics),
        ]
        .into_iter()
        .find_map(|(prefix, kind)| name.starts_with(prefix).then_some(kind))
        .ok_or_else(|| Error::UnknownReceiver(program.to_owned()))
    }
}

/// A program to measure.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// What it is.
    pub kind: Kind,
    /// The program.
    pub program: PathBuf,
}

impl Receiver {
    /// As it is written in tables: the name of its program. So two versions of one can be compared.
    pub fn name(&self) -> String {
        self.program.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The command that starts it with its data in `directory`. `flush` is promarchive's flush interval.
    pub fn command(&self, directory: &Path, port: u16, flush: &str) -> Result<Command> {
        let mut command = Command::new(&self.program);
        let listen = format!("127.0.0.1:{port}");
        match self.kind {
            Kind::Promarchive => {
                // Room for all of a load, so that only the interval decides when it is flushed.
                command.args(["receive", "--listen", &listen, "--memory-limit", "8Gi", "--flush-bytes", "2Gi"]);
                command.args(["--flush-interval", flush, "--shutdown-grace", "10m", "--archive"]);
                command.arg(directory.join("archive"));
            }
            Kind::Prometheus => {
                let config = directory.join("prometheus.yml");
                fs::write(&config, "global: {}\n")?;
                command.arg("--config.file").arg(config).arg("--storage.tsdb.path").arg(directory.join("tsdb"));
                command.args(["--web.listen-address", &listen, "--web.enable-remote-write-receiver"]);
                command.args(["--web.enable-admin-api", "--storage.tsdb.retention.time", "10y"]);
                // Exemplars are kept by promarchive, so they are by Prometheus.
                command.args(["--enable-feature", "exemplar-storage"]);
            }
            Kind::VictoriaMetrics => {
                command.arg("-httpListenAddr").arg(&listen).args(["-retentionPeriod", "10y", "-storageDataPath"]);
                command.arg(directory.join("data"));
            }
        }
        Ok(command)
    }

    /// What answers 200 when it is ready.
    pub fn ready_path(&self) -> &'static str {
        match self.kind {
            Kind::VictoriaMetrics => "/health",
            Kind::Promarchive | Kind::Prometheus => "/-/ready",
        }
    }

    /// Prometheus keeps chunks of the last hours in memory and in its WAL: a snapshot makes it write them as a block, to
    /// see what they take on disk. That is not counted as its work.
    pub fn writes_block(&self) -> bool {
        self.kind == Kind::Prometheus
    }

    /// Makes it write the block, if it is one that does.
    pub fn write_block(&self, client: &Client, url: &str) -> Result<()> {
        if self.writes_block() {
            client.post(format!("{url}/api/v1/admin/tsdb/snapshot")).send()?.error_for_status()?;
        }
        Ok(())
    }

    /// Bytes of what is kept for good, write-ahead logs left out; after the program has ended.
    pub fn kept_bytes(&self, directory: &Path) -> Result<u64> {
        let path = match self.kind {
            Kind::Promarchive => directory.join("archive"),
            Kind::Prometheus => directory.join("tsdb/snapshots"),
            Kind::VictoriaMetrics => directory.join("data"),
        };
        Ok(bytes_under(&path)?)
    }
}

fn bytes_under(path: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        // Of promarchive: room that it holds for a flush on a full disk.
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { bytes_under(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}
