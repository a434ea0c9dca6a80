//! Several receivers, each with a WAL of its own, write to one archive.

use promarchive_model::Protocol::V2;
use promarchive_tests::program::{Receiver, now_ms};
use promarchive_tests::request::{Request, Series};
use promarchive_tests::s3_server::S3Server;

use crate::{json, run};

const RECEIVERS: usize = 3;
const FLUSHES: i64 = 4;

fn receiver(server: &S3Server, wal: &str) -> Receiver {
    let (directory, wal) = (tempfile::tempdir().unwrap(), server.beside(wal));
    let variables = server.variables();
    let environment: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let flags = ["--wal", wal.to_str().unwrap()];
    let mut receiver = Receiver::start_listening(directory, &server.path("archive"), &flags, &environment);
    receiver.wait_until_ready();
    receiver
}

#[test]
fn each_row_of_three_receivers_is_there() {
    let server = S3Server::start();
    let receivers: Vec<Receiver> = (0..RECEIVERS).map(|n| receiver(&server, &format!("wal-{n}"))).collect();
    let now = now_ms();
    std::thread::scope(|scope| {
        for (n, receiver) in receivers.iter().enumerate() {
            scope.spawn(move || {
                let name = n.to_string();
                for flush in 0..FLUSHES {
                    let series = Series::new(&[("__name__", "up"), ("receiver", name.as_str())]);
                    let request = Request::of([series.sample(now + flush, 1.0).sample(now + 100 + flush, 2.0)]);
                    assert_eq!(receiver.write(V2, &request).status, 204);
                    receiver.flush();
                }
            });
        }
    });
    // What comes to two receivers is stored by both, and counted.
    let again = Series::new(&[("__name__", "up"), ("receiver", "0")]).sample(now, 1.0);
    assert_eq!(receivers[1].write(V2, &Request::of([again])).status, 204);
    receivers[1].flush();
    let url = server.url("archive");
    let inspected = json(&server, &["inspect", &url]);
    let samples = inspected["tables"].as_array().unwrap().iter().find(|table| table["table"] == "samples").unwrap();
    assert_eq!(samples["rows"], RECEIVERS as i64 * FLUSHES * 2 + 1, "{samples}");
    let verified = json(&server, &["verify", &url]);
    let samples = verified["tables"].as_array().unwrap().iter().find(|table| table["table"] == "samples").unwrap();
    assert_eq!((&verified["ok"], &samples["duplicates"]), (&true.into(), &1.into()), "{verified}");
    // Each put its commits if they were absent, and was told when they were not.
    let metrics = receivers[0].get("/metrics").body;
    for line in ["operation=\"put_if_absent\",status=\"ok\"}", "operation=\"get\",status=\"not_found\"}"] {
        let value = metrics.lines().find_map(|found| found.split_once(line)?.1.trim().parse::<f64>().ok());
        assert!(value.is_some_and(|value| value > 0.0), "{line}: {metrics}");
    }
}

/// One WAL has one receiver, wherever the archive is, and remembers its archive.
#[test]
fn a_wal_has_one_receiver_and_one_archive() {
    let server = S3Server::start();
    let first = receiver(&server, "wal");
    let wal = server.beside("wal");
    let start = |place: &str| {
        let archive = server.url(place);
        let wal = wal.to_str().unwrap();
        let output = run(&server, &["receive", "--listen", "127.0.0.1:0", "--archive", &archive, "--wal", wal], &[]);
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = start("archive");
    assert!(said.contains("is in use by another running receiver"), "{said}");
    drop(first);
    let said = start("other");
    assert!(said.contains("there is no archive at s3://lab/other") && said.contains("s3://lab/archive"), "{said}");
}
