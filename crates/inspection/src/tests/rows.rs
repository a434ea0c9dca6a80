//! Rows that are not as documented.

use arrow::array::{BooleanArray, DictionaryArray, Float64Array, Int64Array, TimestampMillisecondArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Float64Type, Int32Type, Int64Type};
use promarchive_model::series_id;

use super::*;

fn texts(batch: &RecordBatch, name: &str) -> Vec<Option<String>> {
    let column = Text::find(batch, name).unwrap();
    (0..batch.num_rows()).map(|row| column.get(row).map(str::to_owned)).collect()
}

fn text_column(texts: &[Option<String>]) -> ArrayRef {
    Arc::new(texts.iter().map(Option::as_deref).collect::<DictionaryArray<Int32Type>>())
}

fn rows(batch: &RecordBatch, rows: impl IntoIterator<Item = u32>) -> RecordBatch {
    take_record_batch(batch, &UInt32Array::from_iter_values(rows)).unwrap()
}

/// Replaces `labels`, `series_id` with it.
fn relabel(batch: &RecordBatch, labels: impl Fn(&str) -> String) -> RecordBatch {
    let labels: Vec<Option<String>> =
        texts(batch, "labels").into_iter().map(|text| text.map(|text| labels(&text))).collect();
    let metrics = texts(batch, "metric");
    let ids = metrics.iter().zip(&labels).map(|(m, l)| series_id(m.as_deref().unwrap(), l.as_deref().unwrap()));
    let ids = Int64Array::from_iter_values(ids);
    with_column(&with_column(batch, "labels", text_column(&labels)), "series_id", Arc::new(ids))
}

async fn after(table: Table, edit: impl FnOnce(RecordBatch) -> RecordBatch) -> Verification {
    let fixture = Fixture::full().await;
    fixture.edit_rows(table, edit);
    fixture.verify().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_written_again_unchanged_is_sound() {
    for table in Table::ALL {
        let verification = after(table, |batch| batch).await;
        assert!(verification.findings.is_empty(), "{:#?}", verification.findings);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn order() {
    for table in Table::ALL.into_iter().filter(|table| table.has_series()) {
        let swapped_series = after(table, |batch| rows(&batch, (20..40).chain(0..20))).await;
        assert_eq!(names(&swapped_series), ["row-order"]);
        assert_eq!(swapped_series.findings[0].row, Some(20));
        let swapped_times = after(table, |batch| rows(&batch, [1, 0].into_iter().chain(2..40))).await;
        assert_eq!(names(&swapped_times), ["row-order"]);
        assert_eq!(swapped_times.findings[0].row, Some(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twice_in_one_file() {
    for table in Table::ALL.into_iter().filter(|table| table.has_series()) {
        let verification = after(table, |batch| rows(&batch, (0..3).chain(2..40))).await;
        assert_eq!(names(&verification), ["duplicate-in-flush"], "{:#?}", verification.findings);
        assert_eq!(verification.findings[0].row, Some(3));
        assert!(verification.findings[0].file.is_some() && !verification.ok);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn canonical_labels() {
    let spaced = after(Table::SAMPLES, |batch| relabel(&batch, |text| text.replacen(':', ": ", 1))).await;
    assert_eq!(names(&spaced), ["labels"]);
    let escaped = after(Table::HISTOGRAMS, |batch| relabel(&batch, |text| text.replace("job", "\\u006aob"))).await;
    assert_eq!(names(&escaped), ["labels"]);
    let named =
        after(Table::SAMPLES, |batch| relabel(&batch, |text| text.replacen('{', "{\"__name__\":\"up\",", 1))).await;
    assert_eq!(names(&named), ["labels"]);
    let broken = after(Table::SAMPLES, |batch| relabel(&batch, |text| text.replacen('}', "", 1))).await;
    assert_eq!(names(&broken), ["labels"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn label_columns() {
    let verification = after(Table::SAMPLES, |batch| {
        let mut jobs = texts(&batch, "job");
        jobs[7] = None;
        jobs[9] = Some("other".into());
        with_column(&batch, "job", text_column(&jobs))
    })
    .await;
    assert_eq!(names(&verification), ["label-column"]);
    assert_eq!(verification.findings[0].row, Some(7));
    assert!(verification.findings[0].message.contains("(2 rows in all)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn series_ids() {
    let verification = after(Table::EXEMPLARS, |batch| {
        let mut ids = batch.column_by_name("series_id").unwrap().as_primitive::<Int64Type>().values().to_vec();
        ids[39] ^= 1;
        with_column(&batch, "series_id", Arc::new(Int64Array::from(ids)))
    })
    .await;
    assert_eq!(names(&verification), ["series-id"]);
    assert_eq!(verification.findings[0].row, Some(39));
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions() {
    for table in Table::ALL {
        let verification = after(table, |batch| {
            let mut times =
                batch.column_by_name("timestamp").unwrap().as_primitive::<TimestampMillisecondType>().values().to_vec();
            *times.last_mut().unwrap() += 86_400_000;
            with_column(&batch, "timestamp", Arc::new(TimestampMillisecondArray::from(times).with_timezone("UTC")))
        })
        .await;
        assert_eq!(names(&verification), ["partition"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_markers() {
    let stale = |batch: &RecordBatch, row: usize| {
        let marks = (0..batch.num_rows()).map(|at| Some(at == row)).collect::<BooleanArray>();
        with_column(batch, "stale", Arc::new(marks))
    };
    for table in [Table::SAMPLES, Table::HISTOGRAMS] {
        let marked = after(table, |batch| stale(&batch, 3)).await;
        assert_eq!(names(&marked), ["stale"]);
        assert_eq!(marked.findings[0].row, Some(3));
    }
    let as_value = after(Table::SAMPLES, |batch| {
        let mut values = batch.column_by_name("value").unwrap().as_primitive::<Float64Type>().values().to_vec();
        values[5] = f64::from_bits(promarchive_model::STALE_NAN);
        with_column(&batch, "value", Arc::new(Float64Array::from(values)))
    })
    .await;
    assert_eq!(names(&as_value), ["stale"]);
    assert_eq!(as_value.findings[0].row, Some(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn histograms() {
    let miscounted = after(Table::HISTOGRAMS, |batch| {
        let counts = (0..40).map(|row| if row == 4 { 6 } else { 5 });
        with_column(&batch, "count", Arc::new(Int64Array::from_iter_values(counts)))
    })
    .await;
    assert_eq!(names(&miscounted), ["histogram"]);
    assert_eq!(miscounted.findings[0].row, Some(4));
    let of_both_kinds = after(Table::HISTOGRAMS, |batch| {
        let counts = (0..40).map(|row| (row == 8).then_some(1.0)).collect::<Float64Array>();
        with_column(&batch, "float_count", Arc::new(counts))
    })
    .await;
    assert_eq!(names(&of_both_kinds), ["histogram"]);
    assert_eq!(of_both_kinds.findings[0].row, Some(8));
    let hint = after(Table::HISTOGRAMS, |batch| {
        with_column(&batch, "reset_hint", text_column(&vec![Some("maybe".into()); 40]))
    })
    .await;
    assert_eq!(names(&hint), ["histogram"]);
}
