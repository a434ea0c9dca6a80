//! Everything there is in a history, and what one turn of it does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use object_store::ObjectStoreExt;
use promarchive_archive::commit::CommitError;
use promarchive_archive::log::{DataFile, Definition};
use promarchive_archive::schema::Table;
use promarchive_model::DAY_MS;
use promarchive_model::environment::{Clock, Entropy, SeededEntropy};
use promarchive_testkit::hand_made::compressed;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::backing::{Backing, Ground, Tables};
use super::ledger::Ledger;
use super::receiver::{Receiver, Work, archive};
use super::rewriter::Rewrite;
use super::schedule::{Actor, Gate, Operation, Schedule, Verdict};
use super::{Lie, Setup};
use crate::flush::FlushError;
use crate::receiver::histories::ensure;
use crate::receiver::histories::request::{Request, START, request};
use crate::receiver::histories::tables::{Reader, label_columns};

/// Receivers with a WAL of their own, on the same tables.
pub(super) const RECEIVERS: usize = 2;
/// Far past what any clock here says.
const ACCEPT_UNTIL: i64 = START + 1000 * DAY_MS;

/// What the history decides by.
pub(super) struct Chance(SeededEntropy);

impl Chance {
    pub(super) fn below(&self, bound: usize) -> usize {
        usize::try_from(self.0.next_u64() % bound.max(1) as u64).unwrap()
    }

    pub(super) fn percent(&self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(super) fn among<T: Clone>(&self, choices: &[T]) -> Option<T> {
        choices.get(self.below(choices.len())).cloned()
    }
}

pub(super) struct World {
    pub(super) setup: Setup,
    pub(super) chance: Chance,
    pub(super) runtime: Runtime,
    pub(super) schedule: Schedule,
    pub(super) tables: Tables,
    /// Handles without a gate.
    pub(super) logs: BTreeMap<Table, Arc<dyn Backing>>,
    pub(super) reader: Reader,
    pub(super) ledger: Ledger,
    pub(super) receivers: Vec<Receiver>,
    rewriter: Option<(Gate, JoinHandle<Result<String, String>>)>,
    rewrites: u64,
    /// Operations that were reported failed, and happen when they like.
    late: Vec<Operation>,
    pub(super) foreign: Option<(Table, DataFile)>,
    pub(super) foreign_commits: u64,
    entropy: Arc<SeededEntropy>,
    elapsed: Arc<AtomicI64>,
    /// Of a hundred operations.
    failing: usize,
    /// Of a hundred loads.
    lagging: usize,
    pub(super) commits: u64,
    pub(super) trace: Vec<String>,
}

fn runtime(ground: Ground) -> Runtime {
    match ground {
        Ground::Model => Builder::new_current_thread().build().unwrap(),
        // The library asks for it.
        Ground::Library | Ground::Directory => Builder::new_multi_thread().worker_threads(1).build().unwrap(),
    }
}

impl World {
    pub(super) fn new(setup: Setup) -> Self {
        let (runtime, tables) = (runtime(setup.ground), Tables::new(setup.ground));
        let mut logs = BTreeMap::new();
        for table in Table::ALL {
            let _inside = runtime.enter();
            let log = tables.open(table);
            let definition = Definition { table, label_columns: label_columns(), id: 1, created: START };
            runtime.block_on(log.create(&definition)).unwrap();
            logs.insert(table, log);
        }
        let chance = Chance(SeededEntropy::new(setup.seed));
        let (schedule, elapsed) = (Schedule::default(), Arc::new(AtomicI64::new(0)));
        let often = chance.percent(20);
        let receivers =
            (0..RECEIVERS).map(|number| Receiver::new(number, &schedule, &elapsed, setup.lie, often)).collect();
        Self {
            runtime,
            schedule,
            tables,
            logs,
            reader: Reader::default(),
            ledger: Ledger::default(),
            receivers,
            rewriter: None,
            rewrites: 0,
            late: Vec::new(),
            foreign: None,
            foreign_commits: 0,
            entropy: Arc::new(SeededEntropy::new(!setup.seed)),
            elapsed,
            failing: chance.among(&[0, 3, 12]).unwrap_or(0),
            lagging: chance.among(&[0, 0, 40]).unwrap_or(0),
            commits: 0,
            trace: Vec::new(),
            chance,
            setup,
        }
    }

    pub(super) fn note(&mut self, event: impl Into<String>) {
        self.trace.push(event.into());
    }

    /// One turn: most of the time somebody goes on; else something begins, or goes wrong.
    pub(super) fn turn(&mut self) -> Result<(), String> {
        self.elapsed.fetch_add(1, Ordering::SeqCst);
        let number = self.chance.below(RECEIVERS);
        match self.chance.below(100) {
            0..=7 => self.write_new(number),
            8..=11 => self.write_again(number),
            12..=17 => self.begin(number),
            18..=20 => self.begin_rewrite(),
            21..=22 => self.land_late(),
            23 => self.cut(number),
            24..=25 => self.kill(number),
            26 if self.chance.percent(40) => self.lose_power(),
            27..=28 => self.move_clock(number),
            29..=30 => self.break_disk(number),
            31..=32 => {
                self.receivers[number].heal();
                Ok(())
            }
            33 if self.chance.percent(50) => self.be_foreign(),
            _ => self.go_on(),
        }
    }

    /// Opens, or flushes.
    pub(super) fn begin(&mut self, number: usize) -> Result<(), String> {
        let receiver = &mut self.receivers[number];
        if !receiver.is_idle() {
            return self.go_on();
        }
        let tasks = (&self.runtime, &self.schedule);
        if receiver.core.is_some() {
            receiver.flush(tasks, self.ledger.serial());
            self.note(format!("{number} flushes"));
        } else {
            receiver.open(tasks, &self.tables, &self.entropy, self.setup.lie);
            self.note(format!("{number} opens"));
        }
        self.settle()
    }

    fn begin_rewrite(&mut self) -> Result<(), String> {
        if self.rewriter.is_some() {
            return self.go_on();
        }
        self.rewrites += 1;
        let gate = Gate::new(&self.schedule, Actor::Rewriter);
        let archive = {
            let _inside = self.runtime.enter();
            archive(&self.tables, &gate, Lie::Nothing, false)
        };
        let table = Table::ALL[self.chance.below(Table::ALL.len())];
        let careless = self.setup.lie == Lie::StaleRewrite;
        let rewrite = Rewrite { archive, entropy: self.entropy.clone(), table, careless };
        self.rewriter = Some((gate, self.schedule.spawn(&self.runtime, Actor::Rewriter, rewrite.run())));
        self.note(format!("rewrite {} of {}", self.rewrites, table.name()));
        self.settle()
    }

    /// Somebody who waits goes on.
    fn go_on(&mut self) -> Result<(), String> {
        let waiting = self.schedule.waiting();
        let Some((actor, operation)) = self.chance.among(&waiting) else {
            let idle: Vec<usize> = (0..RECEIVERS).filter(|&number| self.receivers[number].is_idle()).collect();
            return self.chance.among(&idle).map_or(Ok(()), |number| self.begin(number));
        };
        let verdict = self.verdict(actor, &operation);
        self.release(actor, &operation, verdict)
    }

    pub(super) fn release(&mut self, actor: Actor, operation: &Operation, verdict: Verdict) -> Result<(), String> {
        self.note(format!("{actor:?}: {operation}: {verdict:?}"));
        self.schedule.release(actor, verdict);
        self.settle()?;
        if matches!(operation, Operation::Commit(..)) {
            self.commits += 1;
            self.check()?;
        }
        Ok(())
    }

    fn verdict(&mut self, actor: Actor, operation: &Operation) -> Verdict {
        // What a process finds when it opens is the newest there is: see the commit protocol.
        let opening = self.receivers.iter().any(|receiver| receiver.actor == actor && receiver.is_opening());
        if matches!(operation, Operation::Load(_)) && !opening && self.chance.percent(self.lagging) {
            return Verdict::Lags(1 + self.chance.below(3) as u64);
        }
        if !self.chance.percent(self.failing) {
            return Verdict::Well;
        }
        match operation {
            Operation::Commit(..) | Operation::PutFile(..) => match self.chance.below(3) {
                0 => Verdict::FailsBefore,
                1 => Verdict::FailsAfter,
                _ => {
                    self.late.push(operation.clone());
                    Verdict::FailsBefore
                }
            },
            _ => Verdict::FailsBefore,
        }
    }

    /// Waits until everybody waits again, and takes what was finished.
    fn settle(&mut self) -> Result<(), String> {
        self.runtime.block_on(self.schedule.settled());
        if self.rewriter.is_some() && !self.schedule.is_active(Actor::Rewriter) {
            let (_, handle) = self.rewriter.take().unwrap();
            let result = self.runtime.block_on(handle).unwrap();
            self.note(format!("rewrite: {result:?}"));
        }
        for number in 0..RECEIVERS {
            if !self.schedule.is_active(self.receivers[number].actor) {
                self.finished(number)?;
            }
        }
        Ok(())
    }

    fn finished(&mut self, number: usize) -> Result<(), String> {
        let work = std::mem::replace(&mut self.receivers[number].work, Work::Nothing);
        match work {
            Work::Nothing => {}
            Work::Opening { handle } => {
                let opened = self.runtime.block_on(handle).unwrap();
                self.opened(number, opened)?;
            }
            Work::Flushing { handle, serial } => {
                let flushed = self.runtime.block_on(handle).unwrap();
                let told = flushed.as_ref().map(|report| report.position).map_err(ToString::to_string);
                self.note(format!("{number} flushed: {told:?}"));
                match flushed {
                    Ok(_) => {
                        self.ledger.flushed(number, serial);
                        self.check()?;
                    }
                    // Somebody does what the message asks for.
                    Err(FlushError::Commit { cause: CommitError::Overtaken { .. }, .. }) => self.kill(number)?,
                    Err(_) => {}
                }
            }
        }
        Ok(())
    }

    fn opened(&mut self, number: usize, opened: super::receiver::Opened) -> Result<(), String> {
        match opened {
            Ok(core) => {
                self.note(format!("{number} is open"));
                self.receivers[number].core = Some(core);
            }
            Err(error) => {
                self.note(format!("{number} cannot open: {error}"));
                ensure!(error.is_retryable(), "{number} refuses to open: {error}");
            }
        }
        Ok(())
    }

    pub(super) fn write_new(&mut self, number: usize) -> Result<(), String> {
        let mut group = Vec::new();
        for _ in 0..1 + self.chance.below(2) {
            group.push(self.new_request().kept_apart(number));
        }
        self.receivers[number].sent.extend(group.iter().cloned());
        self.write(number, &group)
    }

    fn new_request(&self) -> Request {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.chance.0.next_u64().to_le_bytes());
        let random = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        request().new_tree(&mut TestRunner::new_with_rng(Config::default(), random)).unwrap().current()
    }

    fn write_again(&mut self, number: usize) -> Result<(), String> {
        let Some(request) = self.chance.among(&self.receivers[number].sent) else { return Ok(()) };
        self.write(number, &[request])
    }

    /// Hands requests in, as one group; notes what was sent, and what is acknowledged.
    fn write(&mut self, number: usize, requests: &[Request]) -> Result<(), String> {
        let Some(core) = self.receivers[number].core.clone() else { return Ok(()) };
        let now = self.receivers[number].clock.now_ms();
        let first = self.ledger.serial();
        let mut group = Vec::new();
        for request in requests {
            let (rows, refused) = request.rows(now);
            let body = request.body();
            let resolved =
                core.resolve(request.protocol, compressed(&body).into(), &body, request.terms(ACCEPT_UNTIL), &());
            let resolved = resolved.map_err(|e| e.to_string())?;
            ensure!(resolved.batch.refusals.total() == refused, "{refused} rows to refuse");
            group.push(resolved);
            self.ledger.send(rows, number);
        }
        let written = core.commit_group(&mut group);
        self.note(format!("{number} receives {}: {:?}", group.len(), written.as_ref().map_err(ToString::to_string)));
        let Ok(positions) = written else { return Ok(()) };
        let receiver = &mut self.receivers[number];
        ensure!(positions.start().get() > receiver.last || self.setup.lie == Lie::Positions, "positions restart");
        receiver.last = positions.end().get();
        self.ledger.acknowledge(&(first..self.ledger.serial()));
        Ok(())
    }

    /// What was reported failed happens now, or never.
    fn land_late(&mut self) -> Result<(), String> {
        if self.late.is_empty() {
            return self.go_on();
        }
        let operation = self.late.swap_remove(self.chance.below(self.late.len()));
        if self.chance.percent(20) {
            return Ok(());
        }
        let landed = match &operation {
            Operation::Commit(table, version, commit) => {
                let put = self.runtime.block_on(self.logs[table].put(*version, commit));
                put.map(|put| format!("{put:?}")).map_err(|e| e.to_string())
            }
            Operation::PutFile(path, content) => {
                let put = self.runtime.block_on(self.tables.store().objects().put(path, content.clone()));
                put.map(|_| "put".to_owned()).map_err(|e| e.to_string())
            }
            _ => Ok(String::new()),
        };
        self.note(format!("late: {operation}: {landed:?}"));
        self.check()
    }

    /// What somebody who stops had asked for may happen all the same.
    fn leave(&mut self, actor: Actor) {
        let waiting = self.schedule.waiting().into_iter().find(|(who, _)| *who == actor);
        if let Some((_, operation @ (Operation::Commit(..) | Operation::PutFile(..)))) = waiting {
            self.late.push(operation);
        }
    }

    fn cut(&mut self, number: usize) -> Result<(), String> {
        if !matches!(self.receivers[number].work, Work::Flushing { .. }) {
            return self.go_on();
        }
        self.note(format!("{number} is cut off"));
        self.leave(self.receivers[number].actor);
        self.receivers[number].cut((&self.runtime, &self.schedule));
        Ok(())
    }

    pub(super) fn kill(&mut self, number: usize) -> Result<(), String> {
        self.note(format!("{number} is killed"));
        self.leave(self.receivers[number].actor);
        self.receivers[number].kill((&self.runtime, &self.schedule));
        Ok(())
    }

    fn end_rewrite(&mut self) {
        if let Some((gate, handle)) = self.rewriter.take() {
            gate.alive.store(false, Ordering::SeqCst);
            self.schedule.release(Actor::Rewriter, Verdict::FailsBefore);
            self.runtime.block_on(self.schedule.settled());
            drop(self.runtime.block_on(handle));
        }
    }

    /// All machines lose power, that of the tables too.
    pub(super) fn lose_power(&mut self) -> Result<(), String> {
        self.end_rewrite();
        for number in 0..RECEIVERS {
            self.kill(number)?;
            self.receivers[number].disk.crash(&self.chance.0);
        }
        self.note("power is lost");
        self.tables.crash();
        if self.setup.ground != Ground::Library {
            self.late.clear();
        }
        self.ledger.power_lost();
        self.check()
    }

    fn move_clock(&mut self, number: usize) -> Result<(), String> {
        const HOUR: i64 = DAY_MS / 24;
        let by = self.chance.among(&[1000, HOUR, DAY_MS, 3 * DAY_MS]).unwrap_or(0);
        if self.chance.percent(30) {
            self.elapsed.fetch_add(by, Ordering::SeqCst);
            self.note(format!("{by} ms go by"));
        } else {
            let by = if self.chance.percent(50) { by } else { -by };
            self.receivers[number].clock.set_by(by);
            self.ledger.set_back |= by < 0;
            self.note(format!("the clock of {number} is set by {by} ms"));
        }
        Ok(())
    }

    fn break_disk(&mut self, number: usize) -> Result<(), String> {
        // A first start whose sync of the writer's name fails must be helped by a person.
        if self.receivers[number].last == 0 {
            return self.go_on();
        }
        let disk = &self.receivers[number].disk;
        let nth = Some(1 + self.chance.below(4) as u64);
        let mut faults = disk.faults();
        match self.chance.below(3) {
            0 => faults.fail_sync = nth,
            1 => faults.fail_write = nth,
            _ => faults.die_at = nth,
        }
        disk.set_faults(faults);
        self.note(format!("the disk of {number}: {faults:?}"));
        Ok(())
    }

    /// No more faults; those who work finish.
    pub(super) fn calm(&mut self) -> Result<(), String> {
        while self.foreign.is_some() {
            self.add_foreign()?;
        }
        self.receivers.iter().for_each(Receiver::heal);
        while let Some((actor, operation)) = self.schedule.waiting().first().cloned() {
            self.release(actor, &operation, Verdict::Well)?;
        }
        Ok(())
    }
}
