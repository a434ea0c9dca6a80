//! Refusals by name: what cannot be kept, why, and of which series.

use std::borrow::Cow;
use std::fmt;

use crate::quote::truncate;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)*) => {
        /// Why something is refused. The names are stable: metric labels, and part of the answer.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[$doc])* $variant,)* }

        impl Reason {
            /// All reasons.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The stable name, in snake case.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

reasons! {
    /// A series without a metric name, or with an empty one.
    MissingMetricName => "missing_metric_name",
    /// A label name twice.
    DuplicateLabel => "duplicate_label",
    /// A label without a name.
    EmptyLabelName => "empty_label_name",
    /// A name or value that is not UTF-8.
    InvalidUtf8 => "invalid_utf8",
    /// 2.0: label references odd in number or out of range.
    InvalidLabelRefs => "invalid_label_refs",
    /// Broken framing inside of labels.
    MalformedLabels => "malformed_labels",
    /// More than 65,536 labels, or more than 1 MiB of them.
    LabelLimit => "label_limit",
    /// In a request whose histograms, exemplars and metadata take more than 32 MiB of memory.
    RequestLimit => "request_limit",
    /// A new series, and the archive's limit of them is reached (later rooms).
    SeriesLimit => "series_limit",
    /// Before 1900 or after 9999.
    TimestampOutOfRange => "timestamp_out_of_range",
    /// Older than the receiver takes (`maxPast`).
    TimestampTooOld => "timestamp_too_old",
    /// Ahead of the receiver's clock.
    TimestampTooFarInFuture => "timestamp_too_far_in_future",
    /// A start timestamp before 1900 or after 9999.
    StartTimestampOutOfRange => "start_timestamp_out_of_range",
    /// Broken framing inside of a histogram.
    HistogramMalformed => "histogram_malformed",
    /// Neither −4 to 52 nor −53 (custom buckets).
    HistogramSchema => "histogram_schema",
    /// A reset hint that is not defined.
    HistogramResetHint => "histogram_reset_hint",
    /// Integer and float counts in one histogram.
    HistogramMixedCounts => "histogram_mixed_counts",
    /// The spans' lengths are not the number of buckets.
    HistogramSpanMismatch => "histogram_span_mismatch",
    /// A negative offset after the first span, or indices over 32 bits.
    HistogramSpanOffset => "histogram_span_offset",
    /// A bucket, zero bucket or total with a negative count.
    HistogramNegativeBucket => "histogram_negative_bucket",
    /// The buckets do not add up to the total.
    HistogramCountMismatch => "histogram_count_mismatch",
    /// A count over 2⁶³ − 1: tables have no unsigned type.
    HistogramCountTooLarge => "histogram_count_too_large",
    /// Custom bounds not finite, not increasing, too few, or in a histogram without custom buckets.
    HistogramCustomBounds => "histogram_custom_bounds",
    /// Custom buckets beside a zero bucket or negative buckets.
    HistogramCustomSides => "histogram_custom_sides",
    /// An exemplar with broken labels or framing.
    InvalidExemplar => "invalid_exemplar",
    /// Metadata with an unknown type, no name, broken references or framing.
    InvalidMetadata => "invalid_metadata",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One refusal: the reason, and what exactly is wrong, in one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Invalid {
    /// Why.
    pub reason: Reason,
    /// What; text of strangers in it is quoted, escaped and shortened.
    pub detail: Cow<'static, str>,
}

impl Invalid {
    /// A refusal. Whoever writes the detail keeps it to one line.
    pub fn new(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, detail: detail.into() }
    }

    /// A series without a metric name.
    pub fn no_metric_name() -> Self {
        Self::new(Reason::MissingMetricName, "the label __name__ is missing")
    }
}

/// The refusals of one request: how many for which reason, and the first few in words.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    /// In the order of [`Reason::ALL`].
    counts: [u64; Reason::ALL.len()],
    examples: Vec<String>,
}

impl Refusals {
    const EXAMPLES: usize = 3;
    const EXAMPLE_BYTES: usize = 320;
    const LINE_BYTES: usize = 1024;

    /// Counts `refused` things (series, samples: as the caller counts) refused for one reason. `series` names the
    /// series, and is called for the first few only: see [`RawLabels::describe`](super::RawLabels::describe).
    pub fn record(&mut self, invalid: &Invalid, refused: u64, series: impl FnOnce() -> String) {
        if let Some(count) = self.counts.get_mut(invalid.reason as usize) {
            *count += refused;
        }
        if self.examples.len() < Self::EXAMPLES {
            let mut example = format!("{invalid} in {}", series());
            truncate(&mut example, Self::EXAMPLE_BYTES);
            self.examples.push(example);
        }
    }

    /// Whether nothing was refused.
    pub fn is_empty(&self) -> bool {
        self.examples.is_empty()
    }

    /// How many were refused.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How many were refused, by reason; those without are left out.
    pub fn counts(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::ALL.iter().copied().zip(self.counts.iter().copied()).filter(|(_, count)| *count > 0)
    }

    /// The answer: one line, at most 1 KiB, such as `3 of 2000 series refused: duplicate_label: "job" twice in
    /// up{job="x"}; …`. `of` and `what` (a plural) are what the caller counts.
    pub fn one_line(&self, of: u64, what: &str) -> String {
        let total = self.total();
        let mut line = format!("{total} of {of} {what} refused");
        if total > self.examples.len() as u64 {
            let counts: Vec<_> = self.counts().map(|(reason, count)| format!("{reason} {count}")).collect();
            line.push_str(&format!(" ({})", counts.join(", ")));
        }
        let mut separator = ": ";
        for example in &self.examples {
            line.push_str(separator);
            line.push_str(example);
            separator = "; ";
        }
        truncate(&mut line, Self::LINE_BYTES);
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up() -> String {
        "up{job=\"x\"}".to_owned()
    }

    #[test]
    fn names_are_snake_case_and_unique() {
        let names: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        assert!(
            names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'))
        );
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
    }

    #[test]
    fn few_refusals_are_all_named() {
        let mut refusals = Refusals::default();
        assert!(refusals.is_empty());
        refusals.record(&Invalid::new(Reason::DuplicateLabel, "\"job\" twice"), 1, up);
        refusals.record(&Invalid::new(Reason::HistogramSchema, "schema 60"), 1, || "h".to_owned());
        assert!(!refusals.is_empty());
        assert_eq!(
            refusals.one_line(2000, "series"),
            "2 of 2000 series refused: duplicate_label: \"job\" twice in up{job=\"x\"}; \
             histogram_schema: schema 60 in h"
        );
    }

    #[test]
    fn many_refusals_are_counted_and_the_line_is_bounded() {
        let mut refusals = Refusals::default();
        for reason in Reason::ALL {
            for _ in 0..1000 {
                refusals.record(&Invalid::new(*reason, "é".repeat(500)), 2, || "é".repeat(500));
            }
        }
        assert_eq!(refusals.total(), 2000 * Reason::ALL.len() as u64);
        assert_eq!(refusals.counts().count(), Reason::ALL.len());
        let line = refusals.one_line(u64::MAX, "series");
        assert!(line.len() <= 1024 && line.ends_with('…') && !line.contains('\n'), "{line}");
    }

    #[test]
    fn what_is_not_shown_is_counted() {
        let mut refusals = Refusals::default();
        for _ in 0..7 {
            refusals.record(&Invalid::new(Reason::MissingMetricName, "the label __name__ is missing"), 1, up);
        }
        refusals.record(&Reason::TimestampOutOfRange.at(-1), 5, || unreachable!());
        let line = refusals.one_line(20, "samples");
        let start =
            "12 of 20 samples refused (missing_metric_name 7, timestamp_out_of_range 5): missing_metric_name: the";
        assert!(line.starts_with(start), "{line}");
        assert_eq!(
            refusals.counts().collect::<Vec<_>>(),
            [(Reason::MissingMetricName, 7), (Reason::TimestampOutOfRange, 5)]
        );
    }
}
