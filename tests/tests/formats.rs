//! What earlier versions have left on a disk is taken up: tables and write-ahead log under `tests/fixtures/`, one folder for each
//! version of the formats that was ever on main, as a killed receiver left them.
//!
//! To make the folder of a new version: `UPDATE_FIXTURES=<folder> cargo test -p promarchive-tests --test formats`.

use std::fs;
use std::path::{Path, PathBuf};

use promarchive_pipeline::remote_write::Protocol::{self, V1, V2};
use promarchive_pipeline::remote_write::{Counts, Histogram, ResetHint, Span};
use promarchive_tests::program::Receiver;
use promarchive_tests::readers::Reader;
use promarchive_tests::request::{Request, Series};
use promarchive_tests::tables::Tables;

/// 2026-11-22T00:00:00Z. Samples may be as old as they like, and none may be newer than the day after a receiver's clock.
const T: i64 = 1_795_305_600_000;

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn histogram(timestamp: i64) -> Histogram {
    Histogram {
        timestamp,
        start_timestamp: 0,
        schema: 3,
        zero_threshold: 2.938_735_877_055_719e-39_f64.to_bits(),
        sum: 18.4_f64.to_bits(),
        reset_hint: ResetHint::Unknown,
        counts: Counts::Integer { count: 21, zero: 2, positive: vec![1, 7, 0, 4], negative: vec![3, 4] },
        positive_spans: vec![Span { offset: -3, length: 3 }, Span { offset: 5, length: 1 }],
        negative_spans: vec![Span { offset: 1, length: 2 }],
        custom_values: Vec::new(),
    }
}

/// Something of every kind, from `at` on. Fixed: the fixtures hold just this.
fn requests(at: i64) -> [(Protocol, Request); 2] {
    let up = |instance: &str| Series::new(&[("__name__", "up"), ("instance", instance), ("job", "a")]);
    let v1 = [
        up("x").sample(at, 1.0).sample(at + 1_000, -0.0).bits(at + 2_000, 0x7ff8_0000_0000_0001).stale(at + 3_000),
        up("y").sample(at, f64::INFINITY).sample(at - 40 * 86_400_000, 5e-324),
        Series::new(&[("__name__", "größe"), ("päth", "/\"\\\n"), ("namespace", "n")]).sample(at, 0.1),
    ];
    let v2 = [
        Series::metric("requests_total")
            .started(at, 7.0, at - 60_000)
            .exemplar(at, 0.5, &[("trace_id", "abc")])
            .described(1, "How many.", "requests"),
        Series::metric("latency_seconds").histogram(histogram(at)),
    ];
    [(V1, Request::of(v1)), (V2, Request::of(v2))]
}

/// Flushed, and only in the write-ahead log.
fn both() -> Vec<(Protocol, Request)> {
    requests(T).into_iter().chain(requests(T + 600_000)).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        // Space held back, and who has the directory: no part of the formats.
        if [".promarchive.reserve", ".promarchive.lock", "lock"].iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn write(receiver: &Receiver, requests: &[(Protocol, Request)]) {
    for (protocol, request) in requests {
        assert_eq!(receiver.write(*protocol, request).status, 204);
    }
}

/// Makes a folder; the receiver is killed, not stopped, so that the second half is in the write-ahead log alone.
fn make(folder: &Path) {
    let receiver = Receiver::start(&[]);
    write(&receiver, &requests(T));
    receiver.flush();
    write(&receiver, &requests(T + 600_000));
    for name in ["archive", "archive.wal"] {
        copy(&receiver.directory().join(name), &folder.join(name));
    }
}

#[test]
fn every_version_of_the_formats_is_taken_up() {
    if let Some(folder) = std::env::var_os("UPDATE_FIXTURES") {
        make(&fixtures().join(folder));
    }
    let mut wanted = Tables::default();
    both().iter().for_each(|(protocol, request)| wanted.add(*protocol, request));
    let mut folders: Vec<PathBuf> = fs::read_dir(fixtures()).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|folder| folder.join("archive").is_dir());
    assert!(!folders.is_empty());
    for folder in folders {
        eprintln!("{}", folder.display());
        let directory = tempfile::tempdir().unwrap();
        copy(&folder, directory.path());
        let mut receiver = Receiver::start_in(directory, &[], &[]);
        receiver.flush();
        for reader in Reader::ALL {
            wanted.assert_equals(&Tables::read(reader, &receiver.archive()));
        }
        // What was sent before is known again.
        write(&receiver, &requests(T + 600_000));
        receiver.flush();
        wanted.assert_equals(&Tables::read(Reader::DuckDb, &receiver.archive()));
        assert!(receiver.terminate().success());
    }
}
