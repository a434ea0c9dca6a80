//! Remote write 1.0.

use std::collections::BTreeMap;

use promarchive_model::{Histogram, Protocol, Reason, Sample};
use promarchive_wire::proto::v1;
use promarchive_wire::{Decoder, Metadata, MetricKind};
use prost::Message;

use super::wire::{self, Label, V1Exemplar, V1Metadata, V1Request, V1Series, decode, decode_all};
use super::{Expected, Pairs, Read, assert_all, assert_read, read, rules, walk};

/// What one series must be read as.
struct Series {
    labels: Expected<(String, Pairs)>,
    samples: Vec<Sample>,
    histograms: Vec<Expected<Histogram>>,
    exemplars: Vec<Expected<(Pairs, u64, i64)>>,
}

/// Checks what the decoder makes of a decompressed body.
///
/// # Panics
///
/// If it differs from what prost makes of it.
pub fn decode_v1(body: &[u8]) {
    let walked = walk(Protocol::V1, body);
    let read = read(Protocol::V1, body);
    assert_eq!(walked.is_ok(), read.is_ok(), "read twice, differently");
    let Some(expected) = expected(body) else {
        assert!(read.is_err(), "accepted a broken request: {read:?}");
        return;
    };
    let read = read.expect("prost reads it, part by part");
    assert_eq!(read.len(), expected.len(), "number of series");
    read.iter().zip(&expected).for_each(|(read, expected)| assert_series(read, expected));
    assert_metadata(body);
    if let Ok(whole) = v1::WriteRequest::decode(body) {
        assert_eq!(whole.timeseries.len(), read.len(), "number of series, as the generated types have it");
        for (whole, read) in whole.timeseries.iter().zip(&read) {
            let samples: Vec<_> = read.samples.iter().map(|sample| (sample.timestamp, sample.value)).collect();
            let expected: Vec<_> = whole.samples.iter().map(|s| (s.timestamp, s.value.to_bits())).collect();
            assert_eq!(samples, expected, "samples, as the generated types have them");
        }
    }
}

fn expected(body: &[u8]) -> Option<Vec<Series>> {
    let request: V1Request = decode(body)?;
    // Symbols or series of 2.0.
    if wire::has_bytes(body, &[4, 5]) {
        return None;
    }
    request.timeseries.iter().map(|series| expected_series(&decode(series)?)).collect()
}

fn expected_series(series: &V1Series) -> Option<Series> {
    let samples: Vec<wire::Sample> = decode_all(&series.samples)?;
    Some(Series {
        labels: rules::series_labels(labels(&series.labels, Reason::MalformedLabels)),
        samples: samples
            .iter()
            .map(|s| Sample { timestamp: s.timestamp, value: s.value, start_timestamp: s.start_timestamp })
            .collect(),
        histograms: series.histograms.iter().map(|bytes| rules::histogram(bytes, 0)).collect(),
        exemplars: series.exemplars.iter().map(|bytes| exemplar(bytes)).collect(),
    })
}

fn labels(all: &[Vec<u8>], malformed: Reason) -> Expected<BTreeMap<String, String>> {
    // What stands before a broken label may be refused for its own reason.
    let whole: Vec<Label> = all.iter().map_while(|bytes| decode(bytes)).collect();
    let set = rules::labels(whole.iter().map(|label| (&label.name[..], &label.value[..])));
    if whole.len() == all.len() {
        return set;
    }
    let mut broken = set.err().unwrap_or_default();
    broken.push(malformed);
    Err(broken)
}

fn exemplar(bytes: &[u8]) -> Expected<(Pairs, u64, i64)> {
    let refused = || vec![Reason::InvalidExemplar];
    let sent: V1Exemplar = decode(bytes).ok_or_else(refused)?;
    let set = labels(&sent.labels, Reason::InvalidExemplar).map_err(|_| refused())?;
    Ok((set.into_iter().collect(), sent.value, sent.timestamp))
}

fn assert_series(read: &Read, expected: &Series) {
    assert_read("labels", &read.labels, &expected.labels);
    assert_eq!(read.samples, expected.samples, "samples");
    assert_all("histograms", &read.histograms, &expected.histograms);
    assert_all("exemplars", &read.exemplars, &expected.exemplars);
    assert_eq!(read.metadata, None, "metadata of a series");
}

fn assert_metadata(body: &[u8]) {
    let decoder = Decoder::new(Protocol::V1, body).expect("was read before");
    let sent = decode::<V1Request>(body).expect("was decoded before").metadata;
    let read: Vec<_> = decoder.metadata().map(|raw| raw.expect("was read before")).collect();
    assert_eq!(read.len(), sent.len(), "number of metadata entries");
    for (raw, bytes) in read.into_iter().zip(&sent) {
        let entry = Metadata::parse(raw).map(|m| (m.metric.to_owned(), m.kind, m.help.to_owned(), m.unit.to_owned()));
        assert_read("metadata", &entry, &expected_metadata(bytes));
    }
}

fn expected_metadata(bytes: &[u8]) -> Expected<(String, MetricKind, String, String)> {
    let sent: V1Metadata = decode(bytes).ok_or_else(|| vec![Reason::InvalidMetadata])?;
    let mut broken = Vec::new();
    let kind = usize::try_from(sent.kind).ok().and_then(|kind| MetricKind::ALL.get(kind));
    if kind.is_none() || sent.metric_family_name.is_empty() {
        broken.push(Reason::InvalidMetadata);
    }
    let texts = [sent.metric_family_name, sent.help, sent.unit].map(String::from_utf8);
    if texts.iter().any(Result::is_err) {
        broken.push(Reason::InvalidUtf8);
    }
    match (kind, texts, broken.is_empty()) {
        (Some(kind), [Ok(metric), Ok(help), Ok(unit)], true) => Ok((metric, *kind, help, unit)),
        _ => Err(broken),
    }
}
