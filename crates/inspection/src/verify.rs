//! Whether an archive keeps its promises.
//!
//! Nothing is written, and a receiver may run beside it: what is checked is the newest version of each table when its turn comes. Every listed
//! file is read once, whole, page by page; where files of one day overlap in time, their keys are read again to find duplicates. Memory is
//! bounded: two files' pages at a time, then [`super::duplicates`]; beyond that it grows with the number of files only.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use futures::{StreamExt, stream};
use promarchive_archive::ArchiveError;
use promarchive_archive::commit::MIN_GENERATIONS;
use promarchive_archive::file::Origin;
use promarchive_archive::log::listing::list;
use promarchive_archive::log::raw::Added;
use promarchive_archive::log::{DataFile, DeltaLog, LogError, Snapshot, TableLog, checksum_names};
use promarchive_archive::schema::{LabelColumns, Table};
use promarchive_archive::store::{Root, Store, StoredFile};
use promarchive_model::environment::Clock;
use promarchive_model::{Date, FlushId, chain};

use super::data_file::{CheckedFile, check_file};
use super::duplicates::{self, Candidate, Horizons};
use super::finding::{Check, Finding, Severity};
use super::log_check::{LogState, check_log};
use super::verification::{Leftover, TableVerification, Verification};
use super::{Progress, control_records, phase, reading, total, unlisted, wal_tail};

const FILES_AT_A_TIME: usize = 2;

/// What to verify beside the tables.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// The receiver's WAL directory, to hold the tables' positions against.
    pub wal: Option<PathBuf>,
}

/// Verifies an archive.
///
/// # Errors
/// There is no archive. All that is wrong with one that is there is a finding.
pub async fn verify(
    store: &Store,
    options: &VerifyOptions,
    clock: &dyn Clock,
    progress: &dyn Progress,
) -> Result<Verification, ArchiveError> {
    let mut run = Run { store, findings: Vec::new(), now: clock.now_ms(), progress };
    let mut opened = Vec::new();
    for table in Table::ALL {
        match run.open(table).await? {
            Some(found) => opened.push(found),
            // A log that cannot be listed has been told.
            None if table == Table::SAMPLES && run.findings.is_empty() => {
                return Err(ArchiveError::missing(store.location()));
            }
            None if run.findings.iter().any(|finding| finding.table == Some(table.name())) => {}
            None => run.find(table, Finding::new(Check::TableMissing, "the table does not exist")),
        }
    }
    let horizons = horizons(&opened, store.has_one_receiver());
    let label_columns = opened.iter().find_map(|table| table.log.label_columns.clone());
    let mut tables = Vec::new();
    for table in &opened {
        tables.push(run.table(table, label_columns.as_ref(), &horizons).await);
    }
    let control = control_records::check(store, run.now).await;
    run.findings.extend(control);
    if let Some(wal) = &options.wal {
        run.wal(wal.clone(), &opened).await;
    }
    let mut findings = run.findings;
    findings.sort_by_key(|finding| finding.severity);
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count() as u64;
    let errors = count(Severity::Error);
    Ok(Verification {
        archive: store.location().to_string(),
        ok: errors == 0,
        errors,
        warnings: count(Severity::Warning),
        notes: count(Severity::Note),
        tables,
        findings,
    })
}

/// A table whose log has been read.
struct Opened {
    table: Table,
    root: Root,
    log: LogState,
    version: Option<u64>,
    files: Vec<DataFile>,
}

struct Run<'a> {
    store: &'a Store,
    findings: Vec<Finding>,
    /// Milliseconds since the epoch.
    now: i64,
    progress: &'a dyn Progress,
}

impl Run<'_> {
    fn find(&mut self, table: Table, finding: Finding) {
        self.findings.push(finding.table(table.name()));
    }

    /// Reads a table's log twice: as readers do, and commit by commit. None if there is no log.
    async fn open(&mut self, table: Table) -> Result<Option<Opened>, ArchiveError> {
        let root = self.store.table(table);
        let listed = match list(&root).await {
            Ok(listed) => listed,
            Err(e) => {
                self.find(table, Finding::unreadable_log(e.to_string(), None));
                return Ok(None);
            }
        };
        if listed.commits.is_empty() && listed.checkpoints.is_empty() {
            return Ok(None);
        }
        phase(&format!("{}/_delta_log", table.name()));
        let newest = listed.commits.keys().next_back().copied();
        let kernel = DeltaLog::new(root.clone());
        let snapshot = snapshot(&kernel).await;
        let version = snapshot.as_ref().ok().map(|(snapshot, _)| snapshot.version());
        // What is committed from now on is not looked at; what a damaged log hides from readers is.
        let limit = version.filter(|&version| Some(version) >= newest);
        let log = match check_log(&root, table, limit).await {
            Ok(log) => log,
            Err(e) => LogState { findings: vec![Finding::unreadable_log(e.to_string(), None)], ..LogState::default() },
        };
        let files = self.files(table, &log, snapshot).await;
        Ok(Some(Opened { table, root, version, files, log }))
    }

    /// The listed files, by what readers see if they see anything.
    async fn files(
        &mut self,
        table: Table,
        log: &LogState,
        snapshot: Result<(Arc<dyn Snapshot>, Vec<DataFile>), LogError>,
    ) -> Vec<DataFile> {
        log.findings.clone().into_iter().for_each(|finding| self.find(table, finding));
        let broken = log.findings.iter().any(|finding| finding.severity == Severity::Error);
        match snapshot {
            Ok((snapshot, files)) => {
                if log.complete && log.version == Some(snapshot.version()) {
                    let differs = difference(log, snapshot.as_ref(), &files).await;
                    differs
                        .into_iter()
                        .for_each(|message| self.find(table, Finding::new(Check::CheckpointDiffers, message)));
                }
                files
            }
            Err(e) => {
                if !broken {
                    let names = checksum_names(&self.store.table(table)).await;
                    let message = format!("readers cannot open the table: {e}");
                    self.find(table, Finding::unreadable_log(message, names.last().cloned()));
                }
                log.active.values().filter_map(Added::data_file).collect()
            }
        }
    }

    async fn table(
        &mut self,
        opened: &Opened,
        label_columns: Option<&LabelColumns>,
        horizons: &Horizons,
    ) -> TableVerification {
        let Opened { table, files, .. } = opened;
        let mut report = TableVerification {
            table: table.name(),
            version: opened.version,
            files: files.len() as u64,
            bytes: total(files.iter().map(|file| file.size)),
            files_without_checksum: files.iter().filter(|file| file.checksum.is_none()).count() as u64,
            rows: 0,
            duplicates: 0,
            leftovers: Vec::new(),
        };
        if let Some(label_columns) = opened.log.label_columns.as_ref().or(label_columns) {
            phase(&format!("the files of {}", table.name()));
            self.progress.begin(&format!("{}: reading", table.name()), report.files, report.bytes);
            let by_date = self.read_files(opened, label_columns, &mut report).await;
            if table.has_series() {
                let candidates = by_date.values().flatten();
                let bytes = total(candidates.clone().map(|(_, bytes)| *bytes));
                self.progress.begin(&format!("{}: duplicates", table.name()), candidates.count() as u64, bytes);
                for candidates in by_date.into_values() {
                    report.duplicates += self.duplicates(*table, label_columns, candidates, horizons).await;
                }
            }
        }
        report.leftovers = self.unlisted(opened).await;
        report
    }

    /// Reads all files, and returns those that can be merged, by day and with their sizes.
    async fn read_files(
        &mut self,
        opened: &Opened,
        label_columns: &LabelColumns,
        report: &mut TableVerification,
    ) -> BTreeMap<Date, Vec<(Candidate, u64)>> {
        let checks = opened.files.iter().map(|file| {
            let stored = opened.root.file(file);
            let added = opened.log.active.get(&file.path).cloned();
            let (table, label_columns) = (opened.table, label_columns.clone());
            async move {
                let checked = read_file(table, label_columns, file.clone(), added, stored.clone()).await;
                (file, stored, checked)
            }
        });
        let checks: Vec<_> = checks.collect();
        let mut checks = stream::iter(checks).buffered(FILES_AT_A_TIME);
        let mut by_date: BTreeMap<Date, Vec<(Candidate, u64)>> = BTreeMap::new();
        let mut findings = Vec::new();
        while let Some((file, stored, checked)) = checks.next().await {
            if file.origin == Origin::Foreign {
                let message = "this file was not written by promarchive, or was written by a newer version";
                findings.push(Finding::new(Check::FileOrigin, message).file(&file.path));
            }
            report.rows = report.rows.saturating_add(checked.rows);
            findings.extend(checked.findings.into_iter().map(|finding| finding.file(&file.path)));
            if let Some(timestamps) = checked.timestamps.filter(|_| checked.mergeable) {
                let (path, origin) = (file.path.clone(), file.origin.clone());
                let candidate = Candidate { path, origin, file: stored, timestamps };
                by_date.entry(file.date).or_default().push((candidate, file.size));
            }
            self.progress.advance(1, file.size);
        }
        drop(checks);
        findings.into_iter().for_each(|finding| self.find(opened.table, finding));
        by_date
    }

    async fn duplicates(
        &mut self,
        table: Table,
        label_columns: &LabelColumns,
        candidates: Vec<(Candidate, u64)>,
        horizons: &Horizons,
    ) -> u64 {
        let (candidates, sizes): (Vec<Candidate>, Vec<u64>) = candidates.into_iter().unzip();
        let (files, columns, horizons) = (candidates.clone(), label_columns.clone(), horizons.clone());
        let found = tokio::task::spawn_blocking(move || {
            let first = files.first().map_or("", |file| &file.path);
            let _step =
                reading(table.name(), &format!("{first} and {} other files of its day", files.len().saturating_sub(1)));
            duplicates::find(table, &columns, &files).map(|found| (found.rows, found.findings(&files, &horizons)))
        });
        let found = match found.await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(e)) => Err(chain(&e)),
            Err(panic) => Err(panic.to_string()),
        };
        self.progress.advance(sizes.len() as u64, total(sizes));
        match found {
            Ok((rows, findings)) => {
                findings.into_iter().for_each(|finding| self.find(table, finding));
                rows
            }
            Err(cause) => {
                let first = candidates.first().map(|file| file.path.clone()).unwrap_or_default();
                let message = format!("the files of this day cannot be compared: {cause}");
                self.find(table, Finding::new(Check::FileUnreadable, message).file(first));
                0
            }
        }
    }

    async fn unlisted(&mut self, opened: &Opened) -> Vec<Leftover> {
        phase(&format!("the directory {}", opened.table.name()));
        let entries = match opened.root.walk().await {
            Ok(entries) => entries,
            Err(error) => {
                self.find(opened.table, Finding::new(Check::DirectoryUnreadable, error.to_string()));
                return Vec::new();
            }
        };
        let listed: BTreeSet<&str> = opened.files.iter().map(|file| file.path.as_str()).collect();
        let unlisted = unlisted::sort_out(&entries, &listed, &opened.log.removed, self.now);
        unlisted.findings.into_iter().for_each(|finding| self.find(opened.table, finding));
        unlisted.leftovers
    }

    async fn wal(&mut self, directory: PathBuf, tables: &[Opened]) {
        phase("the write-ahead log");
        self.progress.begin("write-ahead log", 0, 0);
        let read = tokio::task::spawn_blocking(move || wal_tail::read_tail(&directory)).await;
        let tail = match read {
            Ok(Ok(tail)) => tail,
            Ok(Err(finding)) => return self.findings.push(*finding),
            Err(panic) => return self.findings.push(Finding::new(Check::WalUnreadable, panic.to_string())),
        };
        self.findings.extend(tail.findings);
        for opened in tables {
            let committed = opened.log.positions.get(&tail.writer.to_string()).copied().unwrap_or(0);
            if u64::try_from(committed).is_ok_and(|committed| committed > tail.tail.get()) {
                let message = format!(
                    "the table has records up to position {committed} of this WAL, but the last position in the WAL \
                     is {}",
                    tail.tail
                );
                self.find(opened.table, Finding::new(Check::WalBehind, message));
            }
        }
    }
}

async fn snapshot(log: &DeltaLog) -> Result<(Arc<dyn Snapshot>, Vec<DataFile>), LogError> {
    let missing = || LogError::Store { place: format!("{log:?}"), cause: "the table has no version".into() };
    let snapshot = log.load().await?.ok_or_else(missing)?;
    let files = snapshot.files().await?;
    Ok((snapshot, files))
}

/// What readers, who start from the newest checkpoint, see otherwise than the commits say.
async fn difference(log: &LogState, snapshot: &dyn Snapshot, files: &[DataFile]) -> Vec<String> {
    let mut differences = Vec::new();
    let (protocol, seen_protocol) = (log.protocol, snapshot.protocol());
    if let Some(protocol) = protocol.filter(|&protocol| protocol != seen_protocol) {
        differences.push(format!("readers see the protocol {seen_protocol}, but the commits say {protocol}"));
    }
    let seen: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    if let Some(path) = seen.iter().find(|path| !log.active.contains_key(**path)) {
        differences.push(format!("readers see {path}, but the commits do not list it"));
    }
    if let Some(path) = log.active.keys().find(|path| !seen.contains(path.as_str())) {
        differences.push(format!("readers do not see {path}, but the commits list it"));
    }
    for (writer, &position) in &log.positions {
        let Ok(id) = writer.parse() else { continue };
        match snapshot.transaction(id).await {
            Ok(seen) if seen == u64::try_from(position).ok() => {}
            Ok(seen) => differences
                .push(format!("readers see position {seen:?} for writer {writer}, but the commits say {position}")),
            Err(e) => differences.push(format!("the position of writer {writer} cannot be read: {e}")),
        }
    }
    differences
}

async fn read_file(
    table: Table,
    label_columns: LabelColumns,
    file: DataFile,
    added: Option<Added>,
    stored: StoredFile,
) -> CheckedFile {
    let failed =
        |check, message: String| CheckedFile { findings: vec![Finding::new(check, message)], ..CheckedFile::default() };
    match stored.size_there().await {
        Ok(Some(size)) if size != file.size => {
            failed(Check::FileSize, format!("the file has {size} bytes, but the log says {}", file.size))
        }
        Ok(Some(_)) => {
            let checked = tokio::task::spawn_blocking(move || {
                let _step = reading(table.name(), &file.path);
                check_file(table, &label_columns, &file, added.as_ref(), &stored)
            });
            checked.await.unwrap_or_else(|panic| failed(Check::FileUnreadable, panic.to_string()))
        }
        Ok(None) => failed(Check::FileMissing, "the file does not exist".into()),
        Err(e) => failed(Check::FileUnreadable, e.to_string()),
    }
}

/// The last flushes, which hold no row twice: a receiver settles each flush against at least so many before it.
fn horizons(tables: &[Opened], has_one_receiver: bool) -> Horizons {
    let mut times: HashMap<FlushId, i64> = HashMap::new();
    for opened in tables.iter().filter(|opened| opened.table.has_series()) {
        for file in &opened.files {
            let Origin::Flush { writer, position } = file.origin else { continue };
            let flush = (writer, position);
            // A file that was written again for a superseded row keeps the time of its first flush.
            let time = opened.log.flushes.get(&flush).copied().unwrap_or(file.modification_time);
            let known = times.entry(flush).or_insert(time);
            *known = time.max(*known);
        }
    }
    Horizons::of(times, MIN_GENERATIONS, has_one_receiver)
}
