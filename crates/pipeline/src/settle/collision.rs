//! Two series with one `series_id` stay two: the id is a convenience, never an identity.

use std::collections::BTreeMap;

use promarchive_archive::file::Origin;
use promarchive_archive::file::decode::{for_each_sample, open_file};
use promarchive_archive::merge::Replacement;
use promarchive_archive::schema::{LabelColumns, Table};
use promarchive_model::{
    Date, EARLIEST_TIMESTAMP, LATEST_TIMESTAMP, Protocol, Sample, TimestampBounds, WriterId, series_id,
};
use promarchive_testkit::hand_made::{SentSeries, body};

use super::{Plan, settle};
use crate::memtable::{Horizon, Index, Memtable, Request, RequestKind, resolve};

/// Two metrics of one XXH3-64. Over 240 bytes, each 64-bit lane adds up, over stripes of 64 bytes, the data of its neighbour and a product of the
/// halves of its data XOR the secret. Where the upper half is that of the secret, the product is 0, and the lower half counts by its sum alone:
/// so two lower halves are swapped, of the first lane in the stripes 3 and 7. There the secret's upper halves can be part of UTF-8 text.
fn colliding() -> [String; 2] {
    let metric = |first: u8, second: u8| {
        let mut bytes = vec![b'x'; 600];
        bytes[192..200].copy_from_slice(&[first, b'-', b'-', 0xe1, 0xb7, 0xb3, 0x67, 0x1f]);
        bytes[448..456].copy_from_slice(&[second, b'-', b'-', 0xc2, 0x81, 0x3a, 0x26, 0x4c]);
        String::from_utf8(bytes).unwrap()
    };
    [metric(b'a', b'b'), metric(b'b', b'a')]
}

const BOUNDS: TimestampBounds = TimestampBounds { earliest: EARLIEST_TIMESTAMP, latest: LATEST_TIMESTAMP };

fn series(metric: &str, value: u64) -> SentSeries {
    let labels = vec![(b"__name__".to_vec(), metric.as_bytes().to_vec())];
    let samples =
        vec![Sample { timestamp: 1, value, start_timestamp: 0 }, Sample { timestamp: 2, value, start_timestamp: 0 }];
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

#[test]
fn series_of_one_id_do_not_merge() {
    let [a, b] = colliding();
    assert_ne!(a, b);
    assert_eq!(series_id(&a, "{}"), series_id(&b, "{}"));

    let flush = (WriterId::from_u128(1), 1);
    let mut index = Index::new(1);
    let plan = planned(&mut index, &Horizon::default(), &[series(&b, 20), series(&a, 10)]);
    let files = plan.files(Table::SAMPLES);
    let (file, rest) = plan.encode(Table::SAMPLES, Date(0), &files[&Date(0)], &columns(), &Origin::Import).unwrap();
    assert!(rest.is_none());
    let rows = |of_a: [u64; 2], of_b: [u64; 2]| -> Rows {
        let row = |metric: &String, (timestamp, value)| {
            (metric.clone(), "{}".to_owned(), Sample { timestamp, value, start_timestamp: 0 })
        };
        let of = |metric, values: [u64; 2]| (1..).zip(values).map(move |place| row(metric, place));
        of(&a, of_a).chain(of(&b, of_b)).collect()
    };
    assert_eq!(decode(file.bytes.clone()), rows([10, 10], [20, 20]));

    // Both are in the horizon; a greater value of one supersedes its own row alone.
    let mut horizon = Horizon::default();
    horizon.push(plan.settled.generation(flush, 0, |_, _, _| false), 0);
    let plan = planned(&mut index, &horizon, &[series(&a, 15), series(&b, 20)]);
    assert!(plan.files(Table::SAMPLES).is_empty());
    assert_eq!((plan.settled.duplicates, plan.settled.conflicts), (2, 2));
    let superseding: BTreeMap<_, _> = plan.encode_superseding(Table::SAMPLES, &columns()).unwrap();
    let replacement = superseding.into_values().next().unwrap().bytes;
    let (writer, position) = flush;
    let mut replacement = Replacement::read(Table::SAMPLES, &columns(), [(flush, replacement.into())]).unwrap();
    let rewritten =
        replacement.rewrite(&Origin::Flush { writer, position }, bytes::Bytes::from(file.bytes)).unwrap().unwrap();
    assert_eq!(decode(rewritten), rows([15, 15], [20, 20]));
}
