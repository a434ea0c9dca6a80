//! The real operator, as a process in the cluster's network, with the rights of its ServiceAccount.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::suite::{Suite, eventually};

/// Where it listens; each one elsewhere.
static PORT: AtomicU16 = AtomicU16::new(18_080);

/// The operator. Killed when it is dropped.
pub(crate) struct Operator {
    child: Child,
    log: PathBuf,
    /// Where it serves its health.
    pub(crate) address: SocketAddr,
}

/// What an operator takes of the machine's memory, in KiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    /// The most that it had resident.
    pub(crate) peak: u64,
}

impl Operator {
    /// `promarchive-operator run` with these arguments besides those that it needs. `name` is its identity.
    pub(crate) fn run(suite: &Suite, name: &str, arguments: &[&str], failpoint: Option<&str>) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], PORT.fetch_add(1, Ordering::Relaxed)));
        let listen = format!("--listen={address}");
        let image = format!("--receiver-image={}", suite.receiver_image);
        let identity = format!("--identity={name}");
        let mut all = vec!["run", &listen, &image, &identity];
        if !arguments.iter().any(|argument| argument.starts_with("--lease-namespace")) {
            all.push("--lease-namespace=promarchive");
        }
        all.extend(arguments);
        let mut operator = Self::start(suite, name, &all, &suite.operator_kubeconfig, failpoint);
        operator.address = address;
        operator
    }

    /// `promarchive-operator remove`, with the rights of the Job that the chart makes for it.
    pub(crate) fn remove(suite: &Suite) -> Self {
        Self::start(suite, "remove", &["remove", "--timeout=30s"], &suite.removal_kubeconfig, None)
    }

    fn start(suite: &Suite, name: &str, arguments: &[&str], kubeconfig: &Path, failpoint: Option<&str>) -> Self {
        let log = suite.cluster.directory().join(format!("operator-{name}.log"));
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let mut command = suite.cluster.command(program("PROMARCHIVE_OPERATOR_BIN"));
        command.args(arguments).env("KUBECONFIG", kubeconfig).env("RUST_BACKTRACE", "1");
        command.env("PROMARCHIVE_LOG_LEVEL", "info,promarchive_operator=debug,kube=warn");
        if let Some(name) = failpoint {
            command.env("PROMARCHIVE_OPERATOR_FAILPOINT", name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        Self { child: command.spawn().unwrap(), log, address: SocketAddr::from(([0, 0, 0, 0], 0)) }
    }

    /// What it answers over HTTP, with status and head; nothing if it does not.
    pub(crate) fn get(&self, suite: &Suite, path: &str) -> String {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(self.address)?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        suite.cluster.inside(|| ask().unwrap_or_default()).unwrap()
    }

    /// What it takes of the memory, as the kernel says.
    pub(crate) fn memory(&self) -> Memory {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
        };
        Memory { resident: field("VmRSS"), peak: field("VmHWM") }
    }

    /// How many connections to its port it has.
    pub(crate) fn connections(&self) -> usize {
        let port = format!(":{:04X}", self.address.port());
        let table = fs::read_to_string(format!("/proc/{}/net/tcp", self.child.id())).unwrap();
        // Local address and state, of which 01 is ESTABLISHED.
        let is_its = |line: &&str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            fields.get(1).is_some_and(|local| local.ends_with(&port)) && fields.get(3) == Some(&"01")
        };
        table.lines().filter(is_its).count()
    }

    /// As a power cut would.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// As the kubelet does: it ends in order.
    pub(crate) fn terminate(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.wait(20).success());
    }

    /// Waits until it ends by itself.
    pub(crate) fn wait(&mut self, seconds: u64) -> ExitStatus {
        let log = self.log.clone();
        eventually(&format!("the end of the operator ({})", log.display()), seconds, || {
            self.child.try_wait().unwrap().ok_or_else(|| "it runs".to_owned())
        })
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The path in this environment variable.
pub(crate) fn program(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} is not set: run `make test`"));
    std::path::absolute(path).unwrap()
}
