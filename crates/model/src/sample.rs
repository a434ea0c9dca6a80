//! Float samples.

/// The bits of the NaN that marks the end of a series, apart from every ordinary NaN.
pub const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;

/// One float sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sample {
    /// Milliseconds since 1970 UTC.
    pub timestamp: i64,
    /// IEEE 754 bits, as sent.
    pub value: u64,
    /// Milliseconds since 1970 UTC, 0: none.
    pub start_timestamp: i64,
}
