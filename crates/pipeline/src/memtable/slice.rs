//! A slice of a request: some of its series, read, and what is found out about them.

use promarchive_model::{Invalid, MetadataRow, Protocol};
use promarchive_wire::{DecodeError, Decoder, LabelSet, RawLabels, TimeSeries};

use super::series::SeriesRef;

/// Series of a slice, at most: they and their scratch stay in a processor's cache. Few in unit tests, so that these cross from one slice into
/// the next.
pub(super) const SLICE_SERIES: usize = if cfg!(test) { 2 } else { 128 };
/// Rows after which a slice ends.
const SLICE_ROWS: usize = 4096;

/// Some series of a request, and what is found out about them. Kept for the next slice, so that nothing is allocated for it.
#[derive(Default)]
pub(super) struct Slice<'a> {
    /// Only the first `filled` are of this slice.
    pub(super) series: Vec<TimeSeries<'a>>,
    pub(super) filled: usize,
    /// Of these.
    rows: usize,
    /// By series; none for one that is not known, or whose labels cannot be kept.
    pub(super) found: Vec<Option<SeriesRef>>,
    /// Label sets of series that are not known, by their index in the slice.
    pub(super) fresh: Vec<(usize, LabelSet<'a>)>,
    /// Labels that cannot be kept, in the order of the series.
    pub(super) invalid: Vec<Invalid>,
    /// Metadata of series that were the first to have it, in the order of the series.
    pub(super) metadata: Vec<SeriesMetadata>,
}

/// Metadata that came with a series for the first time in a request.
pub(super) struct SeriesMetadata {
    /// The index of the series in its slice.
    pub(super) at: usize,
    /// Of its texts.
    pub(super) bytes: usize,
    /// Nothing if it is known already.
    pub(super) row: Result<Option<MetadataRow>, Invalid>,
}

impl<'a> Slice<'a> {
    /// Reads the next series; false when there are none.
    pub(super) fn read(&mut self, decoder: &mut Decoder<'a>, protocol: Protocol) -> Result<bool, DecodeError> {
        (self.filled, self.rows) = (0, 0);
        while self.filled < SLICE_SERIES && self.rows < SLICE_ROWS {
            if self.series.len() == self.filled {
                self.series.push(TimeSeries::new(protocol));
            }
            let Some(next) = self.series.get_mut(self.filled) else { break };
            if !decoder.read_series(next)? {
                break;
            }
            self.rows += rows(next);
            self.filled += 1;
        }
        Ok(self.filled > 0)
    }

    pub(super) fn series(&self) -> &[TimeSeries<'a>] {
        self.series.get(..self.filled).unwrap_or_default()
    }

    /// Series and rows.
    pub(super) fn entries(&self) -> usize {
        self.filled + self.rows
    }
}

pub(super) fn rows(series: &TimeSeries<'_>) -> usize {
    series.samples.len() + series.histograms.len() + series.exemplars.len()
}

/// No label at all, and so no metric name.
pub(super) fn is_nameless(labels: &RawLabels<'_>) -> bool {
    matches!(labels, RawLabels::Text([]) | RawLabels::Refs([]))
}
