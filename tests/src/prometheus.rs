//! A real Prometheus, and a real node_exporter beside it.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use reqwest::blocking::Client;
use serde_json::Value;

use crate::program::{Program, go_tool, http_client};

/// The address in Go's log line, of a program that chose its port itself.
fn address(program: &mut Program) -> SocketAddr {
    program.wait_until("listening", |program| {
        let log = program.log();
        let (_, rest) = log.split_once("msg=\"Listening on\"")?;
        rest.split_once('\n')?.0.split_once(" address=")?.1.parse().ok()
    })
}

/// A running node_exporter.
#[derive(Debug)]
pub struct NodeExporter {
    _program: Program,
    /// Where it listens.
    pub address: SocketAddr,
}

impl NodeExporter {
    /// Starts it; its log goes to `directory`.
    pub fn start(directory: &Path) -> Self {
        let mut command = Command::new(go_tool("node_exporter"));
        command.args(["--web.listen-address", "127.0.0.1:0"]);
        let mut program = Program::start(&mut command, directory.join("node_exporter.log"));
        let address = address(&mut program);
        Self { _program: program, address }
    }
}

/// A running Prometheus, ready.
#[derive(Debug)]
pub struct Prometheus {
    program: Program,
    /// Where it listens.
    pub address: SocketAddr,
    client: Client,
    config: PathBuf,
}

impl Prometheus {
    /// Starts it with its files in `directory`.
    pub fn start(directory: &Path, config: &str, features: &str) -> Self {
        let file = directory.join("prometheus.yml");
        fs::write(&file, config).unwrap();
        let mut command = Command::new(go_tool("prometheus"));
        command.arg("--config.file").arg(&file).arg("--storage.tsdb.path").arg(directory.join("tsdb"));
        command.args(["--web.enable-remote-write-receiver"]);
        command.args(["--web.listen-address", "127.0.0.1:0", "--web.enable-lifecycle", "--enable-feature", features]);
        command.args(["--storage.remote.read-sample-limit", "0", "--storage.remote.flush-deadline", "10s"]);
        // Targets come and go at once, and not after 5 s.
        command.args(["--scrape.discovery-reload-interval", "500ms"]);
        let mut program = Program::start(&mut command, directory.join("prometheus.log"));
        let (address, client) = (address(&mut program), http_client());
        let ready = format!("http://{address}/-/ready");
        program.wait_until("ready", |_| client.get(&ready).send().ok().filter(|answer| answer.status().is_success()));
        Self { program, address, client, config: file }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.program.log()
    }

    /// Puts another configuration into force.
    pub fn reload(&self, config: &str) {
        fs::write(&self.config, config).unwrap();
        let answer = self.client.post(format!("{}/-/reload", self.url())).send().unwrap();
        assert!(answer.status().is_success(), "{}\n{}", answer.text().unwrap(), self.log());
    }

    /// The data of an answer of its query API.
    pub fn api(&self, path: &str) -> Value {
        let answer = self.client.get(format!("{}/api/v1/{path}", self.url())).send().unwrap();
        let mut answer: Value = serde_json::from_str(&answer.text().unwrap()).unwrap();
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"].take()
    }

    /// Its own metrics: the sum over all labels.
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        let text = self.client.get(format!("{}/metrics", self.url())).send().unwrap().text().unwrap();
        let mut metrics = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let name = name.split('{').next().unwrap_or_default();
            *metrics.entry(name.to_owned()).or_default() += value.parse::<f64>().unwrap();
        }
        metrics
    }
}
