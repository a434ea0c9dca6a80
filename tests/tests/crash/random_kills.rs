//! SIGKILL at random moments under load.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use promarchive_tests::ledger::{Checked, Home, Manners, Random, Receiver, Senders, Start, Tool, verify};

use crate::{audit, audit_at_rest, rounds_asked_for, whole};

const ROUNDS_IN_CI: u32 = 25;
/// Kills after which a new archive is begun, so that tables stay small.
const KILLS_PER_ARCHIVE: u32 = 25;
/// Kills after which the tables are read.
const KILLS_PER_AUDIT: u32 = 5;
const PROGRESS: Duration = Duration::from_secs(5);

/// What the receiver is doing, more or less, when it is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Start,
    Load,
    Flush,
    Shutdown,
}

impl Moment {
    fn choose(random: &mut Random) -> Self {
        match random.below(100) {
            0..25 => Self::Start,
            25..65 => Self::Load,
            65..88 => Self::Flush,
            _ => Self::Shutdown,
        }
    }
}

/// A run of kills over one archive after the other.
struct Campaign {
    random: Random,
    began: Instant,
    told: Instant,
    kills: [u32; 4],
    archives: u32,
    audits: u32,
    /// Sums over the archives that are finished.
    finished: Figures,
    /// Of the archive at hand, at its last audit.
    current: Figures,
}

#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    /// Rows that had to be in the tables.
    acknowledged: usize,
    /// Rows that were there, each once, with all its bits.
    found: usize,
    /// Requests sent again though they were acknowledged.
    resent: u64,
    /// Requests without an answer.
    unanswered: u64,
}

impl Figures {
    fn of(checked: Checked, senders: &Senders) -> Self {
        let tally = senders.tally();
        let (resent, unanswered) = (tally.resent.load(Ordering::SeqCst), tally.unanswered.load(Ordering::SeqCst));
        Self { acknowledged: checked.acknowledged, found: checked.rows, resent, unanswered }
    }

    fn and(self, other: Self) -> Self {
        Self {
            acknowledged: self.acknowledged + other.acknowledged,
            found: self.found + other.found,
            resent: self.resent + other.resent,
            unanswered: self.unanswered + other.unanswered,
        }
    }
}

impl Campaign {
    fn new(random: Random) -> Self {
        let (now, none) = (Instant::now(), Figures::default());
        Self { random, began: now, told: now, kills: [0; 4], archives: 0, audits: 0, finished: none, current: none }
    }

    fn kills(&self) -> u32 {
        self.kills.iter().sum()
    }

    /// Says how far it is, now and then.
    fn tell(&mut self) {
        if self.told.elapsed() >= PROGRESS {
            self.told = Instant::now();
            self.tell_now();
        }
    }

    fn tell_now(&self) {
        let [start, load, flush, shutdown] = self.kills;
        let Figures { acknowledged, found, resent, unanswered } = self.finished.and(self.current);
        eprintln!(
            "{:4} s: {} kills (starting {start}, loaded {load}, flushing {flush}, stopping {shutdown}), {} archives, {} audits: \
             {acknowledged} rows acknowledged, {found} found, each once; {resent} requests sent again, {unanswered} unanswered",
            self.began.elapsed().as_secs(),
            self.kills(),
            self.archives,
            self.audits,
        );
    }

    /// Kills a receiver at some moment; none if it ended by itself before.
    fn kill(&mut self, receiver: &mut Receiver, moment: Moment) {
        match moment {
            Moment::Start => {
                let moment = self.random.up_to_ms(120);
                std::thread::sleep(moment.saturating_sub(receiver.started().elapsed()));
            }
            Moment::Load => std::thread::sleep(self.random.up_to_ms(400)),
            Moment::Flush => {
                std::thread::sleep(self.random.up_to_ms(150));
                let flush = receiver.start_flush();
                std::thread::sleep(self.random.up_to_ms(60));
                drop(flush);
            }
            Moment::Shutdown => {
                std::thread::sleep(self.random.up_to_ms(150));
                receiver.terminate();
                std::thread::sleep(self.random.up_to_ms(80));
            }
        }
        if receiver.kill() {
            self.kills[moment as usize] += 1;
        }
    }

    /// One archive: kills and audits, then a clean end.
    fn archive(&mut self, kills: u32) {
        let home = Home::new();
        let mut senders = Senders::start(Manners::default(), &mut self.random);
        let until = self.kills() + kills;
        while self.kills() < until {
            let due = self.kills() + KILLS_PER_AUDIT.min(until - self.kills());
            while self.kills() < due {
                let mut receiver = self.start(&home, &senders);
                let moment = Moment::choose(&mut self.random);
                if matches!(moment, Moment::Start) || receiver.wait_ready() {
                    self.kill(&mut receiver, moment);
                }
                senders.aim(None);
                self.tell();
            }
            let mut receiver = self.start(&home, &senders);
            assert!(receiver.wait_ready(), "the receiver ended by itself");
            let tool = if self.random.percent(80) { Tool::DuckDb } else { Tool::DeltaLake };
            let checked = audit(&mut receiver, &home, senders.book(), tool);
            let checked = whole(checked, &format!("after {} kills", self.kills()));
            self.audits += 1;
            self.current = Figures::of(checked, &senders);
            if self.kills() < until {
                self.kill(&mut receiver, Moment::Load);
                senders.aim(None);
            } else {
                self.end(&home, receiver, &mut senders);
            }
        }
    }

    fn start(&mut self, home: &Home, senders: &Senders) -> Receiver {
        // The last one leaves much to replay.
        let flush_interval = ["200ms", "1s", "20s"][self.random.below(3) as usize];
        let mut receiver = Start { flush_interval, ..Start::default() }.spawn(home);
        if let Some(address) = receiver.wait_listening() {
            senders.aim(Some(address));
        }
        receiver
    }

    /// SIGTERM, and nothing is missing though nobody asked for a flush.
    fn end(&mut self, home: &Home, mut receiver: Receiver, senders: &mut Senders) {
        receiver.terminate();
        let status = receiver.wait_ended();
        assert!(status.success(), "SIGTERM ended it with {status}");
        senders.aim(None);
        senders.stop();
        senders.check_answers();
        let checked = whole(audit_at_rest(home, senders.book(), Tool::Polars), "after SIGTERM");
        verify(&home.archive()).unwrap_or_else(|error| panic!("{error}"));
        self.archives += 1;
        self.audits += 1;
        self.finished = self.finished.and(Figures::of(checked, senders));
        self.current = Figures::default();
    }
}

#[test]
fn nothing_is_lost_or_doubled_by_kills_at_random_moments() {
    let rounds = rounds_asked_for().unwrap_or(ROUNDS_IN_CI);
    let (random, seed) = Random::from_environment();
    eprintln!("{rounds} kills at random moments; PROMARCHIVE_CRASH_SEED={seed}");
    let mut campaign = Campaign::new(random);
    while campaign.kills() < rounds {
        campaign.archive((rounds - campaign.kills()).min(KILLS_PER_ARCHIVE));
    }
    campaign.tell_now();
    assert!(
        campaign.finished.acknowledged > 50 * rounds as usize,
        "hardly anything was written: the kills proved little"
    );
}
