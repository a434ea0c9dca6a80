//! Superseding rows replace rows of files, or come as files of their own; however many there are.

use std::sync::Arc;

use promarchive_archive::file::Origin;
use promarchive_archive::schema::Table;
use promarchive_model::{Date, FlushId, WriterId};

use super::{Rows, columns, decode, planned, series, stored};
use crate::memtable::{Horizon, Index};
use crate::settle::Winners;

const FLUSHES: [FlushId; 2] = [(WriterId::from_u128(1), 1), (WriterId::from_u128(1), 2)];

fn rows(found: Rows) -> Vec<(String, i64, u64)> {
    found.into_iter().map(|(metric, _, sample)| (metric, sample.timestamp, sample.value)).collect()
}

/// A series with so many samples, one every two milliseconds.
fn sent(metric: &str, count: i64, first: i64, value: u64) -> promarchive_testkit::hand_made::SentSeries {
    let samples: Vec<(i64, u64)> = (0..count).map(|at| (first + at * 2, value)).collect();
    series(metric, &samples)
}

/// More rows than are laid beside a file at once, of two series, for two flushes whose rows are in one file by now; a third series is in no file.
#[test]
fn many_winners_replace_rows() {
    // Files are read through it.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _in_runtime = runtime.enter();
    const MANY: i64 = 100_000;
    let (mut index, mut horizon) = (Index::new(1), Horizon::default());
    for (flush, first) in FLUSHES.into_iter().zip([0, 1]) {
        let request = [sent("b", MANY, first, 1), sent("a", 10, first, 1), sent("gone", 3, first, 1)];
        let plan = planned(&mut index, &Horizon::default(), &request);
        horizon.push(plan.settled.generation(flush, 0, |_, _, _| false), i64::MAX);
    }
    // What both have written, but for one series.
    let merged = [sent("a", 10, 0, 1), sent("a", 10, 1, 1), sent("b", MANY, 0, 1), sent("b", MANY, 1, 1)];
    let merged = planned(&mut index, &Horizon::default(), &merged);
    let file = merged.files(Table::SAMPLES);
    let origin = Origin::Merge { level: 1, flushes: vec![(FLUSHES[0].0, 1..=2)] };
    let (file, _) = merged.encode(Table::SAMPLES, Date(0), &file[&Date(0)], &columns(), &origin).unwrap();

    let better = [sent("a", 5, 0, 2), sent("b", MANY, 0, 2), sent("b", MANY, 1, 3), sent("gone", 3, 1, 2)];
    let plan = Arc::new(planned(&mut index, &horizon, &better));
    assert!(plan.files(Table::SAMPLES).is_empty());
    let directory = tempfile::tempdir().unwrap();
    let (root, old) = stored(directory.path(), file, origin);
    let mut winners = Winners::of(&plan, Table::SAMPLES, &columns());
    let [winners] = winners.as_mut_slice() else { panic!("{winners:?}") };
    assert!(winners.concern(&old));
    let rewritten = rows(decode(winners.rewrite(&old, root.file(&old)).unwrap().unwrap()));
    assert_eq!(winners.used(), 5 + 2 * MANY as u64);
    assert!(winners.gone().is_empty(), "both have a row in the file");

    let value_of_a = |time: i64| if time % 2 == 0 && time < 10 { 2 } else { 1 };
    let a = (0..20).map(|time| ("a".to_owned(), time, value_of_a(time)));
    let b = (0..2 * MANY).map(|time| ("b".to_owned(), time, if time % 2 == 0 { 2 } else { 3 }));
    assert!(rewritten == a.chain(b).collect::<Vec<_>>(), "{} rows", rewritten.len());

    let (rest, next) = winners.rest(&Origin::Import, 0).unwrap().unwrap();
    assert_eq!(rest.stats.rows, 3);
    assert_eq!(rows(decode(rest.bytes)), [1, 3, 5].map(|time| ("gone".to_owned(), time, 2)));
    assert!(winners.rest(&Origin::Import, next).unwrap().is_none());
}

/// A flush writes several files of a day when there is much. Whichever comes first, each row replaces one in one of them.
#[test]
fn winners_replace_rows_of_several_files() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _in_runtime = runtime.enter();
    let (writer, position) = FLUSHES[0];
    let origin = Origin::Flush { writer, position };
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let (mut index, mut horizon) = (Index::new(1), Horizon::default());
        // One metric, so that its bounds do not tell the files apart.
        let of = |job: &str, value| {
            let mut series = sent("m", 4, 0, value);
            series.labels.push((b"job".to_vec(), job.as_bytes().to_vec()));
            series
        };
        let jobs = ["a", "b", "c"];
        let plan = planned(&mut index, &Horizon::default(), &jobs.map(|job| of(job, 1)));
        horizon.push(plan.settled.generation(FLUSHES[0], 0, |_, _, _| false), i64::MAX);
        let plan = Arc::new(planned(&mut index, &horizon, &jobs.map(|job| of(job, 2))));
        let mut winners = Winners::of(&plan, Table::SAMPLES, &columns());
        let [winners] = winners.as_mut_slice() else { panic!("{winners:?}") };
        for file in order {
            let part = planned(&mut index, &Horizon::default(), &[of(jobs[file], 1)]);
            let files = part.files(Table::SAMPLES);
            let (part, _) = part.encode(Table::SAMPLES, Date(0), &files[&Date(0)], &columns(), &origin).unwrap();
            let directory = tempfile::tempdir().unwrap();
            let (root, old) = stored(directory.path(), part, origin.clone());
            let rewritten = rows(decode(winners.rewrite(&old, root.file(&old)).unwrap().unwrap()));
            assert_eq!(rewritten, [0, 2, 4, 6].map(|time| ("m".to_owned(), time, 2)));
        }
        assert_eq!(winners.used(), 12);
        assert!(winners.rest(&Origin::Import, 0).unwrap().is_none());
    }
}

#[test]
fn winners_of_flushes_whose_files_are_gone_are_left() {
    let (mut index, mut horizon) = (Index::new(1), Horizon::default());
    let plan = planned(&mut index, &horizon, &[sent("a", 3, 0, 1)]);
    horizon.push(plan.settled.generation(FLUSHES[0], 0, |_, _, _| false), i64::MAX);
    let plan = Arc::new(planned(&mut index, &horizon, &[sent("a", 3, 0, 2)]));
    let winners = Winners::of(&plan, Table::SAMPLES, &columns());
    let [winners] = winners.as_slice() else { panic!("{winners:?}") };
    assert_eq!((winners.used(), winners.gone()), (0, vec![FLUSHES[0]]));
    let (rest, _) = winners.rest(&Origin::Import, 0).unwrap().unwrap();
    assert_eq!(rows(decode(rest.bytes)), [0, 2, 4].map(|time| ("a".to_owned(), time, 2)));
}
