//! What a flush writes: the memtable's rows, each key once.
//!
//! Of rows with the same key, the one of the highest rank wins ([`crate::memtable::sample_rank`]), within the memtable and against what the
//! horizon says the last flushes wrote. A row that a table holds already is dropped. A row that beats one in a table supersedes it: the file is
//! written again. Pure: the same memtable and horizon give the same result.
//!
//! Samples are packed in a few bytes each, and a series may have tens of millions. They are never unpacked all at once: runs are read against
//! runs, each from its beginning to its end.

mod in_order;
mod plan;
mod samples;
mod superseding;
#[cfg(test)]
mod tests;
mod winners;

use std::collections::{BTreeMap, HashSet};

pub use plan::{FilePlan, Plan};
use promarchive_archive::schema::Table;
use promarchive_model::{Date, FlushId, Histogram, HistogramRank, MetadataRow, histogram_rank};
pub use superseding::Superseding;
pub use winners::Winners;
use xxhash_rust::xxh3::Xxh3;

use crate::memtable::{ExemplarRow, Generation, Horizon, Memtable, SeriesRef, SortedRun};

type Ranked<'a> = (HistogramRank, &'a Histogram);

/// Rows to write, sorted by series, then by time.
#[derive(Debug, Default)]
pub struct Settled {
    /// Float samples; each run is of one day.
    pub samples: Vec<(SeriesRef, SortedRun)>,
    /// Native histograms.
    pub histograms: Vec<(SeriesRef, Histogram)>,
    /// Exemplars.
    pub exemplars: Vec<ExemplarRow>,
    /// Metadata, sorted by day and metric.
    pub metadata: Vec<MetadataRow>,
    /// Rows that supersede rows in tables, by the flush that wrote those.
    pub superseding: BTreeMap<FlushId, Superseding>,
    /// Rows dropped because the same row is there.
    pub duplicates: u64,
    /// Rows whose key another row has with another content.
    pub conflicts: u64,
}

/// Tells of the rows that supersede those of a flush in a table and on a day whether they went into files of their own flush, because the others
/// are in no file any more.
pub trait Moved: Fn(Table, FlushId, Date) -> bool {}

impl<F: Fn(Table, FlushId, Date) -> bool> Moved for F {}

/// Settles a memtable against the horizon. What is in order already is shared with the memtable, whose rows stay what they are.
pub fn settle(memtable: &mut Memtable, horizon: &Horizon) -> Settled {
    let mut settled =
        Settled { samples: Vec::with_capacity(memtable.series_with_samples().count()), ..Settled::default() };
    memtable.for_each_run(|series, run| settled.run(series, run, horizon));
    settled.histograms(memtable.histograms(), horizon);
    settled.exemplars(memtable.exemplars(), horizon);
    settled.metadata(memtable.metadata());
    settled
}

impl Settled {
    /// All series that have rows, each once, in order.
    pub fn series(&self) -> Vec<SeriesRef> {
        let superseding = self.superseding.values().flat_map(|rows| {
            rows.samples.iter().map(|&(series, _)| series).chain(rows.histograms.iter().map(|&(series, _)| series))
        });
        let samples = self.samples.iter().map(|&(series, _)| series);
        let histograms = self.histograms.iter().map(|&(series, _)| series);
        let exemplars = self.exemplars.iter().map(|row| row.series);
        let mut series: Vec<SeriesRef> = samples.chain(histograms).chain(exemplars).chain(superseding).collect();
        series.sort_unstable();
        series.dedup();
        series
    }

    /// What the horizon is to remember of it. Rows that `moved` tells of are in the files of this flush.
    pub fn generation(&self, flush: FlushId, committed_at: i64, moved: impl Moved) -> Generation {
        let ranked =
            |(series, histogram): &(SeriesRef, Histogram)| ((*series, histogram.timestamp), histogram_rank(histogram));
        let mut generation = Generation {
            samples: self.samples.clone(),
            histograms: self.histograms.iter().map(ranked).collect(),
            exemplars: self.exemplars.iter().map(|row| (row.series, exemplar_hash(row))).collect(),
            ..Generation::new(flush, committed_at)
        };
        for (old, rows) in &self.superseding {
            let is_moved = |table, timestamp| moved(table, *old, Date::of(timestamp));
            let samples = rows.samples.iter().filter(|(_, run)| is_moved(Table::SAMPLES, run.bounds().0)).cloned();
            generation.samples.extend(samples);
            let histograms = rows.histograms.iter().filter(|(_, row)| is_moved(Table::HISTOGRAMS, row.timestamp));
            generation.histograms.extend(histograms.map(ranked));
        }
        generation.samples.sort_by_key(|&(series, _)| series);
        generation
    }

    /// The generations that superseding rows have changed.
    pub fn changed_generations(&self, horizon: &Horizon, moved: impl Moved) -> Vec<Generation> {
        let find = |flush: &FlushId| horizon.generations().find(|generation| generation.flush == *flush);
        let changed = self.superseding.iter().filter_map(|(flush, rows)| Some((find(flush)?, rows)));
        changed.map(|(generation, rows)| rows.apply_to(generation, &moved)).collect()
    }

    fn histograms(&mut self, rows: &[(SeriesRef, Histogram)], horizon: &Horizon) {
        let mut best: BTreeMap<(SeriesRef, i64), Ranked<'_>> = BTreeMap::new();
        for (series, histogram) in rows {
            let (key, rank) = ((*series, histogram.timestamp), histogram_rank(histogram));
            let Some(there) = best.get_mut(&key) else {
                best.insert(key, (rank, histogram));
                continue;
            };
            self.count(there.0 == rank);
            if there.0 < rank {
                *there = (rank, histogram);
            }
        }
        for (key, (rank, histogram)) in best {
            let mut near = horizon.generations_near((key.1, key.1));
            let written = near.find_map(|generation| Some((generation, *generation.histograms.get(&key)?)));
            match written {
                None => self.histograms.push((key.0, histogram.clone())),
                Some((generation, old)) => {
                    self.count(old == rank);
                    if rank > old {
                        let superseding = self.superseding.entry(generation.flush).or_default();
                        superseding.histograms.push((key.0, histogram.clone()));
                    }
                }
            }
        }
    }

    fn exemplars(&mut self, rows: &[ExemplarRow], horizon: &Horizon) {
        let mut seen = HashSet::new();
        for row in rows {
            let key = (row.series, exemplar_hash(row));
            let known = horizon.generations().any(|generation| generation.exemplars.contains(&key));
            if known || !seen.insert(key) {
                self.duplicates += 1;
            } else {
                self.exemplars.push(row.clone());
            }
        }
        self.exemplars.sort_by(|a, b| {
            (a.series, a.timestamp, &a.labels, a.value).cmp(&(b.series, b.timestamp, &b.labels, b.value))
        });
    }

    fn metadata(&mut self, rows: &[MetadataRow]) {
        self.metadata = rows.to_vec();
        let key = |row: &MetadataRow| {
            (Date::of(row.received_at), row.metric.clone(), row.kind, row.unit.clone(), row.help.clone())
        };
        self.metadata.sort_by_cached_key(|row| (key(row), row.received_at));
        self.metadata.dedup_by(|later, first| key(later) == key(first));
    }

    fn count(&mut self, same: bool) {
        if same {
            self.duplicates += 1;
        } else {
            self.conflicts += 1;
        }
    }
}

/// Identity of an exemplar within its series.
pub fn exemplar_hash(row: &ExemplarRow) -> u128 {
    let mut hash = Xxh3::new();
    hash.update(&row.timestamp.to_le_bytes());
    hash.update(&row.value.to_le_bytes());
    hash.update(row.labels.as_bytes());
    hash.digest128()
}
