//! Rows of committed files, read back: the last flushes, and what is known of metadata. All of it blocks.
//!
//! Files that somebody else has put there must not take more memory than the receiver may have. Samples are packed as they come, and what
//! the last flushes may take is bounded.

use promarchive_archive::Archive;
use promarchive_archive::commit::MIN_GENERATIONS;
use promarchive_archive::file::decode::{
    DecodeFileError, RecordBatch, for_each_exemplar, for_each_histogram, for_each_metadata, for_each_sample, open_file,
};
use promarchive_archive::log::LogError;
use promarchive_archive::schema::{Raw, Table};
use promarchive_archive::store::StoredFile;
use promarchive_model::{
    FlushId, HistogramRank, MalformedLabels, MetadataRow, Sample, histogram_rank, parse_labels_text,
};
use promarchive_wire::{LabelSet, MetricKind};

use super::recovery::{FlushFiles, RecoveryError};
use crate::memtable::{ExemplarRow, Generation, Horizon, Index, MetadataIndex, SenderRef, SeriesRef, SortedRun};
use crate::settle::exemplar_hash;

/// What it means that a file could not be read.
fn unreadable(file: &StoredFile, cause: DecodeFileError) -> RecoveryError {
    let place = file.name();
    match file.failure() {
        Some(failure) => LogError::Store { place, cause: failure.to_owned() }.into(),
        None => RecoveryError::File { path: place, cause },
    }
}

/// The horizon, from the tables. Blocks.
///
/// The newest flushes come first. The last [`MIN_GENERATIONS`] must be known; of those before, as many are read as leave half of the memory to what
/// is replayed. A receiver at work drops the same ones when memory is short, so what it could hold it can start with.
pub(super) fn read_horizon(
    archive: &Archive,
    index: &mut Index,
    recent: Vec<(FlushId, FlushFiles)>,
    memory: u64,
) -> Result<Horizon, RecoveryError> {
    let mut read: Vec<Generation> = Vec::new();
    let mut held = 0;
    for (id, flush) in recent.into_iter().rev() {
        let must_be_known = read.len() < MIN_GENERATIONS;
        let most = if must_be_known { memory } else { memory / 2 };
        let left = most.saturating_sub(held).saturating_sub(index.heap_bytes() as u64);
        let mut rows = GenerationRows::new(Generation::new(id, flush.committed_at), left);
        for (table, file) in flush.files {
            if rows.left > 0 {
                rows.read(archive, index, table, &file)?;
            }
        }
        if rows.left == 0 {
            if must_be_known {
                return Err(RecoveryError::Memory { limit: memory });
            }
            tracing::warn!(
                flushes = read.len(),
                limit_mib = memory >> 20,
                "the rows of the last flushes do not fit into memory, so repeated samples from older flushes are not \
                 recognised: increase --memory-limit"
            );
            // Twice: what was named in an epoch can be forgotten after its end.
            for _ in 0..2 {
                index.series.forget_all_but(|used| read.iter().for_each(|known| known.for_each_series(&mut *used)));
            }
            break;
        }
        let generation = rows.finish();
        held += generation.heap_bytes() as u64;
        read.push(generation);
    }
    let mut horizon = Horizon::default();
    read.into_iter().rev().for_each(|generation| horizon.push(generation, i64::MAX));
    Ok(horizon)
}

/// Samples of one series that are collected before they are packed.
const RUN_SAMPLES: usize = 64 * 1024;

/// The rows of one flush. Samples are packed as they come, so what is read takes as little as it took when it was received.
struct GenerationRows {
    generation: Generation,
    series: Option<SeriesRef>,
    samples: Vec<Sample>,
    /// Bytes that it may still take.
    left: u64,
}

impl GenerationRows {
    fn new(generation: Generation, left: u64) -> Self {
        Self { generation, series: None, samples: Vec::new(), left }
    }

    fn read(
        &mut self,
        archive: &Archive,
        index: &mut Index,
        table: Table,
        file: &StoredFile,
    ) -> Result<(), RecoveryError> {
        let failed = |cause: DecodeFileError| unreadable(file, cause);
        let mut finder = SeriesFinder { index, last: None, malformed: None };
        for batch in open_file(table, archive.label_columns(), file.clone(), None).map_err(failed)? {
            let known = finder.index.heap_bytes();
            self.batch(table, &batch.map_err(failed)?, &mut finder).map_err(failed)?;
            self.take(finder.index.heap_bytes().saturating_sub(known));
            if finder.malformed.is_some() || self.left == 0 {
                break;
            }
        }
        self.pack();
        let path = || file.name();
        finder.malformed.map_or(Ok(()), |cause| Err(RecoveryError::Labels { path: path(), cause }))
    }

    fn batch(
        &mut self,
        table: Table,
        batch: &RecordBatch,
        finder: &mut SeriesFinder<'_>,
    ) -> Result<(), DecodeFileError> {
        match table.raw() {
            Some(Raw::Samples) => for_each_sample(batch, |metric, labels, sample| {
                if let Some(series) = finder.find(metric, labels) {
                    self.sample(series, sample);
                }
            }),
            Some(Raw::Histograms) => for_each_histogram(batch, |metric, labels, histogram| {
                if let Some(series) = finder.find(metric, labels) {
                    let rank = histogram_rank(&histogram);
                    self.generation.histograms.insert((series, histogram.timestamp), rank);
                    self.take(2 * size_of::<((SeriesRef, i64), HistogramRank)>());
                }
            }),
            Some(Raw::Exemplars) => for_each_exemplar(batch, |metric, labels, timestamp, value, own| {
                if let Some(series) = finder.find(metric, labels) {
                    let row = ExemplarRow { series, timestamp, value, labels: own.to_owned() };
                    self.generation.exemplars.insert((series, exemplar_hash(&row)));
                    self.take(2 * size_of::<(SeriesRef, u128)>());
                }
            }),
            Some(Raw::Metadata) | None => Ok(()),
        }
    }

    /// Counts what is held. Tables of hashes take up to twice their entries.
    fn take(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes as u64);
    }

    fn sample(&mut self, series: SeriesRef, sample: Sample) {
        if self.series != Some(series) || self.samples.len() >= RUN_SAMPLES {
            self.pack();
            self.series = Some(series);
        }
        self.samples.push(sample);
    }

    /// Packs the samples of a series that were collected.
    fn pack(&mut self) {
        self.samples.sort_unstable_by_key(|sample| sample.timestamp);
        let run = self.series.take().zip(SortedRun::new(&self.samples));
        self.samples.clear();
        if let Some((series, run)) = run {
            self.take(run.heap_bytes() + size_of::<(SeriesRef, SortedRun)>());
            self.generation.samples.push((series, run));
        }
    }

    fn finish(mut self) -> Generation {
        self.generation.samples.sort_by_key(|&(series, _)| series);
        self.generation
    }
}

/// Series of rows that are sorted by series: the last one is remembered.
struct SeriesFinder<'a> {
    index: &'a mut Index,
    last: Option<(String, String, SeriesRef)>,
    malformed: Option<MalformedLabels>,
}

impl SeriesFinder<'_> {
    fn find(&mut self, metric: &str, labels: &str) -> Option<SeriesRef> {
        if let Some((last_metric, last_labels, series)) = &self.last
            && last_metric == metric
            && last_labels == labels
        {
            return Some(*series);
        }
        match parse_labels_text(labels) {
            Ok(pairs) => {
                let pairs = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                let series =
                    self.index.series.find_or_insert(&LabelSet { metric, labels: pairs }, None, SenderRef::UNKNOWN);
                self.last = Some((metric.to_owned(), labels.to_owned(), series));
                Some(series)
            }
            Err(cause) => {
                self.malformed = Some(cause);
                None
            }
        }
    }
}

/// What is known of metadata. Blocks.
pub(super) fn read_metadata(
    archive: &Archive,
    known: &mut MetadataIndex,
    files: Vec<StoredFile>,
) -> Result<(), RecoveryError> {
    for file in files {
        let failed = |cause: DecodeFileError| unreadable(&file, cause);
        for batch in open_file(Table::METADATA, archive.label_columns(), file.clone(), None).map_err(failed)? {
            for_each_metadata(&batch.map_err(failed)?, |metric, kind, unit, help, received_at| {
                let kind =
                    MetricKind::ALL.into_iter().find(|known| known.as_str() == kind).unwrap_or(MetricKind::Unknown);
                let [metric, unit, help] = [metric, unit, help].map(str::to_owned);
                known.insert(&MetadataRow { metric, kind: kind.as_str(), unit, help, received_at });
            })
            .map_err(failed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use promarchive_archive::Location;
    use promarchive_archive::store::Store;
    use promarchive_model::Protocol;
    use promarchive_model::environment::{SystemClock, SystemEntropy};
    use promarchive_wal::{Options, RealDisk};
    use promarchive_wire::proto::v1;
    use prost::Message;
    use tempfile::TempDir;

    use super::*;
    use crate::core::recovery::{OpenOptions, open};
    use crate::core::{Core, Environment, Terms};

    async fn start(directory: &TempDir, memory_bytes: u64) -> Result<Arc<Core>, RecoveryError> {
        let store = Store::open(Location::at(&directory.path().join("archive")).unwrap()).unwrap();
        let environment = Environment { clock: Arc::new(SystemClock::default()), entropy: Arc::new(SystemEntropy) };
        let (clock, entropy) = (environment.clock.clone(), environment.entropy.clone());
        let archive = Archive::open_or_create(store, None, clock.as_ref(), entropy.as_ref()).await.unwrap();
        let disk = Arc::new(RealDisk::open(directory.path().join("wal")).unwrap());
        let (keep, wal) = (Duration::ZERO, Options::default());
        let options = OpenOptions { keep, flush_bytes: 1 << 30, memory_bytes, wal };
        open(archive, disk, environment, options, Arc::new(())).await.map(|(core, _)| core)
    }

    /// A thousand series with a long label each, flushed.
    async fn flush(core: &Arc<Core>) {
        let label = |name: &str, value: String| v1::Label { name: name.to_owned(), value };
        let series = (0..1000).map(|at| v1::TimeSeries {
            labels: vec![label("__name__", "up".to_owned()), label("pod", format!("{at}{}", "x".repeat(1000)))],
            samples: vec![v1::Sample { timestamp: 1_800_000_000_000, value: 1.0 }],
            ..v1::TimeSeries::default()
        });
        let decoded = v1::WriteRequest { timeseries: series.collect(), ..Default::default() }.encode_to_vec();
        let body = snap::raw::Encoder::new().compress_vec(&decoded).unwrap();
        let resolved = core.resolve(Protocol::V1, body.into(), &decoded, Terms::until(i64::MAX), &()).unwrap();
        core.commit_group(&mut [resolved]).unwrap();
        core.flush().await.unwrap();
    }

    /// Files in the archive may claim any number of rows and any labels.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_start_takes_no_more_memory_than_it_may() {
        let directory = tempfile::tempdir().unwrap();
        flush(&start(&directory, u64::MAX).await.unwrap()).await;
        let refused = start(&directory, 512 << 10).await.err().unwrap();
        assert!(matches!(refused, RecoveryError::Memory { .. }) && !refused.is_retryable(), "{refused}");
        start(&directory, 8 << 20).await.unwrap();
    }
}
