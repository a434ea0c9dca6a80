//! What a native histogram must fulfil, as in Prometheus's `model/histogram` (`Validate` of `Histogram` and
//! `FloatHistogram`).

use super::{Counts, Histogram, Span};
use crate::{Invalid, Reason};

const EXPONENTIAL: std::ops::RangeInclusive<i32> = -4..=52;
const CUSTOM: i32 = -53;

pub(super) fn validate(histogram: &Histogram) -> Result<(), Invalid> {
    let (positive, negative) = match &histogram.counts {
        Counts::Integer { positive, negative, .. } => (positive.len(), negative.len()),
        Counts::Float { positive, negative, .. } => (positive.len(), negative.len()),
    };
    match histogram.schema {
        CUSTOM => {
            custom_sides(histogram, negative)?;
            custom_bounds(&histogram.custom_values)?;
            custom_spans(&histogram.positive_spans, positive, histogram.custom_values.len())?;
        }
        schema if EXPONENTIAL.contains(&schema) => {
            if !histogram.custom_values.is_empty() {
                let detail = format!("custom bucket bounds are only valid with schema -53, not with schema {schema}");
                return Err(Invalid::new(Reason::HistogramCustomBounds, detail));
            }
            spans("positive", &histogram.positive_spans, positive)?;
            spans("negative", &histogram.negative_spans, negative)?;
        }
        schema => return Err(Invalid::new(Reason::HistogramSchema, format!("unknown schema {schema}"))),
    }
    match &histogram.counts {
        Counts::Integer { count, zero, positive, negative } => {
            let buckets = positive.iter().chain(negative).map(|bucket| i128::from(*bucket)).sum::<i128>();
            total(i128::from(*count), buckets + i128::from(*zero), f64::from_bits(histogram.sum).is_nan())
        }
        Counts::Float { count, zero, positive, negative } => {
            [count, zero].into_iter().chain(positive).chain(negative).try_for_each(|bits| not_negative(*bits))
        }
    }
}

/// Custom buckets have no zero bucket and no negative side.
fn custom_sides(histogram: &Histogram, negative: usize) -> Result<(), Invalid> {
    let no_zero_count = match histogram.counts {
        Counts::Integer { zero, .. } => zero == 0,
        Counts::Float { zero, .. } => f64::from_bits(zero) == 0.0,
    };
    if no_zero_count
        && f64::from_bits(histogram.zero_threshold) == 0.0
        && negative == 0
        && histogram.negative_spans.is_empty()
    {
        return Ok(());
    }
    Err(Invalid::new(
        Reason::HistogramCustomSides,
        "a histogram with custom buckets must not have a zero bucket or negative buckets",
    ))
}

fn custom_bounds(bounds: &[u64]) -> Result<(), Invalid> {
    let mut last = f64::NEG_INFINITY;
    for bound in bounds.iter().map(|bits| f64::from_bits(*bits)) {
        if !bound.is_finite() || bound <= last {
            let detail = format!("custom bucket bound {bound} follows {last}: bounds must be finite and increasing");
            return Err(Invalid::new(Reason::HistogramCustomBounds, detail));
        }
        last = bound;
    }
    Ok(())
}

fn custom_spans(spans: &[Span], buckets: usize, bounds: usize) -> Result<(), Invalid> {
    if let Some(span) = spans.iter().find(|span| span.offset < 0) {
        return Err(negative_offset(span));
    }
    lengths("positive", spans, buckets)?;
    // Not negative, as just checked.
    let covered: i64 = spans.iter().map(|span| i64::from(span.offset) + i64::from(span.length)).sum();
    if covered > bounds as i64 + 1 {
        let detail =
            format!("the spans cover {covered} buckets, but {bounds} bounds define only {}", bounds as i64 + 1);
        return Err(Invalid::new(Reason::HistogramCustomBounds, detail));
    }
    Ok(())
}

/// Spans of exponential buckets: only the first may start below 0, and every index fits 32 bits.
fn spans(side: &str, spans: &[Span], buckets: usize) -> Result<(), Invalid> {
    let mut end = 0_i64;
    for (index, span) in spans.iter().enumerate() {
        // Prometheus refuses the smallest index as well: the bucket's lower bound would have none.
        if index > 0 && span.offset < 0 || span.offset == i32::MIN {
            return Err(negative_offset(span));
        }
        end += i64::from(span.offset) + i64::from(span.length);
        if end - 1 > i64::from(i32::MAX) {
            return Err(Invalid::new(
                Reason::HistogramSpanOffset,
                format!("the {side} bucket index {} is too large", end - 1),
            ));
        }
    }
    lengths(side, spans, buckets)
}

fn negative_offset(span: &Span) -> Invalid {
    Invalid::new(Reason::HistogramSpanOffset, format!("the span offset {} is not allowed", span.offset))
}

fn lengths(side: &str, spans: &[Span], buckets: usize) -> Result<(), Invalid> {
    let covered: u64 = spans.iter().map(|span| u64::from(span.length)).sum();
    if covered == buckets as u64 {
        return Ok(());
    }
    let detail = format!("the {side} spans cover {covered} buckets, but {buckets} buckets were sent");
    Err(Invalid::new(Reason::HistogramSpanMismatch, detail))
}

/// The buckets add up to the count. Observations of NaN make the sum NaN and are in no bucket.
fn total(count: i128, buckets: i128, sum_is_nan: bool) -> Result<(), Invalid> {
    if buckets == count || sum_is_nan && buckets < count {
        return Ok(());
    }
    let detail = format!("the buckets contain {buckets} observations, but the count is {count}");
    Err(Invalid::new(Reason::HistogramCountMismatch, detail))
}

fn not_negative(bits: u64) -> Result<(), Invalid> {
    let count = f64::from_bits(bits);
    // NaN is not below 0 and passes, as in Prometheus.
    if count < 0.0 {
        Err(Invalid::new(Reason::HistogramNegativeBucket, format!("negative count {count}")))
    } else {
        Ok(())
    }
}
