//! SIGKILL at random moments under load.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use promarchive_tests::ledger::{Home, Manners, Random, Receiver, Senders, Start, Tool, verify};

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
    acknowledged: usize,
    rows: usize,
    resent: u64,
    unanswered: u64,
}

impl Campaign {
    fn kills(&self) -> u32 {
        self.kills.iter().sum()
    }

    fn tell(&mut self, senders: Option<&Senders>) {
        if senders.is_some() && self.told.elapsed() < PROGRESS {
            return;
        }
        self.told = Instant::now();
        let [start, load, flush, shutdown] = self.kills;
        let running = senders.map_or(0, |senders| senders.book().notes().acknowledged());
        eprintln!(
            "{:4} s: {} kills (starting {start}, loaded {load}, flushing {flush}, stopping {shutdown}), {} archives, {} audits, \
             {} rows acknowledged, {} found exactly once at the end of archives; {} requests resent, {} unanswered",
            self.began.elapsed().as_secs(),
            self.kills(),
            self.archives,
            self.audits,
            self.acknowledged + running,
            self.rows,
            self.resent,
            self.unanswered,
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
                self.tell(Some(&senders));
            }
            let mut receiver = self.start(&home, &senders);
            assert!(receiver.wait_ready(), "the receiver ended by itself");
            let tool = if self.random.percent(80) { Tool::DuckDb } else { Tool::DeltaLake };
            let checked = audit(&mut receiver, &home, senders.book(), tool);
            whole(checked, &format!("after {} kills", self.kills()));
            self.audits += 1;
            // Some audits end in the next kill, some archives in an orderly stop.
            if self.kills() < until {
                self.kill(&mut receiver, Moment::Load);
                senders.aim(None);
            } else {
                self.end(&home, receiver, &mut senders);
            }
        }
    }

    fn start(&mut self, home: &Home, senders: &Senders) -> Receiver {
        let flush_interval = if self.random.percent(50) { "200ms" } else { "1s" };
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
        self.acknowledged += checked.acknowledged;
        self.rows += checked.rows;
        self.resent += senders.tally().resent.load(Ordering::SeqCst);
        self.unanswered += senders.tally().unanswered.load(Ordering::SeqCst);
    }
}

#[test]
fn nothing_is_lost_or_doubled_by_kills_at_random_moments() {
    let rounds = rounds_asked_for().unwrap_or(ROUNDS_IN_CI);
    let (random, seed) = Random::from_environment();
    eprintln!("{rounds} kills at random moments; PROMARCHIVE_CRASH_SEED={seed}");
    let now = Instant::now();
    let (kills, archives, audits, acknowledged, rows, resent, unanswered) = ([0; 4], 0, 0, 0, 0, 0, 0);
    let mut campaign = Campaign { random, began: now, told: now, kills, archives, audits, acknowledged, rows, resent, unanswered };
    while campaign.kills() < rounds {
        campaign.archive((rounds - campaign.kills()).min(KILLS_PER_ARCHIVE));
    }
    campaign.tell(None);
    assert!(campaign.acknowledged > 100 * rounds as usize / 2, "hardly anything was written: the kills proved little");
}
