mod collision;
mod samples;
mod winners;

use std::path::Path;

use promarchive_archive::Location;
use promarchive_archive::file::decode::{for_each_sample, open_file};
use promarchive_archive::file::{EncodedFile, Origin};
use promarchive_archive::log::DataFile;
use promarchive_archive::schema::{LabelColumns, Table};
use promarchive_archive::store::{Root, Store};
use promarchive_model::{Date, EARLIEST_TIMESTAMP, LATEST_TIMESTAMP, Protocol, Sample, TimestampBounds};
use promarchive_testkit::hand_made::{SentSeries, body};

use super::{Plan, settle};
use crate::memtable::{Horizon, Index, Memtable, Request, RequestKind, resolve};

const BOUNDS: TimestampBounds = TimestampBounds { earliest: EARLIEST_TIMESTAMP, latest: LATEST_TIMESTAMP };

fn series(metric: &str, samples: &[(i64, u64)]) -> SentSeries {
    let labels = vec![(b"__name__".to_vec(), metric.as_bytes().to_vec())];
    let samples = samples.iter().map(|&(timestamp, value)| Sample { timestamp, value, start_timestamp: 0 }).collect();
    SentSeries { labels, samples, ..SentSeries::default() }
}

fn columns() -> LabelColumns {
    LabelColumns::new(vec!["job".into(), "pod".into()]).unwrap()
}

/// Metric, labels and sample of each row of a file.
type Rows = Vec<(String, String, Sample)>;

fn decode(file: Vec<u8>) -> Rows {
    let mut rows = Rows::new();
    for batch in open_file(Table::SAMPLES, &columns(), bytes::Bytes::from(file), None).unwrap() {
        let push =
            |metric: &str, labels: &str, sample: Sample| rows.push((metric.to_owned(), labels.to_owned(), sample));
        for_each_sample(&batch.unwrap(), push).unwrap();
    }
    rows
}

/// A file as it stands in a table.
fn stored(directory: &Path, file: EncodedFile, origin: Origin) -> (Root, DataFile) {
    let root = Store::open(Location::at(directory).unwrap()).unwrap().table(Table::SAMPLES);
    let (path, size) = ("part.parquet".to_owned(), file.bytes.len() as u64);
    std::fs::create_dir(directory.join("samples")).unwrap();
    std::fs::write(directory.join("samples").join(&path), &file.bytes).unwrap();
    let (stats, checksum) = (Some(file.stats), None);
    (root, DataFile { path, size, modification_time: 0, date: Date(0), stats, origin, checksum })
}

/// The plan of a flush of one request.
fn planned(index: &mut Index, horizon: &Horizon, request: &[SentSeries]) -> Plan {
    let body = body(Protocol::V2, request);
    let (protocol, bounds, kind) = (Protocol::V2, BOUNDS, RequestKind::Arriving);
    let request = Request { protocol, body: &body, bounds, received_at: 0, label: None, kind };
    let mut batch = resolve(&mut *index, request).unwrap();
    let mut memtable = Memtable::default();
    memtable.apply(1, 0, &mut batch, |_| false);
    let settled = settle(&mut memtable, horizon);
    let view = index.series.view(settled.series().into_iter());
    Plan::new(settled, view)
}
