//! What earlier versions have left on a disk is taken up: tables and write-ahead log under `tests/fixtures/`, one folder for each
//! version of the formats that was ever on main, as a killed receiver left them. There have been two versions of the write-ahead log, and two
//! of the tables' protocol: those before `3` let other programs write. The folders of the first were made by programs of different age, and hold
//! different things.
//!
//! To make the folder of a new version: `UPDATE_FIXTURES=<folder> cargo test -p promarchive-tests --test formats`.

mod upgrade;

use std::fs;
use std::path::{Path, PathBuf};

use arrow::array::AsArray;
use promarchive_model::Histogram;
use promarchive_model::Protocol::{self, V1, V2};
use promarchive_tests::program::{Receiver, headers};
use promarchive_tests::readers::Reader;
use promarchive_tests::request::{
    Metadata, NO_FLOATS, NO_INTEGERS, Request, Series, custom_histogram, float_histogram, integer_histogram,
    stale_histogram,
};
use promarchive_tests::tables::Tables;
use reqwest::Method;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// 2026-11-22T00:00:00Z. Samples may be as old as they like, and none may be newer than the day after a receiver's clock.
const T: i64 = 1_795_305_600_000;

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// What was sent between two flushes.
type Part = Vec<(Protocol, Request)>;

/// What a folder holds. Fixed: once made, a folder stays as it is.
fn contents(folder: &str) -> Vec<Part> {
    match folder {
        "1" => vec![some(T), some(T + 600_000)],
        // Requests with a label that the receiver set, and a limit of how old samples may be.
        "2" | "3" => vec![everything(T), everything(T + 600_000)],
        // By the first receiver that there was; it did not yet note in the write-ahead log where the archive was.
        "1-first-receiver" => vec![everything(T), everything(T + 600_000)],
        // The table `samples` has as many versions as lead to a checkpoint, and more after it.
        "1-checkpoint" | "3-checkpoint" => {
            let one = |at: i64| vec![(V1, Request::of([Series::metric("up").sample(at, 1.0)]))];
            let many = (1..=33).map(|flush| one(T - 60_000 * flush));
            many.chain([everything(T), everything(T + 600_000)]).collect()
        }
        other => panic!("nobody knows what is in {other}"),
    }
}

/// The name of the sender that is in the rows of a folder.
fn sender(folder: &str) -> Option<&'static str> {
    ["2", "3"].contains(&folder).then_some("Prometheus/team/k8s")
}

/// With the label that the receiver set.
fn labelled(part: &Part, sender: Option<&str>) -> Part {
    let mut part = part.clone();
    for series in part.iter_mut().flat_map(|(_, request)| &mut request.series) {
        series.labels.extend(sender.map(|sender| (b"sender".to_vec(), sender.as_bytes().to_vec())));
    }
    part
}

/// Float samples of many kinds, and one of each other kind.
fn some(at: i64) -> Part {
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
        Series::metric("latency_seconds").histogram(integer_histogram(at)),
    ];
    vec![(V1, Request::of(v1)), (V2, Request::of(v2))]
}

/// The same, and native histograms of all kinds, metadata of 1.0, and the fields of both protocols that `some` leaves out.
fn everything(at: i64) -> Part {
    let size = |kind: &str| Series::new(&[("__name__", "size_bytes"), ("kind", kind)]);
    let histograms = [
        size("floats").histogram(float_histogram(at)),
        size("custom").histogram(custom_histogram(at)),
        size("stale").histogram(integer_histogram(at)).histogram(stale_histogram(at + 1_000, NO_INTEGERS)),
        size("stale floats").histogram(stale_histogram(at, NO_FLOATS)),
    ];
    let help = Metadata { kind: 3, help: "Größe der \"Dinge\"\nund mehr.".to_owned(), unit: "bytes".to_owned() };
    let exemplar = Series::metric("exemplars_total").sample(at, 1.0).exemplar(at, -0.0, &[]);
    let v1 = Request { families: vec![("size_bytes".to_owned(), help)], ..Request::of([exemplar]) };
    let mut created = Series::metric("created_total").sample(at, 9_007_199_254_740_993.0);
    created.created_timestamp = at - 86_400_000;
    let started = Histogram { start_timestamp: at - 1, ..integer_histogram(at) };
    let v2 = Request::of(histograms.into_iter().chain([created, size("started").histogram(started)]));
    [some(at), vec![(V1, v1), (V2, v2)]].concat()
}

/// Without metadata.
fn undescribed(part: &Part) -> Part {
    let mut part = part.clone();
    for (_, request) in &mut part {
        request.families.clear();
        request.series.iter_mut().for_each(|series| series.metadata = None);
    }
    part
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        // Space held back, and who has the directory: no part of the formats.
        if [".promarchive.reserve", ".promarchive.lock", ".promarchive.upgrade.lock", "lock", "control"]
            .iter()
            .any(|name| entry.file_name() == *name)
        {
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

const TOKEN: &str = "Bearer a-token-of-the-fixtures";

fn write(receiver: &Receiver, requests: &[(Protocol, Request)]) {
    for (protocol, request) in requests {
        let body = snap::raw::Encoder::new().compress_vec(&request.encode(*protocol)).unwrap();
        let headers = [headers(*protocol), &[("Authorization", TOKEN)]].concat();
        assert_eq!(receiver.send(Method::POST, "/api/v1/write", &headers, body).status, 204);
    }
}

fn flush(receiver: &Receiver) {
    let answer = receiver.send(Method::POST, "/-/flush", &[("Authorization", TOKEN)], Vec::new());
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// A receiver that names the sender, or does not.
fn start(directory: TempDir, sender: Option<&str>) -> Receiver {
    let Some(sender) = sender else { return Receiver::start_in(directory, &[], &[]) };
    let tokens = directory.path().join("tokens");
    let hash: String = Sha256::digest(&TOKEN["Bearer ".len()..]).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(&tokens, format!("{sender} {hash}\n")).unwrap();
    let flags = ["--tokens", tokens.to_str().unwrap(), "--sender-label", "sender", "--max-past", "36500d"];
    Receiver::start_in(directory, &flags, &[])
}

/// Makes a folder; the receiver is killed, not stopped, so that the last part is in the write-ahead log alone.
fn make(folder: &str) {
    let receiver = start(tempfile::tempdir().unwrap(), sender(folder));
    let parts = contents(folder);
    let (last, flushed) = parts.split_last().unwrap();
    for part in flushed {
        write(&receiver, part);
        flush(&receiver);
    }
    write(&receiver, last);
    for name in ["archive", "archive.wal"] {
        copy(&receiver.directory().join(name), &fixtures().join(folder).join(name));
    }
}

#[test]
fn every_version_of_the_formats_is_taken_up() {
    if let Ok(folder) = std::env::var("UPDATE_FIXTURES") {
        make(&folder);
    }
    let mut folders: Vec<PathBuf> = fs::read_dir(fixtures()).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|folder| folder.join("archive").is_dir());
    assert!(!folders.is_empty());
    for folder in folders {
        eprintln!("{}", folder.display());
        let name = folder.file_name().unwrap().to_str().unwrap();
        let (parts, sender) = (contents(name), sender(name));
        let mut wanted = Tables::default();
        let add = |wanted: &mut Tables, part: &Part| {
            labelled(part, sender).iter().for_each(|(protocol, request)| wanted.add(*protocol, request));
        };
        let (last, flushed) = parts.split_last().unwrap();
        flushed.iter().for_each(|part| add(&mut wanted, part));
        // So the rest can only come from the write-ahead log.
        wanted.assert_equals(&Tables::read(Reader::DuckDb, &folder.join("archive")));
        add(&mut wanted, last);
        let directory = tempfile::tempdir().unwrap();
        copy(&folder, directory.path());
        // The rest gets its label though nobody says so any more.
        let mut receiver = Receiver::start_in(directory, &[], &[]);
        receiver.flush();
        for reader in [Reader::DuckDb, Reader::Polars, Reader::Pandas] {
            wanted.assert_equals(&Tables::read(reader, &receiver.archive()));
        }
        // What was sent before is known again; metadata is written anew each day.
        let undescribed = undescribed(last);
        assert!(receiver.terminate().success());
        let mut receiver = start(receiver.into_directory(), sender);
        write(&receiver, &undescribed);
        flush(&receiver);
        wanted.assert_equals(&Tables::read(Reader::DuckDb, &receiver.archive()));
        assert!(receiver.terminate().success());
    }
}

/// Names with dots are refused now. An archive that has such columns goes on.
#[test]
fn an_archive_with_dots_in_its_label_columns_goes_on() {
    let mut receiver = Receiver::start(&["--label-columns", "pod,k8s_pod_name"]);
    assert!(receiver.terminate().success());
    for table in ["samples", "histograms", "exemplars", "metadata"] {
        let version = receiver.archive().join(table).join("_delta_log/00000000000000000000.json");
        let text = fs::read_to_string(&version).unwrap();
        fs::write(&version, text.replace("k8s_pod_name", "k8s.pod.name")).unwrap();
    }
    let mut directory = receiver.into_directory();
    let up = |at: i64| {
        let series = Series::new(&[("__name__", "up"), ("k8s.pod.name", "p")]);
        Request::of([series.sample(at, 1.0)])
    };
    let flags: [&[&str]; 2] = [&[], &["--label-columns", "pod,k8s.pod.name"]];
    for (at, flags) in (T..).zip(flags) {
        let mut receiver = Receiver::start_in(directory, flags, &[]);
        write(&receiver, &[(V1, up(at))]);
        receiver.flush();
        assert!(receiver.terminate().success());
        let batches = Reader::Polars.read(&receiver.archive(), "samples", &["k8s.pod.name"]);
        let column = batches.iter().flat_map(|batch| batch.column(0).as_string::<i32>().iter());
        let column: Vec<_> = column.map(|value| value.map(str::to_owned)).collect();
        assert!(!column.is_empty() && column.iter().all(|value| value.as_deref() == Some("p")), "{column:?}");
        directory = receiver.into_directory();
    }
}

/// A folder that lacks what it is there for would show nothing.
#[test]
fn the_folders_hold_what_they_are_there_for() {
    for folder in ["1-checkpoint", "3-checkpoint"] {
        let checkpoint = fixtures().join(folder).join("archive/samples/_delta_log");
        assert!(checkpoint.join("_last_checkpoint").exists(), "{folder}: no checkpoint");
        assert!(checkpoint.join("00000000000000000034.json").exists(), "{folder}: no version after the checkpoint");
    }
    for folder in ["1", "1-checkpoint", "1-first-receiver", "2", "3", "3-checkpoint"] {
        let created = fixtures().join(folder).join("archive/samples/_delta_log/00000000000000000000.json");
        let created = fs::read_to_string(created).unwrap();
        assert_eq!(created.contains("writerFeatures"), folder.starts_with('3'), "{folder}: who may write");
    }
    assert!(!fixtures().join("1-first-receiver/archive.wal/archive").exists());
}
