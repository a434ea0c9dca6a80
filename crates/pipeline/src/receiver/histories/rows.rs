//! Rows as the model knows them: a key that must stand once, and what may stand under it.

use std::cmp::Ordering;

use promarchive_model::{Counts, Histogram, Sample};
use xxhash_rust::xxh3::xxh3_128;

/// Metric and canonical text of the other labels.
pub(super) type Series = (String, String);

/// What stands in a table at most once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Sample(Series, i64),
    Histogram(Series, i64),
    /// With timestamp, value and its own labels: another value is another exemplar.
    Exemplar(Series, i64, u64, String),
    /// Day of receipt, metric, type, unit and help.
    Metadata(i64, String, String, String, String),
}

/// What a row says beyond its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Sample(Sample),
    Histogram(Histogram),
    Exemplar,
    /// When it was received.
    Metadata(i64),
}

/// The bits that mark a stale series.
pub(super) const STALE: u64 = 0x7ff0_0000_0000_0002;

impl Content {
    /// The value of a sample.
    pub(super) fn value(&self) -> Option<f64> {
        if let Self::Sample(sample) = self { Some(f64::from_bits(sample.value)) } else { None }
    }

    /// The total order of the contents of one key, stated again from its description, not from the code: the greatest stays.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Sample(a), Self::Sample(b)) => {
                let value = |sample: &Sample| f64::from_bits(sample.value);
                (a.value != STALE)
                    .cmp(&(b.value != STALE))
                    .then_with(|| value(a).total_cmp(&value(b)))
                    .then_with(|| (a.start_timestamp != 0).cmp(&(b.start_timestamp != 0)))
                    .then_with(|| a.start_timestamp.cmp(&b.start_timestamp))
            }
            (Self::Histogram(a), Self::Histogram(b)) => {
                (a.sum != STALE).cmp(&(b.sum != STALE)).then_with(|| hash(a).cmp(&hash(b)))
            }
            _ => Ordering::Equal,
        }
    }
}

/// XXH3-128 over all fields as 64-bit numbers, each list behind its length: an order that files already written rely on.
fn hash(histogram: &Histogram) -> u128 {
    let Histogram { start_timestamp, schema, zero_threshold, sum, reset_hint, .. } = histogram;
    let mut numbers: Vec<u64> =
        vec![*start_timestamp as u64, i64::from(*schema) as u64, *zero_threshold, *sum, *reset_hint as u64];
    for spans in [&histogram.positive_spans, &histogram.negative_spans] {
        numbers.push(spans.len() as u64);
        numbers.extend(spans.iter().map(|span| (u64::from(span.offset as u32) << 32) + u64::from(span.length)));
    }
    let mut list = |values: Vec<u64>| {
        numbers.push(values.len() as u64);
        numbers.extend(values);
    };
    list(histogram.custom_values.clone());
    match &histogram.counts {
        Counts::Integer { count, zero, positive, negative } => {
            list(vec![0, *count, *zero]);
            list(positive.iter().map(|&count| count as u64).collect());
            list(negative.iter().map(|&count| count as u64).collect());
        }
        Counts::Float { count, zero, positive, negative } => {
            list(vec![1, *count, *zero]);
            list(positive.clone());
            list(negative.clone());
        }
    }
    xxh3_128(&numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>())
}
