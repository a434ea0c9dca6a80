//! What the receiver says when something around it is wrong: the clock, the archive's directory, files of other programs. It loses
//! nothing, and goes on by itself when that is put right.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use promarchive_model::Protocol::V1;
use promarchive_tests::faults::SettableClock;
use promarchive_tests::program::{Answer, Receiver, now_ms, promarchive, wait_for};
use promarchive_tests::request::{Request, Series};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{T, committed};

const DAY_MS: i64 = 86_400_000;

fn up(at: i64) -> Request {
    Request::of([Series::metric("up").sample(at, 1.0)])
}

/// The sender must send it again: a 4xx would make it drop what it has.
fn assert_try_again(answer: &Answer, saying: &str) {
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.body.contains(saying) && answer.header("retry-after").is_some(), "{answer:?}");
}

/// `POST /-/flush`, which cannot be done.
fn failed_flush(receiver: &Receiver) -> String {
    let answer = receiver.send(Method::POST, "/-/flush", &[], Vec::new());
    assert_eq!(answer.status, 503, "{answer:?}");
    answer.body
}

/// A machine that has no clock of its own starts in 1970, until it is set over the network.
#[test]
fn a_clock_that_is_not_set_makes_senders_try_again() {
    let directory = tempfile::tempdir().unwrap();
    let clock = SettableClock::new(directory.path().join("clock"));
    let environment = clock.environment();
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    clock.set(12_345).unwrap();
    let archive = directory.path().join("archive");
    let mut receiver = Receiver::start_listening(directory, &archive, &[], &environment);
    let says = "the clock of this machine shows 1970-01-01 00:00:12 UTC";
    let ready = receiver.get("/-/ready");
    assert!(ready.status == 503 && ready.body.contains(says), "{ready:?}");
    assert_try_again(&receiver.write(V1, &up(now_ms())), says);
    assert!(!archive.exists(), "nothing is made with such a clock");
    // The fault is told once, though its text is another one at each try.
    clock.set(13_345).unwrap();
    let again = || Some(()).filter(|()| receiver.get("/-/ready").body.contains("1970-01-01 00:00:13 UTC"));
    wait_for(Duration::from_secs(30), again).unwrap_or_else(|| panic!("{}", receiver.log()));
    assert_eq!(receiver.log().matches("cannot start yet").count(), 1, "{}", receiver.log());

    clock.unset().unwrap();
    receiver.wait_until_ready();
    let now = now_ms();
    assert_eq!(receiver.write(V1, &up(now)).status, 204);
    receiver.flush();

    // The next start is three days behind. The tables say that it is later; only what is of the future by them, too, has to wait.
    assert!(receiver.terminate().success());
    clock.set(now - 3 * DAY_MS).unwrap();
    let mut receiver = Receiver::start_in(receiver.into_directory(), &[], &environment);
    assert_eq!(receiver.write(V1, &up(now + 1000)).status, 204);
    let ahead = up(now + 2 * DAY_MS);
    assert_try_again(&receiver.write(V1, &ahead), "the clock of this machine is 2592");
    clock.unset().unwrap();
    let refused = receiver.write(V1, &ahead);
    assert!(refused.status == 400 && refused.body.contains("timestamp_too_far_in_future"), "{refused:?}");
    assert_eq!(committed(&receiver).samples.len(), 2);
    assert!(receiver.terminate().success());
}

/// Its volume was taken away, or somebody deleted it.
#[test]
fn an_archive_that_is_gone_is_said_to_be_gone() {
    let receiver = Receiver::start(&[]);
    assert_eq!(receiver.write(V1, &up(T)).status, 204);
    receiver.flush();
    let (archive, away) = (receiver.archive(), receiver.directory().join("away"));
    fs::rename(&archive, &away).unwrap();
    assert_eq!(receiver.write(V1, &up(T + 1)).status, 204);
    let says = format!("{} was removed, or its volume is no longer mounted", archive.display());
    for said in [failed_flush(&receiver), receiver.get("/-/ready").body, receiver.log()] {
        assert!(said.contains(&says), "{said}");
    }
    // No half of a new archive is in its place, over which the volume would be mounted.
    assert!(!archive.join("samples/_delta_log").exists());

    let _ = fs::remove_dir_all(&archive);
    fs::rename(&away, &archive).unwrap();
    assert_eq!(committed(&receiver).samples.len(), 2);
    assert_eq!(receiver.get("/-/ready").status, 200);
    assert!(receiver.log().contains("works again"), "{}", receiver.log());
}

/// The protocol and the metadata of a table, as such files repeat them, and a schema that is none.
fn checksum_with_a_broken_schema(log: &Path) -> String {
    let created = fs::read_to_string(log.join("00000000000000000000.json")).unwrap();
    let actions: Vec<Value> = created.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let action = |name: &str| actions.iter().find_map(|action| action.get(name).cloned()).unwrap();
    let (protocol, mut metadata) = (action("protocol"), action("metaData"));
    metadata["schemaString"] = json!("no schema");
    let mut checksum = json!({"tableSizeBytes": 0, "numFiles": 0, "numMetadata": 1, "numProtocol": 1});
    checksum["metadata"] = metadata;
    checksum["protocol"] = protocol;
    checksum.to_string()
}

/// Other programs put checksums beside the log, and the library that reads the log believes them.
#[test]
fn a_foreign_checksum_that_stops_the_start_is_named() {
    let mut receiver = Receiver::start(&[]);
    assert_eq!(receiver.write(V1, &up(T)).status, 204);
    receiver.flush();
    assert!(receiver.terminate().success());
    let log = receiver.archive().join("samples/_delta_log");
    let name = "00000000000000000001.crc";
    fs::write(log.join(name), checksum_with_a_broken_schema(&log)).unwrap();
    let archive = receiver.archive();
    let traced = [("RUST_BACKTRACE", "1")];
    let mut receiver = Receiver::start_listening(receiver.into_directory(), &archive, &[], &traced);
    let says = format!("files that promarchive did not write: {name}");
    let said = || Some(receiver.get("/-/ready").body).filter(|body| body.contains(&says));
    wait_for(Duration::from_secs(30), said).unwrap_or_else(|| panic!("{}", receiver.log()));
    let refused = receiver.write(V1, &up(T + 1));
    assert_try_again(&refused, &says);
    assert_eq!(refused.body.trim_end().lines().count(), 1, "no backtrace: {refused:?}");
    fs::remove_file(log.join(name)).unwrap();
    receiver.wait_until_ready();
    assert_eq!(receiver.write(V1, &up(T + 1)).status, 204);
    assert_eq!(committed(&receiver).samples.len(), 2);
}

/// The Delta kernel says what is wrong with such a file, and not which file it is.
#[test]
fn a_foreign_checksum_that_cannot_be_read_is_named() {
    let mut receiver = Receiver::start(&[]);
    assert_eq!(receiver.write(V1, &up(T)).status, 204);
    receiver.flush();
    assert!(receiver.terminate().success());
    let archive = receiver.archive();
    let file = archive.join("samples/_delta_log/00000000000000000001.crc");
    fs::write(&file, "junk").unwrap();
    let mut receiver = Receiver::start_in(receiver.into_directory(), &[], &[]);
    let says = format!("the file {} was not written by promarchive", file.display());
    let log = receiver.log();
    assert_eq!(log.matches(&says).count(), 1, "{log}");
    assert!(!log.contains("expected value"), "{log}");
    assert_eq!(committed(&receiver).samples.len(), 1);
    for (command, names) in [("inspect", says.as_str()), ("verify", "samples/_delta_log/00000000000000000001.crc")] {
        let output = Command::new(promarchive()).arg(command).arg(&archive).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && said.contains(names) && !said.contains("expected value"), "{said}");
    }
    assert!(receiver.terminate().success());
}

/// Puts a file of another program into the table of samples: one of ours with the rows of a later time, committed as `tags` and `engine` say.
fn commit_as_another(log: &Path, version: u64, name: &str, tags: &Value, engine: &str) {
    let commits =
        (1..version).rev().filter_map(|version| fs::read_to_string(log.join(format!("{version:020}.json"))).ok());
    let actions = commits.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
    let actions = actions.map(|line| serde_json::from_str::<Value>(&line).unwrap());
    let mut add = actions.filter_map(|action| action.get("add").cloned()).next().unwrap();
    let ours = add["path"].as_str().unwrap().to_owned();
    let path = format!("{}/{name}", ours.split_once('/').unwrap().0);
    fs::copy(log.parent().unwrap().join(&ours), log.parent().unwrap().join(&path)).unwrap();
    add["path"] = json!(path);
    add["tags"] = tags.clone();
    let info =
        json!({"timestamp": T, "operation": "WRITE", "operationParameters": {"mode": "Append"}, "engineInfo": engine});
    let text = format!("{}\n{}\n", json!({"commitInfo": info}), json!({"add": add}));
    fs::write(log.join(format!("{version:020}.json")), text).unwrap();
}

/// Another program has written into a table, or a later version of promarchive: the receiver goes on beside it.
#[test]
fn files_of_unknown_origin_are_told_and_left_alone() {
    let mut receiver = Receiver::start(&[]);
    assert_eq!(receiver.write(V1, &up(T)).status, 204);
    receiver.flush();
    assert!(receiver.terminate().success());
    let log = receiver.archive().join("samples/_delta_log");
    commit_as_another(&log, 2, "part-00001-c000.snappy.parquet", &Value::Null, "delta-rs:py-1.6.6");
    commit_as_another(&log, 3, "later.parquet", &json!({"promarchive.origin": "thinned 7"}), "promarchive/9.0.0");
    let mut receiver = Receiver::start_in(receiver.into_directory(), &[], &[]);
    let said = receiver.log();
    for (file, version, engine) in
        [("part-00001-c000.snappy.parquet", 2, "delta-rs:py-1.6.6"), ("later.parquet", 3, "promarchive/9.0.0")]
    {
        let line = said.lines().find(|line| line.contains(file)).unwrap_or_else(|| panic!("{said}"));
        let came = format!(
            "It appeared in table version {version}, which was written by a program with the name \"{engine}\""
        );
        assert!(line.contains("WARN") && line.contains("table samples has a file of unknown origin"), "{line}");
        assert!(line.contains(&came), "{line}");
        assert_eq!(said.matches(file).count(), 1, "{said}");
    }

    // What came before is known, what is new is written, and a winner is written into the file of ours.
    assert_eq!(receiver.write(V1, &up(T)).status, 204);
    assert_eq!(receiver.write(V1, &up(T + 1)).status, 204);
    assert_eq!(receiver.write(V1, &Request::of([Series::metric("up").sample(T, 2.0)])).status, 204);
    let flushed = receiver.flush();
    let samples = &flushed["tables"]["samples"];
    assert_eq!((&samples["rows"], &samples["superseded"]), (&json!(1), &json!(1)), "{flushed}");
    assert_eq!(samples.get("unmerged"), None, "{flushed}");
    let text = fs::read_to_string(log.join("00000000000000000004.json")).unwrap();
    assert!(!text.contains("snappy") && !text.contains("later"), "{text}");
    for command in ["inspect", "verify"] {
        let output = Command::new(promarchive()).arg(command).arg(receiver.archive()).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && (command == "inspect" || said.contains("log-foreign")), "{command}: {said}");
    }
    assert!(receiver.terminate().success());
}
