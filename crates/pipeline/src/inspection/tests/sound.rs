//! Archives that are as they should be.

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
    let stale = f64::from_bits(crate::remote_write::STALE_NAN);
    let values = [(NOON - 400 * day, -0.0), (NOON, f64::NAN), (NOON + 1, f64::INFINITY), (NOON + 2, stale)];
    fixture.flush(&samples(&[("__name__", "m\u{10FFFF}")], values)).await;
    fixture.flush(&samples(&[("__name__", &"long".repeat(100)), ("é", "\n")], values)).await;
    let verification = fixture.verify().await;
    assert!(verification.findings.is_empty(), "{:#?}", verification.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_are_sound() {
    let fixture = Fixture::new().await;
    for at in 0..34 {
        fixture.flush(&samples(&[("__name__", "up")], [(NOON + at, 1.0)])).await;
    }
    assert!(fixture.table(Table::Samples).join("_delta_log/00000000000000000032.checkpoint.parquet").exists());
    let verification = fixture.verify().await;
    assert!(verification.findings.is_empty(), "{:#?}", verification.findings);
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
    let location = Location::parse(directory.path().to_str().unwrap()).unwrap();
    let clock = crate::environment::SystemClock::default();
    let error = verify(&location, &VerifyOptions::default(), &clock, &()).await.unwrap_err();
    assert!(error.to_string().contains("no archive here"), "{error}");
    assert!(inspect(&location, &()).await.unwrap_err().to_string().contains("no archive here"));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}
