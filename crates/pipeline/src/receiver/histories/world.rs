//! A receiver's world in one seeded thread: disks that forget, a store and logs that fail, a clock that the history moves.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use promarchive_archive::log::{DataFile, Definition, TableLog};
use promarchive_archive::schema::Table;
use promarchive_archive::{Archive, Location};
use promarchive_model::environment::{Clock, SeededEntropy};
use promarchive_model::{DAY_MS, WriterId};
use promarchive_testkit::faults::{FaultyStore, ForgetfulLog, in_memory};
use promarchive_testkit::hand_made::compressed;
use promarchive_testkit::{Faults, LossyDisk, ModelLog, PutFault};
use promarchive_wal::{Disk, Options, Position};

use super::ensure;
use super::model::{Model, Moment};
use super::others::Others;
use super::request::{Request, START};
use super::tables::{Contents, Reader, label_columns};
use crate::core::recovery::{self, OpenOptions};
use crate::core::{CommitGroupError, Core, Environment, FlushReport, Growth, Resolved};
use crate::flush::FlushError;
use crate::memtable::{SenderRef, Unusable};
use crate::receiver::archive_note;

/// How the world is set up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    pub(super) seed: u64,
    /// How long the horizon reaches back; 0: only the last flushes.
    pub(super) keep: Duration,
    /// Bytes after which replay flushes in between.
    pub(super) flush_bytes: u64,
    pub(super) lie: Lie,
}

/// What the world lies about, to show that the check notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lie {
    Nothing,
    /// The disk says that it has synced.
    Sync,
    /// The logs say that they have synced.
    CommitSync,
    /// The logs never know a transaction.
    Transactions,
    /// After a full purge, positions start again at 1.
    Positions,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A group of new requests.
    Write(Vec<Request>),
    /// A group of requests that were sent before, by number, acknowledged or not.
    Retry(Vec<usize>),
    Flush(FlushStep),
    /// The n-th sync or write from now fails, or every change from the n-th.
    FailSync(u64),
    FailWrite(u64),
    DieAt(u64),
    /// The disk works again.
    Heal,
    /// The process starts again.
    Restart(Restart),
    /// Milliseconds go by.
    Wait(i64),
    /// Memory is short, of which there are so many bytes.
    Relieve(usize),
    /// Somebody else changes a table.
    Others(Table, Others),
}

/// A flush, and what goes wrong with it.
#[derive(Clone, Debug, Default)]
pub(super) struct FlushStep {
    /// The n-th file that is put.
    pub(super) file: Option<(u64, PutFault)>,
    pub(super) commit: Option<(Table, PutFault)>,
    /// The WAL cannot be purged.
    pub(super) no_purge: bool,
    /// A request that arrives while the flush is under way.
    pub(super) meanwhile: Option<Request>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Restart {
    /// The machine loses power, or only the process is killed.
    pub(super) power_loss: bool,
    /// Which WAL directory is mounted.
    pub(super) wal: usize,
    /// A first start dies at this change of the disk.
    pub(super) die_at: Option<u64>,
}

/// How a group went in.
type Positions = Result<RangeInclusive<Position>, CommitGroupError>;

pub(super) const WALS: usize = 2;

#[derive(Debug)]
struct TestClock {
    now: AtomicI64,
    /// How far somebody has set it, which the monotonic clock does not see.
    set_by: AtomicI64,
}

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        self.now.load(Ordering::SeqCst)
    }

    fn monotonic_ms(&self) -> u64 {
        (self.now_ms() - self.set_by.load(Ordering::SeqCst) - START).unsigned_abs()
    }
}

pub(super) struct World {
    setup: Setup,
    pub(super) runtime: tokio::runtime::Runtime,
    clock: Arc<TestClock>,
    pub(super) entropy: Arc<SeededEntropy>,
    disks: [LossyDisk; WALS],
    /// The last position given out by each WAL in any way, at most.
    given: [u64; WALS],
    wal: usize,
    pub(super) store: Arc<FaultyStore>,
    pub(super) logs: BTreeMap<Table, ModelLog>,
    forgets: Arc<AtomicBool>,
    pub(super) archive: Archive,
    /// What a new process makes its archive of.
    tables: Vec<(Table, Arc<dyn TableLog>)>,
    core: Option<Arc<Core>>,
    pub(super) model: Model,
    pub(super) reader: Reader,
    /// Files of other programs, of which the store has nothing.
    pub(super) foreign: Vec<(Table, DataFile)>,
    sent: Vec<Request>,
    failed: FailedFlushes,
}

/// Flushes that failed since the last that succeeded, or since the start.
#[derive(Default)]
struct FailedFlushes {
    count: u32,
    /// Rows of them came to the tables all the same.
    visible: bool,
}

impl World {
    pub(super) fn new(setup: Setup) -> Self {
        let store = Arc::new(FaultyStore::default());
        let forgets = Arc::new(AtomicBool::new(setup.lie == Lie::Transactions));
        let logs: BTreeMap<Table, ModelLog> =
            Table::ALL.into_iter().map(|table| (table, ModelLog::default())).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut tables: Vec<(Table, Arc<dyn TableLog>)> = Vec::new();
        for (&table, log) in &logs {
            let definition = Definition { table, label_columns: label_columns(), id: 1, created: START };
            runtime.block_on(log.create(&definition)).unwrap();
            let lies_about_sync = setup.lie == Lie::CommitSync;
            let log = ForgetfulLog { inner: log.clone(), forgets: forgets.clone(), lies_about_sync };
            tables.push((table, Arc::new(log)));
        }
        let disks: [LossyDisk; WALS] = Default::default();
        for disk in &disks {
            disk.set_faults(Faults { lie_about_files: setup.lie == Lie::Sync, ..Faults::default() });
        }
        Self {
            archive: Archive::new(in_memory(store.clone()), tables.clone(), label_columns()),
            tables,
            runtime,
            clock: Arc::new(TestClock { now: AtomicI64::new(START), set_by: AtomicI64::new(0) }),
            entropy: Arc::new(SeededEntropy::new(setup.seed)),
            disks,
            given: [0; WALS],
            wal: 0,
            store,
            logs,
            forgets,
            core: None,
            model: Model::new(setup.keep.as_millis() as i64),
            reader: Reader::default(),
            foreign: Vec::new(),
            sent: Vec::new(),
            failed: FailedFlushes::default(),
            setup,
        }
    }

    pub(super) fn now(&self) -> i64 {
        self.clock.now_ms()
    }

    /// The files of a table, as a reader finds them.
    pub(super) fn files(&self, table: Table) -> Vec<DataFile> {
        let log = &self.logs[&table];
        self.runtime.block_on(async { log.load().await.unwrap().unwrap().files().await.unwrap() })
    }

    fn disk(&self) -> &LossyDisk {
        &self.disks[self.wal]
    }

    fn faults(&self, change: impl FnOnce(&mut Faults)) {
        let mut faults = self.disk().faults();
        change(&mut faults);
        self.disk().set_faults(faults);
    }

    fn heal(&self) {
        self.faults(|faults| *faults = Faults { lie_about_files: faults.lie_about_files, ..Faults::default() });
    }

    pub(super) fn core(&self) -> Result<Arc<Core>, String> {
        self.core.clone().ok_or_else(|| "no process".to_owned())
    }

    fn try_open(&mut self) -> Result<(), recovery::RecoveryError> {
        let environment = Environment { clock: self.clock.clone(), entropy: self.entropy.clone() };
        let options = OpenOptions {
            keep: self.setup.keep,
            flush_bytes: self.setup.flush_bytes,
            memory_bytes: u64::MAX,
            wal: Options { segment_bytes: 6000 },
        };
        let disk = Arc::new(self.disk().clone());
        if self.setup.lie == Lie::Positions {
            self.forgets.store(true, Ordering::SeqCst);
        }
        // The receiver goes on without the note if it cannot be written.
        let _ = archive_note::write(disk.as_ref(), &Location::parse("archive").unwrap());
        let opened =
            self.runtime.block_on(recovery::open(self.archive.clone(), disk, environment, options, Arc::new(())));
        self.forgets.store(self.setup.lie == Lie::Transactions, Ordering::SeqCst);
        self.core = Some(opened?.0);
        self.failed = FailedFlushes::default();
        Ok(())
    }

    pub(super) fn open(&mut self) -> Result<(), String> {
        self.try_open().map_err(|error| format!("cannot open: {error} {error:?}"))?;
        self.check()
    }

    /// How long rows wait by now, after somebody has set the clock.
    pub(super) fn age_after_setting_the_clock(&mut self, by: i64) -> Option<Duration> {
        self.clock.set_by.fetch_add(by, Ordering::SeqCst);
        self.clock.now.fetch_add(by, Ordering::SeqCst);
        self.core.as_ref().and_then(|core| core.load().age)
    }

    fn kill(&mut self, power_loss: bool) {
        self.core = None;
        // What a process remembers of the logs goes with it.
        self.archive = Archive::new(in_memory(self.store.clone()), self.tables.clone(), label_columns());
        if power_loss {
            self.disk().crash(&*self.entropy);
            self.logs.values().for_each(ModelLog::crash);
        } else {
            self.disk().kill();
        }
    }

    fn restart(&mut self, restart: Restart) -> Result<(), String> {
        self.kill(restart.power_loss);
        if restart.wal != self.wal {
            self.wal = restart.wal;
            self.model.resumed(restart.wal, self.clock.now_ms());
        }
        if self.setup.lie == Lie::Positions {
            self.forget_positions();
        }
        if let Some(nth) = restart.die_at {
            self.faults(|faults| faults.die_at = Some(nth));
            let _ = self.try_open();
            self.kill(restart.power_loss);
        }
        self.open()
    }

    /// Takes the empty segment away that remembers the position after a full purge.
    fn forget_positions(&self) {
        let segments = self.disk().list().unwrap().into_iter().filter(|name| name.starts_with("wal-"));
        let empty = |name: &String| self.disk().len(name).unwrap() <= 4160;
        segments.filter(empty).for_each(|name| self.disk().remove(&name).unwrap());
        self.disk().sync_dir().unwrap();
    }

    /// How many flushes have taken rows, and will not look at rows that come now.
    fn flushes_taken(&self) -> usize {
        let hidden = match self.failed {
            FailedFlushes { count: 0, .. } | FailedFlushes { count: 1, visible: true } => 0,
            _ => 1,
        };
        self.model.flushes() + hidden
    }

    /// Hands requests in, as one group; notes what was sent, and what is acknowledged.
    fn write(&mut self, requests: &[Request]) -> Result<(), String> {
        let core = self.core()?;
        let mut group = Vec::new();
        for request in requests {
            group.push(resolve(&core, request, self.clock.now_ms())?);
        }
        let taken = self.flushes_taken();
        let serial = self.note(requests, taken..=taken);
        let result = core.commit_group(&mut group);
        self.answered(serial, requests.len() as u64, self.committed(), result)
    }

    /// Returns the first serial number of the requests.
    fn note(&mut self, requests: &[Request], flushes_before: RangeInclusive<usize>) -> u64 {
        let first = self.model.serial();
        let (flushes, flushes_at_most) = flushes_before.into_inner();
        let moment = Moment { time: self.clock.now_ms(), flushes, flushes_at_most };
        for request in requests {
            self.model.send(request.rows(self.clock.now_ms()).0, self.wal, moment);
        }
        first
    }

    /// Takes note of how a group went in. Positions never restart: new ones are above what any table has `committed` before.
    fn answered(&mut self, serial: u64, requests: u64, committed: u64, result: Positions) -> Result<(), String> {
        match result {
            Ok(range) => {
                let (first, last) = (range.start().get(), range.end().get());
                let given = self.given[self.wal];
                ensure!(last + 1 - first == requests, "{requests} requests, positions {first} to {last}");
                let fresh = first > committed || self.setup.lie == Lie::Positions;
                ensure!(fresh, "position {first} given out again: a table was at {committed}");
                self.given[self.wal] = given.max(last);
                self.model.acknowledge(serial..serial + requests);
            }
            // Positions are used up also by a group that failed, and by each new segment that could not be made.
            Err(_) => self.given[self.wal] += requests + 1,
        }
        Ok(())
    }

    fn writer(&self) -> Option<WriterId> {
        let line = self.disk().read("writer", 32).ok()?;
        std::str::from_utf8(&line).ok()?.parse().ok()
    }

    /// The last position of the mounted WAL in any table.
    fn committed(&self) -> u64 {
        self.transactions().into_iter().max().unwrap_or(0)
    }

    /// The last position of the mounted WAL in each table.
    fn transactions(&self) -> Vec<u64> {
        let Some(writer) = self.writer() else { return Vec::new() };
        let transaction = async |log: &ModelLog| log.load().await.unwrap().unwrap().transaction(writer).await.unwrap();
        self.logs.values().filter_map(|log| self.runtime.block_on(transaction(log))).collect()
    }

    fn flush(&mut self, step: &FlushStep) -> Result<bool, String> {
        let core = self.core()?;
        self.store.set_fault(step.file);
        if let Some((table, fault)) = step.commit {
            self.logs[&table].fail_next_put(fault);
        }
        let healthy = self.disk().faults();
        if step.no_purge {
            self.faults(|faults| faults.read_only = true);
        }
        let (serial, committed) = (self.model.serial(), self.committed());
        let now = self.clock.now_ms();
        let meanwhile = async {
            let request = step.meanwhile.as_ref()?;
            let resolved = resolve(&core, request, now);
            Some(resolved.map(|resolved| core.commit_group(&mut [resolved])))
        };
        let (flushed, written): (Result<FlushReport, FlushError>, _) =
            self.runtime.block_on(async { futures::join!(core.flush(), meanwhile) });
        self.store.set_fault(None);
        for log in self.logs.values() {
            log.clear_fault();
        }
        if step.no_purge {
            self.disk().set_faults(healthy);
        }
        if let (Some(written), Some(request)) = (written, step.meanwhile.clone()) {
            let taken = self.model.flushes() + 1..=self.flushes_taken() + 1;
            let first = self.note(std::slice::from_ref(&request), taken);
            self.answered(first, 1, committed, written?)?;
            self.sent.push(request);
        }
        let before = self.model.flushes();
        self.check()?;
        match flushed {
            Ok(_) => {
                self.failed = FailedFlushes::default();
                self.model.flushed(self.wal, serial);
                self.check()?;
                Ok(true)
            }
            Err(_) => {
                self.failed.count += 1;
                self.failed.visible |= self.model.flushes() > before;
                Ok(false)
            }
        }
    }

    /// Reads all tables and holds them against the model.
    pub(super) fn check(&mut self) -> Result<(), String> {
        let contents = self.contents()?;
        let given = self.given[self.wal];
        let ahead = self.transactions().into_iter().find(|&transaction| transaction > given);
        ensure!(ahead.is_none(), "a table is at {ahead:?}, and {given} is the last position given out");
        self.model.check(&contents)
    }

    /// What the tables hold, but for files of which the store has nothing.
    pub(super) fn contents(&mut self) -> Result<Contents, String> {
        let mut contents = Contents::default();
        let mut foreign = 0;
        for table in Table::ALL {
            for file in self.files(table) {
                if self.foreign.contains(&(table, file.clone())) {
                    foreign += 1;
                    continue;
                }
                let bytes = self.bytes(table, &file)?;
                self.reader.add(&mut contents, table, &file, bytes)?;
            }
        }
        ensure!(foreign == self.foreign.len(), "a file of another program is gone: {:?}", self.foreign);
        Ok(contents)
    }

    pub(super) fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Write(requests) => {
                self.sent.extend(requests.iter().cloned());
                self.write(requests)?;
            }
            Step::Retry(numbers) => {
                let sent = self.sent.len();
                let again = numbers.iter().filter(|_| sent > 0).map(|number| self.sent[number % sent].clone());
                let again: Vec<Request> = again.collect();
                if !again.is_empty() {
                    self.write(&again)?;
                }
            }
            Step::Flush(step) => drop(self.flush(step)?),
            Step::FailSync(nth) => self.faults(|faults| faults.fail_sync = Some(*nth)),
            Step::FailWrite(nth) => self.faults(|faults| faults.fail_write = Some(*nth)),
            Step::DieAt(nth) => self.faults(|faults| faults.die_at = Some(*nth)),
            Step::Heal => self.heal(),
            Step::Restart(restart) => self.restart(*restart)?,
            Step::Wait(milliseconds) => drop(self.clock.now.fetch_add(*milliseconds, Ordering::SeqCst)),
            Step::Relieve(limit) => {
                let core = self.core()?;
                self.runtime.block_on(core.relieve(*limit));
                self.model.relieved();
            }
            Step::Others(table, change) => self.others(*table, *change)?,
        }
        // No two steps at one moment: the order of flushes of different writers is that of time.
        self.clock.now.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// Everything works again: all that was acknowledged comes to the tables, and stays there once over another power loss.
    pub(super) fn finish(&mut self) -> Result<(), String> {
        self.heal();
        self.settle()?;
        self.merge_all()?;
        for wal in (0..WALS).chain(0..WALS) {
            self.step(&Step::Restart(Restart { power_loss: true, wal, die_at: None }))?;
            self.settle()?;
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<(), String> {
        ensure!(self.flush(&FlushStep::default())?, "a flush failed without a fault");
        Ok(())
    }
}

/// A sender, by what it sends.
struct OneOfThree(usize);

impl Growth for OneOfThree {
    fn sender(&self) -> SenderRef {
        SenderRef::of_hash(1 + self.0 as u64 % 3)
    }

    fn grown(&self, _: usize) -> Result<(), Unusable> {
        Ok(())
    }
}

fn resolve(core: &Core, request: &Request, now: i64) -> Result<Resolved, String> {
    let body = request.body();
    let resolved = core
        .resolve(
            request.protocol,
            compressed(&body).into(),
            &body,
            request.terms(now + DAY_MS),
            &OneOfThree(body.len()),
        )
        .map_err(|e| e.to_string())?;
    let refused = request.rows(now).1;
    ensure!(
        resolved.batch.refusals.total() == refused,
        "{refused} to refuse: {}",
        resolved.batch.refusals.one_line(0, "rows")
    );
    Ok(resolved)
}
