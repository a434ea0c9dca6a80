//! What the last flushes wrote, so that a sample that is sent again is not written again.
//!
//! A generation is what one flush committed: per series the samples, in a few bytes each; of histograms and exemplars their
//! ranks and hashes. Generations are kept for a time, and at least the last [`MIN_GENERATIONS`]. After a restart they are read back
//! from the tables themselves.

mod shrink;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use promarchive_archive::commit::MIN_GENERATIONS;
use promarchive_model::{FlushId, HistogramRank};

pub use shrink::{Cost, Surplus};

use super::run::SortedRun;
use super::series::SeriesRef;

/// What a run takes in a generation, besides its samples.
const RUN_BYTES: usize = size_of::<(SeriesRef, SortedRun)>();
/// What a histogram and an exemplar take there; a table of hashes has one byte more for each.
const HISTOGRAM_BYTES: usize = size_of::<((SeriesRef, i64), HistogramRank)>() + 1;
const EXEMPLAR_BYTES: usize = size_of::<(SeriesRef, u128)>() + 1;

/// The rows of one flush.
#[derive(Clone, Debug)]
pub struct Generation {
    /// Which flush.
    pub flush: FlushId,
    /// When it was committed, milliseconds since the epoch.
    pub committed_at: i64,
    /// Sorted by series.
    pub samples: Vec<(SeriesRef, SortedRun)>,
    /// Rank of the histogram of each (series, timestamp).
    pub histograms: HashMap<(SeriesRef, i64), HistogramRank>,
    /// Series and hash of each exemplar.
    pub exemplars: HashSet<(SeriesRef, u128)>,
}

impl Generation {
    /// An empty one.
    pub fn new(flush: FlushId, committed_at: i64) -> Self {
        Self { flush, committed_at, samples: Vec::new(), histograms: HashMap::new(), exemplars: HashSet::new() }
    }

    /// Whether the flush wrote no rows of its own.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty() && self.histograms.is_empty() && self.exemplars.is_empty()
    }

    /// Adds what the same flush wrote after a restart, to the tables that it had not committed before.
    fn complete(&mut self, rest: Self) {
        self.committed_at = self.committed_at.max(rest.committed_at);
        self.samples.extend(rest.samples);
        self.samples.sort_by_key(|&(series, _)| series);
        self.histograms.extend(rest.histograms);
        self.exemplars.extend(rest.exemplars);
    }

    /// The samples of a series, in one run or several.
    pub fn runs(&self, series: SeriesRef) -> &[(SeriesRef, SortedRun)] {
        let runs = &self.samples;
        let runs = runs.get(runs.partition_point(|&(other, _)| other < series)..).unwrap_or_default();
        runs.get(..runs.iter().take_while(|&&(other, _)| other == series).count()).unwrap_or_default()
    }

    /// Calls `each` with every series in it, some more than once.
    pub fn for_each_series(&self, mut each: impl FnMut(SeriesRef)) {
        self.samples.iter().for_each(|&(series, _)| each(series));
        self.histograms.keys().for_each(|&(series, _)| each(series));
        self.exemplars.iter().for_each(|&(series, _)| each(series));
    }

    /// Bytes held, estimated.
    pub fn heap_bytes(&self) -> usize {
        let samples: usize = self.samples.iter().map(|(_, run)| run.heap_bytes()).sum();
        samples
            + self.samples.capacity() * RUN_BYTES
            + self.histograms.capacity() * HISTOGRAM_BYTES
            + self.exemplars.capacity() * EXEMPLAR_BYTES
    }
}

/// A generation with what is asked of all of them at each flush.
#[derive(Clone, Debug)]
struct Kept {
    generation: Arc<Generation>,
    /// The earliest and the latest timestamp of its samples and histograms.
    span: Option<(i64, i64)>,
    bytes: usize,
}

impl Kept {
    fn new(generation: Arc<Generation>) -> Self {
        let samples = generation.samples.iter().map(|(_, run)| run.bounds());
        let histograms = generation.histograms.keys().map(|&(_, timestamp)| (timestamp, timestamp));
        let span = samples.chain(histograms).reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)));
        Self { span, bytes: generation.heap_bytes(), generation }
    }
}

/// Generations, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Horizon {
    generations: VecDeque<Kept>,
}

impl Horizon {
    /// The generations, oldest first.
    pub fn generations(&self) -> impl DoubleEndedIterator<Item = &Arc<Generation>> {
        self.generations.iter().map(|kept| &kept.generation)
    }

    /// Those with samples or histograms at these times or around them, oldest first. A flush asks for each of its series: of the
    /// generations, which are as many as there were flushes within the horizon, few are near.
    pub fn generations_near(&self, (first, last): (i64, i64)) -> impl Iterator<Item = &Arc<Generation>> {
        let near = move |kept: &&Kept| kept.span.is_some_and(|span| span.0 <= last && first <= span.1);
        self.generations.iter().filter(near).map(|kept| &kept.generation)
    }

    /// Adds the newest, and drops those older than `keep_ms` before the one before it: rows that wait now have come after that one was
    /// committed, however long the newest took. A flush that wrote no rows is none: it must not push one out that did.
    pub fn push(&mut self, generation: Generation, keep_ms: i64) {
        if generation.is_empty() {
            return;
        }
        if let Some(begun) = self.generations.iter_mut().find(|begun| begun.generation.flush == generation.flush) {
            Arc::make_mut(&mut begun.generation).complete(generation);
            *begun = Kept::new(begun.generation.clone());
            return;
        }
        let before = self.generations.back().map_or(i64::MIN, |before| before.generation.committed_at);
        let oldest = before.saturating_sub(keep_ms);
        self.generations.push_back(Kept::new(Arc::new(generation)));
        while self.generations.len() > MIN_GENERATIONS
            && self.generations.front().is_some_and(|kept| kept.generation.committed_at < oldest)
        {
            self.generations.pop_front();
        }
    }

    /// Puts changed generations instead of those of the same flush. One of which no row is left is none.
    pub fn replace(&mut self, changed: Vec<Generation>) {
        for generation in changed {
            if let Some(slot) = self.generations.iter_mut().find(|slot| slot.generation.flush == generation.flush) {
                *slot = Kept::new(Arc::new(generation));
            }
        }
        self.generations.retain(|kept| !kept.generation.is_empty());
    }

    /// Bytes held, estimated.
    pub fn heap_bytes(&self) -> usize {
        self.generations.iter().map(|kept| kept.bytes).sum()
    }

    /// Calls `each` with every series in it, some more than once.
    pub fn for_each_series(&self, mut each: impl FnMut(SeriesRef)) {
        self.generations().for_each(|generation| generation.for_each_series(&mut each));
    }
}
