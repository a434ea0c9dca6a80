//! One total order for rows with the same key, so that the same one stays whatever the order of arrival.
//!
//! Samples of one (series, timestamp): a value before a stale marker; of two values the larger in IEEE 754's `totalOrder` (−NaN < −∞ <
//! … < −0 < +0 < … < +∞ < NaN); of two equal values the later start timestamp, any before none. Histograms: any before a stale marker; then
//! the larger hash of all their fields, which favours nothing and depends on nothing else. Floats and histograms stand in tables of their own and do not compete.

use xxhash_rust::xxh3::Xxh3;

use crate::{Counts, Histogram, STALE_NAN, Sample, Span};

/// Rank of a histogram: see [`histogram_rank`].
pub type HistogramRank = (bool, u128);

/// Rank of a sample; the largest stays. Equal ranks are equal samples.
pub fn sample_rank(sample: Sample) -> (bool, u64, bool, i64) {
    let start = sample.start_timestamp;
    (sample.value != STALE_NAN, total_order(sample.value), start != 0, start)
}

/// IEEE 754 `totalOrder` as the order of unsigned numbers.
fn total_order(bits: u64) -> u64 {
    const SIGN: u64 = 1 << 63;
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

/// Rank of a histogram; the largest stays. Equal ranks are equal histograms.
pub fn histogram_rank(histogram: &Histogram) -> HistogramRank {
    let mut hash = Xxh3::new();
    let mut number = |value: u64| hash.update(&value.to_le_bytes());
    number(histogram.start_timestamp.cast_unsigned());
    number(i64::from(histogram.schema).cast_unsigned());
    number(histogram.zero_threshold);
    number(histogram.sum);
    number(histogram.reset_hint as u64);
    for spans in [&histogram.positive_spans, &histogram.negative_spans] {
        number(spans.len() as u64);
        for &Span { offset, length } in spans {
            number(u64::from(offset.cast_unsigned()) << 32 | u64::from(length));
        }
    }
    let mut list = |values: &mut dyn ExactSizeIterator<Item = u64>| {
        number(values.len() as u64);
        values.for_each(&mut number);
    };
    list(&mut histogram.custom_values.iter().copied());
    match &histogram.counts {
        Counts::Integer { count, zero, positive, negative } => {
            list(&mut [0, *count, *zero].into_iter());
            list(&mut positive.iter().map(|count| count.cast_unsigned()));
            list(&mut negative.iter().map(|count| count.cast_unsigned()));
        }
        Counts::Float { count, zero, positive, negative } => {
            list(&mut [1, *count, *zero].into_iter());
            list(&mut positive.iter().copied());
            list(&mut negative.iter().copied());
        }
    }
    (!histogram.is_stale(), hash.digest128())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn total_order_is_ieee_total_order() {
        let ordered =
            [f64::NEG_INFINITY, -1.0, -f64::MIN_POSITIVE / 2.0, -0.0, 0.0, 5e-324, 1.0, f64::INFINITY, f64::NAN];
        assert!(ordered.windows(2).all(|pair| total_order(pair[0].to_bits()) < total_order(pair[1].to_bits())));
        let rank = |value: u64, start_timestamp: i64| sample_rank(Sample { timestamp: 0, value, start_timestamp });
        assert!(rank(STALE_NAN, 9) < rank(f64::NEG_INFINITY.to_bits(), 0));
        assert!(rank(0, 0) < rank(0, -2) && rank(0, -2) < rank(0, -1) && rank(0, -1) < rank(0, 1));
    }
}
