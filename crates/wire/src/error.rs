//! Faults that make a whole request unreadable.

/// Entries of a request that are taken without a look at its size.
pub const FREE_ENTRIES: usize = 1 << 17;
/// Bytes of the decoded request that entries must take on average when there are more. A series with one label and one sample of the value
/// 0 takes 15 bytes in remote write 2.0, where nothing is shorter.
pub const ENTRY_BYTES: usize = 8;

/// A request that cannot be decoded: answer 400. Its text is one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The body is no snappy block.
    #[error("the body is not a valid snappy block: {0}")]
    Snappy(String),
    /// The body declares more decoded bytes than are accepted.
    #[error("the decoded length of {declared} bytes exceeds the limit of {limit} bytes")]
    TooLarge {
        /// Bytes, as the body declares.
        declared: usize,
        /// Bytes accepted.
        limit: usize,
    },
    /// The protobuf framing is broken.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// More series, samples, histograms, exemplars and metadata than a request of its size has.
    #[error(
        "more than {entries} series, samples and other entries in {bytes} bytes: an entry must take at least \
         {ENTRY_BYTES} bytes on average; up to {FREE_ENTRIES} entries of any size are allowed"
    )]
    TooManyEntries {
        /// So many are in it, and more.
        entries: usize,
        /// Length of the decoded request.
        bytes: usize,
    },
    /// New series whose labels, written out, take far more than the request: it names one text many times.
    #[error("the label text of the new series in this request exceeds {limit} bytes: send fewer series per request")]
    TooMuchLabelText {
        /// Bytes of them that are accepted.
        limit: usize,
    },
    /// New series that take more memory than one request may.
    #[error(
        "the new series in this request need more than {} MiB of memory, which is half of the memory for series and \
         rows: send fewer series per request, or increase memoryLimit", limit >> 20
    )]
    TooManyNewSeries {
        /// Bytes that they may take.
        limit: u64,
    },
    /// A 2.0 request whose `symbols[0]` is not the empty string.
    #[error("symbols[0] must be the empty string")]
    FirstSymbol,
    /// The fields are those of the other protocol: skipping them as unknown would lose the samples silently.
    #[error(
        "field {field} does not belong to remote write {expected}: the Content-Type header names the wrong message"
    )]
    WrongProtocol {
        /// Number of the field.
        field: u32,
        /// The version that the request claims to be.
        expected: &'static str,
    },
}

/// Broken protobuf framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed protobuf: {fault} at byte {offset} ({what})")]
pub struct Malformed {
    /// What is wrong.
    pub fault: Fault,
    /// Where, in bytes: from the start of the decompressed body, or of the message for those parsed apart (label sets,
    /// histograms, exemplars, metadata).
    pub offset: usize,
    /// The message that was being read.
    pub what: &'static str,
}

/// What is wrong with the framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The message ends inside a field.
    #[error("truncated")]
    Truncated,
    /// A varint over 10 bytes or 64 bits, or over 32 where only those fit.
    #[error("integer too long")]
    IntegerTooLong,
    /// More fields, and shorter ones, than can differ from each other: they would take far more memory than bytes.
    #[error("too many fields")]
    TooManyFields,
    /// Field number 0, or over 2²⁹ − 1.
    #[error("invalid field number")]
    FieldNumber,
    /// A wire type that does not exist, a group, or one that the field does not have.
    #[error("unexpected wire type")]
    WireType,
}
