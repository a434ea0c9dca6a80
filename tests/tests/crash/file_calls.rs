//! File calls that fail, below the real program: every kind of call on every kind of file, in turn.
//!
//! The kinds are not a list that somebody keeps: a run without faults says what the program calls. Each is then made to fail in each way in
//! which such calls fail, once, in the first life of an archive or in a later one. The receiver must go on by itself, or end with an
//! error that says why; it must not panic, nor hang; and everything acknowledged must be in the tables once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use promarchive_tests::faults::{Action, Call, Fault, FaultyCalls, calls_of};
use promarchive_tests::ledger::{Home, Manners, Random, Receiver, Senders, Start, Tool, verify};

use crate::{audit, rounds_asked_for, whole};

const EIO: i32 = 5;
const EACCES: i32 = 13;
const ENOSPC: i32 = 28;
/// How long it may take until the receiver works again, or has ended: it tries once a second to start, and every few seconds to flush.
const PATIENCE: Duration = Duration::from_secs(60);
/// Faults in one life, when they are grouped.
const GROUP: usize = 10;
/// Archives that go through faults at the same time: they wait most of it.
const AT_ONCE: usize = 4;
const FLUSHES: usize = 5;
/// So many flushes make a checkpoint.
const FLUSHES_TO_CHECKPOINT: usize = 34;

/// Which life of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Life {
    /// Everything is made.
    First,
    /// There are tables, and a WAL to replay.
    Later,
    /// It makes checkpoints.
    Long,
}

#[derive(Clone, Debug)]
struct Case {
    life: Life,
    fault: Fault,
}

/// In which ways a call of this name can fail.
fn actions(name: &str) -> &'static [Action] {
    use Action::{After, Error, Half, Slow};
    match name {
        "sync" => &[Error(EIO), Error(ENOSPC), After(EIO), Slow(1500)],
        "write" => &[Error(ENOSPC), Half, Error(EIO)],
        "create" => &[Error(ENOSPC), Error(EACCES)],
        "link" => &[Error(EIO), After(EIO), Error(ENOSPC)],
        "rename" | "mkdir" => &[Error(ENOSPC), After(EIO), Error(EIO)],
        "read" | "open" | "list" | "unlink" | "truncate" => &[Error(EIO)],
        other => panic!("nobody has thought about how {other} can fail"),
    }
}

/// One archive and its senders.
pub(crate) struct Bench {
    home: Home,
    senders: Senders,
}

impl Bench {
    pub(crate) fn new(random: &mut Random) -> Self {
        Self { home: Home::new(), senders: Senders::start(Manners::default(), random) }
    }

    fn start(&self, start: &Start) -> Receiver {
        let mut receiver = start.spawn(&self.home);
        self.senders.aim(receiver.wait_listening());
        receiver
    }

    fn kill(&self, mut receiver: Receiver) {
        receiver.kill();
        self.senders.aim(None);
    }

    /// A place beside archive and WAL.
    pub(crate) fn beside(&self, name: &str) -> std::path::PathBuf {
        self.home.beside(name)
    }

    /// Tables, and a WAL whose records no table has.
    pub(crate) fn earlier_life(&self) {
        let mut receiver = self.start(&Start { flush_interval: "1m", ..Start::default() });
        assert!(receiver.wait_ready(), "the receiver ended by itself");
        for _ in 0..2 {
            self.load(3);
            receiver.flush().unwrap_or_else(|error| panic!("{error}"));
        }
        self.load(3);
        self.kill(receiver);
    }

    fn load(&self, requests: u64) {
        assert!(self.senders.wait_acknowledged(requests, PATIENCE), "nothing was acknowledged");
    }

    /// A life with faults. Returns which calls it made, and which of them were struck.
    fn life(&self, life: Life, name: &str, faults: &[Fault]) -> (BTreeMap<Call, u64>, BTreeMap<Call, u64>) {
        let calls = FaultyCalls::new(&self.home.data(), name, faults);
        self.live(life, Start { environment: calls.environment(), ..Start::default() }, &format!("{faults:?}"));
        (calls_of(&calls.notes()), calls.struck())
    }

    /// A life that ends by a kill, with whatever faults `start` brings.
    pub(crate) fn live(&self, life: Life, start: Start, faults: &str) {
        let mut receiver = self.start(&Start { flush_interval: "1m", ..start });
        if works_again(&mut receiver, faults) {
            let flushes = if life == Life::Long { FLUSHES_TO_CHECKPOINT } else { FLUSHES };
            for flush in 1..=flushes {
                self.load(1);
                // With nothing sent meanwhile, the purge makes a new segment.
                let lull = flush % 4 == 0;
                if lull {
                    self.senders.aim(None);
                    std::thread::sleep(Duration::from_millis(20));
                }
                flush_at_last(&mut receiver, faults);
                self.senders.aim(receiver.address());
            }
            self.load(2);
        }
        let log = receiver.log();
        assert!(!log.contains("panicked"), "{faults}: {log}");
        self.kill(receiver);
    }

    /// Everything is there exactly once, read from a receiver without faults.
    pub(crate) fn settle(&self, after: &str) {
        let mut receiver = self.start(&Start::default());
        assert!(receiver.wait_ready(), "{after}: the receiver ended by itself: {}", receiver.log());
        whole(audit(&mut receiver, &self.home, self.senders.book(), Tool::DuckDb), after);
        self.kill(receiver);
        self.senders.check_answers();
        verify(&self.home.archive()).unwrap_or_else(|error| panic!("{after}: {error}"));
    }
}

/// Waits until the receiver is ready. False if it ended, which it may with an error that says why.
fn works_again(receiver: &mut Receiver, faults: &str) -> bool {
    let until = Instant::now() + PATIENCE;
    while !receiver.is_ready() {
        if let Some(status) = receiver.ended() {
            let log = receiver.log();
            let told = log.lines().last().is_some_and(|line| line.starts_with("error: "));
            assert!(status.code() == Some(1) && told, "{faults}: it ended with {status}: {log}");
            return false;
        }
        assert!(Instant::now() < until, "{faults}: not ready within {PATIENCE:?}: {}", receiver.log());
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

fn flush_at_last(receiver: &mut Receiver, faults: &str) {
    let until = Instant::now() + PATIENCE;
    while let Err(error) = receiver.flush() {
        assert!(Instant::now() < until, "{faults}: flushes go on failing: {error}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What the program calls in each life when nothing fails.
fn calls_without_faults(random: &mut Random) -> Vec<(Life, Call, u64)> {
    let mut found = Vec::new();
    let mut known = BTreeSet::new();
    for life in [Life::First, Life::Later, Life::Long] {
        let bench = Bench::new(random);
        if life != Life::First {
            bench.earlier_life();
        }
        let (calls, _) = bench.life(life, "calls", &[]);
        bench.settle("without faults");
        // The long life is for what only it does.
        found.extend(
            calls
                .into_iter()
                .filter(|(call, _)| life != Life::Long || !known.contains(call))
                .map(|(call, count)| (life, call, count)),
        );
        known.extend(found.iter().map(|(_, call, _)| call.clone()));
    }
    found
}

/// The cases in groups that go through one life together.
fn groups(mut cases: Vec<Case>, size: usize, random: &mut Random) -> Vec<(Life, Vec<Fault>)> {
    for at in (1..cases.len()).rev() {
        cases.swap(at, random.below(at as u64 + 1) as usize);
    }
    let mut groups: Vec<(Life, Vec<Fault>)> = Vec::new();
    for Case { life, fault } in cases {
        let fits = |(of, faults): &&mut (Life, Vec<Fault>)| {
            *of == life && faults.len() < size && faults.iter().all(|other| other.call != fault.call)
        };
        match groups.iter_mut().find(fits) {
            Some((_, faults)) => faults.push(fault),
            None => groups.push((life, vec![fault])),
        }
    }
    groups
}

/// Puts each group through a life, and returns the calls that were struck.
fn strike(groups: &[(Life, Vec<Fault>)], random: &mut Random) -> BTreeMap<Call, u64> {
    let (next, all, seeds) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()), Mutex::new(random.fork()));
    let work = || {
        while let Some((life, faults)) = groups.get(next.fetch_add(1, Ordering::SeqCst)) {
            let mut random = seeds.lock().expect("no other thread panics").fork();
            let bench = Bench::new(&mut random);
            if *life != Life::First {
                bench.earlier_life();
            }
            let (_, struck) = bench.life(*life, "calls", faults);
            bench.settle(&format!("{life:?} {faults:?}"));
            let mut all = all.lock().expect("no other thread panics");
            struck.into_iter().for_each(|(call, times)| *all.entry(call).or_insert(0) += times);
        }
    };
    std::thread::scope(|scope| {
        (0..AT_ONCE).for_each(|_| drop(scope.spawn(work)));
    });
    all.into_inner().expect("no thread panicked")
}

/// Each kind of call fails in each way, in the places that `nths` chooses of as many as it was called.
fn cases(calls: &[(Life, Call, u64)], nths: impl Fn(u64) -> Vec<u64>, ways: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    for (life, call, count) in calls {
        for nth in nths(*count) {
            let actions = actions(&call.name).iter().take(ways);
            cases.extend(actions.map(|action| Case { life: *life, fault: Fault::once(call.clone(), nth, *action) }));
        }
    }
    cases
}

fn run(nths: impl Fn(u64) -> Vec<u64>, ways: usize, group: usize) {
    let began = Instant::now();
    let (mut random, seed) = Random::from_environment();
    eprintln!("PROMARCHIVE_CRASH_SEED={seed}");
    let calls = calls_without_faults(&mut random);
    let cases = cases(&calls, nths, ways);
    let (count, kinds) = (cases.len(), calls.iter().map(|(_, call, _)| call.clone()).collect::<BTreeSet<_>>());
    let together = groups(cases.clone(), group, &mut random);
    let mut struck = strike(&together, &mut random);
    // One fault can keep a life from coming to another: those alone.
    let missed = cases.into_iter().filter(|case| !struck.contains_key(&case.fault.call)).collect();
    let alone = groups(missed, 1, &mut random);
    struck.extend(strike(&alone, &mut random));
    let (times, lives) = (struck.values().sum::<u64>(), together.len() + alone.len());
    eprintln!(
        "{times} calls of {count} planned failed in {lives} lives, {} of {} kinds, in {} s",
        struck.len(),
        kinds.len(),
        began.elapsed().as_secs()
    );
    let missed: Vec<_> = calls.iter().filter(|(_, call, _)| !struck.contains_key(call)).collect();
    assert!(missed.is_empty(), "calls that no fault struck, and the lives that had so many: {missed:?}");
}

#[test]
fn nothing_is_lost_or_doubled_when_any_kind_of_file_call_fails() {
    if rounds_asked_for().is_none() {
        run(|_| vec![1], 1, GROUP);
    }
}

#[test]
#[ignore = "many minutes long: part of make crash"]
fn nothing_is_lost_or_doubled_when_any_file_call_fails_in_any_way() {
    let nths = |count: u64| {
        [1, 2, 3, 5, count / 2, count].into_iter().filter(|nth| (1..=count).contains(nth)).collect::<BTreeSet<_>>()
    };
    run(|count| nths(count).into_iter().collect(), usize::MAX, GROUP);
}
