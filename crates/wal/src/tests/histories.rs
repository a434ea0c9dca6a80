//! Random histories of a WAL on a disk that forgets, checked against a model of what was promised.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::super::Faults;
use super::super::segment::HEADER_BYTES;
use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// A group of bodies of these lengths.
    Append(Vec<u16>),
    /// Up to this share of what is durable.
    Purge(u8),
    /// The n-th sync or write from now fails, or the process dies at the n-th change.
    FailSync(u64),
    FailWrite(u64),
    DieAt(u64),
    /// Few bytes are left, or enough.
    Full(bool),
    ReadOnly(bool),
    /// The process starts again, after a crash of the machine or not; perhaps it dies at the n-th change, and starts again.
    Restart {
        crash: bool,
        die_at: Option<u64>,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => prop::collection::vec(0_u16..400, 1..5).prop_map(Step::Append),
        2 => (0_u8..=100).prop_map(Step::Purge),
        1 => Just(Step::Purge(100)),
        1 => (1_u64..4).prop_map(Step::FailSync),
        1 => (1_u64..4).prop_map(Step::FailWrite),
        2 => (1_u64..9).prop_map(Step::DieAt),
        1 => any::<bool>().prop_map(Step::Full),
        1 => any::<bool>().prop_map(Step::ReadOnly),
        4 => (any::<bool>(), prop::option::weighted(0.3, 1_u64..6)).prop_map(|(crash, die_at)| Step::Restart { crash, die_at }),
    ];
    prop::collection::vec(step, 1..40)
}

/// What was promised, and what was seen.
struct Model {
    site: Site,
    /// Every body that was ever handed over.
    offered: BTreeSet<Vec<u8>>,
    /// Positions acknowledged or replayed, with their bodies: each has one meaning for ever.
    known: BTreeMap<u64, Vec<u8>>,
    acknowledged: BTreeSet<u64>,
    purged: u64,
    /// The last position given out in any way.
    highest: u64,
    /// See [`leaves_phantoms`].
    phantoms: bool,
    /// A crash may zero the middle of a write: without knowing where groups end, recovery takes that for damage.
    holes: bool,
}

macro_rules! ensure {
    ($condition:expr, $($message:tt)*) => {
        if !$condition {
            return Err(format!($($message)*));
        }
    };
}

impl Model {
    fn new(seed: u64, lies: Faults, phantoms: bool) -> Self {
        let site = Site::new(seed, HEADER_BYTES as u64 + 1000);
        site.disk.set_faults(lies);
        Self {
            site,
            offered: BTreeSet::new(),
            known: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            purged: 0,
            highest: 0,
            phantoms,
            holes: lies.holes,
        }
    }

    fn faults(&self, change: impl FnOnce(&mut Faults)) {
        let mut faults = self.site.disk.faults();
        change(&mut faults);
        self.site.disk.set_faults(faults);
    }

    fn open(&mut self) -> Result<Opened, String> {
        let opened = self.site.try_open(self.purged).map_err(|error| format!("cannot open: {error} {error:?}"))?;
        ensure!(opened.replayed.windows(2).all(|pair| pair[0].0 < pair[1].0), "positions not in order");
        let bodies: BTreeSet<_> = opened.replayed.iter().map(|(_, body)| body).collect();
        ensure!(bodies.len() == opened.replayed.len(), "a record came twice");
        for (position, body) in &opened.replayed {
            ensure!(self.offered.contains(body), "{position} holds what nobody wrote");
            let known = self.known.entry(*position).or_insert_with(|| body.clone());
            ensure!(known == body, "{position} has changed its meaning");
            self.highest = self.highest.max(*position);
        }
        let replayed: BTreeSet<u64> = opened.replayed.iter().map(|(position, _)| *position).collect();
        let lost: Vec<_> =
            self.acknowledged.range(self.purged + 1..).filter(|position| !replayed.contains(position)).collect();
        ensure!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        let alarms = self.phantoms || self.holes;
        ensure!(alarms || opened.recovery.damage.is_empty(), "false alarm: {:?}", opened.recovery.damage);
        ensure!(
            self.phantoms || opened.recovery.behind.is_none(),
            "the position was forgotten: {:?}",
            opened.recovery.behind
        );
        ensure!(opened.wal.tail().get() >= self.highest, "the tail {} is below {}", opened.wal.tail(), self.highest);
        Ok(opened)
    }

    fn append(&mut self, opened: &mut Opened, lengths: &[u16]) -> Result<(), String> {
        let number = self.offered.len();
        let body = |(index, length): (usize, &u16)| {
            let mut body = format!("{}:", number + index).into_bytes();
            body.resize(body.len() + usize::from(*length), u8::try_from(index).unwrap());
            body
        };
        let bodies: Vec<_> = lengths.iter().enumerate().map(body).collect();
        self.offered.extend(bodies.iter().cloned());
        let result = append(&mut opened.wal, &bodies.iter().map(Vec::as_slice).collect::<Vec<_>>());
        if let Ok(positions) = &result {
            ensure!(*positions.start() > self.highest, "{positions:?} given out again, {} was", self.highest);
            ensure!(positions.clone().count() == bodies.len(), "{} bodies, positions {positions:?}", bodies.len());
            ensure!(opened.wal.durable().get() == *positions.end(), "durable is not the last acknowledged");
            self.acknowledged.extend(positions.clone());
            self.known.extend(positions.clone().zip(bodies));
        }
        ensure!(opened.wal.tail() >= opened.wal.durable(), "tail below durable");
        self.highest = self.highest.max(opened.wal.tail().get());
        Ok(())
    }

    fn purge(&mut self, opened: &mut Opened, percent: u8) -> Result<(), String> {
        let durable = opened.wal.durable().get();
        let through = self.purged.max(durable * u64::from(percent) / 100);
        self.purged = through;
        if opened.purge(through).is_ok() && through == durable {
            ensure!(
                opened.wal.size_bytes() <= HEADER_BYTES as u64,
                "{} bytes left after a full purge",
                opened.wal.size_bytes()
            );
        }
        Ok(())
    }

    fn restart(&mut self, crash: bool) {
        if crash {
            self.site.disk.crash(&*self.site.entropy)
        } else {
            self.site.disk.kill()
        }
        if crash && self.phantoms {
            self.known.retain(|position, _| self.acknowledged.contains(position));
        }
        // What died with the process was never seen by anybody: its positions may be used again.
        self.highest = self.known.keys().last().copied().unwrap_or(0);
    }

    fn step(&mut self, opened: &mut Opened, step: &Step) -> Result<(), String> {
        match step {
            Step::Append(lengths) => self.append(opened, lengths)?,
            Step::Purge(percent) => self.purge(opened, *percent)?,
            Step::FailSync(nth) => self.faults(|faults| faults.fail_sync = Some(*nth)),
            Step::FailWrite(nth) => self.faults(|faults| faults.fail_write = Some(*nth)),
            Step::DieAt(nth) => self.faults(|faults| faults.die_at = Some(*nth)),
            Step::Full(full) => {
                let used: usize = self.site.files().iter().map(|(_, bytes)| bytes.len()).sum();
                self.faults(|faults| faults.capacity = full.then_some(used as u64 + 100));
            }
            Step::ReadOnly(read_only) => self.faults(|faults| faults.read_only = *read_only),
            Step::Restart { crash, die_at } => {
                self.restart(*crash);
                if let Some(nth) = die_at {
                    self.faults(|faults| faults.die_at = Some(*nth));
                    let _ = self.site.try_open(self.purged);
                    self.restart(*crash);
                }
                *opened = self.open()?;
            }
        }
        Ok(())
    }
}

/// A sync that failed, in a process that died before it could cut the segment, leaves a record in the page cache which a crash
/// takes away later. It was never acknowledged, and whatever was flushed of it raises the floor; but if a restart in between has
/// replayed it, it can be reported as missing, and its position can come again.
fn leaves_phantoms(steps: &[Step]) -> bool {
    let failing = |step: &Step| matches!(step, Step::FailSync(_));
    let dying = |step: &Step| matches!(step, Step::DieAt(_) | Step::ReadOnly(true));
    steps.iter().any(failing) && steps.iter().any(dying)
}

/// Runs a history; tells which promise was broken first.
fn run(seed: u64, lies: Faults, steps: &[Step]) -> Result<(), String> {
    let mut model = Model::new(seed, lies, leaves_phantoms(steps));
    let mut opened = model.open()?;
    for step in steps {
        model.step(&mut opened, step)?;
    }
    for crash in [true, false] {
        model.restart(crash);
        model.open()?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_history_keeps_what_was_promised(seed in any::<u64>(), steps in steps()) {
        run(seed, Faults::default(), &steps).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn also_when_a_crash_leaves_holes(seed in any::<u64>(), steps in steps()) {
        run(seed, Faults { holes: true, ..Faults::default() }, &steps).map_err(TestCaseError::fail)?;
    }
}

fn restart(crash: bool) -> Step {
    Step::Restart { crash, die_at: None }
}

/// Histories that once broke a promise, and are too rare to wait for.
#[test]
fn histories_that_failed_once() {
    use Step::{Append, DieAt, FailSync, Purge};
    let histories = [
        // What a failed creation left was kept as the segment that remembers the position.
        vec![Append(vec![200, 200, 200]), DieAt(4), FailSync(1), Append(vec![392]), DieAt(3), Purge(100), Purge(0)],
        // The directory entry of a killed process's segment was built upon, and not durable.
        vec![
            Append(vec![300, 300, 300, 300]),
            Append(vec![300, 300, 300, 300]),
            DieAt(1),
            Purge(100),
            restart(false),
            DieAt(6),
            Purge(0),
            restart(false),
            DieAt(1),
            Purge(0),
        ],
        // A creation had failed, and made the file: left behind by the purge, it looked like a loss.
        vec![DieAt(1), Append(vec![0]), DieAt(7), Append(vec![0]), DieAt(5), Purge(100)],
        vec![DieAt(1), Append(vec![0]), DieAt(9), Append(vec![0]), Purge(100)],
    ];
    for (index, history) in histories.iter().enumerate() {
        for seed in 0..300 {
            run(seed, Faults::default(), history)
                .unwrap_or_else(|broken| panic!("history {index}, seed {seed}: {broken}"));
        }
    }
}

/// How many of 500 histories break a promise on a disk that lies.
fn violations(lies: Faults) -> Vec<String> {
    let mut runner = TestRunner::deterministic();
    let history = |seed| {
        let steps = steps().new_tree(&mut runner).unwrap().current();
        run(seed, lies, &steps).err()
    };
    (0..500).filter_map(history).collect()
}

#[test]
fn the_check_notices_a_missing_sync() {
    let honest = violations(Faults::default());
    assert!(honest.is_empty(), "{honest:?}");
    let files = violations(Faults { lie_about_files: true, ..Faults::default() });
    assert!(files.iter().any(|violation| violation.contains("acknowledged and lost")), "{files:?}");
    let directory = violations(Faults { lie_about_directory: true, ..Faults::default() });
    assert!(directory.iter().any(|violation| violation.contains("acknowledged and lost")), "{directory:?}");
}
