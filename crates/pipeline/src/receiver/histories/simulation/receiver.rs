//! One receiver of a history: its disk, its clock, the process that runs now, and what that process is at.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use promarchive_archive::Archive;
use promarchive_archive::log::TableLog;
use promarchive_archive::schema::Table;
use promarchive_archive::store::Store;
use promarchive_model::environment::{Clock, SeededEntropy};
use promarchive_testkit::{Faults, LossyDisk};
use promarchive_wal::{Disk, Options};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::Lie;
use super::backing::Tables;
use super::gated::{GatedLog, GatedStore};
use super::schedule::{Actor, Gate, Schedule, Verdict};
use crate::core::recovery::{self, OpenOptions, RecoveryError};
use crate::core::{Core, Environment, FlushReport};
use crate::flush::FlushError;
use crate::receiver::histories::request::{Request, START};
use crate::receiver::histories::tables::label_columns;

/// Longer than any history: within it every repetition is recognised.
const KEEP: Duration = Duration::from_secs(400 * 86_400);
pub(super) const SEGMENT_BYTES: u64 = 6000;

/// A clock that somebody sets, over time that only goes on.
#[derive(Debug)]
pub(super) struct SimulatedClock {
    pub(super) elapsed: Arc<AtomicI64>,
    set_by: AtomicI64,
}

impl SimulatedClock {
    pub(super) fn set_by(&self, milliseconds: i64) {
        self.set_by.fetch_add(milliseconds, Ordering::SeqCst);
    }
}

impl Clock for SimulatedClock {
    fn now_ms(&self) -> i64 {
        START + self.elapsed.load(Ordering::SeqCst) + self.set_by.load(Ordering::SeqCst)
    }

    fn monotonic_ms(&self) -> u64 {
        self.elapsed.load(Ordering::SeqCst).unsigned_abs()
    }
}

pub(super) type Opened = Result<Arc<Core>, RecoveryError>;
pub(super) type Flushed = Result<FlushReport, FlushError>;

/// What a process is at.
pub(super) enum Work {
    Nothing,
    Opening {
        handle: JoinHandle<Opened>,
    },
    /// A flush that began when this serial number was next.
    Flushing {
        handle: JoinHandle<Flushed>,
        serial: u64,
    },
}

pub(super) struct Receiver {
    pub(super) actor: Actor,
    pub(super) disk: LossyDisk,
    pub(super) clock: Arc<SimulatedClock>,
    gate: Gate,
    pub(super) core: Option<Arc<Core>>,
    pub(super) work: Work,
    pub(super) sent: Vec<Request>,
    /// The last position that was acknowledged.
    pub(super) last: u64,
    flush_bytes: u64,
}

/// The tables as an actor reaches them.
pub(super) fn archive(tables: &Tables, gate: &Gate, lie: Lie, opening: bool) -> Archive {
    let gated = |table: Table| {
        let log: Arc<dyn TableLog> = Arc::new(GatedLog::new(gate, table, tables.open(table), lie, opening));
        (table, log)
    };
    let logs: Vec<(Table, Arc<dyn TableLog>)> = Table::ALL.into_iter().map(gated).collect();
    let objects = GatedStore { gate: gate.clone(), inner: tables.store().objects().clone() };
    Archive::new(Store::over(tables.store().location().clone(), Arc::new(objects)), logs, label_columns())
}

impl Receiver {
    pub(super) fn new(number: usize, schedule: &Schedule, elapsed: &Arc<AtomicI64>, lie: Lie, often: bool) -> Self {
        let actor = Actor::Receiver(number);
        let disk = LossyDisk::default();
        disk.set_faults(Faults { lie_about_files: lie == Lie::Sync, ..Faults::default() });
        Self {
            actor,
            disk,
            clock: Arc::new(SimulatedClock { elapsed: elapsed.clone(), set_by: AtomicI64::new(0) }),
            gate: Gate::new(schedule, actor),
            core: None,
            work: Work::Nothing,
            sent: Vec::new(),
            last: 0,
            flush_bytes: if often { 1 } else { u64::MAX },
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        matches!(self.work, Work::Nothing)
    }

    pub(super) fn is_opening(&self) -> bool {
        matches!(self.work, Work::Opening { .. })
    }

    /// Starts a process.
    pub(super) fn open(
        &mut self,
        (runtime, schedule): (&Runtime, &Schedule),
        tables: &Tables,
        entropy: &Arc<SeededEntropy>,
        lie: Lie,
    ) {
        if lie == Lie::Positions {
            self.heal();
            self.forget_positions();
        }
        self.gate = Gate::new(schedule, self.actor);
        let environment = Environment { clock: self.clock.clone(), entropy: entropy.clone() };
        let options = OpenOptions {
            keep: KEEP,
            flush_bytes: self.flush_bytes,
            memory_bytes: u64::MAX,
            wal: Options { segment_bytes: SEGMENT_BYTES },
        };
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let archive = {
            let _inside = runtime.enter();
            archive(tables, &self.gate, lie, true)
        };
        let work = async move {
            recovery::open(archive, disk, environment, options, Arc::new(())).await.map(|(core, _)| core)
        };
        self.work = Work::Opening { handle: schedule.spawn(runtime, self.actor, work) };
    }

    pub(super) fn flush(&mut self, (runtime, schedule): (&Runtime, &Schedule), serial: u64) {
        let Some(core) = self.core.clone() else { return };
        let work = async move { core.flush().await };
        self.work = Work::Flushing { handle: schedule.spawn(runtime, self.actor, work), serial };
    }

    /// Cuts a flush off, as a time-out would; the process goes on.
    pub(super) fn cut(&mut self, (runtime, schedule): (&Runtime, &Schedule)) {
        if let Work::Flushing { handle, .. } = std::mem::replace(&mut self.work, Work::Nothing) {
            handle.abort();
            let _ = runtime.block_on(handle);
            runtime.block_on(schedule.settled());
        }
    }

    /// Ends the process: what it still does has no effect.
    pub(super) fn kill(&mut self, (runtime, schedule): (&Runtime, &Schedule)) {
        self.gate.alive.store(false, Ordering::SeqCst);
        self.disk.set_faults(Faults { die_at: Some(0), ..self.disk.faults() });
        schedule.release(self.actor, Verdict::FailsBefore);
        runtime.block_on(schedule.settled());
        match std::mem::replace(&mut self.work, Work::Nothing) {
            Work::Nothing => {}
            Work::Opening { handle } => drop(runtime.block_on(handle)),
            Work::Flushing { handle, .. } => drop(runtime.block_on(handle)),
        }
        self.core = None;
        self.disk.kill();
    }

    pub(super) fn heal(&self) {
        let lie_about_files = self.disk.faults().lie_about_files;
        self.disk.set_faults(Faults { lie_about_files, ..Faults::default() });
    }

    /// Takes the empty segment away that remembers the position after a full purge.
    fn forget_positions(&self) {
        let segments = self.disk.list().unwrap().into_iter().filter(|name| name.starts_with("wal-"));
        let empty = |name: &String| self.disk.len(name).unwrap() <= 4160;
        segments.filter(empty).for_each(|name| self.disk.remove(&name).unwrap());
        self.disk.sync_dir().unwrap();
    }

    pub(super) fn wal_bytes(&self) -> u64 {
        let segments = self.disk.list().unwrap().into_iter().filter(|name| name.starts_with("wal-"));
        segments.map(|name| self.disk.len(&name).unwrap()).sum()
    }
}
