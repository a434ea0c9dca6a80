//! Superseding: exactly the given rows are replaced, and the file stays what it was.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};

use super::layout::{dictionary_pages, large_file};
use super::*;
use promarchive_model::WriterId;

use crate::file::ORIGIN_TAG;
use crate::merge::Replacement;

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

fn check<T: Clone>(table: Table, sets: &[Vec<Fate<T>>], row: impl Fn(i64, &T) -> Row) {
    let rows_of = |pick: fn(&Fate<T>) -> Option<&T>| -> Vec<Vec<Row>> {
        let some = |fate: &Fate<T>| pick(fate).map(|content| row(fate.0, content));
        sets.iter().map(|rows| rows.iter().filter_map(some).collect()).collect()
    };
    let (old, new) = (rows_of(|(_, old, _)| Some(old)), rows_of(|(_, _, new)| new.as_ref()));
    let want = rows_of(|(_, old, new)| Some(new.as_ref().unwrap_or(old)));
    let labels = self::sets();
    let encoded = |rows: &[Vec<Row>]| encode(table, &labels, rows);
    let mut replacement = Replacement::read(table, &columns(), [(FLUSH, encoded(&new).bytes.into())]).unwrap();
    let rewritten = replacement.rewrite(&flush(), Bytes::from(encoded(&old).bytes)).unwrap();
    assert_eq!(replacement.used(), encoded(&new).stats.rows, "each has found its place");
    assert!(replacement.rest(&Origin::Import).unwrap().is_none());
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

/// Rows whose place is in no file come as a file of their own, which says the same of itself as one that a flush writes.
#[test]
fn what_has_no_place_is_left() {
    let labels = self::sets();
    let row = |timestamp, value| Row::Sample(Sample { timestamp, value, start_timestamp: 0 });
    let encoded = |rows: &[Vec<Row>]| encode(Table::SAMPLES, &labels, rows);
    let old = encoded(&[vec![row(1, 10), row(2, 10)], vec![], vec![row(1, 10)]]);
    let new = encoded(&[vec![row(2, 20), row(3, 20)], vec![row(-4, 20)], vec![row(1, 20)]]);
    // What replaces rows of another flush has no place in the file of this one.
    let (other, of_other) = ((FLUSH.0, 4), encoded(&[vec![row(1, 30)]]));
    let left = encoded(&[vec![row(1, 30), row(3, 20)], vec![row(-4, 20)]]);
    let files = [(FLUSH, new.bytes.into()), (other, of_other.bytes.into())];
    let mut replacement = Replacement::read(Table::SAMPLES, &columns(), files).unwrap();
    assert!(replacement.concerns(&flush()) && !replacement.concerns(&Origin::Import));
    assert!(replacement.rewrite(&flush(), Bytes::from(old.bytes)).unwrap().is_some());
    assert_eq!((replacement.used(), replacement.gone()), (2, vec![other]));
    let rest = replacement.rest(&Origin::Heal).unwrap().unwrap();
    assert_eq!(rest.stats, left.stats);
    let footer = parquet::file::metadata::ParquetMetaDataReader::new();
    let footer = footer.parse_and_finish(&Bytes::from(rest.bytes.clone())).unwrap();
    let says = footer.file_metadata().key_value_metadata().unwrap().iter().find(|entry| entry.key == ORIGIN_TAG);
    assert_eq!(says.and_then(|entry| entry.value.as_deref()), Some("heal"));
    assert_eq!(decode(Table::SAMPLES, rest.bytes), decode(Table::SAMPLES, left.bytes));
}

#[test]
fn a_rewritten_file_keeps_its_row_groups_and_dictionaries() {
    let (sets, file) = large_file(&[700_000, 400_000, 100, 200]);
    let new = Sample { timestamp: 15_000, value: 99, start_timestamp: 3 };
    let rows = [vec![Row::Sample(new)], vec![], vec![], vec![Row::Sample(new)]];
    let replacement = encode(Table::SAMPLES, &sets, &rows);
    let mut replacement = Replacement::read(Table::SAMPLES, &columns(), [(FLUSH, replacement.bytes.into())]).unwrap();
    let rewritten: Bytes = replacement.rewrite(&flush(), file.clone()).unwrap().unwrap().into();
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
