//! One request, resolved: which series its rows belong to. Nothing of it is buffered yet; that follows the WAL.

use promarchive_model::{Histogram, MetadataRow, Refusals, Sample};

use super::series::{EpochGuard, SeriesIndex, SeriesRef};

/// How many series of a request are looked at for a label that they may have in common.
const LOOKED_AT: usize = 8;

/// An exemplar of a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExemplarRow {
    /// Whose.
    pub series: SeriesRef,
    /// Milliseconds since the epoch.
    pub timestamp: i64,
    /// IEEE bits.
    pub value: u64,
    /// Its own labels, as canonical text.
    pub labels: String,
}

/// What one request holds, by series.
#[derive(Debug)]
pub struct Batch {
    /// Float samples and stale markers.
    pub samples: Vec<(SeriesRef, Sample)>,
    /// Native histograms.
    pub histograms: Vec<(SeriesRef, Histogram)>,
    /// Exemplars.
    pub exemplars: Vec<ExemplarRow>,
    /// Metadata that was not known when the request was resolved.
    pub metadata: Vec<MetadataRow>,
    /// What cannot be kept.
    pub refusals: Refusals,
    /// Time series in the request.
    pub series: u64,
    /// Keeps its series known.
    _guard: EpochGuard,
}

impl Batch {
    pub(super) fn new(guard: EpochGuard) -> Self {
        Self {
            samples: Vec::new(),
            histograms: Vec::new(),
            exemplars: Vec::new(),
            metadata: Vec::new(),
            refusals: Refusals::default(),
            series: 0,
            _guard: guard,
        }
    }

    /// Whether there is nothing to keep.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty() && self.histograms.is_empty() && self.exemplars.is_empty() && self.metadata.is_empty()
    }

    /// The earliest and the latest timestamp of samples and histograms, milliseconds since the epoch; none without any.
    pub fn timestamps(&self) -> Option<(i64, i64)> {
        self.sample_timestamps().fold(None, |span, timestamp| {
            let (first, last) = span.unwrap_or((timestamp, timestamp));
            Some((timestamp.min(first), timestamp.max(last)))
        })
    }

    /// The timestamps of all rows that have one, milliseconds since the epoch.
    pub fn all_timestamps(&self) -> impl Iterator<Item = i64> {
        self.sample_timestamps().chain(self.exemplars.iter().map(|row| row.timestamp))
    }

    fn sample_timestamps(&self) -> impl Iterator<Item = i64> {
        let samples = self.samples.iter().map(|(_, sample)| sample.timestamp);
        samples.chain(self.histograms.iter().map(|(_, histogram)| histogram.timestamp))
    }

    /// The value of a label in the series of samples and histograms, if those looked at have the same. At most
    /// [`LOOKED_AT`] of them are, evenly spread.
    pub fn label_in_common<'i>(&self, series: &'i SeriesIndex, name: &str) -> Option<&'i str> {
        let rows = self.samples.len() + self.histograms.len();
        let at = |row: usize| {
            let sample = self.samples.get(row).map(|(series, _)| *series);
            sample.or_else(|| self.histograms.get(row - self.samples.len()).map(|(series, _)| *series))
        };
        let name = series.find_symbol(name.as_bytes())?;
        let step = rows.div_ceil(LOOKED_AT).max(1);
        let mut values = (0..rows).step_by(step).filter_map(at).map(|found| series.value(found, name));
        let first = values.next()??;
        values.all(|value| value == Some(first)).then(|| series.text(first))
    }

    /// Bytes held, estimated.
    pub fn heap_bytes(&self) -> usize {
        self.samples.capacity() * size_of::<(SeriesRef, Sample)>()
            + self.histograms.iter().map(|(_, histogram)| super::buffer::histogram_bytes(histogram)).sum::<usize>()
            + self.exemplars.iter().map(super::buffer::exemplar_bytes).sum::<usize>()
            + self.metadata.iter().map(MetadataRow::heap_bytes).sum::<usize>()
    }
}
