//! The real program, started on real directories, killed, and started again.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::http::{Connection, Response};

/// How long anything may take that takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(2);
const SIGKILL: i32 = 9;

/// The directories of one archive. Kept for a look when the test panics.
#[derive(Debug)]
pub struct Home {
    directory: Option<TempDir>,
    root: PathBuf,
    starts: std::cell::Cell<u32>,
}

impl Home {
    /// New and empty ones.
    pub fn new() -> Self {
        let directory =
            tempfile::Builder::new().prefix("promarchive-ledger-").tempdir().expect("a temporary directory");
        let home =
            Self { root: directory.path().to_path_buf(), directory: Some(directory), starts: Default::default() };
        fs::create_dir(home.data()).expect("a directory");
        home
    }

    /// What holds archive and WAL, and nothing else.
    pub fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// The archive.
    pub fn archive(&self) -> PathBuf {
        self.data().join("archive")
    }

    /// The WAL.
    pub fn wal(&self) -> PathBuf {
        self.data().join("wal")
    }

    /// Another place beside them.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The WAL's segments, oldest first.
    pub fn segments(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.wal()).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut segments: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "log")).collect();
        segments.sort_unstable();
        segments
    }

    fn next_log(&self) -> PathBuf {
        self.starts.set(self.starts.get() + 1);
        self.root.join(format!("receiver-{:04}.log", self.starts.get()))
    }
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(directory) = self.directory.take()
        {
            eprintln!("archive, WAL and logs of the failed test are kept in {}", directory.keep().display());
        }
    }
}

/// How to start.
#[derive(Clone, Debug)]
pub struct Start {
    /// `--flush-interval`.
    pub flush_interval: &'static str,
    /// `--dedup-horizon`.
    pub dedup_horizon: &'static str,
    /// `--flush-bytes`.
    pub flush_bytes: &'static str,
    /// Further environment variables.
    pub environment: Vec<(&'static str, OsString)>,
    /// `PROMARCHIVE_FAILPOINT`.
    pub fail_point: Option<String>,
    /// `PROMARCHIVE_SABOTAGE`.
    pub sabotage: Option<&'static str>,
}

impl Default for Start {
    fn default() -> Self {
        Self {
            flush_interval: "300ms",
            dedup_horizon: "5m",
            flush_bytes: "4Mi",
            environment: Vec::new(),
            fail_point: None,
            sabotage: None,
        }
    }
}

impl Start {
    /// With a fail point set, such as `wal-sync=kill:2`.
    pub fn at(fail_point: impl Into<String>) -> Self {
        Self { fail_point: Some(fail_point.into()), ..Self::default() }
    }

    /// Starts on other directories than `home`'s.
    pub fn spawn_on(&self, home: &Home, archive: &Path, wal: &Path) -> Receiver {
        let log = home.next_log();
        let file = File::create(&log).expect("a log file");
        let mut command = Command::new(program());
        command.args(["receive", "--listen", "127.0.0.1:0", "--shutdown-grace", "20s"]);
        command.args(["--flush-bytes", self.flush_bytes]);
        command.args(["--flush-interval", self.flush_interval, "--dedup-horizon", self.dedup_horizon]);
        command.arg("--archive").arg(archive).arg("--wal").arg(wal);
        command.env_remove("RUST_LOG").env_remove("PROMARCHIVE_FAILPOINT").env_remove("PROMARCHIVE_SABOTAGE");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.envs(self.fail_point.iter().map(|point| ("PROMARCHIVE_FAILPOINT", point)));
        command.envs(self.sabotage.iter().map(|sabotage| ("PROMARCHIVE_SABOTAGE", sabotage)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {}: {error}", program().display()));
        Receiver { child, log, address: None, started: Instant::now() }
    }

    /// Starts on `home`'s directories.
    pub fn spawn(&self, home: &Home) -> Receiver {
        self.spawn_on(home, &home.archive(), &home.wal())
    }
}

fn program() -> PathBuf {
    std::env::var_os("PROMARCHIVE_BIN").expect("PROMARCHIVE_BIN is not set: run `make test` or `make crash`").into()
}

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Receiver {
    child: Child,
    log: PathBuf,
    address: Option<SocketAddr>,
    started: Instant,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail = log.lines().rev().take(8).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n  ");
            eprintln!("the receiver's last lines in {}:\n  {tail}", self.log.display());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Receiver {
    /// All that it has logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// When it was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Where it listens, if it does already.
    pub fn address(&mut self) -> Option<SocketAddr> {
        if self.address.is_none() {
            let log = self.log();
            let line = log.lines().find_map(|line| line.split_once("listening on http://"));
            self.address = line.and_then(|(_, address)| address.trim().parse().ok());
        }
        self.address
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the state of a child")
    }

    /// Waits until it listens, or has ended.
    pub fn wait_listening(&mut self) -> Option<SocketAddr> {
        self.wait_for("listens", |receiver| match receiver.address() {
            None if receiver.ended().is_some() => Some(None),
            address => address.map(Some),
        })
    }

    /// Waits until it is ready; false if it ends before.
    pub fn wait_ready(&mut self) -> bool {
        self.wait_for("is ready", |receiver| {
            if receiver.ended().is_some() {
                return Some(false);
            }
            receiver.is_ready().then_some(true)
        })
    }

    /// Whether it says that it is ready.
    pub fn is_ready(&mut self) -> bool {
        self.call("GET", "/-/ready").is_ok_and(|response| response.status == 200)
    }

    fn wait_for<T>(&mut self, what: &str, mut look: impl FnMut(&mut Self) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(Instant::now() < until, "waited {PATIENCE:?} until the receiver {what}, in vain");
            std::thread::sleep(POLL);
        }
    }

    fn call(&mut self, method: &str, path: &str) -> std::io::Result<Response> {
        let address = self.address().ok_or(std::io::ErrorKind::NotConnected)?;
        Connection::open(address, PATIENCE)?.call(method, path)
    }

    /// `POST /-/flush`; the error says why not everything is committed.
    pub fn flush(&mut self) -> Result<(), String> {
        let response = self.call("POST", "/-/flush").map_err(|error| error.to_string())?;
        if response.status == 200 { Ok(()) } else { Err(format!("{}: {}", response.status, response.body)) }
    }

    /// Sends `POST /-/flush` and does not wait for the answer; the flush goes on while what is returned is dropped or kept.
    pub fn start_flush(&mut self) -> Option<JoinHandle<()>> {
        let address = self.address()?;
        let flush = move || {
            drop(Connection::open(address, PATIENCE).and_then(|mut connection| connection.call("POST", "/-/flush")))
        };
        Some(std::thread::spawn(flush))
    }

    /// SIGKILL. False if it had ended by itself.
    pub fn kill(&mut self) -> bool {
        let running = self.ended().is_none();
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("the end of a child").signal() == Some(SIGKILL) && running
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("SIGTERM");
    }

    /// Waits until it ends.
    pub fn wait_ended(&mut self) -> ExitStatus {
        self.wait_for("ends", Self::ended)
    }

    /// Waits until it has died of a SIGKILL that it gave itself; false if it lives on for `patience`.
    pub fn dies_within(&mut self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if let Some(status) = self.ended() {
                assert_eq!(status.signal(), Some(SIGKILL), "it ended as {status} instead of by its own SIGKILL");
                return true;
            }
            std::thread::sleep(POLL);
        }
        false
    }
}

/// `promarchive verify`: the archive's files, checked by the program's own rules. Nothing while the program cannot do that yet.
pub fn verify(archive: &Path) -> Result<(), String> {
    let output = Command::new(program()).arg("verify").arg(archive).output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(());
    }
    Err(format!("promarchive verify: {}\n{}{}", output.status, text(&output.stdout), text(&output.stderr)))
}
