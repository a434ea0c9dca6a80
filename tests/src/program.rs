//! Programs that the tests start: each in a directory of its own, on a free port of 127.0.0.1, killed when dropped.

use std::env;
use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use promarchive_model::Protocol;
use reqwest::Method;
use reqwest::blocking::{Client, ClientBuilder, Response};
use tempfile::TempDir;

use crate::request::Request;

/// How long a program may take to start, on a machine that is busy with other tests.
const STARTS_WITHIN: Duration = Duration::from_secs(30);

const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// What the Makefile says about where a tool is. A test without its tools fails: skipped, it would look green.
pub fn needed(variable: &str) -> PathBuf {
    env::var_os(variable).map(PathBuf::from).unwrap_or_else(|| panic!("{variable} is not set: run `make test`"))
}

/// The path of promarchive.
pub fn promarchive() -> PathBuf {
    needed("PROMARCHIVE_BIN")
}

/// The path of `prometheus`, `promtool` or `node_exporter`.
pub fn go_tool(name: &str) -> PathBuf {
    needed("PROMARCHIVE_GO_TOOLS").join(name)
}

/// A port that nobody listens on at the moment, for programs that cannot choose one themselves.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Milliseconds since the epoch.
pub fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Calls `poll` until it gives something; none when `patience` is over.
pub fn wait_for<T>(patience: Duration, mut poll: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = poll() {
            return Some(found);
        }
        if start.elapsed() > patience {
            return None;
        }
        sleep(Duration::from_millis(10));
    }
}

/// A client that talks to this machine only.
pub fn http_client() -> Client {
    client().build().unwrap()
}

fn client() -> ClientBuilder {
    Client::builder().no_proxy().timeout(Duration::from_secs(60))
}

/// A running program; its output goes to a file that is printed when the test fails.
#[derive(Debug)]
pub struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts `command`; its output goes to `log`.
    pub fn start(command: &mut Command, log: PathBuf) -> Self {
        let output = File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self { child, log }
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    /// Waits until `ready` gives something, and fails when the program ends before.
    pub fn wait_until<T>(&mut self, what: &str, mut ready: impl FnMut(&Self) -> Option<T>) -> T {
        let found = wait_for(STARTS_WITHIN, || match ready(self) {
            Some(found) => Some(Ok(found)),
            None => self.child.try_wait().unwrap().map(Err),
        });
        match found {
            Some(Ok(found)) => found,
            Some(Err(status)) => panic!("ended with {status} before it {what}:\n{}", self.log()),
            None => panic!("not {what} within {STARTS_WITHIN:?}:\n{}", self.log()),
        }
    }

    /// Waits until it ends.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let ended = wait_for(ENDS_WITHIN, || self.child.try_wait().unwrap());
        ended.unwrap_or_else(|| panic!("still there after {ENDS_WITHIN:?}:\n{}", self.log()))
    }

    /// The most memory that it has had resident so far, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
        peak.trim_end_matches(" kB").trim().parse::<u64>().unwrap() << 10
    }

    /// The processor time that it has taken so far.
    pub fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // Fields 14 and 15, counted from behind the name, which may hold anything; the kernel counts them in hundredths.
        let fields = stat.rsplit_once(')').expect("a name in brackets").1.split_whitespace().skip(11);
        fields.take(2).map(|ticks| Duration::from_millis(ticks.parse::<u64>().unwrap() * 10)).sum()
    }

    /// Sends SIGTERM and waits for the end.
    pub fn terminate(&mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        // It may have ended already.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        self.wait_for_end()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let skip = log.lines().count().saturating_sub(30);
            let tail: Vec<&str> = log.lines().skip(skip).collect();
            eprintln!("the end of {}:\n{}", self.log.display(), tail.join("\n"));
        }
    }
}

/// `promarchive receive`, ready.
#[derive(Debug)]
pub struct Receiver {
    program: Program,
    address: SocketAddr,
    client: Client,
    /// Last: it is removed after the program has ended.
    directory: TempDir,
}

impl Receiver {
    /// With an archive of its own; it is flushed when a test says so, unless the flags say when.
    pub fn start(flags: &[&str]) -> Self {
        Self::start_with(flags, &[])
    }

    /// The same, with environment variables.
    pub fn start_with(flags: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), flags, environment)
    }

    /// The same, in a directory that may have an archive already.
    pub fn start_in(directory: TempDir, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        let archive = directory.path().join("archive");
        Self::start_of(directory, &archive, flags, environment)
    }

    /// With an archive at this path.
    pub fn start_at(archive: &Path) -> Self {
        Self::start_of(tempfile::tempdir().unwrap(), archive, &[], &[])
    }

    fn start_of(directory: TempDir, archive: &Path, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut receiver = Self::start_listening(directory, archive, flags, environment);
        receiver.wait_until_ready();
        receiver
    }

    /// One that listens, and may never become ready.
    pub fn start_listening(directory: TempDir, archive: &Path, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(promarchive());
        command.envs(environment.iter().copied());
        command.args(["receive", "--listen", "127.0.0.1:0", "--archive"]).arg(archive).args(flags);
        if !flags.contains(&"--flush-interval") {
            command.args(["--flush-interval", "1h"]);
        }
        let mut program = Program::start(&mut command, directory.path().join("promarchive.log"));
        let address = program.wait_until("listening", |program| {
            let log = program.log();
            let (_, address) = log.split_once("listening on http://")?;
            // The whole line, and not a part of the port.
            address.split_once('\n')?.0.trim().parse().ok()
        });
        Self { program, address, client: http_client(), directory }
    }

    /// Waits until it is ready.
    pub fn wait_until_ready(&mut self) {
        let (client, ready) = (&self.client, format!("http://{}/-/ready", self.address));
        let is_ready = |_: &Program| client.get(&ready).send().ok().filter(|answer| answer.status().is_success());
        self.program.wait_until("ready", is_ready);
    }

    /// Root of its archive.
    pub fn archive(&self) -> PathBuf {
        self.directory.path().join("archive")
    }

    /// A directory for what the test itself needs.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The most memory that it has had resident so far, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.program.peak_memory()
    }

    /// The processor time that it has taken so far.
    pub fn processor_time(&self) -> Duration {
        self.program.processor_time()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.program.log()
    }

    /// Sends SIGTERM and waits for the end.
    pub fn terminate(&mut self) -> ExitStatus {
        self.program.terminate()
    }

    /// Waits until it ends by itself.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        self.program.wait_for_end()
    }

    /// Kills it; its directory, for the next one.
    pub fn into_directory(self) -> TempDir {
        self.directory
    }

    /// Requests come from this address of the machine from now on: without tokens, that is another sender.
    pub fn send_from(&mut self, address: IpAddr) {
        self.client = client().local_address(address).build().unwrap();
    }

    /// A request with these headers and nothing added to them.
    pub fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let mut request = self.client.request(method, format!("http://{}{path}", self.address)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::read(request.send().unwrap())
    }

    /// GET.
    pub fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], Vec::new())
    }

    /// The value of a metric without labels, as `/metrics` has it.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").body;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or_else(|| panic!("no {name} in {text}"))
    }

    /// Writes as a sender does: the protobuf message `body` as a snappy block, with the headers of the protocol.
    pub fn write_message(&self, protocol: Protocol, body: &[u8]) -> Answer {
        let compressed = snap::raw::Encoder::new().compress_vec(body).unwrap();
        self.send(Method::POST, "/api/v1/write", headers(protocol), compressed)
    }

    /// The same, of a request in words.
    pub fn write(&self, protocol: Protocol, request: &Request) -> Answer {
        self.write_message(protocol, &request.encode(protocol))
    }

    /// Commits what was acknowledged; the report.
    pub fn flush(&self) -> serde_json::Value {
        let answer = self.send(Method::POST, "/-/flush", &[], Vec::new());
        assert_eq!(answer.status, 200, "{answer:?}");
        serde_json::from_str(&answer.body).unwrap()
    }
}

/// The headers that Prometheus sends.
pub fn headers(protocol: Protocol) -> &'static [(&'static str, &'static str)] {
    match protocol {
        Protocol::V1 => &[
            ("Content-Encoding", "snappy"),
            ("Content-Type", "application/x-protobuf"),
            ("X-Prometheus-Remote-Write-Version", "0.1.0"),
        ],
        Protocol::V2 => &[
            ("Content-Encoding", "snappy"),
            ("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
            ("X-Prometheus-Remote-Write-Version", "2.0.0"),
        ],
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    headers: Vec<(String, String)>,
    /// Its text.
    pub body: String,
}

impl Answer {
    fn read(response: Response) -> Self {
        let text = |value: &reqwest::header::HeaderValue| value.to_str().unwrap().to_owned();
        let headers = response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        Self { status: response.status().as_u16(), headers, body: response.text().unwrap() }
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Samples, histograms and exemplars written, as the headers of 2.0 say; none without any such header.
    pub fn written(&self) -> Option<[u64; 3]> {
        const PREFIX: &str = "x-prometheus-remote-write-";
        let any = self.headers.iter().any(|(name, _)| name.to_lowercase().starts_with(PREFIX));
        any.then(|| {
            ["samples", "histograms", "exemplars"].map(|what| {
                let value = self.header(&format!("{PREFIX}{what}-written"));
                value.unwrap_or_else(|| panic!("no {what} written in {self:?}")).parse().unwrap()
            })
        })
    }

    /// Whether it tells the fault as it should: in one line of plain text.
    pub fn is_one_line(&self) -> bool {
        self.header("content-type") == Some("text/plain; charset=utf-8")
            && self.body.ends_with('\n')
            && self.body.trim_end().lines().count() == 1
    }
}
