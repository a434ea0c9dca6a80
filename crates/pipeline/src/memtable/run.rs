//! Samples of one series in a few bytes each.
//!
//! In memory only, in the order of arrival. Per sample a control byte: bit 0, the timestamp is not the previous one plus the previous
//! step, and a zigzag varint with the change of the step follows; bit 1, the value's bits differ from the previous one's, and a byte
//! (trailing zero bytes × 16 + number of bytes) and the differing bytes of the XOR follow; bit 2, the start timestamp changed, and a
//! zigzag varint with the change follows. A regular, constant series costs one byte a sample.
//! The idea is Gorilla's (Pelkonen et al., VLDB 2015), at byte instead of bit boundaries.

use std::sync::Arc;

use promarchive_model::{Date, Sample};

const STEP_CHANGED: u8 = 1;
const VALUE_CHANGED: u8 = 2;
const START_CHANGED: u8 = 4;

/// What the next sample is encoded against.
#[derive(Clone, Copy, Debug, Default)]
struct Previous {
    timestamp: i64,
    step: i64,
    value: u64,
    start: i64,
}

/// The most that a sample takes: a control byte, two varints of 64 bits, and a value with its head.
const MOST_SAMPLE_BYTES: usize = 1 + 10 + 9 + 10;
/// The most by which a late sample makes its run longer once it is in order: what it takes itself, what the one after it then takes, and the
/// change of the step after that.
const LATE_BYTES: usize = 2 * MOST_SAMPLE_BYTES + 10;

/// What a run is made of.
#[derive(Clone, Debug)]
enum RunBytes {
    /// Samples are still appended, each later than the one before.
    Growing(Vec<u8>),
    /// The same, of samples that are not in order.
    Unordered(Box<Unordered>),
    /// Shared with sorted runs.
    Settled(Arc<[u8]>),
}

/// What is held of a run whose samples are not in order.
#[derive(Clone, Debug)]
struct Unordered {
    bytes: Vec<u8>,
    /// The latest timestamp so far.
    latest: i64,
    /// Samples that were not later than all before them.
    late: usize,
}

impl Default for RunBytes {
    fn default() -> Self {
        Self::Growing(Vec::new())
    }
}

impl RunBytes {
    /// To append a sample of this time to; put back with [`Self::of`]. `previous` is the time of the sample before it, if there is one.
    fn take(&mut self, timestamp: i64, previous: Option<i64>) -> (Vec<u8>, Option<Box<Unordered>>) {
        let (bytes, unordered) = match std::mem::take(self) {
            Self::Growing(bytes) => (bytes, None),
            Self::Settled(bytes) => (bytes.to_vec(), None),
            Self::Unordered(mut unordered) => (std::mem::take(&mut unordered.bytes), Some(unordered)),
        };
        match (unordered, previous) {
            (Some(mut unordered), _) => {
                unordered.late += usize::from(timestamp <= unordered.latest);
                unordered.latest = timestamp.max(unordered.latest);
                (bytes, Some(unordered))
            }
            (None, Some(latest)) if timestamp <= latest => {
                (bytes, Some(Box::new(Unordered { bytes: Vec::new(), latest, late: 1 })))
            }
            (None, _) => (bytes, None),
        }
    }

    fn of(bytes: Vec<u8>, unordered: Option<Box<Unordered>>) -> Self {
        match unordered {
            None => Self::Growing(bytes),
            Some(mut unordered) => {
                unordered.bytes = bytes;
                Self::Unordered(unordered)
            }
        }
    }

    /// The bytes of a run in order, from now on shared.
    fn share(&mut self) -> Option<Arc<[u8]>> {
        let shared: Arc<[u8]> = match self {
            Self::Growing(bytes) => std::mem::take(bytes).into(),
            Self::Settled(bytes) => bytes.clone(),
            Self::Unordered(_) => return None,
        };
        *self = Self::Settled(shared.clone());
        Some(shared)
    }

    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Growing(bytes) => bytes,
            Self::Unordered(unordered) => &unordered.bytes,
            Self::Settled(bytes) => bytes,
        }
    }
}

/// Samples of one series, appended in any order.
#[derive(Clone, Debug, Default)]
pub struct SampleRun {
    bytes: RunBytes,
    previous: Previous,
    count: u32,
}

impl SampleRun {
    /// Appends a sample.
    pub fn push(&mut self, sample: Sample) {
        let previous = &mut self.previous;
        let before = (self.count > 0).then_some(previous.timestamp);
        let step = sample.timestamp.wrapping_sub(previous.timestamp);
        let change = step.wrapping_sub(previous.step);
        let xor = sample.value ^ previous.value;
        let start = sample.start_timestamp.wrapping_sub(previous.start);
        let control = if change != 0 { STEP_CHANGED } else { 0 }
            | if xor != 0 { VALUE_CHANGED } else { 0 }
            | if start != 0 { START_CHANGED } else { 0 };
        let (mut bytes, unordered) = self.bytes.take(sample.timestamp, before);
        bytes.push(control);
        if change != 0 {
            push_varint(&mut bytes, zigzag(change));
        }
        if xor != 0 {
            let zeros = xor.trailing_zeros() as usize / 8;
            let length = 8 - zeros - xor.leading_zeros() as usize / 8;
            bytes.push((zeros << 4 | length) as u8);
            bytes.extend((xor >> (zeros * 8)).to_le_bytes().iter().take(length));
        }
        if start != 0 {
            push_varint(&mut bytes, zigzag(start));
        }
        self.bytes = RunBytes::of(bytes, unordered);
        *previous = Previous { timestamp: sample.timestamp, step, value: sample.value, start: sample.start_timestamp };
        self.count += 1;
    }

    /// The run as it is, if it is in order of time already, with each timestamp once, and not empty. Its bytes are shared, and not held twice.
    pub fn sorted(&mut self) -> Option<SortedRun> {
        let first = self.iter().next()?.timestamp;
        Some(SortedRun { bytes: self.bytes.share()?, count: self.count, first, last: self.previous.timestamp })
    }

    /// The earliest and the latest timestamp; none of an empty run.
    pub fn bounds(&self) -> Option<(i64, i64)> {
        let first = self.iter().next()?.timestamp;
        match &self.bytes {
            RunBytes::Unordered(unordered) => {
                Some((self.iter().map(|sample| sample.timestamp).min()?, unordered.latest))
            }
            RunBytes::Growing(_) | RunBytes::Settled(_) => Some((first, self.previous.timestamp)),
        }
    }

    /// Whether each sample is later than the one before.
    pub fn is_in_order(&self) -> bool {
        !matches!(self.bytes, RunBytes::Unordered(_))
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes held on the heap. Of samples that are not in order, as much as they may take when they are.
    pub fn heap_bytes(&self) -> usize {
        match &self.bytes {
            RunBytes::Growing(bytes) => bytes.capacity(),
            RunBytes::Unordered(unordered) => {
                size_of::<Unordered>() + unordered.bytes.capacity() + unordered.late * LATE_BYTES
            }
            RunBytes::Settled(bytes) => bytes.len(),
        }
    }

    /// The samples, in the order in which they were pushed.
    pub fn iter(&self) -> Samples<'_> {
        Samples { bytes: self.bytes.as_slice(), previous: Previous::default() }
    }
}

/// Samples of one series in order of time, each timestamp once; never changed again.
#[derive(Clone, Debug)]
pub struct SortedRun {
    /// Shared between the flush that writes it and the horizon that remembers it.
    bytes: Arc<[u8]>,
    count: u32,
    first: i64,
    last: i64,
}

impl SortedRun {
    /// Takes samples that are sorted and not empty.
    pub fn new(samples: &[Sample]) -> Option<Self> {
        let (first, last) = (samples.first()?.timestamp, samples.last()?.timestamp);
        let mut run = SampleRun::default();
        samples.iter().for_each(|&sample| run.push(sample));
        Some(Self { bytes: run.bytes.as_slice().into(), count: run.count, first, last })
    }

    /// Smallest and largest timestamp, ms.
    pub fn bounds(&self) -> (i64, i64) {
        (self.first, self.last)
    }

    /// Whether its first and its last sample are of the same day, UTC.
    pub fn is_of_one_day(&self) -> bool {
        Date::of(self.first) == Date::of(self.last)
    }

    /// Whether a timestamp of it can lie within these bounds.
    pub fn overlaps(&self, (first, last): (i64, i64)) -> bool {
        self.first <= last && first <= self.last
    }

    /// Number of samples, at least one.
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// Bytes held on the heap, estimated: with the counts in front of shared bytes and the allocator's rounding.
    pub fn heap_bytes(&self) -> usize {
        const PER_RUN: usize = 24;
        self.bytes.len() + PER_RUN
    }

    /// The samples in order of time.
    pub fn iter(&self) -> Samples<'_> {
        Samples { bytes: &self.bytes, previous: Previous::default() }
    }
}

/// Iterator over a run.
#[derive(Debug)]
pub struct Samples<'a> {
    bytes: &'a [u8],
    previous: Previous,
}

impl Samples<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(first)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        Some(value)
    }

    fn xor(&mut self) -> Option<u64> {
        let head = self.byte()?;
        let (zeros, length) = (usize::from(head >> 4), usize::from(head & 0xf));
        let (bytes, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        let value = bytes.iter().rev().fold(0_u64, |value, &byte| value << 8 | u64::from(byte));
        Some(value << (zeros * 8))
    }
}

impl Iterator for Samples<'_> {
    type Item = Sample;

    fn next(&mut self) -> Option<Sample> {
        let control = self.byte()?;
        if control & STEP_CHANGED != 0 {
            self.previous.step = self.previous.step.wrapping_add(unzigzag(self.varint()?));
        }
        self.previous.timestamp = self.previous.timestamp.wrapping_add(self.previous.step);
        if control & VALUE_CHANGED != 0 {
            self.previous.value ^= self.xor()?;
        }
        if control & START_CHANGED != 0 {
            self.previous.start = self.previous.start.wrapping_add(unzigzag(self.varint()?));
        }
        let Previous { timestamp, value, start, .. } = self.previous;
        Some(Sample { timestamp, value, start_timestamp: start })
    }
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

fn push_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn samples() -> impl Strategy<Value = Vec<Sample>> {
        let timestamp = prop_oneof![any::<i64>(), 0..100_i64, Just(i64::MIN), Just(i64::MAX)];
        let value = prop_oneof![
            any::<u64>(),
            any::<f64>().prop_map(f64::to_bits),
            (0..50_u32).prop_map(|v| f64::from(v).to_bits())
        ];
        let start = prop_oneof![Just(0), any::<i64>()];
        let sample = (timestamp, value, start).prop_map(|(timestamp, value, start_timestamp)| Sample {
            timestamp,
            value,
            start_timestamp,
        });
        proptest::collection::vec(sample, 0..50)
    }

    proptest! {
        #[test]
        fn runs_give_back_what_was_pushed(samples in samples()) {
            let mut run = SampleRun::default();
            samples.iter().for_each(|&sample| run.push(sample));
            prop_assert_eq!(run.len(), samples.len());
            prop_assert_eq!(&run.iter().collect::<Vec<_>>(), &samples);
            let in_order = !samples.is_empty() && samples.is_sorted_by(|a, b| a.timestamp < b.timestamp);
            let sorted = run.sorted();
            prop_assert_eq!(sorted.is_some(), in_order);
            if let Some(sorted) = sorted {
                let bounds = (samples[0].timestamp, samples[samples.len() - 1].timestamp);
                prop_assert_eq!((sorted.bounds(), sorted.count()), (bounds, samples.len()));
                prop_assert_eq!(&sorted.iter().collect::<Vec<_>>(), &samples);
            }
            // Shared bytes are neither lost to the run nor changed by it.
            let again = run.sorted().map(|sorted| sorted.iter().collect::<Vec<_>>());
            prop_assert_eq!(&again, &in_order.then(|| samples.clone()));
            samples.iter().for_each(|&sample| run.push(sample));
            prop_assert_eq!(run.iter().collect::<Vec<_>>(), [&samples[..], &samples[..]].concat());
        }
    }

    proptest! {
        #[test]
        fn a_run_counts_what_it_may_take_in_order(samples in samples()) {
            let mut run = SampleRun::default();
            samples.iter().for_each(|&sample| run.push(sample));
            let timestamps = || samples.iter().map(|sample| sample.timestamp);
            prop_assert_eq!(run.bounds(), timestamps().min().zip(timestamps().max()));
            prop_assert_eq!(run.is_in_order(), samples.is_sorted_by(|a, b| a.timestamp < b.timestamp));
            let mut sorted = samples.clone();
            sorted.sort_by_key(|sample| sample.timestamp);
            let taken = SortedRun::new(&sorted).map_or(0, |sorted| sorted.bytes.len());
            prop_assert!(run.heap_bytes() >= taken, "{} held, {} in order", run.heap_bytes(), taken);
        }
    }

    /// Two regular sequences, one after the other, take next to nothing. In order, each sample has another value than the one before.
    #[test]
    fn a_run_that_grows_when_it_is_sorted_counts_so() {
        let sample = |timestamp, value| Sample { timestamp, value, start_timestamp: timestamp % 2 * i64::MAX };
        let mut samples: Vec<Sample> = (0..1000).map(|at| sample(at * 2, 0)).collect();
        samples.extend((0..1000).map(|at| sample(at * 2 + 1, u64::MAX)));
        let mut run = SampleRun::default();
        samples.iter().for_each(|&sample| run.push(sample));
        samples.sort_by_key(|sample| sample.timestamp);
        let taken = SortedRun::new(&samples).unwrap().bytes.len();
        assert!(run.bytes.as_slice().len() * 5 < taken, "{} bytes, {taken} in order", run.bytes.as_slice().len());
        assert!(run.heap_bytes() >= taken, "{} held, {taken} in order", run.heap_bytes());
    }

    #[test]
    fn a_regular_constant_series_costs_a_byte_a_sample() {
        let mut run = SampleRun::default();
        for i in 0..1000 {
            run.push(Sample {
                timestamp: 1_763_000_000_000 + i * 15_000,
                value: 1.0_f64.to_bits(),
                start_timestamp: 0,
            });
        }
        assert!(run.bytes.as_slice().len() < 1020, "{} bytes", run.bytes.as_slice().len());
    }
}
