//! Archives made by the write path itself, then damaged in each way that a check looks for.

mod damage;
mod fuzz;
mod hostile;
mod inspecting;
mod logs;
mod rows;
mod sound;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::TimestampMillisecondType;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use promarchive_archive::file::checksum;
use promarchive_archive::file::decode::{Text, open_file};
use promarchive_archive::log::CHECKSUM_TAG;
use promarchive_archive::schema::{LabelColumns, Table, arrow_schema};
use promarchive_archive::store::Store;
use promarchive_archive::{Archive, Location, Upgraded, upgrade};
use promarchive_model::Protocol;
use promarchive_model::environment::{Clock, SystemEntropy};
use promarchive_pipeline::core::recovery::{OpenOptions, open};
use promarchive_pipeline::core::{Core, Environment, Terms};
use promarchive_wal::{Options, RealDisk};
use promarchive_wire::proto::v1;
use prost::Message;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::moment::Moment;
use super::*;

/// 2026-11-22, noon.
const NOON: i64 = 1_795_348_800_000;

#[derive(Debug)]
struct StoppedClock(AtomicI64);

impl Clock for StoppedClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    fn monotonic_ms(&self) -> u64 {
        0
    }
}

/// A receiver without HTTP, and the directory of its archive.
struct Fixture {
    directory: TempDir,
    clock: Arc<StoppedClock>,
    core: Arc<Core>,
}

impl Fixture {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(StoppedClock(AtomicI64::new(NOON)));
        let core = receiver(&directory, "wal", &clock).await;
        Self { directory, clock, core }
    }

    /// One that has flushed three times: samples, histograms, exemplars and metadata, twenty times each.
    async fn full() -> Self {
        let fixture = Self::new().await;
        for flush in 0..3 {
            fixture.flush(&request(NOON + flush * 60_000, 20)).await;
        }
        fixture
    }

    fn store(&self) -> Store {
        store(&self.archive())
    }

    fn archive(&self) -> PathBuf {
        self.directory.path().join("archive")
    }

    fn wal(&self) -> PathBuf {
        self.directory.path().join("wal")
    }

    fn table(&self, table: Table) -> PathBuf {
        self.archive().join(table.name())
    }

    /// Writes, a minute later than the last time, and flushes.
    async fn flush(&self, request: &v1::WriteRequest) {
        self.clock.0.fetch_add(60_000, Ordering::Relaxed);
        send(&self.core, request);
        self.core.flush().await.unwrap();
    }

    async fn verify(&self) -> Verification {
        self.verify_with(&VerifyOptions::default()).await
    }

    async fn verify_with(&self, options: &VerifyOptions) -> Verification {
        verify(&self.store(), options, self.clock.as_ref(), &()).await.unwrap()
    }

    /// The checks that find something, each once.
    async fn found(&self) -> Vec<&'static str> {
        names(&self.verify().await)
    }

    /// Data files of a table, oldest first.
    fn files(&self, table: Table) -> Vec<String> {
        let walk = self.store().table(table);
        let entries = tokio::task::block_in_place(|| Handle::current().block_on(walk.walk())).unwrap();
        let paths = entries.into_iter().map(|entry| entry.path);
        paths.filter(|path| path.ends_with(".parquet") && !path.starts_with("_delta_log")).collect()
    }

    fn commit_path(&self, table: Table, version: u64) -> PathBuf {
        self.table(table).join(format!("_delta_log/{version:020}.json"))
    }

    /// Changes the actions of one version.
    fn edit_commit(&self, table: Table, version: u64, edit: impl FnOnce(&mut Vec<Value>)) {
        let path = self.commit_path(table, version);
        let text = fs::read_to_string(&path).unwrap();
        let mut actions: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        edit(&mut actions);
        fs::write(path, actions.iter().map(|action| format!("{action}\n")).collect::<String>()).unwrap();
    }

    /// Changes the action that adds the file of one version.
    fn edit_add(&self, table: Table, version: u64, edit: impl FnOnce(&mut Value)) {
        self.edit_commit(table, version, |actions| {
            edit(&mut actions.iter_mut().find(|a| a.get("add").is_some()).unwrap()["add"])
        });
    }

    /// Changes the statistics of one version's file.
    fn edit_stats(&self, table: Table, version: u64, edit: impl FnOnce(&mut Value)) {
        self.edit_add(table, version, |add| {
            let mut stats: Value = serde_json::from_str(add["stats"].as_str().unwrap()).unwrap();
            edit(&mut stats);
            add["stats"] = json!(stats.to_string());
        });
    }

    /// Writes the first file of a table again, with other rows, and lets the log say so.
    fn edit_rows(&self, table: Table, edit: impl FnOnce(RecordBatch) -> RecordBatch) {
        let path = self.table(table).join(&self.files(table)[0]);
        let batches = open_file(table, &LabelColumns::default(), Bytes::from(fs::read(&path).unwrap()), None).unwrap();
        let batches: Vec<RecordBatch> = batches.map(Result::unwrap).collect();
        let batch = edit(concat_batches(&arrow_schema(table, &LabelColumns::default()), &batches).unwrap());
        let bytes = parquet_file(&batch, |properties| properties);
        self.replace_first(table, &bytes);
        self.edit_add(table, 1, |add| add["stats"] = json!(stats(&batch).to_string()));
    }

    /// Puts another file instead of a table's first one, and lets the log say so.
    fn replace_first(&self, table: Table, bytes: &[u8]) {
        fs::write(self.table(table).join(&self.files(table)[0]), bytes).unwrap();
        self.edit_add(table, 1, |add| {
            add["size"] = json!(bytes.len());
            add["tags"][CHECKSUM_TAG] = json!(format!("{:032x}", checksum(bytes)));
        });
    }
}

fn store(archive: &FsPath) -> Store {
    Store::open(Location::at(archive).unwrap()).unwrap()
}

async fn receiver(directory: &TempDir, wal: &str, clock: &Arc<StoppedClock>) -> Arc<Core> {
    let store = store(&directory.path().join("archive"));
    let environment = Environment { clock: clock.clone(), entropy: Arc::new(SystemEntropy) };
    let archive = Archive::open_or_create(store, None, clock.as_ref(), &SystemEntropy).await.unwrap();
    let disk = Arc::new(RealDisk::open(directory.path().join(wal)).unwrap());
    let options =
        OpenOptions { keep: Duration::ZERO, flush_bytes: 1 << 30, memory_bytes: u64::MAX, wal: Options::default() };
    open(archive, disk, environment, options, Arc::new(())).await.unwrap().0
}

fn send(core: &Core, request: &v1::WriteRequest) {
    let decoded = request.encode_to_vec();
    let body = snap::raw::Encoder::new().compress_vec(&decoded).unwrap();
    let resolved = core.resolve(Protocol::V1, body.into(), &decoded, Terms::until(i64::MAX), &()).unwrap();
    assert!(resolved.batch.refusals.is_empty(), "{:?}", resolved.batch.refusals);
    core.commit_group(&mut [resolved]).unwrap();
}

fn labels(pairs: &[(&str, &str)]) -> Vec<v1::Label> {
    pairs.iter().map(|(name, value)| v1::Label { name: (*name).into(), value: (*value).into() }).collect()
}

/// Everything there is: of two float series, two histogram series with an exemplar each, and a metric's metadata, `rows` rows a second apart.
fn request(from: i64, rows: i64) -> v1::WriteRequest {
    let times = || (0..rows).map(|row| from + row * 1000);
    let mut timeseries = Vec::new();
    for job in ["api", "db"] {
        timeseries.push(v1::TimeSeries {
            labels: labels(&[("__name__", "up"), ("job", job), ("path", "a\"b\u{1}")]),
            samples: times().map(|timestamp| v1::Sample { timestamp, value: timestamp as f64 }).collect(),
            ..v1::TimeSeries::default()
        });
        timeseries.push(v1::TimeSeries {
            labels: labels(&[("__name__", "latency"), ("job", job)]),
            histograms: times().map(histogram).collect(),
            exemplars: times()
                .map(|timestamp| v1::Exemplar { labels: labels(&[("trace_id", job)]), value: 0.5, timestamp })
                .collect(),
            ..v1::TimeSeries::default()
        });
    }
    let metadata = v1::MetricMetadata {
        r#type: 1,
        metric_family_name: format!("up_{from}"),
        help: "Whether it is up.".into(),
        unit: String::new(),
    };
    v1::WriteRequest { timeseries, metadata: vec![metadata] }
}

fn histogram(timestamp: i64) -> v1::Histogram {
    v1::Histogram {
        count: Some(v1::histogram::Count::CountInt(5)),
        zero_count: Some(v1::histogram::ZeroCount::ZeroCountInt(1)),
        sum: 2.5,
        positive_spans: vec![v1::BucketSpan { offset: 0, length: 2 }],
        positive_deltas: vec![1, 2],
        timestamp,
        ..v1::Histogram::default()
    }
}

fn samples(series: &[(&str, &str)], samples: impl IntoIterator<Item = (i64, f64)>) -> v1::WriteRequest {
    let samples = samples.into_iter().map(|(timestamp, value)| v1::Sample { timestamp, value }).collect();
    let series = v1::TimeSeries { labels: labels(series), samples, ..v1::TimeSeries::default() };
    v1::WriteRequest { timeseries: vec![series], metadata: Vec::new() }
}

/// A file as the receiver writes it, but for what `change` does.
fn parquet_file(
    batch: &RecordBatch,
    change: impl FnOnce(
        parquet::file::properties::WriterPropertiesBuilder,
    ) -> parquet::file::properties::WriterPropertiesBuilder,
) -> Vec<u8> {
    let mut properties = WriterProperties::builder().set_statistics_enabled(EnabledStatistics::None);
    for name in ["metric", "timestamp"] {
        let path = ColumnPath::new(vec![name.to_owned()]);
        properties = properties.set_column_statistics_enabled(path, EnabledStatistics::Page);
    }
    let options = ArrowWriterOptions::new().with_skip_arrow_metadata(true).with_properties(change(properties).build());
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), batch.schema(), options).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

/// What the log says of a file with these rows.
fn stats(batch: &RecordBatch) -> Value {
    let metric = Text::of(batch, "metric").unwrap();
    let metrics: BTreeSet<&str> = (0..batch.num_rows()).filter_map(|row| metric.get(row)).collect();
    let times = batch.column_by_name("timestamp").unwrap().as_primitive::<TimestampMillisecondType>();
    let times: BTreeSet<i64> = times.values().iter().copied().collect();
    let bounds = |metric: Option<&&str>, time: Option<&i64>| json!({"metric": metric, "timestamp": time.map(|&time| Moment(time).to_string())});
    json!({
        "numRecords": batch.num_rows(),
        "minValues": bounds(metrics.first(), times.first()),
        "maxValues": bounds(metrics.last(), times.last()),
    })
}

fn with_column(batch: &RecordBatch, name: &str, column: ArrayRef) -> RecordBatch {
    let mut columns = batch.columns().to_vec();
    columns[batch.schema().index_of(name).unwrap()] = column;
    RecordBatch::try_new(batch.schema(), columns).unwrap()
}

fn names(verification: &Verification) -> Vec<&'static str> {
    let names: BTreeSet<&str> = verification.findings.iter().map(|finding| finding.check.name()).collect();
    names.into_iter().collect()
}
