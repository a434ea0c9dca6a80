//! Two series with one `series_id` stay two: the id is a convenience, never an identity.

use std::sync::Arc;

use promarchive_archive::file::Origin;
use promarchive_archive::schema::Table;
use promarchive_model::{Date, Sample, WriterId, series_id};
use promarchive_testkit::hand_made::SentSeries;

use super::{Rows, columns, decode, planned, series, stored};
use crate::memtable::{Horizon, Index};
use crate::settle::Winners;

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

/// A series with one value at two times.
fn of(metric: &str, value: u64) -> SentSeries {
    series(metric, &[(1, value), (2, value)])
}

#[test]
fn series_of_one_id_do_not_merge() {
    // Files are read through it.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _in_runtime = runtime.enter();
    let [a, b] = colliding();
    assert_ne!(a, b);
    assert_eq!(series_id(&a, "{}"), series_id(&b, "{}"));

    let flush = (WriterId::from_u128(1), 1);
    let mut index = Index::new(1);
    let plan = planned(&mut index, &Horizon::default(), &[of(&b, 20), of(&a, 10)]);
    let files = plan.files(Table::SAMPLES);
    let (file, rest) = plan.encode(Table::SAMPLES, Date(0), &files[&Date(0)], &columns(), &Origin::Import).unwrap();
    assert!(rest.is_none());
    let rows = |of_a: [u64; 2], of_b: [u64; 2]| -> Rows {
        let row = |metric: &String, (timestamp, value)| {
            (metric.clone(), "{}".to_owned(), Sample { timestamp, value, start_timestamp: 0 })
        };
        let of = |metric, values: [u64; 2]| (1..).zip(values).map(move |sample| row(metric, sample));
        of(&a, of_a).chain(of(&b, of_b)).collect()
    };
    assert_eq!(decode(file.bytes.clone()), rows([10, 10], [20, 20]));

    // Both are in the horizon; a greater value of one supersedes its own row alone.
    let mut horizon = Horizon::default();
    horizon.push(plan.settled.generation(flush, 0, |_, _, _| false), 0);
    let plan = planned(&mut index, &horizon, &[of(&a, 15), of(&b, 20)]);
    assert!(plan.files(Table::SAMPLES).is_empty());
    assert_eq!((plan.settled.duplicates, plan.settled.conflicts), (2, 2));
    let (writer, position) = flush;
    let directory = tempfile::tempdir().unwrap();
    let (root, old) = stored(directory.path(), file, Origin::Flush { writer, position });
    let mut winners = Winners::of(&Arc::new(plan), Table::SAMPLES, &columns());
    let [winners] = winners.as_mut_slice() else { panic!("{winners:?}") };
    let rewritten = winners.rewrite(&old, root.file(&old)).unwrap().unwrap();
    assert_eq!(winners.used(), 2);
    assert_eq!(decode(rewritten), rows([15, 15], [20, 20]));
}
