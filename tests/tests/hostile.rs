//! Files that somebody has put into an archive to take the memory of whoever reads it: `inspect` and `verify` stay below their limit, name
//! the file, and print no half of an answer.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMillisecondArray, UInt32Array};
use arrow::compute::{concat_batches, take};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use promarchive_model::Protocol::V2;
use promarchive_tests::program::{Receiver, promarchive, wait_for};
use promarchive_tests::request::{Request, Series};
use serde_json::json;
use tempfile::TempDir;

/// 2026-11-22T12:00:00Z.
const NOON: i64 = 1_795_348_800_000;
const DATE: &str = "date=2026-11-22";
const MIB: u64 = 1 << 20;
/// What a command takes beside what its limit counts: the program itself, and what its allocator keeps.
const BESIDE: u64 = 96 * MIB;

/// An archive with a sample and an exemplar, and no receiver.
struct Archive(TempDir);

/// How a command ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
    peak: u64,
}

impl Archive {
    fn new() -> Self {
        let mut receiver = Receiver::start(&[]);
        let series = Series::metric("up").sample(NOON, 1.0).exemplar(NOON, 1.0, &[("trace_id", "a")]);
        assert_eq!(receiver.write(V2, &Request::of([series])).status, 204);
        receiver.flush();
        receiver.terminate();
        Self(receiver.into_directory())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("archive")
    }

    fn day(&self, table: &str) -> PathBuf {
        self.path().join(table).join(DATE)
    }

    /// The row that the receiver has written.
    fn row(&self, table: &str) -> RecordBatch {
        let file = fs::read_dir(self.day(table)).unwrap().next().unwrap().unwrap().path();
        let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(file).unwrap()).unwrap().build().unwrap();
        let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
        concat_batches(&batches[0].schema(), &batches).unwrap()
    }

    /// Lists files in one more version of a table.
    fn add(&self, table: &str, files: &[(&str, Vec<u8>)]) {
        let mut lines = json!({"commitInfo": {"timestamp": NOON, "engineInfo": "promarchive/0.1.0"}}).to_string();
        for (name, bytes) in files {
            fs::write(self.day(table).join(name), bytes).unwrap();
            let day = DATE.strip_prefix("date=").unwrap();
            let add = json!({"add": {"path": format!("{DATE}/{name}"), "partitionValues": {"date": day}, "size": bytes.len(),
                "modificationTime": NOON, "dataChange": true, "stats": "{\"numRecords\":1}"}});
            lines += &format!("\n{add}");
        }
        let log = self.path().join(table).join("_delta_log");
        let version = (0..).find(|version| !log.join(format!("{version:020}.json")).exists()).unwrap();
        fs::write(log.join(format!("{version:020}.json")), lines + "\n").unwrap();
    }

    /// Puts other bytes into the place of the file that the receiver has written.
    fn replace(&self, table: &str, bytes: &[u8]) {
        let file = fs::read_dir(self.day(table)).unwrap().next().unwrap().unwrap().path();
        let size = |bytes: u64| format!("\"size\":{bytes}");
        let commit = self.path().join(table).join(format!("_delta_log/{:020}.json", 1));
        let listed = fs::read_to_string(&commit).unwrap();
        let changed = listed.replace(&size(fs::metadata(&file).unwrap().len()), &size(bytes.len() as u64));
        assert_ne!(listed, changed);
        fs::write(commit, changed).unwrap();
        fs::write(file, bytes).unwrap();
    }

    /// Runs a command on the archive, to its end, and looks at its memory all the time.
    fn run(&self, command: &str, flags: &[&str]) -> Ended {
        let log = |name: &str| self.0.path().join(name);
        let into = |name: &str| Stdio::from(fs::File::create(log(name)).unwrap());
        let mut child = Command::new(promarchive())
            .args([command, "--output", "json"])
            .args(flags)
            .arg(self.path())
            .stdout(into("out"))
            .stderr(into("err"))
            .spawn()
            .unwrap();
        let mut peak = 0;
        let ended = wait_for(Duration::from_secs(120), || {
            peak = peak.max(peak_memory(child.id()));
            child.try_wait().unwrap()
        });
        let _ = child.kill();
        let read = |name: &str| fs::read_to_string(log(name)).unwrap();
        Ended { code: ended.expect("an end").code(), out: read("out"), err: read("err"), peak }
    }

    /// The command ends at a limit of `mib`, and says what it was reading.
    fn assert_limited(&self, command: &str, mib: u64, reading: &[&str]) {
        let ended = self.run(command, &["--memory-limit", &format!("{mib}Mi")]);
        assert_eq!((ended.code, &*ended.out), (Some(3), ""), "{ended:?}");
        assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
        let begin = format!("error: the memory limit of {mib}.0 MiB was reached while reading ");
        let begin = if mib < 100 { begin } else { begin.replace(".0 MiB", " MiB") };
        assert!(ended.err.starts_with(&begin) && ended.err.contains("--memory-limit"), "{}", ended.err);
        assert!(reading.iter().all(|part| ended.err.contains(part)), "{}", ended.err);
        assert!(ended.peak < mib * MIB + BESIDE, "{} MiB", ended.peak / MIB);
    }
}

fn peak_memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.map_or(0, |peak| peak.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024)
}

/// Rows like this one, so many of them, with these columns instead of its own.
fn rows(row: &RecordBatch, count: usize, columns: &[(&str, ArrayRef)]) -> RecordBatch {
    let repeated = UInt32Array::from(vec![0; count]);
    let schema = row.schema();
    let column = |name: &str| columns.iter().find(|(other, _)| *other == name).map(|(_, column)| column.clone());
    let filled = schema.fields().iter().zip(row.columns()).map(|(field, own)| match column(field.name()) {
        Some(column) => arrow::compute::cast(&column, own.data_type()).unwrap(),
        None => take(own, &repeated, None).unwrap(),
    });
    RecordBatch::try_new(schema.clone(), filled.collect()).unwrap()
}

/// A file with a row group for each batch.
fn file(groups: impl IntoIterator<Item = RecordBatch>) -> Vec<u8> {
    let mut groups = groups.into_iter().peekable();
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_dictionary_page_size_limit(usize::MAX)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_max_row_group_row_count(Some(usize::MAX));
    let schema = groups.peek().unwrap().schema();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties.build())).unwrap();
    for group in groups {
        writer.write(&group).unwrap();
        writer.flush().unwrap();
    }
    writer.into_inner().unwrap()
}

/// Texts of so many bytes, in order.
fn texts(first: usize, count: usize, bytes: usize, text: fn(&str) -> String) -> ArrayRef {
    let long = "x".repeat(bytes);
    Arc::new((first..first + count).map(|at| Some(text(&format!("{at:08}{long}")))).collect::<StringArray>())
}

/// Milliseconds from noon.
fn times(count: usize) -> ArrayRef {
    let times: Vec<i64> = (NOON..).take(count).collect();
    Arc::new(TimestampMillisecondArray::from(times).with_timezone("UTC"))
}

#[test]
fn names_of_metrics_that_add_up_over_row_groups() {
    let archive = Archive::new();
    let row = archive.row("samples");
    let group = |group: usize| rows(&row, 40, &[("metric", texts(group * 40, 40, 1 << 20, |text| format!("m{text}")))]);
    archive.add("samples", &[("part-hostile.parquet", file((0..5).map(group)))]);
    archive.assert_limited("inspect", 128, &["samples/date=2026-11-22/part-hostile.parquet"]);
}

#[test]
fn runs_that_add_up_over_row_groups() {
    let archive = Archive::new();
    let row = archive.row("samples");
    let both: ArrayRef = Arc::new((0..1_000_000).map(|at| Some(["a", "b"][at % 2])).collect::<StringArray>());
    let group = rows(&row, both.len(), &[("metric", both)]).project(&[0, row.schema().index_of("series_id").unwrap()]);
    archive.add("samples", &[("part-hostile.parquet", file(vec![group.unwrap(); 8]))]);
    archive.assert_limited("inspect", 64, &["samples/date=2026-11-22/part-hostile.parquet"]);
}

#[test]
fn rows_of_one_series_in_two_files_of_a_day() {
    let archive = Archive::new();
    let many = rows(&archive.row("samples"), 700_000, &[("timestamp", times(700_000))]);
    let hostile = file([many]);
    archive.add("samples", &[("part-hostile.parquet", hostile.clone()), ("part-second.parquet", hostile)]);
    archive.assert_limited("verify", 64, &["samples/date=2026-11-22/part-", "other files of its day"]);
}

#[test]
fn dictionaries_of_files_of_one_moment() {
    let archive = Archive::new();
    let labels = texts(0, 24, 1 << 20, |text| format!("{{\"a\":\"{text}\"}}"));
    let hostile = file([rows(&archive.row("samples"), 24, &[("labels", labels)])]);
    let names: Vec<String> = (0..8).map(|at| format!("part-hostile-{at}.parquet")).collect();
    let files: Vec<(&str, Vec<u8>)> = names.iter().map(|name| (name.as_str(), hostile.clone())).collect();
    archive.add("samples", &files);
    archive.assert_limited("verify", 128, &["samples/date=2026-11-22/part-hostile-"]);
}

#[test]
fn exemplars_of_one_moment() {
    let archive = Archive::new();
    let values: ArrayRef = Arc::new((0..1_000_000).map(f64::from).collect::<Float64Array>());
    let many = rows(&archive.row("exemplars"), values.len(), &[("value", values)]);
    archive.add("exemplars", &[("part-hostile.parquet", file([many]))]);
    archive.assert_limited("verify", 48, &["exemplars/date=2026-11-22/part-hostile.parquet"]);
}

/// The Parquet library would make room for as many columns as the footer claims: 16 GiB.
#[test]
fn a_footer_that_claims_more_columns_than_there_are() {
    const FOOTER: &[u8] = &[
        0x15, 0x02, 0x19, 0x2c, // version 1, and a schema of two elements
        0x48, 0x01, b'r', 0x15, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0x00, // a root of i32::MAX children
        0x15, 0x02, 0x25, 0x00, 0x18, 0x01, b'a', 0x00, // a column
        0x16, 0x00, 0x19, 0x0c, 0x00, // no rows, no row groups
    ];
    let archive = Archive::new();
    let length = u32::try_from(FOOTER.len()).unwrap().to_le_bytes();
    let hostile = [b"PAR1", FOOTER, &length, b"PAR1"].concat();
    archive.replace("samples", &hostile);
    let ended = archive.run("verify", &[]);
    assert!(ended.code == Some(1) && ended.out.contains("the footer is invalid"), "{ended:?}");
    let ended = archive.run("inspect", &[]);
    assert!(ended.code == Some(0) && ended.out.contains("the footer is invalid"), "{ended:?}");
    let root = archive.path();
    let receiver = Receiver::start_listening(archive.0, &root, &[], &[]);
    let said = wait_for(Duration::from_secs(60), || Some(receiver.log()).filter(|log| log.contains("footer")));
    assert!(said.is_some(), "{}", receiver.log());
}

/// A sender may name a metric in any way, and who can write files into the archive may choose their names.
#[test]
fn no_control_characters_reach_a_terminal() {
    let archive = Archive::new();
    let name: ArrayRef = Arc::new(StringArray::from(vec!["m\u{1b}]0;evil\u{7}\u{9b}\u{202e}"]));
    archive
        .add("samples", &[("part-\u{1b}[31m.parquet", file([rows(&archive.row("samples"), 1, &[("metric", name)])]))]);
    fs::write(archive.day("samples").join("\u{1b}[32mleft\nsound: 0 errors"), "").unwrap();
    for command in ["inspect", "verify"] {
        for output in ["table", "json"] {
            let output = Command::new(promarchive()).args([command, "--output", output]).arg(archive.path()).output();
            let output = output.unwrap();
            for text in [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()) {
                let hidden = |character: char| character != '\n' && (character.is_control() || character == '\u{202e}');
                assert!(!text.contains(hidden), "{command}: {text:?}");
                assert!(!text.lines().any(|line| line.starts_with("sound")), "{command}: {text}");
            }
        }
    }
}
