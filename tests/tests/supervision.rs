//! The receiver goes on when its log cannot be written, and ends when a part of it has died.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use promarchive_model::Protocol;
use promarchive_pipeline::receiver::TASKS;
use promarchive_tests::program::{free_port, headers, http_client, promarchive, wait_for};
use promarchive_tests::request::{Request, Series};

const PATIENCE: Duration = Duration::from_secs(30);

/// A receiver whose log goes where the test says.
struct Process {
    child: Child,
    port: u16,
}

impl Process {
    fn start(directory: &Path, log: impl Into<Stdio>, environment: &[(&str, &str)], flags: &[&str]) -> Self {
        let port = free_port();
        let mut command = Command::new(promarchive());
        command.args(["receive", "--flush-interval", "1h", "--listen", &format!("127.0.0.1:{port}"), "--archive"]);
        command.arg(directory.join("archive")).args(flags).envs(environment.iter().copied());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Self { child, port }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn wait_until_ready(&self) {
        let ready = || http_client().get(self.url("/-/ready")).send().ok().filter(|answer| answer.status() == 200);
        wait_for(PATIENCE, ready).expect("ready");
    }

    fn write_and_flush(&self, timestamp: i64) {
        let series = Series::metric("kept").sample(timestamp, 1.0);
        let body = Request::of([series]).encode(Protocol::V1);
        let mut write = http_client().post(self.url("/api/v1/write"));
        for (name, value) in headers(Protocol::V1) {
            write = write.header(*name, *value);
        }
        let body = snap::raw::Encoder::new().compress_vec(&body).unwrap();
        assert_eq!(write.body(body).send().unwrap().status(), 204);
        let flushed = http_client().post(self.url("/-/flush")).send().unwrap();
        let (status, report) = (flushed.status(), flushed.text().unwrap());
        assert_eq!(status, 200, "{report}");
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["tables"]["samples"]["rows"], 1, "{report}");
    }

    fn lost_lines(&self) -> u64 {
        let metrics = http_client().get(self.url("/metrics")).send().unwrap().text().unwrap();
        let line = metrics.lines().find_map(|line| line.strip_prefix("promarchive_log_lines_lost_total "));
        line.expect("the counter").parse().unwrap()
    }

    fn wait_for_end(&mut self) -> ExitStatus {
        wait_for(PATIENCE, || self.child.try_wait().unwrap()).expect("the end")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The writer of the log used to die of a panic, and the flusher with it: writes were answered, and nothing was ever committed.
#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let receiver = Process::start(directory.path(), writer, &[], &[]);
    receiver.wait_until_ready();
    drop(reader);
    // The first flush tells of itself in the log.
    for timestamp in 1..4 {
        receiver.write_and_flush(timestamp);
    }
    assert!(receiver.lost_lines() >= 3);
}

#[test]
fn a_log_on_a_full_disk_stops_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let receiver = Process::start(directory.path(), full, &[], &["--log-level", "debug"]);
    receiver.wait_until_ready();
    receiver.write_and_flush(1);
    receiver.write_and_flush(2);
    assert!(receiver.lost_lines() > 2);
}

/// A new task gets its case here by being in the list of tasks, without which it cannot be started.
#[test]
fn a_task_that_dies_ends_the_receiver_with_an_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for task in TASKS {
        let log = File::create(path("log")).unwrap();
        let home = path(&format!("{task}-home"));
        std::fs::create_dir(&home).unwrap();
        let flags = flags_for(task, &home);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let mut receiver = Process::start(&home, log, &[("PROMARCHIVE_DOOMED_TASK", task)], &flags);
        let status = receiver.wait_for_end();
        let said = std::fs::read_to_string(path("log")).unwrap();
        assert_eq!(status.code(), Some(1), "{task}: {said}");
        let last = said.lines().last().unwrap_or_default();
        assert!(last.contains(&format!("the task {task} panicked")) && last.contains("restart promarchive"), "{said}");
    }
}

/// What the task needs to be started at all.
fn flags_for(task: &str, directory: &Path) -> Vec<String> {
    let file = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    match task {
        "tokens-watch" => vec!["--tokens".to_owned(), file("tokens", TOKENS)],
        "certificate-watch" => {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            let (cert, key) = (file("tls.crt", &made.cert.pem()), file("tls.key", &made.signing_key.serialize_pem()));
            vec!["--tls-cert".to_owned(), cert, "--tls-key".to_owned(), key]
        }
        _ => Vec::new(),
    }
}

/// A sender, and the hash of no token.
const TOKENS: &str = "sender 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n";
