//! Archives in buckets, on a real S3 server: what the store does, what is refused, and the receiver that is killed while it writes there.

mod conformance;
mod ledger;
mod refusals;
mod several;

use std::process::Output;

use promarchive_tests::program::promarchive;
use promarchive_tests::s3_server::S3Server;
use serde_json::Value;

/// Runs promarchive with the variables of a server, and others over them.
fn run(server: &S3Server, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    server.command(&promarchive()).args(arguments).envs(environment.iter().copied()).output().unwrap()
}

/// What it prints in JSON when all is well.
#[track_caller]
fn json(server: &S3Server, arguments: &[&str]) -> Value {
    let output = run(server, &[arguments, &["--output", "json"]].concat(), &[]);
    assert!(output.status.success(), "{arguments:?}\n{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
