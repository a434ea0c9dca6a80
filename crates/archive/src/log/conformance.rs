//! One suite for every [`TableLog`], run for the model and for Delta on a directory; and the commit protocol above it.

use std::collections::BTreeSet;
use std::sync::Arc;

use promarchive_model::{Date, WriterId};
use tempfile::TempDir;

use crate::Location;
use crate::commit::{CommitError, Committed};
use crate::file::{DataFilePath, Origin};
use crate::log::forward::ForwardLog;
use crate::log::{
    Addition, Commit, CommitKind, DataFile, Definition, FileStats, LogError, Put, Snapshot, TableLog, TableProtocol,
};
use crate::log::{DeltaLog, ModelLog, PutFault};
use crate::schema::{LABEL_COLUMNS_PROPERTY, LabelColumns, SCHEMA_VERSION_PROPERTY, Table};
use crate::store::Store;

const WRITER: WriterId = WriterId::from_u128(7);
const OTHER: WriterId = WriterId::from_u128(8);

/// A table that does not exist yet, and the means to see it through other eyes.
trait Bench {
    /// A handle that has seen nothing yet.
    fn fresh(&self) -> Arc<dyn TableLog>;
    /// Makes a table that was just created one of an earlier version.
    fn age(&self);
}

struct ModelBench(ModelLog);

impl Bench for ModelBench {
    fn fresh(&self) -> Arc<dyn TableLog> {
        Arc::new(self.0.clone())
    }

    fn age(&self) {
        self.0.age();
    }
}

struct DeltaBench(TempDir);

impl DeltaBench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Puts a file into the log behind everybody's back.
    fn put_foreign(&self, version: u64, content: &str) {
        let log = self.0.path().join("samples/_delta_log");
        std::fs::write(log.join(format!("{version:020}.json")), content).unwrap();
    }

    fn log_files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path().join("samples/_delta_log")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Bench for DeltaBench {
    fn fresh(&self) -> Arc<dyn TableLog> {
        let store = Store::open(Location::at(self.0.path()).unwrap()).unwrap();
        Arc::new(DeltaLog::new(store.table(Table::SAMPLES)))
    }

    fn age(&self) {
        let created = self.0.path().join("samples/_delta_log/00000000000000000000.json");
        let text = std::fs::read_to_string(&created).unwrap();
        let [new, old] = [TableProtocol::Guarded, TableProtocol::Open].map(|protocol| protocol.action().to_string());
        assert!(text.contains(&new), "{text}");
        std::fs::write(&created, text.replace(&new, &old)).unwrap();
    }
}

fn definition(id: u128) -> Definition {
    let label_columns = LabelColumns::new(vec!["job".into(), "pod".into()]).unwrap();
    Definition { table: Table::SAMPLES, label_columns, id, created: 5 }
}

fn file(number: u64) -> DataFile {
    let date = Date(20_400 - i32::try_from(number % 3).unwrap());
    let path = DataFilePath { date, position: number, writer: WRITER, nonce: number };
    let stats = FileStats {
        rows: number + 1,
        metric: Some(("a".into(), format!("z{number}"))),
        timestamp: Some((date.start_ms(), date.start_ms() + 17)),
    };
    DataFile {
        path: path.to_string(),
        size: 100 + number,
        modification_time: 1000,
        date,
        stats: Some(stats),
        origin: Origin::Flush { writer: WRITER, position: number },
        checksum: Some(u128::from(number) << 64),
    }
}

fn append(writer: WriterId, position: u64, files: &[u64]) -> Commit {
    let add = files.iter().map(|&number| file(number)).collect();
    Commit { kind: CommitKind::Append { writer, position }, add, remove: Vec::new(), time: 2000 }
}

/// A commit of a kind that carries no transaction.
fn rewrite(kind: CommitKind, old: &[u64], new: &[u64]) -> Commit {
    let files = |numbers: &[u64]| numbers.iter().map(|&number| file(number)).collect();
    Commit { kind, add: files(new), remove: files(old), time: 3000 }
}

/// Commits for a writer that knows of everything it has committed before.
async fn commit(log: &dyn TableLog, change: &Commit) -> Result<Committed, CommitError> {
    let last = change.transaction().map(|(_, position)| position - 1);
    crate::commit::commit(log, change, last).await
}

async fn loaded(log: &dyn TableLog) -> Arc<dyn Snapshot> {
    log.load().await.unwrap().unwrap()
}

/// The files in the newest version, by path.
async fn files(log: &dyn TableLog) -> Vec<DataFile> {
    let mut files = loaded(log).await.files().await.unwrap();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn sorted(numbers: impl IntoIterator<Item = u64>) -> Vec<DataFile> {
    let mut files: Vec<DataFile> = numbers.into_iter().map(file).collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

async fn created(bench: &impl Bench) -> Arc<dyn TableLog> {
    let log = bench.fresh();
    assert_eq!(log.create(&definition(1)).await.unwrap(), Put::Done);
    log
}

mod suite {
    use super::*;

    pub(super) async fn an_absent_table_is_none(bench: &impl Bench) {
        assert!(bench.fresh().load().await.unwrap().is_none());
    }

    pub(super) async fn a_table_is_created_once(bench: &impl Bench) {
        let log = created(bench).await;
        assert_eq!(bench.fresh().create(&definition(2)).await.unwrap(), Put::Taken);
        let snapshot = loaded(log.as_ref()).await;
        assert_eq!(snapshot.version(), 0);
        assert_eq!(snapshot.transaction(WRITER).await.unwrap(), None);
        assert_eq!(snapshot.files().await.unwrap(), []);
        let property = |name: &str| snapshot.properties().get(name).cloned();
        assert_eq!(property(SCHEMA_VERSION_PROPERTY), Some(Table::SAMPLES.version().to_string()));
        assert_eq!(property(LABEL_COLUMNS_PROPERTY), Some("job,pod".into()));
    }

    pub(super) async fn a_version_is_taken_once(bench: &impl Bench) {
        let log = created(bench).await;
        assert_eq!(log.put(1, &append(WRITER, 3, &[1])).await.unwrap(), Put::Done);
        assert_eq!(log.put(1, &append(OTHER, 9, &[2])).await.unwrap(), Put::Taken);
        assert_eq!(bench.fresh().put(1, &append(OTHER, 9, &[2])).await.unwrap(), Put::Taken);
        assert_eq!(files(log.as_ref()).await, sorted([1]));
        assert_eq!(loaded(log.as_ref()).await.transaction(OTHER).await.unwrap(), None);
    }

    /// Taken or done: either way the transaction tells that it is there, and it is there once.
    pub(super) async fn the_same_content_again_changes_nothing(bench: &impl Bench) {
        let log = created(bench).await;
        let commit = append(WRITER, 3, &[1]);
        assert_eq!(log.put(1, &commit).await.unwrap(), Put::Done);
        log.put(1, &commit).await.unwrap();
        let snapshot = loaded(log.as_ref()).await;
        assert_eq!((snapshot.version(), snapshot.transaction(WRITER).await.unwrap()), (1, Some(3)));
        assert_eq!(files(log.as_ref()).await, sorted([1]));
    }

    pub(super) async fn each_writer_has_its_transaction(bench: &impl Bench) {
        let log = created(bench).await;
        let commits = [(WRITER, 3), (OTHER, 40), (WRITER, 5), (OTHER, 41)];
        for (version, (writer, position)) in (1..).zip(commits) {
            assert_eq!(log.put(version, &append(writer, position, &[version])).await.unwrap(), Put::Done);
        }
        for log in [log, bench.fresh()] {
            let snapshot = loaded(log.as_ref()).await;
            assert_eq!(snapshot.transaction(WRITER).await.unwrap(), Some(5));
            assert_eq!(snapshot.transaction(OTHER).await.unwrap(), Some(41));
            assert_eq!(snapshot.transaction(WriterId::from_u128(1)).await.unwrap(), None);
        }
    }

    /// A snapshot is a version: what follows does not change it.
    pub(super) async fn files_come_and_go(bench: &impl Bench) {
        let log = created(bench).await;
        log.put(1, &append(WRITER, 1, &[1, 2, 3])).await.unwrap();
        let before = loaded(log.as_ref()).await;
        let swap = Commit { remove: vec![file(2)], ..append(WRITER, 2, &[4]) };
        assert_eq!(log.put(2, &swap).await.unwrap(), Put::Done);
        assert_eq!(files(log.as_ref()).await, sorted([1, 3, 4]));
        assert_eq!(files(bench.fresh().as_ref()).await, sorted([1, 3, 4]));
        assert_eq!((before.version(), before.files().await.unwrap().len()), (1, 3));
    }

    pub(super) async fn origins_and_checksums_come_back(bench: &impl Bench) {
        let log = created(bench).await;
        let merged = Origin::Merge { level: 1, flushes: vec![(WRITER, 3..=9), (OTHER, 5..=5)] };
        let origins = [Origin::Flush { writer: OTHER, position: 7 }, merged, Origin::Import, Origin::Heal];
        let with =
            |(number, origin)| DataFile { origin, checksum: Some(u128::MAX - u128::from(number)), ..file(number) };
        let mut added: Vec<DataFile> = (1..).zip(origins).map(with).collect();
        added.push(DataFile { checksum: None, ..file(9) });
        let change = Commit { add: added.clone(), ..append(WRITER, 1, &[]) };
        assert_eq!(log.put(1, &change).await.unwrap(), Put::Done);
        for checkpointed in [false, true] {
            if checkpointed {
                log.checkpoint().await.unwrap();
            }
            let mut files = bench.fresh().load().await.unwrap().unwrap().files().await.unwrap();
            files.sort_by(|a, b| a.path.cmp(&b.path));
            added.sort_by(|a, b| a.path.cmp(&b.path));
            assert_eq!(files, added, "checkpointed: {checkpointed}");
        }
    }

    pub(super) async fn statistics_come_back(bench: &impl Bench) {
        let log = created(bench).await;
        let bounds = [(-2_208_988_800_000, -1), (-1, 0), (253_402_300_799_998, 253_402_300_799_999)];
        let with = |number: u64, stats: Option<FileStats>| DataFile { stats, ..file(number) };
        let stats = |timestamp, metric: &str| FileStats {
            rows: 9,
            metric: Some((metric.into(), metric.into())),
            timestamp: Some(timestamp),
        };
        let mut add: Vec<DataFile> =
            (0..).zip(bounds).map(|(at, bounds)| with(at, Some(stats(bounds, "é \"\\\n\u{1}:x")))).collect();
        add.push(with(3, None));
        add.push(with(4, Some(FileStats { rows: 0, metric: None, timestamp: None })));
        log.put(1, &Commit { add: add.clone(), ..append(WRITER, 1, &[]) }).await.unwrap();
        add.sort_by(|a, b| a.path.cmp(&b.path));
        assert_eq!(files(bench.fresh().as_ref()).await, add);
    }

    pub(super) async fn a_checkpoint_loses_nothing(bench: &impl Bench) {
        let log = created(bench).await;
        for version in 1..=5 {
            log.put(version, &append(if version % 2 == 0 { OTHER } else { WRITER }, version, &[version]))
                .await
                .unwrap();
        }
        log.put(6, &Commit { remove: vec![file(2)], ..append(WRITER, 6, &[]) }).await.unwrap();
        log.checkpoint().await.unwrap();
        log.put(7, &append(OTHER, 7, &[7])).await.unwrap();
        for log in [log, bench.fresh()] {
            let snapshot = loaded(log.as_ref()).await;
            assert_eq!(snapshot.version(), 7);
            assert_eq!(snapshot.transaction(WRITER).await.unwrap(), Some(6));
            assert_eq!(snapshot.transaction(OTHER).await.unwrap(), Some(7));
            assert_eq!(snapshot.properties().get(LABEL_COLUMNS_PROPERTY).map(String::as_str), Some("job,pod"));
            assert_eq!(files(log.as_ref()).await, sorted([1, 3, 4, 5, 7]));
        }
    }

    pub(super) async fn many_commits(bench: &impl Bench) {
        let log = created(bench).await;
        for position in 1..=120 {
            let done = commit(log.as_ref(), &append(WRITER, position, &[position])).await.unwrap();
            assert_eq!(done, Committed::Now { version: position, races: 0 });
            if position % 32 == 0 {
                log.checkpoint().await.unwrap();
            }
        }
        for log in [log, bench.fresh()] {
            assert_eq!(loaded(log.as_ref()).await.transaction(WRITER).await.unwrap(), Some(120));
            assert_eq!(files(log.as_ref()).await, sorted(1..=120));
        }
    }

    /// Two writers who take turns in being late: each commit lands once, on top of what the other did.
    pub(super) async fn appends_rebase(bench: &impl Bench) {
        created(bench).await;
        let handles = [(WRITER, bench.fresh()), (OTHER, bench.fresh())];
        let mut last = BTreeSet::new();
        for position in 1..=4 {
            for (writer, log) in &handles {
                let number = position * 2 + u64::from(*writer == OTHER);
                let done = commit(log.as_ref(), &append(*writer, position, &[number])).await.unwrap();
                let Committed::Now { version, .. } = done else { panic!("{done:?}") };
                assert!(last.insert(version));
            }
        }
        assert_eq!(last, (1..=8).collect());
        assert_eq!(files(bench.fresh().as_ref()).await, sorted(2..=9));
    }

    pub(super) async fn a_transaction_commits_once(bench: &impl Bench) {
        let log = created(bench).await;
        commit(log.as_ref(), &append(WRITER, 5, &[1])).await.unwrap();
        for again in [append(WRITER, 5, &[1]), append(WRITER, 5, &[2]), append(WRITER, 4, &[3])] {
            assert_eq!(commit(bench.fresh().as_ref(), &again).await.unwrap(), Committed::Earlier);
        }
        assert_eq!(files(log.as_ref()).await, sorted([1]));
        assert!(matches!(commit(log.as_ref(), &append(OTHER, 4, &[4])).await, Ok(Committed::Now { version: 2, .. })));
    }

    pub(super) async fn a_stale_remove_is_refused(bench: &impl Bench) {
        let log = created(bench).await;
        commit(log.as_ref(), &append(WRITER, 1, &[1, 2])).await.unwrap();
        let swap = |position, new| Commit { remove: vec![file(1)], ..append(WRITER, position, &[new]) };
        commit(log.as_ref(), &swap(2, 3)).await.unwrap();
        let stale = commit(bench.fresh().as_ref(), &swap(3, 4)).await;
        assert!(matches!(&stale, Err(CommitError::Stale(path)) if *path == file(1).path), "{stale:?}");
        assert_eq!(files(log.as_ref()).await, sorted([2, 3]));
    }

    /// A rewrite carries no position; that it has landed is known by the files that it adds.
    pub(super) async fn a_rewrite_commits_once(bench: &impl Bench) {
        let log = created(bench).await;
        commit(log.as_ref(), &append(WRITER, 5, &[1, 2, 3])).await.unwrap();
        let merge = rewrite(CommitKind::Rewrite, &[1, 2], &[4]);
        assert_eq!(commit(log.as_ref(), &merge).await.unwrap(), Committed::Now { version: 2, races: 0 });
        assert_eq!(commit(bench.fresh().as_ref(), &merge).await.unwrap(), Committed::Earlier);
        assert_eq!(files(log.as_ref()).await, sorted([3, 4]));
        let delete = rewrite(CommitKind::Delete, &[4], &[]);
        assert_eq!(commit(log.as_ref(), &delete).await.unwrap(), Committed::Now { version: 3, races: 0 });
        for stale in [&merge, &delete, &rewrite(CommitKind::Rewrite, &[3, 4], &[5])] {
            let stale = commit(bench.fresh().as_ref(), stale).await;
            assert!(matches!(stale, Err(CommitError::Stale(_))), "{stale:?}");
        }
        let snapshot = loaded(bench.fresh().as_ref()).await;
        assert_eq!((snapshot.version(), snapshot.transaction(WRITER).await.unwrap()), (3, Some(5)));
        assert_eq!(files(log.as_ref()).await, sorted([3]));
    }

    /// Beside a log that goes on, as a receiver's does.
    pub(super) async fn an_upgrade_commits_once(bench: &impl Bench) {
        let log = created(bench).await;
        assert_eq!(loaded(bench.fresh().as_ref()).await.protocol(), TableProtocol::Guarded);
        bench.age();
        commit(log.as_ref(), &append(WRITER, 1, &[1])).await.unwrap();
        log.checkpoint().await.unwrap();
        assert_eq!(loaded(log.as_ref()).await.protocol(), TableProtocol::Open);
        let upgrade = rewrite(CommitKind::Upgrade, &[], &[]);
        assert_eq!(commit(bench.fresh().as_ref(), &upgrade).await.unwrap(), Committed::Now { version: 2, races: 0 });
        assert_eq!(commit(bench.fresh().as_ref(), &upgrade).await.unwrap(), Committed::Earlier);
        assert_eq!(commit(log.as_ref(), &upgrade).await.unwrap(), Committed::Earlier);
        commit(log.as_ref(), &append(WRITER, 2, &[2])).await.unwrap();
        for checkpointed in [false, true] {
            if checkpointed {
                log.checkpoint().await.unwrap();
            }
            for log in [log.clone(), bench.fresh()] {
                let snapshot = loaded(log.as_ref()).await;
                assert_eq!((snapshot.version(), snapshot.protocol()), (3, TableProtocol::Guarded));
                assert_eq!(snapshot.transaction(WRITER).await.unwrap(), Some(2));
                assert_eq!(files(log.as_ref()).await, sorted([1, 2]), "checkpointed: {checkpointed}");
            }
        }
    }

    pub(super) async fn the_log_tells_who_added_a_file(bench: &impl Bench) {
        let log = created(bench).await;
        commit(log.as_ref(), &append(WRITER, 1, &[1, 2])).await.unwrap();
        commit(log.as_ref(), &rewrite(CommitKind::Rewrite, &[1], &[3])).await.unwrap();
        log.checkpoint().await.unwrap();
        commit(log.as_ref(), &append(OTHER, 1, &[4])).await.unwrap();
        let asked: BTreeSet<String> = [2, 3, 9].map(|number| file(number).path).into();
        let additions = loaded(bench.fresh().as_ref()).await.additions(&asked).await.unwrap();
        let told = |addition: &Addition| (addition.version, addition.files.clone());
        assert_eq!(additions.iter().map(told).collect::<Vec<_>>(), [(2, vec![file(3).path]), (1, vec![file(2).path])]);
    }

    pub(super) async fn nothing_commits_to_no_table(bench: &impl Bench) {
        let missing = commit(bench.fresh().as_ref(), &append(WRITER, 1, &[1])).await;
        assert!(matches!(missing, Err(CommitError::NoTable)), "{missing:?}");
    }
}

macro_rules! suite_for {
    ($($test:ident,)*) => {
        mod model {
            $(#[tokio::test]
            async fn $test() {
                super::suite::$test(&super::ModelBench(super::ModelLog::default())).await;
            })*
        }

        mod delta {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::suite::$test(&super::DeltaBench::new()).await;
            })*
        }
    };
}

suite_for! {
    an_absent_table_is_none,
    a_table_is_created_once,
    a_version_is_taken_once,
    the_same_content_again_changes_nothing,
    each_writer_has_its_transaction,
    files_come_and_go,
    origins_and_checksums_come_back,
    statistics_come_back,
    a_checkpoint_loses_nothing,
    many_commits,
    appends_rebase,
    a_transaction_commits_once,
    a_stale_remove_is_refused,
    a_rewrite_commits_once,
    an_upgrade_commits_once,
    the_log_tells_who_added_a_file,
    nothing_commits_to_no_table,
}

/// What the trait leaves open: the model says no to a hole. Delta's put-if-absent makes one, and then no longer loads; [`commit`] only
/// ever puts the version after the one that it has loaded.
#[tokio::test]
async fn the_model_refuses_a_hole() {
    let log = created(&ModelBench(ModelLog::default())).await;
    assert!(log.put(2, &append(WRITER, 1, &[1])).await.is_err());
    assert_eq!(loaded(log.as_ref()).await.version(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delta_does_not_read_past_a_hole() {
    let bench = DeltaBench::new();
    let log = created(&bench).await;
    assert_eq!(log.put(2, &append(WRITER, 1, &[1])).await.unwrap(), Put::Done);
    let past = bench.fresh().load().await;
    assert!(past.is_err(), "{past:?}");
}

/// A commit that landed and was reported failed is found; one that failed before it happened is made by the next try.
#[tokio::test]
async fn failed_puts_are_cleared_up_by_the_next_try() {
    for (fault, second) in
        [(PutFault::After, Committed::Earlier), (PutFault::Before, Committed::Now { version: 1, races: 0 })]
    {
        let log = ModelLog::default();
        log.create(&definition(1)).await.unwrap();
        log.fail_next_put(fault);
        let change = append(WRITER, 1, &[1]);
        let failed = commit(&log, &change).await;
        assert!(matches!(&failed, Err(CommitError::Log(e)) if e.is_retryable()), "{failed:?}");
        assert_eq!(commit(&log, &change).await.unwrap(), second);
        log.crash();
        assert_eq!(files(&log).await, sorted([1]), "what is believed to be in is durable");
    }
}

/// A log in which another writer is always faster, for so many times.
#[derive(Debug)]
struct Contended {
    log: ModelLog,
    races: std::sync::atomic::AtomicU64,
}

#[async_trait::async_trait]
impl TableLog for Contended {
    async fn load(&self) -> Result<Option<Arc<dyn Snapshot>>, LogError> {
        self.log.load().await
    }

    async fn create(&self, definition: &Definition) -> Result<Put, LogError> {
        self.log.create(definition).await
    }

    async fn put(&self, version: u64, commit: &Commit) -> Result<Put, LogError> {
        use std::sync::atomic::Ordering;
        let left = self.races.load(Ordering::SeqCst);
        if left > 0 {
            self.races.store(left - 1, Ordering::SeqCst);
            self.log.put(version, &append(OTHER, version, &[1000 + version])).await?;
        }
        self.log.put(version, commit).await
    }

    async fn sync(&self) -> Result<(), LogError> {
        self.log.sync().await
    }

    async fn checkpoint(&self) -> Result<(), LogError> {
        Ok(())
    }
}

async fn contended(races: u64) -> Contended {
    let log = Contended { log: ModelLog::default(), races: races.into() };
    log.create(&definition(1)).await.unwrap();
    log
}

#[tokio::test]
async fn a_lost_race_is_run_again_on_top_of_the_winner() {
    let log = contended(3).await;
    let done = commit(&log, &append(WRITER, 1, &[1])).await.unwrap();
    assert_eq!(done, Committed::Now { version: 4, races: 3 });
    assert_eq!(files(&log).await, sorted([1, 1001, 1002, 1003]));
}

#[tokio::test]
async fn races_without_end_are_given_up() {
    let log = contended(u64::MAX).await;
    assert!(matches!(commit(&log, &append(WRITER, 1, &[1])).await, Err(CommitError::Contended)));
}

/// The rows of position 3 may be among those of position 5.
#[tokio::test]
async fn a_commit_of_an_earlier_process_that_lands_late_is_noticed() {
    let log = ModelLog::default();
    log.create(&definition(1)).await.unwrap();
    log.put(1, &append(WRITER, 3, &[1])).await.unwrap();
    for last in [None, Some(2)] {
        let overtaken = crate::commit::commit(&log, &append(WRITER, 5, &[2]), last).await;
        assert!(matches!(overtaken, Err(CommitError::Overtaken { found: 3, .. })), "{overtaken:?}");
    }
    assert_eq!(files(&log).await, sorted([1]));
    crate::commit::commit(&log, &append(WRITER, 5, &[2]), Some(3)).await.unwrap();
}

#[tokio::test]
async fn a_log_does_not_go_back() {
    let log = ModelLog::default();
    log.create(&definition(1)).await.unwrap();
    let forward = ForwardLog::new(Table::SAMPLES, Arc::new(log.clone()));
    log.fail_next_put(PutFault::After);
    log.put(1, &append(WRITER, 1, &[1])).await.unwrap_err();
    assert_eq!(loaded(&forward).await.version(), 1);
    log.crash();
    let lagging = forward.load().await;
    assert!(matches!(&lagging, Err(e) if e.is_retryable() && e.to_string().contains("lags")), "{lagging:?}");
    log.put(1, &append(WRITER, 1, &[1])).await.unwrap();
    assert_eq!(loaded(&forward).await.version(), 1);
}

#[tokio::test]
async fn a_race_lost_to_the_removal_of_the_same_file_is_stale() {
    let log = ModelLog::default();
    log.create(&definition(1)).await.unwrap();
    commit(&log, &append(WRITER, 1, &[1])).await.unwrap();
    let swap = |writer, position, new| Commit { remove: vec![file(1)], ..append(writer, position, &[new]) };
    commit(&log, &swap(OTHER, 1, 2)).await.unwrap();
    assert!(matches!(commit(&log, &swap(WRITER, 2, 3)).await, Err(CommitError::Stale(_))));
}

const FOREIGN: [(&str, &str); 4] = [
    (
        "protocol",
        r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["deletionVectors"],"writerFeatures":["deletionVectors"]}}"#,
    ),
    ("protocol", r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":4}}"#),
    (
        "with appendOnly, invariants, later, promarchive, but this version of promarchive supports",
        r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":7,"writerFeatures":["appendOnly","invariants","promarchive","later"]}}"#,
    ),
    (
        "date partition",
        r#"{"add":{"path":"part-0.parquet","partitionValues":{"date":"2025-01-01"},"size":1,"modificationTime":1,"dataChange":true}}"#,
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_program_did_is_refused_by_name() {
    for (name, action) in FOREIGN {
        let bench = DeltaBench::new();
        let log = created(&bench).await;
        log.put(1, &append(WRITER, 1, &[1])).await.unwrap();
        bench.put_foreign(2, action);
        for log in [log, bench.fresh()] {
            let refused = match log.load().await {
                Ok(snapshot) => snapshot.unwrap().files().await.map(drop),
                Err(refused) => Err(refused),
            };
            let Err(refused @ LogError::Refused { .. }) = refused else { panic!("{action}: {refused:?}") };
            assert!(!refused.is_retryable());
            assert!(refused.to_string().contains(name), "{refused}");
            if action.contains("\"protocol\"") {
                assert!(
                    refused.to_string().contains("if a newer version of promarchive created or upgraded the archive")
                );
            }
        }
    }
}

/// A file with a deletion vector, as a reader-version 1 table must not have it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_vector_is_refused_by_name() {
    let bench = DeltaBench::new();
    let log = created(&bench).await;
    let path = file(1).path;
    let vector =
        r#"{"storageType":"u","pathOrInlineDv":"vBn[lx{q8@P<9BNH/isA","offset":1,"sizeInBytes":36,"cardinality":2}"#;
    let add = format!(
        r#"{{"add":{{"path":"{path}","partitionValues":{{"date":"2025-11-08"}},"size":1,"modificationTime":1,"dataChange":true,"deletionVector":{vector}}}}}"#
    );
    bench.put_foreign(1, &add);
    let refused = loaded(log.as_ref()).await.files().await;
    let Err(refused @ LogError::Refused { .. }) = refused else { panic!("{refused:?}") };
    assert!(refused.to_string().contains("deletion vector"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_is_there_and_the_log_too() {
    let bench = DeltaBench::new();
    let log = created(&bench).await;
    log.put(1, &append(WRITER, 1, &[1])).await.unwrap();
    log.checkpoint().await.unwrap();
    let files = bench.log_files();
    assert!(files.iter().any(|name| name.contains("checkpoint") && name.ends_with(".parquet")), "{files:?}");
    let commits = files.iter().filter(|name| name.ends_with(".json")).count();
    assert_eq!(commits, 2, "clean-up is ours: {files:?}");
}

/// Whoever starts from the checkpoint must see that the table is guarded, also when the commits before it are gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_keeps_the_guard() {
    let bench = DeltaBench::new();
    let log = created(&bench).await;
    commit(log.as_ref(), &append(WRITER, 1, &[1])).await.unwrap();
    log.checkpoint().await.unwrap();
    commit(log.as_ref(), &append(WRITER, 2, &[2])).await.unwrap();
    for version in 0..=1 {
        let gone = bench.0.path().join(format!("samples/_delta_log/{version:020}.json"));
        std::fs::remove_file(gone).unwrap();
    }
    let log = bench.fresh();
    assert_eq!(loaded(log.as_ref()).await.protocol(), TableProtocol::Guarded);
    assert_eq!(files(log.as_ref()).await, sorted([1, 2]));
    log.checkpoint().await.unwrap();
    assert_eq!(loaded(bench.fresh().as_ref()).await.protocol(), TableProtocol::Guarded);
}

/// Readers of changes pass over a rewrite, and over nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delta_says_of_each_action_whether_it_changes_data() {
    let swap = |kind| Commit { kind, ..rewrite(CommitKind::Rewrite, &[1], &[2]) };
    let of_writer = CommitKind::Append { writer: WRITER, position: 2 };
    for (kind, operation, changes_data, transactions) in [
        (of_writer, "WRITE", true, 1),
        (CommitKind::Rewrite, "OPTIMIZE", false, 0),
        (CommitKind::Delete, "DELETE", true, 0),
    ] {
        let bench = DeltaBench::new();
        let log = created(&bench).await;
        commit(log.as_ref(), &append(WRITER, 1, &[1])).await.unwrap();
        commit(log.as_ref(), &swap(kind)).await.unwrap();
        let text =
            std::fs::read_to_string(bench.0.path().join("samples/_delta_log/00000000000000000002.json")).unwrap();
        let actions: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let all = |name: &str| actions.iter().filter_map(|action| action.get(name)).collect::<Vec<_>>();
        assert_eq!(all("commitInfo")[0]["operation"], operation);
        assert_eq!(all("txn").len(), transactions, "{operation}");
        for action in [all("add"), all("remove")].concat() {
            assert_eq!(action["dataChange"], changes_data, "{operation}");
        }
        let raw = crate::log::raw::parse_commit(text.as_bytes()).unwrap();
        assert!(raw.is_ours(), "{operation}");
        assert_eq!(raw.added[0].data_file(), Some(file(2)), "what is written is read");
        let claimed = text.replace("\"engineInfo\":\"promarchive/", "\"engineInfo\":\"another/");
        let foreign = crate::log::raw::parse_commit(claimed.as_bytes()).unwrap();
        assert_eq!(foreign.is_ours(), transactions == 1, "{operation}");
    }
}

/// Engines that write or prune must not use statistics on values: NaN breaks them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delta_has_statistics_on_metric_and_timestamp_alone() {
    let bench = DeltaBench::new();
    let log = created(&bench).await;
    log.put(1, &append(WRITER, 1, &[1])).await.unwrap();
    let properties = loaded(log.as_ref()).await.properties().clone();
    assert_eq!(properties.get("delta.dataSkippingStatsColumns").map(String::as_str), Some("metric,timestamp"));
    let commit = std::fs::read_to_string(bench.0.path().join("samples/_delta_log/00000000000000000001.json")).unwrap();
    let actions: Vec<serde_json::Value> = commit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let add = actions.iter().find_map(|action| action.get("add")).unwrap();
    let stats: serde_json::Value = serde_json::from_str(add["stats"].as_str().unwrap()).unwrap();
    for side in ["minValues", "maxValues", "nullCount"] {
        let columns: BTreeSet<&str> = stats[side].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(columns, BTreeSet::from(["metric", "timestamp"]), "{side}");
    }
}
