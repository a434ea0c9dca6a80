//! Key columns are made from runs by this crate; the library reads them back row by row.

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use promarchive_model::series_id;

use super::*;

/// A row's key as a reader sees it: metric, labels, `job`, `pod`, series id.
type Key = (String, String, Option<String>, Option<String>, i64);

fn read_keys(file: Bytes) -> Vec<Key> {
    let mut keys = Vec::new();
    for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
        let batch = batch.unwrap();
        let text = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().clone();
        let (metric, labels, job, pod) = (text("metric"), text("labels"), text("job"), text("pod"));
        let ids = batch.column_by_name("series_id").unwrap().as_primitive::<Int64Type>().clone();
        let optional =
            |column: &arrow::array::StringArray, row| (!column.is_null(row)).then(|| column.value(row).to_owned());
        keys.extend((0..batch.num_rows()).map(|row| {
            let [metric, labels] = [&metric, &labels].map(|column| column.value(row).to_owned());
            (metric, labels, optional(&job, row), optional(&pod, row), ids.value(row))
        }));
    }
    keys
}

/// Series with so many rows each, and labels that some share and some lack.
fn check(rows_of_each: &[usize]) {
    let jobs: Vec<String> = (0..rows_of_each.len()).map(|at| format!("job-{}", at % 17)).collect();
    let pods: Vec<String> = (0..rows_of_each.len()).map(|at| format!("pod-{at}")).collect();
    let set = |at: usize| {
        let labels = [
            (!at.is_multiple_of(3)).then(|| ("job", jobs[at].as_str())),
            (!at.is_multiple_of(5)).then(|| ("pod", pods[at].as_str())),
        ];
        let own = [Some(("a", pods[at].as_str()))];
        ("up", own.into_iter().chain(labels).flatten().collect())
    };
    let sets = Sets::new(&(0..rows_of_each.len()).map(set).collect::<Vec<_>>());
    let sample = |at| Row::Sample(Sample { timestamp: at as i64, ..Sample::default() });
    let rows: Vec<Vec<Row>> = rows_of_each.iter().map(|&rows| (0..rows).map(sample).collect()).collect();
    let file = encode(Table::SAMPLES, &sets, &rows);
    let key = |place: usize| {
        let (metric, labels) = sets.names(place);
        let value = |name: &str| sets.get(place).pairs().find(|(n, _)| *n == name).map(|(_, value)| value.to_owned());
        let id = series_id(&metric, &labels);
        std::iter::repeat_n((metric, labels, value("job"), value("pod"), id), rows_of_each[place])
    };
    assert_eq!(read_keys(file.bytes.into()), (0..rows.len()).flat_map(key).collect::<Vec<Key>>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn runs_of_any_length(rows_of_each in proptest::collection::vec(prop_oneof![4 => 0..20_usize, 1 => 0..3000_usize], 1..150)) {
        check(&rows_of_each);
    }
}

#[test]
fn runs_that_end_with_their_page() {
    const PAGE: usize = 64 * 1024;
    check(&[PAGE]);
    check(&[1; 9]);
    check(&[PAGE - 1, 1, PAGE, PAGE + 1, 7, 3 * PAGE, 1]);
}
