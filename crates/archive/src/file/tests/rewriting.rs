//! Superseding: exactly the given rows are replaced, and the file stays what it was.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};

use super::layout::{dictionary_pages, large_file};
use super::*;
use promarchive_model::WriterId;

use crate::merge::Rewriter;

const FLUSH: (WriterId, u64) = (WriterId::from_u128(7), 3);

fn flush() -> Origin {
    Origin::Flush { writer: FLUSH.0, position: FLUSH.1 }
}

/// A row of a set: its timestamp, its content, and what that is replaced by, if it is.
type Fate<T> = (i64, T, Option<T>);

fn fates<T: Strategy>(content: fn() -> T) -> impl Strategy<Value = Vec<Vec<Fate<T::Value>>>>
where
    T::Value: Clone,
{
    let rows = btree_map(-3_i64..10, (content(), prop::option::weighted(0.3, content())), 0..6);
    let flat = |rows: BTreeMap<i64, (T::Value, Option<T::Value>)>| {
        rows.into_iter().map(|(timestamp, (old, new))| (timestamp, old, new)).collect()
    };
    vec(rows.prop_map(flat), 6)
}

fn time_of(row: &Row) -> i64 {
    match row {
        Row::Sample(sample) => sample.timestamp,
        Row::Histogram(histogram) => histogram.timestamp,
        Row::Exemplar(..) | Row::Metadata(_) => panic!("no row that is replaced"),
    }
}

/// A file with winners laid beside it, and how many of them have found their place.
fn rewrite(
    table: Table,
    file: impl Into<Bytes>,
    pieces: impl IntoIterator<Item = Vec<u8>>,
) -> (Option<Vec<u8>>, usize) {
    let mut rewriter = Rewriter::new(table, &columns(), &flush(), file.into()).unwrap();
    let mut used = 0;
    pieces.into_iter().for_each(|piece| rewriter.winners(piece.into(), |_| used += 1).unwrap());
    (rewriter.finish().unwrap(), used)
}

fn check<T: Clone>(table: Table, sets: &[Vec<Fate<T>>], row: impl Fn(i64, &T) -> Row) {
    let rows_of = |pick: fn(&Fate<T>) -> Option<&T>| -> Vec<Vec<Row>> {
        let some = |fate: &Fate<T>| pick(fate).map(|content| row(fate.0, content));
        sets.iter().map(|rows| rows.iter().filter_map(some).collect()).collect()
    };
    let (old, new) = (rows_of(|(_, old, _)| Some(old)), rows_of(|(_, _, new)| new.as_ref()));
    let want = rows_of(|(_, old, new)| Some(new.as_ref().unwrap_or(old)));
    let labels = self::sets();
    let encoded = |rows: &[Vec<Row>]| encode(table, &labels, rows);
    // In pieces, each with the rows of one set and of a half of the times.
    let pieces = (0..new.len()).flat_map(|set| [false, true].map(|late| (set, late))).map(|(set, late)| {
        let mut piece = vec![Vec::new(); new.len()];
        let is_here = |row: &&Row| (time_of(row) >= 4) == late;
        piece[set] = new[set].iter().filter(is_here).cloned().collect();
        encoded(&piece)
    });
    let (rewritten, used) = rewrite(table, encoded(&old).bytes, pieces.map(|piece| piece.bytes));
    assert_eq!(used as u64, encoded(&new).stats.rows, "each has found its place");
    assert_eq!(
        rewritten.is_some(),
        new.iter().any(|rows| !rows.is_empty()),
        "a file is written again if it has a row to replace"
    );
    let rewritten = rewritten.unwrap_or_else(|| encoded(&old).bytes);
    assert_eq!(decode(table, rewritten), decode(table, encoded(&want).bytes));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn samples_are_replaced(rows in fates(sample)) {
        check(Table::SAMPLES, &rows, |timestamp, content| Row::Sample(Sample { timestamp, ..*content }));
    }

    #[test]
    fn histograms_are_replaced(rows in fates(histogram)) {
        check(Table::HISTOGRAMS, &rows, |timestamp, content| Row::Histogram(Histogram { timestamp, ..content.clone() }));
    }
}

#[test]
fn winners_without_a_place_are_told() {
    let labels = self::sets();
    let row = |timestamp, value| Row::Sample(Sample { timestamp, value, start_timestamp: 0 });
    let encoded = |rows: &[Vec<Row>]| encode(Table::SAMPLES, &labels, rows);
    let old = encoded(&[vec![row(1, 10), row(2, 10)], vec![], vec![row(1, 10)]]);
    let new = encoded(&[vec![row(2, 20), row(3, 20)], vec![row(-4, 20)], vec![row(1, 20)]]);
    let mut rewriter = Rewriter::new(Table::SAMPLES, &columns(), &flush(), Bytes::from(old.bytes)).unwrap();
    let mut used = Vec::new();
    rewriter.winners(new.bytes.clone().into(), |row| used.push(row)).unwrap();
    // The order of the sets in files is not that of the test.
    let places = decode(Table::SAMPLES, new.bytes);
    let found: Vec<i64> = used.iter().map(|&row| time_of(&places[row].2)).collect();
    assert_eq!((used.len(), found.contains(&2), found.contains(&1)), (2, true, true));
    let want = encoded(&[vec![row(1, 10), row(2, 20)], vec![], vec![row(1, 20)]]);
    assert_eq!(decode(Table::SAMPLES, rewriter.finish().unwrap().unwrap()), decode(Table::SAMPLES, want.bytes));
}

#[test]
fn a_rewritten_file_keeps_its_row_groups_and_dictionaries() {
    let (sets, file) = large_file(&[700_000, 400_000, 100, 200]);
    let new = Sample { timestamp: 15_000, value: 99, start_timestamp: 3 };
    let rows = [vec![Row::Sample(new)], vec![], vec![], vec![Row::Sample(new)]];
    let winners = encode(Table::SAMPLES, &sets, &rows);
    let (rewritten, used) = rewrite(Table::SAMPLES, file.clone(), [winners.bytes]);
    assert_eq!(used, 2);
    let rewritten: Bytes = rewritten.unwrap().into();
    let groups = |file: &Bytes| {
        let metadata = parquet::file::metadata::ParquetMetaDataReader::new().parse_and_finish(file).unwrap();
        metadata.row_groups().iter().map(|group| group.num_rows()).collect::<Vec<_>>()
    };
    assert_eq!(groups(&rewritten), groups(&file));
    assert_eq!(groups(&rewritten).len(), 2);
    let pages = dictionary_pages(&rewritten);
    assert!(pages.len() == 4 && pages.values().all(|&pages| pages == 1), "{pages:?}");
    let (before, after) = (decode(Table::SAMPLES, file), decode(Table::SAMPLES, rewritten));
    let changed: Vec<_> =
        before.iter().zip(&after).filter(|(before, after)| before != after).map(|(_, after)| after).collect();
    let expected = [0, 3].map(|place| {
        let (metric, labels) = sets.names(place);
        (metric, labels, Row::Sample(new))
    });
    assert_eq!(changed, expected.iter().collect::<Vec<_>>());
    assert_eq!(before.len(), after.len());
}
