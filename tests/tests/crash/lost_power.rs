//! Power fails: what was not synced is gone, or half of it, and everything acknowledged is there once all the same.
//!
//! One history of the real program is recorded, with faults and deaths in it; from the record come the states that a disk may
//! be in at each moment ([`promarchive_tests::faults`]); on each of them the program is started, and its tables are audited.

use std::collections::HashSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use promarchive_tests::faults::{Action, Call, Fault, FaultyCalls, Journal, Leftover, Survival, SyncKind};
use promarchive_tests::ledger::{
    Body, Book, Checked, Connection, Home, Notes, Random, Receiver, Row, Start, Tool, Violations, encode, read_tables,
};

use crate::rounds_asked_for;

/// Flushes after which a table has a checkpoint, and some.
const FLUSHES: usize = 34;
/// Segments that are purged in lives with faults, about.
const PURGES_WITH_FAULTS: usize = 12;
/// States that are tried of each kind; `make crash` tries more.
const STATES_IN_CI: usize = 12;
const STATES_ASKED_FOR: usize = 250;

const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// What the program did and promised.
struct History {
    book: Book,
    journal: Journal,
    /// What was acknowledged after so many answers.
    acknowledged: Vec<Notes>,
    bodies: Vec<Body>,
}

/// A sender that sends one request at a time, the same until it is acknowledged: the n-th 204 is that of the n-th request.
struct Recorder {
    home: Home,
    history: History,
    lives: u32,
}

impl Recorder {
    fn start(&mut self, faults: &[Fault]) -> Receiver {
        self.lives += 1;
        let calls = FaultyCalls::new(&self.home.data(), &format!("life-{}", self.lives), faults);
        let calls = calls.with_journal(self.home.beside("journal"));
        let start =
            Start { flush_interval: "1h", dedup_horizon: "2h", environment: calls.environment(), ..Start::default() };
        start.spawn(&self.home)
    }

    /// Sends new rows until they are acknowledged; false if the receiver ended before.
    fn send(&mut self, receiver: &mut Receiver, requests: usize) -> bool {
        for _ in 0..requests {
            let rows = self.history.book.new_block();
            let body = encode(&rows, false);
            self.history.bodies.push(body.clone());
            if !deliver(receiver, &body) {
                return false;
            }
            self.acknowledged(&rows);
        }
        true
    }

    fn acknowledged(&mut self, rows: &[Row]) {
        self.history.book.acknowledge(rows);
        self.history.acknowledged.push(self.history.book.notes());
    }
}

fn deliver(receiver: &mut Receiver, body: &Body) -> bool {
    let address = receiver.address().expect("an address");
    while receiver.ended().is_none() {
        let answer = Connection::open(address, Duration::from_secs(10)).and_then(|mut to| to.write(body));
        match answer.map(|answer| answer.status) {
            Ok(204) => return true,
            Ok(503) | Err(_) => std::thread::sleep(Duration::from_millis(5)),
            Ok(status) => panic!("answered {status}"),
        }
    }
    false
}

/// Recorded once for all tests.
fn history() -> &'static History {
    static HISTORY: OnceLock<History> = OnceLock::new();
    HISTORY.get_or_init(record)
}

/// Three lives on one disk. In the first, a commit lands and its sync fails. The second ends between a commit and its sync. The third makes
/// so many commits that there is a checkpoint, and ends orderly.
fn record() -> History {
    let history = History {
        book: Book::default(),
        journal: Journal::default(),
        acknowledged: vec![Notes::default()],
        bodies: vec![],
    };
    let mut recorder = Recorder { home: Home::new(), history, lives: 0 };
    let first = [
        Fault::once(Call::new("sync", "archive/samples/_delta_log"), 4, Action::Error(5)),
        Fault::once(Call::new("sync", "wal/wal-*.log"), 7, Action::Error(5)),
        Fault::once(Call::new("write", "wal/wal-*.log"), 9, Action::Half),
        Fault::once(Call::new("write", "wal/wal-*.log"), 10, Action::Error(28)),
    ];
    let mut receiver = recorder.start(&first);
    assert!(receiver.wait_ready(), "the receiver ended by itself");
    for _ in 0..3 {
        assert!(recorder.send(&mut receiver, 4), "the receiver ended by itself");
        // One of them fails, and the next makes up for it.
        let _ = receiver.flush();
    }
    receiver.flush().unwrap_or_else(|error| panic!("{error}"));
    assert!(recorder.send(&mut receiver, 3) && receiver.kill());

    let mut receiver =
        recorder.start(&[Fault::once(Call::new("link", "archive/samples/_delta_log/*.json"), 1, Action::Kill)]);
    if receiver.wait_ready() && recorder.send(&mut receiver, 2) {
        let _ = receiver.flush();
    }
    assert!(receiver.dies_within(Duration::from_secs(10)), "it was to be killed in a commit");

    let mut receiver = recorder.start(&[]);
    assert!(receiver.wait_ready(), "the receiver ended by itself");
    // Nothing new for the table whose commit was not synced.
    receiver.flush().unwrap_or_else(|error| panic!("{error}"));
    for _ in 0..FLUSHES {
        assert!(recorder.send(&mut receiver, 1));
        receiver.flush().unwrap_or_else(|error| panic!("{error}"));
    }
    assert!(recorder.send(&mut receiver, 3));
    receiver.terminate();
    assert!(receiver.wait_ended().success());

    let text = fs::read(recorder.home.beside("journal")).expect("a journal");
    recorder.history.journal = Journal::parse(&text).unwrap_or_else(|error| panic!("{error}"));
    check_journal(&recorder);
    recorder.history
}

/// The journal is whole: everything in it, done again, makes the directory that the program has left.
fn check_journal(recorder: &Recorder) {
    // Allocated by a call that bypasses the C library.
    const RESERVE: &str = ".promarchive.reserve";
    let journal = &recorder.history.journal;
    let made = journal.left_at(journal.len(), Survival::Everything, &[]).without(RESERVE);
    let found = Leftover::read_from(&recorder.home.data()).expect("the directory").without(RESERVE);
    assert!(made == found, "the journal makes another directory: {}", made.difference(&found));
    let answers = journal.acknowledged_before(journal.len());
    assert_eq!(answers + 1, recorder.history.acknowledged.len(), "answers 204 in the journal");
}

/// Starts the program on what is left, sends again what came last, and audits; the error says what is wrong.
fn recover(history: &History, moment: usize, left: &Leftover, starts_within: Duration) -> Result<Checked, String> {
    let home = Home::new();
    left.write_to(&home.data()).expect("a directory to start on");
    let start = Start { flush_interval: "1h", dedup_horizon: "2h", ..Start::default() };
    let mut receiver = start.spawn(&home);
    let until = Instant::now() + starts_within;
    while !receiver.is_ready() {
        if receiver.ended().is_some() || Instant::now() > until {
            return Err(format!("the receiver does not start: {}", receiver.log()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let answers = history.journal.acknowledged_before(moment);
    // Its sender does not know: the request whose answer may be lost, and the one before.
    for body in history.bodies.iter().skip(answers.saturating_sub(1)).take(2) {
        assert!(deliver(&mut receiver, body), "the receiver ended by itself");
    }
    let owed = history.acknowledged.get(answers).expect("notes for each answer");
    receiver.flush().map_err(|error| format!("a flush failed without a fault: {error}"))?;
    let tables = read_tables(Tool::DuckDb, &home.archive())?;
    history.book.check(owed, &tables).map_err(|violations: Violations| violations.to_string())
}

fn hash(left: &Leftover) -> u64 {
    let mut hasher = DefaultHasher::new();
    left.hash(&mut hasher);
    hasher.finish()
}

/// So many of them, evenly.
fn some_of(moments: &[usize], count: usize) -> Vec<usize> {
    let step = moments.len().div_ceil(count.max(1)).max(1);
    let mut some: Vec<usize> = moments.iter().rev().step_by(step).copied().collect();
    some.reverse();
    some
}

fn must_recover(history: &History, moments: &[usize], mut survival: impl FnMut(usize) -> Leftover) -> usize {
    let mut seen = HashSet::new();
    for &moment in moments {
        let left = survival(moment);
        if seen.insert((hash(&left), history.journal.acknowledged_before(moment))) {
            recover(history, moment, &left, STARTS_WITHIN)
                .unwrap_or_else(|wrong| panic!("power fails at event {moment}: {wrong}"));
        }
    }
    seen.len()
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_when_power_fails() {
    let history = history();
    let journal = &history.journal;
    let count = if rounds_asked_for().is_some() { STATES_ASKED_FOR } else { STATES_IN_CI };
    let (mut random, seed) = Random::from_environment();
    eprintln!("PROMARCHIVE_CRASH_SEED={seed}");

    let turns = journal.turning_points();
    let purges = journal.removals_of("wal/wal-");
    let mut strict = some_of(&turns, count);
    // The first lives are those with faults.
    let (early, late) = purges.split_at(purges.len().min(PURGES_WITH_FAULTS));
    strict.extend(early);
    strict.extend(some_of(late, count));
    strict.push(journal.len());
    let nothing = must_recover(history, &strict, |moment| journal.left_at(moment, Survival::Nothing, &[]));
    let any: Vec<usize> = (0..count).map(|_| random.below(journal.len() as u64 + 1) as usize).collect();
    let torn = must_recover(history, &any, |moment| journal.left_at(moment, Survival::Chance(&mut random), &[]));
    eprintln!(
        "{} events, {} answers; recovered from {nothing} states without anything unsynced, {torn} with some of it, torn",
        journal.len(),
        history.acknowledged.len() - 1,
    );
}

/// The test must be able to fail: each sync that durability rests on is left out in turn, and some state shows it.
#[test]
fn a_sync_that_is_missing_is_noticed() {
    let history = history();
    let journal = &history.journal;
    let syncs = [
        SyncKind::File("wal/wal-"),
        SyncKind::Directory("wal"),
        SyncKind::File("wal/writer"),
        SyncKind::Directory("."),
        SyncKind::File(".parquet"),
        SyncKind::Directory("date="),
        SyncKind::File(".json"),
        SyncKind::Directory("_delta_log"),
        SyncKind::Directory("samples"),
        SyncKind::Directory("archive"),
    ];
    let acknowledged: Vec<usize> = journal.turning_points();
    for sync in syncs {
        let mut moments = vec![journal.len()];
        moments.extend(some_of(&acknowledged, 8));
        let noticed = moments.into_iter().find_map(|moment| {
            let left = journal.left_at(moment, Survival::Nothing, std::slice::from_ref(&sync));
            recover(history, moment, &left, Duration::from_secs(3)).err()
        });
        let noticed = noticed.unwrap_or_else(|| panic!("without the sync of {sync:?} nothing is noticed"));
        let told = noticed.lines().rev().find(|line| !line.is_empty()).unwrap_or_default().to_owned();
        eprintln!("without the sync of {sync:?}: {told}");
    }
}
