//! Logs that do not hold together.

use super::*;

type Edit = fn(&mut Vec<Value>);

fn checkpoint(fixture: &Fixture) -> PathBuf {
    fixture.table(Table::SAMPLES).join("_delta_log/00000000000000000032.checkpoint.parquet")
}

async fn with_checkpoint() -> Fixture {
    let fixture = Fixture::new().await;
    for at in 0..34 {
        fixture.flush(&samples(&[("__name__", "up")], [(NOON + at, 1.0)])).await;
    }
    fixture
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_are_missing() {
    let fixture = Fixture::full().await;
    fs::remove_dir_all(fixture.table(Table::METADATA)).unwrap();
    let verification = fixture.verify().await;
    assert_eq!((names(&verification), verification.ok), (vec!["table-missing"], true));
    fs::remove_dir_all(fixture.table(Table::SAMPLES)).unwrap();
    let error = verify(&fixture.store(), &VerifyOptions::default(), fixture.clock.as_ref(), &()).await.unwrap_err();
    assert!(error.to_string().contains("no archive found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn gaps() {
    let fixture = Fixture::full().await;
    fs::remove_file(fixture.commit_path(Table::SAMPLES, 1)).unwrap();
    let verification = fixture.verify().await;
    assert!(names(&verification).contains(&"log-gap"), "{:#?}", verification.findings);
    assert!(!verification.ok);
    let of_the_log = verification.findings.iter().filter(|f| f.severity == Severity::Error).count();
    assert_eq!(of_the_log, 1, "{:#?}", verification.findings);
    // Behind a checkpoint readers do not notice.
    let fixture = with_checkpoint().await;
    fs::remove_file(fixture.commit_path(Table::SAMPLES, 7)).unwrap();
    assert_eq!(fixture.found().await, ["log-gap"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_commits() {
    let fixture = Fixture::full().await;
    let path = fixture.commit_path(Table::SAMPLES, 2);
    let whole = fs::read_to_string(&path).unwrap();
    for damaged in [&whole[..whole.len() - 9], "", &whole.replace("\"size\"", "\"sice\"")] {
        fs::write(&path, damaged).unwrap();
        let verification = fixture.verify().await;
        let finding = verification.findings.iter().find(|f| f.check == Check::LogUnreadable);
        let finding = finding.unwrap_or_else(|| panic!("{:#?}", verification.findings));
        assert_eq!(finding.file.as_deref(), Some("_delta_log/00000000000000000002.json"));
        assert!(finding.offset.is_some());
        assert_eq!(verification.errors, 1, "{:#?}", verification.findings);
        // What is left of the table is still verified.
        assert!(verification.tables[0].rows >= 40);
    }
    fs::write(path, whole).unwrap();
    assert!(fixture.found().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn protocols_and_schemas() {
    let fixture = Fixture::full().await;
    let path = fixture.commit_path(Table::SAMPLES, 0);
    let whole = fs::read_to_string(&path).unwrap();
    let edits: [(&str, Edit); 7] = [
        ("log-protocol", |actions| actions[1] = json!({"protocol": {"minReaderVersion": 2, "minWriterVersion": 5}})),
        ("log-schema", |actions| {
            let text = actions[2]["metaData"]["schemaString"]
                .as_str()
                .unwrap()
                .replace("\"name\":\"value\"", "\"name\":\"values\"");
            actions[2]["metaData"]["schemaString"] = json!(text);
        }),
        ("log-schema", |actions| actions[2]["metaData"]["partitionColumns"] = json!([])),
        ("log-schema", |actions| actions[2]["metaData"]["configuration"]["promarchive.schemaVersion"] = json!("2")),
        ("log-schema", |actions| actions[2]["metaData"]["configuration"]["promarchive.labelColumns"] = json!("value")),
        ("log-schema", |actions| {
            actions[2]["metaData"]["configuration"]["delta.dataSkippingStatsColumns"] = json!("value")
        }),
        ("log-schema", |actions| drop(actions.remove(2))),
    ];
    for (check, edit) in edits {
        fixture.edit_commit(Table::SAMPLES, 0, edit);
        let verification = fixture.verify().await;
        assert_eq!(names(&verification), [check], "{:#?}", verification.findings);
        fs::write(&path, &whole).unwrap();
    }
}

/// As earlier versions made a table.
fn open_to_all(actions: &mut [Value]) {
    assert_eq!(actions[1]["protocol"]["writerFeatures"], json!(["appendOnly", "invariants", "promarchive"]));
    actions[1] = json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}});
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_is_no_fault() {
    let fixture = Fixture::full().await;
    let guarded = async || {
        let inspection = inspect(&fixture.store(), &()).await.unwrap();
        inspection.tables.iter().map(|table| table.guarded).collect::<Vec<_>>()
    };
    assert_eq!(guarded().await, [true; 4]);
    for table in [Table::SAMPLES, Table::EXEMPLARS] {
        fixture.edit_commit(table, 0, |actions| open_to_all(actions));
    }
    assert_eq!((guarded().await, fixture.found().await), (vec![false, true, false, true], vec![]));
    let archive = Archive::open(fixture.store()).await.unwrap();
    let upgraded = async || {
        let upgrades = upgrade(&archive, fixture.clock.as_ref()).await;
        upgrades.into_iter().map(|table| table.result.unwrap()).collect::<Vec<_>>()
    };
    let [now, before, then] = [Upgraded::Now(4), Upgraded::Before(3), Upgraded::Before(4)];
    assert_eq!(upgraded().await, [now, before, now, before]);
    assert_eq!(upgraded().await, [then, before, then, before]);
    assert_eq!((guarded().await, fixture.found().await), (vec![true; 4], vec![]));
}

/// A program that makes a checkpoint and leaves the features out takes the guard away.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_with_another_protocol() {
    let fixture = with_checkpoint().await;
    fixture.edit_commit(Table::SAMPLES, 0, |actions| open_to_all(actions));
    let verification = fixture.verify().await;
    assert_eq!(names(&verification), ["checkpoint-differs"]);
    assert!(verification.findings[0].message.contains("readers see the protocol (1, 7) with"));
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_that_go_back() {
    let fixture = Fixture::full().await;
    for position in [0, 2] {
        fixture.edit_commit(Table::HISTOGRAMS, 3, |actions| actions[1]["txn"]["version"] = json!(position));
        assert_eq!(fixture.found().await, ["log-transaction"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts() {
    let fixture = Fixture::full().await;
    let path = fixture.files(Table::HISTOGRAMS)[0].clone();
    let remove = |path: &str| json!({"remove": {"path": path, "dataChange": true, "deletionTimestamp": NOON}});
    fixture.edit_commit(Table::HISTOGRAMS, 3, |actions| actions.push(remove("date=2026-11-22/nothing.parquet")));
    assert_eq!(fixture.found().await, ["log-conflict"]);
    let fixture = Fixture::full().await;
    let add = fs::read_to_string(fixture.commit_path(Table::HISTOGRAMS, 1)).unwrap();
    let add: Value = add
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .find(|a: &Value| a["add"]["path"] == json!(fixture.files(Table::HISTOGRAMS)[0]))
        .unwrap();
    fixture.edit_commit(Table::HISTOGRAMS, 3, |actions| actions.push(add));
    assert_eq!(fixture.found().await, ["log-conflict"]);
    assert!(path.starts_with("date="));
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_commits() {
    let fixture = Fixture::full().await;
    fixture.edit_commit(Table::HISTOGRAMS, 3, |actions| drop(actions.remove(1)));
    let verification = fixture.verify().await;
    assert_eq!((names(&verification), verification.ok), (vec!["log-foreign"], true));
    let fixture = Fixture::full().await;
    fixture.edit_commit(Table::HISTOGRAMS, 3, |actions| {
        actions.push(json!({"domainMetadata": {"domain": "x", "configuration": "", "removed": false}}))
    });
    assert_eq!(fixture.found().await, ["log-foreign"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_that_cannot_be_read() {
    let fixture = with_checkpoint().await;
    let mut bytes = fs::read(checkpoint(&fixture)).unwrap();
    bytes.truncate(bytes.len() / 2);
    fs::write(checkpoint(&fixture), bytes).unwrap();
    let verification = fixture.verify().await;
    assert_eq!(names(&verification), ["checkpoint-unreadable"], "{:#?}", verification.findings);
    // Without readers' view, the commits tell which files there are.
    assert_eq!(verification.tables[0].rows, 34);
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_that_say_something_else() {
    let fixture = with_checkpoint().await;
    let path = fixture.files(Table::SAMPLES)[0].clone();
    let add = fs::read_to_string(fixture.commit_path(Table::SAMPLES, 1)).unwrap();
    // A commit that the checkpoint swallowed, changed behind its back.
    let other = path.replace("part-00000000000000000001", "part-00000000000000000090");
    fs::copy(fixture.table(Table::SAMPLES).join(&path), fixture.table(Table::SAMPLES).join(&other)).unwrap();
    fs::write(fixture.commit_path(Table::SAMPLES, 1), add.replace(&path, &other)).unwrap();
    let found = fixture.found().await;
    assert!(found.contains(&"checkpoint-differs"), "{found:?}");
    assert_eq!(fixture.verify().await.errors, 2);
}

/// Another program has put it there. What cannot be read of it readers leave out, and what can be read they believe.
#[tokio::test(flavor = "multi_thread")]
async fn foreign_checksums() {
    let fixture = Fixture::full().await;
    let created = fs::read_to_string(fixture.commit_path(Table::SAMPLES, 0)).unwrap();
    let actions: Vec<Value> = created.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let newest = (0..).take_while(|&version| fixture.commit_path(Table::SAMPLES, version).exists()).last().unwrap();
    let name = format!("_delta_log/{newest:020}.crc");
    let path = fixture.table(Table::SAMPLES).join(&name);
    fs::write(&path, "junk").unwrap();
    let verification = fixture.verify().await;
    let [finding] = &verification.findings[..] else { panic!("{:#?}", verification.findings) };
    assert_eq!((finding.check, finding.file.as_deref()), (Check::UnexpectedFile, Some(name.as_str())));
    assert!(verification.ok && finding.advice.contains("out of _delta_log"), "{finding:?}");
    let inspection = inspect(&fixture.store(), &()).await.unwrap();
    assert!(inspection.problems.iter().any(|problem| problem.contains(path.to_str().unwrap())), "{inspection:?}");

    let mut metadata = actions[2]["metaData"].clone();
    metadata["schemaString"] = json!("no schema");
    let mut checksum = json!({"tableSizeBytes": 0, "numFiles": 0, "numMetadata": 1, "numProtocol": 1});
    checksum["metadata"] = metadata;
    checksum["protocol"] = actions[1]["protocol"].clone();
    fs::write(&path, checksum.to_string()).unwrap();
    let verification = fixture.verify().await;
    let finding = verification.findings.iter().find(|finding| finding.check == Check::LogUnreadable);
    let finding = finding.unwrap_or_else(|| panic!("{:#?}", verification.findings));
    assert_eq!(finding.file.as_deref(), Some(name.as_str()), "{finding:?}");
    assert!(finding.advice.contains("out of _delta_log"), "{finding:?}");
    fs::remove_file(path).unwrap();
    assert!(fixture.found().await.is_empty());
}
