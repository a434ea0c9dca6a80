//! What a label set and a histogram must fulfil, said once more, after the remote write specification and Prometheus's
//! `model/histogram`. Every rule that is broken is collected: the decoder may report any of them.

use std::collections::BTreeMap;

use promarchive_model::{Counts, Histogram, METRIC_NAME, Reason, ResetHint, Span};
use promarchive_wire::proto::v1::{self, BucketSpan, histogram};

use super::wire::{self, Spans};
use super::{Expected, Pairs};

/// Labels of an exemplar, or of a series with its metric name still among them.
pub(super) fn labels<'a>(pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Expected<BTreeMap<String, String>> {
    let mut broken = Vec::new();
    let mut set = BTreeMap::new();
    for (name, value) in pairs {
        let (Ok(name), Ok(value)) = (str::from_utf8(name), str::from_utf8(value)) else {
            broken.push(Reason::InvalidUtf8);
            continue;
        };
        if name.is_empty() {
            broken.push(Reason::EmptyLabelName);
        } else if !value.is_empty() && set.insert(name.to_owned(), value.to_owned()).is_some() {
            broken.push(Reason::DuplicateLabel);
        }
    }
    if broken.is_empty() { Ok(set) } else { Err(broken) }
}

/// Labels of a series: the metric name, and the others.
pub(super) fn series_labels(labels: Expected<BTreeMap<String, String>>) -> Expected<(String, Pairs)> {
    let mut set = labels?;
    let metric = set.remove(METRIC_NAME).ok_or(vec![Reason::MissingMetricName])?;
    Ok((metric, set.into_iter().collect()))
}

/// The histogram in these bytes.
pub(super) fn histogram(bytes: &[u8], created_timestamp: i64) -> Expected<Histogram> {
    let sent =
        wire::decode::<v1::Histogram>(bytes).filter(|_| is_narrow(bytes)).ok_or(vec![Reason::HistogramMalformed])?;
    let mut broken = Vec::new();
    let reset_hint = usize::try_from(sent.reset_hint).ok().and_then(|hint| RESET_HINTS.get(hint));
    if reset_hint.is_none() {
        broken.push(Reason::HistogramResetHint);
    }
    let counts = counts(&sent, &mut broken);
    match sent.schema {
        -4..=52 => exponential(&sent, &mut broken),
        -53 => custom(&sent, &mut broken),
        _ => broken.push(Reason::HistogramSchema),
    }
    let (Some(&reset_hint), Some(counts), true) = (reset_hint, counts, broken.is_empty()) else { return Err(broken) };
    Ok(Histogram {
        timestamp: sent.timestamp,
        start_timestamp: if sent.start_timestamp == 0 { created_timestamp } else { sent.start_timestamp },
        schema: sent.schema,
        zero_threshold: sent.zero_threshold.to_bits(),
        sum: sent.sum.to_bits(),
        reset_hint,
        counts,
        positive_spans: spans(&sent.positive_spans),
        negative_spans: spans(&sent.negative_spans),
        custom_values: bits(&sent.custom_values),
    })
}

const RESET_HINTS: [ResetHint; 4] = [ResetHint::Unknown, ResetHint::Yes, ResetHint::No, ResetHint::Gauge];

fn is_narrow(histogram: &[u8]) -> bool {
    let Some(spans) = wire::decode::<Spans>(histogram) else { return false };
    let mut all = spans.negative.iter().chain(&spans.positive);
    let is_span = |span: &[u8]| wire::decode::<BucketSpan>(span).is_some() && wire::are_narrow(span, &[1, 2]);
    wire::are_narrow(histogram, &[4]) && all.all(|span| is_span(span))
}

fn spans(sent: &[BucketSpan]) -> Vec<Span> {
    sent.iter().map(|span| Span { offset: span.offset, length: span.length }).collect()
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn counts(sent: &v1::Histogram, broken: &mut Vec<Reason>) -> Option<Counts> {
    let floats = !sent.positive_counts.is_empty() || !sent.negative_counts.is_empty();
    let integers = !sent.positive_deltas.is_empty() || !sent.negative_deltas.is_empty();
    match sent.count.unwrap_or(histogram::Count::CountInt(0)) {
        histogram::Count::CountInt(count) => {
            let zero = match sent.zero_count {
                Some(histogram::ZeroCount::ZeroCountInt(zero)) => Some(zero),
                Some(histogram::ZeroCount::ZeroCountFloat(zero)) => (zero.to_bits() == 0).then_some(0),
                None => Some(0),
            };
            let Some(zero) = zero.filter(|_| !floats) else { return mixed(broken) };
            integer_counts(sent, count, zero, broken)
        }
        histogram::Count::CountFloat(count) => {
            let zero = match sent.zero_count {
                Some(histogram::ZeroCount::ZeroCountInt(zero)) => (zero == 0).then_some(0.0),
                Some(histogram::ZeroCount::ZeroCountFloat(zero)) => Some(zero),
                None => Some(0.0),
            };
            let Some(zero) = zero.filter(|_| !integers) else { return mixed(broken) };
            let mut all =
                [count, zero].into_iter().chain(sent.positive_counts.iter().chain(&sent.negative_counts).copied());
            if all.any(|count| count < 0.0) {
                broken.push(Reason::HistogramNegativeBucket);
            }
            Some(Counts::Float {
                count: count.to_bits(),
                zero: zero.to_bits(),
                positive: bits(&sent.positive_counts),
                negative: bits(&sent.negative_counts),
            })
        }
    }
}

fn mixed(broken: &mut Vec<Reason>) -> Option<Counts> {
    broken.push(Reason::HistogramMixedCounts);
    None
}

fn integer_counts(sent: &v1::Histogram, count: u64, zero: u64, broken: &mut Vec<Reason>) -> Option<Counts> {
    let positive = absolute(&sent.positive_deltas, broken);
    let negative = absolute(&sent.negative_deltas, broken);
    if count > i64::MAX as u64 || zero > i64::MAX as u64 {
        broken.push(Reason::HistogramCountTooLarge);
    }
    let (positive, negative) = (positive?, negative?);
    let buckets = positive.iter().chain(&negative).map(|bucket| i128::from(*bucket)).sum::<i128>() + i128::from(zero);
    // Observations of NaN are counted, and are in no bucket.
    let fits = if sent.sum.is_nan() { buckets <= i128::from(count) } else { buckets == i128::from(count) };
    if !fits {
        broken.push(Reason::HistogramCountMismatch);
    }
    Some(Counts::Integer { count, zero, positive, negative })
}

/// Each bucket is sent as its difference to the one before.
fn absolute(deltas: &[i64], broken: &mut Vec<Reason>) -> Option<Vec<i64>> {
    let mut bucket = 0_i128;
    let mut buckets = Vec::new();
    for delta in deltas {
        bucket += i128::from(*delta);
        match i64::try_from(bucket) {
            Ok(count) if count >= 0 => buckets.push(count),
            Ok(_) => broken.push(Reason::HistogramNegativeBucket),
            Err(_) => {
                broken.push(if bucket < 0 { Reason::HistogramNegativeBucket } else { Reason::HistogramCountTooLarge })
            }
        }
    }
    (buckets.len() == deltas.len()).then_some(buckets)
}

fn exponential(sent: &v1::Histogram, broken: &mut Vec<Reason>) {
    if !sent.custom_values.is_empty() {
        broken.push(Reason::HistogramCustomBounds);
    }
    let sides = [
        (&sent.positive_spans, sent.positive_deltas.len().max(sent.positive_counts.len())),
        (&sent.negative_spans, sent.negative_deltas.len().max(sent.negative_counts.len())),
    ];
    for (spans, buckets) in sides {
        let mut end = 0_i64;
        for (index, span) in spans.iter().enumerate() {
            end += i64::from(span.offset) + i64::from(span.length);
            if (index > 0 && span.offset < 0) || span.offset == i32::MIN || end - 1 > i64::from(i32::MAX) {
                broken.push(Reason::HistogramSpanOffset);
            }
        }
        lengths(spans, buckets, broken);
    }
}

fn custom(sent: &v1::Histogram, broken: &mut Vec<Reason>) {
    let zero = match sent.zero_count {
        Some(histogram::ZeroCount::ZeroCountInt(zero)) => zero != 0,
        Some(histogram::ZeroCount::ZeroCountFloat(zero)) => zero != 0.0,
        None => false,
    };
    let negative =
        !sent.negative_spans.is_empty() || !sent.negative_deltas.is_empty() || !sent.negative_counts.is_empty();
    if zero || negative || sent.zero_threshold != 0.0 {
        broken.push(Reason::HistogramCustomSides);
    }
    let increasing = sent.custom_values.windows(2).all(|pair| pair[0] < pair[1]);
    let covered: i64 = sent.positive_spans.iter().map(|span| i64::from(span.offset) + i64::from(span.length)).sum();
    if !increasing
        || sent.custom_values.iter().any(|bound| !bound.is_finite())
        || covered > sent.custom_values.len() as i64 + 1
    {
        broken.push(Reason::HistogramCustomBounds);
    }
    if sent.positive_spans.iter().any(|span| span.offset < 0) {
        broken.push(Reason::HistogramSpanOffset);
    }
    lengths(&sent.positive_spans, sent.positive_deltas.len().max(sent.positive_counts.len()), broken);
}

fn lengths(spans: &[BucketSpan], buckets: usize, broken: &mut Vec<Reason>) {
    if spans.iter().map(|span| u64::from(span.length)).sum::<u64>() != buckets as u64 {
        broken.push(Reason::HistogramSpanMismatch);
    }
}
