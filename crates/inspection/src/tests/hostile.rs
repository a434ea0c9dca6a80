//! Files that somebody has made to harm whoever reads the archive.

use arrow::array::{DictionaryArray, Int32Array, StringArray};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;

/// A text of 130 MiB, which would compress to almost nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_file_that_would_take_much_memory() {
    let fixture = Fixture::full().await;
    fixture.edit_rows(Table::SAMPLES, |batch| {
        let texts = StringArray::from(vec!["x".repeat(130 << 20)]);
        let keys = Int32Array::from(vec![0; batch.num_rows()]);
        let labels = DictionaryArray::new(keys, Arc::new(texts));
        let mut columns = batch.columns().to_vec();
        columns[1] = Arc::new(labels);
        RecordBatch::try_new(batch.schema(), columns).unwrap()
    });
    let verification = fixture.verify().await;
    assert_eq!(names(&verification), ["file-unreadable"]);
    let finding = &verification.findings[0];
    assert!(finding.message.contains("would need 130 MiB when it is decoded"), "{}", finding.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_instead_of_a_commit() {
    let fixture = Fixture::full().await;
    let next = (0..).find(|&version| !fixture.commit_path(Table::SAMPLES, version).exists()).unwrap();
    let pipe = fixture.commit_path(Table::SAMPLES, next);
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
    let verification = fixture.verify().await;
    assert_eq!(names(&verification), ["log-unreadable"]);
    assert!(!verification.ok && verification.findings[0].advice.contains("remove it"));
    fs::remove_file(&pipe).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &pipe).unwrap();
    assert_eq!(fixture.found().await, ["log-unreadable"]);
}

/// The log cannot be listed: that is no archive that is missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_from_the_log_to_itself() {
    let fixture = Fixture::full().await;
    let log = fixture.table(Table::SAMPLES).join("_delta_log");
    std::os::unix::fs::symlink(&log, log.join("itself")).unwrap();
    let verification = fixture.verify().await;
    assert_eq!(names(&verification), ["log-unreadable"]);
    assert!(verification.findings[0].message.contains("loop"), "{}", verification.findings[0].message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_and_sizes_as_large_as_numbers_go() {
    let fixture = Fixture::full().await;
    fs::copy(fixture.commit_path(Table::SAMPLES, 1), fixture.commit_path(Table::SAMPLES, u64::MAX)).unwrap();
    assert!(fixture.found().await.contains(&"log-gap"));
    fs::remove_file(fixture.commit_path(Table::SAMPLES, u64::MAX)).unwrap();
    fixture.edit_commit(Table::SAMPLES, 1, |actions| {
        let mut add = actions.iter().find(|action| action.get("add").is_some()).unwrap().clone();
        for copy in ["a", "b", "c"] {
            add["add"]["path"] = json!(format!("date=2026-11-22/{copy}.parquet"));
            add["add"]["size"] = json!(i64::MAX);
            actions.push(add.clone());
        }
    });
    assert!(fixture.found().await.contains(&"file-missing"));
}
