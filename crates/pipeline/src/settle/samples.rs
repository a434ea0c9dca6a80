//! Float samples of one series against what the last flushes wrote of it.

use std::collections::BTreeMap;
use std::iter::Peekable;

use promarchive_model::{Date, FlushId, Sample, sample_rank};

use super::Settled;
use super::in_order::{find, for_each_in_order};
use crate::memtable::{Horizon, SampleRun, Samples, SeriesRef, SortedRun};

impl Settled {
    /// Settles the samples of one series. A run that is in order, of one day, and apart from what was written is shared as it is.
    pub(super) fn run(&mut self, series: SeriesRef, run: &mut SampleRun, horizon: &Horizon) {
        let Some(bounds) = run.bounds() else { return };
        let mut written = Written::near(horizon, series, bounds);
        if written.flushes.is_empty()
            && let Some(sorted) = run.sorted().filter(SortedRun::is_of_one_day)
        {
            self.samples.push((series, sorted));
            return;
        }
        let mut own = DayRuns::default();
        let mut superseding: BTreeMap<FlushId, DayRuns> = BTreeMap::new();
        let mut last: Option<Sample> = None;
        for_each_in_order(run, |sample| {
            // The first one of a time has won.
            if let Some(winner) = last.filter(|last| last.timestamp == sample.timestamp) {
                self.count(sample_rank(sample) == sample_rank(winner));
                return;
            }
            last = Some(sample);
            let Some((flush, there)) = written.find(sample.timestamp) else {
                own.push(sample);
                return;
            };
            let (new, old) = (sample_rank(sample), sample_rank(there));
            self.count(new == old);
            if new > old {
                superseding.entry(flush).or_default().push(sample);
            }
        });
        self.samples.extend(own.finish().map(|run| (series, run)));
        for (flush, rows) in superseding {
            let rows = rows.finish().map(|run| (series, run));
            self.superseding.entry(flush).or_default().samples.extend(rows);
        }
    }
}

/// Samples that come in the order of time, packed, a run a day.
#[derive(Default)]
struct DayRuns {
    days: Vec<SortedRun>,
    day: Option<Date>,
    run: SampleRun,
}

impl DayRuns {
    fn push(&mut self, sample: Sample) {
        let day = Date::of(sample.timestamp);
        if self.day != Some(day) {
            self.end_day();
            self.day = Some(day);
        }
        self.run.push(sample);
    }

    fn end_day(&mut self) {
        self.days.extend(std::mem::take(&mut self.run).sorted());
    }

    fn finish(mut self) -> impl Iterator<Item = SortedRun> {
        self.end_day();
        self.days.into_iter()
    }
}

/// What the last flushes wrote of a series at some times, read along with the samples that are settled.
struct Written<'a> {
    /// Oldest first. A flush that wrote nothing near is not among them.
    flushes: Vec<(FlushId, Vec<Peekable<Samples<'a>>>)>,
}

impl<'a> Written<'a> {
    fn near(horizon: &'a Horizon, series: SeriesRef, bounds: (i64, i64)) -> Self {
        let flushes = horizon.generations_near(bounds).map(|generation| {
            let near = generation.runs(series).iter().filter(|(_, run)| run.overlaps(bounds));
            (generation.flush, near.map(|(_, run)| run.iter().peekable()).collect::<Vec<_>>())
        });
        Self { flushes: flushes.filter(|(_, runs)| !runs.is_empty()).collect() }
    }

    /// The sample of this time, and the oldest flush that wrote one. Times only grow from call to call.
    fn find(&mut self, timestamp: i64) -> Option<(FlushId, Sample)> {
        self.flushes.iter_mut().find_map(|(flush, runs)| {
            let found = runs.iter_mut().find_map(|run| find(run, timestamp))?;
            Some((*flush, found))
        })
    }
}
