//! Budgets of memory and WAL, held against senders that do their worst, with an honest sender beside them.
//!
//! Each case: the real program under its smallest memory limit, a hostile load, an honest sender whose requests must all be acknowledged in
//! bounded time. In the end resident memory has stayed within the limit and [`BEYOND_LIMIT`], and DuckDB finds what was acknowledged
//! exactly once. `PROMARCHIVE_BUDGET_SECONDS` says how long each load lasts; CI is content with a few seconds.

mod cases;
mod loads;
mod long_series;
mod repeated;
mod senders;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use promarchive_tests::program::Receiver;

use crate::loads::{Load, Manners};
use crate::senders::{Notes, check, send};

/// The least that the default sizes of requests allow.
const MEMORY_LIMIT: u64 = 256 << 20;
/// What the program takes beyond its limit at most, in bytes: see "Memory" in `docs/reference/receive.md`.
const BEYOND_LIMIT: u64 = (128 + 32) << 20;
/// A file ends after the row group with which it passes 32 MiB.
const LARGEST_FILE: u64 = 48 << 20;
/// Longest time in which an honest request is acknowledged, whatever others do.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// One case at a time: they compete for the processor, not with each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// How long a load lasts.
fn duration() -> Duration {
    let seconds = std::env::var("PROMARCHIVE_BUDGET_SECONDS").map_or(4, |seconds| seconds.parse().unwrap());
    Duration::from_secs(seconds)
}

/// A case: who sends what.
struct Case {
    name: &'static str,
    hostile: Vec<Load>,
    flags: &'static [&'static str],
}

/// What a case has come to.
struct Outcome {
    receiver: Receiver,
    hostile: Vec<Notes>,
    wal_peak: u64,
}

impl Case {
    fn run(&self) -> Outcome {
        self.run_beside(|_, _| ())
    }

    /// Runs the case, and `more` beside its senders until it is told to stop.
    fn run_beside(&self, more: impl Fn(&Receiver, &AtomicBool) + Sync) -> Outcome {
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = MEMORY_LIMIT.to_string();
        let flags = [&["--memory-limit", &limit, "--flush-interval", "5s"], self.flags].concat();
        let receiver = Receiver::start(&flags);
        let (stop, address) = (AtomicBool::new(false), receiver.address());
        let honest = |stop| send(address, "honest", Load::steady(500, 5_000), Manners::HONEST, stop);
        let (mut senders, wal_peak) = thread::scope(|scope| {
            let honest = scope.spawn(|| honest(&stop));
            let hostile: Vec<_> = self
                .hostile
                .iter()
                .enumerate()
                .map(|(n, load)| {
                    let (load, stop) = (*load, &stop);
                    scope.spawn(move || send(address, &format!("hostile_{n}"), load, Manners::HASTY, stop))
                })
                .collect();
            scope.spawn(|| more(&receiver, &stop));
            let begun = Instant::now();
            let mut wal_peak = 0;
            while begun.elapsed() < duration() {
                sleep(Duration::from_millis(50));
                wal_peak = wal_peak.max(wal_bytes(&receiver));
            }
            stop.store(true, Ordering::SeqCst);
            let senders = [honest].into_iter().chain(hostile).map(|sender| sender.join().unwrap());
            (senders.collect::<Vec<_>>(), wal_peak)
        });
        receiver.flush();
        self.judge(&receiver, &senders);
        check(&receiver.archive(), &senders);
        Outcome { hostile: senders.split_off(1), receiver, wal_peak }
    }

    fn judge(&self, receiver: &Receiver, senders: &[Notes]) {
        let (peak, took) = (receiver.peak_memory(), receiver.processor_time());
        let rows: u64 = senders.iter().map(Notes::rows).sum();
        let rate = rows as f64 / took.as_secs_f64();
        eprintln!(
            "{}: {} MiB resident at most; {rows} rows in {took:.1?} of processor, {rate:.0} a second",
            self.name,
            peak >> 20
        );
        senders.iter().for_each(|notes| eprintln!("  {}", notes.tell()));
        let honest = &senders[0];
        assert!(honest.acknowledged.iter().all(|&acknowledged| acknowledged), "an honest request did not get through");
        assert!(!honest.waits.is_empty(), "the honest sender has sent nothing");
        assert!(honest.percentile(100) <= LONGEST_WAIT, "an honest request took {:?}", honest.percentile(100));
        let largest = largest_file(&receiver.archive().join("samples"));
        assert!(largest <= LARGEST_FILE, "a file of {} MiB", largest >> 20);
        let most = MEMORY_LIMIT + BEYOND_LIMIT;
        assert!(
            peak <= most,
            "{}: {} MiB resident, more than {} MiB\n{}",
            self.name,
            peak >> 20,
            most >> 20,
            receiver.log()
        );
    }
}

/// Bytes of the largest data file of a table.
fn largest_file(table: &Path) -> u64 {
    let files = |directory: std::fs::DirEntry| std::fs::read_dir(directory.path()).unwrap().flatten();
    let files = std::fs::read_dir(table).unwrap().flatten().flat_map(files);
    files.map(|file| file.metadata().unwrap().len()).max().unwrap()
}

/// Bytes of WAL on disk.
fn wal_bytes(receiver: &Receiver) -> u64 {
    let files = std::fs::read_dir(receiver.directory().join("archive.wal")).unwrap().flatten();
    // One that is purged meanwhile counts no more.
    files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum()
}
