//! Rows that supersede rows which one flush wrote, and what the horizon then remembers of that flush.

use promarchive_archive::schema::Table;
use promarchive_model::{Date, Histogram, histogram_rank};

use super::Moved;
use super::in_order::find;
use super::plan::rows_of;
use crate::memtable::{Generation, SampleRun, SeriesRef, SortedRun};

/// Rows that supersede rows which one flush wrote, sorted by series, then by time.
#[derive(Clone, Debug, Default)]
pub struct Superseding {
    /// Float samples; each run is of one day.
    pub samples: Vec<(SeriesRef, SortedRun)>,
    /// Native histograms.
    pub histograms: Vec<(SeriesRef, Histogram)>,
}

impl Superseding {
    /// The generation with these rows in it, or without them where they have `moved` to another flush.
    pub(super) fn apply_to(&self, generation: &Generation, moved: &impl Moved) -> Generation {
        let mut changed = generation.clone();
        let is_moved = |table, timestamp| moved(table, generation.flush, Date::of(timestamp));
        changed.samples.retain_mut(|(series, run)| {
            let new = rows_of(&self.samples, *series);
            if new.is_empty() {
                return true;
            }
            let replaced = replace(run, new, |timestamp| is_moved(Table::SAMPLES, timestamp));
            let stays = replaced.is_some();
            *run = replaced.unwrap_or_else(|| run.clone());
            stays
        });
        for (series, histogram) in &self.histograms {
            let key = (*series, histogram.timestamp);
            if is_moved(Table::HISTOGRAMS, histogram.timestamp) {
                changed.histograms.remove(&key);
            } else {
                changed.histograms.insert(key, histogram_rank(histogram));
            }
        }
        changed
    }
}

/// A run with the samples of `new` instead of those of the same time, or without these if they have moved; none if nothing is left.
fn replace(run: &SortedRun, new: &[(SeriesRef, SortedRun)], is_moved: impl Fn(i64) -> bool) -> Option<SortedRun> {
    let mut new = new.iter().flat_map(|(_, run)| run.iter()).peekable();
    let mut replaced = SampleRun::default();
    for old in run.iter() {
        match find(&mut new, old.timestamp) {
            None => replaced.push(old),
            Some(new) if !is_moved(new.timestamp) => replaced.push(new),
            Some(_) => {}
        }
    }
    replaced.sorted()
}
