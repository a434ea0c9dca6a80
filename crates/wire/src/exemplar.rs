//! Exemplars.
//!
//! ```text
//! Exemplar  1.0: 1 labels*  2 value (double)  3 timestamp (ms)      2.0: 1 labels_refs*, the rest alike
//! ```

use promarchive_model::{Invalid, Protocol, Reason};

use super::Malformed;
use super::cursor::{BYTES, Cursor, FIXED64, VARINT, key};
use super::labels::{RawLabels, canonical};

const LABELS: u32 = key(1, BYTES);
const LABEL_REF: u32 = key(1, VARINT);
const VALUE: u32 = key(2, FIXED64);
const TIMESTAMP: u32 = key(3, VARINT);
const KNOWN: &[u32] = &[1, 2, 3];

/// An exemplar as sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawExemplar<'a> {
    protocol: Protocol,
    message: &'a [u8],
}

impl<'a> RawExemplar<'a> {
    /// The bytes of one `Exemplar` message of this protocol.
    pub fn new(protocol: Protocol, message: &'a [u8]) -> Self {
        Self { protocol, message }
    }
}

/// An exemplar, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exemplar<'a> {
    /// (name, value), sorted by name in byte order, no name twice, nothing empty; often none at all.
    pub labels: Vec<(&'a str, &'a str)>,
    /// IEEE 754 bits, as sent.
    pub value: u64,
    /// Milliseconds since 1970 UTC, 0 when the sender gave none. Not checked here.
    pub timestamp: i64,
}

impl<'a> Exemplar<'a> {
    /// Parses and checks. `symbols` are those of the same request, empty for 1.0.
    ///
    /// # Errors
    ///
    /// [`Reason::InvalidExemplar`], with the fault in its labels or framing as detail.
    pub fn parse(raw: &RawExemplar<'a>, symbols: &[&'a [u8]]) -> Result<Self, Invalid> {
        let (labels, value, timestamp) =
            read(raw).map_err(|malformed| Invalid::new(Reason::InvalidExemplar, malformed.to_string()))?;
        let labels = canonical(&labels, symbols)
            .map_err(|invalid| Invalid::new(Reason::InvalidExemplar, invalid.to_string()))?;
        Ok(Self { labels, value, timestamp })
    }
}

fn read<'a>(raw: &RawExemplar<'a>) -> Result<(RawLabels<'a>, u64, i64), Malformed> {
    let (mut labels, mut value, mut timestamp) = (RawLabels::none(raw.protocol), 0, 0);
    let mut message = Cursor::new(raw.message, "exemplar");
    let mut left = message.max_fields();
    let mut start = message.rest();
    while let Some(key) = message.key()? {
        message.count_field(&mut left)?;
        match (key, raw.protocol) {
            (LABELS, Protocol::V1) => {
                message.bytes()?;
                message.skip_run(LABELS)?;
                labels.push(message.since(start));
            }
            (LABELS, Protocol::V2) => labels.push(message.bytes()?),
            (LABEL_REF, Protocol::V2) => labels.push(message.varint_bytes()?),
            (VALUE, _) => value = message.fixed64()?,
            (TIMESTAMP, _) => timestamp = message.varint()? as i64,
            (other, _) => message.skip(other, KNOWN)?,
        }
        start = message.rest();
    }
    Ok((labels, value, timestamp))
}
