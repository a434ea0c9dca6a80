//! Programs that write Delta tables: that they read a guarded table and refuse to write to it, version by version.
//!
//! The table in `docs/reference/foreign-writers.md` is made of what is here. As with readers, only those are asked that are quick, unless
//! `PROMARCHIVE_ALL_READERS` is set.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use promarchive_model::Protocol::V1;
use promarchive_tests::program::{Receiver, promarchive};
use promarchive_tests::readers::{Reader, Worker};
use promarchive_tests::request::{Request, Series};
use promarchive_tests::tables::Tables;
use tempfile::TempDir;

use crate::cases::T;
use crate::matrix::{SPARK_3, SPARK_4, USUAL, installed, named};

/// What a writer does when it is asked for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    /// Nothing, and names the feature.
    Refuses,
    /// What it was asked for.
    It,
    /// It has no such command, or not for these tables.
    NotAsked,
}
use Does::{It, NotAsked, Refuses};

const ACTIONS: [&str; 5] = ["append", "delete", "optimize", "vacuum", "checkpoint"];

struct Writer {
    environment: &'static str,
    title: &'static str,
    packages: &'static [&'static str],
    /// What `writers.py` calls it.
    kind: &'static str,
    does: [Does; ACTIONS.len()],
}

const fn writer(
    environment: &'static str,
    title: &'static str,
    packages: &'static [&'static str],
    kind: &'static str,
    does: [Does; ACTIONS.len()],
) -> Writer {
    Writer { environment, title, packages, kind, does }
}

const DELTALAKE: [Does; 5] = [Refuses, Refuses, Refuses, It, It];
const APPENDS: [Does; 5] = [Refuses, NotAsked, NotAsked, NotAsked, NotAsked];
const SPARK: [Does; 5] = [Refuses, Refuses, Refuses, Refuses, NotAsked];

const WRITERS: [Writer; 10] = [
    writer("oldest", "deltalake", &["deltalake"], "deltalake", DELTALAKE),
    writer("older", "deltalake", &["deltalake"], "deltalake", [It; 5]),
    writer("old", "deltalake", &["deltalake"], "deltalake", DELTALAKE),
    writer(USUAL, "deltalake", &["deltalake"], "deltalake", DELTALAKE),
    writer(USUAL, "Polars", &["polars", "deltalake"], "polars", APPENDS),
    writer(USUAL, "DuckDB", &["duckdb"], "duckdb", APPENDS),
    writer("slow", "Daft", &["daft", "deltalake"], "daft", APPENDS),
    writer("slow", "ClickHouse (chdb)", &["chdb-core"], "chdb", APPENDS),
    writer(SPARK_3, "Spark", &["pyspark"], "spark", SPARK),
    writer(SPARK_4, "Spark", &["pyspark"], "spark", SPARK),
];

/// As the page has it.
fn table() -> String {
    let mut lines = vec![
        "| writer | reads | append | delete | optimize | vacuum | checkpoint |".to_owned(),
        "|---|---|---|---|---|---|---|".to_owned(),
    ];
    for writer in &WRITERS {
        let cell = |(does, action): (&Does, &str)| match does {
            Refuses => "refuses",
            It if ["vacuum", "checkpoint"].contains(&action) => "does it",
            It => "**writes**",
            NotAsked => "–",
        };
        let cells: Vec<&str> = writer.does.iter().zip(ACTIONS).map(cell).collect();
        lines.push(format!(
            "| {} | yes | {} |",
            named(writer.environment, writer.title, writer.packages),
            cells.join(" | ")
        ));
    }
    lines.join("\n")
}

/// An archive with a checkpoint, and commits behind it.
struct Guarded {
    directory: TempDir,
    wanted: Tables,
}

impl Guarded {
    fn make() -> Self {
        let (mut receiver, mut wanted) = (Receiver::start(&[]), Tables::default());
        for flush in 0..34 {
            let sent = Request::of([
                Series::metric("up").sample(T + flush, 1.0),
                Series::metric("down").sample(T + flush, 2.0),
            ]);
            assert_eq!(receiver.write(V1, &sent).status, 204);
            receiver.flush();
            wanted.add(V1, &sent);
        }
        assert!(receiver.terminate().success());
        let directory = receiver.into_directory();
        assert!(log_of(&directory.path().join("archive/samples")).join("_last_checkpoint").exists());
        Self { directory, wanted }
    }

    /// A copy of its samples; as earlier versions made them, if they are not to be guarded.
    fn samples(&self, is_guarded: bool) -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        let samples = directory.path().join("samples");
        copy(&self.directory.path().join("archive/samples"), &samples);
        if !is_guarded {
            let log = log_of(&samples);
            let created = log.join("00000000000000000000.json");
            let (feature, version) =
                (r#","writerFeatures":["appendOnly","invariants","promarchive"]"#, r#""minWriterVersion":7"#);
            let text = fs::read_to_string(&created).unwrap();
            assert!(text.contains(feature) && text.contains(version), "{text}");
            fs::write(&created, text.replace(feature, "").replace(version, r#""minWriterVersion":2"#)).unwrap();
            // They have the features, too.
            for entry in fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path()) {
                if entry.to_str().unwrap().contains("checkpoint") {
                    fs::remove_file(entry).unwrap();
                }
            }
        }
        directory
    }
}

fn log_of(table: &Path) -> PathBuf {
    table.join("_delta_log")
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success());
}

/// The names of commits, and of checkpoints.
fn log_names(table: &Path) -> (BTreeSet<String>, BTreeSet<String>) {
    let names = fs::read_dir(log_of(table)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names = names.filter(|name| name.ends_with(".json") || name.ends_with(".parquet"));
    names.partition(|name| name.ends_with(".json"))
}

/// What a writer does; or why it is neither of what it may be.
fn ask(worker: &mut Worker, kind: &str, action: &str, directory: &TempDir) -> Result<Does, String> {
    let table = directory.path().join("samples");
    let before = log_names(&table);
    let answer = worker.work(&[kind, action, table.to_str().unwrap()]);
    let after = log_names(&table);
    match (answer, after == before) {
        (Err(error), true) if error.contains("promarchive") => Ok(Refuses),
        (Ok(()), changed_nothing) if changed_nothing == ["read", "vacuum"].contains(&action) => Ok(It),
        // Spark and deltalake may note in the log that they have vacuumed.
        (Ok(()), false) if action == "vacuum" => Ok(It),
        (answer, unchanged) => Err(format!("{answer:?}, the log is unchanged: {unchanged}")),
    }
}

#[test]
fn the_page_of_writers_says_who_refuses() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/foreign-writers.md");
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains(&table()), "docs/reference/foreign-writers.md is to have this table:\n{}", table());

    let (guarded, installed, mut wrong) = (Guarded::make(), installed(), Vec::new());
    for (environment, place) in &installed {
        let mut worker = Worker::start(&place.python, "writers.py", place.first.as_deref());
        for writer in WRITERS.iter().filter(|writer| writer.environment == environment) {
            let mut expect = |action: &str, is_guarded: bool, does: Does| {
                let found = ask(&mut worker, writer.kind, action, &guarded.samples(is_guarded));
                if found.as_ref() != Ok(&does) {
                    let name = named(writer.environment, writer.title, writer.packages);
                    wrong.push(format!("{name}, {action}, guarded: {is_guarded}: not {does:?} but {found:?}"));
                }
            };
            expect("read", true, It);
            for (action, does) in ACTIONS.into_iter().zip(writer.does).filter(|(_, does)| *does != NotAsked) {
                expect(action, true, does);
                // So it is the guard that makes it refuse.
                if does == Refuses {
                    expect(action, false, It);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Checkpoints and vacuums need no writer feature in deltalake. The receiver goes on after them, and nothing is lost.
#[test]
fn a_receiver_goes_on_after_a_checkpoint_and_a_vacuum_of_another_program() {
    let Guarded { directory, mut wanted } = Guarded::make();
    let samples = directory.path().join("archive/samples");
    let ours = log_names(&samples).1;
    let usual = &installed()[USUAL];
    let mut worker = Worker::start(&usual.python, "writers.py", None);
    for action in ["checkpoint", "vacuum"] {
        worker.work(&["deltalake", action, samples.to_str().unwrap()]).unwrap();
    }
    let theirs = log_names(&samples).1;
    assert_eq!((ours.len(), theirs.len()), (1, 2), "a checkpoint of another program");

    let mut receiver = Receiver::start_in(directory, &[], &[]);
    let sent = Request::of([Series::metric("up").sample(T + 99, 1.0), Series::metric("up").sample(T, 1.0)]);
    assert_eq!(receiver.write(V1, &sent).status, 204);
    receiver.flush();
    wanted.add(V1, &Request::of([Series::metric("up").sample(T + 99, 1.0)]));
    for reader in [Reader::DuckDb, Reader::Polars, Reader::Pandas] {
        wanted.assert_equals(&Tables::read(reader, &receiver.archive()));
    }
    let verified = Command::new(promarchive()).arg("verify").arg(receiver.archive()).output().unwrap();
    let said = String::from_utf8(verified.stdout).unwrap();
    assert!(verified.status.success() && said.contains("sound: 0 errors, 0 warnings"), "{said}");
    assert!(receiver.terminate().success());
}
