//! The memtable: what the WAL holds and no table does yet.

use std::collections::BTreeSet;
use std::ops::Range;

use promarchive_archive::schema::Table;
use promarchive_model::{Counts, Date, Histogram, MetadataRow, Sample, Span};

use super::batch::{Batch, ExemplarRow};
use super::run::SampleRun;
use super::series::SeriesRef;

/// Rows by series, in the order of arrival; duplicates included.
#[derive(Clone, Debug, Default)]
pub struct Memtable {
    /// By [`SeriesRef`]: the number of the series' run, from 1; 0 for none. Series that are known and silent cost no run.
    run_numbers: Vec<u32>,
    runs: Vec<SampleRun>,
    histograms: Vec<(SeriesRef, Histogram)>,
    exemplars: Vec<ExemplarRow>,
    metadata: Vec<MetadataRow>,
    days: Days,
    position: u64,
    waiting_since: Option<i64>,
    samples: u64,
    bytes: usize,
    /// Of these, of histograms.
    histogram_bytes: usize,
}

impl Memtable {
    /// Adds a batch whose record has this position in the WAL; positions only grow. Tables that hold the record's rows already are
    /// left out: `committed` says which. `since` is the time from when its rows wait, on a clock that never goes back.
    pub fn apply(&mut self, position: u64, since: i64, batch: &mut Batch, committed: impl Fn(Table) -> bool) {
        self.position = self.position.max(position);
        self.waiting_since.get_or_insert(since);
        if !committed(Table::SAMPLES) {
            for &(series, sample) in &batch.samples {
                self.days.add(sample.timestamp);
                self.add_sample(series, sample);
            }
        }
        if !committed(Table::HISTOGRAMS) {
            batch.histograms.iter().for_each(|(_, histogram)| self.days.add(histogram.timestamp));
            let bytes = batch.histograms.iter().map(|(_, histogram)| histogram_bytes(histogram)).sum::<usize>();
            self.bytes += bytes;
            self.histogram_bytes += bytes;
            self.histograms.append(&mut batch.histograms);
        }
        if !committed(Table::EXEMPLARS) {
            batch.exemplars.iter().for_each(|row| self.days.add(row.timestamp));
            self.bytes += batch.exemplars.iter().map(exemplar_bytes).sum::<usize>();
            self.exemplars.append(&mut batch.exemplars);
        }
        if !committed(Table::METADATA) {
            self.bytes += batch.metadata.iter().map(MetadataRow::heap_bytes).sum::<usize>();
            self.metadata.append(&mut batch.metadata);
        }
    }

    fn add_sample(&mut self, series: SeriesRef, sample: Sample) {
        let Some(run) = self.run(series) else { return };
        let before = run.heap_bytes();
        run.push(sample);
        let grown = run.heap_bytes() - before;
        self.bytes += grown;
        self.samples += 1;
    }

    /// The run of a series, made if it has none.
    fn run(&mut self, series: SeriesRef) -> Option<&mut SampleRun> {
        let at = series as usize;
        if self.run_numbers.len() <= at {
            let before = self.run_numbers.capacity();
            self.run_numbers.resize(at + 1, 0);
            self.bytes += (self.run_numbers.capacity() - before) * size_of::<u32>();
        }
        let number = self.run_numbers.get_mut(at)?;
        if *number == 0 {
            let before = self.runs.capacity();
            self.runs.push(SampleRun::default());
            self.bytes += (self.runs.capacity() - before) * size_of::<SampleRun>();
            *number = u32::try_from(self.runs.len()).ok()?;
        }
        self.runs.get_mut(*number as usize - 1)
    }

    /// The days that its rows are of: a flush writes a file for each.
    pub fn days(&self) -> &BTreeSet<Date> {
        &self.days.all
    }

    /// The last position in it, 0 for none.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// From when the first of its records waits, as [`Self::apply`] was told; none for an empty memtable.
    pub fn waiting_since(&self) -> Option<i64> {
        self.waiting_since
    }

    /// Bytes held, estimated.
    pub fn heap_bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that a flush takes beside them while it settles, sorts and lays the rows out, estimated: about a copy of the rows, and for each
    /// series its settled run, kept twice, its labels and its indices in orders and files. Histograms are copied more often: as rows, as columns,
    /// and as pages of lists.
    pub fn flush_bytes(&self) -> usize {
        const PER_SERIES: usize = 192;
        const MORE_OF_HISTOGRAMS: usize = 4;
        self.bytes + self.histogram_bytes * MORE_OF_HISTOGRAMS + self.runs.len() * PER_SERIES
    }

    /// Float samples, duplicates included.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// The series that have samples, in order.
    pub fn series_with_samples(&self) -> impl Iterator<Item = SeriesRef> {
        (0..).zip(&self.run_numbers).filter(|(_, number)| **number != 0).map(|(series, _)| series)
    }

    /// Calls `each` with the samples of each series that has any, in the order of series.
    pub fn for_each_run(&mut self, mut each: impl FnMut(SeriesRef, &mut SampleRun)) {
        for (series, &number) in (0..).zip(&self.run_numbers) {
            if let Some(run) = (number as usize).checked_sub(1).and_then(|at| self.runs.get_mut(at)) {
                each(series, run);
            }
        }
    }

    /// Histograms, in the order of arrival.
    pub fn histograms(&self) -> &[(SeriesRef, Histogram)] {
        &self.histograms
    }

    /// Exemplars, in the order of arrival.
    pub fn exemplars(&self) -> &[ExemplarRow] {
        &self.exemplars
    }

    /// Metadata, in the order of arrival.
    pub fn metadata(&self) -> &[MetadataRow] {
        &self.metadata
    }

    /// Calls `each` with every series that has rows, some more than once.
    pub fn for_each_series(&self, mut each: impl FnMut(SeriesRef)) {
        self.series_with_samples().for_each(&mut each);
        self.histograms.iter().for_each(|(series, _)| each(*series));
        self.exemplars.iter().for_each(|row| each(row.series));
    }
}

/// The days of timestamps. Most come from the day of the one before.
#[derive(Clone, Debug)]
struct Days {
    all: BTreeSet<Date>,
    /// Milliseconds since the epoch of the day that came last.
    last: Range<i64>,
}

impl Default for Days {
    fn default() -> Self {
        Self { all: BTreeSet::new(), last: 0..0 }
    }
}

impl Days {
    fn add(&mut self, timestamp: i64) {
        if !self.last.contains(&timestamp) {
            let day = Date::of(timestamp);
            self.all.insert(day);
            self.last = day.start_ms()..Date(day.0.saturating_add(1)).start_ms();
        }
    }
}

pub(super) fn histogram_bytes(histogram: &Histogram) -> usize {
    let counts = match &histogram.counts {
        Counts::Integer { positive, negative, .. } => positive.capacity() + negative.capacity(),
        Counts::Float { positive, negative, .. } => positive.capacity() + negative.capacity(),
    };
    size_of::<(SeriesRef, Histogram)>()
        + (counts + histogram.custom_values.capacity()) * 8
        + (histogram.positive_spans.capacity() + histogram.negative_spans.capacity()) * size_of::<Span>()
}

pub(super) fn exemplar_bytes(row: &ExemplarRow) -> usize {
    size_of::<ExemplarRow>() + row.labels.capacity()
}
