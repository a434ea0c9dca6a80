//! One forward scan over a request.
//!
//! ```text
//! 1.0  prometheus.WriteRequest          1 timeseries*   (2 reserved)   3 metadata*
//! 2.0  io.prometheus.write.v2.Request   (1–3 reserved)  4 symbols*     5 timeseries*
//! ```
//!
//! 2.0 is scanned once more beforehand, from field to field: symbols may follow the series that refer to them. Fields
//! are skipped when unknown, but not when they are those of the other protocol: a wrong Content-Type must not end in an
//! acknowledged nothing.

use std::sync::Arc;

use promarchive_model::Protocol;

use super::DecodeError;
use super::cursor::{BYTES, Cursor, field, key};
use super::metadata::MetadataEntries;
use super::series::TimeSeries;

const V1_SERIES: u32 = key(1, BYTES);
const V1_KNOWN: &[u32] = &[1, 3];
const V2_SYMBOLS: u32 = key(4, BYTES);
const V2_SERIES: u32 = key(5, BYTES);
const V2_KNOWN: &[u32] = &[4, 5];

pub(super) const V1_METADATA: u32 = key(3, BYTES);
const V1_RESERVED: u32 = key(2, BYTES);

/// Reads a decompressed request, series by series.
#[derive(Debug)]
pub struct Decoder<'a> {
    protocol: Protocol,
    body: &'a [u8],
    cursor: Cursor<'a>,
    symbols: Arc<[&'a [u8]]>,
    series: TimeSeries<'a>,
}

impl<'a> Decoder<'a> {
    /// Prepares to read `body`; of 2.0, collects the symbols.
    ///
    /// # Errors
    ///
    /// 2.0 only: broken framing between the top-level fields, a first symbol that is not empty, fields of 1.0.
    pub fn new(protocol: Protocol, body: &'a [u8]) -> Result<Self, DecodeError> {
        let symbols = match protocol {
            Protocol::V1 => Arc::default(),
            Protocol::V2 => collect_symbols(body)?,
        };
        Ok(Self { protocol, body, cursor: Cursor::new(body, "request"), symbols, series: TimeSeries::new(protocol) })
    }

    /// The symbols of a 2.0 request, in the order of the wire, not yet checked to be UTF-8; none in 1.0.
    ///
    /// Shared, so that it can be held across [`Self::next_series`].
    pub fn symbols(&self) -> Arc<[&'a [u8]]> {
        Arc::clone(&self.symbols)
    }

    /// The next series, valid until the next call: its vectors are reused. After an error, there is nothing more to
    /// read.
    ///
    /// # Errors
    ///
    /// Broken framing of the request, or fields of the other protocol. What is in the series is not judged here.
    pub fn next_series(&mut self) -> Result<Option<&TimeSeries<'a>>, DecodeError> {
        let found = read_next(self.protocol, &mut self.cursor, &mut self.series)?;
        Ok(found.then_some(&self.series))
    }

    /// The same into a series of the caller's, whose vectors are reused; false when there is none left.
    ///
    /// # Errors
    ///
    /// As [`Self::next_series`].
    pub fn read_series(&mut self, into: &mut TimeSeries<'a>) -> Result<bool, DecodeError> {
        read_next(self.protocol, &mut self.cursor, into)
    }

    /// The metadata entries of a 1.0 request, in the order of the wire; independent of the series. In 2.0 they come
    /// with the series.
    pub fn metadata(&self) -> MetadataEntries<'a> {
        match self.protocol {
            Protocol::V1 => MetadataEntries::new(self.body),
            Protocol::V2 => MetadataEntries::new(&[]),
        }
    }
}

#[inline]
fn read_next<'a>(
    protocol: Protocol,
    cursor: &mut Cursor<'a>,
    series: &mut TimeSeries<'a>,
) -> Result<bool, DecodeError> {
    match protocol {
        Protocol::V1 => next_v1(cursor, series),
        Protocol::V2 => next_v2(cursor, series),
    }
}

fn next_v1<'a>(cursor: &mut Cursor<'a>, series: &mut TimeSeries<'a>) -> Result<bool, DecodeError> {
    while let Some(key) = cursor.key()? {
        match key {
            V1_SERIES => {
                series.read_v1(cursor.message("time series")?)?;
                return Ok(true);
            }
            V1_METADATA => drop(cursor.bytes()?),
            V2_SYMBOLS | V2_SERIES => return Err(wrong_protocol(key, Protocol::V1)),
            other => cursor.skip(other, V1_KNOWN)?,
        }
    }
    Ok(false)
}

fn next_v2<'a>(cursor: &mut Cursor<'a>, series: &mut TimeSeries<'a>) -> Result<bool, DecodeError> {
    while let Some(key) = cursor.key()? {
        match key {
            V2_SERIES => {
                series.read_v2(cursor.message("time series")?)?;
                return Ok(true);
            }
            V2_SYMBOLS => drop(cursor.bytes()?),
            other => cursor.skip(other, V2_KNOWN)?,
        }
    }
    Ok(false)
}

fn collect_symbols(body: &[u8]) -> Result<Arc<[&[u8]]>, DecodeError> {
    let mut symbols = Vec::new();
    let mut any_series = false;
    let mut cursor = Cursor::new(body, "request");
    let mut left = cursor.max_fields();
    while let Some(key) = cursor.key()? {
        match key {
            V2_SYMBOLS => {
                cursor.count_field(&mut left)?;
                symbols.push(cursor.bytes()?);
            }
            V2_SERIES => {
                any_series = true;
                cursor.bytes()?;
            }
            V1_SERIES | V1_RESERVED | V1_METADATA => return Err(wrong_protocol(key, Protocol::V2)),
            other => cursor.skip(other, V2_KNOWN)?,
        }
    }
    match symbols.first() {
        Some(first) if !first.is_empty() => Err(DecodeError::FirstSymbol),
        None if any_series => Err(DecodeError::FirstSymbol),
        _ => Ok(symbols.into()),
    }
}

#[cold]
fn wrong_protocol(key: u32, claimed: Protocol) -> DecodeError {
    DecodeError::WrongProtocol { field: field(key), expected: claimed.as_str() }
}
