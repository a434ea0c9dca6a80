//! From the message to a [`Histogram`]: framing, one kind of counts, differences made absolute, then the checks. One message in both protocols.
//!
//! ```text
//! 1 count_int (u64)       2 count_float (double)            3 sum    4 schema (sint32)    5 zero_threshold
//! 6 zero_count_int (u64)  7 zero_count_float (double)       14 reset_hint   15 timestamp   17 start_timestamp (2.0)
//! 8 negative_spans*       9 negative_deltas* (sint64)       10 negative_counts* (double)
//! 11 positive_spans*     12 positive_deltas* (sint64)       13 positive_counts* (double)
//! 16 custom_values* (double)                                BucketSpan: 1 offset (sint32)  2 length (u32)
//! ```

use promarchive_model::{Counts, Histogram, Invalid, Reason, ResetHint, Span};

use super::Malformed;
use super::cursor::{BYTES, Cursor, FIXED64, VARINT, key, zigzag};

const COUNT_INT: u32 = key(1, VARINT);
const COUNT_FLOAT: u32 = key(2, FIXED64);
const SUM: u32 = key(3, FIXED64);
const SCHEMA: u32 = key(4, VARINT);
const ZERO_THRESHOLD: u32 = key(5, FIXED64);
const ZERO_COUNT_INT: u32 = key(6, VARINT);
const ZERO_COUNT_FLOAT: u32 = key(7, FIXED64);
const NEGATIVE_SPAN: u32 = key(8, BYTES);
const NEGATIVE_DELTAS: u32 = key(9, BYTES);
const NEGATIVE_DELTA: u32 = key(9, VARINT);
const NEGATIVE_COUNTS: u32 = key(10, BYTES);
const NEGATIVE_COUNT: u32 = key(10, FIXED64);
const POSITIVE_SPAN: u32 = key(11, BYTES);
const POSITIVE_DELTAS: u32 = key(12, BYTES);
const POSITIVE_DELTA: u32 = key(12, VARINT);
const POSITIVE_COUNTS: u32 = key(13, BYTES);
const POSITIVE_COUNT: u32 = key(13, FIXED64);
const RESET_HINT: u32 = key(14, VARINT);
const TIMESTAMP: u32 = key(15, VARINT);
const CUSTOM_VALUES: u32 = key(16, BYTES);
const CUSTOM_VALUE: u32 = key(16, FIXED64);
const START_TIMESTAMP: u32 = key(17, VARINT);
const KNOWN: &[u32] = &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17];

const SPAN_OFFSET: u32 = key(1, VARINT);
const SPAN_LENGTH: u32 = key(2, VARINT);

/// A histogram as sent: the bytes of one `Histogram` message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawHistogram<'a>(pub &'a [u8]);

impl RawHistogram<'_> {
    /// Parses and checks. `created_timestamp` is that of the series (0: none), for histograms that have no start
    /// timestamp.
    ///
    /// # Errors
    ///
    /// `histogram_…` [`Reason`]s. Allocates no more than the message's size times 8, whatever it declares.
    pub fn parse(&self, created_timestamp: i64) -> Result<Histogram, Invalid> {
        let histogram = read(self, created_timestamp)?;
        histogram.validate()?;
        Ok(histogram)
    }
}

/// A count: the member of the `oneof` that came last.
#[derive(Clone, Copy)]
enum Number {
    Integer(u64),
    Float(u64),
}

/// The fields of the message.
#[derive(Default)]
struct Fields {
    count: Option<Number>,
    zero: Option<Number>,
    sum: u64,
    schema: i32,
    zero_threshold: u64,
    negative: Side,
    positive: Side,
    reset_hint: i32,
    timestamp: i64,
    start_timestamp: i64,
    custom_values: Vec<u64>,
}

/// The buckets above or below 0.
#[derive(Default)]
struct Side {
    spans: Vec<Span>,
    deltas: Vec<i64>,
    counts: Vec<u64>,
}

fn read(raw: &RawHistogram<'_>, created_timestamp: i64) -> Result<Histogram, Invalid> {
    let mut fields = Fields::default();
    fields
        .read(Cursor::new(raw.0, "histogram"))
        .map_err(|malformed| Invalid::new(Reason::HistogramMalformed, malformed.to_string()))?;
    let Fields { count, zero, positive, negative, .. } = fields;
    let counts = counts(count, zero, (positive.deltas, positive.counts), (negative.deltas, negative.counts))?;
    Ok(Histogram {
        timestamp: fields.timestamp,
        start_timestamp: if fields.start_timestamp == 0 { created_timestamp } else { fields.start_timestamp },
        schema: fields.schema,
        zero_threshold: fields.zero_threshold,
        sum: fields.sum,
        reset_hint: reset_hint(fields.reset_hint)?,
        counts,
        positive_spans: positive.spans,
        negative_spans: negative.spans,
        custom_values: fields.custom_values,
    })
}

impl Fields {
    fn read(&mut self, mut message: Cursor<'_>) -> Result<(), Malformed> {
        while let Some(key) = message.key()? {
            match key {
                COUNT_INT => self.count = Some(Number::Integer(message.varint()?)),
                COUNT_FLOAT => self.count = Some(Number::Float(message.fixed64()?)),
                SUM => self.sum = message.fixed64()?,
                SCHEMA => self.schema = message.zigzag32()?,
                ZERO_THRESHOLD => self.zero_threshold = message.fixed64()?,
                ZERO_COUNT_INT => self.zero = Some(Number::Integer(message.varint()?)),
                ZERO_COUNT_FLOAT => self.zero = Some(Number::Float(message.fixed64()?)),
                NEGATIVE_SPAN => self.negative.spans.push(read_span(message.message("bucket span")?)?),
                NEGATIVE_DELTAS => message.packed_zigzag64(&mut self.negative.deltas)?,
                NEGATIVE_DELTA => self.negative.deltas.push(zigzag(message.varint()?)),
                NEGATIVE_COUNTS => message.packed_fixed64(&mut self.negative.counts)?,
                NEGATIVE_COUNT => self.negative.counts.push(message.fixed64()?),
                POSITIVE_SPAN => self.positive.spans.push(read_span(message.message("bucket span")?)?),
                POSITIVE_DELTAS => message.packed_zigzag64(&mut self.positive.deltas)?,
                POSITIVE_DELTA => self.positive.deltas.push(zigzag(message.varint()?)),
                POSITIVE_COUNTS => message.packed_fixed64(&mut self.positive.counts)?,
                POSITIVE_COUNT => self.positive.counts.push(message.fixed64()?),
                // Enumerations are int32, negative ones with their sign extended.
                RESET_HINT => self.reset_hint = message.varint()? as i32,
                TIMESTAMP => self.timestamp = message.varint()? as i64,
                CUSTOM_VALUES => message.packed_fixed64(&mut self.custom_values)?,
                CUSTOM_VALUE => self.custom_values.push(message.fixed64()?),
                START_TIMESTAMP => self.start_timestamp = message.varint()? as i64,
                other => message.skip(other, KNOWN)?,
            }
        }
        Ok(())
    }
}

fn read_span(mut message: Cursor<'_>) -> Result<Span, Malformed> {
    let mut span = Span::default();
    while let Some(key) = message.key()? {
        match key {
            SPAN_OFFSET => span.offset = message.zigzag32()?,
            SPAN_LENGTH => span.length = message.varint32()?,
            other => message.skip(other, &[1, 2])?,
        }
    }
    Ok(span)
}

fn reset_hint(number: i32) -> Result<ResetHint, Invalid> {
    Ok(match number {
        0 => ResetHint::Unknown,
        1 => ResetHint::Yes,
        2 => ResetHint::No,
        3 => ResetHint::Gauge,
        other => return Err(Invalid::new(Reason::HistogramResetHint, format!("reset hint {other}"))),
    })
}

/// The counts are of the total's kind; no total is the integer 0. What is there of the other kind would be lost, unless
/// it is an explicit 0. Each side: (integer differences, float counts).
fn counts(
    count: Option<Number>,
    zero: Option<Number>,
    positive: (Vec<i64>, Vec<u64>),
    negative: (Vec<i64>, Vec<u64>),
) -> Result<Counts, Invalid> {
    let any_integers = !positive.0.is_empty() || !negative.0.is_empty();
    let any_floats = !positive.1.is_empty() || !negative.1.is_empty();
    let zero = zero.unwrap_or(Number::Integer(0));
    match (count.unwrap_or(Number::Integer(0)), zero) {
        (Number::Integer(count), Number::Integer(zero) | Number::Float(zero @ 0)) if !any_floats => {
            let (positive, negative) = (absolute(positive.0)?, absolute(negative.0)?);
            Ok(Counts::Integer { count: signed(count)?, zero: signed(zero)?, positive, negative })
        }
        (Number::Float(count), Number::Float(zero) | Number::Integer(zero @ 0)) if !any_integers => {
            Ok(Counts::Float { count, zero, positive: positive.1, negative: negative.1 })
        }
        _ => Err(Invalid::new(Reason::HistogramMixedCounts, "the histogram has both integer and float counts")),
    }
}

/// A count that a signed column can hold.
fn signed(count: u64) -> Result<u64, Invalid> {
    if count > i64::MAX as u64 { Err(too_large(count)) } else { Ok(count) }
}

/// Makes the differences the counts that they stand for. The first is the difference to 0.
fn absolute(mut buckets: Vec<i64>) -> Result<Vec<i64>, Invalid> {
    let mut last = 0_i64;
    for bucket in &mut buckets {
        // The last one is not negative: only a sum too large overflows.
        last = last.checked_add(*bucket).ok_or_else(|| too_large(i128::from(last) + i128::from(*bucket)))?;
        if last < 0 {
            return Err(Invalid::new(Reason::HistogramNegativeBucket, format!("the count of a bucket is {last}")));
        }
        *bucket = last;
    }
    Ok(buckets)
}

fn too_large(count: impl std::fmt::Display) -> Invalid {
    Invalid::new(Reason::HistogramCountTooLarge, format!("count {count} exceeds {}", i64::MAX))
}
