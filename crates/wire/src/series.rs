//! One `TimeSeries` message, read in place.
//!
//! ```text
//! TimeSeries  1.0: 1 labels*       2 samples*  3 exemplars*   4 histograms*
//!             2.0: 1 labels_refs*  2 samples*  3 histograms*  4 exemplars*  5 metadata
//!                                                           6 created_timestamp (up to rc.3)
//! Sample      1 value (double)  2 timestamp (ms)  3 start_timestamp (ms; 2.0)
//! ```
//!
//! Labels are stepped over, histograms and exemplars too: only their extents are kept. Samples and histograms of one
//! message are both kept.

use promarchive_model::{Protocol, Sample};

use super::Malformed;
use super::cursor::{BYTES, Cursor, FIXED64, VARINT, key};
use super::exemplar::RawExemplar;
use super::histogram::RawHistogram;
use super::labels::RawLabels;
use super::metadata::SeriesMetadata;

const LABELS: u32 = key(1, BYTES);
const V1_SAMPLE: u32 = key(2, BYTES);
const V1_EXEMPLAR: u32 = key(3, BYTES);
const V1_HISTOGRAM: u32 = key(4, BYTES);
const V1_KNOWN: &[u32] = &[1, 2, 3, 4];

const LABEL_REFS: u32 = key(1, BYTES);
const LABEL_REF: u32 = key(1, VARINT);
const V2_SAMPLE: u32 = key(2, BYTES);
const V2_HISTOGRAM: u32 = key(3, BYTES);
const V2_EXEMPLAR: u32 = key(4, BYTES);
const V2_METADATA: u32 = key(5, BYTES);
const V2_CREATED: u32 = key(6, VARINT);
const V2_KNOWN: &[u32] = &[1, 2, 3, 4, 5, 6];

const VALUE: u32 = key(1, FIXED64);
const TIMESTAMP: u32 = key(2, VARINT);
const START_TIMESTAMP: u32 = key(3, VARINT);
const SAMPLE_KNOWN: &[u32] = &[1, 2, 3];

/// One series of a request. All vectors are scratch, reused for the next series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeSeries<'a> {
    /// The labels as sent.
    pub labels: RawLabels<'a>,
    /// Float samples, in the order of the wire.
    pub samples: Vec<Sample>,
    /// Native histograms, in the order of the wire.
    pub histograms: Vec<RawHistogram<'a>>,
    /// Exemplars, in the order of the wire.
    pub exemplars: Vec<RawExemplar<'a>>,
    /// 2.0 only; none when nothing in it is set.
    pub metadata: Option<SeriesMetadata>,
    /// Milliseconds since 1970 UTC, 0: none. Up to 2.0-rc.3; already applied to `samples`, to be passed to
    /// [`RawHistogram::parse`].
    pub created_timestamp: i64,
}

impl<'a> TimeSeries<'a> {
    /// A series without anything.
    pub fn new(protocol: Protocol) -> Self {
        Self {
            labels: RawLabels::none(protocol),
            samples: Vec::new(),
            histograms: Vec::new(),
            exemplars: Vec::new(),
            metadata: None,
            created_timestamp: 0,
        }
    }

    fn clear(&mut self, protocol: Protocol) {
        self.labels = RawLabels::none(protocol);
        self.samples.clear();
        self.histograms.clear();
        self.exemplars.clear();
        self.metadata = None;
        self.created_timestamp = 0;
    }

    pub(super) fn read_v1(&mut self, mut message: Cursor<'a>) -> Result<(), Malformed> {
        self.clear(Protocol::V1);
        let mut left = message.max_fields();
        let mut start = message.rest();
        while let Some(key) = message.key()? {
            message.count_field(&mut left)?;
            match key {
                LABELS => {
                    message.bytes()?;
                    message.skip_run(LABELS)?;
                    self.labels.push(message.since(start));
                }
                V1_SAMPLE => self.samples.push(read_sample(message.message("sample")?)?),
                V1_EXEMPLAR => self.exemplars.push(RawExemplar::new(Protocol::V1, message.bytes()?)),
                V1_HISTOGRAM => self.histograms.push(RawHistogram(message.bytes()?)),
                other => message.skip(other, V1_KNOWN)?,
            }
            start = message.rest();
        }
        Ok(())
    }

    pub(super) fn read_v2(&mut self, mut message: Cursor<'a>) -> Result<(), Malformed> {
        self.clear(Protocol::V2);
        let mut left = message.max_fields();
        while let Some(key) = message.key()? {
            message.count_field(&mut left)?;
            match key {
                LABEL_REFS => self.labels.push(message.bytes()?),
                LABEL_REF => self.labels.push(message.varint_bytes()?),
                V2_SAMPLE => self.samples.push(read_sample(message.message("sample")?)?),
                V2_HISTOGRAM => self.histograms.push(RawHistogram(message.bytes()?)),
                V2_EXEMPLAR => self.exemplars.push(RawExemplar::new(Protocol::V2, message.bytes()?)),
                V2_METADATA => {
                    // A message sent in parts is merged.
                    self.metadata.get_or_insert_default().read(message.message("series metadata")?)?;
                }
                V2_CREATED => self.created_timestamp = message.varint()? as i64,
                other => message.skip(other, V2_KNOWN)?,
            }
        }
        self.metadata.take_if(|metadata| *metadata == SeriesMetadata::default());
        if self.created_timestamp != 0 {
            for sample in self.samples.iter_mut().filter(|sample| sample.start_timestamp == 0) {
                sample.start_timestamp = self.created_timestamp;
            }
        }
        Ok(())
    }
}

/// The same message in both protocols; 1.0 has no start timestamp and does not send one.
#[inline]
fn read_sample(mut message: Cursor<'_>) -> Result<Sample, Malformed> {
    let mut sample = Sample::default();
    while let Some(key) = message.key()? {
        match key {
            VALUE => sample.value = message.fixed64()?,
            TIMESTAMP => sample.timestamp = message.varint()? as i64,
            START_TIMESTAMP => sample.start_timestamp = message.varint()? as i64,
            other => message.skip(other, SAMPLE_KNOWN)?,
        }
    }
    Ok(sample)
}
