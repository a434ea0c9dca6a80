//! What a load would take at least: its labels, timestamps and values by themselves, each as its best encoding is known to be, in zstd 19.
//!
//! Labels as sorted text, timestamps as changes of their steps, values as differences of integers where they are integers (or thousandths), each
//! number as a varint. No reader can use it: there is no column, no index and no row in it.

use promarchive_model::{Sample, TimestampBounds, labels_text};
use promarchive_pipeline::memtable::{Horizon, Index, Memtable, Request, RequestKind, resolve};
use promarchive_pipeline::settle::{Settled, settle};
use promarchive_wire::decompress;
use prost::encoding::encode_varint;

use crate::load::Load;
use crate::{Error, Result};

const LEVEL: i32 = 19;
const MAX_BODY: usize = 32 << 20;
const ALL_TIMES: TimestampBounds = TimestampBounds { earliest: i64::MIN, latest: i64::MAX };
/// Floats up to here have all integers.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Bytes a float sample, if each part of the load stands by itself.
pub fn bytes_per_sample(load: &Load, parts: usize) -> Result<f64> {
    let (mut bytes, mut samples) = (0, 0);
    for part in 0..parts {
        let (mut index, mut memtable, mut decoded) = (Index::new(1), Memtable::default(), Vec::new());
        for request in load.part(part, parts).into_iter().flatten() {
            let request = request?;
            decoded.clear();
            let unreadable = |error: &dyn std::fmt::Display| Error::Load(error.to_string());
            decompress(&request.body, MAX_BODY, &mut decoded).map_err(|e| unreadable(&e))?;
            let (protocol, bounds, kind) = (load.protocol, ALL_TIMES, RequestKind::Arriving);
            let request = Request { protocol, body: &decoded, bounds, received_at: 0, label: None, kind };
            let batch = resolve(&mut index, request);
            memtable.apply(1, 0, &mut batch.map_err(|e| unreadable(&e))?, |_| false);
        }
        samples += memtable.samples();
        bytes += weigh(&index, &settle(&mut memtable, &Horizon::default()))?;
    }
    Ok(bytes as f64 / samples as f64)
}

fn weigh(index: &Index, settled: &Settled) -> Result<usize> {
    let view = index.series.view(settled.series().into_iter());
    let mut labels: Vec<String> =
        view.iter().map(|(_, labels)| format!("{}{}\n", labels.metric(), labels_text(labels.pairs()))).collect();
    labels.sort_unstable();
    let (mut timestamps, mut values) = (Vec::new(), Vec::new());
    for (_, run) in &settled.samples {
        let samples: Vec<Sample> = run.iter().collect();
        push_timestamps(&samples, &mut timestamps);
        push_values(&samples, &mut values);
    }
    let compressed = |bytes: &[u8]| Ok::<_, Error>(zstd::encode_all(bytes, LEVEL)?.len());
    Ok(compressed(labels.concat().as_bytes())? + compressed(&timestamps)? + compressed(&values)?)
}

fn push_timestamps(samples: &[Sample], out: &mut Vec<u8>) {
    let (mut last, mut step) = (0_i64, 0_i64);
    for sample in samples {
        let next = sample.timestamp.wrapping_sub(last);
        push(next.wrapping_sub(step), out);
        (last, step) = (sample.timestamp, next);
    }
}

fn push_values(samples: &[Sample], out: &mut Vec<u8>) {
    let integers = [1.0, 1000.0].into_iter().find_map(|factor| {
        let scaled = |sample: &Sample| {
            let value = f64::from_bits(sample.value) * factor;
            (value.abs() < EXACT && value.round() / factor == f64::from_bits(sample.value))
                .then(|| value.round() as i64)
        };
        samples.iter().map(scaled).collect::<Option<Vec<i64>>>()
    });
    let bits = || samples.iter().map(|sample| sample.value.cast_signed()).collect();
    let mut last = 0_i64;
    for number in integers.unwrap_or_else(bits) {
        push(number.wrapping_sub(last), out);
        last = number;
    }
}

fn push(number: i64, out: &mut Vec<u8>) {
    encode_varint((number << 1 ^ number >> 63).cast_unsigned(), out);
}
