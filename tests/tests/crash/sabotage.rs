//! The ledger test must be able to fail. Here the program does deliberately what it must never do
//! (`PROMARCHIVE_SABOTAGE`), and each run is made twice: honest, it must pass the check, and sabotaged it must not.

use std::fs;
use std::time::Duration;

use promarchive_tests::ledger::{Checked, Home, Manners, Random, Receiver, Senders, Start, Tool, Violations};

use crate::audit;

const PATIENCE: Duration = Duration::from_secs(30);

/// A short ledger run.
struct Run {
    home: Home,
    senders: Senders,
    sabotage: Option<&'static str>,
}

impl Run {
    fn new(sabotage: Option<&'static str>, manners: Manners) -> Self {
        let (mut random, seed) = Random::from_environment();
        eprintln!("{sabotage:?}: PROMARCHIVE_CRASH_SEED={seed}");
        Self { home: Home::new(), senders: Senders::start(manners, &mut random), sabotage }
    }

    fn start(&self, start: &Start) -> Receiver {
        let mut receiver = Start { sabotage: self.sabotage, ..start.clone() }.spawn(&self.home);
        self.senders.aim(receiver.wait_listening());
        assert!(receiver.wait_ready(), "the receiver ended by itself");
        receiver
    }

    /// Waits for more acknowledged requests.
    fn load(&self, requests: u64) {
        assert!(self.senders.wait_acknowledged(requests, PATIENCE), "nothing was acknowledged");
    }

    fn kill(&self, mut receiver: Receiver) {
        assert!(receiver.kill());
        self.senders.aim(None);
    }

    fn audit(&self, receiver: &mut Receiver) -> Result<Checked, Violations> {
        audit(receiver, &self.home, self.senders.book(), Tool::DuckDb)
    }
}

/// Asserts that the check passes the honest run, and gives what it says of the sabotaged one.
fn must_be_noticed(
    sabotage: &'static str,
    run: impl Fn(Option<&'static str>) -> Result<Checked, Violations>,
) -> Violations {
    if let Err(violations) = run(None) {
        panic!("without sabotage:\n{violations}");
    }
    match run(Some(sabotage)) {
        Ok(_) => panic!("{sabotage} was not noticed: the test cannot fail"),
        Err(violations) => {
            eprintln!("{sabotage} was noticed:\n{violations}");
            violations
        }
    }
}

#[test]
fn acknowledging_before_the_write_is_noticed() {
    let violations = must_be_noticed("ack-before-write", |sabotage| {
        let run = Run::new(sabotage, Manners::default());
        for _ in 0..5 {
            let receiver = run.start(&Start::default());
            run.load(20);
            run.kill(receiver);
        }
        run.audit(&mut run.start(&Start::default()))
    });
    assert!(!violations.lost.is_empty(), "what was acknowledged and never written must be missing");
}

/// A commit lands and is reported failed: only the transaction tells the next try. (A replay would not show it as long as the horizon
/// knows the rows, too.)
#[test]
fn forgetting_the_transaction_is_noticed() {
    let violations = must_be_noticed("forget-transaction", |sabotage| {
        let run = Run::new(sabotage, Manners::once());
        let mut receiver =
            run.start(&Start { flush_interval: "1h", dedup_horizon: "2h", ..Start::at("commit-put-done=error") });
        run.load(10);
        let failure = receiver.flush().expect_err("the flush is to be reported failed");
        assert!(failure.contains("fail point commit-put-done"), "{failure}");
        run.audit(&mut receiver)
    });
    assert!(!violations.doubled.is_empty(), "what was committed and flushed again must be doubled");
}

/// The WAL is lost but for its name, which happens when an empty or an old volume comes back: what the tables remember is all that is left.
#[test]
fn giving_positions_out_twice_is_noticed() {
    let violations = must_be_noticed("restart-positions", |sabotage| {
        let run = Run::new(sabotage, Manners::once());
        let mut receiver = run.start(&Start::default());
        run.load(60);
        receiver.terminate();
        assert!(receiver.wait_ended().success());
        run.senders.aim(None);
        run.home.segments().iter().for_each(|segment| fs::remove_file(segment).expect("a segment to lose"));
        let mut receiver = run.start(&Start::default());
        run.load(10);
        run.audit(&mut receiver)
    });
    assert!(!violations.lost.is_empty(), "new rows under old positions must be taken for committed ones");
}
