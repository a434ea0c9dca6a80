//! What was encoded is decoded, every bit.

use proptest::collection::vec;

use super::*;

fn rows_of(table: Table) -> BoxedStrategy<Row> {
    match table.raw().unwrap() {
        Raw::Samples => sample().prop_map(Row::Sample).boxed(),
        Raw::Histograms => histogram().prop_map(Row::Histogram).boxed(),
        Raw::Exemplars => (timestamp(), bits(), select(&["{}", r#"{"trace_id":"1"}"#, r#"{"é":"\""}"#][..]))
            .prop_map(|(timestamp, value, labels)| Row::Exemplar(timestamp, value, labels.to_owned()))
            .boxed(),
        Raw::Metadata => (select(&["up", "é"][..]), select(&KINDS[..]), "\\PC{0,3}", "\\PC{0,3}", timestamp())
            .prop_map(|(metric, kind, unit, help, received_at)| {
                Row::Metadata(MetadataRow { metric: metric.to_owned(), kind, unit, help, received_at })
            })
            .boxed(),
    }
}

fn file() -> impl Strategy<Value = (Table, Vec<Vec<Row>>)> {
    select(&Table::ALL[..]).prop_flat_map(|table| (Just(table), vec(vec(rows_of(table), 0..6), 6)))
}

fn timestamp_of(row: &Row) -> i64 {
    match row {
        Row::Sample(sample) => sample.timestamp,
        Row::Histogram(histogram) => histogram.timestamp,
        Row::Exemplar(timestamp, ..) => *timestamp,
        Row::Metadata(row) => row.received_at,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1500) })]

    #[test]
    fn decoded_is_what_was_encoded((table, rows) in file()) {
        let sets = sets();
        let file = encode(table, &sets, &rows);
        let named = |(place, rows): (usize, &Vec<Row>)| {
            let (metric, labels) = sets.names(place);
            let name = |row: &Row| match row {
                Row::Metadata(row) => (row.metric.clone(), String::new()),
                _ => (metric.clone(), labels.clone()),
            };
            rows.iter().map(|row| { let (metric, labels) = name(row); (metric, labels, row.clone()) }).collect::<Rows>()
        };
        let want: Rows = rows.iter().enumerate().flat_map(named).collect();
        prop_assert_eq!(file.stats.rows, want.len() as u64);
        let times = want.iter().map(|(.., row)| timestamp_of(row));
        prop_assert_eq!(file.stats.timestamp, times.clone().min().zip(times.max()));
        let metrics = want.iter().map(|(metric, ..)| metric.clone());
        prop_assert_eq!(file.stats.metric, metrics.clone().min().zip(metrics.max()));
        prop_assert_eq!(decode(table, file.bytes), want);
    }
}

/// Batches end within series, and dictionaries start anew with them.
#[test]
fn rows_survive_the_ends_of_batches() {
    let sets = sets();
    let sample = |at: i64| Row::Sample(Sample { timestamp: at, value: at as u64, start_timestamp: at % 2 });
    let rows: Vec<Vec<Row>> = [70_000, 1, 200_000, 3].map(|count| (0..count).map(sample).collect()).to_vec();
    let decoded = decode(Table::SAMPLES, encode(Table::SAMPLES, &sets, &rows).bytes);
    let mut decoded = decoded.into_iter();
    for (place, rows) in rows.into_iter().enumerate() {
        let (metric, labels) = sets.names(place);
        for row in rows {
            assert_eq!(decoded.next(), Some((metric.clone(), labels.clone(), row)));
        }
    }
    assert_eq!(decoded.next(), None);
}

/// A stale marker is null, and marked; no other NaN is.
#[test]
fn stale_markers_are_null_to_readers() {
    use arrow::array::AsArray;
    use arrow::datatypes::Float64Type;
    let values = [STALE_NAN, STALE_NAN + 1, 0x7ff8_0000_0000_0000];
    let row = |(timestamp, &value): (i64, &u64)| Row::Sample(Sample { timestamp, value, start_timestamp: 0 });
    let file = encode(Table::SAMPLES, &sets(), &[(0..).zip(&values).map(row).collect()]);
    let batch =
        open_file(Table::SAMPLES, &columns(), bytes::Bytes::from(file.bytes), None).unwrap().next().unwrap().unwrap();
    let value = batch.column_by_name("value").unwrap().as_primitive::<Float64Type>();
    let stale = batch.column_by_name("stale").unwrap().as_boolean();
    assert_eq!(
        value.iter().map(|value| value.map(f64::to_bits)).collect::<Vec<_>>(),
        [None, Some(values[1]), Some(values[2])]
    );
    assert_eq!(stale.iter().collect::<Vec<_>>(), [Some(true), Some(false), Some(false)]);
}
