//! The decoder against prost, part by part: what prost reads is what the decoder reads, bit for bit, and what the decoder refuses
//! is refused for a reason that the specification gives ([`rules`]).
//!
//! The parts are decoded one by one, because the decoder refuses one series, histogram or exemplar where prost gives up the whole
//! request: [`wire`] has messages whose parts are bytes. Three differences are meant:
//!
//! - Groups (wire types 3 and 4) and numbers over 32 bits where 32 are declared are refused; prost skips the first and cuts the
//!   second.
//! - Fields of the other protocol refuse the whole request.
//! - A symbol that is not UTF-8 refuses what refers to it, and nothing else.

mod rules;
mod v1;
mod v2;
mod wire;

use promarchive_model::{Histogram, Invalid, Protocol, Reason, Sample};
use promarchive_wire::{DecodeError, Decoder, Exemplar, LabelSet, Metadata, SeriesMetadata};
pub use v1::decode_v1;
pub use v2::decode_v2;

use crate::memory::within;

type Pairs = Vec<(String, String)>;

/// All that can be read of one series.
#[derive(Debug)]
struct Read {
    labels: Result<(String, Pairs), Invalid>,
    samples: Vec<Sample>,
    histograms: Vec<Result<Histogram, Invalid>>,
    exemplars: Vec<Result<(Pairs, u64, i64), Invalid>>,
    metadata: Option<SeriesMetadata>,
}

/// What a request of this many bytes may take while it is read, in bytes. Samples, references and buckets take up to 32 bytes for
/// two, and three times that when a vector has just grown: see `remote_write`.
pub(crate) fn memory_limit(body: &[u8]) -> usize {
    (64 << 10) + 64 * body.len()
}

/// Reads everything once and keeps nothing, as a receiver does that sees each series for the first time.
pub(crate) fn walk(protocol: Protocol, body: &[u8]) -> Result<(), DecodeError> {
    within(memory_limit(body), || {
        let mut decoder = Decoder::new(protocol, body)?;
        let symbols = decoder.symbols();
        while let Some(series) = decoder.next_series()? {
            let labels = LabelSet::parse(&series.labels, &symbols);
            let description = series.labels.describe(&symbols);
            assert!(description.len() <= 160 && !description.chars().any(char::is_control), "{description}");
            for raw in &series.histograms {
                let _ = raw.parse(series.created_timestamp);
            }
            for raw in &series.exemplars {
                let _ = Exemplar::parse(raw, &symbols);
            }
            if let (Some(metadata), Ok(set)) = (series.metadata, &labels) {
                let _ = Metadata::of_series(set.metric, metadata, &symbols);
            }
        }
        for raw in decoder.metadata() {
            let _ = Metadata::parse(raw?);
        }
        Ok(())
    })
}

/// Reads everything, and keeps it.
fn read(protocol: Protocol, body: &[u8]) -> Result<Vec<Read>, DecodeError> {
    let mut decoder = Decoder::new(protocol, body)?;
    let symbols = decoder.symbols();
    let mut all = Vec::new();
    while let Some(series) = decoder.next_series()? {
        let exemplars = series.exemplars.iter().map(|raw| Exemplar::parse(raw, &symbols));
        all.push(Read {
            labels: LabelSet::parse(&series.labels, &symbols).map(|set| (set.metric.to_owned(), owned(&set.labels))),
            samples: series.samples.clone(),
            histograms: series.histograms.iter().map(|raw| raw.parse(series.created_timestamp)).collect(),
            exemplars: exemplars.map(|result| result.map(|e| (owned(&e.labels), e.value, e.timestamp))).collect(),
            metadata: series.metadata,
        });
    }
    Ok(all)
}

fn owned(pairs: &[(&str, &str)]) -> Pairs {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// What a part must be: something, or refused for one of these reasons.
type Expected<T> = Result<T, Vec<Reason>>;

fn assert_read<T: PartialEq + std::fmt::Debug>(what: &str, read: &Result<T, Invalid>, expected: &Expected<T>) {
    match (read, expected) {
        (Ok(read), Ok(expected)) => assert_eq!(read, expected, "{what} differ"),
        (Err(invalid), Err(reasons)) => {
            assert!(reasons.contains(&invalid.reason), "{what}: refused as {invalid}, not as one of {reasons:?}");
        }
        (Ok(read), Err(reasons)) => panic!("{what}: accepted {read:?} in spite of {reasons:?}"),
        (Err(invalid), Ok(expected)) => panic!("{what}: refused as {invalid}, though prost reads {expected:?}"),
    }
}

fn assert_all<T: PartialEq + std::fmt::Debug>(what: &str, read: &[Result<T, Invalid>], expected: &[Expected<T>]) {
    assert_eq!(read.len(), expected.len(), "number of {what}");
    read.iter().zip(expected).for_each(|(read, expected)| assert_read(what, read, expected));
}
