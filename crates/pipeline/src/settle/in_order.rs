//! The samples of a run in the order of time, whatever the order was in which they came.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::iter::Peekable;

use promarchive_model::{Sample, sample_rank};

use crate::memtable::SampleRun;

/// Samples that are sorted at once: 1.5 MiB.
const PART_SAMPLES: usize = 64 * 1024;

/// Calls `each` with every sample in the order of time; of samples of one time, first with the one that wins.
///
/// A run in order is read once. Any other is cut into parts, each part is sorted and packed again, and the parts are merged. What is held
/// beside the run is no more than the run itself may take: see [`SampleRun::heap_bytes`].
pub(super) fn for_each_in_order(run: &SampleRun, mut each: impl FnMut(Sample)) {
    if run.is_in_order() {
        run.iter().for_each(each);
        return;
    }
    let parts = sorted_parts(run);
    let mut parts: Vec<_> = parts.iter().map(|part| part.iter().peekable()).collect();
    let entry = |at: usize, sample: Sample| Reverse((sample.timestamp, Reverse(sample_rank(sample)), at));
    let mut heads: BinaryHeap<_> =
        parts.iter_mut().enumerate().filter_map(|(at, part)| Some(entry(at, *part.peek()?))).collect();
    while let Some(Reverse((.., at))) = heads.pop() {
        let Some(part) = parts.get_mut(at) else { continue };
        part.next().into_iter().for_each(&mut each);
        heads.extend(part.peek().map(|&head| entry(at, head)));
    }
}

/// The sample of this time, in samples that are sorted by time. Those before it are passed: times only grow from call to call.
pub(super) fn find(sorted: &mut Peekable<impl Iterator<Item = Sample>>, timestamp: i64) -> Option<Sample> {
    while sorted.next_if(|sample| sample.timestamp < timestamp).is_some() {}
    sorted.peek().copied().filter(|sample| sample.timestamp == timestamp)
}

fn sorted_parts(run: &SampleRun) -> Vec<SampleRun> {
    let mut samples = run.iter();
    let mut parts = Vec::new();
    let mut part = Vec::with_capacity(run.len().min(PART_SAMPLES));
    loop {
        part.extend(samples.by_ref().take(PART_SAMPLES));
        if part.is_empty() {
            return parts;
        }
        part.sort_unstable_by_key(|&sample| (sample.timestamp, Reverse(sample_rank(sample))));
        let mut packed = SampleRun::default();
        part.drain(..).for_each(|sample| packed.push(sample));
        parts.push(packed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_in_one_order() {
        // More than two parts: an upward and a downward sequence, and each fifth sample twice.
        let count = 3 * PART_SAMPLES as i64 / 2;
        let sample = |timestamp: i64, value: u64| Sample { timestamp, value, start_timestamp: 0 };
        let mut all: Vec<Sample> = (0..count).map(|at| sample(at * 3, 7)).collect();
        all.extend((0..count).rev().map(|at| sample(at * 2, if at % 5 == 0 { 7 } else { 9 })));
        let mut run = SampleRun::default();
        all.iter().for_each(|&sample| run.push(sample));
        let mut found = Vec::new();
        for_each_in_order(&run, |sample| found.push(sample));
        all.sort_by_key(|&sample| (sample.timestamp, Reverse(sample_rank(sample))));
        assert!(found == all, "{} samples, {} wanted", found.len(), all.len());
    }
}
