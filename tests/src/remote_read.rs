//! What a Prometheus holds in its TSDB, read by remote read: stale markers included, which its query API hides.

use std::collections::BTreeMap;

use promarchive_model::{Counts, Histogram, ResetHint, Sample, Span};
use promarchive_wire::proto::v1;
use prost::Message as _;
use reqwest::blocking::Client;

use crate::chunk::{decode_xor, decode_xor2};
use crate::protobuf::Message;
use crate::tables::{ByKey, Labels};

#[derive(Clone, PartialEq, prost::Message)]
struct ReadResponse {
    #[prost(message, repeated, tag = "1")]
    results: Vec<QueryResult>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct QueryResult {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<v1::TimeSeries>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ChunkedReadResponse {
    #[prost(message, repeated, tag = "1")]
    series: Vec<ChunkedSeries>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ChunkedSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<v1::Label>,
    #[prost(message, repeated, tag = "2")]
    chunks: Vec<Chunk>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Chunk {
    #[prost(int64, tag = "1")]
    min_time_ms: i64,
    #[prost(int64, tag = "2")]
    max_time_ms: i64,
    #[prost(int32, tag = "3")]
    encoding: i32,
    #[prost(bytes = "vec", tag = "4")]
    data: Vec<u8>,
}

const SAMPLES: u64 = 0;
const STREAMED_XOR_CHUNKS: u64 = 1;

/// Asks for every series and all time.
fn read(client: &Client, url: &str, response_type: u64) -> Vec<u8> {
    // A regular expression (2) over __name__.
    let matcher = Message::new().unsigned(1, 2).bytes(2, "__name__").bytes(3, ".+");
    let query = Message::new().signed(1, 0).signed(2, 253_402_300_799_999).message(3, matcher);
    let request = Message::new().message(1, query).packed_unsigned(2, &[response_type]).into_bytes();
    let body = snap::raw::Encoder::new().compress_vec(&request).unwrap();
    let request = client.post(format!("{url}/api/v1/read")).body(body);
    let headers = [("Content-Type", "application/x-protobuf"), ("Content-Encoding", "snappy")];
    let request = headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
    let response = request.header("X-Prometheus-Remote-Read-Version", "0.1.0").send().unwrap();
    let (status, body) = (response.status(), response.bytes().unwrap());
    assert!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
    body.to_vec()
}

fn labels(labels: &[v1::Label]) -> Labels {
    labels.iter().map(|label| (label.name.clone(), label.value.clone())).collect()
}

/// The answer of type SAMPLES: float samples and native histograms.
///
/// Prometheus encodes it with the same protobuf code as remote write, which leaves out a −0 as if it were 0.
pub fn samples(client: &Client, url: &str) -> (ByKey<Sample>, ByKey<Histogram>) {
    let body = snap::raw::Decoder::new().decompress_vec(&read(client, url, SAMPLES)).unwrap();
    let response = ReadResponse::decode(body.as_slice()).unwrap();
    let (mut samples, mut histograms) = (BTreeMap::new(), BTreeMap::new());
    for series in response.results.iter().flat_map(|result| &result.timeseries) {
        let labels = labels(&series.labels);
        for &v1::Sample { timestamp, value } in &series.samples {
            let sample = Sample { timestamp, value: value.to_bits(), start_timestamp: 0 };
            assert_eq!(samples.insert((labels.clone(), timestamp), sample), None, "twice in the TSDB");
        }
        for histogram in &series.histograms {
            let key = (labels.clone(), histogram.timestamp);
            assert_eq!(histograms.insert(key, self::histogram(histogram)), None, "twice in the TSDB");
        }
    }
    (samples, histograms)
}

/// The answer of type STREAMED_XOR_CHUNKS: float samples bit by bit, with start timestamps if the TSDB has them. Chunks of histograms are
/// left out.
pub fn chunks(client: &Client, url: &str) -> ByKey<Sample> {
    let body = read(client, url, STREAMED_XOR_CHUNKS);
    let mut rest = body.as_slice();
    let mut samples = BTreeMap::new();
    while !rest.is_empty() {
        let length = usize::try_from(prost::encoding::decode_varint(&mut rest).unwrap()).unwrap();
        // A CRC-32C stands before the frame.
        let (frame, behind) = rest[4..].split_at(length);
        rest = behind;
        for series in ChunkedReadResponse::decode(frame).unwrap().series {
            let labels = labels(&series.labels);
            for chunk in series.chunks {
                let decoded = match chunk.encoding {
                    1 => decode_xor(&chunk.data),
                    4 => decode_xor2(&chunk.data),
                    2 | 3 | 5 | 6 => continue,
                    other => panic!("chunk encoding {other}"),
                };
                for sample in decoded {
                    let key = (labels.clone(), sample.timestamp);
                    assert_eq!(samples.insert(key, sample), None, "twice in the TSDB");
                }
            }
        }
    }
    samples
}

fn histogram(histogram: &v1::Histogram) -> Histogram {
    use v1::histogram::{Count, ZeroCount};
    let spans = |spans: &[v1::BucketSpan]| -> Vec<Span> {
        spans.iter().map(|span| Span { offset: span.offset, length: span.length }).collect()
    };
    let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect();
    let counts = match (histogram.count, histogram.zero_count) {
        (Some(Count::CountInt(count)), Some(ZeroCount::ZeroCountInt(zero))) => Counts::Integer {
            count,
            zero,
            positive: sums(&histogram.positive_deltas),
            negative: sums(&histogram.negative_deltas),
        },
        (Some(Count::CountFloat(count)), Some(ZeroCount::ZeroCountFloat(zero))) => Counts::Float {
            count: count.to_bits(),
            zero: zero.to_bits(),
            positive: bits(&histogram.positive_counts),
            negative: bits(&histogram.negative_counts),
        },
        other => panic!("{other:?}"),
    };
    Histogram {
        timestamp: histogram.timestamp,
        start_timestamp: histogram.start_timestamp,
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold.to_bits(),
        sum: histogram.sum.to_bits(),
        reset_hint: [ResetHint::Unknown, ResetHint::Yes, ResetHint::No, ResetHint::Gauge]
            [usize::try_from(histogram.reset_hint).unwrap()],
        counts,
        positive_spans: spans(&histogram.positive_spans),
        negative_spans: spans(&histogram.negative_spans),
        custom_values: bits(&histogram.custom_values),
    }
}

fn sums(differences: &[i64]) -> Vec<i64> {
    differences
        .iter()
        .scan(0, |sum, difference| {
            *sum += difference;
            Some(*sum)
        })
        .collect()
}
