//! `promarchive upgrade`, on what earlier versions have left; and what is not known is refused by name.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use promarchive_tests::program::{Receiver, promarchive};
use promarchive_tests::readers::Reader;
use promarchive_tests::tables::Tables;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{T, contents, copy, everything, fixtures, undescribed, write};

const TABLES: [&str; 4] = ["samples", "histograms", "exemplars", "metadata"];

fn of_fixture(folder: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    copy(&fixtures().join(folder), directory.path());
    directory
}

/// Exit code, standard output, and standard error.
fn run(command: &str, archive: &Path, failpoint: Option<&str>) -> (Option<i32>, String, String) {
    let mut program = Command::new(promarchive());
    program
        .args([command, "--output", "json"])
        .arg(archive)
        .envs(failpoint.map(|point| ("PROMARCHIVE_FAILPOINT", point)));
    let output = program.output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (output.status.code(), out, err)
}

/// What an upgrade says it did, and the versions of the tables, in their order.
fn upgrade(archive: &Path) -> Vec<(String, u64)> {
    let (code, out, err) = run("upgrade", archive, None);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&report["ok"], &report["archive"]), (&json!(true), &json!(archive.to_str().unwrap())));
    let tables = report["tables"].as_array().unwrap().iter();
    tables.map(|table| (table["result"].as_str().unwrap().to_owned(), table["version"].as_u64().unwrap())).collect()
}

/// Whether each table is guarded, by what `inspect` says.
fn guarded(archive: &Path) -> Vec<bool> {
    let (code, out, err) = run("inspect", archive, None);
    assert_eq!(code, Some(0), "{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    let tables = report["tables"].as_array().unwrap();
    for table in tables {
        let writer = if table["guarded"] == true { 7 } else { 2 };
        assert_eq!(table["protocol"]["minWriterVersion"], writer, "{table}");
    }
    tables.iter().map(|table| table["guarded"].as_bool().unwrap()).collect()
}

fn assert_sound(archive: &Path) {
    let (code, out, err) = run("verify", archive, None);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["errors"], &report["warnings"]), (Some(0), &json!(0), &json!(0)), "{out}{err}");
}

/// Every file of the tables, with its bytes.
fn files(archive: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = TABLES.map(|table| archive.join(table)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(path.display().to_string(), fs::read(path).unwrap());
            }
        }
    }
    files
}

fn log_of(archive: &Path, table: &str) -> std::path::PathBuf {
    archive.join(table).join("_delta_log")
}

/// The receiver of this version goes on when the tables are upgraded beside it, and starts on them again.
#[test]
fn a_receiver_goes_on_while_its_archive_is_upgraded() {
    let parts = contents("1-checkpoint");
    let mut wanted = Tables::default();
    parts.iter().flatten().for_each(|(protocol, request)| wanted.add(*protocol, request));
    let mut receiver = Receiver::start_in(of_fixture("1-checkpoint"), &[], &[]);
    let archive = receiver.archive();
    let says = format!("to prevent this, run `promarchive upgrade {}`", archive.display());
    assert_eq!(receiver.log().matches(&says).count(), 1, "{}", receiver.log());
    receiver.flush();
    assert_eq!(guarded(&archive), [false; 4]);

    // From here on the receiver holds rows that no table has, and has seen the old protocol.
    let more = undescribed(&everything(T + 1_200_000));
    write(&receiver, &more);
    more.iter().for_each(|(protocol, request)| wanted.add(*protocol, request));
    let upgraded = upgrade(&archive);
    assert!(upgraded.iter().all(|(result, _)| result == "upgraded"), "{upgraded:?}");
    assert_eq!(guarded(&archive), [true; 4]);
    receiver.flush();
    let again = upgrade(&archive);
    let flushes = [1, 1, 1, 0];
    let next: Vec<_> =
        upgraded.iter().zip(flushes).map(|((_, version), flushes)| ("guarded".to_owned(), version + flushes)).collect();
    assert_eq!(again, next, "no further upgrade");
    assert_sound(&archive);
    for reader in [Reader::DuckDb, Reader::Polars, Reader::Pandas] {
        wanted.assert_equals(&Tables::read(reader, &archive));
    }

    assert!(receiver.terminate().success());
    let mut receiver = Receiver::start_in(receiver.into_directory(), &[], &[]);
    assert!(!receiver.log().contains("promarchive upgrade"), "{}", receiver.log());
    write(&receiver, &more);
    receiver.flush();
    wanted.assert_equals(&Tables::read(Reader::DuckDb, &receiver.archive()));
    assert!(receiver.terminate().success());
}

/// Each table is as before or upgraded, and the next try does the rest.
#[test]
fn an_upgrade_that_is_killed_leaves_whole_tables() {
    let mut states = Vec::new();
    for point in ["commit-put", "commit-put-done"] {
        for nth in 1..=4 {
            let directory = of_fixture("1");
            let archive = directory.path().join("archive");
            let (code, out, _) = run("upgrade", &archive, Some(&format!("{point}=kill:{nth}")));
            assert_eq!((code, out.as_str()), (None, ""), "{point} {nth}: it was killed");
            let state = guarded(&archive);
            assert!(state.is_sorted_by(|one, next| one >= next), "{point} {nth}: {state:?}");
            assert_sound(&archive);
            let done = state.iter().filter(|&&guarded| guarded).count();
            let rest = upgrade(&archive);
            assert_eq!(rest.iter().filter(|(result, _)| result == "guarded").count(), done, "{rest:?}");
            assert_eq!(guarded(&archive), [true; 4]);
            assert_sound(&archive);
            states.push(done);
        }
    }
    assert_eq!(states, [0, 1, 2, 3, 1, 2, 3, 4], "each state between two commits was seen");
}

#[test]
fn a_table_that_cannot_be_upgraded_is_named_and_the_others_are_upgraded() {
    let directory = of_fixture("1");
    let archive = directory.path().join("archive");
    let (code, out, err) = run("upgrade", &archive, Some("commit-put=error:2"));
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &report["ok"], &report["tables"][1]["result"]),
        (Some(1), &json!(false), &json!("failed")),
        "{out}"
    );
    assert!(err.contains("not all tables were upgraded; run the command again: histograms: "), "{err}");
    assert_eq!(guarded(&archive), [true, false, true, true]);
    let results = upgrade(&archive).into_iter().map(|(result, _)| result).collect::<Vec<_>>();
    assert_eq!(results, ["guarded", "upgraded", "guarded", "guarded"]);
}

/// A receiver of an earlier version holds one lock, and could not go on.
#[test]
fn an_archive_of_an_earlier_receiver_that_runs_is_not_upgraded() {
    let directory = of_fixture("1");
    let archive = directory.path().join("archive");
    let before = files(&archive);
    let lock = fs::File::create(archive.join(".promarchive.lock")).unwrap();
    lock.try_lock().unwrap();
    let (code, out, err) = run("upgrade", &archive, None);
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    for part in ["nothing was upgraded", archive.to_str().unwrap(), "a running receiver of an earlier version"] {
        assert!(err.contains(part), "{err}");
    }
    assert_eq!(files(&archive), before);
    drop(lock);
    assert!(upgrade(&archive).iter().all(|(result, _)| result == "upgraded"));
}

/// As a later version of this program, or another program, may leave a table.
#[test]
fn a_table_with_a_feature_that_is_not_known_is_refused_by_name() {
    let later = json!({"protocol": {
        "minReaderVersion": 1, "minWriterVersion": 7,
        "writerFeatures": ["appendOnly", "invariants", "promarchive", "promarchiveLater"],
    }});
    let directory = of_fixture("3");
    let archive = directory.path().join("archive");
    let protocol = log_of(&archive, "samples").join("00000000000000000002.json");
    assert!(!protocol.exists());
    fs::write(&protocol, format!("{later}\n")).unwrap();
    let before = files(&archive);
    let names =
        ["(1, 7) with appendOnly, invariants, promarchive, promarchiveLater", "if a newer version of promarchive"];
    for command in ["upgrade", "inspect", "verify"] {
        let (code, out, err) = run(command, &archive, None);
        let said = out + &err;
        assert_eq!(code, Some(1), "{command}: {said}");
        assert!(names.iter().all(|name| said.contains(name)), "{command}: {said}");
        assert_eq!(said.contains("log-protocol"), command == "verify", "{said}");
    }
    let mut receiver = Receiver::start_listening(directory, &archive, &[], &[]);
    let ended = receiver.wait_for_end();
    let said = receiver.log();
    assert_eq!(ended.code(), Some(1), "{said}");
    let error = said.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
    assert!(names.iter().all(|name| error.contains(name)) && error.contains("samples"), "{said}");
    assert_eq!(files(&archive), before, "nothing was written");
}
