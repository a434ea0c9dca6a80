//! Metadata: what a metric is, for people.
//!
//! ```text
//! 1.0  MetricMetadata, field 3 of the request:    1 type  2 metric_family_name  4 help  5 unit
//! 2.0  Metadata, field 5 of each TimeSeries:      1 type  3 help_ref  4 unit_ref  (indices into the symbols)
//! ```

use promarchive_model::{Invalid, Reason};

use super::cursor::{BYTES, Cursor, VARINT, key};
use super::decode::V1_METADATA;
use super::labels::utf8;
use super::{DecodeError, Malformed};

const TYPE: u32 = key(1, VARINT);
const V1_NAME: u32 = key(2, BYTES);
const V1_HELP: u32 = key(4, BYTES);
const V1_UNIT: u32 = key(5, BYTES);
const V1_KNOWN: &[u32] = &[1, 2, 4, 5];
const V2_HELP_REF: u32 = key(3, VARINT);
const V2_UNIT_REF: u32 = key(4, VARINT);
const V2_KNOWN: &[u32] = &[1, 3, 4];

/// The type of a metric; the same numbers in both protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MetricKind {
    /// Not known or not specified.
    Unknown,
    /// Counter.
    Counter,
    /// Gauge.
    Gauge,
    /// Histogram, classic or native.
    Histogram,
    /// Gauge histogram.
    GaugeHistogram,
    /// Summary.
    Summary,
    /// Info.
    Info,
    /// State set.
    StateSet,
}

impl MetricKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Unknown,
        Self::Counter,
        Self::Gauge,
        Self::Histogram,
        Self::GaugeHistogram,
        Self::Summary,
        Self::Info,
        Self::StateSet,
    ];

    /// The name, as Prometheus writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
        }
    }

    fn from_wire(number: i32) -> Result<Self, Invalid> {
        Ok(match number {
            0 => Self::Unknown,
            1 => Self::Counter,
            2 => Self::Gauge,
            3 => Self::Histogram,
            4 => Self::GaugeHistogram,
            5 => Self::Summary,
            6 => Self::Info,
            7 => Self::StateSet,
            other => return Err(Invalid::new(Reason::InvalidMetadata, format!("metric type {other}"))),
        })
    }
}

/// Metadata of a 2.0 series as sent: a number and two references, not checked yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SeriesMetadata {
    /// The metric type's number.
    pub kind: i32,
    /// Index of the help text in the symbols, 0: none.
    pub help_ref: u32,
    /// Index of the unit in the symbols, 0: none.
    pub unit_ref: u32,
}

impl SeriesMetadata {
    pub(super) fn read(&mut self, mut message: Cursor<'_>) -> Result<(), Malformed> {
        while let Some(key) = message.key()? {
            match key {
                // Enumerations are int32, negative ones with their sign extended.
                TYPE => self.kind = message.varint()? as i32,
                V2_HELP_REF => self.help_ref = message.varint32()?,
                V2_UNIT_REF => self.unit_ref = message.varint32()?,
                other => message.skip(other, V2_KNOWN)?,
            }
        }
        Ok(())
    }
}

/// A metadata entry of 1.0 as sent: the bytes of one `MetricMetadata` message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawMetadata<'a>(pub &'a [u8]);

/// The metadata entries of a 1.0 request.
#[derive(Clone, Debug)]
pub struct MetadataEntries<'a> {
    cursor: Cursor<'a>,
}

impl<'a> MetadataEntries<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self { cursor: Cursor::new(body, "request") }
    }

    fn read_next(&mut self) -> Result<Option<RawMetadata<'a>>, Malformed> {
        while let Some(key) = self.cursor.key()? {
            match key {
                V1_METADATA => return Ok(Some(RawMetadata(self.cursor.bytes()?))),
                other => self.cursor.skip(other, &[3])?,
            }
        }
        Ok(None)
    }
}

impl<'a> Iterator for MetadataEntries<'a> {
    type Item = Result<RawMetadata<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.read_next();
        if next.is_err() {
            // Nothing can be read behind a fault.
            self.cursor = Cursor::new(&[], "request");
        }
        next.map_err(DecodeError::from).transpose()
    }
}

/// What a metric is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Metadata<'a> {
    /// 1.0: the name of the metric family; 2.0: the metric name of the series. Not empty.
    pub metric: &'a str,
    /// Its type.
    pub kind: MetricKind,
    /// Its help text; may be empty.
    pub help: &'a str,
    /// Its unit; may be empty.
    pub unit: &'a str,
}

impl<'a> Metadata<'a> {
    /// Bytes of its texts.
    pub fn text_bytes(&self) -> usize {
        self.metric.len() + self.help.len() + self.unit.len()
    }

    /// Parses an entry of 1.0.
    ///
    /// # Errors
    ///
    /// [`Reason::InvalidMetadata`]: broken framing, an unknown type, no name; [`Reason::InvalidUtf8`].
    pub fn parse(raw: RawMetadata<'a>) -> Result<Self, Invalid> {
        let [mut name, mut help, mut unit] = [&[][..]; 3];
        let mut kind = 0;
        let mut read = || -> Result<(), Malformed> {
            let mut message = Cursor::new(raw.0, "metadata entry");
            while let Some(key) = message.key()? {
                match key {
                    TYPE => kind = message.varint()? as i32,
                    V1_NAME => name = message.bytes()?,
                    V1_HELP => help = message.bytes()?,
                    V1_UNIT => unit = message.bytes()?,
                    other => message.skip(other, V1_KNOWN)?,
                }
            }
            Ok(())
        };
        read().map_err(|malformed| Invalid::new(Reason::InvalidMetadata, malformed.to_string()))?;
        if name.is_empty() {
            return Err(Invalid::new(Reason::InvalidMetadata, "the metric name is missing"));
        }
        Ok(Self {
            metric: utf8("metric name", name)?,
            kind: MetricKind::from_wire(kind)?,
            help: utf8("help text", help)?,
            unit: utf8("unit", unit)?,
        })
    }

    /// Resolves what a 2.0 series says about its `metric`; `symbols` are those of the same request.
    ///
    /// # Errors
    ///
    /// [`Reason::InvalidMetadata`]: an unknown type, a reference out of range; [`Reason::InvalidUtf8`].
    pub fn of_series(metric: &'a str, series: SeriesMetadata, symbols: &[&'a [u8]]) -> Result<Self, Invalid> {
        let resolve = |what, reference: u32| {
            let symbol = symbols.get(reference as usize).ok_or_else(|| {
                let detail =
                    format!("{what} reference {reference} is out of range: there are {} symbols", symbols.len());
                Invalid::new(Reason::InvalidMetadata, detail)
            })?;
            utf8(what, symbol)
        };
        Ok(Self {
            metric,
            kind: MetricKind::from_wire(series.kind)?,
            help: resolve("help text", series.help_ref)?,
            unit: resolve("unit", series.unit_ref)?,
        })
    }
}
