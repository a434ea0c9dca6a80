//! A store is tried before it is used, and a bad one is named.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use promarchive_tests::program::{Program, promarchive};
use promarchive_tests::racing_store::{self, Flaw};
use promarchive_tests::s3_server::S3Server;

use crate::{json, run};

#[test]
fn a_store_that_holds_is_told_so_within_seconds() {
    let server = S3Server::start();
    let begun = Instant::now();
    let report = json(&server, &["check-store", &server.url("archive")]);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert_eq!(report["ok"], true, "{report}");
    let checks: Vec<&str> = report["checks"].as_array().unwrap().iter().map(|c| c["check"].as_str().unwrap()).collect();
    assert!(checks.contains(&"conditional-put") && checks.contains(&"conditional-put-race"), "{checks:?}");
    // What was put is removed.
    let left = walk(&server.directory(""));
    assert!(left.is_empty(), "{left:?}");
}

fn walk(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path());
    let of = |path: PathBuf| if path.is_dir() { walk(&path) } else { vec![path] };
    entries.flat_map(of).collect()
}

#[test]
fn a_bad_store_is_named_with_what_to_do() {
    let server = S3Server::start();
    for (url, environment, wants) in [
        ("s3://no-such-bucket/a", &[][..], "the bucket does not exist"),
        ("s3://lab/a", &[("AWS_SECRET_ACCESS_KEY", "wrong")], "the secret key is not that of the access key"),
        ("s3://lab/a", &[("AWS_ACCESS_KEY_ID", "nobody")], "the access key is not known"),
        ("s3://lab/a", &[("AWS_ENDPOINT_URL", "http://127.0.0.1:1")], "nobody listens at the end point"),
    ] {
        let begun = Instant::now();
        let output = run(&server, &["check-store", url], environment);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{url} {environment:?}: {said}");
        assert!(said.contains(wants), "{url} {environment:?}: {said}");
        assert!(!said.contains("lab-secret"), "no key is printed: {said}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{url} {environment:?}: {:?}", begun.elapsed());
    }
}

/// Over real connections, by the command and by a receiver; nothing was written to an archive.
#[test]
fn a_store_whose_condition_does_not_hold_is_refused_by_name() {
    let server = S3Server::start();
    for (flaw, check, wants) in [
        (Flaw::Ignores, "conditional-put", "it ignores the condition of a put"),
        (Flaw::Races, "conditional-put-race", "of 32 writers that put one name at the same time"),
    ] {
        let endpoint = format!("http://{}", racing_store::start(flaw));
        let environment = [("AWS_ENDPOINT_URL", endpoint.as_str())];
        let output = run(&server, &["check-store", "s3://lab/a", "--output", "json"], &environment);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let failed = report["checks"].as_array().unwrap().iter().filter(|check| check["ok"] == false);
        let failed: Vec<&str> = failed.map(|check| check["check"].as_str().unwrap()).collect();
        assert!(failed.contains(&check), "{report}");
        let wal = server.beside(check);
        let wal = wal.to_str().unwrap();
        let arguments = ["receive", "--listen", "127.0.0.1:0", "--archive", "s3://lab/a", "--wal", wal];
        let output = run(&server, &arguments, &environment);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        let last = said.lines().last().unwrap();
        assert!(last.starts_with("error: s3://lab/a at http://127.0.0.1:") && last.contains(wants), "{said}");
        assert!(last.contains("promarchive check-store URL"), "it says what to do: {said}");
    }
}

#[test]
fn a_certificate_is_trusted_if_it_is_named() {
    let server = S3Server::start_with_tls();
    let url = server.url("a");
    let output = run(&server, &["check-store", &url], &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("the certificate of the store is not trusted"), "{said}");
    let certificate = server.certificate().unwrap().to_str().unwrap();
    let output = run(&server, &["check-store", &url], &[("AWS_CA_BUNDLE", certificate)]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A receiver waits for a bucket that is not there, says so, and goes on when it is.
#[test]
fn a_receiver_waits_for_its_bucket() {
    let server = S3Server::start();
    let wal = server.beside("wal");
    let mut command: Command = server.command(&promarchive());
    command.args(["receive", "--listen", "127.0.0.1:0", "--archive", "s3://later/a", "--wal"]).arg(&wal);
    let mut receiver = Program::start(&mut command, server.beside("receiver.log"));
    receiver.wait_until("waiting", |receiver| receiver.log().contains("the bucket does not exist").then_some(()));
    std::fs::create_dir(server.directory("").join("../later")).unwrap();
    receiver.wait_until("ready", |receiver| receiver.log().contains("ready archive=").then_some(()));
    let log = receiver.log();
    assert!(log.contains("the store's conditional put holds: proved") && log.contains("puts=322"), "{log}");
    assert!(!log.contains("lab-secret"), "no key is logged: {log}");
    assert!(receiver.terminate().success());
}
