//! What the horizon gives back while memory is short: of the senders that take most, and of each the oldest rows first.
//!
//! ```text
//! generations  oldest ────────────────► newest two
//! sender a     [drop] [drop] [keep]      keep  keep      takes more than its share
//! sender b     [keep] [keep] [keep]      keep  keep      takes less: nothing of it goes
//! ```
//!
//! The shares are max-min fair: everybody keeps all up to one level, and the level is as high as the memory for all allows. What a sender has
//! in the newest generations cannot go, but it counts: the others do not make room for it.

use std::collections::HashMap;
use std::sync::Arc;

use promarchive_archive::commit::MIN_GENERATIONS;
use promarchive_model::FlushId;

use super::{EXEMPLAR_BYTES, Generation, HISTOGRAM_BYTES, Horizon, Kept, RUN_BYTES};
use crate::memtable::naming::SenderRef;
use crate::memtable::series::SeriesRef;

/// Whose a series is, and what its labels take, in bytes.
pub type Cost = (SenderRef, u32);

/// Bytes by sender.
type Sums = HashMap<SenderRef, usize>;

/// What is to go: the rows of these senders in the generations of these flushes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Surplus(Vec<(FlushId, Vec<SenderRef>)>);

impl Surplus {
    /// Whether nothing is to go.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Horizon {
    /// What is to go so that all senders together take `capacity` bytes at most, with the labels of their series, if that can be. `costs` are
    /// those of all known series, and `waiting` are series of rows that wait for a flush.
    pub fn surplus(&self, capacity: usize, costs: &[Cost], waiting: &[SeriesRef]) -> Surplus {
        let older = self.generations.len().saturating_sub(MIN_GENERATIONS);
        if older == 0 {
            return Surplus::default();
        }
        // Labels count once, in the newest generation that needs them: they go when that goes.
        let mut counted = vec![false; costs.len()];
        let mut labels = |series: SeriesRef, bytes: u32| {
            let is_counted = counted.get_mut(series as usize).is_none_or(|counted| std::mem::replace(counted, true));
            if is_counted { 0 } else { bytes as usize }
        };
        let mut fixed = Sums::new();
        for &series in waiting {
            let (sender, bytes) = cost(costs, series);
            *fixed.entry(sender).or_default() += labels(series, bytes);
        }
        let mut sums = |kept: &Kept, sums: &mut Sums| {
            kept.generation.for_each_row(|series, row| {
                let (sender, bytes) = cost(costs, series);
                *sums.entry(sender).or_default() += row + labels(series, bytes);
            });
        };
        self.generations.iter().skip(older).for_each(|kept| sums(kept, &mut fixed));
        let by_generation = self.generations.iter().take(older).rev().map(|kept| {
            let mut own = Sums::new();
            sums(kept, &mut own);
            (kept.generation.flush, own)
        });
        let by_generation: Vec<(FlushId, Sums)> = by_generation.collect();
        Surplus::new(capacity, &fixed, &by_generation)
    }

    /// Drops what is to go.
    pub fn give_back(&mut self, surplus: &Surplus, costs: &[Cost]) {
        for (flush, senders) in &surplus.0 {
            let Some(kept) = self.generations.iter_mut().find(|kept| kept.generation.flush == *flush) else { continue };
            Arc::make_mut(&mut kept.generation).retain(|series| !senders.contains(&cost(costs, series).0));
            *kept = Kept::new(kept.generation.clone());
        }
        self.generations.retain(|kept| !kept.generation.is_empty());
    }
}

impl Surplus {
    /// `fixed` is what cannot go, `by_generation` what can, the newest first.
    fn new(capacity: usize, fixed: &Sums, by_generation: &[(FlushId, Sums)]) -> Self {
        let mut all = fixed.clone();
        let older = by_generation.iter().flat_map(|(_, sums)| sums);
        older.for_each(|(&sender, bytes)| *all.entry(sender).or_default() += bytes);
        let level = level(&all, capacity);
        all.retain(|_, bytes| *bytes > level);
        // Of those who are over it: what does not fit goes, and all that is older.
        let of_older = |sender| (sender, level.saturating_sub(fixed.get(&sender).copied().unwrap_or(0)));
        let mut left: HashMap<SenderRef, usize> = all.into_keys().map(of_older).collect();
        let mut surplus = Vec::new();
        for (flush, sums) in by_generation {
            let mut senders = Vec::new();
            for (&sender, &bytes) in sums {
                let Some(left) = left.get_mut(&sender) else { continue };
                match left.checked_sub(bytes) {
                    Some(rest) => *left = rest,
                    None => {
                        *left = 0;
                        senders.push(sender);
                    }
                }
            }
            if !senders.is_empty() {
                surplus.push((*flush, senders));
            }
        }
        Self(surplus)
    }
}

fn cost(costs: &[Cost], series: SeriesRef) -> Cost {
    costs.get(series as usize).copied().unwrap_or_default()
}

/// How much each sender keeps at most, in bytes.
fn level(sums: &Sums, capacity: usize) -> usize {
    let mut bytes: Vec<usize> = sums.values().copied().collect();
    bytes.sort_unstable();
    let (mut left, mut senders) = (capacity, bytes.len());
    for bytes in bytes {
        let share = left / senders;
        if bytes > share {
            return share;
        }
        left -= bytes;
        senders -= 1;
    }
    usize::MAX
}

impl Generation {
    /// Calls `each` with the series of all rows, and the bytes that they take.
    fn for_each_row(&self, mut each: impl FnMut(SeriesRef, usize)) {
        self.samples.iter().for_each(|(series, run)| each(*series, RUN_BYTES + run.heap_bytes()));
        self.histograms.keys().for_each(|&(series, _)| each(series, HISTOGRAM_BYTES));
        self.exemplars.iter().for_each(|&(series, _)| each(series, EXEMPLAR_BYTES));
    }

    /// Drops the rows of some series.
    fn retain(&mut self, stays: impl Fn(SeriesRef) -> bool) {
        self.samples.retain(|&(series, _)| stays(series));
        self.samples.shrink_to_fit();
        self.histograms.retain(|&(series, _), _| stays(series));
        self.histograms.shrink_to_fit();
        self.exemplars.retain(|&(series, _)| stays(series));
        self.exemplars.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use promarchive_model::{Sample, WriterId};

    use super::*;
    use crate::memtable::SortedRun;

    /// Of a series, in [`horizon`].
    const LABELS: u32 = 1_000;

    fn sender(number: u64) -> SenderRef {
        SenderRef::of_hash(number)
    }

    #[test]
    fn a_level_is_as_high_as_the_memory_for_all_allows() {
        for (bytes, capacity, want) in [
            (&[][..], 0, usize::MAX),
            (&[10, 100], 110, usize::MAX),
            (&[10, 100], 109, 99),
            (&[10, 100], 30, 20),
            (&[10, 100], 20, 10),
            (&[10, 100], 18, 9),
            (&[10, 100], 0, 0),
            (&[50, 50, 50], 120, 40),
        ] {
            let sums: Sums = (1..).map(sender).zip(bytes.iter().copied()).collect();
            assert_eq!(level(&sums, capacity), want, "{bytes:?} in {capacity}");
        }
    }

    /// Series 0 is of one sender, all others of another. `flushes` says which other series each flush has beside series 0.
    fn horizon(flushes: &[std::ops::Range<u32>]) -> (Horizon, Vec<Cost>) {
        let mut horizon = Horizon::default();
        for (position, flush) in (1..).zip(flushes) {
            let mut generation = Generation::new((WriterId::from_u128(1), position), 0);
            let run = SortedRun::new(&[Sample { timestamp: 5, value: 7, start_timestamp: 0 }]).unwrap();
            let series = || std::iter::once(0).chain(flush.clone());
            generation.samples = series().map(|series| (series, run.clone())).collect();
            generation.exemplars = series().map(|series| (series, 3)).collect();
            horizon.push(generation, i64::MAX);
        }
        let series = flushes.iter().map(|flush| flush.end).max().unwrap();
        (horizon, (0..series).map(|series| (sender(if series == 0 { 1 } else { 2 }), LABELS)).collect())
    }

    /// How many series each flush has left, and whether the first is among them.
    fn left(horizon: &Horizon) -> Vec<(usize, bool)> {
        let left = horizon.generations().map(|generation| {
            assert_eq!(generation.samples.len(), generation.exemplars.len());
            (generation.samples.len(), !generation.runs(0).is_empty())
        });
        left.collect()
    }

    fn shrink(horizon: &mut Horizon, costs: &[Cost], capacity: usize) {
        let surplus = horizon.surplus(capacity, costs, &[]);
        horizon.give_back(&surplus, costs);
        assert_eq!(horizon.surplus(capacity, costs, &[]), Surplus::default(), "the same again takes no more");
    }

    #[test]
    fn who_takes_most_gives_back_its_oldest_rows() {
        let (mut horizon, costs) = horizon(&[1..101, 1..101, 1..101, 1..101, 1..101]);
        let shared = horizon.clone();
        // Of each flush about 11 kB, and 101 kB of labels.
        shrink(&mut horizon, &costs, 145_000);
        assert_eq!(left(&horizon), [(1, true), (1, true), (101, true), (101, true), (101, true)]);
        assert_eq!(left(&shared), [(101, true); 5], "who has taken it for a flush keeps it");
        shrink(&mut horizon, &costs, 100_000);
        assert_eq!(left(&horizon), [(1, true), (1, true), (1, true), (101, true), (101, true)]);
    }

    #[test]
    fn what_cannot_go_counts_against_its_sender_alone() {
        let (mut horizon, costs) = horizon(&[0..0, 0..0, 1..101, 101..1101, 1101..2101]);
        shrink(&mut horizon, &costs, 4_000);
        assert_eq!(left(&horizon), [(1, true), (1, true), (1, true), (1001, true), (1001, true)]);
        shrink(&mut horizon, &costs, 0);
        assert_eq!(left(&horizon), [(1001, true), (1001, true)]);
    }

    #[test]
    fn labels_count_where_they_are_needed_last() {
        let (horizon, costs) = horizon(&[1..101, 101..201, 1..101, 0..0, 0..0]);
        let capacity = |flushes: usize| flushes * 111_000 + 3_000;
        let surplus = |capacity, waiting: &[SeriesRef]| {
            let mut horizon = horizon.clone();
            let surplus = horizon.surplus(capacity, &costs, waiting);
            horizon.give_back(&surplus, &costs);
            left(&horizon)[..3].iter().map(|(series, _)| *series).collect::<Vec<_>>()
        };
        assert_eq!(surplus(capacity(2), &[]), [1, 101, 101], "the oldest has no labels of its own");
        assert_eq!(surplus(capacity(1), &[]), [1, 1, 101]);
        let waiting: Vec<SeriesRef> = (101..201).collect();
        assert_eq!(surplus(capacity(1), &waiting), [1, 1, 1], "labels of waiting rows stay anyway");
    }
}
