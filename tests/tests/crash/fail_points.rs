//! Every named fail point: the process dies there, or the step fails once, or goes on failing.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::{Duration, Instant};

use promarchive_model::failpoint::NAMES;
use promarchive_tests::ledger::{FLUSH_EVERY, Home, Manners, Random, Receiver, Senders, Start, Tool, drive, verify};

use crate::{audit, rounds_asked_for, whole};

/// How long it may take until a point is reached.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a step goes on failing.
const FAULT: Duration = Duration::from_millis(1300);

/// Points that are passed once a start, or need what a test must prepare anew: only their first time is a case.
const ONCE: [&str; 3] = ["archive-note", "replay-repair", "replay-done"];
/// Steps whose failure costs nobody anything yet: the receiver stays ready.
const HARMLESS: [&str; 4] = ["checkpoint", "purge-start", "purge-segment", "archive-note"];

/// One archive that goes through one fault after the other.
struct Bench {
    home: Home,
    senders: Senders,
}

impl Bench {
    fn new() -> Self {
        let (mut random, seed) = Random::from_environment();
        eprintln!("PROMARCHIVE_CRASH_SEED={seed}");
        Self { home: Home::new(), senders: Senders::start(Manners::default(), &mut random) }
    }

    fn start(&self, start: &Start) -> Receiver {
        let mut receiver = start.spawn(&self.home);
        self.senders.aim(receiver.wait_listening());
        receiver
    }

    /// Leaves a WAL with records that no table has, and with a torn tail where repair is to be tested.
    fn prepare(&self, point: &str) {
        let mut receiver = self.start(&Start { flush_interval: "1m", ..Start::default() });
        assert!(receiver.wait_ready(), "the receiver ended by itself");
        assert!(self.senders.wait_acknowledged(5, PATIENCE), "nothing was acknowledged before {point}");
        assert!(receiver.kill());
        self.senders.aim(None);
        if point == "archive-note" {
            std::fs::remove_file(self.home.wal().join("archive")).expect("a note to be missing");
        }
        if point == "replay-repair" {
            let segments = self.home.segments();
            let last = segments.last().expect("a segment");
            let mut file = OpenOptions::new().append(true).open(last).expect("a segment to write to");
            file.write_all(b"the beginning of a record that was never comp").expect("a torn tail");
        }
    }

    /// Everything is there exactly once, read from a receiver without faults.
    fn settle(&self, after: &str) {
        let mut receiver = self.start(&Start::default());
        assert!(receiver.wait_ready(), "{after}: the receiver ended by itself");
        whole(audit(&mut receiver, &self.home, self.senders.book(), Tool::DuckDb), after);
        assert!(receiver.kill());
        self.senders.aim(None);
        self.senders.check_answers();
    }
}

fn dies_at(bench: &Bench, point: &str, times: u32) {
    let fail_point = format!("{point}=kill:{times}");
    bench.prepare(point);
    let mut receiver = bench.start(&Start::at(&fail_point));
    let until = Instant::now() + PATIENCE;
    drive(&bench.senders, &mut receiver, |receiver| receiver.ended().is_some() || Instant::now() > until);
    assert!(receiver.dies_within(Duration::from_millis(1)), "{fail_point}: the point was not reached in {PATIENCE:?}");
    bench.senders.aim(None);
    bench.settle(&fail_point);
}

#[test]
fn nothing_is_lost_or_doubled_by_a_kill_at_any_point() {
    let bench = Bench::new();
    let all_times: &[u32] = if rounds_asked_for().is_some() { &[1, 2, 5] } else { &[1] };
    let mut cases = 0;
    for &point in NAMES {
        let began = Instant::now();
        let times = all_times.iter().filter(|&&times| times == 1 || !ONCE.contains(&point));
        for &times in times {
            dies_at(&bench, point, times);
            cases += 1;
        }
        eprintln!("killed at {point}: {} ms", began.elapsed().as_millis());
    }
    verify(&bench.home.archive()).unwrap_or_else(|error| panic!("{error}"));
    eprintln!(
        "killed at all {} points in {cases} cases; {} rows acknowledged",
        NAMES.len(),
        bench.senders.book().notes().acknowledged()
    );
}

/// The step fails: the receiver lives, or would start again; senders are told to wait, and nothing else.
fn fails_at(bench: &Bench, point: &str, action: &str) {
    let fail_point = format!("{point}={action}");
    bench.prepare(point);
    let mut receiver = bench.start(&Start::at(&fail_point));
    let (mut reached, mut was_not_ready) = (false, false);
    let fault = if action == "errors" { FAULT } else { Duration::ZERO };
    let (enough, until) = (Instant::now() + fault, Instant::now() + PATIENCE);
    drive(&bench.senders, &mut receiver, |receiver| {
        let (told, now) = (format!("fail point {point}"), Instant::now());
        reached = reached || receiver.log().contains(&told) || bench.senders.tally().reason().contains(&told);
        was_not_ready = was_not_ready || !receiver.is_ready();
        receiver.ended().is_some() || (reached && now > enough) || now > until
    });
    assert!(reached, "{fail_point}: the point was not reached in {PATIENCE:?}");
    assert_eq!(receiver.ended(), None, "{fail_point}: it ended by itself");
    if action == "errors" {
        assert!(was_not_ready || HARMLESS.contains(&point), "{fail_point}: it was ready all the time");
        // What it cannot put away now is in the WAL.
        receiver.terminate();
        let status = receiver.wait_ended();
        assert!(status.success(), "{fail_point}: SIGTERM ended it with {status}");
    } else {
        flush_again(&mut receiver, &fail_point);
        assert!(receiver.wait_ready());
        assert!(bench.senders.wait_acknowledged(5, PATIENCE), "{fail_point}: senders did not get through again");
        whole(audit(&mut receiver, &bench.home, bench.senders.book(), Tool::DuckDb), &fail_point);
        assert!(receiver.kill());
    }
    bench.senders.aim(None);
    bench.settle(&fail_point);
}

/// A flush succeeds by itself, soon.
fn flush_again(receiver: &mut Receiver, when: &str) {
    let until = Instant::now() + PATIENCE;
    while let Err(error) = receiver.flush() {
        assert!(Instant::now() < until, "{when}: flushes go on failing: {error}");
        std::thread::sleep(FLUSH_EVERY);
    }
}

#[test]
fn nothing_is_lost_or_doubled_when_a_step_fails_once() {
    let bench = Bench::new();
    for &point in NAMES {
        fails_at(&bench, point, "error");
        eprintln!("failed once at {point}");
    }
}

#[test]
#[ignore = "a minute long: part of make crash"]
fn nothing_is_lost_or_doubled_while_a_step_goes_on_failing() {
    let bench = Bench::new();
    for &point in NAMES {
        fails_at(&bench, point, "errors");
        eprintln!("went on failing at {point}");
    }
}
