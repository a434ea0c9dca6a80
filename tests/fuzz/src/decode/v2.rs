//! Remote write 2.0.

use std::collections::BTreeMap;

use promarchive_model::{Histogram, Protocol, Reason, Sample};
use promarchive_wire::proto::v2;
use promarchive_wire::{Decoder, Metadata, MetricKind, SeriesMetadata};
use prost::Message;

use super::wire::{self, References, V2Exemplar, V2Metadata, V2Request, V2Series, decode, decode_all};
use super::{Expected, Pairs, Read, assert_all, assert_read, read, rules, walk};

/// What one series must be read as.
struct Series {
    labels: Expected<(String, Pairs)>,
    samples: Vec<Sample>,
    histograms: Vec<Expected<Histogram>>,
    exemplars: Vec<Expected<(Pairs, u64, i64)>>,
    metadata: Option<SeriesMetadata>,
}

/// Checks what the decoder makes of a decompressed body.
///
/// # Panics
///
/// If it differs from what prost makes of it.
pub fn decode_v2(body: &[u8]) {
    let walked = walk(Protocol::V2, body);
    let read = read(Protocol::V2, body);
    assert_eq!(walked.is_ok(), read.is_ok(), "read twice, differently");
    let request: V2Request = decode(body).unwrap_or_default();
    let Some(expected) = expected(body, &request) else {
        assert!(read.is_err(), "accepted a broken request: {read:?}");
        return;
    };
    let read = read.expect("prost reads it, part by part");
    assert_eq!(read.len(), expected.len(), "number of series");
    for (read, expected) in read.iter().zip(&expected) {
        assert_series(read, expected);
        if let Some(metadata) = read.metadata {
            assert_metadata(metadata, &request.symbols);
        }
    }
    assert_eq!(Decoder::new(Protocol::V2, body).expect("was read before").metadata().count(), 0);
    assert_generated(body, &read);
}

/// The generated types read the same samples, if they read the request at all.
fn assert_generated(body: &[u8], read: &[Read]) {
    let Ok(whole) = v2::Request::decode(body) else { return };
    assert_eq!(whole.timeseries.len(), read.len(), "number of series, as the generated types have it");
    for (whole, read) in whole.timeseries.iter().zip(read) {
        let samples: Vec<_> = read.samples.iter().map(|sample| (sample.timestamp, sample.value)).collect();
        let expected: Vec<_> = whole.samples.iter().map(|s| (s.timestamp, s.value.to_bits())).collect();
        assert_eq!(samples, expected, "samples, as the generated types have them");
    }
}

fn expected(body: &[u8], request: &V2Request) -> Option<Vec<Series>> {
    decode::<V2Request>(body)?;
    // Series, something reserved, or metadata of 1.0.
    if wire::has_bytes(body, &[1, 2, 3]) {
        return None;
    }
    match request.symbols.first() {
        Some(first) if !first.is_empty() => return None,
        None if !request.timeseries.is_empty() => return None,
        _ => {}
    }
    request.timeseries.iter().map(|bytes| expected_series(bytes, &request.symbols)).collect()
}

fn expected_series(bytes: &[u8], symbols: &[Vec<u8>]) -> Option<Series> {
    let series: V2Series = decode(bytes)?;
    // References are numbers, or packed numbers, and nothing else.
    if wire::has_other_type(bytes, 1, &[0, 2]) {
        return None;
    }
    let created = series.created_timestamp;
    let samples: Vec<wire::Sample> = decode_all(&series.samples)?;
    Some(Series {
        labels: rules::series_labels(match decode::<References>(bytes) {
            Some(references) => labels(&references.labels_refs, symbols),
            // What comes before the broken one may be refused for its own reason.
            None => Err(vec![
                Reason::MalformedLabels,
                Reason::InvalidLabelRefs,
                Reason::InvalidUtf8,
                Reason::EmptyLabelName,
            ]),
        }),
        samples: samples.iter().map(|sample| with_start(sample, created)).collect(),
        histograms: series.histograms.iter().map(|bytes| rules::histogram(bytes, created)).collect(),
        exemplars: series.exemplars.iter().map(|bytes| exemplar(bytes, symbols)).collect(),
        metadata: metadata(&series.metadata)?,
    })
}

fn with_start(sample: &wire::Sample, created: i64) -> Sample {
    let start_timestamp = if sample.start_timestamp == 0 { created } else { sample.start_timestamp };
    Sample { timestamp: sample.timestamp, value: sample.value, start_timestamp }
}

/// All that is said about one metric; the outer `None` for what cannot be read.
fn metadata(parts: &[Vec<u8>]) -> Option<Option<SeriesMetadata>> {
    decode_all::<V2Metadata>(parts)?;
    // Parts are merged: put together, they are one message.
    let merged: V2Metadata = decode(&parts.concat())?;
    if !wire::are_narrow(&parts.concat(), &[3, 4]) {
        return None;
    }
    let (help_ref, unit_ref) = (u32::try_from(merged.help_ref).ok()?, u32::try_from(merged.unit_ref).ok()?);
    let metadata = SeriesMetadata { kind: merged.kind, help_ref, unit_ref };
    Some((metadata != SeriesMetadata::default()).then_some(metadata))
}

fn labels(references: &[u64], symbols: &[Vec<u8>]) -> Expected<BTreeMap<String, String>> {
    let known = references.iter().map_while(|reference| symbols.get(usize::try_from(*reference).ok()?));
    let known: Vec<&[u8]> = known.map(Vec::as_slice).collect();
    let set = rules::labels(known.chunks_exact(2).map(|pair| (pair[0], pair[1])));
    if known.len() == references.len() && known.len().is_multiple_of(2) {
        return set;
    }
    let mut broken = set.err().unwrap_or_default();
    broken.push(Reason::InvalidLabelRefs);
    Err(broken)
}

fn exemplar(bytes: &[u8], symbols: &[Vec<u8>]) -> Expected<(Pairs, u64, i64)> {
    let refused = || vec![Reason::InvalidExemplar];
    let sent: V2Exemplar = decode(bytes).ok_or_else(refused)?;
    let set = labels(&sent.labels_refs, symbols).map_err(|_| refused())?;
    Ok((set.into_iter().collect(), sent.value, sent.timestamp))
}

fn assert_series(read: &Read, expected: &Series) {
    assert_read("labels", &read.labels, &expected.labels);
    assert_eq!(read.samples, expected.samples, "samples");
    assert_all("histograms", &read.histograms, &expected.histograms);
    assert_all("exemplars", &read.exemplars, &expected.exemplars);
    assert_eq!(read.metadata, expected.metadata, "metadata");
}

fn assert_metadata(metadata: SeriesMetadata, symbols: &[Vec<u8>]) {
    let borrowed: Vec<&[u8]> = symbols.iter().map(Vec::as_slice).collect();
    let read = Metadata::of_series("metric", metadata, &borrowed)
        .map(|read| (read.kind, read.help.to_owned(), read.unit.to_owned()));
    let kind = usize::try_from(metadata.kind).ok().and_then(|kind| MetricKind::ALL.get(kind)).copied();
    let text = |reference: u32| symbols.get(reference as usize).map(|symbol| String::from_utf8(symbol.clone()));
    let expected = match (kind, text(metadata.help_ref), text(metadata.unit_ref)) {
        (Some(kind), Some(Ok(help)), Some(Ok(unit))) => Ok((kind, help, unit)),
        _ => Err(vec![Reason::InvalidMetadata, Reason::InvalidUtf8]),
    };
    assert_read("metadata", &read, &expected);
}
