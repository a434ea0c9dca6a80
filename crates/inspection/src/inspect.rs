//! What is in an archive.
//!
//! # What costs what
//!
//! | answer | read | grows with |
//! |---|---|---|
//! | version, files, bytes, rows, time range, dates | the log, through the Delta kernel | files |
//! | writers, last commit | newest checkpoint and the commits behind it | writers |
//! | unlisted files | directory listings | files |
//! | series, top metrics | per file: footer, columns `metric` and `series_id` as runs | files × series in each |
//!
//! `series_id` has one dictionary entry a series, and a series is one run of rows: both columns take a few bytes a series, however many
//! samples it has (and one page header in 65,536 rows). Columns of times and values are never read. Series are told apart by
//! `series_id`: two that share a hash of 64 bits count as one, which is not to be expected below a billion series. Memory: 10 to
//! 20 bytes a series of one table at a time, and two columns of four files.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, stream};
use promarchive_archive::control::{self, Horizon, Records};
use promarchive_archive::log::listing::{LogName, read_writers};
use promarchive_archive::log::{DataFile, LogError, Snapshot, TableProtocol, foreign_checksums};
use promarchive_archive::schema::{LABEL_COLUMNS_PROPERTY, SCHEMA_VERSION_PROPERTY, Table};
use promarchive_archive::store::{Entry, Root, Store};
use promarchive_archive::{Archive, ArchiveError};
use promarchive_model::Date;
use serde::Serialize;

use super::moment::Moment;
use super::series_count::{SeriesCount, count_file};
use super::{Progress, phase, reading, total};

const FILES_AT_A_TIME: usize = 4;
/// Metrics named in the report.
const TOP_METRICS: usize = 10;
/// See [`DaysBefore2000`].
const YEAR_2000: Date = Date(10_957);

/// Why an archive cannot be inspected.
#[derive(Debug, thiserror::Error)]
pub enum InspectionError {
    /// It cannot be opened.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A table's log cannot be read.
    #[error("{0}; run `promarchive verify` to find what is damaged")]
    Log(#[from] LogError),
    /// Its directory cannot be read.
    #[error("{0}")]
    Directory(String),
}

/// What is in an archive.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// Its absolute path.
    pub archive: String,
    /// Tables, in the order in which a flush commits them.
    pub tables: Vec<TableInspection>,
    /// More about the samples; none if there are none.
    pub samples: Option<SamplesInspection>,
    /// Who writes, or wrote, into it.
    pub writers: Vec<WriterInspection>,
    /// What could not be found out, and why; one sentence each.
    pub problems: Vec<String>,
}

/// One table.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TableInspection {
    /// Its name.
    pub table: &'static str,
    /// Its newest version.
    pub version: u64,
    /// Version of its columns.
    pub schema_version: String,
    /// What it asks of programs that open it: Delta's `protocol` action.
    pub protocol: ProtocolInspection,
    /// Whether other programs are told not to write to it.
    pub guarded: bool,
    /// Labels that have a column of their own.
    pub label_columns: Vec<String>,
    /// Files in the newest version.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their rows, by their statistics.
    pub rows: u64,
    /// Files without statistics: their rows are in no count.
    pub files_without_statistics: u64,
    /// Earliest and latest timestamp of a row.
    pub first: Option<Moment>,
    /// See `first`.
    pub last: Option<Moment>,
    /// Days that have rows, first and last of them.
    pub dates: u64,
    /// `2026-11-22`.
    pub first_date: Option<String>,
    /// See `first_date`.
    pub last_date: Option<String>,
    /// Days that are most likely wrong; none if there are none.
    pub before_2000: Option<DaysBefore2000>,
    /// Distinct series; none for a table without series, and where a file could not be read.
    pub series: Option<u64>,
    /// When the newest version was committed.
    pub last_commit: Option<Moment>,
    /// Data files in the table's directory that the newest version does not list: replaced ones, and what crashes left.
    pub unlisted_files: u64,
    /// Their bytes.
    pub unlisted_bytes: u64,
}

/// What a table asks of programs that open it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProtocolInspection {
    /// Least version of the Delta protocol for readers.
    pub min_reader_version: i64,
    /// The same for writers.
    pub min_writer_version: i64,
    /// Features that writers must know.
    pub writer_features: &'static [&'static str],
}

impl From<TableProtocol> for ProtocolInspection {
    fn from(protocol: TableProtocol) -> Self {
        let (min_reader_version, min_writer_version) = protocol.versions();
        Self { min_reader_version, min_writer_version, writer_features: protocol.writer_features() }
    }
}

/// Days before the year 2000, when nobody had anything to scrape: a sender sends 0, or seconds instead of milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DaysBefore2000 {
    /// Their rows, by the statistics of their files.
    pub rows: u64,
    /// How many days.
    pub dates: u64,
    /// The first of them.
    pub first_date: String,
    /// The last of them.
    pub last_date: String,
}

/// More about the samples.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SamplesInspection {
    /// Samples, stale markers included.
    pub samples: u64,
    /// Distinct series.
    pub series: u64,
    /// Distinct metrics.
    pub metrics: u64,
    /// Bytes of files by samples.
    pub bytes_per_sample: Option<f64>,
    /// The metrics with the most samples.
    pub top_metrics: Vec<MetricInspection>,
}

/// One metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricInspection {
    /// Its name.
    pub metric: String,
    /// Its samples.
    pub samples: u64,
    /// Its series.
    pub series: u64,
}

/// A WAL that was flushed into the archive.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WriterInspection {
    /// Its id.
    pub writer: String,
    /// Its last position in each table.
    pub positions: BTreeMap<&'static str, i64>,
    /// When it last committed, as far back as the newest checkpoint.
    pub last_commit: Option<Moment>,
    /// Until when maintenance leaves its last files alone, if its receiver has said so.
    pub horizon_expires: Option<Moment>,
}

/// Looks at an archive.
///
/// # Errors
/// The archive is not there, or a log cannot be read. A data file that cannot be read is a problem in the report.
pub async fn inspect(store: &Store, progress: &dyn Progress) -> Result<Inspection, InspectionError> {
    phase("the tables' logs");
    let archive = Archive::open(store.clone()).await?;
    let mut inspection = Inspection {
        archive: store.location().to_string(),
        tables: Vec::new(),
        samples: None,
        writers: Vec::new(),
        problems: Vec::new(),
    };
    let mut writers: BTreeMap<String, WriterInspection> = BTreeMap::new();
    for table in Table::ALL {
        let Some((root, log)) = archive.table(table) else { continue };
        phase(&format!("{}/_delta_log", table.name()));
        let Some(snapshot) = log.load().await? else {
            inspection
                .problems
                .push(format!("table {} does not exist; the receiver creates it when it starts", table.name()));
            continue;
        };
        let files = snapshot.files().await?;
        phase(&format!("the directory {}", table.name()));
        let mut found = from_log(table, snapshot.as_ref(), &files);
        add_unlisted(root, &files, &mut found).await?;
        phase(&format!("{}/_delta_log", table.name()));
        let log = read_writers(root, snapshot.version()).await?;
        found.last_commit = log.last_commit.map(Moment);
        for (writer, (position, time)) in log.positions {
            let new = || WriterInspection {
                writer: writer.clone(),
                positions: BTreeMap::new(),
                last_commit: None,
                horizon_expires: None,
            };
            let entry = writers.entry(writer.clone()).or_insert_with(new);
            entry.positions.insert(table.name(), position);
            entry.last_commit = entry.last_commit.max(time.map(Moment));
        }
        if table.has_series() {
            phase(&format!("the series of {}", table.name()));
            progress.begin(table.name(), found.files, found.bytes);
            let (rows, count, problems) = count_series(&archive, table, files, progress).await;
            found.series = problems.is_empty().then(|| count.series());
            if table == Table::SAMPLES && problems.is_empty() && rows > 0 {
                inspection.samples = Some(samples(rows, found.bytes, &count));
            }
            inspection.problems.extend(problems);
        }
        inspection.tables.push(found);
    }
    inspection.writers = writers.into_values().collect();
    add_horizons(store, &mut inspection).await;
    inspection.problems.extend(foreign_checksums(store).await.iter().map(ToString::to_string));
    Ok(inspection)
}

/// Until when each receiver may write its last files again.
async fn add_horizons(store: &Store, inspection: &mut Inspection) {
    let known = match control::subjects::<Horizon>(store).await {
        Ok(known) => known,
        Err(error) => return inspection.problems.push(format!("the control records cannot be listed: {error}")),
    };
    for writer in inspection.writers.iter_mut().filter(|writer| known.contains(&writer.writer)) {
        match Records::<Horizon>::about(store, &writer.writer).newest().await {
            Ok(newest) => writer.horizon_expires = newest.map(|newest| Moment(newest.record.expires)),
            Err(error) => inspection.problems.push(error.to_string()),
        }
    }
}

fn samples(samples: u64, bytes: u64, count: &SeriesCount) -> SamplesInspection {
    let metric =
        |(metric, samples, series): (&str, u64, u64)| MetricInspection { metric: metric.to_owned(), samples, series };
    SamplesInspection {
        samples,
        series: count.series(),
        metrics: count.metrics(),
        bytes_per_sample: (samples > 0).then(|| bytes as f64 / samples as f64),
        top_metrics: count.top(TOP_METRICS).into_iter().map(metric).collect(),
    }
}

/// What the log alone says.
fn from_log(table: Table, snapshot: &dyn Snapshot, files: &[DataFile]) -> TableInspection {
    let property = |name: &str| snapshot.properties().get(name).cloned().unwrap_or_default();
    let columns = property(LABEL_COLUMNS_PROPERTY);
    let dates: BTreeSet<_> = files.iter().map(|file| file.date).collect();
    let stats = || files.iter().filter_map(|file| file.stats.as_ref());
    let times = || stats().filter_map(|stats| stats.timestamp);
    TableInspection {
        table: table.name(),
        version: snapshot.version(),
        schema_version: property(SCHEMA_VERSION_PROPERTY),
        protocol: snapshot.protocol().into(),
        guarded: snapshot.protocol() == TableProtocol::Guarded,
        label_columns: columns.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        files: files.len() as u64,
        bytes: total(files.iter().map(|file| file.size)),
        rows: total(stats().map(|stats| stats.rows)),
        files_without_statistics: files.iter().filter(|file| file.stats.is_none()).count() as u64,
        first: times().map(|(first, _)| Moment(first)).min(),
        last: times().map(|(_, last)| Moment(last)).max(),
        dates: dates.len() as u64,
        first_date: dates.first().map(ToString::to_string),
        last_date: dates.last().map(ToString::to_string),
        before_2000: before_2000(files),
        series: None,
        last_commit: None,
        unlisted_files: 0,
        unlisted_bytes: 0,
    }
}

fn before_2000(files: &[DataFile]) -> Option<DaysBefore2000> {
    let old = || files.iter().filter(|file| file.date < YEAR_2000);
    let dates: BTreeSet<_> = old().map(|file| file.date).collect();
    Some(DaysBefore2000 {
        rows: total(old().filter_map(|file| file.stats.as_ref()).map(|stats| stats.rows)),
        dates: dates.len() as u64,
        first_date: dates.first()?.to_string(),
        last_date: dates.last()?.to_string(),
    })
}

async fn add_unlisted(root: &Root, files: &[DataFile], found: &mut TableInspection) -> Result<(), InspectionError> {
    let entries = root.walk().await.map_err(|e| InspectionError::Directory(e.to_string()))?;
    let listed: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let of_the_log = |entry: &Entry| entry.path.strip_prefix("_delta_log/").and_then(LogName::parse).is_some();
    let unlisted = entries.iter().filter(|entry| !listed.contains(entry.path.as_str()) && !of_the_log(entry));
    for entry in unlisted {
        found.unlisted_files += 1;
        found.unlisted_bytes = found.unlisted_bytes.saturating_add(entry.bytes);
    }
    Ok(())
}

/// Rows and series of all files that can be read, and what is wrong with the others.
async fn count_series(
    archive: &Archive,
    table: Table,
    files: Vec<DataFile>,
    progress: &dyn Progress,
) -> (u64, SeriesCount, Vec<String>) {
    let Some((root, _)) = archive.table(table) else { return Default::default() };
    let counts = stream::iter(files).map(|file| {
        let stored = root.file(&file);
        async move {
            let path = file.path.clone();
            let counted = tokio::task::spawn_blocking(move || {
                let _step = reading(table.name(), &path);
                count_file(&stored)
            });
            let count = counted.await;
            let count = match count {
                Ok(Ok(count)) => Ok(count),
                Ok(Err(e)) => Err(e.to_string()),
                Err(panic) => Err(panic.to_string()),
            };
            (file, count)
        }
    });
    let mut counts = counts.buffer_unordered(FILES_AT_A_TIME);
    let (mut rows, mut all, mut problems) = (0, SeriesCount::default(), Vec::new());
    while let Some((file, count)) = counts.next().await {
        match count {
            Ok(count) => {
                rows = total([rows, count.rows]);
                all.add(count);
            }
            Err(cause) => {
                let path = &file.path;
                problems.push(format!(
                    "{}/{path}: {cause}; series are not counted; run `promarchive verify` for details",
                    table.name()
                ));
            }
        }
        progress.advance(1, file.size);
    }
    problems.sort_unstable();
    (rows, all, problems)
}
