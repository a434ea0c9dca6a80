//! Native histograms.
//!
//! Spans say which buckets are there: skip `offset` buckets (the first one: start at that index), then `length` of them
//! follow. Integer buckets come as differences to the bucket before and are kept as absolute counts, which is exact;
//! all else is kept as sent. Schemas 9 to 52 too, which Prometheus reduces to 8.

mod validate;

use crate::{Invalid, STALE_NAN};

/// A native histogram, checked. All floats are IEEE 754 bits, as sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// Milliseconds since 1970 UTC. Not checked here.
    pub timestamp: i64,
    /// Milliseconds since 1970 UTC, 0: none.
    pub start_timestamp: i64,
    /// −4 to 52: each bucket is 2^(2^−schema) times as wide as the one before; −53: custom buckets.
    pub schema: i32,
    /// The zero bucket holds what is this close to 0. Bits.
    pub zero_threshold: u64,
    /// Sum of observations. Bits.
    pub sum: u64,
    /// What the sender knows about counter resets.
    pub reset_hint: ResetHint,
    /// Counts of observations.
    pub counts: Counts,
    /// Which buckets the positive counts are of.
    pub positive_spans: Vec<Span>,
    /// Which buckets the negative counts are of.
    pub negative_spans: Vec<Span>,
    /// Upper bounds of custom buckets: finite, strictly increasing; +Inf is implied. Bits.
    pub custom_values: Vec<u64>,
}

/// Counts of observations: one for each bucket that a span covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Counts {
    /// Of an ordinary histogram: absolute, none negative, none over `i64::MAX`.
    Integer {
        /// All observations.
        count: u64,
        /// Those in the zero bucket.
        zero: u64,
        /// Those in each positive bucket, from 0 upwards.
        positive: Vec<i64>,
        /// Those in each negative bucket, from 0 downwards.
        negative: Vec<i64>,
    },
    /// Of a calculated or gauge histogram: none below 0, NaN possible. Bits.
    Float {
        /// All observations.
        count: u64,
        /// Those in the zero bucket.
        zero: u64,
        /// Those in each positive bucket, from 0 upwards.
        positive: Vec<u64>,
        /// Those in each negative bucket, from 0 downwards.
        negative: Vec<u64>,
    },
}

/// What the sender knows about counter resets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ResetHint {
    /// Nothing: compare with the histogram before.
    #[default]
    Unknown,
    /// The first histogram after a reset.
    Yes,
    /// No reset since the histogram before.
    No,
    /// A gauge histogram: there are no resets.
    Gauge,
}

/// A run of neighbouring buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// Buckets left out since the span before; of the first span, the index of its first bucket.
    pub offset: i32,
    /// Buckets in the run.
    pub length: u32,
}

impl Histogram {
    /// The checks of Prometheus (`model/histogram`, `Validate`), and that integers fit the tables. Float counts are not added up: rounding
    /// would refuse good histograms.
    ///
    /// # Errors
    ///
    /// `histogram_…` [`Reason`](crate::Reason)s.
    pub fn validate(&self) -> Result<(), Invalid> {
        validate::validate(self)
    }

    /// Whether this is a stale marker: the end of its series.
    pub fn is_stale(&self) -> bool {
        self.sum == STALE_NAN
    }
}

impl ResetHint {
    /// The name, as the protocol writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Yes => "yes",
            Self::No => "no",
            Self::Gauge => "gauge",
        }
    }
}
