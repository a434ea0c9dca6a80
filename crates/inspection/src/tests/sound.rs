//! Archives that are as they should be.

use parquet::basic::{ColumnOrder, Type};
use parquet::file::metadata::ParquetMetaDataReader;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_receivers_archive_has_nothing_to_find() {
    let fixture = Fixture::full().await;
    let wal = VerifyOptions { wal: Some(fixture.wal()) };
    let verification = fixture.verify_with(&wal).await;
    assert!(verification.findings.is_empty() && verification.ok, "{:#?}", verification.findings);
    let rows: Vec<(&str, u64, u64)> = verification.tables.iter().map(|t| (t.table, t.files, t.rows)).collect();
    assert_eq!(rows, [("samples", 3, 120), ("histograms", 3, 120), ("exemplars", 3, 120), ("metadata", 3, 3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_without_rows_is_sound() {
    let fixture = Fixture::new().await;
    let verification = fixture.verify_with(&VerifyOptions { wal: Some(fixture.wal()) }).await;
    assert!(verification.findings.is_empty(), "{:#?}", verification.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_values_stale_markers_and_nan_are_sound() {
    let fixture = Fixture::new().await;
    let day = 86_400_000;
    let stale = f64::from_bits(promarchive_model::STALE_NAN);
    let values = [(NOON - 400 * day, -0.0), (NOON, f64::NAN), (NOON + 1, f64::INFINITY), (NOON + 2, stale)];
    fixture.flush(&samples(&[("__name__", "m\u{10FFFF}")], values)).await;
    fixture.flush(&samples(&[("__name__", &"long".repeat(100)), ("é", "\n")], values)).await;
    // No short text is larger.
    fixture.flush(&samples(&[("__name__", &"\u{10FFFF}".repeat(100))], values)).await;
    let verification = fixture.verify().await;
    assert!(verification.findings.is_empty(), "{:#?}", verification.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_are_sound() {
    let fixture = Fixture::new().await;
    for at in 0..34 {
        fixture.flush(&samples(&[("__name__", "up")], [(NOON + at, 1.0)])).await;
    }
    assert!(fixture.table(Table::SAMPLES).join("_delta_log/00000000000000000032.checkpoint.parquet").exists());
    let verification = fixture.verify().await;
    assert!(verification.findings.is_empty(), "{:#?}", verification.findings);
}

/// Files of all tables, rewritten ones, and checkpoints: older readers refuse a file with any other order.
#[tokio::test(flavor = "multi_thread")]
async fn every_parquet_file_has_column_orders_that_every_reader_knows() {
    let fixture = Fixture::full().await;
    for at in 0..34 {
        fixture.flush(&samples(&[("__name__", "up")], [(NOON, f64::from(at)), (NOON + 1 + i64::from(at), 1.0)])).await;
    }
    let (mut files, mut checkpoints, mut doubles) = (0, 0, 0);
    let mut folders: Vec<PathBuf> = Table::ALL.map(|table| fixture.table(table)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "parquet") {
                let bytes = Bytes::from(fs::read(&path).unwrap());
                let metadata = ParquetMetaDataReader::new().parse_and_finish(&bytes).unwrap();
                let metadata = metadata.file_metadata();
                let by_type = |order: &ColumnOrder| matches!(order, ColumnOrder::TYPE_DEFINED_ORDER(_));
                assert!(metadata.column_orders().unwrap().iter().all(by_type), "{}", path.display());
                let columns = metadata.schema_descr().columns();
                doubles += columns.iter().filter(|column| column.physical_type() == Type::DOUBLE).count();
                files += 1;
                checkpoints += u32::from(path.to_str().unwrap().contains(".checkpoint."));
            }
        }
    }
    assert!(files > 40 && checkpoints > 0 && doubles > 40, "{files} {checkpoints} {doubles}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_superseded_file_is_kept_for_older_versions() {
    let fixture = Fixture::new().await;
    fixture.flush(&samples(&[("__name__", "up")], [(NOON, 1.0), (NOON + 1, 1.0)])).await;
    fixture.flush(&samples(&[("__name__", "up")], [(NOON, 2.0)])).await;
    let verification = fixture.verify().await;
    assert_eq!(names(&verification), ["removed"], "{:#?}", verification.findings);
    assert!(verification.ok);
    assert_eq!(verification.notes, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_archive_in_an_empty_directory() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    let clock = promarchive_model::environment::SystemClock::default();
    let error = verify(&store, &VerifyOptions::default(), &clock, &()).await.unwrap_err();
    assert!(error.to_string().contains("no archive found"), "{error}");
    assert!(inspect(&store, &()).await.unwrap_err().to_string().contains("no archive found"));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}
