//! Recorded requests: `u32 LE length, header, u32 LE length, message` a record, zstd over all of them.
//!
//! The messages are of 2.0, as they were sent. For 1.0 each is written again with its labels spelled out; what 1.0 cannot say, metadata of a
//! series and start timestamps, is left out.

use std::collections::HashSet;
use std::io::Read;

use bytes::{Buf, Bytes};
use promarchive_model::Protocol;
use promarchive_wire::proto::{v1, v2};
use prost::Message;

use super::{Load, Name, Request};
use crate::{Error, Result};

/// Made by a proxy between a Prometheus 3.16 and its receiver.
const CLUSTER: &[u8] = include_bytes!("../../recordings/cluster-v2.rw.zst");

/// The recorded load, over one connection, because its requests are in order only so.
pub(super) fn load(protocol: Protocol) -> Result<Load> {
    let mut recording = Vec::new();
    zstd::Decoder::new(CLUSTER)?.read_to_end(&mut recording)?;
    let mut rest = Bytes::from(recording);
    let (mut requests, mut series) = (Vec::new(), HashSet::new());
    while !rest.is_empty() {
        let _header = field(&mut rest)?;
        let message = v2::Request::decode(field(&mut rest)?).map_err(|cause| Error::Recording(cause.to_string()))?;
        let samples =
            message.timeseries.iter().map(|series| (series.samples.len() + series.histograms.len()) as u64).sum();
        for entry in &message.timeseries {
            series.insert(texts(&message, &entry.labels_refs)?.join("\0"));
        }
        requests.push(match protocol {
            Protocol::V1 => Request::of(&to_v1(&message)?, samples)?,
            Protocol::V2 => Request::of(&message, samples)?,
        });
    }
    Ok(Load { name: Name::Real, protocol, connections: vec![requests], series: series.len(), five_minutes: 1 })
}

fn field(rest: &mut Bytes) -> Result<Bytes> {
    let short = || Error::Recording("a record ends early".to_owned());
    let length = rest.try_get_u32_le().map_err(|_| short())? as usize;
    if length > rest.len() {
        return Err(short());
    }
    Ok(rest.split_to(length))
}

fn texts<'a>(message: &'a v2::Request, references: &[u32]) -> Result<Vec<&'a str>> {
    let text = |&reference: &u32| message.symbols.get(reference as usize).map(String::as_str);
    let texts: Option<Vec<&str>> = references.iter().map(text).collect();
    texts.ok_or_else(|| Error::Recording("a reference past the symbols".to_owned()))
}

fn to_v1(message: &v2::Request) -> Result<v1::WriteRequest> {
    let mut request = v1::WriteRequest::default();
    for entry in &message.timeseries {
        let mut series = v1::TimeSeries { labels: labels(message, &entry.labels_refs)?, ..v1::TimeSeries::default() };
        let sample = |sample: &v2::Sample| v1::Sample { value: sample.value, timestamp: sample.timestamp };
        series.samples = entry.samples.iter().map(sample).collect();
        let histogram = |histogram: &v2::Histogram| v1::Histogram { start_timestamp: 0, ..histogram.clone() };
        series.histograms = entry.histograms.iter().map(histogram).collect();
        for exemplar in &entry.exemplars {
            let labels = labels(message, &exemplar.labels_refs)?;
            series.exemplars.push(v1::Exemplar { labels, value: exemplar.value, timestamp: exemplar.timestamp });
        }
        request.timeseries.push(series);
    }
    Ok(request)
}

fn labels(message: &v2::Request, references: &[u32]) -> Result<Vec<v1::Label>> {
    let texts = texts(message, references)?;
    let (pairs, _) = texts.as_chunks::<2>();
    Ok(pairs.iter().map(|&[name, value]| v1::Label { name: name.to_owned(), value: value.to_owned() }).collect())
}
