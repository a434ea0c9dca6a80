//! Rows of committed files, read back: the last flushes, and what is known of metadata. All of it blocks.
//!
//! Files that somebody else has put there must not take more memory than the receiver may have. Samples are packed as they come, and what
//! the last flushes may take is bounded.

use promarchive_archive::Archive;
use promarchive_archive::file::decode::{
    DecodeFileError, RecordBatch, for_each_exemplar, for_each_histogram, for_each_metadata, for_each_sample, open_file,
};
use promarchive_archive::log::LogError;
use promarchive_archive::schema::Table;
use promarchive_archive::store::{StoredFile, absolute};
use promarchive_model::{HistogramRank, MalformedLabels, MetadataRow, Sample, histogram_rank, parse_labels_text};
use promarchive_wire::{LabelSet, MetricKind};

use super::recovery::{FlushFiles, RecoveryError};
use crate::memtable::{ExemplarRow, FlushId, Generation, Horizon, Index, MetadataIndex, SeriesRef, SortedRun};
use crate::settle::exemplar_hash;

/// What it means that a file could not be read.
fn unreadable(file: &StoredFile, cause: DecodeFileError) -> RecoveryError {
    let place = absolute(file.location());
    match file.failure() {
        Some(failure) => LogError::Store { place, cause: failure.to_owned() }.into(),
        None => RecoveryError::File { path: place, cause },
    }
}

/// The horizon, from the tables. Blocks.
pub(super) fn read_horizon(
    archive: &Archive,
    index: &mut Index,
    recent: Vec<(FlushId, FlushFiles)>,
    memory: u64,
) -> Result<Horizon, RecoveryError> {
    let mut horizon = Horizon::default();
    for (id, flush) in recent {
        if horizon.heap_bytes() as u64 > memory / 2 {
            horizon.shrink();
        }
        let left = memory.saturating_sub(horizon.heap_bytes() as u64);
        let mut rows = GenerationRows::new(Generation::new(id, flush.committed_at), left);
        for (table, file) in flush.files {
            rows.read(archive, index, table, &file)?;
            if rows.left == 0 {
                return Err(RecoveryError::Memory { limit: memory });
            }
        }
        horizon.push(rows.finish(), i64::MAX);
    }
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
            self.batch(table, &batch.map_err(failed)?, &mut finder).map_err(failed)?;
            if finder.malformed.is_some() || self.left == 0 {
                break;
            }
        }
        self.pack();
        let path = || absolute(file.location());
        finder.malformed.map_or(Ok(()), |cause| Err(RecoveryError::Labels { path: path(), cause }))
    }

    fn batch(
        &mut self,
        table: Table,
        batch: &RecordBatch,
        finder: &mut SeriesFinder<'_>,
    ) -> Result<(), DecodeFileError> {
        match table {
            Table::Samples => for_each_sample(batch, |metric, labels, sample| {
                if let Some(series) = finder.find(metric, labels) {
                    self.sample(series, sample);
                }
            }),
            Table::Histograms => for_each_histogram(batch, |metric, labels, histogram| {
                if let Some(series) = finder.find(metric, labels) {
                    let rank = histogram_rank(&histogram);
                    self.generation.histograms.insert((series, histogram.timestamp), rank);
                    self.take(size_of::<((SeriesRef, i64), HistogramRank)>());
                }
            }),
            Table::Exemplars => for_each_exemplar(batch, |metric, labels, timestamp, value, own| {
                if let Some(series) = finder.find(metric, labels) {
                    let row = ExemplarRow { series, timestamp, value, labels: own.to_owned() };
                    self.generation.exemplars.insert((series, exemplar_hash(&row)));
                    self.take(size_of::<(SeriesRef, u128)>());
                }
            }),
            Table::Metadata => Ok(()),
        }
    }

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
                let series = self.index.series.find_or_insert(&LabelSet { metric, labels: pairs }, None);
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
        for batch in open_file(Table::Metadata, archive.label_columns(), file.clone(), None).map_err(failed)? {
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
