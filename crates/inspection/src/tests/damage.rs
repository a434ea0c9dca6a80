//! Files that are not there, not readable, not what the log says, or not listed.

use std::time::{Duration, SystemTime};

use parquet::file::properties::EnabledStatistics;
use promarchive_archive::file::{DataFilePath, ORIGIN_TAG, Origin};
use promarchive_wal::Position;

use super::*;

fn first_file(fixture: &Fixture) -> PathBuf {
    fixture.table(Table::SAMPLES).join(&fixture.files(Table::SAMPLES)[0])
}

type Edit = fn(&mut Value);

#[tokio::test(flavor = "multi_thread")]
async fn missing_files_and_other_sizes() {
    let fixture = Fixture::full().await;
    let file = first_file(&fixture);
    let whole = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    let verification = fixture.verify().await;
    assert_eq!(names(&verification), ["file-missing"]);
    let finding = &verification.findings[0];
    assert_eq!(
        (finding.table, finding.file.as_deref()),
        (Some("samples"), file.to_str().and_then(|f| f.split_once("samples/")).map(|f| f.1))
    );
    fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(fixture.found().await, ["file-size"]);
    fs::write(&file, [&whole[..], b"x"].concat()).unwrap();
    assert_eq!(fixture.found().await, ["file-size"]);
    fs::write(&file, &whole).unwrap();
    assert!(fixture.verify().await.ok);
}

fn unreadable(verification: &Verification) -> &Finding {
    verification.findings.iter().find(|finding| finding.check == Check::FileUnreadable).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_files() {
    let fixture = Fixture::full().await;
    let file = first_file(&fixture);
    let whole = fs::read(&file).unwrap();
    let footer =
        parquet::file::metadata::ParquetMetaDataReader::new().parse_and_finish(&Bytes::from(whole.clone())).unwrap();
    let column = footer.row_group(0).column(0);
    let (start, length) = column.byte_range();
    let mut damaged = whole.clone();
    damaged[start as usize..(start + length) as usize].fill(0xff);
    fs::write(&file, damaged).unwrap();
    let verification = fixture.verify().await;
    assert_eq!(names(&verification), ["file-checksum", "file-unreadable"]);
    let finding = unreadable(&verification);
    assert_eq!((finding.offset, finding.row_group), (Some(start), Some(0)));
    assert!(finding.message.contains("column \"metric\""), "{}", finding.message);
    let mut damaged = whole.clone();
    let end = damaged.len();
    damaged[end - 8..end - 4].fill(0xff);
    fs::write(&file, damaged).unwrap();
    let verification = fixture.verify().await;
    assert_eq!(names(&verification), ["file-checksum", "file-unreadable"]);
    assert_eq!(unreadable(&verification).offset, Some(end as u64 - 8));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_schema() {
    let fixture = Fixture::full().await;
    fixture.edit_rows(Table::SAMPLES, |batch| {
        let schema = batch.schema();
        let fields = schema.fields().iter().map(|field| match field.name().as_str() {
            "value" => field.as_ref().clone().with_name("Value"),
            _ => field.as_ref().clone(),
        });
        let schema = arrow::datatypes::Schema::new(fields.collect::<Vec<_>>());
        RecordBatch::try_new(Arc::new(schema), batch.columns().to_vec()).unwrap()
    });
    assert_eq!(fixture.found().await, ["file-schema"]);
    fixture.edit_rows_of_another_schema();
    assert_eq!(fixture.found().await, ["file-schema"]);
}

impl Fixture {
    fn edit_rows_of_another_schema(&self) {
        let column: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![1]));
        let bytes = parquet_file(&RecordBatch::try_from_iter([("metric", column)]).unwrap(), |properties| properties);
        self.replace_first(Table::SAMPLES, &bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_of_the_log() {
    let fixture = Fixture::full().await;
    let whole = fs::read(fixture.commit_path(Table::SAMPLES, 1)).unwrap();
    let edits: [(&str, Edit); 7] = [
        ("statistics", |stats| stats["numRecords"] = json!(39)),
        ("statistics", |stats| stats["minValues"]["metric"] = json!("upp")),
        ("statistics", |stats| stats["maxValues"]["metric"] = json!("u")),
        ("statistics", |stats| stats["minValues"]["timestamp"] = json!(Moment(NOON + 1).to_string())),
        ("statistics", |stats| stats["maxValues"]["timestamp"] = json!(Moment(NOON).to_string())),
        ("value-statistics", |stats| stats["maxValues"]["value"] = json!(1.0)),
        ("statistics-missing", |stats| drop(stats.as_object_mut().unwrap().remove("numRecords"))),
    ];
    for (check, edit) in edits {
        fixture.edit_stats(Table::SAMPLES, 1, edit);
        assert_eq!(fixture.found().await, [check]);
        fs::write(fixture.commit_path(Table::SAMPLES, 1), &whole).unwrap();
    }
    // A cut bound is a bound.
    fixture.edit_stats(Table::SAMPLES, 1, |stats| {
        stats["minValues"]["metric"] = json!("u");
        stats["maxValues"]["metric"] = json!("v");
    });
    assert!(fixture.found().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_on_values_in_the_file() {
    let fixture = Fixture::full().await;
    let bytes = Bytes::from(fs::read(first_file(&fixture)).unwrap());
    let batch = open_file(Table::SAMPLES, &LabelColumns::default(), bytes, None).unwrap().next().unwrap().unwrap();
    let bytes = parquet_file(&batch, |properties| properties.set_statistics_enabled(EnabledStatistics::Chunk));
    fixture.replace_first(Table::SAMPLES, &bytes);
    assert_eq!(fixture.found().await, ["value-statistics"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_across_flushes() {
    let fixture = Fixture::new().await;
    let row = |at: i64| samples(&[("__name__", "up")], [(NOON + at, 1.0), (NOON + at + 10, 1.0)]);
    fixture.flush(&row(0)).await;
    // Two flushes without these rows: with no time to keep them, the receiver forgets them.
    fixture.flush(&row(1)).await;
    fixture.flush(&row(2)).await;
    fixture.flush(&row(0)).await;
    let verification = fixture.verify().await;
    assert_eq!(names(&verification), ["duplicate"], "{:#?}", verification.findings);
    assert!(verification.ok && verification.tables[0].duplicates == 2);
    assert!(verification.findings[0].message.starts_with("2 rows are also in date=2026-11-22/part-"));
    // Another receiver, that was never told.
    fixture.flush(&row(3)).await;
    let path = fixture.files(Table::SAMPLES).pop().unwrap();
    fixture.copy_into_a_flush_of_its_own(&path, 99);
    let verification = fixture.verify().await;
    assert_eq!(names(&verification), ["duplicate", "duplicate-in-horizon"]);
    assert!(!verification.ok && verification.tables[0].duplicates == 4);
}

/// What a bit says that decodes all the same is seen by the checksum alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_that_still_decodes() {
    let fixture = Fixture::full().await;
    let path = fixture.files(Table::SAMPLES)[0].clone();
    let file = fixture.table(Table::SAMPLES).join(&path);
    let mut bytes = fs::read(&file).unwrap();
    let program = b"promarchive 0.";
    let at = bytes.windows(program.len()).position(|found| found == program).unwrap();
    bytes[at] ^= 1;
    fs::write(&file, bytes).unwrap();
    let verification = fixture.verify().await;
    assert_eq!(names(&verification), ["file-checksum"], "{:#?}", verification.findings);
    assert_eq!(verification.findings[0].file.as_deref(), Some(path.as_str()));
    assert_eq!(verification.tables[0].files_without_checksum, 0);

    // A file of an earlier version has none: its bytes are taken as they are, and it is counted.
    for version in 1..=3 {
        fixture.edit_commit(Table::SAMPLES, version, |actions| {
            actions.iter_mut().filter_map(|action| action.get_mut("add")).for_each(|add| add["tags"] = Value::Null);
        });
    }
    let verification = fixture.verify().await;
    assert_eq!(names(&verification), [""; 0], "{:#?}", verification.findings);
    assert!(verification.tables[0].files_without_checksum > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_flush_committed_twice() {
    let fixture = Fixture::full().await;
    let path = fixture.files(Table::EXEMPLARS)[0].clone();
    let copy = format!("{}{:016x}.parquet", &path[..path.len() - ".parquet".len() - 16], 0x5eed);
    fixture.copy(Table::EXEMPLARS, &path, &copy, 3);
    let verification = fixture.verify().await;
    assert_eq!(names(&verification), ["duplicate-in-flush"], "{:#?}", verification.findings);
    assert_eq!(verification.tables[2].duplicates, 40);
}

impl Fixture {
    /// Lists a copy of a file in a later version.
    fn copy(&self, table: Table, path: &str, copy: &str, version: u64) {
        fs::copy(self.table(table).join(path), self.table(table).join(copy)).unwrap();
        let find = |text: &str| -> Option<Value> {
            let action: Value = serde_json::from_str(text).unwrap();
            (action["add"]["path"] == json!(path)).then_some(action)
        };
        let versions = (1..40).filter_map(|version| fs::read_to_string(self.commit_path(table, version)).ok());
        let mut add = versions.collect::<String>().lines().find_map(find).unwrap();
        add["add"]["path"] = json!(copy);
        // As its name says.
        add["add"]["tags"][ORIGIN_TAG] = json!(Origin::of(None, copy).to_string());
        self.edit_commit(table, version, |actions| actions.push(add));
    }

    fn copy_into_a_flush_of_its_own(&self, path: &str, position: u64) {
        let parsed = DataFilePath::parse(path).unwrap();
        let copy = DataFilePath { position, ..parsed }.to_string();
        let version =
            (0..).take_while(|&version| self.commit_path(Table::SAMPLES, version).exists()).last().unwrap() + 1;
        let transaction = json!({"txn": {"appId": parsed.writer.to_string(), "version": position}});
        let info = json!({"commitInfo": {"timestamp": NOON + 3_600_000}});
        fs::write(self.commit_path(Table::SAMPLES, version), format!("{info}\n{transaction}\n")).unwrap();
        self.copy(Table::SAMPLES, path, &copy, version);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_leaves() {
    let fixture = Fixture::full().await;
    let path = fixture.files(Table::SAMPLES)[0].clone();
    let at = |name: &str| fixture.table(Table::SAMPLES).join(name);
    let uncommitted = format!("{}{:016x}.parquet", &path[..path.len() - ".parquet".len() - 16], 0x5eed);
    for name in [&uncommitted, &format!("{path}#1"), "_delta_log/00000000000000000004.json#12"] {
        fs::write(at(name), "half").unwrap();
    }
    let verification = fixture.verify().await;
    assert_eq!(names(&verification), ["leftover"], "{:#?}", verification.findings);
    assert!(verification.ok);
    assert_eq!((verification.notes, verification.tables[0].leftovers.len()), (3, 3));
    assert!(verification.tables[0].leftovers.iter().all(|leftover| leftover.bytes == 4));
    let old = SystemTime::UNIX_EPOCH + Duration::from_millis((NOON - 86_400_000) as u64);
    fs::File::options().write(true).open(at(&uncommitted)).unwrap().set_modified(old).unwrap();
    let leftovers = fixture.verify().await.tables.remove(0).leftovers;
    assert!(leftovers.iter().any(|leftover| leftover.file == uncommitted && leftover.age_seconds > 86_400));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_expects() {
    let fixture = Fixture::full().await;
    for name in ["notes.txt", "_delta_log/00000000000000000001.json.bak", "date=2026-11-22/part-1.parquet", "x#y"] {
        fs::write(fixture.table(Table::HISTOGRAMS).join(name), "?").unwrap();
    }
    std::os::unix::fs::symlink("/dev/null", fixture.table(Table::HISTOGRAMS).join("link")).unwrap();
    let verification = fixture.verify().await;
    assert_eq!(names(&verification), ["unexpected-file"]);
    assert_eq!((verification.ok, verification.warnings), (true, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn wals() {
    let fixture = Fixture::full().await;
    let options = VerifyOptions { wal: Some(fixture.wal()) };
    let listing = || {
        let entries = fs::read_dir(fixture.wal()).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    };
    let before = listing();
    assert!(fixture.verify_with(&options).await.findings.is_empty());
    // Written by the last process, not flushed, its end torn; then damaged in the middle.
    (0..3).for_each(|at| send(&fixture.core, &request(NOON + at, 1)));
    let segment = fixture.wal().join(listing().into_iter().rfind(|name| name.starts_with("wal-")).unwrap());
    let whole = fs::read(&segment).unwrap();
    fs::write(&segment, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(names(&fixture.verify_with(&options).await), ["wal-torn"]);
    let mut damaged = whole.clone();
    damaged[4160 + 30] ^= 1;
    fs::write(&segment, &damaged).unwrap();
    let verification = fixture.verify_with(&options).await;
    assert_eq!(names(&verification), ["wal-damaged"]);
    assert_eq!(verification.findings[0].offset, Some(4160));
    // Nothing was changed, nor set aside.
    assert_eq!(listing(), before);
    assert_eq!(fs::read(&segment).unwrap(), damaged);
    // An older copy: no segment at all.
    fs::remove_file(&segment).unwrap();
    let verification = fixture.verify_with(&options).await;
    assert_eq!(names(&verification), ["wal-behind"]);
    assert_eq!(verification.errors, 4);
    // The tables' positions are above those of the WAL by one.
    let position = Position::new(3);
    assert!(verification.findings[0].message.contains(&format!("position {position} ")));
    fs::write(fixture.wal().join("writer"), "x").unwrap();
    fs::write(&segment, &whole).unwrap();
    assert_eq!(names(&fixture.verify_with(&options).await), ["wal-unreadable"]);
    for elsewhere in [fixture.directory.path().join("nowhere"), fixture.archive()] {
        assert_eq!(
            names(&fixture.verify_with(&VerifyOptions { wal: Some(elsewhere.clone()) }).await),
            ["wal-unreadable"]
        );
        assert!(elsewhere.ends_with("archive") || !elsewhere.exists());
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_read_is_an_error() {
    let walked = store(FsPath::new("/nowhere")).table(Table::SAMPLES).walk().await;
    assert!(walked.unwrap_err().to_string().starts_with("/nowhere/samples"));
}
