//! Settling runs against runs gives what settling unpacked samples does.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use promarchive_model::{FlushId, Sample, WriterId, sample_rank};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use crate::memtable::{Generation, Horizon, SampleRun, SortedRun};
use crate::settle::Settled;

const DAY_MS: i64 = 86_400_000;

/// What is left of samples, and what supersedes, by rules that unpack everything.
#[derive(Debug, Default, PartialEq, Eq)]
struct Rows {
    own: Vec<Sample>,
    superseding: BTreeMap<FlushId, Vec<Sample>>,
    duplicates: u64,
    conflicts: u64,
}

impl Rows {
    fn count(&mut self, same: bool) {
        *(if same { &mut self.duplicates } else { &mut self.conflicts }) += 1;
    }

    fn settle(mut samples: Vec<Sample>, written: &[(FlushId, BTreeMap<i64, Sample>)]) -> Self {
        let mut rows = Self::default();
        samples.sort_by_key(|&sample| (sample.timestamp, Reverse(sample_rank(sample))));
        let mut winners: HashMap<i64, Sample> = HashMap::new();
        samples.retain(|&sample| match winners.get(&sample.timestamp) {
            Some(&winner) => {
                rows.count(sample_rank(winner) == sample_rank(sample));
                false
            }
            None => winners.insert(sample.timestamp, sample).is_none(),
        });
        for sample in samples {
            let there = written.iter().find_map(|(flush, rows)| Some((*flush, *rows.get(&sample.timestamp)?)));
            let Some((flush, there)) = there else {
                rows.own.push(sample);
                continue;
            };
            rows.count(sample_rank(there) == sample_rank(sample));
            if sample_rank(sample) > sample_rank(there) {
                rows.superseding.entry(flush).or_default().push(sample);
            }
        }
        rows
    }

    fn of(settled: &Settled) -> Self {
        let unpacked = |runs: &[(u32, SortedRun)]| -> Vec<Sample> {
            assert!(runs.iter().all(|(_, run)| run.is_of_one_day()), "{runs:?}");
            runs.iter().flat_map(|(_, run)| run.iter()).collect()
        };
        let superseding = settled.superseding.iter();
        Self {
            own: unpacked(&settled.samples),
            superseding: superseding.map(|(flush, rows)| (*flush, unpacked(&rows.samples))).collect(),
            duplicates: settled.duplicates,
            conflicts: settled.conflicts,
        }
    }
}

fn timestamp() -> impl Strategy<Value = i64> {
    (0..12_i64, 0..3_i64).prop_map(|(time, day)| day * DAY_MS + time)
}

fn sample() -> impl Strategy<Value = Sample> {
    (timestamp(), 0..3_u64, 0..2_i64).prop_map(|(timestamp, value, start_timestamp)| Sample {
        timestamp,
        value,
        start_timestamp,
    })
}

fn arrived() -> impl Strategy<Value = Vec<Sample>> {
    let sorted = btree_map(timestamp(), sample(), 0..20)
        .prop_map(|rows| rows.into_iter().map(|(timestamp, sample)| Sample { timestamp, ..sample }).collect());
    prop_oneof![vec(sample(), 0..20), sorted]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn runs_settle_as_samples_do(
        samples in arrived(),
        written in vec(btree_map(timestamp(), sample(), 0..8), 0..4),
        parts in any::<bool>(),
    ) {
        let mut horizon = Horizon::default();
        let mut flushes = Vec::new();
        for (position, rows) in (1..).zip(written) {
            let flush = (WriterId::from_u128(1), position);
            let rows: BTreeMap<i64, Sample> =
                rows.into_iter().map(|(timestamp, sample)| (timestamp, Sample { timestamp, ..sample })).collect();
            let samples: Vec<Sample> = rows.values().copied().collect();
            // A flush may have written a series in several runs.
            let cut = if parts { samples.len() / 2 } else { 0 };
            let runs = [&samples[..cut], &samples[cut..]].into_iter().filter_map(SortedRun::new);
            horizon.push(
                Generation { samples: runs.map(|run| (7, run)).collect(), ..Generation::new(flush, 0) },
                i64::MAX,
            );
            flushes.push((flush, rows));
        }
        let mut run = SampleRun::default();
        samples.iter().for_each(|&sample| run.push(sample));
        let mut settled = Settled::default();
        settled.run(7, &mut run, &horizon);
        prop_assert_eq!(Rows::of(&settled), Rows::settle(samples, &flushes));

        // The horizon then knows what the tables hold.
        for changed in settled.changed_generations(&horizon, |_, _, _| false) {
            let (_, mut wanted) = flushes.iter().find(|(flush, _)| *flush == changed.flush).unwrap().clone();
            let new = settled.superseding[&changed.flush].samples.iter().flat_map(|(_, run)| run.iter());
            wanted.extend(new.map(|sample| (sample.timestamp, sample)));
            let found: Vec<Sample> = changed.samples.iter().flat_map(|(_, run)| run.iter()).collect();
            prop_assert_eq!(found, wanted.into_values().collect::<Vec<_>>());
        }
    }
}
